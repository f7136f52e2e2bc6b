/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers from what stands elsewhere:
 *
 *   1. The FS descriptor: version and sizes, of the few that exist (FORMAT.md 4, 8.5,
 *      20.3), by FDs 0 and 2.
 *   2. The header of a resource file: the geometry of the version (6.3, 20.4), by the
 *      first cluster, which says how many it holds; how many clusters, by their headers.
 */
#include "fsck/readguess.h"

#include <string.h>

#include "base/align.h"

/* ---- the FS descriptor ---- */

struct guess {
	uint32_t major, clusters_per_group, sub_block_size, config;
	uint64_t fdc_off;
};

static const struct guess guesses[] = {
	{ VMFS_MAJOR_5, 64, 8192, 6, VMFS_FDC_OFF },
	{ VMFS_MAJOR_6, 8, 65536, 6, VMFS6_FDC_OFF },
	{ VMFS_MAJOR_3, 32, 65536, 2, VMFS_FDC_OFF },
	{ VMFS_MAJOR_3, 32, 65536, 2, 8u << 20 },
};

/* Is FD 0, the root, where this guess puts it? Then the size of blocks is in it. */
static bool guess_fits(const struct fsck_volume *v, const struct guess *g,
		       uint64_t *ret_block_size)
{
	const struct vmfs_shape *shape = vmfs_shape_of(g->major);
	uint64_t off = g->fdc_off + VMFS_RESOURCE_GROUP_OFF +
		       (uint64_t)g->clusters_per_group * shape->cluster_header_size;
	struct vmfs_lock_disk lock;
	struct vmfs_fd_meta_disk meta;
	/* FD 2 is .fdc.sf, always in file blocks. */
	for (uint32_t i = 0; i <= VMFS_FD_FDC; i += VMFS_FD_FDC) {
		if (fsck_read(v, off + i * shape->fd_size, &lock, sizeof(lock)) ||
		    fsck_read(v, off + i * shape->fd_size + shape->fd_body_off, &meta,
			      sizeof(meta)))
			return false;
		if (le32_get(lock.type) != VMFS_LOCK_FD ||
		    le64_get(lock.addr) != off + i * shape->fd_size ||
		    le32_get(meta.addr) != addr_of(ADDR_FD, 0, i).raw)
			return false;
	}
	*ret_block_size = le64_get(meta.block_size);
	return true;
}

/* The guess that fits; NULL: none. */
static const struct guess *find_guess(const struct fsck_volume *v,
				      uint64_t *ret_block_size)
{
	for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++)
		if (guess_fits(v, &guesses[i], ret_block_size))
			return &guesses[i];
	return NULL;
}

bool fsck_guess_descriptor(const struct fsck_volume *v,
			   struct vmfs_descriptor_disk *ret_descriptor)
{
	uint64_t block_size;
	const struct guess *g = find_guess(v, &block_size);
	const struct vmfs6_descriptor_disk d6 = {
		.physical_block_size = le32_of(VMFS_SECTOR_SIZE),
		.metadata_align = le32_of(VMFS6_PAGE),
		.lfb_shift = le16_of((uint16_t)__builtin_ctz(VMFS6_SFB_PER_LFB)),
		.pb_shift = le16_of((uint16_t)__builtin_ctz(VMFS6_PB_SIZE)),
		.sfb_bits = le16_of(44),
		.tbz_granularity = le32_of(VMFS6_BLOCK_SIZE),
		.journal_block_size = le32_of(VMFS6_JOURNAL_SIZE),
		.lease_ms = le32_of(16000),
		.reclaim_ms = le32_of(4000),
	};
	if (!g)
		return false;
	*ret_descriptor = (struct vmfs_descriptor_disk){
		.magic = le32_of(VMFS_MAGIC),
		.major = le32_of(g->major),
		.config = le32_of(g->config),
		.disk_block_size = le32_of(VMFS_SECTOR_SIZE),
		.block_size = le64_of(block_size),
		.snapshot_id = le32_of(1),
		.lv_snapshot_id = le32_of(1),
		.fdc_group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
		.fdc_clusters_per_group = le32_of(g->clusters_per_group),
		.sub_block_size = le32_of(g->sub_block_size),
		.global_generation = le64_of(1),
	};
	if (g->major == VMFS_MAJOR_3)
		return true;
	ret_descriptor->pb2_fd_addr =
		le32_of((uint32_t)addr_of(ADDR_FD, 0, VMFS_FD_PB2).raw);
	ret_descriptor->sdd_fd_addr =
		le32_of((uint32_t)addr_of(ADDR_FD, 0, VMFS_FD_SDD).raw);
	if (g->major == VMFS_MAJOR_6)
		memcpy((uint8_t *)ret_descriptor + VMFS6_DESCRIPTOR_AT, &d6, sizeof(d6));
	return true;
}

/* ---- headers of resource files ---- */

/*
 * How many resources a cluster with a header at file offset off holds; 0: none is there.
 */
static uint32_t total_at(const struct fsck_volume *v, const struct fsck_resource *res,
			 uint64_t off, uint32_t number)
{
	uint8_t meta[VMFS6_PAGE];
	struct vmfs_lock_disk lock;
	struct fsck_cluster c;
	if (fsck_resource_read(v, res, off, &lock, sizeof(lock)) != 0 ||
	    fsck_resource_read(v, res, off + res->meta_off, meta, res->meta_size) != 0)
		return 0;
	fsck_cluster_take(res, meta, &c);
	return le32_get(lock.type) == res->lock_type && c.number == number ? c.total : 0;
}

/* Resources per cluster that are possible, by type: FORMAT.md 6.3, 20.4. */
static uint32_t per_cluster_guess(const struct fsck_volume *v, enum fsck_resource_index i)
{
	static const uint32_t six[FSCK_RESOURCE_COUNT] = {
		[FSCK_FBB] = VMFS6_SFB_PER_LFB, [FSCK_FDC] = 256, [FSCK_SBC] = 256,
		[FSCK_PB2] = 32, [FSCK_JBC] = 8, [FSCK_LFB] = 16,
	};
	const struct fsck_resource *res = &v->resources[i];
	/* Headers of the first group lie there whatever their clusters hold. */
	uint32_t total = six[i], per_group =
		le32_get(v->descriptor.fdc_clusters_per_group);
	if (v->shape->version == 6)
		return total;
	for (uint32_t c = total = 0; c < per_group; c++)
		total = (uint32_t)max_u64(
			total, total_at(v, res,
					VMFS_RESOURCE_GROUP_OFF +
						(uint64_t)c * res->header_size,
					c));
	return total;
}

/* Clusters and resources, as far as there are headers of clusters in the file. */
static uint64_t count_guess(const struct fsck_volume *v, struct fsck_resource *res)
{
	uint64_t count = 0;
	for (uint32_t c = 0; c < UINT32_MAX; c++) {
		uint64_t off = fsck_cluster_off(res, c);
		if (off + res->header_size > res->length_bytes)
			break;
		uint32_t total = total_at(v, res, off, c);
		if (total && total <= res->per_cluster)
			count = (uint64_t)c * res->per_cluster + total;
	}
	return count;
}

/* What only headers of VMFS-6 have: kept where the header is one, else as all have it. */
static struct vmfs6_resource_header_disk header6_guess(const struct fsck_resource *res,
						       enum fsck_resource_index i)
{
	struct vmfs6_resource_header_disk h = res->header;
	bool is_sfb = i == FSCK_FBB, is_lfb = i == FSCK_LFB;
	if (le32_get(h.signature) != VMFS6_HEADER_SIGNATURE)
		h = (struct vmfs6_resource_header_disk){
			.version = le32_of(1),
			.flags = le32_of(is_lfb		 ? VMFS6_LFB_FLAGS
					 : is_sfb	 ? VMFS6_SFB_FLAGS
					 : i == FSCK_JBC ? 0
							 : VMFS6_RESOURCE_FLAGS),
			.owners_per_cluster = le16_of(
				(uint16_t)(is_lfb   ? VMFS6_LFB_OWNERS_DECLARED
					   : is_sfb ? VMFS6_SFB_OWNERS_MAX
						    : res->per_cluster)),
			.owners_per_resource = le16_of(is_lfb ? VMFS6_LFB_OWNERS : 1),
			.child_off = le32_of(is_lfb ? VMFS6_SFB_HEADER_OFF : 0),
		};
	h.signature = le32_of(VMFS6_HEADER_SIGNATURE);
	h.bits_per_resource = le32_of(res->state_bits);
	if (is_sfb) {
		h.parent_per_cluster = le32_of(VMFS6_LFB_PER_CLUSTER);
		h.parent_clusters_per_group = le32_of(res->clusters_per_group);
		h.parent_group_size = le32_of(VMFS6_LFB_GROUP_SIZE);
	}
	return h;
}

/* VMFS-6: one without resources, as .pbc.sf always is. */
static bool is_empty_file(const struct fsck_volume *v, enum fsck_resource_index i)
{
	return v->shape->version == 6 && i == FSCK_PBC &&
	       v->resources[i].length_bytes <= VMFS_RESOURCE_GROUP_OFF;
}

bool fsck_guess_header(struct fsck_volume *v, enum fsck_resource_index i)
{
	struct fsck_resource *res = &v->resources[i];
	bool is_6 = v->shape->version == 6, is_empty = is_empty_file(v, i);
	uint32_t per_group = le32_get(v->descriptor.fdc_clusters_per_group);
	uint64_t count = 0;
	if (is_6)
		per_group = i == FSCK_JBC ? 4 : 8;
	res->per_cluster = per_cluster_guess(v, i);
	res->clusters_per_group = per_group;
	res->resource_size = fsck_resource_size(v, res);
	if ((res->per_cluster == 0 && !is_empty) || res->per_cluster > VMFS6_SFB_PER_LFB)
		return false;
	res->group_size = (uint64_t)per_group *
			  (res->header_size +
			   (uint64_t)res->per_cluster * res->resource_size);
	if (is_6 && i == FSCK_FBB)
		count = v->block_count;
	else if (!is_empty)
		count = count_guess(v, res);
	if (is_6)
		res->header = header6_guess(res, i);
	res->header.geometry = (struct vmfs_resource_geometry_disk){
		.per_cluster = le32_of(res->per_cluster),
		.clusters_per_group = le32_of(per_group),
		.group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
		.resource_size = le32_of(res->resource_size),
		.group_size = le32_of((uint32_t)res->group_size),
		.count_low = le32_of((uint32_t)count),
		.count_high = le32_of((uint32_t)(count >> 32)),
		.group_count = le32_of(
			is_empty ? 0
				 : (uint32_t)div_up(div_up(count, res->per_cluster),
						    per_group)),
	};
	return count > 0 || is_empty;
}

/* ---- is it so? ---- */

/* A cluster header that says of itself where it is and how many it holds. */
static bool is_borne_out(const struct fsck_volume *v, const struct fsck_resource *res,
			 uint32_t c)
{
	uint64_t off = fsck_cluster_off(res, c), vol_off;
	struct vmfs_lock_disk lock;
	return total_at(v, res, off, c) == fsck_cluster_total(res, c) &&
	       fsck_resource_vol_off(v, res, off, &vol_off) == 0 &&
	       fsck_read(v, vol_off, &lock, sizeof(lock)) == 0 &&
	       le64_get(lock.addr) == vol_off;
}

/* Has the file room for these, and not for more? */
static bool is_whole_file(const struct fsck_volume *v, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &v->resources[i];
	uint32_t last = res->cluster_count - 1;
	bool is_6 = v->shape->version == 6;
	if (i == FSCK_FBB)
		return res->count == v->block_count;
	if (is_6 && i == FSCK_LFB)
		return res->count == div_up(v->block_count, VMFS6_SFB_PER_LFB);
	uint64_t end = fsck_item_off(res, last, fsck_cluster_total(res, last));
	return div_up(end, v->block_size) == res->block_count;
}

bool fsck_header_is_proved(const struct fsck_volume *v, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &v->resources[i];
	uint32_t good = 0, looked = 0;
	bool is_last_good = true;
	if (res->cluster_count == 0)
		return is_empty_file(v, i);
	for (uint32_t c = 0; c < res->cluster_count; c++) {
		bool is_there;
		if (fsck_is_divided(v, res, c, &is_there) != 0)
			return false;
		if (!is_there)
			continue;
		looked++;
		is_last_good = is_borne_out(v, res, c);
		good += is_last_good;
	}
	return is_last_good && looked && good >= looked - looked / 8 &&
	       is_whole_file(v, i);
}
