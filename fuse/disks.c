/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is read from and written to an open disk of the view (vdisks.c).
 *
 * A disk has sectors and its own length. What begins and ends with sectors goes to its
 * device and is answered when it is done there, by whoever finds that: a request costs no
 * thread while it is under way. Its users are counted (opened.c), so nothing is closed
 * under it.
 *
 *	do_read(), do_write() --bdev_submit--> under way --done()--> answered, not in use
 *
 * Long ones are few at a time: the worker waits for them, and they are read into and
 * written from the memory that it has anyway, on large pages (loop.c).
 *
 * Reads are made wider, to whole sectors. A write of parts of sectors is read, changed
 * and written while nobody else uses the disk, or it would undo what is written beside
 * it; so are the few things that are neither read nor write.
 */
#include "fuse/disks.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "fuse/loop.h"
#include "fuse/reply.h"

struct request {
	struct bdev_io io; /* first: done() casts */
	struct iovec iov;
	fuse_req_t req;
	struct handle *handle;
	char *buf;	   /* whole sectors; NULL: FLUSH */
	size_t skip, size; /* what was asked for, in buf */
};

static bool is_in_sectors(uint64_t off, uint64_t len)
{
	return (off | len) % VDISK_SECTOR == 0;
}

/* Bytes of [off, off + size) that the disk has. */
static uint64_t inside(const struct vdisk *disk, uint64_t off, uint64_t size)
{
	uint64_t capacity = vdisk_capacity(disk);
	return off < capacity ? min_u64(size, capacity - off) : 0;
}

static void reply_done(const struct request *r)
{
	if (r->io.result < 0)
		reply_error(r->req, r->io.result);
	else if (r->io.op == BDEV_READ)
		fuse_reply_buf(r->req, r->buf + r->skip, r->size);
	else if (r->io.op == BDEV_WRITE)
		fuse_reply_write(r->req, r->size);
	else
		fuse_reply_err(r->req, 0);
}

static void request_done(struct bdev_io *io)
{
	struct request *r = (struct request *)io;
	reply_done(r);
	handle_unuse(r->handle);
	free(r->buf);
	free(r);
}

/* NULL: no memory. */
static struct request *request_new(fuse_req_t req, enum bdev_op op, uint64_t off,
				   uint64_t size, struct handle *h)
{
	uint64_t begin = round_down(off, VDISK_SECTOR);
	uint64_t len = round_up(off + size, VDISK_SECTOR) - begin;
	struct request *r = calloc(1, sizeof(*r));
	char *buf = len ? io_alloc(len) : NULL;
	if (!r || (len && !buf)) {
		free(r);
		free(buf);
		return NULL;
	}
	*r = (struct request){
		.io = { .op = op, .offset = begin, .len = len, .done = request_done,
			.iov = &r->iov, .iovcnt = len ? 1 : 0 },
		.iov = { buf, len },
		.req = req, .handle = h,
		.buf = buf, .skip = off - begin, .size = size,
	};
	return r;
}

/* Goes on its way, or is answered with -ENOMEM. The disk is in use. */
static void start(fuse_req_t req, struct vdisk *disk, struct request *r,
		  struct handle *h)
{
	if (r) {
		bdev_submit(vdisk_bdev(disk), &r->io);
		return;
	}
	handle_unuse(h);
	reply_error(req, -ENOMEM);
}

static bool is_long(uint64_t off, uint64_t size)
{
	return size > LOOP_LENT_MAX && is_in_sectors(off, size);
}

/* The disk is in use. */
static void read_long(fuse_req_t req, struct vdisk *disk, size_t size, uint64_t off,
		      struct handle *h)
{
	struct wave *w = &mount_of(req)->reads;
	void *buf = loop_memory(size);
	wave_begin(w, size);
	int err = bdev_read(vdisk_bdev(disk), buf, size, off);
	wave_end(w, size);
	handle_unuse(h);
	loop_will_answer();
	if (err)
		reply_error(req, err);
	else
		fuse_reply_buf(req, buf, size);
}

void disk_read(fuse_req_t req, size_t size, off_t off, struct handle *h)
{
	struct vdisk *disk = handle_use_disk(h);
	size = disk ? inside(disk, (uint64_t)off, min_u64(size, LOOP_DATA_MAX)) : 0;
	if (is_long((uint64_t)off, size)) {
		read_long(req, disk, size, (uint64_t)off, h);
		return;
	}
	if (size) {
		start(req, disk, request_new(req, BDEV_READ, (uint64_t)off, size, h),
		      h);
		return;
	}
	handle_unuse(h);
	if (disk)
		fuse_reply_buf(req, NULL, 0);
	else
		reply_error(req, -ESTALE);
}

/* ---- parts of sectors: nobody else uses the disk ---- */

/* len bytes within one sector; NULL: zeros. */
static int write_part(struct vdisk *disk, const char *from, uint64_t len, uint64_t off)
{
	char sector[VDISK_SECTOR];
	uint64_t begin = round_down(off, VDISK_SECTOR);
	int err = bdev_read(vdisk_bdev(disk), sector, sizeof(sector), begin);
	if (err)
		return err;
	if (from)
		(void)memcpy(sector + (off - begin), from, len);
	else
		(void)memset(sector + (off - begin), 0, len);
	return bdev_write(vdisk_bdev(disk), sector, sizeof(sector), begin);
}

/* Whole sectors become zeros; those of a thin disk are given back. */
static int zero_sectors(struct vdisk *disk, uint64_t len, uint64_t off)
{
	struct bdev *bd = vdisk_bdev(disk);
	int err = len && bd->has_unmap ? bdev_unmap(bd, len, off) : 0;
	return len && !err ? bdev_zero(bd, len, off) : err;
}

static int write_sectors(struct vdisk *disk, const char *from, uint64_t len, uint64_t off)
{
	if (!from)
		return zero_sectors(disk, len, off);
	return len ? bdev_write(vdisk_bdev(disk), from, len, off) : 0;
}

/* Any bytes; from NULL: zeros. */
static int write_bytes(struct vdisk *disk, const char *from, uint64_t len, uint64_t off)
{
	uint64_t first = min_u64(len, round_up(off, VDISK_SECTOR) - off);
	uint64_t whole = round_down(len - first, VDISK_SECTOR);
	uint64_t last = len - first - whole;
	int err = first ? write_part(disk, from, first, off) : 0;
	if (!err)
		err = write_sectors(disk, from ? from + first : NULL, whole, off + first);
	if (!err && last)
		err = write_part(disk, from ? from + first + whole : NULL, last,
				 off + first + whole);
	return err;
}

static void write_alone(fuse_req_t req, const char *buf, size_t size, off_t off,
			struct handle *h)
{
	int err = write_bytes(handle_use_alone(h), buf, size, (uint64_t)off);
	handle_unuse_alone(h);
	if (err)
		reply_error(req, err);
	else
		fuse_reply_write(req, size);
}

/* The disk is in use. */
static void write_long(fuse_req_t req, struct vdisk *disk, const char *buf, size_t size,
		       uint64_t off, struct handle *h)
{
	int err = bdev_write(vdisk_bdev(disk), buf, size, off);
	handle_unuse(h);
	loop_will_answer();
	if (err)
		reply_error(req, err);
	else
		fuse_reply_write(req, size);
}

/* As a block device: what does not fit is not written, and at the end nothing does. */
void disk_write(fuse_req_t req, const char *buf, size_t size, off_t off,
		struct handle *h)
{
	struct vdisk *disk = handle_use_disk(h);
	size_t fits = inside(disk, (uint64_t)off, size);
	if (is_long((uint64_t)off, fits)) {
		write_long(req, disk, buf, fits, (uint64_t)off, h);
		return;
	}
	if (size && fits && is_in_sectors((uint64_t)off, fits)) {
		struct request *r = request_new(req, BDEV_WRITE, (uint64_t)off, fits, h);
		if (r)
			(void)memcpy(r->buf, buf, fits);
		start(req, disk, r, h);
		return;
	}
	handle_unuse(h);
	if (size && !fits)
		reply_error(req, -ENOSPC);
	else
		write_alone(req, buf, fits, off, h);
}

void disk_flush(fuse_req_t req, struct handle *h)
{
	if (handle_may_write(h))
		start(req, handle_use_disk(h),
		      request_new(req, BDEV_FLUSH, 0, 0, h), h);
	else
		fuse_reply_err(req, 0);
}

/*
 * Holes and zeros, which are the same to who reads: the room of a thin disk is given back
 * for both. Blocks ahead of what is written, and a longer disk, cannot be had.
 */
void disk_fallocate(fuse_req_t req, int mode, off_t off, off_t len,
		    struct handle *h)
{
	int kind = mode & ~FALLOC_FL_KEEP_SIZE;
	if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) {
		reply_error(req, -EOPNOTSUPP);
		return;
	}
	struct vdisk *disk = handle_use_alone(h);
	uint64_t fits = inside(disk, (uint64_t)off, (uint64_t)len);
	bool is_longer = fits < (uint64_t)len && !(mode & FALLOC_FL_KEEP_SIZE);
	int err = is_longer ? -ENOSPC : write_bytes(disk, NULL, fits, (uint64_t)off);
	handle_unuse_alone(h);
	reply_error(req, err);
}
