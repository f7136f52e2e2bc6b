/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What repairs write into the plan (plan.h), and what they take for it.
 *
 * Invariants:
 *   1. A resource is taken only when all addresses of the volume have been seen: it is
 *      free by the cluster as it was read, and nobody names it.
 *   2. What two addresses name is written by neither: first the second one gets a copy,
 *      and the round ends there; the next one sees two files.
 *   3. Bitmaps are written from the allocated maps at the end of a round, whatever the
 *      repairs of it changed in them.
 */
#include "fsck/mend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/fds.h"
#include "fsck/owners.h"

#define SECTOR VMFS_SECTOR_SIZE

static void failed(struct fsck *f, int err)
{
	if (err && !f->mend_error)
		f->mend_error = err;
}

/* ---- bytes ---- */

void fsck_put_device(struct fsck *f, const struct fsck_extent *e, const void *buf,
		     uint64_t len, uint64_t dev_off)
{
	if (f->options->plan)
		failed(f, plan_write(e->bd, PLAN_HEADER, buf, len, dev_off));
}

/* One sector that is changed in part, or whole ones. */
static int put_piece(const struct fsck_extent *e, uint64_t dev_off, const void *buf,
		     uint64_t len, enum plan_step step)
{
	uint64_t in_sector = dev_off % SECTOR;
	uint8_t sector[SECTOR];
	if (in_sector == 0 && len % SECTOR == 0)
		return plan_write(e->bd, step, buf, len, dev_off);
	int err = bdev_read(e->bd, sector, SECTOR, dev_off - in_sector);
	if (err)
		return err;
	memcpy(sector + in_sector, buf, len);
	return plan_write(e->bd, step, sector, SECTOR, dev_off - in_sector);
}

void fsck_put(struct fsck *f, uint64_t vol_off, const void *buf, uint64_t len,
	      enum plan_step step)
{
	const uint8_t *from = buf;
	while (f->options->plan && !f->mend_error && len) {
		const struct fsck_extent *e;
		uint64_t dev_off, n;
		int err = fsck_place(&f->volume, vol_off, &e, &dev_off, &n);
		if (err) {
			failed(f, err);
			return;
		}
		uint64_t in_sector = dev_off % SECTOR;
		n = min_u64(n, len);
		n = in_sector || n < SECTOR ? min_u64(n, SECTOR - in_sector)
					    : round_down(n, SECTOR);
		failed(f, put_piece(e, dev_off, from, n, step));
		vol_off += n;
		from += n;
		len -= n;
	}
}

/* ---- structures ---- */

void fsck_put_cluster(struct fsck *f, const struct fsck_resource *res, uint32_t c,
		      const void *meta)
{
	const struct fsck_extent *e;
	struct fsck_cluster found;
	uint64_t vol_off, dev_off, n;
	int err = fsck_resource_vol_off(&f->volume, res,
					fsck_cluster_off(res, c) + res->meta_off,
					&vol_off);
	if (!err)
		err = fsck_place(&f->volume, vol_off, &e, &dev_off, &n);
	if (!err && f->options->plan) {
		fsck_cluster_take(res, meta, &found);
		uint32_t from = (uint32_t)(found.states - (const uint8_t *)meta);
		err = plan_states(e->bd, meta, res->meta_size, dev_off, from,
				  from + found.states_size);
	}
	failed(f, err);
}

/* Where a descriptor lies; 0: nowhere. */
static uint64_t fd_off(struct fsck *f, uint64_t number)
{
	uint64_t vol_off = 0, size;
	if (fsck_addr_vol_off(&f->volume, fsck_fd_addr(f, number), &vol_off, &size) != 0)
		failed(f, -EUCLEAN);
	return vol_off;
}

void fsck_put_fd(struct fsck *f, uint64_t number, const struct vmfs_fd_meta_disk *meta)
{
	fsck_put(f, fd_off(f, number) + f->volume.shape->fd_body_off, meta, sizeof(*meta),
		 PLAN_FD);
}

void fsck_free_fd(struct fsck *f, uint64_t number)
{
	struct fsck_file file;
	int err = fsck_fd_read(&f->volume, fsck_fd_addr(f, number), &file);
	if (!err) {
		file.meta.links = le32_of(0);
		fsck_put_fd(f, number, &file.meta);
		bitmap_clear(f->maps[FSCK_FDC].allocated, number);
	}
	failed(f, err);
}

void fsck_raise_generation(struct fsck *f, uint64_t number, uint32_t generation)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	struct fsck_cluster_page page;
	uint32_t c = (uint32_t)(number / fdc->per_cluster);
	if (fsck_cluster_read(&f->volume, FSCK_FDC, c, &page) != 0 ||
	    page.found.fd_generation >= generation)
		return;
	page.found.fd_generation = generation;
	fsck_cluster_give(fdc, &page.found, page.meta);
	fsck_put_cluster(f, fdc, c, page.meta);
}

uint32_t fsck_next_generation(struct fsck *f, uint64_t number)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	struct fsck_cluster_page page;
	int err = fsck_cluster_read(&f->volume, FSCK_FDC,
				    (uint32_t)(number / fdc->per_cluster), &page);
	uint32_t generation = err ? 1 : page.found.fd_generation + 1;
	failed(f, err);
	fsck_raise_generation(f, number, generation);
	return generation;
}

/* ---- the maps ---- */

static void set_state(const struct fsck_resource *res, uint8_t *states, uint32_t i,
		      bool is_used)
{
	for (uint32_t k = 0; k < res->state_bits; k++)
		bitmap_clear(states, (uint64_t)i * res->state_bits + k);
	if (!is_used)
		bitmap_set(states, (uint64_t)i * res->state_bits);
}

/* One cluster whose states are to be others. */
static void put_cluster_map(struct fsck *f, enum fsck_resource_index i, uint32_t c)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	const struct fsck_map *map = &f->maps[i];
	uint64_t first = (uint64_t)c * res->per_cluster;
	uint32_t total = fsck_cluster_total(res, c);
	struct fsck_cluster_page page;
	int err = fsck_cluster_read(&f->volume, i, c, &page);
	/* In a block that is missing, as was told, nothing can be written. */
	if (err) {
		failed(f, err == -EUCLEAN ? 0 : err);
		return;
	}
	uint8_t *states = page.meta + (page.found.states - page.meta);
	page.found.free = 0;
	for (uint32_t k = 0; k < total; k++) {
		bool is_used = bitmap_get(map->allocated, first + k);
		if (is_used != bitmap_get(map->was, first + k))
			set_state(res, states, k, is_used);
		page.found.free += fsck_state(res, states, k) & FSCK_STATE_FREE;
	}
	fsck_cluster_give(res, &page.found, page.meta);
	(void)fsck_owners_give(f, i, c, page.meta);
	fsck_put_cluster(f, res, c, page.meta);
}

void fsck_put_maps(struct fsck *f)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		const struct fsck_resource *res = &f->volume.resources[i];
		const struct fsck_map *map = &f->maps[i];
		if (!res->is_usable || !map->was)
			continue;
		for (uint64_t n = 0; n < res->count; n++) {
			uint32_t c = (uint32_t)(n / res->per_cluster);
			const uint8_t *owners = f->owners_changed[i];
			if (bitmap_get(map->allocated, n) == bitmap_get(map->was, n) &&
			    !(owners && bitmap_get(owners, c)))
				continue;
			put_cluster_map(f, (enum fsck_resource_index)i, c);
			n = ((uint64_t)c + 1) * res->per_cluster - 1;
		}
	}
}

/* VMFS-6: a large block that is divided, or part of one that is not. */
static bool is_other_size(const struct fsck *f, enum fsck_resource_index i, uint64_t n)
{
	if (i == FSCK_LFB)
		return bitmap_get(f->converted, n);
	return i == FSCK_FBB && f->converted &&
	       !bitmap_get(f->converted, n / VMFS6_SFB_PER_LFB);
}

/* An entry on the disk names it, which is to go. */
static bool is_named(const struct fsck *f, enum fsck_resource_index i, uint64_t n)
{
	return i == FSCK_FDC && f->options->plan &&
	       plan_is_named(f->options->plan, n);
}

void fsck_keep_named(struct fsck *f, vmfs_addr addr)
{
	enum fsck_resource_index i;
	uint64_t number;
	if (f->options->plan && fsck_addr_number(&f->volume, addr, &i, &number) &&
	    i == FSCK_FDC && number < f->volume.resources[i].count)
		failed(f, plan_note_named(f->options->plan, number));
}

bool fsck_take(struct fsck *f, enum fsck_resource_index i, uint64_t *ret_number)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct fsck_map *map = &f->maps[i];
	for (uint64_t n = map->take_hint; res->is_usable && n < res->count; n++) {
		if (bitmap_get(map->allocated, n) || bitmap_get(map->was, n) ||
		    bitmap_get(map->seen, n) || is_other_size(f, i, n) ||
		    is_named(f, i, n))
			continue;
		bitmap_set(map->allocated, n);
		bitmap_set(map->seen, n);
		map->take_hint = n + 1;
		*ret_number = n;
		return true;
	}
	map->take_hint = res->count;
	return false;
}

/* ---- addresses ---- */

void fsck_fix_add(struct fsck *f, const struct fsck_fix *fix)
{
	struct fsck_fix *bigger =
		reallocarray(f->fixes, f->fix_count + 1, sizeof(*f->fixes));
	if (!bigger) {
		failed(f, -ENOMEM);
		return;
	}
	f->fixes = bigger;
	f->fixes[f->fix_count++] = *fix;
}

static void put_address(struct fsck *f, const struct fsck_fix *fix, vmfs_addr addr)
{
	uint8_t entry[sizeof(le64)];
	shape_set_entry(f->volume.shape, entry, 0, addr);
	fsck_put(f, fix->vol_off, entry, shape_entry_size(f->volume.shape),
		 addr_is_none(fix->holder) ? PLAN_FD : PLAN_POINTERS);
}

/* What one resource holds goes to another one. */
static void copy_resource(struct fsck *f, vmfs_addr from, vmfs_addr to)
{
	const struct fsck_extent *from_e, *to_e;
	uint64_t from_off, to_off, size, from_dev, to_dev, n, k;
	int err = fsck_addr_vol_off(&f->volume, from, &from_off, &size);
	if (!err)
		err = fsck_addr_vol_off(&f->volume, to, &to_off, &size);
	for (uint64_t at = 0; !err && at < size; at += n) {
		err = fsck_place(&f->volume, from_off + at, &from_e, &from_dev, &n);
		if (!err)
			err = fsck_place(&f->volume, to_off + at, &to_e, &to_dev, &k);
		n = min_u64(size - at, min_u64(n, k));
		if (!err)
			err = plan_copy(to_e->bd, to_dev, from_e->bd, from_dev, n);
	}
	failed(f, err);
}

/* The address with the same flags, of another resource. */
static vmfs_addr addr_like(const struct fsck *f, vmfs_addr addr,
			   enum fsck_resource_index i, uint64_t number)
{
	vmfs_addr to = fsck_addr_of(&f->volume, i, number);
	return addr_is_tbz(addr) ? addr_with_tbz(to) : to;
}

static void fix_clone(struct fsck *f, const struct fsck_fix *fix)
{
	enum fsck_resource_index i;
	uint64_t number, copy;
	if (!fsck_addr_number(&f->volume, fix->addr, &i, &number))
		return;
	if (!fsck_take(f, i, &copy)) {
		f->has_no_room = true;
		return;
	}
	if (!fix->is_tbz)
		copy_resource(f, fix->addr, fsck_addr_of(&f->volume, i, copy));
	put_address(f, fix, addr_like(f, fix->addr, i, copy));
	f->is_again = true;
}

static bool is_shared(const struct fsck *f, vmfs_addr addr)
{
	enum fsck_resource_index i;
	uint64_t number;
	return !addr_is_none(addr) && fsck_addr_number(&f->volume, addr, &i, &number) &&
	       f->maps[i].shared && bitmap_get(f->maps[i].shared, number);
}

/* A pointer block that names itself. */
static bool is_loop(const struct fsck *f, const struct fsck_fix *fix)
{
	enum fsck_resource_index i, k;
	uint64_t number, holder;
	return !addr_is_none(fix->holder) &&
	       fsck_addr_number(&f->volume, fix->addr, &i, &number) &&
	       fsck_addr_number(&f->volume, fix->holder, &k, &holder) && i == k &&
	       number == holder;
}

/* Has this cluster of small blocks a header that can be its own? */
static bool has_header(const struct fsck *f, uint32_t c)
{
	struct fsck_cluster_page page;
	const struct vmfs6_cluster_disk *d = (const struct vmfs6_cluster_disk *)page.meta;
	return fsck_cluster_read(&f->volume, FSCK_FBB, c, &page) == 0 &&
	       le32_get(d->signature) == VMFS6_CLUSTER_SIGNATURE &&
	       page.found.number == c;
}

static void put_division(struct fsck *f, uint64_t large, bool is_divided)
{
	const struct fsck_resource *res = &f->volume.resources[FSCK_LFB];
	struct fsck_cluster_page page;
	uint32_t c = (uint32_t)(large / res->per_cluster);
	uint32_t k = (uint32_t)(large % res->per_cluster), free_count = 0;
	if (fsck_cluster_read(&f->volume, FSCK_LFB, c, &page) != 0)
		return;
	uint8_t *states = page.meta + (page.found.states - page.meta);
	set_state(res, states, k, true);
	if (is_divided)
		bitmap_set(states, (uint64_t)k * res->state_bits + 2);
	for (uint32_t i = 0; i < fsck_cluster_total(res, c); i++)
		free_count += fsck_state(res, states, i) & FSCK_STATE_FREE;
	page.found.free = free_count;
	fsck_cluster_give(res, &page.found, page.meta);
	fsck_put_cluster(f, res, c, page.meta);
}

/*
 * A large block is divided or not: whichever of its blocks is named by nobody gives way,
 * and where both are, the address whose size is not the state's.
 */
static bool fix_division(struct fsck *f, const struct fsck_fix *fix)
{
	enum fsck_resource_index i;
	uint64_t number;
	if (!fsck_addr_number(&f->volume, fix->addr, &i, &number))
		return false;
	if (i == FSCK_FBB) {
		uint64_t large = number / VMFS6_SFB_PER_LFB;
		if (bitmap_get(f->maps[FSCK_LFB].seen, large) ||
		    !has_header(f, (uint32_t)large))
			return false;
		put_division(f, large, true);
		return true;
	}
	uint64_t first = number * VMFS6_SFB_PER_LFB;
	uint64_t end = min_u64(first + VMFS6_SFB_PER_LFB,
			       f->volume.resources[FSCK_FBB].count);
	if (bitmap_next_set(f->maps[FSCK_FBB].seen, first, end) < end)
		return false;
	put_division(f, number, false);
	return true;
}

void fsck_fix_all(struct fsck *f)
{
	for (size_t k = 0; k < f->fix_count && !f->mend_error; k++)
		if (f->fixes[k].is_division && fix_division(f, &f->fixes[k]))
			f->is_again = true;
	/* What was of no size may be right by now. */
	if (f->is_again)
		return;
	for (size_t k = 0; k < f->fix_count && !f->mend_error; k++) {
		const struct fsck_fix *fix = &f->fixes[k];
		if (fix->is_clone && !is_loop(f, fix) && !is_shared(f, fix->holder))
			fix_clone(f, fix);
	}
	for (size_t k = 0; k < f->fix_count && !f->mend_error; k++) {
		const struct fsck_fix *fix = &f->fixes[k];
		if (!is_loop(f, fix) && (fix->is_clone || is_shared(f, fix->holder)))
			continue;
		if (fix->is_division && fix->fd == VMFS_FD_FDC)
			continue; /* of a system file */
		put_address(f, fix, (vmfs_addr){ 0 });
		f->is_again = true;
	}
}

/* ---- files ---- */

/* What a free block has in it is nobody's: it goes before anything refers to it. */
static void clear_block(struct fsck *f, vmfs_addr addr)
{
	uint64_t vol_off, size;
	int err = fsck_addr_vol_off(&f->volume, addr, &vol_off, &size);
	uint8_t *zeros = err ? NULL : calloc(1, size);
	if (zeros)
		fsck_put(f, vol_off, zeros, size, PLAN_NEW);
	else
		failed(f, err ? err : -ENOMEM);
	free(zeros);
}

/* Slot i of a file gets a block that was taken. */
static void put_slot(struct fsck *f, uint64_t number, struct fsck_file *file, uint64_t i,
		     vmfs_addr addr)
{
	const struct vmfs_shape *shape = f->volume.shape;
	uint8_t entry[sizeof(le64)];
	clear_block(f, addr);
	shape_set_entry(shape, shape_slots_edit(shape, &file->body), i, addr);
	shape_set_entry(shape, entry, 0, addr);
	file->meta.block_count = le64_of(le64_get(file->meta.block_count) + 1);
	file->meta.new_low = le32_of(le32_get(file->meta.new_low) + 1);
	fsck_put(f,
		 fd_off(f, number) + shape->fd_body_off + shape->fd_slots_off +
			 i * shape_entry_size(shape),
		 entry, shape_entry_size(shape), PLAN_FD);
	fsck_put_fd(f, number, &file->meta);
}

void fsck_first_block(struct fsck *f, uint64_t number, struct fsck_file *file,
		      uint64_t block)
{
	put_slot(f, number, file, 0, fsck_addr_of(&f->volume, FSCK_SBC, block));
}

/* The block that holds a byte of a file, made if there is none. */
static bool block_of(struct fsck *f, uint64_t number, struct fsck_file *file,
		     uint64_t block, vmfs_addr *ret_addr)
{
	uint32_t zla = le32_get(file->meta.zla);
	uint64_t n;
	if (fsck_file_block(&f->volume, file, block, ret_addr) != 0)
		return false;
	if (!addr_is_none(*ret_addr))
		return !is_shared(f, *ret_addr);
	enum fsck_resource_index i = zla == VMFS_ZLA_SB ? FSCK_SBC : FSCK_FBB;
	if ((zla != VMFS_ZLA_SB && zla != VMFS_ZLA_FB) || f->is_partial ||
	    !fsck_take(f, i, &n))
		return false;
	*ret_addr = fsck_addr_of(&f->volume, i, n);
	put_slot(f, number, file, block, *ret_addr);
	return true;
}

/* Bytes in one block. */
static bool put_in_block(struct fsck *f, uint64_t number, struct fsck_file *file,
			 uint64_t off, const void *buf, uint64_t len)
{
	uint32_t size = fsck_file_block_size(&f->volume, file);
	uint64_t vol_off, block_size;
	vmfs_addr addr;
	if (!block_of(f, number, file, off / size, &addr) ||
	    fsck_addr_vol_off(&f->volume, addr, &vol_off, &block_size) != 0)
		return false;
	fsck_put(f, vol_off + off % size, buf, len, PLAN_ENTRIES);
	return true;
}

bool fsck_file_put(struct fsck *f, uint64_t number, struct fsck_file *file, uint64_t off,
		   const void *buf, uint64_t len)
{
	const struct vmfs_shape *shape = f->volume.shape;
	const uint8_t *from = buf;
	uint32_t size = fsck_file_block_size(&f->volume, file);
	if (size == 0)
		return false;
	if (le32_get(file->meta.zla) == VMFS_ZLA_RESIDENT) {
		if (off + len > shape->resident_max)
			return false;
		memcpy(file->body.u.resident + off, buf, len);
		fsck_put(f,
			 fd_off(f, number) + shape->fd_body_off +
				 offsetof(struct vmfs6_fd_body_disk, u.resident) + off,
			 buf, len, PLAN_ENTRIES);
		return true;
	}
	while (len) {
		uint64_t n = min_u64(len, size - off % size);
		if (!put_in_block(f, number, file, off, from, n))
			return false;
		from += n;
		off += n;
		len -= n;
	}
	return true;
}
