/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_DIR_H
#define VMFS_DIR_H

/*
 * Directories, within transactions and views: files of packed 140-byte entries
 * (FORMAT.md 13), where a hole is an entry with FD address 0, accepted and never made; on
 * VMFS-6 hashed ones (20.6). Entries are numbered; who calls need not know of which kind
 * a directory is, if it takes the number of a name from dir_find() of the same
 * transaction, and of one name at a time: numbers mean nothing after a change.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/fd.h"

struct vmfs_txn;

/* An entry, out of disk order, checked. */
struct dir_entry {
	struct fd_ref ref;
	uint32_t type;		/* enum vmfs_fd_type */
	char name[VMFS_NAME_MAX + 1];
};

/*
 * How many entries, holes included, of packed ones. -EUCLEAN (reported): no directory's
 * length.
 */
int dir_count(struct vmfs_txn *t, const struct fd_ref *dir,
	      const struct fd_body_disk *fdd, uint64_t *ret_count)
	__attribute__((warn_unused_result));
/*
 * Entries from number `first` on, at most max; *ret_index[i] is the number of the i-th.
 * Returns the count (0: the end), or -errno.
 */
int dir_list(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t first,
	     unsigned int max, struct dir_entry *ret_entries, uint64_t *ret_index)
	__attribute__((warn_unused_result));

struct dir_found {
	bool is_there;
	struct dir_entry entry;
	uint64_t index;		/* of the entry; else where it could go */
};
/* Looks for a name. 0 in either case. */
int dir_find(struct vmfs_txn *t, const struct fd_ref *dir, const char *name,
	     struct dir_found *ret_found) __attribute__((warn_unused_result));
/*
 * Writes an entry at index: where a new one could go, or one to be replaced, with its
 * name too. The directory grows as needed. -EFBIG: it cannot (reported).
 */
int dir_put(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t index,
	    const struct dir_entry *entry) __attribute__((warn_unused_result));
/* Takes an entry out; of packed ones, the last one moves into its place. */
int dir_remove(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t index)
	__attribute__((warn_unused_result));
/* 0, or -ENOTEMPTY: more than "." and "..". */
int dir_check_empty(struct vmfs_txn *t, const struct fd_ref *dir)
	__attribute__((warn_unused_result));
/*
 * Makes a new FD a directory with "." and the entry *dots; links 2. The parent's count is
 * the caller's.
 */
int dir_init(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
	     const struct dir_entry *dots) __attribute__((warn_unused_result));

#endif
