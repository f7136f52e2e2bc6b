/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many files looked at together (vmfs_node_stat_many) while another host changes them:
 * each is as it was at some moment of the look, never older, and what is remembered of
 * it afterwards is no older either. And one file looked at by what is in memory: one read
 * of its lock is enough where nothing else was read, and only there. And a name that is
 * looked up in a folder: two reads where both are in memory, four where the file is not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "tests/sim/iofault.h"
#include "vmfs/cache.h"
#include "vmfs/fd.h"
#include "vmfs/node.h"
#include "vmfs/path.h"
#include "vmfs/volume.h"

#define S NS_PER_S
#define FILES 24u
#define CHANGES 80u
#define WINDOW 16384u /* reads of at least so many bytes are of many descriptors */
#define READS 3u

struct story {
	struct cluster *c;
	struct vmfs_node nodes[FILES];
	uint32_t begun[FILES], ended[FILES]; /* the newest change */
	bool is_lazy, is_ready, is_over;
	unsigned int looks;
	/* The change that comes before the n-th large read. */
	unsigned int reads, at, asked;
	bool is_done, is_looking, is_away;
	bool by_node; /* /a/x is looked up in /a */
	struct vmfs_node a;
	struct iofault fault;
};

static void make_files(struct story *s, struct vmfs_volume *vol)
{
	for (unsigned int i = 0; i < FILES; i++) {
		struct vmfs_stat st;
		char path[16];

		(void)snprintf(path, sizeof(path), "/f%u", i);
		SIM_CHECK(!vmfs_mkdir(vol, path, 0700));
		SIM_CHECK(!vmfs_stat(vol, path, &st));
		s->nodes[i] = vmfs_node_of(&st);
	}
}

static void write_all(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .is_lazy = s->is_lazy };

	SIM_CHECK(!cluster_mount(s->c, &m));
	make_files(s, m.vol);
	s->is_ready = true;
	for (uint32_t k = 1; k <= CHANGES || s->looks <= READS; k++) {
		unsigned int i = (unsigned int)sim_random(FILES);
		struct vmfs_attr attr = { .has_owner = true, .uid = k, .gid = k };

		s->begun[i] = k;
		int err = vmfs_node_setattr(m.vol, s->nodes[i], &attr);
		SIM_CHECK(!err);
		s->ended[i] = k;
		/* Now and then its locks go back. */
		task_sleep_until(clock_now() + (sim_chance(50000)
							? 5 * S
							: sim_random(3 * NS_PER_MS)));
	}
	s->is_over = true;
	SIM_CHECK(!cluster_unmount(&m));
}

static void check(struct story *s, unsigned int i, const struct vmfs_stat *st,
		  uint32_t least)
{
	if (st->uid < least || st->uid > s->begun[i] || st->uid != st->gid)
		sim_fail("file %u: change %u (%u), at least %u, at most %u", i, st->uid,
			 st->gid, least, s->begun[i]);
}

static void look_at_all(struct story *s, struct vmfs_volume *vol)
{
	struct vmfs_stat st[FILES], one;
	uint32_t least[FILES];
	int err[FILES];

	for (unsigned int i = 0; i < FILES; i++)
		least[i] = s->ended[i];
	vmfs_node_stat_many(vol, s->nodes, FILES, st, err);
	for (unsigned int i = 0; i < FILES; i++) {
		SIM_CHECK(!err[i]);
		check(s, i, &st[i], least[i]);
	}
	for (unsigned int i = 0; i < FILES; i++) {
		uint32_t now = s->ended[i];

		SIM_CHECK(!vmfs_node_stat(vol, s->nodes[i], &one));
		check(s, i, &one, now);
	}
	s->looks++;
}

static void look_on_and_on(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	while (!s->is_over) {
		look_at_all(s, m.vol);
		task_sleep_until(clock_now() + sim_random(S / 10));
	}
	look_at_all(s, m.vol);
	SIM_CHECK(!cluster_unmount(&m));
}

static void stage(const bool *is_lazy, void (*write)(void *), void (*read)(void *))
{
	struct story *s = calloc(1, sizeof(*s));
	struct sim_host *writer = sim_host_new("writer", 0);

	SIM_CHECK(s);
	s->is_lazy = *is_lazy;
	s->c = cluster_new(BDEV_CAW_ATS);
	struct task *t = sim_host_start(writer, "write", write, s);
	while (!s->is_ready)
		task_sleep_until(clock_now() + NS_PER_MS);
	SIM_CHECK(sim_host_run(sim_host_new("reader", 0), "look", read, s));
	task_join(t);
	SIM_CHECK(s->looks > READS);
	cluster_check(s->c, false);
	cluster_free(s->c);
	free(s);
}

static void looking(void *arg)
{
	stage(arg, write_all, look_on_and_on);
}

static void many_are_looked_at_beside_a_writer(void **state)
{
	bool is_lazy = false;

	(void)state;
	sim_each_seed(1, 3, looking, &is_lazy);
}

static void many_are_looked_at_beside_a_lazy_writer(void **state)
{
	bool is_lazy = true;

	(void)state;
	sim_each_seed(100, 3, looking, &is_lazy);
}

/* ---- one change, at each moment of a look ---- */

/* All files once, and their locks given back: nothing of them is held. */
static void change_all(struct story *s, struct vmfs_volume *vol, uint32_t k)
{
	struct vmfs_attr attr = { .has_owner = true, .uid = k, .gid = k };

	for (unsigned int i = 0; i < FILES; i++) {
		struct fd_ref ref = path_dir(s->nodes[i]);
		struct vmfs_lock_id id;

		s->begun[i] = k;
		SIM_CHECK(!vmfs_node_setattr(vol, s->nodes[i], &attr));
		SIM_CHECK(!fd_lock_id(vol, &ref, &id) && !vmfs_lock_let_go(vol, &id));
		s->ended[i] = k;
	}
}

static void write_when_asked(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .is_lazy = s->is_lazy };

	SIM_CHECK(!cluster_mount(s->c, &m));
	make_files(s, m.vol);
	change_all(s, m.vol, 1);
	s->is_ready = true;
	for (uint32_t k = 2; !s->is_over; task_sleep_until(clock_now() + NS_PER_MS)) {
		if (!s->asked || s->is_done)
			continue;
		change_all(s, m.vol, k++);
		s->is_done = true;
	}
	SIM_CHECK(!cluster_unmount(&m));
}

static void before_read(void *arg, const struct bdev_io *io)
{
	struct story *s = arg;

	if (io->op != BDEV_READ || io->len < WINDOW || ++s->reads != s->at)
		return;
	s->asked++;
	while (!s->is_done)
		task_sleep_until(clock_now() + NS_PER_MS);
}

static void look_between(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .fault = &s->fault };

	s->fault.before = before_read;
	s->fault.arg = s;
	SIM_CHECK(!cluster_mount(s->c, &m));
	look_at_all(s, m.vol);
	for (s->at = 1; s->at <= READS; s->at++) {
		s->reads = s->asked = 0;
		s->is_done = false;
		vmfs_cache_drop_all(m.vol->cache);
		look_at_all(s, m.vol);
		SIM_CHECK(s->is_done);
	}
	s->is_over = true;
	SIM_CHECK(!cluster_unmount(&m));
}

static void changed_between(void *arg)
{
	stage(arg, write_when_asked, look_between);
}

static void a_change_at_any_moment_is_seen(void **state)
{
	bool is_lazy = false;

	(void)state;
	sim_each_seed(200, 2, changed_between, &is_lazy);
}

/* ---- one file, of which all but its lock is in memory ---- */

#define PATH_LOOKS 12u /* more reads than a look at /a/x takes */

/* The file is in /a with an even owner, in /b with any. */
static void move_there_and_back(struct story *s, struct vmfs_volume *vol)
{
	static struct vmfs_attr odd = { .has_owner = true, .uid = 1 };
	static struct vmfs_attr even = { .has_owner = true, .uid = 2 };
	bool is_away = s->is_away;

	if (is_away)
		SIM_CHECK(!vmfs_setattr(vol, "/b/x", &even));
	SIM_CHECK(
		!vmfs_rename(vol, is_away ? "/b/x" : "/a/x", is_away ? "/a/x" : "/b/x"));
	if (!is_away)
		SIM_CHECK(!vmfs_setattr(vol, "/b/x", &odd));
	s->is_away = !is_away;
}

/* Leaves no lock behind, and goes. */
static void move_when_asked(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_stat st;

	SIM_CHECK(!cluster_mount(s->c, &m));
	SIM_CHECK(!vmfs_mkdir(m.vol, "/a", 0700) && !vmfs_mkdir(m.vol, "/b", 0700));
	SIM_CHECK(!vmfs_symlink(m.vol, "nowhere", "/a/x"));
	SIM_CHECK(!vmfs_stat(m.vol, "/a", &st));
	s->a = vmfs_node_of(&st);
	SIM_CHECK(!cluster_unmount(&m));
	s->is_ready = true;
	while (!s->is_over) {
		task_sleep_until(clock_now() + NS_PER_MS);
		if (!s->asked || s->is_done)
			continue;
		SIM_CHECK(!cluster_mount(s->c, &m));
		move_there_and_back(s, m.vol);
		SIM_CHECK(!cluster_unmount(&m));
		s->is_done = true;
	}
}

static void before_any_read(void *arg, const struct bdev_io *io)
{
	struct story *s = arg;

	if (io->op != BDEV_READ || !s->is_looking || ++s->reads != s->at)
		return;
	s->asked++;
	while (!s->is_done)
		task_sleep_until(clock_now() + NS_PER_MS);
}

/* Where it may be, and what it may be there: both of one moment. */
static void look_at_x(struct story *s, struct vmfs_volume *vol)
{
	struct vmfs_stat st;

	s->reads = 0;
	s->is_looking = true;
	int err = s->by_node ? vmfs_node_lookup(vol, s->a, "x", &st)
			     : vmfs_stat(vol, "/a/x", &st);
	s->is_looking = false;
	SIM_CHECK(!err || err == -ENOENT);
	if (!err && st.uid == 1)
		sim_fail("change before read %u: the owner of /b/x is seen in /a", s->at);
	s->looks++;
}

/* Nothing changes: how many reads does a look take? */
static void count_reads(struct story *s, struct vmfs_volume *vol, const char *what,
			unsigned int wanted)
{
	s->at = 0;
	look_at_x(s, vol);
	if (s->reads != wanted)
		sim_fail("%u reads for %s, not %u", s->reads, what, wanted);
}

static void look_up(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .fault = &s->fault };
	struct vmfs_lock_id id;

	s->fault.before = before_any_read;
	s->fault.arg = s;
	s->by_node = true;
	SIM_CHECK(!cluster_mount(s->c, &m));
	for (s->at = 1; s->at <= PATH_LOOKS; s->at++) {
		s->asked = 0;
		s->is_done = false;
		look_at_x(s, m.vol);
		look_at_x(s, m.vol);
	}
	do {
		s->asked = 1;
		s->is_done = false;
		while (!s->is_done)
			task_sleep_until(clock_now() + NS_PER_MS);
	} while (s->is_away);
	struct vmfs_stat st;
	SIM_CHECK(!vmfs_node_lookup(m.vol, s->a, "x", &st));
	struct fd_ref x = { .addr = st.addr };
	count_reads(s, m.vol, "a name and a file in memory", 2);
	SIM_CHECK(!fd_lock_id(m.vol, &x, &id));
	vmfs_cache_drop_lock(m.vol->cache, id.vol_off);
	count_reads(s, m.vol, "a name in memory", 4);
	s->is_over = true;
	SIM_CHECK(!cluster_unmount(&m));
}

static void looked_up(void *arg)
{
	stage(arg, move_when_asked, look_up);
}

static void a_name_that_is_looked_up_is_too(void **state)
{
	bool is_lazy = false;

	(void)state;
	sim_each_seed(400, 2, looked_up, &is_lazy);
}

static void look_at_one(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .fault = &s->fault };
	struct vmfs_stat st;

	s->fault.before = before_any_read;
	s->fault.arg = s;
	SIM_CHECK(!cluster_mount(s->c, &m));
	for (s->at = 1; s->at <= PATH_LOOKS; s->at++) {
		s->asked = 0;
		s->is_done = false;
		look_at_x(s, m.vol); /* what is read is remembered */
		look_at_x(s, m.vol);
	}
	s->at = 0;
	SIM_CHECK(!vmfs_stat(m.vol, "/a", &st));
	s->reads = 0;
	s->is_looking = true;
	SIM_CHECK(!vmfs_node_stat(m.vol, vmfs_node_of(&st), &st));
	s->is_looking = false;
	if (s->reads != 1)
		sim_fail("%u reads for a look at what is in memory", s->reads);
	s->is_over = true;
	SIM_CHECK(!cluster_unmount(&m));
}

static void one_looked_at(void *arg)
{
	stage(arg, move_when_asked, look_at_one);
}

static void a_name_and_its_file_are_of_one_moment(void **state)
{
	bool is_lazy = false;

	(void)state;
	sim_each_seed(300, 2, one_looked_at, &is_lazy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_are_looked_at_beside_a_writer),
		cmocka_unit_test(many_are_looked_at_beside_a_lazy_writer),
		cmocka_unit_test(a_change_at_any_moment_is_seen),
		cmocka_unit_test(a_name_and_its_file_are_of_one_moment),
		cmocka_unit_test(a_name_that_is_looked_up_is_too),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
