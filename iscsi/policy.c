/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path policies.
 *
 * Of all policies the same is true: paths that are non-optimized are used only if no
 * active one is left, and a change of rank counts at the next I/O. What is in flight
 * stays where it is.
 *
 *   FIXED        the preferred path if it is of the best rank there is; else the current
 *                one, so that it does not wander; back to the preferred when that is up
 *                (and not young any more)
 *   MRU          the current one as long as it is of the best rank; else the next in
 *                order; never back
 *   ROUND_ROBIN  `iops` I/Os each, in order
 *   LATENCY      the least of average latency x (I/Os on the way + 1). One in 64 I/Os
 *                goes in turns, so that a path that has become fast again is found
 */
#include "iscsi/policy.h"

#include <string.h>
#include <strings.h>

#include "base/align.h"

#define SAMPLE 64u

static const struct {
	const char *name, *word;
} names[] = {
	[POLICY_FIXED] = { "VMW_PSP_FIXED", "FIXED" },
	[POLICY_MRU] = { "VMW_PSP_MRU", "MRU" },
	[POLICY_ROUND_ROBIN] = { "VMW_PSP_RR", "RR" },
	[POLICY_LATENCY] = { "VMW_PSP_LATENCY", "LATENCY" },
};

const char *path_policy_text(enum path_policy policy)
{
	return names[policy].name;
}

bool path_policy_parse(const char *text, enum path_policy *ret_policy)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcasecmp(text, names[i].name) == 0 ||
		    strcasecmp(text, names[i].word) == 0) {
			*ret_policy = (enum path_policy)i;
			return true;
		}
	}
	return false;
}

/* PATH_ACTIVE, PATH_UNOPTIMIZED, or PATH_DEAD: nobody takes I/O. */
static enum path_state best_rank(const struct path_view *view, unsigned int count)
{
	enum path_state best = PATH_DEAD;

	for (unsigned int i = 0; i < count; i++) {
		if (view[i].state == PATH_ACTIVE)
			return PATH_ACTIVE;
		if (view[i].state == PATH_UNOPTIMIZED)
			best = PATH_UNOPTIMIZED;
	}
	return best;
}

/* The next of that rank behind `at` (-1: the first). There is one. */
static int next_of(const struct path_view *view, unsigned int count,
		   enum path_state rank, int at)
{
	for (unsigned int n = 1; n <= count; n++) {
		unsigned int i = ((unsigned int)(at + 1) + n - 1) % count;
		if (view[i].state == rank)
			return (int)i;
	}
	return -1;
}

static int quickest(const struct path_view *view, unsigned int count,
		    enum path_state rank)
{
	uint64_t least = UINT64_MAX;
	int best = -1;

	for (unsigned int i = 0; i < count; i++) {
		if (view[i].state != rank)
			continue;
		uint64_t wait = view[i].latency_ns * (view[i].busy + 1ull);
		if (best < 0 || wait < least) {
			best = (int)i;
			least = wait;
		}
	}
	return best;
}

static int choose(const struct path_choice *c, const struct path_view *view,
		  unsigned int count, enum path_state rank)
{
	bool stays = c->current >= 0 && view[c->current].state == rank;

	switch (c->policy) {
	case POLICY_FIXED: {
		int wanted = c->preferred >= 0 ? c->preferred : 0;
		bool may_go = !view[wanted].is_young || wanted == c->current;
		if (view[wanted].state == rank && (may_go || !stays))
			return wanted;
		break;
	}
	case POLICY_ROUND_ROBIN:
		stays = stays && c->sent < c->iops;
		break;
	case POLICY_LATENCY:
		if (c->chosen % SAMPLE)
			return quickest(view, count, rank);
		stays = false;
		break;
	default:
		break;
	}
	return stays ? c->current : next_of(view, count, rank, c->current);
}

int path_choose(struct path_choice *c, const struct path_view *view, unsigned int count)
{
	enum path_state rank = best_rank(view, count);

	if (rank == PATH_DEAD)
		return -1;
	int path = choose(c, view, count, rank);
	/* A turn begins anew even if there is nobody else to have one. */
	if (path != c->current || c->sent >= c->iops)
		c->sent = 0;
	c->current = path;
	c->sent++;
	c->chosen++;
	return path;
}
