/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets under vdisk/nbd/conn.c: one task, one epoll. Each turn of the loop
 *
 *	1. sends what waits in the channel, gathers what the disk has completed, with a
 *	   look at the sockets now and then, or sleeps until a socket, the channel or the
 *	   wake event is ready,
 *	2. reads each ready socket once, into up to 256 KiB, and starts all requests in
 *	   it,
 *	3. collects all requests that the disk has completed,
 *	4. sends each client all its replies with one sendmsg,
 *
 * so that the number of system calls per request falls as the load rises. Requests go
 * through a channel (bdev.h): what a file or block device completes is reaped by this
 * task itself. Other disks, and what is slow, complete in other tasks and wake the loop.
 * The guest's processors may well be busy when it wakes, so it asks to run promptly.
 *
 * The wake event is written only while the loop sleeps or is about to: is_awake is
 * cleared BEFORE the done list is looked at for the last time, and a completing task
 * looks at is_awake AFTER it has put its request on the list; one of the two sees the
 * other.
 *
 * A connection is closed by its socket going away, by a protocol error, or by the
 * client's goodbye; it is freed when the disk has nothing of it any more.
 */
#include "vdisk/nbd/server.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "bdev/quiet.h"
#include "vdisk/nbd/conn.h"

#define SOCKET_BUFFER (1 << 20)
#define EVENTS_MAX 20

struct client {
	LIST_ENTRY(client) link;
	struct nbd_conn *conn;
	int sock;	     /* -1: closed */
	uint32_t interest;   /* events that epoll knows */
	bool is_out_blocked; /* the socket took less than we had */
};

struct nbd_server {
	struct nbd_export export;
	char *name;
	struct reporter *reporter;
	int listen_sock, epoll_fd, wake_fd;
	struct quiet quiet; /* who wants the disk for itself */
	struct task *task;
	struct bdev_channel *channel;
	struct nbd_done done;
	atomic_bool is_awake, is_stopping;
	bool has_news; /* came while this turn gathered: it does not sleep */
	unsigned int client_count;
	LIST_HEAD(, client) clients;
};

static void wake(void *arg)
{
	struct nbd_server *s = arg;
	uint64_t one = 1;
	if (atomic_load(&s->is_awake))
		return;
	ssize_t n = write(s->wake_fd, &one, sizeof(one));
	/* fails only when the counter is full, and then the loop is woken anyway */
	(void)n;
}

/* ---- clients ---- */

static int watch(struct nbd_server *s, int op, int file_fd, uint32_t events, void *what)
{
	struct epoll_event ev = { .events = events, .data.ptr = what };
	return epoll_ctl(s->epoll_fd, op, file_fd, &ev) < 0 ? -errno : 0;
}

static void client_close(struct client *cl)
{
	if (cl->sock < 0)
		return;
	(void)close(cl->sock); /* leaves the epoll by itself */
	cl->sock = -1;
	nbd_conn_abandon(cl->conn);
}

static void client_free(struct nbd_server *s, struct client *cl)
{
	client_close(cl);
	LIST_REMOVE(cl, link);
	nbd_conn_free(cl->conn);
	free(cl);
	s->client_count--;
}

static int client_new(struct nbd_server *s, int sock)
{
	int size = SOCKET_BUFFER;
	struct client *cl = calloc(1, sizeof(*cl));
	if (!cl)
		return -ENOMEM;
	cl->conn = nbd_conn_new(&s->export, &s->done, cl);
	int rc = cl->conn ? watch(s, EPOLL_CTL_ADD, sock, EPOLLIN, cl) : -ENOMEM;
	if (rc < 0) {
		nbd_conn_free(cl->conn);
		free(cl);
		return rc;
	}
	/* Only speed: what the kernel gives is enough. */
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	(void)setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	cl->sock = sock;
	cl->interest = EPOLLIN;
	LIST_INSERT_HEAD(&s->clients, cl, link);
	s->client_count++;
	return 0;
}

static void accept_client(struct nbd_server *s)
{
	int sock = accept4(s->listen_sock, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (sock < 0)
		return; /* it went away again */
	int rc = s->client_count < NBD_MAX_CONNECTIONS ? client_new(s, sock) : -EUSERS;
	if (rc < 0) {
		report(s->reporter, REPORT_WARN, "%s: NBD client refused: %s", s->name,
		       strerror(-rc));
		(void)close(sock);
	}
}

static void client_receive(struct nbd_server *s, struct client *cl)
{
	struct iovec iov[2];
	int count = nbd_conn_space(cl->conn, iov);
	if (count == 0)
		return;
	ssize_t n = readv(cl->sock, iov, count);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(cl);
		return;
	}
	int rc = nbd_conn_received(cl->conn, (size_t)n);
	if (rc < 0) {
		report(s->reporter, REPORT_WARN, "%s: NBD client dropped: %s", s->name,
		       rc == -EPROTO ? "it does not keep to the protocol"
				     : strerror(-rc));
		client_close(cl);
	}
}

/* Sends once: true if everything offered went out (there may be more). */
static bool client_send(struct client *cl, struct iovec *iov, int count)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	size_t total = 0;
	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	ssize_t n = sendmsg(cl->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		client_close(cl);
		return false;
	}
	cl->is_out_blocked = n < 0 || (size_t)n < total;
	if (n > 0)
		nbd_conn_sent(cl->conn, (size_t)n);
	return !cl->is_out_blocked;
}

/* Sends what there is; goes on with input that waited for that. */
static void client_pump(struct client *cl)
{
	struct iovec iov[NBD_OUTPUT_MAX], space[2];
	bool may_go_on = true;
	while (cl->sock >= 0 && may_go_on) {
		int count = nbd_conn_output(cl->conn, iov, NBD_OUTPUT_MAX);
		if (count)
			may_go_on = client_send(cl, iov, count);
		else
			may_go_on = false;
		if (cl->sock >= 0 && nbd_conn_space(cl->conn, space) == 0 &&
		    nbd_conn_received(cl->conn, 0) < 0)
			client_close(cl);
	}
	if (cl->sock >= 0 && nbd_conn_is_finished(cl->conn))
		client_close(cl);
}

static void client_watch(struct nbd_server *s, struct client *cl)
{
	struct iovec space[2];
	uint32_t wanted = cl->is_out_blocked ? EPOLLOUT : 0;
	if (nbd_conn_space(cl->conn, space))
		wanted |= EPOLLIN;
	if (cl->sock < 0 || wanted == cl->interest)
		return;
	cl->interest = wanted;
	if (watch(s, EPOLL_CTL_MOD, cl->sock, wanted, cl) < 0)
		client_close(cl);
}

/* ---- the loop ---- */

static void touched(struct nbd_conn *c, void *arg)
{
	(void)c;
	(void)arg; /* every client is pumped in each turn */
}

/* Lets the disk run dry, if somebody wants it for himself, and then lets him. */
static void hold(struct nbd_server *s)
{
	unsigned int in_flight = 0;
	struct client *cl;
	s->done.is_held = quiet_is_wanted(&s->quiet);
	if (!s->done.is_held)
		return;
	LIST_FOREACH(cl, &s->clients, link)
		in_flight += nbd_conn_in_flight(cl->conn);
	if (in_flight)
		return;
	quiet_now(&s->quiet);
	s->done.is_held = false;
}

static void pump_all(struct nbd_server *s)
{
	hold(s);
	struct client *cl = LIST_FIRST(&s->clients);
	while (cl) {
		struct client *next = LIST_NEXT(cl, link);
		if (cl->sock >= 0) {
			nbd_conn_retry(cl->conn);
			client_pump(cl);
			client_watch(s, cl);
		}
		if (cl->sock < 0 && nbd_conn_in_flight(cl->conn) == 0)
			client_free(s, cl);
		cl = next;
	}
}

static int sleep_ms(struct nbd_server *s)
{
	uint64_t at = NO_DEADLINE;
	struct client *cl;
	LIST_FOREACH(cl, &s->clients, link)
		at = min_u64(at, nbd_conn_retry_at(cl->conn));
	if (at == NO_DEADLINE)
		return -1;
	uint64_t now = clock_now();
	return at <= now ? 0 : (int)div_up(at - now, NS_PER_MS);
}

/* Sleeps at most so long, and serves the sockets that are ready; were there any? */
static bool take_events(struct nbd_server *s, int timeout_ms)
{
	struct epoll_event ev[EVENTS_MAX];
	int count = epoll_wait(s->epoll_fd, ev, EVENTS_MAX, timeout_ms);
	atomic_store(&s->is_awake, true);
	for (int i = 0; i < count; i++) {
		struct client *cl = ev[i].data.ptr;
		if (ev[i].data.ptr == &s->listen_sock)
			accept_client(s);
		else if (ev[i].data.ptr == &s->wake_fd ||
			 ev[i].data.ptr == &s->channel || cl->sock < 0)
			continue;
		else if (ev[i].events & EPOLLIN)
			client_receive(s, cl);
		else if (ev[i].events & (EPOLLHUP | EPOLLERR))
			client_close(cl);
	}
	return count > 0;
}

static void look(void *arg)
{
	struct nbd_server *s = arg;
	if (take_events(s, 0))
		s->has_news = true;
}

static void turn(struct nbd_server *s)
{
	int timeout_ms = sleep_ms(s);
	s->has_news = false;
	if (bdev_channel_gather(s->channel, look, s) || s->has_news)
		timeout_ms = 0;
	atomic_store(&s->is_awake, false);
	if (!nbd_done_is_empty(&s->done))
		timeout_ms = 0;
	(void)take_events(s, timeout_ms);
	bdev_channel_send(s->channel);
	(void)bdev_channel_reap(s->channel);
	nbd_done_take(&s->done, touched, NULL);
	pump_all(s);
}

static void serve(void *arg)
{
	struct nbd_server *s = arg;
	struct client *cl;
	task_be_prompt();
	while (!atomic_load(&s->is_stopping))
		turn(s);
	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, s->listen_sock, NULL);
	LIST_FOREACH(cl, &s->clients, link)
		client_close(cl);
	pump_all(s);
	while (!LIST_EMPTY(&s->clients))
		turn(s);
}

/* ---- start and stop ---- */

static void server_free(struct nbd_server *s)
{
	nbd_done_done(&s->done);
	bdev_channel_free(s->channel);
	if (s->epoll_fd >= 0)
		(void)close(s->epoll_fd);
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	free(s->name);
	free(s);
}

int nbd_server_start(const struct nbd_server_options *options,
		     struct nbd_server **ret_server)
{
	struct nbd_server *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->name = strdup(options->name);
	s->reporter = options->reporter;
	s->listen_sock = options->listen_sock;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->export = (struct nbd_export){ .name = s->name,
					 .bd = options->bd,
					 .is_read_only = options->is_read_only,
					 .is_standby = options->is_standby,
					 .contexts = options->contexts };
	LIST_INIT(&s->clients);
	int rc = bdev_channel_new(&s->channel);
	nbd_done_init(&s->done, s->channel, wake, s);
	if (!s->name || s->epoll_fd < 0 || s->wake_fd < 0)
		rc = -ENOMEM;
	if (rc == 0)
		rc = watch(s, EPOLL_CTL_ADD, s->listen_sock, EPOLLIN, &s->listen_sock);
	if (rc == 0) /* edge-triggered: it is never read */
		rc = watch(s, EPOLL_CTL_ADD, s->wake_fd, EPOLLIN | EPOLLET, &s->wake_fd);
	if (rc == 0)
		rc = watch(s, EPOLL_CTL_ADD, bdev_channel_event(s->channel),
			   EPOLLIN | EPOLLET, &s->channel);
	if (rc == 0) {
		s->task = task_start("nbd", serve, s);
		rc = s->task ? 0 : -ENOMEM;
	}
	if (rc < 0) {
		rc = report_error(s->reporter, rc, "%s: cannot start an NBD server: %s",
				  options->name, strerror(-rc));
		server_free(s);
		return rc;
	}
	*ret_server = s;
	return 0;
}

/* Whatever the loop does: it may be about to sleep. */
static void wake_always(void *arg)
{
	struct nbd_server *s = arg;
	uint64_t one = 1;
	ssize_t n = write(s->wake_fd, &one, sizeof(one));
	(void)n; /* a full counter wakes as well */
}

uint64_t nbd_server_hold(struct nbd_server *server, void (*fn)(void *arg), void *arg)
{
	return quiet_run(&server->quiet, fn, arg, wake_always, server);
}

struct exchange {
	struct nbd_server *server;
	struct bdev *bd;
};

struct bdev *nbd_server_put(struct nbd_server *server, struct bdev *bd)
{
	struct bdev *old = server->export.bd;
	assert(bd->size == old->size);
	server->export.bd = bd;
	return old;
}

static void exchange(void *arg)
{
	struct exchange *x = arg;
	x->bd = nbd_server_put(x->server, x->bd);
}

struct bdev *nbd_server_exchange(struct nbd_server *server, struct bdev *bd)
{
	struct exchange x = { server, bd };
	(void)nbd_server_hold(server, exchange, &x);
	return x.bd;
}

void nbd_server_stop(struct nbd_server *server)
{
	if (!server)
		return;
	atomic_store(&server->is_stopping, true);
	wake_always(server);
	task_join(server->task);
	(void)close(server->listen_sock);
	server_free(server);
}
