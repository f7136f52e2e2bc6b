/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

/*
 * Errors of the cluster protocol, one of which at a time may be switched on: negative
 * controls (TESTING.md 5). The linker puts each between its caller and the library
 * (--wrap), so the library knows nothing of them.
 */

enum fault {
	NO_FAULT,
	/* journal, locks */
	FAULT_NO_JOURNAL,
	FAULT_NO_REPLAY,
	FAULT_EARLY_CLEAR,
	FAULT_UNLOCK_BEFORE_FLUSH,
	FAULT_UNLOCK_BEFORE_TRIM,
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
	/* lease */
	FAULT_LEASE_FROM_REPLY,
	FAULT_STAMP_REPEATS,
	FAULT_PLAIN_RENEWAL,
	FAULT_NO_GATE,
	FAULT_DISCARD_UNGATED,
	FAULT_NO_CUT,
	FAULT_FENCED_READS,
	/* take-over */
	FAULT_OBSERVER_READ_START,
	FAULT_DEAD_TOO_SOON,
	FAULT_PLAIN_CLAIM,
	FAULT_LIVENESS_IGNORED,
	FAULT_NO_FENCE,
	FAULT_LATE_FENCE,
	FAULT_NO_BARRIER,
	FAULT_COUNT,
};

extern enum fault fault; /* the one that is on */

#endif
