/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tracked disk when the power fails: on a simulated device that records each write, the
 * device is rebuilt as it could have been left after each of them, with unflushed writes
 * there, torn or lost, and another host asks of every point that was taken before: is
 * there a block that is not what it was then, and is not told as changed? At once, and
 * again when it has written to the disk itself. While it is
 *
 *   written	 opened, written, flushed, written, closed
 *   continued	 by a snapshot, which is written
 *   merged	 from a snapshot into its parent
 *
 * Two errors are planted, to see that the question finds what it is for: writing without
 * a mark on the file and without a new CID, and merging without a mark.
 *
 * FULL=1: more seeds, and every moment; else every seventh.
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
#include "tests/lib/batch.h"
#include "tests/sim/world.h"
#include "vdisk/chain.h"
#include "vmfs/format.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define BLOCK (64u << 10)
#define DISK_SIZE (6 * BLOCK + 512)
#define PARENT "/vm/a.vmdk"
#define CHILD "/vm/a-1.vmdk"
#define POINTS 2u

enum phase { WRITTEN, CONTINUED, MERGED };
enum planted { SOUND, NO_MARK, NO_DISTRUST };

struct story {
	enum phase phase;
	enum planted planted;
	struct point {
		struct vdisk_since since;
		uint8_t *bytes;
	} point[POINTS];
	unsigned int points;
	unsigned int missed, exact; /* blocks; answers that did not tell everything */
	char place[128];	    /* the cut that is looked at */
};

/* ---- the planted errors (ld --wrap) ---- */

static enum planted planted;

int __real_vdisk_draw_cid(struct vdisk *disk);
int __wrap_vdisk_draw_cid(struct vdisk *disk);
int __wrap_vdisk_draw_cid(struct vdisk *disk)
{
	return planted == NO_MARK ? 0 : __real_vdisk_draw_cid(disk);
}

int __real_ctk_distrust(struct ctk *ctk);
int __wrap_ctk_distrust(struct ctk *ctk);
int __wrap_ctk_distrust(struct ctk *ctk)
{
	return planted == NO_DISTRUST ? 0 : __real_ctk_distrust(ctk);
}

/* ---- the disk ---- */

static struct vdisk *open_disk(struct world_mount *m, const char *path, uint32_t flags)
{
	const struct vdisk_open_options how = { .flags = flags,
						.reporter = &m->told.base };
	struct vdisk *disk;
	int rc = vdisk_open(m->vol, path, &how, &disk, NULL);
	return rc == 0 ? disk : NULL;
}

/* Somewhere in the first three blocks, in one of the others, in the last. */
static void write_some(struct world_mount *m, const char *path, unsigned int writes)
{
	uint8_t *data = io_alloc(4096);
	struct vdisk *disk = open_disk(m, path, VDISK_WRITE);
	SIM_CHECK(disk);
	for (unsigned int i = 0; i < writes; i++) {
		uint64_t at = sim_random(3) ? sim_random(3 * BLOCK / 512) * 512
					    : DISK_SIZE - 512;
		uint64_t len = min_u64(4096, DISK_SIZE - at);
		fill_bytes(data, len, (uint32_t)sim_random(UINT32_MAX));
		SIM_CHECK(bdev_write(vdisk_bdev(disk), data, len, at) == 0);
		if (i == writes / 2)
			SIM_CHECK(bdev_flush(vdisk_bdev(disk)) == 0);
	}
	SIM_CHECK(vdisk_close(disk) == 0);
	free(data);
}

static uint8_t *bytes_of(struct vdisk *disk)
{
	uint8_t *bytes = io_alloc(DISK_SIZE);
	SIM_CHECK(bdev_read(vdisk_bdev(disk), bytes, DISK_SIZE, 0) == 0);
	return bytes;
}

static void take_point(struct story *st, struct world_mount *m, const char *path)
{
	char id[VDISK_CHANGE_ID_SIZE];
	struct point *p = &st->point[st->points++];
	struct vdisk *disk = open_disk(m, path, VDISK_READ_LOCKED);
	SIM_CHECK(disk && vdisk_load_tracking(disk) == 0 && vdisk_change_id(disk, id));
	SIM_CHECK(vdisk_since_parse(id, &p->since) == 0);
	p->bytes = bytes_of(disk);
	SIM_CHECK(vdisk_close(disk) == 0);
}

static void snapshot(struct world_mount *m)
{
	const struct vdisk_snapshot_options o = { .kind = VDISK_DELTA_VMFSSPARSE,
						  .reporter = &m->told.base };
	SIM_CHECK(vdisk_snapshot(m->vol, PARENT, CHILD, &o, NULL) == 0);
}

static void set_up(struct story *st, struct world_mount *m)
{
	const struct vdisk_create_options disk = { .capacity_bytes = DISK_SIZE,
						   .format = VDISK_THIN };
	const struct vdisk_tracking_options how = { true, &m->told.base, NULL };
	SIM_CHECK(vmfs_mkdir(m->vol, "/vm", 0755) == 0);
	SIM_CHECK(vdisk_create(m->vol, PARENT, &disk) == 0);
	SIM_CHECK(vdisk_set_tracking(m->vol, PARENT, &how, NULL) == 0);
	write_some(m, PARENT, 6);
	take_point(st, m, PARENT);
	if (st->phase == MERGED)
		snapshot(m);
	write_some(m, st->phase == MERGED ? CHILD : PARENT, 4);
	take_point(st, m, st->phase == MERGED ? CHILD : PARENT);
}

static void act(const struct story *st, struct world_mount *m)
{
	planted = st->planted;
	if (st->phase == WRITTEN) {
		write_some(m, PARENT, 6);
	} else if (st->phase == CONTINUED) {
		snapshot(m);
		write_some(m, CHILD, 6);
	} else {
		SIM_CHECK(vdisk_merge(m->vol, CHILD, PARENT, NULL, &m->told.base,
				      NULL) == 0);
		SIM_CHECK(vdisk_remove(m->vol, CHILD, &m->told.base, NULL) == 0);
		write_some(m, PARENT, 2);
	}
	planted = SOUND;
}

/* ---- what is told ---- */

static void ask(struct story *st, struct vdisk *disk, const struct point *p,
		const uint8_t *now)
{
	unsigned int told = 0;
	for (uint64_t at = 0; at < DISK_SIZE; at += BLOCK) {
		uint64_t len, size = min_u64(BLOCK, DISK_SIZE - at);
		bool is_changed;
		SIM_CHECK(vdisk_changed(disk, &p->since, at, &len, &is_changed) == 0);
		bool is_missed = !is_changed && memcmp(now + at, p->bytes + at, size);
		if (is_missed && st->planted == SOUND)
			sim_fail("%s: block %u is missed", st->place,
				 (unsigned int)(at / BLOCK));
		st->missed += is_missed;
		told += is_changed;
	}
	st->exact += told < 7;
}

/* false: there is no such disk. */
static bool look(struct story *st, struct world_mount *m, const char *path)
{
	struct vdisk *disk = open_disk(m, path, VDISK_READ_LOCKED);
	if (!disk)
		return false;
	uint8_t *now = bytes_of(disk);
	int rc = vdisk_load_tracking(disk);
	SIM_CHECK(rc == 0 || rc == -ENODATA);
	for (unsigned int i = 0; i < st->points; i++)
		ask(st, disk, &st->point[i], now);
	free(now);
	SIM_CHECK(vdisk_close(disk) == 0);
	return true;
}

static bool is_full(void)
{
	const char *full = getenv("FULL");
	return full && *full;
}

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	struct story *st = arg;
	struct world_mount m;
	if (!is_full() && n != simdisk_log_count(log) && n % 7 != 0)
		return;
	world_mount_cut(&m, log, n, cut, st->place, sizeof(st->place));
	bool has_child = look(st, &m, CHILD), has_parent = look(st, &m, PARENT);
	SIM_CHECK(has_parent || has_child);
	write_some(&m, has_child ? CHILD : PARENT, 1);
	SIM_CHECK(look(st, &m, has_child ? CHILD : PARENT));
	world_unmount(&m);
	simdisk_free(m.disk);
}

static void story(void *arg)
{
	struct story st = *(const struct story *)arg;
	struct world_mount m;
	sim_set_limits(365ull * 86400 * NS_PER_S, 900ull * 1000 * 1000);
	strcpy(st.place, "at first");
	world_begin(&m, VOLUME_SIZE);
	set_up(&st, &m);
	simdisk_log_start(m.disk);
	act(&st, &m);
	struct simdisk_log *log = world_end(&m);
	SIM_CHECK(simdisk_log_count(log) > 8);
	simdisk_each_cut(log, check_cut, &st);
	simdisk_log_free(log);
	/* It does not answer by telling everything, and the errors are found. */
	SIM_CHECK(st.exact > 0);
	SIM_CHECK((st.missed > 0) == (st.planted != SOUND));
	for (unsigned int i = 0; i < st.points; i++)
		free(st.point[i].bytes);
}

static void run(enum phase phase, enum planted error)
{
	struct story st = { .phase = phase, .planted = error };
	sim_each_seed(1, is_full() ? 6 : 1, story, &st);
}

static void no_block_is_missed_after_a_crash_of_a_writer(void **state)
{
	(void)state;
	run(WRITTEN, SOUND);
}

static void no_block_is_missed_after_a_crash_of_a_snapshot(void **state)
{
	(void)state;
	run(CONTINUED, SOUND);
}

static void no_block_is_missed_after_a_crash_of_a_merge(void **state)
{
	(void)state;
	run(MERGED, SOUND);
}

static void writing_without_a_mark_is_found(void **state)
{
	(void)state;
	run(WRITTEN, NO_MARK);
}

static void merging_without_a_mark_is_found(void **state)
{
	(void)state;
	run(MERGED, NO_DISTRUST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_block_is_missed_after_a_crash_of_a_writer),
		cmocka_unit_test(no_block_is_missed_after_a_crash_of_a_snapshot),
		cmocka_unit_test(no_block_is_missed_after_a_crash_of_a_merge),
		cmocka_unit_test(writing_without_a_mark_is_found),
		cmocka_unit_test(merging_without_a_mark_is_found),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
