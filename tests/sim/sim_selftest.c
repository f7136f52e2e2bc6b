/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator tests itself: that it keeps its promises, and that what it claims to
 * catch it does catch (programs that break a rule on purpose).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/sim.h"

/* ---- time and order ---- */

#define RUNNERS 5

struct race {
	struct mutex m;
	struct cond c;
	unsigned int next, order[RUNNERS], turn;
	uint64_t hash;
};

struct runner {
	struct race *race;
	unsigned int number;
};

static void run_in_race(void *arg)
{
	struct runner *r = arg;
	mutex_lock(&r->race->m);
	r->race->order[r->race->next++] = r->number;
	mutex_unlock(&r->race->m);
}

static void race_story(void *arg)
{
	struct race *race = arg;
	struct runner runners[RUNNERS];
	struct task *tasks[RUNNERS];
	mutex_init(&race->m);
	race->next = 0;
	for (unsigned int i = 0; i < RUNNERS; i++) {
		runners[i] = (struct runner){ .race = race, .number = i };
		tasks[i] = task_start("runner", run_in_race, &runners[i]);
		assert_non_null(tasks[i]);
	}
	for (unsigned int i = 0; i < RUNNERS; i++)
		task_join(tasks[i]);
	assert_int_equal(race->next, RUNNERS);
	mutex_done(&race->m);
	race->hash = sim_trace_hash();
}

/* The same seed gives the same order and trace, and seeds differ from each other. */
static void trace_repeats_per_seed(void **state)
{
	(void)state;
	struct race once = { 0 }, again = { 0 };
	unsigned int orders_that_differ = 0;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		unsigned int before[RUNNERS];
		memcpy(before, once.order, sizeof(before));
		sim_run(seed, race_story, &once);
		sim_run(seed, race_story, &again);
		assert_memory_equal(once.order, again.order, sizeof(once.order));
		assert_true(once.hash == again.hash);
		orders_that_differ += memcmp(before, once.order, sizeof(before)) != 0;
	}
	assert_in_range(orders_that_differ, 80, 100);
}

static void sleep_a_day(void *arg)
{
	uint64_t start = clock_now();
	task_sleep_until(start + 86000 * NS_PER_S);
	uint64_t slept = clock_now() - start;
	assert_in_range(slept, 86000 * NS_PER_S, 86001 * NS_PER_S);
	*(bool *)arg = true;
}

/* Sleeping costs nothing. */
static void time_is_virtual(void **state)
{
	(void)state;
	bool is_done = false;
	time_t before = time(NULL);
	sim_run(1, sleep_a_day, &is_done);
	assert_true(is_done);
	assert_in_range(time(NULL) - before, 0, 5);
}

static void measure_second(void *arg)
{
	uint64_t start = clock_now();
	task_sleep_until(start + 1000 * NS_PER_S);
	(void)arg;
}

static void clock_story(void *arg)
{
	(void)arg;
	struct sim_host *fast = sim_host_new("fast", 1000),
			*slow = sim_host_new("slow", -1000);
	uint64_t start = sim_time();
	assert_true(sim_host_run(fast, "m", measure_second, NULL));
	uint64_t by_fast = sim_time() - start;
	start = sim_time();
	assert_true(sim_host_run(slow, "m", measure_second, NULL));
	uint64_t by_slow = sim_time() - start;
	/* A fast clock reaches its 1000 s early, at 999.0 s; a slow one at 1001.0 s. */
	assert_in_range(by_fast, 998900 * NS_PER_MS, 999100 * NS_PER_MS);
	assert_in_range(by_slow, 1000900 * NS_PER_MS, 1001100 * NS_PER_MS);
}

static void host_clocks_have_rates(void **state)
{
	(void)state;
	sim_each_seed(1, 20, clock_story, NULL);
}

static void poll_clock(void *arg)
{
	uint64_t start = clock_now();
	while (clock_now() < start + NS_PER_MS)
		;
	(void)arg;
}

/* A loop that only looks at the clock ends. */
static void polling_the_clock_lets_it_advance(void **state)
{
	(void)state;
	sim_each_seed(1, 5, poll_clock, NULL);
}

/* ---- conditions ---- */

static void hand_over(void *arg)
{
	struct race *race = arg;
	for (unsigned int i = 0; i < 100; i++) {
		mutex_lock(&race->m);
		while (race->turn != 1)
			cond_wait(&race->c, &race->m);
		race->turn = 0;
		cond_signal(&race->c);
		mutex_unlock(&race->m);
	}
}

static void ping_pong_story(void *arg)
{
	(void)arg;
	struct race race = { 0 };
	mutex_init(&race.m);
	cond_init(&race.c);
	struct task *t = task_start("pong", hand_over, &race);
	for (unsigned int i = 0; i < 100; i++) {
		mutex_lock(&race.m);
		race.turn = 1;
		cond_signal(&race.c);
		while (race.turn != 0)
			cond_wait(&race.c, &race.m);
		mutex_unlock(&race.m);
	}
	task_join(t);
	cond_done(&race.c);
	mutex_done(&race.m);
}

static void conditions_wake(void **state)
{
	(void)state;
	sim_each_seed(1, 50, ping_pong_story, NULL);
}

static void timeout_story(void *arg)
{
	(void)arg;
	struct mutex m;
	struct cond c;
	mutex_init(&m);
	cond_init(&c);
	mutex_lock(&m);
	uint64_t start = sim_time(),
		 deadline = sim_host_clock(sim_host_self()) + NS_PER_S;
	int err = 0;
	while (!err)
		err = cond_wait_until(&c, &m, deadline);
	assert_int_equal(err, -ETIMEDOUT);
	assert_in_range(sim_time() - start, NS_PER_S, NS_PER_S + 100 * NS_PER_MS);
	mutex_unlock(&m);
	cond_done(&c);
	mutex_done(&m);
}

static void timed_wait_ends_at_its_deadline(void **state)
{
	(void)state;
	sim_each_seed(1, 50, timeout_story, NULL);
}

struct counter {
	struct sleeplock lock;
	unsigned int n;
};

static void count_slowly(void *arg)
{
	struct counter *counter = arg;
	for (unsigned int i = 0; i < 20; i++) {
		sleeplock_acquire(&counter->lock);
		assert_true(sleeplock_is_mine(&counter->lock));
		unsigned int n = counter->n;
		task_sleep_until(clock_now() + 1 + sim_random(NS_PER_MS));
		counter->n = n + 1;
		sleeplock_release(&counter->lock);
	}
}

static void sleeplock_story(void *arg)
{
	(void)arg;
	struct counter counter = { .n = 0 };
	sleeplock_init(&counter.lock);
	struct task *tasks[4];
	for (unsigned int i = 0; i < 4; i++)
		tasks[i] = task_start("counter", count_slowly, &counter);
	for (unsigned int i = 0; i < 4; i++)
		task_join(tasks[i]);
	assert_int_equal(counter.n, 80);
	assert_true(sleeplock_try(&counter.lock));
	assert_false(sleeplock_try(&counter.lock));
	sleeplock_release(&counter.lock);
	sleeplock_done(&counter.lock);
}

static void sleeplock_excludes_across_waits(void **state)
{
	(void)state;
	sim_each_seed(1, 50, sleeplock_story, NULL);
}

/* ---- broken rules are caught ---- */

static void sleep_with_mutex(void *arg)
{
	(void)arg;
	struct mutex m;
	mutex_init(&m);
	mutex_lock(&m);
	task_sleep_until(clock_now() + 1);
	mutex_unlock(&m);
}

static void mutex_held_while_sleeping_is_caught(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(
		1, 1, sleep_with_mutex, NULL,
		"task_sleep_until of world/main#1 with a mutex locked", NULL));
}

static void wait_with_two_mutexes(void *arg)
{
	(void)arg;
	struct mutex a, b;
	struct cond c;
	mutex_init(&a);
	mutex_init(&b);
	cond_init(&c);
	mutex_lock(&a);
	mutex_lock(&b);
	cond_wait(&c, &b);
}

static void second_mutex_held_while_waiting_is_caught(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(1, 1, wait_with_two_mutexes, NULL,
					"cond_wait of world/main#1 with a mutex locked",
					NULL));
}

static void lock_twice(void *arg)
{
	(void)arg;
	struct mutex m;
	mutex_init(&m);
	mutex_lock(&m);
	mutex_lock(&m);
}

static void recursive_mutex_is_caught(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(1, 1, lock_twice, NULL, "is contended", NULL));
}

static void use_zero_mutex(void *arg)
{
	(void)arg;
	struct mutex m = { { 0 } };
	mutex_lock(&m);
}

static void uninitialised_mutex_is_caught(void **state)
{
	(void)state;
	assert_true(
		sim_some_seed_fails(1, 1, use_zero_mutex, NULL, "not initialised", NULL));
}

struct two_locks {
	struct sleeplock a, b;
};

static void take_b_then_a(void *arg)
{
	struct two_locks *two = arg;
	sleeplock_acquire(&two->b);
	task_sleep_until(clock_now() + NS_PER_MS);
	sleeplock_acquire(&two->a);
	sleeplock_release(&two->a);
	sleeplock_release(&two->b);
}

static void cross_locks(void *arg)
{
	(void)arg;
	struct two_locks two;
	sleeplock_init(&two.a);
	sleeplock_init(&two.b);
	struct task *t = task_start("reverse", take_b_then_a, &two);
	sleeplock_acquire(&two.a);
	task_sleep_until(clock_now() + NS_PER_MS);
	sleeplock_acquire(&two.b);
	sleeplock_release(&two.b);
	sleeplock_release(&two.a);
	task_join(t);
}

/* The dump names both fibers and what they wait for. */
static void deadlock_is_caught_and_explained(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(1, 50, cross_locks, NULL,
					"deadlock: nobody can run", NULL));
	assert_true(sim_some_seed_fails(1, 50, cross_locks, NULL,
					"world/reverse#2: waits for cond", NULL));
}

static void forget_to_join(void *arg)
{
	(void)task_start("lost", poll_clock, arg);
}

static void unjoined_task_is_caught(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(1, 1, forget_to_join, NULL,
					"task world/lost#2 was never joined", NULL));
}

/* Each level needs a page of its own, because it reads its caller's. */
static int use_stack(unsigned int depth, const volatile char *above)
{
	volatile char page[1024];
	page[0] = above[0];
	page[sizeof(page) - 1] = (char)depth;
	return depth ? use_stack(depth - 1, page) + page[sizeof(page) - 1] : page[0];
}

static void use_much_stack(void *arg)
{
	const volatile char top = 0;
	(void)arg;
	assert_int_not_equal(use_stack(10000, &top), 0);
}

static void full_stack_is_named(void **state)
{
	(void)state;
#if defined(__SANITIZE_ADDRESS__)
	skip();
#endif
	assert_true(
		sim_some_seed_fails(1, 1, use_much_stack, NULL, "needs more than", NULL));
}

static void spin_for_ever(void *arg)
{
	sim_set_limits(NS_PER_S, UINT64_MAX);
	for (;;)
		task_sleep_until(clock_now() + NS_PER_MS);
	(void)arg;
}

static void endless_run_is_caught(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(1, 1, spin_for_ever, NULL, "no end after", NULL));
}

static void fail_in_fiber(void *arg)
{
	(void)arg;
	assert_int_equal(sim_seed(), 1);
}

/* A cmocka assertion in a fiber fails its seed, and the seed is known. */
static void assertion_in_a_fiber_fails_its_seed(void **state)
{
	(void)state;
	uint64_t seed = 0;
	assert_true(sim_some_seed_fails(1, 10, fail_in_fiber, NULL, "0x2 != 0x1", &seed));
	assert_int_equal(seed, 2);
}

/* Waits with `if` where `while` is needed: found only because waits end without cause. */
static void wait_without_loop(void *arg)
{
	(void)arg;
	struct race race = { .turn = 1 };
	mutex_init(&race.m);
	cond_init(&race.c);
	struct task *t = task_start("pong", hand_over, &race);
	for (unsigned int i = 0; i < 100; i++) {
		mutex_lock(&race.m);
		race.turn = 1;
		cond_signal(&race.c);
		if (race.turn != 0)
			cond_wait(&race.c, &race.m);
		SIM_CHECK(race.turn == 0);
		mutex_unlock(&race.m);
	}
	task_join(t);
}

static void spurious_wakeups_happen(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(1, 50, wait_without_loop, NULL,
					"not true: race.turn == 0", NULL));
}

/* A lost update: reads under one lock, writes under the next. */
struct unsafe {
	struct mutex m;
	unsigned int n;
};

static void count_unsafely(void *arg)
{
	struct unsafe *u = arg;
	for (unsigned int i = 0; i < 10; i++) {
		mutex_lock(&u->m);
		unsigned int n = u->n;
		mutex_unlock(&u->m);
		mutex_lock(&u->m);
		u->n = n + 1;
		mutex_unlock(&u->m);
	}
}

static void lost_update_story(void *arg)
{
	(void)arg;
	struct unsafe u = { .n = 0 };
	mutex_init(&u.m);
	struct task *t = task_start("other", count_unsafely, &u);
	count_unsafely(&u);
	task_join(t);
	SIM_CHECK(u.n == 20);
}

static void races_between_locks_are_found(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(1, 50, lost_update_story, NULL,
					"not true: u.n == 20", NULL));
}

/* ---- hosts ---- */

static void beat(void *arg)
{
	unsigned int *beats = arg;
	for (;;) {
		task_sleep_until(clock_now() + NS_PER_S);
		++*beats;
	}
}

static void beat_in_child_task(void *arg)
{
	struct task *t = task_start("child", beat, arg);
	task_join(t);
}

static void sleep_ns(uint64_t ns)
{
	task_sleep_until(clock_now() + ns);
}

static void kill_story(void *arg)
{
	(void)arg;
	struct sim_host *a = sim_host_new("a", 100), *b = sim_host_new("b", -100);
	unsigned int beats_a = 0, beats_b = 0;
	struct task *ta = sim_host_start(a, "beat", beat_in_child_task, &beats_a);
	struct task *tb = sim_host_start(b, "beat", beat_in_child_task, &beats_b);
	sleep_ns(10 * NS_PER_S + NS_PER_S / 2);
	sim_host_kill(a);
	unsigned int at_kill = beats_a;
	assert_in_range(at_kill, 9, 10);
	sleep_ns(10 * NS_PER_S);
	assert_int_equal(beats_a, at_kill);
	assert_in_range(beats_b, 18, 20);
	task_join(ta);
	assert_true(sim_host_is_dead(a));
	sim_host_kill(b);
	task_join(tb);
}

static void killed_host_never_runs_again(void **state)
{
	(void)state;
	sim_each_seed(1, 50, kill_story, NULL);
}

static void kill_self(void *arg)
{
	sim_host_kill(sim_host_self());
	*(bool *)arg = true;
}

static void suicide_story(void *arg)
{
	(void)arg;
	bool went_on = false;
	assert_false(sim_host_run(sim_host_new("a", 0), "kill", kill_self, &went_on));
	assert_false(went_on);
}

static void host_may_kill_itself(void **state)
{
	(void)state;
	sim_each_seed(1, 5, suicide_story, NULL);
}

static void pause_story(void *arg)
{
	(void)arg;
	struct sim_host *a = sim_host_new("a", 0);
	unsigned int beats = 0;
	struct task *t = sim_host_start(a, "beat", beat, &beats);
	sleep_ns(5 * NS_PER_S + NS_PER_S / 2);
	unsigned int at_pause = beats;
	uint64_t clock = sim_host_clock(a);
	sim_host_pause(a);
	sleep_ns(60 * NS_PER_S);
	assert_int_equal(beats, at_pause);
	/* Its clock went on meanwhile. */
	assert_in_range(sim_host_clock(a) - clock, 60 * NS_PER_S, 61 * NS_PER_S);
	sim_host_resume(a);
	sleep_ns(5 * NS_PER_S);
	assert_in_range(beats, at_pause + 5, at_pause + 6);
	sim_host_kill(a);
	task_join(t);
}

static void paused_host_sleeps_and_its_clock_goes_on(void **state)
{
	(void)state;
	sim_each_seed(1, 50, pause_story, NULL);
}

struct called {
	unsigned int by_a, by_device;
};

static void call_a(void *arg)
{
	((struct called *)arg)->by_a++;
}

static void call_device(void *arg)
{
	((struct called *)arg)->by_device++;
}

static void call_story(void *arg)
{
	(void)arg;
	struct sim_host *a = sim_host_new("a", 0), *b = sim_host_new("b", 0);
	struct called called = { 0, 0 };
	sim_call_at(a, sim_time() + NS_PER_S, call_a, &called);
	sim_call_at(NULL, sim_time() + NS_PER_S, call_device, &called);
	sim_call_cancel(sim_call_at(NULL, sim_time() + NS_PER_S, call_device, &called));
	sim_host_pause(a);
	sleep_ns(2 * NS_PER_S);
	assert_int_equal(called.by_a, 0);
	assert_int_equal(called.by_device, 1);
	sim_host_resume(a);
	sleep_ns(NS_PER_S);
	assert_int_equal(called.by_a, 1);
	sim_call_at(b, sim_time() + NS_PER_S, call_a, &called);
	sim_host_kill(b);
	sleep_ns(2 * NS_PER_S);
	assert_int_equal(called.by_a, 1);
}

static void calls_wait_for_paused_and_skip_dead_hosts(void **state)
{
	(void)state;
	sim_each_seed(1, 20, call_story, NULL);
}

/* ---- speed ---- */

static void yield_often(void *arg)
{
	for (unsigned int i = 0; i < *(unsigned int *)arg; i++)
		task_sleep_until(0);
}

static void speed_story(void *arg)
{
	unsigned int count = 200000;
	struct task *t = task_start("other", yield_often, &count);
	yield_often(&count);
	task_join(t);
	*(uint64_t *)arg = sim_switches();
}

/* Prints the figure; far below it something is broken. */
static void switches_are_fast(void **state)
{
	(void)state;
	struct timespec start, end;
	uint64_t switches = 0;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	sim_run(1, speed_story, &switches);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	double seconds = (double)(end.tv_sec - start.tv_sec) +
			 (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	(void)printf("# %.1f million task switches a second\n",
		     (double)switches / seconds / 1e6);
	assert_true(switches >= 400000);
	assert_true((double)switches / seconds > 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trace_repeats_per_seed),
		cmocka_unit_test(time_is_virtual),
		cmocka_unit_test(host_clocks_have_rates),
		cmocka_unit_test(polling_the_clock_lets_it_advance),
		cmocka_unit_test(conditions_wake),
		cmocka_unit_test(timed_wait_ends_at_its_deadline),
		cmocka_unit_test(sleeplock_excludes_across_waits),
		cmocka_unit_test(mutex_held_while_sleeping_is_caught),
		cmocka_unit_test(second_mutex_held_while_waiting_is_caught),
		cmocka_unit_test(recursive_mutex_is_caught),
		cmocka_unit_test(uninitialised_mutex_is_caught),
		cmocka_unit_test(deadlock_is_caught_and_explained),
		cmocka_unit_test(unjoined_task_is_caught),
		cmocka_unit_test(full_stack_is_named),
		cmocka_unit_test(endless_run_is_caught),
		cmocka_unit_test(assertion_in_a_fiber_fails_its_seed),
		cmocka_unit_test(spurious_wakeups_happen),
		cmocka_unit_test(races_between_locks_are_found),
		cmocka_unit_test(killed_host_never_runs_again),
		cmocka_unit_test(host_may_kill_itself),
		cmocka_unit_test(paused_host_sleeps_and_its_clock_goes_on),
		cmocka_unit_test(calls_wait_for_paused_and_skip_dead_hosts),
		cmocka_unit_test(switches_are_fast),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
