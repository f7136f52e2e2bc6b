/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMFS-3 is read, and VMFS-5 that was VMFS-3 once is read and written: each block size,
 * through libvmfs and by fsck, which finds nothing.
 *
 * handmade3_volume 3|5 MIB FILE writes such a volume there, for other readers.
 */
#include <errno.h>
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
#include "tests/lib/collect.h"
#include "tests/lib/handmade3.h"
#include "tests/lib/readback.h"
#include "tests/lib/wreck.h"
#include "vmfs/vmfs.h"

#define MIB (1u << 20)

struct fixture {
	struct handmade3 h;
	struct collect told;
	struct vmfs_volume *vol;
};

static int open_volume(struct fixture *x, bool is_read_only)
{
	struct vmfs_open_options options = {
		.devices = &x->h.bd,
		.device_count = 1,
		.is_read_only = is_read_only,
		.reporter = collect_init(&x->told),
	};
	return vmfs_volume_open(&options, &x->vol);
}

static void make_as(struct fixture *x, const struct handmade3 *h)
{
	x->h = *h;
	x->h.has_hole = true;
	assert_int_equal(bdev_mem_new(HANDMADE3_SIZE, 512, NULL, &x->h.bd), 0);
	handmade3_write(&x->h);
	if (open_volume(x, true))
		fail_msg("open: %s", collect_text(&x->told));
}

static void make(struct fixture *x, bool is_upgraded, uint32_t block_size)
{
	make_as(x, &(struct handmade3){ .is_upgraded = is_upgraded,
					.block_size = block_size });
}

static void unmake(struct fixture *x)
{
	assert_int_equal(vmfs_volume_close(x->vol), 0);
	collect_done(&x->told);
	bdev_close(x->h.bd);
}

/* [off, off + len) of a file: its bytes, or zeros. */
static void check_part(struct fixture *x, const char *path, enum handmade3_fd fd,
		       uint64_t off, uint64_t len, bool is_data)
{
	readback_check(x->vol, path, off, len, is_data ? handmade3_byte : NULL, fd);
}

/* .vh.sf begins with block 0 of the volume, and block 0 is no hole. */
static void check_first_block(struct fixture *x)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	le32 magic;
	assert_int_equal(vmfs_file_open(x->vol, "/.vh.sf", &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_read(file, &magic, sizeof(magic), VMFS_DESCRIPTOR_OFF),
			 sizeof(magic));
	assert_int_equal(le32_get(magic), VMFS_MAGIC);
	assert_int_equal(vmfs_file_close(file), 0);
}

static void check_files(struct fixture *x)
{
	const uint64_t bs = x->h.block_size;
	struct vmfs_stat st;
	check_part(x, "/dir/sub", HANDMADE3_SUB, 0, HANDMADE3_SUB_LEN, true);
	check_part(x, "/link", HANDMADE3_SUB, 0, HANDMADE3_SUB_LEN, true);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, 0, (uint32_t)bs, true);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, bs, (uint32_t)(2 * bs), false);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, 3 * bs, 5, true);
	check_part(x, "/pointers", HANDMADE3_POINTERS, 0, 4096, true);
	check_part(x, "/pointers", HANDMADE3_POINTERS, 1024 * bs - 4096, 4096, false);
	check_part(x, "/pointers", HANDMADE3_POINTERS, 1025 * bs, 7, true);
	assert_int_equal(vmfs_stat(x->vol, "/rdm", &st), 0);
	assert_int_equal(st.type, VMFS_TYPE_RDM);
	assert_int_equal(vmfs_stat(x->vol, "/dir/gone", &st), -ENOENT);
	if (x->h.is_upgraded) {
		uint64_t last = ((bs << 20) - bs);
		check_part(x, "/double", HANDMADE3_DOUBLE, last, 4096, true);
		check_part(x, "/double", HANDMADE3_DOUBLE, last - 4096, 4096, false);
		assert_int_equal(vmfs_stat(x->vol, "/new", &st), 0);
		assert_int_equal(st.size_bytes, strlen(HANDMADE3_RESIDENT));
	}
}

static void check_fsck(struct fixture *x)
{
	static struct findings all;
	struct fsck_summary summary;
	assert_int_equal(wreck_check(&x->h.bd, 1, &all, &summary), 0);
	assert_string_equal(all.text, "");
	assert_int_equal(summary.version, x->h.is_upgraded ? 5 : 3);
	assert_int_equal(summary.file_count, x->h.is_upgraded ? 7 : 5);
	assert_int_equal(summary.used_block_count, x->h.next_block);
}

static void every_block_size_is_read(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 8; i++) {
		struct fixture x;
		make(&x, i % 2, MIB << i / 2);
		check_files(&x);
		check_first_block(&x);
		check_fsck(&x);
		unmake(&x);
	}
}

/* From ESX 3.0 on to what ESXi 5 made of them, each with its clusters. */
static void every_age_is_read(void **state)
{
	static const struct handmade3 ages[] = {
		{ .minor = 21, .is_early = true },
		{ .minor = 21, .is_early = true, .is_wide = true, .lvm_minor = 0x11 },
		{ .minor = 31, .is_wide = true },
		{ .minor = 33, .lvm_minor = 0x11 },
		{ .minor = 46, .is_wide = true, .lvm_minor = 0x15 },
		{ .minor = 54, .lvm_minor = 0x15 },
		{ .minor = 58, .is_wide = true },
		{ .minor = 60 },
		{ .minor = 61, .is_wide = true, .lvm_minor = 0x15 },
		{ .minor = 54, .is_upgraded = true, .is_bare = true },
		{ .minor = 58, .is_upgraded = true, .is_wide = true },
		{ .minor = 61, .is_upgraded = true, .is_bare = true, .is_wide = true },
		{ .minor = 81, .is_upgraded = true, .lvm_minor = 0x15 },
		{ .minor = 82, .is_upgraded = true },
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(ages); i++) {
		struct handmade3 age = ages[i];
		struct fixture x;

		age.block_size = MIB << i % 4;
		print_message("# %u, blocks of %u\n", age.minor, age.block_size);
		make_as(&x, &age);
		check_files(&x);
		bool is_unknown = age.is_early || age.minor == 82;
		assert_int_equal(collect_count(&x.told, REPORT_WARN), is_unknown);
		if (!is_unknown)
			check_fsck(&x);
		unmake(&x);
	}
}

static void counts_are_told(void **state)
{
	struct vmfs_volume_info info;
	struct fixture x;
	(void)state;
	make(&x, true, 4 * MIB);
	assert_int_equal(vmfs_volume_info(x.vol, &info), 0);
	assert_int_equal(info.major, 5);
	assert_int_equal(info.block_size_bytes, 4 * MIB);
	assert_int_equal(info.block_count, 256);
	assert_int_equal(info.free_block_count, 256 - x.h.next_block);
	assert_int_equal(info.free_pb_count, 32 - 4);
	assert_int_equal(info.pb2_count, 16);
	unmake(&x);
}

static void writing_vmfs3_is_refused_with_the_reason(void **state)
{
	struct fixture x;

	(void)state;
	make(&x, false, 2 * MIB);
	struct vmfs_volume *vol = x.vol;
	collect_done(&x.told);
	assert_int_equal(open_volume(&x, false), -EOPNOTSUPP);
	assert_true(collect_has(&x.told, "VMFS-3"));
	assert_true(collect_has(&x.told, "can only be opened read-only"));
	x.vol = vol;
	unmake(&x);
}

static void reopen(struct fixture *x, bool is_read_only)
{
	assert_int_equal(vmfs_volume_close(x->vol), 0);
	collect_done(&x->told);
	if (open_volume(x, is_read_only))
		fail_msg("open: %s", collect_text(&x->told));
}

/* Bytes of a file as handmade3_byte() of fd has them, written at off. */
static void write_part(struct fixture *x, const char *path, unsigned int fd, uint64_t off,
		       uint32_t len)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	uint8_t *data = malloc(len);

	assert_non_null(data);
	for (uint32_t i = 0; i < len; i++)
		data[i] = handmade3_byte(fd, off + i);
	assert_int_equal(vmfs_file_open(x->vol, path, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, data, len, off), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	free(data);
}

static void check_form(struct fixture *x, const char *path, uint32_t zla,
		       uint32_t block_size)
{
	struct vmfs_stat st;

	assert_int_equal(vmfs_stat(x->vol, path, &st), 0);
	assert_int_equal(st.zla, zla);
	assert_int_equal(st.block_size_bytes, block_size);
}

/* What VMFS-3 has made goes on, and what is new has the volume's sizes. */
static void change(struct fixture *x)
{
	const uint32_t bs = x->h.block_size;
	char path[32];

	/* In two blocks of .sbc.sf: to its end, then over it. */
	write_part(x, "/dir/sub", HANDMADE3_SUB, HANDMADE3_SUB_LEN,
		   0x10000 - HANDMADE3_SUB_LEN);
	check_form(x, "/dir/sub", VMFS_ZLA_SB, 0x10000);
	write_part(x, "/dir/sub", HANDMADE3_SUB, 0x10000, 1);
	check_form(x, "/dir/sub", VMFS_ZLA_FB, bs);
	/* Into the hole, and into the block to be zeroed. */
	write_part(x, "/dir/blocks", HANDMADE3_BLOCKS, bs + 700, 100);
	write_part(x, "/dir/blocks", HANDMADE3_BLOCKS, 2ull * bs + 4000, 200);
	write_part(x, "/pointers", HANDMADE3_POINTERS, 2000ull * bs - 5, 10);
	write_part(x, "/fresh", 70, 0, 1025);
	check_form(x, "/fresh", VMFS_ZLA_SB, 0x10000);
	for (unsigned int i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "/dir/border-%u", i);
		write_part(x, path, 71 + i, 0, 0x10000 + i);
		check_form(x, path, i ? VMFS_ZLA_FB : VMFS_ZLA_SB, i ? bs : 0x10000);
	}
	assert_int_equal(vmfs_rename(x->vol, "/link", "/dir/border-0"), 0);
	assert_int_equal(vmfs_unlink(x->vol, "/double"), 0);
}

static void check_changed(struct fixture *x)
{
	const uint64_t bs = x->h.block_size;

	check_part(x, "/dir/sub", HANDMADE3_SUB, 0, 0x10001, true);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, 0, bs, true);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, bs, 700, false);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, bs + 700, 100, true);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, bs + 800, bs + 3200, false);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, 2 * bs + 4000, 200, true);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, 2 * bs + 4200, bs - 4200, false);
	check_part(x, "/dir/blocks", HANDMADE3_BLOCKS, 3 * bs, 5, true);
	check_part(x, "/pointers", HANDMADE3_POINTERS, 1025 * bs, 7, true);
	check_part(x, "/pointers", HANDMADE3_POINTERS, 2000 * bs - 5, 10, true);
	check_part(x, "/fresh", 70, 0, 1025, true);
	check_part(x, "/dir/border-1", 72, 0, 0x10001, true);
}

static void an_upgraded_volume_is_written(void **state)
{
	(void)state;
	for (uint32_t bs = MIB; bs <= 8 * MIB; bs *= 2) {
		struct handmade3 h = { .is_upgraded = true,
				       .is_bare = bs >= 4 * MIB,
				       .is_wide = bs == MIB || bs == 4 * MIB,
				       .block_size = bs };
		struct fixture x;
		struct findings all;
		struct fsck_summary summary;

		make_as(&x, &h);
		reopen(&x, false);
		change(&x);
		reopen(&x, true);
		check_changed(&x);
		assert_int_equal(wreck_check(&x.h.bd, 1, &all, &summary), 0);
		assert_string_equal(all.text, "");
		unmake(&x);
	}
}

static int write_file(char **args)
{
	/* vmfs-tools show a hole as an entry without a name. */
	struct handmade3 h = { .is_upgraded = args[0][0] == '5',
			       .block_size = (uint32_t)atoi(args[1]) * MIB };
	if (truncate(args[2], (off_t)HANDMADE3_SIZE) ||
	    bdev_file_open(args[2], 0, NULL, &h.bd))
		return 1;
	handmade3_write(&h);
	bdev_close(h.bd);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_block_size_is_read),
		cmocka_unit_test(every_age_is_read),
		cmocka_unit_test(counts_are_told),
		cmocka_unit_test(writing_vmfs3_is_refused_with_the_reason),
		cmocka_unit_test(an_upgraded_volume_is_written),
	};
	if (argc == 4)
		return write_file(argv + 1);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
