/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O as SCSI commands. A long I/O is done part by part, one command at a time, but for a
 * long READ, of which several are under way (lun.c): commands of 256 KiB cost a target
 * less than one of a MiB. FUA that the unit does not know is a SYNCHRONIZE CACHE after
 * the last part.
 *
 * Invariant: pos counts bytes that the unit has confirmed; a part is filled anew, from
 * pos, each time it is sent.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/lun_impl.h"

/* Bytes of the next part, a multiple of the block size. */
static uint64_t next_chunk(const struct command *c, uint64_t max)
{
	return min_u64(c->end - c->pos, max);
}

static void fill_data(struct command *c, uint8_t opcode, bool is_write, uint64_t len)
{
	const struct lun *lun = c->lun;
	uint8_t flags = c->io->flags & BDEV_FUA && lun->has_fua ? SCSI_FUA : 0;

	c->chunk = len;
	scsi_cdb_blocks16(c->task.cdb, opcode, flags,
			  (c->io->offset + c->pos) / lun->bd.block_size,
			  (uint32_t)(len / lun->bd.block_size));
	c->task.is_write = is_write;
	c->task.iov = c->io->iov;
	c->task.iovcnt = c->io->iovcnt;
	c->task.iov_skip = c->pos;
	c->task.len = (uint32_t)len;
}

static void fill_none(struct command *c)
{
	c->task.is_write = false;
	c->task.iov = NULL;
	c->task.iovcnt = 0;
	c->task.iov_skip = 0;
	c->task.len = 0;
}

static void fill_flush(struct command *c)
{
	/* Zero blocks from block 0: all of the unit. */
	scsi_cdb_blocks16(c->task.cdb, SCSI_SYNC_CACHE16, 0, 0, 0);
	fill_none(c);
}

static void fill_own(struct command *c, void *data, uint32_t len)
{
	c->iov = (struct iovec){ data, len };
	c->task.is_write = true;
	c->task.iov = &c->iov;
	c->task.iovcnt = 1;
	c->task.iov_skip = 0;
	c->task.len = len;
}

static void fill_zero(struct command *c)
{
	struct lun *lun = c->lun;

	if (lun_is_refused(&lun->zero)) {
		uint64_t len = next_chunk(c, lun->limits.max_transfer);
		fill_data(c, SCSI_WRITE16, true, len);
		c->task.iov = lun->zeros_iov;
		c->task.iovcnt = ZEROS_PIECES;
		c->task.iov_skip = 0;
		return;
	}
	c->chunk = next_chunk(c, lun->zero.most);
	scsi_cdb_blocks16(c->task.cdb, SCSI_WRITE_SAME16, 0,
			  (c->io->offset + c->pos) / lun->bd.block_size,
			  (uint32_t)(c->chunk / lun->bd.block_size));
	fill_own(c, lun->zeros, lun->bd.block_size);
}

static void fill_unmap(struct command *c)
{
	c->chunk = limits_unmap_piece(&c->lun->limits, c->lun->delete.most,
				      c->io->offset + c->pos, c->end - c->pos);
	scsi_cdb_unmap(c->task.cdb, c->list,
		       (c->io->offset + c->pos) / c->lun->bd.block_size,
		       (uint32_t)(c->chunk / c->lun->bd.block_size));
	fill_own(c, c->list, sizeof(c->list));
}

/* Never with FUA: there are targets that refuse it there. */
static void fill_caw(struct command *c)
{
	scsi_cdb_compare_and_write(c->task.cdb, c->io->offset / c->lun->bd.block_size);
	c->chunk = c->io->len;
	c->task.is_write = true;
	c->task.iov = c->io->iov;
	c->task.iovcnt = c->io->iovcnt;
	c->task.iov_skip = 0;
	c->task.len = (uint32_t)c->io->len;
}

int lun_fill_request(struct command *c)
{
	struct lun *lun = c->lun;
	int error = bdev_io_check(&lun->bd, c->io);

	if (error)
		return error;
	if (c->step == STEP_FLUSH) {
		fill_flush(c);
		return 0;
	}
	switch (c->io->op) {
	case BDEV_FLUSH:
		fill_flush(c);
		return lun->bd.has_write_cache ? 0 : 1;
	case BDEV_READ:
		fill_data(c, SCSI_READ16, false, next_chunk(c, lun->limits.max_transfer));
		break;
	case BDEV_WRITE:
		fill_data(c, SCSI_WRITE16, true, next_chunk(c, lun->limits.max_transfer));
		break;
	case BDEV_ZERO:
		fill_zero(c);
		break;
	case BDEV_UNMAP:
		if (lun_is_refused(&lun->delete))
			return -EOPNOTSUPP;
		fill_unmap(c);
		break;
	case BDEV_CAW:
		if (c->io->len != 2ull * lun->bd.block_size)
			return -EINVAL;
		fill_caw(c);
		break;
	default:
		return -EOPNOTSUPP;
	}
	return c->chunk ? 0 : 1;
}

bool lun_request_goes_on(struct command *c)
{
	const struct lun *lun = c->lun;
	bool is_stable = c->task.cdb[1] & SCSI_FUA;

	if (c->io->op == BDEV_FLUSH || c->step == STEP_FLUSH)
		return false;
	if (lun_trial_of(c))
		lun_trial_done(lun_trial_of(c));
	c->pos += c->chunk;
	if (c->io->op != BDEV_CAW && c->pos < c->end)
		return true;
	if (!(c->io->flags & BDEV_FUA) || c->io->op == BDEV_READ || is_stable ||
	    !lun->bd.has_write_cache)
		return false;
	c->step = STEP_FLUSH;
	return true;
}

bool lun_request_falls_back(struct command *c, struct scsi_sense s)
{
	struct lun *lun = c->lun;
	struct lun_trial *t = lun_trial_of(c);

	if (t) {
		lun_trial_refused(lun, t, c->chunk, s);
		return true;
	}
	if ((c->task.cdb[0] == SCSI_READ16 || c->task.cdb[0] == SCSI_WRITE16) &&
	    (c->task.cdb[1] & SCSI_FUA)) {
		lun->has_fua = false;
		return true;
	}
	return false;
}
