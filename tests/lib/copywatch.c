/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/copywatch.h"

#include "base/align.h"

static struct copywatch *watched;

static int watch_copy(struct bdev *to, uint64_t to_offset, struct bdev *from,
		      uint64_t from_offset, uint64_t len)
{
	struct copywatch *w = watched;
	int fails = w->fails[0];

	w->fails[0] = atomic_exchange(&w->fails[1], 0);
	w->copies++;
	w->copied += fails ? 0 : len;
	len = fails ? round_down(len / 2, to->block_size) : len;
	int rc = w->below->copy(to, to_offset, from, from_offset, len);
	w->events += atomic_exchange(&w->loses, false);
	return fails ? fails : rc;
}

static int watch_rw(struct bdev *bd, struct bdev_io *io)
{
	watched->flushes += io->op == BDEV_FLUSH;
	return watched->below->rw(bd, io);
}

static void watch_submit(struct bdev *bd, struct bdev_io *io)
{
	bdev_io_complete(io, watch_rw(bd, io));
}

static uint32_t watch_events(struct bdev *bd)
{
	(void)bd;
	return watched->events;
}

void copywatch_start(struct copywatch *watch, struct bdev *bd)
{
	*watch = (struct copywatch){ .below = bd->ops, .ops = *bd->ops };
	watch->ops.copy = watch_copy;
	watch->ops.rw = watch_rw;
	watch->ops.submit = watch_submit;
	watch->ops.events = watch_events;
	watched = watch;
	bd->ops = &watch->ops;
}
