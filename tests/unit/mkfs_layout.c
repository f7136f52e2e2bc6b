/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of a fresh volume against the three worked examples of FORMAT.md 14, and at
 * the edges of what the format holds.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/align.h"
#include "mkfs/layout.h"
#include "tests/lib/collect.h"

#define GIB (1ull << 30)
#define TIB (1ull << 40)
#define MIB (1ull << 20)

/* One row per system file: blocks, first, rest, length. */
struct file_row {
	enum vmfs_system_fd fd;
	uint32_t blocks, first, rest;
	uint64_t length;
};

struct resource_row {
	enum mkfs_resource_index i;
	uint32_t count, per_cluster, clusters, groups, group_size;
};

static void check_files(const struct mkfs_layout *l, const struct file_row *rows,
			size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct mkfs_file *f = &l->files[rows[i].fd];
		assert_int_equal(f->block_count, rows[i].blocks);
		assert_int_equal(f->first_block, rows[i].first);
		if (rows[i].blocks > 1)
			assert_int_equal(f->rest_block, rows[i].rest);
		assert_int_equal(f->length_bytes, rows[i].length);
	}
}

static void check_resources(const struct mkfs_layout *l, const struct resource_row *rows,
			    size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct mkfs_resource *res = &l->resources[rows[i].i];
		assert_int_equal(res->count, rows[i].count);
		assert_int_equal(res->per_cluster, rows[i].per_cluster);
		assert_int_equal(res->cluster_count, rows[i].clusters);
		assert_int_equal(res->group_count, rows[i].groups);
		assert_int_equal(res->group_size, rows[i].group_size);
	}
}

/* Example A: a partition of one PE, made by ESXi 6.5. */
static void example_a_is_reproduced(void **state)
{
	(void)state;
	static const struct file_row files[] = {
		{ VMFS_FD_VH, 4, 0, 1, 4194304 },  { VMFS_FD_FDC, 1, 4, 0, 1048576 },
		{ VMFS_FD_ROOT, 1, 5, 0, 1260 },   { VMFS_FD_FBB, 1, 6, 0, 131072 },
		{ VMFS_FD_PBC, 1, 7, 0, 135168 },  { VMFS_FD_SBC, 3, 8, 9, 2228224 },
		{ VMFS_FD_PB2, 1, 11, 0, 135168 }, { VMFS_FD_SDD, 1, 12, 0, 280 },
	};
	static const struct resource_row resources[] = {
		{ MKFS_FBB, 256, 200, 2, 1, 0x10000 },
		{ MKFS_FDC, 64, 32, 2, 1, 0x410000 },
		{ MKFS_PBC, 1, 16, 1, 1, 0x410000 },
		{ MKFS_SBC, 256, 32, 8, 1, 0x1010000 },
		{ MKFS_PB2, 1, 16, 1, 1, 0x410000 },
	};
	struct mkfs_layout l;
	assert_int_equal(mkfs_layout_make("disk", 0x1fe00200, NULL, NULL, &l), 0);
	assert_int_equal(l.pe_count, 1);
	assert_int_equal(l.block_count, 256);
	assert_int_equal(l.used_blocks, 13);
	check_files(&l, files, ARRAY_SIZE(files));
	check_resources(&l, resources, ARRAY_SIZE(resources));
	assert_int_equal(mkfs_fd_vol_off(&l, VMFS_FD_PB2), 0x423000);
	assert_int_equal(mkfs_fd_vol_off(&l, VMFS_FD_SDD), 0x423800);
	const struct mkfs_resource *fbb = &l.resources[MKFS_FBB];
	assert_int_equal(mkfs_cluster_total(fbb, 1), 56);
	assert_int_equal(mkfs_cluster_used(&l, fbb, 0), 13);
	assert_int_equal(mkfs_cluster_used(&l, fbb, 1), 0);
	/* SB c4 r0, the first one that ESXi used, is at vol 0x920000. */
	uint64_t off = mkfs_resource_off(&l.resources[MKFS_SBC], 4, 0);
	assert_int_equal(off, 0x120000);
	assert_int_equal(mkfs_file_vol_off(&l.files[VMFS_FD_SBC], off), 0x920000);
}

/* Example B: 10 GiB. */
static void example_b_is_reproduced(void **state)
{
	(void)state;
	static const struct file_row files[] = {
		{ VMFS_FD_FDC, 20, 4, 7, 20840448 },
		{ VMFS_FD_ROOT, 1, 5, 0, 1260 },
		{ VMFS_FD_FBB, 1, 6, 0, 131072 },
		{ VMFS_FD_PBC, 3, 26, 27, 2686976 },
		{ VMFS_FD_SBC, 79, 29, 30, 82182144 },
		{ VMFS_FD_PB2, 1, 108, 0, 196608 },
		{ VMFS_FD_SDD, 1, 109, 0, 280 },
	};
	static const struct resource_row resources[] = {
		{ MKFS_FBB, 9984, 200, 50, 1, 0x10000 },
		{ MKFS_FDC, 9984, 32, 312, 5, 0x410000 },
		{ MKFS_PBC, 624, 16, 39, 1, 0x410000 },
		{ MKFS_SBC, 9984, 32, 312, 5, 0x1010000 },
		{ MKFS_PB2, 16, 16, 1, 1, 0x410000 },
	};
	struct mkfs_layout l;
	assert_int_equal(mkfs_layout_make("disk", 10 * GIB, NULL, NULL, &l), 0);
	assert_int_equal(l.pe_count, 39);
	assert_int_equal(l.volume_size, 10468982784ull);
	assert_int_equal(l.used_blocks, 110);
	check_files(&l, files, ARRAY_SIZE(files));
	check_resources(&l, resources, ARRAY_SIZE(resources));
	assert_int_equal(mkfs_cluster_used(&l, &l.resources[MKFS_FBB], 0), 110);
	/* FD 2047 = cluster 63, index 31, in the sixth block of .fdc.sf. */
	uint64_t off = mkfs_resource_off(&l.resources[MKFS_FDC], 63, 31);
	assert_int_equal(off, 0x41f800);
	assert_int_equal(mkfs_file_vol_off(&l.files[VMFS_FD_FDC], off), 0xa1f800);
}

/* Example C: 1 TiB, all counts at their caps. */
static void example_c_is_reproduced(void **state)
{
	(void)state;
	static const struct file_row files[] = {
		{ VMFS_FD_FDC, 255, 4, 12, 267026432 },
		{ VMFS_FD_ROOT, 1, 5, 0, 1260 },
		{ VMFS_FD_FBB, 6, 6, 7, 5439488 },
		{ VMFS_FD_PBC, 256, 266, 267, 268435456 },
		{ VMFS_FD_SBC, 251, 522, 523, 262733824 },
		{ VMFS_FD_PB2, 2, 773, 774, 1179648 },
		{ VMFS_FD_SDD, 1, 775, 0, 280 },
	};
	static const struct resource_row resources[] = {
		{ MKFS_FBB, 1048320, 200, 5242, 82, 0x10000 },
		{ MKFS_FDC, 130000, 200, 650, 11, 0x1910000 },
		{ MKFS_PBC, 64512, 16, 4032, 63, 0x410000 },
		{ MKFS_SBC, 32000, 64, 500, 8, 0x2010000 },
		{ MKFS_PB2, 256, 16, 16, 1, 0x410000 },
	};
	struct mkfs_layout l;
	assert_int_equal(mkfs_layout_make("disk", TIB, NULL, NULL, &l), 0);
	assert_int_equal(l.pe_count, 4095);
	assert_int_equal(l.used_blocks, 776);
	check_files(&l, files, ARRAY_SIZE(files));
	check_resources(&l, resources, ARRAY_SIZE(resources));
	/* FBB cluster 3 holds FBs 600 .. 799, of which format takes 176. */
	assert_int_equal(mkfs_cluster_used(&l, &l.resources[MKFS_FBB], 3), 176);
	assert_int_equal(mkfs_cluster_used(&l, &l.resources[MKFS_FBB], 4), 0);
	/* Published by vmkfstools -D: FD <4,310,46> at vol 138,997,760. */
	uint64_t off = mkfs_resource_off(&l.resources[MKFS_FDC], 310, 46);
	assert_int_equal(mkfs_file_vol_off(&l.files[VMFS_FD_FDC], off), 138997760);
}

/* Lock offsets of FDs that ESXi printed for volumes of five sizes: each must come out. */
static void published_lock_offsets_are_reproduced(void **state)
{
	(void)state;
	static const struct {
		uint64_t size;
		uint32_t cluster, index;
		uint64_t vol_off;
	} rows[] = {
		{ 150 * GIB, 309, 2, 133255168 },   { 1000 * GIB, 310, 46, 138997760 },
		{ 2000 * GIB, 360, 53, 164800512 }, { 300 * GIB, 558, 4, 236560384 },
		{ 1300 * GIB, 623, 8, 268500992 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct mkfs_layout l;
		assert_int_equal(mkfs_layout_make("disk", rows[i].size, NULL, NULL, &l),
				 0);
		uint64_t off = mkfs_resource_off(&l.resources[MKFS_FDC], rows[i].cluster,
						 rows[i].index);
		assert_int_equal(mkfs_file_vol_off(&l.files[VMFS_FD_FDC], off),
				 rows[i].vol_off);
	}
}

/* Files do not overlap, lie inside the volume, and are direct, whatever the size. */
static void blocks_are_dealt_out_once_at_every_size(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {
		MKFS_SIZE_MIN, 2 * GIB,	   4 * GIB, 17 * GIB, 128 * GIB, 129 * GIB,
		500 * GIB,     2000 * GIB, 5 * TIB, 10 * TIB, 16 * TIB,
	};
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct mkfs_layout l;
		assert_int_equal(mkfs_layout_make("disk", sizes[s], NULL, NULL, &l), 0);
		uint8_t *seen = test_calloc(l.used_blocks, 1);
		for (unsigned int i = 0; i < VMFS_FD_SYSTEM_COUNT; i++) {
			const struct mkfs_file *f = &l.files[i];
			assert_in_range(f->block_count, 1, VMFS_FD_SLOTS);
			for (uint32_t b = 0; b < f->block_count; b++) {
				uint64_t off = (uint64_t)b * MKFS_BLOCK_SIZE;
				uint64_t fb = mkfs_file_vol_off(f, off) / MKFS_BLOCK_SIZE;
				assert_true(fb < l.used_blocks);
				assert_int_equal(seen[fb]++, 0);
			}
		}
		for (uint32_t b = 0; b < l.used_blocks; b++)
			assert_int_equal(seen[b], 1);
		test_free(seen);
	}
}

/* Where counts grow with the size, no number of PEs makes a file that needs pointers. */
static void every_number_of_pes_fits(void **state)
{
	(void)state;
	for (uint64_t pes = 1; pes <= 65536; pes += pes < 1100 ? 1 : 97) {
		struct mkfs_layout l;
		uint64_t size = LVM_DATA_OFF + pes * LVM_PE_SIZE;
		assert_int_equal(mkfs_layout_make("disk", size, NULL, NULL, &l), 0);
		assert_int_equal(l.pe_count, pes);
	}
}

static void too_small_is_refused_with_both_numbers(void **state)
{
	(void)state;
	struct collect told;
	struct reporter *r = collect_init(&told);
	struct mkfs_layout l;
	assert_int_equal(mkfs_layout_make("disk", MKFS_SIZE_MIN, NULL, r, &l), 0);
	assert_int_equal(mkfs_layout_make("disk", MKFS_SIZE_MIN - 1, NULL, r, &l),
			 -ENOSPC);
	assert_true(collect_has(
		&told, "disk: 286261247 bytes are too small: at least 286261248"));
	assert_int_equal(mkfs_layout_make("disk", 0, NULL, NULL, &l), -ENOSPC);
	collect_done(&told);
}

static void over_16_tib_is_refused(void **state)
{
	(void)state;
	struct collect told;
	struct reporter *r = collect_init(&told);
	struct mkfs_layout l;
	uint64_t most = 16 * TIB + LVM_DATA_OFF + LVM_PE_SIZE - VMFS_SECTOR_SIZE;
	assert_int_equal(mkfs_layout_make("disk", most, NULL, r, &l), 0);
	assert_int_equal(l.pe_count, 65536);
	assert_int_equal(l.extents[0].pe_map_count, 8);
	assert_int_equal(mkfs_layout_make("disk", most + VMFS_SECTOR_SIZE, NULL, r, &l),
			 -EFBIG);
	assert_true(collect_has(&told, "at most 16 TiB"));
	assert_int_equal(mkfs_layout_make("disk", UINT64_MAX, NULL, NULL, &l), -EFBIG);
	collect_done(&told);
}

static void devices_become_extents_in_their_order(void **state)
{
	(void)state;
	static const struct mkfs_device devices[] = {
		{ "a", 2 * GIB }, { "b", MKFS_SIZE_MIN + 512 }, { "c", 16 * TIB }
	};
	static const uint32_t pes[] = { 7, 1, 65535 };
	struct mkfs_layout l;
	uint64_t dev_off;

	for (uint32_t version = 5; version <= 6; version++) {
		assert_int_equal(mkfs_layout_devices(version, devices, 3, NULL, NULL, &l),
				 0);
		assert_int_equal(l.extent_count, 3);
		uint32_t next = 0;
		for (unsigned int i = 0; i < 3; i++) {
			assert_int_equal(l.extents[i].pe_first, next);
			assert_int_equal(l.extents[i].pe_count, pes[i]);
			uint64_t size = devices[i].size_bytes;
			assert_int_equal(l.extents[i].device_size, size);
			next += pes[i];
		}
		assert_int_equal(l.pe_count, next);
		assert_int_equal(l.volume_size, next * LVM_PE_SIZE);
	}
	assert_int_equal(mkfs_extent_of(&l, 7 * LVM_PE_SIZE - 1, &dev_off), 0);
	assert_int_equal(dev_off, LVM_DATA_OFF + 7 * LVM_PE_SIZE - 1);
	assert_int_equal(mkfs_extent_of(&l, 7 * LVM_PE_SIZE, &dev_off), 1);
	assert_int_equal(dev_off, LVM_DATA_OFF);
	assert_int_equal(mkfs_extent_of(&l, 8 * LVM_PE_SIZE + 5, &dev_off), 2);
	assert_int_equal(dev_off, LVM_DATA_OFF + 5);
}

/* 64 TiB to the block; from 50 TiB on .fbb.sf has more blocks than slots in its FD. */
static void volumes_have_64_tib(void **state)
{
	(void)state;
	struct mkfs_device devices[LVM_EXTENTS_MAX + 1];
	struct mkfs_layout l;
	struct collect told;
	struct reporter *r = collect_init(&told);

	for (unsigned int i = 0; i <= LVM_EXTENTS_MAX; i++)
		devices[i] = (struct mkfs_device){ "disk", 2 * TIB + LVM_DATA_OFF };
	assert_int_equal(mkfs_layout_devices(5, devices, 24, NULL, r, &l), 0);
	assert_int_equal(l.files[VMFS_FD_FBB].pb_count, 0);
	assert_int_equal(mkfs_layout_devices(5, devices, 32, NULL, r, &l), 0);
	assert_int_equal(l.block_count, 1u << 26);
	assert_int_equal(l.files[VMFS_FD_FBB].block_count, 328);
	assert_int_equal(l.files[VMFS_FD_FBB].pb_count, 1);
	assert_int_equal(l.used_pb2, 1);
	assert_int_equal(mkfs_cluster_used(&l, &l.resources[MKFS_PB2], 0), 1);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 0);
	devices[31].size_bytes += LVM_PE_SIZE;
	assert_int_equal(mkfs_layout_devices(5, devices, 32, NULL, r, &l), -EFBIG);
	assert_true(collect_has(&told, "a volume holds at most 64 TiB"));
	assert_int_equal(mkfs_layout_devices(5, devices, 33, NULL, r, &l), -EINVAL);
	assert_true(collect_has(&told, "33 devices: a volume has 1 to 32"));
	collect_done(&told);
}

static void impossible_counts_are_refused(void **state)
{
	(void)state;
	struct mkfs_layout l;
	static const struct mkfs_counts bad[] = {
		{ .fd = 10 },
		{ .fd_per_cluster = 10 },
		{ .fd_per_cluster = 513 },
		{ .sb_per_cluster = 65 },
		{ .fd = 140000 },
		{ .pb = 70000 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(mkfs_layout_make("disk", 100 * GIB, &bad[i], NULL, &l),
				 -EINVAL);
	struct mkfs_counts full = { .sb = 32000 };
	assert_int_equal(mkfs_layout_make("disk", MKFS_SIZE_MIN, &full, NULL, &l),
			 -ENOSPC);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(example_a_is_reproduced),
		cmocka_unit_test(example_b_is_reproduced),
		cmocka_unit_test(example_c_is_reproduced),
		cmocka_unit_test(published_lock_offsets_are_reproduced),
		cmocka_unit_test(blocks_are_dealt_out_once_at_every_size),
		cmocka_unit_test(every_number_of_pes_fits),
		cmocka_unit_test(too_small_is_refused_with_both_numbers),
		cmocka_unit_test(over_16_tib_is_refused),
		cmocka_unit_test(devices_become_extents_in_their_order),
		cmocka_unit_test(volumes_have_64_tib),
		cmocka_unit_test(impossible_counts_are_refused),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
