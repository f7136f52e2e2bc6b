/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_AWAKE_H
#define BDEV_AWAKE_H

/*
 * Waiting awake, for what comes in a moment: it spares the wake-up, and costs processor
 * time. So a task does it only where that is of use. After it was in the way of another
 * task, or awake for nothing, it rests from it: twice as long each time, and each time
 * that was of use makes the next rest shorter.
 */
#include <stdbool.h>
#include <stdint.h>

/* Zero bytes are a new one. Of one task. */
struct awake {
	uint64_t rest_until, rest; /* ns */
	long displaced;
};

/* May it wait awake now, or does it rest? */
bool awake_may(const struct awake *a, uint64_t now);
/* Before and after such a wait. was_of_use: it has brought what was waited for. */
void awake_begin(struct awake *a);
void awake_end(struct awake *a, uint64_t now, bool was_of_use);

#endif
