/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/writelog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/align.h"
#include "base/env.h"

#define SECTOR 512u

struct write {
	uint64_t off, len;
	unsigned int stable; /* writes [0, stable) were flushed before this one */
	uint8_t *bytes;
};

struct writelog {
	struct bdev bd;
	struct bdev *below;
	struct mutex m;
	struct write *writes;
	unsigned int count, flushed;
	int file_fd; /* -1: in memory */
};

static void append(struct writelog *l, const struct writelog_record *head, void *bytes)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)head, sizeof(*head) },
				{ bytes, head->len } };
	if (writev(l->file_fd, iov, 2) != (ssize_t)(sizeof(*head) + head->len))
		abort();
}

static void put_in_file(struct writelog *l, struct write *w, bool is_sure)
{
	const struct writelog_record head = {
		.kind = is_sure ? WRITELOG_FUA : WRITELOG_WRITE,
		.off = w->off, .len = w->len,
	};
	append(l, &head, w->bytes);
	free(w->bytes);
	l->count++;
}

/* What a write, zeroing or compare-and-write leaves, as it stands below by now. */
static void keep(struct writelog *l, uint64_t off, uint64_t len, bool is_sure)
{
	struct write w = {
		.off = off, .len = len, .stable = l->flushed, .bytes = malloc(len)
	};
	if (!w.bytes || bdev_read(l->below, w.bytes, len, off) < 0)
		abort();
	if (l->file_fd >= 0) {
		put_in_file(l, &w, is_sure);
		return;
	}
	l->writes = reallocarray(l->writes, l->count + 1, sizeof(*l->writes));
	if (!l->writes)
		abort();
	l->writes[l->count++] = w;
}

static void keep_flush(struct writelog *l, unsigned int count)
{
	const struct writelog_record head = { .kind = WRITELOG_FLUSH, .stable = count };
	l->flushed = count;
	if (l->file_fd >= 0)
		append(l, &head, NULL);
}

static int log_rw(struct bdev *bd, struct bdev_io *io)
{
	struct writelog *l = (struct writelog *)bd;
	struct bdev_io below = *io;
	bool is_sure = io->flags & BDEV_FUA;
	mutex_lock(&l->m);
	unsigned int count = l->count; /* a flush is for what had ended before it began */
	mutex_unlock(&l->m);
	int err = bdev_run(l->below, &below);
	if (err || io->op == BDEV_READ)
		return err;
	mutex_lock(&l->m);
	if (io->op == BDEV_FLUSH)
		keep_flush(l, count);
	else
		keep(l, io->offset, io->op == BDEV_CAW ? io->len / 2 : io->len, is_sure);
	if (is_sure && l->flushed + 1 == l->count)
		l->flushed = l->count;
	mutex_unlock(&l->m);
	return 0;
}

static void log_submit(struct bdev *bd, struct bdev_io *io)
{
	bdev_io_complete(io, log_rw(bd, io));
}

static int log_liveness(struct bdev *bd, uint64_t offset, bool is_wanted)
{
	return bdev_liveness(((struct writelog *)bd)->below, offset, is_wanted);
}

static void log_close(struct bdev *bd)
{
	struct writelog *l = (struct writelog *)bd;
	for (unsigned int i = 0; l->writes && i < l->count; i++)
		free(l->writes[i].bytes);
	free(l->writes);
	mutex_done(&l->m);
	free(l);
}

static const struct bdev_ops log_ops = {
	.submit = log_submit,
	.rw = log_rw,
	.liveness = log_liveness,
	.close = log_close,
};

struct bdev *writelog_new(struct bdev *below, int file_fd)
{
	struct writelog *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->file_fd = file_fd;
	l->bd = *below;
	l->bd.ops = &log_ops;
	l->bd.submit_domain = NULL;
	l->below = below;
	mutex_init(&l->m);
	return &l->bd;
}

unsigned int writelog_count(const struct bdev *log)
{
	return ((const struct writelog *)log)->count;
}

/* Writes before this cut that are there for certain. */
static unsigned int stable_at(const struct writelog *l, unsigned int cut)
{
	return cut < l->count ? l->writes[cut].stable : l->flushed;
}

static bool torn_next(const struct writelog *l, struct writelog_state *s)
{
	uint64_t sectors = s->cut < l->count ? l->writes[s->cut].len / SECTOR : 0;
	unsigned int middle = (unsigned int)(sectors / 2);
	if (sectors < 2)
		return false;
	if (s->torn && !s->is_tail) {
		s->is_tail = true;
		return true;
	}
	s->is_tail = false;
	if (s->torn == 0)
		s->torn = 1;
	else
		s->torn = s->torn < middle ? middle : 0;
	return s->torn != 0;
}

bool writelog_next(const struct bdev *log, struct writelog_state *s)
{
	const struct writelog *l = (const struct writelog *)log;
	if (s->missing == s->cut) { /* all are there, or the next one in part */
		if (torn_next(l, s))
			return true;
		s->torn = 0;
		s->missing = stable_at(l, s->cut);
	} else {
		s->missing++;
	}
	/* Without the last one it is the cut before. */
	if (s->missing + 1 < s->cut)
		return true;
	s->cut++;
	s->missing = s->cut;
	return s->cut <= l->count;
}

static void put(struct bdev *to, const struct write *w, uint64_t from, uint64_t len)
{
	if (len && bdev_write(to, w->bytes + from, len, w->off + from) < 0)
		abort();
}

void writelog_replay(const struct bdev *log, const struct writelog_state *s,
		     struct bdev *to)
{
	const struct writelog *l = (const struct writelog *)log;
	for (unsigned int i = 0; i < s->cut; i++)
		if (i != s->missing)
			put(to, &l->writes[i], 0, l->writes[i].len);
	if (s->torn) {
		const struct write *w = &l->writes[s->cut];
		uint64_t len = (uint64_t)s->torn * SECTOR;
		put(to, w, s->is_tail ? w->len - len : 0, len);
	}
}

const char *writelog_text(const struct writelog_state *s, char buf[static 80])
{
	if (s->torn)
		(void)snprintf(buf, 80, "after write %u, and %u %s sectors of the next",
			       s->cut, s->torn, s->is_tail ? "last" : "first");
	else if (s->missing < s->cut)
		(void)snprintf(buf, 80, "after write %u, without write %u", s->cut,
			       s->missing + 1);
	else
		(void)snprintf(buf, 80, "after write %u", s->cut);
	return buf;
}
