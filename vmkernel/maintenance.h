/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_MAINTENANCE_H
#define VMKERNEL_MAINTENANCE_H

/* Maintenance mode: a host that takes no VM. Loop's task only. */
#include "vmkernel/evacuate.h"

/* As it was when the last vmkernel ended. */
void maintenance_load(struct host *h);
/*
 * From now on no VM is powered on; answered when the last one is off or gone, or after
 * timeout_s (0: never): the mode is left again, then.
 */
void maintenance_enter(struct host *h, struct requester who, enum evacuate_how how,
		       uint32_t timeout_s);
/* That time is over. */
void maintenance_late(struct host *h);
void maintenance_exit(struct host *h, struct requester who);
/* A VM has come to its end. */
void maintenance_look(struct host *h);

#endif
