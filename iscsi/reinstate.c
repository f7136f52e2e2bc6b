/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The barriers (LOCKING.md 9.4): sessions that live for one errand.
 *
 *   reinstatement  a login under another's name. A target that lets it in has ended the
 *                  session that had this name and ISID before, with all its commands (RFC
 *                  7143 6.3.5); one that still works on a command makes us wait.
 *   reset          a login under our own name and an ISID of its own, then LOGICAL UNIT
 *                  RESET: not on the session that carries data, whose commands it ends.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "iscsi/lun_impl.h"

#define RESET_PING_MS 60000u

struct errand {
	struct iscsi_owner owner;
	struct mutex m;
	struct cond c;
	bool is_over; /* these under the mutex */
	int error;
	uint16_t tpgt;
	const uint8_t *reset_lun; /* NULL: nothing but the login */
	char why[256];
};

static struct errand *of_owner(struct iscsi_owner *o)
{
	return (struct errand *)((char *)o - offsetof(struct errand, owner));
}

static void end(struct errand *r, int error, const char *why, uint16_t tpgt)
{
	mutex_lock(&r->m);
	if (!r->is_over) {
		r->is_over = true;
		r->error = error;
		r->tpgt = tpgt;
		(void)snprintf(r->why, sizeof(r->why), "%s", why);
		cond_broadcast(&r->c);
	}
	mutex_unlock(&r->m);
}

static void up(struct iscsi_owner *o, struct iscsi_session *s)
{
	struct errand *r = of_owner(o);

	if (r->reset_lun)
		iscsi_session_reset_unit(s, r->reset_lun);
	else
		end(r, 0, "", iscsi_session_tpgt(s));
}

static bool down(struct iscsi_owner *o, int error, const char *why, bool was_up)
{
	(void)was_up;
	end(of_owner(o), error ? error : -ECONNRESET, why, 0);
	return false;
}

static uint64_t pump(struct iscsi_owner *o, struct iscsi_session *s, uint64_t now)
{
	enum iscsi_reset reset = s ? iscsi_session_reset(s) : ISCSI_RESET_NONE;

	(void)now;
	if (reset == ISCSI_RESET_DONE)
		end(of_owner(o), 0, "", iscsi_session_tpgt(s));
	else if (reset == ISCSI_RESET_REFUSED)
		end(of_owner(o), -EOPNOTSUPP, "the target refuses it", 0);
	return NO_DEADLINE;
}

/* Waits for the login's end or the deadline. */
static int wait_for(struct errand *r, uint64_t deadline)
{
	mutex_lock(&r->m);
	while (!r->is_over && clock_now() < deadline)
		(void)!cond_wait_until(&r->c, &r->m, deadline);
	int error = r->is_over ? r->error : -ETIMEDOUT;
	mutex_unlock(&r->m);
	return error;
}

/* 0 or -errno; r->why says what went wrong. */
static int run_errand(struct lun *lun, struct errand *r, struct iscsi_params *params,
		      uint64_t deadline)
{
	struct iscsi_transport *transport;
	const char *why = "";
	uint64_t now = clock_now();

	r->owner = (struct iscsi_owner){ .up = up, .down = down, .pump = pump };
	(void)snprintf(r->why, sizeof(r->why), "no answer");
	params->login_ns = deadline > now ? deadline - now : 1;
	params->event = NULL;
	params->climbed = NULL;
	params->traced = NULL;
	mutex_init(&r->m);
	cond_init(&r->c);
	int error = iscsi_transport_start(lun->url.host, lun->url.port, params, &r->owner,
					  &transport, &why);
	if (error) {
		(void)snprintf(r->why, sizeof(r->why), "%s", why);
	} else {
		error = wait_for(r, deadline);
		iscsi_transport_stop(transport);
	}
	cond_done(&r->c);
	mutex_done(&r->m);
	return error;
}

int lun_reinstate(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline)
{
	struct lun *lun = (struct lun *)bd;
	struct errand r = { .reset_lun = NULL };
	struct iscsi_params params = lun->params;

	if (victim->paths > 1)
		return -EOPNOTSUPP; /* this is the way to one of them */
	params.initiator_name = victim->initiator;
	memcpy(params.isid, victim->isid, sizeof(params.isid));
	int error = run_errand(lun, &r, &params, deadline);
	/* Another portal group: what we have ended was not the victim's session. */
	if (!error && r.tpgt != victim->tpgt)
		error = -EOPNOTSUPP;
	if (error)
		report(lun->bd.reporter, REPORT_WARN,
		       "%s: the login as %s that ends its session failed: %s",
		       lun->url.text, victim->initiator,
		       error == -EOPNOTSUPP ? "another portal group" : r.why);
	return error;
}

int lun_reset(struct bdev *bd, uint64_t deadline)
{
	struct lun *lun = (struct lun *)bd;
	struct errand r = { .reset_lun = lun->lun_bytes };
	struct iscsi_params params = lun->params;

	iscsi_initiator_isid(NULL, params.isid);
	/* A target that waits for a dead host's answers may not answer pings either. */
	iscsi_setting_set(&params.settings, ISCSI_NOOP_INTERVAL, RESET_PING_MS);
	iscsi_setting_set(&params.settings, ISCSI_NOOP_TIMEOUT, RESET_PING_MS);
	int error = run_errand(lun, &r, &params, deadline);
	if (error)
		report(lun->bd.reporter, REPORT_WARN, "%s: LOGICAL UNIT RESET failed: %s",
		       lun->url.text, r.why);
	return error;
}
