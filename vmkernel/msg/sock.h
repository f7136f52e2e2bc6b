/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_MSG_SOCK_H
#define VMKERNEL_MSG_SOCK_H

#include <stdbool.h>

/*
 * Unix stream sockets by path. The last component alone has to fit into an address:
 * longer paths are reached through their folder. All sockets are close-on-exec.
 */

/* A listening, non-blocking socket; a stale one at path is replaced. sock or -errno. */
int sock_listen(const char *path) __attribute__((warn_unused_result));
/* A connected, blocking socket: sock or -errno. */
int sock_connect(const char *path) __attribute__((warn_unused_result));
/* Is this descriptor a socket, of whatever kind? */
bool sock_is_one(int fd);

struct addrinfo;
/*
 * "ADDRESS:PORT" as an address for sockets of that type (SOCK_STREAM, ...), to be bound
 * if is_own. Numbers only: nothing is looked up. 0 and *ret (freeaddrinfo), or -EINVAL.
 */
int sock_address(const char *text, int type, bool is_own, struct addrinfo **ret)
	__attribute__((warn_unused_result));

#endif
