/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_FAIR_H
#define SCHED_FAIR_H

/*
 * Which disk's request goes next to a device that several share: by shares, within each
 * disk's limits. Time comes in as a number, nothing blocks, nothing is allocated.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define FAIR_SHARES_MAX 4000u
#define FAIR_DEPTH 32u /* requests at the device while more than one disk has any */

/* A request that waits; embedded by the caller. */
struct fair_item {
	STAILQ_ENTRY(fair_item) link;
	uint64_t len; /* bytes, set by the caller */
};

/* Embedded by the caller; zero-filled but for shares and limits. */
struct fair_disk {
	uint32_t shares;     /* 1 to FAIR_SHARES_MAX */
	uint64_t iops_max;   /* requests a second; 0: no limit */
	uint64_t bytes_max;  /* bytes a second; 0: no limit */
	/* fair.c's */
	TAILQ_ENTRY(fair_disk) link;
	STAILQ_HEAD(, fair_item) waiting;
	uint64_t finish;     /* virtual time at which what it has started is paid for */
	uint64_t io_due, byte_due; /* ns: when its limits are used up till */
	unsigned int at_device;
	bool is_active;
};

struct fair {
	TAILQ_HEAD(, fair_disk) disks;
	uint64_t virtual_time;
	unsigned int depth, at_device, active, waiting;
};

void fair_init(struct fair *f, unsigned int depth);
void fair_add(struct fair *f, struct fair_disk *d);
/* With nothing of it waiting or at the device. */
void fair_remove(struct fair *f, struct fair_disk *d);
/*
 * A request of len bytes: true, it may go to the device now, and is counted. false: it
 * has to wait (fair_wait).
 */
bool fair_start(struct fair *f, struct fair_disk *d, uint64_t len, uint64_t now);
void fair_wait(struct fair *f, struct fair_disk *d, struct fair_item *item);
/*
 * One that has waited and may go now, counted and of disk *ret_disk; NULL: none. Then
 * *ret_at says when to ask again, if nothing ends before; NO_DEADLINE: not.
 */
struct fair_item *fair_next(struct fair *f, uint64_t now, struct fair_disk **ret_disk,
			    uint64_t *ret_at);
/* A request of d that was at the device has ended. */
void fair_end(struct fair *f, struct fair_disk *d);

#endif
