/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CONTROL_H
#define VMKERNEL_CONTROL_H

/* The control socket: clients and their requests. Loop's task only. */
#include "vmkernel/vm.h"

/* Listens at h's socket path. 0 or -errno, reported. */
int control_open(struct host *h, struct reporter *r) __attribute__((warn_unused_result));
/* Drops the clients and frees; the socket's file stays. NULL is allowed. */
void control_close(struct control *c);
/*
 * Answers a client that may have gone meanwhile. sentence: if result < 0. body is taken,
 * may be NULL.
 */
void control_reply(struct control *c, struct requester who, int result,
		   const char *sentence, json_t *body);

#endif
