/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_TWIN_H
#define VMFS_TWIN_H

/* Two hosts that believe to be the same one. */

struct vmfs_volume;

/*
 * With our slot taken and the heartbeat running, before the journal is made: -ENOTUNIQ
 * (reported) if another live member shows the machine UUID that this host was given. A
 * slot with it that stands still is what a crash of this machine left; that costs the
 * mount one heartbeat interval and a third. 0; -errno of the read. Blocks.
 */
int vmfs_twin_check(struct vmfs_volume *vol) __attribute__((warn_unused_result));

#endif
