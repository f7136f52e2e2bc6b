/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CHANGED_H
#define TESTS_LIB_CHANGED_H

/*
 * For fuzzers: readers of a volume with some metadata changed (mutate.h). They end,
 * touch no memory that is not their own and write nothing. Aborts where that is not so.
 * The volume is made by the first call, and kept: one kind in a program.
 */
#include "tests/lib/mutate.h"

typedef struct mutator *mutator_fn(void);

/*
 * libvmfs: mounted read-only, walked, every file looked at; never more bytes than were
 * asked for. Without a change at least `entries` names are found.
 */
void changed_walk(mutator_fn *make, const uint8_t *data, size_t size,
		  unsigned int entries);
/* fsck, which counts what it tells, and finds nothing where nothing was changed. */
void changed_fsck(mutator_fn *make, const uint8_t *data, size_t size);

#endif
