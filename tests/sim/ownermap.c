/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owners of blocks: see ownermap.h.
 *
 * A file descriptor that was written is read again when somebody asks next, unless only a
 * part of the write has taken effect: then the old knowledge stays until a write of it
 * ends (by its host, or by who replays its journal).
 */
#include "tests/sim/ownermap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "vmfs/volume.h"

#define SECTOR 512u
#define REFS_MAX (VMFS_FD_SLOTS * 5u)

struct unit {
	uint64_t vol_off, owner; /* owner: the FD's offset */
	UT_hash_handle hh;
};

struct fd {
	uint64_t vol_off;
	bool is_dirty, is_torn;
	uint32_t count;
	uint64_t *refs;
	UT_hash_handle hh;
};

struct lock_seen {
	uint64_t vol_off, submitted, changed_at;
	UT_hash_handle hh;
};

struct ownermap {
	struct simdisk *disk;
	struct vmfs_volume *vol;
	struct unit *units;
	struct fd *fds;
	struct lock_seen *locks;
	bool is_any_dirty, is_blind;
	bool is_header_written; /* of .fbb.sf: the volume may have grown */
};

/* ---- places ---- */

/*
 * FBB_HEADER says how many blocks there are; what lies BEHIND them is made by who grows
 * the volume. Both belong to the lock of .fbb.sf's FD.
 */
enum place {
	NOBODYS,
	CLUSTER_LOCK,
	CLUSTER_META,
	FD_LOCK,
	FD_BODY,
	ITEM,
	FILE_BLOCK,
	FBB_HEADER,
	BEHIND,
};

struct where {
	enum place place;
	enum vmfs_resource_type type;
	uint32_t cluster;
	uint64_t unit_off; /* of the cluster header, the FD, the item or block */
};

static void in_resource(const struct ownermap *m, enum vmfs_resource_type type,
			uint64_t file_off, uint64_t vol_off, struct where *ret)
{
	const struct vmfs_resource *res = &m->vol->resources[type];
	uint64_t headers = (uint64_t)res->clusters_per_group * VMFS_CLUSTER_HEADER_SIZE;

	ret->type = type;
	if (type == RESOURCE_FBB && file_off < SECTOR)
		ret->place = FBB_HEADER;
	if (file_off < VMFS_RESOURCE_GROUP_OFF || !res->group_size)
		return;
	uint64_t group = (file_off - VMFS_RESOURCE_GROUP_OFF) / res->group_size;
	uint64_t in_group = (file_off - VMFS_RESOURCE_GROUP_OFF) % res->group_size;
	uint64_t cluster = group * res->clusters_per_group;
	if (in_group < headers) {
		uint64_t distance = in_group % VMFS_CLUSTER_HEADER_SIZE;

		cluster += in_group / VMFS_CLUSTER_HEADER_SIZE;
		ret->place = distance ? CLUSTER_META : CLUSTER_LOCK;
		ret->unit_off = vol_off - distance;
	} else if (res->resource_size) {
		uint64_t distance = (in_group - headers) % res->resource_size;

		cluster += (in_group - headers) / res->resource_size / res->per_cluster;
		ret->place = type != RESOURCE_FDC ? ITEM : distance ? FD_BODY : FD_LOCK;
		ret->unit_off = vol_off - distance;
	}
	ret->cluster = (uint32_t)cluster;
	if (cluster >= res->cluster_count)
		ret->place = type == RESOURCE_FBB ? BEHIND : NOBODYS;
}

static void locate(const struct ownermap *m, uint64_t vol_off, struct where *ret)
{
	const struct vmfs_volume *vol = m->vol;
	uint64_t in_block = vol_off % vol->block_size, block_off = vol_off - in_block;

	*ret = (struct where){ .place = NOBODYS };
	for (int i = 0; i < RESOURCE_COUNT; i++) {
		const struct vmfs_resource *res = &vol->resources[i];

		for (uint32_t k = 0; res->is_present && k < res->block_count; k++) {
			if (res->block_vol_off[k] != block_off)
				continue;
			in_resource(m, (enum vmfs_resource_type)i,
				    (uint64_t)k * vol->block_size + in_block, vol_off,
				    ret);
			return;
		}
	}
	if (vol_off < VMFS_FDC_OFF)
		return;
	bool is_behind =
		block_off / vol->block_size >= vol->resources[RESOURCE_FBB].count;
	ret->place = is_behind ? BEHIND : FILE_BLOCK;
	ret->type = RESOURCE_FBB;
	ret->unit_off = block_off;
	ret->cluster = (uint32_t)(block_off / vol->block_size /
				  vol->resources[RESOURCE_FBB].per_cluster);
}

unsigned int ownermap_body_sectors(const struct ownermap *m, uint64_t lock_off)
{
	struct where at;

	locate(m, lock_off, &at);
	return at.place == CLUSTER_LOCK ? 1 : at.place == FD_LOCK ? 3 : 0;
}

/* ---- file descriptors ---- */

static struct fd *get_fd(struct ownermap *m, uint64_t vol_off)
{
	struct fd *fd;

	HASH_FIND(hh, m->fds, &vol_off, sizeof(vol_off), fd);
	if (fd)
		return fd;
	fd = calloc(1, sizeof(*fd));
	assert(fd);
	fd->vol_off = vol_off;
	HASH_ADD(hh, m->fds, vol_off, sizeof(fd->vol_off), fd);
	return fd;
}

static struct unit *find_unit(const struct ownermap *m, uint64_t vol_off)
{
	struct unit *u;

	HASH_FIND(hh, m->units, &vol_off, sizeof(vol_off), u);
	return u;
}

static void drop_refs(struct ownermap *m, struct fd *fd)
{
	for (uint32_t i = 0; i < fd->count; i++) {
		struct unit *u = find_unit(m, fd->refs[i]);

		if (!u || u->owner != fd->vol_off)
			continue;
		HASH_DEL(m->units, u);
		free(u);
	}
	free(fd->refs);
	fd->refs = NULL;
	fd->count = 0;
}

static bool add_ref(struct ownermap *m, struct fd *fd, vmfs_addr addr,
		    uint64_t *ret_vol_off)
{
	enum vmfs_resource_type type = resource_of_addr(addr);
	struct where at;
	uint64_t off;

	if (addr_is_none(addr) || type == RESOURCE_COUNT || type == RESOURCE_FDC)
		return false;
	if (resource_addr_off(m->vol, addr, &off))
		return false;
	locate(m, off, &at);
	if (at.place != ITEM && at.place != FILE_BLOCK)
		return false; /* of a resource file: its place says it all */
	if ((type == RESOURCE_FBB) != (at.place == FILE_BLOCK))
		return false;
	struct unit *u = find_unit(m, off);
	if (!u) {
		u = calloc(1, sizeof(*u));
		assert(u);
		u->vol_off = off;
		HASH_ADD(hh, m->units, vol_off, sizeof(u->vol_off), u);
	}
	u->owner = fd->vol_off;
	assert(fd->count < REFS_MAX + VMFS_FD_SLOTS * VMFS_PB_ENTRIES);
	uint64_t *refs = reallocarray(fd->refs, fd->count + 1u, sizeof(*refs));
	assert(refs);
	fd->refs = refs;
	refs[fd->count++] = off;
	*ret_vol_off = off;
	return true;
}

static void add_pointer_block(struct ownermap *m, struct fd *fd, uint64_t pb_off)
{
	le32 slots[VMFS_PB_ENTRIES];
	uint64_t ignored;

	simdisk_peek(m->disk, slots, sizeof(slots), LVM_DATA_OFF + pb_off);
	for (uint32_t i = 0; i < VMFS_PB_ENTRIES; i++)
		(void)add_ref(m, fd, (vmfs_addr){ le32_get(slots[i]) }, &ignored);
}

static void read_fd(struct ownermap *m, struct fd *fd)
{
	struct vmfs_fd_disk fdd;

	simdisk_peek(m->disk, &fdd, sizeof(fdd), LVM_DATA_OFF + fd->vol_off);
	fd->is_dirty = false;
	drop_refs(m, fd);
	uint32_t zla = le32_get(fdd.meta.zla);
	if (!le32_get(fdd.meta.links) || zla == VMFS_ZLA_RESIDENT)
		return;
	for (uint32_t i = 0; i < VMFS_FD_SLOTS; i++) {
		vmfs_addr addr = { le32_get(fdd.u.slots[i]) };
		uint64_t off;

		if (add_ref(m, fd, addr, &off) && zla == VMFS_ZLA_PB)
			add_pointer_block(m, fd, off);
	}
}

static uint64_t fbb_fd_off(const struct ownermap *m)
{
	uint64_t off = 0;
	int err = resource_addr_off(m->vol, addr_of(ADDR_FD, 0, VMFS_FD_FBB), &off);

	assert(!err);
	(void)err;
	return off;
}

/* More blocks, if header and FD of .fbb.sf both say so. */
static void grow(struct ownermap *m)
{
	struct vmfs_resource *res = &m->vol->resources[RESOURCE_FBB];
	struct vmfs_resource_header_disk headerd;
	struct vmfs_fd_disk fdd;

	simdisk_peek(m->disk, &headerd, sizeof(headerd),
		     LVM_DATA_OFF + res->block_vol_off[0]);
	simdisk_peek(m->disk, &fdd, sizeof(fdd), LVM_DATA_OFF + fbb_fd_off(m));
	uint32_t groups = le32_get(headerd.geometry.group_count);
	uint64_t length = le64_get(fdd.meta.length);
	if (le32_get(headerd.geometry.count_low) <= res->count ||
	    length < VMFS_RESOURCE_GROUP_OFF + (uint64_t)groups * res->group_size)
		return;
	uint32_t blocks = (uint32_t)div_up(length, m->vol->block_size);
	for (uint32_t i = res->block_count; i < blocks; i++) {
		vmfs_addr addr = { le32_get(fdd.u.slots[i]) };

		res->block_vol_off[i] =
			(uint64_t)addr_fb_number(addr) * m->vol->block_size;
	}
	res->block_count = blocks;
	res->file_length = length;
	resource_lengthen(m->vol, le32_get(headerd.geometry.count_low), groups);
	m->is_header_written = false;
}

static void catch_up(struct ownermap *m)
{
	struct fd *fd, *next;

	if (m->is_header_written)
		grow(m);
	if (!m->is_any_dirty)
		return;
	m->is_any_dirty = false;
	HASH_ITER(hh, m->fds, fd, next) {
		if (fd->is_dirty && !fd->is_torn)
			read_fd(m, fd);
	}
}

bool ownermap_is_lock(struct ownermap *m, uint64_t vol_off)
{
	struct where at;

	catch_up(m);
	locate(m, vol_off, &at);
	return at.place == CLUSTER_LOCK || at.place == FD_LOCK;
}

static void mark(struct ownermap *m, uint64_t fd_off, bool is_torn)
{
	struct fd *fd = get_fd(m, fd_off);

	fd->is_dirty = m->is_any_dirty = true;
	fd->is_torn = is_torn;
}

void ownermap_written(struct ownermap *m, const struct simdisk_effect *e)
{
	for (uint64_t i = 0; i < e->len; i += SECTOR) {
		struct where at;

		locate(m, e->offset + i - LVM_DATA_OFF, &at);
		if (at.place == FD_BODY)
			mark(m, at.unit_off, !e->is_last_piece);
		if (at.place == FBB_HEADER)
			m->is_header_written = true;
		if (at.place != ITEM || at.type != RESOURCE_PBC)
			continue;
		const struct unit *u = find_unit(m, at.unit_off);
		if (u)
			mark(m, u->owner, !e->is_last_piece);
	}
}

void ownermap_forget(struct ownermap *m)
{
	m->is_blind = true;
}

/* ---- questions ---- */

void ownermap_find(struct ownermap *m, uint64_t vol_off, struct cover *ret)
{
	struct where at;

	*ret = (struct cover){ 0 };
	catch_up(m);
	locate(m, vol_off, &at);
	if (at.place == CLUSTER_META || at.place == FD_BODY)
		ret->lock_off = at.unit_off;
	if (at.place == FBB_HEADER || at.place == BEHIND)
		ret->lock_off = fbb_fd_off(m);
	if (at.place != ITEM && at.place != FILE_BLOCK)
		return;
	const struct unit *u = find_unit(m, at.unit_off);
	ret->unit_off = at.unit_off;
	ret->lock_off = u ? u->owner : 0;
	ret->is_unknown = m->is_blind;
	int err = resource_cluster_off(m->vol, at.type, at.cluster, &ret->cluster_off);
	assert(!err);
	(void)err;
}

void ownermap_lock_changed(struct ownermap *m, uint64_t lock_off, uint64_t submitted)
{
	struct lock_seen *l;

	HASH_FIND(hh, m->locks, &lock_off, sizeof(lock_off), l);
	if (!l) {
		l = calloc(1, sizeof(*l));
		assert(l);
		l->vol_off = lock_off;
		HASH_ADD(hh, m->locks, vol_off, sizeof(l->vol_off), l);
	}
	l->submitted = submitted;
	l->changed_at = sim_time();
}

uint64_t ownermap_taken_at(const struct ownermap *m, uint64_t lock_off)
{
	const struct lock_seen *l;

	HASH_FIND(hh, m->locks, &lock_off, sizeof(lock_off), l);
	return l ? l->submitted : 0;
}

void ownermap_each_lock(const struct ownermap *m,
			void (*fn)(uint64_t lock_off, uint64_t changed_at, void *arg),
			void *arg)
{
	const struct lock_seen *l;

	for (l = m->locks; l; l = l->hh.next)
		fn(l->vol_off, l->changed_at, arg);
}

static uint64_t unit_of(const struct ownermap *m, const struct where *at, uint32_t index)
{
	static const enum vmfs_addr_type types[RESOURCE_COUNT] = {
		[RESOURCE_FBB] = ADDR_FB,
		[RESOURCE_PBC] = ADDR_PB,
		[RESOURCE_SBC] = ADDR_SB,
		[RESOURCE_PB2] = ADDR_PB2,
	};
	uint32_t per_cluster = m->vol->resources[at->type].per_cluster;
	uint64_t off = 0;

	if (at->type == RESOURCE_FBB)
		return ((uint64_t)at->cluster * per_cluster + index) * m->vol->block_size;
	int err = resource_addr_off(m->vol, addr_of(types[at->type], at->cluster, index),
				    &off);
	assert(!err);
	(void)err;
	return off;
}

void ownermap_check_free(struct ownermap *m, uint64_t lock_off)
{
	struct vmfs_cluster_disk cd;
	struct where at;

	locate(m, lock_off, &at);
	if (at.place != CLUSTER_LOCK || at.type == RESOURCE_FDC || m->is_blind)
		return;
	catch_up(m);
	simdisk_peek(m->disk, &cd, sizeof(cd), LVM_DATA_OFF + lock_off + SECTOR);
	uint32_t total =
		resource_cluster_total(&m->vol->resources[at.type], at.cluster);
	uint64_t size = at.type == RESOURCE_FBB	  ? m->vol->block_size
			: at.type == RESOURCE_SBC ? m->vol->sub_block_size
						  : VMFS_PB_SIZE;
	for (uint32_t i = 0; i < total; i++) {
		if (!bitmap_get(cd.bitmap, i))
			continue;
		uint64_t off = unit_of(m, &at, i);
		const struct unit *u = find_unit(m, off);

		if (u)
			sim_fail(
				"I9: 0x%llx is free, says 0x%llx; the file 0x%llx has it",
				(unsigned long long)off, (unsigned long long)lock_off,
				(unsigned long long)u->owner);
		if (simdisk_is_written(m->disk, LVM_DATA_OFF + off, size))
			sim_fail("I9: 0x%llx is shown as free, a write is under way",
				 (unsigned long long)off);
	}
}

/* ---- making it ---- */

struct ownermap *ownermap_new(struct simdisk *disk, struct vmfs_volume *vol)
{
	struct ownermap *m = calloc(1, sizeof(*m));
	uint32_t total = resource_cluster_total(&vol->resources[RESOURCE_FDC], 0);

	assert(m);
	m->disk = disk;
	m->vol = vol;
	for (uint32_t i = 0; i < total; i++) {
		uint64_t off;

		if (!resource_addr_off(vol, addr_of(ADDR_FD, 0, i), &off))
			mark(m, off, false);
	}
	return m;
}

void ownermap_free(struct ownermap *m)
{
	struct unit *u, *next_unit;
	struct fd *fd, *next_fd;
	struct lock_seen *l, *next_lock;

	if (!m)
		return;
	HASH_ITER(hh, m->fds, fd, next_fd) {
		drop_refs(m, fd);
		HASH_DEL(m->fds, fd);
		free(fd);
	}
	HASH_ITER(hh, m->units, u, next_unit) {
		HASH_DEL(m->units, u);
		free(u);
	}
	HASH_ITER(hh, m->locks, l, next_lock) {
		HASH_DEL(m->locks, l);
		free(l);
	}
	free(m);
}
