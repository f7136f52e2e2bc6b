/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wreck one field of a VMFS-6 volume, and fsck names it: every code that only VMFS-6 can
 * have, and those whose field lies elsewhere there. A healthy volume has no finding.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/align.h"
#include "mkfs/write.h"
#include "tests/lib/handmade6.h"
#include "tests/lib/wreck.h"
#include "vmfs/dirhash.h"

#define PAGE VMFS6_PAGE

enum place {
	LVM_DEVICE,
	LVM_VOLUME,
	PE_BITMAP,
	PE_TABLE,
	DESCRIPTOR,
	HEARTBEAT, /* slot 5 */
	FBB_HEADER,
	LFB_HEADER,
	SBC_HEADER,
	FDC_HEADER,
	PBC_HEADER,
	PB2_HEADER,
	JBC_HEADER,
	SFB_LOCK, /* cluster 2 */
	SFB_META,
	LFB_META,
	FDC_META,
	SBC_META,
	PB2_META,
	JBC_META,
	FD_ROOT,
	FD_FBB,
	FD_FDC,
	FD_PB2,
	FD_VH,
	FD_JBC,
	FD_DIR,
	FD_BLOCKS,
	FD_LARGE,
	FD_SINGLE,
	FD_RESIDENT,
	FD_SUB,
	DIR_HEADER,
	DIR_MAP,
	DIR_BLOCK1,
	DIR_BLOCK4,
	DIR_LINKS,
	SINGLE_POINTERS,
	SBC_POINTERS, /* the first pointer block of .sbc.sf */
	ROOT_HEADER,
};

static uint64_t file_off(const struct handmade6 *h, unsigned int fd, uint64_t off)
{
	return LVM_DATA_OFF + mkfs_file_vol_off(&h->layout.files[fd], off);
}

/* Of the two sub-blocks of /dir: the file's bytes from header and blocks. */
static uint64_t dir_off(const struct handmade6 *h, uint64_t off)
{
	uint32_t first = 0;
	while (h->sb_owner[first] != HANDMADE6_DIR)
		first++;
	return handmade6_sb_off(h, first + (uint32_t)(off / VMFS6_SUB_BLOCK_SIZE)) +
	       off % VMFS6_SUB_BLOCK_SIZE;
}

static uint64_t sb_of(const struct handmade6 *h, uint32_t fd)
{
	uint32_t i = 0;
	while (h->sb_owner[i] != fd)
		i++;
	return handmade6_sb_off(h, i);
}

static uint64_t block_off(const struct handmade6 *h, uint64_t block)
{
	return dir_off(h, VMFS6_DIR_HEADER_SIZE + block * PAGE);
}

static uint64_t place_off(const void *volume, int place)
{
	const struct handmade6 *h = volume;
	static const unsigned int fds[] = {
		VMFS_FD_ROOT,	  VMFS_FD_FBB,	    VMFS_FD_FDC,
		VMFS_FD_PB2,	  VMFS_FD_VH,	    VMFS6_FD_JBC,
		HANDMADE6_DIR,	  HANDMADE6_BLOCKS, HANDMADE6_LARGE,
		HANDMADE6_SINGLE, HANDMADE6_RESIDENT_FILE, HANDMADE6_SUB,
	};
	switch ((enum place)place) {
	case LVM_DEVICE:
		return LVM_HEADER_OFF;
	case LVM_VOLUME:
		return LVM6_VOLUME_OFF;
	case PE_BITMAP:
		return LVM6_PE_BITMAP_OFF;
	case PE_TABLE:
		return LVM6_PE_TABLE_OFF;
	case DESCRIPTOR:
		return LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF;
	case HEARTBEAT:
		return LVM_DATA_OFF + VMFS_HEARTBEATS_OFF + 5 * PAGE;
	case FBB_HEADER:
		return file_off(h, VMFS_FD_FBB, VMFS6_SFB_HEADER_OFF);
	case LFB_HEADER:
		return file_off(h, VMFS_FD_FBB, 0);
	case SBC_HEADER:
		return file_off(h, VMFS_FD_SBC, 0);
	case FDC_HEADER:
		return file_off(h, VMFS_FD_FDC, 0);
	case PBC_HEADER:
		return file_off(h, VMFS_FD_PBC, 0);
	case PB2_HEADER:
		return file_off(h, VMFS_FD_PB2, 0);
	case JBC_HEADER:
		return file_off(h, VMFS6_FD_JBC, 0);
	case SFB_LOCK:
		return handmade6_cluster_off(h, MKFS_FBB, 2);
	case SFB_META:
		return handmade6_cluster_off(h, MKFS_FBB, 2) + PAGE;
	case LFB_META:
		return handmade6_lfb_cluster_off(h) + PAGE;
	case FDC_META:
		return handmade6_cluster_off(h, MKFS_FDC, 0) + PAGE;
	case SBC_META:
		return handmade6_cluster_off(h, MKFS_SBC, 0) + PAGE;
	case PB2_META:
		return handmade6_cluster_off(h, MKFS_PB2, 0) + PAGE;
	case JBC_META:
		return handmade6_cluster_off(h, MKFS_JBC, 0) + PAGE;
	case FD_ROOT ... FD_SUB:
		return handmade6_fd_off(h, fds[place - FD_ROOT]);
	case SBC_POINTERS:
		return file_off(h, VMFS_FD_PB2,
				VMFS_RESOURCE_GROUP_OFF + 8 * VMFS6_CLUSTER_HEADER_SIZE);
	case DIR_HEADER:
		return dir_off(h, 0);
	case DIR_MAP:
		return block_off(h, 0);
	case DIR_BLOCK1:
		return block_off(h, 1);
	case DIR_BLOCK4:
		return block_off(h, 4);
	case DIR_LINKS:
		return block_off(h, 5);
	case SINGLE_POINTERS:
		return sb_of(h, HANDMADE6_SINGLE);
	case ROOT_HEADER:
		return file_off(h, VMFS_FD_ROOT, 0);
	}
	return 0;
}

#define DESC6(field) (VMFS6_DESCRIPTOR_AT + offsetof(struct vmfs6_descriptor_disk, field))
#define RES(field) offsetof(struct vmfs6_resource_header_disk, field)
#define CL(field) offsetof(struct vmfs6_cluster_disk, field)
#define FD(field) (PAGE + offsetof(struct vmfs_fd_meta_disk, field))
#define SLOT(i) (PAGE + offsetof(struct vmfs6_fd_body_disk, u.slots) + 8 * (i))
#define ENTRY(i, field)                                                                  \
	(64 + (i) * sizeof(struct vmfs6_dirent_disk) +                                   \
	 offsetof(struct vmfs6_dirent_disk, field))
#define HEAD(field) offsetof(struct vmfs6_dir_block_head_disk, field)
#define HEADER(field) offsetof(struct vmfs6_dir_header_disk, field)
#define LINK(field) (64 + offsetof(struct vmfs6_dir_links_disk, field))
#define OWNER(i) (VMFS6_SFB_OWNERS_OFF + 8 * (i))
#define SINGLE_OWNER(i) (0x8e0 + 4 * (i))
#define SFB(n) ((uint64_t)((n) % 512) << 51 | (uint64_t)((n) / 512) << 15 | ADDR_FB)
#define LFB(n) ((uint64_t)(n) << 15 | ADDR_LFB)
#define SB(n) ((uint64_t)(n) << 56 | ADDR_SB)
#define DATA 1439u /* the first small block that a file has */

/* clang-format off */
static const struct wreck wrecks[] = {
	ALONE(LVM_PE_COUNT, { LVM_DEVICE, DEV(pe_last), 4, 7 }),
	ALONE(LVM_PE_COUNT, { LVM_DEVICE, DEV(pe_count6), 4, 16 }),
	ALONE(LVM_PE_BITMAP, { PE_BITMAP, 0, 1, 3 }),
	ALONE(LVM_PE_ENTRY, { PE_TABLE, PE(used), 1, 0 }),
	ALONE(LVM_PE_ENTRY, { PE_TABLE, PE(length), 8, 0 }),
	ALONE(LVM_PE_ENTRY, { PE_TABLE, PE(dev_off), 8, 0x1200000 }),
	ALONE(LVM_VOLUME_GENERATION, { LVM_VOLUME, VOL(generation), 8, 16 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, DESC6(metadata_align), 4, 8192 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, DESC6(lfb_shift), 2, 10 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, DESC6(pb_shift), 2, 12 }),
	ALONE(FS_DESCRIPTOR, { DESCRIPTOR, 0, 512, 0 }),
	ALONE(FS_VERSION, { DESCRIPTOR, DESC(minor), 1, 90 }),
	ALONE(FS_PB2_FD, { DESCRIPTOR, DESC(pb2_fd_off), 8, 0x72c001 }),
	ALONE(FS_CHECKSUM_TYPE, { DESCRIPTOR, DESC(checksum_type), 1, 1 }),
	ALONE(HB_STATE, { HEARTBEAT, HB(state), 4, 0xABCDEF09 }),
	ALONE(HB_ADDRESS, { HEARTBEAT, HB(addr), 8, 0x300a00 }),
	FIRST(HB_JOURNAL,
	      { HEARTBEAT, HB(state), 4, HEARTBEAT_LIVE },
	      { HEARTBEAT, HB(owner), 16, 7 },
	      { HEARTBEAT, HB(journal_addr), 4, ADDR_JB | 99 << 3 }),
	FIRST(HB_JOURNAL,
	      { HEARTBEAT, HB(state), 4, HEARTBEAT_LIVE },
	      { HEARTBEAT, HB(owner), 16, 7 },
	      { HEARTBEAT, HB(journal_addr), 4, ADDR_JB },
	      { HEARTBEAT, HB(journal_vol_off), 8, 0x100000 }),
	FIRST(RESOURCE_FILE, { SBC_HEADER, RES(signature), 4, 0 }),
	FIRST(RESOURCE_FILE, { SBC_HEADER, RES(bits_per_resource), 4, 2 }),
	FIRST(RESOURCE_FILE, { FBB_HEADER, RES(parent_group_size), 4, 0x10000 }),
	FIRST(RESOURCE_FILE, { SBC_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { FBB_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { LFB_HEADER, 0, 512, 0x5a }),
	FIRST(RESOURCE_FILE, { FDC_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { PBC_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { PB2_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { JBC_HEADER, 0, 512, 0 }),
	FIRST(RESOURCE_FILE, { FD_JBC, FD(length), 8, 0x100000 }),
	FIRST(RESOURCE_FILE, { FD_JBC, SLOT(5), 8, 0 }),
	FIRST(RESOURCE_FILE, { FD_JBC, SLOT(64), 8, 0 }),
	FIRST(RESOURCE_FILE, { SBC_POINTERS, 8 * 128, 16, 0 }),
	FIRST(RESOURCE_FILE, { SBC_POINTERS, 8 * 300, 8, 0 }),
	/* The first block is another file's; others are; two of them. */
	FIRST(RESOURCE_FILE, { FD_FBB, SLOT(0), 8, SFB(DATA) }),
	FIRST(RESOURCE_FILE, { FD_FDC, SLOT(0), 8, SFB(DATA) }),
	FIRST(RESOURCE_FILE, { FD_PB2, SLOT(0), 8, SFB(DATA) }),
	FIRST(RESOURCE_BLOCK, { FD_FDC, SLOT(16), 8, SFB(DATA) }),
	FIRST(RESOURCE_BLOCK, { FD_PB2, SLOT(3), 8, SFB(DATA) }),
	FIRST(RESOURCE_BLOCK, { FD_JBC, SLOT(5), 8, SFB(DATA) }),
	FIRST(RESOURCE_BLOCK, { SBC_POINTERS, 8 * 128, 8, SFB(DATA) }),
	FIRST(RESOURCE_BLOCK, { SBC_POINTERS, 8 * 300, 8, SFB(DATA) }),
	FIRST(RESOURCE_BLOCK, { SBC_POINTERS, 8 * 300, 8, SFB(1500) }),
	FIRST(RESOURCE_BLOCK,
	      { SBC_POINTERS, 8 * 128, 8, SFB(DATA) },
	      { SBC_POINTERS, 8 * 300, 8, SFB(DATA + 1) }),
	FIRST(RESOURCE_BLOCK,
	      { FD_FDC, SLOT(16), 8, SFB(DATA) },
	      { SBC_POINTERS, 8 * 300, 8, SFB(DATA) }),
	FIRST(RESOURCE_BLOCK,
	      { FD_FDC, SLOT(16), 8, SFB(DATA) }, { FD_FDC, SLOT(32), 8, SFB(DATA) }),
	ALONE(RESOURCE_CONVERTED, { FBB_HEADER, RES(converted), 4, 8 }),
	FIRST(RESOURCE_COUNT, { LFB_HEADER, RES(geometry.count_low), 4, 7 }),
	ALONE(CLUSTER_SIGNATURE, { SFB_META, CL(signature), 4, 0 }),
	ALONE(CLUSTER_NUMBER, { SFB_META, CL(number), 8, 1 }),
	ALONE(CLUSTER_TOTAL, { SFB_META, CL(total), 2, 511 }),
	ALONE(CLUSTER_FREE, { SFB_META, CL(free), 2, 1 }),
	ALONE(CLUSTER_FREE, { LFB_META, CL(free), 2, 1 }),
	ALONE(CLUSTER_HINT, { FDC_META, CL(hint), 4, 257 }),
	ALONE(CLUSTER_STRAY, { PB2_META, CL(states) + 10, 1, 1 }),
	ALONE(CLUSTER_STATE, { SFB_META, CL(states), 1, 0x02 }),
	FIRST(CLUSTER_STATE, { LFB_META, CL(states), 1, 0x25 }),
	ALONE(CLUSTER_OWNERS, { SFB_META, OWNER(1) + 4, 4, 1000 }),
	FIRST(CLUSTER_OWNERS, { SFB_META, OWNER(1), 4, 0x00c00004 }),
	ALONE(CLUSTER_OWNERS, { SFB_META, CL(owner_count), 2, 1 }),
	ALONE(CLUSTER_OWNERS, { SFB_META, CL(owner_count), 2, 217 }),
	ALONE(RESOURCE_OWNER, { FDC_META, SINGLE_OWNER(HANDMADE6_SUB), 4, 4 }),
	ALONE(RESOURCE_OWNER, { SBC_META, SINGLE_OWNER(0), 4, 4 }),
	ALONE(RESOURCE_OWNER, { PB2_META, 0x2e0, 4, 4 }),
	ALONE(LOCK_TYPE, { SFB_LOCK, LOCK(type), 4, VMFS_LOCK_LFB }),
	ALONE(LOCK_ADDRESS, { SFB_LOCK, LOCK(addr), 8, 512 }),
	ALONE(LOCK_HOLDER,
	      { FD_DIR, LOCK(mode), 4, LOCK_EXCLUSIVE },
	      { FD_DIR, LOCK(hb_addr), 8, VMFS_HEARTBEATS_OFF + 512 }),
	ALONE(FD_ADDRESS, { FD_SUB, FD(addr), 4, 0x03c00004 }),
	ALONE(FD_SIGNATURE, { FD_SUB, FD(signature), 4, 0 }),
	ALONE(FD_GENERATION, { FDC_META, CL(fd_generation), 4, 6 }),
	ALONE(FD_PARENT, { FD_SUB, FD(parent), 4, 4 }),
	ALONE(FD_PB_COUNT, { FD_SINGLE, FD(pb_count), 4, 1 }),
	ALONE(FD_LFB_COUNT, { FD_LARGE, FD(lfb_count), 4, 0 }),
	ALONE(FD_BLOCK_COUNT, { FD_LARGE, FD(block_count), 8, 515 }),
	ALONE(FD_TBZ_COUNT, { FD_BLOCKS, FD(tbz_low), 4, 0 }),
	ALONE(FD_BLOCK_SIZE, { FD_SUB, FD(block_shift), 1, 20 }),
	ALONE(FD_LENGTH, { FD_RESIDENT, FD(length), 8, 3585 }),
	ALONE(FD_LENGTH, { FD_SUB, FD(length), 8, 65537 }),
	ALONE(FD_LENGTH, { FD_BLOCKS, FD(length), 8, (320u << 20) + 1 }),
	ALONE(FD_SYSTEM, { FD_VH, FD(length), 8, 0x400000 }),
	FIRST(FD_SYSTEM, { FD_JBC, FD(type), 4, VMFS_TYPE_FILE }),
	FIRST(ADDR_TYPE, { FD_BLOCKS, SLOT(0), 8, SB(0) }),
	FIRST(ADDR_TYPE, { FD_SINGLE, SLOT(0), 8, SFB(1500) }),
	FIRST(ADDR_RANGE, { FD_BLOCKS, SLOT(0), 8, SFB(3840) }),
	FIRST(ADDR_RANGE, { FD_BLOCKS, SLOT(0), 8, SFB(1500) | 1ull << 62 }),
	FIRST(ADDR_RANGE, { SINGLE_POINTERS, 0, 8, LFB(8) }),
	FIRST(ADDR_RANGE, { FD_SINGLE, SLOT(1), 8, ADDR_PB }),
	FIRST(ADDR_FREE, { FD_BLOCKS, SLOT(0), 8, SFB(3839) }),
	FIRST(ADDR_SHARED, { FD_BLOCKS, SLOT(1), 8, SFB(9) }),
	FIRST(ADDR_SHARED, { SINGLE_POINTERS, 0, 8, LFB(HANDMADE6_LARGE_BLOCK) }),
	FIRST(ADDR_LFB, { SINGLE_POINTERS, 0, 8, LFB(2) }),
	FIRST(ADDR_LFB, { FD_BLOCKS, SLOT(1), 8, SFB(HANDMADE6_LARGE_BLOCK * 512 + 3) }),
	FIRST(DIR_LENGTH, { FD_DIR, FD(length), 8, 70000 }),
	FIRST(DIR_HEADER, { DIR_HEADER, HEADER(version), 4, 1 }),
	FIRST(DIR_HEADER, { DIR_HEADER, HEADER(map_count), 4, 0 }),
	FIRST(DIR_HEADER, { DIR_HEADER, HEADER(maps), 4, 6 }),
	ALONE(DIR_COUNT, { DIR_HEADER, HEADER(entry_count), 4, 55 }),
	FIRST(DIR_MAP, { DIR_MAP, 64, 1, 0x33 }),
	ALONE(DIR_MAP, { DIR_MAP, 65, 1, 0x15 }),
	FIRST(DIR_MAP, { DIR_MAP, 65, 1, 0x10 }),
	FIRST(DIR_BLOCK, { DIR_MAP, HEAD(type), 2, 1 }),
	ALONE(DIR_BLOCK, { DIR_BLOCK1, HEAD(slots), 2, 13 }),
	ALONE(DIR_BLOCK, { DIR_BLOCK4, HEAD(free), 2, 13 }),
	ALONE(DIR_OFFSET, { DIR_BLOCK1, ENTRY(0, file_off), 8, 1 }),
	ALONE(DIR_OFFSET, { DIR_BLOCK1, ENTRY(0, hash), 4, 1 }),
	ALONE(DIR_OFFSET, { DIR_HEADER, HEADER(dot.file_off), 8, 1 }),
	FIRST(DIR_HASH, { DIR_BLOCK1, ENTRY(1, name), 4, 0x62627573 }),
	FIRST(DIR_HASH, { DIR_HEADER, HEADER(table), 4, 1 | 1 << 2 }),
	ALONE(DIR_HASH, { DIR_LINKS, LINK(links[0].hash), 2, 0 }),
	ALONE(DIR_LINKS, { DIR_HEADER, HEADER(table), 4, 1 | 77 << 2 }),
	ALONE(DIR_LINKS, { DIR_HEADER, HEADER(table), 4, 3 }),
	ALONE(DIR_LINKS, { DIR_LINKS, LINK(next), 4, 2 | 5 << 2 }),
	FIRST(DIR_LINKS, { DIR_LINKS, LINK(free), 1, 13 }),
	FIRST(DIR_LINKS, { DIR_LINKS, LINK(index), 2, 7 }),
	ALONE(DIR_DOT, { DIR_HEADER, HEADER(dot.addr), 4, 4 }),
	ALONE(DIR_DOTDOT, { DIR_HEADER, HEADER(dotdot.addr), 4, 0x02400004 }),
	ALONE(DIR_TYPE, { DIR_BLOCK1, ENTRY(1, type), 4, 2 }),
	ALONE(DIR_GENERATION, { DIR_BLOCK1, ENTRY(1, generation), 4, 99 }),
	FIRST(DIR_TARGET, { DIR_BLOCK1, ENTRY(1, addr), 4, 0x3fc00004 }),
	ALONE(FD_LINKS, { FD_SUB, FD(links), 4, 2 }),
	ALONE(FD_LINKS, { FD_ROOT, FD(links), 4, 3 }),
	FIRST(FB_LOST, { FD_BLOCKS, SLOT(0), 8, 0 }),
	FIRST(LFB_LOST, { FD_LARGE, SLOT(0), 8, 0 }),
	FIRST(SB_LOST, { FD_SUB, SLOT(0), 8, 0 }),
	ALONE(PB2_LOST,
	      { PB2_META, CL(states), 1, 0xfc }, { PB2_META, CL(free), 2, 30 }),
	ALONE(JOURNAL_LOST,
	      { JBC_META, CL(states), 1, 0xfe }, { JBC_META, CL(free), 2, 7 }),
};
/* clang-format on */

static void write_again(void *volume)
{
	struct handmade6 *h = volume;
	handmade6_write(h, h->bd);
}

static void a_healthy_volume_has_no_finding(void **state)
{
	static struct findings all;
	struct fsck_summary summary;
	struct handmade6 *h = *state;
	assert_int_equal(wreck_check(&h->bd, 1, &all, &summary), 0);
	assert_string_equal(all.text, "");
	assert_int_equal(summary.errors + summary.warnings + summary.notes, 0);
	assert_int_equal(summary.file_count, 59);
	assert_int_equal(summary.directory_count, 3);
	assert_int_equal(summary.version, 6);
	assert_int_equal(summary.used_block_count, h->next_block + VMFS6_SFB_PER_LFB);
}

static void every_wreck_is_named(void **state)
{
	struct handmade6 *h = *state;
	const struct wrecker wrecker = { .volume = h,
					 .bd = h->bd,
					 .place_off = place_off,
					 .write = write_again,
					 .mended = 7 };
	wreck_all(&wrecker, wrecks, ARRAY_SIZE(wrecks));
}

static void no_code_of_vmfs6_is_without_a_wreck(void **state)
{
	(void)state;
	wreck_assert_complete(wrecks, ARRAY_SIZE(wrecks), wreck_is_only_6);
}

/* What mkfs makes of any size, small ones too, is clean. */
static void fresh_volumes_have_no_finding(void **state)
{
	static const uint64_t sizes[] = { 600ull << 20, 2ull << 30, 10ull << 30,
					  1ull << 40 };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct mkfs_layout layout;
		struct mkfs_options options;
		struct bdev *bd;
		assert_int_equal(bdev_mem_new(sizes[i], 512, NULL, &bd), 0);
		assert_int_equal(mkfs_layout6_make("m", bd->size, NULL, NULL, &layout),
				 0);
		mkfs_options_init(&options, bd);
		assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
		wreck_assert_clean(bd);
		bdev_close(bd);
	}
}

static int make(void **state)
{
	struct handmade6 *h = test_calloc(1, sizeof(*h));
	assert_int_equal(bdev_mem_new(HANDMADE6_SIZE, 512, NULL, &h->bd), 0);
	handmade6_write(h, h->bd);
	*state = h;
	return 0;
}

static int unmake(void **state)
{
	struct handmade6 *h = *state;
	bdev_close(h->bd);
	test_free(h);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_healthy_volume_has_no_finding, make,
						unmake),
		cmocka_unit_test_setup_teardown(every_wreck_is_named, make, unmake),
		cmocka_unit_test(no_code_of_vmfs6_is_without_a_wreck),
		cmocka_unit_test(fresh_volumes_have_no_finding),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
