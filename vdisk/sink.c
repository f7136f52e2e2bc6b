/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging of a disk that is being written: one of its layers (the top) sinks into the one
 * under it (the bottom). Of a disk that nobody has open it is vdisk_merge().
 *
 *	vdisk_sink         the bottom is locked for us alone, and opened for writing as a
 *			   disk of its own: over the same open files as the lower part of
 *			   the chain, with a map of its own
 *	vdisk_sink_start   nothing is under way: the bottom's tables are the writer's; of
 *			   the leaf, all that changes goes through workers from now on
 *	vdisk_sink_copy    region by region, each in one step, between which I/O goes on
 *	vdisk_sink_switch  nothing is under way: pointers change, and nothing else
 *	vdisk_sink_settle  the bottom is finished and its lock shared, what sank is closed
 *
 * An inner layer is written by nobody. When what it has in some regions is durable in the
 * bottom, the chain's map is told, under the region's shard, that the bottom has it.
 *
 * The leaf is written all the time. Its regions are copied in order, each under its
 * shard; a change of one that has been copied is done to the leaf and to the bottom,
 * before it ends (chainio.c, mirror_part), and a FLUSH is one of both. So it ends however
 * fast the guest writes, and at the end both hold the same and stay so, until the switch
 * makes the bottom, as it was opened, the disk.
 *
 * Invariants:
 * 1. What is written to the bottom before somebody names it in the top's place is what
 *    the top has there. So who opens the top reads the same before, after and at every
 *    moment of it, and a crash costs the work alone: doing it again, online or with
 *    vdisk_merge(), writes the same bytes. What makes it true is that the bottom has no
 *    other child.
 * 2. From the end of copy to the switch every write and flush that has ended is in both.
 *    So while somebody names the bottom in the leaf's place, either is right.
 * 3. Only then, and before its first write as the disk, the bottom gets a new CID: a leaf
 *    that is left over by a crash is refused, and does not show what is not true.
 * 4. While the bottom cannot follow (an error), and nobody names it, the guest does not
 *    notice: the leaf has everything, and the sink fails. Once it may be named, an io
 *    that fails in one of the two fails.
 *
 * The tracking file of the bottom is not believed from before the first copy, until it is
 * what the top's is: by adopting it (inner), or by going on with its row (ctk_ready).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/large.h"
#include "vdisk/chain.h"

#define S DELTA_SECTOR
#define FLUSH_SECTORS (64ull << 11) /* between two flushes of the bottom: 64 MiB */

struct vdisk_sink {
	struct vdisk *disk, *bottom;
	unsigned int top;	/* layer; the bottom is the one under it */
	struct chain_layer *top_layer, *bottom_layer;
	bool is_leaf;
	bool is_made;		/* bottom was made for this, over bottom_layer's delta */
	bool is_started, is_whole, is_switched;
	struct delta *delta;	/* the bottom's writer; after the start what it was */
	struct chain_mirror mirror;
	uint64_t moved;		/* inner: regions that the map knows are the bottom's */
	uint8_t *buf;		/* of a region */
	uint64_t *place;	/* of its sectors */
	struct reporter *reporter;
};

static uint64_t sectors_of(const struct vdisk_sink *s)
{
	return s->disk->bdev.size / S;
}

bool vdisk_is_made_of(const struct vdisk *disk, const char *path)
{
	bool is = !strcmp(disk->path, path);
	for (unsigned int i = 0; disk->chain && i < disk->chain->count && !is; i++)
		is = !strcmp(disk->chain->layer[i]->path, path);
	return is;
}

/* ---- opening ---- */

/* A whole disk, of which others may only read. */
static int lock_base(struct vdisk_sink *s, struct vmfs_holder *ret_holder)
{
	struct vdisk *base = s->bottom_layer->base;
	bool is_flat = true, is_writable = true;
	int rc = 0;
	for (unsigned int i = 0; i < base->extent_count; i++) {
		is_flat &= base->extent[i].ops == &extent_flat_ops;
		is_writable &= descriptor_extent(base->desc, i)->access == EXTENT_RW;
	}
	/* Who has several files has several locks, and one is told of (announce). */
	if (!is_writable || (base->bdev.is_read_only && !is_flat) ||
	    (s->is_leaf && base->extent_count > 1))
		return report_error(s->reporter, -EOPNOTSUPP, "%s: cannot be merged into"
				    " while it is in use: its kind is read only then",
				    base->path);
	for (unsigned int i = 0; i < base->extent_count && is_flat && rc == 0; i++)
		rc = diskfile_upgrade(&base->extent[i].file, ret_holder);
	s->bottom = base;
	if (rc == 0)
		base->bdev.is_read_only = false;
	return rc;
}

/* The map of the bottom knows which layers have tables, as the chain's does. */
static void share_map(struct vdisk_sink *s, struct chain *below)
{
	struct chain *chain = s->disk->chain;
	for (uint64_t i = 0; i < div_up(sectors_of(s), REGION_SECTORS); i++) {
		struct sleeplock *shard = chain_shard(chain, i * REGION_SECTORS);
		sleeplock_acquire(shard);
		for (unsigned int k = 0; k < s->top; k++) {
			if (chainmap_has_layer(chain->map, k, i))
				chainmap_set_layer(below->map, k, i);
		}
		sleeplock_release(shard);
	}
}

static int make_chain(struct vdisk_sink *s)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE };
	struct vdisk *bottom = s->bottom;
	struct chain *below = chain_new(bottom, s->top, &how);
	if (!below)
		return -ENOMEM;
	bottom->chain = below;
	for (unsigned int i = 0; i < s->top; i++)
		below->layer[i] = s->disk->chain->layer[i];
	below->count = s->top;
	share_map(s, below);
	chain_own_leaf(below);
	chain_bdev_init(below, false, s->reporter);
	return chain_open_writer(below, s->bottom_layer, bottom->desc, s->reporter,
				 &s->delta);
}

/* A disk over the delta that is to be written, and what is under it. */
static int make_bottom(struct vdisk_sink *s, struct vmfs_holder *ret_holder)
{
	struct vdisk *bottom = calloc(1, sizeof(*bottom));
	int rc = diskfile_upgrade(&s->bottom_layer->own_file, ret_holder);
	if (rc < 0 || !bottom) {
		free(bottom);
		return rc ? rc : -ENOMEM;
	}
	s->bottom = bottom;
	s->is_made = true;
	sleeplock_init(&bottom->cid);
	bottom->vol = s->disk->vol;
	bottom->is_prompt = s->disk->is_prompt;
	bottom->format = VDISK_THIN; /* as of every chain */
	bottom->path = strdup(s->bottom_layer->path);
	bottom->extent = calloc(1, sizeof(*bottom->extent));
	if (!bottom->path || !bottom->extent)
		return -ENOMEM;
	bottom->extent_count = 1;
	*bottom->extent = (struct vdisk_extent){ .len = s->disk->bdev.size,
						 .disk = bottom };
	rc = vdisk_descriptor_load(bottom->vol, bottom->path, s->reporter, &bottom->desc);
	return rc ? rc : make_chain(s);
}

static int open_bottom(struct vdisk_sink *s, struct vmfs_holder *ret_holder)
{
	struct vdisk *disk = s->disk;
	int rc = chain_flush_below(disk->chain); /* if a fork could not */
	if (rc == 0 && s->is_leaf)
		rc = vdisk_draw_cid(disk); /* it is tracked from here on, if ever */
	if (rc == 0)
		rc = vdisk_check_uncloned_at(disk->vol, s->top_layer->path, s->reporter);
	if (rc == 0)
		rc = vdisk_check_uncloned_at(disk->vol, s->bottom_layer->path,
					     s->reporter);
	if (rc == 0)
		rc = s->bottom_layer->base ? lock_base(s, ret_holder) :
					     make_bottom(s, ret_holder);
	if (rc == 0)
		rc = track_open(s->bottom, s->reporter);
	return rc ? rc : track_merge_begin(s->bottom);
}

static int close_sink(struct vdisk_sink *s);

static int find_layer(const struct vdisk *disk, const char *path, unsigned int *ret_i)
{
	for (unsigned int i = 1; disk->chain && i < disk->chain->count; i++) {
		if (!strcmp(disk->chain->layer[i]->path, path)) {
			*ret_i = i;
			return 0;
		}
	}
	return -ENOENT;
}

int vdisk_sink(struct vdisk *disk, const char *top, struct reporter *r,
	       struct vdisk_sink **ret_sink, struct vmfs_holder *ret_holder)
{
	unsigned int i;
	if (find_layer(disk, top, &i) < 0)
		return report_error(r, -EINVAL, "%s: is not made on anything in %s", top,
				    disk->path);
	struct vdisk_sink *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->disk = disk;
	s->reporter = r;
	s->top = i;
	s->is_leaf = i + 1 == disk->chain->count;
	s->top_layer = disk->chain->layer[i];
	s->bottom_layer = disk->chain->layer[i - 1];
	s->buf = large_alloc(REGION_SECTORS * S);
	s->place = malloc(REGION_SECTORS * sizeof(*s->place));
	int rc = s->buf && s->place ? open_bottom(s, ret_holder) : -ENOMEM;
	if (rc < 0)
		(void)close_sink(s); /* the first error is the one to tell */
	else
		*ret_sink = s;
	return rc;
}

void vdisk_sink_start(struct vdisk_sink *s)
{
	struct delta *delta = s->bottom_layer->delta;
	s->is_started = true;
	if (s->is_made) {
		s->bottom_layer->delta = s->delta;
		s->delta = delta;
	}
	s->mirror.bottom = s->bottom;
	if (s->is_leaf)
		s->disk->chain->mirror = &s->mirror;
}

/* ---- copying the leaf ---- */

/* buf has room for it. */
static int copy_run(struct vdisk *bottom, struct bdev *from, const struct chain_run *run,
		    uint8_t *buf)
{
	uint64_t len = run->count * S;
	int rc = bdev_read(from, buf, len, run->at * S);
	return rc ? rc : bdev_write(&bottom->bdev, buf, len, run->sector * S);
}

int chain_copy_leaf(struct chain *chain, struct vdisk *bottom, uint64_t sector,
		    uint64_t count)
{
	size_t size = count * S;
	uint8_t *buf = large_alloc(size);
	int rc = buf ? 0 : -ENOMEM;
	while (count > 0 && rc == 0) {
		struct chain_run run;
		rc = chain_find_locked(chain, sector, &run);
		if (rc < 0)
			break;
		run.count = min_u64(count, run.count);
		if (run.layer == chain->count - 1)
			rc = copy_run(bottom, chain->layer[run.layer]->bd, &run, buf);
		else if (run.layer == CHAIN_ZERO)
			rc = bdev_zero(&bottom->bdev, run.count * S, sector * S);
		sector += run.count;
		count -= run.count;
	}
	large_free(buf, size);
	return rc;
}

/* A region, and from then on it is mirrored. *ret_count: sectors that were copied. */
static int copy_leaf(struct vdisk_sink *s, uint64_t region, uint64_t *ret_count)
{
	struct chain *chain = s->disk->chain;
	uint64_t sector = region * REGION_SECTORS;
	uint64_t count = min_u64(REGION_SECTORS, sectors_of(s) - sector);
	struct sleeplock *shard = chain_shard(chain, sector);
	int rc = 0;
	sleeplock_acquire(shard);
	*ret_count = chainmap_has_layer(chain->map, s->top, region) ? count : 0;
	if (*ret_count)
		rc = chain_copy_leaf(chain, s->bottom, sector, count);
	if (rc == 0)
		atomic_store(&s->mirror.regions, region + 1);
	sleeplock_release(shard);
	return rc;
}

/* ---- copying an inner layer ---- */

static bool has_top(struct vdisk_sink *s, uint64_t region)
{
	struct chain *chain = s->disk->chain;
	struct sleeplock *shard = chain_shard(chain, region * REGION_SECTORS);
	sleeplock_acquire(shard);
	bool has = chainmap_has_layer(chain->map, s->top, region);
	sleeplock_release(shard);
	return has;
}

static int copy_inner(struct vdisk_sink *s, uint64_t region, uint64_t *ret_count)
{
	uint64_t first = region * REGION_SECTORS;
	uint64_t count = min_u64(REGION_SECTORS, sectors_of(s) - first);
	*ret_count = has_top(s, region) ? count : 0;
	int rc = *ret_count ? delta_places(s->top_layer->delta, region, s->place) : 0;
	for (uint64_t i = 0, n; i < *ret_count && rc == 0; i += n) {
		uint64_t at = s->place[i];
		bool is_data = at != DELTA_ABSENT && at != DELTA_ZERO;
		for (n = 1; i + n < count && s->place[i + n] == (is_data ? at + n : at);)
			n++;
		const struct chain_run run = { first + i, n, s->top, at };
		if (is_data)
			rc = copy_run(s->bottom, s->top_layer->bd, &run, s->buf);
		else if (at == DELTA_ZERO)
			rc = bdev_zero(&s->bottom->bdev, n * S, (first + i) * S);
	}
	return rc;
}

/* Where the bottom has the sectors of a region. */
static int find_places(struct vdisk_sink *s, uint64_t region)
{
	struct delta *delta = s->bottom_layer->delta;
	int rc = delta ? delta_places(delta, region, s->place) : 0;
	for (uint64_t i = 0; i < REGION_SECTORS && rc == 0; i++) {
		uint64_t at = delta ? s->place[i] : region * REGION_SECTORS + i;
		s->place[i] = at == DELTA_ABSENT ? chain_place(CHAIN_NONE, 0) :
			      at == DELTA_ZERO	 ? chain_place(CHAIN_ZERO, 0) :
						   chain_place(s->top - 1, at);
	}
	return rc;
}

/* Everything before end is durable in the bottom: that is where it is read from now. */
static int move_to(struct vdisk_sink *s, uint64_t end)
{
	struct chain *chain = s->disk->chain;
	int rc = bdev_flush(&s->bottom->bdev);
	for (; s->moved < end && rc == 0; s->moved++) {
		struct sleeplock *shard = chain_shard(chain, s->moved * REGION_SECTORS);
		if (!has_top(s, s->moved))
			continue;
		rc = find_places(s, s->moved);
		sleeplock_acquire(shard);
		if (rc == 0)
			rc = chainmap_move(chain->map, s->moved, s->top, s->top - 1,
					   s->place);
		sleeplock_release(shard);
		if (rc < 0)
			break;
	}
	return rc;
}

/* ---- copying ---- */

/* What the tracking file of the bottom will be. */
static int ready_tracking(struct vdisk_sink *s)
{
	struct vdisk top = { .path = s->top_layer->path, .vol = s->disk->vol };
	if (!s->bottom->ctk)
		return 0;
	if (s->is_leaf)
		return ctk_ready(s->bottom->ctk, s->disk->ctk);
	int rc = vdisk_descriptor_load(top.vol, top.path, s->reporter, &top.desc);
	if (rc < 0)
		return rc;
	sleeplock_init(&top.cid);
	rc = track_merge_end(s->bottom, &top, s->reporter);
	(void)ctk_close(top.ctk); /* was only read */
	sleeplock_done(&top.cid);
	descriptor_free(top.desc);
	return rc;
}

/* From now on who writes waits for both, and is told if one fails. */
static int bind(struct vdisk_sink *s)
{
	struct chain *chain = s->disk->chain;
	if (s->is_made)
		s->bottom->chain->is_prompt = chain->is_prompt;
	atomic_store(&s->mirror.is_binding, true);
	/* Whoever did not see that has ended, and its error is there. */
	for (unsigned int i = 0; i < CHAIN_SHARDS; i++) {
		sleeplock_acquire(&chain->shard[i]);
		sleeplock_release(&chain->shard[i]);
	}
	int rc = bdev_flush(&s->disk->bdev);
	return rc ? rc : atomic_load(&s->mirror.error);
}

int vdisk_sink_copy(struct vdisk_sink *s, struct vdisk_progress *progress)
{
	uint64_t regions = div_up(sectors_of(s), REGION_SECTORS), unflushed = 0, count;
	int rc = 0;
	for (uint64_t i = 0; i < regions && rc == 0; i++) {
		rc = s->is_leaf ? copy_leaf(s, i, &count) : copy_inner(s, i, &count);
		unflushed += count;
		if (rc == 0 && unflushed >= FLUSH_SECTORS) {
			rc = s->is_leaf ? bdev_flush(&s->bottom->bdev) :
					  move_to(s, i + 1);
			unflushed = 0;
		}
		if (rc == 0)
			rc = atomic_load(&s->mirror.error);
		if (rc == 0)
			rc = vdisk_step(progress,
					min_u64((i + 1) * REGION_SECTORS, sectors_of(s)) *
						S,
					s->disk->bdev.size);
	}
	if (rc == 0)
		rc = s->is_leaf ? bind(s) : move_to(s, regions);
	if (rc == 0)
		rc = ready_tracking(s);
	s->is_whole = rc == 0;
	return rc;
}

/* ---- switching ---- */

/* Invariant 3. */
void vdisk_sink_named(struct vdisk_sink *s)
{
	struct vdisk *bottom = s->bottom;
	assert(s->is_whole && s->is_leaf);
	int rc = descriptor_set_cid(bottom->desc, vdisk_other_cid(bottom));
	if (rc == 0)
		rc = vdisk_descriptor_publish(bottom->vol, bottom->path, bottom->desc,
					      s->reporter);
	atomic_store(&bottom->needs_cid, rc < 0); /* then the first write draws it */
}

/* What is open for the bottom is the disk's, and the other way round. */
static void exchange(struct vdisk *disk, struct vdisk *bottom)
{
	struct vdisk was = { .desc = disk->desc, .path = disk->path,
			     .format = disk->format, .extent = disk->extent,
			     .extent_count = disk->extent_count, .chain = disk->chain,
			     .ctk = disk->ctk };
	disk->desc = bottom->desc;
	disk->path = bottom->path;
	disk->format = bottom->format;
	disk->extent = bottom->extent;
	disk->extent_count = bottom->extent_count;
	disk->chain = bottom->chain;
	disk->ctk = bottom->ctk;
	atomic_store(&disk->needs_cid, atomic_load(&bottom->needs_cid));
	bottom->desc = was.desc;
	bottom->path = was.path;
	bottom->format = was.format;
	bottom->extent = was.extent;
	bottom->extent_count = was.extent_count;
	bottom->chain = was.chain;
	bottom->ctk = was.ctk;
	for (unsigned int i = 0; i < disk->extent_count; i++)
		disk->extent[i].disk = disk;
	for (unsigned int i = 0; i < bottom->extent_count; i++)
		bottom->extent[i].disk = bottom;
}

/* The old chain has the top and nothing else; settle closes it. */
static void switch_leaf(struct vdisk_sink *s)
{
	struct vdisk *disk = s->disk, *bottom = s->bottom;
	struct reporter *r = disk->bdev.reporter;
	if (bottom->ctk && disk->ctk)
		ctk_switch(bottom->ctk, disk->ctk);
	exchange(disk, bottom);
	bottom->chain->mirror = NULL;
	bottom->chain->disk = bottom;
	bottom->chain->layer[0] = s->top_layer;
	bottom->chain->count = 1;
	if (!disk->chain) {
		vdisk_engine_init(disk, disk->path, false, r);
		return;
	}
	disk->chain->disk = disk;
	chain_bdev_init(disk->chain, false, r);
}

static void switch_inner(struct vdisk_sink *s)
{
	struct chain *chain = s->disk->chain;
	chainmap_drop_layer(chain->map, s->top);
	chain->count--;
	for (unsigned int i = s->top; i < chain->count; i++)
		chain->layer[i] = chain->layer[i + 1];
}

void vdisk_sink_switch(struct vdisk_sink *s)
{
	assert(s->is_whole);
	if (s->is_leaf)
		switch_leaf(s);
	else
		switch_inner(s);
	s->is_switched = true;
}

void vdisk_sink_abandon(struct vdisk_sink *s)
{
	s->disk->chain->mirror = NULL;
}

const char *vdisk_sink_locked_path(const struct vdisk_sink *s)
{
	return s->is_leaf ? s->bottom->extent[0].file.path : NULL;
}

/* ---- settling ---- */

/* The bottom, which was made for this, lets go of what it shares. */
static int unmake_bottom(struct vdisk_sink *s)
{
	struct vdisk *bottom = s->bottom;
	int rc = 0;
	if (s->is_started) {
		rc = delta_finish(s->bottom_layer->delta);
		delta_mute(s->bottom_layer->delta);
	} else {
		delta_abandon(s->delta); /* nothing was noted in it */
		s->delta = NULL;
	}
	if (bottom->chain) {
		chain_disown_leaf(bottom->chain);
		bottom->chain->count = 0;
	}
	int err = vdisk_close(bottom);
	return rc ? rc : err;
}

/* The bottom stays under a disk: nobody writes it any more. */
static int share_bottom(struct vdisk_sink *s)
{
	struct vdisk *base = s->bottom_layer->base;
	int rc = 0;
	if (!base) {
		rc = s->is_made ? unmake_bottom(s) : 0;
		return rc ? rc : diskfile_downgrade(&s->bottom_layer->own_file);
	}
	rc = bdev_flush(&base->bdev);
	for (unsigned int i = 0; i < base->extent_count && rc == 0; i++) {
		if (base->extent[i].ops != &extent_flat_ops)
			continue; /* kinds with tables keep their lock */
		rc = diskfile_downgrade(&base->extent[i].file);
		base->bdev.is_read_only |= rc == 0;
	}
	return rc;
}

static int close_tracking(struct vdisk *disk)
{
	int rc = ctk_close(disk->ctk);
	disk->ctk = NULL;
	return rc;
}

int vdisk_sink_settle(struct vdisk_sink *s)
{
	return close_sink(s);
}

static int close_sink(struct vdisk_sink *s)
{
	int rc = s->bottom ? close_tracking(s->bottom) : 0, err;
	bool is_leaf_gone = s->is_switched && s->is_leaf;
	if (s->bottom && !is_leaf_gone) {
		err = share_bottom(s);
		rc = rc ? rc : err;
	}
	if (is_leaf_gone) {
		/* What it was is closed: all of it is in the disk by now. */
		if (!s->is_made) {
			s->bottom_layer->base = NULL;
			(void)chain_layer_close(s->bottom_layer); /* an empty shell */
		}
		err = vdisk_close(s->bottom);
		rc = rc ? rc : err;
	} else if (s->is_switched) {
		err = chain_layer_close(s->top_layer);
		rc = rc ? rc : err;
	}
	err = delta_close(s->delta);
	rc = rc ? rc : err;
	large_free(s->buf, REGION_SECTORS * S);
	free(s->place);
	free(s);
	return rc;
}

/* ---- another parent ---- */

int vdisk_relink_open(struct vdisk *disk, const char *parent, struct reporter *r)
{
	struct descriptor *above;
	int rc = vdisk_descriptor_load(disk->vol, parent, r, &above);
	if (rc < 0)
		return rc;
	sleeplock_acquire(&disk->cid);
	rc = descriptor_set(disk->desc, "parentFileNameHint",
			    vdisk_relative(disk->path, parent));
	if (rc == 0)
		rc = descriptor_set_parent_cid(disk->desc, descriptor_cid(above));
	if (rc == 0)
		rc = vdisk_descriptor_publish(disk->vol, disk->path, disk->desc, r);
	sleeplock_release(&disk->cid);
	descriptor_free(above);
	return rc;
}
