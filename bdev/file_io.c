/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One io on a file or block device, done in the calling task: the fast path of metadata
 * and what the helper tasks run.
 *
 * Invariants:
 * 1. A read that ends early is an error (-EIO): the image was truncated under us, and
 *    zeros in place of lost metadata would be a lie. On a block device the end is where
 *    the kernel says that the device has gone (-ENODEV).
 * 2. The first flush that fails decides all later ones. The kernel reports a lost write
 *    to one fsync() and forgets it; who asks again must not hear that all is well.
 * 3. Once cut, nothing new is sent. A task that has passed the test of is_cut counts as
 *    in flight: it is counted in `running` before it tests, and mending waits for it.
 *
 * ZERO keeps space reserved where the filesystem can (ZERO_RANGE), UNMAP gives it back
 * (PUNCH_HOLE). Where neither exists zeros are written.
 */
#include "bdev/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "bdev/iov.h"

#define IOVS_AT_ONCE 64
#define ZEROS_SIZE (64u << 10)
#define TOLD_END (-1) /* in told_errno: an early end */

static const uint8_t zeros[ZEROS_SIZE] __attribute__((aligned(IO_ALIGN)));

static const char *op_text(enum bdev_op op)
{
	static const char *const text[] = {
		[BDEV_READ] = "read",	[BDEV_WRITE] = "write",
		[BDEV_FLUSH] = "flush", [BDEV_ZERO] = "zero",
		[BDEV_UNMAP] = "unmap", [BDEV_CAW] = "compare and write",
	};
	return text[op];
}

/*
 * What the block layer and filesystems say. ENOLINK (transport) and ETIMEDOUT leave open
 * whether the device executed it; EBADE is a reservation conflict.
 */
static int error_of_errno(const struct file_bdev *file, int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return -ENOSPC;
	case ENODEV:
	case ENXIO:
	case ENOMEDIUM:
		return -ENODEV;
	case EINVAL:
	case ENOMEM:
	case EOPNOTSUPP:
	case ETIMEDOUT:
		return -error;
	case ENOLINK:
		return -ETIMEDOUT;
	case EBADE:
		return -EBUSY;
	default:
		return file->is_block && file_is_gone(file) ? -ENODEV : -EIO;
	}
}

int file_error(struct file_bdev *file, const struct bdev_io *io, int error)
{
	int err = error_of_errno(file, error);
	if (atomic_exchange(&file->told_errno, error) != error)
		report(file->bd.reporter, REPORT_ERROR,
		       "%s: cannot %s %llu bytes at offset %llu: %s", file->bd.name,
		       op_text(io->op), (unsigned long long)io->len,
		       (unsigned long long)io->offset, strerror(error));
	return err;
}

static int ends_early(struct file_bdev *file, const struct bdev_io *io, uint64_t at)
{
	bool is_gone = file->is_block && file_is_gone(file);
	if (atomic_exchange(&file->told_errno, TOLD_END) != TOLD_END)
		report(file->bd.reporter, REPORT_ERROR,
		       "%s: %s at offset %llu, size was %llu", file->bd.name,
		       is_gone ? "the device has gone" : "ends early",
		       (unsigned long long)(io->offset + at),
		       (unsigned long long)file->bd.size);
	return is_gone ? -ENODEV : -EIO;
}

int file_rw_flags(const struct bdev_io *io)
{
	return io->op != BDEV_READ && (io->flags & BDEV_FUA) ? RWF_DSYNC : 0;
}

/* Through the page cache, if the caller wants it and may. */
static int fd_of(const struct file_bdev *file, const struct bdev_io *io)
{
	bool has = io->op == BDEV_READ ? file->cached_fd >= 0 : file->bd.has_cached_write;
	return io->flags & BDEV_CACHED && has ? file->cached_fd : file->file_fd;
}

static int read_write(struct file_bdev *file, const struct bdev_io *io, uint64_t at)
{
	int flags = file_rw_flags(io);
	while (at < io->len) {
		struct iovec v[IOVS_AT_ONCE];
		int n = iov_slice(io->iov, io->iovcnt, at, io->len - at, v, IOVS_AT_ONCE,
				  NULL);
		off_t off = (off_t)(io->offset + at);
		ssize_t got = io->op == BDEV_READ
				      ? preadv2(fd_of(file, io), v, n, off, flags)
				      : pwritev2(fd_of(file, io), v, n, off, flags);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return file_error(file, io, errno);
		at += (uint64_t)got;
		if (got == 0 || (file->is_direct && at % file->bd.block_size))
			return ends_early(file, io, at);
	}
	return 0;
}

int file_flushed(struct file_bdev *file, const struct bdev_io *io, int error)
{
	int seen = 0;
	if (error)
		(void)atomic_compare_exchange_strong(&file->flush_error, &seen,
						     file_error(file, io, error));
	return atomic_load(&file->flush_error);
}

static int flush(struct file_bdev *file, const struct bdev_io *io)
{
	int rc;
	do
		rc = fdatasync(file->file_fd);
	while (rc < 0 && errno == EINTR);
	return file_flushed(file, io, rc < 0 ? errno : 0);
}

static int write_zeros(struct file_bdev *file, const struct bdev_io *io)
{
	for (uint64_t at = 0; at < io->len;) {
		uint64_t len = min_u64(ZEROS_SIZE, io->len - at);
		ssize_t n = pwrite(file->file_fd, zeros, len, (off_t)(io->offset + at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return file_error(file, io, n < 0 ? errno : EIO);
		at += (uint64_t)n;
		if (atomic_load(&file->is_cut))
			return -ESTALE;
	}
	return 0;
}

static bool is_missing(int error)
{
	return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY;
}

/* fallocate(mode): 0, errno, or EOPNOTSUPP now and ever after. */
static int allocate(struct file_bdev *file, atomic_bool *is_absent, int mode,
		    const struct bdev_io *io)
{
	if (atomic_load(is_absent))
		return EOPNOTSUPP;
	int rc;
	do
		rc = fallocate(file->file_fd, mode | FALLOC_FL_KEEP_SIZE,
			       (off_t)io->offset, (off_t)io->len);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	if (!is_missing(errno))
		return errno;
	atomic_store(is_absent, true);
	return EOPNOTSUPP;
}

static int zero_or_unmap(struct file_bdev *file, const struct bdev_io *io)
{
	int error;
	if (file->is_block) {
		uint64_t range[2] = { io->offset, io->len };
		unsigned long request = io->op == BDEV_ZERO ? BLKZEROOUT : BLKDISCARD;
		error = ioctl(file->file_fd, request, range) < 0 ? errno : 0;
	} else {
		error = io->op == BDEV_UNMAP ? EOPNOTSUPP
					     : allocate(file, &file->no_zero_range,
							FALLOC_FL_ZERO_RANGE, io);
		if (error == EOPNOTSUPP)
			error = allocate(file, &file->no_punch, FALLOC_FL_PUNCH_HOLE, io);
	}
	if (error && is_missing(error))
		return io->op == BDEV_ZERO ? write_zeros(file, io) : -EOPNOTSUPP;
	return error ? file_error(file, io, error) : 0;
}

static int run_one(struct file_bdev *file, struct bdev_io *io, uint64_t progress)
{
	int rc;
	if (atomic_load(&file->is_cut))
		return -ESTALE;
	switch (io->op) {
	case BDEV_READ:
	case BDEV_WRITE:
		return read_write(file, io, progress);
	case BDEV_FLUSH:
		return flush(file, io);
	case BDEV_ZERO:
	case BDEV_UNMAP:
		rc = zero_or_unmap(file, io);
		return rc == 0 && (io->flags & BDEV_FUA) ? flush(file, io) : rc;
	case BDEV_CAW:
		return file_caw(file, io);
	}
	return -EOPNOTSUPP;
}

int file_run(struct file_bdev *file, struct bdev_io *io, uint64_t progress)
{
	atomic_fetch_add(&file->running, 1);
	int rc = run_one(file, io, progress);
	atomic_fetch_sub(&file->running, 1);
	return rc;
}
