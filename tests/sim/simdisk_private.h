/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMDISK_PRIVATE_H
#define TESTS_SIM_SIMDISK_PRIVATE_H

/* Shared by simdisk.c (the target) and simdisk_bdev.c (the initiators). */
#include <sys/queue.h>

#include "tests/sim/simdisk.h"
#include "tests/sim/simlog.h"
#include "tests/sim/store.h"

enum command_kind {
	COMMAND_READ = BDEV_READ,
	COMMAND_WRITE = BDEV_WRITE,
	COMMAND_FLUSH = BDEV_FLUSH,
	COMMAND_ZERO = BDEV_ZERO,
	COMMAND_UNMAP = BDEV_UNMAP,
	COMMAND_CAW = BDEV_CAW,
	COMMAND_RESERVE,
	COMMAND_RELEASE,
};

enum command_state {
	COMMAND_SENT,	  /* still on the host's side */
	COMMAND_ACCEPTED, /* may take effect at any time */
	COMMAND_OVER,	  /* has taken effect, or never will */
};

/* The target's copy of what a host asked for; lives until it is over and answered. */
struct command {
	struct attachment *at;
	uint64_t number;
	enum command_kind kind;
	uint32_t flags;
	uint64_t offset, len; /* on the disk; CAW: one block */
	uint8_t *data;	      /* as sent (CAW: both blocks), or as read; NULL: none */
	enum command_state state;
	struct bdev_io *io;   /* the host's; NULL once answered, or if the host is dead */
	int result;
	bool is_answer_lost, is_cut_short, is_blocked, is_stalled, is_torn;
	uint64_t submitted_at, accepted_at;
	uint64_t first, end; /* sectors that have not taken effect yet */
	struct sim_call *accept_call, *effect_call, *answer_call, *deadline_call;
	LIST_ENTRY(command) all;
};

/* One host's device. */
struct attachment {
	struct bdev bd; /* first */
	struct simdisk *disk;
	struct sim_host *host;
	bool is_cut, is_path_down, is_closed;
	unsigned int command_count, unanswered;
	struct mutex m;
	struct cond c; /* unanswered has become 0 */
	LIST_ENTRY(attachment) all;
};

struct liveness_lock {
	struct attachment *at;
	uint64_t offset;
	LIST_ENTRY(liveness_lock) all;
};

struct bad_range {
	uint64_t offset, len;
	bool fail_writes;
	SLIST_ENTRY(bad_range) next;
};

struct oracle {
	void (*fn)(const struct simdisk_effect *e, void *arg);
	void *arg;
	SLIST_ENTRY(oracle) next;
};

struct simdisk {
	struct store *store;
	struct simdisk_log *log; /* while recording */
	enum bdev_caw_class caw;
	struct simdisk_behaviour how;
	uint64_t next_number;
	unsigned int next_attachment;
	bool is_stalled, is_gone;
	struct attachment *reserved_by;
	LIST_HEAD(, attachment) attachments;
	LIST_HEAD(, command) commands;
	LIST_HEAD(, liveness_lock) locks;
	SLIST_HEAD(, bad_range) bad;
	SLIST_HEAD(, oracle) oracles;
};

/* ---- simdisk.c: the target ---- */

/* cmd (in COMMAND_SENT) will be accepted after a while. */
void target_send(struct command *cmd);
/* cmd never takes effect (any more). It still has to be answered. */
void target_drop(struct command *cmd);
/* cmd ends now: in full, in part, or not at all. */
void target_end_somehow(struct command *cmd);
uint64_t target_delay(uint64_t max_ns);

/* ---- simdisk_bdev.c: the initiators ---- */

/* cmd is over; its answer is on the way (or lost). */
void initiator_answer_later(struct command *cmd, int result);
/* Frees cmd if nobody needs it any more. */
void initiator_forget(struct command *cmd);
/* All accepted commands and calls of at are cancelled; for the end of the disk. */
void initiator_free_all(struct simdisk *disk);

#endif
