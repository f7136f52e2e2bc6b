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
