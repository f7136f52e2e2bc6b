/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The condition of a unit, as it tells it itself (unit attentions, sense data) and as its
 * silence tells: what is reported, what callers see of it, what is looked at anew.
 *
 *                  no session for recovery_timeout          for apd_timeout more
 *   in service ------------------------------------> APD --------------------> APD, over
 *       ^  |                                          |  I/O waits                | fails
 *       |  '- 05/25/00, 04/4C/00, 04/3E/01, /03 -> PDL| at once (-ENODEV)         | at
 *          once
 *       |                                          |  |                           |
 *       '------ the check of probe.c: it answers, and under the same name --------'
 *
 * PDL (permanent device loss) is the unit's own word that it is no more; APD (all paths
 * down) is that nobody says anything. A device with several paths (lun->watch) has its
 * APD above.
 *
 * Invariants:
 * 1. An I/O without a deadline of its own waits through an APD, for as long as it may
 *    last; one with a deadline ends by it, as ever.
 * 2. A unit whose identity may have changed gets no I/O before its name has been seen.
 * 3. Each condition is said once when it begins and once when it ends.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/lun_impl.h"

#define SERVICE_TIME_NS (30 * NS_PER_S) /* of what waited, once it is back */

static void notice(struct lun *lun, enum bdev_notice what)
{
	atomic_fetch_or(&lun->notices, what);
}

uint32_t lun_notices(struct bdev *bd)
{
	return atomic_exchange(&((struct lun *)bd)->notices, 0);
}

static uint64_t setting_ns(const struct lun *lun, enum iscsi_setting which)
{
	return iscsi_setting_ns(&lun->params.settings, which);
}

/* ---- unit attentions ---- */

struct attention {
	uint8_t asc, ascq;
	enum report_level level;
	enum bdev_notice notice; /* 0: none */
	const char *text;
};

static const struct attention attentions[] = {
	{ 0x2a, 0x01, REPORT_INFO, 0, "its mode parameters have changed" },
	{ 0x2a, 0x03, REPORT_INFO, 0, "reservations were preempted" },
	{ 0x2a, 0x04, REPORT_INFO, 0, "reservations were released" },
	{ 0x2a, 0x05, REPORT_INFO, 0, "registrations were preempted" },
	{ 0x2a, 0x06, REPORT_INFO, 0, "the access states of its paths have changed" },
	{ 0x2a, 0x07, REPORT_WARN, 0, "the access state of a path could not change" },
	{ 0x2a, 0x09, REPORT_INFO, BDEV_NOTICE_CAPACITY, "its capacity has changed" },
	{ 0x38, 0x07, REPORT_WARN, BDEV_NOTICE_SPACE_LOW,
	  "it runs out of space (thin provisioning soft threshold)" },
	{ 0x3f, 0x03, REPORT_WARN, BDEV_NOTICE_IDENTITY,
	  "its inquiry data have changed" },
	{ 0x3f, 0x05, REPORT_WARN, BDEV_NOTICE_IDENTITY, "its name has changed" },
	{ 0x3f, 0x0e, REPORT_INFO, BDEV_NOTICE_LUNS,
	  "the target has other LUNs than before" },
};

static void check_identity(struct lun *lun)
{
	if (!lun->is_ready)
		return; /* a check is under way */
	lun_set_ready(lun, false);
	lun_check_start(lun);
}

void lun_attention(struct lun *lun, struct scsi_sense s)
{
	const struct attention *a = attentions, *end = a + ARRAY_SIZE(attentions);

	if (s.asc == 0x29)
		return; /* after each login: it counts as an event, it is no news */
	while (a < end && (a->asc != s.asc || a->ascq != s.ascq))
		a++;
	const char *text = a < end ? a->text : scsi_sense_detail(s);
	report(lun->bd.reporter, a < end ? a->level : REPORT_INFO,
	       "%s: unit attention %02x/%02x%s%s", lun->url.text, s.asc, s.ascq,
	       text ? ": " : "", text ? text : "");
	if (a == end)
		return;
	if (a->notice)
		notice(lun, a->notice);
	if (a->notice == BDEV_NOTICE_IDENTITY)
		check_identity(lun);
}

/* ---- space ---- */

void lun_out_of_space(struct lun *lun)
{
	notice(lun, BDEV_NOTICE_SPACE_OUT);
	if (!lun->is_full)
		report(lun->bd.reporter, REPORT_ERROR,
		       "%s: out of space (07/27/07): writes to blocks that it does not "
		       "have yet fail until the storage is given more",
		       lun->url.text);
	lun->is_full = true;
}

void lun_has_space(struct lun *lun)
{
	if (!lun->is_full)
		return;
	lun->is_full = false;
	report(lun->bd.reporter, REPORT_INFO, "%s: writes go through again",
	       lun->url.text);
}

/* ---- PDL ---- */

static const char *pdl_text(struct scsi_sense s)
{
	if (s.asc == 0x25)
		return "the target has no such LUN any more";
	if (s.asc == 0x4c)
		return "it has failed to configure itself";
	if (s.asc == 0x3e)
		return s.ascq == 3 ? "it has failed its self-test" : "it has failed";
	return "it is not there any more";
}

void lun_pdl(struct lun *lun, const struct command *c)
{
	struct scsi_sense s = scsi_sense_parse(c->task.sense, c->task.sense_len);
	bool was_pdl = atomic_exchange(&lun->is_pdl, true);

	lun->pdl_check_at = clock_now() + setting_ns(lun, ISCSI_NOOP_INTERVAL);
	lun_set_ready(lun, false);
	if (was_pdl)
		return;
	report(lun->bd.reporter, REPORT_ERROR,
	       "%s: permanent device loss (PDL): %s (status %02x, %02x/%02x/%02x); all "
	       "I/O fails until it is there again",
	       lun->url.text, pdl_text(s), c->task.status, s.key, s.asc, s.ascq);
}

/* ---- APD ---- */

bool lun_may_outlast(const struct lun *lun, const struct command *c)
{
	return c->io && !c->io->deadline && lun->is_lost && !lun->is_apd_over;
}

void lun_say_apd_over(const struct bdev *bd, uint64_t took)
{
	report(bd->reporter, REPORT_ERROR,
	       "%s: all paths down (APD) for %llu s: I/O fails at once until one is back",
	       bd->name, (unsigned long long)(took / NS_PER_S));
}

/* The timer of an APD; returns when it wants to be looked at again. */
static uint64_t apd_tick(struct lun *lun, uint64_t now)
{
	uint64_t dead_at = lun->down_since + setting_ns(lun, ISCSI_RECOVERY_TIMEOUT);
	uint64_t over_at = dead_at + setting_ns(lun, ISCSI_APD_TIMEOUT);

	if (now < dead_at)
		return dead_at;
	if (!lun->is_apd)
		report(lun->bd.reporter, REPORT_WARN,
		       "%s: all paths down (APD): %s; I/O waits for at most %llu s",
		       lun->url.text, lun->down_why,
		       (unsigned long long)((over_at - dead_at) / NS_PER_S));
	lun->is_apd = true;
	if (now < over_at)
		return over_at;
	if (!lun->is_apd_over)
		lun_say_apd_over(&lun->bd, now - dead_at);
	lun->is_apd_over = true;
	return NO_DEADLINE;
}

/* Ends what waits, but for the check and, if it is all with a deadline, that. */
static void end_waiting(struct lun *lun, int error, bool is_all)
{
	struct command_list all;
	struct command *c;

	lun_take_waiting(lun, &all);
	while ((c = TAILQ_FIRST(&all))) {
		TAILQ_REMOVE(&all, c, link);
		if (c->is_probe || (!is_all && (!c->io || c->io->deadline)))
			TAILQ_INSERT_TAIL(&lun->queue, c, link);
		else
			lun_command_end(c, error);
	}
}

uint64_t lun_condition_tick(struct lun *lun, bool has_session, uint64_t now)
{
	uint64_t at = NO_DEADLINE;

	if (lun->is_pdl) {
		end_waiting(lun, -ENODEV, true);
		if (has_session && now >= lun->pdl_check_at && !lun->check.is_busy) {
			lun->pdl_check_at = now + setting_ns(lun, ISCSI_NOOP_INTERVAL);
			lun_check_start(lun);
		}
		if (has_session && !lun->check.is_busy)
			at = lun->pdl_check_at;
	}
	if (!lun->is_lost || lun->is_ready || lun->is_pdl || lun->is_gone ||
	    atomic_load(&lun->watch))
		return at;
	at = min_u64(at, apd_tick(lun, now));
	if (lun->is_apd_over)
		end_waiting(lun, -ETIMEDOUT, false);
	return at;
}

/* What has no deadline of its own has until then. */
static void give_time(struct command_list *list, uint64_t until)
{
	struct command *c;

	TAILQ_FOREACH(c, list, link)
		if (c->io && !c->io->deadline)
			c->deadline = max_u64(c->deadline, until);
}

void lun_condition_back(struct lun *lun)
{
	uint64_t until = clock_now() + SERVICE_TIME_NS;

	if (atomic_exchange(&lun->is_pdl, false)) {
		atomic_fetch_add(&lun->events, 1);
		report(lun->bd.reporter, REPORT_INFO, "%s: the LUN is there again",
		       lun->url.text);
	}
	lun->is_apd = lun->is_apd_over = false;
	give_time(&lun->queue, until);
	give_time(&lun->delayed, until);
}
