/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_EDIT_H
#define VMKERNEL_VM_EDIT_H

/* The .vmx file of a VM, which may run here, read and changed from a job. */
#include "vdisk/vmedit.h"
#include "vmkernel/hold.h"
#include "vmkernel/vm.h"

/* Embedded by the caller, who sets the first four; they are borrowed. */
struct vm_edit {
	struct vm *vm;
	struct datastore *ds; /* in use meanwhile */
	const char *vmx;      /* the path of the file */
	bool is_on;	      /* the VM runs here: its open file and disks are used */
	struct vdisk *open[HARDWARE_DISKS_MAX];
	struct catcher catcher;
};

/* What the file holds: malloc'ed, or NULL and *ret_error. */
char *vm_edit_read(struct vm_edit *e, int *ret_error);
/* vmedit_apply(): 0, or -errno with the sentence in ret_why (size bytes). */
int vm_edit_apply(struct vm_edit *e, const struct vmedit *edits, unsigned int count,
		  char *ret_why, uint32_t size) __attribute__((warn_unused_result));

#endif
