/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

/*
 * A volume on a simulated disk, hosts that mount it, and an oracle inside the disk that
 * sees every command at the moment it takes effect and asserts the invariants of
 * LOCKING.md 15:
 *
 *   I1  a write to metadata that a lock sector stands before takes effect only while that
 *       record names an incarnation of the writer, or one that the writer has claimed
 *   I2  tokens of a lock record and generations of a slot strictly increase
 *   I3  exclusive means one named holder; lists of holders have no duplicates
 *   I5  another host's slot changes only by claim, re-claim, clear
 *   I4  after a host's slot was cleared by another, nothing that it wrote takes effect
 *   and: lock sectors and slots change by conditional writes only
 */
#include "tests/sim/sim.h"
#include "tests/sim/simdisk.h"
#include "vmfs/vmfs.h"

#define CLUSTER_HOSTS_MAX 32u

struct cluster {
	struct simdisk *disk;
	enum bdev_caw_class caw;
	/* Which simulated host owns which slot owner UUID: filled by the oracle. */
	struct {
		struct uuid owner;
		struct sim_host *host;
		bool is_over; /* its slot was cleared by another */
	} incarnations[CLUSTER_HOSTS_MAX];
	unsigned int incarnation_count;
	uint64_t effects; /* seen by the oracle */
};

/* A freshly formatted volume; the oracle is on. In a simulation only. */
struct cluster *cluster_new(enum bdev_caw_class caw);
void cluster_free(struct cluster *c);

/*
 * fsck over the volume that the calling fiber's device shows: fails with all findings if
 * there is an error or a warning. may_leak: file blocks that are lost are no harm (a host
 * died while it made or freed its journal).
 */
void cluster_fsck(struct bdev *bd, bool may_leak);
/* The same over the cluster's disk, from the world. */
void cluster_check(struct cluster *c, bool may_leak);

/* A member, to be used by fibers of the calling host. */
struct cluster_mount {
	struct cluster *cluster;
	struct bdev *bd, *heartbeat_bd;
	struct vmfs_volume *vol;
	bool is_lost;		 /* on_lost was called */
	bool no_liveness_lock;	 /* set before: count the lease also on files */
	struct reporter reporter; /* traces what the library reports */
};
/* 0 or -errno. */
int cluster_mount(struct cluster *c, struct cluster_mount *m);
int cluster_unmount(struct cluster_mount *m);
/* Waits for the death of every other member and takes each over. */
void cluster_bury(struct cluster_mount *m);

#endif
