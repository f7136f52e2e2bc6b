/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_AGENT_IMPL_H
#define VMKERNEL_HA_AGENT_IMPL_H

/* What the files of the agent share. */
#include <sys/queue.h>

#include "vmkernel/ha/agent.h"
#include "vmkernel/ha/record.h"

#define HA_FILE_SIZE 320u

/* Another host, as its file shows it. */
struct peer {
	char path[HA_FILE_SIZE];
	struct ha_says says;
	uint64_t seq;	      /* of what says was read from */
	bool is_read;	      /* at least once */
	bool is_alive;
	const char *dead_why;
	uint64_t silent_since; /* it seems to be gone since then; 0: it does not */
	uint64_t heard_at;     /* so long the network brings something; 0: never */
};

/* The other hosts; of one task. Zero-filled: nobody is known yet. */
struct peers {
	struct peer all[HA_HOSTS_MAX];
	uint32_t count;
};

/* Something that the agent's task is to write down. */
struct mark {
	STAILQ_ENTRY(mark) link;
	char path[HA_PATH_SIZE];
	uint64_t order;
	int result;
	char why[HA_WHY_SIZE];
	bool is_up;
};

struct ha_agent {
	struct ha_agent_options options;
	char label[HA_NAME_SIZE], dir[HA_FILE_SIZE], list_path[HA_FILE_SIZE];
	char own_name[HA_NAME_SIZE]; /* of our file in dir */
	struct task *task;

	/* The agent's task alone. */
	struct peers peers;
	struct ha_list list; /* as read, or as we have made it */
	uint64_t list_seq;
	struct ha_record master; /* open: we are the master */
	char *list_text;	 /* as it stands on the disk; NULL: not known */
	uint64_t heard_at;	 /* somebody, or alone; clock_now() */
	bool is_isolated, is_partitioned;
	int told;		 /* the error that was told last */

	struct sleeplock own_lock; /* of what follows; may be held across I/O */
	struct ha_record own;
	struct ha_says says;

	struct mutex m; /* of what follows */
	struct cond c;
	bool is_ending, is_awake, is_closed;
	STAILQ_HEAD(mark_list, mark) marks;
	struct ha_status status;
	struct ha_vms known; /* a copy of the list's, for who must not block */
	char (*addresses)[HA_NAME_SIZE];
	uint32_t address_count;
};

/* ---- own.c: what this host says ---- */

/*
 * Writes down what was marked, and whether the host is isolated; is_any: even if nothing
 * is new. 0 or -errno. With own_lock held; or, by ha_own_look, without.
 */
int ha_own_write(struct ha_agent *a, bool is_any) __attribute__((warn_unused_result));
int ha_own_look(struct ha_agent *a) __attribute__((warn_unused_result));
/* We shall carry out this order: 1: written down, -errno; 0: it was taken up before. */
int ha_own_take_order(struct ha_agent *a, const struct ha_restart *r)
	__attribute__((warn_unused_result));

/* ---- peers.c: what the others say ---- */

/*
 * Reads what is new; is_judging: those that seem to be there are tried, which takes over
 * who is dead. Else alive is who has the lock of its file. 0 or -errno.
 */
int ha_peers_look(struct ha_agent *a, struct peers *peers, bool is_judging)
	__attribute__((warn_unused_result));
void ha_peers_done(struct peers *peers);
/* All hosts, the own (says, borrowed) first: HA_HOSTS_MAX + 1 at most; the count. */
uint32_t ha_peers_hosts(const struct peers *peers, const struct ha_says *own,
			struct ha_host *ret);

#endif
