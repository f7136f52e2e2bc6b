/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resource files: where their items lie, and allocation from their bitmaps.
 *
 * Invariants:
 * 1. Geometry has been verified by resource_open(): every cluster below cluster_count and
 *    every item below count lies inside the file. So what is checked later is cluster and
 *    index of an address, and, of an item that crosses blocks (sub-blocks of VMFS-3
 *    behind 32 KiB of headers do, journals of VMFS-6), that these are neighbours.
 * 2. The bitmap decides; the free count in a header is written to agree with it and never
 *    trusted (LOCKING.md 11).
 * 3. seen_free[] is a hint about clusters that need not be read: a wrong one costs an I/O
 *    or is found out by the last round of the search, never gives or hides an item for
 *    good. Free space is counted from them: all read again when they are old, those that
 *    our own transactions touched each time.
 * 4. The last file blocks of the volume (`reserve`) are not given to files, and not
 *    counted as theirs.
 *
 * A search: the cluster of `near`, then from start_cluster around, clusters seen full and
 * those held by other hosts left out. If that finds nothing, all headers are read afresh
 * (one read per group) and the round is made again; if only held clusters have room, the
 * first of them is read in earnest, which makes the transaction wait for its lock.
 */
#include "vmfs/gate.h"
#include "vmfs/resource.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmfs/cluster.h"
#include "vmfs/large.h"
#include "vmfs/lock.h"
#include "vmfs/member.h"
#include "vmfs/refresh.h"
#include "vmfs/txn.h"
#include "vmfs/unmap.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

/* Clusters edited in one call; the rest of a large wish is for the next call. */
#define CLUSTERS_PER_CALL 96u
/* As many as hosts begin to look for slots in (heartbeat.h), less on a small volume. */
#define RESERVE_MAX 64u
#define RESERVE_SHARE 64u

static const struct {
	const char *name;
	uint32_t lock_type;
	enum vmfs_addr_type addr_type;
} kinds[RESOURCE_COUNT] = {
	[RESOURCE_FBB] = { ".fbb.sf", VMFS_LOCK_FBB, ADDR_FB },
	[RESOURCE_FDC] = { ".fdc.sf", VMFS_LOCK_FDC, ADDR_FD },
	[RESOURCE_PBC] = { ".pbc.sf", VMFS_LOCK_PBC, ADDR_PB },
	[RESOURCE_SBC] = { ".sbc.sf", VMFS_LOCK_SBC, ADDR_SB },
	[RESOURCE_PB2] = { ".pb2.sf", VMFS_LOCK_PB2, ADDR_PB2 },
	[RESOURCE_JBC] = { ".jbc.sf", VMFS_LOCK_JBC, ADDR_JB },
};

static const char *plural(enum vmfs_resource_type type)
{
	static const char *const names[RESOURCE_COUNT] = {
		[RESOURCE_FBB] = "file blocks",	   [RESOURCE_FDC] = "file descriptors",
		[RESOURCE_PBC] = "pointer blocks", [RESOURCE_SBC] = "sub-blocks",
		[RESOURCE_PB2] = "second-level pointer blocks",
		[RESOURCE_JBC] = "journal blocks",
	};
	return names[type];
}

const char *resource_name(enum vmfs_resource_type type)
{
	return kinds[type].name;
}

enum vmfs_resource_type resource_of_addr(vmfs_addr addr)
{
	for (unsigned int i = 0; i < RESOURCE_COUNT; i++) {
		if (kinds[i].addr_type == addr_type(addr))
			return (enum vmfs_resource_type)i;
	}
	return RESOURCE_COUNT;
}

/* ---- geometry ---- */

int resource_file_off(struct vmfs_volume *vol, enum vmfs_resource_type type, uint64_t off,
		      uint32_t len, uint64_t *ret_vol_off)
{
	const struct vmfs_resource *res = &vol->resources[type];
	uint64_t block = off / vol->block_size;
	uint64_t in_block = off % vol->block_size;
	uint64_t last = (off + len - 1) / vol->block_size;
	bool is_one = last < res->block_count;
	for (uint64_t b = block; is_one && b < last; b++)
		is_one = res->block_vol_off[b + 1] ==
			 res->block_vol_off[b] + vol->block_size;
	if (!is_one)
		return vmfs_corrupt(
			vol, "%s: file offset 0x%llx is outside its %u blocks",
			kinds[type].name, (unsigned long long)off, res->block_count);
	*ret_vol_off = res->block_vol_off[block] + in_block;
	return 0;
}

static uint64_t header_off(const struct vmfs_resource *res, uint32_t cluster)
{
	return res->group_off +
	       (uint64_t)(cluster / res->clusters_per_group) * res->group_size +
	       res->headers_off +
	       (uint64_t)(cluster % res->clusters_per_group) * res->header_size;
}

static uint64_t item_off(const struct vmfs_resource *res, uint32_t cluster,
			 uint32_t index)
{
	uint64_t in_group =
		(uint64_t)(cluster % res->clusters_per_group) * res->per_cluster + index;
	return res->group_off +
	       (uint64_t)(cluster / res->clusters_per_group) * res->group_size +
	       (uint64_t)res->clusters_per_group * res->header_size +
	       in_group * res->resource_size;
}

uint32_t resource_cluster_total(const struct vmfs_resource *res, uint32_t cluster)
{
	uint64_t before = (uint64_t)cluster * res->per_cluster;
	return (uint32_t)min_u64(res->per_cluster, res->count - before);
}

int resource_cluster_off(struct vmfs_volume *vol, enum vmfs_resource_type type,
			 uint32_t cluster, uint64_t *ret_vol_off)
{
	const struct vmfs_resource *res = &vol->resources[type];
	if (!res->is_present || cluster >= res->cluster_count)
		return vmfs_corrupt(vol, "%s: cluster %u of %u", kinds[type].name,
				    cluster, res->cluster_count);
	return resource_file_off(vol, type, header_off(res, cluster), res->header_size,
				 ret_vol_off);
}

static bool is_item(const struct vmfs_resource *res, uint32_t cluster, uint32_t index)
{
	return res->is_present && cluster < res->cluster_count &&
	       index < resource_cluster_total(res, cluster);
}

/* Cluster and index of an address of this kind. */
static void split(const struct vmfs_resource *res, vmfs_addr addr, uint32_t *ret_cluster,
		  uint32_t *ret_index)
{
	bool is_block = addr_type(addr) == ADDR_FB && res->is_present;
	*ret_cluster = is_block ? addr_fb_number(addr) / res->per_cluster
				: addr_cluster(addr);
	*ret_index = is_block ? addr_fb_number(addr) % res->per_cluster
			      : addr_index(addr);
}

bool resource_has(const struct vmfs_volume *vol, vmfs_addr addr)
{
	enum vmfs_resource_type type = resource_of_addr(addr);
	uint32_t cluster, index;
	if (type == RESOURCE_COUNT)
		return false;
	split(&vol->resources[type], addr, &cluster, &index);
	return is_item(&vol->resources[type], cluster, index);
}

/* The same, checked. */
static int place_of(struct vmfs_volume *vol, vmfs_addr addr,
		    enum vmfs_resource_type *ret_type, uint32_t *ret_cluster,
		    uint32_t *ret_index)
{
	enum vmfs_resource_type type = resource_of_addr(addr);
	if (type == RESOURCE_COUNT)
		return vmfs_corrupt(vol, "address 0x%08llx has no known type",
				    addr_disk(addr));
	split(&vol->resources[type], addr, ret_cluster, ret_index);
	if (!is_item(&vol->resources[type], *ret_cluster, *ret_index))
		return vmfs_corrupt(
			vol, "address 0x%08llx: item %u of cluster %u is not in %s",
			addr_disk(addr), *ret_index, *ret_cluster, kinds[type].name);
	*ret_type = type;
	return 0;
}

int resource_addr_off(struct vmfs_volume *vol, vmfs_addr addr, uint64_t *ret_vol_off)
{
	enum vmfs_resource_type type;
	uint32_t cluster, index;
	int rc = place_of(vol, addr, &type, &cluster, &index);
	if (rc < 0)
		return rc;
	if (type == RESOURCE_FBB) {
		*ret_vol_off = (uint64_t)addr_fb_number(addr) * vol->block_size;
		return 0;
	}
	const struct vmfs_resource *res = &vol->resources[type];
	return resource_file_off(vol, type, item_off(res, cluster, index),
				 res->resource_size, ret_vol_off);
}

int resource_lock_id(struct vmfs_volume *vol, enum vmfs_resource_type type,
		     uint32_t cluster, struct vmfs_lock_id *ret_id)
{
	uint64_t vol_off;
	int rc = resource_cluster_off(vol, type, cluster, &vol_off);
	if (rc == 0)
		*ret_id = (struct vmfs_lock_id){ .vol_off = vol_off,
						 .type = kinds[type].lock_type };
	return rc;
}

/* Invariant 1: last header and last item inside the file. */
static int check_fit(struct vmfs_volume *vol, enum vmfs_resource_type type)
{
	const struct vmfs_resource *res = &vol->resources[type];
	uint64_t last =
		header_off(res, res->cluster_count - 1) + res->header_size;
	uint32_t last_total = resource_cluster_total(res, res->cluster_count - 1);
	if (res->resource_size)
		last = max_u64(last, item_off(res, res->cluster_count - 1, last_total));
	if (last > res->file_length)
		return vmfs_corrupt(
			vol, "%s: %llu resources need %llu bytes, it has %llu",
			kinds[type].name, (unsigned long long)res->count,
			(unsigned long long)last, (unsigned long long)res->file_length);
	if (type == RESOURCE_FBB && res->count > vol->lvm.size_bytes / vol->block_size)
		return vmfs_corrupt(
			vol, "%s: %llu file blocks, but the volume has %llu",
			kinds[type].name, (unsigned long long)res->count,
			(unsigned long long)(vol->lvm.size_bytes / vol->block_size));
	return 0;
}

/* What the headers of all versions have. */
static void take_geometry(struct vmfs_volume *vol, enum vmfs_resource_type type,
			  const struct vmfs_resource_geometry_disk *geometryd)
{
	struct vmfs_resource *res = &vol->resources[type];
	res->lock_type = kinds[type].lock_type;
	res->group_off = le32_get(geometryd->group_off);
	res->per_cluster = le32_get(geometryd->per_cluster);
	res->clusters_per_group = le32_get(geometryd->clusters_per_group);
	res->header_size = vol->shape->cluster_header_size;
	res->resource_size = le32_get(geometryd->resource_size);
	res->group_size = le32_get(geometryd->group_size);
	res->count = le32_get(geometryd->count_low) |
		     (uint64_t)le32_get(geometryd->count_high) << 32;
	if (res->count)
		res->group_count = (uint32_t)div_up(
			res->count, (uint64_t)res->per_cluster * res->clusters_per_group);
}

/*
 * The clusters of small file blocks lie in those of the large ones, each behind the
 * headers of its group: FORMAT.md 20.4.
 */
static void take_parent_geometry(struct vmfs_resource *res,
				 const struct vmfs6_resource_header_disk *headerd)
{
	uint32_t parents = le32_get(headerd->parent_clusters_per_group);

	res->headers_off = parents * res->header_size;
	res->clusters_per_group = parents * le32_get(headerd->parent_per_cluster);
	res->group_size = le32_get(headerd->parent_group_size);
	res->group_count = (uint32_t)div_up(div_up(res->count, res->per_cluster),
					    res->clusters_per_group);
}

/* The header, verified, and the geometry that it gives. */
static int read_header(struct vmfs_volume *vol, enum vmfs_resource_type type,
		       const struct vmfs_resource_header_disk *header,
		       struct vmfs6_resource_header_disk *ret_header6)
{
	struct vmfs_resource *res = &vol->resources[type];
	bool is_6 = vol->shape->version == 6;
	bool is_child = is_6 && type == RESOURCE_FBB;
	struct vmfs_resource_header_disk headerd;
	struct vmfs6_resource_header_disk header6d;
	struct verify why;
	int rc = vmfs_gate_read(vol,
			  res->block_vol_off[0] + (is_child ? VMFS6_SFB_HEADER_OFF : 0),
			  &header6d, sizeof(header6d));
	if (rc < 0)
		return report_error(vol->reporter, rc, "%s: cannot read %s", vol->label,
				    kinds[type].name);
	if (header)
		(void)memcpy(&header6d, header, sizeof(header6d));
	(void)memcpy(&headerd, &header6d, sizeof(headerd));
	rc = is_6 ? verify_resource_header6(&header6d, type, &why)
		  : verify_resource_header(&headerd, type, &vol->descriptor, &why);
	if (rc == VERIFY_ODD)
		rc = vmfs_odd(vol, "%s: %s", kinds[type].name, why.text);
	else if (rc < 0)
		rc = vmfs_corrupt(vol, "%s: %s", kinds[type].name, why.text);
	if (rc < 0)
		return rc;
	take_geometry(vol, type, &headerd.geometry);
	if (is_child)
		take_parent_geometry(res, &header6d);
	*ret_header6 = header6d;
	return 0;
}

/* Of file blocks: how many at the end are kept back, and from where on none is ours. */
static void set_reserve(struct vmfs_volume *vol, enum vmfs_resource_type type)
{
	struct vmfs_resource *res = &vol->resources[type];

	if (type != RESOURCE_FBB)
		return;
	if (vol->shape->version != 6) /* whose journals have a pool of their own */
		res->reserve =
			max_u64(1, min_u64(res->count / RESERVE_SHARE, RESERVE_MAX));
	res->reach = vol->lvm.size_bytes / vol->block_size;
}

int resource_open(struct vmfs_volume *vol, enum vmfs_resource_type type,
		  const struct vmfs_resource_header_disk *header)
{
	struct vmfs_resource *res = &vol->resources[type];
	struct vmfs6_resource_header_disk header6;
	int rc = read_header(vol, type, header, &header6);
	if (rc < 0 || !res->count)
		return rc;
	res->cluster_count = (uint32_t)div_up(res->count, res->per_cluster);
	rc = check_fit(vol, type);
	if (rc < 0)
		return rc;
	/* Where it may grow to: untouched memory costs nothing. */
	uint64_t room = type == RESOURCE_FBB && vol->shape->version != 3
				? max_u64(VMFS_FB_MAX / res->per_cluster + 1,
					  res->cluster_count)
				: res->cluster_count;
	res->cluster_room = (uint32_t)room;
	res->reach = UINT64_MAX;
	res->seen_free = malloc(room * sizeof(res->seen_free[0]));
	res->seen_spare = calloc(room, sizeof(res->seen_spare[0]));
	res->is_touched = calloc(room, sizeof(res->is_touched[0]));
	if (!res->seen_free || !res->seen_spare || !res->is_touched)
		return -ENOMEM;
	for (uint32_t i = 0; i < res->cluster_count; i++)
		res->seen_free[i] = RESOURCE_UNSEEN;
	set_reserve(vol, type);
	res->is_present = true;
	return type == RESOURCE_FBB && vol->shape->version == 6
		       ? large_find_whole(vol, res, &header6, &res->is_whole)
		       : 0;
}

void resource_lengthen(struct vmfs_volume *vol, uint64_t count, uint32_t group_count)
{
	struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	uint32_t clusters = (uint32_t)div_up(count, res->per_cluster);

	/* The last one may have become longer. */
	for (uint32_t i = res->cluster_count - 1; i < clusters; i++)
		__atomic_store_n(&res->seen_free[i], RESOURCE_UNSEEN, __ATOMIC_RELAXED);
	__atomic_store_n(&res->group_count, group_count, __ATOMIC_RELEASE);
	__atomic_store_n(&res->count, count, __ATOMIC_RELEASE);
	__atomic_store_n(&res->cluster_count, clusters, __ATOMIC_RELEASE);
	set_reserve(vol, RESOURCE_FBB);
	__atomic_store_n(&vol->block_count, count, __ATOMIC_RELEASE);
	__atomic_store_n(&res->counted_at, 0, __ATOMIC_RELAXED);
}

uint64_t resource_blocks_length(const struct vmfs_volume *vol, uint64_t count)
{
	const struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];

	if (vol->shape->version == 6)
		return large_file_length(large_count(count));
	uint64_t clusters = div_up(count, res->per_cluster);
	return res->group_off +
	       div_up(clusters, res->clusters_per_group) * res->group_size;
}

void resource_done(struct vmfs_resource *res)
{
	free(res->block_vol_off);
	free(res->seen_free);
	free(res->seen_spare);
	free(res->is_touched);
	free(res->is_whole);
	*res = (struct vmfs_resource){ 0 };
}

/* ---- hints and counts ---- */

static uint16_t hint_get(const struct vmfs_resource *res, uint32_t cluster)
{
	return __atomic_load_n(&res->seen_free[cluster], __ATOMIC_RELAXED);
}

static void hint_set(struct vmfs_resource *res, uint32_t cluster,
		     const struct resource_free_count *n)
{
	__atomic_store_n(&res->seen_free[cluster], (uint16_t)n->for_files,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&res->seen_spare[cluster], (uint16_t)(n->all - n->for_files),
			 __ATOMIC_RELAXED);
}

/* How many of a cluster's items, from the first on, files may have. */
static uint32_t items_for_files(const struct vmfs_resource *res, uint32_t cluster)
{
	uint64_t first = (uint64_t)cluster * res->per_cluster;
	uint64_t end = min_u64(res->count - res->reserve, res->reach);
	return end > first ? (uint32_t)min_u64(resource_cluster_total(res, cluster),
					       end - first)
			   : 0;
}

static struct resource_free_count count_of(const struct vmfs_resource *res,
					   const struct cluster *c)
{
	return (struct resource_free_count){
		.all = cluster_count_free(c, c->total),
		.for_files = cluster_count_free(c, items_for_files(res, c->number)),
	};
}

/* What a transaction that is being built makes of a cluster. */
static struct resource_free_count hint_touch(struct vmfs_resource *res,
					     const struct cluster *c)
{
	struct resource_free_count n = count_of(res, c);
	hint_set(res, c->number, &n);
	resource_recount(res, c->number);
	return n;
}

/* A large block that was not divided into small ones when we looked last. */
static bool is_whole(const struct vmfs_resource *res, uint32_t cluster)
{
	return res->is_whole &&
	       __atomic_load_n(&res->is_whole[cluster], __ATOMIC_RELAXED);
}

/* Free items of a cluster by its bitmap, verified: *ret_free, or why not. */
static int count_free(const struct vmfs_volume *vol, enum vmfs_resource_type type,
		      uint32_t cluster, uint8_t *meta,
		      struct resource_free_count *ret_free, struct verify *ret_why)
{
	*ret_free = (struct resource_free_count){ 0 };
	struct cluster c = cluster_of(vol, type, cluster, meta);
	cluster_accept_length(&c, vol, type);
	int rc = cluster_verify(&c, ret_why);
	if (rc == 0)
		*ret_free = count_of(&vol->resources[type], &c);
	return rc;
}

/* The headers of `count` clusters from `first` on, all of one group, into buf. */
static int read_headers(struct vmfs_volume *vol, enum vmfs_resource_type type,
			uint32_t first, uint32_t count, uint8_t *buf)
{
	const struct vmfs_resource *res = &vol->resources[type];
	const uint64_t size = res->header_size;
	for (uint32_t i = 0; i < count;) {
		uint64_t off = header_off(res, first + i);
		uint64_t in_block = vol->block_size - off % vol->block_size;
		uint32_t n = (uint32_t)min_u64(count - i, in_block / size);
		uint64_t vol_off;
		int rc = n ? resource_file_off(vol, type, off, (uint32_t)(n * size),
					       &vol_off)
			   : -EUCLEAN;
		if (rc == 0)
			rc = vmfs_gate_read(vol, vol_off, buf + i * size, n * size);
		if (rc < 0)
			return rc;
		i += n;
	}
	return 0;
}

/*
 * The same of a large block, which has some once it is divided. Who divides it just now
 * may have written the one page and not yet the other: it is whole until both are there.
 */
static int look_at_large(struct vmfs_volume *vol, uint32_t number, uint8_t *meta,
			 struct large_look *look)
{
	struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	struct resource_free_count n = { 0 };
	struct verify why;
	bool is_divided;
	int rc = large_is_divided(vol, number, look, &is_divided);
	if (rc == 0 && is_divided &&
	    count_free(vol, RESOURCE_FBB, number, meta, &n, &why) == 0)
		__atomic_store_n(&res->is_whole[number], false, __ATOMIC_RELAXED);
	hint_set(res, number, &n);
	return rc;
}

/* Reads the headers of one group as they are, into hints. */
static int look_at_group(struct vmfs_volume *vol, enum vmfs_resource_type type,
			 uint32_t group)
{
	struct vmfs_resource *res = &vol->resources[type];
	uint32_t first = group * res->clusters_per_group;
	uint32_t count = res->cluster_count - first;
	if (count > res->clusters_per_group)
		count = res->clusters_per_group;
	AUTO_FREE uint8_t *headers = io_alloc(count * (size_t)res->header_size);
	struct large_look look = { 0 };
	if (!headers)
		return -ENOMEM;
	int rc = read_headers(vol, type, first, count, headers);
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		uint8_t *meta = headers + i * (size_t)res->header_size +
				vol->shape->cluster_meta_off;
		struct resource_free_count n;
		struct verify why;
		if (is_whole(res, first + i)) {
			rc = look_at_large(vol, first + i, meta, &look);
			continue;
		}
		if (count_free(vol, type, first + i, meta, &n, &why) < 0)
			rc = vmfs_odd(vol, "%s: cluster %u: %s", kinds[type].name,
				      first + i, why.text);
		hint_set(res, first + i, &n);
	}
	return rc;
}

static int look_at_all(struct vmfs_volume *vol, enum vmfs_resource_type type)
{
	int rc = 0;
	for (uint32_t g = 0; rc == 0 && g < vol->resources[type].group_count; g++)
		rc = look_at_group(vol, type, g);
	return rc;
}

static bool is_group_touched(struct vmfs_resource *res, uint32_t group)
{
	uint64_t first = (uint64_t)group * res->clusters_per_group;
	uint64_t end = min_u64(first + res->clusters_per_group, res->cluster_count);
	bool is_any = false;
	for (uint64_t i = first; i < end; i++)
		is_any |= __atomic_exchange_n(&res->is_touched[i], false,
					      __ATOMIC_RELAXED);
	return is_any;
}

/* Groups that our transactions touched. With txn_lock: none is half written. */
static int look_at_touched(struct vmfs_volume *vol, enum vmfs_resource_type type)
{
	struct vmfs_resource *res = &vol->resources[type];
	int rc = 0;
	for (uint32_t group = 0; rc == 0 && group < res->group_count; group++) {
		if (is_group_touched(res, group))
			rc = look_at_group(vol, type, group);
	}
	return rc;
}

int resource_count_free(struct vmfs_volume *vol, enum vmfs_resource_type type,
			uint64_t max_age_ns, struct resource_free_count *ret_free)
{
	struct vmfs_resource *res = &vol->resources[type];
	uint64_t counted_at = __atomic_load_n(&res->counted_at, __ATOMIC_RELAXED);
	uint64_t now = clock_now();
	*ret_free = (struct resource_free_count){ 0 };
	if (!res->is_present)
		return 0;
	int rc = 0;
	if (counted_at == 0 || max_age_ns == 0 || now - counted_at > max_age_ns) {
		rc = look_at_all(vol, type);
		if (rc < 0)
			return rc;
		__atomic_store_n(&res->counted_at, now, __ATOMIC_RELAXED);
	}
	if (vol->member) {
		sleeplock_acquire(&vol->txn_lock);
		rc = look_at_touched(vol, type);
		sleeplock_release(&vol->txn_lock);
	}
	for (uint32_t i = 0; i < res->cluster_count; i++) {
		ret_free->for_files += hint_get(res, i);
		ret_free->all += __atomic_load_n(&res->seen_spare[i], __ATOMIC_RELAXED);
	}
	ret_free->all += ret_free->for_files;
	return rc;
}

void resource_recount(struct vmfs_resource *res, uint32_t cluster)
{
	__atomic_store_n(&res->is_touched[cluster], true, __ATOMIC_RELAXED);
}

/* ---- allocation ---- */

struct search {
	struct vmfs_txn *t;
	struct vmfs_volume *vol;
	enum vmfs_resource_type type;
	struct vmfs_resource *res;
	vmfs_addr owner;
	uint32_t want, got;
	vmfs_addr *addrs;
	uint32_t clusters_used;
	bool has_busy;		/* some cluster with room is held by another */
	uint32_t first_busy;
};

static vmfs_addr addr_at(const struct search *s, uint32_t cluster, uint32_t index)
{
	if (s->type == RESOURCE_FBB)
		return shape_block(s->vol->shape, cluster * s->res->per_cluster + index);
	return shape_item(s->vol->shape, kinds[s->type].addr_type, cluster, index);
}

/* Not a large block any more, for this transaction. */
static int is_there_in(struct vmfs_txn *t, enum vmfs_resource_type type, uint32_t cluster,
		       bool *ret_is_there)
{
	*ret_is_there = true;
	if (!is_whole(&vmfs_txn_volume(t)->resources[type], cluster))
		return 0;
	return large_is_divided_in(t, cluster, ret_is_there);
}

/*
 * To be changed; *ret_before (may be NULL): as it was before this transaction, if it was.
 */
static int edit_cluster(struct vmfs_txn *t, enum vmfs_resource_type type, uint32_t number,
			struct cluster *ret, struct cluster *ret_before)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	const struct vmfs_shape *shape = vol->shape;
	struct vmfs_lock_id id;
	struct verify why;
	void *data;
	bool is_there = true;
	int rc = resource_lock_id(vol, type, number, &id);
	if (rc == 0)
		rc = is_there_in(t, type, number, &is_there);
	if (rc == 0 && !is_there)
		rc = vmfs_corrupt(vol, "%s: cluster %u is a large block",
				  kinds[type].name, number);
	if (rc == 0)
		rc = vmfs_txn_edit(t, &id, id.vol_off + shape->cluster_meta_off,
				   shape->cluster_meta_size, &data);
	if (rc < 0)
		return rc;
	*ret = cluster_of(vol, type, number, data);
	void *before = ret_before ? vmfs_txn_before(t, data) : NULL;
	if (before)
		*ret_before = cluster_of(vol, type, number, before);
	rc = cluster_verify(ret, &why);
	if (rc < 0)
		return vmfs_corrupt(vol, "%s: cluster %u: %s", kinds[type].name, number,
				    why.text);
	return 0;
}

static void seal(struct vmfs_volume *vol, const struct cluster *c)
{
	cluster_seal(c, &vol->member->hb.owner);
}

/* Takes what is wanted from one cluster, from index `from` around. */
static int take_from(struct search *s, uint32_t number, uint32_t from)
{
	struct cluster c, before = { .page = NULL };
	uint32_t end = items_for_files(s->res, number);
	uint32_t got = s->got;
	int rc = edit_cluster(s->t, s->type, number, &c, &before);
	if (rc < 0)
		return rc;
	/* One that this transaction itself made of a large block is for the next. */
	if (hint_touch(s->res, &c).for_files == 0 || !before.page)
		return 0;
	if (from == UINT32_MAX)
		from = cluster_hint(&c);
	uint32_t at = from < end ? from : 0;
	for (uint32_t left = end; left && s->got < s->want; left--, at++) {
		at = at < end ? at : 0;
		if (!cluster_is_free(&c, at) || !cluster_is_free(&before, at))
			continue;
		cluster_take(&c, at, s->owner);
		s->addrs[s->got++] = addr_at(s, number, at);
	}
	if (s->got == got)
		return 0;
	uint64_t free_count = hint_touch(s->res, &c).all;
	cluster_set_hint(&c, free_count && at < c.total ? at : 0);
	seal(s->vol, &c);
	__atomic_store_n(&s->res->start_cluster, number, __ATOMIC_RELAXED);
	s->clusters_used++;
	return 0;
}

static int try_cluster(struct search *s, uint32_t cluster, uint32_t from)
{
	struct vmfs_lock_id id;
	if (hint_get(s->res, cluster) == RESOURCE_UNSEEN) {
		int rc = look_at_group(s->vol, s->type,
				       cluster / s->res->clusters_per_group);
		if (rc < 0)
			return rc;
	}
	if (hint_get(s->res, cluster) == 0)
		return 0;
	bool is_there;
	int rc = is_there_in(s->t, s->type, cluster, &is_there);
	if (rc < 0 || !is_there)
		return rc;
	rc = resource_lock_id(s->vol, s->type, cluster, &id);
	if (rc == 0)
		rc = vmfs_txn_is_busy(s->t, &id);
	if (rc == 1 && !s->has_busy) {
		s->has_busy = true;
		s->first_busy = cluster;
	}
	return rc == 0 ? take_from(s, cluster, from) : rc == 1 ? 0 : rc;
}

static bool is_satisfied(const struct search *s)
{
	return s->got == s->want || (s->got && s->clusters_used >= CLUSTERS_PER_CALL);
}

static int search_round(struct search *s)
{
	uint32_t start = __atomic_load_n(&s->res->start_cluster, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < s->res->cluster_count && !is_satisfied(s); i++) {
		uint32_t cluster =
			(uint32_t)(((uint64_t)start + i) % s->res->cluster_count);
		int rc = try_cluster(s, cluster, UINT32_MAX);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int search_near(struct search *s, vmfs_addr near)
{
	enum vmfs_resource_type type;
	uint32_t cluster, index;
	if (addr_is_none(near) || resource_of_addr(near) != s->type)
		return 0;
	int rc = place_of(s->vol, near, &type, &cluster, &index);
	if (rc == 0)
		rc = try_cluster(s, cluster, index + 1);
	if (rc == 0 && s->got < s->want && cluster + 1 < s->res->cluster_count)
		rc = try_cluster(s, cluster + 1, 0);
	return rc;
}

int resource_alloc(struct vmfs_txn *t, const struct resource_wish *wish,
		   vmfs_addr *ret_addrs, uint32_t *ret_count)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	enum vmfs_resource_type type = wish->type;
	struct search s = { .t = t,
			    .vol = vol,
			    .type = type,
			    .res = &vol->resources[type],
			    .owner = wish->owner,
			    .want = wish->want,
			    .addrs = ret_addrs };
	if (!s.res->is_present)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "%s: the volume has no %s", vol->label,
				    kinds[type].name);
	int rc = search_near(&s, wish->near);
	if (rc == 0 && !is_satisfied(&s))
		rc = search_round(&s);
	if (rc == 0 && s.got == 0) {
		if (type == RESOURCE_FBB)
			(void)!volume_refresh_held(vol); /* it may have grown */
		rc = look_at_all(vol, type);
		if (rc == 0)
			rc = search_round(&s);
	}
	if (rc == 0 && s.got == 0 && s.has_busy)
		rc = take_from(&s, s.first_busy, UINT32_MAX);
	if (rc < 0)
		return rc;
	if (s.got == 0)
		return report_error(vol->reporter, -ENOSPC,
				    "%s: no %s left (%llu in all)", vol->label,
				    plural(type), (unsigned long long)s.res->count);
	if (type != RESOURCE_FDC)
		vmfs_txn_takes_blocks(t);
	*ret_count = s.got;
	return 0;
}

int resource_next_generation(struct vmfs_txn *t, vmfs_addr fd_addr,
			     uint32_t *ret_generation)
{
	enum vmfs_resource_type type;
	uint32_t number, index;
	struct cluster c;
	int rc = place_of(vmfs_txn_volume(t), fd_addr, &type, &number, &index);
	if (rc == 0)
		rc = edit_cluster(t, type, number, &c, NULL);
	if (rc == 0)
		*ret_generation = cluster_next_generation(&c);
	return rc;
}

int resource_free(struct vmfs_txn *t, vmfs_addr addr, vmfs_addr owner)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	enum vmfs_resource_type type;
	uint32_t number, index;
	struct cluster c;
	int rc = place_of(vol, addr, &type, &number, &index);
	if (rc == 0)
		rc = edit_cluster(t, type, number, &c, NULL);
	if (rc < 0)
		return rc;
	if (cluster_is_free(&c, index))
		return vmfs_corrupt(
			vol,
			"%s: item %u of cluster %u (address 0x%08llx) is in use and "
				    "marked free",
			kinds[type].name, index, number, addr_disk(addr));
	cluster_give(&c, index, owner);
	if (type != RESOURCE_FDC)
		vmfs_txn_frees_blocks(t);
	if (type == RESOURCE_FBB)
		unmap_note_freed(vol, addr);
	(void)hint_touch(&vol->resources[type], &c);
	seal(vol, &c);
	return 0;
}

int resource_give_to(struct vmfs_txn *t, vmfs_addr addr, vmfs_addr owner)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	enum vmfs_resource_type type;
	uint32_t number, index;
	struct cluster c;
	if (vol->shape->version != 6)
		return 0;
	int rc = place_of(vol, addr, &type, &number, &index);
	if (rc == 0)
		rc = edit_cluster(t, type, number, &c, NULL);
	if (rc < 0)
		return rc;
	cluster_set_owner(&c, index, owner);
	seal(vol, &c);
	return 0;
}

bool resource_seems_free(const struct vmfs_resource *res, uint32_t cluster)
{
	return hint_get(res, cluster) ||
	       __atomic_load_n(&res->seen_spare[cluster], __ATOMIC_RELAXED);
}

int resource_is_open(struct vmfs_volume *vol, uint32_t cluster, bool *ret_is_open)
{
	const struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	int rc = 0;
	if (is_whole(res, cluster))
		rc = look_at_group(vol, RESOURCE_FBB, cluster / res->clusters_per_group);
	*ret_is_open = !is_whole(res, cluster);
	return rc;
}
