/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_RELOCATION_H
#define VMKERNEL_RELOCATION_H

/* One move of a VM's files, for relocate.c, relocate_copy.c and relocate_files.c. */
#include <jansson.h>

#include "base/env.h"
#include "vdisk/vdisk.h"
#include "vmkernel/hold.h"
#include "vmkernel/relocate.h"
#include "vmkernel/sched/log.h"

struct relocation {
	struct vm *vm;
	struct host *host;
	struct datastore *from, *to; /* in use until the end */
	struct requester who;
	char *next_host; /* where it goes by vMotion after that; "": nowhere */
	uint64_t began_at, held_ns;
	_Atomic(const char *) phase;
	_Atomic uint64_t done, total; /* bytes */
	atomic_bool is_cancelled;

	/* The job's. */
	char *folder; /* "/vm1", on both */
	char *vmx;    /* "/vm1/vm1.vmx", likewise */
	char *coming; /* the .vmx file at the destination until it counts */
	char *gone;   /* that at the source from then on */
	char *text;   /* of it */
	struct vmfs_file *config; /* the same file, locked */
	json_t *files; /* names of the source's folder that go in the end */
	struct vdisk *copies[HARDWARE_DISKS_MAX], *former[HARDWARE_DISKS_MAX];
	struct sched_log *logs[HARDWARE_DISKS_MAX];
	void *buf;
	uint32_t held; /* disks looked at by the holder */
	bool has_note; /* and a folder at the destination, with nothing else in it */
	bool is_moved; /* the point of no return is behind it */
	bool is_unknown; /* whether it is */
	struct mutex m; /* of what follows */
	struct cond c;
	bool is_held, may_go, is_switched;
	struct loop_call call;
	struct vdisk_progress progress;
	struct catcher catcher;
	int rc;
	char why[VM_WHY_SIZE];
};

/* Fills r->why; returns rc. */
int relocation_fails(struct relocation *r, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
bool relocation_may_go_on(const struct relocation *r);

/* ---- relocate_copy.c: all block, on the job's task ---- */

/* Copies the disks while the guest writes, until little is left. 0 or -errno. */
int relocation_copy(struct relocation *r) __attribute__((warn_unused_result));
/* What has changed since. */
int relocation_copy_changes(struct relocation *r) __attribute__((warn_unused_result));
/* Nothing of it is left in the disks, nor are the copies. */
void relocation_drop_copies(struct relocation *r);

/* ---- relocate_files.c: likewise ---- */

/* What is to be moved, and may it be? r->text, r->files. */
int relocation_look(struct relocation *r) __attribute__((warn_unused_result));
/* The folder at the destination, and the note that tells a later vmkernel of it. */
int relocation_prepare(struct relocation *r) __attribute__((warn_unused_result));
/* All that is neither disk nor .vmx file. */
int relocation_copy_files(struct relocation *r) __attribute__((warn_unused_result));
/* The .vmx file, locked, under the name that does not count: r->config. */
int relocation_write_config(struct relocation *r) __attribute__((warn_unused_result));
/* It never was. */
void relocation_undo_files(struct relocation *r);
/* What the source has left; the note goes. */
void relocation_clean(struct relocation *r);

#endif
