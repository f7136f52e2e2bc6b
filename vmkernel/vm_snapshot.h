/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_SNAPSHOT_H
#define VMKERNEL_VM_SNAPSHOT_H

/* Snapshots of a registered VM, which may run (vdisk/vmsnap.h). */
#include "vmkernel/msg/msg.h"
#include "vmkernel/vm.h"

/* MSG_VM_SNAPSHOT_*: answered when it is done. Loop's task only. */
void vm_snapshot_request(struct vm *vm, struct requester who, enum msg_type type,
			 const json_t *body);

#endif
