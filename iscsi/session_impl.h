/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_SESSION_IMPL_H
#define ISCSI_SESSION_IMPL_H

/*
 * The inside of a session, for session.c (life, tasks, timers), pdu.c (bytes to PDUs and
 * back), send.c (commands and data out), receive.c (what the target says), login.c.
 */
#include "base/buf.h"
#include "base/env.h"
#include "iscsi/chap.h"
#include "iscsi/proto.h"
#include "iscsi/session.h"
#include "iscsi/text.h"
#include "iscsi/trace.h"

#define OUT_PDUS 64u	 /* being sent */
#define CONTROL_PDUS 32u /* waiting to be sent, other than commands and data */
#define MAX_R2T 4u	 /* outstanding per command, at most offered (settings.c) */
#define BURSTS (ISCSI_MAX_TASKS * (MAX_R2T + 1))
#define ABORTS 32u
#define SLOTS (ISCSI_MAX_TASKS + ABORTS)
#define STASH_SIZE 65536u
#define BULK 16384u /* data of a PDU that are worth a read of their own */
#define MAX_TARGETS_TEXT (1u << 20)

/* Tags of requests that are no commands: their slot number lies above all slots. */
#define TAG_LOGIN 0xf0u
#define TAG_NOP 0xf1u
#define TAG_LOGOUT 0xf2u
#define TAG_TEXT 0xf3u
#define TAG_RESET 0xf4u

struct out_pdu {
	union {
		uint8_t bytes[ISCSI_BHS_SIZE + ISCSI_DIGEST_SIZE];
		struct iscsi_initiator_pdu pdu;
		struct iscsi_command_pdu command;
		struct iscsi_login_request_pdu login;
	} head;
	uint32_t head_len;
	struct iscsi_task *task; /* of a command; or owner of the data */
	char *owned;		 /* malloc'ed data that belong to no task */
	uint32_t data_off, data_len;
	uint8_t tail[ISCSI_TAIL_MAX]; /* padding, then the digest of data and padding */
	uint32_t tail_len;
	uint32_t sent;
	bool is_command, is_void;
};

/* Data of one write that the target wants or takes unasked. */
struct burst {
	struct iscsi_task *task;
	be32 ttt;
	uint8_t lun[8];
	uint32_t offset, left, data_sn;
	TAILQ_ENTRY(burst) link;
};

enum slot_state { SLOT_FREE, SLOT_COMMAND, SLOT_ABORT, SLOT_RESET };

struct slot {
	enum slot_state state;
	uint32_t itt;
	struct iscsi_task *task; /* COMMAND; NULL: the caller has given it up */
	bool is_aborting;
	bool is_numbered; /* COMMAND: it has its CmdSN */
	/* COMMAND: its own; ABORT: of the command; RESET: of the first behind it. */
	uint32_t cmd_sn;
	uint8_t lun[8];
	uint32_t ref_itt;    /* ABORT: of the command */
	uint64_t give_up_at, resend_at; /* ABORT, RESET */
};

enum dest { DEST_DATA, DEST_TASK, DEST_DISCARD };

struct in_pdu {
	union {
		uint8_t bytes[ISCSI_BHS_SIZE + ISCSI_AHS_MAX + ISCSI_DIGEST_SIZE];
		struct iscsi_target_pdu pdu;
		struct iscsi_login_response_pdu login;
		struct iscsi_async_pdu async;
	} head;
	uint32_t head_have, head_len;
	uint32_t data_have, data_len;
	uint8_t tail[ISCSI_TAIL_MAX]; /* padding and digest */
	uint32_t tail_have, tail_len;
	uint32_t crc; /* of the data so far */
	enum dest dest;
	bool is_bulk; /* the last Data-In had much data */
	struct iscsi_task *task; /* DEST_TASK, from byte task_off on */
	uint32_t task_off;
	uint8_t *data;
	uint32_t data_capacity;
	uint64_t direct; /* bytes that the last room() placed in a task's memory */
};

struct login {
	uint8_t stage; /* current */
	uint8_t rounds;
	bool is_chap;
	uint8_t chap_step;
	uint32_t algorithm; /* CHAP's; with our challenge to the target: */
	uint8_t our_id;
	bool is_target_proved;
	char our_challenge[CHAP_CHALLENGE_MAX];
	uint32_t status;
	char moved_to[280]; /* "": not sent on */
	uint16_t tpgt;
	struct buf text; /* of the target, collected over PDUs */
};

struct iscsi_session {
	struct iscsi_params params;
	enum iscsi_phase phase;
	int error;
	char why[240];
	struct iscsi_keys keys;
	struct login login;
	uint64_t phase_deadline; /* of LOGIN and LOGOUT */

	uint32_t cmd_sn, max_cmd_sn, exp_cmd_sn, exp_stat_sn;
	uint32_t next_tag;
	struct slot slots[SLOTS];
	uint32_t busy;
	uint64_t expected; /* bytes of the answers to them, about */
	uint32_t brief;	   /* of them with answers below ISCSI_LONG_ANSWER */
	TAILQ_HEAD(, iscsi_task) waiting; /* no slot's command was sent: no CmdSN yet */
	struct burst bursts[BURSTS];
	TAILQ_HEAD(, burst) sending, spare;
	uint64_t check_at; /* earliest deadline among the tasks */

	struct out_pdu out[OUT_PDUS];
	uint32_t out_head, out_count;
	struct out_pdu control[CONTROL_PDUS];
	uint32_t control_head, control_count;
	bool is_broken; /* out of memory: dies at the next chance */

	struct in_pdu in;
	struct iscsi_trace trace;
	uint64_t heard_at, pinged_at;
	bool is_pinging, is_leaving;
	uint32_t ping_tag;
	uint64_t leave_by; /* is_leaving */
	const char *leave_why;
	uint16_t time2wait; /* s, as the target said when it ended the session */
	enum iscsi_reset reset;

	struct buf targets;
	bool has_targets;
	uint8_t stash[STASH_SIZE];
};

/* session.c */
uint32_t iscsi_new_tag(struct iscsi_session *s, uint32_t slot);
/* The slot of a command or abort by its tag, or NULL. */
struct slot *iscsi_slot_of(struct iscsi_session *s, uint32_t itt);
void iscsi_task_finish(struct iscsi_session *s, struct slot *slot, enum iscsi_fate fate);
/* The caller gets its task back; the slot is the session's business. */
void iscsi_task_hand_back(struct iscsi_session *s, struct slot *slot,
			  enum iscsi_fate fate);
/* NULL: all of the kind are taken. */
struct slot *iscsi_slot_take(struct iscsi_session *s, enum slot_state state);
/* The target wants a logout within so many seconds; why is kept. */
void iscsi_leave(struct iscsi_session *s, uint32_t seconds, const char *why,
		 uint64_t now);

/* ladder.c */
/* What is due now for the slot; returns when it wants to be checked again. */
uint64_t iscsi_slot_check(struct iscsi_session *s, struct slot *slot, uint64_t now);
/* The answer to a task management request. */
void iscsi_task_request_answered(struct iscsi_session *s, uint32_t itt, uint8_t response,
				 uint64_t now);
/* The target has no room for it at the moment. */
void iscsi_task_request_later(struct iscsi_session *s, uint32_t itt, uint64_t now);

/* pdu.c */
/* A control PDU to be filled in; NULL: the session is dead now. */
struct out_pdu *iscsi_control_new(struct iscsi_session *s, uint8_t opcode, uint8_t flags);
/* Takes text's memory as the PDU's data. */
void iscsi_control_text(struct iscsi_session *s, struct out_pdu *p, struct buf *text);
void iscsi_out_drop_all(struct iscsi_session *s);
/* Pieces of the task's memory for [off, off + len); *ret_len: bytes that fitted. */
int iscsi_task_pieces(const struct iscsi_task *t, uint64_t off, uint64_t len,
		      struct iovec *iov, int max, uint64_t *ret_len);

/* send.c */
/* Moves one Data-Out or command, if any may go, into p. false: nothing to send. */
bool iscsi_next_burst(struct iscsi_session *s, struct out_pdu *p);
bool iscsi_next_command(struct iscsi_session *s, struct out_pdu *p, uint64_t now);
/* Queues [offset, offset + len) of t; ttt ISCSI_TAG_NONE: unasked. false: too many. */
bool iscsi_burst_add(struct iscsi_session *s, struct iscsi_task *t, be32 ttt,
		     const uint8_t lun[8], uint32_t offset, uint32_t len);
/* No byte of t's memory is touched any more. */
void iscsi_send_forget(struct iscsi_session *s, struct iscsi_task *t);

/* receive.c */
/* The header in s->in is complete: decides where the data go. */
void iscsi_receive_header(struct iscsi_session *s);
/* The data are complete too. */
void iscsi_receive_pdu(struct iscsi_session *s, uint64_t now);
/* Checks and counts StatSN; false: the session is dead now. */
bool iscsi_take_stat_sn(struct iscsi_session *s, be32 stat_sn);
void iscsi_take_window(struct iscsi_session *s, be32 exp_cmd_sn, be32 max_cmd_sn);

/* login.c */
void iscsi_login_start(struct iscsi_session *s);
void iscsi_login_response(struct iscsi_session *s, uint64_t now);

/* a <= b in serial number arithmetic (RFC 7143 4.2.2.1) */
static inline bool serial_le(uint32_t a, uint32_t b)
{
	return (int32_t)(b - a) >= 0;
}

static inline uint64_t after(uint64_t now, uint64_t ns)
{
	return now > UINT64_MAX - ns ? UINT64_MAX : now + ns;
}

#endif
