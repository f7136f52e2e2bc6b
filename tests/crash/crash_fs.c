/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A power failure at every moment of one or two operations, of the mount, of the unmount,
 * and of the recovery from a power failure: tests/sim/crashlife.h.
 *
 * CRASH_PAIR=first.second: these two operations alone; FULL: all pairs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/sim/crashlife.h"
#include "tests/sim/sim.h"

static void begin(struct crashlife *run)
{
	sim_run(1, crashlife_prepare, run);
	run->states = mmap(NULL, sizeof(*run->states), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(run->states, MAP_FAILED);
}

static void end(struct crashlife *run)
{
	printf("# %lu states\n", *run->states);
	munmap(run->states, sizeof(*run->states));
	image_free(run->img);
}

static void check_pairs(struct crashlife *run, unsigned int first_every,
			unsigned int second_every)
{
	const char *only = getenv("CRASH_PAIR");
	unsigned int i, k;

	begin(run);
	if (only && sscanf(only, "%u.%u", &i, &k) == 2 && i < CRASHLIFE_OPS &&
	    k < CRASHLIFE_OPS) {
		run->pair[0] = i;
		run->pair[1] = k;
		sim_each_seed(1, 1, crashlife_run, run);
	}
	for (i = 0; !only && i < CRASHLIFE_OPS; i += first_every) {
		for (k = (i + second_every - 1) % second_every; k < CRASHLIFE_OPS;
		     k += second_every) {
			run->pair[0] = i;
			run->pair[1] = k;
			sim_each_seed(i * 100 + k, 1, crashlife_run, run);
		}
	}
	end(run);
}

/* Each fifth operation of the table, followed by some other; FULL: each by each. */
static void a_crash_leaves_before_or_after(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_FILE };

	(void)state;
	check_pairs(&run, getenv("FULL") ? 1 : 5, getenv("FULL") ? 1 : CRASHLIFE_OPS);
}

static void a_crash_in_the_recovery_leaves_before_or_after(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_FILE,
			   .again_every = getenv("FULL") ? 2 : 5 };

	(void)state;
	check_pairs(&run, getenv("FULL") ? 1 : 14, CRASHLIFE_OPS);
}

/* The same where a dead host's lease has to end first. */
static void a_crash_on_a_lun_leaves_before_or_after(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_ATS };

	(void)state;
	check_pairs(&run, getenv("FULL") ? 1 : 23, CRASHLIFE_OPS);
}

/* VMFS-5 that was VMFS-3: sub-blocks of 64 KiB, some of them in two blocks. */
static void a_crash_on_an_upgraded_volume_leaves_before_or_after(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_FILE, .upgraded = 2u << 20 };

	(void)state;
	check_pairs(&run, getenv("FULL") ? 1 : 19, getenv("FULL") ? 1 : CRASHLIFE_OPS);
}

/* VMFS-6: its own allocation, journals and directories. */
static void a_crash_on_vmfs6_leaves_before_or_after(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_FILE, .is_6 = true };

	(void)state;
	check_pairs(&run, getenv("FULL") ? 1 : 16, getenv("FULL") ? 1 : CRASHLIFE_OPS);
}

/* The same with logs that are not flushed by each operation. */
static void a_lazy_crash_on_vmfs6_leaves_some_moment(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_FILE, .is_6 = true, .is_lazy = true };

	(void)state;
	check_pairs(&run, getenv("FULL") ? 1 : 23, getenv("FULL") ? 1 : CRASHLIFE_OPS);
}

static void a_lazy_crash_leaves_some_moment(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_FILE, .is_lazy = true };

	(void)state;
	if (!getenv("FULL") && !getenv("CRASH_PAIR"))
		skip(); /* crash_ace has some */
	check_pairs(&run, 1, 1);
}

static void a_crash_in_the_recovery_of_vmfs6_leaves_before_or_after(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_FILE, .is_6 = true,
				 .again_every = getenv("FULL") ? 3 : 13 };

	(void)state;
	check_pairs(&run, getenv("FULL") ? 1 : 17, CRASHLIFE_OPS);
}

/* Files whose large block is divided, or goes. */
static void a_crash_with_large_blocks_leaves_before_or_after(void **state)
{
	struct crashlife run = { .caw = BDEV_CAW_FILE, .is_6 = true, .is_large = true };
	const char *only = getenv("CRASH_PAIR");
	unsigned int first = CRASHLIFE_OPS, step = getenv("FULL") ? 1 : 9;

	(void)state;
	begin(&run);
	if (only && sscanf(only, "%u", &first) == 1)
		step = CRASHLIFE_LARGE_OPS;
	run.pair[1] = CRASHLIFE_OPS - 1;
	for (unsigned int i = first; i < CRASHLIFE_OPS + CRASHLIFE_LARGE_OPS; i += step) {
		run.pair[0] = i;
		sim_each_seed(i, 1, crashlife_run, &run);
	}
	end(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_leaves_before_or_after),
		cmocka_unit_test(a_crash_in_the_recovery_leaves_before_or_after),
		cmocka_unit_test(a_crash_on_a_lun_leaves_before_or_after),
		cmocka_unit_test(a_crash_on_an_upgraded_volume_leaves_before_or_after),
		cmocka_unit_test(a_crash_on_vmfs6_leaves_before_or_after),
		cmocka_unit_test(a_lazy_crash_on_vmfs6_leaves_some_moment),
		cmocka_unit_test(a_lazy_crash_leaves_some_moment),
		cmocka_unit_test(
			a_crash_in_the_recovery_of_vmfs6_leaves_before_or_after),
		cmocka_unit_test(a_crash_with_large_blocks_leaves_before_or_after),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
