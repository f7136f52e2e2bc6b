/* SPDX-License-Identifier: Apache-2.0 */
/* Copies within a volume that its storage makes: what is copied, what is not, faults. */
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
#include "vmfs/volume.h"

#define MIB (1024ull * 1024)
#define SIZE (12 * MIB)

struct fixture {
	struct testvol tv;
	struct copywatch watch;
	struct vmfs_file *from, *to;
	uint8_t *data, *now;
};

static struct vmfs_file *open_file(struct fixture *f, const char *path, uint32_t flags)
{
	const struct vmfs_file_options how = { .flags = flags, .mode = 0644 };
	struct vmfs_file *file;

	assert_int_equal(vmfs_file_open(f->tv.vol, path, &how, &file, NULL), 0);
	return file;
}

/* "/from" of SIZE bytes of chance, 5 to 7 MiB of it a hole; "/to", empty. */
static struct fixture *set_up(bool has_cache)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct bdev *bd;

	assert_int_equal(bdev_mem_new(8ull << 28, 512, NULL, &bd), 0);
	testvol_format(&f->tv, bd);
	copywatch_start(&f->watch, bd);
	bd->has_write_cache = has_cache;
	testvol_mount(&f->tv, false);
	f->data = malloc(SIZE);
	f->now = malloc(SIZE);
	fill_bytes(f->data, SIZE, 9);
	memset(f->data + 5 * MIB, 0, 2 * MIB);
	struct vmfs_file *file = open_file(f, "/from", VMFS_CREATE | VMFS_WRITE);
	assert_int_equal(vmfs_file_write(file, f->data, SIZE, 0), 0);
	assert_int_equal(vmfs_file_punch(file, 5 * MIB, 2 * MIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	f->from = open_file(f, "/from", VMFS_READ_LOCKED);
	f->to = open_file(f, "/to", VMFS_CREATE | VMFS_WRITE);
	return f;
}

static void close_files(struct fixture *f)
{
	assert_int_equal(vmfs_file_close(f->from), 0);
	assert_int_equal(vmfs_file_close(f->to), 0);
	f->from = f->to = NULL;
}

static void tear_down(struct fixture *f)
{
	close_files(f);
	testvol_unmount(&f->tv);
	testvol_check(&f->tv);
	testvol_free(&f->tv);
	free(f->data);
	free(f->now);
	free(f);
}

static int64_t clone(struct fixture *f, uint64_t to, uint64_t from, uint64_t len)
{
	return vmfs_file_clone(f->to, to, f->from, from, len);
}

/* "/to" from `at` on is what "/from" has from `from` on. */
static void expect_clone(struct fixture *f, uint64_t at, uint64_t from, uint64_t len)
{
	assert_int_equal(vmfs_file_read(f->to, f->now, len, at), len);
	assert_memory_equal(f->now, f->data + from, len);
}

/* Into nothing, into blocks to be zeroed, over data; and after a mount it is there. */
static void whatever_stands_there_is_written(void **state)
{
	struct fixture *f = set_up(false);
	uint8_t byte = 'x';
	(void)state;

	assert_int_equal(vmfs_file_truncate(f->to, 3 * SIZE), 0);
	assert_int_equal(vmfs_file_allocate(f->to, SIZE, SIZE, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(vmfs_file_allocate(f->to, 2 * SIZE, SIZE, VMFS_ALLOCATE_ZERO),
			 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(clone(f, i * SIZE, 0, SIZE), 5 * MIB);
		assert_int_equal(clone(f, i * SIZE + 5 * MIB, 5 * MIB, SIZE), 0);
		assert_int_equal(clone(f, i * SIZE + 7 * MIB, 7 * MIB, SIZE), 5 * MIB);
		expect_clone(f, i * SIZE, 0, SIZE);
	}
	assert_int_equal(f->watch.copied, 30 * MIB);
	/* Its own bytes: "/from" stays what it was. */
	assert_int_equal(vmfs_file_write(f->to, &byte, 1, 0), 0);
	assert_int_equal(vmfs_file_read(f->from, f->now, SIZE, 0), SIZE);
	assert_memory_equal(f->now, f->data, SIZE);
	close_files(f);
	testvol_unmount(&f->tv);
	testvol_mount(&f->tv, false);
	f->from = open_file(f, "/from", VMFS_READ_LOCKED);
	f->to = open_file(f, "/to", VMFS_WRITE);
	f->data[0] = 'x';
	expect_clone(f, 0, 0, SIZE);
	assert_int_equal(vmfs_file_read(f->to, f->now, SIZE, SIZE), SIZE);
	assert_memory_equal(f->now + 1, f->data + 1, SIZE - 1);
	tear_down(f);
}

/* Sectors over data; the file grows; a small one becomes one of blocks. */
static void sectors_are_enough_where_there_is_data(void **state)
{
	struct fixture *f = set_up(false);
	(void)state;

	assert_int_equal(vmfs_file_write(f->to, "small", 5, 0), 0);
	assert_int_equal(clone(f, 0, 3 * MIB, MIB), MIB);
	assert_int_equal(clone(f, 512, 1024, 3 * 512), 3 * 512);
	expect_clone(f, 512, 1024, 3 * 512);
	expect_clone(f, 4 * 512, 3 * MIB + 4 * 512, MIB - 4 * 512);
	/* To its end, and over it. */
	assert_int_equal(clone(f, MIB, SIZE - MIB, 3 * MIB), MIB);
	struct vmfs_stat st;
	assert_int_equal(vmfs_file_stat(f->to, &st), 0);
	assert_int_equal(st.size_bytes, 2 * MIB);
	expect_clone(f, MIB, SIZE - MIB, MIB);
	tear_down(f);
}

/* Nothing is harmed, and the caller copies. */
static void what_cannot_be_cloned_is_left(void **state)
{
	struct fixture *f = set_up(false);
	(void)state;

	assert_int_equal(vmfs_file_truncate(f->to, SIZE), 0);
	assert_int_equal(clone(f, 0, 5 * MIB, MIB), 0);	   /* a hole */
	assert_int_equal(clone(f, 0, 1, MIB), 0);	   /* no sector */
	assert_int_equal(clone(f, 1, 0, MIB), 0);
	assert_int_equal(clone(f, 0, 0, 511), 0);
	assert_int_equal(clone(f, 512, 0, MIB - 512), 0);  /* part of no block of data */
	assert_int_equal(clone(f, 0, SIZE, MIB), 0);	   /* behind the end */
	assert_int_equal(clone(f, SIZE + MIB, 0, MIB), 0); /* a gap */
	assert_int_equal(vmfs_file_clone(f->from, 0, f->to, 0, MIB), -EBADF);
	assert_int_equal(vmfs_file_write(f->to, f->data, 2 * MIB, 0), 0);
	assert_int_equal(vmfs_file_clone(f->to, MIB / 2, f->to, 0, MIB), 0);
	assert_int_equal(vmfs_file_clone(f->to, 0, f->to, MIB / 2, MIB), 0);
	assert_int_equal(f->watch.copies, 0);
	assert_int_equal(vmfs_file_clone(f->to, 4 * MIB, f->to, MIB, MIB), MIB);
	expect_clone(f, 4 * MIB, MIB, MIB);
	/* Without a lock on it nobody knows where it lies in a moment. */
	assert_int_equal(vmfs_file_close(f->from), 0);
	f->from = open_file(f, "/from", VMFS_READ);
	assert_int_equal(clone(f, 0, 0, MIB), 0);
	expect_clone(f, 0, 0, 2 * MIB);
	tear_down(f);
}

/* Refused, or of unknown fate: not sent again, and not seen in what reads as zeros. */
static void a_copy_that_fails_is_left_to_the_caller(void **state)
{
	static const int fails[] = { -EOPNOTSUPP, -ETIMEDOUT, -EBUSY };
	static const uint8_t zeros[MIB];
	struct fixture *f = set_up(false);
	(void)state;

	assert_int_equal(vmfs_file_truncate(f->to, SIZE), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(fails); i++) {
		f->watch.copies = 0;
		f->watch.fails[0] = fails[i];
		assert_int_equal(clone(f, i * MIB, 0, MIB), 0);
		assert_int_equal(f->watch.copies, 1);
		assert_int_equal(vmfs_file_read(f->to, f->now, MIB, i * MIB), MIB);
		assert_memory_equal(f->now, zeros, MIB);
	}
	/* In the middle: what was copied counts, what was not does not. */
	assert_int_equal(vmfs_file_close(f->from), 0);
	f->from = open_file(f, "/from", VMFS_WRITE);
	f->watch.fails[1] = -ETIMEDOUT;
	f->watch.copies = 0;
	int64_t done = clone(f, 0, 0, 2 * MIB);
	assert_true(done > 0 && done <= (int64_t)(2 * MIB));
	expect_clone(f, 0, 0, (uint64_t)done);
	f->watch.fails[0] = f->watch.fails[1] = 0;
	tear_down(f);
}

/* Nobody has its bytes: behind a cache it is flushed, and made again if that is lost. */
static void a_cache_that_is_lost_costs_no_clone(void **state)
{
	struct fixture *f = set_up(true);
	(void)state;

	assert_int_equal(vmfs_file_truncate(f->to, SIZE), 0);
	assert_int_equal(vmfs_file_sync(f->to), 0);
	unsigned int flushes = f->watch.flushes;
	assert_int_equal(clone(f, 0, 0, MIB), MIB);
	assert_true(f->watch.flushes > flushes);
	f->watch.copies = 0;
	f->watch.loses = true;
	assert_int_equal(clone(f, MIB, MIB, MIB), MIB);
	assert_int_equal(f->watch.copies, 2);
	expect_clone(f, 0, 0, 2 * MIB);
	tear_down(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_stands_there_is_written),
		cmocka_unit_test(sectors_are_enough_where_there_is_data),
		cmocka_unit_test(what_cannot_be_cloned_is_left),
		cmocka_unit_test(a_copy_that_fails_is_left_to_the_caller),
		cmocka_unit_test(a_cache_that_is_lost_costs_no_clone),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
