/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CHILD_H
#define VMKERNEL_CHILD_H

/* A program that is started with some of our descriptors, under numbers that it knows. */
#include <sys/types.h>

struct child_fd {
	int ours, theirs;
};

/*
 * Starts argv[0], a path, or a name that is looked for in PATH. It has the descriptors of
 * the list, in whose order they are made, and what is not close-on-exec; no signal is
 * blocked in it. Who waits for children gets its end. 0 and its pid, or -errno: it does
 * not run. Blocks until it runs.
 */
int child_start(char *const argv[], const struct child_fd *fds, unsigned int count,
		pid_t *ret_pid) __attribute__((warn_unused_result));

#endif
