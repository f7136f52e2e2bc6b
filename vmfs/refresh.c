/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeing that the volume has grown.
 *
 *   LVM: the volume descriptor of the first extent   (lvm_refresh)
 *     v
 *   .fbb.sf: its header; if that counts more blocks than we know, its FD
 *     v
 *   installed: block list, then clusters, then the count
 *
 * Nothing is locked: whoever grows the volume writes the sectors in the order in which
 * they may be believed (grow.c), and what is read here fits together or is left for the
 * next time. All of it only grows: blocks are appended to .fbb.sf, clusters behind the
 * others, so that what was known stays true.
 *
 * When it is looked at: where something is found that cannot be (an address behind the
 * end, a cluster of another size), before it is called corrupt; when no block is left;
 * before a dead host's log is replayed; and once in a minute by a host that has locks.
 *
 * Invariants:
 *  1 the logical volume is never smaller than what .fbb.sf counts of it, or it is known
 *    that the rest is not attached here: then those blocks are given to nobody by us;
 *  2 what changes here is read under txn_lock, or atomically, or is as good as before if
 *    it is read before the change.
 */
#include "vmfs/refresh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vmfs/fd.h"
#include "vmfs/fence.h"
#include "vmfs/gate.h"
#include "vmfs/member.h"
#include "vmfs/unflushed.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

int volume_join_extent(struct vmfs_volume *vol, struct bdev *bd)
{
	if (!vol->member)
		return 0;
	struct guard_lease *guard = vol->member->hb.lease.guard;
	if (bd->caw != vol->lvm.extents[0].bd->caw)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "%s: cannot be written conditionally as %s can",
				    bd->name, vol->lvm.extents[0].bd->name);
	int err = unflushed_add(vol, bd);
	if (err)
		return report_error(vol->reporter, err,
				    "%s: has a volatile cache, %s has none", bd->name,
				    vol->lvm.extents[0].bd->name);
	err = guard ? bdev_guard(bd, guard) : 0;
	if (err)
		return report_error(vol->reporter, err, "%s: cannot come under guard: %s",
				    bd->name, strerror(-err));
	err = fence_extend(vol, bd);
	if (err && guard)
		(void)!bdev_guard(bd, NULL); /* it can be left at any time */
	return err;
}

static int open_extent(void *arg, unsigned int extent, const char *name,
		       struct bdev **ret_bd)
{
	struct vmfs_volume *vol = arg;

	return vol->extent_open ? vol->extent_open(vol->extent_open_arg, extent, name,
						   ret_bd)
				: -ENODEV;
}

static int join_extent(void *arg, unsigned int extent, struct bdev *bd)
{
	(void)extent;
	return volume_join_extent(arg, bd);
}

/* .fbb.sf as it stands in place. */
struct now {
	struct fd_body_disk *fdd; /* fd_body_size */
	void *pointers;		  /* pb_size: of its first slot */
	const void *entries;	  /* addresses of its blocks: in the one or the other */
};

/* More blocks than slots. 1, 0: not yet. */
static int read_pointers(struct vmfs_volume *vol, struct now *now)
{
	vmfs_addr pb = fd_slot(vol, now->fdd, 0);
	uint64_t off;

	if (!resource_has(vol, pb))
		return 0;
	int err = resource_addr_off(vol, pb, &off);
	if (!err)
		err = vmfs_gate_read(vol, off, now->pointers, vol->shape->pb_size);
	now->entries = now->pointers;
	return err ? err : 1;
}

/* The FD. 1: it has what so many blocks need; 0: not yet. */
static int read_fd(struct vmfs_volume *vol, uint64_t count, struct now *now)
{
	const struct fd_ref ref = { .addr = addr_of(ADDR_FD, 0, VMFS_FD_FBB) };
	struct vmfs_lock_id id;
	struct verify why;
	int err = fd_lock_id(vol, &ref, &id);

	if (!err)
		err = vmfs_gate_read(vol, id.vol_off + vol->shape->fd_body_off, now->fdd,
				     vol->shape->fd_body_size);
	if (err)
		return err;
	if (verify_fd(now->fdd, ref.addr, vol->shape, vol->block_size,
		      vol->sub_block_size, &why) < 0)
		return 0;
	uint64_t length = le64_get(now->fdd->meta.length);
	if (length < resource_blocks_length(vol, count))
		return 0;
	now->entries = shape_slots(vol->shape, now->fdd);
	if (resource_has_pointers(&now->fdd->meta))
		return read_pointers(vol, now);
	return le32_get(now->fdd->meta.zla) == VMFS_ZLA_FB;
}

/* All blocks behind those that we know, into their free places in the list. */
static int add_blocks(struct vmfs_volume *vol, const struct now *now, uint64_t count)
{
	struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	uint64_t length = le64_get(now->fdd->meta.length);
	uint64_t blocks = div_up(length, vol->block_size);

	if (blocks > res->block_room)
		return 0;
	for (uint32_t i = 0; i < blocks; i++) {
		vmfs_addr a = shape_entry(vol->shape, now->entries, i);

		if (addr_type(a) != ADDR_FB || addr_is_tbz(a) ||
		    addr_fb_number(a) >= count)
			return 0;
		uint64_t vol_off = (uint64_t)addr_fb_number(a) * vol->block_size;
		if (i >= res->block_count)
			res->block_vol_off[i] = vol_off;
		/* Those that we know stay: else it is not all written yet. */
		else if (res->block_vol_off[i] != vol_off)
			return 0;
	}
	res->file_length = length;
	res->block_count = (uint32_t)blocks;
	return 1;
}

/* The header of the file blocks; *ret_count 0: it cannot be believed now. */
static int read_count(struct vmfs_volume *vol, uint64_t *ret_count)
{
	const struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	bool is_6 = vol->shape->version == 6;
	struct vmfs6_resource_header_disk header6d;
	struct vmfs_resource_header_disk headerd;
	struct verify why;
	int rc = vmfs_gate_read(vol,
				res->block_vol_off[0] + (is_6 ? VMFS6_SFB_HEADER_OFF : 0),
				&header6d, sizeof(header6d));

	*ret_count = 0;
	if (rc < 0)
		return rc;
	(void)memcpy(&headerd, &header6d, sizeof(headerd));
	rc = is_6 ? verify_resource_header6(&header6d, RESOURCE_FBB, &why)
		  : verify_resource_header(&headerd, RESOURCE_FBB, &vol->descriptor,
					   &why);
	if (rc < 0)
		return 0; /* whoever reads it in earnest reports it */
	*ret_count = le32_get(headerd.geometry.count_low) |
		     (uint64_t)le32_get(headerd.geometry.count_high) << 32;
	return 0;
}

static int refresh_blocks(struct vmfs_volume *vol)
{
	struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	struct now now = { 0 };
	uint64_t count;
	int rc = read_count(vol, &count);

	if (rc < 0 || count <= res->count ||
	    count > vol->lvm.whole_bytes / vol->block_size ||
	    div_up(count, res->per_cluster) > res->cluster_room)
		return rc;
	now.fdd = io_alloc(vol->shape->fd_body_size);
	now.pointers = io_alloc(vol->shape->pb_size);
	rc = now.fdd && now.pointers ? read_fd(vol, count, &now) : -ENOMEM;
	if (rc > 0)
		rc = add_blocks(vol, &now, count);
	free(now.fdd);
	free(now.pointers);
	if (rc <= 0)
		return rc;
	uint64_t clusters = div_up(count, res->per_cluster);
	resource_lengthen(vol, count,
			  (uint32_t)div_up(clusters, res->clusters_per_group));
	return 1;
}

int volume_refresh_held(struct vmfs_volume *vol)
{
	const struct lvm_opener opener = { open_extent, join_extent, vol };

	if (vol->shape->version == 3 || !vol->resources[RESOURCE_FBB].is_present)
		return 0; /* or it is just being opened */
	int lvm = lvm_refresh(&vol->lvm, &opener);
	if (lvm < 0)
		return lvm;
	vol->resources[RESOURCE_FBB].reach = vol->lvm.size_bytes / vol->block_size;
	int blocks = refresh_blocks(vol);
	return blocks < 0 ? blocks : lvm | blocks;
}

int volume_refresh(struct vmfs_volume *vol)
{
	sleeplock_acquire(&vol->txn_lock);
	int rc = volume_refresh_held(vol);
	sleeplock_release(&vol->txn_lock);
	return rc;
}
