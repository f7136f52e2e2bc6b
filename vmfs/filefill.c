/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that are being filled: TBZ on disk, some of their bytes written in place, the
 * others still whatever they were.
 *
 *	TBZ --begin--> FILLING --all written, or the rest zeroed--> READY (filemap.c)
 *	                  '----blocks taken away: forget----> a hole
 *
 * A first write into a part of a block would have to wait until the block is zeroed, and
 * a file that is written from the beginning to the end would be written twice. So what is
 * written is noted, piece by piece, and only what nobody has written is zeroed, when
 * somebody must know the block as a whole: who reads it, who makes the file durable, who
 * writes less than a piece.
 *
 * Crash at any moment: the mark is on disk, the block reads as zeros. It goes by the
 * commit, which finishes all fills before its FLUSH (filecommit.c). A guest that lives on
 * needs the mark gone with each write (VMFS_PROMPT), so such files have no fills; nor
 * have those of several writers.
 *
 * Invariants:
 * 1. A piece is noted when its write has ended well, not before. What a write that failed
 *    or is under way has left in a piece that is not noted is zeroed with the rest.
 * 2. Fills begin and end under the file's sleeplock. Who writes to one holds the map
 *    (filemap.c, invariant 2) and is counted in it; who ends it lets no more in and waits
 *    for those.
 * 3. file_run_at() finishes what it finds FILLING: nobody who holds the sleeplock and
 *    asks that way ever sees one.
 * 4. There are at most FILLS_MAX in a file: a commit does not zero more than that, and
 *    who begins one more finishes the oldest together, those that lie one behind the
 *    other with one command for each gap.
 *
 * Whose writes are scattered would wait again and again for the rest of many blocks to be
 * zeroed: when there are that many, and the oldest have little in them, none is begun
 * behind them but by a sequence (filefill_may_begin). Who takes blocks then has them
 * zeroed, all that are taken together by one command, before they are written.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/align.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/volume.h"

#define PIECE 4096u
#define FILLS_MAX 64u
#define FINISH_AT_ONCE 16u

struct file_fill {
	TAILQ_ENTRY(file_fill) link; /* f->fills, oldest first */
	uint64_t block, vol_off;
	struct bdev *leaf; /* the whole block lies there; NULL: in pieces */
	uint64_t leaf_off;
	unsigned int writers;
	bool is_closing;
	uint64_t left;	    /* pieces that nobody has written */
	uint64_t written[]; /* a bit for each piece */
};

static uint64_t pieces_of(const struct vmfs_file *f)
{
	return f->vol->block_size / PIECE;
}

static bool is_written(const struct file_fill *fill, uint64_t piece)
{
	return fill->written[piece / 64] >> (piece % 64) & 1;
}

/* With f->m held. */
static struct file_fill *find(const struct vmfs_file *f, uint64_t block)
{
	struct file_fill *fill;
	TAILQ_FOREACH(fill, &f->fills, link) {
		if (fill->block == block)
			break;
	}
	return fill;
}

bool filefill_is(const struct vmfs_file *f, uint64_t block)
{
	return f->fill_count && find(f, block);
}

static void unlink_fill(struct vmfs_file *f, struct file_fill *fill)
{
	TAILQ_REMOVE(&f->fills, fill, link);
	f->fill_count--;
}

void filefill_forget(struct vmfs_file *f, uint64_t block, uint64_t end)
{
	struct file_fill *fill = TAILQ_FIRST(&f->fills);
	while (fill) {
		struct file_fill *next = TAILQ_NEXT(fill, link);
		if (fill->block >= block && fill->block < end) {
			assert(!fill->writers);
			unlink_fill(f, fill);
			free(fill);
		}
		fill = next;
	}
}

/* ---- the end ---- */

/* What was filled to the end costs nothing more. With f->m held. */
static void settle_full(struct vmfs_file *f)
{
	struct file_fill *fill = TAILQ_FIRST(&f->fills);
	while (fill) {
		struct file_fill *next = TAILQ_NEXT(fill, link);
		if (!fill->left && !fill->writers) {
			unlink_fill(f, fill);
			filemap_set_ready(f, fill->block, 1);
			free(fill);
		}
		fill = next;
	}
}

struct gap {
	uint64_t from, to; /* in the volume */
};

static int zero_gap(struct vmfs_file *f, const struct gap *gap)
{
	return gap->to > gap->from ?
			     vmfs_gate_zero(f->vol, gap->from, gap->to - gap->from) :
			     0;
}

/* What of a fill is not written joins the gap, which is zeroed where it ends. */
static int zero_rest(struct vmfs_file *f, const struct file_fill *fill, struct gap *gap)
{
	int rc = 0;
	for (uint64_t i = 0; rc == 0 && i < pieces_of(f); i++) {
		uint64_t at = fill->vol_off + i * PIECE;
		if (is_written(fill, i))
			continue;
		if (gap->to != at) {
			rc = zero_gap(f, gap);
			gap->from = at;
		}
		gap->to = at + PIECE;
	}
	return rc;
}

static int by_place(const void *a, const void *b)
{
	const struct file_fill *const *x = a, *const *y = b;
	return ((*x)->vol_off > (*y)->vol_off) - ((*x)->vol_off < (*y)->vol_off);
}

/* Nobody writes to them then, or begins to. With f->m held. */
static void close_fills(struct vmfs_file *f, struct file_fill **fills, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		fills[i]->is_closing = true;
	for (unsigned int i = 0; i < count; i++)
		while (fills[i]->writers)
			cond_wait(&f->c, &f->m);
}

/* They become READY; on failure they stay what they are. */
static int finish(struct vmfs_file *f, struct file_fill **fills, unsigned int count)
{
	struct gap gap = { 0 };
	int rc = 0;
	assert(sleeplock_is_mine(&f->sleeplock));
	mutex_lock(&f->m);
	close_fills(f, fills, count);
	mutex_unlock(&f->m);
	qsort(fills, count, sizeof(struct file_fill *), by_place);
	for (unsigned int i = 0; rc == 0 && i < count; i++)
		rc = zero_rest(f, fills[i], &gap);
	if (rc == 0)
		rc = zero_gap(f, &gap);
	mutex_lock(&f->m);
	for (unsigned int i = 0; i < count; i++) {
		fills[i]->is_closing = false;
		if (rc == 0)
			fills[i]->left = 0;
	}
	settle_full(f);
	mutex_unlock(&f->m);
	return rc;
}

/* The oldest, as many as fit. With f->m held. */
static unsigned int oldest(const struct vmfs_file *f, struct file_fill **fills,
			   unsigned int max)
{
	struct file_fill *fill;
	unsigned int count = 0;
	TAILQ_FOREACH(fill, &f->fills, link) {
		if (count == max)
			break;
		fills[count++] = fill;
	}
	return count;
}

int filefill_finish(struct vmfs_file *f, uint64_t block)
{
	mutex_lock(&f->m);
	struct file_fill *fill = find(f, block);
	mutex_unlock(&f->m);
	/* It ends under the sleeplock alone, which is ours. */
	return fill ? finish(f, &fill, 1) : 0;
}

int filefill_finish_all(struct vmfs_file *f)
{
	struct file_fill *fills[FILLS_MAX];
	mutex_lock(&f->m);
	unsigned int count = oldest(f, fills, FILLS_MAX);
	mutex_unlock(&f->m);
	return count ? finish(f, fills, count) : 0;
}

void filefill_done(struct vmfs_file *f)
{
	filefill_forget(f, 0, UINT64_MAX);
}

/* ---- the beginning ---- */

/* A write of so many bytes, which end in its block. */
bool filefill_may(const struct vmfs_file *f, uint64_t offset, uint64_t len)
{
	return !f->is_prompt && !(f->flags & VMFS_MULTI_WRITER) &&
	       !((offset | len) % PIECE);
}

/* Most of the oldest are less than half written. With f->m held. */
static bool is_scattered(const struct vmfs_file *f)
{
	const struct file_fill *fill;
	unsigned int seen = 0, few = 0;
	if (f->fill_count < FILLS_MAX)
		return false;
	TAILQ_FOREACH(fill, &f->fills, link) {
		if (seen++ == FINISH_AT_ONCE)
			break;
		few += fill->left > pieces_of(f) / 2;
	}
	return few > FINISH_AT_ONCE / 2;
}

bool filefill_may_begin(struct vmfs_file *f)
{
	assert(sleeplock_is_mine(&f->sleeplock));
	if (f->is_prompt || f->flags & VMFS_MULTI_WRITER)
		return false;
	if (f->ahead_window)
		return true;
	mutex_lock(&f->m);
	settle_full(f);
	bool is = !is_scattered(f);
	mutex_unlock(&f->m);
	return is;
}

static void find_leaf(struct vmfs_file *f, struct file_fill *fill)
{
	uint64_t run;
	if (lvm_map(&f->vol->lvm, fill->vol_off, &fill->leaf, &fill->leaf_off, &run) <
		    0 || run < f->vol->block_size)
		fill->leaf = NULL;
}

int filefill_begin(struct vmfs_file *f, uint64_t block, uint64_t vol_off)
{
	struct file_fill *old[FINISH_AT_ONCE];
	uint64_t words = div_up(pieces_of(f), 64);
	unsigned int count = 0;
	assert(sleeplock_is_mine(&f->sleeplock));
	mutex_lock(&f->m);
	settle_full(f);
	if (f->fill_count == FILLS_MAX)
		count = oldest(f, old, FINISH_AT_ONCE);
	mutex_unlock(&f->m);
	int rc = count ? finish(f, old, count) : 0;
	if (rc < 0)
		return rc;
	struct file_fill *fill =
		calloc(1, sizeof(*fill) + words * sizeof(fill->written[0]));
	if (!fill)
		return -ENOMEM;
	fill->block = block;
	fill->vol_off = vol_off;
	fill->left = pieces_of(f);
	find_leaf(f, fill);
	mutex_lock(&f->m);
	TAILQ_INSERT_TAIL(&f->fills, fill, link);
	f->fill_count++;
	mutex_unlock(&f->m);
	return 0;
}

bool filefill_try(struct vmfs_file *f, uint64_t block)
{
	struct file_run run;
	if (!sleeplock_try(&f->sleeplock))
		return false;
	mutex_lock(&f->m);
	settle_full(f);
	bool is = f->fill_count < FILLS_MAX && filemap_run(f, block, 1, &run) == 0 &&
		  run.state == FILE_TBZ;
	mutex_unlock(&f->m);
	is = is && filefill_begin(f, block, run.vol_off) == 0; /* finishes no other */
	sleeplock_release(&f->sleeplock);
	return is;
}

/* ---- what is written ---- */

/*
 * A fill that may be written to, and a place in it; on_leaf: on one device. NULL: it is
 * not one, or not now.
 */
static struct file_fill *enter(struct vmfs_file *f, uint64_t block, bool on_leaf)
{
	if (!passage_enter(&f->holds, FILE_QUIESCING))
		return NULL;
	mutex_lock(&f->m);
	struct file_fill *fill = find(f, block);
	if (fill && (fill->is_closing || (on_leaf && !fill->leaf)))
		fill = NULL;
	if (fill)
		fill->writers++;
	mutex_unlock(&f->m);
	if (!fill)
		filemap_unhold(f);
	return fill;
}

static void note(struct file_fill *fill, uint64_t in_block, uint64_t len)
{
	assert(!((in_block | len) % PIECE));
	for (uint64_t i = in_block / PIECE; i < (in_block + len) / PIECE; i++) {
		fill->left -= !is_written(fill, i);
		fill->written[i / 64] |= 1ull << (i % 64);
	}
}

static void leave(struct vmfs_file *f, struct file_fill *fill)
{
	if (--fill->writers == 0 && fill->is_closing)
		cond_broadcast(&f->c);
}

int filefill_write(struct vmfs_file *f, const void *buf, uint64_t len, uint64_t offset)
{
	uint64_t in_block = offset % f->vol->block_size;
	struct file_fill *fill = enter(f, offset / f->vol->block_size, false);
	assert(in_block + len <= f->vol->block_size && !((offset | len) % PIECE));
	if (!fill)
		return -EAGAIN;
	int rc = vmfs_gate_write(f->vol, fill->vol_off + in_block, buf, len, 0);
	mutex_lock(&f->m);
	if (rc == 0)
		note(fill, in_block, len);
	leave(f, fill);
	mutex_unlock(&f->m);
	if (rc == 0)
		file_note_written(f, offset + len);
	filemap_unhold(f);
	return rc;
}

/* ---- the same of a device's io, which does not wait for its end ---- */

/* With f->m held. */
static struct file_fill *find_place(struct vmfs_file *f, const struct bdev *leaf,
				    uint64_t leaf_off)
{
	struct file_fill *fill;
	TAILQ_FOREACH(fill, &f->fills, link) {
		if (fill->leaf == leaf && leaf_off >= fill->leaf_off &&
		    leaf_off < fill->leaf_off + f->vol->block_size)
			break;
	}
	return fill;
}

int filefill_hold(struct vmfs_file *f, uint64_t offset, uint64_t len,
		  struct bdev_extent *ret_extent)
{
	uint64_t in_block = offset % f->vol->block_size;
	if (!filefill_may(f, offset, len) || in_block + len > f->vol->block_size)
		return -EAGAIN;
	struct file_fill *fill = enter(f, offset / f->vol->block_size, true);
	if (!fill)
		return -EAGAIN;
	*ret_extent = (struct bdev_extent){ .leaf = fill->leaf,
					    .offset = fill->leaf_off + in_block,
					    .len = len };
	return 0;
}

void filefill_note(struct vmfs_file *f, const struct bdev *leaf, uint64_t leaf_off,
		   uint64_t len)
{
	mutex_lock(&f->m);
	struct file_fill *fill = find_place(f, leaf, leaf_off);
	assert(fill); /* it is held */
	note(fill, leaf_off - fill->leaf_off, len);
	mutex_unlock(&f->m);
}

void filefill_unhold(struct vmfs_file *f, const struct bdev *leaf, uint64_t leaf_off)
{
	mutex_lock(&f->m);
	struct file_fill *fill = find_place(f, leaf, leaf_off);
	assert(fill);
	leave(f, fill);
	mutex_unlock(&f->m);
	filemap_unhold(f);
}
