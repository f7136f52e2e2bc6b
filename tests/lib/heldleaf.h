/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_HELDLEAF_H
#define TESTS_LIB_HELDLEAF_H

/*
 * A device of which one write is held until it is let go: one that was submitted is then
 * of unknown fate (it has not run), one of who waits (bdev_run) ends well.
 */
#include <stdbool.h>

#include "base/env.h"
#include "bdev/bdev.h"

struct heldleaf {
	struct bdev_ops ops;
	const struct bdev_ops *below;
	struct bdev *bd;
	struct mutex m;
	struct cond c;
	bool is_armed, is_held, is_let_go;
	struct bdev_io *io; /* that was submitted */
	unsigned int failing_zeroes; /* the next ones of who waits end with -EIO */
};

/* Of a device with rw(), that nobody uses yet. One at a time. */
void heldleaf_start(struct heldleaf *leaf, struct bdev *bd);
void heldleaf_done(struct heldleaf *leaf);
/* The next write of data is held. */
void heldleaf_arm(struct heldleaf *leaf);
/* Waits until it is. Blocks. */
void heldleaf_wait(struct heldleaf *leaf);
void heldleaf_let_go(struct heldleaf *leaf);

#endif
