/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_USER_NETWORK_H
#define VMKERNEL_USER_NETWORK_H

/* A card's way out without a bridge: connections of a program of the host's. */
#include <stdint.h>

#define USER_NETWORK "user" /* stands where a bridge's name would */

/*
 * One for one card: a stream socket on which each frame has its length before it (four
 * bytes, big-endian), as QEMU speaks it. It ends when that is closed. Blocks, for some
 * tens of milliseconds, 5 s at most: for a task of the one VM (vm_jobs.c, vmotion), never
 * the loop's. -errno: ret_why, of size bytes, has the sentence, or is "".
 */
int user_network_open(char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));

#endif
