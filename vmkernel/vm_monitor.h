/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_MONITOR_H
#define VMKERNEL_VM_MONITOR_H

/* VM monitoring (ha/monitor.h) of this host's VMs, if it is configured. Loop's task. */
#include "vmkernel/host.h"

int vm_monitor_open(struct host *h) __attribute__((warn_unused_result));
void vm_monitor_close(struct host *h);

#endif
