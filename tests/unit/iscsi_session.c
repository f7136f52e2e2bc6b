/* SPDX-License-Identifier: Apache-2.0 */
/* The session as a pure state machine, after login: no socket, no clock. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/batch.h"
#include "tests/lib/iscsi_peer.h"

/* ---- writes ---- */

static void expect_data(struct peer *p, uint32_t ttt, uint32_t sn, uint32_t offset,
			uint32_t len, bool is_last, const uint8_t *data)
{
	peer_expect(p, ISCSI_DATA_OUT);
	assert_int_equal(be32_get(p->got.i.ttt), ttt);
	assert_int_equal(be32_get(p->got.i.data_sn), sn);
	assert_int_equal(be32_get(p->got.i.offset), offset);
	assert_int_equal(p->got.len, len);
	assert_int_equal(p->got.i.flags, is_last ? ISCSI_FINAL : 0);
	assert_int_equal(p->got.i.lun[1], ttt == ISCSI_TAG_NONE ? 3 : 9);
	assert_memory_equal(p->got.data, data + offset, len);
}

/* 10000 bytes: 1024 with the command, 1536 unasked, the rest by three R2Ts. */
static void a_write_is_cut_as_negotiated(void **state)
{
	struct peer p = { .out_step = 700 };
	static uint8_t data[10000];
	struct job j;
	(void)state;

	fill_bytes(data, sizeof(data), 1);
	peer_log_in(&p, peer_small_pieces);
	peer_start_job(&p, &j, true, data, sizeof(data));
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	assert_int_equal(p.got.c.flags, ISCSI_CMD_WRITE | ISCSI_CMD_SIMPLE);
	assert_int_equal(be32_get(p.got.c.expected_len), 10000);
	assert_int_equal(p.got.len, 1024);
	assert_memory_equal(p.got.data, data, 1024);
	be32 itt = p.got.c.itt;
	expect_data(&p, ISCSI_TAG_NONE, 0, 1024, 1024, false, data);
	expect_data(&p, ISCSI_TAG_NONE, 1, 2048, 512, true, data);
	peer_expect_nothing(&p);
	peer_ask_data(&p, itt, 71, 0, 2560, 4096);
	peer_ask_data(&p, itt, 72, 1, 6656, 1000);
	for (uint32_t i = 0; i < 4; i++)
		expect_data(&p, 71, i, 2560 + i * 1024, 1024, i == 3, data);
	expect_data(&p, 72, 0, 6656, 1000, true, data);
	peer_ask_data(&p, itt, 73, 2, 7656, 2344);
	expect_data(&p, 73, 0, 7656, 1024, false, data);
	expect_data(&p, 73, 1, 8680, 1024, false, data);
	expect_data(&p, 73, 2, 9704, 296, true, data);
	assert_int_equal(j.done, 0);
	peer_answer_status(&p, itt, 0, 0, 0);
	assert_int_equal(j.done, 1);
	assert_int_equal(j.task.fate, ISCSI_GOOD);
	peer_end(&p);
}

static void with_initial_r2t_only_the_immediate_data_go_unasked(void **state)
{
	static const char *const keys[] = { "MaxRecvDataSegmentLength=1024",
					    "InitialR2T=Yes", "FirstBurstLength=512",
					    NULL };
	struct peer p = { 0 };
	static uint8_t data[3000];
	struct job j;
	(void)state;

	peer_log_in(&p, keys);
	peer_start_job(&p, &j, true, data, sizeof(data));
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	assert_int_equal(p.got.len, 512);
	assert_int_equal(p.got.c.flags, ISCSI_FINAL | ISCSI_CMD_WRITE | ISCSI_CMD_SIMPLE);
	peer_expect_nothing(&p);
	peer_end(&p);
	assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
}

static void a_wrong_r2t_ends_the_session(void **state)
{
	/* sn, offset, len; the next right one is 0, 2560, <= 4096 */
	static const uint32_t bad[][3] = { { 1, 2560, 100 },  { 0, 2561, 100 },
					   { 0, 2000, 100 },  { 0, 2560, 0 },
					   { 0, 2560, 4097 }, { 0, 2560, UINT32_MAX } };
	static uint8_t data[6000];
	(void)state;

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct peer p = { 0 };
		struct job j;
		peer_log_in(&p, peer_small_pieces);
		peer_start_job(&p, &j, true, data, sizeof(data));
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		be32 itt = p.got.c.itt;
		peer_ask_data(&p, itt, 1, bad[i][0], bad[i][1], bad[i][2]);
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
		assert_int_equal(iscsi_session_error(p.s), -EPROTO);
		assert_int_equal(j.done, 1);
		assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
		peer_end(&p);
	}
}

/* The target says no while a Data-Out is half sent: its bytes still come, from a copy. */
static void an_early_answer_leaves_no_trace_of_the_callers_memory(void **state)
{
	struct peer p = { 0 };
	uint8_t *data = malloc(8192), copy[1024];
	struct iovec iov[8];
	struct job j;
	(void)state;

	peer_log_in(&p, peer_small_pieces);
	fill_bytes(data, 8192, 2);
	peer_start_job(&p, &j, true, data, 8192);
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	be32 itt = p.got.c.itt;
	while (peer_next(&p))
		;
	peer_ask_data(&p, itt, 5, 0, 2560, 4096);
	assert_true(iscsi_session_output(p.s, iov, 8, p.now) > 1);
	buf_add(&p.sent, iov[0].iov_base, ISCSI_BHS_SIZE);
	iscsi_session_sent(p.s, ISCSI_BHS_SIZE);
	peer_answer_status(&p, itt, 2, 0, 0);
	assert_int_equal(j.task.fate, ISCSI_STATUS);
	memcpy(copy, data + 2560, 1024);
	free(data);
	peer_expect(&p, ISCSI_DATA_OUT);
	assert_int_equal(p.got.len, 1024);
	assert_memory_equal(p.got.data, copy, 1024);
	peer_expect_nothing(&p);
	peer_end(&p);
}

static void a_write_that_was_not_taken_is_short(void **state)
{
	struct peer p = { 0 };
	static uint8_t data[4096];
	struct job j;
	(void)state;

	peer_log_in(&p, peer_small_pieces);
	peer_start_job(&p, &j, true, data, sizeof(data));
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	peer_answer_status(&p, p.got.c.itt, 0, 0,
			   0); /* GOOD, but it never asked for the rest */
	assert_int_equal(j.task.fate, ISCSI_SHORT);
	peer_start_job(&p, &j, true, data, 1024);
	while (peer_next(&p) && p.got.i.opcode != ISCSI_SCSI_COMMAND)
		;
	peer_answer_status(&p, p.got.c.itt, 0, ISCSI_UNDERFLOW, 512);
	assert_int_equal(j.task.fate, ISCSI_SHORT);
	peer_end(&p);
}

/* ---- reads ---- */

static void read_lands_in_the_callers_pieces(uint32_t step)
{
	struct peer p = { .step = step };
	uint8_t data[3001], got[3001] = { 0 };
	struct job j;

	fill_bytes(data, sizeof(data), 3);
	peer_log_in(&p, peer_small_pieces);
	peer_start_job(&p, &j, false, got, sizeof(got));
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	assert_int_equal(p.got.c.flags, ISCSI_FINAL | ISCSI_CMD_READ | ISCSI_CMD_SIMPLE);
	assert_int_equal(p.got.len, 0);
	peer_data_in(&p, p.got.c.itt, 0, 0, data, 1001, 0);
	peer_data_in(&p, p.got.c.itt, 1, 1001, data + 1001, 999, ISCSI_FINAL);
	assert_int_equal(j.done, 0);
	peer_data_in(&p, p.got.c.itt, 2, 2000, data + 2000, 1001,
		     ISCSI_FINAL | ISCSI_DATA_STATUS);
	assert_int_equal(j.done, 1);
	assert_int_equal(j.task.fate, ISCSI_GOOD);
	assert_int_equal(j.task.transferred, 3001);
	assert_memory_equal(got, data, sizeof(data));
	peer_end(&p);
}

static void reads_land_in_the_callers_pieces(void **state)
{
	static const uint32_t steps[] = { 0, 1, 7, 48, 500 };
	(void)state;

	for (unsigned int i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		read_lands_in_the_callers_pieces(steps[i]);
}

static void missing_bytes_are_never_zeros(void **state)
{
	static const struct {
		uint32_t len, residual;
		uint8_t flags;
		bool may_be_short;
		enum iscsi_fate fate;
	} cases[] = {
		{ 1000, 0, 0, false, ISCSI_SHORT },
		{ 1000, 24, 0, false, ISCSI_SHORT },
		{ 1000, 24, ISCSI_UNDERFLOW, false, ISCSI_SHORT },
		{ 1000, 24, ISCSI_UNDERFLOW, true, ISCSI_GOOD },
		{ 1000, 23, ISCSI_UNDERFLOW, true, ISCSI_SHORT },
		{ 1000, 0, 0, true, ISCSI_SHORT },
		{ 1024, 512, ISCSI_OVERFLOW, false, ISCSI_SHORT },
		{ 1024, 512, ISCSI_OVERFLOW, true, ISCSI_GOOD },
		{ 1024, 0, 0, false, ISCSI_GOOD },
	};
	uint8_t data[1024] = { 0 }, got[1024];
	(void)state;

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer p = { 0 };
		struct job j;
		peer_log_in(&p, NULL);
		peer_start_job(&p, &j, false, got, sizeof(got));
		j.task.may_be_short = cases[i].may_be_short;
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		peer_data_in(&p, p.got.c.itt, 0, 0, data, cases[i].len, ISCSI_FINAL);
		peer_answer_status(&p, p.got.c.itt, 0, cases[i].flags, cases[i].residual);
		assert_int_equal(j.task.fate, cases[i].fate);
		assert_int_equal(j.task.transferred, cases[i].len);
		peer_end(&p);
	}
}

static void data_out_of_place_are_not_stored(void **state)
{
	/* DataSN, offset, len of a 1024-byte read */
	static const uint32_t bad[][3] = { { 0, 1, 512 },
					   { 1, 0, 512 },
					   { 0, 0, 1028 },
					   { 0, 1024, 4 },
					   { 0, UINT32_MAX - 3, 8 } };
	uint8_t data[1028], guard[2048], wanted[2048];
	(void)state;

	memset(data, 0xff, sizeof(data));
	memset(wanted, 0x55, sizeof(wanted));
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct peer p = { .step = 48 };
		struct job j;
		memset(guard, 0x55, sizeof(guard));
		peer_log_in(&p, NULL);
		peer_start_job(&p, &j, false, guard + 512, 1024);
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		peer_data_in(&p, p.got.c.itt, bad[i][0], bad[i][1], data, bad[i][2],
			     ISCSI_FINAL);
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
		assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
		assert_memory_equal(guard, wanted, sizeof(guard));
		peer_end(&p);
	}
}

static void sense_data_come_with_the_status(void **state)
{
	static const uint8_t sense[18] = {
		0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x29, 1
	};
	struct peer p = { 0 };
	uint8_t got[512];
	struct job j;
	(void)state;

	peer_log_in(&p, NULL);
	peer_start_job(&p, &j, false, got, sizeof(got));
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	struct pdu *g = peer_make(&p, ISCSI_SCSI_RESPONSE, true);
	g->t.itt = p.got.c.itt;
	g->t.status = 2;
	g->data[1] = sizeof(sense);
	memcpy(g->data + 2, sense, sizeof(sense));
	g->len = 2 + sizeof(sense);
	peer_push(&p, g);
	assert_int_equal(j.task.fate, ISCSI_STATUS);
	assert_int_equal(j.task.status, 2);
	assert_int_equal(j.task.sense_len, sizeof(sense));
	assert_memory_equal(j.task.sense, sense, sizeof(sense));
	peer_end(&p);
}

/* ---- the command window ---- */

static void a_closed_window_holds_commands_back(void **state)
{
	struct peer p = { .params = { .first_cmd_sn = 0xfffffffe } };
	struct job j[4];
	(void)state;

	peer_log_in(&p, NULL);
	p.max_cmd_sn = 0xffffffff;
	for (int i = 0; i < 4; i++)
		peer_start_job(&p, &j[i], false, NULL, 0);
	p.max_cmd_sn = p.exp_cmd_sn + 1;
	/* A window that was 16 wide does not shrink. */
	for (int i = 0; i < 4; i++) {
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		assert_int_equal(be32_get(p.got.c.cmd_sn), 0xfffffffe + (uint32_t)i);
	}
	peer_end(&p);

	struct peer q = { .params = { .first_cmd_sn = 0xfffffffe } };
	peer_start(&q);
	q.max_cmd_sn = q.exp_cmd_sn - 1; /* zero */
	peer_expect(&q, ISCSI_LOGIN_REQUEST);
	peer_push(&q, peer_login_answer(&q, SECURITY_TO_OPERATIONAL));
	peer_expect(&q, ISCSI_LOGIN_REQUEST);
	peer_push(&q, peer_login_answer(&q, OPERATIONAL_TO_FULL));
	assert_int_equal(iscsi_session_phase(q.s), ISCSI_FULL);
	for (int i = 0; i < 4; i++)
		peer_start_job(&q, &j[i], false, NULL, 0);
	peer_expect_nothing(&q);
	q.max_cmd_sn = 0; /* two past 0xfffffffe */
	peer_push(&q, peer_make(&q, ISCSI_NOP_IN, false));
	for (uint32_t i = 0; i < 3; i++) {
		peer_expect(&q, ISCSI_SCSI_COMMAND);
		assert_int_equal(be32_get(q.got.c.cmd_sn), 0xfffffffe + i);
	}
	peer_expect_nothing(&q);
	/* A MaxCmdSN before ExpCmdSN - 1 is to be ignored. */
	q.exp_cmd_sn = 1;
	q.max_cmd_sn = 0xfffffff0;
	peer_push(&q, peer_make(&q, ISCSI_NOP_IN, false));
	peer_expect_nothing(&q);
	peer_end(&q);
	assert_int_equal(j[2].task.fate, ISCSI_UNKNOWN);
	assert_int_equal(j[3].task.fate, ISCSI_NEVER_SENT);
}

static void what_left_is_unknown_what_did_not_is_never_sent(void **state)
{
	struct peer p = { 0 };
	static uint8_t data[512];
	struct iovec iov[8];
	struct job j[3];
	(void)state;

	peer_log_in(&p, NULL);
	for (int i = 0; i < 3; i++)
		peer_start_job(&p, &j[i], false, data, sizeof(data));
	assert_int_equal(iscsi_session_output(p.s, iov, 8, p.now), 3);
	iscsi_session_sent(p.s, ISCSI_BHS_SIZE + 1); /* one byte of the second */
	iscsi_session_kill(p.s, -ECONNRESET, "pulled the plug");
	assert_int_equal(j[0].task.fate, ISCSI_UNKNOWN);
	assert_int_equal(j[1].task.fate, ISCSI_UNKNOWN);
	assert_int_equal(j[2].task.fate, ISCSI_NEVER_SENT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(j[i].done, 1);
	assert_false(iscsi_session_start(p.s, &j[0].task));
	peer_end(&p);
}

static void a_missing_answer_ends_the_session(void **state)
{
	struct peer p = { 0 };
	struct job j[2];
	(void)state;

	peer_log_in(&p, NULL);
	peer_start_job(&p, &j[0], false, NULL, 0);
	peer_start_job(&p, &j[1], false, NULL, 0);
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	be32 first = p.got.c.itt;
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	p.stat_sn++; /* the answer to the second was lost on the way */
	peer_answer_status(&p, first, 0, 0, 0);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
	assert_int_equal(j[0].task.fate, ISCSI_UNKNOWN);
	assert_int_equal(j[1].task.fate, ISCSI_UNKNOWN);
	peer_end(&p);
}

/* ---- time ---- */

static void late_command(struct peer *p, struct job *j, void *data, uint64_t attempt_ns,
			 uint64_t deadline)
{
	peer_log_in(p, NULL);
	peer_start_timed(p, j, false, data, 512, attempt_ns, deadline);
	peer_expect(p, ISCSI_SCSI_COMMAND);
}

/* An attempt is over: ABORT TASK, and only its answer ends the command. */
static void a_late_command_is_aborted_before_it_is_given_back(void **state)
{
	struct peer p = { .params = { .first_cmd_sn = 40 } };
	uint8_t got[512];
	struct job j;
	(void)state;

	late_command(&p, &j, got, 2 * NS_PER_S, NO_DEADLINE);
	be32 itt = p.got.c.itt;
	assert_int_equal(iscsi_session_deadline(p.s), 2 * NS_PER_S);
	p.now = 2 * NS_PER_S;
	iscsi_session_tick(p.s, p.now);
	peer_expect(&p, ISCSI_TASK_REQUEST);
	assert_int_equal(p.got.i.flags, ISCSI_FINAL | ISCSI_ABORT_TASK);
	assert_int_equal(p.got.i.opcode, ISCSI_TASK_REQUEST | ISCSI_IMMEDIATE);
	assert_int_equal(be32_get(p.got.i.ttt), be32_get(itt));
	assert_int_equal(be32_get(p.got.i.ref_cmd_sn), 40);
	assert_int_equal(be32_get(p.got.i.cmd_sn), 41);
	assert_int_equal(p.got.i.lun[1], 3);
	assert_int_equal(j.done, 0);
	struct pdu *g = peer_make(&p, ISCSI_TASK_RESPONSE, true);
	g->t.itt = p.got.i.itt;
	peer_push(&p, g);
	assert_int_equal(j.done, 1);
	assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
	assert_true(j.task.is_settled);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	peer_end(&p);
}

/* The caller is told at once, and nothing more comes into its memory. */
static void a_deadline_is_kept_to_the_moment(void **state)
{
	struct peer p = { 0 };
	uint8_t got[512], data[512] = { 1 }, zeros[512] = { 0 };
	struct job j;
	(void)state;

	memset(got, 0, sizeof(got));
	late_command(&p, &j, got, 8 * NS_PER_S, NS_PER_S);
	be32 itt = p.got.c.itt;
	p.now = NS_PER_S;
	iscsi_session_tick(p.s, p.now);
	assert_int_equal(j.done, 1);
	assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
	assert_false(j.task.is_settled);
	peer_expect(&p, ISCSI_TASK_REQUEST);
	be32 abort = p.got.i.itt;
	peer_data_in(&p, itt, 0, 0, data, 512, ISCSI_FINAL | ISCSI_DATA_STATUS);
	assert_memory_equal(got, zeros, sizeof(got));
	struct pdu *g = peer_make(&p, ISCSI_TASK_RESPONSE, true);
	g->t.itt = abort;
	g->t.response = ISCSI_TASK_UNKNOWN;
	peer_push(&p, g);
	assert_int_equal(j.done, 1);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	peer_end(&p);
}

static void an_abort_without_answer_ends_the_session(void **state)
{
	struct peer p = { 0 };
	uint8_t got[512];
	struct job j;
	(void)state;

	iscsi_setting_set(&p.params.settings, ISCSI_NOOP_INTERVAL, 60000);
	late_command(&p, &j, got, 2 * NS_PER_S, NO_DEADLINE);
	p.now = 2 * NS_PER_S;
	iscsi_session_tick(p.s, p.now);
	peer_expect(&p, ISCSI_TASK_REQUEST);
	assert_int_equal(iscsi_session_deadline(p.s), 7 * NS_PER_S);
	p.now = 7 * NS_PER_S;
	iscsi_session_tick(p.s, p.now);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
	assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
	assert_int_equal(j.done, 1);
	peer_end(&p);
}

static void a_reset_of_the_unit_is_done_when_the_target_says_so(void **state)
{
	static const uint8_t lun[8] = { 0, 3 };
	static const struct {
		uint8_t response;
		enum iscsi_reset wanted;
	} answers[] = {
		{ ISCSI_TASK_DONE, ISCSI_RESET_DONE },
		{ ISCSI_TASK_UNKNOWN, ISCSI_RESET_REFUSED },
		{ 5, ISCSI_RESET_REFUSED }, /* not supported */
	};
	(void)state;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct peer p = { 0 };

		peer_log_in(&p, NULL);
		iscsi_session_reset_unit(p.s, lun);
		peer_expect(&p, ISCSI_TASK_REQUEST);
		assert_int_equal(p.got.i.flags, ISCSI_FINAL | ISCSI_LUN_RESET);
		assert_int_equal(p.got.i.opcode, ISCSI_TASK_REQUEST | ISCSI_IMMEDIATE);
		assert_int_equal(be32_get(p.got.i.ttt), ISCSI_TAG_NONE);
		assert_memory_equal(p.got.i.lun, lun, sizeof(lun));
		assert_int_equal(iscsi_session_reset(p.s), ISCSI_RESET_NONE);
		struct pdu *g = peer_make(&p, ISCSI_TASK_RESPONSE, true);
		g->t.itt = p.got.i.itt;
		g->t.response = answers[i].response;
		peer_push(&p, g);
		assert_int_equal(iscsi_session_reset(p.s), answers[i].wanted);
		peer_end(&p);
	}
}

static void silence_is_answered_by_a_ping_and_then_by_the_end(void **state)
{
	struct peer p = { 0 };
	(void)state;

	peer_log_in(&p, NULL);
	for (int i = 0; i < 3; i++) {
		p.now = iscsi_session_deadline(p.s);
		assert_int_equal(p.now, (uint64_t)(i + 1) * 5 * NS_PER_S);
		iscsi_session_tick(p.s, p.now);
		peer_expect(&p, ISCSI_NOP_OUT);
		assert_int_equal(be32_get(p.got.i.ttt), ISCSI_TAG_NONE);
		assert_int_not_equal(be32_get(p.got.i.itt), ISCSI_TAG_NONE);
		if (i == 2)
			break;
		struct pdu *g = peer_make(&p, ISCSI_NOP_IN, true);
		g->t.itt = p.got.i.itt;
		peer_push(&p, g);
	}
	p.now += 5 * NS_PER_S - 1;
	iscsi_session_tick(p.s, p.now);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	p.now++;
	iscsi_session_tick(p.s, p.now);
	assert_int_equal(iscsi_session_error(p.s), -ETIMEDOUT);
	assert_string_equal(iscsi_session_why(p.s), "no answer to a ping for 5000 ms");
	peer_end(&p);
}

/* ---- the rest ---- */

static void a_ping_of_the_target_comes_back_with_its_tag_and_lun(void **state)
{
	struct peer p = { 0 };
	(void)state;

	peer_log_in(&p, NULL);
	struct pdu *g = peer_make(&p, ISCSI_NOP_IN, false);
	g->t.ttt = be32_of(0xabcdef01);
	memcpy(g->t.lun, "\0\7LUNLUN", 8);
	peer_push(&p, g);
	peer_expect(&p, ISCSI_NOP_OUT);
	assert_int_equal(be32_get(p.got.i.ttt), 0xabcdef01);
	assert_int_equal(be32_get(p.got.i.itt), ISCSI_TAG_NONE);
	assert_memory_equal(p.got.i.lun, "\0\7LUNLUN", 8);
	assert_int_equal(p.got.i.opcode, ISCSI_NOP_OUT | ISCSI_IMMEDIATE);
	peer_expect_nothing(&p);
	peer_end(&p);
}

static void a_rejected_command_fails_alone(void **state)
{
	struct peer p = { 0 };
	struct job j[2];
	(void)state;

	peer_log_in(&p, NULL);
	peer_start_job(&p, &j[0], false, NULL, 0);
	peer_start_job(&p, &j[1], false, NULL, 0);
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	struct pdu *g = peer_make(&p, ISCSI_REJECT, true);
	memcpy(g->data, p.got.bytes, ISCSI_BHS_SIZE);
	g->len = ISCSI_BHS_SIZE;
	g->t.response = 9;
	peer_push(&p, g);
	assert_int_equal(j[0].task.fate, ISCSI_REJECTED);
	assert_int_equal(j[1].done, 0);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_FULL);
	/* Anything else that is rejected leaves no way to go on. */
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	g = peer_make(&p, ISCSI_REJECT, true);
	g->data[0] = ISCSI_DATA_OUT;
	g->len = ISCSI_BHS_SIZE;
	g->t.response = 4;
	peer_push(&p, g);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
	assert_int_equal(j[1].task.fate, ISCSI_UNKNOWN);
	peer_end(&p);
}

static void a_target_that_wants_a_logout_gets_one(void **state)
{
	struct peer p = { 0 };
	(void)state;

	peer_log_in(&p, NULL);
	struct pdu *g = peer_make(&p, ISCSI_ASYNC, true);
	g->async.event = ISCSI_ASYNC_LOGOUT;
	peer_push(&p, g);
	assert_int_equal(iscsi_session_deadline(p.s), 0);
	iscsi_session_tick(p.s, p.now);
	peer_expect(&p, ISCSI_LOGOUT_REQUEST);
	g = peer_make(&p, ISCSI_LOGOUT_RESPONSE, true);
	g->t.itt = p.got.i.itt;
	peer_push(&p, g);
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
	assert_int_equal(iscsi_session_error(p.s), -ECONNRESET);
	peer_end(&p);
}

static void header_digests_are_made_and_checked(void **state)
{
	static const char *const keys[] = { "HeaderDigest=CRC32C", NULL };
	struct peer p = { .params = { .header_digest = ISCSI_DIGEST_PREFERRED } };
	uint8_t data[600], got[600];
	struct job j;
	(void)state;

	fill_bytes(data, sizeof(data), 4);
	peer_log_in(&p, keys);
	p.has_digest = true;
	peer_start_job(&p, &j, false, got, sizeof(got));
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	peer_data_in(&p, p.got.c.itt, 0, 0, data, 600, ISCSI_FINAL | ISCSI_DATA_STATUS);
	assert_int_equal(j.task.fate, ISCSI_GOOD);
	assert_memory_equal(got, data, sizeof(data));
	uint8_t wrong[ISCSI_BHS_SIZE + 4] = { ISCSI_NOP_IN, ISCSI_FINAL };
	peer_feed(&p, wrong, sizeof(wrong));
	assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
	assert_non_null(strstr(iscsi_session_why(p.s), "header digest"));
	peer_end(&p);
}

/* Odd lengths and steps, so that padding and digest are cut anywhere. */
static void data_digests_are_made_and_checked(void **state)
{
	static const char *const keys[] = { "HeaderDigest=CRC32C", "DataDigest=CRC32C",
					    "MaxRecvDataSegmentLength=1024", NULL };
	static const uint32_t steps[] = { 0, 1, 3, 50, 101 };
	uint8_t data[2801], got[2801];
	(void)state;

	fill_bytes(data, sizeof(data), 4);
	for (unsigned int i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct peer p = { .params = { .header_digest = ISCSI_DIGEST_REQUIRED,
					      .data_digest = ISCSI_DIGEST_REQUIRED } };
		struct job j, w;
		peer_log_in(&p, keys);
		p.step = p.out_step = steps[i];
		p.has_digest = p.has_data_digest = true;
		memset(got, 0, sizeof(got));
		peer_start_job(&p, &j, false, got, sizeof(got));
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		be32 itt = p.got.c.itt;
		peer_data_in(&p, itt, 0, 0, data, 1001, 0);
		peer_data_in(&p, itt, 1, 1001, data + 1001, 1800,
			     ISCSI_FINAL | ISCSI_DATA_STATUS);
		assert_int_equal(j.task.fate, ISCSI_GOOD);
		assert_memory_equal(got, data, sizeof(data));
		peer_start_job(&p, &w, true, data, sizeof(data));
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		assert_memory_equal(p.got.data, data, 1024);
		peer_answer_status(&p, p.got.c.itt, 0, ISCSI_UNDERFLOW, 0);
		assert_int_equal(w.done, 1);

		peer_start_job(&p, &j, false, got, 10);
		peer_expect(&p, ISCSI_SCSI_COMMAND);
		p.spoils_data = true;
		peer_data_in(&p, p.got.c.itt, 0, 0, data, 10,
			     ISCSI_FINAL | ISCSI_DATA_STATUS);
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
		assert_non_null(strstr(iscsi_session_why(p.s), "data digest"));
		assert_int_equal(j.done, 1);
		assert_int_equal(j.task.fate, ISCSI_UNKNOWN);
		peer_end(&p);
	}
}

static void digest_that_is_required_and_not_agreed_ends_the_login(void **state)
{
	static const char *const answers[] = { "DataDigest=None", "DataDigest=Reject",
					       "DataPDUInOrder=Yes" };
	(void)state;

	for (unsigned int i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct peer p = { .params = { .data_digest = ISCSI_DIGEST_REQUIRED } };
		peer_start(&p);
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		peer_push(&p, peer_login_answer(&p, SECURITY_TO_OPERATIONAL));
		peer_expect(&p, ISCSI_LOGIN_REQUEST);
		assert_string_equal(peer_sent_key(&p, "DataDigest"), "CRC32C");
		assert_string_equal(peer_sent_key(&p, "HeaderDigest"), "None,CRC32C");
		struct pdu *g = peer_login_answer(&p, OPERATIONAL_TO_FULL);
		g->len = (uint32_t)strlen(answers[i]) + 1;
		memcpy(g->data, answers[i], g->len);
		peer_push(&p, g);
		assert_int_equal(iscsi_session_phase(p.s), ISCSI_DEAD);
		assert_non_null(strstr(iscsi_session_why(p.s), "DataDigest"));
		peer_end(&p);
	}
}

static void the_table_holds_128_commands(void **state)
{
	struct peer p = { 0 };
	static struct job j[ISCSI_MAX_TASKS + 1];
	(void)state;

	p.params.first_cmd_sn = 1;
	peer_log_in(&p, NULL);
	for (unsigned int i = 0; i < ISCSI_MAX_TASKS; i++)
		peer_start_job(&p, &j[i], false, NULL, 0);
	assert_false(iscsi_session_start(p.s, &j[ISCSI_MAX_TASKS].task));
	assert_int_equal(iscsi_session_busy(p.s), ISCSI_MAX_TASKS);
	peer_expect(&p, ISCSI_SCSI_COMMAND);
	peer_answer_status(&p, p.got.c.itt, 0, 0, 0);
	assert_true(iscsi_session_start(p.s, &j[0].task));
	peer_end(&p);
}

static void a_list_of_targets_comes_in_pieces(void **state)
{
	struct peer p = { 0 };
	uint32_t len = 0;
	(void)state;

	peer_log_in(&p, NULL);
	iscsi_session_send_targets(p.s);
	peer_expect(&p, ISCSI_TEXT_REQUEST);
	assert_string_equal(peer_sent_key(&p, "SendTargets"), "All");
	struct pdu *g = peer_make(&p, ISCSI_TEXT_RESPONSE, true);
	g->t.flags = ISCSI_CONTINUE;
	g->t.itt = p.got.i.itt;
	g->t.ttt = be32_of(77);
	g->len = 10;
	memcpy(g->data, "TargetName", 10);
	peer_push(&p, g);
	assert_null(iscsi_session_targets(p.s, &len));
	peer_expect(&p, ISCSI_TEXT_REQUEST);
	assert_int_equal(be32_get(p.got.i.ttt), 77);
	assert_int_equal(p.got.len, 0);
	g = peer_make(&p, ISCSI_TEXT_RESPONSE, true);
	g->t.itt = p.got.i.itt;
	g->len = 7;
	memcpy(g->data, "=iqn.x", 7);
	peer_push(&p, g);
	assert_string_equal(iscsi_session_targets(p.s, &len), "TargetName=iqn.x");
	assert_int_equal(len, 17);
	peer_end(&p);
}

/* Whatever a target sends, every command ends once and nothing outside is written. */
static void no_bytes_can_hurt(void **state)
{
	static uint8_t noise[4096], data[16384];
	uint32_t seed = 1, ends[6] = { 0 };
	(void)state;

	for (int round = 0; round < 400; round++) {
		struct peer p = { .step = (uint32_t)round % 97 };
		struct job j[4];
		peer_log_in(&p, peer_small_pieces);
		for (int i = 0; i < 4; i++)
			peer_start_job(&p, &j[i], i & 1, data + i * 4096, 4096);
		for (int k = 0; k < 30 && iscsi_session_phase(p.s) == ISCSI_FULL; k++) {
			fill_bytes(noise, sizeof(noise), seed++);
			static const uint8_t opcodes[] = { 0x20, 0x21, 0x21, 0x25,
							   0x25, 0x25, 0x31, 0x31,
							   0x22, 0x32, 0x3f, 0x24 };
			uint8_t opcode = opcodes[noise[1] % (noise[13] % 8 ? 8 : 12)];
			uint8_t flags = opcode == ISCSI_DATA_IN ? noise[2] : ISCSI_FINAL;
			bool has_status = opcode == ISCSI_R2T	    ? false
					  : opcode == ISCSI_DATA_IN ? flags & 1
								    : true;
			struct pdu *g =
				peer_make(&p, opcode, has_status ^ (noise[0] < 8));
			peer_pull(&p);
			g->t.flags = flags;
			g->t.status = noise[14] & 2;
			g->t.itt = be32_of((1 + noise[3] % 4u) << 8 | noise[3] % 4u);
			g->t.ttt = be32_of(noise[5]);
			g->t.data_sn = be32_of(noise[6] < 8);
			g->t.offset = be32_of(noise[7] > 8 ? (opcode == ISCSI_R2T) * 2560u
							   : noise[8] * 16u);
			g->t.length = be32_of(noise[9] * 16u);
			g->len = noise[10] % 3 ? noise[11] * 8u : 0;
			memcpy(g->data, noise + 64, g->len);
			peer_push(&p, g);
			p.now += noise[12] * NS_PER_MS * 20;
			iscsi_session_tick(p.s, p.now);
		}
		peer_end(&p);
		for (int i = 0; i < 4; i++) {
			assert_int_equal(j[i].done, 1);
			ends[j[i].task.fate]++;
		}
	}
	print_message("# good %u, status %u, short %u, unknown %u\n", ends[ISCSI_GOOD],
		      ends[ISCSI_STATUS], ends[ISCSI_SHORT], ends[ISCSI_UNKNOWN]);
	/* The noise is not so wild that it always dies at the first PDU. */
	assert_true(ends[ISCSI_STATUS] > 50 && ends[ISCSI_UNKNOWN] > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_is_cut_as_negotiated),
		cmocka_unit_test(with_initial_r2t_only_the_immediate_data_go_unasked),
		cmocka_unit_test(a_wrong_r2t_ends_the_session),
		cmocka_unit_test(an_early_answer_leaves_no_trace_of_the_callers_memory),
		cmocka_unit_test(a_write_that_was_not_taken_is_short),
		cmocka_unit_test(reads_land_in_the_callers_pieces),
		cmocka_unit_test(missing_bytes_are_never_zeros),
		cmocka_unit_test(data_out_of_place_are_not_stored),
		cmocka_unit_test(sense_data_come_with_the_status),
		cmocka_unit_test(a_closed_window_holds_commands_back),
		cmocka_unit_test(what_left_is_unknown_what_did_not_is_never_sent),
		cmocka_unit_test(a_missing_answer_ends_the_session),
		cmocka_unit_test(a_late_command_is_aborted_before_it_is_given_back),
		cmocka_unit_test(a_reset_of_the_unit_is_done_when_the_target_says_so),
		cmocka_unit_test(a_deadline_is_kept_to_the_moment),
		cmocka_unit_test(an_abort_without_answer_ends_the_session),
		cmocka_unit_test(silence_is_answered_by_a_ping_and_then_by_the_end),
		cmocka_unit_test(a_ping_of_the_target_comes_back_with_its_tag_and_lun),
		cmocka_unit_test(a_rejected_command_fails_alone),
		cmocka_unit_test(a_target_that_wants_a_logout_gets_one),
		cmocka_unit_test(header_digests_are_made_and_checked),
		cmocka_unit_test(data_digests_are_made_and_checked),
		cmocka_unit_test(digest_that_is_required_and_not_agreed_ends_the_login),
		cmocka_unit_test(the_table_holds_128_commands),
		cmocka_unit_test(a_list_of_targets_comes_in_pieces),
		cmocka_unit_test(no_bytes_can_hurt),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
