/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard of a program, seen from the program: a child process and how to talk to it.
 *
 *   program (main)                                guard_process.c
 *     renewed, acknowledged  -- shared page -->     looks when a lease may be too old
 *     a socket, a new lease  -- messages ----->     holds the same sockets
 *     watcher task           <-- pidfd --------     dies: every lease is lost
 *
 * Invariants:
 *  1 the guard inherits nothing of this process but one end of the socket pair and the
 *    place for its words: no file, lock or pipe of ours lives longer for its sake;
 *  2 a request and its answer are one under `talk`: answers need no number;
 *  3 after the guard's death is known nothing is asked of it, and add_socket() fails: no
 *    socket is used without a guard;
 *  4 a lease's lost() is called once at most, and never after lease_end() has returned.
 */
#include "bdev/guard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "bdev/guard_impl.h"

struct lease {
	struct guard_lease base; /* first */
	uint32_t index;
	void (*lost)(void *arg);
	void *arg;
};

struct program_guard {
	struct guard base; /* first */
	struct guard_page *page;
	struct reporter *reporter;
	pid_t pid;
	int sock, pid_fd, bell; /* the bell ends the watcher */
	struct sleeplock talk;
	struct task *watcher; /* from the first lease on */
	/* Under talk. */
	struct lease *leases[GUARD_LEASES_MAX];
	uint64_t next_id;
	bool is_dead;
};

static struct program_guard *guard_of(struct guard *g)
{
	return (struct program_guard *)g;
}

static struct guard_lease_words *words_of(struct guard_lease *l)
{
	return &guard_of(l->guard)->page->lease[((struct lease *)l)->index];
}

/* ---- talking ---- */

static int send_message(struct program_guard *g, const struct guard_message *m, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .buf = { 0 } };
	struct guard_message copy = *m;
	struct iovec iov = { &copy, sizeof(copy) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	do
		n = sendmsg(g->sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -EPIPE : 0;
}

static int receive_answer(struct program_guard *g)
{
	int answer;
	ssize_t n;

	do
		n = recv(g->sock, &answer, sizeof(answer), 0);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(answer) ? answer : -EPIPE;
}

/* With talk held. */
static int ask(struct program_guard *g, const struct guard_message *m, int fd)
{
	int err = g->is_dead ? -EPIPE : send_message(g, m, fd);

	return err ? err : receive_answer(g);
}

/* ---- its death ---- */

static void lose_all(struct program_guard *g)
{
	sleeplock_acquire(&g->talk);
	g->is_dead = true;
	for (uint32_t i = 0; i < GUARD_LEASES_MAX; i++) {
		struct lease *l = g->leases[i];

		if (l && l->lost)
			l->lost(l->arg);
		if (l)
			l->lost = NULL;
	}
	sleeplock_release(&g->talk);
}

static void watcher(void *arg)
{
	struct program_guard *g = arg;
	struct pollfd fds[] = { { .fd = g->pid_fd, .events = POLLIN },
				{ .fd = g->bell, .events = POLLIN } };

	while (poll(fds, 2, -1) <= 0)
		; /* interrupted */
	if (fds[1].revents)
		return;
	report(g->reporter, REPORT_ERROR,
	       "the guard process (pid %d) has died: nothing is written without it",
	       (int)g->pid);
	lose_all(g);
}

/* ---- leases ---- */

static int program_lease_new(struct guard *base, const struct guard_terms *terms,
			     struct guard_lease **ret_lease)
{
	struct program_guard *g = guard_of(base);
	struct lease *l = calloc(1, sizeof(*l));
	int err = 0;

	if (!l)
		return -ENOMEM;
	*l = (struct lease){ .base.guard = base, .lost = terms->lost, .arg = terms->arg };
	sleeplock_acquire(&g->talk);
	while (l->index < GUARD_LEASES_MAX && g->leases[l->index])
		l->index++;
	if (l->index == GUARD_LEASES_MAX)
		err = -ENOSPC;
	if (!err && !g->watcher) {
		g->watcher = task_start("guard-watch", watcher, g);
		err = g->watcher ? 0 : -ENOMEM;
	}
	if (!err) {
		struct guard_lease_words *w = &g->page->lease[l->index];
		struct guard_message m = { .request = GUARD_LEASE_NEW,
					   .lease = l->index };

		w->cut_ns = terms->cut_ns;
		w->ack_ns = terms->ack_ns ? terms->ack_ns : GUARD_ACK_NS;
		w->has_sockets_only = terms->has_sockets_only;
		atomic_store(&w->cut_of, 0);
		atomic_store(&w->acknowledged, 0);
		atomic_store(&w->renewed, terms->renewed);
		err = ask(g, &m, -1);
	}
	if (!err)
		g->leases[l->index] = l;
	sleeplock_release(&g->talk);
	if (err) {
		free(l);
		return err;
	}
	*ret_lease = &l->base;
	return 0;
}

static void program_lease_end(struct guard_lease *base)
{
	struct program_guard *g = guard_of(base->guard);
	struct lease *l = (struct lease *)base;
	struct guard_message m = { .request = GUARD_LEASE_END, .lease = l->index };

	sleeplock_acquire(&g->talk);
	(void)!ask(g, &m, -1); /* a dead one guards nothing any more */
	g->leases[l->index] = NULL;
	sleeplock_release(&g->talk);
	free(l);
}

static void program_renewed(struct guard_lease *l, uint64_t renewed)
{
	struct guard_lease_words *w = words_of(l);

	if (renewed > atomic_load(&w->renewed))
		atomic_store(&w->renewed, renewed);
}

static void program_acknowledge(struct guard_lease *l)
{
	struct guard_lease_words *w = words_of(l);

	atomic_store(&w->acknowledged, atomic_load(&w->renewed));
}

static bool program_is_cut(struct guard_lease *l)
{
	struct guard_lease_words *w = words_of(l);

	return atomic_load(&w->cut_of) == atomic_load(&w->renewed);
}

static int program_add_socket(struct guard_lease *base, int sock, uint64_t *ret_id)
{
	struct program_guard *g = guard_of(base->guard);
	struct guard_message m = { .request = GUARD_ADD,
				   .lease = ((struct lease *)base)->index };

	sleeplock_acquire(&g->talk);
	*ret_id = m.id = ++g->next_id;
	int err = ask(g, &m, sock);
	sleeplock_release(&g->talk);
	return err;
}

static void program_drop_socket(struct guard_lease *base, uint64_t id)
{
	struct program_guard *g = guard_of(base->guard);
	struct guard_message m = { .request = GUARD_DROP,
				   .lease = ((struct lease *)base)->index,
				   .id = id };

	sleeplock_acquire(&g->talk);
	if (!g->is_dead)
		(void)!send_message(g, &m, -1); /* a dead one holds nothing */
	sleeplock_release(&g->talk);
}

/* ---- life ---- */

static void release(struct program_guard *g)
{
	if (g->sock >= 0)
		(void)close(g->sock);
	if (g->pid_fd >= 0)
		(void)close(g->pid_fd);
	if (g->bell >= 0)
		(void)close(g->bell);
	if (g->page)
		(void)munmap(g->page, sizeof(*g->page));
	sleeplock_done(&g->talk);
	free(g);
}

static void program_stop(struct guard *base)
{
	struct program_guard *g = guard_of(base);
	struct guard_message m = { .request = GUARD_BYE };
	uint64_t one = 1;

	(void)!write(g->bell, &one, sizeof(one)); /* cannot be full */
	task_join(g->watcher);
	sleeplock_acquire(&g->talk);
	for (uint32_t i = 0; i < GUARD_LEASES_MAX; i++)
		assert(!g->leases[i]);
	(void)!ask(g, &m, -1);
	sleeplock_release(&g->talk);
	struct pollfd ended = { .fd = g->pid_fd, .events = POLLIN };
	(void)poll(&ended, 1, -1);
	(void)waitpid(g->pid, NULL, 0); /* perhaps the program reaps all its children */
	release(g);
}

static const struct guard_ops program_ops = {
	.lease_new = program_lease_new,
	.lease_end = program_lease_end,
	.renewed = program_renewed,
	.acknowledge = program_acknowledge,
	.is_cut = program_is_cut,
	.add_socket = program_add_socket,
	.drop_socket = program_drop_socket,
	.stop = program_stop,
};

/* In the child: keeps sock and the place for words, nothing else; does not return. */
static void be_guard(int sock, pid_t main_pid, struct guard_page *page,
		     const struct guard_options *options)
{
	const int kept = STDERR_FILENO + 1;

	/* Out of the way of those that are replaced. */
	sock = fcntl(sock, F_DUPFD, kept + 1);
	(void)dup2(options->log_fd, STDERR_FILENO);
	(void)dup2(sock, kept);
	(void)close(STDIN_FILENO);
	(void)close(STDOUT_FILENO);
	(void)close_range((unsigned int)kept + 1, ~0u, 0);
	guard_process_run(kept, (int)main_pid, page, options->watchdog);
	/* Not exit(): what is buffered here is the program's to write. */
	(void)syscall(SYS_exit_group, 0);
}

static int spawn(struct program_guard *g, const struct guard_options *options)
{
	int ends[2];
	pid_t main_pid = getpid();

	g->page = mmap(NULL, sizeof(*g->page), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (g->page == MAP_FAILED) {
		g->page = NULL;
		return -errno;
	}
	g->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->bell < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	g->pid = fork();
	if (g->pid < 0) {
		(void)close(ends[0]);
		(void)close(ends[1]);
		return -errno;
	}
	if (g->pid == 0)
		be_guard(ends[1], main_pid, g->page, options);
	(void)close(ends[1]);
	g->sock = ends[0];
	g->pid_fd = pidfd_open(g->pid, 0);
	return g->pid_fd < 0 ? -errno : receive_answer(g);
}

int guard_start(const struct guard_options *options, struct guard **ret_guard)
{
	struct program_guard *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->base.ops = &program_ops;
	g->reporter = options->reporter;
	g->sock = g->pid_fd = g->bell = -1;
	sleeplock_init(&g->talk);
	int err = spawn(g, options);
	if (err) {
		release(g);
		return report_error(options->reporter, err,
				    "the guard process cannot start%s%s: %s",
				    options->watchdog ? ", watchdog " : "",
				    options->watchdog ? options->watchdog : "",
				    strerror(-err));
	}
	*ret_guard = &g->base;
	return 0;
}
