/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LOCKWAIT_H
#define VMFS_LOCKWAIT_H

/*
 * A transaction that waits for locks of other hosts, one at a time (LOCKING.md 8).
 * Inside the folder only.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/event.h"
#include "vmfs/lock.h"
#include "vmfs/vmfs.h"

struct lock_wait {
	struct vmfs_volume *vol;
	uint64_t patience; /* how long one and the same holder may keep us waiting */
	uint64_t began, deadline, give_up;
	uint64_t pause;	     /* between two looks */
	uint64_t wanted_off[2]; /* told to others, the last first; 0: nothing */
	struct event_wait told;
	/* The record that was met last, and since when it shows this token. */
	uint64_t seen_off, seen_token, seen_since;
};

/* deadline: clock_now() ns; 0 or past: live hosts are not waited for. Never blocks. */
void lock_wait_init(struct lock_wait *w, struct vmfs_volume *vol, uint64_t deadline);
/*
 * A lock was met that cannot be had. Takes over a dead holder, adopts a ghost, or tells
 * the holder and sleeps. The caller has no txn_lock. 0: try again; -EBUSY: the holder
 * lives (*ret_holder) and sat on the lock until the deadline; -ESTALE, -errno. Blocks.
 */
int lock_wait_turn(struct lock_wait *w, const struct vmfs_lock_id *id,
		   struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* Something that was read changed before it could be locked: a short random pause. */
void lock_wait_dodge(struct lock_wait *w);
/* Nothing is waited for any more. Never blocks. */
void lock_wait_done(struct lock_wait *w);

#endif
