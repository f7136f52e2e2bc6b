/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_HEARTBEATS_H
#define FSCK_HEARTBEATS_H

/* Heartbeat slots and the journals that they name. */
#include "fsck/state.h"

/* All slots, for the locks; then their journals. 0 or -ENOMEM. */
int fsck_check_heartbeats(struct fsck *f) __attribute__((warn_unused_result));
void fsck_check_journals(struct fsck *f);
/*
 * Has the journal at vol_off a header (LOCKING.md 10.3)? Of any volume: one that was lost
 * before this one got a new signature shows the former UUID.
 */
bool fsck_journal_header(const struct fsck_volume *v, uint64_t vol_off,
			 struct vmfs_journal_header_disk *ret_header);

#endif
