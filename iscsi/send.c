/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands and the data that go with them (RFC 7143 4.2.5, 11.3, 11.7).
 *
 * A write's data go out in up to three ways: with the command (immediate), unasked
 * behind it up to FirstBurstLength (if InitialR2T=No), and in bursts that the target
 * asks for (R2T). A burst is cut into Data-Out PDUs of the target's
 * MaxRecvDataSegmentLength when it is sent.
 *
 * Invariants:
 * 1. Unasked data of several commands go out in the order of the commands: both queues
 *    are first in, first out.
 * 2. A command is sent only while its CmdSN lies in the window; a number is never
 *    skipped. So a command that has its number goes out even if nobody waits for it
 *    any more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/session_impl.h"

bool iscsi_burst_add(struct iscsi_session *s, struct iscsi_task *t, be32 ttt,
		     const uint8_t lun[8], uint32_t offset, uint32_t len)
{
	struct burst *b = TAILQ_FIRST(&s->spare);

	if (!b)
		return false;
	TAILQ_REMOVE(&s->spare, b, link);
	b->task = t;
	b->ttt = ttt;
	memcpy(b->lun, lun, sizeof(b->lun));
	b->offset = offset;
	b->left = len;
	b->data_sn = 0;
	t->bursts++;
	TAILQ_INSERT_TAIL(&s->sending, b, link);
	return true;
}

static void burst_end(struct iscsi_session *s, struct burst *b)
{
	b->task->bursts--;
	TAILQ_REMOVE(&s->sending, b, link);
	TAILQ_INSERT_TAIL(&s->spare, b, link);
}

bool iscsi_next_burst(struct iscsi_session *s, struct out_pdu *p)
{
	struct burst *b = TAILQ_FIRST(&s->sending);

	if (!b)
		return false;
	uint32_t len = (uint32_t)min_u64(b->left, s->keys.value[KEY_MAX_RECV]);
	struct iscsi_initiator_pdu *h = &p->head.pdu;
	h->opcode = ISCSI_DATA_OUT;
	h->flags = len == b->left ? ISCSI_FINAL : 0;
	memcpy(h->lun, b->lun, sizeof(h->lun));
	h->itt = be32_of(s->slots[b->task->slot].itt);
	h->ttt = b->ttt;
	h->data_sn = be32_of(b->data_sn++);
	h->offset = be32_of(b->offset);
	p->task = b->task;
	p->data_off = b->offset;
	p->data_len = len;
	b->task->sent += len;
	b->offset += len;
	b->left -= len;
	if (b->left == 0)
		burst_end(s, b);
	return true;
}

static void fill_command(struct iscsi_session *s, struct out_pdu *p, struct iscsi_task *t)
{
	struct iscsi_command_pdu *h = &p->head.command;
	uint32_t immediate = 0, unasked = 0;

	if (t->is_write && s->keys.value[KEY_IMMEDIATE_DATA])
		immediate =
			(uint32_t)min_u64(t->len, min_u64(s->keys.value[KEY_FIRST_BURST],
							  s->keys.value[KEY_MAX_RECV]));
	if (t->is_write && !s->keys.value[KEY_INITIAL_R2T])
		unasked = (uint32_t)min_u64(t->len, s->keys.value[KEY_FIRST_BURST]) -
			  immediate;
	h->opcode = ISCSI_SCSI_COMMAND;
	h->flags = ISCSI_CMD_SIMPLE | (unasked ? 0 : ISCSI_FINAL);
	if (t->len)
		h->flags |= t->is_write ? ISCSI_CMD_WRITE : ISCSI_CMD_READ;
	memcpy(h->lun, t->lun, sizeof(h->lun));
	h->itt = be32_of(s->slots[t->slot].itt);
	h->expected_len = be32_of(t->len);
	memcpy(h->cdb, t->cdb, sizeof(h->cdb));
	p->is_command = true;
	p->task = t;
	p->data_len = immediate;
	t->sent = immediate;
	t->requested = immediate + unasked;
	/* Each command in the table has a burst of its own to spare. */
	if (unasked)
		(void)iscsi_burst_add(s, t, be32_of(ISCSI_TAG_NONE), t->lun, immediate,
				      unasked);
}

bool iscsi_next_command(struct iscsi_session *s, struct out_pdu *p, uint64_t now)
{
	struct iscsi_task *t = TAILQ_FIRST(&s->waiting);

	if (!t || s->phase != ISCSI_FULL || s->is_leaving ||
	    !serial_le(s->cmd_sn, s->max_cmd_sn))
		return false;
	TAILQ_REMOVE(&s->waiting, t, link);
	fill_command(s, p, t);
	s->slots[t->slot].cmd_sn = s->cmd_sn;
	s->slots[t->slot].is_numbered = true;
	p->head.command.cmd_sn = be32_of(s->cmd_sn++);
	t->abort_at = after(now, t->attempt_ns);
	s->check_at = min_u64(s->check_at, t->abort_at);
	return true;
}

/* The PDU keeps its own copy of what it still has to send. */
static void make_own(struct iscsi_session *s, struct out_pdu *p)
{
	p->owned = malloc(p->data_len);
	if (!p->owned)
		s->is_broken = true;
	for (uint64_t off = 0, got; p->owned && off < p->data_len; off += got) {
		struct iovec piece;
		(void)iscsi_task_pieces(p->task, p->data_off + off, p->data_len - off,
					&piece, 1, &got);
		memcpy(p->owned + off, piece.iov_base, got);
	}
}

void iscsi_send_forget(struct iscsi_session *s, struct iscsi_task *t)
{
	struct burst *b, *next;

	for (b = t->bursts ? TAILQ_FIRST(&s->sending) : NULL; b; b = next) {
		next = TAILQ_NEXT(b, link);
		if (b->task == t)
			burst_end(s, b);
	}
	for (uint32_t i = 0; i < s->out_count; i++) {
		struct out_pdu *p = &s->out[(s->out_head + i) % OUT_PDUS];
		if (p->task != t)
			continue;
		if (!p->is_command && p->sent == 0)
			p->is_void = true;
		else if (p->data_len && s->phase != ISCSI_DEAD)
			make_own(s, p);
		p->task = NULL;
	}
}
