/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All sequences of one and of two operations, and the power fails: tests/sim/acecrash.h.
 * One operation: at every moment of a host's life. Two: at every moment of the second,
 * what comes before is that of one.
 *
 * CRASH_SEQUENCE=n: this sequence alone. FULL: all sequences; NIGHT: all subsets, tears
 * and recoveries too. CRASH_SLICE=k/n: the k-th (from 0) of n parts of them, each with
 * every n-th sequence: together they are all of it (tests/crash/pairs.sh).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/sim/ace.h"
#include "tests/sim/acecrash.h"
#include "tests/sim/sim.h"

/* One of three, by how long the test may run. */
static unsigned int pick(unsigned int check, unsigned int full, unsigned int night)
{
	return getenv("NIGHT") ? night : getenv("FULL") ? full : check;
}

static void prepare(struct acecrash *run)
{
	sim_run(1, acecrash_prepare, run);
	run->counts = mmap(NULL, sizeof(*run->counts), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(run->counts, MAP_FAILED);
}

static void finish(struct acecrash *run)
{
	const struct ace_counts *c = run->counts;

	printf("# %lu sequences; states of level", c->states[0]);
	for (unsigned int i = 1; i <= ACE_LEVELS; i++)
		printf(" %u: %lu%s", i, c->states[i], i < ACE_LEVELS ? "," : "\n");
	printf("# %lu writes met poison\n", c->met_poison);
	munmap(run->counts, sizeof(*run->counts));
	image_free(run->img);
}

/* Is the i-th of what is to be done in this slice? */
static bool is_in_slice(unsigned int i)
{
	const char *slice = getenv("CRASH_SLICE");
	unsigned int k = 0, n = 1;

	if (slice && (sscanf(slice, "%u/%u", &k, &n) != 2 || k >= n))
		fail_msg("CRASH_SLICE=%s is not k/n", slice);
	return i % n == k;
}

/*
 * Of a lazy log, in `make check`: what was freed is used again, what is synced counts, a
 * name over another, and one of each kind.
 */
static bool is_telling(unsigned int number)
{
	static const char *const telling[] = {
		"truncate /foo 307200+0; write /A/bar 90+20480",
		"truncate /foo 0+0; write /A/bar 3000+1049076",
		"unlink /foo ; write /A/bar 3000+1049076",
		"write /A/bar 10+300; fsync /A/bar ",
		"write /A/bar 90+20480; fsync /A/bar ",
		"allocate /foo 1048576+2097152; fsync /foo ",
		"write /foo 2094152+70000; rename /foo /A/bar",
		"rename /foo /A/bar; rmdir /B ",
		"rename /A /B; unlink /foo ",
		"mkdir /new ; unlink /foo ",
		"create /B/new ; setattr /foo ",
		"rmdir /B ; write /A/bar 700+5000",
		"symlink /B/link /nowhere; truncate /foo 4194304+0",
	};
	struct ace_sequence s;
	char text[160];

	ace_sequence_get(number, &s);
	(void)ace_sequence_text(&s, text);
	for (unsigned int i = 0; i < ARRAY_SIZE(telling); i++)
		if (!strcmp(text, telling[i]))
			return true;
	return false;
}

/* Sequences of `length` operations, each `every`-th; 0: those that tell most. */
static void check_sequences(struct acecrash *run, unsigned int length,
			    unsigned int every)
{
	const char *only = getenv("CRASH_SEQUENCE");
	unsigned int seen = 0, chosen = 0;

	prepare(run);
	for (unsigned int i = 0; i < ace_sequence_count(); i++) {
		struct ace_sequence s;

		ace_sequence_get(i, &s);
		bool is_left_out = every ? seen % every : !is_telling(i);
		if (s.count == length)
			seen++;
		if (only ? i != (unsigned int)atoi(only)
			 : s.count != length || is_left_out || !is_in_slice(chosen++))
			continue;
		run->number = i;
		sim_each_seed(i, 1, acecrash_run, run);
	}
	assert_true(only || getenv("CRASH_SLICE") || run->counts->met_poison);
	finish(run);
}

static void one_operation_is_done_or_not(void **state)
{
	struct acecrash run = { .caw = BDEV_CAW_FILE,
				.levels = 1 << 1 | 1 << 2 | 1 << 3,
				.mask_bits = pick(4, 7, 10),
				.samples = pick(1, 4, 20),
				.tear_max = pick(8, 64, 64) };

	(void)state;
	check_sequences(&run, 1, 1);
}

static void two_operations_are_done_or_not(void **state)
{
	struct acecrash run = { .caw = BDEV_CAW_FILE,
				.levels = 1 << 1 | 1 << 2 | 1 << 3,
				.is_last_op_only = true,
				.mask_bits = pick(2, 5, 10),
				.samples = pick(1, 2, 20),
				.tear_max = pick(0, 8, 64) };

	(void)state;
	check_sequences(&run, 2, pick(37, 1, 1));
}

/* A log that is not flushed by each operation: the last ones may be missing, in order. */
static void lazy_operations_are_done_in_order_or_not(void **state)
{
	struct acecrash run = { .caw = BDEV_CAW_FILE,
				.is_lazy = true,
				.levels = 1 << 1 | 1 << 2 | 1 << 3,
				.mask_bits = pick(3, 6, 10),
				.samples = pick(3, 6, 20),
				.tear_max = pick(0, 8, 64) };

	(void)state;
	check_sequences(&run, 2, pick(0, 1, 1));
}

static void a_recovery_that_ends_is_recovered(void **state)
{
	struct acecrash run = { .caw = BDEV_CAW_FILE,
				.levels = 1 << 4,
				.is_last_op_only = true,
				.again_every = pick(7, 5, 2),
				.third_every = pick(11, 7, 4) };

	(void)state;
	check_sequences(&run, 2, pick(150, 20, 3));
}

static void a_claimer_that_dies_is_taken_over(void **state)
{
	struct acecrash run = { .caw = BDEV_CAW_ATS,
				.levels = 1 << 5,
				.again_every = pick(17, 5, 2) };

	(void)state;
	check_sequences(&run, 1, pick(9, 3, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_operation_is_done_or_not),
		cmocka_unit_test(two_operations_are_done_or_not),
		cmocka_unit_test(lazy_operations_are_done_in_order_or_not),
		cmocka_unit_test(a_recovery_that_ends_is_recovered),
		cmocka_unit_test(a_claimer_that_dies_is_taken_over),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
