/* SPDX-License-Identifier: Apache-2.0 */
/* Disks cloned on a volume whose storage copies by itself. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/lib/batch.h"
#include "tests/lib/copywatch.h"
#include "tests/lib/testvol.h"
#include "vdisk/vdisk.h"

#define MIB (1024ull * 1024)
#define SIZE (20 * MIB + 512) /* its last block is a part of one */
#define THIN VDISK_THIN
#define ZEROED VDISK_ZEROEDTHICK
#define EAGER VDISK_EAGERZEROEDTHICK

struct fixture {
	struct testvol tv;
	struct copywatch watch;
	uint8_t *data, *now;
};

static struct vdisk *open_disk(struct fixture *f, const char *path, uint32_t flags)
{
	const struct vdisk_open_options options = { .flags = flags,
						    .reporter = &f->tv.told.base };
	struct vdisk *disk;

	assert_int_equal(vdisk_open(f->tv.vol, path, &options, &disk, NULL), 0);
	return disk;
}

/* Data but for 5 to 8 MiB, never written, and 10 to 14 MiB, where zeros were. */
static void make_disk(struct fixture *f, const char *path, enum vdisk_format format)
{
	const struct vdisk_create_options options = { .capacity_bytes = SIZE,
						      .format = format,
						      .reporter = &f->tv.told.base };

	assert_int_equal(vdisk_create(f->tv.vol, path, &options), 0);
	struct vdisk *disk = open_disk(f, path, VDISK_WRITE);
	assert_int_equal(bdev_write(vdisk_bdev(disk), f->data, 5 * MIB, 0), 0);
	assert_int_equal(bdev_write(vdisk_bdev(disk), f->data + 8 * MIB, SIZE - 8 * MIB,
				    8 * MIB), 0);
	assert_int_equal(vdisk_close(disk), 0);
}

static struct fixture *set_up(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct bdev *bd;

	assert_int_equal(bdev_mem_new(8ull << 28, 512, NULL, &bd), 0);
	testvol_format(&f->tv, bd);
	copywatch_start(&f->watch, bd);
	testvol_mount(&f->tv, false);
	f->data = malloc(SIZE);
	f->now = malloc(SIZE);
	fill_bytes(f->data, SIZE, 11);
	memset(f->data + 5 * MIB, 0, 3 * MIB);
	memset(f->data + 10 * MIB, 0, 4 * MIB);
	return f;
}

static void tear_down(struct fixture *f)
{
	testvol_unmount(&f->tv);
	testvol_check(&f->tv);
	testvol_free(&f->tv);
	free(f->data);
	free(f->now);
	free(f);
}

/* Bytes that the storage copied for it. What came out is right. */
static uint64_t clone(struct fixture *f, const char *from, enum vdisk_format format,
		      uint32_t flags)
{
	const struct vdisk_create_options options = { .format = format,
						      .reporter = &f->tv.told.base };
	struct vdisk *disk = open_disk(f, from, flags);
	struct vdisk_source *source;

	f->watch.copied = 0;
	assert_int_equal(vdisk_source_open_disk(disk, &source), 0);
	assert_int_equal(vdisk_import(f->tv.vol, "/clone.vmdk", source, &options), 0);
	vdisk_source_close(source);
	assert_int_equal(vdisk_close(disk), 0);
	disk = open_disk(f, "/clone.vmdk", VDISK_READ);
	assert_int_equal(vdisk_type(disk), format);
	assert_int_equal(bdev_read(vdisk_bdev(disk), f->now, SIZE, 0), 0);
	assert_memory_equal(f->now, f->data, SIZE);
	assert_int_equal(vdisk_close(disk), 0);
	return f->watch.copied;
}

static void remove_clone(struct fixture *f)
{
	assert_int_equal(vdisk_remove(f->tv.vol, "/clone.vmdk", &f->tv.told.base, NULL),
			 0);
}

static uint64_t clone_once(struct fixture *f, const char *from, enum vdisk_format format)
{
	uint64_t copied = clone(f, from, format, VDISK_READ_LOCKED);

	remove_clone(f);
	return copied;
}

/* Whole blocks of data, all of them; the rest is as it always was. */
static void the_storage_clones_what_is_data(void **state)
{
	struct fixture *f = set_up();
	(void)state;

	make_disk(f, "/thin.vmdk", THIN);
	make_disk(f, "/zeroed.vmdk", ZEROED);
	make_disk(f, "/eager.vmdk", EAGER);
	assert_int_equal(clone_once(f, "/thin.vmdk", THIN), 17 * MIB);
	assert_int_equal(clone_once(f, "/thin.vmdk", ZEROED), 17 * MIB);
	assert_int_equal(clone_once(f, "/thin.vmdk", EAGER), 17 * MIB);
	assert_int_equal(clone_once(f, "/zeroed.vmdk", ZEROED), 17 * MIB);
	assert_int_equal(clone_once(f, "/eager.vmdk", EAGER), 20 * MIB);
	/* Zeros are looked for: the new disk is smaller. */
	assert_int_equal(clone(f, "/eager.vmdk", THIN, VDISK_READ_LOCKED), 0);
	struct vmfs_stat st;
	assert_int_equal(vmfs_stat(f->tv.vol, "/clone-flat.vmdk", &st), 0);
	assert_true(st.block_count < SIZE / MIB);
	remove_clone(f);
	/* A look without a lock does not know where the bytes lie in a moment. */
	assert_int_equal(clone(f, "/zeroed.vmdk", ZEROED, VDISK_READ), 0);
	tear_down(f);
}

/* At once, or in the middle: read and written from there on, and not asked again. */
static void what_the_storage_does_not_copy_is_read(void **state)
{
	static const int fails[] = { -EOPNOTSUPP, -ETIMEDOUT };
	struct fixture *f = set_up();
	(void)state;

	make_disk(f, "/zeroed.vmdk", ZEROED);
	for (unsigned int i = 0; i < ARRAY_SIZE(fails); i++) {
		f->watch.copies = 0;
		f->watch.fails[0] = fails[i];
		assert_int_equal(clone_once(f, "/zeroed.vmdk", ZEROED), 0);
		assert_int_equal(f->watch.copies, 1);
		f->watch.copies = 0;
		f->watch.fails[1] = fails[i];
		assert_int_equal(clone_once(f, "/zeroed.vmdk", ZEROED), 4 * MIB);
		assert_int_equal(f->watch.copies, 2);
	}
	tear_down(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_storage_clones_what_is_data),
		cmocka_unit_test(what_the_storage_does_not_copy_is_read),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
