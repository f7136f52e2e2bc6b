/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_MAINTENANCE_H
#define VMKERNEL_MAINTENANCE_H

/* Maintenance mode: a host that takes no VM. Loop's task only. */
#include "vmkernel/vm.h"

/* As it was when the last vmkernel ended. */
void maintenance_load(struct host *h);
/* From now on no VM is powered on; answered when the last one is off. */
void maintenance_enter(struct host *h, struct requester who);
void maintenance_exit(struct host *h, struct requester who);
/* A VM has come to its end. */
void maintenance_look(struct host *h);

#endif
