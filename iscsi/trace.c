/* SPDX-License-Identifier: Apache-2.0 */
/* PDUs as words, by RFC 7143 11: what kind, of which command, and what counts of it. */
#include "iscsi/trace.h"

#include <stdio.h>

#include "base/align.h"
#include "base/env.h"

/* What counts of it, beside its tag. */
enum detail { DETAIL_NONE, DETAIL_CDB, DETAIL_DATA, DETAIL_STATUS, DETAIL_RESPONSE };

static const struct kind {
	uint8_t opcode;
	enum detail detail;
	const char *name;
} kinds[] = {
	{ ISCSI_NOP_OUT, DETAIL_NONE, "NOP-Out" },
	{ ISCSI_SCSI_COMMAND, DETAIL_CDB, "SCSI Command" },
	{ ISCSI_TASK_REQUEST, DETAIL_NONE, "Task Management Request" },
	{ ISCSI_LOGIN_REQUEST, DETAIL_NONE, "Login Request" },
	{ ISCSI_TEXT_REQUEST, DETAIL_NONE, "Text Request" },
	{ ISCSI_DATA_OUT, DETAIL_DATA, "Data-Out" },
	{ ISCSI_LOGOUT_REQUEST, DETAIL_NONE, "Logout Request" },
	{ ISCSI_NOP_IN, DETAIL_NONE, "NOP-In" },
	{ ISCSI_SCSI_RESPONSE, DETAIL_STATUS, "SCSI Response" },
	{ ISCSI_TASK_RESPONSE, DETAIL_RESPONSE, "Task Management Response" },
	{ ISCSI_LOGIN_RESPONSE, DETAIL_NONE, "Login Response" },
	{ ISCSI_TEXT_RESPONSE, DETAIL_NONE, "Text Response" },
	{ ISCSI_DATA_IN, DETAIL_DATA, "Data-In" },
	{ ISCSI_LOGOUT_RESPONSE, DETAIL_RESPONSE, "Logout Response" },
	{ ISCSI_R2T, DETAIL_DATA, "R2T" },
	{ ISCSI_ASYNC, DETAIL_NONE, "Asynchronous Message" },
	{ ISCSI_REJECT, DETAIL_RESPONSE, "Reject" },
};

static const struct kind *kind_of(uint8_t opcode)
{
	static const struct kind unknown = { 0, DETAIL_NONE, "a PDU of no known kind" };

	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].opcode == (opcode & ISCSI_OPCODE_MASK))
			return &kinds[i];
	return &unknown;
}

static void write_detail(const uint8_t *head, enum detail detail, char *out, size_t size)
{
	struct iscsi_target_pdu h;
	struct iscsi_command_pdu c;

	memcpy(&h, head, sizeof(h));
	memcpy(&c, head, sizeof(c));
	out[0] = '\0';
	switch (detail) {
	case DETAIL_CDB:
		(void)snprintf(out, size,
			       ", CDB %02x %02x %02x%02x%02x%02x%02x%02x%02x%02x "
			       "%02x%02x%02x%02x, %u bytes, CmdSN %u",
			       c.cdb[0], c.cdb[1], c.cdb[2], c.cdb[3], c.cdb[4], c.cdb[5],
			       c.cdb[6], c.cdb[7], c.cdb[8], c.cdb[9], c.cdb[10],
			       c.cdb[11], c.cdb[12], c.cdb[13], be32_get(c.expected_len),
			       be32_get(c.cmd_sn));
		break;
	case DETAIL_DATA:
		(void)snprintf(out, size, ", %u bytes at %u%s", be24_get(h.data_len),
			       be32_get(h.offset),
			       h.flags & ISCSI_FINAL ? ", final" : "");
		break;
	case DETAIL_STATUS:
		(void)snprintf(out, size, ", response %02x, status %02x, MaxCmdSN %u",
			       h.response, h.status, be32_get(h.max_cmd_sn));
		break;
	case DETAIL_RESPONSE:
		(void)snprintf(out, size, ", %02x", h.response);
		break;
	case DETAIL_NONE:
		break;
	}
}

bool iscsi_trace_line(const struct iscsi_trace *t, uint32_t i,
		      char line[static TRACE_LINE_SIZE])
{
	uint32_t left = (uint32_t)min_u64(t->count, TRACE_PDUS);
	struct iscsi_target_pdu h;
	char detail[112];

	if (i >= left)
		return false;
	uint32_t at = (t->count - left + i) % TRACE_PDUS;
	uint64_t before =
		t->pdu[(t->count - 1) % TRACE_PDUS].at - t->pdu[at].at;
	const struct kind *k = kind_of(t->pdu[at].head[0]);
	memcpy(&h, t->pdu[at].head, sizeof(h));
	write_detail(t->pdu[at].head, k->detail, detail, sizeof(detail));
	(void)snprintf(line, TRACE_LINE_SIZE, "-%llu.%03llu ms %s %s, tag %08x%s",
		       (unsigned long long)(before / NS_PER_MS),
		       (unsigned long long)(before / NS_PER_US % 1000),
		       t->pdu[at].is_ours ? ">" : "<", k->name, be32_get(h.itt), detail);
	return true;
}
