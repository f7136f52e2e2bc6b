/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_VMSD_H
#define VDISK_VMSD_H

/*
 * The list of a VM's snapshots, as it stands in its .vmsd file: a tree, in which the VM's
 * disks hang off one snapshot, the current one. Keys that are not known stay. Nothing
 * here blocks.
 */
#include <stdint.h>

#include "vdisk/settings.h"

#define VMSD_SNAPSHOTS_MAX 512u
#define VMSD_DISKS_MAX 64u

struct vmsd {
	struct settings *settings;
	unsigned int count;
	/* As settings say: */
	uint32_t uid[VMSD_SNAPSHOTS_MAX], parent[VMSD_SNAPSHOTS_MAX];
};

/* A snapshot; strings are valid until the next change. */
struct vmsd_snapshot {
	uint32_t uid, parent; /* parent 0: none */
	const char *name, *description;
	uint64_t created_us; /* since 1970; 0: not known */
	unsigned int disk_count;
	const char *memory; /* the file of the VM's memory, beside the .vmx file; "" */
};

/*
 * Takes the text of a .vmsd file (len 0: none yet). 0; -EUCLEAN (reported): what the
 * numbers in it say cannot be; -ENOMEM.
 */
int vmsd_parse(const char *text, size_t len, const char *name, struct reporter *r,
	       struct vmsd *ret_vmsd) __attribute__((warn_unused_result));
void vmsd_done(struct vmsd *v);

uint32_t vmsd_current(const struct vmsd *v); /* uid, 0: none */
void vmsd_get(const struct vmsd *v, unsigned int i, struct vmsd_snapshot *ret);
/* Index of the snapshot with this uid; -ENOENT. */
int vmsd_find(const struct vmsd *v, uint32_t uid);
/* Disk d of snapshot i: its device ("scsi0:0") and its file; "" if they are not said. */
void vmsd_disk(const struct vmsd *v, unsigned int i, unsigned int d,
	       const char **ret_node, const char **ret_file);

/* Errors of the following: -ENOMEM, -EINVAL (a text that is too long). */
int vmsd_set_current(struct vmsd *v, uint32_t uid) __attribute__((warn_unused_result));
/* The uid that the next one gets: none has had it. 0: there are too many. */
uint32_t vmsd_next_uid(const struct vmsd *v);
/* A new one under the current, which it becomes. -E2BIG: there are too many. */
int vmsd_add(struct vmsd *v, const struct vmsd_snapshot *s, uint32_t *ret_uid)
	__attribute__((warn_unused_result));
/* d: at most the number it has by now. */
int vmsd_set_disk(struct vmsd *v, unsigned int i, unsigned int d, const char *node,
		  const char *file) __attribute__((warn_unused_result));
/* Its children become its parent's, and its parent current, if it was. */
int vmsd_remove(struct vmsd *v, unsigned int i) __attribute__((warn_unused_result));
/* Says that disks are to be merged: VMware's own sign for it. */
int vmsd_set_pending(struct vmsd *v, bool is_pending)
	__attribute__((warn_unused_result));
bool vmsd_is_pending(const struct vmsd *v);

#endif
