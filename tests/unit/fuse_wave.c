/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long reads in waves (fuse/wave.h): who may go to the device at once, who waits and for
 * what, and that nobody waits while nobody is there. The readers are tasks, and sleep
 * where a real one reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "base/env.h"
#include "fuse/wave.h"

#define PIECE (1u << 20)
#define MAX (4 * PIECE)
#define READERS 16u
#define READS 400u
#define LONG_NS (20 * NS_PER_S)

struct reader {
	struct wave *wave;
	struct task *task;
	atomic_bool is_there, may_end;
	uint64_t seed;
};

static void read_once(void *arg)
{
	struct reader *r = arg;
	wave_begin(r->wave, PIECE);
	r->is_there = true;
	while (!r->may_end)
		task_sleep_until(clock_now() + NS_PER_MS);
	wave_end(r->wave, PIECE);
}

static void reader_start(struct reader *r, struct wave *w)
{
	r->wave = w;
	r->task = task_start("reader", read_once, r);
	assert_non_null(r->task);
}

static unsigned int waiting(struct wave *w)
{
	mutex_lock(&w->m);
	unsigned int n = w->waiting;
	mutex_unlock(&w->m);
	return n;
}

static unsigned int there(struct reader *r, unsigned int count)
{
	unsigned int n = 0;
	for (unsigned int i = 0; i < count; i++)
		n += r[i].is_there;
	return n;
}

/* That many of them are at the device, the others wait. */
static void assert_meets(struct wave *w, struct reader *r, unsigned int count,
			 unsigned int at_device)
{
	uint64_t end = clock_now() + LONG_NS;
	while ((there(r, count) != at_device || waiting(w) != count - at_device) &&
	       clock_now() < end)
		task_sleep_until(clock_now() + NS_PER_MS);
	assert_int_equal(there(r, count), at_device);
	assert_int_equal(waiting(w), count - at_device);
}

static void finish(struct reader *r)
{
	r->may_end = true;
	task_join(r->task);
}

static void up_to_the_limit_nobody_waits_and_then_all_do(void **state)
{
	struct wave w;
	struct reader r[7] = { 0 };
	(void)state;
	wave_init(&w, MAX);
	for (unsigned int i = 0; i < 4; i++)
		reader_start(&r[i], &w);
	assert_meets(&w, r, 4, 4);
	for (unsigned int i = 4; i < 7; i++)
		reader_start(&r[i], &w);
	assert_meets(&w, r, 7, 4);
	/* One end lets all go that wait, though that is more than the limit. */
	finish(&r[2]);
	assert_meets(&w, r, 7, 7);
	for (unsigned int i = 0; i < 7; i++)
		if (i != 2)
			finish(&r[i]);
	assert_int_equal(w.at_device, 0);
	wave_done(&w);
}

/* Six are there, more than the limit: who comes behind waits for one end, not for two. */
static void who_waits_goes_with_the_next_end(void **state)
{
	struct wave w;
	struct reader r[7] = { 0 };
	(void)state;
	wave_init(&w, MAX);
	for (unsigned int i = 0; i < 4; i++)
		reader_start(&r[i], &w);
	assert_meets(&w, r, 4, 4);
	for (unsigned int i = 4; i < 6; i++)
		reader_start(&r[i], &w);
	assert_meets(&w, r, 6, 4);
	finish(&r[0]);
	assert_meets(&w, r, 6, 6);
	reader_start(&r[6], &w);
	assert_meets(&w, r, 7, 6);
	finish(&r[1]);
	assert_meets(&w, r, 7, 7);
	for (unsigned int i = 2; i < 7; i++)
		finish(&r[i]);
	wave_done(&w);
}

static uint64_t draw(struct reader *r)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return r->seed;
}

static void read_on(void *arg)
{
	struct reader *r = arg;
	for (unsigned int i = 0; i < READS; i++) {
		uint64_t len = draw(r) % PIECE + 1;
		wave_begin(r->wave, len);
		if (draw(r) % 4)
			task_sleep_until(clock_now() + draw(r) % (100 * NS_PER_US));
		wave_end(r->wave, len);
	}
	r->is_there = true;
}

/* Nobody is left behind: a wake-up that is lost would be one for ever. */
static void all_readers_come_to_their_end(void **state)
{
	struct wave w;
	struct reader r[READERS] = { 0 };
	(void)state;
	wave_init(&w, MAX);
	for (unsigned int i = 0; i < READERS; i++) {
		r[i].wave = &w;
		r[i].seed = 88172645463325252ull + i;
		r[i].task = task_start("reader", read_on, &r[i]);
		assert_non_null(r[i].task);
	}
	uint64_t end = clock_now() + LONG_NS;
	while (there(r, READERS) < READERS && clock_now() < end)
		task_sleep_until(clock_now() + NS_PER_MS);
	assert_int_equal(there(r, READERS), READERS);
	for (unsigned int i = 0; i < READERS; i++)
		task_join(r[i].task);
	assert_int_equal(w.at_device, 0);
	assert_int_equal(w.waiting, 0);
	wave_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(up_to_the_limit_nobody_waits_and_then_all_do),
		cmocka_unit_test(who_waits_goes_with_the_next_end),
		cmocka_unit_test(all_readers_come_to_their_end),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("fuse_wave", tests, NULL, NULL);
}
