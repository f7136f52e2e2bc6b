/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lock records: what one says, whether its holders live, and the image of every
 * transition (LOCKING.md 3.2). Nothing here writes.
 *
 * Invariants:
 *  1 a record is used only after lock_verify();
 *  2 a holder is stale iff its slot, read AFTER the record, shows a later generation; an
 *    earlier one, or another owner under the same, is corruption: refused, never guessed;
 *  3 every image has a token greater than that of the record it is made from;
 *  4 bytes of a record that we do not know are kept as read.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

static_assert(sizeof(struct vmfs_lock_disk) == VMFS_SECTOR_SIZE, "lock is a sector");

int lock_verify(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		const struct vmfs_lock_disk *lockd)
{
	uint32_t mode = le32_get(lockd->mode);

	if (le32_get(lockd->type) != id->type)
		return vmfs_corrupt(vol, "lock at 0x%llx: type 0x%x, expected 0x%x",
				    (unsigned long long)id->vol_off,
				    le32_get(lockd->type), id->type);
	if (le64_get(lockd->addr) != id->vol_off)
		return vmfs_corrupt(vol, "lock at 0x%llx: says its address is 0x%llx",
				    (unsigned long long)id->vol_off,
				    (unsigned long long)le64_get(lockd->addr));
	if (mode > LOCK_MULTI_WRITER)
		return vmfs_corrupt(vol, "lock at 0x%llx: unknown mode %u",
				    (unsigned long long)id->vol_off, mode);
	if (le32_get(lockd->holder_count) > VMFS_LOCK_HOLDERS_MAX)
		return vmfs_corrupt(vol, "lock at 0x%llx: %u holders, at most %u",
				    (unsigned long long)id->vol_off,
				    le32_get(lockd->holder_count), VMFS_LOCK_HOLDERS_MAX);
	if (le32_get(lockd->global_holders) || le64_get(lockd->global_generation) ||
	    le32_get(lockd->global_break))
		return vmfs_corrupt(vol, "lock at 0x%llx: global lock fields are in use",
				    (unsigned long long)id->vol_off);
	return 0;
}

int lock_read(struct vmfs_volume *vol, const struct vmfs_lock_id *id, bool is_new,
	      struct vmfs_lock_disk *ret_lockd)
{
	static const struct vmfs_lock_disk zero;
	int err = lvm_read(&vol->lvm, id->vol_off, ret_lockd, sizeof(*ret_lockd));

	if (err)
		return err;
	if (is_new && !memcmp(ret_lockd, &zero, sizeof(zero)))
		return 0; /* never used: lock_image_take gives it type and address */
	return lock_verify(vol, id, ret_lockd);
}

static bool is_me(const struct vmfs_heartbeat *hb, uint64_t hb_addr, uint64_t hb_gen,
		  const uint8_t owner[16])
{
	return hb_addr == hb->vol_off && hb_gen == hb->generation &&
	       !memcmp(owner, hb->owner.b, 16);
}

/* One holder against its slot, which is read now. */
int lock_judge_holder(struct vmfs_volume *vol, struct vmfs_watch *w, uint64_t lock_off,
			const struct vmfs_lock_holder_disk *holderd, uint32_t mode,
			enum holder_state *ret_state, struct vmfs_holder *ret_holder)
{
	struct vmfs_heartbeat_disk slotd;
	uint64_t gen = le64_get(holderd->hb_gen), age;
	uint32_t slot;

	if (!heartbeat_slot_of(le64_get(holderd->hb_addr), &slot))
		return vmfs_corrupt(vol, "lock at 0x%llx: holder's slot address 0x%llx",
				    (unsigned long long)lock_off,
				    (unsigned long long)le64_get(holderd->hb_addr));
	int err = watch_look(vol, w, slot, &slotd, &age);
	if (err)
		return err;
	uint64_t slot_gen = le64_get(slotd.generation);
	if (slot_gen > gen) {
		*ret_state = HOLDER_STALE;
		return 0;
	}
	if (slot_gen < gen || le32_get(slotd.state) != HEARTBEAT_LIVE ||
	    memcmp(slotd.owner, holderd->owner, 16))
		return vmfs_corrupt(
			vol,
			"lock at 0x%llx: holder (slot %u, generation %llu) does not "
			"match its slot (generation %llu)",
			(unsigned long long)lock_off, slot, (unsigned long long)gen,
			(unsigned long long)slot_gen);
	*ret_state = HOLDER_LIVE;
	ret_holder->mode = mode;
	ret_holder->slot = slot;
	memcpy(ret_holder->owner.b, slotd.owner, 16);
	memset(ret_holder->host_name, 0, sizeof(ret_holder->host_name));
	memcpy(ret_holder->host_name, slotd.ip, sizeof(slotd.ip));
	ret_holder->heartbeat_age_ns = age;
	return 0;
}

/* The n-th holder of a record of any mode; their number. */
unsigned int lock_holders_of(const struct vmfs_lock_disk *lockd,
			       struct vmfs_lock_holder_disk ret[VMFS_LOCK_HOLDERS_MAX])
{
	unsigned int count = 0;

	switch (le32_get(lockd->mode)) {
	case LOCK_EXCLUSIVE:
		ret[0].hb_addr = lockd->hb_addr;
		ret[0].hb_gen = lockd->hb_gen;
		memcpy(ret[0].owner, lockd->owner, 16);
		return 1;
	case LOCK_READ_ONLY:
	case LOCK_MULTI_WRITER:
		count = le32_get(lockd->holder_count);
		memcpy(ret, lockd->holders, count * sizeof(ret[0]));
		return count;
	default:
		return 0;
	}
}

int lock_judge(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	       const struct vmfs_lock_disk *lockd, enum lock_seen *ret_seen,
	       struct vmfs_holder *ret_holder)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	uint32_t mode = le32_get(lockd->mode);
	unsigned int count = lock_holders_of(lockd, holders);
	struct vmfs_watch local;
	struct vmfs_watch *w = vol->member ? &vol->member->watch : &local;
	struct vmfs_holder scratch;
	bool is_first = true;
	int err = 0;

	*ret_seen = count ? SEEN_STALE : SEEN_FREE;
	if (mode == LOCK_EXCLUSIVE && vol->member &&
	    is_me(&vol->member->hb, le64_get(lockd->hb_addr), le64_get(lockd->hb_gen),
		  lockd->owner)) {
		*ret_seen = SEEN_MINE;
		return 0;
	}
	if (!count)
		return 0;
	if (w == &local)
		watch_init(&local);
	for (unsigned int i = 0; !err && i < count; i++) {
		enum holder_state state = HOLDER_STALE;

		err = lock_judge_holder(vol, w, id->vol_off, &holders[i], mode, &state,
				   &scratch);
		if (err || state == HOLDER_STALE)
			continue;
		*ret_seen = mode == LOCK_EXCLUSIVE ? SEEN_HELD : SEEN_SHARED;
		if (ret_holder && is_first)
			*ret_holder = scratch;
		is_first = false;
	}
	if (w == &local)
		watch_done(&local);
	return err;
}

/* ---- images of transitions: LOCKING.md 3.2 ---- */

static void image_next(const struct vmfs_lock_disk *from, uint64_t min_token,
		       struct vmfs_lock_disk *ret_image)
{
	struct vmfs_lock_disk image = *from;

	image.token = le64_of(max_u64(le64_get(from->token) + 1, min_token));
	memset(image.owner, 0, sizeof(image.owner));
	memset(image.holders, 0, sizeof(image.holders));
	image.holder_count = le32_of(0);
	*ret_image = image;
}

void lock_image_take(struct vmfs_volume *vol, const struct vmfs_lock_disk *from,
		     uint64_t min_token, struct vmfs_lock_disk *ret_image)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;

	image_next(from, min_token, ret_image);
	ret_image->mode = le32_of(LOCK_EXCLUSIVE);
	ret_image->hb_addr = le64_of(hb->vol_off);
	ret_image->hb_gen = le64_of(hb->generation);
	memcpy(ret_image->owner, hb->owner.b, 16);
	ret_image->mtime = le64_of(clock_now() / NS_PER_S);
}

void lock_image_release(const struct vmfs_lock_disk *from,
			  struct vmfs_lock_disk *ret_image)
{
	image_next(from, 0, ret_image);
	ret_image->mode = le32_of(LOCK_FREE);
}

/* Joining (or founding) the holders of a shared lock; dead ones are dropped in the same
 * write. -EBUSY: eight live holders. */
int lock_image_join(struct vmfs_volume *vol, const struct vmfs_lock_disk *from,
		      enum vmfs_lock_mode mode, struct vmfs_lock_disk *ret_image)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;
	struct vmfs_lock_holder_disk old[VMFS_LOCK_HOLDERS_MAX];
	unsigned int old_count = le32_get(from->mode) == LOCK_EXCLUSIVE ? 0 :
				 lock_holders_of(from, old);
	unsigned int count = 0;

	image_next(from, 0, ret_image);
	for (unsigned int i = 0; i < old_count; i++) {
		enum holder_state state;
		struct vmfs_holder who;
		int err =
			lock_judge_holder(vol, &vol->member->watch, le64_get(from->addr),
					  &old[i], mode, &state, &who);
		if (err)
			return err;
		if (state == HOLDER_LIVE)
			ret_image->holders[count++] = old[i];
	}
	if (count == VMFS_LOCK_HOLDERS_MAX)
		return -EBUSY;
	struct vmfs_lock_holder_disk *me = &ret_image->holders[count++];
	me->hb_addr = ret_image->hb_addr = le64_of(hb->vol_off);
	me->hb_gen = ret_image->hb_gen = le64_of(hb->generation);
	memcpy(me->owner, hb->owner.b, 16);
	ret_image->holder_count = le32_of(count);
	ret_image->mode = le32_of(mode);
	ret_image->mtime = le64_of(clock_now() / NS_PER_S);
	return 0;
}

/* Our place among the holders of a shared record; holder_count: we are not in it. */
static unsigned int place_of_us(struct vmfs_volume *vol,
				const struct vmfs_lock_disk *lockd)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;
	unsigned int count = le32_get(lockd->holder_count), at = 0;

	while (at < count && !is_me(hb, le64_get(lockd->holders[at].hb_addr),
				    le64_get(lockd->holders[at].hb_gen),
				    lockd->holders[at].owner))
		at++;
	return at;
}

bool lock_lists_us(struct vmfs_volume *vol, const struct vmfs_lock_disk *lockd)
{
	uint32_t mode = le32_get(lockd->mode);

	return (mode == LOCK_READ_ONLY || mode == LOCK_MULTI_WRITER) &&
	       place_of_us(vol, lockd) < le32_get(lockd->holder_count);
}

/*
 * Leaving a shared lock: the last entry moves into our place. -ENOENT: we are not in it.
 */
int lock_image_leave(struct vmfs_volume *vol, const struct vmfs_lock_disk *from,
		     struct vmfs_lock_disk *ret_image)
{
	unsigned int count = le32_get(from->holder_count);
	unsigned int at = place_of_us(vol, from);

	if (!lock_lists_us(vol, from))
		return -ENOENT;
	image_next(from, 0, ret_image);
	if (count == 1) {
		ret_image->mode = le32_of(LOCK_FREE);
		return 0;
	}
	memcpy(ret_image->holders, from->holders, sizeof(from->holders));
	ret_image->holders[at] = ret_image->holders[count - 1];
	memset(&ret_image->holders[count - 1], 0, sizeof(ret_image->holders[0]));
	ret_image->holder_count = le32_of(count - 1);
	return 0;
}
