/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fencing by persistent reservations (LOCKING.md 9.3): one key per incarnation,
 * registered on every session; a reservation of type 7 (Write Exclusive, All Registrants)
 * that lets only registered sessions write. Who is to be fenced loses its key.
 *
 *            fence_register        fence_reserve               another: fence_victim
 *   no key ------------------> key ---------------> key, type 7 -------------> fenced
 *             (slot FREE)        (slot LIVE)          ^      |                (for ever)
 *                                                     |      | the target forgot all keys
 *                                   our slot is still |      v
 *                                   ours: register    '-- no key (fence_check)
 *
 * Invariants:
 *  1 a key is registered before the slot that shows it goes LIVE: whoever finds the slot
 *    dead finds a key that fences it;
 *  2 no answer to a reservation command is believed: READ KEYS decides (rule R4; LIO says
 *    NOT READY to a REGISTER that took effect, CONFLICT to the preemption of a key that
 *    is gone);
 *  3 a host whose key was taken away by another never registers again: only when its own
 *    heartbeat still runs AFTER the loss was seen was the key lost, not taken;
 *  4 the key stays when its host leaves ("parked"): the reservation needs a registrant,
 *    or a host that was fenced long ago could write again. Who joins removes the keys of
 *    generations that are over.
 *
 * A crash between register and the slot's cas leaves the key of a generation that is
 * still to come. It does no harm: who gets that generation registers the same key, and
 * loses it with all sessions that have it.
 *
 * The barrier (9.4): a target may have accepted commands of the victim before it lost its
 * key, and finish them later. A login with the victim's name and ISID ends its session,
 * and all commands of it, before it succeeds. ISIDs: that of extent 0 stands in the slot;
 * extent i has the same with 2i more in its last byte, if its host keeps to that; else
 * the slot shows none. Of several paths the slot shows how many, and the portal group of
 * each; their ISIDs follow from the first (bdev/fence.h). Without one, or if it is not
 * let in: LOGICAL UNIT RESET, where the operator has asked for it, since all hosts'
 * commands end; else we wait T_tgt. A login that is neither let in nor refused is no
 * "not let in": the target waits for a command that it has, however long, and so do we.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "base/env.h"
#include "vmfs/fence.h"
#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define KEY_PREFIX 0x564Dull
#define TRIES 4u
#define PAUSE_NS (200 * NS_PER_MS)
#define REINSTATE_NS (12 * NS_PER_S)
#define RESET_NS (60 * NS_PER_S) /* LIO waits for a host that is gone: 46 s measured */

uint64_t fence_key(uint32_t slot, uint64_t generation)
{
	return KEY_PREFIX << 48 | (uint64_t)slot << 32 | (uint32_t)generation;
}

bool fence_key_parse(uint64_t key, uint32_t *ret_slot, uint32_t *ret_generation_low)
{
	uint32_t slot = (uint32_t)(key >> 32 & 0xffff);

	if (key >> 48 != KEY_PREFIX || slot >= VMFS_HEARTBEATS_COUNT)
		return false;
	*ret_slot = slot;
	*ret_generation_low = (uint32_t)key;
	return true;
}

/* ---- all sessions ---- */

static struct vmfs_fence *fence_of(struct vmfs_volume *vol)
{
	return &vol->member->fence;
}

static struct bdev *extent_bd(struct vmfs_volume *vol, unsigned int i)
{
	return vol->lvm.extents[i].bd;
}

/* The heartbeat's own session to extent 0, if it has one. */
static struct bdev *own_bd(struct vmfs_volume *vol)
{
	struct bdev *bd = vol->member->hb.bd;

	return bd != extent_bd(vol, 0) ? bd : NULL;
}

/* How many of our sessions extent i has. */
static uint32_t sessions_of(struct vmfs_volume *vol, unsigned int i)
{
	return i == 0 && own_bd(vol) ? 2 : 1;
}

static uint32_t events_of(struct vmfs_volume *vol)
{
	uint32_t sum = own_bd(vol) ? bdev_events(own_bd(vol)) : 0;

	for (unsigned int i = 0; i < vol->lvm.extent_count; i++)
		sum += bdev_events(extent_bd(vol, i));
	return sum;
}

static uint32_t count_of(const struct bdev_pr_state *state, uint64_t key)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < state->key_count; i++)
		count += state->keys[i] == key;
	return count;
}

/* READ KEYS and READ RESERVATION, again while the target is busy. */
static int read_state(struct bdev *bd, struct bdev_pr_state *ret_state)
{
	int err = -EIO;

	for (unsigned int n = 0; n < TRIES; n++) {
		err = bdev_pr_read(bd, ret_state);
		if (err != -EBUSY && err != -ETIMEDOUT)
			return err;
		task_sleep_until(clock_now() + PAUSE_NS);
	}
	return err;
}

/* ---- joining ---- */

/* Why nobody can join here; 0: nothing speaks against it. */
static int check_reservation(struct vmfs_volume *vol, struct bdev *bd,
			     const struct bdev_pr_state *state)
{
	if (!state->is_reserved || state->type == BDEV_PR_TYPE_WE_AR)
		return 0;
	return report_error(
		vol->reporter, -EBUSY,
		"%s: a persistent reservation of type %u stands on it, not of "
		"type 7: its owner must give it up first",
		bd->name, state->type);
}

static int look_at(struct vmfs_volume *vol, struct bdev *bd, struct bdev_pr_state *state)
{
	struct vmfs_fence *f = fence_of(vol);
	int err = read_state(bd, state);

	if (err == -EOPNOTSUPP) {
		f->is_pr = false;
		return 0;
	}
	if (err)
		return report_error(vol->reporter, err,
				    "%s: cannot read the reservation keys: %s", bd->name,
				    strerror(-err));
	f->is_reserved |= state->is_reserved;
	return check_reservation(vol, bd, state);
}

int fence_look(struct vmfs_volume *vol, uint32_t slot)
{
	struct vmfs_fence *f = fence_of(vol);
	AUTO_FREE struct bdev_pr_state *state = malloc(sizeof(*state));
	struct vmfs_heartbeat_disk slotd;
	int err = state ? 0 : -ENOMEM;

	f->is_pr = true;
	for (unsigned int i = 0; !err && i < vol->lvm.extent_count; i++)
		err = look_at(vol, extent_bd(vol, i), state);
	if (err || !f->is_pr || !f->is_reserved)
		return err;
	err = lvm_read(&vol->lvm, watch_slot_off(vol, slot), &slotd, sizeof(slotd));
	if (err)
		return err;
	return fence_register(vol, fence_key(slot, le64_get(slotd.generation) + 1));
}

static bool has_key(const struct vmfs_heartbeat_disk *slotd)
{
	return le32_get(slotd->xmagic) == HEARTBEAT_XMAGIC && slotd->fence & FENCE_PR;
}

/* A LIVE slot of a host that has no key and would be shut out by a reservation. */
static bool is_keyless(const struct vmfs_heartbeat_disk *slotd)
{
	return le32_get(slotd->state) == HEARTBEAT_LIVE && !has_key(slotd);
}

/* Some targets (LIO) fence all sessions of one initiator name together. */
static void warn_of_namesakes(struct vmfs_volume *vol,
			      const struct vmfs_heartbeat_disk *slots)
{
	struct bdev_nexus own;

	if (bdev_nexus(extent_bd(vol, 0), &own))
		return;
	for (uint32_t i = 0; i < watch_slot_count(vol); i++) {
		const struct vmfs_heartbeat_disk *slotd = &slots[i];

		if (le32_get(slotd->state) == HEARTBEAT_LIVE && has_key(slotd) &&
		    !strncmp((const char *)slotd->initiator, own.initiator,
			     sizeof(slotd->initiator)) &&
		    memcmp(slotd->isid, own.isid, sizeof(own.isid)))
			report(vol->reporter, REPORT_WARN,
			       "volume %s: the member in slot %u has this host's "
			       "initiator name %s: fencing one of them may shut out both",
			       vol->label, i, own.initiator);
	}
}

/*
 * No reservation stands, and members show keys: the target has forgotten them, and they
 * may not have seen it yet. A reservation made now would shut them out (register_again).
 */
static bool are_keys_forgotten(struct vmfs_volume *vol,
			       const struct vmfs_heartbeat_disk *slots)
{
	bool is_any = false;

	for (uint32_t i = 0; i < watch_slot_count(vol); i++) {
		if (le32_get(slots[i].state) != HEARTBEAT_LIVE || !has_key(&slots[i]))
			continue;
		if (heartbeat_is_claimed(&slots[i]))
			return false; /* somebody has to be kept out, now */
		is_any = true;
	}
	return is_any;
}

int fence_choose(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slots,
		 bool has_ats)
{
	struct vmfs_fence *f = fence_of(vol);
	uint32_t i = 0;

	if (!has_ats)
		f->is_pr = false;
	/* Where a reservation stands such a host is shut out already. */
	while (f->is_pr && !f->is_reserved && i < watch_slot_count(vol))
		if (is_keyless(&slots[i++]))
			f->is_pr = false;
	if (f->is_pr)
		warn_of_namesakes(vol, slots);
	f->is_late = f->is_pr && !f->is_reserved && are_keys_forgotten(vol, slots);
	if (!f->is_pr && has_ats && i)
		report(vol->reporter, REPORT_INFO,
		       "volume %s: the host in slot %u has no reservation key: this "
		       "one uses none either (timed mode)",
		       vol->label, i - 1);
	return 0;
}

/* REGISTER on one session; what came of it is read back by the caller. */
static int register_one(struct bdev *bd, uint64_t key)
{
	int err = bdev_pr(bd, BDEV_PR_REGISTER, key, 0);

	return err == -ETIMEDOUT || err == -EBUSY ? 0 : err;
}

/*
 * A target may have a registration under this session's name, of an incarnation that is
 * over, and refuse its writes all the same (LIO, after another session of this initiator
 * was fenced): only an unregistering makes that good. Not so for the only registrant:
 * the reservation would go.
 */
static int unregister_old(struct vmfs_volume *vol, unsigned int i, struct bdev *bd,
			  struct bdev_pr_state *state)
{
	/* Beside a further session of ours nothing depends on who is registered. */
	bool is_second = bd == own_bd(vol);
	int err = fence_of(vol)->key ? -EALREADY : is_second ? 0 : read_state(bd, state);

	if (err || (!is_second && !state->key_count) ||
	    (state->key_count == 1 && sessions_of(vol, i) == 1))
		return err == -EALREADY ? 0 : err;
	return register_one(bd, 0);
}

static int send_register(struct vmfs_volume *vol, uint64_t key,
			 struct bdev_pr_state *state)
{
	for (unsigned int i = 0; i <= vol->lvm.extent_count; i++) {
		bool is_own = i == vol->lvm.extent_count;
		struct bdev *bd = is_own ? own_bd(vol) : extent_bd(vol, i);
		int err = bd ? unregister_old(vol, is_own ? 0 : i, bd, state) : 0;

		if (bd && !err)
			err = register_one(bd, key);
		if (err)
			return err;
	}
	return 0;
}

/* 0: our key is on every session; -EAGAIN: not; -errno. */
static int check_registered(struct vmfs_volume *vol, uint64_t key,
			    struct bdev_pr_state *state)
{
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		int err = read_state(extent_bd(vol, i), state);
		if (err)
			return err;
		if (count_of(state, key) < sessions_of(vol, i))
			return -EAGAIN;
	}
	return 0;
}

int fence_register(struct vmfs_volume *vol, uint64_t key)
{
	struct vmfs_fence *f = fence_of(vol);

	if (!f->is_pr || f->key == key)
		return 0;
	AUTO_FREE struct bdev_pr_state *state = malloc(sizeof(*state));
	if (!state)
		return -ENOMEM;
	int err = -EAGAIN;
	f->events = events_of(vol);
	for (unsigned int n = 0; err == -EAGAIN && n < TRIES; n++) {
		err = send_register(vol, key, state);
		if (!err)
			err = check_registered(vol, key, state);
	}
	if (err == -EOPNOTSUPP && !f->is_reserved) {
		f->is_pr = false;
		return 0;
	}
	if (err)
		return report_error(vol->reporter, err == -EAGAIN ? -EIO : err,
				    "volume %s: the storage does not take this host's "
				    "reservation key %016llx",
				    vol->label, (unsigned long long)key);
	f->key = key;
	return 0;
}

/* Do they differ in nothing but what the number of the extent makes of it? */
static bool is_alike(const struct bdev_nexus *first, const struct bdev_nexus *n)
{
	return !strcmp(n->initiator, first->initiator) &&
	       !memcmp(n->isid, first->isid, sizeof(n->isid)) && n->tpgt == first->tpgt &&
	       n->paths == first->paths &&
	       !memcmp(n->tpgts, first->tpgts, sizeof(n->tpgts));
}

/* Our end of extent 0's sessions, if those of all extents follow from it. */
static bool find_nexus(struct vmfs_volume *vol, struct bdev_nexus *ret_nexus)
{
	struct bdev_nexus first, n;

	if (bdev_nexus(extent_bd(vol, 0), &first) || first.is_partial ||
	    first.paths > HEARTBEAT_PATHS_MAX)
		return false;
	for (unsigned int i = 1; i < vol->lvm.extent_count; i++) {
		if (bdev_nexus(extent_bd(vol, i), &n) || n.is_partial)
			return false;
		n.isid[5] = (uint8_t)(n.isid[5] - 2 * i);
		if (!is_alike(&first, &n))
			return false;
	}
	*ret_nexus = first;
	return strlen(first.initiator) <
	       sizeof(((struct vmfs_heartbeat_disk *)NULL)->initiator);
}

void fence_show(struct vmfs_volume *vol, struct vmfs_heartbeat_disk *hbd)
{
	struct vmfs_fence *f = fence_of(vol);
	struct bdev_nexus nexus;
	bool has_nexus = find_nexus(vol, &nexus);

	memset(hbd->initiator, 0, sizeof(hbd->initiator));
	memset(hbd->isid, 0, sizeof(hbd->isid));
	hbd->tpgt = le16_of(0);
	hbd->paths = 0;
	memset(hbd->path_tpgts, 0, sizeof(hbd->path_tpgts));
	hbd->pr_key = le64_of(f->is_pr ? f->key : 0);
	if (!f->is_pr)
		return;
	hbd->fence |= FENCE_PR;
	hbd->dead_ms =
		le32_of((uint32_t)(vol->member->hb.timing.lease_ns / NS_PER_MS));
	if (!has_nexus)
		return;
	memcpy(hbd->initiator, nexus.initiator, strlen(nexus.initiator));
	memcpy(hbd->isid, nexus.isid, sizeof(hbd->isid));
	hbd->tpgt = le16_of(nexus.tpgt);
	hbd->paths = nexus.paths;
	for (unsigned int i = 1; i < nexus.paths; i++)
		hbd->path_tpgts[i - 1] = le16_of(nexus.tpgts[i]);
}

/* 0: a reservation of type 7 stands on bd. */
static int reserve_one(struct bdev *bd, uint64_t key, struct bdev_pr_state *state)
{
	int err = -EIO;

	for (unsigned int n = 0; n < TRIES; n++) {
		err = read_state(bd, state);
		if (err)
			return err;
		if (state->is_reserved)
			return state->type == BDEV_PR_TYPE_WE_AR ? 0 : -EBUSY;
		err = bdev_pr(bd, BDEV_PR_RESERVE, key, 0);
		if (err == -EOPNOTSUPP || err == -ENODEV)
			return err;
	}
	return err ? err : -EIO;
}

static int reserve_all(struct vmfs_volume *vol, struct bdev_pr_state *state)
{
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		int err = reserve_one(extent_bd(vol, i), fence_of(vol)->key, state);
		if (err)
			return report_error(vol->reporter, err,
					    "%s: the reservation cannot be made: %s",
					    extent_bd(vol, i)->name, strerror(-err));
	}
	return 0;
}

int fence_extend(struct vmfs_volume *vol, struct bdev *bd)
{
	struct vmfs_fence *f = fence_of(vol);

	if (!f->is_pr)
		return 0;
	AUTO_FREE struct bdev_pr_state *state = malloc(sizeof(*state));
	int err = state ? -EAGAIN : -ENOMEM;
	for (unsigned int n = 0; err == -EAGAIN && n < TRIES; n++) {
		err = register_one(bd, f->key);
		if (!err)
			err = read_state(bd, state);
		if (!err && !count_of(state, f->key))
			err = -EAGAIN;
	}
	if (!err && f->is_reserved)
		err = reserve_one(bd, f->key, state);
	if (err)
		return report_error(vol->reporter, err,
				    "%s: does not take this host's reservation key: %s",
				    bd->name, strerror(-err));
	return 0;
}

/* Is the generation of this key over? Its slot is read after the key was. */
static bool is_over(struct vmfs_volume *vol, uint64_t key)
{
	struct vmfs_heartbeat_disk slotd;
	uint32_t slot, generation;

	if (!fence_key_parse(key, &slot, &generation) ||
	    lvm_read(&vol->lvm, watch_slot_off(vol, slot), &slotd, sizeof(slotd)) ||
	    heartbeat_verify(&slotd, watch_slot_off(vol, slot)))
		return false;
	return (int32_t)((uint32_t)le64_get(slotd.generation) - generation) > 0;
}

/* Keys that hosts left behind. What cannot be removed now is left to who joins next. */
static void remove_old_keys(struct vmfs_volume *vol, struct bdev_pr_state *state)
{
	uint64_t own = fence_of(vol)->key;

	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		uint64_t last = own;

		if (read_state(extent_bd(vol, i), state))
			continue;
		for (uint32_t k = 0; k < state->key_count; k++) {
			uint64_t key = state->keys[k];

			if (key == own || key == last || !is_over(vol, key))
				continue;
			last = key;
			int err = bdev_pr(extent_bd(vol, i), BDEV_PR_PREEMPT, own, key);
			(void)err; /* read again by who joins next */
		}
	}
}

int fence_reserve(struct vmfs_volume *vol)
{
	struct vmfs_fence *f = fence_of(vol);

	if (!f->is_pr)
		return 0;
	if (f->is_late) {
		f->reserve_at = clock_now() + 2 * vol->member->hb.timing.renew_ns;
		return 0;
	}
	AUTO_FREE struct bdev_pr_state *state = malloc(sizeof(*state));
	if (!state)
		return -ENOMEM;
	int err = reserve_all(vol, state);
	if (!err)
		remove_old_keys(vol, state);
	return err;
}

/* ---- while a member ---- */

static int die_fenced(struct vmfs_volume *vol)
{
	heartbeat_die(&vol->member->hb, -ESTALE,
		      "another host has fenced it: its reservation key is gone");
	return -ESTALE;
}

/* Is somebody's recovery under way, or perhaps still to be done again? */
static bool is_any_claimed(struct vmfs_volume *vol)
{
	const uint32_t count = watch_slot_count(vol);
	const uint64_t size = watch_slots_size(vol, count);
	AUTO_FREE struct vmfs_heartbeat_disk *slots = malloc(size);

	if (!slots || lvm_read(&vol->lvm, VMFS_HEARTBEATS_OFF, slots, size))
		return true; /* not known: as if */
	watch_pack_slots(vol, slots, count);
	for (uint32_t i = 0; i < count; i++)
		if (le32_get(slots[i].state) == HEARTBEAT_LIVE &&
		    heartbeat_is_claimed(&slots[i]))
			return true;
	return false;
}

/*
 * The target has forgotten keys. Others may not have seen it yet: with the reservation
 * they would be shut out. They have two renewals' time to register again, unless a dead
 * host may have to be kept out right now.
 */
static void register_again(struct vmfs_volume *vol)
{
	struct vmfs_fence *f = fence_of(vol);
	uint64_t key = f->key;

	if (!heartbeat_is_renewed_after(&vol->member->hb, clock_now()))
		return; /* dead, or asked again at the next turn */
	f->key = ~key; /* not this one, and not none: nothing is unregistered first */
	int err = fence_register(vol, key);
	f->key = key;
	if (err)
		return;
	f->reserve_at = clock_now() + 2 * vol->member->hb.timing.renew_ns;
	if (is_any_claimed(vol))
		f->reserve_at = clock_now();
	report(vol->reporter, REPORT_WARN,
	       "volume %s: the storage had lost this host's reservation key; it is "
	       "registered again",
	       vol->label);
}

static void reserve_again(struct vmfs_volume *vol)
{
	struct vmfs_fence *f = fence_of(vol);
	AUTO_FREE struct bdev_pr_state *state = malloc(sizeof(*state));

	if (state && !reserve_all(vol, state))
		f->reserve_at = 0;
}

/*
 * Paths that have come since are registered, too. true: none is left. As in
 * register_again(): only who is alive after he has seen it does that.
 */
static bool join_paths(struct vmfs_volume *vol)
{
	struct bdev_nexus nexus;
	bool is_any = false;
	int err = 0;

	for (unsigned int i = 0; i <= vol->lvm.extent_count; i++) {
		bool is_own = i == vol->lvm.extent_count;
		struct bdev *bd = is_own ? own_bd(vol) : extent_bd(vol, i);

		if (!bd || bdev_nexus(bd, &nexus) || !nexus.lacks_key)
			continue;
		if (!is_any && !heartbeat_is_renewed_after(&vol->member->hb, clock_now()))
			return false;
		is_any = true;
		err = err ? err : bdev_pr(bd, BDEV_PR_JOIN, fence_of(vol)->key, 0);
	}
	return !err;
}

static void check(struct vmfs_volume *vol)
{
	struct vmfs_fence *f = fence_of(vol);

	if (f->reserve_at && clock_now() >= f->reserve_at)
		reserve_again(vol);
	uint32_t events = events_of(vol);
	if (events == f->events)
		return;
	AUTO_FREE struct bdev_pr_state *state = malloc(sizeof(*state));
	int err = state ? check_registered(vol, f->key, state) : -ENOMEM;
	if (err == -EAGAIN)
		register_again(vol);
	else if (!err && join_paths(vol))
		f->events = events;
}

void fence_check(struct vmfs_volume *vol)
{
	struct vmfs_fence *f = fence_of(vol);

	if (!f->is_pr || heartbeat_dead(&vol->member->hb))
		return;
	sleeplock_acquire(&f->lock);
	check(vol);
	sleeplock_release(&f->lock);
}

/* ---- taking over ---- */

uint64_t fence_dead_after(struct vmfs_volume *vol,
			  const struct vmfs_heartbeat_disk *slotd)
{
	const struct vmfs_timing *t = &vol->member->hb.timing;
	uint64_t theirs = le32_get(slotd->xmagic) == HEARTBEAT_XMAGIC ?
			  le32_get(slotd->dead_ms) * NS_PER_MS : 0;
	bool is_fenced = fence_of(vol)->is_pr && has_key(slotd);

	return max_u64(is_fenced ? t->lease_ns : t->dead_ns, theirs);
}

static uint64_t key_of(const struct vmfs_volume *vol,
		       const struct vmfs_heartbeat_disk *slotd)
{
	uint32_t slot;

	if (!watch_slot_of(vol, le64_get(slotd->addr), &slot))
		return 0;
	return fence_key(slot, le64_get(slotd->generation));
}

/* -ESTALE of a device that is cut says nothing; the keys say who is fenced. */
static int not_fenced(int err)
{
	return err == -ESTALE ? -EAGAIN : err;
}

/* One extent: 0, -ESTALE (we are fenced), -EAGAIN, -errno. */
static int fence_extent(struct vmfs_volume *vol, struct bdev *bd, uint64_t victim,
			struct bdev_pr_state *state)
{
	uint64_t own = fence_of(vol)->key;
	int err = -EAGAIN;

	for (unsigned int n = 0; n < TRIES; n++) {
		int sent = bdev_pr(bd, BDEV_PR_PREEMPT, own, victim);
		err = read_state(bd, state);
		if (err)
			return not_fenced(err);
		if (!count_of(state, own))
			return -ESTALE;
		if (!count_of(state, victim))
			return not_fenced(reserve_one(bd, own, state));
		err = sent ? sent : -EAGAIN;
		task_sleep_until(clock_now() + PAUSE_NS);
	}
	return not_fenced(err);
}

int fence_victim(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *claimed)
{
	struct vmfs_fence *f = fence_of(vol);

	if (!f->is_pr || !has_key(claimed))
		return 0; /* T_dead is what it is because of that */
	uint64_t victim = key_of(vol, claimed);
	assert(victim != f->key);
	AUTO_FREE struct bdev_pr_state *state = malloc(sizeof(*state));
	int err = state ? 0 : -ENOMEM;
	for (unsigned int i = 0; !err && i < vol->lvm.extent_count; i++)
		err = fence_extent(vol, extent_bd(vol, i), victim, state);
	if (err == -ESTALE)
		return die_fenced(vol);
	if (err)
		report(vol->reporter, REPORT_WARN,
		       "volume %s: the reservation key %016llx of dead host %.46s "
		       "cannot be removed yet: %s",
		       vol->label, (unsigned long long)victim,
		       (const char *)claimed->ip, strerror(-err));
	return err;
}

/* The victim's sessions to extent i; false: the slot does not say. */
static bool nexus_of(const struct vmfs_heartbeat_disk *slotd, unsigned int i,
		     struct bdev_nexus *ret_nexus)
{
	struct bdev_nexus n = { .tpgt = le16_get(slotd->tpgt) };

	memcpy(n.initiator, slotd->initiator, sizeof(slotd->initiator) - 1);
	memcpy(n.isid, slotd->isid, sizeof(n.isid));
	n.isid[5] = (uint8_t)(n.isid[5] + 2 * i);
	n.tpgts[0] = n.tpgt;
	n.paths = slotd->paths;
	for (unsigned int k = 1; k < HEARTBEAT_PATHS_MAX; k++)
		n.tpgts[k] = le16_get(slotd->path_tpgts[k - 1]);
	*ret_nexus = n;
	return n.initiator[0] && n.paths <= HEARTBEAT_PATHS_MAX;
}

/*
 * Our own session on this extent has the name of the victim's: it has replaced it. Of
 * several each has to be looked at: bdev_reinstate().
 */
static bool is_our_nexus(struct bdev *bd, const struct bdev_nexus *victim)
{
	struct bdev_nexus own;

	return !bdev_nexus(bd, &own) && victim->paths <= 1 && own.paths <= 1 &&
	       !strcmp(own.initiator, victim->initiator) &&
	       !memcmp(own.isid, victim->isid, sizeof(own.isid));
}

static int reinstate_all(struct vmfs_volume *vol,
			 const struct vmfs_heartbeat_disk *claimed)
{
	struct bdev_nexus victim;
	int err = 0;

	for (unsigned int i = 0; !err && i < vol->lvm.extent_count; i++) {
		struct bdev *bd = extent_bd(vol, i);

		if (!nexus_of(claimed, i, &victim))
			return -EOPNOTSUPP;
		if (!is_our_nexus(bd, &victim))
			err = bdev_reinstate(bd, &victim, clock_now() + REINSTATE_NS);
	}
	return err;
}

static int reset_all(struct vmfs_volume *vol)
{
	uint64_t deadline = clock_now() + RESET_NS;
	int err = 0;

	report(vol->reporter, REPORT_WARN,
	       "volume %s: its LUNs are reset, to end what a dead host had on the way",
	       vol->label);
	for (unsigned int i = 0; !err && i < vol->lvm.extent_count; i++)
		err = bdev_reset(extent_bd(vol, i), deadline);
	return err;
}

int fence_barrier(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *claimed)
{
	uint64_t fenced_at = clock_now();

	if (!fence_of(vol)->is_pr || !has_key(claimed))
		return 0;
	int err = reinstate_all(vol, claimed);
	/*
	 * Neither let in nor refused: the target still works on a command of the dead
	 * host's, for longer than T_tgt by now. No wait is a barrier there.
	 */
	bool is_held = err == -ETIMEDOUT;
	if (err && fence_of(vol)->resets_units)
		err = reset_all(vol);
	if (err && is_held) {
		report(vol->reporter, REPORT_WARN,
		       "volume %s: the storage has not ended the session of dead host "
		       "%.46s yet: its locks are not taken before it has",
		       vol->label, (const char *)claimed->ip);
		return -EAGAIN;
	}
	if (err)
		task_sleep_until(fenced_at + vol->member->hb.timing.residue_ns);
	return heartbeat_dead(&vol->member->hb);
}
