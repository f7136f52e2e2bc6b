/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a thin unit has no blocks for: the bytes of its answer, and what becomes of a unit
 * that refuses, does not answer, or is wrong. Nothing that holds data is a hole.
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
#include "base/env.h"
#include "iscsi/open.h"
#include "iscsi/scsi.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/iscsi_lab.h"
#include "tests/lib/own_target.h"

#define BLOCK 512u
#define MIB (1ull << 20)
#define ALL (64 * MIB)
#define ONE "-p 0:1 -l 1=FILE"

/* ---- bytes ---- */

static void answers_are_read_as_far_as_they_make_sense(void **state)
{
	static const struct {
		uint64_t lba;
		uint32_t count, told; /* bytes behind the field */
		uint8_t status;
		uint64_t blocks; /* from 100 on; 0: nothing is told */
		bool is_mapped;
	} cases[] = {
		{ 100, 8, 20, 0, 8, true },
		{ 100, 8, 20, 1, 8, false },
		{ 100, 8, 20, 2, 8, false },
		{ 100, 8, 20, 3, 0, true },
		{ 100, 8, 20, 0xf1, 8, false }, /* the high half says nothing */
		{ 90, 18, 20, 1, 8, false },	/* it may begin before */
		{ 90, 10, 20, 1, 0, true },
		{ 101, 8, 20, 1, 0, true },
		{ 100, 0, 20, 1, 0, true },
		{ 100, UINT32_MAX, 20, 1, UINT32_MAX, false },
		{ UINT64_MAX, 1, 20, 1, 0, true },
		{ 100, 8, 19, 1, 0, true }, /* there is no range */
		{ 100, 8, 0, 1, 0, true },
		{ 100, 8, 4 + 16 * 3, 1, 8, false }, /* there are more */
		{ 100, 8, UINT32_MAX, 1, 8, false },
	};
	uint8_t cdb[16];
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scsi_lba_status_pdu a = { .more_len = be32_of(cases[i].told),
						 .lba = be64_of(cases[i].lba),
						 .blocks = be32_of(cases[i].count),
						 .status = cases[i].status };
		bool is_mapped = true;

		assert_int_equal(scsi_lba_status((const uint8_t *)&a, sizeof(a), 100,
						 &is_mapped),
				 cases[i].blocks);
		assert_int_equal(is_mapped, cases[i].is_mapped);
		/* Cut anywhere: nothing behind its end is read (sanitizers look). */
		for (uint32_t n = 0; n < sizeof(a); n++) {
			uint8_t *part = malloc(n ? n : 1);

			memcpy(part, &a, n);
			assert_int_equal(scsi_lba_status(part, n, 100, &is_mapped), 0);
			free(part);
		}
	}
	scsi_cdb_lba_status(cdb, 0x1122334455667788, 24);
	assert_memory_equal(cdb,
			    ((uint8_t[16]){ 0x9e, 0x12, 0x11, 0x22, 0x33, 0x44, 0x55,
					    0x66, 0x77, 0x88, [13] = 24 }),
			    16);
}

/* ---- a unit ---- */

struct thin {
	struct own_target *t;
	struct bdev *bd;
	struct collect told;
};

/* Of 64 MiB, with a MiB of data at 8 MiB. */
static void thin_open(struct thin *u, const char *options, const char *keys)
{
	uint8_t *bytes = malloc(MIB);

	u->t = own_start(options);
	if (device_open(own_url(u->t, 1, keys), 0, NULL, collect_init(&u->told), &u->bd))
		fail_msg("%s", collect_text(&u->told));
	memset(bytes, 7, MIB);
	assert_int_equal(bdev_write(u->bd, bytes, MIB, 8 * MIB), 0);
	free(bytes);
}

static void thin_close(struct thin *u)
{
	bdev_close(u->bd);
	own_free(u->t);
	collect_done(&u->told);
}

static void expect_piece(struct bdev *bd, uint64_t offset, uint64_t len, bool is_data)
{
	uint64_t is_len = 0;
	bool is = !is_data;

	bdev_piece(bd, offset, &is_len, &is);
	assert_int_equal(is, is_data);
	assert_int_equal(is_len, len);
}

static void expect_pieces(struct bdev *bd)
{
	expect_piece(bd, 0, 8 * MIB, false);
	expect_piece(bd, 3 * BLOCK, 8 * MIB - 3 * BLOCK, false);
	expect_piece(bd, 8 * MIB, MIB, true);
	expect_piece(bd, 9 * MIB - BLOCK, BLOCK, true);
	expect_piece(bd, 9 * MIB, ALL - 9 * MIB, false);
	expect_piece(bd, ALL - BLOCK, BLOCK, false);
}

static void holes_are_found(void **state)
{
	struct bdev *range;
	struct thin u;
	(void)state;

	thin_open(&u, ONE, "");
	expect_pieces(u.bd);
	assert_int_equal(bdev_unmap(u.bd, 4 * MIB, 6 * MIB), 0);
	expect_piece(u.bd, 8 * MIB, ALL - 8 * MIB, false);
	assert_int_equal(collect_count(&u.told, REPORT_WARN), 0);
	/* A part of it. */
	uint8_t block[BLOCK] = { 1 };
	assert_int_equal(bdev_write(u.bd, block, BLOCK, 16 * MIB), 0);
	assert_int_equal(bdev_range_new(u.bd, 15 * MIB, 4 * MIB, &range), 0);
	u.bd = range;
	expect_piece(range, 0, MIB, false);
	expect_piece(range, 2 * MIB, 2 * MIB, false);
	thin_close(&u);
}

static void holes_are_found_over_several_paths(void **state)
{
	char keys[96];
	struct thin u;
	(void)state;

	u.t = own_start("-p 0:1 -p 0:1 -l 1=FILE");
	(void)snprintf(keys, sizeof(keys), "?portal=127.0.0.1:%u", own_port(u.t, 1));
	if (device_open(own_url(u.t, 1, keys), 0, NULL, collect_init(&u.told), &u.bd))
		fail_msg("%s", collect_text(&u.told));
	uint8_t block[BLOCK] = { 1 };
	assert_int_equal(bdev_write(u.bd, block, BLOCK, 32 * MIB), 0);
	expect_piece(u.bd, 0, 32 * MIB, false);
	expect_piece(u.bd, 33 * MIB, ALL - 33 * MIB, false);
	thin_close(&u);
}

/* It says that it has nothing where there is data: seen at either end, and remembered. */
static void a_unit_that_denies_its_data_is_not_believed(void **state)
{
	static const struct {
		uint64_t lba, count;
	} denied[] = { { 8 * MIB / BLOCK, 2048 }, { 0, 9 * MIB / BLOCK } };
	struct thin u;
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(denied); i++) {
		uint64_t at = denied[i].lba * BLOCK;

		thin_open(&u, ONE, "");
		own_do(u.t, "deny 1 %llu %llu", (unsigned long long)denied[i].lba,
		       (unsigned long long)denied[i].count);
		expect_piece(u.bd, 20 * MIB, ALL - 20 * MIB, false);
		expect_piece(u.bd, at, ALL - at, true);
		uint64_t asked = own_stat(u.t, "9e");
		expect_piece(u.bd, 20 * MIB, ALL - 20 * MIB, true);
		assert_int_equal(own_stat(u.t, "9e"), asked);
		assert_int_equal(collect_count(&u.told, REPORT_WARN), 1);
		assert_true(collect_has(&u.told, "no blocks where it has data"));
		thin_close(&u);
	}
}

static void a_unit_that_refuses_is_asked_once(void **state)
{
	struct thin u;
	(void)state;

	thin_open(&u, ONE, "");
	own_do(u.t, "status 9e 2 5/20/00 always");
	uint64_t asked = own_stat(u.t, "9e");
	expect_piece(u.bd, 0, ALL, true);
	expect_piece(u.bd, 8 * MIB, ALL - 8 * MIB, true);
	assert_int_equal(own_stat(u.t, "9e"), asked + 1);
	assert_true(collect_has(&u.told, "the unit refuses GET LBA STATUS (05/20/00): "
					 "all of it is taken for data"));
	thin_close(&u);
}

/* No answer, a medium error, bytes that cannot be read: data, and asked anew later. */
static void what_is_not_told_is_data(void **state)
{
	static const char *const faults[] = { "swallow-request 9e 2",
					      "status 9e 2 3/11/00 1",
					      "medium-error 1 0 1" };
	struct thin u;
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(faults); i++) {
		thin_open(&u, ONE, "?command_timeout=300ms");
		own_do(u.t, "%s", faults[i]);
		uint64_t len;
		bool is_data;
		bdev_piece(u.bd, 0, &len, &is_data);
		assert_true(is_data);
		own_do(u.t, "clear");
		own_do(u.t, "medium-error 1 0 0");
		expect_pieces(u.bd);
		thin_close(&u);
	}
}

/* LBPME without LBPRZ: such a block may read as anything. */
static void a_unit_that_does_not_promise_zeros_is_not_asked(void **state)
{
	struct lab *lab = lab_new();
	(void)state;

	target_set_thin(lab->t, true);
	lab_connect(lab, 0);
	unsigned int asked = target_seen(lab->t, SCSI_SERVICE_IN16);
	expect_piece(lab->bd, 0, LAB_SIZE, true);
	assert_int_equal(target_seen(lab->t, SCSI_SERVICE_IN16), asked);
	lab_free(lab);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_read_as_far_as_they_make_sense),
		cmocka_unit_test(holes_are_found),
		cmocka_unit_test(holes_are_found_over_several_paths),
		cmocka_unit_test(a_unit_that_denies_its_data_is_not_believed),
		cmocka_unit_test(a_unit_that_refuses_is_asked_once),
		cmocka_unit_test(what_is_not_told_is_data),
		cmocka_unit_test(a_unit_that_does_not_promise_zeros_is_not_asked),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
