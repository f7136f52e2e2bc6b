/* SPDX-License-Identifier: Apache-2.0 */
/* Targets that send a login on: two made-up ones on loopback, the first moves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "iscsi/open.h"
#include "iscsi/route.h"
#include "iscsi/scsi.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/iscsi_target.h"

#define BLOCK TARGET_BLOCK_SIZE

struct lab {
	struct target *home, *away;
	struct bdev *bd;
	struct collect told;
	uint8_t block[BLOCK], now[BLOCK];
};

static int set_up(void **state)
{
	static struct lab lab;

	memset(&lab, 0, sizeof(lab));
	fill_bytes(lab.block, BLOCK, 3);
	lab.home = target_new();
	lab.away = target_new();
	(void)collect_init(&lab.told);
	*state = &lab;
	return lab.home && lab.away ? 0 : -1;
}

static int tear_down(void **state)
{
	struct lab *lab = *state;

	bdev_close(lab->bd);
	target_free(lab->home);
	target_free(lab->away);
	collect_done(&lab->told);
	return 0;
}

static int open_home(struct lab *lab)
{
	return device_open(target_url(lab->home), 0, NULL, &lab->told.base, &lab->bd);
}

static void write_arrives_away(struct lab *lab, uint64_t lba)
{
	assert_int_equal(bdev_write(lab->bd, lab->block, BLOCK, lba * BLOCK), 0);
	target_block(lab->away, lba, lab->now);
	assert_memory_equal(lab->now, lab->block, BLOCK);
}

/* Each new session asks at home again. */
static void moved_for_a_time_is_asked_at_home_each_time(void **state)
{
	struct lab *lab = *state;

	target_send_on(lab->home, target_address(lab->away), false, 2);
	assert_int_equal(open_home(lab), 0);
	write_arrives_away(lab, 1);
	target_rule(lab->away, SCSI_WRITE16, RULE_CLOSE, 1);
	write_arrives_away(lab, 2);
	assert_int_equal(target_logins(lab->away), 2);
	assert_int_equal(target_logins(lab->home), 0);
	/* At home again: it lets the next one in. */
	target_rule(lab->away, SCSI_WRITE16, RULE_CLOSE, 1);
	assert_int_equal(bdev_write(lab->bd, lab->block, BLOCK, 3 * BLOCK), 0);
	assert_int_equal(target_logins(lab->home), 1);
	target_block(lab->home, 3, lab->now);
	assert_memory_equal(lab->now, lab->block, BLOCK);
}

static void moved_for_good_is_not_asked_again(void **state)
{
	struct lab *lab = *state;

	target_send_on(lab->home, target_address(lab->away), true, 1);
	assert_int_equal(open_home(lab), 0);
	write_arrives_away(lab, 1);
	target_rule(lab->away, SCSI_WRITE16, RULE_CLOSE, 1);
	write_arrives_away(lab, 2);
	assert_int_equal(target_logins(lab->away), 2);
	assert_int_equal(target_logins(lab->home), 0);
}

static void as_many_hops_as_are_allowed_arrive(void **state)
{
	struct lab *lab = *state;

	target_send_on(lab->home, target_address(lab->home), false, ISCSI_HOPS_MAX);
	assert_int_equal(open_home(lab), 0);
	assert_int_equal(target_logins(lab->home), 1);
}

static void moves_in_a_circle_end(void **state)
{
	struct lab *lab = *state;

	target_send_on(lab->home, target_address(lab->away), false, 1000);
	target_send_on(lab->away, target_address(lab->home), true, 1000);
	assert_int_equal(open_home(lab), -ELOOP);
	assert_int_equal(collect_count(&lab->told, REPORT_ERROR), 1);
	assert_true(collect_has(&lab->told, "too many times in a row"));
}

static void moves_to_nowhere_are_told(void **state)
{
	struct lab *lab = *state;
	static const struct {
		const char *address;
		int error;
		const char *why;
	} cases[] = {
		{ "127.0.0.1:1,1", -ECONNREFUSED,
		  "127.0.0.1:1,1, where the login was sent on to: Connection refused" },
		{ "127.0.0.1:99999,1", -EINVAL, "login sent on to 127.0.0.1:99999,1: " },
		{ ",1", -EINVAL, "login sent on to ,1: " },
		{ "[::1", -EINVAL, "login sent on to [::1: " },
		{ "no-such-host.invalid", -EHOSTUNREACH,
		  "login sent on to no-such-host.invalid: " },
		{ "", -EREMCHG, "the target has moved for a time (status 01/01)" },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		target_send_on(lab->home, cases[i].address, false, 1);
		assert_int_equal(open_home(lab), cases[i].error);
		if (!collect_has(&lab->told, cases[i].why))
			fail_msg("%s: %s", cases[i].address, collect_text(&lab->told));
		assert_int_equal(collect_count(&lab->told, REPORT_ERROR), i + 1);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(moved_for_a_time_is_asked_at_home_each_time),
		TEST(moved_for_good_is_not_asked_again),
		TEST(as_many_hops_as_are_allowed_arrive),
		TEST(moves_in_a_circle_end),
		TEST(moves_to_nowhere_are_told),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
