/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MKFS_LAYOUT_H
#define MKFS_LAYOUT_H

/*
 * Where everything lies on a fresh VMFS-5 volume of one extent: a pure function of the
 * size of the device (FORMAT.md 4.1, 6.3, 6.5, 14). Nothing here does I/O.
 */
#include <stdint.h>

#include "base/report.h"
#include "vmfs/format.h"

#define MKFS_BLOCK_SIZE 0x100000u /* file block */
#define MKFS_BLOCK_SHIFT 20u
#define MKFS_SUB_BLOCK_SIZE 0x2000u
#define MKFS_CLUSTERS_PER_GROUP 64u
/* Smallest device: the LVM region and one PE. */
#define MKFS_SIZE_MIN (LVM_DATA_OFF + LVM_PE_SIZE)

/* How many of each resource, and in clusters of how many. 0: by policy (FORMAT.md 6.5).
 */
struct mkfs_counts {
	uint32_t fd, sb, pb, pb2;
	uint32_t fd_per_cluster, sb_per_cluster;
};

/* A system file: .fdc.sf has its first block apart from the rest. */
struct mkfs_file {
	uint64_t length_bytes;
	uint32_t block_count;
	uint32_t first_block; /* FB number of block 0 */
	uint32_t rest_block;  /* FB number of block 1; those behind it follow */
};

/* A resource file: FORMAT.md 6. */
struct mkfs_resource {
	const char *name; /* ".fbb.sf" */
	enum vmfs_system_fd fd;
	uint32_t lock_type;
	uint32_t per_cluster;
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
	MKFS_RESOURCE_COUNT,
};

struct mkfs_layout {
	uint64_t device_size; /* bytes, whole sectors */
	uint32_t pe_count;
	uint32_t pe_map_count;
	uint64_t volume_size; /* bytes */
	uint32_t block_count; /* FBs */
	uint32_t used_blocks; /* FBs 0 .. used_blocks - 1 are taken by format */
	struct mkfs_file files[VMFS_FD_SYSTEM_COUNT]; /* by enum vmfs_system_fd */
	struct mkfs_resource resources[MKFS_RESOURCE_COUNT];
};

/*
 * Lays out a volume on a device of device_size bytes, called name in reports. counts may
 * be NULL (all by policy).
 * 0, or reported: -ENOSPC (too small), -EFBIG (over 16 TiB), -EINVAL (counts that the
 * format cannot hold).
 */
int mkfs_layout_make(const char *name, uint64_t device_size,
		     const struct mkfs_counts *counts, struct reporter *r,
		     struct mkfs_layout *ret_layout) __attribute__((warn_unused_result));

/* Vol offset of a byte of a system file. off must lie in one of its blocks. */
uint64_t mkfs_file_vol_off(const struct mkfs_file *file, uint64_t off);
/* File offset of the header of a cluster, and of one resource: FORMAT.md 6.3. */
uint64_t mkfs_cluster_off(const struct mkfs_resource *res, uint32_t cluster);
uint64_t mkfs_resource_off(const struct mkfs_resource *res, uint32_t cluster,
			   uint32_t index);
/* Resources in one cluster: the last one may hold fewer. */
uint32_t mkfs_cluster_total(const struct mkfs_resource *res, uint32_t cluster);
/* Resources of a cluster that format takes: FBs 0 .. used, FDs 0 .. 7. */
uint32_t mkfs_cluster_used(const struct mkfs_layout *l, const struct mkfs_resource *res,
			   uint32_t cluster);
/* Vol offset of a system FD. */
uint64_t mkfs_fd_vol_off(const struct mkfs_layout *l, enum vmfs_system_fd fd);

#endif
