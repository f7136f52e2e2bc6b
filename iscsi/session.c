/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a session, its commands and its timers.
 *
 * A command waits in `waiting` (no CmdSN yet: NEVER_SENT if the session dies), then
 * gets a CmdSN and stands in the ring of outgoing PDUs (still NEVER_SENT while no byte
 * of its header has left), then lives in its slot until the target answers.
 *
 * Invariants:
 * 1. Every task that start() took is done() exactly once, with a fate; after done()
 *    neither its struct nor its memory is touched.
 * 2. A tag is slot number plus a count: an answer to a command of the past finds nobody.
 * 3. A task whose time is over before the target answered is done() as UNKNOWN at
 *    once; its slot stays taken until the target has confirmed that it works on it no
 *    more, or the session dies (ladder.c).
 * 4. A dead session gives out no bytes and takes none.
 * 5. A target that wants us to leave gets no new command; the logout comes when those
 *    that it has are answered, or when three quarters of its patience are over.
 */
#include "iscsi/session_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"

struct iscsi_session *iscsi_session_new(const struct iscsi_params *params, uint64_t now)
{
	struct iscsi_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->params = *params;
	if (!params->login_ns)
		s->params.login_ns =
			iscsi_setting_ns(&params->settings, ISCSI_LOGIN_TIMEOUT);
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->sending);
	TAILQ_INIT(&s->spare);
	for (unsigned int i = 0; i < BURSTS; i++)
		TAILQ_INSERT_TAIL(&s->spare, &s->bursts[i], link);
	s->in.head_len = ISCSI_BHS_SIZE;
	s->cmd_sn = params->first_cmd_sn;
	s->max_cmd_sn = s->cmd_sn - 1; /* closed until the target says otherwise */
	s->exp_cmd_sn = s->cmd_sn;
	s->check_at = NO_DEADLINE;
	s->heard_at = now;
	s->phase_deadline = after(now, s->params.login_ns);
	iscsi_keys_init(&s->keys, &params->settings, !params->target_name,
			params->header_digest, params->data_digest);
	iscsi_login_start(s);
	return s;
}

void iscsi_session_free(struct iscsi_session *s)
{
	if (!s)
		return;
	if (s->phase != ISCSI_DEAD)
		iscsi_session_kill(s, -ESHUTDOWN, "closed");
	buf_done(&s->login.text);
	buf_done(&s->targets);
	free(s->in.data);
	explicit_bzero(&s->login, sizeof(s->login));
	free(s);
}

enum iscsi_phase iscsi_session_phase(const struct iscsi_session *s)
{
	return s->phase;
}

int iscsi_session_error(const struct iscsi_session *s)
{
	return s->error;
}

const char *iscsi_session_why(const struct iscsi_session *s)
{
	return s->why;
}

uint16_t iscsi_session_tpgt(const struct iscsi_session *s)
{
	return s->login.tpgt;
}

uint32_t iscsi_session_login_status(const struct iscsi_session *s)
{
	return s->login.status;
}

const char *iscsi_session_moved_to(const struct iscsi_session *s, bool *ret_is_for_good)
{
	*ret_is_for_good = s->login.status == ISCSI_MOVED_FOR_GOOD;
	return s->login.moved_to[0] ? s->login.moved_to : NULL;
}

uint32_t iscsi_session_busy(const struct iscsi_session *s)
{
	return s->busy;
}

uint64_t iscsi_session_expected(const struct iscsi_session *s)
{
	return s->expected;
}

uint32_t iscsi_session_brief(const struct iscsi_session *s)
{
	return s->brief;
}

/* Of the answer. */
static uint64_t expected_of(const struct iscsi_task *t)
{
	return ISCSI_BHS_SIZE + (t->is_write ? 0 : t->len);
}

static bool is_brief(const struct iscsi_task *t)
{
	return expected_of(t) < ISCSI_LONG_ANSWER;
}

bool iscsi_session_is_settled(const struct iscsi_session *s)
{
	for (uint32_t i = 0; i < ISCSI_MAX_TASKS; i++)
		if (s->slots[i].state == SLOT_COMMAND && !s->slots[i].task)
			return false;
	return true;
}

uint32_t iscsi_new_tag(struct iscsi_session *s, uint32_t slot)
{
	s->next_tag = (s->next_tag + 1) & 0x7fffff; /* never the reserved tag */
	return s->next_tag << 8 | slot;
}

struct slot *iscsi_slot_of(struct iscsi_session *s, uint32_t itt)
{
	uint32_t i = itt & 0xff;

	if (i >= SLOTS || s->slots[i].state == SLOT_FREE || s->slots[i].itt != itt)
		return NULL;
	return &s->slots[i];
}

struct slot *iscsi_slot_take(struct iscsi_session *s, enum slot_state state)
{
	uint32_t from = state == SLOT_COMMAND ? 0 : ISCSI_MAX_TASKS;
	uint32_t to = state == SLOT_COMMAND ? ISCSI_MAX_TASKS : SLOTS;

	for (uint32_t i = from; i < to; i++) {
		struct slot *slot = &s->slots[i];
		if (slot->state != SLOT_FREE)
			continue;
		*slot = (struct slot){ .state = state, .itt = iscsi_new_tag(s, i) };
		return slot;
	}
	return NULL;
}

uint64_t iscsi_session_wait_ns(const struct iscsi_session *s)
{
	return s->time2wait * NS_PER_S;
}

bool iscsi_session_start(struct iscsi_session *s, struct iscsi_task *task)
{
	if (s->phase != ISCSI_FULL)
		return false;
	struct slot *slot = iscsi_slot_take(s, SLOT_COMMAND);
	if (!slot)
		return false;
	slot->task = task;
	memcpy(slot->lun, task->lun, sizeof(slot->lun));
	task->slot = (uint32_t)(slot - s->slots);
	task->abort_at = NO_DEADLINE;
	task->is_settled = false;
	task->status = 0;
	task->sense_len = 0;
	task->transferred = task->data_sn = task->r2t_sn = 0;
	task->requested = task->sent = task->bursts = 0;
	if (task->is_urgent)
		TAILQ_INSERT_HEAD(&s->waiting, task, link);
	else
		TAILQ_INSERT_TAIL(&s->waiting, task, link);
	s->busy++;
	s->expected += expected_of(task);
	s->brief += is_brief(task);
	s->check_at = min_u64(s->check_at, task->deadline);
	return true;
}

void iscsi_task_hand_back(struct iscsi_session *s, struct slot *slot,
			  enum iscsi_fate fate)
{
	struct iscsi_task *t = slot->task;

	assert(t && s->busy > 0);
	iscsi_send_forget(s, t);
	if (s->in.task == t) {
		s->in.task = NULL;
		s->in.dest = DEST_DISCARD;
	}
	slot->task = NULL;
	s->busy--;
	s->expected -= expected_of(t);
	s->brief -= is_brief(t);
	t->fate = fate;
	t->done(t);
}

void iscsi_task_finish(struct iscsi_session *s, struct slot *slot, enum iscsi_fate fate)
{
	if (slot->task)
		iscsi_task_hand_back(s, slot, fate);
	slot->state = SLOT_FREE;
}

static void finish_waiting(struct iscsi_session *s, struct iscsi_task *t)
{
	TAILQ_REMOVE(&s->waiting, t, link);
	iscsi_task_finish(s, &s->slots[t->slot], ISCSI_NEVER_SENT);
}

/* The last PDUs of one that ends in trouble. */
static void tell_trace(const struct iscsi_session *s)
{
	char line[TRACE_LINE_SIZE];

	for (uint32_t i = 0; iscsi_trace_line(&s->trace, i, line); i++)
		s->params.traced(s->params.context, line);
}

void iscsi_session_kill(struct iscsi_session *s, int error, const char *fmt, ...)
{
	bool is_trouble = s->phase == ISCSI_FULL && error && error != -ESHUTDOWN &&
			  error != -ESTALE;
	va_list ap;

	if (s->phase == ISCSI_DEAD)
		return;
	if (is_trouble && s->params.traced)
		tell_trace(s);
	s->phase = ISCSI_DEAD;
	s->error = error;
	va_start(ap, fmt);
	(void)vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	while (!TAILQ_EMPTY(&s->waiting))
		finish_waiting(s, TAILQ_FIRST(&s->waiting));
	for (uint32_t i = 0; i < s->out_count; i++) {
		struct out_pdu *p = &s->out[(s->out_head + i) % OUT_PDUS];
		if (p->is_command && p->task && p->sent == 0)
			iscsi_task_finish(s, &s->slots[p->task->slot], ISCSI_NEVER_SENT);
	}
	for (uint32_t i = 0; i < SLOTS; i++)
		if (s->slots[i].state != SLOT_FREE)
			iscsi_task_finish(s, &s->slots[i], ISCSI_UNKNOWN);
	iscsi_out_drop_all(s);
	assert(s->busy == 0);
}

/* ---- LOGICAL UNIT RESET (RFC 7143 11.5) ---- */

void iscsi_session_reset_unit(struct iscsi_session *s, const uint8_t lun[8])
{
	struct out_pdu *p =
		iscsi_control_new(s, ISCSI_TASK_REQUEST, ISCSI_FINAL | ISCSI_LUN_RESET);

	if (!p)
		return;
	memcpy(p->head.pdu.lun, lun, sizeof(p->head.pdu.lun));
	p->head.pdu.itt = be32_of(iscsi_new_tag(s, TAG_RESET));
	p->head.pdu.ttt = be32_of(ISCSI_TAG_NONE);
}

enum iscsi_reset iscsi_session_reset(const struct iscsi_session *s)
{
	return s->reset;
}

/* ---- timers ---- */

static void check_tasks(struct iscsi_session *s, uint64_t now)
{
	struct iscsi_task *t, *next;
	uint64_t at = NO_DEADLINE;

	for (t = TAILQ_FIRST(&s->waiting); t; t = next) {
		next = TAILQ_NEXT(t, link);
		if (now >= t->deadline)
			finish_waiting(s, t);
	}
	s->check_at = NO_DEADLINE;
	/* Those of requests come last: what a command's check makes is seen as well. */
	for (uint32_t i = 0; i < SLOTS && s->phase != ISCSI_DEAD; i++)
		at = min_u64(at, iscsi_slot_check(s, &s->slots[i], now));
	s->check_at = min_u64(s->check_at, at);
}

/* Since when there is silence that counts. */
static uint64_t silent_since(const struct iscsi_session *s)
{
	return s->is_pinging ? max_u64(s->pinged_at, s->heard_at) : s->heard_at;
}

static uint64_t silence_ends_at(const struct iscsi_session *s)
{
	return after(silent_since(s),
		     iscsi_setting_ns(&s->params.settings,
				      s->is_pinging ? ISCSI_NOOP_TIMEOUT
						    : ISCSI_NOOP_INTERVAL));
}

static void check_silence(struct iscsi_session *s, uint64_t now)
{
	if (now < silence_ends_at(s))
		return;
	if (s->is_pinging) {
		iscsi_session_kill(s, -ETIMEDOUT, "no answer to a ping for %u ms",
				   iscsi_setting(&s->params.settings,
						 ISCSI_NOOP_TIMEOUT));
		return;
	}
	struct out_pdu *p = iscsi_control_new(s, ISCSI_NOP_OUT, ISCSI_FINAL);
	if (!p)
		return;
	s->ping_tag = iscsi_new_tag(s, TAG_NOP);
	p->head.pdu.itt = be32_of(s->ping_tag);
	p->head.pdu.ttt = be32_of(ISCSI_TAG_NONE);
	s->is_pinging = true;
	s->pinged_at = now;
}

/* ---- leaving, because the target wants it ---- */

void iscsi_leave(struct iscsi_session *s, uint32_t seconds, const char *why, uint64_t now)
{
	uint64_t by = after(now, seconds * NS_PER_S / 4 * 3);

	s->leave_by = s->is_leaving ? min_u64(s->leave_by, by) : by;
	s->is_leaving = true;
	s->leave_why = why;
}

/* No command is at the target. */
static bool is_drained(const struct iscsi_session *s)
{
	for (uint32_t i = 0; i < ISCSI_MAX_TASKS; i++)
		if (s->slots[i].state == SLOT_COMMAND && s->slots[i].is_numbered)
			return false;
	return true;
}

void iscsi_session_tick(struct iscsi_session *s, uint64_t now)
{
	if (s->phase == ISCSI_DEAD)
		return;
	if (s->phase == ISCSI_LOGIN && now >= s->phase_deadline) {
		iscsi_session_kill(s, -ETIMEDOUT, "no login within %u ms",
				   (unsigned int)(s->params.login_ns / NS_PER_MS));
		return;
	}
	if (s->phase == ISCSI_LOGOUT && now >= s->phase_deadline) {
		iscsi_session_kill(s, s->is_leaving ? -ECONNRESET : 0,
				   "logged out without an answer");
		return;
	}
	if (s->is_leaving && s->phase == ISCSI_FULL &&
	    (now >= s->leave_by || is_drained(s)))
		iscsi_session_logout(s, now);
	if (now >= s->check_at)
		check_tasks(s, now);
	if (s->phase == ISCSI_FULL)
		check_silence(s, now);
}

uint64_t iscsi_session_deadline(const struct iscsi_session *s)
{
	uint64_t at = s->check_at;

	if (s->phase == ISCSI_DEAD)
		return NO_DEADLINE;
	if (s->phase != ISCSI_FULL)
		return min_u64(at, s->phase_deadline);
	if (s->is_leaving && is_drained(s))
		return 0;
	if (s->is_leaving)
		at = min_u64(at, s->leave_by);
	return min_u64(at, silence_ends_at(s));
}

void iscsi_session_logout(struct iscsi_session *s, uint64_t now)
{
	if (s->phase == ISCSI_LOGIN)
		iscsi_session_kill(s, -ESHUTDOWN, "closed during login");
	if (s->phase != ISCSI_FULL)
		return;
	/* Reason 0: close the session (RFC 7143 11.14.1). */
	struct out_pdu *p = iscsi_control_new(s, ISCSI_LOGOUT_REQUEST, ISCSI_FINAL);
	if (!p)
		return;
	p->head.pdu.itt = be32_of(iscsi_new_tag(s, TAG_LOGOUT));
	s->phase = ISCSI_LOGOUT;
	s->phase_deadline =
		after(now, iscsi_setting_ns(&s->params.settings, ISCSI_LOGOUT_TIMEOUT));
	while (!TAILQ_EMPTY(&s->waiting))
		finish_waiting(s, TAILQ_FIRST(&s->waiting));
}
