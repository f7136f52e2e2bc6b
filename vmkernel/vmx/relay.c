/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes are not looked at: who gets in, and what is a websocket, is QEMU's. Each way has
 * one buffer, which is filled when it is empty; a viewer that does not read stops only
 * its own. An end that is closed closes the other, once what it sent is on its way.
 */
#include "vmkernel/vmx/relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"

#define PAIRS_MAX 8u
#define BUFFER_SIZE 16384u

struct way {
	char bytes[BUFFER_SIZE];
	size_t from, len; /* what is still to be sent */
	bool is_over;	  /* nothing more comes */
};

struct pair {
	int socks[2];	    /* the viewer's, QEMU's; -1: the place is free */
	struct way ways[2]; /* from socks[0], from socks[1] */
};

struct relay {
	int socks[VNC_PORTS], stop_fd;
	uint16_t targets[VNC_PORTS];
	struct task *task;
	struct pair pairs[PAIRS_MAX];
};

static void cut(struct pair *p)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (p->socks[i] >= 0)
			(void)close(p->socks[i]);
		p->socks[i] = -1;
		p->ways[i].from = p->ways[i].len = 0;
		p->ways[i].is_over = false;
	}
}

/* Connecting on the loopback is done, or refused, at once. */
static void meet(struct relay *r, unsigned int i)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(r->targets[i]),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct pair *p = NULL;
	int sock = accept4(r->socks[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock < 0)
		return;
	for (unsigned int k = 0; !p && k < PAIRS_MAX; k++)
		p = r->pairs[k].socks[0] < 0 ? &r->pairs[k] : NULL;
	if (!p) {
		(void)close(sock);
		return;
	}
	p->socks[0] = sock;
	p->socks[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->socks[1] < 0 ||
	    (connect(p->socks[1], (struct sockaddr *)&to, sizeof(to)) < 0 &&
	     errno != EINPROGRESS))
		cut(p);
}

/* false: this pair has ended. */
static bool push(struct pair *p, unsigned int i)
{
	struct way *w = &p->ways[i];
	ssize_t n;
	if (!w->len && !w->is_over) {
		w->from = 0;
		n = recv(p->socks[i], w->bytes, BUFFER_SIZE, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		w->is_over = n == 0;
		w->len = (size_t)n;
	}
	if (w->len) {
		n = send(p->socks[1 - i], w->bytes + w->from, w->len,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		w->from += (size_t)n;
		w->len -= (size_t)n;
	}
	return !w->is_over || w->len;
}

static short wanted(const struct pair *p, unsigned int i)
{
	return (short)((!p->ways[i].len && !p->ways[i].is_over ? POLLIN : 0) |
		       (p->ways[1 - i].len ? POLLOUT : 0));
}

static void run(void *arg)
{
	struct relay *r = arg;
	struct pollfd p[1 + VNC_PORTS + 2 * PAIRS_MAX];
	for (;;) {
		unsigned int n = 0;
		p[n++] = (struct pollfd){ r->stop_fd, POLLIN, 0 };
		for (unsigned int i = 0; i < VNC_PORTS; i++)
			p[n++] = (struct pollfd){ r->socks[i], POLLIN, 0 };
		for (unsigned int i = 0; i < 2 * PAIRS_MAX; i++)
			p[n++] = (struct pollfd){ r->pairs[i / 2].socks[i % 2],
						  wanted(&r->pairs[i / 2], i % 2), 0 };
		if (poll(p, n, -1) < 0)
			continue;
		if (p[0].revents)
			return;
		for (unsigned int i = 0; i < PAIRS_MAX; i++) {
			const struct pollfd *ends = &p[1 + VNC_PORTS + 2 * i];
			struct pair *pair = &r->pairs[i];
			if ((ends[0].revents || ends[1].revents) &&
			    (!push(pair, 0) || !push(pair, 1)))
				cut(pair);
		}
		for (unsigned int i = 0; i < VNC_PORTS; i++)
			if (p[1 + i].revents)
				meet(r, i);
	}
}

static void release(struct relay *r)
{
	for (unsigned int i = 0; i < PAIRS_MAX; i++)
		cut(&r->pairs[i]);
	for (unsigned int i = 0; i < VNC_PORTS; i++)
		if (r->socks[i] >= 0)
			(void)close(r->socks[i]);
	if (r->stop_fd >= 0)
		(void)close(r->stop_fd);
	free(r);
}

struct relay *relay_start(const int socks[static VNC_PORTS],
			  const uint16_t targets[static VNC_PORTS])
{
	struct relay *r = calloc(1, sizeof(*r));
	if (!r) {
		for (unsigned int i = 0; i < VNC_PORTS; i++)
			if (socks[i] >= 0)
				(void)close(socks[i]);
		return NULL;
	}
	memcpy(r->socks, socks, sizeof(r->socks));
	memcpy(r->targets, targets, sizeof(r->targets));
	for (unsigned int i = 0; i < PAIRS_MAX; i++)
		r->pairs[i].socks[0] = r->pairs[i].socks[1] = -1;
	r->stop_fd = eventfd(0, EFD_CLOEXEC);
	r->task = r->stop_fd < 0 ? NULL : task_start("relay", run, r);
	if (!r->task) {
		release(r);
		return NULL;
	}
	return r;
}

void relay_stop(struct relay *r)
{
	const uint64_t one = 1;
	if (!r)
		return;
	if (write(r->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		task_join(r->task);
	release(r);
}
