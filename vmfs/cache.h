/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_CACHE_H
#define VMFS_CACHE_H

/*
 * Metadata pieces as read, each tagged with the lock that covers it and the token under
 * which it was read. A piece is valid exactly while that lock's token is unchanged
 * (LOCKING.md 12): the token grows with every transition, so no content can change under
 * an unchanged token that we hold ourselves or have seen free.
 */
#include <stdint.h>

struct vmfs_cache;

struct vmfs_cache *vmfs_cache_new(uint64_t max_bytes);
void vmfs_cache_free(struct vmfs_cache *c);
/* Copies the piece into buf and returns 1 if it is there under this token, else 0. */
int vmfs_cache_get(struct vmfs_cache *c, uint64_t vol_off, uint32_t len,
		   uint64_t lock_off, uint64_t token, void *buf);
/* The token under which what is there of this lock was stored last: 1; else 0. */
int vmfs_cache_token(struct vmfs_cache *c, uint64_t lock_off, uint64_t *ret_token);
/* Remembers (or replaces) a piece. Failure to allocate is no failure. */
void vmfs_cache_put(struct vmfs_cache *c, uint64_t vol_off, uint32_t len,
		    uint64_t lock_off, uint64_t token, const void *buf);
/* After a transition of our own lock (token -> new_token): pieces stay valid. */
void vmfs_cache_retoken(struct vmfs_cache *c, uint64_t lock_off, uint64_t token,
			uint64_t new_token);
/* Forgets everything under a lock, or everything. */
void vmfs_cache_drop_lock(struct vmfs_cache *c, uint64_t lock_off);
void vmfs_cache_drop_all(struct vmfs_cache *c);

/* Indexes of large directories: remembered and forgotten as the pieces are. */
struct dir_indexes;
struct dir_indexes *vmfs_cache_indexes(struct vmfs_cache *c);

#endif
