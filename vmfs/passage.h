/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_PASSAGE_H
#define VMFS_PASSAGE_H

/*
 * So many are inside, and whether one more may enter: one word, so that who enters and
 * who leaves needs no mutex (passage.c has the theory).
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct passage {
	_Atomic uint64_t word; /* flags of whoever closes it; below them the number */
};

#define PASSAGE_COUNT 0xffffffffull /* the number; flags are all bits above it */

/*
 * One more is inside, if none of the flags in `closing` is up at that very moment; false:
 * one is, and nothing has changed. Never blocks; others may run meanwhile (task_step).
 */
bool passage_enter(struct passage *in, uint64_t closing)
	__attribute__((warn_unused_result));
/*
 * One less, without a mutex; false: one of the flags in `closing` is up and nothing has
 * changed: passage_leave_shut(), under the mutex of whoever closed. Never blocks.
 */
bool passage_leave(struct passage *in, uint64_t closing)
	__attribute__((warn_unused_result));
/* One less, under that mutex; true: that was the last one, whom somebody may wait for. */
bool passage_leave_shut(struct passage *in) __attribute__((warn_unused_result));
/* A flag goes up or down. Under whoever closes's own mutex. */
void passage_flag(struct passage *in, uint64_t flag, bool is_up);

static inline uint64_t passage_look(const struct passage *in)
{
	return atomic_load_explicit(&in->word, memory_order_acquire);
}

static inline uint32_t passage_count(const struct passage *in)
{
	return (uint32_t)passage_look(in);
}

#endif
