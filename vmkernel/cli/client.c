/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One exchange per command. Power-on may wait long for a lock, so there is no time limit.
 */
#include "vmkernel/cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int client_main(int argc, char **argv, const char *program, void (*usage)(FILE *out),
		int (*run)(const struct client *c, int argc, char **argv))
{
	struct client c = { program, msg_default_socket() };
	int at = 1;
	if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
		usage(stdout);
		return 0;
	}
	if (argc > 2 && strcmp(argv[1], "-s") == 0) {
		c.socket = argv[2];
		at = 3;
	}
	if (at >= argc) {
		usage(stderr);
		return 1;
	}
	return run(&c, argc - at, argv + at);
}

int client_ask(const struct client *c, enum msg_type type, json_t *body,
	       json_t **ret_reply)
{
	json_t *reply;
	int rc = msg_call(c->socket, type, body, 0, &reply);
	if (rc < 0) {
		(void)fprintf(stderr, "%s: %s: %s\n", c->program, c->socket,
			      rc == -ECONNREFUSED ? "no vmkernel listens there" :
			      rc == -ECONNRESET	  ? "vmkernel has gone away" :
						    strerror(-rc));
		return 1;
	}
	int result = (int)json_integer_value(json_object_get(reply, "result"));
	if (result < 0) {
		const char *error = msg_text(reply, "error");
		(void)fprintf(stderr, "%s: %s\n", c->program,
			      *error ? error : strerror(-result));
		json_decref(reply);
		return 1;
	}
	*ret_reply = reply;
	return 0;
}

int client_do(const struct client *c, enum msg_type type, json_t *body)
{
	json_t *reply;
	int rc = client_ask(c, type, body, &reply);
	if (rc == 0)
		json_decref(reply);
	return rc;
}
