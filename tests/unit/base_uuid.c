/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs in VMware's form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/align.h"
#include "base/uuid.h"

/* Text and bytes of the UUID in the comment of uuid.h, written out by hand. */
static const char text[] = "61137dd5-df6bc2c8-f0e7-000c29801686";
static const struct uuid binary = { { 0xd5, 0x7d, 0x13, 0x61, 0xc8, 0xc2, 0x6b, 0xdf,
				      0xe7, 0xf0, 0x00, 0x0c, 0x29, 0x80, 0x16, 0x86 } };

static void text_shows_numbers_then_bytes(void **state)
{
	(void)state;
	char buf[UUID_TEXT_SIZE];
	assert_string_equal(uuid_text(&binary, buf), text);
	struct uuid u;
	assert_int_equal(uuid_parse(text, &u), 0);
	assert_true(uuid_equal(&u, &binary));
	assert_int_equal(uuid_parse("61137DD5-DF6BC2C8-F0E7-000C29801686", &u), 0);
	assert_true(uuid_equal(&u, &binary));
}

static void parse_takes_nothing_but_a_uuid(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"6",
		"61137dd5",
		"61137dd5-df6bc2c8-f0e7-000c2980168",
		"61137dd5-df6bc2c8-f0e7-000c298016866",
		" 61137dd5-df6bc2c8-f0e7-000c29801686",
		"61137dd5-df6bc2c8-f0e7-000c29801686 ",
		"61137dd5-df6bc2c8-f0e7_000c29801686",
		"61137dd5-df6bc2c8-f0e7-000c2980168g",
		"61137dd5df6bc2c8f0e7000c29801686",
		"+1137dd5-df6bc2c8-f0e7-000c29801686",
	};
	struct uuid u = binary;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(uuid_parse(bad[i], &u), -EINVAL);
	assert_true(uuid_equal(&u, &binary)); /* untouched by failure */
}

static void new_ones_are_of_now_and_differ(void **state)
{
	(void)state;
	struct uuid seen[100];
	int64_t before = time(NULL);
	for (unsigned int i = 0; i < ARRAY_SIZE(seen); i++) {
		seen[i] = uuid_new();
		assert_false(uuid_is_zero(&seen[i]));
		for (unsigned int j = 0; j < i; j++)
			assert_false(uuid_equal(&seen[i], &seen[j]));
		/* One machine, one MAC; never a multicast one. */
		assert_int_equal(seen[i].b[10] & 1, 0);
		int64_t seconds = (int64_t)seen[i].b[0] | (int64_t)seen[i].b[1] << 8 |
				  (int64_t)seen[i].b[2] << 16 |
				  (int64_t)seen[i].b[3] << 24;
		assert_in_range(seconds, before, before + 60);
	}
}

static void zero_is_zero(void **state)
{
	(void)state;
	struct uuid u = { { 0 } };
	assert_true(uuid_is_zero(&u));
	for (unsigned int i = 0; i < sizeof(u.b); i++) {
		u = (struct uuid){ { 0 } };
		u.b[i] = 1;
		assert_false(uuid_is_zero(&u));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_shows_numbers_then_bytes),
		cmocka_unit_test(parse_takes_nothing_but_a_uuid),
		cmocka_unit_test(new_ones_are_of_now_and_differ),
		cmocka_unit_test(zero_is_zero),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
