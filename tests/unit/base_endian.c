/* SPDX-License-Identifier: Apache-2.0 */
/* Integers as bytes, rounding and checked arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/align.h"
#include "base/endian.h"

/* Known bytes, so that the test does not ask the code under test what is right. */
static void little_endian_has_lowest_byte_first(void **state)
{
	(void)state;
	static const uint8_t bytes[8] = {
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0xf1
	};
	le16 a;
	le32 b;
	le64 c;
	memcpy(&a, bytes, sizeof(a));
	memcpy(&b, bytes, sizeof(b));
	memcpy(&c, bytes, sizeof(c));
	assert_int_equal(le16_get(a), 0x7788);
	assert_int_equal(le32_get(b), 0x55667788);
	assert_true(le64_get(c) == 0xf122334455667788ull);
	le64 back = le64_of(0xf122334455667788ull);
	assert_memory_equal(&back, bytes, sizeof(back));
	le32 back32 = le32_of(0x55667788);
	assert_memory_equal(&back32, bytes, sizeof(back32));
	le16 back16 = le16_of(0x7788);
	assert_memory_equal(&back16, bytes, sizeof(back16));
}

static void big_endian_has_highest_byte_first(void **state)
{
	(void)state;
	static const uint8_t bytes[8] = {
		0xf1, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88
	};
	be16 a;
	be24 t;
	be32 b;
	be64 c;
	memcpy(&a, bytes, sizeof(a));
	memcpy(&t, bytes, sizeof(t));
	memcpy(&b, bytes, sizeof(b));
	memcpy(&c, bytes, sizeof(c));
	assert_int_equal(be16_get(a), 0xf122);
	assert_int_equal(be24_get(t), 0xf12233);
	assert_true(be32_get(b) == 0xf1223344u);
	assert_true(be64_get(c) == 0xf122334455667788ull);
	be64 back = be64_of(0xf122334455667788ull);
	assert_memory_equal(&back, bytes, sizeof(back));
	be32 back32 = be32_of(0xf1223344u);
	assert_memory_equal(&back32, bytes, sizeof(back32));
	be24 back24 = be24_of(0xf12233);
	assert_memory_equal(&back24, bytes, sizeof(back24));
	be16 back16 = be16_of(0xf122);
	assert_memory_equal(&back16, bytes, sizeof(back16));
}

/* Highest bits do not spread: the classic mistake of shifting a promoted int. */
static void high_bits_do_not_spread(void **state)
{
	(void)state;
	assert_true(le64_get(le64_of(0x80000000ull)) == 0x80000000ull);
	assert_true((uint64_t)le32_get(le32_of(0x80000000u)) == 0x80000000ull);
	assert_true((uint64_t)be32_get(be32_of(0xffffffffu)) == 0xffffffffull);
}

/* Fields may lie anywhere. */
struct odd_disk {
	uint8_t one;
	le32 two;
	be64 three;
	le16 four;
};
ONDISK_AT(struct odd_disk, two, 1);
ONDISK_AT(struct odd_disk, three, 5);
ONDISK_AT(struct odd_disk, four, 13);
ONDISK_SIZE(struct odd_disk, 15);

static void fields_at_odd_offsets_work(void **state)
{
	(void)state;
	uint8_t buf[16] = { 0 };
	struct odd_disk *od = (struct odd_disk *)(buf + 1);
	od->two = le32_of(0x01020304);
	od->three = be64_of(5);
	od->four = le16_of(0x0607);
	static const uint8_t expected[16] = { 0, 0, 4, 3, 2, 1, 0, 0,
					      0, 0, 0, 0, 0, 5, 7, 6 };
	assert_memory_equal(buf, expected, sizeof(buf));
}

static void rounding_goes_the_right_way(void **state)
{
	(void)state;
	static const struct {
		uint64_t n, unit, down, up, count;
	} cases[] = {
		{ 0, 512, 0, 0, 0 },
		{ 1, 512, 0, 512, 1 },
		{ 511, 512, 0, 512, 1 },
		{ 512, 512, 512, 512, 1 },
		{ 513, 512, 512, 1024, 2 },
		{ 10, 3, 9, 12, 4 },
		{ 9, 3, 9, 9, 3 },
		{ UINT64_MAX, 1, UINT64_MAX, UINT64_MAX, UINT64_MAX },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(round_down(cases[i].n, cases[i].unit) == cases[i].down);
		assert_true(round_up(cases[i].n, cases[i].unit) == cases[i].up);
		assert_true(div_up(cases[i].n, cases[i].unit) == cases[i].count);
	}
	assert_true(div_up(UINT64_MAX, 2) == 1ull << 63);
	assert_true(is_power_of_two(1) && is_power_of_two(1ull << 63));
	assert_false(is_power_of_two(0) || is_power_of_two(3) ||
		     is_power_of_two(UINT64_MAX));
	assert_int_equal(min_u64(3, 4), 3);
	assert_int_equal(max_u64(3, 4), 4);
}

static void checked_arithmetic_refuses_overflow(void **state)
{
	(void)state;
	uint64_t n = 7;
	assert_true(checked_add(UINT64_MAX - 1, 1, &n));
	assert_true(n == UINT64_MAX);
	assert_false(checked_add(UINT64_MAX, 1, &n));
	assert_true(checked_mul(1ull << 32, (1ull << 32) - 1, &n));
	assert_true(n == 0xffffffff00000000ull);
	assert_false(checked_mul(1ull << 32, 1ull << 32, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(little_endian_has_lowest_byte_first),
		cmocka_unit_test(big_endian_has_highest_byte_first),
		cmocka_unit_test(high_bits_do_not_spread),
		cmocka_unit_test(fields_at_odd_offsets_work),
		cmocka_unit_test(rounding_goes_the_right_way),
		cmocka_unit_test(checked_arithmetic_refuses_overflow),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
