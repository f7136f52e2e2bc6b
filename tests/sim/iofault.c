/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/iofault.h"

#include <errno.h>

#include "base/env.h"
#include "tests/sim/sim.h"

static void faulty_submit(struct bdev *bd, struct bdev_io *io)
{
	struct iofault *f = (struct iofault *)bd;
	if (f->before)
		f->before(f->arg, io);
	if (++f->count == f->fail_at)
		f->until = clock_now() + f->for_ns;
	if (f->fail_at == 0 || f->count < f->fail_at ||
	    (f->count > f->fail_at && clock_now() >= f->until)) {
		f->below->ops->submit(f->below, io);
		return;
	}
	sim_trace("I/O %llu fails: op %d at 0x%llx", (unsigned long long)f->count,
		  (int)io->op, (unsigned long long)io->offset);
	bdev_io_complete(io, -EIO);
}

static void faulty_cut(struct bdev *bd)
{
	bdev_cut(((struct iofault *)bd)->below);
}

static void faulty_close(struct bdev *bd)
{
	bdev_close(((struct iofault *)bd)->below);
}

struct bdev *iofault_over(struct iofault *f, struct bdev *below)
{
	static const struct bdev_ops ops = {
		.submit = faulty_submit,
		.cut = faulty_cut,
		.close = faulty_close,
	};
	f->below = below;
	f->bd = *below;
	f->bd.ops = &ops;
	f->count = 0;
	return &f->bd;
}
