/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over a dead member V = (slot v, generation g), step by step (LOCKING.md 7.2):
 *
 *   LIVE, unchanged for T_dead (or its liveness lock can be had)
 *     | B1 claim: cas(slot as watched -> the same + replayHost = us)
 *     v
 *   CLAIMED by us -- B2 fence, B3 barrier (fence.c) -- B4 replay -- B5 flush --
 *     |              B6 journal sector 0 := 0
 *     | B7 clear: cas(claimed -> FREE, g + 1)
 *     v
 *   FREE: every lock naming (v, g) is stale. B8: the journal's block is freed.
 *
 * Invariants:
 *  1 the claim and V's next heartbeat exclude each other: both are a cas of one sector;
 *  2 nothing of V's is written between B1 and B7 but the replay of V's own log, under our
 *    lease and gate; nobody takes V's locks before B7, since its generation stands until
 *    then;
 *  3 every step can be done again by another host when we die in it: the claim names us,
 *    so others first find us dead, then claim anew and start at B2; the replay is
 *    idempotent;
 *  4 a log that is not empty and not ours is never ignored: refuse, say so.
 *
 * The barrier: where keys fence, the end of V's session or T_tgt after the fence
 * (fence.c). In timed mode V's lease ended and its last command died within T_dead, which
 * is why T_dead is what it is; with a liveness lock the kernel gave us V's byte only
 * after V's last I/O had ended, and we keep it until B7.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/claim.h"
#include "vmfs/event.h"
#include "vmfs/fence.h"
#include "vmfs/gate.h"
#include "vmfs/locality.h"
#include "vmfs/member.h"
#include "vmfs/refresh.h"
#include "vmfs/takeover.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

#define CHAIN_MAX 8u

static bool is_liveness_slot(const struct vmfs_heartbeat_disk *slotd)
{
	return le32_get(slotd->xmagic) == HEARTBEAT_XMAGIC &&
	       slotd->fence & FENCE_LIVENESS;
}

uint64_t vmfs_takeover_after(struct vmfs_volume *vol,
			     const struct vmfs_heartbeat_disk *slotd)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;
	uint64_t after = fence_dead_after(vol, slotd);

	/* Nothing cuts a kernel's own block device: what it had queued may run late. */
	if (is_liveness_slot(slotd) && !locality_is_here(hb, slotd))
		return max_u64(after, hb->timing.dead_kernel_ns);
	return after;
}

/* NO_DEADLINE if it is not watched, or lives as long as its process. */
static uint64_t time_of_death(struct vmfs_volume *vol, uint32_t slot)
{
	struct vmfs_heartbeat_disk slotd;
	uint64_t first_seen;

	if (!watch_recall(&vol->member->watch, slot, &slotd, &first_seen) ||
	    le32_get(slotd.state) != HEARTBEAT_LIVE ||
	    (is_liveness_slot(&slotd) && locality_is_here(&vol->member->hb, &slotd)))
		return NO_DEADLINE;
	uint64_t at = first_seen + vmfs_takeover_after(vol, &slotd);
	return at > clock_now() ? at : NO_DEADLINE;
}

uint64_t vmfs_takeover_time(struct vmfs_volume *vol, const struct vmfs_holder *who)
{
	uint64_t at = time_of_death(vol, who->slot);

	for (unsigned int i = 0; i < who->other_count; i++)
		at = min_u64(at, time_of_death(vol, who->others[i].slot));
	return at;
}

/* What is to be taken over, and on what grounds. */
struct victim {
	uint32_t slot;
	/* 0: its T_dead; else stated to be off: so long is enough */
	uint64_t stated_ns;
};

/*
 * Is the owner of this image dead? 0: yes (and if it has a liveness lock, we hold it
 * now); -EAGAIN: not as far as we know.
 */
static int prove_dead(struct vmfs_volume *vol, const struct victim *v,
		      const struct vmfs_heartbeat_disk *slotd, uint64_t age_ns)
{
	uint32_t slot = v->slot;
	struct vmfs_heartbeat *hb = &vol->member->hb;

	if (is_liveness_slot(slotd)) {
		int err = bdev_liveness(hb->bd, heartbeat_liveness_off(slot), true);
		if (err || locality_is_here(hb, slotd))
			return err == -EBUSY ? -EAGAIN : err;
		if (age_ns >= vmfs_takeover_after(vol, slotd))
			return 0;
		(void)!bdev_liveness(hb->bd, heartbeat_liveness_off(slot), false);
		return -EAGAIN;
	}
	uint64_t enough = v->stated_ns ? v->stated_ns : vmfs_takeover_after(vol, slotd);
	return age_ns >= enough ? 0 : -EAGAIN;
}

static int change_slot(struct vmfs_volume *vol, uint32_t slot,
		       const struct vmfs_heartbeat_disk *from,
		       const struct vmfs_heartbeat_disk *to)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;
	struct cas c = {
		.bd = hb->bd,
		.dev_off = hb->region_off + watch_slots_size(vol, slot),
		.expected = from,
		.wanted = to,
	};
	enum cas_result result;
	int err = vmfs_gate_cas(vol, &c, hb->timing.attempt_ns, &result);

	if (err)
		return err;
	switch (result) {
	case CAS_DONE:
		return vmfs_gate_flush_device(vol, hb->bd);
	case CAS_FENCED:
		return -ESTALE;
	case CAS_GONE:
		return -ENODEV;
	default:
		return -EAGAIN;
	}
}

/* B2 to B7: the slot shows our claim. */
static int recover_claimed(struct vmfs_volume *vol, uint32_t slot,
			   const struct vmfs_heartbeat_disk *claimed,
			   struct event_takeover *t)
{
	struct vmfs_heartbeat_disk cleared;
	int err = fence_victim(vol, claimed);

	t->fenced = clock_now();
	if (!err)
		err = fence_barrier(vol, claimed);
	t->quiet = clock_now();
	if (!err)
		err = journal_replay(vol, claimed, &t->records);
	if (!err)
		err = journal_wipe(vol, claimed);
	t->replayed = clock_now();
	if (err)
		return err;
	heartbeat_free_image(claimed, &cleared);
	err = change_slot(vol, slot, claimed, &cleared);
	t->cleared = clock_now();
	if (!err)
		event_took_over(vol, slot, claimed, t);
	return err;
}

/* B1 to B7 on a slot whose owner is proved dead. */
static int recover(struct vmfs_volume *vol, uint32_t slot,
		   const struct vmfs_heartbeat_disk *watched, uint64_t age_ns)
{
	struct event_takeover t = { .began = clock_now() };
	struct vmfs_heartbeat_disk claimed;
	enum journal_state state;
	int err = journal_look(vol, watched, &state);

	if (err)
		return err;
	if (state == JOURNAL_FOREIGN)
		return event_error(
			vol, -EOPNOTSUPP,
			"slot %u (host %.46s) died with an open transaction in a "
			"journal that is not ours: mount it on that host's own system "
			"first, or run fsck", slot, (const char *)watched->ip);
	claim_image(&vol->member->hb, watched, &claimed);
	if (memcmp(&claimed, watched, sizeof(claimed))) {
		err = change_slot(vol, slot, watched, &claimed);
		if (!err)
			event_takes_over(vol, slot, watched,
					 is_liveness_slot(watched) ? 0 : age_ns);
	}
	t.claimed = clock_now();
	return err ? err : recover_claimed(vol, slot, &claimed, &t);
}

/* B8, in a transaction of our own. */
static int free_journal_block(struct vmfs_txn *t, void *arg)
{
	const vmfs_addr *addr = arg;

	return resource_free(t, *addr, (vmfs_addr){ 0 });
}

/* Blocks to collect: one of each member that was taken over on the way. */
struct remains {
	vmfs_addr journals[CHAIN_MAX + 2];
	unsigned int count;
};

static int take_over(struct vmfs_volume *vol, const struct victim *v, unsigned int depth,
		     struct remains *remains);

/* A slot claimed by another: if the claimer is dead, it is taken over first. */
static int take_over_claimer(struct vmfs_volume *vol, uint32_t slot,
			     const struct vmfs_heartbeat_disk *slotd, unsigned int depth,
			     struct remains *remains)
{
	struct vmfs_heartbeat_disk claimerd;
	uint64_t age;
	uint32_t claimer;

	if (!watch_slot_of(vol, le64_get(slotd->replay_hb), &claimer) || claimer == slot)
		return 0;
	int err = watch_look(vol, &vol->member->watch, claimer, &claimerd, &age);
	if (err || claim_is_over(slotd, &claimerd))
		return err;
	struct victim by_itself = { .slot = claimer };
	return depth == CHAIN_MAX ? -EAGAIN :
				    take_over(vol, &by_itself, depth + 1, remains);
}

static int take_over(struct vmfs_volume *vol, const struct victim *v, unsigned int depth,
		     struct remains *remains)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;
	uint32_t slot = v->slot;
	struct vmfs_heartbeat_disk slotd;
	uint64_t age;
	int err = watch_look(vol, &vol->member->watch, slot, &slotd, &age);

	if (err || le32_get(slotd.state) == HEARTBEAT_FREE)
		return err;
	if (slot == hb->slot)
		return -EAGAIN;
	bool is_by_us = claim_is_ours(hb, &slotd);
	/* Enough of our own lease to do it all. */
	if (heartbeat_lease_age(hb) + 4 * (hb->timing.stop_ns / 10) > hb->timing.stop_ns)
		return -EAGAIN;
	if (heartbeat_is_claimed(&slotd) && !is_by_us)
		err = take_over_claimer(vol, slot, &slotd, depth, remains);
	/* What we have claimed was proved before; its liveness lock is needed again. */
	if (!err && (!is_by_us || is_liveness_slot(&slotd)))
		err = prove_dead(vol, v, &slotd, age);
	if (err)
		return err;
	err = recover(vol, slot, &slotd, age);
	if (is_liveness_slot(&slotd))
		(void)!bdev_liveness(hb->bd, heartbeat_liveness_off(slot), false);
	/* A block that does not say that it was this journal may be anybody's. */
	if (!err && journal_is_of(vol, &slotd))
		remains->journals[remains->count++].raw = le32_get(slotd.journal_addr);
	return err;
}

/* Whoever is joining or leaving may meet a dead host's lock too, and has no log for a
 * transaction. */
static int collect(struct vmfs_volume *vol, vmfs_addr journal)
{
	if (addr_is_none(vol->member->journal.addr))
		return journal_free_block(vol, journal);
	return vmfs_txn_run(vol, free_journal_block, &journal,
			    clock_now() + 5 * NS_PER_S, NULL);
}

static int take_over_and_collect(struct vmfs_volume *vol, const struct victim *v)
{
	struct remains remains = { .count = 0 };

	/* The victim may have known of more blocks than we do: its log names them. */
	(void)!volume_refresh(vol);
	sleeplock_acquire(&vol->member->takeover_lock);
	int err = take_over(vol, v, 0, &remains);
	sleeplock_release(&vol->member->takeover_lock);
	for (unsigned int i = 0; i < remains.count; i++) {
		int lost = collect(vol, remains.journals[i]);

		if (lost)
			journal_tell_lost(vol, remains.journals[i], lost);
	}
	return err;
}

int vmfs_takeover(struct vmfs_volume *vol, uint32_t slot)
{
	return take_over_and_collect(vol, &(struct victim){ .slot = slot });
}

int vmfs_takeover_stated(struct vmfs_volume *vol, uint32_t slot, uint64_t enough_ns)
{
	return take_over_and_collect(
		vol, &(struct victim){ .slot = slot, .stated_ns = enough_ns });
}
