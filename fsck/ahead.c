/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading ahead: a pass knows what it will read next, long before it has checked what it
 * has. It says so; up to SLOTS_MAX reads of BYTES_MAX together are on their way then. Who
 * reads later finds the bytes here, or waits for them; what is here goes when its last
 * byte was read. A read that failed is made again by who needs it, and told there. An
 * empty slot keeps its memory for the next one: new pages cost more than the copy.
 *
 *	EMPTY -- want --> READING -- done() --> DONE -- read --> EMPTY
 */
#include "fsck/ahead.h"

#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"

#define SLOTS_MAX 64u
#define BYTES_MAX (16ull << 20)
#define ONE_MAX (1ull << 20)
#define ALIGN 4096u

enum slot_state { SLOT_EMPTY, SLOT_READING, SLOT_DONE };

struct slot {
	struct bdev_io io;
	struct iovec iov;
	struct fsck_ahead *a;
	enum slot_state state;
	uint64_t off, len; /* of the volume; whole sectors */
	uint64_t room;	   /* bytes at iov_base */
	uint64_t born;	   /* the oldest that nobody came for makes room */
};

struct fsck_ahead {
	struct fsck_lens lens; /* first: it is found by its address */
	struct fsck_volume *v;
	struct mutex mutex;
	struct cond changed;
	struct slot slots[SLOTS_MAX];
	uint64_t bytes, births; /* bytes: the rooms of all slots */
};

static void slot_clear(struct slot *s)
{
	s->state = SLOT_EMPTY;
}

static void slot_free_memory(struct slot *s)
{
	s->a->bytes -= s->room;
	free(s->iov.iov_base);
	s->iov.iov_base = NULL;
	s->room = 0;
}

static void slot_done(struct bdev_io *io)
{
	struct slot *s = (struct slot *)io;
	mutex_lock(&s->a->mutex);
	s->state = SLOT_DONE;
	cond_broadcast(&s->a->changed);
	mutex_unlock(&s->a->mutex);
}

/* The slot that has these bytes, or will have them. */
static struct slot *slot_of(struct fsck_ahead *a, uint64_t off, uint64_t len)
{
	for (unsigned int i = 0; i < SLOTS_MAX; i++) {
		struct slot *s = &a->slots[i];
		if (s->state != SLOT_EMPTY && off >= s->off &&
		    off + len <= s->off + s->len)
			return s;
	}
	return NULL;
}

/* Waits for the bytes; false: they are not here. is_kept: they stay. */
static bool take(struct fsck_ahead *a, uint64_t off, void *buf, uint64_t len,
		 bool is_kept)
{
	mutex_lock(&a->mutex);
	struct slot *s = slot_of(a, off, len);
	while (s && s->state == SLOT_READING && !is_kept)
		cond_wait(&a->changed, &a->mutex);
	bool is_here = s && s->state == SLOT_DONE && s->io.result == 0;
	if (is_here)
		memcpy(buf, (uint8_t *)s->iov.iov_base + (off - s->off), len);
	if (s && s->state == SLOT_DONE && !is_kept &&
	    (!is_here || off + len > s->off + s->len - VMFS_SECTOR_SIZE))
		slot_clear(s);
	mutex_unlock(&a->mutex);
	return is_here;
}

static int ahead_read(struct fsck_lens *lens, const struct fsck_volume *v, uint64_t off,
		      void *buf, uint64_t len)
{
	return take((struct fsck_ahead *)lens, off, buf, len, false)
		       ? 0
		       : fsck_read_past(v, off, buf, len);
}

struct fsck_ahead *fsck_ahead_new(struct fsck_volume *v)
{
	struct fsck_ahead *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->lens.read = ahead_read;
	a->v = v;
	mutex_init(&a->mutex);
	cond_init(&a->changed);
	for (unsigned int i = 0; i < SLOTS_MAX; i++)
		a->slots[i].a = a;
	v->lens = &a->lens;
	return a;
}

void fsck_ahead_free(struct fsck_ahead *a)
{
	if (!a)
		return;
	a->v->lens = NULL;
	mutex_lock(&a->mutex);
	for (unsigned int i = 0; i < SLOTS_MAX; i++) {
		while (a->slots[i].state == SLOT_READING)
			cond_wait(&a->changed, &a->mutex);
		slot_free_memory(&a->slots[i]);
	}
	mutex_unlock(&a->mutex);
	cond_done(&a->changed);
	mutex_done(&a->mutex);
	free(a);
}

/* ---- wanting ---- */

/* Of the empty ones that which fits best: it need not be filled to the fourth part. */
static struct slot *slot_that_fits(struct fsck_ahead *a, uint64_t len)
{
	struct slot *best = NULL;
	for (unsigned int i = 0; i < SLOTS_MAX; i++) {
		struct slot *s = &a->slots[i];
		if (s->state == SLOT_EMPTY && s->room >= len && s->room / 4 <= len &&
		    (!best || s->room < best->room))
			best = s;
	}
	return best;
}

/* What was wanted long ago and not read. */
static struct slot *slot_given_up(struct fsck_ahead *a)
{
	struct slot *oldest = NULL;
	for (unsigned int i = 0; i < SLOTS_MAX; i++) {
		struct slot *s = &a->slots[i];
		if (s->state == SLOT_DONE && s->born + 4 * SLOTS_MAX < a->births &&
		    (!oldest || s->born < oldest->born))
			oldest = s;
	}
	return oldest;
}

/* An empty slot with memory of its own for len bytes; NULL: there is no more room. */
static struct slot *slot_made(struct fsck_ahead *a, uint64_t len)
{
	struct slot *empty = NULL;
	for (unsigned int i = 0; i < SLOTS_MAX; i++) {
		struct slot *s = &a->slots[i];
		if (s->state != SLOT_EMPTY)
			continue;
		if (a->bytes + len > BYTES_MAX)
			slot_free_memory(s);
		if (!empty || !s->room)
			empty = s;
	}
	if (!empty)
		return NULL;
	slot_free_memory(empty);
	if (a->bytes + len > BYTES_MAX)
		return NULL;
	empty->iov.iov_base = aligned_alloc(ALIGN, len);
	empty->room = empty->iov.iov_base ? len : 0;
	a->bytes += empty->room;
	return empty->room ? empty : NULL;
}

/* A slot for a read of whole sectors, or NULL. The caller has the mutex. */
static struct slot *slot_begin(struct fsck_ahead *a, uint64_t off, uint64_t len)
{
	uint64_t room = round_up(len, ALIGN);
	struct slot *s = slot_that_fits(a, room), *old = NULL;
	if (!s)
		s = slot_made(a, room);
	if (!s && (old = slot_given_up(a)) != NULL) {
		slot_clear(old);
		s = slot_made(a, room);
	}
	if (!s)
		return NULL;
	s->off = off;
	s->len = len;
	s->born = a->births;
	s->state = SLOT_READING;
	s->iov.iov_len = len;
	return s;
}

bool fsck_ahead_want(struct fsck_ahead *a, uint64_t vol_off, uint64_t len)
{
	const struct fsck_extent *e;
	uint64_t from = round_down(vol_off, VMFS_SECTOR_SIZE), dev_off, room;
	uint64_t to = round_up(vol_off + len, VMFS_SECTOR_SIZE);
	/* What lies in two pieces, or is too long, is read when it is needed. */
	if (!a || !len || to - from > ONE_MAX ||
	    fsck_place(a->v, from, &e, &dev_off, &room) != 0 || room < to - from)
		return true;
	mutex_lock(&a->mutex);
	a->births++;
	bool is_here = slot_of(a, vol_off, len);
	struct slot *s = is_here ? NULL : slot_begin(a, from, to - from);
	mutex_unlock(&a->mutex);
	if (!s)
		return is_here;
	s->io = (struct bdev_io){ .op = BDEV_READ,
				  .offset = dev_off,
				  .len = s->len,
				  .iov = &s->iov,
				  .iovcnt = 1,
				  .done = slot_done };
	bdev_submit(e->bd, &s->io);
	return true;
}

bool fsck_ahead_want_in(struct fsck_ahead *a, const struct fsck_resource *res,
			uint64_t file_off, uint64_t len)
{
	bool is_wanted = true;
	while (a && len && is_wanted) {
		uint64_t block = a->v->block_size, vol_off;
		uint64_t n = min_u64(len, block - file_off % block);
		if (fsck_resource_vol_off(a->v, res, file_off, &vol_off) == 0)
			is_wanted = fsck_ahead_want(a, vol_off, n);
		file_off += n;
		len -= n;
	}
	return is_wanted;
}

bool fsck_ahead_want_addr(struct fsck_ahead *a, vmfs_addr addr)
{
	uint64_t vol_off, size;
	if (!a || addr_is_none(addr) ||
	    fsck_addr_vol_off(a->v, addr, &vol_off, &size) != 0)
		return true;
	return fsck_ahead_want(a, vol_off, size);
}

bool fsck_ahead_peek_fd(struct fsck_ahead *a, vmfs_addr addr, struct fsck_file *ret_file)
{
	uint64_t vol_off, size;
	if (!a || fsck_addr_vol_off(a->v, addr, &vol_off, &size) != 0)
		return false;
	uint8_t *fd = malloc(size);
	bool is_here = fd && take(a, vol_off, fd, size, true);
	if (is_here)
		fsck_fd_take(a->v, fd, ret_file);
	free(fd);
	return is_here;
}
