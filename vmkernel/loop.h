/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_LOOP_H
#define VMKERNEL_LOOP_H

/*
 * The poll loop of vmkernel: its one task owns the inventory. What blocks runs as a job
 * on a task of its own and comes back as a call on the loop.
 */
#include <stdint.h>

struct loop;
struct loop_watch;

/* NULL without memory. */
struct loop *loop_new(void);
/* All watches gone, all jobs done; calls that are left are made. NULL is allowed. */
void loop_free(struct loop *loop);

/*
 * Calls fn(arg, events) when file_fd has events (EPOLLIN ...). NULL without memory. The
 * descriptor stays the caller's.
 */
struct loop_watch *loop_watch_new(struct loop *loop, int file_fd, uint32_t events,
				  void (*fn)(void *arg, uint32_t events), void *arg);
void loop_watch_events(struct loop_watch *w, uint32_t events);
/* Never called again from here on; may be called inside its own fn. NULL is allowed. */
void loop_watch_free(struct loop_watch *w);

/* Embedded by the caller; in use from loop_post until fn is called. */
struct loop_call {
	void (*fn)(void *arg);
	void *arg;
	struct loop_call *next;
};
/* From any task: fn(arg) is called on the loop's task. Never blocks. */
void loop_post(struct loop *loop, struct loop_call *call);

/* Runs work(arg) on a task of its own, then done(arg) on the loop. 0 or -ENOMEM. */
int loop_job(struct loop *loop, const char *name, void (*work)(void *arg),
	     void (*done)(void *arg), void *arg) __attribute__((warn_unused_result));

/* Until loop_stop, and then until no job is left. 0 or -errno. */
int loop_run(struct loop *loop) __attribute__((warn_unused_result));
void loop_stop(struct loop *loop);

#endif
