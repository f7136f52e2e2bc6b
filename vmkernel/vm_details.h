/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_DETAILS_H
#define VMKERNEL_VM_DETAILS_H

/* What a VM is, as its .vmx file says it now. Loop's task only. */
#include "vmkernel/vm.h"

/* MSG_VM_DETAILS, MSG_VM_RELOAD: answered when the file was read. */
void vm_details_request(struct vm *vm, struct requester who, enum msg_type type);

#endif
