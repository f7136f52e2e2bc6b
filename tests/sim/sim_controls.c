/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Negative controls (TESTING.md 5): each error of faults.h, in the weather in which it
 * matters, is found within a number of seeds; and the same program without an error finds
 * nothing in any of these weathers. Each line says which seed found it, and what.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/faults.h"
#include "tests/sim/storm.h"
#include "vmfs/heartbeat.h"

#define S NS_PER_S

/* ---- weathers ---- */

static struct storm deaths = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_KILL,
	.events = 4,
};
static struct storm rude = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_KILL | STORM_RUDE,
	.events = 2,
};
static struct storm lost_heartbeats = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_COUNTER | STORM_BLOCKS | STORM_OWN,
	.faults = STORM_HEARTBEAT_PATH,
	.events = 4,
};
static struct storm lost_heartbeats_blocks = {
	.caw = BDEV_CAW_ATS,
	.hosts = 4,
	.ops = STORM_BLOCKS,
	.faults = STORM_HEARTBEAT_PATH,
	.events = 6,
};
static struct storm lost_paths = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_COUNTER | STORM_BLOCKS | STORM_OWN,
	.faults = STORM_PATH,
	.events = 4,
	.no_guard = true,
};
static struct storm power = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_POWER,
	.events = 3,
};
static struct storm slow_target = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_COUNTER | STORM_BLOCKS | STORM_OWN,
	.faults = STORM_HEARTBEAT_PATH | STORM_KILL,
	.events = 4,
	.residue_ns = 6 * S,
};
static struct storm pauses = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_LONG_PAUSE,
	.events = 4,
};
/* Whole machines stand still, guards too: what keys are for. */
static struct storm frozen_keys = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_LONG_PAUSE,
	.events = 4,
	.has_pr = true,
	.no_guard = true,
};
/* For those that read, over and over. */
static struct storm frozen_readers = {
	.caw = BDEV_CAW_ATS,
	.hosts = 4,
	.ops = STORM_SHARED | STORM_NAMES,
	.faults = STORM_LONG_PAUSE,
	.events = 7,
	.work_ns = 240 * S,
	.has_pr = true,
	.no_guard = true,
};
/* A target that keeps what it accepted for longer than T_tgt. */
static struct storm frozen_slow_keys = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_LONG_PAUSE | STORM_KILL,
	.events = 4,
	.has_pr = true,
	.no_guard = true,
	.residue_ns = 40 * S,
};
static struct storm files = {
	.caw = BDEV_CAW_FILE,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_LONG_PAUSE | STORM_KILL,
	.events = 4,
};
/* Controls that are no error of the library: what timed mode cannot survive. */
static struct storm no_guard = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_LONG_PAUSE,
	.events = 4,
	.no_guard = true,
};
static struct storm residue = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_KILL,
	.events = 4,
	.residue_ns = 60 * S,
};
static struct storm bad_clocks = {
	.caw = BDEV_CAW_ATS,
	.hosts = 3,
	.ops = STORM_ALL_OPS,
	.faults = STORM_KILL,
	.events = 4,
	.clock_ppm = 10000,
};

/* ---- stories of their own ---- */

#define READERS 9u

struct reading {
	struct cluster *c;
	unsigned int readers, refused;
};

static void read_for_a_while(void *arg)
{
	struct reading *r = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_file_options options = { .flags = VMFS_READ_LOCKED };
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(r->c, &m));
	int err;
	do {
		options.deadline = clock_now() + 2 * S;
		err = vmfs_file_open(m.vol, "/r", &options, &file, NULL);
	} while (err == -EBUSY && r->readers < VMFS_LOCK_HOLDERS_MAX);
	SIM_CHECK(!err || err == -EBUSY);
	if (err) {
		r->refused++;
	} else {
		r->readers++;
		task_sleep_until(clock_now() + 20 * S);
		SIM_CHECK(!vmfs_file_close(file));
	}
	SIM_CHECK(!cluster_unmount(&m));
}

/* Nine want to read a file together; the format has room for eight. */
static void nine_readers(void *arg)
{
	struct reading r = { .c = cluster_new(BDEV_CAW_ATS) };
	struct task *tasks[READERS];
	char name[16];

	(void)arg;
	cluster_make_file(r.c, "/r", 0);
	for (unsigned int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof(name), "r%u", i);
		tasks[i] = sim_host_start(sim_host_new(name, 0), "read", read_for_a_while,
					  &r);
	}
	for (unsigned int i = 0; i < READERS; i++)
		task_join(tasks[i]);
	if (r.readers != VMFS_LOCK_HOLDERS_MAX || r.refused != 1)
		sim_fail("I3: %u readers at a time", r.readers);
	cluster_check(r.c, false);
	cluster_free(r.c);
}

static void meet_garbage(void *arg)
{
	struct reading *r = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_lock_info info;
	struct vmfs_lock_disk lockd, sound;
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(r->c, &m));
	SIM_CHECK(!vmfs_lock_info(m.vol, "/r", &info));
	uint64_t at = LVM_DATA_OFF + info.vol_off;
	simdisk_peek(r->c->disk, &sound, sizeof(sound), at);
	/* Held by a generation of some slot that is still to come. */
	lockd = sound;
	lockd.mode = le32_of(LOCK_EXCLUSIVE);
	lockd.hb_addr = le64_of(heartbeat_slot_off((uint32_t)sim_random(64)));
	lockd.hb_gen = le64_of(1000000 + sim_random(1000));
	memset(lockd.owner, 0xee, sizeof(lockd.owner));
	simdisk_poke(r->c->disk, &lockd, sizeof(lockd), at);
	int err = vmfs_file_open(m.vol, "/r", &options, &file, NULL);
	if (err != -EUCLEAN)
		sim_fail("a damaged lock was taken: %d", err);
	simdisk_poke(r->c->disk, &sound, sizeof(sound), at);
	SIM_CHECK(!cluster_unmount(&m));
}

static void damaged_lock(void *arg)
{
	struct reading r = { .c = cluster_new(BDEV_CAW_ATS) };

	(void)arg;
	cluster_make_file(r.c, "/r", 0);
	SIM_CHECK(sim_host_run(sim_host_new("other", 0), "meet", meet_garbage, &r));
	cluster_free(r.c);
}

/* ---- from hand to hand ---- */

struct passing {
	struct cluster *c;
	struct vmfs_incarnation to;
	bool is_expected, is_given;
};

static void give(void *arg)
{
	struct passing *p = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(p->c, &m));
	SIM_CHECK(!vmfs_file_open(m.vol, "/r", &options, &file, NULL));
	while (!p->is_expected)
		task_sleep_until(clock_now() + S / 10);
	SIM_CHECK(!vmfs_file_hand_over(file, &p->to, clock_now() + 30 * S));
	p->is_given = true;
	SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!cluster_unmount(&m));
}

static void receive(void *arg)
{
	struct passing *p = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(p->c, &m));
	SIM_CHECK(!vmfs_file_expect(m.vol, "/r"));
	SIM_CHECK(!vmfs_volume_incarnation(m.vol, &p->to));
	p->is_expected = true;
	while (!p->is_given)
		task_sleep_until(clock_now() + S / 10);
	options.deadline = clock_now() + 30 * S;
	SIM_CHECK(!vmfs_file_open(m.vol, "/r", &options, &file, NULL));
	SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!cluster_unmount(&m));
}

static void hand_over(void *arg)
{
	struct passing p = { .c = cluster_new(BDEV_CAW_ATS) };

	(void)arg;
	cluster_make_file(p.c, "/r", 0);
	struct task *a = sim_host_start(sim_host_new("a", 0), "give", give, &p);
	struct task *b = sim_host_start(sim_host_new("b", 0), "receive", receive, &p);
	task_join(a);
	task_join(b);
	cluster_check(p.c, false);
	cluster_free(p.c);
}

/* ---- the table ---- */

#define STORM(w) storm_run, &(w)

#define CHECK_SEEDS 40u /* errors that may need more are for FULL */

static const struct control {
	const char *name;
	enum fault fault;
	void (*fn)(void *arg);
	void *arg;
	unsigned int seeds; /* within so many it is found */
} controls[] = {
	{ "no journal", FAULT_NO_JOURNAL, STORM(deaths), 40 },
	{ "no replay", FAULT_NO_REPLAY, STORM(deaths), 200 },
	{ "early clear", FAULT_EARLY_CLEAR, STORM(deaths), 10 },
	{ "unlock before flush", FAULT_UNLOCK_BEFORE_FLUSH, STORM(power), 10 },
	{ "unlock before trim", FAULT_UNLOCK_BEFORE_TRIM, STORM(deaths), 5 },
	{ "keep after timed-out release", FAULT_KEEP, STORM(rude), 200 },
	{ "forgotten ghost", FAULT_GHOST, STORM(rude), 200 },
	{ "token not incremented on leave", FAULT_TOKEN_LEAVE, STORM(deaths), 10 },
	{ "token not incremented on release", FAULT_TOKEN_RELEASE, STORM(deaths), 5 },
	{ "token not incremented on upgrade", FAULT_TOKEN_UPGRADE, STORM(deaths), 20 },
	{ "token not incremented on hand-over", FAULT_TOKEN_HAND_OVER, hand_over, NULL,
	  5 },
	{ "holders list not compacted", FAULT_NOT_COMPACTED, nine_readers, NULL, 5 },
	{ "9th holder", FAULT_NINTH_HOLDER, nine_readers, NULL, 5 },
	{ "slot read before lock", FAULT_SLOT_BEFORE_LOCK, STORM(deaths), 200 },
	{ "generation compared with !=", FAULT_GENERATION_DIFFERS, damaged_lock, NULL,
	  2 },
	{ "lease from reply", FAULT_LEASE_FROM_REPLY, STORM(slow_target), 300 },
	{ "stamp that may repeat", FAULT_STAMP_REPEATS, STORM(deaths), 2 },
	{ "plain renewal (and reclaim)", FAULT_PLAIN_RENEWAL, STORM(deaths), 2 },
	{ "no gate", FAULT_NO_GATE, STORM(lost_heartbeats), 40 },
	{ "discard past the gate", FAULT_DISCARD_UNGATED, STORM(lost_heartbeats_blocks),
	  300 },
	{ "devices not cut", FAULT_NO_CUT, STORM(lost_paths), 200 },
	{ "reads after FENCED", FAULT_FENCED_READS, STORM(frozen_readers), 300 },
	{ "observer from read start", FAULT_OBSERVER_READ_START, STORM(slow_target),
	  200 },
	{ "T_dead one second short", FAULT_DEAD_TOO_SOON, STORM(deaths), 10 },
	{ "plain claim", FAULT_PLAIN_CLAIM, STORM(deaths), 10 },
	{ "liveness lock ignored", FAULT_LIVENESS_IGNORED, STORM(files), 20 },
	{ "no fence", FAULT_NO_FENCE, STORM(frozen_keys), 200 },
	{ "late fence", FAULT_LATE_FENCE, STORM(frozen_keys), 200 },
	{ "no barrier", FAULT_NO_BARRIER, STORM(frozen_slow_keys), 400 },
	{ "no guard (timed)", NO_FAULT, STORM(no_guard), 100 },
	{ "target holds commands for a minute (timed)", NO_FAULT, STORM(residue), 40 },
	{ "clocks wrong by 1 % (timed)", NO_FAULT, STORM(bad_clocks), 100 },
};

/* One control; its name in SIM_CONTROL picks it. */
static unsigned int run_control(const struct control *c)
{
	uint64_t seed;
	char what[160];

	fault = c->fault;
	bool is_found = sim_first_failure(1, c->seeds, c->fn, c->arg, what, sizeof(what),
					  &seed);
	fault = NO_FAULT;
	if (is_found)
		(void)printf("# %-42s seed %3llu: %.90s\n", c->name,
			     (unsigned long long)seed, what);
	else
		(void)printf("# %-42s NOT FOUND in %u seeds\n", c->name, c->seeds);
	(void)fflush(stdout);
	return !is_found;
}

/* SIM_CONTROL=name SIM_SEED=n: that one, with its error or (SIM_SOUND=1) without. */
static void replay(void **state)
{
	const char *only = getenv("SIM_CONTROL");

	(void)state;
	for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++) {
		if (!only || !getenv("SIM_SEED") || !strstr(controls[i].name, only))
			continue;
		fault = getenv("SIM_SOUND") ? NO_FAULT : controls[i].fault;
		sim_each_seed(1, 1, controls[i].fn, controls[i].arg);
	}
	fault = NO_FAULT;
}

static void every_error_is_found(void **state)
{
	const char *only = getenv("SIM_CONTROL");
	unsigned int missed = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++) {
		bool is_short = controls[i].seeds <= CHECK_SEEDS || getenv("FULL");

		if (only ? strstr(controls[i].name, only) != NULL : is_short)
			missed += run_control(&controls[i]);
	}
	assert_int_equal(missed, 0);
}

/* The same weathers and stories, and nothing is found. */
static void without_an_error_nothing_is_found(void **state)
{
	(void)state;
	sim_each_seed(1, 5, storm_run, &deaths);
	sim_each_seed(1, 5, storm_run, &rude);
	sim_each_seed(1, 5, storm_run, &lost_heartbeats);
	sim_each_seed(1, 5, storm_run, &lost_paths);
	sim_each_seed(1, 5, storm_run, &power);
	sim_each_seed(1, 5, storm_run, &slow_target);
	sim_each_seed(1, 5, storm_run, &pauses);
	sim_each_seed(1, 5, storm_run, &frozen_keys);
	sim_each_seed(1, 5, storm_run, &frozen_slow_keys);
	sim_each_seed(1, 5, storm_run, &frozen_readers);
	sim_each_seed(1, 5, storm_run, &files);
	sim_each_seed(1, 2, nine_readers, NULL);
	sim_each_seed(1, 2, damaged_lock, NULL);
	sim_each_seed(1, 2, hand_over, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_an_error_nothing_is_found),
		cmocka_unit_test(every_error_is_found),
		cmocka_unit_test(replay),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
