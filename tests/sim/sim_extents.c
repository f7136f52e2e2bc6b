/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservation keys on a volume of two extents (LOCKING.md 9.3): every session of every
 * extent has the key, and a dead host is not taken over before its key is gone from all
 * of them. No slot can name the sessions here, so the barrier is a wait, or a reset of
 * both.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bdev/fence.h"
#include "tests/sim/cluster.h"
#include "vmfs/fence.h"

#define S NS_PER_S
#define EXTENT_SIZE (1ull << 30)
#define PATH "/held"

struct scene;

struct member {
	struct scene *s;
	struct bdev *bd[2], *heartbeat;
	struct vmfs_volume *vol;
	uint32_t slot;
	bool is_holder, has_tried;
	int result; /* of its last try */
};

struct scene {
	struct cluster *c;
	struct simdisk *second;
	struct bdev *look[2]; /* the world's */
	struct member a, b;
	bool resets_units, is_over;
	unsigned int tries; /* that b shall make */
};

static int join(struct member *m, unsigned int extents)
{
	struct sim_host *self = sim_host_self();
	struct vmfs_open_options options = {
		.devices = m->bd,
		.device_count = extents,
		.host_name = sim_host_name(self),
		.resets_units = m->s->resets_units,
	};
	struct uuid owner;

	m->bd[0] = simdisk_attach(m->s->c->disk, self);
	m->bd[1] = simdisk_attach(m->s->second, self);
	m->heartbeat = simdisk_attach(m->s->c->disk, self);
	options.heartbeat_device = m->heartbeat;
	int err = vmfs_volume_open(&options, &m->vol);
	return err ? err : vmfs_volume_identity(m->vol, &owner, &m->slot);
}

static void leave(struct member *m)
{
	SIM_CHECK(!vmfs_volume_close(m->vol));
	bdev_close(m->heartbeat);
	bdev_close(m->bd[1]);
	bdev_close(m->bd[0]);
}

static void grow(void *arg)
{
	struct member m = { .s = arg };
	uint64_t added;

	SIM_CHECK(!join(&m, 1));
	SIM_CHECK(!vmfs_volume_grow(m.vol, m.bd[1], "second", &added) && added);
	leave(&m);
}

static void hold(void *arg)
{
	struct member *a = arg;
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;

	SIM_CHECK(!join(a, 2));
	SIM_CHECK(!vmfs_file_open(a->vol, PATH, &options, &file, NULL));
	a->is_holder = true;
	for (;;)
		task_sleep_until(clock_now() + S);
}

/* Tries to get what a has, as often as the scene asks for it. */
static void want(void *arg)
{
	struct member *b = arg;
	struct scene *s = b->s;
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file = NULL;
	unsigned int tries = 0;

	SIM_CHECK(!join(b, 2));
	while (!s->is_over) {
		task_sleep_until(clock_now() + S / 10);
		if (tries == s->tries)
			continue;
		tries++;
		options.deadline = clock_now() + 40 * S;
		b->result = vmfs_file_open(b->vol, PATH, &options, &file, NULL);
		b->has_tried = true;
	}
	SIM_CHECK(file && !vmfs_file_close(file));
	leave(b);
}

static unsigned int keys_of(struct scene *s, unsigned int extent, const struct member *m)
{
	struct bdev_pr_state *state = calloc(1, sizeof(*state));
	unsigned int count = 0;
	uint32_t slot, generation;

	SIM_CHECK(state && !bdev_pr_read(s->look[extent], state));
	SIM_CHECK(state->is_reserved);
	for (uint32_t k = 0; k < state->key_count; k++)
		count += fence_key_parse(state->keys[k], &slot, &generation) &&
			 slot == m->slot;
	free(state);
	return count;
}

static int let_b_try(struct scene *s)
{
	s->b.has_tried = false;
	s->tries++;
	while (!s->b.has_tried)
		task_sleep_until(clock_now() + S);
	return s->b.result;
}

static void begin(struct scene *s)
{
	struct simdisk_behaviour how = simdisk_polite();

	s->c = cluster_new_unwatched(BDEV_CAW_ATS);
	s->second = simdisk_new(EXTENT_SIZE, BDEV_CAW_ATS);
	how.has_pr = true;
	simdisk_behave(s->c->disk, &how);
	simdisk_behave(s->second, &how);
	s->look[0] = simdisk_attach(s->c->disk, sim_host_world());
	s->look[1] = simdisk_attach(s->second, sim_host_world());
	s->a.s = s->b.s = s;
	cluster_make_file(s->c, PATH, 512);
	SIM_CHECK(sim_host_run(sim_host_new("maker", 0), "grow", grow, s));
}

static void fence_on_all(void *arg)
{
	struct scene *s = calloc(1, sizeof(*s));
	struct sim_host *a = sim_host_new("a", 0), *b = sim_host_new("b", 0);

	SIM_CHECK(s);
	s->resets_units = *(const bool *)arg;
	begin(s);
	(void)sim_host_start(a, "hold", hold, &s->a);
	while (!s->a.is_holder)
		task_sleep_until(clock_now() + S);
	struct task *t = sim_host_start(b, "want", want, &s->b);
	SIM_CHECK(let_b_try(s) == -EBUSY);
	SIM_CHECK(keys_of(s, 0, &s->a) == 2 && keys_of(s, 1, &s->a) == 1);
	SIM_CHECK(keys_of(s, 0, &s->b) == 2 && keys_of(s, 1, &s->b) == 1);
	/* It dies, and b cannot reach the second extent any more: it may not go on. */
	sim_host_kill(a);
	s->b.has_tried = false;
	s->tries++;
	task_sleep_until(clock_now() + sim_random(20 * S));
	simdisk_path_down(s->b.bd[1], true);
	bool was_faster = keys_of(s, 1, &s->a) == 0;
	task_sleep_until(clock_now() + 60 * S);
	SIM_CHECK(was_faster ||
		  (keys_of(s, 1, &s->a) == 1 && (!s->b.has_tried || s->b.result)));
	simdisk_path_down(s->b.bd[1], false);
	while (!s->b.has_tried)
		task_sleep_until(clock_now() + S);
	for (unsigned int n = 0; s->b.result && n < 5; n++)
		(void)let_b_try(s);
	SIM_CHECK(s->b.result == 0);
	SIM_CHECK(keys_of(s, 0, &s->a) == 0 && keys_of(s, 1, &s->a) == 0);
	s->is_over = true;
	task_join(t);
	bdev_close(s->look[0]);
	bdev_close(s->look[1]);
	cluster_free(s->c);
	simdisk_free(s->second);
	free(s);
}

static void who_is_dead_is_fenced_on_every_extent(void **state)
{
	bool resets_units = false;

	(void)state;
	sim_each_seed(1, 5, fence_on_all, &resets_units);
}

static void and_every_extent_is_reset(void **state)
{
	bool resets_units = true;

	(void)state;
	sim_each_seed(100, 5, fence_on_all, &resets_units);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_dead_is_fenced_on_every_extent),
		cmocka_unit_test(and_every_extent_is_reset),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
