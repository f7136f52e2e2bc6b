/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's struct is known to the loop from the store to q->call until the loop has
 * set it back to NULL; it is freed only after is_over, which comes behind that.
 */
#include "bdev/quiet.h"

#include <stddef.h>

#include "base/env.h"

struct quiet_call {
	void (*fn)(void *arg);
	void *arg;
	uint64_t began, held; /* clock_now(), 0: not yet; ns */
	struct mutex m;
	struct cond c;
	bool is_over;
};

uint64_t quiet_run(struct quiet *q, void (*fn)(void *arg), void *arg,
		   void (*wake)(void *wake_arg), void *wake_arg)
{
	struct quiet_call call = { .fn = fn, .arg = arg };
	mutex_init(&call.m);
	cond_init(&call.c);
	atomic_store(&q->call, &call);
	wake(wake_arg);
	mutex_lock(&call.m);
	while (!call.is_over)
		cond_wait(&call.c, &call.m);
	mutex_unlock(&call.m);
	cond_done(&call.c);
	mutex_done(&call.m);
	return call.held;
}

bool quiet_is_wanted(struct quiet *q)
{
	struct quiet_call *call = atomic_load(&q->call);
	if (call && !call->began)
		call->began = clock_now();
	return call;
}

void quiet_now(struct quiet *q)
{
	struct quiet_call *call = atomic_load(&q->call);
	if (!call)
		return;
	call->fn(call->arg);
	atomic_store(&q->call, NULL);
	call->held = clock_now() - call->began;
	mutex_lock(&call->m);
	call->is_over = true;
	cond_signal(&call->c);
	mutex_unlock(&call->m);
}
