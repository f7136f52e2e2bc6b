/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The errors: see faults.h. __real_X is the library's, __wrap_X what its callers get
 * instead. Linked into programs that name X in tests.mk (FAULTS) only.
 */
#include "tests/sim/faults.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <string.h>

#include "base/align.h"
#include "bdev/fence.h"
#include "tests/sim/sim.h"
#include "vmfs/claim.h"
#include "vmfs/fence.h"
#include "vmfs/gate.h"
#include "vmfs/heartbeat.h"
#include "vmfs/lockimage.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/takeover.h"
#include "vmfs/volume.h"

uint64_t faults;

static bool is_on(enum fault f)
{
	return faults >> f & 1;
}

#define WRAP(type, name, ...)                                                            \
	type __real_##name(__VA_ARGS__);                                                 \
	type __wrap_##name(__VA_ARGS__);                                                 \
	type __wrap_##name(__VA_ARGS__)

/* ---- journal ---- */

WRAP(int, journal_commit, struct vmfs_volume *vol, const struct journal_target *targets,
     unsigned int count)
{
	return is_on(FAULT_NO_JOURNAL) ? 0
					 : __real_journal_commit(vol, targets, count);
}

/* Nonces: drawn anew for each journal. */
static bool is_making_journal;

WRAP(int, journal_create, struct vmfs_volume *vol)
{
	is_making_journal = true;
	int err = __real_journal_create(vol);
	is_making_journal = false;
	return err;
}

WRAP(uint64_t, random_u64, void)
{
	return is_on(FAULT_NONCE_REPEATS) && is_making_journal ? 1 : __real_random_u64();
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

/* What a replay reads, told so that it is content with it. */
static struct {
	const struct vmfs_heartbeat_disk *slot; /* NULL: nobody replays */
	/* the last one, in part */
	uint8_t record[JOURNAL_PAYLOAD_MAX * VMFS_SECTOR_SIZE];
} replay;

static void reseal_header(struct vmfs_journal_header_disk *head)
{
	head->hb_addr = replay.slot->addr;
	head->hb_gen = replay.slot->generation;
	memcpy(head->owner, replay.slot->owner, sizeof(head->owner));
	head->crc = le32_of(~crc32_iscsi((unsigned char *)head,
					 offsetof(struct vmfs_journal_header_disk, crc),
					 0xffffffffu));
}

/* As if the dead member held it, with the token that was logged. */
static void forge_lock(struct vmfs_lock_disk *lockd, uint64_t lock_off)
{
	const struct vmfs_journal_desc_disk *head = (const void *)replay.record;
	const struct vmfs_journal_target_disk *td = (const void *)(head + 1);

	lockd->mode = le32_of(LOCK_EXCLUSIVE);
	lockd->hb_addr = replay.slot->addr;
	lockd->hb_gen = replay.slot->generation;
	memcpy(lockd->owner, replay.slot->owner, sizeof(lockd->owner));
	for (uint32_t i = 0; i < le32_get(head->target_count); i++)
		if (le64_get(td[i].lock_off) == lock_off)
			lockd->token = td[i].token;
}

static void forge(uint64_t vol_off, void *buf, uint64_t len)
{
	struct vmfs_lock_disk *lockd = buf;
	uint32_t magic = le32_get(lockd->type);

	uint64_t head_off = le64_get(replay.slot->journal_vol_off) + VMFS_SECTOR_SIZE;

	if (is_on(FAULT_WRONG_GENERATION) && vol_off <= head_off &&
	    vol_off + len == head_off + 2 * VMFS_SECTOR_SIZE)
		reseal_header((void *)((uint8_t *)buf + (head_off - vol_off)));
	if (magic == JOURNAL_DESC_MAGIC && len > VMFS_SECTOR_SIZE)
		memcpy(replay.record, buf, min_u64(len, sizeof(replay.record)));
	if (is_on(FAULT_NO_TOKEN_CHECK) && len == VMFS_SECTOR_SIZE &&
	    magic >= VMFS_LOCK_FD && magic <= VMFS_LOCK_FDC)
		forge_lock(lockd, vol_off);
}

WRAP(int, vmfs_gate_read, struct vmfs_volume *vol, uint64_t vol_off, void *buf,
     uint64_t len)
{
	int err = __real_vmfs_gate_read(vol, vol_off, buf, len);

	if (!err && replay.slot && len >= VMFS_SECTOR_SIZE)
		forge(vol_off, buf, len);
	return err;
}

WRAP(int, journal_look, struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
     enum journal_state *ret_state)
{
	replay.slot = slot;
	int err = __real_journal_look(vol, slot, ret_state);
	replay.slot = NULL;
	return err;
}

WRAP(int, journal_wipe, struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot)
{
	replay.slot = slot;
	int err = __real_journal_wipe(vol, slot);
	replay.slot = NULL;
	return err;
}

WRAP(int, journal_replay, struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
     unsigned int *ret_records)
{
	if (is_on(FAULT_EARLY_CLEAR))
		clear_now(vol, slot);
	if (is_on(FAULT_NO_REPLAY)) {
		*ret_records = 0;
		return 0;
	}
	replay.slot = slot;
	int err = __real_journal_replay(vol, slot, ret_records);
	replay.slot = NULL;
	return err;
}

WRAP(int, journal_empty, struct vmfs_volume *vol)
{
	struct vmfs_journal *j = &vol->member->journal;
	uint8_t zero[VMFS_SECTOR_SIZE] = { 0 };

	if (is_on(FAULT_UNLOCK_BEFORE_TRIM))
		return vmfs_gate_flush(vol);
	if (!is_on(FAULT_UNLOCK_BEFORE_FLUSH))
		return __real_journal_empty(vol);
	if (addr_is_none(j->addr) || j->is_empty)
		return 0;
	int err = vmfs_gate_write(vol, j->vol_off, zero, sizeof(zero), BDEV_FUA);
	j->is_empty = !err;
	j->next_sector = JOURNAL_FIRST_SECTOR;
	return err;
}

/* Through the gate, and whatever becomes of it. */
static int send_once(struct vmfs_volume *vol, const struct gate_write *w)
{
	struct bdev *bd;
	uint64_t dev_off, run;
	int err = lvm_map(&vol->lvm, w->vol_off, &bd, &dev_off, &run);

	if (!err)
		err = vmfs_gate_pass(vol);
	if (err)
		return err;
	(void)!bdev_write(bd, w->buf, w->len, dev_off);
	(void)vmfs_gate_leave(vol);
	return 0;
}

WRAP(int, vmfs_gate_write_all, struct vmfs_volume *vol, const struct gate_write *writes,
     unsigned int count)
{
	int err = 0;

	if (!is_on(FAULT_PLACES_SENT_ONCE))
		return __real_vmfs_gate_write_all(vol, writes, count);
	for (unsigned int i = 0; !err && i < count; i++)
		err = send_once(vol, &writes[i]);
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
			if (is_on(FAULT_KEEP) && h->state == RELEASING &&
			    h->is_release_sent)
				h->state = HELD;
			if (is_on(FAULT_GHOST) && h->state == GHOST)
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
	if (is_on(FAULT_TOKEN_LEAVE))
		ret_image->token = from->token;
	if (is_on(FAULT_NOT_COMPACTED) && count > 1) {
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
	if (is_on(FAULT_TOKEN_RELEASE))
		ret_image->token = from->token;
}

WRAP(int, lock_image_upgrade, const struct vmfs_lock_disk *from,
     const struct lock_holder *me, unsigned int dead, struct vmfs_lock_disk *ret_image)
{
	int err = __real_lock_image_upgrade(from, me, dead, ret_image);

	if (!err && is_on(FAULT_TOKEN_UPGRADE))
		ret_image->token = from->token;
	return err;
}

WRAP(void, lock_image_hand_over, const struct vmfs_lock_disk *from,
     const struct lock_holder *me, const struct lock_holder *to,
     struct vmfs_lock_disk *ret_image)
{
	__real_lock_image_hand_over(from, me, to, ret_image);
	if (is_on(FAULT_TOKEN_HAND_OVER))
		ret_image->token = from->token;
}

/* On every other host, classes backwards. */
WRAP(int, vmfs_lock_compare, const struct vmfs_lock_id *a, const struct vmfs_lock_id *b)
{
	bool is_backwards = is_on(FAULT_RANK_REVERSED) && a->type != b->type &&
			    sim_host_name(sim_host_self())[1] % 2;

	return is_backwards ? __real_vmfs_lock_compare(b, a) :
			      __real_vmfs_lock_compare(a, b);
}

WRAP(int, lock_image_join, const struct vmfs_lock_disk *from,
     const struct lock_holder *me, unsigned int dead, struct vmfs_lock_disk *ret_image)
{
	int err = __real_lock_image_join(from, me, dead, ret_image);

	if (!is_on(FAULT_NINTH_HOLDER) || err != -EBUSY)
		return err;
	return __real_lock_image_join(from, me, 1, ret_image); /* the first may go */
}

WRAP(int, lock_judge_all, struct vmfs_volume *vol, const struct vmfs_lock_id *id,
     const struct vmfs_lock_disk *lockd, struct lock_judgement *ret)
{
	int err = __real_lock_judge_all(vol, id, lockd, ret);

	if (is_on(FAULT_GENERATION_DIFFERS) && err == -EUCLEAN) {
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

	if (is_on(FAULT_GENERATION_DIFFERS) && err == -EUCLEAN) {
		*ret_seen = SEEN_STALE;
		err = 0;
	}
	return err;
}

/* Whatever the storage, and whoever may have taken it over. */
WRAP(bool, lock_is_ours_alone, const struct vmfs_volume *vol, const struct held_lock *h)
{
	return (is_on(FAULT_PLAIN_RELEASE) && h->mode == LOCK_EXCLUSIVE) ||
	       __real_lock_is_ours_alone(vol, h);
}

/* ---- lease and gate ---- */

WRAP(void, lease_renewed, struct vmfs_lease *l, uint64_t submitted)
{
	__real_lease_renewed(l, is_on(FAULT_LEASE_FROM_REPLY) ? clock_now()
								: submitted);
}

/* It goes on for a while, whatever it has heard. */
WRAP(bool, lease_die, struct vmfs_lease *l, int err)
{
	static struct {
		const struct vmfs_lease *l;
		uint64_t until;
		unsigned int left;
	} last;

	if (is_on(FAULT_DIES_LATE) && last.l != l) {
		last.l = l;
		last.until = sim_time() + 20 * NS_PER_S;
		last.left = 1000;
	}
	if (is_on(FAULT_DIES_LATE) && sim_time() < last.until && last.left) {
		last.left--;
		return false;
	}
	return __real_lease_die(l, err);
}

/* The key that was registered on each device; who is refused registers it again. */
static struct {
	struct bdev *bd;
	uint64_t key;
} registered[64];

WRAP(int, bdev_pr, struct bdev *bd, enum bdev_pr_action action, uint64_t key,
     uint64_t victim)
{
	unsigned int i = 0;

	while (registered[i].bd && registered[i].bd != bd)
		SIM_CHECK(++i < ARRAY_SIZE(registered));
	if (action == BDEV_PR_REGISTER && key) {
		registered[i].bd = bd;
		registered[i].key = key;
	}
	return __real_bdev_pr(bd, action, key, victim);
}

/* true: to be tried again. */
static bool register_again(struct bdev *bd)
{
	for (unsigned int i = 0; is_on(FAULT_REREGISTER) && i < ARRAY_SIZE(registered);
	     i++)
		if (registered[i].bd == bd)
			return !__real_bdev_pr(bd, BDEV_PR_REGISTER, registered[i].key,
					       0);
	return false;
}

WRAP(int, bdev_rw, struct bdev *bd, enum bdev_op op, uint32_t flags, void *buf,
     uint64_t len, uint64_t offset, uint64_t deadline)
{
	int err = __real_bdev_rw(bd, op, flags, buf, len, offset, deadline);

	if (err == -ESTALE && register_again(bd))
		err = __real_bdev_rw(bd, op, flags, buf, len, offset, deadline);
	return err;
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
	if (__real_bdev_rw(c->bd, BDEV_READ, 0, now, sizeof(now), c->dev_off,
			   c->deadline))
		return CAS_UNKNOWN;
	if (memcmp(now, c->expected, sizeof(now)))
		return CAS_DIFFERS;
	return __real_bdev_rw(c->bd, BDEV_WRITE, 0, copy, sizeof(copy), c->dev_off,
			      c->deadline)
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

/* The larger of clock and stamp + 1, of signed numbers. */
static void mistake_sign(const struct cas *c)
{
	union {
		const void *in;
		struct vmfs_heartbeat_disk *out;
	} image = { .in = c->wanted };

	if (le64_get(image.out->stamp_us) <= INT64_MAX)
		return;
	image.out->stamp_us = le64_of(clock_now() / NS_PER_US);
	heartbeat_seal(image.out);
}

WRAP(enum cas_result, vmfs_cas, const struct vmfs_caw *caw, struct cas *c)
{
	struct vmfs_heartbeat_disk is;

	memcpy(&is, c->wanted, sizeof(is));
	if (is_on(FAULT_PLAIN_CLAIM) && !c->is_volatile &&
	    le32_get(is.state) == HEARTBEAT_LIVE && heartbeat_is_claimed(&is))
		return write_plainly(c);
	if (is_on(FAULT_PLAIN_RENEWAL) && c->is_volatile)
		return write_plainly(c);
	if (is_on(FAULT_STAMP_REPEATS) && c->is_volatile)
		repeat_stamp(c);
	if (is_on(FAULT_STAMP_SIGNED) && c->is_volatile)
		mistake_sign(c);
	enum cas_result result = __real_vmfs_cas(caw, c);
	if (result == CAS_FENCED && register_again(c->bd))
		result = __real_vmfs_cas(caw, c);
	return result;
}

WRAP(int, lease_enter, struct vmfs_lease *l)
{
	if (!is_on(FAULT_NO_GATE) || (is_on(FAULT_DIES_LATE) && l->dead))
		return __real_lease_enter(l);
	if (is_on(FAULT_DIES_LATE) && lease_state(l) != LEASE_GREEN)
		task_sleep_until(clock_now() + 20 * NS_PER_MS); /* between two tries */
	return passage_enter(&l->inside, 0) ? 0 : -EAGAIN;
}

WRAP(int, vmfs_gate_zero, struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
{
	struct bdev *bd;
	uint64_t dev_off, run;

	if (!is_on(FAULT_DISCARD_UNGATED))
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
	if (!is_on(FAULT_NO_CUT))
		__real_bdev_cut(bd);
}

WRAP(int, vmfs_gate_check_read, struct vmfs_volume *vol)
{
	return is_on(FAULT_FENCED_READS) ? 0 : __real_vmfs_gate_check_read(vol);
}

WRAP(int, vmfs_gate_trust, struct vmfs_volume *vol)
{
	return is_on(FAULT_EXPIRED_CACHE) ? 0 : __real_vmfs_gate_trust(vol);
}

/* ---- observing ---- */

static void count_from(struct vmfs_watch *w, uint64_t begun)
{
	struct watched *e;

	if (!is_on(FAULT_OBSERVER_READ_START))
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

	if (is_on(FAULT_SLOT_BEFORE_LOCK) && !is_taking_over && sim_chance(500000) &&
	    remember(w, slot, ret_image)) {
		*ret_age_ns = 0;
		return 0;
	}
	int err = __real_watch_look(vol, w, slot, ret_image, ret_age_ns);
	count_from(w, begun);
	if (!err && is_on(FAULT_DEAD_TOO_SOON))
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

WRAP(int, watch_newcomers, struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t own)
{
	uint64_t begun = clock_now();
	int err = __real_watch_newcomers(vol, w, own);

	count_from(w, begun);
	return err;
}

WRAP(int, bdev_liveness, struct bdev *bd, uint64_t offset, bool is_wanted)
{
	int err = __real_bdev_liveness(bd, offset, is_wanted);

	return is_on(FAULT_LIVENESS_IGNORED) && err == -EBUSY ? 0 : err;
}

/* ---- fencing ---- */

static struct vmfs_heartbeat_disk unfenced;

WRAP(int, fence_victim, struct vmfs_volume *vol,
     const struct vmfs_heartbeat_disk *claimed)
{
	if (is_on(FAULT_LATE_FENCE))
		unfenced = *claimed;
	if (is_on(FAULT_NO_FENCE) || is_on(FAULT_LATE_FENCE))
		return 0;
	return __real_fence_victim(vol, claimed);
}

WRAP(int, fence_barrier, struct vmfs_volume *vol,
     const struct vmfs_heartbeat_disk *claimed)
{
	if (is_on(FAULT_NO_BARRIER) || is_on(FAULT_NO_FENCE) ||
	    is_on(FAULT_LATE_FENCE))
		return 0;
	return __real_fence_barrier(vol, claimed);
}

WRAP(int, vmfs_takeover, struct vmfs_volume *vol, uint32_t slot)
{
	is_taking_over = true;
	int err = __real_vmfs_takeover(vol, slot);
	is_taking_over = false;
	if (is_on(FAULT_LATE_FENCE) && !err && le32_get(unfenced.state)) {
		struct vmfs_heartbeat_disk late = unfenced;

		memset(&unfenced, 0, sizeof(unfenced));
		task_sleep_until(clock_now() + 10 * NS_PER_S);
		int fence_err = __real_fence_victim(vol, &late);
		err = fence_err ? fence_err : __real_fence_barrier(vol, &late);
	}
	return err;
}

/* ---- claims ---- */

/* What nobody has seen: all members draw one owner UUID. */
WRAP(int, heartbeat_start, struct vmfs_heartbeat *hb, const char *host_name,
     bool may_use_liveness)
{
	if (is_on(FAULT_ONE_UUID))
		memset(hb->owner.b, 0x77, sizeof(hb->owner.b));
	return __real_heartbeat_start(hb, host_name, may_use_liveness);
}

WRAP(bool, claim_is_ours, const struct vmfs_heartbeat *hb,
     const struct vmfs_heartbeat_disk *slotd)
{
	if (is_on(FAULT_CLAIM_BY_UUID))
		return !memcmp(slotd->replay_host, hb->owner.b, sizeof(hb->owner.b));
	return __real_claim_is_ours(hb, slotd);
}

WRAP(bool, claim_is_over, const struct vmfs_heartbeat_disk *slotd,
     const struct vmfs_heartbeat_disk *claimerd)
{
	if (is_on(FAULT_CLAIMER_NOT_AWAITED) || is_on(FAULT_CLAIMER_FOR_EVER))
		return is_on(FAULT_CLAIMER_NOT_AWAITED);
	return __real_claim_is_over(slotd, claimerd);
}

/* ---- the clock ---- */

/* How long each machine has stood still, which its clock does not count. */
static struct nap {
	const struct sim_host *host;
	uint64_t begun, total; /* begun: 0, it is up */
} naps[64];

static struct nap *nap_of(const struct sim_host *h)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(naps); i++)
		if (naps[i].host == h)
			return &naps[i];
	return NULL;
}

static uint64_t lag_of(const struct sim_host *h)
{
	const struct nap *n = is_on(FAULT_MONOTONIC) ? nap_of(h) : NULL;

	return n ? n->total + (n->begun ? sim_time() - n->begun : 0) : 0;
}

WRAP(void, sim_host_pause, struct sim_host *h)
{
	struct nap *n = nap_of(h) ? nap_of(h) : nap_of(NULL);

	SIM_CHECK(n);
	n->host = h;
	if (!n->begun)
		n->begun = sim_time();
	__real_sim_host_pause(h);
}

WRAP(void, sim_host_resume, struct sim_host *h)
{
	struct nap *n = nap_of(h);

	if (n) {
		n->total += n->begun ? sim_time() - n->begun : 0;
		n->begun = 0;
	}
	__real_sim_host_resume(h);
}

WRAP(uint64_t, sim_host_clock, const struct sim_host *h)
{
	return __real_sim_host_clock(h) - lag_of(h);
}

WRAP(uint64_t, sim_host_time_of, const struct sim_host *h, uint64_t clock)
{
	return __real_sim_host_time_of(h, clock + lag_of(h));
}
