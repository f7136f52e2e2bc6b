/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing a lock that is held and pinned (LOCKING.md 3.2, 8, 13).
 *
 *            vmfs_lock_upgrade                      vmfs_lock_hand_over
 *   RO, MW -------------------> EX ------------------------------------> another host's
 *          <-------------------     '--- taken back: EX, token + 1
 *            vmfs_lock_downgrade
 *                                        vmfs_lock_expect            acquire
 *   another host hands it over to us:  ------------------> EXPECTED ---------> HELD
 *                    vmfs_lock_unexpect: GHOST --- shows us: HELD, given back
 *
 * Invariants:
 *  1 the fate of each cas here is found out before anybody goes on: the same bytes are
 *    sent again until the record tells, or the volume is lost. While it is not known, the
 *    lock is used as if the weaker of both states were true: a downgrade and a hand-over
 *    end the right to write BEFORE they are sent, an upgrade gives it AFTER it ran;
 *  2 a lock that may have been handed over is used again only after a cas from the held
 *    image to the held image, token + 1, ran: then the hand-over can match nothing any
 *    more (rule R, LOCKING.md 4). Who finds that it ran after all never uses it;
 *  3 all of it runs under txn_lock with the journal emptied before anything is given up
 *    (LOCKING.md 10.5);
 *  4 an address that was promised to us stays in the table until the lock has come or the
 *    mount ends: a lock that names us is always known here (L4).
 *
 * A crash at any point leaves a record that names one live or one dead holder.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/cache.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define WAIT_FIRST_NS (50 * NS_PER_MS)
#define WAIT_MAX_NS (1 * NS_PER_S)

static struct held_lock *find(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	mutex_unlock(&lt->m);
	return h;
}

/* Until its fate is known: w->result is DONE or DIFFERS. */
static int write_until_known(struct vmfs_volume *vol, uint64_t vol_off,
			     struct lock_write *w)
{
	int err;

	do {
		err = lock_write(vol, vol_off, w);
	} while (!err && w->result == CAS_UNKNOWN);
	return err;
}

static int lost(struct vmfs_volume *vol)
{
	heartbeat_die(&vol->member->hb, -ESTALE,
		      "a lock that we held was changed by another host");
	return -ESTALE;
}

/* The record is `image` now; content under it has not changed. */
static void settle(struct vmfs_volume *vol, struct held_lock *h,
		   const struct vmfs_lock_disk *image)
{
	struct lock_table *lt = &vol->member->locks;

	vmfs_cache_retoken(vol->cache, h->id.vol_off, le64_get(image->token) - 1,
			   le64_get(image->token));
	mutex_lock(&lt->m);
	h->image = *image;
	h->mode = (enum vmfs_lock_mode)le32_get(image->mode);
	h->state = HELD;
	mutex_unlock(&lt->m);
}

/* ---- upgrade ---- */

/* One look and one cas. -EBUSY with who; -EAGAIN: it changed, look again. */
static int upgrade_once(struct vmfs_volume *vol, struct held_lock *h,
			struct vmfs_holder *ret_holder)
{
	const struct lock_holder me = lock_me(vol);
	struct vmfs_lock_disk from, to;
	struct lock_write w = { .from = &from, .to = &to };
	struct lock_judgement j;
	int err = lock_read(vol, &h->id, false, &from);

	if (!err)
		err = lock_judge_all(vol, &h->id, &from, &j);
	if (err)
		return err;
	if (!j.is_ours)
		return lost(vol);
	if (h->pins > 1) {
		lock_self(vol, LOCK_READ_ONLY, ret_holder);
		return -EBUSY;
	}
	err = lock_image_upgrade(&from, &me, j.dead, &to);
	if (err) {
		*ret_holder = j.who;
		return err;
	}
	err = write_until_known(vol, h->id.vol_off, &w);
	if (!err && w.result == CAS_DIFFERS)
		return -EAGAIN; /* somebody came or went */
	if (!err)
		settle(vol, h, &to);
	return err;
}

static void keep_others_out(struct vmfs_volume *vol, struct held_lock *h, bool is_out)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	h->is_upgrading = is_out;
	mutex_unlock(&lt->m);
}

int vmfs_lock_upgrade(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		      uint64_t deadline, struct vmfs_holder *ret_holder)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;
	struct held_lock *h = find(vol, id);
	struct vmfs_holder scratch, *who = ret_holder ? ret_holder : &scratch;
	uint64_t wait = WAIT_FIRST_NS;
	bool is_wanted = false;
	int err;

	assert(h && h->pins && h->state == HELD);
	if (h->mode == LOCK_EXCLUSIVE)
		return 0;
	keep_others_out(vol, h, true);
	for (;;) {
		sleeplock_acquire(&vol->txn_lock);
		err = upgrade_once(vol, h, who);
		sleeplock_release(&vol->txn_lock);
		if (err == -EBUSY)
			err = lock_bury(vol, who) ? -EBUSY : -EAGAIN;
		if (err == -EAGAIN)
			continue;
		uint64_t now = clock_now();
		if (err != -EBUSY || now >= deadline || heartbeat_dead(hb))
			break;
		heartbeat_want(hb, id->vol_off, is_wanted = true);
		task_sleep_until(min_u64(deadline, now + wait / 2 + random_u64() % wait));
		wait = min_u64(wait * 2, WAIT_MAX_NS);
	}
	if (is_wanted)
		heartbeat_want(hb, id->vol_off, false);
	keep_others_out(vol, h, false);
	return err;
}

/* ---- downgrade ---- */

/*
 * The record is not as it was held. If our downgrade ran, others may have joined since:
 * it still lists us.
 */
static int after_downgrade(struct vmfs_volume *vol, struct held_lock *h,
			   const struct lock_write *w)
{
	const struct lock_holder me = lock_me(vol);
	struct vmfs_lock_disk now;
	int err = lock_read(vol, &h->id, false, &now);

	if (err)
		return err;
	if (!w->is_repeated || le32_get(now.mode) != le32_get(w->to->mode) ||
	    !lock_names(&now, &me))
		return lost(vol);
	vmfs_cache_drop_lock(vol->cache, h->id.vol_off);
	settle(vol, h, &now);
	return 0;
}

int vmfs_lock_seclude(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	struct lock_table *lt = &vol->member->locks;

	/* One transaction at a time: none has it pinned now. */
	sleeplock_acquire(&vol->txn_lock);
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	assert(h && h->pins == 1 && h->is_file_open && h->mode == LOCK_EXCLUSIVE);
	h->is_secluded = true;
	mutex_unlock(&lt->m);
	int err = journal_empty(vol);
	sleeplock_release(&vol->txn_lock);
	return err;
}

void lock_unpin_view(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	assert(h && h->pins);
	h->pins--;
	if (h->id.type != VMFS_LOCK_FD || h->id.is_directory)
		h->last_used = clock_now();
	mutex_unlock(&lt->m);
}

int vmfs_lock_let_go(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	if (!vol->member)
		return 0;
	struct lock_table *lt = &vol->member->locks;
	sleeplock_acquire(&vol->txn_lock);
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	bool is_idle = h && h->state == HELD && !h->pins;
	if (is_idle)
		h->last_used = 0;
	mutex_unlock(&lt->m);
	int err = is_idle ? lock_release_idle(vol, 0) : 0;
	sleeplock_release(&vol->txn_lock);
	return err;
}

int vmfs_lock_downgrade(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
			enum vmfs_lock_mode mode)
{
	const struct lock_holder me = lock_me(vol);
	struct lock_table *lt = &vol->member->locks;
	struct held_lock *h = find(vol, id);
	struct vmfs_lock_disk from, to;
	struct lock_write w = { .from = &from, .to = &to };

	assert(h && h->pins && h->state == HELD && h->mode == LOCK_EXCLUSIVE);
	sleeplock_acquire(&vol->txn_lock);
	int err = journal_empty(vol);
	if (!err) {
		mutex_lock(&lt->m);
		lock_table_lose(lt);
		h->mode = LOCK_READ_ONLY; /* no right to write from here on */
		mutex_unlock(&lt->m);
		from = h->image;
		lock_image_downgrade(&from, &me, mode, &to);
		err = write_until_known(vol, id->vol_off, &w);
	}
	if (!err && w.result == CAS_DIFFERS)
		err = after_downgrade(vol, h, &w);
	else if (!err)
		settle(vol, h, &to);
	sleeplock_release(&vol->txn_lock);
	return err;
}

/* ---- hand-over ---- */

/* Is `to` there? Its slot is read now. */
static int check_member(struct vmfs_volume *vol, const struct vmfs_incarnation *to)
{
	struct vmfs_heartbeat_disk slotd;
	uint64_t age;
	char text[UUID_TEXT_SIZE];

	if (to->slot >= watch_slot_count(vol) || to->slot == vol->member->hb.slot)
		return -ESRCH;
	int err = watch_look(vol, &vol->member->watch, to->slot, &slotd, &age);
	if (err)
		return err;
	if (le32_get(slotd.state) == HEARTBEAT_LIVE && !heartbeat_is_claimed(&slotd) &&
	    le64_get(slotd.generation) == to->generation &&
	    !memcmp(slotd.owner, to->owner.b, sizeof(slotd.owner)))
		return 0;
	return report_error(
		vol->reporter, -ESRCH,
		"volume %.128s: a lock was to be handed to %s in slot %u, which "
		"is not there (any more)",
		vol->label, uuid_text(&to->owner, text), to->slot);
}

/* It is not ours any more. */
static void forget(struct vmfs_volume *vol, struct held_lock *h)
{
	struct lock_table *lt = &vol->member->locks;

	vmfs_cache_drop_lock(vol->cache, h->id.vol_off);
	mutex_lock(&lt->m);
	lock_table_remove(lt, h);
	mutex_unlock(&lt->m);
}

/*
 * What became of it is not known: either it ran, or it never will. 0: it ran;
 * -ECANCELED: the lock is ours.
 */
static int take_back(struct vmfs_volume *vol, struct held_lock *h)
{
	const struct lock_holder me = lock_me(vol);
	struct vmfs_lock_disk from = h->image, to;
	struct lock_write w = { .from = &from, .to = &to };

	lock_image_confirm(&from, &me, &to);
	int err = write_until_known(vol, h->id.vol_off, &w);
	if (err || w.result == CAS_DIFFERS)
		return err;
	settle(vol, h, &to);
	return -ECANCELED;
}

/* Under txn_lock, journal empty, RELEASING. 0: given away; -ECANCELED: ours; -errno. */
static int give(struct vmfs_volume *vol, struct held_lock *h,
		const struct vmfs_incarnation *to, uint64_t deadline)
{
	const struct lock_holder me = lock_me(vol);
	const struct lock_holder you = { .hb_addr = watch_slot_off(vol, to->slot),
					 .hb_gen = to->generation,
					 .owner = to->owner };
	struct vmfs_lock_disk from = h->image, image;
	struct lock_write w = { .from = &from, .to = &image };
	int err;

	lock_image_hand_over(&from, &me, &you, &image);
	do {
		err = lock_write(vol, h->id.vol_off, &w);
	} while (!err && w.result == CAS_UNKNOWN && clock_now() < deadline);
	if (!err && w.result == CAS_UNKNOWN)
		err = take_back(vol, h);
	else if (!err && w.result == CAS_DIFFERS && !w.is_repeated)
		err = lost(vol); /* nothing of ours can have changed it */
	return err;
}

static void set_state(struct vmfs_volume *vol, struct held_lock *h,
		      enum held_state state)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	lock_table_lose(lt);
	h->state = state;
	mutex_unlock(&lt->m);
}

/* What became of it cannot be found out any more: nothing is used again. */
static void give_up(struct vmfs_volume *vol, struct held_lock *h, int err)
{
	heartbeat_die(&vol->member->hb, err, "a lock that was handed over is in doubt");
	set_state(vol, h, HELD); /* for whoever releases it */
}

int vmfs_lock_hand_over(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
			const struct vmfs_incarnation *to, uint64_t deadline)
{
	struct held_lock *h = find(vol, id);
	int err = check_member(vol, to);

	if (err)
		return err;
	assert(h && h->pins && h->state == HELD && h->mode == LOCK_EXCLUSIVE);
	sleeplock_acquire(&vol->txn_lock);
	err = journal_empty(vol);
	if (!err) {
		set_state(vol, h, RELEASING); /* no right to write from here on */
		err = give(vol, h, to, deadline);
		if (!err)
			forget(vol, h);
		else if (err != -ECANCELED)
			give_up(vol, h, err);
	}
	sleeplock_release(&vol->txn_lock);
	return err;
}

int vmfs_lock_keep(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	struct held_lock *h = find(vol, id);

	assert(h && h->pins && h->state == HELD && h->mode == LOCK_EXCLUSIVE);
	sleeplock_acquire(&vol->txn_lock);
	int err = journal_empty(vol);
	if (!err) {
		err = take_back(vol, h);
		if (err == -ECANCELED)
			err = 0;
		else if (!err)
			err = lost(vol); /* nothing of ours can have changed it */
	}
	sleeplock_release(&vol->txn_lock);
	return err;
}

int vmfs_lock_expect(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	struct lock_table *lt = &vol->member->locks;
	struct held_lock *fresh = calloc(1, sizeof(*fresh));
	int err = 0;

	if (!fresh)
		return -ENOMEM;
	fresh->id = *id;
	fresh->state = EXPECTED;
	fresh->is_promised = true;
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	if (!h) {
		lock_table_insert(lt, fresh);
		fresh = NULL;
	} else if (h->state == GHOST || h->state == EXPECTED) {
		h->state = EXPECTED;
		h->is_promised = true;
	} else {
		err = -EBUSY;
	}
	mutex_unlock(&lt->m);
	free(fresh);
	return err;
}

void vmfs_lock_unexpect(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, id->vol_off);
	if (h && h->state == EXPECTED)
		h->state = GHOST;
	mutex_unlock(&lt->m);
}
