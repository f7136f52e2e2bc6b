/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission control: a VM is powered on only if what then runs could still be restarted.
 *
 * By slots: a slot is as large as the largest VM, in memory and in CPU; each host has as
 * many as fit into it; without the `failures` hosts that have the most there must be one
 * for every VM. By percentage: of the memory and of the CPU of all hosts, that much stays
 * free. A host that does not say what it has counts as without a limit.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/align.h"
#include "vmkernel/ha/plan.h"

#define SLOTS_UNLIMITED 100000u
#define SLOT_MHZ_LEAST 32u

struct demand {
	uint64_t vms, memory_mb, cpu_mhz;
	uint64_t slot_memory_mb, slot_cpu_mhz;
};

static void add(struct demand *d, const struct ha_vm *vm)
{
	d->vms++;
	d->memory_mb += vm->memory_mb;
	d->cpu_mhz += vm->cpu_mhz;
	d->slot_memory_mb = max_u64(d->slot_memory_mb, vm->memory_mb);
	d->slot_cpu_mhz = max_u64(d->slot_cpu_mhz, vm->cpu_mhz);
}

/* Of all VMs that are wanted on, and of this one. */
static struct demand demand_of(const struct ha_list *list, const struct ha_vm *vm)
{
	struct demand d = { .slot_memory_mb = 1, .slot_cpu_mhz = SLOT_MHZ_LEAST };
	const struct ha_vm *itself = ha_vms_find(&list->vms, vm->path);
	for (uint32_t i = 0; i < list->vms.count; i++) {
		const struct ha_vm *other = &list->vms.all[i];
		if (other->is_wanted && other != itself)
			add(&d, other);
	}
	add(&d, vm);
	return d;
}

static bool counts(const struct ha_host *host)
{
	return host->is_alive && !host->says->is_isolated && !host->says->is_closed;
}

static uint64_t slots_of(const struct ha_says *says, const struct demand *d)
{
	uint64_t slots = SLOTS_UNLIMITED;
	if (says->memory_mb)
		slots = min_u64(slots, says->memory_mb / d->slot_memory_mb);
	if (says->cpu_mhz)
		slots = min_u64(slots, says->cpu_mhz / d->slot_cpu_mhz);
	return slots;
}

static int larger_first(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x > y ? -1 : x < y;
}

static int by_slots(const struct ha_view *view, const struct demand *d, char *ret_why,
		    uint32_t size)
{
	uint64_t slots[HA_HOSTS_MAX], left = 0;
	size_t count = 0;
	for (uint32_t i = 0; i < view->host_count && count < HA_HOSTS_MAX; i++)
		if (counts(&view->hosts[i]))
			slots[count++] = slots_of(view->hosts[i].says, d);
	qsort(slots, count, sizeof(*slots), larger_first);
	for (size_t i = view->rules->failures; i < count; i++)
		left += slots[i];
	if (d->vms <= left)
		return 0;
	(void)snprintf(ret_why, size,
		       "HA admission control: %llu VMs would be on, and without the %u "
		       "largest of %zu hosts there is room for %llu (slots of %llu MB "
		       "and %llu MHz)",
		       (unsigned long long)d->vms, view->rules->failures, count,
		       (unsigned long long)left, (unsigned long long)d->slot_memory_mb,
		       (unsigned long long)d->slot_cpu_mhz);
	return -ENOSPC;
}

static bool leaves(uint64_t total, uint64_t used, uint32_t percent)
{
	return !total || (used <= total && (total - used) * 100 >= total * percent);
}

static int by_percent(const struct ha_view *view, const struct demand *d, char *ret_why,
		      uint32_t size)
{
	uint64_t memory = 0, cpu = 0;
	for (uint32_t i = 0; i < view->host_count; i++) {
		if (!counts(&view->hosts[i]))
			continue;
		memory += view->hosts[i].says->memory_mb;
		cpu += view->hosts[i].says->cpu_mhz;
	}
	if (leaves(memory, d->memory_mb, view->rules->percent) &&
	    leaves(cpu, d->cpu_mhz, view->rules->percent))
		return 0;
	(void)snprintf(ret_why, size,
		       "HA admission control: %llu of %llu MB and %llu of %llu MHz would "
		       "be taken, and %u %% are to stay free",
		       (unsigned long long)d->memory_mb, (unsigned long long)memory,
		       (unsigned long long)d->cpu_mhz, (unsigned long long)cpu,
		       view->rules->percent);
	return -ENOSPC;
}

int ha_plan_admit(const struct ha_list *list, const struct ha_view *view,
		  const struct ha_vm *vm, char *ret_why, uint32_t size)
{
	struct demand d = demand_of(list, vm);
	if (view->rules->admission == HA_ADMIT_SLOTS)
		return by_slots(view, &d, ret_why, size);
	if (view->rules->admission == HA_ADMIT_PERCENT)
		return by_percent(view, &d, ret_why, size);
	return 0;
}
