/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <isa-l/crc.h>

#include "tests/lib/iscsi_peer.h"

static void job_done(struct iscsi_task *t)
{
	((struct job *)t)->done++;
}

void peer_pull(struct peer *p)
{
	struct iovec iov[7];
	int count;

	while ((count = iscsi_session_output(p->s, iov, 7, p->now)) > 0) {
		uint64_t len = 0;
		for (int i = 0; i < count; i++) {
			uint64_t n = iov[i].iov_len;
			if (p->out_step && len + n > p->out_step)
				n = p->out_step - len;
			buf_add(&p->sent, iov[i].iov_base, n);
			len += n;
		}
		iscsi_session_sent(p->s, len);
	}
}

/* The digest of [from, from + len) of what was sent stands right behind it. */
static void check_digest(const struct peer *p, uint32_t from, uint32_t len)
{
	uint8_t *bytes = (uint8_t *)p->sent.data + from;
	le32 digest;

	assert_true(p->sent.len >= from + len + sizeof(digest));
	memcpy(digest.b, bytes + len, sizeof(digest));
	assert_int_equal(le32_get(digest), (uint32_t)~crc32_iscsi(bytes, (int)len,
								  UINT32_MAX));
}

static void add_digest(struct buf *b, uint64_t from)
{
	uint8_t *bytes = (uint8_t *)b->data + from;
	le32 digest = le32_of(~crc32_iscsi(bytes, (int)(b->len - from), UINT32_MAX));

	buf_add(b, digest.b, sizeof(digest.b));
}

/* Reads the next PDU of the session into p->got; false: there is none. */
bool peer_next(struct peer *p)
{
	struct pdu *g = &p->got;
	uint32_t at = ISCSI_BHS_SIZE + (p->has_digest ? 4 : 0);

	peer_pull(p);
	if (p->sent.len == 0)
		return false;
	assert_true(p->sent.len >= at);
	memcpy(g->bytes, p->sent.data, ISCSI_BHS_SIZE);
	if (p->has_digest)
		check_digest(p, 0, ISCSI_BHS_SIZE);
	g->len = be24_get(g->i.data_len);
	assert_true(g->len <= sizeof(g->data));
	uint32_t padded = (g->len + 3) / 4 * 4;
	assert_true(p->sent.len >= at + padded);
	memcpy(g->data, p->sent.data + at, g->len);
	if (g->len && p->has_data_digest) {
		check_digest(p, at, padded);
		padded += ISCSI_DIGEST_SIZE;
	}
	buf_consume(&p->sent, at + padded);
	return true;
}

void peer_expect(struct peer *p, uint8_t opcode)
{
	assert_true(peer_next(p));
	assert_int_equal(p->got.i.opcode & ISCSI_OPCODE_MASK, opcode);
}

void peer_expect_nothing(struct peer *p)
{
	assert_false(peer_next(p));
}

void peer_feed(struct peer *p, const void *data, uint64_t len)
{
	const char *bytes = data;

	while (len && iscsi_session_phase(p->s) != ISCSI_DEAD) {
		struct iovec iov[4];
		uint64_t limit = p->step && p->step < len ? p->step : len, used = 0;
		int count = iscsi_session_room(p->s, iov, 4);
		for (int i = 0; i < count && used < limit; i++) {
			uint64_t n = iov[i].iov_len;
			if (n > limit - used)
				n = limit - used;
			memcpy(iov[i].iov_base, bytes + used, n);
			used += n;
		}
		assert_true(used > 0);
		iscsi_session_input(p->s, used, p->now);
		bytes += used;
		len -= used;
	}
}

void peer_encode(const struct peer *p, struct pdu *g, struct buf *out)
{
	g->t.data_len = be24_of(g->len);
	buf_add(out, g->bytes, ISCSI_BHS_SIZE);
	if (p->has_digest)
		add_digest(out, 0);
	uint64_t data_at = out->len;
	buf_add(out, g->data, g->len);
	buf_add(out, "\0\0\0", (4 - g->len % 4) % 4);
	if (g->len && p->has_data_digest) {
		add_digest(out, data_at);
		out->data[out->len - 1] ^= p->spoils_data ? 1 : 0;
	}
}

void peer_push(struct peer *p, struct pdu *g)
{
	struct buf b = { 0 };

	peer_encode(p, g, &b);
	peer_feed(p, b.data, b.len);
	buf_done(&b);
}

/* A PDU of the target with its counters; a status-bearing one counts StatSN. */
struct pdu *peer_make(struct peer *p, uint8_t opcode, bool has_status)
{
	static struct pdu g;

	memset(&g, 0, sizeof(g));
	g.t.opcode = opcode;
	g.t.flags = ISCSI_FINAL;
	g.t.itt = g.t.ttt = be32_of(ISCSI_TAG_NONE);
	g.t.stat_sn = be32_of(has_status ? p->stat_sn++ : p->stat_sn);
	g.t.exp_cmd_sn = be32_of(p->exp_cmd_sn);
	g.t.max_cmd_sn = be32_of(p->max_cmd_sn);
	return &g;
}

void pdu_add_key(struct pdu *g, const char *key, const char *value)
{
	g->len += (uint32_t)sprintf(g->data + g->len, "%s=%s", key, value) + 1;
}

struct pdu *peer_login_answer(struct peer *p, uint8_t flags)
{
	struct pdu *g = peer_make(p, ISCSI_LOGIN_RESPONSE, true);

	g->t.flags = flags;
	g->t.status = 0;
	g->t.itt = p->got.i.itt;
	g->answer.reserved = be32_of(0);
	g->answer.tsih = be16_of(7);
	memcpy(g->answer.isid, p->params.isid, 6);
	return g;
}

/* The value of a key in what the session sent, or NULL. */
const char *peer_sent_key(struct peer *p, const char *key)
{
	uint32_t at = 0;
	size_t len = strlen(key);

	while (at < p->got.len) {
		const char *pair = p->got.data + at;
		if (strncmp(pair, key, len) == 0 && pair[len] == '=')
			return pair + len + 1;
		at += (uint32_t)strlen(pair) + 1;
	}
	return NULL;
}

void peer_start(struct peer *p)
{
	p->params.initiator_name = "iqn.2026-01.org.example:host";
	if (!p->params.target_name)
		p->params.target_name = "iqn.2026-01.org.example:disk";
	p->stat_sn = 100;
	p->exp_cmd_sn = p->params.first_cmd_sn;
	p->max_cmd_sn = p->exp_cmd_sn + 15;
	p->s = iscsi_session_new(&p->params, p->now);
	assert_non_null(p->s);
}

/* Logs in; keys: "Key=Value" strings of the target, ended by NULL. */
void peer_log_in(struct peer *p, const char *const keys[])
{
	peer_start(p);
	peer_expect(p, ISCSI_LOGIN_REQUEST);
	assert_string_equal(peer_sent_key(p, "AuthMethod"),
			    p->params.user ? "CHAP,None" : "None");
	struct pdu *g = peer_login_answer(p, SECURITY_TO_OPERATIONAL);
	pdu_add_key(g, "AuthMethod", "None");
	peer_push(p, g);
	peer_expect(p, ISCSI_LOGIN_REQUEST);
	g = peer_login_answer(p, OPERATIONAL_TO_FULL);
	for (int i = 0; keys && keys[i]; i++) {
		memcpy(g->data + g->len, keys[i], strlen(keys[i]) + 1);
		g->len += (uint32_t)strlen(keys[i]) + 1;
	}
	peer_push(p, g);
	assert_int_equal(iscsi_session_phase(p->s), ISCSI_FULL);
}

const char *const peer_small_pieces[] = {
	"MaxRecvDataSegmentLength=1024",
	"FirstBurstLength=2560",
	"MaxBurstLength=4096",
	"InitialR2T=No",
	"ImmediateData=Yes",
	"MaxOutstandingR2T=2",
	NULL,
};

void peer_start_timed(struct peer *p, struct job *j, bool is_write, void *data,
		      uint32_t len, uint64_t attempt_ns, uint64_t deadline)
{
	memset(j, 0, sizeof(*j));
	j->task.is_write = is_write;
	j->iov[0] = (struct iovec){ data, len / 3 };
	j->iov[1] = (struct iovec){ (char *)data + len / 3, len - len / 3 };
	j->task.iov = j->iov;
	j->task.iovcnt = 2;
	j->task.len = len;
	j->task.attempt_ns = attempt_ns;
	j->task.deadline = deadline;
	j->task.done = job_done;
	j->task.cdb[0] = is_write ? 0x8a : 0x88;
	j->task.lun[1] = 3;
	assert_true(iscsi_session_start(p->s, &j->task));
}

void peer_start_job(struct peer *p, struct job *j, bool is_write, void *data,
		    uint32_t len)
{
	peer_start_timed(p, j, is_write, data, len, 8 * NS_PER_S, NO_DEADLINE);
}

void peer_end(struct peer *p)
{
	iscsi_session_free(p->s);
	buf_done(&p->sent);
}

void peer_answer_status(struct peer *p, be32 itt, uint8_t status, uint8_t flags,
			uint32_t residual)
{
	struct pdu *g = peer_make(p, ISCSI_SCSI_RESPONSE, true);

	g->t.itt = itt;
	g->t.status = status;
	g->t.flags |= flags;
	g->t.length = be32_of(residual);
	peer_push(p, g);
}

void peer_data_in(struct peer *p, be32 itt, uint32_t data_sn, uint32_t offset,
		  const void *data, uint32_t len, uint8_t flags)
{
	struct pdu *g = peer_make(p, ISCSI_DATA_IN, flags & ISCSI_DATA_STATUS);

	g->t.flags = flags;
	g->t.itt = itt;
	g->t.data_sn = be32_of(data_sn);
	g->t.offset = be32_of(offset);
	memcpy(g->data, data, len);
	g->len = len;
	peer_push(p, g);
}

void peer_ask_data(struct peer *p, be32 itt, uint32_t ttt, uint32_t sn, uint32_t offset,
		   uint32_t len)
{
	struct pdu *g = peer_make(p, ISCSI_R2T, false);

	g->t.itt = itt;
	g->t.ttt = be32_of(ttt);
	g->t.lun[1] = 9;
	g->t.data_sn = be32_of(sn);
	g->t.offset = be32_of(offset);
	g->t.length = be32_of(len);
	peer_push(p, g);
}
