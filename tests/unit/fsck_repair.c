/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs of more than one field: random damage by seed, fsck itself dying at any of its
 * writes, and power failing between, and in, any of them. (One field at a time:
 * fsck_wreck.c.)
 *
 *	WRECK_SEED=n	only this one, with all that was found
 *	WRECK_COUNT=n	as many of them; FULL=1: 500
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

#include "base/align.h"
#include "tests/lib/mended.h"
#include "tests/lib/overlay.h"
#include "tests/lib/testvol.h"
#include "tests/lib/wreck.h"
#include "tests/lib/wreckage.h"
#include "tests/lib/writelog.h"

#define PES 7u
#define SEEDS 30u
#define SEEDS_FULL 500u
#define CRASHES 10u
#define CUTS 20u	 /* repairs that are cut off */
#define CUT_STRIDE 19u /* at each so many of the moments; FULL=1: at all */

/* ---- the same volume each time ---- */

uint64_t __wrap_random_u64(void);
void __wrap_random_bytes(void *buf, uint32_t len);

uint64_t __wrap_random_u64(void)
{
	static _Atomic uint64_t state = 88172645463325252ull;
	uint64_t s = state;
	s ^= s << 13;
	s ^= s >> 7;
	s ^= s << 17;
	state = s;
	return s;
}

void __wrap_random_bytes(void *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)__wrap_random_u64();
}

/* ---- a volume with files of all kinds ---- */

static void put_file(struct vmfs_volume *vol, const char *path, uint64_t off,
		     uint64_t len, uint32_t seed)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
						   .mode = 0644 };
	struct vmfs_file *file;
	uint8_t *buf = malloc(len);
	assert_non_null(buf);
	for (uint64_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((i * 2654435761u >> 13) + seed * 37);
	assert_int_equal(vmfs_file_open(vol, path, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, buf, len, off), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	free(buf);
}

static void fill(struct vmfs_volume *vol, unsigned int from, unsigned int to)
{
	static const uint64_t lengths[] = { 100, 5000, 40000, 1500000, 3000 };
	char path[64];
	for (unsigned int d = from; d < to; d++) {
		(void)snprintf(path, sizeof(path), "/dir%u", d);
		assert_int_equal(vmfs_mkdir(vol, path, 0755), 0);
		for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
			(void)snprintf(path, sizeof(path), "/dir%u/file%u", d, i);
			put_file(vol, path, 0, lengths[i], d * 10 + i);
		}
		(void)snprintf(path, sizeof(path), "/dir%u/far", d);
		put_file(vol, path, 400ull << 20, 70000, d);
		(void)snprintf(path, sizeof(path), "/dir%u/link", d);
		assert_int_equal(vmfs_symlink(vol, "file0", path), 0);
	}
}

struct scene {
	struct testvol tv;
	struct bdev *over;
	struct treehash before;
	struct wreckage w;
	struct {
		uint64_t number, hash;
	} fds[TREEHASH_MAX];
};

static struct scene scene; /* large */

static int scene_make(void **state)
{
	struct scene *s = &scene;
	struct vmfs_stat st;
	uint32_t version = *state ? *(uint32_t *)*state : 5;
	testvol_new_version(&s->tv, version, version == 6 ? 8 : PES);
	fill(s->tv.vol, 0, 3);
	testvol_unmount(&s->tv);
	wreckage_find(&s->w, s->tv.bd, false);
	testvol_mount(&s->tv, false);
	fill(s->tv.vol, 3, 6);
	for (unsigned int i = 0; i < 5; i++) {
		char path[64];
		(void)snprintf(path, sizeof(path), "/dir1/file%u", i);
		assert_int_equal(vmfs_unlink(s->tv.vol, path), 0);
	}
	testvol_unmount(&s->tv);
	wreckage_find(&s->w, s->tv.bd, true);
	assert_int_equal(treehash_take(s->tv.bd, &s->before), 0);
	testvol_mount(&s->tv, true);
	for (unsigned int i = 0; i < s->before.count; i++) {
		assert_int_equal(vmfs_stat(s->tv.vol, s->before.files[i].path, &st), 0);
		s->fds[i].number = st.addr.raw;
		s->fds[i].hash = s->before.files[i].hash;
	}
	testvol_unmount(&s->tv);
	s->over = overlay_new(s->tv.bd, NULL, NULL);
	assert_non_null(s->over);
	*state = s;
	return 0;
}

static int scene_free(void **state)
{
	struct scene *s = *state;
	bdev_close(s->over);
	testvol_free(&s->tv);
	return 0;
}

/* ---- random damage ---- */

static unsigned int findings(struct bdev *bd, char *text, size_t size)
{
	static struct findings all;
	struct fsck_summary summary;
	int err = wreck_check(&bd, 1, &all, &summary);
	(void)snprintf(text, size, "%d: %.8000s", err, all.text);
	return summary.errors + summary.warnings + summary.has_failed + (err != 0);
}

/* Files of the tree before whose descriptors are whole, and that are not there now. */
static unsigned int lost(struct scene *s, const uint64_t *hurt, unsigned int count,
			 char *text, size_t size)
{
	static struct treehash after;
	unsigned int n = 0;
	if (treehash_take(s->over, &after) != 0) {
		(void)snprintf(text, size, "it does not mount");
		return 1;
	}
	for (unsigned int i = 0; i < s->before.count; i++) {
		bool is_hurt = false;
		for (unsigned int k = 0; k < count; k++)
			is_hurt |= hurt[k] == s->fds[i].number;
		if (is_hurt || treehash_find(&after, s->fds[i].hash))
			continue;
		n++;
		(void)snprintf(text, size, "%s is not there", s->before.files[i].path);
	}
	return n;
}

static void tell(const struct scene *s, uint64_t seed, bool is_clean, int err,
		 const char *text, const char *found, const uint64_t *hurt,
		 unsigned int count)
{
	print_message("# seed %llu: error %d, %s: %.3000s\n# found:\n%.4000s\n",
		      (unsigned long long)seed, err, is_clean ? "clean" : "not clean",
		      text, found);
	for (unsigned int k = 0; k < count; k++)
		for (unsigned int i = 0; i < s->before.count; i++)
			if (s->fds[i].number == hurt[k])
				print_message("# hurt: %s\n", s->before.files[i].path);
}

static bool survives(struct scene *s, uint64_t seed, bool is_told)
{
	static char found[8192], text[8192];
	struct session_result result;
	uint64_t hurt[16];
	unsigned int count = wreckage_do(&s->w, s->over, seed, hurt);
	(void)findings(s->over, found, sizeof(found));
	int err = mended_run(s->over, NULL, UINT64_MAX, &result, NULL);
	bool is_clean = !err && !findings(s->over, text, sizeof(text));
	if (!err && !is_clean)
		err = mended_run(s->over, NULL, UINT64_MAX, &result, NULL);
	is_clean = !err && !findings(s->over, text, sizeof(text));
	bool is_right = is_clean && !lost(s, hurt, count, text, sizeof(text));
	if (!is_right || is_told)
		tell(s, seed, is_clean, err, text, found, hurt, count);
	overlay_undo(s->over, 0, UINT64_MAX);
	return is_right;
}

static void random_damage_is_repaired_and_no_whole_file_is_lost(void **state)
{
	struct scene *s = *state;
	const char *one = getenv("WRECK_SEED"), *wanted = getenv("WRECK_COUNT");
	uint64_t count = wanted ? strtoull(wanted, NULL, 0)
			 : getenv("FULL") ? SEEDS_FULL
					  : SEEDS;
	unsigned int failed = 0;
	if (one) {
		assert_true(survives(s, strtoull(one, NULL, 0), true));
		return;
	}
	for (uint64_t seed = 1; seed <= count; seed++)
		failed += !survives(s, seed, false);
	assert_int_equal(failed, 0);
}

/* ---- fsck dies ---- */

/*
 * Addresses and names that lead to what is marked free: a host would give that away. The
 * order of writes makes none of them.
 */
static unsigned int dangling(struct bdev *bd)
{
	static struct findings all;
	struct fsck_summary summary;
	assert_int_equal(wreck_check(&bd, 1, &all, &summary), 0);
	return all.counts[PROBLEM_ADDR_FREE] + all.counts[PROBLEM_DIR_TARGET] +
	       all.counts[PROBLEM_FD_FREE];
}

static void a_repair_that_dies_is_ended_by_the_next(void **state)
{
	struct scene *s = *state;
	static char text[8192];
	struct session_result result;
	uint64_t hurt[16], writes, states = 0;
	unsigned int failed = 0;
	for (uint64_t seed = 1000; seed < 1000 + CRASHES; seed++) {
		writes = 1;
		for (uint64_t at = 0; at < writes; at++) {
			unsigned int count = wreckage_do(&s->w, s->over, seed, hurt);
			unsigned int before = dangling(s->over);
			int err = mended_run(s->over, NULL, at, &result, &writes);
			bool is_ordered = dangling(s->over) <= before;
			assert_true(err == -EIO || writes <= at);
			if (err)
				writes = at + 2;
			for (unsigned int i = 0;
			     i < 2 && findings(s->over, text, sizeof(text)); i++)
				err = mended_run(s->over, NULL, UINT64_MAX, &result,
						 NULL);
			bool is_right = !findings(s->over, text, sizeof(text)) &&
					!lost(s, hurt, count, text, sizeof(text));
			is_right = is_right && is_ordered;
			if (!is_right)
				print_message("# seed %llu, write %llu: %s%s\n",
					      (unsigned long long)seed,
					      (unsigned long long)at,
					      is_ordered ? "" : "in the wrong order ",
					      text);
			failed += !is_right;
			states++;
			overlay_undo(s->over, 0, UINT64_MAX);
		}
	}
	print_message("# %llu moments of death\n", (unsigned long long)states);
	assert_int_equal(failed, 0);
}

/* ---- power fails ---- */

/* A repair of the damage of this seed, recorded; the volume is whole again. */
static struct bdev *repair_log(struct scene *s, uint64_t seed)
{
	struct session_result result;
	uint64_t hurt[16];
	struct bdev *log = writelog_new(s->over, -1);
	assert_non_null(log);
	(void)wreckage_do(&s->w, s->over, seed, hurt);
	assert_int_equal(mended_run(log, NULL, UINT64_MAX, &result, NULL), 0);
	overlay_undo(s->over, 0, UINT64_MAX);
	return log;
}

static bool ends_after(struct scene *s, uint64_t seed, const struct bdev *log,
		       const struct writelog_state *state)
{
	static char text[8192];
	char place[80];
	struct session_result result;
	uint64_t hurt[16];
	unsigned int count = wreckage_do(&s->w, s->over, seed, hurt);
	unsigned int before = dangling(s->over);
	writelog_replay(log, state, s->over);
	bool is_ordered = dangling(s->over) <= before;
	for (unsigned int i = 0; i < 2 && findings(s->over, text, sizeof(text)); i++)
		(void)mended_run(s->over, NULL, UINT64_MAX, &result, NULL);
	bool is_right = is_ordered && !findings(s->over, text, sizeof(text)) &&
			!lost(s, hurt, count, text, sizeof(text));
	if (!is_right)
		print_message("# seed %llu, %s: %s%.4000s\n", (unsigned long long)seed,
			      writelog_text(state, place),
			      is_ordered ? "" : "in the wrong order ", text);
	overlay_undo(s->over, 0, UINT64_MAX);
	return is_right;
}

/*
 * The disk has a cache: what was not flushed is there in part, the later without the
 * earlier, or torn between two sectors.
 */
static void a_repair_whose_power_fails_is_ended_by_the_next(void **state)
{
	struct scene *s = *state;
	unsigned int failed = 0, all = 0, tried = 0;
	unsigned int stride = getenv("FULL") ? 1 : CUT_STRIDE;
	for (uint64_t seed = 1000; seed < 1000 + CUTS; seed++) {
		struct bdev *log = repair_log(s, seed);
		struct writelog_state at = { 0 };
		while (writelog_next(log, &at)) {
			if (all++ % stride)
				continue;
			tried++;
			failed += !ends_after(s, seed, log, &at);
		}
		bdev_close(log);
	}
	print_message("# %u of %u states after a power failure\n", tried, all);
	assert_int_equal(failed, 0);
}

int main(void)
{
	static uint32_t five = 5, six = 6;
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate_setup_teardown(
			random_damage_is_repaired_and_no_whole_file_is_lost, scene_make,
			scene_free, &five),
		cmocka_unit_test_prestate_setup_teardown(
			a_repair_that_dies_is_ended_by_the_next, scene_make, scene_free,
			&five),
		cmocka_unit_test_prestate_setup_teardown(
			a_repair_whose_power_fails_is_ended_by_the_next, scene_make,
			scene_free, &five),
		cmocka_unit_test_prestate_setup_teardown(
			random_damage_is_repaired_and_no_whole_file_is_lost, scene_make,
			scene_free, &six),
		cmocka_unit_test_prestate_setup_teardown(
			a_repair_whose_power_fails_is_ended_by_the_next, scene_make,
			scene_free, &six),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
