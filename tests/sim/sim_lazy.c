/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member whose log is lazy (vmfs/journalcommit.c), when hosts and target lose power,
 * when a FLUSH fails, and when nothing that it remembers is left in memory. What it may
 * lose in every short life is for crash_ace; many of them together are sim_cluster's.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/sim/cluster.h"
#include "tests/sim/iofault.h"
#include "vmfs/cache.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define S NS_PER_S
#define NAMES 12u

struct story {
	struct cluster *c;
	struct iofault fault;
	unsigned int made, synced; /* names */
	uint64_t synced_at;
	bool is_ready;
};

static struct story *begin_on(enum bdev_caw_class caw)
{
	struct simdisk_behaviour behaviour = simdisk_polite();
	struct story *s = calloc(1, sizeof(*s));

	SIM_CHECK(s);
	s->c = cluster_new(caw);
	behaviour.has_cache = true;
	simdisk_behave(s->c->disk, &behaviour);
	return s;
}

static struct story *begin(void)
{
	return begin_on(BDEV_CAW_ATS);
}

static void end(struct story *s)
{
	cluster_check(s->c, true);
	cluster_free(s->c);
	free(s);
}

static void mount_lazy(struct story *s, struct cluster_mount *m)
{
	m->is_lazy = true;
	SIM_CHECK(!cluster_mount(s->c, m));
}

static const char *name_of(unsigned int i, char path[32])
{
	(void)snprintf(path, 32, "/n%u", i);
	return path;
}

/* How many names there are, and that they are the first ones. */
static unsigned int count_names(struct vmfs_volume *vol)
{
	struct vmfs_stat st;
	unsigned int count = 0, last = 0;
	char path[32];

	for (unsigned int i = 0; i < 2 * NAMES; i++) {
		int err = vmfs_stat(vol, name_of(i, path), &st);

		SIM_CHECK(!err || err == -ENOENT);
		count += !err;
		last = err ? last : i + 1;
	}
	if (count != last)
		sim_fail("%u names, the last of them is the %u-th", count, last);
	return count;
}

/* The others lose power with the target; this one comes and takes over. */
static void power_fails(struct story *s, struct sim_host *h)
{
	sim_host_kill(h);
	oracle_trouble(s->c->oracle, NULL, true);
	simdisk_power_fail(s->c->disk);
	oracle_power_failed(s->c->oracle);
	task_sleep_until(clock_now() + 5 * S);
	oracle_trouble(s->c->oracle, NULL, false);
}

static void look(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	cluster_bury(&m);
	unsigned int count = count_names(m.vol);
	sim_trace("%u names, %u made, %u synced", count, s->made, s->synced);
	if (count < s->synced)
		sim_fail("%u names of %u that were synced", count, s->synced);
	if (count > s->made)
		sim_fail("%u names of %u that were made", count, s->made);
	SIM_CHECK(!cluster_unmount(&m));
}

/* ---- synced ---- */

static void make_and_sync(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	char path[32];

	mount_lazy(s, &m);
	for (;;) {
		s->made = s->made + 1;
		SIM_CHECK(!vmfs_mkdir(m.vol, name_of(s->made - 1, path), 0755));
		if (s->made == NAMES / 2) {
			SIM_CHECK(!vmfs_volume_sync(m.vol));
			s->synced = s->made;
		}
		if (s->made == NAMES) {
			s->is_ready = true;
			task_sleep_until(UINT64_MAX);
		}
	}
}

static void names_that_were_synced(void *arg)
{
	struct story *s = begin();
	struct sim_host *h = sim_host_new("lazy", 0);

	(void)arg;
	sim_host_start(h, "make", make_and_sync, s);
	while (!s->is_ready)
		task_sleep_until(clock_now() + NS_PER_MS);
	power_fails(s, h);
	SIM_CHECK(s->synced == NAMES / 2 && s->made == NAMES);
	SIM_CHECK(sim_host_run(sim_host_new("left", 0), "look", look, s));
	end(s);
}

static void what_was_synced_is_there_and_the_rest_in_order(void **state)
{
	(void)state;
	sim_each_seed(1, 12, names_that_were_synced, NULL);
}

/* ---- some seconds ---- */

/* Locks that are used all the time are not given back, so nothing else flushes. */
static void rename_on_and_on(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	char path[32], other[32];
	uint64_t done[64] = { 0 };

	mount_lazy(s, &m);
	SIM_CHECK(!vmfs_mkdir(m.vol, "/x0", 0755));
	task_sleep_until(clock_now() + 8 * S);
	for (unsigned int i = 1; i < 64; i++) {
		(void)snprintf(path, sizeof(path), "/x%u", i - 1);
		(void)snprintf(other, sizeof(other), "/x%u", i);
		s->made = i;
		SIM_CHECK(!vmfs_rename(m.vol, path, other));
		done[i] = clock_now();
		for (unsigned int k = s->synced; k < i; k++)
			if (done[k] && done[k] + 3 * S < clock_now())
				s->synced = k;
		s->is_ready = i > 20;
		task_sleep_until(clock_now() + S / 4);
	}
}

static void look_at_last(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_stat st;
	char path[32];
	unsigned int found = 0, at = 0;

	SIM_CHECK(!cluster_mount(s->c, &m));
	cluster_bury(&m);
	for (unsigned int i = 0; i < 64; i++) {
		(void)snprintf(path, sizeof(path), "/x%u", i);
		if (!vmfs_stat(m.vol, path, &st)) {
			found++;
			at = i;
		}
	}
	sim_trace("x%u, of %u, %u are old", at, s->made, s->synced);
	if (found != 1 || at < s->synced || at > s->made)
		sim_fail("%u names, x%u: x%u is 3 s old", found, at, s->synced);
	SIM_CHECK(!cluster_unmount(&m));
}

static void names_of_some_seconds_ago(void *arg)
{
	struct story *s = begin();
	struct sim_host *h = sim_host_new("lazy", 0);

	(void)arg;
	sim_host_start(h, "rename", rename_on_and_on, s);
	while (!s->is_ready)
		task_sleep_until(clock_now() + NS_PER_MS);
	task_sleep_until(clock_now() + sim_random(2 * S));
	power_fails(s, h);
	SIM_CHECK(s->synced > 3);
	SIM_CHECK(sim_host_run(sim_host_new("left", 0), "look", look_at_last, s));
	end(s);
}

static void nothing_waits_longer_than_some_seconds(void **state)
{
	(void)state;
	sim_each_seed(100, 8, names_of_some_seconds_ago, NULL);
}

/* ---- in memory and on the disk ---- */

static void forget_and_look(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_volume_info before, after;
	char path[32];

	mount_lazy(s, &m);
	SIM_CHECK(!vmfs_volume_info(m.vol, &before));
	for (unsigned int i = 0; i < NAMES; i++) {
		struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
		struct vmfs_file *file;

		SIM_CHECK(!vmfs_file_open(m.vol, name_of(i, path), &options, &file,
					  NULL));
		SIM_CHECK(!vmfs_file_write(file, path, 5, 0));
		SIM_CHECK(!vmfs_file_close(file));
		vmfs_cache_drop_all(m.vol->cache);
		SIM_CHECK(count_names(m.vol) == i + 1);
	}
	SIM_CHECK(m.vol->member->journal.homes.count > NAMES);
	vmfs_volume_forget_counts(m.vol);
	SIM_CHECK(!vmfs_volume_info(m.vol, &after));
	SIM_CHECK(before.free_fd_count == after.free_fd_count + NAMES);
	SIM_CHECK(!cluster_unmount(&m));
}

static void nothing_is_cached(void *arg)
{
	struct story *s = begin();

	(void)arg;
	s->made = s->synced = NAMES; /* all is, by the unmount */
	SIM_CHECK(sim_host_run(sim_host_new("lazy", 0), "look", forget_and_look, s));
	SIM_CHECK(sim_host_run(sim_host_new("other", 0), "look", look, s));
	end(s);
}

static void what_is_not_in_place_is_read_as_it_was_logged(void **state)
{
	(void)state;
	sim_each_seed(200, 2, nothing_is_cached, NULL);
}

/* ---- a FLUSH that fails ---- */

static void fail_flush(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { .fault = &s->fault };
	char path[32];

	mount_lazy(s, &m);
	for (; s->made < NAMES; s->made++)
		SIM_CHECK(!vmfs_mkdir(m.vol, name_of(s->made, path), 0755));
	oracle_trouble(s->c->oracle, sim_host_self(), true);
	s->fault.fail_at = s->fault.count + 1;
	SIM_CHECK(vmfs_volume_sync(m.vol) == -ESTALE);
	SIM_CHECK(m.is_lost && vmfs_volume_state(m.vol) == -ESTALE);
	SIM_CHECK(vmfs_volume_sync(m.vol) == -ESTALE);
	SIM_CHECK(vmfs_mkdir(m.vol, "/late", 0755) == -ESTALE);
	(void)!cluster_unmount(&m);
}

static void flush_fails(void *arg)
{
	struct story *s = begin();

	(void)arg;
	SIM_CHECK(sim_host_run(sim_host_new("lazy", 0), "fail", fail_flush, s));
	s->synced = NAMES; /* the records were written: who takes over has them */
	SIM_CHECK(sim_host_run(sim_host_new("left", 0), "look", look, s));
	end(s);
}

static void a_flush_that_fails_ends_the_volume(void **state)
{
	(void)state;
	sim_each_seed(300, 2, flush_fails, NULL);
}

/* ---- a record that fails ---- */

/* Writes of the log end with -EIO. */
static void spoil_log(struct story *s, struct vmfs_volume *vol)
{
	const struct vmfs_journal *j = &vol->member->journal;
	struct bdev *bd;
	uint64_t dev_off, run;

	SIM_CHECK(!lvm_map(&vol->lvm, j->vol_off, &bd, &dev_off, &run));
	SIM_CHECK(j->record_flags == (bd->has_cached_write ? BDEV_CACHED : 0));
	simdisk_bad_sectors(s->c->disk, dev_off, (uint64_t)j->sector_count * 512, true);
}

static void fail_record(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	char path[32];

	mount_lazy(s, &m);
	for (; s->made < NAMES; s->made++)
		SIM_CHECK(!vmfs_mkdir(m.vol, name_of(s->made, path), 0755));
	SIM_CHECK(!vmfs_volume_sync(m.vol));
	s->synced = s->made;
	oracle_trouble(s->c->oracle, sim_host_self(), true);
	spoil_log(s, m.vol);
	SIM_CHECK(vmfs_mkdir(m.vol, name_of(NAMES, path), 0755) == -ESTALE);
	SIM_CHECK(vmfs_mkdir(m.vol, "/late", 0755) == -ESTALE);
	SIM_CHECK(m.is_lost && vmfs_volume_state(m.vol) == -ESTALE);
	SIM_CHECK(vmfs_volume_sync(m.vol) == -ESTALE);
	(void)!cluster_unmount(&m);
}

static void record_fails(void *arg)
{
	struct story *s = begin_on(*(enum bdev_caw_class *)arg);

	SIM_CHECK(sim_host_run(sim_host_new("lazy", 0), "fail", fail_record, s));
	simdisk_bad_sectors(s->c->disk, 0, 0, false);
	SIM_CHECK(sim_host_run(sim_host_new("left", 0), "look", look, s));
	end(s);
}

static void a_record_that_fails_ends_the_volume(void **state)
{
	enum bdev_caw_class caw[] = { BDEV_CAW_FILE, BDEV_CAW_ATS };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(caw); i++)
		sim_each_seed(350, 3, record_fails, &caw[i]);
}

/* ---- blocks that were a folder's ---- */

#define ENTRIES 62u /* a sub-block and a bit */
#define TAKERS 64u  /* no fewer files than a cluster has sub-blocks */

static struct vmfs_file *make_file(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;

	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	return file;
}

/* Entries of /d from `from` on. */
static void make_entries(struct vmfs_volume *vol, unsigned int from, unsigned int end)
{
	char path[32];

	for (unsigned int i = from; i < end; i++) {
		(void)snprintf(path, sizeof(path), "/d/n%u", i);
		SIM_CHECK(!vmfs_file_close(make_file(vol, path)));
	}
}

/*
 * A folder grows by a sub-block and shrinks; then files take all that is there. No lock
 * is idle for so long that the log would be emptied to give it back.
 */
static void take_folders_block(void *arg)
{
	struct story *s = arg;
	const struct vmfs_attr attr = { .has_mode = true, .mode = 0700 };
	struct cluster_mount m = { 0 };
	char path[32];

	mount_lazy(s, &m);
	SIM_CHECK(!vmfs_mkdir(m.vol, "/d", 0755));
	make_entries(m.vol, 0, ENTRIES - 8);
	SIM_CHECK(!cluster_unmount(&m));
	mount_lazy(s, &m);
	task_sleep_until(clock_now() + 5 * S); /* what the mount took is given back */
	make_entries(m.vol, ENTRIES - 8, ENTRIES);
	for (unsigned int i = ENTRIES; i-- > ENTRIES - 8;) {
		(void)snprintf(path, sizeof(path), "/d/n%u", i);
		SIM_CHECK(!vmfs_unlink(m.vol, path));
	}
	for (; s->made < TAKERS; s->made++) {
		struct vmfs_file *file = make_file(m.vol, name_of(s->made, path));

		SIM_CHECK(!vmfs_file_write(file, path, sizeof(path), 0));
		/* Too much for the descriptor. */
		SIM_CHECK(!vmfs_file_write(file, path, sizeof(path), 4000));
		SIM_CHECK(!vmfs_file_close(file));
		SIM_CHECK(!vmfs_setattr(m.vol, "/d", &attr));
	}
	s->is_ready = true;
	task_sleep_until(UINT64_MAX);
}

static void read_takers(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };
	char path[32], text[32];
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(s->c, &m));
	cluster_bury(&m);
	for (unsigned int i = 0; i < TAKERS; i++) {
		const struct vmfs_file_options how = { .flags = VMFS_READ };

		SIM_CHECK(!vmfs_file_open(m.vol, name_of(i, path), &how, &file, NULL));
		SIM_CHECK(vmfs_file_read(file, text, sizeof(text), 0) == sizeof(text));
		if (strcmp(text, path))
			sim_fail("%s holds something else after the replay", path);
		SIM_CHECK(!vmfs_file_close(file));
	}
	SIM_CHECK(!cluster_unmount(&m));
}

static void folders_block_is_taken(void *arg)
{
	struct story *s = begin();
	struct sim_host *h = sim_host_new("lazy", 0);

	(void)arg;
	sim_host_start(h, "take", take_folders_block, s);
	while (!s->is_ready)
		task_sleep_until(clock_now() + NS_PER_MS);
	sim_host_kill(h);
	SIM_CHECK(sim_host_run(sim_host_new("left", 0), "read", read_takers, s));
	end(s);
}

static void a_folders_block_in_the_log_is_no_files(void **state)
{
	(void)state;
	sim_each_seed(400, 2, folders_block_is_taken, NULL);
}

/* ---- locks of closed files ---- */

static bool is_kept(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_lock_info lock;

	SIM_CHECK(!vmfs_lock_info(vol, path, &lock));
	return lock.mode == LOCK_EXCLUSIVE;
}

/* Something in the folder every second, for so long. */
static void work(struct story *s, struct vmfs_volume *vol, unsigned int seconds)
{
	char path[32];

	for (; seconds; seconds--) {
		SIM_CHECK(!vmfs_mkdir(vol, name_of(s->made++, path), 0755));
		task_sleep_until(clock_now() + S);
	}
}

static void keep_locks(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	mount_lazy(s, &m);
	SIM_CHECK(!vmfs_file_close(make_file(m.vol, "/a")));
	work(s, m.vol, 10);
	SIM_CHECK(is_kept(m.vol, "/a"));
	task_sleep_until(clock_now() + 6 * S); /* nobody works any more */
	SIM_CHECK(!is_kept(m.vol, "/a"));
	SIM_CHECK(!vmfs_file_close(make_file(m.vol, "/b")));
	work(s, m.vol, 25);
	SIM_CHECK(is_kept(m.vol, "/b"));
	work(s, m.vol, 8); /* not for ever */
	SIM_CHECK(!is_kept(m.vol, "/b"));
	SIM_CHECK(!cluster_unmount(&m));
}

static void locks_are_kept(void *arg)
{
	struct story *s = begin();

	(void)arg;
	SIM_CHECK(sim_host_run(sim_host_new("lazy", 0), "keep", keep_locks, s));
	end(s);
}

static void a_closed_files_lock_stays_while_folders_are_worked_in(void **state)
{
	(void)state;
	sim_each_seed(500, 2, locks_are_kept, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_synced_is_there_and_the_rest_in_order),
		cmocka_unit_test(nothing_waits_longer_than_some_seconds),
		cmocka_unit_test(what_is_not_in_place_is_read_as_it_was_logged),
		cmocka_unit_test(a_flush_that_fails_ends_the_volume),
		cmocka_unit_test(a_record_that_fails_ends_the_volume),
		cmocka_unit_test(a_folders_block_in_the_log_is_no_files),
		cmocka_unit_test(a_closed_files_lock_stays_while_folders_are_worked_in),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
