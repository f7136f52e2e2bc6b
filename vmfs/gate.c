/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate: the check that stands before every write (LOCKING.md 6.3, 9.1).
 *
 *      age < T_stop      T_stop <= age            dead
 *        GREEN   ------->   HOLD    ------------> (never opens again)
 *          ^------------------' a renewal ran
 *
 * Invariants:
 *  1 no write is submitted in HOLD or after death;
 *  2 a write that the device answered with "unknown" or "not executed" is submitted again
 *    with the same bytes, through the gate, until it is known to have run or the volume
 *    is dead: a caller never sees -ETIMEDOUT (rule R3: never assumed done, never assumed
 *    lost).
 *
 * What happens between the check and the system call is not the gate's: the lease task
 * cuts the devices at T_cut, and a target that fences refuses.
 */
#include <errno.h>

#include "base/align.h"
#include "base/env.h"
#include "vmfs/gate.h"
#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define HOLD_POLL_NS (50 * NS_PER_MS)
#define AGAIN_NS (20 * NS_PER_MS)

bool vmfs_gate_is_open(struct vmfs_volume *vol)
{
	if (!vol->member)
		return false;
	struct vmfs_heartbeat *hb = &vol->member->hb;
	return !heartbeat_dead(hb) && heartbeat_lease_age(hb) < hb->timing.stop_ns;
}

int vmfs_gate_enter(struct vmfs_volume *vol)
{
	if (!vol->member)
		return -EROFS;
	struct vmfs_heartbeat *hb = &vol->member->hb;
	for (;;) {
		int dead = heartbeat_dead(hb);
		if (dead)
			return -ESTALE;
		if (heartbeat_lease_age(hb) < hb->timing.stop_ns)
			return 0;
		task_sleep_until(clock_now() + HOLD_POLL_NS);
	}
}

int vmfs_gate_check_read(struct vmfs_volume *vol)
{
	if (!vol->member)
		return 0;
	struct vmfs_heartbeat *hb = &vol->member->hb;
	if (heartbeat_dead(hb) || heartbeat_lease_age(hb) >= hb->timing.lease_ns)
		return -ESTALE;
	return 0;
}

/* One piece on one extent, again and again until its fate is known. */
static int submit_until_known(struct vmfs_volume *vol, struct bdev *bd, enum bdev_op op,
			      void *buf, uint64_t len, uint64_t dev_off, uint32_t flags)
{
	for (;;) {
		int err = vmfs_gate_enter(vol);
		if (err)
			return err;
		err = bdev_rw(bd, op, flags, buf, len, dev_off, 0);
		if (err != -ETIMEDOUT && err != -EBUSY)
			return err;
		task_sleep_until(clock_now() + AGAIN_NS);
	}
}

static int each_piece(struct vmfs_volume *vol, enum bdev_op op, uint64_t vol_off,
		      void *buf, uint64_t len, uint32_t flags)
{
	while (len) {
		struct bdev *bd;
		uint64_t dev_off, run;
		int err = lvm_map(&vol->lvm, vol_off, &bd, &dev_off, &run);
		if (err)
			return err;
		run = min_u64(run, len);
		err = submit_until_known(vol, bd, op, buf, run, dev_off, flags);
		if (err)
			return err;
		buf = buf ? (uint8_t *)buf + run : NULL;
		vol_off += run;
		len -= run;
	}
	return 0;
}

int vmfs_gate_write(struct vmfs_volume *vol, uint64_t vol_off, const void *buf,
		    uint64_t len, uint32_t flags)
{
	/* bdev_rw takes void * for both directions; a write does not touch it. */
	union {
		const void *in;
		void *out;
	} data = { .in = buf };

	return each_piece(vol, BDEV_WRITE, vol_off, data.out, len, flags);
}

int vmfs_gate_zero(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
{
	return each_piece(vol, BDEV_ZERO, vol_off, NULL, len, 0);
}

int vmfs_gate_unmap(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
{
	return each_piece(vol, BDEV_UNMAP, vol_off, NULL, len, 0);
}

int vmfs_gate_flush(struct vmfs_volume *vol)
{
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		struct bdev *bd = vol->lvm.extents[i].bd;
		int err = bd ? submit_until_known(vol, bd, BDEV_FLUSH, NULL, 0, 0, 0)
			     : -ENODEV;
		if (err)
			return err;
	}
	return 0;
}
