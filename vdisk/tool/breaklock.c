/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkfstools -B: breaks the locks of the dead hosts of a volume.
 *
 * No lock is edited. Each host that has a slot is watched for as long as it takes to know
 * that it is dead; then it is taken over as it would be by anybody who met one of its
 * locks, only without waiting for that (vmfs_break_host). A host whose heartbeat moves is
 * never broken. What was seen of each is printed.
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmfs/format.h"

struct breaking {
	const struct job *j;
	struct vmfs_break_seen last;
	uint64_t told; /* clock_now() of the last line about waiting */
};

static double seconds(uint64_t ns)
{
	return (double)(ns / NS_PER_MS) / 1000;
}

static void print_host(const struct vmfs_member *m)
{
	char owner[UUID_TEXT_SIZE];
	(void)printf("slot %" PRIu32 ": host %s (%s)", m->slot,
		     *m->host_name ? m->host_name : "without a name",
		     uuid_text(&m->owner, owner));
}

static bool tell(void *arg, const struct vmfs_break_seen *seen)
{
	struct breaking *b = arg;
	bool is_due = clock_now() - b->told >= 5 * NS_PER_S;
	b->last = *seen;
	if (seen->phase == VMFS_BREAK_WATCHING && is_due && b->j->rq->is_verbose) {
		print_host(&seen->host);
		(void)printf(": heartbeat unchanged for %.1f s of %.1f s\n",
			     seconds(seen->watched_ns), seconds(seen->need_ns));
		(void)fflush(stdout);
		b->told = clock_now();
	}
	return !*b->j->is_interrupted;
}

/* What became of one host. The library has told of errors. */
static void print_outcome(const struct breaking *b, const struct vmfs_member *m, int rc)
{
	const struct vmfs_break_seen *seen = &b->last;
	print_host(m);
	if (rc == 0 && seen->is_liveness)
		(void)printf(": dead, its process is gone: its locks are broken\n");
	else if (rc == 0 && seen->need_ns)
		(void)printf(": dead, its heartbeat did not move for %.1f s: its locks"
			     " are broken\n", seconds(seen->watched_ns));
	else if (rc == 0)
		(void)printf(": has left meanwhile\n");
	else if (rc == -EBUSY && seen->is_liveness)
		(void)printf(": alive, its process exists: not broken\n");
	else if (rc == -EBUSY)
		(void)printf(": alive, its heartbeat moved %.1f s ago: not broken\n",
			     seconds(seen->host.age_ns));
	else
		(void)printf(": not broken: %s\n", strerrordesc_np(-rc));
	(void)fflush(stdout);
}

/* 0 for yes and 1 for no, as on ESXi. Nobody there to answer: no. */
static bool is_confirmed(const struct job *j)
{
	char line[16];
	if (j->rq->is_yes)
		return true;
	(void)printf("Those of them that do not show a heartbeat while they are watched"
		     " are taken over,\nand all their locks on %s are broken."
		     " A host that lives is left alone.\nContinue?\n0) Yes\n1) No\n\n"
		     "Select a number from 0-1: ", j->what);
	(void)fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	return !strcmp(line, "0\n") || !strcmp(line, "0");
}

static int break_each(struct job *j, const struct vmfs_member *members, int count)
{
	int first = 0;
	for (int i = 0; i < count && !*j->is_interrupted; i++) {
		struct breaking b = { .j = j, .told = clock_now() };
		const struct vmfs_break_options o = { .tell = tell, .arg = &b };
		if (members[i].is_self)
			continue;
		int rc = vmfs_break_host(j->m.vol, members[i].slot, &o);
		print_outcome(&b, &members[i], rc);
		if (first == 0)
			first = rc;
	}
	return *j->is_interrupted ? -ECANCELED : first;
}

int do_break(struct job *j)
{
	struct vmfs_member *members = calloc(VMFS_HEARTBEATS_COUNT, sizeof(*members));
	int others = 0;
	int count = members ? vmfs_volume_members(j->m.vol, members,
						  VMFS_HEARTBEATS_COUNT) : -ENOMEM;
	for (int i = 0; i < count; i++) {
		if (members[i].is_self)
			continue;
		print_host(&members[i]);
		(void)printf("%s\n", members[i].is_claimed ? ", being taken over" : "");
		others++;
	}
	int rc = count < 0 ? count : 0;
	if (rc == 0 && others == 0)
		(void)printf("No other host has a heartbeat slot on %s: nothing is"
			     " locked.\n", j->what);
	else if (rc == 0)
		rc = is_confirmed(j) ? break_each(j, members, count) : -ECANCELED;
	free(members);
	return rc;
}
