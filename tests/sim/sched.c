/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler of the simulator: picks the next fiber by the seed, keeps virtual time.
 *
 * The scheduler runs on the thread's own stack. It (1) fires timers that are due, (2)
 * picks one ready fiber at random and switches to it until that one waits, and when
 * nobody is ready (3) lets time jump to the next timer. Nobody ready and no timer is a
 * deadlock.
 *
 * Invariants:
 *  1. A task is in at most one of: running, the ready list, its host's parked list,
 *     waiting. Only waiting tasks have a timer in the heap or stand in a condition's
 *     list.
 *  2. Fibers of paused hosts are never in the ready list, those of dead hosts nowhere.
 *  3. Every choice is drawn from the streams of the seed and depends on numbers only,
 *     never on addresses: equal seeds give equal runs.
 *  4. No fiber stops with a mutex held (checked where it would stop), so mutexes are
 *     never contended.
 */
#include "tests/sim/sched.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SWITCH_COST_NS 100u
#define DEFAULT_MAX_TIME (86400 * NS_PER_S)
#define DEFAULT_MAX_SWITCHES 50000000ull

struct sim sim;

/* ---- chance ---- */

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15ull);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void rng_init(struct sim_rng *r, uint64_t seed, uint64_t stream)
{
	uint64_t x = seed;
	uint64_t mixed = splitmix(&x) + stream * 0xd1342543de82ef95ull;
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix(&mixed);
}

/* xoshiro256**, a public-domain generator by Blackman and Vigna. */
uint64_t rng_next(struct sim_rng *r)
{
	uint64_t *s = r->s;
	uint64_t result = s[1] * 5;
	result = (result << 7 | result >> 57) * 9;
	uint64_t t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = s[3] << 45 | s[3] >> 19;
	return result;
}

uint64_t rng_below(struct sim_rng *r, uint64_t n)
{
	assert(n > 0);
	return (uint64_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

bool rng_chance(struct sim_rng *r, uint32_t ppm)
{
	return ppm && rng_below(r, 1000000) < ppm;
}

void sched_hash(uint64_t n)
{
	sim.hash = (sim.hash ^ n) * 0x9e3779b97f4a7c15ull;
	sim.hash ^= sim.hash >> 29;
}

/* ---- timers: a binary heap ---- */

static bool is_before(const struct sim_timer *a, const struct sim_timer *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_put(struct sim_timer *t, uint32_t i)
{
	sim.heap[i] = t;
	t->index = i;
}

static void heap_up(struct sim_timer *t, uint32_t i)
{
	while (i && is_before(t, sim.heap[(i - 1) / 2])) {
		heap_put(sim.heap[(i - 1) / 2], i);
		i = (i - 1) / 2;
	}
	heap_put(t, i);
}

static void heap_down(struct sim_timer *t, uint32_t i)
{
	for (;;) {
		uint32_t child = 2 * i + 1;
		if (child >= sim.heap_count)
			break;
		if (child + 1 < sim.heap_count &&
		    is_before(sim.heap[child + 1], sim.heap[child]))
			child++;
		if (!is_before(sim.heap[child], t))
			break;
		heap_put(sim.heap[child], i);
		i = child;
	}
	heap_put(t, i);
}

static void *grow(void *list, uint32_t *capacity, size_t size)
{
	*capacity = *capacity ? 2 * *capacity : 64;
	void *bigger = realloc(list, *capacity * size);
	assert(bigger);
	return bigger;
}

void sched_heap_add(struct sim_timer *t, uint64_t at)
{
	assert(t->index == NOT_QUEUED);
	if (sim.heap_count == sim.heap_capacity)
		sim.heap = grow(sim.heap, &sim.heap_capacity, sizeof(*sim.heap));
	t->at = at;
	t->order = rng_next(&sim.sched);
	heap_up(t, sim.heap_count++);
}

void sched_heap_remove(struct sim_timer *t)
{
	uint32_t i = t->index;
	if (i == NOT_QUEUED)
		return;
	struct sim_timer *last = sim.heap[--sim.heap_count];
	t->index = NOT_QUEUED;
	if (last == t)
		return;
	if (i && is_before(last, sim.heap[(i - 1) / 2]))
		heap_up(last, i);
	else
		heap_down(last, i);
}

/* ---- ready tasks ---- */

void sched_make_ready(struct task *t)
{
	assert(t->state == TASK_WAITING || t->state == TASK_RUNNING);
	sched_heap_remove(&t->timer);
	t->state = TASK_READY;
	if (t->host->is_paused) {
		LIST_INSERT_HEAD(&t->host->parked, t, parked);
		t->is_parked = true;
		return;
	}
	if (sim.ready_count == sim.ready_capacity)
		sim.ready = grow(sim.ready, &sim.ready_capacity, sizeof(struct task *));
	t->ready_index = sim.ready_count;
	sim.ready[sim.ready_count++] = t;
}

static void unready(struct task *t)
{
	if (t->ready_index != NOT_QUEUED) {
		struct task *last = sim.ready[--sim.ready_count];
		sim.ready[t->ready_index] = last;
		last->ready_index = t->ready_index;
		t->ready_index = NOT_QUEUED;
	}
	if (t->is_parked) {
		LIST_REMOVE(t, parked);
		t->is_parked = false;
	}
}

void sched_forget(struct task *t)
{
	unready(t);
	sched_heap_remove(&t->timer);
	cond_forget(t);
	if (t->wait == WAIT_JOIN && t->wait_task->joiner == t)
		t->wait_task->joiner = NULL;
	t->wait = WAIT_NOTHING;
}

/* ---- tasks ---- */

const char *sched_task_name(const struct task *t)
{
	static char text[2][2 * SIM_NAME_SIZE + 16];
	static unsigned int turn;
	char *buf = text[turn++ % 2];
	(void)snprintf(buf, sizeof(text[0]), "%s/%s#%u", t->host ? t->host->name : "-",
		       t->name, t->id);
	return buf;
}

static void wake_joiner(struct task *t)
{
	if (t->joiner) {
		struct task *joiner = t->joiner;
		t->joiner = NULL;
		sched_make_ready(joiner);
	}
}

static void task_entry(void)
{
	fiber_entered();
	struct task *self = sim.current;
	self->fn(self->arg);
	if (self->mutex_count)
		sim_fail("%s ended with %u mutexes locked", sched_task_name(self),
			 self->mutex_count);
	self->state = TASK_ENDED;
	sim.live--;
	wake_joiner(self);
	fiber_leave(&self->fiber, &sim.thread);
}

struct task *sched_task_new(struct sim_host *h, const char *name, void (*fn)(void *arg),
			    void *arg)
{
	assert(!h->is_dead);
	struct task *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	if (!fiber_init(&t->fiber, task_entry)) {
		free(t);
		return NULL;
	}
	t->id = ++sim.next_id;
	(void)snprintf(t->name, sizeof(t->name), "%s", name);
	t->host = h;
	t->fn = fn;
	t->arg = arg;
	t->state = TASK_WAITING;
	t->ready_index = NOT_QUEUED;
	t->timer.index = NOT_QUEUED;
	t->timer.task = t;
	LIST_INSERT_HEAD(&sim.tasks, t, all);
	LIST_INSERT_HEAD(&h->tasks, t, of_host);
	sim.live++;
	sched_make_ready(t);
	return t;
}

void sched_task_free(struct task *t)
{
	LIST_REMOVE(t, all);
	LIST_REMOVE(t, of_host);
	fiber_done(&t->fiber);
	free(t);
}

void sched_check_may_wait(const char *what, unsigned int mutexes_allowed)
{
	struct task *self = sim.current;
	if (!sim.is_running)
		sim_fail("%s outside of a simulation", what);
	if (self == &sim.event)
		sim_fail("%s in a callback, which must not wait", what);
	if (self->mutex_count > mutexes_allowed)
		sim_fail("%s of %s with a mutex locked (%p)", what, sched_task_name(self),
			 (const void *)self->last_mutex);
}

/* Switches to the scheduler; back when picked again. */
static void stop(struct task *self)
{
	fiber_switch(&self->fiber, &sim.thread);
	while (sim.is_dumping)
		fail_dump_self();
}

void sched_wait(enum task_wait wait)
{
	struct task *self = sim.current;
	self->state = TASK_WAITING;
	self->wait = wait;
	stop(self);
	self->wait = WAIT_NOTHING;
}

void sched_yield_now(void)
{
	struct task *self = sim.current;
	sched_make_ready(self);
	stop(self);
}

void sim_preempt(void)
{
	struct task *self = sim.current;
	if (!self || self == &sim.event || self->mutex_count || sim.is_failing)
		return;
	if (rng_chance(&sim.sched, sim.unrest.delay_ppm)) {
		uint64_t delay = 1 + rng_below(&sim.sched, sim.unrest.max_delay_ns);
		sched_heap_add(&self->timer, sim.now + delay);
		sched_wait(WAIT_DELAY);
	} else if (rng_chance(&sim.sched, sim.unrest.preempt_ppm)) {
		sched_yield_now();
	}
}

/* ---- calls ---- */

struct sim_call *sim_call_at(struct sim_host *h, uint64_t at, void (*fn)(void *arg),
			     void *arg)
{
	assert(sim.is_running);
	struct sim_call *call = calloc(1, sizeof(*call));
	assert(call);
	call->host = h;
	call->fn = fn;
	call->arg = arg;
	call->timer.index = NOT_QUEUED;
	sched_heap_add(&call->timer, at > sim.now ? at : sim.now);
	return call;
}

void sim_call_cancel(struct sim_call *call)
{
	if (!call)
		return;
	sched_heap_remove(&call->timer);
	if (call->is_held)
		LIST_REMOVE(call, held);
	free(call);
}

bool sim_in_call(void)
{
	return sim.is_running && sim.current == &sim.event;
}

static void run_call(struct sim_call *call)
{
	struct sim_host *h = call->host;
	if (h && h->is_paused) {
		LIST_INSERT_HEAD(&h->held, call, held);
		call->is_held = true;
		return;
	}
	void (*fn)(void *arg) = call->fn;
	void *arg = call->arg;
	bool is_dropped = h && h->is_dead;
	free(call);
	if (is_dropped)
		return;
	sim.event.host = h ? h : sim.world;
	sim.current = &sim.event;
	fn(arg);
	assert(sim.event.mutex_count == 0);
	sim.current = NULL;
}

static void fire_due_timers(void)
{
	while (sim.heap_count && sim.heap[0]->at <= sim.now) {
		struct sim_timer *t = sim.heap[0];
		sched_heap_remove(t);
		if (t->task) {
			t->task->has_timed_out = true;
			cond_forget(t->task);
			sched_make_ready(t->task);
		} else {
			run_call((struct sim_call *)t);
		}
	}
}

/* ---- the loop ---- */

static void run_one(void)
{
	uint64_t i = rng_below(&sim.sched, sim.ready_count);
	struct task *t = sim.ready[i];
	unready(t);
	sim.switches++;
	sim.now += SWITCH_COST_NS;
	sched_hash(t->id ^ sim.now << 20);
	if (sim.trace_level > 1)
		fprintf(stderr, "[%12.6f] run %s\n", (double)sim.now / 1e9,
			sched_task_name(t));
	t->state = TASK_RUNNING;
	t->is_started = true;
	sim.current = t;
	fiber_switch(&sim.thread, &t->fiber);
	sim.current = NULL;
	if (sim.switches > sim.max_switches)
		sim_fail("no end after %llu switches", (unsigned long long)sim.switches);
}

/* true if somebody who is not paused has not ended. */
static bool has_work(void)
{
	if (!sim.live)
		return false;
	struct task *t;
	LIST_FOREACH(t, &sim.tasks, all) {
		if (t->state != TASK_ENDED && t->state != TASK_KILLED &&
		    !t->host->is_paused)
			return true;
	}
	return false;
}

static void loop(void)
{
	for (;;) {
		fire_due_timers();
		if (sim.ready_count) {
			run_one();
			continue;
		}
		if (!has_work())
			return;
		if (!sim.heap_count)
			sim_fail("deadlock: nobody can run and nobody will wake up");
		sim.now = sim.heap[0]->at;
		if (sim.now > sim.max_time)
			sim_fail("no end after %.1f s of virtual time",
				 (double)sim.now / 1e9);
	}
}

/* ---- a run ---- */

static uint32_t pick(const uint32_t *values, uint32_t count)
{
	return values[rng_below(&sim.sched, count)];
}

/* Each seed has its own temper: some runs calm, some wild. */
static void draw_unrest(void)
{
	static const uint32_t preempt[] = { 0, 10000, 100000, 500000 };
	static const uint32_t delay[] = { 0, 0, 1000, 10000 };
	static const uint32_t spurious[] = { 0, 10000, 100000 };
	static const uint32_t max_delay_us[] = { 10, 1000, 50000 };
	sim.unrest.preempt_ppm = pick(preempt, 4);
	sim.unrest.delay_ppm = pick(delay, 4);
	sim.unrest.spurious_ppm = pick(spurious, 3);
	sim.unrest.max_delay_ns = pick(max_delay_us, 3) * NS_PER_US;
}

static void start(uint64_t seed)
{
	if (sim.is_running && sim.current && sim.current->fiber.stack &&
	    (uint8_t *)__builtin_frame_address(0) >= sim.current->fiber.stack &&
	    (uint8_t *)__builtin_frame_address(0) <
		    sim.current->fiber.stack + FIBER_STACK_SIZE)
		sim_fail("sim_run() inside a simulation");
	if (sim.is_running)
		fprintf(stderr,
			"# sim: the run before was left by a failure: SIM_SEED=%llu\n",
			(unsigned long long)sim.seed);
	memset(&sim, 0, sizeof(sim)); /* what a run left by a failure had is lost */
	const char *level = getenv("SIM_TRACE");
	sim.trace_level = level ? atoi(level) : 0;
	sim.seed = seed;
	sim.hash = seed;
	rng_init(&sim.sched, seed, 1);
	rng_init(&sim.program, seed, 2);
	rng_init(&sim.world_rng, seed, 3);
	sim.max_time = DEFAULT_MAX_TIME;
	sim.max_switches = DEFAULT_MAX_SWITCHES;
	draw_unrest();
	fiber_init_thread(&sim.thread);
	fiber_init_thread(&sim.dumper);
	sim.event.ready_index = NOT_QUEUED;
	sim.event.timer.index = NOT_QUEUED;
	(void)snprintf(sim.event.name, sizeof(sim.event.name), "callback");
	sim.is_running = true;
	sim.world = sim_host_new("world", 0);
	sim.world->clock_at_0 = 0;
	fail_install_handlers();
}

static void drop_calls(void)
{
	while (sim.heap_count) {
		struct sim_timer *t = sim.heap[0];
		sched_heap_remove(t);
		if (!t->task)
			free(t);
	}
}

static void finish(const struct task *first)
{
	drop_calls();
	while (!LIST_EMPTY(&sim.tasks)) {
		struct task *t = LIST_FIRST(&sim.tasks);
		if (t != first && t->state == TASK_ENDED && !t->host->is_dead &&
		    !t->host->is_paused)
			sim_fail("task %s was never joined", sched_task_name(t));
		sched_task_free(t);
	}
	while (!LIST_EMPTY(&sim.hosts))
		sched_host_free(LIST_FIRST(&sim.hosts));
	free(sim.ready);
	free(sim.heap);
	sim.ready = NULL;
	sim.heap = NULL;
	fail_remove_handlers();
	sim.is_running = false;
	fiber_pool_free();
}

void sim_run(uint64_t seed, void (*fn)(void *arg), void *arg)
{
	start(seed);
	struct task *first = sched_task_new(sim.world, "main", fn, arg);
	assert(first);
	loop();
	finish(first);
}

bool sim_is_running(void)
{
	return sim.is_running;
}

uint64_t sim_seed(void)
{
	return sim.seed;
}

uint64_t sim_time(void)
{
	return sim.now;
}

uint64_t sim_random(uint64_t n)
{
	return rng_below(&sim.world_rng, n);
}

bool sim_chance(uint32_t ppm)
{
	return rng_chance(&sim.world_rng, ppm);
}

uint64_t sim_switches(void)
{
	return sim.switches;
}

uint64_t sim_trace_hash(void)
{
	return sim.hash;
}

void sim_mute_trace(bool is_mute)
{
	sim.is_mute = is_mute;
}

void sim_trace(const char *fmt, ...)
{
	if (sim.is_mute && !sim.trace_level)
		return;
	char *line = sim.trace[sim.trace_count++ % SIM_TRACE_LINES];
	int at = snprintf(line, SIM_TRACE_WIDTH, "[%5llu.%06llu %s] ",
			  (unsigned long long)(sim.now / NS_PER_S),
			  (unsigned long long)(sim.now % NS_PER_S / NS_PER_US),
			  sim.current ? sched_task_name(sim.current) : "-");
	va_list ap;
	va_start(ap, fmt);
	if (at >= 0 && at < (int)SIM_TRACE_WIDTH)
		(void)vsnprintf(line + at, SIM_TRACE_WIDTH - (size_t)at, fmt, ap);
	va_end(ap);
	for (const char *c = line; *c; c++)
		sim.hash = (sim.hash ^ (uint8_t)*c) * 0x100000001b3ull;
	if (sim.trace_level)
		fprintf(stderr, "%s\n", line);
}

void sim_set_limits(uint64_t max_time_ns, uint64_t max_switches)
{
	sim.max_time = max_time_ns;
	sim.max_switches = max_switches;
}

void sim_set_unrest(const struct sim_unrest *u)
{
	assert(u->max_delay_ns > 0 || u->delay_ppm == 0);
	sim.unrest = *u;
}
