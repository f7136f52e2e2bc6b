/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_HA_H
#define VMKERNEL_HA_HA_H

/* HA in vmkernel: an agent for each datastore, and what it does to VMs. */
#include "vmkernel/vm.h"

/* ---- the loop's task ---- */

/*
 * Starts the agents of all datastores, if HA is on, and the network heartbeats. VMs that
 * are being taken back are so already. 0 or -errno, reported.
 */
int ha_open(struct host *h, struct reporter *r) __attribute__((warn_unused_result));
/* ds was attached. */
void ha_attached(struct host *h, struct datastore *ds);
/* No more orders, no more network; agents end with their datastores. */
void ha_close(struct host *h);
/* vm is on. */
void ha_vm_on(struct vm *vm);
/* vm has ended, or could not be started, for vm->why. */
void ha_vm_off(struct vm *vm);
/* The host takes VMs, or none. */
void ha_host_closed(struct host *h, bool is_closed);
/* An admin powers off a VM that is off: true: it was to be started; he is answered. */
bool ha_vm_unwant(struct vm *vm, struct requester who);

/* The most that an agent of this host is, as VMware calls it; NULL: HA is off. */
const char *ha_state_text(struct host *h);

/* ---- jobs, with the lock of the VM's .vmx file ---- */

/* Before it is started: 0, -errno with ret_why. Blocks. */
int ha_vm_claim(struct vm *vm, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));
/* It runs, and that was not written down before. Blocks. */
void ha_vm_note(struct vm *vm);
/* It has ended, and its lock is about to go. Blocks. */
void ha_vm_end(struct vm *vm);

#endif
