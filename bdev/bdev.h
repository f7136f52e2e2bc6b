/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_BDEV_H
#define BDEV_BDEV_H

/*
 * Something with blocks: the one seam under storage.
 *
 * Two kinds of device. A LEAF (file, block device, memory, iSCSI LUN) is asynchronous:
 * submit() never blocks and done() is called exactly once. A TRANSLATING device (a range,
 * a file on VMFS, a virtual disk) answers map(): where do these bytes lie, without I/O,
 * or -EAGAIN; what cannot be mapped at once goes to a bounded worker pool (worker.h) that
 * runs the blocking rw(). Workers never punt and leaves never use the pool, so it cannot
 * deadlock on itself.
 *
 * Errors of I/O (io->result and the return of the blocking calls), negative errno:
 *   -EIO        the device said no, for good, to this request (medium error)
 *   -EINVAL     outside the device, or unaligned where the device demands alignment
 *   -ENOSPC     a thin device is out of space
 *   -ENODEV     the device is gone for good (PDL)
 *   -ETIMEDOUT  outcome UNKNOWN: it may have executed and may still execute
 *   -EBUSY      not executed (BUSY, TASK SET FULL, foreign RESERVE(6), a block's lock not
 *               had before the deadline): may be sent again
 *   -ESTALE     fenced: reservation conflict after a preemption, or bdev_cut() was called
 *   -EILSEQ     BDEV_CAW: the device says the block differs NOW (miscompare)
 *   -EOPNOTSUPP the operation does not exist here
 *   -EROFS      opened read-only
 *   -EAGAIN     only from map()
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/report.h"
#include "base/uuid.h"
#include "bdev/fence.h"
#include "bdev/offload.h"

enum bdev_op { BDEV_READ, BDEV_WRITE, BDEV_FLUSH, BDEV_ZERO, BDEV_UNMAP, BDEV_CAW };

enum bdev_io_flags {
	BDEV_FUA = 1u << 0, /* on stable storage before done() */
	/*
	 * READ from the kernel's memory, WRITE into it, where that is as good: what has
	 * been written is seen, whoever wrote it, and stands whatever becomes of the
	 * process; FLUSH makes it durable. Elsewhere it is any read or write. Pages that
	 * are written so are written by nobody else meanwhile.
	 */
	BDEV_CACHED = 1u << 1,
	/* More follows at once: who has send() may hold it until that is called. */
	BDEV_MORE = 1u << 2,
};

struct bdev;
struct bdev_channel;

/* The caller's; embed it; untouched by the caller from submit until done(). */
struct bdev_io {
	enum bdev_op op;
	uint32_t flags;	      /* enum bdev_io_flags */
	uint64_t offset, len; /* bytes; multiples of bd->block_size */
	struct iovec *iov;    /* READ, WRITE, CAW; memory aligned to bd->memory_align */
	int iovcnt;	   /* CAW: len = 2 blocks; first half compared, second written */
	uint64_t deadline; /* clock_now() value: give up, report -ETIMEDOUT; 0 = none */
	int result;	   /* 0 or -errno, valid in done() */
	/* In settle() and done(): clock_now() after it had ended at its leaf, or 0 */
	uint64_t ended;
	void (*done)(struct bdev_io *io); /* records and wakes; never blocks or submits */
	struct bdev_channel *channel;	  /* the submitting task's own (below), or NULL */
	struct bdev *bd;		  /* set by bdev_submit */
	struct {			  /* for the device while it owns the io */
		struct bdev_io *next;
		uint64_t word[6];
	} priv;
	struct {			  /* bdev.c's: what it is under its other name */
		struct bdev *bd;
		uint64_t offset;
		uint32_t flags;
		void (*done)(struct bdev_io *io);
		struct bdev_channel *channel;
		void *hold;
		uint64_t note;
	} alias;
};

/* Where bytes lie: a contiguous piece of a leaf, or a hole that reads as zeros. */
struct bdev_extent {
	struct bdev *leaf;    /* NULL: a hole */
	uint64_t offset, len; /* on the leaf; len <= what was asked */
	uint32_t flags;	      /* enum bdev_io_flags, beside those of the io */
	void *hold;	      /* the translating device's; given back by unmap() */
	uint64_t note;	      /* its own, from map() to redo() */
};

/* How one block can be written conditionally (LOCKING.md, storage classes). */
enum bdev_caw_class {
	BDEV_CAW_NONE,	  /* not at all */
	BDEV_CAW_ATS,	  /* SCSI COMPARE AND WRITE (to be proved by trial) */
	BDEV_CAW_FILE,	  /* OFD lock on the block's range: processes of one kernel */
	BDEV_CAW_RESERVE, /* RESERVE(6) ... RELEASE(6) around read, compare, write */
};

struct bdev_ops {
	/* Leaf: starts io; never blocks. */
	void (*submit)(struct bdev *bd, struct bdev_io *io);
	/* May be NULL: what BDEV_MORE made it hold is sent. Never blocks. */
	void (*send)(struct bdev *bd);
	/*
	 * Translating: 0 and *ret_extent, or -EAGAIN, -ESTALE. Never blocks. Asked with
	 * CAW: io->len is the one block. With FLUSH (len 0): the only device that has to
	 * be flushed, a hole if none; -EAGAIN if there is more to do. A hole answers
	 * READ, ZERO and UNMAP; what must be allocated first is -EAGAIN.
	 */
	int (*map)(struct bdev *bd, const struct bdev_io *io,
		   struct bdev_extent *ret_extent);
	void (*unmap)(struct bdev *bd, struct bdev_extent *e);
	/*
	 * Translating, may be NULL: the piece `io` on extent e has ended with `result`.
	 * true: that is final, e is given back by unmap(). false: its fate is not known,
	 * or not to be believed; e stays held until redo() of it has ended, as far as
	 * settle() has left it so. Without a pool there is no redo(): its result goes up,
	 * -ETIMEDOUT instead of 0. Never blocks.
	 */
	bool (*settle)(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *e,
		       int result);
	/*
	 * Runs such a piece again, on piece->bd, until its fate is known; e as settle()
	 * left it. Blocks, but waits for nobody who may wait for e. 0 or -errno.
	 */
	int (*redo)(struct bdev *bd, struct bdev_io *piece, struct bdev_extent *e);
	/*
	 * Translating, may be NULL: all that rw() or redo() of io would do now is wait.
	 * true: the device has taken io, and calls bdev_resume() when that is over; priv
	 * but for priv.next is not its own. Never blocks.
	 */
	bool (*park)(struct bdev *bd, struct bdev_io *io);
	/*
	 * Translating, may be NULL: asked by a worker before rw(). 0: what map() lacked
	 * is there, for a moment at least: it is asked again, and if it maps io now no
	 * worker waits for its end. -EAGAIN: rw() is to do it. Else the error of io.
	 * Blocks.
	 */
	int (*prepare)(struct bdev *bd, const struct bdev_io *io);
	/* The blocking form; translating devices must, leaves may have it (fast path). */
	int (*rw)(struct bdev *bd, struct bdev_io *io);
	/* SCSI RESERVE(6), RELEASE(6): 0, -EBUSY (another holds it), -errno. Blocks. */
	int (*reserve)(struct bdev *bd, bool is_wanted);
	int (*resize)(struct bdev *bd, uint64_t size);
	/* Looks how large the device is by now; sets bd->size. NULL: it never changes. */
	int (*rescan)(struct bdev *bd);
	/* As the functions of fence.h and offload.h; NULL: -EOPNOTSUPP (guard: 0). */
	void (*cut)(struct bdev *bd);
	int (*mend)(struct bdev *bd, uint64_t deadline);
	int (*pr)(struct bdev *bd, enum bdev_pr_action action, uint64_t key,
		  uint64_t what);
	int (*pr_read)(struct bdev *bd, struct bdev_pr_state *ret_state);
	int (*registrants)(struct bdev *bd, struct bdev_registrant *ret,
			   unsigned int max);
	uint32_t (*events)(struct bdev *bd);
	uint32_t (*notices)(struct bdev *bd); /* NULL: it tells nothing */
	int (*nexus)(struct bdev *bd, struct bdev_nexus *ret_nexus);
	int (*reinstate)(struct bdev *bd, const struct bdev_nexus *victim,
			 uint64_t deadline);
	int (*reset)(struct bdev *bd, uint64_t deadline);
	int (*guard)(struct bdev *bd, struct guard_lease *lease);
	int (*offloads)(struct bdev *bd, struct bdev_offloads *ret_offloads);
	/* Leaf: as bdev_copy(); from is one of its kind, all is inside and aligned. */
	int (*copy)(struct bdev *to, uint64_t to_offset, struct bdev *from,
		    uint64_t from_offset, uint64_t len);
	/* Leaf: as bdev_piece(); NULL: it cannot tell. */
	void (*piece)(struct bdev *bd, uint64_t offset, uint64_t *ret_len,
		      bool *ret_is_data);
	/*
	 * Liveness lock of LOCKING.md 5.1 for the slot at offset; held until close, and
	 * after a death until the last I/O in flight has ended. Does not hinder I/O or
	 * CAW there. Never blocks. 0, -EBUSY (another descriptor holds it, here or in
	 * another process), -EROFS (free, but a read-only device cannot hold it),
	 * -EOPNOTSUPP (not a file).
	 */
	int (*liveness)(struct bdev *bd, uint64_t offset, bool is_wanted);
	void (*close)(struct bdev *bd);
};

/* Embedded first in every device's own struct. All but ops may be read by anyone. */
struct bdev {
	const struct bdev_ops *ops;
	char name[256];	       /* as the user gave it: path, URL, "mem" */
	uint64_t size;	       /* bytes */
	uint32_t block_size;   /* logical block, bytes: 512 or 4096 */
	uint32_t memory_align; /* of iov addresses; 1 = any */
	uint32_t max_io;       /* bytes in one io; 0 = no limit */
	bool is_read_only;
	bool has_write_cache; /* FLUSH has work to do */
	bool has_cached;      /* BDEV_CACHED is not just any read: it seldom waits */
	bool has_cached_write; /* nor just any write */
	bool is_buffered;     /* all of it goes through the host's page cache */
	/*
	 * A kernel's device whose storage is another machine: it may lose its cache while
	 * this one runs, and the kernel does not tell.
	 */
	bool is_remote;
	/*
	 * Memory of its I/O may not change, nor be read, while that is under way: digests
	 * are taken of it, or others share what they protect.
	 */
	bool minds_changes;
	bool has_unmap, has_write_zeroes;
	/* Files: the running kernel (boot id), whose locks caw means; zero: unknown. */
	struct uuid kernel;
	enum bdev_caw_class caw; /* what the device offers; a promise only after trial */
	/*
	 * Leaf: nobody but this kernel reaches the bytes: a file of a local filesystem.
	 */
	bool is_one_kernels;
	/* Leaf: rw() of a CAW keeps the deadline itself, where it waits for others. */
	bool has_timed_caw;
	/* For the LVM header (FORMAT.md, Disk identity); type 0 and empty if unknown. */
	struct bdev_identity {
		uint8_t type; /* 0 adapter path text, 1 T10 text, 2 NAA/EUI binary */
		uint8_t len;  /* valid bytes of id */
		uint16_t lun;
		uint8_t device_type, scsi_level;
		char vendor[8], model[16], revision[4];
		uint8_t id[44];
	} identity;
	struct reporter *reporter;
	void *submit_domain; /* private to bdev.c */
};

/* ---- using a device ---- */

/*
 * Starts io; never blocks. On a leaf it goes straight to the device; on a translating
 * device it is mapped (and split if needed) or handed to the device's worker pool. done()
 * is called exactly once, from any task, possibly before this returns.
 */
void bdev_submit(struct bdev *bd, struct bdev_io *io);
/* What BDEV_MORE made bd hold is sent. Never blocks. */
void bdev_send(struct bdev *bd);
/* Blocking forms; 0 or -errno as above. buf: any alignment (bounced if the device minds).
 */
int bdev_read(struct bdev *bd, void *buf, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
int bdev_write(struct bdev *bd, const void *buf, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
/* -ETIMEDOUT at deadline (clock_now(); 0: none): written it may have been, or be yet. */
int bdev_write_until(struct bdev *bd, const void *buf, uint64_t len, uint64_t offset,
		     uint64_t deadline) __attribute__((warn_unused_result));
int bdev_flush(struct bdev *bd) __attribute__((warn_unused_result));
/* Zeroes a range (WRITE SAME, fallocate, or written zeros). */
int bdev_zero(struct bdev *bd, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
int bdev_unmap(struct bdev *bd, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
/* op with all options; iov of the io is not used: buf and len are. */
int bdev_rw(struct bdev *bd, enum bdev_op op, uint32_t flags, void *buf, uint64_t len,
	    uint64_t offset, uint64_t deadline) __attribute__((warn_unused_result));
/* Compare-and-write of one block of len bytes: 0, -EILSEQ, or as above. Blocks. */
int bdev_caw(struct bdev *bd, const void *expected, const void *wanted, uint32_t len,
	     uint64_t offset, uint64_t deadline) __attribute__((warn_unused_result));
/* Looks how large it is by now: it may have grown since it was opened. Blocks. */
int bdev_rescan(struct bdev *bd) __attribute__((warn_unused_result));
/*
 * What a device tells of itself, unasked. Each is also said in words to the device's
 * reporter, and what can be done at once (IDENTITY) the device does by itself: the bits
 * are for who wants to act on more of them. Nothing above the devices does: after
 * CAPACITY the new size counts when somebody calls bdev_rescan().
 */
enum bdev_notice {
	BDEV_NOTICE_CAPACITY = 1u << 0,	 /* it has another size: bdev_rescan() */
	BDEV_NOTICE_LUNS = 1u << 1,	 /* its target has other units than before */
	/* it may be another one: I/O waits till it is seen */
	BDEV_NOTICE_IDENTITY = 1u << 2,
	BDEV_NOTICE_SPACE_LOW = 1u << 3, /* thin: little is left */
	BDEV_NOTICE_SPACE_OUT = 1u << 4, /* thin: a write has ended with -ENOSPC */
};
/* enum bdev_notice: what it has told since the last call. Never blocks. */
uint32_t bdev_notices(struct bdev *bd);
int bdev_reserve(struct bdev *bd, bool is_wanted) __attribute__((warn_unused_result));
int bdev_liveness(struct bdev *bd, uint64_t offset, bool is_wanted)
	__attribute__((warn_unused_result));
/* Drains what is in flight and frees bd. NULL is allowed. */
void bdev_close(struct bdev *bd);

/*
 * For implementers of rw(): the blocking form of bdev_submit() for an io with an iov.
 * Returns io->result; done() is not called and need not be set.
 */
int bdev_run(struct bdev *bd, struct bdev_io *io) __attribute__((warn_unused_result));
/*
 * The same for several that may run in any order, at once, each on its io.bd: the results
 * are in them.
 */
void bdev_run_all(struct bdev_io *ios, unsigned int count);
/*
 * The same for several of one device, bd. Of a translating one those go at once that lie
 * in one piece each, and can be mapped; the others one after the other. (several.c)
 */
void bdev_run_several(struct bdev *bd, struct bdev_io *ios, unsigned int count);
/* For implementers of park(): io goes to the pool. Never blocks. */
void bdev_resume(struct bdev_io *io);
/* For implementers: completes io with result (calls done). */
void bdev_io_complete(struct bdev_io *io, int result);
/* For implementers: 0, or -EINVAL / -EROFS if io does not fit bd. */
int bdev_io_check(const struct bdev *bd, const struct bdev_io *io);

/* ---- channels ---- */

/*
 * One task's own queue to the leaves, for event loops: the task is the one that sends,
 * gathers and reaps. An io that names it may be held
 * back until bdev_channel_send() and be completed in bdev_channel_reap(): a burst costs
 * one system call, and no other task has to wake for it. What a leaf cannot do that way
 * it does as ever, and done() may come from any task. The submits and the calls below are
 * the one task's; none blocks but gather. A device is closed only when that task is
 * through with all I/O of it.
 */
int bdev_channel_new(struct bdev_channel **ret_channel)
	__attribute__((warn_unused_result));
/* Nothing may be under way in it. NULL is allowed. */
void bdev_channel_free(struct bdev_channel *channel);
/* For an edge-triggered epoll: becomes ready when there is something to reap. */
int bdev_channel_event(const struct bdev_channel *channel);
/* Sends what is held back. So does gather: one of them comes before each sleep. */
void bdev_channel_send(struct bdev_channel *channel);
/* Calls done() of all that has ended; their number. Makes room for what is held back. */
unsigned int bdev_channel_reap(struct bdev_channel *channel);
/*
 * For a task that would sleep now: sends what is held back; if much is at the devices,
 * waits until a good part of it has ended, at most 0.4 ms, and reaps that; their number.
 * 0: sleep. The one call here that blocks. It may wait awake; then it calls look(arg) (or
 * NULL) again and again, for the task to take in what has come meanwhile, without
 * sleeping. What is submitted there is held back until the wait is over.
 */
unsigned int bdev_channel_gather(struct bdev_channel *channel, void (*look)(void *arg),
				 void *arg);
/*
 * For a task that waits for nothing but its I/O: sends what is held back, all at once,
 * sleeps until some of it has ended or clock_now() >= deadline (NO_DEADLINE: none), and
 * reaps; how many, may be 0. Where it waits so it does nowhere else: bdev_channel_event()
 * is not for it. What is completed elsewhere, as by a worker, ends the sleep only if its
 * done() calls bdev_channel_wake() when it has noted it; the channel outlives the tasks
 * that may. Blocks.
 */
unsigned int bdev_channel_wait(struct bdev_channel *channel, uint64_t deadline);
/*
 * The same, if so many of them may be awaited: what has ended before may be left until
 * then, and so may what else ends the wait; deadline is the bound of that. ret_is_woken:
 * there may be something in what was added, which is told once.
 */
unsigned int bdev_channel_wait_for(struct bdev_channel *channel, unsigned int count,
				   uint64_t deadline, bool *ret_is_woken);
/*
 * What fd, an epoll, gets ends such waits from now on, too: it stays open as long as the
 * channel. 0 or -errno.
 */
int bdev_channel_add(struct bdev_channel *channel, int fd)
	__attribute__((warn_unused_result));
/*
 * The wait that lasts, or else the next one, is over. From any task, and cheap in the
 * channel's own. Never blocks.
 */
void bdev_channel_wake(struct bdev_channel *channel);

/* ---- leaves and filters of this folder ---- */

enum bdev_open_flags {
	BDEV_OPEN_READ_ONLY = 1u << 0,
	BDEV_OPEN_EXCLUSIVE = 1u << 1, /* O_EXCL on a block device: -EBUSY if mounted */
	BDEV_OPEN_BUFFERED =
		1u << 2, /* page cache; only for read-only inspection of images */
	/*
	 * The caller vouches that every user of the bytes opens this very node on this
	 * kernel: a loop device may then be written, and a file on FUSE or a network
	 * filesystem offers compare-and-write.
	 */
	BDEV_OPEN_VOUCHED = 1u << 3,
};

/*
 * A regular file or block device, O_DIRECT where the filesystem can, libaio underneath.
 * Reports and returns -errno: -ENOENT, -EACCES, -EBUSY, -ENOTBLK (neither file nor block
 * device), -EMEDIUMTYPE (a loop device over a file whose backing file must be used
 * instead).
 */
int bdev_file_open(const char *path, uint32_t flags, struct reporter *r,
		   struct bdev **ret_bd) __attribute__((warn_unused_result));
/*
 * The same of a descriptor that somebody has opened, who stays its owner: opened anew if
 * we may; else a copy, which shares its locks (they fall when the last copy is closed)
 * and whether it is direct. -EBADF: not open, or not for writing.
 */
int bdev_file_open_fd(int file_fd, uint32_t flags, struct reporter *r,
		      struct bdev **ret_bd) __attribute__((warn_unused_result));
/* size bytes of memory (sparse), block_size 512 or 4096. For tests and for dry runs. */
int bdev_mem_new(uint64_t size, uint32_t block_size, struct reporter *r,
		 struct bdev **ret_bd) __attribute__((warn_unused_result));
/* [offset, offset + size) of below. Takes below on success: closes it at its own close.
 */
int bdev_range_new(struct bdev *below, uint64_t offset, uint64_t size,
		   struct bdev **ret_bd) __attribute__((warn_unused_result));
/*
 * A disk with sectors of 4096 bytes (4Kn), to be read in those of 512 that VMFS has.
 * Takes below on success. It is read-only.
 */
int bdev_sectors_new(struct bdev *below, struct bdev **ret_bd)
	__attribute__((warn_unused_result));
/* The device below all ranges; bd if it is none. */
struct bdev *bdev_range_below(struct bdev *bd);
/*
 * If bd holds a partition table (GPT or MBR), replaces *bd by a range over its only VMFS
 * partition (GPT AA31E02A-..., MBR 0xFB); 0 also when there is no table. -ENOENT: a table
 * without VMFS partition; -ENOTUNIQ: several (reported with their numbers).
 */
int bdev_part_open(struct bdev **bd, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * What libblkid sees on bd, as text for "refusing, it contains ...": "" if nothing. Any
 * device; reads its first 4 MiB and its last MiB. 0 or -errno. Blocks.
 */
int bdev_probe_signature(struct bdev *bd, char *ret_text, uint32_t size)
	__attribute__((warn_unused_result));

#endif
