/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names are VMware's. QEMU lives in a network namespace of its own: vmkernel listens,
 * and vmx passes on (relay.c).
 */
#include "vmkernel/vmx/vnc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/parse.h"

#define PREFIX "RemoteDisplay.vnc."
#define ANY_IP "0.0.0.0"
#define BACKLOG 4

static bool is_ip(const char *text)
{
	unsigned char address[sizeof(struct in6_addr)];
	return inet_pton(AF_INET, text, address) == 1 ||
	       inet_pton(AF_INET6, text, address) == 1;
}

static int read_port(const struct vmxfile *f, const char *key, struct reporter *r,
		     uint32_t *ret)
{
	const char *text = vmxfile_get_or(f, key, "");
	uint64_t port;
	if (!*text)
		return 0;
	if (parse_u64(text, UINT16_MAX, &port) < 0 || port < 1024)
		return report_error(r, -EINVAL,
				    "%s = \"%s\": not a number from 1024 to 65535", key,
				    text);
	*ret = (uint32_t)port;
	return 0;
}

int vnc_read(const struct vmxfile *f, struct reporter *r, struct vm_vnc *ret)
{
	const char *ip = vmxfile_get_or(f, PREFIX "ip", ANY_IP);
	const char *password = vmxfile_get_or(f, PREFIX "password", "");
	struct vm_vnc vnc = { .is_on = vmxfile_is_true(f, PREFIX "enabled"),
			      .ports = { VNC_PORT } };
	if (vmxfile_get(f, "svga.present") && !vmxfile_is_true(f, "svga.present"))
		vnc.is_on = false;
	int rc = read_port(f, PREFIX "port", r, &vnc.ports[0]);
	if (rc == 0)
		rc = read_port(f, PREFIX "webSocket.port", r, &vnc.ports[1]);
	if (rc < 0)
		return vnc.is_on ? rc : 0;
	*ret = vnc;
	if (!vnc.is_on)
		return 0;
	if (vnc.ports[0] == vnc.ports[1])
		return report_error(r, -EINVAL, PREFIX "webSocket.port = \"%u\": is the "
				    "port of VNC without a websocket", vnc.ports[1]);
	if (!is_ip(ip) || strlen(ip) >= sizeof(vnc.ip))
		return report_error(r, -EINVAL, PREFIX "ip = \"%.64s\": is not an "
				    "address", ip);
	if (strlen(password) >= sizeof(vnc.password))
		return report_error(r, -EINVAL, PREFIX "password: is longer than 63 "
				    "bytes");
	memcpy(ret->ip, ip, strlen(ip) + 1);
	memcpy(ret->password, password, strlen(password) + 1);
	return 0;
}

int vnc_listen(const struct vm_vnc *vnc, unsigned int i)
{
	in_port_t port = htons((uint16_t)vnc->ports[i]);
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = port };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = port };
	bool is_v6 = inet_pton(AF_INET6, vnc->ip, &v6.sin6_addr) == 1;
	const struct sockaddr *address = is_v6 ? (void *)&v6 : (void *)&v4;
	int on = 1, rc = 0;
	if (!is_v6 && inet_pton(AF_INET, vnc->ip, &v4.sin_addr) != 1)
		return -EINVAL;
	int sock = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			  0);
	if (sock < 0)
		return -errno;
	if (setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(sock, address, is_v6 ? sizeof(v6) : sizeof(v4)) < 0 ||
	    listen(sock, BACKLOG) < 0) {
		rc = -errno;
		(void)close(sock);
	}
	return rc ? rc : sock;
}
