/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A raw socket for each of the two kinds of addresses that there are, and a timer. An
 * answer is known by what we have sent: our number and a secret of this run. Whoever can
 * send us that may keep us from being isolated, and nothing else.
 */
#include "vmkernel/ha/ping.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/env.h"

#define TEXT_SIZE 64u

/* The same for ICMP and ICMPv6, but for its types. */
struct echo_msg {
	uint8_t type, code; /* 0x00 */
	be16 sum;	    /* 0x02 */
	be16 id, number;    /* 0x04 */
	uint8_t secret[8];  /* 0x08 */
};
ONDISK_SIZE(struct echo_msg, 16);

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

enum kind { KIND_4, KIND_6, KINDS };

struct ha_ping {
	union address to[HA_PINGS_MAX];
	unsigned int count;
	int socks[KINDS], timer;
	struct loop_watch *watches[KINDS], *timer_watch;
	uint8_t secret[8];
	uint16_t id, number;
	_Atomic uint64_t answered_at;
};

static int parse_one(const char *text, union address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &ret->in.sin_addr) == 1)
		ret->any.sa_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &ret->in6.sin6_addr) == 1)
		ret->any.sa_family = AF_INET6;
	else
		return -EINVAL;
	return 0;
}

static int parse_all(const char *text, union address to[static HA_PINGS_MAX])
{
	unsigned int count = 0;
	for (text += strspn(text, " ,"); *text; text += strspn(text, " ,")) {
		char one[TEXT_SIZE] = "";
		size_t len = strcspn(text, " ,");
		if (count == HA_PINGS_MAX || len >= sizeof(one))
			return -EINVAL;
		memcpy(one, text, len);
		if (parse_one(one, &to[count++]) < 0)
			return -EINVAL;
		text += len;
	}
	return (int)count;
}

int ha_ping_check(const char *addresses)
{
	union address to[HA_PINGS_MAX];
	return parse_all(addresses, to);
}

/* Of ICMP alone: the kernel makes ICMPv6's, which has the addresses in it. */
static uint16_t sum_of(const struct echo_msg *m)
{
	const uint8_t *at = (const uint8_t *)m;
	uint32_t sum = 0;
	for (size_t i = 0; i < sizeof(*m); i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void send_one(struct ha_ping *p, const union address *to)
{
	bool is_6 = to->any.sa_family == AF_INET6;
	struct echo_msg m = { .type = is_6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO,
			      .id = be16_of(p->id),
			      .number = be16_of(p->number) };
	memcpy(m.secret, p->secret, sizeof(m.secret));
	if (!is_6)
		m.sum = be16_of(sum_of(&m));
	/* One that is lost is followed by the next. */
	(void)!sendto(p->socks[is_6 ? KIND_6 : KIND_4], &m, sizeof(m), MSG_DONTWAIT,
		      &to->any, is_6 ? sizeof(to->in6) : sizeof(to->in));
}

static void on_timer(void *arg, uint32_t events)
{
	struct ha_ping *p = arg;
	uint64_t count;
	(void)events;
	(void)!read(p->timer, &count, sizeof(count)); /* how often does not matter */
	p->number++;
	for (unsigned int i = 0; i < p->count; i++)
		send_one(p, &p->to[i]);
}

/* len bytes as the socket gave them; ICMP's have their IP header in front. */
static bool is_answer(const struct ha_ping *p, enum kind kind, const uint8_t *in,
		      size_t len)
{
	struct echo_msg m;
	size_t head = kind == KIND_4 && len ? (size_t)(in[0] & 15) * 4 : 0;
	if (len < head + sizeof(m))
		return false;
	memcpy(&m, in + head, sizeof(m));
	return m.type == (kind == KIND_6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) &&
	       be16_get(m.id) == p->id &&
	       memcmp(m.secret, p->secret, sizeof(m.secret)) == 0;
}

static void take(struct ha_ping *p, enum kind kind)
{
	uint8_t in[256];
	ssize_t n;
	while ((n = recv(p->socks[kind], in, sizeof(in), MSG_DONTWAIT)) >= 0)
		if (is_answer(p, kind, in, (size_t)n))
			atomic_store(&p->answered_at, clock_now());
}

static void on_4(void *arg, uint32_t events)
{
	(void)events;
	take(arg, KIND_4);
}

static void on_6(void *arg, uint32_t events)
{
	(void)events;
	take(arg, KIND_6);
}

static int open_sock(struct ha_ping *p, struct loop *loop, enum kind kind)
{
	int type = SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK;
	int sock = kind == KIND_6 ? socket(AF_INET6, type, IPPROTO_ICMPV6) :
				    socket(AF_INET, type, IPPROTO_ICMP);
	if (sock < 0)
		return -errno;
	p->socks[kind] = sock;
	p->watches[kind] =
		loop_watch_new(loop, sock, EPOLLIN, kind == KIND_6 ? on_6 : on_4, p);
	return p->watches[kind] ? 0 : -ENOMEM;
}

static int open_all(struct ha_ping *p, struct loop *loop)
{
	const struct itimerspec second = { .it_value.tv_nsec = 1,
					   .it_interval.tv_sec = 1 };
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && i < p->count; i++) {
		enum kind kind = p->to[i].any.sa_family == AF_INET6 ? KIND_6 : KIND_4;
		if (p->socks[kind] < 0)
			rc = open_sock(p, loop, kind);
	}
	if (rc < 0)
		return rc;
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (p->timer < 0 || timerfd_settime(p->timer, 0, &second, NULL) < 0)
		return -errno;
	p->timer_watch = loop_watch_new(loop, p->timer, EPOLLIN, on_timer, p);
	return p->timer_watch ? 0 : -ENOMEM;
}

int ha_ping_open(struct loop *loop, const char *addresses, struct reporter *r,
		 struct ha_ping **ret)
{
	struct ha_ping *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	uint64_t secret = random_u64();
	memcpy(p->secret, &secret, sizeof(p->secret));
	p->id = (uint16_t)random_u64();
	p->socks[KIND_4] = p->socks[KIND_6] = p->timer = -1;
	int rc = parse_all(addresses, p->to);
	if (rc >= 0) {
		p->count = (unsigned int)rc;
		rc = open_all(p, loop);
	}
	if (rc < 0) {
		ha_ping_close(p);
		return report_error(r, rc, "ha_isolation_address = %s: %s", addresses,
				    strerror(-rc));
	}
	*ret = p;
	return 0;
}

void ha_ping_close(struct ha_ping *p)
{
	if (!p)
		return;
	for (enum kind kind = KIND_4; kind < KINDS; kind++) {
		loop_watch_free(p->watches[kind]);
		if (p->socks[kind] >= 0)
			(void)close(p->socks[kind]);
	}
	loop_watch_free(p->timer_watch);
	if (p->timer >= 0)
		(void)close(p->timer);
	free(p);
}

uint64_t ha_ping_answered(const struct ha_ping *p)
{
	return p ? atomic_load(&p->answered_at) : 0;
}
