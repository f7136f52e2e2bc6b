/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_FDS_H
#define FSCK_FDS_H

/* File descriptors, as pass 2 remembers them and as they say themselves. */
#include "fsck/directory.h"

/* true if an address names an allocated FD that pass 2 could use. */
struct fsck_fd *fsck_fd_of(struct fsck *f, vmfs_addr addr);
/* The address of the FD with a number. */
vmfs_addr fsck_fd_addr(const struct fsck *f, uint64_t number);
/*
 * Is this descriptor one in use by all that it says itself, whatever its cluster says?
 * The same of one that was read.
 */
bool fsck_looks_used(const struct fsck *f, uint64_t number);
bool fsck_file_looks_used(const struct fsck *f, uint64_t number,
			  const struct fsck_file *file);
/* Names a descriptor that is marked free, and is in use by all that it says itself. */
bool fsck_is_taken_for_free(const struct fsck *f, const struct fsck_dir_entry *e);

#endif
