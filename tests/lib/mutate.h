/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_MUTATE_H
#define TESTS_LIB_MUTATE_H

/*
 * For fuzzers: the volume of handmade.h, of handmade3.h (upgraded, clusters as large
 * volumes have them) or of handmade6.h, with some metadata changed as the input says, and
 * put right again afterwards. 12 bytes of input are one change: which sector of those
 * that hold metadata, where in it, how many bytes, their value; or the whole sector
 * becomes a copy of another one. Checksums of heartbeats are put right, so that they are
 * believed.
 */
#include <stddef.h>
#include <stdint.h>

#include "bdev/bdev.h"

struct mutator;

/* Made once: of VMFS-5, of one that was VMFS-3, of VMFS-6. NULL without memory. */
struct mutator *mutator_new(void);
struct mutator *mutator3_new(void);
struct mutator *mutator6_new(void);
/* The device, with the changes of this input. */
struct bdev *mutator_apply(struct mutator *m, const uint8_t *data, size_t size);
/* As it was. */
void mutator_undo(struct mutator *m);

#endif
