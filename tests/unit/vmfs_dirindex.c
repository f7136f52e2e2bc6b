/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexes of large directories: alone against a list that is too simple to be wrong, and
 * under a directory with which everything is done that can be done to it.
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

#include "tests/lib/scene.h"
#include "vmfs/cache.h"
#include "vmfs/dirindex.h"
#include "vmfs/format.h"
#include "vmfs/volume.h"

static uint64_t seed = 1;

static uint32_t below(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % n;
}

/* ---- alone ---- */

#define SLOTS 3000u
#define HASHES 500u /* few, so that many entries have one */
#define NO_HASH UINT32_MAX

struct list {
	uint32_t hash[SLOTS]; /* NO_HASH: a hole */
	uint32_t count;
};

static void do_apply(struct dir_index *x, int kind, uint32_t hash, uint32_t slot)
{
	struct dir_index_change change = { .kind = kind, .hash = hash, .slot = slot };

	assert_int_equal(dir_index_apply(x, &change), 0);
}

/* Every slot that has the hash is named once, and no other one is. */
static void compare(const struct dir_index *x, const struct list *l)
{
	uint32_t hole = NO_HASH;

	assert_int_equal(dir_index_count(x), l->count);
	for (uint32_t hash = 0; hash < HASHES; hash++) {
		uint32_t expected = 0, seen = 0, cursor = 0, slot;

		for (uint32_t i = 0; i < l->count; i++)
			expected += l->hash[i] == hash;
		while (dir_index_next(x, hash, &cursor, &slot)) {
			assert_true(slot < l->count);
			assert_int_equal(l->hash[slot], hash);
			seen++;
		}
		assert_int_equal(seen, expected);
	}
	for (uint32_t i = 0; i < l->count; i++)
		if (l->hash[i] == NO_HASH)
			hole = i;
	assert_int_equal(dir_index_room(x), hole == NO_HASH ? l->count : hole);
}

/* As dir_remove() does it: the last one that is no hole moves into the place. */
static void take_one(struct dir_index *x, struct list *l, uint32_t slot)
{
	uint32_t last = l->count - 1;

	while (last > slot && l->hash[last] == NO_HASH)
		last--;
	do_apply(x, DIR_INDEX_REMOVE, l->hash[slot], slot);
	if (last != slot) {
		do_apply(x, DIR_INDEX_REMOVE, l->hash[last], last);
		do_apply(x, DIR_INDEX_ADD, l->hash[last], slot);
		l->hash[slot] = l->hash[last];
	}
	do_apply(x, DIR_INDEX_CUT, 0, last);
	l->count = last;
}

static void step(struct dir_index *x, struct list *l)
{
	uint32_t slot = l->count ? below(l->count) : 0, hash = below(HASHES);
	uint32_t what = below(10);

	if (what < 5 && l->count < SLOTS) {
		slot = (uint32_t)dir_index_room(x);
		do_apply(x, DIR_INDEX_ADD, hash, slot);
		l->hash[slot] = hash;
		l->count += slot == l->count;
	} else if (what < 8 && l->count && l->hash[slot] != NO_HASH) {
		take_one(x, l, slot);
	} else if (l->count && l->hash[slot] != NO_HASH) {
		do_apply(x, DIR_INDEX_REMOVE, l->hash[slot], slot);
		do_apply(x, DIR_INDEX_ADD, hash, slot);
		l->hash[slot] = hash;
	}
}

static void an_index_agrees_with_a_list(void **state)
{
	struct dir_index *x = dir_index_new();
	struct list *l = calloc(1, sizeof(*l));

	(void)state;
	for (uint32_t i = 0; i < 400; i++) {
		bool is_hole = below(4) == 0;

		l->hash[i] = is_hole ? NO_HASH : below(HASHES);
		do_apply(x, is_hole ? DIR_INDEX_HOLE : DIR_INDEX_ADD, l->hash[i], i);
		l->count++;
	}
	compare(x, l);
	for (unsigned int i = 0; i < 20000; i++) {
		step(x, l);
		if (i % 500 == 0)
			compare(x, l);
	}
	compare(x, l);
	while (l->count && l->hash[0] != NO_HASH)
		take_one(x, l, 0);
	compare(x, l);
	dir_index_release(x);
	free(l);
}

static void what_does_not_fit_is_refused(void **state)
{
	struct dir_index *x = dir_index_new();
	const struct dir_index_change bad[] = {
		{ DIR_INDEX_ADD, 7, 3 },    { DIR_INDEX_REMOVE, 7, 1 },
		{ DIR_INDEX_REMOVE, 8, 0 }, { DIR_INDEX_HOLE, 0, 0 },
		{ DIR_INDEX_CUT, 0, 2 },    { DIR_INDEX_CUT, 0, 0 },
		{ DIR_INDEX_FORGET, 0, 0 },
	};

	(void)state;
	do_apply(x, DIR_INDEX_ADD, 7, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(dir_index_apply(x, &bad[i]), -ESTALE);
	dir_index_release(x);
}

/* Valid under its lock and token only; the least recently used one makes room. */
static void indexes_are_kept_by_lock_and_token(void **state)
{
	struct dir_indexes *all = dir_indexes_new(3 * 5000);
	struct dir_index *x[4];

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		x[i] = dir_index_new(); /* 4 KiB and a little */
		if (i == 3)
			dir_index_release(dir_indexes_get(all, 0, 10));
		dir_indexes_put(all, i * 512, 10, x[i]);
		dir_index_release(x[i]);
	}
	assert_null(dir_indexes_get(all, 512, 10)); /* had to go */
	assert_null(dir_indexes_get(all, 0, 11));
	dir_indexes_retoken(all, 0, 9, 11);
	assert_null(dir_indexes_get(all, 0, 11));
	dir_indexes_retoken(all, 0, 10, 11);
	struct dir_index *got = dir_indexes_get(all, 0, 11);
	assert_ptr_equal(got, x[0]);
	dir_indexes_drop_lock(all, 0);
	assert_null(dir_indexes_get(all, 0, 11));
	assert_int_equal(dir_index_count(got), 0); /* ours until it is released */
	dir_index_release(got);
	dir_indexes_drop_all(all);
	assert_null(dir_indexes_get(all, 1024, 10));
	dir_indexes_free(all);
}

/* ---- under a directory ---- */

static void check_scene(struct scene *s)
{
	struct vmfs_stat st;

	scene_look_at_all(s);
	assert_int_equal(vmfs_stat(s->tv.vol, "/d", &st), 0);
	assert_int_equal(st.size_bytes, (s->count + 2) * (uint64_t)VMFS_DIRENT_SIZE);
}

/* Has /d, with so many names, an index? */
static void has_index(struct vmfs_volume *vol, unsigned int names, bool expected)
{
	struct vmfs_lock_info info;

	assert_int_equal(vmfs_lock_info(vol, "/d", &info), 0);
	struct dir_index *x = dir_indexes_get(vmfs_cache_indexes(vol->cache),
					      info.vol_off, info.token);
	assert_int_equal(x != NULL, expected);
	if (x)
		assert_int_equal(dir_index_count(x), names + 2);
	dir_index_release(x);
}

static void is_indexed(struct scene *s, bool expected)
{
	has_index(s->tv.vol, s->count, expected);
}

/* The answers stay right while it grows over the limit, lives and shrinks again. */
static void a_large_directory_is_looked_up_by_its_index(void **state)
{
	struct scene *s = scene_new(1);

	(void)state;
	testvol_new(&s->tv, 4);
	assert_int_equal(vmfs_mkdir(s->tv.vol, "/d", 0755), 0);
	for (unsigned int i = 0; i < 200; i++)
		scene_add(s, i);
	is_indexed(s, false);
	for (unsigned int i = 200; i < 900; i++)
		scene_add(s, i);
	is_indexed(s, true);
	for (unsigned int i = 0; i < 4000; i++)
		scene_step(s, scene_below(s, SCENE_NAMES), scene_below(s, SCENE_NAMES));
	is_indexed(s, true);
	check_scene(s);
	testvol_unmount(&s->tv);
	testvol_check(&s->tv);
	testvol_mount(&s->tv, false);
	check_scene(s);
	for (unsigned int i = 0; i < SCENE_NAMES; i++)
		scene_take(s, i);
	assert_int_equal(vmfs_rmdir(s->tv.vol, "/d"), 0);
	/* Perhaps the same FD; not the same directory. */
	assert_int_equal(vmfs_mkdir(s->tv.vol, "/d", 0755), 0);
	for (unsigned int i = 0; i < 400; i++)
		scene_add(s, i);
	check_scene(s);
	testvol_unmount(&s->tv);
	testvol_check(&s->tv);
	testvol_free(&s->tv);
	free(s);
}

/* ---- as many as there may be ---- */

#define MANY 100000u
#define STEP 10000u

/* What is asked of the device; a task of the volume may ask, too. */
static const struct bdev_ops *real_ops;
static struct bdev_ops counted_ops;
static _Atomic uint64_t bytes_asked;

static int count_rw(struct bdev *bd, struct bdev_io *io)
{
	bytes_asked += io->len;
	return real_ops->rw(bd, io);
}

static void count_submit(struct bdev *bd, struct bdev_io *io)
{
	bytes_asked += io->len;
	real_ops->submit(bd, io);
}

static void begin_counting(struct bdev *bd)
{
	real_ops = bd->ops;
	counted_ops = *bd->ops;
	counted_ops.rw = count_rw;
	counted_ops.submit = count_submit;
	bd->ops = &counted_ops;
}

static const char *many_path(unsigned int i, char path[40])
{
	(void)snprintf(path, 40, "/d/file of many %06u", i);
	return path;
}

static void create_one(struct vmfs_volume *vol, const char *path)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE | VMFS_CREATE |
							VMFS_EXCL };
	struct vmfs_file *file;

	assert_int_equal(vmfs_file_open(vol, path, &how, &file, NULL), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

static void look_at_one(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_stat st;

	assert_int_equal(vmfs_stat(vol, path, &st), 0);
}

static void remove_one(struct vmfs_volume *vol, const char *path)
{
	assert_int_equal(vmfs_unlink(vol, path), 0);
}

/*
 * Does it for all of them, in an order that jumps about; so many names there are before,
 * each changes that by so much. The second 10,000 and the last ask as much of the device:
 * what one costs does not grow with how many there are.
 */
static void do_many(struct testvol *tv, void (*fn)(struct vmfs_volume *, const char *),
		    unsigned int names, int change)
{
	uint64_t steps[MANY / STEP];
	char path[40];

	for (unsigned int i = 0; i < MANY; i++) {
		if (i % STEP == 0)
			steps[i / STEP] = bytes_asked;
		if (i == STEP) /* or it is searched through, in memory */
			has_index(tv->vol, names, true);
		names += (unsigned int)change;
		fn(tv->vol, many_path((unsigned int)((uint64_t)i * 77773 % MANY), path));
	}
	uint64_t early = steps[2] - steps[1];
	uint64_t late = bytes_asked - steps[MANY / STEP - 1];
	print_message("# 10,000: %llu bytes, later %llu\n", (unsigned long long)early,
		      (unsigned long long)late);
	assert_true(late < 2 * early + (1 << 20) && early < 2 * late + (1 << 20));
}

/* Each of them once, and not much more read than the directory is long. */
static void list_many(struct testvol *tv)
{
	uint8_t *seen = test_calloc(MANY, 1);
	struct vmfs_dirent entries[512];
	uint64_t cookie = 0, before = bytes_asked;
	unsigned int i, count = 0;
	struct vmfs_stat st;
	int n;

	assert_int_equal(vmfs_stat(tv->vol, "/d", &st), 0);
	while ((n = vmfs_readdir(tv->vol, st.addr, cookie, entries, 512)) > 0) {
		for (int k = 0; k < n; k++) {
			if (sscanf(entries[k].name, "file of many %u", &i) != 1)
				continue;
			assert_true(i < MANY && !seen[i]);
			seen[i] = 1;
			count++;
		}
		cookie = entries[n - 1].cookie;
	}
	assert_int_equal(n, 0);
	assert_int_equal(count, MANY);
	print_message("# listing: %llu bytes of %llu\n",
		      (unsigned long long)(bytes_asked - before),
		      (unsigned long long)st.size_bytes);
	assert_true(bytes_asked - before < 4 * st.size_bytes);
	test_free(seen);
}

static void a_hundred_thousand_entries(void **state)
{
	struct testvol tv;

	(void)state;
	if (!getenv("FULL"))
		skip();
	testvol_new(&tv, 512);
	begin_counting(tv.bd);
	assert_int_equal(vmfs_mkdir(tv.vol, "/d", 0755), 0);
	do_many(&tv, create_one, 0, 1);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_mount(&tv, false);
	list_many(&tv);
	do_many(&tv, look_at_one, MANY, 0);
	do_many(&tv, remove_one, MANY, -1);
	assert_int_equal(vmfs_rmdir(tv.vol, "/d"), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	tv.bd->ops = real_ops;
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_index_agrees_with_a_list),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(indexes_are_kept_by_lock_and_token),
		cmocka_unit_test(a_large_directory_is_looked_up_by_its_index),
		cmocka_unit_test(a_hundred_thousand_entries),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
