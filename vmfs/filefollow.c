/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a file without a lock, by a map that is kept.
 *
 * A view (fileread.c) reads the file descriptor, the pointer blocks and the lock anew for
 * each read. But as long as the lock's sector says the same, and that nobody may write,
 * the file cannot have changed: whoever changes it, removes it or gives its blocks to
 * another takes the lock, and each taking leaves another token behind. And as long as it
 * says that one and the same member writes, the map has not changed before that member
 * has logged it under this lock (logview.c). So:
 *
 *	       sector S1, (its holder's log,) load by a view, the same again
 *	(none) ------------------------------------------------------------> followed
 *	  ^                                            |
 *	  |  sector differs, or the log touches it     | data by the map, THEN log,
 *	  '--------------------------------------------'   THEN sector: as they were:
 *	                                                   what was read counts
 *
 * Beside a writer a map may be over at once. So after each that is, and where none can be
 * (small content, which is written in place; a holder whose log says nothing to us), the
 * next reads are views. So they are of a file whose lock this member has kept
 * (keeps_locks); then it gives it back.
 *
 * Who may not wait reads by the device of the file (filebdev.c) if a look is cheap: the
 * place is held from the map until the look, and no map goes while a place of it is held.
 * If the look finds a change, the hold is given back first, and then it is read as above:
 * so who waits for holds waits for nobody who waits for him. Of a log such a look only
 * sees whether anything was written to it: what that was is read as above, too.
 *
 * Invariants:
 * 1. What is handed out was read before a look that began after that read and found
 *    sector and log as they were when the map was loaded. One look serves all reads that
 *    ended before it began; where the kernel has the sector (BDEV_CACHED), and nobody
 *    writes, each has its own, or those have one whose ends the device tells at once.
 * 2. Leaves that are loaded later are of the same state for the same reason.
 * 3. System files are not followed: what they hold is not under their own lock.
 * 4. The log is looked at by who has set is_looking, and goes while nobody has.
 * 5. A look that has found a change finds it again: nobody who read before it is told by
 *    a later one that all is as it was.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/logview.h"
#include "vmfs/volume.h"

#define FOLLOW_TRIES 3u
#define OWN_TRIES 4u /* reads by views, before a lock that was kept is given back */
#define REST 8u	     /* reads by views, after a map beside a writer is over */

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

/* The same of all that tells: first the log, if any. By who has set is_looking. */
static int look_at_all(struct vmfs_file *f, struct logview *log)
{
	bool is_same = true;
	int rc = log ? logview_watch(log, f->lock.vol_off, &is_same) : 0;
	if (rc == 0 && !is_same)
		rc = -EAGAIN;
	return rc < 0 ? rc : look(f);
}

/* A look that begins after now, by this task or by another for both. */
static int look_from_now(struct vmfs_file *f, bool is_written)
{
	struct file_follow *w = &f->follow;
	if (f->vol->is_immutable ||
	    (!is_written && vmfs_gate_looks_fast(f->vol, f->lock.vol_off)))
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
		struct logview *log = w->log;
		mutex_unlock(&f->m);
		int rc = look_at_all(f, log);
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

void file_follow_done(struct vmfs_file *f)
{
	struct logview *log = f->follow.log;
	f->follow.log = NULL;
	if (log)
		logview_done(log);
	free(log);
}

/*
 * The map goes. Who reads by it at this moment finds afterwards that it is another's
 * life. Under change_lock.
 */
static void forget(struct vmfs_file *f)
{
	sleeplock_acquire(&f->sleeplock);
	filemap_quiesce(f);
	mutex_lock(&f->m);
	while (f->follow.is_looking)
		cond_wait(&f->c, &f->m);
	const struct file_leaves gone = filemap_take_leaves(f);
	uint8_t *small = f->small;
	f->small = NULL;
	f->follow.is_on = false;
	file_follow_done(f);
	mutex_unlock(&f->m);
	filemap_free_leaves(f, &gone);
	free(small);
	filemap_resume(f);
	sleeplock_release(&f->sleeplock);
}

/* The log of who has it for writing. -EAGAIN: that does not tell of all changes. */
static int open_log(struct vmfs_file *f, const struct vmfs_lock_disk *lockd)
{
	struct vmfs_heartbeat_disk slot;
	struct logview *log = NULL;
	int rc = le32_get(lockd->mode) == LOCK_EXCLUSIVE ?
			 logview_holder(f->vol, lockd, &slot) : -EAGAIN;
	if (rc == 0)
		log = malloc(sizeof(*log));
	if (!log)
		return rc < 0 ? rc : -ENOMEM;
	rc = logview_open_watch(log, f->vol, &slot);
	mutex_lock(&f->m);
	f->follow.log = log;
	mutex_unlock(&f->m);
	return rc;
}

/* 0, or -EAGAIN: this member has the lock. */
static int read_not_mine(struct vmfs_file *f, struct vmfs_lock_disk *ret)
{
	int rc = read_sector(f, ret);
	if (rc < 0 || is_unwritten(ret) || !vmfs_lock_is_mine(f->vol, f->lock.vol_off))
		return rc;
	if (f->follow.met_own++ < OWN_TRIES)
		return -EAGAIN;
	f->follow.met_own = 0;
	rc = vmfs_lock_let_go(f->vol, &f->lock);
	return rc < 0 ? rc : read_sector(f, ret);
}

/* What tells of changes from now on. -EAGAIN: nothing does. */
static int begin_following(struct vmfs_file *f)
{
	struct vmfs_lock_disk now;
	int rc = read_not_mine(f, &now);
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	f->follow.sector = now;
	mutex_unlock(&f->m);
	if (is_unwritten(&now))
		return 0;
	f->follow.rest = REST; /* unless it can be followed */
	return open_log(f, &now);
}

/* Under change_lock. 0, or -EAGAIN: not now. */
static int load(struct vmfs_file *f)
{
	struct file_follow *w = &f->follow;
	forget(f);
	int rc = fd_lock_id(f->vol, &f->ref, &f->lock);
	if (rc == 0)
		rc = begin_following(f);
	if (rc == 0)
		rc = file_load(f);
	if (rc == 0 && w->log && f->small)
		rc = -EAGAIN;
	if (rc == 0)
		rc = look_from_now(f, w->log);
	if (rc == 0)
		w->rest = 0;
	mutex_lock(&f->m);
	w->is_on = rc == 0;
	w->life++;
	mutex_unlock(&f->m);
	return rc;
}

/* 0 with the life of the map that is there, and whether somebody writes. */
static int follow(struct vmfs_file *f, uint64_t *ret_life, bool *ret_is_written)
{
	int rc = 0;
	mutex_lock(&f->m);
	bool is_on = f->follow.is_on;
	*ret_life = f->follow.life;
	*ret_is_written = f->follow.log;
	mutex_unlock(&f->m);
	if (is_on)
		return 0;
	sleeplock_acquire(&f->change_lock);
	if (!f->follow.is_on)
		rc = f->follow.rest && f->follow.rest-- ? -EAGAIN : load(f);
	*ret_life = f->follow.life;
	*ret_is_written = f->follow.log;
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
	if (is_alive(f, life)) {
		f->follow.rest = f->follow.log ? REST : 0;
		forget(f);
	}
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
		bool is_written;
		rc = follow(f, &life, &is_written);
		if (rc < 0)
			break;
		int64_t n = read_by_map(f, buf, len, offset);
		rc = look_from_now(f, is_written);
		if (rc == 0 && is_alive(f, life))
			return n;
		unfollow(f, life);
		rc = rc == -EAGAIN ? 0 : rc;
	}
	return rc < 0 ? rc : -EAGAIN;
}

/* ---- as a device ---- */

static bool looks_fast(const struct vmfs_file *f)
{
	return f->vol->is_immutable || vmfs_gate_looks_fast(f->vol, f->lock.vol_off);
}

bool vmfs_file_is_followed(struct vmfs_file *f)
{
	if (f->flags || f->vol->member)
		return false;
	mutex_lock(&f->m);
	bool is_followed = f->follow.is_on;
	mutex_unlock(&f->m);
	return is_followed && looks_fast(f);
}

bool file_follow_hold(struct vmfs_file *f, uint64_t offset, uint64_t len,
		      uint64_t *ret_vol_off)
{
	uint64_t in_block = offset % f->vol->block_size, vol_off;
	if (f->vol->member || in_block + len > f->vol->block_size ||
	    !filemap_hold_at(f, offset >> f->vol->block_shift, &vol_off))
		return false;
	/* Held, the map stays; that it is one to read by is asked after that. */
	mutex_lock(&f->m);
	bool is_inside = f->follow.is_on && offset <= f->length &&
			 len <= f->length - offset;
	mutex_unlock(&f->m);
	if (!is_inside || !looks_fast(f)) {
		filemap_unhold(f);
		return false;
	}
	*ret_vol_off = vol_off + in_block;
	return true;
}

/*
 * Nothing was logged since the log was looked at, and nobody else is at it. By who holds
 * a place: that keeps the log.
 */
static bool is_log_same(struct vmfs_file *f)
{
	struct file_follow *w = &f->follow;
	bool is_same = false;
	mutex_lock(&f->m);
	bool is_free = !w->is_looking;
	w->is_looking = true;
	mutex_unlock(&f->m);
	if (!is_free)
		return false;
	int rc = logview_peek(w->log, &is_same);
	mutex_lock(&f->m);
	w->is_looking = false;
	cond_broadcast(&f->c);
	mutex_unlock(&f->m);
	return rc == 0 && is_same;
}

bool file_follow_stands(struct vmfs_file *f, uint64_t ended)
{
	struct file_follow *w = &f->follow;
	mutex_lock(&f->m);
	bool is_known = ended && ended < w->stood_at;
	bool is_written = w->log;
	mutex_unlock(&f->m);
	uint64_t now = clock_now();
	if (is_known)
		return true;
	if ((is_written && !is_log_same(f)) || look(f) < 0)
		return false;
	mutex_lock(&f->m);
	w->stood_at = max_u64(w->stood_at, now);
	mutex_unlock(&f->m);
	return true;
}
