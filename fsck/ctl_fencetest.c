/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is certain once a host was fenced by this target? (LOCKING.md 1.3(3) to (9), 9.4)
 *
 * Two sessions: the victim writes the same sectors over and over, other bytes each time;
 * the survivor takes it out in the middle of that, and then looks at the sectors for some
 * seconds. What changes AFTER the survivor was told "done" proves that this was no
 * barrier.
 * That none appear proves nothing about a slower day: it is said so.
 *
 *   keys           are there persistent reservations, type 7?
 *   write refused  an unregistered session, and a fenced one
 *   preempt        is PREEMPT AND ABORT a barrier?
 *   reinstatement  is a login under the victim's name one?
 *   LUN reset      is a LOGICAL UNIT RESET one? On request: it ends everybody's commands.
 */
#include "fsck/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "iscsi/open.h"

#define PIECE (64u << 10)
#define SPAN (1u << 20)
#define WRITES 256u
#define UNDER_WAY 16u /* acknowledged: the others are on their way */
#define WATCH_NS (10 * NS_PER_S)
#define REINSTATE_NS (60 * NS_PER_S)
#define VICTIM_KEY 0x564D637400000001ull /* no host's: LOCKING.md 3.1 */
#define SURVIVOR_KEY 0x564D637400000002ull

struct fencetest {
	const struct ctl *c;
	struct ctl_scratch scratch;
	struct bdev *victim, *survivor, *stranger;
	struct bdev_pr_state *state;
	uint8_t *seen, *first; /* SPAN bytes each */
	bool is_bad;
};

/* ---- writes of the victim, in flight ---- */

struct flight {
	struct mutex m;
	struct cond c;
	unsigned int left, good, refused, unknown;
	struct one {
		struct bdev_io io;
		struct iovec iov;
		struct flight *flight;
	} writes[WRITES];
	uint8_t *data; /* of each write another: one that comes late changes something */
};

static void write_done(struct bdev_io *io)
{
	struct one *w = (struct one *)io;
	struct flight *f = w->flight;

	mutex_lock(&f->m);
	f->left--;
	f->good += io->result == 0;
	f->refused += io->result == -ESTALE || io->result == -EBUSY;
	f->unknown += io->result != 0 && io->result != -ESTALE && io->result != -EBUSY;
	cond_broadcast(&f->c);
	mutex_unlock(&f->m);
}

static int flight_start(struct fencetest *t, struct flight *f)
{
	*f = (struct flight){ .left = WRITES, .data = io_alloc(WRITES * PIECE) };
	if (!f->data)
		return -ENOMEM;
	mutex_init(&f->m);
	cond_init(&f->c);
	for (unsigned int i = 0; i < WRITES; i++) {
		struct one *w = &f->writes[i];

		w->flight = f;
		w->iov = (struct iovec){ f->data + (size_t)i * PIECE, PIECE };
		memset(w->iov.iov_base, (int)(i + 1), PIECE);
		w->io = (struct bdev_io){
			.op = BDEV_WRITE,
			.offset = t->scratch.dev_off + i % (SPAN / PIECE) * PIECE,
			.len = PIECE,
			.iov = &w->iov,
			.iovcnt = 1,
			.deadline = clock_now() + REINSTATE_NS,
			.done = write_done,
		};
		bdev_submit(t->victim, &w->io);
	}
	return 0;
}

static void flight_end(struct flight *f)
{
	mutex_lock(&f->m);
	while (f->left)
		cond_wait(&f->c, &f->m);
	mutex_unlock(&f->m);
	cond_done(&f->c);
	mutex_done(&f->m);
	free(f->data);
}

/* Waits until writes are being executed; how many are still without an answer then. */
static unsigned int flight_under_way(struct flight *f)
{
	uint64_t deadline = clock_now() + NS_PER_S;
	int rc = 0;

	mutex_lock(&f->m);
	while (f->left > WRITES - UNDER_WAY && rc == 0)
		rc = cond_wait_until(&f->c, &f->m, deadline);
	unsigned int left = f->left;
	mutex_unlock(&f->m);
	return left;
}

/* ---- what the survivor sees ---- */

static int read_span(struct fencetest *t, uint8_t *buf)
{
	return bdev_read(t->survivor, buf, SPAN, t->scratch.dev_off);
}

/*
 * After `what` was said to be done: does anything still change? *ret_late_ns: when the
 * last change was seen; 0: none was.
 */
static int watch(struct fencetest *t, uint64_t *ret_late_ns)
{
	uint64_t start = clock_now();
	int err = read_span(t, t->first);

	*ret_late_ns = 0;
	while (!err && clock_now() - start < WATCH_NS) {
		task_sleep_until(clock_now() + 100 * NS_PER_MS);
		err = read_span(t, t->seen);
		if (!err && memcmp(t->seen, t->first, SPAN)) {
			*ret_late_ns = clock_now() - start;
			memcpy(t->first, t->seen, SPAN);
		}
	}
	return err;
}

static double seconds(uint64_t ns)
{
	return (double)(ns / NS_PER_MS) / 1000;
}

static void tell_barrier(struct fencetest *t, const char *what, unsigned int in_flight,
			 uint64_t took_ns, uint64_t late_ns)
{
	printf("%s: %s: done after %.2f s with %u of %u writes in flight: ", t->c->shown,
	       what, seconds(took_ns), in_flight, WRITES);
	if (late_ns)
		printf("NOT a barrier: data of the victim appeared up to %.1f s later\n",
		       seconds(late_ns));
	else if (in_flight == 0)
		printf("no verdict: the writes had ended before it\n");
	else
		printf("nothing appeared in the %.0f s after it\n", seconds(WATCH_NS));
	(void)fflush(stdout);
}

static int failed(struct fencetest *t, int err, const char *what)
{
	return report_error(t->c->r, err, "%s: %s: %s", t->c->shown, what,
			    strerrordesc_np(-err));
}

/* ---- the steps ---- */

static int open_sessions(struct fencetest *t)
{
	int err = device_open(t->c->device, 0, NULL, t->c->r, &t->victim);

	if (!err)
		err = device_open(t->c->device, 0, NULL, t->c->r, &t->survivor);
	if (!err)
		err = device_open(t->c->device, 0, NULL, t->c->r, &t->stranger);
	return err;
}

static bool has_key(const struct bdev_pr_state *s, uint64_t key)
{
	for (uint32_t i = 0; i < s->key_count && i < BDEV_PR_KEYS_MAX; i++)
		if (s->keys[i] == key)
			return true;
	return false;
}

/* Keys of hosts would be in the way, and our reservation in theirs. */
static int begin_keys(struct fencetest *t)
{
	int err = bdev_pr_read(t->survivor, t->state);

	if (err == -EOPNOTSUPP) {
		printf("%s: keys: no persistent reservations: hosts are fenced by time"
		       " alone\n", t->c->shown);
		return 1;
	}
	if (err)
		return failed(t, err, "READ KEYS");
	if (t->state->key_count && !t->scratch.key && !t->c->is_known)
		return report_error(t->c->r, -EBUSY,
				    "%s: %u keys of others are registered: test it before"
				    " hosts use it", t->c->shown, t->state->key_count);
	err = bdev_pr(t->victim, BDEV_PR_REGISTER, VICTIM_KEY, 0);
	if (!err)
		err = bdev_pr(t->survivor, BDEV_PR_REGISTER, SURVIVOR_KEY, 0);
	if (!err)
		err = bdev_pr(t->survivor, BDEV_PR_RESERVE, SURVIVOR_KEY, 0);
	int read_err = bdev_pr_read(t->survivor, t->state);
	if (read_err)
		return failed(t, read_err, "READ KEYS");
	bool is_good = has_key(t->state, VICTIM_KEY) &&
		       has_key(t->state, SURVIVOR_KEY) && t->state->is_reserved &&
		       t->state->type == BDEV_PR_TYPE_WE_AR;
	if (!is_good)
		return failed(t, err ? err : -EIO, "REGISTER and RESERVE (type 7)");
	printf("%s: keys: registered, reserved with type 7 (write exclusive, all"
	       " registrants)%s\n", t->c->shown,
	       err ? "; the target said that it failed" : "");
	return 0;
}

/* A write that must be refused, told as a line. */
static void try_write(struct fencetest *t, struct bdev *bd, const char *who)
{
	uint8_t sector[4096] = { 0 };
	int err = bdev_rw(bd, BDEV_WRITE, 0, sector, bd->block_size, t->scratch.dev_off,
			  clock_now() + 3 * NS_PER_S);

	printf("%s: write refused: %s: %s\n", t->c->shown, who,
	       err ? strerrorname_np(-err) : "NO, it was written");
	(void)fflush(stdout);
	t->is_bad |= !err;
}

static int try_preempt(struct fencetest *t)
{
	struct flight *f = calloc(1, sizeof(*f));
	uint64_t late = 0;
	int err = f ? flight_start(t, f) : -ENOMEM;

	if (err) {
		free(f);
		return failed(t, err, "the victim's writes");
	}
	unsigned int in_flight = flight_under_way(f);
	uint64_t start = clock_now();
	err = bdev_pr(t->survivor, BDEV_PR_PREEMPT, SURVIVOR_KEY, VICTIM_KEY);
	uint64_t took = clock_now() - start;
	int watch_err = watch(t, &late);
	flight_end(f);
	printf("%s: preempt: of the victim's %u writes %u were acknowledged, %u refused,"
	       " %u without an answer\n", t->c->shown, WRITES, f->good, f->refused,
	       f->unknown);
	free(f);
	int read_err = bdev_pr_read(t->survivor, t->state);
	if (watch_err || read_err)
		return failed(t, watch_err ? watch_err : read_err, "reading");
	if (has_key(t->state, VICTIM_KEY))
		return failed(t, err ? err : -EIO, "PREEMPT: the key is still there");
	tell_barrier(t, "preempt", in_flight, took, late);
	try_write(t, t->victim, "fenced session");
	return 0;
}

/* The barriers that end more than the victim's key (LOCKING.md 9.4). */
static const struct barrier {
	const char *name, *instead;
	int (*raise)(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline);
} reinstatement = { "reinstatement", "hosts wait instead", bdev_reinstate };

static int raise_reset(struct bdev *bd, const struct bdev_nexus *victim,
		       uint64_t deadline)
{
	(void)victim;
	return bdev_reset(bd, deadline);
}

static const struct barrier lun_reset = { "LUN reset", "hosts cannot be told to use it",
					  raise_reset };

/* A new session for the victim, which was fenced, and its key. */
static int victim_again(struct fencetest *t, bool has_key, struct bdev_nexus *ret_nexus)
{
	bdev_close(t->victim);
	t->victim = NULL;
	int err = device_open(t->c->device, 0, NULL, t->c->r, &t->victim);
	if (!err && has_key)
		err = bdev_pr(t->victim, BDEV_PR_REGISTER, VICTIM_KEY, 0);
	return err ? err : bdev_nexus(t->victim, ret_nexus);
}

static int try_barrier(struct fencetest *t, const struct barrier *b, bool has_key)
{
	struct flight *f = calloc(1, sizeof(*f));
	struct bdev_nexus nexus;
	uint64_t late = 0;
	int err = victim_again(t, has_key, &nexus);

	if (!err)
		err = f ? flight_start(t, f) : -ENOMEM;
	if (err) {
		free(f);
		printf("%s: %s: not tried: %s\n", t->c->shown, b->name,
		       strerrordesc_np(-err));
		return 0;
	}
	unsigned int in_flight = flight_under_way(f);
	/* What the victim has not sent yet must not go out on a session of its own. */
	bdev_cut(t->victim);
	uint64_t start = clock_now();
	err = b->raise(t->survivor, &nexus, start + REINSTATE_NS);
	uint64_t took = clock_now() - start;
	int watch_err = err ? 0 : watch(t, &late);
	flight_end(f);
	free(f);
	if (watch_err)
		return failed(t, watch_err, "reading");
	if (err)
		printf("%s: %s: does not work here: %s: %s\n", t->c->shown, b->name,
		       strerrordesc_np(-err), b->instead);
	else
		tell_barrier(t, b->name, in_flight, took, late);
	return 0;
}

static void end_keys(struct fencetest *t)
{
	int err = t->scratch.key ? bdev_pr(t->survivor, BDEV_PR_REGISTER, 0, 0) :
				   bdev_pr(t->survivor, BDEV_PR_CLEAR, SURVIVOR_KEY, 0);

	if (err)
		report(t->c->r, REPORT_WARN,
		       "%s: keys of the test may be left: vmfsctl release-reservation",
		       t->c->shown);
}

static int run(struct fencetest *t)
{
	int err = open_sessions(t);

	if (err)
		return err; /* reported */
	err = begin_keys(t);
	if (err > 0)
		return t->c->is_resetting ? try_barrier(t, &lun_reset, false) : 0;
	if (err)
		return err;
	try_write(t, t->stranger, "session without a key");
	err = try_preempt(t);
	if (!err)
		err = try_barrier(t, &reinstatement, true);
	if (!err && t->c->is_resetting)
		err = try_barrier(t, &lun_reset, true);
	end_keys(t);
	return err;
}

int ctl_fencetest(const struct ctl *c)
{
	struct fencetest t = { .c = c };
	int err;

	t.state = calloc(1, sizeof(*t.state));
	t.seen = io_alloc(SPAN);
	t.first = io_alloc(SPAN);
	err = t.state && t.seen && t.first ? ctl_scratch_make(c, SPAN, &t.scratch) :
					     -ENOMEM;
	if (!err)
		err = run(&t);
	bdev_close(t.stranger);
	bdev_close(t.survivor);
	bdev_close(t.victim);
	ctl_scratch_done(&t.scratch);
	free(t.first);
	free(t.seen);
	free(t.state);
	return err ? CTL_FAILED : t.is_bad ? CTL_BAD : CTL_GOOD;
}
