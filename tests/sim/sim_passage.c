/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked without a mutex for every I/O: vmfs/passage.c in front of the devices
 * (lease.c) and of a file's blocks (filemap.c), and what a file remembers of its lock
 * (vmfs_lock_may_still_write). Tasks come and go while others close: nobody is inside
 * whom who closed has not waited for, nobody waits for ever, no write goes where it may
 * not any more. Each case also runs with its step done wrong, which is found: a look and
 * an addition without the comparison, a loss that is not counted.
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

#include "base/align.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/sim/cluster.h"
#include "vmfs/file_impl.h"
#include "vmfs/heartbeat.h"
#include "vmfs/lease.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define SEEDS 30u
#define WITHIN 30u /* an error is found within so many */
#define WRITERS 3u
#define BLOCK (1ull << 20)
#define BLOCKS 6u
#define PIECE 4096u

/* ---- the steps, done wrong ---- */

static bool is_blind, is_unnoticed;

bool __real_passage_enter(struct passage *in, uint64_t closing);
bool __wrap_passage_enter(struct passage *in, uint64_t closing);
bool __wrap_passage_enter(struct passage *in, uint64_t closing)
{
	if (!is_blind)
		return __real_passage_enter(in, closing);
	if (passage_look(in) & closing)
		return false;
	task_step();
	if (closing == FILE_QUIESCING && sim_random(4) == 0) /* the machine is busy */
		task_sleep_until(clock_now() + sim_random(5 * NS_PER_MS));
	(void)atomic_fetch_add(&in->word, 1);
	return true;
}

void __real_lock_table_lose(struct lock_table *lt);
void __wrap_lock_table_lose(struct lock_table *lt);
void __wrap_lock_table_lose(struct lock_table *lt)
{
	if (!is_unnoticed)
		__real_lock_table_lose(lt);
}

/* ---- a lease ---- */

struct gate {
	struct vmfs_timing timing;
	struct vmfs_lease lease;
	bool is_alone;		/* whoever closed was told that nobody is inside */
	unsigned int entered, refused, closings;
	bool is_over;
};

static void check_inside(const struct gate *g)
{
	if (g->is_alone)
		sim_fail("a write is inside while nobody is to be");
}

/* Comes and goes; now and then it waits to be let in. */
static void writer(void *arg)
{
	struct gate *g = arg;

	while (!g->is_over) {
		int err = sim_random(8) ? lease_try(&g->lease) : lease_enter(&g->lease);

		SIM_CHECK(err == 0 || err == -EAGAIN);
		if (err) {
			g->refused++;
			task_sleep_until(clock_now() + sim_random(200 * NS_PER_US));
			continue;
		}
		g->entered++;
		check_inside(g);
		if (sim_random(2))
			task_sleep_until(clock_now() + sim_random(50 * NS_PER_US));
		check_inside(g);
		(void)lease_leave(&g->lease);
	}
}

static void alone_for_a_while(struct gate *g)
{
	g->is_alone = true;
	task_sleep_until(clock_now() + sim_random(100 * NS_PER_US));
	g->is_alone = false;
	g->closings++;
}

static void cut_and_reclaim(struct gate *g)
{
	SIM_CHECK(lease_cut(&g->lease));
	lease_cut_done(&g->lease);
	SIM_CHECK(lease_drain(&g->lease, NO_DEADLINE) == 0);
	alone_for_a_while(g);
	lease_renewed(&g->lease, clock_now());
	SIM_CHECK(lease_reopen(&g->lease));
}

static void suspend_and_restore(struct gate *g)
{
	const bool is_stopping = false;

	lease_suspend(&g->lease);
	SIM_CHECK(lease_enter_alone(&g->lease, &is_stopping) == 0);
	alone_for_a_while(g);
	(void)lease_leave(&g->lease);
	lease_resume(&g->lease);
}

static void closer(void *arg)
{
	struct gate *g = arg;

	for (unsigned int i = 0; i < 40; i++) {
		task_sleep_until(clock_now() + sim_random(NS_PER_MS));
		lease_renewed(&g->lease, clock_now());
		if (sim_random(2))
			cut_and_reclaim(g);
		else
			suspend_and_restore(g);
	}
	g->is_over = true;
}

static void gate_story(void *arg)
{
	static struct gate g;
	struct sim_host *host = sim_host_new("a", 0);
	struct task *tasks[WRITERS + 1];

	(void)arg;
	g = (struct gate){ .timing = vmfs_timing_of(VMFS_LEASE_NORMAL, 1) };
	lease_init(&g.lease, &g.timing);
	g.lease.is_counted = sim_random(2);
	g.lease.renewed = 0;
	for (unsigned int i = 0; i < WRITERS; i++)
		tasks[i] = sim_host_start(host, "writer", writer, &g);
	tasks[WRITERS] = sim_host_start(host, "closer", closer, &g);
	for (unsigned int i = 0; i <= WRITERS; i++)
		task_join(tasks[i]);
	SIM_CHECK(g.entered > 20 && g.closings == 40);
	lease_done(&g.lease);
}

/* ---- the blocks of a file ---- */

struct blocks {
	struct cluster *cluster;
	struct bdev *bd;
	struct vmfs_file *file, *other;
	bool is_over;
	unsigned int written, taken;
};

/* What is written to the file's blocks by its device, wherever they are. */
static void block_writer(void *arg)
{
	struct blocks *b = arg;
	uint8_t *buf = malloc(PIECE);

	SIM_CHECK(buf);
	memset(buf, 'a', PIECE);
	while (!b->is_over) {
		uint64_t at = sim_random(BLOCKS) * BLOCK + sim_random(4) * PIECE;
		int err = batch_one(b->bd, BDEV_WRITE, 0, buf, PIECE, at);

		SIM_CHECK(err == 0 || err == -EINVAL); /* behind the end for now */
		b->written += !err;
	}
	free(buf);
}

/* Is all of the other file what was written to it? */
static void check_other(struct blocks *b, const uint8_t *buf, uint8_t *got)
{
	SIM_CHECK(vmfs_file_read(b->other, got, 4 * PIECE, 0) == 4 * PIECE);
	if (memcmp(got, buf, 4 * PIECE))
		sim_fail("a write landed in a block that had been given away");
}

/* Takes blocks out of the file and gives them to another, as the allocator does. */
static void block_taker(void *arg)
{
	struct blocks *b = arg;
	uint8_t *buf = malloc(4 * PIECE), *got = malloc(4 * PIECE);

	SIM_CHECK(buf && got);
	for (unsigned int i = 0; i < 25; i++) {
		uint64_t at = sim_random(BLOCKS) * BLOCK;

		SIM_CHECK(vmfs_file_truncate(b->other, 0) == 0);
		if (sim_random(4))
			SIM_CHECK(vmfs_file_punch(b->file, at, BLOCK) == 0);
		else
			SIM_CHECK(vmfs_file_truncate(b->file, at + PIECE) == 0 &&
				  vmfs_file_truncate(b->file, BLOCKS * BLOCK) == 0);
		memset(buf, 'b' + (int)(i % 20), 4 * PIECE);
		SIM_CHECK(vmfs_file_truncate(b->other, BLOCK) == 0);
		SIM_CHECK(vmfs_file_write(b->other, buf, 4 * PIECE, 0) == 0);
		task_sleep_until(clock_now() + sim_random(20 * NS_PER_MS));
		check_other(b, buf, got);
		b->taken++;
	}
	b->is_over = true;
	free(buf);
	free(got);
}

static void open_both(struct blocks *b, struct vmfs_volume *vol)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE | VMFS_CREATE };

	SIM_CHECK(!vmfs_file_open(vol, "/other", &how, &b->other, NULL));
	SIM_CHECK(!vmfs_file_open(vol, "/disk", &how, &b->file, NULL));
	SIM_CHECK(!vmfs_file_truncate(b->file, BLOCKS * BLOCK));
	SIM_CHECK(!vmfs_file_allocate(b->file, 0, BLOCKS * BLOCK, VMFS_ALLOCATE_ZERO));
	SIM_CHECK(!vmfs_file_bdev(b->file, &b->bd));
}

static void blocks_main(void *arg)
{
	struct blocks *b = arg;
	struct cluster_mount m = { 0 };
	struct worker_pool *pool = worker_pool_new("disk-work", 2);
	struct task *tasks[WRITERS + 1];

	SIM_CHECK(pool && !cluster_mount(b->cluster, &m));
	open_both(b, m.vol);
	bdev_set_pool(b->bd, pool);
	for (unsigned int i = 0; i < WRITERS; i++)
		tasks[i] = task_start("writer", block_writer, b);
	tasks[WRITERS] = task_start("taker", block_taker, b);
	for (unsigned int i = 0; i <= WRITERS; i++)
		task_join(tasks[i]);
	bdev_close(b->bd);
	worker_pool_free(pool);
	SIM_CHECK(!vmfs_file_close(b->file) && !vmfs_file_close(b->other));
	SIM_CHECK(!cluster_unmount(&m));
}

static void blocks_story(void *arg)
{
	struct blocks b = { .cluster = cluster_new(BDEV_CAW_ATS) };

	(void)arg;
	SIM_CHECK(sim_host_run(sim_host_new("a", 0), "main", blocks_main, &b));
	SIM_CHECK(b.written > 20 && b.taken == 25);
	cluster_check(b.cluster, false);
	cluster_free(b.cluster);
}

/* ---- a lock that goes ---- */

struct leaving {
	struct cluster *cluster;
	struct vmfs_volume *vol;
	struct vmfs_incarnation b;
	struct vmfs_lock_id id;
	bool b_expects, is_gone, is_over;
	unsigned int yes, no;
};

/* As for every write, while the lock goes and comes. */
static void asker(void *arg)
{
	struct leaving *l = arg;
	_Atomic uint64_t seen = 0;

	while (!l->is_over) {
		bool was_gone = l->is_gone;
		bool may = vmfs_lock_may_still_write(l->vol, l->id.vol_off, &seen);

		if (may && was_gone && l->is_gone)
			sim_fail("a write of a file whose lock is gone");
		l->yes += may;
		l->no += !may;
		task_sleep_until(clock_now() + sim_random(2 * NS_PER_MS));
	}
}

static void share_and_hand_over(struct leaving *l)
{
	uint64_t patience = 60 * NS_PER_S;

	for (unsigned int i = 0; i < 5; i++) {
		task_sleep_until(clock_now() + sim_random(10 * NS_PER_MS));
		SIM_CHECK(!vmfs_lock_downgrade(l->vol, &l->id, LOCK_READ_ONLY));
		l->is_gone = true;
		task_sleep_until(clock_now() + sim_random(10 * NS_PER_MS));
		l->is_gone = false;
		SIM_CHECK(!vmfs_lock_upgrade(l->vol, &l->id, clock_now() + patience,
					     NULL));
	}
	task_sleep_until(clock_now() + sim_random(10 * NS_PER_MS));
	SIM_CHECK(!vmfs_lock_hand_over(l->vol, &l->id, &l->b, clock_now() + patience));
	l->is_gone = true;
	task_sleep_until(clock_now() + 20 * NS_PER_MS);
	l->is_over = true;
}

static void leave_main(void *arg)
{
	struct leaving *l = arg;
	struct cluster_mount m = { .no_liveness_lock = true };

	SIM_CHECK(!cluster_mount(l->cluster, &m));
	l->vol = m.vol;
	while (!l->b_expects)
		task_sleep_until(clock_now() + NS_PER_MS);
	SIM_CHECK(!file_lock_of_path(m.vol, "/disk", &l->id));
	SIM_CHECK(!vmfs_lock_acquire(m.vol, &l->id, LOCK_EXCLUSIVE,
				     clock_now() + 60 * NS_PER_S, NULL));
	struct task *t = task_start("asker", asker, l);
	share_and_hand_over(l);
	task_join(t);
	SIM_CHECK(!cluster_unmount(&m));
}

static void receive_main(void *arg)
{
	struct leaving *l = arg;
	struct cluster_mount m = { .no_liveness_lock = true };

	SIM_CHECK(!cluster_mount(l->cluster, &m));
	SIM_CHECK(!vmfs_file_expect(m.vol, "/disk") &&
		  !vmfs_volume_incarnation(m.vol, &l->b));
	l->b_expects = true;
	while (!l->is_over)
		task_sleep_until(clock_now() + NS_PER_MS);
	SIM_CHECK(!vmfs_file_unexpect(m.vol, "/disk"));
	SIM_CHECK(!cluster_unmount(&m));
}

static void leaving_story(void *arg)
{
	struct leaving l = { .cluster = cluster_new(BDEV_CAW_ATS) };

	(void)arg;
	cluster_make_file(l.cluster, "/disk", BLOCK);
	struct task *a = sim_host_start(sim_host_new("a", 0), "a", leave_main, &l);
	struct task *b = sim_host_start(sim_host_new("b", 0), "b", receive_main, &l);
	task_join(a);
	task_join(b);
	SIM_CHECK(l.yes && l.no);
	cluster_check(l.cluster, false);
	cluster_free(l.cluster);
}

/* ---- */

static void found(const char *name, bool *error, void (*story)(void *arg))
{
	char what[160];
	uint64_t seed;

	*error = true;
	bool is_found = sim_first_failure(1, WITHIN, story, NULL, what, sizeof(what),
					  &seed);
	*error = false;
	if (is_found)
		(void)printf("# %s: seed %llu: %.100s\n", name,
			     (unsigned long long)seed, what);
	assert_true(is_found);
}

static void nobody_is_inside_a_closed_gate(void **state)
{
	(void)state;
	sim_each_seed(1, SEEDS, gate_story, NULL);
	found("gate entered without a comparison", &is_blind, gate_story);
}

static void no_write_lands_in_a_block_that_was_taken(void **state)
{
	(void)state;
	sim_each_seed(1, SEEDS, blocks_story, NULL);
	found("blocks held without a comparison", &is_blind, blocks_story);
}

static void a_lock_that_went_is_not_remembered(void **state)
{
	(void)state;
	sim_each_seed(1, SEEDS, leaving_story, NULL);
	found("a loss is not counted", &is_unnoticed, leaving_story);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_inside_a_closed_gate),
		cmocka_unit_test(no_write_lands_in_a_block_that_was_taken),
		cmocka_unit_test(a_lock_that_went_is_not_remembered),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
