/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU. Linux shares processors by weight alone. A weight that is a VM's part of a host on
 * which all VMs want all they can get keeps its reservation, too: when others want less,
 * it gets more.
 *
 * Memory. Below LOW_PERCENT free, balloons grow until HIGH_PERCENT are free; between the
 * two they stay as they are; above, they shrink by what there is to spare. A VM over its
 * limit has a balloon that keeps it there, whatever is free. From whom is taken next: who
 * has the least shares per MB that it keeps (the price of its memory), STEP_MB at a time,
 * so that VMs of one price give alike.
 */
#include "vmkernel/resource/plan.h"

#include <errno.h>
#include <stdio.h>

#include "base/align.h"

#define OVERHEAD_MB 64u
#define OVERHEAD_PART 64u /* of its memory: one in so many */
#define HIGH_PERCENT 6u
#define LOW_PERCENT 4u
#define STEP_MB 4u

uint32_t resource_overhead_mb(const struct resource_wish *wish)
{
	return OVERHEAD_MB + wish->memory_mb / OVERHEAD_PART;
}

int resource_admit(const struct resource_host *host, const struct resource_wish *running,
		   uint32_t count, const struct resource_wish *vm, char *ret_why,
		   uint32_t size)
{
	uint64_t mhz = 0, mb = 0;
	uint64_t needs_mb = (uint64_t)vm->memory_min_mb + resource_overhead_mb(vm);
	for (uint32_t i = 0; i < count; i++) {
		mhz += running[i].cpu_min_mhz;
		mb += running[i].memory_min_mb + resource_overhead_mb(&running[i]);
	}
	if (host->cpu_mhz && mhz + vm->cpu_min_mhz > host->cpu_mhz && vm->cpu_min_mhz) {
		(void)snprintf(ret_why, size,
			       "admission control: it reserves %u MHz (sched.cpu.min), "
			       "and of the host's %u MHz %u VMs have reserved %llu",
			       vm->cpu_min_mhz, host->cpu_mhz, count,
			       (unsigned long long)mhz);
		return -ENOSPC;
	}
	if (host->memory_mb && mb + needs_mb > host->memory_mb) {
		(void)snprintf(ret_why, size,
			       "admission control: it reserves %u MB (sched.mem.min) and "
			       "%u MB for itself, and of the host's %u MB %u VMs have "
			       "reserved %llu",
			       vm->memory_min_mb, resource_overhead_mb(vm),
			       host->memory_mb, count, (unsigned long long)mb);
		return -ENOSPC;
	}
	return 0;
}

/* What a VM gets when one share is worth price/2^32 MHz. */
static uint64_t part_of(const struct resource_wish *w, uint64_t price)
{
	uint64_t mhz = (uint64_t)(((unsigned __int128)w->cpu_shares * price) >> 32);
	return min_u64(max_u64(mhz, w->cpu_min_mhz), w->cpu_max_mhz);
}

void resource_divide(uint32_t mhz, const struct resource_wish *vms, uint32_t count,
		     uint32_t *ret_mhz)
{
	uint64_t low = 0, high = (uint64_t)mhz << 32;
	while (low < high) {
		uint64_t price = low + (high - low + 1) / 2, sum = 0;
		for (uint32_t i = 0; i < count; i++)
			sum += part_of(&vms[i], price);
		if (sum <= mhz)
			low = price;
		else
			high = price - 1;
	}
	for (uint32_t i = 0; i < count; i++)
		ret_mhz[i] = (uint32_t)min_u64(part_of(&vms[i], low), UINT32_MAX);
}

/* What its limit takes from a VM in any case. */
static uint32_t least_balloon(const struct resource_wish *w)
{
	uint32_t over = w->memory_mb > w->memory_max_mb ?
				w->memory_mb - w->memory_max_mb : 0;
	return (uint32_t)min_u64(over, w->balloon_max_mb);
}

/* The VM whose memory is worth the least of those that have some to give; count: none. */
static uint32_t cheapest(const struct resource_memory *vms, uint32_t count,
			 const uint32_t *balloons)
{
	uint32_t best = count;
	uint64_t best_price = UINT64_MAX;
	for (uint32_t i = 0; i < count; i++) {
		const struct resource_wish *w = &vms[i].wish;
		uint64_t kept = w->memory_mb - balloons[i];
		if (balloons[i] >= w->balloon_max_mb || kept == 0)
			continue;
		uint64_t price = ((uint64_t)w->memory_shares << 20) / kept;
		if (price < best_price) {
			best_price = price;
			best = i;
		}
	}
	return best;
}

/* How much is to be in balloons, of all VMs together. */
static uint64_t wanted(const struct resource_host *host, uint32_t free_mb, uint64_t held)
{
	uint64_t high = (uint64_t)host->memory_mb * HIGH_PERCENT / 100;
	uint64_t low = (uint64_t)host->memory_mb * LOW_PERCENT / 100;
	if (free_mb < low)
		return held + (high - free_mb);
	if (free_mb <= high)
		return held;
	return held - min_u64(held, free_mb - high);
}

void resource_balloon(const struct resource_host *host, uint32_t free_mb,
		      const struct resource_memory *vms, uint32_t count,
		      uint32_t *ret_balloon_mb)
{
	uint64_t held = 0, sum = 0;
	for (uint32_t i = 0; i < count; i++) {
		held += vms[i].balloon_mb;
		ret_balloon_mb[i] = least_balloon(&vms[i].wish);
		sum += ret_balloon_mb[i];
	}
	uint64_t all = wanted(host, free_mb, held);
	while (sum < all) {
		uint32_t i = cheapest(vms, count, ret_balloon_mb);
		if (i == count)
			return; /* the host swaps */
		uint32_t step = (uint32_t)min_u64(min_u64(STEP_MB, all - sum),
						  vms[i].wish.balloon_max_mb -
							  ret_balloon_mb[i]);
		ret_balloon_mb[i] += step;
		sum += step;
	}
}
