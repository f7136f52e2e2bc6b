/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The swarm: each seed draws how many hosts, which operations, which faults, which class
 * of storage (storm.h), and nothing may be found. The last line says how much was done
 * and how fast. `make soak` runs it with very many seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/storm.h"

#define PPM 1000000u

/* Any of everything. */
static void any_weather(void **state)
{
	(void)state;
	sim_some_seeds(1, 160, storm_run, NULL);
}

/* The operations of all kinds, three hosts, deaths: how fast is it? */
static void three_hosts(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_KILL | STORM_PATH | STORM_LONG_PAUSE,
		.events = 3,
	};

	(void)state;
	sim_some_seeds(100001, 60, storm_run, &storm);
}

static int print_sum(void **state)
{
	const struct storm_sum *s = storm_sum;

	(void)state;
	(void)printf("# %llu seeds, %.2f host-days simulated at %llu s per CPU second; "
		     "%llu operations, %llu acquisitions told to hosts, %llu transitions "
		     "of lock records judged, %llu mounts lost\n",
		     (unsigned long long)s->seeds, (double)s->simulated_ns * 3 / 86400e9,
		     (unsigned long long)(s->cpu_ns ? s->simulated_ns / s->cpu_ns : 0),
		     (unsigned long long)s->operations,
		     (unsigned long long)s->acquisitions,
		     (unsigned long long)s->transitions,
		     (unsigned long long)s->lost_mounts);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_weather),
		cmocka_unit_test(three_hosts),
	};

	storm_count_all();
	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, print_sum);
}
