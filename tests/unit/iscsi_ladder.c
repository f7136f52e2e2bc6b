/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps after a command that has no answer, and a target that ends a session: the
 * session as a pure state machine, no socket, no clock.
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
#include "iscsi/text.h"
#include "tests/lib/iscsi_peer.h"

#define REFUSED 255

static unsigned int climbs;

static void climbed(void *context, const char *why)
{
	(void)context;
	assert_non_null(why);
	climbs++;
}

/* Two commands, the first of which is late at 2 s; then comes its ABORT TASK. */
static void start_late(struct peer *p, struct job j[2], bool has_reset)
{
	climbs = 0;
	p->params.climbed = climbed;
	iscsi_setting_set(&p->params.settings, ISCSI_NOOP_INTERVAL, 60000);
	if (has_reset)
		iscsi_setting_set(&p->params.settings, ISCSI_USE_LUN_RESET, 1);
	peer_log_in(p, NULL);
	peer_start_timed(p, &j[0], false, NULL, 0, 2 * NS_PER_S, NO_DEADLINE);
	peer_start_timed(p, &j[1], false, NULL, 0, 60 * NS_PER_S, NO_DEADLINE);
	peer_expect(p, ISCSI_SCSI_COMMAND);
	peer_expect(p, ISCSI_SCSI_COMMAND);
	p->now = 2 * NS_PER_S;
	iscsi_session_tick(p->s, p->now);
	peer_expect(p, ISCSI_TASK_REQUEST);
	assert_int_equal(p->got.i.flags, ISCSI_FINAL | ISCSI_ABORT_TASK);
}

static void answer_request(struct peer *p, uint8_t response)
{
	struct pdu *g = peer_make(p, ISCSI_TASK_RESPONSE, true);

	g->t.itt = p->got.i.itt;
	g->t.response = response;
	peer_push(p, g);
}

static void expect_reset(struct peer *p)
{
	peer_expect(p, ISCSI_TASK_REQUEST);
	assert_int_equal(p->got.i.flags, ISCSI_FINAL | ISCSI_LUN_RESET);
	assert_int_equal(be32_get(p->got.i.ttt), ISCSI_TAG_NONE);
	assert_int_equal(p->got.i.lun[1], 3);
	assert_int_equal(climbs, 1);
}

static void without_the_reset_a_refused_abort_ends_the_session(void **state)
{
	struct peer p = { 0 };
	struct job j[2];
	(void)state;

	start_late(&p, j, false);
	answer_request(&p, REFUSED);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
	assert_string_equal(iscsi_session_why(p.s),
			    "a command has no answer, and ABORT TASK was refused");
	assert_int_equal(j[0].task.fate, ISCSI_UNKNOWN);
	assert_false(j[0].task.is_settled);
	assert_int_equal(climbs, 0);
	peer_end(&p);
}

/* Refused or not answered: the reset, and its answer settles all that was sent before. */
static void a_reset_settles_what_was_sent_before_it(void **state)
{
	(void)state;

	for (int is_silent = 0; is_silent < 2; is_silent++) {
		struct peer p = { .params = { .first_cmd_sn = UINT32_MAX } };
		struct job j[3];
		start_late(&p, j, true);
		if (is_silent) {
			p.now = iscsi_session_deadline(p.s);
			assert_true(p.now == 7 * NS_PER_S);
			iscsi_session_tick(p.s, p.now);
		} else {
			answer_request(&p, REFUSED);
		}
		expect_reset(&p);
		be32 reset = p.got.i.itt;
		/* One that comes behind it is none of its business. */
		peer_start_job(&p, &j[2], false, NULL, 0);
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		assert_int_equal(j[0].done + j[1].done, 0);
		p.got.i.itt = reset;
		answer_request(&p, ISCSI_TASK_DONE);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(j[i].done, 1);
			assert_int_equal(j[i].task.fate, ISCSI_UNKNOWN);
			assert_true(j[i].task.is_settled);
		}
		assert_int_equal(j[2].done, 0);
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
		assert_int_equal(iscsi_session_busy(p.s), 1);
		peer_end(&p);
	}
}

static void a_reset_that_fails_ends_the_session(void **state)
{
	(void)state;

	for (int is_silent = 0; is_silent < 2; is_silent++) {
		struct peer p = { 0 };
		struct job j[2];
		iscsi_setting_set(&p.params.settings, ISCSI_RESET_TIMEOUT, 3000);
		start_late(&p, j, true);
		answer_request(&p, REFUSED);
		expect_reset(&p);
		if (is_silent) {
			p.now = iscsi_session_deadline(p.s);
			assert_true(p.now == 5 * NS_PER_S);
			iscsi_session_tick(p.s, p.now);
		} else {
			answer_request(&p, REFUSED);
		}
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
		assert_int_equal(iscsi_session_error(p.s), -ETIMEDOUT);
		assert_int_equal(j[1].task.fate, ISCSI_UNKNOWN);
		assert_false(j[1].task.is_settled);
		peer_end(&p);
	}
}

/* The answer comes after all while the ladder is climbed: that is the end of it. */
static void an_answer_on_the_way_counts(void **state)
{
	struct peer p = { 0 };
	struct job j[2];
	(void)state;

	start_late(&p, j, true);
	be32 itt = be32_of(be32_get(p.got.i.ttt));
	answer_request(&p, REFUSED);
	expect_reset(&p);
	be32 reset = p.got.i.itt;
	peer_answer_status(&p, itt, 0, 0, 0);
	assert_int_equal(j[0].task.fate, ISCSI_GOOD);
	p.got.i.itt = reset;
	answer_request(&p, ISCSI_TASK_DONE);
	assert_int_equal(j[0].done, 1);
	assert_int_equal(j[1].task.fate, ISCSI_UNKNOWN);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	peer_end(&p);
}

/* ---- rejects ---- */

static void push_reject(struct peer *p, uint8_t reason)
{
	struct pdu *g = peer_make(p, ISCSI_REJECT, true);

	memcpy(g->data, p->got.bytes, ISCSI_BHS_SIZE);
	g->len = ISCSI_BHS_SIZE;
	g->t.response = reason;
	peer_push(p, g);
}

/* Each reason of RFC 7143 11.17.1, for a command. */
static void a_rejected_command_ends_as_the_reason_says(void **state)
{
	static const struct {
		uint8_t reason;
		bool is_alive;
		enum iscsi_fate fate;
	} cases[] = {
		{ ISCSI_REJECT_DIGEST, false, ISCSI_UNKNOWN },
		{ ISCSI_REJECT_SNACK, false, ISCSI_UNKNOWN },
		{ ISCSI_REJECT_PROTOCOL, true, ISCSI_REJECTED },
		{ ISCSI_REJECT_UNSUPPORTED, true, ISCSI_REJECTED },
		{ ISCSI_REJECT_IMMEDIATE, false, ISCSI_UNKNOWN },
		{ ISCSI_REJECT_IN_PROGRESS, false, ISCSI_UNKNOWN },
		{ ISCSI_REJECT_DATA_ACK, false, ISCSI_UNKNOWN },
		{ ISCSI_REJECT_FIELD, true, ISCSI_REJECTED },
		{ ISCSI_REJECT_LONG, false, ISCSI_UNKNOWN },
		{ ISCSI_REJECT_NEGOTIATION, false, ISCSI_UNKNOWN },
		{ ISCSI_REJECT_LOGOUT_AWAITED, true, ISCSI_NEVER_SENT },
		{ 0x77, false, ISCSI_UNKNOWN },
	};
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer p = { 0 };
		struct job j;
		peer_log_in(&p, NULL);
		peer_start_job(&p, &j, false, NULL, 0);
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		push_reject(&p, cases[i].reason);
		assert_int_equal(j.done, 1);
		assert_int_equal(j.task.fate, cases[i].fate);
		assert_int_equal(iscsi_session_phase(p.s),
				 cases[i].is_alive ? ISCSI_FULL : ISCSI_DEAD);
		if (cases[i].reason == ISCSI_REJECT_LOGOUT_AWAITED) {
			iscsi_session_tick(p.s, p.now);
			peer_expect(&p, ISCSI_LOGOUT_REQUEST);
		}
		peer_end(&p);
	}
}

/* No room for an immediate command: ABORT TASK comes again, a ping counts as life. */
static void an_immediate_request_without_room_comes_again(void **state)
{
	struct peer p = { 0 };
	struct job j[2];
	(void)state;

	start_late(&p, j, false);
	be32 itt = p.got.i.itt;
	push_reject(&p, ISCSI_REJECT_IMMEDIATE);
	peer_expect_nothing(&p);
	p.now = iscsi_session_deadline(p.s);
	assert_true(p.now < 7 * NS_PER_S);
	iscsi_session_tick(p.s, p.now);
	peer_expect(&p, ISCSI_TASK_REQUEST);
	assert_memory_equal(&p.got.i.itt, &itt, sizeof(itt));
	assert_int_equal(p.got.i.flags, ISCSI_FINAL | ISCSI_ABORT_TASK);
	answer_request(&p, ISCSI_TASK_DONE);
	assert_true(j[0].task.is_settled);
	peer_end(&p);

	struct peer q = { 0 };
	peer_log_in(&q, NULL);
	q.now = iscsi_session_deadline(q.s);
	iscsi_session_tick(q.s, q.now);
	peer_expect(&q, ISCSI_NOP_OUT);
	push_reject(&q, ISCSI_REJECT_IMMEDIATE);
	q.now = iscsi_session_deadline(q.s);
	iscsi_session_tick(q.s, q.now);
	assert_int_equal(iscsi_session_phase(q.s), ISCSI_FULL);
	peer_expect(&q, ISCSI_NOP_OUT);
	peer_end(&q);
}

/* An answer to a ping that was not sent is none. */
static void only_the_answer_to_the_ping_ends_it(void **state)
{
	struct peer p = { 0 };
	(void)state;

	peer_log_in(&p, NULL);
	p.now = iscsi_session_deadline(p.s);
	iscsi_session_tick(p.s, p.now);
	peer_expect(&p, ISCSI_NOP_OUT);
	struct pdu *g = peer_make(&p, ISCSI_NOP_IN, true);
	g->t.itt = be32_of(be32_get(p.got.i.itt) ^ 0x100);
	peer_push(&p, g);
	p.now = iscsi_session_deadline(p.s);
	iscsi_session_tick(p.s, p.now);
	assert_int_equal(iscsi_session_error(p.s), -ETIMEDOUT);
	peer_end(&p);
}

/* ---- asynchronous messages ---- */

static void push_event(struct peer *p, uint8_t event, uint16_t p1, uint16_t p2,
		       uint16_t p3)
{
	struct pdu *g = peer_make(p, ISCSI_ASYNC, true);

	g->async.event = event;
	g->async.parameter[0] = be16_of(p1);
	g->async.parameter[1] = be16_of(p2);
	g->async.parameter[2] = be16_of(p3);
	peer_push(p, g);
}

/*
 * The commands under way may end; none begins; then, or at 3/4 of the time, the logout.
 */
static void a_target_that_wants_us_to_leave_is_left_in_time(void **state)
{
	static const uint8_t events[] = { ISCSI_ASYNC_LOGOUT, ISCSI_ASYNC_NEGOTIATE };
	(void)state;

	for (int i = 0; i < 4; i++) {
		struct peer p = { 0 };
		struct job j[2];
		bool is_answered = i < 2;
		peer_log_in(&p, NULL);
		peer_start_job(&p, &j[0], false, NULL, 0);
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		be32 itt = p.got.c.itt;
		push_event(&p, events[i & 1], 0, 0, 4);
		peer_start_job(&p, &j[1], false, NULL, 0);
		peer_expect_nothing(&p);
		assert_true(iscsi_session_deadline(p.s) == 3 * NS_PER_S);
		if (is_answered) {
			peer_answer_status(&p, itt, 0, 0, 0);
			assert_int_equal(j[0].task.fate, ISCSI_GOOD);
			assert_true(iscsi_session_deadline(p.s) <= p.now);
		} else {
			p.now = 3 * NS_PER_S;
		}
		iscsi_session_tick(p.s, p.now);
		peer_expect(&p, ISCSI_LOGOUT_REQUEST);
		assert_int_equal(j[1].task.fate, ISCSI_NEVER_SENT);
		struct pdu *g = peer_make(&p, ISCSI_LOGOUT_RESPONSE, true);
		g->t.itt = p.got.i.itt;
		g->t.offset = be32_of(6u << 16 | 20); /* Time2Wait, Time2Retain */
		peer_push(&p, g);
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
		assert_int_equal(iscsi_session_error(p.s), -ECONNRESET);
		assert_true(iscsi_session_wait_ns(p.s) == 6 * NS_PER_S);
		assert_int_equal(j[0].task.fate,
				 is_answered ? ISCSI_GOOD : ISCSI_UNKNOWN);
		peer_end(&p);
	}
}

static void a_target_that_drops_us_is_left_alone_for_its_time(void **state)
{
	struct peer p = { 0 };
	(void)state;

	peer_log_in(&p, NULL);
	push_event(&p, ISCSI_ASYNC_DROP_CONNECTION, 5, 3, 20); /* not ours */
	push_event(&p, ISCSI_ASYNC_VENDOR, 1, 2, 3);
	push_event(&p, 99, 1, 2, 3);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	push_event(&p, ISCSI_ASYNC_DROP_CONNECTION, 0, 3, 20);
	assert_int_equal(iscsi_session_error(p.s), -ECONNRESET);
	assert_true(iscsi_session_wait_ns(p.s) == 3 * NS_PER_S);
	peer_end(&p);

	struct peer q = { 0 };
	struct job j;
	peer_log_in(&q, NULL);
	peer_start_job(&q, &j, false, NULL, 0);
	peer_expect(&q, ISCSI_SCSI_COMMAND);
	push_event(&q, ISCSI_ASYNC_DROP_SESSION, 0, 5, 20);
	assert_int_equal(iscsi_session_error(q.s), -ECONNRESET);
	assert_true(iscsi_session_wait_ns(q.s) == 5 * NS_PER_S);
	assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
	peer_end(&q);
}

struct heard {
	unsigned int count;
	uint8_t sense[18];
};

static void hear(void *context, const uint8_t *sense, uint32_t len)
{
	struct heard *h = context;

	assert_int_equal(len, sizeof(h->sense));
	memcpy(h->sense, sense, len);
	h->count++;
}

static void a_scsi_event_goes_up_with_its_sense(void **state)
{
	struct heard h = { 0 };
	struct peer p = { .params = { .event = hear, .context = &h } };
	(void)state;

	peer_log_in(&p, NULL);
	struct pdu *g = peer_make(&p, ISCSI_ASYNC, true);
	g->async.event = ISCSI_ASYNC_SCSI;
	g->data[1] = 18;
	g->data[2] = 0x70;
	g->data[4] = 6;
	g->data[14] = 0x3f;
	g->data[15] = 0x0e;
	g->len = 20;
	peer_push(&p, g);
	assert_int_equal(h.count, 1);
	assert_int_equal(h.sense[12], 0x3f);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	peer_end(&p);
}

static void an_answer_to_a_logout_that_was_not_sent_is_no_end(void **state)
{
	struct peer p = { 0 };
	(void)state;

	peer_log_in(&p, NULL);
	peer_push(&p, peer_make(&p, ISCSI_LOGOUT_RESPONSE, true));
	assert_int_equal(iscsi_session_error(p.s), -EPROTO);
	peer_end(&p);
}

/* "Target failure" is an answer: the command has ended, its effect is not known. */
static void a_target_failure_is_settled(void **state)
{
	struct peer p = { 0 };
	struct job j;
	(void)state;

	peer_log_in(&p, NULL);
	peer_start_job(&p, &j, false, NULL, 0);
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	struct pdu *g = peer_make(&p, ISCSI_SCSI_RESPONSE, true);
	g->t.itt = p.got.c.itt;
	g->t.response = 1;
	peer_push(&p, g);
	assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
	assert_true(j.task.is_settled);
	peer_end(&p);
}

/* ---- data out, by all four ways to agree on it ---- */

static void data_go_out_as_agreed(void **state)
{
	static const struct {
		const char *const keys[5];
		uint32_t immediate, unasked;
	} cases[] = {
		{ { "ImmediateData=Yes", "InitialR2T=No", "FirstBurstLength=1536",
		    "MaxRecvDataSegmentLength=1024" }, 1024, 512 },
		{ { "ImmediateData=Yes", "InitialR2T=Yes", "FirstBurstLength=1536",
		    "MaxRecvDataSegmentLength=1024" }, 1024, 0 },
		{ { "ImmediateData=No", "InitialR2T=No", "FirstBurstLength=1536",
		    "MaxRecvDataSegmentLength=2048" }, 0, 1536 },
		{ { "ImmediateData=No", "InitialR2T=Yes", "FirstBurstLength=1536",
		    "MaxRecvDataSegmentLength=4096" }, 0, 0 },
	};
	static uint8_t data[4096];
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer p = { 0 };
		struct job j;
		uint32_t at = cases[i].immediate + cases[i].unasked;
		for (uint32_t k = 0; k < sizeof(data); k++)
			data[k] = (uint8_t)(k * 7 + i);
		peer_log_in(&p, cases[i].keys);
		peer_start_job(&p, &j, true, data, sizeof(data));
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		be32 itt = p.got.c.itt;
		assert_int_equal(p.got.len, cases[i].immediate);
		assert_int_equal(!(p.got.c.flags & ISCSI_FINAL), cases[i].unasked > 0);
		if (cases[i].unasked) {
			peer_expect(&p, ISCSI_DATA_OUT);
			assert_int_equal(be32_get(p.got.i.offset), cases[i].immediate);
			assert_int_equal(be32_get(p.got.i.ttt), ISCSI_TAG_NONE);
			assert_int_equal(p.got.len, cases[i].unasked);
			assert_int_equal(p.got.i.flags, ISCSI_FINAL);
		}
		peer_expect_nothing(&p);
		peer_ask_data(&p, itt, 5, 0, at, sizeof(data) - at);
		while (at < sizeof(data)) {
			peer_expect(&p, ISCSI_DATA_OUT);
			assert_int_equal(be32_get(p.got.i.offset), at);
			assert_memory_equal(p.got.data, data + at, p.got.len);
			at += p.got.len;
		}
		assert_int_equal(p.got.i.flags, ISCSI_FINAL);
		peer_answer_status(&p, itt, 0, 0, 0);
		assert_int_equal(j.task.fate, ISCSI_GOOD);
		peer_end(&p);
	}
}

/* ---- keys ---- */

static void push_operational(struct peer *p, const char *pair, uint8_t flags)
{
	struct pdu *g = peer_login_answer(p, flags);

	memcpy(g->data, pair, strlen(pair) + 1);
	g->len = (uint32_t)strlen(pair) + 1;
	peer_push(p, g);
}

/* The target is first, with values good and bad; each is answered, once. */
static void an_offer_of_the_target_is_answered(void **state)
{
	static const char *const offers[][3] = {
		{ "MaxBurstLength=4096", "MaxBurstLength", "4096" },
		{ "MaxBurstLength=3", "MaxBurstLength", "Reject" },
		{ "InitialR2T=Perhaps", "InitialR2T", "Reject" },
		{ "HeaderDigest=MD5", "HeaderDigest", "Reject" },
		{ "HeaderDigest=None,CRC32C", "HeaderDigest", "CRC32C" },
		{ "IFMarker=No", "IFMarker", "NotUnderstood" },
		{ "TaskReporting=FastAbort", "TaskReporting", "NotUnderstood" },
	};
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(offers); i++) {
		struct peer p = { 0 };
		peer_start(&p);
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		push_operational(&p, offers[i][0], 0); /* in the stage before ours */
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		assert_string_equal(peer_sent_key(&p, offers[i][1]), offers[i][2]);
		peer_push(&p, peer_login_answer(&p, SECURITY_TO_OPERATIONAL));
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		assert_null(peer_sent_key(&p, offers[i][1]));
		peer_push(&p, peer_login_answer(&p, OPERATIONAL_TO_FULL));
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
		peer_end(&p);
	}
}

static void what_means_nothing_in_discovery_is_irrelevant(void **state)
{
	struct iscsi_settings none = { .is_set = { false } };
	struct iscsi_keys keys;
	struct buf out = { 0 };
	(void)state;

	iscsi_keys_init(&keys, &none, true, ISCSI_DIGEST_PROHIBITED,
			ISCSI_DIGEST_PROHIBITED);
	iscsi_keys_offer(&keys, &out);
	assert_null(memmem(out.data, out.len, "MaxBurst", 8));
	buf_done(&out);
	assert_int_equal(iscsi_keys_take(&keys, "MaxBurstLength", "4096", &out), 0);
	assert_int_equal(out.len, sizeof("MaxBurstLength=Irrelevant"));
	assert_string_equal(out.data, "MaxBurstLength=Irrelevant");
	assert_int_equal(keys.value[KEY_MAX_BURST], 262144);
	buf_done(&out);
}

static void a_key_is_agreed_on_once(void **state)
{
	struct peer p = { 0 };
	(void)state;

	peer_start(&p);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	peer_push(&p, peer_login_answer(&p, SECURITY_TO_OPERATIONAL));
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	push_operational(&p, "MaxBurstLength=4096", 4);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	push_operational(&p, "MaxBurstLength=4096", OPERATIONAL_TO_FULL);
	assert_int_equal(iscsi_session_error(p.s), -EPROTO);
	peer_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_the_reset_a_refused_abort_ends_the_session),
		cmocka_unit_test(a_reset_settles_what_was_sent_before_it),
		cmocka_unit_test(a_reset_that_fails_ends_the_session),
		cmocka_unit_test(an_answer_on_the_way_counts),
		cmocka_unit_test(a_rejected_command_ends_as_the_reason_says),
		cmocka_unit_test(an_immediate_request_without_room_comes_again),
		cmocka_unit_test(only_the_answer_to_the_ping_ends_it),
		cmocka_unit_test(a_target_that_wants_us_to_leave_is_left_in_time),
		cmocka_unit_test(a_target_that_drops_us_is_left_alone_for_its_time),
		cmocka_unit_test(a_scsi_event_goes_up_with_its_sense),
		cmocka_unit_test(an_answer_to_a_logout_that_was_not_sent_is_no_end),
		cmocka_unit_test(a_target_failure_is_settled),
		cmocka_unit_test(data_go_out_as_agreed),
		cmocka_unit_test(an_offer_of_the_target_is_answered),
		cmocka_unit_test(what_means_nothing_in_discovery_is_irrelevant),
		cmocka_unit_test(a_key_is_agreed_on_once),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
