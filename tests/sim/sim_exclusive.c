/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A repair takes a whole volume while hosts and other repairs come and go (LOCKING.md
 * 5.2): nothing of it lands under a member's hands, nor behind the back of the next one;
 * what a dead one left half done is nobody's to mount until it is ended.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fsck/session.h"
#include "tests/sim/wreck.h"
#include "vmfs/exclusive.h"

#define S NS_PER_S
#define VICTIMS 6u /* each has something to be repaired, in a run of its own */
#define HOSTS_MAX 3u

struct scene;

struct host {
	struct scene *scene;
	struct sim_host *sim;
	struct cluster_mount m;
	struct bdev *bd;
	uint64_t starts_after, stays;
	unsigned int dies_at; /* before its n-th write; 0: never */
	/* From there on nothing of it gets through for so long: once. */
	unsigned int path_lost_at;
	uint64_t path_lost_ns;
	unsigned int writes;
	bool is_inside, is_done, is_followed; /* another one has written */
	unsigned int made; /* directories that it was told it has */
	unsigned int dies_behind; /* that many of its writes have landed; 0: never */
	unsigned int landed;
	int err;
	struct session_result result;
};

struct scene {
	struct cluster *c;
	struct host hosts[HOSTS_MAX];
	unsigned int count;
	struct host *writer;	   /* who last wrote what a repair writes */
	uint64_t fds[VICTIMS];	   /* offsets of what is wrong */
};

static void kill_it(void *arg)
{
	sim_host_kill(arg);
}

/* ---- what may not be ---- */

static void check_write(const struct simdisk_effect *e, void *arg)
{
	struct scene *scene = arg;
	struct host *by = NULL;
	bool is_repair = false;

	for (unsigned int i = 0; i < VICTIMS; i++)
		is_repair |= e->op == BDEV_WRITE && e->offset <= scene->fds[i] &&
			     scene->fds[i] < e->offset + e->len;
	for (unsigned int i = 0; i < scene->count; i++)
		if (scene->hosts[i].sim == e->host)
			by = &scene->hosts[i];
	if (by && e->op == BDEV_WRITE && ++by->landed == by->dies_behind)
		(void)sim_call_at(NULL, sim_time(), kill_it, by->sim);
	if (!is_repair || !by || by->is_inside)
		return;
	for (unsigned int i = 0; i < scene->count; i++)
		if (scene->hosts[i].is_inside)
			sim_fail("%s repairs under the hands of %s",
				 sim_host_name(e->host),
				 sim_host_name(scene->hosts[i].sim));
	if (by->is_followed)
		sim_fail("a write of %s lands behind %s", sim_host_name(e->host),
			 sim_host_name(scene->writer->sim));
	if (scene->writer && scene->writer != by)
		scene->writer->is_followed = true;
	scene->writer = by;
}

/* ---- who comes ---- */

static void live(void *arg)
{
	struct host *h = arg;
	char path[32];

	task_sleep_until(clock_now() + h->starts_after);
	h->err = cluster_mount(h->scene->c, &h->m);
	if (!h->err) {
		h->is_inside = true;
		(void)snprintf(path, sizeof(path), "/%s", sim_host_name(h->sim));
		SIM_CHECK(!vmfs_mkdir(h->m.vol, path, 0755));
		task_sleep_until(clock_now() + h->stays);
		SIM_CHECK(!vmfs_volume_state(h->m.vol));
		h->is_inside = false;
		SIM_CHECK(!cluster_unmount(&h->m));
	}
	h->is_done = true;
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	sim_trace("%s: %s", fsck_problem(problem)->code, text);
}

static bool yes(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	(void)problem;
	(void)text;
	return true;
}

static void path_is_back(void *arg)
{
	simdisk_path_down(arg, false);
}

static int before_write(void *arg)
{
	struct host *h = arg;

	h->writes++;
	task_sleep_until(clock_now() + sim_random(S / 20));
	if (h->writes == h->dies_at)
		sim_host_kill(h->sim);
	if (h->writes == h->path_lost_at) {
		simdisk_path_down(h->bd, true);
		(void)sim_call_at(NULL, sim_time() + h->path_lost_ns, path_is_back,
				  h->bd);
	}
	return 0;
}

static void tell(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	(void)level;
	sim_trace("%s", text);
}

static void repair(void *arg)
{
	struct host *h = arg;
	struct reporter reporter = { .tell = tell };

	task_sleep_until(clock_now() + h->starts_after);
	h->bd = simdisk_attach(h->scene->c->disk, h->sim);
	struct session_options options = {
		.devices = &h->bd,
		.device_count = 1,
		.reporter = &reporter,
		.found = found,
		.may_repair = yes,
		.before_write = before_write,
		.arg = h,
	};
	h->err = session_run(&options, &h->result);
	bdev_close(h->bd);
	h->is_done = true;
}

static struct task *start(struct scene *scene, const char *name, void (*fn)(void *arg),
			  const struct host *how)
{
	struct host *h = &scene->hosts[scene->count++];

	*h = *how;
	h->scene = scene;
	h->m.no_liveness_lock = scene->c->caw != BDEV_CAW_FILE;
	h->sim = sim_host_new(name, (int)sim_random(1000) - 500);
	return sim_host_start(h->sim, name, fn, h);
}

/* ---- the scene ---- */

static void open_scene(struct scene *scene, const enum bdev_caw_class *caw)
{
	*scene = (struct scene){ .c = cluster_new6(*caw, NULL) };
	for (unsigned int i = 0; i < VICTIMS; i++) {
		char path[32];
		vmfs_addr addr;

		(void)snprintf(path, sizeof(path), "/victim%u", i);
		cluster_make_file(scene->c, path, 1u << 20);
		scene->fds[i] = wreck_fd_off(scene->c, path, &addr);
		wreck_le32(scene->c,
			   scene->fds[i] +
				   offsetof(struct vmfs_fd_meta_disk, block_count),
			   77);
	}
	simdisk_on_effect(scene->c->disk, check_write, scene);
}

/* Whatever came before: one more repair ends it, and then it is a sound volume. */
static void close_scene(struct scene *scene)
{
	scene->count = 0;
	task_join(start(scene, "last", repair, &(struct host){ 0 }));
	if (scene->hosts[0].err)
		sim_fail("repaired at last: %d", scene->hosts[0].err);
	task_join(start(scene, "user", live, &(struct host){ .stays = S }));
	SIM_CHECK(!scene->hosts[1].err);
	cluster_check(scene->c, true);
	cluster_free(scene->c);
}

/* ---- one comes while it is repaired ---- */

static void comes_meanwhile(void *arg)
{
	struct host member = { .starts_after = sim_random(S / 2), .stays = 10 * S };
	struct host fsck = { .starts_after = sim_random(S / 50) };
	struct scene scene;

	open_scene(&scene, arg);
	struct task *tm = start(&scene, "member", live, &member);
	struct task *tr = start(&scene, "fsck", repair, &fsck);
	task_join(tm);
	task_join(tr);
	SIM_CHECK(!scene.hosts[0].err || scene.hosts[0].err == -EBUSY);
	SIM_CHECK(!scene.hosts[1].err || scene.hosts[1].err == -EBUSY);
	close_scene(&scene);
}

static void who_comes_meanwhile_sees_it_or_is_seen(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 100, 4, comes_meanwhile);
	cluster_some_seeds(BDEV_CAW_FILE, 200, 3, comes_meanwhile);
}

/* ---- it dies ---- */

static void dies(void *arg)
{
	struct host fsck = { .dies_at = 1 + (unsigned int)sim_random(VICTIMS) };
	struct scene scene;

	open_scene(&scene, arg);
	task_join(start(&scene, "fsck", repair, &fsck));
	SIM_CHECK(!scene.hosts[0].is_done);
	task_join(start(&scene, "member", live, &(struct host){ .stays = S }));
	SIM_CHECK(scene.hosts[1].err == -EBUSY);
	close_scene(&scene);
}

static void what_a_dead_one_left_is_not_mounted(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 300, 2, dies);
	cluster_some_seeds(BDEV_CAW_FILE, 400, 2, dies);
}

/* ---- two repair ---- */

static void two_repair(void *arg)
{
	struct host late = { .starts_after =
				     sim_random(sim_random(2) ? S / 5 : S / 500) };
	struct scene scene;

	open_scene(&scene, arg);
	struct task *one = start(&scene, "one", repair, &(struct host){ 0 });
	struct task *other = start(&scene, "other", repair, &late);
	task_join(one);
	task_join(other);
	for (unsigned int i = 0; i < 2; i++)
		SIM_CHECK(!scene.hosts[i].err || scene.hosts[i].err == -EBUSY);
	SIM_CHECK(!scene.hosts[0].err || !scene.hosts[1].err);
	close_scene(&scene);
}

static void of_two_one_repairs(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 500, 4, two_repair);
	cluster_some_seeds(BDEV_CAW_FILE, 600, 2, two_repair);
	/* The other takes it while the compare-and-write is tried. */
	cluster_some_seeds(BDEV_CAW_ATS, 50022, 1, two_repair);
}

/* ---- its path is lost, and back when another has followed ---- */

/* As on iSCSI: what has no deadline is sent until the path is back. */
static void never_give_up(struct simdisk *disk)
{
	struct simdisk_behaviour how = simdisk_polite();

	how.timeout_ns = 200 * S;
	simdisk_behave(disk, &how);
}

static void comes_back(void *arg)
{
	struct host fsck = { .path_lost_at = 1 + (unsigned int)sim_random(VICTIMS),
			     .path_lost_ns = 2 * S + sim_random(60 * S) };
	struct host next = { .starts_after = S };
	struct scene scene;

	open_scene(&scene, arg);
	never_give_up(scene.c->disk);
	struct task *tr = start(&scene, "fsck", repair, &fsck);
	struct task *tn = start(&scene, "next", repair, &next);
	task_join(tr);
	task_join(tn);
	SIM_CHECK(!scene.hosts[1].err || scene.hosts[1].err == -EBUSY);
	close_scene(&scene);
}

static void nothing_lands_behind_who_followed(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 700, 6, comes_back);
}

/* ---- nobody can mount it, and a host is on it, or died on it ---- */

/* Makes one directory after the other until it is killed, or for as long as it stays. */
static void work(void *arg)
{
	struct host *h = arg;
	uint64_t until = clock_now() + h->stays;

	h->err = cluster_mount(h->scene->c, &h->m);
	h->is_inside = !h->err;
	while (!h->err && clock_now() < until) {
		char path[32];

		(void)snprintf(path, sizeof(path), "/d%u", h->made);
		h->err = vmfs_mkdir(h->m.vol, path, 0755);
		h->made += !h->err;
		task_sleep_until(clock_now() + sim_random(S / 5));
	}
	SIM_CHECK(!h->err);
	h->is_inside = false;
	SIM_CHECK(!cluster_unmount(&h->m));
	h->is_done = true;
}

/* What it was told it has made is there. */
static void look_for_all(void *arg)
{
	struct host *h = arg;
	struct vmfs_stat st;

	SIM_CHECK(!cluster_mount(h->scene->c, &h->m));
	for (unsigned int i = 0; i < h->scene->hosts[0].made; i++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "/d%u", i);
		int err = vmfs_stat(h->m.vol, path, &st);
		if (err)
			sim_fail("%s: %d, of %u", path, err, h->scene->hosts[0].made);
	}
	SIM_CHECK(!cluster_unmount(&h->m));
}

/* The FS descriptor is gone: its magic number, or all of it, with the UUID. */
static void behead(struct scene *scene)
{
	uint64_t off = LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF;
	uint32_t size = sim_random(2) ? sizeof(uint32_t) : VMFS_SECTOR_SIZE;

	for (uint32_t at = 0; at < size; at += sizeof(uint32_t))
		wreck_le32(scene->c, off + at, 0);
}

/* Not by the first run: without a header there is no journal to be found. */
static void is_dead(void *arg)
{
	struct host worker = { .stays = 60 * S,
			       .dies_behind = 300 + (unsigned int)sim_random(200) };
	struct scene scene;

	open_scene(&scene, arg);
	(void)start(&scene, "worker", work, &worker);
	task_sleep_until(clock_now() + 50 * S);
	SIM_CHECK(scene.hosts[0].landed >= worker.dies_behind && scene.hosts[0].made);
	behead(&scene);
	task_join(start(&scene, "user", live, &(struct host){ 0 }));
	SIM_CHECK(scene.hosts[1].err);
	scene.hosts[0].is_inside = false;
	task_join(start(&scene, "first", repair, &(struct host){ 0 }));
	SIM_CHECK(!scene.hosts[2].err && scene.hosts[2].result.is_changed);
	SIM_CHECK(!scene.hosts[2].result.is_recovered);
	scene.count = 1;
	task_join(start(&scene, "second", repair, &(struct host){ 0 }));
	SIM_CHECK(!scene.hosts[1].err && scene.hosts[1].result.is_recovered);
	task_join(start(&scene, "heir", look_for_all, &(struct host){ 0 }));
	close_scene(&scene);
}

static void a_dead_ones_journal_outlives_a_lost_header(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 800, 3, is_dead);
}

static void is_alive(void *arg)
{
	struct host worker = { .stays = 25 * S };
	struct scene scene;

	open_scene(&scene, arg);
	struct task *tw = start(&scene, "worker", work, &worker);
	task_sleep_until(clock_now() + 10 * S);
	SIM_CHECK(scene.hosts[0].is_inside);
	behead(&scene);
	task_join(start(&scene, "fsck", repair, &(struct host){ 0 }));
	SIM_CHECK(scene.hosts[1].err == -EBUSY && !scene.hosts[1].result.is_changed);
	task_join(tw);
	task_join(start(&scene, "heir", repair, &(struct host){ 0 }));
	SIM_CHECK(!scene.hosts[2].err);
	scene.count = 1;
	task_join(start(&scene, "user", look_for_all, &(struct host){ 0 }));
	close_scene(&scene);
}

static void who_lives_on_a_volume_without_header_is_seen(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 900, 2, is_alive);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_meanwhile_sees_it_or_is_seen),
		cmocka_unit_test(what_a_dead_one_left_is_not_mounted),
		cmocka_unit_test(of_two_one_repairs),
		cmocka_unit_test(nothing_lands_behind_who_followed),
		cmocka_unit_test(a_dead_ones_journal_outlives_a_lost_header),
		cmocka_unit_test(who_lives_on_a_volume_without_header_is_seen),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
