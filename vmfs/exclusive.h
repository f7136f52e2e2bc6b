/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_EXCLUSIVE_H
#define VMFS_EXCLUSIVE_H

/*
 * A whole volume for one program that changes it from outside, such as a repair: no host
 * mounts it meanwhile (LOCKING.md 5.2).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "bdev/bdev.h"
#include "vmfs/caw.h"
#include "vmfs/format.h"

struct vmfs_exclusive {
	struct bdev *bd; /* borrowed; the first extent */
	struct vmfs_caw caw;
	struct vmfs_lvm_device_disk was, image; /* before it was taken; as it is now */
	uint64_t renewed;
	bool is_taken;
};

/*
 * Takes the volume whose first extent bd is. -EBUSY: somebody else has it and lives
 * (reported). Who has it and is dead (its process is gone, or it has been silent for
 * VMFS_EXCLUSIVE_DEAD_NS) is followed; was then says that nobody had it. The caller looks
 * at the heartbeats afterwards: who mounted before has a slot by then. Blocks.
 */
#define VMFS_EXCLUSIVE_DEAD_NS (24 * NS_PER_S)
int vmfs_exclusive_take(struct bdev *bd, struct reporter *r,
			struct vmfs_exclusive *ret_x) __attribute__((warn_unused_result));
/*
 * As bdev_write() to any extent of the volume; renews the hold when that is due. -ESTALE:
 * it was silent for so long that another may have it (reported). After an error of any
 * kind nothing more may be written: it is left to stand as it is. Blocks, 12 s at most.
 */
int vmfs_exclusive_write(struct vmfs_exclusive *x, struct bdev *bd, const void *bytes,
			 uint64_t len, uint64_t off) __attribute__((warn_unused_result));
/*
 * Gives it back; header: what the LVM header says then, NULL: was. 0, -ESTALE, -errno,
 * reported. Blocks.
 */
int vmfs_exclusive_give(struct vmfs_exclusive *x,
			const struct vmfs_lvm_device_disk *header, struct reporter *r)
	__attribute__((warn_unused_result));
/* Has anybody a volume, by its LVM header? */
bool vmfs_exclusive_is_held(const struct vmfs_lvm_device_disk *header);

#endif
