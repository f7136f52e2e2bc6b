/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region (2 MiB of the disk) is a sorted list of runs, eight bytes each: where it
 * begins in the region, which layer, where in that layer. What lies in line is one run,
 * so a disk that was written in order costs next to nothing, and one that was written in
 * scattered 4 KiB pieces 4 KiB a region, however deep the chain is.
 *
 * Not all regions fit: those that were not looked at for a round of the hand go. What is
 * always there is a table of pointers and a bit per layer and region: whether the layer
 * has a table there at all, so that filling a region reads no more layers than it must.
 *
 * Invariants:
 * 1. Runs of a region lie end to end, from its sector 0 to its last.
 * 2. A region with changes that are not on disk (pins) does not go: the disk does not
 *    know them yet. Who makes such commits when they take much (chainmap_is_full).
 * 3. bytes is what the regions take of the heap; it is more than room only for regions
 *    with pins. pinned is what those take.
 */
#include "vdisk/chainmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"

#define AT_BITS 43u
#define LAYER_BITS 9u
#define PLACE_BITS (AT_BITS + LAYER_BITS)
#define LEAST_BUDGET (4ull << 20)
#define LEAST_ROOM (128ull << 10)
/*
 * Of an open disk's 64 MiB a TiB. The rest is for the maps that the volume keeps of the
 * layers' files, for the leaf's directory and for what is noted and not committed.
 */
#define BUDGET_MIB 40u /* a TiB */
#define PINNED_SHARE 4u /* of the room, before who writes commits */
#define HEAP_ALIGN 16u /* of malloc's pieces, each with a word of its own */

struct region {
	uint32_t count, capacity; /* runs */
	uint32_t pins;
	bool is_used; /* since the hand came by */
	uint64_t run[];
};

struct chainmap {
	struct mutex m;
	uint64_t regions, room, bytes, pinned, hand;
	unsigned int layers, words; /* words of has[], a region */
	uint64_t *has, *reserved;   /* reserved: for a word more, or NULL */
	struct region *region[];
};

uint64_t chain_place(unsigned int layer, uint64_t at)
{
	assert(layer < 1u << LAYER_BITS && at < 1ull << AT_BITS);
	return (uint64_t)layer << AT_BITS | at;
}

static uint64_t start_of(uint64_t run)
{
	return run >> PLACE_BITS;
}

static uint64_t place_of(uint64_t run)
{
	return run & ((1ull << PLACE_BITS) - 1);
}

static unsigned int layer_of(uint64_t place)
{
	return (unsigned int)(place >> AT_BITS) & ((1u << LAYER_BITS) - 1);
}

/* The place n sectors further on. */
static uint64_t advance(uint64_t place, uint64_t n)
{
	return layer_of(place) >= CHAIN_ZERO ? place : place + n;
}

uint64_t chainmap_budget(uint64_t sectors)
{
	return max_u64(LEAST_BUDGET, sectors / (1u << 11) * BUDGET_MIB);
}

struct chainmap *chainmap_new(uint64_t sectors, unsigned int layers, uint64_t budget)
{
	uint64_t regions = div_up(sectors, REGION_SECTORS);
	uint64_t fixed = regions * sizeof(struct region *);
	struct chainmap *map = calloc(1, sizeof(*map) + fixed);
	if (!map)
		return NULL;
	map->layers = layers;
	map->words = (layers + 63) / 64;
	map->has = calloc(regions * map->words, sizeof(*map->has));
	if (!map->has) {
		free(map);
		return NULL;
	}
	map->regions = regions;
	fixed += sizeof(*map) + regions * map->words * sizeof(*map->has);
	/* One of each kind of region fits in any case. */
	map->room = max_u64(budget > fixed ? budget - fixed : 0, LEAST_ROOM);
	mutex_init(&map->m);
	return map;
}

void chainmap_free(struct chainmap *map)
{
	if (!map)
		return;
	for (uint64_t i = 0; i < map->regions; i++)
		free(map->region[i]);
	mutex_done(&map->m);
	free(map->reserved);
	free(map->has);
	free(map);
}

uint64_t chainmap_bytes(struct chainmap *map)
{
	mutex_lock(&map->m);
	uint64_t bytes = map->bytes;
	mutex_unlock(&map->m);
	return bytes + sizeof(*map) +
	       map->regions * (sizeof(map->region[0]) + map->words * sizeof(*map->has));
}

void chainmap_set_layer(struct chainmap *map, unsigned int layer, uint64_t region)
{
	assert(region < map->regions && layer / 64 < map->words);
	map->has[region * map->words + layer / 64] |= 1ull << layer % 64;
}

bool chainmap_has_layer(const struct chainmap *map, unsigned int layer, uint64_t region)
{
	assert(region < map->regions && layer / 64 < map->words);
	return map->has[region * map->words + layer / 64] >> layer % 64 & 1;
}

int chainmap_reserve(struct chainmap *map)
{
	if (map->layers % 64 || map->reserved)
		return 0;
	map->reserved = calloc(map->regions * (map->words + 1), sizeof(*map->has));
	return map->reserved ? 0 : -ENOMEM;
}

void chainmap_add_layer(struct chainmap *map)
{
	if (map->layers % 64 == 0) {
		for (uint64_t i = 0; i < map->regions; i++)
			(void)memcpy(map->reserved + i * (map->words + 1),
				     map->has + i * map->words,
				     map->words * sizeof(*map->has));
		free(map->has);
		map->has = map->reserved;
		map->reserved = NULL;
		map->words++;
		uint64_t more = map->regions * sizeof(*map->has);
		map->room = max_u64(map->room > more ? map->room - more : 0, LEAST_ROOM);
	}
	map->layers++;
}

static void forget_layer(struct chainmap *map, unsigned int layer, uint64_t region)
{
	map->has[region * map->words + layer / 64] &= ~(1ull << layer % 64);
}

/* ---- runs ---- */

static size_t size_of(uint32_t capacity)
{
	return sizeof(struct region) + capacity * sizeof(uint64_t);
}

/* What it takes of the heap. */
static uint64_t cost_of(const struct region *r)
{
	return round_up(size_of(r->capacity) + sizeof(size_t), HEAP_ALIGN);
}

static uint64_t end_of(const struct region *r, uint32_t i)
{
	return i + 1 < r->count ? start_of(r->run[i + 1]) : REGION_SECTORS;
}

/* The run that holds sector `in` of the region. */
static uint32_t run_at(const struct region *r, uint64_t in)
{
	uint32_t low = 0, high = r->count - 1;
	while (low < high) {
		uint32_t middle = low + (high - low + 1) / 2;
		if (start_of(r->run[middle]) <= in)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* Puts a run at the end, as part of the one before if it goes on where that ends. */
static void append(struct region *r, uint64_t start, uint64_t place)
{
	if (r->count) {
		uint64_t last = r->run[r->count - 1];
		if (advance(place_of(last), start - start_of(last)) == place)
			return;
	}
	assert(r->count < r->capacity);
	r->run[r->count++] = start << PLACE_BITS | place;
}

bool chainmap_find(struct chainmap *map, uint64_t sector, struct chain_run *ret_run)
{
	uint64_t i = sector / REGION_SECTORS, in = sector % REGION_SECTORS;
	assert(i < map->regions);
	mutex_lock(&map->m);
	struct region *r = map->region[i];
	if (r) {
		uint32_t n = run_at(r, in);
		uint64_t place = advance(place_of(r->run[n]), in - start_of(r->run[n]));
		r->is_used = true;
		ret_run->sector = sector;
		ret_run->count = end_of(r, n) - in;
		ret_run->layer = layer_of(place);
		ret_run->at = place & ((1ull << AT_BITS) - 1);
	}
	mutex_unlock(&map->m);
	return r != NULL;
}

/* ---- coming and going ---- */

/* Until bytes more have room, as far as pins allow. map->m is held. */
static void make_room(struct chainmap *map, uint64_t bytes)
{
	for (uint64_t n = 0; map->bytes + bytes > map->room && n < 2 * map->regions;
	     n++) {
		struct region *r = map->region[map->hand];
		if (r && !r->is_used && !r->pins) {
			map->bytes -= cost_of(r);
			free(r);
			map->region[map->hand] = NULL;
		} else if (r) {
			r->is_used = false;
		}
		map->hand = (map->hand + 1) % map->regions;
	}
}

static uint32_t count_runs(const uint64_t place[static REGION_SECTORS])
{
	uint32_t count = 1;
	for (uint32_t i = 1; i < REGION_SECTORS; i++)
		count += advance(place[i - 1], 1) != place[i];
	return count;
}

/* r in place of what is there; the caller frees that. map->m is held. */
static void replace(struct chainmap *map, uint64_t region, struct region *r)
{
	const struct region *old = map->region[region];
	map->bytes += cost_of(r) - cost_of(old);
	map->pinned += r->pins ? cost_of(r) : 0;
	map->pinned -= old->pins ? cost_of(old) : 0;
	map->region[region] = r;
	make_room(map, 0);
}

int chainmap_fill(struct chainmap *map, uint64_t region,
		  const uint64_t place[static REGION_SECTORS])
{
	uint32_t capacity = count_runs(place);
	struct region *r = malloc(size_of(capacity));
	if (!r)
		return -ENOMEM;
	*r = (struct region){ .capacity = capacity, .is_used = true };
	for (uint32_t i = 0; i < REGION_SECTORS; i++)
		append(r, i, place[i]);
	mutex_lock(&map->m);
	if (!map->region[region]) {
		make_room(map, cost_of(r));
		map->region[region] = r;
		map->bytes += cost_of(r);
		r = NULL;
	}
	mutex_unlock(&map->m);
	free(r);
	return 0;
}

/* old with the sectors [in, in + run->count) as run says. */
static struct region *changed(const struct region *old, uint64_t in,
			      const struct chain_run *run)
{
	uint64_t end = in + run->count;
	uint32_t capacity = old->count + 2;
	struct region *r = malloc(size_of(capacity));
	if (!r)
		return NULL;
	*r = (struct region){ .capacity = capacity, .pins = old->pins + 1,
			      .is_used = true };
	for (uint32_t i = 0; i < old->count && start_of(old->run[i]) < in; i++)
		append(r, start_of(old->run[i]), place_of(old->run[i]));
	append(r, in, chain_place(run->layer, run->at));
	for (uint32_t i = end < REGION_SECTORS ? run_at(old, end) : old->count;
	     i < old->count; i++) {
		uint64_t start = max_u64(start_of(old->run[i]), end);
		append(r, start, advance(place_of(old->run[i]),
					 start - start_of(old->run[i])));
	}
	return r;
}

int chainmap_change(struct chainmap *map, const struct chain_run *run)
{
	uint64_t i = run->sector / REGION_SECTORS;
	assert(run->count && (run->sector + run->count - 1) / REGION_SECTORS == i);
	mutex_lock(&map->m);
	struct region *old = map->region[i];
	struct region *r = old ? changed(old, run->sector % REGION_SECTORS, run) : NULL;
	if (r)
		replace(map, i, r);
	mutex_unlock(&map->m);
	if (r)
		free(old);
	return r ? 0 : old ? -ENOMEM : -EAGAIN;
}

void chainmap_unpin(struct chainmap *map, uint64_t region)
{
	mutex_lock(&map->m);
	struct region *r = map->region[region];
	assert(r && r->pins);
	if (--r->pins == 0)
		map->pinned -= cost_of(r);
	mutex_unlock(&map->m);
}

bool chainmap_is_full(struct chainmap *map)
{
	mutex_lock(&map->m);
	bool is_full = map->pinned > map->room / PINNED_SHARE;
	mutex_unlock(&map->m);
	return is_full;
}

/* ---- layers that go ---- */

/* old as it is when what was from's is where place says. */
static struct region *moved(const struct region *old, unsigned int from,
			    const uint64_t place[static REGION_SECTORS])
{
	struct region *all = malloc(size_of(REGION_SECTORS)), *r;
	if (!all)
		return NULL;
	*all = (struct region){ .capacity = REGION_SECTORS, .pins = old->pins,
				.is_used = old->is_used };
	for (uint32_t i = 0; i < old->count; i++) {
		uint64_t start = start_of(old->run[i]), end = end_of(old, i);
		if (layer_of(place_of(old->run[i])) != from)
			append(all, start, place_of(old->run[i]));
		else
			for (uint64_t at = start; at < end; at++)
				append(all, at, place[at]);
	}
	all->capacity = all->count;
	r = realloc(all, size_of(all->count));
	return r ? r : all;
}

int chainmap_move(struct chainmap *map, uint64_t region, unsigned int from,
		  unsigned int to, const uint64_t place[static REGION_SECTORS])
{
	mutex_lock(&map->m);
	struct region *old = map->region[region];
	struct region *r = old ? moved(old, from, place) : NULL;
	if (r)
		replace(map, region, r);
	mutex_unlock(&map->m);
	if (old && !r)
		return -ENOMEM;
	free(old);
	forget_layer(map, from, region);
	chainmap_set_layer(map, to, region);
	return 0;
}

/* Bits of the layers above it are one lower. */
static void drop_bit(uint64_t *has, unsigned int words, unsigned int layer)
{
	unsigned int word = layer / 64;
	uint64_t below = (1ull << layer % 64) - 1;
	has[word] = (has[word] & below) | (has[word] >> 1 & ~below);
	for (unsigned int i = word + 1; i < words; i++) {
		has[i - 1] |= has[i] << 63;
		has[i] >>= 1;
	}
}

static void drop_runs(struct region *r, unsigned int layer)
{
	for (uint32_t i = 0; i < r->count; i++) {
		unsigned int of = layer_of(place_of(r->run[i]));
		assert(of != layer);
		if (of > layer && of < CHAIN_ZERO)
			r->run[i] -= 1ull << AT_BITS;
	}
}

void chainmap_drop_layer(struct chainmap *map, unsigned int layer)
{
	for (uint64_t i = 0; i < map->regions; i++) {
		drop_bit(map->has + i * map->words, map->words, layer);
		if (map->region[i])
			drop_runs(map->region[i], layer);
	}
	map->layers--;
}
