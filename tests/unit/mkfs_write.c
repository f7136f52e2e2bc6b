/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How mkfs writes: the order of its writes, what it destroys, and hosts that are alive.
 * That it writes the right bytes is shown by mkfs_sample.c and by the readers.
 */
#include <errno.h>
#include <isa-l/crc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "vmfs/live.h"
#include "mkfs/write.h"
#include "tests/lib/collect.h"
#include "vmfs/heartbeat.h"
#include "vmfs/lvm.h"

#define SECTOR VMFS_SECTOR_SIZE

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

static uint32_t magic_at(struct bdev *bd, uint64_t off)
{
	uint8_t sector[SECTOR];
	le32 magic;
	assert_int_equal(bdev_read(bd, sector, SECTOR, off), 0);
	memcpy(&magic, sector, sizeof(magic));
	return le32_get(magic);
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

static int make_on(struct bdev *const *devices, unsigned int count, struct reporter *r)
{
	struct mkfs_device sizes[3];
	struct mkfs_part later[2];
	struct mkfs_layout layout;
	struct mkfs_options options;

	for (unsigned int i = 0; i < count; i++)
		sizes[i] = (struct mkfs_device){ "disk", devices[i]->size };
	for (unsigned int i = 1; i < count; i++)
		mkfs_part_init(&later[i - 1], devices[i]);
	assert_int_equal(mkfs_layout_devices(5, sizes, count, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, devices[0]);
	options.later = later;
	return mkfs_write_devices(devices, &layout, &options, r);
}

static bool is_volume(struct bdev **devices, unsigned int count)
{
	struct collect told;
	struct lvm lvm;
	int err = lvm_open(devices, count, collect_init(&told), &lvm);

	collect_done(&told);
	return !err;
}

/* The same of three extents; the first is too small for all of the metadata. */
static void interrupted_leaves_no_volume_of_several(void **state)
{
	(void)state;
	struct bdev *disks[] = { disk_new(MKFS_SIZE_MIN), disk_new(1ull << 30),
				 disk_new(200ull << 30) };
	struct bdev *backwards[] = { disks[2], disks[1], disks[0] };
	unsigned int n = 0, states = 0;
	int err = -EIO;

	for (; err; n++) {
		for (unsigned int d = 0; d < 3; d++) {
			struct collect told;
			struct cutting c = { .bd = *disks[d],
					     .below = disks[d],
					     .fail_at = n };
			struct bdev *through[] = { disks[0], disks[1], disks[2] };

			c.bd.ops = &cutting_ops;
			through[d] = &c.bd;
			assert_int_equal(make_on(disks, 3, NULL), 0);
			assert_true(is_volume(backwards, 3));
			err = make_on(through, 3, collect_init(&told));
			assert_int_equal(is_volume(backwards, 3),
					 !err || (n == 0 && d == 0));
			assert_false(is_volume(disks, 1));
			states += err != 0;
			collect_done(&told);
		}
	}
	assert_true(states > 15);
	for (unsigned int d = 0; d < 3; d++)
		bdev_close(disks[d]);
}

static void old_signatures_are_destroyed(void **state)
{
	(void)state;
	struct bdev *bd = disk_new(2ull << 30);
	uint8_t junk[4096];
	/* Runs of it: a single such byte may stand in a random UUID. */
	static const uint8_t run[8] = { 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5 };
	memset(junk, run[0], sizeof(junk));
	static const uint64_t places[] = { 0,	      0x1000,
					   0x10000,   0x140200,
					   0x1100000, 0x13ff000,
					   0x1520000, (2ull << 30) - sizeof(junk) };
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		assert_int_equal(bdev_write(bd, junk, sizeof(junk), places[i]), 0);
	make_default(bd);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		assert_int_equal(bdev_read(bd, junk, sizeof(junk), places[i]), 0);
		assert_null(memmem(junk, sizeof(junk), run, sizeof(run)));
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
	assert_false(uuid_equal(&a.lv_uuid, &a.first.uuid));
	assert_string_equal(a.first.name, "naa.6001405a000000000000000000000001:1");
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
	assert_int_equal(vmfs_check_not_live(&bd, 1, NULL), 0);
	make_default(bd);
	assert_int_equal(vmfs_check_not_live(&bd, 1, NULL), 0);
	bdev_close(bd);
	bd = disk_new(4096);
	assert_int_equal(vmfs_check_not_live(&bd, 1, NULL), 0);
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
	assert_int_equal(vmfs_check_not_live(&bd, 1, r), -EBUSY);
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
	assert_int_equal(vmfs_check_not_live(&bd, 1, NULL), 0);
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
	uint64_t off = heartbeat_liveness_off(3);
	assert_int_equal(bdev_liveness(host, off, true), 0);
	assert_int_equal(vmfs_check_not_live(&bd, 1, r), -EBUSY);
	assert_true(collect_has(&told, "host esx7.example"));
	bdev_close(host);
	assert_int_equal(vmfs_check_not_live(&bd, 1, r), 0);
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
	assert_int_equal(vmfs_check_not_live(&bd, 1, r), -EBUSY);
	assert_true(collect_has(&told, "later extent"));
	collect_done(&told);
	bdev_close(bd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(interrupted_leaves_no_volume),
		cmocka_unit_test(interrupted_leaves_no_volume_of_several),
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
