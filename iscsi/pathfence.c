/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservations, cuts and barriers over all paths of a device (bdev/fence.h).
 *
 *   REGISTER   on each path that is up; the others come later: BDEV_PR_JOIN, when who has
 *              the lease says so (vmfs/fence.c), for a host that was fenced must not
 *              register again by itself (LOCKING.md 1.3(7))
 *   others     on one path: a reservation of type 7 is all registrants', and PREEMPT
 *              takes a key from all sessions that have it
 *   cut        all; mend: one path is up, and what each had been given is settled
 *   nexus      the ISID of path i is that of path 0 with i more in byte 3; a survivor
 *              ends all of them
 *
 * Invariant: no call goes to a path with the mutex held.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/multipath_impl.h"

static struct bdev *lun_bd(struct mp_path *p)
{
	return &p->lun->bd;
}

static bool is_ready(struct mp_path *p)
{
	mutex_lock(&p->mp->m);
	bool is = p->is_ready && !p->is_off;
	mutex_unlock(&p->mp->m);
	return is;
}

/* A path for a question; the first that is up if none takes I/O, or the first of all. */
static struct mp_path *some_path(struct multipath *mp)
{
	struct mp_path *found = NULL;

	mutex_lock(&mp->m);
	uint64_t now = clock_now();
	for (unsigned int i = 0; i < mp->count; i++) {
		struct mp_path *p = &mp->path[i];

		if (path_is_usable(p, now) && !p->lacks_key) {
			found = p;
			break;
		}
		if (p->is_ready && !found)
			found = p;
	}
	mutex_unlock(&mp->m);
	return found ? found : &mp->path[0];
}

/* ---- cut and mend ---- */

static void set_cut(struct multipath *mp, bool is_cut)
{
	mutex_lock(&mp->m);
	mp->is_cut = is_cut;
	cond_broadcast(&mp->c);
	mutex_unlock(&mp->m);
}

void mp_cut(struct bdev *bd)
{
	struct multipath *mp = (struct multipath *)bd;

	set_cut(mp, true);
	for (unsigned int i = 0; i < mp->count; i++)
		lun_bd(&mp->path[i])->ops->cut(lun_bd(&mp->path[i]));
}

static int wait_for_end(struct multipath *mp, uint64_t deadline)
{
	while (mp->io_count && clock_now() < deadline)
		(void)!cond_wait_until(&mp->c, &mp->m, deadline);
	return mp->io_count ? -ETIMEDOUT : 0;
}

/* One path is up, and none has anything under way. With the mutex held. */
static bool is_mended(const struct multipath *mp)
{
	bool is_up = false;

	for (unsigned int i = 0; i < mp->count; i++) {
		const struct mp_path *p = &mp->path[i];

		if (!p->has_session && p->is_dirty)
			return false;
		is_up |= p->is_ready;
	}
	return is_up;
}

static int wait_until_mended(struct multipath *mp, uint64_t deadline)
{
	mutex_lock(&mp->m);
	while (!is_mended(mp) && !mp->is_fenced && !paths_all_gone(mp) &&
	       clock_now() < deadline)
		(void)!cond_wait_until(&mp->c, &mp->m,
				       min_u64(deadline, clock_now() + 50 * NS_PER_MS));
	int error = mp->is_fenced	 ? -ESTALE
		    : paths_all_gone(mp) ? -ENODEV
		    : is_mended(mp)	 ? 0
					 : -ETIMEDOUT;
	mutex_unlock(&mp->m);
	return error;
}

int mp_mend(struct bdev *bd, uint64_t deadline)
{
	struct multipath *mp = (struct multipath *)bd;

	mutex_lock(&mp->m);
	bool is_cut = mp->is_cut;
	int error = is_cut ? wait_for_end(mp, deadline) : 0;
	mutex_unlock(&mp->m);
	for (unsigned int i = 0; is_cut && !error && i < mp->count; i++)
		error = lun_mend_start(mp->path[i].lun, deadline);
	if (is_cut && !error)
		error = wait_until_mended(mp, deadline);
	if (is_cut && !error)
		set_cut(mp, false);
	else if (is_cut)
		mp_cut(bd);
	return error;
}

int mp_guard(struct bdev *bd, struct guard_lease *lease)
{
	struct multipath *mp = (struct multipath *)bd;
	int error = 0;

	for (unsigned int i = 0; i < mp->count; i++) {
		struct bdev *lun = lun_bd(&mp->path[i]);
		int e = lun->ops->guard(lun, lease);
		error = error ? error : e;
	}
	return error;
}

/* ---- reservations ---- */

static void set_lacks(struct mp_path *p, bool lacks_key)
{
	mutex_lock(&p->mp->m);
	p->lacks_key = lacks_key;
	mutex_unlock(&p->mp->m);
}

/* all: on every path that is up; else on those that lack it. */
static int register_paths(struct multipath *mp, uint64_t key, bool all)
{
	int result = all ? -ETIMEDOUT : 0;

	for (unsigned int i = 0; i < mp->count; i++) {
		struct mp_path *p = &mp->path[i];
		int error = -ENOTCONN;

		if (!all && !p->lacks_key)
			continue;
		if (is_ready(p))
			error = lun_bd(p)->ops->pr(lun_bd(p), BDEV_PR_REGISTER, key, 0);
		if (error == -EOPNOTSUPP)
			return error;
		lun_note_key(p->lun, key);
		set_lacks(p, error && key);
		if (all && result && error != -ENOTCONN)
			result = error;
	}
	return result;
}

int mp_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key, uint64_t what)
{
	struct multipath *mp = (struct multipath *)bd;

	if (action == BDEV_PR_REGISTER || action == BDEV_PR_JOIN)
		return register_paths(mp, key, action == BDEV_PR_REGISTER);
	struct bdev *lun = lun_bd(some_path(mp));
	int error = lun->ops->pr(lun, action, key, what);
	for (unsigned int i = 0; !error && action == BDEV_PR_CLEAR && i < mp->count; i++)
		lun_note_key(mp->path[i].lun, 0);
	return error;
}

/* A question that may be asked again: path after path while it gets no answer. */
struct question {
	int (*ask)(struct bdev *lun, struct question *q);
	struct bdev_pr_state *state;
	struct bdev_registrant *registrants;
	unsigned int max;
	uint64_t deadline;
};

static int ask_all(struct multipath *mp, struct question *q)
{
	struct mp_path *first = some_path(mp);
	int error = q->ask(lun_bd(first), q);

	for (unsigned int i = 0; error == -ETIMEDOUT || error == -EBUSY; i++) {
		if (i == mp->count)
			break;
		if (&mp->path[i] != first && is_ready(&mp->path[i]))
			error = q->ask(lun_bd(&mp->path[i]), q);
	}
	return error;
}

static int ask_keys(struct bdev *lun, struct question *q)
{
	return lun->ops->pr_read(lun, q->state);
}

int mp_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state)
{
	struct multipath *mp = (struct multipath *)bd;
	struct question q = { .ask = ask_keys, .state = ret_state };
	int error = ask_all(mp, &q);

	for (unsigned int i = 0; !error && i < mp->count; i++)
		lun_note_generation(mp->path[i].lun, ret_state->generation);
	return error;
}

static int ask_registrants(struct bdev *lun, struct question *q)
{
	return lun->ops->registrants(lun, q->registrants, q->max);
}

int mp_registrants(struct bdev *bd, struct bdev_registrant *ret, unsigned int max)
{
	struct question q = { .ask = ask_registrants, .registrants = ret, .max = max };

	return ask_all((struct multipath *)bd, &q);
}

uint32_t mp_events(struct bdev *bd)
{
	struct multipath *mp = (struct multipath *)bd;

	mutex_lock(&mp->m);
	uint32_t sum = mp->events;
	mutex_unlock(&mp->m);
	for (unsigned int i = 0; i < mp->count; i++)
		sum += lun_events(lun_bd(&mp->path[i]));
	return sum;
}

/* ---- sessions ---- */

int mp_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus)
{
	struct multipath *mp = (struct multipath *)bd;
	int error = lun_nexus(lun_bd(&mp->path[0]), ret_nexus);

	mutex_lock(&mp->m);
	ret_nexus->paths = (uint8_t)mp->count;
	for (unsigned int i = 0; i < mp->count; i++) {
		struct mp_path *p = &mp->path[i];

		ret_nexus->is_partial |= !p->has_tpgt;
		ret_nexus->lacks_key |= p->lacks_key && p->is_ready;
		ret_nexus->tpgts[i] = p->tpgt;
	}
	mutex_unlock(&mp->m);
	return error;
}

static bool is_own(struct multipath *mp, const struct bdev_nexus *n)
{
	return strcmp(n->initiator, mp->path[0].lun->initiator_name) == 0 &&
	       memcmp(n->isid, mp->isid, sizeof(mp->isid)) == 0;
}

/* Ends the victim's session to that portal group, through any path of ours to it. */
static int end_one(struct multipath *mp, const struct bdev_nexus *n, uint64_t deadline)
{
	int error = -EOPNOTSUPP;

	for (unsigned int i = 0; error && i < mp->count; i++) {
		struct mp_path *p = &mp->path[i];

		mutex_lock(&mp->m);
		bool is_way = p->has_session && p->tpgt == n->tpgt;
		mutex_unlock(&mp->m);
		if (is_way)
			error = lun_reinstate(lun_bd(p), n, deadline);
	}
	return error;
}

int mp_reinstate(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline)
{
	struct multipath *mp = (struct multipath *)bd;
	int error = 0;

	for (unsigned int i = 0; !error && i < max_u64(victim->paths, 1); i++) {
		struct bdev_nexus n = *victim;

		n.paths = 0;
		n.isid[3] = (uint8_t)(n.isid[3] + i);
		if (i)
			n.tpgt = victim->tpgts[i];
		/* A former life of ours: the path's own login has done it. */
		if (is_own(mp, victim) && i < mp->count && is_ready(&mp->path[i]))
			continue;
		error = end_one(mp, &n, deadline);
	}
	return error;
}

static int ask_reset(struct bdev *lun, struct question *q)
{
	return lun->ops->reset(lun, q->deadline);
}

int mp_reset(struct bdev *bd, uint64_t deadline)
{
	struct question q = { .ask = ask_reset, .deadline = deadline };

	return ask_all((struct multipath *)bd, &q);
}

/* ---- others ---- */

int mp_reserve(struct bdev *bd, bool is_wanted)
{
	struct multipath *mp = (struct multipath *)bd;
	struct mp_path *chosen = some_path(mp);

	mutex_lock(&mp->m);
	struct mp_path *p = mp->bracket;
	bool is_first = !p && is_wanted;
	if (is_first)
		p = mp->bracket = chosen;
	bool is_broken = p && mp->is_bracket_broken;
	mutex_unlock(&mp->m);
	if (!p)
		return 0; /* RELEASE of nothing */
	if (is_wanted && is_broken)
		return -ETIMEDOUT;
	int error = lun_bd(p)->ops->reserve(lun_bd(p), is_wanted);
	mutex_lock(&p->lun->m);
	bool is_open = p->lun->reserve_owner;
	mutex_unlock(&p->lun->m);
	mutex_lock(&mp->m);
	if (!is_open) {
		mp->bracket = NULL;
		mp->is_bracket_broken = false;
		cond_broadcast(&mp->c);
	}
	mutex_unlock(&mp->m);
	return error;
}

int mp_offloads(struct bdev *bd, struct bdev_offloads *ret_offloads)
{
	struct bdev *lun = lun_bd(some_path((struct multipath *)bd));

	return lun->ops->offloads(lun, ret_offloads);
}

void mp_piece(struct bdev *bd, uint64_t offset, uint64_t *ret_len, bool *ret_is_data)
{
	struct bdev *lun = lun_bd(some_path((struct multipath *)bd));

	lun->ops->piece(lun, offset, ret_len, ret_is_data);
}

uint32_t mp_notices(struct bdev *bd)
{
	struct multipath *mp = (struct multipath *)bd;
	uint32_t all = 0;

	for (unsigned int i = 0; i < mp->count; i++)
		all |= lun_notices(lun_bd(&mp->path[i]));
	return all;
}

static int ask_size(struct bdev *lun, struct question *q)
{
	(void)q;
	return lun_rescan(lun);
}

int mp_rescan(struct bdev *bd)
{
	struct multipath *mp = (struct multipath *)bd;
	struct question q = { .ask = ask_size };
	int error = ask_all(mp, &q);
	uint64_t size = bd->size;

	for (unsigned int i = 0; i < mp->count; i++)
		size = max_u64(size, __atomic_load_n(&lun_bd(&mp->path[i])->size,
						     __ATOMIC_RELAXED));
	for (unsigned int i = 0; i < mp->count; i++)
		__atomic_store_n(&lun_bd(&mp->path[i])->size, size, __ATOMIC_RELAXED);
	__atomic_store_n(&bd->size, size, __ATOMIC_RELAXED);
	return error;
}
