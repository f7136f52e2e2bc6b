/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_NVRAM_H
#define VMKERNEL_NVRAM_H

/* The .nvram file of a VM with UEFI firmware: its flash, beside the .vmx file. */
#include "vmkernel/vm.h"

/* What a vmx calls it, where disks have the key of their fileName. */
#define NVRAM_KEY "nvram"

/*
 * Its path in the volume, malloc'ed; made, unless it is there, as the host's firmware
 * comes (in one step), but for a VM that comes from another host. NULL with ret_why.
 * Blocks.
 */
char *nvram_path(const struct vm *vm, char *ret_why, uint32_t size);

#endif
