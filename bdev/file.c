/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A regular file or block device as a disk: how it is opened, and what it then promises.
 *
 * Direct or through the page cache. Every opener of an inode must come to the same
 * answer, else direct writes and cached reads would not see each other. It depends on the
 * filesystem alone: direct where direct I/O reaches single 512-byte sectors, which is the
 * unit of VMFS locks, else the page cache, which one kernel shares (file_lock.c says why
 * nothing between is allowed). Block devices are always direct. Durability is the same in
 * both: a completed FLUSH is an fdatasync(), FUA is RWF_DSYNC.
 *
 * Beside a direct descriptor there may be one through the page cache, for single sectors
 * that are read again and again to see whether they are as they were (BDEV_CACHED). A
 * direct write takes the pages that it covers out of the page cache before it begins, and
 * again before it ends, for whatever was read in between. So who begins to read when a
 * write has ended reads it, or what came after. Not all filesystems keep to that: the
 * descriptor is there on ext2..4 and XFS alone. It is told not to read ahead.
 *
 * It also writes, pages that nobody else writes meanwhile: the log of a member. When such
 * a write has ended the kernel has it, whatever becomes of the process; a direct read, of
 * whoever, makes it go to the medium first, and so does a FLUSH. A page that others
 * write, too, must not be written so: the kernel would write all of it later, with
 * sectors of theirs as they were, and no lock keeps it from that. So not on XFS: a page
 * there is as large as somebody's reading ahead makes it, and kernels before 6.6 write
 * all of it; ext2..4 write the blocks that were written. A task that is in such a write
 * still has the descriptor with the liveness lock open, as all of its process do.
 *
 * Compare-and-write is offered where OFD locks reach every user of the bytes: regular
 * files of filesystems that one kernel owns, and block devices. Not on network
 * filesystems and FUSE, whose locks may be local to a mount or lost with a connection,
 * unless the caller vouches for it.
 *
 * A loop device is refused for writing: locks on its node do not exclude the users of its
 * backing file, nor those of a second loop device over that file (LOCKING.md 5). The
 * report names the file to use instead. Opened read-only it does no harm.
 */
#include "bdev/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"

#define SECTOR 512u
#define BLOCK_MAX 4096u
#define DRAIN_POLL_NS (5 * NS_PER_MS)
#define MAX_IO (16u << 20) /* bytes in one iocb; longer ones are split */

static int file_rw(struct bdev *bd, struct bdev_io *io)
{
	return file_run((struct file_bdev *)bd, io, 0);
}

static int file_resize(struct bdev *bd, uint64_t size)
{
	struct file_bdev *file = (struct file_bdev *)bd;
	if (file->is_block)
		return -EOPNOTSUPP;
	if (bd->is_read_only)
		return -EROFS;
	if (size % bd->block_size || size > INT64_MAX)
		return -EINVAL;
	if (atomic_load(&file->is_cut))
		return -ESTALE;
	if (ftruncate(file->file_fd, (off_t)size) < 0)
		return report_error(bd->reporter, -errno,
				    "%s: cannot resize to %llu bytes: %s", bd->name,
				    (unsigned long long)size, strerror(errno));
	__atomic_store_n(&bd->size, size, __ATOMIC_RELAXED);
	return 0;
}

/* Only ever larger: what is in flight was checked against what it was. */
static int file_rescan(struct bdev *bd)
{
	struct file_bdev *file = (struct file_bdev *)bd;
	struct stat st;
	uint64_t size;

	if (file->is_block ? ioctl(file->file_fd, BLKGETSIZE64, &size)
			   : fstat(file->file_fd, &st))
		return report_error(bd->reporter, -errno, "%s: cannot get its size: %s",
				    bd->name, strerror(errno));
	if (!file->is_block)
		size = (uint64_t)st.st_size;
	if (round_down(size, bd->block_size) > bd->size)
		__atomic_store_n(&bd->size, round_down(size, bd->block_size),
				 __ATOMIC_RELAXED);
	return 0;
}

static void file_cut(struct bdev *bd)
{
	struct file_bdev *file = (struct file_bdev *)bd;
	atomic_store(&file->is_cut, true);
	mutex_lock(&file->m);
	cond_broadcast(&file->turn_over);
	mutex_unlock(&file->m);
}

/* The same descriptor goes on: all that is left to do is to wait for what was in flight.
 */
static int file_mend(struct bdev *bd, uint64_t deadline)
{
	struct file_bdev *file = (struct file_bdev *)bd;
	for (;;) {
		mutex_lock(&file->m);
		bool is_idle = !file->q.busy && !atomic_load(&file->running) &&
			       !atomic_load(&file->in_channels);
		if (is_idle)
			atomic_store(&file->is_cut, false);
		mutex_unlock(&file->m);
		if (is_idle)
			return 0;
		uint64_t now = clock_now();
		if (now >= deadline)
			return -ETIMEDOUT;
		task_sleep_until(min_u64(deadline, now + DRAIN_POLL_NS));
	}
}

static void file_close(struct bdev *bd)
{
	struct file_bdev *file = (struct file_bdev *)bd;
	file_queue_done(file);
	if (file->cached_fd >= 0)
		(void)close(file->cached_fd);
	if (file->file_fd >= 0)
		(void)close(file->file_fd); /* drops the liveness lock; no dirty data is
					       above it */
	cond_done(&file->turn_over);
	mutex_done(&file->m);
	free(file);
}

static const struct bdev_ops file_ops = {
	.submit = file_submit,
	.send = file_send,
	.rw = file_rw,
	.resize = file_resize,
	.rescan = file_rescan,
	.cut = file_cut,
	.mend = file_mend,
	.liveness = file_liveness,
	.close = file_close,
};

/* ---- opening ---- */

static bool is_filesystem_of(int file_fd, const uint32_t *types, size_t count)
{
	struct statfs s;
	if (fstatfs(file_fd, &s) < 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		if ((uint32_t)s.f_type == types[i])
			return true;
	}
	return false;
}

/* Filesystems that one kernel owns, so that its OFD locks reach every user. */
static bool is_local_filesystem(int file_fd)
{
	static const uint32_t local[] = {
		0xef53 /* ext2..4 */,	    0x58465342 /* xfs */,
		0x9123683e /* btrfs */,	    0x01021994 /* tmpfs */,
		0x858458f6 /* ramfs */,	    0xf2f52010 /* f2fs */,
		0x2fc12fc1 /* zfs */,	    0xca451a4e /* bcachefs */,
		0x794c7630 /* overlayfs */, 0x3153464a /* jfs */,
		0x52654973 /* reiserfs */,  0x3434 /* nilfs */,
		0x2011bab0 /* exfat */,	    0x7366746e /* ntfs3 */,
		0x4d44 /* fat */,
	};
	return is_filesystem_of(file_fd, local, ARRAY_SIZE(local));
}

/* The same file through the page cache, if that shows what direct writes have written. */
static void open_cached(struct file_bdev *file)
{
	static const uint32_t coherent[] = {
		0xef53 /* ext2..4: the first */,
		0x58465342 /* xfs */,
	};
	char path[32];
	if (!is_filesystem_of(file->file_fd, coherent, ARRAY_SIZE(coherent)))
		return;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file->file_fd);
	bool is_written = !file->bd.is_read_only &&
			  is_filesystem_of(file->file_fd, coherent, 1);
	int mode = is_written ? O_RDWR : O_RDONLY;
	file->cached_fd = open(path, mode | O_CLOEXEC | O_NOCTTY);
	if (file->cached_fd < 0)
		return;
	file->bd.has_cached = true;
	file->bd.has_cached_write = is_written;
	(void)posix_fadvise(file->cached_fd, 0, 0, POSIX_FADV_RANDOM); /* a hint */
}

/* By trial, where the kernel does not tell: reads one sector that is not at 4096. */
static bool can_read_sector(int file_fd)
{
	char *buf = io_alloc(IO_ALIGN);
	bool can = buf && pread(file_fd, buf + SECTOR, SECTOR, SECTOR) == SECTOR;
	free(buf);
	return can;
}

/* Whether direct I/O reaches single sectors, and what memory it wants. */
static bool can_be_direct(int file_fd, uint32_t *ret_memory_align)
{
	*ret_memory_align = SECTOR;
#ifdef STATX_DIOALIGN
	struct statx s;
	if (statx(file_fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &s) == 0 &&
	    (s.stx_mask & STATX_DIOALIGN)) {
		if (s.stx_dio_mem_align > SECTOR)
			*ret_memory_align = s.stx_dio_mem_align;
		return s.stx_dio_offset_align && s.stx_dio_offset_align <= SECTOR;
	}
#endif
	return can_read_sector(file_fd);
}

static int open_regular(struct file_bdev *file, const struct stat *st, uint32_t flags)
{
	struct bdev *bd = &file->bd;
	bd->block_size = SECTOR;
	bd->memory_align = 1;
	bd->size = round_down((uint64_t)st->st_size, SECTOR);
	bd->has_write_cache = true;
	bd->has_unmap = true;
	bd->identity.len = 4;
	(void)memcpy(bd->identity.id, "file", 4);
	bd->is_one_kernels = is_local_filesystem(file->file_fd);
	file->is_lockable = bd->is_one_kernels || (flags & BDEV_OPEN_VOUCHED);
	bd->has_timed_caw = true;
	bd->is_buffered = true;
	if (flags & BDEV_OPEN_BUFFERED)
		return 0;
	int status = fcntl(file->file_fd, F_GETFL);
	uint32_t memory_align;
	if (status < 0 || fcntl(file->file_fd, F_SETFL, status | O_DIRECT) < 0)
		return 0; /* the filesystem has no direct I/O */
	if (can_be_direct(file->file_fd, &memory_align)) {
		file->is_direct = true;
		open_cached(file);
		bd->memory_align = memory_align;
		bd->max_io = MAX_IO;
		bd->is_buffered = false;
	} else if (fcntl(file->file_fd, F_SETFL, status) < 0) {
		return report_error(bd->reporter, -errno,
				    "%s: cannot leave direct I/O: %s", bd->name,
				    strerror(errno));
	}
	return 0;
}

static int refuse_loop(struct file_bdev *file, uint32_t flags)
{
	char backing[PATH_MAX];
	struct bdev *bd = &file->bd;
	if (bd->is_read_only || (flags & BDEV_OPEN_VOUCHED) ||
	    !file_is_loop(file->rdev, backing, sizeof(backing)))
		return 0;
	return report_error(
		bd->reporter, -EMEDIUMTYPE,
		"%s: a loop device, whose locks do not reach its file: use %s", bd->name,
		backing);
}

static int open_block(struct file_bdev *file, const struct stat *st, uint32_t flags)
{
	struct bdev *bd = &file->bd;
	int block_size = 0;
	int is_read_only = 0;
	file->is_block = true;
	file->rdev = st->st_rdev;
	int rc = refuse_loop(file, flags);
	if (rc < 0)
		return rc;
	if (ioctl(file->file_fd, BLKGETSIZE64, &bd->size) < 0 ||
	    ioctl(file->file_fd, BLKSSZGET, &block_size) < 0 ||
	    ioctl(file->file_fd, BLKROGET, &is_read_only) < 0)
		return report_error(bd->reporter, -errno, "%s: cannot get its size: %s",
				    bd->name, strerror(errno));
	if (block_size != (int)SECTOR && block_size != (int)BLOCK_MAX)
		return report_error(bd->reporter, -EINVAL,
				    "%s: has logical blocks of %d bytes, not 512 or 4096",
				    bd->name, block_size);
	if (is_read_only && !bd->is_read_only)
		return report_error(bd->reporter, -EROFS, "%s: is write-protected",
				    bd->name);
	bd->block_size = (uint32_t)block_size;
	bd->memory_align = 1;
	bd->size = round_down(bd->size, bd->block_size);
	file_describe_block(file);
	file->is_lockable = true;
	bd->is_buffered = flags & BDEV_OPEN_BUFFERED;
	if (!bd->is_buffered) {
		file->is_direct = true;
		bd->memory_align = bd->block_size;
		bd->max_io = MAX_IO;
	}
	if (!bd->is_read_only && file_is_shareable(file->rdev))
		report(bd->reporter, REPORT_WARN,
		       "%s: locks bind this machine alone: no other may write", bd->name);
	return 0;
}

static int descriptor_mode(const struct file_bdev *file, uint32_t flags, bool is_block)
{
	int mode = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	mode |= file->bd.is_read_only ? O_RDONLY : O_RDWR;
	if (is_block && (flags & BDEV_OPEN_EXCLUSIVE))
		mode |= O_EXCL;
	if (is_block && !(flags & BDEV_OPEN_BUFFERED))
		mode |= O_DIRECT;
	return mode;
}

/* Neither a FIFO nor a tape: opening one has effects. */
static int check_disk(const struct file_bdev *file, const struct stat *st)
{
	if (S_ISBLK(st->st_mode) || S_ISREG(st->st_mode))
		return 0;
	return report_error(file->bd.reporter, -ENOTBLK,
			    "%s: is neither a regular file nor a block device",
			    file->bd.name);
}

/* The descriptor, of something that may be a disk. */
static int open_path(struct file_bdev *file, uint32_t flags, struct stat *ret_st)
{
	struct bdev *bd = &file->bd;
	const char *path = bd->name;
	if (stat(path, ret_st) < 0)
		return report_error(bd->reporter, -errno, "%s: %s", path,
				    strerror(errno));
	bool is_block = S_ISBLK(ret_st->st_mode);
	int rc = check_disk(file, ret_st);
	if (rc < 0)
		return rc;
	file->file_fd = open(path, descriptor_mode(file, flags, is_block));
	if (file->file_fd < 0)
		return report_error(
			bd->reporter, -errno, "%s: %s", path,
			errno == EBUSY ? "is in use (mounted, or part of another device)"
				       : strerror(errno));
	if (fstat(file->file_fd, ret_st) < 0 || S_ISBLK(ret_st->st_mode) != is_block ||
	    (!is_block && !S_ISREG(ret_st->st_mode)))
		return report_error(bd->reporter, -ENOTBLK,
				    "%s: changed while it was opened", path);
	return 0;
}

/* Its own description if we may have one; a copy has the giver's locks and flags. */
static int open_again(struct file_bdev *file, int given_fd, uint32_t flags,
		      bool is_block)
{
	char path[32];
	int mode = descriptor_mode(file, flags, is_block);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", given_fd);
	file->file_fd = open(path, mode);
	if (file->file_fd >= 0)
		return 0;
	file->file_fd = fcntl(given_fd, F_DUPFD_CLOEXEC, 0);
	if (file->file_fd >= 0 && is_block &&
	    fcntl(file->file_fd, F_SETFL, mode & O_DIRECT) < 0)
		return -errno;
	return file->file_fd < 0 ? -errno : 0;
}

static int open_given(struct file_bdev *file, int given_fd, uint32_t flags,
		      struct stat *ret_st)
{
	struct bdev *bd = &file->bd;
	int status = fcntl(given_fd, F_GETFL);
	if (status < 0 || fstat(given_fd, ret_st) < 0)
		return report_error(bd->reporter, -EBADF, "%s: %s", bd->name,
				    strerror(errno));
	int rc = check_disk(file, ret_st);
	if (rc < 0)
		return rc;
	int access = status & O_ACCMODE;
	if (access == O_WRONLY || (access == O_RDONLY && !bd->is_read_only))
		return report_error(bd->reporter, -EBADF, "%s: is not open for %s",
				    bd->name,
				    access == O_WRONLY ? "reading" : "writing");
	rc = open_again(file, given_fd, flags, S_ISBLK(ret_st->st_mode));
	return rc < 0 ? report_error(bd->reporter, rc, "%s: %s", bd->name, strerror(-rc))
		      : 0;
}

/* given_fd: -1 for the path that is the name. */
static int open_all(struct file_bdev *file, int given_fd, uint32_t flags)
{
	struct bdev *bd = &file->bd;
	struct stat st;
	int rc = given_fd < 0 ? open_path(file, flags, &st)
			      : open_given(file, given_fd, flags, &st);
	if (rc == 0)
		rc = S_ISBLK(st.st_mode) ? open_block(file, &st, flags)
					 : open_regular(file, &st, flags);
	bd->has_write_zeroes = true;
	bd->kernel = file_kernel();
	bd->caw = file->is_lockable && !bd->is_read_only ? BDEV_CAW_FILE : BDEV_CAW_NONE;
	return rc;
}

static int open_device(const char *path, int given_fd, uint32_t flags,
		       struct reporter *r, struct bdev **ret_bd)
{
	bool is_read_only = flags & BDEV_OPEN_READ_ONLY;
	if ((flags & BDEV_OPEN_BUFFERED) && !is_read_only)
		return report_error(r, -EINVAL, "%s: buffered I/O is for reading only",
				    path);
	if (strlen(path) >= sizeof(((struct bdev *)NULL)->name))
		return report_error(r, -ENAMETOOLONG, "%s: path is too long", path);
	struct file_bdev *file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->file_fd = file->cached_fd = -1;
	file->bd.ops = &file_ops;
	file->bd.reporter = r;
	file->bd.is_read_only = is_read_only;
	(void)snprintf(file->bd.name, sizeof(file->bd.name), "%s", path);
	mutex_init(&file->m);
	cond_init(&file->turn_over);
	LIST_INIT(&file->turns);
	file_queue_init(file);
	int rc = open_all(file, given_fd, flags);
	if (rc < 0) {
		file_close(&file->bd);
		return rc;
	}
	*ret_bd = &file->bd;
	return 0;
}

int bdev_file_open(const char *path, uint32_t flags, struct reporter *r,
		   struct bdev **ret_bd)
{
	return open_device(path, -1, flags, r, ret_bd);
}

int bdev_file_open_fd(int file_fd, uint32_t flags, struct reporter *r,
		      struct bdev **ret_bd)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "fd %d", file_fd);
	if (file_fd < 0)
		return report_error(r, -EBADF, "%s: %s", name, strerror(EBADF));
	return open_device(name, file_fd, flags, r, ret_bd);
}
