/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writes of a repair, collected before the first of them is made.
 *
 * The order in which they are made then:
 *
 *   0. copies, into blocks that are free: of what is there before anything else
 *   1. states of resources: what becomes used, nothing becomes free
 *   2. what else lies in blocks that were free: new directories, then their descriptors
 *   3. entries of directories
 *   4. pointer blocks
 *   5. file descriptors
 *   6. headers, locks, heartbeat slots
 *   7. states of resources: what becomes free; their counts
 *
 * Invariants, after any prefix of it that a crash leaves:
 *   1. What is referred to is marked used before the reference is there; what is marked
 *      free was referred to by nobody since the step before. So no host, and no second
 *      repair, gives a block away that a file has.
 *   2. A reference appears only after what it names is written; and nothing new lies
 *      where one leads that is still to go (plan_note_named).
 *   3. Nothing that is in use before and after is without its bytes in between: sectors
 *      are changed in place, one by one.
 * So each state in between is a damaged volume with the same files as before, and a
 * repair of it loses nothing that this one would have kept.
 */
#include "fsck/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "vmfs/format.h"

#define SECTOR VMFS_SECTOR_SIZE

struct sector {
	uint64_t key; /* device << 56 | number of the sector */
	enum plan_step step;
	bool is_in_copy;
	uint16_t states_from, states_to;
	uint8_t was[SECTOR], bytes[SECTOR];
	UT_hash_handle hh;
};

struct over {
	struct bdev bd;
	struct bdev *below;
	struct plan *plan;
	unsigned int index;
};

struct plan {
	struct over *devices;
	unsigned int count;
	struct sector *sectors;
	struct copy *copies;
	unsigned int copy_count;
	uint64_t changes;
	uint8_t *named; /* a bit for each descriptor: plan_note_named() */
	uint64_t named_bits;
};

struct copy {
	struct over *to, *from;
	uint64_t to_off, from_off, len;
};

/* Beside enum plan_step: copies; what becomes used; as all of it ends. */
enum { STEP_COPIES = PLAN_STEPS, STEP_FIRST, STEP_ALL };

struct plan_writer {
	struct plan *plan;
	plan_write_fn *write;
	void *arg;
};

static uint64_t key_of(unsigned int device, uint64_t off)
{
	return (uint64_t)device << 56 | off / SECTOR;
}

static unsigned int device_of(const struct sector *s)
{
	return (unsigned int)(s->key >> 56);
}

static uint64_t off_of(const struct sector *s)
{
	return (s->key & ((1ull << 56) - 1)) * SECTOR;
}

static struct sector *sector_at(const struct plan *p, unsigned int device, uint64_t off)
{
	struct sector *s;
	uint64_t key = key_of(device, off);
	HASH_FIND(hh, p->sectors, &key, sizeof(key), s);
	return s;
}

/* ---- a device as it will be ---- */

/* The copy that a sector of a device is part of. */
static const struct copy *copy_at(const struct over *o, uint64_t off)
{
	for (unsigned int i = 0; i < o->plan->copy_count; i++) {
		const struct copy *c = &o->plan->copies[i];
		if (c->to == o && off >= c->to_off && off - c->to_off < c->len)
			return c;
	}
	return NULL;
}

static int sector_read(const struct over *o, uint64_t off, uint8_t *to)
{
	const struct sector *s = sector_at(o->plan, o->index, off);
	const struct copy *c = s ? NULL : copy_at(o, off);
	if (s)
		memcpy(to, s->bytes, SECTOR);
	return c ? bdev_read(c->from->below, to, SECTOR, off - c->to_off + c->from_off)
		 : 0;
}

static int over_read(struct over *o, struct bdev_io *io)
{
	uint64_t at = io->offset;
	struct bdev_io below = *io;
	int err = bdev_run(o->below, &below);
	if (!o->plan->sectors && !o->plan->copy_count)
		return err;
	for (int i = 0; i < io->iovcnt; i++)
		for (size_t k = 0; !err && k + SECTOR <= io->iov[i].iov_len;
		     k += SECTOR) {
			err = sector_read(o, at, (uint8_t *)io->iov[i].iov_base + k);
			at += SECTOR;
		}
	return err;
}

static int over_rw(struct bdev *bd, struct bdev_io *io)
{
	if (io->op == BDEV_READ)
		return over_read((struct over *)bd, io);
	return io->op == BDEV_FLUSH ? 0 : -EROFS;
}

static void over_submit(struct bdev *bd, struct bdev_io *io)
{
	bdev_io_complete(io, over_rw(bd, io));
}

static void over_close(struct bdev *bd)
{
	(void)bd; /* plan_free() */
}

static const struct bdev_ops over_ops = {
	.submit = over_submit,
	.rw = over_rw,
	.close = over_close,
};

struct plan *plan_new(struct bdev *const *devices, unsigned int count)
{
	struct plan *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->devices = calloc(count, sizeof(*p->devices));
	if (!p->devices) {
		free(p);
		return NULL;
	}
	p->count = count;
	for (unsigned int i = 0; i < count; i++) {
		struct over *o = &p->devices[i];
		o->bd = *devices[i];
		o->bd.ops = &over_ops;
		o->bd.submit_domain = NULL;
		o->below = devices[i];
		o->plan = p;
		o->index = i;
	}
	return p;
}

struct bdev *plan_device(struct plan *p, unsigned int i)
{
	return &p->devices[i].bd;
}

void plan_forget(struct plan *p)
{
	struct sector *s, *next;
	HASH_ITER(hh, p->sectors, s, next)
	{
		HASH_DEL(p->sectors, s);
		free(s);
	}
	free(p->copies);
	p->copies = NULL;
	p->copy_count = 0;
	p->changes = 0;
}

void plan_free(struct plan *p)
{
	if (!p)
		return;
	plan_forget(p);
	free(p->devices);
	free(p->named);
	free(p);
}

bool plan_is_named(const struct plan *p, uint64_t fd)
{
	return fd < p->named_bits && bitmap_get(p->named, fd);
}

int plan_note_named(struct plan *p, uint64_t fd)
{
	if (fd >= p->named_bits) {
		uint64_t bits = round_up(max_u64(fd + 1, 2 * p->named_bits), 8);
		uint8_t *named = realloc(p->named, bits / 8);
		if (!named)
			return -ENOMEM;
		memset(named + p->named_bits / 8, 0, (bits - p->named_bits) / 8);
		p->named = named;
		p->named_bits = bits;
	}
	bitmap_set(p->named, fd);
	return 0;
}

uint64_t plan_changes(const struct plan *p)
{
	return p->changes;
}

/* ---- writing into it ---- */

static int sector_add(struct over *o, uint64_t off, enum plan_step step,
		      struct sector **ret_sector)
{
	struct sector *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	int err = bdev_read(o->below, s->was, SECTOR, off);
	if (err) {
		free(s);
		return err;
	}
	memcpy(s->bytes, s->was, SECTOR);
	s->is_in_copy = copy_at(o, off) != NULL;
	s->key = key_of(o->index, off);
	s->step = step;
	HASH_ADD(hh, o->plan->sectors, key, sizeof(s->key), s);
	*ret_sector = s;
	return 0;
}

static int sector_write(struct over *o, uint64_t off, enum plan_step step,
			const uint8_t *bytes, struct sector **ret_sector)
{
	struct sector *s = sector_at(o->plan, o->index, off);
	if (!s) {
		uint8_t now[SECTOR];
		int err = bdev_read(&o->bd, now, SECTOR, off);
		if (err)
			return err;
		if (memcmp(now, bytes, SECTOR) == 0)
			return 0;
		err = sector_add(o, off, step, &s);
		if (err)
			return err;
	}
	if (memcmp(s->bytes, bytes, SECTOR) != 0) {
		memcpy(s->bytes, bytes, SECTOR);
		o->plan->changes++;
	}
	*ret_sector = s;
	return 0;
}

int plan_write(struct bdev *over, enum plan_step step, const void *buf, uint64_t len,
	       uint64_t off)
{
	int err = 0;
	for (uint64_t at = 0; !err && at < len; at += SECTOR) {
		struct sector *s = NULL;
		err = sector_write((struct over *)over, off + at, step,
				   (const uint8_t *)buf + at, &s);
	}
	return err;
}

int plan_states(struct bdev *over, const void *buf, uint64_t len, uint64_t off,
		uint32_t from, uint32_t to)
{
	int err = 0;
	for (uint32_t at = 0; !err && at < len; at += SECTOR) {
		struct sector *s = NULL;
		err = sector_write((struct over *)over, off + at, PLAN_CLUSTER,
				   (const uint8_t *)buf + at, &s);
		if (err || !s)
			continue;
		s->step = PLAN_CLUSTER;
		s->states_from = (uint16_t)(max_u64(from, at) - at);
		s->states_to = (uint16_t)(max_u64(min_u64(to, at + SECTOR), at) - at);
		if (s->states_from > s->states_to)
			s->states_from = s->states_to;
	}
	return err;
}

int plan_copy(struct bdev *to, uint64_t to_off, struct bdev *from, uint64_t from_off,
	      uint64_t len)
{
	struct plan *p = ((struct over *)to)->plan;
	struct copy *bigger =
		reallocarray(p->copies, p->copy_count + 1, sizeof(*p->copies));
	if (!bigger)
		return -ENOMEM;
	p->copies = bigger;
	p->copies[p->copy_count++] = (struct copy){ .to = (struct over *)to,
						    .from = (struct over *)from,
						    .to_off = to_off,
						    .from_off = from_off,
						    .len = len };
	p->changes++;
	return 0;
}

/* ---- carrying it out ---- */

static int sector_order(struct sector *a, struct sector *b)
{
	return a->key < b->key ? -1 : a->key > b->key;
}

static bool is_change(const struct sector *s)
{
	return s->is_in_copy || memcmp(s->was, s->bytes, SECTOR) != 0;
}

/* After the first step; as it is now, unless it has states. */
static void first_image(const struct sector *s, uint8_t ret_image[SECTOR])
{
	memcpy(ret_image, s->was, SECTOR);
	for (uint32_t i = s->states_from; i < s->states_to; i++)
		ret_image[i] &= s->bytes[i];
}

/* What a sector is to hold after a step, if it is written in it. */
static bool image_of(const struct sector *s, unsigned int step, uint8_t ret_image[SECTOR])
{
	bool is_first = step == STEP_FIRST;
	if (!is_change(s) || (is_first ? PLAN_CLUSTER : step) != s->step)
		return false;
	if (is_first)
		first_image(s, ret_image);
	else
		memcpy(ret_image, s->bytes, SECTOR);
	return !is_first || memcmp(ret_image, s->was, SECTOR) != 0;
}

/* Sectors that follow one another, joined. */
struct runs {
	struct plan *plan;
	int (*fn)(void *arg, const struct plan_run *run);
	void *arg;
	struct plan_run run;
	uint8_t *buf, *first;
};

static int runs_end(struct runs *r)
{
	int err = r->run.len ? r->fn(r->arg, &r->run) : 0;
	r->run.len = 0;
	return err;
}

static int runs_add(struct runs *r, const struct sector *s, const uint8_t *image)
{
	int err = 0;
	if (r->run.len == PLAN_RUN_MAX || r->run.device != device_of(s) ||
	    r->run.off + r->run.len != off_of(s))
		err = runs_end(r);
	if (r->run.len == 0) {
		r->run.device = device_of(s);
		r->run.off = off_of(s);
		r->run.bytes = r->buf;
		r->run.first = r->first;
	}
	memcpy(r->buf + r->run.len, image, SECTOR);
	first_image(s, r->first + r->run.len);
	r->run.len += SECTOR;
	return err;
}

/* is_last: what they hold when all is done, which may be other than the copy. */
static int copies_each(struct runs *r, bool is_last)
{
	int err = 0;
	for (unsigned int i = 0; i < r->plan->copy_count; i++) {
		const struct copy *c = &r->plan->copies[i];
		for (uint64_t at = 0; !err && at < c->len; at += r->run.len) {
			r->run = (struct plan_run){
				.device = c->to->index,
				.off = c->to_off + at,
				.len = (uint32_t)min_u64(PLAN_RUN_MAX, c->len - at),
				.bytes = is_last ? r->buf : r->first,
				.first = r->first,
			};
			err = bdev_read(c->from->below, r->first, r->run.len,
					c->from_off + at);
			if (!err && is_last)
				err = bdev_read(&c->to->bd, r->buf, r->run.len,
						r->run.off);
			if (!err)
				err = r->fn(r->arg, &r->run);
		}
	}
	r->run.len = 0;
	return err;
}

/* All runs of a step; STEP_ALL: as they end. */
static int step_each(struct plan *p, unsigned int step,
		     int (*fn)(void *arg, const struct plan_run *run), void *arg)
{
	struct runs r = { .plan = p, .fn = fn, .arg = arg };
	int err = 0;
	r.buf = io_alloc(2 * PLAN_RUN_MAX);
	if (!r.buf)
		return -ENOMEM;
	r.first = r.buf + PLAN_RUN_MAX;
	if (step == STEP_COPIES || step == STEP_ALL)
		err = copies_each(&r, step == STEP_ALL);
	for (struct sector *s = p->sectors; !err && s; s = s->hh.next) {
		uint8_t image[SECTOR];
		if (step == STEP_ALL ? is_change(s) && !s->is_in_copy
				     : image_of(s, step, image))
			err = runs_add(&r, s, step == STEP_ALL ? s->bytes : image);
	}
	if (!err)
		err = runs_end(&r);
	free(r.buf);
	return err;
}

int plan_each(struct plan *p, int (*fn)(void *arg, const struct plan_run *run), void *arg)
{
	HASH_SORT(p->sectors, sector_order);
	return step_each(p, STEP_ALL, fn, arg);
}

static int write_run(void *arg, const struct plan_run *run)
{
	const struct plan_writer *w = arg;
	return w->write(w->arg, w->plan->devices[run->device].below, run->bytes, run->len,
			run->off);
}

static int flush_all(const struct plan *p)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < p->count; i++)
		err = bdev_flush(p->devices[i].below);
	return err;
}

int plan_apply(struct plan *p, plan_write_fn *write, void *arg)
{
	struct plan_writer w = { .plan = p, .write = write, .arg = arg };
	HASH_SORT(p->sectors, sector_order);
	int err = step_each(p, STEP_COPIES, write_run, &w);
	if (!err)
		err = flush_all(p);
	if (!err)
		err = step_each(p, STEP_FIRST, write_run, &w);
	if (!err)
		err = flush_all(p);
	for (unsigned int step = 0; !err && step < PLAN_STEPS; step++) {
		err = step_each(p, step, write_run, &w);
		if (!err)
			err = flush_all(p);
	}
	return err;
}

bool plan_take_out(struct bdev *over, uint64_t off, uint8_t *ret_bytes)
{
	struct over *o = (struct over *)over;
	struct sector *s = sector_at(o->plan, o->index, off);
	if (!s)
		return false;
	memcpy(ret_bytes, s->bytes, SECTOR);
	HASH_DEL(o->plan->sectors, s);
	free(s);
	return true;
}
