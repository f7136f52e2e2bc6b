/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The task of a connection.
 *
 *   connect -> session (LOGIN, FULL, ...) -> dead -> back-off -> connect ...
 *
 * One turn of the pump: timers, new work from the owner, one sendmsg of many PDUs, one
 * wait for the socket, the wake-up and the nearest deadline, then reads until the
 * socket is empty. While a session is up the tasks of channels take turns at it (turn.c).
 *
 * Invariants:
 * 1. Only who has the turn touches the session. Others set a flag and ring the bell.
 * 2. `sock` changes only under the mutex, so that cut() never resets somebody else's
 *    file. After cut() has returned no byte leaves: the socket is reset under the
 *    mutex, and none is connected any more. connect(AF_UNSPEC) resets and drops what
 *    is queued; shutdown() would first deliver it all.
 * 3. A socket is put under the guard's lease before it is connected, and taken away from
 *    it before it is closed. A guarded socket is reset when its last holder lets it go,
 *    in whatever way that dies (SO_LINGER of no time).
 * 4. After a cut the session is dead and told so before the next one begins.
 * 5. The bell is rung at most once per turn: is_rung is cleared before the owner looks
 *    for work, so work that comes later rings again.
 *
 * A cut network and a slow target differ: the kernel of a target that works, hangs or has
 * its buffers full acknowledges what it gets. Where nothing is acknowledged, though it
 * has been sent three times (as far apart as the distance to the target makes it), an
 * owner who has another way need not wait for a ping (is_unheard).
 */
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "iscsi/transport_impl.h"

#define CONNECT_TIME_NS (5 * NS_PER_S)
#define USER_TIMEOUT_MS 5000
#define UNHEARD_TRIES 2 /* of sending again */
#define UNHEARD_MS 600
#define LISTEN_NS (50 * NS_PER_MS)
#define BACK_OFF_MIN_NS (50 * NS_PER_MS)
#define BACK_OFF_MAX_NS (2 * NS_PER_S)

static bool is_over(struct iscsi_transport *t, bool *ret_is_cut)
{
	mutex_lock(&t->m);
	bool is_stopping = t->is_stopping;
	*ret_is_cut = t->is_cut;
	mutex_unlock(&t->m);
	return is_stopping || *ret_is_cut;
}

/* ---- the guard ---- */

static int put_under_guard(struct iscsi_transport *t, int sock)
{
	struct linger at_once = { .l_onoff = 1 };

	if (!t->lease)
		return 0;
	(void)setsockopt(sock, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	int error = guard_lease_add_socket(t->lease, sock, &t->guarded);
	if (error)
		t->guarded = 0;
	return error;
}

static void let_go(struct iscsi_transport *t)
{
	if (t->guarded)
		guard_lease_drop_socket(t->lease, t->guarded);
	t->guarded = 0;
}

static void sock_close(struct iscsi_transport *t)
{
	mutex_lock(&t->m);
	int sock = t->sock;
	t->sock = -1;
	mutex_unlock(&t->m);
	channel_leaf_socket(&t->leaf, -1);
	let_go(t);
	if (sock >= 0)
		(void)close(sock);
}

/* Nothing of what stands in its buffer is sent any more. With the mutex held. */
static void reset(struct iscsi_transport *t)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	/* Not connect(): ThreadSanitizer would take this for the making of a file. */
	if (t->sock >= 0)
		(void)syscall(SYS_connect, t->sock, &none, sizeof(none));
}

/* What iscsi_transport_guard() wishes. */
static void apply_lease(struct iscsi_transport *t)
{
	int error = 0;

	mutex_lock(&t->m);
	bool is_wanted = t->is_lease_wanted;
	struct guard_lease *lease = t->wanted_lease;
	mutex_unlock(&t->m);
	if (!is_wanted)
		return;
	let_go(t);
	t->lease = lease;
	if (t->sock >= 0)
		error = put_under_guard(t, t->sock);
	mutex_lock(&t->m);
	t->is_lease_wanted = false;
	t->lease_error = error;
	if (error)
		reset(t);
	cond_broadcast(&t->c);
	mutex_unlock(&t->m);
}

/* Waits without a session until `until`, serving the owner. */
static short idle_until(struct iscsi_transport *t, int sock, short events, uint64_t until)
{
	bool is_cut;
	short got = 0;

	while (!got && !is_over(t, &is_cut)) {
		apply_lease(t);
		uint64_t now = clock_now();
		if (now >= until)
			return 0;
		uint64_t next = t->owner->pump(t->owner, NULL, now);
		got = iscsi_turn_wait(t, sock, events, min_u64(until, next));
	}
	return got;
}

/* ---- connecting ---- */

static void set_options(int sock)
{
	int one = 1, ms = USER_TIMEOUT_MS;

	/* A kernel that refuses them costs speed or patience, nothing else. */
	(void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	(void)setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

/* From the address or the interface that the user named. 0 or -errno. */
static int bind_to(int sock, const char *from, int family)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICHOST };
	struct addrinfo *address;
	int error = 0;

	if (getaddrinfo(from, NULL, &hints, &address) != 0)
		return setsockopt(sock, SOL_SOCKET, SO_BINDTODEVICE, from,
				  (socklen_t)strlen(from)) < 0
			       ? -errno
			       : 0;
	if (address->ai_family != family)
		error = -EAFNOSUPPORT;
	else if (bind(sock, address->ai_addr, address->ai_addrlen) < 0)
		error = -errno;
	freeaddrinfo(address);
	return error;
}

/* Starts a connect under the mutex: none is begun after a cut. 0 or -errno. */
static int begin_connect(struct iscsi_transport *t, const struct addrinfo *a)
{
	int sock = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return -errno;
	set_options(sock);
	apply_lease(t);
	int error = t->params->bind ? bind_to(sock, t->params->bind, a->ai_family) : 0;
	if (!error)
		error = put_under_guard(t, sock);
	mutex_lock(&t->m);
	if (t->is_cut)
		error = -ESTALE;
	if (error)
		; /* not to be used */
	else if (connect(sock, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS)
		error = -errno;
	else
		t->sock = sock;
	mutex_unlock(&t->m);
	if (error) {
		let_go(t);
		(void)close(sock);
	}
	return error;
}

static int connect_one(struct iscsi_transport *t, const struct addrinfo *a)
{
	int error = begin_connect(t, a);
	socklen_t len = sizeof(error);

	if (error)
		return error;
	if (!idle_until(t, t->sock, POLLOUT, clock_now() + CONNECT_TIME_NS))
		error = ETIMEDOUT;
	else if (getsockopt(t->sock, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error)
		sock_close(t);
	return -error;
}

static int connect_any(struct iscsi_transport *t)
{
	int error = -EHOSTUNREACH;
	bool is_cut;

	for (const struct addrinfo *a = iscsi_route_addresses(t->route); a;
	     a = a->ai_next) {
		if (is_over(t, &is_cut))
			return -ESHUTDOWN;
		error = connect_one(t, a);
		if (error == 0)
			return 0;
	}
	return error;
}

/* ---- the pump ---- */

static void set_session(struct iscsi_transport *t, struct iscsi_session *s)
{
	mutex_lock(&t->m);
	t->session = s;
	mutex_unlock(&t->m);
}

/*
 * Is nothing acknowledged of what is under way? Looks every LISTEN_NS. Where even the way
 * out is gone (an interface that is down), nothing counts as sent: the kernel probes.
 */
static bool is_unheard(struct iscsi_transport *t, const struct iscsi_session *s,
		       uint64_t now)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	int queued = 0;

	if (!t->owner->unheard || !iscsi_session_busy(s) || now < t->listens_at)
		return false;
	t->listens_at = now + LISTEN_NS;
	return getsockopt(t->sock, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       ioctl(t->sock, SIOCOUTQ, &queued) == 0 && queued > 0 &&
	       info.tcpi_retransmits + info.tcpi_probes >= UNHEARD_TRIES &&
	       info.tcpi_last_ack_recv >= UNHEARD_MS && t->owner->unheard(t->owner);
}

/* When the task wants its next turn. */
static uint64_t next_turn(const struct iscsi_transport *t, const struct iscsi_session *s,
			  uint64_t next)
{
	next = min_u64(next, iscsi_session_deadline(s));
	return t->owner->unheard && iscsi_session_busy(s) ? min_u64(next, t->listens_at)
							  : next;
}

/* One turn; *was_up: login was done at some time. */
static void turn(struct iscsi_transport *t, struct iscsi_session *s, bool *was_up)
{
	uint64_t now = clock_now(), next;
	bool is_cut, has_more;

	apply_lease(t);
	iscsi_session_tick(s, now);
	if (is_over(t, &is_cut)) {
		if (is_cut)
			iscsi_session_kill(s, -ESTALE, "cut");
		else
			iscsi_session_logout(s, now);
	}
	if (is_unheard(t, s, now))
		iscsi_session_kill(s, -ETIMEDOUT, "nothing is acknowledged any more");
	enum iscsi_phase phase = iscsi_session_phase(s);
	if (phase == ISCSI_FULL && !*was_up) {
		*was_up = true;
		t->owner->up(t->owner, s);
		t->mark = 1;
		channel_leaf_socket(&t->leaf, t->sock);
		set_session(t, s);
	}
	next = t->owner->pump(t->owner, phase == ISCSI_FULL ? s : NULL, now);
	iscsi_turn_send(t, s, now);
	if (iscsi_session_phase(s) == ISCSI_DEAD)
		return;
	short got = iscsi_turn_wait(t, t->sock, t->is_full ? POLLIN | POLLOUT : POLLIN,
				    next_turn(t, s, next));
	if (got & (POLLIN | POLLERR | POLLHUP))
		(void)iscsi_turn_receive(t, s, &has_more);
}

/*
 * What the end of a session means for the next. true: the login was sent on, which is no
 * end for the owner.
 */
static bool follow(struct iscsi_transport *t, const struct iscsi_session *s, bool was_up,
		   int *ret_error, char *why, size_t why_size)
{
	bool is_for_good;
	const char *address = iscsi_session_moved_to(s, &is_for_good);

	*ret_error = iscsi_session_error(s);
	(void)snprintf(why, why_size, "%s", iscsi_session_why(s));
	if (was_up)
		iscsi_route_arrived(t->route);
	if (address) {
		int error = iscsi_route_move(t->route, address, is_for_good);
		if (error == 0)
			return true;
		(void)snprintf(why, why_size, "login sent on to %s: %s", address,
			       error == -ELOOP ? "too many times in a row"
					       : strerror(-error));
		*ret_error = error;
	}
	iscsi_route_go_home(t->route);
	return false;
}

enum after { GIVE_UP, TRY_LATER, TRY_AT_ONCE };

/* Tells the owner of an end. */
static enum after tell_down(struct iscsi_transport *t, int error, const char *why,
			    bool was_up)
{
	if (!t->owner->down(t->owner, error, why, was_up))
		return GIVE_UP;
	return was_up ? TRY_AT_ONCE : TRY_LATER;
}

/* A connection from its first byte to its last. */
static enum after serve(struct iscsi_transport *t)
{
	struct iscsi_session *s = iscsi_session_new(t->params, clock_now());
	bool was_up = false;

	if (!s)
		return tell_down(t, -ENOMEM, "out of memory", false);
	while (iscsi_session_phase(s) != ISCSI_DEAD)
		turn(t, s, &was_up);
	mutex_lock(&t->m);
	t->session = NULL;
	if (iscsi_session_error(s))
		reset(t); /* a plain close would still deliver what is queued */
	mutex_unlock(&t->m);
	sock_close(t);
	t->not_before = clock_now() + iscsi_session_wait_ns(s);
	char why[320];
	int error;
	enum after after = follow(t, s, was_up, &error, why, sizeof(why))
				   ? TRY_AT_ONCE
				   : tell_down(t, error, why, was_up);
	iscsi_session_free(s);
	return after;
}

static enum after no_connection(struct iscsi_transport *t, int error)
{
	const char *address = iscsi_route_away(t->route);
	char why[320];

	(void)snprintf(why, sizeof(why), "%s%s%s", address ? address : "",
		       address ? ", where the login was sent on to: " : "",
		       strerror(-error));
	iscsi_route_go_home(t->route);
	return tell_down(t, error, why, false);
}

/* Connects and serves until it is cut, stopped or not wanted. Returns whether cut. */
static bool serve_all(struct iscsi_transport *t)
{
	uint64_t back_off = BACK_OFF_MIN_NS;
	enum after after = TRY_AT_ONCE;
	bool is_cut = false;

	while (after != GIVE_UP && !is_over(t, &is_cut)) {
		(void)idle_until(t, -1, 0, t->not_before);
		int error = connect_any(t);
		if (is_over(t, &is_cut))
			break;
		after = error ? no_connection(t, error) : serve(t);
		if (after == TRY_AT_ONCE)
			back_off = BACK_OFF_MIN_NS;
		if (after != TRY_LATER)
			continue;
		(void)idle_until(t, -1, 0, clock_now() + back_off);
		back_off = min_u64(2 * back_off, BACK_OFF_MAX_NS);
	}
	sock_close(t);
	return is_cut;
}

/* Without a session: the owner's work still ends, each in its way. false: stopped. */
static bool rest(struct iscsi_transport *t, bool was_cut)
{
	for (;;) {
		uint64_t next = t->owner->pump(t->owner, NULL, clock_now());

		apply_lease(t);
		mutex_lock(&t->m);
		bool is_stopping = t->is_stopping;
		bool is_mended = was_cut && t->is_resting && !t->is_cut;
		/* A cut that comes now finds nothing to do. */
		t->is_resting = !is_mended;
		was_cut |= t->is_cut;
		cond_broadcast(&t->c);
		mutex_unlock(&t->m);
		if (is_stopping || is_mended)
			return !is_stopping;
		(void)iscsi_turn_wait(t, -1, 0, next);
	}
}

static void run(void *arg)
{
	struct iscsi_transport *t = arg;
	bool is_cut;

	iscsi_turn_begin(t);
	do {
		is_cut = serve_all(t);
		if (is_cut)
			(void)t->owner->down(t->owner, -ESTALE, "cut", false);
	} while (rest(t, is_cut));
	iscsi_turn_end(t);
}

/* ---- for others ---- */

int iscsi_transport_start(const char *host, uint16_t port,
			  const struct iscsi_params *params, struct iscsi_owner *owner,
			  struct iscsi_transport **ret_transport, const char **ret_why)
{
	int error;

	*ret_why = "out of memory";
	struct iscsi_transport *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->params = params;
	t->owner = owner;
	t->sock = -1;
	t->leaf.send = iscsi_turn_of_channel_send;
	t->leaf.reap = iscsi_turn_of_channel_reap;
	t->leaf.gather = iscsi_turn_of_channel_gather;
	channel_leaf_init(&t->leaf);
	mutex_init(&t->m);
	cond_init(&t->c);
	error = iscsi_route_new(host, port, params->reach, &t->route, ret_why);
	if (error)
		goto err_free;
	t->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->bell < 0) {
		error = -errno;
		goto err_route;
	}
	*ret_transport = t;
	t->task = task_start("iscsi", run, t);
	if (t->task)
		return 0;
	error = -ENOMEM;
	(void)close(t->bell);
err_route:
	iscsi_route_free(t->route);
err_free:
	channel_leaf_done(&t->leaf);
	cond_done(&t->c);
	mutex_done(&t->m);
	free(t);
	return error;
}

void iscsi_transport_wake(struct iscsi_transport *t)
{
	mutex_lock(&t->m);
	iscsi_turn_ring(t);
	mutex_unlock(&t->m);
}

void iscsi_transport_cut(struct iscsi_transport *t)
{
	mutex_lock(&t->m);
	t->is_cut = true;
	reset(t);
	mutex_unlock(&t->m);
	iscsi_transport_wake(t);
}

int iscsi_transport_mend(struct iscsi_transport *t, uint64_t deadline)
{
	mutex_lock(&t->m);
	while (!t->is_resting && clock_now() < deadline)
		(void)!cond_wait_until(&t->c, &t->m, deadline);
	bool is_resting = t->is_resting;
	if (is_resting)
		t->is_cut = false;
	mutex_unlock(&t->m);
	iscsi_transport_wake(t);
	return is_resting ? 0 : -ETIMEDOUT;
}

int iscsi_transport_guard(struct iscsi_transport *t, struct guard_lease *lease)
{
	mutex_lock(&t->m);
	t->wanted_lease = lease;
	t->is_lease_wanted = true;
	mutex_unlock(&t->m);
	iscsi_transport_wake(t);
	mutex_lock(&t->m);
	while (t->is_lease_wanted)
		cond_wait(&t->c, &t->m);
	int error = t->lease_error;
	mutex_unlock(&t->m);
	return error;
}

void iscsi_transport_stop(struct iscsi_transport *t)
{
	if (!t)
		return;
	mutex_lock(&t->m);
	t->is_stopping = true;
	mutex_unlock(&t->m);
	iscsi_transport_wake(t);
	task_join(t->task);
	channel_leaf_done(&t->leaf);
	(void)close(t->bell);
	iscsi_route_free(t->route);
	cond_done(&t->c);
	mutex_done(&t->m);
	free(t);
}
