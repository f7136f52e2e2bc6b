/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a fresh volume (FORMAT.md 14).
 *
 * Order, and why a crash between any two steps is harmless:
 *   1. The start of the device up to the first FB that holds metadata is zeroed, and its
 *      end: every old signature that a reader looks for (LVM header, FS descriptor,
 *      heartbeats, partition tables, other filesystems). Flush. From here on the device
 *      holds nothing.
 *   2. All other metadata blocks are zeroed, then their non-zero sectors are written:
 *      heartbeats, resource files, FDs, directories. Flush. Without LVM header and FS
 *      descriptor this is still nothing.
 *   3. FS descriptor, PE map, device names, volume descriptor. Flush.
 *   4. The device metadata with the LVM magic, one sector. Flush. Now, at once, it is a
 *      volume.
 *
 * Zeros go through bdev_zero (which need not move data), the rest through a small writer
 * that joins neighbouring pieces into large writes.
 */
#include "mkfs/write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/env.h"
#include "vmfs/addr.h"

#define WRITE_SIZE 0x400000u /* of one large write */
#define TAIL_SIZE 0x100000u  /* zeroed at the end of the device: backup tables, RAID */
#define LOCKS_PER_MOUNT 512u /* first lock mtime of a fresh volume */
#define MODEL_PART 6u	     /* characters of the model that end a disk's id */

/* Joins pieces that follow one another on the device into one write. */
struct joiner {
	struct bdev *bd;
	uint8_t *buf;
	uint64_t off; /* dev offset of buf[0] */
	uint64_t len;
	int error; /* sticky: checked at the end */
};

struct mkfs {
	struct bdev *bd;
	const struct mkfs_layout *layout;
	const struct mkfs_options *options;
	struct joiner out;
	uint64_t mtime; /* of the next lock written */
};

static void joiner_flush(struct joiner *j)
{
	if (!j->error && j->len)
		j->error = bdev_write(j->bd, j->buf, j->len, j->off);
	j->len = 0;
}

/* len bytes (whole sectors, at most WRITE_SIZE) at dev_off, not yet on the device. */
static void joiner_add(struct joiner *j, uint64_t dev_off, const void *data, uint64_t len)
{
	if (j->len && (dev_off != j->off + j->len || j->len + len > WRITE_SIZE))
		joiner_flush(j);
	if (!j->len)
		j->off = dev_off;
	memcpy(j->buf + j->len, data, len);
	j->len += len;
}

static uint64_t dev_off(uint64_t vol_off)
{
	return LVM_DATA_OFF + vol_off;
}

static void put(struct mkfs *m, uint64_t vol_off, const void *data, uint64_t len)
{
	joiner_add(&m->out, dev_off(vol_off), data, len);
}

static int flush_all(struct mkfs *m)
{
	joiner_flush(&m->out);
	return m->out.error ? m->out.error : bdev_flush(m->bd);
}

/* ---- steps 1 and 2: zeros ---- */

static int zero_blocks(struct mkfs *m, uint32_t first, uint32_t count)
{
	return bdev_zero(m->bd, (uint64_t)count * MKFS_BLOCK_SIZE,
			 dev_off((uint64_t)first * MKFS_BLOCK_SIZE));
}

static int destroy_old(struct mkfs *m)
{
	uint64_t head = LVM_DATA_OFF + VMFS_FDC_OFF;
	uint64_t tail_off =
		round_down(m->layout->device_size - TAIL_SIZE, VMFS_SECTOR_SIZE);
	int err = bdev_zero(m->bd, head, 0);
	if (!err)
		err = bdev_zero(m->bd, m->layout->device_size - tail_off, tail_off);
	return err ? err : bdev_flush(m->bd);
}

static int zero_metadata(struct mkfs *m)
{
	uint32_t first = VMFS_FDC_OFF / MKFS_BLOCK_SIZE;
	return zero_blocks(m, first, m->layout->used_blocks - first);
}

/* ---- step 2: the volume ---- */

static void put_heartbeats(struct mkfs *m)
{
	for (uint64_t k = 0; k < VMFS_HEARTBEATS_COUNT; k++) {
		uint64_t off = VMFS_HEARTBEATS_OFF + k * VMFS_SECTOR_SIZE;
		struct vmfs_heartbeat_disk hbd = {
			.state = le32_of(HEARTBEAT_FREE),
			.addr = le64_of(off),
		};
		put(m, off, &hbd, sizeof(hbd));
	}
}

static struct vmfs_lock_disk lock_make(struct mkfs *m, uint32_t type, uint64_t vol_off)
{
	return (struct vmfs_lock_disk){
		.type = le32_of(type),
		.addr = le64_of(vol_off),
		.token = le64_of(1),
		.mtime = le64_of(m->mtime++),
	};
}

static void put_cluster(struct mkfs *m, const struct mkfs_resource *res, uint32_t cluster)
{
	struct {
		struct vmfs_lock_disk lock;
		struct vmfs_cluster_disk meta;
	} header = { 0 };
	const struct mkfs_file *file = &m->layout->files[res->fd];
	uint64_t vol_off = mkfs_file_vol_off(file, mkfs_cluster_off(res, cluster));
	uint32_t total = mkfs_cluster_total(res, cluster);
	uint32_t used = mkfs_cluster_used(m->layout, res, cluster);

	header.lock = lock_make(m, res->lock_type, vol_off);
	header.meta.number = le32_of(cluster);
	header.meta.total = le32_of(total);
	header.meta.free = le32_of(total - used);
	header.meta.hint = le32_of(used < total ? used : 0);
	bitmap_set_range(header.meta.bitmap, used, total - used);
	put(m, vol_off, &header, sizeof(header));
}

static void put_resource_file(struct mkfs *m, const struct mkfs_resource *res)
{
	struct vmfs_resource_header_disk header = {
		.per_cluster = le32_of(res->per_cluster),
		.clusters_per_group = le32_of(MKFS_CLUSTERS_PER_GROUP),
		.group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
		.resource_size = le32_of(res->resource_size),
		.group_size = le32_of(res->group_size),
		.count_low = le32_of(res->count),
		.group_count = le32_of(res->group_count),
	};
	put(m, mkfs_file_vol_off(&m->layout->files[res->fd], 0), &header, sizeof(header));
	for (uint32_t c = 0; c < res->cluster_count; c++)
		put_cluster(m, res, c);
}

struct system_fd {
	uint32_t type, mode, links;
};

static struct system_fd system_fd(enum vmfs_system_fd fd)
{
	switch (fd) {
	case VMFS_FD_ROOT:
		return (struct system_fd){ VMFS_TYPE_DIRECTORY, 01755, 3 };
	case VMFS_FD_SDD:
		return (struct system_fd){ VMFS_TYPE_SYSTEM, 040700, 2 };
	default:
		return (struct system_fd){ VMFS_TYPE_SYSTEM, 0400, 1 };
	}
}

/* FORMAT.md 8.5. */
static void put_fd(struct mkfs *m, enum vmfs_system_fd fd)
{
	const struct mkfs_file *file = &m->layout->files[fd];
	struct system_fd what = system_fd(fd);
	uint64_t vol_off = mkfs_fd_vol_off(m->layout, fd);
	vmfs_addr addr = addr_of(ADDR_FD, 0, fd);
	le32 now = le32_of(m->options->created_s);
	struct vmfs_fd_disk fdd = { .lock = lock_make(m, VMFS_LOCK_FD, vol_off) };

	fdd.meta = (struct vmfs_fd_meta_disk){
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
	for (uint32_t b = 0; b < file->block_count; b++) {
		uint64_t off = mkfs_file_vol_off(file, (uint64_t)b * MKFS_BLOCK_SIZE);
		fdd.u.slots[b] =
			le32_of(addr_fb((uint32_t)(off / MKFS_BLOCK_SIZE), 0).raw);
	}
	put(m, vol_off, &fdd, sizeof(fdd));
}

static struct vmfs_dirent_disk dirent(uint32_t type, enum vmfs_system_fd fd,
				      const char *name)
{
	struct vmfs_dirent_disk d = {
		.type = le32_of(type),
		.addr = le32_of(addr_of(ADDR_FD, 0, fd).raw),
		.generation = le32_of(1),
	};
	memcpy(d.name, name, strlen(name));
	return d;
}

/* FORMAT.md 13: the root in the order of creation. */
static void put_directories(struct mkfs *m)
{
	static const struct {
		enum vmfs_system_fd fd;
		const char *name;
	} files[] = {
		{ VMFS_FD_FBB, ".fbb.sf" }, { VMFS_FD_FDC, ".fdc.sf" },
		{ VMFS_FD_PBC, ".pbc.sf" }, { VMFS_FD_SBC, ".sbc.sf" },
		{ VMFS_FD_VH, ".vh.sf" },   { VMFS_FD_PB2, ".pb2.sf" },
		{ VMFS_FD_SDD, ".sdd.sf" },
	};
	union {
		struct vmfs_dirent_disk entries[2 + ARRAY_SIZE(files)];
		uint8_t sectors[3 * VMFS_SECTOR_SIZE];
	} root = { 0 }, sdd = { 0 };
	const struct mkfs_file *f = m->layout->files;

	root.entries[0] = dirent(VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT, ".");
	root.entries[1] = dirent(VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT, "..");
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++)
		root.entries[2 + i] =
			dirent(VMFS_TYPE_SYSTEM, files[i].fd, files[i].name);
	put(m, mkfs_file_vol_off(&f[VMFS_FD_ROOT], 0), root.sectors,
	    sizeof(root.sectors));

	sdd.entries[0] = dirent(VMFS_TYPE_SYSTEM, VMFS_FD_SDD, ".");
	sdd.entries[1] = dirent(VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT, "..");
	put(m, mkfs_file_vol_off(&f[VMFS_FD_SDD], 0), sdd.sectors, VMFS_SECTOR_SIZE);
}

/* The order is that of the lock mtimes of a fresh volume: FORMAT.md 7. */
static void put_volume(struct mkfs *m)
{
	const struct mkfs_resource *res = m->layout->resources;
	m->mtime = m->options->first_mtime;
	put_heartbeats(m);
	put_fd(m, VMFS_FD_ROOT);
	for (unsigned int i = 0; i < MKFS_PB2; i++) {
		put_fd(m, res[i].fd);
		put_resource_file(m, &res[i]);
	}
	put_fd(m, VMFS_FD_VH);
	put_fd(m, VMFS_FD_PB2);
	put_resource_file(m, &res[MKFS_PB2]);
	put_fd(m, VMFS_FD_SDD);
	put_directories(m);
}

/* ---- steps 3 and 4: what makes it a volume ---- */

/* FORMAT.md 5. */
static void put_descriptor(struct mkfs *m)
{
	const struct mkfs_options *o = m->options;
	struct vmfs_descriptor_disk d = {
		.magic = le32_of(VMFS_MAGIC),
		.major = le32_of(VMFS_MAJOR_5),
		.minor = VMFS_MINOR_5,
		.config = le32_of(VMFS_CONFIG_PUBLIC | VMFS_CONFIG_DENSE_SBC),
		.disk_block_size = le32_of(VMFS_SECTOR_SIZE),
		.block_size = le64_of(MKFS_BLOCK_SIZE),
		.created_s = le32_of(o->created_s),
		.snapshot_id = le32_of(1),
		.lv_snapshot_id = le32_of(1),
		.fdc_group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
		.fdc_clusters_per_group = le32_of(MKFS_CLUSTERS_PER_GROUP),
		.sub_block_size = le32_of(MKFS_SUB_BLOCK_SIZE),
		.max_journal_slots = le32_of(8),
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
	put(m, VMFS_DESCRIPTOR_OFF, &d, sizeof(d));
}

/* FORMAT.md 3.5: PE bitmaps and tables, four entries to a sector. */
static void put_pe_maps(struct mkfs *m)
{
	enum { PER_SECTOR = VMFS_SECTOR_SIZE / sizeof(struct vmfs_lvm_pe_disk) };
	for (uint32_t map = 0; map < m->layout->pe_map_count; map++) {
		uint64_t off = LVM_PE_MAP_OFF + map * LVM_PE_MAP_SIZE;
		uint32_t first = map * LVM_PE_PER_MAP;
		uint32_t count =
			(uint32_t)min_u64(m->layout->pe_count - first, LVM_PE_PER_MAP);
		uint8_t bitmap[LVM_PE_BITMAP_SIZE] = { 0 };
		bitmap_set_range(bitmap, 0, count);
		joiner_add(&m->out, off, bitmap, sizeof(bitmap));
		for (uint32_t i = 0; i < count; i += PER_SECTOR) {
			struct vmfs_lvm_pe_disk pes[PER_SECTOR] = { 0 };
			for (uint32_t k = i; k < count && k < i + PER_SECTOR; k++) {
				uint64_t at = (uint64_t)(first + k) * LVM_PE_SIZE;
				pes[k - i] = (struct vmfs_lvm_pe_disk){
					.used = 1,
					.number = le32_of(first + k),
					.dev_off = le64_of(LVM_DATA_OFF + at),
					.vol_off = le64_of(at),
					.length = le64_of(LVM_PE_SIZE),
					.version = le32_of(1),
				};
			}
			joiner_add(&m->out, off + sizeof(bitmap) + i * sizeof(pes[0]),
				   pes, sizeof(pes));
		}
	}
}

/* FORMAT.md 3.3, 3.4. */
static void put_lvm_volume(struct mkfs *m)
{
	const struct mkfs_layout *l = m->layout;
	const struct mkfs_options *o = m->options;
	struct vmfs_lvm_volume_disk v = {
		.size = le64_of(l->volume_size),
		.generation = le64_of((uint64_t)l->pe_count + 1),
		.state = le32_of(1),
		.snapshot_id = le32_of(1),
		.created_us = le64_of(o->volume_created_us),
		.pe_count = le32_of(l->pe_count),
		.pe_last = le64_of(l->pe_count - 1),
		.modified_us = le64_of(o->volume_modified_us),
		.extent_count = le32_of(1),
	};
	char text[UUID_TEXT_SIZE];
	memcpy(v.uuid, o->lv_uuid.b, sizeof(v.uuid));
	memcpy(v.name, uuid_text(&o->lv_uuid, text), UUID_TEXT_SIZE);
	joiner_add(&m->out, LVM_VOLUME_OFF, &v, sizeof(v));

	uint8_t names[VMFS_SECTOR_SIZE] = { 0 };
	memcpy(names, o->device_name, sizeof(o->device_name));
	joiner_add(&m->out, LVM_NAMES_OFF, names, sizeof(names));
	put_pe_maps(m);
}

/* FORMAT.md 3.2. */
static void put_lvm_device(struct mkfs *m)
{
	const struct mkfs_layout *l = m->layout;
	const struct mkfs_options *o = m->options;
	const struct bdev_identity *id = &o->identity;
	struct vmfs_lvm_device_disk d = {
		.magic = le32_of(LVM_MAGIC),
		.major = le32_of(5),
		.minor = le32_of(0x15),
		.identity = { .type = id->type,
			      .len = id->len,
			      .lun = le16_of(id->lun),
			      .device_type = id->device_type,
			      .scsi_level = id->scsi_level },
		.block_size = le32_of(VMFS_SECTOR_SIZE),
		.total_bytes = le64_of(l->device_size),
		.volume_count = le32_of(1),
		.pe_count = le32_of(l->pe_count),
		.pe_last = le32_of(l->pe_count - 1),
		.generation = le64_of(3),
		.data_off = le64_of(LVM_DATA_OFF),
		.init_time_us = le64_of(o->device_created_us),
		.modified_time_us = le64_of(o->device_modified_us),
		.pe_map_count = le32_of(l->pe_map_count),
	};
	memcpy(d.identity.vendor, id->vendor, sizeof(d.identity.vendor));
	memcpy(d.identity.model, id->model, sizeof(d.identity.model));
	memcpy(d.identity.revision, id->revision, sizeof(d.identity.revision));
	memcpy(d.identity.id, id->id, sizeof(d.identity.id));
	memcpy(d.device_uuid, o->device_uuid.b, sizeof(d.device_uuid));
	joiner_add(&m->out, LVM_HEADER_OFF, &d, sizeof(d));
}

int mkfs_write(struct bdev *bd, const struct mkfs_layout *layout,
	       const struct mkfs_options *options, struct reporter *r)
{
	struct mkfs m = {
		.bd = bd,
		.layout = layout,
		.options = options,
		.out = { .bd = bd, .buf = io_alloc(WRITE_SIZE) },
	};
	if (!m.out.buf)
		return report_error(r, -ENOMEM, "%s: no memory", bd->name);
	int err = destroy_old(&m);
	if (!err)
		err = zero_metadata(&m);
	if (!err) {
		put_volume(&m);
		err = flush_all(&m);
	}
	if (!err) {
		put_descriptor(&m);
		put_lvm_volume(&m);
		err = flush_all(&m);
	}
	if (!err) {
		put_lvm_device(&m);
		err = flush_all(&m);
	}
	free(m.out.buf);
	if (err)
		return report_error(r, err, "%s: cannot write the volume: %s", bd->name,
				    strerror(-err));
	return 0;
}

/* ---- options ---- */

/* "naa.6001405..." as ESXi would call the disk, else the last part of its path. */
static void device_name(const struct bdev *bd, char ret_name[LVM_NAME_SIZE])
{
	const struct bdev_identity *id = &bd->identity;
	if (id->type == 2 && id->len > MODEL_PART && id->len <= sizeof(id->id)) {
		int n = snprintf(ret_name, LVM_NAME_SIZE, "naa.");
		for (unsigned int i = 0; i < id->len - MODEL_PART; i++)
			n += snprintf(ret_name + n, LVM_NAME_SIZE - (size_t)n, "%02x",
				      id->id[i]);
		(void)snprintf(ret_name + n, LVM_NAME_SIZE - (size_t)n, ":1");
		return;
	}
	const char *slash = strrchr(bd->name, '/');
	(void)snprintf(ret_name, LVM_NAME_SIZE, "%.250s", slash ? slash + 1 : bd->name);
}

void mkfs_options_init(struct mkfs_options *options, const struct bdev *bd)
{
	uint64_t now_us = clock_wall_us();
	*options = (struct mkfs_options){
		.identity = bd->identity,
		.device_uuid = uuid_new(),
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
	device_name(bd, options->device_name);
}
