/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_ADDR_H
#define VMFS_ADDR_H

/*
 * Block addresses, 32 bits on VMFS-3/5: FORMAT.md 6.4. A type of its own, so that a block
 * address, a volume offset and a device offset cannot be mixed. 0 means "no block".
 */
#include <stdbool.h>
#include <stdint.h>

typedef struct { uint32_t raw; } vmfs_addr;

enum vmfs_addr_type {
	ADDR_NONE = 0,
	ADDR_FB = 1,
	ADDR_SB = 2,
	ADDR_PB = 3,
	ADDR_FD = 4,
	ADDR_PB2 = 5,
};

#define ADDR_FB_COW (1u << 4)
#define ADDR_FB_TBZ                                                                      \
	(1u << 5) /* allocated, reads as zeros, to be zeroed before first use */

static inline enum vmfs_addr_type addr_type(vmfs_addr a)
{
	return (enum vmfs_addr_type)(a.raw & 7);
}

static inline bool addr_is_none(vmfs_addr a)
{
	return a.raw == 0;
}

static inline bool addr_is_tbz(vmfs_addr a)
{
	return addr_type(a) == ADDR_FB && (a.raw & ADDR_FB_TBZ);
}

/* COW, block shared with a parent: readable, never written by us. */
static inline bool addr_is_cow(vmfs_addr a)
{
	switch (addr_type(a)) {
	case ADDR_FB:
		return a.raw & ADDR_FB_COW;
	case ADDR_SB:
	case ADDR_PB:
	case ADDR_PB2:
		return a.raw & (1u << 5);
	default:
		return false;
	}
}

static inline vmfs_addr addr_fb(uint32_t number, uint32_t flags)
{
	return (vmfs_addr){ number << 6 | flags | ADDR_FB };
}

static inline uint32_t addr_fb_number(vmfs_addr a)
{
	return a.raw >> 6;
}

/* Cluster and index of SB, PB, FD, PB2 addresses. */
static inline uint32_t addr_cluster(vmfs_addr a)
{
	return addr_type(a) == ADDR_FD ? a.raw >> 6 & 0xffff : a.raw >> 6 & 0x3fffff;
}

static inline uint32_t addr_index(vmfs_addr a)
{
	switch (addr_type(a)) {
	case ADDR_FD:
		return a.raw >> 22;
	case ADDR_SB:
		return a.raw >> 28 | (a.raw >> 3 & 3) << 4;
	default:
		return a.raw >> 28;
	}
}

static inline vmfs_addr addr_of(enum vmfs_addr_type type, uint32_t cluster,
				uint32_t index)
{
	switch (type) {
	case ADDR_FD:
		return (vmfs_addr){ index << 22 | cluster << 6 | ADDR_FD };
	case ADDR_SB:
		return (vmfs_addr){ (index & 15) << 28 | cluster << 6 |
				    (index >> 4 & 3) << 3 | ADDR_SB };
	default:
		return (vmfs_addr){ index << 28 | cluster << 6 | (uint32_t)type };
	}
}

#endif
