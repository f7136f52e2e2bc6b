/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_REFRESH_H
#define VMFS_REFRESH_H

/*
 * A mounted volume that has grown by another host's hand (grow.h): what that takes on our
 * side. 1: it is larger than we knew, and we know now; 0: it is not; -errno (reported).
 */
struct bdev;
struct vmfs_volume;

/* Not inside a transaction or view of this task. Blocks. */
int volume_refresh(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* Inside one of a member: its txn_lock is held. Blocks. */
int volume_refresh_held(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * A device that becomes an extent of an open volume comes under the guard and the fence
 * of the others. 0, or -errno with nothing changed (reported). Blocks.
 */
int volume_join_extent(struct vmfs_volume *vol, struct bdev *bd)
	__attribute__((warn_unused_result));

#endif
