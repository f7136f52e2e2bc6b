/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a LUN makes of a target that loses answers, is busy, is reserved, hangs,
 * changes: each case against a made-up target on loopback that does it on demand.
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
#include "iscsi/lun_impl.h"
#include "iscsi/open.h"
#include "iscsi/path.h"
#include "iscsi/scsi.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/iscsi_target.h"

#define BLOCK TARGET_BLOCK_SIZE

struct lab {
	struct target *t;
	struct bdev *bd;
	struct collect told;
	uint8_t a[BLOCK], b[BLOCK], now[BLOCK];
};

static void lab_open(struct lab *lab, uint32_t command_timeout_ms)
{
	struct iscsi_options options = { .command_timeout_ms = command_timeout_ms };

	memset(lab, 0, sizeof(*lab));
	fill_bytes(lab->b, BLOCK, 1);
	lab->t = target_new();
	assert_non_null(lab->t);
	assert_int_equal(device_open(target_url(lab->t), 0, &options,
				     collect_init(&lab->told), &lab->bd),
			 0);
}

static void lab_close(struct lab *lab)
{
	bdev_close(lab->bd);
	target_free(lab->t);
	collect_done(&lab->told);
}

static uint64_t in_ms(uint64_t ms)
{
	return clock_now() + ms * NS_PER_MS;
}

static void expect_block(struct lab *lab, uint64_t lba, const uint8_t *wanted)
{
	target_block(lab->t, lba, lab->now);
	assert_memory_equal(lab->now, wanted, BLOCK);
}

/* Counted soon after the answer. */
static void expect_counts(struct lab *lab, uint64_t miscompares, uint64_t unknowns)
{
	uint64_t end = clock_now() + 30 * NS_PER_S;
	struct paths_info info;

	do {
		assert_true(clock_now() < end);
		assert_int_equal(paths_info(lab->bd, &info), 0);
	} while (info.path[0].stats.miscompares != miscompares ||
		 info.path[0].stats.unknowns != unknowns);
}

/* The false miscompare of others: sent again, it would fail against its own success. */
static void a_caw_whose_answer_is_lost_is_unknown_and_sent_once(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_rule(lab.t, SCSI_COMPARE_AND_WRITE, RULE_EXECUTE_THEN_CLOSE, 1);
	assert_int_equal(bdev_caw(lab.bd, lab.a, lab.b, BLOCK, 5 * BLOCK, in_ms(5000)),
			 -ETIMEDOUT);
	expect_block(&lab, 5, lab.b);
	assert_int_equal(target_seen(lab.t, SCSI_COMPARE_AND_WRITE), 1);
	/* The device goes on. */
	assert_int_equal(bdev_caw(lab.bd, lab.a, lab.b, BLOCK, 5 * BLOCK, 0), -EILSEQ);
	assert_int_equal(bdev_caw(lab.bd, lab.b, lab.a, BLOCK, 5 * BLOCK, 0), 0);
	expect_counts(&lab, 1, 1);
	lab_close(&lab);
}

static void a_caw_that_is_not_answered_is_unknown_by_its_deadline(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_rule(lab.t, SCSI_COMPARE_AND_WRITE, RULE_EXECUTE_IN_SILENCE, 1);
	uint64_t start = clock_now();
	assert_int_equal(bdev_caw(lab.bd, lab.a, lab.b, BLOCK, 0, in_ms(100)),
			 -ETIMEDOUT);
	assert_in_range(clock_now() - start, 95 * NS_PER_MS, 5 * NS_PER_S);
	assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 0), 0);
	assert_int_equal(target_aborts(lab.t), 1);
	assert_int_equal(target_logins(lab.t), 1);
	lab_close(&lab);
}

/* A write may be executed twice; after the loss it comes under the same ISID. */
static void writes_and_reads_survive_a_lost_connection(void **state)
{
	static const enum target_action actions[] = { RULE_EXECUTE_THEN_CLOSE,
						      RULE_CLOSE };
	uint8_t isid[2][6];
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	for (unsigned int i = 0; i < 2; i++) {
		target_rule(lab.t, SCSI_WRITE16, actions[i], 1);
		assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, (3 + i) * BLOCK), 0);
		expect_block(&lab, 3 + i, lab.b);
		target_rule(lab.t, SCSI_READ16, actions[i], 1);
		assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, (3 + i) * BLOCK), 0);
		assert_memory_equal(lab.now, lab.b, BLOCK);
	}
	assert_int_equal(target_seen(lab.t, SCSI_WRITE16), 4);
	assert_int_equal(target_logins(lab.t), 5);
	for (unsigned int i = 1; i < 5; i++) {
		target_isid(lab.t, 0, isid[0]);
		target_isid(lab.t, i, isid[1]);
		assert_memory_equal(isid[0], isid[1], 6);
	}
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close(&lab);
}

/* It is aborted first, then sent again: never two of them at work. */
static void a_write_without_answer_is_aborted_and_sent_again(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 100);
	target_rule(lab.t, SCSI_WRITE16, RULE_IGNORE, 2);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	assert_int_equal(target_seen(lab.t, SCSI_WRITE16), 3);
	assert_int_equal(target_aborts(lab.t), 2);
	assert_int_equal(target_logins(lab.t), 1);
	expect_block(&lab, 0, lab.b);
	lab_close(&lab);
}

static void a_busy_unit_is_asked_again(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_BUSY, 0, 2);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	target_rule_status(lab.t, SCSI_COMPARE_AND_WRITE, SCSI_TASK_SET_FULL, 0, 2);
	assert_int_equal(bdev_caw(lab.bd, lab.b, lab.a, BLOCK, 0, 0), 0);
	target_rule_status(lab.t, SCSI_READ16, SCSI_CHECK_CONDITION, 0x020401, 2);
	assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 0), 0);
	/* Busy for longer than there is time. */
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_BUSY, 0, 1000);
	assert_int_equal(bdev_rw(lab.bd, BDEV_WRITE, 0, lab.b, BLOCK, 0, in_ms(150)),
			 -EBUSY);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close(&lab);
}

/* RESERVE(6) of others passes; on a unit with a proved CAW it is one that stays. */
static void a_reservation_conflict_is_waited_out_or_final(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_RESERVATION_CONFLICT, 0, 3);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_RESERVATION_CONFLICT, 0, 1000);
	assert_int_equal(bdev_rw(lab.bd, BDEV_WRITE, 0, lab.b, BLOCK, 0, in_ms(100)),
			 -EBUSY);
	target_rule_status(lab.t, SCSI_RESERVE6, SCSI_RESERVATION_CONFLICT, 0, 1);
	assert_int_equal(bdev_reserve(lab.bd, true), -EBUSY);
	assert_int_equal(bdev_caw(lab.bd, lab.a, lab.b, BLOCK, 9 * BLOCK, 0), 0);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), -ESTALE);
	assert_true(collect_has(&lab.told, "this host has no key"));
	lab_close(&lab);
}

#define KEY 0x564d000000010001ull

static void expect_fenced(struct lab *lab)
{
	unsigned int writes = target_seen(lab->t, SCSI_WRITE16);

	assert_int_equal(bdev_write(lab->bd, lab->b, BLOCK, 0), -ESTALE);
	assert_int_equal(bdev_read(lab->bd, lab->now, BLOCK, 0), -ESTALE);
	assert_int_equal(bdev_caw(lab->bd, lab->a, lab->b, BLOCK, 0, 0), -ESTALE);
	assert_int_equal(target_seen(lab->t, SCSI_WRITE16), writes);
	assert_int_equal(collect_count(&lab->told, REPORT_WARN), 1);
	assert_int_equal(collect_count(&lab->told, REPORT_ERROR), 0);
}

/* With a key of ours READ KEYS decides what a conflict is. */
static void a_conflict_is_a_fence_when_our_key_is_gone(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_REGISTER, KEY, 0), 0);
	assert_int_equal(bdev_caw(lab.bd, lab.a, lab.b, BLOCK, 9 * BLOCK, 0), 0);
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_RESERVATION_CONFLICT, 0, 3);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	target_take_key(lab.t, false);
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_RESERVATION_CONFLICT, 0, 1000);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), -ESTALE);
	expect_fenced(&lab);
	lab_close(&lab);
}

static void a_preempted_key_is_a_fence(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	/* Without a key it is about somebody else who had this session's name. */
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_CHECK_CONDITION, 0x062a05, 1);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_REGISTER, KEY, 0), 0);
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_CHECK_CONDITION, 0x062a05, 1);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), -ESTALE);
	expect_fenced(&lab);
	lab_close(&lab);
}

/* The connection is lost; before anything is sent again the key is looked for. */
static void a_new_session_asks_for_its_key_first(void **state)
{
	struct lab lab;
	(void)state;

	for (int is_restart = 0; is_restart < 2; is_restart++) {
		lab_open(&lab, 0);
		for (int i = 0; i < 2; i++)
			assert_int_equal(bdev_pr(lab.bd, BDEV_PR_REGISTER, KEY, 0), 0);
		struct bdev_pr_state *seen = malloc(sizeof(*seen));
		assert_int_equal(bdev_pr_read(lab.bd, seen), 0);
		assert_int_equal(seen->key_count, 1);
		assert_true(seen->keys[0] == KEY);
		free(seen);
		uint32_t events = bdev_events(lab.bd);
		target_take_key(lab.t, is_restart);
		target_rule(lab.t, SCSI_READ16, RULE_CLOSE, 1);
		assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 0),
				 is_restart ? 0 : -ESTALE);
		assert_int_not_equal(bdev_events(lab.bd), events);
		if (is_restart)
			assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
		else
			assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), -ESTALE);
		assert_int_equal(target_seen(lab.t, SCSI_WRITE16), is_restart);
		lab_close(&lab);
	}
}

/* "Not ready", although it was done: what stands there counts. */
static void a_reservation_command_is_read_back(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_rule_status(lab.t, SCSI_PR_OUT, SCSI_CHECK_CONDITION, 0x020800, 1);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_REGISTER, KEY, 0), 0);
	assert_int_equal(target_seen(lab.t, SCSI_PR_OUT), 2); /* without APTPL */
	target_rule_status(lab.t, SCSI_PR_OUT, SCSI_CHECK_CONDITION, 0x020800, 1);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_PREEMPT, KEY, 7), 0); /* no such key */
	target_rule_status(lab.t, SCSI_PR_OUT, SCSI_RESERVATION_CONFLICT, 0, 1);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_RESERVE, KEY, 0), -EBUSY);
	target_take_key(lab.t, false);
	target_rule_status(lab.t, SCSI_PR_OUT, SCSI_RESERVATION_CONFLICT, 0, 1);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_RESERVE, KEY, 0), -ESTALE);
	target_rule_status(lab.t, SCSI_PR_OUT, SCSI_CHECK_CONDITION, 0x052000, 2);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_REGISTER, KEY, 0), -EOPNOTSUPP);
	lab_close(&lab);
}

/* Another host may have been inside: neither a new RESERVE nor the write may follow. */
static void a_lost_reservation_is_not_made_good_within_its_bracket(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(bdev_reserve(lab.bd, true), 0);
		assert_int_equal(bdev_reserve(lab.bd, true), 0);
		if (i == 0)
			target_rule(lab.t, SCSI_READ16, RULE_CLOSE, 1);
		else
			target_rule_status(lab.t, SCSI_READ16, SCSI_CHECK_CONDITION,
					   0x062903, 1);
		assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 0), 0);
		unsigned int reserves = target_seen(lab.t, SCSI_RESERVE6);
		assert_int_equal(bdev_reserve(lab.bd, true), -ETIMEDOUT);
		assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), -ETIMEDOUT);
		assert_int_equal(target_seen(lab.t, SCSI_RESERVE6), reserves);
		assert_int_equal(target_seen(lab.t, SCSI_WRITE16), 0);
		assert_int_equal(bdev_reserve(lab.bd, false), 0);
	}
	/* The attention may come to the second RESERVE itself. */
	assert_int_equal(bdev_reserve(lab.bd, true), 0);
	target_rule_status(lab.t, SCSI_RESERVE6, SCSI_CHECK_CONDITION, 0x062903, 1);
	assert_int_equal(bdev_reserve(lab.bd, true), -ETIMEDOUT);
	assert_int_equal(bdev_reserve(lab.bd, false), 0);
	/* A first one is made again. */
	target_rule_status(lab.t, SCSI_RESERVE6, SCSI_CHECK_CONDITION, 0x062903, 1);
	assert_int_equal(bdev_reserve(lab.bd, true), 0);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	assert_int_equal(bdev_reserve(lab.bd, false), 0);
	lab_close(&lab);
}

struct other {
	struct bdev *bd;
	int reserved, released;
};

static void reserve_too(void *arg)
{
	struct other *o = arg;

	o->reserved = bdev_reserve(o->bd, true);
	o->released = bdev_reserve(o->bd, false);
}

static void a_reservation_belongs_to_one_task(void **state)
{
	struct lab lab;
	struct other o = { 0 };
	(void)state;

	lab_open(&lab, 0);
	assert_int_equal(bdev_reserve(lab.bd, true), 0);
	o.bd = lab.bd;
	task_join(task_start("other", reserve_too, &o));
	assert_int_equal(o.reserved, -EBUSY);
	assert_int_equal(target_seen(lab.t, SCSI_RELEASE6), 0);
	assert_int_equal(bdev_reserve(lab.bd, false), 0);
	assert_int_equal(target_seen(lab.t, SCSI_RELEASE6), 1);
	task_join(task_start("other", reserve_too, &o));
	assert_int_equal(o.reserved, 0);
	assert_int_equal(o.released, 0);
	assert_int_equal(target_seen(lab.t, SCSI_RELEASE6), 2);
	lab_close(&lab);
}

static void a_unit_attention_is_not_swallowed(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_rule_status(lab.t, SCSI_WRITE16, SCSI_CHECK_CONDITION, 0x062900, 1);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	target_rule_status(lab.t, SCSI_READ16, SCSI_CHECK_CONDITION, 0x063f0e, 1);
	assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 0), 0);
	assert_true(collect_has(&lab.told, "unit attention 3f/0e"));
	target_rule_status(lab.t, SCSI_COMPARE_AND_WRITE, SCSI_CHECK_CONDITION, 0x062903,
			   1);
	assert_int_equal(bdev_caw(lab.bd, lab.b, lab.a, BLOCK, 0, 0), -ETIMEDOUT);
	lab_close(&lab);
}

static void what_the_unit_refuses_is_an_error_of_its_kind(void **state)
{
	static const struct {
		uint32_t sense;
		int error;
		const char *part;
	} cases[] = {
		{ 0x031100, -EIO, "medium error at LBA 7 (status 02, 03/11/00: a block "
				  "cannot be read)" },
		{ 0x072700, -EROFS, "data protect (status 02, 07/27/00: it is "
				  "write-protected)" },
		{ 0x043e02, -EIO, "hardware error (status 02, 04/3e/02: the device did "
				"not answer the target in time)" },
		{ 0x052400, -EIO, "illegal request (status 02, 05/24/00: it does not "
				"take a field of the command)" },
	};
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		collect_clear(&lab.told);
		target_rule_status(lab.t, SCSI_WRITE16, SCSI_CHECK_CONDITION,
				   cases[i].sense, 1);
		assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 7 * BLOCK),
				 cases[i].error);
		assert_true(collect_has(&lab.told, target_url(lab.t)));
		assert_true(
			collect_has(&lab.told, "write of 512 bytes at 3584 failed: "));
		assert_true(collect_has(&lab.told, cases[i].part));
		assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 1);
		assert_int_equal(target_seen(lab.t, SCSI_WRITE16), i + 1); /* once */
	}
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 7 * BLOCK), 0);
	lab_close(&lab);
}

static void a_short_read_is_an_error_and_never_zeros(void **state)
{
	uint8_t two[2 * BLOCK];
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_rule(lab.t, SCSI_READ16, RULE_SHORT, 1);
	assert_int_equal(bdev_read(lab.bd, two, sizeof(two), 0), -EIO);
	assert_true(collect_has(&lab.told, "another number of bytes than asked for"));
	lab_close(&lab);
}

static void zeros_are_written_where_write_same_does_not_exist(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 20 * BLOCK), 0);
	assert_int_equal(bdev_zero(lab.bd, 3 * BLOCK, 19 * BLOCK), 0);
	expect_block(&lab, 20, lab.a);
	assert_int_equal(bdev_unmap(lab.bd, BLOCK, 0), -EOPNOTSUPP);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close(&lab);
}

static void another_disk_under_the_same_name_is_not_written_to(void **state)
{
	uint8_t before[BLOCK];
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_block(lab.t, 30, before);
	target_swap_disk(lab.t);
	target_rule(lab.t, SCSI_WRITE16, RULE_CLOSE, 1);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 30 * BLOCK), -ENODEV);
	expect_block(&lab, 30, before);
	assert_true(collect_has(&lab.told, "another disk answers under this URL now"));
	assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 0), -ENODEV);
	lab_close(&lab);
}

/* The attentions of a new session are seen before I/O goes there. */
static void a_new_session_is_checked_before_it_is_used(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	unsigned int asked = target_seen(lab.t, SCSI_TEST_UNIT_READY);
	target_rule_status(lab.t, SCSI_TEST_UNIT_READY, SCSI_CHECK_CONDITION, 0x062900,
			   3);
	target_rule(lab.t, SCSI_WRITE16, RULE_CLOSE, 1);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	assert_int_equal(target_seen(lab.t, SCSI_TEST_UNIT_READY) - asked, 4);
	/* And if the connection dies within the check, the next one is checked. */
	target_rule(lab.t, SCSI_TEST_UNIT_READY, RULE_CLOSE, 2);
	target_rule(lab.t, SCSI_WRITE16, RULE_CLOSE, 1);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	lab_close(&lab);
}

/*
 * LOCKING.md 1.3: the target does not read, so that writes pile up in the socket;
 * after the cut what still stands there does not get through. shutdown() would deliver
 * them all.
 */
static void a_cut_drops_what_stands_in_the_socket(void **state)
{
	enum { COUNT = 100 };
	static struct batch_io bio[COUNT];
	static uint8_t data[TARGET_BLOCKS * BLOCK];
	struct batch batch;
	struct lab lab;
	(void)state;

	lab_open(&lab, 0);
	target_rule(lab.t, SCSI_READ16, RULE_STALL, 1);
	for (unsigned int i = 0; i < COUNT; i++) {
		bio[i] = (struct batch_io){ .iov = { data, i ? sizeof(data) : BLOCK } };
		bio[i].io.op = i ? BDEV_WRITE : BDEV_READ;
		bio[i].io.len = i ? sizeof(data) : BLOCK;
	}
	batch_start(&batch, lab.bd, bio, COUNT);
	task_sleep_until(in_ms(300));
	bdev_cut(lab.bd);
	target_resume(lab.t);
	batch_wait(&batch);
	for (unsigned int i = 0; i < COUNT; i++)
		assert_int_equal(bio[i].io.result, -ESTALE);
	task_sleep_until(in_ms(200));
	uint64_t arrived = target_bytes_after_stall(lab.t);
	print_message("# %llu of %u bytes arrived\n", (unsigned long long)arrived,
		      COUNT * (unsigned int)sizeof(data));
	/* What the target's own buffer held; not the megabytes in ours. */
	assert_true(arrived < 512 * 1024);
	lab_close(&lab);
}

/*
 * A cut and mended device: the old session's commands have ended, the new session has the
 * same ISID (the target sees a reinstatement), and I/O goes.
 */
static void a_mended_device_has_a_new_session(void **state)
{
	struct lab lab;
	struct bdev_nexus before, after;
	(void)state;

	lab_open(&lab, 0);
	assert_int_equal(bdev_mend(lab.bd, in_ms(1)), 0); /* it is not cut */
	assert_int_equal(bdev_nexus(lab.bd, &before), 0);
	uint32_t events = bdev_events(lab.bd);
	for (int i = 0; i < 3; i++) {
		bdev_cut(lab.bd);
		assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), -ESTALE);
		assert_int_equal(bdev_mend(lab.bd, 1), -ETIMEDOUT); /* still cut */
		assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), -ESTALE);
		assert_int_equal(bdev_mend(lab.bd, in_ms(10000)), 0);
		assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), 0);
	}
	assert_int_equal(bdev_nexus(lab.bd, &after), 0);
	assert_memory_equal(before.isid, after.isid, sizeof(before.isid));
	assert_int_equal(bdev_events(lab.bd), events + 3);
	lab_close(&lab);
}

static void end_of_cut(struct bdev_io *io)
{
	(void)io; /* it comes before submit() is back */
}

/*
 * An io brings along how it ended on another path, or anything: a device that is cut
 * says itself that this one has ended, and so blames nobody for it.
 */
static void what_a_cut_device_ends_was_not_refused_by_the_unit(void **state)
{
	struct lab lab;
	struct iovec iov = { lab.a, BLOCK };
	struct bdev_io io = { .op = BDEV_WRITE,
			      .len = BLOCK,
			      .iov = &iov,
			      .iovcnt = 1,
			      .done = end_of_cut };
	(void)state;

	lab_open(&lab, 0);
	bdev_cut(lab.bd);
	io.priv.word[1] = LUN_GONE;
	bdev_submit(lab.bd, &io);
	assert_int_equal(io.result, -ESTALE);
	assert_int_equal(io.priv.word[1], LUN_ENDED);
	lab_close(&lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_caw_whose_answer_is_lost_is_unknown_and_sent_once),
		cmocka_unit_test(a_caw_that_is_not_answered_is_unknown_by_its_deadline),
		cmocka_unit_test(writes_and_reads_survive_a_lost_connection),
		cmocka_unit_test(a_write_without_answer_is_aborted_and_sent_again),
		cmocka_unit_test(a_busy_unit_is_asked_again),
		cmocka_unit_test(a_reservation_conflict_is_waited_out_or_final),
		cmocka_unit_test(a_conflict_is_a_fence_when_our_key_is_gone),
		cmocka_unit_test(a_preempted_key_is_a_fence),
		cmocka_unit_test(a_new_session_asks_for_its_key_first),
		cmocka_unit_test(a_reservation_command_is_read_back),
		cmocka_unit_test(a_lost_reservation_is_not_made_good_within_its_bracket),
		cmocka_unit_test(a_reservation_belongs_to_one_task),
		cmocka_unit_test(a_unit_attention_is_not_swallowed),
		cmocka_unit_test(what_the_unit_refuses_is_an_error_of_its_kind),
		cmocka_unit_test(a_short_read_is_an_error_and_never_zeros),
		cmocka_unit_test(zeros_are_written_where_write_same_does_not_exist),
		cmocka_unit_test(another_disk_under_the_same_name_is_not_written_to),
		cmocka_unit_test(a_new_session_is_checked_before_it_is_used),
		cmocka_unit_test(a_cut_drops_what_stands_in_the_socket),
		cmocka_unit_test(a_mended_device_has_a_new_session),
		cmocka_unit_test(what_a_cut_device_ends_was_not_refused_by_the_unit),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
