/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HOLD_H
#define VMKERNEL_HOLD_H

/*
 * Waiting for the lock of a file that another host may hold: as long as that host's
 * heartbeat stands still, and no longer.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/vmfs.h"

/*
 * A reporter that passes on what it is told and keeps the last ERROR; one task's until
 * catcher_stop(), from when on it only passes on, for any task.
 */
struct catcher {
	struct reporter base;
	struct reporter *next;
	atomic_bool is_stopped;
	char text[512];
};
struct reporter *catcher_init(struct catcher *c, struct reporter *next);
void catcher_stop(struct catcher *c);

struct hold {
	struct vmfs_volume *vol; /* to know ourselves as the holder; may be NULL */
	/* names the file in the sentence: "[demo] vm1/vm1.vmx" */
	const char *what;
	uint32_t wait_s;
	const atomic_bool *is_cancelled; /* may be NULL */
	/* One try, until deadline (clock_now() ns; 0: once). -EBUSY fills *ret_holder. */
	int (*try)(void *arg, uint64_t deadline, struct vmfs_holder *ret_holder);
	void *arg;
	const struct catcher *catcher; /* what the try reports to; may be NULL */
};

/*
 * 0 when a try succeeded; -EBUSY: refused, because the holder's heartbeat was seen to
 * advance, or because the time is over; -ECANCELED; else what the try said. On every
 * error the sentence is in ret_why. Blocks.
 */
int hold_acquire(const struct hold *hold, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));

#endif
