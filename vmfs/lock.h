/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LOCK_H
#define VMFS_LOCK_H

/*
 * On-disk locks (LOCKING.md 3.2, 8) and this host's table of those it holds.
 *
 * A lock is HELD when the record on disk names our slot, generation and owner and the
 * table has it. A held lock is PINNED while somebody relies on it (an open file, a
 * running transaction); an unpinned one is RETAINED for a few seconds in case it is
 * wanted again. No lock is released before the journal is durably empty (LOCKING.md
 * 10.5).
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/format.h"
#include "vmfs/vmfs.h"

/*
 * A lockable object: where its lock sector lies, what it must look like, where it ranks.
 */
struct vmfs_lock_id {
	uint64_t vol_off;
	uint32_t type;	   /* VMFS_LOCK_FD ... */
	bool is_directory; /* directories rank before files */
};

/* Order of locking within a transaction: <0, 0, >0. */
int vmfs_lock_compare(const struct vmfs_lock_id *a, const struct vmfs_lock_id *b);

/*
 * Takes a lock and pins it: mode LOCK_EXCLUSIVE, LOCK_READ_ONLY or LOCK_MULTI_WRITER.
 * Waits until deadline (clock_now() ns; 0: one try), taking over holders that are found
 * dead. 0; -EBUSY with *ret_holder (may be NULL; also when this process itself has it
 * pinned exclusively); -ESTALE; -EUCLEAN; -ENODEV. Blocks.
 */
int vmfs_lock_acquire(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		      enum vmfs_lock_mode mode, uint64_t deadline,
		      struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* Unpins; the lock is retained and given back later by the member's maintenance task. */
void vmfs_lock_unpin(struct vmfs_volume *vol, const struct vmfs_lock_id *id);
/*
 * Unpins and gives the lock back now: journal emptied, then cas. The caller's I/O under
 * the lock has ended and is flushed. 0 or -errno (-ESTALE when the volume died). Blocks.
 */
int vmfs_lock_release(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
	__attribute__((warn_unused_result));
/* True while the table holds it exclusively and the volume lives. Never blocks. */
bool vmfs_lock_is_mine(struct vmfs_volume *vol, uint64_t vol_off);
/* The same for writing data: exclusively or as one of several writers. Never blocks. */
bool vmfs_lock_may_write(struct vmfs_volume *vol, uint64_t vol_off);
/*
 * The same, asked for every write: *seen (0 at first) remembers when it was true, and as
 * long as the table has lost no lock since it is still. No mutex. Never blocks.
 */
bool vmfs_lock_may_still_write(struct vmfs_volume *vol, uint64_t vol_off,
			       _Atomic uint64_t *seen);

/*
 * If we have it and nobody uses it, it is given back now, whatever it was kept for. 0 or
 * -errno. Blocks.
 */
int vmfs_lock_let_go(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
	__attribute__((warn_unused_result));

/* ---- changing a lock that is pinned (lockchange.c) ---- */

/*
 * Shared to exclusive, once the table's holder is the only live one: waits until deadline
 * as acquire does. 0; -EBUSY with *ret_holder (may be NULL): as before; -ESTALE. Blocks.
 */
int vmfs_lock_upgrade(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		      uint64_t deadline, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
/*
 * Exclusive to LOCK_READ_ONLY or LOCK_MULTI_WRITER, journal emptied before. The caller's
 * I/O has ended and is flushed. 0 or -ESTALE, -ENODEV, -errno: as before. Blocks.
 */
int vmfs_lock_downgrade(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
			enum vmfs_lock_mode mode) __attribute__((warn_unused_result));
/*
 * Of a lock that vmfs_lock_acquire() gave exclusively: no transaction of this process has
 * it from here on either, until vmfs_lock_release(), and what was committed under it is
 * durable in place: the journal is emptied. 0 or -ESTALE, -errno. Blocks.
 */
int vmfs_lock_seclude(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
	__attribute__((warn_unused_result));
/*
 * Exclusive to another incarnation's (LOCKING.md 13), journal emptied before; the
 * caller's I/O has ended and is flushed. 0: the table does not have it any more; -ESRCH:
 * no such member (reported), -ECANCELED: taken back: as before; -ESTALE. Blocks.
 */
int vmfs_lock_hand_over(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
			const struct vmfs_incarnation *to, uint64_t deadline)
	__attribute__((warn_unused_result));
/*
 * No hand-over of ours came to pass, or ever will: the record is written anew, so that
 * who expects the lock sees it. Journal emptied before. 0; -ESTALE: it was not ours any
 * more, or the volume is lost; -errno. Blocks.
 */
int vmfs_lock_keep(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
	__attribute__((warn_unused_result));
/*
 * Another host will hand us this lock: acquire takes it over when it has come. 0; -EBUSY:
 * it is in the table; -ENOMEM. Never blocks.
 */
int vmfs_lock_expect(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
	__attribute__((warn_unused_result));
/* Not any more: if it comes all the same, it is given back. Never blocks. */
void vmfs_lock_unexpect(struct vmfs_volume *vol, const struct vmfs_lock_id *id);
/*
 * What a lock sector says, for admins: also on read-only volumes. Reads the sector and
 * the slots named in it. -EUCLEAN if it is no lock sector of that type. Blocks.
 */
int vmfs_lock_look(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		   struct vmfs_lock_info *ret_info) __attribute__((warn_unused_result));

#endif
