/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_FENCE_H
#define VMFS_FENCE_H

/*
 * Fencing by the storage: our reservation key on every session, and the taking away of a
 * dead member's (LOCKING.md 6.1(4), 7.2 B2 and B3, 9.3, 9.4). A device without persistent
 * reservations, or without COMPARE AND WRITE: timed mode, where all of this does nothing.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "vmfs/format.h"

struct bdev;
struct vmfs_volume;

/* Bits of a slot's `fence`. */
#define FENCE_PR (1u << 0)
#define FENCE_GUARD (1u << 1)
#define FENCE_WATCHDOG (1u << 2)
#define FENCE_LIVENESS (1u << 3)

struct vmfs_fence {
	bool is_pr;	   /* keys fence here; constant once the slot is LIVE */
	bool is_reserved;  /* the reservation stood when we looked first */
	bool is_late;	   /* to reserve when the others have seen their loss */
	bool resets_units; /* as struct vmfs_open_options says */
	uint64_t key;	   /* ours, as registered; 0: none */
	uint32_t events;   /* of the sessions, when the keys were last known good */
	struct sleeplock lock; /* one fence_check() at a time */
	uint64_t reserve_at; /* keys were lost: when to RESERVE again; 0: not */
};

/* The key of one incarnation; never 0. */
uint64_t fence_key(uint32_t slot, uint64_t generation);
/* Is this the key of a member, and of which? */
bool fence_key_parse(uint64_t key, uint32_t *ret_slot, uint32_t *ret_generation_low);

/*
 * Joining, in this order; vol->member with its heartbeat's device is set. 0, or -errno,
 * reported. All block.
 */
/*
 * What stands on the devices: pr mode or timed. Where a reservation stands the key of the
 * slot's next generation is registered, since nothing can be tried without.
 */
int fence_look(struct vmfs_volume *vol, uint32_t slot)
	__attribute__((warn_unused_result));
/* The slots as read, and whether COMPARE AND WRITE works: does pr mode fit the others? */
int fence_choose(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slots,
		 bool has_ats) __attribute__((warn_unused_result));
/* The key of the incarnation that is to be, on every session, before the slot's cas. */
int fence_register(struct vmfs_volume *vol, uint64_t key)
	__attribute__((warn_unused_result));
/* Our fields of the slot. Never blocks. */
void fence_show(struct vmfs_volume *vol, struct vmfs_heartbeat_disk *hbd);
/*
 * The slot is LIVE: reserves (perhaps later), and removes the keys of incarnations that
 * are over.
 */
int fence_reserve(struct vmfs_volume *vol) __attribute__((warn_unused_result));

/*
 * Now and then, from a task that may wait: were the keys lost, are we fenced? Costs
 * nothing while no session was rebuilt and no unit attention came. Blocks.
 */
void fence_check(struct vmfs_volume *vol);

/* How long a member must be silent before it is taken over, by ITS mode; ns. */
uint64_t fence_dead_after(struct vmfs_volume *vol,
			  const struct vmfs_heartbeat_disk *slotd);
/*
 * B2: the key of the member that `claimed` shows is taken away on every extent. 0: its
 * commands are refused from now on (or it is of timed mode); -ESTALE: we are fenced
 * ourselves, the volume is dead; -errno: not known, try again. Blocks.
 */
int fence_victim(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *claimed)
	__attribute__((warn_unused_result));
/*
 * B3, after B2: 0: nothing that the target accepted from it before can land any more.
 * -EAGAIN: the target still works on a command of it: try again from B2; -ESTALE: our
 * volume is dead. Blocks, up to 12 s for each extent, or 60 s where LUNs are reset.
 */
int fence_barrier(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *claimed)
	__attribute__((warn_unused_result));

/*
 * An extent that is added: our key, and the reservation if there is one on the others. 0,
 * or reported. Blocks.
 */
int fence_extend(struct vmfs_volume *vol, struct bdev *bd)
	__attribute__((warn_unused_result));

#endif
