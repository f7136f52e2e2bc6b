/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_RELOCATE_H
#define VMKERNEL_RELOCATE_H

/* Moving the files of a VM that runs to another datastore of its host. Loop's task. */
#include "vmkernel/vm.h"

/*
 * body: of MSG_VM_RELOCATE. Answers the requester when the VM runs from there, and, if a
 * host is named, on that host (vmotion.h); or why it stays where it is.
 */
void relocate_request(struct vm *vm, struct requester who, const json_t *body);
/* It stays where it is, if it is not too late for that. false: it is not on its way. */
bool relocate_cancel(struct vm *vm);
/* Adds those that are on their way to rows, as vmotion_list() has them. */
void relocate_list(struct host *h, json_t *rows);
/*
 * What an earlier vmkernel was about when it died ends: before VMs are taken back.
 * Datastores that are not attached by now are left as they are. Blocks.
 */
void relocate_settle(struct host *h);

#endif
