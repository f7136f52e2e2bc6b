/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request goes through in the task that submits it, with its channel, whenever nothing
 * stands against it. Only one that has to wait is sent later, by the task of this file
 * and so without a channel, which belongs to the task that it names: done() may not
 * submit, and whose request comes next is seldom who has ended.
 *
 *	submit --fair_start--> below        (the same task)
 *	submit --fair_wait--> waiting --run: fair_next--> below
 *	below --piece_done--> fair_end, the caller's done()
 *
 * 1. s->m guards fair, its disks and the spare pieces; nothing is called with it held.
 * 2. A lone disk without limits is not counted at all: its requests go to the device
 *    below as they are, but for one of MEASURED_OF, that is timed, and those that change
 *    a disk whose changes are logged. Those that are under way when another disk comes
 *    count as none, once, for as long as they last.
 * 3. FLUSH waits for nobody: it brings nothing, and others wait for it.
 */
#include "vmkernel/sched/sched.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"
#include "vmkernel/sched/fair.h"
#include "vmkernel/sched/log.h"

#define MEASURED_OF 16u

/* A request on its way; io is what the device below gets. */
struct piece {
	struct bdev_io io; /* first: done() casts */
	struct fair_item item;
	struct bdev_io *above;
	struct sched_disk *disk;
	struct piece *next; /* spare */
	uint64_t at;	    /* it came; 0: it is not measured */
	bool is_counted;    /* by fair */
};

/* Of one disk; each number by itself. */
struct usage {
	_Atomic uint64_t reads, writes, read_bytes, written_bytes;
	_Atomic uint64_t measured, total_ns, queue_ns, submit_ns;
};

struct sched {
	struct mutex m;
	struct cond c;
	struct fair fair;
	struct piece *spare;
	unsigned int disk_count, limited_count;
	atomic_bool counts;	/* there is something to be fair about */
	bool is_stopping, has_news;
	struct task *task;
};

struct sched_disk {
	struct bdev bd; /* first: ops cast */
	struct bdev *below;
	struct sched *sched;
	struct fair_disk fair;
	bool is_limited;
	_Atomic(struct sched_log *) log; /* changes while nothing is under way */
	struct usage usage;
};

/* ---- requests ---- */

static void add_to(_Atomic uint64_t *sum, uint64_t n)
{
	atomic_fetch_add_explicit(sum, n, memory_order_relaxed);
}

/* true: this one is to be measured. */
static bool count(struct sched_disk *disk, const struct bdev_io *io)
{
	struct usage *u = &disk->usage;
	bool is_read = io->op == BDEV_READ;
	if (!is_read && io->op != BDEV_WRITE)
		return false;
	add_to(is_read ? &u->read_bytes : &u->written_bytes, io->len);
	uint64_t before = atomic_fetch_add_explicit(is_read ? &u->reads : &u->writes, 1,
						    memory_order_relaxed);
	return before % MEASURED_OF == 0;
}

/* The log that this request is to be marked in when it has ended; NULL: in none. */
static struct sched_log *log_for(struct sched_disk *disk, const struct bdev_io *io)
{
	return io->op == BDEV_READ || io->op == BDEV_FLUSH ?
		       NULL : atomic_load_explicit(&disk->log, memory_order_relaxed);
}

static void piece_done(struct bdev_io *io)
{
	struct piece *p = (struct piece *)io;
	struct bdev_io *above = p->above;
	struct sched *s = p->disk->sched;
	int result = io->result;
	struct sched_log *log = log_for(p->disk, io);
	add_to(&p->disk->usage.total_ns, clock_now() - p->at);
	if (log) /* one that has failed may have changed something, too */
		sched_log_mark(log, above->offset, above->len);
	mutex_lock(&s->m);
	if (p->is_counted)
		fair_end(&s->fair, &p->disk->fair);
	p->next = s->spare;
	s->spare = p;
	if (s->fair.waiting) {
		s->has_news = true;
		cond_signal(&s->c);
	}
	mutex_unlock(&s->m);
	bdev_io_complete(above, result);
}

static struct piece *take_spare(struct sched *s)
{
	struct piece *p = s->spare;
	if (p)
		s->spare = p->next;
	else
		p = malloc(sizeof(*p));
	return p;
}

static void fill(struct piece *p, struct sched_disk *disk, struct bdev_io *io)
{
	p->io = (struct bdev_io){ .op = io->op,
				  .flags = io->flags,
				  .offset = io->offset,
				  .len = io->len,
				  .iov = io->iov,
				  .iovcnt = io->iovcnt,
				  .deadline = io->deadline,
				  .done = piece_done,
				  .channel = io->channel };
	p->item.len = io->op == BDEV_READ || io->op == BDEV_WRITE ? io->len : 0;
	p->above = io;
	p->disk = disk;
	p->is_counted = true;
	p->at = clock_now();
	add_to(&disk->usage.measured, 1);
}

/* The time until it is at the device; p is not ours any more when that is known. */
static void send_measured(struct sched_disk *disk, struct piece *p)
{
	uint64_t at = p->at;
	bdev_submit(disk->below, &p->io);
	add_to(&disk->usage.submit_ns, clock_now() - at);
}

/* A request that nobody is fair about, with the clock beside it. */
static void measure(struct sched_disk *disk, struct bdev_io *io)
{
	struct sched *s = disk->sched;
	mutex_lock(&s->m);
	struct piece *p = take_spare(s);
	mutex_unlock(&s->m);
	if (!p) {
		struct sched_log *log = log_for(disk, io);
		if (log)
			sched_log_lose(log);
		bdev_submit(disk->below, io);
		return;
	}
	fill(p, disk, io);
	p->is_counted = false;
	send_measured(disk, p);
}

static void disk_submit(struct bdev *bd, struct bdev_io *io)
{
	struct sched_disk *disk = (struct sched_disk *)bd;
	struct sched *s = disk->sched;
	bool is_measured = count(disk, io);
	if (io->op == BDEV_FLUSH || !atomic_load(&s->counts)) {
		if (is_measured || log_for(disk, io))
			measure(disk, io);
		else
			bdev_submit(disk->below, io);
		return;
	}
	mutex_lock(&s->m);
	struct piece *p = take_spare(s);
	bool is_started = false;
	if (p) {
		fill(p, disk, io);
		is_started = fair_start(&s->fair, &disk->fair, p->item.len, clock_now());
	}
	if (p && !is_started) {
		p->io.channel = NULL;
		fair_wait(&s->fair, &disk->fair, &p->item);
		s->has_news = true;
		cond_signal(&s->c);
	}
	mutex_unlock(&s->m);
	if (!p)
		bdev_io_complete(io, -ENOMEM);
	else if (is_started)
		send_measured(disk, p);
}

static struct piece *next_piece(struct sched *s, uint64_t *ret_at)
{
	struct fair_disk *disk;
	struct fair_item *item = fair_next(&s->fair, clock_now(), &disk, ret_at);
	return item ? (struct piece *)((uint8_t *)item - offsetof(struct piece, item))
		    : NULL;
}

static void run(void *arg)
{
	struct sched *s = arg;
	uint64_t at = NO_DEADLINE;
	task_be_prompt();
	mutex_lock(&s->m);
	while (!s->is_stopping) {
		struct piece *p = next_piece(s, &at);
		if (p) {
			mutex_unlock(&s->m);
			add_to(&p->disk->usage.queue_ns, clock_now() - p->at);
			bdev_submit(p->disk->below, &p->io);
			mutex_lock(&s->m);
			continue;
		}
		if (!s->has_news)
			(void)!cond_wait_until(&s->c, &s->m, at);
		s->has_news = false;
	}
	mutex_unlock(&s->m);
}

/* ---- start and stop ---- */

struct sched *sched_new(unsigned int depth)
{
	struct sched *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	mutex_init(&s->m);
	cond_init(&s->c);
	fair_init(&s->fair, depth);
	s->task = task_start("sched", run, s);
	if (!s->task) {
		sched_free(s);
		return NULL;
	}
	return s;
}

void sched_free(struct sched *s)
{
	if (!s)
		return;
	assert(s->disk_count == 0);
	mutex_lock(&s->m);
	s->is_stopping = true;
	cond_signal(&s->c);
	mutex_unlock(&s->m);
	task_join(s->task);
	while (s->spare) {
		struct piece *p = s->spare;
		s->spare = p->next;
		free(p);
	}
	cond_done(&s->c);
	mutex_done(&s->m);
	free(s);
}

/* With s->m held. */
static void recount(struct sched *s, struct sched_disk *disk, bool is_limited)
{
	s->limited_count += is_limited;
	s->limited_count -= disk->is_limited;
	disk->is_limited = is_limited;
	atomic_store(&s->counts, s->disk_count > 1 || s->limited_count);
}

static void take_wish(struct sched_disk *disk, const struct sched_wish *wish)
{
	disk->fair.shares = wish->shares;
	disk->fair.iops_max = wish->iops_max;
	disk->fair.bytes_max = wish->bytes_max;
	recount(disk->sched, disk, wish->iops_max || wish->bytes_max);
}

int sched_disk_new(struct sched *s, struct bdev *below, const struct sched_wish *wish,
		   struct sched_disk **ret_disk)
{
	static const struct bdev_ops ops = { .submit = disk_submit };
	struct sched_disk *disk = calloc(1, sizeof(*disk));
	if (!disk)
		return -ENOMEM;
	disk->bd = *below;
	disk->bd.ops = &ops;
	disk->bd.submit_domain = NULL;
	/* What the device below cannot do it says itself. */
	disk->bd.max_io = 0;
	disk->bd.has_unmap = disk->bd.has_write_zeroes = true;
	disk->bd.caw = BDEV_CAW_NONE;
	disk->below = below;
	disk->sched = s;
	mutex_lock(&s->m);
	s->disk_count++;
	take_wish(disk, wish);
	fair_add(&s->fair, &disk->fair);
	mutex_unlock(&s->m);
	*ret_disk = disk;
	return 0;
}

void sched_disk_set(struct sched_disk *disk, const struct sched_wish *wish)
{
	struct sched *s = disk->sched;
	mutex_lock(&s->m);
	take_wish(disk, wish);
	/* What waits for the old limit may go by now. */
	s->has_news = true;
	cond_signal(&s->c);
	mutex_unlock(&s->m);
}

struct bdev *sched_disk_bdev(struct sched_disk *disk)
{
	return &disk->bd;
}

struct sched_usage sched_disk_usage(struct sched_disk *disk)
{
	struct usage *u = &disk->usage;
	return (struct sched_usage){
		.reads = atomic_load(&u->reads),
		.writes = atomic_load(&u->writes),
		.read_bytes = atomic_load(&u->read_bytes),
		.written_bytes = atomic_load(&u->written_bytes),
		.measured = atomic_load(&u->measured),
		.total_ns = atomic_load(&u->total_ns),
		.queue_ns = atomic_load(&u->queue_ns),
		.submit_ns = atomic_load(&u->submit_ns),
	};
}

void sched_disk_log(struct sched_disk *disk, struct sched_log *log)
{
	atomic_store(&disk->log, log);
}

void sched_disk_free(struct sched_disk *disk)
{
	if (!disk)
		return;
	struct sched *s = disk->sched;
	mutex_lock(&s->m);
	fair_remove(&s->fair, &disk->fair);
	s->disk_count--;
	recount(s, disk, false);
	mutex_unlock(&s->m);
	free(disk);
}

/* ---- words ---- */

static int parse_shares(const char *text, uint32_t *ret)
{
	uint64_t n;
	if (!text || !*text || strcasecmp(text, "normal") == 0)
		*ret = SCHED_SHARES_NORMAL;
	else if (strcasecmp(text, "low") == 0)
		*ret = SCHED_SHARES_LOW;
	else if (strcasecmp(text, "high") == 0)
		*ret = SCHED_SHARES_HIGH;
	else if (parse_u64(text, FAIR_SHARES_MAX, &n) < 0 || n == 0)
		return -EINVAL;
	else
		*ret = (uint32_t)n;
	return 0;
}

/* "off", or a number, perhaps with K, M or G and the unit. */
static int parse_limit(const char *text, const char *unit, uint64_t *ret)
{
	static const char scales[] = "kmg";
	char digits[24];
	uint64_t scale = 1;
	*ret = 0;
	if (!text || !*text || strcasecmp(text, "off") == 0)
		return 0;
	size_t len = strspn(text, "0123456789");
	const char *rest = text + len;
	if (len == 0 || len >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, len);
	digits[len] = '\0';
	rest += strspn(rest, " ");
	const char *s = *rest ? strchr(scales, tolower((unsigned char)*rest)) : NULL;
	for (const char *at = scales; s && at <= s; at++)
		scale *= unit[0] == 'B' ? 1024 : 1000;
	rest += s ? 1 : 0;
	if (parse_u64(digits, UINT64_MAX / scale, ret) < 0)
		return -EINVAL;
	*ret *= scale;
	return *rest == '\0' || strcasecmp(rest, unit) == 0 ? 0 : -EINVAL;
}

int sched_wish_parse(const char *shares, const char *iops, const char *bytes,
		     struct sched_wish *ret, const char **ret_bad)
{
	*ret_bad = shares;
	if (parse_shares(shares, &ret->shares) < 0)
		return -EINVAL;
	*ret_bad = iops;
	if (parse_limit(iops, "IOps", &ret->iops_max) < 0)
		return -EINVAL;
	*ret_bad = bytes;
	return parse_limit(bytes, "Bps", &ret->bytes_max);
}
