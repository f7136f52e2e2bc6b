/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What SCSI status and sense data mean for a command, as one place that all commands
 * share (LOCKING.md 4 has the table for COMPARE AND WRITE; SPC-4 4.5 and annex D the
 * codes).
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/scsi.h"

enum {
	KEY_RECOVERED = 0x1,
	KEY_NOT_READY = 0x2,
	KEY_MEDIUM = 0x3,
	KEY_HARDWARE = 0x4,
	KEY_ILLEGAL = 0x5,
	KEY_ATTENTION = 0x6,
	KEY_PROTECT = 0x7,
	KEY_ABORTED = 0xb,
	KEY_MISCOMPARE = 0xe,
};

struct scsi_sense scsi_sense_parse(const uint8_t *sense, uint32_t len)
{
	struct scsi_sense s = { 0, 0, 0 };

	if (len >= 4 && (sense[0] & 0x7e) == 0x72)
		s = (struct scsi_sense){ sense[1] & 0xf, sense[2], sense[3] };
	else if (len >= 3 && (sense[0] & 0x7e) == 0x70)
		s = (struct scsi_sense){ sense[2] & 0xf, len > 12 ? sense[12] : 0,
					 len > 13 ? sense[13] : 0 };
	return s;
}

bool scsi_sense_lba(const uint8_t *sense, uint32_t len, uint64_t *ret_lba)
{
	be32 fixed;
	be64 wide;

	if (len >= 8 && (sense[0] & 0xfe) == 0xf0) { /* bit 7: the field is valid */
		memcpy(fixed.b, sense + 3, sizeof(fixed.b));
		*ret_lba = be32_get(fixed);
		return true;
	}
	if (len < 8 || (sense[0] & 0x7e) != 0x72)
		return false;
	/* Descriptors: type, length, then for type 0 a byte with "valid" in bit 7. */
	for (uint32_t at = 8; at + 12 <= len; at += 2u + sense[at + 1]) {
		if (sense[at] != 0 || sense[at + 1] != 10 || !(sense[at + 2] & 0x80))
			continue;
		memcpy(wide.b, sense + at + 4, sizeof(wide.b));
		*ret_lba = be64_get(wide);
		return true;
	}
	return false;
}

const char *scsi_sense_text(struct scsi_sense sense)
{
	static const char *const keys[16] = {
		"no sense",	  "recovered error", "not ready",      "medium error",
		"hardware error", "illegal request", "unit attention", "data protect",
		"blank check",	  "vendor specific", "copy aborted",   "aborted command",
		"reserved",	  "volume overflow", "miscompare",     "completed",
	};
	return keys[sense.key & 0xf];
}

static int judge_illegal(struct scsi_sense s)
{
	switch (s.asc) {
	case 0x20: /* invalid opcode */
	case 0x24: /* invalid field in the CDB */
	case 0x26: /* invalid field in the parameter list */
		return -EOPNOTSUPP;
	case 0x21: /* LBA out of range */
		return -EINVAL;
	case 0x25: /* no such logical unit */
		return -ENODEV;
	default:
		return -EIO;
	}
}

static enum scsi_verdict judge_sense(struct scsi_sense s, int *ret_error)
{
	*ret_error = -EIO;
	switch (s.key) {
	case KEY_RECOVERED:
		return SCSI_DONE;
	case KEY_NOT_READY:
		if (s.asc == 0x3a) {
			*ret_error = -ENODEV;
			return SCSI_FAILED;
		}
		*ret_error = -EBUSY;
		return SCSI_LATER;
	case KEY_HARDWARE:
		/* The unit has failed for good; VMware takes these for PDL. */
		if (s.asc == 0x4c || (s.asc == 0x3e && (s.ascq == 1 || s.ascq == 3)))
			*ret_error = -ENODEV;
		return SCSI_FAILED;
	case KEY_ILLEGAL:
		*ret_error = judge_illegal(s);
		return SCSI_FAILED;
	case KEY_ATTENTION:
		/* 2A/03, 2A/05: preempted; with a key of ours that means fenced. */
		*ret_error = s.asc == 0x2a && (s.ascq == 3 || s.ascq == 5) ? -ESTALE
									   : -ETIMEDOUT;
		return SCSI_ATTENTION;
	case KEY_PROTECT:
		*ret_error = s.asc == 0x27 && s.ascq == 7 ? -ENOSPC : -EROFS;
		return SCSI_FAILED;
	case KEY_ABORTED:
		*ret_error = -ETIMEDOUT;
		return SCSI_UNKNOWN;
	case KEY_MISCOMPARE:
		*ret_error = s.asc == 0x1d ? -EILSEQ : -EIO;
		return SCSI_FAILED;
	default:
		return SCSI_FAILED;
	}
}

enum scsi_verdict scsi_judge(uint8_t status, struct scsi_sense sense, int *ret_error)
{
	switch (status) {
	case SCSI_CHECK_CONDITION:
		return judge_sense(sense, ret_error);
	case SCSI_BUSY:
	case SCSI_TASK_SET_FULL:
		*ret_error = -EBUSY;
		return SCSI_LATER;
	case SCSI_RESERVATION_CONFLICT:
		*ret_error = -EBUSY;
		return SCSI_CONFLICT;
	case SCSI_TASK_ABORTED:
		*ret_error = -ETIMEDOUT;
		return SCSI_UNKNOWN;
	default:
		*ret_error = -EIO;
		return SCSI_FAILED;
	}
}
