/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What SCSI status and sense data mean for a command, as one place that all commands
 * share (LOCKING.md 4 has the table for COMPARE AND WRITE; SPC-4 4.5 and annex D the
 * codes).
 */
#include <errno.h>
#include <stdio.h>
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

#define ANY 0xffu /* a qualifier: of them all, behind those that have a row */

/* What an admin meets, of the codes of SPC-4 annex D. */
static const struct {
	uint8_t asc, ascq;
	const char *text;
} details[] = {
	{ 0x03, ANY, "a write failed inside of the device" },
	{ 0x04, 0x01, "it is about to become ready" },
	{ 0x04, 0x02, "it waits to be started" },
	{ 0x04, 0x03, "somebody has to look after it" },
	{ 0x04, 0x04, "it is being formatted" },
	{ 0x04, 0x07, "it is busy with something long" },
	{ 0x04, 0x09, "it is testing itself" },
	{ 0x04, 0x0a, "the path is changing its access state" },
	{ 0x04, 0x0b, "the path is in standby" },
	{ 0x04, 0x0c, "the path is unavailable" },
	{ 0x04, 0x1b, "it is being erased" },
	{ 0x08, ANY, "the target does not get through to it" },
	{ 0x0c, ANY, "a block cannot be written" },
	{ 0x10, ANY, "the protection of a block is wrong" },
	{ 0x11, ANY, "a block cannot be read" },
	{ 0x1a, ANY, "parameters of another length than it wants" },
	{ 0x1d, ANY, "a block is not what was expected" },
	{ 0x20, ANY, "it does not know the command" },
	{ 0x21, ANY, "a block beyond its end" },
	{ 0x24, ANY, "it does not take a field of the command" },
	{ 0x25, ANY, "there is no such LUN" },
	{ 0x26, 0x04, "a reservation is released that is of another kind" },
	{ 0x26, ANY, "it does not take a field of the parameters" },
	{ 0x27, 0x07, "thin provisioning has run out of space" },
	{ 0x27, ANY, "it is write-protected" },
	{ 0x2c, ANY, "not in this order" },
	{ 0x31, ANY, "its format is damaged" },
	{ 0x3a, ANY, "it has no medium" },
	{ 0x3e, 0x01, "the device has failed" },
	{ 0x3e, 0x02, "the device did not answer the target in time" },
	{ 0x3e, 0x03, "the device has failed its own test" },
	{ 0x44, ANY, "something inside of the target failed" },
	{ 0x47, ANY, "data were damaged on their way" },
	{ 0x4b, ANY, "the data did not come as they should" },
	{ 0x4c, ANY, "it could not configure itself" },
	{ 0x4e, ANY, "a tag was used twice" },
	{ 0x55, 0x04, "it has no room for another registration" },
	{ 0x55, ANY, "it has no resources left for that" },
};

const char *scsi_sense_detail(struct scsi_sense sense)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(details); i++)
		if (details[i].asc == sense.asc &&
		    (details[i].ascq == sense.ascq || details[i].ascq == ANY))
			return details[i].text;
	return NULL;
}

const char *scsi_sense_codes(struct scsi_sense sense, char text[static SCSI_CODES_SIZE])
{
	const char *detail = scsi_sense_detail(sense);

	(void)snprintf(text, SCSI_CODES_SIZE, "%02x/%02x/%02x%s%s", sense.key, sense.asc,
		       sense.ascq, detail ? ": " : "", detail ? detail : "");
	return text;
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
