/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O that is waited for. A device that has an rw() is called in place; another one gets
 * a copy of the io, whose done() wakes who waits. Memory that does not fit the device is
 * copied, in parts; zeros are written where the device has no command for them.
 */
#include "bdev/bdev_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "bdev/iov.h"

#define BOUNCE_MAX (1u << 20) /* bytes copied at a time for unaligned callers */

static void *unconst(const void *p)
{
	return (void *)(uintptr_t)p;
}

struct waiter {
	struct mutex m;
	struct cond c;
	unsigned int pending;
};

/* The io that is waited for; its own copy, because the caller's done() stays his. */
struct waited_io {
	struct bdev_io io;
	struct waiter *w;
};

static void wake_waiter(struct bdev_io *io)
{
	struct waiter *w = ((struct waited_io *)io)->w;
	mutex_lock(&w->m);
	if (--w->pending == 0)
		cond_signal(&w->c);
	mutex_unlock(&w->m);
}

/* Those of a leaf that can do so go in few bursts: each rings its bell once. */
static void submit_all(struct waited_io *wios, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct bdev *bd = wios[i].io.bd;
		bool is_last = i + 1 == count || wios[i + 1].io.bd != bd;
		bool is_held = bd->ops->send && count > 1;
		wios[i].io.flags |= is_held ? BDEV_MORE : 0;
		bdev_submit(bd, &wios[i].io);
		if (is_held && is_last)
			bd->ops->send(bd);
	}
}

/* All at once, each on its io.bd. */
static void submit_and_wait(struct waited_io *wios, unsigned int count)
{
	struct waiter w = { .pending = count };
	mutex_init(&w.m);
	cond_init(&w.c);
	for (unsigned int i = 0; i < count; i++) {
		wios[i].w = &w;
		wios[i].io.done = wake_waiter;
		wios[i].io.channel = NULL; /* its task is not here to reap */
	}
	submit_all(wios, count);
	mutex_lock(&w.m);
	while (w.pending)
		cond_wait(&w.c, &w.m);
	mutex_unlock(&w.m);
	cond_done(&w.c);
	mutex_done(&w.m);
}

/* A leaf's rw() cannot be left at a deadline; its queue can. */
static bool needs_queue(const struct bdev *bd, const struct bdev_io *io)
{
	return bd->ops->submit && io->deadline &&
	       !(io->op == BDEV_CAW && bd->has_timed_caw);
}

int bdev_run(struct bdev *bd, struct bdev_io *io)
{
	if (!bd->ops->rw || needs_queue(bd, io)) {
		struct waited_io wio = { .io = *io };
		wio.io.bd = bd;
		wio.io.flags &= ~(uint32_t)BDEV_MORE; /* nobody would send it */
		submit_and_wait(&wio, 1);
		io->result = wio.io.result;
		return io->result;
	}
	io->bd = bd;
	io->result = bdev_io_check(bd, io);
	if (io->result == 0 && (io->len > 0 || io->op == BDEV_FLUSH))
		io->result = bd->ops->rw(bd, io);
	return io->result;
}

void bdev_run_all(struct bdev_io *ios, unsigned int count)
{
	struct waited_io *wios = count > 1 ? calloc(count, sizeof(*wios)) : NULL;
	for (unsigned int i = 0; i < count; i++) {
		if (wios)
			wios[i].io = ios[i];
		else
			(void)!bdev_run(ios[i].bd, &ios[i]); /* its result is kept */
	}
	if (!wios)
		return;
	submit_and_wait(wios, count);
	for (unsigned int i = 0; i < count; i++)
		ios[i].result = wios[i].io.result;
	free(wios);
}

static int run_buf(struct bdev *bd, struct bdev_io *io, void *buf)
{
	struct iovec iov = { buf, io->len };
	io->iov = &iov;
	io->iovcnt = 1;
	return bdev_run(bd, io);
}

/* The same through aligned memory, in parts. A CAW is one part. */
static int run_bounced(struct bdev *bd, struct bdev_io *io, char *buf)
{
	uint64_t total = io->len;
	uint64_t part = io->op == BDEV_CAW ? total : min_u64(total, BOUNCE_MAX);
	struct io_small small;
	char *bounce = io_small_get(&small, part, bd->memory_align);
	if (!bounce)
		return -ENOMEM;
	int rc = 0;
	for (uint64_t at = 0; at < total && rc == 0; at += part) {
		io->len = min_u64(part, total - at);
		if (io->op != BDEV_READ)
			(void)memcpy(bounce, buf + at, io->len);
		rc = run_buf(bd, io, bounce);
		if (rc == 0 && io->op == BDEV_READ)
			(void)memcpy(buf + at, bounce, io->len);
		io->offset += io->len;
	}
	io_small_put(&small, bounce);
	return rc;
}

/* ZERO by writing zeros, for a leaf that has nothing better. */
static int write_zeros(struct bdev *bd, const struct bdev_io *io)
{
	uint64_t part = bdev_zero_write_len(bd);
	int rc = 0;
	for (uint64_t at = 0; at < io->len && rc == 0; at += part) {
		struct iovec iov[BDEV_ZERO_IOVS];
		struct bdev_io w = *io;
		w.op = BDEV_WRITE;
		w.offset = io->offset + at;
		w.len = min_u64(part, io->len - at);
		w.iov = iov;
		w.iovcnt = iov_zeros(iov, w.len);
		rc = bdev_run(bd, &w);
	}
	return rc;
}

int bdev_rw(struct bdev *bd, enum bdev_op op, uint32_t flags, void *buf, uint64_t len,
	    uint64_t offset, uint64_t deadline)
{
	struct bdev_io io = { .op = op,
			      .flags = flags,
			      .offset = offset,
			      .len = len,
			      .deadline = deadline };
	if (bdev_has_memory(op)) {
		if (bd->memory_align > 1 && (uintptr_t)buf % bd->memory_align)
			return run_bounced(bd, &io, buf);
		return run_buf(bd, &io, buf);
	}
	if (op != BDEV_ZERO)
		return bdev_run(bd, &io);
	int rc = bdev_io_check(bd, &io);
	if (rc < 0)
		return rc;
	rc = bd->ops->submit && !bd->has_write_zeroes ? -EOPNOTSUPP : bdev_run(bd, &io);
	return rc == -EOPNOTSUPP ? write_zeros(bd, &io) : rc;
}

int bdev_read(struct bdev *bd, void *buf, uint64_t len, uint64_t offset)
{
	return bdev_rw(bd, BDEV_READ, 0, buf, len, offset, 0);
}

int bdev_write(struct bdev *bd, const void *buf, uint64_t len, uint64_t offset)
{
	return bdev_rw(bd, BDEV_WRITE, 0, unconst(buf), len, offset, 0);
}

int bdev_write_until(struct bdev *bd, const void *buf, uint64_t len, uint64_t offset,
		     uint64_t deadline)
{
	return bdev_rw(bd, BDEV_WRITE, 0, unconst(buf), len, offset, deadline);
}

int bdev_flush(struct bdev *bd)
{
	return bdev_rw(bd, BDEV_FLUSH, 0, NULL, 0, 0, 0);
}

int bdev_zero(struct bdev *bd, uint64_t len, uint64_t offset)
{
	return bdev_rw(bd, BDEV_ZERO, 0, NULL, len, offset, 0);
}

int bdev_unmap(struct bdev *bd, uint64_t len, uint64_t offset)
{
	return bdev_rw(bd, BDEV_UNMAP, 0, NULL, len, offset, 0);
}

int bdev_caw(struct bdev *bd, const void *expected, const void *wanted, uint32_t len,
	     uint64_t offset, uint64_t deadline)
{
	if (len != bd->block_size)
		return -EINVAL;
	/* A heartbeat needs no memory where the device does not mind. */
	struct io_small small;
	char *both = io_small_get(&small, 2 * (size_t)len, bd->memory_align);
	if (!both)
		return -ENOMEM;
	(void)memcpy(both, expected, len);
	(void)memcpy(both + len, wanted, len);
	int rc = bdev_rw(bd, BDEV_CAW, 0, both, 2ull * len, offset, deadline);
	io_small_put(&small, both);
	return rc;
}
