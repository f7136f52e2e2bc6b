/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MKFS_LAYOUT_H
#define MKFS_LAYOUT_H

/*
 * Where everything lies on a fresh volume: a pure function of the version and the sizes
 * of the devices (FORMAT.md 3.7, 4.1, 6.3, 6.5, 14, 20). Nothing here does I/O.
 */
#include <stdint.h>

#include "base/report.h"
#include "vmfs/format6.h"

#define MKFS_BLOCK_SIZE 0x100000u /* file block */
#define MKFS_BLOCK_SHIFT 20u
#define MKFS_SUB_BLOCK_SIZE 0x2000u
/* Smallest device: the LVM region and one PE. */
#define MKFS_SIZE_MIN (LVM_DATA_OFF + LVM_PE_SIZE)

/* How many of each resource, and in clusters of how many. 0: by policy (FORMAT.md 6.5).
 */
struct mkfs_counts {
	uint32_t fd, sb, pb, pb2, jb; /* jb: VMFS-6 */
	uint32_t fd_per_cluster, sb_per_cluster, fb_per_cluster; /* VMFS-5 */
};

/* A system file: .fdc.sf has its first block apart from the rest. */
struct mkfs_file {
	uint64_t length_bytes;
	uint32_t block_count;
	uint32_t first_block; /* FB number of block 0 */
	uint32_t rest_block;  /* FB number of block 1; those behind it follow */
	/* More blocks than an FD has slots: pointer blocks in .pb2.sf. */
	uint32_t pb_count, pb_first;
};

/* A resource file: FORMAT.md 6. */
struct mkfs_resource {
	const char *name; /* ".fbb.sf" */
	uint32_t fd; /* enum vmfs_system_fd, or VMFS6_FD_JBC */
	uint32_t lock_type;
	uint32_t per_cluster;
	uint32_t clusters_per_group;
	uint32_t header_size;	/* of a cluster */
	uint32_t resource_size; /* 0: .fbb.sf */
	uint32_t group_size;	/* bytes */
	uint32_t count;		/* resources */
	uint32_t cluster_count, group_count;
};

/* In the order in which format numbers their locks (FORMAT.md 7). */
enum mkfs_resource_index {
	MKFS_FBB,
	MKFS_FDC,
	MKFS_PBC,
	MKFS_SBC,
	MKFS_PB2,
	MKFS_JBC, /* VMFS-6 */
	MKFS_RESOURCE_COUNT,
};

/* A device that becomes an extent. */
struct mkfs_device {
	const char *name; /* in reports */
	uint64_t size_bytes;
};

struct mkfs_extent {
	uint64_t device_size; /* bytes, whole sectors */
	uint32_t pe_first, pe_count; /* units of 256 MiB, counted over the volume */
	uint32_t pe_map_count; /* VMFS-5: PE maps; VMFS-6: entries of the PE table */
};

struct mkfs_layout {
	uint32_t version;     /* 5 or 6 */
	uint32_t extent_count;
	struct mkfs_extent extents[LVM_EXTENTS_MAX];
	uint32_t pe_count;    /* of all extents */
	uint64_t volume_size; /* bytes */
	uint32_t block_count; /* FBs */
	uint32_t used_blocks; /* FBs 0 .. used_blocks - 1 are taken by format */
	uint32_t fd_count;    /* system FDs: FDs 0 .. fd_count - 1 are taken */
	uint32_t used_pb2;    /* resources of .pb2.sf that are taken */
	uint32_t resource_count;
	struct mkfs_file files[VMFS6_FD_SYSTEM_COUNT]; /* by number of the FD */
	struct mkfs_resource resources[MKFS_RESOURCE_COUNT];
};

/*
 * Lays out a volume of this version (5 or 6) on 1 to LVM_EXTENTS_MAX devices, in the
 * order of the volume. counts may be NULL (all by policy; VMFS-6 does not ask those of
 * clusters). 0, or reported: -ENOSPC (a device is too small, or all of them), -EFBIG
 * (over 64 TiB, or of VMFS-5 one over 16 TiB), -EINVAL (counts that the format cannot
 * hold, number of devices).
 */
int mkfs_layout_devices(uint32_t version, const struct mkfs_device *devices,
			unsigned int device_count, const struct mkfs_counts *counts,
			struct reporter *r, struct mkfs_layout *ret_layout)
	__attribute__((warn_unused_result));
/* The same on one device: VMFS-5, and VMFS-6. */
int mkfs_layout_make(const char *name, uint64_t device_size,
		     const struct mkfs_counts *counts, struct reporter *r,
		     struct mkfs_layout *ret_layout) __attribute__((warn_unused_result));
int mkfs_layout6_make(const char *name, uint64_t device_size,
		      const struct mkfs_counts *counts, struct reporter *r,
		      struct mkfs_layout *ret_layout) __attribute__((warn_unused_result));

/* VMFS-6: file offset in .fbb.sf of the header of the SFBs of an LFB. */
uint64_t mkfs_sfb_cluster_off(uint32_t lfb);

/* ---- for both ---- */

/* All behind the extents of a VMFS-6 layout (layout6.c). 0, or reported. */
int mkfs_layout6_fill(struct mkfs_layout *l, struct mkfs_counts *counts,
		      struct reporter *r) __attribute__((warn_unused_result));
/*
 * Gives pointer blocks of so many entries to files of more blocks than an FD has slots.
 */
void mkfs_pointer_blocks_make(struct mkfs_layout *l, uint32_t slots, uint32_t entries);
/* Fills counts of clusters and groups, and the size of a group, from the rest of *res. */
void mkfs_resource_make(struct mkfs_resource *res, uint32_t count, uint32_t per_cluster);
/* Bytes of a resource file whose resources lie in its groups: FORMAT.md 6.3. */
uint64_t mkfs_resource_file_length(const struct mkfs_resource *res);
/*
 * Deals out blocks from FB `next` on: the files of this order, one after the other,
 * .fdc.sf without its first block, which has its place. Sets used_blocks.
 */
void mkfs_files_place(struct mkfs_layout *l, const uint32_t *order, uint32_t count,
		      uint32_t next);

/* Vol offset of a byte of a system file. off must lie in one of its blocks. */
uint64_t mkfs_file_vol_off(const struct mkfs_file *file, uint64_t off);
/* The extent that a vol offset lies on, and *ret_dev_off there. */
uint32_t mkfs_extent_of(const struct mkfs_layout *l, uint64_t vol_off,
			uint64_t *ret_dev_off);
/* File offset of the header of a cluster, and of one resource: FORMAT.md 6.3. */
uint64_t mkfs_cluster_off(const struct mkfs_resource *res, uint32_t cluster);
uint64_t mkfs_resource_off(const struct mkfs_resource *res, uint32_t cluster,
			   uint32_t index);
/* Resources in one cluster: the last one may hold fewer. */
uint32_t mkfs_cluster_total(const struct mkfs_resource *res, uint32_t cluster);
/* Resources of a cluster that format takes: FBs, FDs, PB2s. */
uint32_t mkfs_cluster_used(const struct mkfs_layout *l, const struct mkfs_resource *res,
			   uint32_t cluster);
/* Vol offset of a system FD, and of a pointer block in .pb2.sf. */
uint64_t mkfs_fd_vol_off(const struct mkfs_layout *l, uint32_t fd);
uint64_t mkfs_pb2_vol_off(const struct mkfs_layout *l, uint32_t number);

#endif
