/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has changed on a disk is taken once, in pieces, in its order; and what a device of
 * sched.h has let through is in the log when it has ended, and not before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bdev/bdev.h"
#include "vmkernel/sched/log.h"
#include "vmkernel/sched/sched.h"

#define PART ((uint64_t)SCHED_LOG_PART)
#define T(name) cmocka_unit_test(name)

static void changes_are_taken_once_in_order(void **state)
{
	(void)state;
	struct sched_log *log = sched_log_new(200 * PART + 512);
	uint64_t at = 0, len = 0;
	assert_non_null(log);
	assert_false(sched_log_take(log, 1 << 20, &at, &len));
	sched_log_mark(log, 150 * PART + 7, 1);
	sched_log_mark(log, 3 * PART - 1, 2); /* two parts */
	sched_log_mark(log, 3 * PART, 100);
	sched_log_mark(log, 200 * PART, 512);
	sched_log_mark(log, 9000 * PART, 512); /* behind its end: none */
	sched_log_mark(log, 0, 0);
	assert_int_equal(sched_log_bytes(log), 4 * PART);
	at = 0;
	assert_true(sched_log_take(log, 1 << 20, &at, &len));
	assert_int_equal(at, 2 * PART);
	assert_int_equal(len, 2 * PART);
	at += len;
	assert_true(sched_log_take(log, 1 << 20, &at, &len));
	assert_int_equal(at, 150 * PART);
	assert_int_equal(len, PART);
	at += len;
	assert_true(sched_log_take(log, 1 << 20, &at, &len));
	assert_int_equal(at, 200 * PART);
	assert_int_equal(len, 512); /* the disk ends there */
	at += len;
	assert_false(sched_log_take(log, 1 << 20, &at, &len));
	assert_int_equal(sched_log_bytes(log), 0);
	sched_log_free(log);
}

static void pieces_are_not_larger_than_asked_for(void **state)
{
	(void)state;
	struct sched_log *log = sched_log_new(100 * PART);
	uint64_t at = 0, len, sum = 0;
	unsigned int count = 0;
	assert_non_null(log);
	sched_log_mark(log, 10 * PART, 70 * PART);
	for (; sched_log_take(log, 4 * PART, &at, &len); at += len, count++) {
		assert_in_range(len, PART, 4 * PART);
		sum += len;
	}
	assert_int_equal(sum, 70 * PART);
	assert_int_equal(count, 18);
	sched_log_free(log);
}

/* A device that keeps what it gets. */
struct slow {
	struct bdev bd;
	struct bdev_io *io;
};

static void keep(struct bdev *bd, struct bdev_io *io)
{
	((struct slow *)bd)->io = io;
}

static void nothing(struct bdev_io *io)
{
	(void)io;
}

static void change_is_in_the_log_when_it_has_ended(void **state)
{
	(void)state;
	static const struct bdev_ops ops = { .submit = keep };
	static const enum bdev_op all[] = { BDEV_WRITE, BDEV_ZERO, BDEV_UNMAP };
	struct slow below = { .bd = { .ops = &ops,
				     .size = 8 * PART,
				     .block_size = 512,
				     .has_unmap = true,
				     .has_write_zeroes = true } };
	const struct sched_wish wish = { .shares = SCHED_SHARES_NORMAL };
	struct sched *s = sched_new(32);
	struct sched_disk *disk;
	struct sched_log *log = sched_log_new(8 * PART);
	char bytes[512] = "";
	struct iovec iov = { bytes, sizeof(bytes) };
	assert_non_null(s);
	assert_non_null(log);
	assert_int_equal(sched_disk_new(s, &below.bd, &wish, &disk), 0);
	sched_disk_log(disk, log);
	for (unsigned int i = 0; i < 3; i++) {
		struct bdev_io io = { .op = all[i],
				      .offset = 2 * i * PART,
				      .len = 512,
				      .iov = &iov,
				      .iovcnt = 1,
				      .done = nothing };
		uint64_t before = sched_log_bytes(log);
		bdev_submit(sched_disk_bdev(disk), &io);
		assert_non_null(below.io);
		assert_int_equal(sched_log_bytes(log), before);
		bdev_io_complete(below.io, i == 1 ? -5 : 0);
		assert_int_equal(sched_log_bytes(log), before + PART);
	}
	struct bdev_io read = {
		.op = BDEV_READ, .len = 512, .iov = &iov, .iovcnt = 1, .done = nothing
	};
	bdev_submit(sched_disk_bdev(disk), &read);
	bdev_io_complete(below.io, 0);
	assert_int_equal(sched_log_bytes(log), 3 * PART);
	sched_disk_log(disk, NULL);
	struct bdev_io late = { .op = BDEV_WRITE,
				.offset = 7 * PART,
				.len = 512,
				.iov = &iov,
				.iovcnt = 1,
				.done = nothing };
	bdev_submit(sched_disk_bdev(disk), &late);
	bdev_io_complete(below.io, 0);
	assert_int_equal(sched_log_bytes(log), 3 * PART);
	assert_false(sched_log_is_lost(log));
	sched_disk_free(disk);
	sched_free(s);
	sched_log_free(log);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(changes_are_taken_once_in_order),
		T(pieces_are_not_larger_than_asked_for),
		T(change_is_in_the_log_when_it_has_ended),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
