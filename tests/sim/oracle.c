/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The invariants as assertions: see oracle.h. What belongs to whom is in ownermap.c.
 *
 * An incarnation is a taking of a slot; a command belongs to the newest incarnation of
 * its host that had been begun when it was submitted.
 */
#include "tests/sim/oracle.h"

#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "tests/sim/ownermap.h"
#include "vmfs/fence.h"
#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define SECTOR 512u
#define INCARNATIONS_MAX 256u
#define HOSTS_MAX 64u
/* Between a check at the gate and the submission, without a pause. */
#define SUBMIT_SLACK_NS (500 * NS_PER_MS)
/* After its trouble a host renews within this, or is lost by then. */
#define RECOVERY_NS (40 * NS_PER_S)
/* A record that the table does not know is met and adopted, or is left behind. */
#define GHOST_NS (45 * NS_PER_S)

struct incarnation {
	struct uuid owner;
	const struct sim_host *host;
	uint64_t slot_off, generation;
	uint64_t begun;    /* the taking of the slot was submitted */
	uint64_t renewed;  /* submission of the newest renewal that ran */
	uint64_t shown_at; /* the present image took effect */
	uint64_t dead_ns;
	uint64_t claimed_at, over_at; /* 0: not */
	/* Of its journal; full: submission of the write that made it not empty, or 0. */
	uint64_t journal_off, full_since;
	bool has_liveness, has_pr, has_left, is_lost;
};

struct host {
	const struct sim_host *host;
	bool is_troubled;
	uint64_t trouble_end, resumed;
	uint64_t gave_up_since, gave_up_at; /* of its last mount that failed */
};

struct oracle {
	struct simdisk *disk;
	enum bdev_caw_class caw;
	struct vmfs_volume *vol;
	struct ownermap *map;
	struct incarnation incarnations[INCARNATIONS_MAX];
	struct host hosts[HOSTS_MAX];
	unsigned int incarnation_count, host_count;
	struct host all; /* trouble of everybody */
	bool is_rude, is_stated;
	uint64_t transitions;
};

static unsigned int unseen; /* see oracle_look_away() */

static bool is_seen(unsigned int invariant)
{
	return !(unseen & 1u << invariant);
}

void oracle_look_away(unsigned int invariants)
{
	unseen = invariants;
}

static uint64_t vol_off_of(uint64_t dev_off)
{
	return dev_off - LVM_DATA_OFF;
}

/* ---- who ---- */

static struct incarnation *by_owner(struct oracle *o, const uint8_t owner[16])
{
	for (unsigned int i = 0; i < o->incarnation_count; i++)
		if (!memcmp(o->incarnations[i].owner.b, owner, 16))
			return &o->incarnations[i];
	return NULL;
}

static struct incarnation *by_command(struct oracle *o, const struct sim_host *h,
				      uint64_t submitted)
{
	for (unsigned int i = o->incarnation_count; i-- > 0;)
		if (o->incarnations[i].host == h && o->incarnations[i].begun <= submitted)
			return &o->incarnations[i];
	return NULL;
}

static const char *name_of(const struct incarnation *inc)
{
	return inc ? sim_host_name(inc->host) : "nobody";
}

static struct host *host_of(struct oracle *o, const struct sim_host *h)
{
	if (!h)
		return &o->all;
	for (unsigned int i = 0; i < o->host_count; i++)
		if (o->hosts[i].host == h)
			return &o->hosts[i];
	SIM_CHECK(o->host_count < HOSTS_MAX);
	o->hosts[o->host_count] = (struct host){ .host = h };
	return &o->hosts[o->host_count++];
}

static bool has_excuse(const struct host *h)
{
	return h->is_troubled ||
	       (h->trouble_end && sim_time() < h->trouble_end + RECOVERY_NS);
}

static bool is_excused(struct oracle *o, const struct sim_host *h)
{
	return o->is_rude || sim_host_is_dead(h) || has_excuse(host_of(o, h)) ||
	       has_excuse(&o->all);
}

void oracle_trouble(struct oracle *o, const struct sim_host *h, bool is_troubled)
{
	struct host *host = host_of(o, h);

	if (host->is_troubled || is_troubled)
		host->trouble_end = sim_time();
	host->is_troubled = is_troubled;
}

void oracle_rude(struct oracle *o, bool is_rude)
{
	o->is_rude = is_rude;
}

void oracle_statement(struct oracle *o)
{
	o->is_stated = true;
}

void oracle_power_failed(struct oracle *o)
{
	ownermap_forget(o->map);
}

void oracle_resumed(struct oracle *o, const struct sim_host *h)
{
	host_of(o, h)->resumed = sim_time();
}

static struct incarnation *newest_of(const struct oracle *o, const struct sim_host *h)
{
	union {
		const struct oracle *in;
		struct oracle *out;
	} both = { .in = o };

	return by_command(both.out, h, UINT64_MAX);
}

void oracle_lost(struct oracle *o, const struct sim_host *h)
{
	struct incarnation *inc = newest_of(o, h);

	if (!inc)
		return;
	inc->is_lost = true;
	if (!inc->claimed_at && !inc->over_at && !is_excused(o, h))
		sim_fail("L3: %s gives the volume up without reason", sim_host_name(h));
}

void oracle_gave_up(struct oracle *o, const struct sim_host *h, uint64_t since)
{
	struct host *host = host_of(o, h);

	host->gave_up_since = since;
	host->gave_up_at = sim_time();
	for (unsigned int i = 0; i < o->incarnation_count; i++)
		if (o->incarnations[i].host == h && o->incarnations[i].begun >= since)
			o->incarnations[i].is_lost = true;
}

uint64_t oracle_over_since(const struct oracle *o, const struct sim_host *h)
{
	const struct incarnation *inc = newest_of(o, h);

	return inc ? inc->over_at : 0;
}

uint64_t oracle_transitions(const struct oracle *o)
{
	return o->transitions;
}

/* ---- slots ---- */

static void read_slot(struct oracle *o, uint64_t slot_off,
		      struct vmfs_heartbeat_disk *ret)
{
	simdisk_peek(o->disk, ret, SECTOR, LVM_DATA_OFF + slot_off);
}

static bool is_zero(const struct oracle *o, uint64_t dev_off)
{
	static const uint8_t zeros[SECTOR];
	uint8_t sector[SECTOR];

	simdisk_peek(o->disk, sector, SECTOR, dev_off);
	return !memcmp(sector, zeros, SECTOR) && simdisk_is_stable(o->disk, dev_off);
}

/*
 * Did its journal hold something when this was submitted? What was logged afterwards does
 * not matter: it was logged without the lock that leaves.
 */
static bool had_full_journal(struct oracle *o, const struct incarnation *inc,
			     uint64_t submitted_at)
{
	struct vmfs_heartbeat_disk slotd;

	read_slot(o, inc->slot_off, &slotd);
	return le64_get(slotd.generation) == inc->generation &&
	       le32_get(slotd.journal_addr) &&
	       !is_zero(o, LVM_DATA_OFF + le64_get(slotd.journal_vol_off)) &&
	       inc->full_since && inc->full_since < submitted_at;
}

/* Sector 0 of a journal is written. */
static void note_log(struct incarnation *inc, const struct simdisk_effect *e,
		     const uint8_t *after)
{
	static const uint8_t zeros[SECTOR];

	/* An emptying that is not durable does not count: full_since stays. */
	if (memcmp(after, zeros, SECTOR))
		inc->full_since = e->submitted_at;
}

static void begin(struct oracle *o, const struct simdisk_effect *e,
		  const struct vmfs_heartbeat_disk *is)
{
	SIM_CHECK(o->incarnation_count < INCARNATIONS_MAX);
	struct incarnation *inc = &o->incarnations[o->incarnation_count++];
	const struct host *host = host_of(o, e->host);

	*inc = (struct incarnation){
		.host = e->host,
		.slot_off = vol_off_of(e->offset),
		.generation = le64_get(is->generation),
		.begun = e->submitted_at,
		.renewed = e->submitted_at,
		.shown_at = e->now,
		.dead_ns = le32_get(is->dead_ms) * NS_PER_MS,
		.has_liveness = is->fence & FENCE_LIVENESS,
		.has_pr = is->fence & FENCE_PR,
		.is_lost = e->submitted_at >= host->gave_up_since &&
			   e->submitted_at < host->gave_up_at,
	};
	memcpy(inc->owner.b, is->owner, 16);
	/* LOCKING.md 14: what a host may publish; and an eighth of the normal profile. */
	uint64_t least = (inc->has_pr ? 16 : 24) * NS_PER_S;
	uint64_t fast = (inc->has_pr ? 5 : 13) * NS_PER_S;
	if (inc->dead_ns < least && inc->dead_ns != fast && inc->dead_ns != least / 8)
		sim_fail("I5: %s publishes T_dead %llu ms", name_of(inc),
			 (unsigned long long)(inc->dead_ns / NS_PER_MS));
}

static void renewed(struct incarnation *inc, const struct simdisk_effect *e,
		    const struct vmfs_heartbeat_disk *was,
		    const struct vmfs_heartbeat_disk *is)
{
	if (le64_get(is->stamp_us) <= le64_get(was->stamp_us))
		sim_fail("I2: stamp of %s: %llu -> %llu", name_of(inc),
			 (unsigned long long)le64_get(was->stamp_us),
			 (unsigned long long)le64_get(is->stamp_us));
	if (memcmp(is->owner, was->owner, 16) ||
	    le64_get(is->generation) != le64_get(was->generation))
		sim_fail("I5: %s renews a slot that is not its own", name_of(inc));
	inc->renewed = max_u64(inc->renewed, e->submitted_at);
	inc->has_pr = is->fence & FENCE_PR;
	inc->journal_off = le32_get(is->journal_addr) ? le64_get(is->journal_vol_off) : 0;
}

static void check_claim(struct oracle *o, struct incarnation *victim,
			const struct simdisk_effect *e,
			const struct vmfs_heartbeat_disk *was)
{
	const struct incarnation *before =
		heartbeat_is_claimed(was) ? by_owner(o, was->replay_host) : NULL;

	if (before && !before->over_at && !before->has_left)
		sim_fail("I5: %s claims the slot of %s, which %s has claimed",
			 sim_host_name(e->host), name_of(victim), name_of(before));
	/* The claimer's clock may run fast by 0.1 %. */
	uint64_t age = e->now - victim->shown_at;
	uint64_t least = victim->dead_ns - victim->dead_ns / 500;

	if (o->is_stated)
		least = 6 * NS_PER_S - 6 * NS_PER_S / 500; /* T_tgt */
	if (victim->has_liveness && !sim_host_is_dead(victim->host) && !victim->is_lost)
		sim_fail("L3: %s claims the slot of %s, which lives",
			 sim_host_name(e->host), name_of(victim));
	if (!victim->has_liveness && age < least && !victim->claimed_at)
		sim_fail("I5: %s claims the slot of %s, seen %llu ms ago",
			 sim_host_name(e->host), name_of(victim),
			 (unsigned long long)(age / NS_PER_MS));
	if (!victim->is_lost && !is_excused(o, victim->host))
		sim_fail("L3: %s claims the slot of %s, which is well",
			 sim_host_name(e->host), name_of(victim));
	if (!victim->claimed_at)
		victim->claimed_at = e->now;
}

static void check_clear(struct oracle *o, struct incarnation *inc,
			const struct simdisk_effect *e,
			const struct vmfs_heartbeat_disk *was)
{
	if (le32_get(was->journal_addr) &&
	    !is_zero(o, LVM_DATA_OFF + le64_get(was->journal_vol_off)))
		sim_fail("I4: the slot of %s is cleared by %s, its journal is not empty",
			 name_of(inc), sim_host_name(e->host));
	if (inc->host == e->host && !inc->claimed_at)
		inc->has_left = true;
	else
		inc->over_at = e->now;
}

static void check_slot(struct oracle *o, const struct simdisk_effect *e,
		       const uint8_t *before, const uint8_t *after, uint64_t at)
{
	struct vmfs_heartbeat_disk was, is;

	memcpy(&was, before, sizeof(was));
	memcpy(&is, after, sizeof(is));
	if (e->op != BDEV_CAW && o->caw != BDEV_CAW_RESERVE)
		sim_fail("I5: slot at 0x%llx: changed by a plain write",
			 (unsigned long long)at);
	uint64_t gen_was = le64_get(was.generation), gen_is = le64_get(is.generation);
	bool was_live = le32_get(was.state) == HEARTBEAT_LIVE;
	bool is_live = le32_get(is.state) == HEARTBEAT_LIVE;
	if (gen_is < gen_was || (was_live != is_live && gen_is == gen_was))
		sim_fail("I2: slot at 0x%llx: generation %llu -> %llu",
			 (unsigned long long)at, (unsigned long long)gen_was,
			 (unsigned long long)gen_is);
	if (!was_live && is_live)
		begin(o, e, &is);
	if (!was_live)
		return;
	struct incarnation *inc = by_owner(o, was.owner);
	SIM_CHECK(inc);
	bool is_own = by_command(o, e->host, e->submitted_at) == inc;
	bool is_claimed = heartbeat_is_claimed(&was);
	struct incarnation *by = by_command(o, e->host, e->submitted_at);
	bool is_claim = is_live && gen_is == gen_was &&
			by_owner(o, is.replay_host) == by && by &&
			!memcmp(was.owner, is.owner, 16) &&
			le64_get(was.stamp_us) == le64_get(is.stamp_us);
	bool is_clear = !is_live && is_claimed && by_owner(o, was.replay_host) == by;
	if (is_own && !is_claimed && is_live)
		renewed(inc, e, &was, &is);
	else if (!is_own && is_claim)
		check_claim(o, inc, e, &was);
	else if ((is_own && !is_claimed) || is_clear)
		check_clear(o, inc, e, &was);
	else
		sim_fail("I5: slot at 0x%llx of %s changed by %s", (unsigned long long)at,
			 name_of(inc), sim_host_name(e->host));
	inc->shown_at = e->now;
}

/* ---- lock records ---- */

/* The holders of a record, of any mode. */
static unsigned int holders_of(const struct vmfs_lock_disk *lockd,
			       struct vmfs_lock_holder_disk ret[VMFS_LOCK_HOLDERS_MAX])
{
	uint32_t mode = le32_get(lockd->mode);
	uint32_t count = le32_get(lockd->holder_count);

	if (mode == LOCK_FREE)
		return 0;
	if (mode != LOCK_EXCLUSIVE) {
		count = (uint32_t)min_u64(count, VMFS_LOCK_HOLDERS_MAX);
		memcpy(ret, lockd->holders, count * sizeof(ret[0]));
		return count;
	}
	ret[0].hb_addr = lockd->hb_addr;
	ret[0].hb_gen = lockd->hb_gen;
	memcpy(ret[0].owner, lockd->owner, 16);
	return 1;
}

static bool is_among(const struct vmfs_lock_holder_disk *h, unsigned int count,
		     const uint8_t owner[16])
{
	for (unsigned int i = 0; i < count; i++)
		if (!memcmp(h[i].owner, owner, 16))
			return true;
	return false;
}

static void check_form(struct oracle *o, const struct vmfs_lock_disk *is, uint64_t at)
{
	struct vmfs_lock_holder_disk now[VMFS_LOCK_HOLDERS_MAX];
	uint32_t mode = le32_get(is->mode), count = le32_get(is->holder_count);
	unsigned int n = holders_of(is, now);

	if (mode > LOCK_MULTI_WRITER || count > VMFS_LOCK_HOLDERS_MAX ||
	    (mode <= LOCK_EXCLUSIVE ? count != 0 : count == 0))
		sim_fail("I3: lock at 0x%llx: mode %u with %u holders",
			 (unsigned long long)vol_off_of(at), mode, count);
	for (unsigned int i = 0; i < n; i++) {
		const struct incarnation *inc = by_owner(o, now[i].owner);

		if (!inc || inc->slot_off != le64_get(now[i].hb_addr) ||
		    inc->generation != le64_get(now[i].hb_gen))
			sim_fail("I3: lock at 0x%llx: holder %u is nobody",
				 (unsigned long long)vol_off_of(at), i);
		if (is_among(now, i, now[i].owner))
			sim_fail("I3: lock at 0x%llx: a holder twice",
				 (unsigned long long)vol_off_of(at));
	}
}

/* A holder that was in the record and is not any more. */
static void check_leaves(struct oracle *o, const struct simdisk_effect *e,
			 const struct vmfs_lock_holder_disk *gone, uint64_t at)
{
	struct incarnation *inc = by_owner(o, gone->owner);
	struct vmfs_heartbeat_disk slotd;

	if (!inc)
		sim_fail("I3: lock at 0x%llx: its holder, who never was, is dropped",
			 (unsigned long long)vol_off_of(at));
	read_slot(o, inc->slot_off, &slotd);
	if (le64_get(slotd.generation) > inc->generation)
		return; /* stale */
	if (by_command(o, e->host, e->submitted_at) != inc)
		sim_fail("I3: lock at 0x%llx of %s is taken by %s",
			 (unsigned long long)vol_off_of(at), name_of(inc),
			 sim_host_name(e->host));
	if (is_seen(8) && had_full_journal(o, inc, e->submitted_at))
		sim_fail("I8: lock at 0x%llx leaves %s, its journal is not empty",
			 (unsigned long long)vol_off_of(at), name_of(inc));
	ownermap_check_free(o->map, vol_off_of(at));
	/* I6: what stands right behind the lock is there to stay. */
	unsigned int sectors = ownermap_body_sectors(o->map, vol_off_of(at));
	for (unsigned int i = 1; i <= sectors; i++)
		if (!simdisk_is_stable(o->disk, at + i * SECTOR))
			sim_fail("I6: lock at 0x%llx leaves %s, what it covers is not "
				 "durable",
				 (unsigned long long)vol_off_of(at), name_of(inc));
}

/* By its exclusive holder, who has its liveness lock, and whom nobody claims. */
static bool is_release(struct oracle *o, const struct simdisk_effect *e,
		       const struct vmfs_lock_disk *was, const struct vmfs_lock_disk *is)
{
	const struct incarnation *inc = by_command(o, e->host, e->submitted_at);

	return inc && inc->has_liveness && !inc->claimed_at &&
	       le32_get(was->mode) == LOCK_EXCLUSIVE &&
	       le32_get(is->mode) == LOCK_FREE &&
	       !memcmp(was->owner, inc->owner.b, sizeof(was->owner)) &&
	       le64_get(is->token) == le64_get(was->token) + 1;
}

static void check_lock(struct oracle *o, const struct simdisk_effect *e,
		       const uint8_t *before, const uint8_t *after, uint64_t at)
{
	struct vmfs_lock_holder_disk old[VMFS_LOCK_HOLDERS_MAX];
	struct vmfs_lock_holder_disk new[VMFS_LOCK_HOLDERS_MAX];
	struct vmfs_lock_disk was, is;

	memcpy(&was, before, sizeof(was));
	memcpy(&is, after, sizeof(is));
	o->transitions++;
	if (e->op != BDEV_CAW && o->caw != BDEV_CAW_RESERVE &&
	    !is_release(o, e, &was, &is))
		sim_fail("I3: lock at 0x%llx: changed by a plain write",
			 (unsigned long long)vol_off_of(at));
	if (le64_get(is.token) <= le64_get(was.token))
		sim_fail("I2: lock at 0x%llx: token %llu -> %llu",
			 (unsigned long long)vol_off_of(at),
			 (unsigned long long)le64_get(was.token),
			 (unsigned long long)le64_get(is.token));
	check_form(o, &is, at);
	unsigned int old_count = holders_of(&was, old), count = holders_of(&is, new);
	for (unsigned int i = 0; i < old_count; i++)
		if (!is_among(new, count, old[i].owner))
			check_leaves(o, e, &old[i], at);
	uint32_t mode = le32_get(is.mode);
	for (unsigned int i = 0; mode == LOCK_EXCLUSIVE && i < old_count; i++) {
		const struct incarnation *inc = by_owner(o, old[i].owner);
		struct vmfs_heartbeat_disk slotd;

		read_slot(o, inc->slot_off, &slotd);
		/* Unless it hands it over itself. */
		if (memcmp(old[i].owner, is.owner, 16) &&
		    le64_get(slotd.generation) == inc->generation &&
		    by_command(o, e->host, e->submitted_at) != inc)
			sim_fail("I3: lock at 0x%llx is exclusive beside %s",
				 (unsigned long long)vol_off_of(at), name_of(inc));
	}
	ownermap_lock_changed(o->map, vol_off_of(at), e->submitted_at);
}

/* ---- plain writes ---- */

static void check_time(struct oracle *o, const struct simdisk_effect *e)
{
	const struct incarnation *inc = by_command(o, e->host, e->submitted_at);

	if (!inc)
		return;
	if (inc->over_at || (inc->claimed_at && !inc->has_pr))
		sim_fail("I4: %s writes 0x%llx+%llu after it was %s", name_of(inc),
			 (unsigned long long)vol_off_of(e->offset),
			 (unsigned long long)e->len,
			 inc->over_at ? "taken over" : "claimed");
	/* A target that stands still keeps what it has accepted longer than T_tgt. */
	bool was_stalled = o->all.is_troubled ||
			   (o->all.trouble_end &&
			    e->now < o->all.trouble_end + 7 * NS_PER_S);
	uint64_t latest = inc->renewed + inc->dead_ns / 24 * 21;
	if (was_stalled)
		return;
	if (!inc->has_liveness && !inc->has_pr && e->now > latest + NS_PER_S / 4)
		sim_fail("I10: %s writes 0x%llx+%llu %llu ms after its last renewal",
			 name_of(inc), (unsigned long long)vol_off_of(e->offset),
			 (unsigned long long)e->len,
			 (unsigned long long)((e->now - inc->renewed) / NS_PER_MS));
}

/* Is inc named, or the claimer of who is? */
static bool may_write(struct oracle *o, const struct incarnation *inc, uint64_t lock_off,
		      uint64_t submitted, const char **ret_why)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	struct vmfs_lock_disk lockd;

	simdisk_peek(o->disk, &lockd, SECTOR, LVM_DATA_OFF + lock_off);
	*ret_why = "the lock is not its own";
	if (le32_get(lockd.mode) == LOCK_READ_ONLY)
		return false;
	unsigned int count = holders_of(&lockd, holders);
	for (unsigned int i = 0; i < count; i++) {
		struct vmfs_heartbeat_disk slotd;

		if (!memcmp(holders[i].owner, inc->owner.b, 16)) {
			/* Others come and go while one writer of several writes. */
			if (le32_get(lockd.mode) == LOCK_MULTI_WRITER)
				return true;
			*ret_why = "it was sent before the lock was taken";
			return submitted >= ownermap_taken_at(o->map, lock_off);
		}
		read_slot(o, le64_get(holders[i].hb_addr), &slotd);
		if (le32_get(slotd.state) == HEARTBEAT_LIVE &&
		    le64_get(slotd.generation) == le64_get(holders[i].hb_gen) &&
		    !memcmp(slotd.replay_host, inc->owner.b, 16))
			return true;
	}
	return false;
}

/* A journal block: its slot's owner, or who has claimed that. */
static bool may_log(struct oracle *o, const struct incarnation *inc, uint64_t block_off)
{
	for (unsigned int i = 0; i < o->incarnation_count; i++) {
		struct vmfs_heartbeat_disk slotd;

		read_slot(o, o->incarnations[i].slot_off, &slotd);
		if (le32_get(slotd.state) != HEARTBEAT_LIVE ||
		    !le32_get(slotd.journal_addr) ||
		    le64_get(slotd.journal_vol_off) != block_off)
			continue;
		const uint8_t *who = heartbeat_is_claimed(&slotd) ? slotd.replay_host :
								    slotd.owner;
		return !memcmp(who, inc->owner.b, 16);
	}
	return false;
}

/* I1 of one sector. */
static void check_covered(struct oracle *o, const struct simdisk_effect *e,
			  const uint8_t *after, uint64_t at)
{
	struct incarnation *inc = by_command(o, e->host, e->submitted_at);
	const char *why = "nobody may";
	struct cover cover;

	ownermap_find(o->map, vol_off_of(at), &cover);
	if (inc && vol_off_of(at) == inc->journal_off)
		note_log(inc, e, after);
	if (!inc)
		sim_fail("I1: %s writes 0x%llx, it is no member", sim_host_name(e->host),
			 (unsigned long long)vol_off_of(at));
	if (cover.is_unknown || (cover.lock_off &&
	    may_write(o, inc, cover.lock_off, e->submitted_at, &why)))
		return;
	/* Nobody's yet: who may say whose. */
	if (!cover.lock_off && cover.cluster_off &&
	    (may_log(o, inc, cover.unit_off) ||
	     may_write(o, inc, cover.cluster_off, e->submitted_at, &why)))
		return;
	sim_fail("I1: %s writes 0x%llx (lock 0x%llx, cluster 0x%llx): %s", name_of(inc),
		 (unsigned long long)vol_off_of(at), (unsigned long long)cover.lock_off,
		 (unsigned long long)cover.cluster_off, why);
}

static bool is_lock_sector(const struct oracle *o, uint64_t vol_off)
{
	return ownermap_is_lock(o->map, vol_off);
}

static void look(const struct simdisk_effect *e, void *arg)
{
	struct oracle *o = arg;
	uint32_t slot;

	if (e->op == BDEV_FLUSH || e->offset < LVM_DATA_OFF)
		return;
	for (uint64_t i = 0; i < e->len; i += SECTOR) {
		const uint8_t *before = e->before + i, *after = e->after + i;
		uint64_t at = e->offset + i;
		bool is_same = !memcmp(before, after, SECTOR);

		if (heartbeat_slot_of(vol_off_of(at), &slot)) {
			if (!is_same)
				check_slot(o, e, before, after, at);
		} else if (is_lock_sector(o, vol_off_of(at))) {
			if (!is_same)
				check_lock(o, e, before, after, at);
		} else {
			if (i == 0 || e->op == BDEV_CAW)
				check_time(o, e);
			check_covered(o, e, after, at);
		}
	}
	ownermap_written(o->map, e);
}

static void submitted(const struct simdisk_submission *s, void *arg)
{
	struct oracle *o = arg;
	const struct incarnation *inc = by_command(o, s->host, UINT64_MAX);
	uint32_t slot;

	if ((s->op != BDEV_WRITE && s->op != BDEV_ZERO && s->op != BDEV_UNMAP) || !inc ||
	    inc->has_liveness || inc->has_left || s->offset < LVM_DATA_OFF ||
	    heartbeat_slot_of(vol_off_of(s->offset), &slot) ||
	    is_lock_sector(o, vol_off_of(s->offset)))
		return;
	uint64_t hold_at = inc->renewed + inc->dead_ns / 24 * 10;
	if (inc->has_pr)
		hold_at = inc->renewed + inc->dead_ns / 16 * 10;
	uint64_t since = max_u64(hold_at, host_of(o, s->host)->resumed);
	if (sim_time() > since + SUBMIT_SLACK_NS && is_seen(11))
		sim_fail(
			"I11: %s submits a write of 0x%llx+%llu, lease %llu ms old",
			name_of(inc), (unsigned long long)vol_off_of(s->offset),
			(unsigned long long)s->len,
			(unsigned long long)((sim_time() - inc->renewed) / NS_PER_MS));
}

/* ---- the hosts' own view ---- */

static bool is_standing(struct oracle *o, const struct incarnation *inc)
{
	struct vmfs_heartbeat_disk slotd;

	read_slot(o, inc->slot_off, &slotd);
	return le64_get(slotd.generation) == inc->generation &&
	       le32_get(slotd.state) == HEARTBEAT_LIVE && !heartbeat_is_claimed(&slotd);
}

static void check_table(struct oracle *o, const struct incarnation *inc,
			struct lock_table *lt)
{
	const struct held_lock *h;

	for (uint32_t i = 0; i < LOCK_BUCKETS; i++) {
		LIST_FOREACH(h, &lt->buckets[i], link) {
			struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
			struct vmfs_lock_disk now;

			if (h->state != HELD)
				continue;
			simdisk_peek(o->disk, &now, SECTOR, LVM_DATA_OFF + h->id.vol_off);
			unsigned int count = holders_of(&now, holders);
			/* While it is downgraded the table is ahead of the disk. */
			uint32_t mode = le32_get(now.mode);
			if (!is_among(holders, count, inc->owner.b) ||
			    (mode != (uint32_t)h->mode && mode != LOCK_EXCLUSIVE))
				sim_fail("I12: %s believes to hold the lock at 0x%llx",
					 name_of(inc), (unsigned long long)h->id.vol_off);
		}
	}
}

struct ghost_check {
	struct oracle *o;
	const struct incarnation *inc;
	struct lock_table *lt;
};

/* L4 of one lock that was ever taken. */
static void check_ghost(uint64_t lock_off, uint64_t changed_at, void *arg)
{
	const struct ghost_check *g = arg;
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	struct vmfs_lock_disk now;

	if (sim_time() < changed_at + GHOST_NS || lock_table_find(g->lt, lock_off))
		return;
	simdisk_peek(g->o->disk, &now, SECTOR, LVM_DATA_OFF + lock_off);
	unsigned int count = holders_of(&now, holders);
	if (is_among(holders, count, g->inc->owner.b))
		sim_fail("L4: the lock at 0x%llx names %s, which does not know it",
			 (unsigned long long)lock_off, name_of(g->inc));
}

void oracle_check_host(struct oracle *o, const struct sim_host *h,
		       struct vmfs_volume *vol)
{
	const struct incarnation *inc = newest_of(o, h);

	if (!inc || !vol->member || sim_host_is_dead(h) || sim_host_is_paused(h) ||
	    vol->member->hb.lease.dead ||
	    memcmp(vol->member->hb.owner.b, inc->owner.b, 16) || !is_standing(o, inc))
		return;
	struct ghost_check g = { o, inc, &vol->member->locks };
	check_table(o, inc, g.lt);
	if (!has_excuse(host_of(o, h)) && !has_excuse(&o->all))
		ownermap_each_lock(o->map, check_ghost, &g);
}

/* ---- making it ---- */

struct oracle *oracle_new(struct simdisk *disk, enum bdev_caw_class caw,
			  struct vmfs_volume *vol)
{
	struct oracle *o = calloc(1, sizeof(*o));

	SIM_CHECK(o);
	o->disk = disk;
	o->caw = caw;
	o->vol = vol;
	o->map = ownermap_new(disk, vol);
	simdisk_on_effect(disk, look, o);
	simdisk_on_submit(disk, submitted, o);
	return o;
}

void oracle_free(struct oracle *o)
{
	if (!o)
		return;
	ownermap_free(o->map);
	free(o);
}
