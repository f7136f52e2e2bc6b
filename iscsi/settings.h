/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_SETTINGS_H
#define ISCSI_SETTINGS_H

/*
 * What can be set per target, under ESXi's names: the timers of the error ladder, what is
 * offered at login, how deep the queue is. One table: iscsi/settings.c, told to users in
 * vmfs-iscsi(7).
 */
#include <stdbool.h>
#include <stdint.h>

enum iscsi_setting {
	/* Times: milliseconds. */
	ISCSI_NOOP_INTERVAL,	/* silence before a ping */
	ISCSI_NOOP_TIMEOUT,	/* and then for its answer, before the session is lost */
	ISCSI_LOGIN_TIMEOUT,	/* connected, to full feature */
	ISCSI_LOGOUT_TIMEOUT,	/* for the answer to a logout */
	ISCSI_RECOVERY_TIMEOUT, /* without a session, before the path counts as dead */
	ISCSI_FAILBACK_DELAY, /* a preferred path has been up so long before it is used */
	ISCSI_APD_TIMEOUT,	/* without any path, before I/O fails at once */
	ISCSI_COMMAND_TIMEOUT,	/* one attempt of a command, before ABORT TASK */
	ISCSI_ABORT_TIMEOUT,	/* for the answer to ABORT TASK */
	ISCSI_RESET_TIMEOUT,	/* for the answer to LOGICAL UNIT RESET */
	/* Yes or no. */
	ISCSI_USE_LUN_RESET, /* a step of the ladder before the session is dropped */
	ISCSI_DELAYED_ACK, /* TCP may wait before it acknowledges */
	ISCSI_INITIAL_R2T,
	ISCSI_IMMEDIATE_DATA,
	/* Numbers. */
	ISCSI_FIRST_BURST_LENGTH,
	ISCSI_MAX_BURST_LENGTH,
	ISCSI_MAX_RECV_LENGTH,
	ISCSI_MAX_OUTSTANDING_R2T,
	ISCSI_QUEUE_DEPTH,	 /* commands of a LUN under way */
	ISCSI_QFULL_SAMPLE_SIZE, /* TASK SET FULLs that halve it; 0: none does */
	ISCSI_QFULL_THRESHOLD,	 /* commands that go well, and it grows by one */
	ISCSI_SETTING_COUNT,
};

/* All zero: the defaults. */
struct iscsi_settings {
	uint32_t value[ISCSI_SETTING_COUNT];
	bool is_set[ISCSI_SETTING_COUNT];
};

/* What holds. */
uint32_t iscsi_setting(const struct iscsi_settings *s, enum iscsi_setting which);
/* A time, in ns. */
uint64_t iscsi_setting_ns(const struct iscsi_settings *s, enum iscsi_setting which);
/* For programs: value in the unit of the table, in its limits. */
void iscsi_setting_set(struct iscsi_settings *s, enum iscsi_setting which,
		       uint32_t value);

/* "noop_interval" and so on. */
const char *iscsi_setting_name(enum iscsi_setting which);
/*
 * Sets the one of this name: "5" or "5s" seconds, "500ms"; yes, no; a number. NULL, or
 * what is wrong; *ret_is_known: there is one of this name.
 */
const char *iscsi_setting_take(struct iscsi_settings *s, const char *name,
			       const char *value, bool *ret_is_known)
	__attribute__((warn_unused_result));
/* The value as iscsi_setting_take() wants it; returns text. */
const char *iscsi_setting_text(const struct iscsi_settings *s, enum iscsi_setting which,
			       char text[static 24]);

#endif
