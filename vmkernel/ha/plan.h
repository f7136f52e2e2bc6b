/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_PLAN_H
#define VMKERNEL_HA_PLAN_H

/*
 * What a master decides: pure functions of what was read. No I/O, no clock, no chance;
 * every decision is told in one line.
 */
#include "base/report.h"
#include "vmkernel/ha/roster.h"

struct ha_host {
	const struct ha_says *says;
	bool is_alive;
	const char *dead_why; /* how that is known */
};

enum ha_admission { HA_ADMIT_ALL, HA_ADMIT_SLOTS, HA_ADMIT_PERCENT };

struct ha_rules {
	uint32_t tries_max;   /* that may fail, of one VM */
	uint64_t retry_ns;    /* before the second try; doubled with each */
	uint64_t order_ns;    /* so long a living host may take for an order */
	uint32_t at_once;     /* orders under way on one host */
	enum ha_admission admission;
	uint32_t failures;    /* of hosts to be survived (slots) */
	uint32_t percent;     /* of the cluster to be kept free (percent) */
};

struct ha_view {
	const char *label;	/* of the datastore, for the lines */
	const struct ha_host *hosts;
	uint32_t host_count;
	const struct ha_rules *rules;
	uint64_t now;		/* ns */
	struct reporter *events;
};

/*
 * list->vms becomes the last word about each VM: of what was on the list, and what the
 * hosts say. 0 or -ENOMEM.
 */
int ha_plan_merge(struct ha_list *list, const struct ha_view *view)
	__attribute__((warn_unused_result));
/*
 * list->restarts becomes what is to be done next: VMs that should be on and are not get
 * an order for one of the living hosts. 0 or -ENOMEM.
 */
int ha_plan_restarts(struct ha_list *list, const struct ha_view *view)
	__attribute__((warn_unused_result));
/*
 * May this VM be powered on, by an admin? 0; -ENOSPC with ret_why (size bytes): the
 * others could not all be restarted after the failures that the rules speak of.
 */
int ha_plan_admit(const struct ha_list *list, const struct ha_view *view,
		  const struct ha_vm *vm, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));

#endif
