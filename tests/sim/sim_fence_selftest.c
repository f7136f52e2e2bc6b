/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk's fencing tests itself: what keeps a host out really does, and what
 * only looks as if it did (PREEMPT AND ABORT alone) lets late writes through in some
 * seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/simdisk.h"

#define SECTOR SIMDISK_SECTOR
#define DISK_SIZE (1u << 20)
#define KEY_A 0x564d000000000001ull
#define KEY_B 0x564d000000000002ull

enum barrier { NO_BARRIER, REINSTATE, CHECKED_AT_EFFECT };

struct fight {
	enum barrier barrier;
	struct simdisk *disk;
	struct bdev *bd;      /* the victim's */
	uint64_t fenced_at;   /* perfect clock; UINT64_MAX: not yet */
	unsigned int landed;  /* effects of the victim after that */
	unsigned int refused; /* its writes that were answered -ESTALE */
};

static void count_landed(const struct simdisk_effect *e, void *arg)
{
	struct fight *f = arg;
	if (e->op == BDEV_WRITE && e->now >= f->fenced_at)
		f->landed++;
}

static void write_until_refused(void *arg)
{
	struct fight *f = arg;
	uint8_t buf[4 * SECTOR] = { 1 };
	int err = bdev_pr(f->bd, BDEV_PR_REGISTER, KEY_A, 0);

	while (err == -ETIMEDOUT)
		err = bdev_pr(f->bd, BDEV_PR_REGISTER, KEY_A, 0);
	SIM_CHECK(!err);
	do {
		err = bdev_write(f->bd, buf, sizeof(buf), 0);
	} while (err != -ESTALE);
	f->refused++;
	/* Reads are served, once the attention is over. */
	do {
		err = bdev_read(f->bd, buf, sizeof(buf), 0);
	} while (err == -ETIMEDOUT);
	SIM_CHECK(!err || err == -ESTALE);
}

static int pr_surely(struct bdev *bd, enum bdev_pr_action action, uint64_t victim)
{
	struct bdev_pr_state *state = malloc(sizeof(*state));
	int err = bdev_pr(bd, action, KEY_B, victim);

	SIM_CHECK(state);
	/* A victim that is gone is a conflict: what we wanted, if our key stands. */
	while (err == -ETIMEDOUT || err == -ESTALE) {
		while (bdev_pr_read(bd, state))
			;
		bool is_there = false;
		for (uint32_t i = 0; i < state->key_count; i++)
			is_there |= state->keys[i] == victim;
		if (action == BDEV_PR_PREEMPT && !is_there)
			err = 0;
		else
			err = bdev_pr(bd, action, KEY_B, victim);
	}
	free(state);
	return err;
}

static void fight(void *arg)
{
	struct fight f = { .barrier = *(enum barrier *)arg, .fenced_at = UINT64_MAX };
	struct simdisk_behaviour slow = simdisk_polite();
	struct sim_host *a = sim_host_new("a", 0);
	struct bdev_nexus nexus;

	slow.has_pr = true;
	slow.slow_ppm = 300000;
	slow.residue_ns = 6 * NS_PER_S;
	slow.timeout_ns = NS_PER_S;
	slow.pr_error_ppm = 300000;
	slow.checks_at_effect = f.barrier == CHECKED_AT_EFFECT;
	f.disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	simdisk_behave(f.disk, &slow);
	simdisk_on_effect(f.disk, count_landed, &f);
	f.bd = simdisk_attach(f.disk, a);
	struct bdev *bd = simdisk_attach(f.disk, sim_host_world());
	struct task *t = sim_host_start(a, "victim", write_until_refused, &f);
	task_sleep_until(clock_now() + 20 * NS_PER_S);
	SIM_CHECK(!pr_surely(bd, BDEV_PR_REGISTER, 0));
	SIM_CHECK(!pr_surely(bd, BDEV_PR_RESERVE, 0));
	task_sleep_until(clock_now() + sim_random(5 * NS_PER_S));
	SIM_CHECK(!f.refused);
	SIM_CHECK(!pr_surely(bd, BDEV_PR_PREEMPT, KEY_A));
	if (f.barrier == REINSTATE) {
		/* What the victim would have shown in its slot. */
		SIM_CHECK(!bdev_nexus(bd, &nexus));
		memset(nexus.initiator, 0, sizeof(nexus.initiator));
		strcpy(nexus.initiator, "iqn.2024-01.sim:a");
		nexus.isid[5]--;
		SIM_CHECK(!bdev_reinstate(bd, &nexus, clock_now() + 60 * NS_PER_S));
	}
	f.fenced_at = sim_time();
	task_sleep_until(clock_now() + 20 * NS_PER_S);
	SIM_CHECK(f.landed == 0);
	task_join(t);
	SIM_CHECK(f.refused == 1);
	sim_host_kill(a);
	bdev_close(bd);
	simdisk_free(f.disk);
}

static void preempt_alone_is_no_barrier(void **state)
{
	enum barrier barrier = NO_BARRIER;

	(void)state;
	assert_true(sim_some_seed_fails(1, 60, fight, &barrier, "f.landed == 0", NULL));
}

static void reinstatement_is_a_barrier(void **state)
{
	enum barrier barrier = REINSTATE;

	(void)state;
	sim_each_seed(1, 60, fight, &barrier);
}

static void a_check_at_execution_is_one_too(void **state)
{
	enum barrier barrier = CHECKED_AT_EFFECT;

	(void)state;
	sim_each_seed(1, 60, fight, &barrier);
}

/* ---- reservations ---- */

static void reservations(void *arg)
{
	struct simdisk_behaviour how = simdisk_polite();
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	struct bdev *other = simdisk_attach(disk, sim_host_world());
	uint8_t buf[SECTOR] = { 0 };
	struct bdev_pr_state *state = calloc(1, sizeof(*state));

	(void)arg;
	SIM_CHECK(state && bdev_pr_read(bd, state) == -EOPNOTSUPP);
	how.has_pr = true;
	simdisk_behave(disk, &how);
	SIM_CHECK(bdev_pr(bd, BDEV_PR_RESERVE, KEY_A, 0) == -ESTALE);
	SIM_CHECK(!bdev_pr(bd, BDEV_PR_REGISTER, KEY_A, 0));
	SIM_CHECK(!bdev_pr(bd, BDEV_PR_RESERVE, KEY_A, 0));
	SIM_CHECK(!bdev_pr_read(bd, state) && state->is_reserved);
	SIM_CHECK(state->type == BDEV_PR_TYPE_WE_AR);
	SIM_CHECK(state->key_count == 1 && state->keys[0] == KEY_A);
	free(state);
	SIM_CHECK(bdev_write(other, buf, SECTOR, 0) == -ESTALE);
	SIM_CHECK(bdev_caw(other, buf, buf, SECTOR, 0, 0) == -ESTALE);
	SIM_CHECK(bdev_unmap(other, SECTOR, 0) == -ESTALE);
	SIM_CHECK(bdev_flush(other) == -ESTALE && !bdev_read(other, buf, SECTOR, 0));
	/* It outlives a power failure, unless the target forgets; and its maker. */
	simdisk_power_fail(disk);
	SIM_CHECK(bdev_write(other, buf, SECTOR, 0) == -ESTALE);
	SIM_CHECK(!bdev_pr(other, BDEV_PR_REGISTER, KEY_B, 0));
	SIM_CHECK(!bdev_write(other, buf, SECTOR, 0));
	SIM_CHECK(!bdev_pr(bd, BDEV_PR_REGISTER, 0, 0));
	SIM_CHECK(bdev_write(bd, buf, SECTOR, 0) == -ESTALE);
	/* With its last registration it goes. */
	SIM_CHECK(!bdev_pr(other, BDEV_PR_REGISTER, 0, 0));
	SIM_CHECK(!bdev_write(bd, buf, SECTOR, 0));
	SIM_CHECK(!bdev_pr(bd, BDEV_PR_REGISTER, KEY_A, 0));
	SIM_CHECK(!bdev_pr(bd, BDEV_PR_RESERVE, KEY_A, 0));
	how.forgets_keys = true;
	simdisk_behave(disk, &how);
	simdisk_power_fail(disk);
	SIM_CHECK(bdev_caw(other, buf, buf, SECTOR, 0, 0) == -ETIMEDOUT); /* 29/00 */
	SIM_CHECK(!bdev_write(other, buf, SECTOR, 0));
	bdev_close(other);
	bdev_close(bd);
	simdisk_free(disk);
}

static void reservation_keeps_out_who_is_not_registered(void **state)
{
	(void)state;
	sim_each_seed(1, 20, reservations, NULL);
}

/* ---- mending ---- */

struct patient {
	struct bdev *bd;
	uint64_t mended_at;
	unsigned int landed;
};

static void count_old(const struct simdisk_effect *e, void *arg)
{
	struct patient *p = arg;
	if (e->op == BDEV_WRITE && e->now >= p->mended_at &&
	    e->submitted_at < p->mended_at)
		p->landed++;
}

static void write_once(void *arg)
{
	struct patient *p = arg;
	uint8_t buf[4 * SECTOR] = { 1 };
	int err;

	do {
		err = bdev_write(p->bd, buf, sizeof(buf), 0);
	} while (!err);
	SIM_CHECK(err == -ESTALE || err == -ETIMEDOUT);
}

static void mend(void *arg)
{
	struct patient p = { .mended_at = UINT64_MAX };
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct simdisk_behaviour slow = simdisk_polite();
	uint8_t buf[SECTOR] = { 2 };

	(void)arg;
	slow.slow_ppm = 500000;
	slow.residue_ns = 60 * NS_PER_S;
	simdisk_behave(disk, &slow);
	simdisk_on_effect(disk, count_old, &p);
	p.bd = simdisk_attach(disk, sim_host_world());
	struct task *t = task_start("writer", write_once, &p);
	task_sleep_until(clock_now() + sim_random(NS_PER_S));
	bdev_cut(p.bd);
	SIM_CHECK(bdev_write(p.bd, buf, SECTOR, 0) == -ESTALE);
	simdisk_path_down(p.bd, true);
	SIM_CHECK(bdev_mend(p.bd, clock_now() + NS_PER_S) == -ETIMEDOUT);
	SIM_CHECK(bdev_write(p.bd, buf, SECTOR, 0) == -ESTALE);
	simdisk_path_down(p.bd, false);
	SIM_CHECK(!bdev_mend(p.bd, clock_now() + 10 * NS_PER_S));
	p.mended_at = sim_time();
	task_join(t);
	slow.slow_ppm = 0;
	simdisk_behave(disk, &slow);
	SIM_CHECK(!bdev_write(p.bd, buf, SECTOR, 0));
	task_sleep_until(clock_now() + 70 * NS_PER_S);
	SIM_CHECK(p.landed == 0);
	bdev_close(p.bd);
	simdisk_free(disk);
}

static void nothing_sent_before_a_mend_lands_after_it(void **state)
{
	(void)state;
	sim_each_seed(1, 60, mend, NULL);
}

/* ---- a compare that failed because it had succeeded ---- */

static void miscompare(void *arg)
{
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct simdisk_behaviour how = simdisk_polite();
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	uint8_t old[SECTOR] = { 0 }, new[SECTOR] = { 1 }, now[SECTOR];

	(void)arg;
	how.miscompare_ppm = 300000;
	simdisk_behave(disk, &how);
	int err = bdev_caw(bd, old, new, SECTOR, 0, 0);
	SIM_CHECK(!err || err == -EILSEQ);
	simdisk_peek(disk, now, SECTOR, 0);
	SIM_CHECK(!memcmp(now, new, SECTOR)); /* alone on the disk: it always ran */
	bdev_close(bd);
	simdisk_free(disk);
	if (err)
		sim_fail("a false miscompare");
}

static void compare_and_write_may_fail_although_it_ran(void **state)
{
	(void)state;
	assert_true(sim_some_seed_fails(1, 60, miscompare, NULL, "a false miscompare",
					NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reservation_keeps_out_who_is_not_registered),
		cmocka_unit_test(preempt_alone_is_no_barrier),
		cmocka_unit_test(reinstatement_is_a_barrier),
		cmocka_unit_test(a_check_at_execution_is_one_too),
		cmocka_unit_test(nothing_sent_before_a_mend_lands_after_it),
		cmocka_unit_test(compare_and_write_may_fail_although_it_ran),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
