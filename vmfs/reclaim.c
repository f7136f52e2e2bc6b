/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cut and the reclaim.
 *
 *   lease task                          heartbeat task (reclaim_try, every T_hb / 4)
 *     age >= T_cut: gate closed           1 wait until nothing is inside the gate
 *     (lease_cut), devices cut,           2 mend the heartbeat's device (new session)
 *     guard told                          3 renew: a cas from the image that we know to
 *                                           be ours, or rule R finds another of ours; or
 *                                           somebody else's: FENCED
 *                                         4 mend the other devices
 *                                         5 compare the locks that we hold with the disk
 *                                         6 forget caches and what was watched
 *                                         7 open the gate: what waits is sent again
 *
 * Invariants:
 *  1 no data is sent between 2 and 7: the gate is closed, and 1 has waited for those who
 *    had passed it before;
 *  2 the lease is renewed by a cas, as always: a claim by another host and our reclaim
 *    exclude each other;
 *  3 the guard is told of the renewal in 7 (lease_reopen): until then the acknowledgement
 *    of the cut stands, however long 1 to 6 take;
 *  4 nobody counts time against others during our own outage: what was watched before it
 *    is watched anew (7.1), so that those who come back first do not break the rest.
 *
 * When storage fails for all, all are here. It costs one login and one cas each to come
 * back.
 */
#include "vmfs/reclaim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "vmfs/cache.h"
#include "vmfs/heartbeat.h"
#include "vmfs/lockimage.h"
#include "vmfs/member.h"
#include "vmfs/unflushed.h"
#include "vmfs/volume.h"

#define COMPARE_TRIES 5u
#define COMPARE_PAUSE_NS (50 * NS_PER_MS)

/* ---- all devices ---- */

/* The i-th device of the volume: its extents, then the heartbeat's own; NULL: no more. */
static struct bdev *device_at(struct vmfs_heartbeat *hb, unsigned int i)
{
	const struct lvm *lvm = &hb->vol->lvm;

	if (i < lvm->extent_count)
		return lvm->extents[i].bd;
	if (i == lvm->extent_count && hb->bd != lvm->extents[0].bd)
		return hb->bd;
	return NULL;
}

void reclaim_cut_devices(struct vmfs_heartbeat *hb)
{
	struct bdev *bd;

	for (unsigned int i = 0; (bd = device_at(hb, i)); i++)
		bdev_cut(bd);
	if (hb->lease.guard)
		guard_lease_acknowledge(hb->lease.guard);
}

static uint32_t events_of(struct vmfs_heartbeat *hb)
{
	struct bdev *bd;
	uint32_t sum = 0;

	for (unsigned int i = 0; (bd = device_at(hb, i)); i++)
		sum += bdev_events(bd);
	return sum;
}

/* ---- the guard ---- */

static void guard_lost(void *arg)
{
	heartbeat_die(arg, -ESTALE, "the guard process of this host has died");
}

static bool has_sockets_only(struct vmfs_heartbeat *hb)
{
	struct bdev_nexus nexus;
	struct bdev *bd;

	for (unsigned int i = 0; (bd = device_at(hb, i)); i++)
		if (bdev_nexus(bd, &nexus))
			return false;
	return true;
}

int reclaim_guard(struct vmfs_heartbeat *hb)
{
	struct guard_terms terms = {
		.name = hb->vol->label,
		.cut_ns = hb->timing.cut_ns,
		.ack_ns = hb->timing.ack_ns,
		.renewed = hb->lease.renewed,
		.has_sockets_only = has_sockets_only(hb),
		.lost = guard_lost,
		.arg = hb,
	};
	struct bdev *bd;

	hb->events = events_of(hb);
	if (!hb->guard || !hb->lease.is_counted)
		return 0;
	int err = guard_lease_new(hb->guard, &terms, &hb->lease.guard);
	for (unsigned int i = 0; !err && (bd = device_at(hb, i)); i++)
		err = bdev_guard(bd, hb->lease.guard);
	if (err)
		return report_error(hb->vol->reporter, err,
				    "volume %s: cannot come under guard: %s",
				    hb->vol->label, strerror(-err));
	return 0;
}

void reclaim_unguard(struct vmfs_heartbeat *hb)
{
	struct guard_lease *lease = hb->lease.guard;
	struct bdev *bd;

	if (!lease)
		return;
	for (unsigned int i = 0; (bd = device_at(hb, i)); i++)
		(void)!bdev_guard(bd, NULL); /* it can be left at any time */
	guard_lease_end(lease);
	hb->lease.guard = NULL;
}

/* ---- the cut ---- */

static void cut(struct vmfs_heartbeat *hb, bool is_first)
{
	if (!is_first)
		return;
	reclaim_cut_devices(hb);
	lease_cut_done(&hb->lease);
	report(hb->vol->reporter, REPORT_WARN,
	       "volume %.128s: lost access to it: no heartbeat could be written for "
	       "%llu s; I/O waits until it is back",
	       (const char *)hb->vol->descriptor.label,
	       (unsigned long long)(heartbeat_lease_age(hb) / NS_PER_S));
}

/* How long to sleep; 0: it is time to cut; with the mutex held. */
static uint64_t until_cut(struct vmfs_heartbeat *hb, uint64_t now)
{
	struct vmfs_lease *l = &hb->lease;
	uint64_t cut_at = l->renewed + hb->timing.cut_ns;

	if (!l->is_counted)
		return NO_DEADLINE;
	if (now >= cut_at)
		return 0;
	/* A sleep does not count a suspend; the guard's patience does. */
	return l->guard ? min_u64(cut_at, now + hb->timing.ack_ns / 4) : cut_at;
}

void reclaim_watch(void *heartbeat)
{
	struct vmfs_heartbeat *hb = heartbeat;
	struct vmfs_lease *l = &hb->lease;

	task_raise();
	mutex_lock(&l->m);
	while (!hb->is_stopping && !l->dead) {
		uint64_t now = clock_now(), until;
		bool is_given_up = lease_is_cut(l) && now - l->cut_at >= l->patience_ns;

		if (!lease_is_cut(l))
			until = until_cut(hb, now);
		else
			until = l->patience_ns > NO_DEADLINE - l->cut_at
					? NO_DEADLINE
					: l->cut_at + l->patience_ns;
		if (until && !is_given_up) {
			(void)!cond_wait_until(&l->c, &l->m, until);
			continue;
		}
		mutex_unlock(&l->m);
		if (is_given_up)
			heartbeat_die(hb, -ESTALE, "given up while the storage is away");
		else
			cut(hb, lease_cut_if_due(l));
		mutex_lock(&l->m);
	}
	mutex_unlock(&l->m);
}

/* ---- the locks that we hold ---- */

struct held {
	struct vmfs_lock_id id;
	struct vmfs_lock_disk image;
};

/* What the table holds now; *ret_held is the caller's. The number, or -ENOMEM. */
static int list_held(struct lock_table *lt, struct held **ret_held)
{
	unsigned int n = 0;

	mutex_lock(&lt->m);
	struct held *all = calloc(lt->count + 1, sizeof(*all));
	for (uint32_t i = 0; all && i < LOCK_BUCKETS; i++) {
		struct held_lock *h;

		LIST_FOREACH(h, &lt->buckets[i], link)
			if (h->state == HELD)
				all[n++] = (struct held){ h->id, h->image };
	}
	mutex_unlock(&lt->m);
	*ret_held = all;
	return all ? (int)n : -ENOMEM;
}

/* Does the record still say what the table says? 0, -ESTALE: no; -errno of the read. */
static int compare_one(struct vmfs_volume *vol, const struct held *held)
{
	const struct lock_holder me = lock_me(vol);
	struct vmfs_lock_disk now;
	/* Not by the gate: that is closed. */
	int err = lvm_read(&vol->lvm, held->id.vol_off, &now, sizeof(now));

	if (err)
		return err == -ESTALE ? -EAGAIN : err;
	/* A transition may be under way; none leads back, and none is made for us. */
	return lock_names(&now, &me) &&
			       le64_get(now.token) >= le64_get(held->image.token)
		       ? 0
		       : -ESTALE;
}

static int compare_all(struct vmfs_volume *vol)
{
	AUTO_FREE struct held *all = NULL;
	int count = list_held(&vol->member->locks, &all);
	int err = count < 0 ? count : 0;

	for (int i = 0; !err && i < count; i++)
		err = compare_one(vol, &all[i]);
	return err;
}

/* A lock that is just being given back may look lost for a moment. */
int reclaim_compare_locks(struct vmfs_heartbeat *hb)
{
	int err = -ESTALE;

	for (unsigned int n = 0; err == -ESTALE && n < COMPARE_TRIES; n++) {
		if (n)
			task_sleep_until(clock_now() + COMPARE_PAUSE_NS);
		err = compare_all(hb->vol);
	}
	if (err == -ESTALE)
		heartbeat_die(hb, -ESTALE,
			      "a lock that it held is not on the disk any more");
	return err;
}

void reclaim_check(struct vmfs_heartbeat *hb)
{
	uint32_t events = events_of(hb);

	(void)unflushed_is_whole(hb->vol); /* if not, it is restored */
	if (events != hb->events && !reclaim_compare_locks(hb))
		hb->events = events;
}

/* ---- the way back ---- */

/* Steps 1 to 3. 0: our slot is renewed. */
static int renew_anew(struct vmfs_heartbeat *hb)
{
	uint64_t deadline = clock_now() + hb->timing.attempt_ns;
	int err = lease_drain(&hb->lease, deadline);

	if (!err)
		err = bdev_mend(hb->bd, deadline);
	if (err == -EOPNOTSUPP)
		heartbeat_die(hb, -ESTALE,
			      "no heartbeat could be written in time, and its device "
			      "cannot be used again");
	else if (err == -ESTALE)
		heartbeat_die(hb, -ESTALE, "it was fenced by another host");
	else if (err == -ENODEV)
		heartbeat_die(hb, -ENODEV, "the device is gone");
	if (err)
		return err;
	heartbeat_renew(hb);
	return heartbeat_lease_age(hb) < hb->timing.stop_ns ? 0 : -EAGAIN;
}

static int mend_all(struct vmfs_heartbeat *hb)
{
	struct bdev *bd;
	int err = 0;

	for (unsigned int i = 0; !err && (bd = device_at(hb, i)); i++)
		err = bdev_mend(bd, clock_now() + hb->timing.attempt_ns);
	return err;
}

void reclaim_try(struct vmfs_heartbeat *hb)
{
	struct vmfs_lease *l = &hb->lease;

	cut(hb, lease_cut(l)); /* the lease task may be a little late */
	uint64_t since = l->cut_at; /* stands until we reopen */
	int err = renew_anew(hb);
	if (!err)
		err = mend_all(hb);
	uint32_t events = events_of(hb);
	if (!err)
		err = reclaim_compare_locks(hb);
	if (err || heartbeat_dead(hb))
		return;
	vmfs_cache_drop_all(hb->vol->cache);
	watch_forget(&hb->vol->member->watch);
	hb->events = events;
	(void)unflushed_is_whole(hb->vol); /* if not, writes wait until it is restored */
	if (lease_reopen(l))
		report(hb->vol->reporter, REPORT_INFO,
		       "volume %.128s: access is back after %llu s; I/O goes on",
		       (const char *)hb->vol->descriptor.label,
		       (unsigned long long)((clock_now() - since) / NS_PER_S));
}
