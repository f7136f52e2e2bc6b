/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heartbeat: one sector that says "this incarnation lives", and the lease that we may
 * count from it.
 *
 *                 heartbeat_start                       heartbeat_leave
 *        FREE g ------------------> LIVE g+1, stamp ------------------------> FREE g+2
 *                                    |  ^  renew: stamp grows
 *                    another claims  |  |
 *                    (takeover.c)    v  |
 *                                  CLAIMED: our next renewal differs -> dead (FENCED)
 *
 * Invariants:
 *  1 `renewed` is the time BEFORE the submission of a renewal that is known to have run;
 *    it never moves backwards and never counts from a reply;
 *  2 every image written to the slot differs from all before it (the stamp grows), so a
 *    late copy of an earlier renewal can match nothing; a target that loses its cache may
 *    show an older one again (renewals are not flushed), which is then gone on from;
 *  3 a renewal with unknown outcome is remembered with its own submission time, and
 *    counts with that time if the slot is later found to show it;
 *  4 the renewing task owns its buffers and its queue, and takes no sleeplock: nothing
 *    that the rest of the host does delays it;
 *  5 after the lease is dead nothing is written any more.
 *
 * What is done at T_cut and after it is in reclaim.c. With a liveness lock (a plain file,
 * one kernel) no age is counted: nobody can take over while this process exists, and the
 * kernel drops the lock after its last I/O ended.
 *
 * Order at the start: liveness lock, then the slot goes LIVE, then FLUSH: no lock record
 * that names a generation can be durable before the slot is.
 */
#include <assert.h>
#include <errno.h>
#include <isa-l/crc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vmfs/cache.h"
#include "vmfs/fence.h"
#include "vmfs/locality.h"
#include "vmfs/event.h"
#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/reclaim.h"
#include "vmfs/volume.h"

#define LEAVE_TRIES 4
#define WANT_PAUSE_NS (500 * NS_PER_MS)

static_assert(sizeof(struct vmfs_heartbeat_disk) == VMFS_SECTOR_SIZE, "slot is a sector");

uint64_t heartbeat_slot_off(uint32_t slot)
{
	assert(slot < VMFS_HEARTBEATS_COUNT);
	return VMFS_HEARTBEATS_OFF + (uint64_t)slot * VMFS_SECTOR_SIZE;
}

bool heartbeat_slot_of(uint64_t vol_off, uint32_t *ret_slot)
{
	uint64_t off = vol_off - VMFS_HEARTBEATS_OFF;

	if (vol_off < VMFS_HEARTBEATS_OFF || off % VMFS_SECTOR_SIZE ||
	    off / VMFS_SECTOR_SIZE >= VMFS_HEARTBEATS_COUNT)
		return false;
	*ret_slot = (uint32_t)(off / VMFS_SECTOR_SIZE);
	return true;
}

/*
 * The volume address that the slot has on VMFS-5 names its byte, on any version; the
 * device keeps these bytes apart from the sectors that conditional writes lock (bdev.h),
 * so that the owner's own renewal never meets its liveness lock.
 */
uint64_t heartbeat_liveness_off(uint32_t slot)
{
	return heartbeat_slot_off(slot);
}

static uint32_t slot_crc(const struct vmfs_heartbeat_disk *hbd)
{
	struct vmfs_heartbeat_disk copy = *hbd;

	copy.xcrc = le32_of(0);
	return ~crc32_iscsi((unsigned char *)&copy, sizeof(copy), 0xffffffffu);
}

void heartbeat_seal(struct vmfs_heartbeat_disk *hbd)
{
	hbd->xcrc = le32_of(slot_crc(hbd));
}

int heartbeat_verify(const struct vmfs_heartbeat_disk *hbd, uint64_t vol_off)
{
	uint32_t state = le32_get(hbd->state);

	if (le64_get(hbd->addr) != vol_off)
		return -EUCLEAN;
	if (state != HEARTBEAT_FREE && state != HEARTBEAT_LIVE)
		return -EUCLEAN;
	if (le64_get(hbd->generation) > UINT64_MAX - 2)
		return -EUCLEAN; /* it has to grow twice more */
	if (le32_get(hbd->xmagic) == HEARTBEAT_XMAGIC &&
	    le32_get(hbd->xcrc) != slot_crc(hbd))
		return -EUCLEAN;
	return 0;
}

void heartbeat_free_image(const struct vmfs_heartbeat_disk *from,
			  struct vmfs_heartbeat_disk *ret_image)
{
	struct vmfs_heartbeat_disk image = { 0 };

	image.state = le32_of(HEARTBEAT_FREE);
	image.addr = from->addr;
	image.generation = le64_of(le64_get(from->generation) + 1);
	image.stamp_us = from->stamp_us;
	image.drive_major = from->drive_major;
	image.drive_minor = from->drive_minor;
	image.lock_impl = from->lock_impl;
	memcpy(image.ip, from->ip, sizeof(image.ip));
	*ret_image = image;
}

uint64_t heartbeat_lease_age(struct vmfs_heartbeat *hb)
{
	return lease_age(&hb->lease);
}

int heartbeat_dead(struct vmfs_heartbeat *hb)
{
	return lease_dead(&hb->lease);
}

void heartbeat_die(struct vmfs_heartbeat *hb, int err, const char *why)
{
	if (!lease_die(&hb->lease, err))
		return;
	reclaim_cut_devices(hb);
	vmfs_cache_drop_all(hb->vol->cache);
	event_tell(hb->vol, REPORT_ERROR,
		   "lost by this host (slot %u): %s; nothing more is written", hb->slot,
		   why);
	if (hb->on_lost)
		hb->on_lost(hb->on_lost_arg);
}

/* ---- taking a slot ---- */

static uint64_t slot_dev_off(const struct vmfs_heartbeat *hb, uint32_t slot)
{
	return hb->region_off + watch_slots_size(hb->vol, slot);
}

/* ret: watch_slots_size() bytes, of which `count` slots are filled. */
static int read_slots(struct vmfs_heartbeat *hb, uint32_t count,
		      struct vmfs_heartbeat_disk *ret)
{
	int err = lvm_read_device(hb->bd, hb->region_off, ret,
				  watch_slots_size(hb->vol, count));

	watch_pack_slots(hb->vol, ret, count);
	return err;
}

static int read_slot(struct vmfs_heartbeat *hb, uint32_t slot,
		     struct vmfs_heartbeat_disk *ret)
{
	return lvm_read_device(hb->bd, slot_dev_off(hb, slot), ret, sizeof(*ret));
}

static uint8_t class_of(const struct vmfs_caw *caw)
{
	switch (caw->mechanism) {
	case BDEV_CAW_ATS:
		return 1;
	case BDEV_CAW_FILE:
		return 2;
	default:
		return 3;
	}
}

/* Does the owner of this image still renew it? Looks for as long as its lease lasts. */
static bool is_renewing(struct vmfs_heartbeat *hb, uint32_t slot,
			const struct vmfs_heartbeat_disk *seen)
{
	uint64_t lease_ns = le32_get(seen->lease_ms) * NS_PER_MS;
	struct vmfs_heartbeat_disk now;

	if (le32_get(seen->xmagic) != HEARTBEAT_XMAGIC)
		lease_ns = hb->timing.lease_ns;
	uint64_t until = clock_now() + lease_ns;
	while (clock_now() < until) {
		task_sleep_until(clock_now() + hb->timing.renew_ns / 4);
		if (!read_slot(hb, slot, &now) && memcmp(&now, seen, sizeof(now)))
			return le32_get(now.state) == HEARTBEAT_LIVE;
	}
	return false;
}

/* A LIVE slot of ours-kind with another storage class: two kinds of lock do not see each
 * other. Slots without our extension belong to ESXi: it locks by ATS. On a copy they are
 * those of the original's hosts: nobody renews them here. */
static int check_class(struct vmfs_heartbeat *hb, const struct vmfs_heartbeat_disk *hbd)
{
	uint8_t theirs =
		le32_get(hbd->xmagic) == HEARTBEAT_XMAGIC ? hbd->storage_class : 1;

	if (le32_get(hbd->state) != HEARTBEAT_LIVE || theirs == class_of(&hb->caw))
		return 0;
	struct uuid owner;
	char text[UUID_TEXT_SIZE];
	memcpy(owner.b, hbd->owner, sizeof(owner.b));
	uint32_t slot = 0;
	(void)watch_slot_of(hb->vol, le64_get(hbd->addr), &slot);
	if (hb->vol->signature == VMFS_SIGNATURE_NEW && !is_renewing(hb, slot, hbd))
		return 0;
	return event_error(
		hb->vol, -EBUSY,
		"slot %u of host %.46s (%s) is live with storage class %u, this "
		"host would use %u: they cannot share the volume",
		slot, (const char *)hbd->ip, uuid_text(&owner, text), theirs,
		class_of(&hb->caw));
}

static void fill_image(struct vmfs_heartbeat *hb,
		       const struct vmfs_heartbeat_disk *free_image,
		       const char *host_name, struct vmfs_heartbeat_disk *ret_image)
{
	struct vmfs_heartbeat_disk image = *free_image;
	uint64_t stamp =
		max_u64(clock_now() / NS_PER_US, le64_get(free_image->stamp_us) + 1);

	image.state = le32_of(HEARTBEAT_LIVE);
	image.generation = le64_of(le64_get(free_image->generation) + 1);
	image.stamp_us = le64_of(stamp);
	memcpy(image.owner, hb->owner.b, sizeof(image.owner));
	image.journal_addr = le32_of(0);
	image.drive_major = le32_of(hb->vol->major);
	image.drive_minor = (uint8_t)hb->vol->minor;
	image.lock_impl = 3;
	memset(image.ip, 0, sizeof(image.ip));
	snprintf((char *)image.ip, sizeof(image.ip), "%s", host_name);
	image.xmagic = le32_of(HEARTBEAT_XMAGIC);
	image.lease_ms = le32_of((uint32_t)(hb->timing.lease_ns / NS_PER_MS));
	image.dead_ms = le32_of((uint32_t)(hb->timing.dead_ns / NS_PER_MS));
	image.storage_class = class_of(&hb->caw);
	image.fence = hb->has_liveness ? FENCE_LIVENESS : hb->guard ? FENCE_GUARD : 0;
	memcpy(image.machine, hb->machine.b, sizeof(image.machine));
	memcpy(image.boot, hb->bd->kernel.b, sizeof(image.boot));
	fence_show(hb->vol, &image);
	heartbeat_seal(&image);
	*ret_image = image;
}

/*
 * Tries to make one FREE slot ours: 0, -EAGAIN (somebody was faster: try another),
 * -errno.
 */
static int take_slot(struct vmfs_heartbeat *hb, uint32_t slot,
		     const struct vmfs_heartbeat_disk *free_image, const char *host_name,
		     bool may_use_liveness)
{
	uint64_t dev_off = slot_dev_off(hb, slot);

	int err = fence_register(hb->vol,
				 fence_key(slot, le64_get(free_image->generation) + 1));
	if (err)
		return err;
	hb->has_liveness = false;
	if (may_use_liveness && hb->caw.mechanism == BDEV_CAW_FILE) {
		err = bdev_liveness(hb->bd, heartbeat_liveness_off(slot), true);
		if (err == -EBUSY)
			return -EAGAIN;
		if (err && err != -EOPNOTSUPP)
			return err;
		hb->has_liveness = !err;
	}
	fill_image(hb, free_image, host_name, &hb->last);
	uint64_t submitted = clock_now();
	struct cas c = {
		.bd = hb->bd,
		.dev_off = dev_off,
		.expected = free_image,
		.wanted = &hb->last,
		.deadline = submitted + hb->timing.cut_ns,
	};
	enum cas_result result = vmfs_cas(&hb->caw, &c);
	err = result == CAS_DONE ? 0 : result == CAS_DIFFERS ? -EAGAIN : -EIO;
	if (!err)
		err = lvm_flush_device(hb->bd);
	if (err && hb->has_liveness)
		(void)!bdev_liveness(hb->bd, heartbeat_liveness_off(slot), false);
	if (err)
		return err;
	hb->slot = slot;
	hb->vol_off = watch_slot_off(hb->vol, slot);
	hb->generation = le64_get(hb->last.generation);
	hb->fence = hb->last.fence;
	memcpy(hb->host_name, hb->last.ip, sizeof(hb->host_name));
	hb->lease.is_counted = !hb->has_liveness;
	hb->lease.renewed = submitted;
	return 0;
}

static uint32_t preferred_slot(const struct vmfs_heartbeat *hb)
{
	unsigned char bytes[16];

	memcpy(bytes, hb->machine.b, sizeof(bytes));
	return crc32_iscsi(bytes, sizeof(bytes), 0) % HEARTBEAT_PREFERRED;
}

/* Damaged slots are told of and left alone; live ones must be of our storage class. */
static int check_slots(struct vmfs_heartbeat *hb, const struct vmfs_heartbeat_disk *slots)
{
	for (uint32_t i = 0; i < watch_slot_count(hb->vol); i++) {
		if (heartbeat_verify(&slots[i], watch_slot_off(hb->vol, i))) {
			event_tell(hb->vol, REPORT_WARN,
				   "heartbeat slot %u is damaged: not used", i);
			continue;
		}
		int err = check_class(hb, &slots[i]);
		if (err)
			return err;
	}
	return 0;
}

/* The first slot from the preferred one on that is free and can be had. */
static int take_some_slot(struct vmfs_heartbeat *hb,
			  const struct vmfs_heartbeat_disk *slots, const char *host_name,
			  bool may_use_liveness)
{
	const uint32_t count = watch_slot_count(hb->vol);
	uint32_t start = preferred_slot(hb);

	for (uint32_t n = 0; n < count; n++) {
		uint32_t i = (start + n) % count;

		if (heartbeat_verify(&slots[i], watch_slot_off(hb->vol, i)) ||
		    le32_get(slots[i].state) != HEARTBEAT_FREE)
			continue;
		int err = take_slot(hb, i, &slots[i], host_name, may_use_liveness);
		if (err != -EAGAIN)
			return err;
	}
	return event_error(hb->vol, -ENOSPC, "all %u heartbeat slots are in use",
			   count);
}

/* A member that counts a lease. */
static bool keeps_lease(const struct vmfs_heartbeat_disk *hbd)
{
	return le32_get(hbd->state) == HEARTBEAT_LIVE &&
	       le32_get(hbd->xmagic) == HEARTBEAT_XMAGIC &&
	       !(hbd->fence & FENCE_LIVENESS) && !heartbeat_is_claimed(hbd);
}

/*
 * The times that we keep. Everybody obeys its own and asks the victim's T_dead of others,
 * so that a mixture does no harm; but a slow member among fast ones would be the one that
 * is missed when it dies, and a fast one among slow ones would gain nothing: both are
 * refused, so that an admin knows what the volume keeps.
 */
static int choose_timing(struct vmfs_heartbeat *hb,
			 const struct vmfs_heartbeat_disk *slots)
{
	bool follows = hb->profile == VMFS_LEASE_FOLLOW;
	uint64_t fast_ms = vmfs_timing_of(VMFS_LEASE_FAST, hb->time_divisor).lease_ns /
			   NS_PER_MS;

	for (uint32_t i = 0; i < watch_slot_count(hb->vol); i++) {
		const struct vmfs_heartbeat_disk *hbd = &slots[i];
		uint32_t theirs = le32_get(hbd->lease_ms);

		if (heartbeat_verify(hbd, watch_slot_off(hb->vol, i)) ||
		    !keeps_lease(hbd) || theirs == hb->timing.lease_ns / NS_PER_MS)
			continue;
		if (follows && theirs == fast_ms)
			hb->timing = vmfs_timing_of(VMFS_LEASE_FAST, hb->time_divisor);
		else if (!follows && is_renewing(hb, i, hbd))
			return event_error(
				hb->vol, -EBUSY,
				"slot %u of host %.46s keeps a lease of %u ms, this host "
				"would keep %llu ms: use the same lease profile",
				i, (const char *)hbd->ip, theirs,
				(unsigned long long)(hb->timing.lease_ns / NS_PER_MS));
	}
	return 0;
}

static int find_slot(struct vmfs_heartbeat *hb, const char *host_name,
		     bool may_use_liveness)
{
	const uint32_t count = watch_slot_count(hb->vol);
	struct vmfs_heartbeat_disk *slots = io_alloc(watch_slots_size(hb->vol, count));

	if (!slots)
		return -ENOMEM;
	struct watch_moment moment = watch_before(hb->vol);
	int err = read_slots(hb, count, slots);
	moment.seen = clock_now();
	if (!err)
		watch_enter(hb->vol, &hb->vol->member->watch, slots, count, &moment);
	if (!err)
		err = check_slots(hb, slots);
	if (!err && !(may_use_liveness && hb->caw.mechanism == BDEV_CAW_FILE))
		err = choose_timing(hb, slots);
	if (!err && hb->caw.mechanism == BDEV_CAW_FILE)
		err = locality_check(hb, slots);
	if (!err)
		err = fence_choose(hb->vol, slots, hb->caw.mechanism == BDEV_CAW_ATS);
	if (!err)
		err = take_some_slot(hb, slots, host_name, may_use_liveness);
	free(slots);
	return err;
}

/* ---- renewing ---- */

static void next_image(struct vmfs_heartbeat *hb, struct vmfs_heartbeat_disk *ret_image)
{
	struct vmfs_heartbeat_disk image = hb->last;
	uint64_t stamp = max_u64(hb->top_stamp, le64_get(hb->last.stamp_us)) + 1;

	hb->top_stamp = max_u64(clock_now() / NS_PER_US, stamp);
	image.stamp_us = le64_of(hb->top_stamp);
	mutex_lock(&hb->lease.m);
	image.journal_addr = le32_of(hb->journal_addr);
	image.journal_vol_off = le64_of(hb->journal_vol_off);
	for (unsigned int i = 0; i < HEARTBEAT_WANT_COUNT; i++)
		image.want[i] = le64_of(hb->want[i]);
	hb->is_want_new = false;
	mutex_unlock(&hb->lease.m);
	heartbeat_seal(&image);
	*ret_image = image;
}

static void note_renewed(struct vmfs_heartbeat *hb,
			 const struct vmfs_heartbeat_disk *image, uint64_t submitted)
{
	hb->last = *image;
	hb->unknown_count = 0;
	lease_renewed(&hb->lease, submitted);
	if (__atomic_exchange_n(&hb->is_hold_told, false, __ATOMIC_RELAXED))
		event_tell(hb->vol, REPORT_INFO, "the heartbeat is back");
	mutex_lock(&hb->lease.m);
	if (le32_get(image->journal_addr) == hb->journal_addr)
		hb->published++;
	cond_broadcast(&hb->lease.c);
	mutex_unlock(&hb->lease.m);
}

/*
 * An image of ours that we had renewed, as a target shows it that has lost its cache:
 * renewals are not flushed. The next one goes from there. It cannot hide a claim, which
 * is flushed before anything follows from it.
 */
static bool is_older_own(const struct vmfs_heartbeat *hb,
			 const struct vmfs_heartbeat_disk *now)
{
	return hb->bd->has_write_cache && hb->caw.mechanism != BDEV_CAW_FILE &&
	       !heartbeat_verify(now, hb->vol_off) &&
	       le32_get(now->state) == HEARTBEAT_LIVE && !heartbeat_is_claimed(now) &&
	       le64_get(now->generation) == hb->generation &&
	       !memcmp(now->owner, hb->last.owner, sizeof(now->owner)) &&
	       le64_get(now->stamp_us) < hb->top_stamp;
}

/* The slot is not as we wrote it last: ours by an earlier unknown renewal, or lost? */
static void resolve(struct vmfs_heartbeat *hb)
{
	struct vmfs_heartbeat_disk now;
	int err = bdev_rw(hb->bd, BDEV_READ, BDEV_FUA, &now, sizeof(now),
			  slot_dev_off(hb, hb->slot),
			  clock_now() + hb->timing.attempt_ns);

	if (err || !memcmp(&now, &hb->last, sizeof(now)))
		return; /* not read, or nothing has run yet: the next attempt tells */
	for (unsigned int i = hb->unknown_count; i-- > 0;) {
		struct vmfs_heartbeat_disk image = hb->unknown[i].image;

		if (!memcmp(&now, &image, sizeof(now))) {
			note_renewed(hb, &image, hb->unknown[i].submitted);
			return;
		}
	}
	if (is_older_own(hb, &now)) {
		event_tell(hb->vol, REPORT_WARN,
			   "its slot shows an older heartbeat: the storage was reset");
		hb->last = now;
		return;
	}
	char why[160];
	if (heartbeat_is_claimed(&now))
		snprintf(why, sizeof(why), "its slot was claimed by another host");
	else if (le64_get(now.generation) == hb->generation &&
		 !memcmp(now.owner, hb->last.owner, sizeof(now.owner)))
		snprintf(why, sizeof(why),
			 "its slot shows an older heartbeat: the storage lost a write");
	else
		snprintf(why, sizeof(why), "its slot shows generation %llu, ours is %llu",
			 (unsigned long long)le64_get(now.generation),
			 (unsigned long long)hb->generation);
	heartbeat_die(hb, -ESTALE, why);
}

void heartbeat_renew(struct vmfs_heartbeat *hb)
{
	struct vmfs_heartbeat_disk image;

	next_image(hb, &image);
	uint64_t submitted = clock_now();
	struct cas c = {
		.bd = hb->bd,
		.dev_off = slot_dev_off(hb, hb->slot),
		.expected = &hb->last,
		.wanted = &image,
		.deadline = submitted + hb->timing.attempt_ns,
		.is_single = true,
		.is_volatile = true,
	};
	switch (vmfs_cas(&hb->caw, &c)) {
	case CAS_DONE:
		note_renewed(hb, &image, submitted);
		return;
	case CAS_FENCED:
		/* Cut under way: that says nothing. In a reclaim the slot tells. */
		if (lease_state(&hb->lease) >= LEASE_CUT)
			break;
		heartbeat_die(hb, -ESTALE,
			      "the device refuses it: fenced by another host");
		return;
	case CAS_GONE:
		heartbeat_die(hb, -ENODEV, "the device is gone");
		return;
	case CAS_UNKNOWN:
	case CAS_DIFFERS:
		break;
	}
	/* Too many unknowns: forget the oldest; it can only make the lease look older. */
	if (hb->unknown_count == HEARTBEAT_UNKNOWN_MAX) {
		memmove(&hb->unknown[0], &hb->unknown[1],
			sizeof(hb->unknown[0]) * (HEARTBEAT_UNKNOWN_MAX - 1));
		hb->unknown_count--;
	}
	hb->unknown[hb->unknown_count].image = image;
	hb->unknown[hb->unknown_count++].submitted = submitted;
	resolve(hb);
}

/* Waits for the time of the next renewal; false: it is over. */
static bool wait_for_renewal(struct vmfs_heartbeat *hb, uint64_t last, uint64_t next)
{
	mutex_lock(&hb->lease.m);
	while (!hb->is_stopping && !hb->lease.dead) {
		uint64_t until = hb->is_want_new ? min_u64(next, last + WANT_PAUSE_NS)
						 : next;

		/* An ill path is not asked more often for it. */
		if (le32_get(hb->last.journal_addr) != hb->journal_addr &&
		    !hb->unknown_count)
			break;
		if (clock_now() >= until)
			break;
		(void)!cond_wait_until(&hb->lease.c, &hb->lease.m, until);
	}
	bool is_over = hb->is_stopping || hb->lease.dead;
	mutex_unlock(&hb->lease.m);
	return !is_over;
}

/*
 * After an unknown outcome the next attempt comes a quarter of T_hb after the BEGINNING
 * of the last: at once, if that took its whole time; but a path that fails at once is not
 * asked without pause.
 */
static void renew_loop(void *arg)
{
	struct vmfs_heartbeat *hb = arg;
	uint64_t last = clock_now(), next = last + hb->timing.renew_ns;

	task_raise();
	while (wait_for_renewal(hb, last, next)) {
		last = clock_now();
		if (lease_state(&hb->lease) >= LEASE_CUT)
			reclaim_try(hb);
		else
			heartbeat_renew(hb);
		bool is_ill = hb->unknown_count || lease_state(&hb->lease) >= LEASE_CUT;
		if (!is_ill)
			reclaim_check(hb);
		next = last + (is_ill ? hb->timing.renew_ns / 4 : hb->timing.renew_ns);
	}
}

/*
 * On the preferred slot; its owner, if any, may renew it between our read and the trial.
 */
static int prove_conditional_write(struct vmfs_heartbeat *hb)
{
	struct vmfs_heartbeat_disk now;
	uint32_t slot = preferred_slot(hb);
	int err = -EILSEQ;

	for (int tries = 0; err == -EILSEQ && tries < 8; tries++) {
		err = read_slot(hb, slot, &now);
		if (!err)
			err = vmfs_caw_probe(hb->bd, slot_dev_off(hb, slot), &now,
					     hb->vol->reporter, &hb->caw);
	}
	return err == -EILSEQ ? -EIO : err;
}

/*
 * Another host may make the reservation between our look and the trial, which is then
 * refused: with our key it is not.
 */
static int prove_device(struct vmfs_heartbeat *hb)
{
	int err = fence_look(hb->vol, preferred_slot(hb));

	if (err)
		return err;
	bool was_reserved = hb->vol->member->fence.is_reserved;
	err = prove_conditional_write(hb);
	if ((err == -ESTALE || err == -EBUSY) && !was_reserved) {
		err = fence_look(hb->vol, preferred_slot(hb));
		if (err)
			return err;
		err = prove_conditional_write(hb);
	}
	if (err == -ESTALE || err == -EBUSY)
		return report_error(hb->vol->reporter, err,
				    "%s: the conditional write is refused: %s",
				    hb->bd->name, strerror(-err));
	return err;
}

int heartbeat_start(struct vmfs_heartbeat *hb, const char *host_name,
		    bool may_use_liveness)
{
	int err = prove_device(hb);
	if (!err)
		err = find_slot(hb, host_name, may_use_liveness);
	if (err)
		return err;
	err = reclaim_guard(hb);
	if (!err) {
		hb->renew_task = task_start("heartbeat", renew_loop, hb);
		hb->lease_task = hb->renew_task ? task_start("lease", reclaim_watch, hb)
						: NULL;
		err = hb->lease_task ? fence_reserve(hb->vol) : -ENOMEM;
	}
	if (err) {
		heartbeat_stop(hb);
		(void)!heartbeat_leave(hb);
	}
	return err;
}

void heartbeat_stop(struct vmfs_heartbeat *hb)
{
	mutex_lock(&hb->lease.m);
	hb->is_stopping = true;
	cond_broadcast(&hb->lease.c);
	mutex_unlock(&hb->lease.m);
	task_join(hb->renew_task);
	task_join(hb->lease_task);
	hb->renew_task = hb->lease_task = NULL;
	/* Nothing but the slot is written from here on, and that by cas. */
	reclaim_unguard(hb);
}

/* One try to make the slot FREE from the image that it is believed to show. */
static enum cas_result leave_once(struct vmfs_heartbeat *hb)
{
	struct vmfs_heartbeat_disk image;

	heartbeat_free_image(&hb->last, &image);
	struct cas c = {
		.bd = hb->bd,
		.dev_off = slot_dev_off(hb, hb->slot),
		.expected = &hb->last,
		.wanted = &image,
		.deadline = clock_now() + hb->timing.attempt_ns,
	};
	return vmfs_cas(&hb->caw, &c);
}

int heartbeat_leave(struct vmfs_heartbeat *hb)
{
	enum cas_result result = CAS_DIFFERS;

	for (int tries = 0; tries < LEAVE_TRIES; tries++) {
		/* Perhaps a renewal of unknown fate ran, perhaps late. */
		if (result == CAS_DIFFERS && (hb->unknown_count || tries))
			resolve(hb);
		if (heartbeat_dead(hb))
			break;
		result = leave_once(hb);
		if (result != CAS_DIFFERS && result != CAS_UNKNOWN)
			break;
	}
	if (hb->has_liveness)
		(void)!bdev_liveness(hb->bd, heartbeat_liveness_off(hb->slot), false);
	return result == CAS_DONE ? 0 : -ESTALE;
}

bool heartbeat_is_renewed_after(struct vmfs_heartbeat *hb, uint64_t since)
{
	uint64_t deadline = clock_now() + 2 * hb->timing.renew_ns;

	mutex_lock(&hb->lease.m);
	while (!hb->lease.dead && hb->lease.renewed < since && clock_now() < deadline)
		(void)!cond_wait_until(&hb->lease.c, &hb->lease.m, deadline);
	bool is_renewed = !hb->lease.dead && hb->lease.renewed >= since;
	mutex_unlock(&hb->lease.m);
	return is_renewed;
}

int heartbeat_publish_journal(struct vmfs_heartbeat *hb, uint32_t addr, uint64_t vol_off)
{
	mutex_lock(&hb->lease.m);
	hb->journal_addr = addr;
	hb->journal_vol_off = vol_off;
	uint64_t seen = hb->published;
	cond_broadcast(&hb->lease.c);
	while (!hb->lease.dead && hb->published == seen)
		cond_wait(&hb->lease.c, &hb->lease.m);
	int err = hb->lease.dead;
	mutex_unlock(&hb->lease.m);
	return err;
}

void heartbeat_want(struct vmfs_heartbeat *hb, uint64_t lock_off, bool is_wanted)
{
	unsigned int at = HEARTBEAT_WANT_COUNT;

	mutex_lock(&hb->lease.m);
	for (unsigned int i = 0; i < HEARTBEAT_WANT_COUNT; i++)
		if (hb->want[i] == lock_off ||
		    (at == HEARTBEAT_WANT_COUNT && !hb->want[i]))
			at = i;
	bool is_there = at < HEARTBEAT_WANT_COUNT && hb->want[at] == lock_off;
	if (is_there && !is_wanted) {
		hb->want[at] = 0;
		hb->is_want_new = true; /* else others give it back for nothing */
		cond_broadcast(&hb->lease.c);
	} else if (!is_there && is_wanted && at < HEARTBEAT_WANT_COUNT) {
		hb->want[at] = lock_off;
		hb->is_want_new = true;
		cond_broadcast(&hb->lease.c);
	}
	mutex_unlock(&hb->lease.m);
	if (is_there != is_wanted)
		event_tell(hb->vol, REPORT_DEBUG, "%s the lock at 0x%llx",
			   is_wanted ? "wants" : "wants no more",
			   (unsigned long long)lock_off);
}
