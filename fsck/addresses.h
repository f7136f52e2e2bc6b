/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_ADDRESSES_H
#define FSCK_ADDRESSES_H

/* The addresses of one file descriptor, for pass 2. */
#include "fsck/state.h"

/* The walk over them. */
struct fsck_walk {
	struct fsck *f;
	struct fsck_file *file; /* as it will be */
	uint64_t number;
	char object[48]; /* "FD 0/8" */
	bool is_system;	 /* its addresses are not touched */
	/* Vol offset of the address that is looked at, and the pointer block it is in. */
	uint64_t entry_off;
	vmfs_addr holder;
	uint64_t at; /* block of the file that it is of, where it is a large one */
	uint64_t blocks, tbz, cow, pointer_blocks;
	uint64_t large_blocks, in_large; /* VMFS-6; blocks that lie in them */
	/* The large block met last, and for which 512 blocks of the file. */
	vmfs_addr large;
	uint64_t large_base;
	bool is_unread; /* a pointer block cannot be read: blocks are not all known */
	int error; /* -ENOMEM, sticky */
};

/* Which pointer blocks have been wanted of the cluster that is checked. */
struct fsck_cursor {
	const uint8_t *fds;
	uint64_t first; /* number of the first FD */
	uint32_t total, fd, slot;
};

/*
 * Marks all that the FD at this vol offset names, in its slots and in pointer blocks, and
 * counts it in *w. What cannot be right is told, and noted for fsck_fix_all().
 */
void fsck_walk_slots(struct fsck_walk *w, uint64_t fd_off);

#endif
