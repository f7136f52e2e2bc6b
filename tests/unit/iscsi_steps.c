/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of the error ladder, a logout that the target asks for, Time2Wait and the
 * depth of the queue, against the scripted target (tests/target/main.c). The session's
 * side of it, moment by moment, is tests/unit/iscsi_ladder.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "iscsi/open.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/own_target.h"

#define BLOCK 4096u
#define COUNT 64u

struct lab {
	struct own_target *t;
	struct bdev *bd;
	struct collect told;
	struct batch batch;
	struct batch_io bio[COUNT];
	uint8_t data[COUNT][BLOCK], now[BLOCK];
};

static struct lab lab;

static void lab_open(const char *more)
{
	memset(&lab, 0, sizeof(lab));
	for (uint32_t i = 0; i < COUNT; i++)
		fill_bytes(lab.data[i], BLOCK, i + 1);
	lab.t = own_start("-p 0:1 -l 1=FILE");
	assert_int_equal(device_open(own_url(lab.t, 1, more), 0, NULL,
				     collect_init(&lab.told), &lab.bd),
			 0);
	own_do(lab.t, "stats-reset");
}

static void lab_close(void)
{
	bdev_close(lab.bd);
	assert_int_equal(own_stat(lab.t, "violations"), 0);
	own_free(lab.t);
	collect_done(&lab.told);
}

static void start(enum bdev_op op, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		lab.bio[i] = (struct batch_io){ .iov = { lab.data[i], BLOCK } };
		lab.bio[i].io.op = op;
		lab.bio[i].io.offset = i * BLOCK;
		lab.bio[i].io.len = BLOCK;
	}
	batch_start(&lab.batch, lab.bd, lab.bio, count);
}

static void expect_written(uint32_t count)
{
	batch_wait(&lab.batch);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(lab.bio[i].io.result, 0);
		assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, i * BLOCK), 0);
		assert_memory_equal(lab.now, lab.data[i], BLOCK);
	}
}

/*
 * Writes that the target sits on, and ABORT TASK refused: the LUN is reset, what it sat
 * on is gone, and they are sent again on the same session. Without lun_reset it is the
 * session that ends.
 */
static void a_reset_is_the_last_step_but_one(void **state)
{
	(void)state;

	for (int has_reset = 0; has_reset < 2; has_reset++) {
		lab_open(has_reset ? "?command_timeout=200ms&lun_reset=yes"
				   : "?command_timeout=200ms");
		own_do(lab.t, "delay 8a 3600000 4");
		own_do(lab.t, "tmf 1 ff always");
		start(BDEV_WRITE, 4);
		expect_written(4);
		assert_int_equal(own_stat(lab.t, "held"), 0);
		assert_int_equal(own_stat(lab.t, "lun_resets") > 0, has_reset);
		assert_int_equal(own_stat(lab.t, "logins") > 0, !has_reset);
		assert_int_equal(collect_has(&lab.told, "the LUN is reset"), has_reset);
		lab_close();
	}
}

/* Under way when the target asks for a logout: it is answered, once, and then we go. */
static void what_is_under_way_ends_before_the_logout(void **state)
{
	(void)state;

	lab_open("");
	own_do(lab.t, "delay-response 88 500");
	start(BDEV_READ, 1);
	own_wait(lab.t, "executed-88", 1);
	own_do(lab.t, "async 1 0 0 60");
	batch_wait(&lab.batch);
	assert_int_equal(lab.bio[0].io.result, 0);
	assert_int_equal(own_stat(lab.t, "executed-88"), 1);
	own_wait(lab.t, "logouts", 1);
	assert_int_equal(bdev_write(lab.bd, lab.data[0], BLOCK, 0), 0);
	assert_int_equal(own_stat(lab.t, "logins"), 1);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close();
}

/* The target ends the session and wants one second: the next login comes after it. */
static void time_to_wait_is_kept(void **state)
{
	(void)state;

	lab_open("");
	uint64_t from = clock_now();
	own_do(lab.t, "async 3 0 1 20");
	own_wait(lab.t, "logins", 1);
	assert_true(clock_now() - from >= NS_PER_S);
	assert_int_equal(bdev_write(lab.bd, lab.data[0], BLOCK, 0), 0);
	lab_close();
}

/* The target counts how many it has at once. */
static void no_more_go_than_the_queue_is_deep(void **state)
{
	(void)state;

	lab_open("?queue_depth=5");
	own_do(lab.t, "delay-response 8a 20 8");
	start(BDEV_WRITE, COUNT);
	expect_written(COUNT);
	assert_in_range(own_stat(lab.t, "max_busy"), 1, 5);
	lab_close();
	/* TASK SET FULL again and again: in the end one at a time, and all is written. */
	lab_open("");
	own_do(lab.t, "status 8a 28 150");
	start(BDEV_WRITE, COUNT);
	expect_written(COUNT);
	assert_int_equal(own_stat(lab.t, "executed-8a"), COUNT);
	lab_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reset_is_the_last_step_but_one),
		cmocka_unit_test(what_is_under_way_ends_before_the_logout),
		cmocka_unit_test(time_to_wait_is_kept),
		cmocka_unit_test(no_more_go_than_the_queue_is_deep),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
