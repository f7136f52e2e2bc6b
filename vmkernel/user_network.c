/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For each card a passt(1), a program that is a router to the guest and, to this host's
 * kernel, a user that opens connections: no bridge, no address of the network's and no
 * privilege is needed. It is in the host's network, where QEMU is not, and they speak
 * through the two ends of one socket; so it is there as long as QEMU is, as a tap is:
 * also without us, and not a moment longer.
 *
 * What it does not do for a guest:
 *
 *	- lead to the host's loopback (--no-map-gw), where services trust who comes;
 *	- let anything in that the guest did not begin (-t none, -u none).
 *
 * It changes from root to nobody by itself and to a namespace in which there are no
 * files. It is not the VM's user: a QEMU that its guest has taken over cannot touch it.
 *
 * All guests see the same small network, with the same router's address, so that a guest
 * that is moved or resumed elsewhere has what it was told; its connections, which are the
 * host's, end with that.
 */
#include "vmkernel/user_network.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "vmkernel/child.h"

#define FD_MIN 64 /* beyond the numbers that vmx gets them under */
#define PASST_FD 3
#define START_LIMIT (5 * NS_PER_S)
#define END_MS 50 /* between what it complains of and its end */

/*
 * Its number may be another's as soon as who waits for children has had its end:
 * ret_pidfd is its own, or -1.
 */
static int start(int sock, int complaint_fd, int *ret_pidfd)
{
	char *argv[] = { "passt",     "--quiet", "--fd", "3",	 "--no-map-gw",
			 "-t",	      "none",	 "-u",	 "none", "--ipv4-only",
			 "--address", "10.0.2.15", "--netmask", "24", "--gateway",
			 "10.0.2.2",  "--mac-addr", "52:55:0a:00:02:02", NULL };
	const struct child_fd fds[] = { { complaint_fd, 2 }, { sock, PASST_FD } };
	pid_t pid; /* the one that goes to the background */
	int rc = child_start(argv, fds, ARRAY_SIZE(fds), &pid);

	*ret_pidfd = rc < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	return rc;
}

/*
 * All that it says until it is in the background, or has ended: at most size - 1 bytes.
 */
static int hear(int complaint_fd, char *ret_text, uint32_t size)
{
	struct pollfd p = { .fd = complaint_fd, .events = POLLIN };
	uint64_t until = clock_now() + START_LIMIT, now;
	uint32_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len + 1 < size) {
		now = clock_now();
		if (now >= until ||
		    poll(&p, 1, (int)div_up(until - now, NS_PER_MS)) != 1)
			return -ETIMEDOUT;
		n = read(complaint_fd, ret_text + len, size - 1 - len);
		len += n > 0 ? (uint32_t)n : 0;
	}
	ret_text[len] = '\0';
	return 0;
}

/* Puts the last line in place of all of them. */
static void keep_last_line(char *text)
{
	size_t len = strlen(text);

	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	const char *last = strrchr(text, '\n');
	if (last)
		memmove(text, last + 1, strlen(last));
}

/* It has its end of the socket, which is closed here. */
static int await_start(int ours, int complaint_fd, int pidfd, char *ret_why,
		       uint32_t size)
{
	struct pollfd p = { .fd = ours };
	int rc = hear(complaint_fd, ret_why, size);

	if (rc < 0) {
		(void)snprintf(ret_why, size, "passt does not start");
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		return rc;
	}
	if (poll(&p, 1, END_MS) == 0)
		return 0;
	keep_last_line(ret_why);
	return -ENETUNREACH;
}

/* The descriptor of a passt that runs. */
static int open_pair(const int pair[static 2], int complaint[static 2], char *ret_why,
		     uint32_t size)
{
	int pidfd, far_fd;
	int rc = start(pair[1], complaint[1], &pidfd);

	(void)close(pair[1]);
	(void)close(complaint[1]);
	if (rc < 0)
		(void)snprintf(ret_why, size, "passt: %s",
			       rc == -ENOENT ? "is not installed" : strerror(-rc));
	else
		rc = await_start(pair[0], complaint[0], pidfd, ret_why, size);
	if (pidfd >= 0)
		(void)close(pidfd);
	if (rc < 0)
		return rc;
	far_fd = fcntl(pair[0], F_DUPFD_CLOEXEC, FD_MIN);
	return far_fd < 0 ? -errno : far_fd;
}

int user_network_open(char *ret_why, uint32_t size)
{
	int pair[2], complaint[2];

	ret_why[0] = '\0';
	if (pipe2(complaint, O_CLOEXEC) < 0)
		return -errno;
	int rc = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		rc = -errno;
	if (rc == 0) {
		rc = open_pair(pair, complaint, ret_why, size);
		(void)close(pair[0]);
	} else {
		(void)close(complaint[1]);
	}
	(void)close(complaint[0]);
	return rc;
}
