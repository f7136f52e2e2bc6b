/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A LUN as a device: the callers' side, and the hand-over to the transport's task.
 *
 *   submit() -> first_io -> (task) queue -> session -> command.c -> done()
 *                              ^  delayed <-/ (back-off, conflict)
 *
 * Invariants:
 * 1. submit() only appends under the mutex and rings; all else happens in one task, so
 *    the commands, their queues and the session need no lock.
 * 2. Every io is done() exactly once, by its deadline. One that has none has 30 s of a
 *    unit that is there; it waits for one that is not (condition.c).
 * 3. No I/O goes to a session that has not passed the check of probe.c: unit
 *    attentions seen, the same disk as before.
 * 4. Each device has its own ISID for its whole life, so that a new session replaces
 *    the old one and ends its tasks at the target before anything is sent again (RFC
 *    7143 6.3.5).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "iscsi/lun_impl.h"

static struct lun *lun_of(struct bdev *bd)
{
	return (struct lun *)bd;
}

static struct lun *lun_of_owner(struct iscsi_owner *o)
{
	return (struct lun *)((char *)o - offsetof(struct lun, owner));
}

/* ---- the callers' side ---- */

static void lun_submit(struct bdev *bd, struct bdev_io *io)
{
	struct lun *lun = lun_of(bd);
	/* Once it is in the list, the io may end, and be its caller's to free. */
	struct bdev_channel *ch = io->channel;

	io->priv.next = NULL;
	io->priv.word[0] = clock_now();
	io->priv.word[1] = LUN_ENDED; /* not what it was on another path */
	mutex_lock(&lun->m);
	bool is_cut = lun->is_cut;
	if (!is_cut) {
		*lun->last_io = io;
		lun->last_io = &io->priv.next;
		lun->io_count++;
	}
	mutex_unlock(&lun->m);
	if (is_cut)
		bdev_io_complete(io, -ESTALE);
	else if (!iscsi_transport_channel(lun->transport, ch))
		iscsi_transport_wake(lun->transport);
}

static void lun_cut(struct bdev *bd)
{
	struct lun *lun = lun_of(bd);

	mutex_lock(&lun->m);
	lun->is_cut = true;
	mutex_unlock(&lun->m);
	iscsi_transport_cut(lun->transport);
}

/* Waits until all I/O of before the cut has ended. With the mutex held. */
static int wait_for_end(struct lun *lun, uint64_t deadline)
{
	while (lun->io_count && clock_now() < deadline)
		(void)!cond_wait_until(&lun->c, &lun->m, deadline);
	return lun->io_count ? -ETIMEDOUT : 0;
}

static int wait_until_up(struct lun *lun, uint64_t deadline)
{
	mutex_lock(&lun->m);
	while (!lun->is_up && !atomic_load(&lun->is_gone) &&
	       !atomic_load(&lun->is_pdl) && clock_now() < deadline)
		(void)!cond_wait_until(&lun->c, &lun->m, deadline);
	bool is_up = lun->is_up;
	mutex_unlock(&lun->m);
	bool is_gone = atomic_load(&lun->is_gone) || atomic_load(&lun->is_pdl);
	return is_gone			      ? -ENODEV
	       : atomic_load(&lun->is_fenced) ? -ESTALE
	       : is_up			      ? 0
					      : -ETIMEDOUT;
}

int lun_mend_start(struct lun *lun, uint64_t deadline)
{
	int error = 0;

	mutex_lock(&lun->m);
	bool is_cut = lun->is_cut;
	/* Who comes too late gets no session, however fast one would come up. */
	if (is_cut)
		error = clock_now() < deadline ? wait_for_end(lun, deadline) : -ETIMEDOUT;
	if (is_cut && !error)
		lun->is_cut = false;
	mutex_unlock(&lun->m);
	if (!is_cut || error)
		return error;
	error = iscsi_transport_mend(lun->transport, deadline);
	if (error)
		lun_cut(&lun->bd);
	return error;
}

static int lun_mend(struct bdev *bd, uint64_t deadline)
{
	struct lun *lun = lun_of(bd);

	mutex_lock(&lun->m);
	bool is_cut = lun->is_cut;
	mutex_unlock(&lun->m);
	int error = lun_mend_start(lun, deadline);
	if (error || !is_cut)
		return error;
	error = wait_until_up(lun, deadline);
	if (error)
		lun_cut(bd);
	return error;
}

static int lun_guard(struct bdev *bd, struct guard_lease *lease)
{
	return iscsi_transport_guard(lun_of(bd)->transport, lease);
}

struct plain_wait {
	bool is_ended;
	int error;
};

static void plain_ended(struct command *c, int error)
{
	struct plain_wait *w = c->context;
	struct lun *lun = c->lun;

	mutex_lock(&lun->m);
	w->error = error;
	w->is_ended = true;
	cond_broadcast(&lun->c);
	mutex_unlock(&lun->m);
}

int lun_command_start(struct lun *lun, struct command *c)
{
	c->lun = lun;
	mutex_lock(&lun->m);
	bool is_cut = lun->is_cut;
	if (!is_cut)
		TAILQ_INSERT_TAIL(&lun->plain, c, link);
	mutex_unlock(&lun->m);
	if (is_cut)
		return -ESTALE;
	iscsi_transport_wake(lun->transport);
	return 0;
}

int lun_command(struct lun *lun, struct plain_command *p)
{
	struct plain_wait w = { false, 0 };
	struct command c = {
		.ended = plain_ended,
		.context = &w,
		.may_repeat = !p->is_unique,
		.fails_on_conflict = p->fails_on_conflict,
		.is_for_lun0 = p->is_for_lun0,
		.is_choosy = p->is_choosy,
		.is_awaited = p->is_awaited,
		.deadline = clock_now() + 2 * lun->command_ns,
		.iov = { .iov_base = p->data, .iov_len = p->len },
	};

	memcpy(c.task.cdb, p->cdb, sizeof(c.task.cdb));
	c.task.is_write = p->is_write;
	c.task.may_be_short = true;
	c.task.iov = &c.iov;
	c.task.iovcnt = 1;
	c.task.len = p->len;
	if (lun_command_start(lun, &c))
		return -ESTALE;
	mutex_lock(&lun->m);
	while (!w.is_ended)
		cond_wait(&lun->c, &lun->m);
	mutex_unlock(&lun->m);
	p->ret_len = c.task.transferred;
	p->ret_is_settled = c.task.is_settled || c.task.fate == ISCSI_STATUS;
	p->ret_sense = scsi_sense_parse(c.task.sense, c.task.sense_len);
	return w.error;
}

/*
 * The unit knows sessions, not tasks: so that two tasks of this process do not share a
 * bracket, the reservation belongs to the task that made it.
 */
static int lun_reserve(struct bdev *bd, bool is_wanted)
{
	/* RELEASE may be repeated: without a reservation it does nothing. */
	struct plain_command p = { .is_unique = is_wanted, .fails_on_conflict = true };
	struct lun *lun = lun_of(bd);
	const struct task *me = task_self();

	mutex_lock(&lun->m);
	const struct task *owner = lun->reserve_owner;
	if (is_wanted && !owner)
		lun->reserve_owner = me;
	mutex_unlock(&lun->m);
	if (is_wanted && owner && owner != me)
		return -EBUSY;
	if (!is_wanted && owner != me)
		return 0;
	scsi_cdb_plain(p.cdb, is_wanted ? SCSI_RESERVE6 : SCSI_RELEASE6);
	int error = lun_command(lun, &p);
	/* A second RESERVE that fails leaves the bracket open, for the RELEASE. */
	if (!is_wanted || (error && !owner)) {
		mutex_lock(&lun->m);
		lun->reserve_owner = NULL;
		mutex_unlock(&lun->m);
	}
	return error;
}

/* ---- the transport's side ---- */

void lun_check_again(struct lun *lun)
{
	atomic_store(&lun->wants_check, true);
	iscsi_transport_wake(lun->transport);
}

void lun_tell(struct lun *lun, enum lun_news news)
{
	struct lun_watch *w = atomic_load(&lun->watch);

	if (w)
		w->news(w, news);
}

void lun_set_ready(struct lun *lun, bool is_ready)
{
	lun->is_ready = is_ready;
	mutex_lock(&lun->m);
	lun->is_up = is_ready;
	cond_broadcast(&lun->c);
	mutex_unlock(&lun->m);
	if (is_ready)
		lun_tell(lun, LUN_NEWS_READY);
}

static void owner_up(struct iscsi_owner *o, struct iscsi_session *s)
{
	struct lun *lun = lun_of_owner(o);

	mutex_lock(&lun->m);
	bool is_open = lun->is_open;
	lun->tpgt = iscsi_session_tpgt(s);
	if (!is_open)
		cond_broadcast(&lun->c);
	lun->is_open = true;
	mutex_unlock(&lun->m);
	lun_tell(lun, LUN_NEWS_SESSION);
	if (is_open) {
		atomic_fetch_add(&lun->events, 1);
		lun_check_start(lun);
	} else {
		lun_set_ready(lun, true);
	}
}

static bool owner_down(struct iscsi_owner *o, int error, const char *why, bool was_up)
{
	struct lun *lun = lun_of_owner(o);

	lun_set_ready(lun, false);
	lun->has_late = false;
	lun_tell(lun, LUN_NEWS_DOWN);
	if (was_up && lun->is_reserved)
		lun->is_reserve_lost = true;
	mutex_lock(&lun->m);
	bool is_open = lun->is_open, is_cut = lun->is_cut;
	if (!is_open) {
		lun->has_failed = true;
		lun->open_error = error ? error : -ECONNRESET;
		(void)snprintf(lun->open_why, sizeof(lun->open_why), "%s", why);
		cond_broadcast(&lun->c);
	}
	mutex_unlock(&lun->m);
	if (!is_open || is_cut || (error == 0 && was_up))
		return is_open && !is_cut;
	if (!lun->is_lost)
		lun->down_since = clock_now();
	if (!lun->is_lost || strcmp(why, lun->down_why) != 0)
		report(lun->bd.reporter, REPORT_WARN, "%s: %s: %s; trying again",
		       lun->url.text, was_up ? "connection lost" : "cannot connect", why);
	mutex_lock(&lun->m);
	(void)snprintf(lun->down_why, sizeof(lun->down_why), "%s", why);
	mutex_unlock(&lun->m);
	lun->is_lost = true;
	return true;
}

static bool owner_unheard(struct iscsi_owner *o)
{
	struct lun_watch *w = atomic_load(&lun_of_owner(o)->watch);

	return w && w->is_spare(w);
}

static void event(void *context, const uint8_t *sense, uint32_t len)
{
	struct lun *lun = context;
	struct scsi_sense s = scsi_sense_parse(sense, len);

	report(lun->bd.reporter, REPORT_INFO,
	       "%s: the target tells an event: %02x/%02x/%02x", lun->url.text, s.key,
	       s.asc, s.ascq);
}

static void climbed(void *context, const char *why)
{
	struct lun *lun = context;

	report(lun->bd.reporter, REPORT_WARN,
	       "%s: a command has no answer, %s: the LUN is reset", lun->url.text, why);
}

static void traced(void *context, const char *line)
{
	struct lun *lun = context;

	report(lun->bd.reporter, REPORT_DEBUG, "%s: %s", lun->url.text, line);
}

static struct command *command_new(struct lun *lun)
{
	struct command *c = TAILQ_FIRST(&lun->spare);

	if (c)
		TAILQ_REMOVE(&lun->spare, c, link);
	else
		c = malloc(sizeof(*c));
	if (c)
		*c = (struct command){ .lun = lun };
	return c;
}

static void no_memory(struct lun *lun, struct bdev_io *io)
{
	mutex_lock(&lun->m);
	lun->io_count--;
	cond_broadcast(&lun->c);
	mutex_unlock(&lun->m);
	bdev_io_complete(io, -ENOMEM);
}

/*
 * How many bytes of it one command is given; a target works on several of them at once.
 */
static uint64_t part_of(const struct bdev_io *io)
{
	return io->op == BDEV_READ ? max_u64(round_up(div_up(io->len, READ_PARTS),
						      READ_PART), READ_PART)
				   : io->len;
}

static void take_io(struct lun *lun, struct bdev_io *io)
{
	uint64_t from = 0, part = part_of(io);
	struct command *lead = NULL, *last = NULL;

	do {
		struct command *c = command_new(lun);

		if (!c)
			break;
		c->io = io;
		c->may_repeat = io->op != BDEV_CAW;
		c->deadline = io->deadline ? io->deadline
					   : io->priv.word[0] + RECOVERY_TIME_NS;
		c->lead = lead = lead ? lead : c;
		lead->parts++;
		c->pos = from;
		c->end = from = min_u64(from + part, io->len);
		TAILQ_INSERT_TAIL(&lun->queue, c, link);
		last = c;
	} while (from < io->len);
	if (last)
		last->end = io->len; /* all that is left, if there was no more memory */
	else
		no_memory(lun, io);
}

/* What callers have brought; returns whether the device is cut. */
static bool take_work(struct lun *lun)
{
	struct command_list plain = TAILQ_HEAD_INITIALIZER(plain);

	mutex_lock(&lun->m);
	struct bdev_io *io = lun->first_io;
	bool is_cut = lun->is_cut;
	lun->first_io = NULL;
	lun->last_io = &lun->first_io;
	TAILQ_CONCAT(&plain, &lun->plain, link);
	mutex_unlock(&lun->m);
	while (io) {
		struct bdev_io *next = io->priv.next;
		take_io(lun, io);
		io = next;
	}
	TAILQ_CONCAT(&lun->queue, &plain, link);
	return is_cut;
}

/* Out of the delayed ones, those whose time has come; returns the next time, ns. */
static uint64_t wake_delayed(struct lun *lun, uint64_t now)
{
	struct command *c, *next;
	uint64_t at = NO_DEADLINE;

	for (c = TAILQ_FIRST(&lun->delayed); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->not_before <= now || c->deadline <= now) {
			TAILQ_REMOVE(&lun->delayed, c, link);
			TAILQ_INSERT_TAIL(&lun->queue, c, link);
		} else {
			at = min_u64(at, min_u64(c->not_before, c->deadline));
		}
	}
	return at;
}

/* Heartbeats and locks: nothing else may delay them. */
static bool is_urgent(const struct command *c)
{
	return !c->io || c->io->deadline || c->io->op == BDEV_CAW;
}

/* true: it has gone to the session or has ended. */
static bool start(struct lun *lun, struct iscsi_session *s, struct command *c)
{
	struct iscsi_task *t = &c->task;
	int error = c->io ? lun_fill_request(c) : 0;

	if (lun_is_unguarded(c))
		error = -ETIMEDOUT;
	if (error) {
		TAILQ_REMOVE(&lun->queue, c, link);
		lun_command_end(c, error == 1 ? 0 : error);
		return true;
	}
	if (c->is_for_lun0)
		scsi_lun_bytes(0, t->lun);
	else
		memcpy(t->lun, lun->lun_bytes, sizeof(t->lun));
	t->is_urgent = is_urgent(c);
	t->attempt_ns = lun->command_ns;
	t->deadline = c->is_awaited ? NO_DEADLINE : c->deadline;
	t->done = lun_task_done;
	if (!t->is_urgent && lun->busy >= lun->depth.now)
		return false;
	c->round = lun->depth.round;
	if (!iscsi_session_start(s, t))
		return false;
	TAILQ_REMOVE(&lun->queue, c, link);
	c->is_busy = true;
	lun->busy++;
	return true;
}

static uint64_t owner_pump(struct iscsi_owner *o, struct iscsi_session *s, uint64_t now)
{
	struct lun *lun = lun_of_owner(o);
	bool is_cut = take_work(lun);
	uint64_t at = min_u64(wake_delayed(lun, now), lun_condition_tick(lun, s, now));
	struct command *c, *next;
	bool has_room = s != NULL;

	if (is_cut || lun->is_gone || lun->is_fenced)
		lun_end_waiting(lun, lun->is_gone ? -ENODEV : -ESTALE);
	else if (atomic_load(&lun->watch) && !lun->is_ready)
		lun_give_back(lun);
	if (s && !lun->check.is_busy && atomic_exchange(&lun->wants_check, false))
		lun_check_start(lun);
	if (lun->has_late && s && iscsi_session_is_settled(s)) {
		lun->has_late = false;
		lun_tell(lun, LUN_NEWS_SETTLED);
	}
	for (c = TAILQ_FIRST(&lun->queue); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->deadline <= now && lun_may_outlast(lun, c))
			continue;
		if (c->deadline <= now) {
			TAILQ_REMOVE(&lun->queue, c, link);
			lun_time_over(c);
			continue;
		}
		if ((has_room || is_urgent(c)) && s && (lun->is_ready || c->is_probe)) {
			if (start(lun, s, c))
				continue;
			has_room = false;
		}
		at = min_u64(at, c->deadline);
	}
	return at;
}

/* ---- opening and closing ---- */

static void lun_free(struct lun *lun)
{
	struct command *c;

	iscsi_transport_stop(lun->transport);
	while ((c = TAILQ_FIRST(&lun->spare))) {
		TAILQ_REMOVE(&lun->spare, c, link);
		free(c);
	}
	cond_done(&lun->c);
	mutex_done(&lun->m);
	free(lun->zeros);
	explicit_bzero(&lun->url, sizeof(lun->url));
	free(lun);
}

static void lun_close(struct bdev *bd)
{
	struct lun *lun = lun_of(bd);

	mutex_lock(&lun->m);
	while (lun->io_count)
		cond_wait(&lun->c, &lun->m);
	mutex_unlock(&lun->m);
	lun_free(lun);
}

static const struct bdev_ops lun_ops = {
	.submit = lun_submit,
	.reserve = lun_reserve,
	.rescan = lun_rescan,
	.cut = lun_cut,
	.mend = lun_mend,
	.guard = lun_guard,
	.pr = lun_pr,
	.pr_read = lun_pr_read,
	.registrants = lun_registrants,
	.events = lun_events,
	.notices = lun_notices,
	.nexus = lun_nexus,
	.reinstate = lun_reinstate,
	.reset = lun_reset,
	.offloads = lun_offloads,
	.copy = lun_copy,
	.piece = lun_piece,
	.close = lun_close,
};

struct lun *lun_of_bdev(struct bdev *bd)
{
	return bd->ops == &lun_ops ? lun_of(bd) : NULL;
}

static struct lun *lun_new(const struct iscsi_url *url, uint32_t flags,
			   const struct iscsi_options *options, struct reporter *r)
{
	struct lun *lun = calloc(1, sizeof(*lun));

	if (!lun)
		return NULL;
	lun->zeros = calloc(1, ZEROS_SIZE);
	if (!lun->zeros) {
		free(lun);
		return NULL;
	}
	for (unsigned int i = 0; i < ZEROS_PIECES; i++)
		lun->zeros_iov[i] = (struct iovec){ lun->zeros, ZEROS_SIZE };
	lun->url = *url;
	lun->bd.ops = &lun_ops;
	(void)snprintf(lun->bd.name, sizeof(lun->bd.name), "%s", url->text);
	lun->bd.memory_align = 1;
	lun->bd.minds_changes = true; /* a wrong digest costs the session */
	lun->bd.is_read_only = flags & BDEV_OPEN_READ_ONLY;
	lun->bd.reporter = r;
	scsi_lun_bytes(url->lun, lun->lun_bytes);
	mutex_init(&lun->m);
	cond_init(&lun->c);
	lun->last_io = &lun->first_io;
	TAILQ_INIT(&lun->plain);
	TAILQ_INIT(&lun->queue);
	TAILQ_INIT(&lun->delayed);
	TAILQ_INIT(&lun->spare);
	lun->owner = (struct iscsi_owner){ owner_up, owner_down, owner_pump,
					   owner_unheard };
	iscsi_initiator_name(options ? options->initiator_name : NULL,
			     lun->initiator_name);
	lun->params = iscsi_url_params(&lun->url);
	lun->params.initiator_name = lun->initiator_name;
	lun->params.event = event;
	lun->params.climbed = climbed;
	lun->params.traced = traced;
	lun->params.context = lun;
	if (options && options->command_timeout_ms &&
	    !url->settings.is_set[ISCSI_COMMAND_TIMEOUT])
		iscsi_setting_set(&lun->params.settings, ISCSI_COMMAND_TIMEOUT,
				  options->command_timeout_ms);
	lun->command_ns =
		iscsi_setting_ns(&lun->params.settings, ISCSI_COMMAND_TIMEOUT);
	depth_init(&lun->depth, &lun->params.settings);
	iscsi_initiator_isid(options ? options->isid : NULL, lun->params.isid);
	return lun;
}

/* Waits for the first login. 0 or -errno, reported. */
static int wait_for_login(struct lun *lun)
{
	mutex_lock(&lun->m);
	while (!lun->is_open && !lun->has_failed)
		cond_wait(&lun->c, &lun->m);
	int error = lun->is_open ? 0 : lun->open_error;
	mutex_unlock(&lun->m);
	if (error)
		report(lun->bd.reporter, REPORT_ERROR, "%s: cannot connect: %s",
		       lun->url.text, lun->open_why);
	return error;
}

/* Logged in, but not asked yet what it is. 0 or -errno, reported. */
static int connect_lun(const struct iscsi_url *url, uint32_t flags,
		       const struct iscsi_options *options, struct reporter *r,
		       struct lun **ret_lun)
{
	struct lun *lun = lun_new(url, flags, options, r);
	const char *why;

	if (!lun)
		return report_error(r, -ENOMEM, "%s: out of memory", url->text);
	int error = iscsi_transport_start(url->host, url->port, &lun->params, &lun->owner,
					  &lun->transport, &why);
	if (error)
		report(r, REPORT_ERROR, "%s: host %s: %s", url->text, url->host, why);
	else
		error = wait_for_login(lun);
	if (error)
		lun_free(lun);
	else
		*ret_lun = lun;
	return error;
}

void lun_way_of(const struct iscsi_url *url, struct lun_way *ret_way)
{
	memcpy(ret_way->host, url->host, sizeof(ret_way->host));
	memcpy(ret_way->nic, url->bind, sizeof(ret_way->nic));
	ret_way->port = url->port;
	ret_way->session = 0;
}

void lun_url_turn(struct iscsi_url *url, const struct lun_way *way)
{
	bool is_elsewhere = url->port != way->port || strcmp(url->host, way->host) != 0;
	struct buf text = { 0 };

	memcpy(url->host, way->host, sizeof(url->host));
	memcpy(url->bind, way->nic, sizeof(url->bind));
	url->port = way->port;
	if (is_elsewhere || url->binds[0])
		iscsi_url_write_place(url, &text);
	if (url->binds[0])
		buf_printf(&text, " from %s", url->bind);
	if (text.data)
		(void)snprintf(url->text, sizeof(url->text), "%s", text.data);
	buf_done(&text);
}

void lun_new_path(const struct lun *like, const struct lun_way *way,
		  const uint8_t isid[6], struct lun_watch *watch, struct lun **ret_lun)
{
	struct reporter *r = like->bd.reporter;
	struct iscsi_options options = { .initiator_name = like->initiator_name };
	struct iscsi_url url = like->url;
	const char *why = "out of memory";

	memcpy(options.isid, isid, sizeof(options.isid));
	lun_url_turn(&url, way);
	struct lun *lun = lun_new(&url, 0, &options, r);
	explicit_bzero(&url, sizeof(url));
	*ret_lun = lun; /* its session may be up before its start returns */
	if (lun) {
		lun->params.settings = like->params.settings;
		lun->command_ns = like->command_ns;
		lun_probed_as(lun, like);
		lun->is_open = true;
		atomic_store(&lun->watch, watch);
		if (iscsi_transport_start(way->host, way->port, &lun->params, &lun->owner,
					  &lun->transport, &why) < 0) {
			*ret_lun = NULL;
			lun_free(lun);
		}
	}
	if (!*ret_lun)
		report(r, REPORT_ERROR, "%s: path to %s: %s", like->url.text, way->host,
		       why);
}

int iscsi_lun_open(const struct iscsi_url *url, uint32_t flags,
		   const struct iscsi_options *options, struct reporter *r,
		   struct bdev **ret_bd)
{
	struct lun *lun;
	int error = connect_lun(url, flags, options, r, &lun);

	if (error)
		return error;
	error = lun_probe(lun);
	if (error) {
		lun_free(lun);
		return error;
	}
	*ret_bd = &lun->bd;
	return 0;
}

static int list_luns(const struct iscsi_url *url, const struct iscsi_options *options,
		     struct reporter *r, uint16_t *ret_luns, unsigned int max)
{
	struct lun *lun;
	int count = connect_lun(url, BDEV_OPEN_READ_ONLY, options, r, &lun);

	if (count < 0)
		return count;
	count = lun_report_luns(lun, ret_luns, max);
	if (count < 0)
		report(r, REPORT_ERROR, "%s: REPORT LUNS failed: %s", url->text,
		       strerror(-count));
	lun_free(lun);
	return count;
}

int iscsi_lun_list(const struct iscsi_url *url, const struct iscsi_options *options,
		   struct reporter *r, uint16_t *ret_luns, unsigned int max)
{
	struct iscsi_url from = *url;
	int count = -EHOSTUNREACH;

	for (unsigned int i = 0;
	     count < 0 && count != -EACCES && iscsi_url_nic(url, i, from.bind); i++)
		count = list_luns(&from, options, r, ret_luns, max);
	explicit_bzero(&from, sizeof(from));
	return count;
}
