/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may not join. Two hosts with one machine UUID: the second is refused and told; a
 * host that comes back after its own crash is not; of two that start at once one stays. A
 * host of another lease profile than one that lives is refused. And hosts that drew one
 * owner UUID, which is a chance of nothing: locks and claims name a slot and its
 * generation too, so none is mistaken for the other.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "tests/sim/recovery.h"

#define S NS_PER_S

struct host {
	struct cluster *c;
	struct sim_host *sim;
	struct cluster_mount m;
	bool has_machine, buries, is_asked_to_leave, is_done;
	bool has_buried;
	uint64_t starts_after, took;
	int err;
	char told[512];
};

static void note(struct reporter *r, enum report_level level, const char *text)
{
	struct host *h = (struct host *)(void *)((char *)r -
			 offsetof(struct host, m.reporter));

	if (level == REPORT_ERROR)
		(void)snprintf(h->told, sizeof(h->told), "%s", text);
}

/* Mounts, changes something, stays until it is asked to leave. */
static void live(void *arg)
{
	struct host *h = arg;

	task_sleep_until(clock_now() + h->starts_after);
	if (h->has_machine)
		memset(h->m.machine.b, 0x5a, sizeof(h->m.machine.b));
	uint64_t from = clock_now();
	h->m.reporter.tell = note;
	h->err = cluster_mount(h->c, &h->m);
	h->took = clock_now() - from;
	h->is_done = true;
	if (h->err)
		return;
	char path[32];
	(void)snprintf(path, sizeof(path), "/%s", sim_host_name(h->sim));
	SIM_CHECK(!vmfs_mkdir(h->m.vol, path, 0755));
	if (h->buries)
		cluster_bury(&h->m);
	h->has_buried = true;
	while (!h->is_asked_to_leave)
		task_sleep_until(clock_now() + S / 10);
	SIM_CHECK(!vmfs_volume_state(h->m.vol));
	SIM_CHECK(!cluster_unmount(&h->m));
}

static struct task *start(struct host *h, struct cluster *c, const char *name)
{
	h->c = c;
	h->m.no_liveness_lock = c->caw != BDEV_CAW_FILE;
	h->sim = sim_host_new(name, (int)sim_random(1000) - 500);
	return sim_host_start(h->sim, name, live, h);
}

static void wait_for(const struct host *h)
{
	while (!h->is_done)
		task_sleep_until(clock_now() + S / 100);
}

static void second_comes(void *arg)
{
	const enum bdev_caw_class *caw = arg;
	struct cluster *c = cluster_new(*caw);
	struct host a = { .has_machine = true }, b = { .has_machine = true },
		    tool = { 0 };
	struct task *ta = start(&a, c, "first"), *tt = start(&tool, c, "tool");

	wait_for(&a);
	wait_for(&tool);
	SIM_CHECK(!a.err && a.took < S && !tool.err);
	task_sleep_until(clock_now() + sim_random(10 * S));
	struct task *tb = start(&b, c, "second");
	task_join(tb);
	SIM_CHECK(b.err == -ENOTUNIQ && b.took <= 5 * S);
	SIM_CHECK(strstr(b.told, "host first in slot") &&
		  strstr(b.told, "same host UUID"));
	/* The first one has not noticed, and when it has gone the second may come. */
	task_sleep_until(clock_now() + 30 * S);
	cluster_check_hosts(c);
	a.is_asked_to_leave = true;
	task_join(ta);
	b.is_done = false;
	tb = start(&b, c, "second again");
	wait_for(&b);
	SIM_CHECK(!b.err && b.took < S);
	b.is_asked_to_leave = tool.is_asked_to_leave = true;
	task_join(tb);
	task_join(tt);
	cluster_check(c, true);
	cluster_free(c);
}

static void second_host_of_one_uuid_is_refused(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 1, 20, second_comes);
}

static void second_process_on_a_file_is_refused(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_FILE, 50, 10, second_comes);
}

/* What its own crash left stands still: it comes back at once, or nearly. */
static void comes_back(void *arg)
{
	const enum bdev_caw_class *caw = arg;
	struct cluster *c = cluster_new(*caw);
	struct host before = { .has_machine = true }, twin = { .has_machine = true };
	struct host after = { .has_machine = true, .buries = true };
	struct task *t = start(&before, c, "before");

	wait_for(&before);
	task_sleep_until(clock_now() + sim_random(10 * S));
	sim_host_kill(before.sim);
	task_join(t);
	task_sleep_until(clock_now() + S);
	t = start(&after, c, "after");
	wait_for(&after);
	SIM_CHECK(!after.err);
	SIM_CHECK(after.took <= (*caw == BDEV_CAW_FILE ? S : 5 * S));
	/* It has a later slot than its old one, which a twin finds free. */
	while (!after.has_buried)
		task_sleep_until(clock_now() + S);
	struct task *tb = start(&twin, c, "twin");
	task_join(tb);
	SIM_CHECK(twin.err == -ENOTUNIQ);
	after.is_asked_to_leave = true;
	task_join(t);
	cluster_check(c, true);
	cluster_free(c);
}

static void a_host_comes_back_after_its_own_crash(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 100, 20, comes_back);
	cluster_some_seeds(BDEV_CAW_FILE, 150, 10, comes_back);
}

static void both_start(void *arg)
{
	const enum bdev_caw_class *caw = arg;
	struct cluster *c = cluster_new(*caw);
	struct host a = { .has_machine = true }, b = { .has_machine = true };

	b.starts_after = sim_random(3) ? sim_random(S / 20) : sim_random(5 * S);
	struct task *ta = start(&a, c, "one"), *tb = start(&b, c, "other");
	wait_for(&a);
	wait_for(&b);
	if (!a.err == !b.err)
		sim_fail("of two twins: %d, %d", a.err, b.err);
	SIM_CHECK(!a.err || a.err == -ENOTUNIQ);
	SIM_CHECK(!b.err || b.err == -ENOTUNIQ);
	a.is_asked_to_leave = b.is_asked_to_leave = true;
	task_join(ta);
	task_join(tb);
	cluster_check(c, true);
	cluster_free(c);
}

static void of_two_that_start_at_once_one_stays(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 200, 100, both_start);
	cluster_some_seeds(BDEV_CAW_FILE, 300, 50, both_start);
}

/* ---- another profile ---- */

/* A fast one beside slow ones would be missed later than it thinks, and the reverse. */
static void another_profile_comes(void *arg)
{
	const enum vmfs_lease_profile *first = arg;
	struct cluster *c = cluster_new(BDEV_CAW_ATS);
	struct host a = { .m.profile = *first }, b = { .starts_after = 0 };
	struct host follows = { .m.profile = VMFS_LEASE_FOLLOW };

	b.m.profile = *first == VMFS_LEASE_FAST ? VMFS_LEASE_NORMAL : VMFS_LEASE_FAST;
	struct task *ta = start(&a, c, "first");
	wait_for(&a);
	SIM_CHECK(!a.err);
	task_sleep_until(clock_now() + sim_random(10 * S));
	task_join(start(&b, c, "second"));
	SIM_CHECK(b.err == -EBUSY && strstr(b.told, "use the same lease profile"));
	struct task *tf = start(&follows, c, "tool");
	wait_for(&follows);
	SIM_CHECK(!follows.err);
	follows.is_asked_to_leave = a.is_asked_to_leave = true;
	task_join(ta);
	task_join(tf);
	/* Nobody is there any more. */
	b.is_done = false;
	struct task *tb = start(&b, c, "second again");
	wait_for(&b);
	SIM_CHECK(!b.err);
	b.is_asked_to_leave = true;
	task_join(tb);
	cluster_check(c, true);
	cluster_free(c);
}

static void another_profile_is_refused(void **state)
{
	static enum vmfs_lease_profile slow = VMFS_LEASE_NORMAL, fast = VMFS_LEASE_FAST;

	(void)state;
	sim_some_seeds(500, 5, another_profile_comes, &slow);
	sim_some_seeds(510, 5, another_profile_comes, &fast);
}

/* ---- one owner UUID ---- */

static bool is_one_owner;

struct uuid __real_uuid_new(void);
struct uuid __wrap_uuid_new(void);
struct uuid __wrap_uuid_new(void)
{
	return is_one_owner ? (struct uuid){ .b = { 0x77 } } : __real_uuid_new();
}

struct same_name {
	struct cluster c; /* a disk, no oracle: it knows incarnations by their owners */
	struct sim_host *first;
	unsigned int mounted, counted, busy;
	bool is_held;
};

static struct vmfs_file *open_counter(struct vmfs_volume *vol, uint64_t patience_ns,
				      int *ret_err)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0600,
					     .deadline = clock_now() + patience_ns };
	struct vmfs_file *file = NULL;

	*ret_err = vmfs_file_open(vol, "/counter", &options, &file, NULL);
	return file;
}

/* One more in the file; those that are inside at once would lose one. */
static void count_one(struct same_name *s, struct vmfs_file *file)
{
	uint8_t count = 0;
	int64_t got = vmfs_file_read(file, &count, 1, 0);

	SIM_CHECK(got >= 0 && count == s->counted);
	task_sleep_until(clock_now() + S / 10);
	count++;
	SIM_CHECK(!vmfs_file_write(file, &count, 1, 0));
	s->counted++;
}

/* All three are there before anything else happens. */
static void mount_as(struct same_name *s, uint8_t machine, struct cluster_mount *m)
{
	*m = (struct cluster_mount){ .machine = { .b = { machine } },
				     .no_liveness_lock = true };
	SIM_CHECK(!cluster_mount(&s->c, m));
	s->mounted++;
	while (s->mounted < 3)
		task_sleep_until(clock_now() + S / 10);
}

static void hold_and_die(void *arg)
{
	struct same_name *s = arg;
	struct cluster_mount m;
	int err;

	mount_as(s, 1, &m);
	struct vmfs_file *file = open_counter(m.vol, 0, &err);
	SIM_CHECK(!err);
	count_one(s, file);
	SIM_CHECK(!vmfs_file_sync(file));
	s->is_held = true;
	task_sleep_until(NO_DEADLINE);
}

static void wait_and_count(void *arg)
{
	static uint8_t machine = 1;
	struct same_name *s = arg;
	struct cluster_mount m;
	int err;

	mount_as(s, ++machine, &m);
	while (!s->is_held)
		task_sleep_until(clock_now() + S / 10);
	SIM_CHECK(!open_counter(m.vol, 0, &err) && err == -EBUSY);
	s->busy++;
	/* The first dies now; both want what it had, and take it over. */
	struct vmfs_file *file = open_counter(m.vol, 120 * S, &err);
	SIM_CHECK(!err);
	count_one(s, file);
	SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!cluster_unmount(&m));
}

static void same_names(void *arg)
{
	const enum bdev_caw_class *caw = arg;
	struct cluster *made = cluster_new(*caw);
	struct same_name s = { .c = { .caw = *caw } };

	s.c.disk = recovery_disk(simdisk_image(made->disk), *caw);
	cluster_free(made);
	is_one_owner = true;
	s.first = sim_host_new("first", 0);
	struct task *tasks[] = {
		sim_host_start(s.first, "hold", hold_and_die, &s),
		sim_host_start(sim_host_new("second", 100), "wait", wait_and_count, &s),
		sim_host_start(sim_host_new("third", -100), "wait", wait_and_count, &s),
	};
	while (s.busy < 2)
		task_sleep_until(clock_now() + S / 10);
	sim_host_kill(s.first);
	for (unsigned int i = 0; i < 3; i++)
		task_join(tasks[i]);
	is_one_owner = false;
	SIM_CHECK(s.counted == 3);
	cluster_check(&s.c, true);
	simdisk_free(s.c.disk);
}

static void hosts_of_one_owner_uuid_are_told_apart(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 400, 10, same_names);
	cluster_some_seeds(BDEV_CAW_FILE, 450, 5, same_names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(second_host_of_one_uuid_is_refused),
		cmocka_unit_test(second_process_on_a_file_is_refused),
		cmocka_unit_test(a_host_comes_back_after_its_own_crash),
		cmocka_unit_test(of_two_that_start_at_once_one_stays),
		cmocka_unit_test(another_profile_is_refused),
		cmocka_unit_test(hosts_of_one_owner_uuid_are_told_apart),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
