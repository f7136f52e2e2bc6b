/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	NONE --agent_freeze--> FREEZING --answer--> FROZEN --agent_thaw--> THAWING
 *	FREEZING --an error, FREEZE_LIMIT--> THAWING: it may have frozen some, or may yet
 *	FROZEN --HOLD_LIMIT--> THAWING: whoever wanted it is late
 *	THAWING --answer--> NONE; THAW_AGAIN without one: it is asked again
 *
 * 1. A guest that was told to freeze is told to thaw, until it says that it has, or
 *    starts anew: a dead vmkernel, a late one and a lost answer make no difference.
 * 2. A guest that is not there yet, or has hung, does not read: what QEMU's socket does
 *    not take is not asked again until it does (PENDING_MAX), and the old questions are
 *    answered all at once when it comes.
 * 3. An agent is there if it has answered a question under its number a moment ago. What
 *    answers otherwise beats, and is told nothing.
 */
#include "vmkernel/vmx/agent.h"

#include <errno.h>
#include <stdio.h>

#include "base/align.h"
#include "base/env.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vmx/qmp.h"

#define ASK_EVERY (2 * NS_PER_S)
#define THERE_FOR (7 * NS_PER_S) /* three questions */
#define SHUTDOWN_LIMIT (20 * NS_PER_S)
#define FREEZE_LIMIT (30 * NS_PER_S)
#define HOLD_LIMIT (60 * NS_PER_S)
#define THAW_AGAIN (10 * NS_PER_S)
#define PENDING_MAX 256u

enum question { PING = 1, SHUTDOWN, FREEZE, THAW };

void agent_init(struct agent *a)
{
	*a = (struct agent){ .ask_at = NO_DEADLINE,
			     .shutdown_until = NO_DEADLINE,
			     .ice_until = NO_DEADLINE };
	channel_init(&a->channel, -1);
}

void agent_open(struct agent *a)
{
	int sock = sock_connect(AGENT_SOCKET);
	if (sock < 0)
		return;
	channel_init(&a->channel, sock);
	a->ask_at = clock_now();
}

bool agent_is_there(const struct agent *a)
{
	return a->channel.sock >= 0 && a->there_at &&
	       clock_now() - a->there_at < THERE_FOR;
}

uint64_t agent_next(const struct agent *a)
{
	return min_u64(a->ask_at, min_u64(a->shutdown_until, a->ice_until));
}

/* ---- freezing ---- */

static void set_ice(struct agent *a, enum agent_ice ice, uint64_t limit)
{
	a->ice = ice;
	a->ice_until = ice == ICE_NONE ? NO_DEADLINE : clock_now() + limit;
}

/* If nobody takes it, it is said again. */
static void send_thaw(struct agent *a)
{
	if (a->channel.sock >= 0 && a->channel.out.len < PENDING_MAX)
		(void)!qmp_send(&a->channel, "guest-fsfreeze-thaw", NULL, THAW);
	set_ice(a, ICE_THAWING, THAW_AGAIN);
}

static unsigned int not_frozen(struct agent *a, const char *why)
{
	(void)snprintf(a->why, sizeof(a->why), "%s", why);
	send_thaw(a);
	return AGENT_NOT_FROZEN;
}

static unsigned int has_thawed(struct agent *a)
{
	unsigned int news = a->is_thaw_wanted ? AGENT_THAWED : 0;
	a->is_thaw_wanted = false;
	return news;
}

int agent_freeze(struct agent *a)
{
	if (!agent_is_there(a))
		return -ENXIO;
	if (a->ice != ICE_NONE)
		return -EBUSY;
	a->was_late = a->is_thaw_wanted = false;
	a->why[0] = '\0';
	int rc = qmp_send(&a->channel, "guest-fsfreeze-freeze", NULL, FREEZE);
	if (rc == 0)
		set_ice(a, ICE_FREEZING, FREEZE_LIMIT);
	return rc;
}

unsigned int agent_thaw(struct agent *a)
{
	if (a->ice == ICE_NONE || a->was_late)
		return AGENT_THAWED;
	a->is_thaw_wanted = true;
	if (a->ice != ICE_THAWING)
		send_thaw(a);
	return 0;
}

static unsigned int ice_is_late(struct agent *a)
{
	switch (a->ice) {
	case ICE_NONE:
		break;
	case ICE_FREEZING:
		return not_frozen(a, "its agent does not answer");
	case ICE_FROZEN:
		a->was_late = true;
		send_thaw(a);
		break;
	case ICE_THAWING:
		/* Who waits for it does not wait for a guest that has hung. */
		a->was_late = true;
		send_thaw(a);
		return has_thawed(a);
	}
	return 0;
}

unsigned int agent_guest_reset(struct agent *a)
{
	unsigned int news = a->ice == ICE_FREEZING ? AGENT_NOT_FROZEN : 0;
	a->was_late |= a->ice == ICE_FROZEN;
	if (news)
		(void)snprintf(a->why, sizeof(a->why), "the guest has started anew");
	a->shutdown_until = NO_DEADLINE;
	a->there_at = 0;
	set_ice(a, ICE_NONE, 0);
	return news | has_thawed(a);
}

/* ---- shutting down ---- */

int agent_shutdown(struct agent *a, bool is_reboot)
{
	if (!agent_is_there(a))
		return -ENXIO;
	int rc = qmp_send(&a->channel, "guest-shutdown",
			  json_pack("{s:s}", "mode", is_reboot ? "reboot" : "powerdown"),
			  SHUTDOWN);
	a->is_reboot = is_reboot;
	if (rc == 0)
		a->shutdown_until = clock_now() + SHUTDOWN_LIMIT;
	return rc;
}

static unsigned int refuses(struct agent *a, const char *why)
{
	a->shutdown_until = NO_DEADLINE;
	(void)snprintf(a->why, sizeof(a->why), "%s", why);
	return AGENT_REFUSES;
}

/* ---- talking ---- */

unsigned int agent_turn(struct agent *a)
{
	uint64_t now = clock_now();
	unsigned int news = 0;
	if (now >= a->ice_until)
		news |= ice_is_late(a);
	if (now >= a->shutdown_until)
		news |= refuses(a, "its agent does nothing");
	if (now < a->ask_at)
		return news;
	a->ask_at = now + ASK_EVERY;
	int rc = a->channel.out.len < PENDING_MAX ?
			 qmp_send(&a->channel, "guest-ping", NULL, PING) :
			 channel_flush(&a->channel);
	if (rc < 0)
		agent_done(a);
	return news;
}

static unsigned int answered(struct agent *a, const json_t *m)
{
	const char *error = qmp_error_of(m);
	json_int_t id = json_integer_value(json_object_get(m, "id"));
	bool is_return = json_object_get(m, "return") != NULL;
	unsigned int news = is_return ? AGENT_BEAT : 0;
	if (is_return && id)
		a->there_at = clock_now();
	if (id == SHUTDOWN && error && a->shutdown_until != NO_DEADLINE)
		return news | refuses(a, error);
	if (id == FREEZE && a->ice == ICE_FREEZING) {
		if (error)
			return news | not_frozen(a, error);
		set_ice(a, ICE_FROZEN, HOLD_LIMIT);
		return news | AGENT_FROZEN;
	}
	if (id == THAW && a->ice == ICE_THAWING) {
		set_ice(a, ICE_NONE, 0);
		return news | has_thawed(a);
	}
	return news;
}

unsigned int agent_read(struct agent *a)
{
	json_t *m;
	unsigned int news = 0;
	int rc = qmp_read(&a->channel), next = 0;
	while (rc == 0 && (next = qmp_next(&a->channel, &m)) > 0) {
		news |= answered(a, m);
		json_decref(m);
	}
	if (rc < 0 || next < 0) { /* gone, or no agent */
		if (a->ice == ICE_FREEZING)
			news |= not_frozen(a, "its agent has gone");
		agent_done(a);
	}
	return news;
}

/* What waits for it hears when its time has come: the socket alone goes. */
void agent_done(struct agent *a)
{
	channel_done(&a->channel);
	channel_init(&a->channel, -1);
	a->ask_at = NO_DEADLINE;
	a->there_at = 0;
}
