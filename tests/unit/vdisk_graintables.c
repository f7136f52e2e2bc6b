/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at grain tables without a lock while they are given to others: what counts is
 * of the table that was asked for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "vdisk/graintables.h"

#define TABLES 6000u /* three times as many as there may be */
#define LOOKERS 3u
#define TURNS 60000u /* at least, and until one has gone while it was looked at */

struct looking {
	struct grain_tables t;
	atomic_bool is_over;
	atomic_uint wrong;
	_Atomic uint64_t seen, gone;
};

static uint32_t entry_of(uint64_t index, uint32_t i)
{
	return (uint32_t)(index * SPARSE_ENTRIES + i + 2);
}

static void look(void *arg)
{
	struct looking *l = arg;
	uint64_t seen = 0, n = random_u64();
	while (!atomic_load(&l->is_over)) {
		n = n * 6364136223846793005ull + 1442695040888963407ull;
		uint64_t index = (n >> 33) % TABLES;
		unsigned int life;
		const struct grain_table *table = grain_tables_look(&l->t, index, &life);
		if (!table)
			continue;
		bool is_right = true;
		for (uint32_t i = 0; i < SPARSE_ENTRIES; i++)
			is_right &= atomic_load_explicit(&table->entry[i],
							 memory_order_acquire) ==
				    entry_of(index, i);
		if (!grain_table_stands(table, life))
			atomic_fetch_add(&l->gone, 1);
		else if (!is_right)
			atomic_fetch_add(&l->wrong, 1);
		else
			seen++;
	}
	atomic_fetch_add(&l->seen, seen);
}

/* Puts index in, unless it is there. */
static void bring(struct looking *l, uint64_t index)
{
	if (grain_tables_get(&l->t, index))
		return;
	struct grain_table *table = grain_tables_take(&l->t);
	assert_non_null(table);
	for (uint32_t i = 0; i < SPARSE_ENTRIES; i++)
		atomic_store_explicit(&table->entry[i], entry_of(index, i),
				      memory_order_release);
	grain_tables_put(&l->t, index, table);
}

static void what_counts_is_of_the_table(void **state)
{
	static struct looking l;
	struct task *task[LOOKERS];
	(void)state;
	assert_int_equal(grain_tables_init(&l.t, TABLES, 1), 0);
	assert_in_range(l.t.most, 1000, TABLES / 2);
	for (unsigned int i = 0; i < LOOKERS; i++)
		task[i] = task_start("look", look, &l);
	for (unsigned int i = 0; i < TURNS || !atomic_load(&l.gone); i++)
		bring(&l, random_u64() % TABLES);
	atomic_store(&l.is_over, true);
	for (unsigned int i = 0; i < LOOKERS; i++)
		task_join(task[i]);
	assert_int_equal(l.t.count, l.t.most);
	assert_int_equal(atomic_load(&l.wrong), 0);
	assert_true(atomic_load(&l.seen) > 0);
	print_message("# seen %llu, gone meanwhile %llu\n",
		      (unsigned long long)atomic_load(&l.seen),
		      (unsigned long long)atomic_load(&l.gone));
	grain_tables_done(&l.t);
}

/* What has changes stays, whatever comes. */
static void changed_ones_stay(void **state)
{
	struct looking l = { .is_over = false };
	(void)state;
	assert_int_equal(grain_tables_init(&l.t, TABLES, 1), 0);
	for (uint64_t index = 0; index < TABLES; index++) {
		bring(&l, index);
		if (index % 7 == 0)
			grain_tables_get(&l.t, index)->dirty = 1;
		if (index % 7 == 1)
			grain_tables_get(&l.t, index)->is_in_flush = true;
	}
	for (uint64_t index = 0; index < TABLES; index++) {
		const struct grain_table *table = grain_tables_get(&l.t, index);
		if (index % 7 <= 1)
			assert_non_null(table);
		if (table)
			assert_int_equal(table->index, index);
	}
	grain_tables_done(&l.t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_counts_is_of_the_table),
		cmocka_unit_test(changed_ones_stay),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
