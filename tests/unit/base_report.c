/* SPDX-License-Identifier: Apache-2.0 */
/* Reports, to a collector and to stderr. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"
#include "tests/lib/collect.h"

static void report_reaches_its_reporter(void **state)
{
	(void)state;
	struct collect told;
	struct reporter *r = collect_init(&told);
	report(r, REPORT_WARN, "slot %d of %s", 7, "vol");
	assert_int_equal(report_error(r, -EUCLEAN, "bad %s", "magic"), -EUCLEAN);
	assert_string_equal(collect_text(&told),
			    "warn: slot 7 of vol\nerror: bad magic\n");
	assert_true(collect_has(&told, "slot 7"));
	assert_false(collect_has(&told, "slot 8"));
	assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
	assert_int_equal(collect_count(&told, REPORT_DEBUG), 0);
	collect_clear(&told);
	assert_string_equal(collect_text(&told), "");
	collect_done(&told);
}

static void no_reporter_is_allowed(void **state)
{
	(void)state;
	report(NULL, REPORT_ERROR, "nobody hears %d", 1);
	assert_int_equal(report_error(NULL, -EIO, "nobody hears %d", 1), -EIO);
}

/* A name from a disk may hold anything; a report is one line of bounded length. */
static void report_is_one_bounded_line(void **state)
{
	(void)state;
	struct collect told;
	struct reporter *r = collect_init(&told);
	report(r, REPORT_INFO, "file \"a\nb\tc\x1b[2J\"");
	assert_string_equal(collect_text(&told), "info: file \"a b c [2J\"\n");
	collect_clear(&told);
	report(r, REPORT_INFO, "%*s", 5000, "x");
	assert_in_range(strlen(collect_text(&told)), 1000, 1100);
	collect_done(&told);
}

/* What tell writes to stderr, through a pipe put in its place. */
static void catch_stderr(enum report_level max, char *ret_text, size_t size)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	(void)fflush(stderr);
	int kept = dup(STDERR_FILENO);
	assert_true(kept >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
	struct reporter_stderr err;
	struct reporter *r = reporter_stderr_init(&err, "mkfs.vmfs", max);
	report(r, REPORT_ERROR, "one");
	report(r, REPORT_WARN, "two");
	report(r, REPORT_INFO, "three");
	report(r, REPORT_DEBUG, "four");
	(void)fflush(stderr);
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	(void)close(kept);
	(void)close(ends[1]);
	ssize_t len = read(ends[0], ret_text, size - 1);
	(void)close(ends[0]);
	ret_text[len > 0 ? len : 0] = '\0';
}

static void stderr_lines_carry_prefix_and_stop_at_level(void **state)
{
	(void)state;
	char text[256];
	catch_stderr(REPORT_INFO, text, sizeof(text));
	assert_string_equal(text, "mkfs.vmfs: one\nmkfs.vmfs: warning: two\n"
				  "mkfs.vmfs: three\n");
	catch_stderr(REPORT_ERROR, text, sizeof(text));
	assert_string_equal(text, "mkfs.vmfs: one\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(report_reaches_its_reporter),
		cmocka_unit_test(no_reporter_is_allowed),
		cmocka_unit_test(report_is_one_bounded_line),
		cmocka_unit_test(stderr_lines_carry_prefix_and_stop_at_level),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
