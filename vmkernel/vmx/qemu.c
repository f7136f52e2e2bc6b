/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether exec worked is known by a pipe that is close-on-exec: closed without a byte, it
 * did; else the child sends errno.
 */
#include "vmkernel/vmx/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define COMPLAINT "qemu-system-"

/* In the child; async-signal-safe calls only. */
static void become_qemu(const struct cmdline *line, int log_fd, const int *kept,
			unsigned int kept_count, int report_fd)
{
	struct rlimit none = { 0, 0 };
	sigset_t all;
	(void)sigemptyset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	int null_fd = open("/dev/null", O_RDONLY);
	bool is_ready = null_fd >= 0 && dup2(null_fd, 0) == 0 && dup2(log_fd, 1) == 1 &&
			dup2(log_fd, 2) == 2 && setrlimit(RLIMIT_CORE, &none) == 0 &&
			setsid() > 0;
	for (unsigned int i = 0; is_ready && i < kept_count; i++)
		is_ready = fcntl(kept[i], F_SETFD, 0) == 0;
	if (is_ready)
		(void)execvp(line->argv[0], line->argv);
	int error = errno;
	ssize_t n = write(report_fd, &error, sizeof(error));
	(void)n; /* the parent sees our end in any case */
	_exit(127);
}

int qemu_start(const struct cmdline *line, int log_fd, const int *kept,
	       unsigned int kept_count, struct reporter *r, pid_t *ret_pid)
{
	int ends[2], error = 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return report_error(r, -errno, "pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid == 0)
		become_qemu(line, log_fd, kept, kept_count, ends[1]);
	(void)close(ends[1]);
	ssize_t n = pid < 0 ? 0 : read(ends[0], &error, sizeof(error));
	int fork_error = pid < 0 ? errno : 0;
	(void)close(ends[0]);
	if (pid < 0)
		return report_error(r, -fork_error, "fork: %s", strerror(fork_error));
	if (n == (ssize_t)sizeof(error)) {
		(void)waitpid(pid, NULL, 0);
		return report_error(
			r, -error, "cannot start %s: %s", line->argv[0],
			error == ENOENT || error == EACCES
				? "no such program that the VM's user may run (is "
				  "QEMU installed?)"
				: strerror(error));
	}
	*ret_pid = pid;
	return 0;
}

void qemu_complaint(const char *log_path, off_t offset, char *ret_text, unsigned int size)
{
	char line[1024];
	AUTO_FCLOSE FILE *f = fopen(log_path, "re");
	ret_text[0] = '\0';
	if (!f || fseeko(f, offset, SEEK_SET) < 0)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, COMPLAINT, strlen(COMPLAINT)) != 0 ||
		    strstr(line, "warning:"))
			continue;
		line[strcspn(line, "\n")] = '\0';
		(void)snprintf(ret_text, size, "%s", line);
	}
}
