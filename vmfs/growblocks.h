/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_GROWBLOCKS_H
#define VMFS_GROWBLOCKS_H

/* The file blocks of a volume whose logical volume has grown: CLUSTERS and COMMIT 2 of
   grow.c. */
struct vmfs_volume;

/*
 * Makes file blocks of what the logical volume has behind those that .fbb.sf counts. The
 * caller has the lock of its FD. 0, or reported. Blocks.
 */
int grow_blocks(struct vmfs_volume *vol) __attribute__((warn_unused_result));

#endif
