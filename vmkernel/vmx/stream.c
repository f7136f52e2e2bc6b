/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task of its own: TLS blocks, and vmx must not. QEMU has one end of a pair of sockets,
 * the task the other. When either side goes, the other's end is closed, so that QEMU and
 * the other host see a stream that is cut: only the sender's end of it (tls_end) makes it
 * whole.
 */
#include "vmkernel/vmx/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"

#define PIECE (256u << 10)

struct stream {
	bool is_out;
	struct tls_options options;
	struct tls_identity identity;
	char *authority, *name;
	int qemu_sock, event_fd;
	struct task *task;
	struct tls *tls;
	unsigned char *piece;
	int rc;
	char why[STREAM_WHY_SIZE];
};

static int fail(struct stream *s, int rc, const char *what)
{
	(void)snprintf(s->why, sizeof(s->why), "%s: %s", what, strerror(-rc));
	return rc;
}

static int write_all(int sock, const unsigned char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(sock, bytes, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The other host has nothing to say: a word from there is its end. */
static int pump_out(struct stream *s)
{
	struct pollfd p[] = { { .fd = s->qemu_sock, .events = POLLIN },
			      { .fd = tls_sock(s->tls), .events = POLLIN } };
	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return fail(s, -errno, "poll");
		if (p[1].revents && tls_read(s->tls, s->piece, PIECE) != -ETIMEDOUT)
			return fail(s, -ECONNRESET, "the other host does not listen");
		if (!p[0].revents)
			continue;
		ssize_t n = recv(s->qemu_sock, s->piece, PIECE, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(s, -errno, "from QEMU");
		int rc = n ? tls_write(s->tls, s->piece, (uint32_t)n) : tls_end(s->tls);
		if (rc < 0)
			return fail(s, rc, "to the other host");
		if (n == 0)
			return 0;
	}
}

static int pump_in(struct stream *s)
{
	for (;;) {
		int64_t n = tls_read(s->tls, s->piece, PIECE);
		if (n == 0)
			return 0;
		if (n == -ETIMEDOUT)
			continue; /* the sender is being slow */
		if (n < 0)
			return fail(s, (int)n, "from the other host");
		int rc = write_all(s->qemu_sock, s->piece, (size_t)n);
		if (rc < 0)
			return fail(s, rc, "to QEMU");
	}
}

static void run(void *arg)
{
	struct stream *s = arg;
	uint64_t one = 1;
	s->rc = tls_open(&s->options, &s->tls, s->why, sizeof(s->why));
	if (s->rc == 0)
		s->rc = s->is_out ? pump_out(s) : pump_in(s);
	(void)shutdown(s->qemu_sock, SHUT_RDWR);
	(void)shutdown(s->options.sock, s->rc ? SHUT_RDWR : SHUT_WR);
	ssize_t n = write(s->event_fd, &one, sizeof(one));
	(void)n; /* there is room for one */
}

static void stream_free(struct stream *s)
{
	if (s->tls)
		tls_free(s->tls);
	if (s->qemu_sock >= 0)
		(void)close(s->qemu_sock);
	if (s->event_fd >= 0)
		(void)close(s->event_fd);
	tls_identity_done(&s->identity);
	free(s->authority);
	free(s->name);
	free(s->piece);
	free(s);
}

static struct stream *stream_new(const struct stream_options *o)
{
	struct stream *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->qemu_sock = -1;
	s->is_out = o->is_out;
	s->identity.key = strdup(o->tls.own->key);
	s->identity.cert = strdup(o->tls.own->cert);
	s->authority = strdup(o->tls.peer_authority);
	s->name = strdup(o->tls.peer_name);
	s->piece = malloc(PIECE);
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->options = o->tls;
	s->options.own = &s->identity;
	s->options.peer_authority = s->authority;
	s->options.peer_name = s->name;
	if (s->identity.key && s->identity.cert && s->authority && s->name && s->piece &&
	    s->event_fd >= 0)
		return s;
	stream_free(s);
	return NULL;
}

int stream_start(const struct stream_options *options, struct stream **ret,
		 int *ret_qemu_fd)
{
	int pair[2];
	struct stream *s = stream_new(options);
	if (!s)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		int rc = -errno;
		stream_free(s);
		return rc;
	}
	s->qemu_sock = pair[0];
	s->task = task_start("stream", run, s);
	if (!s->task) {
		stream_free(s);
		(void)close(pair[1]);
		return -ENOMEM;
	}
	*ret = s;
	*ret_qemu_fd = pair[1];
	return 0;
}

int stream_event(const struct stream *s)
{
	return s->event_fd;
}

int stream_stop(struct stream *s, char *ret_why)
{
	if (!s)
		return 0;
	/* Whatever it waits for, it waits no more; one that is over has done so. */
	(void)shutdown(s->options.sock, SHUT_RDWR);
	(void)shutdown(s->qemu_sock, SHUT_RDWR);
	task_join(s->task);
	int rc = s->rc;
	(void)snprintf(ret_why, STREAM_WHY_SIZE, "%s", s->why);
	if (!s->tls)
		(void)close(s->options.sock); /* not taken: no handshake */
	stream_free(s);
	return rc;
}
