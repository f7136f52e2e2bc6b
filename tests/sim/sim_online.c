/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck --online beside hosts that write: it finds nothing on a sound volume, in whatever
 * weather; and what is really wrong it finds while they go on.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fsck/read.h"
#include "tests/lib/script.h"
#include "tests/sim/onlooker.h"
#include "tests/sim/storm.h"
#include "tests/sim/wreck.h"

#define S NS_PER_S

/* All operations of three hosts; some of them die or stand still. */
static void nothing_is_found_in_a_storm(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 3,
		.ops = STORM_ALL_OPS,
		.faults = STORM_KILL | STORM_PATH | STORM_LONG_PAUSE,
		.events = 2,
		.work_ns = 30 * S,
		.has_onlooker = true,
	};

	(void)state;
	sim_some_seeds(1, 12, storm_run, &storm);
}

/* On storage that loses answers, asks for patience and does things in any order. */
static void nothing_is_found_on_rude_storage(void **state)
{
	struct storm storm = {
		.caw = BDEV_CAW_ATS,
		.hosts = 2,
		.ops = STORM_ALL_OPS,
		.faults = STORM_RUDE,
		.work_ns = 20 * S,
		.has_onlooker = true,
	};

	(void)state;
	sim_some_seeds(100, 6, storm_run, &storm);
}

/* ---- VMFS-6, and what is really wrong ---- */

#define WRITERS 2u
#define VICTIM "/victim"

struct script_host {
	struct cluster *cluster;
	unsigned int number;
	uint64_t stop_at;
	unsigned long changes;
};

/* Any operation on a tree of one's own and in a directory of all; it may fail. */
static void write_on(void *arg)
{
	struct script_host *h = arg;
	struct cluster_mount m = { 0 };
	char tree[16], tag[16];
	struct script_place place = { tree, "/shared", tag };
	uint64_t random = sim_random(UINT64_MAX);

	(void)snprintf(tree, sizeof(tree), "/h%u", h->number);
	(void)snprintf(tag, sizeof(tag), "h%u-", h->number);
	SIM_CHECK(!cluster_mount(h->cluster, &m));
	SIM_CHECK(!vmfs_mkdir(m.vol, tree, 0755));
	int err = vmfs_mkdir(m.vol, "/shared", 0755);
	SIM_CHECK(!err || err == -EEXIST);
	while (sim_time() < h->stop_at) {
		struct script_op op;
		script_make(&random, &place, &op);
		h->changes += script_apply(m.vol, &op, clock_now() + 60 * S) == 0;
		task_sleep_until(clock_now() + sim_random(30 * NS_PER_MS));
	}
	SIM_CHECK(!cluster_unmount(&m));
}

static void write_beside(struct cluster *c, struct onlooker *o)
{
	struct script_host hosts[WRITERS];
	struct task *tasks[WRITERS];
	unsigned long changes = 0;

	for (unsigned int i = 0; i < WRITERS; i++) {
		hosts[i] = (struct script_host){ c, i, sim_time() + 20 * S, 0 };
		tasks[i] = sim_host_start(sim_host_new(i ? "w1" : "w0", 0), "write",
					  write_on, &hosts[i]);
	}
	struct task *look = onlooker_start(o);
	for (unsigned int i = 0; i < WRITERS; i++) {
		task_join(tasks[i]);
		changes += hosts[i].changes;
	}
	o->is_over = true;
	task_join(look);
	sim_trace("%lu changes, %lu checks, %lu found it, %lu places changed", changes,
		  o->checks, o->found, o->changed);
	SIM_CHECK(changes > 20 && o->checks > 5);
}

static void six(void *arg)
{
	struct cluster *c = cluster_new6(BDEV_CAW_ATS, NULL);
	struct onlooker o = { .cluster = c };

	(void)arg;
	write_beside(c, &o);
	cluster_check(c, false);
	cluster_free(c);
}

static void nothing_is_found_on_vmfs6(void **state)
{
	(void)state;
	sim_some_seeds(200, 6, six, NULL);
}

/* A field of the victim's file descriptor. */
struct wreck {
	uint32_t off; /* in its metadata */
	uint32_t value;
	const char *code, *fault; /* as it is told */
};

static void wreck(struct cluster *c, const struct wreck *w, char fault[static 160])
{
	char at[48];
	vmfs_addr addr;
	uint64_t off = wreck_fd_off(c, VICTIM, &addr);

	wreck_le32(c, off + w->off, w->value);
	(void)snprintf(fault, 160, "%s: %s: %s", w->code, fsck_addr_text(addr, at),
		       w->fault);
}

#define META(field) offsetof(struct vmfs_fd_meta_disk, field)

/* What an object says of itself, and what others must say of it. */
static void fault(void *arg)
{
	static const struct wreck wrecks[] = {
		{ META(block_count), 77, "FD_BLOCK_COUNT",
		  "counts 77 blocks, it has 1" },
		{ META(links), 3, "FD_LINKS", "counts 3 links, it has 1" },
	};
	struct cluster *c = cluster_new6(BDEV_CAW_ATS, NULL);
	char text[160];
	struct onlooker o = { .cluster = c, .fault = text };

	(void)arg;
	cluster_make_file(c, VICTIM, 1u << 20);
	wreck(c, &wrecks[sim_random(2)], text);
	write_beside(c, &o);
	if (2 * o.found < o.checks)
		sim_fail("%lu of %lu checks found: %s", o.found, o.checks, text);
	cluster_free(c);
}

static void a_fault_is_found_beside_writers(void **state)
{
	(void)state;
	sim_some_seeds(300, 8, fault, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_found_in_a_storm),
		cmocka_unit_test(nothing_is_found_on_rude_storage),
		cmocka_unit_test(nothing_is_found_on_vmfs6),
		cmocka_unit_test(a_fault_is_found_beside_writers),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
