/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of (hash, slot) with open addressing, the next place tried next, and the holes
 * of the directory in rising order. What it says of a name is that no other slot than
 * those named can have it; whether one does is read there. So it must be exact: it is
 * changed only when a transaction has committed, by what that did, in its order
 * (txnindex.c), and what does not fit makes it of no use.
 *
 * Invariants:
 *  1 at most 3/4 of the table is used, so that a search ends;
 *  2 between the place of a hash and an entry of that hash no place is empty: who is
 *    taken out is replaced by the next one that may stand there;
 *  3 an index in the list is changed only by the volume's one transaction (txn_lock); a
 *    read-only volume, which has none, never changes one, but makes it anew.
 *
 * The mutex guards the list, references and tokens.
 */
#include "vmfs/dirindex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/env.h"
#include "vmfs/dirhash.h"

#define ROOM_LEAST 512u

struct place {
	uint32_t hash;
	uint32_t slot; /* + 1; 0: empty */
};

struct dir_index {
	TAILQ_ENTRY(dir_index) in_order; /* least recently used first */
	uint64_t lock_off, token;
	uint64_t bytes;		  /* as counted in the list */
	unsigned int refs;	  /* atomic */
	struct place *places;
	uint32_t room, used; /* room: a power of two */
	uint32_t count;
	uint32_t *holes;
	uint32_t hole_count, hole_room;
};

struct dir_indexes {
	struct mutex m;
	TAILQ_HEAD(, dir_index) order;
	uint64_t used_bytes, max_bytes;
};

/* ---- one ---- */

struct dir_index *dir_index_new(void)
{
	struct dir_index *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->refs = 1;
	x->room = ROOM_LEAST;
	x->places = calloc(x->room, sizeof(*x->places));
	if (!x->places) {
		free(x);
		return NULL;
	}
	return x;
}

void dir_index_release(struct dir_index *x)
{
	if (!x || __atomic_sub_fetch(&x->refs, 1, __ATOMIC_ACQ_REL))
		return;
	free(x->places);
	free(x->holes);
	free(x);
}

uint32_t dir_index_hash(const char *name)
{
	return (uint32_t)(vmfs_dirhash(name) >> 32);
}

uint64_t dir_index_count(const struct dir_index *x)
{
	return x->count;
}

uint64_t dir_index_room(const struct dir_index *x)
{
	return x->hole_count ? x->holes[x->hole_count - 1] : x->count;
}

bool dir_index_next(const struct dir_index *x, uint32_t hash, uint32_t *cursor,
		    uint32_t *ret_slot)
{
	for (uint32_t i = *cursor; i < x->room; i++) {
		const struct place *p = &x->places[(hash + i) & (x->room - 1)];

		if (!p->slot)
			return false;
		if (p->hash == hash) {
			*cursor = i + 1;
			*ret_slot = p->slot - 1;
			return true;
		}
	}
	return false;
}

static void enter(struct dir_index *x, struct place new)
{
	uint32_t at = new.hash & (x->room - 1);

	while (x->places[at].slot)
		at = (at + 1) & (x->room - 1);
	x->places[at] = new;
	x->used++;
}

static int make_room(struct dir_index *x)
{
	struct place *old = x->places;
	uint32_t old_room = x->room;

	if ((uint64_t)(x->used + 1) * 4 <= (uint64_t)x->room * 3)
		return 0;
	struct place *bigger = calloc((size_t)old_room * 2, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	x->places = bigger;
	x->room = old_room * 2;
	x->used = 0;
	for (uint32_t i = 0; i < old_room; i++)
		if (old[i].slot)
			enter(x, old[i]);
	free(old);
	return 0;
}

static void take_hole(struct dir_index *x, uint32_t slot)
{
	for (uint32_t i = x->hole_count; i > 0; i--) {
		if (x->holes[i - 1] != slot)
			continue;
		memmove(&x->holes[i - 1], &x->holes[i],
			(x->hole_count - i) * sizeof(*x->holes));
		x->hole_count--;
		return;
	}
}

static int add(struct dir_index *x, uint32_t hash, uint32_t slot)
{
	if (slot > x->count)
		return -ESTALE;
	int err = make_room(x);
	if (err)
		return err;
	enter(x, (struct place){ hash, slot + 1 });
	if (slot == x->count)
		x->count++;
	else
		take_hole(x, slot);
	return 0;
}

/* Closes the gap at a place: invariant 2. */
static void close_gap(struct dir_index *x, uint32_t gap)
{
	uint32_t mask = x->room - 1;

	for (uint32_t at = (gap + 1) & mask; x->places[at].slot; at = (at + 1) & mask) {
		uint32_t home = x->places[at].hash & mask;

		if (((at - home) & mask) < ((at - gap) & mask))
			continue; /* its home lies behind the gap */
		x->places[gap] = x->places[at];
		gap = at;
	}
	x->places[gap] = (struct place){ 0 };
	x->used--;
}

static int take_out(struct dir_index *x, uint32_t hash, uint32_t slot)
{
	uint32_t cursor = 0, found;

	while (dir_index_next(x, hash, &cursor, &found)) {
		if (found != slot)
			continue;
		close_gap(x, (hash + cursor - 1) & (x->room - 1));
		return 0;
	}
	return -ESTALE;
}

static int add_hole(struct dir_index *x, uint32_t slot)
{
	if (slot != x->count)
		return -ESTALE;
	if (x->hole_count == x->hole_room) {
		uint32_t room = x->hole_room ? x->hole_room * 2 : 64;
		uint32_t *holes = reallocarray(x->holes, room, sizeof(*holes));

		if (!holes)
			return -ENOMEM;
		x->holes = holes;
		x->hole_room = room;
	}
	x->holes[x->hole_count++] = slot;
	x->count++;
	return 0;
}

static int cut(struct dir_index *x, uint32_t count)
{
	if (count > x->count)
		return -ESTALE;
	while (x->hole_count && x->holes[x->hole_count - 1] >= count)
		x->hole_count--;
	x->count = count;
	return x->used == count - x->hole_count ? 0 : -ESTALE;
}

int dir_index_apply(struct dir_index *x, const struct dir_index_change *change)
{
	switch (change->kind) {
	case DIR_INDEX_ADD:
		return add(x, change->hash, change->slot);
	case DIR_INDEX_REMOVE:
		return take_out(x, change->hash, change->slot);
	case DIR_INDEX_HOLE:
		return add_hole(x, change->slot);
	case DIR_INDEX_CUT:
		return cut(x, change->slot);
	default:
		return -ESTALE;
	}
}

/* ---- those of a volume ---- */

struct dir_indexes *dir_indexes_new(uint64_t max_bytes)
{
	struct dir_indexes *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	mutex_init(&all->m);
	TAILQ_INIT(&all->order);
	all->max_bytes = max_bytes;
	return all;
}

static void unlist(struct dir_indexes *all, struct dir_index *x)
{
	TAILQ_REMOVE(&all->order, x, in_order);
	all->used_bytes -= x->bytes;
	dir_index_release(x);
}

void dir_indexes_drop_all(struct dir_indexes *all)
{
	mutex_lock(&all->m);
	while (!TAILQ_EMPTY(&all->order))
		unlist(all, TAILQ_FIRST(&all->order));
	mutex_unlock(&all->m);
}

void dir_indexes_free(struct dir_indexes *all)
{
	if (!all)
		return;
	dir_indexes_drop_all(all);
	mutex_done(&all->m);
	free(all);
}

/* There is at most one of a lock. */
static struct dir_index *find(struct dir_indexes *all, uint64_t lock_off)
{
	struct dir_index *x;

	TAILQ_FOREACH(x, &all->order, in_order)
		if (x->lock_off == lock_off)
			return x;
	return NULL;
}

struct dir_index *dir_indexes_get(struct dir_indexes *all, uint64_t lock_off,
				  uint64_t token)
{
	mutex_lock(&all->m);
	struct dir_index *x = find(all, lock_off);
	if (x && x->token != token)
		x = NULL;
	if (x) {
		__atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
		TAILQ_REMOVE(&all->order, x, in_order);
		TAILQ_INSERT_TAIL(&all->order, x, in_order);
	}
	mutex_unlock(&all->m);
	return x;
}

void dir_indexes_put(struct dir_indexes *all, uint64_t lock_off, uint64_t token,
		     struct dir_index *x)
{
	mutex_lock(&all->m);
	__atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
	struct dir_index *old = find(all, lock_off);
	if (old)
		unlist(all, old);
	x->lock_off = lock_off;
	x->token = token;
	x->bytes = sizeof(*x) + (uint64_t)x->room * sizeof(*x->places) +
		   (uint64_t)x->hole_room * sizeof(*x->holes);
	TAILQ_INSERT_TAIL(&all->order, x, in_order);
	all->used_bytes += x->bytes;
	while (all->used_bytes > all->max_bytes)
		unlist(all, TAILQ_FIRST(&all->order));
	mutex_unlock(&all->m);
}

void dir_indexes_retoken(struct dir_indexes *all, uint64_t lock_off, uint64_t token,
			 uint64_t new_token)
{
	mutex_lock(&all->m);
	struct dir_index *x = find(all, lock_off);
	if (x && x->token == token)
		x->token = new_token;
	mutex_unlock(&all->m);
}

void dir_indexes_drop_lock(struct dir_indexes *all, uint64_t lock_off)
{
	mutex_lock(&all->m);
	struct dir_index *x = find(all, lock_off);
	if (x)
		unlist(all, x);
	mutex_unlock(&all->m);
}
