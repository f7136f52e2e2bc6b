/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A long read is several commands at once, and still one I/O: it ends once, after all of
 * them, with all of its bytes or with one error.
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

#include "base/align.h"
#include "base/env.h"
#include "iscsi/lun_impl.h"
#include "iscsi/open.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/own_target.h"

#define BLOCK 512u
#define MIB (1u << 20)
#define LEN (MIB + BLOCK) /* five parts, one of them short */
#define AT (3ull * MIB - BLOCK)
#define ALL (5u * MIB)
#define ONE "-p 0:1 -l 1=FILE"
#define TWO "-p 0:1 -p 0:1 -l 1=FILE"

struct lab {
	struct own_target *t;
	struct bdev *bd;
	struct collect told;
	uint8_t *bytes, *now; /* ALL of each */
};

/* keys end with a number: that of the second portal's port, or any. */
static void lab_open(struct lab *lab, const char *options, const char *keys)
{
	char more[160];

	lab->t = own_start(options);
	(void)snprintf(more, sizeof(more), "%s%u", keys,
		       strstr(keys, "portal=") ? own_port(lab->t, 1) : 0u);
	if (device_open(own_url(lab->t, 1, more), 0, NULL, collect_init(&lab->told),
			&lab->bd))
		fail_msg("%s", collect_text(&lab->told));
	lab->bytes = malloc(ALL);
	lab->now = malloc(ALL);
	fill_bytes(lab->bytes, ALL, 3);
	assert_int_equal(bdev_write(lab->bd, lab->bytes, ALL, AT), 0);
}

static void lab_close(struct lab *lab)
{
	bdev_close(lab->bd);
	assert_int_equal(own_stat(lab->t, "violations"), 0);
	own_free(lab->t);
	collect_done(&lab->told);
	free(lab->bytes);
	free(lab->now);
}

static void expect_bytes(struct lab *lab, uint32_t len)
{
	memset(lab->now, 0, len);
	assert_int_equal(bdev_read(lab->bd, lab->now, len, AT), 0);
	assert_memory_equal(lab->now, lab->bytes, len);
}

/* How many READ(16) it takes. */
static uint64_t commands_of(struct lab *lab, uint32_t len)
{
	uint64_t before = own_stat(lab->t, "executed-88");

	expect_bytes(lab, len);
	return own_stat(lab->t, "executed-88") - before;
}

static void a_long_read_is_several_commands(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, ONE, "?noop_interval=6");
	assert_int_equal(commands_of(&lab, BLOCK), 1);
	assert_int_equal(commands_of(&lab, READ_PART), 1);
	assert_int_equal(commands_of(&lab, READ_PART + BLOCK), 2);
	assert_int_equal(commands_of(&lab, LEN), 5);
	assert_int_equal(commands_of(&lab, READ_PARTS * READ_PART), READ_PARTS);
	own_do(lab.t, "stats-reset");
	own_do(lab.t, "delay 88 500 5"); /* none is answered before the last has come */
	expect_bytes(&lab, LEN);
	assert_int_equal(own_stat(lab.t, "max_busy"), 5);
	lab_close(&lab);
}

/* In pieces of memory that do not fit the parts. */
static void its_bytes_land_in_the_callers_pieces(void **state)
{
	static const size_t lens[] = { 100, READ_PART, 7, READ_PART - 107,
				       MIB / 2 + BLOCK };
	struct iovec iov[ARRAY_SIZE(lens)];
	struct lab lab;
	uint32_t at = 0;
	(void)state;

	lab_open(&lab, ONE, "?noop_interval=6");
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		iov[i] = (struct iovec){ lab.now + at + i * 64, lens[i] };
		at += (uint32_t)lens[i];
	}
	memset(lab.now, 0xee, ALL);
	struct bdev_io io = { .op = BDEV_READ,
			      .offset = AT,
			      .len = at,
			      .iov = iov,
			      .iovcnt = ARRAY_SIZE(lens) };
	assert_int_equal(bdev_run(lab.bd, &io), 0);
	at = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		assert_memory_equal(iov[i].iov_base, lab.bytes + at, lens[i]);
		assert_int_equal(((uint8_t *)iov[i].iov_base)[lens[i]], 0xee);
		at += (uint32_t)lens[i];
	}
	lab_close(&lab);
}

static void a_part_that_fails_fails_the_read(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, ONE, "?noop_interval=6");
	own_do(lab.t, "medium-error 1 %llu 1", AT / BLOCK + 3 * READ_PART / BLOCK);
	assert_int_equal(bdev_read(lab.bd, lab.now, LEN, AT), -EIO);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 1);
	own_do(lab.t, "medium-error 1 0 0");
	expect_bytes(&lab, LEN);
	lab_close(&lab);
}

/* Answers that are lost, late, in another order; connections that are: not noticed. */
static void trouble_of_a_part_is_not_noticed(void **state)
{
	static const char *const faults[] = {
		"drop-response 88 1", "swallow-request 88 2",	 "delay 88 150 2",
		"reset-after 88 1",   "reset-before 88 1",	 "status 88 8 3",
		"status 88 28 2",     "status 88 2 b/47/03 1", "status 88 2 6/29/00 1",
	};
	struct lab lab;
	(void)state;

	lab_open(&lab, ONE, "?command_timeout=300ms&abort_timeout=5");
	for (unsigned int i = 0; i < ARRAY_SIZE(faults); i++) {
		own_do(lab.t, "%s", faults[i]);
		expect_bytes(&lab, LEN);
		own_do(lab.t, "clear");
	}
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close(&lab);
}

static void without_answers_it_ends_by_its_deadline(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, ONE, "?noop_interval=6");
	own_do(lab.t, "swallow-request 88 2");
	assert_int_equal(bdev_rw(lab.bd, BDEV_READ, 0, lab.now, LEN, AT,
				 clock_now() + 300 * NS_PER_MS),
			 -ETIMEDOUT);
	expect_bytes(&lab, LEN);
	lab_close(&lab);
}

/* What one path does not take of it goes another way, as a whole. */
static void a_part_that_is_given_back_goes_another_way(void **state)
{
	static const char *const faults[] = { "status 88 2 2/04/0b 1",
					      "reset-before 88 1",
					      "status 88 2 5/25/00 1" };
	struct lab lab;
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(faults); i++) {
		lab_open(&lab, TWO,
			 "?policy=rr&iops=1&noop_interval=60&noop_timeout=60&"
			 "portal=127.0.0.1:");
		own_do(lab.t, "%s", faults[i]);
		for (unsigned int n = 0; n < 4; n++)
			expect_bytes(&lab, LEN);
		assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
		lab_close(&lab);
	}
}

static void a_medium_error_of_a_part_is_an_answer(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, TWO, "?policy=mru&portal=127.0.0.1:");
	own_do(lab.t, "medium-error 1 %llu 1", AT / BLOCK + READ_PART / BLOCK);
	own_do(lab.t, "status 88 2 2/04/0b 1");
	assert_int_equal(bdev_read(lab.bd, lab.now, LEN, AT), -EIO);
	own_do(lab.t, "clear");
	own_do(lab.t, "medium-error 1 0 0");
	expect_bytes(&lab, LEN);
	lab_close(&lab);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_read_is_several_commands),
		cmocka_unit_test(its_bytes_land_in_the_callers_pieces),
		cmocka_unit_test(a_part_that_fails_fails_the_read),
		cmocka_unit_test(trouble_of_a_part_is_not_noticed),
		cmocka_unit_test(without_answers_it_ends_by_its_deadline),
		cmocka_unit_test(a_part_that_is_given_back_goes_another_way),
		cmocka_unit_test(a_medium_error_of_a_part_is_an_answer),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
