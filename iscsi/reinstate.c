/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reinstatement barrier: a session that lives for one login, under another's name. A
 * target that lets it in has ended the session that had this name and ISID before, with
 * all its commands (RFC 7143 6.3.5); one that still works on a command makes us wait.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "iscsi/lun_impl.h"

struct reinstatement {
	struct iscsi_owner owner;
	struct mutex m;
	struct cond c;
	bool is_over; /* these under the mutex */
	int error;
	uint16_t tpgt;
	char why[256];
};

static struct reinstatement *of_owner(struct iscsi_owner *o)
{
	return (struct reinstatement *)((char *)o -
					offsetof(struct reinstatement, owner));
}

static void end(struct reinstatement *r, int error, const char *why, uint16_t tpgt)
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
	end(of_owner(o), 0, "", iscsi_session_tpgt(s));
}

static bool down(struct iscsi_owner *o, int error, const char *why, bool was_up)
{
	(void)was_up;
	end(of_owner(o), error ? error : -ECONNRESET, why, 0);
	return false;
}

static uint64_t pump(struct iscsi_owner *o, struct iscsi_session *s, uint64_t now)
{
	(void)o;
	(void)s;
	(void)now;
	return NO_DEADLINE;
}

/* Waits for the login's end or the deadline. */
static int wait_for(struct reinstatement *r, uint64_t deadline)
{
	mutex_lock(&r->m);
	while (!r->is_over && clock_now() < deadline)
		(void)!cond_wait_until(&r->c, &r->m, deadline);
	int error = r->is_over ? r->error : -ETIMEDOUT;
	mutex_unlock(&r->m);
	return error;
}

int lun_reinstate(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline)
{
	struct lun *lun = (struct lun *)bd;
	struct reinstatement r = { .owner = { up, down, pump }, .why = "no answer" };
	struct iscsi_params params = lun->params;
	struct iscsi_transport *transport;
	const char *why = "";
	uint64_t now = clock_now();

	params.initiator_name = victim->initiator;
	memcpy(params.isid, victim->isid, sizeof(params.isid));
	params.login_ns = deadline > now ? deadline - now : 1;
	params.event = NULL;
	mutex_init(&r.m);
	cond_init(&r.c);
	int error = iscsi_transport_start(lun->url.host, lun->url.port, &params, &r.owner,
					  &transport, &why);
	if (!error) {
		error = wait_for(&r, deadline);
		iscsi_transport_stop(transport);
		why = r.why;
	}
	/* Another portal group: what we have ended was not the victim's session. */
	if (!error && r.tpgt != victim->tpgt)
		error = -EOPNOTSUPP;
	if (error)
		report(lun->bd.reporter, REPORT_WARN,
		       "%s: the login as %s that ends its session failed: %s",
		       lun->url.text, victim->initiator,
		       error == -EOPNOTSUPP ? "another portal group" : why);
	cond_done(&r.c);
	mutex_done(&r.m);
	return error;
}
