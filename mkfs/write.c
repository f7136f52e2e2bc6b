/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a fresh volume (FORMAT.md 14).
 *
 * Order, and why a crash between any two steps is harmless:
 *   1. The start of each device up to the first FB that holds metadata is zeroed, and its
 *      end: every old signature that a reader looks for (LVM header, FS descriptor,
 *      heartbeats, partition tables, other filesystems). Flush. From here on the devices
 *      hold nothing.
 *   2. All other metadata blocks are zeroed, then their non-zero sectors are written:
 *      heartbeats, resource files, FDs, directories. Flush. Without LVM header and FS
 *      descriptor this is still nothing.
 *   3. FS descriptor, PE map, device names, volume descriptor. Flush.
 *   4. The device metadata with the LVM magic, one sector of each extent: first those of
 *      the later extents, which are nothing alone. Flush. Then that of the first extent.
 *      Flush. Now, at once, it is a volume.
 *
 * Zeros go through bdev_zero (which need not move data), the rest through a small writer
 * that joins neighbouring pieces into large writes.
 */
#include "mkfs/write.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "mkfs/writer.h"
#include "vmfs/addr.h"
#include "vmfs/lvmimage.h"

#define TAIL_SIZE 0x100000u  /* zeroed at the end of the device: backup tables, RAID */
#define LOCKS_PER_MOUNT 512u /* first lock mtime of a fresh volume */

/* ---- for both versions ---- */

void mkfs_put(struct mkfs *m, uint64_t vol_off, const void *data, uint64_t len)
{
	uint64_t dev_off;
	uint32_t extent = mkfs_extent_of(m->layout, vol_off, &dev_off);

	joiner_add(&m->out, m->devices[extent], dev_off, data, len);
}

struct vmfs_lock_disk mkfs_lock_make(struct mkfs *m, uint32_t type, uint64_t vol_off)
{
	return (struct vmfs_lock_disk){
		.type = le32_of(type),
		.addr = le64_of(vol_off),
		.token = le64_of(1),
		.mtime = le64_of(m->mtime++),
	};
}

struct mkfs_system_fd mkfs_system_fd(uint32_t fd)
{
	switch (fd) {
	case VMFS_FD_ROOT:
		return (struct mkfs_system_fd){ VMFS_TYPE_DIRECTORY, 01755, 3 };
	case VMFS_FD_SDD:
		return (struct mkfs_system_fd){ VMFS_TYPE_SYSTEM, 040700, 2 };
	default:
		return (struct mkfs_system_fd){ VMFS_TYPE_SYSTEM, 0400, 1 };
	}
}

struct vmfs_resource_geometry_disk mkfs_geometry_make(const struct mkfs_resource *res)
{
	return (struct vmfs_resource_geometry_disk){
		.per_cluster = le32_of(res->per_cluster),
		.clusters_per_group = le32_of(res->clusters_per_group),
		.group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
		.resource_size = le32_of(res->resource_size),
		.group_size = le32_of(res->group_size),
		.count_low = le32_of(res->count),
		.group_count = le32_of(res->group_count),
	};
}

struct vmfs_fd_meta_disk mkfs_fd_meta_make(struct mkfs *m, uint32_t fd)
{
	const struct mkfs_file *file = &m->layout->files[fd];
	struct mkfs_system_fd what = mkfs_system_fd(fd);
	vmfs_addr addr = addr_of(ADDR_FD, 0, fd);
	le32 now = le32_of(m->options->created_s);

	return (struct vmfs_fd_meta_disk){
		.addr = le32_of(addr.raw),
		.generation = le32_of(1),
		.links = le32_of(what.links),
		.type = le32_of(what.type),
		.length = le64_of(file->length_bytes),
		.block_size = le64_of(MKFS_BLOCK_SIZE),
		.block_count = le64_of(file->block_count),
		.mtime_s = now,
		.ctime_s = now,
		.atime_s = now,
		.mode = le32_of(what.mode),
		.zla = le32_of(VMFS_ZLA_FB),
		.new_low = le32_of(file->block_count),
		.affinity = le32_of(addr.raw),
		.tbz_shift = le32_of(MKFS_BLOCK_SHIFT),
		.block_shift = MKFS_BLOCK_SHIFT,
	};
}

struct vmfs_descriptor_disk mkfs_descriptor_make(struct mkfs *m)
{
	const struct mkfs_options *o = m->options;
	const struct mkfs_resource *fdc = &m->layout->resources[MKFS_FDC];
	struct vmfs_descriptor_disk d = {
		.magic = le32_of(VMFS_MAGIC),
		.config = le32_of(VMFS_CONFIG_PUBLIC | VMFS_CONFIG_DENSE_SBC),
		.disk_block_size = le32_of(VMFS_SECTOR_SIZE),
		.block_size = le64_of(MKFS_BLOCK_SIZE),
		.created_s = le32_of(o->created_s),
		.snapshot_id = le32_of(1),
		.lv_snapshot_id = le32_of(1),
		.fdc_group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
		.fdc_clusters_per_group = le32_of(fdc->clusters_per_group),
		.pb2_fd_off = le64_of(mkfs_fd_vol_off(m->layout, VMFS_FD_PB2)),
		.pb2_fd_addr = le32_of(addr_of(ADDR_FD, 0, VMFS_FD_PB2).raw),
		.global_generation = le64_of(1),
		.sdd_fd_off = le64_of(mkfs_fd_vol_off(m->layout, VMFS_FD_SDD)),
		.sdd_fd_addr = le32_of(addr_of(ADDR_FD, 0, VMFS_FD_SDD).raw),
	};

	memcpy(d.uuid, o->fs_uuid.b, sizeof(d.uuid));
	memcpy(d.lv_uuid, o->lv_uuid.b, sizeof(d.lv_uuid));
	memcpy(d.formatter, o->formatter.b, sizeof(d.formatter));
	memcpy(d.label, o->label, sizeof(d.label));
	return d;
}

/* ---- steps 1 and 2: zeros ---- */

static int flush_all(struct mkfs *m)
{
	int err = joiner_end(&m->out);

	for (uint32_t i = 0; !err && i < m->layout->extent_count; i++)
		err = bdev_flush(m->devices[i]);
	return err;
}

/* On as many extents as it takes. */
static int zero_blocks(struct mkfs *m, uint32_t first, uint32_t count)
{
	uint64_t at = (uint64_t)first * MKFS_BLOCK_SIZE;
	uint64_t end = at + (uint64_t)count * MKFS_BLOCK_SIZE;
	int err = 0;

	while (!err && at < end) {
		uint64_t dev_off;
		uint32_t i = mkfs_extent_of(m->layout, at, &dev_off);
		uint64_t run = min_u64(m->layout->extents[i].pe_count * LVM_PE_SIZE -
					       (dev_off - LVM_DATA_OFF),
				       end - at);

		err = bdev_zero(m->devices[i], run, dev_off);
		at += run;
	}
	return err;
}

static uint32_t vh_blocks(const struct mkfs_layout *l)
{
	return l->files[VMFS_FD_VH].block_count;
}

static int destroy_old(struct mkfs *m)
{
	uint64_t head =
		LVM_DATA_OFF + (uint64_t)vh_blocks(m->layout) * MKFS_BLOCK_SIZE;
	int err = 0;

	for (uint32_t i = 0; !err && i < m->layout->extent_count; i++) {
		uint64_t size = m->layout->extents[i].device_size;
		uint64_t tail_off = round_down(size - TAIL_SIZE, VMFS_SECTOR_SIZE);

		err = bdev_zero(m->devices[i], head, 0);
		if (!err)
			err = bdev_zero(m->devices[i], size - tail_off, tail_off);
	}
	return err ? err : flush_all(m);
}

/*
 * On VMFS-6 not the sub-blocks, a whole GiB of them: their cluster headers are all
 * written, and a sub-block is written before anything points to it.
 */
static int zero_metadata(struct mkfs *m)
{
	const struct mkfs_layout *l = m->layout;
	const struct mkfs_file *sbc = &l->files[VMFS_FD_SBC];
	uint32_t first = vh_blocks(l);

	if (l->version == 5)
		return zero_blocks(m, first, l->used_blocks - first);
	int err = zero_blocks(m, first, sbc->first_block + 1 - first);
	uint32_t behind = sbc->first_block + sbc->block_count;
	return err ? err : zero_blocks(m, behind, l->used_blocks - behind);
}

/* ---- the order ---- */

static int put_lvm(struct mkfs *m)
{
	for (uint32_t i = 0; i < m->layout->extent_count; i++)
		mkfs_put_lvm_volume(m, i);
	int err = flush_all(m);
	for (uint32_t i = 1; !err && i < m->layout->extent_count; i++)
		mkfs_put_lvm_device(m, i);
	if (!err && m->layout->extent_count > 1)
		err = flush_all(m);
	if (err)
		return err;
	mkfs_put_lvm_device(m, 0);
	return flush_all(m);
}

int mkfs_write_devices(struct bdev *const *devices, const struct mkfs_layout *layout,
		       const struct mkfs_options *options, struct reporter *r)
{
	struct mkfs m = {
		.devices = devices,
		.layout = layout,
		.options = options,
		.mtime = options->first_mtime,
	};
	bool is_6 = layout->version == 6;

	assert(layout->extent_count == 1 || options->later);
	if (joiner_init(&m.out))
		return report_error(r, -ENOMEM, "%s: no memory", devices[0]->name);
	int err = destroy_old(&m);
	if (!err)
		err = zero_metadata(&m);
	if (!err) {
		(is_6 ? mkfs_put_volume6 : mkfs_put_volume5)(&m);
		err = flush_all(&m);
	}
	if (!err) {
		(is_6 ? mkfs_put_descriptor6 : mkfs_put_descriptor5)(&m);
		err = put_lvm(&m);
	}
	joiner_done(&m.out);
	if (err)
		return report_error(r, err, "%s: cannot write the volume: %s",
				    devices[0]->name, strerror(-err));
	return 0;
}

int mkfs_write(struct bdev *bd, const struct mkfs_layout *layout,
	       const struct mkfs_options *options, struct reporter *r)
{
	return mkfs_write_devices(&bd, layout, options, r);
}

/* ---- options ---- */

void mkfs_part_init(struct mkfs_part *part, const struct bdev *bd)
{
	*part = (struct mkfs_part){ .identity = bd->identity, .uuid = uuid_new() };
	lvm_image_name(part->name, bd);
}

void mkfs_options_init(struct mkfs_options *options, const struct bdev *bd)
{
	uint64_t now_us = clock_wall_us();
	*options = (struct mkfs_options){
		.lv_uuid = uuid_new(),
		.fs_uuid = uuid_new(),
		.formatter = uuid_new(),
		.device_created_us = now_us,
		.device_modified_us = now_us,
		.volume_created_us = now_us,
		.volume_modified_us = now_us,
		.created_s = (uint32_t)(now_us / 1000000),
		.first_mtime = LOCKS_PER_MOUNT,
	};
	mkfs_part_init(&options->first, bd);
}
