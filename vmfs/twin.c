/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two hosts with one machine UUID: a host that was cloned with its configuration. Locks
 * do not rest on it (an incarnation has a UUID of its own, drawn at each mount), but what
 * administrators and the storage know a host by does. The second one is refused.
 *
 *   no other LIVE slot with our machine's UUID ----------------------------> go on
 *   one that shows no sign of life for 4/3 T_hb: our own crash ------------> go on
 *   one that lives, and has its journal, or a lower slot than ours --------> refuse
 *
 * Who has no journal yet is where we are: of two that start at once the lower slot stays.
 * Who has one has gone by here before us. Life is a heartbeat that changes, or a liveness
 * lock that is held. A twin whose path is ill for that long is not seen; nothing but the
 * warning depends on it. Programs that are no host (vmkfstools, vmfs-fuse beside the
 * daemon) give no UUID, and so have one each.
 */
#include "vmfs/twin.h"

#include <errno.h>
#include <string.h>

#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define TWINS_MAX 8u
#define LOOKS 8u

struct twins {
	struct vmfs_volume *vol;
	unsigned int count;
	uint32_t slots[TWINS_MAX];
	uint64_t stamps[TWINS_MAX]; /* as first seen */
};

static bool is_twin(const struct vmfs_heartbeat *hb,
		    const struct vmfs_heartbeat_disk *slotd, uint32_t slot)
{
	return slot != hb->slot &&
	       !heartbeat_verify(slotd, watch_slot_off(hb->vol, slot)) &&
	       le32_get(slotd->state) == HEARTBEAT_LIVE &&
	       le32_get(slotd->xmagic) == HEARTBEAT_XMAGIC &&
	       !memcmp(slotd->machine, hb->machine.b, sizeof(slotd->machine));
}

/* Among those that the scan of this mount has shown, which came after our slot's cas. */
static void find_twins(struct twins *t)
{
	const struct vmfs_heartbeat *hb = &t->vol->member->hb;
	struct vmfs_watch *w = &t->vol->member->watch;
	const struct watched *e;

	mutex_lock(&w->m);
	LIST_FOREACH(e, &w->slots, link) {
		if (t->count == TWINS_MAX || !is_twin(hb, &e->image, e->slot))
			continue;
		t->slots[t->count] = e->slot;
		t->stamps[t->count++] = le64_get(e->image.stamp_us);
	}
	mutex_unlock(&w->m);
}

enum sign { ALIVE, STILL, DEAD };

static enum sign sign_of_life(struct vmfs_heartbeat *hb, uint32_t slot, uint64_t stamp,
			      const struct vmfs_heartbeat_disk *slotd)
{
	if (!is_twin(hb, slotd, slot))
		return DEAD; /* it has left */
	if (!(slotd->fence & 1u << 3))
		return le64_get(slotd->stamp_us) != stamp ? ALIVE : STILL;
	int err = bdev_liveness(hb->bd, heartbeat_liveness_off(slot), true);
	if (err)
		return err == -EBUSY ? ALIVE : STILL;
	(void)!bdev_liveness(hb->bd, heartbeat_liveness_off(slot), false);
	return DEAD;
}

static int refuse(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slotd,
		  uint32_t slot)
{
	struct uuid machine;
	char text[UUID_TEXT_SIZE];

	memcpy(machine.b, slotd->machine, sizeof(machine.b));
	return report_error(vol->reporter, -ENOTUNIQ,
			    "volume %.128s: host %.46s in slot %u lives and has the same "
			    "host UUID as this one (%s): give one of them another",
			    vol->label, (const char *)slotd->ip, slot,
			    uuid_text(&machine, text));
}

/* One look at each; who is dead is forgotten. -ENOTUNIQ: reported. */
static int look(struct twins *t)
{
	struct vmfs_heartbeat *hb = &t->vol->member->hb;
	unsigned int kept = 0;

	for (unsigned int i = 0; i < t->count; i++) {
		struct vmfs_heartbeat_disk now;
		uint32_t slot = t->slots[i];
		int err = lvm_read(&t->vol->lvm, watch_slot_off(t->vol, slot), &now,
				   sizeof(now));

		if (err)
			return err;
		enum sign sign = sign_of_life(hb, slot, t->stamps[i], &now);
		bool is_first = le32_get(now.journal_addr) || slot < hb->slot;
		if (sign == ALIVE && is_first)
			return refuse(t->vol, &now, slot);
		if (sign == DEAD)
			continue;
		t->slots[kept] = slot;
		t->stamps[kept++] = t->stamps[i];
	}
	t->count = kept;
	return 0;
}

int vmfs_twin_check(struct vmfs_volume *vol)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;
	struct twins t = { .vol = vol };

	if (uuid_equal(&hb->machine, &hb->owner))
		return 0; /* made up: nobody has it */
	int err = 0;
	find_twins(&t);
	for (unsigned int i = 0; !err && t.count && i <= LOOKS; i++) {
		err = look(&t);
		if (!err && t.count && i < LOOKS)
			task_sleep_until(clock_now() +
					 hb->timing.renew_ns * 4 / 3 / LOOKS);
	}
	return err;
}
