/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of VMFS-6 with a large block, which we do not make but write, cut, punch and
 * remove: what is left of them, what is free then, and that fsck agrees.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/lib/handmade6.h"
#include "tests/lib/largefile.h"
#include "tests/lib/readback.h"
#include "tests/lib/testvol.h"
#include "vmfs/large.h"
#include "vmfs/volume.h"

#define MIB (1024ull * 1024)
#define PES 12u
#define LARGE 4u /* this one and its neighbours are free on a fresh volume */
#define LARGE_BYTES (512 * MIB)

struct fixture {
	struct testvol tv;
	uint64_t free_before; /* without the file */
};

static struct vmfs_volume_info info_of(struct testvol *tv)
{
	struct vmfs_volume_info info;

	assert_int_equal(vmfs_volume_info(tv->vol, &info), 0);
	return info;
}

static void remount(struct testvol *tv)
{
	testvol_unmount(tv);
	testvol_check(tv);
	testvol_mount(tv, false);
}

static void set_up(struct fixture *x, const struct largefile *what)
{
	testvol_new_version(&x->tv, 6, PES);
	x->free_before = info_of(&x->tv).free_block_count;
	assert_int_equal(largefile_make(x->tv.vol, what), 0);
	remount(&x->tv);
	assert_int_equal(info_of(&x->tv).free_block_count,
			 x->free_before - VMFS6_SFB_PER_LFB);
}

static void tear_down(struct fixture *x)
{
	testvol_unmount(&x->tv);
	testvol_check(&x->tv);
	testvol_free(&x->tv);
}

static struct vmfs_file *open_file(struct testvol *tv, const char *path)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;

	assert_int_equal(vmfs_file_open(tv->vol, path, &options, &file, NULL), 0);
	return file;
}

static uint8_t byte_at(unsigned int seed, uint64_t off)
{
	return (uint8_t)(off * 13 + off / MIB + seed);
}

static void put(struct testvol *tv, const char *path, uint64_t off, uint64_t len)
{
	struct vmfs_file *file = open_file(tv, path);
	uint8_t *data = malloc(len);

	assert_non_null(data);
	for (uint64_t i = 0; i < len; i++)
		data[i] = byte_at(1, off + i);
	assert_int_equal(vmfs_file_write(file, data, len, off), 0);
	free(data);
	assert_int_equal(vmfs_file_close(file), 0);
}

static bool is_divided(struct testvol *tv, uint32_t number)
{
	struct large_look look = { 0 };
	bool is;

	assert_int_equal(large_is_divided(tv->vol, number, &look, &is), 0);
	return is;
}

static uint64_t blocks_of(struct testvol *tv, const char *path)
{
	struct vmfs_stat st;

	assert_int_equal(vmfs_stat(tv->vol, path, &st), 0);
	return st.block_count;
}

static const struct largefile plain = {
	.path = "/large", .length = LARGE_BYTES, .number = LARGE, .to = VMFS6_SFB_PER_LFB
};

/* ---- removed, cut, punched ---- */

static void one_that_is_removed_is_free(void **state)
{
	struct fixture x;

	(void)state;
	set_up(&x, &plain);
	assert_false(is_divided(&x.tv, LARGE));
	assert_int_equal(vmfs_unlink(x.tv.vol, "/large"), 0);
	assert_true(is_divided(&x.tv, LARGE));
	assert_int_equal(info_of(&x.tv).free_block_count, x.free_before);
	remount(&x.tv);
	assert_int_equal(info_of(&x.tv).free_block_count, x.free_before);
	tear_down(&x);
}

static void what_is_cut_off_is_free(void **state)
{
	const uint64_t left = 100 * MIB + 5;
	struct fixture x;

	(void)state;
	set_up(&x, &plain);
	put(&x.tv, "/large", 99 * MIB, 4 * MIB);
	assert_false(is_divided(&x.tv, LARGE)); /* it is written as it is */
	struct vmfs_file *file = open_file(&x.tv, "/large");
	assert_int_equal(vmfs_file_truncate(file, left), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_true(is_divided(&x.tv, LARGE));
	assert_int_equal(blocks_of(&x.tv, "/large"), 101);
	assert_int_equal(info_of(&x.tv).free_block_count, x.free_before - 101);
	readback_check(x.tv.vol, "/large", 99 * MIB, MIB + 5, byte_at, 1);
	remount(&x.tv);
	readback_check(x.tv.vol, "/large", 99 * MIB, MIB + 5, byte_at, 1);
	readback_check(x.tv.vol, "/large", 0, MIB, NULL, 1);
	assert_int_equal(vmfs_unlink(x.tv.vol, "/large"), 0);
	assert_int_equal(info_of(&x.tv).free_block_count, x.free_before);
	tear_down(&x);
}

static void a_hole_in_it_is_free(void **state)
{
	struct fixture x;

	(void)state;
	set_up(&x, &plain);
	put(&x.tv, "/large", 199 * MIB, 12 * MIB);
	struct vmfs_file *file = open_file(&x.tv, "/large");
	assert_int_equal(vmfs_file_punch(file, 200 * MIB, 10 * MIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(blocks_of(&x.tv, "/large"), 502);
	assert_int_equal(info_of(&x.tv).free_block_count, x.free_before - 502);
	remount(&x.tv);
	readback_check(x.tv.vol, "/large", 199 * MIB, MIB, byte_at, 1);
	readback_check(x.tv.vol, "/large", 200 * MIB, 10 * MIB, NULL, 1);
	readback_check(x.tv.vol, "/large", 210 * MIB, MIB, byte_at, 1);
	tear_down(&x);
}

/* One that is to be zeroed: the block that is written, and the others, which are not. */
static void a_part_of_it_is_written_first(void **state)
{
	struct largefile what = plain;
	struct fixture x;

	(void)state;
	what.is_tbz = true;
	set_up(&x, &what);
	put(&x.tv, "/large", 7 * MIB + 512, 4096);
	remount(&x.tv);
	assert_true(is_divided(&x.tv, LARGE));
	assert_int_equal(blocks_of(&x.tv, "/large"), 512);
	readback_check(x.tv.vol, "/large", 7 * MIB, 512, NULL, 1);
	readback_check(x.tv.vol, "/large", 7 * MIB + 512, 4096, byte_at, 1);
	readback_check(x.tv.vol, "/large", 7 * MIB + 4608, 2 * MIB, NULL, 1);
	tear_down(&x);
}

/* Blocks of it that the file does not name: free as soon as it is divided. */
static void a_file_may_name_a_part_of_it(void **state)
{
	struct largefile what = plain;
	struct fixture x;

	(void)state;
	what.from = 3;
	what.to = 11;
	what.length = 9 * MIB;
	set_up(&x, &what);
	struct vmfs_file *file = open_file(&x.tv, "/large");
	assert_int_equal(vmfs_file_punch(file, 4 * MIB, MIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(info_of(&x.tv).free_block_count, x.free_before - 7);
	remount(&x.tv);
	assert_int_equal(vmfs_unlink(x.tv.vol, "/large"), 0);
	assert_int_equal(info_of(&x.tv).free_block_count, x.free_before);
	tear_down(&x);
}

/* Nobody knows how ESXi counts it: both ways come to the same. */
static void it_may_count_as_one_block(void **state)
{
	struct largefile what = plain;
	struct fixture x;

	(void)state;
	what.counts_as_one = true;
	set_up(&x, &what);
	assert_int_equal(blocks_of(&x.tv, "/large"), 1);
	struct vmfs_file *file = open_file(&x.tv, "/large");
	assert_int_equal(vmfs_file_truncate(file, 3 * MIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(blocks_of(&x.tv, "/large"), 3);
	tear_down(&x);
}

/* ---- others ---- */

/* A host that mounted before gets the blocks that another one has freed. */
static void other_hosts_find_it_divided(void **state)
{
	struct vmfs_file_options how = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_unmap_options all = { .only_freed = false };
	struct vmfs_unmap_seen seen;
	struct vmfs_volume *other;
	struct vmfs_file *file;
	struct fixture x;

	(void)state;
	set_up(&x, &plain);
	struct vmfs_open_options options = { .devices = &x.tv.bd,
					     .device_count = 1,
					     .host_name = "other",
					     .reporter = &x.tv.told.base,
					     .time_divisor = 8 };
	assert_int_equal(vmfs_volume_open(&options, &other), 0);
	assert_int_equal(vmfs_unlink(x.tv.vol, "/large"), 0);
	testvol_unmount(&x.tv); /* its locks are free */
	assert_int_equal(vmfs_volume_unmap(other, &all, &seen, NULL), 0);
	assert_int_equal(seen.bytes, x.free_before * MIB);
	assert_int_equal(vmfs_file_open(other, "/all", &how, &file, NULL), 0);
	assert_int_equal(
		vmfs_file_allocate(file, 0, x.free_before * MIB, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_volume_close(other), 0);
	testvol_check(&x.tv);
	testvol_mount(&x.tv, false);
	assert_int_equal(info_of(&x.tv).free_block_count, 0);
	tear_down(&x);
}

/*
 * The blocks of one go to another file within the life of a mount, and keep their data.
 */
static void what_was_one_is_used_again(void **state)
{
	struct vmfs_file_options how = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	struct fixture x;

	(void)state;
	set_up(&x, &plain);
	assert_int_equal(vmfs_file_open(x.tv.vol, "/other", &how, &file, NULL), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_rename(x.tv.vol, "/other", "/large"), 0);
	file = open_file(&x.tv, "/large");
	assert_int_equal(
		vmfs_file_allocate(file, 0, x.free_before * MIB, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	put(&x.tv, "/large", (x.free_before - 3) * MIB, 3 * MIB);
	remount(&x.tv);
	readback_check(x.tv.vol, "/large", (x.free_before - 3) * MIB, 3 * MIB, byte_at,
		       1);
	tear_down(&x);
}

/* ---- written by hand: the cluster of its small blocks was never used ---- */

static void one_made_elsewhere_is_cut_and_removed(void **state)
{
	struct testvol tv = { 0 };
	struct handmade6 h;

	(void)state;
	assert_int_equal(bdev_mem_new(HANDMADE6_SIZE, 512, NULL, &tv.bd), 0);
	handmade6_write(&h, tv.bd);
	(void)collect_init(&tv.told);
	testvol_mount(&tv, false);
	uint64_t before = info_of(&tv).free_block_count;
	struct vmfs_file *file = open_file(&tv, "/large");
	assert_int_equal(vmfs_file_truncate(file, 301 * MIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(info_of(&tv).free_block_count, before + 2 + 512 - 301);
	readback_check(tv.vol, "/large", 300 * MIB + 17, 4096, handmade6_byte,
		       HANDMADE6_LARGE);
	remount(&tv);
	readback_check(tv.vol, "/large", 0, MIB, handmade6_byte, HANDMADE6_LARGE);
	assert_int_equal(vmfs_unlink(tv.vol, "/large"), 0);
	assert_int_equal(info_of(&tv).free_block_count, before + 2 + 512);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_is_removed_is_free),
		cmocka_unit_test(what_is_cut_off_is_free),
		cmocka_unit_test(a_hole_in_it_is_free),
		cmocka_unit_test(a_part_of_it_is_written_first),
		cmocka_unit_test(a_file_may_name_a_part_of_it),
		cmocka_unit_test(it_may_count_as_one_block),
		cmocka_unit_test(other_hosts_find_it_divided),
		cmocka_unit_test(what_was_one_is_used_again),
		cmocka_unit_test(one_made_elsewhere_is_cut_and_removed),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
