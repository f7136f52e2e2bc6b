/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RESOURCE_PLAN_H
#define RESOURCE_PLAN_H

/* What a host's VMs get of it: pure functions. */
#include <stdbool.h>

#include "vmkernel/resource/wish.h"

/* What VMs may have of a host; 0: not known, and not counted. */
struct resource_host {
	uint32_t cpu_mhz;    /* all processors together */
	uint32_t memory_mb;
};

/* What QEMU takes beside its guest's memory. */
uint32_t resource_overhead_mb(const struct resource_wish *wish);

/*
 * May a VM run beside those that do? 0; -ENOSPC and why in ret_why (size bytes): what is
 * reserved would be more than the host has.
 */
int resource_admit(const struct resource_host *host, const struct resource_wish *running,
		   uint32_t count, const struct resource_wish *vm, char *ret_why,
		   uint32_t size) __attribute__((warn_unused_result));

/*
 * Divides mhz among VMs that all want as much as they can get: each gets what it has
 * reserved and at most its limit, and the rest goes by shares.
 */
void resource_divide(uint32_t mhz, const struct resource_wish *vms, uint32_t count,
		     uint32_t *ret_mhz);

struct resource_memory {
	struct resource_wish wish;
	uint32_t balloon_mb; /* what its balloon is told to hold now */
};
/*
 * How large each VM's balloon is to be, with free_mb of the host's memory free. Taken
 * first from who has the least shares for what it keeps, never below a reservation.
 */
void resource_balloon(const struct resource_host *host, uint32_t free_mb,
		      const struct resource_memory *vms, uint32_t count,
		      uint32_t *ret_balloon_mb);

#endif
