/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_TAKEOVER_H
#define VMFS_TAKEOVER_H

/*
 * Taking over what a dead member held (LOCKING.md 7).
 */
#include <stdint.h>

struct vmfs_heartbeat_disk;
struct vmfs_holder;
struct vmfs_volume;

/*
 * If the incarnation that this slot shows is dead, recovers it: claim, barrier, replay,
 * flush, empty, clear. Afterwards every lock naming it is stale. 0: the slot is free (by
 * us or by others); -EAGAIN: it is not (yet) dead; -EOPNOTSUPP: its journal is a foreign
 * one and not empty (reported); -ESTALE, -errno. Blocks.
 */
int vmfs_takeover(struct vmfs_volume *vol, uint32_t slot)
	__attribute__((warn_unused_result));
/*
 * The same for a host that somebody states to be off (vmfs_break_host): enough_ns stands
 * for its T_dead. A liveness lock that is held is proof of the contrary all the same.
 */
int vmfs_takeover_stated(struct vmfs_volume *vol, uint32_t slot, uint64_t enough_ns)
	__attribute__((warn_unused_result));
/*
 * When the first of these holders that counts a lease will have been silent for long
 * enough, if it stays so; NO_DEADLINE: none will, or has been already. Never blocks.
 */
uint64_t vmfs_takeover_time(struct vmfs_volume *vol, const struct vmfs_holder *who);
/* How long this image of a slot must have been unchanged before its owner is dead. */
uint64_t vmfs_takeover_after(struct vmfs_volume *vol,
			     const struct vmfs_heartbeat_disk *slotd);

#endif
