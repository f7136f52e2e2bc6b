/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cluster of a resource file, VMFS-5 in a sector, VMFS-6 in a page:
 *
 *	states	 1 bit for each item, 1 = free; file blocks of VMFS-6 have two, of which
 *		 the low one says free: 00 is used, what is freed here becomes 01
 *	owners	 VMFS-6 alone. Each item has the word of its owner; or, for file blocks,
 *		 the cluster has up to 215 shares {owner, how many of the items}, entry 0
 *		 of the list being null
 *
 * Invariants:
 * 1. The states decide; the count of free ones is written to agree (cluster_seal).
 * 2. The shares of a cluster add up to what it has in use, as long as no more than 215
 *    owners have items there: who comes later has no share, and what nobody has a share
 *    of is given back without one. What VMware does then is not known.
 * 3. Bytes that have no name here are kept.
 */
#include "vmfs/cluster.h"

#include <stddef.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "vmfs/fd.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

#define STATES_MIN 0x20u   /* bytes that states have at least */
#define STATES_GAP 0x40u   /* behind them */
#define WORDS_SMALL 0x200u /* of something for each item: in clusters of up to 32 */
#define WORDS 0x800u
#define SMALL_CLUSTER 32u

static struct vmfs_cluster_disk *page5(const struct cluster *c)
{
	return (struct vmfs_cluster_disk *)c->page;
}

static struct vmfs6_cluster_disk *page6(const struct cluster *c)
{
	return (struct vmfs6_cluster_disk *)c->page;
}

static struct cluster_shape shape6(enum vmfs_resource_type type, uint32_t per_cluster)
{
	struct cluster_shape s = {
		.is_6 = true,
		.states_off = offsetof(struct vmfs6_cluster_disk, states),
		.bits = type == RESOURCE_FBB ? 2 : 1,
		.has_shares = type == RESOURCE_FBB,
	};
	uint32_t states = (uint32_t)max_u64(STATES_MIN, per_cluster * s.bits / 8);
	uint32_t off = s.states_off + states + STATES_GAP +
		       (per_cluster <= SMALL_CLUSTER ? WORDS_SMALL : WORDS);

	/* A journal block belongs to a host, which stands in its slot. */
	if (type != RESOURCE_FBB && type != RESOURCE_JBC &&
	    off + per_cluster * sizeof(le32) <= VMFS6_PAGE)
		s.owners_off = off;
	return s;
}

/* 0: of VMFS-3, which cannot grow. */
static uint32_t total_said(const struct vmfs_volume *vol, const void *page)
{
	switch (vol->shape->version) {
	case 5:
		return le32_get(((const struct vmfs_cluster_disk *)page)->total);
	case 6:
		return le16_get(((const struct vmfs6_cluster_disk *)page)->total);
	default:
		return 0;
	}
}

struct cluster cluster_of(const struct vmfs_volume *vol, enum vmfs_resource_type type,
			  uint32_t number, void *page)
{
	const struct vmfs_resource *res = &vol->resources[type];
	struct cluster c = { .number = number,
			     .total = resource_cluster_total(res, number),
			     .page = page };

	/* The volume may have grown since we looked, by a part of its last cluster. */
	if (type == RESOURCE_FBB && total_said(vol, page) <= res->per_cluster)
		c.total = (uint32_t)max_u64(c.total, total_said(vol, page));
	if (vol->shape->version == 6)
		c.shape = shape6(type, res->per_cluster);
	else
		c.shape = (struct cluster_shape){
			.states_off = offsetof(struct vmfs_cluster_disk, bitmap),
			.bits = 1,
		};
	return c;
}

void cluster_accept_length(struct cluster *c, const struct vmfs_volume *vol,
			   enum vmfs_resource_type type)
{
	uint32_t total = total_said(vol, c->page);

	if (type == RESOURCE_FBB && total)
		c->total = (uint32_t)min_u64(c->total, total);
}

int cluster_verify(const struct cluster *c, struct verify *ret_why)
{
	return c->shape.is_6 ? verify_cluster6(page6(c), c->number, c->total, ret_why)
			     : verify_cluster(page5(c), c->number, c->total, ret_why);
}

/* ---- states ---- */

static uint8_t *states(const struct cluster *c)
{
	return c->page + c->shape.states_off;
}

bool cluster_is_free(const struct cluster *c, uint32_t index)
{
	return bitmap_get(states(c), (uint64_t)index * c->shape.bits);
}

uint32_t cluster_next_free(const struct cluster *c, uint32_t from, uint32_t end)
{
	if (c->shape.bits == 1)
		return (uint32_t)bitmap_next_set(states(c), from, end);
	while (from < end && !cluster_is_free(c, from))
		from++;
	return from;
}

uint32_t cluster_count_free(const struct cluster *c, uint32_t end)
{
	uint32_t count = 0;

	if (c->shape.bits == 1)
		return (uint32_t)bitmap_count(states(c), end);
	for (; end % 4; end--)
		count += cluster_is_free(c, end - 1);
	for (uint32_t i = 0; i < end / 4; i++) /* the low bits of four states */
		count += (uint32_t)__builtin_popcount(states(c)[i] & 0x55);
	return count;
}

/* ---- owners ---- */

/* The owner's share, else the first place without one; NULL: the list is full. */
static struct vmfs6_owner_disk *find_share(const struct cluster *c, vmfs_addr owner)
{
	struct vmfs6_owner_disk *shares =
		(struct vmfs6_owner_disk *)(c->page + VMFS6_SFB_OWNERS_OFF);
	struct vmfs6_owner_disk *empty = NULL;

	for (uint32_t i = 1; i < VMFS6_SFB_OWNERS_MAX; i++) {
		if (le32_get(shares[i].fd) == owner.raw)
			return &shares[i];
		if (!empty && !le32_get(shares[i].fd))
			empty = &shares[i];
	}
	return empty;
}

/* How long the list is: up to its last share. */
static void count_shares(const struct cluster *c)
{
	const struct vmfs6_owner_disk *shares =
		(const struct vmfs6_owner_disk *)(c->page + VMFS6_SFB_OWNERS_OFF);
	uint16_t count = VMFS6_SFB_OWNERS_MAX;

	while (count > 1 && !le32_get(shares[count - 1].fd))
		count--;
	page6(c)->owner_count = le16_of(count);
}

static void change_share(const struct cluster *c, vmfs_addr owner, int32_t delta)
{
	if (addr_is_none(owner) || !delta)
		return;
	struct vmfs6_owner_disk *share = find_share(c, owner);
	if (!share)
		return;
	bool is_new = le32_get(share->fd) != owner.raw;
	uint32_t count = is_new ? 0 : le32_get(share->count);
	if (delta < 0 && !count)
		return;
	count += (uint32_t)delta;
	share->fd = le32_of(count ? (uint32_t)owner.raw : 0);
	share->count = le32_of(count);
	if (is_new || !count)
		count_shares(c);
}

void cluster_add_share(const struct cluster *c, vmfs_addr owner, uint32_t count)
{
	change_share(c, owner, (int32_t)count);
}

void cluster_set_owner(const struct cluster *c, uint32_t index, vmfs_addr owner)
{
	le32 word = le32_of((uint32_t)owner.raw);

	if (c->shape.owners_off)
		memcpy(c->page + c->shape.owners_off + index * sizeof(word), &word,
		       sizeof(word));
}

void cluster_take(const struct cluster *c, uint32_t index, vmfs_addr owner)
{
	for (uint32_t i = 0; i < c->shape.bits; i++)
		bitmap_clear(states(c), (uint64_t)index * c->shape.bits + i);
	cluster_set_owner(c, index, owner);
	if (c->shape.has_shares)
		change_share(c, owner, 1);
}

void cluster_give(const struct cluster *c, uint32_t index, vmfs_addr owner)
{
	bitmap_set(states(c), (uint64_t)index * c->shape.bits);
	cluster_set_owner(c, index, (vmfs_addr){ 0 });
	if (c->shape.has_shares)
		change_share(c, owner, -1);
}

/* ---- the rest ---- */

uint32_t cluster_hint(const struct cluster *c)
{
	return c->shape.is_6 ? le32_get(page6(c)->hint) : le32_get(page5(c)->hint);
}

void cluster_set_hint(const struct cluster *c, uint32_t hint)
{
	if (c->shape.is_6)
		page6(c)->hint = le32_of(hint);
	else
		page5(c)->hint = le32_of(hint);
}

void cluster_stamp(struct vmfs6_cluster_disk *page, const struct uuid *host)
{
	page->changes = le32_of(le32_get(page->changes) + 1);
	page->changed_s = le32_of(fd_now_s());
	/* The last 6 bytes of a UUID are the MAC of the machine that made it. */
	memcpy(page->mac, host->b + sizeof(host->b) - sizeof(page->mac),
	       sizeof(page->mac));
}

void cluster_seal(const struct cluster *c, const struct uuid *host)
{
	uint32_t count = cluster_count_free(c, c->total);

	if (!c->shape.is_6) {
		page5(c)->free = le32_of(count);
		return;
	}
	page6(c)->free = le16_of((uint16_t)count);
	cluster_stamp(page6(c), host);
}

uint32_t cluster_next_generation(const struct cluster *c)
{
	le32 *counter = c->shape.is_6 ? &page6(c)->fd_generation
				      : &page5(c)->fd_generation;
	uint32_t generation = le32_get(*counter) + 1;

	/* 0 stands for "any" in our own references; the counter may wrap. */
	if (generation == 0)
		generation = 1;
	*counter = le32_of(generation);
	return generation;
}

/* ---- new ones of VMFS-6 ---- */

struct vmfs6_cluster_disk cluster_image6(uint32_t number, uint32_t total, uint32_t used)
{
	return (struct vmfs6_cluster_disk){
		.signature = le32_of(VMFS6_CLUSTER_SIGNATURE),
		.number = le64_of(number),
		.total = le16_of((uint16_t)total),
		.free = le16_of((uint16_t)(total - used)),
		.unknown30 = le64_of(1),
		.hint = le32_of(used < total ? used : 0),
	};
}

struct vmfs6_cluster_disk cluster_image_small(uint32_t number, uint32_t total,
					      uint32_t used)
{
	struct vmfs6_cluster_disk d = cluster_image6(number, total, used);

	d.unknown2a = le16_of(VMFS6_SFB_UNKNOWN2A);
	d.owner_count = le16_of(1); /* the first is null */
	for (uint32_t i = used; i < total; i++)
		bitmap_set(d.states, (uint64_t)i * 2); /* free: 01 */
	return d;
}

void cluster_divide(struct vmfs6_cluster_disk *page, uint32_t index)
{
	uint8_t *bytes = (uint8_t *)page;
	const uint64_t at = (uint64_t)index * VMFS6_LFB_BITS;
	const size_t owners = VMFS6_LFB_OWNERS * sizeof(le32);
	const le64 word = le64_of(0xff);

	for (uint32_t bit = 0; bit < VMFS6_LFB_BITS; bit++)
		bitmap_clear(page->states, at + bit);
	bitmap_set(page->states, at + 2);
	memcpy(bytes + VMFS6_LFB_WORDS_OFF + index * sizeof(word), &word, sizeof(word));
	memset(bytes + VMFS6_LFB_OWNERS_OFF + index * owners, 0, owners);
}

struct vmfs6_cluster_disk cluster_image_large(uint32_t number, uint32_t total)
{
	struct vmfs6_cluster_disk d = cluster_image6(number, total, total);

	d.unknown2a = le16_of(VMFS6_LFB_UNKNOWN2A);
	for (uint32_t i = 0; i < total; i++)
		cluster_divide(&d, i);
	return d;
}

uint32_t cluster_large_state(const struct vmfs6_cluster_disk *page, uint32_t index)
{
	uint32_t state = 0;

	for (uint32_t bit = 0; bit < VMFS6_LFB_BITS; bit++)
		state |= (uint32_t)bitmap_get(page->states,
					      (uint64_t)index * VMFS6_LFB_BITS + bit)
			 << bit;
	return state;
}
