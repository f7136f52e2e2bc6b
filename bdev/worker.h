/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_WORKER_H
#define BDEV_WORKER_H

/*
 * A bounded pool of tasks for what cannot be mapped at once, or has to be done again. A
 * worker runs what blocks in a translating device: prepare(), rw(), redo(); it never
 * hands work back to the pool. One worker more than were asked for does nothing but
 * redo(): all the others may be waiting for a piece that has to be done again.
 */
#include "bdev/bdev.h"

struct worker_pool;

/* count tasks; the queue is as long as its callers let it grow. NULL: no memory. */
struct worker_pool *worker_pool_new(const char *name, unsigned int count);
/* Waits until all queued work is done, then frees. NULL is allowed. */
void worker_pool_free(struct worker_pool *pool);
/*
 * What is to become of io on a worker: it is completed with what fn returns, or is fn's
 * own (WORKER_KEPT). Kept in io->priv (but for priv.next) until it runs.
 */
enum { WORKER_KEPT = 1 }; /* it ends elsewhere, or has ended */
typedef int worker_fn(struct bdev *bd, struct bdev_io *io, void *arg);
void worker_pool_prepare(struct bdev *bd, struct bdev_io *io, worker_fn *fn, void *arg);
/* The same of what others of the pool may wait for, and which waits for none of them. */
void worker_pool_prepare_redo(struct bdev *bd, struct bdev_io *io, worker_fn *fn,
			      void *arg);
/* Queues an io that is prepared; what it starts is not held. Never blocks. */
void worker_pool_queue(struct worker_pool *pool, struct bdev_io *io);

/* Gives a translating device the pool that bdev_submit() punts to. Borrowed. */
void bdev_set_pool(struct bdev *bd, struct worker_pool *pool);

#endif
