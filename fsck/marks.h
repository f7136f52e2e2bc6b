/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_MARKS_H
#define FSCK_MARKS_H

/*
 * Locks as they were when what is under them was read, for a check beside members that
 * write: whether it was read of one state, and whether it is still the same.
 */
#include "fsck/online.h"

#define MARK_CHANGED 1u /* no lock has it */

/* The slot of the incarnation that a lock names; false: it is over, or never was. */
bool fsck_holder_lives(const struct fsck_volume *v, const struct vmfs_lock_disk *lock,
		       struct vmfs_heartbeat_disk *ret_slot);
/* true if nobody writes under this lock, as far as it says itself. */
bool fsck_lock_is_quiet(const struct fsck_volume *v, const struct vmfs_lock_disk *lock);
/* What a lock sector is known by. Never 0 or MARK_CHANGED. */
uint64_t fsck_lock_mark(const void *lock);
/* The lock of a file descriptor or a cluster, as it was when that was read. */
void fsck_online_mark_fd(struct fsck *f, uint64_t number, const void *lock);
void fsck_online_mark_cluster(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			      const void *lock);
/* Something could not be read in one state. */
void fsck_online_unstable(struct fsck *f);

#endif
