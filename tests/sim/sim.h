/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

/*
 * The simulated environment: base/env.h on one thread, in virtual time, from a seed.
 *
 * Tasks are fibers. Whenever the running one waits, sleeps, ends or passes a lock, the
 * seed picks who runs next; when nobody can run, time jumps to the next timer. A run is a
 * function of the seed and the program: the same seed gives the same trace.
 *
 *	static void story(void *arg)
 *	{
 *		struct simdisk *disk = simdisk_new(64 << 20, BDEV_CAW_ATS);
 *		struct sim_host *a = sim_host_new("a", 0), *b = sim_host_new("b", +500);
 *		struct task *t = sim_host_start(a, "mount", mount_and_write, &a_args);
 *		task_sleep_until(clock_now() + 5 * NS_PER_S);
 *		sim_host_kill(a);
 *		task_join(t);
 *		SIM_CHECK(sim_host_run(b, "recover", recover, &b_args));
 *		simdisk_free(disk);
 *	}
 *
 *	static void take_over_waits_for_expiry(void **state)
 *	{
 *		sim_each_seed(1, 200, story, NULL);
 *	}
 *
 * A rule broken by the program (a mutex held while it waits, a deadlock, a task that is
 * never joined) ends the process with the seed, what every fiber waits for, and where. To
 * replay one seed with its trace: SIM_SEED=17 SIM_TRACE=1 build/tests/sim/NAME.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "base/env.h"

/* ---- running ---- */

/*
 * Runs fn(arg) as the first fiber of the world host, until every fiber has ended (fibers
 * of hosts that are then paused are dropped). Called outside a simulation. A broken rule
 * aborts.
 */
void sim_run(uint64_t seed, void (*fn)(void *arg), void *arg);

/*
 * Runs fn(arg) once for each seed in [first, first + count), each in a forked child of
 * its own, so that what a killed host leaves in memory does not matter. cmocka assertions
 * work inside. The first seed that fails is printed with the child's output and fails the
 * calling cmocka test. SIM_SEED=n runs seed n only; SIM_COUNT=n replaces count,
 * SIM_FIRST=n first.
 */
void sim_each_seed(uint64_t first, uint64_t count, void (*fn)(void *arg), void *arg);
/* The same, for long cases: the first two thirds of them, unless FULL is set. */
void sim_some_seeds(uint64_t first, uint64_t count, void (*fn)(void *arg), void *arg);

/*
 * For tests of oracles: runs fn(arg) under seeds [first, first + count) like
 * sim_each_seed until one ends badly, and returns true if its output contains text.
 * false: no seed failed so. *ret_seed (may be NULL) is the seed.
 */
bool sim_some_seed_fails(uint64_t first, uint64_t count, void (*fn)(void *arg), void *arg,
			 const char *text, uint64_t *ret_seed)
	__attribute__((warn_unused_result));

/*
 * The first seed in [first, first + count) under which fn(arg) ends badly, and the
 * sentence of sim_fail() (or what it said at all). false: none does.
 */
bool sim_first_failure(uint64_t first, uint64_t count, void (*fn)(void *arg), void *arg,
		       char *ret_what, uint32_t size, uint64_t *ret_seed)
	__attribute__((warn_unused_result));

/* Ends the process with the sentence, the seed and the state of all fibers. */
noreturn void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define SIM_CHECK(condition)                                                             \
	((condition) ? (void)0                                                           \
		     : sim_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition))

/* true between the start and the end of sim_run(). */
bool sim_is_running(void);
uint64_t sim_seed(void);
/* Nanoseconds of the perfect clock; starts at 0. Hosts see their own (clock_now()). */
uint64_t sim_time(void);
/*
 * A number below n (n > 0), from the stream for the test's and the disk's own decisions.
 */
uint64_t sim_random(uint64_t n);
/* true in parts of a million. */
bool sim_chance(uint32_t ppm);
/* Number of task switches so far. */
uint64_t sim_switches(void);
/* Changes with everything that has happened so far: equal for equal runs. */
uint64_t sim_trace_hash(void);
/*
 * A line for the trace, "[time host/fiber] text"; seen with SIM_TRACE=1, always hashed.
 */
void sim_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* For long runs: no lines but with SIM_TRACE=1 (a third of the time goes there). */
void sim_mute_trace(bool is_mute);
/*
 * A broken rule: more virtual time (ns) or switches than this. Default 1 day, 50 million.
 */
void sim_set_limits(uint64_t max_time_ns, uint64_t max_switches);

/*
 * How restless the scheduler is, in parts of a million; default: drawn from the seed.
 *   preempt   a fiber that passes a lock, a clock or a submission lets others run
 *   delay     the same, and it comes back only after up to max_delay_ns
 *   spurious  cond_wait() returns without cause
 */
struct sim_unrest {
	uint32_t preempt_ppm, delay_ppm, spurious_ppm;
	uint64_t max_delay_ns;
};
void sim_set_unrest(const struct sim_unrest *u);

/* A place where others may run, if the fiber holds no mutex; else nothing. */
void sim_preempt(void);

/* ---- hosts ---- */

/*
 * A machine: a clock and a set of fibers. A task belongs to the host of the task that
 * started it. The first fiber belongs to the world, whose clock is perfect and which
 * cannot die. Hosts live until the end of sim_run().
 */
struct sim_host;

/*
 * A clock that starts at chance and gains rate_ppm microseconds a second (may be
 * negative).
 */
struct sim_host *sim_host_new(const char *name, int rate_ppm);
const char *sim_host_name(const struct sim_host *h);
/* Of the calling fiber; in a callback of a device, of the host that it is for. */
struct sim_host *sim_host_self(void);
struct sim_host *sim_host_world(void);

/*
 * Starts fn(arg) as a task of h. Joined with task_join(), which returns also if h dies.
 */
struct task *sim_host_start(struct sim_host *h, const char *name, void (*fn)(void *arg),
			    void *arg);
/* The same and waits: true if fn returned, false if h died in it. */
bool sim_host_run(struct sim_host *h, const char *name, void (*fn)(void *arg), void *arg);

/*
 * Power off: none of its fibers runs again, no callback is called for it. What it had
 * allocated is lost on purpose. If the caller belongs to h, does not return.
 */
void sim_host_kill(struct sim_host *h);
bool sim_host_is_dead(const struct sim_host *h);
/* Nothing of h runs until resume; its clock goes on (SIGSTOP, or a stalled machine). */
void sim_host_pause(struct sim_host *h);
void sim_host_resume(struct sim_host *h);
bool sim_host_is_paused(const struct sim_host *h);
/* What clock_now() is on h, without letting others run; and when it will be `clock`. */
uint64_t sim_host_clock(const struct sim_host *h);
uint64_t sim_host_time_of(const struct sim_host *h, uint64_t clock);

/* ---- for simulated devices ---- */

/*
 * Calls fn(arg) at perfect time `at` (ns), in the name of h: not at all if h is dead
 * then, after its resume if it is paused. h NULL: the device itself, always. fn must not
 * wait. The call may be cancelled until fn is called or h is killed.
 */
struct sim_call;
struct sim_call *sim_call_at(struct sim_host *h, uint64_t at, void (*fn)(void *arg),
			     void *arg);
/* NULL is allowed. */
void sim_call_cancel(struct sim_call *call);
/* true in such a call, where nothing may wait. */
bool sim_in_call(void);
/* Calls fn(h, arg) when h is killed, before sim_host_kill() returns. */
void sim_host_on_kill(struct sim_host *h, void (*fn)(struct sim_host *h, void *arg),
		      void *arg);
void sim_host_forget_on_kill(struct sim_host *h, const void *arg);

#endif
