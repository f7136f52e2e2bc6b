/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the target says after login.
 *
 * Invariants:
 * 1. StatSN counts without a gap; a gap is a lost answer, which this recovery level
 *    cannot fetch again: the session dies and the fate of its commands is unknown.
 * 2. Data-In comes in order and inside the command's buffer, or the session dies before a
 *    byte of that PDU is stored.
 * 3. GOOD counts only if bytes received + residual = bytes expected. Missing bytes are an
 *    error, never zeros.
 * 4. An answer to a tag that is not in use changes nothing but the counters.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/session_impl.h"

bool iscsi_take_stat_sn(struct iscsi_session *s, be32 stat_sn)
{
	if (be32_get(stat_sn) != s->exp_stat_sn) {
		iscsi_session_kill(s, -EPROTO, "StatSN %u, expected %u",
				   be32_get(stat_sn), s->exp_stat_sn);
		return false;
	}
	s->exp_stat_sn++;
	return true;
}

void iscsi_take_window(struct iscsi_session *s, be32 exp_cmd_sn, be32 max_cmd_sn)
{
	uint32_t exp = be32_get(exp_cmd_sn), max = be32_get(max_cmd_sn);

	if (!serial_le(exp - 1, max))
		return; /* RFC 7143 4.2.2.1: to be ignored */
	if (serial_le(s->exp_cmd_sn, exp))
		s->exp_cmd_sn = exp;
	if (serial_le(s->max_cmd_sn, max))
		s->max_cmd_sn = max;
}

static struct iscsi_task *task_of(struct iscsi_session *s)
{
	struct slot *slot = iscsi_slot_of(s, be32_get(s->in.head.pdu.itt));

	return slot && slot->state == SLOT_COMMAND ? slot->task : NULL;
}

/* ---- Data-In (RFC 7143 11.7) ---- */

static void begin_data_in(struct iscsi_session *s)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;
	struct iscsi_task *t = task_of(s);
	uint64_t offset = be32_get(h->offset), len = s->in.data_len;

	s->in.dest = DEST_DISCARD;
	if (!t)
		return;
	if (t->is_write || be32_get(h->data_sn) != t->data_sn ||
	    offset != t->transferred || offset + len > t->len) {
		iscsi_session_kill(
			s, -EPROTO,
			"Data-In %u of %llu bytes at %llu, expected %u at %u of %u",
			be32_get(h->data_sn), (unsigned long long)len,
			(unsigned long long)offset, t->data_sn, t->transferred,
			t->is_write ? 0 : t->len);
		return;
	}
	t->data_sn++;
	s->in.is_bulk = len >= BULK;
	if (len == 0)
		return;
	s->in.dest = DEST_TASK;
	s->in.task = t;
	s->in.task_off = (uint32_t)offset;
}

void iscsi_receive_header(struct iscsi_session *s)
{
	struct in_pdu *in = &s->in;

	iscsi_trace_note(&s->trace, in->head.bytes, false, s->heard_at);
	if ((in->head.pdu.opcode & ISCSI_OPCODE_MASK) == ISCSI_DATA_IN &&
	    s->phase != ISCSI_LOGIN) {
		begin_data_in(s);
		return;
	}
	in->dest = DEST_DATA;
	if (in->data_len < in->data_capacity)
		return;
	/* One byte more, so that text can be closed with a NUL. */
	uint8_t *data = realloc(in->data, in->data_len + 1u);
	if (!data) {
		iscsi_session_kill(s, -ENOMEM, "out of memory");
		return;
	}
	in->data = data;
	in->data_capacity = in->data_len + 1u;
}

/* ---- the end of a command ---- */

static enum iscsi_fate judge_good(const struct iscsi_task *t, uint8_t flags,
				  uint64_t residual)
{
	bool is_under = flags & ISCSI_UNDERFLOW, is_over = flags & ISCSI_OVERFLOW;

	if (is_under && is_over)
		return ISCSI_SHORT; /* it cannot be both */
	if (t->is_write)
		return is_under || is_over || t->sent != t->len ? ISCSI_SHORT
								: ISCSI_GOOD;
	if (is_under && t->transferred + residual != t->len)
		return ISCSI_SHORT;
	if (t->may_be_short)
		return is_under || t->transferred == t->len ? ISCSI_GOOD : ISCSI_SHORT;
	return is_under || is_over || t->transferred != t->len ? ISCSI_SHORT : ISCSI_GOOD;
}

static void end_command(struct iscsi_session *s, uint8_t status, uint8_t flags)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;
	struct slot *slot = iscsi_slot_of(s, be32_get(h->itt));

	if (!slot || slot->state != SLOT_COMMAND)
		return;
	if (slot->task)
		slot->task->status = status;
	iscsi_task_finish(s, slot,
			  status || !slot->task
				  ? ISCSI_STATUS
				  : judge_good(slot->task, flags, be32_get(h->length)));
}

static void end_data_in(struct iscsi_session *s)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;

	if (s->in.task)
		s->in.task->transferred += s->in.data_len;
	s->in.task = NULL;
	if (!(h->flags & ISCSI_DATA_STATUS) || !iscsi_take_stat_sn(s, h->stat_sn))
		return;
	end_command(s, h->status, h->flags);
}

/* Sense data, behind their 2-byte length (RFC 7143 11.4.7.2); 0 if there are none. */
static uint32_t sense_in(const struct in_pdu *in, const uint8_t **ret_sense)
{
	be16 len;

	if (in->data_len < sizeof(len))
		return 0;
	memcpy(len.b, in->data, sizeof(len.b));
	*ret_sense = in->data + sizeof(len);
	return (uint32_t)min_u64(be16_get(len), in->data_len - sizeof(len));
}

static void scsi_response(struct iscsi_session *s)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;
	struct iscsi_task *t = task_of(s);
	const uint8_t *sense = NULL;

	if (!iscsi_take_stat_sn(s, h->stat_sn))
		return;
	if (h->response != 0) { /* "target failure": nothing is said about the command */
		struct slot *slot = iscsi_slot_of(s, be32_get(h->itt));
		if (!slot || slot->state != SLOT_COMMAND)
			return;
		if (slot->task)
			slot->task->is_settled = true; /* but it is over */
		iscsi_task_finish(s, slot, ISCSI_UNKNOWN);
		return;
	}
	if (t && h->status) {
		t->sense_len =
			(uint8_t)min_u64(sense_in(&s->in, &sense), ISCSI_SENSE_MAX);
		if (t->sense_len)
			memcpy(t->sense, sense, t->sense_len);
	}
	end_command(s, h->status, h->flags);
}

/* ---- R2T (RFC 7143 11.8) ---- */

static void r2t(struct iscsi_session *s)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;
	struct iscsi_task *t = task_of(s);
	uint64_t offset = be32_get(h->offset), len = be32_get(h->length);

	if (!t)
		return; /* of a command that is being aborted */
	if (!t->is_write || be32_get(h->ttt) == ISCSI_TAG_NONE || len == 0 ||
	    be32_get(h->data_sn) != t->r2t_sn || offset != t->requested ||
	    offset + len > t->len || len > s->keys.value[KEY_MAX_BURST] ||
	    t->bursts > s->keys.value[KEY_MAX_R2T]) {
		iscsi_session_kill(
			s, -EPROTO,
			"R2T %u for %llu bytes at %llu, expected %u at %u of %u",
			be32_get(h->data_sn), (unsigned long long)len,
			(unsigned long long)offset, t->r2t_sn, t->requested,
			t->is_write ? t->len : 0);
		return;
	}
	t->r2t_sn++;
	t->requested += (uint32_t)len;
	if (!iscsi_burst_add(s, t, h->ttt, h->lun, (uint32_t)offset, (uint32_t)len))
		iscsi_session_kill(s, -EPROTO, "more than %u R2Ts at once", BURSTS);
}

/* ---- the rest ---- */

static void nop_in(struct iscsi_session *s)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;

	if (be32_get(h->itt) != ISCSI_TAG_NONE) {
		if (iscsi_take_stat_sn(s, h->stat_sn) &&
		    be32_get(h->itt) == s->ping_tag)
			s->is_pinging = false;
		return;
	}
	if (be32_get(h->ttt) == ISCSI_TAG_NONE)
		return; /* only brings new counters */
	struct out_pdu *p = iscsi_control_new(s, ISCSI_NOP_OUT, ISCSI_FINAL);
	if (!p)
		return;
	memcpy(p->head.pdu.lun, h->lun, sizeof(h->lun));
	p->head.pdu.itt = be32_of(ISCSI_TAG_NONE);
	p->head.pdu.ttt = h->ttt;
}

/* What a target says about a PDU that it does not take (RFC 7143 11.17.1). */
static void reject(struct iscsi_session *s, uint64_t now)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;
	struct iscsi_initiator_pdu refused = { 0 };

	if (!iscsi_take_stat_sn(s, h->stat_sn))
		return;
	memcpy(&refused, s->in.data, min_u64(s->in.data_len, sizeof(refused)));
	uint8_t opcode = refused.opcode & ISCSI_OPCODE_MASK;
	struct slot *slot = iscsi_slot_of(s, be32_get(refused.itt));
	bool is_command =
		opcode == ISCSI_SCSI_COMMAND && slot && slot->state == SLOT_COMMAND;
	switch (h->response) {
	case ISCSI_REJECT_IMMEDIATE: /* it has no room for it at the moment */
		if (opcode == ISCSI_TASK_REQUEST)
			iscsi_task_request_later(s, be32_get(refused.itt), now);
		else if (opcode == ISCSI_NOP_OUT)
			s->is_pinging = false; /* it lives */
		if (opcode == ISCSI_TASK_REQUEST || opcode == ISCSI_NOP_OUT)
			return;
		break;
	case ISCSI_REJECT_LOGOUT_AWAITED:
		if (is_command)
			iscsi_task_finish(s, slot, ISCSI_NEVER_SENT);
		iscsi_leave(s, 0, "the target waits for a logout", now);
		return;
	case ISCSI_REJECT_UNSUPPORTED:
	case ISCSI_REJECT_PROTOCOL:
	case ISCSI_REJECT_FIELD:
		if (!is_command)
			break;
		iscsi_task_finish(s, slot, ISCSI_REJECTED);
		return;
	default:
		/*
		 * A digest error: at this recovery level the PDU and its CmdSN are lost.
		 * The others answer what is never sent.
		 */
		break;
	}
	iscsi_session_kill(s, -EPROTO,
			   "the target rejects a PDU (opcode %02xh, reason %02xh)",
			   opcode, h->response);
}

/* The target ends it, or has ended it: nothing is to be sent before Time2Wait is over. */
static void dropped(struct iscsi_session *s, const struct iscsi_async_pdu *h)
{
	s->time2wait = be16_get(h->parameter[1]);
	iscsi_session_kill(s, -ECONNRESET, "the target drops it (event %u)", h->event);
}

static void async_message(struct iscsi_session *s, uint64_t now)
{
	const struct iscsi_async_pdu *h = &s->in.head.async;
	const uint8_t *sense = NULL;
	uint32_t len;

	if (!iscsi_take_stat_sn(s, h->stat_sn))
		return;
	switch (h->event) {
	case ISCSI_ASYNC_SCSI:
		len = sense_in(&s->in, &sense);
		if (len && s->params.event)
			s->params.event(s->params.context, sense, len);
		return;
	case ISCSI_ASYNC_LOGOUT:
		iscsi_leave(s, be16_get(h->parameter[2]), "the target asks for a logout",
			    now);
		return;
	case ISCSI_ASYNC_NEGOTIATE: /* a logout is an answer to it too */
		iscsi_leave(s, be16_get(h->parameter[2]),
			    "the target wants to negotiate anew", now);
		return;
	case ISCSI_ASYNC_DROP_CONNECTION:
		if (be16_get(h->parameter[0]) == 0) /* our only one */
			dropped(s, h);
		return;
	case ISCSI_ASYNC_DROP_SESSION:
		dropped(s, h);
		return;
	case ISCSI_ASYNC_TASKS_GONE:
		iscsi_session_kill(s, -ECONNRESET, "the target ends all tasks of a LUN");
		return;
	default:
		return;
	}
}

static void logout_response(struct iscsi_session *s)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;

	if (!iscsi_take_stat_sn(s, h->stat_sn))
		return;
	if (s->phase != ISCSI_LOGOUT) {
		iscsi_session_kill(s, -EPROTO, "an answer to a logout that was not sent");
		return;
	}
	s->time2wait = (uint16_t)(be32_get(h->offset) >> 16);
	if (h->response)
		iscsi_session_kill(s, s->is_leaving ? -ECONNRESET : 0,
				   "logged out (response %u)", h->response);
	else if (s->is_leaving)
		iscsi_session_kill(s, -ECONNRESET, "%s", s->leave_why);
	else
		iscsi_session_kill(s, 0, "logged out");
}

static void text_response(struct iscsi_session *s)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;

	if (!iscsi_take_stat_sn(s, h->stat_sn))
		return;
	if ((be32_get(h->itt) & 0xff) != TAG_TEXT || s->has_targets)
		return;
	buf_add(&s->targets, s->in.data, s->in.data_len);
	if (s->targets.error || s->targets.len > MAX_TARGETS_TEXT) {
		iscsi_session_kill(s, -EPROTO, "a list of targets over %u bytes",
				   MAX_TARGETS_TEXT);
		return;
	}
	if ((h->flags & ISCSI_FINAL) && !(h->flags & ISCSI_CONTINUE)) {
		s->has_targets = true;
		return;
	}
	struct out_pdu *p = iscsi_control_new(s, ISCSI_TEXT_REQUEST, ISCSI_FINAL);
	if (!p)
		return;
	p->head.pdu.itt = h->itt;
	p->head.pdu.ttt = h->ttt;
}

static void task_response(struct iscsi_session *s, uint64_t now)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;

	if (!iscsi_take_stat_sn(s, h->stat_sn))
		return;
	if ((be32_get(h->itt) & 0xff) == TAG_RESET)
		s->reset = h->response == ISCSI_TASK_DONE ? ISCSI_RESET_DONE :
							    ISCSI_RESET_REFUSED;
	else
		iscsi_task_request_answered(s, be32_get(h->itt), h->response, now);
}

void iscsi_receive_pdu(struct iscsi_session *s, uint64_t now)
{
	const struct iscsi_target_pdu *h = &s->in.head.pdu;
	uint8_t opcode = h->opcode & ISCSI_OPCODE_MASK;

	if (s->phase == ISCSI_LOGIN) {
		if (opcode == ISCSI_LOGIN_RESPONSE)
			iscsi_login_response(s, now);
		else
			iscsi_session_kill(s, -EPROTO, "opcode %02xh during login",
					   opcode);
		return;
	}
	iscsi_take_window(s, h->exp_cmd_sn, h->max_cmd_sn);
	switch (opcode) {
	case ISCSI_DATA_IN:
		end_data_in(s);
		return;
	case ISCSI_SCSI_RESPONSE:
		scsi_response(s);
		return;
	case ISCSI_R2T:
		r2t(s);
		return;
	case ISCSI_NOP_IN:
		nop_in(s);
		return;
	case ISCSI_TASK_RESPONSE:
		task_response(s, now);
		return;
	case ISCSI_TEXT_RESPONSE:
		text_response(s);
		return;
	case ISCSI_REJECT:
		reject(s, now);
		return;
	case ISCSI_ASYNC:
		async_message(s, now);
		return;
	case ISCSI_LOGOUT_RESPONSE:
		logout_response(s);
		return;
	default:
		iscsi_session_kill(s, -EPROTO, "unknown opcode %02xh", opcode);
	}
}

void iscsi_session_send_targets(struct iscsi_session *s)
{
	struct buf text = { 0 };
	struct out_pdu *p = iscsi_control_new(s, ISCSI_TEXT_REQUEST, ISCSI_FINAL);

	if (!p)
		return;
	iscsi_text_add(&text, "SendTargets", "All");
	iscsi_control_text(s, p, &text);
	p->head.pdu.itt = be32_of(iscsi_new_tag(s, TAG_TEXT));
	p->head.pdu.ttt = be32_of(ISCSI_TAG_NONE);
}

char *iscsi_session_targets(struct iscsi_session *s, uint32_t *ret_len)
{
	if (!s->has_targets)
		return NULL;
	*ret_len = (uint32_t)s->targets.len;
	return s->targets.data;
}
