/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who drives a session: its transport's task, or the task of a channel (bdev.h) that has
 * I/O there.
 *
 * Each answer that a task of ours takes in costs a wake-up of it, and one of whoever
 * waits for the I/O; each command a ring of the bell. A task that sleeps on its channel
 * anyway sends and takes in by itself: no other one wakes.
 *
 *   the task       turn -> ppoll(bell, socket) -> turn ...
 *   a channel      its sending: turn, send.  its event: turn, receive, send.
 *
 * Who has the turn has the session, the socket's bytes, and all of the owner that is
 * "the transport's task's alone". The task has it always but while it sleeps. A turn in a
 * session is short, so that a channel waits for it as for a mutex; without a session it
 * leaves all to the task, which may be long about making one.
 *
 * While a channel receives (is_led), the task keeps off the socket, or both would wake
 * for each answer. It looks every LED_TICK_NS, and, as long as the channel keeps coming,
 * less and less often, up to LED_TICK_MAX_NS: a channel that leaves what has come for
 * LEFT_TICKS leads no more, so nothing waits long for a channel that has stopped coming;
 * nor when nothing has come for QUIET_TICKS, so that an idle session costs nothing.
 * Timers are the task's as ever.
 *
 * Under a deep queue, or one of long reads, a channel asks the socket to wake it for a
 * good part of what is on its way, not for each answer, and for no longer than GATHER_NS
 * (SO_RCVLOWAT, `mark`). Where all that is under way are long reads, nothing short waits
 * behind them, and a wake-up that comes too early takes the processor from who sends:
 * more is gathered then, for LONG_GATHER_NS.
 *
 * With few commands under way, and none that reads much, it waits for the first answer
 * awake (bdev/awake.h), for AWAKE_NS: to sleep and be woken takes as long as a quick
 * target does.
 *
 * Invariants:
 * 1. One at a time has the turn; it is never held while anything sleeps, but by the task
 *    while it makes or ends a connection, when there is no session to drive.
 * 2. A channel never ends a session. It leaves it dead, and rings.
 * 3. A channel's turn ends with the bell rung if the task has to do what it would not
 *    wake for: an earlier deadline, a full socket, a dead session.
 * 4. Nobody sleeps on the socket for more than LONG_GATHER_NS with a mark above one byte:
 *    the channel takes it back before it sleeps, the task before it watches the socket.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "iscsi/transport_impl.h"

#define PIECES 128
#define READS_PER_TURN 16
#define BYTES_PER_TURN (256u << 10) /* then the caller has something to answer */
#define LED_TICK_NS (1 * NS_PER_MS)
#define LED_TICK_MAX_NS (4 * NS_PER_MS)
#define LEFT_TICKS 4  /* with bytes in the socket that nobody takes */
#define QUIET_TICKS 8 /* without any */
/* As in a channel's part of files: bdev/file_channel.c. */
#define GATHER_SHARE 4
#define GATHER_MIN 2
#define GATHER_NS (200 * NS_PER_US)
#define GATHER_BYTES_MAX (256u << 10)
#define LONG_GATHER_NS (1 * NS_PER_MS)
#define LONG_GATHER_BYTES_MAX (1u << 20)
#define LONG_READS (2u << 20)	 /* bytes expected: worth gathering, if of few commands */
#define SOON_BYTES (256u << 10) /* more do not come in a moment */
#define AWAKE_NS (50 * NS_PER_US)

/* ---- the turn ---- */

/* With the mutex held. */
static void take_turn(struct iscsi_transport *t)
{
	t->waiters++;
	while (t->has_turn)
		cond_wait(&t->c, &t->m);
	t->waiters--;
	t->has_turn = true;
}

static void give_turn(struct iscsi_transport *t)
{
	t->has_turn = false;
	if (t->waiters)
		cond_broadcast(&t->c);
}

void iscsi_turn_begin(struct iscsi_transport *t)
{
	mutex_lock(&t->m);
	take_turn(t);
	mutex_unlock(&t->m);
}

void iscsi_turn_end(struct iscsi_transport *t)
{
	mutex_lock(&t->m);
	give_turn(t);
	mutex_unlock(&t->m);
}

/* A channel's. NULL: there is nothing to drive; what is submitted is the task's. */
static struct iscsi_session *begin_driving(struct iscsi_transport *t)
{
	struct iscsi_session *s = NULL;

	mutex_lock(&t->m);
	if (t->session) {
		take_turn(t);
		s = t->session; /* it may have ended meanwhile */
		if (!s)
			give_turn(t);
	}
	if (!s)
		iscsi_turn_ring(t);
	mutex_unlock(&t->m);
	return s;
}

/* wants_task: it has to look. Nothing is touched after it. */
static void end_driving(struct iscsi_transport *t, bool has_led, bool wants_task)
{
	mutex_lock(&t->m);
	give_turn(t);
	t->led += has_led;
	if (wants_task)
		iscsi_turn_ring(t);
	mutex_unlock(&t->m);
}

void iscsi_turn_ring(struct iscsi_transport *t)
{
	uint64_t one = 1;

	if (!t->is_rung)
		(void)!write(t->bell, &one, sizeof(one)); /* cannot be full */
	t->is_rung = true;
}

/* ---- bytes ---- */

void iscsi_turn_send(struct iscsi_transport *t, struct iscsi_session *s, uint64_t now)
{
	struct iovec iov[PIECES];
	int count;

	t->is_full = false;
	while ((count = iscsi_session_output(s, iov, PIECES, now)) > 0) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)count };
		ssize_t n = sendmsg(t->sock, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			t->is_full = true;
			return;
		}
		if (n < 0) {
			iscsi_session_kill(s, -errno, "sending failed: %s",
					   strerror(errno));
			return;
		}
		iscsi_session_sent(s, (uint64_t)n);
	}
}

/* Now, not with the next thing that is sent. The kernel forgets that each time. */
static void acknowledge(struct iscsi_transport *t)
{
	int one = 1;

	(void)setsockopt(t->sock, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
}

/* One read; *count and *bytes tell what came. true: there may be more. */
static bool receive(struct iscsi_transport *t, struct iscsi_session *s,
		    unsigned int *count, uint64_t *bytes)
{
	struct iovec iov[PIECES];
	uint64_t room = 0;
	int pieces = iscsi_session_room(s, iov, PIECES);

	for (int i = 0; i < pieces; i++)
		room += iov[i].iov_len;
	ssize_t n = readv(t->sock, iov, pieces);
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN)
		return false;
	++*count;
	*bytes += n > 0 ? (uint64_t)n : 0;
	if (n < 0)
		iscsi_session_kill(s, -errno, "receiving failed: %s", strerror(errno));
	else if (n == 0)
		iscsi_session_kill(s, -ECONNRESET, "the target closed the connection");
	else
		iscsi_session_input(s, (uint64_t)n, clock_now());
	if (n > 0 && !iscsi_setting(&t->params->settings, ISCSI_DELAYED_ACK))
		acknowledge(t);
	return n > 0 && (uint64_t)n == room;
}

unsigned int iscsi_turn_receive(struct iscsi_transport *t, struct iscsi_session *s,
				bool *ret_has_more)
{
	unsigned int count = 0;
	uint64_t bytes = 0;

	*ret_has_more = iscsi_session_phase(s) != ISCSI_DEAD;
	while (*ret_has_more && bytes < BYTES_PER_TURN && count < READS_PER_TURN)
		*ret_has_more = receive(t, s, &count, &bytes) &&
				iscsi_session_phase(s) != ISCSI_DEAD;
	return count;
}

/* So many bytes wake who waits for the socket. */
static void set_mark(struct iscsi_transport *t, int sock, int bytes)
{
	if (sock >= 0 && bytes != t->mark &&
	    setsockopt(sock, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)) == 0)
		t->mark = bytes;
}

/* ---- the task ---- */

/*
 * The task has looked: does the channel lead on? Not if it leaves what comes, and not
 * when nothing has come for a while. `led`: the turns of channels at the last look.
 */
static bool is_led_on(struct iscsi_transport *t, int sock, uint32_t led)
{
	struct pollfd fd = { .fd = sock, .events = POLLIN };
	bool is_waiting = poll(&fd, 1, 0) > 0;

	mutex_lock(&t->m);
	bool was_here = t->led != led;
	t->tick_ns = was_here ? min_u64(max_u64(2 * t->tick_ns, LED_TICK_NS),
					LED_TICK_MAX_NS)
			      : LED_TICK_NS;
	t->ticks_left = was_here || !is_waiting ? 0 : t->ticks_left + 1;
	t->ticks_quiet = was_here || is_waiting ? 0 : t->ticks_quiet + 1;
	bool is_led = t->ticks_left < LEFT_TICKS && t->ticks_quiet < QUIET_TICKS;
	if (!is_led)
		t->ticks_left = t->ticks_quiet = 0;
	t->is_led = is_led;
	mutex_unlock(&t->m);
	return is_led;
}

/*
 * One sleep, without the turn. true: it is over. false: it was cut short, to see whether
 * a channel that receives is still there.
 */
static bool sleep_once(struct iscsi_transport *t, struct pollfd fds[2], short events,
		       uint64_t until)
{
	mutex_lock(&t->m);
	bool is_led = t->is_led;
	uint32_t led = t->led;
	uint64_t tick = max_u64(t->tick_ns, LED_TICK_NS);
	mutex_unlock(&t->m);
	uint64_t now = clock_now(), left = until > now ? until - now : 0;
	if (is_led)
		left = min_u64(left, tick);
	struct timespec ts = { .tv_sec = (time_t)(left / NS_PER_S),
			       .tv_nsec = (long)(left % NS_PER_S) };
	fds[1].events = is_led ? 0 : events;
	int n = ppoll(fds, fds[1].fd >= 0 ? 2 : 1,
		      until == NO_DEADLINE && !is_led ? NULL : &ts, NULL);
	if (n == 0 && is_led)
		return !is_led_on(t, fds[1].fd, led) || clock_now() >= until;
	if (n <= 0)
		fds[0].revents = fds[1].revents = 0;
	return true;
}

short iscsi_turn_wait(struct iscsi_transport *t, int sock, short events, uint64_t until)
{
	struct pollfd fds[2] = { { .fd = t->bell, .events = POLLIN }, { .fd = sock } };
	uint64_t count;

	t->wakes_at = until;
	if (!t->is_led)
		set_mark(t, sock, 1);
	iscsi_turn_end(t);
	while (!sleep_once(t, fds, events, until))
		; /* the channel leads */
	if (fds[0].revents & POLLIN)
		(void)!read(t->bell, &count, sizeof(count)); /* only to silence it */
	mutex_lock(&t->m);
	if (fds[0].revents & POLLIN)
		t->is_rung = false;
	take_turn(t);
	mutex_unlock(&t->m);
	return sock >= 0 ? fds[1].revents : 0;
}

/* ---- channels ---- */

static struct iscsi_transport *transport_of(struct channel_leaf *leaf)
{
	return (struct iscsi_transport *)((char *)leaf -
					  offsetof(struct iscsi_transport, leaf));
}

/* With the turn: hands out new work and sends it. true: the task has to look. */
static bool drive(struct iscsi_transport *t, struct iscsi_session *s)
{
	uint64_t now = clock_now();

	if (iscsi_session_phase(s) != ISCSI_FULL)
		return true;
	uint64_t next = t->owner->pump(t->owner, s, now);
	iscsi_turn_send(t, s, now);
	next = min_u64(next, iscsi_session_deadline(s));
	return next < t->wakes_at || (t->is_full && !t->is_led) ||
	       iscsi_session_phase(s) == ISCSI_DEAD;
}

void iscsi_turn_of_channel_send(struct channel_leaf *leaf)
{
	struct iscsi_transport *t = transport_of(leaf);
	atomic_store(&t->is_held, false);
	struct iscsi_session *s = begin_driving(t);
	if (s)
		end_driving(t, false, drive(t, s));
}

unsigned int iscsi_turn_of_channel_reap(struct channel_leaf *leaf, bool *ret_has_more)
{
	struct iscsi_transport *t = transport_of(leaf);
	struct iscsi_session *s = begin_driving(t);

	if (!s)
		return 0;
	unsigned int count = iscsi_turn_receive(t, s, ret_has_more);
	end_driving(t, true, drive(t, s));
	return count;
}

/* How many bytes are worth a wake-up; 0: any. */
static uint64_t worth_waiting_for(struct iscsi_transport *t, struct iscsi_session *s)
{
	if (iscsi_session_busy(s) < GATHER_MIN * GATHER_SHARE &&
	    iscsi_session_expected(s) < LONG_READS)
		return 0;
	if (t->gathers_to_skip) {
		t->gathers_to_skip--;
		return 0;
	}
	uint64_t bytes = min_u64(iscsi_session_expected(s) / GATHER_SHARE,
				 iscsi_session_brief(s) ? GATHER_BYTES_MAX
							: LONG_GATHER_BYTES_MAX);
	/* A power of two, so that it does not change with every command. */
	return 1ull << (63 - __builtin_clzll(bytes | 1));
}

/* Is an answer worth waiting for awake? */
static bool is_soon(struct iscsi_transport *t, struct iscsi_session *s)
{
	uint32_t busy = iscsi_session_busy(s);

	return busy > 0 && busy < GATHER_MIN * GATHER_SHARE &&
	       iscsi_session_expected(s) < SOON_BYTES &&
	       awake_may(&t->awake, clock_now());
}

/* As one that gathers for nothing does less and less often. */
static void note_gathered(struct iscsi_transport *t, unsigned int count)
{
	t->gathers_missed = count ? 0 : (uint32_t)min_u64(t->gathers_missed + 1, 6);
	t->gathers_to_skip = count ? 0 : 1u << t->gathers_missed;
}

/* Until something has come, or look() has brought more to send. */
static void wait_awake(struct iscsi_transport *t, struct pollfd *fd,
		       struct channel_look look)
{
	uint64_t now = clock_now(), limit = now + AWAKE_NS;
	bool has_come;

	awake_begin(&t->awake);
	while (!(has_come = poll(fd, 1, 0) > 0) && !atomic_load(&t->is_held) &&
	       now < limit) {
		if (look.call)
			look.call(look.arg);
		now = clock_now();
	}
	awake_end(&t->awake, now, has_come || atomic_load(&t->is_held));
}

/* Asleep, until there is more in the socket than its mark, or not for long. */
static void wait_asleep(struct pollfd *fd, bool is_long)
{
	const struct timespec limit = { .tv_nsec = is_long ? LONG_GATHER_NS : GATHER_NS };

	(void)ppoll(fd, 1, &limit, NULL);
}

unsigned int iscsi_turn_of_channel_gather(struct channel_leaf *leaf,
					  struct channel_look look, bool *ret_has_more)
{
	struct iscsi_transport *t = transport_of(leaf);
	struct iscsi_session *s = begin_driving(t);
	unsigned int count = 0;

	if (!s)
		return 0;
	struct pollfd fd = { .fd = t->sock, .events = POLLIN };
	uint64_t bytes = worth_waiting_for(t, s);
	bool is_awake = !bytes && is_soon(t, s), is_long = !iscsi_session_brief(s);
	set_mark(t, t->sock, bytes ? (int)bytes : 1);
	end_driving(t, false, false);
	if (is_awake)
		wait_awake(t, &fd, look);
	else if (bytes)
		wait_asleep(&fd, is_long);
	else
		return 0;
	s = begin_driving(t);
	if (!s)
		return 0;
	count = iscsi_turn_receive(t, s, ret_has_more);
	if (bytes)
		note_gathered(t, count);
	if (!count)
		set_mark(t, t->sock, 1); /* from now on it sleeps for any byte */
	end_driving(t, true, drive(t, s));
	return count;
}

bool iscsi_transport_channel(struct iscsi_transport *t, struct bdev_channel *ch)
{
	if (!ch || !channel_is_mine(ch))
		return false;
	bool is_watching = channel_is_watching(&t->leaf, ch);
	if (is_watching || !atomic_load(&t->is_led)) {
		if (!is_watching)
			channel_watch(ch, &t->leaf);
		atomic_store(&t->is_led, true);
	}
	atomic_store(&t->is_held, true);
	channel_hold(ch, &t->leaf);
	return true;
}
