/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_LOOK_H
#define FSCK_LOOK_H

/* Reading beside members that write; without them (f->online is NULL) nobody looks. */
#include "fsck/online.h"

/*
 * Reads what is under the lock at lock_off by way of fn, in one committed state; what fn
 * has read then reads the same, until fsck_look_over(). false: it would not hold still,
 * and what was read may be anything. Blocks.
 */
bool fsck_look(struct fsck *f, uint64_t lock_off, void (*fn)(struct fsck *f, void *arg),
	       void *arg);
/* false: what was read may be torn after all. */
bool fsck_look_over(struct fsck *f);
/* The file descriptor with this number, and all its metadata. Blocks. */
bool fsck_look_file(struct fsck *f, uint64_t number, struct fsck_file *ret_file);
/*
 * The headers of `count` clusters from `first` on, each of one committed state. Blocks.
 */
int fsck_look_clusters(struct fsck *f, enum fsck_resource_index i, uint32_t first,
		       uint32_t count, uint8_t *headers)
	__attribute__((warn_unused_result));

#endif
