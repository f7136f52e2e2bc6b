/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of HA: see vmkernel(8), HIGH AVAILABILITY. */
#include "vmkernel/ha/settings.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/parse.h"
#include "vmkernel/ha/monitor.h"
#include "vmkernel/ha/ping.h"

void ha_settings_init(struct ha_settings *s)
{
	*s = (struct ha_settings){ .cluster = "cluster",
				   .poll_ms = 500,
				   .isolation_s = 30,
				   .tries = 5,
				   .retry_s = 120,
				   .failures = 1,
				   .percent = 25,
				   .vm_failure_s = 30,
				   .vm_uptime_s = 120,
				   .vm_io_s = 120,
				   .vm_window_s = 3600,
				   .vm_failures = 3,
				   .priority = HA_MEDIUM };
}

static const struct number {
	const char *key;
	size_t at;
	uint32_t min, max;
} numbers[] = {
	{ "ha_poll_ms", offsetof(struct ha_settings, poll_ms), 50, 60000 },
	{ "ha_grace_s", offsetof(struct ha_settings, grace_s), 0, 3600 },
	{ "ha_isolation_s", offsetof(struct ha_settings, isolation_s), 5, 3600 },
	{ "ha_restart_tries", offsetof(struct ha_settings, tries), 1, 100 },
	{ "ha_retry_s", offsetof(struct ha_settings, retry_s), 1, 3600 },
	{ "ha_failures", offsetof(struct ha_settings, failures), 0, HA_HOSTS_MAX },
	{ "ha_percent", offsetof(struct ha_settings, percent), 0, 100 },
	{ "ha_memory_mb", offsetof(struct ha_settings, memory_mb), 0, 1u << 30 },
	{ "ha_vm_failure_s", offsetof(struct ha_settings, vm_failure_s), 5, 3600 },
	{ "ha_vm_uptime_s", offsetof(struct ha_settings, vm_uptime_s), 0, 3600 },
	{ "ha_vm_io_s", offsetof(struct ha_settings, vm_io_s), 0, 3600 },
	{ "ha_vm_window_s", offsetof(struct ha_settings, vm_window_s), 1, 1u << 20 },
	{ "ha_vm_failures", offsetof(struct ha_settings, vm_failures), 1,
	  MONITOR_RESETS_MAX },
	{ "ha_cpu_mhz", offsetof(struct ha_settings, cpu_mhz), 0, 1u << 30 },
};

static int set_number(struct ha_settings *s, const struct number *n, const char *value,
		      const char *where, struct reporter *r)
{
	uint64_t got;
	if (parse_u64(value, n->max, &got) < 0 || got < n->min)
		return report_error(r, -EINVAL, "%s: %s = %s: not a number from %u to %u",
				    where, n->key, value, n->min, n->max);
	uint32_t small = (uint32_t)got;
	memcpy((char *)s + n->at, &small, sizeof(small));
	return 0;
}

/* The index of value among the words, or -EINVAL, reported. */
static int word_of(const char *key, const char *value, const char *const words[3],
		   const char *where, struct reporter *r)
{
	for (int i = 0; i < 3 && words[i]; i++)
		if (strcmp(words[i], value) == 0)
			return i;
	return report_error(r, -EINVAL, "%s: %s = %s: not %s%s%s%s%s", where, key, value,
			    words[0], words[2] ? ", " : " or ", words[1],
			    words[2] ? " or " : "", words[2] ? words[2] : "");
}

static const char *const yes_words[3] = { "no", "yes" };
static const char *const isolation_words[3] = { "leaveOn", "shutdown", "powerOff" };
static const char *const admission_words[3] = { "none", "slots", "percentage" };

static int set_word(struct ha_settings *s, const char *key, const char *value,
		    const char *where, struct reporter *r)
{
	int n = -ENOENT;
	if (strcmp(key, "ha") == 0) {
		n = word_of(key, value, yes_words, where, r);
		s->is_on = n == 1;
	} else if (strcmp(key, "ha_vm_monitoring") == 0) {
		n = word_of(key, value, yes_words, where, r);
		s->monitors_vms = n == 1;
	} else if (strcmp(key, "ha_isolation") == 0) {
		n = word_of(key, value, isolation_words, where, r);
		s->isolation = (enum ha_isolation)n;
	} else if (strcmp(key, "ha_admission") == 0) {
		n = word_of(key, value, admission_words, where, r);
		s->admission = (enum ha_admission)n;
	}
	return n < 0 ? n : 0;
}

static int set_text(char to[static HA_NAME_SIZE], const char *key, const char *value,
		    const char *where, struct reporter *r)
{
	const char *colon = strrchr(value, ':');
	uint64_t port;
	bool is_address = strcmp(key, "ha_address") == 0;
	if (is_address &&
	    (!colon || colon == value || parse_u64(colon + 1, 65535, &port) < 0))
		return report_error(r, -EINVAL, "%s: %s = %s: not ADDRESS:PORT", where,
				    key, value);
	if (!*value || strlen(value) >= HA_NAME_SIZE ||
	    (!is_address && strpbrk(value, "/ \t")))
		return report_error(r, -EINVAL,
				    "%s: %s = %s: not a name of up to %u bytes", where,
				    key, value, HA_NAME_SIZE - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

static int set_pings(struct ha_settings *s, const char *value, const char *where,
		     struct reporter *r)
{
	if (strlen(value) >= HA_PINGS_SIZE || ha_ping_check(value) < 1)
		return report_error(r, -EINVAL, "%s: ha_isolation_address = %.512s: not "
				    "1 to %u addresses", where, value, HA_PINGS_MAX);
	memcpy(s->isolation_addresses, value, strlen(value) + 1);
	return 0;
}

int ha_settings_set(struct ha_settings *s, const char *key, const char *value,
		    const char *where, struct reporter *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (strcmp(key, numbers[i].key) == 0)
			return set_number(s, &numbers[i], value, where, r);
	if (strcmp(key, "ha_cluster") == 0)
		return set_text(s->cluster, key, value, where, r);
	if (strcmp(key, "ha_address") == 0)
		return set_text(s->address, key, value, where, r);
	if (strcmp(key, "ha_isolation_address") == 0)
		return set_pings(s, value, where, r);
	if (strcmp(key, "ha_restart_priority") == 0)
		return ha_priority_parse(value, &s->priority)
			       ? 0
			       : report_error(r, -EINVAL,
					      "%s: %s = %s: not disabled, lowest, low, "
					      "medium, high or highest",
					      where, key, value);
	return set_word(s, key, value, where, r);
}
