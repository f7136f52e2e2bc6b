/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LEASE_H
#define VMFS_LEASE_H

/*
 * The lease of a member: how old it is, what may be done at that age, and who is between
 * the gate and the device (LOCKING.md 6.3).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "bdev/bdev.h"
#include "bdev/guard.h"
#include "vmfs/passage.h"
#include "vmfs/vmfs.h"

/* LOCKING.md 14, nanoseconds. */
struct vmfs_timing {
	uint64_t renew_ns;	/* T_hb: one renewal every so often */
	uint64_t attempt_ns;	/* T_hbto: one attempt */
	uint64_t stop_ns;	/* T_stop: no new write from this age on */
	uint64_t cut_ns;	/* T_cut: the devices are cut */
	uint64_t lease_ns;	/* T_lease: reads are not trusted from this age on */
	uint64_t dead_ns;	/* T_dead that we publish and ask of others at least */
	/* T_dead of who has the device from its kernel: what that has queued runs late */
	uint64_t dead_kernel_ns;
	uint64_t residue_ns;	/* T_tgt */
	uint64_t retain_ns;	/* unpinned locks are kept so long */
	uint64_t ack_ns;	/* from the guard's cut to its kill */
};
/* profile: NORMAL or FAST. divisor: 1; tests divide all times. T_dead: timed mode. */
struct vmfs_timing vmfs_timing_of(enum vmfs_lease_profile profile, unsigned int divisor);

enum lease_state {
	LEASE_GREEN,   /* all goes */
	LEASE_HOLD,    /* no new write */
	LEASE_CUT,     /* the devices are cut; to be reclaimed */
	LEASE_EXPIRED, /* the same, and others may have taken over */
	LEASE_FENCED,  /* over for good */
};
const char *lease_state_name(enum lease_state state);
/*
 * The state at an age. is_cut: the devices were cut and the lease has not been reclaimed
 * since; dead: it is lost for good.
 */
enum lease_state lease_state_of(const struct vmfs_timing *timing, uint64_t age_ns,
				bool is_cut, bool is_dead);

/*
 * Why no write enters: flags of `inside`. `dead` says why it is so for good; the gate is
 * closed (lease_is_cut); what was acknowledged may be lost, and only who restores it
 * writes (lease_is_suspended).
 */
#define LEASE_SHUT_DEAD (1ull << 63)
#define LEASE_SHUT_CUT (1ull << 62)
#define LEASE_SHUT_SUSPENDED (1ull << 61)
#define LEASE_SHUT (LEASE_SHUT_DEAD | LEASE_SHUT_CUT | LEASE_SHUT_SUSPENDED)

struct vmfs_lease {
	const struct vmfs_timing *timing;
	bool is_counted; /* false: a liveness lock stands for it; always young */
	struct passage inside; /* writes between the gate and their end */
	/* submission time of the last renewal known to have run; changed under m */
	_Atomic uint64_t renewed;
	struct mutex m; /* guards all below, and that something above is changed */
	struct cond c;	/* something changed */
	struct guard_lease *guard; /* or NULL */
	bool is_cut_done; /* the devices are cut */
	uint64_t cut_at, patience_ns; /* how long it may stay cut; NO_DEADLINE */
	int dead;		/* 0, or why the volume is lost: -ESTALE, -ENODEV */
	bool is_poked;		/* somebody has work for who restores */
	struct bdev_io *parked, **last_parked;
};

void lease_init(struct vmfs_lease *l, const struct vmfs_timing *timing);
void lease_done(struct vmfs_lease *l);
/* None of these blocks. */
uint64_t lease_age(struct vmfs_lease *l);
uint64_t lease_patience(struct vmfs_lease *l);
enum lease_state lease_state(struct vmfs_lease *l);
int lease_dead(struct vmfs_lease *l);
/* The gate is closed, and the lease has not been reclaimed since. */
bool lease_is_cut(const struct vmfs_lease *l);
/* A renewal submitted then has run. The guard hears of it unless the lease is cut. */
void lease_renewed(struct vmfs_lease *l, uint64_t submitted);
/*
 * True for the first call of a cut (of a death): the caller cuts the devices, and says
 * lease_cut_done() then.
 */
bool lease_cut(struct vmfs_lease *l);
/* The same, if T_cut is past still: a renewal may have come since somebody looked. */
bool lease_cut_if_due(struct vmfs_lease *l);
void lease_cut_done(struct vmfs_lease *l);
bool lease_die(struct vmfs_lease *l, int err);
/*
 * After a reclaim: GREEN again, if the renewal is young enough; false if not, or dead.
 * Everybody who waits goes on.
 */
bool lease_reopen(struct vmfs_lease *l);
/* Waits until the cut is done and nothing is inside: 0 or -ETIMEDOUT. Blocks. */
int lease_drain(struct vmfs_lease *l, uint64_t deadline)
	__attribute__((warn_unused_result));

/* Waits for GREEN: 0, and the caller is inside; -ESTALE. Blocks. */
int lease_enter(struct vmfs_lease *l) __attribute__((warn_unused_result));
/* The same, now or not at all: 0, -EAGAIN, -ESTALE. Never blocks. */
int lease_try(struct vmfs_lease *l) __attribute__((warn_unused_result));
/* Out again. true: the devices were cut meanwhile; -ESTALE of a device is that. */
bool lease_leave(struct vmfs_lease *l);
/*
 * May a read be sent? 0; -EAGAIN: the devices are cut, or are to be; -ESTALE. Does not
 * look at the clock: what is read is judged when it has come (lease_trust). Never blocks.
 */
int lease_may_read(const struct vmfs_lease *l) __attribute__((warn_unused_result));
/* Waits for GREEN or HOLD, where reads may be sent: 0, -ESTALE. Blocks. */
int lease_wait_readable(struct vmfs_lease *l) __attribute__((warn_unused_result));
/*
 * May what was read until now be believed? 0; -EAGAIN: read again when it may;
 * -ESTALE.
 */
int lease_trust(struct vmfs_lease *l) __attribute__((warn_unused_result));
/*
 * For a device that may have lost what it had acknowledged (unflushed.h). suspend: HOLD
 * instead of GREEN until resume; who restores enters alone: waits until the lease would
 * be GREEN and nobody else is inside. 0: inside; -ESTALE; -ECANCELED: *is_stopping, which
 * lease_stop_waiting() sets. Only enter_alone and wait_poked block.
 */
void lease_suspend(struct vmfs_lease *l);
void lease_resume(struct vmfs_lease *l);
bool lease_is_suspended(const struct vmfs_lease *l);
int lease_enter_alone(struct vmfs_lease *l, const bool *is_stopping)
	__attribute__((warn_unused_result));
void lease_poke(struct vmfs_lease *l);
/* Waits for poke or suspend; false: dead, or *is_stopping. */
bool lease_wait_poked(struct vmfs_lease *l, const bool *is_stopping);
void lease_stop_waiting(struct vmfs_lease *l, bool *is_stopping);
/* Waits until nothing is suspended: 0; -ESTALE. Blocks. */
int lease_wait_resumed(struct vmfs_lease *l) __attribute__((warn_unused_result));
/* Keeps io until the gate opens or the lease dies, then gives it to bdev_resume(); false
   if that is now. Never blocks. */
bool lease_park(struct vmfs_lease *l, struct bdev_io *io);

#endif
