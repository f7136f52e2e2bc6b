/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/heldleaf.h"

#include <errno.h>

#include "bdev/bdev_impl.h"

#define DATA_BYTES 4096u /* what is written by tests; of metadata no single page is */

static struct heldleaf *held;

static bool take(struct bdev_io *io, bool is_submitted)
{
	mutex_lock(&held->m);
	bool is_mine = held->is_armed && io->op == BDEV_WRITE && io->len == DATA_BYTES;
	if (is_mine) {
		held->is_armed = false;
		held->is_held = true;
		held->io = is_submitted ? io : NULL;
		cond_broadcast(&held->c);
	}
	mutex_unlock(&held->m);
	return is_mine;
}

static void held_submit(struct bdev *bd, struct bdev_io *io)
{
	if (!take(io, true))
		held->below->submit(bd, io);
}

static int held_rw(struct bdev *bd, struct bdev_io *io)
{
	if (io->op == BDEV_ZERO && held->failing_zeroes) {
		held->failing_zeroes--;
		return -EIO;
	}
	bool is_mine = take(io, false);
	int rc = held->below->rw(bd, io);
	mutex_lock(&held->m);
	while (is_mine && !held->is_let_go)
		cond_wait(&held->c, &held->m);
	mutex_unlock(&held->m);
	return rc;
}

void heldleaf_start(struct heldleaf *leaf, struct bdev *bd)
{
	*leaf = (struct heldleaf){ .ops = *bd->ops, .below = bd->ops, .bd = bd };
	leaf->ops.submit = held_submit;
	leaf->ops.rw = held_rw;
	mutex_init(&leaf->m);
	cond_init(&leaf->c);
	held = leaf;
	bd->ops = &leaf->ops;
}

void heldleaf_done(struct heldleaf *leaf)
{
	leaf->bd->ops = leaf->below;
	cond_done(&leaf->c);
	mutex_done(&leaf->m);
}

void heldleaf_arm(struct heldleaf *leaf)
{
	mutex_lock(&leaf->m);
	leaf->is_armed = true;
	leaf->is_held = leaf->is_let_go = false;
	leaf->io = NULL;
	mutex_unlock(&leaf->m);
}

void heldleaf_wait(struct heldleaf *leaf)
{
	mutex_lock(&leaf->m);
	while (!leaf->is_held)
		cond_wait(&leaf->c, &leaf->m);
	mutex_unlock(&leaf->m);
}

void heldleaf_let_go(struct heldleaf *leaf)
{
	mutex_lock(&leaf->m);
	struct bdev_io *io = leaf->io;
	leaf->io = NULL;
	leaf->is_let_go = true;
	cond_broadcast(&leaf->c);
	mutex_unlock(&leaf->m);
	if (io)
		bdev_io_complete(io, -ETIMEDOUT);
}
