/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Full feature phase: commands, their data, task management, pings.
 *
 *   COLLECTS -- all data out is here --> executed and answered
 *            -- a fault delays it ----> HELD or ANSWERS -- due --> the same
 *
 * A request is in its session's list from the first byte to its answer (or its abort),
 * and holds a place of the command window as long. Commands are executed one after the
 * other, each whole: that makes COMPARE AND WRITE atomic.
 *
 * What the initiator sends is held to what was negotiated; the session that does not keep
 * to it ends, and is counted as a violation.
 */
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "iscsi/scsi.h"
#include "tests/target/target.h"

#define MAX_EXPECTED (64u << 20)
#define ZEROS_SIZE (1u << 20)
#define PING_LUN 5u
#define LUN_ADDRESSING 0x40u /* flat space */
#define HELD_FOR_EVER UINT64_MAX

enum tmf {
	TMF_ABORT_TASK = 1,
	TMF_ABORT_TASK_SET = 2,
	TMF_CLEAR_TASK_SET = 4,
	TMF_LUN_RESET = 5,
	TMF_WARM_RESET = 6,
	TMF_COLD_RESET = 7,
};
enum tmf_response { TMF_DONE = 0, TMF_NO_TASK = 1, TMF_NO_LUN = 2, TMF_UNSUPPORTED = 5 };

static const uint8_t zeros[ZEROS_SIZE];

uint32_t session_window(struct session *s)
{
	uint32_t most = s->exp_cmd_sn + s->w->window - 1 - s->busy;

	/* What was granted is not taken back. */
	if ((int32_t)(most - s->max_cmd_sn) > 0)
		s->max_cmd_sn = most;
	return s->max_cmd_sn;
}

static uint32_t lun_of(const uint8_t bytes[8])
{
	uint32_t lun = (uint32_t)(bytes[0] & 0x3f) << 8 | bytes[1];

	if ((bytes[0] & ~0x3fu & ~LUN_ADDRESSING) || bytes[2] || bytes[3])
		return MAX_LUNS;
	return lun < MAX_LUNS ? lun : MAX_LUNS;
}

static struct unit *unit_of(const struct session *s, uint32_t lun)
{
	return s->target && lun < MAX_LUNS ? s->target->lun[lun] : NULL;
}

/* Before its answer is made, which tells the initiator that there is room again. */
static void leave_window(struct request *q)
{
	if (!q->is_immediate && !q->has_left)
		q->s->busy--;
	q->has_left = true;
}

void request_free(struct request *q)
{
	TAILQ_REMOVE(&q->s->requests, q, link);
	if (q->state != REQUEST_COLLECTS)
		TAILQ_REMOVE(&q->s->w->held, q, held);
	leave_window(q);
	free(q->out);
	free(q->in);
	free(q);
}

void requests_abort(struct world *w, const struct unit *unit, const struct session *only)
{
	struct session *s;

	TAILQ_FOREACH(s, &w->sessions, link)
	{
		struct request *q = TAILQ_FIRST(&s->requests);
		while (q && (!only || only == s)) {
			struct request *next = TAILQ_NEXT(q, link);
			if (!unit || q->unit == unit)
				request_free(q);
			q = next;
		}
	}
}

/* ---- answers ---- */

static void reject(struct session *s, const void *head, uint8_t reason)
{
	struct out_pdu *p =
		pdu_new(ISCSI_REJECT, ISCSI_FINAL, be32_of(ISCSI_TAG_NONE));

	p->head.pdu.response = reason;
	p->owned = malloc(ISCSI_BHS_SIZE);
	if (!p->owned)
		abort();
	memcpy(p->owned, head, ISCSI_BHS_SIZE);
	p->data = p->owned;
	p->len = ISCSI_BHS_SIZE;
	s->w->counters.rejects++;
	pdu_send(s, p, true);
}

/* Returns its length, with the two bytes before it. */
static uint32_t make_sense(const struct request *q, uint8_t out[64])
{
	uint8_t key = (uint8_t)(q->result >> 16), asc = (uint8_t)(q->result >> 8);
	be64 info64 = be64_of(q->info);
	be32 info32 = be32_of((uint32_t)q->info);

	memset(out, 0, 64);
	if (q->s->w->has_descriptor_sense) {
		uint8_t more = q->has_info ? 12 : 0;
		memcpy(out, (const uint8_t[]){ 0, (uint8_t)(8 + more), 0x72, key, asc,
					       (uint8_t)q->result },
		       6);
		out[9] = more;
		if (more) {
			memcpy(out + 10, (const uint8_t[]){ 0, 10, 0x80 }, 3);
			memcpy(out + 14, info64.b, sizeof(info64.b));
		}
		return 10u + more;
	}
	memcpy(out, (const uint8_t[]){ 0, 18, 0x70, 0, key }, 5);
	if (q->has_info && q->info <= UINT32_MAX) {
		out[2] |= 0x80;
		memcpy(out + 5, info32.b, sizeof(info32.b));
	}
	out[9] = 10;
	out[14] = asc;
	out[15] = (uint8_t)q->result;
	return 20;
}

static void set_residual(struct out_pdu *p, uint64_t expected, uint64_t there)
{
	if (there < expected)
		p->head.pdu.flags |= ISCSI_UNDERFLOW;
	else if (there > expected)
		p->head.pdu.flags |= ISCSI_OVERFLOW;
	p->head.pdu.length = be32_of(
		(uint32_t)(there < expected ? expected - there : there - expected));
}

static void send_status(struct request *q)
{
	struct out_pdu *p = pdu_new(ISCSI_SCSI_RESPONSE, ISCSI_FINAL, q->itt);
	bool has_data = q->in_len && !q->result;

	p->head.pdu.status = (uint8_t)(q->result >> 24);
	if (p->head.pdu.status == SCSI_CHECK_CONDITION) {
		p->owned = malloc(64);
		if (!p->owned)
			abort();
		p->len = make_sense(q, p->owned);
		p->data = p->owned;
	}
	if (q->flags & ISCSI_CMD_WRITE)
		set_residual(p, q->expected, q->result ? q->expected : q->wanted_out);
	else if (q->flags & ISCSI_CMD_READ)
		set_residual(p, q->expected, has_data ? q->in_len : 0);
	else
		set_residual(p, 0, has_data ? q->in_len : q->result ? 0 : q->wanted_out);
	pdu_send(q->s, p, true);
}

/* GOOD, with len bytes of data; the status rides on the last piece. */
static void send_data(struct request *q, uint32_t len)
{
	struct session *s = q->s;
	uint32_t piece_most = (uint32_t)min_u64(s->keys.value[KEY_MAX_RECV], ZEROS_SIZE);
	uint32_t burst_most = s->keys.value[KEY_MAX_BURST], burst = 0, sn = 0;

	if (s->w->piece)
		piece_most = (uint32_t)min_u64(piece_most, s->w->piece);
	for (uint32_t at = 0; at < len; sn++) {
		uint32_t n = (uint32_t)min_u64(min_u64(piece_most, len - at),
					       burst_most - burst);
		struct out_pdu *p = pdu_new(ISCSI_DATA_IN, 0, q->itt);
		p->head.pdu.ttt = be32_of(ISCSI_TAG_NONE);
		p->head.pdu.data_sn = be32_of(sn);
		p->head.pdu.offset = be32_of(at);
		p->data = q->in ? q->in + at : zeros;
		p->len = n;
		at += n;
		burst = burst + n == burst_most ? 0 : burst + n;
		if (at == len || !burst)
			p->head.pdu.flags = ISCSI_FINAL;
		if (at == len) {
			p->head.pdu.flags |= ISCSI_DATA_STATUS;
			if (!q->fault.count || q->fault.is_marked ||
			    q->fault.kind != FAULT_SHORT)
				set_residual(p, q->expected,
					     q->fault.kind == FAULT_SHORT &&
							     q->fault.count
						     ? len
						     : q->in_len);
			p->owned = q->in;
			q->in = NULL;
		}
		pdu_send(s, p, at == len);
	}
}

static void answer(struct request *q)
{
	uint32_t len = 0;

	leave_window(q);
	if ((q->flags & ISCSI_CMD_READ) && !q->result)
		len = (uint32_t)min_u64(q->in_len, q->expected);
	if (q->fault.count && q->fault.kind == FAULT_SHORT) {
		len -= (uint32_t)min_u64(len, q->fault.n);
		if (!len) {
			q->in_len = 0;
			if (!q->fault.is_marked)
				q->flags = 0, q->wanted_out = 0;
		}
	}
	if (len)
		send_data(q, len);
	else
		send_status(q);
	request_free(q);
}

/* ---- execution ---- */

static void hold(struct request *q, enum request_state state, uint64_t due)
{
	q->state = state;
	q->due = due;
	TAILQ_INSERT_TAIL(&q->s->w->held, q, held);
}

/* It has a fault; q may be gone afterwards. */
static void run_faulty(struct request *q)
{
	uint64_t due = clock_now() + q->fault.n * NS_PER_MS;

	switch (q->fault.kind) {
	case FAULT_DELAY:
		hold(q, REQUEST_HELD, due);
		return;
	case FAULT_SWALLOW:
		hold(q, REQUEST_HELD, HELD_FOR_EVER);
		return;
	case FAULT_RESET:
		session_end(q->s, true); /* and q with it */
		return;
	case FAULT_STATUS:
		q->result = q->fault.result;
		answer(q);
		return;
	default:
		break;
	}
	unit_execute(q);
	switch (q->fault.kind) {
	case FAULT_DELAY_RESPONSE:
		hold(q, REQUEST_ANSWERS, due);
		return;
	case FAULT_DROP_RESPONSE:
		request_free(q);
		return;
	case FAULT_THEN_RESET:
		session_end(q->s, true);
		return;
	default:
		answer(q);
	}
}

/* All data out is here. */
static void ready(struct request *q)
{
	if (fault_of_command(q->s->w, q->cdb[0], &q->fault)) {
		q->fault.count = 1;
		run_faulty(q);
		return;
	}
	unit_execute(q);
	answer(q);
}

void requests_due(struct world *w, uint64_t now)
{
	struct request *q = TAILQ_FIRST(&w->held);

	while (q) {
		struct session *s = q->s;
		struct request *next = TAILQ_NEXT(q, held);
		if (q->due <= now) {
			if (q->state == REQUEST_HELD)
				unit_execute(q);
			answer(q);
			session_flush(s);
			next = TAILQ_FIRST(&w->held); /* more may be gone */
		}
		q = next;
	}
}

/* ---- data out ---- */

static void ask_data(struct request *q)
{
	struct session *s = q->s;
	uint32_t most = (uint32_t)min_u64(s->keys.value[KEY_MAX_R2T], MAX_R2T);

	while (q->out_asked < q->expected && q->burst_count < most) {
		struct burst *b = &q->bursts[q->burst_count++];
		uint32_t n = (uint32_t)min_u64(s->keys.value[KEY_MAX_BURST],
					       q->expected - q->out_asked);
		*b = (struct burst){ .ttt = s->next_ttt, .offset = q->out_asked };
		b->end = q->out_asked += n;
		s->next_ttt = s->next_ttt == ISCSI_TAG_NONE - 1 ? 0 : s->next_ttt + 1;
		struct out_pdu *p = pdu_new(ISCSI_R2T, ISCSI_FINAL, q->itt);
		memcpy(p->head.pdu.lun, q->lun_bytes, sizeof(q->lun_bytes));
		p->head.pdu.ttt = be32_of(b->ttt);
		p->head.pdu.data_sn = be32_of(q->r2t_sn++);
		p->head.pdu.offset = be32_of(b->offset);
		p->head.pdu.length = be32_of(n);
		pdu_send(s, p, false);
	}
}

/* Asks for more data, or executes. */
static void go_on(struct request *q)
{
	bool is_unasked =
		q->burst_count && q->bursts[0].ttt == ISCSI_TAG_NONE;

	if (!is_unasked)
		ask_data(q);
	if (!q->burst_count)
		ready(q);
}

static void data_out(struct session *s, const struct iscsi_initiator_pdu *h,
		     const uint8_t *data, uint32_t len)
{
	bool is_final = h->flags & ISCSI_FINAL;
	struct request *q;

	TAILQ_FOREACH(q, &s->requests, link)
	if (be32_get(q->itt) == be32_get(h->itt))
		break;
	if (!q || !q->burst_count)
		return; /* of a command that was aborted or answered */
	struct burst *b = &q->bursts[0];
	if (be32_get(h->ttt) != b->ttt || be32_get(h->data_sn) != b->data_sn ||
	    be32_get(h->offset) != b->offset || len > b->end - b->offset ||
	    (b->ttt != ISCSI_TAG_NONE &&
	     memcmp(h->lun, q->lun_bytes, sizeof(h->lun)) != 0)) {
		session_violation(s, "Data-Out %08x/%u at %u, %u bytes; wanted %08x/%u "
				     "at %u up to %u",
				  be32_get(h->ttt), be32_get(h->data_sn),
				  be32_get(h->offset), len, b->ttt, b->data_sn, b->offset,
				  b->end);
		return;
	}
	memcpy(q->out + b->offset, data, len);
	b->offset += len;
	b->data_sn++;
	q->out_have += len;
	if (!is_final && b->offset < b->end)
		return;
	bool is_short = b->offset < b->end;
	if (is_final != (b->offset == b->end) && b->ttt != ISCSI_TAG_NONE) {
		session_violation(s, "a burst ends at %u instead of %u", b->offset,
				  b->end);
		return;
	}
	if (is_short)
		q->out_asked = b->offset;
	memmove(q->bursts, q->bursts + 1, --q->burst_count * sizeof(*q->bursts));
	go_on(q);
}

/* ---- commands ---- */

/* Is what comes along with the command as it was agreed? */
static bool is_data_allowed(struct session *s, const struct iscsi_command_pdu *h,
			    uint32_t len)
{
	uint32_t expected = be32_get(h->expected_len);
	bool is_write = h->flags & ISCSI_CMD_WRITE;
	bool has_more = !(h->flags & ISCSI_FINAL);

	if (len && (!s->keys.value[KEY_IMMEDIATE_DATA] || !is_write ||
		    len > expected || len > s->keys.value[KEY_FIRST_BURST]))
		session_violation(s, "%u bytes of immediate data", len);
	else if (has_more && (!is_write || s->keys.value[KEY_INITIAL_R2T]))
		session_violation(s, "unasked data are announced");
	else if (expected > MAX_EXPECTED)
		session_violation(s, "a command of %u bytes", expected);
	return !s->is_dead;
}

static void command(struct session *s, const struct iscsi_command_pdu *h,
		    const uint8_t *data, uint32_t len)
{
	struct world *w = s->w;
	struct fault f;

	if (!is_data_allowed(s, h, len))
		return;
	w->counters.opcode[h->cdb[0]]++;
	s->commands++;
	if (h->ahs_words || (h->flags & 0x60) == (ISCSI_CMD_READ | ISCSI_CMD_WRITE)) {
		reject(s, h, ISCSI_REJECT_UNSUPPORTED);
		return;
	}
	if (fault_take(w, FAULT_REJECT, h->cdb[0], &f)) {
		reject(s, h, (uint8_t)f.n);
		return;
	}
	struct request *q = calloc(1, sizeof(*q));
	if (!q)
		abort();
	q->s = s;
	q->itt = h->itt;
	q->flags = h->flags;
	q->cmd_sn = be32_get(h->cmd_sn);
	q->is_immediate = h->opcode & ISCSI_IMMEDIATE;
	q->expected = be32_get(h->expected_len);
	memcpy(q->cdb, h->cdb, sizeof(q->cdb));
	memcpy(q->lun_bytes, h->lun, sizeof(q->lun_bytes));
	q->lun = lun_of(h->lun);
	q->unit = unit_of(s, q->lun);
	TAILQ_INSERT_TAIL(&s->requests, q, link);
	s->busy += !q->is_immediate;
	w->counters.max_busy = max_u64(w->counters.max_busy, s->busy);
	if (!(q->flags & ISCSI_CMD_WRITE) || !q->expected) {
		ready(q);
		return;
	}
	q->out = malloc(q->expected);
	if (!q->out)
		abort();
	memcpy(q->out, data, len);
	q->out_have = q->out_asked = len;
	if (!(q->flags & ISCSI_FINAL)) {
		uint32_t end =
			(uint32_t)min_u64(s->keys.value[KEY_FIRST_BURST], q->expected);
		q->bursts[q->burst_count++] =
			(struct burst){ ISCSI_TAG_NONE, len, end, 0 };
		q->out_asked = end;
	}
	go_on(q);
}

/* ---- task management ---- */

static uint8_t abort_task(struct session *s, const struct iscsi_initiator_pdu *h)
{
	struct request *q;

	TAILQ_FOREACH(q, &s->requests, link)
	{
		if (be32_get(q->itt) != be32_get(h->ttt) ||
		    memcmp(q->lun_bytes, h->lun, sizeof(h->lun)) != 0)
			continue;
		request_free(q);
		return TMF_DONE;
	}
	return TMF_NO_TASK;
}

static uint8_t manage(struct session *s, const struct iscsi_initiator_pdu *h)
{
	struct world *w = s->w;
	struct unit *u = unit_of(s, lun_of(h->lun));
	uint8_t function = h->flags & 0x7f;

	switch (function) {
	case TMF_ABORT_TASK:
		w->counters.aborts++;
		break;
	case TMF_LUN_RESET:
		w->counters.lun_resets++;
		break;
	default:
		w->counters.other_tmfs++;
	}
	if (function >= TMF_WARM_RESET || function == 0 || function == 3)
		u = NULL;
	else if (!u)
		return TMF_NO_LUN;
	switch (function) {
	case TMF_ABORT_TASK:
		return abort_task(s, h);
	case TMF_ABORT_TASK_SET:
		requests_abort(w, u, s);
		return TMF_DONE;
	case TMF_CLEAR_TASK_SET:
		requests_abort(w, u, NULL);
		unit_attention(w, u, UA_COMMANDS_CLEARED, s);
		return TMF_DONE;
	case TMF_LUN_RESET:
		unit_reset(w, u);
		return TMF_DONE;
	case TMF_WARM_RESET:
	case TMF_COLD_RESET:
		TAILQ_FOREACH(u, &w->units, link)
		unit_reset(w, u);
		return TMF_DONE;
	default:
		return TMF_UNSUPPORTED;
	}
}

static void task_request(struct session *s, const struct iscsi_initiator_pdu *h)
{
	struct fault f;
	uint8_t response;

	if (!fault_take(s->w, FAULT_TMF, h->flags & 0x7f, &f))
		response = manage(s, h);
	else if (f.n > UINT8_MAX)
		return;
	else
		response = (uint8_t)f.n;
	struct out_pdu *p = pdu_new(ISCSI_TASK_RESPONSE, ISCSI_FINAL, h->itt);
	p->head.pdu.response = response;
	pdu_send(s, p, true);
	if ((h->flags & 0x7f) == TMF_COLD_RESET)
		s->wants_close = true;
}

/* ---- what is no command ---- */

void session_ping(struct session *s)
{
	struct out_pdu *p = pdu_new(ISCSI_NOP_IN, ISCSI_FINAL, be32_of(ISCSI_TAG_NONE));

	s->ping_ttt = s->next_ttt++;
	p->head.pdu.ttt = be32_of(s->ping_ttt);
	p->head.pdu.lun[1] = PING_LUN;
	s->w->counters.pings++;
	pdu_send(s, p, false);
}

void session_async(struct session *s, uint8_t event, const uint32_t parameter[3])
{
	struct out_pdu *p = pdu_new(ISCSI_ASYNC, ISCSI_FINAL, be32_of(ISCSI_TAG_NONE));

	p->head.async.event = event;
	for (int i = 0; i < 3; i++)
		p->head.async.parameter[i] = be16_of((uint16_t)parameter[i]);
	pdu_send(s, p, true);
}

static void nop_out(struct session *s, const struct iscsi_initiator_pdu *h,
		    const uint8_t *data, uint32_t len)
{
	if (be32_get(h->itt) == ISCSI_TAG_NONE) {
		if (be32_get(h->ttt) != s->ping_ttt || h->lun[0] ||
		    h->lun[1] != PING_LUN) {
			session_violation(s, "a ping is echoed as %08x, LUN %u",
					  be32_get(h->ttt), h->lun[1]);
			return;
		}
		s->ping_ttt = ISCSI_TAG_NONE;
		s->w->counters.echoes++;
		return;
	}
	struct out_pdu *p = pdu_new(ISCSI_NOP_IN, ISCSI_FINAL, h->itt);
	p->head.pdu.ttt = be32_of(ISCSI_TAG_NONE);
	p->len = (uint32_t)min_u64(len, s->keys.value[KEY_MAX_RECV]);
	p->owned = malloc(p->len + 1);
	if (!p->owned)
		abort();
	memcpy(p->owned, data, p->len);
	p->data = p->owned;
	pdu_send(s, p, true);
}

static void logout(struct session *s, const struct iscsi_initiator_pdu *h)
{
	struct out_pdu *p = pdu_new(ISCSI_LOGOUT_RESPONSE, ISCSI_FINAL, h->itt);

	s->w->counters.logouts++;
	pdu_send(s, p, true);
	s->wants_close = true;
}

/* Does its number allow to take it now? Immediate ones count for nothing. */
static bool take_cmd_sn(struct session *s, const struct iscsi_initiator_pdu *h)
{
	uint32_t sn = be32_get(h->cmd_sn);

	if (h->opcode & ISCSI_IMMEDIATE)
		return true;
	if ((int32_t)(sn - s->exp_cmd_sn) < 0 || (int32_t)(sn - s->max_cmd_sn) > 0)
		return false; /* outside of the window: ignored */
	if (sn != s->exp_cmd_sn) {
		session_violation(s, "CmdSN %u, %u is next", sn, s->exp_cmd_sn);
		return false;
	}
	s->exp_cmd_sn++;
	return true;
}

void request_pdu(struct session *s, const uint8_t *head, const uint8_t *data,
		 uint32_t len)
{
	const struct iscsi_initiator_pdu *h = (const void *)head;
	uint8_t opcode = head[0] & ISCSI_OPCODE_MASK;

	if (opcode != ISCSI_DATA_OUT && !take_cmd_sn(s, h))
		return;
	if (s->is_discovery && opcode != ISCSI_TEXT_REQUEST &&
	    opcode != ISCSI_LOGOUT_REQUEST && opcode != ISCSI_NOP_OUT) {
		reject(s, head, ISCSI_REJECT_PROTOCOL);
		return;
	}
	switch (opcode) {
	case ISCSI_SCSI_COMMAND:
		command(s, (const void *)head, data, len);
		return;
	case ISCSI_DATA_OUT:
		data_out(s, h, data, len);
		return;
	case ISCSI_TASK_REQUEST:
		task_request(s, h);
		return;
	case ISCSI_NOP_OUT:
		nop_out(s, h, data, len);
		return;
	case ISCSI_TEXT_REQUEST:
		text_request(s, h, data, len);
		return;
	case ISCSI_LOGOUT_REQUEST:
		logout(s, h);
		return;
	default:
		reject(s, head, ISCSI_REJECT_UNSUPPORTED);
	}
}
