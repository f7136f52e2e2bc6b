/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_DIRINDEX_H
#define VMFS_DIRINDEX_H

/*
 * Indexes of large directories of packed entries, in memory: from the hash of a name to
 * the numbers of the entries that may have it. An index is remembered as a piece of
 * metadata is (cache.h): with the lock that covers the directory and the token under
 * which all of it was read, and is valid exactly as long. Nothing here blocks.
 */
#include <stdbool.h>
#include <stdint.h>

/* Directories of fewer entries are searched through. */
#define DIR_INDEX_LEAST 256u
/* All of a volume together; a directory of 100,000 entries takes 2 MiB. */
#define DIR_INDEXES_BYTES (16ull << 20)

struct dir_index;   /* of one directory; counted */
struct dir_indexes; /* those of a volume */

/* ---- one ---- */

/* Empty. NULL: no memory. The caller's first reference. */
struct dir_index *dir_index_new(void);
void dir_index_release(struct dir_index *x);
uint32_t dir_index_hash(const char *name);

/* A change of a directory as its index sees it. */
struct dir_index_change {
	enum {
		DIR_INDEX_ADD,	  /* now at `slot`: the end, a hole, or just removed */
		DIR_INDEX_REMOVE, /* not there any more; the slot is filled or cut */
		DIR_INDEX_HOLE,	  /* at the end */
		DIR_INDEX_CUT,	  /* `slot` entries are left */
		DIR_INDEX_FORGET, /* another directory from now on */
	} kind;
	uint32_t hash, slot;
};
/* 0; -ENOMEM, -ESTALE (it does not fit): the index is of no use any more. */
int dir_index_apply(struct dir_index *x, const struct dir_index_change *change)
	__attribute__((warn_unused_result));
/* Entries that it stands for, holes included. */
uint64_t dir_index_count(const struct dir_index *x);
/* A place for a new entry: a hole, or the end. */
uint64_t dir_index_room(const struct dir_index *x);
/*
 * The next entry whose name may have this hash; *cursor 0 to begin. False: there is none.
 */
bool dir_index_next(const struct dir_index *x, uint32_t hash, uint32_t *cursor,
		    uint32_t *ret_slot);

/* ---- those of a volume ---- */

/* max_bytes: the least recently used go when all take more. NULL: no memory. */
struct dir_indexes *dir_indexes_new(uint64_t max_bytes);
void dir_indexes_free(struct dir_indexes *all);
/* A reference to the index of the directory under this lock and token, or NULL. */
struct dir_index *dir_indexes_get(struct dir_indexes *all, uint64_t lock_off,
				  uint64_t token);
/* Remembers it (keeps a reference of its own) instead of what is there for the lock. */
void dir_indexes_put(struct dir_indexes *all, uint64_t lock_off, uint64_t token,
		     struct dir_index *x);
/* As vmfs_cache_retoken(), _drop_lock(), _drop_all(), by which they are called. */
void dir_indexes_retoken(struct dir_indexes *all, uint64_t lock_off, uint64_t token,
			 uint64_t new_token);
void dir_indexes_drop_lock(struct dir_indexes *all, uint64_t lock_off);
void dir_indexes_drop_all(struct dir_indexes *all);

#endif
