/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several ios of one device, waited for together. A translating device is asked where
 * each lies; those that lie in one piece go to the leaf at once. What needs more than
 * that is done one after the other, as is what has to be done again: by who waits here,
 * so that no pool is needed.
 *
 * Invariant: nothing is done that way while an extent is held here: rw() may wait until
 * nobody holds a place any more.
 */
#include <errno.h>
#include <stdlib.h>

#include "bdev/bdev.h"
#include "bdev/iov.h"

struct several {
	struct bdev *bd;
	struct bdev_io *ios;
	struct bdev_extent *extent; /* by io; leaf NULL: it is not under way */
	struct bdev_io *below;	    /* what is, in order */
	unsigned int count;
};

static void give_back(struct bdev *bd, struct bdev_extent *e)
{
	if (bd->ops->unmap)
		bd->ops->unmap(bd, e);
}

/* true: all of io lies at *e of a leaf. */
static bool is_in_one_piece(struct bdev *bd, const struct bdev_io *io,
			    struct bdev_extent *e)
{
	*e = (struct bdev_extent){ 0 };
	if (bdev_io_check(bd, io) < 0 || !io->len || bd->ops->map(bd, io, e) < 0) {
		e->leaf = NULL;
		return false;
	}
	if (e->leaf && e->len >= io->len)
		return true;
	give_back(bd, e);
	e->leaf = NULL;
	return false;
}

static void begin(struct several *s, unsigned int i)
{
	const struct bdev_extent *e = &s->extent[i];
	struct bdev_io *below = &s->below[s->count++];
	*below = s->ios[i];
	below->bd = e->leaf;
	below->offset = e->offset;
	below->flags |= e->flags;
}

static void end(struct bdev *bd, struct bdev_io *io, struct bdev_io *below,
		struct bdev_extent *e)
{
	io->result = below->result;
	if (bd->ops->settle && !bd->ops->settle(bd, below, e, below->result))
		io->result = bd->ops->redo(bd, below, e);
	give_back(bd, e);
}

void bdev_run_several(struct bdev *bd, struct bdev_io *ios, unsigned int count)
{
	struct several s = { .bd = bd, .ios = ios };
	if (bd->ops->map && count > 1) {
		s.extent = calloc(count, sizeof(*s.extent));
		s.below = calloc(count, sizeof(*s.below));
	}
	bool is_at_once = s.extent && s.below;
	for (unsigned int i = 0; is_at_once && i < count; i++) {
		if (is_in_one_piece(bd, &ios[i], &s.extent[i]))
			begin(&s, i);
	}
	if (s.count)
		bdev_run_all(s.below, s.count);
	for (unsigned int i = 0, n = 0; n < s.count; i++) {
		if (s.extent[i].leaf)
			end(bd, &ios[i], &s.below[n++], &s.extent[i]);
	}
	for (unsigned int i = 0; i < count; i++) {
		if (!is_at_once || !s.extent[i].leaf)
			(void)!bdev_run(bd, &ios[i]); /* its result is kept */
	}
	free(s.extent);
	free(s.below);
}
