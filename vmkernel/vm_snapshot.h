/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_SNAPSHOT_H
#define VMKERNEL_VM_SNAPSHOT_H

/* Snapshots of a registered VM, which may run (vdisk/vmsnap.h). */
#include "vdisk/vmsnap.h"
#include "vmkernel/msg/msg.h"
#include "vmkernel/vm.h"

/* MSG_VM_SNAPSHOT_*, MSG_VM_DESTROY: answered when it is done. Loop's task only. */
void vm_snapshot_request(struct vm *vm, struct requester who, enum msg_type type,
			 const json_t *body);
/* The VM is off now: it goes back to a snapshot, if somebody waits for that. */
void vm_snapshot_off(struct vm *vm);
/* vmx has answered vm_ask_agent(). */
void vm_snapshot_told(struct vm *vm, const json_t *reply);

/*
 * What is needed to change the files of a VM that runs here, from a job: ret_disks are
 * its open disks, of which *ret has the address.
 */
void vm_running_files(struct vm *vm, struct vdisk *ret_disks[static HARDWARE_DISKS_MAX],
		      struct vmsnap_running *ret);

#endif
