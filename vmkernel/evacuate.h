/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_EVACUATE_H
#define VMKERNEL_EVACUATE_H

/* What becomes of the VMs of a host that enters maintenance mode. Loop's task only. */
#include "vmkernel/vm.h"

enum evacuate_how {
	EVACUATE_VMOTION,  /* they go to other hosts, while they run */
	EVACUATE_SHUTDOWN, /* their guests are asked to shut down */
	EVACUATE_SUSPEND,
	EVACUATE_NONE, /* it waits for whoever powers them off */
};
/* "vmotion" and so on; "": vmotion. 0 or -EINVAL. */
int evacuate_parse(const char *word, enum evacuate_how *ret_how)
	__attribute__((warn_unused_result));
const char *evacuate_word(enum evacuate_how how);

struct evacuation;

/*
 * Begins; after timeout_s (0: never) with VMs that are still on maintenance_late() is
 * called. 0 or -errno. Until evacuate_end(), which is allowed at any time.
 */
int evacuate_begin(struct host *h, enum evacuate_how how, uint32_t timeout_s)
	__attribute__((warn_unused_result));
void evacuate_end(struct host *h);

#endif
