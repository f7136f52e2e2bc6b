/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume of tests/lib/handmade.h, read through libvmfs: every kind of file, holes and
 * to-be-zeroed blocks, on one extent and on two. Called with the name of a file, or of
 * two, this program writes the volume there instead (for shell tests).
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "fsck/check.h"
#include "tests/lib/collect.h"
#include "tests/lib/handmade.h"
#include "vmfs/node.h"
#include "vmfs/vmfs.h"

#define MIB (1ull << 20)
#define SECTOR VMFS_SECTOR_SIZE

struct fixture {
	struct bdev *devices[2];
	unsigned int device_count;
	struct collect told;
	struct vmfs_volume *vol;
};

static void open_volume(struct fixture *x)
{
	struct vmfs_open_options options = {
		.devices = x->devices,
		.device_count = x->device_count,
		.is_read_only = true,
		.reporter = collect_init(&x->told),
	};
	int err = vmfs_volume_open(&options, &x->vol);
	if (err)
		fail_msg("open: %d: %s", err, collect_text(&x->told));
}

static int one_extent(void **state)
{
	struct fixture *x = test_calloc(1, sizeof(*x));
	struct handmade h;
	handmade_new(&h);
	x->devices[0] = h.bd;
	x->device_count = 1;
	open_volume(x);
	*state = x;
	return 0;
}

/* In the wrong order. */
static int two_extents(void **state)
{
	struct fixture *x = test_calloc(1, sizeof(*x));
	struct handmade h;
	handmade_new(&h);
	struct bdev **d = x->devices;
	assert_int_equal(bdev_mem_new(HANDMADE_EXTENT0_SIZE, SECTOR, NULL, &d[1]), 0);
	assert_int_equal(bdev_mem_new(HANDMADE_EXTENT1_SIZE, SECTOR, NULL, &d[0]), 0);
	handmade_split(&h, d[1], d[0]);
	bdev_close(h.bd);
	x->device_count = 2;
	open_volume(x);
	*state = x;
	return 0;
}

static int close_volume(void **state)
{
	struct fixture *x = *state;
	assert_int_equal(vmfs_volume_close(x->vol), 0);
	assert_string_equal(collect_text(&x->told), "");
	collect_done(&x->told);
	for (unsigned int i = 0; i < x->device_count; i++)
		bdev_close(x->devices[i]);
	test_free(x);
	return 0;
}

static struct vmfs_file *file_open(struct fixture *x, const char *path)
{
	struct vmfs_stat st;
	struct vmfs_file *file;
	assert_int_equal(vmfs_stat(x->vol, path, &st), 0);
	assert_int_equal(vmfs_node_open(x->vol, (struct vmfs_node){ .addr = st.addr },
		&(struct vmfs_file_options){ .flags = VMFS_READ }, &file, NULL), 0);
	return file;
}

/* [off, off + len) is what handmade_byte says, or zeros. */
static void assert_bytes(struct vmfs_file *file, enum handmade_fd fd, uint64_t off,
			 uint64_t len, bool is_data)
{
	uint8_t *buf = test_malloc(len);
	assert_int_equal(vmfs_file_read(file, buf, len, off), len);
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != (is_data ? handmade_byte(fd, off + i) : 0))
			fail_msg("FD %u: byte %" PRIu64 " is 0x%02x", fd, off + i,
				 buf[i]);
	test_free(buf);
}

/* The next uniform pieces from off on: ends at `end`. */
static void assert_extent(struct vmfs_file *file, uint64_t off, uint64_t end,
			  bool is_data)
{
	while (off < end) {
		uint64_t len;
		bool has_data;
		assert_int_equal(vmfs_file_extent(file, off, &len, &has_data), 0);
		assert_int_equal(has_data, is_data);
		assert_true(len > 0 && off + len <= end);
		off += len;
	}
}

static void names_are_listed(void **state)
{
	struct fixture *x = *state;
	static const char *const names[] = {
		".", "..", "resident", "blocks", "tbz", "sub"
	};
	struct vmfs_stat dir;
	struct vmfs_dirent entries[16];
	assert_int_equal(vmfs_stat(x->vol, "/dir", &dir), 0);
	assert_int_equal(dir.type, VMFS_TYPE_DIRECTORY);
	assert_int_equal(dir.links, 2);
	int n = vmfs_readdir(x->vol, dir.addr, 0, entries, 16);
	assert_int_equal(n, ARRAY_SIZE(names));
	for (int i = 0; i < n; i++)
		assert_string_equal(entries[i].name, names[i]);
	assert_int_equal(
		vmfs_readdir(x->vol, dir.addr, entries[n - 1].cookie, entries, 16), 0);
	/* One at a time it is the same. */
	uint64_t cookie = 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(vmfs_readdir(x->vol, dir.addr, cookie, entries, 1), 1);
		assert_string_equal(entries[0].name, names[i]);
		cookie = entries[0].cookie;
	}
	struct vmfs_stat st;
	assert_int_equal(vmfs_node_lookup(x->vol, (struct vmfs_node){ .addr = dir.addr },
					  "none", &st),
			 -ENOENT);
	assert_int_equal(vmfs_node_lookup(x->vol, (struct vmfs_node){ .addr = dir.addr },
					  "sub", &st),
			 0);
	assert_int_equal(st.size_bytes, 6000);
	assert_int_equal(st.mode, 0600);
	assert_int_equal(vmfs_stat(x->vol, "/dir/sub/x", &st), -ENOTDIR);
}

static void small_files_are_read(void **state)
{
	struct fixture *x = *state;
	char buf[64] = "";
	struct vmfs_file *file = file_open(x, "/dir/resident");
	assert_int_equal(vmfs_file_read(file, buf, sizeof(buf), 0), 11);
	assert_string_equal(buf, HANDMADE_RESIDENT);
	assert_int_equal(vmfs_file_read(file, buf, 5, 6), 5);
	assert_memory_equal(buf, "world", 5);
	assert_int_equal(vmfs_file_read(file, buf, 5, 11), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	file = file_open(x, "/dir/sub");
	assert_bytes(file, HANDMADE_FILE_SUB, 0, 6000, true);
	assert_bytes(file, HANDMADE_FILE_SUB, 5995, 5, true);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_readlink(x->vol, "/link", buf, sizeof(buf)),
			 strlen(HANDMADE_LINK));
	assert_string_equal(buf, HANDMADE_LINK);
	assert_int_equal(vmfs_readlink(x->vol, "/link", buf, 3), -ERANGE);
}

static void blocks_and_holes_are_read(void **state)
{
	struct fixture *x = *state;
	struct vmfs_file *file = file_open(x, "/dir/blocks");
	assert_bytes(file, HANDMADE_FILE_BLOCKS, 0, MIB, true);
	assert_bytes(file, HANDMADE_FILE_BLOCKS, MIB, MIB, false);
	assert_bytes(file, HANDMADE_FILE_BLOCKS, 2 * MIB, 5, true);
	assert_bytes(file, HANDMADE_FILE_BLOCKS, MIB - 777, 777, true);
	char more[10];
	assert_int_equal(vmfs_file_read(file, more, sizeof(more), 2 * MIB + 3), 2);
	assert_extent(file, 0, MIB, true);
	assert_extent(file, MIB, 2 * MIB, false);
	assert_extent(file, 2 * MIB, 2 * MIB + 5, true);
	uint64_t len;
	bool is_data;
	assert_int_equal(vmfs_file_extent(file, 2 * MIB + 5, &len, &is_data), -ENXIO);
	assert_int_equal(vmfs_file_close(file), 0);
	/* Allocated, with junk in it: zeros. */
	file = file_open(x, "/dir/tbz");
	assert_bytes(file, HANDMADE_FILE_TBZ, 0, MIB, false);
	assert_extent(file, 0, MIB, false);
	assert_int_equal(vmfs_file_close(file), 0);
}

static void pointer_blocks_are_followed(void **state)
{
	struct fixture *x = *state;
	struct vmfs_file *file = file_open(x, "/pointers");
	assert_bytes(file, HANDMADE_FILE_POINTERS, 0, MIB, true);
	assert_bytes(file, HANDMADE_FILE_POINTERS, MIB, MIB, false);
	assert_bytes(file, HANDMADE_FILE_POINTERS, 2 * MIB, MIB, true);
	assert_bytes(file, HANDMADE_FILE_POINTERS, 299 * MIB, MIB, false);
	assert_extent(file, 3 * MIB, 300 * MIB, false);
	assert_int_equal(vmfs_file_close(file), 0);
	file = file_open(x, "/double");
	uint64_t size = 257 * 1024 * MIB;
	assert_bytes(file, HANDMADE_FILE_DOUBLE, 0, MIB, false);
	assert_bytes(file, HANDMADE_FILE_DOUBLE, 100ull << 30, MIB, false);
	assert_bytes(file, HANDMADE_FILE_DOUBLE, size - MIB, MIB, true);
	assert_extent(file, size - MIB, size, true);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* fsck agrees that both forms of the volume are in order. */
static void ignore(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	fail_msg("%s: %s", fsck_problem(problem)->code, text);
}

static void fsck_finds_nothing(void **state)
{
	struct fixture *x = *state;
	struct fsck_summary summary;
	struct fsck_options options = { .devices = x->devices,
					.device_count = x->device_count,
					.found = ignore };
	assert_int_equal(fsck_check(&options, &summary), 0);
	assert_int_equal(summary.errors + summary.warnings, 0);
	assert_int_equal(summary.file_count, 8);
}

static void a_missing_extent_is_named(void **state)
{
	struct fixture *x = *state;
	struct vmfs_volume *vol;
	struct collect told;
	for (unsigned int i = 0; i < 2; i++) {
		struct vmfs_open_options options = { .devices = &x->devices[i],
						     .device_count = 1,
						     .is_read_only = true,
						     .reporter = collect_init(&told) };
		assert_int_equal(vmfs_volume_open(&options, &vol), -ENODEV);
		assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
		collect_done(&told);
	}
}

#define ON_BOTH(name)                                                                    \
	cmocka_unit_test_setup_teardown(name, one_extent, close_volume),                 \
		cmocka_unit_test_setup_teardown(name, two_extents, close_volume)

static int write_files(int count, char **paths)
{
	struct handmade h;
	struct bdev *bd[2];
	static const uint64_t split[] = { HANDMADE_EXTENT0_SIZE, HANDMADE_EXTENT1_SIZE };
	for (int i = 0; i < count; i++)
		if (truncate(paths[i],
			     count == 1 ? (off_t)HANDMADE_SIZE : (off_t)split[i]) ||
		    bdev_file_open(paths[i], 0, NULL, &bd[i]))
			return 1;
	if (count == 1) {
		handmade_write(&h, bd[0]);
	} else {
		handmade_new(&h);
		handmade_split(&h, bd[0], bd[1]);
		bdev_close(h.bd);
	}
	for (int i = 0; i < count; i++)
		bdev_close(bd[i]);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		ON_BOTH(names_are_listed),
		ON_BOTH(small_files_are_read),
		ON_BOTH(blocks_and_holes_are_read),
		ON_BOTH(pointer_blocks_are_followed),
		ON_BOTH(fsck_finds_nothing),
		cmocka_unit_test_setup_teardown(a_missing_extent_is_named, two_extents,
						close_volume),
	};
	if (argc == 2 || argc == 3)
		return write_files(argc - 1, argv + 1);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
