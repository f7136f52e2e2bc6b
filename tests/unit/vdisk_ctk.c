/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Change tracking, on a volume in memory. One question above all: is there a block that
 * differs from what it was at a point, and is not told as changed since? It is asked by
 * comparing bytes, of every point that was ever taken, after random writes, snapshots,
 * reverts, merges, growth and writers that die.
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
#include "base/buf.h"
#include "tests/lib/testvol.h"
#include "vdisk/chain.h"

#define BLOCK (64u << 10)
#define DISK_SIZE (40 * BLOCK + 512) /* its last block is one sector */
#define DISK "/vm/d.vmdk"
#define CTK "/vm/d-ctk.vmdk"
#define POINTS_MAX 64u

struct point {
	char id[VDISK_CHANGE_ID_SIZE];
	uint8_t *bytes;
	uint64_t size;
};

struct rig {
	struct testvol tv;
	char path[64]; /* the leaf */
	struct point point[POINTS_MAX];
	unsigned int points, exact; /* told fewer than all, of how many answers */
	uint64_t rng;
};

static uint64_t chance(struct rig *rig, uint64_t n)
{
	rig->rng = rig->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (rig->rng >> 33) % n;
}

static struct vdisk *open_disk(struct rig *rig, uint32_t flags)
{
	const struct vdisk_open_options how = { .flags = flags,
						.reporter = &rig->tv.told.base };
	struct vdisk *disk;
	int rc = vdisk_open(rig->tv.vol, rig->path, &how, &disk, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", rig->path, rc, collect_text(&rig->tv.told));
	return disk;
}

static int set_up(void **state)
{
	const struct vdisk_create_options options = { .capacity_bytes = DISK_SIZE,
						      .format = VDISK_THIN };
	struct rig *rig = calloc(1, sizeof(*rig));
	testvol_new(&rig->tv, 2);
	rig->rng = 7;
	strcpy(rig->path, DISK);
	assert_int_equal(vmfs_mkdir(rig->tv.vol, "/vm", 0755), 0);
	assert_int_equal(vdisk_create(rig->tv.vol, DISK, &options), 0);
	const struct vdisk_tracking_options how = { true, &rig->tv.told.base, NULL };
	assert_int_equal(vdisk_set_tracking(rig->tv.vol, DISK, &how, NULL), 0);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;
	for (unsigned int i = 0; i < rig->points; i++)
		free(rig->point[i].bytes);
	testvol_free(&rig->tv);
	free(rig);
	return 0;
}

static uint8_t *bytes_of(struct vdisk *disk)
{
	uint64_t size = vdisk_capacity(disk);
	uint8_t *bytes = io_alloc(size);
	assert_int_equal(bdev_read(vdisk_bdev(disk), bytes, size, 0), 0);
	return bytes;
}

static void write_at(struct vdisk *disk, uint8_t value, uint64_t len, uint64_t at)
{
	uint8_t *data = io_alloc(len);
	memset(data, value, len);
	assert_int_equal(bdev_write(vdisk_bdev(disk), data, len, at), 0);
	free(data);
}

/* What a guest does between power-on and power-off. */
static void write_some(struct rig *rig, unsigned int writes)
{
	struct vdisk *disk = open_disk(rig, VDISK_WRITE);
	uint64_t sectors = vdisk_capacity(disk) / 512;
	while (writes--) {
		uint64_t at = chance(rig, sectors), len = 1 + chance(rig, 200);
		len = min_u64(len, sectors - at) * 512;
		if (chance(rig, 4) == 0)
			assert_int_equal(bdev_zero(vdisk_bdev(disk), len, at * 512), 0);
		else if (chance(rig, 4) == 0)
			assert_int_equal(bdev_unmap(vdisk_bdev(disk), len, at * 512), 0);
		else
			write_at(disk, (uint8_t)chance(rig, 256), len, at * 512);
	}
	assert_int_equal(vdisk_close(disk), 0);
}

/* Remembers the disk as it is; false: it has no id. */
static bool take_point(struct rig *rig)
{
	struct point *p = &rig->point[rig->points];
	struct vdisk *disk = open_disk(rig, VDISK_READ_LOCKED);
	assert_int_equal(vdisk_load_tracking(disk), 0);
	bool is_known = vdisk_change_id(disk, p->id);
	if (is_known) {
		assert_true(rig->points < POINTS_MAX);
		p->size = vdisk_capacity(disk);
		p->bytes = bytes_of(disk);
		rig->points++;
	}
	assert_int_equal(vdisk_close(disk), 0);
	return is_known;
}

static bool is_told(struct vdisk *disk, const struct vdisk_since *since, uint64_t at)
{
	uint64_t len;
	bool is_changed;
	assert_int_equal(vdisk_changed(disk, since, at, &len, &is_changed), 0);
	assert_true(len > 0 && at + len <= vdisk_capacity(disk));
	return is_changed;
}

/* The question, of one point; the number of blocks that are told. */
static unsigned int check_point(struct vdisk *disk, const uint8_t *now,
				const struct point *p)
{
	struct vdisk_since since;
	unsigned int told = 0;
	uint64_t size = vdisk_capacity(disk);
	assert_int_equal(vdisk_since_parse(p->id, &since), 0);
	for (uint64_t at = 0; at < size; at += BLOCK) {
		uint64_t len = min_u64(BLOCK, size - at);
		bool is_same = at + len <= p->size &&
			       !memcmp(now + at, p->bytes + at, len);
		bool is_changed = is_told(disk, &since, at);
		if (!is_same && !is_changed)
			fail_msg("block %u differs from %s, and is not told",
				 (unsigned int)(at / BLOCK), p->id);
		told += is_changed;
	}
	return told;
}

static void check_all(struct rig *rig)
{
	struct vdisk *disk = open_disk(rig, VDISK_READ_LOCKED);
	uint8_t *now = bytes_of(disk);
	assert_int_equal(vdisk_load_tracking(disk), 0);
	for (unsigned int i = 0; i < rig->points; i++) {
		unsigned int told = check_point(disk, now, &rig->point[i]);
		rig->exact += told < div_up(vdisk_capacity(disk), BLOCK);
	}
	free(now);
	assert_int_equal(vdisk_close(disk), 0);
}

/* Blocks that are told since the last point. */
static unsigned int told_since_last(struct rig *rig)
{
	struct vdisk *disk = open_disk(rig, VDISK_READ_LOCKED);
	uint8_t *now = bytes_of(disk);
	assert_int_equal(vdisk_load_tracking(disk), 0);
	unsigned int told = check_point(disk, now, &rig->point[rig->points - 1]);
	free(now);
	assert_int_equal(vdisk_close(disk), 0);
	return told;
}

/* ---- stories ---- */

static void what_was_written_is_told_and_nothing_else(void **state)
{
	struct rig *rig = *state;
	assert_true(take_point(rig));
	struct vdisk *disk = open_disk(rig, VDISK_WRITE);
	char id[VDISK_CHANGE_ID_SIZE];
	assert_true(vdisk_change_id(disk, id)); /* nothing was written yet */
	write_at(disk, 1, 512, 3 * BLOCK);
	write_at(disk, 1, BLOCK, 10 * BLOCK - 512);
	write_at(disk, 1, 512, DISK_SIZE - 512);
	assert_false(vdisk_change_id(disk, id));
	uint8_t *now = bytes_of(disk);
	assert_int_equal(check_point(disk, now, &rig->point[0]), 4); /* alive, too */
	free(now);
	assert_int_equal(vdisk_close(disk), 0);
	assert_int_equal(told_since_last(rig), 4);
	assert_true(take_point(rig));
	assert_int_equal(told_since_last(rig), 0);
	write_some(rig, 0);
	assert_true(take_point(rig));
	assert_string_equal(rig->point[1].id, rig->point[2].id);
}

static void all_is_the_allocated(void **state)
{
	struct rig *rig = *state;
	struct vdisk_since all;
	struct vdisk *disk = open_disk(rig, VDISK_WRITE);
	assert_int_equal(vdisk_since_parse("*", &all), 0);
	assert_false(is_told(disk, &all, 0));
	write_at(disk, 1, 512, 0);
	assert_true(is_told(disk, &all, 0));
	assert_int_equal(vdisk_close(disk), 0);
}

static void ids_are_text(void **state)
{
	static const char *const wrong[] = {
		"", "/", "1", "52 8c", "**",
		"52 8c 8b 98 2f 46 49 50-5b 60 a0 d4 1a 2a 73 c1",
		"52 8c 8b 98 2f 46 49 50-5b 60 a0 d4 1a 2a 73 c1/",
		"52 8c 8b 98 2f 46 49 50-5b 60 a0 d4 1a 2a 73 c1/x",
		"52 8c 8b 98 2f 46 49 50-5b 60 a0 d4 1a 2a 73 c1/-1",
		"52 8c 8b 98 2f 46 49 50-5b 60 a0 d4 1a 2a 73 c1/4294967296",
		"52 8c 8b 98 2f 46 49 50 5b 60 a0 d4 1a 2a 73 c1/1",
		"52 8c 8b 98 2f 46 49 50-5b 60 a0 d4 1a 2a 73 g1/1",
	};
	static const char good[] = "52 8c 8b 98 2f 46 49 50-5b 60 a0 d4 1a 2a 73 c1/17";
	struct vdisk_since since;
	struct ctk_point point;
	char text[CTK_POINT_TEXT_SIZE];
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(vdisk_since_parse(wrong[i], &since), -EINVAL);
	assert_int_equal(ctk_point_parse(good, &point), 0);
	ctk_point_text(&point, text);
	assert_string_equal(text, good);
}

/* A writer that dies: without vdisk_close() and its marks, by a copy of the file. */
static void read_ctk(struct rig *rig, uint8_t *bytes, uint64_t len)
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(rig->tv.vol, CTK, &how, &file, NULL), 0);
	assert_int_equal(vmfs_file_read(file, bytes, len, 0), len);
	assert_int_equal(vmfs_file_close(file), 0);
}

static void write_ctk(struct rig *rig, const uint8_t *bytes, uint64_t len)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(rig->tv.vol, CTK, &how, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, bytes, len, 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

#define HEAD_SIZE (CTK_STAMPS + 41u * 4u)

static void a_writer_that_dies_makes_everything_changed(void **state)
{
	struct rig *rig = *state;
	uint8_t *alive = io_alloc(HEAD_SIZE);
	write_some(rig, 5);
	assert_true(take_point(rig));
	struct vdisk *disk = open_disk(rig, VDISK_WRITE);
	write_at(disk, 9, 512, 0);
	read_ctk(rig, alive, HEAD_SIZE); /* as it is while the disk is written */
	assert_int_equal(vdisk_close(disk), 0);
	write_ctk(rig, alive, HEAD_SIZE);
	free(alive);
	assert_int_equal(told_since_last(rig), 41);
	assert_false(take_point(rig));
	write_some(rig, 1);
	assert_int_equal(told_since_last(rig), 41);
	assert_true(take_point(rig));
	write_some(rig, 1);
	assert_true(told_since_last(rig) < 41);
}

/* Each byte of the head, spoiled; a stamp of the file as it was before. */
static void a_damaged_head_is_not_believed(void **state)
{
	struct rig *rig = *state;
	uint8_t *good = io_alloc(HEAD_SIZE);
	write_some(rig, 5);
	assert_true(take_point(rig));
	read_ctk(rig, good, HEAD_SIZE);
	for (unsigned int i = 8; i < 512; i += i < 64 ? 1 : 37) {
		good[i] ^= 0x10;
		write_ctk(rig, good, HEAD_SIZE);
		assert_int_equal(told_since_last(rig), 41);
		good[i] ^= 0x10;
	}
	write_ctk(rig, good, HEAD_SIZE);
	assert_int_equal(told_since_last(rig), 0);
	free(good);
}

/* Who writes without tracking draws a CID all the same. */
static void a_stranger_that_writes_is_found_out(void **state)
{
	struct rig *rig = *state;
	uint8_t *was = io_alloc(HEAD_SIZE);
	assert_true(take_point(rig));
	read_ctk(rig, was, HEAD_SIZE);
	write_some(rig, 3);
	write_ctk(rig, was, HEAD_SIZE);
	assert_int_equal(told_since_last(rig), 41);
	free(was);
}

static void a_file_of_others_is_given_up(void **state)
{
	struct rig *rig = *state;
	static const uint8_t other[512] = "somebody else's";
	write_ctk(rig, other, sizeof(other));
	struct vdisk *disk = open_disk(rig, VDISK_READ);
	assert_int_equal(vdisk_load_tracking(disk), -ENODATA);
	assert_int_equal(vdisk_close(disk), 0);
	write_some(rig, 1);
	assert_true(collect_has(&rig->tv.told, "not tracked any more"));
	disk = open_disk(rig, VDISK_READ);
	assert_null(descriptor_get(disk->desc, "changeTrackPath"));
	assert_string_equal(descriptor_get(disk->desc, "version"), "1");
	assert_int_equal(vdisk_close(disk), 0);
}

static void a_missing_file_begins_anew(void **state)
{
	struct rig *rig = *state;
	assert_true(take_point(rig));
	assert_int_equal(vmfs_unlink(rig->tv.vol, CTK), 0);
	write_some(rig, 1);
	assert_int_equal(told_since_last(rig), 41);
	assert_true(take_point(rig));
	assert_int_equal(told_since_last(rig), 0);
}

static void growth_is_a_change(void **state)
{
	struct rig *rig = *state;
	const struct vdisk_extend_options o = { .capacity_bytes = 50 * BLOCK };
	write_some(rig, 4);
	assert_true(take_point(rig));
	assert_int_equal(vdisk_extend(rig->tv.vol, DISK, &o, NULL), 0);
	assert_int_equal(told_since_last(rig), 10);
	write_some(rig, 1);
	check_all(rig);
	assert_true(take_point(rig));
	write_some(rig, 1);
	assert_true(told_since_last(rig) < 10);
	check_all(rig);
}

/* ---- snapshots ---- */

static void snapshot(struct rig *rig, const char *parent, const char *child)
{
	const struct vdisk_snapshot_options o = { .kind = VDISK_DELTA_SESPARSE,
						  .reporter = &rig->tv.told.base };
	int rc = vdisk_snapshot(rig->tv.vol, parent, child, &o, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", child, rc, collect_text(&rig->tv.told));
	strcpy(rig->path, child);
}

static void merge(struct rig *rig, const char *top, const char *bottom)
{
	assert_int_equal(vdisk_merge(rig->tv.vol, top, bottom, NULL, &rig->tv.told.base,
				     NULL), 0);
	assert_int_equal(vdisk_remove(rig->tv.vol, top, &rig->tv.told.base, NULL), 0);
	strcpy(rig->path, bottom);
}

static void a_snapshot_goes_on_counting(void **state)
{
	struct rig *rig = *state;
	write_some(rig, 3);
	assert_true(take_point(rig));
	snapshot(rig, DISK, "/vm/d-1.vmdk");
	assert_int_equal(told_since_last(rig), 0);
	write_some(rig, 2);
	unsigned int told = told_since_last(rig);
	assert_true(told > 0 && told < 12);
	assert_true(take_point(rig));
	write_some(rig, 2);
	assert_true(take_point(rig));
	merge(rig, "/vm/d-1.vmdk", DISK);
	assert_int_equal(told_since_last(rig), 0);
	check_all(rig);
	assert_int_equal(rig->exact, 3);
	struct vmfs_stat st;
	assert_int_equal(vmfs_stat(rig->tv.vol, "/vm/d-1-ctk.vmdk", &st), -ENOENT);
}

/* Two children of one disk: an id means one content, so the second has a new row. */
static void a_revert_begins_a_new_row(void **state)
{
	struct rig *rig = *state;
	write_some(rig, 3);
	assert_true(take_point(rig));
	snapshot(rig, DISK, "/vm/d-1.vmdk");
	write_some(rig, 3);
	assert_true(take_point(rig));
	snapshot(rig, DISK, "/vm/d-2.vmdk");
	assert_int_equal(told_since_last(rig), 41);
	write_some(rig, 3);
	assert_true(take_point(rig));
	assert_int_equal(told_since_last(rig), 0);
	check_all(rig);
	strcpy(rig->path, "/vm/d-1.vmdk");
	check_all(rig);
}

/* The child is thrown away, and its parent written: as much a branch. */
static void a_parent_that_is_written_after_all_begins_a_new_row(void **state)
{
	struct rig *rig = *state;
	assert_true(take_point(rig));
	snapshot(rig, DISK, "/vm/d-1.vmdk");
	write_some(rig, 3);
	assert_true(take_point(rig));
	assert_int_equal(vdisk_remove(rig->tv.vol, "/vm/d-1.vmdk", NULL, NULL), 0);
	strcpy(rig->path, DISK);
	write_some(rig, 3);
	check_all(rig);
	assert_int_equal(rig->exact, 0);
}

static void nothing_is_missed_by_chance(void **state)
{
	struct rig *rig = *state;
	unsigned int made = 0;
	char parent[64], child[64];
	strcpy(parent, DISK);
	for (unsigned int step = 0; step < 60; step++) {
		bool is_child = strcmp(rig->path, DISK) != 0;
		switch (chance(rig, 8)) {
		case 0:
			if (is_child)
				break;
			(void)snprintf(child, sizeof(child), "/vm/d-%u.vmdk", ++made);
			snapshot(rig, DISK, child);
			break;
		case 1:
			if (is_child)
				merge(rig, child, DISK);
			break;
		case 2: /* a revert */
			if (!is_child)
				break;
			assert_int_equal(vdisk_remove(rig->tv.vol, child, NULL, NULL), 0);
			snapshot(rig, DISK, child);
			break;
		default:
			write_some(rig, (unsigned int)chance(rig, 5));
		}
		check_all(rig);
		if (rig->points < POINTS_MAX)
			(void)take_point(rig);
	}
	assert_true(rig->exact > 100); /* and not by telling everything */
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(what_was_written_is_told_and_nothing_else),
		T(all_is_the_allocated),
		T(ids_are_text),
		T(a_writer_that_dies_makes_everything_changed),
		T(a_damaged_head_is_not_believed),
		T(a_stranger_that_writes_is_found_out),
		T(a_file_of_others_is_given_up),
		T(a_missing_file_begins_anew),
		T(growth_is_a_change),
		T(a_snapshot_goes_on_counting),
		T(a_revert_begins_a_new_row),
		T(a_parent_that_is_written_after_all_begins_a_new_row),
		T(nothing_is_missed_by_chance),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
