/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_FILE_IMPL_H
#define VMFS_FILE_IMPL_H

/*
 * What the files of this folder that make up an open file know of it: file.c (open,
 * close), filemap.c (the block map in memory), fileread.c, filefollow.c (without a lock),
 * filewrite.c, filefill.c (blocks written in part), fileclone.c, filescrub.c, filealloc.c
 * (blocks given and taken, the length), filecommit.c (what makes it durable), fileshare.c
 * (how it is locked), filebdev.c (as a device).
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/env.h"
#include "vmfs/fd.h"
#include "vmfs/passage.h"
#include "vmfs/lock.h"
#include "vmfs/txn.h"
#include "vmfs/vmfs.h"

struct file_bdev;
struct file_fill;
struct logview;

#define FILE_LEAF_BLOCKS 1024u
#define FILE_WISHES 32u
#define NO_BLOCK UINT64_MAX

/* Addresses of 1024 neighbouring blocks as they are on disk. */
struct file_leaf {
	_Atomic uint64_t raw[FILE_LEAF_BLOCKS]; /* looked at without f->m by who holds */
	/*
	 * TBZ on disk, but all of the block has been written: reads and writes go to it.
	 */
	uint64_t ready[FILE_LEAF_BLOCKS / 64];
	uint32_t ready_count;
};

enum file_state {
	FILE_HOLE,	/* not allocated */
	FILE_TBZ,	/* allocated, reads as zeros, content not defined */
	FILE_FILLING,	/* TBZ, and some of it has been written (filefill.c); one block */
	FILE_DATA,	/* the bytes on disk count */
	FILE_SMALL,	/* no blocks: the content is in memory (only from filemap_hold) */
};

/* Blocks in one state, one after the other on disk (HOLE: no matter where). */
struct file_run {
	enum file_state state;
	uint64_t count;
	uint64_t vol_off;	/* of the first; 0 for holes */
	bool is_ready;		/* from filemap_hold, of DATA: some of it is READY */
};

/* Reading without a lock: filefollow.c. */
struct file_follow {
	bool may_be;		/* a file, opened without a lock */
	unsigned int met_own;	/* how often this member had kept its lock */
	/* The map is that of `sector`; changed under change_lock and m. */
	bool is_on;
	uint64_t life;		/* of the map: how often it was loaded */
	struct vmfs_lock_disk sector;
	struct logview *log;	/* of who has it for writing, or NULL */
	unsigned int rest;	/* reads to go by views; under change_lock */
	/* Looks at the sector, under m. */
	uint64_t begun, ended;
	bool is_looking;
	int said;		/* the last that ended */
	/* When the last one of filebdev.c began that found all as it was; under m. */
	uint64_t stood_at;
};

#define FILE_QUIESCING (1ull << 63) /* of holds: blocks are being taken away */

struct vmfs_file {
	struct vmfs_volume *vol;
	struct fd_ref ref;
	struct vmfs_lock_id lock;
	_Atomic uint64_t lock_seen;	/* vmfs_lock_may_still_write */
	/* VMFS_WRITE, VMFS_MULTI_WRITER, VMFS_READ_LOCKED; 0: no lock */
	uint32_t flags;
	LIST_ENTRY(vmfs_file) link;	/* vol->files, if locked */
	bool is_mapping;		/* rdm.c: it has no bytes */
	bool is_prompt;			/* VMFS_PROMPT */
	bool is_unlinked;		/* unlinked.c; under files_mutex */

	/*
	 * Serialises what changes the map, the length or the small content, and what goes
	 * to disk for it. Taken before any transaction runs.
	 */
	struct sleeplock sleeplock;
	/*
	 * Multi-writer: taken before sleeplock by what changes the map or the length, and
	 * the lock is exclusive (is_raised) for as long. Without a lock: filefollow.c.
	 */
	struct sleeplock change_lock;
	bool is_raised;			/* changed under both */
	struct mutex m;			/* guards all below */
	struct cond c; /* holds became 0; is_quiescing, is_preparing became false */
	uint64_t length;		/* as callers see it */
	uint64_t committed_length;	/* as it is on disk; changed under sleeplock */
	/*
	 * Content of a file that is small (resident or one sub-block): the truth while
	 * open, sub_block_size bytes, zero behind the length. NULL: the file has blocks.
	 */
	uint8_t *small;
	bool is_small_dirty;
	uint32_t mtime_s;		/* of the last write if the FD has it not; 0 */
	/* NULL where not loaded; both looked at without m by who holds */
	struct file_leaf *_Atomic *_Atomic leaves;
	_Atomic uint64_t leaf_count;
	uint64_t leaf_room;		/* of the array; the rest of it is NULL */
	struct old_leaves *old_leaves;	/* arrays that somebody may look at still */
	struct file_leaf *hole_leaf;	/* for all without a block; may be NULL */
	uint64_t ready_total;
	/* I/O under way to places taken from the map; FILE_QUIESCING: no more of it */
	struct passage holds;
	TAILQ_HEAD(, file_fill) fills;	/* filefill.c */
	unsigned int fill_count;
	/* Holes that somebody waits for to be allocated. */
	uint64_t wishes[FILE_WISHES];
	unsigned int wish_count;
	bool is_preparing; /* somebody makes blocks for who writes, others wait */

	/* Allocation ahead of a sequential writer; under sleeplock. */
	uint64_t next_block;		/* one behind the last that was asked for */
	uint32_t ahead_window;
	uint64_t ahead_first, ahead_end; /* allocated and maybe not used */
	LIST_HEAD(, file_bdev) bdevs;	/* under m: devices made of this file */
	char hold_kinds[5];		/* their addresses mean something to filebdev.c */
	struct file_follow follow;
};

/* ---- file.c ---- */

/* True if this process has the FD open with a lock. Never blocks. */
bool file_is_open(struct vmfs_volume *vol, vmfs_addr addr);
/*
 * It has lost its name and goes when it is closed. false: it was closed before. Never
 * blocks.
 */
bool file_note_unlinked(struct vmfs_volume *vol, vmfs_addr addr)
	__attribute__((warn_unused_result));
/* Its time was set: that of the last write before counts no more. Never blocks. */
void file_forget_mtime(struct vmfs_volume *vol, vmfs_addr addr);
/* Puts what an open file has in memory into a stat of it. Never blocks. */
void file_patch_stat(struct vmfs_volume *vol, struct vmfs_stat *st);
/* 0, -EBADF if it was not opened for writing, -ESTALE if the volume is lost. */
int file_check_writable(struct vmfs_file *f) __attribute__((warn_unused_result));
/* 0, -EFBIG (reported) if a file cannot reach offset + len. Never blocks. */
int file_check_end(struct vmfs_file *f, uint64_t offset, uint64_t len)
	__attribute__((warn_unused_result));

/* Length and small content, and room for the map, by a view. -ENOENT: it is gone. */
int file_load(struct vmfs_file *f) __attribute__((warn_unused_result));

static inline uint64_t file_length(struct vmfs_file *f)
{
	mutex_lock(&f->m);
	uint64_t length = f->length;
	mutex_unlock(&f->m);
	return length;
}

/* ---- filemap.c ---- */

void filemap_init(struct vmfs_file *f);
void filemap_done(struct vmfs_file *f);
/* Loads the leaf of a block if it is not there. Under sleeplock. Blocks. */
int filemap_load(struct vmfs_file *f, uint64_t block) __attribute__((warn_unused_result));
/* The same, and it may be changed: at the time of the change no memory is needed. */
int filemap_own(struct vmfs_file *f, uint64_t block) __attribute__((warn_unused_result));
/*
 * The map goes as a whole: nobody holds (filemap_quiesce), f->m is held. What it was is
 * freed by filemap_free_leaves(), without f->m.
 */
struct file_leaves {
	struct file_leaf *_Atomic *leaves;
	uint64_t count;
};
struct file_leaves filemap_take_leaves(struct vmfs_file *f);
void filemap_free_leaves(struct vmfs_file *f, const struct file_leaves *gone);
/*
 * The run at a block, at most max long. With f->m held. -EAGAIN: its leaf is not loaded.
 * Blocks behind all leaves are holes.
 */
int filemap_run(struct vmfs_file *f, uint64_t block, uint64_t max,
		struct file_run *ret_run) __attribute__((warn_unused_result));
/*
 * The same without f->m, and a hold if it is DATA. -EAGAIN also while blocks are taken
 * away.
 */
int filemap_hold(struct vmfs_file *f, uint64_t block, uint64_t max,
		 struct file_run *ret_run) __attribute__((warn_unused_result));
/*
 * The same for bytes of one block that is DATA on disk, without any mutex: where they
 * are, and a hold; false: ask filemap_hold().
 */
bool filemap_hold_at(struct vmfs_file *f, uint64_t block, uint64_t *ret_vol_off)
	__attribute__((warn_unused_result));
void filemap_unhold(struct vmfs_file *f);
/* Waits until there is no hold, and lets nobody take one until filemap_resume. Blocks. */
void filemap_quiesce(struct vmfs_file *f);
void filemap_resume(struct vmfs_file *f);
/*
 * The block has been written whole; or its address is now that. With f->m held, loaded.
 */
void filemap_set_ready(struct vmfs_file *f, uint64_t block, uint64_t count);
/* Is one of them READY? With f->m held. */
bool filemap_has_ready(const struct vmfs_file *f, uint64_t block, uint64_t count);
void filemap_set(struct vmfs_file *f, uint64_t block, vmfs_addr addr);
/* Everything from a block on is a hole now. With f->m held. */
void filemap_forget_from(struct vmfs_file *f, uint64_t block, uint64_t end);
/* Room for the leaves of `blocks` blocks. Under sleeplock. 0 or -ENOMEM. */
int filemap_grow(struct vmfs_file *f, uint64_t blocks)
	__attribute__((warn_unused_result));

/* ---- filefill.c ---- */

/* Is a TBZ block being filled? With f->m held. */
bool filefill_is(const struct vmfs_file *f, uint64_t block);
/* May a write to a TBZ block go into a fill? It ends in that block. Never blocks. */
bool filefill_may(const struct vmfs_file *f, uint64_t offset, uint64_t len);
/*
 * Is a block that was just taken to be filled? false: it is zeroed before it is written.
 * Under sleeplock; never blocks.
 */
bool filefill_may_begin(struct vmfs_file *f);
/*
 * The TBZ block at vol_off is FILLING from now on. Others may be finished for it: 0,
 * -ENOMEM, as vmfs_gate_zero. Under sleeplock. Blocks.
 */
int filefill_begin(struct vmfs_file *f, uint64_t block, uint64_t vol_off)
	__attribute__((warn_unused_result));
/*
 * The same of any block, without sleeplock, if it is TBZ and nothing has to be waited
 * for. Never blocks.
 */
bool filefill_try(struct vmfs_file *f, uint64_t block);
/*
 * A write that filefill_may(), within a block that is FILLING: 0, -EAGAIN (it is not, or
 * not any more), as vmfs_gate_write. Without sleeplock. Blocks.
 */
int filefill_write(struct vmfs_file *f, const void *buf, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
/*
 * The same of a device's io: where it goes, and a hold on the map and the fill. 0 or
 * -EAGAIN. When the io has ended well, its bytes are noted; whatever has become of it,
 * the hold is given back then, and f may be closed. Never block.
 */
int filefill_hold(struct vmfs_file *f, uint64_t offset, uint64_t len,
		  struct bdev_extent *ret_extent) __attribute__((warn_unused_result));
void filefill_note(struct vmfs_file *f, const struct bdev *leaf, uint64_t leaf_off,
		   uint64_t len);
void filefill_unhold(struct vmfs_file *f, const struct bdev *leaf, uint64_t leaf_off);
/*
 * One that is FILLING, or all there are, are READY then. 0, or as vmfs_gate_zero: it is
 * what it was. Under sleeplock. Block.
 */
int filefill_finish(struct vmfs_file *f, uint64_t block)
	__attribute__((warn_unused_result));
int filefill_finish_all(struct vmfs_file *f) __attribute__((warn_unused_result));
/* Blocks [block, end) are no more of the file. With f->m held, and quiesced. */
void filefill_forget(struct vmfs_file *f, uint64_t block, uint64_t end);
/* Nobody has the file any more. Never blocks. */
void filefill_done(struct vmfs_file *f);

/* ---- fileread.c ---- */

/*
 * Reads [offset, offset + len), all below the length, of a file held under a lock.
 * Blocks.
 */
int file_read_locked(struct vmfs_file *f, void *buf, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));

/* ---- filefollow.c ---- */

/*
 * Reads up to len bytes of a file opened without a lock; how many, or -EAGAIN: it may not
 * be followed, or not now; -errno. Blocks.
 */
int64_t file_read_following(struct vmfs_file *f, void *buf, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
/*
 * Where bytes of such a file lie, held (filemap_unhold), if it is followed and a look
 * costs no wait; else false. What was read there, and had ended at that time (clock_now;
 * 0: unknown), counts if file_follow_stands() says so, before the hold is given back.
 * Neither blocks.
 */
bool file_follow_hold(struct vmfs_file *f, uint64_t offset, uint64_t len,
		      uint64_t *ret_vol_off) __attribute__((warn_unused_result));
bool file_follow_stands(struct vmfs_file *f, uint64_t ended);
/* Nobody reads it any more, or who does looks no more. Never blocks. */
void file_follow_done(struct vmfs_file *f);

/* ---- filewrite.c ---- */

/*
 * All that goes before a write of whole sectors, fewer than a block has and all in one,
 * of a file that no others write: the block is DATA or FILLING then, for a moment at
 * least, and the time is noted. 0, or -EAGAIN: it is not so easy; -errno. Blocks.
 */
int file_prepare_part(struct vmfs_file *f, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));

/*
 * Zeroes [from, to) where it is DATA; holes and TBZ blocks are zeros already. Under
 * sleeplock. Durable after the next commit. Blocks.
 */
int file_zero_data(struct vmfs_file *f, uint64_t from, uint64_t to)
	__attribute__((warn_unused_result));

/*
 * Zeroes what may lie between the length and `offset`, as file_zero_data(), before the
 * length goes over it. Under sleeplock, not quiesced. Blocks.
 */
int file_zero_behind(struct vmfs_file *f, uint64_t offset)
	__attribute__((warn_unused_result));

/*
 * All before `end` was written now: the length, the time. Said by who still holds the
 * place or the sleeplock. Never blocks.
 */
void file_note_written(struct vmfs_file *f, uint64_t end);

/* ---- filealloc.c; all under sleeplock, all block ---- */

/* The run at a block, its leaf loaded if need be. A block that is FILLING is finished. */
int file_run_at(struct vmfs_file *f, uint64_t block, uint64_t max,
		struct file_run *ret_run) __attribute__((warn_unused_result));
/* The same, and FILLING is what it is. */
int file_look_at(struct vmfs_file *f, uint64_t block, uint64_t max,
		 struct file_run *ret_run) __attribute__((warn_unused_result));
/* Small content into a file block: the file has blocks then. */
int file_to_blocks(struct vmfs_file *f) __attribute__((warn_unused_result));
enum file_use {
	FILE_FOR_LATER,	   /* nobody is going to write to them now */
	FILE_FOR_BLOCKS,   /* they are about to be written */
	FILE_FOR_PART,	   /* one, of which a part is about to be written */
};

/*
 * Allocates blocks for the holes [first, first + need), as TBZ. At least one, maybe fewer
 * than need; committed. For who writes now more may be allocated ahead of a sequence, and
 * for those who wish, and all of it is durable with what is written. Those of which parts
 * are going to be written are READY if they are not to be filled (filefill_may_begin).
 */
int file_allocate_holes(struct vmfs_file *f, uint64_t first, uint64_t need,
			enum file_use use) __attribute__((warn_unused_result));
/*
 * Who is going to write a part of a block that is a hole says so, as often as he likes,
 * and unsays it when he has the sleeplock: who allocates before that does it for him, in
 * the same transaction. Never block.
 */
void file_wish(struct vmfs_file *f, uint64_t block);
void file_unwish(struct vmfs_file *f, uint64_t block);
/* Takes whole blocks out of the file: they are holes then. Nobody holds them. */
int file_free_blocks(struct vmfs_file *f, uint64_t first, uint64_t end)
	__attribute__((warn_unused_result));
/* Gives back what was allocated ahead and not used. */
int file_free_ahead(struct vmfs_file *f) __attribute__((warn_unused_result));

/* ---- filecommit.c; under sleeplock, block ---- */

/* A transaction on the file: waits as long as another host may need. */
int file_run_txn(struct vmfs_file *f, vmfs_build_fn *build, void *arg)
	__attribute__((warn_unused_result));
/*
 * Makes everything written so far durable: data, then marks, length, small content. The
 * time of modification alone is worth a transaction only at the last one.
 */
int file_commit(struct vmfs_file *f, bool is_last) __attribute__((warn_unused_result));
/*
 * What was written to these blocks is found by whoever opens the file next, if this
 * process dies: their marks are logged, behind a FLUSH of the data. Many that wait share
 * both. Without sleeplock.
 */
int file_log_marks(struct vmfs_file *f, uint64_t block, uint64_t count)
	__attribute__((warn_unused_result));

/* ---- fileshare.c ---- */

/*
 * Stand around everything that changes the map or the length: under several writers the
 * file is ours alone between them, and what was changed is durable before others may
 * look. begin: 0; -EBUSY: others have it open (reported); -errno. end: rc, or why it
 * could not be shared again. Block.
 */
int file_change_begin(struct vmfs_file *f) __attribute__((warn_unused_result));
int file_change_end(struct vmfs_file *f, int rc) __attribute__((warn_unused_result));
/* Several writers may have it open now: neither map nor length may change. */
bool file_is_shared(const struct vmfs_file *f);
/* Of every write to it: BDEV_FUA if no copy may be kept of it (unflushed.h). */
uint32_t file_write_flags(const struct vmfs_file *f);
/* What a close makes durable of a multi-writer file. */
int file_close_shared(struct vmfs_file *f) __attribute__((warn_unused_result));
/* As file.c finds it: the lock's id of a path that is a file. */
int file_lock_of_path(struct vmfs_volume *vol, const char *path,
		      struct vmfs_lock_id *ret_id) __attribute__((warn_unused_result));
/* Takes the file out of the list of those that are open here. */
void file_unregister(struct vmfs_file *f);

/* ---- filebdev.c ---- */

/* Tells the devices made of the file its length. With f->m held. */
void file_bdevs_resize(struct vmfs_file *f);

#endif
