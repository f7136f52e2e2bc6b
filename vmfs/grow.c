/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing a mounted volume.
 *
 * One at a time: whoever has the lock of .fbb.sf's FD. It guards the LVM headers of all
 * extents and how many blocks .fbb.sf counts.
 *
 *   PREPARE   old content of a new extent goes; PE entries; the headers of the extent
 *     |       that gains, and the descriptors of all later extents; its name.
 *     |       All of it is AHEAD of the first extent, and so is not seen (lvm.c).
 *     v
 *   COMMIT 1  the volume descriptor of the first extent, one sector: the logical volume
 *     |       is larger. Nobody counts its blocks yet.
 *     v
 *   CLUSTERS  cluster headers behind the last one that .fbb.sf counts, some in blocks at
 *     |       the very beginning of what is new; nobody looks at them.
 *     v
 *   COMMIT 2  one transaction: FD and header of .fbb.sf, and its last cluster, which may
 *             become longer. The blocks can be used.
 *
 * With a FLUSH between any two steps whose order matters. A crash before COMMIT 1 leaves
 * the old volume, and a device that belongs to nothing; one before COMMIT 2 a volume
 * whose last blocks are not used, and a further call begins there. Members look when they
 * meet something that they cannot know of (refresh.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmfs/fd.h"
#include "vmfs/gate.h"
#include "vmfs/lvmimage.h"
#include "vmfs/member.h"
#include "vmfs/refresh.h"
#include "vmfs/resource.h"
#include "vmfs/txn.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

#define PATIENCE_NS (30 * NS_PER_S)
#define VOLUME_PE_MAX (256u * 1024) /* 64 TiB */
#define EXTENT_PE_MAX (LVM_MAPS_MAX * LVM_PE_PER_MAP)
#define TAIL_SIZE 0x100000u /* zeroed at the end of a new extent, as mkfs does */

/* What becomes larger, and how large. */
struct growing {
	struct vmfs_volume *vol;
	struct bdev *bd; /* of the extent that gains */
	unsigned int extent;
	bool is_new;
	const char *name;
	uint32_t pes_before, pes; /* of that extent */
	uint64_t pes_of_all;
	uint32_t extent_count;
	struct vmfs_lvm_device_disk devd; /* of that extent, as they will be */
	struct vmfs_lvm_volume_disk vold;
};

static struct reporter *reporter_of(const struct growing *g)
{
	return g->vol->reporter;
}

/* ---- headers ---- */

static int put(struct growing *g, struct bdev *bd, uint64_t dev_off, void *buf,
	       uint64_t len)
{
	return vmfs_gate_rw_device(g->vol, bd, BDEV_WRITE, buf, len, dev_off);
}

static int put_pe_entries(struct growing *g)
{
	enum { PER_SECTOR = VMFS_SECTOR_SIZE / sizeof(struct vmfs_lvm_pe_disk) };
	uint64_t first = le64_get(g->vold.pe_first);
	int err = 0;

	for (uint32_t i = g->pes_before / PER_SECTOR * PER_SECTOR; !err && i < g->pes;
	     i += PER_SECTOR) {
		struct vmfs_lvm_pe_disk pes[PER_SECTOR] = { 0 };
		for (uint32_t k = 0; k < PER_SECTOR && i + k < g->pes; k++)
			pes[k] = lvm_image_pe(i + k, first);
		err = put(g, g->bd,
			  LVM_PE_MAP_OFF + i / LVM_PE_PER_MAP * LVM_PE_MAP_SIZE +
				  LVM_PE_BITMAP_SIZE +
				  i % LVM_PE_PER_MAP * sizeof(pes[0]),
			  pes, sizeof(pes));
	}
	return err;
}

static int put_pe_bitmaps(struct growing *g)
{
	int err = 0;

	for (uint32_t map = g->pes_before / LVM_PE_PER_MAP;
	     !err && map < div_up(g->pes, LVM_PE_PER_MAP); map++) {
		uint8_t bits[LVM_PE_BITMAP_SIZE] = { 0 };
		bitmap_set_range(
			bits, 0,
			min_u64(g->pes - map * LVM_PE_PER_MAP, LVM_PE_PER_MAP));
		err = put(g, g->bd, LVM_PE_MAP_OFF + map * LVM_PE_MAP_SIZE, bits,
			  sizeof(bits));
	}
	return err;
}

static int flush(struct growing *g, struct bdev *bd)
{
	return vmfs_gate_flush_device(g->vol, bd);
}

/* Of an extent that is there: its metadata first, so that no bit is set behind it. */
static int prepare_longer(struct growing *g)
{
	int err = put_pe_entries(g);
	if (!err)
		err = flush(g, g->bd);
	if (!err)
		err = put(g, g->bd, LVM_HEADER_OFF, &g->devd, sizeof(g->devd));
	if (!err)
		err = flush(g, g->bd);
	if (!err)
		err = put_pe_bitmaps(g);
	return err ? err : flush(g, g->bd);
}

static int zero(struct growing *g, uint64_t dev_off, uint64_t len)
{
	return vmfs_gate_rw_device(g->vol, g->bd, BDEV_ZERO, NULL, len, dev_off);
}

/* Of a new one: its metadata, with the magic, last. */
static int prepare_new(struct growing *g)
{
	uint64_t tail = round_down(g->bd->size, VMFS_SECTOR_SIZE) - TAIL_SIZE;
	int err = zero(g, 0, LVM_DATA_OFF);
	if (!err)
		err = zero(g, tail, TAIL_SIZE);
	if (!err)
		err = flush(g, g->bd);
	if (!err)
		err = put_pe_entries(g);
	if (!err)
		err = put_pe_bitmaps(g);
	if (!err)
		err = put(g, g->bd, LVM_VOLUME_OFF, &g->vold, sizeof(g->vold));
	if (!err)
		err = flush(g, g->bd);
	if (!err)
		err = put(g, g->bd, LVM_HEADER_OFF, &g->devd, sizeof(g->devd));
	return err ? err : flush(g, g->bd);
}

/* Its name on the first extent, and by what it is known again. */
static int put_name(struct growing *g)
{
	struct bdev *first = g->vol->lvm.extents[0].bd;
	uint64_t off = LVM_NAMES_OFF + g->extent * LVM_NAME_SIZE;
	uint64_t skip = off % VMFS_SECTOR_SIZE;
	uint8_t sector[VMFS_SECTOR_SIZE];
	char name[LVM_NAME_SIZE] = { 0 };
	int err = lvm_read_device(first, off - skip, sector, sizeof(sector));

	if (err)
		return err;
	if (g->name)
		(void)snprintf(name, LVM_NAME_UUID_AT, "%s", g->name);
	else
		lvm_image_name(name, g->bd);
	memcpy(name + LVM_NAME_UUID_AT, g->devd.device_uuid,
	       sizeof(g->devd.device_uuid));
	memcpy(sector + skip, name, sizeof(name));
	err = put(g, first, off - skip, sector, sizeof(sector));
	return err ? err : flush(g, first);
}

/* What the descriptor of an extent that is there says of the whole volume. */
static int put_volume(struct growing *g, unsigned int extent)
{
	struct lvm_extent *e = &g->vol->lvm.extents[extent];
	struct vmfs_lvm_volume_disk vold;
	int err = lvm_read_device(e->bd, LVM_VOLUME_OFF, &vold, sizeof(vold));

	if (err)
		return err;
	bool is_gaining = !g->is_new && extent == g->extent;
	lvm_image_volume_size(&vold, e->pe_first,
			      is_gaining ? g->pes : (uint32_t)e->pe_count, g->pes_of_all,
			      g->extent_count);
	vold.modified_us = le64_of(clock_wall_us());
	err = put(g, e->bd, LVM_VOLUME_OFF, &vold, sizeof(vold));
	return err ? err : flush(g, e->bd);
}

/* PREPARE and COMMIT 1. */
static int grow_lvm(struct growing *g)
{
	int err = g->is_new ? volume_join_extent(g->vol, g->bd) : 0;
	if (!err)
		err = g->is_new ? prepare_new(g) : prepare_longer(g);
	if (!err && g->is_new)
		err = put_name(g);
	for (unsigned int i = 1; !err && i < g->vol->lvm.extent_count; i++)
		err = put_volume(g, i);
	return err ? err : put_volume(g, 0);
}

/* ---- what there is to gain ---- */

/* Sizes, from those that the extent and the volume have; reported if there is a limit. */
static int plan_size(struct growing *g, uint64_t pe_first)
{
	const struct lvm *lvm = &g->vol->lvm;
	uint64_t size = round_down(g->bd->size, VMFS_SECTOR_SIZE);
	uint64_t pes = size < LVM_DATA_OFF ? 0 : (size - LVM_DATA_OFF) / LVM_PE_SIZE;

	if (g->is_new && !pes)
		return report_error(reporter_of(g), -ENOSPC,
				    "%s: %llu bytes are too small: at least %llu",
				    g->bd->name, (unsigned long long)g->bd->size,
				    LVM_DATA_OFF + LVM_PE_SIZE);
	if (pes > EXTENT_PE_MAX)
		return report_error(reporter_of(g), -EFBIG,
				    "%s: %llu bytes are too large: an extent holds at "
				    "most 16 TiB",
				    g->bd->name, (unsigned long long)g->bd->size);
	if (pe_first + pes > VOLUME_PE_MAX)
		return report_error(reporter_of(g), -EFBIG,
				    "%s: %llu bytes are too large: a volume holds at "
				    "most 64 TiB",
				    g->bd->name, (unsigned long long)g->bd->size);
	g->pes = (uint32_t)max_u64(pes, g->pes_before);
	g->pes_of_all = pe_first + g->pes;
	g->extent_count = lvm->extent_count + g->is_new;
	lvm_image_device_size(&g->devd, size, g->pes);
	lvm_image_volume_size(&g->vold, pe_first, g->pes, g->pes_of_all,
			      g->extent_count);
	g->devd.modified_time_us = g->vold.modified_us = le64_of(clock_wall_us());
	return 0;
}

/* The headers of extent i, to be changed. */
static int read_headers(struct growing *g, unsigned int i)
{
	struct bdev *bd = g->vol->lvm.extents[i].bd;
	int err = lvm_read_device(bd, LVM_HEADER_OFF, &g->devd, sizeof(g->devd));
	if (!err)
		err = lvm_read_device(bd, LVM_VOLUME_OFF, &g->vold, sizeof(g->vold));
	if (err)
		return report_error(reporter_of(g), err,
				    "%s: cannot read the LVM header", bd->name);
	return 0;
}

static int plan_longer(struct growing *g)
{
	const struct lvm *lvm = &g->vol->lvm;
	const struct lvm_extent *last = &lvm->extents[lvm->extent_count - 1];
	int err = read_headers(g, lvm->extent_count - 1);

	g->extent = lvm->extent_count - 1;
	g->bd = last->bd;
	g->pes_before = (uint32_t)last->pe_count;
	if (!err)
		err = bdev_rescan(g->bd);
	return err ? err : plan_size(g, last->pe_first);
}

/* Does the device hold an extent? One that was only to become ours is none. */
static int check_unused(struct growing *g)
{
	const struct lvm *lvm = &g->vol->lvm;
	struct vmfs_lvm_device_disk devd;
	struct vmfs_lvm_volume_disk vold;
	struct verify why;
	int err = lvm_read_device(g->bd, LVM_HEADER_OFF, &devd, sizeof(devd));

	if (!err)
		err = lvm_read_device(g->bd,
				      le32_get(devd.major) == LVM6_MAJOR
					      ? LVM6_VOLUME_OFF
					      : LVM_VOLUME_OFF,
				      &vold, sizeof(vold));
	if (err)
		return report_error(reporter_of(g), err, "%s: cannot be read: %s",
				    g->bd->name, strerror(-err));
	if (le32_get(devd.magic) != LVM_MAGIC || verify_lvm_volume(&vold, &devd, &why))
		return 0;
	if (memcmp(vold.uuid, lvm->uuid.b, sizeof(vold.uuid)) != 0)
		return report_error(reporter_of(g), -EBUSY,
				    "%s: is an extent of another volume, %.35s (wipefs "
				    "-a makes it forget)",
				    g->bd->name, (const char *)vold.name);
	for (unsigned int i = 0; i < lvm->extent_count; i++)
		if (!memcmp(lvm->extents[i].device_uuid.b, devd.device_uuid, 16))
			return report_error(reporter_of(g), -EBUSY,
					    "%s: is an extent of this volume already",
					    g->bd->name);
	return 0;
}

static int plan_new(struct growing *g)
{
	const struct lvm *lvm = &g->vol->lvm;
	struct uuid uuid = uuid_new();

	if (lvm->extent_count == LVM_EXTENTS_MAX)
		return report_error(reporter_of(g), -EFBIG,
				    "volume %s: has %u extents, no more are possible",
				    g->vol->label, LVM_EXTENTS_MAX);
	if (g->bd->block_size != VMFS_SECTOR_SIZE || g->bd->is_read_only)
		return report_error(reporter_of(g), -EINVAL,
				    "%s: must be writable, in sectors of 512 bytes",
				    g->bd->name);
	int err = g->bd->size < LVM_DATA_OFF ? 0 : check_unused(g);
	if (!err)
		err = read_headers(g, 0);
	if (err)
		return err;
	g->extent = lvm->extent_count;
	lvm_image_identity(&g->devd.identity, &g->bd->identity);
	memcpy(g->devd.device_uuid, uuid.b, sizeof(g->devd.device_uuid));
	g->devd.init_time_us = le64_of(clock_wall_us());
	return plan_size(g, lvm->size_bytes / LVM_PE_SIZE);
}

/* ---- blocks: CLUSTERS and COMMIT 2 ---- */

/* .fbb.sf as it will be. */
struct longer {
	struct vmfs_volume *vol;
	uint64_t count_before, count; /* of blocks of the volume */
	uint32_t clusters_before, clusters, groups;
	uint64_t length;
	uint32_t blocks_before, blocks; /* of .fbb.sf itself */
};

static uint64_t block_off(const struct longer *l, uint32_t block)
{
	const struct vmfs_resource *res = &l->vol->resources[RESOURCE_FBB];

	if (block < l->blocks_before)
		return res->block_vol_off[block];
	return (l->count_before + block - l->blocks_before) * l->vol->block_size;
}

/* Vol offset of a cluster's header; headers never cross a block. */
static uint64_t header_off(const struct longer *l, uint32_t cluster)
{
	const struct vmfs_resource *res = &l->vol->resources[RESOURCE_FBB];
	uint64_t off = VMFS_RESOURCE_GROUP_OFF +
		       (uint64_t)(cluster / res->clusters_per_group) * res->group_size +
		       (uint64_t)(cluster % res->clusters_per_group) * res->header_size;

	return block_off(l, (uint32_t)(off / l->vol->block_size)) +
	       off % l->vol->block_size;
}

/* Marks what is new of a cluster as free, but for the new blocks of .fbb.sf. */
static void fill_cluster(const struct longer *l, uint32_t cluster,
			 struct vmfs_cluster_disk *clusterd)
{
	uint32_t per_cluster = l->vol->resources[RESOURCE_FBB].per_cluster;
	uint64_t first = (uint64_t)cluster * per_cluster;
	uint64_t total = min_u64(l->count - first, per_cluster);
	uint64_t free_from = l->count_before + (l->blocks - l->blocks_before);
	uint64_t from = max_u64(free_from, first) - first;

	if (from < total)
		bitmap_set_range(clusterd->bitmap, from, total - from);
	clusterd->number = le32_of(cluster);
	clusterd->total = le32_of((uint32_t)total);
	clusterd->free = le32_of((uint32_t)bitmap_count(clusterd->bitmap, total));
}

static int put_cluster(const struct longer *l, uint32_t cluster)
{
	uint64_t vol_off = header_off(l, cluster);
	struct {
		struct vmfs_lock_disk lock;
		struct vmfs_cluster_disk meta;
	} header = { .lock = { .type = le32_of(VMFS_LOCK_FBB),
			       .addr = le64_of(vol_off),
			       .token = le64_of(1) } };

	fill_cluster(l, cluster, &header.meta);
	return vmfs_gate_write(l->vol, vol_off, &header, sizeof(header), 0);
}

static int longer_build(struct vmfs_txn *t, void *arg)
{
	const struct longer *l = arg;
	const struct vmfs_resource *res = &l->vol->resources[RESOURCE_FBB];
	const struct fd_ref ref = { .addr = addr_of(ADDR_FD, 0, VMFS_FD_FBB) };
	struct vmfs_lock_id id;
	struct fd_body_disk *fdd;
	void *header, *last;
	int err = fd_lock_id(l->vol, &ref, &id);

	if (!err)
		err = fd_edit(t, &ref, &fdd);
	if (!err)
		err = vmfs_txn_edit(t, &id, res->block_vol_off[0], VMFS_SECTOR_SIZE,
				    &header);
	if (err)
		return err;
	struct vmfs_resource_header_disk *headerd = header;
	headerd->geometry.count_low = le32_of((uint32_t)l->count);
	headerd->geometry.group_count = le32_of(l->groups);
	fdd->meta.length = le64_of(l->length);
	fd_add_counts(fdd, l->blocks - l->blocks_before, 0);
	for (uint32_t i = l->blocks_before; i < l->blocks; i++)
		fdd->u.slots[i] = le32_of((uint32_t)addr_fb(
			(uint32_t)(block_off(l, i) / l->vol->block_size), 0).raw);
	if (l->count_before % res->per_cluster == 0)
		return 0;
	uint32_t cluster = l->clusters_before - 1;
	err = resource_lock_id(l->vol, RESOURCE_FBB, cluster, &id);
	if (!err)
		err = vmfs_txn_edit(t, &id, id.vol_off + VMFS_SECTOR_SIZE,
				    sizeof(struct vmfs_cluster_disk), &last);
	if (!err)
		fill_cluster(l, cluster, last);
	return err;
}

static int plan_blocks(struct vmfs_volume *vol, struct longer *ret)
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
	l.length = VMFS_RESOURCE_GROUP_OFF + (uint64_t)l.groups * res->group_size;
	l.blocks = (uint32_t)max_u64(div_up(l.length, vol->block_size), l.blocks_before);
	*ret = l;
	if (l.blocks > vol->shape->fd_slots)
		return report_error(vol->reporter, -EFBIG,
				    "volume %s: cannot grow to %llu blocks: .fbb.sf "
				    "would need more than %u of its own",
				    vol->label, (unsigned long long)l.count,
				    vol->shape->fd_slots);
	return 0;
}

static int grow_blocks(struct vmfs_volume *vol)
{
	struct longer l;
	int err = plan_blocks(vol, &l);

	if (err || l.count <= l.count_before)
		return err;
	if (l.blocks > l.blocks_before)
		err = vmfs_gate_zero(vol, block_off(&l, l.blocks_before),
				     (uint64_t)(l.blocks - l.blocks_before) *
					     vol->block_size);
	for (uint32_t i = l.clusters_before; !err && i < l.clusters; i++)
		err = put_cluster(&l, i);
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

/* ---- the whole ---- */

/* The device of the extent that was just added, for lvm_refresh. */
static int give_extent(void *arg, unsigned int extent, const char *name,
		       struct bdev **ret_bd)
{
	const struct growing *g = arg;

	(void)name;
	if (!g->is_new || extent != g->extent)
		return -ENODEV;
	*ret_bd = g->bd;
	return 0;
}

static int grow_locked(struct vmfs_volume *vol, struct growing *g)
{
	const struct lvm_opener opener = { .open = give_extent, .arg = g };
	int err = volume_refresh(vol);

	if (err >= 0 && vol->lvm.size_bytes != vol->lvm.whole_bytes)
		err = report_error(reporter_of(g), -ENODEV,
				   "volume %s: not all of its extents are attached here",
				   vol->label);
	if (err >= 0)
		err = g->is_new ? plan_new(g) : plan_longer(g);
	if (err < 0)
		return err;
	bool is_finishing = vol->resources[RESOURCE_FBB].count <
			    vol->lvm.size_bytes / vol->block_size;
	if (g->pes == g->pes_before && !is_finishing)
		return report_error(reporter_of(g), -ENOSPC,
				    "%s: no room for another PE: its %llu bytes hold %u",
				    g->bd->name, (unsigned long long)g->bd->size,
				    g->pes);
	if (g->pes > g->pes_before)
		err = grow_lvm(g);
	if (err < 0)
		return report_error(reporter_of(g), err, "%s: cannot be added: %s",
				    g->bd->name, strerror(-err));
	sleeplock_acquire(&vol->txn_lock);
	err = lvm_refresh(&vol->lvm, &opener);
	vol->resources[RESOURCE_FBB].reach = vol->lvm.size_bytes / vol->block_size;
	sleeplock_release(&vol->txn_lock);
	return err < 0 ? err : grow_blocks(vol);
}

static int check_growable(struct vmfs_volume *vol)
{
	if (vol->is_read_only || !vol->member)
		return report_error(vol->reporter, -EROFS, "volume %s: is read-only",
				    vol->label);
	if (vol->shape->version != 5 || vol->lvm.major != 5 ||
	    vol->lvm.extents[vol->lvm.extent_count - 1].region_count > 1)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "volume %s: only VMFS-5 on extents of up to 16 TiB "
				    "can grow",
				    vol->label);
	return 0;
}

int vmfs_volume_grow(struct vmfs_volume *vol, struct bdev *extent, const char *name,
		     uint64_t *ret_added)
{
	const struct fd_ref ref = { .addr = addr_of(ADDR_FD, 0, VMFS_FD_FBB) };
	AUTO_FREE struct growing *g = calloc(1, sizeof(*g));
	struct vmfs_holder holder;
	struct vmfs_lock_id id;
	int err = g ? check_growable(vol) : -ENOMEM;

	if (!err)
		err = fd_lock_id(vol, &ref, &id);
	if (err)
		return err;
	err = vmfs_lock_acquire(vol, &id, LOCK_EXCLUSIVE, clock_now() + PATIENCE_NS,
				&holder);
	if (err)
		return report_error(vol->reporter, err,
				    "volume %s: cannot grow now: another host is at it",
				    vol->label);
	uint64_t before = vol->resources[RESOURCE_FBB].count;
	*g = (struct growing){
		.vol = vol, .bd = extent, .is_new = extent != NULL, .name = name
	};
	err = grow_locked(vol, g);
	*ret_added = (vol->resources[RESOURCE_FBB].count - before) * vol->block_size;
	int release_err = vmfs_lock_release(vol, &id);
	return err ? err : release_err;
}
