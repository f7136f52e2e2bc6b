/* SPDX-License-Identifier: Apache-2.0 */
/* Which path takes the next I/O. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "iscsi/policy.h"

#define COUNT 3u

struct lab {
	struct path_choice choice;
	struct path_view view[COUNT];
};

static struct lab lab_of(enum path_policy policy)
{
	struct lab lab = {
		.choice = { .policy = policy, .iops = 2, .preferred = -1, .current = -1 },
		.view = { { .state = PATH_ACTIVE },
			  { .state = PATH_ACTIVE },
			  { .state = PATH_ACTIVE } },
	};
	return lab;
}

static void expect(struct lab *lab, const int *wanted, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(path_choose(&lab->choice, lab->view, COUNT), wanted[i]);
}

static void fixed_goes_back_and_mru_does_not(void **state)
{
	struct lab fixed = lab_of(POLICY_FIXED), mru = lab_of(POLICY_MRU);
	(void)state;

	fixed.choice.preferred = 1;
	expect(&fixed, (int[]){ 1, 1 }, 2);
	expect(&mru, (int[]){ 0, 0 }, 2);
	fixed.view[1].state = mru.view[0].state = PATH_DEAD;
	expect(&fixed, (int[]){ 2, 2 }, 2);
	expect(&mru, (int[]){ 1, 1 }, 2);
	fixed.view[1].state = mru.view[0].state = PATH_ACTIVE;
	expect(&fixed, (int[]){ 1, 1 }, 2);
	expect(&mru, (int[]){ 1, 1 }, 2);
}

/* Up again, but only just: it is used only if nothing else is there. */
static void fixed_goes_back_after_a_while(void **state)
{
	struct lab lab = lab_of(POLICY_FIXED);
	(void)state;

	lab.choice.preferred = 1;
	lab.view[1].is_young = true;
	expect(&lab, (int[]){ 1, 1 }, 2); /* nobody is in use yet */
	lab.view[1].state = PATH_DEAD;
	expect(&lab, (int[]){ 2, 2 }, 2);
	lab.view[1].state = PATH_ACTIVE;
	expect(&lab, (int[]){ 2, 2 }, 2);
	lab.view[1].is_young = false;
	expect(&lab, (int[]){ 1, 1 }, 2);
	lab.view[1].state = PATH_DEAD;
	expect(&lab, (int[]){ 2 }, 1);
	lab.view[1] = (struct path_view){ .state = PATH_ACTIVE, .is_young = true };
	lab.view[0].state = lab.view[2].state = PATH_DEAD;
	expect(&lab, (int[]){ 1, 1 }, 2);
}

static void fixed_leaves_a_preferred_path_that_is_not_optimized(void **state)
{
	struct lab lab = lab_of(POLICY_FIXED);
	(void)state;

	lab.choice.preferred = 1;
	lab.view[1].state = PATH_UNOPTIMIZED;
	expect(&lab, (int[]){ 0, 0 }, 2);
	lab.view[0].state = lab.view[2].state = PATH_STANDBY;
	expect(&lab, (int[]){ 1 }, 1);
}

static void round_robin_counts_and_skips_who_takes_none(void **state)
{
	struct lab lab = lab_of(POLICY_ROUND_ROBIN);
	(void)state;

	expect(&lab, (int[]){ 0, 0, 1, 1, 2, 2, 0 }, 7);
	lab.view[1].state = PATH_UNOPTIMIZED;
	expect(&lab, (int[]){ 0, 2, 2, 0, 0 }, 5);
	lab.view[0].state = PATH_OFF;
	lab.view[2].state = PATH_UNAVAILABLE;
	expect(&lab, (int[]){ 1, 1, 1, 1, 1 }, 5);
}

static void latency_prefers_the_shorter_wait_and_tries_all(void **state)
{
	struct lab lab = lab_of(POLICY_LATENCY);
	unsigned int count[COUNT] = { 0 };
	(void)state;

	lab.view[0].latency_ns = 900;
	lab.view[1].latency_ns = 100;
	lab.view[2].latency_ns = 500;
	for (int i = 0; i < 640; i++)
		count[path_choose(&lab.choice, lab.view, COUNT)]++;
	assert_true(count[1] >= 630);
	assert_true(count[0] > 0 && count[2] > 0);
	/* 10 on the way: 1100 are more than 900 and than 500. */
	lab.view[1].busy = 10;
	(void)path_choose(&lab.choice, lab.view, COUNT);
	expect(&lab, (int[]){ 2, 2 }, 2);
}

static void nobody_takes_any(void **state)
{
	struct lab lab = lab_of(POLICY_MRU);
	(void)state;

	lab.view[0].state = PATH_DEAD;
	lab.view[1].state = PATH_GONE;
	lab.view[2].state = PATH_STANDBY;
	expect(&lab, (int[]){ -1 }, 1);
	lab.view[2].state = PATH_ACTIVE;
	expect(&lab, (int[]){ 2 }, 1);
}

static void names_are_read_as_they_are_written(void **state)
{
	enum path_policy policy = POLICY_FIXED;
	(void)state;

	for (int i = POLICY_FIXED; i <= POLICY_LATENCY; i++) {
		assert_true(path_policy_parse(path_policy_text(i), &policy));
		assert_int_equal(policy, i);
	}
	assert_true(path_policy_parse("rr", &policy));
	assert_int_equal(policy, POLICY_ROUND_ROBIN);
	assert_false(path_policy_parse("VMW_PSP_", &policy));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed_goes_back_and_mru_does_not),
		cmocka_unit_test(fixed_goes_back_after_a_while),
		cmocka_unit_test(fixed_leaves_a_preferred_path_that_is_not_optimized),
		cmocka_unit_test(round_robin_counts_and_skips_who_takes_none),
		cmocka_unit_test(latency_prefers_the_shorter_wait_and_tries_all),
		cmocka_unit_test(nobody_takes_any),
		cmocka_unit_test(names_are_read_as_they_are_written),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
