/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases that run out (LOCKING.md 6.3): hosts write through the device of an open file,
 * as a VM does, while their paths or the whole target fail for a while. The oracle in the
 * disk (I1, I4, I10) watches every command meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/sim/cluster.h"
#include "tests/sim/simguard.h"
#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define HOSTS_MAX 3u
#define BLOCKS 16u
#define BLOCK 4096u

struct host {
	struct sim_host *host;
	struct cluster *cluster;
	struct cluster_mount mount;
	struct guard *guard;
	struct task *main;
	char path[16];
	uint64_t written; /* rounds that were answered with success */
	uint64_t longest; /* ns from submission to answer */
	int error;	  /* of the first I/O that failed */
	int end;	  /* of the unmount */
	bool is_open, is_stopping, is_done;
	bool stays; /* has stopped, and keeps its file open */
};

struct story {
	struct cluster *cluster;
	struct host hosts[HOSTS_MAX];
	unsigned int count;
};

/* Round n of block b has its own bytes. */
static void fill(uint8_t *buf, uint64_t n, uint64_t b)
{
	memset(buf, (int)(n * 31 + b + 1), BLOCK);
	memcpy(buf, &n, sizeof(n));
}

/* One write, perhaps a flush, and what is read then. */
static int one_round(struct host *h, struct bdev *bd, uint8_t *buf)
{
	uint64_t n = h->written, at = n % BLOCKS * BLOCK, start = clock_now();
	uint8_t expected[BLOCK];

	fill(buf, n, n % BLOCKS);
	memcpy(expected, buf, BLOCK);
	int err = batch_one(bd, BDEV_WRITE, 0, buf, BLOCK, at);
	if (!err && sim_random(4) == 0)
		err = batch_one(bd, BDEV_FLUSH, 0, NULL, 0, 0);
	memset(buf, 0, BLOCK);
	if (!err)
		err = batch_one(bd, BDEV_READ, 0, buf, BLOCK, at);
	if (!err && memcmp(buf, expected, BLOCK))
		sim_fail("%s: round %llu is not what is read", h->path,
			 (unsigned long long)n);
	uint64_t took = clock_now() - start;
	h->longest = took > h->longest ? took : h->longest;
	return err;
}

static void work(struct host *h, struct vmfs_file *file)
{
	struct worker_pool *pool = worker_pool_new("disk-work", 2);
	struct bdev *bd;
	static uint8_t buf[HOSTS_MAX][BLOCK];

	SIM_CHECK(pool && !vmfs_file_bdev(file, &bd));
	bdev_set_pool(bd, pool);
	h->is_open = true;
	while (!h->is_stopping && !h->error) {
		h->error = one_round(h, bd, buf[h->path[1] - '0']);
		if (!h->error)
			h->written++;
		task_sleep_until(clock_now() + 50 * NS_PER_MS);
	}
	bdev_close(bd);
	worker_pool_free(pool);
}

static void host_main(void *arg)
{
	struct host *h = arg;
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;

	h->mount.guard = h->guard;
	h->mount.no_liveness_lock = true;
	SIM_CHECK(!cluster_mount(h->cluster, &h->mount));
	SIM_CHECK(!vmfs_file_open(h->mount.vol, h->path, &options, &file, NULL));
	/* Half of it is there: the rest is allocated on the way. */
	SIM_CHECK(!vmfs_file_truncate(file, BLOCKS * BLOCK));
	SIM_CHECK(!vmfs_file_allocate(file, 0, BLOCKS * BLOCK / 2, VMFS_ALLOCATE_ZERO));
	work(h, file);
	while (h->stays)
		task_sleep_until(clock_now() + NS_PER_S);
	int err = vmfs_file_close(file);
	h->end = cluster_unmount(&h->mount);
	h->end = h->end ? h->end : err;
	h->is_done = true;
}

static struct story *story_new(enum bdev_caw_class caw, unsigned int count)
{
	struct story *s = calloc(1, sizeof(*s));

	SIM_CHECK(s);
	s->cluster = cluster_new(caw);
	s->count = count;
	for (unsigned int i = 0; i < count; i++) {
		struct host *h = &s->hosts[i];

		(void)snprintf(h->path, sizeof(h->path), "/%u", i);
		h->host = sim_host_new(h->path, (int)sim_random(2000) - 1000);
		h->cluster = s->cluster;
		h->guard = simguard_new(h->host);
		h->main = sim_host_start(h->host, "main", host_main, h);
	}
	return s;
}

/* Time passes; the guards are awake. */
static void pass(struct story *s, uint64_t ns)
{
	for (uint64_t end = sim_time() + ns; sim_time() < end;) {
		task_sleep_until(clock_now() + 200 * NS_PER_MS);
		for (unsigned int i = 0; i < s->count; i++)
			if (s->hosts[i].guard)
				(void)simguard_watch(s->hosts[i].guard);
	}
}

static void wait_until_open(struct story *s)
{
	for (unsigned int i = 0; i < s->count; i++)
		while (!s->hosts[i].is_open || s->hosts[i].written < 3)
			pass(s, NS_PER_S);
}

static void path(struct host *h, bool is_down)
{
	oracle_trouble(h->cluster->oracle, h->host, is_down);
	simdisk_path_down(h->mount.bd, is_down);
	simdisk_path_down(h->mount.heartbeat_bd, is_down);
}

/* Ends the story: every host unmounts; the volume is whole. */
static void story_end(struct story *s)
{
	for (unsigned int i = 0; i < s->count; i++)
		s->hosts[i].is_stopping = true;
	for (unsigned int i = 0; i < s->count; i++) {
		while (!s->hosts[i].is_done && !sim_host_is_dead(s->hosts[i].host))
			pass(s, NS_PER_S);
		task_join(s->hosts[i].main);
		simguard_free(s->hosts[i].guard);
		s->hosts[i].guard = NULL;
	}
	cluster_check(s->cluster, true);
	cluster_free(s->cluster);
	free(s);
}

/* Not its state: that is told by the host's own clock. */
static bool is_cut(const struct host *h)
{
	return lease_is_cut(&h->mount.vol->member->hb.lease);
}

static enum bdev_caw_class any_class(void)
{
	static const enum bdev_caw_class all[] = { BDEV_CAW_ATS, BDEV_CAW_FILE,
						   BDEV_CAW_RESERVE };
	return all[sim_random(3)];
}

/* Nobody was lost, every answer was a success, and work goes on. */
static void check_unharmed(struct story *s)
{
	uint64_t before[HOSTS_MAX];

	for (unsigned int i = 0; i < s->count; i++)
		before[i] = s->hosts[i].written;
	pass(s, 40 * NS_PER_S);
	for (unsigned int i = 0; i < s->count; i++) {
		struct host *h = &s->hosts[i];

		if (h->error || h->mount.is_lost || is_cut(h))
			sim_fail("host %u: error %d, lost %d, cut %d", i, h->error,
				 h->mount.is_lost, is_cut(h));
		SIM_CHECK(h->written > before[i]);
	}
}

/* ---- a stall that is shorter than the lease ---- */

static void short_stall(void *arg)
{
	struct story *s = story_new(any_class(), 2);

	(void)arg;
	wait_until_open(s);
	path(&s->hosts[0], true);
	for (int i = 0; i < 8; i++) {
		pass(s, NS_PER_S);
		SIM_CHECK(!is_cut(&s->hosts[0]));
	}
	path(&s->hosts[0], false);
	check_unharmed(s);
	story_end(s);
}

static void short_stall_is_nothing(void **state)
{
	(void)state;
	sim_some_seeds(1, 20, short_stall, NULL);
}

/* ---- cut, and nobody wants what we have ---- */

static void lonely_outage(void *arg)
{
	struct story *s = story_new(any_class(), 2);
	uint64_t down_s = 17 + sim_random(100);

	(void)arg;
	wait_until_open(s);
	path(&s->hosts[0], true);
	pass(s, down_s * NS_PER_S);
	SIM_CHECK(is_cut(&s->hosts[0]));
	SIM_CHECK(!s->hosts[0].mount.is_lost);
	path(&s->hosts[0], false);
	check_unharmed(s);
	SIM_CHECK(s->hosts[0].longest > 10 * NS_PER_S);
	story_end(s);
}

static void cut_and_reclaimed_loses_nothing(void **state)
{
	(void)state;
	sim_some_seeds(100, 40, lonely_outage, NULL);
}

/* ---- cut, and another host takes over ---- */

struct taker {
	struct story *story;
	uint64_t wait_ns;
	int err;
};

static void take_over(void *arg)
{
	struct taker *t = arg;
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .deadline = clock_now() + t->wait_ns };
	struct vmfs_file *file;

	t->err = vmfs_file_open(t->story->hosts[1].mount.vol, "/0", &options, &file,
				NULL);
	if (!t->err)
		t->err = vmfs_file_close(file);
}

static void wanted_outage(void *arg)
{
	struct story *s = story_new(any_class(), 2);
	struct host *h = &s->hosts[0];
	struct taker taker = { .story = s, .wait_ns = 90 * NS_PER_S };

	(void)arg;
	wait_until_open(s);
	path(h, true);
	struct task *t =
		sim_host_start(s->hosts[1].host, "taker", take_over, &taker);
	pass(s, 80 * NS_PER_S);
	task_join(t);
	SIM_CHECK(!taker.err);
	/* Nothing was answered meanwhile, and it does not know yet. */
	SIM_CHECK(!h->error && !h->mount.is_lost);
	path(h, false);
	pass(s, 30 * NS_PER_S);
	SIM_CHECK(h->mount.is_lost && h->error == -ESTALE && h->end);
	SIM_CHECK(!s->hosts[1].error);
	story_end(s);
}

static void cut_and_taken_over_is_fenced(void **state)
{
	(void)state;
	sim_some_seeds(200, 40, wanted_outage, NULL);
}

/* ---- the storage is away for all ---- */

static void blackout(void *arg)
{
	struct story *s = story_new(any_class(), 3);
	uint64_t generations[HOSTS_MAX];
	uint64_t down_s = 14 + sim_random(120);
	struct taker taker = { .story = s, .wait_ns = 20 * NS_PER_S };

	(void)arg;
	wait_until_open(s);
	for (unsigned int i = 0; i < s->count; i++)
		generations[i] = s->hosts[i].mount.vol->member->hb.generation;
	/* All at once, or one after the other; one of them waits for another's file. */
	for (unsigned int i = 0; i < s->count; i++) {
		path(&s->hosts[i], true);
		pass(s, sim_random(3) * NS_PER_S);
	}
	struct task *t =
		sim_host_start(s->hosts[1].host, "taker", take_over, &taker);
	pass(s, down_s * NS_PER_S);
	for (unsigned int i = s->count; i-- > 0;) {
		path(&s->hosts[i], false);
		pass(s, sim_random(8) * NS_PER_S);
	}
	check_unharmed(s);
	task_join(t);
	SIM_CHECK(taker.err == -EBUSY);
	for (unsigned int i = 0; i < s->count; i++)
		SIM_CHECK(s->hosts[i].mount.vol->member->hb.generation ==
			  generations[i]);
	story_end(s);
}

static void nobody_breaks_anybody_in_a_blackout(void **state)
{
	(void)state;
	sim_some_seeds(300, 40, blackout, NULL);
}

/* ---- stopped between the gate and the device ---- */

static void stopped(void *arg)
{
	struct story *s = story_new(BDEV_CAW_ATS, 2);
	struct taker taker = { .story = s, .wait_ns = 90 * NS_PER_S };

	(void)arg;
	wait_until_open(s);
	pass(s, sim_random(100) * NS_PER_MS);
	oracle_trouble(s->cluster->oracle, s->hosts[0].host, true);
	sim_host_pause(s->hosts[0].host);
	struct task *t =
		sim_host_start(s->hosts[1].host, "taker", take_over, &taker);
	/* The guard cuts and kills it; the oracle sees that nothing of it lands late. */
	pass(s, 60 * NS_PER_S);
	SIM_CHECK(sim_host_is_dead(s->hosts[0].host));
	task_join(t);
	SIM_CHECK(!taker.err);
	story_end(s);
}

static void stopped_host_is_cut_and_killed_by_its_guard(void **state)
{
	(void)state;
	sim_some_seeds(400, 40, stopped, NULL);
}

/* ---- data fail for good, heartbeats get through ---- */

struct reader {
	struct host *host;
	int err;
	bool is_done;
};

static void open_other(void *arg)
{
	struct reader *r = arg;
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;

	r->err = vmfs_file_open(r->host->mount.vol, "/1", &options, &file, NULL);
	if (!r->err)
		r->err = vmfs_file_close(file);
	r->is_done = true;
}

/* A file has no time after which its I/O would end. */
static enum bdev_caw_class any_target(void)
{
	return sim_random(2) ? BDEV_CAW_ATS : BDEV_CAW_RESERVE;
}

/* Nobody could take over a host that lives: it must give up what it cannot use. */
static void half_outage(void *arg)
{
	struct story *s = story_new(any_target(), 2);
	struct host *h = &s->hosts[0];
	struct reader reader = { .host = h };
	struct taker taker = { .story = s, .wait_ns = 90 * NS_PER_S };

	(void)arg;
	wait_until_open(s);
	oracle_trouble(s->cluster->oracle, h->host, true);
	simdisk_path_down(h->mount.bd, true);
	struct task *r = sim_host_start(h->host, "reader", open_other, &reader);
	pass(s, 120 * NS_PER_S);
	SIM_CHECK(!h->mount.is_lost && !h->error && !reader.is_done);
	pass(s, 80 * NS_PER_S);
	SIM_CHECK(h->mount.is_lost && h->error == -ESTALE);
	SIM_CHECK(reader.is_done && (reader.err == -EIO || reader.err == -ESTALE));
	task_join(r);
	struct task *t = sim_host_start(s->hosts[1].host, "taker", take_over, &taker);
	pass(s, 90 * NS_PER_S);
	task_join(t);
	SIM_CHECK(!taker.err && !s->hosts[1].error);
	simdisk_path_down(h->mount.bd, false);
	story_end(s);
}

static void who_cannot_write_any_more_gives_up(void **state)
{
	(void)state;
	sim_some_seeds(600, 20, half_outage, NULL);
}

/* A reader alone: it gets an error, and the volume lives on when data come again. */
static void half_outage_of_a_reader(void *arg)
{
	struct story *s = story_new(any_target(), 2);
	struct host *h = &s->hosts[0];
	struct reader reader = { .host = h };

	(void)arg;
	wait_until_open(s);
	h->stays = true;
	h->is_stopping = true; /* writes no more */
	pass(s, 10 * NS_PER_S);
	oracle_trouble(s->cluster->oracle, h->host, true);
	simdisk_path_down(h->mount.bd, true);
	struct task *r = sim_host_start(h->host, "reader", open_other, &reader);
	pass(s, 200 * NS_PER_S);
	SIM_CHECK(reader.is_done && reader.err == -EIO && !h->mount.is_lost);
	task_join(r);
	simdisk_path_down(h->mount.bd, false);
	reader = (struct reader){ .host = h };
	r = sim_host_start(h->host, "reader", open_other, &reader);
	pass(s, 10 * NS_PER_S);
	task_join(r);
	SIM_CHECK(!reader.err && !h->mount.is_lost);
	h->stays = false;
	story_end(s);
}

static void who_reads_gets_an_error(void **state)
{
	(void)state;
	sim_some_seeds(700, 20, half_outage_of_a_reader, NULL);
}

/* ---- leaving while the storage is away ---- */

static void impatient(void *arg)
{
	struct story *s = story_new(any_class(), 1);
	struct host *h = &s->hosts[0];

	(void)arg;
	wait_until_open(s);
	path(h, true);
	pass(s, sim_random(30) * NS_PER_S);
	vmfs_volume_limit_wait(h->mount.vol, 5 * NS_PER_S);
	h->is_stopping = true;
	pass(s, 60 * NS_PER_S);
	SIM_CHECK(h->is_done && h->end == -ESTALE && h->mount.is_lost);
	story_end(s);
}

static void who_leaves_does_not_wait_for_ever(void **state)
{
	(void)state;
	sim_some_seeds(500, 20, impatient, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_stall_is_nothing),
		cmocka_unit_test(cut_and_reclaimed_loses_nothing),
		cmocka_unit_test(cut_and_taken_over_is_fenced),
		cmocka_unit_test(nobody_breaks_anybody_in_a_blackout),
		cmocka_unit_test(stopped_host_is_cut_and_killed_by_its_guard),
		cmocka_unit_test(who_cannot_write_any_more_gives_up),
		cmocka_unit_test(who_reads_gets_an_error),
		cmocka_unit_test(who_leaves_does_not_wait_for_ever),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
