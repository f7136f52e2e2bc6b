/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host broken by an operator (vmfs_break_host): a victim that holds a file and changes
 * metadata without pause dies, or does not; another host breaks it. What the operator is
 * shown, how long it takes, and that nothing of a living host is ever broken.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"

#define S NS_PER_S
#define T_DEAD (24 * S)
#define T_TGT (6 * S)

struct scene {
	struct cluster *c;
	struct sim_host *victim;
	uint32_t slot;		 /* the victim's */
	bool is_up;		 /* the victim holds its file */
	bool is_over;		 /* the victim may stop */
	unsigned int made;	 /* directories that it was told it has */
	int victim_err;
	/* The breaker's part. */
	bool is_stated;
	unsigned int cancel_after; /* looks; 0: never */
	unsigned int told[4];	 /* by phase */
	uint64_t watched, needed; /* as told with VMFS_BREAK_DEAD */
	uint64_t took;
	int err;
	bool is_broken;		 /* the breaker came to the end of it */
	bool has_died;		 /* a breaker, with locks of its own */
};

static void live(void *arg)
{
	struct scene *s = arg;
	struct cluster_mount m = { .no_liveness_lock = true };
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	struct uuid owner;

	SIM_CHECK(!cluster_mount(s->c, &m));
	SIM_CHECK(!vmfs_volume_identity(m.vol, &owner, &s->slot));
	SIM_CHECK(!vmfs_file_open(m.vol, "/held", &options, &file, NULL));
	s->is_up = true;
	while (!s->is_over && !s->victim_err) {
		char path[32];

		snprintf(path, sizeof(path), "/d%u", s->made);
		s->victim_err = vmfs_mkdir(m.vol, path, 0755);
		s->made += !s->victim_err;
		task_sleep_until(clock_now() + sim_random(S));
	}
	int err = vmfs_file_close(file);
	s->victim_err = s->victim_err ? s->victim_err : err;
	err = cluster_unmount(&m);
	s->victim_err = s->victim_err ? s->victim_err : err;
}

static bool tell(void *arg, const struct vmfs_break_seen *seen)
{
	struct scene *s = arg;

	SIM_CHECK(seen->host.slot == s->slot);
	s->told[seen->phase]++;
	if (seen->phase == VMFS_BREAK_DEAD) {
		s->watched = seen->watched_ns;
		s->needed = seen->need_ns;
	}
	return !s->cancel_after || s->told[VMFS_BREAK_WATCHING] < s->cancel_after;
}

static void check_all_there(struct scene *s, struct vmfs_volume *vol)
{
	/* Its locks are stale: not even a look at the clock. */
	struct vmfs_file_options options = {
		.flags = VMFS_WRITE,
		.deadline = s->has_died ? clock_now() + 60 * S : 0,
	};
	struct vmfs_file *file;
	struct vmfs_stat st;

	SIM_CHECK(!vmfs_file_open(vol, "/held", &options, &file, NULL));
	SIM_CHECK(!vmfs_file_close(file));
	for (unsigned int i = 0; i < s->made; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/d%u", i);
		int err = vmfs_stat(vol, path, &st);
		if (err)
			sim_fail("%s was acknowledged: %d", path, err);
	}
}

static void do_break(void *arg)
{
	struct scene *s = arg;
	struct cluster_mount m = { .no_liveness_lock = true };
	const struct vmfs_break_options options = {
		.is_stated = s->is_stated, .tell = tell, .arg = s
	};
	struct simdisk_behaviour polite = simdisk_polite();
	struct uuid owner;
	uint32_t slot;

	if (cluster_mount(s->c, &m)) {
		s->err = -ESTALE; /* a rude disk */
		return;
	}
	uint64_t from = clock_now();
	if (s->is_stated)
		oracle_statement(s->c->oracle);
	SIM_CHECK(!vmfs_volume_identity(m.vol, &owner, &slot));
	/* It may have been free already, and have become ours. */
	s->err = slot == s->slot ? 0 : vmfs_break_host(m.vol, s->slot, &options);
	s->took = clock_now() - from;
	simdisk_behave(s->c->disk, &polite);
	if (!s->err)
		check_all_there(s, m.vol);
	s->is_broken = !s->err;
	int err = cluster_unmount(&m);
	SIM_CHECK(!err || m.is_lost);
}

/* A victim that works for a while. */
static struct task *start_victim(struct scene *s, enum bdev_caw_class caw)
{
	*s = (struct scene){ .c = cluster_new(caw) };
	s->victim = sim_host_new("victim", (int)sim_random(2000) - 1000);
	struct task *t = sim_host_start(s->victim, "live", live, s);
	while (!s->is_up)
		task_sleep_until(clock_now() + S / 10);
	task_sleep_until(clock_now() + sim_random(5 * S));
	return t;
}

static void end(struct scene *s, bool may_leak)
{
	struct simdisk_behaviour polite = simdisk_polite();

	simdisk_behave(s->c->disk, &polite);
	cluster_check(s->c, may_leak);
	cluster_free(s->c);
}

/* ---- dead ---- */

struct plan {
	enum bdev_caw_class caw;
	bool is_stated, is_rude;
};

static void break_dead(void *arg)
{
	const struct plan *plan = arg;
	struct simdisk_behaviour rude = simdisk_rude(plan->caw);
	struct scene s;
	struct task *t = start_victim(&s, plan->caw);

	if (plan->is_rude) {
		oracle_rude(s.c->oracle, true);
		simdisk_behave(s.c->disk, &rude);
		task_sleep_until(clock_now() + 2 * S + sim_random(5 * S));
	}
	sim_host_kill(s.victim);
	task_join(t);
	s.is_stated = plan->is_stated;
	SIM_CHECK(sim_host_run(sim_host_new("breaker", 0), "break", do_break, &s));
	if (s.err == -ESTALE) { /* the rude disk cost it its own heartbeat */
		SIM_CHECK(plan->is_rude);
		(void)memset(s.told, 0, sizeof(s.told));
		s.has_died = true;
		SIM_CHECK(sim_host_run(sim_host_new("next", 0), "break", do_break, &s));
	}
	SIM_CHECK(s.err == 0 && s.is_broken);
	/* A first look that takes long is all of it. */
	SIM_CHECK(s.told[VMFS_BREAK_WATCHING] >= 2 || plan->is_rude);
	SIM_CHECK(s.told[VMFS_BREAK_DEAD] >= 1 && s.told[VMFS_BREAK_DONE] == 1);
	SIM_CHECK(s.told[VMFS_BREAK_ALIVE] == 0);
	SIM_CHECK(s.needed == (plan->is_stated ? T_TGT : T_DEAD));
	SIM_CHECK(s.watched >= s.needed && s.took >= s.needed);
	if (!plan->is_rude)
		SIM_CHECK(s.took <= s.needed + 5 * S);
	end(&s, true);
}

/* It says how long it has watched, and that is the whole time. */
static void dead_host_is_broken_after_the_whole_time(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, false, false };

	(void)state;
	sim_some_seeds(1, 30, break_dead, &plan);
}

static void dead_host_is_broken_at_once_on_a_statement(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, true, false };

	(void)state;
	sim_some_seeds(100, 30, break_dead, &plan);
}

/* Commands that the target had accepted take effect up to T_tgt later: never behind the
 * replay (I4 in the oracle), although nobody waited for T_dead. */
static void a_statement_waits_for_what_the_target_accepted(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, true, true };

	(void)state;
	sim_some_seeds(200, 60, break_dead, &plan);
}

static void host_on_a_file_without_liveness_lock_is_broken(void **state)
{
	struct plan plan = { BDEV_CAW_FILE, false, false };

	(void)state;
	sim_some_seeds(300, 10, break_dead, &plan);
}

/* ---- alive ---- */

static void break_living(void *arg)
{
	const struct plan *plan = arg;
	struct scene s;
	struct task *t = start_victim(&s, plan->caw);

	s.is_stated = plan->is_stated;
	SIM_CHECK(sim_host_run(sim_host_new("breaker", 0), "break", do_break, &s));
	SIM_CHECK(s.err == -EBUSY);
	SIM_CHECK(s.told[VMFS_BREAK_ALIVE] == 1 && s.told[VMFS_BREAK_DONE] == 0);
	SIM_CHECK(s.told[VMFS_BREAK_DEAD] == 0);
	SIM_CHECK(s.took <= 9 * S);
	unsigned int made = s.made;
	task_sleep_until(clock_now() + 10 * S);
	s.is_over = true;
	task_join(t);
	SIM_CHECK(s.victim_err == 0 && s.made > made);
	end(&s, false);
}

static void living_host_is_refused(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, false, false };

	(void)state;
	sim_some_seeds(400, 20, break_living, &plan);
}

/* The operator is wrong: two heartbeats are enough to say so. */
static void false_statement_is_refused(void **state)
{
	struct plan plan = { BDEV_CAW_ATS, true, false };

	(void)state;
	sim_some_seeds(500, 20, break_living, &plan);
}

/* ---- the breaker stops ---- */

static void cancelled(void *arg)
{
	struct scene s;
	struct task *t = start_victim(&s, BDEV_CAW_ATS);

	(void)arg;
	sim_host_kill(s.victim);
	task_join(t);
	s.cancel_after = 3;
	SIM_CHECK(sim_host_run(sim_host_new("breaker", 0), "break", do_break, &s));
	SIM_CHECK(s.err == -ECANCELED && s.took < T_DEAD / 2);
	SIM_CHECK(s.told[VMFS_BREAK_DONE] == 0);
	/* Nothing was touched: another finds all of it to do. */
	s.cancel_after = 0;
	SIM_CHECK(sim_host_run(sim_host_new("next", 0), "break", do_break, &s));
	SIM_CHECK(s.err == 0);
	end(&s, true);
}

static void operator_may_leave_it(void **state)
{
	(void)state;
	sim_some_seeds(600, 10, cancelled, NULL);
}

/* The breaker dies at any moment of it: the next one breaks it too, and then the victim.
 */
static void breaker_dies(void *arg)
{
	struct scene s;
	struct task *t = start_victim(&s, BDEV_CAW_ATS);

	(void)arg;
	sim_host_kill(s.victim);
	task_join(t);
	s.is_stated = true;
	struct sim_host *first = sim_host_new("first", 0);
	t = sim_host_start(first, "break", do_break, &s);
	while (!s.told[VMFS_BREAK_DEAD])
		task_sleep_until(clock_now() + NS_PER_MS);
	task_sleep_until(clock_now() + sim_random(60 * NS_PER_MS));
	sim_host_kill(first);
	task_join(t);
	if (!s.is_broken) {
		s.is_stated = false;
		s.has_died = true;
		s.told[VMFS_BREAK_DEAD] = 0;
		SIM_CHECK(sim_host_run(sim_host_new("next", 0), "break", do_break, &s));
		SIM_CHECK(s.err == 0);
	}
	end(&s, true);
}

static void breaking_survives_the_breaker(void **state)
{
	(void)state;
	sim_some_seeds(700, 60, breaker_dies, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dead_host_is_broken_after_the_whole_time),
		cmocka_unit_test(dead_host_is_broken_at_once_on_a_statement),
		cmocka_unit_test(a_statement_waits_for_what_the_target_accepted),
		cmocka_unit_test(host_on_a_file_without_liveness_lock_is_broken),
		cmocka_unit_test(living_host_is_refused),
		cmocka_unit_test(false_statement_is_refused),
		cmocka_unit_test(operator_may_leave_it),
		cmocka_unit_test(breaking_survives_the_breaker),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
