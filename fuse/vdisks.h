/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_VDISKS_H
#define FUSE_VDISKS_H

/* The view: virtual disks under names of their own (-o vdisks). From any task. Blocks. */
#include "base/env.h"
#include "fuse/number.h"
#include "vdisk/vdisk.h"

struct shown_disk;
struct worker_pool;

struct vdisks_options {
	bool is_on;	      /* they are shown */
	const char *key_file; /* of encrypted ones; or NULL */
};

struct vdisks {
	struct vmfs_volume *vol;
	struct reporter *reporter;
	bool is_on;
	struct worker_pool *workers; /* of disks; NULL if none are shown */
	struct vdisk_secret secret;  /* of encrypted ones; empty without key_file */
	struct mutex m;
	struct shown_disk *shown; /* under m: disks that the kernel knows */
};

/* Not to be moved then. vdisks_done() unless it fails. */
int vdisks_init(struct vdisks *v, struct vmfs_volume *vol,
		const struct vdisks_options *options, struct reporter *r)
	__attribute__((warn_unused_result));
void vdisks_done(struct vdisks *v);
/* true if it is the number of such a disk. */
bool vdisks_owns(fuse_ino_t ino);
/* The number of the file that holds its bytes, or the first of them. */
fuse_ino_t vdisks_file(fuse_ino_t ino);
/*
 * What the view has under a name that is not in that folder; -ENOENT: nothing. A look of
 * the kernel's is counted: vdisks_forget() takes it back.
 */
int vdisks_lookup(struct vdisks *v, fuse_ino_t dir, const char *name,
		  struct vmfs_stat *ret_st) __attribute__((warn_unused_result));
/* Whether the view has a name beside that entry; without a cookie. Counted as a look. */
bool vdisks_entry(struct vdisks *v, fuse_ino_t dir, const struct vmfs_dirent *entry,
		  struct vmfs_dirent *ret);
/* Any number; does nothing for what is no disk. */
void vdisks_forget(struct vdisks *v, fuse_ino_t ino, uint64_t looks);
/* -ESTALE: the disk of that number is not where it was. */
int vdisks_stat(struct vdisks *v, fuse_ino_t ino, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));
/* As vdisk_open(); -EPERM: others were made on it, -ESTALE as above. */
int vdisks_open(struct vdisks *v, fuse_ino_t ino, bool may_write, uint64_t deadline,
		struct vdisk **ret_disk, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

#endif
