/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_UNDO_H
#define FSCK_UNDO_H

/*
 * The undo file: all sectors that a repair changes, as they were (undo.c). It is whole
 * and durable before the first of them is written.
 */
#include "base/report.h"
#include "fsck/plan.h"

/* Where undo files go that nobody has named, and how long a path there can be. */
#define UNDO_FOLDER "/var/lib/openvmfs/undo"
#define UNDO_PATH_SIZE 512u
/*
 * A path there for a device of this name, and now; the folder is made. 0 or -errno,
 * reported.
 */
int undo_default_path(const char *device, char ret_path[static UNDO_PATH_SIZE],
		      struct reporter *r) __attribute__((warn_unused_result));

/* What is going to be changed. */
struct undo_volume {
	struct plan *plan;
	struct bdev *const *devices;
	unsigned int count, first; /* first: the one with the heartbeats */
	/* The LVM header there, which is not in the plan: now and after the repair. */
	const void *lvm_was, *lvm;
};

/*
 * Saves all of it as it is now; path must not exist. 0, or -errno, reported: nothing is
 * left behind then. Blocks.
 */
int undo_save(const char *path, const struct undo_volume *v, struct reporter *r)
	__attribute__((warn_unused_result));

struct undo_done {
	uint64_t sectors; /* that were put back */
	uint64_t same;	  /* that were as before already */
};

/*
 * Puts it all back, if the devices (any order) are those of the file and hold what the
 * repair left, or, where it was interrupted, what was there before: else -ESTALE. -EBUSY:
 * a host lives on the volume, or another program has it. Reported, nothing written. An
 * interrupted restoring is done again. Blocks.
 */
int undo_restore(const char *path, struct bdev *const *devices, unsigned int count,
		 struct reporter *r, struct undo_done *ret_done)
	__attribute__((warn_unused_result));

#endif
