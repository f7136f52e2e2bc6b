/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of a fresh volume.
 *
 * PEs follow from the device, file blocks (FBs) from the PEs, the counts of descriptors,
 * sub-blocks and pointer blocks from the FBs, the lengths of the resource files from the
 * counts. Blocks are then dealt out in a fixed order: .vh.sf FBs 0..3, first block of
 * .fdc.sf FB 4, and from FB 5 on the root directory, .fbb.sf, the rest of .fdc.sf,
 * .pbc.sf, .sbc.sf, .pb2.sf, .sdd.sf.
 *
 * Invariants:
 *   1. Each system file needs at most 256 blocks, so that its FD points to all of them
 *      directly (readers open .fbb.sf before they know pointer blocks). Only .fbb.sf of
 *      a volume over 50 TiB cannot do so: its pointer blocks are resources 0, 1, ... of
 *      .pb2.sf.
 *   2. All system FDs are in cluster 0 of .fdc.sf, in its first block.
 *   3. The header area of a cluster group never crosses a block boundary: groups are
 *      multiples of 64 KiB long and start at one.
 */
#include "mkfs/layout.h"

#include <assert.h>
#include <errno.h>

#include "base/align.h"

#define DIRENT_COUNT_ROOT 9u
#define DIRENT_COUNT_SDD 2u
#define FD_CAP 130000u
#define FD_IN_SMALL_CLUSTERS 129024u /* 63 groups: 255.9 MiB */
#define SB_CAP 32000u
#define PB_CAP 64512u
#define SMALL_BLOCKS 1024u /* volumes of up to three PEs get few of everything */
#define LARGE_PB2_SIZE (128ull << 30)
#define FB_PER_CLUSTER 200u
#define PB_PER_CLUSTER 16u
#define CLUSTERS_PER_GROUP 64u
#define FD_COUNT_MIN 11u /* system FDs of all versions, in cluster 0 */
#define VOLUME_PE_MAX (256u * 1024) /* 64 TiB */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* FORMAT.md 6.5. */
static void counts_fill(const struct mkfs_layout *l, struct mkfs_counts *c)
{
	uint32_t blocks = l->block_count;
	bool is_small = blocks < SMALL_BLOCKS;
	if (!c->fd)
		c->fd = is_small ? blocks / 4 : min_u32(FD_CAP, blocks);
	if (!c->pb)
		c->pb = is_small ? (uint32_t)div_up(blocks, 512)
				 : min_u32(PB_CAP, blocks / 16);
	if (!c->pb2)
		c->pb2 = is_small ? 1 : l->volume_size >= LARGE_PB2_SIZE ? 256 : 16;
	if (!c->sb)
		c->sb = min_u32(SB_CAP, blocks);
	/* In clusters of 32, more FDs would need more blocks than invariant 1 allows. */
	if (!c->fd_per_cluster)
		c->fd_per_cluster = c->fd > FD_IN_SMALL_CLUSTERS ? 200 : 32;
	if (!c->fb_per_cluster)
		c->fb_per_cluster = FB_PER_CLUSTER;
	if (!c->sb_per_cluster)
		c->sb_per_cluster = c->sb == SB_CAP ? 64 : 32;
}

void mkfs_resource_make(struct mkfs_resource *res, uint32_t count, uint32_t per_cluster)
{
	res->count = count;
	res->per_cluster = per_cluster;
	res->group_size = res->clusters_per_group *
			  (res->header_size + per_cluster * res->resource_size);
	res->cluster_count = per_cluster ? (uint32_t)div_up(count, per_cluster) : 0;
	res->group_count = (uint32_t)div_up(res->cluster_count, res->clusters_per_group);
}

static void resources_make(struct mkfs_layout *l, const struct mkfs_counts *c)
{
	struct mkfs_resource *res = l->resources;
	res[MKFS_FBB] = (struct mkfs_resource){ .name = ".fbb.sf",
						.fd = VMFS_FD_FBB,
						.lock_type = VMFS_LOCK_FBB };
	res[MKFS_FDC] = (struct mkfs_resource){ .name = ".fdc.sf",
						.fd = VMFS_FD_FDC,
						.lock_type = VMFS_LOCK_FDC,
						.resource_size = VMFS_FD_SIZE };
	res[MKFS_PBC] = (struct mkfs_resource){ .name = ".pbc.sf",
						.fd = VMFS_FD_PBC,
						.lock_type = VMFS_LOCK_PBC,
						.resource_size = VMFS_PB_SIZE };
	res[MKFS_SBC] = (struct mkfs_resource){ .name = ".sbc.sf",
						.fd = VMFS_FD_SBC,
						.lock_type = VMFS_LOCK_SBC,
						.resource_size = MKFS_SUB_BLOCK_SIZE };
	res[MKFS_PB2] = (struct mkfs_resource){ .name = ".pb2.sf",
						.fd = VMFS_FD_PB2,
						.lock_type = VMFS_LOCK_PB2,
						.resource_size = VMFS_PB_SIZE };
	for (unsigned int i = 0; i <= MKFS_PB2; i++) {
		res[i].clusters_per_group = CLUSTERS_PER_GROUP;
		res[i].header_size = VMFS_CLUSTER_HEADER_SIZE;
	}
	l->resource_count = MKFS_PB2 + 1;
	mkfs_resource_make(&res[MKFS_FBB], l->block_count, c->fb_per_cluster);
	mkfs_resource_make(&res[MKFS_FDC], c->fd, c->fd_per_cluster);
	mkfs_resource_make(&res[MKFS_PBC], c->pb, PB_PER_CLUSTER);
	mkfs_resource_make(&res[MKFS_SBC], c->sb, c->sb_per_cluster);
	mkfs_resource_make(&res[MKFS_PB2], c->pb2, PB_PER_CLUSTER);
}

uint64_t mkfs_resource_file_length(const struct mkfs_resource *res)
{
	uint32_t per_group = res->clusters_per_group * res->per_cluster;
	uint32_t rest = per_group ? res->count % per_group : 0;
	uint64_t length = VMFS_RESOURCE_GROUP_OFF;

	if (per_group)
		length += (uint64_t)(res->count / per_group) * res->group_size;
	if (rest)
		length += res->clusters_per_group * res->header_size +
			  (uint64_t)rest * res->resource_size;
	return length;
}

static uint64_t file_length(const struct mkfs_resource *res)
{
	if (res->fd == VMFS_FD_FBB)
		return VMFS_RESOURCE_GROUP_OFF +
		       (uint64_t)res->group_count * res->group_size;
	uint64_t length = mkfs_resource_file_length(res);
	return res->fd == VMFS_FD_FDC ? max_u64(length, MKFS_BLOCK_SIZE) : length;
}

void mkfs_files_place(struct mkfs_layout *l, const uint32_t *order, uint32_t count,
		      uint32_t next)
{
	for (uint32_t i = 0; i < l->fd_count; i++)
		l->files[i].block_count =
			(uint32_t)div_up(l->files[i].length_bytes, MKFS_BLOCK_SIZE);
	for (uint32_t i = 0; i < count; i++) {
		struct mkfs_file *f = &l->files[order[i]];
		if (order[i] != VMFS_FD_FDC)
			f->first_block = next++;
		f->rest_block = next;
		next += f->block_count - 1;
	}
	l->used_blocks = next;
}

/* From FB 5 on. */
static void files_place(struct mkfs_layout *l)
{
	static const uint32_t order[] = {
		VMFS_FD_ROOT, VMFS_FD_FBB, VMFS_FD_FDC, VMFS_FD_PBC,
		VMFS_FD_SBC,  VMFS_FD_PB2, VMFS_FD_SDD,
	};
	struct mkfs_file *files = l->files;
	uint32_t vh_blocks = VMFS_FDC_OFF / MKFS_BLOCK_SIZE;

	l->fd_count = VMFS_FD_SYSTEM_COUNT;
	files[VMFS_FD_VH].length_bytes = VMFS_FDC_OFF;
	files[VMFS_FD_ROOT].length_bytes = DIRENT_COUNT_ROOT * VMFS_DIRENT_SIZE;
	files[VMFS_FD_SDD].length_bytes = DIRENT_COUNT_SDD * VMFS_DIRENT_SIZE;
	for (unsigned int i = 0; i < l->resource_count; i++)
		files[l->resources[i].fd].length_bytes = file_length(&l->resources[i]);
	files[VMFS_FD_VH].first_block = 0;
	files[VMFS_FD_VH].rest_block = 1;
	files[VMFS_FD_FDC].first_block = vh_blocks;
	mkfs_files_place(l, order, ARRAY_SIZE(order), vh_blocks + 1);
}

static int counts_verify(const struct mkfs_counts *c, struct reporter *r)
{
	if (c->fd < FD_COUNT_MIN || c->fd_per_cluster < FD_COUNT_MIN)
		return report_error(
			r, -EINVAL,
			"%u file descriptors in clusters of %u: at least %u each", c->fd,
			c->fd_per_cluster, FD_COUNT_MIN);
	if (c->fd_per_cluster > VMFS_CLUSTER_RESOURCES_MAX)
		return report_error(r, -EINVAL,
				    "%u file descriptors in a cluster: at most %u",
				    c->fd_per_cluster, VMFS_CLUSTER_RESOURCES_MAX);
	if (c->sb_per_cluster > 64)
		return report_error(r, -EINVAL, "%u sub-blocks in a cluster: at most 64",
				    c->sb_per_cluster);
	return 0;
}

/* Only .fbb.sf of a volume over 50 TiB may need pointer blocks: invariant 1. */
static int files_verify(const struct mkfs_layout *l, struct reporter *r)
{
	for (unsigned int i = 0; i < l->resource_count; i++) {
		const struct mkfs_file *f = &l->files[l->resources[i].fd];
		if (f->block_count > VMFS_FD_SLOTS && i != MKFS_FBB)
			return report_error(
				r, -EINVAL, "%s would need %u blocks: at most %u",
				l->resources[i].name, f->block_count, VMFS_FD_SLOTS);
	}
	return 0;
}

static int layout5_fill(struct mkfs_layout *l, struct mkfs_counts *c, struct reporter *r)
{
	counts_fill(l, c);
	int err = counts_verify(c, r);
	if (err)
		return err;
	resources_make(l, c);
	files_place(l);
	mkfs_pointer_blocks_make(l, VMFS_FD_SLOTS, VMFS_PB_ENTRIES);
	return files_verify(l, r);
}

/* ---- for both versions ---- */

void mkfs_pointer_blocks_make(struct mkfs_layout *l, uint32_t slots, uint32_t entries)
{
	for (uint32_t i = 0; i < l->fd_count; i++) {
		struct mkfs_file *f = &l->files[i];

		if (f->block_count <= slots)
			continue;
		f->pb_first = l->used_pb2;
		f->pb_count = (uint32_t)div_up(f->block_count, entries);
		l->used_pb2 += f->pb_count;
	}
}

/* Adds a device behind the others. */
static int extent_add(struct mkfs_layout *l, const struct mkfs_device *device,
		      struct reporter *r)
{
	struct mkfs_extent *e = &l->extents[l->extent_count];

	e->device_size = round_down(device->size_bytes, VMFS_SECTOR_SIZE);
	if (e->device_size < MKFS_SIZE_MIN)
		return report_error(r, -ENOSPC,
				    "%s: %llu bytes are too small: at least %llu",
				    device->name, (unsigned long long)device->size_bytes,
				    (unsigned long long)MKFS_SIZE_MIN);
	uint64_t pe_count = (e->device_size - LVM_DATA_OFF) / LVM_PE_SIZE;
	if (l->version == 5 && pe_count > LVM_MAPS_MAX * LVM_PE_PER_MAP)
		return report_error(
			r, -EFBIG,
			"%s: %llu bytes are too large: an extent holds at most 16 TiB",
			device->name, (unsigned long long)device->size_bytes);
	if (pe_count > VOLUME_PE_MAX - l->pe_count)
		return report_error(
			r, -EFBIG,
			"%s: %llu bytes are too large: a volume holds at most 64 TiB",
			device->name, (unsigned long long)device->size_bytes);
	e->pe_first = l->pe_count;
	e->pe_count = (uint32_t)pe_count;
	e->pe_map_count =
		(uint32_t)(l->version == 6 ? div_up(pe_count * LVM_PE_SIZE,
						    LVM6_PE_LENGTH_MAX)
					   : div_up(pe_count, LVM_PE_PER_MAP));
	l->pe_count += e->pe_count;
	l->extent_count++;
	return 0;
}

int mkfs_layout_devices(uint32_t version, const struct mkfs_device *devices,
			unsigned int device_count, const struct mkfs_counts *counts,
			struct reporter *r, struct mkfs_layout *ret_layout)
{
	struct mkfs_layout l = { .version = version };
	struct mkfs_counts c = counts ? *counts : (struct mkfs_counts){ 0 };
	int err = 0;

	if (!device_count || device_count > LVM_EXTENTS_MAX)
		return report_error(r, -EINVAL, "%u devices: a volume has 1 to %u",
				    device_count, LVM_EXTENTS_MAX);
	for (unsigned int i = 0; !err && i < device_count; i++)
		err = extent_add(&l, &devices[i], r);
	if (err)
		return err;
	l.volume_size = l.pe_count * LVM_PE_SIZE;
	l.block_count = (uint32_t)(l.volume_size / MKFS_BLOCK_SIZE);
	err = (version == 6 ? mkfs_layout6_fill : layout5_fill)(&l, &c, r);
	if (!err && l.used_blocks > l.block_count)
		err = report_error(r, -ENOSPC,
				   "%s: the metadata need %u blocks, the volume has %u",
				   devices[0].name, l.used_blocks, l.block_count);
	if (!err)
		*ret_layout = l;
	return err;
}

int mkfs_layout_make(const char *name, uint64_t device_size,
		     const struct mkfs_counts *counts, struct reporter *r,
		     struct mkfs_layout *ret_layout)
{
	const struct mkfs_device device = { name, device_size };
	return mkfs_layout_devices(5, &device, 1, counts, r, ret_layout);
}

int mkfs_layout6_make(const char *name, uint64_t device_size,
		      const struct mkfs_counts *counts, struct reporter *r,
		      struct mkfs_layout *ret_layout)
{
	const struct mkfs_device device = { name, device_size };
	return mkfs_layout_devices(6, &device, 1, counts, r, ret_layout);
}

uint32_t mkfs_extent_of(const struct mkfs_layout *l, uint64_t vol_off,
			uint64_t *ret_dev_off)
{
	uint32_t i = 0;

	while (vol_off >= l->extents[i].pe_count * LVM_PE_SIZE) {
		vol_off -= l->extents[i++].pe_count * LVM_PE_SIZE;
		assert(i < l->extent_count);
	}
	*ret_dev_off = LVM_DATA_OFF + vol_off;
	return i;
}

uint64_t mkfs_file_vol_off(const struct mkfs_file *file, uint64_t off)
{
	uint64_t block = off / MKFS_BLOCK_SIZE;
	assert(block < file->block_count);
	uint64_t number = block ? file->rest_block + block - 1 : file->first_block;
	return number * MKFS_BLOCK_SIZE + off % MKFS_BLOCK_SIZE;
}

uint64_t mkfs_cluster_off(const struct mkfs_resource *res, uint32_t cluster)
{
	uint64_t group = cluster / res->clusters_per_group;
	return VMFS_RESOURCE_GROUP_OFF + group * res->group_size +
	       (uint64_t)(cluster % res->clusters_per_group) * res->header_size;
}

uint64_t mkfs_resource_off(const struct mkfs_resource *res, uint32_t cluster,
			   uint32_t index)
{
	uint64_t group = cluster / res->clusters_per_group;
	uint64_t in_group =
		(uint64_t)(cluster % res->clusters_per_group) * res->per_cluster;
	return VMFS_RESOURCE_GROUP_OFF + group * res->group_size +
	       (uint64_t)res->clusters_per_group * res->header_size +
	       (in_group + index) * res->resource_size;
}

uint32_t mkfs_cluster_total(const struct mkfs_resource *res, uint32_t cluster)
{
	return min_u32(res->per_cluster, res->count - cluster * res->per_cluster);
}

uint32_t mkfs_cluster_used(const struct mkfs_layout *l, const struct mkfs_resource *res,
			   uint32_t cluster)
{
	uint32_t used = res->fd == VMFS_FD_FBB	 ? l->used_blocks
			: res->fd == VMFS_FD_FDC ? l->fd_count
			: res->fd == VMFS_FD_PB2 ? l->used_pb2
						 : 0;
	uint32_t before = cluster * res->per_cluster;
	return used <= before ? 0
			      : min_u32(used - before, mkfs_cluster_total(res, cluster));
}

uint64_t mkfs_fd_vol_off(const struct mkfs_layout *l, uint32_t fd)
{
	const struct mkfs_resource *res = &l->resources[MKFS_FDC];
	return mkfs_file_vol_off(&l->files[VMFS_FD_FDC], mkfs_resource_off(res, 0, fd));
}

uint64_t mkfs_pb2_vol_off(const struct mkfs_layout *l, uint32_t number)
{
	const struct mkfs_resource *res = &l->resources[MKFS_PB2];
	return mkfs_file_vol_off(&l->files[VMFS_FD_PB2],
				 mkfs_resource_off(res, number / res->per_cluster,
						   number % res->per_cluster));
}
