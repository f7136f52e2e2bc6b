/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TARGET_TARGET_H
#define TESTS_TARGET_TARGET_H

/*
 * The scripted test target: one process, one thread, one epoll. A session has one
 * connection and lives in one struct with it. main.c has the theory.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/endian.h"
#include "iscsi/chap.h"
#include "iscsi/proto.h"
#include "iscsi/text.h"

#define MAX_LUNS 256u
#define MAX_PORTALS 16u
#define MAX_TARGETS 32u
#define MAX_BAD 8u
#define ATTENTIONS 8u
#define MAX_RECV (256u << 10) /* data of one PDU that we take, bytes */
#define MAX_R2T 8u
#define NAA_SIZE 16u

/* How a command ends: SCSI status << 24 | sense key, ASC, ASCQ. */
#define CHECK(key, asc, ascq) (2u << 24 | (key) << 16 | (asc) << 8 | (ascq))
#define CONFLICT (0x18u << 24)
#define INVALID_OPCODE CHECK(5u, 0x20u, 0u)
#define INVALID_FIELD CHECK(5u, 0x24u, 0u)
#define INVALID_LIST CHECK(5u, 0x26u, 0u)
#define OUT_OF_RANGE CHECK(5u, 0x21u, 0u)
#define NO_SUCH_LUN CHECK(5u, 0x25u, 0u)
#define LIST_LENGTH CHECK(5u, 0x1au, 0u)

/* Unit attentions: ASC << 8 | ASCQ. */
#define UA_POWER_ON 0x2900u
#define UA_LUN_RESET 0x2903u
#define UA_NEXUS_LOSS 0x2907u
#define UA_RESERVATIONS_PREEMPTED 0x2a03u
#define UA_RESERVATIONS_RELEASED 0x2a04u
#define UA_REGISTRATIONS_PREEMPTED 0x2a05u
#define UA_ACCESS_STATE 0x2a06u
#define UA_CAPACITY 0x2a09u
#define UA_COMMANDS_CLEARED 0x2f00u
#define UA_LUNS_CHANGED 0x3f0eu

/* Asymmetric access states (SPC-4 6.30). */
enum access_state {
	ACCESS_OPTIMIZED = 0,
	ACCESS_NON_OPTIMIZED = 1,
	ACCESS_STANDBY = 2,
	ACCESS_UNAVAILABLE = 3,
	ACCESS_OFFLINE = 14,
	ACCESS_TRANSITIONING = 15,
};

struct portal {
	char address[64];
	uint16_t port, tpg;
	uint16_t number; /* relative target port identifier, from 1 */
	int listener;	 /* -1: closed */
	bool is_black_hole;
};

struct group {
	uint16_t tpg;
	enum access_state state;
	bool is_preferred, was_set; /* by SET TARGET PORT GROUPS */
};

/* ---- logical units ---- */

struct registrant {
	TAILQ_ENTRY(registrant) link;
	char initiator[ISCSI_NAME_MAX + 1];
	uint8_t isid[6];
	char target[ISCSI_NAME_MAX + 1];
	uint16_t tpg, port_number;
	uint64_t key;
};

TAILQ_HEAD(registrants, registrant);

struct unit {
	TAILQ_ENTRY(unit) link;
	char path[512]; /* or "null:SIZE" */
	int file_fd;	/* -1: null */
	uint64_t blocks;
	uint32_t block_size;
	uint8_t naa[NAA_SIZE];
	enum unit_name { NAME_NAA, NAME_T10, NAME_NONE } told; /* VPD page 83h */
	uint32_t exports; /* LUNs that are it */
	bool is_full;	  /* as a thin pool without room */
	struct {
		uint64_t lba, count;
	} bad[MAX_BAD], denied; /* cannot be read; GET LBA STATUS says: not mapped */

	struct session *reserved6; /* RESERVE(6) */
	/* Persistent reservations. */
	struct registrants registrants;
	uint32_t pr_generation;
	uint8_t pr_type; /* 0: none */
	struct registrant *pr_holder; /* NULL with the types of all registrants */
	bool pr_aptpl;
};

struct exported {
	char name[ISCSI_NAME_MAX + 1];
	struct unit *lun[MAX_LUNS];
};

/* What VPD page B0h says and the commands keep to; the control command "limit". */
enum limit {
	LIMIT_TRANSFER,	      /* blocks of a READ or WRITE */
	LIMIT_CAW,	      /* blocks */
	LIMIT_UNMAP,	      /* blocks of an UNMAP */
	LIMIT_UNMAP_RANGES,   /* its descriptors */
	LIMIT_UNMAP_GRAIN,    /* granularity, blocks */
	LIMIT_WRITE_SAME,     /* blocks */
	LIMIT_COPY_SEGMENTS,  /* of an EXTENDED COPY */
	LIMIT_COPY_BYTES,     /* of one segment */
	LIMIT_NDOB,	      /* 0: WRITE SAME without data is refused */
	LIMIT_WRITE_ZERO,     /* WSNZ: 1 refuses a count of zero */
	LIMIT_COUNT,
};

/* ---- faults ---- */

enum fault_kind {
	FAULT_DELAY,	      /* executed and answered n ms later */
	FAULT_DELAY_RESPONSE, /* executed at once, answered n ms later */
	FAULT_DROP_RESPONSE,  /* executed, never answered */
	FAULT_SWALLOW,	      /* neither */
	FAULT_STATUS,	      /* answered with result, not executed */
	FAULT_SHORT,	      /* n bytes fewer than there are */
	FAULT_THEN_RESET,     /* executed, the connection reset instead of an answer */
	FAULT_RESET,	      /* not executed, the connection reset */
	FAULT_REJECT,	      /* answered by a Reject of reason n */
	FAULT_TMF,	      /* task management is answered n; 256: not at all */
	FAULT_LOGIN,	      /* a login is answered with status n */
	FAULT_REDIRECT,	      /* a login is sent on to text */
	FAULT_CORRUPT_HEADER, /* one bit of an answer turns on the wire */
	FAULT_CORRUPT_DATA,
	FAULT_WRONG, /* a field of an answer: enum wrong_field in n */
};

enum wrong_field {
	WRONG_ITT,
	WRONG_TTT,
	WRONG_STAT_SN,
	WRONG_DATA_SN,
	WRONG_OFFSET,
	WRONG_LENGTH,
	WRONG_COUNT,
};

#define ANY_OPCODE 256u

struct fault {
	TAILQ_ENTRY(fault) link;
	enum fault_kind kind;
	uint32_t opcode; /* or ANY_OPCODE */
	uint32_t count;	 /* left; UINT32_MAX: for ever */
	uint32_t n, result;
	bool is_marked; /* SHORT: with the U bit */
	char text[256];
};

/* ---- sessions ---- */

struct out_pdu {
	STAILQ_ENTRY(out_pdu) link;
	union {
		uint8_t bytes[ISCSI_BHS_SIZE + ISCSI_DIGEST_SIZE];
		struct iscsi_target_pdu pdu;
		struct iscsi_login_response_pdu login;
		struct iscsi_async_pdu async;
	} head;
	uint32_t head_len, len, tail_len, sent;
	const uint8_t *data;
	void *owned; /* freed when it is sent */
	uint8_t tail[ISCSI_TAIL_MAX];
};

/* A burst of data out that was asked for, or may come unasked. */
struct burst {
	uint32_t ttt, offset, end, data_sn;
};

enum request_state { REQUEST_COLLECTS, REQUEST_HELD, REQUEST_ANSWERS };

struct request {
	TAILQ_ENTRY(request) link, held;
	struct session *s;
	enum request_state state;
	be32 itt;
	uint8_t lun_bytes[8];
	uint32_t lun, cmd_sn, expected; /* lun: MAX_LUNS: none */
	uint8_t flags, cdb[16];
	struct unit *unit;
	bool is_immediate, has_left; /* has_left: no place in the window any more */

	uint8_t *out; /* data out: expected bytes */
	uint32_t out_have, out_asked, r2t_sn;
	struct burst bursts[MAX_R2T];
	uint32_t burst_count;

	uint64_t due; /* HELD, ANSWERS: ns */
	struct fault fault; /* a copy; count 0: none */

	uint32_t result;
	uint8_t *in; /* data in, malloc'ed; NULL with in_len: zeros */
	uint32_t in_len;
	uint64_t wanted_out; /* bytes of data out that the CDB means */
	uint64_t info;	     /* of the sense */
	bool has_info;
};

TAILQ_HEAD(requests, request);

struct session {
	TAILQ_ENTRY(session) link;
	struct world *w;
	uint32_t number;
	int sock;
	bool is_dead, is_writable, wants_close, is_reset;
	struct portal *portal;
	struct exported *target; /* NULL: discovery */
	char initiator[ISCSI_NAME_MAX + 1];
	uint8_t isid[6];
	uint16_t tsih, cid;

	bool is_full_feature, is_discovery;
	struct iscsi_keys keys;
	struct {
		uint8_t stage, chap_step, chap_id, digest[2];
		bool is_started, is_proved;
		uint32_t algorithm;
		char challenge[CHAP_CHALLENGE_MAX];
		struct buf text;
	} login;

	uint8_t *in;
	uint32_t in_at, in_len; /* what is there, and not handed on yet */
	STAILQ_HEAD(, out_pdu) out;
	uint32_t stat_sn, exp_cmd_sn, max_cmd_sn, next_ttt, busy;
	struct requests requests;
	struct buf targets; /* what is left of a long text answer */
	uint32_t ping_ttt;  /* of ours, not yet echoed; ISCSI_TAG_NONE: none */

	struct {
		uint8_t count;
		uint16_t code[ATTENTIONS];
	} attention[MAX_LUNS];
	uint64_t commands;
	struct { /* the last EXTENDED COPY */
		uint8_t list_id;
		bool is_there, has_failed;
		uint16_t segments;
	} copy;
};

struct counters {
	uint64_t opcode[256];	/* commands that came */
	uint64_t executed[256]; /* and took effect */
	uint64_t logins, logouts, aborts, lun_resets, other_tmfs, pings, echoes, rejects;
	uint64_t violations;	/* by initiators */
	uint64_t digest_errors; /* of what came */
	uint64_t attentions, reinstatements;
	uint64_t max_unmap_blocks, max_unmap_ranges, max_write_same_blocks,
		max_transfer_blocks, max_copy_blocks, max_copy_segments, max_busy;
	uint64_t bytes_in, bytes_out;
	char violation[200]; /* the last one */
};

struct world {
	int epoll_fd;
	bool is_ending, has_started, has_dead;
	struct portal portals[MAX_PORTALS];
	uint32_t portal_count;
	struct group groups[MAX_PORTALS];
	uint32_t group_count;
	struct exported targets[MAX_TARGETS];
	uint32_t target_count;
	TAILQ_HEAD(, unit) units;
	TAILQ_HEAD(, session) sessions;
	struct requests held;
	TAILQ_HEAD(, fault) faults;
	struct counters counters;

	char state_dir[256]; /* "": APTPL is refused */
	char user[256], secret[256], own_user[256], own_secret[256];
	uint32_t key[KEY_COUNT];
	uint64_t limit[LIMIT_COUNT];
	uint32_t window;
	uint32_t split; /* most bytes of one send; 0: all */
	uint32_t piece; /* most bytes of one Data-In; 0: as agreed */
	uint8_t tpgs;
	bool guards_discovery; /* CHAP there, too */
	bool has_attentions, has_descriptor_sense, is_verbose;
	uint16_t next_tsih;
	uint32_t next_session;

	int control; /* listener */
	struct client *clients;
};

/* session.c: bytes and PDUs. */
void session_new(struct world *w, int sock, struct portal *portal);
void session_readable(struct session *s);
void session_flush(struct session *s);
/* It ends at once, what it had asked for with it; freed by session_reap(). */
void session_end(struct session *s, bool is_reset);
void session_reap(struct world *w);
void session_watch(struct session *s);
/* The initiator broke the protocol: counted, and the session ends. */
void session_violation(struct session *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
struct out_pdu *pdu_new(uint8_t opcode, uint8_t flags, be32 itt);
/* Fills in lengths, counters and digests, and queues it. Takes p and p->owned. */
void pdu_send(struct session *s, struct out_pdu *p, bool has_status);

/* login.c */
void login_request(struct session *s, const struct iscsi_login_request_pdu *h,
		   const uint8_t *data, uint32_t len);
/* "Name=Value" of our own wishes. false: unknown, or not allowed. */
bool login_set_key(struct world *w, const char *text);
void text_request(struct session *s, const struct iscsi_initiator_pdu *h,
		  const uint8_t *data, uint32_t len);

/* request.c: full feature phase. */
void request_pdu(struct session *s, const uint8_t *head, const uint8_t *data,
		 uint32_t len);
void request_free(struct request *q);
/* Ends without an answer all those of unit (NULL: any), of only (NULL: any session). */
void requests_abort(struct world *w, const struct unit *unit, const struct session *only);
void requests_due(struct world *w, uint64_t now);
void session_ping(struct session *s);
void session_async(struct session *s, uint8_t event, const uint32_t parameter[3]);
uint32_t session_window(struct session *s);

/* unit.c: units and what is asked about them. */
struct unit *unit_open(struct world *w, const char *text, uint32_t block_size,
		       const char *id);
void unit_put(struct world *w, struct unit *u);
bool unit_resize(struct world *w, struct unit *u, uint64_t size);
/* A digest of its path, over it the digits of id if there is one. false: no digits. */
bool unit_rename(struct unit *u, const char *id);
/* Executes q: result, in, in_len. */
void unit_execute(struct request *q);
/* For every nexus of the unit but those of except. */
void unit_attention(struct world *w, const struct unit *u, uint16_t code,
		    const struct session *except);
void session_attention(struct session *s, uint32_t lun, uint16_t code);
void unit_reset(struct world *w, struct unit *u);
/* len bytes of data in, zeroed; the answer is cut to asked bytes. */
uint8_t *answer_new(struct request *q, uint32_t len, uint32_t asked);

/* inquiry.c */
uint32_t run_inquiry(struct request *q);
uint32_t run_mode_sense(struct request *q);

/* block.c: what moves blocks; all return a result. */
uint32_t run_read(struct request *q);
uint32_t run_write(struct request *q);
uint32_t run_verify(struct request *q);
uint32_t run_sync(struct request *q);
uint32_t run_compare_and_write(struct request *q);
uint32_t run_write_same(struct request *q);
uint32_t run_unmap(struct request *q);
uint32_t run_lba_status(struct request *q);
uint64_t cdb_lba(const uint8_t *cdb);
uint32_t cdb_blocks(const uint8_t *cdb);
/* [lba, lba + blocks) from or to memory. 0 or a result. */
uint32_t unit_read(const struct unit *u, void *data, uint64_t lba, uint32_t blocks,
		   uint64_t *ret_bad);
uint32_t unit_write(struct unit *u, const void *data, uint64_t lba, uint32_t blocks);

/* copy.c */
uint32_t run_copy(struct request *q);
uint32_t run_copy_results(struct request *q);

/* reserve.c */
uint32_t run_pr_in(struct request *q);
uint32_t run_pr_out(struct request *q);
uint32_t run_reserve6(struct request *q);
uint32_t run_release6(struct request *q);
/* May this session do that to the unit now? */
bool pr_allows(const struct session *s, const struct unit *u, bool writes);
void pr_load(struct world *w, struct unit *u);
void pr_free(struct unit *u);
/* The session is gone: its RESERVE(6). */
void reserve6_drop(struct session *s);

/* alua.c */
uint32_t run_report_groups(struct request *q);
uint32_t run_set_groups(struct request *q);
struct group *group_of(struct world *w, uint16_t tpg);
/* What this state says to commands that need the medium; 0: go on. */
uint32_t alua_verdict(const struct session *s);
void alua_changed(struct world *w, const struct session *except);

/* fault.c */
/* The first fault of that kind for the opcode; one of its count is used up. */
bool fault_take(struct world *w, enum fault_kind kind, uint32_t opcode,
		struct fault *ret_fault);
/* The first one that changes what becomes of a command. */
bool fault_of_command(struct world *w, uint32_t opcode, struct fault *ret_fault);
/* Executes a line of the script; answers into out, all but the last "ok". NULL or why. */
const char *fault_command(struct world *w, char *line, struct buf *out);

/* control.c */
bool control_open(struct world *w, const char *path);
/* Who has an event: the control socket or a client of it? */
bool control_is(const struct world *w, const void *who);
void control_ready(struct world *w, void *who);
void control_close(struct world *w);
/* As a client: sends the words as a line, prints the answer. The exit status. */
int control_ask(const char *path, char *const words[]);
void stats_print(struct world *w, struct buf *out);
/* One of them by its name. false: no such. */
bool stats_one(struct world *w, const char *name, uint64_t *ret_value);

#endif
