/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_ADAPTER_ASK_H
#define VMKERNEL_ADAPTER_ASK_H

/* A request to the adapter, for adapter.c (who is asked), edit.c, show.c and rescan.c. */
#include "vmkernel/adapter/adapter.h"
#include "vmkernel/adapter/config.h"

struct ask {
	struct adapter *adapter;
	struct requester who;
	const json_t *body;
	json_t *rows;	 /* the answer; taken */
	bool is_changed; /* the document is: it is saved before the answer */
	bool is_saved;	 /* it was: it is the adapter's */
	bool is_later;	 /* somebody else answers */
	char why[512];
};

/* A row of a table of commands: 0, or -errno with ask->why. */
struct ask_command {
	const char *words;
	int (*run)(struct ask *ask);
};
extern const struct ask_command edit_commands[], show_commands[], path_commands[],
	rescan_commands[];

/* Fills ask->why; returns rc. */
int ask_fails(struct ask *ask, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * Saves the changed document now, for a command that goes on only if it is kept. 0 or
 * -errno, reported. Blocks for a file of some KiB.
 */
int ask_save(struct ask *ask) __attribute__((warn_unused_result));
/* An option of the request, "" if it was not given. */
const char *ask_text(const struct ask *ask, const char *key);
/* The address of the request, as it is kept. 0 or -EINVAL with ask->why. */
int ask_address(struct ask *ask, const char *key, char ret_address[ISCSI_HOST_SIZE + 8])
	__attribute__((warn_unused_result));
/* The scope that a request is about, in a document that knows it. */
struct adapter_scope ask_scope(const struct ask *ask, const char *address);
/* A new array of shallow copies of a list's entries, each with the adapter's name. */
json_t *ask_rows(const struct ask *ask, const char *list);

#endif
