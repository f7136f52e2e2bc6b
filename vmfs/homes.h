/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_HOMES_H
#define VMFS_HOMES_H

/*
 * Sectors that this member has logged and not yet written in place: what their places are
 * to hold (journalcommit.c). As many as one filling of the log can name, so that there is
 * always room. Nothing here does I/O or blocks.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"

struct vmfs_homes {
	struct mutex m; /* guards all but what only the holder of txn_lock changes */
	uint32_t room, count, slots; /* sectors; slots: of the table, a power of two */
	uint64_t turn;		     /* of homes_clear() */
	bool is_going_home;	     /* they are written in place right now */
	uint64_t *vol_offs;
	uint8_t *data;
	uint32_t *table; /* by volume offset: index + 1, 0: none */
	uint64_t (*order)[2]; /* volume offset, index */
};

/* room: sectors at most. 0 or -ENOMEM. */
int homes_init(struct vmfs_homes *h, uint32_t room) __attribute__((warn_unused_result));
/* Also of what was zeroed and never initialised. */
void homes_done(struct vmfs_homes *h);
/* Keeps a sector, in the place of an older image of it. */
void homes_put(struct vmfs_homes *h, uint64_t vol_off, const void *sector);
/* Brings them into the order of their places. */
void homes_sort(struct vmfs_homes *h);
/*
 * Copies the from-th of that order, and those that follow it without a gap, at most max
 * sectors, into buf; returns how many.
 */
uint32_t homes_gather(const struct vmfs_homes *h, uint32_t from, uint32_t max,
		      uint8_t *buf, uint64_t *ret_vol_off);
/* All of it stands in place. */
void homes_clear(struct vmfs_homes *h);

/*
 * Around a read from the disk: homes_mark() before it; behind it, homes_lay_over() puts
 * what is kept over what was read. False: some of it was written in place meanwhile, so
 * it is read again.
 */
uint64_t homes_mark(struct vmfs_homes *h);
bool homes_lay_over(struct vmfs_homes *h, uint64_t mark, uint64_t vol_off, void *buf,
		    uint64_t len);
/* Is any sector of this kept? */
bool homes_have(struct vmfs_homes *h, uint64_t vol_off, uint64_t len);

#endif
