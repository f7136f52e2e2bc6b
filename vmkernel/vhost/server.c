/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket, the kicks and the one task under device.h. A disk has one task, however
 * many queues its guest has: as many tasks run as disks are served. It takes turns:
 *
 *	1. sleeps until the disk has completed something, or what else comes (a kick,
 *	   the socket, the wake event), in the one queue of the channel,
 *	2. takes and starts what the rings have, which the disk waits for,
 *	3. ends what has completed, and tells the guest of all of it at once.
 *
 * With many requests at a quick disk (pace.h) the guest need not kick: the next end is
 * the occasion to look at its rings, too; and both we and the guest are woken for several
 * ends at once. So a busy disk costs three system calls for as many requests as end
 * together.
 *
 * Ends that do not come after all are waited for PATIENCE at most. That is longer than
 * pace.h's ends are apart, but a timer that is due behind the kernel's next tick costs
 * nothing, and a nearer one two exits of a virtual machine for each wait.
 *
 * Before it sleeps otherwise it asks the rings for kicks and looks at them once more
 * (ring.c), and at the completion list, as vdisk/nbd/server.c does.
 *
 *	LISTENING --accept--> SERVING --close, error, stop--> LEAVING (device_abandon)
 *	LEAVING --nothing in flight--> LISTENING (device_reset)
 *
 * Invariants:
 * 1. While a front end is there no other is accepted, nor while requests of one that has
 *    gone are at the disk: an old write never lands behind a newer one.
 * 2. A kick's descriptor is taken out of the epoll before it is closed: its front end
 *    holds it as well, so closing alone would leave it there.
 * 3. A message that waits for requests to end is asked again each turn; meanwhile the
 *    next one stays in the socket, which is not listened to but for its end.
 */
#include "vmkernel/vhost/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "bdev/quiet.h"
#include "vmkernel/vhost/device.h"
#include "vmkernel/vhost/pace.h"

#define EVENTS_MAX 20
#define PATIENCE (5 * NS_PER_MS)
#define STOP_INTERVAL (2 * NS_PER_MS)
#define LOOK_INTERVAL 8u /* busy turns without a look at the socket */

struct vhost_server {
	struct device device;
	char *name;
	char id[BLK_ID_LEN + 1];
	struct reporter *reporter;
	int listen_sock, client_sock, epoll_fd, wake_fd; /* -1: none */
	bool is_leaving;
	struct vhost_message message;
	size_t received; /* bytes of it */
	bool is_waiting; /* the message is whole, and waits */
	struct task *task;
	const struct task *_Atomic own; /* the same, as it knows itself */
	struct pace pace;
	struct bdev_channel *channel;
	struct quiet quiet;
	atomic_bool is_awake, is_stopping, is_resized, is_over;
	unsigned int busy_turns;
};

static void wake_always(void *arg)
{
	struct vhost_server *s = arg;
	(void)eventfd_write(s->wake_fd, 1); /* a full counter wakes as well */
}

static void wake(void *arg)
{
	struct vhost_server *s = arg;
	if (!atomic_load(&s->is_awake) && task_self() != atomic_load(&s->own))
		wake_always(s);
}

/* ---- the socket ---- */

static int watch(struct vhost_server *s, int op, int fd, uint32_t events, void *what)
{
	struct epoll_event ev = { .events = events, .data.ptr = what };
	return epoll_ctl(s->epoll_fd, op, fd, &ev) < 0 ? -errno : 0;
}

/* Edge-triggered: a kick is never read. One that cannot be waited for is not heard. */
static void watch_kick(void *arg, unsigned int index, int kick_fd)
{
	struct vhost_server *s = arg;
	struct device_ring *r = &s->device.rings[index];
	if (kick_fd < 0)
		(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, r->kick_fd, NULL);
	else if (watch(s, EPOLL_CTL_ADD, kick_fd, EPOLLIN | EPOLLET, r) < 0)
		report(s->reporter, REPORT_WARN, "%s: queue %u cannot be heard: %s",
		       s->name, index, strerror(errno));
}

static void forget_message(struct vhost_server *s)
{
	for (unsigned int i = 0; i < s->message.fd_count; i++)
		if (s->message.fds[i] >= 0)
			(void)close(s->message.fds[i]);
	s->message.fd_count = 0;
	s->received = 0;
	s->is_waiting = false;
}

static void client_close(struct vhost_server *s)
{
	if (s->client_sock < 0)
		return;
	(void)close(s->client_sock); /* leaves the epoll by itself */
	s->client_sock = -1;
	forget_message(s);
	device_abandon(&s->device);
	s->is_leaving = true;
}

static void accept_client(struct vhost_server *s)
{
	int sock = accept4(s->listen_sock, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (sock < 0)
		return; /* it went away again */
	if (watch(s, EPOLL_CTL_ADD, sock, EPOLLIN, &s->client_sock) < 0) {
		(void)close(sock);
		return;
	}
	s->client_sock = sock;
	(void)watch(s, EPOLL_CTL_MOD, s->listen_sock, 0, &s->listen_sock);
}

/* Once nothing of the last one is at the disk. */
static void await_next(struct vhost_server *s)
{
	if (!s->is_leaving || s->device.in_flight)
		return;
	device_reset(&s->device);
	s->is_leaving = false;
	(void)watch(s, EPOLL_CTL_MOD, s->listen_sock, EPOLLIN, &s->listen_sock);
}

/* false: more descriptors than there may be. All are kept, to be closed. */
static bool keep_fds(struct vhost_message *m, struct msghdr *h)
{
	bool is_good = !(h->msg_flags & MSG_CTRUNC);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (m->fd_count < VHOST_FDS_MAX) {
				m->fds[m->fd_count++] = fd;
			} else {
				(void)close(fd);
				is_good = false;
			}
		}
	}
	return is_good;
}

/* Bytes of the message that are still to come. */
static size_t missing(const struct vhost_server *s)
{
	size_t header = sizeof(s->message.header);
	if (s->received < header)
		return header - s->received;
	return header + le32_get(s->message.header.size) - s->received;
}

/* Reads on at the message: 1 it is whole, 0 it is not yet, -errno: close. */
static int receive(struct vhost_server *s)
{
	struct vhost_message *m = &s->message;
	while (missing(s)) {
		char control[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
		struct iovec iov = { (uint8_t *)m + s->received, missing(s) };
		struct msghdr h = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(s->client_sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (!keep_fds(m, &h) || n == 0)
			return n ? -EPROTO : -ECONNRESET;
		s->received += (size_t)n;
		if (s->received == sizeof(m->header) &&
		    le32_get(m->header.size) > sizeof(m->payload))
			return -EPROTO;
	}
	return 1;
}

static int send_answer(struct vhost_server *s)
{
	struct vhost_message *m = &s->message;
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { m, sizeof(m->header) + le32_get(m->header.size) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (m->fd_count) {
		h.msg_control = control;
		h.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), m->fds, sizeof(int));
	}
	ssize_t n = sendmsg(s->client_sock, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
	/* Who does not read a few answers gets no more of them. */
	return n == (ssize_t)iov.iov_len ? 0 : -EPIPE;
}

/* All messages that are there. */
static void serve_client(struct vhost_server *s)
{
	int rc = 1;
	while (s->client_sock >= 0 && rc > 0) {
		rc = s->is_waiting ? 1 : receive(s);
		if (rc <= 0)
			break;
		int done = device_message(&s->device, &s->message);
		bool was_waiting = s->is_waiting;
		s->is_waiting = done == -EAGAIN;
		if (s->is_waiting != was_waiting)
			(void)watch(s, EPOLL_CTL_MOD, s->client_sock,
				    s->is_waiting ? 0 : EPOLLIN, &s->client_sock);
		if (s->is_waiting)
			return;
		if (done == 1)
			done = send_answer(s);
		forget_message(s);
		rc = done < 0 ? done : 1;
	}
	if (rc == -EPROTO)
		report(s->reporter, REPORT_WARN,
		       "%s: vhost-user front end dropped: it does not keep to the "
		       "protocol",
		       s->name);
	if (rc < 0)
		client_close(s);
}

/* ---- the loop ---- */

static void take_events(struct vhost_server *s)
{
	struct epoll_event ev[EVENTS_MAX];
	int count = epoll_wait(s->epoll_fd, ev, EVENTS_MAX, 0);
	for (int i = 0; i < count; i++) {
		if (ev[i].data.ptr == &s->listen_sock && s->client_sock < 0 &&
		    !s->is_leaving)
			accept_client(s);
		else if (ev[i].data.ptr == &s->client_sock && !s->is_waiting)
			serve_client(s);
		else if (ev[i].data.ptr == &s->client_sock &&
			 ev[i].events & (EPOLLHUP | EPOLLERR))
			client_close(s);
	}
}

/* Lets the disk run dry, if somebody wants it for himself, and then lets him. */
static void hold(struct vhost_server *s)
{
	s->device.is_held = quiet_is_wanted(&s->quiet);
	if (!s->device.is_held || s->device.at_disk)
		return;
	quiet_now(&s->quiet);
	s->device.is_held = false;
}

/*
 * Sleeps, with several at a quick disk until a batch of them has ended. How many have.
 * *ret_is_woken: there may be something in our epoll.
 */
static unsigned int await(struct vhost_server *s, bool *ret_is_woken)
{
	uint64_t until = device_retry_at(&s->device);
	bool is_muted = pace_is_muted(&s->pace, s->device.at_disk);
	unsigned int batch = pace_batch(&s->pace, s->device.at_disk), count;
	*ret_is_woken = ++s->busy_turns % LOOK_INTERVAL == 0;
	atomic_store(&s->is_awake, false);
	if (device_has_done(&s->device) || (!is_muted && device_listen(&s->device)))
		until = 0;
	else if (is_muted)
		until = min_u64(until, clock_now() + PATIENCE);
	if (until == 0) {
		bdev_channel_send(s->channel);
		count = bdev_channel_reap(s->channel);
	} else {
		count = bdev_channel_wait_for(s->channel, batch, until, ret_is_woken);
	}
	atomic_store(&s->is_awake, true);
	return count;
}

static void keep_pace(struct vhost_server *s, unsigned int count)
{
	if (count)
		pace_ended(&s->pace, clock_now(), s->device.in_flight + count);
	if (s->device.at_disk == 0)
		pace_rests(&s->pace);
}

static void turn(struct vhost_server *s)
{
	bool is_woken;
	unsigned int count = await(s, &is_woken);
	bool is_late = count == 0;
	if (is_woken)
		take_events(s);
	device_start(&s->device);
	keep_pace(s, device_take(&s->device));
	if (s->is_waiting)
		serve_client(s);
	if (atomic_exchange(&s->is_resized, false))
		device_resized(&s->device);
	hold(s);
	device_tell(&s->device, is_late ? 1
				: pace_batch(&s->pace, s->device.at_disk));
	await_next(s);
}

static void serve(void *arg)
{
	struct vhost_server *s = arg;
	task_be_prompt();
	atomic_store(&s->own, task_self());
	while (!atomic_load(&s->is_stopping))
		turn(s);
	client_close(s);
	while (s->device.in_flight)
		turn(s);
	atomic_store(&s->is_over, true);
}

/* ---- start and stop ---- */

static void server_free(struct vhost_server *s)
{
	device_done(&s->device);
	bdev_channel_free(s->channel);
	if (s->epoll_fd >= 0)
		(void)close(s->epoll_fd);
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	free(s->name);
	free(s);
}

static int start(struct vhost_server *s)
{
	if (!s->name || s->epoll_fd < 0 || s->wake_fd < 0)
		return -ENOMEM;
	int rc = watch(s, EPOLL_CTL_ADD, s->listen_sock, EPOLLIN, &s->listen_sock);
	if (rc == 0) /* edge-triggered: it is never read */
		rc = watch(s, EPOLL_CTL_ADD, s->wake_fd, EPOLLIN | EPOLLET, &s->wake_fd);
	if (rc == 0)
		rc = bdev_channel_add(s->channel, s->epoll_fd);
	if (rc == 0)
		s->task = task_start("vhost", serve, s);
	return rc == 0 && !s->task ? -ENOMEM : rc;
}

int vhost_server_start(const struct vhost_server_options *options,
		       struct vhost_server **ret_server)
{
	struct vhost_server *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->name = strdup(options->name);
	memcpy(s->id, options->id, strnlen(options->id, BLK_ID_LEN));
	s->reporter = options->reporter;
	s->listen_sock = options->listen_sock;
	s->client_sock = -1;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = bdev_channel_new(&s->channel);
	struct device_options device = { .name = s->name,
					 .id = s->id,
					 .bd = options->bd,
					 .is_read_only = options->is_read_only,
					 .reporter = s->reporter,
					 .channel = s->channel,
					 .wake = wake,
					 .watch = watch_kick,
					 .arg = s };
	device_init(&s->device, &device);
	pace_init(&s->pace);
	if (rc == 0)
		rc = start(s);
	if (rc < 0) {
		rc = report_error(s->reporter, rc,
				  "%s: cannot start a vhost-user server: %s",
				  options->name, strerror(-rc));
		server_free(s);
		return rc;
	}
	*ret_server = s;
	return 0;
}

uint64_t vhost_server_hold(struct vhost_server *server, void (*fn)(void *arg), void *arg)
{
	return quiet_run(&server->quiet, fn, arg, wake_always, server);
}

void vhost_server_resized(struct vhost_server *server)
{
	atomic_store(&server->is_resized, true);
	wake_always(server);
}

void vhost_server_stop(struct vhost_server *server)
{
	if (!server)
		return;
	atomic_store(&server->is_stopping, true);
	wake_always(server);
	while (!atomic_load(&server->is_over)) {
		device_unblock(&server->device);
		task_sleep_until(clock_now() + STOP_INTERVAL);
	}
	task_join(server->task);
	(void)close(server->listen_sock);
	server_free(server);
}
