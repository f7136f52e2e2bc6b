/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_CHECK_H
#define FSCK_CHECK_H

/*
 * The check of a volume, pass by pass (FORMAT.md 17). Each pass relies on what the ones
 * before it established, and skips what they found unusable:
 *
 *   pass 0  LVM headers of every extent
 *   pass 1  FS descriptor, heartbeats, resource files, cluster headers   -> allocated
 *   pass 2  every allocated file descriptor and all that it points to    -> seen, fds
 *   pass 3  directories: names, targets, the tree                        -> fds.refs,
 * parents pass 4  allocated against seen, links against names
 */
#include "fsck/problem.h"
#include "fsck/read.h"

struct fsck_options {
	struct bdev **devices; /* borrowed; any order */
	unsigned int device_count;
	struct reporter *reporter; /* why the check could not be done */
	/* Each finding; text is one sentence, borrowed. Notes too. */
	void (*found)(void *arg, enum fsck_problem problem, const char *text);
	void *arg;
};

struct fsck_summary {
	unsigned int errors, warnings, notes;
	bool has_failed;     /* something could not be read */
	bool is_live;	     /* a heartbeat slot is in use */
	bool needs_recovery; /* a journal is not empty */
	char label[VMFS_LABEL_SIZE + 1];
	uint32_t major, minor;
	uint64_t file_count, directory_count;
	uint64_t block_count, used_block_count;
};

/*
 * Checks a volume and changes nothing. 0: done, *ret_summary says what came of it.
 * Reported -errno: it is not a volume that can be checked (see fsck_volume_join), or no
 * memory.
 */
int fsck_check(const struct fsck_options *options, struct fsck_summary *ret_summary)
	__attribute__((warn_unused_result));

/* ---- for the passes ---- */

/* What is remembered of a heartbeat slot. */
struct fsck_slot {
	bool is_damaged, is_live;
	uint64_t generation;
	uint8_t owner[16];
};

/* What is remembered of a file descriptor. */
struct fsck_fd {
	uint32_t generation, links;
	uint32_t refs;		 /* entries that name it, "." and ".." not counted */
	uint32_t parent;	 /* directories: number of the FD whose entry names it */
	uint32_t subdirectories; /* entries of it that are directories */
	uint8_t type;		 /* 0: not allocated, or unusable */
	bool is_directory;
	bool is_reached; /* directories: walked */
};

struct fsck_map {
	uint8_t *allocated; /* one bit per resource: the clusters say so */
	uint8_t *seen;	    /* an address names it */
	uint64_t allocated_count;
};

struct fsck {
	const struct fsck_options *options;
	struct fsck_summary summary;
	struct fsck_volume volume;
	struct fsck_slot slots[VMFS_HEARTBEATS_COUNT];
	vmfs_addr journals[VMFS_HEARTBEATS_COUNT]; /* of slots in use */
	struct fsck_map maps[FSCK_RESOURCE_COUNT];
	struct fsck_fd *fds; /* by number; resources[FSCK_FDC].count of them */
};

/* Tells of a finding and counts it. */
void fsck_found(struct fsck *f, enum fsck_problem problem, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * For the result of a read: 0 passes; -EUCLEAN and -ENOMEM too; an I/O error is told as
 * READ_ERROR with what was to be read.
 */
int fsck_read_result(struct fsck *f, int err, const char *what);
/* Checks a lock of one object, read from vol_off. */
void fsck_check_lock(struct fsck *f, const struct vmfs_lock_disk *lock, uint32_t type,
		     uint64_t vol_off, const char *object);
/* true if an address names an allocated FD that pass 2 could use. */
struct fsck_fd *fsck_fd_of(struct fsck *f, vmfs_addr addr);
/* The address of the FD with a number. */
vmfs_addr fsck_fd_addr(const struct fsck *f, uint64_t number);

/* Each: 0, or -errno after which no later pass makes sense. */
int fsck_pass0_lvm(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass1_resources(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass2_files(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass3_dirs(struct fsck *f) __attribute__((warn_unused_result));
void fsck_pass4_counts(struct fsck *f);

#endif
