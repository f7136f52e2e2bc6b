/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LVM_H
#define VMFS_LVM_H

/*
 * The logical volume under VMFS: one or more extents joined at PE boundaries (FORMAT.md
 * 3). Maps volume offsets to devices. Headers are verified when opened; fsck and
 * vmfs-dump use the same functions.
 */
#include "base/report.h"
#include "base/uuid.h"
#include "bdev/bdev.h"
#include "vmfs/format6.h"

/* PEs that follow one another on their device: most extents have one such region. */
struct lvm_region {
	uint64_t map_off;	/* dev offset of its first PE map */
	uint64_t data_off;	/* and of its first PE */
	uint32_t pe_count;
};

struct lvm_extent {
	struct bdev *bd;	/* borrowed; NULL where it is missing (degraded) */
	struct uuid device_uuid;
	uint64_t pe_first, pe_count;
	unsigned int region_count; /* 16 TiB each, but for the last */
	struct lvm_region regions[LVM_REGIONS_MAX];
	uint64_t vol_off;	/* of its first byte in the volume */
	uint64_t size_bytes;
	struct vmfs_disk_identity_disk identity;
};

struct lvm {
	struct reporter *reporter;
	uint32_t major, minor;
	struct uuid uuid;	/* of the LV */
	char name[65];
	uint64_t size_bytes;
	uint32_t snapshot_id;
	unsigned int extent_count;
	struct lvm_extent extents[LVM_EXTENTS_MAX]; /* in volume order */
};

#define LVM_PATIENCE_NS (30 * NS_PER_S)
/*
 * Reads from one extent's device, or flushes it; -EBUSY (another host is in its
 * RESERVE(6) bracket, or the target is busy) and -ETIMEDOUT are not the end: again, until
 * the patience is over. Block.
 */
int lvm_read_device(struct bdev *bd, uint64_t dev_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
int lvm_flush_device(struct bdev *bd) __attribute__((warn_unused_result));
/*
 * One device's headers checked (magic, versions, sizes, PE table against bitmap), and its
 * extent of a volume, in which it has still to be placed. Reports. Blocks.
 */
int lvm_device_read(struct bdev *bd, struct reporter *r,
		    struct vmfs_lvm_device_disk *ret_dev,
		    struct vmfs_lvm_volume_disk *ret_vol, struct lvm_extent *ret_extent)
	__attribute__((warn_unused_result));
/*
 * Joins devices (any order) into *ret_lvm. -EMEDIUMTYPE: not VMFS; -ENODEV: an extent is
 * missing (reported with which); -EUCLEAN. Blocks.
 */
int lvm_open(struct bdev **devices, unsigned int count, struct reporter *r,
	     struct lvm *ret_lvm) __attribute__((warn_unused_result));
/*
 * Where vol_off lies: device, offset there, and how many contiguous bytes follow. 0,
 * -ENODEV (that extent is missing), -EINVAL (outside). Never blocks.
 */
int lvm_map(const struct lvm *lvm, uint64_t vol_off, struct bdev **ret_bd,
	    uint64_t *ret_dev_off, uint64_t *ret_len) __attribute__((warn_unused_result));
/*
 * Any length and memory; split at extents. No gate: see vmfs/gate.h for writes of
 * members.
 */
int lvm_read(const struct lvm *lvm, uint64_t vol_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
int lvm_write(const struct lvm *lvm, uint64_t vol_off, const void *buf, uint64_t len,
	      uint32_t flags) __attribute__((warn_unused_result));
/* Flushes every extent. */
int lvm_flush(const struct lvm *lvm) __attribute__((warn_unused_result));

#endif
