/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_READ_H
#define FSCK_READ_H

/*
 * Reading a volume that may be damaged, for fsck.vmfs and vmfs-dump: extents joined as
 * far as they are there, structures found one from the other, every number from the disk
 * checked before it is used as an offset or a size. It shares the format's types with
 * libvmfs and nothing else, so that one can be held against the other. Writes nothing.
 *
 * Errors: -EUCLEAN with the reason in struct fsck_why; other -errno from the device.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "base/uuid.h"
#include "bdev/bdev.h"
#include "vmfs/addr.h"
#include "vmfs/format.h"

/* Why something cannot be used: one clause, "" if nothing was said. */
struct fsck_why {
	char text[192];
};

enum fsck_resource_index {
	FSCK_FBB,
	FSCK_FDC,
	FSCK_PBC,
	FSCK_SBC,
	FSCK_PB2,
	FSCK_RESOURCE_COUNT,
};

/* A resource file, or a system file on the way to become one. */
struct fsck_resource {
	const char *name; /* ".fbb.sf" */
	uint32_t lock_type;
	enum vmfs_addr_type addr_type;
	bool is_usable; /* blocks and geometry below are set */
	vmfs_addr fd_addr;
	uint64_t length_bytes;
	uint32_t *blocks; /* FB number of each block; 0 = hole */
	uint32_t block_count;
	struct vmfs_resource_header_disk header; /* as on disk */
	uint32_t per_cluster, clusters_per_group, resource_size, group_size;
	uint64_t count; /* resources */
	uint32_t cluster_count;
};

struct fsck_extent {
	struct bdev *bd; /* borrowed */
	struct vmfs_lvm_device_disk device;
	struct vmfs_lvm_volume_disk volume;
	uint64_t vol_off, size_bytes, data_off;
};

struct fsck_volume {
	struct fsck_extent extents[LVM_EXTENTS_MAX]; /* in volume order */
	unsigned int extent_count;
	uint64_t size_bytes; /* what the extents hold together */
	struct vmfs_descriptor_disk descriptor;
	uint32_t major; /* VMFS_MAJOR_3 or _5 */
	uint32_t block_size, block_shift, sub_block_size, sub_block_shift;
	uint64_t block_count; /* FBs in size_bytes */
	struct fsck_resource resources[FSCK_RESOURCE_COUNT];
};

/*
 * Joins the devices, in any order. -EMEDIUMTYPE (a device is not VMFS), -EOPNOTSUPP
 * (VMFS-6), -ENODEV (an extent is missing), -EINVAL (they do not belong together):
 * reported. Blocks.
 */
int fsck_volume_join(struct fsck_volume *v, struct bdev **devices, unsigned int count,
		     struct reporter *r) __attribute__((warn_unused_result));
/* Reads the FS descriptor and takes the sizes from it. */
int fsck_volume_descriptor(struct fsck_volume *v, struct fsck_why *ret_why)
	__attribute__((warn_unused_result));
/*
 * Finds a resource file and its geometry; .fdc.sf must be the first one. -ENOENT: .pb2.sf
 * where there is none (VMFS-3).
 */
int fsck_volume_resource(struct fsck_volume *v, enum fsck_resource_index i,
			 struct fsck_why *ret_why) __attribute__((warn_unused_result));
/* Frees what hangs off v. Devices stay open. */
void fsck_volume_done(struct fsck_volume *v);

/* Any range of the volume. -EINVAL outside of it. */
int fsck_read(const struct fsck_volume *v, uint64_t vol_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/* A range of a resource file. -EUCLEAN in a hole or past its blocks. */
int fsck_resource_read(const struct fsck_volume *v, const struct fsck_resource *res,
		       uint64_t file_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
int fsck_resource_vol_off(const struct fsck_volume *v, const struct fsck_resource *res,
			  uint64_t file_off, uint64_t *ret_vol_off)
	__attribute__((warn_unused_result));
/* File offset of a cluster header, and of one resource: FORMAT.md 6.3. */
uint64_t fsck_cluster_off(const struct fsck_resource *res, uint32_t cluster);
uint64_t fsck_item_off(const struct fsck_resource *res, uint32_t cluster, uint32_t index);
/* Resources in one cluster. */
uint32_t fsck_cluster_total(const struct fsck_resource *res, uint32_t cluster);
/*
 * The number of the resource that addr names, counted from 0 over all clusters, and the
 * file that manages it; false if there is no such resource.
 */
bool fsck_addr_number(const struct fsck_volume *v, vmfs_addr addr,
		      enum fsck_resource_index *ret_i, uint64_t *ret_number);
/* Where the resource lies and how long it is. -EUCLEAN if there is no such resource. */
int fsck_addr_vol_off(const struct fsck_volume *v, vmfs_addr addr, uint64_t *ret_vol_off,
		      uint32_t *ret_size) __attribute__((warn_unused_result));
/* "FB 13 to be zeroed", "SB 4/0", "none" into buf; returns buf. */
const char *fsck_addr_text(vmfs_addr addr, char buf[static 48]);

int fsck_fd_read(const struct fsck_volume *v, vmfs_addr addr, struct vmfs_fd_disk *ret_fd)
	__attribute__((warn_unused_result));
/* Address of the data block with this number in a file; none for holes. */
int fsck_file_block(const struct fsck_volume *v, const struct vmfs_fd_disk *fdd,
		    uint64_t number, vmfs_addr *ret_addr)
	__attribute__((warn_unused_result));
/* Bytes of a file, holes and to-be-zeroed blocks as zeros, whatever its length is. */
int fsck_file_read(const struct fsck_volume *v, const struct vmfs_fd_disk *fdd,
		   uint64_t off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/* Bytes in one block of fdd that its zla and the volume agree on; 0 if the zla is
 * unknown. */
uint32_t fsck_file_block_size(const struct fsck_volume *v,
			      const struct vmfs_fd_disk *fdd);
/* Most data blocks that a zla can reach. */
uint64_t fsck_zla_blocks_max(uint32_t zla);
/* true if the FD holds directory entries: a directory, or .sdd.sf. */
bool fsck_is_directory(const struct fsck_volume *v, const struct vmfs_fd_disk *fdd);

#endif
