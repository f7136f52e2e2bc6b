/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Against a volume that ESXi 6.5 made, $VMFS_SAMPLES/vmfs5.raw.gz: mkfs makes it again
 * sector for sector, fsck finds nothing in it, libvmfs reads its files.
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
#include <zlib.h>

#include <cmocka.h>

#include "base/align.h"
#include "fsck/check.h"
#include "mkfs/write.h"
#include "vmfs/vmfs.h"

#define SECTOR VMFS_SECTOR_SIZE
#define S5_SIZE 0x1fe00200ull	   /* of the partition */
#define S5_IMAGE_SIZE 535822336ull /* the image reaches behind it */

/* The sample, on a memory device. */
static int sample_load(void **state)
{
	static uint8_t buf[1 << 20];
	char *path = NULL;
	struct bdev *bd;
	uint64_t off = 0;
	assert_true(asprintf(&path, "%s/vmfs5.raw.gz", getenv("VMFS_SAMPLES")) > 0);
	gzFile sample = gzopen(path, "rb");
	assert_non_null(sample);
	free(path);
	gzbuffer(sample, 1 << 20);
	assert_int_equal(bdev_mem_new(S5_IMAGE_SIZE, SECTOR, NULL, &bd), 0);
	for (int n; (n = gzread(sample, buf, sizeof(buf))) > 0; off += (uint64_t)n)
		if (buf[0] || memcmp(buf, buf + 1, (size_t)n - 1) != 0)
			assert_int_equal(bdev_write(bd, buf, (uint64_t)n, off), 0);
	gzclose(sample);
	assert_int_equal(off, S5_IMAGE_SIZE);
	*state = bd;
	return 0;
}

static int sample_unload(void **state)
{
	bdev_close(*state);
	return 0;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* ---- mkfs ---- */

/* The options under which ESXi 6.5 made the sample volume. */
static struct mkfs_options s5_options(void)
{
	struct mkfs_options o = {
		.label = "VMFS5 Test",
		.first = { .name = "mpx.vmhba0:C0:T4:L0:1",
			   .identity = { .type = 0, .len = 10, .id = "vmhba0:4:0" } },
		.created_s = 0x61137dd5,
		.first_mtime = 512,
	};
	static const uint64_t us = 0x0005c943aad60000ull;
	o.device_created_us = us + 0x7b49;
	o.device_modified_us = 0x0005c943aad7abbaull;
	o.volume_created_us = us + 0x9acc;
	o.volume_modified_us = us + 0xa179;
	assert_int_equal(
		uuid_parse("61137dd5-dc4830ac-56f8-000c29801686", &o.first.uuid), 0);
	assert_int_equal(uuid_parse("61137dd5-d0727810-7ac2-000c29801686", &o.lv_uuid),
			 0);
	assert_int_equal(uuid_parse("61137dd5-df6bc2c8-f0e7-000c29801686", &o.fs_uuid),
			 0);
	assert_int_equal(uuid_parse("61137d5a-a2df8778-7ed5-000c29801686", &o.formatter),
			 0);
	return o;
}

/* Where the sample differs because it was used after format, and in how many sectors. */
static const struct {
	uint64_t first, last; /* dev offsets of sectors, inclusive */
	unsigned int count;
	const char *why;
} s5_allowed[] = {
	{ 0x147b000, 0x147b000, 1, "heartbeat slot 984 is in use" },
	{ 0x1510000, 0x1510200, 2, "FDC cluster 0: six FDs taken" },
	{ 0x1520000, 0x1520200, 2, "root directory: one more entry" },
	{ 0x1524000, 0x1527400, 18, "FDs 8 to 14 of the user's files" },
	{ 0x1600400, 0x1600400, 1, "root directory: entry of the user's directory" },
	{ 0x1710000, 0x1710200, 2, "FBB cluster 0: journal and file5" },
	{ 0x1911000, 0x1911200, 2, "SBC cluster 4: directory and symlink" },
	{ 0x1a20000, 0x1a22000, 3, "sub-blocks of directory and symlink" },
	{ 0x1e00200, 0x1e01800, 10, "the host's journal" },
	{ 0x1f00000, 0x1f02000, 17, "content of file5" },
	{ 0x1fe00000, 0x1ff00000, 2, "backup GPT behind the partition" },
};

/* Index in s5_allowed, or -1. */
static int s5_region(uint64_t off)
{
	for (size_t i = 0; i < ARRAY_SIZE(s5_allowed); i++)
		if (off >= s5_allowed[i].first && off <= s5_allowed[i].last)
			return (int)i;
	return -1;
}

/* One MiB of both images, compared sector by sector. */
static void compare(const uint8_t *ours, const uint8_t *theirs, uint64_t off,
		    unsigned int *counts, unsigned int *ret_equal)
{
	for (uint64_t s = 0; s < 1 << 20; s += SECTOR) {
		if (memcmp(ours + s, theirs + s, SECTOR) == 0) {
			*ret_equal += !is_zero(ours + s, SECTOR);
			continue;
		}
		int region = s5_region(off + s);
		if (region < 0)
			fail_msg("sector at 0x%" PRIx64 " differs", off + s);
		counts[region]++;
	}
}

static void the_volume_is_made_again(void **state)
{
	static uint8_t theirs[1 << 20], ours[1 << 20];
	struct bdev *bd;
	struct mkfs_layout layout;
	struct mkfs_options options = s5_options();
	unsigned int equal = 0, different = 0, counts[ARRAY_SIZE(s5_allowed)] = { 0 };
	assert_int_equal(bdev_mem_new(S5_SIZE, SECTOR, NULL, &bd), 0);
	assert_int_equal(mkfs_layout_make("disk", S5_SIZE, NULL, NULL, &layout), 0);
	assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
	for (uint64_t off = 0; off < S5_IMAGE_SIZE; off += sizeof(ours)) {
		memset(ours, 0, sizeof(ours));
		uint64_t have = off < S5_SIZE ? min_u64(S5_SIZE - off, sizeof(ours)) : 0;
		if (have)
			assert_int_equal(bdev_read(bd, ours, have, off), 0);
		assert_int_equal(bdev_read(*state, theirs, sizeof(theirs), off), 0);
		compare(ours, theirs, off, counts, &equal);
	}
	bdev_close(bd);
	for (size_t i = 0; i < ARRAY_SIZE(s5_allowed); i++) {
		if (counts[i] != s5_allowed[i].count)
			fail_msg("%u sectors differ, %u should: %s", counts[i],
				 s5_allowed[i].count, s5_allowed[i].why);
		different += counts[i];
	}
	assert_int_equal(different, 60);
	assert_int_equal(equal, 2105);
}

/* ---- fsck ---- */

struct findings {
	unsigned int count;
	char last[512];
};

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	struct findings *f = arg;
	if (fsck_problem(problem)->severity != FINDING_NOTE)
		fail_msg("%s: %s", fsck_problem(problem)->code, text);
	f->count++;
	(void)snprintf(f->last, sizeof(f->last), "%s", text);
}

/* It was taken while mounted: the slot in use is a note, its journal is not lost. */
static void fsck_finds_nothing_but_the_live_slot(void **state)
{
	struct findings f = { 0 };
	struct fsck_summary summary;
	struct bdev *bd = *state;
	struct fsck_options options = {
		.devices = &bd, .device_count = 1, .found = found, .arg = &f
	};
	assert_int_equal(fsck_check(&options, &summary), 0);
	assert_int_equal(summary.errors + summary.warnings, 0);
	assert_int_equal(f.count, 1);
	assert_non_null(
		strstr(f.last, "heartbeat slot 984: in use by host 10.199.5.140"));
	assert_string_equal(summary.label, "VMFS5 Test");
	assert_int_equal(summary.used_block_count, 15);
	assert_int_equal(summary.file_count, 6);
}

/* ---- libvmfs ---- */

static void libvmfs_reads_its_files(void **state)
{
	struct bdev *bd = *state;
	struct vmfs_volume *vol;
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .is_read_only = true };
	static char buf[10000];
	struct vmfs_file_options read_only = { .flags = VMFS_READ };
	struct vmfs_file *file;
	assert_int_equal(vmfs_volume_open(&options, &vol), 0);
	assert_int_equal(vmfs_file_open(vol, "/directory/file5", &read_only, &file, NULL),
			 0);
	assert_int_equal(vmfs_file_read(file, buf, sizeof(buf), 0), 8193);
	for (int i = 0; i < 8192; i++)
		assert_int_equal(buf[i], 'a');
	assert_int_equal(buf[8192], '\n');
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_file_open(vol, "/directory/file4", &read_only, &file, NULL),
			 0);
	assert_int_equal(vmfs_file_read(file, buf, sizeof(buf), 0), 8);
	assert_memory_equal(buf, "content\n", 8);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_readlink(vol, "/directory/symlink", buf, sizeof(buf)), 5);
	assert_string_equal(buf, "file4");
	assert_int_equal(vmfs_volume_close(vol), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_volume_is_made_again),
		cmocka_unit_test(fsck_finds_nothing_but_the_live_slot),
		cmocka_unit_test(libvmfs_reads_its_files),
	};
	if (!getenv("VMFS_SAMPLES")) {
		puts("1..0 # SKIP VMFS_SAMPLES is not set: no volume to compare with");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, sample_load, sample_unload);
}
