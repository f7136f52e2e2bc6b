/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_ISCSI_PEER_H
#define TESTS_LIB_ISCSI_PEER_H

/*
 * A made-up iSCSI target for the session as a pure state machine: reads what it sends,
 * PDU by PDU, and answers. All of it asserts, in the manner of cmocka.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/endian.h"
#include "base/env.h"
#include "iscsi/proto.h"
#include "iscsi/session.h"

/* One PDU, from either side. */
struct pdu {
	union {
		uint8_t bytes[ISCSI_BHS_SIZE];
		struct iscsi_target_pdu t;
		struct iscsi_initiator_pdu i;
		struct iscsi_command_pdu c;
		struct iscsi_login_request_pdu login;
		struct iscsi_login_response_pdu answer;
		struct iscsi_async_pdu async;
	};
	char data[16384];
	uint32_t len;
};

/* The made-up target. */
struct peer {
	struct iscsi_session *s;
	struct iscsi_params params;
	uint64_t now;
	struct buf sent; /* by the session, not read yet */
	uint32_t stat_sn, exp_cmd_sn, max_cmd_sn;
	uint32_t step;	   /* most bytes fed at a time; 0: as many as fit */
	uint32_t out_step; /* most bytes taken at a time; 0: all */
	bool has_digest;      /* over headers */
	bool has_data_digest; /* from full feature on, as the other */
	bool spoils_data;     /* the next PDU's data digest is wrong */
	struct pdu got; /* the last one read */
};

struct job {
	struct iscsi_task task;
	struct iovec iov[2];
	uint32_t done;
};

#define SECURITY_TO_OPERATIONAL 0x81
#define OPERATIONAL_TO_FULL 0x87

/* ---- life ---- */

/* Makes the session of p->params; names that are NULL are filled in. */
void peer_start(struct peer *p);
/* Starts and logs in; keys: "Key=Value" strings of the target, ended by NULL. */
void peer_log_in(struct peer *p, const char *const keys[]);
void peer_end(struct peer *p);
/* MaxRecvDataSegmentLength 1024, FirstBurst 2560, MaxBurst 4096, unasked data, 2 R2Ts. */
extern const char *const peer_small_pieces[];

/* ---- what the session sends ---- */

/* Takes all it has to send now. */
void peer_pull(struct peer *p);
/* Reads its next PDU into p->got; false: there is none. */
bool peer_next(struct peer *p);
/* The same, and it is this one. */
void peer_expect(struct peer *p, uint8_t opcode);
void peer_expect_nothing(struct peer *p);
/* The value of a key in p->got, or NULL. */
const char *peer_sent_key(struct peer *p, const char *key);

/* ---- what the target sends ---- */

/* A PDU of the target with its counters; a status-bearing one counts StatSN. Static. */
struct pdu *peer_make(struct peer *p, uint8_t opcode, bool has_status);
struct pdu *peer_login_answer(struct peer *p, uint8_t flags);
void pdu_add_key(struct pdu *g, const char *key, const char *value);
/* Its bytes on the wire, digests and all; out is empty before. */
void peer_encode(const struct peer *p, struct pdu *g, struct buf *out);
void peer_push(struct peer *p, struct pdu *g);
void peer_feed(struct peer *p, const void *data, uint64_t len);
void peer_answer_status(struct peer *p, be32 itt, uint8_t status, uint8_t flags,
			uint32_t residual);
void peer_data_in(struct peer *p, be32 itt, uint32_t data_sn, uint32_t offset,
		  const void *data, uint32_t len, uint8_t flags);
/* An R2T, for LUN byte 9. */
void peer_ask_data(struct peer *p, be32 itt, uint32_t ttt, uint32_t sn, uint32_t offset,
		   uint32_t len);

/* ---- commands ---- */

/* Starts a command for LUN 3 on data, in two pieces. */
void peer_start_job(struct peer *p, struct job *j, bool is_write, void *data,
		    uint32_t len);
void peer_start_timed(struct peer *p, struct job *j, bool is_write, void *data,
		      uint32_t len, uint64_t attempt_ns, uint64_t deadline);

#endif
