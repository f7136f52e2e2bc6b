/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

/*
 * Errors of the cluster protocol that may be switched on: negative controls
 * (TESTING.md 5). One at a time, or several that are nets under one another. The linker
 * puts each between its caller and the library (--wrap), so the library knows nothing of
 * them.
 */

enum fault {
	/* journal, locks */
	FAULT_NO_JOURNAL,
	FAULT_NO_REPLAY,
	FAULT_NO_TOKEN_CHECK,
	FAULT_WRONG_GENERATION,
	FAULT_NONCE_REPEATS,
	FAULT_EARLY_CLEAR,
	FAULT_UNLOCK_BEFORE_FLUSH,
	FAULT_UNLOCK_BEFORE_TRIM,
	FAULT_PLACES_SENT_ONCE,
	FAULT_KEEP,
	FAULT_GHOST,
	FAULT_TOKEN_LEAVE,
	FAULT_TOKEN_RELEASE,
	FAULT_TOKEN_UPGRADE,
	FAULT_TOKEN_HAND_OVER,
	FAULT_NOT_COMPACTED,
	FAULT_NINTH_HOLDER,
	FAULT_SLOT_BEFORE_LOCK,
	FAULT_GENERATION_DIFFERS,
	FAULT_RANK_REVERSED,
	FAULT_PLAIN_RELEASE,
	/* lease */
	FAULT_LEASE_FROM_REPLY,
	FAULT_STAMP_REPEATS,
	FAULT_STAMP_SIGNED,
	FAULT_PLAIN_RENEWAL,
	FAULT_NO_GATE,
	FAULT_DISCARD_UNGATED,
	FAULT_NO_CUT,
	FAULT_FENCED_READS,
	FAULT_EXPIRED_CACHE,
	FAULT_DIES_LATE,
	FAULT_REREGISTER,
	FAULT_MONOTONIC,
	/* take-over */
	FAULT_OBSERVER_READ_START,
	FAULT_DEAD_TOO_SOON,
	FAULT_PLAIN_CLAIM,
	FAULT_LIVENESS_IGNORED,
	FAULT_NO_FENCE,
	FAULT_LATE_FENCE,
	FAULT_NO_BARRIER,
	FAULT_CLAIM_BY_UUID,
	FAULT_CLAIMER_NOT_AWAITED,
	FAULT_CLAIMER_FOR_EVER,
	FAULT_ONE_UUID,
	/* of two nets: what would see at once that the first one is not there */
	FAULT_NO_I8,
	FAULT_NO_I11,
	FAULT_COUNT,
};

#include <stdint.h>

#define FAULT(name) (1ull << FAULT_##name)
#define NO_FAULT 0ull

extern uint64_t faults; /* those that are on */

#endif
