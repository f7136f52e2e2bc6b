/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader without a slot beside two hosts that make, fill, move and remove files in one
 * directory, and perhaps die in the middle: it walks and reads, and never sees a torn
 * structure. What a dead host had acknowledged it reads although nobody has replayed the
 * log.
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

#define S NS_PER_S
#define WRITERS 2u
#define NAMES 6u
#define CONTENT 600u /* stays in the file descriptor: one state of it or another */
#define ENTRIES_MAX 24u

struct story {
	struct cluster *c;
	uint64_t stop_at;
	bool has_deaths;
	unsigned long walks, changes;
	/* Letter of each file as acknowledged; 0: absent. '?': being changed. */
	char is[WRITERS][NAMES];
	bool is_busy[WRITERS][NAMES];
	unsigned int writers_left;
};

struct writer {
	struct story *story;
	unsigned int number;
};

static void name_of(unsigned int writer, unsigned int i, char ret[32])
{
	snprintf(ret, 32, "/shared/w%u-%u-of-some-length", writer, i);
}

/* ---- those who write ---- */

static int fill(struct vmfs_volume *vol, const char *path, char letter)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0600,
					     .deadline = clock_now() + 60 * S };
	struct vmfs_file *file;
	char content[CONTENT];
	int err = vmfs_file_open(vol, path, &options, &file, NULL);

	if (err)
		return err;
	memset(content, letter, sizeof(content));
	err = vmfs_file_write(file, content, sizeof(content), 0);
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

/* One change of a name of its own: made or filled anew, moved, removed. */
static int change(struct story *s, struct vmfs_volume *vol, unsigned int w)
{
	unsigned int i = (unsigned int)sim_random(NAMES);
	unsigned int k = (i + 1 + (unsigned int)sim_random(NAMES - 1)) % NAMES;
	char path[32], other[32], letter = (char)('a' + sim_random(26));
	int err;

	name_of(w, i, path);
	name_of(w, k, other);
	s->is_busy[w][i] = true;
	if (!s->is[w][i] || sim_chance(400000)) {
		err = fill(vol, path, letter);
		if (!err)
			s->is[w][i] = letter;
	} else if (sim_chance(500000)) {
		s->is_busy[w][k] = true;
		err = vmfs_rename(vol, path, other);
		if (!err) {
			s->is[w][k] = s->is[w][i];
			s->is[w][i] = 0;
			s->is_busy[w][k] = false;
		}
	} else {
		err = vmfs_unlink(vol, path);
		if (!err)
			s->is[w][i] = 0;
	}
	if (!err)
		s->is_busy[w][i] = false;
	return err;
}

static void write_on(void *arg)
{
	const struct writer *w = arg;
	struct story *s = w->story;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	int err = vmfs_mkdir(m.vol, "/shared", 0755);
	SIM_CHECK(!err || err == -EEXIST);
	while (sim_time() < s->stop_at) {
		err = change(s, m.vol, w->number);
		if (err)
			sim_fail("writer %u: %d", w->number, err);
		s->changes++;
		if (sim_chance(500000))
			task_sleep_until(clock_now() + sim_random(20 * NS_PER_MS));
	}
	SIM_CHECK(!cluster_unmount(&m));
}

/* ---- the one who reads ---- */

static void tell(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	if (level == REPORT_ERROR)
		sim_fail("the reader says: %s", text);
	sim_trace("report %d: %s", (int)level, text);
}

static struct reporter loud = { .tell = tell };

/* All of one letter: 0 and the letter (0: empty), -ENOENT, -EBUSY. */
static int read_file(struct vmfs_volume *vol, const char *path, char *ret_letter)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	char content[CONTENT + 1];
	struct vmfs_file *file;
	int err = vmfs_file_open(vol, path, &options, &file, NULL);

	if (err)
		return err;
	int64_t got = vmfs_file_read(file, content, sizeof(content), 0);
	SIM_CHECK(!vmfs_file_close(file));
	if (got < 0)
		return (int)got;
	if (got != 0 && got != CONTENT)
		sim_fail("%s: %lld bytes", path, (long long)got);
	for (int64_t i = 1; i < got; i++)
		if (content[i] != content[0])
			sim_fail("%s: '%c' and '%c' in one file", path, content[0],
				 content[i]);
	*ret_letter = got ? content[0] : 0;
	return 0;
}

static void check_name(const char *name)
{
	unsigned int w, i;
	char again[32];

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return;
	SIM_CHECK(sscanf(name, "w%u-%u-", &w, &i) == 2 && w < WRITERS && i < NAMES);
	name_of(w, i, again);
	if (strcmp(again + strlen("/shared/"), name))
		sim_fail("a name that nobody gave: \"%s\"", name);
}

/* One listing in one view: no name twice, no name that is none. */
static int list(struct vmfs_volume *vol)
{
	struct vmfs_dirent entries[ENTRIES_MAX];
	struct vmfs_stat st;
	int err = vmfs_stat(vol, "/shared", &st);

	if (err)
		return err == -ENOENT ? 0 : err;
	int count = vmfs_readdir(vol, st.addr, 0, entries, ENTRIES_MAX);
	for (int i = 0; i < count; i++) {
		check_name(entries[i].name);
		for (int k = 0; k < i; k++)
			if (!strcmp(entries[i].name, entries[k].name))
				sim_fail("\"%s\" stands twice", entries[i].name);
	}
	return count < 0 ? count : 0;
}

/* A look at everything; is_over: nothing changes any more, so all is as acknowledged. */
static void walk(struct story *s, struct vmfs_volume *vol, bool is_over)
{
	int err = list(vol);

	if (err && (err != -EBUSY || is_over))
		sim_fail("listing: %d", err);
	for (unsigned int w = 0; w < WRITERS; w++) {
		for (unsigned int i = 0; i < NAMES; i++) {
			char path[32], letter = 0;

			name_of(w, i, path);
			err = read_file(vol, path, &letter);
			if (err && err != -ENOENT && (err != -EBUSY || is_over))
				sim_fail("%s: %d", path, err);
			if (is_over && !s->is_busy[w][i] &&
			    letter != (err ? 0 : s->is[w][i]))
				sim_fail("%s: '%c', not '%c'", path, letter,
					 s->is[w][i]);
			if (is_over && !s->is_busy[w][i] && !err != !!s->is[w][i])
				sim_fail("%s: %d, but '%c' was acknowledged", path, err,
					 s->is[w][i] ? s->is[w][i] : '-');
		}
	}
	s->walks++;
}

static void read_on(void *arg)
{
	struct story *s = arg;
	struct bdev *bd = simdisk_attach(s->c->disk, sim_host_self());
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .is_read_only = true,
					     .reporter = &loud };
	struct vmfs_volume *vol;

	SIM_CHECK(!vmfs_volume_open(&options, &vol));
	while (s->writers_left)
		walk(s, vol, false);
	walk(s, vol, true);
	SIM_CHECK(!vmfs_volume_close(vol));
	bdev_close(bd);
}

static void storm(void *arg)
{
	const bool *has_deaths = arg;
	struct story s = { .c = cluster_new(BDEV_CAW_ATS), .writers_left = WRITERS };
	struct writer writers[WRITERS];
	struct sim_host *hosts[WRITERS];
	struct task *tasks[WRITERS];

	s.stop_at = sim_time() + (*has_deaths ? 3600 * S : 4 * S);
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ &s, i };
		hosts[i] = sim_host_new(i ? "w1" : "w0", 0);
		tasks[i] = sim_host_start(hosts[i], "write", write_on, &writers[i]);
	}
	struct task *reader = sim_host_start(sim_host_new("reader", 0), "read", read_on,
					     &s);
	for (unsigned int i = 0; *has_deaths && i < WRITERS; i++) {
		task_sleep_until(clock_now() + S + sim_random(S));
		sim_host_kill(hosts[i]);
	}
	for (unsigned int i = 0; i < WRITERS; i++)
		task_join(tasks[i]);
	if (*has_deaths)
		task_sleep_until(clock_now() + 10 * S); /* what was accepted, lands */
	s.writers_left = 0;
	task_join(reader);
	sim_trace("%lu changes, %lu walks", s.changes, s.walks);
	SIM_CHECK(s.changes > 0 && s.walks > 2);
	cluster_free(s.c);
}

static void reader_beside_writers_sees_whole_structures(void **state)
{
	bool has_deaths = false;

	(void)state;
	sim_each_seed(1, 20, storm, &has_deaths);
}

static void reader_sees_what_the_dead_had_committed(void **state)
{
	bool has_deaths = true;

	(void)state;
	sim_each_seed(100, 20, storm, &has_deaths);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reader_beside_writers_sees_whole_structures),
		cmocka_unit_test(reader_sees_what_the_dead_had_committed),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
