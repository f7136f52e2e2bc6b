/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LOCALITY_H
#define VMFS_LOCALITY_H

/*
 * File locks reach the processes of one kernel (LOCKING.md 5.1). Whose does a slot
 * belong to?
 */
#include <stdbool.h>

#include "vmfs/format.h"

struct vmfs_heartbeat;

/*
 * The owner of a slot with a liveness lock runs, or ran, where our file locks mean
 * something: under this kernel, or on this machine before it was started again. Never
 * blocks.
 */
bool locality_is_here(const struct vmfs_heartbeat *hb,
		      const struct vmfs_heartbeat_disk *slotd);
/*
 * Before joining in the file class, with the slots as just read: -EBUSY (reported) if a
 * member under another kernel is alive, which is watched for if there is one at all (two
 * renewals long). Blocks.
 */
int locality_check(struct vmfs_heartbeat *hb, const struct vmfs_heartbeat_disk *slots)
	__attribute__((warn_unused_result));

#endif
