/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start-time fair queueing with a depth: each request costs units by its length, a disk
 * pays cost / shares of virtual time for it, and the request whose virtual start is the
 * earliest goes first. Virtual time is the start of who went last, so a disk that had
 * nothing to do has saved nothing up.
 *
 * 1. As long as one disk alone has requests, none waits but for its own limits.
 * 2. With several, at most `depth` are at the device: what waits is ordered here and not
 *    in the device's queue, which knows no shares. One disk alone may already have more
 *    there when another one comes; the first to end makes room for no one.
 * 3. A limit is a due time that each request moves on by its price (1 / limit): over any
 *    long while no more than the limit passes, and after a pause at most BURST of it at
 *    once.
 */
#include "vmkernel/sched/fair.h"

#include <assert.h>
#include <stddef.h>

#include "base/align.h"
#include "base/env.h"

#define UNIT_BYTES (32u << 10) /* a request costs one unit for each begun one */
#define UNIT_COST (1u << 20)   /* of virtual time at one share */
#define BURST (100 * NS_PER_MS)

void fair_init(struct fair *f, unsigned int depth)
{
	*f = (struct fair){ .depth = depth };
	TAILQ_INIT(&f->disks);
}

void fair_add(struct fair *f, struct fair_disk *d)
{
	assert(d->shares >= 1 && d->shares <= FAIR_SHARES_MAX);
	STAILQ_INIT(&d->waiting);
	d->finish = f->virtual_time;
	TAILQ_INSERT_TAIL(&f->disks, d, link);
}

void fair_remove(struct fair *f, struct fair_disk *d)
{
	assert(!d->is_active);
	TAILQ_REMOVE(&f->disks, d, link);
}

static void look_active(struct fair *f, struct fair_disk *d)
{
	bool is_active = d->at_device || !STAILQ_EMPTY(&d->waiting);
	if (is_active == d->is_active)
		return;
	d->is_active = is_active;
	f->active += is_active ? 1u : -1u;
}

static uint64_t start_of(const struct fair *f, const struct fair_disk *d)
{
	return max_u64(f->virtual_time, d->finish);
}

/* When its limits let it go on: at most now, at once. */
static uint64_t allowed_at(const struct fair_disk *d)
{
	uint64_t due =
		max_u64(d->iops_max ? d->io_due : 0, d->bytes_max ? d->byte_due : 0);
	return due > BURST ? due - BURST : 0;
}

static void charge(uint64_t *due, uint64_t amount, uint64_t limit, uint64_t now)
{
	if (limit)
		*due = max_u64(*due, now) +
		       (uint64_t)((double)amount * (double)NS_PER_S / (double)limit);
}

static void pay(struct fair *f, struct fair_disk *d, uint64_t len, uint64_t now)
{
	uint64_t units = max_u64(div_up(len, UNIT_BYTES), 1);
	f->virtual_time = start_of(f, d);
	d->finish = f->virtual_time + units * UNIT_COST / d->shares;
	charge(&d->io_due, 1, d->iops_max, now);
	charge(&d->byte_due, len, d->bytes_max, now);
	d->at_device++;
	f->at_device++;
	look_active(f, d);
}

/* Is there room at the device for one more of d? */
static bool has_room(const struct fair *f, const struct fair_disk *d)
{
	unsigned int others = f->active - (d->is_active ? 1 : 0);
	return others == 0 || f->at_device < f->depth;
}

/* Does one wait that may go now, and comes before d? */
static bool is_preceded(const struct fair *f, const struct fair_disk *d, uint64_t now)
{
	const struct fair_disk *o;
	if (!f->waiting)
		return false;
	TAILQ_FOREACH(o, &f->disks, link) {
		if (!STAILQ_EMPTY(&o->waiting) && allowed_at(o) <= now &&
		    start_of(f, o) <= start_of(f, d))
			return true;
	}
	return false;
}

bool fair_start(struct fair *f, struct fair_disk *d, uint64_t len, uint64_t now)
{
	if (!STAILQ_EMPTY(&d->waiting) || !has_room(f, d) || allowed_at(d) > now ||
	    is_preceded(f, d, now))
		return false;
	pay(f, d, len, now);
	return true;
}

void fair_wait(struct fair *f, struct fair_disk *d, struct fair_item *item)
{
	STAILQ_INSERT_TAIL(&d->waiting, item, link);
	f->waiting++;
	look_active(f, d);
}

struct fair_item *fair_next(struct fair *f, uint64_t now, struct fair_disk **ret_disk,
			    uint64_t *ret_at)
{
	struct fair_disk *d, *best = NULL;
	*ret_at = NO_DEADLINE;
	TAILQ_FOREACH(d, &f->disks, link) {
		uint64_t at;
		if (STAILQ_EMPTY(&d->waiting) || !has_room(f, d))
			continue;
		at = allowed_at(d);
		if (at > now)
			*ret_at = min_u64(*ret_at, at);
		else if (!best || start_of(f, d) < start_of(f, best))
			best = d;
	}
	if (!best)
		return NULL;
	struct fair_item *item = STAILQ_FIRST(&best->waiting);
	STAILQ_REMOVE_HEAD(&best->waiting, link);
	f->waiting--;
	pay(f, best, item->len, now);
	*ret_disk = best;
	return item;
}

void fair_end(struct fair *f, struct fair_disk *d)
{
	assert(d->at_device > 0 && f->at_device > 0);
	d->at_device--;
	f->at_device--;
	look_active(f, d);
}
