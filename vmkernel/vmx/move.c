/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	NONE --move_send--> SENDING --it stands still: migrate-continue--> SENDING
 *	        (is_switching) --QEMU completed and stream over--> SENT
 *	        SENDING --QEMU failed--> KEEPING --cont--> NONE
 *	        SENDING --move_keep--> KEEPING --cancelled, failed, or completed (too
 *	                    late)--> cont --> NONE
 *	        SENT --move_keep--> KEEPING --cont--> NONE
 *	NONE --move_receive--> RECEIVING --QEMU completed and stream over--> RECEIVED
 *	        --(cont: vm.c)
 *
 * 1. SENT is left by move_keep() alone: whether the VM goes on here is for vmkernel to
 *    say, which knows whose its lock is. Without a vmkernel it stands still.
 * 2. A QEMU whose migration failed or was cancelled goes on by itself if its guest ran
 *    when it began. But one that is cancelled as it gives its disks away does not take
 *    them back in QEMU 7.2, and ends itself at the next migration, or write. So it
 *    stops between the two (pause-before-switchover) until it is told to go on, and
 *    from then on nothing is cancelled: its stream is cut instead, by which it fails and
 *    takes them back, or it completes. Each way ends by cont, which does so, too.
 *    One that is cancelled in the moment before it says that it stops there waits all
 *    the same, its guest stopped, and can neither go on nor move again: so what is
 *    cancelled is told to go on as well, whether it waits or not.
 * 3. A QEMU that cannot receive ends, and with it the VM that was to be. One that has
 *    all may have it before the sender knows that all is sent: the stream stays until
 *    the sender ends it, who would take an earlier end for a failure.
 * 4. MOVE_NEWS_STILL is told when the guest has stopped, and before the rest of it is
 *    sent: what comes for it over the network has to go where it is going.
 */
#include "vmkernel/vmx/move.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "vmkernel/vmx/qmp.h"

#define FD_NAME "vmotion"
#define TLS_TIMEOUT_MS 15000
#define ASK_NS (250 * NS_PER_MS)
#define DOWNTIME_MS 100 /* QEMU stops the guest when the rest fits into this */

enum id { ID_CAPABILITIES = MOVE_QMP_FIRST, ID_PARAMETERS, ID_FD, ID_STOP, ID_MIGRATE,
	  ID_CANCEL, ID_CONT, ID_ASK, ID_CLOSE_FD, ID_CONTINUE };

static void set_why(struct move *m, const char *why)
{
	if (!m->why[0])
		(void)snprintf(m->why, sizeof(m->why), "%s", why);
}

static int command(struct move *m, const char *name, json_t *arguments, enum id id)
{
	return qmp_send(m->qmp, name, arguments, id);
}

void move_init(struct move *m, struct channel *qmp, struct reporter *r)
{
	*m = (struct move){ .qmp = qmp, .reporter = r, .ask_at = NO_DEADLINE };
}

/* The stream's verdict, if there is one left. */
static int end_stream(struct move *m)
{
	char why[STREAM_WHY_SIZE] = "";
	int rc = stream_stop(m->stream, why);
	m->stream = NULL;
	if (rc < 0)
		set_why(m, why);
	return rc;
}

void move_done(struct move *m)
{
	(void)end_stream(m); /* QEMU is gone */
}

/* ---- beginning ---- */

/* QEMU gets it under FD_NAME. */
static int pass_to_qemu(struct move *m, int file_fd)
{
	channel_pass(m->qmp, file_fd);
	return command(m, "getfd", json_pack("{s:s}", "fdname", FD_NAME), ID_FD);
}

/*
 * A QEMU that does not begin to send leaves it open, and who reads from it waits. One
 * that has begun knows no such name any more.
 */
static void take_from_qemu(struct move *m)
{
	(void)!command(m, "closefd", json_pack("{s:s}", "fdname", FD_NAME), ID_CLOSE_FD);
}

/* QEMU gets its end of the stream. */
static int open_stream(struct move *m, const json_t *body, int sock, bool is_out)
{
	int qemu_fd;
	const char *key, *cert, *authority, *peer;
	json_t *b = json_incref((json_t *)(uintptr_t)body);
	int bad = json_unpack(b, "{s:s, s:s, s:s, s:s}", "key", &key, "cert", &cert,
			      "authority", &authority, "peer", &peer);
	json_decref(b);
	if (bad < 0 || sock < 0 || m->stream)
		return -EPROTO;
	/* Copied by the stream. */
	struct tls_identity own = { (char *)(uintptr_t)key, (char *)(uintptr_t)cert };
	struct stream_options options = {
		.tls = { .sock = sock,
			 .is_server = !is_out,
			 .own = &own,
			 .peer_authority = authority,
			 .peer_name = peer,
			 .timeout_ms = TLS_TIMEOUT_MS },
		.is_out = is_out,
	};
	int rc = stream_start(&options, &m->stream, &qemu_fd);
	if (rc < 0)
		return rc;
	return pass_to_qemu(m, qemu_fd);
}

static int set_capabilities(struct move *m, bool is_out)
{
	return command(m, "migrate-set-capabilities",
		       json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities",
				 "capability", "events", "state", 1, "capability",
				 "pause-before-switchover", "state", is_out),
		       ID_CAPABILITIES);
}

static int begin(struct move *m, const json_t *body, int sock, bool is_out)
{
	m->why[0] = '\0';
	m->is_qemu_done = m->is_kept = m->is_switching = false;
	m->total = m->remaining = m->transferred = 0;
	/* From or to vmkernel, which has it on a datastore: the socket is QEMU's own. */
	bool is_plain = json_is_true(json_object_get(body, "plain"));
	int rc = set_capabilities(m, is_out);
	if (rc == 0 && is_plain)
		return sock >= 0 ? pass_to_qemu(m, sock) : -EPROTO;
	if (rc == 0)
		rc = open_stream(m, body, sock, is_out);
	if (rc < 0 && !m->stream && sock >= 0)
		(void)close(sock);
	return rc;
}

static int fail(struct move *m, int rc)
{
	set_why(m, rc == -EPROTO ? "it cannot be moved now" : strerror(-rc));
	(void)end_stream(m);
	m->state = MOVE_NONE;
	return rc;
}

int move_send(struct move *m, const json_t *body, int sock)
{
	json_int_t limit = json_integer_value(json_object_get(body, "limit"));
	m->is_cold = json_is_true(json_object_get(body, "is_cold"));
	int rc = begin(m, body, sock, true);
	/* 0 is QEMU's "as much as goes", too. */
	if (rc == 0)
		rc = command(m, "migrate-set-parameters",
			     json_pack("{s:I, s:i}", "max-bandwidth", limit,
				       "downtime-limit", DOWNTIME_MS),
			     ID_PARAMETERS);
	if (rc == 0 && m->is_cold)
		rc = command(m, "stop", NULL, ID_STOP);
	if (rc == 0)
		rc = command(m, "migrate", json_pack("{s:s}", "uri", "fd:" FD_NAME),
			     ID_MIGRATE);
	if (rc < 0)
		return fail(m, rc);
	m->state = MOVE_SENDING;
	m->ask_at = clock_now();
	return 0;
}

int move_receive(struct move *m, const json_t *body, int sock)
{
	int rc = begin(m, body, sock, false);
	if (rc == 0)
		rc = command(m, "migrate-incoming",
			     json_pack("{s:s}", "uri", "fd:" FD_NAME), ID_MIGRATE);
	if (rc < 0)
		return fail(m, rc);
	m->state = MOVE_RECEIVING;
	return 0;
}

/* ---- the ends ---- */

static enum move_news over(struct move *m)
{
	bool is_kept = m->is_kept;
	(void)end_stream(m);
	m->state = MOVE_NONE;
	m->is_kept = false;
	m->ask_at = NO_DEADLINE;
	return is_kept ? MOVE_NEWS_KEPT : MOVE_NEWS_FAILED;
}

/* It stands still and is to run here: its answer is the end. */
static enum move_news go_on(struct move *m)
{
	m->state = MOVE_KEEPING;
	m->ask_at = NO_DEADLINE;
	(void)end_stream(m);
	/* If it does not take it, its monitor is gone, and vm.c ends it. */
	(void)!command(m, "cont", NULL, ID_CONT);
	return MOVE_NOTHING;
}

/* Both have to be: QEMU with sending, the stream with what QEMU has sent. */
static enum move_news look(struct move *m)
{
	if (m->state != MOVE_SENDING || !m->is_qemu_done || m->stream)
		return MOVE_NOTHING;
	m->state = MOVE_SENT;
	m->ask_at = NO_DEADLINE;
	return MOVE_NEWS_SENT;
}

static enum move_news look_in(struct move *m)
{
	if (m->state != MOVE_RECEIVING || !m->is_qemu_done || m->stream)
		return MOVE_NOTHING;
	m->state = MOVE_RECEIVED;
	return MOVE_NEWS_RECEIVED;
}

static void cancel(struct move *m)
{
	/* If QEMU does not take them, its monitor is gone, and vm.c ends it. */
	(void)!command(m, "migrate_cancel", NULL, ID_CANCEL);
	(void)!command(m, "migrate-continue", json_pack("{s:s}", "state", "cancelling"),
		       ID_CONTINUE);
}

enum move_news move_keep(struct move *m)
{
	m->is_kept = true;
	if (m->state == MOVE_SENT)
		return go_on(m);
	if (m->state == MOVE_SENDING) {
		set_why(m, "cancelled");
		if (m->is_qemu_done)
			return go_on(m);
		m->state = MOVE_KEEPING;
		m->ask_at = NO_DEADLINE;
		if (m->is_switching)
			(void)end_stream(m);
		else
			cancel(m);
		return MOVE_NOTHING;
	}
	return m->state == MOVE_KEEPING ? MOVE_NOTHING : over(m);
}

void move_left_alone(struct move *m)
{
	if (m->state == MOVE_SENDING)
		(void)move_keep(m); /* nobody waits for it */
}

/* All but its last state is sent. One that is being cancelled comes out of it by that. */
static enum move_news switch_over(struct move *m)
{
	if (m->state != MOVE_SENDING)
		return MOVE_NOTHING;
	m->is_switching = true;
	(void)!command(m, "migrate-continue",
		       json_pack("{s:s}", "state", "pre-switchover"),
		       ID_CONTINUE); /* as above */
	return m->is_cold ? MOVE_NOTHING : MOVE_NEWS_STILL;
}

enum move_news move_event(struct move *m, const char *status)
{
	if (strcmp(status, "pre-switchover") == 0)
		return switch_over(m);
	bool is_completed = strcmp(status, "completed") == 0;
	bool is_failed = strcmp(status, "failed") == 0 ||
			 strcmp(status, "cancelled") == 0;
	if (m->state == MOVE_RECEIVING && is_completed) {
		m->is_qemu_done = true;
		return look_in(m);
	}
	if (m->state == MOVE_KEEPING && is_completed)
		return go_on(m);
	if ((m->state == MOVE_SENDING || m->state == MOVE_KEEPING) && is_failed) {
		/* The stream knows more than QEMU does. */
		(void)end_stream(m);
		set_why(m, "QEMU cannot send it");
		return go_on(m);
	}
	m->is_qemu_done |= m->state == MOVE_SENDING && is_completed;
	return look(m);
}

static void take_progress(struct move *m, const json_t *answer)
{
	const json_t *ram = json_object_get(json_object_get(answer, "return"), "ram");
	m->ask_at = m->state == MOVE_SENDING ? clock_now() + ASK_NS : NO_DEADLINE;
	if (!ram)
		return;
	m->total = (uint64_t)json_integer_value(json_object_get(ram, "total"));
	m->remaining = (uint64_t)json_integer_value(json_object_get(ram, "remaining"));
	m->transferred =
		(uint64_t)json_integer_value(json_object_get(ram, "transferred"));
}

enum move_news move_answer(struct move *m, uint32_t id, const json_t *answer,
			   const char *error)
{
	if (id == ID_ASK)
		take_progress(m, answer);
	else if (id == ID_CONT && m->state == MOVE_KEEPING)
		return over(m);
	else if (id == ID_STOP && m->state == MOVE_SENDING && !error)
		return MOVE_NEWS_STILL;
	else if (error && m->state == MOVE_SENDING && id != ID_CANCEL &&
		 id != ID_CLOSE_FD && id != ID_CONTINUE) {
		set_why(m, error);
		take_from_qemu(m);
		return m->is_cold ? go_on(m) : over(m);
	}
	return MOVE_NOTHING;
}

int move_event_fd(const struct move *m)
{
	return m->stream ? stream_event(m->stream) : -1;
}

enum move_news move_stream_over(struct move *m)
{
	int rc = end_stream(m);
	if (m->state == MOVE_SENDING && rc < 0 && m->is_qemu_done)
		return go_on(m); /* it has sent what nobody has got */
	return m->state == MOVE_RECEIVING ? look_in(m) : look(m);
}

void move_ask(struct move *m)
{
	m->ask_at = NO_DEADLINE; /* until the answer is there */
	(void)!command(m, "query-migrate", NULL, ID_ASK); /* it is only for show */
}
