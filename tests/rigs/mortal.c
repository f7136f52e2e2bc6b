/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkernel that is killed (SIGKILL) before it does one thing that another process could
 * see: the DIES_AT-th write to a device, rename or unlink, counted from its first look at
 * the note of a VM's locks (vmkernel/lapse.c). All that it did until then is appended to
 * the file DIES_LOG, in words. With STOPS set it is stopped there (SIGSTOP) instead.
 * Without DIES_AT it lives. Linked with --wrap of what is below.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
ssize_t __real_pwrite64(int file_fd, const void *buf, size_t len, off_t at);
ssize_t __wrap_pwrite64(int file_fd, const void *buf, size_t len, off_t at);
ssize_t __real_pwritev64v2(int file_fd, const struct iovec *v, int count, off_t at,
			   int flags);
ssize_t __wrap_pwritev64v2(int file_fd, const struct iovec *v, int count, off_t at,
			   int flags);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);

static atomic_bool is_armed;
static atomic_uint done;

static void step(const char *what, const char *name)
{
	const char *at = getenv("DIES_AT"), *log = getenv("DIES_LOG");
	if (!at || !atomic_load(&is_armed))
		return;
	unsigned int n = atomic_fetch_add(&done, 1) + 1;
	bool dies = n == (unsigned int)atoi(at);
	int log_fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)
			 : -1;
	if (log_fd >= 0) {
		dprintf(log_fd, "%s%u %s %s\n", dies ? "dies before " : "", n, what,
			name);
		(void)close(log_fd);
	}
	if (dies)
		(void)kill(getpid(), getenv("STOPS") ? SIGSTOP : SIGKILL);
}

static const char *last_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	const char *dot = strrchr(path, '.');
	if (dot && strcmp(dot, ".locks") == 0)
		atomic_store(&is_armed, true);
	return __real_fopen64(path, mode);
}

static const char *place(off_t at, char *buf, size_t size)
{
	(void)snprintf(buf, size, "at 0x%llx", (unsigned long long)at);
	return buf;
}

ssize_t __wrap_pwrite64(int file_fd, const void *buf, size_t len, off_t at)
{
	char text[32];
	step("write", place(at, text, sizeof(text)));
	return __real_pwrite64(file_fd, buf, len, at);
}

ssize_t __wrap_pwritev64v2(int file_fd, const struct iovec *v, int count, off_t at,
			   int flags)
{
	char text[32];
	step("write", place(at, text, sizeof(text)));
	return __real_pwritev64v2(file_fd, v, count, at, flags);
}

int __wrap_rename(const char *from, const char *to)
{
	step("rename", last_of(to));
	return __real_rename(from, to);
}

int __wrap_unlink(const char *path)
{
	step("unlink", last_of(path));
	return __real_unlink(path);
}
