/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files opened, made, read, written and closed, for the kernel (opened.c says what that
 * means for a file and its lock).
 *
 * Whatever another host changes is seen: the kernel drops its pages of a file at each
 * open, but with -o immutable.
 */
#include "fuse/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>

#include "base/align.h"
#include "fuse/attributes.h"
#include "fuse/direct.h"
#include "fuse/disks.h"
#include "fuse/loop.h"
#include "fuse/reply.h"

static void take_handle(struct mount *m, struct handle *h, struct fuse_file_info *fi)
{
	fi->fh = (uintptr_t)h;
	fi->keep_cache = m->options.is_immutable;
}

static bool wants_to_write(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC;
}

static int open_handle(struct mount *m, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h;
	if (wants_to_write(fi) && m->options.is_read_only)
		return -EROFS;
	if (fi->flags & O_TRUNC && vdisks_owns(ino))
		return -EPERM; /* a disk has its length */
	int err = handle_open(&m->opened, ino, wants_to_write(fi), &h);
	if (err)
		return err;
	take_handle(m, h, fi);
	if (fi->flags & O_TRUNC) {
		err = opened_truncate(&m->opened, ino, 0, h);
		if (err)
			(void)handle_close(h); /* what went wrong first is told */
	}
	return err;
}

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

/*
 * Who opens with O_DIRECT gets his requests past the kernel's cache, and several at a
 * time: else the kernel sends one write after the other. libfuse has no word for that
 * before 3.15, so the answer is put together here. Kernels that do not know it go on one
 * by one; they see to it that who reads through the cache sees what was written.
 */
static int reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	if (!(fi->flags & O_DIRECT) || !mount_of(req)->is_direct)
		return fuse_reply_open(req, fi);
	const struct fuse_open_out out = {
		.fh = fi->fh,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
	};
	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	int err = open_handle(m, ino, fi);
	if (err)
		reply_error(req, err);
	/* The one who asked may be gone: then nobody closes the file but us. */
	else if (reply_open(req, fi) == -ENOENT)
		(void)handle_close(handle_of(fi));
}

static int create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		  struct fuse_file_info *fi, struct vmfs_stat *ret_st)
{
	struct mount *m = mount_of(req);
	const struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE | VMFS_EXCL,
		.owner = attr_of_caller(req, parent, mode),
	};
	struct vmfs_file *file;
	struct handle *h;
	int err = vmfs_node_create(m->vol, node_of_ino(parent), name, &options, &file,
				   NULL);
	if (err == -EEXIST && !(fi->flags & O_EXCL)) {
		err = vmfs_node_lookup(m->vol, node_of_ino(parent), name, ret_st);
		return err ? err
			   : open_handle(m, ino_of_stat(ret_st), fi);
	}
	if (err)
		return err;
	err = vmfs_file_stat(file, ret_st);
	if (!err)
		err = handle_adopt(&m->opened, ino_of_stat(ret_st), file, &h);
	if (err)
		(void)vmfs_file_close(file); /* what went wrong first is told */
	else
		take_handle(m, h, fi);
	return err;
}

void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct vmfs_stat st;
	int err = create(req, parent, name, mode, fi, &st);
	if (err) {
		reply_error(req, err);
		return;
	}
	struct fuse_entry_param e = entry_of(m, &st);
	if (fuse_reply_create(req, &e, fi) == -ENOENT)
		(void)handle_close(handle_of(fi));
}

void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	reply_error(req, handle_close(handle_of(fi)));
}

static int64_t read_file(struct mount *m, struct vmfs_file *file, void *buf, size_t size,
			 uint64_t off)
{
	if (size <= LOOP_LENT_MAX)
		return vmfs_file_read(file, buf, size, off);
	wave_begin(&m->reads, size);
	int64_t n = vmfs_file_read(file, buf, size, off);
	wave_end(&m->reads, size);
	return n;
}

void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	     struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	if (vdisks_owns(ino)) {
		loop_will_wait();
		disk_read(req, size, off, h);
		return;
	}
	if (direct_start(req, BDEV_READ, size, off, h))
		return;
	loop_will_wait();
	size = min_u64(size, LOOP_DATA_MAX);
	void *buf = loop_memory(size);
	struct vmfs_file *file = handle_use(h);
	int64_t n = file ? read_file(mount_of(req), file, buf, size, (uint64_t)off)
			 : -ESTALE;
	handle_unuse(h);
	loop_will_answer();
	if (n < 0)
		reply_error(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

void do_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	if (vdisks_owns(ino)) {
		loop_will_wait();
		disk_write(req, buf, size, off, h);
		return;
	}
	bool drops_set_id = loop_drops_set_id();
	if (!drops_set_id && direct_start(req, BDEV_WRITE, size, off, h))
		return;
	loop_will_wait();
	int err = drops_set_id ? drop_set_id(mount_of(req), ino) : 0;
	if (!err) {
		err = vmfs_file_write(handle_use(h), buf, size, (uint64_t)off);
		handle_unuse(h);
	}
	loop_will_answer();
	if (err)
		reply_error(req, err);
	else
		fuse_reply_write(req, size);
}

void do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (vdisks_owns(ino))
		disk_flush(req, handle_of(fi));
	else
		reply_error(req, handle_commit(handle_of(fi)));
}

void do_fsync(fuse_req_t req, fuse_ino_t ino, int is_data_only, struct fuse_file_info *fi)
{
	(void)is_data_only; /* the length is needed to find the data */
	if (vdisks_owns(ino)) {
		disk_flush(req, handle_of(fi));
		return;
	}
	int err = handle_commit(handle_of(fi));
	reply_error(req, err ? err : vmfs_volume_sync(mount_of(req)->vol));
}
