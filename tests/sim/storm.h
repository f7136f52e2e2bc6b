/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_STORM_H
#define TESTS_SIM_STORM_H

/*
 * Hosts at work on one volume while things go wrong. What they are told is entered in
 * histories (history.h) and diaries and judged at once; the oracle in the disk watches
 * every command; fsck is content after the storm.
 *
 *   counter   increments of a number under a file's exclusive lock: none is lost
 *   shared    files of each form, written under the exclusive lock, read under the shared
 *             one and without: each read is explained (I6, I7)
 *   names     create, remove, rename and look up names in a directory of all: as shared
 *   own       create, fill, empty, rename, remove in a directory of one's own: after a
 *             crash it is as before or as after the operation under way, not between
 *   blocks    write, zero and punch blocks of a file of one's own
 *
 * Also judged: two holders at a time (told to hosts, not only on the disk), who waits for
 * a lock gets it in bounded time (L1, L2), nothing succeeds on a lost volume (I13).
 */
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/cluster.h"

enum storm_ops {
	STORM_COUNTER = 1u << 0,
	STORM_SHARED = 1u << 1,
	STORM_NAMES = 1u << 2,
	STORM_OWN = 1u << 3,
	STORM_BLOCKS = 1u << 4,
	STORM_REMOUNT = 1u << 5, /* now and then leaves and joins again */
	STORM_MODES = 1u << 6,	 /* readers of shared files upgrade and downgrade */
	STORM_ALL_OPS = (1u << 7) - 1,
	STORM_UNMAP = 1u << 7,	 /* what was freed is UNMAPped; not drawn */
	STORM_KINDS = (1u << 5) - 1, /* of which one at a time is done */
};

enum storm_faults {
	STORM_KILL = 1u << 0,	     /* a host dies, another comes (perhaps the same) */
	STORM_PAUSE = 1u << 1,	     /* stands still for less than T_stop */
	STORM_LONG_PAUSE = 1u << 2,  /* for longer than T_dead */
	/* only heartbeats do not get through for a while */
	STORM_HEARTBEAT_PATH = 1u << 3,
	STORM_PATH = 1u << 4,	     /* nothing of one host gets through for a while */
	STORM_STALL = 1u << 5,	     /* the target stands still */
	STORM_POWER = 1u << 6,	     /* hosts and target lose power, caches are lost */
	STORM_RUDE = 1u << 7,	     /* simdisk_rude() */
	STORM_LUN_RESET = 1u << 8,
	STORM_CACHE = 1u << 9, /* the target alone loses power, and its cache */
	STORM_ALL_FAULTS = (1u << 10) - 1,
};

struct storm {
	enum bdev_caw_class caw;
	unsigned int hosts;
	unsigned int ops, faults; /* enum storm_ops, storm_faults */
	unsigned int events;	  /* number of faults that are events */
	uint64_t work_ns;	  /* perfect time; default 60 s */
	int clock_ppm;		  /* rates up to +- this; default 1000 */
	bool has_pr;		  /* of the target; ATS only */
	bool checks_at_effect;	  /* its reservations, else at acceptance */
	bool has_onlooker;	  /* fsck --online again and again: finds nothing */
	bool no_guard;		  /* nobody cuts a host that stands still */
	bool no_liveness_lock;	  /* leases on files too */
	bool is_lazy;		  /* logs are; what has to last is synced */
	uint64_t residue_ns;	  /* the target's, if not 0 */
	bool refuses_logins;	  /* no reinstatement */
	bool resets_units;	  /* of the hosts: LOGICAL UNIT RESET instead */
};

/* A storm by chance: which hosts, operations and faults. */
void storm_draw(struct storm *storm);
/* For sim_each_seed(); arg is the struct storm, or NULL: draws one. */
void storm_run(void *arg);

/* Of all storms of this process and the children of its seeds; shared memory. */
struct storm_sum {
	uint64_t seeds, operations, acquisitions, transitions, takeovers, lost_mounts;
	uint64_t simulated_ns, cpu_ns;
};
extern struct storm_sum *storm_sum; /* NULL until storm_count_all() */
void storm_count_all(void);

#endif
