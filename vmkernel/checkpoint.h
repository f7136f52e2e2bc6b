/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CHECKPOINT_H
#define VMKERNEL_CHECKPOINT_H

/*
 * The memory of a VM, kept on its datastore: suspending and resuming it, and snapshots
 * with memory. The loop's task but where it says "job".
 */
#include "vmkernel/vm.h"

/* Of what vmx is asked for it. */
enum checkpoint_tag { CHECKPOINT_SEND = 0x100, CHECKPOINT_RECEIVE, CHECKPOINT_RUN,
		      CHECKPOINT_KEEP };

/* A VM that is on. The requester hears when it is off and suspended, or runs on. */
void checkpoint_suspend(struct vm *vm, struct requester who);
/* The same, but a snapshot is made (body: of MSG_VM_SNAPSHOT_CREATE) and it runs on. */
void checkpoint_snapshot(struct vm *vm, struct requester who, const json_t *body);
/* A VM that is off: its state goes. Refused, if it has none. */
void checkpoint_discard(struct vm *vm, struct requester who);

/*
 * Job, of a power-on: opens the state that vm->text names, if it does: vm->checkpoint. 0,
 * -errno with ret_why.
 */
int checkpoint_find(struct vm *vm, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));
/* QEMU waits for it. vm_resumed() or vm_stop() is what comes of it. */
void checkpoint_restore(struct vm *vm);
/* vmx's answer to one of the tags. */
void checkpoint_told(struct vm *vm, const struct msg *m);
void checkpoint_vmx_gone(struct vm *vm);
/* Job, of the VM's end: what checkpoint_find() has opened is closed. */
void checkpoint_drop(struct vm *vm);

#endif
