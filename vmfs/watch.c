/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An observer counts only its own clock, from the COMPLETION of the first read that
 * returned the image it still sees: the image was written before that, so the owner's
 * lease is at least as old. Any read that shows other bytes starts anew; after a mount
 * everybody counts as alive because nothing has been seen yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmfs/heartbeat.h"
#include "vmfs/volume.h"
#include "vmfs/watch.h"

void watch_init(struct vmfs_watch *w)
{
	mutex_init(&w->m);
	LIST_INIT(&w->slots);
}

void watch_done(struct vmfs_watch *w)
{
	while (!LIST_EMPTY(&w->slots)) {
		struct watched *e = LIST_FIRST(&w->slots);

		LIST_REMOVE(e, link);
		free(e);
	}
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

int watch_look(struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t slot,
	       struct vmfs_heartbeat_disk *ret_image, uint64_t *ret_age_ns)
{
	struct vmfs_heartbeat_disk now;
	int err = lvm_read(&vol->lvm, heartbeat_slot_off(slot), &now, sizeof(now));
	uint64_t seen = clock_now();

	if (err)
		return err;
	if (heartbeat_verify(&now, heartbeat_slot_off(slot)))
		return vmfs_corrupt(vol, "heartbeat slot %u is damaged", slot);
	struct watched *fresh = malloc(sizeof(*fresh));
	mutex_lock(&w->m);
	struct watched *e = find(w, slot);
	if (!e && fresh) {
		e = fresh;
		fresh = NULL;
		e->slot = slot;
		e->first_seen = seen;
		e->image = now;
		LIST_INSERT_HEAD(&w->slots, e, link);
	}
	if (e && memcmp(&e->image, &now, sizeof(now))) {
		e->image = now;
		e->first_seen = seen;
	}
	/* A read that began before another caller's later one must not look older. */
	*ret_age_ns = e && seen > e->first_seen ? seen - e->first_seen : 0;
	mutex_unlock(&w->m);
	free(fresh);
	*ret_image = now;
	return 0;
}

/* The next watched LIVE slot from *slot on; false at the end. */
static bool next_live(struct vmfs_watch *w, uint32_t *slot)
{
	uint32_t best = VMFS_HEARTBEATS_COUNT;
	struct watched *e;

	mutex_lock(&w->m);
	LIST_FOREACH(e, &w->slots, link) {
		if (e->slot >= *slot && e->slot < best &&
		    le32_get(e->image.state) == HEARTBEAT_LIVE)
			best = e->slot;
	}
	mutex_unlock(&w->m);
	*slot = best;
	return best < VMFS_HEARTBEATS_COUNT;
}

void watch_poll(struct vmfs_volume *vol, struct vmfs_watch *w)
{
	for (uint32_t slot = 0; next_live(w, &slot); slot++) {
		struct vmfs_heartbeat_disk image;
		uint64_t age;
		int err = watch_look(vol, w, slot, &image, &age);

		(void)err; /* who needs the slot looks itself and hears of it */
	}
}

int watch_scan(struct vmfs_volume *vol, struct vmfs_watch *w)
{
	const uint32_t size = VMFS_HEARTBEATS_COUNT * VMFS_SECTOR_SIZE;
	struct vmfs_heartbeat_disk *slots = malloc(size), image;
	uint64_t age;

	if (!slots)
		return -ENOMEM;
	int err = lvm_read(&vol->lvm, VMFS_HEARTBEATS_OFF, slots, size);
	for (uint32_t i = 0; !err && i < VMFS_HEARTBEATS_COUNT; i++) {
		if (le32_get(slots[i].state) != HEARTBEAT_LIVE)
			continue;
		int look = watch_look(vol, w, i, &image, &age);
		(void)look; /* a damaged slot is reported and not watched */
	}
	free(slots);
	return err;
}
