/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes and PDUs of one session's connection.
 *
 * In: one recv() brings what has come; all PDUs that are whole in it are handed on. The
 * rest is moved to the front only when there is no room for a whole PDU behind it, as
 * that may be a quarter of a MiB each time. Out: a list, gathered into one sendmsg().
 *
 * A session that has ended is dead: nothing more is read, sent or executed for it. It is
 * freed at the end of the round, so that its pointer is good until then.
 */
#include <errno.h>
#include <isa-l/crc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "tests/target/target.h"

#define IN_SIZE (4u * MAX_RECV)
#define IN_SPARE (MAX_RECV + 2048u) /* a PDU, with all that may be around its data */
#define GATHER 96

static uint32_t digest(const void *a, uint64_t a_len, const void *b, uint64_t b_len)
{
	uint32_t crc = UINT32_MAX;

	crc = crc32_iscsi((unsigned char *)(uintptr_t)a, (int)a_len, crc);
	crc = crc32_iscsi((unsigned char *)(uintptr_t)b, (int)b_len, crc);
	return ~crc;
}

/* ---- life ---- */

void session_new(struct world *w, int sock, struct portal *portal)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s || !(s->in = malloc(IN_SIZE))) {
		free(s);
		(void)close(sock);
		return;
	}
	s->w = w;
	s->sock = sock;
	s->portal = portal;
	s->number = ++w->next_session;
	s->stat_sn = 1;
	s->ping_ttt = ISCSI_TAG_NONE;
	STAILQ_INIT(&s->out);
	TAILQ_INIT(&s->requests);
	TAILQ_INSERT_TAIL(&w->sessions, s, link);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };
	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, sock, &e) < 0)
		session_end(s, true);
}

void session_watch(struct session *s)
{
	bool wants_out = !STAILQ_EMPTY(&s->out);
	bool is_deaf = s->portal->is_black_hole;
	struct epoll_event e = { .data.ptr = s };

	if (s->is_dead)
		return;
	e.events = is_deaf ? 0 : EPOLLIN | (wants_out ? (uint32_t)EPOLLOUT : 0);
	if (epoll_ctl(s->w->epoll_fd, EPOLL_CTL_MOD, s->sock, &e) < 0 && !is_deaf)
		(void)epoll_ctl(s->w->epoll_fd, EPOLL_CTL_ADD, s->sock, &e);
}

void session_end(struct session *s, bool is_reset)
{
	const struct linger now = { .l_onoff = 1 };

	if (s->is_dead)
		return;
	s->is_dead = s->w->has_dead = true;
	if (is_reset)
		(void)setsockopt(s->sock, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	(void)close(s->sock);
	requests_abort(s->w, NULL, s);
	reserve6_drop(s);
}

static void out_free(struct out_pdu *p)
{
	free(p->owned);
	free(p);
}

static void session_free(struct session *s)
{
	struct out_pdu *p;

	while ((p = STAILQ_FIRST(&s->out)) != NULL) {
		STAILQ_REMOVE_HEAD(&s->out, link);
		out_free(p);
	}
	buf_done(&s->login.text);
	buf_done(&s->targets);
	free(s->in);
	free(s);
}

void session_reap(struct world *w)
{
	struct session *s = w->has_dead ? TAILQ_FIRST(&w->sessions) : NULL;

	w->has_dead = false;
	while (s) {
		struct session *next = TAILQ_NEXT(s, link);
		if (s->is_dead) {
			TAILQ_REMOVE(&w->sessions, s, link);
			session_free(s);
		}
		s = next;
	}
}

void session_violation(struct session *s, const char *fmt, ...)
{
	struct counters *c = &s->w->counters;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(c->violation, sizeof(c->violation), fmt, ap);
	va_end(ap);
	c->violations++;
	if (s->w->is_verbose)
		(void)fprintf(stderr, "session %u: violation: %s\n", s->number,
			      c->violation);
	session_end(s, true);
}

/* ---- out ---- */

struct out_pdu *pdu_new(uint8_t opcode, uint8_t flags, be32 itt)
{
	struct out_pdu *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	p->head.pdu.opcode = opcode;
	p->head.pdu.flags = flags;
	p->head.pdu.itt = itt;
	p->head_len = ISCSI_BHS_SIZE;
	return p;
}

static void make_wrong(struct out_pdu *p, enum wrong_field field)
{
	struct iscsi_target_pdu *h = &p->head.pdu;

	switch (field) {
	case WRONG_ITT:
		h->itt = be32_of(be32_get(h->itt) ^ 0x40000000u);
		break;
	case WRONG_TTT:
		h->ttt = be32_of(be32_get(h->ttt) ^ 0x40000000u);
		break;
	case WRONG_STAT_SN:
		h->stat_sn = be32_of(be32_get(h->stat_sn) + 7);
		break;
	case WRONG_DATA_SN:
		h->data_sn = be32_of(be32_get(h->data_sn) + 7);
		break;
	case WRONG_OFFSET:
		h->offset = be32_of(be32_get(h->offset) + 512);
		break;
	default:
		h->length = be32_of(be32_get(h->length) + 512);
	}
}

/* Does the field mean anything in such an answer? */
static bool has_field(const struct out_pdu *p, enum wrong_field field)
{
	uint8_t opcode = p->head.pdu.opcode;

	switch (field) {
	case WRONG_ITT:
	case WRONG_STAT_SN:
		return opcode == ISCSI_SCSI_RESPONSE ||
		       (opcode == ISCSI_DATA_IN &&
			(p->head.pdu.flags & ISCSI_DATA_STATUS));
	case WRONG_TTT:
	case WRONG_LENGTH:
		return opcode == ISCSI_R2T;
	default:
		return opcode == ISCSI_R2T || opcode == ISCSI_DATA_IN;
	}
}

static bool is_digested(const struct session *s, enum iscsi_key which)
{
	return s->is_full_feature && s->keys.value[which];
}

static void add_digests(struct session *s, struct out_pdu *p)
{
	p->tail_len = (4 - p->len % 4) % 4;
	if (is_digested(s, KEY_HEADER_DIGEST)) {
		le32 d = le32_of(digest(p->head.bytes, ISCSI_BHS_SIZE, NULL, 0));
		memcpy(p->head.bytes + ISCSI_BHS_SIZE, d.b, sizeof(d.b));
		p->head_len += ISCSI_DIGEST_SIZE;
	}
	if (p->len && is_digested(s, KEY_DATA_DIGEST)) {
		le32 d = le32_of(digest(p->data, p->len, p->tail, p->tail_len));
		memcpy(p->tail + p->tail_len, d.b, sizeof(d.b));
		p->tail_len += ISCSI_DIGEST_SIZE;
	}
}

/* After the digests: as if a bit had turned on the way. */
static void corrupt(struct session *s, struct out_pdu *p)
{
	struct fault f;

	if (!s->is_full_feature)
		return;
	if (fault_take(s->w, FAULT_CORRUPT_HEADER, ANY_OPCODE, &f))
		p->head.pdu.offset.b[1] ^= 0x10;
	if (!p->len || !fault_take(s->w, FAULT_CORRUPT_DATA, ANY_OPCODE, &f))
		return;
	uint8_t *copy = malloc(p->len);
	if (!copy)
		abort();
	memcpy(copy, p->data, p->len);
	copy[p->len / 2] ^= 0x10;
	if (!p->owned) { /* else others need it: this one takes a copy of its own */
		p->owned = copy;
		p->data = copy;
	} else {
		memcpy((uint8_t *)(uintptr_t)p->data, copy, p->len);
		free(copy);
	}
}

void pdu_send(struct session *s, struct out_pdu *p, bool has_status)
{
	struct iscsi_target_pdu *h = &p->head.pdu;
	struct fault f;

	if (s->is_dead) {
		out_free(p);
		return;
	}
	h->data_len = be24_of(p->len);
	if (has_status)
		h->stat_sn = be32_of(s->stat_sn++);
	else if (h->opcode != ISCSI_DATA_IN)
		h->stat_sn = be32_of(s->stat_sn);
	h->exp_cmd_sn = be32_of(s->exp_cmd_sn);
	h->max_cmd_sn = be32_of(session_window(s));
	for (uint32_t field = 0; field < WRONG_COUNT; field++)
		if (s->is_full_feature && has_field(p, field) &&
		    fault_take(s->w, FAULT_WRONG, field, &f))
			make_wrong(p, field);
	add_digests(s, p);
	corrupt(s, p);
	STAILQ_INSERT_TAIL(&s->out, p, link);
}

/* Adds what lies of [base, base + len) behind *skip bytes. */
static void gather(struct iovec *iov, int *count, const void *base, uint32_t len,
		   uint32_t *skip)
{
	if (*skip >= len) {
		*skip -= len;
		return;
	}
	iov[*count].iov_base = (uint8_t *)(uintptr_t)base + *skip;
	iov[(*count)++].iov_len = len - *skip;
	*skip = 0;
}

static int gather_all(struct session *s, struct iovec iov[GATHER])
{
	uint32_t left = s->w->split ? s->w->split : UINT32_MAX;
	struct out_pdu *p;
	int count = 0;

	STAILQ_FOREACH(p, &s->out, link)
	{
		uint32_t skip = p->sent;
		if (count > GATHER - 3)
			break;
		gather(iov, &count, p->head.bytes, p->head_len, &skip);
		gather(iov, &count, p->data, p->len, &skip);
		gather(iov, &count, p->tail, p->tail_len, &skip);
	}
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len >= left) {
			iov[i].iov_len = left;
			return i + 1;
		}
		left -= (uint32_t)iov[i].iov_len;
	}
	return count;
}

static void sent(struct session *s, uint64_t n)
{
	struct out_pdu *p;

	s->w->counters.bytes_out += n;
	while (n && (p = STAILQ_FIRST(&s->out)) != NULL) {
		uint32_t left = p->head_len + p->len + p->tail_len - p->sent;
		if (n < left) {
			p->sent += (uint32_t)n;
			return;
		}
		n -= left;
		STAILQ_REMOVE_HEAD(&s->out, link);
		out_free(p);
	}
}

void session_flush(struct session *s)
{
	struct iovec iov[GATHER];

	while (!s->is_dead && !STAILQ_EMPTY(&s->out) && !s->portal->is_black_hole) {
		struct msghdr m = { .msg_iov = iov };
		m.msg_iovlen = (size_t)gather_all(s, iov);
		ssize_t n = sendmsg(s->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			session_end(s, false);
		if (n < 0)
			break;
		sent(s, (uint64_t)n);
	}
	if (s->is_dead)
		return;
	if (s->wants_close && STAILQ_EMPTY(&s->out)) {
		session_end(s, s->is_reset);
		return;
	}
	if (s->is_writable != STAILQ_EMPTY(&s->out)) {
		s->is_writable = STAILQ_EMPTY(&s->out);
		session_watch(s);
	}
}

/* ---- in ---- */

static void hand_on(struct session *s, const uint8_t *head, const uint8_t *data,
		    uint32_t len)
{
	uint8_t opcode = head[0] & ISCSI_OPCODE_MASK;

	if (s->is_full_feature)
		request_pdu(s, head, data, len);
	else if (opcode == ISCSI_LOGIN_REQUEST)
		login_request(s, (const void *)head, data, len);
	else
		session_violation(s, "opcode %02xh before the end of login", opcode);
}

static bool is_digest_right(struct session *s, const uint8_t *bytes, uint32_t len)
{
	le32 told;

	memcpy(told.b, bytes + len, sizeof(told.b));
	if (le32_get(told) == digest(bytes, len, NULL, 0))
		return true;
	s->w->counters.digest_errors++;
	session_end(s, true);
	return false;
}

/* The PDU at the front. Its length; 0: it is not whole yet, or the session is dead. */
static uint32_t take_pdu(struct session *s, const uint8_t *bytes, uint32_t have)
{
	const struct iscsi_initiator_pdu *h = (const void *)bytes;

	if (have < ISCSI_BHS_SIZE)
		return 0;
	uint32_t head_len = ISCSI_BHS_SIZE + h->ahs_words * 4u;
	uint32_t len = be24_get(h->data_len), pad = (4 - len % 4) % 4;
	bool has_digest = is_digested(s, KEY_HEADER_DIGEST);
	uint32_t data_at = head_len + (has_digest ? ISCSI_DIGEST_SIZE : 0);
	bool is_data_digested = len && is_digested(s, KEY_DATA_DIGEST);
	uint32_t total =
		data_at + len + pad + (is_data_digested ? ISCSI_DIGEST_SIZE : 0);
	if (has_digest &&
	    (have < data_at || !is_digest_right(s, bytes, head_len)))
		return 0;
	if (len > (s->is_full_feature ? MAX_RECV : ISCSI_LOGIN_DATA_MAX)) {
		session_violation(s, "a PDU of %u bytes", len);
		return 0;
	}
	if (have < total ||
	    (is_data_digested && !is_digest_right(s, bytes + data_at, len + pad)))
		return 0;
	hand_on(s, bytes, bytes + data_at, len);
	return total;
}

void session_readable(struct session *s)
{
	uint32_t end = s->in_at + s->in_len, used;
	ssize_t n = recv(s->sock, s->in + end, IN_SIZE - end, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		session_end(s, false);
		return;
	}
	s->in_len += (uint32_t)n;
	s->w->counters.bytes_in += (uint64_t)n;
	while (!s->is_dead && !s->wants_close &&
	       (used = take_pdu(s, s->in + s->in_at, s->in_len)) != 0) {
		s->in_at += used;
		s->in_len -= used;
	}
	if (s->is_dead)
		return;
	if (s->in_len == 0 || IN_SIZE - s->in_at < IN_SPARE) {
		memmove(s->in, s->in + s->in_at, s->in_len);
		s->in_at = 0;
	}
	session_flush(s);
}
