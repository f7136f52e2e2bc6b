/* SPDX-License-Identifier: Apache-2.0 */
/* A socket and a timer on the loop; who was heard of, and when. */
#include "vmkernel/ha/network.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/env.h"
#include "vmkernel/msg/sock.h"

#define HEARD_MAX 64u
#define DATAGRAM_MAGIC 0x4e414856u /* "VHAN" */

struct heartbeat_msg {
	le32 magic;	  /* 0x00 */
	le32 zero;	  /* 0x04 */
	uint8_t host[16]; /* 0x08 */
};
ONDISK_SIZE(struct heartbeat_msg, 24);

struct ha_network {
	struct uuid host;
	int sock, timer;
	struct loop_watch *sock_watch, *timer_watch;
	ha_network_next *next;
	void *arg;
	struct mutex m; /* of what follows */
	struct {
		struct uuid host;
		uint64_t at;
	} heard[HEARD_MAX];
	uint32_t heard_count;
};

static void note(struct ha_network *n, const struct uuid *host)
{
	uint32_t i = 0;
	mutex_lock(&n->m);
	while (i < n->heard_count && !uuid_equal(&n->heard[i].host, host))
		i++;
	if (i < HEARD_MAX) {
		n->heard[i].host = *host;
		n->heard[i].at = clock_now();
		n->heard_count += i == n->heard_count;
	}
	mutex_unlock(&n->m);
}

uint64_t ha_network_heard(struct ha_network *n, const struct uuid *host)
{
	uint64_t at = 0;
	mutex_lock(&n->m);
	for (uint32_t i = 0; i < n->heard_count; i++)
		if (uuid_equal(&n->heard[i].host, host))
			at = n->heard[i].at;
	mutex_unlock(&n->m);
	return at;
}

static void on_datagram(void *arg, uint32_t events)
{
	struct ha_network *n = arg;
	struct heartbeat_msg msg;
	struct uuid host;
	ssize_t len;
	(void)events;
	while ((len = recv(n->sock, &msg, sizeof(msg), MSG_DONTWAIT)) >= 0) {
		if (len != (ssize_t)sizeof(msg) || le32_get(msg.magic) != DATAGRAM_MAGIC)
			continue;
		memcpy(host.b, msg.host, sizeof(host.b));
		note(n, &host);
	}
}

static void send_to(struct ha_network *n, const char *text)
{
	struct heartbeat_msg msg = { .magic = le32_of(DATAGRAM_MAGIC) };
	struct addrinfo *to;
	memcpy(msg.host, n->host.b, sizeof(msg.host));
	if (sock_address(text, SOCK_DGRAM, false, &to) < 0)
		return;
	/* One that is lost is followed by the next. */
	(void)!sendto(n->sock, &msg, sizeof(msg), MSG_DONTWAIT, to->ai_addr,
		      to->ai_addrlen);
	freeaddrinfo(to);
}

static void on_timer(void *arg, uint32_t events)
{
	struct ha_network *n = arg;
	uint64_t count;
	char text[64];
	(void)events;
	(void)!read(n->timer, &count, sizeof(count)); /* how often does not matter */
	for (uint32_t i = 0; n->next(n->arg, i, text, sizeof(text)); i++)
		send_to(n, text);
}

static int open_socket(struct ha_network *n, const char *address)
{
	struct addrinfo *own;
	int rc = sock_address(address, SOCK_DGRAM, true, &own);
	if (rc < 0)
		return rc;
	n->sock = socket(own->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->sock < 0 || bind(n->sock, own->ai_addr, own->ai_addrlen) < 0)
		rc = -errno;
	freeaddrinfo(own);
	return rc;
}

static int watch(struct ha_network *n, struct loop *loop)
{
	const struct itimerspec second = { .it_value.tv_sec = 1,
					   .it_interval.tv_sec = 1 };
	n->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (n->timer < 0 || timerfd_settime(n->timer, 0, &second, NULL) < 0)
		return -errno;
	n->timer_watch = loop_watch_new(loop, n->timer, EPOLLIN, on_timer, n);
	n->sock_watch = loop_watch_new(loop, n->sock, EPOLLIN, on_datagram, n);
	return n->timer_watch && n->sock_watch ? 0 : -ENOMEM;
}

int ha_network_open(struct loop *loop, const char *address, const struct uuid *host,
		    ha_network_next *next, void *arg, struct reporter *r,
		    struct ha_network **ret)
{
	struct ha_network *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->host = *host;
	n->sock = n->timer = -1;
	n->next = next;
	n->arg = arg;
	mutex_init(&n->m);
	int rc = open_socket(n, address);
	if (rc == 0)
		rc = watch(n, loop);
	if (rc < 0) {
		ha_network_close(n);
		return report_error(r, rc, "ha_address = %s: %s", address, strerror(-rc));
	}
	*ret = n;
	return 0;
}

void ha_network_close(struct ha_network *n)
{
	if (!n)
		return;
	loop_watch_free(n->sock_watch);
	loop_watch_free(n->timer_watch);
	if (n->sock >= 0)
		(void)close(n->sock);
	if (n->timer >= 0)
		(void)close(n->timer);
	mutex_done(&n->m);
	free(n);
}
