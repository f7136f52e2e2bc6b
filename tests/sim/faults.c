/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The errors: see faults.h. __real_X is the library's, __wrap_X what its callers get
 * instead. Linked into programs that name X in tests.mk (FAULTS) only.
 */
#include "tests/sim/faults.h"

#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "tests/sim/sim.h"
#include "vmfs/fence.h"
#include "vmfs/gate.h"
#include "vmfs/heartbeat.h"
#include "vmfs/lockimage.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/takeover.h"
#include "vmfs/volume.h"

enum fault fault = NO_FAULT;

#define WRAP(type, name, ...)                                                            \
	type __real_##name(__VA_ARGS__);                                                 \
	type __wrap_##name(__VA_ARGS__);                                                 \
	type __wrap_##name(__VA_ARGS__)

/* ---- journal ---- */

WRAP(int, journal_commit, struct vmfs_volume *vol, const struct journal_target *targets,
     unsigned int count)
{
	return fault == FAULT_NO_JOURNAL ? 0
					 : __real_journal_commit(vol, targets, count);
}

static void clear_now(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slotd)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;
	struct vmfs_heartbeat_disk cleared;
	uint32_t slot;

	SIM_CHECK(heartbeat_slot_of(le64_get(slotd->addr), &slot));
	heartbeat_free_image(slotd, &cleared);
	struct cas c = {
		.bd = hb->bd,
		.dev_off = hb->region_off + (uint64_t)slot * VMFS_SECTOR_SIZE,
		.expected = slotd,
		.wanted = &cleared,
		.deadline = clock_now() + 5 * NS_PER_S,
	};
	(void)vmfs_cas(&hb->caw, &c);
}

WRAP(int, journal_replay, struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
     unsigned int *ret_records)
{
	if (fault == FAULT_EARLY_CLEAR)
		clear_now(vol, slot);
	if (fault == FAULT_NO_REPLAY) {
		*ret_records = 0;
		return 0;
	}
	return __real_journal_replay(vol, slot, ret_records);
}

WRAP(int, journal_empty, struct vmfs_volume *vol)
{
	struct vmfs_journal *j = &vol->member->journal;
	uint8_t zero[VMFS_SECTOR_SIZE] = { 0 };

	if (fault == FAULT_UNLOCK_BEFORE_TRIM)
		return vmfs_gate_flush(vol);
	if (fault != FAULT_UNLOCK_BEFORE_FLUSH)
		return __real_journal_empty(vol);
	if (addr_is_none(j->addr) || j->is_empty)
		return 0;
	int err = vmfs_gate_write(vol, j->vol_off, zero, sizeof(zero), BDEV_FUA);
	j->is_empty = !err;
	j->next_sector = JOURNAL_FIRST_SECTOR;
	return err;
}

/* ---- locks ---- */

/* With the table's mutex held. */
static void spoil_table(struct lock_table *lt)
{
	for (uint32_t i = 0; i < LOCK_BUCKETS; i++) {
		struct held_lock *h = LIST_FIRST(&lt->buckets[i]);

		while (h) {
			struct held_lock *next = LIST_NEXT(h, link);
			if (fault == FAULT_KEEP && h->state == RELEASING &&
			    h->is_release_sent)
				h->state = HELD;
			if (fault == FAULT_GHOST && h->state == GHOST)
				lock_table_remove(lt, h);
			h = next;
		}
	}
}

WRAP(int, lock_release_idle, struct vmfs_volume *vol, uint64_t before)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	spoil_table(lt);
	mutex_unlock(&lt->m);
	int err = __real_lock_release_idle(vol, before);
	mutex_lock(&lt->m);
	spoil_table(lt);
	mutex_unlock(&lt->m);
	return err;
}

WRAP(void, lock_image_leave, const struct vmfs_lock_disk *from,
     const struct lock_holder *me, struct vmfs_lock_disk *ret_image)
{
	uint32_t count = le32_get(from->holder_count);

	__real_lock_image_leave(from, me, ret_image);
	if (fault == FAULT_TOKEN_LEAVE)
		ret_image->token = from->token;
	if (fault == FAULT_NOT_COMPACTED && count > 1) {
		/* Our place is emptied and stays where it is. */
		memcpy(ret_image->holders, from->holders, sizeof(from->holders));
		for (uint32_t i = 0; i < count; i++)
			if (lock_is_holder(&from->holders[i], me))
				memset(&ret_image->holders[i], 0,
				       sizeof(ret_image->holders[i]));
		ret_image->holder_count = from->holder_count;
	}
}

WRAP(void, lock_image_release, const struct vmfs_lock_disk *from,
     struct vmfs_lock_disk *ret_image)
{
	__real_lock_image_release(from, ret_image);
	if (fault == FAULT_TOKEN_RELEASE)
		ret_image->token = from->token;
}

WRAP(int, lock_image_upgrade, const struct vmfs_lock_disk *from,
     const struct lock_holder *me, unsigned int dead, struct vmfs_lock_disk *ret_image)
{
	int err = __real_lock_image_upgrade(from, me, dead, ret_image);

	if (!err && fault == FAULT_TOKEN_UPGRADE)
		ret_image->token = from->token;
	return err;
}

WRAP(void, lock_image_hand_over, const struct vmfs_lock_disk *from,
     const struct lock_holder *me, const struct lock_holder *to,
     struct vmfs_lock_disk *ret_image)
{
	__real_lock_image_hand_over(from, me, to, ret_image);
	if (fault == FAULT_TOKEN_HAND_OVER)
		ret_image->token = from->token;
}

WRAP(int, lock_image_join, const struct vmfs_lock_disk *from,
     const struct lock_holder *me, unsigned int dead, struct vmfs_lock_disk *ret_image)
{
	int err = __real_lock_image_join(from, me, dead, ret_image);

	if (fault != FAULT_NINTH_HOLDER || err != -EBUSY)
		return err;
	return __real_lock_image_join(from, me, 1, ret_image); /* the first may go */
}

WRAP(int, lock_judge_all, struct vmfs_volume *vol, const struct vmfs_lock_id *id,
     const struct vmfs_lock_disk *lockd, struct lock_judgement *ret)
{
	int err = __real_lock_judge_all(vol, id, lockd, ret);

	if (fault == FAULT_GENERATION_DIFFERS && err == -EUCLEAN) {
		*ret = (struct lock_judgement){ .seen = SEEN_STALE, .dead = ~0u };
		err = 0;
	}
	return err;
}

WRAP(int, lock_judge, struct vmfs_volume *vol, const struct vmfs_lock_id *id,
     const struct vmfs_lock_disk *lockd, enum lock_seen *ret_seen,
     struct vmfs_holder *ret_holder)
{
	int err = __real_lock_judge(vol, id, lockd, ret_seen, ret_holder);

	if (fault == FAULT_GENERATION_DIFFERS && err == -EUCLEAN) {
		*ret_seen = SEEN_STALE;
		err = 0;
	}
	return err;
}

/* ---- lease and gate ---- */

WRAP(void, lease_renewed, struct vmfs_lease *l, uint64_t submitted)
{
	__real_lease_renewed(l, fault == FAULT_LEASE_FROM_REPLY ? clock_now()
								: submitted);
}

static struct vmfs_heartbeat *renewal_of(const struct cas *c)
{
	return (struct vmfs_heartbeat *)((uintptr_t)c->expected -
					 offsetof(struct vmfs_heartbeat, last));
}

static enum cas_result write_plainly(struct cas *c)
{
	uint8_t now[VMFS_SECTOR_SIZE], copy[VMFS_SECTOR_SIZE];

	memcpy(copy, c->wanted, sizeof(copy));
	if (bdev_rw(c->bd, BDEV_READ, 0, now, sizeof(now), c->dev_off, c->deadline))
		return CAS_UNKNOWN;
	if (memcmp(now, c->expected, sizeof(now)))
		return CAS_DIFFERS;
	return bdev_rw(c->bd, BDEV_WRITE, 0, copy, sizeof(copy), c->dev_off, c->deadline)
		       ? CAS_UNKNOWN
		       : CAS_DONE;
}

/* wanted is the caller's image, which it goes on from. */
static void repeat_stamp(const struct cas *c)
{
	union {
		const void *in;
		struct vmfs_heartbeat_disk *out;
	} image = { .in = c->wanted };
	uint64_t stamp = le64_get(renewal_of(c)->last.stamp_us);

	image.out->stamp_us = le64_of(stamp % 2 ? stamp - 1 : stamp + 1);
	heartbeat_seal(image.out);
}

WRAP(enum cas_result, vmfs_cas, const struct vmfs_caw *caw, struct cas *c)
{
	struct vmfs_heartbeat_disk is;

	memcpy(&is, c->wanted, sizeof(is));
	if (fault == FAULT_PLAIN_CLAIM && !c->is_volatile &&
	    le32_get(is.state) == HEARTBEAT_LIVE && heartbeat_is_claimed(&is))
		return write_plainly(c);
	if (fault == FAULT_PLAIN_RENEWAL && c->is_volatile)
		return write_plainly(c);
	if (fault == FAULT_STAMP_REPEATS && c->is_volatile)
		repeat_stamp(c);
	return __real_vmfs_cas(caw, c);
}

WRAP(int, lease_enter, struct vmfs_lease *l)
{
	if (fault != FAULT_NO_GATE)
		return __real_lease_enter(l);
	mutex_lock(&l->m);
	l->inside++;
	mutex_unlock(&l->m);
	return 0;
}

WRAP(int, vmfs_gate_zero, struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
{
	struct bdev *bd;
	uint64_t dev_off, run;

	if (fault != FAULT_DISCARD_UNGATED)
		return __real_vmfs_gate_zero(vol, vol_off, len);
	while (len) {
		int err = lvm_map(&vol->lvm, vol_off, &bd, &dev_off, &run);

		run = min_u64(run, len);
		if (!err)
			err = bdev_zero(bd, run, dev_off);
		if (err)
			return err;
		vol_off += run;
		len -= run;
	}
	return 0;
}

WRAP(void, bdev_cut, struct bdev *bd)
{
	if (fault != FAULT_NO_CUT)
		__real_bdev_cut(bd);
}

WRAP(int, vmfs_gate_check_read, struct vmfs_volume *vol)
{
	return fault == FAULT_FENCED_READS ? 0 : __real_vmfs_gate_check_read(vol);
}

WRAP(int, vmfs_gate_trust, struct vmfs_volume *vol)
{
	return fault == FAULT_FENCED_READS ? 0 : __real_vmfs_gate_trust(vol);
}

/* ---- observing ---- */

static void count_from(struct vmfs_watch *w, uint64_t begun)
{
	struct watched *e;

	if (fault != FAULT_OBSERVER_READ_START)
		return;
	mutex_lock(&w->m);
	LIST_FOREACH(e, &w->slots, link)
		if (e->first_seen > begun)
			e->first_seen = begun;
	mutex_unlock(&w->m);
}

static bool is_taking_over;

/* What was seen some time ago. */
static bool remember(struct vmfs_watch *w, uint32_t slot, struct vmfs_heartbeat_disk *ret)
{
	const struct watched *e;
	bool is_there = false;

	mutex_lock(&w->m);
	LIST_FOREACH(e, &w->slots, link) {
		if (e->slot == slot) {
			*ret = e->image;
			is_there = true;
		}
	}
	mutex_unlock(&w->m);
	return is_there;
}

WRAP(int, watch_look, struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t slot,
     struct vmfs_heartbeat_disk *ret_image, uint64_t *ret_age_ns)
{
	uint64_t begun = clock_now();

	if (fault == FAULT_SLOT_BEFORE_LOCK && !is_taking_over && sim_chance(500000) &&
	    remember(w, slot, ret_image)) {
		*ret_age_ns = 0;
		return 0;
	}
	int err = __real_watch_look(vol, w, slot, ret_image, ret_age_ns);
	count_from(w, begun);
	if (!err && fault == FAULT_DEAD_TOO_SOON)
		*ret_age_ns += NS_PER_S;
	return err;
}

WRAP(void, watch_poll, struct vmfs_volume *vol, struct vmfs_watch *w,
     void (*heed)(struct vmfs_volume *vol, uint64_t lock_off))
{
	uint64_t begun = clock_now();

	__real_watch_poll(vol, w, heed);
	count_from(w, begun);
}

WRAP(int, watch_scan, struct vmfs_volume *vol, struct vmfs_watch *w)
{
	uint64_t begun = clock_now();
	int err = __real_watch_scan(vol, w);

	count_from(w, begun);
	return err;
}

WRAP(int, bdev_liveness, struct bdev *bd, uint64_t offset, bool is_wanted)
{
	int err = __real_bdev_liveness(bd, offset, is_wanted);

	return fault == FAULT_LIVENESS_IGNORED && err == -EBUSY ? 0 : err;
}

/* ---- fencing ---- */

static struct vmfs_heartbeat_disk unfenced;

WRAP(int, fence_victim, struct vmfs_volume *vol,
     const struct vmfs_heartbeat_disk *claimed)
{
	if (fault == FAULT_LATE_FENCE)
		unfenced = *claimed;
	if (fault == FAULT_NO_FENCE || fault == FAULT_LATE_FENCE)
		return 0;
	return __real_fence_victim(vol, claimed);
}

WRAP(int, fence_barrier, struct vmfs_volume *vol,
     const struct vmfs_heartbeat_disk *claimed)
{
	if (fault == FAULT_NO_BARRIER || fault == FAULT_NO_FENCE ||
	    fault == FAULT_LATE_FENCE)
		return 0;
	return __real_fence_barrier(vol, claimed);
}

WRAP(int, vmfs_takeover, struct vmfs_volume *vol, uint32_t slot)
{
	is_taking_over = true;
	int err = __real_vmfs_takeover(vol, slot);
	is_taking_over = false;
	if (fault == FAULT_LATE_FENCE && !err && le32_get(unfenced.state)) {
		struct vmfs_heartbeat_disk late = unfenced;

		memset(&unfenced, 0, sizeof(unfenced));
		task_sleep_until(clock_now() + 10 * NS_PER_S);
		int fence_err = __real_fence_victim(vol, &late);
		err = fence_err ? fence_err : __real_fence_barrier(vol, &late);
	}
	return err;
}
