/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_INVENTORY_H
#define VMKERNEL_INVENTORY_H

/* The registered VMs, kept in STATEDIR/inventory.json. Loop's task only. */
#include "vmkernel/vm.h"

/* Reads the file; a missing one is an empty inventory. 0 or -errno, reported. */
int inventory_load(struct host *h, struct reporter *r)
	__attribute__((warn_unused_result));
/* Replaces the file, durably. 0 or -errno, reported. */
int inventory_save(struct host *h) __attribute__((warn_unused_result));
/* NULL if there is none. */
struct vm *inventory_find(struct host *h, uint32_t id);
struct vm *inventory_find_path(struct host *h, const struct uuid *ds, const char *path);
/* Adds a VM with the next id; takes labels. NULL without memory (labels are freed). */
struct vm *inventory_add(struct host *h, const struct uuid *ds, const char *path,
			 struct vm_labels *labels);
/* Removes and frees a VM that is off. */
void inventory_remove(struct vm *vm);

#endif
