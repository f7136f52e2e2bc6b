/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts of the simulator: a clock and a set of fibers that can be stopped or lost
 * together.
 *
 * A host's clock shows clock_at_0 + t * (1 + rate_ppm / 10^6) at perfect time t. Killing
 * takes the fibers out of every list, so that nothing can run them; their stacks stay
 * mapped until the end of the run, because other hosts' memory may still point there.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sched.h"

struct sim_host *sim_host_new(const char *name, int rate_ppm)
{
	assert(sim.is_running && rate_ppm > -1000000);
	struct sim_host *h = calloc(1, sizeof(*h));
	assert(h);
	(void)snprintf(h->name, sizeof(h->name), "%s", name);
	h->rate_ppm = rate_ppm;
	h->clock_at_0 = rng_below(&sim.world_rng, 1000000 * NS_PER_S);
	LIST_INIT(&h->tasks);
	LIST_INIT(&h->parked);
	LIST_INIT(&h->held);
	SLIST_INIT(&h->on_kill);
	LIST_INSERT_HEAD(&sim.hosts, h, all);
	return h;
}

void sched_host_free(struct sim_host *h)
{
	while (!LIST_EMPTY(&h->held))
		sim_call_cancel(LIST_FIRST(&h->held));
	while (!SLIST_EMPTY(&h->on_kill)) {
		struct on_kill *k = SLIST_FIRST(&h->on_kill);
		SLIST_REMOVE_HEAD(&h->on_kill, next);
		free(k);
	}
	LIST_REMOVE(h, all);
	free(h);
}

const char *sim_host_name(const struct sim_host *h)
{
	return h->name;
}

struct sim_host *sim_host_self(void)
{
	return sim.current ? sim.current->host : sim.world;
}

struct sim_host *sim_host_world(void)
{
	return sim.world;
}

struct task *sim_host_start(struct sim_host *h, const char *name, void (*fn)(void *arg),
			    void *arg)
{
	return sched_task_new(h, name, fn, arg);
}

bool sim_host_run(struct sim_host *h, const char *name, void (*fn)(void *arg), void *arg)
{
	struct task *t = sched_task_new(h, name, fn, arg);
	assert(t);
	task_join(t);
	return !h->is_dead;
}

static void kill_task(struct task *t)
{
	if (t->state == TASK_ENDED)
		return;
	sched_forget(t);
	t->state = TASK_KILLED;
	sim.live--;
	if (t->joiner) {
		struct task *joiner = t->joiner;
		t->joiner = NULL;
		if (joiner->host != t->host)
			sched_make_ready(joiner);
	}
}

void sim_host_kill(struct sim_host *h)
{
	assert(h != sim.world);
	if (h->is_dead)
		return;
	sim_trace("kill %s", h->name);
	h->is_dead = true;
	struct task *t;
	LIST_FOREACH(t, &h->tasks, of_host)
		kill_task(t);
	struct on_kill *k;
	SLIST_FOREACH(k, &h->on_kill, next)
		k->fn(h, k->arg);
	while (!LIST_EMPTY(&h->held))
		sim_call_cancel(LIST_FIRST(&h->held));
	if (sim.current != &sim.event && sim.current->host == h)
		fiber_leave(&sim.current->fiber, &sim.thread);
}

void sim_host_on_kill(struct sim_host *h, void (*fn)(struct sim_host *h, void *arg),
		      void *arg)
{
	struct on_kill *k = calloc(1, sizeof(*k));
	assert(k);
	k->fn = fn;
	k->arg = arg;
	SLIST_INSERT_HEAD(&h->on_kill, k, next);
}

void sim_host_forget_on_kill(struct sim_host *h, const void *arg)
{
	struct on_kill *k;
	SLIST_FOREACH(k, &h->on_kill, next) {
		if (k->arg == arg)
			break;
	}
	if (!k)
		return;
	SLIST_REMOVE(&h->on_kill, k, on_kill, next);
	free(k);
}

bool sim_host_is_dead(const struct sim_host *h)
{
	return h->is_dead;
}

void sim_host_pause(struct sim_host *h)
{
	assert(h != sim.world);
	if (h->is_dead || h->is_paused)
		return;
	sim_trace("pause %s", h->name);
	h->is_paused = true;
	struct task *t;
	LIST_FOREACH(t, &h->tasks, of_host) {
		if (t->state != TASK_READY)
			continue;
		sched_forget(t);
		t->state = TASK_WAITING;
		sched_make_ready(t);
	}
	if (sim.current != &sim.event && sim.current->host == h)
		sched_yield_now();
}

void sim_host_resume(struct sim_host *h)
{
	if (h->is_dead || !h->is_paused)
		return;
	sim_trace("resume %s", h->name);
	h->is_paused = false;
	while (!LIST_EMPTY(&h->parked)) {
		struct task *t = LIST_FIRST(&h->parked);
		sched_forget(t);
		t->state = TASK_WAITING;
		sched_make_ready(t);
	}
	while (!LIST_EMPTY(&h->held)) {
		struct sim_call *call = LIST_FIRST(&h->held);
		LIST_REMOVE(call, held);
		call->is_held = false;
		sched_heap_add(&call->timer, sim.now);
	}
}

bool sim_host_is_paused(const struct sim_host *h)
{
	return h->is_paused;
}

uint64_t sim_host_clock(const struct sim_host *h)
{
	unsigned __int128 scaled =
		(unsigned __int128)sim.now * (uint64_t)(1000000 + h->rate_ppm);
	return h->clock_at_0 + (uint64_t)(scaled / 1000000);
}

uint64_t sim_host_time_of(const struct sim_host *h, uint64_t clock)
{
	if (clock <= h->clock_at_0)
		return 0;
	uint64_t rate = (uint64_t)(1000000 + h->rate_ppm);
	unsigned __int128 scaled = (unsigned __int128)(clock - h->clock_at_0) * 1000000;
	unsigned __int128 at = (scaled + rate - 1) / rate;
	return at > UINT64_MAX ? UINT64_MAX : (uint64_t)at;
}
