/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sun_path holds 108 bytes and state directories may be longer: the folder is opened and
 * the socket is addressed as /proc/self/fd/N/NAME.
 */
#include "vmkernel/msg/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

/* Fills *ret_addr for path; returns the folder's descriptor (to be closed after use). */
static int address_of(const char *path, struct sockaddr_un *ret_addr)
{
	char folder[4096];
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t len = slash ? (size_t)(slash - path) : 0;
	if (!*name || len >= sizeof(folder))
		return *name ? -ENAMETOOLONG : -EINVAL;
	memcpy(folder, path, len);
	memcpy(folder + len, "", 1);
	const char *dir = slash ? (len ? folder : "/") : ".";
	int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	*ret_addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(ret_addr->sun_path, sizeof(ret_addr->sun_path),
			 "/proc/self/fd/%d/%s", dir_fd, name);
	if (n < 0 || (size_t)n >= sizeof(ret_addr->sun_path)) {
		(void)close(dir_fd);
		return -ENAMETOOLONG;
	}
	return dir_fd;
}

/* Removes a socket that nobody listens on; anything else in the way is left there. */
static int remove_stale(const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	int sock = sock_connect(path);
	if (sock >= 0) {
		(void)close(sock);
		return -EADDRINUSE;
	}
	return unlink(path) < 0 ? -errno : 0;
}

int sock_listen(const char *path)
{
	struct sockaddr_un addr;
	int rc = remove_stale(path);
	if (rc < 0)
		return rc;
	int dir_fd = address_of(path, &addr);
	if (dir_fd < 0)
		return dir_fd;
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = sock < 0 ? -errno : 0;
	if (rc == 0 && (bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
			listen(sock, BACKLOG) < 0)) {
		rc = -errno;
		(void)close(sock);
	}
	(void)close(dir_fd);
	return rc < 0 ? rc : sock;
}

int sock_connect(const char *path)
{
	struct sockaddr_un addr;
	int dir_fd = address_of(path, &addr);
	if (dir_fd < 0)
		return dir_fd;
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = sock < 0 ? -errno : 0;
	if (rc == 0 && connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		rc = -errno;
		(void)close(sock);
	}
	(void)close(dir_fd);
	return rc < 0 ? rc : sock;
}

int sock_address(const char *text, int type, bool is_own, struct addrinfo **ret)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
					.ai_socktype = type,
					.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV |
						    (is_own ? AI_PASSIVE : 0) };
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return -EINVAL;
	(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	return getaddrinfo(host, colon + 1, &hints, ret) == 0 ? 0 : -EINVAL;
}

bool sock_is_one(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}
