/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk over flat extents as a device. The extents are windows of memory devices here,
 * with a layer that counts holds and answers -EAGAIN for some sectors; what files on a
 * volume do is shown in vdisk_disk.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "vdisk/extent.h"

#define SECTORS 96u /* of the disk */

/* ---- an extent's device: a window that is not always mapped ---- */

struct shy {
	struct bdev bd;
	struct bdev *range;
	atomic_int holds;
	atomic_uint flushes, unmaps, writes_blocking;
	bool is_shy; /* every third 4 KiB says -EAGAIN */
	int answer;  /* of map(), if not 0 */
};

static int shy_map(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *e)
{
	struct shy *shy = (struct shy *)bd;
	if (shy->answer)
		return shy->answer;
	if (io->op == BDEV_FLUSH || io->op == BDEV_UNMAP ||
	    (shy->is_shy && io->offset / 4096 % 3 == 0))
		return -EAGAIN;
	int rc = shy->range->ops->map(shy->range, io, e);
	e->len = min_u64(e->len, 4096 - io->offset % 4096);
	e->hold = shy;
	shy->holds++;
	return rc;
}

static void shy_unmap(struct bdev *bd, struct bdev_extent *e)
{
	struct shy *shy = (struct shy *)bd;
	assert_ptr_equal(e->hold, shy);
	shy->holds--;
}

static int shy_rw(struct bdev *bd, struct bdev_io *io)
{
	struct shy *shy = (struct shy *)bd;
	shy->flushes += io->op == BDEV_FLUSH;
	shy->unmaps += io->op == BDEV_UNMAP;
	shy->writes_blocking += io->op == BDEV_WRITE;
	if (io->op == BDEV_UNMAP)
		return bdev_zero(shy->range, io->len, io->offset);
	struct bdev_io inner = *io;
	return bdev_run(shy->range, &inner);
}

static void shy_close(struct bdev *bd)
{
	bdev_close(((struct shy *)bd)->range);
}

static const struct bdev_ops shy_ops = {
	.map = shy_map, .unmap = shy_unmap, .rw = shy_rw, .close = shy_close
};

/* ---- a disk of count extents, the first with an offset in its file ---- */

struct rig {
	struct vdisk disk;
	struct vdisk_extent extent[3];
	struct shy shy[3];
	struct worker_pool *pool;
};

static void rig_init(struct rig *rig, unsigned int count, enum vdisk_format format)
{
	uint64_t start = 0;
	memset(rig, 0, sizeof(*rig));
	for (unsigned int i = 0; i < count; i++) {
		struct shy *shy = &rig->shy[i];
		struct bdev *mem;
		uint64_t len = SECTORS / count * VDISK_SECTOR;
		uint64_t before = i == 0 ? 7 * VDISK_SECTOR : 0;
		assert_int_equal(bdev_mem_new(1 << 20, 512, NULL, &mem), 0);
		assert_int_equal(bdev_range_new(mem, 0, 1 << 20, &shy->range), 0);
		shy->bd = *shy->range;
		shy->bd.ops = &shy_ops;
		shy->bd.has_write_cache = i == 1;
		rig->extent[i] =
			(struct vdisk_extent){ .start = start,
					       .len = len,
					       .file_offset = before,
					       .ops = &extent_flat_ops,
					       .file = { .bd = &shy->bd },
					       .disk = &rig->disk };
		start += len;
	}
	rig->disk.extent = rig->extent;
	rig->disk.extent_count = count;
	rig->disk.format = format;
	vdisk_engine_init(&rig->disk, "/d.vmdk", false, NULL);
	rig->pool = worker_pool_new("test", 2);
	assert_non_null(rig->pool);
	bdev_set_pool(&rig->disk.bdev, rig->pool);
}

static void rig_done(struct rig *rig)
{
	worker_pool_free(rig->pool);
	for (unsigned int i = 0; i < rig->disk.extent_count; i++) {
		assert_int_equal(rig->shy[i].holds, 0);
		bdev_close(&rig->shy[i].bd);
	}
}

static void the_disk_is_as_large_as_its_extents_say(void **state)
{
	(void)state;
	struct rig rig;
	rig_init(&rig, 3, VDISK_ZEROEDTHICK);
	struct bdev *bd = &rig.disk.bdev;
	char buf[1024] = { 0 };
	assert_int_equal(rig.disk.bdev.size, SECTORS * VDISK_SECTOR);
	assert_int_equal(bd->block_size, 512);
	assert_true(bd->has_write_cache);
	assert_int_equal(bdev_write(bd, buf, 1024, bd->size - 512), -EINVAL);
	assert_int_equal(bdev_write(bd, buf, 512, bd->size), -EINVAL);
	assert_int_equal(bdev_read(bd, buf, 0, bd->size), 0);
	assert_int_equal(batch_one(bd, BDEV_WRITE, 0, buf, 1024, bd->size - 512),
			 -EINVAL);
	assert_int_equal(batch_one(bd, BDEV_CAW, 0, buf, 1024, 0), -EOPNOTSUPP);
	rig_done(&rig);
}

static void an_extent_can_begin_inside_its_file(void **state)
{
	(void)state;
	struct rig rig;
	char buf[512], got[512];
	rig_init(&rig, 1, VDISK_EAGERZEROEDTHICK);
	fill_bytes(buf, sizeof(buf), 1);
	assert_int_equal(bdev_write(&rig.disk.bdev, buf, 512, 512), 0);
	assert_int_equal(bdev_read(rig.shy[0].range, got, 512, 8 * 512), 0);
	assert_memory_equal(buf, got, 512);
	rig_done(&rig);
}

/* Random writes, zeros, unmaps and reads to the disk and to memory: always the same. */
static void scribble(unsigned int count, bool is_shy)
{
	struct rig rig;
	char *model = calloc(SECTORS, VDISK_SECTOR);
	char *buf = io_alloc(SECTORS * VDISK_SECTOR);
	uint64_t seed = random_u64();
	uint64_t n = seed;
	rig_init(&rig, count, VDISK_THIN);
	for (unsigned int i = 0; i < count; i++)
		rig.shy[i].is_shy = is_shy;
	struct bdev *bd = &rig.disk.bdev;
	for (unsigned int round = 0; round < 1500; round++) {
		n = n * 6364136223846793005u + 1442695040888963407u;
		uint64_t first = (n >> 40) % SECTORS;
		uint64_t len = ((n >> 20) % (SECTORS - first) + 1) * VDISK_SECTOR;
		uint64_t at = first * VDISK_SECTOR;
		unsigned int op = (n >> 16) % 5;
		int rc = 0;
		if (op < 2) {
			fill_bytes(buf, len, (uint32_t)n);
			memcpy(model + at, buf, len);
			rc = op ? bdev_write(bd, buf, len, at) :
				  batch_one(bd, BDEV_WRITE, 0, buf, len, at);
		} else if (op == 2) {
			memset(model + at, 0, len);
			rc = bdev_unmap(bd, len, at);
		} else if (op == 3) {
			memset(model + at, 0, len);
			rc = bdev_zero(bd, len, at);
		}
		assert_int_equal(rc, 0);
		assert_int_equal(batch_one(bd, BDEV_READ, 0, buf, bd->size, 0), 0);
		if (memcmp(buf, model, bd->size) != 0)
			print_message("seed %llu, round %u\n", (unsigned long long)seed,
				      round);
		assert_memory_equal(buf, model, bd->size);
	}
	rig_done(&rig);
	free(buf);
	free(model);
}

static void random_io_on_one_extent_equals_memory(void **state)
{
	(void)state;
	scribble(1, false);
	scribble(1, true);
}

static void random_io_on_three_extents_equals_memory(void **state)
{
	(void)state;
	scribble(3, false);
	scribble(3, true);
}

static void a_flush_reaches_every_extent(void **state)
{
	(void)state;
	struct rig rig;
	rig_init(&rig, 3, VDISK_THIN);
	assert_int_equal(batch_one(&rig.disk.bdev, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(rig.shy[i].flushes, 1);
	rig_done(&rig);
}

/* A thick disk keeps its blocks: UNMAP succeeds, and nothing changes. */
static void unmap_gives_back_blocks_of_thin_disks_only(void **state)
{
	(void)state;
	struct rig rig;
	char buf[1024], got[1024];
	fill_bytes(buf, sizeof(buf), 3);
	rig_init(&rig, 1, VDISK_ZEROEDTHICK);
	struct bdev *bd = &rig.disk.bdev;
	assert_false(bd->has_unmap);
	assert_int_equal(bdev_write(bd, buf, 1024, 0), 0);
	assert_int_equal(batch_one(bd, BDEV_UNMAP, 0, NULL, 1024, 0), 0);
	assert_int_equal(bdev_unmap(bd, 1024, 0), 0);
	assert_int_equal(bdev_read(bd, got, 1024, 0), 0);
	assert_memory_equal(buf, got, 1024);
	assert_int_equal(rig.shy[0].unmaps, 0);
	rig_done(&rig);
	rig_init(&rig, 1, VDISK_THIN);
	assert_true(rig.disk.bdev.has_unmap);
	assert_int_equal(batch_one(&rig.disk.bdev, BDEV_UNMAP, 0, NULL, 1024, 0), 0);
	assert_int_equal(rig.shy[0].unmaps, 1);
	rig_done(&rig);
}

/* A lost volume answers -ESTALE to map(); nothing may be written past that. */
static void a_lost_extent_fails_the_io(void **state)
{
	(void)state;
	struct rig rig;
	uint64_t len = SECTORS * VDISK_SECTOR;
	char *buf = io_alloc(len);
	rig_init(&rig, 3, VDISK_THIN);
	rig.shy[1].answer = -ESTALE;
	struct bdev *bd = &rig.disk.bdev;
	assert_int_equal(batch_one(bd, BDEV_WRITE, 0, buf, len, 0), -ESTALE);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(rig.shy[i].writes_blocking, 0);
	assert_int_equal(batch_one(bd, BDEV_WRITE, 0, buf, 512, 0), 0);
	rig_done(&rig);
	free(buf);
}

static void a_read_only_disk_is_not_written(void **state)
{
	(void)state;
	struct rig rig;
	char buf[512] = { 0 };
	rig_init(&rig, 1, VDISK_THIN);
	rig.disk.bdev = (struct bdev){ 0 };
	vdisk_engine_init(&rig.disk, "/d.vmdk", true, NULL);
	assert_int_equal(bdev_write(&rig.disk.bdev, buf, 512, 0), -EROFS);
	assert_int_equal(bdev_read(&rig.disk.bdev, buf, 512, 0), 0);
	rig_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_disk_is_as_large_as_its_extents_say),
		cmocka_unit_test(an_extent_can_begin_inside_its_file),
		cmocka_unit_test(random_io_on_one_extent_equals_memory),
		cmocka_unit_test(random_io_on_three_extents_equals_memory),
		cmocka_unit_test(a_flush_reaches_every_extent),
		cmocka_unit_test(unmap_gives_back_blocks_of_thin_disks_only),
		cmocka_unit_test(a_lost_extent_fails_the_io),
		cmocka_unit_test(a_read_only_disk_is_not_written),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
