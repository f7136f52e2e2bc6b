/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_CLAIM_H
#define VMFS_CLAIM_H

/*
 * The claim that a dead member's slot shows: who takes it over (LOCKING.md 3.1, 7.2).
 * None of these blocks.
 */
#include <stdbool.h>

struct vmfs_heartbeat;
struct vmfs_heartbeat_disk;

/* This image of a slot with our claim on it, sealed. */
void claim_image(const struct vmfs_heartbeat *hb, const struct vmfs_heartbeat_disk *from,
		 struct vmfs_heartbeat_disk *ret_image);
/* By this very incarnation: whose name is slot, generation and owner, as in locks. */
bool claim_is_ours(const struct vmfs_heartbeat *hb,
		   const struct vmfs_heartbeat_disk *slotd);
/* Who claimed slotd has gone: his slot, read after it, is of a later generation. */
bool claim_is_over(const struct vmfs_heartbeat_disk *slotd,
		   const struct vmfs_heartbeat_disk *claimerd);

#endif
