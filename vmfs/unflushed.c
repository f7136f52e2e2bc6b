/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target that loses power loses what its volatile cache held: writes that it had
 * acknowledged and nobody had flushed. Guests and filesystems do not write such things
 * again, because the disks that they know lose power together with the host. So the host
 * keeps a copy of every write until a FLUSH, and writes it again when the cache may have
 * been lost: after any new session and any unit attention of a reset, since neither says
 * whether there was a power failure.
 *
 *   whole ---- events of a device changed (unflushed_settle, _is_whole) ----.
 *     ^                                                                     v
 *     |                                          suspended: no write passes the gate,
 *     |                                          reads are not believed
 *     '---- the locks still stand, all that is kept was written, FLUSH, ----'
 *           no new event (the task of this file)
 *
 * Invariants:
 *  1 a write is kept before its end is told, or a FLUSH behind it was good: so what was
 *    acknowledged is on the medium, or kept;
 *  2 a copy goes when a FLUSH that was sent after its write's end was good, and no event
 *    had come by its end: the device's sessions are built anew, and attentions counted,
 *    before they carry anything, so the FLUSH was of the cache that held the write;
 *  3 all is written again in the order of the ends, with nobody inside the gate: a newer
 *    write, sent again by the transport on the new session, is behind the older one;
 *  4 nothing is kept of what a lock covered when the lock leaves us (journal_empty()
 *    flushes): no copy can be written over another host's data. Where several hosts write
 *    to one file nothing is kept, but written with FUA;
 *  5 before anything is written again all locks are compared with the disk: a host whose
 *    lock went with the cache is lost instead.
 *
 * Conditional writes are not kept: they are flushed behind (caw.c), but for renewals,
 * which may be lost (heartbeat.c). A crash in the middle of it leaves a log that is
 * replayed as ever, up to the first record that is missing: all before it had been
 * flushed, and what comes from there on nobody was promised (journalcommit.c).
 */
#include "vmfs/unflushed.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "bdev/iov.h"
#include "vmfs/cache.h"
#include "vmfs/event.h"
#include "vmfs/fence.h"
#include "vmfs/gate.h"
#include "vmfs/member.h"
#include "vmfs/reclaim.h"
#include "vmfs/volume.h"

#define KEPT_MAX (32u << 20) /* bytes; beyond it each write is flushed */
#define SWEEP_FROM (8u << 20) /* from here on it is flushed without being asked */
#define PAUSE_NS (100 * NS_PER_MS)

struct unflushed_write {
	STAILQ_ENTRY(unflushed_write) link;
	struct bdev *bd;
	enum bdev_op op; /* WRITE, ZERO */
	uint64_t offset, len, number;
	uint8_t data[]; /* of a WRITE */
};

static struct vmfs_unflushed *of(struct vmfs_volume *vol)
{
	return vol->member ? &vol->member->unflushed : NULL;
}

void unflushed_init(struct vmfs_unflushed *u)
{
	mutex_init(&u->m);
	STAILQ_INIT(&u->writes);
}

/* ---- what is kept ---- */

/* Forgets what was written before `mark`, on bd (NULL: anywhere). With u->m held. */
static void forget(struct vmfs_unflushed *u, const struct bdev *bd, uint64_t mark)
{
	STAILQ_HEAD(, unflushed_write) rest = STAILQ_HEAD_INITIALIZER(rest);
	struct unflushed_write *w;

	while ((w = STAILQ_FIRST(&u->writes)) && w->number < mark) {
		STAILQ_REMOVE_HEAD(&u->writes, link);
		if (bd && w->bd != bd) {
			STAILQ_INSERT_TAIL(&rest, w, link);
			continue;
		}
		u->bytes -= w->op == BDEV_WRITE ? w->len : 0;
		free(w);
	}
	STAILQ_CONCAT(&rest, &u->writes);
	STAILQ_CONCAT(&u->writes, &rest);
}

void unflushed_done(struct vmfs_unflushed *u)
{
	forget(u, NULL, UINT64_MAX);
	mutex_done(&u->m);
}

/* With u->m held. */
static bool overlaps_any(struct vmfs_unflushed *u, const struct bdev_io *io)
{
	const struct unflushed_write *w;

	STAILQ_FOREACH(w, &u->writes, link)
		if (w->bd == io->bd && w->offset < io->offset + io->len &&
		    io->offset < w->offset + w->len)
			return true;
	return false;
}

/* With u->m held. */
static enum unflushed_end keep(struct vmfs_unflushed *u, const struct bdev_io *io)
{
	uint64_t size = io->op == BDEV_WRITE ? io->len : 0;
	bool is_elsewhere = size && !io->iov; /* a copy that the storage has made */
	struct unflushed_write *w = is_elsewhere || u->bytes + size > KEPT_MAX
					    ? NULL
					    : malloc(sizeof(*w) + size);

	if (!w)
		return UNFLUSHED_FLUSH;
	w->bd = io->bd;
	w->op = io->op;
	w->offset = io->offset;
	w->len = io->len;
	w->number = u->next++;
	if (size)
		iov_gather(w->data, io->iov, io->iovcnt, 0, size);
	STAILQ_INSERT_TAIL(&u->writes, w, link);
	u->bytes += size;
	return UNFLUSHED_GOOD;
}

static bool is_whole(const struct unflushed_extent *x)
{
	return !x->bd || bdev_events(x->bd) ==
				 __atomic_load_n(&x->events, __ATOMIC_ACQUIRE);
}

static struct unflushed_extent *find(struct vmfs_unflushed *u, const struct bdev *bd)
{
	for (unsigned int i = 0; i < u->count; i++)
		if (u->extents[i].bd && u->extents[i].bd == bd)
			return &u->extents[i];
	return NULL;
}

bool unflushed_is_active(struct vmfs_volume *vol)
{
	struct vmfs_unflushed *u = of(vol);

	return u && u->is_active;
}

bool unflushed_has_any(struct vmfs_volume *vol)
{
	struct vmfs_unflushed *u = of(vol);

	if (!u || !u->is_active)
		return false;
	mutex_lock(&u->m);
	bool has_any = !STAILQ_EMPTY(&u->writes);
	mutex_unlock(&u->m);
	return has_any;
}

uint64_t unflushed_mark(struct vmfs_volume *vol)
{
	struct vmfs_unflushed *u = of(vol);

	if (!u || !u->is_active)
		return 0;
	mutex_lock(&u->m);
	uint64_t mark = u->next;
	mutex_unlock(&u->m);
	return mark;
}

/* What to do with a write that was good; with u->m held. */
static enum unflushed_end settle_write(struct vmfs_unflushed *u, const struct bdev_io *io)
{
	if (!(io->flags & BDEV_FUA))
		return keep(u, io);
	/* An older copy must not be written over it. */
	return overlaps_any(u, io) ? UNFLUSHED_FLUSH : UNFLUSHED_GOOD;
}

enum unflushed_end unflushed_settle(struct vmfs_volume *vol, const struct bdev_io *io,
				    uint64_t mark)
{
	struct vmfs_unflushed *u = of(vol);
	struct unflushed_extent *x = u && u->is_active ? find(u, io->bd) : NULL;
	enum unflushed_end end = UNFLUSHED_GOOD;

	if (!x || io->op == BDEV_CAW)
		return UNFLUSHED_GOOD;
	mutex_lock(&u->m);
	if (!is_whole(x))
		end = UNFLUSHED_LOST;
	else if (io->op == BDEV_FLUSH)
		forget(u, io->bd, mark);
	else if (io->op == BDEV_WRITE || io->op == BDEV_ZERO)
		end = settle_write(u, io);
	bool is_full = u->bytes >= SWEEP_FROM;
	mutex_unlock(&u->m);
	if (end == UNFLUSHED_LOST)
		lease_suspend(&vol->member->hb.lease);
	else if (is_full)
		lease_poke(&vol->member->hb.lease);
	return end;
}

bool unflushed_is_whole(struct vmfs_volume *vol)
{
	struct vmfs_unflushed *u = of(vol);
	bool is_all = true;

	for (unsigned int i = 0; u && u->is_active && i < u->count; i++)
		is_all &= is_whole(&u->extents[i]);
	if (!is_all)
		lease_suspend(&vol->member->hb.lease);
	return is_all;
}

/* ---- written again ---- */

/* 0; -errno. Inside the gate, alone. */
static int write_again(struct vmfs_volume *vol, struct unflushed_extent *x,
		       unsigned int *ret_count)
{
	struct vmfs_unflushed *u = of(vol);
	uint32_t events = bdev_events(x->bd);
	struct unflushed_write *w;
	int err = 0;

	/* Nobody adds to the list or takes from it: that is done inside the gate. */
	STAILQ_FOREACH(w, &u->writes, link) {
		if (w->bd != x->bd || err)
			continue;
		if (lease_age(&vol->member->hb.lease) >= vol->member->hb.timing.stop_ns)
			return -EAGAIN;
		err = bdev_rw(w->bd, w->op, 0, w->op == BDEV_WRITE ? w->data : NULL,
			      w->len, w->offset, 0);
		++*ret_count;
	}
	if (!err)
		err = bdev_rw(x->bd, BDEV_FLUSH, 0, NULL, 0, 0, 0);
	if (err || bdev_events(x->bd) != events)
		return err ? err : -EAGAIN;
	mutex_lock(&u->m);
	forget(u, x->bd, UINT64_MAX);
	/* Who reads looks without the mutex. */
	__atomic_store_n(&x->events, events, __ATOMIC_RELEASE);
	mutex_unlock(&u->m);
	return 0;
}

/* One try; 0: all is as it was acknowledged. */
static int restore(struct vmfs_volume *vol, unsigned int *ret_count)
{
	struct vmfs_unflushed *u = of(vol);
	int err = lease_enter_alone(&vol->member->hb.lease, &u->is_stopping);

	if (err)
		return err;
	err = reclaim_compare_locks(&vol->member->hb);
	for (unsigned int i = 0; !err && i < u->count; i++)
		if (!is_whole(&u->extents[i]))
			err = write_again(vol, &u->extents[i], ret_count);
	bool is_cut = lease_leave(&vol->member->hb.lease);
	return err == -ESTALE && is_cut ? -EAGAIN : err;
}

static bool may_pass(int err)
{
	return err == -EAGAIN || err == -ETIMEDOUT || err == -EBUSY;
}

/* Until it is done, or the volume is lost. */
static void restore_all(struct vmfs_volume *vol)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;
	unsigned int count = 0;
	int err = restore(vol, &count);

	while (may_pass(err)) {
		fence_check(vol); /* our key may have gone with the cache */
		task_sleep_until(clock_now() + PAUSE_NS);
		err = restore(vol, &count);
	}
	if (err == -ECANCELED || heartbeat_dead(hb))
		return;
	if (err) {
		heartbeat_die(hb, err == -ENODEV ? err : -ESTALE,
			      "its storage lost what was not flushed, and does not take "
			      "it again");
		return;
	}
	vmfs_cache_drop_all(vol->cache);
	if (count)
		event_tell(vol, REPORT_INFO,
			   "the storage was reset: %u writes that were not flushed were "
			   "written again", count);
	lease_resume(&hb->lease);
}

/* Flushes because much is kept; nobody waits for it. */
static void sweep(struct vmfs_volume *vol)
{
	struct vmfs_unflushed *u = of(vol);

	for (unsigned int i = 0; i < u->count; i++) {
		struct bdev_io io = { .op = BDEV_FLUSH, .bd = u->extents[i].bd };

		if (!io.bd || vmfs_gate_try(vol))
			continue;
		uint64_t mark = unflushed_mark(vol);
		if (!bdev_rw(io.bd, BDEV_FLUSH, 0, NULL, 0, 0, 0))
			(void)unflushed_settle(vol, &io, mark);
		(void)vmfs_gate_leave(vol); /* swept again, or not needed */
	}
}

static bool is_full(struct vmfs_unflushed *u)
{
	mutex_lock(&u->m);
	bool is = u->bytes >= SWEEP_FROM;
	mutex_unlock(&u->m);
	return is;
}

static void unflushed_loop(void *arg)
{
	struct vmfs_volume *vol = arg;
	struct vmfs_unflushed *u = of(vol);
	struct vmfs_lease *l = &vol->member->hb.lease;

	while (lease_wait_poked(l, &u->is_stopping)) {
		if (lease_is_suspended(l))
			restore_all(vol);
		else if (is_full(u))
			sweep(vol);
	}
}

static bool can_lose(const struct bdev *bd)
{
	return bd->has_write_cache && bd->caw != BDEV_CAW_FILE;
}

int unflushed_add(struct vmfs_volume *vol, struct bdev *bd)
{
	struct vmfs_unflushed *u = of(vol);

	if (!can_lose(bd) || find(u, bd))
		return 0;
	if (!u->is_active || u->count == LVM_EXTENTS_MAX)
		return -EOPNOTSUPP;
	mutex_lock(&u->m);
	u->extents[u->count] = (struct unflushed_extent){ bd, bdev_events(bd) };
	__atomic_store_n(&u->count, u->count + 1, __ATOMIC_RELEASE);
	mutex_unlock(&u->m);
	return 0;
}

/* Nothing tells us of the loss: an operator must know that it can be. */
static void warn_of_cache(struct vmfs_volume *vol, const struct bdev *bd)
{
	if (bd->has_write_cache && bd->is_remote)
		report(vol->reporter, REPORT_WARN,
		       "volume %s: %s has a volatile write cache in another machine, and "
		       "the kernel does not tell when it is lost: switch it off, or use "
		       "an iscsi:// URL, or what was written may go with its power",
		       vol->label, bd->name);
}

int unflushed_start(struct vmfs_volume *vol)
{
	struct vmfs_unflushed *u = of(vol);

	u->count = vol->lvm.extent_count;
	for (unsigned int i = 0; i < u->count; i++) {
		struct bdev *bd = vol->lvm.extents[i].bd;

		if (bd)
			warn_of_cache(vol, bd);
		if (!bd || !can_lose(bd))
			continue;
		u->extents[i] = (struct unflushed_extent){ bd, bdev_events(bd) };
		u->is_active = true;
	}
	if (!u->is_active)
		return 0;
	u->task = task_start("unflushed", unflushed_loop, vol);
	return u->task ? 0 : -ENOMEM;
}

void unflushed_stop(struct vmfs_volume *vol)
{
	struct vmfs_unflushed *u = of(vol);

	if (!u->task)
		return;
	lease_stop_waiting(&vol->member->hb.lease, &u->is_stopping);
	task_join(u->task);
	u->task = NULL;
}
