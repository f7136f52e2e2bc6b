/* SPDX-License-Identifier: Apache-2.0 */
/* vmfsctl atstest: vmfs/cawtest.c by several sessions, and its verdict in words. */
#include "fsck/ctl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/env.h"
#include "vmfs/cawtest.h"

#define SECTOR_SIZE 512u
#define PATIENCE_NS (300 * NS_PER_S)

static_assert(CTL_SESSIONS_MAX <= CAWTEST_SESSIONS_MAX, "as many as it takes");

static const char *mechanism_name(enum bdev_caw_class mechanism)
{
	switch (mechanism) {
	case BDEV_CAW_ATS:
		return "COMPARE AND WRITE";
	case BDEV_CAW_FILE:
		return "file locks";
	case BDEV_CAW_RESERVE:
		return "RESERVE, read, write, RELEASE";
	default:
		return "no conditional write";
	}
}

static int judge(const struct ctl *c, const struct cawtest *t)
{
	printf("%s: %s by %u sessions: %" PRIu64 " increments in %.1f s, the sector shows"
	       " %" PRIu64 ", %" PRIu64 " miscompares, %" PRIu64 " without an answer, %"
	       PRIu64 " lost\n",
	       c->shown, mechanism_name(t->mechanism), t->sessions, t->made,
	       (double)(t->took_ns / NS_PER_MS) / 1000, t->shown, t->miscompares,
	       t->unknowns, t->lost);
	if (t->is_atomic && !t->is_complete)
		return report_error(c->r, -ETIMEDOUT,
				    "%s: too slow for a verdict: ask for fewer with -c",
				    c->shown);
	printf("%s: %s\n", c->shown,
	       t->is_atomic ? "atomic" :
			      "NOT atomic: hosts must not share a volume on it");
	return t->is_atomic ? CTL_GOOD : CTL_BAD;
}

int ctl_atstest(const struct ctl *c)
{
	struct cawtest t = { .sessions = c->sessions,
			     .count = c->count,
			     .patience_ns = PATIENCE_NS,
			     .r = c->r };
	struct ctl_scratch scratch;
	int code = CTL_FAILED;
	int err = ctl_scratch_make(c, SECTOR_SIZE, &scratch);

	t.dev_off = scratch.dev_off;
	for (unsigned int i = 0; !err && i < c->sessions; i++)
		err = ctl_session_open(c, &scratch, &t.bd[i]);
	if (!err)
		err = vmfs_cawtest(&t);
	if (!err)
		code = judge(c, &t);
	for (unsigned int i = 0; i < c->sessions; i++)
		ctl_session_close(&scratch, t.bd[i]);
	ctl_scratch_done(&scratch);
	return code < 0 ? CTL_FAILED : code;
}
