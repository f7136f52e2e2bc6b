/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece of another device: a partition, or a window for a test.
 *
 * It translates by adding its offset and has no state of its own, so it never answers
 * -EAGAIN by itself; over a translating device it passes on that device's answer and
 * hold. What is not data (cut, reservation, liveness) goes down with the offset added:
 * both names of one byte are one lock.
 *
 * Closing closes the device below first, which drains it: after that no child of ours is
 * under way, and the range can be freed.
 */
#include <errno.h>
#include <stdlib.h>

#include "bdev/bdev.h"

struct range_bdev {
	struct bdev bd;
	struct bdev *below;
	uint64_t offset;
};

static int range_map(struct bdev *bd, const struct bdev_io *io,
		     struct bdev_extent *ret_extent)
{
	struct range_bdev *range = (struct range_bdev *)bd;
	uint64_t at = range->offset + io->offset;
	if (!range->below->ops->map) {
		*ret_extent = (struct bdev_extent){ .leaf = range->below,
						     .offset = at,
						     .len = io->len };
		return 0;
	}
	struct bdev_io shifted = *io;
	shifted.offset = at;
	return range->below->ops->map(range->below, &shifted, ret_extent);
}

static void range_unmap(struct bdev *bd, struct bdev_extent *e)
{
	struct range_bdev *range = (struct range_bdev *)bd;
	if (range->below->ops->unmap)
		range->below->ops->unmap(range->below, e);
}

static bool range_settle(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *e,
			 int result)
{
	struct bdev *below = ((struct range_bdev *)bd)->below;
	return !below->ops->settle || below->ops->settle(below, io, e, result);
}

static int range_redo(struct bdev *bd, struct bdev_io *piece, struct bdev_extent *e)
{
	struct bdev *below = ((struct range_bdev *)bd)->below;
	return below->ops->redo(below, piece, e);
}

static bool range_park(struct bdev *bd, struct bdev_io *io)
{
	struct bdev *below = ((struct range_bdev *)bd)->below;
	return below->ops->park && below->ops->park(below, io);
}

static int range_rw(struct bdev *bd, struct bdev_io *io)
{
	struct range_bdev *range = (struct range_bdev *)bd;
	struct bdev_io shifted = *io;
	if (io->op != BDEV_FLUSH)
		shifted.offset += range->offset;
	return bdev_run(range->below, &shifted);
}

static void range_send(struct bdev *bd)
{
	bdev_send(((struct range_bdev *)bd)->below);
}

static int range_reserve(struct bdev *bd, bool is_wanted)
{
	return bdev_reserve(((struct range_bdev *)bd)->below, is_wanted);
}

static int range_liveness(struct bdev *bd, uint64_t offset, bool is_wanted)
{
	struct range_bdev *range = (struct range_bdev *)bd;
	if (offset >= bd->size)
		return -EINVAL;
	return bdev_liveness(range->below, range->offset + offset, is_wanted);
}

static void range_cut(struct bdev *bd)
{
	bdev_cut(((struct range_bdev *)bd)->below);
}

static int range_mend(struct bdev *bd, uint64_t deadline)
{
	return bdev_mend(((struct range_bdev *)bd)->below, deadline);
}

static int range_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key,
		    uint64_t what)
{
	return bdev_pr(((struct range_bdev *)bd)->below, action, key, what);
}

static int range_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state)
{
	return bdev_pr_read(((struct range_bdev *)bd)->below, ret_state);
}

static int range_registrants(struct bdev *bd, struct bdev_registrant *ret,
			     unsigned int max)
{
	return bdev_registrants(((struct range_bdev *)bd)->below, ret, max);
}

static uint32_t range_events(struct bdev *bd)
{
	return bdev_events(((struct range_bdev *)bd)->below);
}

static uint32_t range_notices(struct bdev *bd)
{
	return bdev_notices(((struct range_bdev *)bd)->below);
}

static int range_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus)
{
	return bdev_nexus(((struct range_bdev *)bd)->below, ret_nexus);
}

static int range_reinstate(struct bdev *bd, const struct bdev_nexus *victim,
			   uint64_t deadline)
{
	return bdev_reinstate(((struct range_bdev *)bd)->below, victim, deadline);
}

static int range_reset(struct bdev *bd, uint64_t deadline)
{
	return bdev_reset(((struct range_bdev *)bd)->below, deadline);
}

static int range_guard(struct bdev *bd, struct guard_lease *lease)
{
	return bdev_guard(((struct range_bdev *)bd)->below, lease);
}

static int range_offloads(struct bdev *bd, struct bdev_offloads *ret_offloads)
{
	return bdev_offloads(((struct range_bdev *)bd)->below, ret_offloads);
}

static void range_close(struct bdev *bd)
{
	struct range_bdev *range = (struct range_bdev *)bd;
	bdev_close(range->below);
	free(range);
}

static const struct bdev_ops range_ops = {
	.send = range_send,
	.map = range_map,
	.unmap = range_unmap,
	.settle = range_settle,
	.redo = range_redo,
	.park = range_park,
	.rw = range_rw,
	.reserve = range_reserve,
	.cut = range_cut,
	.mend = range_mend,
	.pr = range_pr,
	.pr_read = range_pr_read,
	.registrants = range_registrants,
	.events = range_events,
	.notices = range_notices,
	.nexus = range_nexus,
	.reinstate = range_reinstate,
	.reset = range_reset,
	.guard = range_guard,
	.offloads = range_offloads,
	.liveness = range_liveness,
	.close = range_close,
};

struct bdev *bdev_range_below(struct bdev *bd)
{
	while (bd->ops == &range_ops)
		bd = ((struct range_bdev *)bd)->below;
	return bd;
}

int bdev_range_new(struct bdev *below, uint64_t offset, uint64_t size,
		   struct bdev **ret_bd)
{
	if (offset % below->block_size || size % below->block_size ||
	    offset > below->size || size > below->size - offset)
		return report_error(
			below->reporter, -EINVAL,
			"%s: no range of %llu bytes at offset %llu in %llu bytes",
			below->name, (unsigned long long)size, (unsigned long long)offset,
			(unsigned long long)below->size);
	struct range_bdev *range = calloc(1, sizeof(*range));
	if (!range)
		return -ENOMEM;
	range->bd = *below;
	range->bd.ops = &range_ops;
	range->bd.size = size;
	range->below = below;
	range->offset = offset;
	*ret_bd = &range->bd;
	return 0;
}
