/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock that may be held across I/O, made of a mutex and a condition so that it runs in
 * both environments. Waiters draw tickets and are served in order: nobody starves, and a
 * task that releases and takes again goes behind those who wait.
 *
 * Invariants, under m:
 *  1. now_serving <= next_ticket; equal means nobody holds it and nobody waits.
 *  2. is_held and owner != NULL mean the same; the holder's ticket is now_serving.
 */
#include "base/env.h"

#include <assert.h>
#include <stddef.h>

void sleeplock_init(struct sleeplock *l)
{
	mutex_init(&l->m);
	cond_init(&l->c);
	l->is_held = false;
	l->owner = NULL;
	l->next_ticket = 0;
	l->now_serving = 0;
}

void sleeplock_done(struct sleeplock *l)
{
	assert(!l->is_held && l->now_serving == l->next_ticket);
	cond_done(&l->c);
	mutex_done(&l->m);
}

static void take(struct sleeplock *l)
{
	assert(!l->is_held);
	l->is_held = true;
	l->owner = task_self();
}

void sleeplock_acquire(struct sleeplock *l)
{
	mutex_lock(&l->m);
	assert(l->owner != task_self());
	uint64_t ticket = l->next_ticket++;
	while (l->now_serving != ticket)
		cond_wait(&l->c, &l->m);
	take(l);
	mutex_unlock(&l->m);
}

bool sleeplock_try(struct sleeplock *l)
{
	mutex_lock(&l->m);
	bool is_free = l->now_serving == l->next_ticket;
	if (is_free) {
		l->next_ticket++;
		take(l);
	}
	mutex_unlock(&l->m);
	return is_free;
}

void sleeplock_release(struct sleeplock *l)
{
	mutex_lock(&l->m);
	assert(l->is_held && l->owner == task_self());
	l->is_held = false;
	l->owner = NULL;
	l->now_serving++;
	if (l->now_serving != l->next_ticket)
		cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

bool sleeplock_is_mine(struct sleeplock *l)
{
	mutex_lock(&l->m);
	bool is_mine = l->owner == task_self();
	mutex_unlock(&l->m);
	return is_mine;
}
