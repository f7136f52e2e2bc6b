/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any messages to the guard's process, and any words in its page (bdev/guard_process.c):
 * it ends, keeps no descriptor that it was given, answers nothing but 0 and -errno, and
 * kills main only when a lease of the page is over and not acknowledged.
 *
 * Byte 0: for how many rounds it is served before main is gone. Each round 8 bytes:
 * request, lease, number of the socket, flags (bit 0 a socket comes with it, bit 1 a
 * message of a wrong length, bit 2 two sockets, bit 3 BYE if it is the last); which
 * lease's words change, how (bit 0 renewed, bit 1 acknowledged, bit 2 a long patience),
 * its cut_ns and the seconds that pass. The linker gives us poll(), the clock and the
 * signal (tests.mk), so one round is one turn of the guard's loop.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"
#include "bdev/guard_impl.h"
#include "tests/fuzz/target.h"

#define ROUND_SIZE 8u
#define ROUNDS_MAX 64u

static struct guard_page page;
static const uint8_t *input;
static size_t left;
static uint64_t now;
static int main_sock = -1;

uint64_t __wrap_clock_now(void);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned int flags);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);

uint64_t __wrap_clock_now(void)
{
	return now;
}

static bool is_over(const struct guard_lease_words *w)
{
	uint64_t renewed = atomic_load(&w->renewed);
	return now >= renewed + w->cut_ns && atomic_load(&w->acknowledged) != renewed;
}

int __wrap_pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned int flags)
{
	bool is_any_over = false;
	(void)fd;
	(void)info;
	(void)flags;
	demand(signal == SIGKILL);
	for (unsigned int i = 0; i < GUARD_LEASES_MAX; i++)
		is_any_over |= is_over(&page.lease[i]);
	demand(is_any_over);
	return 0;
}

static void hear_answers(void)
{
	int answer;
	ssize_t n;
	while ((n = recv(main_sock, &answer, sizeof(answer), MSG_DONTWAIT)) > 0)
		demand(n == (ssize_t)sizeof(answer) && answer <= 0 && answer > -200);
}

static void send_message(const struct guard_message *m, size_t len, unsigned int sockets)
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { .buf = { 0 } };
	struct guard_message copy = *m;
	struct iovec iov = { &copy, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int ends[2] = { -1, -1 };
	if (sockets && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sockets * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sockets * sizeof(int));
		memcpy(CMSG_DATA(c), ends, sockets * sizeof(int));
	}
	(void)sendmsg(main_sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	for (unsigned int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			(void)close(ends[i]);
}

static void change_words(const uint8_t *in)
{
	struct guard_lease_words *w = &page.lease[in[4] % GUARD_LEASES_MAX];
	if (in[5] & 1)
		atomic_store(&w->renewed, now);
	if (in[5] & 2)
		atomic_store(&w->acknowledged, atomic_load(&w->renewed));
	w->ack_ns = in[5] & 4 ? UINT64_MAX / 4 : NS_PER_S;
	w->cut_ns = (in[6] >> 4) * NS_PER_S;
	w->has_sockets_only = in[5] & 8;
	now += (in[6] & 15) * NS_PER_S + in[7];
}

/* One round: something to be read, or the end. */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	(void)timeout;
	hear_answers();
	if (left < ROUND_SIZE) {
		if (main_sock >= 0)
			(void)close(main_sock);
		main_sock = -1;
		return __real_poll(fds, count, -1);
	}
	struct guard_message m = { .request = input[0] % 7u,
				   .lease = input[1],
				   .id = input[2] };
	bool is_last = left < 2 * ROUND_SIZE;
	if (is_last && input[3] & 8)
		m.request = GUARD_BYE;
	change_words(input);
	send_message(&m, input[3] & 2 ? input[3] % sizeof(m) : sizeof(m),
		     input[3] & 1 ? 1u + (input[3] >> 2 & 1u) : 0);
	input += ROUND_SIZE;
	left -= ROUND_SIZE;
	return __real_poll(fds, count, 0);
}

static unsigned int open_descriptors(void)
{
	unsigned int count = 0;
	DIR *dir = opendir("/proc/self/fd");
	demand(dir != NULL);
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guard_process *p;
	int ends[2], main_pipe[2]; /* the pipe stands for main's descriptor */
	if (size < 1)
		return 0;
	unsigned int before = open_descriptors();
	memset(&page, 0, sizeof(page));
	now = NS_PER_S;
	input = data + 1;
	left = size - 1;
	if (left > data[0] % ROUNDS_MAX * ROUND_SIZE)
		left = data[0] % ROUNDS_MAX * ROUND_SIZE;
	demand(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	demand(pipe(main_pipe) == 0);
	main_sock = ends[0];
	demand(guard_process_new(ends[1], main_pipe[0], &page, NULL, &p) == 0);
	guard_process_serve(p);
	if (main_sock >= 0)
		(void)close(main_sock);
	(void)close(ends[1]);
	(void)close(main_pipe[0]);
	(void)close(main_pipe[1]);
	demand(open_descriptors() == before);
	return 0;
}
