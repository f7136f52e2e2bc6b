/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_TXN_H
#define VMFS_TXN_H

/*
 * Reading metadata consistently, and changing it (LOCKING.md 10.1, 12).
 *
 * A transaction is a BUILD FUNCTION that reads what it needs and edits images in memory;
 * it may be run several times, because nothing is locked while it runs: the locks of what
 * it edited are taken afterwards, in rank order, each only if its sector still is as it
 * was when the build function first read under it. Then the record is logged and flushed
 * (the commit point), written in place and flushed. A build function therefore has no
 * effect outside the transaction and its own argument, which it sets anew each time.
 *
 * A view is the same without edits: the locks of all that was read are read again at the
 * end and, if any changed, the function runs again.
 *
 * Every metadata sector is covered by exactly one lock: an FD's sectors, and all pointer
 * blocks, sub-blocks and directory blocks of that file, by the FD's lock; a cluster's
 * metadata by the cluster's lock. Buffers are addressed by (vol_off, len), multiples of
 * 512: always the same pieces for the same structure (an FD's 1536 bytes behind its lock
 * sector; a cluster's 512; a pointer block's 4096; a sub-block; 4096-byte pieces of a
 * directory's file block). Overlapping different pieces is a programming error.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/lock.h"
#include "vmfs/vmfs.h"

struct vmfs_txn;
struct dir_index;
struct dir_index_change;

typedef int vmfs_build_fn(struct vmfs_txn *t, void *arg);

/*
 * Runs build until it commits. Waits for locks of live hosts until deadline (clock_now()
 * ns; 0: does not wait), takes over dead ones. 0; what build returned (nothing is changed
 * then); -EBUSY with *ret_holder (may be NULL); -ESTALE, -ETIMEDOUT (volume dead);
 * -E2BIG: more than one journal record holds (256 KiB of changed sectors): split the
 * operation. Blocks.
 */
int vmfs_txn_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg,
		 uint64_t deadline, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
/*
 * Runs build without edits until what it read was consistent. Objects that another host
 * holds exclusively are read as they are, after three tries. Works read-only. Blocks.
 */
int vmfs_view_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
	__attribute__((warn_unused_result));

/* ---- within a build function; pointers are valid until it returns ---- */

struct vmfs_volume *vmfs_txn_volume(struct vmfs_txn *t);
/*
 * Reads a piece under its lock. -EBUSY (internal): another host holds it; return it as
 * is.
 */
int vmfs_txn_read(struct vmfs_txn *t, const struct vmfs_lock_id *lock, uint64_t vol_off,
		  uint32_t len, const void **ret_data)
	__attribute__((warn_unused_result));
/* The same, to be changed: what differs at the end is logged and written. */
int vmfs_txn_edit(struct vmfs_txn *t, const struct vmfs_lock_id *lock, uint64_t vol_off,
		  uint32_t len, void **ret_data) __attribute__((warn_unused_result));
/* An edited piece as it was before, not to be changed; data: as vmfs_txn_edit gave it. */
void *vmfs_txn_before(struct vmfs_txn *t, const void *data);
/* A piece that was free: zeroed, not read; all of it is logged and written. */
int vmfs_txn_create(struct vmfs_txn *t, const struct vmfs_lock_id *lock, uint64_t vol_off,
		    uint32_t len, void **ret_data) __attribute__((warn_unused_result));
/*
 * File data that must be on disk before the transaction commits (a new sub-block or a
 * file block that nothing refers to yet): written in place after the locks are taken and
 * before the record. buf is copied. Any length that is a multiple of 512. A piece that is
 * read there afterwards has these bytes.
 */
int vmfs_txn_data(struct vmfs_txn *t, uint64_t vol_off, const void *buf, uint64_t len)
	__attribute__((warn_unused_result));

/*
 * Blocks that this transaction frees were metadata, and may hold something that is not
 * logged next: the log, in which they stand, is emptied before a transaction takes any.
 */
void vmfs_txn_frees_metadata(struct vmfs_txn *t);
/*
 * It takes or frees blocks, sub-blocks or pointer blocks: what is written to those it
 * takes is not logged, so that they were freed is durable before.
 */
void vmfs_txn_takes_blocks(struct vmfs_txn *t);
void vmfs_txn_frees_blocks(struct vmfs_txn *t);
/*
 * Nobody was promised what it changes: it need not be durable when it has committed. It
 * is with the next transaction that does not say so, with vmfs_volume_sync(), or some
 * seconds later (LOCKING.md 10.7).
 */
void vmfs_txn_may_wait(struct vmfs_txn *t);

enum vmfs_txn_lock_flags {
	TXN_LOCK_PLAIN = 0,
	/* The object is new: its sector may be uninitialised; it gets type and address,
	   and a token of at least min_token. */
	TXN_LOCK_CREATE = 1u << 0,
	/* Stays pinned after the commit, until vmfs_lock_unpin or _release. */
	TXN_LOCK_KEEP = 1u << 1,
	/*
	 * Is given back at the end of the transaction, not retained (a deleted object).
	 */
	TXN_LOCK_DROP = 1u << 2,
};
/* Takes this lock exclusively at commit even if nothing under it is edited. */
int vmfs_txn_lock(struct vmfs_txn *t, const struct vmfs_lock_id *lock, uint32_t flags,
		  uint64_t min_token) __attribute__((warn_unused_result));
/*
 * Would we have to wait for this lock? 1: another live host (or an open file of our own)
 * holds it; 0: no; or -errno. For allocators, to skip a cluster. In a view: 0.
 * is_others: the same, but an open file of our own, which can be changed, is 0.
 */
int vmfs_txn_is_others(struct vmfs_txn *t, const struct vmfs_lock_id *lock)
	__attribute__((warn_unused_result));
int vmfs_txn_is_busy(struct vmfs_txn *t, const struct vmfs_lock_id *lock)
	__attribute__((warn_unused_result));
/*
 * The index of the directory under this lock, as it was before this transaction or view;
 * NULL: there is none, or the directory is changed already. Valid until build returns.
 */
struct dir_index *vmfs_txn_index(struct vmfs_txn *t, const struct vmfs_lock_id *lock);
/* May one be made now and remembered? Only if what is read cannot change meanwhile. */
bool vmfs_txn_may_index(struct vmfs_txn *t, const struct vmfs_lock_id *lock);
/*
 * It was made of what was read under this lock, which is met already: it is remembered if
 * all was of one state. Takes it. Never blocks.
 */
int vmfs_txn_index_made(struct vmfs_txn *t, const struct vmfs_lock_id *lock,
			struct dir_index *made) __attribute__((warn_unused_result));
/* What this transaction changes of the directory: its index follows at the commit. */
int vmfs_txn_index_change(struct vmfs_txn *t, const struct vmfs_lock_id *lock,
			  const struct dir_index_change *change)
	__attribute__((warn_unused_result));
/*
 * In a view, before anything else: many objects in this stretch of the volume will be
 * read. It is read three times as a whole, instead of each lock twice and each object
 * once. 0 or -errno. Blocks.
 */
int vmfs_txn_window(struct vmfs_txn *t, uint64_t vol_off, uint64_t len)
	__attribute__((warn_unused_result));
/*
 * In a view, before anything else: locks under which something is remembered are taken to
 * be as they were then, and read once, in the end, instead of twice: if the token is the
 * same, nothing has changed since. If one is not, the view runs again. Never blocks.
 */
void vmfs_txn_assume(struct vmfs_txn *t);
/*
 * Build is about to read by itself what lies under locks that it has met: blocks of a
 * file. They are looked at again after that. Never blocks.
 */
void vmfs_txn_reads_blocks(struct vmfs_txn *t);
/* True while a view runs: edits are not allowed. */
bool vmfs_txn_is_view(struct vmfs_txn *t);

#endif
