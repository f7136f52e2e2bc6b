/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on a volume and on a model of it (tests/lib/script.h), while the n-th
 * I/O or the n-th allocation of the library fails, once or that and all after it (I/O:
 * for a minute; what is of unknown fate is tried again for as long as it takes), for
 * every n. The first operation that returns an error because of it is the last. Another
 * host takes over what is left and finds what the model says: all that was acknowledged,
 * and of the last operation nothing, all, or in the one file that it changed some; every
 * lock can be had, fsck is content, and no memory is lost.
 *
 * SIM_CASE, SIM_SEED=n replay one: n = script * 100000 + what fails. FULL: every n.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/lib/script.h"
#include "tests/sim/cluster.h"
#include "tests/sim/memfault.h"
#include "vmfs/format6.h"

#define OPS 30u
#define GROWN_PES 3u
#define NUMBERS 100000u /* of what may fail, in one script */
#define TRIALS 16u	/* of each script, unless FULL is set */
#define PATIENCE_NS (120 * NS_PER_S)

enum what { AN_IO, MEMORY };

struct sweep {
	enum what what;
	bool is_for_ever, is_6;
	uint32_t upgraded; /* VMFS-5 that was VMFS-3: its block size; 0: it was not */
	bool is_large;	 /* VMFS-6: the files of large_files are there */
	bool is_growing; /* VMFS-6: the volume grows in the middle of the script */
	/* Shared: how much could fail, and while it grows; found in a life without. */
	struct counts {
		uint64_t total, grow_from, grow_to;
	} *counts;
};

struct life {
	const struct sweep *sweep;
	struct cluster *c;
	uint64_t fail_at;
	struct script_op ops[OPS];
	unsigned int done;
	bool has_failed;      /* ops[done], or growing in front of it */
	bool has_not_grown;   /* the latter */
};

static const struct script_place everywhere;

/* One is to be zeroed, so that whoever writes to it divides it. */
static const struct largefile large_files[] = {
	{ "/a", 3 << 20, .number = 1, .to = VMFS6_SFB_PER_LFB, .is_tbz = true },
	{ "/b", 3 << 20, .number = 2, .to = VMFS6_SFB_PER_LFB },
};

/* What the volume holds at first. */
static void begin_model(const struct life *l, struct model *m)
{
	struct model_node *node;

	model_init(m);
	for (unsigned int i = 0; l->sweep->is_large && i < ARRAY_SIZE(large_files); i++) {
		SIM_CHECK(!model_create(m, large_files[i].path, 0600, true, &node));
		model_truncate(node, large_files[i].length);
	}
}

static void make_script(struct life *l)
{
	uint64_t random = sim_seed() / NUMBERS * 1000003;
	struct model m;

	begin_model(l, &m);
	for (unsigned int i = 0; i < OPS; i++)
		script_make_next(&random, &everywhere, &m, &l->ops[i]);
	model_done(&m);
}

static bool is_of_fault(int rc)
{
	return rc == -EIO || rc == -ENOMEM || rc == -ESTALE || rc == -ENODEV;
}

static uint64_t counted(const struct life *l, const struct iofault *fault)
{
	return l->sweep->what == AN_IO ? fault->count : memfault.count;
}

/* false: it failed, which ends this life. */
static bool grow_before(struct life *l, struct vmfs_volume *vol,
			const struct iofault *fault)
{
	uint64_t added, from = counted(l, fault) + 1;
	int rc = vmfs_volume_grow(vol, NULL, NULL, &added);

	if (!l->fail_at) {
		l->sweep->counts->grow_from = from;
		l->sweep->counts->grow_to = counted(l, fault);
	}
	sim_trace("grow: %d", rc);
	l->has_not_grown = rc != 0;
	if (rc && (!l->fail_at || rc == -ENOSPC || rc == -EUCLEAN))
		sim_fail("grow: %d", rc);
	return !rc;
}

/* What the one could not, another can; afterwards the volume is as large as it may be. */
static void check_size(const struct life *l, struct vmfs_volume *vol)
{
	struct vmfs_volume_info info;
	uint64_t added;
	int rc = vmfs_volume_grow(vol, NULL, NULL, &added);

	if (rc && rc != -ENOSPC)
		sim_fail("grow again: %d", rc);
	if (!rc && l->done > OPS / 2)
		sim_fail("it had grown, and grows again");
	SIM_CHECK(!vmfs_volume_info(vol, &info));
	SIM_CHECK(info.block_count == GROWN_PES * LVM_PE_SIZE / info.block_size_bytes);
}

static void live(void *arg)
{
	struct life *l = arg;
	bool is_io = l->sweep->what == AN_IO;
	struct iofault fault = { .for_ns = l->sweep->is_for_ever ? 60 * NS_PER_S : 0 };
	struct cluster_mount m = { .fault = is_io ? &fault : NULL };

	/* Joining and leaving are sim_alloc_faults' and sim_file_faults' story. */
	SIM_CHECK(!cluster_mount(l->c, &m));
	fault.count = 0;
	fault.fail_at = l->fail_at;
	if (is_io && l->fail_at && l->c->oracle) /* it may give the volume up */
		oracle_trouble(l->c->oracle, m.host, true);
	if (!is_io)
		memfault_arm(l->fail_at, l->sweep->is_for_ever);
	for (; l->done < OPS && !l->has_failed; l->done += !l->has_failed) {
		char text[128];
		if (l->sweep->is_growing && l->done == OPS / 2 &&
		    !grow_before(l, m.vol, &fault))
			break;
		int rc = script_apply(m.vol, &l->ops[l->done], 0);

		sim_trace("%s: %d", script_text(&l->ops[l->done], text), rc);
		/* -EBUSY: nobody can tell any more whether the lock is ours. */
		l->has_failed = is_of_fault(rc) || (rc == -EBUSY && is_io);
		if (l->has_failed && !l->fail_at)
			sim_fail("%s: %d, and nothing failed", text, rc);
		if (rc == -EUCLEAN || (rc == -EBUSY && !is_io) || rc == -ENOSPC)
			sim_fail("%s: %d", text, rc);
	}
	if (!l->fail_at)
		l->sweep->counts->total = counted(l, &fault);
	fault.fail_at = 0;
	memfault_disarm();
	(void)!cluster_unmount(&m); /* it closes; another host looks after the rest */
}

static void look(struct life *l, struct vmfs_volume *vol)
{
	struct model before, after;
	struct script_look look = {
		.vol = vol,
		.place = &everywhere,
		.before = &before,
		.after = &after,
		.under_way = l->has_failed ? &l->ops[l->done] : NULL,
	};

	begin_model(l, &before);
	begin_model(l, &after);
	for (unsigned int i = 0; i < l->done; i++)
		script_model(&before, &l->ops[i]);
	for (unsigned int i = 0; i < l->done + l->has_failed; i++)
		script_model(&after, &l->ops[i]);
	if (!script_judge(&look))
		sim_fail("after %u operations: %s", l->done, look.why);
	model_done(&before);
	model_done(&after);
}

/* Every operation of the script can be tried: no lock has stayed. */
static void inspect(void *arg)
{
	struct life *l = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(l->c, &m));
	cluster_bury(&m);
	look(l, m.vol);
	if (l->sweep->is_growing)
		check_size(l, m.vol);
	for (unsigned int i = 0; i < OPS; i++) {
		int rc = script_apply(m.vol, &l->ops[i], clock_now() + PATIENCE_NS);

		if (is_of_fault(rc) || rc == -EBUSY || rc == -EUCLEAN)
			sim_fail("afterwards: %d", rc);
	}
	SIM_CHECK(!cluster_unmount(&m));
}

static void one_life(void *arg)
{
	struct life l = { .sweep = arg, .fail_at = sim_seed() % NUMBERS };
	struct sim_host *a = sim_host_new("a", 0);
	int64_t live_before;

	make_script(&l);
	l.c = l.sweep->is_large	   ? cluster_new6_large(BDEV_CAW_ATS)
	      : l.sweep->is_growing ? cluster_new6_with_room(BDEV_CAW_ATS, GROWN_PES)
	      : l.sweep->is_6	? cluster_new6(BDEV_CAW_ATS, NULL)
	      : l.sweep->upgraded
		      ? cluster_new_upgraded(BDEV_CAW_ATS, l.sweep->upgraded)
				: cluster_new(BDEV_CAW_ATS);
	for (unsigned int i = 0; l.sweep->is_large && i < ARRAY_SIZE(large_files); i++)
		cluster_make_large(l.c, &large_files[i]);
	live_before = memfault.live;
	SIM_CHECK(sim_host_run(a, "live", live, &l));
	if (memfault.live != live_before)
		sim_fail("%lld pieces of memory are left",
			 (long long)(memfault.live - live_before));
	if (l.c->oracle)
		oracle_trouble(l.c->oracle, a, true);
	SIM_CHECK(sim_host_run(sim_host_new("b", 0), "inspect", inspect, &l));
	/* Who could not read or write may have lost its journal's block. */
	cluster_check(l.c, l.sweep->what == AN_IO);
	cluster_free(l.c);
}

static void sweep(struct sweep s)
{
	uint64_t scripts = (s.is_6 || s.upgraded) && !getenv("FULL") ? 1 : 2;

	s.counts = mmap(NULL, sizeof(*s.counts), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(s.counts != MAP_FAILED);
	for (uint64_t script = 1; script <= scripts; script++) {
		sim_each_seed(script * NUMBERS, 1, one_life, &s);
		if (getenv("SIM_SEED"))
			return;
		uint64_t from = s.is_growing ? s.counts->grow_from : 1;
		uint64_t to = s.is_growing ? s.counts->grow_to : s.counts->total;
		assert_true(to < NUMBERS);
		uint64_t step = getenv("FULL") ? 1 : 1 + (to - from) / TRIALS;
		(void)printf("# script %llu: %llu to %llu may fail, every %llu. does\n",
			     (unsigned long long)script, (unsigned long long)from,
			     (unsigned long long)to, (unsigned long long)step);
		for (uint64_t n = from; n <= to; n += step)
			sim_each_seed(script * NUMBERS + n, 1, one_life, &s);
	}
}

static void one_io_fails(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = AN_IO });
}

static void all_io_fails_for_a_minute(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = AN_IO, .is_for_ever = true });
}

static void one_allocation_fails(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = MEMORY });
}

static void all_allocations_fail_from_one_on(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = MEMORY, .is_for_ever = true });
}

static void one_io_fails_on_vmfs6(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = AN_IO, .is_6 = true });
}

static void all_io_fails_for_a_minute_on_vmfs6(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = AN_IO, .is_for_ever = true, .is_6 = true });
}

static void one_allocation_fails_on_vmfs6(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = MEMORY, .is_6 = true });
}

static void all_allocations_fail_from_one_on_on_vmfs6(void **state)
{
	(void)state;
	if (!getenv("FULL"))
		skip();
	sweep((struct sweep){ .what = MEMORY, .is_for_ever = true, .is_6 = true });
}

static void one_io_fails_with_large_blocks(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = AN_IO, .is_6 = true, .is_large = true });
}

static void one_allocation_fails_with_large_blocks(void **state)
{
	(void)state;
	if (!getenv("FULL"))
		skip();
	sweep((struct sweep){ .what = MEMORY, .is_6 = true, .is_large = true });
}

static void all_io_fails_for_a_minute_with_large_blocks(void **state)
{
	(void)state;
	if (!getenv("FULL"))
		skip();
	sweep((struct sweep){
		.what = AN_IO, .is_for_ever = true, .is_6 = true, .is_large = true });
}

static void all_allocations_fail_from_one_on_with_large_blocks(void **state)
{
	(void)state;
	if (!getenv("FULL"))
		skip();
	sweep((struct sweep){
		.what = MEMORY, .is_for_ever = true, .is_6 = true, .is_large = true });
}

static void one_io_fails_while_vmfs6_grows(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = AN_IO, .is_6 = true, .is_growing = true });
}

static void one_allocation_fails_while_vmfs6_grows(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = MEMORY, .is_6 = true, .is_growing = true });
}

static void one_io_fails_on_an_upgraded_volume(void **state)
{
	(void)state;
	sweep((struct sweep){ .what = AN_IO, .upgraded = 2u << 20 });
}

static void all_io_fails_for_a_minute_on_an_upgraded_volume(void **state)
{
	(void)state;
	if (!getenv("FULL"))
		skip();
	sweep((struct sweep){ .what = AN_IO, .is_for_ever = true, .upgraded = 8u << 20 });
}

static void one_allocation_fails_on_an_upgraded_volume(void **state)
{
	(void)state;
	if (!getenv("FULL"))
		skip();
	sweep((struct sweep){ .what = MEMORY, .upgraded = 1u << 20 });
}

static void all_allocations_fail_from_one_on_on_an_upgraded_volume(void **state)
{
	(void)state;
	if (!getenv("FULL"))
		skip();
	sweep((struct sweep){
		.what = MEMORY, .is_for_ever = true, .upgraded = 4u << 20 });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_io_fails),
		cmocka_unit_test(all_io_fails_for_a_minute),
		cmocka_unit_test(one_allocation_fails),
		cmocka_unit_test(all_allocations_fail_from_one_on),
		cmocka_unit_test(one_io_fails_on_vmfs6),
		cmocka_unit_test(all_io_fails_for_a_minute_on_vmfs6),
		cmocka_unit_test(one_allocation_fails_on_vmfs6),
		cmocka_unit_test(all_allocations_fail_from_one_on_on_vmfs6),
		cmocka_unit_test(one_io_fails_with_large_blocks),
		cmocka_unit_test(all_io_fails_for_a_minute_with_large_blocks),
		cmocka_unit_test(one_allocation_fails_with_large_blocks),
		cmocka_unit_test(all_allocations_fail_from_one_on_with_large_blocks),
		cmocka_unit_test(one_io_fails_while_vmfs6_grows),
		cmocka_unit_test(one_allocation_fails_while_vmfs6_grows),
		cmocka_unit_test(one_io_fails_on_an_upgraded_volume),
		cmocka_unit_test(all_io_fails_for_a_minute_on_an_upgraded_volume),
		cmocka_unit_test(one_allocation_fails_on_an_upgraded_volume),
		cmocka_unit_test(
			all_allocations_fail_from_one_on_on_an_upgraded_volume),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
