/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a lock (vmkernel/hold.c) in virtual time, against a model of what libvmfs
 * shows of the holder: its slot is read once a second while somebody waits, and a holder
 * that stood still for T_dead is taken over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "tests/sim/sim.h"
#include "vmkernel/hold.h"

#define RENEW_NS (3 * NS_PER_S)
#define POLL_NS NS_PER_S
#define DEAD_NS (24 * NS_PER_S)

/* A holder that renews until dies_at, and what we have seen of it. */
struct holder {
	uint64_t begins_at, dies_at; /* of its heartbeat, clock_now() */
	uint64_t seen_stamp;	     /* number of the renewal that was read last */
	uint64_t seen_at;	     /* when it was seen to be new */
	uint64_t error_at;	     /* the device fails from then on; 0: never */
};

static void look(struct holder *h)
{
	uint64_t now = clock_now();
	uint64_t until = now < h->dies_at ? now : h->dies_at;
	uint64_t stamp = (until - h->begins_at) / RENEW_NS;
	if (stamp != h->seen_stamp) {
		h->seen_stamp = stamp;
		h->seen_at = now;
	}
}

static int try(void *arg, uint64_t deadline, struct vmfs_holder *ret_holder)
{
	struct holder *h = arg;
	for (;;) {
		look(h);
		uint64_t now = clock_now();
		if (h->error_at && now >= h->error_at)
			return -EIO;
		if (now - h->seen_at >= DEAD_NS)
			return 0;
		if (now >= deadline)
			break;
		task_sleep_until(deadline < now + POLL_NS ? deadline : now + POLL_NS);
	}
	*ret_holder = (struct vmfs_holder){
		.mode = 1,
		.host_name = "other",
		.heartbeat_age_ns = clock_now() - h->seen_at,
	};
	return -EBUSY;
}

/* Runs hold_acquire; the time it took. */
static uint64_t run(struct holder *h, uint32_t wait_s, const atomic_bool *is_cancelled,
		    int *ret_rc, char *why, uint32_t size)
{
	struct hold hold = {
		.what = "[demo] vm1/vm1.vmx",
		.wait_s = wait_s,
		.is_cancelled = is_cancelled,
		.try = try,
		.arg = h,
	};
	uint64_t start = clock_now();
	*ret_rc = hold_acquire(&hold, why, size);
	return clock_now() - start;
}

/* A holder whose slot we know since some time, at any phase of its heartbeat. */
static struct holder new_holder(uint64_t idle_ns)
{
	uint64_t now = clock_now() + 1000 * NS_PER_S;
	task_sleep_until(now);
	struct holder h = { .begins_at = now - 500 * NS_PER_S, .dies_at = NO_DEADLINE };
	h.begins_at -= sim_random(RENEW_NS);
	look(&h);
	task_sleep_until(now + idle_ns + sim_random(RENEW_NS));
	return h;
}

static void living(void *arg)
{
	char why[256];
	int rc;
	(void)arg;
	struct holder h = new_holder(sim_random(60 * NS_PER_S));
	uint64_t took = run(&h, 60, NULL, &rc, why, sizeof(why));
	SIM_CHECK(rc == -EBUSY);
	SIM_CHECK(took <= 7 * NS_PER_S);
	SIM_CHECK(strstr(why, "[demo] vm1/vm1.vmx: ") && strstr(why, "other"));
}

static void living_holder_is_refused_within_seven_seconds(void **state)
{
	(void)state;
	sim_each_seed(1, 100, living, NULL);
}

/*
 * The holder renewed after we had last looked, and died just before we ask: that change
 * is old news, and the wait must go on to the take-over.
 */
static void dead(void *arg)
{
	char why[256];
	int rc;
	(void)arg;
	struct holder h = new_holder(50 * NS_PER_S);
	h.dies_at = clock_now() - sim_random(10 * NS_PER_S);
	uint64_t took = run(&h, 60, NULL, &rc, why, sizeof(why));
	SIM_CHECK(rc == 0);
	SIM_CHECK(took >= DEAD_NS - NS_PER_S && took <= DEAD_NS + 3 * NS_PER_S);
}

static void dead_holder_is_waited_for_and_taken_over(void **state)
{
	(void)state;
	sim_each_seed(1, 100, dead, NULL);
}

static void impatient(void *arg)
{
	char why[256];
	int rc;
	(void)arg;
	struct holder h = new_holder(0);
	h.dies_at = clock_now();
	uint64_t took = run(&h, 10, NULL, &rc, why, sizeof(why));
	SIM_CHECK(rc == -EBUSY && strstr(why, "the wait is over"));
	SIM_CHECK(took >= 10 * NS_PER_S && took <= 12 * NS_PER_S);
}

static void wait_has_an_end(void **state)
{
	(void)state;
	sim_each_seed(1, 20, impatient, NULL);
}

static void failing(void *arg)
{
	char why[256];
	int rc;
	(void)arg;
	struct holder h = new_holder(0);
	h.dies_at = clock_now();
	h.error_at = clock_now() + 5 * NS_PER_S;
	uint64_t took = run(&h, 60, NULL, &rc, why, sizeof(why));
	SIM_CHECK(rc == -EIO && strstr(why, "Input/output error"));
	SIM_CHECK(took <= 7 * NS_PER_S);
}

static void other_errors_end_the_wait_at_once(void **state)
{
	(void)state;
	sim_each_seed(1, 20, failing, NULL);
}

struct cancelling {
	atomic_bool flag;
};

static void cancel_later(void *arg)
{
	struct cancelling *c = arg;
	task_sleep_until(clock_now() + 4 * NS_PER_S);
	atomic_store(&c->flag, true);
}

static void cancelled(void *arg)
{
	char why[256];
	int rc;
	struct cancelling c;
	(void)arg;
	atomic_init(&c.flag, false);
	struct holder h = new_holder(0);
	h.dies_at = clock_now();
	struct task *t = task_start("cancel", cancel_later, &c);
	uint64_t took = run(&h, 60, &c.flag, &rc, why, sizeof(why));
	task_join(t);
	SIM_CHECK(rc == -ECANCELED);
	SIM_CHECK(took <= 7 * NS_PER_S);
}

static void power_off_ends_the_wait(void **state)
{
	(void)state;
	sim_each_seed(1, 20, cancelled, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(living_holder_is_refused_within_seven_seconds),
		cmocka_unit_test(dead_holder_is_waited_for_and_taken_over),
		cmocka_unit_test(wait_has_an_end),
		cmocka_unit_test(other_errors_end_the_wait_at_once),
		cmocka_unit_test(power_off_ends_the_wait),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
