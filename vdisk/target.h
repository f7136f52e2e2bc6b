/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_TARGET_H
#define VDISK_TARGET_H

/*
 * Where the contents of a new disk go: told in the order of the disk, without gaps, what
 * is data and what is zeros. One target for each kind; made for one extent. The file is
 * the caller's, who syncs it after finish(). All block.
 */
#include "vdisk/extent.h"
#include "vdisk/sparsehead.h"

struct vdisk_target {
	uint64_t unit; /* bytes: pieces begin at its multiples; the last may be shorter */
	int (*write)(struct vdisk_target *target, const void *buf, uint64_t len,
		     uint64_t offset);
	/*
	 * As write() of what lies in a file, by diskfile_clone(): how many of the bytes
	 * were copied so; those behind are to be written. NULL: nothing is copied so.
	 */
	int64_t (*clone)(struct vdisk_target *target, const struct diskfile *from,
			 uint64_t from_offset, uint64_t len, uint64_t offset);
	/* Tells progress, because on a volume it may take long. */
	int (*skip)(struct vdisk_target *target, uint64_t len, uint64_t offset);
	int (*finish)(struct vdisk_target *target); /* after the last piece */
	/* What the next one needs to go on behind the last piece. NULL: nothing. */
	int (*save)(struct vdisk_target *target);
	uint64_t from; /* of plan->from, what is found to be there */
	void (*free)(struct vdisk_target *target);
};

/* What the targets of one disk are told. */
struct target_plan {
	struct diskfile *file;
	uint64_t start, capacity; /* bytes of the disk: the extent's */
	uint64_t total;		  /* of the disk, for progress */
	uint64_t from;		  /* bytes of the extent that an interrupted run has */
	const struct vdisk_create_options *options;
	const struct buf *descriptor; /* to stand inside; NULL: in a file of its own */
};

/* For skip(): progress up to offset of the extent; 0 or -ECANCELED. */
int target_step(const struct target_plan *plan, uint64_t offset)
	__attribute__((warn_unused_result));

/* Bytes one behind the other: on a volume in its blocks, as options->format wants. */
int target_flat_new(const struct target_plan *plan, struct vdisk_target **ret_target)
	__attribute__((warn_unused_result));
int target_sparse_new(const struct target_plan *plan, struct vdisk_target **ret_target)
	__attribute__((warn_unused_result));
/* Compressed by as many tasks as there are processors. */
int target_stream_new(const struct target_plan *plan, struct vdisk_target **ret_target)
	__attribute__((warn_unused_result));

#endif
