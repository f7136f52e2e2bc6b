/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies that a unit makes by itself: the bytes of the command, its limits, and what
 * becomes of one that is refused, not done, or not answered.
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
#include "iscsi/scsi.h"
#include "iscsi/xcopy.h"
#include "tests/lib/iscsi_lab.h"

#define BLOCK TARGET_BLOCK_SIZE
#define MOST 16u /* blocks of one copy of the target */

/* ---- bytes ---- */

/* As SPC-4 tables 120, 131 and 144 draw it. */
static void the_list_is_what_the_standard_says(void **state)
{
	const uint8_t a[16] = { 0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	const uint8_t b[16] = { 0x60, 0xb };
	const struct xcopy_place to = { b, 0x1122334455667788 }, from = { a, 0x99 };
	static const uint8_t wanted[108] = {
		/* header: no list id; 64 bytes of units, 28 of segments */
		0, 0x18, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0,
		/* the source */
		0xe4, 0, 0, 0, 1, 3, 0, 16, 0x60, 1, 2, 3, 4, 5, 6, 7,
		8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 0, 0, 0, 16, 0,
		/* the target */
		0xe4, 0, 0, 0, 1, 3, 0, 16, 0x60, 0xb, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0,
		/* from blocks to blocks */
		0x02, 2, 0, 24, 0, 0, 0, 1, 0, 0, 0xff, 0xff,
		0, 0, 0, 0, 0, 0, 0, 0x99,
		0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
	};
	uint8_t cdb[16];
	(void)state;

	struct xcopy_list_pdu list = xcopy_list(to, from, XCOPY_BLOCKS_MAX, 4096);
	assert_memory_equal(&list, wanted, sizeof(wanted));
	scsi_cdb_extended_copy(cdb, sizeof(list));
	assert_memory_equal(cdb, ((uint8_t[16]){ 0x83, [13] = 108 }), 16);
	scsi_cdb_copy_parameters(cdb, 256);
	assert_memory_equal(cdb, ((uint8_t[16]){ 0x84, 3, [12] = 1 }), 16);
}

struct parameters {
	uint16_t units, segments;
	uint32_t list, size;
	const char *types;
	uint8_t types_len, cut; /* of the answer */
};

static uint64_t most_of(struct parameters told, uint32_t block_size)
{
	uint8_t bytes[64] = { 0 };
	struct xcopy_parameters_pdu p = {
		.max_units = be16_of(told.units),
		.max_segments = be16_of(told.segments),
		.max_list = be32_of(told.list),
		.max_segment_size = be32_of(told.size),
		.types_len = told.types_len,
	};

	memcpy(bytes, &p, sizeof(p));
	memcpy(bytes + sizeof(p), told.types, strlen(told.types));
	return xcopy_most(bytes, (uint32_t)(sizeof(p) + strlen(told.types)) - told.cut,
			  block_size, 16u << 20);
}

static void limits_bound_a_copy(void **state)
{
	static const struct {
		struct parameters told;
		uint32_t block_size;
		uint64_t most;
	} cases[] = {
		/* LIO's */
		{ { 2, 1, 1024, 268435456, "\x02\xe4", 2, 0 }, 512, 16u << 20 },
		{ { 2, 1, 0, 0, "\x02\xe4", 2, 0 }, 512, 16u << 20 },
		{ { 2, 1, 108, (4u << 20) + 511, "\x02\xe4", 2, 0 }, 512, 4u << 20 },
		{ { 2, 1, 107, 0, "\x02\xe4", 2, 0 }, 512, 0 },
		{ { 1, 1, 0, 0, "\x02\xe4", 2, 0 }, 512, 0 },
		{ { 2, 0, 0, 0, "\x02\xe4", 2, 0 }, 512, 0 },
		{ { 2, 1, 0, 4095, "\x02\xe4", 2, 0 }, 4096, 0 },
		{ { 65535, 65535, UINT32_MAX, UINT32_MAX, "\xe4\x05\x02", 3, 0 }, 4096,
		  16u << 20 },
		{ { 2, 1, 0, 0, "\x02\xe4", 1, 0 }, 512, 0 }, /* E4h does not count */
		{ { 2, 1, 0, 0, "\x02\xe0", 2, 0 }, 512, 0 },
		{ { 2, 1, 0, 0, "\x02\xe4", 255, 0 }, 512, 16u << 20 },
		{ { 2, 1, 0, 0, "\x02\xe4", 2, 1 }, 512, 0 }, /* the answer ends before */
		{ { 2, 1, 0, 0, "", 0, 1 }, 512, 0 },
	};
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(most_of(cases[i].told, cases[i].block_size),
				 cases[i].most);
	/* Not more than a segment can count. */
	const uint8_t endless[64] = { [9] = 2, [11] = 1, [43] = 2, 0x02, 0xe4 };
	assert_int_equal(xcopy_most(endless, 46, 512, UINT64_MAX), 65535 * 512);
}

/* ---- a unit ---- */

/* It copies MOST blocks at once, and is full of data. */
static struct lab *lab_open(uint32_t command_timeout_ms)
{
	struct lab *lab = lab_new();

	target_set_copy(lab->t, MOST);
	lab_connect(lab, command_timeout_ms);
	lab_fill(lab);
	return lab;
}

static int copy(struct lab *lab, uint64_t to, uint64_t from, uint64_t count)
{
	return bdev_copy(lab->bd, to * BLOCK, lab->bd, from * BLOCK, count * BLOCK);
}

static enum bdev_offload clone_of(struct lab *lab)
{
	struct bdev_offloads o;

	assert_int_equal(bdev_offloads(lab->bd, &o), 0);
	return o.clone;
}

/* As written, but for a copy of these blocks. */
static void expect_copied(struct lab *lab, uint64_t to, uint64_t from, uint64_t count)
{
	memcpy(lab->written + to * BLOCK, lab->written + from * BLOCK, count * BLOCK);
	lab_expect_written(lab);
}

static void a_unit_copies_within_its_limits(void **state)
{
	struct lab *lab = lab_open(0);
	(void)state;

	assert_int_equal(clone_of(lab), BDEV_OFFLOAD_TOLD);
	assert_int_equal(copy(lab, 70, 3, 40), 0);
	expect_copied(lab, 70, 3, 40);
	assert_int_equal(clone_of(lab), BDEV_OFFLOAD_PROVED);
	assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 3);
	assert_int_equal(target_most_blocks(lab->t, SCSI_EXTENDED_COPY), MOST);
	/* Once it is proved nothing is looked at. */
	unsigned int reads = target_seen(lab->t, SCSI_READ16);
	assert_int_equal(copy(lab, 0, 64, 64), 0);
	assert_int_equal(target_seen(lab->t, SCSI_READ16), reads);
	expect_copied(lab, 0, 64, 64);
	assert_int_equal(collect_count(&lab->told, REPORT_INFO), 0);
	lab_free(lab);
}

/* Through ranges: with their offsets, and not outside of them. */
static void ranges_of_a_unit_copy(void **state)
{
	struct lab *lab = lab_open(0);
	struct bdev *range;
	(void)state;

	assert_int_equal(bdev_range_new(lab->bd, 10 * BLOCK, 100 * BLOCK, &range), 0);
	lab->bd = range;
	assert_int_equal(bdev_copy(range, 60 * BLOCK, range, 5 * BLOCK, 9 * BLOCK), 0);
	memcpy(lab->written + 70 * BLOCK, lab->written + 15 * BLOCK, 9 * BLOCK);
	assert_int_equal(bdev_read(range, lab->now, 100 * BLOCK, 0), 0);
	assert_memory_equal(lab->now, lab->written + 10 * BLOCK, 100 * BLOCK);
	assert_int_equal(copy(lab, 92, 0, 9), -EINVAL);
	assert_int_equal(copy(lab, 0, 92, 9), -EINVAL);
	assert_int_equal(copy(lab, 8, 0, 9), -EINVAL); /* they overlap */
	assert_int_equal(bdev_copy(range, 1, range, 5 * BLOCK, BLOCK), -EINVAL);
	assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 1);
	lab_free(lab);
}

static void a_refusal_is_said_once_and_remembered(void **state)
{
	static const uint32_t senses[] = { 0x052000, 0x052400, 0x052600, 0x0a0d02,
					   0x0b0800 };
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(senses); i++) {
		struct lab *lab = lab_open(0);
		target_rule_status(lab->t, SCSI_EXTENDED_COPY, SCSI_CHECK_CONDITION,
				   senses[i], 1);
		assert_int_equal(copy(lab, 70, 3, 40), -EOPNOTSUPP);
		assert_int_equal(copy(lab, 70, 3, 40), -EOPNOTSUPP);
		assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 1);
		assert_int_equal(clone_of(lab), BDEV_OFFLOAD_NONE);
		assert_int_equal(collect_count(&lab->told, REPORT_INFO), 1);
		assert_true(collect_has(&lab->told, "the unit refuses EXTENDED COPY (0"));
		assert_true(collect_has(&lab->told, "copies are read and written"));
		lab_free(lab);
	}
}

/* A bad sector, a conflict: of this copy, not of the unit. */
static void another_error_is_only_of_its_copy(void **state)
{
	struct lab *lab = lab_open(0);
	(void)state;

	target_rule_status(lab->t, SCSI_EXTENDED_COPY, SCSI_CHECK_CONDITION, 0x031100, 1);
	assert_int_equal(copy(lab, 70, 3, 10), -EOPNOTSUPP);
	target_rule_status(lab->t, SCSI_EXTENDED_COPY, SCSI_RESERVATION_CONFLICT, 0, 1);
	assert_int_equal(copy(lab, 70, 3, 10), -EOPNOTSUPP);
	target_rule_status(lab->t, SCSI_EXTENDED_COPY, SCSI_CHECK_CONDITION, 0x052500, 1);
	assert_int_equal(copy(lab, 70, 3, 10), -ENODEV);
	assert_int_equal(copy(lab, 70, 3, 10), 0);
	expect_copied(lab, 70, 3, 10);
	assert_int_equal(collect_count(&lab->told, REPORT_INFO), 0);
	lab_free(lab);
}

/* It says GOOD and has done nothing: found out before anybody believes it. */
static void good_is_not_believed_unseen(void **state)
{
	struct lab *lab = lab_open(0);
	(void)state;

	target_rule_status(lab->t, SCSI_EXTENDED_COPY, SCSI_GOOD, 0, 1);
	assert_int_equal(copy(lab, 70, 3, 10), -EOPNOTSUPP);
	assert_int_equal(clone_of(lab), BDEV_OFFLOAD_NONE);
	assert_int_equal(copy(lab, 70, 3, 10), -EOPNOTSUPP);
	assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 1);
	assert_int_equal(collect_count(&lab->told, REPORT_INFO), 1);
	lab_free(lab);
}

/* What two places have in common is no proof of a copy. */
static void a_copy_of_the_same_proves_nothing(void **state)
{
	struct lab *lab = lab_open(0);
	(void)state;

	assert_int_equal(bdev_zero(lab->bd, 20 * BLOCK, 0), 0);
	assert_int_equal(copy(lab, 10, 0, 10), 0);
	assert_int_equal(clone_of(lab), BDEV_OFFLOAD_TOLD);
	assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 0);
	lab_free(lab);
}

/*
 * The answer is lost, before or after it was done: never sent again, and over when the
 * caller hears of it: another session has replaced the one that it was sent on.
 */
static void a_copy_of_unknown_fate_is_settled_and_not_sent_again(void **state)
{
	static const enum target_action actions[] = { RULE_EXECUTE_THEN_CLOSE,
						      RULE_CLOSE };
	uint8_t isid[2][6];
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++) {
		struct lab *lab = lab_open(0);
		target_rule(lab->t, SCSI_EXTENDED_COPY, actions[i], 1);
		unsigned int asked = target_seen(lab->t, SCSI_TEST_UNIT_READY);
		assert_int_equal(copy(lab, 70, 3, 10), -EOPNOTSUPP);
		assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 1);
		assert_int_equal(target_logins(lab->t), 2);
		/* The check of the session, and ours behind it. */
		assert_int_equal(target_seen(lab->t, SCSI_TEST_UNIT_READY), asked + 2);
		target_isid(lab->t, 0, isid[0]);
		target_isid(lab->t, 1, isid[1]);
		assert_memory_equal(isid[0], isid[1], 6);
		assert_int_equal(collect_count(&lab->told, REPORT_ERROR), 0);
		/* It may be tried again. */
		assert_int_equal(copy(lab, 30, 3, 10), 0);
		lab_free(lab);
	}
}

/* No answer at all: aborted, and the abort's answer ends it. */
static void a_copy_without_answer_is_aborted(void **state)
{
	struct lab *lab = lab_open(100);
	(void)state;

	target_rule(lab->t, SCSI_EXTENDED_COPY, RULE_IGNORE, 1);
	assert_int_equal(copy(lab, 70, 3, 10), -EOPNOTSUPP);
	assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 1);
	assert_int_equal(target_aborts(lab->t), 1);
	assert_int_equal(target_logins(lab->t), 1);
	lab_free(lab);
}

static void a_device_that_is_cut_copies_nothing(void **state)
{
	struct lab *lab = lab_open(0);
	(void)state;

	bdev_cut(lab->bd);
	assert_int_equal(copy(lab, 70, 3, 10), -ESTALE);
	assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 0);
	lab_free(lab);
}

/* Other targets, other kinds of device, a unit that copies nothing: nothing is sent. */
static void what_cannot_be_is_not_asked_for(void **state)
{
	struct lab *lab = lab_open(0);
	struct bdev *mem;
	(void)state;

	assert_int_equal(bdev_mem_new(LAB_SIZE, BLOCK, NULL, &mem), 0);
	assert_int_equal(bdev_copy(mem, 0, lab->bd, 0, BLOCK), -EOPNOTSUPP);
	assert_int_equal(bdev_copy(lab->bd, 0, mem, 0, BLOCK), -EOPNOTSUPP);
	assert_int_equal(bdev_copy(mem, BLOCK, mem, 0, BLOCK), 0);
	bdev_close(mem);
	target_set_copy(lab->t, 0);
	lab_connect(lab, 0);
	assert_int_equal(clone_of(lab), BDEV_OFFLOAD_NONE);
	assert_int_equal(copy(lab, 70, 3, 10), -EOPNOTSUPP);
	assert_int_equal(target_seen(lab->t, SCSI_EXTENDED_COPY), 0);
	assert_int_equal(collect_count(&lab->told, REPORT_INFO), 0);
	lab_free(lab);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_list_is_what_the_standard_says),
		cmocka_unit_test(limits_bound_a_copy),
		cmocka_unit_test(a_unit_copies_within_its_limits),
		cmocka_unit_test(ranges_of_a_unit_copy),
		cmocka_unit_test(a_refusal_is_said_once_and_remembered),
		cmocka_unit_test(another_error_is_only_of_its_copy),
		cmocka_unit_test(good_is_not_believed_unseen),
		cmocka_unit_test(a_copy_of_the_same_proves_nothing),
		cmocka_unit_test(a_copy_of_unknown_fate_is_settled_and_not_sent_again),
		cmocka_unit_test(a_copy_without_answer_is_aborted),
		cmocka_unit_test(a_device_that_is_cut_copies_nothing),
		cmocka_unit_test(what_cannot_be_is_not_asked_for),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
