/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For fsck.sh: fills a volume or a mounted filesystem with virtual machines, and tells
 * what a command took.
 *
 *	fsck_bench vmfs MACHINES FILES IMAGE...	a formatted volume
 *	fsck_bench posix MACHINES FILES FOLDER	the same in a folder
 *	fsck_bench run COMMAND...		prints seconds, those of the CPU, MiB at
 *	most
 *
 * A machine is a folder with a disk of 1 GiB, of which all blocks are allocated, and
 * FILES files of some KiB.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "iscsi/open.h"
#include "vmfs/vmfs.h"

#define DISK_BYTES (1ull << 30)
#define SMALL_MAX 9000u
#define EXTENTS_MAX 32u

static const char content[SMALL_MAX];

/* Where the machines are made: a volume, or a folder. */
struct place {
	struct vmfs_volume *vol;
	const char *folder;
	unsigned int machines, files;
};

/* A volume has some 30,000 sub-blocks: of more files some stay in their descriptors. */
static uint32_t small_size(const struct place *p, unsigned int i)
{
	bool is_many = p->machines * p->files > 30000;
	return is_many && i % 4 ? 500 : 500 + i * 977 % (SMALL_MAX - 500);
}

/* ---- on a volume ---- */

static int vmfs_file(const struct place *p, const char *path, uint32_t size)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0600 };
	struct vmfs_file *file;
	int err = vmfs_file_open(p->vol, path, &options, &file, NULL);
	if (err)
		return err;
	err = size ? vmfs_file_write(file, content, size, 0)
		   : vmfs_file_allocate(file, 0, DISK_BYTES, VMFS_ALLOCATE_TBZ);
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

/* ---- in a folder ---- */

static int posix_file(const char *path, uint32_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int err = size ? write(fd, content, size) == (ssize_t)size ? 0 : -EIO
		       : -posix_fallocate(fd, 0, (off_t)DISK_BYTES);
	(void)close(fd);
	return err;
}

static int make_file(const struct place *p, const char *path, uint32_t size)
{
	return p->vol ? vmfs_file(p, path, size) : posix_file(path, size);
}

static int make_machine(const struct place *p, unsigned int number)
{
	char dir[256], path[300];
	const char *root = p->vol ? "" : p->folder;
	(void)snprintf(dir, sizeof(dir), "%s/vm%u", root, number);
	int err = p->vol	   ? vmfs_mkdir(p->vol, dir, 0755)
		  : mkdir(dir, 0755) ? -errno
				   : 0;
	(void)snprintf(path, sizeof(path), "%s/vm%u-flat.vmdk", dir, number);
	if (!err)
		err = make_file(p, path, 0);
	for (unsigned int i = 0; !err && i < p->files; i++) {
		(void)snprintf(path, sizeof(path), "%s/vmware-%u.log", dir, i);
		err = make_file(p, path, small_size(p, i));
	}
	return err;
}

static int make_all(const struct place *p)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < p->machines; i++)
		err = make_machine(p, i);
	if (err)
		(void)fprintf(stderr, "fsck_bench: %s\n", strerror(-err));
	return err ? 1 : 0;
}

static int make_on_volume(struct place *p, char **images, unsigned int count)
{
	struct reporter_stderr to_stderr;
	struct reporter *r = reporter_stderr_init(&to_stderr, "fsck_bench", REPORT_WARN);
	struct bdev *devices[EXTENTS_MAX] = { 0 };
	struct vmfs_open_options options = { .devices = devices,
					     .device_count = count,
					     .reporter = r,
					     .keeps_locks = true };
	int err = count > EXTENTS_MAX ? -E2BIG : 0, rc = 1;
	for (unsigned int i = 0; !err && i < count; i++)
		err = device_open(images[i], 0, NULL, r, &devices[i]);
	if (!err && vmfs_volume_open(&options, &p->vol) == 0) {
		rc = make_all(p);
		if (vmfs_volume_close(p->vol) != 0)
			rc = 1;
	}
	for (unsigned int i = 0; i < count && i < EXTENTS_MAX; i++)
		bdev_close(devices[i]);
	return rc;
}

/* ---- measuring ---- */

static double seconds_of(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static int run(char **command)
{
	uint64_t began = clock_now();
	struct rusage used;
	int status;
	pid_t child = fork();
	if (child < 0)
		return 1;
	if (child == 0) {
		/* What the command says is nobody's concern, but that it has no error. */
		if (!freopen("/dev/null", "w", stdout))
			_exit(126);
		(void)execvp(command[0], command);
		_exit(127);
	}
	if (wait4(child, &status, 0, &used) != child)
		return 1;
	(void)printf("%.4f %.4f %.1f\n", (double)(clock_now() - began) / 1e9,
		     seconds_of(used.ru_utime) + seconds_of(used.ru_stime),
		     (double)used.ru_maxrss / 1024);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "run"))
		return run(argv + 2);
	if (argc < 5) {
		(void)fputs("usage: fsck_bench vmfs|posix MACHINES FILES WHERE...\n"
			    "       fsck_bench run COMMAND...\n",
			    stderr);
		return 2;
	}
	struct place p = { .machines = (unsigned int)strtoul(argv[2], NULL, 10),
			   .files = (unsigned int)strtoul(argv[3], NULL, 10),
			   .folder = argv[4] };
	return strcmp(argv[1], "vmfs")
		       ? make_all(&p)
		       : make_on_volume(&p, argv + 4, (unsigned int)argc - 4);
}
