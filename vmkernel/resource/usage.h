/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RESOURCE_USAGE_H
#define RESOURCE_USAGE_H

/* What a machine has, and what a process of it uses: from /proc. */
#include <stdint.h>
#include <sys/types.h>

struct usage {
	uint64_t used_ns;	/* of processors, by all its threads that live */
	uint64_t guest_ns;	/* of that, by those that are processors of its guest */
	uint64_t ready_ns;	/* that those could have run, and waited for one */
	uint64_t resident_mb;
};
/* Of a QEMU whose threads are named (debug-threads=on). 0 or -errno. */
int usage_read(pid_t pid, struct usage *ret) __attribute__((warn_unused_result));

struct usage_machine {
	uint32_t cpus, mhz_of_one;      /* 0: not known */
	uint32_t memory_mb, free_mb;    /* free: with what can be had at once */
};
void usage_machine(struct usage_machine *ret);

#endif
