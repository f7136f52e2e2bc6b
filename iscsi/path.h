/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_PATH_H
#define ISCSI_PATH_H

/*
 * The paths of a device, for those who look at them or choose among them: what `esxcli
 * storage core path list`, `... path stats get` and `storage nmp device list|set` print
 * and set. The device above the paths is iscsi/multipath.h.
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"
#include "bdev/fence.h"
#include "iscsi/policy.h"
#include "iscsi/url.h"

#define ISCSI_PATHS_MAX BDEV_PATHS_MAX /* each has its place in a nexus */
#define PATH_PORTAL_SIZE 280u
#define PATH_NAME_SIZE 352u
#define PATH_HISTOGRAM 16u /* [n]: below 128 us * 2^n; the last one: all above */

struct path_stats {
	uint64_t reads, writes, others; /* that have ended, on this path, well or not */
	uint64_t bytes_read, bytes_written;
	/* ended with an error of the path: sent again elsewhere; of one: -ETIMEDOUT */
	uint64_t errors;
	uint64_t failovers; /* I/Os that were sent again on another path */
	uint64_t miscompares; /* COMPARE AND WRITEs that found something else */
	uint64_t unknowns;    /* nobody knows whether it was executed */
	uint64_t latency_ns; /* moving average of what went well */
	uint64_t histogram[PATH_HISTOGRAM];
};

/* One more has ended with that result, took ns after it was submitted. */
void path_stats_add(struct path_stats *s, enum bdev_op op, uint64_t len, int result,
		    uint64_t took);

struct path_info {
	/* its portal; "@" and nic if there are several; "#2" */
	char name[PATH_NAME_SIZE];
	char portal[PATH_PORTAL_SIZE]; /* host:port, IPv6 in brackets */
	char nic[ISCSI_BIND_SIZE]; /* an interface or address; "": any */
	char target[224];
	uint16_t lun, tpgt;
	uint16_t group; /* target port group (ALUA); 0: none */
	enum path_state state;
	bool is_preferred; /* by the user, for POLICY_FIXED */
	bool is_working;   /* I/O goes over it now */
	uint32_t busy;	   /* I/Os on the way */
	char why[256];	   /* of a dead path: half a sentence; else "" */
	struct path_stats stats;
};

struct paths_info {
	enum path_policy policy;
	uint32_t iops; /* of POLICY_ROUND_ROBIN: I/Os before the next path has its turn */
	uint8_t tpgs;  /* INQUIRY: bit 0 implicit, bit 1 explicit ALUA; 0: none */
	bool is_apd;   /* no path is left */
	unsigned int count;
	struct path_info path[ISCSI_PATHS_MAX];
};

/* "active" and so on, as esxcli prints them. */
const char *path_state_text(enum path_state state);
/*
 * Of an iSCSI device, or a range (partition) of one; a device of one path has one. 0, or
 * -EOPNOTSUPP: it is no iSCSI device. Never blocks.
 */
int paths_info(struct bdev *bd, struct paths_info *ret_info)
	__attribute__((warn_unused_result));
/*
 * Changes the policy, from the next I/O on. iops 0: as it was. preferred: the name of
 * the preferred path as in path_info, or NULL: as it was. 0, -EOPNOTSUPP, -ENOENT (no
 * such path). Never blocks.
 */
int paths_set_policy(struct bdev *bd, enum path_policy policy, uint32_t iops,
		     const char *preferred) __attribute__((warn_unused_result));
/*
 * `esxcli storage core path set --state off|active`: nothing more is sent on it. 0,
 * -EOPNOTSUPP, -ENOENT, -EBUSY (it is the last one that works). Never blocks.
 */
int paths_set_off(struct bdev *bd, const char *name, bool is_off)
	__attribute__((warn_unused_result));

#endif
