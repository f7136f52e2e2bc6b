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
 *    late copy of any command can match again; but for the release of a lock whose record
 *    nobody else can change (lock_is_ours_alone), a plain write that is sent once;
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
#include "vmfs/event.h"
#include "vmfs/gate.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/takeover.h"
#include "vmfs/volume.h"

#define CAS_PATIENCE_NS (5 * NS_PER_S)
#define LEAVING_PATIENCE_NS (5 * NS_PER_S)
#define WAIT_FIRST_NS (50 * NS_PER_MS)
#define WAIT_MAX_NS (1 * NS_PER_S)

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
	return (uint32_t)((vol_off / 512 * 0x9E3779B97F4A7C15ull) >> 48) % LOCK_BUCKETS;
}

void lock_table_init(struct lock_table *lt)
{
	mutex_init(&lt->m);
	for (uint32_t i = 0; i < LOCK_BUCKETS; i++)
		LIST_INIT(&lt->buckets[i]);
	LIST_INIT(&lt->takings);
	lt->count = lt->turn = lt->yield_count = 0;
	lt->contended_until = 0;
	atomic_init(&lt->losses, 1);
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

void lock_table_insert(struct lock_table *lt, struct held_lock *h)
{
	assert(!lock_table_find(lt, h->id.vol_off));
	LIST_INSERT_HEAD(&lt->buckets[bucket_of(h->id.vol_off)], h, link);
	lt->count++;
}

void lock_table_remove(struct lock_table *lt, struct held_lock *h)
{
	lock_table_lose(lt);
	LIST_REMOVE(h, link);
	lt->count--;
	free(h);
}

/* ---- transitions on disk ---- */

int lock_write(struct vmfs_volume *vol, uint64_t vol_off, struct lock_write *w)
{
	struct cas c = { .expected = w->from, .wanted = w->to };
	uint64_t run;
	int err = lvm_map(&vol->lvm, vol_off, &c.bd, &c.dev_off, &run);

	if (!err)
		err = vmfs_gate_cas(vol, &c, CAS_PATIENCE_NS, &w->result);
	if (err)
		return err;
	w->is_repeated |= c.was_unknown;
	if (w->result == CAS_FENCED || w->result == CAS_GONE) {
		err = w->result == CAS_FENCED ? -ESTALE : -ENODEV;
		heartbeat_die(&vol->member->hb, err, "a lock could not be written");
		return err;
	}
	return 0;
}

/* A ghost settled while a cas is under way would give back what this cas writes. */
static bool guard_ghost(struct lock_table *lt, uint64_t vol_off)
{
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, vol_off);
	bool is_guarded = h && h->state == GHOST;
	if (is_guarded)
		h->pins++;
	mutex_unlock(&lt->m);
	return is_guarded;
}

/* What a cas that ran, or may run, puts into the table; -EAGAIN: there is one already. */
static int enter(struct lock_table *lt, struct held_lock *h, bool has_guard)
{
	mutex_lock(&lt->m);
	/* Taken twice: two tasks, one won on disk; or what was a ghost is real now. */
	struct held_lock *there = lock_table_find(lt, h->id.vol_off);
	if (there && has_guard)
		there->pins--;
	if (there && there->state == GHOST && h->state == GHOST) {
		there->ghost_token = h->ghost_token; /* the older one can match no more */
		there->image = h->image;
	}
	if (!there)
		lock_table_insert(lt, h);
	mutex_unlock(&lt->m);
	if (there)
		free(h);
	return there ? -EAGAIN : 0;
}

static void unguard_ghost(struct lock_table *lt, uint64_t vol_off)
{
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, vol_off);
	if (h)
		h->pins--;
	mutex_unlock(&lt->m);
}

/*
 * One task of ours at a time asks the disk for a lock, from its look at the record on.
 * Two would send the same bytes, and each would take what the other wrote for its own
 * (caw.c, invariant 1); or go on from a look that the other's release has overtaken.
 * -EBUSY: another is at it. -EAGAIN: it is ours by now, or is just leaving: pin() tells.
 */
static int begin_taking(struct lock_table *lt, uint64_t vol_off, struct lock_taking *t)
{
	const struct lock_taking *other;
	int err = 0;

	t->vol_off = vol_off;
	mutex_lock(&lt->m);
	const struct held_lock *h = lock_table_find(lt, vol_off);
	if (h && (h->state == HELD || h->state == RELEASING))
		err = -EAGAIN;
	LIST_FOREACH(other, &lt->takings, link)
		if (other->vol_off == vol_off)
			err = -EBUSY;
	if (!err)
		LIST_INSERT_HEAD(&lt->takings, t, link);
	mutex_unlock(&lt->m);
	return err;
}

static void end_taking(struct lock_table *lt, struct lock_taking *t)
{
	mutex_lock(&lt->m);
	LIST_REMOVE(t, link);
	mutex_unlock(&lt->m);
}

/*
 * A cas to `to`, then the table: HELD and pinned, or a ghost. for_file: it is an open
 * file's from that moment on, or another of our tasks would share it.
 */
static int take_image(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		      const struct vmfs_lock_disk *from, const struct vmfs_lock_disk *to,
		      bool for_file)
{
	struct lock_table *lt = &vol->member->locks;
	struct held_lock *h = calloc(1, sizeof(*h));
	struct lock_write w = { .from = from, .to = to };

	if (!h)
		return -ENOMEM;
	h->id = *id;
	h->mode = (enum vmfs_lock_mode)le32_get(to->mode);
	h->image = *to;
	h->pins = 1;
	h->is_file_open = for_file;
	h->held_since = clock_now();
	bool has_guard = guard_ghost(lt, id->vol_off);
	int err = lock_write(vol, id->vol_off, &w);
	if (!err && w.result == CAS_DIFFERS)
		err = -EAGAIN;
	if (err) {
		if (has_guard)
			unguard_ghost(lt, id->vol_off);
		free(h);
		return err;
	}
	if (w.result == CAS_UNKNOWN) {
		h->state = GHOST;
		h->ghost_token = le64_get(from->token);
		h->pins = 0;
		h->is_file_open = false;
	}
	err = enter(lt, h, has_guard);
	if (err || w.result == CAS_UNKNOWN)
		return err ? err : -EBUSY;
	vmfs_cache_retoken(vol->cache, id->vol_off, le64_get(from->token),
			   le64_get(to->token));
	return 0;
}

static int take(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		const struct vmfs_lock_disk *from, uint64_t min_token, bool for_file)
{
	const struct lock_holder me = lock_me(vol);
	struct vmfs_lock_disk image;

	lock_image_take(from, &me, min_token, &image);
	image.type = le32_of(id->type);
	image.addr = le64_of(id->vol_off);
	return take_image(vol, id, from, &image, for_file);
}

int lock_take(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	      const struct vmfs_lock_disk *from, uint64_t min_token)
{
	struct lock_table *lt = &vol->member->locks;
	struct lock_taking taking;
	int err = begin_taking(lt, id->vol_off, &taking);

	if (err)
		return -EAGAIN;
	err = take(vol, id, from, min_token, false);
	end_taking(lt, &taking);
	return err;
}

/*
 * The record shows us but the table does not: an acquisition given up had run (R2).
 * losses: before it was read; what was given back since may have been this lock.
 */
static int adopt(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		 const struct vmfs_lock_disk *lockd, uint64_t losses)
{
	struct lock_table *lt = &vol->member->locks;
	struct held_lock *fresh = calloc(1, sizeof(*fresh));

	if (!fresh)
		return -ENOMEM;
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	bool is_now = atomic_load(&lt->losses) == losses;
	if (!h && is_now) {
		h = fresh;
		fresh = NULL;
		h->id = *id;
		lock_table_insert(lt, h);
	}
	if (h && is_now && h->state != RELEASING && !h->pins) {
		h->state = HELD;
		h->is_promised = false;
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

/* Two files of this process share what is, and stays, read-only. */
static bool may_join(const struct held_lock *h, enum vmfs_lock_mode mode)
{
	return mode == LOCK_READ_ONLY && h->mode == LOCK_READ_ONLY &&
	       le32_get(h->image.mode) == LOCK_READ_ONLY && !h->is_upgrading;
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
	if (!h || h->state == GHOST || h->state == EXPECTED ||
	    (h->mode != LOCK_EXCLUSIVE && !for_file))
		err = -ENOENT;
	else if (h->state == RELEASING || (h->is_secluded && !for_file))
		err = -EAGAIN;
	else if (for_file && h->is_file_open && !may_join(h, mode))
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
	if (h->id.is_directory)
		lt->folder_used = h->last_used;
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

static bool is_held(struct vmfs_volume *vol, uint64_t vol_off, bool may_share)
{
	if (!vol->member || heartbeat_dead(&vol->member->hb))
		return false;
	struct lock_table *lt = &vol->member->locks;
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, vol_off);
	bool is_good = h && h->state == HELD &&
		       (h->mode == LOCK_EXCLUSIVE ||
			(may_share && h->mode == LOCK_MULTI_WRITER));
	mutex_unlock(&lt->m);
	return is_good;
}

bool vmfs_lock_is_mine(struct vmfs_volume *vol, uint64_t vol_off)
{
	return is_held(vol, vol_off, false);
}

bool vmfs_lock_may_write(struct vmfs_volume *vol, uint64_t vol_off)
{
	return is_held(vol, vol_off, true);
}

/*
 * The count of losses is read before the table is asked: what was lost in between makes
 * the answer one of before, which is asked for again.
 */
bool vmfs_lock_may_still_write(struct vmfs_volume *vol, uint64_t vol_off,
			       _Atomic uint64_t *seen)
{
	if (!vol->member || heartbeat_dead(&vol->member->hb))
		return false;
	uint64_t losses = atomic_load_explicit(&vol->member->locks.losses,
					       memory_order_acquire);
	if (atomic_load_explicit(seen, memory_order_relaxed) == losses)
		return true;
	if (!is_held(vol, vol_off, true))
		return false;
	atomic_store_explicit(seen, losses, memory_order_relaxed);
	return true;
}

/* ---- acquire ---- */

/* This process itself has it, or had it a moment ago. */
static void holder_is_self(struct vmfs_volume *vol, uint64_t vol_off,
			   struct vmfs_holder *ret_holder)
{
	struct lock_table *lt = &vol->member->locks;
	enum vmfs_lock_mode mode = LOCK_EXCLUSIVE;

	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, vol_off);
	if (h)
		mode = h->mode;
	mutex_unlock(&lt->m);
	lock_self(vol, mode, ret_holder);
}

/* One look at the record and, if it can be had, one cas. -EAGAIN: look again at once.
 * -EBUSY: *ret_holder lives as far as we know. */
static int acquire_once(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
			enum vmfs_lock_mode mode, struct vmfs_holder *ret_holder)
{
	const struct lock_holder me = lock_me(vol);
	struct vmfs_lock_disk lockd, image;
	struct lock_judgement j;
	uint64_t losses = atomic_load(&vol->member->locks.losses);
	int err = lock_read(vol, id, false, &lockd);

	if (!err)
		err = lock_judge_all(vol, id, &lockd, &j);
	if (err)
		return err;
	if (j.is_ours) {
		err = adopt(vol, id, &lockd, losses);
		return err ? err : -EAGAIN;
	}
	if (j.has_others)
		*ret_holder = j.who;
	if (j.seen == SEEN_HELD || (j.has_others && le32_get(lockd.mode) != mode))
		return -EBUSY;
	if (mode == LOCK_EXCLUSIVE)
		return take(vol, id, &lockd, 0, true);
	if (j.has_others)
		err = lock_image_join(&lockd, &me, j.dead, &image);
	else
		lock_image_share(&lockd, &me, mode, &image);
	return err ? err : take_image(vol, id, &lockd, &image, true);
}

int lock_bury(struct vmfs_volume *vol, const struct vmfs_holder *who)
{
	uint32_t self = vol->member->hb.slot;
	int err = who->slot == self ? -EAGAIN : vmfs_takeover(vol, who->slot);

	for (unsigned int i = 0; err == -EAGAIN && i < who->other_count; i++)
		if (who->others[i].slot != self)
			err = vmfs_takeover(vol, who->others[i].slot);
	return err;
}

/* A retained exclusive lock, pinned for who wants to share it: shared it is. */
static int settle_mode(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		       enum vmfs_lock_mode mode)
{
	if (mode == LOCK_EXCLUSIVE || !vmfs_lock_is_mine(vol, id->vol_off))
		return 0;
	int err = vmfs_lock_downgrade(vol, id, mode);
	if (err)
		vmfs_lock_unpin(vol, id);
	return err;
}

static int acquire(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		   enum vmfs_lock_mode mode, uint64_t deadline,
		   struct vmfs_holder *ret_holder)
{
	struct vmfs_holder scratch;
	struct vmfs_holder *who = ret_holder ? ret_holder : &scratch;
	struct lock_taking taking;
	uint64_t wait = WAIT_FIRST_NS, leaving_until;
	struct event_wait told = { .since = 0 };
	bool is_wanted = false;
	int err;

	if (!vol->member)
		return -EROFS;
	struct lock_table *lt = &vol->member->locks;
	leaving_until = clock_now() + LEAVING_PATIENCE_NS;
	for (;;) {
		err = pin(vol, id, mode, NULL);
		if (!err)
			break;
		holder_is_self(vol, id->vol_off, who);
		if (err == -EBUSY)
			break;
		/* What is on its way out is nobody's: it is worth a little patience. */
		bool is_leaving = err == -EAGAIN;
		if (!is_leaving)
			err = begin_taking(lt, id->vol_off, &taking);
		if (!err) {
			err = acquire_once(vol, id, mode, who);
			end_taking(lt, &taking);
		} else if (is_leaving || err == -EBUSY) {
			is_leaving = true;
			err = -EBUSY;
		}
		if (err == -EAGAIN)
			continue;
		if (err != -EBUSY)
			break;
		err = lock_bury(vol, who);
		if (!err)
			continue;
		if (err != -EAGAIN)
			break;
		err = -EBUSY;
		uint64_t now = clock_now();
		uint64_t until = is_leaving ? max_u64(deadline, leaving_until) : deadline;
		if (now >= until || heartbeat_dead(&vol->member->hb))
			break;
		event_waits(&told, vol, id, who);
		heartbeat_want(&vol->member->hb, id->vol_off, is_wanted = true);
		until = min_u64(until, vmfs_takeover_time(vol, who));
		task_sleep_until(min_u64(until, now + wait / 2 + random_u64() % wait));
		wait = min_u64(wait * 2, WAIT_MAX_NS);
	}
	if (is_wanted)
		heartbeat_want(&vol->member->hb, id->vol_off, false);
	event_waited(&told, vol, err);
	return err;
}

int vmfs_lock_acquire(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		      enum vmfs_lock_mode mode, uint64_t deadline,
		      struct vmfs_holder *ret_holder)
{
	int err = acquire(vol, id, mode, deadline, ret_holder);

	return err ? err : settle_mode(vol, id, mode);
}

/* ---- release ---- */

/* Without us. -ENOENT: it does not name us any more. */
static int image_without_us(struct vmfs_volume *vol, const struct held_lock *h,
			    struct vmfs_lock_disk *ret_image)
{
	const struct lock_holder me = lock_me(vol);

	if (!lock_names(&h->image, &me))
		return -ENOENT;
	if (h->mode == LOCK_EXCLUSIVE)
		lock_image_release(&h->image, ret_image);
	else
		lock_image_leave(&h->image, &me, ret_image);
	return 0;
}

/*
 * The record is not as it was held. -EAGAIN: a shared one, which others have joined or
 * left: go on from what is there. 0: the release has run, and somebody went on.
 */
static int judge_changed(struct vmfs_volume *vol, struct held_lock *h)
{
	if (h->mode != LOCK_EXCLUSIVE) {
		struct vmfs_lock_disk now;
		int err = lock_read(vol, &h->id, false, &now);

		if (!err)
			h->image = now;
		return err ? err : -EAGAIN;
	}
	if (h->is_release_sent) {
		vmfs_cache_drop_lock(vol->cache, h->id.vol_off);
		return 0;
	}
	heartbeat_die(&vol->member->hb, -ESTALE,
		      "a lock that we held was changed by another host");
	return -ESTALE;
}

static int send_release(struct vmfs_volume *vol, const struct held_lock *h,
			struct lock_write *w)
{
	if (!lock_is_ours_alone(vol, h))
		return lock_write(vol, h->id.vol_off, w);
	int err = vmfs_gate_write_once(vol, h->id.vol_off, w->to);
	w->result = err ? CAS_UNKNOWN : CAS_DONE;
	return err == -ETIMEDOUT ? 0 : err;
}

/* The release of one lock that is marked RELEASING: 0 when it is known done. */
static int release_one(struct vmfs_volume *vol, struct held_lock *h)
{
	struct lock_table *lt = &vol->member->locks;
	struct vmfs_lock_disk to;
	struct lock_write w = { .from = &h->image, .to = &to };
	int err = image_without_us(vol, h, &to);

	if (!err)
		err = send_release(vol, h, &w);
	if (!err) {
		h->is_release_sent |= w.result == CAS_UNKNOWN || w.is_repeated;
		if (w.result == CAS_UNKNOWN)
			return -EAGAIN; /* stays RELEASING: sent again, the same bytes */
		if (w.result == CAS_DIFFERS)
			err = judge_changed(vol, h);
		else
			vmfs_cache_retoken(vol->cache, h->id.vol_off,
					   le64_get(h->image.token), le64_get(to.token));
	}
	if (err == -EAGAIN)
		return err;
	mutex_lock(&lt->m);
	lock_table_remove(lt, h);
	mutex_unlock(&lt->m);
	return err == -ENOENT ? 0 : err;
}

/*
 * A ghost: does the record show us by now? Else, can it still? While it has the token
 * that the acquisition was made from, a copy of that may run; a promised one may come at
 * any time.
 */
static void settle_ghost(struct vmfs_volume *vol, struct held_lock *h)
{
	const struct lock_holder me = lock_me(vol);
	struct lock_table *lt = &vol->member->locks;
	struct vmfs_lock_disk now;

	if (lock_read(vol, &h->id, true, &now))
		return;
	bool may_run = h->is_promised || le64_get(now.token) == h->ghost_token;
	mutex_lock(&lt->m);
	bool is_settled = h->state == GHOST && !h->pins; /* pinned: guard_ghost */
	if (is_settled && lock_names(&now, &me)) {
		h->state = HELD;
		h->mode = (enum vmfs_lock_mode)le32_get(now.mode);
		h->image = now;
		h->last_used = 0;
	} else if (is_settled && !may_run) {
		lock_table_remove(lt, h);
	}
	mutex_unlock(&lt->m);
}

/* Picks one lock for lock_release_idle: a ghost, one being released, or an idle one. */
static struct held_lock *pick(struct lock_table *lt, enum held_state state,
			      const struct lock_idle *idle, uint32_t *cursor)
{
	struct held_lock *h = NULL;

	for (; *cursor < LOCK_BUCKETS; (*cursor)++) {
		LIST_FOREACH(h, &lt->buckets[*cursor], link) {
			if (h->state != state)
				continue;
			if (state != HELD || lock_is_idle(h, idle))
				return h;
		}
	}
	return NULL;
}

/* A ghost that was not looked at in this turn. With lt->m held. */
static struct held_lock *next_ghost(struct lock_table *lt, uint32_t *cursor)
{
	struct held_lock *h;

	for (; *cursor < LOCK_BUCKETS; (*cursor)++) {
		LIST_FOREACH(h, &lt->buckets[*cursor], link)
			if (h->state == GHOST && h->turn != lt->turn)
				return h;
	}
	return NULL;
}

static void settle_ghosts(struct vmfs_volume *vol)
{
	struct lock_table *lt = &vol->member->locks;
	uint32_t cursor = 0;

	lt->turn++;
	for (;;) {
		mutex_lock(&lt->m);
		struct held_lock *h = next_ghost(lt, &cursor);
		if (h)
			h->turn = lt->turn;
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
	const struct lock_idle idle = lock_idle_since(vol, before);
	for (struct held_lock *h; (h = pick(lt, HELD, &idle, &cursor));) {
		lock_table_lose(lt);
		h->state = RELEASING;
	}
	cursor = 0;
	is_any = pick(lt, RELEASING, NULL, &cursor) != NULL;
	mutex_unlock(&lt->m);
	if (is_any)
		err = journal_empty(vol);
	for (cursor = 0; !err && is_any;) {
		mutex_lock(&lt->m);
		struct held_lock *h = pick(lt, RELEASING, NULL, &cursor);
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
	int err = 0;

	sleeplock_acquire(&vol->txn_lock);
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	assert(h && h->pins);
	h->last_used = clock_now();
	bool is_last = --h->pins == 0 && !lock_is_kept(h, vol->member->keeps_locks);
	h->is_file_open = h->pins && h->mode == LOCK_READ_ONLY;
	h->is_secluded = false;
	if (is_last) {
		lock_table_lose(lt);
		h->state = RELEASING;
	}
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
		.mtime_s = le64_get(lockd.mtime),
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
		(void)watch_slot_of(vol, le64_get(holders[i].hb_addr),
				    &ret_info->holders[i].slot);
		err = lock_judge_holder(vol, w, id->vol_off, &holders[i], ret_info->mode,
				   &state, &ret_info->holders[i]);
		ret_info->holder_hb_addr[i] = le64_get(holders[i].hb_addr);
		ret_info->holder_hb_gen[i] = le64_get(holders[i].hb_gen);
		ret_info->is_current[i] = !err && state == HOLDER_LIVE;
		ret_info->is_holder_alive |= ret_info->is_current[i];
	}
	if (w == &local)
		watch_done(&local);
	return err;
}
