/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What members of a VMFS-6 volume have that those of VMFS-5 have not: pointer blocks that
 * are sub-blocks, a pool of blocks for journals, slots of a page each.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mkfs/layout.h"
#include "tests/sim/cluster.h"
#include "tests/sim/sim.h"

#define MIB (1024ull * 1024)
#define SMALL 5000u
#define HOSTS 6u

struct story {
	struct cluster *c;
	struct cluster_mount m;
	unsigned int number;
};

/* Makes a file with SMALL bytes at `at`, synced and open. */
static struct vmfs_file *make(struct vmfs_volume *vol, const char *path, uint64_t at,
			      uint8_t byte)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	uint8_t data[SMALL];

	memset(data, byte, sizeof(data));
	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	SIM_CHECK(!vmfs_file_write(file, data, sizeof(data), at));
	SIM_CHECK(!vmfs_file_sync(file));
	return file;
}

static void put(struct vmfs_volume *vol, const char *path, uint64_t at, uint8_t byte)
{
	SIM_CHECK(!vmfs_file_close(make(vol, path, at, byte)));
}

static void check_bytes(struct vmfs_volume *vol, const char *path, uint8_t byte)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint8_t data[SMALL];

	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	SIM_CHECK(vmfs_file_read(file, data, sizeof(data), 0) == SMALL);
	for (unsigned int i = 0; i < SMALL; i++)
		if (data[i] != byte)
			sim_fail("%s: byte %u is 0x%02x, not 0x%02x", path, i, data[i],
				 byte);
	SIM_CHECK(!vmfs_file_close(file));
}

/* ---- a pointer block that becomes data ---- */

/* There is one sub-block: what held the pointers of one file holds the other's bytes. */
static void reuse_the_only_sub_block(void *arg)
{
	struct story *s = arg;

	SIM_CHECK(!cluster_mount(s->c, &s->m));
	SIM_CHECK(!vmfs_file_truncate(make(s->m.vol, "/large", 330 * MIB, 'L'), 0));
	(void)make(s->m.vol, "/small", 0, 'S');
	task_sleep_until(UINT64_MAX); /* and dies so */
}

static void find_the_small_file(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	cluster_bury(&m);
	check_bytes(m.vol, "/small", 'S');
	SIM_CHECK(!cluster_unmount(&m));
}

static void replay_over_data(void *arg)
{
	const struct mkfs_counts counts = { .sb = 1 };
	struct story s = { .c = cluster_new6(BDEV_CAW_FILE, &counts) };
	struct sim_host *a = sim_host_new("a", 0);

	(void)arg;
	struct task *t = sim_host_start(a, "reuse", reuse_the_only_sub_block, &s);
	task_sleep_until(clock_now() + 2 * NS_PER_S);
	sim_host_kill(a);
	task_join(t);
	SIM_CHECK(sim_host_run(sim_host_new("b", 0), "find", find_the_small_file, &s));
	cluster_check(s.c, false);
	cluster_free(s.c);
}

/*
 * A host frees a pointer block, writes a small file into it and dies; who replays its
 * journal does not put the pointers back over the bytes.
 */
static void a_replay_leaves_what_was_reused(void **state)
{
	(void)state;
	sim_each_seed(1, 3, replay_over_data, NULL);
}

/* ---- several members ---- */

static void be_a_member(void *arg)
{
	struct story *s = arg;
	char path[32];

	SIM_CHECK(!cluster_mount(s->c, &s->m));
	for (unsigned int i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "/f%u.%u", s->number, i);
		put(s->m.vol, path, i % 2 ? 2 * MIB : 0, (uint8_t)('a' + s->number));
	}
	(void)snprintf(path, sizeof(path), "/f%u.1", s->number);
	SIM_CHECK(!vmfs_unlink(s->m.vol, path));
	(void)snprintf(path, sizeof(path), "/f%u.0", s->number);
	check_bytes(s->m.vol, path, (uint8_t)('a' + s->number));
	if (s->number % 2)
		task_sleep_until(UINT64_MAX); /* every other one dies */
	SIM_CHECK(!cluster_unmount(&s->m));
}

static void find_all(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_stat st;
	char path[32];

	SIM_CHECK(!cluster_mount(s->c, &m));
	cluster_bury(&m);
	for (unsigned int n = 0; n < HOSTS; n++) {
		(void)snprintf(path, sizeof(path), "/f%u.0", n);
		check_bytes(m.vol, path, (uint8_t)('a' + n));
		(void)snprintf(path, sizeof(path), "/f%u.1", n);
		SIM_CHECK(vmfs_stat(m.vol, path, &st) == -ENOENT);
	}
	SIM_CHECK(!cluster_unmount(&m));
}

static void live_together(void *arg)
{
	struct cluster *c = cluster_new6(BDEV_CAW_ATS, NULL);
	struct story stories[HOSTS];
	struct sim_host *hosts[HOSTS];
	struct task *tasks[HOSTS];
	struct story last = { .c = c };

	(void)arg;
	for (unsigned int i = 0; i < HOSTS; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "h%u", i);
		stories[i] = (struct story){ .c = c, .number = i };
		hosts[i] = sim_host_new(name, 0);
		tasks[i] = sim_host_start(hosts[i], "member", be_a_member, &stories[i]);
	}
	task_sleep_until(clock_now() + 120 * NS_PER_S);
	for (unsigned int i = 1; i < HOSTS; i += 2)
		sim_host_kill(hosts[i]);
	for (unsigned int i = 0; i < HOSTS; i++)
		task_join(tasks[i]);
	SIM_CHECK(sim_host_run(sim_host_new("last", 0), "find", find_all, &last));
	cluster_check(c, false);
	cluster_free(c);
}

/* Six hosts make and remove files side by side; three die; nothing is lost. */
static void members_share_a_volume(void **state)
{
	(void)state;
	sim_each_seed(1, 3, live_together, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_replay_leaves_what_was_reused),
		cmocka_unit_test(members_share_a_volume),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
