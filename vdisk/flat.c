/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flat extents, and the extent of zeros that has no file: a sum, and the file is asked.
 *
 * Thin, zeroedthick and eagerzeroedthick differ only in which blocks the extent's file
 * has; the file's own device knows (a hole, to be zeroed, data), so there is one
 * translation for the three.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/align.h"
#include "vdisk/extent.h"

static int flat_open(struct vdisk_extent *extent,
		     const struct vdisk_open_options *options)
{
	uint64_t end, size;
	int rc = diskfile_size(&extent->file, &size);
	if (rc < 0 ||
	    (checked_add(extent->file_offset, extent->len, &end) && end <= size))
		return rc;
	return report_error(options->reporter, -EUCLEAN,
			    "%s: extent %s has %" PRIu64 " bytes; the descriptor says %"
			    PRIu64 " from %" PRIu64 " on", extent->disk->path,
			    extent->file.path, size, extent->len, extent->file_offset);
}

/* On a thick disk UNMAP is accepted and does nothing: its blocks are a promise. */
static bool is_kept(const struct vdisk_extent *extent, const struct bdev_io *io)
{
	return io->op == BDEV_UNMAP && !vdisk_gives_back(extent->disk->format);
}

static int flat_map(struct vdisk_extent *extent, const struct bdev_io *io,
		    struct bdev_extent *ret_extent)
{
	struct bdev *below = extent->file.bd;
	struct bdev_io inner = *io;
	if (is_kept(extent, io))
		return -EAGAIN;
	inner.offset += extent->file_offset;
	if (below->ops->map)
		return below->ops->map(below, &inner, ret_extent);
	*ret_extent = (struct bdev_extent){ below, inner.offset, inner.len, 0, NULL, 0 };
	return 0;
}

static int flat_prepare(struct vdisk_extent *extent, const struct bdev_io *io)
{
	struct bdev *below = extent->file.bd;
	struct bdev_io inner = *io;
	inner.offset += extent->file_offset;
	return below->ops->prepare ? below->ops->prepare(below, &inner) : -EAGAIN;
}

static int flat_find(struct vdisk_extent *extent, uint64_t offset,
		     struct extent_piece *ret_piece)
{
	uint64_t len;
	bool is_data;
	int rc = diskfile_extent(&extent->file, extent->file_offset + offset, &len,
				 &is_data);
	if (rc == 0)
		*ret_piece = (struct extent_piece){ is_data ? EXTENT_DATA : EXTENT_ZERO,
						    min_u64(len, extent->len - offset) };
	return rc;
}

static int flat_rw(struct vdisk_extent *extent, struct bdev_io *io)
{
	if (is_kept(extent, io))
		return 0;
	if (io->op != BDEV_FLUSH)
		io->offset += extent->file_offset;
	return bdev_run(extent->file.bd, io);
}

const struct extent_ops extent_flat_ops = {
	.type = "FLAT",
	.open = flat_open,
	.map = flat_map,
	.prepare = flat_prepare,
	.find = flat_find,
	.rw = flat_rw,
	.grow = extent_flat_grow,
	.reads_holes = true,
};

/* Of a thin LUN that tells which blocks it has. */
static int rdm_find(struct vdisk_extent *extent, uint64_t offset,
		    struct extent_piece *ret_piece)
{
	uint64_t len;
	bool is_data;
	bdev_piece(extent->file.bd, extent->file_offset + offset, &len, &is_data);
	*ret_piece = (struct extent_piece){ is_data ? EXTENT_DATA : EXTENT_ZERO,
					    min_u64(len, extent->len - offset) };
	return 0;
}

/* What its file is, is a LUN: rdm.c. */
const struct extent_ops extent_rdm_ops = {
	.type = "VMFSRDM",
	.open = extent_rdm_open,
	.map = flat_map,
	.find = rdm_find,
	.rw = flat_rw,
	.reads_holes = true,
};

/* ---- ZERO ---- */

static int zero_map(struct vdisk_extent *extent, const struct bdev_io *io,
		    struct bdev_extent *ret_extent)
{
	(void)extent;
	if (io->op == BDEV_WRITE)
		return -EAGAIN;
	*ret_extent = (struct bdev_extent){ .len = io->len };
	return 0;
}

static int zero_find(struct vdisk_extent *extent, uint64_t offset,
		     struct extent_piece *ret_piece)
{
	*ret_piece = (struct extent_piece){ EXTENT_ZERO, extent->len - offset };
	return 0;
}

static int zero_rw(struct vdisk_extent *extent, struct bdev_io *io)
{
	(void)extent;
	return io->op == BDEV_WRITE ? -EROFS : 0;
}

const struct extent_ops extent_zero_ops = {
	.type = "ZERO", .map = zero_map, .find = zero_find, .rw = zero_rw
};
