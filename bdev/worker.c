/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool that runs what cannot be mapped at once.
 *
 * Invariants:
 * 1. Each queued io is run once and completed once, in the order of arrival.
 * 2. No lock is held while the work or done() runs.
 * 3. A worker calls rw() and redo() only, which never punt: so a pool of one task cannot
 *    wait for itself.
 * The queue is linked through io->priv.next; the device gets priv back before the work
 * runs.
 */
#include "bdev/worker.h"

#include <assert.h>
#include <stdlib.h>

#include "base/env.h"

struct worker_pool {
	struct mutex m;
	struct cond work;
	struct bdev_io *first, **last; /* queue */
	bool is_closing;
	unsigned int count;
	struct task *task[];
};

static struct bdev_io *next_io(struct worker_pool *pool)
{
	mutex_lock(&pool->m);
	while (!pool->first && !pool->is_closing)
		cond_wait(&pool->work, &pool->m);
	struct bdev_io *io = pool->first;
	if (io) {
		pool->first = io->priv.next;
		if (!pool->first)
			pool->last = &pool->first;
	}
	mutex_unlock(&pool->m);
	return io;
}

static void worker(void *arg)
{
	struct worker_pool *pool = arg;
	struct bdev_io *io;
	while ((io = next_io(pool)) != NULL) {
		worker_fn *fn = (worker_fn *)(uintptr_t)io->priv.word[0];
		void *context = (void *)(uintptr_t)io->priv.word[1];
		bdev_io_complete(io, fn(io->bd, io, context));
	}
}

struct worker_pool *worker_pool_new(const char *name, unsigned int count)
{
	assert(count > 0);
	struct worker_pool *pool =
		calloc(1, sizeof(*pool) + count * sizeof(pool->task[0]));
	if (!pool)
		return NULL;
	mutex_init(&pool->m);
	cond_init(&pool->work);
	pool->last = &pool->first;
	for (unsigned int i = 0; i < count; i++) {
		pool->task[i] = task_start(name, worker, pool);
		if (!pool->task[i])
			break;
		pool->count++;
	}
	if (pool->count == 0) {
		worker_pool_free(pool);
		return NULL;
	}
	return pool;
}

void worker_pool_free(struct worker_pool *pool)
{
	if (!pool)
		return;
	mutex_lock(&pool->m);
	pool->is_closing = true;
	cond_broadcast(&pool->work);
	mutex_unlock(&pool->m);
	for (unsigned int i = 0; i < pool->count; i++)
		task_join(pool->task[i]);
	assert(!pool->first);
	cond_done(&pool->work);
	mutex_done(&pool->m);
	free(pool);
}

void worker_pool_prepare(struct bdev *bd, struct bdev_io *io, worker_fn *fn, void *arg)
{
	io->bd = bd;
	io->priv.word[0] = (uint64_t)(uintptr_t)fn;
	io->priv.word[1] = (uint64_t)(uintptr_t)arg;
}

void worker_pool_queue(struct worker_pool *pool, struct bdev_io *io)
{
	io->priv.next = NULL;
	mutex_lock(&pool->m);
	assert(!pool->is_closing);
	*pool->last = io;
	pool->last = &io->priv.next;
	cond_signal(&pool->work);
	mutex_unlock(&pool->m);
}

void bdev_set_pool(struct bdev *bd, struct worker_pool *pool)
{
	bd->submit_domain = pool;
}
