/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster protocol with the real library, in virtual time: hosts increment a counter
 * in a file under its lock, and each makes, moves and removes files in a directory of its
 * own; they die, pause, and are taken over. The oracle in the disk (cluster.c) watches
 * every command; these stories watch what hosts were told: nothing acknowledged is lost,
 * nothing happens by halves, and fsck is content at the end.
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
#define NAMES 4u

/* A host's own directory: what each name is. */
enum what { ABSENT, EMPTY, FULL };
struct own {
	enum what what[NAMES];
	uint64_t seq[NAMES]; /* of a FULL one: tells content and place */
};

struct diary {
	bool has_directory;
	struct own now;	 /* as acknowledged */
	struct own next; /* as it becomes by the operation under way; else == now */
};

/* What all hosts of one story share: the truth as the world knows it. */
struct story {
	struct cluster *c;
	uint64_t acknowledged;	/* increments whose sync returned 0 */
	uint64_t attempted;	/* increments that may have happened */
	uint64_t seq;
	uint64_t stop_at;	/* perfect clock */
	unsigned int mounts_lost, host_count;
	struct diary diaries[CLUSTER_HOSTS_MAX];
	unsigned long own_operations;
};

/* ---- the counter ---- */

static int read_counter(struct vmfs_file *file, uint64_t *ret_n)
{
	char text[32] = "";
	int64_t got = vmfs_file_read(file, text, sizeof(text) - 1, 0);

	if (got < 0)
		return (int)got;
	*ret_n = strtoull(text, NULL, 10);
	return 0;
}

static int count_one(struct story *s, struct cluster_mount *m, struct vmfs_file *file)
{
	char text[32];
	uint64_t n = 0;
	int err = read_counter(file, &n);

	if (err)
		return err;
	/* A fenced host may read what it likes; it is checked to be alive after. */
	if (!vmfs_volume_state(m->vol) && n < s->acknowledged)
		sim_fail("counter reads %llu, %llu were acknowledged",
			 (unsigned long long)n, (unsigned long long)s->acknowledged);
	snprintf(text, sizeof(text), "%-20llu", (unsigned long long)(n + 1));
	s->attempted++;
	err = vmfs_file_write(file, text, 20, 0);
	if (!err)
		err = vmfs_file_sync(file);
	if (err)
		return err;
	if (n + 1 <= s->acknowledged)
		sim_fail("two hosts made the counter %llu", (unsigned long long)n + 1);
	s->acknowledged = n + 1;
	return 0;
}

/* One increment under the file's lock: 0 acknowledged, -EBUSY, -ESTALE and so on. */
static int increment(struct story *s, struct cluster_mount *m, const char *path)
{
	struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE,
		.mode = 0644,
		.deadline = clock_now() + 5 * S,
	};
	struct vmfs_file *file;
	struct vmfs_holder holder;
	int err = vmfs_file_open(m->vol, path, &options, &file, &holder);

	if (err)
		return err;
	err = count_one(s, m, file);
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

/* ---- files of one's own ---- */

static void name_of(unsigned int host, unsigned int i, char ret[32])
{
	snprintf(ret, 32, "/h%u/f%u", host, i);
}

/* Where the text of a FULL file begins: resident, sub-block, block; the text. */
static uint64_t text_of(uint64_t seq, char ret[32])
{
	snprintf(ret, 32, "%-16llu", (unsigned long long)seq);
	return seq % 3 == 0   ? seq % 900
	       : seq % 3 == 1 ? seq * 31 % 8000
			      : seq * 7919 % 200000;
}

static int fill(struct cluster_mount *m, const char *path, uint64_t seq)
{
	struct vmfs_file_options options = {
		.flags = VMFS_WRITE, .deadline = clock_now() + 40 * S
	};
	struct vmfs_file *file;
	char text[32];
	uint64_t at = text_of(seq, text);
	int err = vmfs_file_open(m->vol, path, &options, &file, NULL);

	if (err)
		return err;
	err = vmfs_file_write(file, text, 16, at);
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

static int make(struct cluster_mount *m, const char *path)
{
	struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE | VMFS_EXCL,
		.deadline = clock_now() + 40 * S,
	};
	struct vmfs_file *file;
	int err = vmfs_file_open(m->vol, path, &options, &file, NULL);

	return err ? err : vmfs_file_close(file);
}

/* One operation in the host's own directory, entered in its diary. */
static int housekeep(struct story *s, struct cluster_mount *m, unsigned int host)
{
	struct diary *d = &s->diaries[host];
	unsigned int i = (unsigned int)sim_random(NAMES);
	unsigned int k = (i + 1 + (unsigned int)sim_random(NAMES - 1)) % NAMES;
	char path[32], other[32];
	int err;

	name_of(host, i, path);
	name_of(host, k, other);
	d->next = d->now;
	if (d->now.what[i] == ABSENT) {
		d->next.what[i] = EMPTY;
		err = make(m, path);
	} else if (d->now.what[i] == EMPTY) {
		d->next.what[i] = FULL;
		d->next.seq[i] = ++s->seq;
		err = fill(m, path, s->seq);
	} else if (sim_chance(500000)) {
		d->next.what[k] = FULL;
		d->next.seq[k] = d->now.seq[i];
		d->next.what[i] = ABSENT;
		err = vmfs_rename(m->vol, path, other);
	} else {
		d->next.what[i] = ABSENT;
		err = vmfs_unlink(m->vol, path);
	}
	if (err == -EBUSY) {
		d->next = d->now; /* said to have had no effect: held to it */
		return 0;
	}
	if (!err) {
		d->now = d->next;
		s->own_operations++;
	}
	return err;
}

static bool is_as(struct cluster_mount *m, unsigned int host, unsigned int i,
		  const struct own *own)
{
	struct vmfs_file_options options = { 0 };
	struct vmfs_file *file;
	struct vmfs_stat st;
	char path[32], want[32], got[32] = "";

	name_of(host, i, path);
	int err = vmfs_file_open(m->vol, path, &options, &file, NULL);
	if (err == -ENOENT)
		return own->what[i] == ABSENT;
	if (err)
		sim_fail("%s: %d", path, err);
	SIM_CHECK(!vmfs_file_stat(file, &st));
	uint64_t at = text_of(own->seq[i], want);
	int64_t n = vmfs_file_read(file, got, 16, at);
	SIM_CHECK(n >= 0 && !vmfs_file_close(file));
	if (own->what[i] == EMPTY)
		return st.size_bytes == 0;
	return own->what[i] == FULL && st.size_bytes == at + 16 && !memcmp(want, got, 16);
}

/* The directory is as before or as after the last operation, not a mixture. */
static void check_own(struct story *s, struct cluster_mount *m, unsigned int host)
{
	const struct diary *d = &s->diaries[host];
	bool is_now = true, is_next = true;

	for (unsigned int i = 0; i < NAMES; i++) {
		is_now = is_now && is_as(m, host, i, &d->now);
		is_next = is_next && is_as(m, host, i, &d->next);
	}
	if (!is_now && !is_next)
		sim_fail("directory of h%u is neither as acknowledged nor as it was to "
			 "become",
			 host);
}

/* ---- a host's life ---- */

struct life {
	struct story *story;
	unsigned int host;
};

static int live(struct story *s, struct cluster_mount *m, unsigned int host)
{
	char path[32];
	int err = -EBUSY;

	snprintf(path, sizeof(path), "/h%u", host);
	while (err == -EBUSY && sim_time() < s->stop_at)
		err = vmfs_mkdir(m->vol, path, 0755);
	s->diaries[host].has_directory = !err;
	while (!err && sim_time() < s->stop_at) {
		err = increment(s, m, "/counter");
		if (err == -EBUSY)
			err = 0;
		if (!err && sim_chance(600000))
			err = housekeep(s, m, host);
		task_sleep_until(clock_now() + sim_random(2 * S));
	}
	return err == -EBUSY ? 0 : err;
}

static void work(void *arg)
{
	struct life *life = arg;
	struct story *s = life->story;
	struct cluster_mount m = { 0 };
	int err = cluster_mount(s->c, &m);

	if (err) {
		sim_trace("mount: %d", err);
		return;
	}
	err = live(s, &m, life->host);
	if (err && !vmfs_volume_state(m.vol))
		sim_fail("host stopped with %d", err);
	s->mounts_lost += m.is_lost;
	err = cluster_unmount(&m);
	if (err && !m.is_lost)
		sim_fail("unmount of a living member: %d", err);
}

/* After the storm: one host mounts, buries the dead, and finds all that was promised. */
static void inspect(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_file_options options = { .flags = VMFS_READ_LOCKED };
	struct vmfs_file *file;
	uint64_t n = 0;

	SIM_CHECK(!cluster_mount(s->c, &m));
	options.deadline = clock_now() + 120 * S;
	int err = vmfs_file_open(m.vol, "/counter", &options, &file, NULL);
	if (err && (err != -ENOENT || s->acknowledged))
		sim_fail("counter cannot be opened at the end: %d", err);
	if (!err) {
		SIM_CHECK(!read_counter(file, &n));
		SIM_CHECK(!vmfs_file_close(file));
	}
	if (n < s->acknowledged || n > s->attempted)
		sim_fail("counter is %llu: %llu acknowledged, %llu attempted",
			 (unsigned long long)n, (unsigned long long)s->acknowledged,
			 (unsigned long long)s->attempted);
	cluster_bury(&m);
	for (unsigned int i = 0; i < s->host_count; i++)
		if (s->diaries[i].has_directory)
			check_own(s, &m, i);
	SIM_CHECK(!cluster_unmount(&m));
}

/* ---- stories ---- */

struct plan {
	enum bdev_caw_class caw;
	unsigned int hosts, kills, pauses;
	bool is_rude;
};

struct crowd {
	struct sim_host *hosts[CLUSTER_HOSTS_MAX];
	struct task *tasks[CLUSTER_HOSTS_MAX];
	struct life lives[CLUSTER_HOSTS_MAX];
};

static void start_one(struct story *s, struct crowd *crowd)
{
	unsigned int i = s->host_count++;
	char name[16];

	SIM_CHECK(i < CLUSTER_HOSTS_MAX);
	snprintf(name, sizeof(name), "h%u", i);
	crowd->lives[i] = (struct life){ s, i };
	crowd->hosts[i] = sim_host_new(name, (int)sim_random(2000) - 1000);
	crowd->tasks[i] = sim_host_start(crowd->hosts[i], "work", work, &crowd->lives[i]);
}

static void trouble(struct story *s, struct crowd *crowd, const struct plan *plan)
{
	for (unsigned int i = 0; i < plan->kills + plan->pauses; i++) {
		struct sim_host *victim = crowd->hosts[sim_random(s->host_count)];

		task_sleep_until(clock_now() + 5 * S + sim_random(15 * S));
		if (i < plan->kills) {
			sim_host_kill(victim);
			start_one(s, crowd);
		} else if (!sim_host_is_dead(victim)) {
			sim_host_pause(victim);
			task_sleep_until(clock_now() + S +
					 sim_random(plan->caw == BDEV_CAW_FILE ? 40 * S
									       : 8 * S));
			sim_host_resume(victim);
		}
	}
}

static void storm(void *arg)
{
	const struct plan *plan = arg;
	struct story s = { .c = cluster_new(plan->caw) };
	struct crowd crowd;
	struct simdisk_behaviour polite = simdisk_polite(),
				 rude = simdisk_rude(plan->caw);

	s.stop_at = sim_time() + 60 * S;
	if (plan->is_rude)
		simdisk_behave(s.c->disk, &rude);
	for (unsigned int i = 0; i < plan->hosts; i++)
		start_one(&s, &crowd);
	trouble(&s, &crowd, plan);
	for (unsigned int i = 0; i < s.host_count; i++)
		task_join(crowd.tasks[i]);
	simdisk_behave(s.c->disk, &polite);
	SIM_CHECK(sim_host_run(sim_host_new("inspector", 0), "inspect", inspect, &s));
	cluster_check(s.c, plan->kills || plan->is_rude);
	sim_trace("acknowledged %llu of %llu, %lu of their own",
		  (unsigned long long)s.acknowledged, (unsigned long long)s.attempted,
		  s.own_operations);
	SIM_CHECK(s.acknowledged > 0 || plan->is_rude);
	cluster_free(s.c);
}

/*
 * Three hosts on a LUN with COMPARE AND WRITE, nobody dies: every increment counts once.
 */
static void ats_hosts_share_a_counter(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, 3, 0, 0, false };

	(void)state;
	sim_each_seed(1, 10, storm, &plan);
}

/* Hosts die at any moment; the others take over and lose nothing acknowledged. */
static void ats_hosts_survive_deaths(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, 3, 2, 0, false };

	(void)state;
	sim_each_seed(100, 60, storm, &plan);
}

/* The same with lost answers, late commands, torn writes and busy targets. */
static void ats_hosts_survive_deaths_on_a_rude_disk(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, 3, 2, 0, true };

	(void)state;
	sim_each_seed(200, 60, storm, &plan);
}

static void ats_hosts_survive_pauses(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, 3, 1, 2, false };

	(void)state;
	sim_each_seed(300, 30, storm, &plan);
}

static void file_hosts_survive_deaths(void **state)
{
	struct plan plan = { BDEV_CAW_FILE, 3, 3, 0, false };

	(void)state;
	sim_each_seed(400, 60, storm, &plan);
}

static void file_hosts_survive_pauses(void **state)
{
	struct plan plan = { BDEV_CAW_FILE, 3, 1, 2, false };

	(void)state;
	sim_each_seed(500, 30, storm, &plan);
}

static void reserving_hosts_share_a_counter(void **state)
{
	struct plan plan = { BDEV_CAW_RESERVE, 2, 0, 0, false };

	(void)state;
	sim_each_seed(600, 10, storm, &plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ats_hosts_share_a_counter),
		cmocka_unit_test(ats_hosts_survive_deaths),
		cmocka_unit_test(ats_hosts_survive_deaths_on_a_rude_disk),
		cmocka_unit_test(ats_hosts_survive_pauses),
		cmocka_unit_test(file_hosts_survive_deaths),
		cmocka_unit_test(file_hosts_survive_pauses),
		cmocka_unit_test(reserving_hosts_share_a_counter),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
