/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A datagram for each word, to a path or, with @ before it, to an abstract name. One that
 * does not get through is as if it had not been said: the manager then does what it does
 * with a host that is silent.
 */
#include "vmkernel/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/parse.h"

#define US_PER_S 1000000u
#define WATCHDOG_MAX_US (3600ull * US_PER_S)

struct notify {
	struct sockaddr_un to;
	socklen_t to_len;
	int sock, timer; /* -1: none */
	uint64_t watchdog_us; /* 0: nobody waits for it */
	struct loop_watch *watch;
};

static void tell(const struct notify *n, const char *text)
{
	(void)!sendto(n->sock, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
		      (const struct sockaddr *)&n->to, n->to_len);
}

static int set_address(struct notify *n, const char *path)
{
	size_t len = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || len < 2 ||
	    len >= sizeof(n->to.sun_path))
		return -EINVAL;
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, path, len);
	if (path[0] == '@')
		n->to.sun_path[0] = '\0';
	n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len +
				(path[0] == '/'));
	return 0;
}

/* Is the watchdog ours to feed? */
static int read_watchdog(struct notify *n)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t who = (uint64_t)getpid();
	if (!us || (pid && (parse_u64(pid, INT32_MAX, &who) < 0 ||
			    who != (uint64_t)getpid())))
		return 0;
	return parse_u64(us, WATCHDOG_MAX_US, &n->watchdog_us);
}

int notify_open(struct reporter *r, struct notify **ret)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct notify *n = path ? calloc(1, sizeof(*n)) : NULL;
	*ret = NULL;
	if (!path)
		return 0;
	if (!n)
		return -ENOMEM;
	n->sock = n->timer = -1;
	int rc = set_address(n, path);
	if (rc < 0)
		(void)report_error(r, rc, "NOTIFY_SOCKET=%s: not a socket's path", path);
	else if ((rc = read_watchdog(n)) < 0)
		(void)report_error(r, rc, "WATCHDOG_USEC=%s: not a time",
				   getenv("WATCHDOG_USEC"));
	else if ((n->sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
		rc = -errno;
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
	if (rc < 0) {
		notify_close(n);
		return rc;
	}
	*ret = n;
	return 0;
}

static void on_timer(void *arg, uint32_t events)
{
	struct notify *n = arg;
	uint64_t count;
	(void)events;
	(void)!read(n->timer, &count, sizeof(count)); /* how often does not matter */
	tell(n, "WATCHDOG=1");
}

/* Three times in the time after which we count as hung. */
static int start_watchdog(struct notify *n, struct loop *loop)
{
	uint64_t us = n->watchdog_us / 3;
	struct timespec every = { .tv_sec = (time_t)(us / US_PER_S),
				  .tv_nsec = (long)(us % US_PER_S * 1000) };
	const struct itimerspec when = { every, every };
	if (!us)
		return 0;
	n->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (n->timer < 0 || timerfd_settime(n->timer, 0, &when, NULL) < 0)
		return -errno;
	n->watch = loop_watch_new(loop, n->timer, EPOLLIN, on_timer, n);
	return n->watch ? 0 : -ENOMEM;
}

int notify_ready(struct notify *n, struct loop *loop)
{
	char text[64];
	int rc = n ? start_watchdog(n, loop) : 0;
	if (!n || rc < 0)
		return rc;
	(void)snprintf(text, sizeof(text), "READY=1\nMAINPID=%d", (int)getpid());
	tell(n, text);
	return 0;
}

void notify_stopping(struct notify *n)
{
	if (n)
		tell(n, "STOPPING=1");
}

void notify_close(struct notify *n)
{
	if (!n)
		return;
	loop_watch_free(n->watch);
	if (n->timer >= 0)
		(void)close(n->timer);
	if (n->sock >= 0)
		(void)close(n->sock);
	free(n);
}
