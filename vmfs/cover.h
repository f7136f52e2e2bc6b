/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_COVER_H
#define VMFS_COVER_H

/*
 * Which lock covers which bytes of a volume (LOCKING.md 3.2), from the geometry alone:
 * for bytes that an untrusted log wants written.
 */
#include <stdint.h>

struct vmfs_volume;

/*
 * 0 if a transaction under the lock at lock_off may have written len bytes at vol_off;
 * *ret_lock_type is what that lock must be. -EUCLEAN, not reported: there is no lock at
 * lock_off, or it cannot cover all of the bytes. Both are multiples of 512. Never blocks.
 */
int vmfs_cover_check(struct vmfs_volume *vol, uint64_t lock_off, uint64_t vol_off,
		     uint64_t len, uint32_t *ret_lock_type)
	__attribute__((warn_unused_result));

#endif
