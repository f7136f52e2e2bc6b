/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool that runs what cannot be mapped at once.
 *
 * Invariants:
 * 1. Each queued io is run once, in the order of arrival, and completed once: by the
 *    worker, or by a leaf that got it from there.
 * 2. No lock is held while the work or done() runs.
 * 3. A worker calls prepare(), rw() and redo() only, which never punt: so a pool of one
 *    task cannot wait for itself.
 * 4. rw() may wait until nobody holds a place any more, and who holds it may wait for
 *    redo(): so what is to be redone is taken first, and one task takes nothing else.
 * The queue is linked through io->priv.next; the device gets priv back before the work
 * runs.
 */
#include "bdev/worker.h"

#include <assert.h>
#include <stdlib.h>

#include "base/env.h"

enum word { WORD_FN, WORD_ARG, WORD_IS_REDO };

struct queue {
	struct bdev_io *first, **last;
	struct cond work;
};

struct worker_pool {
	struct mutex m;
	struct queue any, redo;
	bool is_closing;
	struct task *redoer;
	unsigned int count;
	struct task *task[];
};

static void queue_init(struct queue *q)
{
	q->last = &q->first;
	cond_init(&q->work);
}

static struct bdev_io *take(struct queue *q)
{
	struct bdev_io *io = q->first;
	if (io) {
		q->first = io->priv.next;
		if (!q->first)
			q->last = &q->first;
	}
	return io;
}

static struct bdev_io *next_io(struct worker_pool *pool, bool is_redoer)
{
	struct queue *q = is_redoer ? &pool->redo : &pool->any;
	struct bdev_io *io;
	mutex_lock(&pool->m);
	for (;;) {
		io = take(&pool->redo);
		if (!io)
			io = take(q);
		if (io || pool->is_closing)
			break;
		cond_wait(&q->work, &pool->m);
	}
	mutex_unlock(&pool->m);
	return io;
}

static void run(struct bdev_io *io)
{
	worker_fn *fn = (worker_fn *)(uintptr_t)io->priv.word[WORD_FN];
	void *context = (void *)(uintptr_t)io->priv.word[WORD_ARG];
	int rc = fn(io->bd, io, context);
	if (rc != WORKER_KEPT)
		bdev_io_complete(io, rc);
}

static void worker(void *arg)
{
	struct bdev_io *io;
	while ((io = next_io(arg, false)) != NULL)
		run(io);
}

static void redoer(void *arg)
{
	struct bdev_io *io;
	while ((io = next_io(arg, true)) != NULL)
		run(io);
}

struct worker_pool *worker_pool_new(const char *name, unsigned int count)
{
	assert(count > 0);
	struct worker_pool *pool =
		calloc(1, sizeof(*pool) + count * sizeof(pool->task[0]));
	if (!pool)
		return NULL;
	mutex_init(&pool->m);
	queue_init(&pool->any);
	queue_init(&pool->redo);
	pool->redoer = task_start(name, redoer, pool);
	for (unsigned int i = 0; i < count; i++) {
		pool->task[i] = task_start(name, worker, pool);
		if (!pool->task[i])
			break;
		pool->count++;
	}
	if (pool->count == 0 || !pool->redoer) {
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
	cond_broadcast(&pool->any.work);
	cond_broadcast(&pool->redo.work);
	mutex_unlock(&pool->m);
	for (unsigned int i = 0; i < pool->count; i++)
		task_join(pool->task[i]);
	if (pool->redoer)
		task_join(pool->redoer);
	assert(!pool->any.first && !pool->redo.first);
	cond_done(&pool->any.work);
	cond_done(&pool->redo.work);
	mutex_done(&pool->m);
	free(pool);
}

void worker_pool_prepare(struct bdev *bd, struct bdev_io *io, worker_fn *fn, void *arg)
{
	io->bd = bd;
	io->priv.word[WORD_FN] = (uint64_t)(uintptr_t)fn;
	io->priv.word[WORD_ARG] = (uint64_t)(uintptr_t)arg;
	io->priv.word[WORD_IS_REDO] = false;
}

void worker_pool_prepare_redo(struct bdev *bd, struct bdev_io *io, worker_fn *fn,
			      void *arg)
{
	worker_pool_prepare(bd, io, fn, arg);
	io->priv.word[WORD_IS_REDO] = true;
}

void worker_pool_queue(struct worker_pool *pool, struct bdev_io *io)
{
	bool is_redo = io->priv.word[WORD_IS_REDO];
	struct queue *q = is_redo ? &pool->redo : &pool->any;
	io->priv.next = NULL;
	io->flags &= ~(uint32_t)BDEV_MORE; /* from here on nobody would send it */
	mutex_lock(&pool->m);
	assert(!pool->is_closing);
	*q->last = io;
	q->last = &io->priv.next;
	cond_signal(&q->work);
	if (is_redo) /* by whoever comes first */
		cond_signal(&pool->any.work);
	mutex_unlock(&pool->m);
}

void bdev_set_pool(struct bdev *bd, struct worker_pool *pool)
{
	bd->submit_domain = pool;
}
