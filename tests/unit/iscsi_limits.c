/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of a unit: what its pages mean, where commands are cut, and what becomes of
 * commands that it refuses.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "iscsi/limits.h"
#include "iscsi/lun_impl.h"
#include "tests/lib/iscsi_lab.h"

#define BLOCK TARGET_BLOCK_SIZE
#define MIB (1ull << 20)
#define GIB (1ull << 30)

/* ---- pages ---- */

struct told {
	uint32_t transfer, unmap, granule, alignment;
	uint64_t write_same;
};

/* Page B0h, of 64 bytes. */
static void make_b0(uint8_t page[64], struct told told)
{
	struct scsi_limits_pdu b0 = {
		.page = 0xb0,
		.more_len = be16_of(60),
		.max_transfer = be32_of(told.transfer),
		.max_unmap = be32_of(told.unmap),
		.max_unmap_ranges = be32_of(1),
		.unmap_granularity = be32_of(told.granule),
		.unmap_alignment = be32_of(told.alignment),
		.max_write_same = be64_of(told.write_same),
	};

	memset(page, 0, 64);
	memcpy(page, &b0, sizeof(b0));
}

static struct limits limits_of(struct told told, uint32_t block_size)
{
	uint8_t b0[64];

	make_b0(b0, told);
	return limits_read(&(struct limits_pages){ .b0 = b0, .b0_len = 64 }, block_size);
}

static void limits_are_what_is_told_or_ours(void **state)
{
	static const struct {
		struct told told;
		uint32_t block_size;
		uint64_t transfer, zero, unmap;
		bool has_zero;
	} cases[] = {
		{ { 0 }, 512, 4 * MIB, 64 * MIB, GIB, false },
		{ { 1, 1, 0, 0, 1 }, 512, 512, 512, 512, true },
		{ { 8192, 131072, 0, 0, 131072 }, 512, 4 * MIB, 64 * MIB, 64 * MIB,
		  true },
		{ { 8191, 131071, 0, 0, 131071 }, 512, 4 * MIB - 512, 64 * MIB - 512,
		  64 * MIB - 512, true },
		{ { 16, 4096, 0, 0, 4096 }, 4096, 65536, 16 * MIB, 16 * MIB, true },
		{ { UINT32_MAX, UINT32_MAX, 0, 0, UINT64_MAX }, 4096, 4 * MIB, 64 * MIB,
		  GIB, true },
	};
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct limits l = limits_of(cases[i].told, cases[i].block_size);
		assert_int_equal(l.max_transfer, cases[i].transfer);
		assert_int_equal(l.max_zero, cases[i].zero);
		assert_int_equal(l.max_unmap, cases[i].unmap);
		assert_int_equal(l.has_zero, cases[i].has_zero);
		assert_false(l.has_unmap);
		assert_true(l.max_unmap < 4 * GIB);
	}
}

/* Another page under this name, or one that ends before the field: not told. */
static void a_page_is_believed_as_far_as_it_reaches(void **state)
{
	uint8_t b0[64], b1[64] = { 0, 0xb1, 0, 60, 0x1c, 0x20 };
	uint8_t b2[64] = { 0, 0xb2, 0, 4, 0, 0xe4 };
	struct limits_pages pages = { b0, b1, b2, 64, 64, 64 };
	(void)state;

	make_b0(b0, (struct told){ 8, 16, 0, 0, 32 });
	struct limits l = limits_read(&pages, 512);
	assert_int_equal(l.max_zero, 32 * 512);
	assert_true(l.has_unmap);
	assert_true(l.is_rotating); /* 7200 in a minute */
	b0[3] = 32; /* up to and with max_unmap_ranges, as SBC-2 had it */
	b1[5] = 1, b1[4] = 0; /* it does not turn */
	b2[3] = 1;
	l = limits_read(&pages, 512);
	assert_int_equal(l.max_transfer, 8 * 512);
	assert_int_equal(l.max_unmap, 16 * 512);
	assert_int_equal(l.max_zero, 64 * MIB);
	assert_false(l.has_unmap);
	assert_false(l.is_rotating);
	b2[3] = 4;
	pages.b2_len = 5;
	assert_false(limits_read(&pages, 512).has_unmap);
	pages.b2_len = 64;
	b2[1] = 0xb1;
	assert_false(limits_read(&pages, 512).has_unmap);
	pages.b0_len = 0;
	assert_int_equal(limits_read(&pages, 512).max_transfer, 4 * MIB);
}

/* ---- cutting ---- */

static void an_unmap_is_cut_where_granules_meet(void **state)
{
	static const struct {
		uint32_t granule, alignment; /* blocks; bit 31: valid */
		uint64_t most, offset, len, piece;
	} cases[] = {
		/* No granules: as much as fits. */
		{ 0, 0, GIB, 0, GIB, GIB },
		{ 0, 0, GIB, 512, GIB + 512, GIB },
		{ 0, 0, GIB, 0, 512, 512 },
		{ 0, 1u << 31 | 3, GIB, 0, 2 * GIB, GIB },
		/* Granules of 1 MiB from 0: the second piece begins at one. */
		{ 2048, 0, 4 * MIB, 0, 5 * MIB, 4 * MIB },
		{ 2048, 0, 4 * MIB, 512, 5 * MIB, 4 * MIB - 512 },
		{ 2048, 0, 4 * MIB, MIB - 512, 5 * MIB, 3 * MIB + 512 },
		{ 2048, 0, 4 * MIB, 512, 4 * MIB, 4 * MIB },
		/* They begin at 3 blocks, or (not valid) do not. */
		{ 2048, 1u << 31 | 3, 4 * MIB, 0, 5 * MIB, 3 * MIB + 3 * 512 },
		{ 2048, 1u << 31 | 2051, 4 * MIB, 0, 5 * MIB, 3 * MIB + 3 * 512 },
		{ 2048, 3, 4 * MIB, 0, 5 * MIB, 4 * MIB },
		{ 2048, 1u << 31 | 2047, MIB / 2, 0, MIB, MIB / 2 },
		/* A granule larger than what may be asked for. */
		{ 8192, 0, MIB, 512, 5 * MIB, MIB },
		{ 8192, 0, MIB, 4 * MIB - 512, 5 * MIB, 512 },
		{ UINT32_MAX, 1u << 31, GIB, 512, 8 * GIB, GIB },
	};
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct limits l = limits_of((struct told){ .granule = cases[i].granule,
							   .alignment =
								   cases[i].alignment },
					    512);
		assert_int_equal(limits_unmap_piece(&l, cases[i].most, cases[i].offset,
						    cases[i].len),
				 cases[i].piece);
	}
}

/* Whatever the limits: it ends, nothing is left out, no piece is too large. */
static void pieces_cover_a_range_once(void **state)
{
	(void)state;

	srand(7);
	for (unsigned int i = 0; i < 2000; i++) {
		uint32_t granule = (uint32_t)rand() % 5000;
		struct told told = { .granule = granule, .alignment = (uint32_t)rand() };
		struct limits l = limits_of(told, 512);
		uint64_t most = 512 * (1 + (uint64_t)rand() % 9000);
		uint64_t at = 512 * ((uint64_t)rand() % 100000);
		uint64_t left = 512 * ((uint64_t)rand() % 50000);
		while (left) {
			uint64_t piece = limits_unmap_piece(&l, most, at, left);
			assert_true(piece > 0 && piece <= most && piece <= left);
			assert_true(piece % 512 == 0);
			/* At least every second one begins at a granule. */
			if (piece < left && granule && most >= 2ull * granule * 512)
				assert_true((at + piece - l.first_granule) %
						    l.granule == 0);
			at += piece;
			left -= piece;
		}
	}
}

/* ---- trials ---- */

static void a_refusal_of_much_is_not_one_of_little(void **state)
{
	static const struct scsi_sense field = { 5, 0x24, 0 }, opcode = { 5, 0x20, 0 };
	struct collect told;
	struct lun *lun = calloc(1, sizeof(*lun));
	(void)state;

	lun->bd.reporter = collect_init(&told);
	lun->limits = limits_of((struct told){ 0 }, 512);
	lun_trials_init(lun);
	lun_trial_late(&lun->zero, 64 * MIB);
	assert_int_equal(lun->zero.most, 32 * MIB);
	lun_trial_late(&lun->zero, 3 * MIB); /* of an earlier command */
	assert_int_equal(lun->zero.most, MIB);
	lun_trial_late(&lun->zero, MIB);
	assert_int_equal(lun->zero.most, MIB);
	lun_trial_late(&lun->zero, 512);
	assert_int_equal(lun->zero.most, MIB);
	lun_trials_init(lun);
	lun_trial_refused(lun, &lun->zero, MIB + 512, field);
	assert_int_equal(lun->zero.most, MIB);
	assert_false(lun_is_refused(&lun->zero));
	assert_int_equal(collect_count(&told, REPORT_INFO), 0);
	lun_trial_done(&lun->zero);
	lun_trial_refused(lun, &lun->zero, MIB, field);
	assert_true(lun_is_refused(&lun->zero));
	lun_trial_refused(lun, &lun->zero, MIB, field);
	assert_int_equal(collect_count(&told, REPORT_INFO), 1);
	lun_trials_init(lun);
	lun_trial_refused(lun, &lun->zero, 64 * MIB, opcode);
	assert_true(lun_is_refused(&lun->zero));
	collect_done(&told);
	free(lun);
}

/* A unit with WRITE SAME and UNMAP within limits of 16 and 24 blocks, full of data. */
static struct lab *lab_open(struct told limits)
{
	struct lab *lab = lab_new();
	uint8_t b0[64];
	const uint8_t b2[8] = { 0, 0, 0, 0, 0, 0xe4 };

	make_b0(b0, limits);
	target_page(lab->t, 0xb0, b0, sizeof(b0));
	target_page(lab->t, 0xb2, b2, sizeof(b2));
	target_set_thin(lab->t, true);
	lab_connect(lab, 0);
	lab_fill(lab);
	return lab;
}

/* These blocks are zeros now, the others as ever. */
static void expect_zeros(struct lab *lab, uint64_t first, uint64_t count)
{
	memset(lab->written + first * BLOCK, 0, count * BLOCK);
	lab_expect_written(lab);
}

static void expect_offloads(struct lab *lab, enum bdev_offload zero,
			    enum bdev_offload delete)
{
	struct bdev_offloads o;

	assert_int_equal(bdev_offloads(lab->bd, &o), 0);
	assert_int_equal(o.zero, zero);
	assert_int_equal(o.delete, delete);
}

static const struct told small = { .unmap = 24, .write_same = 16, .granule = 8 };

static void commands_keep_to_the_limits(void **state)
{
	struct lab *lab = lab_open(small);
	(void)state;

	expect_offloads(lab, BDEV_OFFLOAD_TOLD, BDEV_OFFLOAD_TOLD);
	assert_int_equal(bdev_zero(lab->bd, 40 * BLOCK, 3 * BLOCK), 0);
	expect_zeros(lab, 3, 40);
	assert_int_equal(target_seen(lab->t, SCSI_WRITE_SAME16), 3);
	assert_int_equal(target_most_blocks(lab->t, SCSI_WRITE_SAME16), 16);
	assert_int_equal(bdev_unmap(lab->bd, 60 * BLOCK, 61 * BLOCK), 0);
	expect_zeros(lab, 61, 60);
	/* 61..80, 80..104, 104..121 */
	assert_int_equal(target_seen(lab->t, SCSI_UNMAP), 3);
	assert_int_equal(target_most_blocks(lab->t, SCSI_UNMAP), 24);
	expect_offloads(lab, BDEV_OFFLOAD_PROVED, BDEV_OFFLOAD_PROVED);
	assert_int_equal(collect_count(&lab->told, REPORT_INFO), 0);
	lab_free(lab);
}

/* Whatever it says of itself: what it refuses is done otherwise, and said once. */
static void what_is_refused_is_said_once_and_not_asked_again(void **state)
{
	static const uint32_t senses[] = { 0x052000, 0x052400, 0x052600 };
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(senses); i++) {
		struct lab *lab = lab_open(small);
		target_rule_status(lab->t, SCSI_WRITE_SAME16, SCSI_CHECK_CONDITION,
				   senses[i], 1);
		target_rule_status(lab->t, SCSI_UNMAP, SCSI_CHECK_CONDITION, senses[i],
				   1);
		for (int again = 0; again < 2; again++) {
			assert_int_equal(bdev_zero(lab->bd, 40 * BLOCK, 3 * BLOCK), 0);
			assert_int_equal(bdev_unmap(lab->bd, 40 * BLOCK, 50 * BLOCK),
					 -EOPNOTSUPP);
		}
		expect_zeros(lab, 3, 40);
		assert_int_equal(target_seen(lab->t, SCSI_WRITE_SAME16), 1);
		assert_int_equal(target_seen(lab->t, SCSI_UNMAP), 1);
		assert_int_equal(collect_count(&lab->told, REPORT_INFO), 2);
		assert_int_equal(collect_count(&lab->told, REPORT_ERROR), 0);
		assert_true(collect_has(&lab->told, "the unit refuses WRITE SAME (05/2"));
		assert_true(collect_has(&lab->told, "the unit refuses UNMAP (05/2"));
		assert_true(collect_has(&lab->told, target_url(lab->t)));
		expect_offloads(lab, BDEV_OFFLOAD_NONE, BDEV_OFFLOAD_NONE);
		lab_free(lab);
	}
}

/* UNMAP there must not be, by the page that counts: LBPME is not set. */
static void a_thick_unit_gets_no_unmap(void **state)
{
	struct lab *lab = lab_open(small);
	(void)state;

	target_set_thin(lab->t, false);
	lab_connect(lab, 0);
	assert_false(lab->bd->has_unmap);
	expect_offloads(lab, BDEV_OFFLOAD_TOLD, BDEV_OFFLOAD_NONE);
	assert_int_equal(bdev_unmap(lab->bd, BLOCK, 0), -EOPNOTSUPP);
	assert_int_equal(target_seen(lab->t, SCSI_UNMAP), 0);
	lab_free(lab);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_are_what_is_told_or_ours),
		cmocka_unit_test(a_page_is_believed_as_far_as_it_reaches),
		cmocka_unit_test(an_unmap_is_cut_where_granules_meet),
		cmocka_unit_test(pieces_cover_a_range_once),
		cmocka_unit_test(a_refusal_of_much_is_not_one_of_little),
		cmocka_unit_test(commands_keep_to_the_limits),
		cmocka_unit_test(what_is_refused_is_said_once_and_not_asked_again),
		cmocka_unit_test(a_thick_unit_gets_no_unmap),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
