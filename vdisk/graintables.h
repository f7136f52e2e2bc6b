/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_GRAINTABLES_H
#define VDISK_GRAINTABLES_H

/*
 * The grain tables of an extent that are in memory, of which there are only so many: for
 * a new one an old one goes that has nothing to be written. Looking takes no lock;
 * whatever else is done here is done under a mutex of the owner's. Nothing blocks.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdisk/sparseformat.h"

struct grain_table {
	atomic_uint life;     /* another one with each index that it is given */
	atomic_bool is_used;  /* since the hand came by */
	uint32_t index;
	_Atomic uint32_t entry[SPARSE_ENTRIES];
	uint8_t dirty;	      /* a bit for each of its sectors */
	bool is_in_flush;     /* what was dirty is on its way: it stays */
};

struct grain_tables {
	struct grain_table *_Atomic *of; /* by index; NULL: not in memory */
	struct grain_table **all;	 /* that there are */
	uint32_t count, most, hand;
	struct grain_table *empty; /* in place of all that have no entry; never changed */
};

/* For that many tables, of a disk of capacity sectors. 0 or -ENOMEM. */
int grain_tables_init(struct grain_tables *t, uint32_t table_count, uint64_t capacity)
	__attribute__((warn_unused_result));
/* A zero-filled one is allowed. */
void grain_tables_done(struct grain_tables *t);

/*
 * Entries that are read between the two are of the table if it stands then: NULL or
 * false: it is not in memory, or has gone meanwhile.
 */
struct grain_table *grain_tables_look(struct grain_tables *t, uint64_t index,
				      unsigned int *ret_life);
bool grain_table_stands(const struct grain_table *table, unsigned int life);

/* The table, or NULL. */
static inline struct grain_table *grain_tables_get(const struct grain_tables *t,
						   uint64_t index)
{
	return atomic_load_explicit(&t->of[index], memory_order_acquire);
}
/*
 * One that is nobody's, whatever stands in it, until grain_tables_put() or the end of the
 * mutex. NULL: no memory.
 */
struct grain_table *grain_tables_take(struct grain_tables *t);
/* table, filled, is that of index from now on; it may be t->empty. */
void grain_tables_put(struct grain_tables *t, uint64_t index, struct grain_table *table);

#endif
