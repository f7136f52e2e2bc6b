/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to PDUs and PDUs to bytes.
 *
 * In: the rest of a Data-In segment is received straight into the caller's memory;
 * whatever follows it lands in the stash and is taken apart from there, so that one
 * read can bring many small PDUs. While data come in large segments, only the next header
 * is let into the stash: what follows that is for the caller's memory again, and is not
 * copied twice. The stash is empty between two calls of input().
 *
 * Out: PDUs stand in a ring in the order of the wire; the memory they point to is
 * gathered only when the transport asks. Only the first one may be sent in part.
 *
 * Invariants:
 * 1. Control PDUs go first, then data and commands in turn; CmdSN is given at that
 *    moment.
 * 2. A header that promises more data than we declared we take ends the session before a
 *    byte of it is stored.
 * 3. Nobody is told of data before their digest has been found right. Data that went
 *    straight into a command's memory are as good as none till then: at this recovery
 *    level a wrong digest ends the session, and the command's fate is unknown.
 */
#include <errno.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/session_impl.h"

/* ---- in ---- */

static bool has_digest(const struct iscsi_session *s, enum iscsi_key which)
{
	return s->keys.value[which] && s->phase != ISCSI_LOGIN;
}

#define CRC_START UINT32_MAX

static uint32_t crc_add(uint32_t crc, const void *bytes, uint64_t len)
{
	/* isa-l wants char memory that it does not write to. */
	return crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)len, crc);
}

static uint32_t header_digest(const uint8_t *bytes, uint32_t len)
{
	return ~crc_add(CRC_START, bytes, len);
}

int iscsi_task_pieces(const struct iscsi_task *t, uint64_t off, uint64_t len,
		      struct iovec *iov, int max, uint64_t *ret_len)
{
	uint64_t skip = t->iov_skip + off, got = 0;
	int count = 0;

	for (int i = 0; i < t->iovcnt && got < len && count < max; i++) {
		if (skip >= t->iov[i].iov_len) {
			skip -= t->iov[i].iov_len;
			continue;
		}
		uint64_t piece = min_u64(t->iov[i].iov_len - skip, len - got);
		iov[count].iov_base = (char *)t->iov[i].iov_base + skip;
		iov[count++].iov_len = piece;
		got += piece;
		skip = 0;
	}
	*ret_len = got;
	return count;
}

/* Adds [off, off + len) of the task's memory. */
static uint32_t crc_add_task(uint32_t crc, const struct iscsi_task *t, uint64_t off,
			     uint64_t len)
{
	while (len) {
		struct iovec piece;
		uint64_t got;
		(void)iscsi_task_pieces(t, off, len, &piece, 1, &got);
		crc = crc_add(crc, piece.iov_base, got);
		off += got;
		len -= got;
	}
	return crc;
}

/* Bytes behind the data under way, up to the end of the next header. */
static uint64_t up_to_header(const struct iscsi_session *s)
{
	const struct in_pdu *in = &s->in;
	bool is_in_header = in->head_have < in->head_len;

	return (is_in_header ? in->head_len - in->head_have
			     : in->tail_len - in->tail_have + ISCSI_BHS_SIZE) +
	       (has_digest(s, KEY_HEADER_DIGEST) ? ISCSI_DIGEST_SIZE : 0);
}

int iscsi_session_room(struct iscsi_session *s, struct iovec *iov, int max)
{
	struct in_pdu *in = &s->in;
	uint64_t left = in->data_len - in->data_have;
	int count = 0;

	in->direct = 0;
	if (in->head_have == in->head_len && in->dest == DEST_TASK && left)
		count = iscsi_task_pieces(in->task,
					  (uint64_t)in->task_off + in->data_have, left,
					  iov, max - 1, &in->direct);
	if (in->direct < left && in->direct)
		return count; /* too many pieces: the stash may not come in between */
	iov[count].iov_base = s->stash;
	iov[count].iov_len = in->is_bulk ? up_to_header(s) : STASH_SIZE;
	return count + 1;
}

/* Bytes behind data_len bytes of data: padding to 4, and the digest. */
static uint32_t tail_len_of(const struct iscsi_session *s, uint32_t data_len)
{
	if (!data_len)
		return 0;
	return (4 - data_len % 4) % 4 +
	       (has_digest(s, KEY_DATA_DIGEST) ? ISCSI_DIGEST_SIZE : 0);
}

static void copy_to_task(struct in_pdu *in, const uint8_t *bytes, uint32_t len)
{
	while (len) {
		struct iovec piece;
		uint64_t got;
		(void)iscsi_task_pieces(in->task, (uint64_t)in->task_off + in->data_have,
					len, &piece, 1, &got);
		memcpy(piece.iov_base, bytes, got);
		bytes += got;
		len -= (uint32_t)got;
		in->data_have += (uint32_t)got;
	}
}

/* What we have said we take; at login it is the protocol's own limit at least. */
static uint32_t max_recv(const struct iscsi_session *s)
{
	return (uint32_t)max_u64(s->keys.ours[KEY_MAX_RECV], ISCSI_LOGIN_DATA_MAX);
}

/* The next part of the header; returns the bytes used. */
static uint32_t take_head(struct iscsi_session *s, const uint8_t *bytes, uint32_t len)
{
	struct in_pdu *in = &s->in;
	uint32_t n = (uint32_t)min_u64(len, in->head_len - in->head_have);

	memcpy(in->head.bytes + in->head_have, bytes, n);
	in->head_have += n;
	if (in->head_have < in->head_len)
		return n;
	uint32_t digest_len = has_digest(s, KEY_HEADER_DIGEST) ? ISCSI_DIGEST_SIZE : 0;
	uint32_t full = ISCSI_BHS_SIZE + in->head.pdu.ahs_words * 4u + digest_len;
	if (in->head_len < full) {
		in->head_len = full;
		return n;
	}
	if (digest_len) {
		le32 sent;
		memcpy(sent.b, in->head.bytes + full - digest_len, sizeof(sent.b));
		uint32_t own = header_digest(in->head.bytes, full - digest_len);
		if (own != le32_get(sent)) {
			iscsi_session_kill(s, -EPROTO,
					   "header digest %08x, computed %08x",
					   le32_get(sent), own);
			return n;
		}
	}
	in->data_len = be24_get(in->head.pdu.data_len);
	in->data_have = 0;
	in->tail_have = 0;
	in->tail_len = tail_len_of(s, in->data_len);
	in->crc = CRC_START;
	if (in->data_len > max_recv(s)) {
		iscsi_session_kill(s, -EPROTO, "a PDU of %u bytes, at most %u are agreed",
				   in->data_len, max_recv(s));
		return n;
	}
	iscsi_receive_header(s);
	return n;
}

/* The next part of data, padding and digest; returns the bytes used. */
static uint32_t take_data(struct iscsi_session *s, const uint8_t *bytes, uint32_t len)
{
	struct in_pdu *in = &s->in;
	uint32_t n = (uint32_t)min_u64(len, in->data_len - in->data_have);

	if (n == 0) {
		n = (uint32_t)min_u64(len, in->tail_len - in->tail_have);
		memcpy(in->tail + in->tail_have, bytes, n);
		in->tail_have += n;
		return n;
	}
	if (has_digest(s, KEY_DATA_DIGEST))
		in->crc = crc_add(in->crc, bytes, n);
	if (in->dest == DEST_TASK) {
		copy_to_task(in, bytes, n);
		return n;
	}
	if (in->dest == DEST_DATA)
		memcpy(in->data + in->data_have, bytes, n);
	in->data_have += n;
	return n;
}

static bool is_complete(const struct in_pdu *in)
{
	return in->head_have == in->head_len && in->data_have == in->data_len &&
	       in->tail_have == in->tail_len;
}

/* The digest of the data, if there is one. false: wrong, and the session is dead. */
static bool is_data_right(struct iscsi_session *s)
{
	struct in_pdu *in = &s->in;
	le32 sent;

	if (!in->data_len || !has_digest(s, KEY_DATA_DIGEST))
		return true;
	uint32_t pad = in->tail_len - ISCSI_DIGEST_SIZE;
	uint32_t own = ~crc_add(in->crc, in->tail, pad);
	memcpy(sent.b, in->tail + pad, sizeof(sent.b));
	if (own == le32_get(sent))
		return true;
	iscsi_session_kill(s, -EPROTO, "data digest %08x, computed %08x", le32_get(sent),
			   own);
	return false;
}

static void end_pdu(struct iscsi_session *s, uint64_t now)
{
	if (!is_data_right(s))
		return;
	iscsi_receive_pdu(s, now);
	s->in.head_have = 0;
	s->in.head_len = ISCSI_BHS_SIZE;
	s->in.data_have = s->in.data_len = 0;
	s->in.tail_have = s->in.tail_len = 0;
	s->in.task = NULL;
	s->in.dest = DEST_DISCARD;
}

void iscsi_session_input(struct iscsi_session *s, uint64_t len, uint64_t now)
{
	struct in_pdu *in = &s->in;
	uint64_t direct = min_u64(len, in->direct);
	const uint8_t *bytes = s->stash;

	in->direct = 0;
	if (s->phase == ISCSI_DEAD)
		return;
	s->heard_at = now;
	if (direct && has_digest(s, KEY_DATA_DIGEST))
		in->crc = crc_add_task(in->crc, in->task,
				       (uint64_t)in->task_off + in->data_have, direct);
	in->data_have += (uint32_t)direct;
	len -= direct;
	if (direct && is_complete(in))
		end_pdu(s, now);
	while (len && s->phase != ISCSI_DEAD) {
		uint32_t n = in->head_have < in->head_len
				     ? take_head(s, bytes, (uint32_t)len)
				     : take_data(s, bytes, (uint32_t)len);
		bytes += n;
		len -= n;
		if (s->phase != ISCSI_DEAD && is_complete(in))
			end_pdu(s, now);
	}
}

/* ---- out ---- */

struct out_pdu *iscsi_control_new(struct iscsi_session *s, uint8_t opcode, uint8_t flags)
{
	if (s->control_count == CONTROL_PDUS) {
		iscsi_session_kill(s, -EPROTO,
				   "%u answers wait and the target takes none",
				   CONTROL_PDUS);
		return NULL;
	}
	struct out_pdu *p =
		&s->control[(s->control_head + s->control_count++) % CONTROL_PDUS];
	*p = (struct out_pdu){ .head_len = ISCSI_BHS_SIZE };
	p->head.pdu.opcode = opcode | ISCSI_IMMEDIATE;
	p->head.pdu.flags = flags;
	return p;
}

void iscsi_control_text(struct iscsi_session *s, struct out_pdu *p, struct buf *text)
{
	if (text->error)
		s->is_broken = true;
	p->owned = text->data;
	p->data_len = (uint32_t)text->len;
	*text = (struct buf){ 0 };
}

static void out_drop(struct out_pdu *p)
{
	free(p->owned);
	*p = (struct out_pdu){ .is_void = true };
}

void iscsi_out_drop_all(struct iscsi_session *s)
{
	for (; s->out_count; s->out_count--)
		out_drop(&s->out[s->out_head++ % OUT_PDUS]);
	for (; s->control_count; s->control_count--)
		out_drop(&s->control[s->control_head++ % CONTROL_PDUS]);
}

static void fill_tail(struct iscsi_session *s, struct out_pdu *p)
{
	p->tail_len = tail_len_of(s, p->data_len);
	memset(p->tail, 0, sizeof(p->tail));
	if (!p->data_len || !has_digest(s, KEY_DATA_DIGEST))
		return;
	uint32_t pad = p->tail_len - ISCSI_DIGEST_SIZE;
	uint32_t crc = p->owned ? crc_add(CRC_START, p->owned, p->data_len)
				: crc_add_task(CRC_START, p->task, p->data_off,
					       p->data_len);
	le32 digest = le32_of(~crc_add(crc, p->tail, pad));
	memcpy(p->tail + pad, digest.b, sizeof(digest.b));
}

/* What is known only when the PDU's turn has come. */
static void fill_rest(struct iscsi_session *s, struct out_pdu *p)
{
	p->head.pdu.data_len = be24_of(p->data_len);
	p->head.pdu.exp_stat_sn = be32_of(s->exp_stat_sn);
	fill_tail(s, p);
	p->head_len = ISCSI_BHS_SIZE;
	if (!has_digest(s, KEY_HEADER_DIGEST))
		return;
	le32 digest = le32_of(header_digest(p->head.bytes, ISCSI_BHS_SIZE));
	memcpy(p->head.bytes + ISCSI_BHS_SIZE, digest.b, sizeof(digest.b));
	p->head_len += ISCSI_DIGEST_SIZE;
}

static bool next_control(struct iscsi_session *s, struct out_pdu *p)
{
	if (!s->control_count)
		return false;
	*p = s->control[s->control_head];
	s->control_head = (s->control_head + 1) % CONTROL_PDUS;
	s->control_count--;
	p->head.pdu.cmd_sn = be32_of(s->cmd_sn);
	return true;
}

static struct out_pdu *next_free(struct iscsi_session *s)
{
	if (s->out_count == OUT_PDUS)
		return NULL;
	struct out_pdu *p = &s->out[(s->out_head + s->out_count) % OUT_PDUS];
	*p = (struct out_pdu){ 0 };
	return p;
}

static void fill_ring(struct iscsi_session *s, uint64_t now)
{
	bool is_turn_of_data = true;
	int idle = 0;

	while (idle < 2) {
		struct out_pdu *p = next_free(s);
		bool is_taken;
		if (!p)
			return;
		is_taken = next_control(s, p);
		if (!is_taken && s->phase != ISCSI_LOGIN) {
			is_taken = is_turn_of_data ? iscsi_next_burst(s, p)
						   : iscsi_next_command(s, p, now);
			is_turn_of_data = !is_turn_of_data;
		}
		idle = is_taken ? 0 : idle + 1;
		if (!is_taken)
			continue;
		fill_rest(s, p);
		iscsi_trace_note(&s->trace, p->head.bytes, true, now);
		s->out_count++;
	}
}

static uint32_t total_of(const struct out_pdu *p)
{
	return p->is_void ? 0 : p->head_len + p->data_len + p->tail_len;
}

/* Appends what is left of p; *ret_len: its bytes. Returns the pieces. */
static int gather(struct out_pdu *p, struct iovec *iov, int max, uint64_t *ret_len)
{
	uint32_t from = p->sent, total = total_of(p),
		 data_end = p->head_len + p->data_len;
	int count = 0;

	*ret_len = 0;
	if (from < p->head_len && from < total && count < max) {
		iov[count].iov_base = p->head.bytes + from;
		iov[count++].iov_len = p->head_len - from;
		*ret_len += p->head_len - from;
		from = p->head_len;
	}
	if (from < data_end && from < total && count < max) {
		uint32_t off = from - p->head_len;
		uint64_t got = p->data_len - off;
		if (p->owned) {
			iov[count].iov_base = p->owned + off;
			iov[count++].iov_len = got;
		} else {
			count += iscsi_task_pieces(p->task, (uint64_t)p->data_off + off,
						   got, iov + count, max - count, &got);
		}
		*ret_len += got;
		from += (uint32_t)got;
	}
	if (from >= data_end && from < total && count < max) {
		iov[count].iov_base = p->tail + (from - data_end);
		iov[count++].iov_len = total - from;
		*ret_len += total - from;
	}
	return count;
}

int iscsi_session_output(struct iscsi_session *s, struct iovec *iov, int max,
			 uint64_t now)
{
	int count = 0;

	if (s->is_broken)
		iscsi_session_kill(s, -ENOMEM, "out of memory");
	if (s->phase == ISCSI_DEAD)
		return 0;
	fill_ring(s, now);
	for (uint32_t i = 0; i < s->out_count && count < max; i++) {
		struct out_pdu *p = &s->out[(s->out_head + i) % OUT_PDUS];
		uint64_t len;
		count += gather(p, iov + count, max - count, &len);
		if (p->sent + len < total_of(p))
			break;
	}
	return count;
}

void iscsi_session_sent(struct iscsi_session *s, uint64_t len)
{
	while (s->out_count) {
		struct out_pdu *p = &s->out[s->out_head];
		uint32_t n = (uint32_t)min_u64(len, total_of(p) - p->sent);
		p->sent += n;
		len -= n;
		if (p->sent < total_of(p))
			return;
		out_drop(p);
		s->out_head = (s->out_head + 1) % OUT_PDUS;
		s->out_count--;
	}
}
