/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tasks that take requests from the kernel and answer them, and the memory of each.
 *
 * A request comes in one piece: a header, what the operation says, then its data. Each
 * worker has memory for one; it takes it in so that the data of a write begin on a page:
 *
 *	 memory                 memory + IO_ALIGN
 *	 |               |header|write|data ...              |
 *	 '------------ IO_ALIGN ------'---- LOOP_DATA_MAX ----'
 *
 * From there the device takes them, by direct I/O and without a copy, and there data that
 * are read are put. The pages stay between requests: a fresh MiB costs more than a copy.
 *
 *	         a request came, nobody waits
 *	(none) ----------------------------------> waiting <----> working
 *	                                             |  mount gone, too many, stopping
 *	                                             '---------------------> ended
 *
 * The kernel gives a request to who has waited longest. So all that wait take turns,
 * however few requests there are at a time, and each finds its memory and stack out of
 * the processor's caches: with 32 workers a single reader gets a tenth less. Who runs the
 * loop looks each second how many have waited all the time, and sends all but a few of
 * them away.
 *
 * He wakes by a signal: those, those that have not worked for a while, so that they give
 * their pages back, and, when it is to end, all that wait.
 *
 * Invariants:
 * 1. Somebody waits for a request as long as there may be more workers.
 * 2. A request that was taken is answered by its worker: a signal ends waiting alone.
 * 3. Memory is touched by its worker alone, and by the kernel while that waits.
 */
#include "fuse/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"

/* What stands before the data of a write. */
#define BEFORE_DATA (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define KEPT (64u << 10)	     /* bytes of data that a worker keeps pages for */
#define REST_NS NS_PER_S	     /* who has not worked for so long gives back more */
#define WORKERS_KEPT 2u		     /* though one would do */
#define AGAIN_NS (10 * NS_PER_MS)    /* a signal may come just before the wait */
#define WAKE_SIGNAL SIGUSR1

struct worker {
	LIST_ENTRY(worker) link; /* loop->workers */
	struct loop *loop;
	struct task *task;
	uint8_t *memory;
	pid_t tid;		   /* 0: has not begun, or has ended */
	uint64_t served, seen;	   /* requests; when it was looked at last */
	bool is_waiting, is_large; /* has pages beyond KEPT */
	bool is_leaving;	   /* is not needed: ends once it has no request */
	bool has_ended;
};

static _Thread_local struct worker *self;

/* ---- memory ---- */

/* That much of the data's place is used now. */
static void use_memory(struct worker *w, size_t size)
{
	if (size <= KEPT || w->is_large)
		return;
	mutex_lock(&w->loop->m);
	w->is_large = true;
	w->loop->has_large = true;
	cond_broadcast(&w->loop->c);
	mutex_unlock(&w->loop->m);
}

static void give_back(struct worker *w)
{
	(void)madvise(w->memory + IO_ALIGN + KEPT, LOOP_DATA_MAX - KEPT, MADV_DONTNEED);
	mutex_lock(&w->loop->m);
	w->is_large = false;
	mutex_unlock(&w->loop->m);
}

void *loop_memory(size_t size)
{
	use_memory(self, size);
	return self->memory + IO_ALIGN;
}

bool loop_drops_set_id(void)
{
	struct fuse_write_in in;
	(void)memcpy(&in, self->memory + IO_ALIGN - sizeof(in), sizeof(in));
	return in.write_flags & FUSE_WRITE_KILL_SUIDGID;
}

/* ---- workers ---- */

static void work(void *arg);

/* With the mutex held. Without another one it goes on with those that are there. */
static bool start_worker(struct loop *l)
{
	struct worker *w = calloc(1, sizeof(*w));
	if (!w)
		return false;
	w->loop = l;
	w->is_waiting = true; /* soon */
	w->memory = aligned_alloc(IO_ALIGN, IO_ALIGN + LOOP_DATA_MAX);
	w->task = w->memory ? task_start("fuse", work, w) : NULL;
	if (!w->task) {
		free(w->memory);
		free(w);
		return false;
	}
	LIST_INSERT_HEAD(&l->workers, w, link);
	l->count++;
	l->waiting++;
	if (l->count == WORKERS_KEPT + 1)
		cond_broadcast(&l->c); /* some may not be needed for long */
	return true;
}

/* Bytes of the request that was taken; 0: go on; -errno: it is over. */
static ssize_t take(struct worker *w, uint8_t *at)
{
	struct loop *l = w->loop;
	ssize_t n = read(l->device_fd, at, BEFORE_DATA + LOOP_DATA_MAX);
	int err = n < 0 ? errno : 0;
	if (err == EINTR && w->is_large)
		give_back(w);
	/* ENOENT: who asked is gone. */
	return n >= 0 ? n : err == EINTR || err == EAGAIN || err == ENOENT ? 0 : -err;
}

/* false: it is to take nothing more. */
static bool begin_waiting(struct worker *w)
{
	struct loop *l = w->loop;
	mutex_lock(&l->m);
	bool is_going_on = !l->is_stopping && !w->is_leaving;
	if (is_going_on)
		l->waiting += !w->is_waiting;
	w->is_waiting = is_going_on;
	mutex_unlock(&l->m);
	return is_going_on;
}

static void begin_working(struct worker *w)
{
	struct loop *l = w->loop;
	mutex_lock(&l->m);
	w->is_waiting = false;
	w->served++;
	/* Who was to leave was not counted any more. */
	if (!w->is_leaving && --l->waiting == 0 && l->count < l->count_max &&
	    !l->is_stopping)
		(void)start_worker(l);
	if (l->waiting < l->spare)
		l->spare = l->waiting;
	mutex_unlock(&l->m);
}

static void end(struct worker *w, int err)
{
	struct loop *l = w->loop;
	mutex_lock(&l->m);
	if (err && err != -ENODEV && !l->err)
		l->err = err;
	l->is_stopping |= err || !w->is_leaving;
	w->tid = 0;
	w->has_ended = true;
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

static void work(void *arg)
{
	struct worker *w = arg;
	uint8_t *at = w->memory + IO_ALIGN - BEFORE_DATA;
	ssize_t n = 0;
	self = w;
	mutex_lock(&w->loop->m);
	w->tid = gettid();
	mutex_unlock(&w->loop->m);
	while (n >= 0 && begin_waiting(w)) {
		n = take(w, at);
		if (n <= 0)
			continue;
		struct fuse_buf request = { .size = (size_t)n, .mem = at, .fd = -1 };
		use_memory(w, request.size);
		begin_working(w);
		fuse_session_process_buf(w->loop->session, &request);
	}
	end(w, n < 0 ? (int)n : 0);
}

/* ---- who runs it ---- */

static void interrupted(int number)
{
	(void)number; /* the wait has ended */
}

/* With the mutex held. The number of those that have not ended. */
static unsigned int wake_all(struct loop *l)
{
	const struct worker *w;
	unsigned int n = 0;
	LIST_FOREACH(w, &l->workers, link)
	{
		n += w->tid != 0;
		if (w->tid && w->is_waiting)
			(void)tgkill(getpid(), w->tid, WAKE_SIGNAL);
	}
	return n;
}

/* With the mutex held. Those who have rested since the last time give memory back. */
static void wake_rested(struct loop *l)
{
	struct worker *w;
	l->has_large = false;
	LIST_FOREACH(w, &l->workers, link)
	{
		l->has_large |= w->is_large;
		if (w->is_large && w->is_waiting && w->served == w->seen && w->tid)
			(void)tgkill(getpid(), w->tid, WAKE_SIGNAL);
		w->seen = w->served;
	}
}

/* With the mutex held. Those that were not needed since the last time are to leave. */
static void send_away(struct loop *l)
{
	struct worker *w;
	unsigned int staying = 0, n = 0;
	LIST_FOREACH(w, &l->workers, link)
	staying += !w->is_leaving;
	if (staying > WORKERS_KEPT && l->spare)
		n = (unsigned int)min_u64(staying - WORKERS_KEPT, l->spare - 1);
	LIST_FOREACH(w, &l->workers, link)
	{
		if (n && w->is_waiting && !w->is_leaving && w->tid) {
			w->is_leaving = true;
			l->waiting--;
			n--;
		}
		/* Again, if the signal came just before the wait. */
		if (w->is_leaving && w->is_waiting)
			(void)tgkill(getpid(), w->tid, WAKE_SIGNAL);
	}
	l->spare = l->waiting;
}

static void worker_free(struct worker *w)
{
	task_join(w->task);
	free(w->memory);
	free(w);
}

/* With the mutex held, but for the wait for a task that has ended. false: none has. */
static bool collect_ended(struct loop *l)
{
	struct worker *w = LIST_FIRST(&l->workers);
	while (w && !w->has_ended)
		w = LIST_NEXT(w, link);
	if (!w)
		return false;
	LIST_REMOVE(w, link);
	l->count--;
	mutex_unlock(&l->m);
	worker_free(w);
	mutex_lock(&l->m);
	return true;
}

static void wait_for_end(struct loop *l)
{
	mutex_lock(&l->m);
	while (!l->is_stopping) {
		if (!l->has_large && l->count <= WORKERS_KEPT)
			cond_wait(&l->c, &l->m);
		else if (cond_wait_until(&l->c, &l->m, clock_now() + REST_NS) < 0) {
			wake_rested(l);
			send_away(l);
		}
		while (collect_ended(l)) {
		}
	}
	while (wake_all(l)) {
		if (cond_wait_until(&l->c, &l->m, clock_now() + AGAIN_NS) < 0)
			continue; /* again */
	}
	mutex_unlock(&l->m);
}

int loop_run(struct loop *l)
{
	const struct sigaction action = { .sa_handler = interrupted };
	if (sigaction(WAKE_SIGNAL, &action, NULL) != 0)
		return -errno;
	/*
	 * Ours until all have ended: the session's goes when it is unmounted.
	 * By dup(), so that ThreadSanitizer knows that a request comes behind the
	 * answers before it.
	 */
	l->device_fd = dup(fuse_session_fd(l->session));
	if (l->device_fd < 0 || fcntl(l->device_fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	mutex_lock(&l->m);
	bool is_started = start_worker(l);
	l->is_stopping |= !is_started;
	mutex_unlock(&l->m);
	wait_for_end(l);
	for (struct worker *w; (w = LIST_FIRST(&l->workers));) {
		LIST_REMOVE(w, link);
		worker_free(w);
	}
	(void)close(l->device_fd);
	return is_started ? l->err : -ENOMEM;
}

void loop_stop(struct loop *l)
{
	mutex_lock(&l->m);
	l->is_stopping = true;
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

void loop_init(struct loop *l, struct fuse_session *session, unsigned int count_max)
{
	*l = (struct loop){ .session = session, .count_max = count_max, .device_fd = -1 };
	mutex_init(&l->m);
	cond_init(&l->c);
}

void loop_done(struct loop *l)
{
	cond_done(&l->c);
	mutex_done(&l->m);
}
