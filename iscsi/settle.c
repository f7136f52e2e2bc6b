/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When is it settled what a path was given? (multipath.c has the argument.)
 *
 * A path's epoch counts: what was noted under an older number is settled. It goes on
 *
 *   - when the path has a new session under its ISID                    (path_news)
 *   - when its session has got all its ABORT TASKs answered             (path_news)
 *   - when a login under its name and ISID was let in by another portal of its portal
 *     group, and it had no session of its own meanwhile                 (paths_settle)
 *   - T_tgt after its session ended                                     (paths_settle)
 *
 * The login is an errand of reinstate.c, in a task of its own: it may take long.
 *
 * Invariants:
 * 1. An errand counts only for the session that was dead when it began: if the path has
 *    logged in meanwhile, its own login has settled all before, and what it has sent
 *    since may be on the way.
 * 2. A ghost keeps the number of its time. More than GHOSTS_MAX become one that is
 *    everywhere.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/multipath_impl.h"

#define ERRAND_NS (3 * NS_PER_S)
#define ERRAND_PAUSE_NS (200 * NS_PER_MS)

/* ---- ghosts ---- */

void ghost_add(struct multipath *mp, const struct bdev_io *io, const struct mp_path *p,
	       uint32_t epoch)
{
	struct ghost g = { io->offset, io->len, p->index, epoch, io->op == BDEV_CAW };

	if (g.is_caw)
		g.len = mp->bd.block_size;
	if (mp->ghost_count == GHOSTS_MAX) {
		mp->ghost_count--;
		g = (struct ghost){ 0, UINT64_MAX, p->index, epoch, false };
	}
	mp->ghosts[mp->ghost_count++] = g;
}

static bool overlaps(const struct ghost *g, uint64_t offset, uint64_t len)
{
	return g->offset < offset + len &&
	       (offset < g->offset || offset - g->offset < g->len);
}

bool ghost_is_near(struct multipath *mp, const struct bdev_io *io)
{
	bool is_near = false;
	unsigned int i = 0;

	while (i < mp->ghost_count) {
		const struct ghost *g = &mp->ghosts[i];

		if (mp->path[g->path].epoch != g->epoch) {
			mp->ghosts[i] = mp->ghosts[--mp->ghost_count];
			continue;
		}
		/* Two COMPARE AND WRITEs know each other by what they compare. */
		if (!(g->is_caw && io->op == BDEV_CAW))
			is_near |= overlaps(g, io->offset, io->len);
		i++;
	}
	return is_near;
}

/* ---- errands ---- */

void path_settled(struct mp_path *p)
{
	p->epoch++;
	p->is_dirty = false;
}

/* A path that is up and whose portal is of the same group; NULL: none. */
static struct mp_path *sibling_of(const struct mp_path *p, uint64_t now)
{
	struct multipath *mp = p->mp;

	for (unsigned int i = 0; i < mp->count; i++) {
		struct mp_path *q = &mp->path[i];

		if (q != p && q->has_session && q->tpgt == p->tpgt && p->has_tpgt &&
		    path_state(q, now) != PATH_OFF)
			return q;
	}
	return NULL;
}

bool path_can_reinstate(const struct mp_path *p, uint64_t now)
{
	return p->has_session || sibling_of(p, now);
}

static void run_errand(void *arg)
{
	struct mp_path *p = arg;
	struct lun *lun = p->lun;
	struct bdev_nexus nexus;
	int error = lun->bd.ops->nexus(&lun->bd, &nexus);

	if (!error)
		error = p->via->lun->bd.ops->reinstate(&p->via->lun->bd, &nexus,
						       clock_now() + ERRAND_NS);
	mutex_lock(&p->mp->m);
	p->settle_error = error;
	p->has_settler_ended = true;
	cond_broadcast(&p->mp->c);
	mutex_unlock(&p->mp->m);
}

/* Its task has ended, or does at once. Releases the mutex meanwhile. */
static void end_errand(struct mp_path *p, uint64_t now)
{
	struct task *settler = p->settler;

	mutex_unlock(&p->mp->m);
	task_join(settler);
	mutex_lock(&p->mp->m);
	p->settler = NULL;
	p->settle_at = now + ERRAND_PAUSE_NS;
	if (p->settle_error || p->has_session || p->sessions != p->settler_session)
		return;
	report(p->mp->bd.reporter, REPORT_INFO,
	       "%s: what was under way at %s was ended by a login at %s", p->mp->bd.name,
	       p->name, p->via->name);
	path_settled(p);
}

static void settle(struct mp_path *p, uint64_t now)
{
	if (p->settler && p->has_settler_ended)
		end_errand(p, now);
	if (p->has_session || !p->is_dirty || p->mp->is_stopping)
		return;
	if (now >= p->down_at + RESIDUE_NS) {
		path_settled(p);
		return;
	}
	if (p->settler || now < p->settle_at)
		return;
	p->via = sibling_of(p, now);
	if (!p->via)
		return;
	p->has_settler_ended = false;
	p->settler_session = p->sessions;
	p->settler = task_start("iscsi-settle", run_errand, p);
	if (!p->settler)
		p->settle_at = now + ERRAND_PAUSE_NS;
}

void paths_settle(struct multipath *mp, uint64_t now)
{
	for (unsigned int i = 0; i < mp->count; i++)
		settle(&mp->path[i], now);
}

void settlers_join(struct multipath *mp)
{
	for (unsigned int i = 0; i < mp->count; i++)
		task_join(mp->path[i].settler);
}
