/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_FENCE_H
#define BDEV_FENCE_H

/*
 * What a cluster asks of a shared device beside I/O (LOCKING.md 9): who may write, how a
 * host that lost its lease is cut off, and when nothing of a session that is over can
 * land any more. A range passes all of it to the device below.
 */
#include <stdbool.h>
#include <stdint.h>

struct bdev;
struct guard_lease; /* bdev/guard.h */

/* ---- persistent reservations (SPC-4 5.13) ---- */

enum bdev_pr_action {
	/* REGISTER AND IGNORE EXISTING KEY, kept over power loss (APTPL) if it can be:
	   `key` on every session of this device; 0 unregisters. */
	BDEV_PR_REGISTER,
	/* RESERVE of the type `what` (0: WRITE EXCLUSIVE - ALL REGISTRANTS); 0 also if
	   such a one stands and is ours too. */
	BDEV_PR_RESERVE,
	/* RELEASE of our reservation of that type; 0 also if we hold none. */
	BDEV_PR_RELEASE,
	/* PREEMPT AND ABORT (PREEMPT where there is no such) of the key `what`. */
	BDEV_PR_PREEMPT,
	/* RELEASE and CLEAR: all registrations and the reservation go. */
	BDEV_PR_CLEAR,
	/* REGISTER on those sessions of this device that have come since, and lack `key`
	   (bdev_nexus); 0 also if there are none. */
	BDEV_PR_JOIN,
};

/* Who may do what: the holder alone; registrants only; all registrants hold it. */
#define BDEV_PR_TYPE_WE 1u /* WRITE EXCLUSIVE: others may read */
#define BDEV_PR_TYPE_EA 3u /* EXCLUSIVE ACCESS: others may not */
#define BDEV_PR_TYPE_WE_RO 5u
#define BDEV_PR_TYPE_EA_RO 6u
#define BDEV_PR_TYPE_WE_AR 7u
#define BDEV_PR_TYPE_EA_AR 8u
#define BDEV_PR_KEYS_MAX 4096u

struct bdev_pr_state {
	uint32_t generation;
	bool is_reserved;
	uint8_t type;	    /* of the reservation */
	uint64_t holder;    /* its key; 0: all registrants hold it */
	uint32_t key_count; /* registrations, one per session: a key may repeat */
	uint64_t keys[BDEV_PR_KEYS_MAX];
};

/*
 * Sends one action. 0: done. -ETIMEDOUT: outcome unknown (a target may say "not ready"
 * and have done it): read back and decide. -ESTALE: refused, our key is not registered.
 * -EBUSY: a reservation of another type or of ESXi stands; -EOPNOTSUPP: the device has no
 * persistent reservations; -errno. Blocks.
 */
int bdev_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key, uint64_t what)
	__attribute__((warn_unused_result));
/* READ KEYS and READ RESERVATION: 0, -EOPNOTSUPP, -errno. Blocks. */
int bdev_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state)
	__attribute__((warn_unused_result));

/* READ FULL STATUS: one registration, with the session it is of. */
struct bdev_registrant {
	uint64_t key;
	bool is_holder;
	uint8_t type;	     /* of the reservation, if it is one */
	uint16_t port;	     /* relative target port; 0: not told */
	char initiator[256]; /* iSCSI name; "": not told */
	bool has_isid;
	uint8_t isid[6];
};
/* Fills up to max; how many there are, -EOPNOTSUPP, -errno. Blocks. */
int bdev_registrants(struct bdev *bd, struct bdev_registrant *ret, unsigned int max)
	__attribute__((warn_unused_result));

/*
 * Counts what may have changed reservations behind our back: sessions that were built
 * anew, unit attentions that tell of a reset or of reservations. Never blocks.
 */
uint32_t bdev_events(struct bdev *bd);

/* ---- sessions ---- */

#define BDEV_PATHS_MAX 8u

/*
 * The initiator's end of a session, as the target knows it (RFC 7143 3.4.1, 10.1). A
 * device of several paths has several: that of path i has the same name, the same ISID
 * but for i more in byte 3, and tpgts[i].
 */
struct bdev_nexus {
	char initiator[224]; /* iSCSI name */
	uint8_t isid[6];
	uint16_t tpgt; /* target portal group tag */
	uint8_t paths; /* 0, 1: one */
	/* [0] is tpgt; filled only if there are several */
	uint16_t tpgts[BDEV_PATHS_MAX];
	bool is_partial; /* the group of a path is not known yet */
	bool lacks_key;	 /* a session that is up has no reservation key yet */
};

/* Of this device's sessions that carry data. 0, or -EOPNOTSUPP. Never blocks. */
int bdev_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus)
	__attribute__((warn_unused_result));
/*
 * The reinstatement barrier (RFC 7143 6.3.5): logs in as `victim`, on each of its paths,
 * on portals of this device, and out again. 0: every command of the victim's sessions has
 * ended, and they are dead. -EOPNOTSUPP, -EACCES (CHAP), -ETIMEDOUT (deadline,
 * clock_now() ns), -errno: nothing is known. Blocks.
 */
int bdev_reinstate(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline)
	__attribute__((warn_unused_result));

/*
 * LOGICAL UNIT RESET, the barrier for all: 0: no command that any session had sent before
 * has any more effect. Those of others, and our own, are lost without a word, and each
 * session hears of it at its next command (bdev_events). Reservation keys stay; a
 * RESERVE(6) goes. -EOPNOTSUPP, -EACCES, -ETIMEDOUT, -errno: nothing is known. Blocks,
 * perhaps for long: a target may wait for a host that does not answer (LOCKING.md 1.3).
 */
int bdev_reset(struct bdev *bd, uint64_t deadline) __attribute__((warn_unused_result));

/* Send nothing more: I/O from now on is -ESTALE; what is in flight may land, and ends
   with -ETIMEDOUT or -ESTALE. Idempotent. Never blocks. */
void bdev_cut(struct bdev *bd);
/*
 * Undoes bdev_cut() on new sessions: nothing that was sent before the cut can land on
 * them or be answered by them; on iSCSI the same ISID is used, so the old session's tasks
 * are ended by the target first. What was in flight has ended before this returns 0.
 * -ETIMEDOUT: still cut, try again; -ESTALE: another host has fenced us; -ENODEV: it is
 * another disk now. 0 for one that is not cut. Blocks until `deadline`.
 */
int bdev_mend(struct bdev *bd, uint64_t deadline) __attribute__((warn_unused_result));
/*
 * Every socket of this device, now and later, is put under the guard of lease before a
 * byte of I/O is sent on it; NULL ends that. 0, or -errno: the device cannot be guarded.
 * A device without sockets: 0. Blocks.
 */
int bdev_guard(struct bdev *bd, struct guard_lease *lease)
	__attribute__((warn_unused_result));

#endif
