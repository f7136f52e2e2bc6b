/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All modes of file locks among several hosts: read-only, exclusive, multi-writer,
 * upgraded, downgraded; answers lost, hosts dead. What hosts are told is compared: nobody
 * writes beside a reader, readers see what was acknowledged, writers of one file see each
 * other's bytes at once. At the end every lock is known to who has it, or free (L4).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "vmfs/lock.h"

#define S NS_PER_S
#define MIB (1u << 20)
#define HOSTS_MAX 10u
#define PATH "/disk"

enum use { IDLE, READING, WRITING, SHARING };

struct story;
struct host {
	struct story *s;
	unsigned int number;
	struct sim_host *sim;
	struct task *task;
	struct cluster_mount m;
	bool is_up;
	enum use use;		/* as it was told: set after a call, cleared before one */
	uint64_t acknowledged;	/* in its own sector */
};

struct story {
	struct cluster *c;
	struct host hosts[HOSTS_MAX];
	unsigned int count;
	uint64_t pair;		/* acknowledged in both halves */
	uint64_t attempted;
	uint64_t stop_at;
	bool is_quiet;
	unsigned long times[4];	/* uses, by kind */
	unsigned long upgrades, downgrades;
	uint64_t slots[HOSTS_MAX];
	int err;
	struct vmfs_holder holder;
};

static struct host *add_host(struct story *s, void (*live)(void *arg))
{
	struct host *h = &s->hosts[s->count];
	char name[16];

	SIM_CHECK(s->count < HOSTS_MAX);
	(void)snprintf(name, sizeof(name), "h%u", s->count);
	h->s = s;
	h->number = s->count++;
	h->m.no_liveness_lock = true;
	h->sim = sim_host_new(name, (int)sim_random(1000) - 500);
	h->task = sim_host_start(h->sim, "live", live, h);
	return h;
}

static void join_all(struct story *s)
{
	for (unsigned int i = 0; i < s->count; i++)
		task_join(s->hosts[i].task);
}

/* Others that were told that they have it so, and are there. */
static unsigned int users(const struct story *s, const struct host *but, enum use use)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < s->count; i++) {
		const struct host *h = &s->hosts[i];
		n += h != but && h->use == use && !sim_host_is_dead(h->sim) &&
		     !h->m.is_lost;
	}
	return n;
}

static void set_use(struct host *h, enum use use)
{
	unsigned int readers = users(h->s, h, READING), writers = users(h->s, h, WRITING),
		     sharers = users(h->s, h, SHARING);

	if (use != IDLE && writers)
		sim_fail("h%u has it as %d beside a writer", h->number, use);
	if (use == READING && sharers)
		sim_fail("h%u reads beside %u that share it", h->number, sharers);
	if (use == SHARING && readers)
		sim_fail("h%u shares it beside %u readers", h->number, readers);
	if (use == WRITING && (readers || sharers))
		sim_fail("h%u writes beside %u readers, %u that share it", h->number,
			 readers, sharers);
	h->use = use;
	h->s->times[use]++;
}

static int open_as(struct host *h, uint32_t flags, uint64_t patience,
		   struct vmfs_file **ret)
{
	struct vmfs_file_options options = { .flags = flags,
					     .deadline = clock_now() + patience };

	return vmfs_file_open(h->m.vol, PATH, &options, ret, NULL);
}

static void begin(struct story *s, enum bdev_caw_class caw)
{
	*s = (struct story){ .c = cluster_new(caw) };
	cluster_make_file(s->c, PATH, 2 * MIB);
	s->stop_at = sim_time() + 60 * S;
}

/* ---- what is in the file ---- */

static int read_number(struct vmfs_file *file, uint64_t offset, uint64_t *ret_n)
{
	char text[512];
	int64_t got = vmfs_file_read(file, text, sizeof(text), offset);

	if (got < 0)
		return (int)got;
	text[511] = '\0';
	*ret_n = strtoull(text, NULL, 10);
	return 0;
}

static int write_number(struct vmfs_file *file, uint64_t offset, uint64_t n)
{
	char text[512] = "";

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	return vmfs_file_write(file, text, sizeof(text), offset);
}

/* Both halves are the same, and no older than what was acknowledged. */
static int check_pair(struct host *h, struct vmfs_file *file, uint64_t *ret_n)
{
	uint64_t least = h->s->pair, first = 0, second = 0;
	int err = read_number(file, 0, &first);

	if (!err)
		err = read_number(file, MIB, &second);
	if (err || vmfs_volume_state(h->m.vol))
		return err ? err : -ESTALE;
	if (first < least || first > h->s->attempted)
		sim_fail("h%u reads %llu, %llu were acknowledged", h->number,
			 (unsigned long long)first, (unsigned long long)least);
	/* A writer that died may have written one half: the next writer mends it. */
	if (first != second && ret_n == NULL && second + 1 != first)
		sim_fail("h%u reads %llu and %llu", h->number, (unsigned long long)first,
			 (unsigned long long)second);
	if (ret_n)
		*ret_n = first;
	return 0;
}

static int write_pair(struct host *h, struct vmfs_file *file)
{
	uint64_t n;
	int err = check_pair(h, file, &n);

	if (err)
		return err;
	if (n + 1 > h->s->attempted)
		h->s->attempted = n + 1;
	err = write_number(file, 0, n + 1);
	if (!err)
		err = write_number(file, MIB, n + 1);
	if (!err)
		err = vmfs_file_sync(file);
	if (err)
		return err;
	if (n + 1 <= h->s->pair)
		sim_fail("two hosts made it %llu", (unsigned long long)n + 1);
	h->s->pair = n + 1;
	return 0;
}

/* Each host's own sector, written under multi-writer locks only. */
static int check_sectors(struct host *h, struct vmfs_file *file)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < h->s->count; i++) {
		uint64_t least = h->s->hosts[i].acknowledged, n = 0;

		err = read_number(file, 4096 + 512 * i, &n);
		if (!err && !vmfs_volume_state(h->m.vol) && n < least)
			sim_fail("h%u reads %llu of h%u, which wrote %llu", h->number,
				 (unsigned long long)n, i, (unsigned long long)least);
	}
	return err;
}

static int write_sector(struct host *h, struct vmfs_file *file)
{
	uint64_t n = h->acknowledged + 1;
	int err = write_number(file, 4096 + 512 * h->number, n);

	if (!err)
		h->acknowledged = n;
	return err;
}

/* ---- a host that does it all ---- */

static int read_and_upgrade(struct host *h)
{
	struct vmfs_file *file;
	int err = open_as(h, VMFS_READ_LOCKED, sim_random(3 * S), &file);

	if (err)
		return err;
	set_use(h, READING);
	err = check_pair(h, file, NULL);
	if (!err && sim_chance(500000)) {
		int up = vmfs_file_upgrade(file, clock_now() + sim_random(2 * S), NULL);
		if (!up) {
			h->s->upgrades++;
			set_use(h, WRITING);
			err = write_pair(h, file);
		} else if (up != -EBUSY) {
			err = up;
		}
	}
	h->use = IDLE;
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

static int write_and_downgrade(struct host *h)
{
	struct vmfs_file *file;
	int err = open_as(h, VMFS_WRITE, sim_random(3 * S), &file);

	if (err)
		return err;
	set_use(h, WRITING);
	err = write_pair(h, file);
	if (!err && sim_chance(500000)) {
		h->use = IDLE;
		err = vmfs_file_downgrade(file);
		if (!err) {
			h->s->downgrades++;
			set_use(h, READING);
			SIM_CHECK(vmfs_file_write(file, "x", 1, 0) == -EBADF);
			task_sleep_until(clock_now() + sim_random(S / 2));
			err = check_pair(h, file, NULL);
		}
	}
	h->use = IDLE;
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

static int share(struct host *h)
{
	struct vmfs_file *file;
	int err = open_as(h, VMFS_WRITE | VMFS_MULTI_WRITER, sim_random(3 * S), &file);

	if (err)
		return err;
	set_use(h, SHARING);
	for (int i = 0; !err && i < 5; i++) {
		err = write_sector(h, file);
		if (!err)
			err = check_sectors(h, file);
		task_sleep_until(clock_now() + sim_random(S / 5));
	}
	h->use = IDLE;
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

static void live(void *arg)
{
	struct host *h = arg;
	struct story *s = h->s;
	int err = cluster_mount(s->c, &h->m);

	if (err)
		return; /* a rude disk */
	h->is_up = true;
	while (sim_time() < s->stop_at && !vmfs_volume_state(h->m.vol)) {
		uint64_t what = sim_random(3);

		err = what == 0 ? read_and_upgrade(h)
				: what == 1 ? write_and_downgrade(h) : share(h);
		if (err && err != -EBUSY && !vmfs_volume_state(h->m.vol))
			sim_fail("h%u: %d", h->number, err);
		task_sleep_until(clock_now() + sim_random(S));
	}
	while (!s->is_quiet)
		task_sleep_until(clock_now() + S);
	err = cluster_unmount(&h->m);
	SIM_CHECK(!err || h->m.is_lost);
}

static void inspect(void *arg)
{
	struct host *h = arg;
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(h->s->c, &h->m));
	SIM_CHECK(!open_as(h, VMFS_READ_LOCKED, 120 * S, &file));
	SIM_CHECK(!check_pair(h, file, NULL) && !check_sectors(h, file));
	SIM_CHECK(!vmfs_file_close(file));
	cluster_bury(&h->m);
	SIM_CHECK(!cluster_unmount(&h->m));
}

struct plan {
	enum bdev_caw_class caw;
	unsigned int hosts, kills;
	bool is_rude;
};

static void storm(void *arg)
{
	const struct plan *plan = arg;
	struct simdisk_behaviour polite = simdisk_polite(),
				 rude = simdisk_rude(plan->caw);
	struct story *s = calloc(1, sizeof(*s));

	SIM_CHECK(s);
	begin(s, plan->caw);
	for (unsigned int i = 0; i < plan->hosts; i++)
		(void)add_host(s, live);
	task_sleep_until(clock_now() + S);
	if (plan->is_rude) {
		simdisk_behave(s->c->disk, &rude);
		oracle_rude(s->c->oracle, true);
	}
	for (unsigned int i = 0; i < plan->kills; i++) {
		task_sleep_until(clock_now() + 2 * S + sim_random(10 * S));
		sim_host_kill(s->hosts[sim_random(s->count)].sim);
	}
	while (sim_time() < s->stop_at)
		task_sleep_until(clock_now() + S);
	simdisk_behave(s->c->disk, &polite);
	task_sleep_until(clock_now() + 60 * S);
	cluster_check_hosts(s->c);
	s->is_quiet = true;
	join_all(s);
	struct host inspector = { .s = s, .number = 99 };
	SIM_CHECK(sim_host_run(sim_host_new("inspector", 0), "inspect", inspect,
			       &inspector));
	cluster_check(s->c, true);
	sim_trace("read %lu, wrote %lu, shared %lu, up %lu, down %lu", s->times[READING],
		  s->times[WRITING], s->times[SHARING], s->upgrades, s->downgrades);
	cluster_free(s->c);
	free(s);
}

static void all_modes_exclude_each_other(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, 4, 0, false };

	(void)state;
	sim_some_seeds(1, 20, storm, &plan);
}

static void all_modes_survive_deaths(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, 5, 3, false };

	(void)state;
	sim_some_seeds(100, 30, storm, &plan);
}

static void all_modes_survive_a_rude_disk(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, 5, 1, true };

	(void)state;
	sim_some_seeds(200, 60, storm, &plan);
}

static void all_modes_work_on_files(void **state)
{
	struct plan plan = { BDEV_CAW_FILE, 4, 2, true };

	(void)state;
	sim_some_seeds(300, 20, storm, &plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_modes_exclude_each_other),
		cmocka_unit_test(all_modes_survive_deaths),
		cmocka_unit_test(all_modes_survive_a_rude_disk),
		cmocka_unit_test(all_modes_work_on_files),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
