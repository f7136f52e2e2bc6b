/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of the format: the largest file, the most files, each resource used up; and
 * that whoever meets a limit is told which it was, loses nothing, and can go on once
 * there is room.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "mkfs/layout.h"
#include "tests/lib/testvol.h"
#include "vmfs/format.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define LARGEST (64449 * GIB) /* FORMAT.md 15 */

static struct vmfs_file *open_file(struct testvol *tv, const char *path, uint32_t flags)
{
	struct vmfs_file_options options = { .flags = flags, .mode = 0644 };
	struct vmfs_file *file = NULL;
	int rc = vmfs_file_open(tv->vol, path, &options, &file, NULL);
	if (rc < 0)
		print_message("# %s: %d\n# %s", path, rc, collect_text(&tv->told));
	assert_int_equal(rc, 0);
	return file;
}

static struct vmfs_volume_info info_of(struct testvol *tv)
{
	struct vmfs_volume_info info;
	assert_int_equal(vmfs_volume_info(tv->vol, &info), 0);
	return info;
}

static void assert_same_room(const struct vmfs_volume_info *a,
			     const struct vmfs_volume_info *b)
{
	assert_int_equal(a->free_block_count, b->free_block_count);
	assert_int_equal(a->free_fd_count, b->free_fd_count);
	assert_int_equal(a->free_sb_count, b->free_sb_count);
	assert_int_equal(a->free_pb_count, b->free_pb_count);
}

/* ---- the largest file ---- */

static const uint64_t ends[] = { 4096,	      255 * MIB,      257 * MIB,
				 255 * GIB,   257 * GIB,      31 * TIB + 77,
				 62 * TIB, LARGEST };

/* 4096 bytes that end there. */
static uint8_t byte_of(unsigned int i)
{
	return (uint8_t)('A' + i);
}

static void check_spots(struct testvol *tv, uint32_t flags, unsigned int count)
{
	struct vmfs_file *file = open_file(tv, "/largest", flags);
	uint8_t buf[4096], want[4096];
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++) {
		memset(want, i < count ? byte_of(i) : 0, sizeof(want));
		int64_t n = vmfs_file_read(file, buf, sizeof(buf), ends[i] - 4096);
		assert_int_equal(n, i < count ? 4096 : 0);
		assert_memory_equal(buf, want, (size_t)n);
		/* What lies before a spot is a hole. */
		n = i && i < count ? vmfs_file_read(file, buf, 4096, ends[i] - 2 * MIB)
				   : 0;
		memset(want, 0, sizeof(want));
		assert_memory_equal(buf, want, (size_t)n);
	}
	assert_int_equal(vmfs_file_close(file), 0);
}

static void check_past_the_end(struct testvol *tv, struct vmfs_file *file)
{
	assert_int_equal(vmfs_file_write(file, "x", 1, LARGEST), -EFBIG);
	assert_true(collect_has(&tv->told, "but a file has at most 64449 GiB"));
	collect_clear(&tv->told);
	assert_int_equal(vmfs_file_truncate(file, LARGEST + 1), -EFBIG);
	assert_int_equal(vmfs_file_allocate(file, LARGEST, MIB, VMFS_ALLOCATE_TBZ),
			 -EFBIG);
	assert_int_equal(vmfs_file_write(file, "x", 1, UINT64_MAX), -EFBIG);
	assert_int_equal(collect_count(&tv->told, REPORT_ERROR), 3);
	collect_clear(&tv->told);
}

/* Data and holes as they are reported, from the beginning to the end. */
static void check_extents(struct testvol *tv, uint32_t flags)
{
	struct vmfs_file *file = open_file(tv, "/largest", flags);
	uint64_t offset = 0, data = 0, len;
	bool is_data;
	while (offset < LARGEST) {
		assert_int_equal(vmfs_file_extent(file, offset, &len, &is_data), 0);
		data += is_data ? len : 0;
		offset += len;
	}
	/* One spot lies across two blocks: 31 TiB + 77. */
	assert_int_equal(data, (ARRAY_SIZE(ends) + 1) * MIB);
	assert_int_equal(vmfs_file_extent(file, offset, &len, &is_data), -ENXIO);
	assert_int_equal(vmfs_file_close(file), 0);
}

/*
 * A file as large as one can be, written at its head, in the middle and at its tail, on a
 * small volume: read back locked, unlocked, after a mount; cut down bit by bit; removed.
 */
static void the_largest_file(void **state)
{
	struct testvol tv;
	uint8_t buf[4096];
	(void)state;
	testvol_new(&tv, 4);
	struct vmfs_volume_info before = info_of(&tv);
	struct vmfs_file *file = open_file(&tv, "/largest", VMFS_WRITE | VMFS_CREATE);
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++) {
		memset(buf, byte_of(i), sizeof(buf));
		assert_int_equal(vmfs_file_write(file, buf, sizeof(buf), ends[i] - 4096),
				 0);
	}
	check_past_the_end(&tv, file);
	assert_int_equal(vmfs_file_close(file), 0);
	struct vmfs_stat st;
	assert_int_equal(vmfs_stat(tv.vol, "/largest", &st), 0);
	assert_int_equal(st.size_bytes, LARGEST);
	assert_int_equal(st.zla, VMFS_ZLA_DOUBLE);
	assert_int_equal(st.block_count, ARRAY_SIZE(ends) + 1);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_mount(&tv, true);
	check_spots(&tv, VMFS_READ, ARRAY_SIZE(ends));
	check_extents(&tv, VMFS_READ);
	testvol_unmount(&tv);
	testvol_mount(&tv, false);
	check_spots(&tv, VMFS_READ_LOCKED, ARRAY_SIZE(ends));
	check_extents(&tv, VMFS_READ_LOCKED);
	for (unsigned int left = ARRAY_SIZE(ends); left-- > 1;) {
		file = open_file(&tv, "/largest", VMFS_WRITE);
		assert_int_equal(vmfs_file_truncate(file, ends[left - 1]), 0);
		assert_int_equal(vmfs_file_close(file), 0);
		check_spots(&tv, VMFS_READ_LOCKED, left);
	}
	file = open_file(&tv, "/largest", VMFS_WRITE);
	assert_int_equal(vmfs_file_truncate(file, 62 * TIB), 0);
	assert_int_equal(vmfs_file_write(file, buf, sizeof(buf), 62 * TIB - 4096), 0);
	assert_int_equal(vmfs_file_punch(file, 4096, 62 * TIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_unlink(tv.vol, "/largest"), 0);
	struct vmfs_volume_info after = info_of(&tv);
	assert_same_room(&before, &after);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* ---- used up ---- */

static const struct mkfs_counts few = { .fd = 96, .sb = 40, .pb = 6, .pb2 = 1 };

/* Makes files until it cannot; they are of `size` bytes with data in their last block. */
static unsigned int make_until_full(struct testvol *tv, uint64_t size, int *ret_rc)
{
	static const uint8_t data[4096] = { 1, 2, 3 };
	uint64_t len = min_u64(size, sizeof(data));
	unsigned int i = 0;
	*ret_rc = 0;
	for (;; i++) {
		char path[32];
		struct vmfs_file *file;
		struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE |
							      VMFS_EXCL };
		(void)snprintf(path, sizeof(path), "/f%u", i);
		*ret_rc = vmfs_file_open(tv->vol, path, &options, &file, NULL);
		if (*ret_rc < 0)
			return i;
		*ret_rc = len ? vmfs_file_write(file, data, len, size - len) : 0;
		int rc = *ret_rc == 0 ? vmfs_file_sync(file) : 0;
		*ret_rc = rc < 0 ? rc : *ret_rc;
		if (*ret_rc < 0) {
			/* What cannot be kept is taken back. */
			(void)!vmfs_file_truncate(file, 0);
			assert_int_equal(vmfs_file_close(file), 0);
			assert_int_equal(vmfs_unlink(tv->vol, path), 0);
			return i;
		}
		assert_int_equal(vmfs_file_close(file), 0);
	}
}

static void remove_files(struct testvol *tv, unsigned int first, unsigned int count)
{
	for (unsigned int i = first; i < count; i++) {
		char path[32];
		(void)snprintf(path, sizeof(path), "/f%u", i);
		assert_int_equal(vmfs_unlink(tv->vol, path), 0);
	}
}

/* Twice: what was used up once is there again when the files are gone. */
static void use_up(uint64_t size, const char *what)
{
	struct testvol tv;
	int rc;
	testvol_new_with(&tv, 1, &few);
	struct vmfs_volume_info before = info_of(&tv);
	unsigned int count = make_until_full(&tv, size, &rc);
	assert_int_equal(rc, -ENOSPC);
	assert_true(count > 2);
	if (!collect_has(&tv.told, what))
		fail_msg("not told: %s; but %s", what, collect_text(&tv.told));
	collect_clear(&tv.told);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_mount(&tv, false);
	remove_files(&tv, 1, count);
	remove_files(&tv, 0, 1);
	struct vmfs_volume_info after = info_of(&tv);
	assert_same_room(&before, &after);
	assert_int_equal(make_until_full(&tv, size, &rc), count);
	assert_int_equal(rc, -ENOSPC);
	collect_clear(&tv.told);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void descriptors_run_out(void **state)
{
	(void)state;
	use_up(100, "no file descriptors left (96 in all)");
}

static void sub_blocks_run_out(void **state)
{
	(void)state;
	use_up(2000, "no sub-blocks left (40 in all)");
}

static void pointer_blocks_run_out(void **state)
{
	(void)state;
	use_up(300 * MIB, "no pointer blocks left (6 in all)");
}

/* Who writes in a row is given blocks ahead, but no pointer block for them. */
static void without_pointer_blocks_all_direct_ones_are_used(void **state)
{
	struct testvol tv;
	int rc;
	(void)state;
	testvol_new_with(&tv, 1, &few);
	unsigned int count = make_until_full(&tv, 300 * MIB, &rc);
	collect_clear(&tv.told);
	struct vmfs_file *file = open_file(&tv, "/row", VMFS_WRITE | VMFS_CREATE);
	for (unsigned int i = 236; i <= 256; i++) {
		rc = vmfs_file_write(file, "row", 4, i * MIB);
		assert_int_equal(rc, i < 256 ? 0 : -ENOSPC);
		assert_int_equal(collect_count(&tv.told, REPORT_ERROR), i == 256);
	}
	assert_true(collect_has(&tv.told, "no pointer blocks left"));
	assert_int_equal(vmfs_file_close(file), 0);
	collect_clear(&tv.told);
	remove_files(&tv, 0, count);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* A file cannot be made longer than it can become: it is as it was, and may shrink. */
static void without_pointer_blocks_no_length_needs_one(void **state)
{
	struct testvol tv;
	struct vmfs_stat st;
	uint8_t buf[4096];
	int rc;
	(void)state;
	testvol_new_with(&tv, 1, &few);
	memset(buf, 'k', sizeof(buf));
	unsigned int count = make_until_full(&tv, 300 * MIB, &rc);
	collect_clear(&tv.told);
	struct vmfs_file *file = open_file(&tv, "/kept", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_write(file, buf, sizeof(buf), 2 * MIB), 0);
	assert_int_equal(vmfs_file_truncate(file, 300 * MIB), -ENOSPC);
	assert_true(collect_has(&tv.told, "no pointer blocks left"));
	collect_clear(&tv.told);
	assert_int_equal(vmfs_file_stat(file, &st), 0);
	assert_int_equal(st.size_bytes, 2 * MIB + sizeof(buf));
	assert_int_equal(vmfs_file_write(file, buf, sizeof(buf), 3 * MIB), 0);
	assert_int_equal(vmfs_file_truncate(file, 2 * MIB + 9), 0);
	assert_int_equal(vmfs_file_truncate(file, 256 * MIB), 0);
	assert_int_equal(vmfs_file_sync(file), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(collect_count(&tv.told, REPORT_ERROR), 0);
	remove_files(&tv, 0, count);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void file_blocks_run_out(void **state)
{
	struct testvol tv;
	int rc;
	(void)state;
	testvol_new_with(&tv, 1, &(struct mkfs_counts){ .fd = 300 });
	struct vmfs_volume_info before = info_of(&tv);
	unsigned int count = make_until_full(&tv, 8193, &rc);
	assert_int_equal(rc, -ENOSPC);
	assert_true(collect_has(&tv.told, "no file blocks left (256 in all)"));
	assert_int_equal(info_of(&tv).free_bytes, 0);
	collect_clear(&tv.told);
	remove_files(&tv, 0, count);
	struct vmfs_volume_info after = info_of(&tv);
	assert_same_room(&before, &after);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/*
 * A file that cannot grow out of its form stays as it was, and can be written within it.
 */
static void what_cannot_grow_stays(void **state)
{
	struct testvol tv;
	int rc;
	uint8_t buf[9000], seen[9000];
	(void)state;
	testvol_new_with(&tv, 1, &few);
	memset(buf, 'k', sizeof(buf));
	struct vmfs_file *file = open_file(&tv, "/kept", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_write(file, buf, 1000, 0), 0);
	assert_int_equal(vmfs_file_sync(file), 0);
	unsigned int count = make_until_full(&tv, 2000, &rc);
	assert_int_equal(vmfs_file_write(file, buf, 2000, 0), 0);
	assert_int_equal(vmfs_file_sync(file), -ENOSPC);
	assert_true(collect_has(&tv.told, "no sub-blocks left"));
	assert_int_equal(vmfs_file_sync(file), -ENOSPC);
	assert_int_equal(vmfs_file_truncate(file, 1000), 0);
	assert_int_equal(vmfs_file_sync(file), 0);
	remove_files(&tv, 0, 1);
	assert_int_equal(vmfs_file_write(file, buf, 2000, 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	collect_clear(&tv.told);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_mount(&tv, true);
	file = open_file(&tv, "/kept", VMFS_READ);
	assert_int_equal(vmfs_file_read(file, seen, sizeof(seen), 0), 2000);
	assert_memory_equal(seen, buf, 2000);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_mount(&tv, false);
	remove_files(&tv, 1, count);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* ---- the most files ---- */

#define PER_DIRECTORY 500u

static void path_of(unsigned int i, char path[64])
{
	(void)snprintf(path, 64, "/d%u/file-%u", i / PER_DIRECTORY, i);
}

/* With the number of the file in it, so that a wrong one shows. */
static void make_file(struct testvol *tv, unsigned int i)
{
	char path[64];
	path_of(i, path);
	if (i % PER_DIRECTORY == 0) {
		*strrchr(path, '/') = 0;
		assert_int_equal(vmfs_mkdir(tv->vol, path, 0755), 0);
		path_of(i, path);
	}
	struct vmfs_file *file =
		open_file(tv, path, VMFS_WRITE | VMFS_CREATE | VMFS_EXCL);
	assert_int_equal(vmfs_file_write(file, &i, sizeof(i), 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

static void check_file(struct testvol *tv, unsigned int i)
{
	char path[64];
	unsigned int seen = 0;
	path_of(i, path);
	struct vmfs_file *file = open_file(tv, path, VMFS_READ);
	assert_int_equal(vmfs_file_read(file, &seen, sizeof(seen), 0), sizeof(seen));
	assert_int_equal(seen, i);
	assert_int_equal(vmfs_file_close(file), 0);
}

/*
 * As many files as there are descriptors, each with its content, after a mount; the next
 * is refused. 130,000 with FULL=1: the most that a volume has.
 */
static void the_most_files(void **state)
{
	struct mkfs_counts counts = { .fd = getenv("FULL") ? 0 : 2000 };
	struct testvol tv;
	char path[64];
	(void)state;
	testvol_new_with(&tv, 512, &counts);
	struct vmfs_volume_info before = info_of(&tv);
	if (getenv("FULL"))
		assert_int_equal(before.fd_count, 130000);
	unsigned int room = (unsigned int)before.free_fd_count;
	unsigned int count = room - (unsigned int)div_up(room, PER_DIRECTORY + 1);
	for (unsigned int i = 0; i < count; i++)
		make_file(&tv, i);
	assert_int_equal(info_of(&tv).free_fd_count, 0);
	assert_int_equal(vmfs_mkdir(tv.vol, "/one-more", 0755), -ENOSPC);
	assert_true(collect_has(&tv.told, "no file descriptors left"));
	collect_clear(&tv.told);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_mount(&tv, false);
	for (unsigned int i = 0; i < count; i++)
		check_file(&tv, i);
	for (unsigned int i = 0; i < count; i++) {
		path_of(i, path);
		assert_int_equal(vmfs_unlink(tv.vol, path), 0);
		if (i % PER_DIRECTORY != PER_DIRECTORY - 1 && i + 1 != count)
			continue;
		*strrchr(path, '/') = 0;
		assert_int_equal(vmfs_rmdir(tv.vol, path), 0);
	}
	struct vmfs_volume_info after = info_of(&tv);
	assert_same_room(&before, &after);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* ---- names ---- */

static void long_names(void **state)
{
	struct testvol tv;
	char name[200] = "/";
	char path[5000], target[5000];
	(void)state;
	testvol_new(&tv, 1);
	memset(name + 1, 'n', 128);
	assert_int_equal(vmfs_symlink(tv.vol, "x", name), -ENAMETOOLONG);
	assert_true(collect_has(&tv.told, "a name of 128 bytes, at most 127"));
	collect_clear(&tv.told);
	name[128] = 0;
	assert_int_equal(vmfs_mkdir(tv.vol, name, 0755), 0);
	memset(path, '/', sizeof(path));
	path[sizeof(path) - 1] = 0;
	assert_int_equal(vmfs_mkdir(tv.vol, path, 0755), -ENAMETOOLONG);
	assert_true(collect_has(&tv.told, "a path of 4999 bytes"));
	collect_clear(&tv.told);
	memset(target, 't', sizeof(target));
	target[4096] = 0;
	assert_int_equal(vmfs_symlink(tv.vol, target, "/link"), -ENAMETOOLONG);
	assert_true(collect_has(&tv.told, "a target of 4096 bytes, at most 4095"));
	collect_clear(&tv.told);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_largest_file),
		cmocka_unit_test(descriptors_run_out),
		cmocka_unit_test(sub_blocks_run_out),
		cmocka_unit_test(pointer_blocks_run_out),
		cmocka_unit_test(without_pointer_blocks_all_direct_ones_are_used),
		cmocka_unit_test(without_pointer_blocks_no_length_needs_one),
		cmocka_unit_test(file_blocks_run_out),
		cmocka_unit_test(what_cannot_grow_stays),
		cmocka_unit_test(the_most_files),
		cmocka_unit_test(long_names),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
