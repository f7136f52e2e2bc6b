/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_VOLUME_H
#define FSCK_VOLUME_H

/*
 * A volume that may be damaged, as far as it has been read (read.h), and its files.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "base/uuid.h"
#include "bdev/bdev.h"
#include "vmfs/addr.h"
#include "vmfs/format.h"
#include "vmfs/format6.h"
#include "vmfs/shape.h"

/* Why something cannot be used: one clause, "" if nothing was said. */
struct fsck_why {
	char text[192];
};

enum fsck_resource_index {
	FSCK_FBB, /* VMFS-6: its small blocks */
	FSCK_FDC,
	FSCK_PBC,
	FSCK_SBC,
	FSCK_PB2,
	FSCK_JBC, /* VMFS-6 */
	FSCK_LFB, /* VMFS-6: the large blocks of .fbb.sf, each a cluster of small ones */
	FSCK_RESOURCE_COUNT,
};

/* A resource file, or a system file on the way to become one. */
struct fsck_resource {
	const char *name; /* ".fbb.sf" */
	uint32_t lock_type;
	enum vmfs_addr_type addr_type;
	bool is_usable; /* blocks and geometry below are set */
	bool is_damaged; /* it should be there, but cannot be used */
	vmfs_addr fd_addr;
	uint64_t length_bytes;
	uint32_t *blocks; /* FB number of each block; 0 = hole */
	uint32_t block_count;
	struct vmfs6_resource_header_disk header; /* as on disk; VMFS-5 has less of it */
	uint32_t per_cluster, clusters_per_group, resource_size;
	uint64_t group_size;
	uint32_t headers_off; /* of the cluster headers in their group */
	uint32_t header_size, meta_off, meta_size; /* of a cluster header */
	uint32_t state_bits; /* of a resource in the bitmap; bit 0: free */
	uint64_t count; /* resources */
	uint32_t cluster_count;
};

/* The maps lie so far behind an extension header, and behind the device metadata. */
#define FSCK_MAPS_BEHIND (LVM_PE_MAP_OFF - LVM_HEADER_OFF)
/* PEs that follow one another on a device: FORMAT.md 3.6. */
struct fsck_region {
	uint64_t map_off, data_off;
	uint32_t pe_count;
};

struct fsck_extent {
	struct bdev *bd; /* borrowed */
	struct vmfs_lvm_device_disk device;
	struct vmfs_lvm_volume_disk volume;
	uint64_t size_bytes;
	struct fsck_region regions[LVM_REGIONS_MAX];
	unsigned int region_count;
	struct fsck_why regions_why; /* what is wrong with those behind the first */
};

struct fsck_volume;

/* PEs of an extent that follow one another in the volume: readruns.c. */
struct fsck_run {
	uint64_t vol_off, size_bytes;
	uint64_t extent_off; /* in the PEs of its extent */
	unsigned int extent;
};
#define FSCK_RUNS_MAX 128u

/* Stands between who reads and the device: look.c. */
struct fsck_lens {
	int (*read)(struct fsck_lens *lens, const struct fsck_volume *v, uint64_t vol_off,
		    void *buf, uint64_t len);
};

struct fsck_volume {
	struct fsck_lens *lens; /* NULL: none */
	struct fsck_extent extents[LVM_EXTENTS_MAX]; /* in the order of their first PEs */
	unsigned int extent_count;
	struct fsck_run runs[FSCK_RUNS_MAX]; /* in volume order */
	unsigned int run_count;
	uint64_t size_bytes; /* what the extents hold together */
	struct vmfs_descriptor_disk descriptor;
	struct vmfs6_descriptor_disk descriptor6;
	uint32_t major; /* VMFS_MAJOR_3, _5 or _6 */
	const struct vmfs_shape *shape;
	uint32_t block_size, block_shift, sub_block_size, sub_block_shift;
	uint64_t block_count; /* FBs in size_bytes */
	/*
	 * NULL but for a rescue: the header of resource file i is not usable, its blocks
	 * are. Fills the header by other means; false: it cannot.
	 */
	bool (*guess)(struct fsck_volume *v, enum fsck_resource_index i);
	struct fsck_resource resources[FSCK_RESOURCE_COUNT];
};

/* A file descriptor: its lock, and the body as long as the version has it. */
struct fsck_file {
	struct vmfs_lock_disk lock;
	union {
		struct vmfs_fd_meta_disk meta;
		struct vmfs6_fd_body_disk body; /* slots: fsck_slot() */
	};
};

static inline bool fsck_is_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

#endif
