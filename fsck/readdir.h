/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_READDIR_H
#define FSCK_READDIR_H

/* The entries of a directory, of either form. */
#include "fsck/volume.h"

/* An entry of either form. */
struct fsck_entry {
	uint64_t off; /* in the directory file */
	uint32_t type, generation;
	vmfs_addr addr;
	char name[257]; /* not checked in any way */
};

/*
 * Calls fn for each entry that is no hole, "." and ".." too, until it returns other than
 * 0, which is returned then. -EUCLEAN: it cannot be read as a directory. Blocks.
 */
int fsck_dir_each(const struct fsck_volume *v, const struct fsck_file *dir,
		  int (*fn)(void *arg, const struct fsck_entry *e), void *arg)
	__attribute__((warn_unused_result));

#endif
