/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/handmade3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/uuid.h"
#include "vmfs/addr.h"
#include "vmfs/vmfs.h"

#define SECTOR VMFS_SECTOR_SIZE
#define SUB_BLOCK 0x10000u
#define PES_MAX 24u
#define CLUSTERS_PER_GROUP 32u
#define SB_CAP 3968u
#define UUID_BYTE 0x33

uint64_t handmade3_length(const struct handmade3 *h, enum handmade3_fd fd)
{
	switch (fd) {
	case HANDMADE3_SUB:
		return HANDMADE3_SUB_LEN;
	case HANDMADE3_BLOCKS:
		return 3ull * h->block_size + 5;
	case HANDMADE3_POINTERS:
		return 1025ull * h->block_size + 7;
	case HANDMADE3_DOUBLE:
		return (uint64_t)h->block_size << 20;
	default:
		return 0;
	}
}

uint8_t handmade3_byte(unsigned int fd, uint64_t off)
{
	return (uint8_t)((off * 2654435761u >> 13) + fd * 29 + 3);
}

static void put_dev(struct handmade3 *h, uint64_t off, const void *data, uint64_t len)
{
	assert_int_equal(bdev_write(h->bd, data, len, off), 0);
}

static void put(struct handmade3 *h, uint64_t vol_off, const void *data, uint64_t len)
{
	put_dev(h, LVM_DATA_OFF + vol_off, data, len);
}

/* ---- system files ---- */

static bool has_new_files(const struct handmade3 *h)
{
	return h->is_upgraded && !h->is_bare;
}

static uint64_t file_vol_off(const struct handmade3 *h, uint32_t fd, uint64_t off)
{
	uint64_t block = off / h->block_size;
	uint64_t number = block ? h->files[fd].rest + block - 1 : h->files[fd].first;
	return number * h->block_size + off % h->block_size;
}

static void take(struct handmade3 *h, enum mkfs_resource_index res, uint32_t number)
{
	bitmap_set(h->used[res], number);
}

/* Gives a file its blocks; .fdc.sf has its first one already. */
static void place(struct handmade3 *h, uint32_t fd, uint64_t length)
{
	uint32_t count = (uint32_t)div_up(length, h->block_size);
	bool has_first = fd == VMFS_FD_FDC;
	h->files[fd].length = length;
	h->files[fd].count = count;
	if (!has_first)
		h->files[fd].first = h->next_block++;
	h->files[fd].rest = h->next_block;
	h->next_block += count - 1;
}

static void resources_make(struct handmade3 *h)
{
	static const struct mkfs_resource
		rows[MKFS_JBC] = {
			[MKFS_FBB] = { ".fbb.sf", VMFS_FD_FBB, VMFS_LOCK_FBB,
				       .resource_size = 0 },
			[MKFS_FDC] = { ".fdc.sf", VMFS_FD_FDC, VMFS_LOCK_FDC,
				       .resource_size = VMFS_FD_SIZE },
			[MKFS_PBC] = { ".pbc.sf", VMFS_FD_PBC, VMFS_LOCK_PBC,
				       .resource_size = VMFS_PB_SIZE },
			[MKFS_SBC] = { ".sbc.sf", VMFS_FD_SBC, VMFS_LOCK_SBC,
				       .resource_size = SUB_BLOCK },
			[MKFS_PB2] = { ".pb2.sf", HANDMADE3_PB2, VMFS_LOCK_PB2,
				       .resource_size = VMFS_PB_SIZE },
		};
	const uint32_t counts[MKFS_JBC][2] = {
		[MKFS_FBB] = { h->block_count, 200 },
		[MKFS_FDC] = { 64 * h->pes, h->is_wide ? 200 : 32 },
		[MKFS_PBC] = { h->is_wide ? 1000 : 8 * h->pes, 16 },
		[MKFS_SBC] = { (uint32_t)min_u64(SB_CAP, 256 * h->pes), 16 },
		[MKFS_PB2] = { 16, 16 },
	};
	for (unsigned int i = 0; i < MKFS_JBC; i++) {
		struct mkfs_resource *res = &h->resources[i];
		*res = rows[i];
		res->clusters_per_group = CLUSTERS_PER_GROUP;
		res->header_size = VMFS_CLUSTER_HEADER_SIZE;
		mkfs_resource_make(res, counts[i][0], counts[i][1]);
	}
}

static void files_place(struct handmade3 *h)
{
	static const enum mkfs_resource_index order[] = { MKFS_FBB, MKFS_FDC, MKFS_PBC,
							  MKFS_SBC };
	uint32_t fdc = (uint32_t)max_u64(1, VMFS_FDC_OFF / h->block_size);
	h->files[VMFS_FD_VH].length = VMFS_FDC_OFF;
	h->files[VMFS_FD_VH].count = (uint32_t)div_up(VMFS_FDC_OFF, h->block_size);
	h->files[VMFS_FD_VH].rest = 1;
	h->files[VMFS_FD_FDC].first = fdc;
	h->next_block = fdc + 1;
	place(h, VMFS_FD_ROOT, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(order); i++) {
		const struct mkfs_resource *res = &h->resources[order[i]];
		uint64_t length = mkfs_resource_file_length(res);
		if (order[i] == MKFS_FBB) /* counts whole groups */
			length = VMFS_RESOURCE_GROUP_OFF +
				 (uint64_t)res->group_count * res->group_size;
		if (order[i] == MKFS_FDC)
			length = max_u64(length, h->block_size);
		place(h, res->fd, length);
	}
	if (has_new_files(h)) {
		place(h, HANDMADE3_PB2,
		      mkfs_resource_file_length(&h->resources[MKFS_PB2]));
		place(h, HANDMADE3_SDD, 2 * VMFS_DIRENT_SIZE);
	}
	h->first_block = h->next_block;
}

static uint64_t item_off(const struct handmade3 *h, enum mkfs_resource_index i,
			 uint32_t number)
{
	const struct mkfs_resource *res = &h->resources[i];
	return file_vol_off(h, res->fd,
			    mkfs_resource_off(res, number / res->per_cluster,
					      number % res->per_cluster));
}

static vmfs_addr item_addr(const struct handmade3 *h, enum mkfs_resource_index i,
			   enum vmfs_addr_type type, uint32_t number)
{
	uint32_t per_cluster = h->resources[i].per_cluster;
	return addr_of(type, number / per_cluster, number % per_cluster);
}

/* ---- LVM, FS descriptor, heartbeats ---- */

static void put_lvm(struct handmade3 *h)
{
	struct vmfs_lvm_device_disk dev = {
		.magic = le32_of(LVM_MAGIC),
		.major = le32_of(3),
		.minor = le32_of(h->lvm_minor ? h->lvm_minor : 0x10),
		.block_size = le32_of(SECTOR),
		.total_bytes = le64_of(h->bd->size),
		.volume_count = le32_of(1),
		.pe_count = le32_of(h->pes),
		.pe_last = le32_of(h->pes - 1),
		.generation = le64_of(h->pes + 2),
		.data_off = le64_of(LVM_DATA_OFF),
		.device_uuid = { 1, 2, 3 },
	};
	struct vmfs_lvm_volume_disk vol = {
		.size = le64_of(h->pes * LVM_PE_SIZE),
		.generation = le64_of(h->pes + 1),
		.state = le32_of(1),
		.snapshot_id = le32_of(1),
		.pe_count = le32_of(h->pes),
		.pe_last = le64_of(h->pes - 1),
		.extent_count = le32_of(1),
	};
	union {
		struct {
			uint8_t bitmap[LVM_PE_BITMAP_SIZE];
			struct vmfs_lvm_pe_disk pes[PES_MAX];
		} d;
		uint8_t bytes[LVM_PE_BITMAP_SIZE + 6 * SECTOR];
	} map = { 0 };
	struct uuid uuid;
	char text[UUID_TEXT_SIZE];
	memset(uuid.b, UUID_BYTE, sizeof(uuid.b));
	memcpy(vol.uuid, uuid.b, sizeof(vol.uuid));
	memcpy(vol.name, uuid_text(&uuid, text), UUID_TEXT_SIZE);
	bitmap_set_range(map.d.bitmap, 0, h->pes);
	for (uint32_t i = 0; i < h->pes; i++)
		map.d.pes[i] = (struct vmfs_lvm_pe_disk){
			.used = 1,
			.number = le32_of(i),
			.dev_off = le64_of(LVM_DATA_OFF + i * LVM_PE_SIZE),
			.vol_off = le64_of(i * LVM_PE_SIZE),
			.length = le64_of(LVM_PE_SIZE),
			.version = le32_of(1),
		};
	put_dev(h, LVM_HEADER_OFF, &dev, sizeof(dev));
	put_dev(h, LVM_VOLUME_OFF, &vol, sizeof(vol));
	put_dev(h, LVM_PE_MAP_OFF, &map, sizeof(map));
}

static uint64_t fd_vol_off(const struct handmade3 *h, uint32_t fd)
{
	return item_off(h, MKFS_FDC, fd);
}

static le32 fd_addr(const struct handmade3 *h, uint32_t fd)
{
	return le32_of((uint32_t)item_addr(h, MKFS_FDC, ADDR_FD, fd).raw);
}

static void put_descriptor(struct handmade3 *h)
{
	struct vmfs_descriptor_disk d = {
		.magic = le32_of(VMFS_MAGIC),
		.major = le32_of(h->is_upgraded ? VMFS_MAJOR_5 : VMFS_MAJOR_3),
		.minor = h->minor ? h->minor : h->is_upgraded ? 60 : 31,
		.uuid = { 7, 7, 7 },
		.config = le32_of(VMFS_CONFIG_PUBLIC),
		.label = "handmade3",
		.disk_block_size = le32_of(SECTOR),
		.block_size = le64_of(h->block_size),
		.created_s = le32_of(1240000000),
		.snapshot_id = le32_of(1),
		.lv_snapshot_id = le32_of(1),
		.fdc_group_off = le32_of(h->is_early ? 0 : VMFS_RESOURCE_GROUP_OFF),
		.fdc_clusters_per_group = le32_of(h->is_early ? 0 : CLUSTERS_PER_GROUP),
		.sub_block_size = le32_of(SUB_BLOCK),
	};
	memset(d.lv_uuid, UUID_BYTE, sizeof(d.lv_uuid));
	if (has_new_files(h)) {
		d.max_journal_slots = le32_of(8);
		d.pb2_fd_off = le64_of(fd_vol_off(h, HANDMADE3_PB2));
		d.pb2_fd_addr = fd_addr(h, HANDMADE3_PB2);
		d.sdd_fd_off = le64_of(fd_vol_off(h, HANDMADE3_SDD));
		d.sdd_fd_addr = fd_addr(h, HANDMADE3_SDD);
	}
	put(h, VMFS_DESCRIPTOR_OFF, &d, sizeof(d));
	for (uint32_t k = 0; k < VMFS_HEARTBEATS_COUNT; k++) {
		uint64_t off = VMFS_HEARTBEATS_OFF + (uint64_t)k * SECTOR;
		struct vmfs_heartbeat_disk hbd = { .state = le32_of(HEARTBEAT_FREE),
						   .addr = le64_of(off) };
		put(h, off, &hbd, sizeof(hbd));
	}
}

/* ---- file descriptors ---- */

static uint32_t generation_of(uint32_t fd)
{
	return fd < HANDMADE3_DIR || fd >= HANDMADE3_PB2 ? 1 : fd - HANDMADE3_DIR + 1;
}

static struct vmfs_fd_disk fd_make(const struct handmade3 *h, uint32_t fd, uint32_t type,
				   uint32_t zla, uint64_t length)
{
	bool is_small = zla == VMFS_ZLA_SB || zla == VMFS_ZLA_RESIDENT;
	uint32_t modes[] = { [VMFS_TYPE_DIRECTORY] = 0755,
			     [VMFS_TYPE_FILE] = 0100600,
			     [VMFS_TYPE_SYMLINK] = 0777,
			     [VMFS_TYPE_SYSTEM] = 0400,
			     [VMFS_TYPE_RDM] = 0100600 };
	return (struct vmfs_fd_disk){
		.lock = { .type = le32_of(VMFS_LOCK_FD),
			  .addr = le64_of(fd_vol_off(h, fd)),
			  .token = le64_of(1) },
		.meta = { .addr = fd_addr(h, fd),
			  .generation = le32_of(generation_of(fd)),
			  .links = le32_of(1),
			  .type = le32_of(type),
			  .length = le64_of(length),
			  .block_size = le64_of(is_small ? SUB_BLOCK : h->block_size),
			  .mtime_s = le32_of(1240000000),
			  .mode = le32_of(modes[type]),
			  .zla = le32_of(zla) },
	};
}

static void put_fd(struct handmade3 *h, uint32_t fd, struct vmfs_fd_disk *fdd,
		   uint64_t blocks)
{
	fdd->meta.block_count = le64_of(blocks);
	put(h, fd_vol_off(h, fd), fdd, sizeof(*fdd));
	take(h, MKFS_FDC, fd);
}

static void put_system_fd(struct handmade3 *h, uint32_t fd)
{
	bool is_root = fd == VMFS_FD_ROOT;
	struct vmfs_fd_disk fdd =
		fd_make(h, fd, is_root ? VMFS_TYPE_DIRECTORY : VMFS_TYPE_SYSTEM,
			VMFS_ZLA_FB, h->files[fd].length);
	assert_true(h->files[fd].count <= VMFS_FD_SLOTS);
	for (uint32_t i = 0; i < h->files[fd].count; i++) {
		uint32_t block = i ? h->files[fd].rest + i - 1 : h->files[fd].first;
		fdd.u.slots[i] = le32_of((uint32_t)addr_fb(block, 0).raw);
		take(h, MKFS_FBB, block);
	}
	if (is_root)
		fdd.meta.links = le32_of(has_new_files(h) ? 4 : 3);
	if (fd == HANDMADE3_SDD) {
		fdd.meta.links = le32_of(2);
		fdd.meta.mode = le32_of(040700);
	}
	put_fd(h, fd, &fdd, h->files[fd].count);
}

/* ---- files ---- */

static le32 new_block(struct handmade3 *h, enum handmade3_fd fd, uint64_t at)
{
	uint32_t number = h->next_block++;
	uint8_t *data = malloc(h->block_size);
	assert_non_null(data);
	for (uint32_t i = 0; i < h->block_size; i++)
		data[i] = handmade3_byte(fd, at * h->block_size + i);
	put(h, (uint64_t)number * h->block_size, data, h->block_size);
	free(data);
	take(h, MKFS_FBB, number);
	return le32_of((uint32_t)addr_fb(number, 0).raw);
}

/* Pointer block `number`, with one entry. */
static le32 new_pointer_block(struct handmade3 *h, uint32_t number, uint32_t index,
			      le32 entry)
{
	le32 entries[VMFS_PB_ENTRIES] = { 0 };
	entries[index] = entry;
	put(h, item_off(h, MKFS_PBC, number), entries, sizeof(entries));
	take(h, MKFS_PBC, number);
	return le32_of((uint32_t)item_addr(h, MKFS_PBC, ADDR_PB, number).raw);
}

/* A sub-block, through the blocks of .sbc.sf one by one. */
static le32 new_sub_block(struct handmade3 *h, uint32_t number, const void *data)
{
	const struct mkfs_resource *res = &h->resources[MKFS_SBC];
	uint64_t off = mkfs_resource_off(res, number / res->per_cluster,
					 number % res->per_cluster);
	for (uint32_t i = 0; i < SUB_BLOCK; i += SECTOR)
		put(h, file_vol_off(h, VMFS_FD_SBC, off + i), (const uint8_t *)data + i,
		    SECTOR);
	take(h, MKFS_SBC, number);
	return le32_of((uint32_t)item_addr(h, MKFS_SBC, ADDR_SB, number).raw);
}

/* The one that the end of the first block of .sbc.sf goes through. */
static uint32_t crossing_sub_block(const struct handmade3 *h)
{
	uint64_t first = VMFS_RESOURCE_GROUP_OFF +
			 CLUSTERS_PER_GROUP * VMFS_CLUSTER_HEADER_SIZE;
	return (uint32_t)((h->block_size - first) / SUB_BLOCK);
}

static void put_sub_blocked(struct handmade3 *h)
{
	struct vmfs_fd_disk fdd = fd_make(h, HANDMADE3_SUB, VMFS_TYPE_FILE, VMFS_ZLA_SB,
					  HANDMADE3_SUB_LEN);
	uint8_t *sub = calloc(1, SUB_BLOCK);
	assert_non_null(sub);
	for (uint32_t i = 0; i < HANDMADE3_SUB_LEN; i++)
		sub[i] = handmade3_byte(HANDMADE3_SUB, i);
	fdd.u.slots[0] = new_sub_block(h, crossing_sub_block(h), sub);
	put_fd(h, HANDMADE3_SUB, &fdd, 1);

	memset(sub, 0, SUB_BLOCK);
	memcpy(sub, HANDMADE3_LINK, strlen(HANDMADE3_LINK));
	fdd = fd_make(h, HANDMADE3_SYMLINK, VMFS_TYPE_SYMLINK, VMFS_ZLA_SB,
		      strlen(HANDMADE3_LINK));
	fdd.u.slots[0] = new_sub_block(h, 1, sub);
	put_fd(h, HANDMADE3_SYMLINK, &fdd, 1);
	free(sub);
}

static void put_blocks(struct handmade3 *h)
{
	struct vmfs_fd_disk fdd =
		fd_make(h, HANDMADE3_BLOCKS, VMFS_TYPE_FILE, VMFS_ZLA_FB,
			handmade3_length(h, HANDMADE3_BLOCKS));
	le32 tbz = new_block(h, HANDMADE3_BLOCKS, 2);
	fdd.u.slots[0] = new_block(h, HANDMADE3_BLOCKS, 0);
	fdd.u.slots[2] = le32_of(le32_get(tbz) | ADDR_FB_TBZ);
	fdd.u.slots[3] = new_block(h, HANDMADE3_BLOCKS, 3);
	fdd.meta.tbz_low = le32_of(1);
	put_fd(h, HANDMADE3_BLOCKS, &fdd, 3);

	fdd = fd_make(h, HANDMADE3_POINTERS, VMFS_TYPE_FILE, VMFS_ZLA_PB,
		      handmade3_length(h, HANDMADE3_POINTERS));
	fdd.u.slots[0] =
		new_pointer_block(h, 0, 0, new_block(h, HANDMADE3_POINTERS, 0));
	fdd.u.slots[1] =
		new_pointer_block(h, h->is_wide ? 617 : 17, 1,
				  new_block(h, HANDMADE3_POINTERS, 1025));
	put_fd(h, HANDMADE3_POINTERS, &fdd, 2);

	fdd = fd_make(h, HANDMADE3_RDM, VMFS_TYPE_RDM, 0, 1 << 30);
	fdd.u.rdm = (struct vmfs_disk_identity_disk){ .type = 1, .len = 4, .id = "disk" };
	put_fd(h, HANDMADE3_RDM, &fdd, 0);
}

/* What a host of VMFS-5 made after the upgrade. */
static void put_new(struct handmade3 *h)
{
	uint64_t length = handmade3_length(h, HANDMADE3_DOUBLE);
	struct vmfs_fd_disk fdd =
		fd_make(h, HANDMADE3_NEW, VMFS_TYPE_FILE, VMFS_ZLA_RESIDENT,
			strlen(HANDMADE3_RESIDENT));
	memcpy(fdd.u.resident, HANDMADE3_RESIDENT, strlen(HANDMADE3_RESIDENT));
	fdd.meta.affinity = fdd.meta.addr;
	fdd.meta.block_shift = 16;
	put_fd(h, HANDMADE3_NEW, &fdd, 0);

	fdd = fd_make(h, HANDMADE3_DOUBLE, VMFS_TYPE_FILE, VMFS_ZLA_DOUBLE, length);
	le32 data = new_block(h, HANDMADE3_DOUBLE, (1u << 20) - 1);
	fdd.u.slots[0] =
		new_pointer_block(h, 4, 1023, new_pointer_block(h, 5, 1023, data));
	put_fd(h, HANDMADE3_DOUBLE, &fdd, 1);
}

/* ---- directories ---- */

struct name {
	const char *name; /* NULL: a hole */
	uint32_t type, fd;
};

static uint32_t put_names(struct handmade3 *h, uint8_t *buf, const struct name *names,
			  uint32_t count)
{
	struct vmfs_dirent_disk *d = (struct vmfs_dirent_disk *)buf;
	for (uint32_t i = 0; i < count; i++) {
		memset(&d[i], 0, sizeof(d[i]));
		if (!names[i].name)
			continue;
		d[i].type = le32_of(names[i].type);
		d[i].addr = fd_addr(h, names[i].fd);
		d[i].generation = le32_of(generation_of(names[i].fd));
		memcpy(d[i].name, names[i].name, strlen(names[i].name));
	}
	return count * VMFS_DIRENT_SIZE;
}

static void put_dir(struct handmade3 *h, uint8_t *buf)
{
	static const struct name names[] = {
		{ ".", VMFS_TYPE_DIRECTORY, HANDMADE3_DIR },
		{ "..", VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT },
		{ "sub", VMFS_TYPE_FILE, HANDMADE3_SUB },
		{ "blocks", VMFS_TYPE_FILE, HANDMADE3_BLOCKS },
	};
	struct name with_hole[ARRAY_SIZE(names) + 1] = { names[0], names[1], names[2],
							 { NULL, 0, 0 }, names[3] };
	memset(buf, 0, SUB_BLOCK);
	struct vmfs_fd_disk fdd =
		fd_make(h, HANDMADE3_DIR, VMFS_TYPE_DIRECTORY, VMFS_ZLA_SB,
			put_names(h, buf, h->has_hole ? with_hole : names,
				  ARRAY_SIZE(names) + h->has_hole));
	fdd.meta.links = le32_of(2);
	fdd.u.slots[0] = new_sub_block(h, 0, buf);
	put_fd(h, HANDMADE3_DIR, &fdd, 1);
}

static void put_root(struct handmade3 *h, uint8_t *buf)
{
	static const struct name names[] = {
		{ ".", VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT },
		{ "..", VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT },
		{ ".fbb.sf", VMFS_TYPE_SYSTEM, VMFS_FD_FBB },
		{ ".fdc.sf", VMFS_TYPE_SYSTEM, VMFS_FD_FDC },
		{ ".pbc.sf", VMFS_TYPE_SYSTEM, VMFS_FD_PBC },
		{ ".sbc.sf", VMFS_TYPE_SYSTEM, VMFS_FD_SBC },
		{ ".vh.sf", VMFS_TYPE_SYSTEM, VMFS_FD_VH },
		{ "dir", VMFS_TYPE_DIRECTORY, HANDMADE3_DIR },
		{ "pointers", VMFS_TYPE_FILE, HANDMADE3_POINTERS },
		{ "link", VMFS_TYPE_SYMLINK, HANDMADE3_SYMLINK },
		{ "rdm", VMFS_TYPE_RDM, HANDMADE3_RDM },
		/* upgraded */
		{ "new", VMFS_TYPE_FILE, HANDMADE3_NEW },
		{ "double", VMFS_TYPE_FILE, HANDMADE3_DOUBLE },
		{ ".pb2.sf", VMFS_TYPE_SYSTEM, HANDMADE3_PB2 },
		{ ".sdd.sf", VMFS_TYPE_SYSTEM, HANDMADE3_SDD },
	};
	static const struct name sdd[] = {
		{ ".", VMFS_TYPE_SYSTEM, HANDMADE3_SDD },
		{ "..", VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT },
	};
	uint32_t count = ARRAY_SIZE(names) - (!h->is_upgraded ? 4 : h->is_bare ? 2 : 0);
	memset(buf, 0, SUB_BLOCK);
	h->files[VMFS_FD_ROOT].length = put_names(h, buf, names, count);
	put(h, file_vol_off(h, VMFS_FD_ROOT, 0), buf, SUB_BLOCK);
	memset(buf, 0, SUB_BLOCK);
	(void)put_names(h, buf, sdd, ARRAY_SIZE(sdd));
	if (has_new_files(h))
		put(h, file_vol_off(h, HANDMADE3_SDD, 0), buf, SUB_BLOCK);
}

/* ---- bitmaps ---- */

static void put_cluster(struct handmade3 *h, enum mkfs_resource_index i, uint32_t c)
{
	const struct mkfs_resource *res = &h->resources[i];
	uint64_t off = file_vol_off(h, res->fd, mkfs_cluster_off(res, c));
	uint32_t total = mkfs_cluster_total(res, c), used = 0;
	struct vmfs_lock_disk lock = { .type = le32_of(res->lock_type),
				       .addr = le64_of(off),
				       .token = le64_of(1) };
	struct vmfs_cluster_disk meta = { .number = le32_of(c), .total = le32_of(total) };
	for (uint32_t k = 0; k < total; k++) {
		if (bitmap_get(h->used[i], c * res->per_cluster + k))
			used++;
		else
			bitmap_set(meta.bitmap, k);
	}
	meta.free = le32_of(total - used);
	if (i == MKFS_FDC)
		meta.fd_generation = le32_of(used);
	put(h, off, &lock, sizeof(lock));
	put(h, off + SECTOR, &meta, sizeof(meta));
}

static void put_resources(struct handmade3 *h)
{
	for (unsigned int i = 0; i < (has_new_files(h) ? MKFS_JBC : MKFS_PB2); i++) {
		const struct mkfs_resource *res = &h->resources[i];
		struct vmfs_resource_header_disk header = {
			.geometry = { .per_cluster = le32_of(res->per_cluster),
				      .clusters_per_group =
					      le32_of(res->clusters_per_group),
				      .group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
				      .resource_size = le32_of(res->resource_size),
				      .group_size = le32_of(res->group_size),
				      .count_low = le32_of(res->count),
				      .group_count = le32_of(res->group_count) },
		};
		put(h, file_vol_off(h, res->fd, 0), &header, sizeof(header));
		for (uint32_t c = 0; c < res->cluster_count; c++)
			put_cluster(h, (enum mkfs_resource_index)i, c);
	}
}

void handmade3_write(struct handmade3 *h)
{
	uint8_t *buf = malloc(SUB_BLOCK);
	assert_non_null(buf);
	if (!h->pes)
		h->pes = HANDMADE3_PES;
	assert_true(h->pes <= PES_MAX && h->bd->size >= HANDMADE3_SIZE_OF(h->pes));
	h->block_count = (uint32_t)(h->pes * LVM_PE_SIZE / h->block_size);
	resources_make(h);
	files_place(h);
	put_lvm(h);
	put_descriptor(h);
	put_root(h, buf);
	put_dir(h, buf);
	for (uint32_t fd = VMFS_FD_ROOT; fd <= VMFS_FD_VH; fd++)
		put_system_fd(h, fd);
	put_sub_blocked(h);
	put_blocks(h);
	if (has_new_files(h)) {
		put_system_fd(h, HANDMADE3_PB2);
		put_system_fd(h, HANDMADE3_SDD);
	}
	if (h->is_upgraded)
		put_new(h);
	put_resources(h);
	free(buf);
}

void handmade3_empty(struct vmfs_volume *vol)
{
	static const char *const files[] = { "/dir/sub", "/dir/blocks", "/pointers",
					     "/link",	 "/rdm",	"/new",
					     "/double" };

	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++)
		assert_int_equal(vmfs_unlink(vol, files[i]), 0);
	assert_int_equal(vmfs_rmdir(vol, "/dir"), 0);
}
