/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of a volume whose host was writing when it was copied gets a signature of its
 * own, on a device that records each write; then the device is rebuilt as a power failure
 * could have left it after each of them, and another host looks:
 *
 *   it has the former signature or the new one, whole; or neither, and then nobody writes
 *   it, whatever he vouches for;
 *   in each case it can be read, and a further --resignature ends with one new signature,
 *   one new label, a clean volume and all that it held: also if that one is cut off too;
 *   a copy of a half-signed copy gets other UUIDs than the one it was copied from.
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

#include "bdev/bdev.h"
#include "fsck/check.h"
#include "mkfs/write.h"
#include "tests/lib/collect.h"
#include "tests/sim/simdisk.h"
#include "vmfs/resign.h"
#include "vmfs/takeover.h"
#include "vmfs/vmfs.h"

#define EXTENT_SIZE(pes) (LVM_DATA_OFF + (pes) * LVM_PE_SIZE)
#define EXTENTS_MAX 2u
#define LABEL "original"

struct story {
	const char *name;
	uint32_t version;
	unsigned int pes, extents;
};

enum { ORIGINAL = 1, COPY = 2, COPY_OF_COPY = 3 }; /* disks, by their names */

/* The cut that is looked at, for failure messages. */
static char place[224];

#define CHECK(condition)                                                                 \
	((condition) ? (void)0 : sim_fail("%s: not true: %s", place, #condition))

struct rig {
	const struct story *story;
	struct simdisk *disk;
	struct bdev *devices[EXTENTS_MAX];
	struct vmfs_volume *vol;
	struct collect told;
};

/* How far the cut-off one came, over all cuts of a story. */
static struct seen {
	unsigned int former, half, new;
} seen;

static void attach(struct rig *rig, const struct story *s, struct simdisk *disk,
		   uint8_t name)
{
	*rig = (struct rig){ .story = s, .disk = disk };
	(void)collect_init(&rig->told);
	for (unsigned int i = 0; i < s->extents; i++) {
		SIM_CHECK(!bdev_range_new(simdisk_attach(disk, sim_host_world()),
					  i * EXTENT_SIZE(s->pes), EXTENT_SIZE(s->pes),
					  &rig->devices[i]));
		rig->devices[i]->identity.id[8] = name;
		rig->devices[i]->identity.id[9] = (uint8_t)i;
	}
}

static void detach(struct rig *rig)
{
	for (unsigned int i = 0; i < EXTENTS_MAX; i++)
		bdev_close(rig->devices[i]);
	collect_done(&rig->told);
	simdisk_free(rig->disk);
}

static int mount(struct rig *rig, enum vmfs_signature_rule rule, bool is_read_only)
{
	const struct vmfs_open_options options = { .devices = rig->devices,
						   .device_count = rig->story->extents,
						   .signature = rule,
						   .is_read_only = is_read_only,
						   .reporter = &rig->told.base };
	return vmfs_volume_open(&options, &rig->vol);
}

static void unmount(struct rig *rig)
{
	SIM_CHECK(!vmfs_volume_close(rig->vol));
	rig->vol = NULL;
}

static struct vmfs_volume_info info_of(struct rig *rig)
{
	struct vmfs_volume_info info;

	CHECK(!vmfs_volume_info(rig->vol, &info));
	return info;
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	if (fsck_problem(problem)->severity != FINDING_NOTE &&
	    problem != PROBLEM_JOURNAL_LOST)
		sim_fail("%s: fsck: %s: %s", place, fsck_problem(problem)->code, text);
}

static void check_clean(struct rig *rig)
{
	struct fsck_summary summary;
	const struct fsck_options options = { .devices = rig->devices,
					      .device_count = rig->story->extents,
					      .found = found };
	CHECK(!fsck_check(&options, &summary));
}

static void found_whatever(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	(void)problem;
	(void)text;
}

/* fsck leaves it to who finishes it; extents with different UUIDs it does not join. */
static void check_fsck_knows(struct rig *rig)
{
	struct fsck_summary summary;
	const struct fsck_options options = { .devices = rig->devices,
					      .device_count = rig->story->extents,
					      .found = found_whatever };
	int err = fsck_check(&options, &summary);

	CHECK(err == -EINVAL || (!err && summary.is_resigning && summary.errors));
}

static void write_file(struct rig *rig, const char *path)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;

	CHECK(!vmfs_file_open(rig->vol, path, &options, &file, NULL));
	CHECK(!vmfs_file_write(file, path, strlen(path), 12345));
	CHECK(!vmfs_file_close(file));
}

static void check_file(struct rig *rig, const char *path)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	char text[16];

	CHECK(!vmfs_file_open(rig->vol, path, &options, &file, NULL));
	CHECK(vmfs_file_read(file, text, strlen(path), 12345) == (int)strlen(path));
	CHECK(!memcmp(text, path, strlen(path)));
	CHECK(!vmfs_file_close(file));
}

static int resign(struct rig *rig, struct vmfs_resigned *ret)
{
	const struct vmfs_resign_options options = { .is_forced = false };

	CHECK(!mount(rig, VMFS_SIGNATURE_NEW, false));
	int err = vmfs_volume_resign(rig->vol, &options, ret);
	if (err)
		(void)fprintf(stderr, "%s: %d: %s\n", place, err,
			      collect_text(&rig->told));
	unmount(rig);
	return err;
}

/* The host that died over it is taken over. */
static void bury(struct rig *rig)
{
	struct vmfs_member members[4];
	int count = vmfs_volume_members(rig->vol, members, 4);

	CHECK(count >= 1 && count <= 3);
	for (int i = 0; i < count; i++)
		CHECK(members[i].is_self || !vmfs_takeover(rig->vol, members[i].slot));
}

/* A volume of its own, that anybody writes. */
static void check_signed(struct rig *rig, const struct uuid *former)
{
	unsigned int number;
	int len = 0;

	CHECK(!mount(rig, VMFS_SIGNATURE_STRICT, false));
	struct vmfs_volume_info info = info_of(rig);
	CHECK(!uuid_equal(&info.uuid, former) && !uuid_equal(&info.lv_uuid, former));
	CHECK(sscanf(info.label, "snap-%8x-" LABEL "%n", &number, &len) == 1);
	CHECK(len == (int)strlen(info.label) && len == 14 + (int)strlen(LABEL));
	check_file(rig, "/before");
	write_file(rig, "/after");
	bury(rig);
	unmount(rig);
	check_clean(rig);
}

/* Read-only it is whole in any state. */
static void check_readable(struct rig *rig)
{
	CHECK(!mount(rig, VMFS_SIGNATURE_STRICT, true));
	check_file(rig, "/before");
	unmount(rig);
}

/* What it is: 1 new, 0 former, -1 half. */
static int judge(struct rig *rig, const struct uuid *former)
{
	int err = mount(rig, VMFS_SIGNATURE_STRICT, false);

	if (!err) {
		struct vmfs_volume_info info = info_of(rig);
		CHECK(!uuid_equal(&info.uuid, former));
		unmount(rig);
		return 1;
	}
	CHECK(err == -EREMCHG);
	err = mount(rig, VMFS_SIGNATURE_KEEP, false);
	if (!err) {
		struct vmfs_volume_info info = info_of(rig);
		CHECK(uuid_equal(&info.uuid, former));
		unmount(rig);
		return 0;
	}
	CHECK(err == -EREMCHG);
	return -1;
}

/* The half-signed copy was copied; both are finished. */
static void check_copy_of_copy(const struct story *s, const struct image *image,
			       const struct uuid *former, const struct uuid *other)
{
	struct vmfs_resigned now;
	struct rig rig;

	attach(&rig, s, simdisk_from_image(image_clone(image), BDEV_CAW_FILE),
	       COPY_OF_COPY);
	CHECK(!resign(&rig, &now) && now.was_begun);
	CHECK(!uuid_equal(&now.uuid, other) && !uuid_equal(&now.uuid, former));
	CHECK(!mount(&rig, VMFS_SIGNATURE_STRICT, false));
	unmount(&rig);
	check_clean(&rig);
	detach(&rig);
}

/* ---- each cut ---- */

struct cuts {
	const struct story *story;
	struct uuid former; /* of the filesystem */
	unsigned int depth;
};

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg);

/* Finishing it is cut off as well, at one place. */
static void check_second_cut(const struct cuts *c, const struct image *image)
{
	struct cuts deeper = *c;
	struct vmfs_resigned now;
	struct rig rig;

	attach(&rig, c->story, simdisk_from_image(image_clone(image), BDEV_CAW_FILE),
	       COPY);
	simdisk_log_start(rig.disk);
	CHECK(!resign(&rig, &now));
	struct simdisk_log *log = simdisk_log_take(rig.disk);
	detach(&rig);
	unsigned int count = simdisk_log_count(log);
	deeper.depth++;
	check_cut(log, 1 + (unsigned int)sim_random(count - 1),
		  sim_random(2) ? SIMDISK_SUBSET : SIMDISK_TORN, &deeper);
	simdisk_log_free(log);
}

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	const struct cuts *c = arg;
	unsigned int count = simdisk_log_count(log);
	struct image *image = simdisk_image_at(log, n, cut, sim_random(UINT64_MAX));
	struct vmfs_resigned now = { .was_begun = false };
	char cut_text[128];
	struct rig rig;

	(void)snprintf(place, sizeof(place), "%s, level %u, %s", c->story->name, c->depth,
		       simdisk_cut_text(log, n, cut, cut_text, sizeof(cut_text)));
	sim_trace("%s", place);
	attach(&rig, c->story, simdisk_from_image(image_clone(image), BDEV_CAW_FILE),
	       COPY);
	check_readable(&rig);
	int state = judge(&rig, &c->former);
	if (c->depth == 1) {
		CHECK(n != 0 || state == 0);
		CHECK(n != count || cut != SIMDISK_PREFIX || state == 1);
		seen.former += state == 0;
		seen.half += state < 0;
		seen.new += state > 0;
	}
	if (state < 0)
		check_fsck_knows(&rig);
	if (state <= 0) {
		CHECK(!resign(&rig, &now));
		CHECK(now.was_begun == (state < 0));
		CHECK(uuid_equal(&now.former_uuid, &c->former));
	}
	check_signed(&rig, &c->former);
	detach(&rig);
	if (state < 0 && cut == SIMDISK_PREFIX)
		check_copy_of_copy(c->story, image, &c->former, &now.uuid);
	if (state < 0 && c->depth == 1)
		check_second_cut(c, image);
	image_free(image);
}

/* ---- the story ---- */

static void format(struct rig *rig)
{
	const struct story *s = rig->story;
	const struct mkfs_device device = { "sim", EXTENT_SIZE(s->pes) };
	struct mkfs_options options;
	struct mkfs_layout layout;

	SIM_CHECK(!mkfs_layout_devices(s->version, &device, 1, NULL, NULL, &layout));
	mkfs_options_init(&options, rig->devices[0]);
	(void)snprintf(options.label, sizeof(options.label), LABEL);
	SIM_CHECK(!mkfs_write(rig->devices[0], &layout, &options, NULL));
}

/* A volume with a file, on one extent or on two. */
static struct uuid make_original(struct rig *rig)
{
	const struct vmfs_open_options first = { .devices = rig->devices,
						 .device_count = 1,
						 .reporter = &rig->told.base };
	uint64_t added;

	format(rig);
	SIM_CHECK(!vmfs_volume_open(&first, &rig->vol));
	if (rig->story->extents > 1)
		SIM_CHECK(!vmfs_volume_grow(rig->vol, rig->devices[1], NULL, &added));
	write_file(rig, "/before");
	struct uuid uuid = info_of(rig).uuid;
	unmount(rig);
	return uuid;
}

/* Copied while a host writes: its slot is live, its log not empty, in the copy. */
static struct image *copy_running(struct rig *rig)
{
	SIM_CHECK(!mount(rig, VMFS_SIGNATURE_STRICT, false));
	write_file(rig, "/half");
	struct image *image = simdisk_image(rig->disk);
	unmount(rig);
	return image;
}

static void run(void *arg)
{
	const struct story *s = arg;
	struct simdisk_behaviour behaviour = simdisk_polite();
	struct cuts cuts = { .story = s, .depth = 1 };
	struct vmfs_resigned now;
	struct rig rig;

	seen = (struct seen){ 0 };
	(void)snprintf(place, sizeof(place), "%s: at first", s->name);
	sim_set_limits(365ull * 86400 * NS_PER_S, 900ull * 1000 * 1000);
	attach(&rig, s, simdisk_new(s->extents * EXTENT_SIZE(s->pes), BDEV_CAW_FILE),
	       ORIGINAL);
	cuts.former = make_original(&rig);
	struct image *copy = copy_running(&rig);
	detach(&rig);

	attach(&rig, s, simdisk_from_image(copy, BDEV_CAW_FILE), COPY);
	behaviour.has_cache = true;
	simdisk_behave(rig.disk, &behaviour);
	simdisk_log_start(rig.disk);
	SIM_CHECK(!resign(&rig, &now));
	struct simdisk_log *log = simdisk_log_take(rig.disk);
	detach(&rig);
	simdisk_each_cut(log, check_cut, &cuts);
	simdisk_log_free(log);
	SIM_CHECK(seen.former && seen.half && seen.new);
}

static void a_copy_of_one_extent(void **state)
{
	struct story s = { "one extent", 5, 2, 1 };

	(void)state;
	sim_each_seed(1, 1, run, &s);
}

static void a_copy_of_two_extents(void **state)
{
	struct story s = { "two extents", 5, 2, 2 };

	(void)state;
	sim_each_seed(1, 1, run, &s);
}

static void a_copy_of_vmfs6(void **state)
{
	struct story s = { "VMFS-6", 6, 6, 1 };

	(void)state;
	sim_each_seed(1, 1, run, &s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_of_one_extent),
		cmocka_unit_test(a_copy_of_two_extents),
		cmocka_unit_test(a_copy_of_vmfs6),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
