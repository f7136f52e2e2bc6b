/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_AHEAD_H
#define FSCK_AHEAD_H

/*
 * Reads that will be asked for soon are begun before, several at a time. Only for a
 * volume that nobody writes. All functions do nothing without it (NULL).
 */
#include "fsck/read.h"

struct fsck_ahead;

/* Puts itself before the device (v->lens). NULL: no memory, or nothing is gained. */
struct fsck_ahead *fsck_ahead_new(struct fsck_volume *v);
/* Waits for what is under way. Blocks. */
void fsck_ahead_free(struct fsck_ahead *a);
/*
 * A range of the volume will be read, as a whole and once. false: not now, there is no
 * room; ask again later. Never blocks.
 */
bool fsck_ahead_want(struct fsck_ahead *a, uint64_t vol_off, uint64_t len);
/* A range of a resource file. */
bool fsck_ahead_want_in(struct fsck_ahead *a, const struct fsck_resource *res,
			uint64_t file_off, uint64_t len);
/* What an address names. */
bool fsck_ahead_want_addr(struct fsck_ahead *a, vmfs_addr addr);
/* A file descriptor that was wanted, once it is there; it still can be read. */
bool fsck_ahead_peek_fd(struct fsck_ahead *a, vmfs_addr addr, struct fsck_file *ret_file);

#endif
