/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOUNT_CALLS_H
#define MOUNT_CALLS_H

/* Small words for calls on a mount, for programs of one file. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/mount/points.h"

#define OTHER 65534u
#define ANOTHER 65533u
#define AT 1000000000 /* seconds: a time long ago */

static inline int make(const char *path, mode_t mode)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);
	return fd < 0 ? fd : close(fd);
}

static inline int opens(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);
	return fd < 0 ? fd : close(fd);
}

static inline struct stat look(const char *path)
{
	struct stat st = { 0 };
	(void)lstat(path, &st);
	return st;
}

static inline int rename2(const char *from, const char *to, unsigned int flags)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

static inline void become(uid_t uid, gid_t gid)
{
	if (seteuid(0) || setegid(gid) || seteuid(uid))
		_exit(99);
}

static inline void become_root(void)
{
	if (seteuid(0) || setegid(0))
		_exit(99);
}

static inline void set_old(const char *path)
{
	const struct timespec old[2] = { { AT, 0 }, { AT + 1, 0 } };
	fails(utimensat(AT_FDCWD, path, old, AT_SYMLINK_NOFOLLOW), 0, "a time is set");
}

#endif
