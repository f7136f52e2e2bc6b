/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims: see claim.h. A claim that is ours is gone on with, one that is over is claimed
 * anew, any other is its claimer's until he is dead.
 */
#include "vmfs/claim.h"

#include <string.h>

#include "vmfs/heartbeat.h"

void claim_image(const struct vmfs_heartbeat *hb, const struct vmfs_heartbeat_disk *from,
		 struct vmfs_heartbeat_disk *ret_image)
{
	*ret_image = *from;
	memcpy(ret_image->replay_host, hb->owner.b, sizeof(ret_image->replay_host));
	ret_image->replay_hb = le64_of(hb->vol_off);
	ret_image->replay_hb_gen = le64_of(hb->generation);
	if (le32_get(from->xmagic) == HEARTBEAT_XMAGIC)
		heartbeat_seal(ret_image);
}

bool claim_is_ours(const struct vmfs_heartbeat *hb,
		   const struct vmfs_heartbeat_disk *slotd)
{
	struct vmfs_heartbeat_disk claimed;

	if (!heartbeat_is_claimed(slotd))
		return false;
	claim_image(hb, slotd, &claimed);
	return !memcmp(&claimed, slotd, sizeof(claimed));
}

bool claim_is_over(const struct vmfs_heartbeat_disk *slotd,
		   const struct vmfs_heartbeat_disk *claimerd)
{
	return le64_get(claimerd->generation) > le64_get(slotd->replay_hb_gen);
}
