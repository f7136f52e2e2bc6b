/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume gets a new signature while hosts come and go: who has it open keeps it from
 * that, who is dead is waited out and his journal replayed, who opens it meanwhile gets
 * the former volume or the new one and never the one under the other's hands.
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
#include "vmfs/resign.h"

#define S NS_PER_S

struct host {
	struct cluster *c;
	struct sim_host *sim;
	struct cluster_mount m;
	uint64_t starts_after, stays, opened_at;
	struct uuid uuid; /* that it has open */
	bool is_inside, is_done;
	int err;
	struct vmfs_resigned now;
};

static struct task *start(struct host *h, struct cluster *c, const char *name,
			  void (*fn)(void *arg))
{
	h->c = c;
	h->m.no_liveness_lock = c->caw != BDEV_CAW_FILE;
	h->sim = sim_host_new(name, (int)sim_random(1000) - 500);
	return sim_host_start(h->sim, name, fn, h);
}

/* Mounts, makes something, stays for a while. */
static void live(void *arg)
{
	struct host *h = arg;
	struct vmfs_volume_info info;
	char path[32];

	task_sleep_until(clock_now() + h->starts_after);
	h->opened_at = sim_time();
	h->err = cluster_mount(h->c, &h->m);
	if (h->err) {
		h->is_done = true;
		return;
	}
	SIM_CHECK(!vmfs_volume_info(h->m.vol, &info));
	h->uuid = info.uuid;
	h->is_inside = true;
	(void)snprintf(path, sizeof(path), "/%s", sim_host_name(h->sim));
	SIM_CHECK(!vmfs_mkdir(h->m.vol, path, 0755));
	task_sleep_until(clock_now() + h->stays);
	SIM_CHECK(!vmfs_volume_state(h->m.vol));
	h->is_inside = false;
	SIM_CHECK(!cluster_unmount(&h->m));
	h->is_done = true;
}

static void sign(void *arg)
{
	const struct vmfs_resign_options options = { .is_forced = true };
	struct host *h = arg;

	task_sleep_until(clock_now() + h->starts_after);
	h->opened_at = sim_time();
	h->m.signature = VMFS_SIGNATURE_NEW;
	h->err = cluster_mount(h->c, &h->m);
	if (h->err) {
		h->is_done = true;
		return;
	}
	h->is_inside = true;
	h->err = vmfs_volume_resign(h->m.vol, &options, &h->now);
	h->is_inside = false;
	h->is_done = true;
	SIM_CHECK(!cluster_unmount(&h->m));
}

/* Signed at last, by whoever comes when all have gone; and then it is a sound volume. */
static void check_end(struct cluster *c)
{
	struct host last = { 0 }, user = { .stays = S };

	task_join(start(&last, c, "last", sign));
	if (last.err)
		sim_fail("signed at last: %d", last.err);
	task_join(start(&user, c, "user", live));
	SIM_CHECK(!user.err && uuid_equal(&user.uuid, &last.now.uuid));
	cluster_check(c, true);
}

/* ---- one comes while it is signed ---- */

struct race {
	struct host member, signer;
};

/* In each moment: signed it is, and one is inside that opened the former volume? */
static void check_race(const struct race *r)
{
	const struct host *m = &r->member, *s = &r->signer;

	if (m->is_inside && s->is_done && !s->err &&
	    !uuid_equal(&m->uuid, &s->now.uuid))
		sim_fail("signed under a member's hands");
}

static void comes_meanwhile(void *arg)
{
	const enum bdev_caw_class *caw = arg;
	struct cluster *c = cluster_new6(*caw, NULL);
	struct race r = { .member.stays = 10 * S };

	/* Mounting and signing take some 20 ms each. */
	r.member.starts_after = sim_random(S / 20);
	r.signer.starts_after = sim_random(S / 50);
	struct task *tm = start(&r.member, c, "member", live);
	struct task *ts = start(&r.signer, c, "signer", sign);
	while (!r.member.is_done || !r.signer.is_done) {
		check_race(&r);
		task_sleep_until(clock_now() + S / 10);
	}
	task_join(tm);
	task_join(ts);
	SIM_CHECK(!r.member.err || r.member.err == -EREMCHG);
	SIM_CHECK(!r.signer.err || r.signer.err == -EBUSY);
	check_end(c);
	cluster_free(c);
}

static void who_comes_meanwhile_has_one_of_both(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 110, 20, comes_meanwhile);
	cluster_some_seeds(BDEV_CAW_FILE, 150, 20, comes_meanwhile);
}

/* ---- one is there, and dies ---- */

static void is_there(void *arg)
{
	const enum bdev_caw_class *caw = arg;
	struct cluster *c = cluster_new6(*caw, NULL);
	struct host member = { .stays = 3600 * S }, early = { 0 }, late = { 0 };
	struct task *t = start(&member, c, "member", live);

	while (!member.is_inside)
		task_sleep_until(clock_now() + S / 100);
	task_sleep_until(clock_now() + sim_random(5 * S));
	task_join(start(&early, c, "early", sign));
	SIM_CHECK(early.err == -EBUSY && member.is_inside);
	task_sleep_until(clock_now() + sim_random(5 * S));
	sim_host_kill(member.sim);
	task_join(t);
	task_join(start(&late, c, "late", sign));
	if (late.err)
		sim_fail("signed after its death: %d", late.err);
	SIM_CHECK(uuid_equal(&late.now.former_uuid, &member.uuid));
	check_end(c);
	cluster_free(c);
}

static void who_is_there_keeps_it_until_dead(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 200, 3, is_there);
	cluster_some_seeds(BDEV_CAW_FILE, 300, 3, is_there);
}

/* ---- two sign ---- */

static void two_sign(void *arg)
{
	const enum bdev_caw_class *caw = arg;
	struct cluster *c = cluster_new6(*caw, NULL);
	struct host a = { 0 }, b = { 0 };

	b.starts_after = sim_random(S / 5);
	struct task *ta = start(&a, c, "one", sign), *tb = start(&b, c, "other", sign);
	task_join(ta);
	task_join(tb);
	SIM_CHECK(!a.err || a.err == -EBUSY || a.err == -EREMCHG);
	SIM_CHECK(!b.err || b.err == -EBUSY || b.err == -EREMCHG);
	/* One after the other, perhaps; then the second one began with what the first
	 * left. */
	if (!a.err && !b.err)
		SIM_CHECK(uuid_equal(&a.now.uuid, &b.now.former_uuid) ||
			  uuid_equal(&b.now.uuid, &a.now.former_uuid));
	check_end(c);
	cluster_free(c);
}

static void of_two_signers_none_is_half_done(void **state)
{
	(void)state;
	cluster_some_seeds(BDEV_CAW_ATS, 400, 10, two_sign);
	cluster_some_seeds(BDEV_CAW_FILE, 500, 10, two_sign);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_meanwhile_has_one_of_both),
		cmocka_unit_test(who_is_there_keeps_it_until_dead),
		cmocka_unit_test(of_two_signers_none_is_half_done),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
