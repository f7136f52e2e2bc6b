/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_BATCH_H
#define TESTS_LIB_BATCH_H

/* Many asynchronous ios at once, waited for together. */
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "bdev/bdev.h"

struct batch {
	struct mutex m;
	struct cond c;
	unsigned int pending;
};

struct batch_io {
	struct bdev_io io; /* the caller sets op, flags, offset, len, deadline */
	struct iovec iov;  /* base NULL: the op has no memory */
	struct batch *batch;
	unsigned int done_count;
};

/*
 * Makes ios ready that the caller starts himself, each once, before batch_wait(): for
 * commands that do not go through bdev_submit().
 */
void batch_init(struct batch *b, struct batch_io *bio, unsigned int count);
/* Submits all; batch_wait() returns when each has been completed. */
void batch_start(struct batch *b, struct bdev *bd, struct batch_io *bio,
		 unsigned int count);
void batch_wait(struct batch *b);
/* One after the other of the above. */
void batch_run(struct bdev *bd, struct batch_io *bio, unsigned int count);
/* Submits one io and waits for it: its result. buf may be NULL. */
int batch_one(struct bdev *bd, enum bdev_op op, uint32_t flags, void *buf, uint64_t len,
	      uint64_t offset);
/* Bytes that depend on seed. */
void fill_bytes(void *buf, size_t len, uint32_t seed);

#endif
