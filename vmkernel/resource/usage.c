/* SPDX-License-Identifier: Apache-2.0 */
/* schedstat: nanoseconds on a processor, nanoseconds in a queue for one, turns. */
#include "vmkernel/resource/usage.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool first_line(const char *path, char *line, int size)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	return f && fgets(line, size, f);
}

/* A thread may end while it is looked at: then it counts for nothing. */
static void add_thread(pid_t pid, const char *tid, struct usage *u)
{
	char path[96], name[32], line[128];
	unsigned long long used = 0, waited = 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", (int)pid,
		       tid);
	if (!first_line(path, line, sizeof(line)) ||
	    sscanf(line, "%llu %llu", &used, &waited) != 2)
		return;
	u->used_ns += used;
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", (int)pid, tid);
	if (!first_line(path, name, sizeof(name)) || strncmp(name, "CPU ", 4) != 0)
		return;
	u->guest_ns += used;
	u->ready_ns += waited;
}

int usage_read(pid_t pid, struct usage *ret)
{
	char path[64], line[128];
	unsigned long long size, resident = 0;
	const struct dirent *entry;
	*ret = (struct usage){ 0 };
	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			add_thread(pid, entry->d_name, ret);
	(void)closedir(dir);
	(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (first_line(path, line, sizeof(line)))
		(void)sscanf(line, "%llu %llu", &size, &resident);
	ret->resident_mb = resident * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
	return 0;
}

void usage_machine(struct usage_machine *ret)
{
	char line[256];
	unsigned long long kb;
	double mhz;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	*ret = (struct usage_machine){ .cpus = cpus > 0 ? (uint32_t)cpus : 0 };
	AUTO_FCLOSE FILE *cpu = fopen("/proc/cpuinfo", "re");
	while (cpu && !ret->mhz_of_one && fgets(line, sizeof(line), cpu))
		if (sscanf(line, "cpu MHz : %lf", &mhz) == 1 && mhz > 0 && mhz < 1e6)
			ret->mhz_of_one = (uint32_t)mhz;
	AUTO_FCLOSE FILE *memory = fopen("/proc/meminfo", "re");
	while (memory && fgets(line, sizeof(line), memory)) {
		if (sscanf(line, "MemTotal: %llu", &kb) == 1)
			ret->memory_mb = (uint32_t)(kb >> 10);
		else if (sscanf(line, "MemAvailable: %llu", &kb) == 1)
			ret->free_mb = (uint32_t)(kb >> 10);
	}
}
