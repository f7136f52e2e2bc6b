/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_SHAPE_H
#define VMFS_SHAPE_H

/*
 * How large things are and where they lie in one another, by version of the filesystem:
 * so that code which only walks structures is the same for all (FORMAT.md 6, 8, 20).
 */
#include <stdint.h>

#include "vmfs/addr.h"
#include "vmfs/format6.h"

struct vmfs_shape {
	uint32_t version;	/* 3, 5 or 6, as VMware counts */
	uint32_t fd_size;	/* a whole FD, lock first */
	uint32_t fd_body_off;	/* of the rest in it: what is read as one piece */
	uint32_t fd_body_size;
	uint32_t fd_slots_off;	/* in the body */
	uint32_t fd_slots;
	uint32_t resident_max;
	uint32_t pb_size, pb_entries;
	uint32_t cluster_header_size, cluster_meta_off, cluster_meta_size;
	uint32_t heartbeat_size, heartbeat_count;
	uint64_t fdc_off;	/* first block of .fdc.sf, at least one block */
};

/* By FS major; NULL: not known. Never blocks. */
const struct vmfs_shape *vmfs_shape_of(uint32_t major);

/* Entry i of the slots of an FD or of a pointer block. */
static inline vmfs_addr shape_entry(const struct vmfs_shape *s, const void *entries,
				    uint64_t i)
{
	if (s->version == 6)
		return addr_from6(le64_get(((const le64 *)entries)[i]));
	return (vmfs_addr){ le32_get(((const le32 *)entries)[i]) };
}

/* The slots in the body of an FD. */
static inline const void *shape_slots(const struct vmfs_shape *s, const void *fd_body)
{
	return (const uint8_t *)fd_body + s->fd_slots_off;
}

#endif
