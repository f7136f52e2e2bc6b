/* SPDX-License-Identifier: Apache-2.0 */
/* A listening TCP socket. What is set on it here, each connection has from it. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "vdisk/export/export.h"

#define BACKLOG 16

/* The socket, or -errno. */
static int listen_at(const struct addrinfo *at)
{
	int one = 1;
	int sock = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
			  at->ai_protocol);
	if (sock < 0)
		return -errno;
	/* Only comfort: it works without them. */
	(void)setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	(void)setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (bind(sock, at->ai_addr, at->ai_addrlen) < 0 || listen(sock, BACKLOG) < 0) {
		int rc = -errno;
		(void)close(sock);
		return rc;
	}
	return sock;
}

static unsigned int port_of(int sock)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} at = { .any.sa_family = AF_UNSPEC };
	socklen_t len = sizeof(at);
	if (getsockname(sock, &at.any, &len) < 0)
		return 0;
	return ntohs(at.any.sa_family == AF_INET6 ? at.in6.sin6_port : at.in4.sin_port);
}

int listen_tcp(const char *address, const char *port, struct reporter *r,
	       unsigned int *ret_port)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE,
					.ai_socktype = SOCK_STREAM };
	struct addrinfo *found;
	int rc = getaddrinfo(address, port, &hints, &found);
	if (rc != 0)
		return report_error(r, -EINVAL, "%s port %s: %s", address, port,
				    gai_strerror(rc));
	int sock = -EADDRNOTAVAIL;
	for (const struct addrinfo *at = found; at && sock < 0; at = at->ai_next)
		sock = listen_at(at);
	freeaddrinfo(found);
	if (sock < 0)
		return report_error(r, sock, "%s port %s: %s", address, port,
				    strerror(-sock));
	*ret_port = port_of(sock);
	return sock;
}
