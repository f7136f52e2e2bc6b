/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_WORKER_H
#define BDEV_WORKER_H

/*
 * A bounded pool of tasks for what cannot be mapped at once. A worker runs the blocking
 * rw() of a translating device; it never hands work back to the pool.
 */
#include "bdev/bdev.h"

struct worker_pool;

/* count tasks; the queue is as long as its callers let it grow. NULL: no memory. */
struct worker_pool *worker_pool_new(const char *name, unsigned int count);
/* Waits until all queued work is done, then frees. NULL is allowed. */
void worker_pool_free(struct worker_pool *pool);
/* Runs bd->ops->rw(bd, io) on a worker, then completes io with its result. Never blocks.
 */
void worker_pool_punt(struct worker_pool *pool, struct bdev *bd, struct bdev_io *io);

/* Gives a translating device the pool that bdev_submit() punts to. Borrowed. */
void bdev_set_pool(struct bdev *bd, struct worker_pool *pool);

#endif
