/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded set of grain tables, and looking into it without a lock.
 *
 * Tables are never freed while the extent is open, only given to another index: who looks
 * may always read one. What he has read counts if the table's life is what it was before:
 *
 *	giving	of[old] = NULL -> life + 1 -> entries -> of[new] = table
 *	looking	table = of[index] -> life -> is of[index] still table? -> entries -> life
 *
 * Every store is a release and every load an acquire. If one of the entries was of the
 * next index, the life read last is another than the one before: it was changed before
 * that entry, and after of[] was (so a life that was read too late does not meet the
 * table at its old place any more).
 *
 * Invariants:
 * 1. A table with changes that are not in the file (dirty, is_in_flush) does not go. The
 *    owner sees to it that these are never all of them.
 * 2. of[] has a table once, at table->index, or nowhere if it was taken.
 */
#include "vdisk/graintables.h"

#include <errno.h>
#include <stdlib.h>

#include "base/align.h"

#define LEAST_BYTES (4ull << 20)
/* A TiB, of the 64 that an open disk may take: where grains are of 4 KiB directories
 * need 8, and what is on its way to the file 6. */
#define MOST_MIB 48u

static uint32_t most_tables(uint64_t capacity)
{
	uint64_t bytes = max_u64(LEAST_BYTES, div_up(capacity, 1u << 11) * MOST_MIB);
	return (uint32_t)min_u64(bytes / sizeof(struct grain_table), UINT32_MAX);
}

int grain_tables_init(struct grain_tables *t, uint32_t table_count, uint64_t capacity)
{
	*t = (struct grain_tables){
		.most = (uint32_t)min_u64(table_count, most_tables(capacity)),
		.of = calloc(table_count, sizeof(*t->of)),
		.empty = calloc(1, sizeof(*t->empty)),
	};
	t->all = calloc(t->most, sizeof(struct grain_table *));
	if (t->of && t->empty && t->all)
		return 0;
	grain_tables_done(t);
	return -ENOMEM;
}

void grain_tables_done(struct grain_tables *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		free(t->all[i]);
	free(t->all);
	free(t->of);
	free(t->empty);
	*t = (struct grain_tables){ .count = 0 };
}

struct grain_table *grain_tables_look(struct grain_tables *t, uint64_t index,
				      unsigned int *ret_life)
{
	struct grain_table *table = grain_tables_get(t, index);
	if (!table)
		return NULL;
	*ret_life = atomic_load_explicit(&table->life, memory_order_acquire);
	if (grain_tables_get(t, index) != table)
		return NULL;
	if (!atomic_load_explicit(&table->is_used, memory_order_relaxed))
		atomic_store_explicit(&table->is_used, true, memory_order_relaxed);
	return table;
}

bool grain_table_stands(const struct grain_table *table, unsigned int life)
{
	return atomic_load_explicit(&table->life, memory_order_acquire) == life;
}

/* Round the hand twice: who was looked at since it came by stays for a round. */
static struct grain_table *take_old(struct grain_tables *t)
{
	for (uint64_t n = 0; n < 2 * (uint64_t)t->count; n++) {
		struct grain_table *table = t->all[t->hand];
		t->hand = (t->hand + 1) % t->count;
		if (table->dirty || table->is_in_flush)
			continue;
		if (atomic_exchange_explicit(&table->is_used, false,
					     memory_order_relaxed))
			continue;
		if (grain_tables_get(t, table->index) == table)
			atomic_store_explicit(&t->of[table->index], NULL,
					      memory_order_release);
		atomic_fetch_add_explicit(&table->life, 1, memory_order_acq_rel);
		return table;
	}
	return NULL;
}

struct grain_table *grain_tables_take(struct grain_tables *t)
{
	if (t->count == t->most)
		return take_old(t);
	struct grain_table *table = calloc(1, sizeof(*table));
	if (table)
		t->all[t->count++] = table;
	return table;
}

void grain_tables_put(struct grain_tables *t, uint64_t index, struct grain_table *table)
{
	if (table != t->empty)
		table->index = (uint32_t)index;
	atomic_store_explicit(&t->of[index], table, memory_order_release);
}
