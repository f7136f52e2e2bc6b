/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel: what one task has at the leaves, sent in bursts and reaped in the same task.
 * Files have their part in file_channel.c; other leaves are driven through their struct
 * channel_leaf (channel.h).
 *
 *   channel_hold -> unsent -> bdev_channel_send -> leaf->send()
 *   channel_watch: the leaf's socket is in our epoll: event -> bdev_channel_reap ->
 *   leaf->reap()
 *
 * The channel's event is an epoll of its own, of the files' eventfd and of sockets.
 * Nobody waits on it directly, and nothing is ever taken out of it: it only carries the
 * wake-ups of what is in it on to the epoll of the task.
 *
 * Invariants:
 * 1. unsent is the one task's. A leaf in it has I/O of this task, so it is not closed.
 * 2. A leaf's mutex is taken before the channel's, and no function of a leaf is called
 *    with either held.
 * 3. While a leaf is `busy` it stays listed: who wants it out waits for that.
 * 4. A task does not sleep with has_more set: its event has been used up.
 * 5. The memory of a channel lives until the last leaf has let go of it; after
 *    bdev_channel_free() its list is empty and stays so.
 */
#include "bdev/channel.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/align.h"
#include "bdev/file.h"

#define UNSENT_MAX 16
#define BURST 16 /* I/Os that are held back for leaves */

struct bdev_channel {
	struct file_channel *files;
	int epoll_fd, event_fd;
	int wait_fd;   /* an epoll of epoll_fd, by edges: for bdev_channel_wait() */
	bool is_woken; /* by its own task: it is not to sleep the next time */
	const struct task *_Atomic task; /* sends and reaps; NULL: none has yet */
	struct channel_leaf *unsent[UNSENT_MAX];
	unsigned int unsent_count, held_count;
	bool has_more; /* to be reaped: no event will tell */
	atomic_uint users;
	struct mutex m;
	struct cond c;
	TAILQ_HEAD(, channel_leaf) leaves; /* watched */
	struct channel_leaf *busy;
};

static void put(struct bdev_channel *ch)
{
	if (atomic_fetch_sub(&ch->users, 1) > 1)
		return;
	file_channel_free(ch->files);
	if (ch->epoll_fd >= 0)
		(void)close(ch->epoll_fd);
	if (ch->event_fd >= 0)
		(void)close(ch->event_fd);
	if (ch->wait_fd >= 0)
		(void)close(ch->wait_fd);
	cond_done(&ch->c);
	mutex_done(&ch->m);
	free(ch);
}

/* 0 or -errno. */
static int open_events(struct bdev_channel *ch)
{
	struct epoll_event level = { .events = EPOLLIN };
	struct epoll_event edge = { .events = EPOLLIN | EPOLLET };

	ch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ch->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ch->wait_fd = epoll_create1(EPOLL_CLOEXEC);
	if (ch->epoll_fd < 0 || ch->event_fd < 0 || ch->wait_fd < 0 ||
	    epoll_ctl(ch->epoll_fd, EPOLL_CTL_ADD, ch->event_fd, &level) < 0 ||
	    epoll_ctl(ch->wait_fd, EPOLL_CTL_ADD, ch->epoll_fd, &edge) < 0)
		return -errno;
	return 0;
}

int bdev_channel_new(struct bdev_channel **ret_channel)
{
	struct bdev_channel *ch = calloc(1, sizeof(*ch));

	if (!ch)
		return -ENOMEM;
	mutex_init(&ch->m);
	cond_init(&ch->c);
	TAILQ_INIT(&ch->leaves);
	atomic_init(&ch->users, 1);
	int rc = open_events(ch);
	ch->files = rc < 0 ? NULL : file_channel_new(ch->event_fd, ch->wait_fd);
	if (!ch->files) {
		put(ch);
		return rc < 0 ? rc : -ENOMEM;
	}
	*ret_channel = ch;
	return 0;
}

int bdev_channel_event(const struct bdev_channel *ch)
{
	return ch->epoll_fd;
}

int bdev_channel_add(struct bdev_channel *ch, int fd)
{
	struct epoll_event level = { .events = EPOLLIN };

	return epoll_ctl(ch->epoll_fd, EPOLL_CTL_ADD, fd, &level) < 0 ? -errno : 0;
}

struct file_channel *channel_files(struct bdev_channel *ch)
{
	return ch->files;
}

bool channel_is_mine(const struct bdev_channel *ch)
{
	return atomic_load_explicit(&ch->task, memory_order_relaxed) == task_self();
}

/* ---- which sockets are watched ---- */

static void socket_in(const struct bdev_channel *ch, int sock)
{
	/* OUT comes when a full socket has room again. */
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT };

	/* Not watched, it is served by the leaf's own task after a moment. */
	if (sock >= 0)
		(void)epoll_ctl(ch->epoll_fd, EPOLL_CTL_ADD, sock, &e);
}

static void socket_out(const struct bdev_channel *ch, int sock)
{
	if (sock >= 0)
		(void)epoll_ctl(ch->epoll_fd, EPOLL_CTL_DEL, sock, NULL);
}

/* The leaf's mutex is held. */
static void leave(struct channel_leaf *leaf)
{
	struct bdev_channel *ch = atomic_load(&leaf->channel);

	if (!ch)
		return;
	mutex_lock(&ch->m);
	while (ch->busy == leaf)
		cond_wait(&ch->c, &ch->m);
	if (leaf->is_listed)
		TAILQ_REMOVE(&ch->leaves, leaf, link);
	leaf->is_listed = false;
	mutex_unlock(&ch->m);
	socket_out(ch, leaf->sock);
	atomic_store(&leaf->channel, NULL);
	put(ch);
}

void channel_leaf_init(struct channel_leaf *leaf)
{
	mutex_init(&leaf->m);
	leaf->sock = -1;
	leaf->is_listed = false;
	atomic_init(&leaf->channel, NULL);
}

void channel_leaf_done(struct channel_leaf *leaf)
{
	mutex_lock(&leaf->m);
	leave(leaf);
	mutex_unlock(&leaf->m);
	mutex_done(&leaf->m);
}

void channel_leaf_socket(struct channel_leaf *leaf, int sock)
{
	mutex_lock(&leaf->m);
	struct bdev_channel *ch = atomic_load(&leaf->channel);
	if (ch) {
		socket_out(ch, leaf->sock);
		socket_in(ch, sock);
	}
	leaf->sock = sock;
	mutex_unlock(&leaf->m);
}

void channel_watch(struct bdev_channel *ch, struct channel_leaf *leaf)
{
	mutex_lock(&leaf->m);
	leave(leaf);
	(void)atomic_fetch_add(&ch->users, 1);
	mutex_lock(&ch->m);
	leaf->is_listed = true;
	TAILQ_INSERT_TAIL(&ch->leaves, leaf, link);
	mutex_unlock(&ch->m);
	atomic_store(&leaf->channel, ch);
	socket_in(ch, leaf->sock);
	mutex_unlock(&leaf->m);
}

void bdev_channel_free(struct bdev_channel *ch)
{
	struct channel_leaf *leaf;

	if (!ch)
		return;
	mutex_lock(&ch->m);
	while ((leaf = TAILQ_FIRST(&ch->leaves))) {
		TAILQ_REMOVE(&ch->leaves, leaf, link);
		leaf->is_listed = false;
	}
	mutex_unlock(&ch->m);
	put(ch);
}

/* ---- the task's calls ---- */

static void send_held(struct bdev_channel *ch)
{
	unsigned int count = ch->unsent_count;

	ch->unsent_count = ch->held_count = 0;
	for (unsigned int i = 0; i < count; i++)
		ch->unsent[i]->send(ch->unsent[i]);
}

void channel_hold(struct bdev_channel *ch, struct channel_leaf *leaf)
{
	unsigned int i = 0;

	while (i < ch->unsent_count && ch->unsent[i] != leaf)
		i++;
	if (i == UNSENT_MAX) {
		send_held(ch);
		i = 0;
	}
	if (i == ch->unsent_count)
		ch->unsent[ch->unsent_count++] = leaf;
	if (++ch->held_count >= BURST)
		send_held(ch);
}

void bdev_channel_send(struct bdev_channel *ch)
{
	atomic_store_explicit(&ch->task, task_self(), memory_order_relaxed);
	file_channel_send(ch->files);
	send_held(ch);
}

/* The leaf behind `was` (NULL: the first), which is busy from here on, instead of it. */
static struct channel_leaf *next_leaf(struct bdev_channel *ch, struct channel_leaf *was)
{
	mutex_lock(&ch->m);
	struct channel_leaf *leaf = was ? TAILQ_NEXT(was, link)
					: TAILQ_FIRST(&ch->leaves);
	ch->busy = leaf;
	if (was)
		cond_broadcast(&ch->c);
	mutex_unlock(&ch->m);
	return leaf;
}

/* look: NULL if it is not to wait. */
static unsigned int reap_leaves(struct bdev_channel *ch, const struct channel_look *look)
{
	struct channel_leaf *leaf = NULL;
	unsigned int count = 0;

	ch->has_more = false;
	while ((leaf = next_leaf(ch, leaf))) {
		bool has_more = false;
		/* Waited for one, the others have had their time. */
		count += look && count == 0 ? leaf->gather(leaf, *look, &has_more)
					    : leaf->reap(leaf, &has_more);
		ch->has_more |= has_more;
	}
	return count;
}

unsigned int bdev_channel_reap(struct bdev_channel *ch)
{
	return file_channel_reap(ch->files) + reap_leaves(ch, NULL);
}

unsigned int bdev_channel_gather(struct bdev_channel *ch, void (*look)(void *arg),
				 void *arg)
{
	const struct channel_look leaves_look = { look, arg };

	bdev_channel_send(ch);
	if (ch->has_more)
		return bdev_channel_reap(ch);
	unsigned int count = file_channel_gather(ch->files, look, arg);
	return count ? count : reap_leaves(ch, &leaves_look);
}

/* ---- waiting for nothing else ---- */

static int ms_until(uint64_t deadline)
{
	uint64_t now = clock_now();

	if (deadline == NO_DEADLINE)
		return -1;
	return deadline <= now ? 0
			       : (int)min_u64(div_up(deadline - now, NS_PER_MS), INT_MAX);
}

static unsigned int sleep_and_reap(struct bdev_channel *ch, unsigned int wanted,
				   uint64_t deadline, bool *ret_is_woken)
{
	const struct channel_look nothing = { 0 };
	struct epoll_event event;
	unsigned int count;

	if (file_channel_wait(ch->files, wanted, deadline, ret_is_woken, &count)) {
		if (!*ret_is_woken)
			return count;
		deadline = 0;
	} else {
		count = reap_leaves(ch, &nothing);
		if (count)
			return count;
	}
	*ret_is_woken |= epoll_wait(ch->wait_fd, &event, 1, ms_until(deadline)) > 0;
	return count + bdev_channel_reap(ch);
}

unsigned int bdev_channel_wait_for(struct bdev_channel *ch, unsigned int wanted,
				   uint64_t deadline, bool *ret_is_woken)
{
	*ret_is_woken = false;
	bdev_channel_send(ch);
	unsigned int count = ch->is_woken || ch->has_more
				     ? bdev_channel_reap(ch)
				     : sleep_and_reap(ch, wanted, deadline, ret_is_woken);
	ch->is_woken = false;
	return count;
}

unsigned int bdev_channel_wait(struct bdev_channel *ch, uint64_t deadline)
{
	bool is_woken;

	return bdev_channel_wait_for(ch, 1, deadline, &is_woken);
}

void bdev_channel_wake(struct bdev_channel *ch)
{
	uint64_t one = 1;

	if (channel_is_mine(ch))
		ch->is_woken = true;
	else
		(void)!write(ch->event_fd, &one, sizeof(one)); /* full: it is awake */
}
