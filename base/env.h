/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ENV_H
#define BASE_ENV_H

/*
 * The one seam to the operating system: time, chance and waiting. Chosen at link time:
 * base/env_posix.c (pthreads, real clocks) or tests/sim/env_sim.c (fibers on one thread,
 * virtual time, a seed that picks the next task). The same object files run in both, so
 * the types below have one layout: storage that either environment uses as it likes.
 *
 * Zero-filled mutex, cond and sleeplock are NOT valid; call the init functions.
 */
#include <stdbool.h>
#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
#define NO_DEADLINE UINT64_MAX

/* Nanoseconds of CLOCK_BOOTTIME: never goes back, counts suspended time. Never blocks. */
uint64_t clock_now(void);
/* Microseconds since 1970, for on-disk timestamps and logs only. Never blocks. */
uint64_t clock_wall_us(void);
/* 64 random bits of cryptographic quality (in the simulator: of the seed). */
uint64_t random_u64(void);
/* Fills buf with len random bytes. */
void random_bytes(void *buf, uint32_t len);

/* Short lock: nothing that can block is called while it is held. Not recursive. */
struct mutex { uint64_t opaque[8]; };
void mutex_init(struct mutex *m);
void mutex_done(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);

struct cond { uint64_t opaque[8]; };
void cond_init(struct cond *c);
void cond_done(struct cond *c);
/* Waits with m held (released while waiting). May wake without cause: wait in a loop. */
void cond_wait(struct cond *c, struct mutex *m);
/* The same until clock_now() >= deadline (ns): 0 or -ETIMEDOUT. */
int cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline)
	__attribute__((warn_unused_result));
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* Long lock: may be held across I/O. First come, first served. Not recursive. */
struct sleeplock {
	struct mutex m;
	struct cond c;
	bool is_held;
	const struct task *owner;
	uint64_t next_ticket; /* of the next who comes */
	uint64_t now_serving; /* ticket that holds it or may take it */
};
void sleeplock_init(struct sleeplock *l);
void sleeplock_done(struct sleeplock *l);
void sleeplock_acquire(struct sleeplock *l);
/* true if taken; never blocks. */
bool sleeplock_try(struct sleeplock *l);
void sleeplock_release(struct sleeplock *l);
/* For assertions: true if the calling task holds l. */
bool sleeplock_is_mine(struct sleeplock *l);

/*
 * A thread (posix) or fiber (simulator). name: borrowed, at most 15 characters are kept.
 */
struct task;
/* NULL when out of memory or threads. The task must be joined. */
struct task *task_start(const char *name, void (*fn)(void *arg), void *arg);
/* Waits for the end of t and frees it. NULL is allowed. */
void task_join(struct task *t);
/* The calling task; an opaque, stable, non-NULL name for ownership checks. */
const struct task *task_self(void);
/*
 * The calling task is to run before all others of this machine whenever it can, as far as
 * the system allows it: for tasks that must be in time and need next to nothing.
 */
void task_raise(void);
/*
 * The calling task works briefly and often, and others wait for it: asks to run soon
 * after each wake-up, not for more time in all. Where the system cannot, nothing changes.
 */
void task_be_prompt(void);
/* Sleeps until clock_now() >= deadline (ns). */
void task_sleep_until(uint64_t deadline);
/*
 * Stands between two steps of what is done without a lock: where a machine may run others
 * at any time, the simulator does so here. Never blocks.
 */
void task_step(void);

#endif
