/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Login (RFC 7143 6.3): names and authentication in the security stage, then the
 * operational keys, then full feature. One request is outstanding at a time.
 *
 *   request(names, AuthMethod; T if it is None)  -> security
 *   security: target picks None    -> its T bit says operational
 *             target picks CHAP    -> CHAP_A -> (A, I, C) -> CHAP_N, CHAP_R; T
 *             and it has to prove itself: with them our CHAP_I, CHAP_C -> its N, R
 *   operational: our offers; T     -> answers to its offers; T -> full feature
 *
 * Invariants:
 * 1. We ask for the transit (T) in every request but those that offer CHAP or only fetch
 *    more text (C), and believe it only if the target grants the stage that was asked
 *    for.
 * 2. After 32 requests without an end the login fails.
 * 3. A password leaves only as the digest of a challenge that the target asked for.
 * 4. A target that has to prove itself gets no further without: None is not offered to
 *    it, and its transit counts only with the right answer. It cannot have that from us:
 *    the two secrets differ (iscsi/url.c), and our challenge is never the one that we
 *    have answered.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/parse.h"
#include "iscsi/session_impl.h"

#define MAX_ROUNDS 32u
/* The target takes the first it knows. SHA-256 is last: tgt takes its 7 for SHA-1. */
#define CHAP_OFFER "8,6,5,7"

enum { CHAP_IDLE, CHAP_ASKED, CHAP_ANSWERED };

/* What the target says of CHAP in one answer. */
struct chap_keys {
	const char *algorithm, *id, *challenge, *name, *response;
};

static void send_request(struct iscsi_session *s, struct buf *text, bool may_transit)
{
	uint8_t next = s->login.stage == ISCSI_STAGE_SECURITY ? ISCSI_STAGE_OPERATIONAL
							      : ISCSI_STAGE_FULL;
	uint8_t flags = (uint8_t)(s->login.stage << 2);

	if (may_transit)
		flags |= (uint8_t)(ISCSI_TRANSIT | next);
	if (text->error || text->len > ISCSI_LOGIN_DATA_MAX ||
	    ++s->login.rounds > MAX_ROUNDS) {
		buf_done(text);
		iscsi_session_kill(s, -EPROTO, "login finds no end after %u requests",
				   s->login.rounds);
		return;
	}
	struct out_pdu *p = iscsi_control_new(s, ISCSI_LOGIN_REQUEST, flags);
	if (!p) {
		buf_done(text);
		return;
	}
	memcpy(p->head.login.isid, s->params.isid, sizeof(s->params.isid));
	p->head.login.itt = be32_of(TAG_LOGIN);
	iscsi_control_text(s, p, text);
}

void iscsi_login_start(struct iscsi_session *s)
{
	struct buf text = { 0 };

	iscsi_text_add(&text, "InitiatorName", s->params.initiator_name);
	if (s->params.target_name)
		iscsi_text_add(&text, "TargetName", s->params.target_name);
	iscsi_text_add(&text, "SessionType",
		       s->params.target_name ? "Normal" : "Discovery");
	iscsi_text_add(&text, "AuthMethod",
		       s->params.target_user ? "CHAP"
		       : s->params.user	     ? "CHAP,None"
					     : "None");
	/* There are targets that refuse a transit while CHAP is on offer. */
	send_request(s, &text, !s->params.user);
}

/* ---- refusals ---- */

/* Where the target is now, in the text of this answer. */
static void take_move(struct iscsi_session *s)
{
	char *key, *value;
	uint32_t pos = 0;

	while (iscsi_text_next((char *)s->in.data, s->in.data_len, &pos, &key, &value) >
	       0) {
		if (strcmp(key, "TargetAddress") == 0 &&
		    strlen(value) < sizeof(s->login.moved_to))
			(void)strcpy(s->login.moved_to, value);
	}
}

static void refused(struct iscsi_session *s, uint8_t class, uint8_t detail)
{
	static const struct {
		uint16_t status;
		int error;
		const char *why;
	} table[] = {
		{ ISCSI_MOVED_FOR_A_TIME, -EREMCHG, "the target has moved for a time" },
		{ ISCSI_MOVED_FOR_GOOD, -EREMCHG, "the target has moved for good" },
		{ 0x0201, -EACCES, "authentication failed" },
		{ 0x0202, -EACCES, "this initiator is not allowed there" },
		{ 0x0203, -ENOENT, "target not found" },
		{ 0x0204, -ENOENT, "the target has been removed" },
		{ 0x0206, -EUSERS, "too many connections" },
		{ 0x0207, -EPROTO, "the target misses a parameter" },
		{ 0x0208, -EPROTO, "the target cannot take it into the session" },
		{ 0x0209, -EPROTO, "session type not supported" },
		{ 0x020a, -EPROTO, "no such session" },
		{ 0x020b, -EPROTO, "invalid request during login" },
		{ 0x0301, -EHOSTDOWN,
		  "the target is not available, or there is none of that name" },
		{ 0x0302, -EUSERS, "the target is out of resources" },
	};
	uint16_t status = (uint16_t)(class << 8 | detail);

	s->login.status = status;
	if (status == ISCSI_MOVED_FOR_A_TIME || status == ISCSI_MOVED_FOR_GOOD)
		take_move(s);
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].status != status)
			continue;
		iscsi_session_kill(s, table[i].error,
				   "login refused: %s (status %02x/%02x)%s", table[i].why,
				   class, detail,
				   status == 0x0201 && !s->params.user
					   ? ": no user and password were given"
					   : "");
		return;
	}
	iscsi_session_kill(s, class == 3 ? -EHOSTDOWN : -EPROTO,
			   "login refused (status %02x/%02x)", class, detail);
}

/* ---- one key of the target ---- */

static bool take_method(struct iscsi_session *s, const char *value)
{
	if (strcmp(value, "None") == 0 && !s->params.target_user)
		return true;
	if (strcmp(value, "CHAP") == 0 && s->params.user && s->params.password) {
		s->login.is_chap = true;
		return true;
	}
	bool is_known = strcmp(value, "Reject") == 0 || strcmp(value, "CHAP") == 0;
	iscsi_session_kill(
		s, -EACCES,
		s->params.target_user ? "the target does not prove itself by CHAP"
		: is_known	      ? "the target demands a CHAP user and password"
			 : "the target demands an AuthMethod that is not known here");
	return false;
}

/* A tag that is no number is as good as none. */
static void take_tag(struct iscsi_session *s, const char *value)
{
	uint64_t n;

	s->login.tpgt = parse_u64(value, UINT16_MAX, &n) ? 0 : (uint16_t)n;
}

static bool take_key(struct iscsi_session *s, const char *key, const char *value,
		     struct chap_keys *c, struct buf *answer)
{
	if (strcmp(key, "AuthMethod") == 0)
		return take_method(s, value);
	if (strcmp(key, "TargetPortalGroupTag") == 0)
		take_tag(s, value);
	else if (strcmp(key, "CHAP_A") == 0)
		c->algorithm = value;
	else if (strcmp(key, "CHAP_I") == 0)
		c->id = value;
	else if (strcmp(key, "CHAP_C") == 0)
		c->challenge = value;
	else if (strcmp(key, "CHAP_N") == 0)
		c->name = value;
	else if (strcmp(key, "CHAP_R") == 0)
		c->response = value;
	else if (iscsi_keys_take(&s->keys, key, value, answer) < 0) {
		iscsi_session_kill(s, -EPROTO, "login: %.60s=%.60s is not allowed", key,
				   value);
		return false;
	}
	return true;
}

/* ---- stages ---- */

/* The target's turn: a challenge of ours, which is not the one it has sent. */
static void add_challenge(struct iscsi_session *s, const struct chap_keys *c,
			  struct buf *out)
{
	struct login *l = &s->login;

	do
		chap_challenge(l->our_challenge);
	while (chap_is_same(l->our_challenge, c->challenge));
	l->our_id = (uint8_t)random_u64();
	buf_printf(out, "CHAP_I=%u", l->our_id);
	buf_add(out, "", 1);
	iscsi_text_add(out, "CHAP_C", l->our_challenge);
}

static int answer_challenge(struct iscsi_session *s, const struct chap_keys *c,
			    struct buf *out)
{
	uint64_t algorithm, id;
	char text[CHAP_TEXT_MAX];

	if (!c->algorithm || !c->id || !c->challenge ||
	    !iscsi_text_has(CHAP_OFFER, c->algorithm) ||
	    parse_u64(c->algorithm, 255, &algorithm) < 0 ||
	    parse_u64(c->id, 255, &id) < 0 ||
	    chap_answer((uint32_t)algorithm, (uint32_t)id, s->params.password,
			c->challenge, text) < 0) {
		iscsi_session_kill(s, -EACCES,
				   "login: no usable CHAP challenge (CHAP_A=%.20s)",
				   c->algorithm ? c->algorithm : "");
		return -EACCES;
	}
	s->login.algorithm = (uint32_t)algorithm;
	iscsi_text_add(out, "CHAP_N", s->params.user);
	iscsi_text_add(out, "CHAP_R", text);
	if (s->params.target_user)
		add_challenge(s, c, out);
	return 0;
}

/* The target's answer to our challenge. false: wrong, and the session is dead. */
static bool take_proof(struct iscsi_session *s, const struct chap_keys *c)
{
	const struct login *l = &s->login;

	if (!c->response || l->chap_step != CHAP_ANSWERED || !s->params.target_user)
		return true;
	bool is_name = c->name && strcmp(c->name, s->params.target_user) == 0;
	if (is_name && chap_check(l->algorithm, l->our_id, s->params.target_password,
				  l->our_challenge, c->response) == 0) {
		s->login.is_target_proved = true;
		return true;
	}
	iscsi_session_kill(s, -EACCES,
			   is_name ? "the target's CHAP answer is wrong: it is not the "
				     "one whose secret was given"
				   : "the target calls itself %.60s in CHAP, not %.60s",
			   c->name ? c->name : "nothing", s->params.target_user);
	return false;
}

/* The next request of the security stage, when the target has not granted the transit. */
static void go_on_security(struct iscsi_session *s, const struct chap_keys *c,
			   struct buf *out)
{
	bool may_transit = true;

	if (s->login.is_chap && s->login.chap_step == CHAP_IDLE) {
		iscsi_text_add(out, "CHAP_A", CHAP_OFFER);
		s->login.chap_step = CHAP_ASKED;
		may_transit = false;
	} else if (s->login.is_chap && s->login.chap_step == CHAP_ASKED) {
		if (answer_challenge(s, c, out) < 0)
			return;
		s->login.chap_step = CHAP_ANSWERED;
	}
	send_request(s, out, may_transit);
}

static void enter_stage(struct iscsi_session *s, uint8_t next, struct buf *out,
			uint64_t now)
{
	uint8_t wanted = s->login.stage == ISCSI_STAGE_SECURITY ? ISCSI_STAGE_OPERATIONAL
								: ISCSI_STAGE_FULL;

	if (next != wanted) {
		iscsi_session_kill(s, -EPROTO, "login: stage %u granted, %u asked for",
				   next, wanted);
		return;
	}
	if (s->params.target_user && !s->login.is_target_proved) {
		iscsi_session_kill(s, -EACCES,
				   "the target does not prove itself by CHAP");
		return;
	}
	s->login.stage = next;
	if (next == ISCSI_STAGE_OPERATIONAL) {
		iscsi_keys_offer(&s->keys, out);
		send_request(s, out, true);
		return;
	}
	const char *missing = iscsi_keys_missing(&s->keys);
	if (missing) {
		iscsi_session_kill(s, -EPROTO, "the target takes no %s, as is required",
				   missing);
		return;
	}
	uint32_t *value = s->keys.value;
	value[KEY_FIRST_BURST] =
		(uint32_t)min_u64(value[KEY_FIRST_BURST], value[KEY_MAX_BURST]);
	s->phase = ISCSI_FULL;
	s->heard_at = now;
}

static void take_text(struct iscsi_session *s, uint8_t flags, uint64_t now)
{
	struct chap_keys c = { 0 };
	struct buf *text = &s->login.text, out = { 0 };
	char *key, *value;
	uint32_t pos = 0;
	int n;

	while ((n = iscsi_text_next(text->data, (uint32_t)text->len, &pos, &key,
				    &value)) > 0)
		if (!take_key(s, key, value, &c, &out))
			break;
	if (n < 0)
		iscsi_session_kill(s, -EPROTO,
				   "login: text without '=' or NUL at byte %u", pos);
	if (s->phase != ISCSI_DEAD && take_proof(s, &c)) {
		if (flags & ISCSI_TRANSIT)
			enter_stage(s, flags & 3, &out, now);
		else if (s->login.stage == ISCSI_STAGE_SECURITY)
			go_on_security(s, &c, &out);
		else
			send_request(s, &out, true);
	}
	buf_done(&out);
	buf_done(text);
}

void iscsi_login_response(struct iscsi_session *s, uint64_t now)
{
	const struct iscsi_login_response_pdu *h = &s->in.head.login;
	struct buf *text = &s->login.text, nothing = { 0 };

	if (h->status_class) {
		refused(s, h->status_class, h->status_detail);
		return;
	}
	if (be32_get(h->itt) != TAG_LOGIN || h->version_active != 0 ||
	    (h->flags >> 2 & 3) != s->login.stage || s->control_count || s->out_count) {
		iscsi_session_kill(s, -EPROTO,
				   "login: an answer to another question (%02xh)",
				   h->flags);
		return;
	}
	if (s->login.rounds == 1 && text->len == 0)
		s->exp_stat_sn = be32_get(h->stat_sn);
	if (!iscsi_take_stat_sn(s, h->stat_sn))
		return;
	iscsi_take_window(s, h->exp_cmd_sn, h->max_cmd_sn);
	buf_add(text, s->in.data, s->in.data_len);
	if (text->error || text->len > 8 * ISCSI_LOGIN_DATA_MAX) {
		iscsi_session_kill(s, -EPROTO, "login: over %u bytes of text",
				   8 * ISCSI_LOGIN_DATA_MAX);
		return;
	}
	if (h->flags & ISCSI_CONTINUE)
		send_request(s, &nothing, false);
	else
		take_text(s, h->flags, now);
}
