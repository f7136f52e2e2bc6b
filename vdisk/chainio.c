/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chain as a device.
 *
 * What the map knows and the leaf may be asked for goes straight to the file that has it,
 * whatever its depth. The rest is done by workers: filling the map, and everything that
 * gives the leaf something new.
 *
 * Writing where the leaf has nothing (write_new): the grains' room is taken, they are
 * written whole (what the io does not cover is copied from below), the map is changed,
 * the change is noted. From then on reads find it; on disk it is found after the next
 * commit (delta.c), which a FLUSH waits for.
 *
 * Between the two a death of this process loses what a guest was told is written, and a
 * guest that lives on would not know. Who serves one opens the disk VDISK_PROMPT: then an
 * io that gave the leaf something new ends after the commit, which it shares with those
 * that came meanwhile.
 *
 * Invariants:
 * 1. A region is filled and changed under its shard's lock: two writers of one grain do
 *    not both give it room, and a fill never puts in what was true before a change.
 * 2. The order is data, map, note. So what a commit writes is durable, and what is read
 *    was written.
 * 3. Room that the leaf gave to a grain is not given to another while it is open: a
 *    write in place that is under way never meets somebody else's data.
 * 4. Nothing is written before the descriptor has its new CID.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "bdev/iov.h"
#include "vdisk/chain.h"

#define S DELTA_SECTOR

static struct chain *chain_of(struct bdev *bd)
{
	return ((struct vdisk *)bd)->chain;
}

static struct chain_layer *leaf_of(struct chain *chain)
{
	return chain->layer[chain->count - 1];
}

static bool is_leaf(const struct chain *chain, const struct chain_run *run)
{
	return run->layer == chain->count - 1 && chain->layer[run->layer]->delta;
}

struct sleeplock *chain_shard(struct chain *chain, uint64_t sector)
{
	return &chain->shard[sector / REGION_SECTORS % CHAIN_SHARDS];
}

/* ---- the map ---- */

/* What layer says of a region, where no layer above it has said something. */
static int overlay(struct chain *chain, unsigned int layer, uint64_t region,
		   uint64_t *scratch, uint64_t *place)
{
	struct chain_layer *l = chain->layer[layer];
	uint64_t none = chain_place(CHAIN_NONE, 0);
	int rc = 0;
	if (l->delta && !chainmap_has_layer(chain->map, layer, region))
		return 0;
	if (l->delta)
		rc = delta_places(l->delta, region, scratch);
	for (uint64_t i = 0; i < REGION_SECTORS && rc == 0; i++) {
		uint64_t at = l->delta ? scratch[i] : region * REGION_SECTORS + i;
		if (place[i] != none || at == DELTA_ABSENT)
			continue;
		place[i] = at == DELTA_ZERO ? chain_place(CHAIN_ZERO, 0) :
					      chain_place(layer, at);
	}
	return rc;
}

/* Reads the region's tables, from the leaf down. The shard is held. */
static int fill(struct chain *chain, uint64_t region)
{
	uint64_t *place = malloc(2 * REGION_SECTORS * sizeof(*place));
	int rc = place ? 0 : -ENOMEM;
	for (uint64_t i = 0; i < REGION_SECTORS && rc == 0; i++)
		place[i] = chain_place(CHAIN_NONE, 0);
	for (unsigned int i = chain->count; i-- > 0 && rc == 0;)
		rc = overlay(chain, i, region, place + REGION_SECTORS, place);
	if (rc == 0)
		rc = chainmap_fill(chain->map, region, place);
	free(place);
	return rc;
}

int chain_find_locked(struct chain *chain, uint64_t sector, struct chain_run *ret_run)
{
	int rc = 0;
	while (rc == 0 && !chainmap_find(chain->map, sector, ret_run))
		rc = fill(chain, sector / REGION_SECTORS);
	return rc;
}

int chain_find(struct chain *chain, uint64_t sector, struct chain_run *ret_run)
{
	if (chainmap_find(chain->map, sector, ret_run))
		return 0;
	struct sleeplock *shard = chain_shard(chain, sector);
	sleeplock_acquire(shard);
	int rc = chain_find_locked(chain, sector, ret_run);
	sleeplock_release(shard);
	return rc;
}

int chain_piece(struct chain *chain, uint64_t offset, struct extent_piece *ret_piece)
{
	struct chain_run run;
	int rc = chain_find(chain, offset / S, &run);
	if (rc < 0)
		return rc;
	*ret_piece = (struct extent_piece){ EXTENT_DATA, run.count * S - offset % S };
	if (run.layer >= CHAIN_ZERO) {
		ret_piece->state = EXTENT_ZERO;
	} else if (chain->layer[run.layer]->base) {
		uint64_t len = ret_piece->len;
		rc = vdisk_find(chain->layer[run.layer]->base, offset, ret_piece);
		ret_piece->len = min_u64(ret_piece->len, len);
	}
	return rc;
}

/* ---- map ---- */

/* Which file's hold it is. */
struct hold {
	struct bdev *bd;
	void *hold;
};

static int map_flush(struct chain *chain, const struct bdev_io *io,
		     struct bdev_extent *ret_extent)
{
	struct chain_layer *leaf = leaf_of(chain);
	*ret_extent = (struct bdev_extent){ 0 };
	if (chain->disk->bdev.is_read_only)
		return 0;
	if (delta_is_dirty(leaf->delta) || !leaf->bd->ops->map || chain->mirror ||
	    atomic_load(&chain->owes_flush))
		return -EAGAIN;
	/* The hold of a flush is the file's own: unmap() finds none. */
	int rc = leaf->bd->ops->map(leaf->bd, io, ret_extent);
	assert(rc < 0 || !ret_extent->hold);
	return rc;
}

/* Where the bytes of run lie; op and len are those of inner. */
static int map_below(struct bdev *below, const struct bdev_io *inner,
		     struct bdev_extent *ret_extent)
{
	if (below->ops->submit) {
		*ret_extent = (struct bdev_extent){ below, inner->offset, inner->len, 0,
						    NULL, 0 };
		return 0;
	}
	struct hold *hold = malloc(sizeof(*hold));
	if (!hold)
		return -ENOMEM;
	int rc = below->ops->map(below, inner, ret_extent);
	if (rc < 0 || !ret_extent->hold) {
		free(hold);
		return rc;
	}
	*hold = (struct hold){ below, ret_extent->hold };
	ret_extent->hold = hold;
	return 0;
}

static int chain_map(struct bdev *bd, const struct bdev_io *io,
		     struct bdev_extent *ret_extent)
{
	struct chain *chain = chain_of(bd);
	struct chain_run run;
	if (io->op == BDEV_CAW)
		return -EOPNOTSUPP;
	if (io->op == BDEV_FLUSH)
		return map_flush(chain, io, ret_extent);
	if (io->len == 0) {
		*ret_extent = (struct bdev_extent){ 0 };
		return 0;
	}
	bool is_change = io->op != BDEV_READ;
	if (is_change && (atomic_load(&chain->disk->needs_cid) || io->flags & BDEV_FUA ||
			  chain->mirror))
		return -EAGAIN;
	if (is_change)
		track_note(chain->disk, io);
	if (!chainmap_find(chain->map, io->offset / S, &run))
		return -EAGAIN;
	struct bdev_io inner = *io;
	inner.len = min_u64(io->len, run.count * S);
	if (run.layer >= CHAIN_ZERO) {
		if (io->op == BDEV_WRITE)
			return -EAGAIN;
		*ret_extent = (struct bdev_extent){ .len = inner.len };
		return 0;
	}
	if (is_change && (io->op == BDEV_UNMAP || !is_leaf(chain, &run)))
		return -EAGAIN;
	inner.offset = run.at * S;
	return map_below(chain->layer[run.layer]->bd, &inner, ret_extent);
}

static void chain_unmap(struct bdev *bd, struct bdev_extent *e)
{
	struct hold *hold = e->hold;
	(void)bd;
	if (!hold)
		return;
	e->hold = hold->hold;
	if (hold->bd->ops->unmap)
		hold->bd->ops->unmap(hold->bd, e);
	e->hold = NULL;
	free(hold);
}

static bool chain_settle(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *e,
			 int result)
{
	struct hold *hold = e->hold;
	struct bdev *leaf = leaf_of(chain_of(bd))->bd;
	/* A flush is the leaf's own, and has no hold. */
	if (!hold && io->op == BDEV_FLUSH && leaf->ops->settle)
		return leaf->ops->settle(leaf, io, e, result);
	if (!hold || !hold->bd->ops->settle)
		return true;
	e->hold = hold->hold;
	bool is_final = hold->bd->ops->settle(hold->bd, io, e, result);
	hold->hold = e->hold;
	e->hold = hold;
	return is_final;
}

/* As settle(): of whose file it is. */
static int chain_redo(struct bdev *bd, struct bdev_io *piece, struct bdev_extent *e)
{
	struct hold *hold = e->hold;
	struct bdev *below = hold ? hold->bd : leaf_of(chain_of(bd))->bd;
	if (hold)
		e->hold = hold->hold;
	int rc = below->ops->redo(below, piece, e);
	if (hold)
		e->hold = hold;
	return rc;
}

/* All files are of one volume: the leaf's speaks for all. */
static bool chain_park(struct bdev *bd, struct bdev_io *io)
{
	struct bdev *below = leaf_of(chain_of(bd))->bd;
	return below->ops->park && below->ops->park(below, io);
}

/* ---- reading ---- */

/* [sector, sector + count) into memory. */
static int read_sectors(struct chain *chain, uint8_t *buf, uint64_t count,
			uint64_t sector)
{
	int rc = 0;
	while (count > 0 && rc == 0) {
		struct chain_run run;
		rc = chain_find_locked(chain, sector, &run);
		if (rc < 0)
			break;
		uint64_t n = min_u64(count, run.count);
		if (run.layer >= CHAIN_ZERO)
			(void)memset(buf, 0, n * S);
		else
			rc = bdev_read(chain->layer[run.layer]->bd, buf, n * S,
				       run.at * S);
		buf += n * S;
		sector += n;
		count -= n;
	}
	return rc;
}

/* A piece of a larger io: bytes [done, ...) of it. */
struct part {
	const struct bdev_io *whole;
	struct iovec *iov; /* scratch, as many as whole has */
	uint64_t done;
};

/* Runs op of the whole's memory from part->done on, at a place of bd. */
static int run_part(const struct part *part, struct bdev *bd, uint64_t len, uint64_t at)
{
	struct bdev_io inner = *part->whole;
	inner.flags &= ~(uint32_t)BDEV_FUA; /* a commit follows */
	inner.channel = NULL;
	inner.offset = at * S;
	inner.len = len;
	inner.iov = part->iov;
	inner.iovcnt = iov_slice(part->whole->iov, part->whole->iovcnt, part->done, len,
				 part->iov, part->whole->iovcnt, NULL);
	return bdev_run(bd, &inner);
}

static int read_part(struct chain *chain, const struct part *part, uint64_t len,
		     uint64_t *ret_len)
{
	struct chain_run run;
	uint64_t sector = (part->whole->offset + part->done) / S;
	int rc = chain_find(chain, sector, &run);
	if (rc < 0)
		return rc;
	*ret_len = min_u64(len, run.count * S);
	if (run.layer < CHAIN_ZERO)
		return run_part(part, chain->layer[run.layer]->bd, *ret_len, run.at);
	iov_zero(part->whole->iov, part->whole->iovcnt, part->done, *ret_len);
	return 0;
}

/* ---- giving the leaf something new; the shard is held ---- */

/* Map, then note: invariant 2. */
static int tell(struct chain *chain, uint64_t sector, uint64_t count, uint64_t at)
{
	struct chain_run run = { sector, count, chain->count - 1, at };
	struct chain_run now;
	if (at == DELTA_ZERO) {
		run.layer = CHAIN_ZERO;
		run.at = 0;
	}
	int rc = chain_find_locked(chain, sector, &now); /* it may have gone since */
	while (rc == 0 && (rc = chainmap_change(chain->map, &run)) == -EAGAIN)
		rc = chain_find_locked(chain, sector, &now);
	if (rc < 0)
		return rc;
	rc = delta_note(leaf_of(chain)->delta, sector, count, at);
	if (rc < 0)
		chainmap_unpin(chain->map, sector / REGION_SECTORS);
	else
		chainmap_set_layer(chain->map, chain->count - 1, sector / REGION_SECTORS);
	return rc;
}

/* Whole grains around [sector, sector + count), which is part's memory, or zeros. */
static int write_padded(struct chain *chain, const struct part *part, uint64_t sector,
			uint64_t count, uint64_t at)
{
	uint32_t grain = delta_grain(leaf_of(chain)->delta);
	uint64_t first = round_down(sector, grain), end = round_up(sector + count, grain);
	/* The last grain may reach past the disk. */
	uint64_t last = min_u64(end, chain->disk->bdev.size / S);
	uint8_t *buf = io_alloc((end - first) * S);
	int rc = buf ? read_sectors(chain, buf, sector - first, first) : -ENOMEM;
	if (rc == 0)
		rc = read_sectors(chain, buf + (sector + count - first) * S,
				  last - sector - count, sector + count);
	if (rc == 0 && part)
		iov_gather(buf + (sector - first) * S, part->whole->iov,
			   part->whole->iovcnt, part->done, count * S);
	if (rc == 0)
		rc = bdev_write(leaf_of(chain)->bd, buf, (end - first) * S, at * S);
	free(buf);
	return rc;
}

/* part NULL: zeros. None of the sectors is the leaf's. */
static int write_new(struct chain *chain, const struct part *part, uint64_t sector,
		     uint64_t count)
{
	struct chain_layer *leaf = leaf_of(chain);
	uint32_t grain = delta_grain(leaf->delta);
	uint64_t first = round_down(sector, grain), end = round_up(sector + count, grain);
	uint64_t at;
	int rc = delta_allocate(leaf->delta, end - first, &at);
	if (rc < 0)
		return rc;
	if (part && first == sector && end == sector + count)
		rc = run_part(part, leaf->bd, count * S, at);
	else
		rc = write_padded(chain, part, sector, count, at);
	return rc == 0 ? tell(chain, first, end - first, at) : rc;
}

/* How much from sector on, at most count, is not the leaf's. */
static int count_foreign(struct chain *chain, uint64_t sector, uint64_t count,
			 uint64_t *ret_count)
{
	uint64_t n = 0;
	while (n < count) {
		struct chain_run run;
		int rc = chain_find_locked(chain, sector + n, &run);
		if (rc < 0)
			return rc;
		if (is_leaf(chain, &run))
			break;
		n += run.count;
	}
	*ret_count = min_u64(n, count);
	return 0;
}

static int write_part(struct chain *chain, const struct part *part, uint64_t len,
		      uint64_t *ret_len)
{
	uint64_t sector = (part->whole->offset + part->done) / S;
	struct chain_run run;
	uint64_t count;
	int rc = chain_find_locked(chain, sector, &run);
	if (rc < 0)
		return rc;
	if (is_leaf(chain, &run)) {
		*ret_len = min_u64(len, run.count * S);
		return run_part(part, leaf_of(chain)->bd, *ret_len, run.at);
	}
	rc = count_foreign(chain, sector, len / S, &count);
	if (rc < 0)
		return rc;
	*ret_len = count * S;
	return write_new(chain, part, sector, count);
}

/* Zeros in place, or as new grains: for what has no entry that says so. */
static int zero_by_data(struct chain *chain, uint64_t sector, uint64_t count)
{
	int rc = 0;
	while (count > 0 && rc == 0) {
		struct chain_run run;
		rc = chain_find_locked(chain, sector, &run);
		if (rc < 0)
			break;
		uint64_t n = min_u64(count, run.count);
		if (run.layer < CHAIN_ZERO)
			rc = is_leaf(chain, &run) ?
				     bdev_zero(leaf_of(chain)->bd, n * S, run.at * S) :
				     write_new(chain, NULL, sector, n);
		sector += n;
		count -= n;
	}
	return rc;
}

static int zero_by_entry(struct chain *chain, uint64_t sector, uint64_t count)
{
	bool is_empty = true;
	for (uint64_t n = 0; n < count && is_empty;) {
		struct chain_run run;
		int rc = chain_find_locked(chain, sector + n, &run);
		if (rc < 0)
			return rc;
		is_empty = run.layer >= CHAIN_ZERO;
		n += run.count;
	}
	return is_empty ? 0 : tell(chain, sector, count, DELTA_ZERO);
}

/* ZERO and UNMAP of a piece of one region. */
static int empty_part(struct chain *chain, enum bdev_op op, uint64_t sector,
		      uint64_t count)
{
	struct delta *delta = leaf_of(chain)->delta;
	uint32_t grain = delta_grain(delta);
	uint64_t end = sector + count;
	uint64_t first = round_up(sector, grain), last = round_down(end, grain);
	bool is_whole = delta_has_zero(delta) && first < last;
	int rc = 0;
	if (op == BDEV_ZERO)
		rc = zero_by_data(chain, sector, is_whole ? first - sector : count);
	if (rc == 0 && is_whole)
		rc = zero_by_entry(chain, first, last - first);
	if (rc == 0 && is_whole && op == BDEV_ZERO)
		rc = zero_by_data(chain, last, end - last);
	return rc;
}

/* ---- the blocking form ---- */

/* The leaf has changed, or could not (rc): so does the disk that it sinks into. */
static int mirror_part(struct chain *chain, const struct part *part, uint64_t len, int rc)
{
	struct chain_mirror *m = chain->mirror;
	uint64_t sector = (part->whole->offset + part->done) / S;
	if (sector / REGION_SECTORS >= atomic_load(&m->regions) || atomic_load(&m->error))
		return rc;
	int err = rc;
	if (err == 0 && part->whole->op == BDEV_WRITE)
		err = run_part(part, &m->bottom->bdev, len, sector);
	else if (err == 0)
		err = chain_copy_leaf(chain, m->bottom, sector, len / S);
	if (err < 0 && atomic_load(&m->is_binding))
		return err;
	if (err < 0)
		atomic_store(&m->error, err);
	return rc;
}

/* One piece of one region. */
static int change_part(struct chain *chain, const struct part *part, uint64_t *ret_len)
{
	uint64_t at = part->whole->offset + part->done;
	uint64_t region = REGION_SECTORS * S;
	uint64_t len = min_u64(part->whole->len - part->done, region - at % region);
	struct sleeplock *shard = chain_shard(chain, at / S);
	int rc;
	*ret_len = len;
	sleeplock_acquire(shard);
	if (part->whole->op == BDEV_WRITE)
		rc = write_part(chain, part, len, ret_len);
	else
		rc = empty_part(chain, part->whole->op, at / S, len / S);
	if (chain->mirror)
		rc = mirror_part(chain, part, *ret_len, rc);
	sleeplock_release(shard);
	delta_add_room(leaf_of(chain)->delta);
	if (rc == 0 && (delta_is_full(leaf_of(chain)->delta) ||
			chainmap_is_full(chain->map)))
		rc = delta_commit(leaf_of(chain)->delta);
	return rc;
}

int chain_flush_below(struct chain *chain)
{
	if (!atomic_load(&chain->owes_flush))
		return 0;
	struct chain_layer *below = chain->layer[chain->count - 2];
	int rc = below->delta ? delta_finish(below->delta) : bdev_flush(below->bd);
	if (rc == 0)
		atomic_store(&chain->owes_flush, false);
	return rc;
}

static int flush_mirror(struct chain *chain)
{
	struct chain_mirror *m = chain->mirror;
	if (!m || atomic_load(&m->error))
		return 0;
	int rc = bdev_flush(&m->bottom->bdev);
	if (rc < 0 && !atomic_load(&m->is_binding)) {
		atomic_store(&m->error, rc);
		rc = 0;
	}
	return rc;
}

/* What was written before is durable; in both, while the leaf sinks. */
static int flush(struct chain *chain)
{
	int rc = chain_flush_below(chain);
	if (rc == 0)
		rc = delta_commit(leaf_of(chain)->delta);
	return rc ? rc : flush_mirror(chain);
}

static int chain_rw(struct bdev *bd, struct bdev_io *io)
{
	struct chain *chain = chain_of(bd);
	struct part part = { .whole = io };
	int rc = 0;
	if (io->op == BDEV_CAW)
		return -EOPNOTSUPP;
	if (io->op == BDEV_FLUSH)
		return bd->is_read_only ? 0 : flush(chain);
	if (io->op == BDEV_READ || io->op == BDEV_WRITE) {
		part.iov = malloc((size_t)io->iovcnt * sizeof(*part.iov));
		rc = part.iov ? 0 : -ENOMEM;
	}
	if (rc == 0 && io->op != BDEV_READ)
		rc = vdisk_draw_cid(chain->disk); /* invariant 4 */
	if (io->op != BDEV_READ)
		track_note(chain->disk, io);
	while (part.done < io->len && rc == 0) {
		uint64_t len = 0;
		rc = io->op == BDEV_READ ?
			     read_part(chain, &part, io->len - part.done, &len) :
			     change_part(chain, &part, &len);
		part.done += len;
	}
	free(part.iov);
	if (rc == 0 && io->op != BDEV_READ && io->flags & BDEV_FUA) {
		rc = delta_commit(leaf_of(chain)->delta);
		rc = rc ? rc : flush_mirror(chain);
	}
	if (rc == 0 && io->op != BDEV_READ && !(io->flags & BDEV_FUA) && chain->is_prompt)
		rc = delta_settle(leaf_of(chain)->delta);
	return rc;
}

/* The disk and not its device is what is cut: vmfs does that. */
static void chain_bdev_close(struct bdev *bd)
{
	(void)bd; /* vdisk_close frees it */
}

static const struct bdev_ops chain_ops = {
	.map = chain_map,
	.unmap = chain_unmap,
	.settle = chain_settle,
	.redo = chain_redo,
	.park = chain_park,
	.rw = chain_rw,
	.close = chain_bdev_close,
};

void chain_bdev_init(struct chain *chain, bool is_read_only, struct reporter *r)
{
	struct bdev *bd = &chain->disk->bdev;
	bd->ops = &chain_ops;
	/* A long path is cut: the name is for reports. */
	(void)snprintf(bd->name, sizeof(bd->name), "%s", chain->disk->path);
	bd->size = chain->disk->extent[0].len;
	bd->block_size = S;
	bd->memory_align = 1;
	bd->is_read_only = is_read_only;
	bd->has_write_cache = true;
	bd->has_unmap = delta_has_zero(leaf_of(chain)->delta);
	bd->has_write_zeroes = true;
	bd->reporter = r;
	for (unsigned int i = 0; i < chain->count; i++) {
		const struct bdev *below = chain->layer[i]->bd;
		if (below->memory_align > bd->memory_align)
			bd->memory_align = below->memory_align;
		bd->minds_changes |= below->minds_changes;
	}
}
