/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy made by the unit (bdev_copy), of a device with several paths.
 *
 *	one path has it all; it is not sent again on another
 *	  done, refused    as on a device of one path (xcopy.c)
 *	  unknown          the path is down; what it was given is settled first
 *	                   (settle.c), then the caller reads and writes
 *
 * Invariants:
 * 1. No copy starts where a ghost may still write, and one of unknown fate is a ghost
 *    over all that it was to write, so no write there leaves before it is settled.
 * 2. A path that has a session after a copy of unknown fate has a new one: the end of the
 *    old one is why the fate is unknown. Its login has ended the copy.
 */
#include <errno.h>

#include "base/align.h"
#include "iscsi/multipath_impl.h"

/* The path that gets it, which is counted busy; NULL: *ret_error. */
static struct mp_path *begin(struct multipath *mp, const struct bdev_io *range,
			     int *ret_error)
{
	struct mp_path *p = NULL;

	mutex_lock(&mp->m);
	*ret_error = mp->is_cut || mp->is_fenced ? -ESTALE : -EOPNOTSUPP;
	if (*ret_error == -EOPNOTSUPP && !mp->bracket && !ghost_is_near(mp, range))
		p = path_next(mp, clock_now());
	if (p) {
		p->busy++;
		p->stats.others++;
		p->is_dirty = true;
	}
	mutex_unlock(&mp->m);
	return p;
}

/* A path of the unit that is read; its name is what counts. */
static struct lun *source_of(struct multipath *mp)
{
	mutex_lock(&mp->m);
	const struct mp_path *p = path_next(mp, clock_now());
	mutex_unlock(&mp->m);
	return p ? p->lun : NULL;
}

/* Of unknown fate. -EOPNOTSUPP: it is settled; -ETIMEDOUT: not in time. */
static int settle(struct mp_path *p, const struct bdev_io *range)
{
	struct multipath *mp = p->mp;
	uint64_t end = clock_now() + RECOVERY_TIME_NS;

	mutex_lock(&mp->m);
	bool is_settled = p->has_session;
	uint32_t epoch = p->epoch;
	if (!is_settled) {
		p->is_dirty = true;
		ghost_add(mp, range, p, epoch);
		cond_broadcast(&mp->c);
	}
	while (!is_settled && !mp->is_cut && clock_now() < end) {
		(void)!cond_wait_until(&mp->c, &mp->m,
				       min_u64(end, clock_now() + 50 * NS_PER_MS));
		is_settled = p->epoch != epoch;
	}
	mutex_unlock(&mp->m);
	return is_settled ? -EOPNOTSUPP : -ETIMEDOUT;
}

/* A path's error is none of the device: what it says of the unit is. */
static int judge(struct multipath *mp, int error)
{
	if (error == 0 || error == -ESTALE || error == -EROFS || error == -EINVAL)
		return error;
	mutex_lock(&mp->m);
	bool is_gone = error == -ENODEV && paths_all_gone(mp);
	mutex_unlock(&mp->m);
	return is_gone ? -ENODEV : -EOPNOTSUPP;
}

int mp_copy(struct bdev *to_bd, uint64_t to_offset, struct bdev *from_bd,
	    uint64_t from_offset, uint64_t len)
{
	struct multipath *mp = (struct multipath *)to_bd;
	const struct bdev_io range = { .op = BDEV_WRITE,
				       .offset = to_offset,
				       .len = len };
	int error;
	struct mp_path *p = begin(mp, &range, &error);

	if (!p)
		return error;
	struct lun *from = from_bd == to_bd ? p->lun
					    : source_of((struct multipath *)from_bd);
	error = from ? lun_copy(&p->lun->bd, to_offset, &from->bd, from_offset, len)
		     : -EOPNOTSUPP;
	if (error == -ETIMEDOUT)
		error = settle(p, &range);
	else
		error = judge(mp, error);
	mutex_lock(&mp->m);
	p->busy--;
	mutex_unlock(&mp->m);
	return error;
}
