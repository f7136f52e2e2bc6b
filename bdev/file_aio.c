/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of a file: asynchronous I/O by libaio, and helper tasks for the rest.
 *
 *   submit -> admit -+-> (held: BDEV_MORE) -> kernel (io_submit) -> reaper -> finish
 *                    +-> backlog (depth reached) -> kernel, sent by the reaper
 *                    +-> jobs -> helper -> finish          (what would block io_submit)
 *   timer: gives up what is past its deadline
 *
 * Direct reads and writes, and flushes where the filesystem has an asynchronous one, go
 * to the kernel from the submitting task; one task reaps. ZERO, UNMAP, CAW, all I/O
 * through the page cache, what the kernel refuses for lack of room, and the rest of a
 * short transfer are jobs.
 *
 * Invariants:
 * 1. in_kernel <= depth, so the completion ring cannot overflow and the backlog moves
 *    with each completion: while it is not empty, something is in the kernel.
 * 2. An io with a deadline runs on memory of its request. When it is given up, the
 *    request lives on until the kernel is done with that memory; the caller's is never
 *    touched after done(). What is given up before it was sent is not sent.
 * 3. The caller's io is completed by whoever takes it out of req->io: under the mutex if
 *    it has a deadline; if not, only one task ever holds the request.
 * 4. busy falls after done() has returned: when it is 0 no task of ours is inside a
 *    callback, and the device may be freed.
 * 5. What is cut is completed with -ESTALE at admission, or when a helper or the reaper
 *    would send it.
 *
 * The tasks are started by the first submit, so that a program that only uses the
 * blocking forms has none. Starting them under the mutex does not wait for anybody.
 *
 * Why libaio and not io_uring: LOCKING.md 5.1 asks that no I/O outlives the process's
 * death unseen. An iocb holds a reference to the open file description whose OFD lock is
 * the liveness lock (file_lock.c), so the lock falls after the last iocb has completed.
 * io_uring requests hold such references too, but its fixed files and polling thread
 * would make that an argument per feature; libaio has none of these.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "bdev/file.h"
#include "bdev/iov.h"

#define DEPTH_MIN 16

static unsigned int send_to_kernel(struct file_bdev *file, struct file_req **reqs,
				   unsigned int count);

/* ---- requests ---- */

/* Memory for an io with a deadline (invariant 2). */
static int bounce_new(const struct bdev_io *io, struct iovec *ret_bounce)
{
	if (!io->deadline || !io->iovcnt)
		return 0;
	void *buf = io_alloc(io->len);
	if (!buf)
		return -ENOMEM;
	if (io->op != BDEV_READ)
		iov_gather(buf, io->iov, io->iovcnt, 0, io->len);
	*ret_bounce = (struct iovec){ buf, io->len };
	return 0;
}

static void req_fill(struct file_req *req, struct bdev_io *io, const struct iovec *bounce)
{
	req->io = io;
	req->shadow = *io;
	req->progress = 0;
	req->ended = 0;
	atomic_init(&req->is_sent, false);
	req->bounce = *bounce;
	if (bounce->iov_base) {
		req->shadow.iov = &req->bounce;
		req->shadow.iovcnt = 1;
	}
}

static struct file_req *req_new(struct file_queue *q)
{
	struct file_req *req = STAILQ_FIRST(&q->spare);
	if (req)
		STAILQ_REMOVE_HEAD(&q->spare, next);
	else
		req = malloc(sizeof(*req));
	return req;
}

/* Completes the caller's io, if it was not given up. */
static void finish(struct file_bdev *file, struct file_req *req, int result)
{
	struct bdev_io *io;
	if (req->shadow.deadline) {
		mutex_lock(&file->m);
		io = req->io;
		if (io)
			LIST_REMOVE(req, timed);
		mutex_unlock(&file->m);
	} else {
		io = req->io;
	}
	if (io) {
		if (req->bounce.iov_base && io->op == BDEV_READ && result == 0)
			iov_scatter(io->iov, io->iovcnt, 0, req->bounce.iov_base,
				    io->len);
		io->ended = req->ended;
		bdev_io_complete(io, result);
	}
	free(req->bounce.iov_base);
}

/* Moves what the kernel has room for from the backlog to reqs; the number. Mutex held. */
static unsigned int take_backlog(struct file_queue *q, struct file_req **reqs)
{
	unsigned int n = 0;
	while (n < FILE_BATCH && q->in_kernel < q->depth && !STAILQ_EMPTY(&q->backlog)) {
		reqs[n++] = STAILQ_FIRST(&q->backlog);
		STAILQ_REMOVE_HEAD(&q->backlog, next);
		q->in_kernel++;
	}
	return n;
}

/*
 * Takes back finished requests, of which `from_kernel` were counted there, and sends the
 * backlog; what of that is finished without being sent goes round again.
 */
static void put_reqs(struct file_bdev *file, struct file_req **reqs, unsigned int count,
		     unsigned int from_kernel)
{
	struct file_queue *q = &file->q;
	struct file_req *more[FILE_BATCH];
	while (count) {
		mutex_lock(&file->m);
		for (unsigned int i = 0; i < count; i++)
			STAILQ_INSERT_HEAD(&q->spare, reqs[i], next);
		q->in_kernel -= from_kernel;
		unsigned int n = take_backlog(q, more);
		q->busy -= count;
		if (q->busy == 0)
			cond_broadcast(&q->drained);
		mutex_unlock(&file->m);
		count = n ? send_to_kernel(file, more, n) : 0;
		from_kernel = count;
		reqs = more;
	}
}

/* ---- jobs ---- */

static struct file_req *next_job(struct file_bdev *file)
{
	struct file_queue *q = &file->q;
	mutex_lock(&file->m);
	q->helper_idle++;
	while (STAILQ_EMPTY(&q->jobs) && !q->is_closing)
		cond_wait(&q->job, &file->m);
	q->helper_idle--;
	struct file_req *req = STAILQ_FIRST(&q->jobs);
	if (req)
		STAILQ_REMOVE_HEAD(&q->jobs, next);
	mutex_unlock(&file->m);
	return req;
}

static bool is_given_up(struct file_bdev *file, struct file_req *req)
{
	if (!req->shadow.deadline)
		return false;
	mutex_lock(&file->m);
	bool is = !req->io;
	mutex_unlock(&file->m);
	return is;
}

static void run_job(struct file_bdev *file, struct file_req *req)
{
	int rc = -ETIMEDOUT;
	if (!is_given_up(file, req))
		rc = file_run(file, &req->shadow, req->progress);
	finish(file, req, rc);
	put_reqs(file, &req, 1, 0);
}

static void helper(void *arg)
{
	struct file_bdev *file = arg;
	struct file_req *req;
	while ((req = next_job(file)) != NULL)
		run_job(file, req);
}

/* With the mutex held. false: there is no helper and none can be had. */
static bool queue_job(struct file_bdev *file, struct file_req *req)
{
	struct file_queue *q = &file->q;
	if (q->helper_idle == 0 && q->helper_count < FILE_HELPERS) {
		struct task *t = task_start("bdev-helper", helper, file);
		if (t)
			q->helper[q->helper_count++] = t;
	}
	if (q->helper_count == 0)
		return false;
	STAILQ_INSERT_TAIL(&q->jobs, req, next);
	cond_signal(&q->job);
	return true;
}

/* A request that comes back from the kernel unfinished becomes a job. */
static void kernel_to_job(struct file_bdev *file, struct file_req *req)
{
	mutex_lock(&file->m);
	file->q.in_kernel--;
	bool is_queued = queue_job(file, req);
	mutex_unlock(&file->m);
	if (!is_queued)
		run_job(file, req); /* late, but done */
}

/* ---- the kernel's queue ---- */

void file_iocb(const struct file_bdev *file, const struct bdev_io *io,
	       struct iocb *ret_cb)
{
	struct iocb *cb = ret_cb;
	(void)memset(cb, 0, sizeof(*cb));
	cb->aio_fildes = file->file_fd;
	if (io->op == BDEV_FLUSH) {
		cb->aio_lio_opcode = IO_CMD_FDSYNC;
		return;
	}
	bool is_read = io->op == BDEV_READ;
	cb->aio_rw_flags = file_rw_flags(io);
	cb->u.c.offset = (long long)io->offset;
	if (io->iovcnt == 1) {
		cb->aio_lio_opcode = is_read ? IO_CMD_PREAD : IO_CMD_PWRITE;
		cb->u.c.buf = io->iov[0].iov_base;
		cb->u.c.nbytes = io->len;
	} else {
		cb->aio_lio_opcode = is_read ? IO_CMD_PREADV : IO_CMD_PWRITEV;
		cb->u.c.buf = io->iov;
		cb->u.c.nbytes = (unsigned long)io->iovcnt;
	}
}

/* io_submit() said -error about req. true: it is finished; false: it is a job. */
static bool refused(struct file_bdev *file, struct file_req *req, int error)
{
	bool is_sync = req->shadow.op == BDEV_FLUSH;
	if (is_sync && (error == EINVAL || error == EOPNOTSUPP))
		atomic_store(&file->no_aio_sync, true);
	if (error == EAGAIN || error == EINTR || error == ENOMEM || is_sync) {
		kernel_to_job(file, req);
		return false;
	}
	finish(file, req, file_error(file, &req->shadow, error));
	return true;
}

/*
 * Sends requests that are counted in in_kernel. Those that are finished instead are moved
 * to the front of reqs; returns their number. The others may be gone when this returns.
 */
static unsigned int send_to_kernel(struct file_bdev *file, struct file_req **reqs,
				   unsigned int count)
{
	struct iocb *cb[FILE_BATCH];
	long n = 0;
	unsigned int finished = 0;
	assert(count <= FILE_BATCH);
	for (unsigned int i = 0; i < count; i++) {
		struct file_req *req = reqs[i];
		int rc = atomic_load(&file->is_cut) ? -ESTALE : 0;
		if (rc == 0 && is_given_up(file, req))
			rc = -ETIMEDOUT;
		if (rc == 0) {
			file_iocb(file, &req->shadow, &req->iocb);
			req->iocb.data = req;
			atomic_store_explicit(&req->is_sent, true, memory_order_release);
			cb[n++] = &req->iocb;
		} else {
			finish(file, req, rc);
			reqs[finished++] = req;
		}
	}
	for (long sent = 0; sent < n;) {
		int rc = io_submit(file->q.ctx, n - sent, cb + sent);
		if (rc <= 0) {
			struct file_req *req = cb[sent]->data;
			if (refused(file, req, rc < 0 ? -rc : EAGAIN))
				reqs[finished++] = req;
			rc = 1;
		}
		sent += rc;
	}
	return finished;
}

/* true if req is finished; false if the rest of it has become a job. */
static bool reap(struct file_bdev *file, struct file_req *req, long res, uint64_t now)
{
	const struct bdev_io *io = &req->shadow;
	bool was_sent = atomic_load_explicit(&req->is_sent, memory_order_acquire);
	assert(was_sent);
	(void)was_sent;
	req->ended = now;
	if (io->op == BDEV_FLUSH) {
		finish(file, req, file_flushed(file, io, res < 0 ? (int)-res : 0));
		return true;
	}
	if (res == (long)io->len) {
		finish(file, req, 0);
		return true;
	}
	if (res < 0 && res != -EAGAIN && res != -EINTR) {
		finish(file, req, file_error(file, io, (int)-res));
		return true;
	}
	req->progress = res < 0 ? 0 : (uint64_t)res;
	req->ended = 0;
	kernel_to_job(file, req);
	return false;
}

static void reaper(void *arg)
{
	struct file_bdev *file = arg;
	struct io_event event[FILE_BATCH];
	struct file_req *done[FILE_BATCH];
	bool is_over = false;
	while (!is_over) {
		int n = io_getevents(file->q.ctx, 1, FILE_BATCH, event, NULL);
		assert(n >= 0 || n == -EINTR);
		unsigned int count = 0;
		uint64_t now = clock_now();
		for (int i = 0; i < n; i++) {
			struct file_req *req = event[i].data;
			if (!req)
				is_over = true;
			else if (reap(file, req, (long)event[i].res, now))
				done[count++] = req;
		}
		if (count)
			put_reqs(file, done, count, count);
	}
}

/* ---- deadlines ---- */

static uint64_t next_deadline(const struct file_queue *q)
{
	uint64_t next = NO_DEADLINE;
	const struct file_req *req;
	LIST_FOREACH(req, &q->timed, timed)
	next = min_u64(next, req->shadow.deadline);
	return next;
}

/* One io that is past its deadline, taken out of its request; NULL: none. */
static struct bdev_io *take_expired(struct file_queue *q, uint64_t now)
{
	struct file_req *req;
	LIST_FOREACH(req, &q->timed, timed)
	{
		if (req->shadow.deadline > now)
			continue;
		struct bdev_io *io = req->io;
		LIST_REMOVE(req, timed);
		req->io = NULL;
		return io;
	}
	return NULL;
}

static void timer(void *arg)
{
	struct file_bdev *file = arg;
	struct file_queue *q = &file->q;
	mutex_lock(&file->m);
	while (!q->is_closing) {
		struct bdev_io *io = take_expired(q, clock_now());
		if (io) {
			q->busy++; /* invariant 4 */
			mutex_unlock(&file->m);
			bdev_io_complete(io, -ETIMEDOUT);
			mutex_lock(&file->m);
			if (--q->busy == 0)
				cond_broadcast(&q->drained);
			continue;
		}
		q->timer_wakes = next_deadline(q);
		if (q->timer_wakes == NO_DEADLINE)
			cond_wait(&q->tick, &file->m);
		else if (cond_wait_until(&q->tick, &file->m, q->timer_wakes) < 0)
			continue; /* it is time */
	}
	mutex_unlock(&file->m);
}

/* With the mutex held. */
static int watch(struct file_bdev *file, struct file_req *req)
{
	struct file_queue *q = &file->q;
	if (!q->timer) {
		q->timer_wakes = 0; /* it looks at once */
		q->timer = task_start("bdev-timer", timer, file);
		if (!q->timer)
			return -ENOMEM;
	}
	LIST_INSERT_HEAD(&q->timed, req, timed);
	if (req->shadow.deadline < q->timer_wakes)
		cond_signal(&q->tick);
	return 0;
}

/* ---- submit ---- */

int file_context_new(io_context_t *ret_ctx, unsigned int *ret_depth)
{
	int rc = -EAGAIN;
	for (unsigned int depth = FILE_DEPTH; rc == -EAGAIN && depth >= DEPTH_MIN;
	     depth /= 2) {
		*ret_ctx = NULL;
		*ret_depth = depth;
		rc = io_setup((int)depth, ret_ctx);
	}
	return rc;
}

/* With the mutex held. Without a context everything is a job. */
static void start(struct file_bdev *file)
{
	struct file_queue *q = &file->q;
	q->is_started = true;
	if (!file->is_direct)
		return;
	int rc = file_context_new(&q->ctx, &q->depth);
	if (rc == 0)
		q->reaper = task_start("bdev-reaper", reaper, file);
	q->has_aio = rc == 0 && q->reaper;
	if (rc == 0 && !q->reaper)
		(void)io_destroy(q->ctx);
}

static bool is_for_kernel(const struct file_bdev *file, const struct bdev_io *io)
{
	if (!file->q.has_aio)
		return false;
	if (io->op == BDEV_FLUSH)
		return !atomic_load(&file->no_aio_sync);
	return (io->op == BDEV_READ || io->op == BDEV_WRITE) &&
	       io->iovcnt <= FILE_IOV_LIMIT;
}

/* With the mutex held. Queues req; true: the caller has to send it to the kernel. */
static bool place(struct file_bdev *file, struct file_req *req, int *ret_error)
{
	struct file_queue *q = &file->q;
	bool is_first_in = false;
	if (is_for_kernel(file, req->io)) {
		is_first_in = q->in_kernel < q->depth;
		if (is_first_in)
			q->in_kernel++;
		else
			STAILQ_INSERT_TAIL(&q->backlog, req, next);
	} else if (!queue_job(file, req)) {
		*ret_error = -ENOMEM;
	}
	return is_first_in;
}

/* Takes io in. *ret_req: what the caller has to send to the kernel, or NULL. */
static int admit(struct file_bdev *file, struct bdev_io *io, const struct iovec *bounce,
		 struct file_req **ret_req)
{
	struct file_queue *q = &file->q;
	int rc = 0;
	if (!q->is_started)
		start(file);
	struct file_req *req = req_new(q);
	if (!req)
		return -ENOMEM;
	req_fill(req, io, bounce);
	if (io->deadline)
		rc = watch(file, req);
	if (rc == 0) {
		*ret_req = place(file, req, &rc) ? req : NULL;
		if (rc < 0 && io->deadline)
			LIST_REMOVE(req, timed);
	}
	if (rc < 0)
		STAILQ_INSERT_HEAD(&q->spare, req, next);
	else
		q->busy++;
	return rc;
}

/* With the mutex held. true: req waits for what follows it. */
static bool hold(struct file_queue *q, struct file_req *req)
{
	if (!(req->shadow.flags & BDEV_MORE) || q->held_count == FILE_BATCH)
		return false;
	STAILQ_INSERT_TAIL(&q->held, req, next);
	q->held_count++;
	return true;
}

void file_send(struct bdev *bd)
{
	struct file_bdev *file = (struct file_bdev *)bd;
	struct file_queue *q = &file->q;
	struct file_req *reqs[FILE_BATCH];
	unsigned int n = 0;
	mutex_lock(&file->m);
	for (struct file_req *req; (req = STAILQ_FIRST(&q->held)); n++) {
		STAILQ_REMOVE_HEAD(&q->held, next);
		reqs[n] = req;
	}
	q->held_count = 0;
	mutex_unlock(&file->m);
	unsigned int finished = n ? send_to_kernel(file, reqs, n) : 0;
	if (finished)
		put_reqs(file, reqs, finished, finished);
}

void file_queue_add(struct file_bdev *file, struct bdev_io *io)
{
	struct iovec bounce = { NULL, 0 };
	struct file_req *req = NULL;
	int rc = atomic_load(&file->is_cut) ? -ESTALE : bounce_new(io, &bounce);
	if (rc == 0) {
		mutex_lock(&file->m);
		rc = admit(file, io, &bounce, &req);
		if (rc == 0 && req && hold(&file->q, req))
			req = NULL;
		mutex_unlock(&file->m);
	}
	if (rc < 0) {
		free(bounce.iov_base);
		bdev_io_complete(io, rc);
		return;
	}
	if (req && send_to_kernel(file, &req, 1))
		put_reqs(file, &req, 1, 1);
}

void file_submit(struct bdev *bd, struct bdev_io *io)
{
	struct file_bdev *file = (struct file_bdev *)bd;
	if (!io->channel || !file_channel_hold(file, io))
		file_queue_add(file, io);
}

void file_queue_init(struct file_bdev *file)
{
	struct file_queue *q = &file->q;
	STAILQ_INIT(&q->backlog);
	STAILQ_INIT(&q->jobs);
	STAILQ_INIT(&q->spare);
	STAILQ_INIT(&q->held);
	LIST_INIT(&q->timed);
	cond_init(&q->job);
	cond_init(&q->tick);
	cond_init(&q->drained);
}

/* An empty read whose completion tells the reaper to end. */
static void stop_reaper(struct file_bdev *file)
{
	struct iocb cb = {
		.aio_fildes = file->file_fd,
		.aio_lio_opcode = IO_CMD_PREAD,
	};
	struct iocb *list[1] = { &cb };
	int rc;
	do
		rc = io_submit(file->q.ctx, 1, list);
	while (rc == -EAGAIN || rc == -EINTR || rc == 0);
	assert(rc == 1);
	task_join(file->q.reaper);
	(void)io_destroy(file->q.ctx); /* it is empty */
}

void file_queue_done(struct file_bdev *file)
{
	struct file_queue *q = &file->q;
	assert(atomic_load(&file->in_channels) == 0);
	mutex_lock(&file->m);
	while (q->busy > 0)
		cond_wait(&q->drained, &file->m);
	q->is_closing = true;
	cond_broadcast(&q->job);
	cond_broadcast(&q->tick);
	mutex_unlock(&file->m);
	for (unsigned int i = 0; i < q->helper_count; i++)
		task_join(q->helper[i]);
	task_join(q->timer);
	if (q->has_aio)
		stop_reaper(file);
	while (!STAILQ_EMPTY(&q->spare)) {
		struct file_req *req = STAILQ_FIRST(&q->spare);
		STAILQ_REMOVE_HEAD(&q->spare, next);
		free(req);
	}
	cond_done(&q->job);
	cond_done(&q->tick);
	cond_done(&q->drained);
}
