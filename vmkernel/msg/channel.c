/* SPDX-License-Identifier: Apache-2.0 */
#include "vmkernel/msg/channel.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 4096u

void channel_init(struct channel *ch, int sock)
{
	*ch = (struct channel){ .sock = sock, .pass_fd = -1, .got_fd = -1 };
}

void channel_done(struct channel *ch)
{
	if (ch->sock >= 0 && ch->pass_fd >= 0)
		(void)close(ch->pass_fd);
	if (ch->sock >= 0 && ch->got_fd >= 0)
		(void)close(ch->got_fd);
	if (ch->sock >= 0)
		(void)close(ch->sock);
	ch->sock = ch->pass_fd = ch->got_fd = -1;
	buf_done(&ch->in);
	buf_done(&ch->out);
}

union control {
	struct cmsghdr head; /* for its alignment */
	char bytes[CMSG_SPACE(sizeof(int))];
};

void channel_pass(struct channel *ch, int file_fd)
{
	assert(ch->pass_fd < 0);
	ch->pass_fd = file_fd;
}

int channel_take_fd(struct channel *ch)
{
	int file_fd = ch->got_fd;
	ch->got_fd = -1;
	return file_fd;
}

static void keep_fd(struct channel *ch, struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return;
	if (ch->got_fd >= 0)
		(void)close(ch->got_fd);
	memcpy(&ch->got_fd, CMSG_DATA(c), sizeof(int));
}

static ssize_t receive(struct channel *ch, void *bytes, size_t size)
{
	union control control;
	struct iovec iov = { bytes, size };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    /* no room for a second one */
			    .msg_controllen = CMSG_LEN(sizeof(int)) };
	ssize_t n = recvmsg(ch->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n > 0)
		keep_fd(ch, &m);
	return n;
}

static ssize_t send_out(struct channel *ch)
{
	union control control = { .bytes = { 0 } };
	struct iovec iov = { ch->out.data, ch->out.len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (ch->pass_fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &ch->pass_fd, sizeof(int));
	}
	ssize_t n = sendmsg(ch->sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0 && ch->pass_fd >= 0) {
		(void)close(ch->pass_fd);
		ch->pass_fd = -1;
	}
	return n;
}

int channel_read(struct channel *ch, size_t most)
{
	char bytes[READ_SIZE];
	if (ch->sock < 0)
		return -ECONNRESET;
	while (ch->in.len <= most) {
		ssize_t n = receive(ch, bytes, sizeof(bytes));
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
		ssize_t n = send_out(ch);
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
