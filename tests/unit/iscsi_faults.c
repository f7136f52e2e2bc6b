/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of I/O when the target, or the way to it, does wrong: each case against
 * the scripted target (tests/target/main.c), which also tells what it was asked.
 *
 * The expectation is the same everywhere: an answer that is right, or an error; never
 * other bytes, never a command without an end, never a write that lands after its fate
 * was told. And the target never sees a violation of the protocol.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "iscsi/open.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/own_target.h"

#define BLOCK 512u
#define PIECE 65536u
#define DIGESTS "?header_digest=required&data_digest=required"
#define QUICK "?command_timeout=200ms&noop_interval=200ms&noop_timeout=300ms"

struct lab {
	struct own_target *t;
	struct bdev *bd;
	struct collect told;
	struct batch batch;
	struct batch_io bio;
	uint8_t a[PIECE], b[PIECE], now[PIECE];
};

static void lab_open(struct lab *lab, const char *options, const char *more)
{
	memset(lab, 0, sizeof(*lab));
	fill_bytes(lab->a, PIECE, 1);
	fill_bytes(lab->b, PIECE, 2);
	lab->t = own_start(options);
	int error = device_open(own_url(lab->t, 1, more), 0, NULL,
				collect_init(&lab->told), &lab->bd);
	if (error)
		print_message("# %s", collect_text(&lab->told));
	assert_int_equal(error, 0);
}

static void lab_close(struct lab *lab)
{
	bdev_close(lab->bd);
	assert_int_equal(own_stat(lab->t, "violations"), 0);
	own_free(lab->t);
	collect_done(&lab->told);
}

static uint64_t in_ms(uint64_t ms)
{
	return clock_now() + ms * NS_PER_MS;
}

static int put(struct lab *lab, const uint8_t *bytes, uint64_t at)
{
	return bdev_write(lab->bd, bytes, PIECE, at);
}

/* A write that the target has and does nothing with; batch_wait() waits for its end. */
static void start_write(struct lab *lab, uint8_t *bytes)
{
	own_do(lab->t, "swallow-request 8a");
	lab->bio.io.op = BDEV_WRITE;
	lab->bio.io.len = PIECE;
	lab->bio.iov = (struct iovec){ bytes, PIECE };
	batch_start(&lab->batch, lab->bd, &lab->bio, 1);
	own_wait(lab->t, "held", 1);
}

/* Bytes as the target's file has them. */
static void expect_file(struct lab *lab, const uint8_t *wanted, uint32_t len, uint64_t at)
{
	int file_fd = open(own_file(lab->t), O_RDONLY);

	assert_true(file_fd >= 0);
	assert_int_equal(pread(file_fd, lab->now, len, (off_t)at), len);
	assert_memory_equal(lab->now, wanted, len);
	(void)close(file_fd);
}

static void expect_read(struct lab *lab, const uint8_t *wanted, uint64_t at)
{
	memset(lab->now, 0xee, PIECE);
	assert_int_equal(bdev_read(lab->bd, lab->now, PIECE, at), 0);
	assert_memory_equal(lab->now, wanted, PIECE);
}

/* ---- answers that do not come ---- */

/* An ATS is sent once. What became of it is not known, and is found out by reading. */
static void a_lost_answer_to_an_ats_is_unknown_and_it_is_sent_once(void **state)
{
	static const char *const faults[] = { "drop-response 89", "reset-after 89",
					      "reset-before 89", "swallow-request 89" };
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	for (uint32_t i = 0; i < ARRAY_SIZE(faults); i++) {
		uint64_t at = (i + 1) * 8 * BLOCK;
		bool is_done = i < 2;
		assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, at), 0);
		own_do(lab.t, "stats-reset");
		own_do(lab.t, "%s", faults[i]);
		assert_int_equal(bdev_caw(lab.bd, lab.a, lab.b, BLOCK, at, in_ms(20000)),
				 -ETIMEDOUT);
		assert_int_equal(own_stat(lab.t, "89"), 1);
		assert_int_equal(own_stat(lab.t, "executed-89"), is_done);
		expect_file(&lab, is_done ? lab.b : lab.a, BLOCK, at);
		/* The device goes on. */
		assert_int_equal(bdev_caw(lab.bd, lab.b, lab.a, BLOCK, at, in_ms(20000)),
				 is_done ? 0 : -EILSEQ);
	}
	lab_close(&lab);
}

/* Reads and writes are repeated until they are answered. */
static void a_lost_answer_to_a_read_or_write_is_not_noticed(void **state)
{
	static const char *const faults[] = { "drop-response", "swallow-request",
					      "reset-after", "reset-before",
					      "delay-response" };
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	for (uint32_t i = 0; i < ARRAY_SIZE(faults); i++) {
		const char *more = i == 4 ? "60000" : "";
		own_do(lab.t, "%s 8a %s", faults[i], more);
		assert_int_equal(put(&lab, i % 2 ? lab.a : lab.b, i * PIECE), 0);
		expect_file(&lab, i % 2 ? lab.a : lab.b, PIECE, i * PIECE);
		own_do(lab.t, "%s 88 %s", faults[i], more);
		expect_read(&lab, i % 2 ? lab.a : lab.b, i * PIECE);
	}
	lab_close(&lab);
}

/* PR OUT is sent once; what became of it is read back, by who it was: the same ISID. */
static void a_lost_answer_to_a_reservation_is_read_back(void **state)
{
	static const struct bdev_pr_state none;
	struct bdev_pr_state *pr = malloc(sizeof(*pr));
	struct lab lab;
	(void)state;

	assert_non_null(pr);
	*pr = none;
	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_REGISTER, 0x77, 0), 0);
	own_do(lab.t, "stats-reset");
	own_do(lab.t, "reset-before 5f");
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_RESERVE, 0x77, 0), -ETIMEDOUT);
	assert_int_equal(bdev_pr_read(lab.bd, pr), 0);
	assert_false(pr->is_reserved);
	own_do(lab.t, "reset-after 5f");
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_RESERVE, 0x77, 0), 0);
	assert_int_equal(own_stat(lab.t, "5f"), 2);
	assert_int_equal(own_stat(lab.t, "executed-5f"), 1);
	assert_int_equal(bdev_pr_read(lab.bd, pr), 0);
	assert_true(pr->is_reserved);
	assert_int_equal(pr->type, BDEV_PR_TYPE_WE_AR);
	assert_int_equal(pr->key_count, 1);
	assert_int_equal(put(&lab, lab.a, 0), 0);
	lab_close(&lab);
	free(pr);
}

/* Registrations and the reservation: for who had them, and against who had not. */
static void reservations_outlive_a_loss_of_power(void **state)
{
	struct bdev_pr_state *pr = calloc(1, sizeof(*pr));
	struct bdev *stranger = NULL;
	struct lab lab;
	(void)state;

	assert_non_null(pr);
	lab_open(&lab, "-p 0:1 -s FOLDER -l 1=FILE", QUICK);
	assert_int_equal(device_open(own_url(lab.t, 1, ""), 0, NULL, NULL, &stranger), 0);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_REGISTER, 0x77, 0), 0);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_RESERVE, 0x77, 0), 0);
	assert_int_equal(put(&lab, lab.a, 0), 0);
	own_again(lab.t);
	assert_int_equal(put(&lab, lab.b, 0), 0);
	assert_true(bdev_rw(stranger, BDEV_WRITE, 0, lab.a, PIECE, 0, in_ms(500)) < 0);
	expect_file(&lab, lab.b, PIECE, 0);
	assert_int_equal(bdev_pr_read(lab.bd, pr), 0);
	assert_true(pr->is_reserved);
	assert_int_equal(pr->type, BDEV_PR_TYPE_WE_AR);
	assert_int_equal(pr->key_count, 1);
	/* And what is given back stays so. */
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_CLEAR, 0x77, 0), 0);
	own_again(lab.t);
	assert_int_equal(bdev_rw(stranger, BDEV_WRITE, 0, lab.a, PIECE, 0, in_ms(5000)),
			 0);
	bdev_close(stranger);
	lab_close(&lab);
	free(pr);
}

/*
 * A write that the target sits on, given up by its deadline: aborted, so that it never
 * lands over what was written later.
 */
static void a_late_write_never_lands(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	own_do(lab.t, "delay 8a 3600000 always");
	assert_int_equal(bdev_rw(lab.bd, BDEV_WRITE, 0, lab.a, PIECE, 0, in_ms(700)),
			 -ETIMEDOUT);
	own_do(lab.t, "clear");
	assert_int_equal(put(&lab, lab.b, 0), 0);
	/* Nothing of it waits at the target any more. */
	assert_int_equal(own_stat(lab.t, "held"), 0);
	assert_true(own_stat(lab.t, "aborts") >= 1);
	expect_file(&lab, lab.b, PIECE, 0);
	lab_close(&lab);
}

/* The same when ABORT TASK is not answered either: the session ends, and with it all. */
static void a_late_write_never_lands_though_nobody_answers(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK "&abort_timeout=200ms");
	own_do(lab.t, "delay 8a 3600000 1");
	own_do(lab.t, "tmf 1 ignore always");
	assert_int_equal(put(&lab, lab.b, 0), 0);
	assert_int_equal(own_stat(lab.t, "held"), 0);
	assert_true(own_stat(lab.t, "logins") >= 2);
	expect_file(&lab, lab.b, PIECE, 0);
	lab_close(&lab);
}

/* ---- connections ---- */

static void a_lost_connection_is_not_noticed(void **state)
{
	static const char *const ways[] = { "reset", "close", "half-close" };
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	for (uint32_t i = 0; i < ARRAY_SIZE(ways); i++) {
		assert_int_equal(put(&lab, lab.a, 0), 0);
		own_do(lab.t, "%s", ways[i]);
		expect_read(&lab, lab.a, 0);
		assert_int_equal(put(&lab, lab.b, 0), 0);
		expect_file(&lab, lab.b, PIECE, 0);
		assert_int_equal(own_stat(lab.t, "logins"), i + 2);
	}
	lab_close(&lab);
}

static void a_target_that_dies_and_comes_back_is_not_noticed(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	assert_int_equal(put(&lab, lab.a, 0), 0);
	start_write(&lab, lab.b);
	own_again(lab.t);
	batch_wait(&lab.batch);
	assert_int_equal(lab.bio.io.result, 0);
	expect_read(&lab, lab.b, 0);
	lab_close(&lab);
}

/* The portal takes everything and says nothing, then goes on. */
static void a_black_hole_is_an_error_by_the_deadline(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	assert_int_equal(put(&lab, lab.a, 0), 0);
	own_do(lab.t, "black-hole %u on", own_port(lab.t, 0));
	assert_int_equal(bdev_rw(lab.bd, BDEV_READ, 0, lab.now, PIECE, 0, in_ms(300)),
			 -ETIMEDOUT);
	assert_int_equal(bdev_rw(lab.bd, BDEV_WRITE, 0, lab.b, PIECE, 0, in_ms(300)),
			 -ETIMEDOUT);
	own_do(lab.t, "black-hole %u off", own_port(lab.t, 0));
	assert_int_equal(put(&lab, lab.a, 0), 0);
	expect_read(&lab, lab.a, 0);
	lab_close(&lab);
}

/* ---- bytes ---- */

static void a_bit_that_turns_on_the_way_is_found(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", DIGESTS);
	assert_int_equal(put(&lab, lab.a, 0), 0);
	own_do(lab.t, "corrupt data");
	expect_read(&lab, lab.a, 0);
	assert_int_equal(own_stat(lab.t, "logins"), 2);
	own_do(lab.t, "corrupt header");
	expect_read(&lab, lab.a, 0);
	assert_int_equal(own_stat(lab.t, "logins"), 3);
	own_do(lab.t, "corrupt header");
	assert_int_equal(put(&lab, lab.b, 0), 0);
	expect_file(&lab, lab.b, PIECE, 0);
	assert_int_equal(own_stat(lab.t, "logins"), 4);
	assert_int_equal(own_stat(lab.t, "digest_errors"), 0);
	lab_close(&lab);
}

/* 65536 bytes were asked for: less is an error, with the residual told or without. */
static void a_short_read_is_an_error_and_never_zeros(void **state)
{
	static const char *const ways[] = { "512 marked", "512 silent", "65536 marked",
					    "65536 silent" };
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", "");
	assert_int_equal(put(&lab, lab.a, 0), 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(ways); i++) {
		own_do(lab.t, "short 88 %s", ways[i]);
		int error = bdev_read(lab.bd, lab.now, PIECE, 0);
		/* Repeated on a new session, it is right. */
		assert_true(error < 0 || memcmp(lab.now, lab.a, PIECE) == 0);
		own_do(lab.t, "clear");
		expect_read(&lab, lab.a, 0);
	}
	lab_close(&lab);
}

static void pieces_of_any_length_are_put_together(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE -k InitialR2T=Yes -k ImmediateData=No "
		       "-k MaxBurstLength=8192 -k FirstBurstLength=1024",
		 DIGESTS);
	for (uint32_t split = 7; split < 20000; split = split * 9 + 1) {
		own_do(lab.t, "split %u", split);
		own_do(lab.t, "pieces %u", split * 4);
		assert_int_equal(put(&lab, split % 2 ? lab.a : lab.b, split * BLOCK), 0);
		expect_read(&lab, split % 2 ? lab.a : lab.b, split * BLOCK);
	}
	lab_close(&lab);
}

/* Each field that an answer may have wrong: found, and the session not believed. */
static void wrong_fields_end_the_session_and_no_more(void **state)
{
	static const char *const fields[] = { "itt", "statsn", "datasn", "offset",
					      "length" };
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE -k InitialR2T=Yes -k ImmediateData=No", QUICK);
	for (uint32_t i = 0; i < 2 * ARRAY_SIZE(fields); i++) {
		const uint8_t *bytes = i % 2 ? lab.a : lab.b;
		bool is_read = i < ARRAY_SIZE(fields);
		const char *field = fields[i % ARRAY_SIZE(fields)];
		if (is_read)
			assert_int_equal(put(&lab, bytes, 0), 0);
		if (is_read && strcmp(field, "length") == 0)
			continue; /* of an R2T alone */
		own_do(lab.t, "stats-reset");
		own_do(lab.t, "pieces %u", is_read ? 8192 : 0);
		own_do(lab.t, "wrong %s", field);
		if (!is_read)
			assert_int_equal(put(&lab, bytes, 0), 0);
		expect_read(&lab, bytes, 0);
		expect_file(&lab, bytes, PIECE, 0);
		/* An answer to nobody is dropped, and the command given up in time. */
		assert_true(own_stat(lab.t, "logins") + own_stat(lab.t, "aborts") >= 1);
		assert_int_equal(own_stat(lab.t, "violations"), 0);
	}
	lab_close(&lab);
}

/* ---- the window, pings, messages ---- */

static void nothing_is_sent_into_a_closed_window(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -w 4 -l 1=FILE", "");
	assert_int_equal(put(&lab, lab.a, 0), 0);
	own_do(lab.t, "window 0");
	/* What was granted is used up; the next waits. */
	int error = 0;
	for (int i = 0; i < 8 && error == 0; i++)
		error = bdev_rw(lab.bd, BDEV_READ, 0, lab.now, BLOCK, 0, in_ms(400));
	assert_true(error == -ETIMEDOUT || error == -EBUSY);
	assert_true(own_stat(lab.t, "88") <= 5);
	own_do(lab.t, "window 16");
	expect_read(&lab, lab.a, 0);
	assert_int_equal(own_stat(lab.t, "logins"), 1);
	lab_close(&lab);
}

/* One command at a time, each byte asked for in small pieces. */
static void a_window_of_one_is_enough(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab,
		 "-p 0:1 -w 1 -l 1=FILE -k InitialR2T=Yes -k ImmediateData=No "
		 "-k MaxRecvDataSegmentLength=512 -k MaxBurstLength=1024 "
		 "-k MaxOutstandingR2T=1",
		 "");
	assert_int_equal(put(&lab, lab.a, 0), 0);
	expect_read(&lab, lab.a, 0);
	assert_int_equal(own_stat(lab.t, "max_busy"), 1);
	lab_close(&lab);
}

static void pings_are_echoed_as_they_came(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", "");
	for (uint32_t i = 1; i <= 5; i++) {
		own_do(lab.t, "nop-in");
		own_wait(lab.t, "echoes", i);
	}
	assert_int_equal(own_stat(lab.t, "logins"), 1);
	lab_close(&lab);
}

/* SCSI event, log out, connection drops, session drops, negotiate, tasks gone, vendor */
static void messages_of_the_target_do_no_harm(void **state)
{
	static const char *const events[] = { "0", "1 0 0 3", "2 1", "3 1",
					      "4 0 0 3", "5", "255" };
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", "");
	for (uint32_t i = 0; i < ARRAY_SIZE(events); i++) {
		own_do(lab.t, "async %s", events[i]);
		assert_int_equal(put(&lab, i % 2 ? lab.a : lab.b, 0), 0);
		expect_read(&lab, i % 2 ? lab.a : lab.b, 0);
	}
	lab_close(&lab);
}

/* Protocol error, not supported, no immediate command now, invalid field; no resources */
static void a_refused_pdu_is_an_error_and_no_more(void **state)
{
	static const uint8_t reasons[] = { 4, 5, 6, 9, 10 };
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	assert_int_equal(put(&lab, lab.a, 0), 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		own_do(lab.t, "reject 88 %x", reasons[i]);
		int error = bdev_rw(lab.bd, BDEV_READ, 0, lab.now, PIECE, 0,
				    in_ms(20000));
		assert_true(error < 0 || memcmp(lab.now, lab.a, PIECE) == 0);
		own_do(lab.t, "reject 89 %x", reasons[i]);
		error = bdev_caw(lab.bd, lab.a, lab.b, BLOCK, 0, in_ms(20000));
		if (error)
			expect_file(&lab, lab.a, BLOCK, 0);
		else
			assert_int_equal(own_stat(lab.t, "executed-89"), i + 1);
		own_do(lab.t, "clear");
		assert_int_equal(put(&lab, lab.a, 0), 0);
		expect_read(&lab, lab.a, 0);
	}
	assert_true(own_stat(lab.t, "rejects") >= 2 * ARRAY_SIZE(reasons));
	lab_close(&lab);
}

/* ---- what the unit answers ---- */

static void busy_is_waited_out_and_errors_are_told(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", "");
	assert_int_equal(put(&lab, lab.a, 0), 0);
	own_do(lab.t, "stats-reset");
	own_do(lab.t, "status 88 08");
	own_do(lab.t, "status 88 28");
	own_do(lab.t, "status 88 2 6/29/00 2");
	own_do(lab.t, "status 88 2 2/04/01");
	expect_read(&lab, lab.a, 0);
	assert_int_equal(own_stat(lab.t, "executed-88"), 1);
	own_do(lab.t, "medium-error 1 8 1");
	assert_int_equal(bdev_read(lab.bd, lab.now, PIECE, 0), -EIO);
	assert_int_equal(bdev_read(lab.bd, lab.now, PIECE, PIECE), 0);
	own_do(lab.t, "medium-error 1 0 0");
	expect_read(&lab, lab.a, 0);
	own_do(lab.t, "space-full 1 on");
	assert_int_equal(bdev_rw(lab.bd, BDEV_WRITE, 0, lab.b, PIECE, 0, in_ms(200)),
			 -ENOSPC);
	own_do(lab.t, "space-full 1 off");
	expect_read(&lab, lab.a, 0);
	assert_int_equal(put(&lab, lab.b, 0), 0);
	own_do(lab.t, "descriptor-sense on");
	own_do(lab.t, "status 88 2 3/11/00 1");
	assert_int_equal(bdev_read(lab.bd, lab.now, PIECE, 0), -EIO);
	lab_close(&lab);
}

static void a_reset_by_another_is_not_noticed(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	start_write(&lab, lab.a);
	own_do(lab.t, "lun-reset 1");
	batch_wait(&lab.batch);
	assert_int_equal(lab.bio.io.result, 0);
	expect_read(&lab, lab.a, 0);
	lab_close(&lab);
}

/*
 * Another unit comes, ours grows, then ours goes and comes back, then another is there.
 */
static void units_come_grow_and_go(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=FILE", QUICK);
	assert_int_equal(put(&lab, lab.a, 0), 0);
	own_do(lab.t, "lun-add 2 null:64m");
	expect_read(&lab, lab.a, 0);
	own_do(lab.t, "resize 1 96m");
	expect_read(&lab, lab.a, 0);
	assert_int_equal(bdev_rescan(lab.bd), 0);
	assert_int_equal(lab.bd->size, 96u << 20);
	assert_int_equal(put(&lab, lab.b, 80u << 20), 0);
	own_do(lab.t, "lun-remove 2");
	expect_read(&lab, lab.b, 80u << 20);
	own_do(lab.t, "lun-remove 1");
	assert_int_equal(bdev_rw(lab.bd, BDEV_READ, 0, lab.now, PIECE, 0, in_ms(5000)),
			 -ENODEV);
	assert_int_equal(bdev_rw(lab.bd, BDEV_WRITE, 0, lab.a, PIECE, 0, in_ms(5000)),
			 -ENODEV);
	lab_close(&lab);
}

static void another_disk_under_the_same_number_is_never_touched(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "-p 0:1 -l 1=null:64m", QUICK);
	assert_int_equal(put(&lab, lab.b, 0), 0);
	own_do(lab.t, "lun-remove 1");
	own_do(lab.t, "lun-add 1 %s", own_file(lab.t));
	own_do(lab.t, "reset");
	int error = bdev_rw(lab.bd, BDEV_WRITE, 0, lab.a, PIECE, 0, in_ms(5000));
	assert_true(error < 0);
	memset(lab.b, 0, PIECE);
	expect_file(&lab, lab.b, PIECE, 0);
	lab_close(&lab);
}

/* ---- login ---- */

static void open_fails(struct own_target *t, const char *more, int wanted,
		       const char *part)
{
	struct collect told;
	struct bdev *bd = NULL;

	assert_int_equal(device_open(own_url(t, 1, more), 0, NULL, collect_init(&told),
				     &bd),
			 wanted);
	if (!collect_has(&told, part))
		print_message("# %s", collect_text(&told));
	assert_true(collect_has(&told, part));
	assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
	collect_done(&told);
}

static void a_redirect_in_a_circle_ends(void **state)
{
	struct own_target *t = own_start("-p 0:1 -l 1=FILE");
	(void)state;

	own_do(t, "redirect self always");
	open_fails(t, "", -ELOOP, "sent on");
	assert_int_equal(own_stat(t, "logins"), 0);
	own_do(t, "clear");
	/* A few in a row are followed. */
	own_do(t, "redirect self 5");
	struct bdev *bd = NULL;
	assert_int_equal(device_open(own_url(t, 1, ""), 0, NULL, NULL, &bd), 0);
	bdev_close(bd);
	own_free(t);
}

static void chap_is_asked_for_and_given(void **state)
{
	struct own_target *t = own_start(
		"-p 0:1 -l 1=FILE -u alice%alicesecret12 -m disk%disksecret1234");
	struct bdev *bd = NULL;
	(void)state;

	open_fails(t, "", -EACCES, "no user and password");
	open_fails(t, "?user=alice&password=alicesecret13", -EACCES,
		   "authentication failed");
	open_fails(t, "?user=bob&password=alicesecret12", -EACCES,
		   "authentication failed");
	open_fails(t,
		   "?user=alice&password=alicesecret12&target_user=disk"
		   "&target_password=disksecret1235",
		   -EACCES, "the target");
	assert_int_equal(own_stat(t, "88"), 0);
	assert_int_equal(device_open(own_url(t, 1,
					     "?user=alice&password=alicesecret12"
					     "&target_user=disk"
					     "&target_password=disksecret1234"),
				     0, NULL, NULL, &bd),
			 0);
	bdev_close(bd);
	assert_int_equal(own_stat(t, "violations"), 0);
	own_free(t);
	/* One that says nothing to our challenge. */
	t = own_start("-p 0:1 -l 1=FILE -u alice%alicesecret12");
	open_fails(t,
		   "?user=alice&password=alicesecret12&target_user=disk"
		   "&target_password=disksecret1234",
		   -EACCES, "the target");
	own_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lost_answer_to_an_ats_is_unknown_and_it_is_sent_once),
		cmocka_unit_test(a_lost_answer_to_a_read_or_write_is_not_noticed),
		cmocka_unit_test(a_lost_answer_to_a_reservation_is_read_back),
		cmocka_unit_test(reservations_outlive_a_loss_of_power),
		cmocka_unit_test(a_late_write_never_lands),
		cmocka_unit_test(a_late_write_never_lands_though_nobody_answers),
		cmocka_unit_test(a_lost_connection_is_not_noticed),
		cmocka_unit_test(a_target_that_dies_and_comes_back_is_not_noticed),
		cmocka_unit_test(a_black_hole_is_an_error_by_the_deadline),
		cmocka_unit_test(a_bit_that_turns_on_the_way_is_found),
		cmocka_unit_test(a_short_read_is_an_error_and_never_zeros),
		cmocka_unit_test(pieces_of_any_length_are_put_together),
		cmocka_unit_test(wrong_fields_end_the_session_and_no_more),
		cmocka_unit_test(nothing_is_sent_into_a_closed_window),
		cmocka_unit_test(a_window_of_one_is_enough),
		cmocka_unit_test(pings_are_echoed_as_they_came),
		cmocka_unit_test(messages_of_the_target_do_no_harm),
		cmocka_unit_test(a_refused_pdu_is_an_error_and_no_more),
		cmocka_unit_test(busy_is_waited_out_and_errors_are_told),
		cmocka_unit_test(a_reset_by_another_is_not_noticed),
		cmocka_unit_test(units_come_grow_and_go),
		cmocka_unit_test(another_disk_under_the_same_number_is_never_touched),
		cmocka_unit_test(a_redirect_in_a_circle_ends),
		cmocka_unit_test(chap_is_asked_for_and_given),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
