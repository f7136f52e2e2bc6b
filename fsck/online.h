/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_ONLINE_H
#define FSCK_ONLINE_H

/*
 * The check of a volume that members are writing (fsck.vmfs --online): look.c reads what
 * changes, online.c judges what is found. All functions may be called when f->online is
 * NULL; then nobody writes.
 */
#include "fsck/check.h"
#include "vmfs/logview.h"

#define ONLINE_HOSTS_MAX 64u

/* What a finding rests on besides the object that was looked at. */
enum fsck_key_kind {
	KEY_CLUSTER, /* of resource file i: nobody writes it, or has */
	KEY_FD,	     /* file descriptor: nobody writes it, or has */
	/* its lock has not moved: it is the same file still, or still free */
	KEY_FD_SAME,
	KEY_SLOT,    /* heartbeat slot: of the same incarnation still */
};

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
	uint64_t growth_mark; /* lock of .fbb.sf's FD in the last round: see online.c */
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

/* ---- look.c ---- */

/* true if nobody writes under this lock, as far as it says itself. */
bool fsck_lock_is_quiet(const struct fsck_volume *v, const struct vmfs_lock_disk *lock);
/* What a lock sector is known by. Never 0 or 1. */
uint64_t fsck_lock_mark(const void *lock);
/*
 * Reads what is under the lock at lock_off by way of fn, in one committed state; what fn
 * has read then reads the same, until fsck_look_over(). false: it would not hold still,
 * and what was read may be anything. Blocks.
 */
bool fsck_look(struct fsck *f, uint64_t lock_off, void (*fn)(struct fsck *f, void *arg),
	       void *arg);
/* false: what was read may be torn after all. */
bool fsck_look_over(struct fsck *f);
/* The file descriptor with this number, and all its metadata. Blocks. */
bool fsck_look_file(struct fsck *f, uint64_t number, struct fsck_file *ret_file);
/*
 * The headers of `count` clusters from `first` on, each of one committed state. Blocks.
 */
int fsck_look_clusters(struct fsck *f, enum fsck_resource_index i, uint32_t first,
		       uint32_t count, uint8_t *headers)
	__attribute__((warn_unused_result));

/* ---- online.c ---- */

/* The check as a whole: rounds until each suspicion is a finding or dropped. Blocks. */
int fsck_online_check(const struct fsck_options *options,
		      struct fsck_summary *ret_summary)
	__attribute__((warn_unused_result));
/* The round has read the slots, and nothing else yet. 0 or -ENOMEM. Blocks. */
int fsck_online_begin(struct fsck *f) __attribute__((warn_unused_result));
/* The round is over, f still there. Blocks. */
void fsck_online_judge(struct fsck *f);
/* A finding, for the time being. */
void fsck_suspect(struct fsck *f, enum fsck_problem problem, const char *text);
/* Something could not be read in one state. */
void fsck_online_unstable(struct fsck *f);
/* The lock of a file descriptor or a cluster, as it was when that was read. */
void fsck_online_mark_fd(struct fsck *f, uint64_t number, const void *lock);
void fsck_online_mark_cluster(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			      const void *lock);

#endif
