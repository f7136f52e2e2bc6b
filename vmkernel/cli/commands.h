/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CLI_COMMANDS_H
#define VMKERNEL_CLI_COMMANDS_H

/* The commands of esxcli as tables, one per namespace. */
#include "vmkernel/cli/output.h"
#include "vmkernel/msg/msg.h"

enum parameter_kind {
	PARAMETER_TEXT,
	PARAMETER_NUMBER,
	PARAMETER_FLAG,	   /* nothing stands behind it */
	PARAMETER_SECRET,  /* a text that other users of the machine can see */
	PARAMETER_FILE,	   /* a file that holds the text; "-": standard input */
	PARAMETER_IGNORED, /* a flag that changes nothing here */
};

struct parameter {
	char letter; /* 0: none */
	const char *name;
	enum parameter_kind kind;
	bool is_required;
	const char *key; /* in the request; parameters of one key exclude each other */
	const char *help;
};

struct command {
	const char *words;
	const char *help;
	const struct parameter *parameters; /* up to one without a name; or NULL */
	enum msg_type ask;  /* 0: MSG_ADMIN with the words */
	const char *rows;   /* of the reply; NULL: "rows" */
	const struct shape *shape; /* NULL: nothing is shown */
};

/* Up to one without words. */
extern const struct command *const command_tables[];
extern const unsigned int command_table_count;

#endif
