/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of sectors by volume offset, and their newest images.
 *
 * Invariants:
 *  1 one image for a sector: the newest that was logged;
 *  2 what was kept when a read began, and is not kept when it has ended, went by
 *    homes_clear(), which the turn tells: the read is repeated. So a read has each sector
 *    as it was committed, from its place or from here.
 *
 * Sectors are put, sorted and cleared by the holder of txn_lock alone; the mutex is for
 * readers beside it. Most members keep nothing most of the time: a reader who sees a
 * count of 0 goes past the mutex. (The turn changes before the count becomes 0, so who
 * sees 0 sees the turn, too: invariant 2.)
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/format.h"
#include "vmfs/homes.h"

#define SECTOR VMFS_SECTOR_SIZE

int homes_init(struct vmfs_homes *h, uint32_t room)
{
	if (!room)
		return 0;
	uint32_t slots = 16;
	while (slots < 2 * room)
		slots *= 2;
	h->vol_offs = calloc(room, sizeof(*h->vol_offs));
	h->data = malloc((size_t)room * SECTOR);
	h->table = calloc(slots, sizeof(*h->table));
	h->order = calloc(room, sizeof(*h->order));
	if (!h->vol_offs || !h->data || !h->table || !h->order) {
		homes_done(h);
		return -ENOMEM;
	}
	mutex_init(&h->m);
	h->slots = slots;
	h->room = room;
	return 0;
}

void homes_done(struct vmfs_homes *h)
{
	if (h->room)
		mutex_done(&h->m);
	free(h->vol_offs);
	free(h->data);
	free(h->table);
	free(h->order);
	*h = (struct vmfs_homes){ 0 };
}

static uint8_t *image_of(const struct vmfs_homes *h, uint32_t index)
{
	return h->data + (size_t)index * SECTOR;
}

/* Where the table has it, or would have it. */
static uint32_t *slot_of(const struct vmfs_homes *h, uint64_t vol_off)
{
	uint64_t at = vol_off / SECTOR * 0x9E3779B97F4A7C15ull >> 32;

	for (;; at++) {
		uint32_t *slot = &h->table[at & (h->slots - 1)];

		if (!*slot || h->vol_offs[*slot - 1] == vol_off)
			return slot;
	}
}

void homes_put(struct vmfs_homes *h, uint64_t vol_off, const void *sector)
{
	mutex_lock(&h->m);
	uint32_t *slot = slot_of(h, vol_off);
	if (!*slot) {
		assert(h->count < h->room);
		h->vol_offs[h->count] = vol_off;
		__atomic_store_n(&h->count, h->count + 1, __ATOMIC_RELEASE);
		*slot = h->count;
	}
	memcpy(image_of(h, *slot - 1), sector, SECTOR);
	mutex_unlock(&h->m);
}

static int by_place(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return x[0] < y[0] ? -1 : x[0] > y[0];
}

void homes_sort(struct vmfs_homes *h)
{
	for (uint32_t i = 0; i < h->count; i++) {
		h->order[i][0] = h->vol_offs[i];
		h->order[i][1] = i;
	}
	qsort(h->order, h->count, sizeof(*h->order), by_place);
}

uint32_t homes_gather(const struct vmfs_homes *h, uint32_t from, uint32_t max,
		      uint8_t *buf, uint64_t *ret_vol_off)
{
	uint32_t n = 0;

	*ret_vol_off = from < h->count ? h->order[from][0] : 0;
	while (n < max && from + n < h->count &&
	       h->order[from + n][0] == *ret_vol_off + (uint64_t)n * SECTOR) {
		memcpy(buf + (size_t)n * SECTOR,
		       image_of(h, (uint32_t)h->order[from + n][1]), SECTOR);
		n++;
	}
	return n;
}

void homes_clear(struct vmfs_homes *h)
{
	if (!h->count)
		return;
	mutex_lock(&h->m);
	memset(h->table, 0, h->slots * sizeof(*h->table));
	__atomic_store_n(&h->turn, h->turn + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&h->count, 0, __ATOMIC_RELEASE);
	mutex_unlock(&h->m);
}

uint64_t homes_mark(struct vmfs_homes *h)
{
	return __atomic_load_n(&h->turn, __ATOMIC_ACQUIRE);
}

static bool is_bare(const struct vmfs_homes *h)
{
	return !__atomic_load_n(&h->count, __ATOMIC_ACQUIRE);
}

struct span {
	uint64_t from, to;
	uint8_t *buf; /* NULL: only asked */
};

/* The part of a kept sector that lies in the span. */
static bool lay(const struct vmfs_homes *h, uint32_t index, const struct span *s)
{
	uint64_t at = h->vol_offs[index];
	uint64_t from = max_u64(at, s->from), to = min_u64(at + SECTOR, s->to);

	if (from >= to)
		return false;
	if (s->buf)
		memcpy(s->buf + (from - s->from),
		       image_of(h, index) + (from - at), to - from);
	return true;
}

/* Sector by sector, or one by one of those kept, whatever are fewer. */
static bool lay_all(const struct vmfs_homes *h, const struct span *s)
{
	bool is_any = false;

	if ((s->to - s->from) / SECTOR > h->count) {
		for (uint32_t i = 0; i < h->count; i++)
			is_any |= lay(h, i, s);
		return is_any;
	}
	for (uint64_t at = round_down(s->from, SECTOR); at < s->to; at += SECTOR) {
		uint32_t index = *slot_of(h, at);

		is_any |= index && lay(h, index - 1, s);
	}
	return is_any;
}

bool homes_lay_over(struct vmfs_homes *h, uint64_t mark, uint64_t vol_off, void *buf,
		    uint64_t len)
{
	if (is_bare(h))
		return __atomic_load_n(&h->turn, __ATOMIC_ACQUIRE) == mark;
	mutex_lock(&h->m);
	bool is_whole = h->turn == mark;
	if (is_whole && h->count)
		(void)lay_all(h, &(struct span){ vol_off, vol_off + len, buf });
	mutex_unlock(&h->m);
	return is_whole;
}

bool homes_have(struct vmfs_homes *h, uint64_t vol_off, uint64_t len)
{
	if (is_bare(h))
		return false;
	mutex_lock(&h->m);
	bool is_any =
		h->count && lay_all(h, &(struct span){ vol_off, vol_off + len, NULL });
	mutex_unlock(&h->m);
	return is_any;
}
