/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes on a control socket. The first byte says in which pieces they come; bit 7:
 * the rest gets good headers, so that the JSON is looked at. What is decoded encodes
 * again and is then the same.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "tests/fuzz/target.h"
#include "vmkernel/msg/msg.h"

static void again(const struct msg *m)
{
	struct buf out = { 0 };
	struct msg copy;
	if (msg_encode(&out, m->type, m->tag, m->body) == 0) {
		int64_t used = msg_decode((const uint8_t *)out.data, out.len, &copy);
		demand(used == (int64_t)out.len);
		demand(copy.type == m->type && copy.tag == m->tag);
		demand(json_equal(copy.body, m->body));
		json_decref(copy.body);
	}
	buf_done(&out);
}

static int take_all(struct channel *ch)
{
	struct msg m;
	int rc = msg_read(ch);
	if (rc < 0)
		return rc;
	while ((rc = msg_next(ch, &m)) == 1) {
		again(&m);
		json_decref(m.body);
	}
	demand(ch->in.len <= MSG_PAYLOAD_MAX + (16u << 10));
	return rc;
}

/* false: the channel was closed. */
static bool feed(struct channel *ch, int sock, const void *bytes, size_t len,
		 size_t step)
{
	for (size_t at = 0; at < len; at += step) {
		size_t n = min_u64(step, len - at);
		demand(send(sock, (const char *)bytes + at, n, MSG_DONTWAIT) ==
		       (ssize_t)n);
		if (take_all(ch) < 0)
			return false;
	}
	return true;
}

static void feed_framed(struct channel *ch, int sock, const uint8_t *data,
			size_t size, size_t step)
{
	while (size >= 3) {
		size_t len = min_u64(data[0] | (data[1] & 3u) << 8, size - 2);
		struct msg_header_msg h = {
			.magic = le32_of(MSG_MAGIC),
			.type = le16_of(data[1]),
			.tag = le32_of(data[0]),
			.len = le32_of((uint32_t)len),
		};
		if (!feed(ch, sock, &h, sizeof(h), step) ||
		    !feed(ch, sock, data + 2, len, step))
			return;
		data += 2 + len;
		size -= 2 + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int socks[2];
	struct channel ch;
	if (size < 2)
		return 0;
	demand(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) == 0);
	channel_init(&ch, socks[0]);
	size_t step = (data[0] & 0x7fu) * 16u + 1;
	if (data[0] & 0x80)
		feed_framed(&ch, socks[1], data + 1, size - 1, step);
	else
		(void)feed(&ch, socks[1], data + 1, size - 1, step);
	channel_done(&ch);
	(void)close(socks[1]);
	return 0;
}
