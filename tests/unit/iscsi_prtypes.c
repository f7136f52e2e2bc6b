/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent reservations of every type: what each lets whom do, that one is known again
 * when it is read back, and what becomes of those whose answer was lost. Against the
 * scripted target; with ISCSI_URL (tests/cli/iscsi_tgt.sh, iscsi_lio.sh) against that
 * LUN, whose contents may be destroyed.
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
#include "bdev/fence.h"
#include "iscsi/open.h"
#include "tests/lib/own_target.h"

#define KEY_A 0x564d00010000000aull
#define KEY_B 0x564d00020000000bull
#define BLOCK 4096u

/* A holds it, B is registered, C is a stranger. */
struct lab {
	struct own_target *t; /* NULL: another one */
	struct bdev *a, *b, *c;
	struct bdev_pr_state state;
};

static struct bdev *open_as(const char *url, unsigned int number)
{
	char name[64];
	struct iscsi_options options = { .isid = { 0x80, 1, 2, 3, 5, (uint8_t)number },
					 .initiator_name = name };
	struct bdev *bd = NULL;

	(void)snprintf(name, sizeof(name), "iqn.2026-01.org.openvmfs:types%u", number);
	assert_int_equal(device_open(url, 0, &options, NULL, &bd), 0);
	return bd;
}

static int set_up(void **state)
{
	static struct lab lab;
	const char *url = getenv("ISCSI_URL");

	memset(&lab, 0, sizeof(lab));
	if (!url) {
		lab.t = own_start("-p 0:1 -l 1=FILE");
		url = own_url(lab.t, 1, "");
	}
	lab.a = open_as(url, 1);
	lab.b = open_as(url, 2);
	lab.c = open_as(url, 3);
	assert_int_equal(bdev_pr(lab.a, BDEV_PR_REGISTER, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(lab.a, BDEV_PR_CLEAR, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(lab.a, BDEV_PR_REGISTER, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(lab.b, BDEV_PR_REGISTER, KEY_B, 0), 0);
	*state = &lab;
	return 0;
}

static int tear_down(void **state)
{
	struct lab *lab = *state;

	/* for the next one at this LUN */
	(void)!bdev_pr(lab->a, BDEV_PR_CLEAR, KEY_A, 0);
	bdev_close(lab->a);
	bdev_close(lab->b);
	bdev_close(lab->c);
	if (lab->t)
		own_free(lab->t);
	return 0;
}

/* 0, or that it was refused: what is refused is tried for a while. */
static bool does(struct bdev *bd, enum bdev_op op, uint8_t byte)
{
	uint8_t data[BLOCK];

	memset(data, byte, sizeof(data));
	return bdev_rw(bd, op, 0, data, BLOCK, 0, clock_now() + 100 * NS_PER_MS) == 0;
}

static uint8_t first_byte(struct bdev *bd)
{
	uint8_t data[BLOCK];

	assert_int_equal(bdev_read(bd, data, BLOCK, 0), 0);
	return data[0];
}

static void expect_state(struct lab *lab, bool is_reserved, uint8_t type, uint64_t holder)
{
	assert_int_equal(bdev_pr_read(lab->c, &lab->state), 0);
	assert_int_equal(lab->state.is_reserved, is_reserved);
	assert_int_equal(lab->state.type, type);
	assert_true(lab->state.holder == holder);
	assert_int_equal(lab->state.key_count, 2);
}

static const struct type {
	uint8_t type;
	bool is_for_all;		/* every registrant holds it */
	bool b_writes, b_reads, c_reads; /* C never writes, A does both */
} types[] = {
	{ BDEV_PR_TYPE_WE, false, false, true, true },
	{ BDEV_PR_TYPE_EA, false, false, false, false },
	{ BDEV_PR_TYPE_WE_RO, false, true, true, true },
	{ BDEV_PR_TYPE_EA_RO, false, true, true, false },
	{ BDEV_PR_TYPE_WE_AR, true, true, true, true },
	{ BDEV_PR_TYPE_EA_AR, true, true, true, false },
};

/* Each type: held, known again, kept to, and released by who holds it alone. */
static void every_type_lets_through_whom_it_says(void **state)
{
	struct lab *lab = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++) {
		const struct type *t = &types[i];
		const struct type *next = &types[(i + 1) % ARRAY_SIZE(types)];
		uint64_t holder = t->is_for_all ? 0 : KEY_A;

		assert_int_equal(bdev_pr(lab->a, BDEV_PR_RESERVE, KEY_A, t->type), 0);
		assert_int_equal(bdev_pr(lab->a, BDEV_PR_RESERVE, KEY_A, t->type), 0);
		expect_state(lab, true, t->type, holder);
		assert_int_equal(bdev_pr(lab->b, BDEV_PR_RESERVE, KEY_B, t->type),
				 t->is_for_all ? 0 : -EBUSY);
		assert_int_equal(bdev_pr(lab->b, BDEV_PR_RESERVE, KEY_B, next->type),
				 -EBUSY);
		assert_true(does(lab->a, BDEV_WRITE, 0xa0));
		assert_int_equal(does(lab->b, BDEV_WRITE, 0xb0), t->b_writes);
		assert_int_equal(does(lab->b, BDEV_READ, 0), t->b_reads);
		assert_int_equal(does(lab->c, BDEV_READ, 0), t->c_reads);
		assert_false(does(lab->c, BDEV_WRITE, 0xc0));
		assert_int_equal(first_byte(lab->a), t->b_writes ? 0xb0 : 0xa0);
		if (!t->is_for_all) { /* it is not B's to release */
			assert_int_equal(bdev_pr(lab->b, BDEV_PR_RELEASE, KEY_B, t->type),
					 0);
			expect_state(lab, true, t->type, holder);
		}
		assert_int_equal(bdev_pr(lab->a, BDEV_PR_RELEASE, KEY_A, t->type), 0);
		expect_state(lab, false, 0, 0);
		assert_int_equal(bdev_pr(lab->a, BDEV_PR_RELEASE, KEY_A, t->type), 0);
		assert_true(does(lab->c, BDEV_WRITE, 0xc1));
	}
	assert_int_equal(bdev_pr(lab->a, BDEV_PR_RESERVE, KEY_A, 9), -EINVAL);
}

/* The answer is lost: what is read back decides, and nothing is done twice. */
static void a_lost_answer_is_read_back(void **state)
{
	struct lab *lab = *state;

	if (!lab->t)
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++) {
		const struct type *t = &types[i];
		uint64_t holder = t->is_for_all ? 0 : KEY_A;

		own_do(lab->t, "reset-before 5f");
		assert_int_equal(bdev_pr(lab->a, BDEV_PR_RESERVE, KEY_A, t->type),
				 -ETIMEDOUT);
		expect_state(lab, false, 0, 0);
		own_do(lab->t, "reset-after 5f");
		assert_int_equal(bdev_pr(lab->a, BDEV_PR_RESERVE, KEY_A, t->type), 0);
		expect_state(lab, true, t->type, holder);
		own_do(lab->t, "reset-before 5f");
		assert_int_equal(bdev_pr(lab->a, BDEV_PR_RELEASE, KEY_A, t->type),
				 -ETIMEDOUT);
		expect_state(lab, true, t->type, holder);
		own_do(lab->t, "reset-after 5f");
		assert_int_equal(bdev_pr(lab->a, BDEV_PR_RELEASE, KEY_A, t->type), 0);
		expect_state(lab, false, 0, 0);
	}
}

/* Who has given up its key by itself is not fenced, though the answer was lost. */
static void a_lost_answer_to_clear_fences_nobody(void **state)
{
	struct lab *lab = *state;

	if (!lab->t)
		skip();
	assert_int_equal(bdev_pr(lab->a, BDEV_PR_RESERVE, KEY_A, 0), 0);
	own_do(lab->t, "reset-after 5f");
	assert_int_equal(bdev_pr(lab->a, BDEV_PR_CLEAR, KEY_A, 0), 0);
	assert_int_equal(bdev_pr_read(lab->a, &lab->state), 0);
	assert_int_equal(lab->state.key_count, 0);
	assert_false(lab->state.is_reserved);
	assert_int_equal(first_byte(lab->a), first_byte(lab->c));
	assert_int_equal(bdev_pr(lab->a, BDEV_PR_REGISTER, KEY_A, 0), 0);
	own_do(lab->t, "reset-after 5f");
	assert_int_equal(bdev_pr(lab->a, BDEV_PR_REGISTER, 0, 0), 0); /* sent twice */
	assert_true(does(lab->a, BDEV_WRITE, 1));
}

#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAB_TEST(every_type_lets_through_whom_it_says),
		LAB_TEST(a_lost_answer_is_read_back),
		LAB_TEST(a_lost_answer_to_clear_fences_nobody),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("iscsi_prtypes", tests, NULL, NULL);
}
