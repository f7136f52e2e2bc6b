/* SPDX-License-Identifier: Apache-2.0 */
/* Free blocks given back to the storage: what is, what is not, who may. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "tests/lib/largefile.h"
#include "tests/lib/overlay.h"
#include "tests/lib/testvol.h"
#include "vmfs/volume.h"

#define MIB (1024ull * 1024)
#define ALLOWANCE (3 * MIB) /* journals, directory, what the filesystem below rounds */

/* A volume in a sparse file, for what it takes on disk. */
struct fixture {
	char path[64];
	struct testvol tv;
};

static void set_up_of(struct fixture *f, uint32_t version, unsigned int pes)
{
	struct bdev *bd;
	(void)snprintf(f->path, sizeof(f->path), "/var/tmp/vmfs_unmap.XXXXXX");
	int fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(LVM_DATA_OFF + pes * LVM_PE_SIZE)), 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(bdev_file_open(f->path, 0, NULL, &bd), 0);
	testvol_format_version(&f->tv, version, bd);
	testvol_mount(&f->tv, false);
}

static void set_up(struct fixture *f)
{
	set_up_of(f, 5, 4);
}

static void tear_down(struct fixture *f)
{
	testvol_unmount(&f->tv);
	testvol_check(&f->tv);
	testvol_free(&f->tv);
	(void)unlink(f->path);
}

static uint64_t taken(const struct fixture *f)
{
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static struct vmfs_file *open_file(struct fixture *f, const char *path)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0644 };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(f->tv.vol, path, &options, &file, NULL), 0);
	return file;
}

static void fill(struct vmfs_file *file, uint64_t offset, uint64_t len, uint8_t byte)
{
	uint8_t *data = malloc(len);
	memset(data, byte, len);
	assert_int_equal(vmfs_file_write(file, data, len, offset), 0);
	free(data);
}

static void assert_filled(struct vmfs_file *file, uint64_t offset, uint64_t len,
			  uint8_t byte)
{
	uint8_t *data = malloc(len);
	assert_int_equal(vmfs_file_read(file, data, len, offset), (int64_t)len);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(data[i], byte);
	free(data);
}

static void make(struct fixture *f, const char *path, uint64_t len, uint8_t byte)
{
	struct vmfs_file *file = open_file(f, path);
	fill(file, 0, len, byte);
	assert_int_equal(vmfs_file_close(file), 0);
}

static struct vmfs_unmap_seen unmap(struct fixture *f, bool only_freed)
{
	const struct vmfs_unmap_options options = { .only_freed = only_freed };
	struct vmfs_unmap_seen seen;
	assert_int_equal(vmfs_volume_unmap(f->tv.vol, &options, &seen, NULL), 0);
	assert_int_equal(seen.skipped, 0);
	assert_int_equal(seen.cluster, seen.cluster_count);
	return seen;
}

/* Removed, truncated and punched: all three come back; what stands there stays. */
static void what_is_freed_comes_back_of(uint32_t version)
{
	struct fixture f;
	set_up_of(&f, version, 4);
	make(&f, "/stays", 8 * MIB, 's');
	make(&f, "/goes", 16 * MIB, 'g');
	struct vmfs_file *file = open_file(&f, "/changes");
	fill(file, 0, 24 * MIB, 'c');
	assert_int_equal(vmfs_file_sync(file), 0);
	uint64_t full = taken(&f);
	assert_int_equal(vmfs_unlink(f.tv.vol, "/goes"), 0);
	assert_int_equal(vmfs_file_truncate(file, 16 * MIB), 0);
	assert_int_equal(vmfs_file_punch(file, 4 * MIB, 8 * MIB), 0);
	assert_in_range(taken(&f), full - ALLOWANCE, full + ALLOWANCE);
	assert_int_equal(unmap(&f, true).bytes, (16 + 8 + 8) * MIB);
	assert_in_range(taken(&f), full - 32 * MIB - ALLOWANCE,
			full - 32 * MIB + ALLOWANCE);
	/* Once is enough. */
	assert_int_equal(unmap(&f, true).bytes, 0);
	assert_filled(file, 0, 4 * MIB, 'c');
	assert_filled(file, 4 * MIB, 8 * MIB, 0);
	assert_filled(file, 12 * MIB, 4 * MIB, 'c');
	assert_int_equal(vmfs_file_close(file), 0);
	file = open_file(&f, "/stays");
	assert_filled(file, 0, 8 * MIB, 's');
	assert_int_equal(vmfs_file_close(file), 0);
	tear_down(&f);
}

static void what_is_freed_comes_back(void **state)
{
	(void)state;
	what_is_freed_comes_back_of(5);
}

static void what_is_freed_on_vmfs6_comes_back(void **state)
{
	(void)state;
	what_is_freed_comes_back_of(6);
}

/* A large block that is divided and freed, part by part. */
static void a_large_block_comes_back(void **state)
{
	const struct largefile what = {
		"/large", 512 * MIB, .number = 1, .to = VMFS6_SFB_PER_LFB
	};
	struct fixture f;
	(void)state;
	set_up_of(&f, 6, 4);
	assert_int_equal(largefile_make(f.tv.vol, &what), 0);
	testvol_unmount(&f.tv);
	testvol_mount(&f.tv, false);
	struct vmfs_file *file = open_file(&f, "/large");
	fill(file, 100 * MIB, 40 * MIB, 'l');
	uint64_t full = taken(&f);
	assert_int_equal(vmfs_file_truncate(file, 120 * MIB), 0);
	assert_int_equal(unmap(&f, true).bytes, (512 - 120) * MIB);
	assert_in_range(taken(&f), full - 20 * MIB - ALLOWANCE,
			full - 20 * MIB + ALLOWANCE);
	assert_filled(file, 100 * MIB, 20 * MIB, 'l');
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_unlink(f.tv.vol, "/large"), 0);
	assert_int_equal(unmap(&f, true).bytes, 120 * MIB);
	assert_in_range(taken(&f), 0, full - 40 * MIB + ALLOWANCE);
	tear_down(&f);
}

/* What was freed and given to another file meanwhile is that file's. */
static void what_is_used_again_is_left_alone(void **state)
{
	struct fixture f;
	(void)state;
	set_up(&f);
	make(&f, "/old", 64 * MIB, 'o');
	assert_int_equal(vmfs_unlink(f.tv.vol, "/old"), 0);
	struct vmfs_volume_info info;
	assert_int_equal(vmfs_volume_info(f.tv.vol, &info), 0);
	struct vmfs_file *file = open_file(&f, "/new");
	/* All that files may have: so all of the old one's too. */
	fill(file, 0, info.free_bytes, 'n');
	assert_int_equal(vmfs_file_sync(file), 0);
	assert_int_equal(unmap(&f, true).bytes, 0);
	assert_filled(file, 0, info.free_bytes, 'n');
	assert_int_equal(vmfs_file_close(file), 0);
	tear_down(&f);
}

/* Another mount's frees are found by the bitmap: all that is free, and only that. */
static void all_that_is_free_comes_back_of(uint32_t version)
{
	struct fixture f;
	struct vmfs_volume_info info;
	set_up_of(&f, version, 4);
	make(&f, "/stays", 8 * MIB, 's');
	make(&f, "/goes", 32 * MIB, 'g');
	uint64_t full = taken(&f);
	assert_int_equal(vmfs_unlink(f.tv.vol, "/goes"), 0);
	testvol_unmount(&f.tv);
	testvol_mount(&f.tv, false);
	assert_int_equal(unmap(&f, true).bytes, 0);
	assert_int_equal(vmfs_volume_info(f.tv.vol, &info), 0);
	assert_int_equal(unmap(&f, false).bytes, info.free_block_count * MIB);
	assert_in_range(taken(&f), full - 32 * MIB - ALLOWANCE,
			full - 32 * MIB + ALLOWANCE);
	struct vmfs_file *file = open_file(&f, "/stays");
	assert_filled(file, 0, 8 * MIB, 's');
	assert_int_equal(vmfs_file_close(file), 0);
	tear_down(&f);
}

static void all_that_is_free_comes_back(void **state)
{
	(void)state;
	all_that_is_free_comes_back_of(5);
	all_that_is_free_comes_back_of(6);
}

/* One host at a time; the other hears who; afterwards it may. */
static void one_host_at_a_time(void **state)
{
	const struct vmfs_unmap_options options = { 0 };
	struct vmfs_holder holder = { 0 };
	struct fixture f;
	struct bdev *bd;
	struct vmfs_volume *other;
	(void)state;
	set_up(&f);
	(void)unmap(&f, false); /* makes the file */
	struct vmfs_open_options how = { .devices = &bd,
					 .device_count = 1,
					 .host_name = "other",
					 .reporter = &f.tv.told.base };
	assert_int_equal(bdev_file_open(f.path, 0, NULL, &bd), 0);
	assert_int_equal(vmfs_volume_open(&how, &other), 0);
	struct vmfs_file_options mine = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(other, VMFS_UNMAP_LOCK, &mine, &file, NULL), 0);
	assert_int_equal(vmfs_volume_unmap(f.tv.vol, &options, NULL, &holder), -EBUSY);
	assert_string_equal(holder.host_name, "other");
	assert_int_equal(vmfs_file_close(file), 0);
	(void)unmap(&f, false);
	assert_int_equal(vmfs_volume_close(other), 0);
	bdev_close(bd);
	tear_down(&f);
}

/* ---- while an UNMAP is under way ---- */

struct window {
	struct testvol tv;
	struct mutex m;
	struct cond c;
	bool is_armed, is_inside, is_over, is_written;
	uint64_t size; /* of the new file */
};

/* Only the UNMAP is so long. */
static void hold_it(void *arg, uint64_t off, uint64_t len)
{
	struct window *w = arg;
	(void)off;
	mutex_lock(&w->m);
	if (w->is_armed && len == 32 * MIB) {
		w->is_inside = true;
		cond_broadcast(&w->c);
		while (!w->is_over)
			cond_wait(&w->c, &w->m);
	}
	mutex_unlock(&w->m);
}

static void unmap_task(void *arg)
{
	struct window *w = arg;
	const struct vmfs_unmap_options options = { .only_freed = true };
	assert_int_equal(vmfs_volume_unmap(w->tv.vol, &options, NULL, NULL), 0);
}

static void write_task(void *arg)
{
	struct window *w = arg;
	struct vmfs_file_options how = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(w->tv.vol, "/new", &how, &file, NULL), 0);
	fill(file, 0, w->size, 'n');
	assert_int_equal(vmfs_file_close(file), 0);
	mutex_lock(&w->m);
	w->is_written = true;
	cond_broadcast(&w->c);
	mutex_unlock(&w->m);
}

/*
 * A file of the same process that needs all free blocks, while an UNMAP of some of them
 * is held up at the device: what it writes is there afterwards. (It waits for them; how
 * long we let it try does not matter.)
 */
static void nobody_gets_a_block_that_is_being_unmapped(void **state)
{
	struct window w = { .is_armed = false };
	struct vmfs_file_options how = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_volume_info info;
	struct vmfs_file *file;
	struct bdev *mem;
	(void)state;
	mutex_init(&w.m);
	cond_init(&w.c);
	assert_int_equal(bdev_mem_new(LVM_DATA_OFF + LVM_PE_SIZE, 512, NULL, &mem), 0);
	testvol_format(&w.tv, overlay_new(mem, hold_it, &w));
	testvol_mount(&w.tv, false);
	assert_int_equal(vmfs_file_open(w.tv.vol, "/old", &how, &file, NULL), 0);
	fill(file, 0, 32 * MIB, 'o');
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_volume_info(w.tv.vol, &info), 0);
	assert_int_equal(vmfs_file_open(w.tv.vol, "/rest", &how, &file, NULL), 0);
	assert_int_equal(vmfs_file_allocate(file, 0, info.free_bytes, VMFS_ALLOCATE_TBZ),
			 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_unlink(w.tv.vol, "/old"), 0);
	assert_int_equal(vmfs_volume_info(w.tv.vol, &info), 0);
	w.size = info.free_bytes;
	mutex_lock(&w.m);
	w.is_armed = true;
	mutex_unlock(&w.m);
	struct task *unmapping = task_start("unmap", unmap_task, &w);
	mutex_lock(&w.m);
	while (!w.is_inside)
		cond_wait(&w.c, &w.m);
	mutex_unlock(&w.m);
	struct task *writing = task_start("write", write_task, &w);
	uint64_t chance = clock_now() + 300 * NS_PER_MS;
	mutex_lock(&w.m);
	while (!w.is_written && clock_now() < chance) {
		int timed_out = cond_wait_until(&w.c, &w.m, chance);
		(void)timed_out; /* the loop looks at the clock */
	}
	w.is_over = true;
	cond_broadcast(&w.c);
	mutex_unlock(&w.m);
	task_join(unmapping);
	task_join(writing);
	how.flags = VMFS_WRITE;
	assert_int_equal(vmfs_file_open(w.tv.vol, "/new", &how, &file, NULL), 0);
	assert_filled(file, 0, w.size, 'n');
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&w.tv);
	testvol_check(&w.tv);
	testvol_free(&w.tv);
	bdev_close(mem);
	cond_done(&w.c);
	mutex_done(&w.m);
}

/* ---- the way of it ---- */

struct stopper {
	unsigned int calls, max;
};

static bool count_and_stop(void *arg, const struct vmfs_unmap_seen *seen)
{
	struct stopper *s = arg;
	(void)seen;
	return ++s->calls < s->max;
}

/* A rate is kept, and who waits for it can be stopped. */
static void it_keeps_the_rate_and_can_be_stopped(void **state)
{
	struct stopper s = { .max = 3 };
	struct vmfs_unmap_options options = { .rate = 1024,
					      .tell = count_and_stop,
					      .arg = &s };
	struct vmfs_unmap_seen seen;
	struct fixture f;
	(void)state;
	set_up(&f);
	/* One cluster is past a rate so small for ever: only the stop ends it. */
	assert_int_equal(vmfs_volume_unmap(f.tv.vol, &options, &seen, NULL), -ECANCELED);
	assert_int_equal(s.calls, 3);
	assert_true(seen.bytes > 0 && seen.cluster == 0);
	tear_down(&f);
}

/* With a rate in the open options nobody has to ask. */
static void it_does_it_by_itself_on(uint32_t version)
{
	struct fixture f;
	set_up_of(&f, version, 4);
	make(&f, "/goes", 32 * MIB, 'g');
	testvol_unmount(&f.tv);
	struct vmfs_open_options options = { .devices = &f.tv.bd,
					     .device_count = 1,
					     .reporter = &f.tv.told.base,
					     .time_divisor = 8,
					     .unmap_rate = 1024 * MIB };
	assert_int_equal(vmfs_volume_open(&options, &f.tv.vol), 0);
	uint64_t full = taken(&f);
	assert_int_equal(vmfs_unlink(f.tv.vol, "/goes"), 0);
	uint64_t limit = clock_now() + 60 * NS_PER_S;
	while (taken(&f) > full - 32 * MIB + ALLOWANCE && clock_now() < limit)
		task_sleep_until(clock_now() + 50 * NS_PER_MS);
	assert_in_range(taken(&f), 0, full - 32 * MIB + ALLOWANCE);
	tear_down(&f);
}

static void the_mount_does_it_by_itself(void **state)
{
	(void)state;
	it_does_it_by_itself_on(5);
	it_does_it_by_itself_on(6);
}

/* Storage that takes nothing back is told of, once, and left alone. */
static void storage_without_unmap_is_named(void **state)
{
	const struct vmfs_unmap_options options = { 0 };
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 2);
	tv.bd->has_unmap = false;
	assert_int_equal(vmfs_volume_unmap(tv.vol, &options, NULL, NULL), -EOPNOTSUPP);
	assert_non_null(strstr(collect_text(&tv.told), "UNMAP"));
	collect_clear(&tv.told);
	testvol_unmount(&tv);
	testvol_mount(&tv, true);
	assert_int_equal(vmfs_volume_unmap(tv.vol, &options, NULL, NULL), -EROFS);
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_freed_comes_back),
		cmocka_unit_test(what_is_freed_on_vmfs6_comes_back),
		cmocka_unit_test(a_large_block_comes_back),
		cmocka_unit_test(what_is_used_again_is_left_alone),
		cmocka_unit_test(all_that_is_free_comes_back),
		cmocka_unit_test(one_host_at_a_time),
		cmocka_unit_test(nobody_gets_a_block_that_is_being_unmapped),
		cmocka_unit_test(it_keeps_the_rate_and_can_be_stopped),
		cmocka_unit_test(the_mount_does_it_by_itself),
		cmocka_unit_test(storage_without_unmap_is_named),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("vmfs_unmap", tests, NULL, NULL);
}
