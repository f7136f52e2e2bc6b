/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mkfs writes: a real volume made again sector for sector (with VMFS_SAMPLES), the
 * order of its writes, old content and hosts that are alive.
 */
#include <errno.h>
#include <inttypes.h>
#include <isa-l/crc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "mkfs/live.h"
#include "mkfs/write.h"
#include "tests/lib/collect.h"

#define SECTOR VMFS_SECTOR_SIZE
#define S5_SIZE 0x1fe00200ull

static struct bdev *disk_new(uint64_t size)
{
	struct bdev *bd;
	assert_int_equal(bdev_mem_new(size, SECTOR, NULL, &bd), 0);
	return bd;
}

static void make(struct bdev *bd, struct mkfs_options *options)
{
	struct mkfs_layout layout;
	assert_int_equal(mkfs_layout_make("disk", bd->size, NULL, NULL, &layout), 0);
	assert_int_equal(mkfs_write(bd, &layout, options, NULL), 0);
}

static void make_default(struct bdev *bd)
{
	struct mkfs_options options;
	mkfs_options_init(&options, bd);
	make(bd, &options);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static uint32_t magic_at(struct bdev *bd, uint64_t off)
{
	uint8_t sector[SECTOR];
	le32 magic;
	assert_int_equal(bdev_read(bd, sector, SECTOR, off), 0);
	memcpy(&magic, sector, sizeof(magic));
	return le32_get(magic);
}

/* ---- a real volume, made again ---- */

/* The options under which ESXi 6.5 made the sample volume. */
static struct mkfs_options s5_options(void)
{
	struct mkfs_options o = {
		.label = "VMFS5 Test",
		.device_name = "mpx.vmhba0:C0:T4:L0:1",
		.identity = { .type = 0, .len = 10, .id = "vmhba0:4:0" },
		.created_s = 0x61137dd5,
		.first_mtime = 512,
	};
	static const uint64_t us = 0x0005c943aad60000ull;
	o.device_created_us = us + 0x7b49;
	o.device_modified_us = 0x0005c943aad7abbaull;
	o.volume_created_us = us + 0x9acc;
	o.volume_modified_us = us + 0xa179;
	assert_int_equal(
		uuid_parse("61137dd5-dc4830ac-56f8-000c29801686", &o.device_uuid), 0);
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

static void the_sample_volume_is_made_again(void **state)
{
	(void)state;
	const char *dir = getenv("VMFS_SAMPLES");
	if (!dir) {
		print_message("# VMFS_SAMPLES is not set: no sample to compare with\n");
		skip();
	}
	char path[4096];
	(void)snprintf(path, sizeof(path), "%s/vmfs5.raw.gz", dir);
	gzFile sample = gzopen(path, "rb");
	if (!sample) {
		print_message("# no %s\n", path);
		skip();
	}
	gzbuffer(sample, 1 << 20);
	struct bdev *bd = disk_new(S5_SIZE);
	struct mkfs_options options = s5_options();
	make(bd, &options);

	enum { PIECE = 1 << 20 };
	static uint8_t theirs[PIECE], ours[PIECE];
	unsigned int equal = 0, different = 0, counts[ARRAY_SIZE(s5_allowed)] = { 0 };
	uint64_t off = 0;
	for (int n; (n = gzread(sample, theirs, PIECE)) > 0; off += (uint64_t)n) {
		memset(ours, 0, sizeof(ours));
		uint64_t have = off < S5_SIZE ? min_u64(S5_SIZE - off, (uint64_t)n) : 0;
		if (have)
			assert_int_equal(bdev_read(bd, ours, have, off), 0);
		for (int s = 0; s < n; s += SECTOR) {
			if (memcmp(ours + s, theirs + s, SECTOR) == 0) {
				equal += !is_zero(ours + s, SECTOR);
				continue;
			}
			int region = s5_region(off + (uint64_t)s);
			if (region < 0)
				fail_msg("sector at 0x%" PRIx64 " differs",
					 off + (uint64_t)s);
			counts[region]++;
			different++;
		}
	}
	gzclose(sample);
	bdev_close(bd);
	assert_int_equal(off, 535822336);
	for (size_t i = 0; i < ARRAY_SIZE(s5_allowed); i++)
		if (counts[i] != s5_allowed[i].count)
			fail_msg("%u sectors differ, %u should: %s", counts[i],
				 s5_allowed[i].count, s5_allowed[i].why);
	assert_int_equal(different, 60);
	assert_int_equal(equal, 2105);
}

/* ---- order ---- */

/* Passes everything to a disk below until the n-th change of data, which fails. */
struct cutting {
	struct bdev bd;
	struct bdev *below;
	unsigned int writes, fail_at;
};

static void cutting_submit(struct bdev *bd, struct bdev_io *io)
{
	struct cutting *c = (struct cutting *)bd;
	int result;
	switch (io->op) {
	case BDEV_READ:
		result = bdev_read(c->below, io->iov->iov_base, io->len, io->offset);
		break;
	case BDEV_FLUSH:
		result = bdev_flush(c->below);
		break;
	default:
		result = -EIO;
		if (c->writes++ == c->fail_at)
			break;
		result = io->op == BDEV_ZERO ? bdev_zero(c->below, io->len, io->offset)
					     : bdev_write(c->below, io->iov->iov_base,
							  io->len, io->offset);
	}
	bdev_io_complete(io, result);
}

static void cutting_close(struct bdev *bd)
{
	(void)bd;
}

static const struct bdev_ops cutting_ops = { .submit = cutting_submit,
					     .close = cutting_close };

/* Cut after each of its writes, mkfs leaves neither the old volume nor a new one. */
static void interrupted_leaves_no_volume(void **state)
{
	(void)state;
	struct bdev *disk = disk_new(2ull << 30);
	struct mkfs_layout layout;
	struct mkfs_options options;
	assert_int_equal(mkfs_layout_make("disk", disk->size, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, disk);
	unsigned int n = 0;
	int err = -EIO;
	for (; err; n++) {
		struct cutting c = { .bd = *disk, .below = disk, .fail_at = n };
		struct collect told;
		struct reporter *r = collect_init(&told);
		c.bd.ops = &cutting_ops;
		make_default(disk);
		assert_int_equal(magic_at(disk, LVM_HEADER_OFF), LVM_MAGIC);
		err = mkfs_write(&c.bd, &layout, &options, r);
		if (err) {
			assert_int_equal(err, -EIO);
			assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
		}
		/* Before anything changed the old volume is whole; afterwards it is not.
		 */
		bool is_lvm = magic_at(disk, LVM_HEADER_OFF) == LVM_MAGIC;
		assert_int_equal(is_lvm, n == 0 || !err);
		collect_done(&told);
	}
	assert_true(n > 8);
	bdev_close(disk);
}

static void old_signatures_are_destroyed(void **state)
{
	(void)state;
	struct bdev *bd = disk_new(2ull << 30);
	uint8_t junk[4096];
	memset(junk, 0xa5, sizeof(junk));
	static const uint64_t places[] = { 0,	      0x1000,
					   0x10000,   0x140200,
					   0x1100000, 0x13ff000,
					   0x1520000, (2ull << 30) - sizeof(junk) };
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		assert_int_equal(bdev_write(bd, junk, sizeof(junk), places[i]), 0);
	make_default(bd);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		assert_int_equal(bdev_read(bd, junk, sizeof(junk), places[i]), 0);
		assert_null(memchr(junk, 0xa5, sizeof(junk)));
	}
	bdev_close(bd);
}

static void options_are_fresh_each_time(void **state)
{
	(void)state;
	struct bdev *bd = disk_new(MKFS_SIZE_MIN);
	struct mkfs_options a, b;
	bd->identity = (struct bdev_identity){ .type = 2, .len = 22, .lun = 5 };
	memcpy(bd->identity.id,
	       "\x60\x01\x40\x5a\0\0\0\0\0\0\0\0\0\0\0\x01"
	       "COMSTA",
	       22);
	mkfs_options_init(&a, bd);
	mkfs_options_init(&b, bd);
	assert_false(uuid_equal(&a.fs_uuid, &b.fs_uuid));
	assert_false(uuid_equal(&a.fs_uuid, &a.lv_uuid));
	assert_false(uuid_equal(&a.lv_uuid, &a.device_uuid));
	assert_string_equal(a.device_name, "naa.6001405a000000000000000000000001:1");
	make(bd, &a);
	struct vmfs_lvm_device_disk d;
	assert_int_equal(bdev_read(bd, &d, sizeof(d), LVM_HEADER_OFF), 0);
	assert_int_equal(le16_get(d.identity.lun), 5);
	assert_memory_equal(d.identity.id, bd->identity.id, 22);
	bdev_close(bd);
}

/* ---- hosts ---- */

static struct vmfs_heartbeat_disk slot_make(uint32_t slot)
{
	return (struct vmfs_heartbeat_disk){
		.state = le32_of(HEARTBEAT_LIVE),
		.addr = le64_of(VMFS_HEARTBEATS_OFF + slot * SECTOR),
		.generation = le64_of(7),
		.owner = { 0xd5, 0x7d, 0x13, 0x61 },
		.ip = "esx7.example",
	};
}

static void slot_put(struct bdev *bd, uint32_t slot,
		     const struct vmfs_heartbeat_disk *hbd)
{
	uint64_t off = LVM_DATA_OFF + VMFS_HEARTBEATS_OFF + slot * SECTOR;
	assert_int_equal(bdev_write(bd, hbd, sizeof(*hbd), off), 0);
}

static void an_empty_disk_and_a_clean_volume_are_not_live(void **state)
{
	(void)state;
	struct bdev *bd = disk_new(2ull << 30);
	assert_int_equal(mkfs_check_not_live(bd, NULL), 0);
	make_default(bd);
	assert_int_equal(mkfs_check_not_live(bd, NULL), 0);
	bdev_close(bd);
	bd = disk_new(4096);
	assert_int_equal(mkfs_check_not_live(bd, NULL), 0);
	bdev_close(bd);
}

struct beating {
	struct bdev *bd;
	struct mutex m;
	bool must_stop;
};

static void beat(void *arg)
{
	struct beating *b = arg;
	struct vmfs_heartbeat_disk hbd = slot_make(2047);
	for (uint64_t n = 1;; n++) {
		task_sleep_until(clock_now() + 100 * NS_PER_MS);
		hbd.stamp_us = le64_of(n);
		slot_put(b->bd, 2047, &hbd);
		mutex_lock(&b->m);
		bool must_stop = b->must_stop;
		mutex_unlock(&b->m);
		if (must_stop)
			return;
	}
}

/* The last slot beats: found within a second or two, whatever its dead time is. */
static void a_beating_slot_is_refused_and_named(void **state)
{
	(void)state;
	struct bdev *bd = disk_new(2ull << 30);
	struct collect told;
	struct reporter *r = collect_init(&told);
	make_default(bd);
	struct vmfs_heartbeat_disk hbd = slot_make(2047);
	slot_put(bd, 2047, &hbd);
	struct beating b = { .bd = bd };
	mutex_init(&b.m);
	struct task *t = task_start("beat", beat, &b);
	assert_non_null(t);
	assert_int_equal(mkfs_check_not_live(bd, r), -EBUSY);
	mutex_lock(&b.m);
	b.must_stop = true;
	mutex_unlock(&b.m);
	task_join(t);
	assert_true(collect_has(&told, "esx7.example"));
	assert_true(collect_has(&told, "61137dd5-00000000-0000-000000000000"));
	assert_true(collect_has(&told, "slot 2047"));
	mutex_done(&b.m);
	collect_done(&told);
	bdev_close(bd);
}

/* The extension says how long the owner may be silent, and what else proves its death. */
static void extension_put(struct bdev *bd, uint32_t dead_ms, uint8_t fence)
{
	struct vmfs_heartbeat_disk hbd = slot_make(3);
	hbd.xmagic = le32_of(HEARTBEAT_XMAGIC);
	hbd.dead_ms = le32_of(dead_ms);
	hbd.fence = fence;
	hbd.xcrc = le32_of(~crc32_iscsi((unsigned char *)&hbd, sizeof(hbd), 0xffffffffu));
	slot_put(bd, 3, &hbd);
}

static void a_slot_that_stands_still_for_its_dead_time_is_dead(void **state)
{
	(void)state;
	struct bdev *bd = disk_new(2ull << 30);
	make_default(bd);
	extension_put(bd, 1200, 0);
	uint64_t start = clock_now();
	assert_int_equal(mkfs_check_not_live(bd, NULL), 0);
	uint64_t ms = (clock_now() - start) / NS_PER_MS;
	assert_in_range(ms, 1200, 10000);
	bdev_close(bd);
}

/* A host of this machine, on a file: its lock is the proof, either way, at once. */
static void the_liveness_lock_decides_at_once(void **state)
{
	(void)state;
	char path[] = "/tmp/mkfs_write.XXXXXX";
	struct bdev *host, *bd;
	struct collect told;
	struct reporter *r = collect_init(&told);
	int file_fd = mkstemp(path);
	assert_true(file_fd >= 0);
	assert_int_equal(ftruncate(file_fd, 2ll << 30), 0);
	close(file_fd);
	assert_int_equal(bdev_file_open(path, 0, r, &bd), 0);
	assert_int_equal(bdev_file_open(path, 0, r, &host), 0);
	make_default(bd);
	extension_put(bd, 60000, 1u << 3);
	uint64_t start = clock_now();
	uint64_t off = LVM_DATA_OFF + VMFS_HEARTBEATS_OFF + 3 * SECTOR;
	assert_int_equal(bdev_liveness(host, off, true), 0);
	assert_int_equal(mkfs_check_not_live(bd, r), -EBUSY);
	assert_true(collect_has(&told, "host esx7.example"));
	bdev_close(host);
	assert_int_equal(mkfs_check_not_live(bd, r), 0);
	assert_true(clock_now() - start < 20 * NS_PER_S);
	/* It was only looked at: a host can still take it. */
	assert_int_equal(bdev_file_open(path, 0, r, &host), 0);
	assert_int_equal(bdev_liveness(host, off, true), 0);
	bdev_close(host);
	bdev_close(bd);
	unlink(path);
	collect_done(&told);
}

static void a_later_extent_is_refused(void **state)
{
	(void)state;
	struct bdev *bd = disk_new(2ull << 30);
	struct collect told;
	struct reporter *r = collect_init(&told);
	struct vmfs_lvm_volume_disk v;
	make_default(bd);
	assert_int_equal(bdev_read(bd, &v, sizeof(v), LVM_VOLUME_OFF), 0);
	v.pe_first = le64_of(7);
	assert_int_equal(bdev_write(bd, &v, sizeof(v), LVM_VOLUME_OFF), 0);
	assert_int_equal(mkfs_check_not_live(bd, r), -EBUSY);
	assert_true(collect_has(&told, "later extent"));
	collect_done(&told);
	bdev_close(bd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_volume_is_made_again),
		cmocka_unit_test(interrupted_leaves_no_volume),
		cmocka_unit_test(old_signatures_are_destroyed),
		cmocka_unit_test(options_are_fresh_each_time),
		cmocka_unit_test(an_empty_disk_and_a_clean_volume_are_not_live),
		cmocka_unit_test(a_beating_slot_is_refused_and_named),
		cmocka_unit_test(a_slot_that_stands_still_for_its_dead_time_is_dead),
		cmocka_unit_test(the_liveness_lock_decides_at_once),
		cmocka_unit_test(a_later_extent_is_refused),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
