/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of each path, and by whom:
 *
 *   has_session, is_ready, is_gone   its LUN tells (path_news)
 *   access                           REPORT TARGET PORT GROUPS, asked when a path comes
 *                                    up, says so (UA 2A/06), or takes no I/O; and each
 *                                    10 s, in transition each half second
 *   refused_until                    an I/O that it did not want; ALUA may know better
 *
 *            login, check             RTPG
 *   DEAD ----------------> UNAVAILABLE ----> ACTIVE <-> UNOPTIMIZED <-> STANDBY
 *     ^                        | no such unit
 *     '--- session lost        '----> GONE ----> (looked at again each 5 s)
 *
 * Without ALUA (TPGS 0) a path that is up is active. Standby paths keep their session;
 * its pings, and a TEST UNIT READY each 5 s, show that they live. If all that is left is
 * standby and the target allows it, its group is activated (SET TARGET PORT GROUPS).
 *
 * Invariant: one question to the target at a time, on a path that is up; its answer is
 * taken in that path's task.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "iscsi/multipath_impl.h"

#define REPORT_NS (10 * NS_PER_S)
#define REPORT_SOON_NS (500 * NS_PER_MS)
#define ASK_NS (5 * NS_PER_S)
#define ACTIVATE_NS (2 * NS_PER_S)
#define PROBE_NS (5 * NS_PER_S)
#define REFUSED_NS (1 * NS_PER_S)
#define AVERAGE_OVER 8u

const char *path_state_text(enum path_state state)
{
	static const char *const names[] = {
		[PATH_DEAD] = "dead",
		[PATH_ACTIVE] = "active",
		[PATH_UNOPTIMIZED] = "active unoptimized",
		[PATH_STANDBY] = "standby",
		[PATH_UNAVAILABLE] = "unavailable",
		[PATH_OFF] = "off",
		[PATH_GONE] = "dead (permanent device loss)",
	};
	return names[state];
}

void path_name(char ret_name[PATH_NAME_SIZE], const struct lun_way *way, bool has_nics)
{
	struct buf text = { 0 };

	iscsi_portal_write(&text, way->host, way->port);
	if (has_nics)
		buf_printf(&text, "@%s", way->nic);
	if (way->session)
		buf_printf(&text, "#%u", way->session + 1);
	(void)snprintf(ret_name, PATH_NAME_SIZE, "%s", text.data ? text.data : "");
	buf_done(&text);
}

enum path_state path_state(const struct mp_path *p, uint64_t now)
{
	if (p->is_off)
		return PATH_OFF;
	if (p->is_gone)
		return PATH_GONE;
	if (!p->is_ready)
		return PATH_DEAD;
	return now < p->refused_until ? PATH_UNAVAILABLE : p->access;
}

struct mp_path *path_next(struct multipath *mp, uint64_t now)
{
	struct path_view view[ISCSI_PATHS_MAX];

	for (unsigned int i = 0; i < mp->count; i++) {
		const struct mp_path *p = &mp->path[i];
		view[i] = (struct path_view){ path_state(p, now), p->stats.latency_ns,
					      p->busy,
					      now - p->better_at < mp->failback_ns };
	}
	int i = path_choose(&mp->choice, view, mp->count);
	return i < 0 ? NULL : &mp->path[i];
}

bool paths_all_gone(const struct multipath *mp)
{
	bool is_any = false;

	for (unsigned int i = 0; i < mp->count; i++) {
		if (!mp->path[i].is_off && !mp->path[i].is_gone)
			return false;
		is_any |= mp->path[i].is_gone;
	}
	return is_any;
}

/* ---- statistics ---- */

void path_stats_add(struct path_stats *s, enum bdev_op op, uint64_t len, int result,
		    uint64_t took)
{
	unsigned int bucket = 0;

	if (op == BDEV_READ)
		s->reads++;
	else if (op == BDEV_WRITE)
		s->writes++;
	else
		s->others++;
	s->miscompares += result == -EILSEQ;
	s->unknowns += result == -ETIMEDOUT;
	if (result < 0)
		return;
	if (op == BDEV_READ)
		s->bytes_read += len;
	else if (op == BDEV_WRITE)
		s->bytes_written += len;
	while (bucket + 1 < PATH_HISTOGRAM && took >= 128 * NS_PER_US << bucket)
		bucket++;
	s->histogram[bucket]++;
	s->latency_ns = s->latency_ns ? s->latency_ns - s->latency_ns / AVERAGE_OVER +
						took / AVERAGE_OVER
				      : took;
}

void path_ended(struct mp_path *p, const struct bdev_io *io, enum lun_fate fate,
		uint64_t now)
{
	uint64_t sent = io->priv.word[0];

	p->busy--;
	path_stats_add(&p->stats, io->op, io->len, io->result,
		       now > sent ? now - sent : 0);
	if (fate == LUN_ENDED)
		return;
	p->stats.errors++;
	switch (fate) {
	case LUN_NOT_SENT:
		p->is_ready = p->is_ready && p->lun->is_ready;
		break;
	case LUN_GONE:
		p->is_gone = true;
		break;
	case LUN_REFUSED:
		p->refused_until = now + REFUSED_NS;
		p->mp->wants_report = true;
		break;
	default:
		break;
	}
}

/* ---- news ---- */

static void came_up(struct mp_path *p)
{
	struct multipath *mp = p->mp;

	if (!p->is_ready)
		p->better_at = clock_now();
	p->is_ready = true;
	p->is_gone = false;
	p->refused_until = 0;
	mp->wants_report = true;
	if (p->lacks_key)
		mp->events++; /* who counts them registers it (vmfs/fence.c) */
}

void path_news(struct lun_watch *w, enum lun_news news)
{
	struct mp_path *p = (struct mp_path *)w;
	struct multipath *mp = p->mp;

	mutex_lock(&mp->m);
	switch (news) {
	case LUN_NEWS_SESSION:
		p->has_session = p->has_tpgt = true;
		p->tpgt = p->lun->tpgt;
		p->sessions++;
		path_settled(p);
		break;
	case LUN_NEWS_READY:
		came_up(p);
		break;
	case LUN_NEWS_DOWN:
		if (p->has_session)
			p->down_at = clock_now();
		p->has_session = p->is_ready = false;
		if (mp->bracket == p)
			mp->is_bracket_broken = true;
		if (mp->tpgs)
			p->access = PATH_UNAVAILABLE;
		break;
	case LUN_NEWS_SETTLED:
		p->epoch++;
		break;
	case LUN_NEWS_ACCESS:
		mp->wants_report = true;
		break;
	case LUN_NEWS_FENCED:
		mp->is_fenced = true;
		break;
	case LUN_NEWS_GONE:
		p->is_gone = true;
		p->is_ready = false;
		break;
	}
	cond_broadcast(&mp->c);
	mutex_unlock(&mp->m);
}

bool path_is_spare(struct lun_watch *w)
{
	struct mp_path *p = (struct mp_path *)w;
	struct multipath *mp = p->mp;
	bool is_spare = false;

	mutex_lock(&mp->m);
	uint64_t now = clock_now();
	for (unsigned int i = 0; i < mp->count; i++)
		is_spare |= &mp->path[i] != p && path_is_usable(&mp->path[i], now);
	mutex_unlock(&mp->m);
	return is_spare;
}

/* ---- questions to the target ---- */

static void take_groups(struct multipath *mp, uint32_t len, uint64_t now)
{
	struct alua_group groups[ALUA_GROUPS_MAX];
	unsigned int count = alua_read(mp->answer, len, groups, ALUA_GROUPS_MAX);

	mp->is_changing = false;
	for (unsigned int i = 0; i < mp->count; i++) {
		struct mp_path *p = &mp->path[i];
		uint32_t own = atomic_load(&p->lun->port_group);

		for (unsigned int k = 0; k < count; k++) {
			if (groups[k].group != own)
				continue;
			if (groups[k].state <= PATH_UNOPTIMIZED)
				p->refused_until = 0;
			if (p->access > groups[k].state)
				p->better_at = now;
			p->access = groups[k].state;
			mp->is_changing |= groups[k].is_changing;
		}
	}
	mp->report_at = now + (mp->is_changing ? REPORT_SOON_NS : REPORT_NS);
}

static void asked(struct command *c, int error)
{
	struct multipath *mp = c->context;

	mutex_lock(&mp->m);
	uint64_t now = clock_now();
	if (c->task.is_write)
		mp->wants_report = true; /* SET TARGET PORT GROUPS: what is it now? */
	else if (error)
		mp->report_at = now + REPORT_SOON_NS;
	else
		take_groups(mp, c->task.transferred, now);
	mp->is_asking = false;
	cond_broadcast(&mp->c);
	mutex_unlock(&mp->m);
}

/* Sends mp->ask, with its CDB and its memory, on p. Releases the mutex meanwhile. */
static void ask(struct multipath *mp, struct mp_path *p, uint64_t now)
{
	struct command *c = &mp->ask;

	c->ended = asked;
	c->context = mp;
	c->may_repeat = true;
	c->fails_on_conflict = true;
	c->deadline = now + ASK_NS;
	c->task.may_be_short = true;
	c->task.iov = &c->iov;
	c->task.iovcnt = 1;
	c->task.len = (uint32_t)c->iov.iov_len;
	mp->is_asking = true;
	mutex_unlock(&mp->m);
	int error = lun_command_start(p->lun, c);
	mutex_lock(&mp->m);
	if (error)
		mp->is_asking = false;
}

/* The next path that is up, behind the one that was asked last. */
static struct mp_path *path_to_ask(struct multipath *mp)
{
	for (unsigned int n = 1; n <= mp->count; n++) {
		unsigned int i = (mp->asked + n) % mp->count;
		if (!mp->path[i].is_ready)
			continue;
		mp->asked = i;
		return &mp->path[i];
	}
	return NULL;
}

static void report_groups(struct multipath *mp, uint64_t now)
{
	struct mp_path *p = path_to_ask(mp);

	if (!p)
		return;
	mp->wants_report = false;
	mp->report_at = now + REPORT_NS;
	memset(&mp->ask, 0, sizeof(mp->ask));
	memset(mp->answer, 0, sizeof(mp->answer));
	alua_cdb_report(mp->ask.task.cdb);
	mp->ask.iov = (struct iovec){ mp->answer, sizeof(mp->answer) };
	ask(mp, p, now);
}

/* I/O waits, and only standby paths are left: one of them is to be active. */
static void activate_one(struct multipath *mp, uint64_t now)
{
	struct mp_path *found = NULL;

	if (!mp->first || !(mp->tpgs & ALUA_EXPLICIT) || now < mp->activate_at ||
	    mp->wants_report || mp->is_changing)
		return;
	for (unsigned int i = 0; i < mp->count; i++) {
		struct mp_path *p = &mp->path[i];

		if (path_is_usable(p, now))
			return;
		if (p->is_ready && !p->is_off && p->access == PATH_STANDBY && !found)
			found = p;
	}
	if (!found)
		return;
	mp->activate_at = now + ACTIVATE_NS;
	memset(&mp->ask, 0, sizeof(mp->ask));
	alua_cdb_activate(mp->ask.task.cdb, mp->list,
			  (uint16_t)atomic_load(&found->lun->port_group));
	mp->ask.task.is_write = true;
	mp->ask.iov = (struct iovec){ mp->list, sizeof(mp->list) };
	report(mp->bd.reporter, REPORT_INFO, "%s: the ports of %s are made active",
	       mp->bd.name, found->name);
	ask(mp, found, now);
}

void paths_tend(struct multipath *mp, uint64_t now)
{
	if (mp->is_stopping || mp->is_cut)
		return;
	if (mp->tpgs && !mp->is_asking && (mp->wants_report || now >= mp->report_at))
		report_groups(mp, now);
	if (mp->tpgs && !mp->is_asking)
		activate_one(mp, now);
	if (now < mp->probe_at)
		return;
	mp->probe_at = now + PROBE_NS;
	for (unsigned int i = 0; i < mp->count; i++)
		if (mp->path[i].has_session && !path_is_usable(&mp->path[i], now))
			lun_check_again(mp->path[i].lun);
}

/* ---- for those who look ---- */

/* Where it leads, and from where. */
static void fill_place(const struct lun *lun, struct path_info *ret)
{
	const struct iscsi_url *url = &lun->url;
	struct buf text = { 0 };

	iscsi_portal_write(&text, url->host, url->port);
	(void)snprintf(ret->portal, sizeof(ret->portal), "%s",
		       text.data ? text.data : "");
	buf_done(&text);
	(void)snprintf(ret->nic, sizeof(ret->nic), "%s", url->bind);
	(void)snprintf(ret->target, sizeof(ret->target), "%s", url->target);
	ret->lun = url->lun;
}

/* Why there is no session, if there is none. */
static void fill_why(struct lun *lun, struct path_info *ret)
{
	if (ret->state != PATH_DEAD)
		return;
	mutex_lock(&lun->m);
	(void)snprintf(ret->why, sizeof(ret->why), "%s", lun->down_why);
	mutex_unlock(&lun->m);
}

static void fill_path(const struct mp_path *p, struct path_info *ret, uint64_t now)
{
	const struct multipath *mp = p->mp;

	*ret = (struct path_info){
		.tpgt = p->tpgt,
		.group = (uint16_t)atomic_load(&p->lun->port_group),
		.state = path_state(p, now),
		.is_preferred = mp->choice.preferred == (int)p->index,
		.is_working = mp->choice.current == (int)p->index,
		.busy = p->busy,
		.stats = p->stats,
	};
	(void)snprintf(ret->name, sizeof(ret->name), "%s", p->name);
	fill_place(p->lun, ret);
	fill_why(p->lun, ret);
}

static void fill_single(struct lun *lun, struct paths_info *ret)
{
	struct path_info *p = &ret->path[0];

	*ret = (struct paths_info){ .iops = DEFAULT_IOPS,
				    .tpgs = lun->tpgs,
				    .count = 1 };
	fill_place(lun, p);
	memcpy(p->name, p->portal, sizeof(p->portal));
	p->group = (uint16_t)atomic_load(&lun->port_group);
	p->is_working = true;
	mutex_lock(&lun->m);
	p->tpgt = lun->tpgt;
	p->busy = lun->io_count;
	p->stats = lun->stats;
	p->state = atomic_load(&lun->is_gone) ? PATH_GONE
		   : lun->is_up		      ? PATH_ACTIVE
					      : PATH_DEAD;
	mutex_unlock(&lun->m);
	fill_why(lun, p);
	ret->is_apd = p->state != PATH_ACTIVE;
}

int paths_info(struct bdev *bd, struct paths_info *ret_info)
{
	struct bdev *below = bdev_range_below(bd);
	struct multipath *mp = multipath_of(below);
	struct lun *lun = mp ? NULL : lun_of_bdev(below);

	if (lun)
		fill_single(lun, ret_info);
	if (!mp)
		return lun ? 0 : -EOPNOTSUPP;
	mutex_lock(&mp->m);
	uint64_t now = clock_now();
	*ret_info = (struct paths_info){
		.policy = mp->choice.policy,
		.iops = mp->choice.iops,
		.tpgs = mp->tpgs,
		.is_apd = mp->is_apd,
		.count = mp->count,
	};
	for (unsigned int i = 0; i < mp->count; i++)
		fill_path(&mp->path[i], &ret_info->path[i], now);
	mutex_unlock(&mp->m);
	return 0;
}

/* With the mutex held; -1: no such path. */
static int find_path(const struct multipath *mp, const char *name)
{
	for (unsigned int i = 0; i < mp->count; i++)
		if (strcmp(mp->path[i].name, name) == 0)
			return (int)i;
	return -1;
}

int paths_set_policy(struct bdev *bd, enum path_policy policy, uint32_t iops,
		     const char *preferred)
{
	struct multipath *mp = multipath_of(bdev_range_below(bd));

	if (!mp)
		return -EOPNOTSUPP;
	mutex_lock(&mp->m);
	int i = preferred ? find_path(mp, preferred) : mp->choice.preferred;
	bool is_found = !preferred || i >= 0;
	if (is_found) {
		mp->choice.policy = policy;
		mp->choice.preferred = i;
		if (iops)
			mp->choice.iops = iops;
	}
	mutex_unlock(&mp->m);
	return is_found ? 0 : -ENOENT;
}

int paths_set_off(struct bdev *bd, const char *name, bool is_off)
{
	struct multipath *mp = multipath_of(bdev_range_below(bd));
	unsigned int left = 0;

	if (!mp)
		return -EOPNOTSUPP;
	mutex_lock(&mp->m);
	uint64_t now = clock_now();
	int found = find_path(mp, name);
	for (unsigned int i = 0; i < mp->count; i++)
		left += (int)i != found && path_is_usable(&mp->path[i], now);
	int error = found < 0 ? -ENOENT : is_off && !left ? -EBUSY : 0;
	if (!error)
		mp->path[found].is_off = is_off;
	cond_broadcast(&mp->c);
	mutex_unlock(&mp->m);
	return error;
}
