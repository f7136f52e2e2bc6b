/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SCHED_H
#define TESTS_SIM_SCHED_H

/* Shared by the files of the simulator only; programs use sim.h. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "tests/sim/fiber.h"
#include "tests/sim/sim.h"

#define SIM_NAME_SIZE 24
#define SIM_TRACE_LINES 48u
#define SIM_TRACE_WIDTH 160u
#define NOT_QUEUED UINT32_MAX

struct sim_rng {
	uint64_t s[4];
};
void rng_init(struct sim_rng *r, uint64_t seed, uint64_t stream);
uint64_t rng_next(struct sim_rng *r);
uint64_t rng_below(struct sim_rng *r, uint64_t n);
bool rng_chance(struct sim_rng *r, uint32_t ppm);

/* An entry of the heap of timers: wakes a task or calls a function. */
struct sim_timer {
	uint64_t at, order; /* perfect time; chance among equals */
	uint32_t index;	    /* in the heap, or NOT_QUEUED */
	struct task *task;  /* NULL: belongs to a struct sim_call */
};

struct sim_call {
	struct sim_timer timer; /* first */
	struct sim_host *host;
	void (*fn)(void *arg);
	void *arg;
	LIST_ENTRY(sim_call) held; /* while the host is paused */
	bool is_held;
};

enum task_state { TASK_READY, TASK_RUNNING, TASK_WAITING, TASK_ENDED, TASK_KILLED };
enum task_wait { WAIT_NOTHING, WAIT_COND, WAIT_SLEEP, WAIT_JOIN, WAIT_DELAY };

struct task {
	struct fiber fiber;
	uint32_t id;
	char name[SIM_NAME_SIZE];
	struct sim_host *host;
	void (*fn)(void *arg);
	void *arg;
	enum task_state state;
	bool is_started, has_timed_out;
	uint32_t ready_index; /* in the ready list, or NOT_QUEUED */
	/* What it waits for. */
	enum task_wait wait;
	const void *wait_cond, *wait_mutex;
	struct task *wait_task;
	struct sim_timer timer;
	struct task *cond_next, *cond_prev;
	struct task *joiner;
	unsigned int mutex_count;
	const struct mutex *last_mutex;
	LIST_ENTRY(task) all;
	LIST_ENTRY(task) of_host;
	LIST_ENTRY(task) parked; /* ready, but its host is paused */
	bool is_parked;
};

struct on_kill {
	void (*fn)(struct sim_host *h, void *arg);
	void *arg;
	SLIST_ENTRY(on_kill) next;
};

struct sim_host {
	char name[SIM_NAME_SIZE];
	uint64_t clock_at_0;
	int rate_ppm;
	bool is_dead, is_paused;
	LIST_HEAD(, task) tasks;
	LIST_HEAD(, task) parked;
	LIST_HEAD(, sim_call) held;
	SLIST_HEAD(, on_kill) on_kill;
	LIST_ENTRY(sim_host) all;
};

/* The whole state of one run. */
struct sim {
	bool is_running, is_failing, is_dumping;
	uint64_t seed, now, switches, hash;
	uint64_t max_time, max_switches;
	struct sim_unrest unrest;
	struct sim_rng sched, program, world_rng;
	struct task *current; /* a fiber, &event while a callback runs, &outside */
	struct task event;    /* stands for the device in callbacks */
	struct fiber thread;  /* the scheduler's */
	struct fiber dumper;
	struct sim_host *world;
	LIST_HEAD(, task) tasks;
	LIST_HEAD(, sim_host) hosts;
	struct task **ready;
	uint32_t ready_count, ready_capacity;
	struct sim_timer **heap;
	uint32_t heap_count, heap_capacity;
	uint32_t next_id, live; /* live: fibers that have not ended or been killed */
	int trace_level;
	bool is_mute;
	uint32_t trace_count;
	char trace[SIM_TRACE_LINES][SIM_TRACE_WIDTH];
};
extern struct sim sim;

/* ---- sched.c ---- */
void sched_heap_add(struct sim_timer *t, uint64_t at);
void sched_heap_remove(struct sim_timer *t);
/* t may run (if its host is not paused). */
void sched_make_ready(struct task *t);
/* Takes t out of every list of things that could make it run. */
void sched_forget(struct task *t);
/* The running fiber stops until made ready. */
void sched_wait(enum task_wait wait);
/* The running fiber stays ready, others may run. */
void sched_yield_now(void);
void sched_hash(uint64_t n);
struct task *sched_task_new(struct sim_host *h, const char *name, void (*fn)(void *arg),
			    void *arg);
void sched_task_free(struct task *t);
/* "host/name#id" of a task into a static buffer. */
const char *sched_task_name(const struct task *t);
/* Fails if the running one is a callback or holds a mutex (other than allowed ones). */
void sched_check_may_wait(const char *what, unsigned int mutexes_allowed);
void sched_host_free(struct sim_host *h);

/* ---- fail.c ---- */
void fail_install_handlers(void);
void fail_remove_handlers(void);
/* Called by a fiber that was resumed only to show where it is. */
void fail_dump_self(void);

/* ---- env_sim.c ---- */
void cond_forget(struct task *t);

#endif
