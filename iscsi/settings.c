/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of a target as one table: name, unit, default, limits.
 *
 * Where a default is not ESXi's, LOCKING.md 14 wants it so: a lease is over 10 s after
 * its last renewal, so a dead connection has to be noticed in less.
 */
#include "iscsi/settings.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"

enum unit { UNIT_TIME, UNIT_FLAG, UNIT_NUMBER };

static const struct row {
	const char *name;
	enum unit unit;
	uint32_t normal, min, max;
} rows[ISCSI_SETTING_COUNT] = {
	[ISCSI_NOOP_INTERVAL] = { "noop_interval", UNIT_TIME, 5000, 100, 60000 },
	[ISCSI_NOOP_TIMEOUT] = { "noop_timeout", UNIT_TIME, 5000, 100, 60000 },
	[ISCSI_LOGIN_TIMEOUT] = { "login_timeout", UNIT_TIME, 15000, 100, 600000 },
	[ISCSI_LOGOUT_TIMEOUT] = { "logout_timeout", UNIT_TIME, 1000, 100, 60000 },
	[ISCSI_RECOVERY_TIMEOUT] = { "recovery_timeout", UNIT_TIME, 10000, 100, 600000 },
	[ISCSI_FAILBACK_DELAY] = { "failback_delay", UNIT_TIME, 0, 0, 600000 },
	[ISCSI_APD_TIMEOUT] = { "apd_timeout", UNIT_TIME, 140000, 1000, 99999000 },
	[ISCSI_COMMAND_TIMEOUT] = { "command_timeout", UNIT_TIME, 8000, 50, 600000 },
	[ISCSI_ABORT_TIMEOUT] = { "abort_timeout", UNIT_TIME, 5000, 50, 60000 },
	[ISCSI_RESET_TIMEOUT] = { "reset_timeout", UNIT_TIME, 10000, 50, 600000 },
	[ISCSI_USE_LUN_RESET] = { "lun_reset", UNIT_FLAG, 0, 0, 1 },
	[ISCSI_DELAYED_ACK] = { "delayed_ack", UNIT_FLAG, 1, 0, 1 },
	[ISCSI_INITIAL_R2T] = { "initial_r2t", UNIT_FLAG, 0, 0, 1 },
	[ISCSI_IMMEDIATE_DATA] = { "immediate_data", UNIT_FLAG, 1, 0, 1 },
	/*
	 * Unasked, what is on its way unread falls out of the caches of both sides: more
	 * than this makes long writes slower, not faster. The rest of a MiB is asked for
	 * at once.
	 */
	[ISCSI_FIRST_BURST_LENGTH] = { "first_burst_length", UNIT_NUMBER, 131072, 512,
				       0xffffff },
	[ISCSI_MAX_BURST_LENGTH] = { "max_burst_length", UNIT_NUMBER, 1048576, 512,
				     0xffffff },
	/* The most is what a received PDU has room for. */
	[ISCSI_MAX_RECV_LENGTH] = { "max_recv_data_segment_length", UNIT_NUMBER, 262144,
				    512, 262144 },
	/* The most is what a command has places for (session_impl.h). */
	[ISCSI_MAX_OUTSTANDING_R2T] = { "max_outstanding_r2t", UNIT_NUMBER, 4, 1, 4 },
	[ISCSI_QUEUE_DEPTH] = { "queue_depth", UNIT_NUMBER, 112, 1, 112 },
	[ISCSI_QFULL_SAMPLE_SIZE] = { "qfull_sample_size", UNIT_NUMBER, 1, 0, 64 },
	[ISCSI_QFULL_THRESHOLD] = { "qfull_threshold", UNIT_NUMBER, 8, 1, 64 },
};

uint32_t iscsi_setting(const struct iscsi_settings *s, enum iscsi_setting which)
{
	return s->is_set[which] ? s->value[which] : rows[which].normal;
}

uint64_t iscsi_setting_ns(const struct iscsi_settings *s, enum iscsi_setting which)
{
	assert(rows[which].unit == UNIT_TIME);
	return iscsi_setting(s, which) * NS_PER_MS;
}

void iscsi_setting_set(struct iscsi_settings *s, enum iscsi_setting which, uint32_t value)
{
	s->value[which] =
		(uint32_t)min_u64(max_u64(value, rows[which].min), rows[which].max);
	s->is_set[which] = true;
}

const char *iscsi_setting_name(enum iscsi_setting which)
{
	return rows[which].name;
}

/* Seconds, or milliseconds with "ms" behind; as milliseconds. */
static bool read_time(const char *text, uint64_t *ret_ms)
{
	size_t digits = strspn(text, "0123456789");
	char number[12];

	if (digits == 0 || digits >= sizeof(number))
		return false;
	bool is_ms = strcmp(text + digits, "ms") == 0;
	if (!is_ms && text[digits] && strcmp(text + digits, "s") != 0)
		return false;
	(void)snprintf(number, sizeof(number), "%.*s", (int)digits, text);
	if (parse_u64(number, UINT32_MAX, ret_ms) < 0)
		return false;
	*ret_ms *= is_ms ? 1 : 1000;
	return true;
}

static bool read_value(enum unit unit, const char *text, uint64_t *ret_value)
{
	switch (unit) {
	case UNIT_TIME:
		return read_time(text, ret_value);
	case UNIT_FLAG:
		*ret_value = strcmp(text, "yes") == 0;
		return *ret_value || strcmp(text, "no") == 0;
	default:
		return parse_u64(text, UINT32_MAX, ret_value) == 0;
	}
}

const char *iscsi_setting_take(struct iscsi_settings *s, const char *name,
			       const char *value, bool *ret_is_known)
{
	static const char *const wrong[] = {
		[UNIT_TIME] = "a time is a number of seconds, or of milliseconds (500ms)",
		[UNIT_FLAG] = "it has a key that is yes or no, and is neither",
		[UNIT_NUMBER] = "it has a key that is a number, and is none",
	};
	const struct row *row = rows, *end = rows + ISCSI_SETTING_COUNT;
	uint64_t n;

	while (row < end && strcmp(row->name, name) != 0)
		row++;
	*ret_is_known = row < end;
	if (row == end)
		return "there is no such key";
	if (!read_value(row->unit, value, &n))
		return wrong[row->unit];
	if (n < row->min || n > row->max)
		return "a number or time is outside of its limits, see vmfs-iscsi(7)";
	iscsi_setting_set(s, (enum iscsi_setting)(row - rows), (uint32_t)n);
	return NULL;
}

const char *iscsi_setting_text(const struct iscsi_settings *s, enum iscsi_setting which,
			       char text[static 24])
{
	uint32_t n = iscsi_setting(s, which);

	if (rows[which].unit == UNIT_FLAG)
		(void)snprintf(text, 24, "%s", n ? "yes" : "no");
	else if (rows[which].unit == UNIT_TIME && n % 1000)
		(void)snprintf(text, 24, "%ums", n);
	else
		(void)snprintf(text, 24, "%u",
			       rows[which].unit == UNIT_TIME ? n / 1000 : n);
	return text;
}
