/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_JOURNAL_H
#define VMFS_JOURNAL_H

/*
 * The redo log of one member: one file block, or block of .jbc.sf on VMFS-6, ours by
 * slot (LOCKING.md 10.3 to 10.6).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "bdev/bdev.h"
#include "vmfs/addr.h"
#include "vmfs/format.h"
#include "vmfs/homes.h"

struct vmfs_volume;

/* Owned by whoever holds the volume's txn_lock. */
struct vmfs_journal {
	vmfs_addr addr;		/* of the block; 0 = none yet */
	uint64_t vol_off;
	uint64_t nonce_low, nonce_high;
	uint64_t next_seq;
	uint32_t next_sector;	/* where the next record goes */
	uint32_t sector_count;	/* of the block */
	bool is_empty;		/* sector 0 is durably zero */
	/* It has records of blocks that are free now: emptied before one is taken. */
	bool has_freed;
	/*
	 * Late: records that are flushed later, and written in place when the log is
	 * emptied (journalcommit.c). Lazy: all are. Those before durable_seq are durable;
	 * the first that is not was written at `oldest` (clock_now()); blocks were freed
	 * by some before freed_seq.
	 */
	bool is_lazy;
	bool is_late; /* some are not durable: journal_is_late() */
	uint64_t durable_seq, freed_seq, oldest;
	struct vmfs_homes homes;
	uint32_t record_flags; /* records are written with these of bdev.h; fixed */
};

/* Sectors that must change together, as a transaction gives them. */
struct journal_target {
	uint64_t vol_off;	/* where they go */
	const void *data;
	uint32_t sectors;
	uint64_t lock_off, token; /* the lock that covers them, as held */
};

/*
 * Allocates and initialises the block of a new member and shows it in its slot: header,
 * bitmap bit, then the slot, each flushed (a crash in between leaks one block). Blocks.
 */
int journal_create(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* Our header anew, with the volume's UUID of now; the log is empty. Blocks. */
int journal_write_header(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * At a clean leave: empties, takes it out of the slot, frees the block; if only that
 * fails, says so and succeeds. Blocks.
 */
int journal_destroy(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * Frees the block of a dead member's log for a taker that has no log itself: one that is
 * still joining, or leaving. Blocks.
 */
int journal_free_block(struct vmfs_volume *vol, vmfs_addr addr)
	__attribute__((warn_unused_result));
/* Reports that a block that was a journal stays allocated: a leak, no harm. */
void journal_tell_lost(struct vmfs_volume *vol, vmfs_addr addr, int err);
/*
 * Logs one record; unless the log is lazy, or this record may wait, it and all before it
 * are durable: the commit point. -E2BIG: over JOURNAL_PAYLOAD_MAX sectors. The caller
 * holds txn_lock and all locks named. Blocks.
 */
int journal_commit(struct vmfs_volume *vol, const struct journal_target *targets,
		   unsigned int count, bool may_wait) __attribute__((warn_unused_result));
/* Is something that was logged before the call not durable? Never blocks. */
bool journal_is_late(const struct vmfs_volume *vol);
/*
 * Behind journal_commit(): in place, now or when the log is emptied. 0 or -ESTALE: the
 * volume is dead. Blocks.
 */
int journal_write_places(struct vmfs_volume *vol, const struct journal_target *targets,
			 unsigned int count) __attribute__((warn_unused_result));
/* In-place writes flushed, then the log durably empty: before ANY lock leaves us. */
int journal_empty(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * All that was logged before the call is durable: 0, or -ESTALE. Not with txn_lock. Of
 * what is older than age_ns: journal_sync_old(). Block.
 */
int journal_sync(struct vmfs_volume *vol) __attribute__((warn_unused_result));
void journal_sync_old(struct vmfs_volume *vol, uint64_t age_ns);
/*
 * With txn_lock. The transaction that was logged last freed blocks; and before the next
 * one that takes some: those that are free are so durably. 0 or -ESTALE. Blocks.
 */
void journal_note_freed(struct vmfs_volume *vol);
int journal_before_reuse(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* As records, heads and states have it. */
uint32_t journal_crc(const void *data, size_t len);

enum journal_state { JOURNAL_EMPTY, JOURNAL_OURS, JOURNAL_FOREIGN };
/* What stands in the journal at vol_off of the member that `slot` shows. */
int journal_look(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
		 enum journal_state *ret_state) __attribute__((warn_unused_result));
/* A reader in the log of a member; slot is borrowed. */
struct journal_log {
	struct vmfs_volume *vol;
	const struct vmfs_heartbeat_disk *slot;
	uint64_t vol_off;	/* of sector 0 */
	uint32_t sector_count;
	uint64_t nonce, seq;	/* expected of the next record */
	uint32_t next_sector;
};
/* Opens the log of a slot: *ret_state, and *ret_log when it is OURS. Blocks. */
int journal_log_open(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
		     struct journal_log *ret_log, enum journal_state *ret_state)
	__attribute__((warn_unused_result));
/*
 * The next valid record, malloc'ed, as it is on disk; NULL and 0 at the end of the log as
 * it is now: may be asked again. Blocks.
 */
int journal_log_next(struct journal_log *log, uint8_t **ret_record)
	__attribute__((warn_unused_result));
/*
 * Has the next record come, as far as its head tells? A look (vmfs_gate_look). Blocks.
 */
int journal_log_has_next(const struct journal_log *log, bool *ret_has)
	__attribute__((warn_unused_result));
/*
 * Does the lock of a target still name the member, with the token that was logged? Else
 * its record was never committed. lock_type: of that type; 0: any. Blocks.
 */
int journal_lock_stands(struct journal_log *log,
			const struct vmfs_journal_target_disk *td, uint32_t lock_type,
			bool *ret_stands) __attribute__((warn_unused_result));
/* Sectors of a record that describe count targets. Never blocks. */
uint32_t journal_desc_sectors(uint32_t count);
/*
 * Replays a dead member's log under OUR gate: each record whose locks still name (slot,
 * generation, owner) with the tokens logged. Idempotent; ends with FLUSH. Does not empty
 * it. *ret_records: how many were valid. Blocks.
 */
int journal_replay(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
		   unsigned int *ret_records) __attribute__((warn_unused_result));
/* Does the slot name a block that a journal may have, by address and offset? */
bool journal_is_in_place(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot);
/*
 * Does the block that the slot names show a header of that incarnation's journal? Only
 * then is it written to or freed. An error of the read: no. Blocks.
 */
bool journal_is_of(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot);
/* The same of any member, living or dead or gone: its header stands there. Blocks. */
int journal_is_any_of_ours(struct vmfs_volume *vol, vmfs_addr addr, bool *ret_is_ours)
	__attribute__((warn_unused_result));
/* Zeroes sector 0 of a dead member's log, durably. */
int journal_wipe(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot)
	__attribute__((warn_unused_result));

#endif
