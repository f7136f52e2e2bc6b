/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a lease and its gate (LOCKING.md 6.3, 14), without a volume. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "vmfs/lease.h"

/* The table of 6.3, at both sides of each limit. */
static void state_follows_from_the_age(void **state)
{
	const struct vmfs_timing t = vmfs_timing_of(VMFS_LEASE_NORMAL, 1);
	static const struct {
		uint64_t age_ms;
		bool is_cut, is_dead;
		enum lease_state state;
	} cases[] = {
		{ 0, false, false, LEASE_GREEN },
		{ 9999, false, false, LEASE_GREEN },
		{ 10000, false, false, LEASE_HOLD },
		{ 12999, false, false, LEASE_HOLD },
		{ 13000, false, false, LEASE_CUT },
		{ 15999, false, false, LEASE_CUT },
		{ 16000, false, false, LEASE_EXPIRED },
		{ 1000000, true, false, LEASE_EXPIRED },
		/* Renewed, but not open again: the reclaim is under way. */
		{ 1, true, false, LEASE_CUT },
		{ 11000, true, false, LEASE_CUT },
		{ 1, false, true, LEASE_FENCED },
		{ 1000000, true, true, LEASE_FENCED },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(lease_state_of(&t, cases[i].age_ms * NS_PER_MS,
						cases[i].is_cut, cases[i].is_dead),
				 cases[i].state);
}

/* The rules of section 14 hold for both profiles. */
static void profiles_obey_the_formula(void **state)
{
	const enum vmfs_lease_profile all[] = { VMFS_LEASE_NORMAL, VMFS_LEASE_FAST };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		const struct vmfs_timing t = vmfs_timing_of(all[i], 1);
		double bound = ((double)t.cut_ns + 3e9 + (double)t.residue_ns) * 1.002;

		assert_true((double)t.dead_ns >= bound);
		assert_true(t.lease_ns >= t.cut_ns + 2 * NS_PER_S);
		assert_true(t.stop_ns < t.cut_ns);
		assert_true(2 * t.attempt_ns <= t.stop_ns);
		assert_int_equal(t.residue_ns, 6 * NS_PER_S);
	}
	const struct vmfs_timing normal = vmfs_timing_of(VMFS_LEASE_NORMAL, 1);
	assert_int_equal(normal.dead_ns, 24 * NS_PER_S);
	const struct vmfs_timing fast = vmfs_timing_of(VMFS_LEASE_FAST, 1);
	assert_int_equal(fast.renew_ns, NS_PER_S);
	assert_int_equal(fast.lease_ns, 5 * NS_PER_S);
	assert_int_equal(vmfs_timing_of(VMFS_LEASE_FAST, 5).lease_ns, NS_PER_S);
}

struct fixture {
	struct vmfs_timing timing;
	struct vmfs_lease lease;
};

static int set_up(void **state)
{
	static struct fixture f;

	f.timing = vmfs_timing_of(VMFS_LEASE_NORMAL, 1);
	lease_init(&f.lease, &f.timing);
	f.lease.is_counted = true;
	lease_renewed(&f.lease, clock_now());
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	lease_done(&((struct fixture *)*state)->lease);
	return 0;
}

/* `renewed` comes from submissions, and never moves backwards. */
static void older_renewal_changes_nothing(void **state)
{
	struct vmfs_lease *l = &((struct fixture *)*state)->lease;
	uint64_t renewed = l->renewed;

	lease_renewed(l, renewed - NS_PER_S);
	assert_int_equal(l->renewed, renewed);
}

/* A write that is inside when the devices are cut keeps the lease from being mended. */
static void cut_waits_for_who_is_inside(void **state)
{
	struct vmfs_lease *l = &((struct fixture *)*state)->lease;

	assert_int_equal(lease_enter(l), 0);
	assert_false(lease_cut_if_due(l)); /* it is young */
	assert_true(lease_cut(l));
	assert_false(lease_cut(l)); /* once */
	lease_cut_done(l);
	assert_int_equal(lease_try(l), -EAGAIN);
	assert_int_equal(lease_drain(l, clock_now()), -ETIMEDOUT);
	assert_true(lease_leave(l)); /* told of it */
	assert_int_equal(lease_drain(l, clock_now()), 0);
	assert_true(lease_reopen(l));
	assert_int_equal(lease_try(l), 0);
	assert_false(lease_leave(l));
}

/* The gate opens only for a renewal that is young. */
static void reclaim_needs_a_renewal(void **state)
{
	struct fixture *f = *state;
	struct vmfs_lease *l = &f->lease;

	l->renewed = clock_now() - f->timing.lease_ns;
	assert_int_equal(lease_state(l), LEASE_EXPIRED);
	assert_int_equal(lease_trust(l), -EAGAIN);
	assert_true(lease_cut_if_due(l));
	lease_cut_done(l);
	assert_false(lease_reopen(l));
	assert_int_equal(lease_try(l), -EAGAIN);
	lease_renewed(l, clock_now());
	assert_int_equal(lease_try(l), -EAGAIN); /* the devices are not mended yet */
	assert_true(lease_reopen(l));
	assert_int_equal(lease_state(l), LEASE_GREEN);
	assert_int_equal(lease_trust(l), 0);
}

static void dead_lease_stays_dead(void **state)
{
	struct vmfs_lease *l = &((struct fixture *)*state)->lease;

	assert_true(lease_cut(l));
	lease_cut_done(l);
	assert_true(lease_die(l, -ESTALE));
	assert_false(lease_die(l, -ENODEV));
	lease_renewed(l, clock_now());
	assert_false(lease_reopen(l));
	assert_int_equal(lease_dead(l), -ESTALE);
	assert_int_equal(lease_enter(l), -ESTALE);
	assert_int_equal(lease_wait_readable(l), -ESTALE);
	assert_int_equal(lease_trust(l), -ESTALE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_follows_from_the_age),
		cmocka_unit_test(profiles_obey_the_formula),
		T(older_renewal_changes_nothing),
		T(cut_waits_for_who_is_inside),
		T(reclaim_needs_a_renewal),
		T(dead_lease_stays_dead),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
