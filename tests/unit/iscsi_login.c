/* SPDX-License-Identifier: Apache-2.0 */
/* Login as a pure state machine: no socket, no clock. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iscsi/chap.h"
#include "tests/lib/iscsi_peer.h"

static void login_answers_every_key_of_the_target(void **state)
{
	struct peer p = { .step = 1 };
	(void)state;

	peer_start(&p);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_int_equal(p.got.login.flags, SECURITY_TO_OPERATIONAL);
	assert_string_equal(peer_sent_key(&p, "SessionType"), "Normal");
	assert_string_equal(peer_sent_key(&p, "TargetName"), p.params.target_name);
	struct pdu *g = peer_login_answer(&p, SECURITY_TO_OPERATIONAL);
	pdu_add_key(g, "TargetPortalGroupTag", "1");
	peer_push(&p, g);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_string_equal(peer_sent_key(&p, "ErrorRecoveryLevel"), "0");
	/* Some keys now (C), some later; one is unknown to us. */
	g = peer_login_answer(&p, 0x44);
	pdu_add_key(g, "MaxBurstLength", "65536");
	peer_push(&p, g);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_int_equal(p.got.len, 0);
	assert_int_equal(p.got.login.flags, 0x04);
	g = peer_login_answer(&p, 0x04);
	pdu_add_key(g, "X-com.example.speed", "high");
	pdu_add_key(g, "FirstBurstLength", "32768");
	peer_push(&p, g);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_string_equal(peer_sent_key(&p, "X-com.example.speed"), "NotUnderstood");
	assert_null(peer_sent_key(&p, "FirstBurstLength"));
	assert_int_equal(p.got.login.flags, OPERATIONAL_TO_FULL);
	peer_push(&p, peer_login_answer(&p, OPERATIONAL_TO_FULL));
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	peer_end(&p);
}

static void login_refusals_are_told_by_name(void **state)
{
	static const struct {
		uint8_t class, detail;
		int error;
		const char *why;
	} cases[] = {
		{ 2, 1, -EACCES,
		  "login refused: authentication failed (status 02/01): "
		  "no user and password were given" },
		{ 2, 3, -ENOENT, "login refused: target not found (status 02/03)" },
		{ 3, 2, -EUSERS,
		  "login refused: the target is out of resources (status 03/02)" },
		{ 3, 99, -EHOSTDOWN, "login refused (status 03/63)" },
		{ 1, 1, -EREMCHG,
		  "login refused: the target has moved for a time (status 01/01)" },
	};
	(void)state;

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer p = { 0 };
		peer_start(&p);
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		struct pdu *g = peer_login_answer(&p, 0);
		g->answer.status_class = cases[i].class;
		g->answer.status_detail = cases[i].detail;
		peer_push(&p, g);
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
		assert_int_equal(iscsi_session_error(p.s), cases[i].error);
		assert_string_equal(iscsi_session_why(p.s), cases[i].why);
		assert_int_equal(iscsi_session_login_status(p.s),
				 cases[i].class << 8 | cases[i].detail);
		peer_end(&p);
	}
}

/* One bad value at a time: the session says which, and dies. */
static void login_takes_no_value_outside_its_offer(void **state)
{
	static const char *const bad[] = {
		"MaxBurstLength=16777215", "MaxBurstLength=0",
		"MaxBurstLength=many",	   "ImmediateData=Maybe",
		"ErrorRecoveryLevel=2",	   "HeaderDigest=MD5",
		"HeaderDigest=CRC32C",	   "DataPDUInOrder=No",
		"MaxConnections=4",	   "MaxRecvDataSegmentLength=100",
	};
	(void)state;

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct peer p = { .params = { .header_digest =
						      ISCSI_DIGEST_PROHIBITED } };
		peer_start(&p);
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		peer_push(&p, peer_login_answer(&p, SECURITY_TO_OPERATIONAL));
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		struct pdu *g = peer_login_answer(&p, OPERATIONAL_TO_FULL);
		memcpy(g->data, bad[i], strlen(bad[i]) + 1);
		g->len = (uint32_t)strlen(bad[i]) + 1;
		peer_push(&p, g);
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
		assert_int_equal(iscsi_session_error(p.s), -EPROTO);
		assert_non_null(strstr(iscsi_session_why(p.s), bad[i]));
		peer_end(&p);
	}
}

static void login_without_password_says_what_is_missing(void **state)
{
	struct peer p = { 0 };
	(void)state;

	peer_start(&p);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	struct pdu *g = peer_login_answer(&p, 0);
	pdu_add_key(g, "AuthMethod", "CHAP");
	peer_push(&p, g);
	assert_int_equal(iscsi_session_error(p.s), -EACCES);
	assert_string_equal(iscsi_session_why(p.s),
			    "the target demands a CHAP user and password");
	peer_end(&p);
}

static void login_answers_a_chap_challenge(void **state)
{
	struct peer p = { .params = { .user = "alice", .password = "alicesecret12" } };
	(void)state;

	peer_start(&p);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_null(strstr(peer_sent_key(&p, "AuthMethod"), "secret"));
	struct pdu *g = peer_login_answer(&p, 0);
	pdu_add_key(g, "AuthMethod", "CHAP");
	peer_push(&p, g);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_string_equal(peer_sent_key(&p, "CHAP_A"), "8,6,5,7");
	assert_int_equal(p.got.login.flags, 0);
	g = peer_login_answer(&p, 0);
	pdu_add_key(g, "CHAP_A", "5");
	pdu_add_key(g, "CHAP_I", "17");
	pdu_add_key(g, "CHAP_C", "0x000102030405060708090a0b0c0d0e0f");
	peer_push(&p, g);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_string_equal(peer_sent_key(&p, "CHAP_N"), "alice");
	/* md5(0x11, "alicesecret12", 00..0f), by md5sum */
	assert_string_equal(peer_sent_key(&p, "CHAP_R"),
			    "0x3723c81135ad60018b939ab6725c4ab1");
	assert_int_equal(p.got.login.flags, SECURITY_TO_OPERATIONAL);
	peer_end(&p);
}

/* Logs in by CHAP up to our answer with a challenge to the target. */
static void go_to_our_challenge(struct peer *p)
{
	p->params.user = "alice";
	p->params.password = "alicesecret12";
	p->params.target_user = "disk";
	p->params.target_password = "disksecret123";
	peer_start(p);
	peer_expect(p, ISCSI_LOGIN_REQUEST);
	assert_string_equal(peer_sent_key(p, "AuthMethod"), "CHAP");
	struct pdu *g = peer_login_answer(p, 0);
	pdu_add_key(g, "AuthMethod", "CHAP");
	peer_push(p, g);
	peer_expect(p, ISCSI_LOGIN_REQUEST);
	g = peer_login_answer(p, 0);
	pdu_add_key(g, "CHAP_A", "6");
	pdu_add_key(g, "CHAP_I", "17");
	pdu_add_key(g, "CHAP_C", "0x000102030405060708090a0b0c0d0e0f");
	peer_push(p, g);
	peer_expect(p, ISCSI_LOGIN_REQUEST);
	assert_string_equal(peer_sent_key(p, "CHAP_N"), "alice");
}

/* The target's last word. */
static void prove(struct peer *p, const char *name, const char *secret)
{
	char answer[CHAP_TEXT_MAX];
	uint32_t id = (uint32_t)strtoul(peer_sent_key(p, "CHAP_I"), NULL, 10);

	assert_int_equal(chap_answer(CHAP_SHA1, id, secret, peer_sent_key(p, "CHAP_C"),
				     answer),
			 0);
	struct pdu *g = peer_login_answer(p, SECURITY_TO_OPERATIONAL);
	pdu_add_key(g, "CHAP_N", name);
	pdu_add_key(g, "CHAP_R", answer);
	peer_push(p, g);
}

static void login_goes_on_when_the_target_has_proved_itself(void **state)
{
	char first[CHAP_CHALLENGE_MAX];
	struct peer p = { 0 };
	(void)state;

	go_to_our_challenge(&p);
	(void)strcpy(first, peer_sent_key(&p, "CHAP_C"));
	assert_int_equal(strlen(first), CHAP_CHALLENGE_MAX - 1);
	prove(&p, "disk", "disksecret123");
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_int_equal(p.got.login.flags, OPERATIONAL_TO_FULL);
	peer_end(&p);
	p = (struct peer){ 0 };
	go_to_our_challenge(&p);
	assert_string_not_equal(peer_sent_key(&p, "CHAP_C"), first);
	peer_end(&p);
}

static void dies(struct peer *p, const char *why)
{
	assert_int_equal(iscsi_session_phase(p->s), ISCSI_DEAD);
	assert_int_equal(iscsi_session_error(p->s), -EACCES);
	if (!strstr(iscsi_session_why(p->s), why))
		fail_msg("%s instead of %s", iscsi_session_why(p->s), why);
	peer_end(p);
}

/* Each way round the proof: the wrong secret, ours, another's name, none, no CHAP. */
static void login_ends_when_the_target_does_not_prove_itself(void **state)
{
	struct peer p = { 0 };
	(void)state;

	go_to_our_challenge(&p);
	prove(&p, "disk", "another-secret");
	dies(&p, "CHAP answer is wrong");
	p = (struct peer){ 0 };
	go_to_our_challenge(&p);
	prove(&p, "disk", "alicesecret12");
	dies(&p, "CHAP answer is wrong");
	p = (struct peer){ 0 };
	go_to_our_challenge(&p);
	prove(&p, "tape", "disksecret123");
	dies(&p, "calls itself tape in CHAP, not disk");
	p = (struct peer){ 0 };
	go_to_our_challenge(&p);
	peer_push(&p, peer_login_answer(&p, SECURITY_TO_OPERATIONAL));
	dies(&p, "does not prove itself");

	p = (struct peer){ .params = { .user = "alice",
				       .password = "alicesecret12",
				       .target_user = "disk",
				       .target_password = "disksecret123" } };
	peer_start(&p);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	peer_push(&p, peer_login_answer(&p, SECURITY_TO_OPERATIONAL));
	dies(&p, "does not prove itself");
	peer_start(&p);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	struct pdu *g = peer_login_answer(&p, SECURITY_TO_OPERATIONAL);
	pdu_add_key(g, "AuthMethod", "None");
	peer_push(&p, g);
	dies(&p, "does not prove itself");
}

/* An algorithm that was not offered, MD4. */
static void login_takes_no_algorithm_outside_its_offer(void **state)
{
	static const char *const bad[] = { "4", "8,6", "", "05" };
	(void)state;

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct peer p = { .params = { .user = "a", .password = "b" } };
		peer_start(&p);
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		struct pdu *g = peer_login_answer(&p, 0);
		pdu_add_key(g, "AuthMethod", "CHAP");
		peer_push(&p, g);
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		g = peer_login_answer(&p, 0);
		pdu_add_key(g, "CHAP_A", bad[i]);
		pdu_add_key(g, "CHAP_I", "1");
		pdu_add_key(g, "CHAP_C", "0x0001");
		peer_push(&p, g);
		dies(&p, "no usable CHAP challenge");
	}
}

static void login_ends_in_time(void **state)
{
	struct peer p = { .params = { .login_ns = 3 * NS_PER_S } };
	(void)state;

	peer_start(&p);
	peer_expect(&p, ISCSI_LOGIN_REQUEST);
	assert_int_equal(iscsi_session_deadline(p.s), 3 * NS_PER_S);
	p.now = 3 * NS_PER_S;
	iscsi_session_tick(p.s, p.now);
	assert_int_equal(iscsi_session_error(p.s), -ETIMEDOUT);
	assert_string_equal(iscsi_session_why(p.s), "no login within 3000 ms");
	peer_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(login_answers_every_key_of_the_target),
		cmocka_unit_test(login_refusals_are_told_by_name),
		cmocka_unit_test(login_takes_no_value_outside_its_offer),
		cmocka_unit_test(login_without_password_says_what_is_missing),
		cmocka_unit_test(login_answers_a_chap_challenge),
		cmocka_unit_test(login_goes_on_when_the_target_has_proved_itself),
		cmocka_unit_test(login_ends_when_the_target_does_not_prove_itself),
		cmocka_unit_test(login_takes_no_algorithm_outside_its_offer),
		cmocka_unit_test(login_ends_in_time),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
