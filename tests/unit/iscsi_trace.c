/* SPDX-License-Identifier: Apache-2.0 */
/* The last PDUs of a session: which, in which order, in which words; and when told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "iscsi/trace.h"
#include "tests/lib/iscsi_peer.h"

static void expect_line(const struct iscsi_trace *t, uint32_t i, const char *wanted)
{
	char line[TRACE_LINE_SIZE];

	assert_true(iscsi_trace_line(t, i, line));
	assert_string_equal(line, wanted);
}

static void pdus_are_told_in_words(void **state)
{
	struct iscsi_command_pdu command = { .opcode = ISCSI_SCSI_COMMAND,
					     .itt = be32_of(0x105),
					     .expected_len = be32_of(4096),
					     .cmd_sn = be32_of(9),
					     .cdb = { 0x88, [9] = 0x20, [13] = 8 } };
	struct iscsi_target_pdu data = { .opcode = ISCSI_DATA_IN,
					 .flags = ISCSI_FINAL,
					 .itt = be32_of(0x105),
					 .data_len = be24_of(4096) };
	struct iscsi_target_pdu answer = { .opcode = ISCSI_SCSI_RESPONSE,
					   .status = 2,
					   .itt = be32_of(0x105),
					   .max_cmd_sn = be32_of(41) };
	struct iscsi_target_pdu other = { .opcode = 0x3e, .itt = be32_of(UINT32_MAX) };
	struct iscsi_trace t = { 0 };
	char line[TRACE_LINE_SIZE];
	(void)state;

	assert_false(iscsi_trace_line(&t, 0, line));
	iscsi_trace_note(&t, (const uint8_t *)&command, true, 1000 * NS_PER_US);
	iscsi_trace_note(&t, (const uint8_t *)&data, false, 1500 * NS_PER_US);
	iscsi_trace_note(&t, (const uint8_t *)&answer, false, 3250 * NS_PER_US);
	iscsi_trace_note(&t, (const uint8_t *)&other, false, 3250 * NS_PER_US);
	expect_line(&t, 0,
		    "-2.250 ms > SCSI Command, tag 00000105, CDB 88 00 0000000000000020 "
		    "00000008, 4096 bytes, CmdSN 9");
	expect_line(&t, 1,
		    "-1.750 ms < Data-In, tag 00000105, 4096 bytes at 0, final");
	expect_line(&t, 2,
		    "-0.000 ms < SCSI Response, tag 00000105, response 00, status 02, "
		    "MaxCmdSN 41");
	expect_line(&t, 3, "-0.000 ms < a PDU of no known kind, tag ffffffff");
	assert_false(iscsi_trace_line(&t, 4, line));
}

static void the_last_ones_are_kept(void **state)
{
	struct iscsi_target_pdu ping = { .opcode = ISCSI_NOP_IN };
	struct iscsi_trace t = { 0 };
	char line[TRACE_LINE_SIZE];
	(void)state;

	for (uint32_t i = 0; i < TRACE_PDUS + 5; i++) {
		ping.itt = be32_of(i);
		iscsi_trace_note(&t, (const uint8_t *)&ping, false, i * NS_PER_MS);
	}
	expect_line(&t, 0, "-31.000 ms < NOP-In, tag 00000005");
	expect_line(&t, TRACE_PDUS - 1, "-0.000 ms < NOP-In, tag 00000024");
	assert_false(iscsi_trace_line(&t, TRACE_PDUS, line));
}

static char told[4096];

static void traced(void *context, const char *line)
{
	size_t have = strlen(told);

	(void)context;
	(void)snprintf(told + have, sizeof(told) - have, "%s\n", line);
}

/* A ping is not answered: the trace ends with it. */
static void a_session_that_is_lost_tells_its_last_pdus(void **state)
{
	struct peer p = { .params.traced = traced };
	(void)state;

	told[0] = '\0';
	peer_log_in(&p, NULL);
	p.now = iscsi_session_deadline(p.s);
	iscsi_session_tick(p.s, p.now);
	peer_expect(&p, ISCSI_NOP_OUT);
	assert_string_equal(told, "");
	p.now = iscsi_session_deadline(p.s);
	iscsi_session_tick(p.s, p.now);
	assert_int_equal(iscsi_session_error(p.s), -ETIMEDOUT);
	assert_non_null(strstr(told, " > Login Request, tag "));
	assert_non_null(strstr(told, " < Login Response, tag "));
	assert_non_null(strstr(told, "\n-0.000 ms > NOP-Out, tag "));
	peer_end(&p);
}

/* Who leaves as he should has nothing to tell. */
static void a_session_that_is_closed_tells_nothing(void **state)
{
	struct peer p = { .params.traced = traced };
	(void)state;

	told[0] = '\0';
	peer_log_in(&p, NULL);
	peer_end(&p);
	assert_string_equal(told, "");
}

int main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(pdus_are_told_in_words),
		cmocka_unit_test(the_last_ones_are_kept),
		cmocka_unit_test(a_session_that_is_lost_tells_its_last_pdus),
		cmocka_unit_test(a_session_that_is_closed_tells_nothing),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(all, NULL, NULL);
}
