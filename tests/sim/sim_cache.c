/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target loses power, and with it what its volatile cache held, while the hosts live
 * (LOCKING.md 17): whatever a guest was told is written is read back, at once and after
 * the file has gone to another host, flushed or not.
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

#include "bdev/worker.h"
#include "tests/sim/cluster.h"

#define S NS_PER_S
#define FILE_SIZE (4u << 20)
#define UNIT (64u << 10)
#define UNITS (FILE_SIZE / UNIT)
#define WRITERS 3u
#define WRITES 60u

struct scene {
	struct cluster *c;
	bool is_rude, is_over;
	unsigned int failures;	 /* of the target's power */
	uint32_t version[UNITS]; /* that was acknowledged */
	struct bdev *bd;	 /* the file, of the host that writes */
	struct vmfs_volume *vol;
};

struct writer {
	struct scene *s;
	unsigned int number;
};

static void fill(uint32_t *unit, uint32_t number, uint32_t version)
{
	for (uint32_t i = 0; i < UNIT / sizeof(*unit); i++)
		unit[i] = number << 24 ^ version << 12 ^ i;
}

/* Is the unit what was acknowledged last? */
static void check_unit(struct scene *s, struct bdev *bd, uint32_t number)
{
	uint32_t *wanted = malloc(UNIT), *found = malloc(UNIT);

	SIM_CHECK(wanted && found);
	memset(wanted, 0, UNIT);
	if (s->version[number])
		fill(wanted, number, s->version[number]);
	SIM_CHECK(!bdev_read(bd, found, UNIT, (uint64_t)number * UNIT));
	for (uint32_t i = 0; i < UNIT / sizeof(*found); i++)
		if (found[i] != wanted[i])
			sim_fail("unit %u, sector %u: %08x, not version %u", number,
				 i / 128, found[i], s->version[number]);
	free(wanted);
	free(found);
}

/* Units of one's own, so that each is read as its writer knows it. */
static void write_units(void *arg)
{
	const struct writer *w = arg;
	struct scene *s = w->s;
	uint32_t *unit = malloc(UNIT);

	SIM_CHECK(unit);
	for (unsigned int i = 0; i < WRITES; i++) {
		uint32_t at = (uint32_t)sim_random(UNITS / WRITERS) * WRITERS + w->number;

		if (sim_chance(300000)) {
			check_unit(s, s->bd, at);
		} else if (sim_chance(100000)) {
			SIM_CHECK(!bdev_flush(s->bd));
		} else {
			fill(unit, at, s->version[at] + 1);
			SIM_CHECK(!bdev_write(s->bd, unit, UNIT, (uint64_t)at * UNIT));
			s->version[at]++;
		}
		task_sleep_until(clock_now() + sim_random(S));
	}
	free(unit);
}

/* Names and blocks beside it: metadata that is in place and not flushed. */
static void make_names(void *arg)
{
	struct scene *s = arg;
	char path[32];

	for (unsigned int i = 0; i < 20; i++) {
		(void)snprintf(path, sizeof(path), "/d%u", i);
		SIM_CHECK(!vmfs_mkdir(s->vol, path, 0755));
		task_sleep_until(clock_now() + sim_random(2 * S));
	}
}

static struct vmfs_file *open_file(struct vmfs_volume *vol)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .deadline = clock_now() + 60 * S };
	struct vmfs_file *file;

	SIM_CHECK(!vmfs_file_open(vol, "/disk", &options, &file, NULL));
	return file;
}

/* On a rude disk who joins may be refused, and tries again. */
static void join(const struct scene *s, struct cluster_mount *m)
{
	for (unsigned int tries = 1; cluster_mount(s->c, m); tries++) {
		SIM_CHECK(s->is_rude && tries < 10);
		task_sleep_until(clock_now() + S);
	}
}

/* The host whose guest writes. */
static void write_host(void *arg)
{
	struct scene *s = arg;
	struct cluster_mount m = { 0 };
	struct worker_pool *pool = worker_pool_new("disk-work", 2);
	struct writer writers[WRITERS];
	struct task *tasks[WRITERS + 1];

	SIM_CHECK(pool);
	join(s, &m);
	struct vmfs_file *file = open_file(m.vol);
	SIM_CHECK(!vmfs_file_bdev(file, &s->bd));
	bdev_set_pool(s->bd, pool);
	s->vol = m.vol;
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ s, i };
		tasks[i] = task_start("writer", write_units, &writers[i]);
	}
	tasks[WRITERS] = task_start("names", make_names, s);
	for (unsigned int i = 0; i <= WRITERS; i++)
		task_join(tasks[i]);
	s->is_over = true;
	for (uint32_t i = 0; i < WRITERS * (UNITS / WRITERS); i++)
		check_unit(s, s->bd, i);
	bdev_close(s->bd);
	worker_pool_free(pool);
	SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!cluster_unmount(&m));
}

/* Another host finds what the first was told. */
static void read_host(void *arg)
{
	struct scene *s = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_stat st;
	struct bdev *bd;

	SIM_CHECK(!cluster_mount(s->c, &m));
	struct vmfs_file *file = open_file(m.vol);
	SIM_CHECK(!vmfs_file_bdev(file, &bd));
	for (uint32_t i = 0; i < WRITERS * (UNITS / WRITERS); i++)
		check_unit(s, bd, i);
	for (unsigned int i = 0; i < 20; i++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "/d%u", i);
		SIM_CHECK(!vmfs_stat(m.vol, path, &st));
	}
	bdev_close(bd);
	SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!cluster_unmount(&m));
}

static void fail_power(struct scene *s)
{
	/* Who joins then may be refused. */
	while (!s->vol)
		task_sleep_until(clock_now() + S / 10);
	while (!s->is_over) {
		task_sleep_until(clock_now() + S / 2 + sim_random(12 * S));
		if (s->is_over)
			break;
		simdisk_power_fail(s->c->disk);
		oracle_power_failed(s->c->oracle);
		s->failures++;
	}
}

static void restarts(void *arg)
{
	const bool *is_rude = arg;
	struct scene *s = calloc(1, sizeof(*s));
	struct simdisk_behaviour polite = simdisk_polite(), how = polite;

	SIM_CHECK(s);
	s->is_rude = *is_rude;
	s->c = cluster_new(BDEV_CAW_ATS);
	cluster_make_file(s->c, "/disk", FILE_SIZE);
	if (*is_rude)
		how = simdisk_rude(BDEV_CAW_ATS);
	how.has_cache = true;
	how.has_pr = sim_chance(500000);
	how.forgets_keys = sim_chance(500000);
	simdisk_behave(s->c->disk, &how);
	oracle_rude(s->c->oracle, *is_rude);
	struct task *task =
		sim_host_start(sim_host_new("writer", 0), "write", write_host, s);
	fail_power(s);
	task_join(task);
	SIM_CHECK(s->failures);
	polite.has_pr = how.has_pr;
	simdisk_behave(s->c->disk, &polite);
	SIM_CHECK(sim_host_run(sim_host_new("reader", 0), "read", read_host, s));
	cluster_check(s->c, true);
	cluster_free(s->c);
	free(s);
}

static void what_was_acknowledged_outlives_the_cache(void **state)
{
	bool is_rude = false;

	(void)state;
	sim_each_seed(1, 20, restarts, &is_rude);
}

/* The same with lost answers, late commands, and errors for what was done. */
static void and_on_a_rude_disk(void **state)
{
	bool is_rude = true;

	(void)state;
	sim_each_seed(100, 20, restarts, &is_rude);
	sim_each_seed(50023, 1, restarts, &is_rude); /* who joins has to try twice */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_acknowledged_outlives_the_cache),
		cmocka_unit_test(and_on_a_rude_disk),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
