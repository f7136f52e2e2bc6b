/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An observer counts only its own clock, from the COMPLETION of the first read that
 * returned the image it still sees: the image was written before that, so the owner's
 * lease is at least as old. Any read that shows other bytes starts anew; after a mount
 * everybody counts as alive because nothing has been seen yet. After a reset of the
 * target it starts anew too: the same image may have been renewed in a cache that was
 * lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vmfs/gate.h"
#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"
#include "vmfs/watch.h"

uint64_t watch_slot_off(const struct vmfs_volume *vol, uint32_t slot)
{
	return VMFS_HEARTBEATS_OFF + (uint64_t)slot * vol->shape->heartbeat_size;
}

bool watch_slot_of(const struct vmfs_volume *vol, uint64_t vol_off, uint32_t *ret_slot)
{
	uint32_t size = vol->shape->heartbeat_size;
	uint64_t off = vol_off - VMFS_HEARTBEATS_OFF;

	if (vol_off < VMFS_HEARTBEATS_OFF || off % size ||
	    off / size >= vol->shape->heartbeat_count)
		return false;
	*ret_slot = (uint32_t)(off / size);
	return true;
}

uint32_t watch_slot_count(const struct vmfs_volume *vol)
{
	return vol->shape->heartbeat_count;
}

uint64_t watch_slots_size(const struct vmfs_volume *vol, uint32_t count)
{
	return (uint64_t)count * vol->shape->heartbeat_size;
}

void watch_pack_slots(const struct vmfs_volume *vol, struct vmfs_heartbeat_disk *slots,
		      uint32_t count)
{
	const uint8_t *from = (const uint8_t *)slots;
	const uint32_t size = vol->shape->heartbeat_size;

	for (uint32_t i = 1; i < count && size != sizeof(slots[0]); i++)
		memcpy(&slots[i], from + (uint64_t)i * size, sizeof(slots[i]));
}

void watch_init(struct vmfs_watch *w)
{
	mutex_init(&w->m);
	LIST_INIT(&w->slots);
}

void watch_forget(struct vmfs_watch *w)
{
	mutex_lock(&w->m);
	while (!LIST_EMPTY(&w->slots)) {
		struct watched *e = LIST_FIRST(&w->slots);

		LIST_REMOVE(e, link);
		free(e);
	}
	mutex_unlock(&w->m);
}

void watch_done(struct vmfs_watch *w)
{
	watch_forget(w);
	mutex_done(&w->m);
}

static struct watched *find(struct vmfs_watch *w, uint32_t slot)
{
	struct watched *e;

	LIST_FOREACH(e, &w->slots, link)
		if (e->slot == slot)
			return e;
	return NULL;
}

/* Of the device with the slots, if it can lose renewals that nobody has flushed. */
static uint32_t events_of(const struct vmfs_volume *vol)
{
	struct bdev *bd = vol->lvm.extents[0].bd;

	return bd && bd->has_write_cache ? bdev_events(bd) : 0;
}

struct watch_moment watch_before(const struct vmfs_volume *vol)
{
	return (struct watch_moment){ .events = events_of(vol) };
}

/* Enters what a read has shown; the age of the image. */
static uint64_t note(struct vmfs_watch *w, uint32_t slot,
		     const struct vmfs_heartbeat_disk *now, const struct watch_moment *l)
{
	uint64_t seen = l->seen;
	struct watched *fresh = malloc(sizeof(*fresh));

	mutex_lock(&w->m);
	struct watched *e = find(w, slot);
	if (!e && fresh) {
		e = fresh;
		fresh = NULL;
		e->slot = slot;
		e->first_seen = seen;
		e->events = l->events;
		e->image = *now;
		LIST_INSERT_HEAD(&w->slots, e, link);
	}
	if (e && (e->events != l->events || memcmp(&e->image, now, sizeof(*now)))) {
		e->image = *now;
		e->events = l->events;
		e->first_seen = seen;
	}
	/* A read that began before another caller's later one must not look older. */
	uint64_t age = e && seen > e->first_seen ? seen - e->first_seen : 0;
	mutex_unlock(&w->m);
	free(fresh);
	return age;
}

int watch_look(struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t slot,
	       struct vmfs_heartbeat_disk *ret_image, uint64_t *ret_age_ns)
{
	struct vmfs_heartbeat_disk now;
	uint64_t off = watch_slot_off(vol, slot);
	struct watch_moment l = watch_before(vol);
	int err = vmfs_gate_read(vol, off, &now, sizeof(now));

	if (err)
		return err;
	l.seen = clock_now();
	if (heartbeat_verify(&now, off))
		return vmfs_corrupt(vol, "heartbeat slot %u is damaged", slot);
	*ret_age_ns = note(w, slot, &now, &l);
	*ret_image = now;
	return 0;
}

bool watch_recall(struct vmfs_watch *w, uint32_t slot,
		  struct vmfs_heartbeat_disk *ret_image, uint64_t *ret_first_seen)
{
	mutex_lock(&w->m);
	const struct watched *e = find(w, slot);
	if (e) {
		*ret_image = e->image;
		*ret_first_seen = e->first_seen;
	}
	mutex_unlock(&w->m);
	return e;
}

/* The next watched LIVE slot from *slot on; false at the end. */
static bool next_live(struct vmfs_watch *w, uint32_t *slot)
{
	uint32_t best = UINT32_MAX;
	struct watched *e;

	mutex_lock(&w->m);
	LIST_FOREACH(e, &w->slots, link) {
		if (e->slot >= *slot && e->slot < best &&
		    le32_get(e->image.state) == HEARTBEAT_LIVE)
			best = e->slot;
	}
	mutex_unlock(&w->m);
	*slot = best;
	return best < UINT32_MAX;
}

/* What a living host waits for. */
static void hear(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slotd,
		 uint64_t age, void (*heed)(struct vmfs_volume *vol, uint64_t lock_off))
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;

	if (!heed || le32_get(slotd->state) != HEARTBEAT_LIVE ||
	    le32_get(slotd->xmagic) != HEARTBEAT_XMAGIC ||
	    le64_get(slotd->addr) == hb->vol_off || age > 2 * hb->timing.renew_ns)
		return;
	for (unsigned int i = 0; i < HEARTBEAT_WANT_COUNT; i++)
		if (le64_get(slotd->want[i]))
			heed(vol, le64_get(slotd->want[i]));
}

/* The first `count` slots in one read: entered, and what their owners want is heard. */
static int look_at_all(struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t count,
		       void (*heed)(struct vmfs_volume *vol, uint64_t lock_off))
{
	uint64_t size = watch_slots_size(vol, count);
	struct vmfs_heartbeat_disk *slots = io_alloc(size);

	if (!slots)
		return -ENOMEM;
	struct watch_moment l = watch_before(vol);
	int err = vmfs_gate_read(vol, VMFS_HEARTBEATS_OFF, slots, size);
	l.seen = clock_now();
	watch_pack_slots(vol, slots, count);
	for (uint32_t i = 0; !err && i < count; i++) {
		if (le32_get(slots[i].state) == HEARTBEAT_LIVE &&
		    !heartbeat_verify(&slots[i], watch_slot_off(vol, i)))
			hear(vol, &slots[i], note(w, i, &slots[i], &l), heed);
	}
	free(slots);
	return err;
}

void watch_poll(struct vmfs_volume *vol, struct vmfs_watch *w,
		void (*heed)(struct vmfs_volume *vol, uint64_t lock_off))
{
	/* Where hosts begin to look for a slot (heartbeat.c); then the others. */
	int err = look_at_all(vol, w, HEARTBEAT_PREFERRED, heed);

	for (uint32_t slot = HEARTBEAT_PREFERRED; next_live(w, &slot); slot++) {
		struct vmfs_heartbeat_disk image;
		uint64_t age;

		err = watch_look(vol, w, slot, &image, &age);
		if (!err)
			hear(vol, &image, age, heed);
	}
	(void)err; /* who needs a slot looks itself and hears of it */
}

int watch_scan(struct vmfs_volume *vol, struct vmfs_watch *w)
{
	return look_at_all(vol, w, watch_slot_count(vol), NULL);
}

void watch_enter(struct vmfs_volume *vol, struct vmfs_watch *w,
		 const struct vmfs_heartbeat_disk *slots, uint32_t count,
		 const struct watch_moment *m)
{
	for (uint32_t i = 0; i < count; i++)
		if (le32_get(slots[i].state) == HEARTBEAT_LIVE &&
		    !heartbeat_verify(&slots[i], watch_slot_off(vol, i)))
			(void)note(w, i, &slots[i], m);
}

int watch_newcomers(struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t own)
{
	uint32_t end = own + 1;

	for (uint32_t slot = 0; next_live(w, &slot); slot++)
		end = slot + 1 > end ? slot + 1 : end;
	end += HEARTBEAT_PREFERRED;
	return look_at_all(vol, w, (uint32_t)min_u64(end, watch_slot_count(vol)), NULL);
}
