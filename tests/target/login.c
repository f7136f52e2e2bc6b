/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Login and text: security, operational parameters, SendTargets.
 *
 * The negotiation is that of iscsi/text.c, which decides what the other side offers; the
 * digests are decided here, as the first of the initiator's list that we take.
 *
 * A session of the same initiator name, ISID, target and portal group ends before the
 * last answer of the new one's login is queued (RFC 7143 6.3.5): nothing of it takes
 * effect later.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"
#include "tests/target/target.h"

/* Login status, class << 8 | detail. */
#define STATUS_INITIATOR_ERROR 0x0200u
#define STATUS_NOT_AUTHENTICATED 0x0201u
#define STATUS_NOT_FOUND 0x0203u
#define STATUS_VERSION 0x0205u
#define STATUS_MISSING 0x0207u
#define STATUS_NO_SESSION 0x020au
#define STATUS_SILENCE 0xffffu

#define CHAP_ID 0x41u

static const char *const names[KEY_COUNT] = {
	[KEY_HEADER_DIGEST] = "HeaderDigest",
	[KEY_DATA_DIGEST] = "DataDigest",
	[KEY_MAX_RECV] = "MaxRecvDataSegmentLength",
	[KEY_MAX_BURST] = "MaxBurstLength",
	[KEY_FIRST_BURST] = "FirstBurstLength",
	[KEY_MAX_R2T] = "MaxOutstandingR2T",
	[KEY_MAX_CONNECTIONS] = "MaxConnections",
	[KEY_ERROR_RECOVERY] = "ErrorRecoveryLevel",
	[KEY_TIME2WAIT] = "DefaultTime2Wait",
	[KEY_TIME2RETAIN] = "DefaultTime2Retain",
	[KEY_INITIAL_R2T] = "InitialR2T",
	[KEY_IMMEDIATE_DATA] = "ImmediateData",
	[KEY_PDU_IN_ORDER] = "DataPDUInOrder",
	[KEY_SEQUENCE_IN_ORDER] = "DataSequenceInOrder",
};

/* Digests: what we take. */
enum digest_wish { TAKE_BOTH, TAKE_NONE, TAKE_CRC32C };

static bool read_wish(const char *value, uint32_t *ret_n)
{
	uint64_t n;

	if (strcmp(value, "Yes") == 0 || strcmp(value, "No") == 0)
		*ret_n = value[0] == 'Y';
	else if (strcmp(value, "None") == 0)
		*ret_n = TAKE_NONE;
	else if (strcmp(value, "CRC32C") == 0)
		*ret_n = TAKE_CRC32C;
	else if (parse_u64(value, 0xffffff, &n) == 0)
		*ret_n = (uint32_t)n;
	else
		return false;
	return true;
}

bool login_set_key(struct world *w, const char *text)
{
	const char *equals = strchr(text, '=');

	for (uint32_t k = 0; equals && k < KEY_COUNT; k++) {
		uint32_t n;
		if (strlen(names[k]) != (size_t)(equals - text) ||
		    strncmp(text, names[k], strlen(names[k])) != 0)
			continue;
		if (!read_wish(equals + 1, &n) ||
		    (k == KEY_MAX_RECV && (n < 512 || n > MAX_RECV)) ||
		    (k == KEY_MAX_R2T && n > MAX_R2T) || k == KEY_MAX_CONNECTIONS ||
		    k == KEY_ERROR_RECOVERY)
			return false;
		w->key[k] = n;
		return true;
	}
	return false;
}

static void answer(struct session *s, be32 itt, uint8_t flags, uint32_t status,
		   struct buf *text)
{
	struct out_pdu *p = pdu_new(ISCSI_LOGIN_RESPONSE, flags, itt);

	memcpy(p->head.login.isid, s->isid, sizeof(s->isid));
	p->head.login.tsih = be16_of(s->tsih);
	p->owned = text->data;
	p->data = (uint8_t *)text->data;
	p->len = (uint32_t)text->len;
	*text = (struct buf){ 0 };
	p->head.login.status_class = (uint8_t)(status >> 8);
	p->head.login.status_detail = (uint8_t)status;
	pdu_send(s, p, true);
	if (status)
		s->wants_close = true;
}

/* ---- security ---- */

static bool needs_chap(const struct session *s)
{
	return s->w->user[0] && (!s->is_discovery || s->w->guards_discovery);
}

static uint32_t chap_begin(struct session *s, const char *list, struct buf *out)
{
	char hex[CHAP_TEXT_MAX];

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		char *end;
		s->login.algorithm = (uint32_t)strtoul(at, &end, 10);
		chap_challenge(s->login.challenge);
		if (end == at || chap_answer(s->login.algorithm, CHAP_ID, "x",
					     s->login.challenge, hex) < 0)
			continue;
		s->login.chap_step = 1;
		buf_printf(out, "CHAP_A=%u%cCHAP_I=%u%cCHAP_C=%s", s->login.algorithm, 0,
			   CHAP_ID, 0, s->login.challenge);
		buf_add(out, "", 1);
		return 0;
	}
	return STATUS_NOT_AUTHENTICATED;
}

struct chap_keys {
	const char *name, *response, *id, *challenge;
};

static uint32_t chap_end(struct session *s, const struct chap_keys *k, struct buf *out)
{
	struct world *w = s->w;
	char hex[CHAP_TEXT_MAX];

	if (s->login.chap_step != 1 || strcmp(k->name, w->user) != 0 ||
	    chap_check(s->login.algorithm, CHAP_ID, w->secret, s->login.challenge,
		       k->response) < 0)
		return STATUS_NOT_AUTHENTICATED;
	s->login.chap_step = 2;
	s->login.is_proved = true;
	if ((!k->id && !k->challenge) || !w->own_user[0])
		return 0; /* not asked to prove itself, or it cannot */
	if (!k->id || !k->challenge ||
	    chap_answer(s->login.algorithm, (uint32_t)strtoul(k->id, NULL, 10),
			w->own_secret, k->challenge, hex) < 0)
		return STATUS_NOT_AUTHENTICATED;
	iscsi_text_add(out, "CHAP_N", w->own_user);
	iscsi_text_add(out, "CHAP_R", hex);
	return 0;
}

static uint32_t take_method(struct session *s, const char *list, struct buf *out)
{
	const char *method = needs_chap(s) ? "CHAP" : "None";

	if (!iscsi_text_has(list, method))
		return STATUS_NOT_AUTHENTICATED;
	iscsi_text_add(out, "AuthMethod", method);
	return 0;
}

/* ---- who, and with whom ---- */

static void add_address(const struct session *s, const struct portal *p, struct buf *out)
{
	struct sockaddr_in own;
	socklen_t len = sizeof(own);
	char address[INET_ADDRSTRLEN];

	(void)snprintf(address, sizeof(address), "%.15s", p->address);
	if (strcmp(address, "0.0.0.0") == 0 &&
	    getsockname(s->sock, (struct sockaddr *)&own, &len) == 0)
		(void)inet_ntop(AF_INET, &own.sin_addr, address, sizeof(address));
	buf_printf(out, "TargetAddress=%s:%u", address, p->port);
	if (p->tpg)
		buf_printf(out, ",%u", p->tpg);
	buf_add(out, "", 1);
}

static uint32_t take_target(struct session *s, const char *name, struct buf *out)
{
	struct world *w = s->w;
	struct fault f;

	for (uint32_t i = 0; i < w->target_count; i++)
		if (strcasecmp(w->targets[i].name, name) == 0)
			s->target = &w->targets[i];
	if (!s->target)
		return STATUS_NOT_FOUND;
	if (fault_take(w, FAULT_LOGIN, ANY_OPCODE, &f))
		return f.n;
	if (!fault_take(w, FAULT_REDIRECT, ANY_OPCODE, &f))
		return 0;
	iscsi_text_add(out, "TargetAddress", f.text);
	return f.n;
}

/* The keys of the first PDU that say who it is. */
static uint32_t take_identity(struct session *s, char *text, uint32_t len,
			      struct buf *out)
{
	char *copy = malloc(len + 1), *key, *value, *target = NULL;
	uint32_t pos = 0, status = 0;
	int found;

	if (!copy)
		abort();
	memcpy(copy, text, len);
	while ((found = iscsi_text_next(copy, len, &pos, &key, &value)) == 1) {
		if (strcmp(key, "InitiatorName") == 0)
			(void)snprintf(s->initiator, sizeof(s->initiator), "%s", value);
		else if (strcmp(key, "SessionType") == 0)
			s->is_discovery = strcmp(value, "Discovery") == 0;
		else if (strcmp(key, "TargetName") == 0)
			target = value;
	}
	if (found < 0)
		status = STATUS_INITIATOR_ERROR;
	else if (!s->initiator[0] || (!target && !s->is_discovery))
		status = STATUS_MISSING;
	else if (target)
		status = take_target(s, target, out);
	free(copy);
	s->keys.is_discovery = s->is_discovery;
	if (status == 0 && !s->is_discovery) {
		buf_printf(out, "TargetPortalGroupTag=%u", s->portal->tpg);
		buf_add(out, "", 1);
	}
	return status;
}

/* ---- keys ---- */

static bool is_digest_key(const struct session *s, const char *key, const char *value,
			  struct buf *out, enum iscsi_key which)
{
	struct iscsi_keys *k = (struct iscsi_keys *)(uintptr_t)&s->keys;
	uint32_t wish = s->w->key[which];

	if (strcmp(key, names[which]) != 0)
		return false;
	bool knows_crc = iscsi_text_has(value, "CRC32C") && wish != TAKE_NONE;
	bool knows_none = iscsi_text_has(value, "None") && wish != TAKE_CRC32C;
	/* The first of the list that we take. */
	bool is_crc = knows_crc && (!knows_none || strncmp(value, "CRC32C", 6) == 0);
	k->value[which] = is_crc;
	iscsi_text_add(out, key, is_crc ? "CRC32C" : knows_none ? "None" : "Reject");
	return true;
}

static bool is_identity_key(const char *key)
{
	return strcmp(key, "InitiatorName") == 0 || strcmp(key, "SessionType") == 0 ||
	       strcmp(key, "TargetName") == 0 || strcmp(key, "InitiatorAlias") == 0;
}

static uint32_t take_key(struct session *s, const char *key, const char *value,
			 struct chap_keys *chap, struct buf *out)
{
	if (is_identity_key(key))
		return 0;
	if (strcmp(key, "AuthMethod") == 0)
		return take_method(s, value, out);
	if (strcmp(key, "CHAP_A") == 0)
		return chap_begin(s, value, out);
	if (strcmp(key, "CHAP_N") == 0)
		chap->name = value;
	else if (strcmp(key, "CHAP_R") == 0)
		chap->response = value;
	else if (strcmp(key, "CHAP_I") == 0)
		chap->id = value;
	else if (strcmp(key, "CHAP_C") == 0)
		chap->challenge = value;
	else if (!is_digest_key(s, key, value, out, KEY_HEADER_DIGEST) &&
		 !is_digest_key(s, key, value, out, KEY_DATA_DIGEST) &&
		 iscsi_keys_take(&s->keys, key, value, out) < 0)
		return STATUS_INITIATOR_ERROR;
	return 0;
}

static uint32_t take_keys(struct session *s, char *text, uint32_t len, struct buf *out)
{
	struct chap_keys chap = { 0 };
	char *key, *value;
	uint32_t pos = 0, status = 0;
	int found;

	while (!status &&
	       (found = iscsi_text_next(text, len, &pos, &key, &value)) != 0)
		status = found < 0 ? STATUS_INITIATOR_ERROR
				   : take_key(s, key, value, &chap, out);
	if (!status && chap.name && chap.response)
		status = chap_end(s, &chap, out);
	return status;
}

/* ---- the request ---- */

static void reinstate(struct session *s)
{
	struct session *old;

	TAILQ_FOREACH(old, &s->w->sessions, link)
	{
		if (old == s || old->is_dead || !old->is_full_feature || !s->target ||
		    old->target != s->target || old->portal->tpg != s->portal->tpg ||
		    strcmp(old->initiator, s->initiator) != 0 ||
		    memcmp(old->isid, s->isid, sizeof(s->isid)) != 0)
			continue;
		s->w->counters.reinstatements++;
		session_end(old, false);
	}
}

static void enter_full_feature(struct session *s, struct buf *out)
{
	struct world *w = s->w;

	buf_printf(out, "%s=%u", names[KEY_MAX_RECV], w->key[KEY_MAX_RECV]);
	buf_add(out, "", 1);
	reinstate(s);
	s->tsih = ++w->next_tsih ? w->next_tsih : ++w->next_tsih;
	w->counters.logins++;
	for (uint32_t i = 0; s->target && w->has_attentions && i < MAX_LUNS; i++)
		if (s->target->lun[i])
			session_attention(s, i, w->has_started ? UA_NEXUS_LOSS
							       : UA_POWER_ON);
	w->has_started |= s->target != NULL;
}

static uint32_t begin(struct session *s, const struct iscsi_login_request_pdu *h)
{
	s->login.is_started = true;
	s->login.stage = h->flags >> 2 & 3;
	memcpy(s->isid, h->isid, sizeof(s->isid));
	s->cid = be16_get(h->cid);
	s->exp_cmd_sn = be32_get(h->cmd_sn);
	s->max_cmd_sn = s->exp_cmd_sn - 1;
	const struct iscsi_settings defaults = { 0 };
	iscsi_keys_init(&s->keys, &defaults, false, ISCSI_DIGEST_PROHIBITED,
			ISCSI_DIGEST_PROHIBITED);
	for (uint32_t k = KEY_MAX_BURST; k < KEY_COUNT; k++)
		s->keys.ours[k] = s->w->key[k];
	if (h->version_min)
		return STATUS_VERSION;
	if (be16_get(h->tsih))
		return STATUS_NO_SESSION; /* one connection is all a session gets */
	return 0;
}

/* May it go where it wants to? */
static uint32_t check_transit(const struct session *s, uint8_t next)
{
	if (next != ISCSI_STAGE_OPERATIONAL && next != ISCSI_STAGE_FULL)
		return STATUS_INITIATOR_ERROR;
	if (next <= s->login.stage)
		return STATUS_INITIATOR_ERROR;
	if (!s->login.is_proved && needs_chap(s))
		return STATUS_NOT_AUTHENTICATED;
	return 0;
}

void login_request(struct session *s, const struct iscsi_login_request_pdu *h,
		   const uint8_t *data, uint32_t len)
{
	struct buf out = { 0 }, *text = &s->login.text;
	uint8_t next = h->flags & 3, stage = h->flags >> 2 & 3;
	uint32_t status = s->login.is_started ? 0 : begin(s, h);

	buf_add(text, data, len);
	if (!status && (stage != s->login.stage || text->len > (64u << 10)))
		status = STATUS_INITIATOR_ERROR;
	if (!status && (h->flags & ISCSI_CONTINUE)) {
		answer(s, h->itt, (uint8_t)(stage << 2), 0, &out);
		return;
	}
	if (!status && !s->initiator[0])
		status = take_identity(s, text->data, (uint32_t)text->len, &out);
	if (!status)
		status = take_keys(s, text->data, (uint32_t)text->len, &out);
	buf_done(text);
	*text = (struct buf){ 0 };
	/* As long as the initiator has not proved itself we do not go on. */
	bool is_transit = (h->flags & ISCSI_TRANSIT) &&
			  (stage != ISCSI_STAGE_SECURITY || !needs_chap(s) ||
			   s->login.is_proved);
	if (!status && is_transit)
		status = check_transit(s, next);
	if (status == STATUS_SILENCE) {
		buf_done(&out);
		return;
	}
	uint8_t flags = (uint8_t)(stage << 2);
	if (!status && is_transit) {
		flags |= ISCSI_TRANSIT | next;
		s->login.stage = next;
		if (next == ISCSI_STAGE_FULL)
			enter_full_feature(s, &out);
	}
	answer(s, h->itt, flags, status, &out);
	s->is_full_feature = !status && is_transit && next == ISCSI_STAGE_FULL;
}

/* ---- SendTargets ---- */

static void add_targets(struct session *s, const char *which, struct buf *out)
{
	struct world *w = s->w;

	for (uint32_t i = 0; i < w->target_count; i++) {
		const struct exported *t = &w->targets[i];
		if (strcmp(which, "All") != 0 && strcmp(which, t->name) != 0 &&
		    !(which[0] == '\0' && t == s->target))
			continue;
		iscsi_text_add(out, "TargetName", t->name);
		for (uint32_t p = 0; p < w->portal_count; p++)
			add_address(s, &w->portals[p], out);
	}
}

void text_request(struct session *s, const struct iscsi_initiator_pdu *h,
		  const uint8_t *data, uint32_t len)
{
	struct buf text = { 0 };
	char *key, *value;
	uint32_t pos = 0;
	uint32_t most = s->keys.value[KEY_MAX_RECV];

	buf_add(&text, data, len);
	if (be32_get(h->ttt) == ISCSI_TAG_NONE) {
		buf_done(&s->targets);
		s->targets = (struct buf){ 0 };
		while (len && iscsi_text_next(text.data, len, &pos, &key, &value) == 1)
			if (strcmp(key, "SendTargets") == 0)
				add_targets(s, value, &s->targets);
			else
				iscsi_text_add(&s->targets, key, "NotUnderstood");
	}
	buf_done(&text);
	uint32_t n = (uint32_t)min_u64(s->targets.len, most);
	bool is_last = n == s->targets.len;
	struct out_pdu *p = pdu_new(ISCSI_TEXT_RESPONSE,
				    is_last ? ISCSI_FINAL : ISCSI_CONTINUE, h->itt);
	p->head.pdu.ttt = be32_of(is_last ? ISCSI_TAG_NONE : 1);
	p->owned = malloc(n + 1);
	if (!p->owned)
		abort();
	if (n)
		memcpy(p->owned, s->targets.data, n);
	p->data = p->owned;
	p->len = n;
	pdu_send(s, p, true);
	buf_consume(&s->targets, n);
}
