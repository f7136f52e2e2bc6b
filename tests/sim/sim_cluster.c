/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster protocol with the real library, in virtual time: storms (storm.h) of one
 * kind each, so that a failure says by its name what does not work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/sim/storm.h"

#define WORK (STORM_COUNTER | STORM_OWN)

static void run(uint64_t first, uint64_t count, const struct storm *storm)
{
	struct storm copy = *storm;

	sim_some_seeds(first, count, storm_run, &copy);
}

/*
 * Three hosts on a LUN with COMPARE AND WRITE, nobody dies: every increment counts once.
 */
static void ats_hosts_share_a_counter(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = WORK,
	};

	(void)state;
	run(1, 10, &storm);
}

/* Hosts die at any moment; the others take over and lose nothing acknowledged. */
static void ats_hosts_survive_deaths(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = WORK,
		.faults = STORM_KILL,
		.events = 2,
	};

	(void)state;
	run(100, 20, &storm);
}

/* The same with lost answers, late commands, torn writes and busy targets. */
static void ats_hosts_survive_deaths_on_a_rude_disk(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = WORK,
		.faults = STORM_KILL | STORM_RUDE,
		.events = 2,
	};

	(void)state;
	run(200, 40, &storm);
}

static void ats_hosts_survive_pauses(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = WORK,
		.faults = STORM_KILL | STORM_PAUSE,
		.events = 3,
	};

	(void)state;
	run(300, 20, &storm);
}

static void file_hosts_survive_deaths(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_FILE,
		.hosts = 3,
		.ops = WORK,
		.faults = STORM_KILL,
		.events = 3,
	};

	(void)state;
	run(400, 20, &storm);
}

static void file_hosts_survive_pauses(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_FILE,
		.hosts = 3,
		.ops = WORK,
		.faults = STORM_KILL | STORM_PAUSE | STORM_LONG_PAUSE,
		.events = 3,
	};

	(void)state;
	run(500, 20, &storm);
}

static void reserving_hosts_share_a_counter(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_RESERVE,
		.hosts = 2,
		.ops = WORK,
	};

	(void)state;
	run(600, 10, &storm);
}

/* The guard ends a host that stands still for longer than its lease. */
static void guarded_hosts_survive_long_pauses(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_LONG_PAUSE,
		.events = 3,
	};

	(void)state;
	run(700, 20, &storm);
}

/* Heartbeats, or everything, or everybody's everything does not get through. */
static void hosts_survive_lost_paths_and_stalls(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_HEARTBEAT_PATH | STORM_PATH | STORM_STALL,
		.events = 3,
	};

	(void)state;
	run(800, 20, &storm);
}

/* All lose power, and the target what it had not flushed. */
static void power_failures_lose_nothing_acknowledged(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_POWER,
		.events = 2,
	};

	(void)state;
	run(900, 20, &storm);
}

/* Logs without a flush of each record: who dies loses nothing, his log has it. */
static void lazy_hosts_survive_deaths_and_pauses(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_KILL | STORM_PAUSE | STORM_LONG_PAUSE,
		.events = 3,
		.is_lazy = true,
	};

	(void)state;
	run(1300, 5, &storm);
}

/* Their records go into the memory of the kernel, which has pages (simdisk_bdev.c). */
static void lazy_file_hosts_survive_deaths(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_FILE,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_KILL | STORM_PAUSE,
		.events = 4,
		.is_lazy = true,
	};

	(void)state;
	run(1600, 10, &storm);
	storm.faults = STORM_POWER | STORM_CACHE;
	run(1700, 5, &storm);
}

/* What was synced is there after a power failure, of hosts and target or of it alone. */
static void lazy_hosts_lose_nothing_that_was_synced(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_POWER | STORM_CACHE,
		.events = 3,
		.is_lazy = true,
	};

	(void)state;
	run(1400, 4, &storm);
}

/* The target alone loses power, again and again: nobody loses anything but time. */
static void restarts_of_the_target_lose_nothing(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_CACHE,
		.events = 5,
	};

	(void)state;
	run(1000, 20, &storm);
	storm.has_pr = true;
	storm.faults |= STORM_KILL;
	run(1100, 20, &storm);
}

/*
 * Whole machines stand still, guards too, and go on after they were taken over. Seed 74
 * once read from its cache what was true before.
 */
static void keys_fence_hosts_that_stood_still(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_LONG_PAUSE,
		.events = 4,
		.has_pr = true,
		.no_guard = true,
	};

	(void)state;
	run(60, 20, &storm);
}

/* Free blocks are unmapped while others take and free them, and while hosts die. */
static void what_is_free_is_unmapped_and_nothing_else(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS | STORM_UNMAP,
		.faults = STORM_KILL | STORM_PAUSE | STORM_PATH | STORM_RUDE,
		.events = 4,
	};

	(void)state;
	run(1000, 20, &storm);
	storm.faults = STORM_POWER;
	storm.events = 2;
	run(1100, 10, &storm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ats_hosts_share_a_counter),
		cmocka_unit_test(ats_hosts_survive_deaths),
		cmocka_unit_test(ats_hosts_survive_deaths_on_a_rude_disk),
		cmocka_unit_test(ats_hosts_survive_pauses),
		cmocka_unit_test(file_hosts_survive_deaths),
		cmocka_unit_test(file_hosts_survive_pauses),
		cmocka_unit_test(reserving_hosts_share_a_counter),
		cmocka_unit_test(guarded_hosts_survive_long_pauses),
		cmocka_unit_test(hosts_survive_lost_paths_and_stalls),
		cmocka_unit_test(power_failures_lose_nothing_acknowledged),
		cmocka_unit_test(lazy_hosts_survive_deaths_and_pauses),
		cmocka_unit_test(lazy_hosts_lose_nothing_that_was_synced),
		cmocka_unit_test(lazy_file_hosts_survive_deaths),
		cmocka_unit_test(restarts_of_the_target_lose_nothing),
		cmocka_unit_test(keys_fence_hosts_that_stood_still),
		cmocka_unit_test(what_is_free_is_unmapped_and_nothing_else),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
