/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the weather: what is found beside writers must be wrong. */
#include "tests/sim/onlooker.h"

#include <stdio.h>
#include <string.h>

#include "fsck/check.h"

struct look {
	const char *fault;
	bool is_found;
	char leaks[1024];
	char other[1024]; /* what is found beside it */
};

static void add(char text[static 1024], const char *line)
{
	size_t used = strlen(text);

	(void)snprintf(text + used, 1024 - used, "%s\n", line);
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	struct look *l = arg;
	const struct problem *row = fsck_problem(problem);
	char line[640];

	/* A read that failed is the weather's. */
	if (row->severity == FINDING_NOTE || row->severity == FINDING_FAILURE)
		return;
	(void)snprintf(line, sizeof(line), "%s: %s", row->code, text);
	if (l->fault && strcmp(line, l->fault) == 0)
		l->is_found = true;
	else if (problem == PROBLEM_JOURNAL_LOST || problem == PROBLEM_FB_LOST)
		add(l->leaks, line);
	else
		add(l->other, line);
}

static void check(struct onlooker *o, struct bdev *bd)
{
	struct look l = { .fault = o->fault };
	struct fsck_summary summary = { 0 };
	struct fsck_options options = { .devices = &bd,
					.device_count = 1,
					.found = found,
					.arg = &l,
					.is_online = true };
	int err = fsck_check(&options, &summary);

	if (l.other[0])
		sim_fail("fsck beside writers:\n%s", l.other);
	if (l.leaks[0])
		memcpy(o->leaks, l.leaks, sizeof(o->leaks));
	o->checks++;
	o->failed += err || summary.has_failed;
	o->found += l.is_found;
	o->changed += summary.changed_count;
	sim_trace("fsck beside writers: %d, %u places changed", err,
		  summary.changed_count);
}

static void look_on(void *arg)
{
	struct onlooker *o = arg;
	struct bdev *bd = simdisk_attach(o->cluster->disk, sim_host_self());

	while (!o->is_over) {
		check(o, bd);
		task_sleep_until(clock_now() + sim_random(NS_PER_S));
	}
	bdev_close(bd);
}

struct task *onlooker_start(struct onlooker *o)
{
	return sim_host_start(sim_host_new("onlooker", 0), "fsck", look_on, o);
}

void onlooker_judge(const struct onlooker *o)
{
	struct bdev *bd = simdisk_attach(o->cluster->disk, sim_host_world());
	struct look l = { .fault = o->fault };
	struct fsck_summary summary = { 0 };
	struct fsck_options options = {
		.devices = &bd, .device_count = 1, .found = found, .arg = &l
	};
	char leaks[sizeof(o->leaks)], *rest = leaks;

	SIM_CHECK(!fsck_check(&options, &summary));
	memcpy(leaks, o->leaks, sizeof(leaks));
	for (char *line; (line = strsep(&rest, "\n"));)
		if (!strstr(l.leaks, line))
			sim_fail("beside writers fsck found, and not after them: %s",
				 line);
	bdev_close(bd);
}
