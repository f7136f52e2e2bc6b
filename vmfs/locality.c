/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that two machines see (a LUN by the kernel's own initiator, a disk of two
 * virtual machines) looks like a plain block device to each: the file locks of one do not
 * reach the other, a liveness lock there looks free, and both would write. So the slot
 * shows the kernel (its boot id), and a liveness lock of another kernel proves nothing:
 * such a member is alive as long as its heartbeat changes, and who finds one alive does
 * not join. One that has been silent for T_dead is taken over like a host with a lease: a
 * disk that was carried from a machine that lost its power must be usable there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"
#include "vmfs/fence.h"
#include "vmfs/heartbeat.h"
#include "vmfs/locality.h"
#include "vmfs/lvm.h"
#include "vmfs/volume.h"
#include "vmfs/watch.h"

static bool is_same(const uint8_t a[16], const uint8_t b[16])
{
	return !memcmp(a, b, 16);
}

bool locality_is_here(const struct vmfs_heartbeat *hb,
		      const struct vmfs_heartbeat_disk *slotd)
{
	static const uint8_t unknown[16];

	return is_same(slotd->boot, unknown) || is_same(hb->bd->kernel.b, unknown) ||
	       is_same(slotd->boot, hb->bd->kernel.b) ||
	       is_same(slotd->machine, hb->machine.b);
}

static bool is_elsewhere(const struct vmfs_heartbeat *hb,
			 const struct vmfs_heartbeat_disk *slotd)
{
	return le32_get(slotd->state) == HEARTBEAT_LIVE &&
	       le32_get(slotd->xmagic) == HEARTBEAT_XMAGIC &&
	       slotd->fence & FENCE_LIVENESS && !locality_is_here(hb, slotd);
}

static int refuse(struct vmfs_heartbeat *hb, const struct vmfs_heartbeat_disk *slotd,
		  uint32_t slot)
{
	return report_error(hb->vol->reporter, -EBUSY,
			    "volume %s: refusing: host %.46s (slot %u) uses %s under "
			    "another kernel; file locks do not reach it: share the LUN "
			    "by iSCSI URL, where all hosts lock on the target",
			    hb->vol->label, (const char *)slotd->ip, slot, hb->bd->name);
}

int locality_check(struct vmfs_heartbeat *hb, const struct vmfs_heartbeat_disk *slots)
{
	const uint32_t count = watch_slot_count(hb->vol);
	const uint64_t size = watch_slots_size(hb->vol, count);
	uint32_t first = 0;

	while (first < count && !is_elsewhere(hb, &slots[first]))
		first++;
	if (first == count)
		return 0;
	AUTO_FREE struct vmfs_heartbeat_disk *now = io_alloc(size);
	if (!now)
		return -ENOMEM;
	task_sleep_until(clock_now() + 2 * hb->timing.renew_ns);
	int err = lvm_read_device(hb->bd, hb->region_off, now, size);
	if (!err)
		watch_pack_slots(hb->vol, now, count);
	for (uint32_t i = first; !err && i < count; i++)
		if (is_elsewhere(hb, &now[i]) &&
		    memcmp(&now[i], &slots[i], sizeof(now[i])))
			return refuse(hb, &now[i], i);
	return err;
}
