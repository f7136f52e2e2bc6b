/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that a resource file names and that are not its own: its descriptor, or a
 * pointer block of it, is damaged, and what lies there may be another file's.
 *
 *   by what it holds	a block where headers or descriptors in use must be, and not one
 *			lock, number or address is at home: in pass 1, before anything of
 *			it is read, and so before anything is written to it
 *   by where it lies	sub-blocks and pointers carry nothing. Blocks with headers are
 *			anchors; the others lie in a row behind the one before, or before
 *			the one behind. One that does not is a stray if the block that
 *			would lie there is in use and nobody's, and either the row goes on
 *			behind it, or the one that is named is free, or another file's
 *
 * A stray is a hole from then on: nothing reads or writes it as part of the file. holes.c
 * names the right block, or nothing. What was worked out with a stray by where it lies,
 * earlier in the round, is about addresses alone, and comes out right in the next one.
 *
 * Where no other block is found, and all that files name is known, and none names this
 * one: it is the right one after all, and was overwritten. Its first lock is made anew,
 * and by that the next round takes it for what it is.
 *
 * Invariant: a block that any other file names is not written to for a resource file. If
 * its content cannot tell whose it is, and its place neither, nothing at all is repaired:
 * with one of the two guesses files would be lost.
 */
#include "fsck/strays.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "fsck/fds.h"
#include "fsck/findings.h"
#include "fsck/hole.h"
#include "fsck/mend.h"

typedef unsigned long long ull;

/* ---- the list ---- */

const struct fsck_stray *fsck_stray_at(const struct fsck *f, enum fsck_resource_index i,
				       uint64_t at)
{
	for (size_t k = 0; k < f->stray_count; k++)
		if (f->strays[k].i == i && f->strays[k].at == at)
			return &f->strays[k];
	return NULL;
}

bool fsck_is_stray_of(const struct fsck *f, uint64_t fd, vmfs_addr addr)
{
	for (size_t k = 0; k < f->stray_count; k++) {
		vmfs_addr owner = f->volume.resources[f->strays[k].i].fd_addr;
		enum fsck_resource_index i;
		uint64_t number;
		if (f->strays[k].block == addr_fb_number(addr) &&
		    fsck_addr_number(&f->volume, owner, &i, &number) && number == fd)
			return true;
	}
	return false;
}

/*
 * The file whose holes those of this one are: small blocks are managed in .fbb.sf, too.
 */
static enum fsck_resource_index file_of(const struct fsck *f, enum fsck_resource_index i)
{
	bool has_large = f->volume.resources[FSCK_LFB].is_usable;
	return i == FSCK_FBB && has_large ? FSCK_LFB : i;
}

/* From here on the file has a hole there. */
static void stray_add(struct fsck *f, const struct fsck_stray *stray)
{
	struct fsck_stray *bigger =
		reallocarray(f->strays, f->stray_count + 1, sizeof(*f->strays));
	f->volume.resources[stray->i].blocks[stray->at] = 0;
	if (stray->i == FSCK_LFB && f->volume.resources[FSCK_FBB].is_usable)
		f->volume.resources[FSCK_FBB].blocks[stray->at] = 0;
	f->is_partial = true;
	f->is_tree_partial |= stray->i == FSCK_FDC;
	f->has_holes[stray->i] |= stray->is_told;
	if (!bigger) {
		f->mend_error = -ENOMEM;
		return;
	}
	f->strays = bigger;
	f->strays[f->stray_count++] = *stray;
}

/* ---- by what it holds ---- */

/* Is the first lock of the block, at off in it, at home? An unread one may be. */
static bool is_lock_home(const struct fsck_volume *v, uint64_t block, uint64_t off,
			 uint32_t type)
{
	uint64_t at = (block << v->block_shift) + off;
	struct vmfs_lock_disk lock;
	int err = fsck_read(v, at, &lock, sizeof(lock));
	return err ? err != -EINVAL
		   : le32_get(lock.type) == type && le64_get(lock.addr) == at;
}

/* Does the block lie beside those before and behind it in the file? */
static bool is_beside(const struct hole *h, uint64_t block)
{
	const struct fsck_resource *res = &h->f->volume.resources[h->i];
	return (h->at && res->blocks[h->at - 1] + 1ull == block) ||
	       (h->at + 1 < res->block_count && res->blocks[h->at + 1] == block + 1);
}

/*
 * Is anything in the block at home? An empty one of descriptors that lies where it must
 * is believed: the bitmap that has some in use may be what is wrong. Online something
 * must be there that is not at home.
 */
static bool is_any_home(struct hole *h, uint64_t block, uint32_t type)
{
	if (block >= h->f->volume.block_count)
		return false;
	if (!hole_weigh(h, block))
		return true;
	bool may_be_empty = h->f->online || (type == VMFS_LOCK_FD && is_beside(h, block));
	return h->locks || h->traces || (may_be_empty && !h->bad);
}

/* Blocks of the file whose first mark is a descriptor, or is a header. */
static void doubt(struct hole *h, enum fsck_resource_index i, bool is_descriptor)
{
	struct fsck *f = h->f;
	const struct fsck_volume *v = &f->volume;
	enum fsck_resource_index file = file_of(f, i);
	const struct fsck_resource *res = &v->resources[i];
	uint64_t count = hole_blocks_needed(v, file), off;
	uint32_t type;
	for (h->at = 0; h->at < count && h->at < res->block_count; h->at++) {
		uint64_t block = res->blocks[h->at];
		h->i = i;
		if (!block || !hole_first_mark(h, &off, &type) ||
		    (type == VMFS_LOCK_FD) != is_descriptor)
			continue;
		h->i = file;
		if (is_lock_home(v, block, off, type) || is_any_home(h, block, type))
			continue;
		const struct fsck_stray stray = {
			.i = file,
			.at = h->at,
			.block = block,
			.is_told = fsck_found(f, PROBLEM_RESOURCE_BLOCK,
					      "%s: block %llu of it is said to be FB "
					      "%llu, where nothing of it is",
					      res->name, (ull)h->at, (ull)block),
		};
		stray_add(f, &stray);
	}
}

static int doubt_all(struct fsck *f, enum fsck_resource_index i, bool is_descriptor)
{
	struct hole h = { .f = f, .bytes = malloc(f->volume.block_size) };
	if (!h.bytes)
		return -ENOMEM;
	doubt(&h, i, is_descriptor);
	free(h.bytes);
	return 0;
}

int fsck_doubt_headers(struct fsck *f, enum fsck_resource_index i)
{
	const struct fsck_resource *lfb = &f->volume.resources[FSCK_LFB];
	struct fsck_resource *res = &f->volume.resources[i];
	/* What large blocks have found out. */
	for (uint64_t at = 0; file_of(f, i) != i && at < res->block_count; at++)
		if (at < lfb->block_count && !lfb->blocks[at])
			res->blocks[at] = 0;
	return doubt_all(f, i, false);
}

int fsck_doubt_descriptors(struct fsck *f)
{
	return doubt_all(f, FSCK_FDC, true);
}

/* ---- by where it lies ---- */

/* Where a block would lie by the anchor before it, and by the one behind; 0: nowhere. */
struct row {
	uint64_t by_left, by_right;
	bool goes_on; /* behind it others lie where the one before says */
};

static bool is_free(const struct fsck_map *map, uint64_t block)
{
	return !bitmap_get(map->was ? map->was : map->allocated, block);
}

static void look_for_stray(struct fsck *f, enum fsck_resource_index i, uint64_t at,
			   const struct row *row)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	const struct fsck_map *map = &f->maps[FSCK_FBB];
	struct hole h = { .f = f, .i = i, .at = at, .not_this = res->blocks[at] };
	uint64_t block = res->blocks[at];
	if (block == row->by_left || block == row->by_right ||
	    block >= f->volume.resources[FSCK_FBB].count)
		return;
	bool is_shared = bitmap_get(map->shared, block);
	struct fsck_stray stray = { .i = i, .at = at, .block = block };
	if (hole_may_be(&h, row->by_left))
		stray.instead = row->by_left;
	else if (hole_may_be(&h, row->by_right))
		stray.instead = row->by_right;
	if (!is_shared &&
	    !(stray.instead && (row->goes_on || is_free(map, block))))
		return;
	stray.is_told =
		fsck_found(f, PROBLEM_RESOURCE_BLOCK,
			   "%s: block %llu of it is said to be FB %llu, %s FB %llu %s",
			   res->name, (ull)at, (ull)block,
			   is_shared ? "which another file has;" : "but",
			   (ull)(stray.instead ? stray.instead : row->by_left),
			   stray.instead ? "is in use, nobody's, and lies there"
					 : "would lie there, and is not its own either");
	stray_add(f, &stray);
	f->summary.is_disputed |= f->options->plan && (!stray.instead || !stray.is_told);
	f->is_again = true;
}

/* The last block up to the next anchor that lies where this one says; itself: none. */
static uint64_t last_in_row(const struct fsck_resource *res, uint64_t anchor, uint64_t to)
{
	uint64_t last = to < res->block_count ? to : to - 1;
	while (last > anchor &&
	       res->blocks[last] != res->blocks[anchor] + (last - anchor))
		last--;
	return last;
}

static void look_along(struct hole *h, uint8_t *anchors, uint64_t count)
{
	const struct fsck_resource *res = &h->f->volume.resources[h->i];
	uint64_t left = 0, right = 0, last = 0, off;
	uint32_t type;
	for (h->at = 0; h->at < count; h->at++)
		if (res->blocks[h->at] && hole_first_mark(h, &off, &type))
			bitmap_set(anchors, h->at);
	for (uint64_t at = 0; at < count; at++) {
		struct row row = { .goes_on = at < last };
		if (bitmap_get(anchors, at)) {
			left = at;
			right = bitmap_next_set(anchors, at + 1, count);
			last = last_in_row(res, at, right);
			continue;
		}
		if (!bitmap_get(anchors, left) || !res->blocks[at])
			continue;
		row.by_left = res->blocks[left] + (at - left);
		if (right < count && res->blocks[right] > right - at)
			row.by_right = res->blocks[right] - (right - at);
		look_for_stray(h->f, h->i, at, &row);
	}
}

void fsck_check_strays(struct fsck *f)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		struct hole h = { .f = f, .i = (enum fsck_resource_index)i };
		uint64_t count = hole_blocks_needed(&f->volume, h.i);
		/* A block of it without a descriptor in use holds nothing. */
		if (h.i == FSCK_FDC)
			continue;
		uint8_t *anchors = calloc(count / 8 + 1, 1);
		h.bytes = malloc(f->volume.block_size); /* places in it are compared */
		if (anchors && h.bytes && f->maps[FSCK_FBB].shared)
			look_along(&h, anchors, count);
		else if (!anchors || !h.bytes)
			f->mend_error = -ENOMEM;
		free(anchors);
		free(h.bytes);
	}
}

/* ---- the right one after all ---- */

/*
 * A block of .fdc.sf: are the files that it has not counted on, whatever they name? Those
 * in it are, for they are gone; those of clusters whose headers are in it may be there.
 */
static bool is_without_files(struct hole *h, uint32_t type)
{
	struct fsck *f = h->f;
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	uint64_t from = h->at << f->volume.block_shift, to = from + f->volume.block_size;
	if (f->stray_count > 1)
		return false;
	for (uint32_t c = 0; c < fdc->cluster_count && type != VMFS_LOCK_FD; c++) {
		uint64_t off = fsck_cluster_off(fdc, c);
		if (off < from || off >= to)
			continue;
		for (uint32_t k = 0; k < fsck_cluster_total(fdc, c); k++)
			if (fsck_looks_used(f, (uint64_t)c * fdc->per_cluster + k))
				return false;
	}
	return true;
}

void fsck_believe_strays(struct hole *h)
{
	struct fsck *f = h->f;
	const struct fsck_volume *v = &f->volume;
	for (size_t k = 0; k < f->stray_count && !f->is_blind && !f->summary.is_live;
	     k++) {
		const struct fsck_stray *stray = &f->strays[k];
		struct vmfs_lock_disk lock = { 0 };
		enum plan_step step;
		uint64_t off;
		h->i = stray->i;
		h->at = stray->at;
		h->not_this = 0;
		if (!stray->is_told || stray->instead || !hole_may_be(h, stray->block) ||
		    !hole_entry_off(h, &step))
			continue;
		uint32_t type;
		if (!hole_first_mark(h, &off, &type) ||
		    (stray->i == FSCK_FDC && !is_without_files(h, type)))
			continue;
		off += stray->block << v->block_shift;
		lock.type = le32_of(type);
		lock.addr = le64_of(off);
		fsck_put(f, off, &lock, sizeof(lock), PLAN_HEADER);
		f->is_again = true;
	}
}
