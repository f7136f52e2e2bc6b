/* SPDX-License-Identifier: Apache-2.0 */
#include "vmkernel/msg/channel.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 4096u

void channel_init(struct channel *ch, int sock)
{
	*ch = (struct channel){ .sock = sock };
}

void channel_done(struct channel *ch)
{
	if (ch->sock >= 0)
		(void)close(ch->sock);
	ch->sock = -1;
	buf_done(&ch->in);
	buf_done(&ch->out);
}

int channel_read(struct channel *ch, size_t most)
{
	char bytes[READ_SIZE];
	if (ch->sock < 0)
		return -ECONNRESET;
	while (ch->in.len <= most) {
		ssize_t n = recv(ch->sock, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		buf_add(&ch->in, bytes, (size_t)n);
		if (ch->in.error)
			return ch->in.error;
	}
	return 0;
}

int channel_flush(struct channel *ch)
{
	while (ch->out.len) {
		if (ch->sock < 0)
			return -ECONNRESET;
		ssize_t n = send(ch->sock, ch->out.data, ch->out.len,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		buf_consume(&ch->out, (size_t)n);
	}
	return 0;
}

bool channel_has_output(const struct channel *ch)
{
	return ch->out.len > 0;
}
