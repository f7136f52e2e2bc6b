/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The passes in their order, and what they share from its beginning to its end.
 *
 * Invariants:
 *   1. Nothing here writes to a device: repairs go into the plan (plan.h).
 *   2. A number from the disk is an index only after it was compared with the size of
 * what it indexes; a bit is set in a map only through fsck_addr_number().
 *   3. Each pointer block is descended into once, however often it is named; each
 * directory is walked once. So the work is bounded by the size of the metadata.
 */
#include "fsck/run.h"

#include <errno.h>
#include <stdlib.h>

#include "fsck/ahead.h"
#include "fsck/findings.h"
#include "fsck/holes.h"
#include "fsck/mend.h"
#include "fsck/owners.h"
#include "fsck/passes.h"
#include "fsck/strays.h"
#include "fsck/suspects.h"

static int run_passes(struct fsck *f)
{
	fsck_progress(f, 0, 0, 1);
	int err = fsck_pass0_lvm(f);
	fsck_progress(f, 0, 1, 1);
	if (!err)
		err = fsck_pass1_resources(f);
	if (!err && !f->is_again)
		err = fsck_pass2_files(f);
	bool is_all_seen = !err && !f->is_again;
	if (is_all_seen)
		fsck_check_strays(f);
	if (is_all_seen && f->options->plan && !f->summary.is_disputed)
		err = fsck_mend_holes(f);
	/* By what has been seen without those blocks nothing is cut or copied. */
	if (!err && f->options->plan && !f->is_again)
		fsck_fix_all(f);
	if (!err && !f->is_again)
		err = fsck_pass3_dirs(f);
	if (!err && !f->is_again)
		fsck_pass4_counts(f);
	if (f->options->plan && f->volume.resources[FSCK_FDC].is_usable)
		fsck_put_maps(f);
	return err ? err : f->mend_error;
}

/* A pass that cannot go on has said why as a finding. */
static bool has_said(const struct fsck *f)
{
	return f->summary.errors || f->summary.has_failed || f->online != NULL;
}

static void fsck_free(struct fsck *f)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		free(f->maps[i].allocated);
		free(f->maps[i].seen);
		free(f->maps[i].was);
		free(f->maps[i].shared);
	}
	free(f->fixes);
	free(f->strays);
	fsck_owners_done(f);
	free(f->converted);
	free(f->generations);
	free(f->fds);
	fsck_volume_done(&f->volume);
	free(f);
}

int fsck_run(const struct fsck_options *options, struct fsck_online *online,
	     struct fsck_summary *ret_summary)
{
	struct fsck *f = calloc(1, sizeof(*f));
	if (!f)
		return report_error(options->reporter, -ENOMEM, "no memory");
	f->options = options;
	f->online = online;
	int err = fsck_volume_join(&f->volume, options->devices, options->device_count,
				   options->reporter);
	bool is_joined = !err;
	/* What is being changed is read when it is needed. */
	if (!err && !online && !options->plan)
		f->ahead = fsck_ahead_new(&f->volume);
	if (!err)
		err = run_passes(f);
	fsck_ahead_free(f->ahead);
	if (err == -ENOMEM)
		report(options->reporter, REPORT_ERROR, "no memory");
	else if (is_joined && online)
		fsck_online_judge(f);
	if (err && err != -ENOMEM && is_joined && !f->mend_error && has_said(f))
		err = 0;
	for (unsigned int i = 0; i < options->device_count; i++)
		if (f->volume.extents[0].bd == options->devices[i])
			f->summary.first = i;
	f->summary.has_no_room = f->has_no_room;
	if (!err)
		*ret_summary = f->summary;
	fsck_free(f);
	return err;
}
