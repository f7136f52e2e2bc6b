/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a real target does by itself: tests/cli/iscsi_lio.sh and iscsi_tgt.sh run it.
 *
 *	ISCSI_URL	a LUN whose contents may be destroyed; without it everything is
 *			skipped. 6 GiB on "tgt"
 *	ISCSI_URL2	another one of the same target, or nothing
 *	ISCSI_KIND	"tgt" (WRITE SAME, UNMAP after which it reads as zeros) or "lio"
 *			(EXTENDED COPY, too)
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

#include "base/env.h"
#include "iscsi/open.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

struct lab {
	struct bdev *bd, *other; /* NULL: there is none */
	struct collect told;
	bool is_lio;
};

static void open_lun(struct lab *lab, const char *url, struct bdev **ret_bd)
{
	int error = device_open(url, 0, NULL, &lab->told.base, ret_bd);

	if (error)
		print_message("# %s", collect_text(&lab->told));
	assert_int_equal(error, 0);
}

static int set_up(void **state)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	(void)collect_init(&lab->told);
	lab->is_lio = strcmp(getenv("ISCSI_KIND"), "lio") == 0;
	open_lun(lab, getenv("ISCSI_URL"), &lab->bd);
	if (getenv("ISCSI_URL2"))
		open_lun(lab, getenv("ISCSI_URL2"), &lab->other);
	*state = lab;
	return 0;
}

static int tear_down(void **state)
{
	struct lab *lab = *state;

	bdev_close(lab->bd);
	bdev_close(lab->other);
	collect_done(&lab->told);
	free(lab);
	return 0;
}

static struct bdev_offloads offloads(struct bdev *bd)
{
	struct bdev_offloads o = { 0 };

	assert_int_equal(bdev_offloads(bd, &o), 0);
	return o;
}

static void expect_bytes(struct bdev *bd, const uint8_t *wanted, uint64_t len,
			 uint64_t offset)
{
	uint8_t *now = malloc(len);

	assert_int_equal(bdev_read(bd, now, len, offset), 0);
	assert_memory_equal(now, wanted, len);
	free(now);
}

static void zeros_are_written_by_the_unit(void **state)
{
	enum { LEN = 9 << 20 };
	struct lab *lab = *state;
	uint8_t *bytes = malloc(LEN);

	fill_bytes(bytes, LEN, 3);
	assert_int_equal(bdev_write(lab->bd, bytes, LEN, MIB), 0);
	assert_int_equal(bdev_zero(lab->bd, LEN - 8192, MIB + 4096), 0);
	memset(bytes + 4096, 0, LEN - 8192);
	expect_bytes(lab->bd, bytes, LEN, MIB);
	assert_int_equal(offloads(lab->bd).zero, BDEV_OFFLOAD_PROVED);
	assert_false(collect_has(&lab->told, "refuses"));
	free(bytes);
}

/* More than 4 GiB at once: in no piece of it may the target do nothing. */
static void a_huge_unmap_takes_all_of_it_back(void **state)
{
	static const uint64_t places[] = { 0, GIB - 4096, GIB, 4 * GIB - 4096, 4 * GIB,
					   5 * GIB - 4096 };
	static const uint8_t zeros[4096];
	struct lab *lab = *state;
	uint8_t bytes[4096];

	if (lab->is_lio)
		return; /* its disk need not read as zeros then */
	fill_bytes(bytes, sizeof(bytes), 4);
	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		assert_int_equal(bdev_write(lab->bd, bytes, 4096, places[i]), 0);
	assert_int_equal(bdev_write(lab->bd, bytes, 4096, 5 * GIB), 0);
	assert_int_equal(bdev_unmap(lab->bd, 5 * GIB, 0), 0);
	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		expect_bytes(lab->bd, zeros, 4096, places[i]);
	expect_bytes(lab->bd, bytes, 4096, 5 * GIB);
	assert_int_equal(offloads(lab->bd).delete, BDEV_OFFLOAD_PROVED);
	assert_true(offloads(lab->bd).is_thin);
}

/* From here to there, with another piece around it that must stay. */
static void expect_copy(struct bdev *to, struct bdev *from)
{
	enum { LEN = 5 << 20, MORE = 8192 };
	uint8_t *bytes = malloc(LEN), *around = malloc(MORE);

	fill_bytes(bytes, LEN, 5);
	fill_bytes(around, MORE, 6);
	assert_int_equal(bdev_write(from, bytes, LEN, MIB), 0);
	assert_int_equal(bdev_write(to, around, MORE, 16 * MIB - MORE), 0);
	assert_int_equal(bdev_write(to, around, MORE, 16 * MIB + LEN), 0);
	assert_int_equal(bdev_zero(to, LEN, 16 * MIB), 0);
	assert_int_equal(bdev_copy(to, 16 * MIB, from, MIB, LEN), 0);
	expect_bytes(to, bytes, LEN, 16 * MIB);
	expect_bytes(from, bytes, LEN, MIB);
	expect_bytes(to, around, MORE, 16 * MIB - MORE);
	expect_bytes(to, around, MORE, 16 * MIB + LEN);
	free(bytes);
	free(around);
}

static void copies_are_made_by_the_unit(void **state)
{
	struct lab *lab = *state;

	if (!lab->is_lio) {
		assert_int_equal(offloads(lab->bd).clone, BDEV_OFFLOAD_NONE);
		assert_int_equal(bdev_copy(lab->bd, 0, lab->bd, MIB, MIB), -EOPNOTSUPP);
		return;
	}
	assert_int_equal(offloads(lab->bd).clone, BDEV_OFFLOAD_TOLD);
	expect_copy(lab->bd, lab->bd);
	assert_int_equal(offloads(lab->bd).clone, BDEV_OFFLOAD_PROVED);
	if (lab->other)
		expect_copy(lab->other, lab->bd);
	assert_false(collect_has(&lab->told, "refuses"));
}

#define LIVE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		LIVE_TEST(zeros_are_written_by_the_unit),
		LIVE_TEST(a_huge_unmap_takes_all_of_it_back),
		LIVE_TEST(copies_are_made_by_the_unit),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (!getenv("ISCSI_URL")) {
		(void)printf("1..0 # SKIP tests/cli/iscsi_lio.sh runs it\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
