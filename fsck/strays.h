/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_STRAYS_H
#define FSCK_STRAYS_H

/* Blocks that resource files name and that are another's. */
#include "fsck/hole.h"

/* A block that is named at a place of a resource file, and is not believed. */
struct fsck_stray {
	enum fsck_resource_index i;
	uint64_t at, block;
	/* The one that must be there by where it lies; 0: what it holds has to tell. */
	uint64_t instead;
	bool is_told; /* and to be repaired */
};

/* NULL: what is named there, if anything, is believed. */
const struct fsck_stray *fsck_stray_at(const struct fsck *f, enum fsck_resource_index i,
				       uint64_t at);
/* After the holes: those for which no other block was found. h: f and bytes are set. */
void fsck_believe_strays(struct hole *h);

/*
 * Looks whether the headers of clusters, and of .fdc.sf the descriptors, are in the
 * blocks that are said to hold them; a block where none is becomes a hole. 0 or -ENOMEM.
 */
int fsck_doubt_headers(struct fsck *f, enum fsck_resource_index i)
	__attribute__((warn_unused_result));
int fsck_doubt_descriptors(struct fsck *f) __attribute__((warn_unused_result));
/* When all addresses have been seen: the other blocks, by where they lie. */
void fsck_check_strays(struct fsck *f);
/* Does the system file with this FD name the block, and is not believed? */
bool fsck_is_stray_of(const struct fsck *f, uint64_t fd, vmfs_addr addr);

#endif
