/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions (LOCKING.md 10.1) and views (12).
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
 *    was seen unchanged and free after the piece was read.
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
#include "vmfs/lockwait.h"
#include "vmfs/member.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

#define OPTIMISTIC_TRIES 6u
#define EAGER_MAX 8u
#define VIEW_TRIES 3u

struct txn_lock {
	struct vmfs_lock_id id;
	struct vmfs_lock_disk image; /* as read, or as held */
	enum lock_seen seen;
	bool is_wanted;		     /* taken at commit */
	uint32_t flags;		     /* enum vmfs_txn_lock_flags */
	uint64_t min_token;
	bool is_pinned;		     /* in the table, by this transaction */
};

struct txn_piece {
	uint64_t vol_off;
	uint32_t len, lock; /* index of its lock */
	bool is_edited, is_created;
	uint8_t *now, *was;
};

struct txn_data {
	uint64_t vol_off, len;
	uint8_t *bytes;
};

struct vmfs_txn {
	struct vmfs_volume *vol;
	bool is_view, is_patient; /* patient: lock first, then read, whatever it is */
	bool accepts_held;	  /* a view's last try: read what others hold as it is */
	struct txn_lock *locks;
	struct txn_piece *pieces;
	struct txn_data *data;
	unsigned int lock_count, piece_count, data_count;
	unsigned int lock_room, piece_room, data_room;
	/* Why build could not go on. */
	bool is_busy;
	struct vmfs_holder holder;
	struct vmfs_lock_id busy_id;
	/* Locks that an earlier attempt was to take: locked first, then read. */
	uint64_t eager[EAGER_MAX];
	unsigned int eager_count;
};

struct vmfs_volume *vmfs_txn_volume(struct vmfs_txn *t)
{
	return t->vol;
}

bool vmfs_txn_is_view(struct vmfs_txn *t)
{
	return t->is_view;
}

/* Room for one more in an array of `size`-byte elements. */
static void *grow(void *array, unsigned int count, unsigned int *room, size_t size)
{
	if (count < *room)
		return array;
	unsigned int wanted = *room ? *room * 2 : 8;
	void *bigger = reallocarray(array, wanted, size);
	if (bigger)
		*room = wanted;
	return bigger;
}

/* ---- reading ---- */

static int busy(struct vmfs_txn *t, const struct vmfs_lock_id *id)
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
	if (t->eager_count < EAGER_MAX && !is_eager(t, vol_off))
		t->eager[t->eager_count++] = vol_off;
}

/* Takes a lock before anything is read under it, from the sector just read. */
static int take_first(struct vmfs_txn *t, struct txn_lock *l)
{
	struct vmfs_volume *vol = t->vol;
	uint64_t token = le64_get(l->image.token);

	if (lock_is_yielded(vol, l->id.vol_off, token) ||
	    lock_take(vol, &l->id, &l->image, l->min_token))
		return busy(t, &l->id);
	int err = lock_pin(vol, &l->id, &l->image);
	lock_unpin(vol, &l->id); /* lock_take pinned it once already */
	l->is_pinned = !err;
	l->seen = SEEN_MINE;
	return err;
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
		return busy(t, &l->id);
	err = lock_read(vol, &l->id, is_new, &l->image);
	if (!err)
		err = lock_judge(vol, &l->id, &l->image, &l->seen, &t->holder);
	/* Ours on disk but not in the table: a ghost that ran. The commit may not compare
	   with it as if it were free: let the table adopt it first. */
	if (!err && l->seen == SEEN_MINE && !t->is_view)
		return busy(t, &l->id);
	if (!err && l->seen == SEEN_HELD && !(t->is_view && t->accepts_held))
		return busy(t, &l->id);
	if (!err && !t->is_view && is_eager(t, l->id.vol_off) &&
	    (l->seen == SEEN_FREE || l->seen == SEEN_STALE))
		err = take_first(t, l);
	return err;
}

static struct txn_lock *find_lock(struct vmfs_txn *t, uint64_t vol_off)
{
	for (unsigned int i = 0; i < t->lock_count; i++)
		if (t->locks[i].id.vol_off == vol_off)
			return &t->locks[i];
	return NULL;
}

static int get_lock(struct vmfs_txn *t, const struct vmfs_lock_id *id, bool is_new,
		    uint64_t min_token, struct txn_lock **ret_lock)
{
	struct txn_lock *l = find_lock(t, id->vol_off);

	if (l) {
		*ret_lock = l;
		return 0;
	}
	struct txn_lock *locks =
		grow(t->locks, t->lock_count, &t->lock_room, sizeof(*locks));
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

/*
 * May the cache be asked about this lock's pieces? Only while its content cannot change.
 */
static bool is_settled(const struct txn_lock *l)
{
	return l->seen == SEEN_FREE || l->seen == SEEN_MINE || l->seen == SEEN_STALE;
}

static int fill_piece(struct vmfs_txn *t, struct txn_piece *p, const struct txn_lock *l)
{
	uint64_t token = le64_get(l->image.token);

	if (is_settled(l) && vmfs_cache_get(t->vol->cache, p->vol_off, p->len,
					    l->id.vol_off, token, p->now))
		return 0;
	int err = vmfs_gate_read(t->vol, p->vol_off, p->now, p->len);
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
	struct txn_piece *pieces = grow(t->pieces, t->piece_count, &t->piece_room,
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
		return busy(t, &l->id);
	note_eager(t, l->id.vol_off);
	if (!l->is_pinned &&
	    lock_is_yielded(t->vol, l->id.vol_off, le64_get(l->image.token)))
		return busy(t, &l->id);
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
		grow(t->data, t->data_count, &t->data_room, sizeof(*data));

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

/* An open file of our own counts as busy too: its lock is pinned beyond transactions. */
int vmfs_txn_is_busy(struct vmfs_txn *t, const struct vmfs_lock_id *lock)
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
	if (l->seen == SEEN_SHARED ||
	    (!l->is_pinned && lock_is_yielded(t->vol, lock->vol_off,
					      le64_get(l->image.token))))
		return 1;
	struct lock_table *lt = &t->vol->member->locks;
	mutex_lock(&lt->m);
	struct held_lock *h = lock_table_find(lt, lock->vol_off);
	int is_open = h && h->is_file_open;
	mutex_unlock(&lt->m);
	return is_open;
}

/* ---- committing ---- */

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

/* VALIDATE: what was only read under must still be as it was. */
static int validate(struct vmfs_txn *t, bool *ret_is_changed)
{
	*ret_is_changed = false;
	for (unsigned int i = 0; i < t->lock_count; i++) {
		struct txn_lock *l = &t->locks[i];
		struct vmfs_lock_disk now;

		if (l->is_pinned)
			continue;
		int err = vmfs_gate_read(t->vol, l->id.vol_off, &now, sizeof(now));
		if (err)
			return err;
		if (le64_get(now.token) != le64_get(l->image.token) ||
		    le32_get(now.mode) != le32_get(l->image.mode)) {
			*ret_is_changed = true;
			return 0;
		}
	}
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
			grow(*targets, *count, room, sizeof(*bigger));
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

/* LOG and IN PLACE. From the moment the record is durable there is no way back. */
static int log_and_write(struct vmfs_txn *t)
{
	struct journal_target *targets = NULL;
	unsigned int count = 0, room = 0;
	int err = 0;

	for (unsigned int i = 0; !err && i < t->piece_count; i++)
		if (t->pieces[i].is_edited)
			err = add_targets(t, &t->pieces[i], &targets, &count, &room);
	if (!err && count)
		err = journal_commit(t->vol, targets, count);
	if (err || !count) {
		free(targets);
		return err;
	}
	for (unsigned int i = 0; !err && i < count; i++)
		err = vmfs_gate_write(t->vol, targets[i].vol_off, targets[i].data,
				      (uint64_t)targets[i].sectors * VMFS_SECTOR_SIZE, 0);
	free(targets);
	if (err) {
		heartbeat_die(&t->vol->member->hb, -ESTALE,
			      "a committed transaction could not be written in place");
		return -ESTALE;
	}
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
		err = validate(t, &is_changed);
	if (!err && is_changed)
		err = -EAGAIN;
	if (!err)
		err = write_data(t);
	if (!err)
		err = log_and_write(t);
	return err;
}

/* Lets go of everything; is_done: it committed, so KEEP and DROP apply. */
static bool finish(struct vmfs_txn *t, bool is_done)
{
	bool is_any_dropped = false;

	for (unsigned int i = 0; i < t->lock_count; i++) {
		struct txn_lock *l = &t->locks[i];

		if (!l->is_pinned)
			continue;
		if (is_done && l->flags & TXN_LOCK_KEEP) {
			struct lock_table *lt = &t->vol->member->locks;

			mutex_lock(&lt->m);
			lock_table_find(lt, l->id.vol_off)->is_file_open = true;
			mutex_unlock(&lt->m);
			continue;
		}
		lock_unpin(t->vol, &l->id);
		if (is_done && l->flags & TXN_LOCK_DROP) {
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

static void reset(struct vmfs_txn *t)
{
	for (unsigned int i = 0; i < t->piece_count; i++) {
		free(t->pieces[i].now);
		free(t->pieces[i].was);
	}
	for (unsigned int i = 0; i < t->data_count; i++)
		free(t->data[i].bytes);
	t->lock_count = t->piece_count = t->data_count = 0;
	t->is_busy = false;
}

static void done(struct vmfs_txn *t)
{
	reset(t);
	free(t->locks);
	free(t->pieces);
	free(t->data);
}

/*
 * build gave up: for good, or because what it read was half of one state and half of
 * another? -EAGAIN: the latter.
 */
static int judge_failure(struct vmfs_txn *t, int err)
{
	bool is_changed;
	int check = validate(t, &is_changed);

	return check ? check : is_changed ? -EAGAIN : err;
}

/* One attempt under txn_lock. */
static int attempt(struct vmfs_txn *t, vmfs_build_fn *build, void *arg)
{
	sleeplock_acquire(&t->vol->txn_lock);
	int err = build(t, arg);
	bool was_busy = err == -EBUSY && t->is_busy;
	if (!err)
		err = commit(t);
	else if (!was_busy)
		err = judge_failure(t, err);
	bool is_dropped = finish(t, !err);
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
		reset(&t);
	}
	lock_wait_done(&wait);
	done(&t);
	return err;
}

/* Pieces read under locks that were free and did not change: good for the next reader. */
static void remember(struct vmfs_txn *t)
{
	for (unsigned int i = 0; i < t->piece_count; i++) {
		const struct txn_piece *p = &t->pieces[i];
		const struct txn_lock *l = &t->locks[p->lock];

		if (is_settled(l))
			vmfs_cache_put(t->vol->cache, p->vol_off, p->len, l->id.vol_off,
				       le64_get(l->image.token), p->now);
	}
}

int vmfs_view_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	struct vmfs_txn t = { .vol = vol, .is_view = true };
	bool is_changed = false;
	int err = 0;

	for (unsigned int tries = 0;; tries++) {
		t.accepts_held = tries + 1 >= VIEW_TRIES;
		if (vol->member)
			sleeplock_acquire(&vol->txn_lock);
		err = build(&t, arg);
		bool was_busy = err == -EBUSY && t.is_busy;
		/*
		 * An error may come from a mixed view: it counts only if nothing changed.
		 */
		int check = was_busy ? 0 : validate(&t, &is_changed);
		(void)finish(&t, false);
		if (vol->member)
			sleeplock_release(&vol->txn_lock);
		if (check) {
			err = check;
			break;
		}
		if (!was_busy && (!is_changed || tries >= 8 * VIEW_TRIES))
			break;
		if (was_busy && vol->member)
			lock_wait_bury(vol, &t.busy_id);
		reset(&t);
		task_sleep_until(clock_now() + NS_PER_MS * tries);
	}
	if (!err && !is_changed)
		remember(&t);
	done(&t);
	return err;
}
