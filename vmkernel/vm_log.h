/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_LOG_H
#define VMKERNEL_VM_LOG_H

/*
 * The log of a VM in its own folder on the datastore: vmware.log, and those of its
 * earlier runs (vdisk/vmlogs.h). Nothing that goes wrong with it stops the VM.
 */
#include <stdbool.h>

struct vm;

/* Called once the VM's vmx runs, or was found. On the loop's task. */
void vm_log_start(struct vm *vm);
/* A job writes it just now: vm_settle() is called when it has ended. */
bool vm_log_is_busy(const struct vm *vm);
/* From here on nothing is written but by vm_log_end(). On the loop's task. */
void vm_log_stop(struct vm *vm);
/* The rest is written, while the VM's lock is still ours, and the log freed. Blocks. */
void vm_log_end(struct vm *vm);

#endif
