/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosted sparse extents (type SPARSE): monolithicSparse, twoGbMaxExtentSparse.
 *
 * What has a place goes straight to the file. A write to a grain that has none gets one
 * in map() already, if its table is in memory and the file has room: no I/O, no wait; a
 * worker is needed for reading a table, for growing the file, and for FLUSH after that.
 * A new place reads as zeros, so a write of a part of a grain writes that part alone.
 *
 * ZERO and UNMAP keep the place: the file is told to zero or to punch it. So nobody who
 * has looked a place up can find other bytes in it (grains.c, invariant 1).
 *
 * A stream's extent (streamOptimized) has the same type in the descriptor; its header
 * says so, and stream.c reads it.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "bdev/iov.h"
#include "vdisk/extent.h"
#include "vdisk/grains.h"
#include "vdisk/stream.h"

static struct grains *grains_of(struct vdisk_extent *extent)
{
	return extent->kind_state;
}

static uint64_t grain_bytes(const struct grains *g)
{
	return g->head.grain * VDISK_SECTOR;
}

/* ---- opening ---- */

static int check_size(struct vdisk_extent *extent, const struct sparse_head *head,
		      struct reporter *r)
{
	uint64_t sectors = extent->len / VDISK_SECTOR;
	if (head->capacity >= sectors)
		return 0;
	return report_error(r, -EUCLEAN, "%s: extent %s has a capacity of %" PRIu64
			    " sectors; the descriptor says %" PRIu64, extent->disk->path,
			    extent->file.path, head->capacity, sectors);
}

/* A table that is missing cannot be written; one that lies on another must not. */
static int check_writable(const struct sparse_head *head, const char *name,
			  struct reporter *r)
{
	if (head->overhead == 0)
		return report_error(r, -EROFS, "%s: sparse header: overhead is 0: where"
				    " grains begin is not known, so it is not written",
				    name);
	return 0;
}

static int sparse_open(struct vdisk_extent *extent,
		       const struct vdisk_open_options *options)
{
	struct sparse_head head;
	bool is_writer = options->flags & VDISK_WRITE;
	int rc = sparse_head_read(&extent->file, options->reporter, &head);
	if (rc == 0)
		rc = check_size(extent, &head, options->reporter);
	if (rc == 0 && head.is_compressed)
		return stream_open(extent, &head, options);
	if (rc == 0 && is_writer)
		rc = check_writable(&head, extent->file.path, options->reporter);
	if (rc < 0)
		return rc;
	struct grains *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	extent->kind_state = g;
	if (is_writer && head.is_unclean)
		report(options->reporter, REPORT_INFO,
		       "%s: was not closed by who wrote it last", extent->file.path);
	rc = grains_open(g, &extent->file, &head, options->reporter);
	g->is_prompt = options->flags & VDISK_PROMPT;
	return rc;
}

static int sparse_close(struct vdisk_extent *extent)
{
	struct grains *g = grains_of(extent);
	int rc = g ? grains_close(g) : 0;
	free(g);
	return rc;
}

/* ---- looking ---- */

/* The piece of len bytes at offset of which `count` grains from its first are alike. */
static uint64_t run_bytes(const struct grains *g, uint64_t offset, uint64_t count)
{
	uint64_t in_grain = offset % grain_bytes(g);
	return count * grain_bytes(g) - in_grain;
}

static uint64_t grains_under(const struct grains *g, uint64_t offset, uint64_t len)
{
	return div_up(offset % grain_bytes(g) + len, grain_bytes(g));
}

static int sparse_find(struct vdisk_extent *extent, uint64_t offset,
		       struct extent_piece *ret_piece)
{
	struct grains *g = grains_of(extent);
	uint64_t grain = offset / grain_bytes(g);
	uint64_t rest = extent->len - offset;
	uint64_t count;
	uint32_t entry;
	int rc = grains_find_run(g, grain, grains_under(g, offset, rest), &entry, &count);
	if (rc < 0)
		return rc;
	ret_piece->state = entry == SPARSE_ABSENT ? EXTENT_ABSENT :
			   entry == SPARSE_ZERO	  ? EXTENT_ZERO :
						    EXTENT_DATA;
	ret_piece->len = min_u64(run_bytes(g, offset, count), rest);
	return 0;
}

/* ---- without blocking ---- */

static int map_below(struct vdisk_extent *extent, const struct bdev_io *io,
		     uint64_t offset, uint64_t len, struct bdev_extent *ret_extent)
{
	struct bdev *below = extent->file.bd;
	struct bdev_io inner = *io;
	inner.offset = offset;
	inner.len = len;
	if (below->ops->map)
		return below->ops->map(below, &inner, ret_extent);
	*ret_extent = (struct bdev_extent){ below, offset, len, 0, NULL, 0 };
	return 0;
}

/* Places for the absent grains of a write, as far as they can be had at once. */
static int place_run(struct grains *g, uint64_t grain, uint64_t count,
		     uint32_t *ret_entry, uint64_t *ret_count)
{
	uint32_t entry;
	uint64_t done = 1;
	int rc = grains_allocate(g, grain, ret_entry);
	while (rc == 0 && done < count &&
	       grains_allocate(g, grain + done, &entry) == 0 &&
	       entry == *ret_entry + done * g->head.grain)
		done++;
	*ret_count = done;
	return rc;
}

static int sparse_map(struct vdisk_extent *extent, const struct bdev_io *io,
		      struct bdev_extent *ret_extent)
{
	struct grains *g = grains_of(extent);
	uint64_t grain = io->offset / grain_bytes(g);
	uint64_t count, under = grains_under(g, io->offset, io->len);
	uint32_t entry;
	if (io->op == BDEV_FLUSH || io->flags & BDEV_FUA)
		return grains_are_clean(g) && io->op == BDEV_FLUSH ?
			       map_below(extent, io, 0, 0, ret_extent) :
			       -EAGAIN;
	if (grains_run(g, grain, under, &entry, &count) < 0)
		return -EAGAIN;
	if (io->op == BDEV_WRITE && g->is_prompt &&
	    (entry <= SPARSE_ZERO || !grains_are_clean(g)))
		return -EAGAIN; /* its entry may be in memory alone: sparse_rw() waits */
	if (io->op == BDEV_WRITE && entry <= SPARSE_ZERO &&
	    place_run(g, grain, count, &entry, &count) < 0)
		return -EAGAIN;
	uint64_t len = min_u64(run_bytes(g, io->offset, count), io->len);
	if (entry <= SPARSE_ZERO) {
		*ret_extent = (struct bdev_extent){ .len = len };
		return entry == SPARSE_ABSENT ? -ENODATA : 0;
	}
	if (io->op == BDEV_UNMAP)
		return -EAGAIN;
	return map_below(extent, io,
			 entry * (uint64_t)VDISK_SECTOR + io->offset % grain_bytes(g),
			 len, ret_extent);
}

/* ---- blocking ---- */

/* Places for the absent grains from `grain` on, at least one. */
static int place_blocking(struct grains *g, uint64_t grain, uint64_t count,
			  uint32_t *ret_entry, uint64_t *ret_count)
{
	int rc;
	while ((rc = place_run(g, grain, count, ret_entry, ret_count)) == -EAGAIN) {
		rc = grains_load(g, grain);
		if (rc == 0)
			rc = grains_grow(g);
		if (rc < 0)
			break;
	}
	if (rc == -ENOSPC)
		(void)report_error(g->reporter, rc, "%s: has reached 2 TiB, where its"
				   " format ends", g->file->path);
	return rc;
}

/* The piece of io at `at`: *ret_len bytes of it are done. */
static int rw_run(struct vdisk_extent *extent, const struct bdev_io *io, uint64_t at,
		  struct iovec *iov, uint64_t *ret_len)
{
	struct grains *g = grains_of(extent);
	uint64_t offset = io->offset + at, grain = offset / grain_bytes(g);
	struct bdev_io inner = *io;
	uint64_t count, under = grains_under(g, offset, io->len - at);
	uint32_t entry;
	int rc = grains_find_run(g, grain, under, &entry, &count);
	if (rc < 0)
		return rc;
	if (io->op == BDEV_WRITE && entry <= SPARSE_ZERO)
		rc = place_blocking(g, grain, count, &entry, &count);
	if (rc < 0)
		return rc;
	inner.len = min_u64(run_bytes(g, offset, count), io->len - at);
	*ret_len = inner.len;
	if (entry <= SPARSE_ZERO) { /* ZERO, UNMAP: it reads as zeros */
		assert(io->op != BDEV_READ);
		return 0;
	}
	inner.flags &= ~(uint32_t)BDEV_FUA;
	inner.offset = entry * (uint64_t)VDISK_SECTOR + offset % grain_bytes(g);
	if (iov) {
		inner.iov = iov;
		inner.iovcnt = iov_slice(io->iov, io->iovcnt, at, inner.len, iov,
					 io->iovcnt, NULL);
	}
	rc = bdev_run(extent->file.bd, &inner);
	return rc == -EOPNOTSUPP && io->op == BDEV_UNMAP ? 0 : rc;
}

static int sparse_rw(struct vdisk_extent *extent, struct bdev_io *io)
{
	struct grains *g = grains_of(extent);
	struct iovec *iov = NULL;
	int rc = 0;
	if (io->op == BDEV_FLUSH)
		return grains_flush(g);
	if (io->op == BDEV_READ || io->op == BDEV_WRITE) {
		iov = malloc((size_t)io->iovcnt * sizeof(*iov));
		if (!iov)
			return -ENOMEM;
	}
	for (uint64_t at = 0, len = 0; at < io->len && rc == 0; at += len)
		rc = rw_run(extent, io, at, iov, &len);
	free(iov);
	bool is_due = io->op != BDEV_READ && g->is_prompt && !grains_are_clean(g);
	if (rc == 0 && (is_due || io->flags & BDEV_FUA))
		rc = grains_flush(g);
	return rc;
}

const struct extent_ops extent_sparse_ops = {
	.type = "SPARSE",
	.open = sparse_open,
	.map = sparse_map,
	.find = sparse_find,
	.rw = sparse_rw,
	.grow = extent_sparse_grow,
	.close = sparse_close,
};
