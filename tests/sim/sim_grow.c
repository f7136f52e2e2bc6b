/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume grows while others use it. Three hosts make files until they have more blocks
 * than the volume had; one of them, at some moment, grows it into new space on the device
 * (grow.h). In half of the runs it is killed on the way, and another one grows it again.
 * The oracle (oracle.h), which knows VMFS-5, sees every write; in the end every file that
 * a host was told is durable is there, as another host reads it, and fsck is content.
 * What an extent gains that has another behind it lies behind that one.
 * Where the bitmap gets pointer blocks (FULL) the volume is too large to be filled.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/sim/cluster.h"

#define S NS_PER_S
#define PES_AFTER 6u
#define HOSTS 3u
#define FILE_BYTES (24ull << 20)
#define FILES_EACH 16u /* 3 * 16 * 24 MiB: more than 2 PEs, less than 6 */
#define TRIES 400u

/* How large the volume is at first (0: as all of them), and at the end. */
struct sizes {
	bool is_6, has_second; /* it is the first of two extents that grows */
	unsigned int pes, pes_after;
};

struct story {
	struct cluster *c;
	const struct sizes *sizes;
	struct sim_host *hosts[HOSTS];
	bool is_killing;
	unsigned int made[HOSTS]; /* files that are durable */
	bool is_grown, is_done[HOSTS], is_quiet;
};

struct life {
	struct story *s;
	unsigned int host;
};

static const char *path_of(unsigned int host, unsigned int i, char buf[32])
{
	(void)snprintf(buf, 32, "/file-%u-%u", host, i);
	return buf;
}

/* 0; -ENOSPC: not yet; -ESTALE. What was allocated stays for the next try. */
static int make_file(struct cluster_mount *m, unsigned int host, unsigned int i)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
						   .deadline = clock_now() + 60 * S };
	struct vmfs_file *file;
	char path[32], block[512] = "";
	int err = vmfs_file_open(m->vol, path_of(host, i, path), &options, &file, NULL);

	if (err)
		return err;
	(void)snprintf(block, sizeof(block), "%s", path);
	err = vmfs_file_allocate(file, 0, FILE_BYTES, VMFS_ALLOCATE_TBZ);
	if (!err)
		err = vmfs_file_write(file, block, sizeof(block), FILE_BYTES - 512);
	if (!err)
		err = vmfs_file_sync(file);
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

static void check_file(struct cluster_mount *m, unsigned int host, unsigned int i)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	char path[32], block[512];

	int err = vmfs_file_open(m->vol, path_of(host, i, path), &options, &file, NULL);
	if (err)
		sim_fail("%s: open: %d", path, err);
	int64_t got = vmfs_file_read(file, block, sizeof(block), FILE_BYTES - 512);
	if (got != sizeof(block) || strcmp(block, path) != 0)
		sim_fail("%s reads %lld, '%.20s'", path, (long long)got, block);
	SIM_CHECK(!vmfs_file_close(file));
}

static int grow(struct story *s, struct cluster_mount *m)
{
	uint64_t added;
	const char *which = s->sizes->has_second ? CLUSTER_FIRST : NULL;
	int err = vmfs_volume_grow(m->vol, NULL, which, &added);

	if (!err)
		s->is_grown = true;
	/* Somebody else has done it, or what a dead host logged of it was replayed. */
	return err == -ENOSPC ? 0 : err;
}

/* What the host that grew it has committed is seen when its log has been emptied. */
static void see_size(struct story *s, struct cluster_mount *m, unsigned int host)
{
	struct vmfs_volume_info info;
	unsigned int tries = 0;

	do {
		if (tries++)
			task_sleep_until(clock_now() + S);
		SIM_CHECK(!vmfs_volume_info(m->vol, &info));
	} while (info.block_count != s->sizes->pes_after * 256ull && tries < 60);
	if (tries == 60)
		sim_fail("host %u sees %llu blocks", host,
			 (unsigned long long)info.block_count);
}

static void live(void *arg)
{
	const struct life *life = arg;
	struct story *s = life->s;
	unsigned int me = life->host, i = 0;
	struct cluster_mount m = { .no_liveness_lock = true };
	uint64_t grow_at = clock_now() + sim_random(20 * S);

	SIM_CHECK(!cluster_mount(s->c, &m));
	for (unsigned int tries = 0; tries < TRIES; tries++) {
		bool is_mine = me == 0 || sim_host_is_dead(s->hosts[0]);

		if (i == FILES_EACH && (!is_mine || s->is_grown))
			break;

		if (is_mine && !s->is_grown && clock_now() > grow_at) {
			int err = grow(s, &m);
			if (err && err != -EBUSY)
				sim_fail("grow: %d", err);
		}
		int err = i < FILES_EACH ? make_file(&m, me, i) : -EBUSY;
		if (!err)
			s->made[me] = ++i;
		else if (err != -ENOSPC && err != -EBUSY)
			sim_fail("host %u, file %u: %d", me, i, err);
		else
			task_sleep_until(clock_now() + S);
	}
	if (i < FILES_EACH)
		sim_fail("host %u never saw the new space: %u files", me, i);
	s->is_done[me] = true;
	while (!s->is_quiet)
		task_sleep_until(clock_now() + S);
	/* What the others made, wherever it lies. */
	for (unsigned int h = 0; h < HOSTS; h++)
		for (i = 0; i < s->made[h]; i++)
			check_file(&m, h, i);
	see_size(s, &m, me);
	SIM_CHECK(!cluster_unmount(&m));
}

/* Comes when all have gone, and takes over who died. */
static void live_last(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .no_liveness_lock = true };

	SIM_CHECK(!cluster_mount(s->c, &m));
	cluster_bury(&m);
	see_size(s, &m, HOSTS);
	SIM_CHECK(!cluster_unmount(&m));
}

static bool is_over(const struct story *s)
{
	for (unsigned int i = 0; i < HOSTS; i++)
		if (!s->is_done[i] && !sim_host_is_dead(s->hosts[i]))
			return false;
	return true;
}

static struct cluster *cluster_of(const struct sizes *sizes, enum bdev_caw_class caw)
{
	if (sizes->has_second)
		return cluster_new_two(caw, sizes->is_6, sizes->pes_after - 1);
	if (sizes->is_6)
		return cluster_new6_with_room(caw, sizes->pes_after);
	if (sizes->pes)
		return cluster_new_pointed(caw, sizes->pes, sizes->pes_after);
	return cluster_new_with_room(caw, sizes->pes_after);
}

static void story(void *arg)
{
	struct story s = { .is_killing = sim_random(2), .sizes = arg };
	struct life lives[HOSTS];
	struct task *tasks[HOSTS];
	uint64_t kill_at = clock_now() + sim_random(25 * S);

	sim_set_limits(86400 * S, 900ull * 1000 * 1000);
	enum bdev_caw_class caw = sim_random(2) ? BDEV_CAW_ATS : BDEV_CAW_FILE;
	s.c = cluster_of(s.sizes, caw);
	for (unsigned int i = 0; i < HOSTS; i++) {
		lives[i] = (struct life){ &s, i };
		s.hosts[i] = sim_host_new((const char[][2]){ "a", "b", "c" }[i], 0);
	}
	for (unsigned int i = 0; i < HOSTS; i++)
		tasks[i] = sim_host_start(s.hosts[i], "live", live, &lives[i]);
	while (!is_over(&s)) {
		if (s.is_killing && clock_now() > kill_at)
			sim_host_kill(s.hosts[0]);
		task_sleep_until(clock_now() + S / 50);
	}
	s.is_quiet = true;
	for (unsigned int i = 0; i < HOSTS; i++)
		task_join(tasks[i]);
	SIM_CHECK(s.is_grown);
	SIM_CHECK(sim_host_run(sim_host_new("last", 0), "live", live_last, &s));
	cluster_check(s.c, s.is_killing);
	cluster_free(s.c);
}

static void others_see_that_it_grows(void **state)
{
	struct sizes sizes = { .pes_after = PES_AFTER };

	(void)state;
	sim_each_seed(1, 12, story, &sizes);
}

static void others_see_that_vmfs6_grows(void **state)
{
	struct sizes sizes = { .is_6 = true, .pes_after = PES_AFTER };

	(void)state;
	sim_each_seed(1, 8, story, &sizes);
}

static void others_see_that_an_earlier_extent_grows(void **state)
{
	struct sizes sizes[] = {
		{ .has_second = true, .pes_after = PES_AFTER },
		{ .has_second = true, .pes_after = PES_AFTER, .is_6 = true },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
		sim_each_seed(1, 6, story, &sizes[i]);
}

/* The bitmap's blocks get their first pointer block, and more behind it. */
static void others_see_that_pointers_come(void **state)
{
	struct sizes sizes[] = {
		{ .pes = 8190, .pes_after = 8192 },
		{ .pes = 8222, .pes_after = 8224 },
	};

	(void)state;
	if (!getenv("FULL"))
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
		sim_each_seed(1, 3, story, &sizes[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_see_that_it_grows),
		cmocka_unit_test(others_see_that_vmfs6_grows),
		cmocka_unit_test(others_see_that_an_earlier_extent_grows),
		cmocka_unit_test(others_see_that_pointers_come),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
