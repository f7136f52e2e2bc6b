/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a LUN makes of the condition that its unit is in: gone, without any path, out of
 * space, another one, busy; against the made-up target on loopback.
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
#include "iscsi/depth.h"
#include "iscsi/open.h"
#include "iscsi/scsi.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/iscsi_target.h"

#define BLOCK TARGET_BLOCK_SIZE
#define NOWHERE "127.0.0.1:1,1"
#define ALWAYS 1000000u

struct lab {
	struct target *t;
	struct bdev *bd;
	struct collect told;
	uint8_t data[BLOCK], now[BLOCK];
};

static void lab_open(struct lab *lab, const char *keys)
{
	char url[256];

	memset(lab, 0, sizeof(*lab));
	fill_bytes(lab->data, BLOCK, 1);
	lab->t = target_new();
	assert_non_null(lab->t);
	(void)snprintf(url, sizeof(url), "%s?%s", target_url(lab->t), keys);
	assert_int_equal(device_open(url, 0, NULL, collect_init(&lab->told), &lab->bd),
			 0);
}

static void lab_close(struct lab *lab)
{
	bdev_close(lab->bd);
	target_free(lab->t);
	collect_done(&lab->told);
}

static int write_one(struct lab *lab)
{
	return bdev_write(lab->bd, lab->data, BLOCK, 7 * BLOCK);
}

static int read_one(struct lab *lab)
{
	return bdev_read(lab->bd, lab->now, BLOCK, 7 * BLOCK);
}

/* Until it can be read again; every answer before that is `error`. */
static void wait_until_back(struct lab *lab, int error)
{
	uint64_t until = clock_now() + 60 * NS_PER_S;
	int got;

	while ((got = read_one(lab)) != 0 && clock_now() < until) {
		assert_int_equal(got, error);
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	}
	assert_int_equal(got, 0);
}

static void sense_on(struct lab *lab, uint8_t opcode, uint32_t sense, unsigned int times)
{
	target_rule_status(lab->t, opcode, SCSI_CHECK_CONDITION, sense, times);
}

/* ---- attentions ---- */

static void each_attention_goes_up_and_the_io_goes_on(void **state)
{
	static const struct {
		uint32_t sense, notices;
		const char *text;
	} cases[] = {
		{ 0x062a01, 0, "2a/01: its mode parameters have changed" },
		{ 0x062a03, 0, "2a/03: reservations were preempted" },
		{ 0x062a04, 0, "2a/04: reservations were released" },
		{ 0x062a05, 0, "2a/05: registrations were preempted" },
		{ 0x062a06, 0, "2a/06: the access states of its paths" },
		{ 0x062a09, BDEV_NOTICE_CAPACITY, "2a/09: its capacity has changed" },
		{ 0x063807, BDEV_NOTICE_SPACE_LOW, "38/07: it runs out of space" },
		{ 0x063f03, BDEV_NOTICE_IDENTITY, "3f/03: its inquiry data" },
		{ 0x063f0e, BDEV_NOTICE_LUNS, "3f/0e: the target has other LUNs" },
		{ 0x065599, 0, "unit attention 55/99" },
	};
	struct lab lab;
	(void)state;

	lab_open(&lab, "");
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		collect_clear(&lab.told);
		uint32_t events = bdev_events(lab.bd);
		sense_on(&lab, i & 1 ? SCSI_READ16 : SCSI_WRITE16, cases[i].sense, 1);
		assert_int_equal(i & 1 ? read_one(&lab) : write_one(&lab), 0);
		assert_true(collect_has(&lab.told, cases[i].text));
		assert_int_equal(bdev_notices(lab.bd), cases[i].notices);
		assert_int_equal(bdev_notices(lab.bd), 0); /* told once */
		assert_int_equal(bdev_events(lab.bd) != events,
				 (cases[i].sense & 0xff00) == 0x2a00);
	}
	/* A reset is no news, but it counts. */
	collect_clear(&lab.told);
	uint32_t events = bdev_events(lab.bd);
	sense_on(&lab, SCSI_READ16, 0x062900, 1);
	assert_int_equal(read_one(&lab), 0);
	assert_int_not_equal(bdev_events(lab.bd), events);
	assert_false(collect_has(&lab.told, "unit attention"));
	lab_close(&lab);
}

/* The block is not written before the unit has said who it is. */
static void a_unit_that_became_another_gets_no_io(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "");
	unsigned int asked = target_seen(lab.t, SCSI_INQUIRY);
	sense_on(&lab, SCSI_WRITE16, 0x063f03, 1);
	assert_int_equal(write_one(&lab), 0);
	assert_int_equal(target_seen(lab.t, SCSI_INQUIRY), asked + 1);
	target_swap_disk(lab.t);
	unsigned int writes = target_seen(lab.t, SCSI_WRITE16);
	sense_on(&lab, SCSI_WRITE16, 0x063f03, 1);
	assert_int_equal(write_one(&lab), -ENODEV);
	assert_int_equal(target_seen(lab.t, SCSI_WRITE16), writes + 1);
	assert_true(collect_has(&lab.told, "another disk answers under this URL now"));
	lab_close(&lab);
}

/* ---- gone ---- */

static void a_unit_that_says_it_is_gone_gets_no_more_io(void **state)
{
	static const struct {
		uint32_t sense;
		const char *text;
	} cases[] = {
		{ 0x052500, "PDL): the target has no such LUN any more (status 02, "
			    "05/25/00)" },
		{ 0x044c00, "PDL): it has failed to configure itself" },
		{ 0x043e01, "PDL): it has failed (status 02, 04/3e/01)" },
		{ 0x043e03, "PDL): it has failed its self-test" },
	};
	struct lab lab;
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		lab_open(&lab, "noop_interval=60");
		unsigned int reads = target_seen(lab.t, SCSI_READ16);
		sense_on(&lab, SCSI_WRITE16, cases[i].sense, 1);
		for (int k = 0; k < 3; k++)
			assert_int_equal(write_one(&lab), -ENODEV);
		assert_int_equal(read_one(&lab), -ENODEV);
		assert_int_equal(target_seen(lab.t, SCSI_WRITE16), 1);
		assert_int_equal(target_seen(lab.t, SCSI_READ16), reads);
		assert_true(collect_has(&lab.told, cases[i].text));
		assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 1);
		lab_close(&lab);
	}
}

static void a_unit_that_is_there_again_is_used_again(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "noop_interval=100ms");
	sense_on(&lab, SCSI_TEST_UNIT_READY, 0x052500, 3);
	sense_on(&lab, SCSI_WRITE16, 0x052500, 1);
	unsigned int asked = target_seen(lab.t, SCSI_TEST_UNIT_READY);
	assert_int_equal(write_one(&lab), -ENODEV);
	uint32_t events = bdev_events(lab.bd);
	wait_until_back(&lab, -ENODEV);
	assert_true(target_seen(lab.t, SCSI_TEST_UNIT_READY) >= asked + 4);
	assert_true(collect_has(&lab.told, "the LUN is there again"));
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 1);
	assert_int_not_equal(bdev_events(lab.bd), events);
	assert_int_equal(write_one(&lab), 0);
	/* Another one under its number is not it. */
	sense_on(&lab, SCSI_WRITE16, 0x052500, 1);
	assert_int_equal(write_one(&lab), -ENODEV);
	target_swap_disk(lab.t);
	uint64_t until = clock_now() + 60 * NS_PER_S;
	while (!collect_has(&lab.told, "another disk answers") && clock_now() < until)
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	assert_true(collect_has(&lab.told, "another disk answers"));
	assert_int_equal(read_one(&lab), -ENODEV);
	lab_close(&lab);
}

/* ---- no path ---- */

static void lose_all_paths(struct lab *lab, unsigned int logins)
{
	target_send_on(lab->t, NOWHERE, false, logins);
	target_rule(lab->t, SCSI_READ16, RULE_CLOSE, 1);
}

static void io_waits_while_no_path_is_there(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "recovery_timeout=100ms&apd_timeout=60");
	lose_all_paths(&lab, 8);
	assert_int_equal(read_one(&lab), 0);
	assert_true(collect_has(&lab.told, "all paths down (APD)"));
	assert_true(collect_has(&lab.told, "connected again"));
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close(&lab);
}

static void io_fails_at_once_when_the_apd_timer_is_over(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "recovery_timeout=100ms&apd_timeout=1");
	lose_all_paths(&lab, ALWAYS);
	uint64_t start = clock_now();
	assert_int_equal(read_one(&lab), -ETIMEDOUT);
	assert_true(clock_now() - start >= 1100 * NS_PER_MS);
	assert_true(collect_has(&lab.told, "I/O fails at once until one is back"));
	start = clock_now();
	assert_int_equal(write_one(&lab), -ETIMEDOUT);
	/* Without the timer it would have had 30 s. */
	assert_true(clock_now() - start < 20 * NS_PER_S);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 1);
	target_send_on(lab.t, NOWHERE, false, 0);
	wait_until_back(&lab, -ETIMEDOUT);
	assert_int_equal(write_one(&lab), 0);
	lab_close(&lab);
}

/* Its session was ended by its owner: only from the next that fails is there no path. */
static void a_cut_is_not_the_beginning_of_an_apd(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "recovery_timeout=100ms&apd_timeout=3600");
	bdev_cut(lab.bd);
	target_send_on(lab.t, NOWHERE, false, ALWAYS);
	while (!collect_has(&lab.told, "all paths down (APD)"))
		assert_int_equal(bdev_mend(lab.bd, clock_now() + 200 * NS_PER_MS),
				 -ETIMEDOUT);
	assert_int_equal(bdev_mend(lab.bd, clock_now() + 200 * NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	target_send_on(lab.t, NOWHERE, false, 0);
	assert_int_equal(bdev_mend(lab.bd, clock_now() + 60 * NS_PER_S), 0);
	assert_int_equal(write_one(&lab), 0);
	lab_close(&lab);
}

/* ---- space ---- */

static void a_thin_unit_without_space_says_so_once(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "");
	sense_on(&lab, SCSI_WRITE16, 0x072707, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(write_one(&lab), -ENOSPC);
	assert_int_equal(target_seen(lab.t, SCSI_WRITE16), 3);
	assert_true(collect_has(&lab.told, "out of space (07/27/07)"));
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 1);
	assert_int_equal(bdev_notices(lab.bd), BDEV_NOTICE_SPACE_OUT);
	assert_int_equal(read_one(&lab), 0);
	assert_false(collect_has(&lab.told, "writes go through again"));
	assert_int_equal(write_one(&lab), 0);
	assert_true(collect_has(&lab.told, "writes go through again"));
	assert_int_equal(bdev_notices(lab.bd), 0);
	lab_close(&lab);
}

/* ---- busy ---- */

static void the_queue_is_halved_and_grows_again(void **state)
{
	struct iscsi_settings settings = { .is_set = { false } };
	struct depth d;
	(void)state;

	iscsi_setting_set(&settings, ISCSI_QUEUE_DEPTH, 64);
	depth_init(&d, &settings);
	assert_int_equal(d.now, 64);
	/* 20 under way, and all of them are refused: that is one refusal. */
	for (uint32_t i = 0; i < 20; i++)
		depth_full(&d, 0, 19 - i);
	assert_int_equal(d.now, 10);
	for (int i = 0; i < 7; i++)
		depth_good(&d);
	assert_int_equal(d.now, 10);
	depth_good(&d);
	assert_int_equal(d.now, 11);
	for (int i = 0; i < 7; i++)
		depth_good(&d);
	depth_full(&d, d.round, 10);
	assert_int_equal(d.now, 5);
	for (int i = 0; i < 10; i++)
		depth_full(&d, d.round, 0);
	assert_int_equal(d.now, 1);
	for (int i = 0; i < 8 * 100; i++)
		depth_good(&d);
	assert_int_equal(d.now, 64);

	/* ESXi's habit: so many, not one; and 0 is never. */
	iscsi_setting_set(&settings, ISCSI_QFULL_SAMPLE_SIZE, 4);
	depth_init(&d, &settings);
	for (int i = 0; i < 3; i++)
		depth_full(&d, 0, 63);
	assert_int_equal(d.now, 64);
	depth_full(&d, 0, 63);
	assert_int_equal(d.now, 32);
	iscsi_setting_set(&settings, ISCSI_QFULL_SAMPLE_SIZE, 0);
	depth_init(&d, &settings);
	for (int i = 0; i < 100; i++)
		depth_full(&d, 0, 63);
	assert_int_equal(d.now, 64);
}

/* Many writes, of which many are not taken: each is done, and the disk is right. */
static void a_full_unit_gets_everything_in_the_end(void **state)
{
	enum { COUNT = TARGET_BLOCKS };
	static struct batch_io bio[COUNT];
	static uint8_t data[COUNT][BLOCK];
	struct batch batch;
	struct lab lab;
	(void)state;

	lab_open(&lab, "queue_depth=32");
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_TASK_SET_FULL, 0, 40);
	for (uint32_t i = 0; i < COUNT; i++) {
		fill_bytes(data[i], BLOCK, i + 1);
		bio[i] = (struct batch_io){ .iov = { data[i], BLOCK } };
		bio[i].io.op = BDEV_WRITE;
		bio[i].io.offset = i * BLOCK;
		bio[i].io.len = BLOCK;
	}
	batch_start(&batch, lab.bd, bio, COUNT);
	batch_wait(&batch);
	for (uint32_t i = 0; i < COUNT; i++) {
		assert_int_equal(bio[i].io.result, 0);
		target_block(lab.t, i, lab.now);
		assert_memory_equal(lab.now, data[i], BLOCK);
	}
	assert_int_equal(target_seen(lab.t, SCSI_WRITE16), COUNT + 40);
	lab_close(&lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_attention_goes_up_and_the_io_goes_on),
		cmocka_unit_test(a_unit_that_became_another_gets_no_io),
		cmocka_unit_test(a_unit_that_says_it_is_gone_gets_no_more_io),
		cmocka_unit_test(a_unit_that_is_there_again_is_used_again),
		cmocka_unit_test(io_waits_while_no_path_is_there),
		cmocka_unit_test(io_fails_at_once_when_the_apd_timer_is_over),
		cmocka_unit_test(a_cut_is_not_the_beginning_of_an_apd),
		cmocka_unit_test(a_thin_unit_without_space_says_so_once),
		cmocka_unit_test(the_queue_is_halved_and_grows_again),
		cmocka_unit_test(a_full_unit_gets_everything_in_the_end),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
