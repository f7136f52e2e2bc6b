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
 * Few requests at a time are each done by a worker, who sleeps until the storage has
 * answered: that is the shortest way for one. Of many that would be one sleep, one waking
 * and one ring of the device's bell each. So from some on a worker lends the memory of
 * what can be done without waiting (direct.c), and takes the next request; it is answered
 * by whom the device tells. And while many are lent, one worker gathers: the device file
 * does not block, he takes all that is there, and what he starts is held back until there
 * is nothing more, or enough for the device. The others park.
 *
 *	             GATHER_FROM are lent              one that is to be waited for, or
 *	(nobody) -------------------------> gathers    none for LINGER_MS, or few lent
 *	    ^         others park              |       for long, or stopping
 *	    '----------------------------------'
 *
 * Who was in his wait for a request when that began takes one more before he parks.
 *
 * And if they come one by one, another worker each time (the kernel gives a request to
 * who has waited longest) costs a sixth of their speed. So after some reads and writes,
 * each of which was the only request, one worker is alone: the others are woken from
 * their waits, and park. Who is alone asks now and then, before he answers, whether there
 * is another request: nobody who waits for an answer has sent one. Then the others come
 * back; so they do before any other kind of request, and one of them watches: if nothing
 * was taken for WATCH_NS, there is nothing to do, or the request takes long.
 *
 *	           SINGLES_MIN one by one            several at a time, another kind,
 *	(nobody) -------------------------> alone   nothing for WATCH_NS, or stopping
 *	    ^         others park              |
 *	    '----------------------------------'
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
 * 1. Somebody waits for a request as long as there may be more workers; while one is
 *    alone, within WATCH_NS.
 * 2. A request that was taken is answered by its worker: a signal ends waiting alone.
 * 3. Memory is touched by its worker alone, and by the kernel while that waits; while it
 *    is lent, by who has borrowed it. It is given back after the answer.
 * 4. What is held is sent before who gathers sleeps, waits, or ends: so nothing that is
 *    held waits for a request that may never come.
 * 5. Who gathers waits for no storage: a request of which that is not known ends it
 *    first. Who parks has no request.
 * 6. The device file blocks if and only if nobody gathers.
 */
#include "fuse/loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/large.h"

/* What stands before the data of a write. */
#define BEFORE_DATA (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define KEPT (64u << 10)	     /* bytes of data whose pages a worker keeps */
#define REST_NS NS_PER_S	     /* who has not worked for so long gives back more */
#define WORKERS_KEPT 2u		     /* though one would do */
#define AGAIN_NS (10 * NS_PER_MS)    /* a signal may come just before the wait */
#define WAKE_SIGNAL SIGUSR1
#define DEEP 8u		/* requests at a time: from here on memory is lent */
#define LENT_MAX 96u
#define GATHER_FROM 8u	/* are lent */
#define GATHER_REST 64u /* requests after the end of who has gathered */
#define SHALLOW_MAX 32u /* requests with fewer than DEEP others, one after the other */
#define BURST 16u	/* held back at most */
#define LINGER_MS 5
#define SINGLES_MIN 32u		 /* requests one by one, until one worker does all */
#define ASK_EACH 8u		 /* requests: whether there is another */
#define WATCH_NS (3 * NS_PER_MS)

struct loop_memory {
	SLIST_ENTRY(loop_memory) link; /* loop->spare_memory */
	struct loop *loop;
	bool is_large;	/* has pages beyond KEPT */
	bool is_joined; /* on a large page */
	uint64_t note[LOOP_NOTE_SIZE / 8];
};

static_assert(sizeof(struct loop_memory) + BEFORE_DATA <= IO_ALIGN, "before the data");

struct worker {
	LIST_ENTRY(worker) link; /* loop->workers */
	struct loop *loop;
	struct task *task;
	struct loop_memory *memory;
	pid_t tid;	       /* 0: has not begun, or has ended */
	uint64_t served, seen; /* requests; when it was looked at last */
	bool is_waiting;
	bool is_deep;	       /* its request is one of DEEP at least */
	bool is_busy;	       /* has one that is not answered */
	bool is_leaving;       /* is not needed: ends once it has no request */
	bool has_ended;
	/* Of who gathers: */
	unsigned int held;    /* requests that are not sent */
	unsigned int under_way; /* with these, when the last was lent */
	unsigned int unasked; /* taken since it was asked whether to go on */
	unsigned int shallow; /* with few others, one after the other */
};

static _Thread_local struct worker *self;

/* With the mutex held. */
static void set_blocking(const struct loop *l, bool is_blocking)
{
	(void)fcntl(l->device_fd, F_SETFL, is_blocking ? O_RDWR : O_RDWR | O_NONBLOCK);
}

static bool gathers(const struct worker *w)
{
	return w == __atomic_load_n(&w->loop->gatherer, __ATOMIC_RELAXED);
}

static bool is_alone(const struct worker *w)
{
	return w == __atomic_load_n(&w->loop->alone, __ATOMIC_RELAXED);
}

/* ---- memory ---- */

static struct loop_memory *memory_new(struct loop *l)
{
	uint8_t *data = large_reserve(IO_ALIGN, LOOP_DATA_MAX);
	if (!data)
		return NULL;
	struct loop_memory *memory = (void *)(data - IO_ALIGN);
	*memory = (struct loop_memory){ .loop = l };
	return memory;
}

static void memory_free(struct loop_memory *memory)
{
	if (memory)
		large_release(loop_data(memory), IO_ALIGN, LOOP_DATA_MAX);
}

void *loop_data(struct loop_memory *memory)
{
	return (uint8_t *)memory + IO_ALIGN;
}

void *loop_note(struct loop_memory *memory)
{
	return memory->note;
}

/* Where a request is taken to. */
static uint8_t *request_of(struct worker *w)
{
	return (uint8_t *)loop_data(w->memory) - BEFORE_DATA;
}

/* That much of the data's place is used now. */
static void use_memory(struct worker *w, size_t size)
{
	if (size <= KEPT || w->memory->is_large)
		return;
	mutex_lock(&w->loop->m);
	w->memory->is_large = true;
	w->loop->has_large = true;
	cond_broadcast(&w->loop->c);
	mutex_unlock(&w->loop->m);
}

/* Nothing is in it. */
static void join_pages(struct worker *w)
{
	struct loop_memory *memory = w->memory;
	if (!memory->is_large || memory->is_joined)
		return;
	large_join(loop_data(memory), LOOP_DATA_MAX);
	memory->is_joined = true;
}

static void give_pages_back(struct worker *w)
{
	large_split(loop_data(w->memory), LOOP_DATA_MAX);
	w->memory->is_joined = false;
	mutex_lock(&w->loop->m);
	w->memory->is_large = false;
	mutex_unlock(&w->loop->m);
}

void *loop_memory(size_t size)
{
	use_memory(self, size);
	join_pages(self);
	return loop_data(self->memory);
}

bool loop_drops_set_id(void)
{
	struct fuse_write_in in;
	(void)memcpy(&in, (uint8_t *)loop_data(self->memory) - sizeof(in), sizeof(in));
	return in.write_flags & FUSE_WRITE_KILL_SUIDGID;
}

/* ---- memory that is lent ---- */

bool loop_may_lend(void)
{
	return self->is_deep || gathers(self);
}

/* With the mutex held: the depth that the worker finds, and who gathers. */
static void count_lent(struct worker *w)
{
	struct loop *l = w->loop;
	if (l->gatherer == w) {
		w->shallow = l->lent < DEEP ? w->shallow + 1 : 0;
		w->held++;
		w->served++;
	} else if (l->gather_rest) {
		l->gather_rest--;
	} else if (!l->gatherer && l->lent >= GATHER_FROM && !l->is_stopping) {
		w->shallow = w->unasked = 0;
		w->held = 1;
		w->is_waiting = true; /* from here on, for all that comes */
		l->waiting++;
		set_blocking(l, false);
		__atomic_store_n(&l->gatherer, w, __ATOMIC_RELAXED);
	}
	w->under_way = ++l->lent;
}

/* With the mutex held: what the worker goes on with, or NULL. */
static struct loop_memory *next_memory(struct worker *w)
{
	struct loop *l = w->loop;
	if (l->lent >= LENT_MAX || (l->gatherer == w && w->shallow >= SHALLOW_MAX))
		return NULL;
	struct loop_memory *memory = SLIST_FIRST(&l->spare_memory);
	if (memory)
		SLIST_REMOVE_HEAD(&l->spare_memory, link);
	return memory ? memory : memory_new(l);
}

struct loop_memory *loop_lend(void)
{
	struct worker *w = self;
	struct loop *l = w->loop;
	struct loop_memory *memory = NULL;
	mutex_lock(&l->m);
	struct loop_memory *next = next_memory(w);
	if (next) {
		memory = w->memory;
		w->memory = next;
		count_lent(w);
	}
	mutex_unlock(&l->m);
	return memory;
}

void loop_give_back(struct loop_memory *memory)
{
	struct loop *l = memory->loop;
	mutex_lock(&l->m);
	l->lent--;
	SLIST_INSERT_HEAD(&l->spare_memory, memory, link);
	if (!l->has_large) {
		l->has_large = true;
		cond_broadcast(&l->c);
	}
	mutex_unlock(&l->m);
}

/* With the mutex held. */
static void free_spare(struct loop *l)
{
	for (struct loop_memory *m; (m = SLIST_FIRST(&l->spare_memory));) {
		SLIST_REMOVE_HEAD(&l->spare_memory, link);
		memory_free(m);
	}
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
	w->memory = memory_new(l);
	w->task = w->memory ? task_start("fuse", work, w) : NULL;
	if (!w->task) {
		memory_free(w->memory);
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

/* ---- who gathers ---- */

static void send_held(struct worker *w)
{
	if (w->held)
		w->loop->send(w->loop->arg);
	w->held = 0;
}

/* It waits as the others do. */
static void end_gathering(struct worker *w)
{
	struct loop *l = w->loop;
	send_held(w);
	mutex_lock(&l->m);
	set_blocking(l, true);
	__atomic_store_n(&l->gatherer, NULL, __ATOMIC_RELAXED);
	l->gather_rest = GATHER_REST;
	cond_broadcast(&l->parked);
	mutex_unlock(&l->m);
}

/* There is no request. */
static void linger(struct worker *w)
{
	struct pollfd p = { .fd = w->loop->device_fd, .events = POLLIN };
	w->unasked = 0;
	send_held(w);
	if (poll(&p, 1, LINGER_MS) == 0)
		end_gathering(w);
}

/* What it has held is enough for a device that has as much to do. */
static void send_enough(struct worker *w)
{
	if (w->held >= BURST || 2 * w->held >= w->under_way)
		send_held(w);
}

bool loop_is_gathering(void)
{
	return gathers(self);
}

/* ---- who is alone ---- */

/* With the mutex held. */
static void end_alone(struct loop *l)
{
	__atomic_store_n(&l->alone, NULL, __ATOMIC_RELAXED);
	l->singles = 0;
	cond_broadcast(&l->parked);
}

static void leave_alone(struct worker *w)
{
	struct loop *l = w->loop;
	mutex_lock(&l->m);
	if (l->alone == w)
		end_alone(l);
	mutex_unlock(&l->m);
}

/* With the mutex held: its wait for a request is over, if it is in one. */
static void wake(const struct worker *w)
{
	if (w->tid && w->is_waiting)
		(void)tgkill(getpid(), w->tid, WAKE_SIGNAL);
}

/* With the mutex held, by who is about to wait. */
static void begin_alone(struct worker *w)
{
	struct loop *l = w->loop;
	if (l->singles < SINGLES_MIN || l->alone || l->gatherer || l->count < 2)
		return;
	__atomic_store_n(&l->alone, w, __ATOMIC_RELAXED);
	struct worker *other;
	LIST_FOREACH(other, &l->workers, link)
	{
		if (other != w)
			wake(other);
	}
}

static void unbusy(struct worker *w)
{
	if (w->is_busy)
		(void)__atomic_fetch_sub(&w->loop->busy, 1, __ATOMIC_RELAXED);
	w->is_busy = false;
}

void loop_will_answer(void)
{
	struct worker *w = self;
	unbusy(w);
	struct pollfd p = { .fd = w->loop->device_fd, .events = POLLIN };
	if (is_alone(w) && w->served % ASK_EACH == 0 && poll(&p, 1, 0) > 0)
		leave_alone(w);
}

/* With the mutex held, by one of those that are parked: who is alone goes on, or not. */
static void watch(struct worker *w)
{
	struct loop *l = w->loop;
	const struct worker *alone = l->alone;
	uint64_t served = alone->served;
	l->watcher = w;
	while (cond_wait_until(&l->parked, &l->m, clock_now() + WATCH_NS) == 0 &&
	       l->alone == alone && !l->is_stopping && !w->is_leaving) {
	}
	l->watcher = NULL;
	/* Nothing came, or he is at the same request. */
	if (l->alone == alone && alone->served == served)
		end_alone(l);
	else if (l->alone && w->is_leaving)
		cond_broadcast(&l->parked); /* another watches */
}

/* ---- requests ---- */

/* Bytes of the request that was taken; 0: go on; -errno: it is over. */
static ssize_t take(struct worker *w)
{
	join_pages(w);
	ssize_t n = read(w->loop->device_fd, request_of(w), BEFORE_DATA + LOOP_DATA_MAX);
	int err = n < 0 ? errno : 0;
	if (err == EINTR && w->memory->is_large)
		give_pages_back(w);
	if (err == EAGAIN && gathers(w))
		linger(w);
	/* ENOENT: who asked is gone. */
	return n >= 0 ? n : err == EINTR || err == EAGAIN || err == ENOENT ? 0 : -err;
}

/* With the mutex held: another gathers, or is alone. */
static bool is_to_park(const struct worker *w)
{
	const struct loop *l = w->loop;
	return (l->gatherer && l->gatherer != w) || (l->alone && l->alone != w);
}

/* With the mutex held: may it take something more? Parks while another does all. */
static bool is_to_go_on(struct worker *w)
{
	struct loop *l = w->loop;
	while (is_to_park(w) && !l->is_stopping && !w->is_leaving) {
		if (l->alone && !l->watcher)
			watch(w);
		else
			cond_wait(&l->parked, &l->m);
	}
	return !l->is_stopping && !w->is_leaving;
}

/* false: it is to take nothing more. */
static bool begin_waiting(struct worker *w)
{
	struct loop *l = w->loop;
	/* Who gathers is asked less often. */
	if (gathers(w) && w->unasked++ % BURST)
		return true;
	mutex_lock(&l->m);
	if (!l->is_stopping && !w->is_leaving) {
		l->waiting += !w->is_waiting;
		w->is_waiting = true;
	}
	begin_alone(w);
	bool is_going_on = is_to_go_on(w);
	w->is_waiting = is_going_on;
	mutex_unlock(&l->m);
	return is_going_on;
}

static void begin_working(struct worker *w, bool is_data)
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
	w->is_deep = l->count + l->lent >= l->waiting + DEEP;
	bool is_single = !__atomic_fetch_add(&l->busy, 1, __ATOMIC_RELAXED) && !l->lent;
	l->singles = is_data && is_single ? l->singles + 1 : 0;
	w->is_busy = true;
	/* Others may take long. */
	if (!is_data && l->alone == w)
		end_alone(l);
	mutex_unlock(&l->m);
}

void loop_will_wait(void)
{
	struct worker *w = self;
	if (!gathers(w))
		return;
	end_gathering(w);
	begin_working(w, false);
}

static bool is_read_or_write(const uint8_t *request)
{
	struct fuse_in_header in;
	(void)memcpy(&in, request, sizeof(in));
	return in.opcode == FUSE_READ || in.opcode == FUSE_WRITE;
}

static void serve(struct worker *w, size_t size)
{
	struct fuse_buf request = { .size = size, .mem = request_of(w), .fd = -1 };
	bool is_data = is_read_or_write(request.mem);
	use_memory(w, size);
	if (!gathers(w))
		begin_working(w, is_data);
	else if (!is_data)
		loop_will_wait();
	fuse_session_process_buf(w->loop->session, &request);
	unbusy(w);
	if (w->held)
		send_enough(w);
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
	cond_broadcast(&l->parked);
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

static void work(void *arg)
{
	struct worker *w = arg;
	ssize_t n = 0;
	self = w;
	mutex_lock(&w->loop->m);
	w->tid = gettid();
	mutex_unlock(&w->loop->m);
	while (n >= 0 && begin_waiting(w)) {
		n = take(w);
		if (n > 0)
			serve(w, (size_t)n);
	}
	if (gathers(w))
		end_gathering(w);
	leave_alone(w);
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
		wake(w);
	}
	return n;
}

/* With the mutex held. Those who have rested since the last time give memory back. */
static void wake_rested(struct loop *l)
{
	struct worker *w;
	l->has_large = false;
	free_spare(l);
	LIST_FOREACH(w, &l->workers, link)
	{
		l->has_large |= w->memory->is_large;
		if (w->memory->is_large && w->served == w->seen)
			wake(w);
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
		if (w->is_leaving)
			wake(w);
	}
	l->spare = l->waiting;
	cond_broadcast(&l->parked);
}

static void worker_free(struct worker *w)
{
	task_join(w->task);
	memory_free(w->memory);
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
	cond_broadcast(&l->parked);
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

void loop_init(struct loop *l, struct fuse_session *session, unsigned int count_max,
	       void (*send)(void *arg), void *arg)
{
	*l = (struct loop){ .session = session, .count_max = count_max,
			    .send = send, .arg = arg, .device_fd = -1 };
	mutex_init(&l->m);
	cond_init(&l->c);
	cond_init(&l->parked);
}

void loop_done(struct loop *l)
{
	free_spare(l);
	cond_done(&l->parked);
	cond_done(&l->c);
	mutex_done(&l->m);
}
