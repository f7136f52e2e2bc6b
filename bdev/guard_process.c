/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's own process: one task, nothing allocated after its start, memory locked,
 * real-time priority where it is allowed.
 *
 *                    renewed                        acknowledged
 *        WHOLE <------------------ CUT ------------------------------> CUT, main lives on
 *          |  age >= cut_ns         ^ |  not within ack_ns
 *          '------------------------' '-----------------> main is killed
 *
 * Invariants:
 *  1 a lease is cut once for each value of `renewed`: sockets that main adds after the
 *    cut, to reclaim the lease, are left alone until the next one;
 *  2 connect(AF_UNSPEC) before shutdown(): the peer gets a reset, what stands in the
 *    socket's buffer is thrown away (LOCKING.md 1.3). The shutdown after it delivers
 *    nothing; it stays with the socket, so that one which main was only about to connect
 *    cannot be sent on either. Until main has acknowledged, it gets no new ones;
 *  3 main is named by a file descriptor (pidfd): no other process is ever killed, and its
 *    death is seen however it comes about. A death signal (PR_SET_PDEATHSIG) would come
 *    with the death of a thread;
 *  4 it exits only after the sockets of all leases are reset, but for GUARD_BYE;
 *  5 the watchdog is fed only while every lease is WHOLE, or is CUT and acknowledged and
 *    nothing of it can be outside of the sockets. It is put to sleep only when all leases
 *    have ended or nothing of them can land.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "bdev/guard_impl.h"

#define PRIORITY 50
#define FEED_NS (2 * NS_PER_S)
#define WATCHDOG_S 10

struct held_socket {
	uint64_t id;
	uint32_t lease;
	int fd; /* -1: a free place */
};

struct guard_process {
	struct guard_page *page;
	int sock, main_fd, timer_fd, watchdog_fd; /* the last: -1 if there is none */
	bool is_active[GUARD_LEASES_MAX];
	uint64_t cut_at[GUARD_LEASES_MAX]; /* when it was cut; 0: it is whole */
	uint64_t fed;
	struct held_socket sockets[GUARD_SOCKETS_MAX];
};

static void say(const char *what)
{
	/* Nobody is there to be told if this fails. */
	(void)!write(STDERR_FILENO, what, strlen(what));
}

/* ---- leases ---- */

static void reset_sockets(struct guard_process *p, uint32_t lease)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	for (unsigned int i = 0; i < GUARD_SOCKETS_MAX; i++)
		if (p->sockets[i].fd >= 0 && p->sockets[i].lease == lease) {
			(void)syscall(SYS_connect, p->sockets[i].fd, &none, sizeof(none));
			(void)shutdown(p->sockets[i].fd, SHUT_RDWR);
		}
}

static void close_sockets(struct guard_process *p, uint32_t lease)
{
	for (unsigned int i = 0; i < GUARD_SOCKETS_MAX; i++) {
		if (p->sockets[i].fd < 0 || p->sockets[i].lease != lease)
			continue;
		(void)close(p->sockets[i].fd);
		p->sockets[i].fd = -1;
	}
}

/* Looks at one lease; the time at which to look again. */
static uint64_t look(struct guard_process *p, uint32_t lease, uint64_t now,
		     bool *ret_is_safe)
{
	struct guard_lease_words *w = &p->page->lease[lease];
	uint64_t renewed = atomic_load(&w->renewed);
	uint64_t over_at = renewed + w->cut_ns;

	if (now < over_at) {
		p->cut_at[lease] = 0;
		return over_at;
	}
	if (!p->cut_at[lease] || atomic_load(&w->cut_of) != renewed) {
		reset_sockets(p, lease);
		p->cut_at[lease] = now;
		atomic_store(&w->cut_of, renewed);
	}
	bool is_acknowledged = atomic_load(&w->acknowledged) == renewed;
	*ret_is_safe &= is_acknowledged && w->has_sockets_only;
	/* It may have been renewed since we looked; then we look again at once. */
	if (atomic_load(&w->renewed) != renewed)
		return now;
	if (is_acknowledged)
		return now + w->ack_ns;
	/* From the cut and not from the age: after a suspend main needs its time, too. */
	if (now < p->cut_at[lease] + w->ack_ns)
		return p->cut_at[lease] + w->ack_ns;
	say("guard: a lease is over and the process does not answer: killed\n");
	(void)pidfd_send_signal(p->main_fd, SIGKILL, NULL, 0);
	return NO_DEADLINE;
}

/* ---- the watchdog ---- */

static int watchdog_open(struct guard_process *p, const char *path)
{
	int seconds = WATCHDOG_S;

	p->watchdog_fd = -1;
	if (!path)
		return 0;
	p->watchdog_fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	if (p->watchdog_fd < 0)
		return -errno;
	/* A device without it keeps its own time-out. */
	(void)ioctl(p->watchdog_fd, WDIOC_SETTIMEOUT, &seconds);
	return 0;
}

/* The time at which to feed it again. */
static uint64_t feed(struct guard_process *p, uint64_t now, bool is_safe)
{
	if (p->watchdog_fd < 0)
		return NO_DEADLINE;
	if (is_safe && now >= p->fed + FEED_NS) {
		p->fed = now;
		/* One that takes no food resets the host: nothing more can be done. */
		(void)!write(p->watchdog_fd, ".", 1);
	}
	return is_safe ? p->fed + FEED_NS : now + FEED_NS;
}

static void watchdog_close(struct guard_process *p, bool is_safe)
{
	if (p->watchdog_fd < 0)
		return;
	if (is_safe)
		(void)!write(p->watchdog_fd, "V", 1); /* "magic close": it sleeps */
	(void)close(p->watchdog_fd);
}

/* ---- messages ---- */

/* Is the lease over, and main does not know it yet? */
static bool is_open_cut(const struct guard_process *p, uint32_t lease)
{
	const struct guard_lease_words *w = &p->page->lease[lease];
	uint64_t renewed = atomic_load(&w->renewed);

	return clock_now() >= renewed + w->cut_ns &&
	       atomic_load(&w->acknowledged) != renewed;
}

static int add_socket(struct guard_process *p, const struct guard_message *m, int fd)
{
	if (fd < 0)
		return -EBADF;
	if (is_open_cut(p, m->lease)) {
		(void)close(fd);
		return -ESTALE;
	}
	for (unsigned int i = 0; i < GUARD_SOCKETS_MAX; i++) {
		if (p->sockets[i].fd >= 0)
			continue;
		p->sockets[i] = (struct held_socket){ m->id, m->lease, fd };
		return 0;
	}
	(void)close(fd);
	return -ENOSPC;
}

static void drop_socket(struct guard_process *p, const struct guard_message *m)
{
	for (unsigned int i = 0; i < GUARD_SOCKETS_MAX; i++) {
		if (p->sockets[i].fd < 0 || p->sockets[i].id != m->id)
			continue;
		(void)close(p->sockets[i].fd);
		p->sockets[i].fd = -1;
	}
}

/* 1: a message; 0: one that is none; -1: nothing (more) to be read. */
static int receive(struct guard_process *p, struct guard_message *ret, int *ret_fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { ret, sizeof(*ret) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      /* No room for a second one: the padding would hold it. */
			      .msg_controllen = CMSG_LEN(sizeof(int)) };

	*ret_fd = -1;
	ssize_t n = recvmsg(p->sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n <= 0)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
	if (n == (ssize_t)sizeof(*ret) && ret->lease < GUARD_LEASES_MAX &&
	    (ret->request == GUARD_ADD || *ret_fd < 0))
		return 1;
	if (*ret_fd >= 0)
		(void)close(*ret_fd);
	return 0;
}

/* false: main says that all is over. */
static bool serve_one(struct guard_process *p, const struct guard_message *m, int fd)
{
	int result = 0;

	switch ((enum guard_request)m->request) {
	case GUARD_LEASE_NEW:
		p->is_active[m->lease] = true;
		p->cut_at[m->lease] = 0;
		break;
	case GUARD_LEASE_END:
		p->is_active[m->lease] = false;
		close_sockets(p, m->lease);
		break;
	case GUARD_ADD:
		result = add_socket(p, m, fd);
		break;
	case GUARD_DROP:
		drop_socket(p, m);
		return true;
	case GUARD_BYE:
		break;
	}
	(void)send(p->sock, &result, sizeof(result), MSG_NOSIGNAL);
	return m->request != GUARD_BYE;
}

static bool serve_all(struct guard_process *p)
{
	struct guard_message m;
	int fd;

	for (;;) {
		int got = receive(p, &m, &fd);

		if (got < 0)
			return true;
		if (got && !serve_one(p, &m, fd))
			return false;
	}
}

/* ---- life ---- */

static void wake_at(struct guard_process *p, uint64_t when)
{
	struct itimerspec at = { 0 };

	if (when != NO_DEADLINE) {
		at.it_value.tv_sec = (time_t)(when / NS_PER_S);
		at.it_value.tv_nsec = (long)(when % NS_PER_S) + !when;
	}
	(void)timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Until main is gone (false) or says good-bye (true). */
static bool watch(struct guard_process *p)
{
	for (;;) {
		uint64_t now = clock_now(), next = NO_DEADLINE, ticks;
		bool is_safe = true;

		for (uint32_t i = 0; i < GUARD_LEASES_MAX; i++)
			if (p->is_active[i])
				next = min_u64(next, look(p, i, now, &is_safe));
		wake_at(p, min_u64(next, feed(p, now, is_safe)));
		struct pollfd fds[] = { { .fd = p->sock, .events = POLLIN },
					{ .fd = p->main_fd, .events = POLLIN },
					{ .fd = p->timer_fd, .events = POLLIN } };
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[2].revents)
			(void)!read(p->timer_fd, &ticks, sizeof(ticks)); /* silence it */
		if (fds[0].revents & POLLIN && !serve_all(p))
			return true;
		if (fds[1].revents || fds[0].revents & (POLLHUP | POLLERR))
			return false;
	}
}

/* Main is gone: nothing of what it has sent may stay on its way. */
static void cut_all(struct guard_process *p)
{
	bool is_safe = true;

	for (uint32_t i = 0; i < GUARD_LEASES_MAX; i++) {
		if (!p->is_active[i])
			continue;
		reset_sockets(p, i);
		is_safe &= p->page->lease[i].has_sockets_only;
	}
	watchdog_close(p, is_safe);
}

/* All of it as far as the host allows it: an ordinary user gets less, not nothing. */
static void become_reliable(void)
{
	static const char score[] = "-1000";
	struct sched_param param = { .sched_priority = PRIORITY };
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!write(fd, score, sizeof(score) - 1);
		(void)close(fd);
	}
	(void)mlockall(MCL_CURRENT);
	(void)sched_setscheduler(0, SCHED_FIFO, &param);
}

int guard_process_new(int sock, int main_fd, struct guard_page *page,
		      const char *watchdog, struct guard_process **ret_process)
{
	struct guard_process *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->page = page;
	p->sock = sock;
	p->main_fd = main_fd;
	for (unsigned int i = 0; i < GUARD_SOCKETS_MAX; i++)
		p->sockets[i].fd = -1;
	p->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	int err = p->timer_fd < 0 ? -errno : watchdog_open(p, watchdog);
	if (err) {
		if (p->timer_fd >= 0)
			(void)close(p->timer_fd);
		free(p);
		return err;
	}
	*ret_process = p;
	return 0;
}

void guard_process_serve(struct guard_process *p)
{
	if (watch(p))
		watchdog_close(p, true);
	else
		cut_all(p);
	for (uint32_t i = 0; i < GUARD_LEASES_MAX; i++)
		close_sockets(p, i);
	(void)close(p->timer_fd);
	free(p);
}

void guard_process_run(int sock, int main_pid, struct guard_page *page,
		       const char *watchdog)
{
	struct guard_process *p = NULL;
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)prctl(PR_SET_NAME, "guard");
	int main_fd = pidfd_open(main_pid, 0);
	int result = main_fd < 0 ? -errno : 0;
	if (!result && getppid() != main_pid)
		result = -ESRCH; /* it has died meanwhile: this may be somebody else */
	if (!result)
		result = guard_process_new(sock, main_fd, page, watchdog, &p);
	become_reliable();
	(void)send(sock, &result, sizeof(result), MSG_NOSIGNAL);
	if (!result)
		guard_process_serve(p);
}
