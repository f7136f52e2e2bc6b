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
	uint64_t file_blocks_max; /* of a file, holes too: FORMAT.md 15 */
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

static inline uint32_t shape_entry_size(const struct vmfs_shape *s)
{
	return s->version == 6 ? sizeof(le64) : sizeof(le32);
}

static inline void shape_set_entry(const struct vmfs_shape *s, void *entries, uint64_t i,
				   vmfs_addr addr)
{
	if (s->version == 6)
		((le64 *)entries)[i] = le64_of(addr_disk(addr));
	else
		((le32 *)entries)[i] = le32_of((uint32_t)addr.raw);
}

/* A file block; SB, PB, PB2: of the version that the shape is of. */
static inline vmfs_addr shape_block(const struct vmfs_shape *s, uint64_t number)
{
	return s->version == 6 ? addr_fb6(number, 0) : addr_fb((uint32_t)number, 0);
}

static inline vmfs_addr shape_item(const struct vmfs_shape *s, enum vmfs_addr_type type,
				   uint32_t cluster, uint32_t index)
{
	bool is_short = s->version != 6 || type == ADDR_FD || type == ADDR_JB;

	return is_short ? addr_of(type, cluster, index) : addr_of6(type, cluster, index);
}

/* The slots in the body of an FD. */
static inline const void *shape_slots(const struct vmfs_shape *s, const void *fd_body)
{
	return (const uint8_t *)fd_body + s->fd_slots_off;
}

static inline void *shape_slots_edit(const struct vmfs_shape *s, void *fd_body)
{
	return (uint8_t *)fd_body + s->fd_slots_off;
}

#endif
