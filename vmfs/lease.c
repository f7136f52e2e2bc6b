/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease (LOCKING.md 6.3). Its age counts from the submission of the last renewal that
 * is known to have run.
 *
 *   GREEN ---- age >= T_stop ----> HOLD ---- age >= T_cut, lease_cut() ----> CUT
 *     ^  ^----- lease_renewed() ----'                                        |  |
 *     |                                                  age >= T_lease      v  |
 *     |                                                                  EXPIRED|
 *     '---------------- lease_reopen(): the slot was still ours <------------'--'
 *   any ---- lease_die() ----> FENCED
 *   GREEN <---- lease_suspend(), lease_resume() ----> HOLD (unflushed.c)
 *
 * Invariants:
 *  1 `renewed` never moves backwards, and counts from before a submission;
 *  2 a write enters in GREEN only, and is counted until its end is known;
 *  3 CUT is left only by lease_reopen(), which the reclaimer calls after everything that
 *    was inside has ended: so no write that had passed the gate before the cut can reach
 *    a device that was mended after it;
 *  4 the guard hears of a renewal before the gate opens for it, and during CUT not at
 *    all: a lease that is being reclaimed stays acknowledged;
 *  5 `dead` is never cleared.
 *
 * Every I/O asks, from any task, so what is asked is answered without the mutex: by the
 * word that counts who is inside (passage.c) and by `renewed`, one number. All changes of
 * the state are made under the mutex, the flags of the word with them.
 *  6 who enters compares the word with what he looked at, so the flags were down when he
 *    was counted: of 2 and 3 only the age is left to say. That is looked at before, and a
 *    task may be stopped behind any look: what then still comes late is the guard's;
 *  7 a time of renewal that is read late is an older one: the lease only seems older. One
 *    that is read early is none: it has run, on a slot that was still ours, so what was
 *    read from the disk before it is as good as if it had been asked for earlier.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "base/align.h"
#include "vmfs/lease.h"

/* LOCKING.md 14: scheduling of the guard, network, one timer step; clocks. */
#define GUARD_LATE_NS NS_PER_S
#define NETWORK_NS NS_PER_S
#define STEP_NS NS_PER_S
#define RESIDUE_NS (6 * NS_PER_S)
#define DEAD_GRAIN_NS NS_PER_S

static uint64_t dead_after(const struct vmfs_timing *t)
{
	uint64_t sum = t->cut_ns + GUARD_LATE_NS + NETWORK_NS + t->residue_ns + STEP_NS;

	/* (1 + 2 rho), rho = 0.001; in whole seconds. */
	return round_up(sum + sum / 500, DEAD_GRAIN_NS);
}

struct vmfs_timing vmfs_timing_of(enum vmfs_lease_profile profile, unsigned int divisor)
{
	struct vmfs_timing t = {
		.renew_ns = 3 * NS_PER_S,
		.attempt_ns = 5 * NS_PER_S,
		.stop_ns = 10 * NS_PER_S,
		.cut_ns = 13 * NS_PER_S,
		.lease_ns = 16 * NS_PER_S,
		.dead_ns = 24 * NS_PER_S,
		.dead_kernel_ns = 44 * NS_PER_S,
		.residue_ns = RESIDUE_NS,
		.retain_ns = 3 * NS_PER_S,
		.ack_ns = GUARD_ACK_NS,
	};

	if (profile == VMFS_LEASE_FAST) {
		t.renew_ns = t.attempt_ns = t.retain_ns = NS_PER_S;
		t.stop_ns = 2 * NS_PER_S;
		t.cut_ns = 3 * NS_PER_S;
		t.lease_ns = 5 * NS_PER_S;
		t.dead_ns = dead_after(&t);
	}
	assert(t.dead_ns >= dead_after(&t) && t.cut_ns + 2 * NS_PER_S <= t.lease_ns);
	uint64_t *const all[] = { &t.renew_ns, &t.attempt_ns, &t.stop_ns,
				  &t.cut_ns,   &t.lease_ns,   &t.dead_ns,
				  &t.residue_ns, &t.retain_ns, &t.ack_ns,
				  &t.dead_kernel_ns };
	for (unsigned int i = 0; divisor > 1 && i < ARRAY_SIZE(all); i++)
		*all[i] /= divisor;
	return t;
}

const char *lease_state_name(enum lease_state state)
{
	static const char *const names[] = {
		[LEASE_GREEN] = "green",     [LEASE_HOLD] = "hold",
		[LEASE_CUT] = "cut",	     [LEASE_EXPIRED] = "expired",
		[LEASE_FENCED] = "fenced",
	};
	return names[state];
}

enum lease_state lease_state_of(const struct vmfs_timing *timing, uint64_t age_ns,
				bool is_cut, bool is_dead)
{
	if (is_dead)
		return LEASE_FENCED;
	if (age_ns >= timing->lease_ns)
		return LEASE_EXPIRED;
	if (is_cut || age_ns >= timing->cut_ns)
		return LEASE_CUT;
	return age_ns >= timing->stop_ns ? LEASE_HOLD : LEASE_GREEN;
}

void lease_init(struct vmfs_lease *l, const struct vmfs_timing *timing)
{
	*l = (struct vmfs_lease){ .timing = timing, .patience_ns = NO_DEADLINE };
	mutex_init(&l->m);
	cond_init(&l->c);
	l->last_parked = &l->parked;
}

void lease_done(struct vmfs_lease *l)
{
	assert(!l->parked && !passage_count(&l->inside));
	cond_done(&l->c);
	mutex_done(&l->m);
}

/* ---- age and state ---- */

static uint64_t age_of(const struct vmfs_lease *l)
{
	if (!l->is_counted)
		return 0;
	uint64_t renewed = atomic_load_explicit(&l->renewed, memory_order_acquire);
	uint64_t now = clock_now();

	return now > renewed ? now - renewed : 0;
}

/* But for a suspension. */
static enum lease_state state_by_age(const struct vmfs_lease *l, uint64_t word)
{
	return lease_state_of(l->timing, age_of(l), word & LEASE_SHUT_CUT,
			      word & LEASE_SHUT_DEAD);
}

static enum lease_state state_of(const struct vmfs_lease *l)
{
	uint64_t word = passage_look(&l->inside);
	enum lease_state state = state_by_age(l, word);

	return state == LEASE_GREEN && word & LEASE_SHUT_SUSPENDED ? LEASE_HOLD : state;
}

uint64_t lease_patience(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	uint64_t patience_ns = l->patience_ns;
	mutex_unlock(&l->m);
	return patience_ns;
}

uint64_t lease_age(struct vmfs_lease *l)
{
	return age_of(l);
}

enum lease_state lease_state(struct vmfs_lease *l)
{
	return state_of(l);
}

bool lease_is_cut(const struct vmfs_lease *l)
{
	return passage_look(&l->inside) & LEASE_SHUT_CUT;
}

bool lease_is_suspended(const struct vmfs_lease *l)
{
	return passage_look(&l->inside) & LEASE_SHUT_SUSPENDED;
}

int lease_dead(struct vmfs_lease *l)
{
	if (!(passage_look(&l->inside) & LEASE_SHUT_DEAD))
		return 0;
	mutex_lock(&l->m);
	int dead = l->dead;
	mutex_unlock(&l->m);
	return dead;
}

/* ---- changes ---- */

/* All that are parked go on their way: the gate is open, or says why not. */
static void unpark(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	struct bdev_io *io = l->parked;
	l->parked = NULL;
	l->last_parked = &l->parked;
	mutex_unlock(&l->m);
	while (io) {
		struct bdev_io *next = io->priv.next;

		bdev_resume(io);
		io = next;
	}
}

void lease_renewed(struct vmfs_lease *l, uint64_t submitted)
{
	mutex_lock(&l->m);
	uint64_t renewed = max_u64(atomic_load(&l->renewed), submitted);
	if (l->guard && !lease_is_cut(l))
		guard_lease_renewed(l->guard, renewed);
	atomic_store_explicit(&l->renewed, renewed, memory_order_release);
	bool is_open = state_of(l) == LEASE_GREEN;
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
	if (is_open)
		unpark(l);
}

static bool cut_at_age(struct vmfs_lease *l, uint64_t least_ns)
{
	mutex_lock(&l->m);
	bool is_first = !lease_is_cut(l) && !l->dead && age_of(l) >= least_ns;
	if (is_first) {
		l->cut_at = clock_now();
		passage_flag(&l->inside, LEASE_SHUT_CUT, true);
	}
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
	return is_first;
}

bool lease_cut(struct vmfs_lease *l)
{
	return cut_at_age(l, 0);
}

bool lease_cut_if_due(struct vmfs_lease *l)
{
	return cut_at_age(l, l->timing->cut_ns);
}

void lease_cut_done(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	l->is_cut_done = true;
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

bool lease_die(struct vmfs_lease *l, int err)
{
	mutex_lock(&l->m);
	bool is_first = !l->dead;
	if (is_first) {
		l->dead = err;
		passage_flag(&l->inside, LEASE_SHUT_DEAD, true);
	}
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
	unpark(l);
	return is_first;
}

bool lease_reopen(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	assert(lease_is_cut(l) && !passage_count(&l->inside));
	bool is_young = !l->dead && age_of(l) < l->timing->stop_ns;
	if (is_young) {
		if (l->guard)
			guard_lease_renewed(l->guard, l->renewed);
		l->is_cut_done = false;
		passage_flag(&l->inside, LEASE_SHUT_CUT, false);
		cond_broadcast(&l->c);
	}
	bool is_open = is_young && !lease_is_suspended(l);
	mutex_unlock(&l->m);
	if (is_open)
		unpark(l);
	return is_young;
}

int lease_drain(struct vmfs_lease *l, uint64_t deadline)
{
	int err = 0;

	mutex_lock(&l->m);
	while ((passage_count(&l->inside) || !l->is_cut_done) && !err)
		err = cond_wait_until(&l->c, &l->m, deadline);
	if (!passage_count(&l->inside) && l->is_cut_done)
		err = 0;
	mutex_unlock(&l->m);
	return err;
}

/* ---- the gate ---- */

/* Why a write may not enter now; 0: it may, as far as the age goes. */
static int why_not(const struct vmfs_lease *l, uint64_t word)
{
	if (word & LEASE_SHUT_DEAD)
		return -ESTALE;
	return word & LEASE_SHUT || age_of(l) >= l->timing->stop_ns ? -EAGAIN : 0;
}

int lease_try(struct vmfs_lease *l)
{
	int err = why_not(l, passage_look(&l->inside));

	if (err || passage_enter(&l->inside, LEASE_SHUT))
		return err;
	return passage_look(&l->inside) & LEASE_SHUT_DEAD ? -ESTALE : -EAGAIN;
}

int lease_enter(struct vmfs_lease *l)
{
	int err = lease_try(l);

	while (err == -EAGAIN) {
		mutex_lock(&l->m);
		while (why_not(l, passage_look(&l->inside)) == -EAGAIN)
			cond_wait(&l->c, &l->m);
		mutex_unlock(&l->m);
		err = lease_try(l);
	}
	return err;
}

bool lease_leave(struct vmfs_lease *l)
{
	if (passage_leave(&l->inside, LEASE_SHUT))
		return false;
	mutex_lock(&l->m);
	if (passage_leave_shut(&l->inside))
		cond_broadcast(&l->c);
	bool is_cut = lease_is_cut(l);
	mutex_unlock(&l->m);
	return is_cut;
}

int lease_may_read(const struct vmfs_lease *l)
{
	uint64_t word = passage_look(&l->inside);

	return word & LEASE_SHUT_DEAD ? -ESTALE : word & LEASE_SHUT_CUT ? -EAGAIN : 0;
}

int lease_wait_readable(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	while (!l->dead && state_of(l) > LEASE_HOLD)
		cond_wait(&l->c, &l->m);
	int err = l->dead ? -ESTALE : 0;
	mutex_unlock(&l->m);
	return err;
}

int lease_trust(struct vmfs_lease *l)
{
	enum lease_state state = state_of(l);

	return state == LEASE_FENCED ? -ESTALE : state == LEASE_EXPIRED ? -EAGAIN : 0;
}

bool lease_park(struct vmfs_lease *l, struct bdev_io *io)
{
	mutex_lock(&l->m);
	enum lease_state state = state_of(l);
	/* A read is sent in HOLD, too; what is parked then waits for the same moment. */
	bool is_now = state == LEASE_FENCED || state == LEASE_GREEN ||
		      (state == LEASE_HOLD && io->op == BDEV_READ);
	if (!is_now) {
		io->priv.next = NULL;
		*l->last_parked = io;
		l->last_parked = &io->priv.next;
	}
	mutex_unlock(&l->m);
	return !is_now;
}

/* ---- while what was acknowledged is restored ---- */

void lease_suspend(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	passage_flag(&l->inside, LEASE_SHUT_SUSPENDED, true);
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

void lease_resume(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	passage_flag(&l->inside, LEASE_SHUT_SUSPENDED, false);
	cond_broadcast(&l->c);
	bool is_open = state_of(l) == LEASE_GREEN;
	mutex_unlock(&l->m);
	if (is_open)
		unpark(l);
}

int lease_enter_alone(struct vmfs_lease *l, const bool *is_stopping)
{
	mutex_lock(&l->m);
	while (!l->dead && !*is_stopping &&
	       (state_by_age(l, passage_look(&l->inside)) != LEASE_GREEN ||
		passage_count(&l->inside)))
		cond_wait(&l->c, &l->m);
	int err = l->dead ? -ESTALE : *is_stopping ? -ECANCELED : 0;
	/* It is suspended, so nobody else enters; and no flag goes up without m. */
	bool is_inside = !err && passage_enter(&l->inside, LEASE_SHUT_DEAD |
								 LEASE_SHUT_CUT);
	assert(is_inside == !err);
	mutex_unlock(&l->m);
	return err;
}

void lease_poke(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	l->is_poked = true;
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

bool lease_wait_poked(struct vmfs_lease *l, const bool *is_stopping)
{
	mutex_lock(&l->m);
	while (!l->dead && !*is_stopping && !l->is_poked &&
	       !lease_is_suspended(l))
		cond_wait(&l->c, &l->m);
	l->is_poked = false;
	bool is_over = l->dead || *is_stopping;
	mutex_unlock(&l->m);
	return !is_over;
}

void lease_stop_waiting(struct vmfs_lease *l, bool *is_stopping)
{
	mutex_lock(&l->m);
	*is_stopping = true;
	cond_broadcast(&l->c);
	mutex_unlock(&l->m);
}

int lease_wait_resumed(struct vmfs_lease *l)
{
	mutex_lock(&l->m);
	while (!l->dead && lease_is_suspended(l))
		cond_wait(&l->c, &l->m);
	int err = l->dead ? -ESTALE : 0;
	mutex_unlock(&l->m);
	return err;
}
