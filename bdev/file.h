/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_FILE_H
#define BDEV_FILE_H

/*
 * Private to bdev/file*.c: a regular file or block device as a leaf. file.c opens and
 * closes, file_aio.c queues, file_channel.c is one task's own queue, file_io.c does one
 * io in the calling task, file_lock.c is the compare-and-write and the liveness lock,
 * file_sysfs.c asks the kernel about the device.
 */
#include <libaio.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/env.h"
#include "bdev/bdev.h"

#define FILE_HELPERS 4 /* tasks for what libaio cannot do without blocking */
#define FILE_DEPTH 256 /* iocbs in the kernel at a time; more wait in a backlog */
#define FILE_BATCH 64  /* completions taken, iocbs sent at a time */
#define FILE_IOV_LIMIT 1024 /* of the kernel, for one request */

/* One queued io. Owned by file_aio.c from submit to the end of the system's part of it.
 */
struct file_req {
	struct iocb iocb;      /* first: completions come back as its address */
	struct bdev_io shadow; /* what is executed: the io, on bounced memory if it has a
				  deadline */
	struct bdev_io *io;    /* the caller's; NULL once it was given up */
	struct iovec bounce;   /* base NULL: none */
	uint64_t progress;     /* bytes that are done already */
	uint64_t ended;	       /* the reaper knew it then; 0: it does not */
	atomic_bool is_sent;   /* the hand-over to the reaper, which the kernel makes */
	STAILQ_ENTRY(file_req) next; /* backlog, jobs or spare */
	LIST_ENTRY(file_req) timed;  /* with a deadline, not yet finished or given up */
};

STAILQ_HEAD(file_req_queue, file_req);
LIST_HEAD(file_req_list, file_req);

/* Everything here under file->m, but what is said otherwise. */
struct file_queue {
	bool is_started, is_closing;
	bool has_aio;		/* else all goes to the helpers; fixed once started */
	io_context_t ctx;	/* fixed once started */
	unsigned int depth;	/* fixed once started */
	unsigned int in_kernel; /* iocbs there */
	unsigned int busy;	/* requests in all */
	struct file_req_queue backlog, jobs, spare;
	struct file_req_queue held; /* counted in in_kernel: more is to follow */
	unsigned int held_count;
	struct file_req_list timed;
	struct task *reaper, *timer, *helper[FILE_HELPERS];
	unsigned int helper_count, helper_idle;
	uint64_t timer_wakes; /* when the timer looks next by itself */
	struct cond job, tick, drained;
};

/* A task that does, or waits to do, a compare-and-write (file_lock.c). */
struct file_turn {
	uint64_t offset;
	LIST_ENTRY(file_turn) list;
};
LIST_HEAD(file_turn_list, file_turn);

struct file_bdev {
	struct bdev bd;
	int file_fd;
	int cached_fd; /* the same through the page cache, for BDEV_CACHED; -1: none */
	bool is_block, is_direct;
	bool is_lockable; /* OFD locks here reach every user of the bytes */
	dev_t rdev;	  /* of a block device */
	atomic_bool is_cut;
	atomic_uint running;	   /* calls of file_run() */
	atomic_uint in_channels; /* ios held or sent there */
	atomic_int told_errno;	   /* the last error that was told: once in a row */
	atomic_bool no_zero_range; /* the filesystem has none */
	atomic_bool no_punch;
	atomic_bool no_aio_sync;
	atomic_int flush_error; /* of the first flush that failed: it stays */
	struct mutex m;
	struct file_queue q;
	struct file_turn_list turns;
	struct cond turn_over;
};

/* ---- file_io.c ---- */

/* Does io from byte `progress` on in the calling task. 0 or -errno (reported). */
int file_run(struct file_bdev *file, struct bdev_io *io, uint64_t progress);
/* RWF_ flags for io. */
int file_rw_flags(const struct bdev_io *io);
/* The error of bdev.h for an errno (positive); tells about it the first time. */
int file_error(struct file_bdev *file, const struct bdev_io *io, int error);
/* Notes the result of a flush and returns what the caller is told. */
int file_flushed(struct file_bdev *file, const struct bdev_io *io, int error);

/* ---- file_aio.c ---- */

void file_queue_init(struct file_bdev *file);
void file_submit(struct bdev *bd, struct bdev_io *io);
/* What BDEV_MORE has held goes to the kernel. */
void file_send(struct bdev *bd);
/* The same for an io that no channel takes. */
void file_queue_add(struct file_bdev *file, struct bdev_io *io);
/* The iocb of a READ, WRITE or FLUSH; its data is the caller's. */
void file_iocb(const struct file_bdev *file, const struct bdev_io *io,
	       struct iocb *ret_cb);
/* A context as deep as can be had, at most FILE_DEPTH. 0 or -errno. */
int file_context_new(io_context_t *ret_ctx, unsigned int *ret_depth)
	__attribute__((warn_unused_result));
/* Waits for all that is queued, ends the tasks. */
void file_queue_done(struct file_bdev *file);

/* ---- file_channel.c ---- */

/* A completion adds to event_fd. wake_fd: what ends a wait. NULL: no memory. */
struct file_channel *file_channel_new(int event_fd, int wake_fd);
/* NULL is allowed. */
void file_channel_free(struct file_channel *ch);
/* Takes io into its channel; false if it is nothing for that. */
bool file_channel_hold(struct file_bdev *file, struct bdev_io *io);
/* As the functions of bdev_channel. */
void file_channel_send(struct file_channel *ch);
unsigned int file_channel_gather(struct file_channel *ch, void (*look)(void *arg),
				 void *arg);
unsigned int file_channel_reap(struct file_channel *ch);
/*
 * Sleeps until `wanted` have ended, which it reaps (*ret_count), wake_fd is readable
 * (*ret_is_woken; it counts for one of them), or the deadline. false: nothing is at the
 * kernel, or one cannot wait for both: completions add to event_fd, and there the caller
 * may sleep. Once it was true the task sleeps here whenever anything is at the kernel.
 */
bool file_channel_wait(struct file_channel *ch, unsigned int wanted, uint64_t deadline,
		       bool *ret_is_woken,
		       unsigned int *ret_count);

/* ---- file_lock.c ---- */

int file_caw(struct file_bdev *file, struct bdev_io *io);
int file_liveness(struct bdev *bd, uint64_t offset, bool is_wanted);

/* ---- file_sysfs.c ---- */

/* Fills what the kernel knows of a block device: identity, cache, discard. */
void file_describe_block(struct file_bdev *file);
/* The same from a disk's folder in sysfs. */
void file_describe(struct bdev *bd, const char *sysfs_dir);
/* The boot id of the running kernel; zero if it does not tell. */
struct uuid file_kernel(void);
/* true if the block device node is one on a loop driver; its backing path in text. */
bool file_is_loop(dev_t rdev, char *ret_backing, uint32_t size);
/* true if several hosts may reach the device (SCSI, multipath). */
bool file_is_shareable(dev_t rdev);
/* true if the kernel no longer has the device behind the descriptor. */
bool file_is_gone(const struct file_bdev *file);

#endif
