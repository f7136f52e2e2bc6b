/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll, a list of calls from other tasks, and jobs.
 *
 * A watch that is freed while a batch of events is being handled may still stand in that
 * batch: it is marked and freed after the batch.
 */
#include "vmkernel/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/env.h"

#define EVENTS_MAX 32

struct loop_watch {
	struct loop *loop;
	int file_fd;
	void (*fn)(void *arg, uint32_t events);
	void *arg;
	bool is_dead;
	struct loop_watch *next_dead;
};

struct loop {
	int epoll_fd, wake_fd;
	struct loop_watch *wake_watch;
	struct loop_watch *dead;
	bool is_stopping;
	unsigned int jobs;
	struct mutex m;		/* of what follows */
	struct loop_call *first, **last;
};

struct job {
	struct loop *loop;
	struct task *task;
	void (*work)(void *arg);
	void (*done)(void *arg);
	void *arg;
	struct loop_call call;
};

static void run_calls(void *arg, uint32_t events)
{
	struct loop *loop = arg;
	uint64_t count;
	(void)events;
	ssize_t n = read(loop->wake_fd, &count, sizeof(count));
	(void)n; /* nothing to read is no harm */
	mutex_lock(&loop->m);
	struct loop_call *call = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	mutex_unlock(&loop->m);
	while (call) {
		struct loop_call *next = call->next;
		call->fn(call->arg);
		call = next;
	}
}

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	if (!loop)
		return NULL;
	mutex_init(&loop->m);
	loop->last = &loop->first;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd >= 0 && loop->wake_fd >= 0)
		loop->wake_watch =
			loop_watch_new(loop, loop->wake_fd, EPOLLIN, run_calls, loop);
	if (!loop->wake_watch) {
		loop_free(loop);
		return NULL;
	}
	return loop;
}

static void bury(struct loop *loop)
{
	while (loop->dead) {
		struct loop_watch *w = loop->dead;
		loop->dead = w->next_dead;
		free(w);
	}
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	run_calls(loop, 0); /* posted after the loop's end */
	assert(!loop->jobs);
	loop_watch_free(loop->wake_watch);
	bury(loop);
	if (loop->epoll_fd >= 0)
		(void)close(loop->epoll_fd);
	if (loop->wake_fd >= 0)
		(void)close(loop->wake_fd);
	mutex_done(&loop->m);
	free(loop);
}

struct loop_watch *loop_watch_new(struct loop *loop, int file_fd, uint32_t events,
				  void (*fn)(void *arg, uint32_t events), void *arg)
{
	struct loop_watch *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	struct epoll_event ev = { .events = events, .data.ptr = w };
	w->loop = loop;
	w->file_fd = file_fd;
	w->fn = fn;
	w->arg = arg;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, file_fd, &ev) < 0) {
		free(w);
		return NULL;
	}
	return w;
}

void loop_watch_events(struct loop_watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };
	int rc = epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_MOD, w->file_fd, &ev);
	assert(rc == 0 || w->is_dead);
	(void)rc;
}

void loop_watch_free(struct loop_watch *w)
{
	if (!w || w->is_dead)
		return;
	(void)epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_DEL, w->file_fd, NULL);
	w->is_dead = true;
	w->next_dead = w->loop->dead;
	w->loop->dead = w;
}

static void wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t n = write(loop->wake_fd, &one, sizeof(one));
	(void)n; /* a full counter wakes as well */
}

void loop_post(struct loop *loop, struct loop_call *call)
{
	call->next = NULL;
	mutex_lock(&loop->m);
	*loop->last = call;
	loop->last = &call->next;
	mutex_unlock(&loop->m);
	wake(loop);
}

static void job_work(void *arg)
{
	struct job *job = arg;
	job->work(job->arg);
	loop_post(job->loop, &job->call);
}

static void job_done(void *arg)
{
	struct job *job = arg;
	task_join(job->task);
	job->loop->jobs--;
	job->done(job->arg);
	free(job);
}

int loop_job(struct loop *loop, const char *name, void (*work)(void *arg),
	     void (*done)(void *arg), void *arg)
{
	struct job *job = calloc(1, sizeof(*job));
	if (!job)
		return -ENOMEM;
	job->loop = loop;
	job->work = work;
	job->done = done;
	job->arg = arg;
	job->call = (struct loop_call){ .fn = job_done, .arg = job };
	job->task = task_start(name, job_work, job);
	if (!job->task) {
		free(job);
		return -ENOMEM;
	}
	loop->jobs++;
	return 0;
}

int loop_run(struct loop *loop)
{
	struct epoll_event ev[EVENTS_MAX];
	while (!loop->is_stopping || loop->jobs) {
		int n = epoll_wait(loop->epoll_fd, ev, EVENTS_MAX, -1);
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			struct loop_watch *w = ev[i].data.ptr;
			if (!w->is_dead)
				w->fn(w->arg, ev[i].events);
		}
		bury(loop);
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->is_stopping = true;
	wake(loop);
}
