/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_MSG_CHANNEL_H
#define VMKERNEL_MSG_CHANNEL_H

/*
 * A stream socket with a buffer each way, for one task, which never blocks in it: what
 * messages (msg.h) and QEMU's monitor (vmx/qmp.h) go through.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct channel {
	int sock; /* -1: closed */
	struct buf in, out;
	/* Descriptors beside the bytes (unix sockets): -1: none. */
	int pass_fd; /* to go with the next byte that is sent, and closed then */
	int got_fd;  /* came last, and nobody has taken it yet */
};

/* Takes the socket. */
void channel_init(struct channel *ch, int sock);
/* Closes the socket and frees. */
void channel_done(struct channel *ch);
/*
 * Reads what is there, until in holds more than `most` bytes: 0, or -errno (-ECONNRESET:
 * the peer is gone).
 */
int channel_read(struct channel *ch, size_t most) __attribute__((warn_unused_result));
/* Sends what is queued, as far as the socket takes it: 0 or -errno. */
int channel_flush(struct channel *ch) __attribute__((warn_unused_result));
/*
 * Queues a descriptor, which is taken: the peer has it before whatever is queued after.
 * One at a time.
 */
void channel_pass(struct channel *ch, int file_fd);
/* What the peer has passed: the caller's, or -1. */
int channel_take_fd(struct channel *ch);
/* Something is queued: poll for POLLOUT. */
bool channel_has_output(const struct channel *ch);

#endif
