/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_UNDO_FORMAT_H
#define FSCK_UNDO_FORMAT_H

/*
 * The undo file as it lies on disk, little-endian, no padding:
 *
 *	header	 which devices, how many records, the hash of all that follows
 *	record	 where, how long, the hashes of what will be there; then what was there
 *	...
 *
 * Hashes are XXH3 of 64 bits.
 */
#include "base/endian.h"
#include "vmfs/format6.h"

#define UNDO_MAGIC "VMFSUND1"
#define UNDO_SLOTS_OFF (LVM_DATA_OFF + VMFS_HEARTBEATS_OFF)
#define UNDO_SLOTS_SIZE (1ull << 20) /* of VMFS-5 all, of VMFS-6 those taken first */

struct undo_device_disk {
	le64 size;
	/* Hashes of what lies where heartbeats are, before the repair and after it. */
	le64 slots_was, slots;
};

struct undo_header_disk {
	uint8_t magic[8];
	le32 version;
	le32 device_count;
	le64 record_count;
	le64 hash; /* of all records */
	/* The LVM header of the first extent, in which a repair stands while it runs. */
	le32 lvm_device;
	uint8_t lvm_was[VMFS_SECTOR_SIZE], lvm[VMFS_SECTOR_SIZE];
	struct undo_device_disk devices[LVM_EXTENTS_MAX];
	le64 header_hash; /* of what is before */
};
ONDISK_SIZE(struct undo_header_disk,
	    36 + 2 * VMFS_SECTOR_SIZE + LVM_EXTENTS_MAX * 24 + 8);

/* Then for each sector its hashes; then the sectors as they were. */
struct undo_record_disk {
	le32 device;
	le32 len;
	le64 off;
};
ONDISK_SIZE(struct undo_record_disk, 16);

/* A sector as the repair leaves it, and after its first step. */
struct undo_sector_disk {
	le64 last, first;
};
ONDISK_SIZE(struct undo_sector_disk, 16);

#endif
