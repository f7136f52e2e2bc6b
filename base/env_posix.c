/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real environment: POSIX threads and the kernel's clocks.
 *
 * Time is CLOCK_BOOTTIME, because a lease must not get younger while the machine sleeps.
 * Waiting with a deadline is done on CLOCK_MONOTONIC with the time that remains, since
 * the C library has no condition wait on CLOCK_BOOTTIME; a suspended machine therefore
 * wakes a little late, never early, and the deadline is checked again against
 * clock_now().
 *
 * Failures that can only be programming errors (unlocking what is not locked) assert.
 */
#include "base/env.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static_assert(sizeof(pthread_mutex_t) <= sizeof(struct mutex), "mutex storage");
static_assert(sizeof(pthread_cond_t) <= sizeof(struct cond), "cond storage");
static_assert(_Alignof(pthread_mutex_t) <= _Alignof(struct mutex), "mutex alignment");
static_assert(_Alignof(pthread_cond_t) <= _Alignof(struct cond), "cond alignment");

#define TASK_NAME_SIZE 16
#define RAISED_PRIORITY 20 /* of SCHED_FIFO; the guard has more */
#define PROMPT_SLICE_NS 100000 /* the shortest that the kernel grants */

struct task {
	pthread_t thread;
	char name[TASK_NAME_SIZE];
	void (*fn)(void *arg);
	void *arg;
};

static uint64_t clock_read(clockid_t clock)
{
	struct timespec t;
	int rc = clock_gettime(clock, &t);
	assert(rc == 0);
	(void)rc;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t clock_now(void)
{
	return clock_read(CLOCK_BOOTTIME);
}

uint64_t clock_wall_us(void)
{
	return clock_read(CLOCK_REALTIME) / NS_PER_US;
}

void random_bytes(void *buf, uint32_t len)
{
	uint8_t *at = buf;
	while (len) {
		ssize_t n = getrandom(at, len, 0);
		if (n < 0) {
			assert(errno == EINTR);
			continue;
		}
		at += n;
		len -= (uint32_t)n;
	}
}

uint64_t random_u64(void)
{
	uint64_t n;
	random_bytes(&n, sizeof(n));
	return n;
}

/* ---- mutex ---- */

static pthread_mutex_t *mutex_of(struct mutex *m)
{
	return (pthread_mutex_t *)m->opaque;
}

static pthread_cond_t *cond_of(struct cond *c)
{
	return (pthread_cond_t *)c->opaque;
}

void mutex_init(struct mutex *m)
{
	memset(m, 0, sizeof(*m));
	int rc = pthread_mutex_init(mutex_of(m), NULL);
	assert(rc == 0);
	(void)rc;
}

void mutex_done(struct mutex *m)
{
	int rc = pthread_mutex_destroy(mutex_of(m));
	assert(rc == 0);
	(void)rc;
}

void mutex_lock(struct mutex *m)
{
	int rc = pthread_mutex_lock(mutex_of(m));
	assert(rc == 0);
	(void)rc;
}

void mutex_unlock(struct mutex *m)
{
	int rc = pthread_mutex_unlock(mutex_of(m));
	assert(rc == 0);
	(void)rc;
}

/* ---- cond ---- */

void cond_init(struct cond *c)
{
	memset(c, 0, sizeof(*c));
	int rc = pthread_cond_init(cond_of(c), NULL);
	assert(rc == 0);
	(void)rc;
}

void cond_done(struct cond *c)
{
	int rc = pthread_cond_destroy(cond_of(c));
	assert(rc == 0);
	(void)rc;
}

void cond_wait(struct cond *c, struct mutex *m)
{
	int rc = pthread_cond_wait(cond_of(c), mutex_of(m));
	assert(rc == 0);
	(void)rc;
}

/* CLOCK_MONOTONIC time that is reached when remaining_ns have passed. */
static struct timespec monotonic_after(uint64_t remaining_ns)
{
	uint64_t now = clock_read(CLOCK_MONOTONIC);
	uint64_t at;
	if (__builtin_add_overflow(now, remaining_ns, &at) || at > INT64_MAX)
		at = INT64_MAX;
	return (struct timespec){ .tv_sec = (time_t)(at / NS_PER_S),
				  .tv_nsec = (long)(at % NS_PER_S) };
}

int cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline)
{
	if (deadline == NO_DEADLINE) {
		cond_wait(c, m);
		return 0;
	}
	uint64_t now = clock_now();
	if (now >= deadline)
		return -ETIMEDOUT;
	struct timespec at = monotonic_after(deadline - now);
	int rc = pthread_cond_clockwait(cond_of(c), mutex_of(m), CLOCK_MONOTONIC, &at);
	assert(rc == 0 || rc == ETIMEDOUT);
	/* A timeout that came a tick early is a wake-up without cause. */
	return rc == ETIMEDOUT && clock_now() >= deadline ? -ETIMEDOUT : 0;
}

void cond_signal(struct cond *c)
{
	int rc = pthread_cond_signal(cond_of(c));
	assert(rc == 0);
	(void)rc;
}

void cond_broadcast(struct cond *c)
{
	int rc = pthread_cond_broadcast(cond_of(c));
	assert(rc == 0);
	(void)rc;
}

/* ---- task ---- */

/* What task_self() points to in threads that task_start() did not make. */
static _Thread_local struct task foreign;
static _Thread_local struct task *self;

static void *run(void *arg)
{
	self = arg;
	(void)pthread_setname_np(pthread_self(), self->name); /* a name is a courtesy */
	self->fn(self->arg);
	return NULL;
}

struct task *task_start(const char *name, void (*fn)(void *arg), void *arg)
{
	struct task *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	strncpy(t->name, name, sizeof(t->name) - 1);
	t->fn = fn;
	t->arg = arg;
	if (pthread_create(&t->thread, NULL, run, t) != 0) {
		free(t);
		return NULL;
	}
	return t;
}

void task_join(struct task *t)
{
	if (!t)
		return;
	int rc = pthread_join(t->thread, NULL);
	assert(rc == 0);
	(void)rc;
	free(t);
}

const struct task *task_self(void)
{
	return self ? self : &foreign;
}

void task_raise(void)
{
	struct sched_param param = { .sched_priority = RAISED_PRIORITY };

	/* An ordinary user's stays as it is. */
	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
}

/* What sched_getattr(2) and sched_setattr(2) take: their first form, of 48 bytes. */
struct sched_attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};
static_assert(sizeof(struct sched_attributes) == 48, "as the kernel reads it");

/*
 * A short slice: since Linux 6.12 the wish of an ordinary task for turns of that length,
 * which come the sooner; before, it means nothing. Needs no privilege.
 */
void task_be_prompt(void)
{
	struct sched_attributes a = { .size = sizeof(a) };
	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) < 0 ||
	    a.policy != SCHED_OTHER)
		return;
	a.runtime = PROMPT_SLICE_NS;
	(void)syscall(SYS_sched_setattr, 0, &a, 0); /* a wish */
}

void task_step(void)
{
}

void task_sleep_until(uint64_t deadline)
{
	for (;;) {
		uint64_t now = clock_now();
		if (now >= deadline)
			return;
		struct timespec at = monotonic_after(deadline - now);
		int rc = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		assert(rc == 0 || rc == EINTR);
		(void)rc;
	}
}
