/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_MEMBER_H
#define VMFS_MEMBER_H

/*
 * This host as a member of the cluster of one volume: its heartbeat slot, lease, lock
 * table and journal, started and stopped as one.
 */
#include "vmfs/fence.h"
#include "vmfs/heartbeat.h"
#include "vmfs/journal.h"
#include "vmfs/locktable.h"
#include "vmfs/unflushed.h"
#include "vmfs/vmfs.h"
#include "vmfs/watch.h"

struct vmfs_membership {
	struct vmfs_heartbeat hb;
	struct vmfs_fence fence;
	struct vmfs_watch watch;
	struct lock_table locks;
	struct vmfs_journal journal;
	struct vmfs_unflushed unflushed;
	struct sleeplock takeover_lock; /* one take-over at a time */
	struct mutex m;			/* for stopping */
	struct cond c;
	bool is_stopping;
	struct task *maintenance;	/* gives retained locks back */
	bool keeps_locks;		/* of closed files too */
	const struct bdev *unreadable;	/* atomic; NULL: none (gate.c) */
};

/*
 * Joins: proves the conditional write on the slot, takes the slot, starts the heartbeat
 * and the maintenance task, makes the journal. vol is open read-write but for this. Sets
 * vol->member. On failure nothing is left behind. Blocks.
 */
int vmfs_member_start(struct vmfs_volume *vol, const struct vmfs_open_options *options)
	__attribute__((warn_unused_result));
/* A slot's image as a member; age_ns: since it was first seen so. Never blocks. */
void vmfs_member_of(struct vmfs_volume *vol, uint32_t slot,
		    const struct vmfs_heartbeat_disk *slotd, uint64_t age_ns,
		    struct vmfs_member *ret_member);
/* Leaves: locks released, journal emptied and freed, slot FREE. Frees vol->member. */
int vmfs_member_stop(struct vmfs_volume *vol);

#endif
