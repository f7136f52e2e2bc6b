/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a guest is reset because it is silent (vmkernel/ha/monitor.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/env.h"
#include "vmkernel/ha/monitor.h"

#define S NS_PER_S
#define START (1000 * S)

static const struct monitor_rules rules = { .failure_ns = 30 * S, .uptime_ns = 120 * S,
					    .io_ns = 60 * S, .window_ns = 3600 * S,
					    .failures = 3 };

static enum monitor_says look(struct monitor *m, uint64_t seconds)
{
	return monitor_look(m, &rules, 7, START + seconds * S);
}

static void guest_without_an_agent_is_left_alone(void **state)
{
	struct monitor m = { 0 };
	(void)state;
	for (uint64_t s = 0; s < 10000; s += 100)
		assert_int_equal(look(&m, s), MONITOR_FINE);
}

static void silent_guest_is_reset_after_the_interval(void **state)
{
	struct monitor m = { 0 };
	(void)state;
	assert_int_equal(look(&m, 0), MONITOR_FINE);
	monitor_beat(&m, START + 50 * S);
	assert_int_equal(look(&m, 119), MONITOR_FINE); /* it may still come up */
	assert_int_equal(look(&m, 120), MONITOR_RESET);
	monitor_beat(&m, START + 300 * S);
	assert_int_equal(look(&m, 329), MONITOR_FINE);
	assert_int_equal(look(&m, 330), MONITOR_RESET);
}

static void guest_that_does_io_is_not_reset(void **state)
{
	struct monitor m = { 0 };
	(void)state;
	(void)look(&m, 0);
	monitor_beat(&m, START + 100 * S);
	assert_int_equal(monitor_look(&m, &rules, 8, START + 200 * S), MONITOR_FINE);
	assert_int_equal(monitor_look(&m, &rules, 8, START + 259 * S), MONITOR_FINE);
	assert_int_equal(monitor_look(&m, &rules, 8, START + 260 * S), MONITOR_RESET);
}

static void no_more_resets_than_in_the_rules(void **state)
{
	struct monitor m = { 0 };
	(void)state;
	(void)look(&m, 0);
	monitor_beat(&m, START + S);
	assert_int_equal(look(&m, 120), MONITOR_RESET);
	assert_int_equal(look(&m, 239), MONITOR_FINE); /* it comes up again */
	assert_int_equal(look(&m, 240), MONITOR_RESET);
	assert_int_equal(look(&m, 360), MONITOR_RESET);
	assert_int_equal(look(&m, 480), MONITOR_GIVE_UP);
	assert_int_equal(look(&m, 481), MONITOR_FINE); /* said once */
	assert_int_equal(look(&m, 3720), MONITOR_FINE);
	assert_int_equal(look(&m, 3721), MONITOR_RESET); /* the first is an hour ago */
	monitor_beat(&m, START + 3900 * S);
	assert_int_equal(look(&m, 3930), MONITOR_RESET);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_without_an_agent_is_left_alone),
		cmocka_unit_test(silent_guest_is_reset_after_the_interval),
		cmocka_unit_test(guest_that_does_io_is_not_reset),
		cmocka_unit_test(no_more_resets_than_in_the_rules),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
