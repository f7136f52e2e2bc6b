/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/handmade.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "mkfs/write.h"
#include "vmfs/addr.h"

#define MIB (1ull << 20)
#define SECTOR VMFS_SECTOR_SIZE

static void put(struct handmade *h, uint64_t dev_off, const void *data, uint64_t len)
{
	int err = bdev_write(h->bd, data, len, dev_off);
	assert(err == 0);
}

static void get(struct handmade *h, uint64_t dev_off, void *data, uint64_t len)
{
	int err = bdev_read(h->bd, data, len, dev_off);
	assert(err == 0);
}

static uint64_t file_dev_off(const struct handmade *h, enum vmfs_system_fd fd,
			     uint64_t off)
{
	return LVM_DATA_OFF + mkfs_file_vol_off(&h->layout.files[fd], off);
}

uint64_t handmade_item_off(const struct handmade *h, enum mkfs_resource_index res,
			   uint32_t cluster, uint32_t index)
{
	const struct mkfs_resource *r = &h->layout.resources[res];
	return file_dev_off(h, r->fd, mkfs_resource_off(r, cluster, index));
}

uint64_t handmade_cluster_off(const struct handmade *h, enum mkfs_resource_index res,
			      uint32_t cluster)
{
	const struct mkfs_resource *r = &h->layout.resources[res];
	return file_dev_off(h, r->fd, mkfs_cluster_off(r, cluster));
}

uint64_t handmade_fd_off(const struct handmade *h, unsigned int fd)
{
	return handmade_item_off(h, MKFS_FDC, 0, fd);
}

/* The last one is far away: on the second extent of a volume that is split. */
static uint32_t block_number(const struct handmade *h, uint32_t i)
{
	return i == HANDMADE_FAR_BLOCK ? 1500 : h->first_block + i;
}

uint64_t handmade_block_off(const struct handmade *h, uint32_t i)
{
	return LVM_DATA_OFF + (uint64_t)block_number(h, i) * MIB;
}

uint8_t handmade_byte(enum handmade_fd fd, uint64_t off)
{
	return (uint8_t)((off * 2654435761u >> 11) + fd * 37 + 1);
}

/* Takes [first, first + count) of a cluster. */
static void take(struct handmade *h, enum mkfs_resource_index res, uint32_t cluster,
		 uint32_t first, uint32_t count)
{
	uint64_t off = handmade_cluster_off(h, res, cluster) + SECTOR;
	struct vmfs_cluster_disk meta;
	get(h, off, &meta, sizeof(meta));
	for (uint32_t i = first; i < first + count; i++) {
		assert(bitmap_get(meta.bitmap, i));
		bitmap_clear(meta.bitmap, i);
	}
	meta.free = le32_of(le32_get(meta.free) - count);
	meta.hint = le32_of(first + count);
	if (res == MKFS_FDC)
		meta.fd_generation = le32_of(count);
	put(h, off, &meta, sizeof(meta));
}

/* The parts of an FD that differ between files. */
struct file {
	unsigned int fd;
	uint32_t type, links, zla, mode;
	uint64_t length, blocks, tbz;
};

static struct vmfs_fd_disk fd_make(const struct handmade *h, const struct file *f)
{
	bool is_small = f->zla == VMFS_ZLA_SB || f->zla == VMFS_ZLA_RESIDENT;
	struct vmfs_fd_disk fdd = { 0 };
	le32 addr = le32_of(addr_of(ADDR_FD, 0, f->fd).raw);
	uint32_t generation = f->fd - HANDMADE_DIR + 1;
	fdd.lock.type = le32_of(VMFS_LOCK_FD);
	fdd.lock.addr = le64_of(handmade_fd_off(h, f->fd) - LVM_DATA_OFF);
	fdd.lock.token = le64_of(generation);
	fdd.meta = (struct vmfs_fd_meta_disk){
		.addr = addr,
		.generation = le32_of(generation),
		.links = le32_of(f->links),
		.type = le32_of(f->type),
		.length = le64_of(f->length),
		.block_size = le64_of(is_small ? MKFS_SUB_BLOCK_SIZE : MKFS_BLOCK_SIZE),
		.block_count = le64_of(f->blocks),
		.mtime_s = le32_of(1600000000),
		.ctime_s = le32_of(1600000000),
		.atime_s = le32_of(1600000000),
		.mode = le32_of(f->mode),
		.zla = le32_of(f->zla),
		.tbz_low = le32_of((uint32_t)f->tbz),
		.new_low = le32_of((uint32_t)f->blocks),
		.affinity = addr,
		.tbz_shift = le32_of(f->type == VMFS_TYPE_DIRECTORY ? 13 : 20),
		.block_shift = is_small ? 13 : 20,
	};
	return fdd;
}

static void fill(uint8_t *buf, enum handmade_fd fd, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		buf[i] = handmade_byte(fd, off + i);
}

/* Data block i holds [off, off + 1 MiB) of a file. */
static le32 block_put(struct handmade *h, uint32_t i, enum handmade_fd fd, uint64_t off)
{
	uint8_t *buf = malloc(MIB);
	assert(buf);
	fill(buf, fd, off, MIB);
	put(h, handmade_block_off(h, i), buf, MIB);
	free(buf);
	return le32_of(addr_fb(block_number(h, i), 0).raw);
}

static void fd_put(struct handmade *h, const struct file *f,
		   const struct vmfs_fd_disk *fdd)
{
	put(h, handmade_fd_off(h, f->fd), fdd, sizeof(*fdd));
}

static void dirent_put(struct vmfs_dirent_disk *d, uint32_t type, unsigned int fd,
		       const char *name)
{
	uint32_t generation = fd < HANDMADE_DIR ? 1 : fd - HANDMADE_DIR + 1;
	*d = (struct vmfs_dirent_disk){
		.type = le32_of(type),
		.addr = le32_of(addr_of(ADDR_FD, 0, fd).raw),
		.generation = le32_of(generation),
	};
	memcpy(d->name, name, strlen(name));
}

static void make_directories(struct handmade *h)
{
	union {
		struct vmfs_dirent_disk e[14];
		uint8_t bytes[4 * SECTOR];
	} dir = { 0 }, root = { 0 };
	struct file f = {
		HANDMADE_DIR, VMFS_TYPE_DIRECTORY, 2, VMFS_ZLA_SB, 0755, 0, 1, 0
	};
	f.length = 6 * VMFS_DIRENT_SIZE;
	struct vmfs_fd_disk fdd = fd_make(h, &f);
	fdd.u.slots[0] = le32_of(addr_of(ADDR_SB, 0, 0).raw);
	fd_put(h, &f, &fdd);
	dirent_put(&dir.e[0], VMFS_TYPE_DIRECTORY, HANDMADE_DIR, ".");
	dirent_put(&dir.e[1], VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT, "..");
	dirent_put(&dir.e[2], VMFS_TYPE_FILE, HANDMADE_FILE_RESIDENT, "resident");
	dirent_put(&dir.e[3], VMFS_TYPE_FILE, HANDMADE_FILE_BLOCKS, "blocks");
	dirent_put(&dir.e[4], VMFS_TYPE_FILE, HANDMADE_FILE_TBZ, "tbz");
	dirent_put(&dir.e[5], VMFS_TYPE_FILE, HANDMADE_FILE_SUB, "sub");
	put(h, handmade_item_off(h, MKFS_SBC, 0, 0), dir.bytes, sizeof(dir.bytes));

	uint64_t root_off = file_dev_off(h, VMFS_FD_ROOT, 0);
	get(h, root_off, root.bytes, sizeof(root.bytes));
	dirent_put(&root.e[9], VMFS_TYPE_DIRECTORY, HANDMADE_DIR, "dir");
	dirent_put(&root.e[10], VMFS_TYPE_FILE, HANDMADE_FILE_POINTERS, "pointers");
	dirent_put(&root.e[11], VMFS_TYPE_FILE, HANDMADE_FILE_DOUBLE, "double");
	dirent_put(&root.e[12], VMFS_TYPE_SYMLINK, HANDMADE_SYMLINK, "link");
	dirent_put(&root.e[13], VMFS_TYPE_RDM, HANDMADE_RDM, "rdm");
	put(h, root_off, root.bytes, sizeof(root.bytes));
	get(h, handmade_fd_off(h, VMFS_FD_ROOT), &fdd, sizeof(fdd));
	fdd.meta.links = le32_of(4);
	fdd.meta.length = le64_of(sizeof(root.e));
	put(h, handmade_fd_off(h, VMFS_FD_ROOT), &fdd, sizeof(fdd));
}

static void make_small_files(struct handmade *h)
{
	static uint8_t sub[MKFS_SUB_BLOCK_SIZE];
	struct file f = { HANDMADE_FILE_RESIDENT,
			  VMFS_TYPE_FILE,
			  1,
			  VMFS_ZLA_RESIDENT,
			  0644,
			  strlen(HANDMADE_RESIDENT),
			  0,
			  0 };
	struct vmfs_fd_disk fdd = fd_make(h, &f);
	memcpy(fdd.u.resident, HANDMADE_RESIDENT, strlen(HANDMADE_RESIDENT));
	fd_put(h, &f, &fdd);

	f = (struct file){
		HANDMADE_FILE_SUB, VMFS_TYPE_FILE, 1, VMFS_ZLA_SB, 0600, 6000, 1, 0
	};
	fdd = fd_make(h, &f);
	fdd.u.slots[0] = le32_of(addr_of(ADDR_SB, 0, 1).raw);
	fd_put(h, &f, &fdd);
	fill(sub, HANDMADE_FILE_SUB, 0, sizeof(sub));
	put(h, handmade_item_off(h, MKFS_SBC, 0, 1), sub, sizeof(sub));

	f = (struct file){ HANDMADE_SYMLINK,
			   VMFS_TYPE_SYMLINK,
			   1,
			   VMFS_ZLA_SB,
			   0777,
			   strlen(HANDMADE_LINK),
			   1,
			   0 };
	fdd = fd_make(h, &f);
	fdd.u.slots[0] = le32_of(addr_of(ADDR_SB, 0, 17).raw);
	fd_put(h, &f, &fdd);
	memset(sub, 'x', sizeof(sub));
	memcpy(sub, HANDMADE_LINK, strlen(HANDMADE_LINK));
	put(h, handmade_item_off(h, MKFS_SBC, 0, 17), sub, sizeof(sub));

	f = (struct file){ HANDMADE_RDM, VMFS_TYPE_RDM, 1, VMFS_ZLA_FB,
			   0644,	 64 * MIB,	0, 0 };
	fdd = fd_make(h, &f);
	fdd.u.rdm.type = 2;
	fdd.u.rdm.len = 22;
	memset(fdd.u.rdm.id, 0x5a, 22);
	fd_put(h, &f, &fdd);
}

static void make_block_files(struct handmade *h)
{
	struct file f = { HANDMADE_FILE_BLOCKS,
			  VMFS_TYPE_FILE,
			  1,
			  VMFS_ZLA_FB,
			  0644,
			  2 * MIB + 5,
			  2,
			  0 };
	struct vmfs_fd_disk fdd = fd_make(h, &f);
	fdd.u.slots[0] = block_put(h, 0, HANDMADE_FILE_BLOCKS, 0);
	fdd.u.slots[2] = block_put(h, 1, HANDMADE_FILE_BLOCKS, 2 * MIB);
	fd_put(h, &f, &fdd);

	f = (struct file){
		HANDMADE_FILE_TBZ, VMFS_TYPE_FILE, 1, VMFS_ZLA_FB, 0644, MIB, 1, 1
	};
	fdd = fd_make(h, &f);
	(void)block_put(h, 2, HANDMADE_FILE_TBZ, 0);
	fdd.u.slots[0] = le32_of(addr_fb(h->first_block + 2, ADDR_FB_TBZ).raw);
	fd_put(h, &f, &fdd);
}

static le32 pointers_put(struct handmade *h, uint32_t index, const le32 *entries)
{
	put(h, handmade_item_off(h, MKFS_PBC, 0, index), entries, VMFS_PB_SIZE);
	return le32_of(addr_of(ADDR_PB, 0, index).raw);
}

static void make_pointer_files(struct handmade *h)
{
	static le32 entries[VMFS_PB_ENTRIES];
	memset(entries, 0, sizeof(entries));
	struct file f = { HANDMADE_FILE_POINTERS,
			  VMFS_TYPE_FILE,
			  1,
			  VMFS_ZLA_PB,
			  0644,
			  300 * MIB,
			  2,
			  0 };
	struct vmfs_fd_disk fdd = fd_make(h, &f);
	entries[0] = block_put(h, 3, HANDMADE_FILE_POINTERS, 0);
	entries[2] = block_put(h, 4, HANDMADE_FILE_POINTERS, 2 * MIB);
	fdd.u.slots[0] = pointers_put(h, 0, entries);
	fd_put(h, &f, &fdd);

	uint64_t last = 257 * 1024 - 1;
	f = (struct file){ HANDMADE_FILE_DOUBLE,
			   VMFS_TYPE_FILE,
			   1,
			   VMFS_ZLA_DOUBLE,
			   0644,
			   257 * 1024 * MIB,
			   1,
			   0 };
	fdd = fd_make(h, &f);
	memset(entries, 0, sizeof(entries));
	entries[last % 1024] =
		block_put(h, HANDMADE_FAR_BLOCK, HANDMADE_FILE_DOUBLE, last * MIB);
	le32 lower = pointers_put(h, 1, entries);
	memset(entries, 0, sizeof(entries));
	entries[last / 1024] = lower;
	fdd.u.slots[0] = pointers_put(h, 2, entries);
	fd_put(h, &f, &fdd);
}

void handmade_write(struct handmade *h, struct bdev *bd)
{
	struct mkfs_options options;
	h->bd = bd;
	int err = mkfs_layout_make("disk", bd->size, NULL, NULL, &h->layout);
	assert(err == 0);
	mkfs_options_init(&options, bd);
	memcpy(options.label, "handmade", 9);
	err = mkfs_write(bd, &h->layout, &options, NULL);
	assert(err == 0);
	h->first_block = h->layout.used_blocks;
	take(h, MKFS_FBB, 0, h->first_block, HANDMADE_FAR_BLOCK);
	take(h, MKFS_FBB, 7, 100, 1);
	take(h, MKFS_FDC, 0, HANDMADE_DIR, HANDMADE_FD_END - HANDMADE_DIR);
	take(h, MKFS_SBC, 0, 0, 2);
	take(h, MKFS_SBC, 0, 17, 1);
	take(h, MKFS_PBC, 0, 0, 3);
	make_directories(h);
	make_small_files(h);
	make_block_files(h);
	make_pointer_files(h);
}

void handmade_new(struct handmade *h)
{
	struct bdev *bd;
	int err = bdev_mem_new(HANDMADE_SIZE, SECTOR, NULL, &bd);
	assert(err == 0);
	handmade_write(h, bd);
}

/* ---- two extents ---- */

static void copy(struct bdev *from, uint64_t from_off, struct bdev *to, uint64_t to_off,
		 uint64_t len)
{
	uint8_t *buf = malloc(MIB);
	assert(buf);
	for (uint64_t at = 0; at < len; at += MIB) {
		int err = bdev_read(from, buf, MIB, from_off + at);
		assert(err == 0);
		if (buf[0] || memcmp(buf, buf + 1, MIB - 1) != 0)
			err = bdev_write(to, buf, MIB, to_off + at);
		assert(err == 0);
	}
	free(buf);
}

/* PEs [first, first + count) of the volume go to bd, with headers of their own. */
static void extent_write(const struct handmade *h, struct bdev *bd, uint32_t first,
			 uint32_t count)
{
	struct handmade out = { .bd = bd };
	struct handmade in = { .bd = h->bd };
	struct vmfs_lvm_device_disk dev;
	struct vmfs_lvm_volume_disk vol;
	union {
		struct {
			uint8_t bitmap[LVM_PE_BITMAP_SIZE];
			struct vmfs_lvm_pe_disk pes[8];
		};
		uint8_t bytes[LVM_PE_BITMAP_SIZE + 2 * SECTOR];
	} map = { 0 };

	copy(h->bd, LVM_DATA_OFF + first * LVM_PE_SIZE, bd, LVM_DATA_OFF,
	     count * LVM_PE_SIZE);
	get(&in, LVM_HEADER_OFF, &dev, sizeof(dev));
	dev.total_bytes = le64_of(bd->size);
	dev.pe_count = le32_of(count);
	dev.pe_last = le32_of(count - 1);
	dev.device_uuid[4] ^= (uint8_t)first;
	put(&out, LVM_HEADER_OFF, &dev, sizeof(dev));
	get(&in, LVM_VOLUME_OFF, &vol, sizeof(vol));
	vol.generation = le64_of(7 + 2);
	vol.pe_count = le32_of(count);
	vol.pe_first = le64_of(first);
	vol.pe_last = le64_of(first + count - 1);
	vol.extent_count = le32_of(2);
	put(&out, LVM_VOLUME_OFF, &vol, sizeof(vol));
	bitmap_set_range(map.bitmap, 0, count);
	for (uint32_t i = 0; i < count; i++)
		map.pes[i] = (struct vmfs_lvm_pe_disk){
			.used = 1,
			.number = le32_of(i),
			.dev_off = le64_of(LVM_DATA_OFF + i * LVM_PE_SIZE),
			.vol_off = le64_of((first + i) * LVM_PE_SIZE),
			.length = le64_of(LVM_PE_SIZE),
			.version = le32_of(1),
		};
	put(&out, LVM_PE_MAP_OFF, map.bytes, sizeof(map.bytes));
}

void handmade_split(const struct handmade *h, struct bdev *first, struct bdev *second)
{
	extent_write(h, first, 0, 3);
	extent_write(h, second, 3, 4);
}
