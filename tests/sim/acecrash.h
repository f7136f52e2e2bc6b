/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_ACECRASH_H
#define TESTS_SIM_ACECRASH_H

/*
 * A host lives through a sequence (ace.h), and the power fails:
 *
 *  1 after every write;
 *  2 with every subset of what was not flushed, or samples where these are too many;
 *  3 in the middle of a write of several sectors: after each sector, and without each;
 *  4 again after every write of the recovery, and once more in that one's recovery;
 *  5 of the host that recovers alone, after every write of its taking over (so between
 *    any two of the steps B1 to B8): a third host takes both over.
 *
 * Each state is recovered by another host or by the same one, and every fourth is looked
 * at without recovery before. Then ace_judge() and fsck have their say (O2, O3).
 *
 * Every free block and sub-block holds ACE_POISON when a life begins.
 */
#include "bdev/bdev.h"
#include "tests/sim/image.h"

#define ACE_LEVELS 5u

/* Counted over all processes: in shared memory. */
struct ace_counts {
	unsigned long states[ACE_LEVELS + 1]; /* by level; [0]: sequences */
	unsigned long met_poison; /* writes to blocks that held poison */
};

struct acecrash {
	enum bdev_caw_class caw;
	bool is_lazy;		/* the host's log is: vmfs_open_options */
	struct image *img;
	unsigned int number;	/* of the sequence */
	/*
	 * 0: all moments; else those of its last operation alone, what is before is
	 * known.
	 */
	bool is_last_op_only;
	unsigned int levels;	/* bits 1 << level */
	unsigned int mask_bits;	/* so many volatile writes: all their subsets */
	/* subsets where they are more; and writes torn by chance */
	unsigned int samples;
	unsigned int tear_max;	/* so many sectors: each; else samples */
	unsigned int again_every; /* of the moments, for levels 4 and 5 */
	unsigned int third_every; /* of the moments of a recovery, for its own recovery */
	struct ace_counts *counts;
};

/* For sim_run(): makes run->img for run->caw. */
void acecrash_prepare(void *run);
/* For sim_each_seed(): one sequence. */
void acecrash_run(void *run);

#endif
