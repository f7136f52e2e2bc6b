/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions (LOCKING.md 10.1): reading and editing; txncommit.c goes on from LOCK.
 * Views (12), which only read, are in view.c.
 *
 *   READ: build runs; for each lock met, its sector is read first, then the pieces
 *     |  -EBUSY: drop everything, take over or wait (lockwait.c), run again
 *     v
 *   LOCK: cas of each edited object's lock from the very sector read, in rank order
 *     |  any differs: drop everything, run again; now lock first what is to be edited,
 *     |  then read; the sixth time everything that is met
 *     v
 *   VALIDATE: locks that were only read under are read again: unchanged?
 *     v
 *   DATA: ordered file data, FLUSH
 *     v
 *   LOG: journal_commit(): durable = committed
 *     v
 *   IN PLACE: gate writes; their FLUSH comes before the journal is emptied (journal.c)
 *
 * Invariants:
 *  1 one transaction or view of this host at a time (txn_lock): what a transaction has
 *    half written in place is never read. Neither runs inside the other's build function.
 *    A read-only volume has no txn_lock to take: its views only meet other hosts' writes;
 *  2 an image is edited from content read after the lock sector that the cas compares
 *    with: success of the cas proves that the content is that of the last release;
 *  3 before LOG nothing that is reachable on disk has changed: locks taken, data in
 *    blocks that nothing refers to. After LOG the outcome is "committed", and if it
 *    cannot be written in place the volume dies with its locks held, for the replayer to
 *    finish;
 *  4 what build returns is the caller's answer only if what it read was one state: locks
 *    read again and unchanged; else it runs again;
 *  5 a piece enters the cache with the token of its lock only if that lock was ours, or
 *    was seen unchanged and free after the piece was read; a member's does so under
 *    txn_lock, or it might come behind a newer one with the same token.
 *
 * Crash: before LOG nothing happened, the locks go stale at our take-over; after LOG the
 * record is replayed, since the locks still show us with the logged tokens.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/cache.h"
#include "vmfs/gate.h"
#include "vmfs/member.h"
#include "vmfs/txn_impl.h"
#include "vmfs/volume.h"

struct vmfs_volume *vmfs_txn_volume(struct vmfs_txn *t)
{
	return t->vol;
}

bool vmfs_txn_is_view(struct vmfs_txn *t)
{
	return t->is_view;
}

void *txn_grow(void *array, unsigned int count, unsigned int *room, size_t size)
{
	if (count < *room)
		return array;
	unsigned int wanted = *room ? *room * 2 : 8;
	void *bigger = reallocarray(array, wanted, size);
	if (bigger)
		*room = wanted;
	return bigger;
}

void txn_reset(struct vmfs_txn *t)
{
	for (unsigned int i = 0; i < t->piece_count; i++) {
		free(t->pieces[i].now);
		free(t->pieces[i].was);
	}
	for (unsigned int i = 0; i < t->data_count; i++)
		free(t->data[i].bytes);
	for (unsigned int i = 0; i < t->log_count; i++)
		logview_done(&t->logs[i].view);
	txn_window_done(t);
	txn_index_reset(t);
	t->lock_count = t->piece_count = t->data_count = t->log_count = 0;
	t->is_busy = t->frees_metadata = t->takes_blocks = t->frees_blocks = false;
	t->may_wait = t->assumes = t->is_mistaken = t->reads_blocks = false;
}

void txn_done(struct vmfs_txn *t)
{
	txn_reset(t);
	free(t->locks);
	free(t->pieces);
	free(t->data);
	free(t->logs);
	free(t->indexes);
	free(t->index_changes);
}

/* ---- reading ---- */

int txn_busy(struct vmfs_txn *t, const struct vmfs_lock_id *id)
{
	t->is_busy = true;
	t->busy_id = *id;
	return -EBUSY;
}

static bool is_eager(const struct vmfs_txn *t, uint64_t vol_off)
{
	for (unsigned int i = 0; i < t->eager_count; i++)
		if (t->eager[i] == vol_off)
			return true;
	return t->is_patient;
}

static void note_eager(struct vmfs_txn *t, uint64_t vol_off)
{
	if (t->eager_count < TXN_EAGER_MAX && !is_eager(t, vol_off))
		t->eager[t->eager_count++] = vol_off;
}

/* Takes a lock before anything is read under it, from the sector just read. */
static int take_first(struct vmfs_txn *t, struct txn_lock *l)
{
	struct vmfs_volume *vol = t->vol;
	uint64_t token = le64_get(l->image.token);

	if (lock_is_yielded(vol, l->id.vol_off, token) ||
	    lock_take(vol, &l->id, &l->image, l->min_token))
		return txn_busy(t, &l->id);
	int err = lock_pin(vol, &l->id, &l->image);
	lock_unpin(vol, &l->id); /* lock_take pinned it once already */
	l->is_pinned = !err;
	l->seen = SEEN_MINE;
	return err;
}

static int read_lock(struct vmfs_txn *t, struct txn_lock *l, bool is_new)
{
	const uint8_t *seen = txn_window_lock(t, l->id.vol_off);

	if (!seen)
		return lock_read(t->vol, &l->id, is_new, &l->image);
	memcpy(&l->image, seen, sizeof(l->image));
	return lock_verify(t->vol, &l->id, &l->image);
}

/* Is something remembered that was read while it was free? */
static bool assume(const struct vmfs_txn *t, struct txn_lock *l)
{
	uint64_t token;

	if (!t->assumes || !vmfs_cache_token(t->vol->cache, l->id.vol_off, &token))
		return false;
	l->image.token = le64_of(token);
	l->image.mode = le32_of(LOCK_FREE);
	l->seen = SEEN_FREE;
	return l->is_assumed = true;
}

/* Learns what the lock sector says: from the table if it is ours, else from disk. */
static int learn(struct vmfs_txn *t, struct txn_lock *l, bool is_new)
{
	struct vmfs_volume *vol = t->vol;
	int err = -ENOENT;

	if (vol->member)
		err = lock_pin(vol, &l->id, &l->image);
	if (!err) {
		l->is_pinned = true;
		l->seen = SEEN_MINE;
		return 0;
	}
	if (err == -EAGAIN)
		return txn_busy(t, &l->id);
	if (assume(t, l))
		return 0;
	err = read_lock(t, l, is_new);
	if (!err)
		err = lock_judge(vol, &l->id, &l->image, &l->seen, &t->holder);
	/* Ours on disk but not in the table: a ghost that ran. The commit may not compare
	   with it as if it were free: let the table adopt it first. */
	if (!err && l->seen == SEEN_MINE && !t->is_view)
		return txn_busy(t, &l->id);
	if (!err && l->seen == SEEN_HELD)
		return t->is_view ? view_meet_holder(t, l) : txn_busy(t, &l->id);
	if (!err && !t->is_view && is_eager(t, l->id.vol_off) &&
	    (l->seen == SEEN_FREE || l->seen == SEEN_STALE))
		err = take_first(t, l);
	return err;
}

struct txn_lock *txn_find_lock(struct vmfs_txn *t, uint64_t vol_off)
{
	for (unsigned int i = 0; i < t->lock_count; i++)
		if (t->locks[i].id.vol_off == vol_off)
			return &t->locks[i];
	return NULL;
}

static int get_lock(struct vmfs_txn *t, const struct vmfs_lock_id *id, bool is_new,
		    uint64_t min_token, struct txn_lock **ret_lock)
{
	struct txn_lock *l = txn_find_lock(t, id->vol_off);

	if (l) {
		*ret_lock = l;
		return 0;
	}
	struct txn_lock *locks =
		txn_grow(t->locks, t->lock_count, &t->lock_room, sizeof(*locks));
	if (!locks)
		return -ENOMEM;
	t->locks = locks;
	l = &locks[t->lock_count];
	memset(l, 0, sizeof(*l));
	l->id = *id;
	l->min_token = min_token;
	int err = learn(t, l, is_new);
	if (err)
		return err;
	t->lock_count++;
	*ret_lock = l;
	return 0;
}

static struct txn_piece *find_piece(struct vmfs_txn *t, uint64_t vol_off, uint32_t len)
{
	for (unsigned int i = 0; i < t->piece_count; i++) {
		struct txn_piece *p = &t->pieces[i];

		if (p->vol_off == vol_off && p->len == len)
			return p;
		assert(p->vol_off + p->len <= vol_off || vol_off + len <= p->vol_off);
	}
	return NULL;
}

bool txn_is_settled(const struct txn_lock *l)
{
	return l->seen == SEEN_FREE || l->seen == SEEN_MINE || l->seen == SEEN_STALE;
}

/* What the transaction is going to write there is what it reads there. */
static bool fill_from_data(const struct vmfs_txn *t, struct txn_piece *p)
{
	for (unsigned int i = 0; i < t->data_count; i++) {
		const struct txn_data *d = &t->data[i];

		if (p->vol_off < d->vol_off ||
		    p->vol_off + p->len > d->vol_off + d->len)
			continue;
		memcpy(p->now, d->bytes + (p->vol_off - d->vol_off), p->len);
		return true;
	}
	return false;
}

static int fill_piece(struct vmfs_txn *t, struct txn_piece *p, struct txn_lock *l)
{
	uint64_t token = le64_get(l->image.token);

	if (fill_from_data(t, p))
		return 0;
	if (txn_is_settled(l) && vmfs_cache_get(t->vol->cache, p->vol_off, p->len,
					    l->id.vol_off, token, p->now))
		return 0;
	const uint8_t *seen = txn_window_piece(t, p->vol_off, p->len);
	int err = 0;

	l->is_read_under = true;

	if (l->log)
		err = view_fill(t, l, p->vol_off, p->len, p->now);
	else if (seen)
		memcpy(p->now, seen, p->len);
	else
		err = vmfs_gate_read(t->vol, p->vol_off, p->now, p->len);
	if (!err && l->is_pinned)
		vmfs_cache_put(t->vol->cache, p->vol_off, p->len, l->id.vol_off, token,
			       p->now);
	return err;
}

static int get_piece(struct vmfs_txn *t, const struct vmfs_lock_id *id, uint64_t vol_off,
		     uint32_t len, bool is_created, struct txn_piece **ret_piece)
{
	struct txn_lock *l;
	int err = get_lock(t, id, false, 0, &l);

	assert(len && len % VMFS_SECTOR_SIZE == 0 && vol_off % VMFS_SECTOR_SIZE == 0);
	if (err)
		return err;
	struct txn_piece *p = find_piece(t, vol_off, len);
	if (p) {
		if (is_created) {
			memset(p->now, 0, len);
			p->is_created = true;
		}
		*ret_piece = p;
		return 0;
	}
	struct txn_piece *pieces = txn_grow(t->pieces, t->piece_count, &t->piece_room,
					sizeof(*pieces));
	if (!pieces)
		return -ENOMEM;
	t->pieces = pieces;
	p = &pieces[t->piece_count];
	*p = (struct txn_piece){ .vol_off = vol_off,
				 .len = len,
				 .is_created = is_created };
	p->lock = (uint32_t)(l - t->locks);
	p->now = calloc(1, len);
	if (!p->now)
		return -ENOMEM;
	if (!is_created)
		err = fill_piece(t, p, l);
	if (err) {
		free(p->now);
		return err;
	}
	t->piece_count++;
	*ret_piece = p;
	return 0;
}

int vmfs_txn_read(struct vmfs_txn *t, const struct vmfs_lock_id *lock, uint64_t vol_off,
		  uint32_t len, const void **ret_data)
{
	struct txn_piece *p;
	int err = get_piece(t, lock, vol_off, len, false, &p);

	if (!err)
		*ret_data = p->now;
	return err;
}

/* ---- editing ---- */

static int want_lock(struct vmfs_txn *t, struct txn_lock *l)
{
	assert(!t->is_view);
	if (l->seen == SEEN_SHARED)
		return txn_busy(t, &l->id);
	note_eager(t, l->id.vol_off);
	if (!l->is_pinned &&
	    lock_is_yielded(t->vol, l->id.vol_off, le64_get(l->image.token)))
		return txn_busy(t, &l->id);
	l->is_wanted = true;
	return 0;
}

int vmfs_txn_edit(struct vmfs_txn *t, const struct vmfs_lock_id *lock, uint64_t vol_off,
		  uint32_t len, void **ret_data)
{
	struct txn_piece *p;
	int err = get_piece(t, lock, vol_off, len, false, &p);

	if (!err)
		err = want_lock(t, &t->locks[p->lock]);
	if (err)
		return err;
	if (!p->is_edited && !p->is_created) {
		p->was = malloc(len);
		if (!p->was)
			return -ENOMEM;
		memcpy(p->was, p->now, len);
	}
	p->is_edited = true;
	*ret_data = p->now;
	return 0;
}

void *vmfs_txn_before(struct vmfs_txn *t, const void *data)
{
	for (unsigned int i = 0; i < t->piece_count; i++)
		if (t->pieces[i].now == data)
			return t->pieces[i].was;
	assert(!"a piece of this transaction");
	return NULL;
}

void vmfs_txn_frees_metadata(struct vmfs_txn *t)
{
	t->frees_metadata = true;
}

void vmfs_txn_reads_blocks(struct vmfs_txn *t)
{
	t->reads_blocks = true;
}

void vmfs_txn_takes_blocks(struct vmfs_txn *t)
{
	t->takes_blocks = true;
}

void vmfs_txn_frees_blocks(struct vmfs_txn *t)
{
	t->frees_blocks = true;
}

void vmfs_txn_may_wait(struct vmfs_txn *t)
{
	t->may_wait = true;
}

int vmfs_txn_create(struct vmfs_txn *t, const struct vmfs_lock_id *lock, uint64_t vol_off,
		    uint32_t len, void **ret_data)
{
	struct txn_piece *p;
	int err = get_piece(t, lock, vol_off, len, true, &p);

	if (!err)
		err = want_lock(t, &t->locks[p->lock]);
	if (err)
		return err;
	p->is_edited = true;
	*ret_data = p->now;
	return 0;
}

int vmfs_txn_data(struct vmfs_txn *t, uint64_t vol_off, const void *buf, uint64_t len)
{
	struct txn_data *data =
		txn_grow(t->data, t->data_count, &t->data_room, sizeof(*data));

	assert(!t->is_view && len && len % VMFS_SECTOR_SIZE == 0);
	if (!data)
		return -ENOMEM;
	t->data = data;
	uint8_t *copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, buf, len);
	data[t->data_count++] = (struct txn_data){ vol_off, len, copy };
	return 0;
}

int vmfs_txn_lock(struct vmfs_txn *t, const struct vmfs_lock_id *lock, uint32_t flags,
		  uint64_t min_token)
{
	struct txn_lock *l;
	int err = get_lock(t, lock, flags & TXN_LOCK_CREATE, min_token, &l);

	if (!err)
		err = want_lock(t, l);
	if (err)
		return err;
	l->flags |= flags;
	l->min_token = max_u64(l->min_token, min_token);
	return 0;
}

int vmfs_txn_is_others(struct vmfs_txn *t, const struct vmfs_lock_id *lock)
{
	struct txn_lock *l;

	if (t->is_view)
		return 0;
	int err = get_lock(t, lock, false, 0, &l);
	if (err == -EBUSY) {
		t->is_busy = false;
		return 1;
	}
	if (err)
		return err;
	return l->seen == SEEN_SHARED ||
	       (!l->is_pinned &&
		lock_is_yielded(t->vol, lock->vol_off, le64_get(l->image.token)));
}

/* An open file of our own counts as busy too: its lock is pinned beyond transactions. */
int vmfs_txn_is_busy(struct vmfs_txn *t, const struct vmfs_lock_id *lock)
{
	int rc = vmfs_txn_is_others(t, lock);

	if (rc || t->is_view)
		return rc;
	struct lock_table *lt = &t->vol->member->locks;
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, lock->vol_off);
	int is_open = h && h->is_file_open;
	mutex_unlock(&lt->m);
	return is_open;
}
