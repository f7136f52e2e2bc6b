/* SPDX-License-Identifier: Apache-2.0 */
/* When a task waits awake, and how long it rests from it (bdev/awake.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "bdev/awake.h"

/* Awake for nothing: 1, 2, 4 ... 128 ms of rest, and never more. */
static void each_wait_for_nothing_makes_the_rest_longer(void **state)
{
	struct awake a = { 0 };
	uint64_t now = 5 * NS_PER_S, rest = NS_PER_MS;
	(void)state;

	assert_true(awake_may(&a, now));
	for (int i = 0; i < 10; i++) {
		awake_begin(&a);
		awake_end(&a, now, false);
		assert_false(awake_may(&a, now + rest - 1));
		assert_true(awake_may(&a, now + rest));
		now += rest;
		rest = min_u64(2 * rest, 128 * NS_PER_MS);
	}
}

/* Of use, and in nobody's way: no rest at all, and the next one is shorter. */
static void a_wait_of_use_costs_no_rest(void **state)
{
	struct awake a = { .rest = 16 * NS_PER_MS, .rest_until = 7 };
	(void)state;

	for (int i = 0; i < 100; i++) {
		struct awake before = a;
		awake_begin(&a);
		awake_end(&a, 7, true);
		if (a.rest_until == 7) {
			assert_true(a.rest < before.rest);
			return;
		}
		a = before; /* this very wait was in the way of another task */
	}
	fail_msg("each of 100 waits of no time was in the way of another task");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_wait_for_nothing_makes_the_rest_longer),
		cmocka_unit_test(a_wait_of_use_costs_no_rest),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("bdev_awake", tests, NULL, NULL);
}
