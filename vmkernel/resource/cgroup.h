/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RESOURCE_CGROUP_H
#define RESOURCE_CGROUP_H

/*
 * A control group of the kernel for each VM: version 1 (a folder for each controller) or
 * 2 (one for all). Files are small and in memory: nothing here blocks for long.
 */
#include "base/report.h"
#include "vmkernel/resource/wish.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

struct cgroups {
	int version; /* 0: none can be had */
	char cpu[512], memory[512]; /* where VMs' groups are; version 2: the same */
};

/*
 * The groups of a host below root: made if they can be. No groups are no error: version
 * is 0 then, and ret_why (size bytes) says why.
 */
void cgroups_open(struct cgroups *g, const char *root, const char *host, char *ret_why,
		  uint32_t size);
/* Removes what is empty of them. */
void cgroups_close(struct cgroups *g);

/* Puts a process, and all that it starts, into the group of a VM: 0 or -errno. */
int cgroup_enter(const struct cgroups *g, uint32_t vm, int pid)
	__attribute__((warn_unused_result));
struct cgroup_limits {
	uint32_t cpu_weight;	/* beside those of other VMs */
	uint32_t cpu_max_mhz;	/* WISH_NO_LIMIT: none */
	uint32_t mhz_of_one;	/* processor of this host; 0: cpu_max_mhz is not known */
	uint32_t memory_min_mb; /* not taken from it while others have some */
	uint32_t memory_max_mb; /* with what QEMU needs; WISH_NO_LIMIT */
};
/* 0, or the first -errno; all that can be set is. */
int cgroup_set(const struct cgroups *g, uint32_t vm, const struct cgroup_limits *l)
	__attribute__((warn_unused_result));
/* With no process left in it; else it stays until the VM's next time. */
void cgroup_remove(const struct cgroups *g, uint32_t vm);

#endif
