/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck -y on a volume with some metadata changed (tests/lib/mutate.h): it ends, and what
 * is found afterwards is no more than before, if all could be seen then. The first byte
 * says of which version the volume is. Waiting takes no time here. Volumes that a host
 * seems to use are left out: fuzz_takeover.c.
 */
#include <errno.h>
#include <stdio.h>

#include "base/env.h"
#include "fsck/session.h"
#include "tests/fuzz/target.h"
#include "tests/lib/mutate.h"
#include "tests/lib/overlay.h"

uint64_t __real_clock_now(void);
uint64_t __wrap_clock_now(void);
void __wrap_task_sleep_until(uint64_t deadline);

static uint64_t skipped; /* by those who slept */

uint64_t __wrap_clock_now(void)
{
	return __real_clock_now() + skipped;
}

void __wrap_task_sleep_until(uint64_t deadline)
{
	uint64_t now = __wrap_clock_now();
	if (deadline > now)
		skipped += deadline - now;
}

struct heard {
	const char *when;
	bool is_partial; /* something was not looked into */
};

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	struct heard *h = arg;
	h->is_partial |= problem == PROBLEM_FS_DESCRIPTOR ||
			 problem == PROBLEM_RESOURCE_FILE ||
			 problem == PROBLEM_RESOURCE_BLOCK ||
			 problem == PROBLEM_FD_TYPE ||
			 problem == PROBLEM_FD_ZLA || problem == PROBLEM_FD_UNUSED;
	if (getenv("FUZZ_TELLS"))
		(void)fprintf(stderr, "%s%s: %s\n", h->when, fsck_problem(problem)->code,
			      text);
}

static bool yes(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	(void)problem;
	(void)text;
	return true;
}

/* Result of fsck_check(). */
static int look(struct bdev *bd, struct heard *when, struct fsck_summary *ret_summary)
{
	const struct fsck_options options = {
		.devices = &bd, .device_count = 1, .found = found, .arg = when
	};
	*ret_summary = (struct fsck_summary){ 0 };
	return fsck_check(&options, ret_summary);
}

static int repair(struct bdev *bd, struct session_result *ret_result)
{
	struct heard when = { "  ", false };
	const struct session_options options = { .devices = &bd,
						 .device_count = 1,
						 .found = found,
						 .may_repair = yes,
						 .arg = &when };
	return session_run(&options, ret_result);
}

/* Behind a header or descriptor that could not be used may be more than could be seen. */
static bool is_all_seen(const struct fsck_summary *s, const struct heard *h)
{
	return !s->has_failed && s->block_count && !h->is_partial;
}

static void repair_twice(struct bdev *bd, bool is_changed)
{
	struct fsck_summary before, after, last;
	struct session_result result;
	struct heard first = { "before: ", false }, second = { "after: ", false },
		     third = { "at last: ", false };
	int looked = look(bd, &first, &before);
	if (before.is_live)
		return;
	int err = repair(bd, &result);
	demand(is_changed || (!looked && !err && !before.errors && !result.is_changed));
	demand(look(bd, &second, &after) == 0 || looked);
	if (looked || err)
		return;
	demand(after.errors <= before.errors || !is_all_seen(&before, &first));
	err = repair(bd, &result);
	demand(look(bd, &third, &last) == 0);
	demand(last.errors <= after.errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mutator *mutators[2];
	unsigned int i = size ? data[0] & 1 : 0;
	if (!mutators[i])
		mutators[i] = i ? mutator6_new() : mutator_new();
	demand(mutators[i] != NULL);
	struct bdev *below = mutator_apply(mutators[i], data + (size > 0),
					   size - (size > 0));
	struct bdev *bd = overlay_new(below, NULL, NULL);
	demand(bd != NULL);
	repair_twice(bd, size > 12);
	overlay_undo(bd, 0, UINT64_MAX);
	bdev_close(bd);
	mutator_undo(mutators[i]);
	return 0;
}
