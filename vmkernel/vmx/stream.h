/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_STREAM_H
#define VMX_STREAM_H

/* What a VM is moved through: a task between QEMU's socket and TLS to the other host. */
#include "base/report.h"
#include "vmkernel/vmotion/tls.h"

#define STREAM_WHY_SIZE 256u

struct stream_options {
	struct tls_options tls;
	bool is_out; /* from QEMU to the other host */
};
struct stream;
/*
 * Takes the socket, copies the options. *ret_qemu_fd is QEMU's end, the caller's. 0 or
 * -errno (then nothing was taken).
 */
int stream_start(const struct stream_options *options, struct stream **ret,
		 int *ret_qemu_fd) __attribute__((warn_unused_result));
/* Readable as soon as it is over. */
int stream_event(const struct stream *s);
/*
 * Ends it, in whatever state it is, and frees it: 0: all of it went through, to the end
 * that the sender said; -errno with ret_why (STREAM_WHY_SIZE). Blocks shortly. NULL: 0.
 */
int stream_stop(struct stream *s, char *ret_why);

#endif
