/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_ARGUMENTS_H
#define FUSE_ARGUMENTS_H

/* The command line of vmfs-fuse. */
#include "base/report.h"
#include "fuse/mount.h"
#include "vmfs/format.h"

struct arguments {
	char *devices[LVM_EXTENTS_MAX];
	unsigned int device_count;
	int fds[LVM_EXTENTS_MAX]; /* descriptors that are open: extents, too */
	unsigned int fd_count;
	char *mountpoint; /* absolute, malloc'ed: the background leaves this folder */
	bool is_foreground, is_debug, is_single;
	struct mount_options mount;
	char fuse[1024]; /* options for libfuse, "" or starting with a comma */
};

extern const char arguments_usage[];

/* 0, 1 (usage wanted), or reported -errno. */
int arguments_parse(int argc, char **argv, struct reporter *r, struct arguments *ret)
	__attribute__((warn_unused_result));

#endif
