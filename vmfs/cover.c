/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which lock covers what. A sector of the volume is
 *
 *   in a resource file   a header of .fbb.sf: the lock of that file's FD (grow.c);
 *                        another header, or what lies between groups: nobody's;
 *                        the lock sector of a cluster: itself only;
 *                        the metadata of a cluster: the cluster's lock;
 *                        an FD: its lock sector itself only, its body the FD's lock;
 *                        the rest of a lock's page (VMFS-6): nobody's;
 *                        a sub-block or pointer block: the lock of some FD;
 *                        a block for journals (VMFS-6): nobody's;
 *   elsewhere            before .fdc.sf (descriptor, heartbeats): nobody's;
 *                        a file block: the lock of some FD (or it is a journal).
 *
 * Invariants:
 *  1 what is said here needs no I/O and trusts no byte of the log that asks;
 *  2 "some FD": whose content it is, only that FD's tree says. The FD's lock, held, with
 *    the token logged, stands for that; but no log gets at locks, at bitmaps or at FDs
 *    that are not its own.
 */
#include "vmfs/cover.h"

#include <errno.h>

#include "base/align.h"
#include "vmfs/fd.h"
#include "vmfs/large.h"
#include "vmfs/volume.h"

enum place {
	PLACE_NOBODYS,
	PLACE_CLUSTER_LOCK,
	PLACE_CLUSTER_META,
	PLACE_LARGE_LOCK, /* of a cluster of large blocks: VMFS-6 */
	PLACE_LARGE_META,
	PLACE_FD_LOCK,
	PLACE_FD,
	PLACE_CONTENT,
};

/* A lock, what it covers from `body` on, and nothing in between. */
static enum place place_behind_lock(uint64_t distance, uint32_t body, enum place lock,
				    enum place covered)
{
	if (distance == 0)
		return lock;
	return distance < body ? PLACE_NOBODYS : covered;
}

/* A sector at a file offset of a resource file; *ret_distance: to its lock. */
static enum place place_in_file(const struct vmfs_volume *vol,
				enum vmfs_resource_type type, uint64_t off,
				uint64_t *ret_distance)
{
	const struct vmfs_resource *res = &vol->resources[type];
	const struct vmfs_shape *shape = vol->shape;
	uint64_t headers = res->headers_off +
			   (uint64_t)res->clusters_per_group * res->header_size;

	*ret_distance = 0;
	if (off < res->group_off || !res->group_size)
		return PLACE_NOBODYS;
	uint64_t group = (off - res->group_off) / res->group_size;
	uint64_t in_group = (off - res->group_off) % res->group_size;
	uint64_t cluster = group * res->clusters_per_group;

	if (in_group < res->headers_off) {
		cluster = group * VMFS6_LFB_CLUSTERS_PER_GROUP +
			  in_group / res->header_size;
		*ret_distance = in_group % res->header_size;
		if (cluster * VMFS6_LFB_PER_CLUSTER >= large_count(res->count))
			return PLACE_NOBODYS;
		return place_behind_lock(*ret_distance, shape->cluster_meta_off,
					 PLACE_LARGE_LOCK, PLACE_LARGE_META);
	}
	if (in_group < headers) {
		in_group -= res->headers_off;
		cluster += in_group / res->header_size;
		*ret_distance = in_group % res->header_size;
		if (cluster >= res->cluster_count)
			return PLACE_NOBODYS;
		return place_behind_lock(*ret_distance, shape->cluster_meta_off,
					 PLACE_CLUSTER_LOCK, PLACE_CLUSTER_META);
	}
	if (!res->resource_size || type == RESOURCE_JBC)
		return PLACE_NOBODYS;
	uint64_t item = (in_group - headers) / res->resource_size;
	cluster += item / res->per_cluster;
	if (cluster >= res->cluster_count ||
	    item / res->per_cluster >= res->clusters_per_group ||
	    item % res->per_cluster >= resource_cluster_total(res, (uint32_t)cluster))
		return PLACE_NOBODYS;
	if (type != RESOURCE_FDC)
		return PLACE_CONTENT;
	*ret_distance = (in_group - headers) % res->resource_size;
	return place_behind_lock(*ret_distance, shape->fd_body_off, PLACE_FD_LOCK,
				 PLACE_FD);
}

/* A sector that says how many blocks the volume has. */
static enum place place_of_header(struct vmfs_volume *vol, uint64_t vol_off,
				  uint64_t *ret_distance)
{
	const struct fd_ref ref = { .addr = addr_of(ADDR_FD, 0, VMFS_FD_FBB) };
	struct vmfs_lock_id id;

	if (fd_lock_id(vol, &ref, &id))
		return PLACE_NOBODYS;
	*ret_distance = vol_off - id.vol_off; /* behind it or before it */
	return PLACE_FD;
}

/* In the first block of .fbb.sf; VMFS-6 has two of them. */
static bool is_header(const struct vmfs_volume *vol, uint64_t in_block)
{
	return (vol->shape->version != 3 && in_block == 0) ||
	       (vol->shape->version == 6 && in_block == VMFS6_SFB_HEADER_OFF);
}

static enum place place_of(struct vmfs_volume *vol, uint64_t vol_off, uint32_t *ret_type,
			   uint64_t *ret_distance)
{
	uint64_t in_block = vol_off % vol->block_size;

	*ret_type = VMFS_LOCK_FD;
	*ret_distance = 0;
	for (int i = 0; i < RESOURCE_COUNT; i++) {
		const struct vmfs_resource *res = &vol->resources[i];

		for (uint32_t k = 0; res->is_present && k < res->block_count; k++) {
			if (res->block_vol_off[k] != vol_off - in_block)
				continue;
			if (i == RESOURCE_FBB && k == 0 && is_header(vol, in_block))
				return place_of_header(vol, vol_off, ret_distance);
			enum place place = place_in_file(
				vol, (enum vmfs_resource_type)i,
				(uint64_t)k * vol->block_size + in_block, ret_distance);
			if (place == PLACE_CLUSTER_LOCK || place == PLACE_CLUSTER_META)
				*ret_type = res->lock_type;
			if (place == PLACE_LARGE_LOCK || place == PLACE_LARGE_META)
				*ret_type = VMFS_LOCK_LFB;
			return place;
		}
	}
	/* .fdc.sf begins with a block of its own, and what is before it is nobody's. */
	return vol_off < max_u64(vol->shape->fdc_off, vol->block_size) ? PLACE_NOBODYS
								       : PLACE_CONTENT;
}

static bool is_covered(struct vmfs_volume *vol, uint64_t lock_off, enum place lock,
		       uint64_t vol_off)
{
	uint64_t distance;
	uint32_t type;

	switch (place_of(vol, vol_off, &type, &distance)) {
	case PLACE_CLUSTER_META:
		return lock == PLACE_CLUSTER_LOCK && vol_off - distance == lock_off;
	case PLACE_LARGE_META:
		return lock == PLACE_LARGE_LOCK && vol_off - distance == lock_off;
	case PLACE_FD:
		return lock == PLACE_FD_LOCK && vol_off - distance == lock_off;
	case PLACE_CONTENT:
		return lock == PLACE_FD_LOCK;
	default:
		return false;
	}
}

int vmfs_cover_check(struct vmfs_volume *vol, uint64_t lock_off, uint64_t vol_off,
		     uint64_t len, uint32_t *ret_lock_type)
{
	uint64_t distance, end;

	if (lock_off % VMFS_SECTOR_SIZE || vol_off % VMFS_SECTOR_SIZE ||
	    !checked_add(vol_off, len, &end) || end > vol->lvm.size_bytes)
		return -EUCLEAN;
	enum place lock = place_of(vol, lock_off, ret_lock_type, &distance);
	if (lock != PLACE_CLUSTER_LOCK && lock != PLACE_LARGE_LOCK &&
	    lock != PLACE_FD_LOCK)
		return -EUCLEAN;
	for (uint64_t off = vol_off; off < end; off += VMFS_SECTOR_SIZE) {
		if (!is_covered(vol, lock_off, lock, off))
			return -EUCLEAN;
	}
	return 0;
}
