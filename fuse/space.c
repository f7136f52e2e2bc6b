/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to an open file without bytes from the kernel: blocks given and taken,
 * holes found, ranges copied within the volume.
 *
 * A range is zeroed by taking its blocks away and giving it others, to be zeroed: nothing
 * is written but the edges. A copy does not pass through the kernel, and not through here
 * where the storage copies by itself; holes stay holes.
 * The kernel has sent what it held of the source, and forgets what it has of the target.
 */
#include "fuse/space.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/align.h"
#include "base/large.h"
#include "fuse/disks.h"
#include "fuse/reply.h"

#define COPY_PIECE (1u << 20)
#define CLONE_MIN (1u << 20) /* less is not worth a lock */
#define COPY_MAX (64u << 20) /* of one request, so that it can be interrupted between */

static int size_of(struct vmfs_file *file, uint64_t *ret_size)
{
	struct vmfs_stat st;
	int err = vmfs_file_stat(file, &st);
	if (!err)
		*ret_size = st.size_bytes;
	return err;
}

/* ---- blocks given and taken ---- */

static int allocate(struct vmfs_file *file, uint64_t off, uint64_t len, int mode)
{
	uint64_t size;
	int err = mode & FALLOC_FL_KEEP_SIZE ? size_of(file, &size) : 0;
	if (err)
		return err;
	if (mode & FALLOC_FL_KEEP_SIZE && off + len > size)
		return -EOPNOTSUPP; /* no blocks behind the end */
	return vmfs_file_allocate(file, off, len, VMFS_ALLOCATE_TBZ);
}

static int zero(struct vmfs_file *file, uint64_t off, uint64_t len, int mode)
{
	uint64_t size;
	int err = size_of(file, &size);
	if (!err && mode & FALLOC_FL_KEEP_SIZE)
		len = off < size ? min_u64(len, size - off) : 0;
	if (err || !len)
		return err;
	err = vmfs_file_punch(file, off, len);
	return err ? err : vmfs_file_allocate(file, off, len, VMFS_ALLOCATE_TBZ);
}

void do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	if (!handle_may_write(h) || off < 0 || len <= 0) {
		reply_error(req, handle_may_write(h) ? -EINVAL : -EBADF);
		return;
	}
	if (vdisks_owns(ino)) {
		disk_fallocate(req, mode, off, len, h);
		return;
	}
	struct vmfs_file *file = handle_use(h);
	uint64_t from = (uint64_t)off, count = (uint64_t)len;
	int kind = mode & ~FALLOC_FL_KEEP_SIZE;
	int err = -EOPNOTSUPP;
	if (kind == 0)
		err = allocate(file, from, count, mode);
	else if (kind == FALLOC_FL_PUNCH_HOLE)
		err = vmfs_file_punch(file, from, count);
	else if (kind == FALLOC_FL_ZERO_RANGE)
		err = zero(file, from, count, mode);
	handle_unuse(h);
	reply_error(req, err);
}

/* ---- holes found ---- */

/* Where to look: an open file, or a disk of the view. */
struct seen {
	struct vmfs_file *file;
	struct vdisk *disk;
};

static int piece(const struct seen *s, uint64_t at, uint64_t *ret_len, bool *ret_is_data)
{
	if (s->disk)
		return vdisk_piece(s->disk, at, ret_len, ret_is_data);
	return s->file ? vmfs_file_extent(s->file, at, ret_len, ret_is_data) : -ESTALE;
}

/* Pieces until one is of the kind wanted. */
static int seek(const struct seen *s, uint64_t *at, bool wants_data)
{
	uint64_t len;
	bool is_data;
	int err = piece(s, *at, &len, &is_data);
	while (!err && is_data != wants_data) {
		*at += len;
		err = piece(s, *at, &len, &is_data);
		/* Past the last byte there is a hole, and no data. */
		if (err == -ENXIO && !wants_data)
			err = 0, is_data = false;
	}
	return err;
}

void do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	      struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	uint64_t at = (uint64_t)off;
	bool is_known = whence == SEEK_DATA || whence == SEEK_HOLE;
	if (off < 0 || !is_known) {
		reply_error(req, is_known ? -ENXIO : -EINVAL);
		return;
	}
	bool is_disk = vdisks_owns(ino);
	const struct seen s = { .file = is_disk ? NULL : handle_use(h),
				.disk = is_disk ? handle_use_disk(h) : NULL };
	int err = seek(&s, &at, whence == SEEK_DATA);
	handle_unuse(h);
	if (err)
		reply_error(req, err);
	else
		fuse_reply_lseek(req, (off_t)at);
}

/* ---- copies ---- */

struct copy {
	struct vmfs_file *in, *out;
	uint64_t at_in, at_out, len;
	char *buf;
	struct vmfs_file *locked; /* the source again, for the storage; may be NULL */
	bool clones;		  /* the storage has not declined so far */
};

/*
 * The storage copies what lies under a lock. A source that is open for reading has none:
 * one is taken for the time of the copy, if nobody has it.
 */
static void lock_source(struct copy *c, struct mount *m, fuse_ino_t ino)
{
	const struct vmfs_file_options how = { .flags = VMFS_READ_LOCKED };
	c->clones = c->len >= CLONE_MIN && vmfs_volume_may_clone(m->vol);
	if (c->clones && vmfs_node_open(m->vol, node_of_ino(ino), &how, &c->locked, NULL))
		c->locked = NULL;
}

/* Bytes that the storage has copied, 0: none; -errno. */
static int64_t clone_data(struct copy *c, uint64_t len)
{
	if (!c->clones)
		return 0;
	int64_t n = vmfs_file_clone(c->out, c->at_out, c->locked ? c->locked : c->in,
				    c->at_in, len);
	c->clones = n > 0;
	return n;
}

static int copy_data(struct copy *c, uint64_t len)
{
	int err = 0;
	while (!err && len) {
		int64_t n = clone_data(c, len);
		if (n == 0) {
			n = vmfs_file_read(c->in, c->buf, min_u64(len, COPY_PIECE),
					   c->at_in);
			if (n > 0)
				err = vmfs_file_write(c->out, c->buf, (uint64_t)n,
						      c->at_out);
		}
		if (n <= 0)
			return n < 0 ? (int)n : -ENXIO; /* shorter meanwhile */
		if (err)
			break;
		c->at_in += (uint64_t)n;
		c->at_out += (uint64_t)n;
		c->len -= (uint64_t)n;
		len -= (uint64_t)n;
	}
	return err;
}

static int copy_hole(struct copy *c, uint64_t len)
{
	uint64_t size = 0;
	int err = size_of(c->out, &size);
	if (!err && c->at_out < size)
		err = vmfs_file_punch(c->out, c->at_out, min_u64(len, size - c->at_out));
	if (!err && c->at_out + len > size)
		err = vmfs_file_truncate(c->out, c->at_out + len);
	if (!err) {
		c->at_in += len;
		c->at_out += len;
		c->len -= len;
	}
	return err;
}

/* As much as there is; an error only if nothing was copied. */
static int64_t copy_range(struct copy *c)
{
	uint64_t wanted = c->len;
	int err = 0;
	while (!err && c->len) {
		uint64_t len;
		bool is_data;
		err = vmfs_file_extent(c->in, c->at_in, &len, &is_data);
		if (err)
			break;
		len = min_u64(len, c->len);
		err = is_data ? copy_data(c, len) : copy_hole(c, len);
	}
	uint64_t done = wanted - c->len;
	return done || err == -ENXIO ? (int64_t)done : err;
}

void do_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct mount *m = mount_of(req);
	bool is_disk = vdisks_owns(ino_in) || vdisks_owns(ino_out);
	if (flags || off_in < 0 || off_out < 0 || is_disk) {
		/* The kernel copies by reading and writing then. */
		reply_error(req, is_disk ? -EOPNOTSUPP : -EINVAL);
		return;
	}
	struct copy c = {
		.in = handle_use(handle_of(fi_in)), .out = handle_use(handle_of(fi_out)),
		.at_in = (uint64_t)off_in, .at_out = (uint64_t)off_out,
		.len = min_u64(len, COPY_MAX), .buf = large_alloc(COPY_PIECE),
	};
	if (c.in && ino_in != ino_out)
		lock_source(&c, m, ino_in);
	int64_t n = !c.buf ? -ENOMEM : c.in ? copy_range(&c) : -ESTALE;
	handle_unuse(handle_of(fi_out));
	handle_unuse(handle_of(fi_in));
	(void)vmfs_file_close(c.locked); /* was only read */
	large_free(c.buf, COPY_PIECE);
	if (n < 0)
		reply_error(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}
