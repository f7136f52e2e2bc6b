/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup-try ROOT: what vmkernel does with control groups, with processes in the place of
 * VMs, and what the kernel makes of it. Prints "name value" lines, which
 * tests/cli/guest_cgroup.sh reads: it runs this in a guest whose kernel has given no
 * controller to version 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "vmkernel/resource/cgroup.h"

#define HOST "this"
#define PATH_SIZE 600
#define SECONDS 4u
#define MHZ 1000u

static void say(const char *name, const char *value)
{
	(void)printf("CG %s %s\n", name, value);
	(void)fflush(stdout);
}

static void say_rc(const char *name, int rc)
{
	say(name, rc < 0 ? strerror(-rc) : "ok");
}

static const char *is_there(const char *root, const char *name)
{
	char path[PATH_SIZE];
	(void)snprintf(path, sizeof(path), "%s/vmkernel/%s", root, name);
	return access(path, F_OK) == 0 ? "there" : "gone";
}

/* The first line of a VM's file that begins with key. */
static void say_file(const struct cgroups *g, unsigned int vm, const char *file,
		     const char *key)
{
	char path[PATH_SIZE], name[64], line[128] = "?";
	(void)snprintf(path, sizeof(path), "%s/vm-%u/%s", g->cpu, vm, file);
	(void)snprintf(name, sizeof(name), "vm-%u:%s%s", vm, file, key);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f) && strncmp(line, key, strlen(key)) != 0)
		;
	if (f)
		(void)fclose(f);
	line[strcspn(line, "\n")] = '\0';
	say(name, line + strlen(key));
}

static pid_t start(const struct cgroups *g, unsigned int vm, void (*work)(void))
{
	char name[64];
	pid_t pid = fork();
	if (pid == 0) {
		(void)raise(SIGSTOP); /* until it is in its group */
		work();
		_exit(0);
	}
	(void)waitpid(pid, NULL, WUNTRACED);
	(void)snprintf(name, sizeof(name), "enter-%u", vm);
	say_rc(name, cgroup_enter(g, vm, pid));
	return pid;
}

static void set(const struct cgroups *g, unsigned int vm, struct cgroup_limits l)
{
	char name[64];
	l.mhz_of_one = MHZ;
	(void)snprintf(name, sizeof(name), "set-%u", vm);
	say_rc(name, cgroup_set(g, vm, &l));
}

static void spin(void)
{
	for (volatile unsigned int i = 0;; i++)
		;
}

static void eat(void)
{
	size_t size = 48u << 20;
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	for (size_t i = 0; at != MAP_FAILED && i < size; i += 4096)
		at[i] = 1;
	(void)pause();
}

static void let_run(pid_t *pids, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		(void)kill(pids[i], SIGCONT);
	task_sleep_until(clock_now() + SECONDS * NS_PER_S);
}

static void end(const struct cgroups *g, pid_t *pids, unsigned int count,
		unsigned int first)
{
	for (unsigned int i = 0; i < count; i++) {
		int status = 0;
		say(waitpid(pids[i], &status, WNOHANG) == 0 ? "lives" : "died", "");
		(void)kill(pids[i], SIGKILL);
		(void)waitpid(pids[i], &status, 0);
		cgroup_remove(g, first + i);
	}
}

static void try(const char *root)
{
	struct cgroups g, other;
	char why[300] = "", path[PATH_SIZE];
	pid_t pids[2];
	const struct cgroup_limits none = { .cpu_weight = 100,
					    .cpu_max_mhz = WISH_NO_LIMIT,
					    .memory_max_mb = WISH_NO_LIMIT };
	struct cgroup_limits l = none;
	(void)snprintf(path, sizeof(path), "%s/vmkernel", root);
	(void)mkdir(path, 0755);
	(void)snprintf(path, sizeof(path), "%s/vmkernel/dead", root);
	(void)mkdir(path, 0755);
	(void)snprintf(path, sizeof(path), "%s/vmkernel/dead/vm-7", root);
	(void)mkdir(path, 0755);
	cgroups_open(&g, root, HOST, why, sizeof(why));
	say("version", g.version == 2 ? "2" : g.version == 1 ? "1" : why);
	say("dead", is_there(root, "dead"));
	cgroups_open(&other, root, "other", why, sizeof(why));
	say("swept", is_there(root, HOST)); /* it has no VM yet */

	/* two that want all, one of them with four shares for the other's one */
	pids[0] = start(&g, 1, spin);
	pids[1] = start(&g, 2, spin);
	set(&g, 1, none);
	l.cpu_weight = 400;
	set(&g, 2, l);
	let_run(pids, 2);
	say_file(&g, 1, "cpu.weight", "");
	say_file(&g, 2, "cpu.weight", "");
	say_file(&g, 1, "cpu.stat", "usage_usec ");
	say_file(&g, 2, "cpu.stat", "usage_usec ");
	cgroups_open(&other, root, "other", why, sizeof(why));
	say("used", is_there(root, HOST "/vm-1"));
	end(&g, pids, 2, 1);

	/* a fifth of a processor */
	pids[0] = start(&g, 3, spin);
	l = none;
	l.cpu_max_mhz = MHZ / 5;
	l.memory_min_mb = 8;
	set(&g, 3, l);
	let_run(pids, 1);
	say_file(&g, 3, "cpu.max", "");
	say_file(&g, 3, "memory.min", "");
	say_file(&g, 3, "cpu.stat", "usage_usec ");
	end(&g, pids, 1, 3);

	/* more memory than its limit: it is held up, not killed */
	pids[0] = start(&g, 4, eat);
	l = none;
	l.memory_max_mb = 16;
	set(&g, 4, l);
	let_run(pids, 1);
	say_file(&g, 4, "memory.high", "");
	say_file(&g, 4, "memory.events", "high ");
	say_file(&g, 4, "memory.events", "oom_kill ");
	end(&g, pids, 1, 4);

	cgroups_close(&other);
	cgroups_close(&g);
	say("left", is_there(root, ""));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		(void)fprintf(stderr, "usage: cgroup-try ROOT\n");
		return 2;
	}
	try(argv[1]);
	return 0;
}
