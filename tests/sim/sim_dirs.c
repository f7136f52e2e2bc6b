/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several hosts in one directory, of both versions, in virtual time: each looks up,
 * makes, removes, moves and exchanges names of its own and names that all have, and sees
 * exactly what was last done, by whomever. The directory is large enough for an index
 * (VMFS-5), and names share places in its table (VMFS-6). Perhaps one host dies.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "vmfs/dir.h"
#include "vmfs/dirhash.h"
#include "vmfs/dirindex.h"
#include "vmfs/format6.h"
#include "vmfs/txn.h"

#define S NS_PER_S
#define HOSTS 3u
#define STEPS 40u
#define OWN 6u
#define COMMON 14u
#define NAMES (HOSTS * OWN + COMMON)
#define FILLED (DIR_INDEX_LEAST + 60u)
#define FILLED_AT_ONCE 79u

/* Names in the order of hosts, then those that all have, whose hashes have one index. */
static char names[NAMES][24];

static void make_names(void)
{
	unsigned int at = 0;
	uint64_t index = 0;

	if (names[0][0])
		return;
	for (; at < HOSTS * OWN; at++)
		snprintf(names[at], sizeof(names[at]), "h%u-%u", at / OWN, at % OWN);
	for (unsigned int i = 0; at < NAMES; i++) {
		snprintf(names[at], sizeof(names[at]), "common-%u", i);
		if (i == 0)
			index = vmfs_dirhash(names[at]) % VMFS6_DIR_HASHES;
		at += vmfs_dirhash(names[at]) % VMFS6_DIR_HASHES == index;
	}
}

/* What should be there; a name that somebody works on is nobody else's meanwhile. */
struct story {
	struct cluster *c;
	bool is_6, has_death;
	struct {
		bool is_there, is_busy;
		bool is_unknown; /* who worked on it died */
		uint64_t addr;
	} at[NAMES];
};

struct guest {
	struct story *story;
	unsigned int number;
	struct cluster_mount m;
	unsigned int busy[2];
};

static void path_of(unsigned int name, char path[40])
{
	snprintf(path, 40, "/d/%s", names[name]);
}

/* ---- what is there before ---- */

struct filling {
	struct fd_ref dir, file;
	unsigned int first;
};

static int fill_build(struct vmfs_txn *t, void *arg)
{
	const struct filling *f = arg;
	struct fd_body_disk *fdd;
	struct dir_found end;
	int rc = fd_edit(t, &f->file, &fdd);

	for (unsigned int i = 0; rc == 0 && i < FILLED_AT_ONCE; i++) {
		struct dir_entry entry = { .ref = f->file, .type = VMFS_TYPE_SYMLINK };

		snprintf(entry.name, sizeof(entry.name), "filled-%u", f->first + i);
		rc = dir_find(t, &f->dir, entry.name, &end);
		if (rc == 0)
			rc = dir_put(t, &f->dir, end.index, &entry);
	}
	if (rc == 0)
		fdd->meta.links = le32_of(le32_get(fdd->meta.links) + FILLED_AT_ONCE);
	return rc;
}

static void populate(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	struct filling f = { 0 };
	struct vmfs_stat st;

	SIM_CHECK(!cluster_mount(s->c, &m));
	SIM_CHECK(!vmfs_mkdir(m.vol, "/d", 0755));
	SIM_CHECK(!vmfs_symlink(m.vol, "x", "/d/file"));
	SIM_CHECK(!vmfs_stat(m.vol, "/d", &st));
	f.dir = (struct fd_ref){ st.addr, st.generation, true };
	SIM_CHECK(!vmfs_stat(m.vol, "/d/file", &st));
	f.file = (struct fd_ref){ st.addr, st.generation, false };
	for (; f.first < FILLED; f.first += FILLED_AT_ONCE)
		SIM_CHECK(!vmfs_txn_run(m.vol, fill_build, &f, 0, NULL));
	SIM_CHECK(!cluster_unmount(&m));
}

/* ---- working ---- */

/* A name of our own, or one of all that nobody works on. */
static unsigned int pick(struct guest *g)
{
	for (;;) {
		unsigned int name = g->number * OWN + (unsigned int)sim_random(OWN);

		if (sim_random(2))
			name = HOSTS * OWN + (unsigned int)sim_random(COMMON);
		if (!g->story->at[name].is_busy)
			return name;
	}
}

static void expect(const struct guest *g, const char *what, unsigned int name, int got,
		   int expected)
{
	if (got != expected)
		sim_fail("host %u: %s %s: %d, but %d expected", g->number, what,
			 names[name], got, expected);
}

/* 0 or -ENOENT is known, unless who worked on it died: then it is learnt. */
static void look(struct guest *g, unsigned int name)
{
	struct vmfs_stat st = { 0 };
	char path[40];

	path_of(name, path);
	int rc = vmfs_stat(g->m.vol, path, &st);
	if (g->story->at[name].is_unknown && (rc == 0 || rc == -ENOENT)) {
		g->story->at[name].is_there = rc == 0;
		g->story->at[name].addr = st.addr.raw;
		g->story->at[name].is_unknown = false;
	}
	expect(g, "look at", name, rc, g->story->at[name].is_there ? 0 : -ENOENT);
	if (rc == 0 && st.addr.raw != g->story->at[name].addr)
		sim_fail("host %u: %s is another file", g->number, path);
}

static void make(struct guest *g, unsigned int name)
{
	struct vmfs_stat st;
	char path[40];

	path_of(name, path);
	expect(g, "make", name, vmfs_symlink(g->m.vol, "x", path),
	       g->story->at[name].is_there ? -EEXIST : 0);
	SIM_CHECK(!vmfs_stat(g->m.vol, path, &st));
	g->story->at[name].is_there = true;
	g->story->at[name].addr = st.addr.raw;
}

static void take(struct guest *g, unsigned int name)
{
	char path[40];

	path_of(name, path);
	expect(g, "remove", name, vmfs_unlink(g->m.vol, path),
	       g->story->at[name].is_there ? 0 : -ENOENT);
	g->story->at[name].is_there = false;
}

static void move(struct guest *g, unsigned int from, unsigned int to, uint32_t flags)
{
	struct story *s = g->story;
	bool is_exchange = flags & VMFS_RENAME_EXCHANGE;
	bool can = s->at[from].is_there && (s->at[to].is_there || !is_exchange);
	char path[2][40];

	path_of(from, path[0]);
	path_of(to, path[1]);
	expect(g, is_exchange ? "exchange" : "move", from,
	       vmfs_rename_flags(g->m.vol, path[0], path[1], flags), can ? 0 : -ENOENT);
	if (!can || from == to)
		return;
	uint64_t was = s->at[to].addr;
	s->at[to].is_there = true;
	s->at[to].addr = s->at[from].addr;
	s->at[from].is_there = is_exchange;
	s->at[from].addr = was;
}

static void step(struct guest *g)
{
	struct story *s = g->story;
	unsigned int a = pick(g), b = pick(g);

	g->busy[0] = a;
	g->busy[1] = b;
	s->at[a].is_busy = s->at[b].is_busy = true;
	look(g, a);
	look(g, b);
	switch (sim_random(6)) {
	case 0:
		take(g, a);
		break;
	case 1:
		move(g, a, b, 0);
		break;
	case 2:
		move(g, a, b, VMFS_RENAME_EXCHANGE);
		break;
	default:
		make(g, a);
		break;
	}
	look(g, a);
	look(g, b);
	s->at[a].is_busy = s->at[b].is_busy = false;
	g->busy[0] = g->busy[1] = NAMES;
}

static void work(void *arg)
{
	struct guest *g = arg;

	SIM_CHECK(!cluster_mount(g->story->c, &g->m));
	for (unsigned int i = 0; i < STEPS; i++) {
		step(g);
		if (sim_random(4) == 0)
			task_sleep_until(clock_now() + sim_random(400 * NS_PER_MS));
	}
	SIM_CHECK(!cluster_unmount(&g->m));
}

/* ---- all together ---- */

static void count(void *arg)
{
	struct guest *g = arg;
	struct vmfs_stat st;
	char path[40];

	SIM_CHECK(!cluster_mount(g->story->c, &g->m));
	for (unsigned int i = 0; i < NAMES; i++)
		look(g, i);
	for (unsigned int i = 0; i < FILLED; i++) {
		snprintf(path, sizeof(path), "/d/filled-%u", i);
		SIM_CHECK(!vmfs_stat(g->m.vol, path, &st));
	}
	cluster_bury(&g->m);
	SIM_CHECK(!cluster_unmount(&g->m));
}

/* What the dead one had in hand is done or not: the next one who looks knows. */
static void forget(struct story *s, const struct guest *g)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (g->busy[i] == NAMES)
			continue;
		s->at[g->busy[i]].is_unknown = true;
		s->at[g->busy[i]].is_busy = false;
	}
}

static void meet(void *arg)
{
	struct story s = *(const struct story *)arg;
	struct guest guests[HOSTS + 1] = { 0 };
	struct sim_host *hosts[HOSTS];
	struct task *tasks[HOSTS];

	s.c = s.is_6 ? cluster_new6(BDEV_CAW_ATS, NULL) : cluster_new(BDEV_CAW_ATS);
	SIM_CHECK(sim_host_run(sim_host_new("maker", 0), "populate", populate, &s));
	for (unsigned int i = 0; i < HOSTS + 1; i++)
		guests[i] = (struct guest){ .story = &s,
					    .number = i,
					    .busy = { NAMES, NAMES } };
	for (unsigned int i = 0; i < HOSTS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "h%u", i);
		hosts[i] = sim_host_new(name, (int)sim_random(2000) - 1000);
		tasks[i] = sim_host_start(hosts[i], "work", work, &guests[i]);
	}
	if (s.has_death) {
		task_sleep_until(clock_now() + S / 2 + sim_random(6 * S));
		sim_host_kill(hosts[0]);
		forget(&s, &guests[0]);
	}
	for (unsigned int i = 0; i < HOSTS; i++)
		task_join(tasks[i]);
	SIM_CHECK(sim_host_run(sim_host_new("counter", 0), "count", count,
			       &guests[HOSTS]));
	cluster_check(s.c, s.has_death);
	cluster_free(s.c);
}

static void hosts_agree_on_one_directory(void **state)
{
	struct story s = { 0 };

	(void)state;
	make_names();
	sim_some_seeds(1, 10, meet, &s);
}

static void hosts_agree_after_a_death(void **state)
{
	struct story s = { .has_death = true };

	(void)state;
	make_names();
	sim_some_seeds(100, 10, meet, &s);
}

static void hosts_agree_on_a_hashed_directory(void **state)
{
	struct story s = { .is_6 = true };

	(void)state;
	make_names();
	sim_some_seeds(200, 10, meet, &s);
}

static void hosts_agree_on_a_hashed_one_after_a_death(void **state)
{
	struct story s = { .is_6 = true, .has_death = true };

	(void)state;
	make_names();
	sim_some_seeds(300, 10, meet, &s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_agree_on_one_directory),
		cmocka_unit_test(hosts_agree_after_a_death),
		cmocka_unit_test(hosts_agree_on_a_hashed_directory),
		cmocka_unit_test(hosts_agree_on_a_hashed_one_after_a_death),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
