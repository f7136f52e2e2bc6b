/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_ONLOOKER_H
#define TESTS_SIM_ONLOOKER_H

/* A host that checks the volume again and again while others write it: fsck --online. */
#include "tests/sim/cluster.h"

struct onlooker {
	struct cluster *cluster; /* set before */
	/* set before: what is wrong, "CODE: sentence"; or NULL */
	const char *fault;
	bool is_over;		 /* set: ends after the check that is under way */
	unsigned long checks, found, changed; /* found: the fault; changed: places */
	unsigned long failed; /* could not be done: the storage would not */
	char leaks[1024];     /* blocks that the dead left behind: onlooker_judge() */
};

/* A fiber of a host of its own: fails if anything but the fault is found. */
struct task *onlooker_start(struct onlooker *o);
/*
 * From the world, when all is over: what was called a leak (a host died while it made or
 * freed its journal) is one still.
 */
void onlooker_judge(const struct onlooker *o);

#endif
