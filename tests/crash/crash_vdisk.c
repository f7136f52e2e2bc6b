/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk is imported, renamed and removed on a simulated device that records each write;
 * then the device is rebuilt as a power failure could have left it after each of them,
 * with unflushed writes there, torn or lost, and another host looks:
 *
 *   importing   the name is absent, or the whole disk; an import that returned is there
 *   renaming    exactly one of the two names is the whole disk
 *   removing    the whole disk, or nothing that opens; removing again finishes the work
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
#include "vdisk/extent.h"
#include "vmfs/format.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define MIB (1u << 20)
#define DISK_SIZE (3 * MIB)
#define DATA_AT (2 * MIB)  /* one block of data, the other two are holes */
#define DATA_SIZE (64u << 10)

/* The cut that is looked at, for failure messages. */
struct place {
	char text[128];
};

#define CHECK(condition)                                                                 \
	((condition) ? (void)0 : sim_fail("%s: not true: %s", at->text, #condition))

#define OLD "/vm/old.vmdk"
#define OLD_FLAT "/vm/old-flat.vmdk"
#define NEW "/vm/new.vmdk"

/* ---- what is imported ---- */

static int pattern_read(struct vdisk_source *source, void *buf, uint64_t len,
			uint64_t offset)
{
	(void)source;
	memset(buf, 0, len);
	if (offset <= DATA_AT && offset + len >= DATA_AT + DATA_SIZE)
		fill_bytes((char *)buf + (DATA_AT - offset), DATA_SIZE, 1);
	return 0;
}

static int pattern_extent(struct vdisk_source *source, uint64_t offset, uint64_t *ret_len,
			  bool *ret_is_data)
{
	*ret_is_data = offset >= DATA_AT;
	*ret_len = *ret_is_data ? source->capacity - offset : DATA_AT - offset;
	return 0;
}

static int import(struct vmfs_volume *vol, const char *path)
{
	struct vdisk_source source = { .capacity = DISK_SIZE,
				       .read = pattern_read,
				       .extent = pattern_extent };
	const struct vdisk_create_options options = { .format = VDISK_THIN };
	return vdisk_import(vol, path, &source, &options);
}

/* ---- a device and who mounts it; in the simulation ---- */

/* true if path is the whole disk; false if it is none. */
static bool is_whole(struct vmfs_volume *vol, const char *path,
		     const struct place *at)
{
	const struct vdisk_open_options options = { .flags = VDISK_WRITE };
	struct vdisk *disk;
	int rc = vdisk_open(vol, path, &options, &disk, NULL);
	if (rc == -ENOENT)
		return false;
	if (rc < 0)
		sim_fail("%s: %s opens with %d", at->text, path, rc);
	CHECK(vdisk_capacity(disk) == DISK_SIZE);
	char *got = io_alloc(DISK_SIZE), *wanted = io_alloc(DISK_SIZE);
	CHECK(bdev_read(vdisk_bdev(disk), got, DISK_SIZE, 0) == 0);
	CHECK(pattern_read(NULL, wanted, DISK_SIZE, 0) == 0);
	CHECK(memcmp(got, wanted, DISK_SIZE) == 0);
	free(got);
	free(wanted);
	CHECK(vdisk_close(disk) == 0);
	return true;
}

static bool exists(struct vmfs_volume *vol, const char *path,
		     const struct place *at)
{
	struct vmfs_stat st;
	int rc = vmfs_stat(vol, path, &st);
	CHECK(rc == 0 || rc == -ENOENT);
	return rc == 0;
}

/* ---- what may be found after a cut in each phase ---- */

enum phase { IMPORTING, RENAMING, REMOVING, PHASES };
enum moment { AT_START, BETWEEN, AT_END };

static void check_importing(struct vmfs_volume *vol, enum moment moment,
			    const struct place *at)
{
	bool is_there = is_whole(vol, OLD, at);
	CHECK(moment != AT_START || !is_there);
	CHECK(moment != AT_END || is_there);
	if (is_there)
		return;
	/* What is left is at most the extent, and does not stop an admin for long. */
	CHECK(!exists(vol, OLD, at));
	int rc = import(vol, OLD);
	if (rc == -EEXIST) {
		CHECK(vmfs_unlink(vol, OLD_FLAT) == 0);
		rc = import(vol, OLD);
	}
	if (rc < 0)
		sim_fail("%s: import again: %d", at->text, rc);
	CHECK(is_whole(vol, OLD, at));
}

static void check_renaming(struct vmfs_volume *vol, enum moment moment,
			    const struct place *at)
{
	bool is_old = is_whole(vol, OLD, at);
	bool is_new = is_whole(vol, NEW, at);
	CHECK(is_old != is_new);
	CHECK(moment != AT_START || is_old);
	CHECK(moment != AT_END || (is_new && !exists(vol, OLD, at)));
}

static void check_removing(struct vmfs_volume *vol, enum moment moment,
			    const struct place *at)
{
	bool is_there = is_whole(vol, NEW, at);
	CHECK(moment != AT_START || is_there);
	CHECK(moment != AT_END || !exists(vol, NEW, at));
	int rc = vdisk_remove(vol, NEW, NULL, NULL);
	CHECK(rc == 0 || rc == -ENOENT);
	CHECK(!exists(vol, NEW, at) && !exists(vol, "/vm/new-flat.vmdk", at));
}

static void (*const check[PHASES])(struct vmfs_volume *vol, enum moment moment,
			    const struct place *at) = {
	[IMPORTING] = check_importing,
	[RENAMING] = check_renaming,
	[REMOVING] = check_removing,
};

static int act(struct vmfs_volume *vol, enum phase phase)
{
	switch (phase) {
	case IMPORTING:
		return import(vol, OLD);
	case RENAMING:
		return vdisk_rename(vol, OLD, NEW, NULL, NULL);
	default:
		return vdisk_remove(vol, NEW, NULL, NULL);
	}
}

/* ---- cuts ---- */

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	enum phase phase = *(const enum phase *)arg;
	struct world_mount m;
	unsigned int count = simdisk_log_count(log);
	/* Only a prefix is known to hold all that was written. */
	enum moment moment = n == 0				    ? AT_START :
			     n == count && cut == SIMDISK_PREFIX ? AT_END :
								    BETWEEN;
	struct place at;
	world_mount_cut(&m, log, n, cut, at.text, sizeof(at.text));
	check[phase](m.vol, moment, &at);
	world_unmount(&m);
	simdisk_free(m.disk);
}

static void story(void *arg)
{
	enum phase wanted = *(const enum phase *)arg;
	struct world_mount m;
	sim_set_limits(365ull * 86400 * NS_PER_S, 500ull * 1000 * 1000);
	world_begin(&m, VOLUME_SIZE);
	SIM_CHECK(vmfs_mkdir(m.vol, "/vm", 0755) == 0);
	for (enum phase phase = IMPORTING; phase < wanted; phase++)
		SIM_CHECK(act(m.vol, phase) == 0);
	simdisk_log_start(m.disk);
	SIM_CHECK(act(m.vol, wanted) == 0);
	struct simdisk_log *log = world_end(&m);
	SIM_CHECK(simdisk_log_count(log) > 8);
	simdisk_each_cut(log, check_cut, &wanted);
	simdisk_log_free(log);
}

static void no_half_disk_stands_after_a_crash_of_an_import(void **state)
{
	(void)state;
	enum phase phase = IMPORTING;
	sim_each_seed(1, 2, story, &phase);
}

static void one_name_is_the_disk_after_a_crash_of_a_rename(void **state)
{
	(void)state;
	enum phase phase = RENAMING;
	sim_each_seed(1, 2, story, &phase);
}

static void a_crash_of_a_removal_leaves_all_or_what_can_be_removed(void **state)
{
	(void)state;
	enum phase phase = REMOVING;
	sim_each_seed(1, 2, story, &phase);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_half_disk_stands_after_a_crash_of_an_import),
		cmocka_unit_test(one_name_is_the_disk_after_a_crash_of_a_rename),
		cmocka_unit_test(a_crash_of_a_removal_leaves_all_or_what_can_be_removed),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
