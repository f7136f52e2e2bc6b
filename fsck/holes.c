/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of a resource file that its descriptor, or a pointer block of it, does not name
 * any more. The block is there still, marked used, and nobody's; it is named again if it
 * is known which one that is:
 *
 *   by what it holds	cluster headers and file descriptors carry their place on the
 *			volume and their number: at this place of this file they are
 *			at home
 *   by where it lies	sub-blocks and pointer blocks carry nothing. Where between the
 *			blocks before and behind the hole just as many are used and
 *			nobody's as are missing, these are they, in their order
 *
 * Else it stays a hole, and is told of: nothing says where the block is, and an empty one
 * in its place would be taken for what it held. What hangs on it is neither freed nor
 * judged.
 *
 * Invariant: a block that any file names, or that is not in use, is never taken.
 */
#include "fsck/holes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/findings.h"
#include "fsck/hole.h"
#include "fsck/mend.h"
#include "fsck/strays.h"

#define GAP_MAX                                                                          \
	64u /* blocks of other files between two of one that was made in a piece */

/* ---- which block ---- */

/* By what it holds: hardly anything may be damaged. */
static bool is_at_home(struct hole *h, uint64_t block)
{
	return hole_is_nobodys(h, block) && hole_weigh(h, block) && h->good &&
	       h->bad <= h->good / 8;
}

/* The blocks next to the hole, by their numbers in the file; 0, or the count: none. */
static uint64_t named_before(const struct fsck_resource *res, uint64_t at)
{
	while (at && !res->blocks[at])
		at--;
	return at;
}

static uint64_t named_behind(const struct fsck_resource *res, uint64_t at)
{
	while (at < res->block_count && !res->blocks[at])
		at++;
	return at;
}

/*
 * The block that must be it by where it lies: between the neighbours are as many that
 * could be it as are missing, in the same order. 0: none must.
 */
static uint64_t find_between(struct hole *h)
{
	const struct fsck_resource *res = &h->f->volume.resources[h->i];
	uint64_t left = named_before(res, h->at), right = named_behind(res, h->at);
	uint64_t missing = right - left - 1, found = 0, block = 0;
	if (right == res->block_count || !res->blocks[left] ||
	    res->blocks[right] - (uint64_t)res->blocks[left] > missing + GAP_MAX)
		return 0;
	for (uint64_t b = res->blocks[left] + 1ull; b < res->blocks[right]; b++)
		if (hole_may_be(h, b) && ++found == h->at - left)
			block = b;
	bool is_it = found == missing && block && hole_weigh(h, block) && !h->bad;
	return is_it ? block : 0;
}

/*
 * Near its neighbours, where a file that was made in one piece has it: marked free, too,
 * for it is there by its place and by what it holds.
 */
static uint64_t find_near(struct hole *h)
{
	const struct fsck_resource *res = &h->f->volume.resources[h->i];
	uint64_t left = named_before(res, h->at), right = named_behind(res, h->at);
	uint64_t block = (uint64_t)res->blocks[left] + (h->at - left);
	if (res->blocks[left] && is_at_home(h, block))
		return block;
	if (right == res->block_count)
		return 0;
	uint64_t behind = right - h->at;
	block = res->blocks[right] > behind ? res->blocks[right] - behind : 0;
	return is_at_home(h, block) ? block : 0;
}

/* Anywhere on the volume, by its first lock; two that could be it are none. */
static uint64_t find_far(struct hole *h)
{
	const struct fsck *f = h->f;
	uint64_t count = f->volume.resources[FSCK_FBB].count, found = 0, off;
	const uint8_t *used = f->maps[FSCK_FBB].allocated;
	uint32_t type;
	if (!used || !hole_first_mark(h, &off, &type))
		return 0;
	for (uint64_t b = bitmap_next_set(used, 1, count); b < count;
	     b = bitmap_next_set(used, b + 1, count)) {
		uint64_t vol_off = (b << f->volume.block_shift) + off;
		struct vmfs_lock_disk lock;
		fsck_progress(f, 1, b, count);
		if (!hole_may_be(h, b) ||
		    fsck_read(&f->volume, vol_off, &lock, sizeof(lock)) != 0 ||
		    le32_get(lock.type) != type || le64_get(lock.addr) != vol_off ||
		    !is_at_home(h, b))
			continue;
		if (found)
			return 0;
		found = b;
	}
	return found;
}

/* ---- naming it ---- */

static void fill(struct hole *h)
{
	struct fsck_volume *v = &h->f->volume;
	enum plan_step step;
	uint64_t off = hole_entry_off(h, &step), block;
	uint8_t entry[sizeof(le64)];
	if (!off)
		return;
	const struct fsck_stray *stray = fsck_stray_at(h->f, h->i, h->at);
	h->not_this = stray ? stray->block : 0;
	block = stray ? stray->instead : 0;
	if (!block)
		block = find_near(h);
	if (!block)
		block = find_between(h);
	if (!block)
		block = find_far(h);
	if (!block)
		return;
	shape_set_entry(v->shape, entry, 0, shape_block(v->shape, block));
	fsck_put(h->f, off, entry, shape_entry_size(v->shape), step);
	v->resources[h->i].blocks[h->at] = (uint32_t)block;
	bitmap_set(h->f->maps[FSCK_FBB].seen, block);
	h->f->is_again = true;
}

/* ---- the whole ---- */

void fsck_check_holes(struct fsck *f, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint64_t count = hole_blocks_needed(&f->volume, i);
	for (uint64_t at = 0; at < count; at++) {
		uint64_t first = at;
		if (res->blocks[at])
			continue;
		while (at + 1 < count && !res->blocks[at + 1])
			at++;
		f->is_partial = true;
		f->is_tree_partial |= i == FSCK_FDC;
		f->has_holes[i] |= fsck_found(f, PROBLEM_RESOURCE_FILE,
					      "%s: blocks %llu to %llu of it are missing",
					      res->name, (unsigned long long)first,
					      (unsigned long long)at);
	}
}

int fsck_mend_holes(struct fsck *f)
{
	struct hole h = { .f = f };
	bool has_any = false;
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++)
		has_any |= f->has_holes[i];
	h.bytes = has_any ? malloc(f->volume.block_size) : NULL;
	if (!h.bytes)
		return has_any ? -ENOMEM : 0;
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		h.i = (enum fsck_resource_index)i;
		uint64_t count =
			f->has_holes[i] ? hole_blocks_needed(&f->volume, h.i) : 0;
		for (h.at = 0; h.at < count; h.at++)
			if (!f->volume.resources[i].blocks[h.at])
				fill(&h);
	}
	if (!f->is_again)
		fsck_believe_strays(&h);
	free(h.bytes);
	return 0;
}
