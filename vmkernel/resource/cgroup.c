/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	version 1: ROOT/cpu/vmkernel/HOST/vm-ID      cpu.shares, cpu.cfs_quota_us
 *	           ROOT/memory/vmkernel/HOST/vm-ID   memory.limit_in_bytes, ...
 *	version 2: ROOT/vmkernel/HOST/vm-ID          cpu.weight, cpu.max, memory.high ...
 *
 * A VM that meets its limit of memory is made to swap, never killed: version 2 has
 * memory.high for that; version 1 kills where there is no swap, so there the limit is the
 * balloon's alone.
 *
 * A host that is killed leaves its folders. They go when the next one opens, whose ever
 * they are: one with a process in it stays by itself, and a host that lives and has no VM
 * makes its own anew when it gets one (cgroup_enter).
 */
#include "vmkernel/resource/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/align.h"
#include "base/cleanup.h"

#define PATH_SIZE 768u
#define PERIOD_US 100000u
#define QUOTA_LEAST_US 1000u
#define V1_SHARES_MAX 262144u
#define V2_WEIGHT_MAX 10000u
#define FOLDER "vmkernel"
#define TRIES 5u

__attribute__((format(printf, 2, 3))) static int put(const char *path, const char *fmt,
						     ...)
{
	char text[96];
	va_list ap;
	va_start(ap, fmt);
	int len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	AUTO_CLOSE int file_fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (file_fd < 0)
		return -errno;
	return write(file_fd, text, (size_t)len) == len ? 0 : -errno;
}

static int make(const char *path)
{
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* ---- the host's ---- */

/* Version 2: the controllers are to be had in the folders below this one. */
static int give_down(const char *dir)
{
	char path[PATH_SIZE];
	(void)snprintf(path, sizeof(path), "%.700s/cgroup.subtree_control", dir);
	return put(path, "+cpu +memory");
}

/* dir and the folder above it, which is in one that exists. */
static int make_host(const char *dir, bool is_v2)
{
	char above[PATH_SIZE];
	(void)snprintf(above, sizeof(above), "%.*s", (int)(strrchr(dir, '/') - dir), dir);
	int rc = make(above);
	if (rc == 0 && is_v2)
		rc = give_down(above);
	if (rc == 0)
		rc = make(dir);
	return rc == 0 && is_v2 ? give_down(dir) : rc;
}

static int open_host(char ret_path[512], const char *root, const char *host, bool is_v2)
{
	int rc = is_v2 ? give_down(root) : 0;
	(void)snprintf(ret_path, 512, "%.400s/" FOLDER "/%.64s", root, host);
	return rc ? rc : make_host(ret_path, is_v2);
}

/* Removes what is empty in dir, and in what is there; files are the kernel's. */
static void sweep(const char *dir, unsigned int levels)
{
	char path[PATH_SIZE];
	const struct dirent *entry;
	DIR *d = levels ? opendir(dir) : NULL;
	while (d && (entry = readdir(d)) != NULL) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%.400s/%.255s", dir, entry->d_name);
		sweep(path, levels - 1);
		(void)rmdir(path);
	}
	if (d)
		(void)closedir(d);
}

static void sweep_hosts(const char *root)
{
	char path[PATH_SIZE];
	(void)snprintf(path, sizeof(path), "%.700s/" FOLDER, root);
	sweep(path, 2); /* hosts, and VMs of each */
}

static bool has_both(const char *root)
{
	char path[PATH_SIZE], line[256] = "";
	(void)snprintf(path, sizeof(path), "%.700s/cgroup.controllers", root);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	bool has_cpu = false, has_memory = false;
	char *rest = f && fgets(line, sizeof(line), f) ? line : NULL, *word;
	while ((word = strsep(&rest, " \n")) != NULL) {
		has_cpu |= strcmp(word, "cpu") == 0;
		has_memory |= strcmp(word, "memory") == 0;
	}
	return has_cpu && has_memory;
}

void cgroups_open(struct cgroups *g, const char *root, const char *host, char *ret_why,
		  uint32_t size)
{
	char cpu[PATH_SIZE], memory[PATH_SIZE];
	bool is_v2 = has_both(root);
	*g = (struct cgroups){ 0 };
	(void)snprintf(cpu, sizeof(cpu), "%s%s", root, is_v2 ? "" : "/cpu");
	(void)snprintf(memory, sizeof(memory), "%s%s", root, is_v2 ? "" : "/memory");
	if (access(cpu, F_OK) < 0 || access(memory, F_OK) < 0) {
		(void)snprintf(ret_why, size, "%s: no controllers cpu and memory there",
			       root);
		return;
	}
	sweep_hosts(cpu);
	sweep_hosts(memory);
	int rc = open_host(g->cpu, cpu, host, is_v2);
	if (rc == 0)
		rc = open_host(g->memory, memory, host, is_v2);
	if (rc == 0)
		g->version = is_v2 ? 2 : 1;
	else
		(void)snprintf(ret_why, size, "%s: %s", root, strerror(-rc));
}

static void remove_host(char *path)
{
	(void)rmdir(path);
	char *slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	(void)rmdir(path); /* another host may be there */
}

void cgroups_close(struct cgroups *g)
{
	if (!g->version)
		return;
	remove_host(g->cpu);
	remove_host(g->memory);
	g->version = 0;
}

/* ---- a VM's ---- */

static const char *path_of(char buf[PATH_SIZE], const char *where, uint32_t vm,
			   const char *file)
{
	(void)snprintf(buf, PATH_SIZE, "%s/vm-%u/%s", where, vm, file);
	return buf;
}

static int enter(const char *where, uint32_t vm, int pid, bool is_v2)
{
	char path[PATH_SIZE];
	int rc = -ENOENT;
	/* Until the process is in it, another host that opens sweeps it away. */
	for (unsigned int i = 0; rc == -ENOENT && i < TRIES; i++) {
		rc = make_host(where, is_v2);
		if (rc == 0)
			rc = make(path_of(path, where, vm, ""));
		if (rc == 0)
			rc = put(path_of(path, where, vm, "cgroup.procs"), "%d", pid);
	}
	return rc;
}

int cgroup_enter(const struct cgroups *g, uint32_t vm, int pid)
{
	int rc = enter(g->cpu, vm, pid, g->version == 2);
	return rc == 0 && g->version == 1 ? enter(g->memory, vm, pid, false) : rc;
}

static void keep_first(int *rc, int again)
{
	*rc = *rc ? *rc : again;
}

/* Microseconds of each PERIOD_US; 0: all of them. */
static uint64_t quota_us(const struct cgroup_limits *l)
{
	if (l->cpu_max_mhz == WISH_NO_LIMIT || !l->mhz_of_one)
		return 0;
	return max_u64((uint64_t)l->cpu_max_mhz * PERIOD_US / l->mhz_of_one,
		       QUOTA_LEAST_US);
}

static unsigned long long bytes(uint32_t mb)
{
	return (unsigned long long)mb << 20;
}

static int set_v1(const struct cgroups *g, uint32_t vm, const struct cgroup_limits *l)
{
	char path[PATH_SIZE];
	struct sysinfo info;
	uint64_t quota = quota_us(l);
	bool may_swap = sysinfo(&info) == 0 && info.totalswap;
	int rc = put(path_of(path, g->cpu, vm, "cpu.shares"), "%llu",
		     (unsigned long long)min_u64(max_u64(l->cpu_weight, 2),
						 V1_SHARES_MAX));
	keep_first(&rc, put(path_of(path, g->cpu, vm, "cpu.cfs_period_us"), "%u",
			    PERIOD_US));
	keep_first(&rc, put(path_of(path, g->cpu, vm, "cpu.cfs_quota_us"), "%lld",
			    quota ? (long long)quota : -1));
	/* What is above it goes first when memory is short. */
	keep_first(&rc, put(path_of(path, g->memory, vm, "memory.soft_limit_in_bytes"),
			    "%llu", bytes(l->memory_min_mb)));
	if (l->memory_max_mb == WISH_NO_LIMIT || !may_swap)
		keep_first(&rc, put(path_of(path, g->memory, vm, "memory.limit_in_bytes"),
				    "-1"));
	else
		keep_first(&rc, put(path_of(path, g->memory, vm, "memory.limit_in_bytes"),
				    "%llu", bytes(l->memory_max_mb)));
	return rc;
}

static int set_v2(const struct cgroups *g, uint32_t vm, const struct cgroup_limits *l)
{
	char path[PATH_SIZE];
	uint64_t quota = quota_us(l);
	int rc = put(path_of(path, g->cpu, vm, "cpu.weight"), "%llu",
		     (unsigned long long)min_u64(max_u64(l->cpu_weight, 1),
						 V2_WEIGHT_MAX));
	(void)path_of(path, g->cpu, vm, "cpu.max");
	keep_first(&rc, quota ? put(path, "%llu %u", (unsigned long long)quota,
				    PERIOD_US)
			      : put(path, "max %u", PERIOD_US));
	keep_first(&rc, put(path_of(path, g->memory, vm, "memory.min"), "%llu",
			    bytes(l->memory_min_mb)));
	(void)path_of(path, g->memory, vm, "memory.high");
	keep_first(&rc, l->memory_max_mb == WISH_NO_LIMIT ?
				put(path, "max") :
				put(path, "%llu", bytes(l->memory_max_mb)));
	return rc;
}

int cgroup_set(const struct cgroups *g, uint32_t vm, const struct cgroup_limits *l)
{
	return g->version == 2 ? set_v2(g, vm, l) : set_v1(g, vm, l);
}

void cgroup_remove(const struct cgroups *g, uint32_t vm)
{
	char path[PATH_SIZE];
	if (!g->version)
		return;
	(void)rmdir(path_of(path, g->cpu, vm, ""));
	(void)rmdir(path_of(path, g->memory, vm, ""));
}
