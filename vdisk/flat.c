/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk over flat extents as a device: adds and subtracts, and asks the extent's file.
 *
 * Thin, zeroedthick and eagerzeroedthick differ only in which blocks the extent's file
 * has; the file's own device knows (a hole, to be zeroed, data), so there is one
 * translation for the three.
 *
 * Invariants:
 * 1. No lock, no I/O and, for a disk of one extent, no allocation in map(): what the
 *    file's map() holds is passed through, and given back to the same file by unmap().
 * 2. The extents cover [0, capacity) without gaps and do not change while the disk is
 *    open.
 * 3. An io that crosses extents is cut at the border; the first error ends it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/align.h"
#include "bdev/iov.h"
#include "vdisk/extent.h"

/* What a disk of several extents holds: which file's hold it is. */
struct hold {
	struct bdev *bd;
	void *hold;
};

struct vdisk_extent *vdisk_extent_at(struct vdisk *disk, uint64_t offset)
{
	unsigned int low = 0, high = disk->extent_count - 1;
	assert(offset < disk->bdev.size);
	while (low < high) {
		unsigned int middle = low + (high - low + 1) / 2;
		if (disk->extent[middle].start <= offset)
			low = middle;
		else
			high = middle - 1;
	}
	return &disk->extent[low];
}

/* Copies io, cut at the end of its extent and translated to the extent's file. */
static struct vdisk_extent *translate(struct vdisk *disk, const struct bdev_io *io,
				      struct bdev_io *ret_io)
{
	*ret_io = *io;
	if (io->offset == disk->bdev.size) { /* an io of no bytes at the end */
		ret_io->len = 0;
		ret_io->offset = 0;
		return &disk->extent[0];
	}
	struct vdisk_extent *extent = vdisk_extent_at(disk, io->offset);
	uint64_t inside = io->offset - extent->start;
	ret_io->offset = extent->file_offset + inside;
	ret_io->len = min_u64(io->len, extent->len - inside);
	return extent;
}

static int flat_map(struct bdev *bd, const struct bdev_io *io,
		    struct bdev_extent *ret_extent)
{
	struct vdisk *disk = (struct vdisk *)bd;
	struct bdev_io inner;
	if (io->op == BDEV_CAW)
		return -EOPNOTSUPP;
	if (io->op == BDEV_UNMAP && disk->format != VDISK_THIN)
		return -EAGAIN;
	if (disk->extent_count > 1 && io->op == BDEV_FLUSH)
		return -EAGAIN;
	struct vdisk_extent *extent = translate(disk, io, &inner);
	struct hold *hold = NULL;
	if (disk->extent_count > 1) {
		hold = malloc(sizeof(*hold));
		if (!hold)
			return -ENOMEM;
	}
	int rc = extent->bd->ops->map(extent->bd, &inner, ret_extent);
	if (rc < 0) {
		free(hold);
		return rc;
	}
	if (hold) {
		*hold = (struct hold){ extent->bd, ret_extent->hold };
		ret_extent->hold = hold;
	}
	return 0;
}

/* The file's device whose extent e is; e becomes that; *ret_hold: what it was. */
static struct bdev *unwrap(struct vdisk *disk, struct bdev_extent *e,
			   struct hold **ret_hold)
{
	*ret_hold = disk->extent_count > 1 ? e->hold : NULL;
	if (!*ret_hold)
		return disk->extent[0].bd;
	e->hold = (*ret_hold)->hold;
	return (*ret_hold)->bd;
}

static void flat_unmap(struct bdev *bd, struct bdev_extent *e)
{
	struct hold *hold;
	struct bdev *below = unwrap((struct vdisk *)bd, e, &hold);
	if (below->ops->unmap)
		below->ops->unmap(below, e);
	free(hold);
}

static bool flat_settle(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *e,
			int result)
{
	struct hold *hold;
	struct bdev *below = unwrap((struct vdisk *)bd, e, &hold);
	bool is_final =
		!below->ops->settle || below->ops->settle(below, io, e, result);
	if (hold) {
		hold->hold = e->hold;
		e->hold = hold;
	}
	return is_final;
}

/* Extents are files of one volume: one speaks for all. */
static int flat_redo(struct bdev *bd, struct bdev_io *piece)
{
	struct bdev *below = ((struct vdisk *)bd)->extent[0].bd;
	return below->ops->redo(below, piece);
}

static bool flat_park(struct bdev *bd, struct bdev_io *io)
{
	struct bdev *below = ((struct vdisk *)bd)->extent[0].bd;
	return below->ops->park && below->ops->park(below, io);
}

static int flush_all(struct vdisk *disk, const struct bdev_io *io)
{
	int rc = 0;
	for (unsigned int i = 0; i < disk->extent_count; i++) {
		struct bdev_io inner = *io;
		int err = bdev_run(disk->extent[i].bd, &inner);
		rc = rc ? rc : err;
	}
	return rc;
}

/* The blocking form, cut at the borders of extents. */
static int rw_in_parts(struct vdisk *disk, const struct bdev_io *io, struct iovec *iov)
{
	struct bdev_io rest = *io;
	struct bdev_io inner;
	while (rest.len > 0) {
		struct vdisk_extent *extent = translate(disk, &rest, &inner);
		if (iov) {
			inner.iov = iov;
			inner.iovcnt = iov_slice(io->iov, io->iovcnt, io->len - rest.len,
						 inner.len, iov, io->iovcnt, NULL);
		}
		int rc = bdev_run(extent->bd, &inner);
		if (rc < 0)
			return rc;
		rest.offset += inner.len;
		rest.len -= inner.len;
	}
	return 0;
}

static int flat_rw(struct bdev *bd, struct bdev_io *io)
{
	struct vdisk *disk = (struct vdisk *)bd;
	struct bdev_io inner;
	if (io->op == BDEV_FLUSH)
		return flush_all(disk, io);
	if (io->op == BDEV_CAW)
		return -EOPNOTSUPP;
	if (io->op == BDEV_UNMAP && disk->format != VDISK_THIN)
		return 0;
	struct vdisk_extent *extent = translate(disk, io, &inner);
	if (inner.len == io->len)
		return bdev_run(extent->bd, &inner);
	struct iovec *iov = NULL;
	if (io->op == BDEV_READ || io->op == BDEV_WRITE) {
		iov = malloc((size_t)io->iovcnt * sizeof(*iov));
		if (!iov)
			return -ENOMEM;
	}
	int rc = rw_in_parts(disk, io, iov);
	free(iov);
	return rc;
}

/* The disk and not its device is what is cut: vmfs does that. */
static void flat_close(struct bdev *bd)
{
	(void)bd; /* vdisk_close frees it */
}

static const struct bdev_ops flat_ops = {
	.map = flat_map,
	.unmap = flat_unmap,
	.settle = flat_settle,
	.redo = flat_redo,
	.park = flat_park,
	.rw = flat_rw,
	.close = flat_close,
};

void vdisk_flat_init(struct vdisk *disk, const char *path, bool is_read_only,
		     struct reporter *r)
{
	const struct vdisk_extent *last = &disk->extent[disk->extent_count - 1];
	struct bdev *bd = &disk->bdev;
	bd->ops = &flat_ops;
	/* A long path is cut: the name is for reports. */
	(void)snprintf(bd->name, sizeof(bd->name), "%s", path);
	bd->size = last->start + last->len;
	bd->block_size = VDISK_SECTOR;
	bd->memory_align = 1;
	bd->is_read_only = is_read_only;
	bd->has_unmap = disk->format == VDISK_THIN;
	bd->has_write_zeroes = true;
	bd->reporter = r;
	for (unsigned int i = 0; i < disk->extent_count; i++) {
		const struct bdev *below = disk->extent[i].bd;
		if (below->memory_align > bd->memory_align)
			bd->memory_align = below->memory_align;
		bd->has_write_cache |= below->has_write_cache;
		bd->has_write_zeroes &= below->has_write_zeroes;
	}
}
