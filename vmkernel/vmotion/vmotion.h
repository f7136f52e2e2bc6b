/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VMOTION_VMOTION_H
#define VMKERNEL_VMOTION_VMOTION_H

/* Moving running VMs between hosts that share their datastore. The loop's task. */
#include "vmkernel/vm.h"

/*
 * Listens, if an address is configured, and tells the other hosts on each datastore that
 * it does. 0 or -errno, reported. May block, shortly.
 */
int vmotion_open(struct host *h, struct reporter *r) __attribute__((warn_unused_result));
/* ds was attached. */
void vmotion_attached(struct host *h, struct datastore *ds);
/* Nothing comes in any more; the passages that there are end as jobs. */
void vmotion_stop(struct host *h);
void vmotion_close(struct host *h);

/*
 * Moves vm, which is on, to the host of that name; is_cold: it stands still meanwhile.
 * Answers the requester when it is over: 0: it runs there, and is not registered here.
 */
void vmotion_start(struct vm *vm, struct requester who, const char *host, bool is_cold);
/* The VM stays here; if it is too late for that the requester of its start hears so. */
void vmotion_cancel(struct vm *vm, struct requester who);
/* [{vm, direction, host, phase, percent, ...}], the last ones too. */
json_t *vmotion_list(struct host *h);

/* ---- told by vm.c ---- */

/* A word of vmx's about it: a reply (m->tag), or its progress. */
void vmotion_told(struct vm *vm, const struct msg *m);
/* The answer to the start of a VM that is to come in. */
void vmotion_opened(struct vm *vm, int result, const char *why);
void vmotion_vmx_gone(struct vm *vm);
/* It is off; one that is leaving goes from the inventory, soon. */
void vmotion_vm_off(struct vm *vm);

#endif
