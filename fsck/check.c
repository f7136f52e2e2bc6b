/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of the passes, or rounds of them until each suspicion is a finding or dropped
 * (suspects.c). With longer and longer pauses between them: members shall get on.
 */
#include "fsck/check.h"

#include <errno.h>

#include "base/align.h"
#include "base/env.h"
#include "fsck/run.h"
#include "fsck/suspects.h"

#define PAUSE_FIRST_NS (2 * NS_PER_MS)
#define PAUSE_MAX_NS (250 * NS_PER_MS)

static int rounds(struct fsck_online *o, const struct fsck_options *options,
		  struct fsck_summary *ret_summary)
{
	uint64_t pause = 0;
	int err;
	do {
		if (pause)
			task_sleep_until(clock_now() + pause);
		pause = pause ? min_u64(2 * pause, PAUSE_MAX_NS) : PAUSE_FIRST_NS;
		fsck_online_next(o);
		err = fsck_run(options, o, ret_summary);
		int round_err = fsck_online_done(o);
		if (!err && round_err)
			err = report_error(options->reporter, round_err, "no memory");
	} while (!err && fsck_online_has_more(o));
	return err;
}

static int check_online(const struct fsck_options *options,
			struct fsck_summary *ret_summary)
{
	struct fsck_online *o = fsck_online_new(options);
	if (!o)
		return report_error(options->reporter, -ENOMEM, "no memory");
	int err = rounds(o, options, ret_summary);
	if (!err)
		fsck_online_tell(o, options, ret_summary);
	int close_err = fsck_online_free(o);
	return err ? err : close_err;
}

int fsck_check(const struct fsck_options *options, struct fsck_summary *ret_summary)
{
	return options->is_online ? check_online(options, ret_summary)
				  : fsck_run(options, NULL, ret_summary);
}
