/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_TXN_IMPL_H
#define VMFS_TXN_IMPL_H

/*
 * Inside of transactions and views: what txn.c (reading and editing), txncommit.c (from
 * the lock to the disk) and view.c (without locks) share.
 */
#include "vmfs/dirindex.h"
#include "vmfs/locktable.h"
#include "vmfs/logview.h"
#include "vmfs/txn.h"

#define TXN_EAGER_MAX 8u
#define TXN_LOGS_MAX 64u /* hosts of one volume */

struct txn_lock {
	struct vmfs_lock_id id;
	struct vmfs_lock_disk image; /* as read, or as held */
	enum lock_seen seen;
	bool is_wanted;		     /* taken at commit */
	uint32_t flags;		     /* enum vmfs_txn_lock_flags */
	uint64_t min_token;
	bool is_pinned;		     /* in the table, by this transaction */
	bool is_read_under;	     /* something was read that the cache had not */
	bool is_assumed;	     /* not read yet: vmfs_txn_assume() */
	/* a view's: 1 + index of its holder's log, 0: none */
	unsigned int log;
};

struct txn_piece {
	uint64_t vol_off;
	uint32_t len, lock; /* index of its lock */
	bool is_edited, is_created;
	uint8_t *now, *was;
};

struct txn_data {
	uint64_t vol_off, len;
	uint8_t *bytes;
};

/* The index of a directory, from the list or made here. */
struct txn_index {
	uint32_t lock; /* index of its lock */
	struct dir_index *index;
	bool is_made;
};

struct txn_index_change {
	uint32_t lock;
	struct dir_index_change change;
};

/* A view's: the log of a member whose locks it met. */
struct txn_log {
	struct logview view;
	unsigned int seen; /* records of it when the pieces were read */
};

/*
 * A view's: a stretch of the volume with many small objects, read as a whole: once for
 * their locks, then for what is under them, and in the end for their locks again.
 */
struct txn_window {
	uint64_t vol_off, len; /* len 0: none */
	uint8_t *locks, *pieces;
};

struct vmfs_txn {
	struct vmfs_volume *vol;
	struct txn_window window;
	bool is_view, is_patient; /* patient: lock first, then read, whatever it is */
	bool frees_metadata; /* vmfs_txn_frees_metadata() */
	bool takes_blocks, frees_blocks; /* vmfs_txn_takes_blocks() ... */
	bool reads_blocks; /* vmfs_txn_reads_blocks() */
	bool may_wait; /* vmfs_txn_may_wait() */
	bool assumes, is_mistaken; /* vmfs_txn_assume(); and it was not so */
	/* a view's last tries: each piece whole, all of one state or not */
	bool is_fuzzy;
	struct txn_lock *locks;
	struct txn_piece *pieces;
	struct txn_data *data;
	struct txn_log *logs;
	struct txn_index *indexes;
	struct txn_index_change *index_changes;
	unsigned int lock_count, piece_count, data_count, log_count;
	unsigned int lock_room, piece_room, data_room;
	unsigned int index_count, index_room, index_change_count, index_change_room;
	/* Why build could not go on. */
	bool is_busy;
	struct vmfs_holder holder;
	struct vmfs_lock_id busy_id;
	/* Locks that an earlier attempt was to take: locked first, then read. */
	uint64_t eager[TXN_EAGER_MAX];
	unsigned int eager_count;
};

/* Room for one more in an array of `size`-byte elements; NULL: no memory. */
void *txn_grow(void *array, unsigned int count, unsigned int *room, size_t size);
/* Forgets what build did, for another attempt; frees all. */
void txn_reset(struct vmfs_txn *t);
void txn_done(struct vmfs_txn *t);
/* Build cannot go on before this lock is another's no more: what build returns then. */
int txn_busy(struct vmfs_txn *t, const struct vmfs_lock_id *id);
/* May the cache be asked about its pieces? Only while its content cannot change. */
bool txn_is_settled(const struct txn_lock *l);
/* Are the locks that were only read under still as they were? Blocks. */
int txn_validate(struct vmfs_txn *t, bool *ret_is_changed)
	__attribute__((warn_unused_result));
/*
 * Unpins all locks; is_committed: KEEP and DROP apply. true: some are to be given back.
 */
bool txn_let_go(struct vmfs_txn *t, bool is_committed);

/* A lock that build has met, or NULL. */
struct txn_lock *txn_find_lock(struct vmfs_txn *t, uint64_t vol_off);
/*
 * What was read was of one state: indexes made of it are remembered. Committed: those of
 * directories that were changed follow.
 */
void txn_index_keep(struct vmfs_txn *t, bool is_committed);
/* Forgets them and the changes. */
void txn_index_reset(struct vmfs_txn *t);

/* What the window has there, of its first or its second read; or NULL. */
const uint8_t *txn_window_lock(const struct vmfs_txn *t, uint64_t vol_off);
const uint8_t *txn_window_piece(const struct vmfs_txn *t, uint64_t vol_off, uint32_t len);
/* Reads it once more: then txn_window_lock() has the locks as they are now. Blocks. */
int txn_window_again(struct vmfs_txn *t) __attribute__((warn_unused_result));
void txn_window_done(struct vmfs_txn *t);
/* A view met a lock that another host has exclusively: its log is needed. Blocks. */
int view_meet_holder(struct vmfs_txn *t, struct txn_lock *l)
	__attribute__((warn_unused_result));
/* Reads a piece under such a lock as committed. Blocks. */
int view_fill(struct vmfs_txn *t, const struct txn_lock *l, uint64_t vol_off,
	      uint32_t len, uint8_t *buf) __attribute__((warn_unused_result));

#endif
