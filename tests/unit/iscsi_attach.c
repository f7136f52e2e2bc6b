/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attached and detached again and again: sessions x LUNs at a time, each a session of its
 * own. Afterwards both sides have as many descriptors as before, and as little memory
 * (AddressSanitizer's leak check at the end of both programs: `make asan`). FULL=1: 24
 * sessions x 64 LUNs, 200 times (ATTACH_ROUNDS: as often); with the connections reset
 * under half of them. What fails says so on stderr.
 *
 * Thousands of sessions on a machine that has other work as well: an attempt may come to
 * the end of its time, and says so. That is told and tried again; nothing else is, and an
 * attempt that fails leaves nothing behind either.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/report.h"
#include "bdev/bdev.h"
#include "iscsi/open.h"
#include "tests/lib/own_target.h"

#define MAX_SESSIONS 24u
#define MAX_UNITS 64u
#define BLOCK 512u
#define TRIES 20u

struct plan {
	unsigned int sessions, units, rounds;
};

/* One session to each unit, all open at the same time. */
struct worker {
	char url[MAX_UNITS][256];
	struct bdev *bd[MAX_UNITS];
	unsigned int units, failed, late;
	struct reporter *r;
	struct task *task;
};

/* true: it was late, and is tried again. */
static bool was_late(struct worker *w, unsigned int i, unsigned int tries, int error)
{
	if (!error)
		return false;
	report(w->r, REPORT_ERROR, "%s: %s", w->url[i], strerror(-error));
	if (error == -ETIMEDOUT && tries < TRIES) {
		w->late++;
		return true;
	}
	w->failed++;
	return false;
}

static void attach(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < w->units; i++) {
		unsigned int tries = 0;
		while (was_late(w, i, ++tries,
				device_open(w->url[i], 0, NULL, w->r, &w->bd[i])))
			;
	}
}

static void use_and_detach(void *arg)
{
	struct worker *w = arg;
	uint8_t block[BLOCK];

	for (unsigned int i = 0; i < w->units && !w->failed; i++) {
		unsigned int tries = 0;
		while (was_late(w, i, ++tries, bdev_read(w->bd[i], block, BLOCK, 0)))
			;
	}
	for (unsigned int i = 0; i < w->units; i++) {
		bdev_close(w->bd[i]);
		w->bd[i] = NULL;
	}
}

/* Each worker does it, all at a time. */
static void all(struct worker *w, unsigned int sessions, void (*fn)(void *arg))
{
	for (unsigned int i = 0; i < sessions; i++)
		w[i].task = task_start("attach", fn, &w[i]);
	for (unsigned int i = 0; i < sessions; i++) {
		task_join(w[i].task);
		assert_int_equal(w[i].failed, 0);
	}
}

static void raise_limit(void)
{
	struct rlimit l;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
	l.rlim_cur = l.rlim_max < 65536 ? l.rlim_max : 65536;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
}

/* The target has heard of each end, also of logins that were late. */
static void settle(struct own_target *t, unsigned int descriptors)
{
	uint64_t until = clock_now() + 30 * NS_PER_S;

	while (own_stat(t, "sessions") ||
	       (descriptors && own_descriptors(t) > descriptors && clock_now() < until))
		task_sleep_until(clock_now() + NS_PER_MS);
}

static void round_of(struct own_target *t, struct worker *w, const struct plan *plan,
		     bool is_rough)
{
	all(w, plan->sessions, attach);
	if (is_rough)
		own_do(t, "reset");
	all(w, plan->sessions, use_and_detach);
}

static void attaching_and_detaching_leaves_nothing_behind(void **state)
{
	const char *full = getenv("FULL"), *often = getenv("ATTACH_ROUNDS");
	struct plan plan = full && full[0] ? (struct plan){ 24, 64, 200 }
					   : (struct plan){ 4, 8, 4 };
	struct worker *w = calloc(MAX_SESSIONS, sizeof(*w));
	unsigned int here = 0, there = 0, late = 0;
	struct reporter_stderr told;
	struct reporter *r = reporter_stderr_init(&told, "iscsi_attach", REPORT_ERROR);
	(void)state;

	assert_non_null(w);
	if (often)
		plan.rounds = (unsigned int)strtoul(often, NULL, 10);
	raise_limit();
	struct own_target *t = own_start("-p 0:1 -l 0=null:8m");
	for (unsigned int i = 1; i < plan.units; i++)
		own_do(t, "lun-add %u null:8m", i);
	for (unsigned int s = 0; s < plan.sessions; s++) {
		w[s].units = plan.units;
		w[s].r = r;
		for (unsigned int i = 0; i < plan.units; i++)
			(void)snprintf(w[s].url[i], sizeof(w[s].url[i]), "%s",
				       own_url(t, i, ""));
	}
	for (unsigned int round = 0; round < plan.rounds; round++) {
		round_of(t, w, &plan, round % 2);
		settle(t, there);
		if (round == 0) { /* whatever is opened once and kept is open now */
			here = own_descriptors_here();
			there = own_descriptors(t);
		}
		assert_int_equal(own_descriptors_here(), here);
		assert_int_equal(own_descriptors(t), there);
	}
	assert_true(own_stat(t, "logins") >=
		    (uint64_t)plan.sessions * plan.units * plan.rounds);
	assert_int_equal(own_stat(t, "violations"), 0);
	for (unsigned int s = 0; s < plan.sessions; s++)
		late += w[s].late;
	print_message("# %llu logins, %u and %u descriptors, %u times late\n",
		      (unsigned long long)own_stat(t, "logins"), here, there, late);
	own_free(t);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attaching_and_detaching_leaves_nothing_behind),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
