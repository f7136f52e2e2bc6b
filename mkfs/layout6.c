/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of a fresh VMFS-6 volume (FORMAT.md 20).
 *
 * Units of 256 MiB follow from the device, small file blocks (SFBs, 1 MiB) from the
 * units; 512 of them are one large one (LFB) and one cluster of the SFB bitmap. Blocks
 * are dealt out in a fixed order: .vh.sf SFBs 0..6, first block of .fdc.sf SFB 7, and
 * from SFB 8 on the root directory, .fbb.sf, the rest of .fdc.sf, .pbc.sf, .sbc.sf,
 * .pb2.sf, .sdd.sf, .jbc.sf.
 *
 * .fbb.sf holds two bitmaps, one inside the other: in each group eight cluster headers of
 * LFBs, then, as the "data" of their 128 LFBs, the cluster header of each LFB's own SFBs.
 * Every LFB is made an SFB cluster here (as ESXi does on small volumes): how a free LFB
 * looks is not known.
 *
 * Counts: as on every volume of ESXi from 6 units on. Below, what ESXi does (sub-blocks
 * that take all free space) is not worth copying; everything is fewer, and readers take
 * the counts from the headers.
 *
 * Invariants: those of layout.c, but for the first: a file of more blocks than an FD has
 * slots (320) gets pointer blocks, which are resources 0, 1, ... of .pb2.sf; .pb2.sf
 * itself always fits its slots.
 */
#include <assert.h>
#include <errno.h>

#include "base/align.h"
#include "mkfs/layout.h"
#include "vmfs/large.h"

#define UNITS_NORMAL 6u /* from here on the usual counts fit */
#define CLUSTERS_PER_GROUP 8u
#define JB_CLUSTERS_PER_GROUP 4u
#define FD_PER_CLUSTER 256u
#define SB_PER_CLUSTER 256u
#define PB2_PER_CLUSTER 32u
#define JB_PER_CLUSTER 8u
#define DIR_BLOCKS_ROOT 2u /* the map, and one of entries */
#define DIR_BLOCKS_SDD 1u

static void counts_fill(const struct mkfs_layout *l, struct mkfs_counts *c)
{
	bool is_small = l->pe_count < UNITS_NORMAL;

	if (!c->fd)
		c->fd = is_small ? 2048 : 16384;
	if (!c->sb)
		c->sb = is_small ? 1024 : 16384;
	if (!c->pb2)
		c->pb2 = is_small ? 32 : 256;
	if (!c->jb)
		c->jb = is_small ? 8 : 128;
}

static void resource_fill(struct mkfs_layout *l, enum mkfs_resource_index i,
			  const struct mkfs_resource *what, uint32_t count,
			  uint32_t per_cluster)
{
	struct mkfs_resource *res = &l->resources[i];

	*res = *what;
	res->header_size = VMFS6_CLUSTER_HEADER_SIZE;
	mkfs_resource_make(res, count, per_cluster);
}

/* The clusters of the SFB bitmap; their places are mkfs_sfb_cluster_off's. */
static void sfbs_make(struct mkfs_layout *l)
{
	static const struct mkfs_resource fbb = { .name = ".fbb.sf",
						  .fd = VMFS_FD_FBB,
						  .lock_type = VMFS_LOCK_FBB,
						  .clusters_per_group =
							  CLUSTERS_PER_GROUP };

	resource_fill(l, MKFS_FBB, &fbb, l->block_count, VMFS6_SFB_PER_LFB);
}

static void resources_make(struct mkfs_layout *l, const struct mkfs_counts *c)
{
	static const struct mkfs_resource
		fdc = { .name = ".fdc.sf",
			.fd = VMFS_FD_FDC,
			.lock_type = VMFS_LOCK_FDC,
			.clusters_per_group = CLUSTERS_PER_GROUP,
			.resource_size = VMFS6_FD_SIZE },
		pbc = { .name = ".pbc.sf",
			.fd = VMFS_FD_PBC,
			.lock_type = VMFS_LOCK_PBC,
			.clusters_per_group = CLUSTERS_PER_GROUP,
			.resource_size = VMFS6_PB_SIZE },
		sbc = { .name = ".sbc.sf",
			.fd = VMFS_FD_SBC,
			.lock_type = VMFS_LOCK_SBC,
			.clusters_per_group = CLUSTERS_PER_GROUP,
			.resource_size = VMFS6_SUB_BLOCK_SIZE },
		pb2 = { .name = ".pb2.sf",
			.fd = VMFS_FD_PB2,
			.lock_type = VMFS_LOCK_PB2,
			.clusters_per_group = CLUSTERS_PER_GROUP,
			.resource_size = VMFS6_PB_SIZE },
		jbc = { .name = ".jbc.sf",
			.fd = VMFS6_FD_JBC,
			.lock_type = VMFS_LOCK_JBC,
			.clusters_per_group = JB_CLUSTERS_PER_GROUP,
			.resource_size = VMFS6_JOURNAL_SIZE };

	l->resource_count = MKFS_RESOURCE_COUNT;
	sfbs_make(l);
	resource_fill(l, MKFS_FDC, &fdc, c->fd, FD_PER_CLUSTER);
	resource_fill(l, MKFS_PBC, &pbc, 0, 0);
	resource_fill(l, MKFS_SBC, &sbc, c->sb, SB_PER_CLUSTER);
	resource_fill(l, MKFS_PB2, &pb2, c->pb2, PB2_PER_CLUSTER);
	resource_fill(l, MKFS_JBC, &jbc, c->jb, JB_PER_CLUSTER);
}

static void files_place(struct mkfs_layout *l)
{
	static const uint32_t order[] = {
		VMFS_FD_ROOT, VMFS_FD_FBB, VMFS_FD_FDC, VMFS_FD_PBC,
		VMFS_FD_SBC,  VMFS_FD_PB2, VMFS_FD_SDD, VMFS6_FD_JBC,
	};
	struct mkfs_file *files = l->files;
	uint32_t vh_blocks = VMFS6_FDC_OFF / MKFS_BLOCK_SIZE;

	l->fd_count = VMFS6_FD_SYSTEM_COUNT;
	files[VMFS_FD_VH].length_bytes = VMFS6_FDC_OFF;
	files[VMFS_FD_VH].rest_block = 1;
	files[VMFS_FD_ROOT].length_bytes =
		VMFS6_DIR_HEADER_SIZE + DIR_BLOCKS_ROOT * VMFS6_PAGE;
	files[VMFS_FD_SDD].length_bytes =
		VMFS6_DIR_HEADER_SIZE + DIR_BLOCKS_SDD * VMFS6_PAGE;
	files[VMFS_FD_FBB].length_bytes =
		large_file_length(l->resources[MKFS_FBB].cluster_count);
	for (unsigned int i = MKFS_FDC; i < l->resource_count; i++)
		files[l->resources[i].fd].length_bytes =
			mkfs_resource_file_length(&l->resources[i]);
	files[VMFS_FD_FDC].first_block = vh_blocks;
	mkfs_files_place(l, order, ARRAY_SIZE(order), vh_blocks + 1);
	mkfs_pointer_blocks_make(l, VMFS6_FD_SLOTS, VMFS6_PB_ENTRIES);
}

static int verify(const struct mkfs_layout *l, struct reporter *r)
{
	const struct mkfs_file *pb2 = &l->files[VMFS_FD_PB2];

	if (pb2->block_count > VMFS6_FD_SLOTS)
		return report_error(r, -EINVAL,
				    ".pb2.sf would need %u blocks: at most %u",
				    pb2->block_count, VMFS6_FD_SLOTS);
	if (l->used_pb2 > l->resources[MKFS_PB2].count)
		return report_error(r, -EINVAL,
				    "the metadata need %u pointer blocks, there are %u",
				    l->used_pb2, l->resources[MKFS_PB2].count);
	if (l->resources[MKFS_FDC].count < FD_PER_CLUSTER)
		return report_error(r, -EINVAL, "%u file descriptors: at least %u",
				    l->resources[MKFS_FDC].count, FD_PER_CLUSTER);
	return 0;
}

int mkfs_layout6_fill(struct mkfs_layout *l, struct mkfs_counts *counts,
		      struct reporter *r)
{
	counts_fill(l, counts);
	resources_make(l, counts);
	files_place(l);
	return verify(l, r);
}

uint64_t mkfs_sfb_cluster_off(uint32_t lfb)
{
	return VMFS_RESOURCE_GROUP_OFF +
	       (uint64_t)(lfb / VMFS6_LFB_PER_GROUP) * VMFS6_LFB_GROUP_SIZE +
	       VMFS6_LFB_HEADERS_SIZE +
	       (uint64_t)(lfb % VMFS6_LFB_PER_GROUP) * VMFS6_CLUSTER_HEADER_SIZE;
}
