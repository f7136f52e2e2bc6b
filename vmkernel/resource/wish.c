/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMware's words. Shares: low, normal, high or custom (a number); normal is 1000 for each
 * processor and 10 for each MB. A limit is a number, "unlimited" or -1. Reservations of
 * more than the VM has are what it has.
 */
#include "vmkernel/resource/wish.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "base/parse.h"

#define CPU_NORMAL 1000u
#define MEMORY_NORMAL 10u
#define SHARES_MAX 1000000u
#define NUMBER_MAX (1u << 30)
#define MEMORY_DEFAULT_MB 256u
#define CPUS_MAX 1024u
#define BALLOON_PERCENT 65u /* of a VM's memory, as VMware's Mem.CtlMaxPercent */

struct reading {
	const struct vmxfile *f;
	char *bad;
	int rc;
};

static const char *value_of(const struct reading *rd, const char *key)
{
	return vmxfile_get_or(rd->f, key, "");
}

static void refuse(struct reading *rd, const char *key, const char *value)
{
	if (rd->rc == 0)
		(void)snprintf(rd->bad, WISH_BAD_SIZE, "%s = \"%.32s\"", key, value);
	rd->rc = -EINVAL;
}

static uint32_t number(struct reading *rd, const char *key, uint32_t max,
		       uint32_t otherwise)
{
	const char *value = value_of(rd, key);
	uint64_t n = otherwise;
	if (*value && parse_u64(value, max, &n) < 0)
		refuse(rd, key, value);
	return (uint32_t)n;
}

static uint32_t limit(struct reading *rd, const char *key)
{
	const char *value = value_of(rd, key);
	return !strcasecmp(value, "unlimited") || !strcmp(value, "-1") ?
		       WISH_NO_LIMIT : number(rd, key, NUMBER_MAX, WISH_NO_LIMIT);
}

static uint32_t shares(struct reading *rd, const char *key, uint32_t normal)
{
	const char *value = value_of(rd, key);
	if (!*value || !strcasecmp(value, "normal"))
		return normal;
	if (!strcasecmp(value, "low"))
		return normal / 2;
	if (!strcasecmp(value, "high"))
		return normal * 2;
	uint32_t n = number(rd, key, SHARES_MAX, 0);
	if (n == 0)
		refuse(rd, key, value);
	return n;
}

int resource_wish_read(const struct vmxfile *f, struct resource_wish *ret,
		       char ret_bad[static WISH_BAD_SIZE])
{
	struct reading rd = { .f = f, .bad = ret_bad };
	struct resource_wish w = {
		.cpus = number(&rd, "numvcpus", CPUS_MAX, 1),
		.memory_mb = number(&rd, "memSize", NUMBER_MAX, MEMORY_DEFAULT_MB),
		.cpu_min_mhz = number(&rd, "sched.cpu.min", NUMBER_MAX, 0),
		.cpu_max_mhz = limit(&rd, "sched.cpu.max"),
		.memory_min_mb = number(&rd, "sched.mem.min", NUMBER_MAX, 0),
		.memory_max_mb = limit(&rd, "sched.mem.max"),
	};
	const char *units = value_of(&rd, "sched.cpu.units");
	if (*units && strcasecmp(units, "mhz") != 0)
		refuse(&rd, "sched.cpu.units", units);
	w.cpus = w.cpus ? w.cpus : 1;
	w.cpu_shares = shares(&rd, "sched.cpu.shares", CPU_NORMAL * w.cpus);
	w.memory_shares = shares(&rd, "sched.mem.shares",
				 (uint32_t)min_u64(MEMORY_NORMAL * (uint64_t)w.memory_mb,
						   NUMBER_MAX));
	if (vmxfile_is_true(f, "sched.mem.pin"))
		w.memory_min_mb = w.memory_mb;
	w.memory_min_mb = (uint32_t)min_u64(w.memory_min_mb, w.memory_mb);
	uint64_t most = (uint64_t)w.memory_mb * BALLOON_PERCENT / 100;
	w.balloon_max_mb = (uint32_t)min_u64(
		number(&rd, "sched.mem.maxmemctl", NUMBER_MAX, (uint32_t)most),
		w.memory_mb - w.memory_min_mb);
	if (rd.rc == 0 && w.cpu_min_mhz > w.cpu_max_mhz)
		refuse(&rd, "sched.cpu.max", "less than sched.cpu.min");
	if (rd.rc == 0 && w.memory_min_mb > w.memory_max_mb)
		refuse(&rd, "sched.mem.max", "less than sched.mem.min");
	*ret = w;
	return rd.rc;
}
