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
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FD_MIN 64 /* beyond the numbers that vmx gets them under */
#define PASST_FD 3
#define START_LIMIT_MS 5000
#define END_MS 50 /* between what it complains of and its end */

extern char **environ;

static int start(int sock, int complaint_fd)
{
	char *argv[] = { "passt",     "--quiet", "--fd", "3",	 "--no-map-gw",
			 "-t",	      "none",	 "-u",	 "none", "--ipv4-only",
			 "--address", "10.0.2.15", "--netmask", "24", "--gateway",
			 "10.0.2.2",  "--mac-addr", "52:55:0a:00:02:02", NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid; /* the one that goes to the background; who waits for all, gets it */

	(void)sigemptyset(&none);
	int rc = posix_spawn_file_actions_init(&actions);
	if (rc)
		return -rc;
	rc = posix_spawnattr_init(&attr);
	if (rc == 0) {
		rc = posix_spawn_file_actions_adddup2(&actions, complaint_fd, 2);
		if (rc == 0)
			rc = posix_spawn_file_actions_adddup2(&actions, sock, PASST_FD);
		if (rc == 0)
			rc = posix_spawnattr_setsigmask(&attr, &none);
		if (rc == 0)
			rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
		if (rc == 0)
			rc = posix_spawnp(&pid, argv[0], &actions, &attr, argv, environ);
		(void)posix_spawnattr_destroy(&attr);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

/*
 * All that it says until it is in the background, or has ended: at most size - 1 bytes.
 */
static int hear(int complaint_fd, char *ret_text, uint32_t size)
{
	struct pollfd p = { .fd = complaint_fd, .events = POLLIN };
	uint32_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len + 1 < size) {
		if (poll(&p, 1, START_LIMIT_MS) != 1)
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
static int await_start(int ours, int complaint_fd, char *ret_why, uint32_t size)
{
	struct pollfd p = { .fd = ours };
	int rc = hear(complaint_fd, ret_why, size);

	if (rc < 0) {
		(void)snprintf(ret_why, size, "passt does not start");
		return rc;
	}
	if (poll(&p, 1, END_MS) == 0)
		return 0;
	keep_last_line(ret_why);
	return -ENETUNREACH;
}

int user_network_open(char *ret_why, uint32_t size)
{
	int pair[2] = { -1, -1 }, complaint[2];

	if (pipe2(complaint, O_CLOEXEC) < 0) {
		(void)snprintf(ret_why, size, "%s", strerror(errno));
		return -errno;
	}
	int rc =
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
	if (rc == 0) {
		rc = start(pair[1], complaint[1]);
		(void)close(pair[1]);
	}
	(void)close(complaint[1]);
	int far_fd = -1;
	if (rc < 0)
		(void)snprintf(ret_why, size, "passt: %s", strerror(-rc));
	else
		rc = await_start(pair[0], complaint[0], ret_why, size);
	if (rc == 0) {
		far_fd = fcntl(pair[0], F_DUPFD_CLOEXEC, FD_MIN);
		rc = far_fd < 0 ? -errno : 0;
		if (rc < 0)
			(void)snprintf(ret_why, size, "%s", strerror(-rc));
	}
	(void)close(complaint[0]);
	if (pair[0] >= 0)
		(void)close(pair[0]);
	return rc < 0 ? rc : far_fd;
}
