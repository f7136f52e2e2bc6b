/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_ADDR_H
#define VMFS_ADDR_H

/*
 * Block addresses: 32 bits on VMFS-3/5 (FORMAT.md 6.4), 64 on VMFS-6 (20.5) but for file
 * descriptors. A type of its own, so that a block address, a volume offset and a device
 * offset cannot be mixed. 0 means "no block".
 *
 * In memory an address of 64 bits carries ADDR_6, a bit that none of them uses on disk:
 * so that everything below knows which of the two it looks at.
 */
#include <stdbool.h>
#include <stdint.h>

typedef struct { uint64_t raw; } vmfs_addr;

enum vmfs_addr_type {
	ADDR_NONE = 0,
	ADDR_FB = 1,
	ADDR_SB = 2,
	ADDR_PB = 3,
	ADDR_FD = 4,
	ADDR_PB2 = 5,
	ADDR_JB = 6,  /* VMFS-6: a journal block */
	ADDR_LFB = 7, /* VMFS-6: 512 file blocks */
};

#define ADDR_FB_COW (1u << 4)
#define ADDR_FB_TBZ                                                                      \
	(1u << 5) /* allocated, reads as zeros, to be zeroed before first use */

#define ADDR_6 (1ull << 46)
#define ADDR6_COW (1ull << 5)
#define ADDR6_TBZ (0xffull << 7) /* of a file block: one bit for each 1/8 */
#define ADDR6_FB_PER_LFB 512u

static inline bool addr_is_6(vmfs_addr a)
{
	return a.raw & ADDR_6;
}

/* An address of 64 bits, as it stands on a VMFS-6 disk. */
static inline vmfs_addr addr_from6(uint64_t disk)
{
	return (vmfs_addr){ disk ? disk | ADDR_6 : 0 };
}

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
	if (addr_is_6(a))
		return (addr_type(a) == ADDR_FB || addr_type(a) == ADDR_LFB) &&
		       (a.raw & ADDR6_TBZ);
	return addr_type(a) == ADDR_FB && (a.raw & ADDR_FB_TBZ);
}

/* COW, block shared with a parent: readable, never written by us. */
static inline bool addr_is_cow(vmfs_addr a)
{
	if (addr_is_6(a))
		return a.raw & ADDR6_COW;
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

/* A file block of VMFS-6; flags: ADDR6_COW, bits of ADDR6_TBZ. */
static inline vmfs_addr addr_fb6(uint64_t number, uint64_t flags)
{
	return (vmfs_addr){ number % ADDR6_FB_PER_LFB << 51 |
			    number / ADDR6_FB_PER_LFB << 15 | flags | ADDR_6 | ADDR_FB };
}

static inline uint32_t addr_fb_number(vmfs_addr a)
{
	if (addr_is_6(a))
		return (uint32_t)((a.raw >> 15 & 0x7fffffff) * ADDR6_FB_PER_LFB +
				  (a.raw >> 51));
	return (uint32_t)(a.raw >> 6);
}

static inline uint32_t addr_lfb_number(vmfs_addr lfb)
{
	return (uint32_t)(lfb.raw >> 15 & 0x7fffffff);
}

/* A file block, from the address of the large one that it is part of. */
static inline vmfs_addr addr_fb_of_lfb(vmfs_addr lfb, uint32_t index)
{
	return addr_fb6((uint64_t)addr_lfb_number(lfb) * ADDR6_FB_PER_LFB + index,
			lfb.raw & (ADDR6_COW | ADDR6_TBZ));
}

/* The same block, marked to be zeroed before its first use, or not. */
static inline vmfs_addr addr_with_tbz(vmfs_addr a)
{
	return (vmfs_addr){ a.raw | (addr_is_6(a) ? ADDR6_TBZ : ADDR_FB_TBZ) };
}

static inline vmfs_addr addr_without_tbz(vmfs_addr a)
{
	return (vmfs_addr){ a.raw & ~(addr_is_6(a) ? ADDR6_TBZ : ADDR_FB_TBZ) };
}

/* Cluster and index of SB, PB, FD, PB2, JB addresses. */
static inline uint32_t addr_cluster(vmfs_addr a)
{
	uint64_t n = a.raw >> 6;

	if (addr_type(a) == ADDR_JB)
		return (uint32_t)(a.raw >> 3 & 0x1fff);
	if (addr_is_6(a)) /* 36 bits; no file has so many */
		return (n & 0xfffffffffull) > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
	return (uint32_t)(addr_type(a) == ADDR_FD ? n & 0xffff : n & 0x3fffff);
}

static inline uint32_t addr_index(vmfs_addr a)
{
	if (addr_is_6(a) && addr_type(a) != ADDR_JB)
		return (uint32_t)(a.raw >> 56);
	switch (addr_type(a)) {
	case ADDR_FD:
		return (uint32_t)(a.raw >> 22);
	case ADDR_JB:
		return (uint32_t)(a.raw >> 26 & 0x3f);
	case ADDR_SB:
		return (uint32_t)(a.raw >> 28 | (a.raw >> 3 & 3) << 4);
	default:
		return (uint32_t)(a.raw >> 28);
	}
}

/* Of VMFS-3/5, FDs of all, and the 32 bits of a JB of VMFS-6. */
static inline vmfs_addr addr_of(enum vmfs_addr_type type, uint32_t cluster,
				uint32_t index)
{
	switch (type) {
	case ADDR_FD:
		return (vmfs_addr){ index << 22 | cluster << 6 | ADDR_FD };
	case ADDR_JB:
		return (vmfs_addr){ index << 26 | cluster << 3 | ADDR_JB };
	case ADDR_SB:
		return (vmfs_addr){ (index & 15) << 28 | cluster << 6 |
				    (index >> 4 & 3) << 3 | ADDR_SB };
	default:
		return (vmfs_addr){ index << 28 | cluster << 6 | (uint32_t)type };
	}
}

/* SB, PB, PB2 of VMFS-6. */
static inline vmfs_addr addr_of6(enum vmfs_addr_type type, uint64_t cluster,
				 uint32_t index)
{
	return (vmfs_addr){ (uint64_t)index << 56 | cluster << 6 | ADDR_6 |
			    (uint64_t)type };
}

/* As it stands on disk, also for reports. */
static inline unsigned long long addr_disk(vmfs_addr a)
{
	return a.raw & ~ADDR_6;
}

#endif
