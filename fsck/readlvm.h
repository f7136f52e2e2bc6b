/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_READLVM_H
#define FSCK_READLVM_H

/* Extents joined to a volume, and ranges of it. */
#include "fsck/volume.h"

/*
 * Joins the devices, in any order. -EMEDIUMTYPE (a device is not VMFS), -EOPNOTSUPP
 * (another LVM), -ENODEV (an extent is missing), -EINVAL (they do not belong together):
 * reported. Blocks.
 */
int fsck_volume_join(struct fsck_volume *v, struct bdev **devices, unsigned int count,
		     struct reporter *r) __attribute__((warn_unused_result));
/* LVM 6, whose PE table has entries of any length. */
bool fsck_extent_is_6(const struct fsck_extent *e);
/* PEs of 256 MiB on the device. */
uint32_t fsck_extent_pes(const struct fsck_extent *e);
/*
 * Where a range of the volume begins, and how much of it follows there. -EINVAL: outside
 * of it, or in no region.
 */
int fsck_place(const struct fsck_volume *v, uint64_t vol_off,
	       const struct fsck_extent **ret_extent, uint64_t *ret_dev_off,
	       uint64_t *ret_len) __attribute__((warn_unused_result));
/* Any range of the volume, through the lens; past it. -EINVAL outside of it. */
int fsck_read(const struct fsck_volume *v, uint64_t vol_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
int fsck_read_past(const struct fsck_volume *v, uint64_t vol_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));

#endif
