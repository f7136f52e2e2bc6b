/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_DEPTH_H
#define ISCSI_DEPTH_H

/*
 * How many commands a unit is given at once. One that says BUSY or TASK SET FULL gets
 * half as many as it had, and one more each time that enough have gone well: ESXi's
 * Disk.QFullSampleSize and Disk.QFullThreshold. One task's; not locked.
 */
#include <stdint.h>

#include "iscsi/settings.h"

struct depth {
	uint32_t most, sample, threshold; /* settings; sample 0: it never shrinks */
	uint32_t now;
	uint32_t full, good; /* answers since the last change */
	uint32_t round;	     /* changes downwards: commands carry the one they went in */
};

void depth_init(struct depth *d, const struct iscsi_settings *settings);
/*
 * A command that went in `round` was not taken, while `busy` others were under way. Those
 * of an earlier round say nothing new: what they met has been answered.
 */
void depth_full(struct depth *d, uint32_t round, uint32_t busy);
/* A command went well. */
void depth_good(struct depth *d);

#endif
