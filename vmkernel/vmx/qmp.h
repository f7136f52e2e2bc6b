/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_QMP_H
#define VMX_QMP_H

/* QEMU's monitor protocol: one JSON object per line, both ways. For one task. */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define QMP_LINE_MAX (1u << 20)

struct qmp {
	int sock; /* -1: closed */
	struct buf in, out;
};

void qmp_init(struct qmp *q, int sock);
/* Closes and frees. */
void qmp_done(struct qmp *q);
/*
 * Reads what is there without blocking: 0, -ECONNRESET, -EPROTO (a line too long),
 * -errno.
 */
int qmp_read(struct qmp *q) __attribute__((warn_unused_result));
/* The next message: 1 and *ret_message (json_decref), 0 = none yet, -EPROTO, -ENOMEM. */
int qmp_next(struct qmp *q, json_t **ret_message) __attribute__((warn_unused_result));
/*
 * Sends a command whose answer will carry id. arguments is taken, NULL = none. 0 or
 * -errno; never blocks (what the socket does not take waits for qmp_flush).
 */
int qmp_send(struct qmp *q, const char *command, json_t *arguments, uint32_t id)
	__attribute__((warn_unused_result));
int qmp_flush(struct qmp *q) __attribute__((warn_unused_result));
/* QEMU's sentence in an error answer, or NULL if message is none. */
const char *qmp_error_of(const json_t *message);

#endif
