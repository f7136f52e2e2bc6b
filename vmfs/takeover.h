/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_TAKEOVER_H
#define VMFS_TAKEOVER_H

/*
 * Taking over what a dead member held (LOCKING.md 7).
 */
#include <stdint.h>

struct vmfs_volume;

/*
 * If the incarnation that this slot shows is dead, recovers it: claim, barrier, replay,
 * flush, empty, clear. Afterwards every lock naming it is stale. 0: the slot is free (by
 * us or by others); -EAGAIN: it is not (yet) dead; -EOPNOTSUPP: its journal is a foreign
 * one and not empty (reported); -ESTALE, -errno. Blocks.
 */
int vmfs_takeover(struct vmfs_volume *vol, uint32_t slot)
	__attribute__((warn_unused_result));

#endif
