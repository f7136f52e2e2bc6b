/* SPDX-License-Identifier: Apache-2.0 */
/* When a task waits awake: awake.h. */
#include "bdev/awake.h"

#include <sys/resource.h>

#include "base/align.h"
#include "base/env.h"

#define REST_MIN NS_PER_MS
#define REST_MAX (128 * NS_PER_MS)

/* How often this task had to make room for another one. */
static long displaced_count(void)
{
	struct rusage u;

	return getrusage(RUSAGE_THREAD, &u) < 0 ? 0 : u.ru_nivcsw;
}

bool awake_may(const struct awake *a, uint64_t now)
{
	return now >= a->rest_until;
}

void awake_begin(struct awake *a)
{
	a->displaced = displaced_count();
}

void awake_end(struct awake *a, uint64_t now, bool was_of_use)
{
	if (was_of_use && displaced_count() == a->displaced) {
		a->rest -= a->rest / 16;
		return;
	}
	a->rest = a->rest < REST_MIN ? REST_MIN : min_u64(2 * a->rest, REST_MAX);
	a->rest_until = now + a->rest;
}
