/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading without a lock a file that nobody writes.
 *
 * A view (fileread.c) reads the file descriptor, the pointer blocks and the lock anew for
 * each read. But as long as the lock's sector says the same, and that nobody may write,
 * the file cannot have changed: whoever changes it, removes it or gives its blocks to
 * another takes the lock, and each taking leaves another token behind. So:
 *
 *	       sector S1, load by a view, sector S2
 *	(none) -----------------------------------> followed  if S1 = S2, free or shared
 *	  ^                                            |
 *	  |  sector differs                            | data by the map, THEN sector:
 *	  '--------------------------------------------'   the same: what was read counts
 *
 * and a file that somebody has open for writing is read by views. So is one whose lock
 * this member has kept (keeps_locks), for some reads; then it gives it back.
 *
 * Invariants:
 * 1. What is handed out was read before a look at the sector that began after that read
 *    and found it as it was when the map was loaded. One look serves all reads that ended
 *    before it began; where the kernel has the sector (BDEV_CACHED), each has its own.
 * 2. Leaves that are loaded later are of the same state for the same reason.
 * 3. System files are not followed: what they hold is not under their own lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/volume.h"

#define FOLLOW_TRIES 3u
#define OWN_TRIES 4u /* reads by views, before a lock that was kept is given back */

/* ---- the sector ---- */

static int read_sector(struct vmfs_file *f, struct vmfs_lock_disk *ret)
{
	return vmfs_gate_read(f->vol, f->lock.vol_off, ret, sizeof(*ret));
}

static bool is_unwritten(const struct vmfs_lock_disk *lockd)
{
	uint32_t mode = le32_get(lockd->mode);
	return mode == LOCK_FREE || mode == LOCK_READ_ONLY;
}

/* 0: it is as it was; -EAGAIN: it is not. */
static int look(struct vmfs_file *f)
{
	struct vmfs_lock_disk lockd __attribute__((aligned(VMFS_SECTOR_SIZE)));
	if (f->vol->is_immutable)
		return 0;
	int rc = vmfs_gate_look(f->vol, f->lock.vol_off, &lockd);
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	bool is_same = memcmp(&lockd, &f->follow.sector, sizeof(lockd)) == 0;
	mutex_unlock(&f->m);
	return is_same ? 0 : -EAGAIN;
}

/* A look that begins after now, by this task or by another for both. */
static int look_from_now(struct vmfs_file *f)
{
	struct file_follow *w = &f->follow;
	if (f->vol->is_immutable || vmfs_gate_looks_fast(f->vol, f->lock.vol_off))
		return look(f);
	mutex_lock(&f->m);
	uint64_t mine = w->begun + 1;
	while (w->ended < mine) {
		if (w->is_looking) {
			cond_wait(&f->c, &f->m);
			continue;
		}
		w->is_looking = true;
		w->begun++;
		mutex_unlock(&f->m);
		int rc = look(f);
		mutex_lock(&f->m);
		w->is_looking = false;
		w->ended = w->begun;
		w->said = rc;
		cond_broadcast(&f->c);
	}
	int said = w->said; /* of a look at least as late as mine */
	mutex_unlock(&f->m);
	return said;
}

/* ---- the map ---- */

/*
 * The map goes. Who reads by it at this moment finds afterwards that it is another's
 * life. Under change_lock.
 */
static void forget(struct vmfs_file *f)
{
	sleeplock_acquire(&f->sleeplock);
	filemap_quiesce(f);
	mutex_lock(&f->m);
	struct file_leaf **leaves = f->leaves;
	uint64_t count = f->leaf_count;
	uint8_t *small = f->small;
	f->leaves = NULL;
	f->leaf_count = 0;
	f->small = NULL;
	f->follow.is_on = false;
	mutex_unlock(&f->m);
	filemap_free_leaves(f, leaves, count);
	free(small);
	filemap_resume(f);
	sleeplock_release(&f->sleeplock);
}

/* 0, or -EAGAIN: it is being written. */
static int read_unwritten(struct vmfs_file *f, struct vmfs_lock_disk *ret)
{
	int rc = read_sector(f, ret);
	if (rc < 0 || is_unwritten(ret))
		return rc;
	if (!vmfs_lock_is_mine(f->vol, f->lock.vol_off) ||
	    f->follow.met_own++ < OWN_TRIES)
		return -EAGAIN;
	f->follow.met_own = 0;
	rc = vmfs_lock_let_go(f->vol, &f->lock);
	return rc < 0 ? rc : read_sector(f, ret);
}

/* Under change_lock. 0, or -EAGAIN: it is being written. */
static int load(struct vmfs_file *f)
{
	struct vmfs_lock_disk before;
	forget(f);
	int rc = fd_lock_id(f->vol, &f->ref, &f->lock);
	if (rc == 0)
		rc = read_unwritten(f, &before);
	if (rc == 0 && !is_unwritten(&before))
		rc = -EAGAIN;
	if (rc == 0)
		rc = file_load(f);
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	f->follow.sector = before;
	mutex_unlock(&f->m);
	rc = look(f);
	mutex_lock(&f->m);
	f->follow.is_on = rc == 0;
	f->follow.life++;
	mutex_unlock(&f->m);
	return rc;
}

/* 0 with the life of the map that is there. */
static int follow(struct vmfs_file *f, uint64_t *ret_life)
{
	int rc = 0;
	mutex_lock(&f->m);
	bool is_on = f->follow.is_on;
	*ret_life = f->follow.life;
	mutex_unlock(&f->m);
	if (is_on)
		return 0;
	sleeplock_acquire(&f->change_lock);
	if (!f->follow.is_on)
		rc = load(f);
	*ret_life = f->follow.life;
	sleeplock_release(&f->change_lock);
	return rc;
}

static bool is_alive(struct vmfs_file *f, uint64_t life)
{
	mutex_lock(&f->m);
	bool is_same = f->follow.is_on && f->follow.life == life;
	mutex_unlock(&f->m);
	return is_same;
}

static void unfollow(struct vmfs_file *f, uint64_t life)
{
	sleeplock_acquire(&f->change_lock);
	if (is_alive(f, life))
		forget(f);
	sleeplock_release(&f->change_lock);
}

static int64_t read_by_map(struct vmfs_file *f, void *buf, uint64_t len, uint64_t offset)
{
	uint64_t length = file_length(f);
	if (offset >= length)
		return 0;
	len = min_u64(len, length - offset);
	int rc = file_read_locked(f, buf, len, offset);
	return rc < 0 ? rc : (int64_t)len;
}

int64_t file_read_following(struct vmfs_file *f, void *buf, uint64_t len, uint64_t offset)
{
	int rc = f->follow.may_be ? 0 : -EAGAIN;
	for (unsigned int tries = 0; rc == 0 && tries < FOLLOW_TRIES; tries++) {
		uint64_t life;
		rc = follow(f, &life);
		if (rc < 0)
			break;
		int64_t n = read_by_map(f, buf, len, offset);
		rc = look_from_now(f);
		if (rc == 0 && is_alive(f, life))
			return n;
		unfollow(f, life);
		rc = rc == -EAGAIN ? 0 : rc;
	}
	return rc < 0 ? rc : -EAGAIN;
}
