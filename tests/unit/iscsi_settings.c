/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a target: what a URL may say, and what then is offered at login. */
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
#include "iscsi/url.h"
#include "tests/lib/collect.h"
#include "tests/lib/iscsi_peer.h"

static int parse(const char *keys, struct iscsi_url *u, struct collect *told)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "iscsi://h/iqn.x:y/1?%s", keys);
	return iscsi_url_parse(text, collect_init(told), u);
}

static void every_setting_is_a_key_of_the_url(void **state)
{
	static const struct {
		const char *keys, *text;
		enum iscsi_setting which;
		uint32_t value;
	} cases[] = {
		{ "noop_interval=15", "15", ISCSI_NOOP_INTERVAL, 15000 },
		{ "noop_timeout=10s", "10", ISCSI_NOOP_TIMEOUT, 10000 },
		{ "login_timeout=1500ms", "1500ms", ISCSI_LOGIN_TIMEOUT, 1500 },
		{ "logout_timeout=2000ms", "2", ISCSI_LOGOUT_TIMEOUT, 2000 },
		{ "recovery_timeout=7", "7", ISCSI_RECOVERY_TIMEOUT, 7000 },
		{ "failback_delay=30", "30", ISCSI_FAILBACK_DELAY, 30000 },
		{ "apd_timeout=140", "140", ISCSI_APD_TIMEOUT, 140000 },
		{ "command_timeout=50ms", "50ms", ISCSI_COMMAND_TIMEOUT, 50 },
		{ "abort_timeout=1", "1", ISCSI_ABORT_TIMEOUT, 1000 },
		{ "reset_timeout=30", "30", ISCSI_RESET_TIMEOUT, 30000 },
		{ "lun_reset=yes", "yes", ISCSI_USE_LUN_RESET, 1 },
		{ "delayed_ack=no", "no", ISCSI_DELAYED_ACK, 0 },
		{ "initial_r2t=yes", "yes", ISCSI_INITIAL_R2T, 1 },
		{ "immediate_data=no", "no", ISCSI_IMMEDIATE_DATA, 0 },
		{ "first_burst_length=512", "512", ISCSI_FIRST_BURST_LENGTH, 512 },
		{ "max_burst_length=65536", "65536", ISCSI_MAX_BURST_LENGTH, 65536 },
		{ "max_recv_data_segment_length=8192", "8192", ISCSI_MAX_RECV_LENGTH,
		  8192 },
		{ "max_outstanding_r2t=1", "1", ISCSI_MAX_OUTSTANDING_R2T, 1 },
		{ "queue_depth=32", "32", ISCSI_QUEUE_DEPTH, 32 },
		{ "qfull_sample_size=0", "0", ISCSI_QFULL_SAMPLE_SIZE, 0 },
		{ "qfull_threshold=16", "16", ISCSI_QFULL_THRESHOLD, 16 },
	};
	char text[24];
	(void)state;

	/* None is left out. */
	assert_int_equal(ARRAY_SIZE(cases), ISCSI_SETTING_COUNT);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct iscsi_url u;
		struct collect told;
		assert_int_equal(parse(cases[i].keys, &u, &told), 0);
		assert_int_equal(cases[i].which, i);
		for (enum iscsi_setting k = 0; k < ISCSI_SETTING_COUNT; k++)
			assert_int_equal(u.settings.is_set[k], k == i);
		assert_int_equal(iscsi_setting(&u.settings, i), cases[i].value);
		assert_string_equal(iscsi_setting_text(&u.settings, i, text),
				    cases[i].text);
		assert_memory_equal(iscsi_setting_name(i), cases[i].keys,
				    strcspn(cases[i].keys, "="));
		/* As it is written it is read again. */
		struct iscsi_url again;
		struct buf written = { 0 };
		iscsi_url_write(&u, &written);
		buf_add(&written, "", 1);
		assert_int_equal(iscsi_url_parse(written.data, &told.base, &again), 0);
		assert_memory_equal(&again.settings, &u.settings, sizeof(u.settings));
		buf_done(&written);
		collect_done(&told);
	}
}

static void what_no_setting_can_be_is_refused(void **state)
{
	static const char *const bad[] = {
		"noop_interval=0",
		"noop_interval=61",
		"noop_interval=99ms",
		"noop_timeout=5m",
		"noop_timeout=-1",
		"noop_timeout=ms",
		"noop_timeout=",
		"noop_timeout=1.5",
		"login_timeout=99999999999",
		"lun_reset=1",
		"delayed_ack=maybe",
		"first_burst_length=511",
		"queue_depth=0",
		"queue_depth=113",
		"max_outstanding_r2t=5",
		"qfull_threshold=0",
		"nop_interval=5",
		"max_recv_data_segment_length=262145",
	};
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct iscsi_url u;
		struct collect told;
		assert_int_equal(parse(bad[i], &u, &told), -EINVAL);
		assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
		collect_done(&told);
	}
}

/* The defaults are those that vmfs-iscsi(7) tells, and LOCKING.md 14 wants. */
static void nothing_said_is_the_default(void **state)
{
	struct iscsi_settings none = { .is_set = { false } };
	(void)state;

	assert_true(iscsi_setting_ns(&none, ISCSI_NOOP_INTERVAL) == 5 * NS_PER_S);
	assert_true(iscsi_setting_ns(&none, ISCSI_NOOP_TIMEOUT) == 5 * NS_PER_S);
	assert_true(iscsi_setting_ns(&none, ISCSI_APD_TIMEOUT) == 140 * NS_PER_S);
	assert_false(iscsi_setting(&none, ISCSI_USE_LUN_RESET));
	assert_true(iscsi_setting(&none, ISCSI_DELAYED_ACK));
	iscsi_setting_set(&none, ISCSI_QUEUE_DEPTH, 4000);
	assert_int_equal(iscsi_setting(&none, ISCSI_QUEUE_DEPTH), 112);
}

static void what_is_set_is_offered_at_login(void **state)
{
	static const struct {
		enum iscsi_setting which;
		uint32_t value;
		const char *key, *wanted;
	} offers[] = {
		{ ISCSI_INITIAL_R2T, 1, "InitialR2T", "Yes" },
		{ ISCSI_IMMEDIATE_DATA, 0, "ImmediateData", "No" },
		{ ISCSI_FIRST_BURST_LENGTH, 131072, "FirstBurstLength", "65536" },
		{ ISCSI_MAX_BURST_LENGTH, 65536, "MaxBurstLength", "65536" },
		{ ISCSI_MAX_RECV_LENGTH, 4096, "MaxRecvDataSegmentLength", "4096" },
		{ ISCSI_MAX_OUTSTANDING_R2T, 1, "MaxOutstandingR2T", "1" },
	};
	struct peer p = { 0 };
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(offers); i++)
		iscsi_setting_set(&p.params.settings, offers[i].which, offers[i].value);
	peer_start(&p);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	peer_push(&p, peer_login_answer(&p, SECURITY_TO_OPERATIONAL));
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	for (unsigned int i = 0; i < ARRAY_SIZE(offers); i++)
		assert_string_equal(peer_sent_key(&p, offers[i].key), offers[i].wanted);
	peer_end(&p);
}

/* More than it has declared is more than it takes. */
static void a_pdu_over_the_declared_length_ends_the_session(void **state)
{
	struct peer p = { 0 };
	static uint8_t data[8196], got[16384];
	struct job j;
	(void)state;

	iscsi_setting_set(&p.params.settings, ISCSI_MAX_RECV_LENGTH, 8192);
	peer_log_in(&p, NULL);
	peer_start_job(&p, &j, false, got, sizeof(got));
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	peer_data_in(&p, p.got.c.itt, 0, 0, data, 8192, 0);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	peer_data_in(&p, p.got.c.itt, 1, 8192, data, 8196, 0);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
	assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
	peer_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_setting_is_a_key_of_the_url),
		cmocka_unit_test(what_no_setting_can_be_is_refused),
		cmocka_unit_test(nothing_said_is_the_default),
		cmocka_unit_test(what_is_set_is_offered_at_login),
		cmocka_unit_test(a_pdu_over_the_declared_length_ends_the_session),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
