/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of one volume on a plain file: slots, locks, transactions, take-over. The
 * volume is formatted by mkfs into a sparse file; "hosts" are two opens in this process,
 * or a forked child that is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "mkfs/write.h"
#include "tests/lib/collect.h"
#include "vmfs/heartbeat.h"
#include "vmfs/takeover.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

#define SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define SECTOR 512u

struct rig {
	char path[64];
};

struct host {
	struct bdev *bd;
	struct vmfs_volume *vol;
	struct collect told;
};

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct bdev *bd;

	strcpy(rig->path, "/tmp/vmfs-member-XXXXXX");
	int file_fd = mkstemp(rig->path);
	assert_true(file_fd >= 0 && !ftruncate(file_fd, SIZE) && !close(file_fd));
	assert_int_equal(bdev_file_open(rig->path, 0, NULL, &bd), 0);
	assert_int_equal(mkfs_layout_make(rig->path, bd->size, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, bd);
	strcpy(options.label, "unit");
	assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
	bdev_close(bd);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	unlink(rig->path);
	free(rig);
	return 0;
}

/* tweak: makes another kind of device of it; NULL: no. */
static int join_tweaked(const struct rig *rig, const char *name, struct host *ret,
			void (*tweak)(struct bdev *bd))
{
	struct vmfs_open_options options = {
		.devices = &ret->bd,
		.device_count = 1,
		.host_name = name,
		.time_divisor = 8,
	};

	/* A machine's slot, and so where it allocates, follows from its name: the hosts
	   of these tests keep out of each other's clusters. */
	memset(options.machine.b, name[0], sizeof(options.machine.b));
	collect_init(&ret->told);
	options.reporter = &ret->told.base;
	assert_int_equal(bdev_file_open(rig->path, 0, options.reporter, &ret->bd), 0);
	if (tweak)
		tweak(ret->bd);
	int err = vmfs_volume_open(&options, &ret->vol);
	if (err && !tweak) {
		bdev_close(ret->bd);
		collect_done(&ret->told);
	}
	return err;
}

static int join_as(const struct rig *rig, const char *name, struct host *ret)
{
	return join_tweaked(rig, name, ret, NULL);
}

static int leave(struct host *h)
{
	int err = vmfs_volume_close(h->vol);

	bdev_close(h->bd);
	collect_done(&h->told);
	return err;
}

static uint64_t free_blocks(struct host *h)
{
	struct vmfs_volume_info info;

	vmfs_volume_forget_counts(h->vol); /* the other member changes them */
	assert_int_equal(vmfs_volume_info(h->vol, &info), 0);
	return info.free_block_count;
}

struct take {
	uint32_t want;
	vmfs_addr addrs[16];
	uint32_t count;
};

static int build_take(struct vmfs_txn *t, void *arg)
{
	struct take *take = arg;

	struct resource_wish wish = { RESOURCE_FBB, .want = take->want };

	return resource_alloc(t, &wish, take->addrs, &take->count);
}

static int build_give(struct vmfs_txn *t, void *arg)
{
	struct take *take = arg;
	int err = 0;

	for (uint32_t i = 0; !err && i < take->count; i++)
		err = resource_free(t, take->addrs[i], (vmfs_addr){ 0 });
	return err;
}

static void a_member_takes_a_slot_and_leaves_nothing(void **state)
{
	struct host a;
	struct vmfs_member members[4];
	struct uuid owner;
	uint32_t slot;

	assert_int_equal(join_as(*state, "alpha", &a), 0);
	uint64_t with_journal = free_blocks(&a);
	assert_int_equal(vmfs_volume_members(a.vol, members, 4), 1);
	assert_true(members[0].is_self);
	assert_string_equal(members[0].host_name, "alpha");
	assert_int_equal(vmfs_volume_identity(a.vol, &owner, &slot), 0);
	assert_true(uuid_equal(&owner, &members[0].owner));
	assert_int_equal(slot, members[0].slot);
	assert_int_equal(leave(&a), 0);
	/*
	 * Again: a new incarnation finds the slot free and its journal's block given
	 * back.
	 */
	assert_int_equal(join_as(*state, "alpha", &a), 0);
	assert_int_equal(free_blocks(&a), with_journal);
	assert_int_equal(vmfs_volume_members(a.vol, members, 4), 1);
	assert_int_equal(leave(&a), 0);
}

static void a_commit_is_seen_by_the_other_member(void **state)
{
	struct host a, b;
	struct take take = { .want = 5 };

	assert_int_equal(join_as(*state, "alpha", &a), 0);
	assert_int_equal(join_as(*state, "beta", &b), 0);
	uint64_t before = free_blocks(&b);
	assert_int_equal(vmfs_txn_run(a.vol, build_take, &take, 0, NULL), 0);
	assert_int_equal(take.count, 5);
	assert_int_equal(free_blocks(&b), before - 5);
	/*
	 * b gives them back: it has to wait until a no longer retains the cluster's lock.
	 */
	assert_int_equal(
		vmfs_txn_run(b.vol, build_give, &take, clock_now() + 20 * NS_PER_S, NULL),
		0);
	assert_int_equal(free_blocks(&a), before);
	assert_int_equal(leave(&a), 0);
	assert_int_equal(leave(&b), 0);
}

static struct vmfs_lock_id cluster_lock(struct host *h, uint32_t cluster)
{
	struct vmfs_lock_id id;

	assert_int_equal(resource_lock_id(h->vol, RESOURCE_PBC, cluster, &id), 0);
	return id;
}

static void a_held_lock_is_refused_with_its_holder(void **state)
{
	struct host a, b;
	struct vmfs_holder holder = { 0 };
	char text[VMFS_HOLDER_TEXT_SIZE];

	assert_int_equal(join_as(*state, "alpha", &a), 0);
	assert_int_equal(join_as(*state, "beta", &b), 0);
	struct vmfs_lock_id id = cluster_lock(&a, 0);
	assert_int_equal(vmfs_lock_acquire(a.vol, &id, LOCK_EXCLUSIVE, 0, NULL), 0);
	assert_true(vmfs_lock_is_mine(a.vol, id.vol_off));
	assert_int_equal(vmfs_lock_acquire(b.vol, &id, LOCK_EXCLUSIVE, 0, &holder),
			 -EBUSY);
	assert_string_equal(holder.host_name, "alpha");
	(void)text;
	assert_int_equal(vmfs_lock_acquire(b.vol, &id, LOCK_READ_ONLY, 0, &holder),
			 -EBUSY);
	/* Nor may the same process take it twice. */
	assert_int_equal(vmfs_lock_acquire(a.vol, &id, LOCK_EXCLUSIVE, 0, &holder),
			 -EBUSY);
	assert_int_equal(vmfs_lock_release(a.vol, &id), 0);
	assert_int_equal(vmfs_lock_acquire(b.vol, &id, LOCK_EXCLUSIVE, 0, NULL), 0);
	assert_int_equal(vmfs_lock_release(b.vol, &id), 0);
	assert_int_equal(leave(&a), 0);
	assert_int_equal(leave(&b), 0);
}

static void readers_share_a_lock(void **state)
{
	struct host a, b;
	struct vmfs_lock_info info;

	assert_int_equal(join_as(*state, "alpha", &a), 0);
	assert_int_equal(join_as(*state, "beta", &b), 0);
	struct vmfs_lock_id id = cluster_lock(&a, 0);
	assert_int_equal(vmfs_lock_acquire(a.vol, &id, LOCK_READ_ONLY, 0, NULL), 0);
	assert_int_equal(vmfs_lock_acquire(b.vol, &id, LOCK_READ_ONLY, 0, NULL), 0);
	assert_int_equal(vmfs_lock_look(a.vol, &id, &info), 0);
	assert_int_equal(info.mode, LOCK_READ_ONLY);
	assert_int_equal(info.holder_count, 2);
	assert_int_equal(vmfs_lock_release(a.vol, &id), 0);
	assert_int_equal(vmfs_lock_look(a.vol, &id, &info), 0);
	assert_int_equal(info.holder_count, 1);
	assert_string_equal(info.holders[0].host_name, "beta");
	assert_int_equal(vmfs_lock_release(b.vol, &id), 0);
	assert_int_equal(vmfs_lock_look(a.vol, &id, &info), 0);
	assert_int_equal(info.mode, LOCK_FREE);
	assert_int_equal(leave(&a), 0);
	assert_int_equal(leave(&b), 0);
}

/* A child that joins, takes blocks, tells where, and waits to be killed. */
static pid_t start_victim(const struct rig *rig, struct take *ret_take)
{
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	pid_t pid = fork();
	if (!pid) {
		struct host v;
		struct take take = { .want = ret_take->want };

		if (join_as(rig, "victim", &v) ||
		    vmfs_txn_run(v.vol, build_take, &take, 0, NULL) ||
		    write(pipe_fds[1], &take, sizeof(take)) != sizeof(take))
			_exit(1);
		pause();
		_exit(0);
	}
	close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], ret_take, sizeof(*ret_take)),
			 sizeof(*ret_take));
	close(pipe_fds[0]);
	return pid;
}

static void peek(const struct rig *rig, uint64_t vol_off, void *buf)
{
	int file_fd = open(rig->path, O_RDONLY);

	assert_int_equal(pread(file_fd, buf, SECTOR, (off_t)(LVM_DATA_OFF + vol_off)),
			 SECTOR);
	close(file_fd);
}

static void poke(const struct rig *rig, uint64_t vol_off, const void *buf)
{
	int file_fd = open(rig->path, O_WRONLY);

	assert_int_equal(pwrite(file_fd, buf, SECTOR, (off_t)(LVM_DATA_OFF + vol_off)),
			 SECTOR);
	assert_int_equal(fsync(file_fd), 0);
	close(file_fd);
}

static uint64_t cluster_of_block(struct host *h, vmfs_addr addr)
{
	const struct vmfs_resource *fbb = &h->vol->resources[RESOURCE_FBB];
	uint64_t off;

	assert_int_equal(resource_cluster_off(h->vol, RESOURCE_FBB,
					      addr_fb_number(addr) / fbb->per_cluster,
					      &off),
			 0);
	return off;
}

static uint32_t slot_of_name(struct host *h, const char *name)
{
	struct vmfs_member members[8];
	int count = vmfs_volume_members(h->vol, members, 8);

	for (int i = 0; i < count; i++)
		if (!strcmp(members[i].host_name, name))
			return members[i].slot;
	fail_msg("no member %s", name);
	return 0;
}

/* The victim's last in-place write is undone on disk, as if it had been lost: its journal
 * must bring it back, and only after its death. */
static void a_dead_member_is_taken_over_and_its_journal_replayed(void **state)
{
	struct host b;
	struct take take = { .want = 7 }, more = { .want = 1 };
	struct vmfs_cluster_disk after, before;

	assert_int_equal(join_as(*state, "beta", &b), 0);
	pid_t pid = start_victim(*state, &take);
	uint64_t at = cluster_of_block(&b, take.addrs[0]) + SECTOR;
	uint32_t slot = slot_of_name(&b, "victim");
	assert_int_equal(vmfs_takeover(b.vol, slot), -EAGAIN);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	peek(*state, at, &after);
	before = after;
	before.free = le32_of(le32_get(after.free) + take.count);
	for (uint32_t i = 0; i < take.count; i++) {
		uint32_t bit = addr_fb_number(take.addrs[i]) %
			       b.vol->resources[RESOURCE_FBB].per_cluster;
		before.bitmap[bit / 8] |= (uint8_t)(1u << bit % 8);
	}
	poke(*state, at, &before);
	assert_int_equal(vmfs_takeover(b.vol, slot), 0);
	assert_true(collect_has(&b.told, "joined in "));
	assert_true(collect_has(&b.told, "is dead, "));
	assert_true(collect_has(&b.told, "took over dead host victim"));
	struct vmfs_cluster_disk now;
	peek(*state, at, &now);
	/*
	 * All of the victim's blocks are taken again; its journal's own was given back.
	 */
	assert_true(le32_get(now.free) >= le32_get(after.free));
	for (uint32_t i = 0; i < take.count; i++) {
		uint32_t bit = addr_fb_number(take.addrs[i]) %
			       b.vol->resources[RESOURCE_FBB].per_cluster;
		assert_int_equal(now.bitmap[bit / 8] >> bit % 8 & 1, 0);
	}
	/* Its locks are stale now: no waiting. */
	assert_int_equal(vmfs_txn_run(b.vol, build_take, &more, 0, NULL), 0);
	assert_int_equal(vmfs_takeover(b.vol, slot), 0);
	assert_int_equal(leave(&b), 0);
}

/* A stopped process may go on: its locks stay its own however long it sleeps. */
static void a_stopped_member_is_not_taken_over(void **state)
{
	struct host b;
	struct take take = { .want = 1 };

	assert_int_equal(join_as(*state, "beta", &b), 0);
	pid_t pid = start_victim(*state, &take);
	uint32_t slot = slot_of_name(&b, "victim");
	assert_int_equal(kill(pid, SIGSTOP), 0);
	/* longer than T_dead of the fast profile */
	uint64_t until = clock_now() + 4 * NS_PER_S;
	while (clock_now() < until) {
		assert_int_equal(vmfs_takeover(b.vol, slot), -EAGAIN);
		task_sleep_until(clock_now() + 200 * NS_PER_MS);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(vmfs_takeover(b.vol, slot), 0);
	assert_int_equal(leave(&b), 0);
}

static bool note_phase(void *arg, const struct vmfs_break_seen *seen)
{
	enum vmfs_break_phase *last = arg;

	assert_true(seen->is_liveness);
	assert_string_equal(seen->host.host_name, "victim");
	*last = seen->phase;
	return true;
}

/* A process that exists holds its liveness lock: no statement of an operator counts
 * against that. Dead, it is broken without waiting. */
static void a_process_that_exists_is_not_broken(void **state)
{
	struct host b;
	struct take take = { .want = 1 };
	enum vmfs_break_phase phase = VMFS_BREAK_WATCHING;
	struct vmfs_break_options options = { .tell = note_phase, .arg = &phase };

	assert_int_equal(join_as(*state, "beta", &b), 0);
	pid_t pid = start_victim(*state, &take);
	uint32_t slot = slot_of_name(&b, "victim");
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(vmfs_break_host(b.vol, slot, &options), -EBUSY);
	assert_int_equal(phase, VMFS_BREAK_ALIVE);
	assert_true(collect_has(&b.told, "its process exists"));
	options.is_stated = true;
	assert_int_equal(vmfs_break_host(b.vol, slot, &options), -EBUSY);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	options.is_stated = false;
	assert_int_equal(vmfs_break_host(b.vol, slot, &options), 0);
	assert_int_equal(phase, VMFS_BREAK_DONE);
	assert_true(collect_has(&b.told, "took over dead host victim"));
	/* Free already. */
	options.tell = NULL;
	assert_int_equal(vmfs_break_host(b.vol, slot, &options), 0);
	assert_int_equal(vmfs_break_host(b.vol, VMFS_HEARTBEATS_COUNT, &options),
			 -EINVAL);
	assert_int_equal(vmfs_break_host(b.vol, slot_of_name(&b, "beta"), &options),
			 -EINVAL);
	assert_int_equal(leave(&b), 0);
}

static void a_foreign_journal_is_never_ignored(void **state)
{
	const struct rig *rig = *state;
	struct host b;
	struct take take = { .want = 1 };
	struct vmfs_heartbeat_disk slotd;
	uint8_t foreign[SECTOR];

	assert_int_equal(join_as(rig, "beta", &b), 0);
	pid_t pid = start_victim(rig, &take);
	uint32_t slot = slot_of_name(&b, "victim");
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	peek(rig, heartbeat_slot_off(slot), &slotd);
	memset(foreign, 0x5a, sizeof(foreign));
	poke(rig, le64_get(slotd.journal_vol_off), foreign);
	assert_int_equal(vmfs_takeover(b.vol, slot), -EOPNOTSUPP);
	assert_true(collect_has(&b.told, "a journal that is not ours"));
	peek(rig, heartbeat_slot_off(slot), foreign);
	assert_memory_equal(foreign, &slotd, sizeof(slotd));
	assert_int_equal(leave(&b), 0);
}

/* Somebody else changes our slot (here: by hand): the next renewal finds out, and nothing
 * written any more. */
static void a_claimed_member_stops_writing(void **state)
{
	struct host a;
	struct take take = { .want = 1 };
	struct vmfs_heartbeat_disk slotd;
	struct uuid owner;
	uint32_t slot;

	assert_int_equal(join_as(*state, "alpha", &a), 0);
	assert_int_equal(vmfs_volume_identity(a.vol, &owner, &slot), 0);
	peek(*state, heartbeat_slot_off(slot), &slotd);
	memset(slotd.replay_host, 0x77, sizeof(slotd.replay_host));
	heartbeat_seal(&slotd);
	poke(*state, heartbeat_slot_off(slot), &slotd);
	uint64_t until = clock_now() + 5 * NS_PER_S;
	while (!vmfs_volume_state(a.vol) && clock_now() < until)
		task_sleep_until(clock_now() + 20 * NS_PER_MS);
	assert_int_equal(vmfs_volume_state(a.vol), -ESTALE);
	assert_true(collect_has(&a.told, "claimed by another host"));
	assert_int_equal(vmfs_txn_run(a.vol, build_take, &take, 0, NULL), -ESTALE);
	assert_int_equal(leave(&a), -ESTALE);
}

static void say_ats(struct bdev *bd)
{
	bd->caw = BDEV_CAW_ATS;
}

/* Two kinds of lock do not see each other. */
static void another_storage_class_is_refused(void **state)
{
	struct host a, b;

	assert_int_equal(join_as(*state, "a", &a), 0);
	assert_int_equal(join_tweaked(*state, "b", &b, say_ats), -EBUSY);
	assert_true(collect_has(&b.told, "they cannot share the volume"));
	bdev_close(b.bd);
	collect_done(&b.told);
	assert_int_equal(leave(&a), 0);
}

static void with_a_cache_elsewhere(struct bdev *bd)
{
	bd->has_write_cache = bd->is_remote = true;
}

/* Of a kernel's disk. */
static void a_cache_that_may_be_lost_unseen_is_warned_of(void **state)
{
	struct host a;

	assert_int_equal(join_as(*state, "a", &a), 0);
	assert_false(collect_has(&a.told, "volatile write cache"));
	assert_int_equal(leave(&a), 0);
	assert_int_equal(join_tweaked(*state, "a", &a, with_a_cache_elsewhere), 0);
	assert_true(collect_has(&a.told, "volatile write cache in another machine"));
	assert_int_equal(leave(&a), 0);
}

static void on_another_kernel(struct bdev *bd)
{
	memset(bd->kernel.b, 0x77, sizeof(bd->kernel.b));
}

static void hold_the_slot(const struct rig *rig, int out)
{
	struct host h;
	uint32_t slot;
	struct uuid owner;

	if (join_as(rig, "a", &h) || vmfs_volume_identity(h.vol, &owner, &slot) ||
	    write(out, &slot, sizeof(slot)) != sizeof(slot))
		abort();
	for (;;)
		(void)pause();
}

/* A liveness lock under another kernel looks free: it proves nothing. */
static void a_host_under_another_kernel_is_not_dead(void **state)
{
	struct host b;
	uint32_t slot;
	int from[2];

	assert_int_equal(pipe(from), 0);
	pid_t child = fork();
	if (!child)
		hold_the_slot(*state, from[1]);
	assert_int_equal(read(from[0], &slot, sizeof(slot)), sizeof(slot));
	assert_int_equal(join_tweaked(*state, "b", &b, on_another_kernel), -EBUSY);
	assert_true(collect_has(&b.told, "under another kernel"));
	bdev_close(b.bd);
	collect_done(&b.told);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	/* Silent while we watch: we may join, and take over after all of 44 s / 8. */
	uint64_t began = clock_now();
	assert_int_equal(join_tweaked(*state, "b", &b, on_another_kernel), 0);
	assert_int_equal(vmfs_takeover(b.vol, slot), -EAGAIN);
	while (vmfs_takeover(b.vol, slot) == -EAGAIN)
		task_sleep_until(clock_now() + 50 * NS_PER_MS);
	assert_true(clock_now() - began >= 44 * NS_PER_S / 8);
	assert_true(collect_has(&b.told, "took over"));
	assert_int_equal(leave(&b), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(a_member_takes_a_slot_and_leaves_nothing),
		T(a_commit_is_seen_by_the_other_member),
		T(a_held_lock_is_refused_with_its_holder),
		T(readers_share_a_lock),
		T(a_dead_member_is_taken_over_and_its_journal_replayed),
		T(a_stopped_member_is_not_taken_over),
		T(a_process_that_exists_is_not_broken),
		T(a_foreign_journal_is_never_ignored),
		T(a_claimed_member_stops_writing),
		T(another_storage_class_is_refused),
		T(a_cache_that_may_be_lost_unseen_is_warned_of),
		T(a_host_under_another_kernel_is_not_dead),
#undef T
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
