/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume grows on a device that records each write; then the device is rebuilt as a
 * power failure could have left it after each of them, and another host looks:
 *
 *   it has the old size or the new one, and what it held; fsck is content;
 *   an extent that was being added is part of it or refused, never half of either;
 *   so is what an extent gains that has others behind it;
 *   growing again ends at the new size, and the new space can be used.
 *
 * Both extents are ranges of one recorded disk, so that their writes have one order.
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
#include "bdev/bdev.h"
#include "fsck/check.h"
#include "mkfs/write.h"
#include "tests/lib/collect.h"
#include "tests/sim/simdisk.h"
#include "vmfs/takeover.h"
#include "vmfs/vmfs.h"

#define DEVICE_SIZE(pes) (LVM_DATA_OFF + (pes) * LVM_PE_SIZE)
#define PE_BLOCKS 256u
#define DEVICES_MAX 3u

struct story {
	const char *name;
	unsigned int pes, pes_after; /* of the volume */
	bool is_span;		     /* what is new is another extent */
	/* Other extents of one PE each, there all the time: behind the one that gains. */
	unsigned int beside;
	bool is_middle;		     /* but one of them before it */
	bool is_6;		     /* VMFS-6 */
	uint32_t fb_per_cluster;     /* VMFS-5; 0: as usual */
	unsigned int parts, part;    /* which of the cuts; 0, 0: all */
};

/* The cut that is looked at, for failure messages. */
static char place[160];

#define CHECK(condition)                                                                 \
	((condition) ? (void)0 : sim_fail("%s: not true: %s", place, #condition))

/* ---- the extents on a disk ---- */

struct rig {
	const struct story *story;
	struct simdisk *disk;
	struct bdev *devices[DEVICES_MAX];
	struct vmfs_volume *vol;
	struct reporter *reporter;
	struct reporter_stderr told;
};

/* How many devices there are, and how many PEs fit each in the end. */
static unsigned int device_count(const struct story *s)
{
	return 1 + s->beside + s->is_span;
}

static unsigned int gaining(const struct story *s)
{
	return s->is_span || s->is_middle;
}

static unsigned int device_pes(const struct story *s, unsigned int i)
{
	if (s->is_span)
		return i ? s->pes_after - s->pes : s->pes;
	return i == gaining(s) ? s->pes_after - s->beside : 1;
}

static uint64_t all_bytes(const struct story *s)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < device_count(s); i++)
		bytes += DEVICE_SIZE(device_pes(s, i));
	return bytes;
}

static void attach(struct rig *rig, const struct story *s, struct simdisk *disk)
{
	uint64_t at = 0;

	*rig = (struct rig){ .story = s, .disk = disk };
	rig->reporter = reporter_stderr_init(&rig->told, place, REPORT_ERROR);
	for (unsigned int i = 0; i < device_count(s); i++) {
		uint64_t size = DEVICE_SIZE(device_pes(s, i));
		struct bdev **bd = &rig->devices[i];

		SIM_CHECK(!bdev_range_new(simdisk_attach(disk, sim_host_world()), at,
					  size, bd));
		(void)snprintf((*bd)->name, sizeof((*bd)->name), "extent %u", i);
		at += size;
	}
}

static void detach(struct rig *rig)
{
	for (unsigned int i = 0; i < DEVICES_MAX; i++)
		bdev_close(rig->devices[i]);
}

static int mount(struct rig *rig, unsigned int devices, struct reporter *r)
{
	const struct vmfs_open_options options = { .devices = rig->devices,
						   .device_count = devices,
						   .reporter = r };
	return vmfs_volume_open(&options, &rig->vol);
}

static void unmount(struct rig *rig)
{
	SIM_CHECK(!vmfs_volume_close(rig->vol));
	rig->vol = NULL;
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	if (fsck_problem(problem)->severity != FINDING_NOTE &&
	    problem != PROBLEM_JOURNAL_LOST && problem != PROBLEM_FB_LOST)
		sim_fail("%s: fsck: %s: %s", place, fsck_problem(problem)->code, text);
}

static void check(struct rig *rig, unsigned int devices)
{
	struct fsck_summary summary;
	const struct fsck_options options = { .devices = rig->devices,
					      .device_count = devices,
					      .found = found };
	int err = fsck_check(&options, &summary);

	if (err)
		sim_fail("%s: fsck: %d", place, err);
}

static uint64_t blocks(struct rig *rig)
{
	struct vmfs_volume_info info;

	SIM_CHECK(!vmfs_volume_info(rig->vol, &info));
	return info.block_count;
}

static int grow(struct rig *rig, bool is_span)
{
	const struct story *s = rig->story;
	uint64_t added;

	return vmfs_volume_grow(rig->vol, is_span ? rig->devices[1] : NULL,
				is_span ? NULL : rig->devices[gaining(s)]->name, &added);
}

static void write_file(struct rig *rig, const char *path, uint64_t size)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;

	CHECK(!vmfs_file_open(rig->vol, path, &options, &file, NULL));
	CHECK(!vmfs_file_allocate(file, 0, size, VMFS_ALLOCATE_TBZ));
	CHECK(!vmfs_file_write(file, path, strlen(path), size - 512));
	CHECK(!vmfs_file_close(file));
}

/* ---- after a cut ---- */

/* The host that died is taken over. */
static void bury(struct rig *rig)
{
	struct vmfs_member members[4];
	int count = vmfs_volume_members(rig->vol, members, 4);

	CHECK(count >= 1 && count <= 2);
	for (int i = 0; i < count; i++)
		CHECK(members[i].is_self || !vmfs_takeover(rig->vol, members[i].slot));
}

/* How many devices it has now; the other number is refused. */
static unsigned int mount_as_it_is(struct rig *rig)
{
	struct collect told;
	unsigned int devices = 1;
	struct reporter *r = collect_init(&told);

	if (!rig->story->is_span) {
		devices = device_count(rig->story);
		CHECK(!mount(rig, devices, rig->reporter));
		collect_done(&told);
		return devices;
	}
	int err = mount(rig, 2, r);
	if (!err) {
		unmount(rig);
		devices = 2;
		CHECK(mount(rig, 1, r) == -ENODEV);
	} else {
		CHECK(err == -EINVAL || err == -EMEDIUMTYPE || err == -EUCLEAN);
		CHECK(collect_count(&told, REPORT_ERROR) == 1);
	}
	collect_done(&told);
	CHECK(!mount(rig, devices, rig->reporter));
	return devices;
}

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	const struct story *s = arg;
	struct rig rig;
	unsigned int count = simdisk_log_count(log);
	char cut_text[128];
	struct vmfs_stat st;

	if (s->parts && n % s->parts != s->part)
		return;
	(void)snprintf(place, sizeof(place), "%s, %s", s->name,
		       simdisk_cut_text(log, n, cut, cut_text, sizeof(cut_text)));
	sim_trace("%s", place);
	attach(&rig, s,
	       simdisk_from_image(simdisk_image_at(log, n, cut, sim_random(UINT64_MAX)),
				  BDEV_CAW_FILE));
	unsigned int devices = mount_as_it_is(&rig);
	bury(&rig);
	uint64_t size = blocks(&rig);
	CHECK(size == s->pes * PE_BLOCKS || size == s->pes_after * PE_BLOCKS);
	CHECK(n != 0 || size == s->pes * PE_BLOCKS);
	CHECK(n != count || cut != SIMDISK_PREFIX || size == s->pes_after * PE_BLOCKS);
	CHECK(!vmfs_stat(rig.vol, "/before", &st) && st.size_bytes == 1u << 20);
	unmount(&rig);
	check(&rig, devices);

	/* Again, and then it is used. */
	CHECK(!mount(&rig, devices, rig.reporter));
	if (blocks(&rig) != s->pes_after * PE_BLOCKS)
		CHECK(!grow(&rig, s->is_span && devices == 1));
	CHECK(blocks(&rig) == s->pes_after * PE_BLOCKS);
	write_file(&rig, "/after", (uint64_t)(s->pes_after - s->pes) * LVM_PE_SIZE);
	unmount(&rig);
	check(&rig, device_count(s));
	detach(&rig);
	simdisk_free(rig.disk);
}

/* ---- the story ---- */

static void format(struct rig *rig)
{
	struct mkfs_options options;
	struct mkfs_layout layout;

	const struct story *s = rig->story;
	unsigned int count = 1 + s->beside;
	struct mkfs_device devices[DEVICES_MAX];
	struct mkfs_part later[DEVICES_MAX];

	for (unsigned int i = 0; i < count; i++) {
		unsigned int pes = i == gaining(s) || s->is_span ? s->pes - s->beside : 1;
		devices[i] = (struct mkfs_device){ "sim", DEVICE_SIZE(pes) };
	}
	/* For fsck to be quick. */
	const struct mkfs_counts few = { .fd = 512, .sb = 256, .pb2 = 32, .jb = 8 };
	const struct mkfs_counts small = { .fd = 512, .sb = 256, .pb = 64, .pb2 = 16,
					   .fb_per_cluster = rig->story->fb_per_cluster };
	bool is_6 = rig->story->is_6;
	SIM_CHECK(!mkfs_layout_devices(
		is_6 ? 6 : 5, devices, count,
		is_6 ? &few : rig->story->fb_per_cluster ? &small : NULL, NULL, &layout));
	mkfs_options_init(&options, rig->devices[0]);
	for (unsigned int i = 1; i < count; i++)
		mkfs_part_init(&later[i - 1], rig->devices[i]);
	options.later = later;
	SIM_CHECK(!mkfs_write_devices(rig->devices, &layout, &options, NULL));
}

static void run(void *arg)
{
	struct story *s = arg;
	struct simdisk_behaviour behaviour = simdisk_polite();
	struct rig rig;

	(void)snprintf(place, sizeof(place), "%s: at first", s->name);
	sim_set_limits(365ull * 86400 * NS_PER_S, 900ull * 1000 * 1000);
	attach(&rig, s, simdisk_new(all_bytes(s), BDEV_CAW_FILE));
	format(&rig);
	behaviour.has_cache = true;
	simdisk_behave(rig.disk, &behaviour);
	SIM_CHECK(!mount(&rig, 1 + s->beside, rig.reporter));
	write_file(&rig, "/before", 1u << 20);
	simdisk_log_start(rig.disk);
	SIM_CHECK(!grow(&rig, s->is_span));
	struct simdisk_log *log = simdisk_log_take(rig.disk);
	unmount(&rig);
	detach(&rig);
	simdisk_free(rig.disk);
	SIM_CHECK(simdisk_log_count(log) > 8);
	simdisk_each_cut(log, check_cut, s);
	simdisk_log_free(log);
}

static void a_longer_extent(void **state)
{
	struct story s = { "longer", 2, 3, .is_span = false };

	(void)state;
	sim_each_seed(1, 2, run, &s);
}

static void another_extent(void **state)
{
	struct story s = { "another", 2, 4, .is_span = true };

	(void)state;
	sim_each_seed(1, 2, run, &s);
}

/* The bitmap of blocks needs blocks of its own, and another PE map. */
static void a_longer_bitmap(void **state)
{
	struct story longer = { "longer bitmap", 749, 752, .is_span = false };
	struct story another = { "longer bitmap, another", 749, 751, .is_span = true };

	(void)state;
	sim_each_seed(1, 1, run, &longer);
	if (getenv("FULL"))
		sim_each_seed(1, 1, run, &another);
}

/*
 * More blocks of the bitmap than its FD has slots: what happens at 50 TiB, and here, with
 * fewer bits to a cluster, at 2 TiB.
 */
static void pointers_to_the_bitmap(void **state)
{
	struct story stories[] = {
		{ "first pointers", 8190, 8192, .fb_per_cluster = 8 },
		{ "more pointers", 8222, 8224, .fb_per_cluster = 8 },
	};

	(void)state;
	if (!getenv("FULL"))
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(stories); i++) {
		struct story *s = &stories[i];

		s->parts = 4;
		for (s->part = 0; s->part < s->parts; s->part++)
			sim_each_seed(1, 1, run, s);
	}
}

/* One PE is half of a large block: the last clusters of both kinds become longer. */
static void a_longer_extent_of_vmfs6(void **state)
{
	struct story s = { "longer, VMFS-6", 3, 5, .is_6 = true };

	(void)state;
	sim_each_seed(1, getenv("FULL") ? 2 : 1, run, &s);
}

static void another_extent_of_vmfs6(void **state)
{
	struct story s = { "another, VMFS-6", 2, 4, .is_span = true, .is_6 = true };

	(void)state;
	if (!getenv("FULL"))
		skip();
	sim_each_seed(1, 2, run, &s);
}

/* 112 large blocks fill a block of .fbb.sf. */
static void a_longer_bitmap_of_vmfs6(void **state)
{
	struct story s = { "longer bitmap, VMFS-6", 224, 226, .is_6 = true };

	(void)state;
	if (!getenv("FULL"))
		skip();
	sim_each_seed(1, 1, run, &s);
}

/* What it gains lies behind those that follow it; first, its own descriptor decides. */
static void an_earlier_extent(void **state)
{
	struct story first = { "first of three", 4, 6, .beside = 2 };
	struct story middle = { "middle of three", 4, 5, .beside = 2, .is_middle = true };

	(void)state;
	sim_each_seed(1, 1, run, &first);
	sim_each_seed(1, getenv("FULL") ? 2 : 1, run, &middle);
}

static void an_earlier_extent_of_vmfs6(void **state)
{
	struct story first = { "first of two, VMFS-6", 4, 6, .beside = 1, .is_6 = true };
	struct story middle = { "middle, VMFS-6", 4, 5, .beside = 2, .is_middle = true,
				.is_6 = true };

	(void)state;
	sim_each_seed(1, 1, run, &middle);
	if (getenv("FULL"))
		sim_each_seed(1, 1, run, &first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_longer_extent),
		cmocka_unit_test(another_extent),
		cmocka_unit_test(a_longer_bitmap),
		cmocka_unit_test(pointers_to_the_bitmap),
		cmocka_unit_test(a_longer_extent_of_vmfs6),
		cmocka_unit_test(another_extent_of_vmfs6),
		cmocka_unit_test(a_longer_bitmap_of_vmfs6),
		cmocka_unit_test(an_earlier_extent),
		cmocka_unit_test(an_earlier_extent_of_vmfs6),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
