/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A QEMU whose vmx and vmkernel have died has no disk any more (vm.c, invariant 5), but
 * it sits on the run directory's sockets. STATEDIR/vms/ID.qemu, which the VM cannot
 * write, names it: process id and start time, so that another process with its number is
 * safe.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmkernel/vm.h"

#define KILL_WAIT_MS 5000

static const char *note_path(const struct vm *vm, char *buf)
{
	char relative[48];
	(void)snprintf(relative, sizeof(relative), "vms/%u.qemu", vm->id);
	return host_path(vm->host, relative, buf);
}

/* Field 22 of /proc/PID/stat, in clock ticks since boot; 0: no such process. */
static unsigned long long start_time(pid_t pid)
{
	char path[64], line[1024];
	unsigned long long ticks = 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	const char *at = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at && sscanf(at, " %llu", &ticks) == 1 ? ticks : 0;
}

void vm_note_qemu(const struct vm *vm, pid_t pid)
{
	char path[HOST_PATH_SIZE];
	AUTO_FCLOSE FILE *f = fopen(note_path(vm, path), "we");
	if (!f || fprintf(f, "%d %llu\n", (int)pid, start_time(pid)) < 0)
		report(vm->host->reporter, REPORT_WARN, "%s: %s", path, strerror(errno));
}

void vm_kill_leftover(const struct vm *vm)
{
	char path[HOST_PATH_SIZE];
	int pid = 0;
	unsigned long long ticks = 0;
	AUTO_FCLOSE FILE *f = fopen(note_path(vm, path), "re");
	if (!f || fscanf(f, "%d %llu", &pid, &ticks) != 2 || pid < 2 || !ticks)
		return;
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	/* The pidfd pins who has the number now; then it is asked who that is. */
	if (pidfd < 0 || start_time(pid) != ticks || poll(&p, 1, 0) != 0)
		return;
	report(vm->host->reporter, REPORT_WARN,
	       "VM %u: its QEMU of an earlier power-on (process %d) is killed", vm->id,
	       pid);
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	(void)poll(&p, 1, KILL_WAIT_MS);
}
