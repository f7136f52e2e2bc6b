/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_CAWTEST_H
#define VMFS_CAWTEST_H

/*
 * Is the conditional write of a device atomic? Several sessions count in one sector
 * (LOCKING.md 1.3(2), 4).
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

#define CAWTEST_SESSIONS_MAX 16u

struct cawtest {
	/* Sessions to one device, borrowed; the same may be given more than once. */
	struct bdev *bd[CAWTEST_SESSIONS_MAX];
	unsigned int sessions;
	uint64_t dev_off;     /* a sector whose content is of no use to anybody */
	unsigned int count;   /* increments that each session is to make */
	uint64_t patience_ns; /* fewer if it takes longer */
	struct reporter *r;

	/* Results. */
	enum bdev_caw_class mechanism;
	uint64_t made, shown, miscompares, unknowns, lost, took_ns;
	bool is_atomic;	  /* nothing was lost */
	bool is_complete; /* all increments were made */
};

/* 0: the results hold. -errno: a session failed, nothing is known (reported). Blocks. */
int vmfs_cawtest(struct cawtest *t) __attribute__((warn_unused_result));

#endif
