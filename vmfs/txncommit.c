/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions from LOCK to IN PLACE, again and again until one commits: the picture and
 * the invariants are in txn.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/cache.h"
#include "vmfs/gate.h"
#include "vmfs/lockwait.h"
#include "vmfs/member.h"
#include "vmfs/refresh.h"
#include "vmfs/txn_impl.h"
#include "vmfs/volume.h"

#define OPTIMISTIC_TRIES 6u

static int compare_locks(const void *a, const void *b)
{
	const struct txn_lock *const *x = a;
	const struct txn_lock *const *y = b;

	return vmfs_lock_compare(&(*x)->id, &(*y)->id);
}

/* LOCK: in rank order, each from the image that was read. -EAGAIN: start over. */
static int take_locks(struct vmfs_txn *t)
{
	struct txn_lock **order = calloc(t->lock_count, sizeof(*order));
	unsigned int count = 0;
	int err = 0;

	if (!order)
		return -ENOMEM;
	for (unsigned int i = 0; i < t->lock_count; i++)
		if (t->locks[i].is_wanted && !t->locks[i].is_pinned)
			order[count++] = &t->locks[i];
	qsort(order, count, sizeof(struct txn_lock *), compare_locks);
	for (unsigned int i = 0; !err && i < count; i++) {
		struct txn_lock *l = order[i];

		err = lock_take(t->vol, &l->id, &l->image, l->min_token);
		if (err == -EBUSY)
			err = -EAGAIN; /* fate unknown: a ghost was noted, look again */
		if (err)
			break;
		l->is_pinned = true;
		/* The image as held, for its token; the pin of lock_take is ours. */
		err = lock_pin(t->vol, &l->id, &l->image);
		if (!err)
			lock_unpin(t->vol, &l->id);
	}
	free(order);
	return err;
}

/*
 * A view that looked at one lock of others, once, and had all under it from the cache:
 * nothing was read after that lock (no block of a file, either), so all is as it was at
 * that moment.
 */
static bool is_one_look(const struct vmfs_txn *t)
{
	unsigned int looks = t->window.len || t->reads_blocks ? 2 : 0;

	for (unsigned int i = 0; i < t->lock_count; i++) {
		const struct txn_lock *l = &t->locks[i];

		if (l->is_assumed)
			return false;
		if (!l->is_pinned)
			looks += l->is_read_under || !txn_is_settled(l) ? 2 : 1;
	}
	return t->is_view && looks <= 1;
}

/* VALIDATE: what was only read under must still be as it was. */
int txn_validate(struct vmfs_txn *t, bool *ret_is_changed)
{
	bool is_known = is_one_look(t);
	int err = txn_window_again(t);

	*ret_is_changed = false;
	for (unsigned int i = 0; !err && !is_known && i < t->lock_count; i++) {
		struct txn_lock *l = &t->locks[i];
		struct vmfs_lock_disk now;

		if (l->is_pinned)
			continue;
		const uint8_t *seen = txn_window_lock(t, l->id.vol_off);
		if (seen)
			memcpy(&now, seen, sizeof(now));
		else
			err = vmfs_gate_read(t->vol, l->id.vol_off, &now, sizeof(now));
		if (err)
			return err;
		if (le64_get(now.token) != le64_get(l->image.token) ||
		    le32_get(now.mode) != le32_get(l->image.mode)) {
			if (l->is_assumed) /* not again */
				vmfs_cache_drop_lock(t->vol->cache, l->id.vol_off);
			t->is_mistaken = l->is_assumed;
			*ret_is_changed = true;
			return 0;
		}
	}
	if (err)
		return err;
	/* What came from the cache under our own locks is as old as the lease. */
	int trust = vmfs_gate_trust(t->vol);
	if (trust != -EAGAIN)
		return trust;
	*ret_is_changed = true;
	return vmfs_gate_check_read(t->vol);
}

static int write_data(struct vmfs_txn *t)
{
	for (unsigned int i = 0; i < t->data_count; i++) {
		int err = vmfs_gate_write(t->vol, t->data[i].vol_off, t->data[i].bytes,
					  t->data[i].len, 0);
		if (err)
			return err;
	}
	return t->data_count ? vmfs_gate_flush(t->vol) : 0;
}

/* The changed runs of sectors of a piece, appended to targets. */
static int add_targets(struct vmfs_txn *t, const struct txn_piece *p,
		       struct journal_target **targets, unsigned int *count,
		       unsigned int *room)
{
	const struct txn_lock *l = &t->locks[p->lock];
	uint32_t sectors = p->len / VMFS_SECTOR_SIZE, first = 0;

	while (first < sectors) {
		uint32_t end = first;

		while (end < sectors &&
		       (p->is_created || memcmp(p->now + end * VMFS_SECTOR_SIZE,
						p->was + end * VMFS_SECTOR_SIZE,
						VMFS_SECTOR_SIZE)))
			end++;
		if (end == first) {
			first++;
			continue;
		}
		struct journal_target *bigger =
			txn_grow(*targets, *count, room, sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		*targets = bigger;
		bigger[(*count)++] = (struct journal_target){
			.vol_off = p->vol_off + first * VMFS_SECTOR_SIZE,
			.data = p->now + first * VMFS_SECTOR_SIZE,
			.sectors = end - first,
			.lock_off = l->id.vol_off,
			.token = le64_get(l->image.token),
		};
		first = end;
	}
	return 0;
}

/* LOG and IN PLACE. From the moment the record may be durable there is no way back. */
static int log_and_write(struct vmfs_txn *t)
{
	struct journal_target *targets = NULL;
	unsigned int count = 0, room = 0;
	int err = 0;

	for (unsigned int i = 0; !err && i < t->piece_count; i++)
		if (t->pieces[i].is_edited)
			err = add_targets(t, &t->pieces[i], &targets, &count, &room);
	if (!err && count)
		err = journal_commit(t->vol, targets, count, t->may_wait);
	if (err || !count) {
		free(targets);
		return err;
	}
	err = journal_write_places(t->vol, targets, count);
	free(targets);
	if (err)
		return err;
	for (unsigned int i = 0; i < t->piece_count; i++) {
		const struct txn_piece *p = &t->pieces[i];
		const struct txn_lock *l = &t->locks[p->lock];

		if (p->is_edited)
			vmfs_cache_put(t->vol->cache, p->vol_off, p->len, l->id.vol_off,
				       le64_get(l->image.token), p->now);
	}
	return 0;
}

static bool has_effect(const struct vmfs_txn *t)
{
	for (unsigned int i = 0; i < t->lock_count; i++)
		if (t->locks[i].is_wanted)
			return true;
	return t->data_count;
}

/* For who has read what it changed: vmfs_node_changes(). Before anybody is answered. */
static void note_changes(struct vmfs_txn *t)
{
	for (unsigned int i = 0; i < t->lock_count; i++)
		if (t->locks[i].is_wanted)
			atomic_fetch_add(volume_changes(t->vol, t->locks[i].id.vol_off),
					 1);
}

/* -EAGAIN: something changed since it was read; build again. */
static int commit(struct vmfs_txn *t)
{
	bool is_changed;
	int err = 0;

	if (has_effect(t))
		err = vmfs_gate_wait(t->vol);
	if (!err)
		err = take_locks(t);
	if (!err)
		err = txn_validate(t, &is_changed);
	if (!err && is_changed)
		err = -EAGAIN;
	if (!err && t->vol->member->journal.has_freed && t->takes_blocks)
		err = journal_empty(t->vol);
	if (!err && t->takes_blocks)
		err = journal_before_reuse(t->vol);
	if (!err)
		err = write_data(t);
	if (!err)
		err = log_and_write(t);
	if (!err && t->frees_blocks)
		journal_note_freed(t->vol);
	if (!err)
		txn_index_keep(t, true);
	if (!err)
		note_changes(t);
	if (!err && t->frees_metadata)
		t->vol->member->journal.has_freed = true;
	return err;
}

/* Lets go of everything; is_done: it committed, so KEEP and DROP apply. */
bool txn_let_go(struct vmfs_txn *t, bool is_committed)
{
	bool is_any_dropped = false;

	for (unsigned int i = 0; i < t->lock_count; i++) {
		struct txn_lock *l = &t->locks[i];

		if (!l->is_pinned)
			continue;
		if (is_committed && l->flags & TXN_LOCK_KEEP) {
			struct lock_table *lt = &t->vol->member->locks;

			mutex_lock(&lt->m);
			lock_table_find(lt, l->id.vol_off)->is_file_open = true;
			mutex_unlock(&lt->m);
			continue;
		}
		if (t->is_view)
			lock_unpin_view(t->vol, &l->id);
		else
			lock_unpin(t->vol, &l->id);
		if (is_committed && l->flags & TXN_LOCK_DROP) {
			struct lock_table *lt = &t->vol->member->locks;

			mutex_lock(&lt->m);
			struct held_lock *h = lock_table_find(lt, l->id.vol_off);
			if (h && !h->pins)
				h->last_used = 0;
			mutex_unlock(&lt->m);
			is_any_dropped = true;
		}
	}
	return is_any_dropped;
}


/*
 * build gave up: for good, or because what it read was half of one state and half of
 * another? -EAGAIN: the latter.
 */
static int judge_failure(struct vmfs_txn *t, int err)
{
	bool is_changed;
	int check = txn_validate(t, &is_changed);

	if (!check && !is_changed)
		txn_index_keep(t, false);
	return check ? check : is_changed ? -EAGAIN : err;
}

/* One attempt under txn_lock. */
static int attempt(struct vmfs_txn *t, vmfs_build_fn *build, void *arg)
{
	struct vmfs_hush hush;

	sleeplock_acquire(&t->vol->txn_lock);
	vmfs_hush_begin(t->vol, &hush);
	int err = build(t, arg);
	bool was_busy = err == -EBUSY && t->is_busy;
	if (err && !was_busy)
		err = judge_failure(t, err);
	/* What cannot be may be, on a volume that has grown. */
	if (err == -EUCLEAN && volume_refresh_held(t->vol) > 0)
		err = -EAGAIN;
	vmfs_hush_end(t->vol, &hush, err == -EUCLEAN);
	if (!err)
		err = commit(t);
	bool is_dropped = txn_let_go(t, !err);
	if (is_dropped && !err)
		/* what stays is retried by maintenance */
		(void)!lock_release_idle(t->vol, 0);
	sleeplock_release(&t->vol->txn_lock);
	t->is_busy = was_busy;
	return err;
}

int vmfs_txn_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg,
		 uint64_t deadline, struct vmfs_holder *ret_holder)
{
	struct vmfs_txn t = { .vol = vol };
	struct lock_wait wait;
	unsigned int conflicts = 0;
	int err;

	if (!vol->member)
		return -EROFS;
	lock_wait_init(&wait, vol, deadline);
	for (;;) {
		t.is_patient = conflicts >= OPTIMISTIC_TRIES;
		err = attempt(&t, build, arg);
		if (err == -EBUSY && t.is_busy) {
			err = lock_wait_turn(&wait, &t.busy_id, &t.holder);
			if (err == -EBUSY && ret_holder)
				*ret_holder = t.holder;
			if (err)
				break;
		} else if (err == -EAGAIN) {
			if (conflicts++)
				lock_wait_dodge(&wait);
		} else {
			break;
		}
		txn_reset(&t);
	}
	lock_wait_done(&wait);
	txn_done(&t);
	return err;
}
