/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata of a fresh VMFS-5 volume (FORMAT.md 14). */
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "mkfs/writer.h"
#include "vmfs/addr.h"

static void put_heartbeats(struct mkfs *m)
{
	for (uint64_t k = 0; k < VMFS_HEARTBEATS_COUNT; k++) {
		uint64_t off = VMFS_HEARTBEATS_OFF + k * VMFS_SECTOR_SIZE;
		struct vmfs_heartbeat_disk hbd = {
			.state = le32_of(HEARTBEAT_FREE),
			.addr = le64_of(off),
		};
		mkfs_put(m, off, &hbd, sizeof(hbd));
	}
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

	header.lock = mkfs_lock_make(m, res->lock_type, vol_off);
	header.meta.number = le32_of(cluster);
	header.meta.total = le32_of(total);
	header.meta.free = le32_of(total - used);
	header.meta.hint = le32_of(used < total ? used : 0);
	bitmap_set_range(header.meta.bitmap, used, total - used);
	mkfs_put(m, vol_off, &header, sizeof(header));
}

static void put_resource_file(struct mkfs *m, const struct mkfs_resource *res)
{
	struct vmfs_resource_header_disk header = {
		.geometry = mkfs_geometry_make(res),
	};

	mkfs_put(m, mkfs_file_vol_off(&m->layout->files[res->fd], 0), &header,
		 sizeof(header));
	for (uint32_t c = 0; c < res->cluster_count; c++)
		put_cluster(m, res, c);
}

static le32 block_addr(const struct mkfs_file *file, uint32_t block)
{
	uint64_t off = mkfs_file_vol_off(file, (uint64_t)block * MKFS_BLOCK_SIZE);
	return le32_of(addr_fb((uint32_t)(off / MKFS_BLOCK_SIZE), 0).raw);
}

/* Of .fbb.sf, over 50 TiB: pointer block i. */
static void put_pointer_block(struct mkfs *m, const struct mkfs_file *file, uint32_t i)
{
	le32 entries[VMFS_PB_ENTRIES] = { 0 };

	for (uint32_t k = 0; k < VMFS_PB_ENTRIES; k++)
		if (i * VMFS_PB_ENTRIES + k < file->block_count)
			entries[k] = block_addr(file, i * VMFS_PB_ENTRIES + k);
	mkfs_put(m, mkfs_pb2_vol_off(m->layout, file->pb_first + i), entries,
		 sizeof(entries));
}

/* FORMAT.md 8.5. */
static void put_fd(struct mkfs *m, uint32_t fd)
{
	const struct mkfs_file *file = &m->layout->files[fd];
	const struct mkfs_resource *pb2 = &m->layout->resources[MKFS_PB2];
	uint64_t vol_off = mkfs_fd_vol_off(m->layout, fd);
	struct vmfs_fd_disk fdd = { .lock = mkfs_lock_make(m, VMFS_LOCK_FD, vol_off),
				    .meta = mkfs_fd_meta_make(m, fd) };

	if (file->pb_count)
		fdd.meta.zla = le32_of(VMFS_ZLA_PB2);
	for (uint32_t i = 0; i < file->pb_count; i++) {
		uint32_t at = file->pb_first + i;
		vmfs_addr pb = addr_of(ADDR_PB2, at / pb2->per_cluster,
				       at % pb2->per_cluster);

		fdd.u.slots[i] = le32_of((uint32_t)pb.raw);
		put_pointer_block(m, file, i);
	}
	for (uint32_t i = 0; !file->pb_count && i < file->block_count; i++)
		fdd.u.slots[i] = block_addr(file, i);
	mkfs_put(m, vol_off, &fdd, sizeof(fdd));
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
	mkfs_put(m, mkfs_file_vol_off(&f[VMFS_FD_ROOT], 0), root.sectors,
	    sizeof(root.sectors));

	sdd.entries[0] = dirent(VMFS_TYPE_SYSTEM, VMFS_FD_SDD, ".");
	sdd.entries[1] = dirent(VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT, "..");
	mkfs_put(m, mkfs_file_vol_off(&f[VMFS_FD_SDD], 0), sdd.sectors, VMFS_SECTOR_SIZE);
}

/* The order is that of the lock mtimes of a fresh volume: FORMAT.md 7. */
void mkfs_put_volume5(struct mkfs *m)
{
	const struct mkfs_resource *res = m->layout->resources;
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

/* FORMAT.md 5. */
void mkfs_put_descriptor5(struct mkfs *m)
{
	struct vmfs_descriptor_disk d = mkfs_descriptor_make(m);

	d.major = le32_of(VMFS_MAJOR_5);
	d.minor = VMFS_MINOR_5;
	d.sub_block_size = le32_of(MKFS_SUB_BLOCK_SIZE);
	d.max_journal_slots = le32_of(8);
	mkfs_put(m, VMFS_DESCRIPTOR_OFF, &d, sizeof(d));
}
