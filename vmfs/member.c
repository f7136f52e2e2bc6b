/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One member: what is started in which order, and stopped in the opposite one.
 *
 *   start: slot (heartbeat.c) -> tasks (unflushed.c) -> journal -> maintenance task
 *   stop:  maintenance task -> all locks released -> journal emptied and freed -> slot
 *          FREE
 *
 * The maintenance task gives back locks that nobody has used for a while: under txn_lock,
 * the journal emptied first. It also watches the other members, once per heartbeat, so
 * that one that dies has been seen dead for as long as it is (LOCKING.md 7.1), and more
 * often while we have locks, so that one that waits for a lock gets it (LOCKING.md 8). A
 * crash at any point leaves a LIVE slot that others take over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "bdev/proof.h"
#include "vmfs/gate.h"
#include "vmfs/event.h"
#include "vmfs/cawtest.h"
#include "vmfs/member.h"
#include "vmfs/refresh.h"
#include "vmfs/twin.h"
#include "vmfs/volume.h"

#define TURNS_PER_RENEWAL 3u
#define CONTENDED_TURNS_PER_RENEWAL 30u
#define SYNCS_PER_RENEWAL 6u /* of a lazy log */
#define RENEWALS_PER_SCAN 20u
#define RELEASE_TRIES 3
#define SLOT_SPREAD 64u /* parts of a resource file in which hosts start */
#define CAW_TEST_COUNT 200u
#define CAW_TEST_NS (10 * NS_PER_S)
#define LEAVE_PATIENCE 2u /* attempts to renew */

/* Waits until `next`; false when the member is to stop, or lost. */
static bool wait_for_turn(struct vmfs_membership *m, uint64_t next)
{
	mutex_lock(&m->m);
	while (!m->is_stopping && clock_now() < next) {
		int timed_out = cond_wait_until(&m->c, &m->m, next);
		(void)timed_out; /* the loop looks at the clock */
	}
	bool is_over = m->is_stopping;
	mutex_unlock(&m->m);
	return !is_over && !heartbeat_dead(&m->hb);
}

/* Is there anything that others could wait for? */
static bool has_locks(struct vmfs_membership *m)
{
	mutex_lock(&m->locks.m);
	bool is_any = m->locks.count;
	mutex_unlock(&m->locks.m);
	return is_any;
}

static void release_idle(struct vmfs_volume *vol)
{
	uint64_t now = clock_now(), retain = vol->member->hb.timing.retain_ns;

	sleeplock_acquire(&vol->txn_lock);
	int err = lock_release_idle(vol, now > retain ? now - retain : 0);
	sleeplock_release(&vol->txn_lock);
	(void)err; /* what could not be released now is tried again */
}

static void maintenance_loop(void *arg)
{
	struct vmfs_volume *vol = arg;
	struct vmfs_membership *m = vol->member;
	uint64_t renew = m->hb.timing.renew_ns, turn;
	uint64_t next_scan = clock_now() + RENEWALS_PER_SCAN * renew;

	do {
		fence_check(vol);
		if (clock_now() >= next_scan) {
			int err = watch_scan(vol, &m->watch);
			(void)err; /* scanned again later */
			if (has_locks(m)) /* an idle host reads nothing else */
				(void)!volume_refresh(vol); /* again later */
			next_scan = clock_now() + RENEWALS_PER_SCAN * renew;
		}
		if (has_locks(m)) {
			watch_poll(vol, &m->watch, lock_yield);
			release_idle(vol);
			journal_sync_old(vol, renew / SYNCS_PER_RENEWAL);
		}
		turn = renew / (lock_table_is_contended(&m->locks)
					? CONTENDED_TURNS_PER_RENEWAL
					: TURNS_PER_RENEWAL);
	} while (wait_for_turn(m, clock_now() + turn));
}

static int place_heartbeat(struct vmfs_volume *vol, struct bdev *own)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;
	uint64_t run;
	int err = lvm_map(&vol->lvm, VMFS_HEARTBEATS_OFF, &hb->bd, &hb->region_off, &run);

	if (!err && own)
		hb->bd = own;
	return err;
}

static void free_member(struct vmfs_volume *vol)
{
	struct vmfs_membership *m = vol->member;

	vol->member = NULL;
	lease_done(&m->hb.lease);
	lock_table_done(&m->locks);
	watch_done(&m->watch);
	sleeplock_done(&m->takeover_lock);
	sleeplock_done(&m->fence.lock);
	unflushed_done(&m->unflushed);
	homes_done(&m->journal.homes);
	cond_done(&m->c);
	mutex_done(&m->m);
	free(m);
}

/* In the last sector of our own journal, which is empty. */
static int test_caw(struct vmfs_volume *vol, const char *proof_dir)
{
	struct vmfs_membership *m = vol->member;
	struct cawtest t = { .sessions = 2,
			     .count = CAW_TEST_COUNT,
			     .patience_ns = CAW_TEST_NS,
			     .r = vol->reporter };
	const struct bdev *first = vol->lvm.extents[0].bd;
	uint64_t run;

	if (m->hb.caw.mechanism != BDEV_CAW_ATS || !proof_dir ||
	    bdev_proof_has(proof_dir, "atomic", first))
		return 0;
	int err = lvm_map(&vol->lvm,
			  m->journal.vol_off +
				  (m->journal.sector_count - 1) * VMFS_SECTOR_SIZE,
			  &t.bd[0], &t.dev_off, &run);
	t.bd[1] = t.bd[0] == vol->lvm.extents[0].bd ? m->hb.bd : t.bd[0];
	if (!err)
		err = vmfs_cawtest(&t);
	if (!err && t.is_atomic)
		bdev_proof_keep(proof_dir, "atomic", first);
	if (err || t.is_atomic)
		return err;
	return report_error(
		vol->reporter, -EOPNOTSUPP,
		"%s: refusing: COMPARE AND WRITE is not atomic on it: of %llu "
		"increments by two sessions the sector shows %llu; hosts that "
		"share a volume there would destroy it",
		t.bd[0]->name, (unsigned long long)t.made, (unsigned long long)t.shown);
}

/* Locks by RESERVE(6) work, at a price that an admin should know of (LOCKING.md 5). */
static void warn_of_price(struct vmfs_volume *vol)
{
	if (vol->member->hb.caw.mechanism == BDEV_CAW_RESERVE)
		report(vol->reporter, REPORT_WARN,
		       "volume %s: no COMPARE AND WRITE on %s: each lock reserves the "
		       "whole LUN for a moment and keeps all other hosts' I/O waiting; "
		       "a dead host is taken over after %llu s, and no host may be a "
		       "virtual machine that can be paused",
		       vol->label, vol->lvm.extents[0].bd->name,
		       (unsigned long long)(vol->member->hb.timing.dead_ns / NS_PER_S));
}

static void set_times(struct vmfs_heartbeat *hb, const struct vmfs_open_options *options)
{
	bool is_fast = options->lease_profile == VMFS_LEASE_FAST;

	hb->profile = options->lease_profile;
	hb->time_divisor = options->time_divisor ? options->time_divisor : 1;
	hb->timing = vmfs_timing_of(is_fast ? VMFS_LEASE_FAST : VMFS_LEASE_NORMAL,
				    hb->time_divisor);
	lease_init(&hb->lease, &hb->timing);
	if (options->wait_ns)
		hb->lease.patience_ns = options->wait_ns;
}

/* Hosts start in different places: LOCKING.md 11. */
static void start_elsewhere(struct vmfs_volume *vol)
{
	uint64_t part = vol->member->hb.slot % SLOT_SPREAD;

	for (int i = 0; i < RESOURCE_COUNT; i++) {
		struct vmfs_resource *res = &vol->resources[i];

		if (res->cluster_count)
			res->start_cluster =
				(uint32_t)(part * res->cluster_count / SLOT_SPREAD);
	}
}

int vmfs_member_start(struct vmfs_volume *vol, const struct vmfs_open_options *options)
{
	struct vmfs_membership *m = calloc(1, sizeof(*m));
	char host_name[sizeof((struct vmfs_heartbeat_disk){ 0 }.ip)] = "unknown";
	uint64_t began = clock_now();

	if (!m)
		return -ENOMEM;
	vol->member = m;
	mutex_init(&m->m);
	cond_init(&m->c);
	sleeplock_init(&m->takeover_lock);
	watch_init(&m->watch);
	lock_table_init(&m->locks);
	unflushed_init(&m->unflushed);
	sleeplock_init(&m->fence.lock);
	m->journal.is_empty = true; /* there is none yet */
	m->journal.is_lazy = options->is_lazy;
	m->keeps_locks = options->keeps_locks || options->is_lazy;
	m->fence.resets_units = options->resets_units;
	m->hb.vol = vol;
	set_times(&m->hb, options);
	m->hb.guard = options->guard;
	m->hb.owner = uuid_new();
	m->hb.machine = uuid_is_zero(&options->machine) ? m->hb.owner : options->machine;
	m->hb.on_lost = options->on_lost;
	m->hb.on_lost_arg = options->on_lost_arg;
	if (!options->host_name)
		(void)!gethostname(host_name, sizeof(host_name) - 1);
	int err = place_heartbeat(vol, options->heartbeat_device);
	if (!err)
		err = heartbeat_start(&m->hb,
				      options->host_name ? options->host_name : host_name,
				      !options->no_liveness_lock);
	if (err) {
		free_member(vol);
		return err;
	}
	start_elsewhere(vol);
	warn_of_price(vol);
	err = unflushed_start(vol);
	if (!err)
		err = watch_newcomers(vol, &m->watch, m->hb.slot);
	if (!err)
		err = vmfs_twin_check(vol);
	if (!err)
		err = journal_create(vol);
	if (!err)
		err = test_caw(vol, options->proof_dir);
	if (!err) {
		m->maintenance = task_start("maintenance", maintenance_loop, vol);
		err = m->maintenance ? 0 : -ENOMEM;
	}
	if (err)
		(void)!vmfs_member_stop(vol);
	else
		event_joined(vol, clock_now() - began);
	return err;
}

static void stop_maintenance(struct vmfs_membership *m)
{
	mutex_lock(&m->m);
	m->is_stopping = true;
	cond_broadcast(&m->c);
	mutex_unlock(&m->m);
	task_join(m->maintenance);
	m->maintenance = NULL;
}

int vmfs_member_stop(struct vmfs_volume *vol)
{
	struct vmfs_membership *m = vol->member;
	int err = 0;

	/* Who leaves waits for the storage for a while, not for ever. */
	vmfs_volume_limit_wait(vol, LEAVE_PATIENCE * m->hb.timing.attempt_ns);
	stop_maintenance(m);
	/* Releases that the device answered with "unknown" are sent again. */
	for (int tries = 0; tries < RELEASE_TRIES && !err && !heartbeat_dead(&m->hb);
	     tries++) {
		sleeplock_acquire(&vol->txn_lock);
		err = lock_release_idle(vol, UINT64_MAX);
		sleeplock_release(&vol->txn_lock);
		if (!m->locks.count)
			break;
	}
	if (heartbeat_dead(&m->hb))
		err = heartbeat_dead(&m->hb);
	/*
	 * What is left in the table is of unknown fate: taken or given back by a command
	 * that may still run. It names a generation that ends with the slot: stale.
	 */
	if (!err)
		err = journal_destroy(vol);
	unflushed_stop(vol);
	heartbeat_stop(&m->hb);
	/* If the journal could not be emptied, a take-over is the clean way. */
	if (!err)
		err = heartbeat_leave(&m->hb);
	event_left(vol, m->hb.slot, err);
	free_member(vol);
	return err;
}

/* ---- what the public header promises about members ---- */

int vmfs_volume_state(struct vmfs_volume *vol)
{
	return vol->member ? heartbeat_dead(&vol->member->hb) : 0;
}

void vmfs_volume_limit_wait(struct vmfs_volume *vol, uint64_t wait_ns)
{
	if (!vol->member)
		return;
	struct vmfs_lease *l = &vol->member->hb.lease;
	mutex_lock(&l->m);
	l->patience_ns = min_u64(l->patience_ns, wait_ns);
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

const char *vmfs_volume_lease(struct vmfs_volume *vol)
{
	return vol->member ? lease_state_name(lease_state(&vol->member->hb.lease)) : "";
}

int vmfs_volume_identity(struct vmfs_volume *vol, struct uuid *ret_owner,
			 uint32_t *ret_slot)
{
	if (!vol->member)
		return -EROFS;
	*ret_owner = vol->member->hb.owner;
	*ret_slot = vol->member->hb.slot;
	return 0;
}

/* A member would take the lock that it asks for; a reader can only look at it. */
static void look_at_process(struct vmfs_volume *vol,
			    const struct vmfs_heartbeat_disk *slotd,
			    struct vmfs_member *member)
{
	struct bdev *bd;
	uint64_t dev_off, run;

	if (!(slotd->fence & 1u << 3) ||
	    lvm_map(&vol->lvm, VMFS_HEARTBEATS_OFF, &bd, &dev_off, &run) ||
	    !bd->is_read_only)
		return;
	int err = bdev_liveness(bd, heartbeat_liveness_off(member->slot), true);
	member->is_process_known = err == -EBUSY || err == -EROFS;
	member->has_process = err == -EBUSY;
}

void vmfs_member_of(struct vmfs_volume *vol, uint32_t slot,
		    const struct vmfs_heartbeat_disk *slotd, uint64_t age_ns,
		    struct vmfs_member *ret_member)
{
	const struct vmfs_timing slow = vmfs_timing_of(VMFS_LEASE_NORMAL, 1);

	*ret_member = (struct vmfs_member){
		.slot = slot,
		.generation = le64_get(slotd->generation),
		.age_ns = age_ns,
		.stamp_us = le64_get(slotd->stamp_us),
		.renew_ns = slow.renew_ns,
		.dead_ns = slow.dead_ns,
		.is_claimed = heartbeat_is_claimed(slotd),
		.is_self = vol->member && vol->member->hb.slot == slot,
	};
	memcpy(ret_member->owner.b, slotd->owner, 16);
	memcpy(ret_member->host_name, slotd->ip, sizeof(slotd->ip));
	if (le32_get(slotd->xmagic) != HEARTBEAT_XMAGIC)
		return;
	/* LOCKING.md 14: T_hb : T_lease = 3 : 16. */
	ret_member->renew_ns = le32_get(slotd->lease_ms) * NS_PER_MS * 3 / 16;
	ret_member->dead_ns = le32_get(slotd->dead_ms) * NS_PER_MS;
	look_at_process(vol, slotd, ret_member);
}

int vmfs_volume_incarnation(struct vmfs_volume *vol, struct vmfs_incarnation *ret)
{
	if (!vol->member)
		return -EROFS;
	*ret = (struct vmfs_incarnation){ .slot = vol->member->hb.slot,
					  .generation = vol->member->hb.generation,
					  .owner = vol->member->hb.owner };
	return 0;
}

static int show_member(struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t slot,
		       struct vmfs_member *ret_member)
{
	struct vmfs_heartbeat_disk slotd;
	uint64_t age;
	int err = watch_look(vol, w, slot, &slotd, &age);

	if (!err)
		vmfs_member_of(vol, slot, &slotd, age, ret_member);
	return err;
}

int vmfs_volume_members(struct vmfs_volume *vol, struct vmfs_member *ret,
			unsigned int max)
{
	const struct vmfs_shape *shape = vol->shape;
	const uint64_t size = (uint64_t)shape->heartbeat_count * shape->heartbeat_size;
	uint8_t *slots = malloc(size);
	struct vmfs_watch local;
	struct vmfs_watch *w = vol->member ? &vol->member->watch : &local;
	unsigned int count = 0;

	if (!slots)
		return -ENOMEM;
	if (w == &local)
		watch_init(&local);
	int err = vmfs_gate_read(vol, VMFS_HEARTBEATS_OFF, slots, size);
	for (uint32_t i = 0; !err && i < shape->heartbeat_count; i++) {
		le32 state;

		memcpy(&state, slots + (uint64_t)i * shape->heartbeat_size,
		       sizeof(state));
		if (le32_get(state) != HEARTBEAT_LIVE)
			continue;
		if (count < max && show_member(vol, w, i, &ret[count]))
			continue; /* damaged: reported, not a member */
		count++;
	}
	if (w == &local)
		watch_done(&local);
	free(slots);
	return err ? err : (int)count;
}
