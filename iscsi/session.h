/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_SESSION_H
#define ISCSI_SESSION_H

/*
 * One iSCSI session over one connection, as a pure state machine (RFC 7143,
 * ErrorRecoveryLevel 0): it is given bytes and the time, and gives bytes and a
 * deadline. It knows no socket, no thread and no clock, never blocks, and is not
 * locked: one task at a time calls it.
 *
 *   LOGIN -> FULL -> LOGOUT -> DEAD, and from each straight to DEAD
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "iscsi/settings.h"

#define ISCSI_SENSE_MAX 64u
#define ISCSI_MAX_TASKS 128u

enum iscsi_phase { ISCSI_LOGIN, ISCSI_FULL, ISCSI_LOGOUT, ISCSI_DEAD };

/* How a command ended. */
enum iscsi_fate {
	ISCSI_GOOD,	  /* status GOOD, and every byte accounted for */
	ISCSI_STATUS,	  /* another SCSI status, perhaps with sense data */
	ISCSI_SHORT,	  /* status GOOD, but not all bytes were moved: not to be used */
	ISCSI_REJECTED,	  /* the target calls the request itself wrong */
	ISCSI_NEVER_SENT, /* no byte of it left: may be sent on another session */
	ISCSI_UNKNOWN, /* it may have executed; may still execute only while the session
			     lives and task->is_settled is false */
};

/* A wish for a digest. What the target wants decides unless one is sure. */
enum iscsi_digest {
	ISCSI_DIGEST_DISCOURAGED, /* None, CRC32C */
	ISCSI_DIGEST_PREFERRED,	  /* CRC32C, None */
	ISCSI_DIGEST_REQUIRED,	  /* CRC32C */
	ISCSI_DIGEST_PROHIBITED,  /* None */
};

/* A SCSI command. The first part is the caller's, who keeps it all until done(). */
struct iscsi_task {
	uint8_t cdb[16];
	uint8_t lun[8];
	bool is_write;		 /* with len 0: no data at all */
	bool may_be_short;	 /* a read of "up to len bytes" */
	bool is_urgent;		 /* goes before those that wait for the window */
	const struct iovec *iov; /* the data lie in it from byte iov_skip on */
	int iovcnt;
	uint64_t iov_skip;
	uint32_t len;
	uint64_t attempt_ns; /* after sending: then ABORT TASK */
	uint64_t deadline;   /* ns, clock_now(): done() by then, come what may */
	void (*done)(struct iscsi_task *task); /* calls nothing of the session */

	enum iscsi_fate fate;
	bool is_settled; /* with UNKNOWN: the target works on it no more */
	uint8_t status;
	uint8_t sense_len, sense[ISCSI_SENSE_MAX];
	uint32_t transferred; /* bytes read */

	TAILQ_ENTRY(iscsi_task) link; /* the session's from here on, until done() */
	uint64_t abort_at;
	uint32_t slot, data_sn, r2t_sn;
	uint32_t requested; /* bytes of a write that were sent unasked or asked for */
	uint32_t sent;	    /* bytes of a write that were given out */
	uint32_t bursts;    /* bursts not yet given out entirely */
};

struct iscsi_params {
	const char *initiator_name;
	const char *target_name;     /* NULL: a discovery session */
	const char *user, *password; /* NULL: no CHAP */
	/* What the target has to prove itself with; NULL: it need not. Wants a user. */
	const char *target_user, *target_password;
	/* The transport's: of struct iscsi_url; NULL or "": none. */
	const char *bind, *reach;
	uint8_t isid[6];
	/* CRC32C over headers, over data. */
	enum iscsi_digest header_digest, data_digest;
	uint32_t first_cmd_sn;
	struct iscsi_settings settings;
	uint64_t login_ns; /* login must be over by then; 0: as the settings say */
	/* A SCSI event of the target (asynchronous message 0); may be NULL. */
	void (*event)(void *context, const uint8_t *sense, uint32_t sense_len);
	/*
	 * A LOGICAL UNIT RESET is sent, because a command had no answer and this came of
	 * ABORT TASK; may be NULL. It calls nothing of the session.
	 */
	void (*climbed)(void *context, const char *why);
	/*
	 * The session has ended with an error after its login: one of its last PDUs,
	 * the oldest first; may be NULL. It calls nothing of the session.
	 */
	void (*traced)(void *context, const char *line);
	void *context;
};

struct iscsi_session;

/* params and its strings are borrowed until free. NULL: no memory. Starts with login. */
struct iscsi_session *iscsi_session_new(const struct iscsi_params *params, uint64_t now);
/* Kills it first if it lives. NULL is allowed. */
void iscsi_session_free(struct iscsi_session *s);

enum iscsi_phase iscsi_session_phase(const struct iscsi_session *s);
/* Why it is DEAD: a negative errno (0 after a logout), and half a sentence. */
int iscsi_session_error(const struct iscsi_session *s);
const char *iscsi_session_why(const struct iscsi_session *s);
/* After a failed login: status class << 8 | detail of the target, else 0. */
uint32_t iscsi_session_login_status(const struct iscsi_session *s);
/* DEAD because its login was sent on: to where ("host[:port][,tag]"), else NULL. */
const char *iscsi_session_moved_to(const struct iscsi_session *s, bool *ret_is_for_good);
/* DEAD: for how long the target wants to be left alone before the next login. */
uint64_t iscsi_session_wait_ns(const struct iscsi_session *s);
/* The target portal group tag, as told at login. */
uint16_t iscsi_session_tpgt(const struct iscsi_session *s);

/* Where the next received bytes belong: at most max >= 2 pieces, returns their count. */
int iscsi_session_room(struct iscsi_session *s, struct iovec *iov, int max);
/* len bytes were put where the last room() said. */
void iscsi_session_input(struct iscsi_session *s, uint64_t len, uint64_t now);
/* What is to be sent next: fills at most max pieces, returns their count. */
int iscsi_session_output(struct iscsi_session *s, struct iovec *iov, int max,
			 uint64_t now);
/* len bytes of the last output() were sent. */
void iscsi_session_sent(struct iscsi_session *s, uint64_t len);
/* When tick() wants to be called, ns. */
uint64_t iscsi_session_deadline(const struct iscsi_session *s);
void iscsi_session_tick(struct iscsi_session *s, uint64_t now);

/* true: done() will be called. false: not FULL, or the table is full. */
bool iscsi_session_start(struct iscsi_session *s, struct iscsi_task *task);
/* Commands that were started and are not done. */
uint32_t iscsi_session_busy(const struct iscsi_session *s);
/* Bytes that their answers will have, about. */
uint64_t iscsi_session_expected(const struct iscsi_session *s);
/* How many of them have an answer of less than ISCSI_LONG_ANSWER bytes. */
#define ISCSI_LONG_ANSWER (256u << 10)
uint32_t iscsi_session_brief(const struct iscsi_session *s);
/* No command that was given back before it was settled is still with the target. */
bool iscsi_session_is_settled(const struct iscsi_session *s);
/* Logs out; commands in flight may still end. */
void iscsi_session_logout(struct iscsi_session *s, uint64_t now);
/* The connection is gone: every command ends as NEVER_SENT or UNKNOWN. */
void iscsi_session_kill(struct iscsi_session *s, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * In a FULL session: LOGICAL UNIT RESET (RFC 7143 11.5). Once it is answered with "done",
 * no command that anybody had sent to the unit before has any more effect.
 */
void iscsi_session_reset_unit(struct iscsi_session *s, const uint8_t lun[8]);
enum iscsi_reset { ISCSI_RESET_NONE, ISCSI_RESET_DONE, ISCSI_RESET_REFUSED };
/* The answer to it, once there is one. */
enum iscsi_reset iscsi_session_reset(const struct iscsi_session *s);

/* In a FULL discovery session: asks for all targets. */
void iscsi_session_send_targets(struct iscsi_session *s);
/* The answer, NUL-separated keys, once complete; else NULL. Valid until free. */
char *iscsi_session_targets(struct iscsi_session *s, uint32_t *ret_len);

#endif
