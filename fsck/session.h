/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_SESSION_H
#define FSCK_SESSION_H

/*
 * A check that repairs: from the question whether anybody lives on the volume to the last
 * write.
 */
#include "fsck/check.h"

struct session_options {
	struct bdev **devices; /* borrowed, writable; any order */
	unsigned int device_count;
	struct reporter *reporter;
	bool is_forced; /* VMFS-3, and VMFS-6 that another system made, too */
	const char *undo_path; /* NULL: nothing is saved (tests) */
	/* As of struct fsck_options; a finding that stays may be told more than once. */
	void (*found)(void *arg, enum fsck_problem problem, const char *text);
	bool (*may_repair)(void *arg, enum fsck_problem problem, const char *text);
	/* As of struct fsck_options, or NULL; passes come again. */
	void (*progress)(void *arg, unsigned int pass, uint64_t done, uint64_t all);
	void *arg;
	/* Before each write to a device, unless NULL: other than 0 ends it (tests). */
	int (*before_write)(void *arg);
};

struct session_result {
	struct fsck_summary first; /* as it was found */
	struct fsck_summary last;  /* as it is left */
	bool is_changed;	   /* something was written, and is in the undo file */
	bool is_recovered;	   /* what a dead host left was taken over before that */
};

/*
 * Checks, and writes what may be repaired; what is clean is not written to. 0: done, see
 * *ret_result. Reported -errno: -EBUSY (a host lives on it, or came meanwhile),
 * -EOPNOTSUPP (a journal of another system; a signature that is not finished), as of
 * fsck_check(), undo_save(), of a write. Blocks: up to 24 s for each heartbeat that has
 * to be watched.
 */
int session_run(const struct session_options *options, struct session_result *ret_result)
	__attribute__((warn_unused_result));

#endif
