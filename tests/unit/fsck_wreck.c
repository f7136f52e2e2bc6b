/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wreck one field, and fsck names it. Every code of the table of findings is reached by
 * at least one case; a healthy volume has no finding, whatever its size (mkfs_sample.c:
 * nor has one that ESXi made).
 */
#include <errno.h>
#include <isa-l/crc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "mkfs/write.h"
#include "tests/lib/collect.h"
#include "tests/lib/handmade.h"
#include "tests/lib/mended.h"
#include "tests/lib/wreck.h"

#define SECTOR VMFS_SECTOR_SIZE

/* ---- what can be wrecked ---- */

enum place {
	LVM_DEVICE,
	LVM_VOLUME,
	PE_BITMAP,
	PE_TABLE,
	DESCRIPTOR,
	HEARTBEAT, /* slot 5 */
	FDC_HEADER,
	FBB_HEADER,
	PBC_HEADER,
	SBC_HEADER,
	PB2_HEADER,
	FBB_LOCK, /* cluster 1 */
	FBB_META,
	FDC_META, /* cluster 0 */
	SBC_META, /* cluster 1 */
	SBC_META_0,
	PBC_META, /* cluster 1 */
	PB2_META, /* cluster 0 */
	FD_ROOT,
	FD_FDC,
	FD_FBB,
	FD_SBC,
	FD_PBC,
	FD_PB2,
	FD_VH,
	FD_SDD,
	FD_DIR,
	FD_RESIDENT,
	FD_BLOCKS,
	FD_TBZ,
	FD_SUB,
	FD_POINTERS,
	FD_DOUBLE,
	POINTERS,	/* PB 0 */
	POINTERS_UPPER, /* PB 2 */
	ENTRIES_ROOT,
	ENTRIES_DIR,
	JOURNAL, /* the first free block */
};

static uint64_t place_off(const void *volume, int place)
{
	const struct handmade *h = volume;
	static const enum mkfs_resource_index header[] = { MKFS_FDC, MKFS_FBB, MKFS_PBC,
							   MKFS_SBC, MKFS_PB2 };
	static const unsigned int fds[] = {
		VMFS_FD_ROOT,	      VMFS_FD_FDC,
		VMFS_FD_FBB,	      VMFS_FD_SBC,
		VMFS_FD_PBC,	      VMFS_FD_PB2,
		VMFS_FD_VH,	      VMFS_FD_SDD,
		HANDMADE_DIR,	      HANDMADE_FILE_RESIDENT,
		HANDMADE_FILE_BLOCKS, HANDMADE_FILE_TBZ,
		HANDMADE_FILE_SUB,    HANDMADE_FILE_POINTERS,
		HANDMADE_FILE_DOUBLE,
	};
	switch ((enum place)place) {
	case LVM_DEVICE:
		return LVM_HEADER_OFF;
	case LVM_VOLUME:
		return LVM_VOLUME_OFF;
	case PE_BITMAP:
		return LVM_PE_MAP_OFF;
	case PE_TABLE:
		return LVM_PE_MAP_OFF + LVM_PE_BITMAP_SIZE;
	case DESCRIPTOR:
		return LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF;
	case HEARTBEAT:
		return LVM_DATA_OFF + VMFS_HEARTBEATS_OFF + 5 * SECTOR;
	case FDC_HEADER ... PB2_HEADER:
		return handmade_cluster_off(h, header[place - FDC_HEADER], 0) -
		       VMFS_RESOURCE_GROUP_OFF;
	case FBB_LOCK:
		return handmade_cluster_off(h, MKFS_FBB, 1);
	case FBB_META:
		return handmade_cluster_off(h, MKFS_FBB, 1) + SECTOR;
	case FDC_META:
		return handmade_cluster_off(h, MKFS_FDC, 0) + SECTOR;
	case SBC_META:
		return handmade_cluster_off(h, MKFS_SBC, 1) + SECTOR;
	case SBC_META_0:
		return handmade_cluster_off(h, MKFS_SBC, 0) + SECTOR;
	case PBC_META:
		return handmade_cluster_off(h, MKFS_PBC, 1) + SECTOR;
	case PB2_META:
		return handmade_cluster_off(h, MKFS_PB2, 0) + SECTOR;
	case FD_ROOT ... FD_DOUBLE:
		return handmade_fd_off(h, fds[place - FD_ROOT]);
	case POINTERS:
		return handmade_item_off(h, MKFS_PBC, 0, 0);
	case POINTERS_UPPER:
		return handmade_item_off(h, MKFS_PBC, 0, 2);
	case ENTRIES_ROOT:
		return LVM_DATA_OFF +
		       mkfs_file_vol_off(&h->layout.files[VMFS_FD_ROOT], 0);
	case ENTRIES_DIR:
		return handmade_item_off(h, MKFS_SBC, 0, 0);
	case JOURNAL:
		return handmade_block_off(h, 6);
	}
	return 0;
}

#define RES(field) offsetof(struct vmfs_resource_geometry_disk, field)
#define CL(field) offsetof(struct vmfs_cluster_disk, field)
#define FD(field) (SECTOR + offsetof(struct vmfs_fd_meta_disk, field))
#define SLOT(i) (VMFS_FD_DATA_OFF + 4 * (i))
#define ENTRY(i, field) ((i)*VMFS_DIRENT_SIZE + offsetof(struct vmfs_dirent_disk, field))
#define SLOT5 (VMFS_HEARTBEATS_OFF + 5 * SECTOR)
#define FB(n) ((uint64_t)(n) << 6 | ADDR_FB)
/* Blocks of the volume: the first ones of these files, and of what is in files. */
#define PBC 10u
#define SBC 11u
#define DATA 28u

/* clang-format off */
static const struct wreck wrecks[] = {
	ALONE(LVM_VERSION, { LVM_DEVICE, DEV(major), 4, 4 }),
	ALONE(LVM_SECTOR_SIZE, { LVM_DEVICE, DEV(block_size), 4, 520 }),
	ALONE(LVM_DEVICE_SIZE,
	      { LVM_DEVICE, DEV(total_bytes), 8, HANDMADE_SIZE + SECTOR }),
	ALONE(LVM_DEVICE_UUID, { LVM_DEVICE, DEV(device_uuid), 16, 0 }),
	ALONE(LVM_PE_COUNT, { LVM_DEVICE, DEV(pe_last), 4, 7 }),
	FIRST(LVM_PE_COUNT, { LVM_DEVICE, DEV(pe_count), 4, 70 }),
	ALONE(LVM_DATA_OFFSET, { LVM_DEVICE, DEV(data_off), 8, 0x1200000 }),
	ALONE(LVM_MAP_COUNT, { LVM_DEVICE, DEV(pe_map_count), 4, 2 }),
	ALONE(LVM_LOCKED, { LVM_DEVICE, DEV(locked_by), 16, 0x11 }),
	ALONE(LVM_PE_BITMAP, { PE_BITMAP, 0, 1, 0x3f }),
	ALONE(LVM_PE_BITMAP, { PE_BITMAP, 100, 1, 1 }),
	ALONE(LVM_PE_ENTRY, { PE_TABLE, 128 + PE(used), 1, 0 }),
	ALONE(LVM_PE_ENTRY, { PE_TABLE, 256 + PE(number), 4, 3 }),
	ALONE(LVM_PE_ENTRY, { PE_TABLE, 384 + PE(vol_off), 8, 0 }),
	ALONE(LVM_VOLUME_STATE, { LVM_VOLUME, VOL(state), 4, 2 }),
	FIRST(LVM_VOLUME_UUID, { LVM_VOLUME, VOL(uuid), 16, 0 }),
	ALONE(LVM_VOLUME_NAME, { LVM_VOLUME, VOL(name), 1, 'x' }),
	ALONE(LVM_VOLUME_SIZE, { LVM_VOLUME, VOL(size), 8, LVM_PE_SIZE }),
	ALONE(LVM_VOLUME_PES, { LVM_VOLUME, VOL(pe_last), 8, 3 }),
	ALONE(LVM_VOLUME_EXTENTS, { LVM_VOLUME, VOL(extent_count), 4, 9 }),
	ALONE(LVM_VOLUME_GENERATION, { LVM_VOLUME, VOL(generation), 8, 1 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, DESC(magic), 4, 1 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, DESC(major), 4, 24 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, DESC(block_size), 8, 4096 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, DESC(sub_block_size), 4, 77 }),
	ALONE(FS_DESCRIPTOR,
	      { DESCRIPTOR, DESC(fdc_clusters_per_group), 4, 0xffffffff }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, 0, 512, 0 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, 0, 512, 0x5a }),
	ALONE(FS_VERSION, { DESCRIPTOR, DESC(minor), 1, 200 }),
	ALONE(FS_UUID, { DESCRIPTOR, DESC(uuid), 16, 0 }),
	ALONE(FS_LV_UUID, { DESCRIPTOR, DESC(lv_uuid), 4, 1 }),
	ALONE(FS_LABEL, { DESCRIPTOR, DESC(label), 128, 'a' }),
	ALONE(FS_CONFIG, { DESCRIPTOR, DESC(config), 4, 4 }),
	ALONE(FS_SECTOR_SIZE, { DESCRIPTOR, DESC(disk_block_size), 4, 1 }),
	FIRST(FS_SUB_BLOCK_SIZE, { DESCRIPTOR, DESC(sub_block_size), 4, 4096 }),
	ALONE(FS_FDC_GEOMETRY,
	      { DESCRIPTOR, DESC(fdc_group_off), 4, 0xfc00 },
	      { DESCRIPTOR, DESC(fdc_clusters_per_group), 4, 65 }),
	ALONE(FS_PB2_FD, { DESCRIPTOR, DESC(pb2_fd_off), 8, 0x423001 }),
	FIRST(FS_PB2_FD, { DESCRIPTOR, DESC(pb2_fd_addr), 4, 1 }),
	ALONE(FS_SDD_FD, { DESCRIPTOR, DESC(sdd_fd_off), 8, 0 }),
	ALONE(FS_CHECKSUM_TYPE, { DESCRIPTOR, DESC(checksum_type), 1, 2 }),
	ALONE(HB_STATE, { HEARTBEAT, HB(state), 4, 0xABCDEF09 }),
	ALONE(HB_ADDRESS, { HEARTBEAT, HB(addr), 8, 0x300000 }),
	ALONE(HB_OWNER, { HEARTBEAT, HB(owner), 16, 7 }),
	FIRST(HB_OWNER, { HEARTBEAT, HB(state), 4, HEARTBEAT_LIVE }),
	ALONE(HB_EXTENSION, { HEARTBEAT, HB(xmagic), 4, HEARTBEAT_XMAGIC }),
	FIRST(HB_JOURNAL,
	      { HEARTBEAT, HB(state), 4, HEARTBEAT_LIVE },
	      { HEARTBEAT, HB(owner), 16, 7 },
	      { HEARTBEAT, HB(journal_addr), 4, FB(999999) }),
	FIRST(HB_CLAIM,
	      { HEARTBEAT, HB(state), 4, HEARTBEAT_LIVE },
	      { HEARTBEAT, HB(owner), 16, 7 }, { HEARTBEAT, HB(replay_host), 16, 9 },
	      { HEARTBEAT, HB(replay_hb), 8, 0x300001 }),
	ALONE(HB_LIVE,
	      { HEARTBEAT, HB(state), 4, HEARTBEAT_LIVE },
	      { HEARTBEAT, HB(owner), 16, 7 }),
	ALONE(RESOURCE_FILE, { FDC_HEADER, RES(per_cluster), 4, 0 }),
	ALONE(RESOURCE_FILE, { FDC_HEADER, RES(per_cluster), 4, 4000000000 }),
	FIRST(RESOURCE_FILE, { FBB_HEADER, RES(clusters_per_group), 4, 0 }),
	FIRST(RESOURCE_FILE, { SBC_HEADER, RES(resource_size), 4, 512 }),
	FIRST(RESOURCE_FILE, { PBC_HEADER, RES(group_off), 4, 0 }),
	ALONE(RESOURCE_FILE, { PB2_HEADER, RES(group_size), 4, 512 }),
	ALONE(RESOURCE_FILE, { FDC_HEADER, RES(count_high), 4, 1 }),
	ALONE(RESOURCE_FILE, { FD_FDC, FD(zla), 4, VMFS_ZLA_RESIDENT }),
	ALONE(RESOURCE_FILE, { FD_FDC, FD(length), 8, 1ull << 60 }),
	ALONE(RESOURCE_FILE, { FD_FDC, SLOT(0), 4, 0 }),
	ALONE(RESOURCE_FILE, { FDC_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { FBB_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { SBC_HEADER, 0, 512, 0xff }),
	FIRST(RESOURCE_FILE, { PBC_HEADER, 0, 512, 0x11 }),
	ALONE(RESOURCE_FILE, { PB2_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { FD_SBC, FD(length), 8, 0x100000 }),
	FIRST(RESOURCE_FILE, { FD_SBC, SLOT(0), 4, 0 }),
	FIRST(RESOURCE_FILE, { FD_FDC, SLOT(1), 4, 0 }),
	FIRST(RESOURCE_FILE, { FD_FDC, SLOT(2), 4, 0 }, { FD_FDC, SLOT(1), 4, 0 }),
	FIRST(RESOURCE_FILE, { FD_SBC, SLOT(1), 4, 0 }),
	FIRST(RESOURCE_FILE, { FD_SBC, SLOT(7), 8, 0 }),
	FIRST(RESOURCE_FILE, { FD_FBB, FD(zla), 4, 77 }),
	/* The first block is another file's. */
	FIRST(RESOURCE_FILE, { FD_SBC, SLOT(0), 4, FB(DATA) }),
	FIRST(RESOURCE_FILE, { FD_FBB, SLOT(0), 4, FB(DATA + 1) }),
	FIRST(RESOURCE_FILE, { FD_FDC, SLOT(0), 4, FB(DATA) }),
	FIRST(RESOURCE_FILE, { FD_PBC, SLOT(0), 4, FB(SBC) }),
	FIRST(RESOURCE_FILE, { FD_PB2, SLOT(0), 4, FB(PBC) }),
	/* Others are: a file's, free, another resource file's; two of them. */
	FIRST(RESOURCE_BLOCK, { FD_SBC, SLOT(3), 4, FB(DATA) }),
	FIRST(RESOURCE_BLOCK, { FD_SBC, SLOT(14), 4, FB(DATA) }),
	FIRST(RESOURCE_BLOCK, { FD_SBC, SLOT(3), 4, FB(1500) }),
	FIRST(RESOURCE_BLOCK, { FD_SBC, SLOT(14), 4, FB(1500) }),
	FIRST(RESOURCE_BLOCK, { FD_SBC, SLOT(7), 4, FB(PBC) }),
	FIRST(RESOURCE_BLOCK, { FD_SBC, SLOT(1), 4, FB(SBC + 2) }),
	FIRST(RESOURCE_BLOCK, { FD_SBC, SLOT(3), 4, FB(DATA) },
	      { FD_SBC, SLOT(9), 4, FB(DATA + 1) }),
	FIRST(RESOURCE_BLOCK, { FD_SBC, SLOT(3), 4, FB(DATA) },
	      { FD_SBC, SLOT(4), 4, FB(DATA + 1) }),
	FIRST(RESOURCE_COUNT, { FBB_HEADER, RES(count_low), 4, 1800 }),
	ALONE(CLUSTER_NUMBER, { FBB_META, CL(number), 4, 0 }),
	ALONE(CLUSTER_TOTAL, { FBB_META, CL(total), 4, 201 }),
	ALONE(CLUSTER_FREE, { FBB_META, CL(free), 4, 199 }),
	ALONE(CLUSTER_HINT, { FBB_META, CL(hint), 4, 201 }),
	ALONE(CLUSTER_STRAY, { FBB_META, CL(bitmap) + 30, 1, 1 }),
	ALONE(LOCK_TYPE, { FBB_LOCK, LOCK(type), 4, VMFS_LOCK_SBC }),
	ALONE(LOCK_TYPE, { FD_SUB, LOCK(type), 4, 0 }),
	ALONE(LOCK_ADDRESS, { FBB_LOCK, LOCK(addr), 8, 512 }),
	ALONE(LOCK_MODE, { FD_DIR, LOCK(mode), 4, 4 }),
	ALONE(LOCK_HOLDER, { FD_DIR, LOCK(owner), 16, 4 }),
	ALONE(LOCK_HOLDER, { FD_DIR, LOCK(mode), 4, LOCK_EXCLUSIVE }),
	ALONE(LOCK_HOLDER,
	      { FD_DIR, LOCK(mode), 4, LOCK_READ_ONLY },
	      { FD_DIR, LOCK(holder_count), 4, 9 }),
	ALONE(LOCK_HOLDER,
	      { FD_DIR, LOCK(mode), 4, LOCK_EXCLUSIVE },
	      { FD_DIR, LOCK(hb_addr), 8, SLOT5 }, { FD_DIR, LOCK(hb_gen), 8, 1 }),
	ALONE(LOCK_STALE,
	      { FD_DIR, LOCK(mode), 4, LOCK_EXCLUSIVE },
	      { FD_DIR, LOCK(hb_addr), 8, SLOT5 }, { FD_DIR, LOCK(hb_gen), 8, 1 },
	      { HEARTBEAT, HB(generation), 8, 2 }),
	ALONE(LOCK_GLOBAL, { FD_DIR, LOCK(global_holders), 4, 1 }),
	ALONE(FD_FREE,
	      { FDC_META, CL(bitmap) + 1, 1, 0xff },
	      { FDC_META, CL(bitmap) + 2, 1, 0xff },
	      { FDC_META, CL(free), 4, 24 }),
	ALONE(FD_ADDRESS, { FD_SUB, FD(addr), 4, 0x02000004 }),
	ALONE(FD_GENERATION, { FDC_META, CL(fd_generation), 4, 8 }),
	FIRST(FD_TYPE, { FD_SUB, FD(type), 4, 77 }),
	FIRST(FD_UNUSED, { FD_SUB, FD(links), 4, 0 }),
	FIRST(FD_ZLA, { FD_SUB, FD(zla), 4, 9 }),
	ALONE(FD_BLOCK_SIZE, { FD_SUB, FD(block_size), 8, 0x100000 }),
	ALONE(FD_BLOCK_SIZE, { FD_SUB, FD(block_shift), 1, 20 }),
	ALONE(FD_LENGTH, { FD_RESIDENT, FD(length), 8, 1025 }),
	ALONE(FD_LENGTH, { FD_SUB, FD(length), 8, 8193 }),
	ALONE(FD_LENGTH, { FD_BLOCKS, FD(length), 8, (256u << 20) + 1 }),
	ALONE(FD_BLOCK_COUNT, { FD_BLOCKS, FD(block_count), 8, 3 }),
	ALONE(FD_BLOCK_COUNT, { FD_DOUBLE, FD(block_count), 8, 0 }),
	ALONE(FD_TBZ_COUNT, { FD_TBZ, FD(tbz_low), 4, 0 }),
	ALONE(FD_TBZ_COUNT, { FD_TBZ, FD(cow_high), 4, 1 }),
	ALONE(FD_SYSTEM, { FD_VH, FD(length), 8, 0 }),
	FIRST(FD_SYSTEM, { FD_VH, FD(type), 4, VMFS_TYPE_FILE }),
	FIRST(FD_SYSTEM, { FD_ROOT, FD(type), 4, VMFS_TYPE_FILE }),
	FIRST(ADDR_TYPE, { FD_BLOCKS, SLOT(0), 4, 0x10000102 }),
	ALONE(ADDR_TYPE, { FD_POINTERS, SLOT(1), 4, FB(500) }),
	FIRST(ADDR_TYPE, { POINTERS, 8, 4, 0x7 }),
	FIRST(ADDR_RANGE, { FD_BLOCKS, SLOT(0), 4, FB(1792) }),
	ALONE(ADDR_RANGE, { FD_POINTERS, SLOT(1), 4, 0xffffffc3 }),
	FIRST(ADDR_FREE, { FD_BLOCKS, SLOT(0), 4, FB(1791) }),
	FIRST(ADDR_FREE,
	      { FBB_META, CL(bitmap), 1, 0xff }, { FD_SUB, SLOT(0), 4, 0x20000042 }),
	FIRST(ADDR_SHARED, { FD_BLOCKS, SLOT(2), 4, FB(0) }),
	FIRST(ADDR_SHARED, { POINTERS_UPPER, 0, 4, 0x20000003 }),
	FIRST(DIR_LENGTH, { FD_DIR, FD(length), 8, 839 }),
	FIRST(DIR_LENGTH, { FD_DIR, FD(length), 8, 140 * 100 }),
	FIRST(DIR_LENGTH, { FD_DIR, FD(length), 8, 140 }),
	ALONE(DIR_DOT, { ENTRIES_DIR, ENTRY(0, addr), 4, 0x00000004 }),
	ALONE(DIR_DOT, { ENTRIES_DIR, ENTRY(0, name), 1, 'x' }),
	ALONE(DIR_DOTDOT, { ENTRIES_DIR, ENTRY(1, addr), 4, 0x02000004 }),
	ALONE(DIR_NAME, { ENTRIES_DIR, ENTRY(2, name), 8, 0 }),
	ALONE(DIR_NAME, { ENTRIES_DIR, ENTRY(2, name), 4, 0x2f612f61 }),
	ALONE(DIR_NAME, { ENTRIES_DIR, ENTRY(5, name), 128, 'a' }),
	ALONE(DIR_DUPLICATE, { ENTRIES_DIR, ENTRY(5, name), 8, 0x7a6274 }),
	FIRST(DIR_TARGET, { ENTRIES_DIR, ENTRY(5, addr), 4, 0x07c00004 }),
	FIRST(DIR_TARGET, { ENTRIES_DIR, ENTRY(5, addr), 4, 0xffffffff }),
	ALONE(DIR_TYPE, { ENTRIES_DIR, ENTRY(5, type), 4, 2 }),
	ALONE(DIR_GENERATION, { ENTRIES_DIR, ENTRY(5, generation), 4, 99 }),
	ALONE(DIR_GENERATION, { FD_SUB, FD(generation), 4, 1 }),
	FIRST(DIR_PARENTS, { ENTRIES_DIR, ENTRY(5, addr), 4, 0x02000004 }),
	FIRST(DIR_PARENTS, { ENTRIES_DIR, ENTRY(5, addr), 4, 0x00000004 }),
	ALONE(FD_ORPHAN, { ENTRIES_DIR, ENTRY(5, addr), 4, 0 }),
	FIRST(FD_ORPHAN, { ENTRIES_ROOT, ENTRY(9, addr), 4, 0 }),
	/* A ring: the directory is its own, and nothing leads there from the root. */
	FIRST(FD_ORPHAN, { ENTRIES_ROOT, ENTRY(9, addr), 4, 0 },
	      { ENTRIES_DIR, ENTRY(5, addr), 4, 0x02000004 },
	      { ENTRIES_DIR, ENTRY(5, type), 4, 2 },
	      { ENTRIES_DIR, ENTRY(5, generation), 4, 1 }),
	ALONE(FD_LINKS, { FD_SUB, FD(links), 4, 2 }),
	ALONE(FD_LINKS, { FD_ROOT, FD(links), 4, 3 }),
	FIRST(FB_LOST, { FBB_META, CL(bitmap) + 2, 1, 0xfe }),
	ALONE(FB_LOST,
	      { FD_BLOCKS, SLOT(2), 4, 0 }, { FD_BLOCKS, FD(block_count), 8, 1 }),
	ALONE(SB_LOST,
	      { SBC_META, CL(bitmap), 1, 0x7f }, { SBC_META, CL(free), 4, 31 }),
	ALONE(PB_LOST,
	      { PBC_META, CL(bitmap), 1, 0x7f }, { PBC_META, CL(free), 4, 15 }),
	ALONE(PB2_LOST,
	      { PB2_META, CL(bitmap), 1, 0xfe }, { PB2_META, CL(free), 4, 15 }),
};
/* clang-format on */

/* ---- the tests ---- */

static void a_healthy_volume_has_no_finding(void **state)
{
	(void)state;
	struct handmade h;
	static struct findings all;
	struct fsck_summary summary;
	handmade_new(&h);
	assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
	assert_string_equal(all.text, "");
	assert_int_equal(summary.errors + summary.warnings + summary.notes, 0);
	assert_int_equal(summary.file_count, 8);
	assert_int_equal(summary.directory_count, 3);
	assert_string_equal(summary.label, "handmade");
	assert_int_equal(summary.used_block_count, h.layout.used_blocks + 6);
	bdev_close(h.bd);
}

static void write_again(void *volume)
{
	struct handmade *h = volume;
	handmade_write(h, h->bd);
}

static struct wrecker wrecker_of(struct handmade *h)
{
	return (struct wrecker){ .volume = h,
				 .bd = h->bd,
				 .place_off = place_off,
				 .write = write_again,
				 .mended = 1 };
}

static void poke(struct handmade *h, const struct poke *p)
{
	struct wrecker w = wrecker_of(h);
	wreck_poke(&w, p);
}

/* VMFS-L: another magic, and private. */
static void a_local_volume_has_no_finding(void **state)
{
	struct handmade h;
	(void)state;
	handmade_new(&h);
	poke(&h, &(struct poke){ DESCRIPTOR, DESC(magic), 4, VMFSL_MAGIC });
	poke(&h, &(struct poke){ DESCRIPTOR, DESC(config), 4, 0x104 });
	wreck_assert_clean(h.bd);
	bdev_close(h.bd);
}

static void every_wreck_is_named(void **state)
{
	struct handmade h;
	(void)state;
	handmade_new(&h);
	struct wrecker w = wrecker_of(&h);
	wreck_all(&w, wrecks, ARRAY_SIZE(wrecks));
	bdev_close(h.bd);
}

static uint64_t sbc_meta_off(const struct handmade *h, uint32_t cluster)
{
	return handmade_cluster_off(h, MKFS_SBC, cluster) + SECTOR;
}

static bool yes(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	(void)problem;
	(void)text;
	return true;
}

/*
 * A header is made anew only where the headers of clusters bear it out: not by one in
 * two, not without the last one, and not where they need fewer blocks than there are.
 */
static void what_nothing_proves_is_not_made_up(void **state)
{
	static const uint8_t zeros[SECTOR];
	static struct findings all;
	struct handmade h;
	(void)state;
	for (unsigned int round = 0; round < 3; round++) {
		struct fsck_summary summary;
		handmade_new(&h);
		const struct mkfs_resource *sbc = &h.layout.resources[MKFS_SBC];
		struct plan *plan = plan_new(&h.bd, 1);
		assert_non_null(plan);
		struct bdev *over = plan_device(plan, 0);
		struct fsck_options options = { .devices = &over,
						.device_count = 1,
						.found = wreck_found,
						.arg = &all,
						.plan = plan,
						.may_repair = yes };
		uint32_t last = sbc->cluster_count - 1;
		uint32_t from = round == 0 ? 1 : round == 1 ? last : last / 2;
		uint32_t step = round == 0 ? 2 : 1;
		for (uint32_t c = from; c <= last; c += step)
			assert_int_equal(
				bdev_write(h.bd, zeros, SECTOR, sbc_meta_off(&h, c)), 0);
		poke(&h, &(struct poke){ SBC_HEADER, 0, 512, 0x77 });
		memset(&all, 0, sizeof(all));
		assert_int_equal(fsck_check(&options, &summary), 0);
		assert_int_equal(all.counts[PROBLEM_RESOURCE_FILE], 1);
		assert_true(all.counts[PROBLEM_CLUSTER_NUMBER] == 0);
		assert_int_equal(plan_changes(plan), 0);
		plan_free(plan);
		bdev_close(h.bd);
	}
}

/*
 * A block that nothing proves stays missing, and says so each time: the last one, which
 * carries nothing and has no neighbour behind it, and one between its neighbours that is
 * free. Nothing else is changed for it.
 */
static void a_block_that_nothing_proves_stays_missing(void **state)
{
	static const uint8_t zero[4];
	static struct findings all;
	struct handmade h;
	(void)state;
	for (unsigned int round = 0; round < 2; round++) {
		struct fsck_summary summary;
		struct session_result result;
		handmade_new(&h);
		const struct mkfs_file *sbc = &h.layout.files[VMFS_FD_SBC];
		uint32_t last = (uint32_t)div_up(sbc->length_bytes, 1u << 20) - 1;
		uint32_t at = round == 0 ? last : 3;
		uint64_t block = mkfs_file_vol_off(sbc, (uint64_t)at << 20) >> 20;
		uint64_t slot = SLOT(at),
			 meta_off = handmade_cluster_off(&h, MKFS_FBB, 0);
		struct vmfs_cluster_disk meta;
		poke(&h, &(struct poke){ FD_SBC, (uint32_t)slot, 4, 0 });
		assert_int_equal(bdev_read(h.bd, &meta, sizeof(meta), meta_off + SECTOR),
				 0);
		bitmap_set(meta.bitmap, block);
		meta.free = le32_of(le32_get(meta.free) + 1);
		if (round == 1)
			assert_int_equal(bdev_write(h.bd, &meta, sizeof(meta),
						    meta_off + SECTOR), 0);
		assert_int_equal(mended_run(h.bd, NULL, UINT64_MAX, &result, NULL), 0);
		assert_true(result.last.errors > 0);
		assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
		assert_int_equal(all.counts[PROBLEM_RESOURCE_FILE], 1);
		assert_non_null(strstr(all.text, "of it are missing"));
		uint8_t entry[4];
		uint8_t sector[SECTOR];
		uint64_t off = place_off(&h, FD_SBC) + slot;
		assert_int_equal(bdev_read(h.bd, sector, SECTOR, round_down(off, SECTOR)),
				 0);
		memcpy(entry, sector + off % SECTOR, sizeof(entry));
		assert_memory_equal(entry, zero, sizeof(zero));
		bdev_close(h.bd);
	}
}

/* These have a test of their own below, or in vmfs_lvm.c. */
static bool has_wreck_here(enum fsck_problem problem)
{
	return !wreck_is_only_6(problem) && problem != PROBLEM_READ_ERROR &&
	       problem != PROBLEM_HB_RECOVERY && problem != PROBLEM_JOURNAL_LOST &&
	       problem != PROBLEM_LVM_REGION;
}

static void no_code_is_without_a_wreck(void **state)
{
	(void)state;
	wreck_assert_complete(wrecks, ARRAY_SIZE(wrecks), has_wreck_here);
}

/* A host died: slot in use, its journal block allocated, named by the slot only. */
static void a_journal_of_a_live_slot_is_not_lost(void **state)
{
	(void)state;
	struct handmade h;
	static struct findings all;
	struct fsck_summary summary;
	handmade_new(&h);
	uint32_t fb = h.first_block + 6;
	struct vmfs_cluster_disk meta;
	uint64_t meta_off = handmade_cluster_off(&h, MKFS_FBB, 0) + SECTOR;
	assert_int_equal(bdev_read(h.bd, &meta, sizeof(meta), meta_off), 0);
	assert_true(fb < 200);
	bitmap_clear(meta.bitmap, fb);
	meta.free = le32_of(le32_get(meta.free) - 1);
	assert_int_equal(bdev_write(h.bd, &meta, sizeof(meta), meta_off), 0);
	assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_FB_LOST], 1);

	/* A host died while it joined: the header says whose block that was. */
	struct vmfs_descriptor_disk desc;
	struct vmfs_journal_header_disk header = { .magic = le32_of(JOURNAL_HEADER_MAGIC),
						   .version = le32_of(1) };
	uint64_t header_off = place_off(&h, JOURNAL) + SECTOR;
	assert_int_equal(bdev_read(h.bd, &desc, sizeof(desc), place_off(&h, DESCRIPTOR)),
			 0);
	memcpy(header.volume_uuid, desc.uuid, sizeof(desc.uuid));
	assert_int_equal(bdev_write(h.bd, &header, sizeof(header), header_off), 0);
	assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_FB_LOST], 1);
	header.crc = le32_of(~crc32_iscsi((unsigned char *)&header, 0x48, 0xffffffffu));
	assert_int_equal(bdev_write(h.bd, &header, sizeof(header), header_off), 0);
	assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_JOURNAL_LOST], 1);
	assert_int_equal(summary.errors, 0);
	assert_int_equal(summary.warnings, 1);

	const struct poke pokes[] = {
		{ HEARTBEAT, HB(state), 4, HEARTBEAT_LIVE },
		{ HEARTBEAT, HB(owner), 16, 7 },
		{ HEARTBEAT, HB(journal_addr), 4, FB(fb) },
		{ HEARTBEAT, HB(journal_vol_off), 8, (uint64_t)fb << 20 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(pokes); i++)
		poke(&h, &pokes[i]);
	assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
	assert_int_equal(summary.errors, 0);
	assert_true(summary.is_live);
	assert_false(summary.needs_recovery);

	poke(&h, &(struct poke){ JOURNAL, 0, 4, JOURNAL_STATE_MAGIC });
	assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
	assert_int_equal(summary.errors, 0);
	assert_true(summary.needs_recovery);
	assert_non_null(strstr(all.text, "needs recovery by mounting"));
	bdev_close(h.bd);
}

static void a_truncated_device_is_named_and_not_trusted(void **state)
{
	(void)state;
	struct handmade h;
	static struct findings all;
	struct fsck_summary summary;
	struct bdev *cut;
	handmade_new(&h);
	/* Behind the metadata: all can be read but the size is wrong. */
	assert_int_equal(bdev_range_new(h.bd, 0, HANDMADE_SIZE / 2, &cut), 0);
	assert_int_equal(wreck_check(&cut, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_LVM_DEVICE_SIZE], 1);
	assert_false(summary.has_failed);
	bdev_close(cut);
	handmade_new(&h);
	/* In the middle of them. */
	assert_int_equal(bdev_range_new(h.bd, 0, 0x1800000, &cut), 0);
	assert_int_equal(wreck_check(&cut, 1, &all, &summary), 0);
	assert_true(all.counts[PROBLEM_READ_ERROR] > 0);
	assert_true(summary.has_failed);
	bdev_close(cut);
}

static void what_is_not_vmfs_is_refused_in_one_sentence(void **state)
{
	(void)state;
	struct bdev *bd, *two[2];
	struct collect told;
	struct reporter *r = collect_init(&told);
	struct fsck_summary summary;
	static struct findings all;
	struct fsck_options options = { .devices = &bd,
					.device_count = 1,
					.reporter = r,
					.found = wreck_found,
					.arg = &all };
	assert_int_equal(bdev_mem_new(64 << 20, SECTOR, NULL, &bd), 0);
	assert_int_equal(fsck_check(&options, &summary), -EMEDIUMTYPE);
	assert_true(collect_has(&told, "not VMFS"));
	bdev_close(bd);
	collect_clear(&told);
	assert_int_equal(bdev_mem_new(4096, SECTOR, NULL, &bd), 0);
	assert_int_equal(fsck_check(&options, &summary), -EMEDIUMTYPE);
	assert_true(collect_has(&told, "4096 bytes are too short"));
	bdev_close(bd);

	collect_clear(&told);
	assert_int_equal(bdev_mem_new(64 << 20, 4096, NULL, &bd), 0);
	assert_int_equal(fsck_check(&options, &summary), -EMEDIUMTYPE);
	assert_true(collect_has(&told, "sectors of 4096 bytes"));
	bdev_close(bd);

	collect_clear(&told);
	struct handmade a, b;
	handmade_new(&a);
	handmade_new(&b);
	poke(&b, &(struct poke){ LVM_VOLUME, VOL(pe_first), 8, 7 });
	two[0] = a.bd;
	two[1] = b.bd;
	options.devices = two;
	options.device_count = 2;
	assert_int_equal(fsck_check(&options, &summary), -EINVAL);
	assert_true(collect_has(&told, "extent of another volume"));
	collect_clear(&told);
	options.devices = two + 1;
	options.device_count = 1;
	assert_int_equal(fsck_check(&options, &summary), -ENODEV);
	assert_true(collect_has(&told, "the extent with PE 0 is missing"));
	collect_clear(&told);
	poke(&a, &(struct poke){ LVM_VOLUME, VOL(extent_count), 4, 2 });
	poke(&a, &(struct poke){ LVM_VOLUME, VOL(size), 8, 14 * LVM_PE_SIZE });
	options.devices = two;
	assert_int_equal(fsck_check(&options, &summary), -ENODEV);
	assert_true(
		collect_has(&told, "1 of 2 extents given, the one with PE 7 is missing"));
	assert_string_equal(all.text, "");
	bdev_close(a.bd);
	bdev_close(b.bd);
	collect_done(&told);
}

static void fresh_volumes_of_all_sizes_are_clean(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {
		MKFS_SIZE_MIN, 600ull << 20, 1ull << 30, 4ull << 30, 127ull << 30,
		129ull << 30,  300ull << 30, 1ull << 40, 2ull << 40, 9ull << 40,
	};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bdev *bd;
		struct mkfs_layout layout;
		struct mkfs_options options;
		assert_int_equal(bdev_mem_new(sizes[i], SECTOR, NULL, &bd), 0);
		assert_int_equal(mkfs_layout_make("disk", sizes[i], NULL, NULL, &layout),
				 0);
		mkfs_options_init(&options, bd);
		assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
		wreck_assert_clean(bd);
		bdev_close(bd);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_healthy_volume_has_no_finding),
		cmocka_unit_test(a_local_volume_has_no_finding),
		cmocka_unit_test(every_wreck_is_named),
		cmocka_unit_test(what_nothing_proves_is_not_made_up),
		cmocka_unit_test(a_block_that_nothing_proves_stays_missing),
		cmocka_unit_test(no_code_is_without_a_wreck),
		cmocka_unit_test(a_journal_of_a_live_slot_is_not_lost),
		cmocka_unit_test(a_truncated_device_is_named_and_not_trusted),
		cmocka_unit_test(what_is_not_vmfs_is_refused_in_one_sentence),
		cmocka_unit_test(fresh_volumes_of_all_sizes_are_clean),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
