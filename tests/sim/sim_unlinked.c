/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that lose their names while they are open (vmfs/unlinked.c), on a host that is
 * killed at any moment: another host removes what is left, and the volume is whole.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "vmfs/node.h"

#define S NS_PER_S

static const struct vmfs_node root;

struct story {
	struct cluster *c;
	unsigned int closed;
	bool has_waited; /* some file was without a name when its host died */
};

/* ---- the host that dies ---- */

static struct vmfs_file *make(struct vmfs_volume *vol, const char *name)
{
	const struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE | VMFS_EXCL,
	};
	static const uint8_t bytes[5000] = { 1 };
	struct vmfs_file *file;

	SIM_CHECK(!vmfs_node_create(vol, root, name, &options, &file, NULL));
	SIM_CHECK(!vmfs_file_write(file, bytes, sizeof(bytes), 0));
	SIM_CHECK(!vmfs_file_sync(file));
	return file;
}

static void work_on(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	for (;;) {
		const struct vmfs_node_move over = { .from_dir = root, .to_dir = root,
						     .from = "new", .to = "old" };
		struct vmfs_file *old = make(m.vol, "old");

		if (sim_chance(500000)) {
			SIM_CHECK(!vmfs_node_unlink(m.vol, root, "old"));
		} else {
			SIM_CHECK(!vmfs_file_close(make(m.vol, "new")));
			SIM_CHECK(!vmfs_node_move(m.vol, &over));
			SIM_CHECK(!vmfs_node_unlink(m.vol, root, "old"));
		}
		task_sleep_until(clock_now() + sim_random(20 * NS_PER_MS));
		SIM_CHECK(!vmfs_file_close(old));
		s->closed++;
	}
}

/* ---- the host that is left ---- */

static unsigned int waiting(struct vmfs_volume *vol)
{
	struct vmfs_dirent entries[8];
	struct vmfs_stat st;
	int err = vmfs_node_lookup(vol, root, ".vmfs-unlinked", &st);

	if (err == -ENOENT)
		return 0;
	SIM_CHECK(!err);
	int n = vmfs_node_readdir(vol, vmfs_node_of(&st), 0, entries, 8);
	SIM_CHECK(n >= 2);
	return (unsigned int)n - 2;
}

static void collect(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	cluster_bury(&m);
	s->has_waited = waiting(m.vol) > 0;
	SIM_CHECK(!vmfs_unlinked_collect(m.vol, NULL, NULL));
	SIM_CHECK(waiting(m.vol) == 0);
	SIM_CHECK(!cluster_unmount(&m));
}

static unsigned int *waited; /* of all seeds, which are processes */

static void story(void *arg)
{
	const enum bdev_caw_class *class = arg;
	struct story s = { .c = cluster_new(*class) };
	struct sim_host *dying = sim_host_new("dying", 0);

	sim_host_start(dying, "work", work_on, &s);
	while (!s.closed)
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	task_sleep_until(clock_now() + sim_random(S));
	sim_host_kill(dying);
	task_sleep_until(clock_now() + 10 * S); /* what was accepted, lands */
	SIM_CHECK(sim_host_run(sim_host_new("left", 0), "collect", collect, &s));
	cluster_check(s.c, true);
	*waited += s.has_waited;
	cluster_free(s.c);
}

static void run(enum bdev_caw_class class)
{
	waited = mmap(NULL, sizeof(*waited), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(waited, MAP_FAILED);
	sim_each_seed(1, 20, story, &class);
	printf("# %u hosts died with a file open that had no name\n", *waited);
	assert_true(getenv("SIM_SEED") || *waited);
	munmap(waited, sizeof(*waited));
}

static void what_the_dead_had_open_goes(void **state)
{
	(void)state;
	run(BDEV_CAW_FILE);
}

static void the_same_on_a_lun(void **state)
{
	(void)state;
	run(BDEV_CAW_ATS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_dead_had_open_goes),
		cmocka_unit_test(the_same_on_a_lun),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
