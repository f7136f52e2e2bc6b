/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_WAVE_H
#define FUSE_WAVE_H

/* How much of long reads is at the device at a time. */
#include <stdint.h>

#include "base/env.h"

struct wave {
	struct mutex m;
	struct cond c;
	uint64_t max, at_device; /* bytes */
	uint64_t ends;		 /* of reads, so far */
	unsigned int waiting;
};

/* max: bytes at the device from which on the next read waits. */
void wave_init(struct wave *w, uint64_t max);
/* Nobody is between begin and end. */
void wave_done(struct wave *w);
/* Stand around a read of len bytes. begin waits while enough is at the device: Blocks. */
void wave_begin(struct wave *w, uint64_t len);
void wave_end(struct wave *w, uint64_t len);

#endif
