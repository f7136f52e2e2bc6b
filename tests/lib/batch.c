/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/batch.h"

static void batch_done(struct bdev_io *io)
{
	struct batch_io *bio = (struct batch_io *)io;
	struct batch *b = bio->batch;
	mutex_lock(&b->m);
	bio->done_count++;
	if (--b->pending == 0)
		cond_signal(&b->c);
	mutex_unlock(&b->m);
}

void batch_init(struct batch *b, struct batch_io *bio, unsigned int count)
{
	mutex_init(&b->m);
	cond_init(&b->c);
	b->pending = count;
	for (unsigned int i = 0; i < count; i++) {
		bio[i].batch = b;
		bio[i].done_count = 0;
		bio[i].io.done = batch_done;
		bio[i].io.iov = &bio[i].iov;
		bio[i].io.iovcnt = bio[i].iov.iov_base ? 1 : 0;
	}
}

void batch_start(struct batch *b, struct bdev *bd, struct batch_io *bio,
		 unsigned int count)
{
	batch_init(b, bio, count);
	for (unsigned int i = 0; i < count; i++)
		bdev_submit(bd, &bio[i].io);
}

void batch_wait(struct batch *b)
{
	mutex_lock(&b->m);
	while (b->pending)
		cond_wait(&b->c, &b->m);
	mutex_unlock(&b->m);
	cond_done(&b->c);
	mutex_done(&b->m);
}

void batch_run(struct bdev *bd, struct batch_io *bio, unsigned int count)
{
	struct batch b;
	batch_start(&b, bd, bio, count);
	batch_wait(&b);
}

int batch_one(struct bdev *bd, enum bdev_op op, uint32_t flags, void *buf, uint64_t len,
	      uint64_t offset)
{
	struct batch_io bio = {
		.io = { .op = op, .flags = flags, .len = len, .offset = offset },
		.iov = { buf, len },
	};
	batch_run(bd, &bio, 1);
	return bio.io.result;
}

void fill_bytes(void *buf, size_t len, uint32_t seed)
{
	uint8_t *b = buf;
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525u + 1013904223u;
		b[i] = (uint8_t)(seed >> 24);
	}
}
