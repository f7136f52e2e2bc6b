/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_DIR_IMPL_H
#define VMFS_DIR_IMPL_H

/* What dir.c (packed entries) and dir6.c (hashed directories of VMFS-6) share. */
#include "vmfs/dir.h"

/*
 * Bytes of a directory file, which must lie below its length. 0, -EUCLEAN, as txn_read.
 */
int dir_read_bytes(struct vmfs_txn *t, const struct fd_ref *dir,
		   const struct fd_body_disk *fdd, uint64_t off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/* Takes an entry out of disk order, verified; index for the report. */
int dir_take_entry(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t index,
		   const struct vmfs_dirent_disk *entryd, struct dir_entry *ret_entry)
	__attribute__((warn_unused_result));

/*
 * The piece that holds an offset below the allocated blocks, to be changed; is_new: it
 * was never written, or what it holds does not count. *ret_at: the byte at the offset;
 * what is written from there stays in the piece, which ends at a multiple of 4096.
 */
int dir_edit_at(struct vmfs_txn *t, const struct fd_ref *dir,
		const struct fd_body_disk *fdd, uint64_t off, bool is_new, void **ret_at)
	__attribute__((warn_unused_result));
/* Would that length need file blocks, and the directory has sub-blocks? */
bool dir_outgrows_sub_blocks(const struct vmfs_volume *vol,
			     const struct fd_body_disk *fdd, uint64_t length);
/* All content into file blocks: what dir_edit_at() gave before is of no use any more. */
int dir_to_file_blocks(struct vmfs_txn *t, const struct fd_ref *dir,
		       struct fd_body_disk *fdd) __attribute__((warn_unused_result));
/* Blocks for a length, as above if need be; the length itself is the caller's. */
int dir_grow(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
	     uint64_t length) __attribute__((warn_unused_result));

/* dir6.c, dir6write.c: as their namesakes in dir.h, of an FD that is a directory. */
int dir6_list(struct vmfs_txn *t, const struct fd_ref *dir,
	      const struct fd_body_disk *fdd, uint64_t first, unsigned int max,
	      struct dir_entry *ret_entries, uint64_t *ret_index)
	__attribute__((warn_unused_result));
int dir6_find(struct vmfs_txn *t, const struct fd_ref *dir,
	      const struct fd_body_disk *fdd, const char *name,
	      struct dir_found *ret_found) __attribute__((warn_unused_result));
int dir6_put(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
	     uint64_t index, const struct dir_entry *entry)
	__attribute__((warn_unused_result));
int dir6_remove(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
		uint64_t index) __attribute__((warn_unused_result));
int dir6_init(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
	      const struct dir_entry *dot, const struct dir_entry *dots)
	__attribute__((warn_unused_result));

#endif
