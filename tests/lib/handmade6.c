/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/handmade6.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "mkfs/write.h"
#include "vmfs/addr.h"
#include "vmfs/dirhash.h"
#include "vmfs/large.h"

#define MIB (1ull << 20)
#define LINKS_BLOCK 5u /* of /dir; its entries are in blocks 1 to 4 */

uint64_t handmade6_length(enum handmade6_fd fd)
{
	switch (fd) {
	case HANDMADE6_BLOCKS:
		return 3 * MIB + 5;
	case HANDMADE6_SINGLE:
		return 9 * 1024 * MIB;
	case HANDMADE6_DOUBLE:
		return 3 * 1024 * 1024 * MIB;
	case HANDMADE6_LARGE:
		return 513 * MIB + 7;
	case HANDMADE6_SUB:
		return HANDMADE6_SUB_LEN;
	default:
		return 0;
	}
}

uint8_t handmade6_byte(unsigned int fd, uint64_t off)
{
	return (uint8_t)(off * 31 + off / MIB * 7 + (uint64_t)fd);
}

static void put(struct handmade6 *h, uint64_t vol_off, const void *data, uint64_t len)
{
	assert_int_equal(bdev_write(h->bd, data, len, LVM_DATA_OFF + vol_off), 0);
}

/* ---- data ---- */

/* A block with the data of a file at block `at` of it. */
static vmfs_addr put_block(struct handmade6 *h, enum handmade6_fd fd, uint64_t at,
			   uint32_t number)
{
	uint8_t *data = malloc(MIB);

	assert_non_null(data);
	for (uint64_t i = 0; i < MIB; i++)
		data[i] = handmade6_byte(fd, at * MIB + i);
	put(h, number * MIB, data, MIB);
	free(data);
	return addr_fb6(number, 0);
}

static vmfs_addr new_block(struct handmade6 *h, enum handmade6_fd fd, uint64_t at)
{
	h->blocks_of[fd]++;
	return put_block(h, fd, at, h->next_block++);
}

static uint64_t sb_off(const struct handmade6 *h, uint32_t number)
{
	return mkfs_file_vol_off(
		&h->layout.files[VMFS_FD_SBC],
		mkfs_resource_off(&h->layout.resources[MKFS_SBC], 0, number));
}

static vmfs_addr new_sub_block(struct handmade6 *h, const void *data)
{
	uint32_t number = h->next_sb++;

	assert_true(number < ARRAY_SIZE(h->sb_owner));
	h->sb_owner[number] = h->fd;
	put(h, sb_off(h, number), data, VMFS6_SUB_BLOCK_SIZE);
	return addr_of6(ADDR_SB, 0, number);
}

/* A pointer block with `count` entries, alternately where and what. */
struct pointer {
	uint32_t index;
	vmfs_addr addr;
};

static vmfs_addr new_pointer_block(struct handmade6 *h, const struct pointer *pointers,
				   uint32_t count)
{
	le64 *entries = calloc(VMFS6_PB_ENTRIES, sizeof(*entries));

	assert_non_null(entries);
	for (uint32_t i = 0; i < count; i++)
		entries[pointers[i].index] = le64_of(addr_disk(pointers[i].addr));
	vmfs_addr addr = new_sub_block(h, entries);
	free(entries);
	return addr;
}

/* ---- file descriptors ---- */

static uint32_t fd_addr(uint32_t fd)
{
	return (uint32_t)addr_of(ADDR_FD, 0, fd).raw;
}

static uint32_t parent_of(uint32_t fd)
{
	return fd <= HANDMADE6_SYMLINK ? VMFS_FD_ROOT : HANDMADE6_DIR;
}

static struct vmfs6_fd_body_disk *new_fd(struct handmade6 *h, uint32_t fd, uint32_t type,
					 uint64_t length, uint32_t zla)
{
	struct vmfs6_fd_body_disk *body = calloc(1, sizeof(*body));
	bool is_small = zla == VMFS_ZLA_SB || zla == VMFS_ZLA_RESIDENT;

	assert_non_null(body);
	h->fd = fd;
	body->meta = (struct vmfs_fd_meta_disk){
		.addr = le32_of(fd_addr(fd)),
		.generation = le32_of(7),
		.links = le32_of(type == VMFS_TYPE_DIRECTORY ? 2 : 1),
		.type = le32_of(type),
		.length = le64_of(length),
		.block_size =
			le64_of(is_small ? VMFS6_SUB_BLOCK_SIZE : VMFS6_BLOCK_SIZE),
		.mtime_s = le32_of(1600000000),
		.ctime_s = le32_of(1600000000),
		.atime_s = le32_of(1600000000),
		.mode = le32_of(type == VMFS_TYPE_DIRECTORY ? 0755 : 0644),
		.zla = le32_of(zla),
		.signature = le32_of(VMFS6_FD_SIGNATURE),
		.affinity = le32_of(fd_addr(fd)),
		.tbz_shift = le32_of(20),
		.parent = le32_of(fd_addr(parent_of(fd))),
		.block_shift = is_small ? 16 : 20,
	};
	return body;
}

/* Writes and frees it. */
static void put_fd(struct handmade6 *h, uint32_t fd, struct vmfs6_fd_body_disk *body,
		   uint64_t blocks)
{
	uint64_t off = mkfs_fd_vol_off(&h->layout, fd);
	struct vmfs_lock_disk lockd = {
		.type = le32_of(VMFS_LOCK_FD),
		.addr = le64_of(off),
		.token = le64_of(1),
	};

	body->meta.block_count = le64_of(blocks);
	put(h, off, &lockd, sizeof(lockd));
	put(h, off + VMFS6_PAGE, body, sizeof(*body));
	free(body);
}

static void put_resident(struct handmade6 *h, uint32_t fd, uint32_t type,
			 const char *content)
{
	struct vmfs6_fd_body_disk *body =
		new_fd(h, fd, type, strlen(content), VMFS_ZLA_RESIDENT);

	memcpy(body->u.resident, content, strlen(content));
	put_fd(h, fd, body, 0);
}

static void put_blocks(struct handmade6 *h)
{
	struct vmfs6_fd_body_disk *body =
		new_fd(h, HANDMADE6_BLOCKS, VMFS_TYPE_FILE,
		       handmade6_length(HANDMADE6_BLOCKS), VMFS_ZLA_FB);
	vmfs_addr tbz = new_block(h, HANDMADE6_BLOCKS, 2);

	body->u.slots[0] = le64_of(addr_disk(new_block(h, HANDMADE6_BLOCKS, 0)));
	body->u.slots[2] = le64_of(addr_disk(tbz) | ADDR6_TBZ);
	body->u.slots[3] = le64_of(addr_disk(new_block(h, HANDMADE6_BLOCKS, 3)));
	body->meta.tbz_low = le32_of(1);
	put_fd(h, HANDMADE6_BLOCKS, body, 3);
}

static void put_single(struct handmade6 *h)
{
	struct vmfs6_fd_body_disk *body =
		new_fd(h, HANDMADE6_SINGLE, VMFS_TYPE_FILE,
		       handmade6_length(HANDMADE6_SINGLE), VMFS_ZLA_PB);
	struct pointer first = { 0, new_block(h, HANDMADE6_SINGLE, 0) };
	struct pointer far = {
		HANDMADE6_SINGLE_BLOCK % VMFS6_PB_ENTRIES,
		new_block(h, HANDMADE6_SINGLE, HANDMADE6_SINGLE_BLOCK),
	};

	body->u.slots[0] = le64_of(addr_disk(new_pointer_block(h, &first, 1)));
	body->u.slots[1] = le64_of(addr_disk(new_pointer_block(h, &far, 1)));
	put_fd(h, HANDMADE6_SINGLE, body, 2);
}

static void put_double(struct handmade6 *h)
{
	uint64_t last = handmade6_length(HANDMADE6_DOUBLE) / MIB - 1;
	struct vmfs6_fd_body_disk *body =
		new_fd(h, HANDMADE6_DOUBLE, VMFS_TYPE_FILE,
		       handmade6_length(HANDMADE6_DOUBLE), VMFS_ZLA_DOUBLE);
	struct pointer leaf = { last % VMFS6_PB_ENTRIES,
				new_block(h, HANDMADE6_DOUBLE, last) };
	struct pointer upper = { last / VMFS6_PB_ENTRIES % VMFS6_PB_ENTRIES,
				 new_pointer_block(h, &leaf, 1) };

	body->u.slots[0] = le64_of(addr_disk(new_pointer_block(h, &upper, 1)));
	put_fd(h, HANDMADE6_DOUBLE, body, 1);
}

static void put_sub(struct handmade6 *h)
{
	struct vmfs6_fd_body_disk *body =
		new_fd(h, HANDMADE6_SUB, VMFS_TYPE_FILE, HANDMADE6_SUB_LEN, VMFS_ZLA_SB);
	uint8_t *sub = calloc(1, VMFS6_SUB_BLOCK_SIZE);

	assert_non_null(sub);
	for (uint32_t i = 0; i < HANDMADE6_SUB_LEN; i++)
		sub[i] = handmade6_byte(HANDMADE6_SUB, i);
	body->u.slots[0] = le64_of(addr_disk(new_sub_block(h, sub)));
	put_fd(h, HANDMADE6_SUB, body, 1);
	free(sub);
}

static void put_files(struct handmade6 *h)
{
	put_blocks(h);
	put_single(h);
	put_double(h);
	put_sub(h);
	put_resident(h, HANDMADE6_RESIDENT_FILE, VMFS_TYPE_FILE, HANDMADE6_RESIDENT);
	put_resident(h, HANDMADE6_SYMLINK, VMFS_TYPE_SYMLINK, HANDMADE6_LINK);
}

/* One large block stands in each of the entries of its 512 MiB. */
static void put_large(struct handmade6 *h)
{
	struct vmfs6_fd_body_disk *body =
		new_fd(h, HANDMADE6_LARGE, VMFS_TYPE_FILE,
		       handmade6_length(HANDMADE6_LARGE), VMFS_ZLA_PB);
	const uint32_t count = VMFS6_SFB_PER_LFB + 2;
	struct pointer *pointers = calloc(count, sizeof(*pointers));
	uint32_t first = HANDMADE6_LARGE_BLOCK * VMFS6_SFB_PER_LFB;

	assert_non_null(pointers);
	for (uint32_t i = 0; i < VMFS6_SFB_PER_LFB; i++)
		pointers[i] = (struct pointer){
			i, { (uint64_t)HANDMADE6_LARGE_BLOCK << 15 | ADDR_LFB }
		};
	put_block(h, HANDMADE6_LARGE, 0, first);
	put_block(h, HANDMADE6_LARGE, 300, first + 300);
	put_block(h, HANDMADE6_LARGE, 511, first + 511);
	for (uint32_t i = VMFS6_SFB_PER_LFB; i < count; i++)
		pointers[i] = (struct pointer){ i, new_block(h, HANDMADE6_LARGE, i) };
	vmfs_addr pb = new_pointer_block(h, pointers, count);
	body->u.slots[0] = le64_of(addr_disk(pb));
	body->meta.lfb_count = le32_of(1);
	put_fd(h, HANDMADE6_LARGE, body, count);
	free(pointers);
}

/* ---- directories ---- */

static struct vmfs6_dirent_disk entry(const char *name, uint32_t type, uint32_t fd,
				      uint32_t generation, uint64_t file_off)
{
	uint32_t hash = name[0] == '.' ? 0 : (uint32_t)vmfs_dirhash(name);
	struct vmfs6_dirent_disk e = {
		.type = le32_of(type),
		.addr = le32_of(fd_addr(fd)),
		.generation = le32_of(generation),
		.hash = le32_of(hash),
		.file_off = le64_of(file_off),
	};

	memcpy(e.name, name, strlen(name));
	return e;
}

static uint32_t location(uint32_t type, uint32_t block, uint32_t slot)
{
	return type | block << 2 | slot << 24;
}

/* The root has one more directory, and no room in block 1. */
static void put_root_full(struct handmade6 *h, uint64_t root)
{
	uint64_t fd = mkfs_fd_vol_off(&h->layout, VMFS_FD_ROOT) + VMFS6_PAGE;
	uint64_t map = root + VMFS6_DIR_HEADER_SIZE;
	struct vmfs_fd_meta_disk meta;
	uint8_t sector[VMFS_SECTOR_SIZE];

	assert_int_equal(bdev_read(h->bd, sector, sizeof(sector), LVM_DATA_OFF + map), 0);
	sector[sizeof(struct vmfs6_dir_block_head_disk)] = DIR6_MAP << 4 | DIR6_ENTRIES;
	put(h, map, sector, sizeof(sector));
	assert_int_equal(bdev_read(h->bd, &meta, sizeof(meta), LVM_DATA_OFF + fd), 0);
	meta.links = le32_of(le32_get(meta.links) + 1);
	put(h, fd, &meta, sizeof(meta));
}

/* Entries go behind those of mkfs, in block 1: six are free. */
static void put_in_root(struct handmade6 *h)
{
	static const struct {
		const char *name;
		uint32_t type, fd;
	} names[] = {
		{ "dir", VMFS_TYPE_DIRECTORY, HANDMADE6_DIR },
		{ "blocks", VMFS_TYPE_FILE, HANDMADE6_BLOCKS },
		{ "single", VMFS_TYPE_FILE, HANDMADE6_SINGLE },
		{ "double", VMFS_TYPE_FILE, HANDMADE6_DOUBLE },
		{ "large", VMFS_TYPE_FILE, HANDMADE6_LARGE },
		{ "link", VMFS_TYPE_SYMLINK, HANDMADE6_SYMLINK },
	};
	uint64_t root = mkfs_file_vol_off(&h->layout.files[VMFS_FD_ROOT], 0);
	const uint64_t at = VMFS6_DIR_HEADER_SIZE + VMFS6_PAGE;
	struct vmfs6_dir_header_disk *header = malloc(sizeof(*header));
	struct vmfs6_dir_block_disk b;

	assert_non_null(header);
	assert_int_equal(bdev_read(h->bd, header, sizeof(*header), LVM_DATA_OFF + root),
			 0);
	assert_int_equal(bdev_read(h->bd, &b, sizeof(b), LVM_DATA_OFF + root + at), 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
		uint32_t slot = 8 + i;

		b.u.entries[slot] = entry(names[i].name, names[i].type, names[i].fd, 7,
					  at + 64 + slot * sizeof(b.u.entries[0]));
		header->table[vmfs_dirhash(names[i].name) % VMFS6_DIR_ROOT_HASHES] =
			le32_of(location(DIR6_ENTRIES, 1, slot));
	}
	memset(b.head.bitmap, 0, sizeof(b.head.bitmap));
	b.head.free = le16_of(0);
	header->entry_count = header->allocated = le32_of(10 + ARRAY_SIZE(names));
	put(h, root, header, sizeof(*header));
	put(h, root + at, &b, sizeof(b));
	free(header);
	put_root_full(h, root);
}

/* The sub-blocks of /dir: header, blocks. */
struct dir_bytes {
	struct vmfs6_dir_header_disk header;
	union {
		struct vmfs6_dir_block_disk blocks[16];
		uint8_t bytes[VMFS6_SUB_BLOCK_SIZE];
	} u;
	uint32_t count;
};

/* The second name of one index: both become links of a group. */
static void link_both(struct dir_bytes *d, le32 *place, uint64_t hash, uint32_t second)
{
	struct vmfs6_dir_block_disk *links = &d->u.blocks[LINKS_BLOCK];
	uint32_t first = le32_get(*place);
	const struct vmfs6_dirent_disk *other =
		&d->u.blocks[first >> 2 & 0x3fffff].u.entries[first >> 24];
	struct vmfs6_dir_links_disk group = {
		.index = le16_of((uint16_t)(hash % VMFS6_DIR_HASHES)),
		.total = VMFS6_DIR_LINKS,
		.free = VMFS6_DIR_LINKS - 2,
		.next_free = 2,
	};

	assert_int_equal(first & 3, DIR6_ENTRIES); /* there is one group */
	group.links[0].location = le32_of(first);
	group.links[0].hash = le16_of((uint16_t)(le32_get(other->hash) >> 16));
	group.links[1].location = le32_of(second);
	group.links[1].hash = le16_of((uint16_t)(hash >> 16));
	links->head = (struct vmfs6_dir_block_head_disk){
		.version = le16_of(1),
		.type = le16_of(DIR6_LINKS),
		.slots = le16_of(VMFS6_DIR_LINK_GROUPS),
		.free = le16_of(VMFS6_DIR_LINK_GROUPS - 1),
	};
	bitmap_set_range(links->head.bitmap, 1, VMFS6_DIR_LINK_GROUPS - 1);
	memcpy(&links->u, &group, sizeof(group));
	*place = le32_of(location(DIR6_LINKS, LINKS_BLOCK, 0));
}

static void add_entry(struct dir_bytes *d, const char *name, uint32_t fd)
{
	uint32_t block = 1 + d->count / VMFS6_DIR_SLOTS;
	uint32_t slot = d->count++ % VMFS6_DIR_SLOTS;
	uint64_t off = VMFS6_DIR_HEADER_SIZE + block * VMFS6_PAGE + 64 +
		       slot * sizeof(struct vmfs6_dirent_disk);
	struct vmfs6_dir_block_disk *b = &d->u.blocks[block];

	assert_true(block < LINKS_BLOCK);
	if (!slot) {
		b->head.version = le16_of(1);
		b->head.type = le16_of(DIR6_ENTRIES);
		b->head.slots = b->head.free = le16_of(VMFS6_DIR_SLOTS);
		bitmap_set_range(b->head.bitmap, 0, VMFS6_DIR_SLOTS);
	}
	b->head.bitmap[slot / 8] &= (uint8_t)~(1u << slot % 8);
	b->head.free = le16_of((uint16_t)(le16_get(b->head.free) - 1));
	b->u.entries[slot] = entry(name, VMFS_TYPE_FILE, fd, 7, off);

	uint64_t hash = vmfs_dirhash(name);
	le32 *place = &d->header.table[hash % VMFS6_DIR_HASHES];
	uint32_t here = location(DIR6_ENTRIES, block, slot);
	if (le32_get(*place))
		link_both(d, place, hash, here);
	else
		*place = le32_of(here);
}

/* Two names of the form cN whose hashes have one index. */
static void find_pair(struct handmade6 *h)
{
	for (unsigned int i = 0;; i++)
		for (unsigned int k = 0; k < i; k++) {
			char a[16], b[16];

			snprintf(a, sizeof(a), "c%u", k);
			snprintf(b, sizeof(b), "c%u", i);
			if (vmfs_dirhash(a) % VMFS6_DIR_HASHES !=
			    vmfs_dirhash(b) % VMFS6_DIR_HASHES)
				continue;
			memcpy(h->pair[0], a, sizeof(a));
			memcpy(h->pair[1], b, sizeof(b));
			return;
		}
}

static void put_dir(struct handmade6 *h)
{
	struct dir_bytes *d = calloc(1, sizeof(*d));
	struct vmfs6_dir_block_disk *map = &d->u.blocks[0];
	uint64_t length = VMFS6_DIR_HEADER_SIZE + (LINKS_BLOCK + 1) * VMFS6_PAGE;
	struct vmfs6_fd_body_disk *body =
		new_fd(h, HANDMADE6_DIR, VMFS_TYPE_DIRECTORY, length, VMFS_ZLA_SB);
	char name[16];

	assert_non_null(d);
	d->header.version = le32_of(VMFS6_DIR_VERSION);
	d->header.map_count = le32_of(1);
	d->header.dot = entry(".", VMFS_TYPE_DIRECTORY, HANDMADE6_DIR, 7, 0x3b8);
	d->header.dotdot = entry("..", VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT, 1, 0x4d8);
	map->head.type = le16_of(DIR6_MAP);
	memset(map->u.map, 0x88, sizeof(map->u.map));
	map->u.map[0] = DIR6_MAP << 4 | DIR6_ENTRIES;
	map->u.map[1] = DIR6_ENTRIES << 4 | DIR6_ENTRIES;
	map->u.map[2] = (DIR6_ENTRIES | DIR6_HAS_ROOM) << 4 | DIR6_LINKS | DIR6_HAS_ROOM;
	add_entry(d, "resident", HANDMADE6_RESIDENT_FILE);
	add_entry(d, "sub", HANDMADE6_SUB);
	for (uint32_t i = 0; i < HANDMADE6_NAMES; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		put_resident(h, HANDMADE6_NAME0 + i, VMFS_TYPE_FILE, name);
		add_entry(d, name, HANDMADE6_NAME0 + i);
	}
	find_pair(h);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t fd = HANDMADE6_NAME0 + HANDMADE6_NAMES + i;

		put_resident(h, fd, VMFS_TYPE_FILE, h->pair[i]);
		add_entry(d, h->pair[i], fd);
	}
	d->header.entry_count = d->header.allocated = le32_of(2 + d->count);
	h->fd = HANDMADE6_DIR;
	body->u.slots[0] = le64_of(addr_disk(new_sub_block(h, &d->header)));
	body->u.slots[1] = le64_of(addr_disk(new_sub_block(h, d->u.bytes)));
	put_fd(h, HANDMADE6_DIR, body, 2);
	free(d);
}

/* ---- what is in use, and whose it is ---- */

uint64_t handmade6_fd_off(const struct handmade6 *h, uint32_t fd)
{
	return LVM_DATA_OFF + mkfs_fd_vol_off(&h->layout, fd);
}

uint64_t handmade6_sb_off(const struct handmade6 *h, uint32_t number)
{
	return LVM_DATA_OFF + sb_off(h, number);
}

uint64_t handmade6_cluster_off(const struct handmade6 *h, enum mkfs_resource_index res,
			       uint32_t cluster)
{
	const struct mkfs_resource *r = &h->layout.resources[res];
	uint64_t off = res == MKFS_FBB ? mkfs_sfb_cluster_off(cluster)
				       : mkfs_cluster_off(r, cluster);

	return LVM_DATA_OFF + mkfs_file_vol_off(&h->layout.files[r->fd], off);
}

uint64_t handmade6_lfb_cluster_off(const struct handmade6 *h)
{
	return LVM_DATA_OFF + mkfs_file_vol_off(&h->layout.files[VMFS_FD_FBB],
						large_header_off(0));
}

static void load_meta(struct handmade6 *h, uint64_t header, struct vmfs6_cluster_disk *c)
{
	assert_int_equal(bdev_read(h->bd, c, sizeof(*c), header + VMFS6_PAGE), 0);
}

/* `used` more are in use than before. */
static void put_meta(struct handmade6 *h, uint64_t header, struct vmfs6_cluster_disk *c,
		     uint32_t used)
{
	c->free = le16_of((uint16_t)(le16_get(c->free) - used));
	c->hint = le32_of(le32_get(c->hint) + used);
	put(h, header + VMFS6_PAGE - LVM_DATA_OFF, c, sizeof(*c));
}

static void set_owner(struct vmfs6_cluster_disk *c, uint32_t i, uint32_t owner)
{
	le32 fd = le32_of(owner);

	memcpy((uint8_t *)c + 0x8e0 + i * sizeof(fd), &fd, sizeof(fd));
}

static void mark_fds(struct handmade6 *h)
{
	uint64_t header = handmade6_cluster_off(h, MKFS_FDC, 0);
	uint32_t end = HANDMADE6_NAME0 + HANDMADE6_NAMES + 2;
	struct vmfs6_cluster_disk c;

	load_meta(h, header, &c);
	for (uint32_t fd = HANDMADE6_DIR; fd < end; fd++) {
		bitmap_clear(c.states, fd);
		set_owner(&c, fd, fd_addr(parent_of(fd)));
	}
	c.fd_generation = le32_of(7);
	put_meta(h, header, &c, end - HANDMADE6_DIR);
}

static void mark_sub_blocks(struct handmade6 *h)
{
	uint64_t header = handmade6_cluster_off(h, MKFS_SBC, 0);
	struct vmfs6_cluster_disk c;

	load_meta(h, header, &c);
	for (uint32_t i = 0; i < h->next_sb; i++) {
		bitmap_clear(c.states, i);
		set_owner(&c, i, fd_addr(h->sb_owner[i]));
	}
	put_meta(h, header, &c, h->next_sb);
}

/* All are in one cluster, behind those of mkfs. */
static void mark_blocks(struct handmade6 *h)
{
	uint32_t first = h->layout.used_blocks, cluster = first / VMFS6_SFB_PER_LFB;
	uint64_t header = handmade6_cluster_off(h, MKFS_FBB, cluster);
	struct vmfs6_cluster_disk c;

	assert_int_equal((h->next_block - 1) / VMFS6_SFB_PER_LFB, cluster);
	load_meta(h, header, &c);
	for (uint32_t n = first; n < h->next_block; n++)
		bitmap_clear(c.states, n % VMFS6_SFB_PER_LFB * 2);
	uint32_t count = le16_get(c.owner_count);
	for (uint32_t fd = 0; fd < ARRAY_SIZE(h->blocks_of); fd++) {
		struct vmfs6_owner_disk owner = { le32_of(fd_addr(fd)),
						  le32_of(h->blocks_of[fd]) };

		if (h->blocks_of[fd])
			memcpy((uint8_t *)&c + VMFS6_SFB_OWNERS_OFF +
				       count++ * sizeof(owner),
			       &owner, sizeof(owner));
	}
	c.owner_count = le16_of((uint16_t)count);
	put_meta(h, header, &c, h->next_block - first);
}

/*
 * One large block is in use as it is; the header of its small ones is nobody's: its lock
 * was never one.
 */
static void mark_large(struct handmade6 *h)
{
	uint64_t header = handmade6_lfb_cluster_off(h);
	uint64_t fbb = mkfs_file_vol_off(&h->layout.files[VMFS_FD_FBB], 0);
	uint64_t small = handmade6_cluster_off(h, MKFS_FBB, HANDMADE6_LARGE_BLOCK);
	struct vmfs6_resource_header_disk resources;
	struct vmfs6_cluster_disk c;

	load_meta(h, header, &c);
	bitmap_clear(c.states, HANDMADE6_LARGE_BLOCK * 3 + 2);
	put_meta(h, header, &c, 0);
	fbb += VMFS6_SFB_HEADER_OFF;
	assert_int_equal(bdev_read(h->bd, &resources, sizeof(resources),
				   LVM_DATA_OFF + fbb),
			 0);
	resources.converted = le32_of(le32_get(resources.converted) - 1);
	put(h, fbb, &resources, sizeof(resources));
	memset(&c, 0, sizeof(c));
	put(h, small - LVM_DATA_OFF, &c, sizeof(c));
	memset(&c, 0x5a, sizeof(c));
	put(h, small - LVM_DATA_OFF + VMFS6_PAGE, &c, sizeof(c));
}

void handmade6_write(struct handmade6 *h, struct bdev *bd)
{
	struct mkfs_options options;

	*h = (struct handmade6){ .bd = bd };
	assert_int_equal(mkfs_layout6_make(bd->name, bd->size, NULL, NULL, &h->layout),
			 0);
	mkfs_options_init(&options, bd);
	snprintf(options.label, sizeof(options.label), "handmade6");
	assert_int_equal(mkfs_write(bd, &h->layout, &options, NULL), 0);
	h->next_block = h->layout.used_blocks;
	assert_true(h->next_block < HANDMADE6_LARGE_BLOCK * VMFS6_SFB_PER_LFB);
	put_files(h);
	put_large(h);
	put_dir(h);
	put_in_root(h);
	mark_fds(h);
	mark_sub_blocks(h);
	mark_blocks(h);
	mark_large(h);
}
