/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_UNFLUSHED_H
#define VMFS_UNFLUSHED_H

/*
 * What a member has written to a device with a volatile cache of its own and has not
 * flushed since: kept, so that it can be written again when that cache was lost
 * (LOCKING.md 17).
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/env.h"
#include "bdev/bdev.h"
#include "vmfs/format6.h"

struct vmfs_volume;
struct unflushed_write;

struct unflushed_extent {
	struct bdev *bd; /* NULL: its cache goes only with this host */
	/* Of its sessions, while all that it has acknowledged since was there. */
	uint32_t events;
};

struct vmfs_unflushed {
	struct mutex m;
	bool is_active; /* some extent can lose its cache; constant after the start */
	unsigned int count;
	struct unflushed_extent extents[LVM_EXTENTS_MAX];
	STAILQ_HEAD(, unflushed_write) writes; /* of all extents, oldest first */
	uint64_t bytes, next; /* kept; the number of the next write */
	bool is_stopping;     /* this one under the lease's mutex */
	struct task *task;
};

void unflushed_init(struct vmfs_unflushed *u);
/* The heartbeat runs, nothing was written by the gate yet. 0 or -ENOMEM. */
int unflushed_start(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * A device becomes an extent of the running volume: before it is written. 0; -EOPNOTSUPP:
 * its cache can be lost, and nothing was kept for the others so far. Never blocks.
 */
int unflushed_add(struct vmfs_volume *vol, struct bdev *bd)
	__attribute__((warn_unused_result));
/* The volume is dead, or all is flushed. */
void unflushed_stop(struct vmfs_volume *vol);
void unflushed_done(struct vmfs_unflushed *u);

/* Does any device of the volume need all of this? Never blocks. */
bool unflushed_is_active(struct vmfs_volume *vol);
/* Is anything kept that a flush would make durable? Never blocks. */
bool unflushed_has_any(struct vmfs_volume *vol);
/* Before a FLUSH is sent: what it will cover. Never blocks. */
uint64_t unflushed_mark(struct vmfs_volume *vol);

enum unflushed_end {
	UNFLUSHED_GOOD,	 /* it stands */
	UNFLUSHED_LOST,	 /* the device may have lost its cache: send it again */
	UNFLUSHED_FLUSH, /* not kept: good when a FLUSH behind it was good */
};
/*
 * io (its bd, place and memory) has ended without an error on a device of the volume, and
 * its submitter is still inside the gate. mark: of a FLUSH. Never blocks. After LOST no
 * write passes the gate before all is restored.
 */
enum unflushed_end unflushed_settle(struct vmfs_volume *vol, const struct bdev_io *io,
				    uint64_t mark);
/*
 * May what was read until now be believed? False: a device may have lost what it had
 * shown; it is being restored. Never blocks.
 */
bool unflushed_is_whole(struct vmfs_volume *vol);

#endif
