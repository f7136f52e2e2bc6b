/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/align.h"
#include "base/parse.h"

static void whole_numbers_only(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t max;
		int err;
		uint64_t n;
	} cases[] = {
		{ "0", 0, 0, 0 },
		{ "10", 10, 0, 10 },
		{ "010", 10, 0, 10 },
		{ "11", 10, -ERANGE, 0 },
		{ "0x1F", 100, 0, 31 },
		{ "0Xff", 255, 0, 255 },
		{ "18446744073709551615", UINT64_MAX, 0, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, -ERANGE, 0 },
		{ "0xffffffffffffffff", UINT64_MAX, 0, UINT64_MAX },
		{ "0x10000000000000000", UINT64_MAX, -ERANGE, 0 },
		{ "99999999999999999999999x", UINT64_MAX, -EINVAL, 0 },
		{ "", UINT64_MAX, -EINVAL, 0 },
		{ "0x", UINT64_MAX, -EINVAL, 0 },
		{ "x1", UINT64_MAX, -EINVAL, 0 },
		{ "-1", UINT64_MAX, -EINVAL, 0 },
		{ "+1", UINT64_MAX, -EINVAL, 0 },
		{ " 1", UINT64_MAX, -EINVAL, 0 },
		{ "1 ", UINT64_MAX, -EINVAL, 0 },
		{ "1.5", UINT64_MAX, -EINVAL, 0 },
		{ "1f", UINT64_MAX, -EINVAL, 0 },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t n = 12345;
		assert_int_equal(parse_u64(cases[i].text, cases[i].max, &n),
				 cases[i].err);
		assert_true(n == (cases[i].err ? 12345 : cases[i].n));
	}
}

static void sizes_have_units(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int err;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0, 0 },
		{ "512", 0, 512 },
		{ "512b", 0, 512 },
		{ "2s", 0, 1024 },
		{ "2S", 0, 1024 },
		{ "1k", 0, 1024 },
		{ "1K", 0, 1024 },
		{ "1kb", 0, 1024 },
		{ "1KiB", 0, 1024 },
		{ "3m", 0, 3ull << 20 },
		{ "10GB", 0, 10ull << 30 },
		{ "10gib", 0, 10ull << 30 },
		{ "62T", 0, 62ull << 40 },
		{ "16777215t", 0, 16777215ull << 40 },
		{ "16777216t", -ERANGE, 0 },
		{ "99999999999999999999k", -ERANGE, 0 },
		{ "99999999999999999999q", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "g", -EINVAL, 0 },
		{ "1x", -EINVAL, 0 },
		{ "1gg", -EINVAL, 0 },
		{ "1gi", -EINVAL, 0 },
		{ "1sb", -EINVAL, 0 },
		{ "1 g", -EINVAL, 0 },
		{ "-1g", -EINVAL, 0 },
		{ "1.5g", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 12345;
		assert_int_equal(parse_size(cases[i].text, &bytes), cases[i].err);
		assert_true(bytes == (cases[i].err ? 12345 : cases[i].bytes));
	}
}

static void sizes_are_shown_short(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ 1024 * 1024 - 1, "1023.9 KiB" },
		{ 3ull << 29, "1.5 GiB" },
		{ 10ull << 40, "10 TiB" },
		{ UINT64_MAX, "15.9 EiB" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		char buf[32];
		assert_string_equal(size_text(cases[i].bytes, buf), cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_numbers_only),
		cmocka_unit_test(sizes_have_units),
		cmocka_unit_test(sizes_are_shown_short),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
