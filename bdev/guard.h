/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_GUARD_H
#define BDEV_GUARD_H

/*
 * The guard (LOCKING.md 6.4): somebody outside of this process who cuts off what this
 * process sends when a lease is too old, also while this process is stopped.
 *
 * A guard guards leases; a lease has a time of its last renewal, and sockets. When a
 * lease becomes cut_ns old its sockets are reset, what stands in their buffers is thrown
 * away, and the process has GUARD_ACK_NS to acknowledge, or it is killed. A renewal,
 * however it comes about (a reclaim), makes the lease whole again; sockets added since
 * the cut are kept.
 *
 * The guard of programs is a process (guard.c); a simulation brings its own through
 * struct guard_ops. The inline functions below are what everybody calls.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"

#define GUARD_ACK_NS 1000000000ull /* from the cut to the kill */

struct guard;
struct guard_lease;

/* What a lease is. */
struct guard_terms {
	const char *name;  /* for reports; borrowed for the call */
	uint64_t cut_ns;   /* T_cut */
	uint64_t renewed;  /* clock_now() ns before the submission of the last renewal */
	uint64_t ack_ns;   /* 0: GUARD_ACK_NS (a test's scale) */
	/* All that this lease covers goes through sockets that are added: after a cut and
	   its acknowledgement nothing of this host can land (watchdog). */
	bool has_sockets_only;
	/* The guard is gone: the lease counts as infinitely old. From a task of the
	   guard's own; must not block for long. It may come before lease_new returns. */
	void (*lost)(void *arg);
	void *arg;
};

struct guard_ops {
	int (*lease_new)(struct guard *g, const struct guard_terms *terms,
			 struct guard_lease **ret_lease);
	void (*lease_end)(struct guard_lease *l);
	void (*renewed)(struct guard_lease *l, uint64_t renewed);
	void (*acknowledge)(struct guard_lease *l);
	bool (*is_cut)(struct guard_lease *l);
	int (*add_socket)(struct guard_lease *l, int sock, uint64_t *ret_id);
	void (*drop_socket)(struct guard_lease *l, uint64_t id);
	void (*stop)(struct guard *g);
};

/* Embedded first in each guard's own struct, and each lease's. */
struct guard { const struct guard_ops *ops; };
struct guard_lease { struct guard *guard; };

struct guard_options {
	/* Fed every 2 s while nothing of this host can land outside of a lease; NULL: no
	   watchdog. Its time-out is set to 10 s if it is one. */
	const char *watchdog;
	int log_fd; /* where the guard says what it does to this process; borrowed */
	struct reporter *reporter;
};

/*
 * Starts the guard of this process as a child process. Before any task is started, and
 * after the last fork that only goes to the background. 0 or -errno, reported.
 */
int guard_start(const struct guard_options *options, struct guard **ret_guard)
	__attribute__((warn_unused_result));
/* Ends it, cleanly; all leases have ended. NULL is allowed. Blocks. */
static inline void guard_stop(struct guard *g)
{
	if (g)
		g->ops->stop(g);
}

/*
 * A lease comes under guard. 0; -EPIPE: the guard is gone; -ENOSPC: too many leases;
 * -errno. Blocks.
 */
static inline int guard_lease_new(struct guard *g, const struct guard_terms *terms,
				  struct guard_lease **ret_lease)
{
	return g->ops->lease_new(g, terms, ret_lease);
}

/* The lease is given back: its sockets are left alone. NULL is allowed. Blocks. */
static inline void guard_lease_end(struct guard_lease *l)
{
	if (l)
		l->guard->ops->lease_end(l);
}

/*
 * A renewal submitted at `renewed` is known to have run; never goes backwards. Before the
 * gate opens for it. Never blocks.
 */
static inline void guard_lease_renewed(struct guard_lease *l, uint64_t renewed)
{
	l->guard->ops->renewed(l, renewed);
}

/*
 * This process has cut its devices and submits nothing until a renewal: not to be killed.
 * Before as well as after the guard's own cut. Never blocks.
 */
static inline void guard_lease_acknowledge(struct guard_lease *l)
{
	l->guard->ops->acknowledge(l);
}

/* The guard has cut, and no renewal came since. Never blocks. */
static inline bool guard_lease_is_cut(struct guard_lease *l)
{
	return l->guard->ops->is_cut(l);
}

/*
 * Puts a socket under the lease: when it returns 0 the guard holds it, and the first byte
 * may be sent. Drop it before it is closed, or the connection outlives the close. Else
 * the socket must not be used: -EPIPE: the guard is gone; -ESTALE: the lease is over and
 * not acknowledged; -ENOSPC, -errno. Blocks (a round trip between two processes).
 */
static inline int guard_lease_add_socket(struct guard_lease *l, int sock,
					 uint64_t *ret_id)
{
	return l->guard->ops->add_socket(l, sock, ret_id);
}

static inline void guard_lease_drop_socket(struct guard_lease *l, uint64_t id)
{
	l->guard->ops->drop_socket(l, id);
}

#endif
