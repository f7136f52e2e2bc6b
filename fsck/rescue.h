/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_RESCUE_H
#define FSCK_RESCUE_H

/*
 * vmfs-rescue: files out of a volume that is damaged, or that were removed from it. The
 * device is opened read-only; everything found on it is checked before it is used as an
 * offset or a size (fsck/read.h); what cannot be had is told in a line and left out.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "fsck/read.h"
#include "fsck/rescue_map.h"

/* To stderr. Quiet: while the errors of a damaged device are no news. */
struct rescue_reporter {
	struct reporter base;
	bool is_quiet;
	bool is_silent; /* no INFO */
};

/* An entry of a directory, also one that was removed. */
struct rescue_entry {
	uint32_t fd, generation; /* what it names */
	uint32_t dir;		 /* the directory's FD */
	bool is_live;
	char *name;
};

/* A file descriptor that is free and still says what it was. */
struct rescue_deleted {
	uint32_t fd, generation;
	uint32_t gone_s, changed_s; /* ctime, mtime */
};

struct rescue {
	struct rescue_reporter *r;
	struct fsck_volume v;
	struct bdev *devices[LVM_EXTENTS_MAX];
	const char *names[LVM_EXTENTS_MAX]; /* as given: DEVICE[@OFFSET] */
	unsigned int device_count;
	bool is_guessed; /* something is not as the volume says: it was told */
	/* ---- rescue_index.c ---- */
	uint8_t *free[FSCK_RESOURCE_COUNT];	/* one bit per resource; NULL: unknown */
	uint8_t *claimed[FSCK_RESOURCE_COUNT];	/* a file removed later had it */
	struct rescue_entry *entries;		/* by fd, generation; live ones first */
	uint32_t entry_count;
	struct rescue_deleted *deleted;		/* the last removed first */
	uint32_t deleted_count;
};

/* ---- rescue_open.c ---- */

/* One device, whole or from an offset on (DEVICE@OFFSET). is_whole: no look at tables. */
int rescue_device_open(const char *text, bool is_whole, struct reporter *r,
		       struct bdev **ret_bd) __attribute__((warn_unused_result));
/*
 * Opens s->names and finds what is needed of the volume, by guess where headers are
 * damaged: told. Only .fdc.sf is indispensable. Reports. Blocks.
 */
int rescue_open(struct rescue *s) __attribute__((warn_unused_result));
void rescue_close(struct rescue *s);

/* ---- rescue_walk.c: the blocks of a file ---- */

enum rescue_state {
	RESCUE_HOLE,
	RESCUE_DATA,	/* at addr */
	RESCUE_POINTER, /* addr is a pointer block, about to be read */
	RESCUE_LOST,	/* its pointer block cannot be read, or its address is nonsense */
	RESCUE_REUSED,	/* the pointer block above is another file's now */
};

struct rescue_run {
	enum rescue_state state;
	uint64_t block, count; /* of the file, in its own blocks */
	vmfs_addr addr;
};

/*
 * Calls fn for the first `blocks` blocks of a file in order. fn returns 0; 1 for a
 * POINTER: do not follow it, it is REUSED; -errno ends the walk. -ENOMEM. Blocks.
 */
int rescue_walk(const struct fsck_volume *v, const struct fsck_file *file,
		uint64_t blocks, int (*fn)(void *arg, const struct rescue_run *run),
		void *arg) __attribute__((warn_unused_result));
/* Blocks that its length needs; 0 for resident ones. */
uint64_t rescue_file_blocks(const struct fsck_volume *v, const struct fsck_file *file);

/* ---- rescue_index.c ---- */

/* What is free, which files were removed, and all names. Told: what is unreadable. */
int rescue_index(struct rescue *s) __attribute__((warn_unused_result));
/* Is this a file descriptor that says of itself that it is the one at addr? */
bool rescue_fd_is_sane(const struct fsck_volume *v, vmfs_addr addr,
		       const struct fsck_file *file);
/*
 * Is the resource free now, and had no file that was removed after this one it? Claims
 * of all removed later must have been made. Unknown counts as yes.
 */
bool rescue_is_own(const struct rescue *s, vmfs_addr addr);
/* Claims all that a removed file had. */
int rescue_claim(struct rescue *s, const struct fsck_file *file)
	__attribute__((warn_unused_result));
/* Reads removed file i as it was, and makes the claims of those removed after it that
 * were not made yet. From 0 on, in order. */
int rescue_deleted_read(struct rescue *s, uint32_t i, struct fsck_file *ret_file)
	__attribute__((warn_unused_result));
/* The entry that names an FD of this generation; NULL: none. */
const struct rescue_entry *rescue_entry_of(const struct rescue *s, uint32_t fd,
					   uint32_t generation);
/* The path by the names that are left; "?" for a part that is not known. malloc'ed. */
char *rescue_path_of(const struct rescue *s, uint32_t fd, uint32_t generation);

/* ---- rescue_copy.c: one file ---- */

struct rescue_job {
	struct rescue *s;
	const struct fsck_file *file;
	const char *out;      /* on the host */
	const char *map_path; /* NULL: OUT.map */
	const char *label;    /* for lines about it */
	unsigned int retries;
	bool is_deleted; /* blocks that are not its own any more are left out */
	/* ---- results ---- */
	uint64_t missing_bytes, reused_bytes;
};

/*
 * Copies one file out, holes kept; a map stands beside it until all is there, and is
 * where a copy that was broken off goes on. 0: whole; 1: partial (told); -errno: told.
 */
int rescue_copy_file(struct rescue_job *job) __attribute__((warn_unused_result));

/* ---- rescue_out.c ---- */

/* -EINVAL (reported): path, or its folder if it is new, lies on a device that is read.
 */
int rescue_out_check(const struct rescue *s, const char *path)
	__attribute__((warn_unused_result));

/* ---- the commands: 0, 1 (partial, or nothing found) or -errno (told) ---- */

struct rescue_options {
	bool is_all;
	unsigned int retries;
	const char *map_path, *adapter;
};

int rescue_find(const char *disk, bool is_all, struct reporter *r);
int rescue_list(struct rescue *s);
/* what NULL: all, each with its FD behind its name, below out. */
int rescue_undelete(struct rescue *s, const char *what, const char *out,
		    const struct rescue_options *options);
/* path NULL: all. */
int rescue_copy(struct rescue *s, const char *path, const char *out,
		const struct rescue_options *options);
/* path of a flat file on the volume; s NULL: on the host. */
int rescue_vmdk(struct rescue *s, const char *path, const char *out, const char *adapter,
		struct reporter *r);

#endif
