/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lock records: what one says, and whether its holders live (LOCKING.md 3.2). Nothing
 * here writes; how a record changes: lockimage.c.
 *
 * Invariants:
 *  1 a record is used only after lock_verify();
 *  2 a holder is stale iff its slot, read AFTER the record, shows a later generation; an
 *    earlier one, or another owner under the same, is corruption: refused, never guessed;
 *  3 a record whose global lock fields are in use is not touched: what they mean is not
 *    known (LOCKING.md 20);
 *  4 2 and 3 are for members. A volume that is opened read-only may be another system's,
 *    taken while it was in use: what its records say that cannot be understood holds
 *    nothing, and the object is read as it stands.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/gate.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

static bool has_global(const struct vmfs_lock_disk *lockd)
{
	return le32_get(lockd->global_holders) || le64_get(lockd->global_generation) ||
	       le32_get(lockd->global_break);
}

int lock_verify(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		const struct vmfs_lock_disk *lockd)
{
	struct verify why;

	if ((vol->is_read_only ? verify_lock_place : verify_lock)(lockd, id->type,
								  id->vol_off, &why))
		return vmfs_corrupt(vol, "lock at 0x%llx: %s",
				    (unsigned long long)id->vol_off, why.text);
	if (!vol->is_read_only && has_global(lockd))
		return vmfs_corrupt(
			vol,
			"lock at 0x%llx: its global lock is in use (%u "
			"holders, generation %llu, break %u)",
			(unsigned long long)id->vol_off, le32_get(lockd->global_holders),
			(unsigned long long)le64_get(lockd->global_generation),
			le32_get(lockd->global_break));
	return 0;
}

int lock_read(struct vmfs_volume *vol, const struct vmfs_lock_id *id, bool is_new,
	      struct vmfs_lock_disk *ret_lockd)
{
	static const struct vmfs_lock_disk zero;
	int err = vmfs_gate_read(vol, id->vol_off, ret_lockd, sizeof(*ret_lockd));

	if (err)
		return err;
	if (is_new && !memcmp(ret_lockd, &zero, sizeof(zero)))
		return 0; /* never used: lock_image_take gives it type and address */
	return lock_verify(vol, id, ret_lockd);
}

struct lock_holder lock_me(struct vmfs_volume *vol)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;

	return (struct lock_holder){ .hb_addr = hb->vol_off,
				     .hb_gen = hb->generation,
				     .owner = hb->owner,
				     .now_s = clock_now() / NS_PER_S };
}

void lock_self(struct vmfs_volume *vol, enum vmfs_lock_mode mode,
	       struct vmfs_holder *ret_holder)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;

	*ret_holder = (struct vmfs_holder){ .mode = mode,
					    .owner = hb->owner,
					    .slot = hb->slot };
	memcpy(ret_holder->host_name, hb->host_name, sizeof(hb->host_name));
}

/* One holder against its slot, which is read now. */
int lock_judge_holder(struct vmfs_volume *vol, struct vmfs_watch *w, uint64_t lock_off,
			const struct vmfs_lock_holder_disk *holderd, uint32_t mode,
			enum holder_state *ret_state, struct vmfs_holder *ret_holder)
{
	struct vmfs_heartbeat_disk slotd;
	uint64_t gen = le64_get(holderd->hb_gen), age;
	uint32_t slot;

	if (!watch_slot_of(vol, le64_get(holderd->hb_addr), &slot))
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
	*ret_holder = (struct vmfs_holder){ .mode = mode,
					    .slot = slot,
					    .heartbeat_age_ns = age };
	memcpy(ret_holder->owner.b, slotd.owner, 16);
	memcpy(ret_holder->host_name, slotd.ip, sizeof(slotd.ip));
	return 0;
}

/* Enters one more live holder. */
static void add_holder(struct lock_judgement *j, const struct vmfs_holder *h)
{
	if (!j->has_others) {
		j->who = *h;
		j->who.other_count = 0;
		j->has_others = true;
		return;
	}
	unsigned int i = j->who.other_count++;
	j->who.others[i].owner = h->owner;
	memcpy(j->who.others[i].host_name, h->host_name, sizeof(h->host_name));
	j->who.others[i].slot = h->slot;
	j->who.others[i].heartbeat_age_ns = h->heartbeat_age_ns;
}

static int judge_each(struct vmfs_volume *vol, struct vmfs_watch *w,
		      const struct vmfs_lock_id *id, const struct vmfs_lock_disk *lockd,
		      struct lock_judgement *j)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	uint32_t mode = le32_get(lockd->mode);
	unsigned int count = lock_holders_of(lockd, holders);
	struct lock_holder me = { 0 };

	if (vol->member)
		me = lock_me(vol);
	j->seen = count ? SEEN_STALE : SEEN_FREE;
	for (unsigned int i = 0; i < count; i++) {
		enum holder_state state = HOLDER_LIVE;
		struct vmfs_holder one;

		if (vol->member && lock_is_holder(&holders[i], &me)) {
			j->is_ours = true;
			j->seen = mode == LOCK_EXCLUSIVE ? SEEN_MINE : SEEN_SHARED;
			continue;
		}
		int err = lock_judge_holder(vol, w, id->vol_off, &holders[i], mode,
					    &state, &one);
		if (err == -EUCLEAN && vol->is_read_only) {
			state = HOLDER_STALE; /* invariant 4 */
			err = 0;
		}
		if (err)
			return err;
		if (state == HOLDER_STALE) {
			j->dead |= 1u << i;
			continue;
		}
		j->seen = mode == LOCK_EXCLUSIVE ? SEEN_HELD : SEEN_SHARED;
		add_holder(j, &one);
	}
	return 0;
}

int lock_judge_all(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		   const struct vmfs_lock_disk *lockd, struct lock_judgement *ret)
{
	struct vmfs_watch local;

	*ret = (struct lock_judgement){ .seen = SEEN_FREE };
	if (vol->member)
		return judge_each(vol, &vol->member->watch, id, lockd, ret);
	watch_init(&local);
	int err = judge_each(vol, &local, id, lockd, ret);
	watch_done(&local);
	return err;
}

int lock_judge(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	       const struct vmfs_lock_disk *lockd, enum lock_seen *ret_seen,
	       struct vmfs_holder *ret_holder)
{
	struct lock_judgement j;
	int err = lock_judge_all(vol, id, lockd, &j);

	*ret_seen = j.seen;
	if (ret_holder && j.has_others)
		*ret_holder = j.who;
	else if (ret_holder && j.is_ours)
		lock_self(vol, (enum vmfs_lock_mode)le32_get(lockd->mode), ret_holder);
	return err;
}

/*
 * An exclusive record is left by its holder, or by others once its generation is over; to
 * end that they need the liveness lock that this kernel keeps for us, and no other kernel
 * reaches the file. What we sent ourselves has a known fate. The lease is a second net.
 */
bool lock_is_ours_alone(const struct vmfs_volume *vol, const struct held_lock *h)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;
	struct bdev *bd;
	uint64_t dev_off, run;

	return h->mode == LOCK_EXCLUSIVE && !h->is_release_sent && hb->has_liveness &&
	       hb->bd->is_one_kernels &&
	       !lvm_map(&vol->lvm, h->id.vol_off, &bd, &dev_off, &run) &&
	       bd->is_one_kernels && heartbeat_lease_age(hb) < hb->timing.stop_ns;
}
