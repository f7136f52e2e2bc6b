/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/env.h in the simulator. A mutex is one word (its owner), since nobody stops while
 * he holds one; a condition is a list of waiting fibers. Outside of sim_run() mutexes
 * work and waiting is refused, so that a test can set up and tear down around its runs.
 */
#include "base/env.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "tests/sim/sched.h"

#define WALL_AT_0_US 1790000000000000ull
#define CLOCK_COST_NS 20u

static struct task outside = { .name = "outside" };

static struct task *self_or_outside(void)
{
	return sim.is_running && sim.current ? sim.current : &outside;
}

/* ---- time and chance ---- */

uint64_t clock_now(void)
{
	if (!sim.is_running)
		return 0;
	sim_preempt();
	sim.now += CLOCK_COST_NS; /* so that a loop that polls the clock ends */
	return sim_host_clock(sim_host_self());
}

uint64_t clock_wall_us(void)
{
	return WALL_AT_0_US + sim.now / NS_PER_US;
}

uint64_t random_u64(void)
{
	return rng_next(&sim.program);
}

void random_bytes(void *buf, uint32_t len)
{
	uint8_t *at = buf;
	while (len) {
		uint64_t n = rng_next(&sim.program);
		uint32_t part = len < sizeof(n) ? len : (uint32_t)sizeof(n);
		memcpy(at, &n, part);
		at += part;
		len -= part;
	}
}

/* ---- mutex ---- */

#define MUTEX_MAGIC 0x6d75746578ull
#define COND_MAGIC 0x636f6e64ull

struct sim_mutex {
	uint64_t magic;
	struct task *owner;
};
static_assert(sizeof(struct sim_mutex) <= sizeof(struct mutex), "mutex storage");

struct sim_cond {
	uint64_t magic;
	struct task *first;
};
static_assert(sizeof(struct sim_cond) <= sizeof(struct cond), "cond storage");

static struct sim_mutex *mutex_of(struct mutex *m)
{
	struct sim_mutex *sm = (struct sim_mutex *)m->opaque;
	if (sm->magic != MUTEX_MAGIC)
		sim_fail("mutex %p is not initialised", (void *)m);
	return sm;
}

static struct sim_cond *cond_of(struct cond *c)
{
	struct sim_cond *sc = (struct sim_cond *)c->opaque;
	if (sc->magic != COND_MAGIC)
		sim_fail("cond %p is not initialised", (void *)c);
	return sc;
}

void mutex_init(struct mutex *m)
{
	memset(m, 0, sizeof(*m));
	((struct sim_mutex *)m->opaque)->magic = MUTEX_MAGIC;
}

void mutex_done(struct mutex *m)
{
	struct sim_mutex *sm = mutex_of(m);
	if (sm->owner)
		sim_fail("mutex %p is destroyed while %s holds it", (void *)m,
			 sched_task_name(sm->owner));
	sm->magic = 0;
}

static void take(struct sim_mutex *sm, struct mutex *m)
{
	struct task *self = self_or_outside();
	if (sm->owner)
		sim_fail("mutex %p is contended: held by %s, wanted by %s", (void *)m,
			 sched_task_name(sm->owner), sched_task_name(self));
	sm->owner = self;
	self->mutex_count++;
	self->last_mutex = m;
}

static void give(struct sim_mutex *sm, struct mutex *m)
{
	struct task *self = self_or_outside();
	if (sm->owner != self)
		sim_fail("mutex %p is unlocked by %s, which does not hold it", (void *)m,
			 sched_task_name(self));
	sm->owner = NULL;
	self->mutex_count--;
}

void mutex_lock(struct mutex *m)
{
	sim_preempt();
	take(mutex_of(m), m);
}

void mutex_unlock(struct mutex *m)
{
	give(mutex_of(m), m);
	sim_preempt();
}

/* ---- cond ---- */

void cond_init(struct cond *c)
{
	memset(c, 0, sizeof(*c));
	((struct sim_cond *)c->opaque)->magic = COND_MAGIC;
}

void cond_done(struct cond *c)
{
	struct sim_cond *sc = cond_of(c);
	if (sc->first)
		sim_fail("cond %p is destroyed while %s waits", (void *)c,
			 sched_task_name(sc->first));
	sc->magic = 0;
}

/* wait_cond is const for those who only print it; the list is ours. */
static struct sim_cond *waited_cond(struct task *t)
{
	union {
		const void *in;
		struct sim_cond *out;
	} u = { .in = t->wait_cond };
	return u.out;
}

void cond_forget(struct task *t)
{
	struct sim_cond *sc = waited_cond(t);
	if (!sc)
		return;
	if (t->cond_prev)
		t->cond_prev->cond_next = t->cond_next;
	else
		sc->first = t->cond_next;
	if (t->cond_next)
		t->cond_next->cond_prev = t->cond_prev;
	t->cond_next = t->cond_prev = NULL;
	t->wait_cond = NULL;
}

static void stand_in_line(struct sim_cond *sc, struct task *self)
{
	self->wait_cond = sc;
	self->cond_prev = NULL;
	self->cond_next = sc->first;
	if (sc->first)
		sc->first->cond_prev = self;
	sc->first = self;
}

/* at: perfect time, or NO_DEADLINE. */
static int wait_until(struct cond *c, struct mutex *m, uint64_t at)
{
	sched_check_may_wait("cond_wait", 1);
	struct sim_cond *sc = cond_of(c);
	struct sim_mutex *sm = mutex_of(m);
	struct task *self = sim.current;
	give(sm, m);
	self->has_timed_out = at <= sim.now;
	if (self->has_timed_out || rng_chance(&sim.sched, sim.unrest.spurious_ppm)) {
		sched_yield_now();
	} else {
		stand_in_line(sc, self);
		self->wait_mutex = m;
		if (at != NO_DEADLINE)
			sched_heap_add(&self->timer, at);
		sched_wait(WAIT_COND);
	}
	take(sm, m);
	return self->has_timed_out ? -ETIMEDOUT : 0;
}

void cond_wait(struct cond *c, struct mutex *m)
{
	(void)wait_until(c, m, NO_DEADLINE);
}

int cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline)
{
	uint64_t at = NO_DEADLINE;
	if (deadline != NO_DEADLINE)
		at = sim_host_time_of(sim_host_self(), deadline);
	return wait_until(c, m, at);
}

static void wake(struct task *t)
{
	cond_forget(t);
	sched_make_ready(t);
}

void cond_signal(struct cond *c)
{
	struct sim_cond *sc = cond_of(c);
	uint64_t count = 0;
	for (struct task *t = sc->first; t; t = t->cond_next)
		count++;
	if (!count)
		return;
	struct task *t = sc->first;
	for (uint64_t skip = rng_below(&sim.sched, count); skip; skip--)
		t = t->cond_next;
	wake(t);
}

void cond_broadcast(struct cond *c)
{
	struct sim_cond *sc = cond_of(c);
	while (sc->first)
		wake(sc->first);
}

/* ---- tasks ---- */

struct task *task_start(const char *name, void (*fn)(void *arg), void *arg)
{
	if (!sim.is_running)
		sim_fail("task_start outside of a simulation");
	struct task *t = sched_task_new(sim_host_self(), name, fn, arg);
	sim_preempt();
	return t;
}

void task_join(struct task *t)
{
	if (!t)
		return;
	sched_check_may_wait("task_join", 0);
	while (t->state != TASK_ENDED && t->state != TASK_KILLED) {
		if (t->joiner)
			sim_fail("task %s is joined twice", sched_task_name(t));
		t->joiner = sim.current;
		sim.current->wait_task = t;
		sched_wait(WAIT_JOIN);
	}
	if (t->state == TASK_ENDED)
		sched_task_free(t);
}

const struct task *task_self(void)
{
	return self_or_outside();
}

void task_raise(void)
{
}

void task_be_prompt(void)
{
}

void task_step(void)
{
	sim_preempt();
}

void task_sleep_until(uint64_t deadline)
{
	sched_check_may_wait("task_sleep_until", 0);
	uint64_t at = sim_host_time_of(sim_host_self(), deadline);
	if (at <= sim.now) {
		sched_yield_now();
		return;
	}
	if (deadline != NO_DEADLINE)
		sched_heap_add(&sim.current->timer, at);
	sched_wait(WAIT_SLEEP);
}
