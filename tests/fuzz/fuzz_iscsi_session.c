/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes from a target. Whatever comes, each command ends exactly once, nothing is
 * written outside of its memory, and what the session sends can be gathered. A target
 * that has to prove itself (CHAP) is not let in: it does not know our challenge before it
 * is sent, and the secret never. An address that a login is sent on to is no address, or
 * a host with its port.
 *
 * Byte 0: bit 0 log in properly first, bit 1 ask for header digests, bit 2 we have a user
 * and password, bit 3 so has to have the target; bits 4-7 the most bytes fed at a time,
 * in steps of 17; byte 1: milliseconds x 50 that pass after each feeding. Then the bytes;
 * where byte 2 is odd they are PDUs of which StatSN and, in Data-In, DataSN are put
 * right, so that more of them are believed. With bit 2 and without bit 0 such PDUs are
 * answers to a login first: a byte of flags, a byte of length, and as many of text, where
 * from 0x80 on they stand for whole keys.
 *
 * Byte 2: bit 1 a discovery session asks for its targets, bit 2 what follows is the list.
 *
 * clang -fsanitize=fuzzer,address,undefined, with libiscsi-vmk and libbase.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "iscsi/discovery.h"
#include "iscsi/proto.h"
#include "iscsi/session.h"
#include "iscsi/url.h"

#define JOBS 4
#define JOB_SIZE 6000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct job {
	struct iscsi_task task;
	struct iovec iov;
	unsigned int done;
};

struct run {
	struct iscsi_session *s;
	uint64_t now;
	uint32_t step, pause_ms, stat_sn;
	struct job jobs[JOBS];
};

static void demand(int is_true)
{
	if (!is_true)
		abort();
}

static void job_done(struct iscsi_task *t)
{
	((struct job *)t)->done++;
	free(((struct job *)t)->iov.iov_base); /* whoever touches it now is seen */
}

static void start_jobs(struct run *r)
{
	for (unsigned int i = 0; i < JOBS; i++) {
		struct job *j = &r->jobs[i];
		if (j->iov.iov_base)
			continue;
		j->iov.iov_base = calloc(1, JOB_SIZE);
		j->iov.iov_len = JOB_SIZE;
		j->task.is_write = i & 1;
		j->task.iov = &j->iov;
		j->task.iovcnt = 1;
		j->task.len = JOB_SIZE;
		j->task.attempt_ns = 2 * NS_PER_S;
		j->task.deadline = r->now + (i < 2 ? 3 : 30) * NS_PER_S;
		j->task.done = job_done;
		if (!iscsi_session_start(r->s, &j->task)) {
			free(j->iov.iov_base);
			j->iov.iov_base = NULL;
		}
	}
}

static void pull(struct run *r)
{
	struct iovec iov[5];
	volatile uint8_t sum = 0;
	int count;

	while ((count = iscsi_session_output(r->s, iov, 5, r->now)) > 0) {
		uint64_t len = 0;
		for (int i = 0; i < count; i++) {
			const uint8_t *bytes = iov[i].iov_base;
			for (size_t k = 0; k < iov[i].iov_len; k++)
				sum = (uint8_t)(sum + bytes[k]);
			len += iov[i].iov_len;
		}
		/* Sometimes only a part of it leaves. */
		uint64_t sent = r->step & 1 ? len : len / 2 + 1;
		iscsi_session_sent(r->s, sent);
		if (sent < len)
			return;
	}
}

static void feed(struct run *r, const uint8_t *bytes, uint64_t len)
{
	while (len && iscsi_session_phase(r->s) != ISCSI_DEAD) {
		struct iovec iov[3];
		uint64_t used = 0, limit = min_u64(len, r->step + 1);
		int count = iscsi_session_room(r->s, iov, 3);
		demand(count > 0);
		for (int i = 0; i < count && used < limit; i++) {
			uint64_t n = min_u64(iov[i].iov_len, limit - used);
			memcpy(iov[i].iov_base, bytes + used, n);
			used += n;
		}
		demand(used > 0);
		iscsi_session_input(r->s, used, r->now);
		bytes += used;
		len -= used;
		pull(r);
	}
}

static void log_in(struct run *r)
{
	for (int i = 0; i < 2; i++) {
		struct iscsi_login_response_pdu h = {
			.opcode = ISCSI_LOGIN_RESPONSE,
			.flags = i ? 0x87 : 0x81,
			.itt = be32_of(0xf0),
			.stat_sn = be32_of(r->stat_sn++),
			.exp_cmd_sn = be32_of(1),
			.max_cmd_sn = be32_of(64),
			.tsih = be16_of(1),
		};
		static const char keys[] = "InitialR2T=No\0MaxRecvDataSegmentLength=1024";
		h.data_len = be24_of(i ? sizeof(keys) : 0);
		r->step = 255;
		pull(r);
		feed(r, (const uint8_t *)&h, sizeof(h));
		if (i)
			feed(r, (const uint8_t *)keys, (sizeof(keys) + 3) / 4 * 4);
	}
}

/* Feeds PDU after PDU with the right StatSN. */
static void feed_pdus(struct run *r, const uint8_t *data, size_t size)
{
	struct iscsi_target_pdu h;

	while (size >= sizeof(h) && iscsi_session_phase(r->s) != ISCSI_DEAD) {
		memcpy(&h, data, sizeof(h));
		uint64_t len = (be24_get(h.data_len) % 2048 + 3) / 4 * 4;
		uint8_t opcode = h.opcode & ISCSI_OPCODE_MASK;
		len = min_u64(len, (size - sizeof(h)) / 4 * 4);
		h.data_len = be24_of((uint32_t)len);
		h.ahs_words = 0;
		h.stat_sn = be32_of(r->stat_sn);
		h.exp_cmd_sn = be32_of(1);
		h.max_cmd_sn = be32_of(64);
		h.itt = be32_of((1 + h.itt.b[3] % 6u) << 8 | h.itt.b[3] % 6u);
		bool has_status =
			opcode == ISCSI_DATA_IN ? h.flags & 1 : opcode != ISCSI_R2T;
		r->stat_sn += has_status;
		feed(r, (const uint8_t *)&h, sizeof(h));
		feed(r, data + sizeof(h), len);
		data += sizeof(h) + len;
		size -= sizeof(h) + len;
		r->now += r->pause_ms * NS_PER_MS;
		iscsi_session_tick(r->s, r->now);
		start_jobs(r);
		pull(r);
	}
}

/* Text of a login's answer: the byte as it is, or a key. Returns its length. */
static uint32_t login_text(const uint8_t *data, size_t size, char *text, size_t room)
{
	static const char *const words[] = {
		"AuthMethod=",
		"CHAP",
		"None",
		"CHAP_A=",
		"CHAP_I=",
		"CHAP_C=0x",
		"CHAP_C=0b",
		"CHAP_N=",
		"CHAP_R=0x",
		"target",
		"0123456789abcdef",
		"TargetAddress=",
		"[::1]",
		"127.0.0.1",
		"MaxBurstLength=",
		"HeaderDigest=CRC32C",
	};
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		const char *word = data[i] & 0x80 ? words[data[i] % ARRAY_SIZE(words)]
						  : NULL;
		size_t len = word ? strlen(word) : 1;
		if (n + len > room)
			break;
		memcpy(text + n, word ? word : (const char *)&data[i], len);
		n += len;
	}
	return (uint32_t)n;
}

/* Answers to our login requests; returns the bytes that are left. */
static size_t feed_login(struct run *r, const uint8_t **data, size_t size)
{
	char text[4096] = "";

	while (size >= 2 && iscsi_session_phase(r->s) == ISCSI_LOGIN) {
		uint8_t how = (*data)[0];
		size_t len = min_u64((*data)[1], size - 2);
		struct iscsi_login_response_pdu h = {
			.opcode = ISCSI_LOGIN_RESPONSE,
			.flags = how & 0xcf,
			.itt = be32_of(0xf0),
			.stat_sn = be32_of(r->stat_sn++),
			.exp_cmd_sn = be32_of(1),
			.max_cmd_sn = be32_of(64),
			.status_class = (how & 0x30) == 0x30, /* sent on */
			.status_detail = 1,
		};
		uint32_t n = login_text(*data + 2, len, text, sizeof(text) - 4);
		h.data_len = be24_of(n);
		feed(r, (const uint8_t *)&h, sizeof(h));
		feed(r, (const uint8_t *)text, (n + 3) / 4 * 4);
		memset(text, 0, sizeof(text));
		*data += 2 + len;
		size -= 2 + len;
	}
	return size;
}

/* A login was sent on: to what may be looked up, or to nothing. */
static void look_at_move(struct run *r)
{
	char host[ISCSI_HOST_SIZE];
	bool is_for_good;
	uint16_t port = 0;
	const char *to = iscsi_session_moved_to(r->s, &is_for_good);
	const char *end = to ? strrchr(to, ',') : NULL;

	if (!to || !iscsi_portal_parse(to, end ? end : to + strlen(to), host, &port))
		return;
	demand(port != 0 && host[0] && memchr(host, '\0', sizeof(host)));
}

/* What a discovery session was told, or nothing. */
static void look_at_targets(struct run *r)
{
	struct iscsi_target *targets = NULL;
	uint32_t len = 0;
	char *text = iscsi_session_targets(r->s, &len);
	int count = text ? iscsi_discovery_read(text, len, &targets) : 0;

	for (int i = 0; i < count; i++) {
		demand(memchr(targets[i].name, '\0', sizeof(targets[i].name)) != NULL);
		demand(memchr(targets[i].portal, '\0', sizeof(targets[i].portal)) !=
		       NULL);
	}
	free(targets);
}

/* A list of targets, whole, in a PDU of its own. */
static void feed_targets(struct run *r, const uint8_t *data, size_t size)
{
	static const uint8_t none[4];
	struct iscsi_target_pdu h = {
		.opcode = ISCSI_TEXT_RESPONSE,
		.flags = ISCSI_FINAL,
		.data_len = be24_of((uint32_t)size),
		.itt = be32_of(0x1f3), /* of such a request (session_impl.h) */
		.ttt = be32_of(ISCSI_TAG_NONE),
		.stat_sn = be32_of(r->stat_sn++),
		.exp_cmd_sn = be32_of(1),
		.max_cmd_sn = be32_of(64),
	};

	feed(r, (const uint8_t *)&h, sizeof(h));
	feed(r, data, size);
	feed(r, none, (4 - size % 4) % 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run r = { .now = NS_PER_S };
	struct iscsi_params params = { .initiator_name = "iqn.i",
				       .target_name = "iqn.t",
				       .first_cmd_sn = 1 };

	if (size < 3)
		return 0;
	if (data[2] & 2)
		params.target_name = NULL;
	params.header_digest = data[0] & 2 ? ISCSI_DIGEST_PREFERRED
					   : ISCSI_DIGEST_PROHIBITED;
	params.data_digest = params.header_digest;
	if (data[0] & 4) {
		params.user = "host";
		params.password = "hostsecret12";
	}
	if ((data[0] & 0xc) == 0xc) {
		params.target_user = "target";
		params.target_password = "targetsecret";
	}
	r.s = iscsi_session_new(&params, r.now);
	demand(r.s != NULL);
	if (data[0] & 1)
		log_in(&r);
	r.step = (data[0] >> 4) * 17u;
	r.pause_ms = data[1] * 50u;
	bool is_made_right = data[2] & 1;
	bool is_discovery = data[2] & 2, is_list = data[2] & 4;
	bool has_login = (data[0] & 5) == 4 && is_made_right;
	data += 3;
	size -= 3;
	start_jobs(&r);
	pull(&r);
	if (has_login)
		size = feed_login(&r, &data, size);
	start_jobs(&r);
	if (is_discovery && iscsi_session_phase(r.s) == ISCSI_FULL) {
		iscsi_session_send_targets(r.s);
		pull(&r);
		if (is_list)
			feed_targets(&r, data, size);
		size = is_list ? 0 : size;
	}
	if (is_made_right)
		feed_pdus(&r, data, size);
	else
		feed(&r, data, size);
	demand(!params.target_user || iscsi_session_phase(r.s) != ISCSI_FULL);
	look_at_move(&r);
	look_at_targets(&r);
	iscsi_session_tick(r.s, r.now + 40 * NS_PER_S);
	pull(&r);
	iscsi_session_free(r.s);
	for (unsigned int i = 0; i < JOBS; i++)
		demand(r.jobs[i].done == (r.jobs[i].iov.iov_base != NULL));
	return 0;
}
