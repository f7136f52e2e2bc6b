/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_OPENED_H
#define FUSE_OPENED_H

/* What the kernel has open of files and of disks of the view. From any task. */
#include <stddef.h>

#include "base/env.h"
#include "fuse/number.h"
#include "fuse/vdisks.h"

struct handle;
struct opened;

struct opened_table {
	struct vmfs_volume *vol;
	struct vdisks *vdisks;
	struct reporter *reporter;
	struct mutex m;	      /* of the table and all in it */
	struct opened *first; /* by number */
	struct worker_pool *pool; /* of devices; NULL: there was none yet */
};

/* The table keeps all three until opened_done(). */
void opened_init(struct opened_table *t, struct vmfs_volume *vol, struct vdisks *vdisks,
		 struct reporter *r);
/* Until nothing that is open is in use; nobody begins to use more. Blocks. */
void opened_drain(struct opened_table *t);
/* All that is still open is closed, as at an unmount under open files. Blocks. */
void opened_done(struct opened_table *t);
/* Is any file open at all? */
bool opened_has_any(struct opened_table *t);
/* True if it is open and has no name any more. */
bool opened_is_unlinked(struct opened_table *t, fuse_ino_t ino);
/*
 * Commits what is open for writing under that number, so that what follows finds it in
 * the FD. 0 if nothing is. Blocks.
 */
int opened_commit(struct opened_table *t, fuse_ino_t ino)
	__attribute__((warn_unused_result));
/* h: an open handle, or NULL. Blocks. */
int opened_truncate(struct opened_table *t, fuse_ino_t ino, uint64_t size,
		    struct handle *h) __attribute__((warn_unused_result));
/*
 * What is open under that number keeps its file although its name goes: 0 with *ret_hold,
 * NULL if nothing is open. Then opened_unhold(). Both block.
 */
int opened_hold(struct opened_table *t, fuse_ino_t ino, struct handle **ret_hold)
	__attribute__((warn_unused_result));
void opened_unhold(struct handle *hold, bool is_unlinked);

/* ---- handles: fi->fh ---- */

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
	return fi ? (struct handle *)(uintptr_t)fi->fh : NULL;
}

/*
 * -EBUSY: another host has it, which is reported; waits for one that may be dead. Blocks.
 */
int handle_open(struct opened_table *t, fuse_ino_t ino, bool may_write,
		struct handle **ret_handle) __attribute__((warn_unused_result));
/* A file that was made, with its lock, becomes an open one; at a failure it stays his. */
int handle_adopt(struct opened_table *t, fuse_ino_t ino, struct vmfs_file *file,
		 struct handle **ret_handle) __attribute__((warn_unused_result));
/* The error of what was written last. Blocks. */
int handle_close(struct handle *h);
bool handle_may_write(const struct handle *h);
/* What was written by it, if anything may be. Blocks. */
int handle_commit(struct handle *h) __attribute__((warn_unused_result));
/*
 * Its file, until handle_unuse(); NULL if it could not be opened again (-ESTALE to who
 * reads; who may write always has one). Blocks while it is opened anew.
 */
struct vmfs_file *handle_use(struct handle *h);
/* The same of a disk of the view. */
struct vdisk *handle_use_disk(struct handle *h);
void handle_unuse(struct handle *h);
/*
 * The file as a device that maps it, until handle_unuse(): if it is open for writing, or
 * followed (vmfs_file_is_followed). NULL: it is not so, or not now. Seldom blocks: when
 * it is asked for first.
 */
struct bdev *handle_use_device(struct handle *h, struct vmfs_file **ret_file);
/* The disk, and nobody else uses it until handle_unuse_alone(). */
struct vdisk *handle_use_alone(struct handle *h);
void handle_unuse_alone(struct handle *h);

#endif
