/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file copied out, as ddrescue goes about a disk: first what reads in one piece, then
 * what did not in small ones, then the bad sectors a bounded number of times more.
 *
 *	untried ---read---> done            a whole block
 *	   |                 ^
 *	   '----------> skipped --sectors--> bad --retries--> done
 *
 * Invariants:
 * 1. Nothing is done that is not in the output file; holes are, by its length.
 * 2. The map is saved before the first byte, and each time after the bytes it calls done
 *    are durable: a copy that was broken off goes on with what the map says.
 * 3. What is not this file's any more is never copied: it stays a hole, bad in the map.
 * 4. The map goes when all is done. So an output file without a map is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "fsck/rescue.h"

#define SMALL (64u << 10)
#define SAVE_EACH (1ull << 30) /* bytes */

typedef unsigned long long ull;

struct copy {
	struct rescue_job *job;
	struct rescue_map map;
	const char *map_path;
	int out_fd;
	uint64_t length, since_saved;
	enum map_status wanted; /* what this pass tries */
	uint8_t *buf;		/* one block */
	uint32_t block_size;
};

static bool is_zero(const uint8_t *bytes, uint64_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* Bytes into the output; zeros are there already. */
static int put(struct copy *c, const uint8_t *bytes, uint64_t len, uint64_t pos)
{
	int rc = map_set(&c->map, pos, len, MAP_DONE);
	while (rc == 0 && len && !is_zero(bytes, len)) {
		ssize_t n = pwrite(c->out_fd, bytes, len, (off_t)pos);
		if (n < 0 && errno != EINTR)
			return report_error(&c->job->s->r->base, -errno, "%s: %s",
					    c->job->out, strerror(errno));
		n = n < 0 ? 0 : n;
		bytes += n;
		pos += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return rc;
}

static int save(struct copy *c)
{
	char note[96];
	const struct rescue_job *job = c->job;
	c->since_saved = 0;
	(void)snprintf(note, sizeof(note), "of these, given to other files: %llu bytes",
		       (ull)job->reused_bytes);
	if (fsync(c->out_fd) != 0)
		return report_error(&job->s->r->base, -errno, "%s: %s", job->out,
				    strerror(errno));
	return map_save(&c->map, c->map_path, job->reused_bytes ? note : NULL,
			&job->s->r->base);
}

/* [pos, pos + len) of the file, at `off` in the block at addr, by reads of `unit`. */
static int read_range(struct copy *c, vmfs_addr addr, uint64_t off, uint64_t pos,
		      uint64_t len, uint64_t unit, enum map_status failed)
{
	int rc = 0;
	for (uint64_t at = 0; rc == 0 && at < len;) {
		uint64_t n = min_u64(unit, len - at);
		int err = fsck_addr_read(&c->job->s->v, addr, off + at, c->buf, n);
		if (!err)
			rc = put(c, c->buf, n, pos + at);
		else if (unit > SMALL || unit == VMFS_SECTOR_SIZE)
			rc = map_set(&c->map, pos + at, n, failed);
		else
			rc = read_range(c, addr, off + at, pos + at, n, VMFS_SECTOR_SIZE,
					MAP_BAD);
		at += n;
	}
	return rc;
}

/* What this pass wants of one block. */
static int copy_block(struct copy *c, vmfs_addr addr, uint64_t first, uint64_t end)
{
	int rc = 0;
	for (uint64_t pos = first; rc == 0 && pos < end;) {
		struct map_range r = map_at(&c->map, pos);
		uint64_t n = min_u64(r.len, end - pos);
		if (r.status == MAP_SCRAPE)
			r.status = MAP_SKIPPED;
		if (r.status == c->wanted && c->wanted == MAP_UNTRIED)
			rc = read_range(c, addr, pos - first, pos, n,
					max_u64(c->block_size, SMALL * 2), MAP_SKIPPED);
		else if (r.status == c->wanted)
			rc = read_range(c, addr, pos - first, pos, n,
					c->wanted == MAP_BAD ? VMFS_SECTOR_SIZE : SMALL,
					MAP_BAD);
		pos += n;
	}
	c->since_saved += end - first;
	return rc == 0 && c->since_saved >= SAVE_EACH ? save(c) : rc;
}

/* All that is not done of [pos, end). */
static int set_rest(struct copy *c, uint64_t pos, uint64_t end, enum map_status status)
{
	int rc = 0;
	while (rc == 0 && pos < end) {
		struct map_range r = map_at(&c->map, pos);
		uint64_t n = min_u64(r.len, end - pos);
		if (r.status != MAP_DONE)
			rc = map_set(&c->map, pos, n, status);
		pos += n;
	}
	return rc;
}

/* For rescue_walk. */
static int copy_run(void *arg, const struct rescue_run *run)
{
	struct copy *c = arg;
	struct rescue_job *job = c->job;
	uint64_t pos = run->block * c->block_size, end;
	if (!checked_mul(run->block + run->count, c->block_size, &end) || end > c->length)
		end = c->length;
	bool is_own = !job->is_deleted || rescue_is_own(job->s, run->addr);
	if (run->state == RESCUE_POINTER)
		return is_own ? 0 : 1;
	if (pos >= end)
		return 0;
	if (run->state == RESCUE_HOLE ||
	    (run->state == RESCUE_DATA && addr_is_tbz(run->addr)))
		return set_rest(c, pos, end, MAP_DONE);
	if (run->state == RESCUE_DATA && is_own)
		return copy_block(c, run->addr, pos, end);
	if (run->state == RESCUE_DATA || run->state == RESCUE_REUSED)
		job->reused_bytes += end - pos;
	return set_rest(c, pos, end, MAP_BAD);
}

static int pass(struct copy *c, enum map_status wanted)
{
	const struct rescue_job *job = c->job;
	if (map_bytes(&c->map, wanted) == 0 &&
	    (wanted != MAP_SKIPPED || map_bytes(&c->map, MAP_SCRAPE) == 0))
		return 0;
	c->wanted = wanted;
	c->job->reused_bytes = 0;
	if (le32_get(job->file->meta.zla) == VMFS_ZLA_RESIDENT)
		return put(c, job->file->body.u.resident, c->length, 0);
	int rc = rescue_walk(&job->s->v, job->file,
			     rescue_file_blocks(&job->s->v, job->file), copy_run, c);
	return rc ? rc : save(c);
}

static int copy_all(struct copy *c)
{
	int rc = pass(c, MAP_UNTRIED);
	if (rc == 0)
		rc = pass(c, MAP_SKIPPED);
	for (unsigned int i = 0; rc == 0 && i < c->job->retries; i++)
		rc = pass(c, MAP_BAD);
	return rc;
}

/* The output file and the map: both new, or both from a copy that was broken off. */
static int begin(struct copy *c)
{
	struct rescue_job *job = c->job;
	struct reporter *r = &job->s->r->base;
	int rc = rescue_out_check(job->s, job->out);
	if (rc == 0)
		rc = rescue_out_check(job->s, c->map_path);
	if (rc == 0)
		rc = map_init(&c->map, c->length);
	if (rc == 0)
		rc = map_load(&c->map, c->map_path, r);
	bool is_new = rc == -ENOENT;
	if (rc < 0 && !is_new)
		return rc;
	c->out_fd = open(job->out, O_WRONLY | O_CLOEXEC | (is_new ? O_CREAT | O_EXCL : 0),
			 0600);
	if (c->out_fd < 0)
		return report_error(r, -errno, "%s: %s%s", job->out, strerror(errno),
				    errno == EEXIST ? ", without a map" : "");
	rc = 0;
	if (ftruncate(c->out_fd, (off_t)c->length) != 0)
		rc = report_error(r, -errno, "%s: %llu bytes: %s", job->out,
				  (ull)c->length, strerror(errno));
	if (rc < 0 && is_new)
		(void)unlink(job->out);
	return rc < 0 ? rc : save(c);
}

/* 0 whole, 1 partial. */
static int finish(struct copy *c)
{
	struct rescue_job *job = c->job;
	job->missing_bytes = c->length - map_bytes(&c->map, MAP_DONE);
	if (job->missing_bytes == 0) {
		const struct timespec times[2] = {
			{ .tv_sec = le32_get(job->file->meta.atime_s) },
			{ .tv_sec = le32_get(job->file->meta.mtime_s) },
		};
		(void)futimens(c->out_fd, times); /* nobody depends on it */
		if (!job->map_path)
			(void)unlink(c->map_path);
		return 0;
	}
	report(&job->s->r->base, REPORT_WARN,
	       "%s: %llu of %llu bytes are missing, %llu of them given to other files: "
	       "%s",
	       job->label, (ull)job->missing_bytes, (ull)c->length,
	       (ull)job->reused_bytes, c->map_path);
	return 1;
}

int rescue_copy_file(struct rescue_job *job)
{
	struct buf path = { 0 };
	struct copy c = { .job = job,
			  .map_path = job->map_path,
			  .out_fd = -1,
			  .length = le64_get(job->file->meta.length),
			  .block_size = fsck_file_block_size(&job->s->v, job->file) };
	if (!c.map_path) {
		buf_printf(&path, "%s.map", job->out);
		c.map_path = path.data;
	}
	c.buf = io_alloc(max_u64(c.block_size, SMALL));
	int rc = c.buf && path.error == 0 ? begin(&c) : -ENOMEM;
	job->s->r->is_quiet = true;
	if (rc == 0)
		rc = copy_all(&c);
	job->s->r->is_quiet = false;
	if (rc == 0)
		rc = finish(&c);
	if (c.out_fd >= 0 && close(c.out_fd) != 0 && rc >= 0)
		rc = report_error(&job->s->r->base, -errno, "%s: %s", job->out,
				  strerror(errno));
	map_done(&c.map);
	free(c.buf);
	buf_done(&path);
	return rc;
}
