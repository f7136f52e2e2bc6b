/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_AGENT_H
#define VMKERNEL_HA_AGENT_H

/*
 * The HA agent of one host for one datastore: a task that meets the other hosts' agents
 * on the disk and nowhere else. Who starts and stops VMs, and where time and disk come
 * from, is given to it: vmkernel (ha.c), or the simulator.
 */
#include "vmkernel/ha/plan.h"
#include "vmfs/vmfs.h"

enum ha_isolation { HA_LEAVE_ON, HA_SHUTDOWN, HA_POWER_OFF };

struct ha_ops {
	/*
	 * Start the VM with this .vmx file: soon, on whatever task. Its lock is taken,
	 * then ha_agent_claim() is asked with the order, then ha_agent_up(); or, at any
	 * of these, ha_agent_failed(). Never blocks.
	 */
	void (*start)(void *arg, const char *path, uint64_t order);
	/* All VMs of this datastore are to be ended, for why. Never blocks. */
	void (*stop_all)(void *arg, enum ha_isolation how, const char *why);
	/*
	 * When the network last brought something of a host (clock_now() ns; 0: never);
	 * NULL: there are no network heartbeats.
	 */
	uint64_t (*heard)(void *arg, const struct ha_says *host);
	/*
	 * Likewise of the isolation addresses; NULL or 0: there are none, or they are
	 * not.
	 */
	uint64_t (*reached)(void *arg);
};

struct ha_agent_options {
	struct vmfs_volume *vol;
	const char *label;     /* of the datastore */
	const char *cluster;   /* hosts of one name see each other */
	struct uuid host;
	const char *host_name, *address; /* borrowed until ha_agent_new is back */
	uint64_t memory_mb, cpu_mhz;
	struct ha_rules rules;
	uint64_t poll_ns;
	/*
	 * So long a host may be silent before anything is done for its VMs: a vmkernel
	 * that is only being restarted takes them back.
	 */
	uint64_t grace_ns;
	enum ha_isolation isolation;
	uint64_t isolation_ns; /* so long nobody is heard of before that counts */
	struct reporter *reporter;
	const struct ha_ops *ops;
	void *arg;
};

struct ha_agent;
/*
 * Makes the folder and this host's file, and takes its lock. running: paths of VMs that
 * are being taken back just now; all others count as down. 0; -EBUSY: another host has
 * our file, -ESTALE, -errno (reported). Blocks.
 */
int ha_agent_new(const struct ha_agent_options *options, const char *const *running,
		 uint32_t running_count, struct ha_agent **ret)
	__attribute__((warn_unused_result));
/*
 * Ends the task and gives the locks back: to the others this host is gone. NULL: nothing.
 * Blocks.
 */
void ha_agent_free(struct ha_agent *a);

/*
 * The caller has the lock of vm->path, taken with vm->token, and means to power it on:
 * for an order of the master's, or for an admin (order 0). From a 0 on the VM is wanted
 * on. -ECANCELED: an order whose VM nobody wants on any more; -ENOSPC: admission control
 * refuses an admin's (both with ret_why); -errno: it cannot be written down (ret_why).
 * Blocks.
 */
int ha_agent_claim(struct ha_agent *a, const struct ha_vm *vm, uint64_t order,
		   char *ret_why, uint32_t size) __attribute__((warn_unused_result));
/*
 * It has ended, and its lock is held still: it is wanted on, as before, or not. No words
 * of ours about it: nothing. Blocks.
 */
void ha_agent_end(struct ha_agent *a, const char *path, bool is_wanted, const char *why);
/* As ha_agent_end, of a VM that runs nowhere, and whose lock the caller has taken. */
int ha_agent_unwant(struct ha_agent *a, const char *path, uint64_t token)
	__attribute__((warn_unused_result));
/* Is somebody to start it? As far as is known; never blocks. */
bool ha_agent_is_wanted(struct ha_agent *a, const char *path);

/* It runs. Never blocks. */
void ha_agent_up(struct ha_agent *a, const char *path);
/* The order could not be carried out. Never blocks. */
void ha_agent_failed(struct ha_agent *a, const char *path, uint64_t order, int rc,
		     const char *why);
/* This host takes no VM any more, or again. Never blocks. */
void ha_agent_close(struct ha_agent *a, bool is_closed);

enum ha_role { HA_SLAVE, HA_MASTER, HA_ISOLATED, HA_LOST };
struct ha_status {
	enum ha_role role;
	bool is_partitioned; /* cut off from the others, not from the network */
	char master[HA_NAME_SIZE]; /* its name, or "" */
	uint32_t alive;		   /* hosts */
	uint32_t wanted, restarts; /* VMs */
};
/* Never blocks. */
struct ha_status ha_agent_status(struct ha_agent *a);
/* The address of each host that is known, one after the other: false at the end. */
bool ha_agent_address(struct ha_agent *a, uint32_t index, char *ret_address,
		      uint32_t size);

#endif
