/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files' part of a channel (channel.c): one task's own libaio context, for direct
 * reads and writes of any files.
 *
 *   bdev_submit -> file_channel_hold -> held -> file_channel_send -> kernel
 *                                        ^            |                |
 *                     no free slot: stays'            v                v
 *             cut: done(-ESTALE)   refused: file_queue_add   file_channel_reap -> done()
 *
 * What one request costs in file_aio.c (a system call to send it, one to reap it, a
 * wake-up of the reaper and one of whoever waits) a channel pays once a burst: one
 * io_submit() with several iocbs, under which the kernel also rings the device's bell
 * once; completions are read from the ring that the kernel maps into the process; the
 * eventfd wakes the task where it sleeps anyway.
 *
 * Bursts are kept short on both sides, or client and device would take turns instead of
 * working at the same time: at most BURST are held back and BURST_APART sent at once; and
 * the task gathers a quarter of what is at the devices, not all. No shorter than that if
 * there are more: for one or two the kernel (AIO_PLUG_THRESHOLD) rings the bell for each,
 * which is a third of the processor time where the device is a virtual one. It gathers
 * because under a deep queue each completion by itself would wake it, then its client,
 * then it again: four changes of task per request. GATHER_NS bounds what that adds to a
 * request on a slow device.
 *
 * It gathers awake, looking for what its clients send, so that the next requests are
 * ready when the device is: one that works off its queue and then tells of all at once (a
 * virtual disk does) would otherwise stand still for as long as they take to be read.
 * What comes in is held until then, or that device would tell of nothing before it had
 * done these, too. It gathers asleep
 *
 *	- while writes are under way: the kernel ends a direct write in a worker of the
 *	  processor that sent it, ours;
 *	- for a while after it was in the way of another task, or awake for nothing
 *	  (awake.h).
 *
 * A task that has nothing else to wait for (file_channel_wait) is better off without all
 * that: it sends what it has in one call, under which the kernel rings the bell once, and
 * sleeps in the kernel's queue itself until one has ended. So the iocbs ring no eventfd
 * for it, and one more iocb, a poll of wake_fd, ends that sleep for what else comes.
 *
 * Invariants:
 * 1. Everything here belongs to one task, so nothing is locked. Only the kernel writes
 *    beside it: events and the tail of the ring. We write the head, and only we.
 * 2. An io is held, or in a slot at the kernel, or no longer the channel's. Slots are
 *    depth in number, and the ring has room for these and the poll: it cannot overflow.
 * 3. An iocb refers to the open file whose OFD lock is the liveness lock, as in
 *    file_aio.c. What is only held is sent by nobody after the process's death.
 * 4. What is cut while it is held is not sent. The file counts what is held and sent:
 *    mending it waits for that.
 * 5. What comes back short, or for lack of room, is done anew as a whole by file_aio.c:
 *    its memory is unchanged, and nobody was told of the part.
 *
 * The context is made for the first io: a channel over other leaves takes nothing from
 * the system's share of contexts. If there is none to be had, file_aio.c does it all.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "bdev/awake.h"
#include "bdev/channel.h"
#include "bdev/file.h"

#define BURST 8	      /* held back at most while there are slots; sent at once */
#define BURST_APART 4 /* the same of what the kernel cannot join */
#define BURST_LONE FILE_BATCH /* the same of a task that waits for nothing else */
#define GATHER_SHARE 4
#define GATHER_MIN 2
#define GATHER_NS (400 * NS_PER_US)
#define UNARMED_NS NS_PER_MS /* a sleep that nothing else could end */
#define RING_MAGIC 0xa10a10a1u

/* What the kernel maps at a context's address (fs/aio.c): fixed since its first day. */
struct ring {
	uint32_t id, size; /* size: of event[] */
	_Atomic uint32_t head, tail;
	uint32_t magic, compatible, incompatible, header_size;
	struct io_event event[];
};

struct slot {
	struct iocb iocb; /* first: completions come back as its address */
	struct bdev_io *io;
	struct slot *next; /* free */
};

struct file_channel {
	int event_fd;
	bool is_started;
	struct ring *ring; /* the context too; NULL: there is none */
	struct bdev_io *held, **held_last;
	unsigned int held_count;
	unsigned int sent;   /* slots at the kernel */
	unsigned int writes; /* of them */
	bool is_gathering;   /* what comes is held */
	struct awake awake;
	bool is_lone;  /* its task sleeps in file_channel_wait() and nowhere else */
	bool is_armed; /* wake is at the kernel */
	int wake_fd;
	struct iocb wake; /* its event has no data */
	struct slot *free;
	struct slot slots[FILE_DEPTH];
};

struct file_channel *file_channel_new(int event_fd, int wake_fd)
{
	struct file_channel *ch = calloc(1, sizeof(*ch));
	if (!ch)
		return NULL;
	ch->event_fd = event_fd;
	ch->wake_fd = wake_fd;
	ch->held_last = &ch->held;
	return ch;
}

static io_context_t context_of(const struct file_channel *ch)
{
	return (io_context_t)ch->ring;
}

void file_channel_free(struct file_channel *ch)
{
	if (!ch)
		return;
	assert(!ch->held && ch->sent == 0);
	if (ch->ring)
		(void)io_destroy(context_of(ch));
	free(ch);
}

static void start(struct file_channel *ch)
{
	io_context_t ctx;
	unsigned int depth;
	ch->is_started = true;
	if (file_context_new(&ctx, &depth) < 0)
		return;
	struct ring *ring = (struct ring *)ctx;
	if (ring->magic != RING_MAGIC || ring->incompatible || ring->size <= depth) {
		(void)io_destroy(ctx); /* not the ring that we can read */
		return;
	}
	ch->ring = ring;
	for (unsigned int i = 0; i < depth; i++) {
		ch->slots[i].next = ch->free;
		ch->free = &ch->slots[i];
	}
}

static unsigned int burst_max(const struct file_channel *ch)
{
	return ch->is_lone ? BURST_LONE : BURST;
}

bool file_channel_hold(struct file_bdev *file, struct bdev_io *io)
{
	struct file_channel *ch = channel_files(io->channel);
	bool is_data = io->op == BDEV_READ || io->op == BDEV_WRITE;
	if (!is_data || !file->is_direct || io->deadline || io->iovcnt > FILE_IOV_LIMIT)
		return false;
	if (!ch->is_started)
		start(ch);
	if (!ch->ring)
		return false;
	(void)atomic_fetch_add(&file->in_channels, 1); /* before is_cut is tested */
	io->priv.next = NULL;
	*ch->held_last = io;
	ch->held_last = &io->priv.next;
	if (++ch->held_count >= burst_max(ch) && !ch->is_gathering)
		file_channel_send(ch);
	return true;
}

/* ---- sending ---- */

static struct bdev_io *take_held(struct file_channel *ch)
{
	struct bdev_io *io = ch->held;
	ch->held = io->priv.next;
	if (!ch->held)
		ch->held_last = &ch->held;
	ch->held_count--;
	return io;
}

static void slot_free(struct file_channel *ch, struct slot *slot)
{
	slot->next = ch->free;
	ch->free = slot;
	ch->sent--;
	ch->writes -= slot->io->op == BDEV_WRITE;
}

/* How many at the kernel have ended, and are not reaped. */
static unsigned int ended_count(const struct file_channel *ch)
{
	const struct ring *ring = ch->ring;
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	return tail >= head ? tail - head : tail + ring->size - head;
}

/* How many to send at once: the device is not to wait for what it could begin with. */
static unsigned int burst_now(const struct file_channel *ch)
{
	return ch->is_lone ? BURST_LONE : BURST_APART;
}

/* Two that the kernel can make one of, if they come to it together. */
static bool is_next_to(const struct bdev_io *a, const struct bdev_io *b)
{
	return a->bd == b->bd && a->op == b->op && a->offset + a->len == b->offset;
}

/* The end of an io in a channel: after it the file may be closed. */
static void finish(struct file_bdev *file, struct bdev_io *io, int result)
{
	bdev_io_complete(io, result);
	(void)atomic_fetch_sub(&file->in_channels, 1);
}

/* The end of its part of it: the file's own queue takes it. */
static void pass_on(struct file_bdev *file, struct bdev_io *io)
{
	file_queue_add(file, io);
	(void)atomic_fetch_sub(&file->in_channels, 1);
}

/* Puts the next burst of what is held into slots, if there are any; their number. */
static unsigned int fill_slots(struct file_channel *ch, struct iocb **list)
{
	const struct bdev_io *last = NULL;
	unsigned int n = 0, max = burst_now(ch);
	while (n < burst_max(ch) && ch->held && ch->free) {
		if (n >= max && !is_next_to(last, ch->held))
			break;
		struct bdev_io *io = take_held(ch);
		struct file_bdev *file = (struct file_bdev *)io->bd;
		if (atomic_load(&file->is_cut)) {
			finish(file, io, -ESTALE);
			continue;
		}
		struct slot *slot = ch->free;
		ch->free = slot->next;
		ch->sent++;
		ch->writes += io->op == BDEV_WRITE;
		slot->io = io;
		file_iocb(file, io, &slot->iocb);
		slot->iocb.data = slot;
		if (!ch->is_lone)
			io_set_eventfd(&slot->iocb, ch->event_fd);
		list[n++] = &slot->iocb;
		last = io;
	}
	return n;
}

static bool is_for_another_try(int error)
{
	return error == EAGAIN || error == EINTR || error == ENOMEM;
}

/* Of the kernel's event for slot; NULL: the poll has ended. */
static void ended(struct file_channel *ch, struct slot *slot, long result)
{
	if (!slot) {
		ch->is_armed = false;
		return;
	}
	struct bdev_io *io = slot->io;
	struct file_bdev *file = (struct file_bdev *)io->bd;
	slot_free(ch, slot);
	if (result == (long)io->len)
		finish(file, io, 0);
	else if (result >= 0 || is_for_another_try((int)-result))
		pass_on(file, io);
	else
		finish(file, io, file_error(file, io, (int)-result));
}

/* 1: the poll is not at the kernel, and is in the list now. */
static long add_wake(struct file_channel *ch, struct iocb **list)
{
	if (ch->is_armed)
		return 0;
	io_prep_poll(&ch->wake, ch->wake_fd, POLLIN);
	ch->is_armed = true;
	*list = &ch->wake;
	return 1;
}

void file_channel_send(struct file_channel *ch)
{
	struct iocb *list[1 + BURST_LONE];
	while (ch->held && ch->free) {
		long n = ch->is_lone ? add_wake(ch, list) : 0;
		n += fill_slots(ch, list + n);
		for (long at = 0; at < n;) {
			int rc = io_submit(context_of(ch), n - at, list + at);
			if (rc <= 0) {
				ended(ch, list[at]->data, rc < 0 ? rc : -EAGAIN);
				rc = 1;
			}
			at += rc;
		}
	}
}

/* ---- reaping ---- */

unsigned int file_channel_reap(struct file_channel *ch)
{
	struct ring *ring = ch->ring;
	unsigned int count = 0;
	if (ch->sent == 0)
		return 0;
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	while (head != tail) {
		struct io_event event = ring->event[head];
		head = head + 1 < ring->size ? head + 1 : 0;
		atomic_store_explicit(&ring->head, head, memory_order_release);
		ended(ch, event.data, (long)event.res);
		count++;
	}
	return count;
}

static void gather_awake(struct file_channel *ch, unsigned int wanted,
			 void (*look)(void *arg), void *arg)
{
	uint64_t now = clock_now(), limit = now + GATHER_NS;
	awake_begin(&ch->awake);
	ch->is_gathering = true;
	while (ended_count(ch) < wanted && now < limit) {
		if (look)
			look(arg);
		now = clock_now();
	}
	ch->is_gathering = false;
	awake_end(&ch->awake, now, ended_count(ch) >= wanted);
}

/* limit: of the sleep; NULL: none. */
static unsigned int gather_asleep(struct file_channel *ch, unsigned int wanted,
				  struct timespec *limit)
{
	struct io_event event[FILE_BATCH];
	int n = io_getevents(context_of(ch), wanted, FILE_BATCH, event, limit);
	unsigned int count = 0; /* n < 0: interrupted */
	for (int i = 0; i < n; i++) {
		count += event[i].data != NULL;
		ended(ch, event[i].data, (long)event[i].res);
	}
	return count;
}

unsigned int file_channel_gather(struct file_channel *ch, void (*look)(void *arg),
				 void *arg)
{
	file_channel_send(ch);
	unsigned int wanted = ch->sent / GATHER_SHARE;
	if (wanted < GATHER_MIN)
		return 0;
	struct timespec limit = { .tv_nsec = GATHER_NS };
	if (ch->writes || !awake_may(&ch->awake, clock_now()))
		return gather_asleep(ch, wanted, &limit);
	gather_awake(ch, wanted, look, arg);
	file_channel_send(ch);
	return file_channel_reap(ch);
}

/* ---- waiting for nothing else ---- */

static bool arm(struct file_channel *ch)
{
	struct iocb *list[1];
	if (add_wake(ch, list))
		ch->is_armed = io_submit(context_of(ch), 1, list) == 1;
	return ch->is_armed;
}

bool file_channel_wait(struct file_channel *ch, unsigned int wanted, uint64_t deadline,
		       bool *ret_is_woken, unsigned int *ret_count)
{
	*ret_is_woken = false;
	/* An old wake-up in the ring would end this sleep, too. */
	*ret_count = ch->is_lone && wanted == 1 ? file_channel_reap(ch) : 0;
	if (*ret_count)
		return true;
	/* Who is waited for here rings nothing: that is decided once and for all. */
	if (ch->sent == 0 || (!arm(ch) && !ch->is_lone))
		return false;
	ch->is_lone = true;
	uint64_t now = deadline == NO_DEADLINE ? 0 : clock_now();
	uint64_t left = deadline > now ? deadline - now : 0;
	if (!ch->is_armed)
		left = min_u64(left, UNARMED_NS);
	struct timespec limit = { .tv_sec = (time_t)(left / NS_PER_S),
				  .tv_nsec = (long)(left % NS_PER_S) };
	bool has_limit = left != NO_DEADLINE;
	wanted = wanted < ch->sent ? wanted : ch->sent;
	*ret_count = gather_asleep(ch, wanted, has_limit ? &limit : NULL);
	*ret_is_woken = !ch->is_armed;
	return true;
}
