/* SPDX-License-Identifier: Apache-2.0 */
/* The real environment, and the sleeplock on it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/env.h"

#define TASKS 4

static void clocks_advance(void **state)
{
	(void)state;
	uint64_t last = clock_now();
	for (unsigned int i = 0; i < 1000; i++) {
		uint64_t now = clock_now();
		assert_true(now >= last);
		last = now;
	}
	/* After 2020 and before 2100, in microseconds. */
	assert_in_range(clock_wall_us() / 1000000, 1577836800, 4102444800);
}

static void sleep_lasts_until_the_deadline(void **state)
{
	(void)state;
	uint64_t start = clock_now();
	task_sleep_until(start + 20 * NS_PER_MS);
	assert_in_range(clock_now() - start, 20 * NS_PER_MS, 2 * NS_PER_S);
	task_sleep_until(0); /* long ago: returns at once */
}

static void random_fills_all_bytes(void **state)
{
	(void)state;
	uint8_t buf[1000], ored[1000] = { 0 };
	for (unsigned int round = 0; round < 20; round++) {
		random_bytes(buf, sizeof(buf));
		for (unsigned int i = 0; i < sizeof(buf); i++)
			ored[i] |= buf[i];
	}
	for (unsigned int i = 0; i < sizeof(buf); i++)
		assert_int_not_equal(ored[i], 0);
	assert_true(random_u64() != random_u64());
}

struct shared {
	struct mutex m;
	struct cond c;
	struct sleeplock lock;
	unsigned int count, ready;
	const struct task *tasks[TASKS];
};

static void count_under_mutex(void *arg)
{
	struct shared *s = arg;
	mutex_lock(&s->m);
	s->tasks[s->ready++] = task_self();
	cond_broadcast(&s->c);
	mutex_unlock(&s->m);
	for (unsigned int i = 0; i < 10000; i++) {
		struct mutex *m AUTO_UNLOCK = &s->m;
		mutex_lock(m);
		s->count++;
	}
}

static void start_all(struct shared *s, struct task *tasks[TASKS], void (*fn)(void *arg))
{
	mutex_init(&s->m);
	cond_init(&s->c);
	sleeplock_init(&s->lock);
	s->count = s->ready = 0;
	for (unsigned int i = 0; i < TASKS; i++) {
		tasks[i] = task_start("counter", fn, s);
		assert_non_null(tasks[i]);
	}
}

static void join_all(struct shared *s, struct task *tasks[TASKS])
{
	for (unsigned int i = 0; i < TASKS; i++)
		task_join(tasks[i]);
	sleeplock_done(&s->lock);
	cond_done(&s->c);
	mutex_done(&s->m);
}

static void mutex_excludes_and_tasks_differ(void **state)
{
	(void)state;
	struct shared s;
	struct task *tasks[TASKS];
	start_all(&s, tasks, count_under_mutex);
	mutex_lock(&s.m);
	while (s.ready < TASKS)
		cond_wait(&s.c, &s.m);
	mutex_unlock(&s.m);
	for (unsigned int i = 0; i < TASKS; i++) {
		assert_ptr_not_equal(s.tasks[i], task_self());
		for (unsigned int j = 0; j < i; j++)
			assert_ptr_not_equal(s.tasks[i], s.tasks[j]);
	}
	join_all(&s, tasks);
	assert_int_equal(s.count, TASKS * 10000);
	assert_non_null(task_self());
	assert_ptr_equal(task_self(), task_self());
	task_join(NULL);
}

static void timed_wait_times_out_at_its_deadline(void **state)
{
	(void)state;
	struct mutex m;
	struct cond c;
	mutex_init(&m);
	cond_init(&c);
	mutex_lock(&m);
	uint64_t start = clock_now();
	int err = 0;
	while (!err)
		err = cond_wait_until(&c, &m, start + 20 * NS_PER_MS);
	assert_int_equal(err, -ETIMEDOUT);
	assert_in_range(clock_now() - start, 20 * NS_PER_MS, 2 * NS_PER_S);
	assert_int_equal(cond_wait_until(&c, &m, 0), -ETIMEDOUT);
	mutex_unlock(&m);
	cond_done(&c);
	mutex_done(&m);
}

static void signal_once(void *arg)
{
	struct shared *s = arg;
	mutex_lock(&s->m);
	s->ready = 1;
	cond_signal(&s->c);
	mutex_unlock(&s->m);
}

static void signal_ends_a_timed_wait(void **state)
{
	(void)state;
	static const uint64_t waits_s[] = { 30, 1ull << 33 };
	for (unsigned int i = 0; i < 3; i++) {
		struct shared s = { .ready = 0 };
		mutex_init(&s.m);
		cond_init(&s.c);
		uint64_t deadline =
			i < 2 ? clock_now() + waits_s[i] * NS_PER_S : NO_DEADLINE;
		struct task *t = task_start("signal", signal_once, &s);
		mutex_lock(&s.m);
		while (!s.ready)
			assert_int_equal(cond_wait_until(&s.c, &s.m, deadline), 0);
		mutex_unlock(&s.m);
		task_join(t);
		cond_done(&s.c);
		mutex_done(&s.m);
	}
}

static void count_under_sleeplock(void *arg)
{
	struct shared *s = arg;
	for (unsigned int i = 0; i < 20; i++) {
		assert_false(sleeplock_is_mine(&s->lock));
		sleeplock_acquire(&s->lock);
		assert_true(sleeplock_is_mine(&s->lock));
		unsigned int n = s->count;
		task_sleep_until(clock_now() + 10 * NS_PER_US);
		s->count = n + 1;
		sleeplock_release(&s->lock);
	}
}

static void sleeplock_excludes_across_sleeps(void **state)
{
	(void)state;
	struct shared s;
	struct task *tasks[TASKS];
	start_all(&s, tasks, count_under_sleeplock);
	join_all(&s, tasks);
	assert_int_equal(s.count, TASKS * 20);
}

static void try_and_fail(void *arg)
{
	struct shared *s = arg;
	s->ready = sleeplock_try(&s->lock);
}

static void try_never_waits(void **state)
{
	(void)state;
	struct shared s = { .ready = 7 };
	sleeplock_init(&s.lock);
	assert_true(sleeplock_try(&s.lock));
	task_join(task_start("try", try_and_fail, &s));
	assert_int_equal(s.ready, false);
	sleeplock_release(&s.lock);
	task_join(task_start("try", try_and_fail, &s));
	assert_int_equal(s.ready, true);
}

static void read_own_name(void *arg)
{
	assert_int_equal(pthread_getname_np(pthread_self(), arg, 16), 0);
}

static void task_names_are_cut_to_15(void **state)
{
	(void)state;
	char name[16] = "";
	task_join(task_start("a-name-that-is-too-long", read_own_name, name));
	assert_string_equal(name, "a-name-that-is-");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clocks_advance),
		cmocka_unit_test(sleep_lasts_until_the_deadline),
		cmocka_unit_test(random_fills_all_bytes),
		cmocka_unit_test(mutex_excludes_and_tasks_differ),
		cmocka_unit_test(timed_wait_times_out_at_its_deadline),
		cmocka_unit_test(signal_ends_a_timed_wait),
		cmocka_unit_test(sleeplock_excludes_across_sleeps),
		cmocka_unit_test(try_never_waits),
		cmocka_unit_test(task_names_are_cut_to_15),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
