/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LOGVIEW_H
#define VMFS_LOGVIEW_H

/*
 * Another member's log as a reader sees it who holds no lock: with it, what that member
 * is just writing in place reads as committed. Inside the folder only.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/format.h"
#include "vmfs/journal.h"

struct logview {
	struct vmfs_volume *vol;
	struct vmfs_heartbeat_disk slot; /* whose log; of this incarnation */
	struct journal_log log;
	enum journal_state state;
	/* Which filling of the log this is: its state, the place of its first record. */
	uint8_t marks[2][VMFS_SECTOR_SIZE];
	uint8_t **records;
	unsigned int count, room;
	/* It ends before a record that was never committed. */
	bool is_cut;
	/* Locks that were seen to stand as they were logged. */
	struct logview_lock {
		uint64_t vol_off, token;
	} *locks;
	unsigned int lock_count, lock_room;
};

/*
 * The slot of the incarnation that holds a lock. -EAGAIN: it is over by now. Blocks.
 */
int logview_holder(struct vmfs_volume *vol, const struct vmfs_lock_disk *lockd,
		   struct vmfs_heartbeat_disk *ret_slot)
	__attribute__((warn_unused_result));
/* The log as it is now. Undone by logview_done() in any case. Blocks. */
int logview_open(struct logview *v, struct vmfs_volume *vol,
		 const struct vmfs_heartbeat_disk *slot)
	__attribute__((warn_unused_result));
void logview_done(struct logview *v);
/*
 * Looks again and adds records that have come. *ret_is_same false: it was emptied or
 * filled anew meanwhile; v is of no use then. Blocks.
 */
int logview_follow(struct logview *v, bool *ret_is_same)
	__attribute__((warn_unused_result));
/* What the records have for len bytes at vol_off under this lock, into buf. */
void logview_apply(const struct logview *v, uint64_t lock_off, uint64_t token,
		   uint64_t vol_off, uint32_t len, uint8_t *buf);
/* Does any record from number `first` on touch these bytes? */
bool logview_touches(const struct logview *v, unsigned int first, uint64_t vol_off,
		     uint32_t len);

/*
 * For who wants to know one thing, whether something changes under a lock. The log as it
 * is now; -EAGAIN: not all that this member changes comes by it. Undone as above. Blocks.
 */
int logview_open_watch(struct logview *v, struct vmfs_volume *vol,
		       const struct vmfs_heartbeat_disk *slot)
	__attribute__((warn_unused_result));
/*
 * Looks again: *ret_is_same false, now and from now on: something under that lock may
 * have changed since logview_open_watch(). Blocks.
 */
int logview_watch(struct logview *v, uint64_t lock_off, bool *ret_is_same)
	__attribute__((warn_unused_result));
/*
 * Of such a log: *ret_is_same, nothing at all has been logged since the last
 * logview_watch() that found all as it was. A few sectors, through the kernel's cache
 * where there is one (vmfs_gate_look).
 */
int logview_peek(const struct logview *v, bool *ret_is_same)
	__attribute__((warn_unused_result));

#endif
