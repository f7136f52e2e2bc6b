/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_PLUG_H
#define VMKERNEL_VM_PLUG_H

/* Disks that come to a VM or go from it, whether it runs or not. Loop's task only. */
#include "vmkernel/vm.h"

/* Of the messages MSG_VMX_PLUG and MSG_VMX_UNPLUG. */
#define VM_PLUG_TAG 64u

/* MSG_VM_DISK_ADD, MSG_VM_DISK_REMOVE: answered when it is done. */
void vm_plug_request(struct vm *vm, struct requester who, enum msg_type type,
		     const json_t *body);
/* vmx has answered; why may be NULL. */
void vm_plug_told(struct vm *vm, int result, const char *why);
/*
 * vmx, which an earlier vmkernel left, has a disk of this number on its way: the VM is
 * busy until it has said what became of it.
 */
void vm_plug_left(struct vm *vm, uint32_t index);
/* It has said it: the guest has the disk, or not. */
void vm_plug_settled(struct vm *vm, bool has);
/*
 * The VM is taken back with all its disks, or vmx has said the last of them: once both
 * are so, a disk that the guest has not is closed.
 */
void vm_plug_adopted(struct vm *vm);
/* The VM is off: whoever waits for vmx hears it. */
void vm_plug_off(struct vm *vm);

#endif
