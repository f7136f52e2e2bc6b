/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_IOFAULT_H
#define TESTS_SIM_IOFAULT_H

/* A device over another whose n-th I/O fails with -EIO and does not happen. */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

struct iofault {
	struct bdev bd;
	struct bdev *below;
	uint64_t count, fail_at; /* fail_at 0: none fails */
	uint64_t for_ns;	 /* so long all fail from that one on; 0: it alone */
	uint64_t until;
	/* Called before each I/O, by whoever submits it; may wait. NULL: nobody. */
	void (*before)(void *arg, const struct bdev_io *io);
	void *arg;
};

/* Takes below; closing what it returns closes it. Counts from now on. */
struct bdev *iofault_over(struct iofault *f, struct bdev *below);

#endif
