/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No memory: the n-th allocation of the library fails, once, or that and all after it,
 * over a life of mount, directory, files of each form, rename, unlink, unmount. Each call
 * succeeds or says no; nothing leaks; what was acknowledged is there for another host,
 * every lock can be had, and fsck is content.
 *
 * The program is linked with copies of the library's archives in which malloc and its
 * kind have other names (tests.mk): the simulator's own memory is not touched.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "tests/sim/memfault.h"

#define S NS_PER_S
#define FILES 3u
#define TRIALS 120u /* of all, unless FULL is set */

/* ---- a life ---- */

struct life {
	struct cluster *c;
	bool is_written[FILES], is_moved, is_gone;
};

static const uint64_t sizes[FILES] = { 100, 6000, 3u << 20 };

static void fill(unsigned int i, uint8_t *buf)
{
	for (uint64_t k = 0; k < sizes[i]; k++)
		buf[k] = (uint8_t)(i + k * 7 + k / 4096);
}

static int write_file(struct cluster_mount *m, unsigned int i)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .deadline = clock_now() + 30 * S };
	uint8_t *buf = malloc(sizes[i]);
	struct vmfs_file *file;
	char path[32];

	SIM_CHECK(buf);
	fill(i, buf);
	(void)snprintf(path, sizeof(path), "/d/f%u", i);
	int err = vmfs_file_open(m->vol, path, &options, &file, NULL);
	if (!err) {
		err = vmfs_file_write(file, buf, sizes[i], 0);
		if (!err)
			err = vmfs_file_sync(file);
		int close_err = vmfs_file_close(file);
		err = err ? err : close_err;
	}
	free(buf);
	return err;
}

static void live(void *arg)
{
	struct life *l = arg;
	struct cluster_mount m = { 0 };

	if (cluster_mount(l->c, &m))
		return;
	if (!vmfs_mkdir(m.vol, "/d", 0755))
		for (unsigned int i = 0; i < FILES; i++)
			l->is_written[i] = !write_file(&m, i);
	task_sleep_until(clock_now() + 5 * S); /* locks are given back meanwhile */
	l->is_moved = l->is_written[1] && !vmfs_rename(m.vol, "/d/f1", "/f1");
	l->is_gone = l->is_written[0] && !vmfs_unlink(m.vol, "/d/f0");
	(void)!cluster_unmount(&m);
}

static void check_file(struct cluster_mount *m, unsigned int i, const char *path)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .deadline = clock_now() + 60 * S };
	uint8_t *want = malloc(sizes[i]), *got = malloc(sizes[i]);
	struct vmfs_file *file;

	SIM_CHECK(want && got);
	fill(i, want);
	int err = vmfs_file_open(m->vol, path, &options, &file, NULL);
	if (err)
		sim_fail("%s was acknowledged: %d", path, err);
	int64_t n = vmfs_file_read(file, got, sizes[i], 0);
	if (n != (int64_t)sizes[i] || memcmp(want, got, sizes[i]))
		sim_fail("%s is not as it was acknowledged", path);
	SIM_CHECK(!vmfs_file_close(file));
	free(want);
	free(got);
}

static void inspect(void *arg)
{
	const struct life *l = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_stat st;

	SIM_CHECK(!cluster_mount(l->c, &m));
	cluster_bury(&m);
	if (l->is_gone)
		SIM_CHECK(vmfs_stat(m.vol, "/d/f0", &st) == -ENOENT);
	if (l->is_moved)
		check_file(&m, 1, "/f1");
	if (l->is_written[2])
		check_file(&m, 2, "/d/f2");
	/* No lock stays: the directories can be changed. */
	int err = vmfs_mkdir(m.vol, "/d", 0755);
	SIM_CHECK(!err || err == -EEXIST);
	SIM_CHECK(!vmfs_mkdir(m.vol, "/d/last", 0755));
	SIM_CHECK(!cluster_unmount(&m));
}

struct sweep {
	bool is_for_ever;
	uint64_t *total; /* shared: allocations in a life without failure */
};

/* The seed says which allocation fails; seed 0: none, they are counted. */
static void one_life(void *arg)
{
	const struct sweep *sweep = arg;
	struct life l = { .c = cluster_new(BDEV_CAW_ATS) };
	struct sim_host *a = sim_host_new("a", 0);
	int64_t live_before = memfault.live;

	memfault_arm(sim_seed(), sweep->is_for_ever);
	SIM_CHECK(sim_host_run(a, "live", live, &l));
	memfault_disarm();
	if (!memfault.fail_at)
		*sweep->total = memfault.count;
	if (memfault.live != live_before)
		sim_fail("%lld pieces of memory are left",
			 (long long)(memfault.live - live_before));
	oracle_trouble(l.c->oracle, a, true);
	SIM_CHECK(sim_host_run(sim_host_new("b", 0), "inspect", inspect, &l));
	cluster_check(l.c, true);
	cluster_free(l.c);
}

static void sweep(bool is_for_ever)
{
	struct sweep s = { .is_for_ever = is_for_ever };

	s.total = mmap(NULL, sizeof(*s.total), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(s.total != MAP_FAILED);
	sim_each_seed(0, 1, one_life, &s);
	if (getenv("SIM_SEED"))
		return;
	assert_true(*s.total > 100);
	uint64_t step = getenv("FULL") ? 1 : 1 + *s.total / TRIALS;
	(void)printf("# %llu allocations, every %llu. fails\n",
		     (unsigned long long)*s.total, (unsigned long long)step);
	for (uint64_t n = 1; n <= *s.total; n += step)
		sim_each_seed(n, 1, one_life, &s);
}

static void one_allocation_fails(void **state)
{
	(void)state;
	sweep(false);
}

static void all_allocations_fail_from_one_on(void **state)
{
	(void)state;
	sweep(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_allocation_fails),
		cmocka_unit_test(all_allocations_fail_from_one_on),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
