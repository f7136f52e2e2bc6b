/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks (FORMAT.md 7, LOCKING.md 3.2): what one says of itself, and of its holders
 * against the heartbeat slots.
 */

#include "fsck/locks.h"

#include <string.h>

#include "fsck/findings.h"
#include "fsck/mend.h"

/* Who a lock names as a holder: alive, gone, or impossible. true: to be freed. */
static bool check_holder(struct fsck *f, const struct vmfs_lock_holder_disk *h,
			 uint32_t mode, const char *object)
{
	uint64_t addr = le64_get(h->hb_addr), gen = le64_get(h->hb_gen);
	uint32_t k;
	if (!fsck_slot_of(&f->volume, addr, &k)) {
		return fsck_found(
			f, PROBLEM_LOCK_HOLDER,
			"%s: lock mode %u names heartbeat 0x%llx, which is no slot",
			object, mode, (unsigned long long)addr);
	}
	const struct fsck_slot *slot = &f->slots[k];
	if (slot->is_damaged)
		return false;
	unsigned int was = fsck_rests_on(f, KEY_SLOT, FSCK_FBB, k);
	if (slot->generation > gen)
		(void)fsck_found(
			f, PROBLEM_LOCK_STALE,
			"%s: lock mode %u is of slot %u generation %llu, which is gone",
			object, mode, k, (unsigned long long)gen);
	else if (slot->generation < gen)
		return fsck_found(
			f, PROBLEM_LOCK_HOLDER,
			"%s: lock mode %u names slot %u generation %llu, it is at %llu",
			object, mode, k, (unsigned long long)gen,
			(unsigned long long)slot->generation);
	else if (!slot->is_live || memcmp(slot->owner, h->owner, sizeof(h->owner)) != 0)
		return fsck_found(
			f, PROBLEM_LOCK_HOLDER,
			"%s: lock mode %u names slot %u generation %llu, which is %s",
			object, mode, k, (unsigned long long)gen,
			slot->is_live ? "another host's" : "free");
	fsck_rests_no_more(f, was);
	return false;
}

/* Modes 2 and 3: holders are listed. */
static bool check_shared(struct fsck *f, const struct vmfs_lock_disk *lock,
			 const char *object)
{
	uint32_t mode = le32_get(lock->mode), count = le32_get(lock->holder_count);
	bool is_wrong = false;
	if (count == 0 || count > VMFS_LOCK_HOLDERS_MAX)
		return fsck_found(f, PROBLEM_LOCK_HOLDER,
				  "%s: lock mode %u with %u holders", object, mode,
				  count);
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t k = 0; k < i; k++)
			if (memcmp(&lock->holders[i], &lock->holders[k],
				   sizeof(lock->holders[i])) == 0)
				is_wrong |= fsck_found(
					f, PROBLEM_LOCK_HOLDER,
					"%s: lock mode %u names holder %u twice", object,
					mode, i);
		is_wrong |= check_holder(f, &lock->holders[i], mode, object);
	}
	return is_wrong;
}

/* Nobody's. The token goes on: no image of it ever comes again. */
static void free_lock(struct vmfs_lock_disk *lock)
{
	lock->mode = le32_of(LOCK_FREE);
	lock->token = le64_of(le64_get(lock->token) + 1);
	memset(lock->owner, 0, sizeof(lock->owner));
	lock->holder_count = le32_of(0);
	memset(lock->holders, 0, sizeof(lock->holders));
	lock->global_holders = le32_of(0);
	lock->global_generation = le64_of(0);
	lock->global_break = le32_of(0);
}

/* What a lock says of its holders. true: it is to be freed. */
static bool check_holders(struct fsck *f, const struct vmfs_lock_disk *lock,
			  const char *object)
{
	uint32_t mode = le32_get(lock->mode);
	struct vmfs_lock_holder_disk owner = { lock->hb_addr, lock->hb_gen, { 0 } };
	switch (mode) {
	case LOCK_FREE:
		if (fsck_is_zero(lock->owner, sizeof(lock->owner)) &&
		    !le32_get(lock->holder_count))
			return false;
		return fsck_found(f, PROBLEM_LOCK_HOLDER, "%s: free lock with a holder",
				  object);
	case LOCK_EXCLUSIVE:
		memcpy(owner.owner, lock->owner, sizeof(owner.owner));
		return check_holder(f, &owner, mode, object);
	case LOCK_READ_ONLY:
	case LOCK_MULTI_WRITER:
		return check_shared(f, lock, object);
	default:
		return fsck_found(f, PROBLEM_LOCK_MODE, "%s: lock mode %u", object, mode);
	}
}

void fsck_check_lock(struct fsck *f, const struct vmfs_lock_disk *lock, uint32_t type,
		     uint64_t vol_off, const char *object)
{
	struct vmfs_lock_disk fixed = *lock;
	if (le32_get(lock->type) != type &&
	    fsck_found(f, PROBLEM_LOCK_TYPE, "%s: lock type 0x%08x, not 0x%08x", object,
		       le32_get(lock->type), type))
		fixed.type = le32_of(type);
	if (le64_get(lock->addr) != vol_off &&
	    fsck_found(f, PROBLEM_LOCK_ADDRESS,
		       "%s: lock carries offset 0x%llx, lies at 0x%llx", object,
		       (unsigned long long)le64_get(lock->addr),
		       (unsigned long long)vol_off))
		fixed.addr = le64_of(vol_off);
	bool is_freed = check_holders(f, lock, object);
	if (le32_get(lock->global_holders) || le64_get(lock->global_generation) ||
	    le32_get(lock->global_break))
		is_freed |= fsck_found(f, PROBLEM_LOCK_GLOBAL,
				       "%s: lock has %u global holders", object,
				       le32_get(lock->global_holders));
	if (is_freed)
		free_lock(&fixed);
	if (memcmp(&fixed, lock, sizeof(fixed)) != 0)
		fsck_put(f, vol_off, &fixed, sizeof(fixed), PLAN_HEADER);
}
