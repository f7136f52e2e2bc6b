/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on disk and the table of those we hold (LOCKING.md 3.2, 4, 8).
 *
 *                lock_take (cas)              unpin, retained
 *                                             lock_release_idle
 *   not in table ---------------> HELD pinned -----------> HELD unpinned
 *   -----------------.
 *        |  ^                         ^___________ lock_pin ____|
 *           |
 *        |  |
 *           v
 *        |  '---- the release is known to have run ------------------------------
 *           RELEASING
 *        '--- cas unknown ---> GHOST --- shows us: HELD unpinned; can match no more: gone
 *
 * Invariants:
 *  1 a record changes only by cas from the exact sector that was read, to token + 1: no
 *    late copy of any command can match again;
 *  2 after a release was sent the lock is not used until the release is known done (R1);
 *  3 an acquisition of unknown fate stays in the table as a ghost until its fate is
 *    known; a record that names our slot, generation and owner is ours even if the table
 *    forgot (R2);
 *  4 no lock is given back while somebody has it pinned;
 *  5 no lock leaves us before journal_empty() (LOCKING.md 10.5): the functions that
 *    release run under txn_lock, so no record can be logged in between.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/cache.h"
#include "vmfs/gate.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/takeover.h"
#include "vmfs/volume.h"

#define CAS_PATIENCE_NS (5 * NS_PER_S)
#define LEAVING_PATIENCE_NS (5 * NS_PER_S)
#define WAIT_FIRST_NS (50 * NS_PER_MS)
#define WAIT_MAX_NS (1 * NS_PER_S)
/* Left to a waiter: longer than it ever sleeps between two looks. */
#define YIELD_NS (1600 * NS_PER_MS)

int vmfs_lock_compare(const struct vmfs_lock_id *a, const struct vmfs_lock_id *b)
{
	/* Class: directory FDs, file FDs, then clusters by type; within it by address. */
	uint32_t class_a = a->type == VMFS_LOCK_FD ? !a->is_directory : a->type;
	uint32_t class_b = b->type == VMFS_LOCK_FD ? !b->is_directory : b->type;

	if (class_a != class_b)
		return class_a < class_b ? -1 : 1;
	return a->vol_off < b->vol_off ? -1 : a->vol_off > b->vol_off;
}

/* ---- the table ---- */

static uint32_t bucket_of(uint64_t vol_off)
{
	return (uint32_t)((vol_off / 512 * 0x9E3779B97F4A7C15ull) >> 56) % LOCK_BUCKETS;
}

void lock_table_init(struct lock_table *lt)
{
	mutex_init(&lt->m);
	for (uint32_t i = 0; i < LOCK_BUCKETS; i++)
		LIST_INIT(&lt->buckets[i]);
	lt->count = lt->yield_count = 0;
	memset(lt->yielded, 0, sizeof(lt->yielded));
}

void lock_table_done(struct lock_table *lt)
{
	for (uint32_t i = 0; i < LOCK_BUCKETS; i++) {
		while (!LIST_EMPTY(&lt->buckets[i])) {
			struct held_lock *h = LIST_FIRST(&lt->buckets[i]);

			LIST_REMOVE(h, link);
			free(h);
		}
	}
	mutex_done(&lt->m);
}

struct held_lock *lock_table_find(struct lock_table *lt, uint64_t vol_off)
{
	struct held_lock *h;

	LIST_FOREACH(h, &lt->buckets[bucket_of(vol_off)], link)
		if (h->id.vol_off == vol_off)
			return h;
	return NULL;
}

/* Takes h. With lt->m held. */
static void table_insert(struct lock_table *lt, struct held_lock *h)
{
	assert(!lock_table_find(lt, h->id.vol_off));
	LIST_INSERT_HEAD(&lt->buckets[bucket_of(h->id.vol_off)], h, link);
	lt->count++;
}

static void table_remove(struct lock_table *lt, struct held_lock *h)
{
	LIST_REMOVE(h, link);
	lt->count--;
	free(h);
}

/* ---- transitions on disk ---- */

static int cas_lock(struct vmfs_volume *vol, uint64_t vol_off,
		    const struct vmfs_lock_disk *from, const struct vmfs_lock_disk *to,
		    enum cas_result *ret_result)
{
	struct cas c = { .expected = from, .wanted = to };
	uint64_t run;
	int err = vmfs_gate_enter(vol);

	if (!err)
		err = lvm_map(&vol->lvm, vol_off, &c.bd, &c.dev_off, &run);
	if (err)
		return err;
	c.deadline = clock_now() + CAS_PATIENCE_NS;
	*ret_result = vmfs_cas(&vol->member->hb.caw, &c);
	if (*ret_result == CAS_FENCED || *ret_result == CAS_GONE) {
		err = *ret_result == CAS_FENCED ? -ESTALE : -ENODEV;
		heartbeat_die(&vol->member->hb, err, "a lock could not be written");
		return err;
	}
	return 0;
}

/* A cas to `to`, then the table: HELD and pinned, or a ghost. */
static int take_image(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		      const struct vmfs_lock_disk *from, const struct vmfs_lock_disk *to)
{
	struct lock_table *lt = &vol->member->locks;
	struct held_lock *h = calloc(1, sizeof(*h));
	enum cas_result result;

	if (!h)
		return -ENOMEM;
	h->id = *id;
	h->mode = (enum vmfs_lock_mode)le32_get(to->mode);
	h->image = *to;
	h->pins = 1;
	int err = cas_lock(vol, id->vol_off, from, to, &result);
	if (!err && result == CAS_DIFFERS)
		err = -EAGAIN;
	if (err) {
		free(h);
		return err;
	}
	if (result == CAS_UNKNOWN) {
		h->state = GHOST;
		h->pins = 0;
	}
	mutex_lock(&lt->m);
	/* taken twice: two tasks, one won on disk */
	if (lock_table_find(lt, id->vol_off)) {
		mutex_unlock(&lt->m);
		free(h);
		return -EAGAIN;
	}
	table_insert(lt, h);
	mutex_unlock(&lt->m);
	if (result == CAS_UNKNOWN)
		return -EBUSY;
	vmfs_cache_retoken(vol->cache, id->vol_off, le64_get(from->token),
			   le64_get(to->token));
	return 0;
}

int lock_take(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	      const struct vmfs_lock_disk *from, uint64_t min_token)
{
	struct vmfs_lock_disk image;

	lock_image_take(vol, from, min_token, &image);
	image.type = le32_of(id->type);
	image.addr = le64_of(id->vol_off);
	return take_image(vol, id, from, &image);
}

/* The record shows us but the table does not: an acquisition given up had run (R2). */
static int adopt(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		 const struct vmfs_lock_disk *lockd)
{
	struct lock_table *lt = &vol->member->locks;
	struct held_lock *fresh = calloc(1, sizeof(*fresh));

	if (!fresh)
		return -ENOMEM;
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	if (!h) {
		h = fresh;
		fresh = NULL;
		h->id = *id;
		table_insert(lt, h);
	}
	if (h->state != RELEASING && !h->pins) {
		h->state = HELD;
		h->mode = (enum vmfs_lock_mode)le32_get(lockd->mode);
		h->image = *lockd;
		h->last_used = clock_now();
	}
	mutex_unlock(&lt->m);
	free(fresh);
	return 0;
}

/* Is the lock that we hold good for who wants this mode? */
static bool is_enough(const struct held_lock *h, enum vmfs_lock_mode mode)
{
	return h->mode == LOCK_EXCLUSIVE || h->mode == mode;
}

/* mode LOCK_FREE: for a transaction, which needs it exclusively. */
static int pin(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	       enum vmfs_lock_mode mode, struct vmfs_lock_disk *ret_image)
{
	bool for_file = mode != LOCK_FREE;
	struct lock_table *lt = &vol->member->locks;
	int err = 0;

	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	if (!h || h->state == GHOST || (h->mode != LOCK_EXCLUSIVE && !for_file))
		err = -ENOENT;
	else if (h->state == RELEASING)
		err = -EAGAIN;
	else if (for_file && h->is_file_open)
		err = -EBUSY;
	else if (for_file && !is_enough(h, mode)) {
		h->last_used = 0; /* retained for sharing: goes first */
		err = -EAGAIN;
	} else {
		h->pins++;
		h->is_file_open |= for_file;
		if (ret_image)
			*ret_image = h->image;
	}
	mutex_unlock(&lt->m);
	return err;
}

int lock_pin(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	     struct vmfs_lock_disk *ret_image)
{
	return pin(vol, id, LOCK_FREE, ret_image);
}

static void unpin(struct vmfs_volume *vol, const struct vmfs_lock_id *id, bool from_file)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	assert(h && h->pins);
	h->last_used = clock_now();
	h->pins--;
	if (from_file)
		h->is_file_open = false;
	mutex_unlock(&lt->m);
}

void lock_unpin(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	unpin(vol, id, false);
}

void vmfs_lock_unpin(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	unpin(vol, id, true);
}

bool vmfs_lock_is_mine(struct vmfs_volume *vol, uint64_t vol_off)
{
	if (!vol->member || heartbeat_dead(&vol->member->hb))
		return false;
	struct lock_table *lt = &vol->member->locks;
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, vol_off);
	bool is_mine = h && h->state == HELD && h->mode == LOCK_EXCLUSIVE;
	mutex_unlock(&lt->m);
	return is_mine;
}

/* ---- acquire ---- */

static void holder_is_self(struct vmfs_volume *vol, struct vmfs_holder *ret_holder)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;

	ret_holder->mode = LOCK_EXCLUSIVE;
	ret_holder->owner = hb->owner;
	ret_holder->slot = hb->slot;
	ret_holder->heartbeat_age_ns = 0;
	memset(ret_holder->host_name, 0, sizeof(ret_holder->host_name));
	memcpy(ret_holder->host_name, hb->last.ip, sizeof(hb->last.ip));
}

/* One look at the record and, if it can be had, one cas. -EAGAIN: look again at once.
 * -EBUSY: *ret_holder lives as far as we know. */
static int acquire_once(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
			enum vmfs_lock_mode mode, struct vmfs_holder *ret_holder)
{
	struct vmfs_lock_disk lockd, image;
	enum lock_seen seen;
	int err = lock_read(vol, id, false, &lockd);

	if (!err)
		err = lock_judge(vol, id, &lockd, &seen, ret_holder);
	if (err)
		return err;
	if (seen == SEEN_MINE || lock_lists_us(vol, &lockd)) {
		err = adopt(vol, id, &lockd);
		return err ? err : -EAGAIN;
	}
	if (seen == SEEN_HELD || (seen == SEEN_SHARED && le32_get(lockd.mode) != mode))
		return -EBUSY;
	if (mode == LOCK_EXCLUSIVE)
		return lock_take(vol, id, &lockd, 0);
	err = lock_image_join(vol, &lockd, mode, &image);
	return err ? err : take_image(vol, id, &lockd, &image);
}

static void mark_file_open(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	if (h)
		h->is_file_open = true;
	mutex_unlock(&lt->m);
}

int vmfs_lock_acquire(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		      enum vmfs_lock_mode mode, uint64_t deadline,
		      struct vmfs_holder *ret_holder)
{
	struct vmfs_holder scratch;
	struct vmfs_holder *who = ret_holder ? ret_holder : &scratch;
	uint64_t wait = WAIT_FIRST_NS, leaving_until;
	bool is_wanted = false;
	int err;

	if (!vol->member)
		return -EROFS;
	leaving_until = clock_now() + LEAVING_PATIENCE_NS;
	for (;;) {
		err = pin(vol, id, mode, NULL);
		if (!err)
			break;
		holder_is_self(vol, who);
		if (err == -EBUSY)
			break;
		/* What is on its way out is nobody's: it is worth a little patience. */
		bool is_leaving = err == -EAGAIN;
		err = is_leaving ? -EBUSY : acquire_once(vol, id, mode, who);
		if (!err)
			mark_file_open(vol, id);
		if (err == -EAGAIN)
			continue;
		if (err != -EBUSY)
			break;
		if (who->slot != vol->member->hb.slot) {
			err = vmfs_takeover(vol, who->slot);
			if (!err)
				continue;
			if (err != -EAGAIN)
				break;
			err = -EBUSY;
		}
		uint64_t now = clock_now();
		uint64_t until = is_leaving ? max_u64(deadline, leaving_until) : deadline;
		if (now >= until || heartbeat_dead(&vol->member->hb))
			break;
		heartbeat_want(&vol->member->hb, id->vol_off, is_wanted = true);
		task_sleep_until(min_u64(until, now + wait / 2 + random_u64() % wait));
		wait = min_u64(wait * 2, WAIT_MAX_NS);
	}
	if (is_wanted)
		heartbeat_want(&vol->member->hb, id->vol_off, false);
	return err;
}

/* ---- release ---- */

/* The release of one lock that is marked RELEASING: 0 when it is known done. */
static int release_one(struct vmfs_volume *vol, struct held_lock *h)
{
	struct lock_table *lt = &vol->member->locks;
	struct vmfs_lock_disk from = h->image, to;
	enum cas_result result = CAS_UNKNOWN;
	int err = 0;

	if (h->mode == LOCK_EXCLUSIVE)
		lock_image_release(&from, &to);
	else
		err = lock_image_leave(vol, &from, &to);
	if (!err)
		err = cas_lock(vol, h->id.vol_off, &from, &to, &result);
	if (!err && result == CAS_UNKNOWN) {
		h->is_release_sent = true;
		return -EAGAIN; /* stays RELEASING: sent again, the same bytes */
	}
	if (!err && result == CAS_DIFFERS && h->mode != LOCK_EXCLUSIVE) {
		/* Others joined or left: go on from what is there now. */
		err = lock_read(vol, &h->id, false, &from);
		if (!err) {
			h->image = from;
			return -EAGAIN;
		}
	}
	if (!err && result == CAS_DIFFERS && h->is_release_sent)
		/* it ran; somebody went on */
		vmfs_cache_drop_lock(vol->cache, h->id.vol_off);
	else if (!err && result == CAS_DIFFERS) {
		heartbeat_die(&vol->member->hb, -ESTALE,
			      "a lock that we held was changed by another host");
		err = -ESTALE;
	}
	if (!err && result == CAS_DONE)
		vmfs_cache_retoken(vol->cache, h->id.vol_off, le64_get(from.token),
				   le64_get(to.token));
	mutex_lock(&lt->m);
	table_remove(lt, h);
	mutex_unlock(&lt->m);
	return err == -ENOENT ? 0 : err;
}

/* A ghost: does the record show us by now? Else, can it still? */
static void settle_ghost(struct vmfs_volume *vol, struct held_lock *h)
{
	struct lock_table *lt = &vol->member->locks;
	struct vmfs_lock_disk now;

	if (lvm_read(&vol->lvm, h->id.vol_off, &now, sizeof(now)))
		return;
	/* A shared one may have been joined by others since it ran. */
	bool is_ours = !memcmp(&now, &h->image, sizeof(now)) || lock_lists_us(vol, &now);
	/*
	 * The token of the image it was made from is one less: while that stands, it may
	 * run.
	 */
	bool may_run = le64_get(now.token) < le64_get(h->image.token);
	mutex_lock(&lt->m);
	if (is_ours) {
		h->state = HELD;
		h->image = now;
		h->last_used = 0;
	} else if (!may_run) {
		table_remove(lt, h);
	}
	mutex_unlock(&lt->m);
}

/* Picks one lock for lock_release_idle: a ghost, one being released, or an idle one. */
static struct held_lock *pick(struct lock_table *lt, enum held_state state,
			      uint64_t before, uint32_t *cursor)
{
	struct held_lock *h = NULL;

	for (; *cursor < LOCK_BUCKETS; (*cursor)++) {
		LIST_FOREACH(h, &lt->buckets[*cursor], link) {
			if (h->state != state)
				continue;
			if (state != HELD ||
			    (!h->pins && (h->is_wanted || h->last_used <= before)))
				return h;
		}
	}
	return NULL;
}

void lock_yield(struct vmfs_volume *vol, uint64_t vol_off)
{
	struct lock_table *lt = &vol->member->locks;
	uint64_t until = clock_now() + YIELD_NS;

	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, vol_off);
	if (h && h->state == HELD && !h->is_file_open && !h->is_wanted) {
		unsigned int at = lt->yield_count++ % LOCK_YIELDED_MAX;

		h->is_wanted = true;
		lt->yielded[at].vol_off = vol_off;
		lt->yielded[at].until = until;
	}
	mutex_unlock(&lt->m);
}

bool lock_is_yielded(struct vmfs_volume *vol, uint64_t vol_off)
{
	struct lock_table *lt = &vol->member->locks;
	uint64_t now = clock_now();
	bool is_yielded = false;

	mutex_lock(&lt->m);
	for (unsigned int i = 0; i < LOCK_YIELDED_MAX; i++)
		is_yielded |= lt->yielded[i].vol_off == vol_off &&
			      now < lt->yielded[i].until;
	mutex_unlock(&lt->m);
	return is_yielded;
}

static void settle_ghosts(struct vmfs_volume *vol)
{
	struct lock_table *lt = &vol->member->locks;

	for (uint32_t cursor = 0; cursor < LOCK_BUCKETS; cursor++) {
		mutex_lock(&lt->m);
		struct held_lock *h = pick(lt, GHOST, 0, &cursor);
		mutex_unlock(&lt->m);
		if (!h)
			return;
		settle_ghost(vol, h); /* txn_lock is held: nobody else removes it */
	}
}

int lock_release_idle(struct vmfs_volume *vol, uint64_t before)
{
	struct lock_table *lt = &vol->member->locks;
	uint32_t cursor = 0;
	bool is_any = false;
	int err = 0;

	assert(sleeplock_is_mine(&vol->txn_lock));
	settle_ghosts(vol);
	mutex_lock(&lt->m);
	for (struct held_lock *h; (h = pick(lt, HELD, before, &cursor));)
		h->state = RELEASING;
	cursor = 0;
	is_any = pick(lt, RELEASING, 0, &cursor) != NULL;
	mutex_unlock(&lt->m);
	if (is_any)
		err = journal_empty(vol);
	for (cursor = 0; !err && is_any;) {
		mutex_lock(&lt->m);
		struct held_lock *h = pick(lt, RELEASING, 0, &cursor);
		mutex_unlock(&lt->m);
		if (!h)
			break;
		err = release_one(vol, h);
	}
	return err == -EAGAIN ? 0 : err;
}

int vmfs_lock_release(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	struct lock_table *lt = &vol->member->locks;
	struct held_lock *h;
	int err = 0;

	sleeplock_acquire(&vol->txn_lock);
	mutex_lock(&lt->m);
	h = lock_table_find(lt, id->vol_off);
	assert(h && h->pins);
	h->last_used = clock_now();
	bool is_last = --h->pins == 0;
	h->is_file_open = false;
	if (is_last)
		h->state = RELEASING;
	mutex_unlock(&lt->m);
	if (is_last) {
		err = journal_empty(vol);
		for (int tries = 0; !err && tries < 3; tries++) {
			err = release_one(vol, h);
			if (err != -EAGAIN)
				break;
			err = 0;
		}
	}
	sleeplock_release(&vol->txn_lock);
	return err == -EAGAIN ? 0 : err;
}

/* ---- for admins ---- */

int vmfs_lock_look(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		   struct vmfs_lock_info *ret_info)
{
	struct vmfs_lock_disk lockd;
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	struct vmfs_watch local;
	struct vmfs_watch *w = vol->member ? &vol->member->watch : &local;
	int err = lock_read(vol, id, false, &lockd);

	if (err)
		return err;
	*ret_info = (struct vmfs_lock_info){
		.vol_off = id->vol_off,
		.type = id->type,
		.mode = le32_get(lockd.mode),
		.token = le64_get(lockd.token),
		.hb_addr = le64_get(lockd.hb_addr),
		.hb_gen = le64_get(lockd.hb_gen),
	};
	memcpy(ret_info->owner.b, lockd.owner, 16);
	unsigned int count = lock_holders_of(&lockd, holders);
	ret_info->holder_count = count;
	if (w == &local)
		watch_init(&local);
	for (unsigned int i = 0; !err && i < count; i++) {
		enum holder_state state;

		ret_info->holders[i].mode = ret_info->mode;
		memcpy(ret_info->holders[i].owner.b, holders[i].owner, 16);
		(void)heartbeat_slot_of(le64_get(holders[i].hb_addr),
					&ret_info->holders[i].slot);
		err = lock_judge_holder(vol, w, id->vol_off, &holders[i], ret_info->mode,
				   &state, &ret_info->holders[i]);
		ret_info->is_holder_alive |= !err && state == HOLDER_LIVE;
	}
	if (w == &local)
		watch_done(&local);
	return err;
}
