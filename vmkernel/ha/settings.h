/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_SETTINGS_H
#define VMKERNEL_HA_SETTINGS_H

/* What the configuration file says of HA: keys that begin with ha. */
#include "vmkernel/ha/agent.h"

#define HA_PINGS_SIZE 512u

struct ha_settings {
	bool is_on;
	char cluster[HA_NAME_SIZE];
	char address[HA_NAME_SIZE]; /* "ADDRESS:PORT"; "": no network heartbeats */
	char isolation_addresses[HA_PINGS_SIZE]; /* as written; "": none */
	uint32_t poll_ms, grace_s, isolation_s, tries, retry_s, failures, percent;
	uint32_t memory_mb, cpu_mhz; /* 0: what the machine has */
	bool monitors_vms;
	uint32_t vm_failure_s, vm_uptime_s, vm_io_s, vm_window_s, vm_failures;
	enum ha_isolation isolation;
	enum ha_admission admission;
	enum ha_priority priority; /* of VMs whose .vmx file says nothing */
};

void ha_settings_init(struct ha_settings *s);
/* 0; -ENOENT: not one of ours; -EINVAL: a bad value (reported; where names the place). */
int ha_settings_set(struct ha_settings *s, const char *key, const char *value,
		    const char *where, struct reporter *r)
	__attribute__((warn_unused_result));

#endif
