/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SLEEPER_H
#define TESTS_SIM_SLEEPER_H

/*
 * Stories of a host that stands still, is taken over in its sleep and wakes up, for seeds
 * of sim_controls. It has in memory what another host has changed since: nothing but the
 * lease keeps it from answering (LOCKING.md 9.3).
 */

/* From the moment when it wakes up it reads a file that it has open, under a lock: O2. */
void sleeper_reads_at_once(void *arg);
/* The same, and looks up a name that it has in its cache under a lock of its own. */
void sleeper_looks_up_at_once(void *arg);
/* It reads when it knows that its volume is lost: I13. */
void sleeper_reads_when_fenced(void *arg);

#endif
