/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMGUARD_H
#define TESTS_SIM_SIMGUARD_H

/*
 * The guard of a simulated host (bdev/guard.h): not a task of the host, so it acts also
 * while that stands still. It resets the sessions of simulated disks that were put under
 * a lease (bdev_guard), and kills the host.
 */
#include <stdbool.h>

#include "bdev/guard.h"
#include "tests/sim/sim.h"

/* Of h; freed with simguard_free() (not by guard_stop: its host may be dead then). */
struct guard *simguard_new(struct sim_host *h);
void simguard_free(struct guard *g);
/*
 * To be called often by the world, no less than every second (LOCKING.md A6). true: it
 * has killed its host.
 */
bool simguard_watch(struct guard *g);
/* It does nothing any more, and does not say so: a negative control. */
void simguard_fall_asleep(struct guard *g);

#endif
