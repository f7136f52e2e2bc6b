/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_OVERLAY_H
#define TESTS_LIB_OVERLAY_H

/*
 * A device over another that remembers what it wrote there and can put it back, and that
 * tells (or forbids) every write. Its liveness locks can always be had: who holds one is
 * dead. For fuzzers: one volume, changed by each input, as it was before the next.
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

/* Told before each write, zeroing, unmapping and compare-and-write, from any task. */
typedef void overlay_write_fn(void *arg, uint64_t off, uint64_t len);

/* Over below (borrowed, synchronous, 512-byte blocks). NULL without memory. */
struct bdev *overlay_new(struct bdev *below, overlay_write_fn *on_write, void *arg);
/* What was written in [from, to) since overlay_new or the last undo, newest first. */
void overlay_undo(struct bdev *bd, uint64_t from, uint64_t to);
/*
 * What was written so far stays, but for what lies in [from, to): before is now. For that
 * it is as it was.
 */
void overlay_forget(struct bdev *bd, uint64_t from, uint64_t to);
/* All that was written since then is as if it had not been. Undoes it. */
bool overlay_is_as_before(struct bdev *bd);
/* An overlay_write_fn that aborts: nothing may be written. */
void overlay_forbid(void *arg, uint64_t off, uint64_t len);

#endif
