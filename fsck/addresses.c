/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The addresses of a file (FORMAT.md 6.4): each resource that one names is marked as
 * seen, a second naming is told. A pointer block is descended into only at its first
 * naming.
 */

#include "fsck/addresses.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "fsck/ahead.h"
#include "fsck/findings.h"
#include "fsck/mend.h"
#include "fsck/owners.h"
#include "fsck/strays.h"

#define POINTERS_AHEAD 16u

/* VMFS-6: a large block that is divided, or a small one of one that is not. */
static bool is_divided_otherwise(const struct fsck *f, enum fsck_resource_index i,
				 uint64_t number)
{
	if (!f->converted)
		return false;
	if (i == FSCK_LFB)
		return bitmap_get(f->converted, number);
	return i == FSCK_FBB &&
	       number / VMFS6_SFB_PER_LFB < f->volume.resources[FSCK_LFB].count &&
	       !bitmap_get(f->converted, number / VMFS6_SFB_PER_LFB);
}

/* The address that is looked at goes, or gets a copy of what it names. */
static void fix_address(struct fsck_walk *w, vmfs_addr addr, bool is_clone)
{
	struct fsck_fix fix = { .vol_off = w->entry_off,
				      .addr = addr,
				      .holder = w->holder,
				      .fd = w->number,
				      .is_clone = is_clone,
				      .is_tbz = addr_is_tbz(addr) };
	/* Of a large block each address gets a small one. */
	if (is_clone && addr_type(addr) == ADDR_LFB)
		fix.addr = addr_fb_of_lfb(addr, (uint32_t)(w->at % VMFS6_SFB_PER_LFB));
	if (!w->is_system)
		fsck_fix_add(w->f, &fix);
}

/* An address of a size that its large block does not have: one of them is wrong. */
static void fix_division(struct fsck_walk *w, vmfs_addr addr)
{
	const struct fsck_fix fix = { .vol_off = w->entry_off,
				      .addr = addr,
				      .holder = w->holder,
				      .fd = w->is_system ? VMFS_FD_FDC : w->number,
				      .is_division = true };
	fsck_fix_add(w->f, &fix);
}

/* It is marked used, and was not named before? */
static bool mark_number(struct fsck_walk *w, vmfs_addr addr, enum fsck_resource_index i,
			uint64_t number)
{
	struct fsck *f = w->f;
	struct fsck_map *map = &f->maps[i];
	char text[48];
	unsigned int was = fsck_rests_on(f, KEY_CLUSTER, i,
					 number / f->volume.resources[i].per_cluster);
	if (f->converted && i == FSCK_FBB)
		(void)fsck_rests_on(f, KEY_CLUSTER, FSCK_LFB,
				    number / VMFS6_SFB_PER_LFB /
					    f->volume.resources[FSCK_LFB].per_cluster);
	if (is_divided_otherwise(f, i, number)) {
		if (fsck_found(f, PROBLEM_ADDR_LFB, "%s: %s is %s", w->object,
			       fsck_addr_text(addr, text),
			       i == FSCK_LFB ? "divided into small blocks"
					     : "part of a large block that is not "
					       "divided"))
			fix_division(w, addr);
	} else if (!bitmap_get(map->allocated, number)) {
		if (fsck_found(f, PROBLEM_ADDR_FREE, "%s: %s is marked free", w->object,
			       fsck_addr_text(addr, text)))
			bitmap_set(map->allocated, number);
	}
	bool is_first = !bitmap_get(map->seen, number);
	if (!is_first)
		bitmap_set(map->shared, number);
	if (!is_first && !addr_is_cow(addr)) {
		if (fsck_found(f, PROBLEM_ADDR_SHARED,
			       "%s: %s belongs to another file too", w->object,
			       fsck_addr_text(addr, text)))
			fix_address(w, addr, true);
	}
	bitmap_set(map->seen, number);
	if (is_first)
		fsck_owner_named(f, i, number, w->file, w->object);
	fsck_rests_no_more(f, was);
	return is_first;
}

/* The next pointer block; false: there is none any more. */
static bool cursor_next(struct fsck *f, struct fsck_cursor *c, vmfs_addr *ret_addr)
{
	const struct vmfs_shape *shape = f->volume.shape;
	for (; c->fd < c->total; c->fd++, c->slot = 0) {
		const uint8_t *body = c->fds + (uint64_t)c->fd * shape->fd_size +
				      shape->fd_body_off;
		struct vmfs_fd_meta_disk meta;
		memcpy(&meta, body, sizeof(meta));
		uint32_t zla = le32_get(meta.zla);
		bool has_any = zla == VMFS_ZLA_PB || zla == VMFS_ZLA_PB2 ||
			       zla == VMFS_ZLA_DOUBLE;
		if (!has_any ||
		    !bitmap_get(f->maps[FSCK_FDC].allocated, c->first + c->fd))
			continue;
		for (; c->slot < shape->fd_slots; c->slot++) {
			*ret_addr = shape_entry(shape, body + shape->fd_slots_off,
						c->slot);
			if (!addr_is_none(*ret_addr) &&
			    fsck_is_pointer(&f->volume, zla, *ret_addr))
				return true;
		}
	}
	return false;
}

/* As many of the next pointer blocks as there is room for. */
static void want_pointers(struct fsck *f)
{
	vmfs_addr addr;
	while (f->ahead && f->cursor && cursor_next(f, f->cursor, &addr) &&
	       fsck_ahead_want_addr(f->ahead, addr))
		f->cursor->slot++;
}

/* Marks what addr names. true if it is there and was not named before. */
static bool mark(struct fsck_walk *w, vmfs_addr addr)
{
	struct fsck *f = w->f;
	enum fsck_resource_index i;
	uint64_t number;
	char text[48];
	if (fsck_addr_number(&f->volume, addr, &i, &number))
		return mark_number(w, addr, i, number);
	/* Told once if the file that manages it is unusable. */
	for (unsigned int k = 0; k < FSCK_RESOURCE_COUNT; k++)
		if (f->volume.resources[k].addr_type == addr_type(addr) &&
		    f->volume.resources[k].is_damaged) {
			f->is_blind = true;
			w->is_unread = true;
			return false;
		}
	if (fsck_found(f, PROBLEM_ADDR_RANGE, "%s: %s does not exist", w->object,
		       fsck_addr_text(addr, text)))
		fix_address(w, addr, false);
	return false;
}

/* VMFS-6: the address of a large block stands for each of its blocks. */
static void mark_large(struct fsck_walk *w, vmfs_addr addr, uint64_t at)
{
	uint64_t base = at / VMFS6_SFB_PER_LFB;
	w->in_large++;
	w->at = at;
	if (w->large.raw == addr.raw && w->large_base == base)
		return;
	size_t fixes = w->f->fix_count;
	w->large = addr;
	w->large_base = base;
	w->large_blocks++;
	(void)mark(w, addr);
	/* What is taken away goes address by address. */
	if (w->f->fix_count != fixes)
		w->large.raw = 0;
}

/* The address of data block `at` of the file, of the wanted type. */
static void mark_data(struct fsck_walk *w, vmfs_addr addr, enum vmfs_addr_type wanted,
		      uint64_t at)
{
	bool is_large = wanted == ADDR_FB && addr_type(addr) == ADDR_LFB &&
			w->f->volume.shape->version == 6;
	char text[48];
	if (addr_is_none(addr))
		return;
	/* Directories have no parents to share blocks with. */
	bool is_odd = addr_is_cow(addr) &&
		      fsck_is_directory(&w->f->volume, w->file);
	if ((addr_type(addr) != wanted && !is_large) || is_odd) {
		if (fsck_found(w->f, PROBLEM_ADDR_TYPE,
			       "%s: %s stands where a data block must be", w->object,
			       fsck_addr_text(addr, text)))
			fix_address(w, addr, false);
		return;
	}
	w->blocks++;
	w->tbz += addr_is_tbz(addr);
	w->cow += addr_is_cow(addr);
	if (is_large)
		mark_large(w, addr, at);
	else if (!w->is_system || !fsck_is_stray_of(w->f, w->number, addr))
		(void)mark(w, addr);
}

/*
 * Reads a pointer block at its first naming; NULL if there is nothing to follow. Else
 * *ret_off: its vol offset.
 */
static uint8_t *pointers_load(struct fsck_walk *w, vmfs_addr addr, uint64_t *ret_off)
{
	const struct fsck_volume *v = &w->f->volume;
	char text[48], what[112];
	uint64_t size;
	if (addr_is_none(addr))
		return NULL;
	(void)fsck_addr_text(addr, text);
	if (!fsck_is_pointer(v, le32_get(w->file->meta.zla), addr)) {
		if (fsck_found(w->f, PROBLEM_ADDR_TYPE,
			       "%s: %s stands where a pointer block must be", w->object,
			       text))
			fix_address(w, addr, false);
		return NULL;
	}
	w->pointer_blocks++;
	if (!mark(w, addr))
		return NULL;
	(void)snprintf(what, sizeof(what), "%s: %s", w->object, text);
	uint8_t *entries = malloc(v->shape->pb_size);
	if (!entries) {
		w->error = -ENOMEM;
		return NULL;
	}
	int err = fsck_addr_vol_off(v, addr, ret_off, &size);
	if (!err)
		err = fsck_addr_read(v, addr, 0, entries, v->shape->pb_size);
	if (fsck_read_result(w->f, err, what) == 0)
		return entries;
	w->is_unread = true;
	w->f->is_blind = true;
	free(entries);
	return NULL;
}

/* Entry i of a pointer block; of the slots of the FD where pb is none. */
static void look_at(struct fsck_walk *w, vmfs_addr pb, uint64_t entries_off, uint32_t i)
{
	w->holder = pb;
	w->entry_off = entries_off + (uint64_t)i * shape_entry_size(w->f->volume.shape);
}

/* A pointer block whose first entry is for data block `at`. */
static void walk_pointers(struct fsck_walk *w, vmfs_addr pb, uint64_t at)
{
	const struct vmfs_shape *shape = w->f->volume.shape;
	uint64_t off;
	uint8_t *entries = pointers_load(w, pb, &off);
	for (uint32_t i = 0; entries && i < shape->pb_entries; i++) {
		vmfs_addr addr = shape_entry(shape, entries, i);
		if (addr_is_none(addr))
			continue;
		look_at(w, pb, off, i);
		mark_data(w, addr, ADDR_FB, at + i);
	}
	free(entries);
}

static void walk_double(struct fsck_walk *w, vmfs_addr pb, uint64_t at)
{
	const struct vmfs_shape *shape = w->f->volume.shape;
	uint64_t off;
	uint8_t *entries = pointers_load(w, pb, &off);
	for (uint32_t i = 0; entries && i < shape->pb_entries; i++) {
		look_at(w, pb, off, i);
		for (uint32_t k = i; k < i + POINTERS_AHEAD && k < shape->pb_entries; k++)
			(void)fsck_ahead_want_addr(w->f->ahead,
						   shape_entry(shape, entries, k));
		walk_pointers(w, shape_entry(shape, entries, i),
			      at + (uint64_t)i * shape->pb_entries);
	}
	free(entries);
}

void fsck_walk_slots(struct fsck_walk *w, uint64_t fd_off)
{
	const struct fsck_volume *v = &w->f->volume;
	uint32_t zla = le32_get(w->file->meta.zla);
	uint64_t entries = v->shape->pb_entries;
	uint64_t slots_off = fd_off + v->shape->fd_body_off + v->shape->fd_slots_off;
	bool is_pointers = zla == VMFS_ZLA_PB || zla == VMFS_ZLA_PB2 ||
			   zla == VMFS_ZLA_DOUBLE;
	bool is_known = is_pointers || zla == VMFS_ZLA_FB || zla == VMFS_ZLA_SB;
	if (zla == VMFS_ZLA_RESIDENT || le32_get(w->file->meta.type) == VMFS_TYPE_RDM)
		return;
	for (uint32_t i = 0; i < v->shape->fd_slots && !w->error; i++) {
		vmfs_addr addr = fsck_slot(v, w->file, i);
		if (is_known && addr_is_none(addr))
			continue;
		if (is_pointers)
			want_pointers(w->f);
		look_at(w, (vmfs_addr){ 0 }, slots_off, i);
		switch (zla) {
		case VMFS_ZLA_FB:
			mark_data(w, addr, ADDR_FB, i);
			break;
		case VMFS_ZLA_SB:
			mark_data(w, addr, ADDR_SB, i);
			break;
		case VMFS_ZLA_PB:
		case VMFS_ZLA_PB2:
			walk_pointers(w, addr, i * entries);
			break;
		case VMFS_ZLA_DOUBLE:
			walk_double(w, addr, i * entries * entries);
			break;
		default:
			w->f->is_partial = true; /* what it names is not known */
			w->f->is_blind = true;
			return;
		}
	}
}
