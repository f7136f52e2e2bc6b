/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LVM_H
#define VMFS_LVM_H

/*
 * The logical volume under VMFS: one or more extents joined at PE boundaries (FORMAT.md
 * 3). Maps volume offsets to devices. Headers are verified when opened; fsck and
 * vmfs-dump use the same functions.
 *
 * A volume grows while it is open, by whoever holds the lock of .fbb.sf's FD (grow.h):
 * extents are only added behind the others, and what an extent gains lies behind the end
 * of the volume. What lvm_refresh() finds is published by run_count, the size of a run
 * and size_bytes, each stored last and read atomically, so that who maps needs no lock.
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

/* PEs of an extent that follow one another in the volume: most extents have one piece. */
struct lvm_piece {
	uint64_t vol_off, size_bytes;
};

#define LVM_PIECES_MAX 16u

struct lvm_extent {
	struct bdev *bd;	/* borrowed; NULL where it is missing (degraded) */
	struct uuid device_uuid, lv_uuid;
	uint64_t pe_first, pe_count;
	unsigned int region_count; /* 16 TiB each, but for the last */
	struct lvm_region regions[LVM_REGIONS_MAX];
	unsigned int piece_count;
	struct lvm_piece pieces[LVM_PIECES_MAX]; /* in the order of both */
	/* What its volume descriptor says: see "ahead" in lvm.c. */
	uint64_t said_bytes;
	uint32_t said_extents;
	struct vmfs_disk_identity_disk identity;
	/* What is wrong with its headers, and no matter to who only reads; or "". */
	char odd[128];
};

/* A piece of an extent, as the volume has it. */
struct lvm_run {
	uint64_t vol_off, size_bytes;
	uint64_t extent_off; /* in the PEs of its extent */
	unsigned int extent;
};

#define LVM_RUNS_MAX 128u

struct lvm {
	struct reporter *reporter;
	uint32_t major, minor;
	struct uuid uuid;	/* of the LV */
	char name[65];
	uint64_t size_bytes;
	uint32_t snapshot_id;
	uint32_t state; /* LVM_STATE_... */
	/*
	 * A resignature was begun and not finished (resign.h): the UUIDs of later extents
	 * and of the FS descriptor may be the new ones already.
	 */
	bool is_resigning;
	struct vmfs_resignature_disk resignature;
	unsigned int extent_count;
	struct lvm_extent extents[LVM_EXTENTS_MAX]; /* in the order of their first PEs */
	unsigned int run_count;
	struct lvm_run runs[LVM_RUNS_MAX]; /* in volume order */
	bool is_degraded;	/* some are missing, perhaps several in one */
	/* Of the volume on disk; more than size_bytes: the rest is not attached here. */
	uint64_t whole_bytes;
};

/* Gets the device of an extent that was added to an open volume. */
struct lvm_opener {
	/* name: as the names of devices on the first extent have it. 0 or -errno. */
	int (*open)(void *arg, unsigned int extent, const char *name,
		    struct bdev **ret_bd);
	/* Before an extent that was got is used for the first time: 0 or -errno. */
	int (*join)(void *arg, unsigned int extent, struct bdev *bd);
	void *arg;
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
/* Where the volume descriptor of an extent of this LVM version lies: dev offset. */
uint64_t lvm_volume_off(uint32_t major);
/* And, on the first extent, the name of the device of extent i. */
uint64_t lvm_name_off(uint32_t major, unsigned int i);
/*
 * Joins devices (any order) into *ret_lvm. -EMEDIUMTYPE: not VMFS; -ENODEV: an extent is
 * missing (reported with which); -EUCLEAN. Blocks.
 */
int lvm_open(struct bdev **devices, unsigned int count, struct reporter *r,
	     struct lvm *ret_lvm) __attribute__((warn_unused_result));
/* Is this the LV UUID that an unfinished resignature gives the volume? */
bool lvm_is_coming(const struct lvm *lvm, const uint8_t lv_uuid[16]);
/*
 * The same, to be read only, and extents but the first may be missing (reported): they
 * have no device, and what lies there is -ENODEV.
 */
int lvm_open_degraded(struct bdev **devices, unsigned int count, struct reporter *r,
		      struct lvm *ret_lvm) __attribute__((warn_unused_result));
/*
 * Reads again how large the volume is. What was added is attached: an extent is
 * longer, or opener (may be NULL) gets the device of a new one, which the caller owns.
 * What cannot be attached is left out, reported once. 1: there is more than before; 0; or
 * -errno. One caller at a time. Blocks.
 */
int lvm_refresh(struct lvm *lvm, const struct lvm_opener *opener)
	__attribute__((warn_unused_result));
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
/* Whole sectors, BDEV_CACHED. */
int lvm_read_cached(const struct lvm *lvm, uint64_t vol_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
int lvm_write(const struct lvm *lvm, uint64_t vol_off, const void *buf, uint64_t len,
	      uint32_t flags) __attribute__((warn_unused_result));
/* Flushes every extent. */
int lvm_flush(const struct lvm *lvm) __attribute__((warn_unused_result));

#endif
