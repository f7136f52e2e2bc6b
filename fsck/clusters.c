/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cluster headers (FORMAT.md 6.2, 20.4): lock, number, counts, hint, and the bitmap, of
 * which the allocated map is made.
 *
 * On VMFS-6 a large block is free, in use as it is, or converted: a cluster of 512 small
 * ones. Large blocks come first, so that the headers of small blocks are read only where
 * there are any; what those headers hold elsewhere is nobody's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/check.h"

#define STATE_ODD_SFB 2u /* in use, and to be unmapped */

typedef unsigned long long ull;

/* Clusters of small blocks that are large ones still. */
static bool is_part_of_large(const struct fsck *f, enum fsck_resource_index i, uint32_t c)
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

/* Takes over the states of a cluster; returns how many are free. */
static uint32_t take_states(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			    const uint8_t *states)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint64_t first = (uint64_t)c * res->per_cluster;
	uint32_t total = fsck_cluster_total(res, c), free_count = 0;
	for (uint32_t k = 0; k < total; k++) {
		uint32_t state = fsck_state(res, states, k);
		if (state_is_odd(i, state))
			fsck_found(f, PROBLEM_CLUSTER_STATE,
				   "%s cluster %u: state %u of resource %u is not known",
				   res->name, c, state, k);
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

static void check_numbers(struct fsck *f, const struct fsck_resource *res, uint32_t c,
			  const struct fsck_cluster *h, uint32_t free_count)
{
	uint32_t total = fsck_cluster_total(res, c);
	char object[48];
	(void)snprintf(object, sizeof(object), "%s cluster %u", res->name, c);
	if (h->number != c)
		fsck_found(f, PROBLEM_CLUSTER_NUMBER, "%s: carries number %llu", object,
			   (ull)h->number);
	if (h->total != total)
		fsck_found(f, PROBLEM_CLUSTER_TOTAL, "%s: %u resources, not %u", object,
			   h->total, total);
	if (h->free != free_count)
		fsck_found(f, PROBLEM_CLUSTER_FREE, "%s: %u free, its bitmap shows %u",
			   object, h->free, free_count);
	if (h->hint > total)
		fsck_found(f, PROBLEM_CLUSTER_HINT, "%s: search hint %u of %u", object,
			   h->hint, total);
	uint64_t end = (uint64_t)h->states_size * 8;
	uint64_t stray = bitmap_next_set(h->states, total * res->state_bits, end);
	if (stray < end)
		fsck_found(f, PROBLEM_CLUSTER_STRAY,
			   "%s: bit %llu is set, it has %u resources", object, (ull)stray,
			   total);
}

/* header: lock and meta page as they lie on disk. */
static int check_cluster(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			 const uint8_t *header, uint64_t vol_off)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	const uint8_t *meta = header + res->meta_off;
	struct vmfs_lock_disk lock;
	struct fsck_cluster h;
	char object[48];
	(void)snprintf(object, sizeof(object), "%s cluster %u", res->name, c);
	memcpy(&lock, header, sizeof(lock));
	fsck_check_lock(f, &lock, res->lock_type, vol_off, object);
	fsck_cluster_take(res, meta, &h);
	if (f->volume.shape->version == 6) {
		const struct vmfs6_cluster_disk *d =
			(const struct vmfs6_cluster_disk *)meta;
		if (le32_get(d->signature) != VMFS6_CLUSTER_SIGNATURE)
			fsck_found(f, PROBLEM_CLUSTER_SIGNATURE,
				   "%s: signature 0x%08x, not 0x%08x", object,
				   le32_get(d->signature), VMFS6_CLUSTER_SIGNATURE);
	}
	check_numbers(f, res, c, &h, take_states(f, i, c, h.states));
	return f->volume.shape->version == 6 ? fsck_owners_take(f, i, c, meta) : 0;
}

/* All headers of one group are neighbours. */
static int check_group(struct fsck *f, enum fsck_resource_index i, uint32_t first,
		       uint8_t *headers)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint32_t count =
		(uint32_t)min_u64(res->cluster_count - first, res->clusters_per_group);
	char what[64];
	(void)snprintf(what, sizeof(what), "%s clusters %u to %u", res->name, first,
		       first + count - 1);
	int err = fsck_resource_read(&f->volume, res, fsck_cluster_off(res, first),
				     headers, (uint64_t)count * res->header_size);
	if (err == -EUCLEAN)
		fsck_found(f, PROBLEM_RESOURCE_FILE,
			   "%s: the block of clusters %u to %u is "
			   "missing",
			   res->name, first, first + count - 1);
	if (err)
		return fsck_read_result(f, err, what);
	for (uint32_t k = 0; !err && k < count; k++) {
		uint64_t vol_off;
		if (is_part_of_large(f, i, first + k))
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
	if (le32_get(sfb->header.converted) != converted)
		fsck_found(f, PROBLEM_RESOURCE_CONVERTED,
			   "%s: counts %u large blocks that became small, there are %llu",
			   sfb->name, le32_get(sfb->header.converted), (ull)converted);
}

int fsck_check_clusters(struct fsck *f, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct fsck_map *map = &f->maps[i];
	map->allocated = calloc(res->count / 8 + 1, 1);
	map->seen = calloc(res->count / 8 + 1, 1);
	if (i == FSCK_LFB)
		f->converted = calloc(res->count / 8 + 1, 1);
	uint8_t *headers = malloc((uint64_t)res->clusters_per_group * res->header_size +
				  1);
	int err = map->allocated && map->seen && headers ? 0 : -ENOMEM;
	if (i == FSCK_LFB && !f->converted)
		err = -ENOMEM;
	for (uint64_t c = 0; !err && c < res->cluster_count;
	     c += res->clusters_per_group) {
		err = check_group(f, i, (uint32_t)c, headers);
		if (err != -ENOMEM)
			err = 0;
	}
	free(headers);
	if (!err && i == FSCK_FBB && f->converted) {
		check_converted(f);
		count_large(f);
	}
	return err;
}
