/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a power failure leaves, tested on the simulator itself: the volatile cache, the
 * recorder that rebuilds crash images, and the images they are made of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/simdisk.h"

#define SECTOR SIMDISK_SECTOR
#define DISK_SIZE (1u << 20)
#define RECORD (6 * SECTOR)

/* ---- the volatile cache ---- */

struct cache_story {
	bool flushes, uses_fua;
};

static void cache_story(void *arg)
{
	const struct cache_story *story = arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct simdisk_behaviour b = simdisk_polite();
	b.has_cache = true;
	simdisk_behave(disk, &b);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	assert_true(bd->has_write_cache);
	uint8_t a[SECTOR], c[SECTOR], now[SECTOR];
	memset(a, 'a', sizeof(a));
	memset(c, 'c', sizeof(c));
	assert_int_equal(bdev_write(bd, a, sizeof(a), 0), 0);
	if (story->flushes)
		assert_int_equal(bdev_flush(bd), 0);
	assert_int_equal(bdev_rw(bd, BDEV_WRITE, story->uses_fua ? BDEV_FUA : 0, c,
				 sizeof(c), SECTOR, 0),
			 0);
	simdisk_power_fail(disk);
	simdisk_peek(disk, now, sizeof(now), 0);
	SIM_CHECK(now[0] == 'a');
	simdisk_peek(disk, now, sizeof(now), SECTOR);
	SIM_CHECK(now[0] == 'c');
	bdev_close(bd);
	simdisk_free(disk);
}

static void power_failure_takes_unflushed_writes_only(void **state)
{
	(void)state;
	struct cache_story story = { .flushes = true, .uses_fua = true };
	sim_each_seed(1, 50, cache_story, &story);
	story.flushes = false;
	assert_true(
		sim_some_seed_fails(1, 50, cache_story, &story, "now[0] == 'a'", NULL));
	story = (struct cache_story){ .flushes = true, .uses_fua = false };
	assert_true(
		sim_some_seed_fails(1, 50, cache_story, &story, "now[0] == 'c'", NULL));
}

/* ---- the recorder ---- */

/*
 * A tiny transaction: a record, flush, a mark in sector 0 that names it, flush. Whoever
 * sees the mark must see the whole record.
 */
struct commit_story {
	bool forgets_flush;
	unsigned int states, bad;
};

static void commit(struct bdev *bd, uint8_t letter, bool forgets_flush)
{
	uint8_t record[RECORD], mark[SECTOR];
	memset(record, letter, sizeof(record));
	memset(mark, letter, sizeof(mark));
	uint64_t at = (letter % 2 ? 1u : 2u) * RECORD;
	assert_int_equal(bdev_write(bd, record, sizeof(record), at), 0);
	if (!forgets_flush)
		assert_int_equal(bdev_flush(bd), 0);
	assert_int_equal(bdev_write(bd, mark, sizeof(mark), 0), 0);
	assert_int_equal(bdev_flush(bd), 0);
}

static bool is_consistent(const struct image *img)
{
	uint8_t mark, record[RECORD], expected[RECORD];
	image_read(img, &mark, 1, 0);
	if (mark == 0)
		return true;
	image_read(img, record, sizeof(record), (mark % 2 ? 1u : 2u) * RECORD);
	memset(expected, mark, sizeof(expected));
	return memcmp(record, expected, sizeof(record)) == 0;
}

static void check_image(struct commit_story *story, struct image *img)
{
	story->states++;
	story->bad += !is_consistent(img);
	image_free(img);
}

static void record_story(void *arg)
{
	struct commit_story *story = arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct simdisk_behaviour b = simdisk_polite();
	b.has_cache = true;
	simdisk_behave(disk, &b);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	simdisk_log_start(disk);
	for (uint8_t letter = 'a'; letter <= 'e'; letter++)
		commit(bd, letter, story->forgets_flush);
	struct image *final = simdisk_image(disk);
	struct simdisk_log *log = simdisk_log_take(disk);
	bdev_close(bd);
	simdisk_free(disk);
	unsigned int count = simdisk_log_count(log);
	for (unsigned int n = 0; n <= count; n++) {
		check_image(story, simdisk_image_at(log, n, SIMDISK_PREFIX, 0));
		check_image(story, simdisk_image_at(log, n, SIMDISK_TORN, n));
		for (uint64_t choice = 0; choice < 8; choice++)
			check_image(story,
				    simdisk_image_at(log, n, SIMDISK_SUBSET, choice));
		unsigned int bits = simdisk_log_volatile(log, n);
		for (uint64_t mask = 0; mask < 1ull << bits && bits < 8; mask++)
			check_image(story, simdisk_image_at(log, n, SIMDISK_MASK, mask));
	}
	struct image *rebuilt = simdisk_image_at(log, count, SIMDISK_PREFIX, 0);
	assert_true(image_equal(final, rebuilt, NULL));
	image_free(rebuilt);
	image_free(final);
	simdisk_log_free(log);
}

static void crash_images_follow_the_flush_rule(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct commit_story good = { 0 }, careless = { .forgets_flush = true };
		sim_run(seed, record_story, &good);
		assert_true(good.states > 200);
		assert_int_equal(good.bad, 0);
		sim_run(seed, record_story, &careless);
		assert_true(careless.bad > 0);
	}
}

/* ---- images ---- */

static void images_share_until_written(void **state)
{
	(void)state;
	uint8_t buf[1000], back[1000];
	uint64_t differs = 0;
	struct image *a = image_new(8u << 20);
	memset(buf, 'a', sizeof(buf));
	image_write(a, buf, sizeof(buf), 4000);
	struct image *b = image_clone(a);
	assert_true(image_equal(a, b, NULL));
	memset(buf, 'b', sizeof(buf));
	image_write(b, buf, 10, 4090);
	assert_false(image_equal(a, b, &differs));
	assert_int_equal(differs, 4090);
	image_read(a, back, sizeof(back), 4000);
	assert_int_equal(back[95], 'a');
	image_read(b, back, sizeof(back), 4000);
	assert_int_equal(back[89], 'a');
	assert_int_equal(back[90], 'b');
	assert_int_equal(back[99], 'b');
	assert_int_equal(back[100], 'a');
	char path[] = "/tmp/vmfs-image.XXXXXX";
	int file_fd = mkstemp(path);
	assert_true(file_fd >= 0);
	struct image *c = NULL;
	assert_int_equal(image_save(b, path), 0);
	assert_int_equal(image_load(path, &c), 0);
	(void)remove(path);
	assert_true(image_equal(b, c, NULL));
	image_free(a);
	image_free(b);
	image_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_share_until_written),
		cmocka_unit_test(power_failure_takes_unflushed_writes_only),
		cmocka_unit_test(crash_images_follow_the_flush_rule),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
