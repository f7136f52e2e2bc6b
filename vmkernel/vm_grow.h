/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_GROW_H
#define VMKERNEL_VM_GROW_H

/* A disk of a VM that runs becomes larger. */
#include "vmkernel/vm.h"

/* MSG_VM_DISK_GROW: answered when it is done. Loop's task only. */
void vm_grow_request(struct vm *vm, struct requester who, const json_t *body);

#endif
