/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_LOCKS_H
#define FSCK_LOCKS_H

/* Locks of single objects: clusters, file descriptors. */
#include "fsck/state.h"

/* Checks a lock of one object, read from vol_off. */
void fsck_check_lock(struct fsck *f, const struct vmfs_lock_disk *lock, uint32_t type,
		     uint64_t vol_off, const char *object);

#endif
