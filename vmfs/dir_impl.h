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

/* dir6.c: as dir_list() and dir_find(), of an FD that is a directory. */
int dir6_list(struct vmfs_txn *t, const struct fd_ref *dir,
	      const struct fd_body_disk *fdd, uint64_t first, unsigned int max,
	      struct dir_entry *ret_entries, uint64_t *ret_index)
	__attribute__((warn_unused_result));
int dir6_find(struct vmfs_txn *t, const struct fd_ref *dir,
	      const struct fd_body_disk *fdd, const char *name,
	      struct dir_found *ret_found) __attribute__((warn_unused_result));

#endif
