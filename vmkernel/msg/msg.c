/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framing. The peer may be hostile (a vmx talks for a guest; anybody who reaches the
 * control socket is a client): the header is checked before the payload is waited for, so
 * a channel never holds more than one frame and a read of it, and jansson gets bytes of a
 * known length that must be one object and nothing else.
 */
#include "vmkernel/msg/msg.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "vmkernel/msg/sock.h"

#define OUT_MAX (8u << 20) /* queued for a peer that does not read */

int64_t msg_decode(const uint8_t *in, size_t len, struct msg *ret_msg)
{
	struct msg_header_msg h;
	if (len < sizeof(h))
		return 0;
	memcpy(&h, in, sizeof(h));
	uint32_t body_len = le32_get(h.len);
	if (le32_get(h.magic) != MSG_MAGIC || le16_get(h.zero) ||
	    body_len > MSG_PAYLOAD_MAX)
		return -EPROTO;
	if (len - sizeof(h) < body_len)
		return 0;
	json_error_t error;
	json_t *body = json_loadb((const char *)in + sizeof(h), body_len,
				  JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(body)) {
		json_decref(body);
		return -EPROTO;
	}
	ret_msg->type = (enum msg_type)le16_get(h.type);
	ret_msg->tag = le32_get(h.tag);
	ret_msg->body = body;
	return (int64_t)(sizeof(h) + body_len);
}

int msg_encode(struct buf *out, enum msg_type type, uint32_t tag, const json_t *body)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("{}");
	if (!text)
		return -ENOMEM;
	size_t len = strlen(text);
	if (len > MSG_PAYLOAD_MAX) {
		free(text);
		return -EMSGSIZE;
	}
	struct msg_header_msg h = {
		.magic = le32_of(MSG_MAGIC),
		.type = le16_of((uint16_t)type),
		.tag = le32_of(tag),
		.len = le32_of((uint32_t)len),
	};
	buf_add(out, &h, sizeof(h));
	buf_add(out, text, len);
	free(text);
	return out->error;
}

int msg_read(struct channel *ch)
{
	return channel_read(ch, sizeof(struct msg_header_msg) + MSG_PAYLOAD_MAX - 1);
}

int msg_next(struct channel *ch, struct msg *ret_msg)
{
	int64_t used = msg_decode((const uint8_t *)ch->in.data, ch->in.len, ret_msg);
	if (used <= 0)
		return (int)used;
	buf_consume(&ch->in, (size_t)used);
	return 1;
}

int msg_send(struct channel *ch, enum msg_type type, uint32_t tag, json_t *body)
{
	int rc = ch->out.len > OUT_MAX ? -ENOBUFS : msg_encode(&ch->out, type, tag, body);
	json_decref(body);
	return rc < 0 ? rc : channel_flush(ch);
}

int msg_reply(struct channel *ch, uint32_t tag, int result, const char *sentence,
	      json_t *body)
{
	json_t *reply = body ? body : json_object();
	if (!reply)
		return -ENOMEM;
	if (json_object_set_new(reply, "result", json_integer(result)) < 0 ||
	    (sentence &&
	     json_object_set_new(reply, "error", json_string(sentence)) < 0)) {
		json_decref(reply);
		return -ENOMEM;
	}
	return msg_send(ch, MSG_REPLY, tag, reply);
}

/* ---- a client's question ---- */

static int wait_for(int sock, short events, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = sock, .events = events };
		uint64_t now = clock_now();
		int timeout_ms = -1;
		if (deadline != NO_DEADLINE) {
			if (now >= deadline)
				return -ETIMEDOUT;
			timeout_ms = (int)div_up(deadline - now, NS_PER_MS);
		}
		int n = poll(&p, 1, timeout_ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int exchange(struct channel *ch, uint64_t deadline, struct msg *ret_msg)
{
	int rc = 0;
	while (rc == 0 && channel_has_output(ch)) {
		rc = wait_for(ch->sock, POLLOUT, deadline);
		if (rc == 0)
			rc = channel_flush(ch);
	}
	while (rc == 0) {
		rc = msg_next(ch, ret_msg);
		if (rc)
			break;
		rc = wait_for(ch->sock, POLLIN, deadline);
		if (rc == 0)
			rc = msg_read(ch);
		/* The peer may have answered and gone. */
		if (rc == -ECONNRESET && msg_next(ch, ret_msg) == 1)
			rc = 1;
	}
	return rc < 0 ? rc : 0;
}

int msg_call(const char *path, enum msg_type type, json_t *body, unsigned int timeout_s,
	     json_t **ret_reply)
{
	struct channel ch;
	struct msg m;
	int sock = sock_connect(path);
	if (sock < 0) {
		json_decref(body);
		return sock == -ENOENT ? -ECONNREFUSED : sock;
	}
	channel_init(&ch, sock);
	uint64_t deadline = timeout_s ? clock_now() + timeout_s * NS_PER_S : NO_DEADLINE;
	int rc = msg_send(&ch, type, 1, body);
	if (rc == 0)
		rc = exchange(&ch, deadline, &m);
	if (rc == 0 && (m.type != MSG_REPLY || m.tag != 1)) {
		json_decref(m.body);
		rc = -EPROTO;
	}
	if (rc == 0)
		*ret_reply = m.body;
	channel_done(&ch);
	return rc;
}

const char *msg_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

const char *msg_default_socket(void)
{
	const char *path = getenv("VMKERNEL_SOCKET");
	return path && *path ? path : "/run/vmkernel/vmkernel.sock";
}
