/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MKFS_JOINER_H
#define MKFS_JOINER_H

/* Joins pieces that follow one another on a device into large writes. */
#include <stdint.h>

#include "bdev/bdev.h"

struct joiner {
	struct bdev *bd; /* borrowed; of what is in buf */
	uint8_t *buf;
	uint64_t off; /* dev offset of buf[0] */
	uint64_t len;
	int error; /* sticky: joiner_end() tells */
};

/* 0 or -ENOMEM. */
int joiner_init(struct joiner *j) __attribute__((warn_unused_result));
void joiner_done(struct joiner *j);
/* len bytes (whole sectors, at most 4 MiB) at dev_off of bd; written some time. Blocks.
 */
void joiner_add(struct joiner *j, struct bdev *bd, uint64_t dev_off, const void *data,
		uint64_t len);
/* All of it has been written (and is to be flushed), or the first error. Blocks. */
int joiner_end(struct joiner *j) __attribute__((warn_unused_result));

#endif
