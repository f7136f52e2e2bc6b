/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_HOLE_H
#define FSCK_HOLE_H

/*
 * A place in a resource file, and a block for it: what holes.c and strays.c weigh.
 */
#include "fsck/state.h"

struct hole {
	struct fsck *f;
	enum fsck_resource_index i;
	uint64_t at;	   /* number in the file */
	uint64_t block;	   /* on the volume: the one that was weighed last */
	uint64_t not_this; /* the block that is named, and is wrong; 0: none is */
	uint8_t *bytes;	   /* of `block`: room for one */
	/* What in it is at home here, and what cannot be. */
	uint32_t good, bad;
	/* Locks at home, whatever is behind them; other parts without such a lock. */
	uint32_t locks, traces;
};

/* Reads a block and weighs it. false: it cannot be read. */
bool hole_weigh(struct hole *h, uint64_t block);
/* In use, and nobody's. */
bool hole_is_nobodys(const struct hole *h, uint64_t block);
/* In use, nobody's, and not the one that is wrong. */
bool hole_may_be(const struct hole *h, uint64_t block);
/*
 * The first lock that must stand in the block at home: where in it, and of which type.
 * false: nothing in it carries its place. Needs bytes, but does not read.
 */
bool hole_first_mark(const struct hole *h, uint64_t *ret_off, uint32_t *ret_type);
/*
 * Where the address of block `at` stands; 0: in a pointer block that is missing, too, or
 * that another file has as well.
 */
uint64_t hole_entry_off(const struct hole *h, enum plan_step *ret_step);
/* Blocks that a file must have for what it manages; 0: it is none to be looked at. */
uint64_t hole_blocks_needed(const struct fsck_volume *v, enum fsck_resource_index i);

#endif
