/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock handed from one host to another (LOCKING.md 13). Host a has a file and counts in
 * it; b expects it; c would take it whenever it can. Commands and answers are lost, a or
 * b dies or stands still at any moment of it. At all times exactly one of them has the
 * file: the oracle (oracle.h) sees every write of its data, the counter tells what
 * each was told it may do.
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
#define FILE_SIZE 4096u
#define COUNTS_MAX 4096u
#define PATH "/vm.vmdk"

enum told {
	NOTHING,
	GIVEN, /* a was told that b has it */
	KEPT,  /* a was told that it is its own */
	LOST,  /* a was told that its mount is over */
};

enum trouble { NONE, KILL_A, KILL_B, PAUSE_A, PAUSE_B };

struct plan {
	enum bdev_caw_class caw;
	enum trouble trouble;
	bool is_rude;
	bool has_pr; /* who sleeps without a guard is fenced by its key */
	bool has_bystander;
	bool b_changes_its_mind;
};

struct story {
	const struct plan *plan;
	struct cluster *c;
	struct vmfs_incarnation b;
	bool b_expects, b_is_done, is_handing_over, is_quiet;
	enum told told;
	int b_err;		 /* of opening what it was given */
	uint64_t acknowledged, attempted;
	bool is_made[COUNTS_MAX]; /* somebody was told that he made it so much */
	unsigned int given, kept; /* hand-overs that ended so */
};

/* ---- the counter ---- */

static int count_one(struct story *s, struct cluster_mount *m, struct vmfs_file *file)
{
	char text[512] = "";
	int64_t got = vmfs_file_read(file, text, sizeof(text), 0);

	if (got < 0)
		return (int)got;
	uint64_t n = strtoull(text, NULL, 10);
	if (!vmfs_volume_state(m->vol) && n < s->acknowledged)
		sim_fail("counter reads %llu, %llu were acknowledged",
			 (unsigned long long)n, (unsigned long long)s->acknowledged);
	(void)memset(text, 0, sizeof(text));
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)n + 1);
	s->attempted++;
	int err = vmfs_file_write(file, text, sizeof(text), 0);
	if (!err)
		err = vmfs_file_sync(file);
	if (err)
		return err;
	SIM_CHECK(n + 1 < COUNTS_MAX);
	if (s->is_made[n + 1])
		sim_fail("two hosts made the counter %llu", (unsigned long long)n + 1);
	s->is_made[n + 1] = true;
	/* Who has slept hears late of what others have counted on from. */
	if (n + 1 > s->acknowledged)
		s->acknowledged = n + 1;
	return 0;
}

static int open_it(struct cluster_mount *m, uint64_t patience, struct vmfs_file **ret)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .deadline = clock_now() + patience };

	return vmfs_file_open(m->vol, PATH, &options, ret, NULL);
}

/* ---- a ---- */

static int hand_over(struct story *s, struct cluster_mount *m, struct vmfs_file *file)
{
	int err = -ECANCELED;

	s->is_handing_over = true;
	for (int tries = 0; err == -ECANCELED && tries < 3; tries++) {
		err = count_one(s, m, file);
		if (!err)
			err = vmfs_file_hand_over(file, &s->b,
						  clock_now() + sim_random(8 * S));
		s->kept += err == -ECANCELED;
	}
	return err;
}

static void live_a(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .no_liveness_lock = true };
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(s->c, &m));
	SIM_CHECK(!open_it(&m, 10 * S, &file));
	while (!s->b_expects)
		task_sleep_until(clock_now() + S / 10);
	int err = hand_over(s, &m, file);
	if (!err) {
		s->given++;
		SIM_CHECK(vmfs_file_write(file, "a", 1, 0) == -EBADF);
	} else if (err == -ECANCELED || err == -ESRCH) {
		err = count_one(s, &m, file); /* ours, as it was said */
		s->kept++;
		if (err && !vmfs_volume_state(m.vol))
			sim_fail("the lock was taken back, and then: %d", err);
	} else if (!vmfs_volume_state(m.vol)) {
		sim_fail("hand-over: %d", err);
	}
	int close_err = vmfs_file_close(file);
	/*
	 * Only a file that is closed is "kept": b may try its luck with the others then.
	 */
	s->told = m.is_lost || (err && close_err) ? LOST : s->given ? GIVEN : KEPT;
	while (!s->is_quiet)
		task_sleep_until(clock_now() + S);
	err = cluster_unmount(&m);
	SIM_CHECK(!err || m.is_lost);
}

/* ---- b ---- */

static void live_b(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .no_liveness_lock = true };
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(s->c, &m));
	int err = vmfs_file_expect(m.vol, PATH);
	SIM_CHECK(!err || vmfs_volume_state(m.vol));
	SIM_CHECK(!vmfs_volume_incarnation(m.vol, &s->b));
	s->b_expects = true;
	/* Whoever manages both waits for a's word, but not for ever. */
	for (int i = 0; i < 60 && s->told == NOTHING; i++)
		task_sleep_until(clock_now() + S);
	s->b_err = open_it(&m, 60 * S, &file);
	if (!s->b_err) {
		s->b_err = count_one(s, &m, file);
		int close_err = vmfs_file_close(file);
		s->b_err = s->b_err ? s->b_err : close_err;
	} else {
		(void)!vmfs_file_unexpect(m.vol, PATH);
	}
	if (s->told == GIVEN && s->b_err && !vmfs_volume_state(m.vol))
		sim_fail("b was given the file and could not use it: %d", s->b_err);
	s->b_is_done = true;
	while (!s->is_quiet)
		task_sleep_until(clock_now() + S);
	err = cluster_unmount(&m);
	SIM_CHECK(!err || m.is_lost);
}

/* It was promised, and is not wanted any more when it comes: given back (R2). */
static void change_mind(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .no_liveness_lock = true };
	struct vmfs_lock_info info;

	SIM_CHECK(!cluster_mount(s->c, &m));
	SIM_CHECK(!vmfs_file_expect(m.vol, PATH));
	SIM_CHECK(!vmfs_volume_incarnation(m.vol, &s->b));
	SIM_CHECK(!vmfs_file_unexpect(m.vol, PATH));
	s->b_expects = true;
	while (!s->is_quiet)
		task_sleep_until(clock_now() + S);
	SIM_CHECK(s->told == GIVEN && !vmfs_volume_state(m.vol));
	SIM_CHECK(!vmfs_lock_info(m.vol, PATH, &info));
	SIM_CHECK(info.mode == LOCK_FREE);
	SIM_CHECK(!cluster_unmount(&m));
}

/* ---- c ---- */

static void live_c(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .no_liveness_lock = true };

	if (cluster_mount(s->c, &m)) {
		SIM_CHECK(s->plan->is_rude);
		return;
	}
	while (!s->is_quiet && !vmfs_volume_state(m.vol)) {
		struct vmfs_file *file;
		int err = open_it(&m, sim_random(5 * S), &file);

		if (!err) {
			err = count_one(s, &m, file);
			int close_err = vmfs_file_close(file);
			err = err ? err : close_err;
		}
		if (err && err != -EBUSY && !vmfs_volume_state(m.vol))
			sim_fail("bystander: %d", err);
		task_sleep_until(clock_now() + sim_random(3 * S));
	}
	int err = cluster_unmount(&m);
	SIM_CHECK(!err || m.is_lost);
}

/* ---- the world ---- */

static void inspect(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .no_liveness_lock = true };
	struct vmfs_file *file;
	char text[512] = "";

	SIM_CHECK(!cluster_mount(s->c, &m));
	SIM_CHECK(!open_it(&m, 120 * S, &file));
	SIM_CHECK(vmfs_file_read(file, text, sizeof(text), 0) == sizeof(text));
	uint64_t n = strtoull(text, NULL, 10);
	if (n < s->acknowledged || n > s->attempted)
		sim_fail("counter is %llu: %llu acknowledged, %llu attempted",
			 (unsigned long long)n, (unsigned long long)s->acknowledged,
			 (unsigned long long)s->attempted);
	SIM_CHECK(!vmfs_file_close(file));
	cluster_bury(&m);
	SIM_CHECK(!cluster_unmount(&m));
}

static void make_trouble(const struct story *s, struct sim_host *a, struct sim_host *b)
{
	const struct plan *plan = s->plan;
	struct sim_host *victim = plan->trouble == KILL_A || plan->trouble == PAUSE_A ? a
										      : b;

	/* Two cas, a flush and a few reads; on a rude disk each may take seconds. */
	task_sleep_until(clock_now() + sim_random(plan->is_rude ? 4 * S : S / 50));
	if (plan->trouble == KILL_A || plan->trouble == KILL_B) {
		sim_host_kill(victim);
	} else if (plan->trouble != NONE) {
		oracle_trouble(s->c->oracle, victim, true);
		sim_host_pause(victim);
		task_sleep_until(clock_now() + sim_random(40 * S));
		sim_host_resume(victim);
		oracle_resumed(s->c->oracle, victim);
		oracle_trouble(s->c->oracle, victim, false);
	}
}

static void tell_story(void *arg)
{
	const struct plan *plan = arg;
	struct story s = { .plan = plan, .c = cluster_new(plan->caw) };
	struct simdisk_behaviour polite = simdisk_polite(),
				 rude = simdisk_rude(plan->caw);
	struct sim_host *a = sim_host_new("a", (int)sim_random(1000) - 500);
	struct sim_host *b = sim_host_new("b", (int)sim_random(1000) - 500);
	struct task *tc = NULL;

	polite.has_pr = rude.has_pr = plan->has_pr;
	simdisk_behave(s.c->disk, &polite);
	cluster_make_file(s.c, PATH, FILE_SIZE);
	struct task *ta = sim_host_start(a, "a", live_a, &s);
	struct task *tb = sim_host_start(
		b, "b", plan->b_changes_its_mind ? change_mind : live_b, &s);
	while (!s.is_handing_over)
		task_sleep_until(clock_now() + NS_PER_MS);
	if (plan->has_bystander)
		tc = sim_host_start(sim_host_new("c", 0), "c", live_c, &s);
	uint64_t hostile_until = clock_now() + 20 * S;
	if (plan->is_rude) {
		/* Hardly a command of the hand-over itself comes through unharmed. */
		rude.lost_answer_ppm = rude.lost_command_ppm = 150000;
		rude.slow_ppm = 300000;
		simdisk_behave(s.c->disk, &rude);
		oracle_rude(s.c->oracle, true);
	}
	make_trouble(&s, a, b);
	if (plan->is_rude) {
		while (s.told == NOTHING && clock_now() < hostile_until &&
		       !sim_host_is_dead(a))
			task_sleep_until(clock_now() + S / 10);
		rude = simdisk_rude(plan->caw);
		rude.has_pr = plan->has_pr;
		simdisk_behave(s.c->disk, &rude);
	}
	task_sleep_until(clock_now() + 20 * S);
	simdisk_behave(s.c->disk, &polite);
	task_sleep_until(clock_now() + 150 * S);
	cluster_check_hosts(s.c);
	s.is_quiet = true;
	task_join(ta);
	task_join(tb);
	if (tc)
		task_join(tc);
	SIM_CHECK(sim_host_run(sim_host_new("inspector", 0), "inspect", inspect, &s));
	cluster_check(s.c, true);
	sim_trace("given %u, kept %u, counted %llu", s.given, s.kept,
		  (unsigned long long)s.acknowledged);
	cluster_free(s.c);
}

#define STORY(name, first, count, ...)                                                   \
	static void name(void **state)                                                   \
	{                                                                                \
		static struct plan plan = { __VA_ARGS__ };                               \
		(void)state;                                                             \
		sim_some_seeds(first, count, tell_story, &plan);                         \
	}

STORY(a_file_is_handed_over, 1, 20, .caw = BDEV_CAW_ATS)
STORY(a_file_on_a_file_is_handed_over, 50, 10, .caw = BDEV_CAW_FILE)
STORY(what_is_not_wanted_any_more_is_given_back, 80, 10, .caw = BDEV_CAW_ATS,
      .b_changes_its_mind = true)
STORY(nobody_comes_between, 100, 30, .caw = BDEV_CAW_ATS, .has_bystander = true)
STORY(lost_answers_leave_one_owner, 200, 40, .caw = BDEV_CAW_ATS, .is_rude = true,
      .has_bystander = true)
STORY(sender_dies_at_any_step, 400, 40, .caw = BDEV_CAW_ATS, .trouble = KILL_A,
      .has_bystander = true)
STORY(receiver_dies_at_any_step, 600, 40, .caw = BDEV_CAW_ATS, .trouble = KILL_B,
      .has_bystander = true)
STORY(sender_dies_with_answers_lost, 800, 40, .caw = BDEV_CAW_ATS, .trouble = KILL_A,
      .is_rude = true, .has_bystander = true)
STORY(receiver_dies_with_answers_lost, 1000, 40, .caw = BDEV_CAW_ATS, .trouble = KILL_B,
      .is_rude = true, .has_bystander = true)
STORY(receiver_sleeps, 1400, 20, .caw = BDEV_CAW_ATS, .trouble = PAUSE_B, .is_rude = true,
      .has_bystander = true)
/* Also for longer than its lease: it is taken over, or b has the file already. */
STORY(sender_sleeps, 1600, 30, .caw = BDEV_CAW_ATS, .trouble = PAUSE_A, .has_pr = true,
      .has_bystander = true)
STORY(sender_sleeps_with_answers_lost, 1700, 20, .caw = BDEV_CAW_ATS, .trouble = PAUSE_A,
      .has_pr = true, .is_rude = true, .has_bystander = true)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_handed_over),
		cmocka_unit_test(a_file_on_a_file_is_handed_over),
		cmocka_unit_test(what_is_not_wanted_any_more_is_given_back),
		cmocka_unit_test(nobody_comes_between),
		cmocka_unit_test(lost_answers_leave_one_owner),
		cmocka_unit_test(sender_dies_at_any_step),
		cmocka_unit_test(receiver_dies_at_any_step),
		cmocka_unit_test(sender_dies_with_answers_lost),
		cmocka_unit_test(receiver_dies_with_answers_lost),
		cmocka_unit_test(receiver_sleeps),
		cmocka_unit_test(sender_sleeps),
		cmocka_unit_test(sender_sleeps_with_answers_lost),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
