/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RESOURCE_WISH_H
#define RESOURCE_WISH_H

/* What a VM is given of its host's processors and memory, as its .vmx file says. */
#include <stdint.h>

#include "vmkernel/vmx/vmxfile.h"

#define WISH_NO_LIMIT UINT32_MAX
#define WISH_BAD_SIZE 96u

struct resource_wish {
	uint32_t cpus, memory_mb;
	uint32_t cpu_min_mhz, cpu_max_mhz; /* reserved; at most, or WISH_NO_LIMIT */
	uint32_t cpu_shares;
	uint32_t memory_min_mb, memory_max_mb; /* likewise */
	uint32_t memory_shares;
	uint32_t balloon_max_mb; /* what may be taken from its guest */
};

/*
 * numvcpus, memSize, and VMware's sched.cpu.{min,max,shares}, sched.mem.{min,max,shares,
 * pin,maxmemctl}. 0; -EINVAL and what cannot be understood in ret_bad.
 */
int resource_wish_read(const struct vmxfile *f, struct resource_wish *ret,
		       char ret_bad[static WISH_BAD_SIZE])
	__attribute__((warn_unused_result));

#endif
