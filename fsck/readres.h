/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_READRES_H
#define FSCK_READRES_H

/* Resource files: where what they manage lies, and their clusters. */
#include "fsck/volume.h"

/* The size of one resource that a type must have; 0 where the volume itself is the data.
 */
uint32_t fsck_resource_size(const struct fsck_volume *v, const struct fsck_resource *res);
/* A range of a resource file. -EUCLEAN in a hole or past its blocks. */
int fsck_resource_read(const struct fsck_volume *v, const struct fsck_resource *res,
		       uint64_t file_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
int fsck_resource_vol_off(const struct fsck_volume *v, const struct fsck_resource *res,
			  uint64_t file_off, uint64_t *ret_vol_off)
	__attribute__((warn_unused_result));
/* File offset of a cluster header, and of one resource: FORMAT.md 6.3, 20.4. */
uint64_t fsck_cluster_off(const struct fsck_resource *res, uint32_t cluster);
uint64_t fsck_item_off(const struct fsck_resource *res, uint32_t cluster, uint32_t index);
/* The end of what its resources need of the file; there is at least one cluster. */
uint64_t fsck_resource_end(const struct fsck_resource *res);
/* Resources in one cluster. */
uint32_t fsck_cluster_total(const struct fsck_resource *res, uint32_t cluster);

/*
 * Has this cluster a header of its own? Not that of the small blocks of a large one that
 * is not divided (VMFS-6).
 */
int fsck_is_divided(const struct fsck_volume *v, const struct fsck_resource *res,
		    uint32_t cluster, bool *ret_is) __attribute__((warn_unused_result));

/* What all versions have of a cluster header, and the bytes that it was taken from. */
struct fsck_cluster {
	uint64_t number;
	uint32_t total, free, hint, fd_generation;
	const uint8_t *states; /* in the meta page given */
	uint32_t states_size;
};

void fsck_cluster_take(const struct fsck_resource *res, const void *meta,
		       struct fsck_cluster *ret_cluster);
/* The other way: numbers and counts into the page; the states are there. */
void fsck_cluster_give(const struct fsck_resource *res,
		       const struct fsck_cluster *cluster, void *meta);
/* The meta page of a cluster, and what it says. */
struct fsck_cluster_page {
	uint8_t meta[VMFS6_PAGE]; /* as long as the version has it */
	struct fsck_cluster found;
};
int fsck_cluster_read(const struct fsck_volume *v, enum fsck_resource_index i, uint32_t c,
		      struct fsck_cluster_page *ret_page)
	__attribute__((warn_unused_result));
/* State of resource i: state_bits of the bitmap. Bit 0: free. */
static inline uint32_t fsck_state(const struct fsck_resource *res, const uint8_t *states,
				  uint32_t i)
{
	uint32_t bit = i * res->state_bits, shift = bit % 8;
	uint32_t state = (uint32_t)states[bit / 8] >> shift;
	if (shift + res->state_bits > 8)
		state |= (uint32_t)states[bit / 8 + 1] << (8 - shift);
	return state & ((1u << res->state_bits) - 1);
}

#define FSCK_STATE_FREE 1u
#define FSCK_STATE_CONVERTED 4u /* of an LFB: a cluster of SFBs */

#endif
