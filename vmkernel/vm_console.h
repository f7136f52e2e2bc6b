/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_CONSOLE_H
#define VMKERNEL_VM_CONSOLE_H

/* Tickets for the screen of a VM that runs. Loop's task only. */
#include "vmkernel/msg/msg.h"
#include "vmkernel/vm.h"
#include "vmkernel/vmx/vnc.h"

/*
 * Listens where the .vmx file says that the screen is to be shown: sockets, -1: not
 * there. The bits of those that are. Why one cannot be had is reported.
 */
unsigned int vm_console_listen(const struct vm *vm, int ret_socks[static VNC_PORTS]);

/* Of MSG_VMX_TICKET. */
#define VM_CONSOLE_TAG 0x7c000001u

/* MSG_VM_TICKET: answers the requester now or later. */
void vm_console_request(struct vm *vm, struct requester who, const json_t *body);
/* vmx has answered. */
void vm_console_told(struct vm *vm, int result, const char *error);
/* The VM is off. */
void vm_console_off(struct vm *vm);

#endif
