/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CLI_CLIENT_H
#define VMKERNEL_CLI_CLIENT_H

/* What vim-cmd and esxcli share: one question to the host, one line about what failed. */
#include <stdio.h>

#include "vmkernel/msg/msg.h"

struct client {
	const char *program;	/* for error lines */
	const char *socket;	/* of the host */
};

/*
 * The main() of a client: -h and --help print the usage, -s SOCKET names the host, the
 * rest is for run(). Returns the exit code.
 */
int client_main(int argc, char **argv, const char *program, void (*usage)(FILE *out),
		int (*run)(const struct client *c, int argc, char **argv));
/*
 * Asks; body is taken. 0 and *ret_reply (json_decref), or 1 when the line about what went
 * wrong is on standard error. Blocks.
 */
int client_ask(const struct client *c, enum msg_type type, json_t *body,
	       json_t **ret_reply) __attribute__((warn_unused_result));
/* The same when only success counts. */
int client_do(const struct client *c, enum msg_type type, json_t *body)
	__attribute__((warn_unused_result));

#endif
