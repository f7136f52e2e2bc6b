/* SPDX-License-Identifier: Apache-2.0 */
/* Files: every form they are stored in, blocks that come and go, devices made of them. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/lib/handmade.h"
#include "tests/lib/testvol.h"
#include "vmfs/format.h"
#include "vmfs/file_impl.h"
#include "vmfs/volume.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static struct vmfs_file *open_file(struct vmfs_volume *vol, const char *path,
				   uint32_t flags)
{
	struct vmfs_file_options options = { .flags = flags, .mode = 0644 };
	struct vmfs_file *file = NULL;
	assert_int_equal(vmfs_file_open(vol, path, &options, &file, NULL), 0);
	return file;
}

static struct vmfs_stat stat_of(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_stat st = { 0 };
	assert_int_equal(vmfs_stat(vol, path, &st), 0);
	return st;
}

static uint64_t free_blocks(struct vmfs_volume *vol)
{
	struct vmfs_volume_info info;
	assert_int_equal(vmfs_volume_info(vol, &info), 0);
	return info.free_block_count;
}

static void assert_zeros(struct vmfs_file *file, uint64_t offset, uint64_t len)
{
	uint8_t *buf = malloc(len);
	assert_int_equal(vmfs_file_read(file, buf, len, offset), (int64_t)len);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

/*
 * A small file is resident, then in a sub-block, then in blocks; nothing is left behind.
 */
static void a_growing_file_changes_its_form(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t zla, block_size;
		uint64_t blocks;
	} steps[] = {
		{ 0, VMFS_ZLA_RESIDENT, 8192, 0 },
		{ 1024, VMFS_ZLA_RESIDENT, 8192, 0 },
		{ 1025, VMFS_ZLA_SB, 8192, 1 },
		{ 8192, VMFS_ZLA_SB, 8192, 1 },
		{ 8193, VMFS_ZLA_FB, 1u << 20, 1 },
		{ 257 * MIB, VMFS_ZLA_PB, 1u << 20, 1 },
		{ 257 * GIB, VMFS_ZLA_DOUBLE, 1u << 20, 1 },
	};
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 4);
	struct vmfs_file *file = open_file(tv.vol, "/f", VMFS_WRITE | VMFS_CREATE);
	uint8_t *data = malloc(9000);
	memset(data, 'd', 9000);
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		if (steps[i].size <= 9000 && steps[i].size)
			assert_int_equal(vmfs_file_write(file, data, steps[i].size, 0),
					 0);
		else
			assert_int_equal(vmfs_file_truncate(file, steps[i].size), 0);
		assert_int_equal(vmfs_file_sync(file), 0);
		struct vmfs_stat st = stat_of(tv.vol, "/f");
		assert_int_equal(st.zla, steps[i].zla);
		assert_int_equal(st.block_size_bytes, steps[i].block_size);
		assert_int_equal(st.block_count, steps[i].blocks);
		assert_int_equal(st.size_bytes, steps[i].size);
	}
	assert_int_equal(vmfs_file_read(file, data, 9000, 0), 9000);
	assert_int_equal(data[8192], 'd');
	assert_int_equal(data[8193], 0);
	assert_int_equal(vmfs_file_truncate(file, 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(stat_of(tv.vol, "/f").zla, VMFS_ZLA_RESIDENT);
	free(data);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void check_handmade(struct vmfs_volume *vol, const char *path, enum handmade_fd fd,
			   const uint64_t *data_offs, uint32_t flags)
{
	uint8_t *buf = malloc(MIB);
	struct vmfs_file *file = open_file(vol, path, flags);
	for (; *data_offs != UINT64_MAX; data_offs++) {
		int64_t n = vmfs_file_read(file, buf, 4096, *data_offs);
		assert_in_range(n, 1, 4096);
		for (int64_t i = 0; i < n; i++)
			assert_int_equal(buf[i],
					 handmade_byte(fd, *data_offs + (uint64_t)i));
	}
	assert_int_equal(vmfs_file_close(file), 0);
	free(buf);
}

/*
 * Locked and unlocked, read-only and as a member: the forms that another hand has
 * written.
 */
static void every_form_is_read(void **state)
{
	static const uint64_t blocks[] = { 0, 1000, 2 * MIB, UINT64_MAX };
	static const uint64_t double_offs[] = { 257 * GIB - MIB, UINT64_MAX };
	static const uint64_t sub[] = { 0, 4096, UINT64_MAX };
	struct handmade h;
	struct testvol tv;
	(void)state;
	handmade_new(&h);
	(void)collect_init(&tv.told);
	tv.bd = h.bd;
	for (unsigned int round = 0; round < 3; round++) {
		uint32_t flags = round == 2 ? VMFS_READ_LOCKED : VMFS_READ;
		testvol_mount(&tv, round == 0);
		check_handmade(tv.vol, "/dir/blocks", HANDMADE_FILE_BLOCKS, blocks,
			       flags);
		check_handmade(tv.vol, "/pointers", HANDMADE_FILE_POINTERS, blocks,
			       flags);
		check_handmade(tv.vol, "/double", HANDMADE_FILE_DOUBLE, double_offs,
			       flags);
		check_handmade(tv.vol, "/dir/sub", HANDMADE_FILE_SUB, sub, flags);
		struct vmfs_file *file = open_file(tv.vol, "/link", flags);
		char text[32] = { 0 };
		assert_int_equal(vmfs_file_read(file, text, sizeof(text), 0),
				 sizeof(HANDMADE_RESIDENT) - 1);
		assert_string_equal(text, HANDMADE_RESIDENT);
		assert_int_equal(vmfs_file_close(file), 0);
		file = open_file(tv.vol, "/dir/tbz", flags);
		assert_zeros(file, 0, MIB);
		assert_int_equal(vmfs_file_close(file), 0);
		testvol_unmount(&tv);
	}
	testvol_free(&tv);
}

/* Junk on the disk never shows through a block that is only partly written. */
static void a_part_of_a_block_shows_nothing_old(void **state)
{
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	uint8_t *junk = malloc(MIB);
	memset(junk, 0xee, MIB);
	for (uint64_t off = LVM_DATA_OFF + 40 * MIB; off < LVM_DATA_OFF + LVM_PE_SIZE;
	     off += MIB)
		assert_int_equal(bdev_write(tv.bd, junk, MIB, off), 0);
	struct vmfs_file *file = open_file(tv.vol, "/f", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_truncate(file, 3 * MIB), 0);
	assert_int_equal(vmfs_file_write(file, "x", 1, MIB + 700), 0);
	assert_zeros(file, 0, MIB + 700);
	assert_zeros(file, MIB + 701, 2 * MIB - 701);
	/* Cut inside the block and grown again: what was cut off is gone. */
	assert_int_equal(vmfs_file_write(file, junk, 2000, 2 * MIB), 0);
	assert_int_equal(vmfs_file_truncate(file, 2 * MIB + 100), 0);
	assert_int_equal(vmfs_file_write(file, "y", 1, 2 * MIB + 1500), 0);
	assert_zeros(file, 2 * MIB + 100, 1400);
	assert_int_equal(vmfs_file_close(file), 0);
	free(junk);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* What a sequential writer got ahead of its need is given back. */
static void blocks_ahead_are_given_back(void **state)
{
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 2);
	uint64_t before = free_blocks(tv.vol);
	uint8_t *data = calloc(1, MIB);
	struct vmfs_file *file = open_file(tv.vol, "/f", VMFS_WRITE | VMFS_CREATE);
	for (uint64_t i = 0; i < 30; i++)
		assert_int_equal(vmfs_file_write(file, data, MIB, i * MIB), 0);
	assert_true(free_blocks(tv.vol) < before - 30);
	assert_int_equal(vmfs_file_write(file, data, MIB, 100 * MIB), 0);
	assert_true(free_blocks(tv.vol) == before - 31);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_true(free_blocks(tv.vol) == before - 31);
	assert_int_equal(stat_of(tv.vol, "/f").block_count, 31);
	assert_int_equal(stat_of(tv.vol, "/f").tbz_count, 0);
	free(data);
	testvol_free(&tv);
}

static void allocation_backs_every_byte(void **state)
{
	struct testvol tv;
	uint64_t len;
	bool is_data;
	(void)state;
	testvol_new(&tv, 4);
	struct vmfs_file *file = open_file(tv.vol, "/thick", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_allocate(file, 0, 300 * MIB + 5, VMFS_ALLOCATE_TBZ),
			 0);
	struct vmfs_stat st = stat_of(tv.vol, "/thick");
	assert_int_equal(st.size_bytes, 300 * MIB + 5);
	assert_int_equal(st.block_count, 301);
	assert_int_equal(st.tbz_count, 301);
	assert_int_equal(vmfs_file_extent(file, 0, &len, &is_data), 0);
	assert_false(is_data);
	assert_int_equal(len, 300 * MIB + 5);
	assert_int_equal(vmfs_file_allocate(file, 0, 300 * MIB, VMFS_ALLOCATE_ZERO), 0);
	assert_int_equal(stat_of(tv.vol, "/thick").tbz_count, 1);
	assert_int_equal(vmfs_file_extent(file, 5, &len, &is_data), 0);
	assert_true(is_data);
	assert_int_equal(len, 300 * MIB - 5);
	assert_int_equal(vmfs_file_punch(file, MIB, 2 * MIB), 0);
	assert_int_equal(stat_of(tv.vol, "/thick").block_count, 299);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* More than one journal record can hold: many transactions, the same result. */
static void a_huge_file_comes_and_goes(void **state)
{
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 2000);
	uint64_t before = free_blocks(tv.vol);
	struct vmfs_file *file = open_file(tv.vol, "/huge", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_allocate(file, 0, 450 * GIB, VMFS_ALLOCATE_TBZ), 0);
	assert_true(free_blocks(tv.vol) == before - 450 * KIB);
	assert_int_equal(vmfs_file_truncate(file, 449 * GIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	struct vmfs_stat st = stat_of(tv.vol, "/huge");
	assert_int_equal(st.zla, VMFS_ZLA_DOUBLE);
	assert_int_equal(st.block_count, 449 * KIB);
	assert_int_equal(vmfs_unlink(tv.vol, "/huge"), 0);
	assert_true(free_blocks(tv.vol) == before);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static struct vmfs_volume *second_member(struct testvol *tv)
{
	struct vmfs_open_options options = {
		.devices = &tv->bd,
		.device_count = 1,
		.host_name = "other",
		.reporter = &tv->told.base,
		.time_divisor = 8,
	};
	struct vmfs_volume *vol = NULL;
	assert_int_equal(vmfs_volume_open(&options, &vol), 0);
	return vol;
}

/* Blocks that files can have. */
static uint64_t blocks_for_files(struct vmfs_volume *vol)
{
	struct vmfs_volume_info info;
	assert_int_equal(vmfs_volume_info(vol, &info), 0);
	return info.free_bytes / MIB;
}

static void visit_all(struct vmfs_file *file, uint64_t size)
{
	uint64_t len;
	bool is_data;
	for (uint64_t at = 0; at < size; at += len)
		assert_int_equal(vmfs_file_extent(file, at, &len, &is_data), 0);
}

static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

/* Bytes of memory that the map of an open file takes. */
static size_t map_bytes(struct vmfs_volume *vol, const char *path, uint64_t size)
{
	struct vmfs_file *file = open_file(vol, path, VMFS_WRITE);
	visit_all(file, size); /* what is read on the way is in the cache then */
	assert_int_equal(vmfs_file_close(file), 0);
	file = open_file(vol, path, VMFS_WRITE);
	size_t before = allocated();
	visit_all(file, size);
	size_t bytes = allocated() - before;
	assert_int_equal(vmfs_file_close(file), 0);
	return bytes;
}

/*
 * The whole map of a thin disk of 2 TiB in memory takes at most 64 MiB when all of it is
 * written (an eighth of it; FULL: all), and next to nothing while it is not.
 */
static void the_map_of_a_huge_file_is_small(void **state)
{
	const uint64_t part = getenv("FULL") ? 1 : 8;
	const uint64_t thin = 2048 * GIB, full = thin / part;
	struct testvol tv;
	(void)state;
	if (!allocated())
		skip(); /* a sanitizer's malloc does not count */
	testvol_new(&tv, (unsigned int)(full / LVM_PE_SIZE + 76));
	struct vmfs_file *file = open_file(tv.vol, "/full", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_allocate(file, 0, full, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	file = open_file(tv.vol, "/thin", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_truncate(file, thin), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	size_t bytes = map_bytes(tv.vol, "/full", full);
	/* One address for each block is there, and little more. */
	assert_in_range(bytes, full / MIB * 4, 64 * MIB / part);
	print_message("# %zu bytes of map for %llu GiB\n", bytes,
		      (unsigned long long)(full / GIB));
	bytes = map_bytes(tv.vol, "/thin", thin);
	assert_in_range(bytes, 1, MIB);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/*
 * Files that grow lie together: one of them in one piece, two at a time in pieces of as
 * much as is allocated ahead of a writer.
 */
static unsigned int pieces_of(struct vmfs_file *file, uint64_t blocks)
{
	unsigned int count = 0;
	sleeplock_acquire(&file->sleeplock);
	for (uint64_t block = 0; block < blocks;) {
		struct file_run run;
		assert_int_equal(file_run_at(file, block, blocks - block, &run), 0);
		assert_int_not_equal(run.state, FILE_HOLE);
		block += run.count;
		count++;
	}
	sleeplock_release(&file->sleeplock);
	return count;
}

static void growing_files_lie_together(void **state)
{
	const uint64_t size = 320 * MIB;
	struct vmfs_file *files[3];
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 5);
	files[0] = open_file(tv.vol, "/alone", VMFS_WRITE | VMFS_CREATE);
	for (uint64_t at = 0; at < size; at += 64 * KIB)
		assert_int_equal(vmfs_file_write(files[0], "x", 1, at), 0);
	assert_in_range(pieces_of(files[0], size / MIB), 1, 2);
	files[1] = open_file(tv.vol, "/one", VMFS_WRITE | VMFS_CREATE);
	files[2] = open_file(tv.vol, "/other", VMFS_WRITE | VMFS_CREATE);
	for (uint64_t at = 0; at < size; at += MIB) {
		assert_int_equal(vmfs_file_write(files[1], "x", 1, at), 0);
		assert_int_equal(vmfs_file_write(files[2], "x", 1, at), 0);
	}
	/* 1, 4, 16, then 64 blocks at a time. */
	assert_in_range(pieces_of(files[1], size / MIB), 1, 4 + size / (64 * MIB));
	assert_in_range(pieces_of(files[2], size / MIB), 1, 4 + size / (64 * MIB));
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(vmfs_file_close(files[i]), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void a_full_volume_says_so(void **state)
{
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	uint64_t room = blocks_for_files(tv.vol);
	struct vmfs_file *file = open_file(tv.vol, "/f", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_truncate(file, (room + 10) * MIB), 0);
	assert_int_equal(vmfs_file_allocate(file, 0, (room + 1) * MIB, VMFS_ALLOCATE_TBZ),
			 -ENOSPC);
	assert_true(collect_has(&tv.told, "no file blocks left"));
	uint8_t *data = malloc(MIB);
	memset(data, 7, MIB);
	assert_int_equal(vmfs_file_allocate(file, 0, room * MIB, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(vmfs_file_write(file, data, 1, (room + 1) * MIB), -ENOSPC);
	assert_int_equal(vmfs_file_truncate(file, 10 * MIB), 0);
	assert_int_equal(vmfs_file_write(file, data, MIB, 12 * MIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_true(blocks_for_files(tv.vol) == room - 11);
	collect_clear(&tv.told);
	free(data);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/*
 * A volume with no block left for files: it is mounted again, for which a journal needs
 * one, and what is deleted makes room.
 */
static void a_full_volume_is_mounted_and_emptied(void **state)
{
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	uint64_t room = blocks_for_files(tv.vol);
	struct vmfs_file *file = open_file(tv.vol, "/f", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_allocate(file, 0, room * MIB, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(blocks_for_files(tv.vol), 0);
	testvol_unmount(&tv);
	testvol_mount(&tv, false);
	struct vmfs_volume *other = second_member(&tv);
	assert_int_equal(vmfs_volume_close(other), 0);
	file = open_file(tv.vol, "/g", VMFS_WRITE | VMFS_CREATE);
	/* The first journal's block is free again, if the second one is another. */
	uint64_t left = blocks_for_files(tv.vol);
	assert_true(left <= 1);
	assert_int_equal(vmfs_file_allocate(file, 0, (left + 1) * MIB, VMFS_ALLOCATE_TBZ),
			 -ENOSPC);
	assert_true(collect_has(&tv.told, "no file blocks left"));
	if (left)
		assert_int_equal(vmfs_file_allocate(file, 0, MIB, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(blocks_for_files(tv.vol), 0);
	assert_int_equal(vmfs_unlink(tv.vol, "/f"), 0);
	assert_int_equal(vmfs_file_allocate(file, left * MIB, MIB, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(blocks_for_files(tv.vol), room - 1);
	collect_clear(&tv.told);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* ---- two members ---- */

static bool is_on_storage(struct bdev *bd, uint8_t byte)
{
	uint8_t *buf = malloc(MIB);
	bool is_there = false;
	for (uint64_t at = 0; at < bd->size && !is_there; at += MIB) {
		assert_int_equal(bdev_read(bd, buf, MIB, at), 0);
		for (uint64_t i = 0; i < MIB && !is_there; i += 512)
			is_there = buf[i] == byte && memcmp(buf + i, buf + i + 1, 511)
						     == 0;
	}
	free(buf);
	return is_there;
}

/*
 * Freeing leaves the bytes where they are, for who looks for a lost file; a scrub of the
 * file that has the blocks now overwrites them, though it only reads them as zeros.
 */
static void a_scrub_reaches_what_freeing_leaves(void **state)
{
	struct testvol tv;
	struct vmfs_stat st;
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_file *file = open_file(tv.vol, "/old", VMFS_WRITE | VMFS_CREATE);
	uint8_t *data = malloc(4 * MIB);
	memset(data, 0xc7, 4 * MIB);
	assert_int_equal(vmfs_file_write(file, data, 4 * MIB, 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_unlink(tv.vol, "/old"), 0);
	assert_true(is_on_storage(tv.bd, 0xc7));
	struct vmfs_volume_info info;
	assert_int_equal(vmfs_volume_info(tv.vol, &info), 0);
	file = open_file(tv.vol, "/new", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_allocate(file, 0, info.free_bytes, VMFS_ALLOCATE_TBZ),
			 0);
	assert_true(is_on_storage(tv.bd, 0xc7));
	assert_int_equal(vmfs_file_write(file, data, MIB, MIB), 0);
	assert_int_equal(vmfs_file_scrub(file, 0, UINT64_MAX), 0);
	assert_false(is_on_storage(tv.bd, 0xc7));
	assert_zeros(file, 0, 4 * MIB);
	assert_int_equal(vmfs_file_close(file), 0);
	st = stat_of(tv.vol, "/new");
	assert_int_equal(st.size_bytes, info.free_bytes);
	assert_int_equal(st.block_count, info.free_bytes / MIB);
	free(data);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void an_open_file_is_refused_to_others(void **state)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_holder holder = { 0 };
	struct vmfs_file *file, *again = NULL;
	struct testvol tv;
	char text[VMFS_HOLDER_TEXT_SIZE];
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_volume *other = second_member(&tv);
	file = open_file(tv.vol, "/f", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_write(file, "abc", 3, 0), 0);
	assert_int_equal(vmfs_file_open(other, "/f", &options, &again, &holder), -EBUSY);
	assert_string_equal(holder.host_name, "tester");
	assert_non_null(strstr(vmfs_holder_text(&holder, text), "held by host tester ("));
	assert_non_null(strstr(text, "exclusive"));
	assert_int_equal(vmfs_file_open(tv.vol, "/f", &options, &again, &holder), -EBUSY);
	assert_int_equal(vmfs_unlink(tv.vol, "/f"), -EBUSY);
	struct vmfs_lock_info info;
	assert_int_equal(vmfs_lock_info(other, "/f", &info), 0);
	assert_int_equal(info.mode, LOCK_EXCLUSIVE);
	assert_true(info.is_holder_alive);
	/* Until then others see what was committed, afterwards all of it. */
	assert_int_equal(stat_of(other, "/f").size_bytes, 0);
	assert_int_equal(stat_of(tv.vol, "/f").size_bytes, 3);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(stat_of(other, "/f").size_bytes, 3);
	again = open_file(other, "/f", VMFS_WRITE);
	assert_int_equal(vmfs_file_close(again), 0);
	assert_int_equal(vmfs_volume_close(other), 0);
	testvol_free(&tv);
}

/*
 * A member that keeps the locks of files that it has closed: another that wants one has
 * it soon, with what was written; one that was removed is gone for both.
 */
static void a_kept_lock_is_given_to_who_wants_it(void **state)
{
	struct testvol tv;
	struct vmfs_volume *keeper;
	struct vmfs_file *file;
	char text[8] = { 0 };
	(void)state;
	testvol_new(&tv, 4);
	struct vmfs_open_options options = { .devices = &tv.bd,
					     .device_count = 1,
					     .host_name = "keeper",
					     .reporter = &tv.told.base,
					     .keeps_locks = true,
					     .time_divisor = 8 };
	assert_int_equal(vmfs_volume_open(&options, &keeper), 0);
	for (unsigned int i = 0; i < 40; i++) {
		char path[16];
		(void)snprintf(path, sizeof(path), "/k%u", i);
		file = open_file(keeper, path, VMFS_WRITE | VMFS_CREATE | VMFS_EXCL);
		assert_int_equal(vmfs_file_write(file, path, 3, 0), 0);
		assert_int_equal(vmfs_file_close(file), 0);
		if (i % 2)
			assert_int_equal(vmfs_unlink(keeper, path), 0);
	}
	struct vmfs_lock_info lock;
	assert_int_equal(vmfs_lock_info(tv.vol, "/k38", &lock), 0);
	assert_int_equal(lock.mode, LOCK_EXCLUSIVE); /* kept */
	struct vmfs_file_options wanted = { .flags = VMFS_WRITE,
					    .deadline = clock_now() + 20 * NS_PER_S };
	assert_int_equal(vmfs_file_open(tv.vol, "/k38", &wanted, &file, NULL), 0);
	assert_int_equal(vmfs_file_read(file, text, sizeof(text), 0), 3);
	assert_string_equal(text, "/k3");
	assert_int_equal(vmfs_file_write(file, "new", 3, 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_file_open(tv.vol, "/k39", &wanted, &file, NULL), -ENOENT);
	file = open_file(tv.vol, "/mine", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_close(file), 0);
	file = open_file(keeper, "/k38", VMFS_WRITE);
	assert_int_equal(vmfs_file_read(file, text, sizeof(text), 0), 3);
	assert_string_equal(text, "new");
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_volume_close(keeper), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void readers_share_a_file(void **state)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *a, *b, *c = NULL;
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	a = open_file(tv.vol, "/f", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_write(a, "shared", 6, 0), 0);
	assert_int_equal(vmfs_file_close(a), 0);
	struct vmfs_volume *other = second_member(&tv);
	a = open_file(tv.vol, "/f", VMFS_READ_LOCKED);
	b = open_file(other, "/f", VMFS_READ_LOCKED);
	char text[8] = { 0 };
	assert_int_equal(vmfs_file_read(b, text, sizeof(text), 0), 6);
	assert_string_equal(text, "shared");
	assert_int_equal(vmfs_file_write(b, "x", 1, 0), -EBADF);
	assert_int_equal(vmfs_file_open(other, "/f", &options, &c, NULL), -EBUSY);
	assert_int_equal(vmfs_file_close(a), 0);
	assert_int_equal(vmfs_file_close(b), 0);
	assert_int_equal(vmfs_volume_close(other), 0);
	testvol_free(&tv);
}

/* ---- devices ---- */

static void a_file_is_a_device(void **state)
{
	struct testvol tv;
	struct bdev *bd;
	struct bdev_extent e;
	(void)state;
	testvol_new(&tv, 2);
	struct vmfs_file *file = open_file(tv.vol, "/disk", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_truncate(file, 10 * MIB + 100), 0);
	assert_int_equal(vmfs_file_bdev(file, &bd), 0);
	struct worker_pool *pool = worker_pool_new("pool", 2);
	bdev_set_pool(bd, pool);
	assert_int_equal(bd->size, 10 * MIB);
	uint8_t *buf = malloc(MIB);
	memset(buf, 'w', MIB);
	struct bdev_io io = { .op = BDEV_WRITE, .offset = 4096, .len = 8192 };
	assert_int_equal(bd->ops->map(bd, &io, &e), -EAGAIN);
	assert_int_equal(batch_one(bd, BDEV_WRITE, 0, buf, 8192, 4096), 0);
	/* It is being filled: a flush, a read have to finish that. */
	struct bdev_io read = { .op = BDEV_READ, .offset = 0, .len = 4096 };
	assert_int_equal(bd->ops->map(bd, &read, &e), -EAGAIN);
	assert_int_equal(bd->ops->map(bd, &(struct bdev_io){ .op = BDEV_FLUSH }, &e),
			 -EAGAIN);
	assert_int_equal(batch_one(bd, BDEV_READ, 0, buf, 4096, 0), 0);
	memset(buf, 'w', MIB);
	/*
	 * Now it is mapped: writes go straight to the leaf; a flush has a mark to clear.
	 */
	assert_int_equal(bd->ops->map(bd, &io, &e), 0);
	assert_ptr_equal(e.leaf, tv.bd);
	assert_int_equal(e.len, 8192);
	bd->ops->unmap(bd, &e);
	struct bdev_io flush = { .op = BDEV_FLUSH };
	assert_int_equal(bd->ops->map(bd, &flush, &e), -EAGAIN);
	io.flags = BDEV_FUA;
	assert_int_equal(bd->ops->map(bd, &io, &e), -EAGAIN);
	assert_int_equal(batch_one(bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(stat_of(tv.vol, "/disk").tbz_count, 0);
	assert_int_equal(bd->ops->map(bd, &flush, &e), 0);
	assert_ptr_equal(e.leaf, tv.bd);
	/* A hole reads as zeros without I/O. */
	struct bdev_io hole = { .op = BDEV_READ, .offset = 5 * MIB, .len = MIB };
	assert_int_equal(bd->ops->map(bd, &hole, &e), 0);
	assert_null(e.leaf);
	assert_int_equal(e.len, MIB);
	memset(buf, 0, MIB);
	assert_int_equal(batch_one(bd, BDEV_READ, 0, buf, MIB, 0), 0);
	assert_int_equal(buf[4095], 0);
	assert_int_equal(buf[4096], 'w');
	assert_int_equal(buf[4096 + 8192], 0);
	free(buf);
	bdev_close(bd);
	worker_pool_free(pool);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_free(&tv);
}

struct puncher {
	struct vmfs_file *file;
	struct mutex m;
	bool is_done;
};

static void punch(void *arg)
{
	struct puncher *p = arg;
	assert_int_equal(vmfs_file_punch(p->file, 0, 4 * MIB), 0);
	mutex_lock(&p->m);
	p->is_done = true;
	mutex_unlock(&p->m);
}

/* I/O that is under way keeps its blocks. */
static void a_hold_keeps_blocks_in_the_file(void **state)
{
	struct testvol tv;
	struct bdev *bd;
	struct bdev_extent e;
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_file *file = open_file(tv.vol, "/disk", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_allocate(file, 0, 4 * MIB, VMFS_ALLOCATE_ZERO), 0);
	uint64_t room = free_blocks(tv.vol);
	assert_int_equal(vmfs_file_bdev(file, &bd), 0);
	struct bdev_io io = { .op = BDEV_WRITE, .offset = 0, .len = 4096 };
	assert_int_equal(bd->ops->map(bd, &io, &e), 0);
	struct puncher p = { .file = file };
	mutex_init(&p.m);
	struct task *task = task_start("punch", punch, &p);
	task_sleep_until(clock_now() + 50 * NS_PER_MS);
	mutex_lock(&p.m);
	assert_false(p.is_done);
	mutex_unlock(&p.m);
	assert_true(free_blocks(tv.vol) == room);
	/* While it waits, nobody new gets in. */
	struct bdev_extent other;
	assert_int_equal(bd->ops->map(bd, &io, &other), -EAGAIN);
	bd->ops->unmap(bd, &e);
	task_join(task);
	assert_true(p.is_done);
	assert_true(free_blocks(tv.vol) == room + 4);
	mutex_done(&p.m);
	bdev_close(bd);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_free(&tv);
}

/* ---- several tasks ---- */

#define WRITERS 4u
#define ROUNDS 60u

struct writer {
	struct bdev *bd;
	unsigned int number;
};

/* Each writes its own 4 KiB of every 16, so that blocks are shared. */
static void write_stripes(void *arg)
{
	const struct writer *w = arg;
	uint8_t buf[4096];
	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t at = (i * 7919ull % 1024 * WRITERS + w->number) * sizeof(buf);
		memset(buf, (int)(w->number * 50 + i % 50 + 1), sizeof(buf));
		assert_int_equal(bdev_write(w->bd, buf, sizeof(buf), at), 0);
		if (i % 16 == 0)
			assert_int_equal(bdev_flush(w->bd), 0);
	}
}

static void several_writers_share_a_thin_disk(void **state)
{
	struct testvol tv;
	struct bdev *bd;
	struct task *tasks[WRITERS];
	struct writer writers[WRITERS];
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_file *file = open_file(tv.vol, "/disk", VMFS_WRITE | VMFS_CREATE);
	assert_int_equal(vmfs_file_truncate(file, 16 * MIB), 0);
	assert_int_equal(vmfs_file_bdev(file, &bd), 0);
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ bd, i };
		tasks[i] = task_start("writer", write_stripes, &writers[i]);
	}
	for (unsigned int i = 0; i < WRITERS; i++)
		task_join(tasks[i]);
	bdev_close(bd);
	assert_int_equal(vmfs_file_close(file), 0);
	file = open_file(tv.vol, "/disk", VMFS_READ);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		for (unsigned int n = 0; n < WRITERS; n++) {
			uint8_t buf[4096];
			uint64_t at = (i * 7919ull % 1024 * WRITERS + n) * sizeof(buf);
			assert_int_equal(vmfs_file_read(file, buf, sizeof(buf), at),
					 4096);
			assert_int_equal(buf[0], n * 50 + i % 50 + 1);
			assert_int_equal(buf[4095], buf[0]);
		}
	}
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_growing_file_changes_its_form),
		cmocka_unit_test(every_form_is_read),
		cmocka_unit_test(a_part_of_a_block_shows_nothing_old),
		cmocka_unit_test(blocks_ahead_are_given_back),
		cmocka_unit_test(allocation_backs_every_byte),
		cmocka_unit_test(a_huge_file_comes_and_goes),
		cmocka_unit_test(the_map_of_a_huge_file_is_small),
		cmocka_unit_test(growing_files_lie_together),
		cmocka_unit_test(a_full_volume_says_so),
		cmocka_unit_test(a_full_volume_is_mounted_and_emptied),
		cmocka_unit_test(a_scrub_reaches_what_freeing_leaves),
		cmocka_unit_test(an_open_file_is_refused_to_others),
		cmocka_unit_test(a_kept_lock_is_given_to_who_wants_it),
		cmocka_unit_test(readers_share_a_file),
		cmocka_unit_test(a_file_is_a_device),
		cmocka_unit_test(a_hold_keeps_blocks_in_the_file),
		cmocka_unit_test(several_writers_share_a_thin_disk),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
