/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk over its extents as a device: finds the extent, asks its kind.
 *
 * Invariants:
 * 1. No lock, no I/O and, for a disk of one extent, no allocation in map(): what the
 *    file's map() holds is passed through, and given back to the same file by unmap().
 * 2. The extents cover [0, capacity) without gaps and do not change while the disk is
 *    open.
 * 3. An io that crosses extents is cut at the border; the first error ends it.
 * 4. A kind is asked to READ only what it has: holes are answered here.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/align.h"
#include "bdev/iov.h"
#include "vdisk/chain.h"

/* What a disk of several extents holds: which file's hold it is; NULL of a host's. */
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

/* Copies io, cut at the end of its extent, from the extent's first byte on. */
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
	ret_io->offset = io->offset - extent->start;
	ret_io->len = min_u64(io->len, extent->len - ret_io->offset);
	return extent;
}

static bool is_change(const struct bdev_io *io)
{
	return io->op != BDEV_READ && io->op != BDEV_FLUSH;
}

static int disk_map(struct bdev *bd, const struct bdev_io *io,
		    struct bdev_extent *ret_extent)
{
	struct vdisk *disk = (struct vdisk *)bd;
	struct bdev_io inner;
	if (io->op == BDEV_CAW)
		return -EOPNOTSUPP;
	if (disk->extent_count > 1 && io->op == BDEV_FLUSH)
		return -EAGAIN;
	if (is_change(io) && atomic_load(&disk->needs_cid))
		return -EAGAIN;
	if (is_change(io))
		track_note(disk, io);
	struct vdisk_extent *extent = translate(disk, io, &inner);
	struct hold *hold = NULL;
	int rc = extent->ops->map(extent, &inner, ret_extent);
	if (rc == -ENODATA) {
		*ret_extent = (struct bdev_extent){ .len = ret_extent->len };
		return 0;
	}
	if (rc < 0 || disk->extent_count == 1 || !ret_extent->leaf)
		return rc;
	hold = malloc(sizeof(*hold));
	if (!hold) {
		if (extent->file.bd->ops->unmap)
			extent->file.bd->ops->unmap(extent->file.bd, ret_extent);
		return -ENOMEM;
	}
	*hold = (struct hold){ extent->file.bd, ret_extent->hold };
	ret_extent->hold = hold;
	return 0;
}

/* What map() refused, if all of it lies in one extent, whose file knows more. */
static int disk_prepare(struct bdev *bd, const struct bdev_io *io)
{
	struct vdisk *disk = (struct vdisk *)bd;
	struct bdev_io inner;
	if (io->op != BDEV_WRITE || atomic_load(&disk->needs_cid))
		return -EAGAIN;
	struct vdisk_extent *extent = translate(disk, io, &inner);
	return inner.len == io->len && extent->ops->prepare
		       ? extent->ops->prepare(extent, &inner)
		       : -EAGAIN;
}

/* Extents are files of one place: one speaks for all. NULL: there are only zeros. */
static struct bdev *any_file(const struct vdisk *disk)
{
	for (unsigned int i = 0; i < disk->extent_count; i++) {
		if (disk->extent[i].file.bd)
			return disk->extent[i].file.bd;
	}
	return NULL;
}

/* The file's device whose extent e is; e becomes that; *ret_hold: what it was. */
static struct bdev *unwrap(struct vdisk *disk, struct bdev_extent *e,
			   struct hold **ret_hold)
{
	*ret_hold = disk->extent_count > 1 ? e->hold : NULL;
	if (!*ret_hold)
		return any_file(disk);
	e->hold = (*ret_hold)->hold;
	return (*ret_hold)->bd;
}

static void disk_unmap(struct bdev *bd, struct bdev_extent *e)
{
	struct hold *hold;
	struct bdev *below = unwrap((struct vdisk *)bd, e, &hold);
	if (below && below->ops->unmap)
		below->ops->unmap(below, e);
	free(hold);
}

static bool disk_settle(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *e,
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

static int disk_redo(struct bdev *bd, struct bdev_io *piece, struct bdev_extent *e)
{
	struct hold *hold;
	struct bdev *below = unwrap((struct vdisk *)bd, e, &hold);
	int rc = below->ops->redo(below, piece, e);
	if (hold)
		e->hold = hold;
	return rc;
}

static bool disk_park(struct bdev *bd, struct bdev_io *io)
{
	struct bdev *below = any_file((struct vdisk *)bd);
	return below && below->ops->park && below->ops->park(below, io);
}

/* ---- the blocking form ---- */

static int flush_all(struct vdisk *disk, const struct bdev_io *io)
{
	int rc = 0;
	for (unsigned int i = 0; i < disk->extent_count; i++) {
		struct bdev_io inner = *io;
		int err = disk->extent[i].ops->rw(&disk->extent[i], &inner);
		rc = rc ? rc : err;
	}
	return rc;
}

int vdisk_find(struct vdisk *disk, uint64_t offset, struct extent_piece *ret_piece)
{
	if (disk->chain)
		return chain_piece(disk->chain, offset, ret_piece);
	struct vdisk_extent *extent = vdisk_extent_at(disk, offset);
	uint64_t inside = offset - extent->start;
	*ret_piece = (struct extent_piece){ EXTENT_DATA, extent->len - inside };
	return extent->ops->find ? extent->ops->find(extent, inside, ret_piece) : 0;
}

int vdisk_piece(struct vdisk *disk, uint64_t offset, uint64_t *ret_len, bool *ret_is_data)
{
	struct extent_piece piece;
	if (offset >= disk->bdev.size)
		return -ENXIO;
	int rc = vdisk_find(disk, offset, &piece);
	if (rc == 0) {
		*ret_len = piece.len;
		*ret_is_data = piece.state == EXTENT_DATA;
	}
	return rc;
}

/* One piece of one extent: *ret_len bytes of it are done. */
static int rw_piece(struct vdisk *disk, const struct bdev_io *rest, struct iovec *iov,
		    const struct bdev_io *whole, uint64_t *ret_len)
{
	struct extent_piece piece = { EXTENT_DATA, UINT64_MAX };
	struct bdev_io inner;
	struct vdisk_extent *extent = translate(disk, rest, &inner);
	int rc = 0;
	if (rest->op == BDEV_READ && !extent->ops->reads_holes)
		rc = vdisk_find(disk, rest->offset, &piece);
	if (rc < 0)
		return rc;
	inner.len = min_u64(inner.len, piece.len);
	*ret_len = inner.len;
	if (piece.state != EXTENT_DATA) {
		iov_zero(whole->iov, whole->iovcnt, whole->len - rest->len, inner.len);
		return 0;
	}
	if (iov) {
		inner.iov = iov;
		inner.iovcnt = iov_slice(whole->iov, whole->iovcnt,
					 whole->len - rest->len, inner.len, iov,
					 whole->iovcnt, NULL);
	}
	return extent->ops->rw(extent, &inner);
}

static int disk_rw(struct bdev *bd, struct bdev_io *io)
{
	struct vdisk *disk = (struct vdisk *)bd;
	struct bdev_io rest = *io;
	struct iovec *iov = NULL;
	int rc = 0;
	if (io->op == BDEV_FLUSH)
		return flush_all(disk, io);
	if (io->op == BDEV_CAW)
		return -EOPNOTSUPP;
	if (io->op == BDEV_READ || io->op == BDEV_WRITE) {
		iov = malloc((size_t)io->iovcnt * sizeof(*iov));
		if (!iov)
			return -ENOMEM;
	}
	if (is_change(io))
		rc = vdisk_draw_cid(disk);
	if (is_change(io))
		track_note(disk, io);
	while (rest.len > 0 && rc == 0) {
		uint64_t len = 0;
		rc = rw_piece(disk, &rest, iov, io, &len);
		rest.offset += len;
		rest.len -= len;
	}
	free(iov);
	return rc;
}

/* The disk and not its device is what is cut: vmfs does that. */
static void disk_close(struct bdev *bd)
{
	(void)bd; /* vdisk_close frees it */
}

static const struct bdev_ops disk_ops = {
	.map = disk_map,
	.prepare = disk_prepare,
	.unmap = disk_unmap,
	.settle = disk_settle,
	.redo = disk_redo,
	.park = disk_park,
	.rw = disk_rw,
	.close = disk_close,
};

bool vdisk_gives_back(enum vdisk_format format)
{
	return format == VDISK_THIN || format == VDISK_MONOLITHIC_SPARSE ||
	       format == VDISK_2GB_SPARSE || format == VDISK_RDM || format == VDISK_RDMP;
}

void vdisk_engine_init(struct vdisk *disk, const char *path, bool is_read_only,
		       struct reporter *r)
{
	const struct vdisk_extent *last = &disk->extent[disk->extent_count - 1];
	struct bdev *bd = &disk->bdev;
	bd->ops = &disk_ops;
	/* A long path is cut: the name is for reports. */
	(void)snprintf(bd->name, sizeof(bd->name), "%s", path);
	bd->size = last->start + last->len;
	bd->block_size = VDISK_SECTOR;
	bd->memory_align = 1;
	bd->is_read_only = is_read_only;
	bd->has_unmap = vdisk_gives_back(disk->format);
	bd->has_write_zeroes = true;
	bd->reporter = r;
	for (unsigned int i = 0; i < disk->extent_count; i++) {
		const struct bdev *below = disk->extent[i].file.bd;
		if (!below)
			continue;
		if (below->memory_align > bd->memory_align)
			bd->memory_align = below->memory_align;
		bd->minds_changes |= below->minds_changes;
		bd->has_write_cache |= below->has_write_cache;
		bd->has_write_zeroes &= below->has_write_zeroes;
	}
}
