/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_RECLAIM_H
#define VMFS_RECLAIM_H

/*
 * What becomes of a lease that could not be renewed in time: the cut, and the way back
 * (LOCKING.md 6.3, 6.4).
 */
struct vmfs_heartbeat;

/* The body of the lease task: cuts at T_cut, also while a renewal hangs. */
void reclaim_watch(void *heartbeat);
/* One attempt to get a lease back that is cut; by the heartbeat task. Blocks. */
void reclaim_try(struct vmfs_heartbeat *hb);
/*
 * If a device may have lost what it had acknowledged (a reset, a new session): compares
 * the locks that we hold with the disk. By the heartbeat task, in GREEN. Blocks.
 */
void reclaim_check(struct vmfs_heartbeat *hb);
/*
 * 0: every lock of the table stands on the disk; else -errno; dead if one does not.
 * Blocks.
 */
int reclaim_compare_locks(struct vmfs_heartbeat *hb)
	__attribute__((warn_unused_result));
/* Cuts every device of the volume and tells the guard. Never blocks. */
void reclaim_cut_devices(struct vmfs_heartbeat *hb);
/* The lease and all devices come under hb->guard, if it counts; 0 or -errno, reported. */
int reclaim_guard(struct vmfs_heartbeat *hb) __attribute__((warn_unused_result));
void reclaim_unguard(struct vmfs_heartbeat *hb);

#endif
