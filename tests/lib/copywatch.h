/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_COPYWATCH_H
#define TESTS_LIB_COPYWATCH_H

/*
 * A device of memory whose copies (bdev_copy) and flushes are counted, and fail as told.
 * One at a time; the volume's own tasks use it beside the test.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

struct copywatch {
	const struct bdev_ops *below;
	struct bdev_ops ops;
	_Atomic uint64_t copied; /* bytes, of those that did not fail */
	atomic_uint copies, flushes;
	/* The next copies end with these, after half of each was done. 0: as it does. */
	atomic_int fails[2];
	atomic_bool loses; /* its cache, once, right behind a copy */
	_Atomic uint32_t events;
};

void copywatch_start(struct copywatch *watch, struct bdev *bd);

#endif
