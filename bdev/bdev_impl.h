/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_BDEV_IMPL_H
#define BDEV_BDEV_IMPL_H

/* What submitting (bdev.c) and waiting (wait.c) both know of an io. */
#include "base/align.h"
#include "bdev/bdev.h"
#include "bdev/iov.h"

#define BDEV_ZERO_IOVS 16 /* of one write of zeros: 1 MiB */

static inline bool bdev_has_memory(enum bdev_op op)
{
	return op == BDEV_READ || op == BDEV_WRITE || op == BDEV_CAW;
}

/* Bytes of one write of zeros to bd. */
static inline uint64_t bdev_zero_write_len(const struct bdev *bd)
{
	uint64_t len = (uint64_t)IOV_ZERO_CHUNK * BDEV_ZERO_IOVS;
	return bd->max_io ? min_u64(len, round_down(bd->max_io, bd->block_size)) : len;
}

#endif
