/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CLUSTERS and COMMIT 2 of grow.c.
 *
 * .fbb.sf becomes longer at its end: blocks of its own, which are the first of the new
 * ones; headers of clusters in them, or in what was left of its last block. All that is
 * written before the transaction lies behind what .fbb.sf counts. The transaction:
 *
 *	FD of .fbb.sf	length, blocks
 *	its header	how many blocks the volume has; VMFS-6: both of them, large and
 *			small ones
 *	last cluster	longer, if it was not full; VMFS-6: that of large blocks too
 *
 * Where .fbb.sf has more blocks than an FD has slots (VMFS-5: over 49.98 TiB, VMFS-6:
 * over 18.8 TiB), they stand in one block of .pb2.sf, as mkfs has it. It is taken in the
 * transaction that first needs it, stays with .fbb.sf for good, and is written under the
 * FD's lock; who read the FD as it was before knows all blocks of the old size.
 *
 * VMFS-6: the new large blocks are divided, as mkfs makes all of them.
 */
#include "vmfs/growblocks.h"

#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmfs/cluster.h"
#include "vmfs/fd.h"
#include "vmfs/gate.h"
#include "vmfs/large.h"
#include "vmfs/member.h"
#include "vmfs/refresh.h"
#include "vmfs/resource.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

#define PATIENCE_NS (30 * NS_PER_S)
#define AT_ONCE 0x40000u /* bytes of headers written together */

/* .fbb.sf as it will be. */
struct longer {
	struct vmfs_volume *vol;
	uint64_t count_before, count; /* of blocks of the volume */
	uint32_t clusters_before, clusters, groups;
	uint64_t length;
	uint32_t blocks_before, blocks; /* of .fbb.sf itself */
};

static const struct fd_ref fbb = {
	.addr = { VMFS_FD_FBB << 22 | ADDR_FD },
};

static const struct vmfs_resource *resource(const struct longer *l)
{
	return &l->vol->resources[RESOURCE_FBB];
}

static bool is_6(const struct longer *l)
{
	return l->vol->shape->version == 6;
}

static uint64_t block_off(const struct longer *l, uint32_t block)
{
	if (block < l->blocks_before)
		return resource(l)->block_vol_off[block];
	return (l->count_before + block - l->blocks_before) * l->vol->block_size;
}

static uint64_t vol_off_of(const struct longer *l, uint64_t file_off)
{
	return block_off(l, (uint32_t)(file_off / l->vol->block_size)) +
	       file_off % l->vol->block_size;
}

/* Vol offset of a cluster's header; headers never cross a block. */
static uint64_t header_off(const struct longer *l, uint32_t cluster)
{
	const struct vmfs_resource *res = resource(l);

	return vol_off_of(
		l, VMFS_RESOURCE_GROUP_OFF +
			   (uint64_t)(cluster / res->clusters_per_group) *
				   res->group_size +
			   res->headers_off +
			   (uint64_t)(cluster % res->clusters_per_group) *
				   res->header_size);
}

static uint32_t total_of(const struct longer *l, uint32_t cluster)
{
	uint32_t per_cluster = resource(l)->per_cluster;

	return (uint32_t)min_u64(l->count - (uint64_t)cluster * per_cluster, per_cluster);
}

/* From which of a cluster's blocks on they are new, and from which on nobody's. */
static uint32_t new_from(const struct longer *l, uint32_t cluster)
{
	uint64_t first = (uint64_t)cluster * resource(l)->per_cluster;

	return (uint32_t)(max_u64(l->count_before, first) - first);
}

static uint32_t free_from(const struct longer *l, uint32_t cluster)
{
	uint64_t first = (uint64_t)cluster * resource(l)->per_cluster;
	uint64_t from = l->count_before + (l->blocks - l->blocks_before);

	return (uint32_t)min_u64(max_u64(from, first) - first, total_of(l, cluster));
}

/* ---- a cluster of blocks ---- */

/* Marks what is new of a cluster as free, but for the new blocks of .fbb.sf. */
static void fill5(const struct longer *l, uint32_t cluster,
		  struct vmfs_cluster_disk *clusterd)
{
	uint32_t total = total_of(l, cluster), from = free_from(l, cluster);

	bitmap_set_range(clusterd->bitmap, from, total - from);
	clusterd->number = le32_of(cluster);
	clusterd->total = le32_of(total);
	clusterd->free = le32_of((uint32_t)bitmap_count(clusterd->bitmap, total));
}

/* The same; those of .fbb.sf are its share. */
static void fill6(const struct longer *l, uint32_t cluster,
		  struct vmfs6_cluster_disk *clusterd)
{
	uint32_t total = total_of(l, cluster), from = free_from(l, cluster);
	struct cluster c = cluster_of(l->vol, RESOURCE_FBB, cluster, clusterd);

	c.total = total;
	clusterd->total = le16_of((uint16_t)total);
	for (uint32_t i = from; i < total; i++)
		bitmap_set(clusterd->states, (uint64_t)i * c.shape.bits);
	cluster_add_share(&c, fbb.addr, from - min_u64(from, new_from(l, cluster)));
	cluster_seal(&c, &l->vol->member->hb.owner);
}

/* A header that nobody looks at yet: a free lock, and a page or sector. */
static void fill_header(const struct longer *l, uint64_t vol_off, uint32_t lock_type,
			const void *meta, uint8_t *header)
{
	const struct vmfs_shape *shape = l->vol->shape;
	const struct vmfs_lock_disk lock = { .type = le32_of(lock_type),
					     .addr = le64_of(vol_off),
					     .token = le64_of(1) };

	memset(header, 0, shape->cluster_header_size);
	memcpy(header, &lock, sizeof(lock));
	memcpy(header + shape->cluster_meta_off, meta, shape->cluster_meta_size);
}

static void fill_cluster(const struct longer *l, uint32_t cluster, uint8_t *header)
{
	uint64_t vol_off = header_off(l, cluster);

	if (is_6(l)) {
		uint32_t total = total_of(l, cluster);
		struct vmfs6_cluster_disk d = cluster_image_small(cluster, total, total);
		fill6(l, cluster, &d);
		fill_header(l, vol_off, VMFS_LOCK_FBB, &d, header);
		return;
	}
	struct vmfs_cluster_disk d = { 0 };
	fill5(l, cluster, &d);
	fill_header(l, vol_off, VMFS_LOCK_FBB, &d, header);
}

/* All new clusters, as many as are neighbours at a time. */
static int put_clusters(const struct longer *l)
{
	uint32_t size = l->vol->shape->cluster_header_size, most = AT_ONCE / size;
	AUTO_FREE uint8_t *headers = io_alloc(AT_ONCE);
	uint32_t first = l->clusters_before, count;
	int err = headers ? 0 : -ENOMEM;

	for (; !err && first < l->clusters; first += count) {
		uint64_t off = header_off(l, first);

		for (count = 0; count < most && first + count < l->clusters; count++) {
			uint64_t len = (uint64_t)count * size;

			if (header_off(l, first + count) != off + len)
				break;
			fill_cluster(l, first + count, headers + len);
		}
		err = vmfs_gate_write(l->vol, off, headers, (uint64_t)count * size, 0);
	}
	return err;
}

static int edit_last_cluster(struct vmfs_txn *t, const struct longer *l)
{
	const struct vmfs_shape *shape = l->vol->shape;
	uint32_t cluster = l->clusters_before - 1;
	struct vmfs_lock_id id;
	void *page;

	if (l->count_before % resource(l)->per_cluster == 0)
		return 0;
	int err = resource_lock_id(l->vol, RESOURCE_FBB, cluster, &id);
	if (!err)
		err = vmfs_txn_edit(t, &id, id.vol_off + shape->cluster_meta_off,
				    shape->cluster_meta_size, &page);
	if (err)
		return err;
	if (is_6(l))
		fill6(l, cluster, page);
	else
		fill5(l, cluster, page);
	return 0;
}

/* ---- VMFS-6: a cluster of large blocks ---- */

static uint32_t large_total_of(const struct longer *l, uint32_t cluster)
{
	return (uint32_t)min_u64(l->clusters - cluster * VMFS6_LFB_PER_CLUSTER,
				 VMFS6_LFB_PER_CLUSTER);
}

static int put_large_clusters(const struct longer *l)
{
	uint32_t first = (uint32_t)div_up(l->clusters_before, VMFS6_LFB_PER_CLUSTER);
	uint32_t end = (uint32_t)div_up(l->clusters, VMFS6_LFB_PER_CLUSTER);
	AUTO_FREE uint8_t *header = io_alloc(VMFS6_CLUSTER_HEADER_SIZE);
	int err = header ? 0 : -ENOMEM;

	for (uint32_t c = first; !err && c < end; c++) {
		const struct vmfs6_cluster_disk d =
			cluster_image_large(c, large_total_of(l, c));
		uint64_t off = vol_off_of(l, large_header_off(c));

		fill_header(l, off, VMFS_LOCK_LFB, &d, header);
		err = vmfs_gate_write(l->vol, off, header, VMFS6_CLUSTER_HEADER_SIZE, 0);
	}
	return err;
}

static int edit_last_large(struct vmfs_txn *t, const struct longer *l)
{
	uint32_t from = l->clusters_before % VMFS6_LFB_PER_CLUSTER;
	uint32_t cluster = l->clusters_before / VMFS6_LFB_PER_CLUSTER;
	struct vmfs_lock_id id;
	void *page;

	if (!is_6(l) || !from || l->clusters == l->clusters_before)
		return 0;
	int err = large_lock_id(l->vol, cluster, &id);
	if (!err)
		err = vmfs_txn_edit(t, &id, id.vol_off + VMFS6_PAGE, VMFS6_PAGE, &page);
	if (err)
		return err;
	struct vmfs6_cluster_disk *d = page;
	d->total = le16_of((uint16_t)large_total_of(l, cluster));
	for (uint32_t i = from; i < le16_get(d->total); i++)
		cluster_divide(d, i);
	cluster_stamp(d, &l->vol->member->hb.owner);
	return 0;
}

/* ---- .fbb.sf ---- */

static void set_count(struct vmfs_resource_geometry_disk *g, uint64_t count,
		      uint32_t groups)
{
	g->count_low = le32_of((uint32_t)count);
	g->count_high = le32_of((uint32_t)(count >> 32));
	g->group_count = le32_of(groups);
}

static int edit_header(struct vmfs_txn *t, const struct longer *l,
		       const struct vmfs_lock_id *id, uint64_t off, void **ret_header)
{
	return vmfs_txn_edit(t, id, resource(l)->block_vol_off[0] + off, VMFS_SECTOR_SIZE,
			     ret_header);
}

static int edit_headers(struct vmfs_txn *t, const struct longer *l,
			const struct vmfs_lock_id *id)
{
	void *header, *child;
	int err = edit_header(t, l, id, 0, &header);

	if (!err && is_6(l))
		err = edit_header(t, l, id, VMFS6_SFB_HEADER_OFF, &child);
	if (err)
		return err;
	set_count(header, is_6(l) ? l->clusters : l->count, l->groups);
	if (!is_6(l))
		return 0;
	struct vmfs6_resource_header_disk *small = child;
	set_count(&small->geometry, l->count,
		  (uint32_t)div_up(l->clusters,
				   le32_get(small->geometry.clusters_per_group)));
	small->converted = le32_of(le32_get(small->converted) +
				   (l->clusters - l->clusters_before));
	return 0;
}

static void set_addresses(const struct longer *l, void *entries, uint32_t first)
{
	for (uint32_t i = first; i < l->blocks; i++)
		shape_set_entry(l->vol->shape, entries, i,
				shape_block(l->vol->shape,
					    block_off(l, i) / l->vol->block_size));
}

/* More blocks than slots. */
static int edit_pointers(struct vmfs_txn *t, const struct longer *l,
			 const struct vmfs_lock_id *id, struct fd_body_disk *fdd)
{
	const struct vmfs_shape *shape = l->vol->shape;
	struct resource_wish wish = { RESOURCE_PB2, .owner = fbb.addr, .want = 1 };
	bool is_first = !resource_has_pointers(&fdd->meta);
	vmfs_addr pb = fd_slot(l->vol, fdd, 0);
	void *entries, *slots = shape_slots_edit(shape, fdd);
	uint32_t count;
	uint64_t off;
	int err = is_first ? resource_alloc(t, &wish, &pb, &count) : 0;

	if (!err)
		err = resource_addr_off(l->vol, pb, &off);
	if (!err)
		err = is_first ? vmfs_txn_create(t, id, off, shape->pb_size, &entries)
			       : vmfs_txn_edit(t, id, off, shape->pb_size, &entries);
	if (err)
		return err;
	set_addresses(l, entries, is_first ? 0 : l->blocks_before);
	if (!is_first)
		return 0;
	memset(slots, 0, (size_t)shape->fd_slots * shape_entry_size(shape));
	shape_set_entry(shape, slots, 0, pb);
	fdd->meta.zla = le32_of(VMFS_ZLA_PB2);
	if (is_6(l))
		fdd->meta.pb_count = le32_of(1);
	return 0;
}

static int longer_build(struct vmfs_txn *t, void *arg)
{
	const struct longer *l = arg;
	struct vmfs_lock_id id;
	struct fd_body_disk *fdd;
	int err = fd_lock_id(l->vol, &fbb, &id);

	if (!err)
		err = fd_edit(t, &fbb, &fdd);
	if (!err)
		err = edit_headers(t, l, &id);
	if (err)
		return err;
	fdd->meta.length = le64_of(l->length);
	fd_add_counts(fdd, l->blocks - l->blocks_before, 0);
	if (l->blocks > l->vol->shape->fd_slots)
		err = edit_pointers(t, l, &id, fdd);
	else
		set_addresses(l, shape_slots_edit(l->vol->shape, fdd), l->blocks_before);
	if (!err)
		err = edit_last_cluster(t, l);
	return err ? err : edit_last_large(t, l);
}

static int plan(struct vmfs_volume *vol, struct longer *ret)
{
	const struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	struct longer l = {
		.vol = vol,
		.count_before = res->count,
		.count = vol->lvm.size_bytes / vol->block_size,
		.clusters_before = res->cluster_count,
		.blocks_before = res->block_count,
	};

	l.clusters = (uint32_t)div_up(l.count, res->per_cluster);
	l.groups = (uint32_t)div_up(l.clusters, res->clusters_per_group);
	l.length = resource_blocks_length(vol, l.count);
	l.blocks = (uint32_t)max_u64(div_up(l.length, vol->block_size), l.blocks_before);
	*ret = l;
	if (l.blocks > res->block_room)
		return report_error(vol->reporter, -EFBIG,
				    "volume %s: cannot grow to %llu blocks: .fbb.sf "
				    "would need more than %u of its own",
				    vol->label, (unsigned long long)l.count,
				    res->block_room);
	return 0;
}

int grow_blocks(struct vmfs_volume *vol)
{
	struct longer l;
	int err = plan(vol, &l);

	if (err || l.count <= l.count_before)
		return err;
	if (l.blocks > l.blocks_before)
		err = vmfs_gate_zero(vol, block_off(&l, l.blocks_before),
				     (uint64_t)(l.blocks - l.blocks_before) *
					     vol->block_size);
	if (!err)
		err = put_clusters(&l);
	if (!err && is_6(&l))
		err = put_large_clusters(&l);
	if (!err)
		err = vmfs_gate_flush(vol);
	if (!err)
		err = vmfs_txn_run(vol, longer_build, &l, clock_now() + PATIENCE_NS,
				   NULL);
	if (!err)
		err = volume_refresh(vol);
	if (err < 0)
		return report_error(vol->reporter, err,
				    "volume %s: the new space cannot be used yet: %s",
				    vol->label, strerror(-err));
	return 0;
}
