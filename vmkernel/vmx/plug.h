/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_PLUG_H
#define VMX_PLUG_H

/*
 * A disk that comes to a running QEMU, or goes from it. One at a time; only on SCSI
 * controllers, which have been there since power-on. Never blocks.
 */
#include <jansson.h>

#include "vmkernel/vmx/hardware.h"
#include "vmkernel/vmx/qmp.h"

#define PLUG_QMP_FIRST 40u /* ids of commands from here on are ours ... */
#define PLUG_QMP_END 48u   /* ... to here */

struct plug {
	struct channel *qmp;
	bool is_busy;
	bool is_out;	      /* the disk goes */
	bool is_told, is_out_event; /* QEMU has answered device_del; and ended it */
	bool tells_errors;    /* to the guest; else the VM stops at one */
	uint32_t disk;	      /* its number */
	struct vm_disk place; /* and where it comes to */
	char device[48];      /* its name in QEMU */
	char bus[32], node[64], export[48];
	uint64_t deadline;    /* NO_DEADLINE: none */
	char why[256];
};

enum plug_news { PLUG_GOES_ON, PLUG_DONE, PLUG_FAILED /* why says it */ };

void plug_init(struct plug *p, struct channel *qmp);
/*
 * Where "scsi0:1" is, for a disk with the file path: 0; -EINVAL, *ret_why (a constant)
 * says why no disk can come there now.
 */
int plug_place(const struct vm_hardware *hw, const char *where, const char *path,
	       struct vm_disk *ret_place, const char **ret_why)
	__attribute__((warn_unused_result));
/*
 * Disk i, which is served by NBD, comes to p->place (plug_place). 0; -EBUSY; -errno: QEMU
 * does not take commands.
 */
int plug_in(struct plug *p, const struct vm_hardware *hw, uint32_t i, const char *token)
	__attribute__((warn_unused_result));
/* Disk i goes: PLUG_DONE when the guest has it no more. As plug_in(). */
int plug_out(struct plug *p, const struct vm_hardware *hw, uint32_t i)
	__attribute__((warn_unused_result));
/* Can it go while the VM runs? NULL, or why not. */
const char *plug_out_why_not(const struct vm_hardware *hw, uint32_t i);
/* QEMU's answer to the command of that id; error as qmp_error_of(). */
enum plug_news plug_answer(struct plug *p, uint32_t id, const json_t *m,
			   const char *error);
/* QEMU's event DEVICE_DELETED; device may be NULL. */
enum plug_news plug_deleted(struct plug *p, const char *device);
/* At the deadline: the guest does not let go. */
enum plug_news plug_late(struct plug *p);

#endif
