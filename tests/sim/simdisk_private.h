/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMDISK_PRIVATE_H
#define TESTS_SIM_SIMDISK_PRIVATE_H

/*
 * Shared by simdisk.c (the target), simdisk_bdev.c (the initiators) and simdisk_fence.c.
 */
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
	COMMAND_PR_OUT,
	COMMAND_PR_IN,
};

enum command_state {
	COMMAND_SENT,	  /* still on the host's side */
	COMMAND_ACCEPTED, /* may take effect at any time */
	COMMAND_OVER,	  /* has taken effect, or never will */
};

struct pr_request {
	enum bdev_pr_action action;
	uint64_t key, victim;
};

/* The target's copy of what a host asked for; lives until it is over and answered. */
struct command {
	struct attachment *at;
	uint64_t number;
	enum command_kind kind;
	uint32_t flags;
	uint64_t offset, len; /* on the disk; CAW: one block */
	struct pr_request pr;
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
	unsigned int number;
	bool is_cut, is_path_down, is_closed;
	uint64_t pr_key;    /* 0: not registered */
	bool is_preempted;  /* 2A/05 is still to be told */
	bool has_attention; /* 29/00 is still to be told */
	uint32_t events;    /* attentions told, sessions made anew */
	unsigned int command_count, unanswered;
	struct mutex m;
	struct cond c; /* unanswered has become 0 */
	LIST_ENTRY(attachment) all;
	struct guard_lease *lease; /* or NULL */
	LIST_ENTRY(attachment) guarded;
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

struct submit_oracle {
	void (*fn)(const struct simdisk_submission *s, void *arg);
	void *arg;
	SLIST_ENTRY(submit_oracle) next;
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
	bool is_pr_reserved;
	uint32_t pr_generation;
	uint32_t reinstated;
	LIST_HEAD(, attachment) attachments;
	LIST_HEAD(, command) commands;
	LIST_HEAD(, liveness_lock) locks;
	SLIST_HEAD(, bad_range) bad;
	SLIST_HEAD(, oracle) oracles;
	SLIST_HEAD(, submit_oracle) submit_oracles;
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

/* Of the calling fiber's host; fails if it may not be used here and now. */
struct attachment *initiator_of(struct bdev *bd);
/* Sends a command; pr: for COMMAND_PR_OUT. */
void initiator_start(struct attachment *at, enum command_kind kind, struct bdev_io *io,
		     const struct pr_request *pr);

/* cmd is over; its answer is on the way (or lost). */
void initiator_answer_later(struct command *cmd, int result);
/* Frees cmd if nobody needs it any more. */
void initiator_forget(struct command *cmd);
/* All accepted commands and calls of at are cancelled; for the end of the disk. */
void initiator_free_all(struct simdisk *disk);

/* ---- simdisk_fence.c: reservations and sessions ---- */

/* Sends a command and waits; ret_state: for COMMAND_PR_IN. */
int initiator_run(struct attachment *at, enum command_kind kind,
		  const struct pr_request *pr, struct bdev_pr_state *ret_state);
/* A persistent reservation is in the way. */
bool fence_refuses(const struct command *cmd);
int fence_effect(struct command *cmd);
/* Attention 29/00 for all; registrations as the personality says. */
void fence_reset(struct simdisk *disk, bool is_power_lost);
void initiator_cut_off(struct attachment *at, struct command *cmd);

/* struct bdev_ops. */
int simdisk_reserve(struct bdev *bd, bool is_wanted);
int simdisk_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key,
	       uint64_t victim);
int simdisk_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state);
uint32_t simdisk_events(struct bdev *bd);
int simdisk_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus);
int simdisk_reinstate(struct bdev *bd, const struct bdev_nexus *victim,
		      uint64_t deadline);
int simdisk_reset(struct bdev *bd, uint64_t deadline);
void simdisk_cut(struct bdev *bd);
int simdisk_mend(struct bdev *bd, uint64_t deadline);
int simdisk_guard(struct bdev *bd, struct guard_lease *lease);
void initiator_unguard(struct attachment *at);

#endif
