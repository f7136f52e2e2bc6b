/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/slowdisk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"

#define START_MS 5000

static void run_server(const struct slowdisk *d, unsigned int write_ms,
		       unsigned int read_ms)
{
	char wr[32], rd[32];
	(void)snprintf(wr, sizeof(wr), "delay-write=%ums", write_ms);
	(void)snprintf(rd, sizeof(rd), "delay-read=%ums", read_ms);
	int null_fd = open("/dev/null", O_RDWR);
	(void)dup2(null_fd, 1);
	(void)dup2(null_fd, 2);
	(void)execlp("nbdfuse", "nbdfuse", d->path, "--command", "nbdkit", "-s",
		     "--filter=delay", "file", d->backing, wr, rd, (char *)NULL);
	_exit(127);
}

static void unmount(const struct slowdisk *d)
{
	pid_t pid = fork();
	if (pid == 0) {
		(void)execlp("fusermount3", "fusermount3", "-u", "-q", d->dir,
			     (char *)NULL);
		_exit(127);
	}
	(void)waitpid(pid, NULL, 0);
}

int slowdisk_start(struct slowdisk *d, off_t size, unsigned int write_ms,
		   unsigned int read_ms)
{
	struct stat st;
	*d = (struct slowdisk){ 0 };
	(void)snprintf(d->dir, sizeof(d->dir), "/tmp/slowdisk.XXXXXX");
	if (access("/dev/fuse", R_OK | W_OK) < 0 || !mkdtemp(d->dir))
		return -1;
	(void)snprintf(d->path, sizeof(d->path), "%s/disk", d->dir);
	(void)snprintf(d->backing, sizeof(d->backing), "%s.backing", d->dir);
	int file_fd = open(d->backing, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file_fd < 0 || ftruncate(file_fd, size) < 0)
		return -1;
	(void)close(file_fd);
	d->pid = fork();
	if (d->pid == 0)
		run_server(d, write_ms, read_ms);
	for (unsigned int ms = 0; ms < START_MS; ms += 10) {
		if (stat(d->path, &st) == 0 && st.st_size > 0)
			return 0;
		if (d->pid <= 0 || waitpid(d->pid, NULL, WNOHANG) != 0)
			break;
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	}
	d->pid = 0;
	slowdisk_stop(d);
	return -1;
}

void slowdisk_stop(struct slowdisk *d)
{
	unmount(d);
	if (d->pid > 0)
		(void)waitpid(d->pid, NULL, 0);
	(void)rmdir(d->dir);
	(void)unlink(d->backing);
}
