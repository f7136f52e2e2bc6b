/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RESOURCE_RESOURCE_H
#define RESOURCE_RESOURCE_H

/*
 * The host's processors and memory, among its VMs: admission at power-on, control groups,
 * balloons, and what is told of it all. The loop's task.
 */
#include "vmkernel/vm.h"

int resources_open(struct host *h, struct reporter *r)
	__attribute__((warn_unused_result));
void resources_close(struct host *h);

/*
 * vm, whose text is there, is about to run here: 0 and it has its part; -ENOSPC,
 * -EINVAL: it may not, and why (size bytes).
 */
int resources_admit(struct vm *vm, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));
/* May it have that, beside what the others have? As resources_admit(). */
int resources_look(const struct vm *vm, const struct resource_wish *wish, char *ret_why,
		   uint32_t size) __attribute__((warn_unused_result));
/* vm->text of one that has its part gives it something else by now. */
void resources_changed(struct vm *vm);
/* One that runs already has its part, whatever is left. */
void resources_adopt(struct vm *vm);
/* Its vmx has just been started: it, and the QEMU that it starts, get that part. */
void resources_enter(struct vm *vm, pid_t vmx);
/* It runs no more. Also one that never had a part. */
void resources_leave(struct vm *vm);
/* Its guest has so many bytes by now, as its balloon says. */
void resources_ballooned(struct vm *vm, int64_t bytes);

/* [{id, name, ...}]: esxtop's columns of processors and memory. */
json_t *resources_list(struct host *h);
/* [{vm, disk, ...}]: of disks. A VM that is just worked on is left out. */
json_t *resources_disks(struct host *h);

#endif
