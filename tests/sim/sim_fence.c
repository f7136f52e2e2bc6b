/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservation keys over the life of members, in virtual time (LOCKING.md 6.1, 9.3, 17):
 * who has a key, who loses it for good, who gets it back when the target forgot it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bdev/fence.h"
#include "tests/sim/cluster.h"
#include "tests/sim/faults.h"
#include "vmfs/fence.h"

#define S NS_PER_S
#define JOIN_COMMANDS 64u /* from opening the device to the first lock that can be had */
#define JOIN_BYTES (1300u << 10)

struct scene;

struct part {
	struct scene *s;
	unsigned int number;
	struct sim_host *host;
	struct task *task; /* NULL: not on the scene */
};

struct scene {
	struct cluster *c;
	struct part parts[2];
	struct bdev *bd; /* the world's */
	bool is_over;	 /* the hosts leave */
	unsigned int mounted;
	unsigned int sent; /* by b, until it had joined */
	uint64_t bytes_read;
	int state[2]; /* of the volume of host i, at its end */
	uint32_t slot[2];
	bool is_reserved;
	uint32_t key_count;
};

static void begin(struct scene *s)
{
	struct simdisk_behaviour how = simdisk_polite();

	*s = (struct scene){ .c = cluster_new(BDEV_CAW_ATS) };
	how.has_pr = true;
	how.forgets_keys = true;
	simdisk_behave(s->c->disk, &how);
	s->bd = simdisk_attach(s->c->disk, sim_host_world());
}

static void enter(struct scene *s, unsigned int number, void (*fn)(void *arg))
{
	struct part *p = &s->parts[number];

	*p = (struct part){ s, number, sim_host_new(number ? "b" : "a", 0), NULL };
	p->task = sim_host_start(p->host, "part", fn, p);
}

static void all_leave(struct scene *s)
{
	s->is_over = true;
	for (unsigned int i = 0; i < 2; i++) {
		if (s->parts[i].task)
			task_join(s->parts[i].task);
		s->parts[i].task = NULL;
	}
	s->is_over = false;
}

static void end(struct scene *s)
{
	bdev_close(s->bd);
	cluster_check(s->c, true);
	cluster_free(s->c);
}

/* Mounts, and stays until it is over. buries: takes over whoever died, first. */
static void be_there(struct part *p, bool buries)
{
	struct scene *s = p->s;
	struct cluster_mount m = { 0 };
	struct uuid owner;

	SIM_CHECK(!cluster_mount(s->c, &m));
	SIM_CHECK(!vmfs_volume_identity(m.vol, &owner, &s->slot[p->number]));
	s->mounted++;
	if (buries) {
		cluster_bury(&m);
		s->mounted++;
	}
	while (!s->is_over)
		task_sleep_until(clock_now() + S / 10);
	s->state[p->number] = vmfs_volume_state(m.vol);
	SIM_CHECK(!cluster_unmount(&m) == !s->state[p->number]);
}

static void stay(void *arg)
{
	be_there(arg, false);
}

static void bury_and_stay(void *arg)
{
	be_there(arg, true);
}

static void wait_for_mounts(struct scene *s, unsigned int count)
{
	while (s->mounted < count)
		task_sleep_until(clock_now() + S / 10);
}

/* Looks at the disk: how many keys has the slot of host i? */
static unsigned int keys_of(struct scene *s, unsigned int i)
{
	struct bdev_pr_state *state = calloc(1, sizeof(*state));
	unsigned int count = 0;
	uint32_t slot, generation;

	SIM_CHECK(state && !bdev_pr_read(s->bd, state));
	for (uint32_t k = 0; k < state->key_count; k++)
		count += fence_key_parse(state->keys[k], &slot, &generation) &&
			 slot == s->slot[i];
	s->is_reserved = state->is_reserved;
	s->key_count = state->key_count;
	free(state);
	return count;
}

/* Each session has the key, the reservation stands; who leaves leaves its key, who joins
 * next removes it. */
static void come_and_go(void *arg)
{
	struct scene s;

	(void)arg;
	begin(&s);
	enter(&s, 0, stay);
	wait_for_mounts(&s, 1);
	SIM_CHECK(keys_of(&s, 0) == 2 && s.is_reserved && s.key_count == 2);
	all_leave(&s);
	SIM_CHECK(keys_of(&s, 0) == 2 && s.is_reserved);
	enter(&s, 1, stay);
	wait_for_mounts(&s, 2);
	SIM_CHECK(keys_of(&s, 1) == 2 && s.is_reserved && s.key_count == 2);
	all_leave(&s);
	end(&s);
}

static void who_joins_has_a_key_and_removes_old_ones(void **state)
{
	(void)state;
	sim_some_seeds(1, 20, come_and_go, NULL);
}

/* What a host has sent, and read, since it began to mount. */
static void count_submission(const struct simdisk_submission *sub, void *arg)
{
	struct scene *s = arg;

	if (sub->host != s->parts[1].host || s->mounted > 1)
		return;
	s->sent++;
	s->bytes_read += sub->op == BDEV_READ ? sub->len : 0;
}

/* The slots are a MiB: they are read once, not again and again. */
static void join(void *arg)
{
	struct scene s;

	(void)arg;
	begin(&s);
	simdisk_on_submit(s.c->disk, count_submission, &s);
	enter(&s, 0, stay);
	wait_for_mounts(&s, 1);
	enter(&s, 1, stay);
	wait_for_mounts(&s, 2);
	sim_trace("a join: %u commands, %llu bytes read", s.sent,
		  (unsigned long long)s.bytes_read);
	SIM_CHECK(s.sent <= JOIN_COMMANDS && s.bytes_read <= JOIN_BYTES);
	all_leave(&s);
	end(&s);
}

static void a_join_takes_few_commands_and_bytes(void **state)
{
	(void)state;
	sim_some_seeds(50, 5, join, NULL);
}

/* A host sleeps, is taken over and wakes up. */
static void oversleep(void *arg)
{
	struct scene s;

	(void)arg;
	begin(&s);
	enter(&s, 0, stay);
	wait_for_mounts(&s, 1);
	struct sim_host *sleeper = s.parts[0].host;
	task_sleep_until(clock_now() + sim_random(5 * S));
	oracle_trouble(s.c->oracle, sleeper, true);
	sim_host_pause(sleeper);
	enter(&s, 1, bury_and_stay);
	wait_for_mounts(&s, 3);
	SIM_CHECK(keys_of(&s, 0) == 0 && keys_of(&s, 1) == 2 && s.is_reserved);
	SIM_CHECK(simdisk_reinstated(s.c->disk) == 1); /* what its slot named */
	oracle_resumed(s.c->oracle, sleeper);
	sim_host_resume(sleeper);
	task_sleep_until(clock_now() + 30 * S);
	SIM_CHECK(keys_of(&s, 0) == 0 && s.is_reserved);
	all_leave(&s);
	SIM_CHECK(s.state[0] == -ESTALE && !s.state[1]);
	end(&s);
}

static void who_was_fenced_never_registers_again(void **state)
{
	(void)state;
	sim_some_seeds(100, 20, oversleep, NULL);
}

static void who_registers_again_is_found(void **state)
{
	uint64_t seed;

	(void)state;
	faults = FAULT(REREGISTER);
	assert_true(sim_some_seed_fails(100, 5, oversleep, NULL, "keys_of(&s, 0) == 0",
					&seed));
	faults = NO_FAULT;
	printf("# re-register after 2A/05: found with seed %lu\n", seed);
}

/* The target is restarted and has forgotten all keys; nobody is dead. */
static void forget(void *arg)
{
	struct scene s;

	(void)arg;
	begin(&s);
	enter(&s, 0, stay);
	enter(&s, 1, stay);
	wait_for_mounts(&s, 2);
	task_sleep_until(clock_now() + sim_random(10 * S));
	oracle_trouble(s.c->oracle, NULL, true);
	simdisk_power_fail(s.c->disk);
	SIM_CHECK(keys_of(&s, 0) == 0 && keys_of(&s, 1) == 0 && !s.is_reserved);
	task_sleep_until(clock_now() + 30 * S);
	SIM_CHECK(keys_of(&s, 0) == 2 && keys_of(&s, 1) == 2 && s.is_reserved);
	all_leave(&s);
	SIM_CHECK(!s.state[0] && !s.state[1]);
	end(&s);
}

static void lost_keys_are_registered_again(void **state)
{
	(void)state;
	sim_some_seeds(200, 30, forget, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_joins_has_a_key_and_removes_old_ones),
		cmocka_unit_test(a_join_takes_few_commands_and_bytes),
		cmocka_unit_test(who_was_fenced_never_registers_again),
		cmocka_unit_test(who_registers_again_is_found),
		cmocka_unit_test(lost_keys_are_registered_again),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
