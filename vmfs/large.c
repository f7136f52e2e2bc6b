/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large blocks of VMFS-6, whole and divided.
 *
 *	whole	 in a file (000) or free (001, inferred). None of its small blocks is
 *	  |	 anybody's; the header of their cluster means nothing
 *	  |	 large_divide(), in the transaction that changes part of it
 *	  v
 *	divided	 (100) a cluster of small blocks like all others, for good
 *
 * What one transaction changes for it: state, word and owners of the large block in its
 * cluster; lock, if there was none, and page of the cluster of small blocks; the count in
 * their header in .fbb.sf; and, by the caller, the addresses and counts of the file. So a
 * crash leaves either.
 *
 * Invariants:
 * 1. A large block is never made here, and none that is free is given out: the only
 *    state that is written is the one that has been seen on real volumes.
 * 2. There is one way, so what another host found divided can be believed without a
 *    lock, and what it believes to be whole is looked at again before it is an error.
 * 3. Its file's lock is the only one under which a large block in use is divided: two
 *    hosts never divide the same one.
 */
#include "vmfs/large.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "vmfs/cluster.h"
#include "vmfs/fd.h"
#include "vmfs/gate.h"
#include "vmfs/lock.h"
#include "vmfs/member.h"
#include "vmfs/txn.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

uint32_t large_count(uint64_t small_count)
{
	return (uint32_t)div_up(small_count, VMFS6_SFB_PER_LFB);
}

uint64_t large_file_length(uint32_t count)
{
	uint32_t rest = count % VMFS6_LFB_PER_GROUP;
	uint64_t length = VMFS_RESOURCE_GROUP_OFF +
			  (uint64_t)(count / VMFS6_LFB_PER_GROUP) * VMFS6_LFB_GROUP_SIZE;

	if (rest)
		length += VMFS6_LFB_HEADERS_SIZE +
			  (uint64_t)rest * VMFS6_CLUSTER_HEADER_SIZE;
	return length;
}

uint64_t large_header_off(uint32_t cluster)
{
	return VMFS_RESOURCE_GROUP_OFF +
	       (uint64_t)(cluster / VMFS6_LFB_CLUSTERS_PER_GROUP) * VMFS6_LFB_GROUP_SIZE +
	       (uint64_t)(cluster % VMFS6_LFB_CLUSTERS_PER_GROUP) *
		       VMFS6_CLUSTER_HEADER_SIZE;
}

int large_lock_id(struct vmfs_volume *vol, uint32_t cluster, struct vmfs_lock_id *ret_id)
{
	*ret_id = (struct vmfs_lock_id){ .type = VMFS_LOCK_LFB };
	return resource_file_off(vol, RESOURCE_FBB, large_header_off(cluster),
				 VMFS6_CLUSTER_HEADER_SIZE, &ret_id->vol_off);
}

static int check_page(struct vmfs_volume *vol, const struct vmfs6_cluster_disk *page,
		      uint32_t cluster)
{
	uint32_t total = large_count(vol->resources[RESOURCE_FBB].count) -
			 cluster * VMFS6_LFB_PER_CLUSTER;
	struct verify why;
	/* The volume may have grown since we looked. */
	total = (uint32_t)min_u64(max_u64(total, le16_get(page->total)),
				  VMFS6_LFB_PER_CLUSTER);
	if (verify_cluster6(page, cluster, total, &why) == 0)
		return 0;
	return vmfs_corrupt(vol, ".fbb.sf: cluster %u of large blocks: %s", cluster,
			    why.text);
}

static bool is_divided(const struct vmfs6_cluster_disk *page, uint32_t number)
{
	return cluster_large_state(page, number % VMFS6_LFB_PER_CLUSTER) &
	       VMFS6_LFB_DIVIDED;
}

int large_is_divided(struct vmfs_volume *vol, uint32_t number, struct large_look *look,
		     bool *ret_is_divided)
{
	uint32_t cluster = number / VMFS6_LFB_PER_CLUSTER;
	struct vmfs_lock_id id;
	int rc = 0;

	if (!look->is_read || look->cluster != cluster) {
		rc = large_lock_id(vol, cluster, &id);
		if (rc == 0)
			rc = vmfs_gate_read(vol, id.vol_off + VMFS6_PAGE, &look->page,
					    sizeof(look->page));
		look->is_read = rc == 0;
		look->cluster = cluster;
	}
	if (rc == 0)
		*ret_is_divided = is_divided(&look->page, number);
	return rc;
}

int large_find_whole(struct vmfs_volume *vol, const struct vmfs_resource *res,
		     const struct vmfs6_resource_header_disk *header, bool **ret_is_whole)
{
	const uint32_t count = large_count(res->count);
	*ret_is_whole = NULL;
	if (le32_get(header->converted) == count)
		return 0; /* most volumes have none, and say so */
	struct large_look *look = calloc(1, sizeof(*look));
	bool *is_whole = calloc(res->cluster_room, sizeof(*is_whole));
	int rc = look && is_whole ? 0 : -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		rc = large_is_divided(vol, i, look, &is_whole[i]);
		is_whole[i] = !is_whole[i];
	}
	free(look);
	if (rc < 0)
		free(is_whole);
	else
		*ret_is_whole = is_whole;
	return rc;
}

/* ---- within a transaction ---- */

int large_is_divided_in(struct vmfs_txn *t, uint32_t number, bool *ret_is_divided)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	uint32_t cluster = number / VMFS6_LFB_PER_CLUSTER;
	struct vmfs_lock_id id;
	const void *page;
	int rc = large_lock_id(vol, cluster, &id);
	if (rc == 0)
		rc = vmfs_txn_read(t, &id, id.vol_off + VMFS6_PAGE, VMFS6_PAGE, &page);
	if (rc == 0)
		rc = check_page(vol, page, cluster);
	if (rc == 0)
		*ret_is_divided = is_divided(page, number);
	return rc;
}

/* The large block itself: it must be some file's. */
static int mark_divided(struct vmfs_txn *t, uint32_t number)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	uint32_t cluster = number / VMFS6_LFB_PER_CLUSTER;
	uint32_t index = number % VMFS6_LFB_PER_CLUSTER;
	struct vmfs_lock_id id;
	void *page;
	int rc = large_lock_id(vol, cluster, &id);
	if (rc == 0)
		rc = vmfs_txn_edit(t, &id, id.vol_off + VMFS6_PAGE, VMFS6_PAGE, &page);
	if (rc == 0)
		rc = check_page(vol, page, cluster);
	if (rc < 0)
		return rc;
	uint32_t state = cluster_large_state(page, index);
	if (state & (VMFS6_LFB_FREE | VMFS6_LFB_DIVIDED))
		return vmfs_corrupt(vol, "large block %u is in use and marked %s", number,
				    state & VMFS6_LFB_FREE ? "free" : "divided");
	cluster_divide(page, index);
	cluster_stamp(page, &vol->member->hb.owner);
	return 0;
}

/* The cluster of its small blocks, which nobody looked at until now. */
static int make_cluster(struct vmfs_txn *t, uint32_t number, vmfs_addr owner,
			const uint8_t *used)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	const struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	uint32_t total = resource_cluster_total(res, number), count = 0;
	struct vmfs_lock_id id;
	void *page;
	int rc = resource_lock_id(vol, RESOURCE_FBB, number, &id);
	if (rc == 0)
		rc = vmfs_txn_lock(t, &id, TXN_LOCK_CREATE, 1);
	if (rc == 0)
		rc = vmfs_txn_create(t, &id, id.vol_off + VMFS6_PAGE, VMFS6_PAGE, &page);
	if (rc < 0)
		return rc;
	*(struct vmfs6_cluster_disk *)page = cluster_image_small(number, total, 0);
	struct cluster c = cluster_of(vol, RESOURCE_FBB, number, page);
	for (uint32_t i = 0; i < total; i++) {
		if (!bitmap_get(used, i))
			continue;
		cluster_take(&c, i, owner);
		count++;
	}
	if (count != bitmap_count(used, VMFS6_SFB_PER_LFB))
		return vmfs_corrupt(vol, "large block %u: only %u small ones of it exist",
				    number, total);
	cluster_seal(&c, &vol->member->hb.owner);
	return 0;
}

/* One more is divided, says the header of the small blocks. */
static int count_divided(struct vmfs_txn *t)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	const struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	const struct fd_ref ref = { .addr = addr_of(ADDR_FD, 0, VMFS_FD_FBB) };
	struct vmfs_lock_id id;
	void *data;
	int rc = fd_lock_id(vol, &ref, &id);
	if (rc == 0)
		rc = vmfs_txn_edit(t, &id, res->block_vol_off[0] + VMFS6_SFB_HEADER_OFF,
				   VMFS_SECTOR_SIZE, &data);
	if (rc < 0)
		return rc;
	struct vmfs6_resource_header_disk *headerd = data;
	headerd->converted = le32_of(le32_get(headerd->converted) + 1);
	return 0;
}

int large_divide(struct vmfs_txn *t, uint32_t number, vmfs_addr owner,
		 const uint8_t used[VMFS6_SFB_PER_LFB / 8])
{
	int rc = mark_divided(t, number);
	if (rc == 0)
		rc = make_cluster(t, number, owner, used);
	return rc < 0 ? rc : count_divided(t);
}
