/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an open disk of 1 TiB takes of the memory: 64 MiB at most, however deep its chain
 * is and however it is scattered, and it reads right when what was looked up before had
 * to go. Counted is all of the heap: map, tables and directories of all layers, and what
 * the volume keeps of their files.
 */
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
#include "base/buf.h"
#include "tests/lib/scattered.h"
#include "tests/lib/testvol.h"
#include "vdisk/sparsehead.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_COUNTED false /* the heap is another one */
#else
#define IS_COUNTED true
#endif

#define MOST (64ll << 20)

static int64_t heap(void)
{
	struct mallinfo2 info = mallinfo2();
	return (int64_t)(info.uordblks + info.hblkhd);
}

/* ---- chains ---- */

struct chained {
	struct testvol tv;
	struct scattered s;
	struct vdisk *disk;
};

static int64_t read_all_over(struct chained *c, int64_t before)
{
	uint64_t count = scattered_count(&c->s);
	int64_t most = 0;
	for (uint64_t i = 0; i < count + count / 2; i++) {
		scattered_read(&c->s, c->disk, scattered_walk(&c->s, i));
		if (i % 128 == 0 && heap() - before > most)
			most = heap() - before;
	}
	return most;
}

/*
 * Each region of which the leaf has nothing is written, and nobody flushes: what is
 * pinned has to be committed for it.
 */
static void write_all_over(struct chained *c)
{
	struct chainmap *map = c->disk->chain->map;
	uint64_t count = scattered_count(&c->s);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t region = scattered_region(&c->s, i);
		if (scattered_is_leafs(&c->s, region))
			continue;
		scattered_overwrite(&c->s, c->disk, region);
		assert_true(chainmap_bytes(map) <= chainmap_budget(SCATTERED_SECTORS));
	}
	c->s.is_overwritten = true;
	for (uint64_t i = 0; i < count; i++)
		scattered_read(&c->s, c->disk,
			       scattered_over_unit(scattered_region(&c->s, i)));
}

static void run(unsigned int depth, enum vdisk_delta_kind kind, uint32_t piece)
{
	const uint64_t limit = chainmap_budget(SCATTERED_SECTORS);
	struct chained c = { .s = { .kind = kind, .depth = depth, .piece = piece } };
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = &c.tv.told.base };
	c.s.runs = IS_COUNTED ? 9000000 : 1000000;
	testvol_new(&c.tv, 64);
	c.s.vol = c.tv.vol;
	c.s.reporter = &c.tv.told.base;
	scattered_make(&c.s);
	testvol_unmount(&c.tv);
	testvol_mount(&c.tv, false);
	int64_t before = heap();
	assert_int_equal(vdisk_open(c.tv.vol, SCATTERED_TOP, &how, &c.disk, NULL), 0);
	int64_t most = read_all_over(&c, before);
	uint64_t map = chainmap_bytes(c.disk->chain->map);
	uint64_t demand = scattered_demand(&c.s);
	print_message("# the map %llu KiB, of %llu that all would be; the heap %lld\n",
		      (unsigned long long)map >> 10, (unsigned long long)demand >> 10,
		      (long long)most >> 10);
	assert_true(map <= limit);
	if (IS_COUNTED) {
		assert_true(demand > MOST);
		assert_in_range(most, map, MOST);
	}
	write_all_over(&c);
	assert_int_equal(vdisk_close(c.disk), 0);
	testvol_unmount(&c.tv);
	testvol_free(&c.tv);
}

static void vmfs_sparse_1_deep(void **state)
{
	(void)state;
	run(1, VDISK_DELTA_VMFSSPARSE, 1);
}

static void vmfs_sparse_32_deep(void **state)
{
	(void)state;
	run(32, VDISK_DELTA_VMFSSPARSE, 1);
}

static void vmfs_sparse_255_deep(void **state)
{
	(void)state;
	run(255, VDISK_DELTA_VMFSSPARSE, 2);
}

static void se_sparse_1_deep(void **state)
{
	(void)state;
	run(1, VDISK_DELTA_SESPARSE, 8);
}

static void se_sparse_32_deep(void **state)
{
	(void)state;
	run(32, VDISK_DELTA_SESPARSE, 8);
}

static void se_sparse_255_deep(void **state)
{
	(void)state;
	run(255, VDISK_DELTA_SESPARSE, 8);
}

/* ---- without a chain: monolithicSparse ---- */

#define SECTORS SCATTERED_SECTORS
#define GRAIN 128u /* sectors */
#define GRAINS (SECTORS / GRAIN)
#define AREA 64u   /* grains, in which all places lie */
#define UNIT SCATTERED_UNIT
#define WRITES 5000u

struct single {
	struct testvol tv;
	struct vdisk *disk;
	uint8_t *buf;
	bool is_written;
};

/* Where a grain is: an index into the area, or -1. */
static int64_t grain_index(uint64_t grain)
{
	bool is_absent =
		scattered_mix(grain) % 9 == 0 || grain / SPARSE_ENTRIES % 128 == 3;
	return is_absent ? -1 : (int64_t)(scattered_mix(grain + 1) % AREA);
}

/* One of those that are absent, and written in the second half. */
static uint64_t written_grain(uint64_t i)
{
	uint64_t grain = GRAINS / WRITES * i;
	while (grain_index(grain) >= 0)
		grain++;
	return grain;
}

static uint64_t written_word(uint64_t sector)
{
	return 2ull << 60 | sector;
}

static uint64_t single_word(const struct single *s, uint64_t sector)
{
	uint64_t grain = sector / GRAIN,
		 i = min_u64(grain / (GRAINS / WRITES), WRITES - 1);
	int64_t index = grain_index(grain);
	if (index >= 0)
		return 1ull << 60 | ((uint64_t)index * GRAIN + sector % GRAIN);
	bool is_ours =
		s->is_written && sector % GRAIN < UNIT && written_grain(i) == grain;
	return is_ours ? written_word(sector) : 0;
}

/* Fills all tables of both directories, as if so much had been written by chance. */
static void fill_tables(const struct diskfile *file, uint64_t directory, uint64_t area)
{
	struct diskfile to = *file;
	struct sparse_head head;
	le32 entry[SPARSE_ENTRIES];
	assert_int_equal(sparse_head_read(file, NULL, &head), 0);
	uint64_t first = (directory ? head.gd : head.rgd) +
			 div_up(head.table_count * sizeof(le32), 512);
	for (uint64_t t = 0; t < GRAINS / SPARSE_ENTRIES; t++) {
		for (uint64_t i = 0; i < SPARSE_ENTRIES; i++) {
			int64_t index = grain_index(t * SPARSE_ENTRIES + i);
			uint64_t at = area + (uint64_t)index * GRAIN;
			entry[i] = le32_of(index < 0 ? 0 : (uint32_t)at);
		}
		assert_int_equal(diskfile_write(&to, entry, sizeof(entry),
						(first + t * SPARSE_TABLE_SECTORS) * 512),
				 0);
	}
}

static void make_single(struct single *s)
{
	const struct vdisk_create_options options = { .capacity_bytes = SECTORS * 512,
						      .format = VDISK_MONOLITHIC_SPARSE,
						      .reporter = &s->tv.told.base };
	struct diskfile file;
	uint64_t size;
	testvol_new(&s->tv, 8);
	const struct diskfile_options how = { .vol = s->tv.vol,
					      .path = "/s.vmdk",
					      .flags = VMFS_WRITE };
	assert_int_equal(vdisk_create(s->tv.vol, how.path, &options), 0);
	assert_int_equal(diskfile_open(&how, &file, NULL), 0);
	assert_int_equal(diskfile_size(&file, &size), 0);
	s->buf = io_alloc(GRAIN * 512);
	size = round_up(size, GRAIN * 512);
	for (uint64_t i = 0; i < AREA; i++) {
		for (uint64_t k = 0; k < GRAIN; k++)
			scattered_fill(s->buf + k * 512, 1ull << 60 | (i * GRAIN + k));
		assert_int_equal(diskfile_write(&file, s->buf, GRAIN * 512,
						size + i * GRAIN * 512), 0);
	}
	fill_tables(&file, 0, size / 512);
	fill_tables(&file, 1, size / 512);
	assert_int_equal(diskfile_close(&file), 0);
}

static void read_single(struct single *s, uint64_t sector)
{
	assert_int_equal(bdev_read(vdisk_bdev(s->disk), s->buf, UNIT * 512, sector * 512),
			 0);
	for (uint64_t k = 0; k < UNIT; k++) {
		uint64_t expected = single_word(s, sector + k), got;
		for (unsigned int i = 0; i < 512; i += sizeof(got)) {
			memcpy(&got, s->buf + k * 512 + i, sizeof(got));
			assert_int_equal(got, expected);
		}
	}
}

static int64_t read_single_all_over(struct single *s, int64_t before)
{
	const uint64_t tables = GRAINS / SPARSE_ENTRIES;
	int64_t most = 0;
	for (uint64_t i = 0; i < 3 * tables; i++) {
		uint64_t by_chance = scattered_mix(i + 3);
		uint64_t table = i < tables ? i * 7919 % tables : by_chance % tables;
		uint64_t in = (by_chance >> 20) % (SPARSE_ENTRIES * GRAIN - UNIT);
		read_single(s, table * SPARSE_ENTRIES * GRAIN + in);
		if (i % 128 == 0 && heap() - before > most)
			most = heap() - before;
	}
	return most;
}

/* Each write changes a table, and nobody flushes. */
static void write_single_all_over(struct single *s)
{
	for (uint64_t i = 0; i < WRITES; i++) {
		uint64_t sector = written_grain(i) * GRAIN;
		for (uint64_t k = 0; k < UNIT; k++)
			scattered_fill(s->buf + k * 512, written_word(sector + k));
		assert_int_equal(bdev_write(vdisk_bdev(s->disk), s->buf, UNIT * 512,
					    sector * 512), 0);
	}
	s->is_written = true;
	for (uint64_t i = 0; i < WRITES; i++)
		read_single(s, written_grain(i) * GRAIN + i % UNIT);
	(void)read_single_all_over(s, 0);
}

static void open_single(struct single *s)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = &s->tv.told.base };
	int rc = vdisk_open(s->tv.vol, "/s.vmdk", &how, &s->disk, NULL);
	if (rc < 0)
		fail_msg("%d: %s", rc, collect_text(&s->tv.told));
}

static void monolithic_sparse(void **state)
{
	struct single s = { .is_written = false };
	(void)state;
	make_single(&s);
	testvol_unmount(&s.tv);
	testvol_mount(&s.tv, false);
	int64_t before = heap();
	open_single(&s);
	int64_t most = read_single_all_over(&s, before);
	print_message("# monolithicSparse: the heap %lld KiB\n", (long long)most >> 10);
	if (IS_COUNTED)
		assert_in_range(most, 40 << 20, MOST);
	write_single_all_over(&s);
	assert_int_equal(vdisk_close(s.disk), 0);
	open_single(&s);
	(void)read_single_all_over(&s, before);
	assert_int_equal(vdisk_close(s.disk), 0);
	testvol_unmount(&s.tv);
	testvol_free(&s.tv);
	free(s.buf);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(vmfs_sparse_1_deep),
		cmocka_unit_test(vmfs_sparse_32_deep),
		cmocka_unit_test(vmfs_sparse_255_deep),
		cmocka_unit_test(se_sparse_1_deep),
		cmocka_unit_test(se_sparse_32_deep),
		cmocka_unit_test(se_sparse_255_deep),
		cmocka_unit_test(monolithic_sparse),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
