/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of resource files that are another file's, where nothing proves which the right
 * one is: what files have is not written to on a guess. (Where something does:
 * fsck_wreck.c, fsck_wreck6.c.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bitmap.h"
#include "tests/lib/handmade.h"
#include "tests/lib/handmade6.h"
#include "tests/lib/mended.h"
#include "tests/lib/wreck.h"

#define SECTOR VMFS_SECTOR_SIZE
#define BLOCK (1u << 20)
#define STRAY 3u	 /* block of .sbc.sf on VMFS-5: sub-blocks alone */
#define STRAY6 16u	 /* of .fdc.sf on VMFS-6: cluster headers */
#define GROUP_HEADERS (8u * VMFS6_CLUSTER_HEADER_SIZE)

static struct findings all;

static void put(struct bdev *bd, const void *bytes, uint32_t len, uint64_t at)
{
	uint8_t sector[SECTOR];
	uint64_t from = at / SECTOR * SECTOR;
	assert_int_equal(bdev_read(bd, sector, SECTOR, from), 0);
	memcpy(sector + (at - from), bytes, len);
	assert_int_equal(bdev_write(bd, sector, SECTOR, from), 0);
}

static uint8_t *block_new(struct bdev *bd, uint64_t block)
{
	uint8_t *bytes = test_malloc(BLOCK);
	assert_int_equal(bdev_read(bd, bytes, BLOCK, LVM_DATA_OFF + block * BLOCK), 0);
	return bytes;
}

static void assert_block(struct bdev *bd, uint64_t block, uint8_t *was)
{
	uint8_t *now = block_new(bd, block);
	assert_memory_equal(now, was, BLOCK);
	test_free(now);
	test_free(was);
}

/* A file of VMFS-6 names this block at a slot. */
static void name6(struct handmade6 *h, uint32_t fd, uint32_t slot, uint64_t block)
{
	le64 entry = le64_of(block % 512 << 51 | block / 512 << 15 | ADDR_FB);
	uint64_t slots = VMFS6_PAGE + offsetof(struct vmfs6_fd_body_disk, u.slots);
	put(h->bd, &entry, sizeof(entry),
	    handmade6_fd_off(h, fd) + slots + slot * sizeof(entry));
}

static void overwrite6(struct handmade6 *h, uint8_t with)
{
	static uint8_t junk[GROUP_HEADERS];
	uint64_t off = handmade6_cluster_off(h, MKFS_FDC, 8);
	memset(junk, with, sizeof(junk));
	assert_int_equal(bdev_write(h->bd, junk, sizeof(junk), off), 0);
}

static void repair(struct bdev *bd, struct session_result *ret_result)
{
	assert_int_equal(mended_run(bd, NULL, UINT64_MAX, ret_result, NULL), 0);
}

static struct handmade6 *six_new(void)
{
	struct handmade6 *h = test_calloc(1, sizeof(*h));
	assert_int_equal(bdev_mem_new(HANDMADE6_SIZE, SECTOR, NULL, &h->bd), 0);
	handmade6_write(h, h->bd);
	return h;
}

static void six_free(struct handmade6 *h)
{
	bdev_close(h->bd);
	test_free(h);
}

/* The right block is damaged, too: nothing is at home anywhere. */
static void headers_are_not_made_in_a_block_of_a_file(void **state)
{
	struct handmade6 *h = six_new();
	struct session_result result;
	struct fsck_summary summary;
	uint64_t block = h->layout.used_blocks;
	(void)state;
	overwrite6(h, 0x5a);
	name6(h, VMFS_FD_FDC, STRAY6, block);
	uint8_t *was = block_new(h->bd, block);
	for (unsigned int i = 0; i < 2; i++) {
		repair(h->bd, &result);
		assert_int_equal(wreck_check(&h->bd, 1, &all, &summary), 0);
		assert_int_equal(all.counts[PROBLEM_RESOURCE_BLOCK], 1);
	}
	assert_block(h->bd, block, was);
	six_free(h);
}

/* .pbc.sf manages nothing there: no cluster shows where its header is. */
static void a_header_is_not_made_in_a_block_of_a_file(void **state)
{
	struct handmade6 *h = six_new();
	struct session_result result;
	uint64_t block = h->layout.used_blocks;
	(void)state;
	name6(h, VMFS_FD_PBC, 0, block);
	uint8_t *was = block_new(h->bd, block);
	repair(h->bd, &result);
	assert_true(result.last.errors > 0);
	assert_block(h->bd, block, was);
	six_free(h);
}

/* The block is the file's, and all headers in it were overwritten: nobody else has it. */
static void a_block_that_nobody_else_has_gets_its_headers_back(void **state)
{
	struct handmade6 *h = six_new();
	static struct treehash before;
	static struct findings found;
	struct fsck_summary summary;
	(void)state;
	assert_int_equal(treehash_take(h->bd, &before), 0);
	for (unsigned int i = 0; i < 2; i++) {
		const struct mended m = { .bd = h->bd, .before = &before };
		overwrite6(h, i ? 0x5a : 0);
		assert_int_equal(wreck_check(&h->bd, 1, &found, &summary), 0);
		assert_int_equal(found.counts[PROBLEM_RESOURCE_BLOCK], 1);
		assert_true(mended_is_right(&m));
	}
	six_free(h);
}

static uint64_t slot_off(const struct handmade *h, uint32_t slot)
{
	return handmade_fd_off(h, VMFS_FD_SBC) + VMFS_FD_DATA_OFF + 4 * slot;
}

/* A block of the bitmap becomes a free one. */
static void set_free(struct handmade *h, uint64_t block)
{
	uint64_t off = handmade_cluster_off(h, MKFS_FBB, 0) + SECTOR;
	struct vmfs_cluster_disk meta;
	assert_int_equal(bdev_read(h->bd, &meta, sizeof(meta), off), 0);
	bitmap_set(meta.bitmap, block);
	meta.free = le32_of(le32_get(meta.free) + 1);
	assert_int_equal(bdev_write(h->bd, &meta, sizeof(meta), off), 0);
}

/*
 * .sbc.sf and a file have a block, and where it would lie by its place is free: one of
 * the two has lost data, and which is not known. Not even another error is repaired.
 */
static void what_may_be_of_either_leaves_all_as_it_is(void **state)
{
	struct handmade h;
	struct session_result result;
	struct fsck_summary summary;
	(void)state;
	handmade_new(&h);
	uint64_t right = mkfs_file_vol_off(&h.layout.files[VMFS_FD_SBC], STRAY * BLOCK);
	le32 entry = le32_of(h.first_block << 6 | ADDR_FB), links = le32_of(7);
	uint64_t links_off = handmade_fd_off(&h, HANDMADE_FILE_SUB) + SECTOR +
			     offsetof(struct vmfs_fd_meta_disk, links);
	put(h.bd, &entry, sizeof(entry), slot_off(&h, STRAY));
	put(h.bd, &links, sizeof(links), links_off);
	set_free(&h, right / BLOCK);
	uint8_t *was = block_new(h.bd, h.first_block);
	uint8_t *descriptors = block_new(h.bd, VMFS_FDC_OFF / BLOCK);
	repair(h.bd, &result);
	assert_false(result.is_changed);
	assert_true(result.last.errors > 0);
	assert_block(h.bd, h.first_block, was);
	assert_block(h.bd, VMFS_FDC_OFF / BLOCK, descriptors);
	assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_RESOURCE_BLOCK], 1);
	bdev_close(h.bd);
}

/* A file that names a block of .sbc.sf is wrong: the row goes through it. */
static void a_file_gets_a_copy_of_what_lies_in_its_row(void **state)
{
	struct handmade h;
	struct session_result result;
	struct fsck_summary summary;
	(void)state;
	handmade_new(&h);
	uint64_t right = mkfs_file_vol_off(&h.layout.files[VMFS_FD_SBC], STRAY * BLOCK);
	le32 entry = le32_of((uint32_t)(right / BLOCK) << 6 | ADDR_FB);
	uint8_t *was = block_new(h.bd, right / BLOCK);
	put(h.bd, &entry, sizeof(entry),
	    handmade_fd_off(&h, HANDMADE_FILE_BLOCKS) + VMFS_FD_DATA_OFF);
	assert_int_equal(wreck_check(&h.bd, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_ADDR_SHARED], 1);
	assert_int_equal(all.counts[PROBLEM_RESOURCE_BLOCK], 0);
	repair(h.bd, &result);
	assert_true(result.is_changed);
	assert_block(h.bd, right / BLOCK, was);
	wreck_assert_clean(h.bd);
	bdev_close(h.bd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_not_made_in_a_block_of_a_file),
		cmocka_unit_test(a_header_is_not_made_in_a_block_of_a_file),
		cmocka_unit_test(a_block_that_nobody_else_has_gets_its_headers_back),
		cmocka_unit_test(what_may_be_of_either_leaves_all_as_it_is),
		cmocka_unit_test(a_file_gets_a_copy_of_what_lies_in_its_row),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
