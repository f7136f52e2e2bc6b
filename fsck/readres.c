/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A resource file: groups of clusters, each with its header and then its resources
 * (FORMAT.md 6.3, 20.4). Geometry was verified when the file was opened (read.c), so that
 * no product here overflows.
 */
#include "fsck/readres.h"

#include <errno.h>
#include <stddef.h>

#include "base/align.h"
#include "fsck/readlvm.h"

#define CLUSTER_STATES_SIZE_6 0x20u /* at least so much of a meta page are states */

uint32_t fsck_resource_size(const struct fsck_volume *v, const struct fsck_resource *res)
{
	switch (res->addr_type) {
	case ADDR_FB:
		return 0;
	case ADDR_LFB: /* the header of its small blocks */
		return VMFS6_CLUSTER_HEADER_SIZE;
	case ADDR_SB:
		return v->sub_block_size;
	case ADDR_FD:
		return v->shape->fd_size;
	case ADDR_JB:
		return VMFS6_JOURNAL_SIZE;
	default:
		return v->shape->pb_size;
	}
}

uint64_t fsck_resource_end(const struct fsck_resource *res)
{
	uint32_t last = res->cluster_count - 1;
	uint64_t header = fsck_cluster_off(res, last) + res->header_size;
	return res->resource_size
		       ? max_u64(header, fsck_item_off(res, last,
						       fsck_cluster_total(res, last)))
		       : header;
}

int fsck_resource_vol_off(const struct fsck_volume *v, const struct fsck_resource *res,
			  uint64_t file_off, uint64_t *ret_vol_off)
{
	uint64_t i = file_off >> v->block_shift;
	if (i >= res->block_count || res->blocks[i] == 0)
		return -EUCLEAN;
	*ret_vol_off = ((uint64_t)res->blocks[i] << v->block_shift) +
		       (file_off & (v->block_size - 1));
	return 0;
}

int fsck_resource_read(const struct fsck_volume *v, const struct fsck_resource *res,
		       uint64_t file_off, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	while (len) {
		uint64_t vol_off;
		int err = fsck_resource_vol_off(v, res, file_off, &vol_off);
		uint64_t n =
			min_u64(len, v->block_size - (file_off & (v->block_size - 1)));
		if (!err)
			err = fsck_read(v, vol_off, to, n);
		if (err)
			return err;
		to += n;
		file_off += n;
		len -= n;
	}
	return 0;
}

uint64_t fsck_cluster_off(const struct fsck_resource *res, uint32_t cluster)
{
	uint64_t group = cluster / res->clusters_per_group;
	return VMFS_RESOURCE_GROUP_OFF + group * res->group_size + res->headers_off +
	       (uint64_t)(cluster % res->clusters_per_group) * res->header_size;
}

uint64_t fsck_item_off(const struct fsck_resource *res, uint32_t cluster, uint32_t index)
{
	uint64_t group = cluster / res->clusters_per_group;
	uint64_t in_group =
		(uint64_t)(cluster % res->clusters_per_group) * res->per_cluster + index;
	return VMFS_RESOURCE_GROUP_OFF + group * res->group_size +
	       (uint64_t)res->clusters_per_group * res->header_size +
	       in_group * res->resource_size;
}

uint32_t fsck_cluster_total(const struct fsck_resource *res, uint32_t cluster)
{
	return (uint32_t)min_u64(res->per_cluster,
				 res->count - (uint64_t)cluster * res->per_cluster);
}

void fsck_cluster_take(const struct fsck_resource *res, const void *meta,
		       struct fsck_cluster *ret_cluster)
{
	if (res->meta_size == VMFS6_PAGE) {
		const struct vmfs6_cluster_disk *c = meta;
		*ret_cluster = (struct fsck_cluster){
			.number = le64_get(c->number),
			.total = le16_get(c->total),
			.free = le16_get(c->free),
			.hint = le32_get(c->hint),
			.fd_generation = le32_get(c->fd_generation),
			.states = c->states,
			.states_size = (uint32_t)max_u64(
				CLUSTER_STATES_SIZE_6,
				div_up(res->per_cluster * res->state_bits, 8)),
		};
		return;
	}
	const struct vmfs_cluster_disk *c = meta;
	*ret_cluster = (struct fsck_cluster){
		.number = le32_get(c->number),
		.total = le32_get(c->total),
		.free = le32_get(c->free),
		.hint = le32_get(c->hint),
		.fd_generation = le32_get(c->fd_generation),
		.states = c->bitmap,
		.states_size = sizeof(c->bitmap),
	};
}

int fsck_cluster_read(const struct fsck_volume *v, enum fsck_resource_index i, uint32_t c,
		      struct fsck_cluster_page *ret_page)
{
	const struct fsck_resource *res = &v->resources[i];
	int err = fsck_resource_read(v, res, fsck_cluster_off(res, c) + res->meta_off,
				     ret_page->meta, res->meta_size);
	if (!err)
		fsck_cluster_take(res, ret_page->meta, &ret_page->found);
	return err;
}

void fsck_cluster_give(const struct fsck_resource *res,
		       const struct fsck_cluster *cluster, void *meta)
{
	if (res->meta_size == VMFS6_PAGE) {
		struct vmfs6_cluster_disk *c = meta;
		c->number = le64_of(cluster->number);
		c->total = le16_of((uint16_t)cluster->total);
		c->free = le16_of((uint16_t)cluster->free);
		c->hint = le32_of(cluster->hint);
		c->fd_generation = le32_of(cluster->fd_generation);
		return;
	}
	struct vmfs_cluster_disk *c = meta;
	c->number = le32_of((uint32_t)cluster->number);
	c->total = le32_of(cluster->total);
	c->free = le32_of(cluster->free);
	c->hint = le32_of(cluster->hint);
	c->fd_generation = le32_of(cluster->fd_generation);
}

int fsck_is_divided(const struct fsck_volume *v, const struct fsck_resource *res,
		    uint32_t cluster, bool *ret_is)
{
	const struct fsck_resource *lfb = &v->resources[FSCK_LFB];
	uint8_t states[VMFS_SECTOR_SIZE]; /* of 256 large blocks at most */
	*ret_is = true;
	if (res != &v->resources[FSCK_FBB] || !lfb->is_usable || cluster >= lfb->count)
		return 0;
	uint64_t off = fsck_cluster_off(lfb, cluster / lfb->per_cluster) + lfb->meta_off +
		       offsetof(struct vmfs6_cluster_disk, states);
	int err = fsck_resource_read(v, lfb, off, states, sizeof(states));
	if (!err)
		*ret_is = fsck_state(lfb, states, cluster % lfb->per_cluster) &
			  FSCK_STATE_CONVERTED;
	return err;
}
