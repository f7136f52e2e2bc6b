/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LIVE_H
#define VMFS_LIVE_H

/* Whether some host uses the volume that a device holds now. */
#include "base/report.h"
#include "bdev/bdev.h"

/*
 * 0: none of the devices is of a VMFS volume, or only of those whose hosts are all dead
 * or gone. Else reported: -EBUSY (a host is alive, or that cannot be told because the
 * first extent of that volume is not among the devices), or -errno of a read.
 * Looks at every heartbeat slot; a slot in use that no liveness lock decides is watched
 * for its own dead time (24 s unless it says otherwise). Blocks.
 */
int vmfs_check_not_live(struct bdev *const *devices, unsigned int count,
			struct reporter *r)
	__attribute__((warn_unused_result));

/*
 * After that: the reservation that the hosts of the old volume left (LOCKING.md 6.1) is
 * ended, or nothing could be written. 0, or reported: -EBUSY (others have reserved it),
 * -errno. Blocks.
 */
int vmfs_end_reservation(struct bdev *bd, struct reporter *r)
	__attribute__((warn_unused_result));

#endif
