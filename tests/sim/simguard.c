/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's part of LOCKING.md 6.4, without a process:
 *
 *   young --- cut_ns old ---> cut: sessions reset --- ack_ns without an ---> killed
 *     ^                        |                      acknowledgement
 *     '------- renewed --------'
 */
#include "tests/sim/simguard.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "base/align.h"
#include "tests/sim/simdisk.h"

struct sim_lease {
	struct guard_lease lease; /* first */
	struct guard_terms terms;
	bool is_cut, is_acknowledged;
	uint64_t cut_at; /* perfect clock */
	LIST_ENTRY(sim_lease) all;
};

struct simguard {
	struct guard guard; /* first */
	struct sim_host *host;
	bool is_asleep;
	LIST_HEAD(, sim_lease) leases;
};

static struct simguard *guard_of(struct guard *g)
{
	return (struct simguard *)g;
}

static struct sim_lease *lease_of(struct guard_lease *l)
{
	return (struct sim_lease *)l;
}

static int lease_new(struct guard *g, const struct guard_terms *terms,
		     struct guard_lease **ret_lease)
{
	struct sim_lease *l = calloc(1, sizeof(*l));

	if (!l)
		return -1;
	l->lease.guard = g;
	l->terms = *terms;
	LIST_INSERT_HEAD(&guard_of(g)->leases, l, all);
	*ret_lease = &l->lease;
	return 0;
}

static void lease_end(struct guard_lease *lease)
{
	LIST_REMOVE(lease_of(lease), all);
	free(lease);
}

static void renewed(struct guard_lease *lease, uint64_t when)
{
	struct sim_lease *l = lease_of(lease);

	if (when <= l->terms.renewed)
		return;
	l->terms.renewed = when;
	l->is_cut = l->is_acknowledged = false;
}

static void acknowledge(struct guard_lease *lease)
{
	lease_of(lease)->is_acknowledged = true;
}

static bool is_cut(struct guard_lease *lease)
{
	return lease_of(lease)->is_cut;
}

/* Simulated devices have no sockets: they are known by their lease. */
static int add_socket(struct guard_lease *lease, int sock, uint64_t *ret_id)
{
	(void)lease;
	*ret_id = (uint64_t)sock;
	return 0;
}

static void drop_socket(struct guard_lease *lease, uint64_t id)
{
	(void)lease;
	(void)id;
}

static void stop(struct guard *g)
{
	(void)g;
}

static const struct guard_ops ops = {
	.lease_new = lease_new,
	.lease_end = lease_end,
	.renewed = renewed,
	.acknowledge = acknowledge,
	.is_cut = is_cut,
	.add_socket = add_socket,
	.drop_socket = drop_socket,
	.stop = stop,
};

struct guard *simguard_new(struct sim_host *h)
{
	struct simguard *g = calloc(1, sizeof(*g));

	SIM_CHECK(g);
	g->guard.ops = &ops;
	g->host = h;
	LIST_INIT(&g->leases);
	return &g->guard;
}

void simguard_free(struct guard *guard)
{
	if (!guard)
		return;
	struct simguard *g = guard_of(guard);
	while (!LIST_EMPTY(&g->leases)) /* of a dead host */
		lease_end(&LIST_FIRST(&g->leases)->lease);
	free(g);
}

void simguard_fall_asleep(struct guard *g)
{
	guard_of(g)->is_asleep = true;
}

static bool is_to_be_killed(struct simguard *g, struct sim_lease *l)
{
	if (!l->is_cut &&
	    sim_host_clock(g->host) >= l->terms.renewed + l->terms.cut_ns) {
		l->is_cut = true;
		l->cut_at = sim_time();
		simdisk_reset_sockets(&l->lease);
	}
	uint64_t ack_ns = l->terms.ack_ns ? l->terms.ack_ns : GUARD_ACK_NS;
	return l->is_cut && !l->is_acknowledged && sim_time() >= l->cut_at + ack_ns;
}

bool simguard_watch(struct guard *guard)
{
	struct simguard *g = guard_of(guard);
	struct sim_lease *l;
	bool is_killed = false;

	if (g->is_asleep || sim_host_is_dead(g->host))
		return false;
	LIST_FOREACH(l, &g->leases, all)
		is_killed |= is_to_be_killed(g, l);
	if (is_killed) {
		sim_trace("the guard kills %s", sim_host_name(g->host));
		sim_host_kill(g->host);
	}
	return is_killed;
}
