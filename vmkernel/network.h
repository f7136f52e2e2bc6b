/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_NETWORK_H
#define VMKERNEL_NETWORK_H

/* What the network cards of a VM are plugged into. */
#include "vmkernel/vm.h"

/*
 * Makes vm->tap_fds: a tap for each card in vm->text whose network this host has, on its
 * bridge. Another card is told of and stays unplugged. Blocks.
 */
void network_plug(struct vm *vm);
/* Closes what is left of them here: vmx and QEMU have their own. */
void network_release(struct vm *vm);

#endif
