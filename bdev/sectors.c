/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk with sectors of 4096 bytes, to be read as one of 512: as ESXi presents such a
 * disk (4Kn) to VMFS. What is aligned goes straight to the disk; of the rest the sectors
 * around are read. It is never written: a lock of 512 bytes has no sector of its own
 * there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "bdev/bdev.h"
#include "bdev/iov.h"

#define SECTOR 512u

struct sectors_bdev {
	struct bdev bd;
	struct bdev *below;
};

static bool is_aligned(const struct bdev *below, const struct bdev_io *io)
{
	return (io->offset | io->len) % below->block_size == 0;
}

static int sectors_map(struct bdev *bd, const struct bdev_io *io,
		       struct bdev_extent *ret_extent)
{
	struct bdev *below = ((struct sectors_bdev *)bd)->below;

	if (!is_aligned(below, io) || below->ops->map)
		return -EAGAIN;
	*ret_extent = (struct bdev_extent){ .leaf = below,
					    .offset = io->offset,
					    .len = io->len };
	return 0;
}

static int sectors_rw(struct bdev *bd, struct bdev_io *io)
{
	struct bdev *below = ((struct sectors_bdev *)bd)->below;
	uint64_t from = round_down(io->offset, below->block_size);
	uint64_t to = round_up(io->offset + io->len, below->block_size);

	if (io->op != BDEV_READ)
		return io->op == BDEV_FLUSH ? 0 : -EROFS;
	uint8_t *buf = io_alloc(to - from);
	if (!buf)
		return -ENOMEM;
	int rc = bdev_rw(below, BDEV_READ, io->flags, buf, to - from, from, io->deadline);
	if (rc == 0)
		iov_scatter(io->iov, io->iovcnt, 0, buf + (io->offset - from), io->len);
	free(buf);
	return rc;
}

static int sectors_rescan(struct bdev *bd)
{
	struct bdev *below = ((struct sectors_bdev *)bd)->below;
	int rc = bdev_rescan(below);

	bd->size = below->size;
	return rc;
}

static void sectors_close(struct bdev *bd)
{
	bdev_close(((struct sectors_bdev *)bd)->below);
	free(bd);
}

static const struct bdev_ops sectors_ops = {
	.map = sectors_map,
	.rw = sectors_rw,
	.rescan = sectors_rescan,
	.close = sectors_close,
};

int bdev_sectors_new(struct bdev *below, struct bdev **ret_bd)
{
	struct sectors_bdev *sectors = calloc(1, sizeof(*sectors));

	if (!sectors)
		return -ENOMEM;
	sectors->bd = *below;
	sectors->bd.ops = &sectors_ops;
	sectors->bd.block_size = SECTOR;
	sectors->bd.is_read_only = true;
	sectors->bd.has_unmap = sectors->bd.has_write_zeroes = false;
	sectors->bd.caw = BDEV_CAW_NONE;
	sectors->below = below;
	*ret_bd = &sectors->bd;
	return 0;
}
