/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a block of a resource file holds: each structure in it that carries its place on
 * the volume, or its number, says whether it is at home here.
 */

#include "fsck/hole.h"

#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/clusters.h"
#include "fsck/fds.h"

/* A structure at file offset off that begins with its lock: where it is in the bytes. */
static uint8_t *in_block(const struct hole *h, uint64_t off, uint64_t size)
{
	const struct fsck_volume *v = &h->f->volume;
	uint64_t from = h->at << v->block_shift;
	return off >= from && off + size <= from + v->block_size ? h->bytes + (off - from)
								 : NULL;
}

/*
 * Does it carry its place? One that was never used is empty, and says nothing.
 * *ret_is_others: it does, as something else.
 */
static bool weigh_lock(struct hole *h, const uint8_t *at, uint32_t type,
		       bool *ret_is_others)
{
	uint64_t vol_off = (h->block << h->f->volume.block_shift) +
			   (uint64_t)(at - h->bytes);
	struct vmfs_lock_disk lock;
	memcpy(&lock, at, sizeof(lock));
	*ret_is_others = le64_get(lock.addr) == vol_off;
	if (le32_get(lock.type) == type && *ret_is_others) {
		*ret_is_others = false;
		h->locks++;
		return true;
	}
	h->bad += !fsck_is_zero((const uint8_t *)&lock, sizeof(lock));
	return false;
}

static void weigh_header(struct hole *h, const struct fsck_resource *res, uint32_t c)
{
	const uint8_t *at = in_block(h, fsck_cluster_off(res, c), res->header_size);
	struct fsck_cluster found;
	bool is_others;
	if (!at)
		return;
	fsck_cluster_take(res, at + res->meta_off, &found);
	bool is_it = found.number == c && found.total == fsck_cluster_total(res, c);
	if (!weigh_lock(h, at, res->lock_type, &is_others))
		h->traces += is_it && !is_others;
	else if (is_it)
		h->good++;
	else
		h->bad++;
}

static void weigh_descriptors(struct hole *h, const struct fsck_resource *res, uint32_t c)
{
	uint32_t total = fsck_cluster_total(res, c);
	for (uint32_t k = 0; k < total; k++) {
		uint64_t off = fsck_item_off(res, c, k);
		const uint8_t *at = in_block(h, off, res->resource_size);
		uint64_t number = (uint64_t)c * res->per_cluster + k;
		struct fsck_file file;
		bool is_others;
		if (!at)
			continue;
		fsck_fd_take(&h->f->volume, at, &file);
		if (weigh_lock(h, at, VMFS_LOCK_FD, &is_others))
			h->good++;
		else
			h->traces += le32_get(file.meta.addr) ==
				     fsck_fd_addr(h->f, number).raw;
	}
}

/* The clusters of the groups that lie in the block, or reach into it: [first, end). */
static void clusters_in(const struct hole *h, const struct fsck_resource *res,
			uint64_t *ret_first, uint64_t *ret_end)
{
	uint64_t from = h->at << h->f->volume.block_shift;
	uint64_t to = from + h->f->volume.block_size;
	*ret_first = *ret_end = 0;
	if (!res->is_usable || !res->cluster_count || to <= VMFS_RESOURCE_GROUP_OFF)
		return;
	uint64_t before = from > VMFS_RESOURCE_GROUP_OFF ? from - VMFS_RESOURCE_GROUP_OFF
							 : 0;
	*ret_first = before / res->group_size * res->clusters_per_group;
	*ret_end = min_u64(div_up(to - VMFS_RESOURCE_GROUP_OFF, res->group_size) *
				   res->clusters_per_group,
			   res->cluster_count);
}

/* The clusters of one of the files whose headers, or resources, can lie in the block. */
static void weigh_file(struct hole *h, const struct fsck_resource *res)
{
	uint64_t c, end;
	for (clusters_in(h, res, &c, &end); c < end; c++) {
		weigh_header(h, res, (uint32_t)c);
		if (res->addr_type == ADDR_FD)
			weigh_descriptors(h, res, (uint32_t)c);
	}
}

bool hole_weigh(struct hole *h, uint64_t block)
{
	const struct fsck_volume *v = &h->f->volume;
	h->block = block;
	h->good = h->bad = h->locks = h->traces = 0;
	if (fsck_read(v, block << v->block_shift, h->bytes, v->block_size) != 0)
		return false;
	weigh_file(h, &v->resources[h->i]);
	/* Large and small blocks of VMFS-6 are managed in one file. */
	if (h->i == FSCK_LFB)
		weigh_file(h, &v->resources[FSCK_FBB]);
	return true;
}

bool hole_is_nobodys(const struct hole *h, uint64_t block)
{
	const struct fsck_map *map = &h->f->maps[FSCK_FBB];
	return block && block != h->not_this && map->seen &&
	       block < h->f->volume.resources[FSCK_FBB].count &&
	       !bitmap_get(map->seen, block);
}

bool hole_may_be(const struct hole *h, uint64_t block)
{
	return hole_is_nobodys(h, block) &&
	       bitmap_get(h->f->maps[FSCK_FBB].allocated, block);
}

/* The first FD of a cluster that is in use and lies in the block. */
static const uint8_t *first_descriptor(const struct hole *h,
				       const struct fsck_resource *res, uint32_t c)
{
	const uint8_t *used = h->f->maps[FSCK_FDC].allocated;
	for (uint32_t k = 0; used && k < fsck_cluster_total(res, c); k++) {
		const uint8_t *at =
			in_block(h, fsck_item_off(res, c, k), res->resource_size);
		if (at && bitmap_get(used, (uint64_t)c * res->per_cluster + k))
			return at;
	}
	return NULL;
}

static const uint8_t *first_mark(const struct hole *h, enum fsck_resource_index i,
				 uint32_t *ret_type)
{
	const struct fsck_resource *res = &h->f->volume.resources[i];
	const uint8_t *at = NULL;
	uint64_t c, end;
	for (clusters_in(h, res, &c, &end); c < end && !at; c++) {
		*ret_type = res->lock_type;
		if (!fsck_is_part_of_large(h->f, i, (uint32_t)c))
			at = in_block(h, fsck_cluster_off(res, (uint32_t)c),
				      res->header_size);
		if (at || res->addr_type != ADDR_FD)
			continue;
		*ret_type = VMFS_LOCK_FD;
		at = first_descriptor(h, res, (uint32_t)c);
	}
	return at;
}

bool hole_first_mark(const struct hole *h, uint64_t *ret_off, uint32_t *ret_type)
{
	const uint8_t *at = first_mark(h, h->i, ret_type);
	if (!at && h->i == FSCK_LFB)
		at = first_mark(h, FSCK_FBB, ret_type);
	*ret_off = at ? (uint64_t)(at - h->bytes) : 0;
	return at != NULL;
}

/* Another file has this pointer block, too: what stands in it may be that one's. */
static bool is_others_too(const struct fsck *f, vmfs_addr pb)
{
	enum fsck_resource_index i;
	uint64_t number;
	return !fsck_addr_number(&f->volume, pb, &i, &number) ||
	       bitmap_get(f->maps[i].shared, number);
}

uint64_t hole_entry_off(const struct hole *h, enum plan_step *ret_step)
{
	struct fsck_volume *v = &h->f->volume;
	struct fsck_file file;
	uint64_t off, size, entry = shape_entry_size(v->shape);
	if (fsck_resource_fd(v, h->i, &file, &off) != 0)
		return 0;
	*ret_step = PLAN_FD;
	if (le32_get(file.meta.zla) == VMFS_ZLA_FB)
		return off + v->shape->fd_body_off + v->shape->fd_slots_off +
		       h->at * entry;
	vmfs_addr pb =
		fsck_slot(v, &file, (uint32_t)(h->at / v->shape->pb_entries));
	*ret_step = PLAN_POINTERS;
	if (!fsck_is_pointer(v, le32_get(file.meta.zla), pb) || is_others_too(h->f, pb) ||
	    fsck_addr_vol_off(v, pb, &off, &size) != 0)
		return 0;
	return off + h->at % v->shape->pb_entries * entry;
}

/* Blocks that the file must have for what it manages. */
uint64_t hole_blocks_needed(const struct fsck_volume *v, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &v->resources[i];
	/* The same file as that of the large blocks. */
	bool is_told = i == FSCK_FBB && v->resources[FSCK_LFB].is_usable;
	if (!res->is_usable || !res->cluster_count || is_told)
		return 0;
	return min_u64(res->block_count, div_up(fsck_resource_end(res), v->block_size));
}
