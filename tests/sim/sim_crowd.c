/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many hosts, one directory, in virtual time: everybody gets its turn (L2), also when one
 * of them dies, and a host that wants nothing costs the disk next to nothing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bdev/bdev.h"
#include "tests/sim/cluster.h"
#include "vmfs/lock.h"
#include "vmfs/volume.h"

#define S NS_PER_S
#define HOSTS 6u
#define FILES 16u
/* A turn is 250 to 350 ms: all others have had some in this time, at random. */
#define LONGEST_WAIT (6 * S)
#define T_DEAD (24 * S)

/* ---- everybody makes files in one directory ---- */

struct crowd {
	struct cluster *c;
	uint64_t longest; /* that anybody waited for one file */
	bool has_death;
};

struct guest {
	struct crowd *crowd;
	unsigned int number, made;
};

static int make_one(struct cluster_mount *m, const struct guest *g)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE |
						      VMFS_EXCL,
					     .mode = 0600 };
	struct vmfs_file *file;
	char path[32];

	snprintf(path, sizeof(path), "/crowd/h%u-%u", g->number, g->made);
	int err = vmfs_file_open(m->vol, path, &options, &file, NULL);
	return err ? err : vmfs_file_close(file);
}

static void make_files(void *arg)
{
	struct guest *g = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(g->crowd->c, &m));
	int err = vmfs_mkdir(m.vol, "/crowd", 0755);
	SIM_CHECK(!err || err == -EEXIST);
	while (g->made < FILES) {
		uint64_t began = sim_time();

		err = make_one(&m, g);
		if (err)
			sim_fail("file %u: %d after %llu ms", g->made, err,
				 (unsigned long long)((sim_time() - began) / NS_PER_MS));
		g->made++;
		if (sim_time() - began > g->crowd->longest)
			g->crowd->longest = sim_time() - began;
		task_sleep_until(clock_now() + sim_random(200 * NS_PER_MS));
	}
	SIM_CHECK(!cluster_unmount(&m));
}

static void count_files(void *arg)
{
	struct crowd *crowd = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_stat st;
	char path[32];

	SIM_CHECK(!cluster_mount(crowd->c, &m));
	for (unsigned int i = crowd->has_death; i < HOSTS; i++) {
		for (unsigned int k = 0; k < FILES; k++) {
			snprintf(path, sizeof(path), "/crowd/h%u-%u", i, k);
			SIM_CHECK(!vmfs_stat(m.vol, path, &st));
		}
	}
	cluster_bury(&m);
	SIM_CHECK(!cluster_unmount(&m));
}

static void gather(void *arg)
{
	const bool *has_death = arg;
	struct crowd crowd = { .c = cluster_new(BDEV_CAW_ATS), .has_death = *has_death };
	struct sim_host *hosts[HOSTS];
	struct task *tasks[HOSTS];
	struct guest guests[HOSTS];

	for (unsigned int i = 0; i < HOSTS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "h%u", i);
		guests[i] = (struct guest){ .crowd = &crowd, .number = i };
		hosts[i] = sim_host_new(name, (int)sim_random(2000) - 1000);
		tasks[i] = sim_host_start(hosts[i], "make", make_files, &guests[i]);
	}
	if (crowd.has_death) {
		task_sleep_until(clock_now() + S + sim_random(5 * S));
		sim_host_kill(hosts[0]);
	}
	for (unsigned int i = 0; i < HOSTS; i++)
		task_join(tasks[i]);
	sim_trace("longest wait %llu ms",
		  (unsigned long long)(crowd.longest / NS_PER_MS));
	uint64_t limit = LONGEST_WAIT + (crowd.has_death ? T_DEAD + 3 * S : 0);
	if (crowd.longest > limit)
		sim_fail("somebody waited %llu ms for one file",
			 (unsigned long long)(crowd.longest / NS_PER_MS));
	SIM_CHECK(sim_host_run(sim_host_new("counter", 0), "count", count_files, &crowd));
	cluster_check(crowd.c, crowd.has_death);
	cluster_free(crowd.c);
}

/* Six hosts make files in one directory: none is refused, none starves. */
static void everybody_gets_a_turn_in_one_directory(void **state)
{
	bool has_death = false;

	(void)state;
	sim_each_seed(1, 20, gather, &has_death);
	/* Each of two locks was free only while the other was not: 7 s. */
	sim_each_seed(50028, 1, gather, &has_death);
}

/* One of them dies, perhaps with the directory's lock: the others wait and go on. */
static void everybody_gets_a_turn_after_a_death(void **state)
{
	bool has_death = true;

	(void)state;
	sim_each_seed(100, 20, gather, &has_death);
}

/* ---- nobody wants anything ---- */

/* Commands of the host under watch; by operation. One host in one story. */
static struct {
	const struct bdev_ops *real;
	struct bdev_ops counting;
	unsigned int commands[BDEV_CAW + 1];
	uint64_t bytes_read;
} meter;

static void count_submit(struct bdev *bd, struct bdev_io *io)
{
	meter.commands[io->op]++;
	if (io->op == BDEV_READ)
		meter.bytes_read += io->len;
	meter.real->submit(bd, io);
}

static void install_meter(struct cluster_mount *m)
{
	memset(&meter, 0, sizeof(meter));
	meter.real = m->bd->ops;
	meter.counting = *meter.real;
	meter.counting.submit = count_submit;
	m->bd->ops = m->heartbeat_bd->ops = &meter.counting;
}

static void remove_meter(struct cluster_mount *m)
{
	m->bd->ops = m->heartbeat_bd->ops = meter.real;
}

static void idle(void *arg)
{
	struct guest *g = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(g->crowd->c, &m));
	SIM_CHECK(!vmfs_mkdir(m.vol, g->number ? "/b" : "/a", 0755));
	task_sleep_until(clock_now() + 20 * S); /* retained locks go back */
	if (g->number == 0)
		install_meter(&m);
	task_sleep_until(clock_now() + 600 * S);
	if (g->number == 0)
		remove_meter(&m);
	SIM_CHECK(!cluster_unmount(&m));
}

static void rest(void *arg)
{
	struct crowd crowd = { .c = cluster_new(BDEV_CAW_ATS) };
	struct guest guests[2] = { { .crowd = &crowd },
				   { .crowd = &crowd, .number = 1 } };
	struct task *tasks[2];

	(void)arg;
	tasks[0] = sim_host_start(sim_host_new("a", 0), "idle", idle, &guests[0]);
	tasks[1] = sim_host_start(sim_host_new("b", 0), "idle", idle, &guests[1]);
	task_join(tasks[0]);
	task_join(tasks[1]);
	/* 600 s: a heartbeat every 3 s, a scan of all slots every 60 s, nothing else. */
	const unsigned int *n = meter.commands;
	if (n[BDEV_CAW] < 198 || n[BDEV_CAW] > 202 || n[BDEV_READ] < 9 ||
	    n[BDEV_READ] > 11 || meter.bytes_read > 11 << 20 || n[BDEV_WRITE] ||
	    n[BDEV_FLUSH] || n[BDEV_ZERO] || n[BDEV_UNMAP])
		sim_fail("idle for 600 s: %u CAW, %u reads of %llu KiB, %u writes, "
			 "%u flushes",
			 n[BDEV_CAW], n[BDEV_READ],
			 (unsigned long long)(meter.bytes_read >> 10), n[BDEV_WRITE],
			 n[BDEV_FLUSH]);
	cluster_check(crowd.c, false);
	cluster_free(crowd.c);
}

/* Two members that do nothing: what one of them asks of the disk in ten minutes. */
static void idle_host_beats_and_scans_and_nothing_else(void **state)
{
	(void)state;
	sim_each_seed(200, 5, rest, NULL);
}

/* ---- all blocks are in somebody's hand ---- */

struct hoard {
	struct cluster *c;
	bool is_stopped;   /* the one who takes them and then stands still */
	uint32_t spared;   /* the cluster that he leaves to the other */
	bool has_all;
	uint64_t joined_ns;
};

/*
 * Takes clusters of file blocks as who has just used them: a host that lives gives back.
 */
static void hold_clusters(void *arg)
{
	struct hoard *hoard = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_lock_id id;

	SIM_CHECK(!cluster_mount(hoard->c, &m));
	const struct vmfs_resource *fbb = &m.vol->resources[RESOURCE_FBB];
	for (uint32_t i = 0; i < fbb->cluster_count; i++) {
		if ((i == hoard->spared) == hoard->is_stopped)
			continue;
		SIM_CHECK(!resource_lock_id(m.vol, RESOURCE_FBB, i, &id));
		SIM_CHECK(!vmfs_lock_acquire(m.vol, &id, LOCK_EXCLUSIVE,
					     clock_now() + 5 * S, NULL));
		vmfs_lock_unpin(m.vol, &id);
	}
	hoard->has_all = true;
	task_sleep_until(clock_now() + 10 * S);
	SIM_CHECK(!cluster_unmount(&m));
}

static void join_late(void *arg)
{
	struct hoard *hoard = arg;
	struct cluster_mount m = { 0 };
	uint64_t began = sim_time();

	SIM_CHECK(!cluster_mount(hoard->c, &m));
	hoard->joined_ns = sim_time() - began;
	SIM_CHECK(!cluster_unmount(&m));
}

static void await_hoard(const struct hoard *hoard)
{
	while (!hoard->has_all)
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
}

static void join_among_hoarders(void *arg)
{
	struct hoard stopped = { .c = cluster_new(BDEV_CAW_FILE), .is_stopped = true };
	struct hoard living = { .c = stopped.c };
	struct sim_host *a = sim_host_new("a", 0);

	(void)arg;
	living.spared = stopped.spared = (uint32_t)sim_random(3);
	struct task *task_a = sim_host_start(a, "hold", hold_clusters, &stopped);
	struct task *task_b =
		sim_host_start(sim_host_new("b", 0), "hold", hold_clusters, &living);
	await_hoard(&stopped);
	await_hoard(&living);
	sim_host_pause(a);
	SIM_CHECK(sim_host_run(sim_host_new("late", 0), "join", join_late, &living));
	sim_host_resume(a);
	task_join(task_a);
	task_join(task_b);
	if (living.joined_ns > 2 * S)
		sim_fail("joined after %llu ms",
			 (unsigned long long)(living.joined_ns / NS_PER_MS));
	cluster_check(stopped.c, false);
	cluster_free(stopped.c);
}

/*
 * Two hosts have all that journals could be made in; one stands still, so that it neither
 * gives back nor dies. Who joins gets what the other gives.
 */
static void joining_does_not_wait_for_who_stands_still(void **state)
{
	(void)state;
	sim_each_seed(300, 10, join_among_hoarders, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everybody_gets_a_turn_in_one_directory),
		cmocka_unit_test(everybody_gets_a_turn_after_a_death),
		cmocka_unit_test(idle_host_beats_and_scans_and_nothing_else),
		cmocka_unit_test(joining_does_not_wait_for_who_stands_still),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
