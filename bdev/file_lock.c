/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compare-and-write and the liveness lock by open-file-description (OFD) locks: for the
 * processes of one kernel (LOCKING.md 1.3, 5, 5.1).
 *
 * Two spaces of lock bytes on one inode:
 *   [offset, offset + block)      held during a compare-and-write of that block
 *   LIVENESS_BASE + offset        held for the life of whoever owns the slot at offset
 * They are apart, far behind any end of file, because the owner of a slot, and those who
 * take it over, must be able to compare-and-write the slot's sector while the slot's
 * liveness lock is held.
 *
 * Compare-and-write invariants:
 * 1. Read, compare and write happen under a write lock on exactly the block, on this
 *    device's own descriptor. Two descriptors, of one process or of two, exclude each
 *    other.
 * 2. The lock does not exclude tasks that share the descriptor; they take turns in
 *    file->turns, and only the one whose turn it is asks for the lock or drops it.
 * 3. The unit of I/O is the block: direct I/O reaches 512 bytes (or the sectors of the
 *    block device). A filesystem whose direct I/O needs more than 512 bytes gets the page
 *    cache for all I/O of all openers instead (file.c), where the kernel merges
 *    neighbours under the inode's lock. So no write ever carries a neighbour's bytes, and
 *    no read-modify-write of a larger unit exists that could undo one.
 * 4. The lock is asked for again and again with a pause that grows to 1 ms: the kernel's
 *    waiting form can be left neither at a deadline nor at a cut. A stopped process holds
 *    the lock (it may go on and write); a killed one has dropped it.
 *
 * -EBUSY means that the lock was not had in time: nothing was executed. What one may wait
 * for long is that lock; so the blocking form of a regular file runs in the caller's task
 * with its deadline, and costs no change of task. (A block device's medium may be far
 * away and hang: there the queue is left at the deadline.)
 *
 * Liveness: the lock belongs to the open file description that carries all our I/O, not
 * to a second one. Every system call and every iocb in the kernel holds a reference to
 * that description, and the lock goes with the last reference. So whoever gets the lock
 * knows that no I/O of the old owner is still to land: not by the order in which a dying
 * process is taken apart (its aio contexts are drained before its files are closed, but
 * only when nobody else, such as a reader of /proc, holds on to its memory map), but by
 * construction. For the same reason a child that is forked and stays must close its copy
 * of the descriptor; one that executes a program loses it by O_CLOEXEC.
 */
#include "bdev/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "bdev/iov.h"

#define LIVENESS_BASE (1ull << 62)
#define PAUSE_MIN (20 * NS_PER_US)
#define PAUSE_MAX (1 * NS_PER_MS)

/* 0, or errno; EAGAIN: somebody else holds it. Never waits. */
static int set_lock(const struct file_bdev *file, short type, uint64_t start,
		    uint64_t len)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)start,
		.l_len = (off_t)len,
	};
	if (fcntl(file->file_fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? EAGAIN : errno;
}

static bool is_past(uint64_t deadline)
{
	return deadline && clock_now() >= deadline;
}

static bool is_taken(const struct file_bdev *file, uint64_t offset)
{
	const struct file_turn *t;
	LIST_FOREACH(t, &file->turns, list)
	{
		if (t->offset == offset)
			return true;
	}
	return false;
}

static int take_turn(struct file_bdev *file, struct file_turn *turn, uint64_t deadline)
{
	int rc = 0;
	mutex_lock(&file->m);
	while (rc == 0 && is_taken(file, turn->offset)) {
		if (!deadline)
			cond_wait(&file->turn_over, &file->m);
		else if (cond_wait_until(&file->turn_over, &file->m, deadline) < 0)
			rc = -EBUSY;
		if (atomic_load(&file->is_cut))
			rc = -ESTALE;
	}
	if (rc == 0)
		LIST_INSERT_HEAD(&file->turns, turn, list);
	mutex_unlock(&file->m);
	return rc;
}

static void end_turn(struct file_bdev *file, struct file_turn *turn)
{
	mutex_lock(&file->m);
	LIST_REMOVE(turn, list);
	cond_broadcast(&file->turn_over);
	mutex_unlock(&file->m);
}

static int lock_block(struct file_bdev *file, const struct bdev_io *io, uint64_t deadline)
{
	uint64_t pause = PAUSE_MIN;
	for (;;) {
		if (atomic_load(&file->is_cut))
			return -ESTALE;
		int error = set_lock(file, F_WRLCK, io->offset, io->len / 2);
		if (error == 0)
			return 0;
		if (error != EAGAIN && error != EINTR)
			return file_error(file, io, error);
		if (is_past(deadline))
			return -EBUSY;
		task_sleep_until(clock_now() + pause);
		pause = min_u64(2 * pause, PAUSE_MAX);
	}
}

/* Under the lock: the block is what the caller expects, so write what he wants. */
static int compare_and_write(struct file_bdev *file, const struct bdev_io *io, char *buf)
{
	uint64_t len = io->len / 2;
	struct iovec actual = { buf, len };
	struct bdev_io read = { .op = BDEV_READ,
				.offset = io->offset,
				.len = len,
				.iov = &actual,
				.iovcnt = 1 };
	int rc = file_run(file, &read, 0);
	if (rc < 0)
		return rc;
	iov_gather(buf + len, io->iov, io->iovcnt, 0, len);
	if (memcmp(buf, buf + len, len) != 0)
		return -EILSEQ;
	iov_gather(buf, io->iov, io->iovcnt, len, len);
	struct bdev_io write = read;
	write.op = BDEV_WRITE;
	write.flags = io->flags;
	return file_run(file, &write, 0);
}

/* The lock is given up early enough to say "not executed" before the deadline is there.
 */
static uint64_t lock_deadline(uint64_t deadline)
{
	uint64_t now = clock_now();
	return !deadline || deadline <= now ? deadline : now + (deadline - now) / 8 * 7;
}

int file_caw(struct file_bdev *file, struct bdev_io *io)
{
	struct file_turn turn = { .offset = io->offset };
	uint64_t deadline = lock_deadline(io->deadline);
	if (file->bd.caw == BDEV_CAW_NONE)
		return -EOPNOTSUPP;
	struct io_small small;
	char *buf = io_small_get(&small, io->len, file->bd.memory_align);
	if (!buf)
		return -ENOMEM;
	int rc = take_turn(file, &turn, deadline);
	if (rc < 0)
		goto out;
	rc = lock_block(file, io, deadline);
	if (rc == 0) {
		rc = compare_and_write(file, io, buf);
		int error = set_lock(file, F_UNLCK, io->offset, io->len / 2);
		assert(error == 0);
		(void)error;
	}
	end_turn(file, &turn);
out:
	io_small_put(&small, buf);
	return rc;
}

/* A read-only descriptor cannot hold the lock, but it can see that another does. */
static int peek_liveness(const struct file_bdev *file, uint64_t byte)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = (off_t)byte,
			      .l_len = 1 };
	if (fcntl(file->file_fd, F_OFD_GETLK, &lock) < 0)
		return -EOPNOTSUPP;
	return lock.l_type == F_UNLCK ? -EROFS : -EBUSY;
}

int file_liveness(struct bdev *bd, uint64_t offset, bool is_wanted)
{
	struct file_bdev *file = (struct file_bdev *)bd;
	if (!file->is_lockable)
		return -EOPNOTSUPP;
	if (offset >= LIVENESS_BASE)
		return -EINVAL;
	if (bd->is_read_only)
		return peek_liveness(file, LIVENESS_BASE + offset);
	int error =
		set_lock(file, is_wanted ? F_WRLCK : F_UNLCK, LIVENESS_BASE + offset, 1);
	if (error == 0 || error == EAGAIN)
		return error ? -EBUSY : 0;
	return report_error(bd->reporter, -EOPNOTSUPP,
			    "%s: cannot lock the liveness byte of offset %llu: %s",
			    bd->name, (unsigned long long)offset, strerror(error));
}
