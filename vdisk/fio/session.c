/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests go through a channel (bdev.h): what the device completes is reaped by the task
 * that waits for it. What workers complete, or devices without channels, comes from other
 * tasks and wakes it.
 *
 *	submit -> under way -> ended (a list) -> session_next()
 *
 * Invariants:
 * 1. A session_io is the session's from submit until session_next().
 * 2. The task is woken after the io is in the list; so who sleeps after he found too few
 *    in the list is woken by the next.
 */
#include "vdisk/fio/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/align.h"
#include "bdev/worker.h"
#include "vdisk/tool/tool.h"

#define WORKERS 32u
#define WAIT_NS (30 * NS_PER_S)

struct session_io {
	struct bdev_io io; /* first: done() finds the rest through it */
	struct iovec iov;
	struct session *session;
	void *tag;
	TAILQ_ENTRY(session_io) next;
};
TAILQ_HEAD(session_io_queue, session_io);

struct session {
	struct teller t;
	struct place place;
	struct mount m;
	struct vdisk *disk;
	struct vmfs_holder holder;
	struct worker_pool *pool;
	struct bdev_channel *channel;
	struct mutex lock; /* of the two below */
	struct session_io_queue ended;
	unsigned int ended_count;
};

/* ---- opening ---- */

static int open_disk(struct session *s, bool may_write, const char *key_file)
{
	struct vdisk_secret secret = { .len = 0 };
	struct vdisk_open_options how = {
		.flags = may_write ? VDISK_WRITE : VDISK_READ,
		.deadline = clock_now() + WAIT_NS,
		.reporter = &s->t.base,
		.luns = &tool_luns,
		.secret = key_file ? &secret : NULL,
	};
	int rc = key_file ? vdisk_secret_read(key_file, false, &s->t.base, &secret) : 0;
	if (rc == 0 && s->place.device && may_write)
		rc = mount_guard(&s->m, &s->t, s->place.device);
	if (rc == 0 && s->place.device)
		rc = mount_open(&s->m, &s->t, s->place.device, !may_write);
	if (rc == 0)
		rc = vdisk_open(s->m.vol, s->place.path, &how, &s->disk, &s->holder);
	vdisk_secret_done(&secret);
	return rc ? rc : vdisk_check_unlocked(s->disk, &s->t.base);
}

int session_open(const char *disk, bool may_write, const char *key_file,
		 struct session **ret_session)
{
	struct session *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	teller_init(&s->t, false);
	mutex_init(&s->lock);
	TAILQ_INIT(&s->ended);
	int rc = bdev_channel_new(&s->channel);
	if (rc == 0)
		rc = place_parse_any(&s->t, disk, &s->place);
	if (rc == 0)
		rc = open_disk(s, may_write, key_file);
	s->pool = rc == 0 ? worker_pool_new("disk-work", WORKERS) : NULL;
	if (rc == 0 && !s->pool)
		rc = -ENOMEM;
	if (rc < 0) {
		(void)complain(&s->t, disk, rc, &s->holder);
		(void)session_close(s); /* that error is the one to tell */
		return rc;
	}
	bdev_set_pool(vdisk_bdev(s->disk), s->pool);
	*ret_session = s;
	return 0;
}

uint64_t session_size(const struct session *s)
{
	return vdisk_capacity(s->disk);
}

int session_close(struct session *s)
{
	if (!s)
		return 0;
	int rc = vdisk_close(s->disk);
	worker_pool_free(s->pool);
	int err = mount_close(&s->m);
	bdev_channel_free(s->channel);
	place_done(&s->place);
	mutex_done(&s->lock);
	teller_done(&s->t);
	free(s);
	return rc ? rc : err;
}

/* ---- requests ---- */

struct session_io *session_io_new(void *tag)
{
	struct session_io *io = calloc(1, sizeof(*io));
	if (io)
		io->tag = tag;
	return io;
}

void session_io_free(struct session_io *io)
{
	free(io);
}

static void done(struct bdev_io *bio)
{
	struct session_io *io = (struct session_io *)bio;
	struct session *s = io->session;
	mutex_lock(&s->lock);
	TAILQ_INSERT_TAIL(&s->ended, io, next);
	s->ended_count++;
	mutex_unlock(&s->lock);
	bdev_channel_wake(s->channel);
}

void session_submit(struct session *s, struct session_io *io, enum session_op op,
		    void *buf, uint64_t len, uint64_t offset)
{
	static const enum bdev_op ops[] = { [SESSION_READ] = BDEV_READ,
					    [SESSION_WRITE] = BDEV_WRITE,
					    [SESSION_FLUSH] = BDEV_FLUSH,
					    [SESSION_UNMAP] = BDEV_UNMAP };
	bool has_data = op == SESSION_READ || op == SESSION_WRITE;
	bool is_flush = op == SESSION_FLUSH;
	io->session = s;
	io->iov = (struct iovec){ buf, len };
	io->io = (struct bdev_io){ .op = ops[op],
				   .offset = is_flush ? 0 : offset,
				   .len = is_flush ? 0 : len,
				   .iov = has_data ? &io->iov : NULL,
				   .iovcnt = has_data ? 1 : 0,
				   .done = done,
				   .channel = s->channel };
	bdev_submit(vdisk_bdev(s->disk), &io->io);
}

static unsigned int count(struct session *s)
{
	mutex_lock(&s->lock);
	unsigned int n = s->ended_count;
	mutex_unlock(&s->lock);
	return n;
}

unsigned int session_wait(struct session *s, unsigned int least,
			  const struct timespec *limit)
{
	uint64_t end = limit ? clock_now() + (uint64_t)limit->tv_sec * NS_PER_S +
				       (uint64_t)limit->tv_nsec
			     : NO_DEADLINE;
	/* What ended before, and was not asked for then, wakes nobody again. */
	do
		(void)bdev_channel_wait(s->channel, count(s) < least ? end : 0);
	while (count(s) < least && (end == NO_DEADLINE || clock_now() < end));
	return count(s);
}

void *session_next(struct session *s, int *ret_error)
{
	mutex_lock(&s->lock);
	struct session_io *io = TAILQ_FIRST(&s->ended);
	if (io) {
		TAILQ_REMOVE(&s->ended, io, next);
		s->ended_count--;
	}
	mutex_unlock(&s->lock);
	*ret_error = io ? -io->io.result : 0;
	return io ? io->tag : NULL;
}
