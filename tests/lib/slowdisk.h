/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SLOWDISK_H
#define TESTS_LIB_SLOWDISK_H

/*
 * A file whose writes (reads) take a while: nbdkit's delay filter over a plain file, seen
 * through nbdfuse. So "in flight" lasts long enough to do something about it. The server
 * does one request at a time; what has landed is seen at once in the plain file.
 */
#include <stdbool.h>
#include <sys/types.h>

struct slowdisk {
	char dir[64];
	char path[96];	  /* the slow file */
	char backing[96]; /* the plain one behind it */
	pid_t pid;
};

/* 0; -1 if the tools or /dev/fuse are missing: skip the test. */
int slowdisk_start(struct slowdisk *d, off_t size, unsigned int write_ms,
		   unsigned int read_ms);
void slowdisk_stop(struct slowdisk *d);

#endif
