/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LOCKIMAGE_H
#define VMFS_LOCKIMAGE_H

/*
 * A lock record as it becomes: one function for each transition of LOCKING.md 3.2. Pure:
 * from the sector as read to the sector to be written, nothing read or written here.
 * Bytes that no transition names are kept. Each image has a greater token than the record
 * it is made from. The caller has verified the record and judged its holders; what the
 * record cannot be for a transition is a programming error, unless a result is listed.
 */
#include <stdint.h>

#include "base/uuid.h"
#include "vmfs/format.h"

/* An incarnation, as lock records name it. */
struct lock_holder {
	uint64_t hb_addr, hb_gen;
	struct uuid owner;
	uint64_t now_s; /* mtime of what it acquires: seconds of its clock */
};

/* Does this holder, or this record in any mode, name that incarnation? */
bool lock_is_holder(const struct vmfs_lock_holder_disk *holderd,
		    const struct lock_holder *who);
bool lock_names(const struct vmfs_lock_disk *lockd, const struct lock_holder *who);
/* The holders of a record of any mode; their number. */
unsigned int lock_holders_of(const struct vmfs_lock_disk *lockd,
			     struct vmfs_lock_holder_disk ret[VMFS_LOCK_HOLDERS_MAX]);

/*
 * free -> EX; also the steal of a record all of whose holders are stale. The token
 * becomes at least min_token (of an object that is new).
 */
void lock_image_take(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		     uint64_t min_token, struct vmfs_lock_disk *ret_image);
/* free -> RO or MW with me as the only holder; also the steal of a stale record. */
void lock_image_share(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		      enum vmfs_lock_mode mode, struct vmfs_lock_disk *ret_image);
/*
 * RO, MW: me behind the holders that live; bit i of dead drops the i-th in the same
 * write. -EBUSY: eight live ones.
 */
int lock_image_join(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		    unsigned int dead, struct vmfs_lock_disk *ret_image)
	__attribute__((warn_unused_result));
/*
 * RO, MW: without me; the last holder moves into my place. With me as the only one it is
 * a release.
 */
void lock_image_leave(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		      struct vmfs_lock_disk *ret_image);
/* EX, or RO and MW with one holder -> free. The slot of the last holder stays in it. */
void lock_image_release(const struct vmfs_lock_disk *from,
			struct vmfs_lock_disk *ret_image);
/* RO, MW -> EX. -EBUSY: a holder beside me that is not dead (bits as in join). */
int lock_image_upgrade(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		       unsigned int dead, struct vmfs_lock_disk *ret_image)
	__attribute__((warn_unused_result));
/* EX of mine -> RO or MW. */
void lock_image_downgrade(const struct vmfs_lock_disk *from, const struct lock_holder *me,
			  enum vmfs_lock_mode mode, struct vmfs_lock_disk *ret_image);
/* EX of mine -> EX of another; of `to` the clock does not count. */
void lock_image_hand_over(const struct vmfs_lock_disk *from, const struct lock_holder *me,
			  const struct lock_holder *to,
			  struct vmfs_lock_disk *ret_image);
/* EX of mine -> the same with the next token: nothing made from `from` matches then. */
void lock_image_confirm(const struct vmfs_lock_disk *from, const struct lock_holder *me,
			struct vmfs_lock_disk *ret_image);

#endif
