/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a volume that may be damaged.
 *
 * One structure is found from the other: FS descriptor -> sizes and the first block of
 * .fdc.sf; in it, at a fixed place, the FDs of the system files; from those the blocks of
 * each resource file; from its header the geometry; and then any address (readfile.c).
 * Each step verifies what the next one computes with:
 *   1. per_cluster <= 1024, clusters_per_group <= 1024, sizes as the type demands, so
 *      that no product overflows 64 bits.
 *   2. Every offset goes through fsck_read, which knows the end of the volume.
 *
 * The three versions differ in sizes (vmfs/shape.h), and VMFS-6 in .fbb.sf, which holds
 * two bitmaps: large blocks, and as the data of each large block the cluster header of
 * its small ones (FORMAT.md 20.4).
 */
#include "fsck/read.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"

#define CLUSTERS_PER_GROUP_MAX 1024u
#define BLOCK_SIZE_MAX (8u << 20)
#define SUB_BLOCK_SIZE_MAX (64u << 10)

const enum fsck_resource_index fsck_resource_order[FSCK_RESOURCE_COUNT] = {
	FSCK_PB2, FSCK_PBC, FSCK_FDC, FSCK_SBC, FSCK_LFB, FSCK_FBB, FSCK_JBC,
};

static int why(struct fsck_why *ret_why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int why(struct fsck_why *ret_why, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(ret_why->text, sizeof(ret_why->text), fmt, ap);
	va_end(ap);
	return -EUCLEAN;
}

void fsck_volume_done(struct fsck_volume *v)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++)
		free(v->resources[i].blocks);
}

/* ---- FS descriptor ---- */

static uint32_t shift_of(uint64_t size)
{
	return (uint32_t)__builtin_ctzll(size);
}

static int sizes_verify(const struct vmfs_descriptor_disk *d, struct fsck_why *ret_why)
{
	uint64_t size = le64_get(d->block_size);
	if (!is_power_of_two(size) || size < (1u << 20) || size > BLOCK_SIZE_MAX)
		return why(ret_why, "block size %llu, not 1, 2, 4 or 8 MiB",
			   (unsigned long long)size);
	uint64_t sub = le32_get(d->sub_block_size);
	if (!is_power_of_two(sub) || sub < 4096 || sub > SUB_BLOCK_SIZE_MAX)
		return why(ret_why, "sub-block size %llu", (unsigned long long)sub);
	uint32_t per_group = le32_get(d->fdc_clusters_per_group);
	if (per_group == 0 || per_group > CLUSTERS_PER_GROUP_MAX)
		return why(ret_why, "%u clusters per group of .fdc.sf", per_group);
	uint32_t group_off = le32_get(d->fdc_group_off);
	if (group_off < VMFS_SECTOR_SIZE || group_off > size / 2 ||
	    group_off % VMFS_SECTOR_SIZE)
		return why(ret_why, "first group of .fdc.sf at 0x%x", group_off);
	return 0;
}

/* What VMFS-6 adds, where this reader knows one value alone. */
static int sizes6_verify(const struct vmfs_descriptor_disk *d,
			 const struct vmfs6_descriptor_disk *d6, struct fsck_why *ret_why)
{
	if (le32_get(d6->metadata_align) != VMFS6_PAGE)
		return why(ret_why, "metadata pages of %u bytes, not %u",
			   le32_get(d6->metadata_align), VMFS6_PAGE);
	if (le64_get(d->block_size) << le16_get(d6->lfb_shift) !=
	    (uint64_t)VMFS6_BLOCK_SIZE * VMFS6_SFB_PER_LFB)
		return why(ret_why, "%llu large blocks to 2^%u small ones",
			   (unsigned long long)le64_get(d->block_size),
			   le16_get(d6->lfb_shift));
	if (1u << (le16_get(d6->pb_shift) & 31) != VMFS6_PB_SIZE ||
	    le32_get(d->sub_block_size) != VMFS6_SUB_BLOCK_SIZE)
		return why(ret_why, "pointer blocks of 2^%u bytes, sub-blocks of %u",
			   le16_get(d6->pb_shift), le32_get(d->sub_block_size));
	return 0;
}

int fsck_volume_descriptor(struct fsck_volume *v, struct fsck_why *ret_why)
{
	struct vmfs_descriptor_disk *d = &v->descriptor;
	int err = fsck_read(v, VMFS_DESCRIPTOR_OFF, d, sizeof(*d));
	if (err)
		return err == -EINVAL ? why(ret_why, "the volume is too short for it")
				      : err;
	return fsck_volume_sizes(v, ret_why);
}

int fsck_volume_sizes(struct fsck_volume *v, struct fsck_why *ret_why)
{
	struct vmfs_descriptor_disk *d = &v->descriptor;
	memcpy(&v->descriptor6, (const uint8_t *)d + VMFS6_DESCRIPTOR_AT,
	       sizeof(v->descriptor6));
	uint32_t magic = le32_get(d->magic);
	if (magic < VMFS_MAGIC || magic > VMFS6L_MAGIC)
		return why(ret_why, "magic 0x%08x, not 0x%08x", magic, VMFS_MAGIC);
	uint32_t major = le32_get(d->major);
	v->shape = vmfs_shape_of(major);
	if (!v->shape)
		return why(ret_why, "major version %u, not %u, %u or %u", major,
			   VMFS_MAJOR_3, VMFS_MAJOR_5, VMFS_MAJOR_6);
	int err = sizes_verify(d, ret_why);
	if (!err && v->shape->version == 6)
		err = sizes6_verify(d, &v->descriptor6, ret_why);
	if (err)
		return err;
	v->major = major;
	v->block_size = (uint32_t)le64_get(d->block_size);
	v->block_shift = shift_of(v->block_size);
	v->sub_block_size = le32_get(d->sub_block_size);
	v->sub_block_shift = shift_of(v->sub_block_size);
	v->block_count = v->size_bytes >> v->block_shift;
	return 0;
}

/* ---- heartbeats ---- */

int fsck_slot_read(const struct fsck_volume *v, uint32_t slot,
		   struct vmfs_heartbeat_disk *ret_hb)
{
	return fsck_read(v,
			 VMFS_HEARTBEATS_OFF +
				 (uint64_t)slot * v->shape->heartbeat_size,
			 ret_hb, sizeof(*ret_hb));
}

bool fsck_slot_of(const struct fsck_volume *v, uint64_t vol_off, uint32_t *ret_slot)
{
	uint64_t off = vol_off - VMFS_HEARTBEATS_OFF;
	if (vol_off < VMFS_HEARTBEATS_OFF || off % v->shape->heartbeat_size ||
	    off / v->shape->heartbeat_size >= v->shape->heartbeat_count)
		return false;
	*ret_slot = (uint32_t)(off / v->shape->heartbeat_size);
	return true;
}

/* ---- resource files: their blocks ---- */

static void resource_names(struct fsck_volume *v)
{
	static const struct fsck_resource rows[FSCK_RESOURCE_COUNT] = {
		[FSCK_FBB] = { .name = ".fbb.sf", VMFS_LOCK_FBB, ADDR_FB },
		[FSCK_FDC] = { .name = ".fdc.sf", VMFS_LOCK_FDC, ADDR_FD },
		[FSCK_PBC] = { .name = ".pbc.sf", VMFS_LOCK_PBC, ADDR_PB },
		[FSCK_SBC] = { .name = ".sbc.sf", VMFS_LOCK_SBC, ADDR_SB },
		[FSCK_PB2] = { .name = ".pb2.sf", VMFS_LOCK_PB2, ADDR_PB2 },
		[FSCK_JBC] = { .name = ".jbc.sf", VMFS_LOCK_JBC, ADDR_JB },
		[FSCK_LFB] = { .name = ".fbb.sf (large)", VMFS_LOCK_LFB, ADDR_LFB },
	};
	static const uint32_t fds[FSCK_RESOURCE_COUNT] = {
		VMFS_FD_FBB, VMFS_FD_FDC,  VMFS_FD_PBC, VMFS_FD_SBC,
		VMFS_FD_PB2, VMFS6_FD_JBC, VMFS_FD_FBB,
	};
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		struct fsck_resource *res = &v->resources[i];
		if (res->name)
			continue;
		*res = rows[i];
		res->fd_addr = addr_of(ADDR_FD, 0, fds[i]);
		res->header_size = v->shape->cluster_header_size;
		res->meta_off = v->shape->cluster_meta_off;
		res->meta_size = v->shape->cluster_meta_size;
		res->state_bits = 1;
	}
	if (v->shape->version == 6) {
		v->resources[FSCK_FBB].state_bits = 2;
		v->resources[FSCK_LFB].state_bits = 3;
	}
	/* Upgraded volumes have it elsewhere (FORMAT.md 5). */
	v->resources[FSCK_PB2].fd_addr.raw = le32_get(v->descriptor.pb2_fd_addr);
}

/* The FDs of system files lie at a fixed place in the first block of .fdc.sf; but for
 * that of .pb2.sf, whose place the FS descriptor has. */
static int system_fd_off(const struct fsck_volume *v, enum fsck_resource_index i,
			 uint64_t *ret_off)
{
	vmfs_addr addr = v->resources[i].fd_addr;
	uint32_t size = v->shape->fd_size;
	uint64_t first = max_u64(1, v->shape->fdc_off >> v->block_shift)
			 << v->block_shift;
	uint64_t off = le32_get(v->descriptor.fdc_group_off) +
		       (uint64_t)le32_get(v->descriptor.fdc_clusters_per_group) *
			       v->shape->cluster_header_size +
		       (uint64_t)addr_index(addr) * size;
	if (addr_type(addr) != ADDR_FD)
		return -EUCLEAN;
	if (addr_cluster(addr) == 0 && off + size <= v->block_size)
		*ret_off = off + first;
	else if (i == FSCK_PB2)
		*ret_off = le64_get(v->descriptor.pb2_fd_off);
	else
		return -EUCLEAN;
	return 0;
}

int fsck_resource_fd(struct fsck_volume *v, enum fsck_resource_index i,
		     struct fsck_file *ret_file, uint64_t *ret_vol_off)
{
	uint64_t off, size;
	resource_names(v);
	int err = v->resources[FSCK_FDC].is_usable
			  ? fsck_addr_vol_off(v, v->resources[i].fd_addr, &off, &size)
			  : system_fd_off(v, i, &off);
	if (!err)
		err = fsck_read(v, off, &ret_file->lock, sizeof(ret_file->lock));
	if (!err)
		err = fsck_read(v, off + v->shape->fd_body_off, &ret_file->body,
				v->shape->fd_body_size);
	if (!err)
		*ret_vol_off = off;
	return err == -EINVAL ? -EUCLEAN : err;
}

/* FBs of one pointer block of a system file, into blocks[0 .. max). */
static int pointer_block_load(const struct fsck_volume *v, vmfs_addr pb, uint32_t *blocks,
			      uint32_t max)
{
	uint8_t *entries = malloc(v->shape->pb_size);
	if (!entries)
		return -ENOMEM;
	int err = fsck_addr_read(v, pb, 0, entries, v->shape->pb_size);
	for (uint32_t i = 0; !err && i < max && i < v->shape->pb_entries; i++) {
		vmfs_addr addr = shape_entry(v->shape, entries, i);
		if (addr_type(addr) == ADDR_FB)
			blocks[i] = addr_fb_number(addr);
	}
	free(entries);
	return err;
}

/* The blocks named by the slots of the FD, into blocks[0 .. count). */
static int blocks_load(const struct fsck_volume *v, const struct fsck_file *file,
		       uint32_t *blocks, uint64_t count, struct fsck_why *ret_why)
{
	uint32_t zla = le32_get(file->meta.zla);
	for (uint32_t i = 0; i < v->shape->fd_slots; i++) {
		vmfs_addr addr = fsck_slot(v, file, i);
		uint64_t at = zla == VMFS_ZLA_FB ? i : (uint64_t)i * v->shape->pb_entries;
		if (addr_is_none(addr) || at >= count)
			continue;
		if (zla == VMFS_ZLA_FB) {
			blocks[at] =
				addr_type(addr) == ADDR_FB ? addr_fb_number(addr) : 0;
			continue;
		}
		int err = fsck_is_pointer(v, zla, addr)
				  ? pointer_block_load(v, addr, blocks + at,
						       (uint32_t)(count - at))
				  : -EUCLEAN;
		if (err == -ENOMEM)
			return err;
		if (err)
			return why(ret_why, "its pointer block 0x%08llx is not usable",
				   addr_disk(addr));
	}
	return 0;
}

/* Blocks up to the last one that a slot names. */
static uint64_t slots_used(const struct fsck_volume *v, const struct fsck_file *file)
{
	uint32_t count = v->shape->fd_slots;
	while (count && addr_is_none(fsck_slot(v, file, count - 1)))
		count--;
	return count;
}

static int resource_blocks_load(const struct fsck_volume *v, struct fsck_resource *res,
				const struct fsck_file *file, struct fsck_why *ret_why)
{
	uint32_t zla = le32_get(file->meta.zla);
	uint64_t length = le64_get(file->meta.length);
	uint64_t count = div_up(length, v->block_size);
	if (zla != VMFS_ZLA_FB && zla != VMFS_ZLA_PB && zla != VMFS_ZLA_PB2)
		return why(ret_why, "its FD has address type %u", zla);
	if (count == 0 || count > fsck_zla_blocks_max(v, zla) || count > v->block_count) {
		(void)why(ret_why, "its length is %llu bytes",
			  (unsigned long long)length);
		count = v->guess && zla == VMFS_ZLA_FB ? slots_used(v, file) : 0;
		length = count << v->block_shift;
	}
	if (count == 0)
		return -EUCLEAN;
	uint32_t *blocks = calloc(count, sizeof(*blocks));
	if (!blocks)
		return -ENOMEM;
	int err = blocks_load(v, file, blocks, count, ret_why);
	if (err) {
		free(blocks);
		return err;
	}
	res->length_bytes = length;
	res->blocks = blocks;
	res->block_count = (uint32_t)count;
	return 0;
}

/* ---- resource files: their geometry ---- */

/* How many resources of one cluster an address of this type can name. */
static uint32_t index_max(const struct fsck_volume *v, const struct fsck_resource *res)
{
	bool is_6 = v->shape->version == 6;
	switch (res->addr_type) {
	case ADDR_FB:
		return is_6 ? VMFS6_SFB_PER_LFB : VMFS_CLUSTER_RESOURCES_MAX;
	case ADDR_FD:
		return is_6 ? 1024 : VMFS_CLUSTER_RESOURCES_MAX;
	case ADDR_JB:
		return 64;
	case ADDR_LFB:
		return 256;
	case ADDR_SB:
		if (!is_6)
			return le32_get(v->descriptor.config) & VMFS_CONFIG_DENSE_SBC
				       ? 64
				       : 16;
		return 256;
	default:
		return is_6 ? 256 : 16;
	}
}

static int header_verify(const struct fsck_volume *v, struct fsck_resource *res,
			 struct fsck_why *ret_why)
{
	const struct vmfs_resource_geometry_disk *h = &res->header.geometry;
	if (res->per_cluster == 0 || res->per_cluster > index_max(v, res))
		return why(ret_why, "%u resources per cluster, at most %u",
			   res->per_cluster, index_max(v, res));
	if (res->clusters_per_group == 0 ||
	    res->clusters_per_group > CLUSTERS_PER_GROUP_MAX)
		return why(ret_why, "%u clusters per group", res->clusters_per_group);
	if (res->resource_size != fsck_resource_size(v, res))
		return why(ret_why, "resources of %u bytes, not %u", res->resource_size,
			   fsck_resource_size(v, res));
	if (le32_get(h->group_off) != VMFS_RESOURCE_GROUP_OFF)
		return why(ret_why, "first group at 0x%x, not 0x%llx",
			   le32_get(h->group_off),
			   (unsigned long long)VMFS_RESOURCE_GROUP_OFF);
	res->group_size =
		(uint64_t)res->clusters_per_group *
		(res->header_size + (uint64_t)res->per_cluster * res->resource_size);
	if (le32_get(h->group_size) != res->group_size)
		return why(ret_why, "groups of %u bytes, not %llu",
			   le32_get(h->group_size), (unsigned long long)res->group_size);
	uint64_t clusters = div_up(res->count, res->per_cluster);
	uint64_t groups = div_up(clusters, res->clusters_per_group);
	if (res->count > UINT32_MAX || groups != le32_get(h->group_count))
		return why(ret_why, "%llu resources in %u groups, not %llu",
			   (unsigned long long)res->count, le32_get(h->group_count),
			   (unsigned long long)groups);
	res->cluster_count = (uint32_t)clusters;
	return 0;
}

/* What only VMFS-6 has, and where clusters of small blocks lie among large ones. */
static int header6_verify(struct fsck_resource *res, struct fsck_why *ret_why)
{
	const struct vmfs6_resource_header_disk *h = &res->header;
	if (le32_get(h->signature) != VMFS6_HEADER_SIGNATURE)
		return why(ret_why, "signature 0x%08x, not 0x%08x",
			   le32_get(h->signature), VMFS6_HEADER_SIGNATURE);
	if (res->count && le32_get(h->bits_per_resource) != res->state_bits)
		return why(ret_why, "%u bits of state, not %u",
			   le32_get(h->bits_per_resource), res->state_bits);
	if (res->count && res->per_cluster * res->state_bits > 8 * (VMFS6_PAGE - 0x80))
		return why(ret_why, "%u resources per cluster", res->per_cluster);
	return 0;
}

static int parent_verify(struct fsck_resource *res, struct fsck_why *ret_why)
{
	const struct vmfs6_resource_header_disk *h = &res->header;
	uint32_t per_cluster = le32_get(h->parent_per_cluster);
	uint32_t clusters = le32_get(h->parent_clusters_per_group);
	uint64_t size = (uint64_t)clusters *
			(res->header_size + (uint64_t)per_cluster * res->header_size);
	if (per_cluster == 0 || per_cluster > CLUSTERS_PER_GROUP_MAX || clusters == 0 ||
	    clusters > CLUSTERS_PER_GROUP_MAX || size != le32_get(h->parent_group_size) ||
	    res->per_cluster != VMFS6_SFB_PER_LFB)
		return why(ret_why, "clusters of %u in groups of %u times %u, %u bytes",
			   res->per_cluster, clusters, per_cluster,
			   le32_get(h->parent_group_size));
	res->headers_off = clusters * res->header_size;
	res->clusters_per_group = clusters * per_cluster;
	res->group_size = size;
	return 0;
}

static int header_read(const struct fsck_volume *v, struct fsck_resource *res,
		       struct fsck_why *ret_why)
{
	bool is_child = v->shape->version == 6 && res->addr_type == ADDR_FB;
	int err = fsck_resource_read(v, res, is_child ? VMFS6_SFB_HEADER_OFF : 0,
				     &res->header, sizeof(res->header));
	return err == -EUCLEAN ? why(ret_why, "its first block is missing") : err;
}

/* Takes the geometry from the header that was read. */
static int resource_geometry(const struct fsck_volume *v, struct fsck_resource *res,
			     struct fsck_why *ret_why)
{
	const struct vmfs6_resource_header_disk *h = &res->header;
	bool is_6 = v->shape->version == 6;
	bool is_child = is_6 && res->addr_type == ADDR_FB;
	int err;
	const struct vmfs_resource_geometry_disk *g = &h->geometry;
	res->per_cluster = le32_get(g->per_cluster);
	res->clusters_per_group = le32_get(g->clusters_per_group);
	res->resource_size = le32_get(g->resource_size);
	res->count = (uint64_t)le32_get(g->count_high) << 32 | le32_get(g->count_low);
	if (is_6) {
		err = header6_verify(res, ret_why);
		if (err)
			return err;
		if (res->count == 0) /* .pbc.sf on every volume that was seen */
			return 0;
	}
	err = header_verify(v, res, ret_why);
	if (!err && is_child)
		err = parent_verify(res, ret_why);
	if (err || res->cluster_count == 0)
		return err;
	if (fsck_resource_end(res) > res->length_bytes)
		return why(ret_why, "%llu resources need %llu bytes, the file has %llu",
			   (unsigned long long)res->count,
			   (unsigned long long)fsck_resource_end(res),
			   (unsigned long long)res->length_bytes);
	return 0;
}

bool fsck_volume_lacks(const struct fsck_volume *v, le32 addr, le64 off)
{
	if (v->shape->version == 3)
		return true;
	return v->shape->version == 5 && !le32_get(addr) && !le64_get(off) &&
	       le32_get(v->extents[0].device.major) == LVM3_MAJOR;
}

/* Files that a version does not have. */
static bool is_absent(const struct fsck_volume *v, enum fsck_resource_index i)
{
	if (i == FSCK_PB2)
		return fsck_volume_lacks(v, v->descriptor.pb2_fd_addr,
					 v->descriptor.pb2_fd_off);
	return (i == FSCK_JBC || i == FSCK_LFB) && v->shape->version != 6;
}

/* Its geometry, from its header or by a guess. */
static int resource_open(struct fsck_volume *v, enum fsck_resource_index i,
			 struct fsck_why *ret_why)
{
	struct fsck_resource *res = &v->resources[i];
	int err = header_read(v, res, ret_why);
	if (!err)
		err = resource_geometry(v, res, ret_why);
	if (err && !ret_why->text[0])
		(void)why(ret_why, "its header: %s", strerror(-err));
	if (err && err != -ENOMEM && v->guess && v->guess(v, i))
		err = resource_geometry(v, res, ret_why);
	return err;
}

void fsck_resource_close(struct fsck_resource *res)
{
	free(res->blocks);
	res->blocks = NULL;
	res->block_count = 0;
	res->is_usable = false;
	res->is_damaged = true;
}

int fsck_resource_load(struct fsck_volume *v, enum fsck_resource_index i,
		       const struct fsck_file *file, struct fsck_why *ret_why)
{
	struct fsck_resource *res = &v->resources[i];
	int err = resource_blocks_load(v, res, file, ret_why);
	if (!err)
		err = resource_open(v, i, ret_why);
	if (err) {
		fsck_resource_close(res);
		return err == -EINVAL ? why(ret_why, "a block lies outside the volume")
				      : err;
	}
	res->is_usable = true;
	res->is_damaged = false;
	return 0;
}

int fsck_volume_resource(struct fsck_volume *v, enum fsck_resource_index i,
			 struct fsck_why *ret_why)
{
	struct fsck_file file;
	uint64_t vol_off;
	ret_why->text[0] = '\0';
	resource_names(v);
	if (is_absent(v, i))
		return -ENOENT;
	v->resources[i].is_damaged = true;
	int err = fsck_resource_fd(v, i, &file, &vol_off);
	if (err)
		return err == -EUCLEAN ? why(ret_why, "its FD 0x%08llx does not exist",
					     addr_disk(v->resources[i].fd_addr))
				       : err;
	return fsck_resource_load(v, i, &file, ret_why);
}
