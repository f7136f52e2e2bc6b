/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_CLAIMS_H
#define TESTS_SIM_CLAIMS_H

/* Stories of claims (LOCKING.md 7.2), for seeds of sim_controls. */

/*
 * A host dies; two others want its lock, and one of them claims it and then stands still
 * for three seconds. The claim stays his. No oracle: hosts may be of one owner UUID.
 */
void claim_of_one_who_lives(void *arg);
/*
 * The claimer dies right behind his claim; somebody takes him over and leaves, and a new
 * host has the claimer's slot. Who wants what the first one had gets it: L1.
 */
void claim_of_one_who_has_gone(void *arg);

#endif
