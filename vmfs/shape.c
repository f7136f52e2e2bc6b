/* SPDX-License-Identifier: Apache-2.0 */
#include "vmfs/shape.h"

#include <stddef.h>

#define SHAPE_OF_5(number)                                                               \
	{                                                                                \
		.version = (number),                                                     \
		.fd_size = VMFS_FD_SIZE,                                                 \
		.fd_body_off = VMFS_FD_META_OFF,                                         \
		.fd_body_size = VMFS_FD_SIZE - VMFS_FD_META_OFF,                         \
		.fd_slots_off = VMFS_FD_DATA_OFF - VMFS_FD_META_OFF,                     \
		.fd_slots = VMFS_FD_SLOTS,                                               \
		.resident_max = VMFS_RESIDENT_MAX,                                       \
		.pb_size = VMFS_PB_SIZE,                                                 \
		.pb_entries = VMFS_PB_ENTRIES,                                           \
		.file_blocks_max = VMFS_FILE_BLOCKS_MAX,                                 \
		.cluster_header_size = VMFS_CLUSTER_HEADER_SIZE,                         \
		.cluster_meta_off = VMFS_SECTOR_SIZE,                                    \
		.cluster_meta_size = VMFS_SECTOR_SIZE,                                   \
		.heartbeat_size = VMFS_SECTOR_SIZE,                                      \
		.heartbeat_count = VMFS_HEARTBEATS_COUNT,                                \
		.fdc_off = VMFS_FDC_OFF,                                                 \
	}

static const struct vmfs_shape shape3 = SHAPE_OF_5(3);
static const struct vmfs_shape shape5 = SHAPE_OF_5(5);
static const struct vmfs_shape shape6 = {
	.version = 6,
	.fd_size = VMFS6_FD_SIZE,
	.fd_body_off = VMFS6_PAGE,
	.fd_body_size = VMFS6_PAGE,
	.fd_slots_off = offsetof(struct vmfs6_fd_body_disk, u.slots),
	.fd_slots = VMFS6_FD_SLOTS,
	.resident_max = VMFS6_RESIDENT_MAX,
	.pb_size = VMFS6_PB_SIZE,
	.pb_entries = VMFS6_PB_ENTRIES,
	.file_blocks_max = VMFS6_FILE_BLOCKS_MAX,
	.cluster_header_size = VMFS6_CLUSTER_HEADER_SIZE,
	.cluster_meta_off = VMFS6_PAGE,
	.cluster_meta_size = VMFS6_PAGE,
	.heartbeat_size = VMFS6_PAGE,
	.heartbeat_count = VMFS6_HEARTBEATS_COUNT,
	.fdc_off = VMFS6_FDC_OFF,
};

const struct vmfs_shape *vmfs_shape_of(uint32_t major)
{
	switch (major) {
	case VMFS_MAJOR_3:
		return &shape3;
	case VMFS_MAJOR_5:
		return &shape5;
	case VMFS_MAJOR_6:
		return &shape6;
	default:
		return NULL;
	}
}
