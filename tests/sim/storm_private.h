/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_STORM_PRIVATE_H
#define TESTS_SIM_STORM_PRIVATE_H

/* Shared by storm.c (what goes wrong) and storm_work.c (what hosts do and are told). */
#include "tests/sim/history.h"
#include "tests/sim/storm.h"

#define STORM_HOSTS_MAX 40u
#define STORM_FILES 4u	/* shared ones */
#define STORM_NAMES_MAX 5u
#define STORM_BLOCKS_MAX 3u
#define OWN_NAMES 4u

/* A host's own directory: what each name is. */
enum own_what { ABSENT, EMPTY, FULL };
struct own {
	enum own_what what[OWN_NAMES];
	uint64_t seq[OWN_NAMES]; /* of a FULL one: tells content and place */
};

struct storm_host {
	struct weather *weather;
	unsigned int number;
	struct sim_host *host;
	struct task *task;
	struct cluster_mount mount;
	bool is_mounted, has_directory;
	struct own now;	 /* as acknowledged */
	struct own next; /* as it becomes by the operation under way; else == now */
	struct history blocks[STORM_BLOCKS_MAX];
};

/* Who was told to hold a file: one entry for each open file. */
struct held {
	const struct sim_host *host;
	bool is_exclusive;
	struct vmfs_volume *vol;
};

#define STORM_COUNTS_MAX 65536u

/* What all share: the truth as the world knows it. */
struct weather {
	struct storm storm;
	struct cluster *c;
	uint64_t stop_at, last_trouble; /* perfect clock */
	uint64_t power_lost_at;		/* 0: never */
	bool is_over;
	struct uuid machines[8];
	struct storm_host hosts[STORM_HOSTS_MAX];
	unsigned int host_count;
	uint64_t acknowledged; /* increments whose sync returned 0: the highest */
	bool is_made[STORM_COUNTS_MAX]; /* each of them */
	uint64_t attempted;    /* increments that may have happened */
	uint64_t seq;	       /* of values */
	struct history files[STORM_FILES], names[STORM_NAMES_MAX];
	struct held held[STORM_FILES + 1][64]; /* the last: the counter */
	unsigned long operations, acquisitions, lost_mounts;
};

void storm_prepare(struct weather *w);
/* A host's life: arg is its struct storm_host. */
void storm_work(void *arg);
/* After the storm: buries the dead and finds all that was promised. arg: the weather. */
void storm_inspect(void *arg);

#endif
