/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One I/O of a member fails, the n-th, for every n until none does. Whatever it was: the
 * calls return, with an error or without, nothing leaks, the volume can be closed; and
 * another host that mounts it afterwards, taking over what is left, finds files with old
 * or new content and a volume without errors.
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

#include "fsck/check.h"
#include "mkfs/write.h"
#include "tests/sim/iofault.h"
#include "tests/sim/simdisk.h"
#include "vmfs/vmfs.h"

#define MIB (1ull << 20)
#define DISK_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)

/* ---- the story ---- */

struct story {
	unsigned int fail_at;
	unsigned int count;	/* out: I/Os of the member */
	struct simdisk *disk;
};

static void tell(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	sim_trace("report %d: %s", (int)level, text);
}

static int mount_disk(struct bdev *bd, struct vmfs_volume **ret_vol)
{
	static const struct reporter reporter = { .tell = tell };
	struct vmfs_open_options options = {
		.reporter = (struct reporter *)(uintptr_t)&reporter,
		.devices = &bd,
		.device_count = 1,
		.host_name = sim_host_name(sim_host_self()),
		.time_divisor = 8,
	};
	return vmfs_volume_open(&options, ret_vol);
}

/* What a call may come back with when the disk says no. */
static void check_code(int64_t rc)
{
	if (rc < 0 && rc != -EIO && rc != -ESTALE && rc != -ENODEV && rc != -ENOENT &&
	    rc != -ENOTDIR && rc != -ENOSPC)
		sim_fail("unexpected %lld", (long long)rc);
}

static void write_file(struct vmfs_volume *vol, const char *path, uint8_t byte,
		       uint64_t len)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	uint8_t *data = malloc(len);
	memset(data, byte, len);
	int rc = vmfs_file_open(vol, path, &options, &file, NULL);
	check_code(rc);
	if (rc == 0) {
		check_code(vmfs_file_write(file, data, len, 0));
		check_code(vmfs_file_sync(file));
		check_code(vmfs_file_read(file, data, len, 0));
		if (len > MIB) {
			check_code(vmfs_file_punch(file, 0, MIB));
			check_code(vmfs_file_allocate(file, 0, MIB, VMFS_ALLOCATE_ZERO));
			check_code(vmfs_file_truncate(file, MIB + 5));
		}
		check_code(vmfs_file_close(file));
	}
	free(data);
}

static void work(void *arg)
{
	struct story *s = arg;
	struct iofault f = { .fail_at = 0 };
	struct vmfs_volume *vol;
	struct vmfs_stat st;
	(void)iofault_over(&f, simdisk_attach(s->disk, sim_host_self()));
	/* Joining and leaving are others' stories: a journal block may be lost there. */
	SIM_CHECK(mount_disk(&f.bd, &vol) == 0);
	f.count = 0;
	f.fail_at = s->fail_at;
	check_code(vmfs_mkdir(vol, "/d", 0755));
	write_file(vol, "/d/small", 1, 900);
	write_file(vol, "/d/sub", 2, 3000);
	write_file(vol, "/big", 3, 3 * MIB);
	check_code(vmfs_rename(vol, "/d/small", "/moved"));
	check_code(vmfs_rename(vol, "/big", "/d/sub"));
	check_code(vmfs_symlink(vol, "moved", "/link"));
	check_code(vmfs_stat(vol, "/d/sub", &st));
	check_code(vmfs_unlink(vol, "/link"));
	s->count = (unsigned int)f.count;
	f.fail_at = 0;
	(void)!vmfs_volume_close(vol); /* any error: it closes */
	bdev_close(&f.bd);
}

/* Content is all of one byte (or zero where blocks are not written yet). */
static void check_file(struct vmfs_volume *vol, const char *path, uint8_t byte)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	uint8_t *data = malloc(4 * MIB);
	options.deadline = clock_now() + 120 * NS_PER_S;
	int rc = vmfs_file_open(vol, path, &options, &file, NULL);
	SIM_CHECK(rc == 0 || rc == -ENOENT || rc == -ENOTDIR);
	if (rc == 0) {
		int64_t n = vmfs_file_read(file, data, 4 * MIB, 0);
		SIM_CHECK(n >= 0);
		for (int64_t i = 0; i < n; i++)
			SIM_CHECK(data[i] == 0 || data[i] == byte ||
				  (byte == 2 && data[i] == 3));
		SIM_CHECK(vmfs_file_close(file) == 0);
	}
	free(data);
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	sim_trace("fsck %d: %s", (int)problem, text);
}

static void recover(void *arg)
{
	struct story *s = arg;
	struct bdev *bd = simdisk_attach(s->disk, sim_host_self());
	struct vmfs_volume *vol;
	SIM_CHECK(mount_disk(bd, &vol) == 0);
	check_file(vol, "/d/small", 1);
	check_file(vol, "/moved", 1);
	check_file(vol, "/d/sub", 2);
	check_file(vol, "/big", 3);
	SIM_CHECK(vmfs_mkdir(vol, "/probe", 0700) == 0);
	SIM_CHECK(vmfs_rmdir(vol, "/probe") == 0);
	SIM_CHECK(vmfs_volume_close(vol) == 0);
	struct fsck_options options = { .devices = &bd,
					.device_count = 1,
					.found = found };
	struct fsck_summary summary;
	SIM_CHECK(fsck_check(&options, &summary) == 0);
	SIM_CHECK(summary.errors == 0 && !summary.has_failed);
	bdev_close(bd);
}

static void fail_one(void *arg)
{
	struct story *s = arg;
	struct mkfs_options options;
	struct mkfs_layout layout;
	s->disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(s->disk, sim_host_world());
	assert_int_equal(mkfs_layout_make("faults", bd->size, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, bd);
	assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
	bdev_close(bd);
	SIM_CHECK(sim_host_run(sim_host_new("a", 0), "work", work, s));
	SIM_CHECK(sim_host_run(sim_host_new("b", 0), "recover", recover, s));
	simdisk_free(s->disk);
}

static void every_failing_io_is_survived(void **state)
{
	const char *at = getenv("FAULT_AT");
	unsigned int step = getenv("FULL") ? 1 : 5;
	struct story s = { 0 };
	(void)state;
	if (at) {
		s.fail_at = (unsigned int)strtoul(at, NULL, 0);
		sim_run(s.fail_at, fail_one, &s);
		return;
	}
	sim_run(1, fail_one, &s);
	unsigned int count = s.count;
	assert_true(count > 100);
	for (s.fail_at = 1; s.fail_at <= count; s.fail_at += step)
		sim_run(s.fail_at, fail_one, &s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failing_io_is_survived),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
