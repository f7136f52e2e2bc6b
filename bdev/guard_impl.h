/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_GUARD_IMPL_H
#define BDEV_GUARD_IMPL_H

/* What the two sides of the guard share: a piece of memory and messages. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define GUARD_LEASES_MAX 64u
#define GUARD_SOCKETS_MAX 1024u

/*
 * Each word has one writer, and tells all by itself: a cut and an acknowledgement name
 * the renewal that they are about, so an old one means nothing for a newer lease.
 */
struct guard_lease_words {
	_Atomic uint64_t renewed;      /* main */
	_Atomic uint64_t acknowledged; /* main: `renewed` of the lease it has given up */
	_Atomic uint64_t cut_of;       /* guard: `renewed` of the lease it has cut */
	uint64_t cut_ns, ack_ns;       /* main, before GUARD_LEASE_NEW is sent */
	bool has_sockets_only;
};

struct guard_page {
	struct guard_lease_words lease[GUARD_LEASES_MAX];
};

enum guard_request { GUARD_LEASE_NEW, GUARD_LEASE_END, GUARD_ADD, GUARD_DROP, GUARD_BYE };

/* To the guard. All but GUARD_DROP are answered with an int: 0 or -errno. */
struct guard_message {
	uint32_t request;
	uint32_t lease;
	uint64_t id; /* of a socket; GUARD_ADD carries the socket itself */
};

/*
 * The guard's side without its process: a pidfd of main, and the rest as below. 0 or
 * -errno. guard_process_serve() returns when main is gone or says GUARD_BYE, and frees
 * it.
 */
struct guard_process;
int guard_process_new(int sock, int main_fd, struct guard_page *page,
		      const char *watchdog, struct guard_process **ret_process);
void guard_process_serve(struct guard_process *p);

/*
 * The life of the guard's process: says by an int on `sock` whether it stands, serves
 * until main is gone or says GUARD_BYE, and returns. watchdog may be NULL.
 */
void guard_process_run(int sock, int main_pid, struct guard_page *page,
		       const char *watchdog);

#endif
