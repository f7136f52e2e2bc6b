/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_DISK_DISK_H
#define VMKERNEL_DISK_DISK_H

/*
 * A running VM's disk: the open virtual disk, the front end that serves it, and between
 * the two what the disk is given of its datastore (vmkernel/sched/).
 */
#include <sys/types.h>

#include "bdev/worker.h"
#include "vmkernel/hold.h"
#include "vmkernel/sched/sched.h"

struct disk;

struct disk_options {
	struct vmfs_volume *vol;
	const char *path;	/* of the descriptor, in the volume */
	bool is_cdrom;		/* path is an image instead, that nobody may write */
	bool is_flash;		/* path is a plain file instead, locked as a disk is */
	/*
	 * It is not locked: it can be connected to and looked at, by clients that will
	 * not write before disk_take().
	 */
	bool is_standby;
	bool is_tracked;	/* its changes are to be tracked from now on */
	const char *what;	/* names it in sentences: "[demo] vm1/vm1.vmdk" */
	bool is_vhost;		/* served by vhost-user-blk, else over NBD */
	struct sched *sched;	/* of the datastore; outlives the disk */
	struct sched_wish wish;
	const char *socket;	/* where it is served */
	const char *export_name;
	uid_t uid;		/* owner of the socket */
	struct worker_pool *pool;
	struct reporter *reporter;
	const char *key_file;	/* of encrypted disks, or NULL */
	uint32_t wait_s;	/* for the lock (hold.h) */
	const atomic_bool *is_cancelled;
};

/* Locks, opens and serves a disk. 0, or -errno with the sentence in ret_why. Blocks. */
int disk_open(const struct disk_options *options, struct disk **ret_disk, char *ret_why,
	      uint32_t size) __attribute__((warn_unused_result));
/*
 * One that stands by becomes one that is locked, with what the files say by now; the
 * clients stay. options as of disk_open. On error it stands by as before. Blocks.
 */
int disk_take(struct disk *disk, const struct disk_options *options, char *ret_why,
	      uint32_t size) __attribute__((warn_unused_result));
/*
 * Does what disk_give() can do in advance, while its clients still write: that takes
 * less time then. Never needed; disk_close() undoes it. Blocks.
 */
void disk_prepare_give(struct disk *disk, const struct disk_options *options);
/*
 * Likewise, while they stand still: what they wrote is durable, as by disk_flush(), and
 * disk_give() finds nothing more to do than to change the locks. 0 or -errno. Blocks.
 */
int disk_settle(struct disk *disk) __attribute__((warn_unused_result));
/*
 * One that is locked stands by from here on, its clients stay, and the locks go to
 * another host, which expects them (vdisk_close_to). 0; -errno: a lock that could not be
 * handed over is free, and the rest is theirs. Blocks.
 */
int disk_give(struct disk *disk, const struct disk_options *options,
	      const struct vmfs_incarnation *to, uint64_t deadline)
	__attribute__((warn_unused_result));
/* All that its clients were told is written is so, as after a crash. 0 or -errno. */
int disk_flush(struct disk *disk) __attribute__((warn_unused_result));
#define DISK_STAMP_SIZE 64u
/*
 * What it holds, as a text (vdisk_stamp); of a CD, which file it is. draws: it is this
 * opener's from now on. 0; -EOPNOTSUPP: not kept by this kind of disk; -EACCES: it is
 * encrypted; -errno. Blocks.
 */
int disk_stamp(struct disk *disk, bool draws, char ret_stamp[static DISK_STAMP_SIZE])
	__attribute__((warn_unused_result));
/*
 * Path of the i-th file whose lock it holds alone; NULL: past the last, a CD, or no disk.
 */
const char *disk_locked_path(const struct disk *disk, unsigned int i);
/* What is handed over with the VM; NULL: a CD, or no disk. Valid until it is. */
const char *disk_path(const struct disk *disk);
bool disk_is_flash(const struct disk *disk);
/* What its clients have asked for so far. false: no disk, or one that stands by. */
bool disk_usage(const struct disk *disk, struct sched_usage *ret);
/* It is given that from now on. With no job of its VM at work. NULL is allowed. */
void disk_set_wish(struct disk *disk, const struct sched_wish *wish);
/* The virtual disk that it serves; NULL: a CD, or no disk. */
struct vdisk *disk_vdisk(const struct disk *disk);
/*
 * Calls fn(arg) while no I/O of clients is at the disk; theirs waits for it, the returned
 * ns at most. fn does no I/O. Blocks.
 */
uint64_t disk_quiet(struct disk *disk, void (*fn)(void *arg), void *arg);
/*
 * What clients change from now on is marked in log (vmkernel/sched/log.h), borrowed;
 * NULL: nowhere. Blocks as disk_quiet().
 */
void disk_log(struct disk *disk, struct sched_log *log);
/*
 * Makes ready for disk_move(): to, as large and open for writing, given what the disk is
 * given, of another datastore's sched. 0 or -ENOMEM. disk_close() undoes it, and NULL.
 */
int disk_prepare_move(struct disk *disk, struct vdisk *to, struct sched *sched,
		      struct worker_pool *pool) __attribute__((warn_unused_result));
/*
 * In disk_quiet(): its clients are served from there from now on; returns what served
 * them, with its locks. Never blocks.
 */
struct vdisk *disk_move(struct disk *disk);
/*
 * Makes it larger, while its clients go on: to size bytes. Who connects from then on sees
 * it; *ret_is_told: it is a client of NBD, that may do so. 0 or -errno, with the sentence
 * in ret_why. Blocks.
 */
int disk_grow(struct disk *disk, uint64_t size, struct reporter *r, bool *ret_is_told,
	      char *ret_why, uint32_t why_size) __attribute__((warn_unused_result));
/*
 * Drops the clients, waits for the I/O at the device, gives the lock back, frees. 0 or
 * -errno. Blocks. NULL is allowed.
 */
int disk_close(struct disk *disk);

#endif
