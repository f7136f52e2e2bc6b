/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device with several paths: I/O. Each path is a struct lun with a session of its own,
 * which tells at once what it cannot do (lun_watch); this one chooses the path, and sends
 * again elsewhere what a path gave back.
 *
 *   submit -> path_next -> lun -> path_done -> done()
 *                ^                   |
 *                '--- the queue <----' the path gave it back
 *                     (a task of ours)
 *
 * WHY NO OLD WRITE LANDS. A write sent on path A may sit in A's connection, or be
 * accepted by the target and not executed yet, when A fails. Sent again on B, and
 * answered, the caller goes on, and writes the same block anew. If A's copy is executed
 * then, the old data are back: a ghost write. So:
 *
 *  1 a write that A may still execute is not sent on B, and not completed as done, before
 *    it is SETTLED: A's copy has been executed, or never will be. It is, when
 *     a the target has answered an ABORT TASK for it (or the LUN's reset), or
 *     b a login with A's name and ISID was let in at A's portal group: the target ends
 *       the old session and its tasks before (RFC 7143 6.3.5; LOCKING.md 9.4). A's own
 *       new session is such a login; while A's portal does not answer, another portal of
 *       the same group will do (settle.c): the nexus is initiator name, ISID, target and
 *       portal group, not the address; or
 *     c T_tgt has passed since A's socket was reset (nothing in its buffer goes out any
 *       more): assumption A5. The only way if no live portal is of A's group. It counts
 *       from the reset, so a cut network is found without a ping (transport.c).
 *  2 Meanwhile the caller has no answer, so no write of his can be newer; what he has
 *    sent beside it may come before or after, as ever. A write of the same block that is
 *    sent on B in this time, and is executed before A's copy, is such a one: then A's
 *    copy lands while it may, and once more from B.
 *  3 If time is over first, the write is completed as -ETIMEDOUT, unknown, and its range
 *    remembered as a ghost: no write that touches it leaves before it is settled. So what
 *    the caller sends after that "unknown" (the filesystem does) comes later than the
 *    ghost can.
 *  4 What may not be done twice (COMPARE AND WRITE) is never sent again if it may have
 *    left. It goes up as unknown, and after it is settled, so that who reads the block
 *    then reads what stays; unless only (c) would do it: six seconds may be a heartbeat's
 *    life. A late COMPARE AND WRITE changes nothing of what a newer one has changed
 *    (LOCKING.md section 0, rule 3), and a plain write waits for it as for any ghost (3).
 *  5 Reads and flushes go on elsewhere at once: a dead session writes to no memory.
 *  6 After a cut all paths are settled before mend() succeeds (pathfence.c).
 *
 * Invariants:
 * 1. The io itself travels: its done() is ours on the way, priv.word says whose it was.
 *    It is in the queue, or with one path, never both.
 * 2. No path is called with the mutex held; path_done() submits nothing.
 * 3. Every io is done() by its deadline. One that has none waits while no path takes I/O
 *    (APD), as long as apd_timeout lets it; else it has 30 s.
 * 4. A refusal of the unit (medium error, no space, out of range) is the answer: only
 *    what a path says of itself is tried elsewhere.
 * 5. Inside of a RESERVE bracket all goes the way of the RESERVE. If that path is lost,
 *    the bracket is: a write of one block and a second RESERVE end as -ETIMEDOUT until
 *    the RELEASE.
 */
#include "iscsi/multipath_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/route.h"

#define TICK_NS (1 * NS_PER_S)
#define BUSY_TICK_NS (50 * NS_PER_MS)
#define PATH_NOOP_MS 2500u

/* priv.word of an io: 0 and 1 are the path's (lun_impl.h). */
enum { WORD_FATE = 1, WORD_DONE, WORD_PATH, WORD_EPOCH, WORD_SINCE };
#define NOT_HELD UINT64_MAX /* in WORD_EPOCH; else: held until its path is settled */

static struct multipath *mp_of(struct bdev *bd)
{
	return (struct multipath *)bd;
}

static struct mp_path *path_of(const struct bdev_io *io)
{
	return (struct mp_path *)(uintptr_t)io->priv.word[WORD_PATH];
}

static void complete(struct bdev_io *io, int result)
{
	io->done = (void (*)(struct bdev_io *))(uintptr_t)io->priv.word[WORD_DONE];
	bdev_io_complete(io, result);
}

static bool changes_data(const struct bdev_io *io)
{
	return io->op != BDEV_READ && io->op != BDEV_FLUSH;
}

static uint64_t apd_ends_at(const struct multipath *mp)
{
	const struct iscsi_settings *s = &mp->path[0].lun->params.settings;

	return mp->apd_at + iscsi_setting_ns(s, ISCSI_RECOVERY_TIMEOUT) +
	       iscsi_setting_ns(s, ISCSI_APD_TIMEOUT);
}

/* One without a deadline of its own waits through an APD. */
static uint64_t deadline_of(const struct multipath *mp, const struct bdev_io *io)
{
	if (io->deadline)
		return io->deadline;
	if (mp->is_apd)
		return apd_ends_at(mp);
	return max_u64(io->priv.word[WORD_SINCE], mp->up_at) + RECOVERY_TIME_NS;
}

/* ---- ways; with the mutex held ---- */

static void enqueue(struct multipath *mp, struct bdev_io *io)
{
	io->priv.next = NULL;
	*mp->last = io;
	mp->last = &io->priv.next;
}

static bool is_in_bracket(const struct multipath *mp, const struct bdev_io *io)
{
	return mp->bracket && io->op == BDEV_WRITE && io->len <= mp->bd.block_size;
}

static struct mp_path *way_of(struct multipath *mp, const struct bdev_io *io,
			      uint64_t now)
{
	if (changes_data(io) && ghost_is_near(mp, io))
		return NULL;
	if (mp->bracket && !mp->is_bracket_broken)
		return path_is_usable(mp->bracket, now) ? mp->bracket : NULL;
	return path_next(mp, now);
}

static void note_sent(struct mp_path *p, struct bdev_io *io)
{
	io->priv.word[WORD_PATH] = (uint64_t)(uintptr_t)p;
	io->priv.word[WORD_EPOCH] = NOT_HELD;
	p->busy++;
	p->is_dirty = true;
}

static void one_is_done(struct multipath *mp)
{
	if (--mp->io_count == 0)
		cond_broadcast(&mp->c);
}

/* Is that the end of it? Else it waits in the queue. */
static bool is_final(struct multipath *mp, struct bdev_io *io, enum lun_fate fate,
		     int *result)
{
	const struct mp_path *p = path_of(io);

	if (fate == LUN_ENDED)
		return true;
	bool may_linger = fate == LUN_UNSETTLED && changes_data(io);
	if (is_in_bracket(mp, io)) {
		if (may_linger)
			ghost_add(mp, io, p, p->epoch);
		*result = -ETIMEDOUT;
		return true;
	}
	if (fate == LUN_SETTLED && io->op == BDEV_CAW) {
		*result = -ETIMEDOUT;
		return true;
	}
	if (may_linger)
		io->priv.word[WORD_EPOCH] = p->epoch;
	return false;
}

static void path_done(struct bdev_io *io)
{
	struct mp_path *p = path_of(io);
	struct multipath *mp = p->mp;
	enum lun_fate fate = (enum lun_fate)io->priv.word[WORD_FATE];
	int result = io->result;

	mutex_lock(&mp->m);
	path_ended(p, io, fate, clock_now());
	bool is_over = is_final(mp, io, fate, &result);
	mp->is_complaining = mp->is_complaining && result;
	if (is_over) {
		if (io->op == BDEV_CAW && result == -EOPNOTSUPP)
			mp->bd.caw = BDEV_CAW_RESERVE;
		one_is_done(mp);
	} else {
		enqueue(mp, io);
		cond_broadcast(&mp->c);
	}
	mutex_unlock(&mp->m);
	if (is_over)
		complete(io, result);
}

static void mp_submit(struct bdev *bd, struct bdev_io *io)
{
	struct multipath *mp = mp_of(bd);
	uint64_t now = clock_now();

	io->priv.word[WORD_DONE] = (uint64_t)(uintptr_t)io->done;
	io->priv.word[WORD_PATH] = 0;
	io->priv.word[WORD_EPOCH] = NOT_HELD;
	io->priv.word[WORD_SINCE] = now;
	io->done = path_done;
	mutex_lock(&mp->m);
	bool is_closed = mp->is_cut || mp->is_fenced;
	struct mp_path *p = is_closed || (mp->is_bracket_broken && is_in_bracket(mp, io))
				    ? NULL
				    : way_of(mp, io, now);
	if (p)
		note_sent(p, io);
	else if (!is_closed)
		enqueue(mp, io);
	if (!is_closed)
		mp->io_count++;
	if (!p)
		cond_broadcast(&mp->c);
	mutex_unlock(&mp->m);
	if (p)
		p->lun->bd.ops->submit(&p->lun->bd, io);
	else if (is_closed)
		complete(io, -ESTALE);
}

/* ---- the queue ---- */

/*
 * What becomes now of one that waits: true: it leaves the queue, along *ret_path, or, if
 * that is NULL, with *ret_result.
 */
static bool leaves(struct multipath *mp, struct bdev_io *io, uint64_t now,
		   struct mp_path **ret_path, int *ret_result)
{
	struct mp_path *was = path_of(io);
	uint64_t *epoch = &io->priv.word[WORD_EPOCH];
	bool is_settled = *epoch == NOT_HELD || (uint32_t)*epoch != was->epoch;
	bool is_unknown_caw = io->op == BDEV_CAW && *epoch != NOT_HELD;
	bool is_over = mp->is_cut || mp->is_fenced || deadline_of(mp, io) <= now ||
		       (is_unknown_caw && !path_can_reinstate(was, now));

	*ret_path = NULL;
	*ret_result = -ETIMEDOUT;
	if (!is_settled && !is_over)
		return false;
	if (!is_settled)
		ghost_add(mp, io, was, (uint32_t)*epoch);
	if (!is_settled || is_unknown_caw)
		return true;
	*epoch = NOT_HELD;
	if (mp->is_cut || mp->is_fenced)
		*ret_result = -ESTALE;
	if (is_over || (mp->is_bracket_broken && is_in_bracket(mp, io)))
		return true;
	if (paths_all_gone(mp)) {
		*ret_result = -ENODEV;
		return true;
	}
	*ret_path = way_of(mp, io, now);
	return *ret_path;
}

/* Sends or ends one of those that wait. false: all have to wait. The mutex is held. */
static bool serve_one(struct multipath *mp, uint64_t now)
{
	struct bdev_io **at = &mp->first, *io;
	struct mp_path *p = NULL;
	int result = 0;

	while ((io = *at) && !leaves(mp, io, now, &p, &result))
		at = &io->priv.next;
	if (!io)
		return false;
	*at = io->priv.next;
	if (!*at)
		mp->last = at;
	if (p) {
		note_sent(p, io);
		p->stats.failovers++;
	} else {
		if (result == -ETIMEDOUT && !mp->is_complaining && !mp->is_cut)
			report(mp->bd.reporter, REPORT_ERROR,
			       "%s: %s: no answer in time", mp->bd.name, lun_io_name(io));
		mp->is_complaining |= result == -ETIMEDOUT;
		one_is_done(mp);
	}
	mutex_unlock(&mp->m);
	if (p)
		p->lun->bd.ops->submit(&p->lun->bd, io);
	else
		complete(io, result);
	mutex_lock(&mp->m);
	return true;
}

static void say_if_all_are_down(struct multipath *mp, uint64_t now)
{
	bool is_any = false;

	for (unsigned int i = 0; i < mp->count; i++)
		is_any |= path_is_usable(&mp->path[i], now);
	if (is_any == mp->is_apd) {
		mp->is_apd = !is_any;
		mp->is_apd_over = false;
		*(is_any ? &mp->up_at : &mp->apd_at) = now;
		report(mp->bd.reporter, is_any ? REPORT_INFO : REPORT_WARN, "%s: %s",
		       mp->bd.name,
		       is_any ? "a path works again"
			      : "all paths down (APD): no path takes I/O any more");
	}
	if (!mp->is_apd || mp->is_apd_over || now < apd_ends_at(mp))
		return;
	mp->is_apd_over = true;
	lun_say_apd_over(&mp->bd, now - mp->apd_at);
}

static void run(void *arg)
{
	struct multipath *mp = arg;

	mutex_lock(&mp->m);
	while (!mp->is_stopping) {
		uint64_t now = clock_now();

		paths_settle(mp, now);
		paths_tend(mp, now);
		say_if_all_are_down(mp, now);
		bool is_served = false;
		while (!mp->is_stopping && serve_one(mp, now))
			is_served = true;
		if (is_served || mp->is_stopping)
			continue;
		uint64_t tick = mp->first || mp->is_cut || mp->ghost_count ? BUSY_TICK_NS
									   : TICK_NS;
		(void)!cond_wait_until(&mp->c, &mp->m, now + tick);
	}
	mutex_unlock(&mp->m);
}

/* ---- opening and closing ---- */

static void mp_free(struct multipath *mp)
{
	mutex_lock(&mp->m);
	mp->is_stopping = true;
	cond_broadcast(&mp->c);
	mutex_unlock(&mp->m);
	task_join(mp->task);
	settlers_join(mp);
	mutex_lock(&mp->m);
	while (mp->is_asking)
		cond_wait(&mp->c, &mp->m);
	mutex_unlock(&mp->m);
	for (unsigned int i = 0; i < mp->count; i++)
		mp->path[i].lun->bd.ops->close(&mp->path[i].lun->bd);
	cond_done(&mp->c);
	mutex_done(&mp->m);
	free(mp);
}

static void mp_close(struct bdev *bd)
{
	struct multipath *mp = mp_of(bd);

	mutex_lock(&mp->m);
	while (mp->io_count)
		cond_wait(&mp->c, &mp->m);
	mutex_unlock(&mp->m);
	mp_free(mp);
}

static const struct bdev_ops mp_ops = {
	.submit = mp_submit,
	.reserve = mp_reserve,
	.rescan = mp_rescan,
	.cut = mp_cut,
	.mend = mp_mend,
	.guard = mp_guard,
	.pr = mp_pr,
	.pr_read = mp_pr_read,
	.registrants = mp_registrants,
	.events = mp_events,
	.notices = mp_notices,
	.nexus = mp_nexus,
	.reinstate = mp_reinstate,
	.reset = mp_reset,
	.offloads = mp_offloads,
	.copy = mp_copy,
	.piece = mp_piece,
	.close = mp_close,
};

struct multipath *multipath_of(struct bdev *bd)
{
	return bd->ops == &mp_ops ? mp_of(bd) : NULL;
}

static struct mp_path *path_init(struct multipath *mp, const struct iscsi_url *url,
				 const struct lun_way *way)
{
	struct mp_path *p = &mp->path[mp->count];

	p->watch = (struct lun_watch){ path_news, path_is_spare };
	p->mp = mp;
	p->index = mp->count;
	p->access = mp->tpgs ? PATH_UNAVAILABLE : PATH_ACTIVE;
	path_name(p->name, way, url->binds[0]);
	return p;
}

struct multipath *mp_new(struct lun *lun)
{
	struct multipath *mp = calloc(1, sizeof(*mp));

	if (!mp)
		return NULL;
	mutex_init(&mp->m);
	cond_init(&mp->c);
	mp->last = &mp->first;
	mp->bd = lun->bd;
	mp->bd.ops = &mp_ops;
	mp->tpgs = lun->tpgs;
	mp->failback_ns =
		iscsi_setting_ns(&lun->params.settings, ISCSI_FAILBACK_DELAY);
	memcpy(mp->isid, lun->params.isid, sizeof(mp->isid));
	mp->choice = (struct path_choice){
		.policy = mp->tpgs ? POLICY_MRU : POLICY_FIXED,
		.iops = DEFAULT_IOPS,
		.preferred = -1,
		.current = -1,
	};
	mp->wants_report = true;
	struct lun_way way;
	lun_way_of(&lun->url, &way);
	(void)iscsi_route_reach(lun->url.reach, way.host, &way.port);
	struct mp_path *p = path_init(mp, &lun->url, &way);
	p->lun = lun;
	p->has_session = p->is_ready = p->has_tpgt = p->is_dirty = true;
	p->access = PATH_ACTIVE; /* it let itself be probed */
	p->tpgt = lun->tpgt;
	mp->count = 1;
	atomic_store(&lun->watch, &p->watch);
	return mp;
}

void mp_add_path(struct multipath *mp, const struct lun_way *way)
{
	const struct iscsi_url *url = &mp->path[0].lun->url;
	struct lun_way to = *way;
	uint8_t isid[6];

	if (mp->count == ISCSI_PATHS_MAX)
		return;
	(void)iscsi_route_reach(url->reach, to.host, &to.port);
	struct mp_path *p = path_init(mp, url, &to);
	for (unsigned int i = 0; i < mp->count; i++)
		if (strcmp(mp->path[i].name, p->name) == 0)
			return;
	memcpy(isid, mp->isid, sizeof(isid));
	isid[3] = (uint8_t)(isid[3] + p->index); /* LOCKING.md 3.1 */
	lun_new_path(mp->path[0].lun, &to, isid, &p->watch, &p->lun);
	mutex_lock(&mp->m);
	mp->count += p->lun != NULL;
	mutex_unlock(&mp->m);
}

int mp_start(struct multipath *mp, struct bdev **ret_bd)
{
	mp->task = task_start("iscsi-paths", run, mp);
	if (!mp->task) {
		mp_free(mp);
		return -ENOMEM;
	}
	*ret_bd = &mp->bd;
	return 0;
}
