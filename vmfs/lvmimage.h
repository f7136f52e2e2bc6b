/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LVMIMAGE_H
#define VMFS_LVMIMAGE_H

/*
 * Images of the LVM headers of an extent, for who makes one (mkfs), adds one or makes one
 * longer (grow.c). LVM 5 but where it says so.
 * Nothing here does I/O or blocks.
 */
#include "bdev/bdev.h"
#include "vmfs/format6.h"

/* The identity of a disk as its LVM header keeps it (any version). */
void lvm_image_identity(struct vmfs_disk_identity_disk *ret,
			const struct bdev_identity *id);
/* "naa.6001405..." as ESXi would call the disk, else the last part of its path. */
void lvm_image_name(char ret_name[LVM_NAME_SIZE], const struct bdev *bd);
/* Entry `number` of the PE table of a device, which is PE `pe` of the volume. */
struct vmfs_lvm_pe_disk lvm_image_pe(uint32_t number, uint64_t pe);
/*
 * An entry of the PE table, with `length` bytes from byte `at` of the device's PEs on
 * (LVM 6: of any length).
 */
struct vmfs_lvm_pe_disk lvm_image_entry(uint32_t number, uint64_t vol_off, uint64_t at,
					uint64_t length);
/* A device of so many bytes with so many PEs. */
void lvm_image_device_size(struct vmfs_lvm_device_disk *devd, uint64_t total_bytes,
			   uint32_t pe_count);
/* The same of LVM 6, with so many entries in its table. */
void lvm_image_device_size6(struct vmfs_lvm_device_disk *devd, uint64_t total_bytes,
			    uint32_t pe_count, uint32_t entries);
/* An extent that has pe_count PEs, these the first and the last of them. */
void lvm_image_volume_pes(struct vmfs_lvm_volume_disk *vold, uint64_t pe_first,
			  uint64_t pe_last, uint32_t pe_count);
/* A volume of so many PEs and extents. */
void lvm_image_volume_size(struct vmfs_lvm_volume_disk *vold, uint64_t pes_of_all,
			   uint32_t extent_count);

#endif
