/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_QMP_H
#define VMX_QMP_H

/* QEMU's monitor protocol: one JSON object per line, both ways. For one task. */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmkernel/msg/channel.h"

#define QMP_LINE_MAX (1u << 20)

/*
 * Reads what is there without blocking: 0, -ECONNRESET, -EPROTO (a line too long),
 * -errno.
 */
int qmp_read(struct channel *q) __attribute__((warn_unused_result));
/* The next message: 1 and *ret_message (json_decref), 0 = none yet, -EPROTO, -ENOMEM. */
int qmp_next(struct channel *q, json_t **ret_message) __attribute__((warn_unused_result));
/*
 * Sends a command whose answer will carry id. arguments is taken, NULL = none. 0 or
 * -errno; never blocks (what the socket does not take waits for
 * channel_flush).
 */
int qmp_send(struct channel *q, const char *command, json_t *arguments, uint32_t id)
	__attribute__((warn_unused_result));
/* QEMU's sentence in an error answer, or NULL if message is none. */
const char *qmp_error_of(const json_t *message);

#endif
