/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

/*
 * A volume on a simulated disk, hosts that mount it, and the oracle (oracle.h) inside the
 * disk.
 */
#include <sys/queue.h>

#include "tests/lib/largefile.h"
#include "tests/sim/iofault.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"
#include "tests/sim/simdisk.h"
#include "vmfs/vmfs.h"

#define CLUSTER_HOSTS_MAX 64u

struct cluster {
	struct simdisk *disk;
	uint64_t second_off; /* where the second extent begins on it; 0: there is one */
	enum bdev_caw_class caw;
	struct oracle *oracle;
	struct bdev *oracle_bd;
	struct vmfs_volume *oracle_vol; /* read-only: geometry */
	LIST_HEAD(, cluster_mount) mounts;
};

/* A freshly formatted volume; the oracle is on. In a simulation only. */
struct cluster *cluster_new(enum bdev_caw_class caw);
/* The same without an oracle, which knows a volume of one extent alone. */
struct cluster *cluster_new_unwatched(enum bdev_caw_class caw);
struct mkfs_counts;
/*
 * The same of VMFS-6, which the oracle does not know: there is none. counts: as in
 * mkfs/layout.h, or NULL.
 */
struct cluster *cluster_new6(enum bdev_caw_class caw, const struct mkfs_counts *counts);
/* Of 2 PEs, on a disk that has room for so many; and one whose large blocks 1 and 2 are
   free. */
struct cluster *cluster_new6_with_room(enum bdev_caw_class caw, unsigned int pes);
struct cluster *cluster_new6_large(enum bdev_caw_class caw);
/*
 * From the world: a host of its own makes such a file and leaves. If it is to be zeroed,
 * bytes of CLUSTER_STALE lie under as much of it as it is long.
 */
#define CLUSTER_STALE 0xee
void cluster_make_large(struct cluster *c, const struct largefile *what);
/* The same, of 2 PEs, on a disk that has room for so many. */
struct cluster *cluster_new_with_room(enum bdev_caw_class caw, unsigned int pes);
/*
 * Of VMFS-5, of so many PEs, with so few bits in a cluster (8) that the bitmap needs
 * pointer blocks at 2 TiB, as it does at 50 TiB otherwise; room: as above.
 */
struct cluster *cluster_new_pointed(enum bdev_caw_class caw, unsigned int pes,
				    unsigned int room);
/* Of VMFS-5 that was VMFS-3, 4 PEs, with nothing on it; the oracle is on. */
struct cluster *cluster_new_upgraded(enum bdev_caw_class caw, uint32_t block_size);
/*
 * Of two extents on one disk, without an oracle: the first of 2 PEs, which has room for
 * so many, the second of one. A mount names them CLUSTER_FIRST and "second".
 */
#define CLUSTER_FIRST "first"
struct cluster *cluster_new_two(enum bdev_caw_class caw, bool is_6, unsigned int room);
void cluster_free(struct cluster *c);

/* sim_some_seeds() with a class of storage: fn's arg is a const enum bdev_caw_class *. */
void cluster_some_seeds(enum bdev_caw_class caw, uint64_t first, uint64_t count,
			void (*fn)(void *arg));

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
	struct sim_host *host;
	LIST_ENTRY(cluster_mount) link; /* while it is mounted */
	struct bdev *bd, *second_bd, *heartbeat_bd;
	struct vmfs_volume *vol;
	bool is_lost;		 /* on_lost was called */
	bool is_lazy;		 /* set before; SIM_LAZY: all are */
	bool no_liveness_lock;	 /* set before: count the lease also on files */
	bool resets_units;	 /* set before */
	struct guard *guard;	 /* set before; NULL: none */
	struct iofault *fault;	 /* set before; over bd; NULL: none */
	struct uuid machine;	 /* set before; zero: one of its own */
	enum vmfs_lease_profile profile; /* set before */
	enum vmfs_signature_rule signature; /* set before */
	struct reporter reporter; /* set before; NULL: traces what the library says */
};
/* From the world: a host of its own makes path, with size bytes of zeros, and leaves. */
void cluster_make_file(struct cluster *c, const char *path, uint64_t size);
/* 0 or -errno. */
int cluster_mount(struct cluster *c, struct cluster_mount *m);
int cluster_unmount(struct cluster_mount *m);
/* I12 and L4 of all hosts, from the world. */
void cluster_check_hosts(struct cluster *c);
/* Waits for the death of every other member and takes each over. */
void cluster_bury(struct cluster_mount *m);

#endif
