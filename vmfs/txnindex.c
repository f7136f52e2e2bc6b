/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexes of directories within transactions and views (dirindex.h).
 *
 *   list (lock, token) --vmfs_txn_index--> build reads by it
 *   made by build ---- all read was of one state ---> list (lock, token as read or held)
 *   changes by build -- committed -----------------> applied to what the list has now
 *
 * Invariants:
 *  1 an index is used only under a lock that is settled, with the token it was listed
 *    under: it says what the pieces of the directory say;
 *  2 it is that of the directory before this transaction: with the first change of a
 *    directory its index is not used any more in this transaction;
 *  3 changes are applied once, after the commit, to the index that has the token of the
 *    lock as held: those of an attempt that failed are forgotten with it. What cannot
 *    be applied takes the index out of the list.
 */
#include <errno.h>

#include "vmfs/cache.h"
#include "vmfs/txn_impl.h"
#include "vmfs/volume.h"

static bool is_changed(const struct vmfs_txn *t, uint32_t lock)
{
	for (unsigned int i = 0; i < t->index_change_count; i++)
		if (t->index_changes[i].lock == lock)
			return true;
	return false;
}

static int note(struct vmfs_txn *t, uint32_t lock, struct dir_index *index, bool is_made)
{
	struct txn_index *indexes =
		txn_grow(t->indexes, t->index_count, &t->index_room, sizeof(*indexes));

	if (!indexes) {
		dir_index_release(index);
		return -ENOMEM;
	}
	t->indexes = indexes;
	indexes[t->index_count++] = (struct txn_index){ lock, index, is_made };
	return 0;
}

bool vmfs_txn_may_index(struct vmfs_txn *t, const struct vmfs_lock_id *lock)
{
	struct txn_lock *l = txn_find_lock(t, lock->vol_off);

	return l && txn_is_settled(l) && !is_changed(t, (uint32_t)(l - t->locks));
}

struct dir_index *vmfs_txn_index(struct vmfs_txn *t, const struct vmfs_lock_id *lock)
{
	if (!vmfs_txn_may_index(t, lock))
		return NULL;
	struct txn_lock *l = txn_find_lock(t, lock->vol_off);
	uint32_t number = (uint32_t)(l - t->locks);
	for (unsigned int i = 0; i < t->index_count; i++)
		if (t->indexes[i].lock == number)
			return t->indexes[i].index;
	struct dir_index *x = dir_indexes_get(vmfs_cache_indexes(t->vol->cache),
					      lock->vol_off, le64_get(l->image.token));
	return x && !note(t, number, x, false) ? x : NULL;
}

int vmfs_txn_index_made(struct vmfs_txn *t, const struct vmfs_lock_id *lock,
			struct dir_index *made)
{
	struct txn_lock *l = txn_find_lock(t, lock->vol_off);

	return note(t, (uint32_t)(l - t->locks), made, true);
}

int vmfs_txn_index_change(struct vmfs_txn *t, const struct vmfs_lock_id *lock,
			  const struct dir_index_change *change)
{
	struct txn_lock *l = txn_find_lock(t, lock->vol_off);
	struct txn_index_change *changes =
		txn_grow(t->index_changes, t->index_change_count, &t->index_change_room,
			 sizeof(*changes));

	if (!changes)
		return -ENOMEM;
	t->index_changes = changes;
	changes[t->index_change_count++] =
		(struct txn_index_change){ (uint32_t)(l - t->locks), *change };
	return 0;
}

/* All changes of one directory, to what the list has of it. */
static void apply(struct vmfs_txn *t, uint32_t lock)
{
	const struct txn_lock *l = &t->locks[lock];
	struct dir_indexes *all = vmfs_cache_indexes(t->vol->cache);
	uint64_t token = le64_get(l->image.token);
	struct dir_index *x = dir_indexes_get(all, l->id.vol_off, token);
	int err = 0;

	if (!x)
		return;
	for (unsigned int i = 0; !err && i < t->index_change_count; i++)
		if (t->index_changes[i].lock == lock)
			err = dir_index_apply(x, &t->index_changes[i].change);
	if (err)
		dir_indexes_drop_lock(all, l->id.vol_off);
	else
		dir_indexes_put(all, l->id.vol_off, token, x); /* its size, counted */
	dir_index_release(x);
}

void txn_index_keep(struct vmfs_txn *t, bool is_committed)
{
	for (unsigned int i = 0; i < t->index_count; i++) {
		const struct txn_index *x = &t->indexes[i];
		const struct txn_lock *l = &t->locks[x->lock];

		if (x->is_made)
			dir_indexes_put(vmfs_cache_indexes(t->vol->cache), l->id.vol_off,
					le64_get(l->image.token), x->index);
	}
	for (unsigned int i = 0; is_committed && i < t->index_change_count; i++) {
		uint32_t lock = t->index_changes[i].lock;
		bool is_done = false;

		for (unsigned int j = 0; j < i && !is_done; j++)
			is_done = t->index_changes[j].lock == lock;
		if (!is_done)
			apply(t, lock);
	}
}

void txn_index_reset(struct vmfs_txn *t)
{
	for (unsigned int i = 0; i < t->index_count; i++)
		dir_index_release(t->indexes[i].index);
	t->index_count = t->index_change_count = 0;
}
