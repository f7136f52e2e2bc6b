/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block maps: lookup, growth, freeing.
 *
 *	zla FB	     slot -> FB
 *	zla SB	     slot -> SB
 *	zla PB, PB2  slot -> PB -> FB
 *	zla DOUBLE   slot -> PB -> PB -> FB
 *
 * Invariants:
 * 1. block_count of the FD = number of data addresses that are not 0, TBZ count = those
 *    of them with the mark; both change with the address, in the same transaction.
 * 2. No pointer block is empty: one whose last entry goes is freed with it, and is then
 *    not edited: what it says may bring a removed file back (FORMAT.md 8.6).
 * 3. A pointer block is written whole when it is allocated (vmfs_txn_create), so that
 *    bytes of its former life never show.
 * 4. COW blocks are shared with others: never changed, never freed; fd_refuse_shared().
 * 5. A large block of VMFS-6 stands in each of its 512 entries. Who changes one of them
 *    divides it first (large.c): then they are those of small blocks.
 */
#include "vmfs/blockmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "vmfs/large.h"
#include "vmfs/resource.h"
#include "vmfs/shape.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

uint64_t blockmap_capacity(const struct vmfs_volume *vol, enum vmfs_zla zla)
{
	const struct vmfs_shape *shape = vol->shape;

	switch (zla) {
	case VMFS_ZLA_FB:
	case VMFS_ZLA_SB:
		return shape->fd_slots;
	case VMFS_ZLA_PB:
	case VMFS_ZLA_PB2:
		return (uint64_t)shape->fd_slots * shape->pb_entries;
	case VMFS_ZLA_DOUBLE:
		return (uint64_t)shape->fd_slots * shape->pb_entries * shape->pb_entries;
	default:
		return 0;
	}
}

static enum vmfs_zla zla_of(const struct fd_body_disk *fdd)
{
	return (enum vmfs_zla)le32_get(fdd->meta.zla);
}

/* Blocks behind one slot of the FD, and the depth of pointer blocks there. */
static uint64_t slot_span(const struct vmfs_volume *vol, enum vmfs_zla zla,
			  unsigned int *ret_depth)
{
	uint64_t entries = vol->shape->pb_entries;

	switch (zla) {
	case VMFS_ZLA_PB:
	case VMFS_ZLA_PB2:
		*ret_depth = 1;
		return entries;
	case VMFS_ZLA_DOUBLE:
		*ret_depth = 2;
		return entries * entries;
	default:
		*ret_depth = 0;
		return 1;
	}
}

static bool is_data(enum vmfs_zla zla, vmfs_addr addr)
{
	if (zla == VMFS_ZLA_SB)
		return addr_type(addr) == ADDR_SB;
	return addr_type(addr) == ADDR_FB ||
	       (addr_type(addr) == ADDR_LFB && addr_is_6(addr));
}

/* On VMFS-6 the pointer blocks of user files are sub-blocks. */
static bool is_pointer_block(vmfs_addr addr)
{
	enum vmfs_addr_type type = addr_type(addr);

	return type == ADDR_PB || type == ADDR_PB2 ||
	       (type == ADDR_SB && addr_is_6(addr));
}

static int bad_address(struct vmfs_txn *t, const struct fd_ref *ref, uint64_t block,
		       vmfs_addr addr)
{
	return vmfs_corrupt(vmfs_txn_volume(t),
			    "file descriptor %u.%u: block %llu has address 0x%08llx",
			    addr_cluster(ref->addr), addr_index(ref->addr),
			    (unsigned long long)block, addr_disk(addr));
}

static int find_pointer_block(struct vmfs_txn *t, const struct fd_ref *ref, vmfs_addr pb,
			      uint64_t block, struct vmfs_lock_id *ret_id,
			      uint64_t *ret_vol_off)
{
	if (!is_pointer_block(pb))
		return bad_address(t, ref, block, pb);
	int rc = fd_lock_id(vmfs_txn_volume(t), ref, ret_id);
	return rc < 0 ? rc : resource_addr_off(vmfs_txn_volume(t), pb, ret_vol_off);
}

static int read_pointer_block(struct vmfs_txn *t, const struct fd_ref *ref, vmfs_addr pb,
			      uint64_t block, const void **ret_entries)
{
	struct vmfs_lock_id id;
	uint64_t vol_off;
	int rc = find_pointer_block(t, ref, pb, block, &id, &vol_off);

	if (rc < 0)
		return rc;
	return vmfs_txn_read(t, &id, vol_off, vmfs_txn_volume(t)->shape->pb_size,
			     ret_entries);
}

static int edit_pointer_block(struct vmfs_txn *t, const struct fd_ref *ref, vmfs_addr pb,
			      uint64_t block, void **ret_entries)
{
	struct vmfs_lock_id id;
	uint64_t vol_off;
	int rc = find_pointer_block(t, ref, pb, block, &id, &vol_off);

	if (rc == 0 && addr_is_cow(pb))
		rc = fd_refuse_shared(vmfs_txn_volume(t), ref, pb);
	if (rc == 0)
		rc = vmfs_txn_edit(t, &id, vol_off, vmfs_txn_volume(t)->shape->pb_size,
				   ret_entries);
	return rc;
}

int blockmap_leaf(struct vmfs_txn *t, const struct fd_ref *ref,
		  const struct fd_body_disk *fdd, uint64_t block,
		  struct blockmap_leaf *ret_leaf)
{
	const struct vmfs_shape *shape = vmfs_txn_volume(t)->shape;
	unsigned int depth;
	uint64_t span = slot_span(vmfs_txn_volume(t), zla_of(fdd), &depth);
	if (block >= blockmap_capacity(vmfs_txn_volume(t), zla_of(fdd)))
		return -EINVAL;
	const void *entries = shape_slots(shape, fdd);
	if (depth == 0) {
		*ret_leaf = (struct blockmap_leaf){ 0, shape->fd_slots, entries };
		return 0;
	}
	uint64_t index = block / span;
	for (; depth > 0; depth--) {
		vmfs_addr pb = shape_entry(shape, entries, index);
		if (addr_is_none(pb)) {
			*ret_leaf = (struct blockmap_leaf){ round_down(block, span), span,
							    NULL };
			return 0;
		}
		int rc = read_pointer_block(t, ref, pb, block, &entries);
		if (rc < 0)
			return rc;
		span /= shape->pb_entries;
		index = block / span % shape->pb_entries;
	}
	*ret_leaf = (struct blockmap_leaf){ round_down(block, shape->pb_entries),
					    shape->pb_entries, entries };
	return 0;
}

int blockmap_entry(struct vmfs_txn *t, const struct fd_ref *ref,
		   const struct fd_body_disk *fdd, const struct blockmap_leaf *leaf,
		   uint64_t block, vmfs_addr *ret_addr)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	vmfs_addr addr = { 0 };
	if (leaf->entries)
		addr = shape_entry(vol->shape, leaf->entries, block - leaf->first);
	if (!addr_is_none(addr)) {
		uint64_t vol_off;
		if (!is_data(zla_of(fdd), addr))
			return bad_address(t, ref, block, addr);
		/* A large block stands in each of its 512 entries. */
		if (addr_type(addr) == ADDR_LFB)
			addr = addr_fb_of_lfb(addr, block % ADDR6_FB_PER_LFB);
		int rc = resource_addr_off(vol, addr, &vol_off);
		if (rc < 0)
			return rc;
	}
	*ret_addr = addr;
	return 0;
}

/* ---- growth ---- */

/* Where pointer blocks come from: on VMFS-6 they are sub-blocks. */
static enum vmfs_resource_type pointer_blocks(const struct vmfs_volume *vol)
{
	return vol->shape->version == 6 ? RESOURCE_SBC : RESOURCE_PBC;
}

/* VMFS-6 counts them in the FD. */
static void count_pointer_blocks(const struct vmfs_volume *vol, struct fd_body_disk *fdd,
				 int delta)
{
	if (vol->shape->version == 6)
		fdd->meta.pb_count =
			le32_of(le32_get(fdd->meta.pb_count) + (uint32_t)delta);
}

/* A new pointer block, all zero. near: one before it. */
static int new_pointer_block(struct vmfs_txn *t, const struct fd_ref *ref,
			     struct fd_body_disk *fdd, vmfs_addr near, vmfs_addr *ret_pb,
			     void **ret_entries)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	enum vmfs_resource_type type = pointer_blocks(vol);
	struct resource_wish wish = { type, near, fd_owner_of(vol, fdd, type), 1 };
	struct vmfs_lock_id id;
	vmfs_addr pb;
	uint32_t count;
	uint64_t vol_off;
	int rc = resource_alloc(t, &wish, &pb, &count);
	if (rc == 0)
		rc = fd_lock_id(vol, ref, &id);
	if (rc == 0)
		rc = resource_addr_off(vol, pb, &vol_off);
	if (rc == 0)
		rc = vmfs_txn_create(t, &id, vol_off, vol->shape->pb_size, ret_entries);
	if (rc < 0)
		return rc;
	count_pointer_blocks(vol, fdd, 1);
	*ret_pb = pb;
	return 0;
}

/* What a transaction frees that was one of them. */
static int free_pointer_block(struct vmfs_txn *t, struct fd_body_disk *fdd, vmfs_addr pb)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	enum vmfs_resource_type type = pointer_blocks(vol);
	count_pointer_blocks(vol, fdd, -1);
	if (type == RESOURCE_SBC)
		vmfs_txn_frees_metadata(t);
	return resource_free(t, pb, fd_owner_of(vol, fdd, type));
}

static bool is_all_zero(const uint8_t *bytes, size_t len)
{
	return !bytes[0] && memcmp(bytes, bytes + 1, len - 1) == 0;
}

/* The slots move into a new pointer block behind slot 0; nothing to do if all are 0. */
static int push_down(struct vmfs_txn *t, const struct fd_ref *ref,
		     struct fd_body_disk *fdd)
{
	const struct vmfs_shape *shape = vmfs_txn_volume(t)->shape;
	const size_t size = (size_t)shape->fd_slots * shape_entry_size(shape);
	void *slots = shape_slots_edit(shape, fdd);
	if (is_all_zero(slots, size))
		return 0;
	vmfs_addr pb;
	void *entries;
	int rc = new_pointer_block(t, ref, fdd, (vmfs_addr){ 0 }, &pb, &entries);
	if (rc < 0)
		return rc;
	(void)memcpy(entries, slots, size);
	(void)memset(slots, 0, size);
	shape_set_entry(shape, slots, 0, pb);
	return 0;
}

int blockmap_reserve(struct vmfs_txn *t, const struct fd_ref *ref,
		     struct fd_body_disk *fdd, uint64_t blocks)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	while (blocks > blockmap_capacity(vmfs_txn_volume(t), zla_of(fdd))) {
		enum vmfs_zla next;
		if (zla_of(fdd) == VMFS_ZLA_FB)
			next = VMFS_ZLA_PB;
		else if (zla_of(fdd) == VMFS_ZLA_PB)
			next = VMFS_ZLA_DOUBLE;
		else
			return -EFBIG;
		int rc = push_down(t, ref, fdd);
		if (rc < 0)
			return rc;
		fd_set_form(vol, fdd, next);
	}
	return 0;
}

/* The leaf of a block to be edited; pointer blocks on the way are made. */
static int edit_leaf(struct vmfs_txn *t, const struct fd_ref *ref,
		     struct fd_body_disk *fdd, uint64_t block, void **ret_entries)
{
	const struct vmfs_shape *shape = vmfs_txn_volume(t)->shape;
	unsigned int depth;
	uint64_t span = slot_span(vmfs_txn_volume(t), zla_of(fdd), &depth);
	void *entries = shape_slots_edit(shape, fdd);
	uint64_t index = block / span;
	for (; depth > 0; depth--) {
		vmfs_addr pb = shape_entry(shape, entries, index);
		void *below;
		int rc;
		if (addr_is_none(pb)) {
			vmfs_addr near = { 0 };
			if (index)
				near = shape_entry(shape, entries, index - 1);
			rc = new_pointer_block(t, ref, fdd, near, &pb, &below);
			if (rc < 0)
				return rc;
			shape_set_entry(shape, entries, index, pb);
		} else {
			rc = edit_pointer_block(t, ref, pb, block, &below);
			if (rc < 0)
				return rc;
		}
		entries = below;
		span /= shape->pb_entries;
		index = block / span % shape->pb_entries;
	}
	*ret_entries = entries;
	return 0;
}

static int change_counts(struct vmfs_txn *t, const struct fd_ref *ref,
			 struct fd_body_disk *fdd, int64_t blocks, int64_t tbz)
{
	uint64_t have = le64_get(fdd->meta.block_count);
	uint64_t have_tbz = fd_tbz_count(fdd);
	if ((blocks < 0 && have < (uint64_t)-blocks) ||
	    (tbz < 0 && have_tbz < (uint64_t)-tbz))
		return vmfs_corrupt(
			vmfs_txn_volume(t),
			"file descriptor %u.%u: counts %llu blocks (%llu to be zeroed), "
				    "but has more",
			addr_cluster(ref->addr), addr_index(ref->addr),
			(unsigned long long)have, (unsigned long long)have_tbz);
	fd_add_counts(fdd, blocks, tbz);
	return 0;
}

/* ---- large blocks ---- */

static bool is_large(const struct vmfs_shape *shape, const void *entries, uint64_t index)
{
	vmfs_addr a = shape_entry(shape, entries, index);
	return addr_is_6(a) && addr_type(a) == ADDR_LFB;
}

/*
 * One large block fewer, n small ones more. Whether it counts as one block or as 512 is
 * not known: as one if there are fewer than all of them would be.
 */
static void count_divided(struct fd_body_disk *fdd, uint64_t n)
{
	uint32_t large = le32_get(fdd->meta.lfb_count);
	bool is_one = le64_get(fdd->meta.block_count) < large * n;
	if (large)
		fdd->meta.lfb_count = le32_of(large - 1);
	if (is_one)
		fd_add_counts(fdd, (int64_t)n - 1, 0);
}

/*
 * Divides the large block that stands at an index of a leaf of `count` entries, and puts
 * the small ones into edited, the same leaf to be changed (NULL: it goes as a whole).
 */
static int divide_at(struct vmfs_txn *t, struct fd_body_disk *fdd, const void *entries,
		     uint64_t count, uint64_t index, void *edited)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	const struct vmfs_shape *shape = vol->shape;
	vmfs_addr lfb = shape_entry(shape, entries, index);
	uint64_t first = round_down(index, ADDR6_FB_PER_LFB);
	uint64_t end = min_u64(first + ADDR6_FB_PER_LFB, count);
	uint8_t used[ADDR6_FB_PER_LFB / 8] = { 0 };
	uint64_t n = 0;
	if (addr_is_cow(lfb)) {
		struct fd_ref ref = { .addr = { le32_get(fdd->meta.addr) } };
		return fd_refuse_shared(vol, &ref, lfb);
	}
	for (uint64_t i = first; i < end; i++) {
		vmfs_addr a = shape_entry(shape, entries, i);
		if (!is_large(shape, entries, i) ||
		    addr_lfb_number(a) != addr_lfb_number(lfb))
			continue;
		bitmap_set(used, i - first);
		if (edited)
			shape_set_entry(shape, edited, i,
					addr_fb_of_lfb(a, (uint32_t)(i - first)));
		n++;
	}
	count_divided(fdd, n);
	return large_divide(t, addr_lfb_number(lfb),
			    fd_owner_of(vol, fdd, RESOURCE_FBB), used);
}

/* Divides those that stand at [index, end) of an edited leaf of `count` entries. */
static int divide_in(struct vmfs_txn *t, struct fd_body_disk *fdd, void *entries,
		     uint64_t count, uint64_t index, uint64_t end)
{
	const struct vmfs_shape *shape = vmfs_txn_volume(t)->shape;
	int rc = 0;
	for (; rc == 0 && index < min_u64(end, count); index++) {
		if (is_large(shape, entries, index))
			rc = divide_at(t, fdd, entries, count, index, entries);
	}
	return rc;
}

int blockmap_set(struct vmfs_txn *t, const struct fd_ref *ref, struct fd_body_disk *fdd,
		 uint64_t first, uint32_t count, const vmfs_addr *addrs)
{
	const struct vmfs_shape *shape = vmfs_txn_volume(t)->shape;
	uint64_t leaf_count = zla_of(fdd) == VMFS_ZLA_FB || zla_of(fdd) == VMFS_ZLA_SB
				      ? shape->fd_slots
				      : shape->pb_entries;
	int64_t blocks = 0;
	int64_t tbz = 0;
	if (first + count > blockmap_capacity(vmfs_txn_volume(t), zla_of(fdd)))
		return -EFBIG;
	for (uint32_t i = 0; i < count;) {
		void *entries;
		int rc = edit_leaf(t, ref, fdd, first + i, &entries);
		uint64_t index = (first + i) % leaf_count;
		if (rc == 0)
			rc = divide_in(t, fdd, entries, leaf_count, index,
				       index + count - i);
		if (rc < 0)
			return rc;
		for (; index < leaf_count && i < count; index++, i++) {
			vmfs_addr old = shape_entry(shape, entries, index);
			if (addr_is_cow(old))
				return fd_refuse_shared(vmfs_txn_volume(t), ref, old);
			blocks += !addr_is_none(addrs[i]) - !addr_is_none(old);
			tbz += addr_is_tbz(addrs[i]) - addr_is_tbz(old);
			shape_set_entry(shape, entries, index, addrs[i]);
		}
	}
	return change_counts(t, ref, fdd, blocks, tbz);
}

/* ---- freeing ---- */

static bool has_other_entries(const struct vmfs_shape *shape,
			      const struct blockmap_leaf *leaf, uint64_t first,
			      uint64_t end)
{
	for (uint64_t i = 0; i < leaf->count; i++) {
		uint64_t block = leaf->first + i;
		if ((block < first || block >= end) &&
		    !addr_is_none(shape_entry(shape, leaf->entries, i)))
			return true;
	}
	return false;
}

int blockmap_remember(struct vmfs_txn *t, const struct fd_ref *ref,
		      const struct fd_body_disk *fdd, struct blockmap_before *before)
{
	const struct vmfs_shape *shape = vmfs_txn_volume(t)->shape;
	const void *slots = shape_slots(shape, fdd), *entries;
	uint32_t count = shape->fd_slots;
	while (count && addr_is_none(shape_entry(shape, slots, count - 1)))
		count--;
	if (zla_of(fdd) != VMFS_ZLA_DOUBLE || count == 0)
		return 0;
	before->entries = calloc(count, shape->pb_size);
	if (!before->entries)
		return -ENOMEM;
	before->count = count;
	for (uint32_t i = 0; i < count; i++) {
		vmfs_addr pb = shape_entry(shape, slots, i);
		if (addr_is_none(pb))
			continue;
		uint64_t span = (uint64_t)shape->pb_entries * shape->pb_entries;
		int rc = read_pointer_block(t, ref, pb, i * span, &entries);
		if (rc < 0)
			return rc;
		(void)memcpy(before->entries + (size_t)i * shape->pb_size, entries,
			     shape->pb_size);
	}
	return 0;
}

/* Takes a pointer block out of the map, and the one above it if that becomes empty. */
static int free_leaf_block(struct vmfs_txn *t, const struct fd_ref *ref,
			   struct fd_body_disk *fdd, uint64_t block,
			   const struct blockmap_before *before)
{
	const struct vmfs_shape *shape = vmfs_txn_volume(t)->shape;
	const vmfs_addr none = { 0 };
	unsigned int depth;
	uint64_t span = slot_span(vmfs_txn_volume(t), zla_of(fdd), &depth);
	void *slots = shape_slots_edit(shape, fdd);
	vmfs_addr top = shape_entry(shape, slots, block / span);
	if (depth == 2) {
		uint64_t index = block / shape->pb_entries % shape->pb_entries;
		void *upper;
		int rc = edit_pointer_block(t, ref, top, block, &upper);
		if (rc < 0)
			return rc;
		rc = free_pointer_block(t, fdd, shape_entry(shape, upper, index));
		if (rc < 0)
			return rc;
		shape_set_entry(shape, upper, index, none);
		if (!is_all_zero(upper, shape->pb_size))
			return 0;
		if (before && block / span < before->count)
			(void)memcpy(upper,
				     before->entries + block / span * shape->pb_size,
				     shape->pb_size);
	}
	shape_set_entry(shape, slots, block / span, none);
	return free_pointer_block(t, fdd, top);
}

/*
 * The large blocks of [from, to) of a leaf. One that goes with its pointer block keeps
 * its entries, of which each names a small one now; it is divided once.
 */
static int divide_for_freeing(struct vmfs_txn *t, const struct fd_ref *ref,
			      struct fd_body_disk *fdd, const struct blockmap_leaf *leaf,
			      uint64_t from, uint64_t to, bool is_emptied)
{
	const struct vmfs_shape *shape = vmfs_txn_volume(t)->shape;
	vmfs_addr last = { 0 };
	int rc = 0;
	for (uint64_t block = from; rc == 0 && block < to; block++) {
		uint64_t i = block - leaf->first;
		void *entries = NULL;
		if (!is_large(shape, leaf->entries, i))
			continue;
		vmfs_addr addr = shape_entry(shape, leaf->entries, i);
		if (is_emptied && last.raw &&
		    addr_lfb_number(addr) == addr_lfb_number(last))
			continue;
		if (!is_emptied)
			rc = edit_leaf(t, ref, fdd, block, &entries);
		if (rc == 0)
			rc = divide_at(t, fdd, leaf->entries, leaf->count, i, entries);
		last = addr;
	}
	return rc;
}

/* Frees what lies in [first, end) of one leaf; *ret_count blocks. */
static int free_in_leaf(struct vmfs_txn *t, const struct fd_ref *ref,
			struct fd_body_disk *fdd, const struct blockmap_leaf *leaf,
			const struct blockmap_range *range, uint64_t *ret_count)
{
	unsigned int depth;
	int64_t blocks = 0;
	int64_t tbz = 0;
	void *entries = NULL;
	int rc = 0;
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	enum vmfs_resource_type type =
		zla_of(fdd) == VMFS_ZLA_SB ? RESOURCE_SBC : RESOURCE_FBB;
	vmfs_addr owner = fd_owner_of(vol, fdd, type);
	(void)slot_span(vol, zla_of(fdd), &depth);
	uint64_t from = max_u64(range->first, leaf->first);
	uint64_t to = min_u64(range->end, leaf->first + leaf->count);
	bool is_emptied = depth > 0 && !has_other_entries(vol->shape, leaf, from, to);
	rc = divide_for_freeing(t, ref, fdd, leaf, from, to, is_emptied);
	for (uint64_t block = from; rc == 0 && block < to; block++) {
		vmfs_addr addr;
		rc = blockmap_entry(t, ref, fdd, leaf, block, &addr);
		if (rc == 0 && addr_is_cow(addr))
			rc = fd_refuse_shared(vol, ref, addr);
		if (rc < 0)
			return rc;
		if (addr_is_none(addr))
			continue;
		if (!is_emptied && !entries)
			rc = edit_leaf(t, ref, fdd, block, &entries);
		if (rc == 0)
			rc = resource_free(t, addr, owner);
		if (rc < 0)
			return rc;
		if (entries)
			shape_set_entry(vol->shape, entries, block - leaf->first,
					(vmfs_addr){ 0 });
		blocks++;
		tbz += addr_is_tbz(addr);
	}
	if (rc < 0)
		return rc;
	*ret_count = (uint64_t)blocks;
	rc = change_counts(t, ref, fdd, -blocks, -tbz);
	if (rc == 0 && is_emptied)
		rc = free_leaf_block(t, ref, fdd, leaf->first, range->before);
	return rc;
}

int blockmap_free(struct vmfs_txn *t, const struct fd_ref *ref, struct fd_body_disk *fdd,
		  const struct blockmap_range *range, uint64_t *ret_from)
{
	uint64_t end =
		min_u64(range->end, blockmap_capacity(vmfs_txn_volume(t), zla_of(fdd)));
	uint64_t freed = 0;
	while (end > range->first && freed < range->budget) {
		struct blockmap_leaf leaf;
		int rc = blockmap_leaf(t, ref, fdd, end - 1, &leaf);
		if (rc < 0)
			return rc;
		struct blockmap_range part = { .first = range->first,
					       .end = end,
					       .before = range->before };
		if (leaf.entries &&
		    end - max_u64(leaf.first, part.first) > range->budget - freed) {
			if (freed)
				break;
			part.first = end - range->budget;
		}
		if (leaf.entries) {
			uint64_t n = 0;
			rc = free_in_leaf(t, ref, fdd, &leaf, &part, &n);
			if (rc < 0)
				return rc;
			freed += n;
		}
		end = max_u64(part.first, leaf.first);
	}
	*ret_from = max_u64(end, range->first);
	return 0;
}
