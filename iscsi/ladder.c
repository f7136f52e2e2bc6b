/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done about a command that the target does not answer (RFC 7143 11.5), step by
 * step; times are those of iscsi/settings.c:
 *
 *   its attempt or deadline is over -> ABORT TASK
 *     done, or no such task      -> it is settled: the target works on it no more
 *     refused, or no answer      -> LOGICAL UNIT RESET, if lun_reset says so
 *       done                     -> all commands of that LUN that were sent are settled
 *       refused, or no answer    -> the session ends
 *
 * The reset ends the commands of all hosts, so it is a step only where the user wants it
 * (LOCKING.md 9.4). The end of the session is as good for ours: the next login, under the
 * same ISID, ends all tasks of this one at the target before anything is sent again (RFC
 * 7143 6.3.5). So no command is sent twice while the first may still run.
 *
 * Invariant: a command's slot is free only when the target has answered it, or has
 * confirmed that it is no more, or the session is over.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/session_impl.h"

#define RESEND_NS (200 * NS_PER_MS)

static void queue_request(struct iscsi_session *s, const struct slot *slot)
{
	bool is_reset = slot->state == SLOT_RESET;
	struct out_pdu *p = iscsi_control_new(
		s, ISCSI_TASK_REQUEST,
		ISCSI_FINAL | (is_reset ? ISCSI_LUN_RESET : ISCSI_ABORT_TASK));

	if (!p)
		return;
	memcpy(p->head.pdu.lun, slot->lun, sizeof(slot->lun));
	p->head.pdu.itt = be32_of(slot->itt);
	p->head.pdu.ttt = be32_of(is_reset ? ISCSI_TAG_NONE : slot->ref_itt);
	p->head.pdu.ref_cmd_sn = be32_of(is_reset ? 0 : slot->cmd_sn);
}

/* A task management request about the LUN of `command`; NULL: the session is dead. */
static struct slot *request(struct iscsi_session *s, enum slot_state state,
			    const struct slot *command, enum iscsi_setting patience,
			    uint64_t now)
{
	struct slot *slot = iscsi_slot_take(s, state);

	if (!slot) {
		iscsi_session_kill(s, -ETIMEDOUT, "%u commands time out at once", ABORTS);
		return NULL;
	}
	slot->ref_itt = command->itt;
	slot->give_up_at = after(now, iscsi_setting_ns(&s->params.settings, patience));
	slot->resend_at = NO_DEADLINE;
	memcpy(slot->lun, command->lun, sizeof(slot->lun));
	return slot;
}

static void send_abort(struct iscsi_session *s, struct slot *command, uint64_t now)
{
	struct slot *slot = request(s, SLOT_ABORT, command, ISCSI_ABORT_TIMEOUT, now);

	if (!slot)
		return;
	command->is_aborting = true;
	slot->cmd_sn = command->cmd_sn;
	queue_request(s, slot);
}

static bool is_of_lun(const struct slot *slot, const uint8_t lun[8])
{
	return slot->state != SLOT_FREE && memcmp(slot->lun, lun, sizeof(slot->lun)) == 0;
}

/* Was it sent before the reset? */
static bool is_before(const struct slot *slot, const struct slot *reset)
{
	return is_of_lun(slot, reset->lun) && !serial_le(reset->cmd_sn, slot->cmd_sn);
}

/* A reset of this LUN under way, or NULL. */
static struct slot *reset_of(struct iscsi_session *s, const uint8_t lun[8])
{
	for (uint32_t i = ISCSI_MAX_TASKS; i < SLOTS; i++)
		if (s->slots[i].state == SLOT_RESET && is_of_lun(&s->slots[i], lun))
			return &s->slots[i];
	return NULL;
}

/* An abort has failed, for this reason: the next step. */
static void climb(struct iscsi_session *s, struct slot *abort, const char *why,
		  uint64_t now)
{
	struct slot *command = iscsi_slot_of(s, abort->ref_itt);

	abort->state = SLOT_FREE;
	if (!command)
		return; /* it was answered before */
	struct slot *reset = reset_of(s, command->lun);
	if (reset && is_before(command, reset))
		return;
	if (reset || !iscsi_setting(&s->params.settings, ISCSI_USE_LUN_RESET)) {
		iscsi_session_kill(s, -ETIMEDOUT, "a command has no answer, %s", why);
		return;
	}
	struct slot *slot = request(s, SLOT_RESET, command, ISCSI_RESET_TIMEOUT, now);
	if (!slot)
		return;
	slot->cmd_sn = s->cmd_sn; /* it goes before the next command */
	queue_request(s, slot);
	s->check_at = min_u64(s->check_at, slot->give_up_at);
	if (s->params.climbed)
		s->params.climbed(s->params.context, why);
}

static void settle(struct iscsi_session *s, struct slot *command)
{
	if (command->task)
		command->task->is_settled = true;
	iscsi_task_finish(s, command, ISCSI_UNKNOWN);
}

static void abort_answered(struct iscsi_session *s, struct slot *abort, uint8_t response,
			   uint64_t now)
{
	struct slot *command = iscsi_slot_of(s, abort->ref_itt);

	if (response != ISCSI_TASK_DONE && response != ISCSI_TASK_UNKNOWN) {
		climb(s, abort, "and ABORT TASK was refused", now);
		return;
	}
	abort->state = SLOT_FREE;
	/* Answers come in order: one that was on its way would have been here by now. */
	if (command)
		settle(s, command);
}

static void reset_answered(struct iscsi_session *s, struct slot *reset, uint8_t response)
{
	const struct slot which = *reset;

	reset->state = SLOT_FREE;
	if (response != ISCSI_TASK_DONE) {
		iscsi_session_kill(s, -ETIMEDOUT,
				   "LOGICAL UNIT RESET was refused (response %u)",
				   response);
		return;
	}
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &s->slots[i];
		if (!is_before(slot, &which))
			continue;
		if (slot->state == SLOT_ABORT)
			slot->state = SLOT_FREE;
		else if (slot->state == SLOT_COMMAND && slot->is_numbered)
			settle(s, slot);
	}
}

void iscsi_task_request_answered(struct iscsi_session *s, uint32_t itt, uint8_t response,
				 uint64_t now)
{
	struct slot *slot = iscsi_slot_of(s, itt);

	if (slot && slot->state == SLOT_ABORT)
		abort_answered(s, slot, response, now);
	else if (slot && slot->state == SLOT_RESET)
		reset_answered(s, slot, response);
}

void iscsi_task_request_later(struct iscsi_session *s, uint32_t itt, uint64_t now)
{
	struct slot *slot = iscsi_slot_of(s, itt);

	if (!slot || slot->state == SLOT_COMMAND)
		return;
	slot->resend_at = after(now, RESEND_NS);
	s->check_at = min_u64(s->check_at, slot->resend_at);
}

static void check_request(struct iscsi_session *s, struct slot *slot, uint64_t now)
{
	if (now >= slot->give_up_at && slot->state == SLOT_ABORT) {
		climb(s, slot, "neither to itself nor to ABORT TASK", now);
	} else if (now >= slot->give_up_at) {
		iscsi_session_kill(s, -ETIMEDOUT, "no answer to LOGICAL UNIT RESET");
	} else if (now >= slot->resend_at) {
		slot->resend_at = NO_DEADLINE;
		queue_request(s, slot);
	}
}

uint64_t iscsi_slot_check(struct iscsi_session *s, struct slot *slot, uint64_t now)
{
	if (slot->state == SLOT_ABORT || slot->state == SLOT_RESET)
		check_request(s, slot, now);
	else if (slot->state == SLOT_COMMAND && slot->task && !slot->is_aborting &&
		 (now >= slot->task->abort_at || now >= slot->task->deadline))
		send_abort(s, slot, now);
	if (slot->state == SLOT_COMMAND && slot->task && now >= slot->task->deadline)
		iscsi_task_hand_back(s, slot, ISCSI_UNKNOWN);
	if (slot->state == SLOT_FREE)
		return NO_DEADLINE;
	if (slot->state != SLOT_COMMAND)
		return min_u64(slot->give_up_at, slot->resend_at);
	if (!slot->task)
		return NO_DEADLINE;
	return slot->is_aborting ? slot->task->deadline
				 : min_u64(slot->task->deadline, slot->task->abort_at);
}
