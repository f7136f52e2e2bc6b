/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The initiator against a real target: tests/cli/iscsi_tgt.sh and iscsi_lio.sh run it.
 *
 *   ISCSI_URL   a LUN whose contents may be destroyed; without it everything is skipped
 *   ISCSI_KIND  "tgt" (RESERVE(6), no COMPARE AND WRITE), "lio", "own" (COMPARE AND
 *               WRITE), "chap" (the URL has user and password), "mutual" (and those of
 *               the target; it takes digests)
 *   ISCSI_DOWN, ISCSI_UP, ISCSI_CUT, ISCSI_HANG, ISCSI_THAW  commands: kill the target
 *               and bring it back, drop its connections, freeze it and let it go on
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
#include "base/endian.h"
#include "base/env.h"
#include "iscsi/discovery.h"
#include "iscsi/open.h"
#include "iscsi/url.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"

#define MIB (1u << 20)

static const char *url(void)
{
	return getenv("ISCSI_URL");
}

static bool is_kind(const char *kind)
{
	const char *is = getenv("ISCSI_KIND");
	return is && strcmp(is, kind) == 0;
}

/* name NULL: the machine's own. */
static struct bdev *open_lun_as(const char *name, struct collect *told)
{
	const struct iscsi_options options = { .initiator_name = name };
	struct bdev *bd = NULL;
	int error = device_open(url(), 0, &options, collect_init(told), &bd);

	if (error)
		print_message("# %s", collect_text(told));
	assert_int_equal(error, 0);
	return bd;
}

static struct bdev *open_lun(struct collect *told)
{
	return open_lun_as(NULL, told);
}

static uint64_t after_ms(uint64_t ms)
{
	return clock_now() + ms * NS_PER_MS;
}

static void run_command(const char *name)
{
	const char *command = getenv(name);

	assert_non_null(command);
	assert_int_equal(system(command), 0);
}

/* ---- data ---- */

/* 48 writes of all sizes at once, then read back the same way. */
static void many_at_once_come_back_unharmed(void **state)
{
	enum { COUNT = 48 };
	struct collect told;
	struct batch_io bio[COUNT] = { 0 };
	uint8_t *written = malloc(COUNT * MIB / 4), *read = calloc(COUNT, MIB / 4);
	(void)state;

	struct bdev *bd = open_lun(&told);
	fill_bytes(written, COUNT * MIB / 4, 1);
	for (int pass = 0; pass < 2; pass++) {
		struct batch b;
		for (unsigned int i = 0; i < COUNT; i++) {
			uint64_t len = (1 + i * 37 % 64) * 4096;
			bio[i] = (struct batch_io){ 0 };
			bio[i].io.op = pass ? BDEV_READ : BDEV_WRITE;
			bio[i].io.flags = i % 8 ? 0 : BDEV_FUA;
			bio[i].io.offset = (uint64_t)i * MIB;
			bio[i].io.len = len;
			bio[i].iov.iov_base = (pass ? read : written) + i * MIB / 4;
			bio[i].iov.iov_len = len;
		}
		batch_start(&b, bd, bio, COUNT);
		batch_wait(&b);
		for (unsigned int i = 0; i < COUNT; i++)
			assert_int_equal(bio[i].io.result, 0);
		assert_int_equal(bdev_flush(bd), 0);
	}
	for (unsigned int i = 0; i < COUNT; i++)
		assert_memory_equal(written + i * MIB / 4, read + i * MIB / 4,
				    (1 + i * 37 % 64) * 4096);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 0);
	bdev_close(bd);
	collect_done(&told);
	free(written);
	free(read);
}

struct waited {
	struct bdev_io io;
	struct mutex m;
	struct cond c;
	bool is_done;
};

static void waited_done(struct bdev_io *io)
{
	struct waited *w = (struct waited *)io;

	mutex_lock(&w->m);
	w->is_done = true;
	cond_signal(&w->c);
	mutex_unlock(&w->m);
}

static void waited_start(struct waited *w, struct bdev *bd)
{
	mutex_init(&w->m);
	cond_init(&w->c);
	w->is_done = false;
	w->io.done = waited_done;
	bdev_submit(bd, &w->io);
}

static int waited_end(struct waited *w)
{
	mutex_lock(&w->m);
	while (!w->is_done)
		cond_wait(&w->c, &w->m);
	mutex_unlock(&w->m);
	cond_done(&w->c);
	mutex_done(&w->m);
	return w->io.result;
}

/* 3 MiB at once is more than any burst; its memory comes in pieces of odd lengths. */
static void a_write_longer_than_a_burst_comes_back(void **state)
{
	enum { LEN = 3 * MIB, PIECES = 61 };
	struct collect told;
	struct iovec iov[PIECES];
	uint8_t *written = malloc(LEN), *read = calloc(1, LEN);
	uint64_t at = 0;
	(void)state;

	struct bdev *bd = open_lun(&told);
	fill_bytes(written, LEN, 2);
	for (int i = 0; i < PIECES; i++) {
		uint64_t len = i == PIECES - 1 ? LEN - at : 1 + (uint64_t)i * 1709;
		iov[i] = (struct iovec){ written + at, len };
		at += len;
	}
	struct waited w = { .io = { .op = BDEV_WRITE,
				    .offset = 5 * 4096,
				    .len = LEN,
				    .iov = iov,
				    .iovcnt = PIECES } };
	waited_start(&w, bd);
	assert_int_equal(waited_end(&w), 0);
	assert_int_equal(bdev_read(bd, read, LEN, 5 * 4096), 0);
	assert_memory_equal(written, read, LEN);
	/* And into the odd pieces. */
	memset(written, 0, LEN);
	w.io = (struct bdev_io){ .op = BDEV_READ,
				 .offset = 5 * 4096,
				 .len = LEN,
				 .iov = iov,
				 .iovcnt = PIECES };
	waited_start(&w, bd);
	assert_int_equal(waited_end(&w), 0);
	assert_memory_equal(written, read, LEN);
	bdev_close(bd);
	collect_done(&told);
	free(written);
	free(read);
}

static void zeroed_ranges_read_as_zeros(void **state)
{
	enum { LEN = 2 * MIB };
	struct collect told;
	uint8_t *bytes = malloc(LEN), *zeros = calloc(1, LEN);
	(void)state;

	struct bdev *bd = open_lun(&told);
	fill_bytes(bytes, LEN, 3);
	assert_int_equal(bdev_write(bd, bytes, LEN, MIB), 0);
	assert_int_equal(bdev_zero(bd, LEN - 8192, MIB + 4096), 0);
	assert_int_equal(bdev_read(bd, zeros, LEN, MIB), 0);
	assert_memory_equal(zeros, bytes, 4096);
	assert_memory_equal(zeros + LEN - 4096, bytes + LEN - 4096, 4096);
	for (uint32_t i = 4096; i < LEN - 4096; i++)
		assert_int_equal(zeros[i], 0);
	int error = bdev_unmap(bd, LEN, MIB);
	assert_true(error == 0 || (error == -EOPNOTSUPP && !bd->has_unmap));
	bdev_close(bd);
	collect_done(&told);
	free(bytes);
	free(zeros);
}

static void the_device_tells_what_it_is(void **state)
{
	struct collect told;
	struct iscsi_url u;
	uint8_t block[4096];
	(void)state;

	struct bdev *bd = open_lun(&told);
	assert_true(bd->block_size == 512 || bd->block_size == 4096);
	assert_true(bd->size >= 64 * MIB);
	assert_int_equal(bd->identity.type, 2);
	assert_int_equal(bd->identity.len, 22);
	assert_memory_equal(bd->identity.id + 16, bd->identity.model, 6);
	assert_int_equal(bd->identity.device_type, 0);
	assert_int_equal(iscsi_url_parse(url(), NULL, &u), 0);
	assert_string_equal(bd->name, u.text);
	assert_int_equal(bd->caw, BDEV_CAW_ATS);
	/* Past the end, and across it. */
	assert_int_equal(bdev_read(bd, block, 4096, bd->size), -EINVAL);
	assert_int_equal(bdev_read(bd, block, 4096, round_down(bd->size, 4096) - 4096),
			 0);
	bdev_close(bd);
	collect_done(&told);
}

/* ---- conditional writes ---- */

static void caw_writes_only_over_what_was_expected(void **state)
{
	struct collect told;
	static uint8_t a[4096], b[4096], now[4096];
	(void)state;

	struct bdev *bd = open_lun(&told);
	uint32_t size = bd->block_size;
	fill_bytes(a, sizeof(a), 4);
	fill_bytes(b, sizeof(b), 5);
	assert_int_equal(bdev_write(bd, a, size, 8 * size), 0);
	assert_int_equal(bdev_caw(bd, a, b, size, 8 * size, 0), 0);
	assert_int_equal(bdev_read(bd, now, size, 8 * size), 0);
	assert_memory_equal(now, b, size);
	assert_int_equal(bdev_caw(bd, a, a, size, 8 * size, 0), -EILSEQ);
	assert_int_equal(bdev_read(bd, now, size, 8 * size), 0);
	assert_memory_equal(now, b, size);
	assert_int_equal(bd->caw, BDEV_CAW_ATS);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 0);
	bdev_close(bd);
	collect_done(&told);
}

static void caw_on_tgt_does_not_exist(void **state)
{
	struct collect told;
	static uint8_t a[4096] = { 1 }, b[4096] = { 2 }, now[4096];
	(void)state;

	struct bdev *bd = open_lun(&told);
	uint32_t size = bd->block_size;
	assert_int_equal(bdev_write(bd, a, size, 8 * size), 0);
	assert_int_equal(bdev_caw(bd, a, b, size, 8 * size, 0), -EOPNOTSUPP);
	assert_int_equal(bdev_read(bd, now, size, 8 * size), 0);
	assert_memory_equal(now, a, size);
	assert_int_equal(bd->caw, BDEV_CAW_RESERVE);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 0);
	bdev_close(bd);
	collect_done(&told);
}

struct racer {
	struct bdev *bd;
	struct collect told;
	uint32_t wins, losses;
	int error;
};

/* Adds one to the number in the block, 60 times. */
static void race(void *arg)
{
	struct racer *r = arg;
	uint32_t size = r->bd->block_size;
	uint8_t old[4096], new[4096];

	while (r->wins < 60 && !r->error) {
		r->error = bdev_read(r->bd, old, size, 16 * size);
		if (r->error)
			return;
		memcpy(new, old, size);
		le64 count;
		memcpy(count.b, old, sizeof(count.b));
		count = le64_of(le64_get(count) + 1);
		memcpy(new, count.b, sizeof(count.b));
		int error = bdev_caw(r->bd, old, new, size, 16 * size, 0);
		if (error == 0)
			r->wins++;
		else if (error == -EILSEQ)
			r->losses++;
		else
			r->error = error;
	}
}

static void counting_by_caw_in_two_sessions_loses_nothing(void **state)
{
	struct racer r[4] = { 0 };
	struct task *t[4];
	uint8_t block[4096] = { 0 };
	uint32_t losses = 0;
	(void)state;

	r[0].bd = open_lun(&r[0].told);
	r[1].bd = open_lun(&r[1].told);
	r[2].bd = r[0].bd;
	r[3].bd = r[1].bd;
	uint32_t size = r[0].bd->block_size;
	assert_int_equal(bdev_write(r[0].bd, block, size, 16 * size), 0);
	for (int i = 0; i < 4; i++)
		t[i] = task_start("racer", race, &r[i]);
	for (int i = 0; i < 4; i++)
		task_join(t[i]);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(r[i].error, 0);
		losses += r[i].losses;
	}
	assert_int_equal(bdev_read(r[0].bd, block, size, 16 * size), 0);
	le64 count;
	memcpy(count.b, block, sizeof(count.b));
	assert_int_equal(le64_get(count), 4 * 60);
	print_message("# 240 increments, %u lost their race\n", losses);
	assert_true(losses > 0); /* else they never met, and nothing is shown */
	for (int i = 0; i < 2; i++) {
		bdev_close(r[i].bd);
		collect_done(&r[i].told);
	}
}

/* ---- RESERVE(6) ---- */

static void a_reservation_keeps_the_other_session_out(void **state)
{
	struct collect told[2];
	uint8_t block[4096] = { 7 };
	struct iovec iov = { block, 4096 };
	(void)state;

	struct bdev *a = open_lun(&told[0]), *b = open_lun(&told[1]);
	assert_int_equal(bdev_reserve(a, true), 0);
	assert_int_equal(bdev_reserve(b, true), -EBUSY);
	assert_int_equal(bdev_rw(b, BDEV_WRITE, 0, block, 4096, 0, after_ms(300)),
			 -EBUSY);
	/* What waits goes on when it is released. */
	struct waited w = {
		.io = { .op = BDEV_WRITE, .len = 4096, .iov = &iov, .iovcnt = 1 }
	};
	waited_start(&w, b);
	assert_int_equal(bdev_write(a, block, 4096, 8192), 0);
	task_sleep_until(after_ms(200));
	assert_false(w.is_done);
	assert_int_equal(bdev_reserve(a, false), 0);
	assert_int_equal(waited_end(&w), 0);
	assert_int_equal(bdev_reserve(b, true), 0);
	assert_int_equal(bdev_reserve(b, false), 0);
	assert_int_equal(collect_count(&told[1], REPORT_ERROR), 0);
	for (int i = 0; i < 2; i++) {
		bdev_close(i ? b : a);
		collect_done(&told[i]);
	}
}

/* The reservation of a host that is cut off ends with its session. */
static void a_reservation_dies_with_its_session(void **state)
{
	struct collect told[2];
	int error = -EBUSY;
	(void)state;

	struct bdev *a = open_lun(&told[0]), *b = open_lun(&told[1]);
	assert_int_equal(bdev_reserve(a, true), 0);
	bdev_cut(a);
	for (int i = 0; i < 50 && error == -EBUSY; i++) {
		error = bdev_reserve(b, true);
		task_sleep_until(after_ms(20));
	}
	assert_int_equal(error, 0);
	assert_int_equal(bdev_reserve(b, false), 0);
	for (int i = 0; i < 2; i++) {
		bdev_close(i ? b : a);
		collect_done(&told[i]);
	}
}

/* LOGICAL UNIT RESET: reservations go, every session hears of it, and works on. */
static void a_reset_is_heard_by_all(void **state)
{
	struct collect told[2];
	uint8_t block[4096] = { 9 };
	(void)state;

	/* LIO tells each initiator once, however many sessions it has. */
	struct bdev *a = open_lun_as("iqn.2026-01.org.openvmfs:a", &told[0]);
	struct bdev *b = open_lun_as("iqn.2026-01.org.openvmfs:b", &told[1]);
	uint32_t before[2] = { bdev_events(a), bdev_events(b) };
	assert_int_equal(bdev_reserve(a, true), 0);
	assert_int_equal(bdev_reset(b, after_ms(60000)), 0);
	assert_int_equal(bdev_write(b, block, 4096, 0), 0);
	assert_int_not_equal(bdev_events(b), before[1]);
	/* In the middle of its bracket: what it does not know to be safe is not sent. */
	assert_int_equal(bdev_write(a, block, a->block_size, 0), -ETIMEDOUT);
	assert_int_not_equal(bdev_events(a), before[0]);
	assert_int_equal(bdev_reserve(a, false), 0);
	assert_int_equal(bdev_write(a, block, 4096, 0), 0);
	for (int i = 0; i < 2; i++) {
		bdev_close(i ? b : a);
		collect_done(&told[i]);
	}
}

struct bracket_racer {
	struct bdev *bd;
	struct collect told;
	uint32_t wins, unknown;
	int error;
};

/* Reads, adds one and writes under RESERVE(6). 0, -ETIMEDOUT: perhaps done, -errno. */
static int add_one(struct bracket_racer *r, uint8_t *block)
{
	uint32_t size = r->bd->block_size;
	int error;

	while ((error = bdev_reserve(r->bd, true)) == -EBUSY)
		task_sleep_until(after_ms(1 + random_u64() % 4));
	if (error)
		return -EAGAIN;
	error = bdev_read(r->bd, block, size, 32 * size);
	if (error == 0) {
		le64 count;
		memcpy(count.b, block, sizeof(count.b));
		count = le64_of(le64_get(count) + 1);
		memcpy(block, count.b, sizeof(count.b));
		error = bdev_reserve(r->bd, true) ? -EAGAIN : 0;
	}
	if (error == 0)
		error = bdev_write(r->bd, block, size, 32 * size);
	int released = bdev_reserve(r->bd, false);
	return error ? error : released;
}

static void race_in_brackets(void *arg)
{
	struct bracket_racer *r = arg;
	uint8_t block[4096];

	while (r->wins < 60 && !r->error) {
		int error = add_one(r, block);
		if (error == 0)
			r->wins++;
		else if (error == -ETIMEDOUT)
			r->unknown++;
		else if (error != -EAGAIN)
			r->error = error;
	}
}

/* Two sessions, two tasks each; the connections are cut all the while. */
static void counting_in_brackets_loses_nothing(void **state)
{
	struct bracket_racer r[4] = { 0 };
	struct task *t[4];
	static uint8_t block[4096];
	uint32_t wins = 0, unknown = 0;
	(void)state;

	r[0].bd = open_lun(&r[0].told);
	r[1].bd = open_lun(&r[1].told);
	r[2].bd = r[0].bd;
	r[3].bd = r[1].bd;
	uint32_t size = r[0].bd->block_size;
	memset(block, 0, sizeof(block));
	assert_int_equal(bdev_write(r[0].bd, block, size, 32 * size), 0);
	for (int i = 0; i < 4; i++)
		t[i] = task_start("racer", race_in_brackets, &r[i]);
	for (int i = 0; i < 8; i++) {
		task_sleep_until(after_ms(20));
		run_command("ISCSI_CUT");
	}
	for (int i = 0; i < 4; i++) {
		task_join(t[i]);
		assert_int_equal(r[i].error, 0);
		wins += r[i].wins;
		unknown += r[i].unknown;
	}
	assert_int_equal(bdev_read(r[0].bd, block, size, 32 * size), 0);
	le64 count;
	memcpy(count.b, block, sizeof(count.b));
	print_message("# %u increments, %u perhaps, counted %llu\n", wins, unknown,
		      (unsigned long long)le64_get(count));
	assert_in_range(le64_get(count), wins, wins + unknown);
	for (int i = 0; i < 2; i++) {
		bdev_close(r[i].bd);
		collect_done(&r[i].told);
	}
}

/*
 * The connection is lost inside a bracket, and with it the reservation: the write that
 * ends the read-compare-write must not happen on the new session.
 */
static void a_broken_bracket_writes_nothing(void **state)
{
	struct collect told;
	static uint8_t old[4096], new[4096], now[4096];
	(void)state;

	fill_bytes(old, sizeof(old), 9);
	fill_bytes(new, sizeof(new), 10);
	struct bdev *bd = open_lun(&told);
	uint32_t size = bd->block_size;
	assert_int_equal(bdev_write(bd, old, size, 24 * size), 0);
	assert_int_equal(bdev_reserve(bd, true), 0);
	run_command("ISCSI_CUT");
	assert_int_equal(bdev_read(bd, now, size, 24 * size), 0); /* reconnects */
	assert_int_equal(bdev_write(bd, new, size, 24 * size), -ETIMEDOUT);
	assert_int_equal(bdev_reserve(bd, false), 0);
	assert_int_equal(bdev_read(bd, now, size, 24 * size), 0);
	assert_memory_equal(now, old, size);
	assert_int_equal(bdev_reserve(bd, true), 0);
	assert_int_equal(bdev_write(bd, new, size, 24 * size), 0);
	assert_int_equal(bdev_reserve(bd, false), 0);
	bdev_close(bd);
	collect_done(&told);
}

/* ---- fences and losses ---- */

/* It hangs for longer than the caller waits, not for long enough to be given up. */
static void a_hanging_target_is_an_error_by_the_deadline(void **state)
{
	struct collect told;
	static uint8_t block[4096], now[4096];
	(void)state;

	struct bdev *bd = open_lun(&told);
	fill_bytes(block, sizeof(block), 11);
	run_command("ISCSI_HANG");
	uint64_t start = clock_now();
	int written = bdev_rw(bd, BDEV_WRITE, 0, block, 4096, 0, after_ms(300));
	int read = bdev_rw(bd, BDEV_READ, 0, now, 4096, 0, after_ms(300));
	uint64_t took = clock_now() - start;
	run_command("ISCSI_THAW");
	assert_int_equal(written, -ETIMEDOUT);
	assert_int_equal(read, -ETIMEDOUT);
	assert_in_range(took, 600 * NS_PER_MS, 5 * NS_PER_S);
	assert_true(collect_has(&told, "write: no answer in time"));
	assert_int_equal(bdev_write(bd, block, 4096, 4096), 0);
	assert_int_equal(bdev_read(bd, now, 4096, 4096), 0);
	assert_memory_equal(now, block, 4096);
	assert_false(collect_has(&told, "connection lost"));
	bdev_close(bd);
	collect_done(&told);
}

static void after_a_cut_nothing_works_and_nothing_is_written(void **state)
{
	struct collect told[2];
	static uint8_t old[4096], new[4096], now[4096];
	(void)state;

	fill_bytes(old, sizeof(old), 6);
	fill_bytes(new, sizeof(new), 7);
	struct bdev *a = open_lun(&told[0]), *b = open_lun(&told[1]);
	assert_int_equal(bdev_write(a, old, 4096, 40960), 0);
	bdev_cut(a);
	bdev_cut(a);
	uint64_t start = clock_now();
	assert_int_equal(bdev_write(a, new, 4096, 40960), -ESTALE);
	assert_int_equal(bdev_read(a, new, 4096, 40960), -ESTALE);
	assert_int_equal(bdev_reserve(a, true), -ESTALE);
	assert_true(clock_now() - start < 5 * NS_PER_S);
	assert_int_equal(bdev_read(b, now, 4096, 40960), 0);
	assert_memory_equal(now, old, 4096);
	for (int i = 0; i < 2; i++) {
		bdev_close(i ? b : a);
		collect_done(&told[i]);
	}
}

static void a_killed_target_is_an_error_by_the_deadline(void **state)
{
	struct collect told;
	uint8_t *bytes = malloc(MIB), *now = malloc(MIB);
	(void)state;

	struct bdev *bd = open_lun(&told);
	fill_bytes(bytes, MIB, 8);
	assert_int_equal(bdev_write(bd, bytes, MIB, 0), 0);
	assert_int_equal(bdev_flush(bd), 0);
	run_command("ISCSI_DOWN");
	uint64_t start = clock_now();
	assert_int_equal(bdev_rw(bd, BDEV_WRITE, 0, bytes, MIB, MIB, after_ms(1000)),
			 -ETIMEDOUT);
	assert_in_range(clock_now() - start, 900 * NS_PER_MS, 5 * NS_PER_S);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
	assert_true(collect_has(&told, url()));
	assert_true(collect_has(&told, "connection lost"));
	/* One that has time enough survives the restart. */
	struct iovec iov = { bytes, MIB };
	struct waited w = { .io = { .op = BDEV_WRITE,
				    .offset = MIB,
				    .len = MIB,
				    .iov = &iov,
				    .iovcnt = 1,
				    .deadline = after_ms(120000) } };
	waited_start(&w, bd);
	run_command("ISCSI_UP");
	assert_int_equal(waited_end(&w), 0);
	assert_true(collect_has(&told, "connected again"));
	assert_int_equal(bdev_read(bd, now, MIB, MIB), 0);
	assert_memory_equal(now, bytes, MIB);
	assert_int_equal(bdev_read(bd, now, MIB, 0), 0);
	assert_memory_equal(now, bytes, MIB);
	bdev_close(bd);
	collect_done(&told);
	free(bytes);
	free(now);
}

struct writer {
	struct bdev *bd;
	uint32_t done, failed;
	bool is_over;
	struct mutex m;
};

static void keep_writing(void *arg)
{
	struct writer *w = arg;
	uint8_t block[4096];

	for (uint32_t i = 0;; i++) {
		mutex_lock(&w->m);
		bool is_over = w->is_over;
		mutex_unlock(&w->m);
		if (is_over)
			return;
		fill_bytes(block, sizeof(block), i);
		if (bdev_write(w->bd, block, sizeof(block), i % 256 * 4096ull))
			w->failed++;
		else
			w->done++;
	}
}

/* The connection is cut again and again under load: no write fails. */
static void lost_connections_are_not_noticed_by_writers(void **state)
{
	struct collect told;
	struct writer w = { 0 };
	(void)state;

	w.bd = open_lun(&told);
	mutex_init(&w.m);
	struct task *t = task_start("writer", keep_writing, &w);
	for (int i = 0; i < 10; i++) {
		task_sleep_until(after_ms(50));
		run_command("ISCSI_CUT");
	}
	mutex_lock(&w.m);
	w.is_over = true;
	mutex_unlock(&w.m);
	task_join(t);
	print_message("# %u writes\n", w.done);
	assert_int_equal(w.failed, 0);
	assert_true(w.done > 10);
	assert_true(collect_count(&told, REPORT_WARN) >= 5);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 0);
	bdev_close(w.bd);
	mutex_done(&w.m);
	collect_done(&told);
}

/* ---- what cannot be opened ---- */

static void open_fails(const char *text, int wanted, const char *part)
{
	struct collect told;
	struct bdev *bd = NULL;

	assert_int_equal(device_open(text, 0, NULL, collect_init(&told), &bd), wanted);
	if (!collect_has(&told, part))
		print_message("# %s", collect_text(&told));
	assert_true(collect_has(&told, part));
	assert_true(collect_has(&told, text));
	assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
	collect_done(&told);
}

static void what_cannot_be_opened_is_one_clear_line(void **state)
{
	struct iscsi_url u;
	char text[512];
	(void)state;

	assert_int_equal(iscsi_url_parse(url(), NULL, &u), 0);
	(void)snprintf(text, sizeof(text), "iscsi://127.0.0.1:9/%s/%u", u.target, u.lun);
	open_fails(text, -ECONNREFUSED, "Connection refused");
	(void)snprintf(text, sizeof(text), "iscsi://%s:%u/iqn.2026-01.no.such:x/1",
		       u.host, u.port);
	if (is_kind("lio"))
		open_fails(text, -EHOSTDOWN, "there is none of that name (status 03/01)");
	else
		open_fails(text, -ENOENT, "target not found (status 02/03)");
	(void)snprintf(text, sizeof(text), "iscsi://%s:%u/%s/77", u.host, u.port,
		       u.target);
	open_fails(text, -ENODEV, "the target has no LUN 77; it has LUN ");
	if (!is_kind("tgt"))
		return;
	(void)snprintf(text, sizeof(text), "iscsi://%s:%u/%s/0", u.host, u.port,
		       u.target);
	open_fails(text, -EMEDIUMTYPE, "LUN 0 is no disk (device type 0ch)");
}

/* The URL of a target that demands CHAP, without and with a wrong password. */
static void chap_wants_the_right_password(void **state)
{
	struct iscsi_url u;
	char text[1024];
	(void)state;

	assert_int_equal(iscsi_url_parse(url(), NULL, &u), 0);
	(void)snprintf(text, sizeof(text), "iscsi://%s:%u/%s/%u", u.host, u.port,
		       u.target, u.lun);
	open_fails(text, -EACCES, "no user and password were given");
	struct collect told;
	struct bdev *bd = NULL;
	(void)snprintf(text, sizeof(text), "iscsi://%s%%not-the-secret@%s:%u/%s/%u",
		       u.user, u.host, u.port, u.target, u.lun);
	assert_int_equal(device_open(text, 0, NULL, collect_init(&told), &bd), -EACCES);
	assert_true(collect_has(&told, "authentication failed (status 02/01)"));
	assert_false(collect_has(&told, "not-the-secret"));
	collect_done(&told);
}

static void fails_by_login(const struct iscsi_url *u, const char *keys, int error,
			   const char *why)
{
	struct collect told;
	struct bdev *bd = NULL;
	char text[2048];

	(void)snprintf(text, sizeof(text), "iscsi://%s%%%s@%s:%u/%s/%u?%s", u->user,
		       u->password, u->host, u->port, u->target, u->lun, keys);
	assert_int_equal(device_open(text, 0, NULL, collect_init(&told), &bd), error);
	if (!collect_has(&told, why))
		fail_msg("not told: %s", why);
	assert_false(collect_has(&told, u->target_password));
	collect_done(&told);
}

/* A target that proves itself to us; with another secret it would be another's. */
static void mutual_chap_wants_the_right_target(void **state)
{
	struct iscsi_url u;
	char keys[600];
	(void)state;

	assert_int_equal(iscsi_url_parse(url(), NULL, &u), 0);
	(void)snprintf(keys, sizeof(keys), "target_user=%s&target_password=wrong-secret",
		       u.target_user);
	fails_by_login(&u, keys, -EACCES, "the target's CHAP answer is wrong");
	(void)snprintf(keys, sizeof(keys), "target_user=nobody&target_password=%s",
		       u.target_password);
	fails_by_login(&u, keys, -EACCES, "in CHAP, not nobody");
}

/* With digests demanded of both sides, large and small I/O comes back unharmed. */
static void digests_are_made_and_found_right(void **state)
{
	static const uint64_t lens[] = { 512, 4096, 65536 + 512, 1 << 20 };
	struct collect told;
	struct bdev *bd = NULL;
	char text[2048];
	(void)state;

	(void)snprintf(text, sizeof(text), "%s&%s&%s", url(), "header_digest=required",
		       "data_digest=required");
	assert_int_equal(device_open(text, 0, NULL, collect_init(&told), &bd), 0);
	for (unsigned int i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint8_t *out = io_alloc(lens[i]), *in = io_alloc(lens[i]);
		fill_bytes(out, lens[i], i + 77);
		assert_int_equal(bdev_write(bd, out, lens[i], 1 << 20), 0);
		assert_int_equal(bdev_read(bd, in, lens[i], 1 << 20), 0);
		assert_memory_equal(out, in, lens[i]);
		free(out);
		free(in);
	}
	bdev_close(bd);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 0);
	collect_done(&told);
}

static void discovery_finds_the_target(void **state)
{
	struct collect told;
	struct iscsi_target *list = NULL;
	struct iscsi_url u;
	bool is_found = false;
	(void)state;

	assert_int_equal(iscsi_url_parse(url(), NULL, &u), 0);
	int count = iscsi_discover(&u, NULL, collect_init(&told), &list);
	assert_true(count > 0);
	for (int i = 0; i < count; i++)
		is_found |= strcmp(list[i].name, u.target) == 0;
	assert_true(is_found);
	u.port = 9;
	assert_int_equal(iscsi_discover(&u, NULL, &told.base, &list), -ECONNREFUSED);
	assert_true(
		collect_has(&told, "127.0.0.1:9: discovery failed: Connection refused"));
	free(list);
	collect_done(&told);
}

int main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(the_device_tells_what_it_is),
		cmocka_unit_test(many_at_once_come_back_unharmed),
		cmocka_unit_test(a_write_longer_than_a_burst_comes_back),
		cmocka_unit_test(zeroed_ranges_read_as_zeros),
		cmocka_unit_test(a_reset_is_heard_by_all),
		cmocka_unit_test(after_a_cut_nothing_works_and_nothing_is_written),
		cmocka_unit_test(what_cannot_be_opened_is_one_clear_line),
		cmocka_unit_test(discovery_finds_the_target),
		cmocka_unit_test(a_hanging_target_is_an_error_by_the_deadline),
		cmocka_unit_test(a_killed_target_is_an_error_by_the_deadline),
	};
	const struct CMUnitTest tgt[] = {
		cmocka_unit_test(caw_on_tgt_does_not_exist),
		cmocka_unit_test(a_reservation_keeps_the_other_session_out),
		cmocka_unit_test(a_reservation_dies_with_its_session),
		cmocka_unit_test(counting_in_brackets_loses_nothing),
		cmocka_unit_test(a_broken_bracket_writes_nothing),
		cmocka_unit_test(lost_connections_are_not_noticed_by_writers),
	};
	const struct CMUnitTest lio[] = {
		cmocka_unit_test(caw_writes_only_over_what_was_expected),
		cmocka_unit_test(counting_by_caw_in_two_sessions_loses_nothing),
	};
	const struct CMUnitTest chap[] = {
		cmocka_unit_test(the_device_tells_what_it_is),
		cmocka_unit_test(many_at_once_come_back_unharmed),
		cmocka_unit_test(chap_wants_the_right_password),
	};
	const struct CMUnitTest mutual[] = {
		cmocka_unit_test(the_device_tells_what_it_is),
		cmocka_unit_test(many_at_once_come_back_unharmed),
		cmocka_unit_test(digests_are_made_and_found_right),
		cmocka_unit_test(mutual_chap_wants_the_right_target),
	};

	if (!url()) {
		printf("1..0 # SKIP no ISCSI_URL (tests/cli/iscsi_*.sh set it)\n");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (is_kind("chap"))
		return cmocka_run_group_tests(chap, NULL, NULL);
	if (is_kind("mutual"))
		return cmocka_run_group_tests(mutual, NULL, NULL);
	bool has_caw = is_kind("lio") || is_kind("own");
	int failed = has_caw ? cmocka_run_group_tests(lio, NULL, NULL)
			     : cmocka_run_group_tests(tgt, NULL, NULL);
	return failed + cmocka_run_group_tests(all, NULL, NULL);
}
