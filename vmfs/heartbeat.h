/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_HEARTBEAT_H
#define VMFS_HEARTBEAT_H

/*
 * Our slot in the heartbeat region and the lease that its renewal gives (LOCKING.md 6).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/uuid.h"
#include "bdev/bdev.h"
#include "vmfs/caw.h"
#include "vmfs/format.h"
#include "vmfs/lease.h"

#define HEARTBEAT_UNKNOWN_MAX 8u
#define HEARTBEAT_PREFERRED 64u /* slots where hosts begin to look for one */

struct vmfs_heartbeat {
	struct vmfs_volume *vol;
	/* As wished; timing follows from them and from the members that are there. */
	enum vmfs_lease_profile profile;
	unsigned int time_divisor;
	struct vmfs_timing timing;
	struct guard *guard; /* or NULL */
	struct vmfs_caw caw;
	struct bdev *bd;	/* own queue to the first extent */
	uint64_t region_off;	/* dev offset of slot 0 there */
	uint32_t slot;
	uint64_t vol_off;	/* of the slot: its address in locks */
	uint64_t generation;
	struct uuid owner, machine;
	char host_name[sizeof(((struct vmfs_heartbeat_disk *)NULL)->ip)]; /* as shown */
	uint8_t fence;		/* FENCE_*, as it was shown first */
	bool has_liveness;	/* LOCKING.md 5.1: the lease is not needed */
	void (*on_lost)(void *arg);
	void *on_lost_arg;

	struct vmfs_lease lease; /* its mutex guards what follows, too */
	/* renewals that ran, counted; heartbeat_publish waits on it */
	uint64_t published;
	bool is_stopping;
	uint32_t journal_addr;	/* to be shown by the next renewal */
	uint64_t journal_vol_off;
	uint64_t want[HEARTBEAT_WANT_COUNT];
	bool is_hold_told; /* atomic: an operator knows that writes wait */
	bool is_want_new;	/* not shown yet */

	/* The heartbeat task's alone. */
	struct vmfs_heartbeat_disk last; /* image known to be on disk */
	struct {
		struct vmfs_heartbeat_disk image;
		uint64_t submitted;
	} unknown[HEARTBEAT_UNKNOWN_MAX];
	unsigned int unknown_count;
	uint64_t top_stamp; /* of all images ever sent, us */
	uint32_t events; /* of the devices, when the locks were last compared */
	struct task *renew_task, *lease_task;
};

/*
 * Vol offset of a slot of VMFS-5, its number again (watch_slot_off(): of any volume), and
 * the byte of the liveness lock on the device.
 */
uint64_t heartbeat_slot_off(uint32_t slot);
bool heartbeat_slot_of(uint64_t vol_off, uint32_t *ret_slot);
uint64_t heartbeat_liveness_off(uint32_t slot);
/* 0, or -EUCLEAN: a damaged slot (wrong address, state or CRC), never used or broken. */
int heartbeat_verify(const struct vmfs_heartbeat_disk *hbd, uint64_t vol_off)
	__attribute__((warn_unused_result));
void heartbeat_seal(struct vmfs_heartbeat_disk *hbd); /* sets xcrc */
/* What a slot looks like after its owner is gone: FREE, generation + 1. */
void heartbeat_free_image(const struct vmfs_heartbeat_disk *from,
			  struct vmfs_heartbeat_disk *ret_image);
static inline bool heartbeat_is_claimed(const struct vmfs_heartbeat_disk *hbd)
{
	struct uuid u;

	__builtin_memcpy(u.b, hbd->replay_host, sizeof(u.b));
	return !uuid_is_zero(&u);
}

/*
 * Takes a slot and starts renewing it. hb->vol, profile, time_divisor, guard, bd,
 * region_off, owner, machine and on_lost are set, the lease is initialised with timing;
 * the rest is zero. host_name is shown in the slot. -ENOSPC: no free
 * slot; -EBUSY: members of another storage class or profile are live (reported). Blocks.
 */
int heartbeat_start(struct vmfs_heartbeat *hb, const char *host_name,
		    bool may_use_liveness) __attribute__((warn_unused_result));
/* Stops the tasks; the slot stays LIVE. */
void heartbeat_stop(struct vmfs_heartbeat *hb);
/* After heartbeat_stop: the slot becomes FREE. 0 or -errno. Blocks. */
int heartbeat_leave(struct vmfs_heartbeat *hb) __attribute__((warn_unused_result));
void heartbeat_done(struct vmfs_heartbeat *hb);

/* One attempt to renew, by the heartbeat task. Blocks up to attempt_ns. */
void heartbeat_renew(struct vmfs_heartbeat *hb);
/* Age of the lease, ns. Never blocks. */
uint64_t heartbeat_lease_age(struct vmfs_heartbeat *hb);
/* 0 or why the volume is dead. Never blocks. */
int heartbeat_dead(struct vmfs_heartbeat *hb);
/*
 * The volume is lost: every gate fails with err from now on; devices are cut. Idempotent.
 * Never blocks.
 */
void heartbeat_die(struct vmfs_heartbeat *hb, int err, const char *why);
/*
 * Waits for a renewal that is submitted after `since` and known to have run; false: the
 * volume is dead, or it takes longer than two renewals. Blocks.
 */
bool heartbeat_is_renewed_after(struct vmfs_heartbeat *hb, uint64_t since);
/* Shows the journal's place in the slot; returns when it stands there. Blocks. */
int heartbeat_publish_journal(struct vmfs_heartbeat *hb, uint32_t addr, uint64_t vol_off)
	__attribute__((warn_unused_result));
/*
 * Lock addresses that we wait for, in the slot: who retains one gives it back. A new one
 * is shown at once (or after WANT_PAUSE_NS since the last renewal). Never blocks.
 */
void heartbeat_want(struct vmfs_heartbeat *hb, uint64_t lock_off, bool is_wanted);

#endif
