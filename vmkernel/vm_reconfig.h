/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_RECONFIG_H
#define VMKERNEL_VM_RECONFIG_H

/* What a VM and its disks are given of the host, changed. Loop's task only. */
#include "vmkernel/vm.h"

/* MSG_VM_RECONFIG: answered when it is written, and counts. */
void vm_reconfig_request(struct vm *vm, struct requester who, const json_t *body);

#endif
