/* SPDX-License-Identifier: Apache-2.0 */
/* When ends and requests are told of at once, and when they wait for the next end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "base/env.h"
#include "vmkernel/vhost/pace.h"

static uint64_t now = NS_PER_S;

/* So many ends, each so long after the one before, of a queue of that depth. */
static void ends(struct pace *p, unsigned int count, uint64_t apart, unsigned int depth)
{
	for (unsigned int i = 0; i < count; i++) {
		now += apart;
		pace_ended(p, now, depth);
	}
}

static struct pace at(uint64_t apart, unsigned int depth)
{
	struct pace p;
	pace_init(&p);
	ends(&p, 100, apart, depth);
	return p;
}

static void holds(const struct pace *p, unsigned int at_disk, unsigned int batch)
{
	assert_true(pace_is_muted(p, at_disk));
	assert_int_equal(pace_batch(p, at_disk), batch);
}

static void holds_nothing(const struct pace *p, unsigned int at_disk)
{
	assert_false(pace_is_muted(p, at_disk));
	assert_int_equal(pace_batch(p, at_disk), 1);
}

static void nothing_waits_before_it_is_known_to_be_quick(void **state)
{
	struct pace p;
	(void)state;
	pace_init(&p);
	holds_nothing(&p, 32);
	ends(&p, 1, 50 * NS_PER_US, 32);
	holds_nothing(&p, 32);
	ends(&p, 100, 50 * NS_PER_US, 32);
	holds(&p, 32, 8);
}

static void a_shallow_queue_never_waits(void **state)
{
	(void)state;
	for (unsigned int depth = 1; depth < 8; depth++) {
		struct pace p = at(10 * NS_PER_US, depth);
		for (unsigned int at_disk = 0; at_disk <= depth; at_disk++)
			holds_nothing(&p, at_disk);
	}
	struct pace deep = at(10 * NS_PER_US, 8);
	holds(&deep, 8, 2);
	holds(&deep, 7, 1);
}

/* It is forgotten in a dozen of ends that the queue was deep. */
static void a_queue_that_becomes_shallow_waits_no_more(void **state)
{
	struct pace p = at(10 * NS_PER_US, 32);
	(void)state;
	ends(&p, 12, 10 * NS_PER_US, 1);
	holds_nothing(&p, 1);
}

static void nothing_waits_for_what_is_not_there(void **state)
{
	struct pace p = at(10 * NS_PER_US, 32);
	(void)state;
	assert_false(pace_is_muted(&p, 0));
	assert_int_equal(pace_batch(&p, 0), 1);
}

static void a_slow_disk_never_waits(void **state)
{
	struct pace quick = at(900 * NS_PER_US, 32), slow = at(1100 * NS_PER_US, 32);
	(void)state;
	holds(&quick, 32, 8);
	holds_nothing(&slow, 32);
}

/* However long the pause was: the mean is what it was before in a dozen of ends. */
static void one_pause_is_soon_forgotten(void **state)
{
	struct pace p = at(900 * NS_PER_US, 32);
	(void)state;
	ends(&p, 1, 3600 * NS_PER_S, 32);
	holds_nothing(&p, 32);
	ends(&p, 12, 900 * NS_PER_US, 32);
	holds(&p, 32, 8);
}

static void rest_is_no_pause(void **state)
{
	struct pace p = at(100 * NS_PER_US, 32);
	(void)state;
	for (unsigned int i = 0; i < 100; i++) {
		pace_rests(&p);
		ends(&p, 1, NS_PER_S, 32);
	}
	holds(&p, 32, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_waits_before_it_is_known_to_be_quick),
		cmocka_unit_test(a_shallow_queue_never_waits),
		cmocka_unit_test(a_queue_that_becomes_shallow_waits_no_more),
		cmocka_unit_test(nothing_waits_for_what_is_not_there),
		cmocka_unit_test(a_slow_disk_never_waits),
		cmocka_unit_test(one_pause_is_soon_forgotten),
		cmocka_unit_test(rest_is_no_pause),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
