/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cluster headers (FORMAT.md 6.2, 20.4): lock, number, counts, hint, and the bitmap, of
 * which the allocated map is made.
 *
 * On VMFS-6 a large block is free, in use as it is, or converted: a cluster of 512 small
 * ones. Large blocks come first, so that the headers of small blocks are read only where
 * there are any; what those headers hold elsewhere is nobody's.
 */
#include "fsck/clusters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/ahead.h"
#include "fsck/findings.h"
#include "fsck/locks.h"
#include "fsck/look.h"
#include "fsck/mend.h"
#include "fsck/owners.h"

#define RUNS_AHEAD 16u
#define GAP_MAX 8u /* headers that are read though nobody needs them */
#define STATE_ODD_SFB 2u /* in use, and to be unmapped */

typedef unsigned long long ull;

/* A header that is looked at, and perhaps put right. */
struct cluster_header {
	uint32_t number;
	uint8_t *meta, *states; /* the page, and the states in it */
	struct fsck_cluster found;
	char object[48];
};

bool fsck_is_part_of_large(const struct fsck *f, enum fsck_resource_index i, uint32_t c)
{
	return i == FSCK_FBB && f->converted &&
	       c < f->volume.resources[FSCK_LFB].count && !bitmap_get(f->converted, c);
}

static bool state_is_odd(enum fsck_resource_index i, uint32_t state)
{
	if (i == FSCK_LFB)
		return state & FSCK_STATE_CONVERTED && state != FSCK_STATE_CONVERTED;
	return i == FSCK_FBB && state == STATE_ODD_SFB;
}

static void set_state(const struct fsck_resource *res, uint8_t *states, uint32_t i,
		      uint32_t state)
{
	for (uint32_t k = 0; k < res->state_bits; k++) {
		uint64_t bit = (uint64_t)i * res->state_bits + k;
		if (state >> k & 1)
			bitmap_set(states, bit);
		else
			bitmap_clear(states, bit);
	}
}

/* Takes over the states of a cluster; returns how many are free. */
static uint32_t take_states(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			    uint8_t *states)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint64_t first = (uint64_t)c * res->per_cluster;
	uint32_t total = fsck_cluster_total(res, c), free_count = 0;
	for (uint32_t k = 0; k < total; k++) {
		uint32_t state = fsck_state(res, states, k);
		if (state_is_odd(i, state) &&
		    fsck_found(f, PROBLEM_CLUSTER_STATE,
			       "%s cluster %u: state %u of resource %u is not known",
			       res->name, c, state, k)) {
			state &= FSCK_STATE_CONVERTED;
			set_state(res, states, k, state);
		}
		if (state & FSCK_STATE_FREE) {
			free_count++;
		} else if (i == FSCK_LFB && state & FSCK_STATE_CONVERTED) {
			bitmap_set(f->converted, first + k);
		} else {
			bitmap_set(f->maps[i].allocated, first + k);
			f->maps[i].allocated_count++;
		}
	}
	return free_count;
}

/* Bits of the states that are behind the last resource. */
static void clear_stray(const struct fsck_resource *res, struct cluster_header *h)
{
	uint32_t total = fsck_cluster_total(res, h->number);
	for (uint64_t i = (uint64_t)total * res->state_bits;
	     i < h->found.states_size * 8ull; i++)
		bitmap_clear(h->states, i);
}

static void check_numbers(struct fsck *f, const struct fsck_resource *res,
			  struct cluster_header *h, uint32_t free_count)
{
	uint32_t total = fsck_cluster_total(res, h->number);
	struct fsck_cluster *c = &h->found;
	if (c->number != h->number && fsck_found(f, PROBLEM_CLUSTER_NUMBER,
						 "%s: carries number %llu", h->object,
						 (ull)c->number))
		c->number = h->number;
	if (c->total != total &&
	    fsck_found(f, PROBLEM_CLUSTER_TOTAL, "%s: %u resources, not %u", h->object,
		       c->total, total))
		c->total = total;
	if (c->free != free_count &&
	    fsck_found(f, PROBLEM_CLUSTER_FREE, "%s: %u free, its bitmap shows %u",
		       h->object, c->free, free_count))
		c->free = free_count;
	if (c->hint > total && fsck_found(f, PROBLEM_CLUSTER_HINT,
					  "%s: search hint %u of %u", h->object, c->hint,
					  total))
		c->hint = 0;
	uint64_t end = (uint64_t)c->states_size * 8;
	uint64_t stray = bitmap_next_set(c->states, total * res->state_bits, end);
	if (stray < end && fsck_found(f, PROBLEM_CLUSTER_STRAY,
				      "%s: bit %llu is set, it has %u resources",
				      h->object, (ull)stray, total))
		clear_stray(res, h);
}

static void check_signature(struct fsck *f, struct cluster_header *h)
{
	struct vmfs6_cluster_disk *d = (struct vmfs6_cluster_disk *)h->meta;
	if (le32_get(d->signature) != VMFS6_CLUSTER_SIGNATURE &&
	    fsck_found(f, PROBLEM_CLUSTER_SIGNATURE, "%s: signature 0x%08x, not 0x%08x",
		       h->object, le32_get(d->signature), VMFS6_CLUSTER_SIGNATURE))
		d->signature = le32_of(VMFS6_CLUSTER_SIGNATURE);
}

/* header: lock and meta page as they lie on disk. */
static int check_cluster(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			 uint8_t *header, uint64_t vol_off)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct cluster_header h = { .number = c, .meta = header + res->meta_off };
	struct vmfs_lock_disk lock;
	(void)snprintf(h.object, sizeof(h.object), "%s cluster %u", res->name, c);
	memcpy(&lock, header, sizeof(lock));
	fsck_check_lock(f, &lock, res->lock_type, vol_off, h.object);
	fsck_cluster_take(res, h.meta, &h.found);
	if (i == FSCK_FDC)
		f->generations[c] = h.found.fd_generation;
	h.states = h.meta + (h.found.states - (const uint8_t *)h.meta);
	f->maps[i].is_odd |= h.found.number != c;
	uint32_t free_count = take_states(f, i, c, h.states);
	if (f->volume.shape->version == 6)
		check_signature(f, &h);
	check_numbers(f, res, &h, free_count);
	fsck_cluster_give(res, &h.found, h.meta);
	if (f->options->plan)
		fsck_put_cluster(f, res, c, h.meta);
	return f->volume.shape->version == 6 ? fsck_owners_take(f, i, c, h.meta) : 0;
}

/* Clusters whose headers lie in a row, and are read together. */
struct run {
	uint64_t first;
	uint32_t count;
};

/*
 * The next run from cluster c on: in one group, without what is part of large blocks at
 * its ends, and not much of it inside. false: there is none.
 */
static bool run_next(const struct fsck *f, enum fsck_resource_index i, uint64_t c,
		     struct run *ret_run)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	/* Online one may be divided by now: all are looked at. */
	bool has_large = !f->online && i == FSCK_FBB && f->converted;
	if (has_large && fsck_is_part_of_large(f, i, (uint32_t)c))
		c = bitmap_next_set(f->converted, c, f->volume.resources[FSCK_LFB].count);
	uint64_t group_end = c - c % res->clusters_per_group + res->clusters_per_group;
	uint64_t end = min_u64(res->cluster_count, group_end), last = c;
	for (uint64_t k = c; k < end && k - last <= GAP_MAX; k++)
		if (!has_large || !fsck_is_part_of_large(f, i, (uint32_t)k))
			last = k;
	*ret_run = (struct run){ c, (uint32_t)(last - c + 1) };
	return c < res->cluster_count;
}

static uint64_t resources_of(const struct fsck_resource *res, const struct run *run)
{
	uint64_t first = run->first * res->per_cluster;
	return min_u64(res->count - first, (uint64_t)run->count * res->per_cluster);
}

static int check_run(struct fsck *f, enum fsck_resource_index i, const struct run *run,
		     uint8_t *headers)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint32_t first = (uint32_t)run->first, count = run->count;
	char what[64];
	(void)snprintf(what, sizeof(what), "%s clusters %u to %u", res->name, first,
		       first + count - 1);
	int err = fsck_resource_read(&f->volume, res, fsck_cluster_off(res, first),
				     headers, (uint64_t)count * res->header_size);
	f->is_partial |= err != 0;
	/* A block that is missing: holes.c has told. Nothing of these is called free. */
	if (err == -EUCLEAN && i != FSCK_FDC)
		bitmap_set_range(f->maps[i].allocated, run->first * res->per_cluster,
				 resources_of(res, run));
	if (!err && f->online)
		err = fsck_look_clusters(f, i, first, count, headers);
	if (err)
		return fsck_read_result(f, err, what);
	for (uint32_t k = 0; !err && k < count; k++) {
		uint64_t vol_off;
		if (fsck_is_part_of_large(f, i, first + k))
			continue;
		err = fsck_resource_vol_off(&f->volume, res,
					    fsck_cluster_off(res, first + k), &vol_off);
		if (!err)
			err = check_cluster(f, i, first + k,
					    headers + (uint64_t)k * res->header_size,
					    vol_off);
	}
	return err;
}

/* Small blocks that are in use as parts of large ones. */
static void count_large(struct fsck *f)
{
	if (f->volume.resources[FSCK_LFB].is_usable)
		f->maps[FSCK_FBB].allocated_count +=
			f->maps[FSCK_LFB].allocated_count * VMFS6_SFB_PER_LFB;
}

/* What .fbb.sf says of conversions, as a whole. */
static void check_converted(struct fsck *f)
{
	const struct fsck_resource *lfb = &f->volume.resources[FSCK_LFB];
	const struct fsck_resource *sfb = &f->volume.resources[FSCK_FBB];
	uint64_t converted = bitmap_count(f->converted, lfb->count);
	/* A header that could not be read may have more. */
	if (f->is_partial)
		return;
	if (le32_get(sfb->header.converted) == converted ||
	    !fsck_found(f, PROBLEM_RESOURCE_CONVERTED,
			"%s: counts %u large blocks that became small, there are %llu",
			sfb->name, le32_get(sfb->header.converted), (ull)converted))
		return;
	struct vmfs6_resource_header_disk h = sfb->header;
	uint64_t off;
	h.converted = le32_of((uint32_t)converted);
	if (fsck_resource_vol_off(&f->volume, sfb, VMFS6_SFB_HEADER_OFF, &off) == 0)
		fsck_put(f, off, &h, sizeof(h), PLAN_HEADER);
}

/* The headers of the next runs. */
static void want_runs(struct fsck *f, enum fsck_resource_index i, uint64_t c)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct run run;
	for (unsigned int k = 0; k < RUNS_AHEAD && run_next(f, i, c, &run); k++) {
		uint64_t off = fsck_cluster_off(res, (uint32_t)run.first);
		if (!fsck_ahead_want_in(f->ahead, res, off,
					(uint64_t)run.count * res->header_size))
			return;
		c = run.first + run.count;
	}
}

int fsck_check_clusters(struct fsck *f, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct fsck_map *map = &f->maps[i];
	map->allocated = calloc(res->count / 8 + 1, 1);
	map->seen = calloc(res->count / 8 + 1, 1);
	map->shared = calloc(res->count / 8 + 1, 1);
	if (f->options->plan)
		map->was = calloc(res->count / 8 + 1, 1);
	if (i == FSCK_LFB)
		f->converted = calloc(res->count / 8 + 1, 1);
	uint8_t *headers = malloc((uint64_t)res->clusters_per_group * res->header_size +
				  1);
	int err = map->allocated && map->seen && map->shared && headers ? 0 : -ENOMEM;
	if (f->options->plan && !map->was)
		err = -ENOMEM;
	if (i == FSCK_FDC)
		f->generations = calloc(res->cluster_count + 1ull, sizeof(uint32_t));
	if ((i == FSCK_LFB && !f->converted) || (i == FSCK_FDC && !f->generations))
		err = -ENOMEM;
	struct run run;
	for (uint64_t c = 0; !err && run_next(f, i, c, &run); c = run.first + run.count) {
		want_runs(f, i, run.first);
		fsck_progress(f, 1, (uint64_t)i * 1000 + c * 1000 / res->cluster_count,
			      FSCK_RESOURCE_COUNT * 1000);
		err = check_run(f, i, &run, headers);
		if (err != -ENOMEM)
			err = 0;
	}
	free(headers);
	if (!err && map->was)
		memcpy(map->was, map->allocated, res->count / 8 + 1);
	if (!err && i == FSCK_FBB && f->converted) {
		check_converted(f);
		count_large(f);
	}
	return err;
}
