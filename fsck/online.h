/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_ONLINE_H
#define FSCK_ONLINE_H

/*
 * What is kept for the check of a volume that members are writing (fsck.vmfs --online):
 * look.c reads what changes, marks.c knows it again, suspects.c judges what is found.
 * f->online is NULL where nobody writes.
 */
#include "fsck/state.h"
#include "vmfs/logview.h"

#define ONLINE_HOSTS_MAX 64u

/* One member that is there, and its log as the round began. */
struct online_host {
	uint64_t slot_off, generation;
	struct logview log;
	unsigned int count; /* records then */
};

/* Bytes that were read, to be read again as they were. */
struct online_piece {
	uint64_t off, len;
	uint8_t *bytes; /* NULL: too many to be kept */
};

/* One look at one file: begin, read, end; again until nothing came in between. */
struct online_look {
	struct fsck_lens lens; /* first: it is found by its address */
	struct online_piece *pieces;
	unsigned int count, room, next;
	uint64_t kept; /* bytes */
	bool is_keeping, is_over, has_log;
	bool is_hidden; /* its holder's log cannot be read: what it writes is not known */
	uint64_t lock_off;
	struct vmfs_lock_disk lock;
	struct logview log;
	unsigned int log_count;
	int err; /* of memory, sticky */
};

struct online_suspect;

struct fsck_online {
	struct vmfs_volume *vol; /* read-only, for the logs; NULL: it cannot be opened */
	struct reporter silent;
	struct online_suspect *suspects; /* a table */
	struct online_note *notes, **notes_end; /* of this round */
	unsigned int round;
	uint64_t growth_mark; /* lock of .fbb.sf's FD in the last round: suspects.c */
	/* ---- of one round ---- */
	struct fsck *f;
	struct online_host hosts[ONLINE_HOSTS_MAX];
	unsigned int host_count;
	struct online_look look;
	uint64_t *cluster_marks[FSCK_RESOURCE_COUNT]; /* of locks as they were read */
	uint64_t *fd_marks;
	unsigned int unstable; /* files and directories that would not hold still */
	int err;
};

#endif
