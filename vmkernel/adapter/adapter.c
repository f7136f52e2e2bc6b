/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adapter belongs to the loop's task. A command that changes the document changes a
 * copy, which becomes the document when it has been written: what the file says and what
 * holds are the same after any failure.
 */
#include "vmkernel/adapter/adapter.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmkernel/adapter/ask.h"
#include "vmkernel/control.h"

#define FILE_NAME "iscsi.json"
#define NAME_PREFIX "iqn.2026-01.org.openvmfs:host-"

/* What the configuration file says, what an admin has set, or one of the host's UUID. */
static void set_initiator_name(struct adapter *a)
{
	struct host *h = a->host;
	const char *name = h->config.initiator_name ? h->config.initiator_name
						    : msg_text(a->doc, "name");
	(void)snprintf(h->initiator_name, sizeof(h->initiator_name), "%s%s",
		       *name ? name : NAME_PREFIX, *name ? "" : h->uuid_text);
}

int adapter_open(struct host *h, struct reporter *r)
{
	char path[HOST_PATH_SIZE];
	struct adapter *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	h->adapter = a;
	a->host = h;
	a->devices = json_array();
	int rc = adapter_config_load(host_path(h, FILE_NAME, path), r, &a->doc);
	if (rc == 0)
		set_initiator_name(a);
	return rc;
}

int adapter_check(const struct config *config, struct reporter *r)
{
	char path[HOST_PATH_SIZE];
	json_t *doc;
	(void)snprintf(path, sizeof(path), "%s/" FILE_NAME,
		       config->state_dir ? config->state_dir : CONFIG_STATE_DIR);
	int rc = adapter_config_load(path, r, &doc);
	if (rc == 0)
		json_decref(doc);
	return rc;
}

void adapter_close(struct adapter *a)
{
	if (!a)
		return;
	json_decref(a->devices);
	json_decref(a->doc);
	free(a);
}

int adapter_save(struct adapter *a)
{
	char path[HOST_PATH_SIZE];
	char *text = json_dumps(a->doc, JSON_INDENT(2));
	int rc = text ? host_write_text(a->host, FILE_NAME, text, 0600) : -ENOMEM;
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	return rc < 0 ? report_error(a->host->reporter, rc, "%s: %s",
				     host_path(a->host, FILE_NAME, path), strerror(-rc))
		      : 0;
}

bool adapter_is_unmounted(const struct adapter *a, const char *uuid)
{
	const json_t *v = adapter_config_find(a->doc, "volumes", "uuid", uuid, NULL,
					      NULL);
	return json_is_true(json_object_get(v, "is_unmounted"));
}

bool adapter_has_unmounted(const struct adapter *a)
{
	json_t *one;
	size_t i;
	json_array_foreach(json_object_get(a->doc, "volumes"), i, one)
		if (json_is_true(json_object_get(one, "is_unmounted")))
			return true;
	return false;
}

/* ---- requests ---- */

int ask_fails(struct ask *ask, int rc, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(ask->why, sizeof(ask->why), fmt, ap);
	va_end(ap);
	return rc;
}

int ask_save(struct ask *ask)
{
	int rc = adapter_save(ask->adapter);
	ask->is_saved = rc == 0;
	return rc;
}

const char *ask_text(const struct ask *ask, const char *key)
{
	return msg_text(ask->body, key);
}

int ask_address(struct ask *ask, const char *key, char ret_address[ISCSI_HOST_SIZE + 8])
{
	const char *text = ask_text(ask, key);
	if (adapter_config_address(text, ret_address))
		return 0;
	return ask_fails(ask, -EINVAL, "%s: not an address[:port]", text);
}

struct adapter_scope ask_scope(const struct ask *ask, const char *address)
{
	struct adapter_scope scope = { .name = ask_text(ask, "name"),
				       .address = address };
	/* An address alone is one that is asked for targets. */
	if (!*scope.name) {
		scope.source = address;
		return scope;
	}
	const json_t *found = adapter_config_find(
		ask->adapter->doc, "found", "name", scope.name,
		*address ? "address" : NULL, address);
	scope.source = msg_text(found, "source");
	return scope;
}

json_t *ask_rows(const struct ask *ask, const char *list)
{
	json_t *rows = json_array(), *one;
	const char *name = ask_text(ask, "name");
	size_t i;
	json_array_foreach(json_object_get(ask->adapter->doc, list), i, one) {
		if (*name && strcmp(msg_text(one, "name"), name) != 0)
			continue;
		json_t *row = json_copy(one);
		json_object_del(row, "settings"); /* secrets */
		json_object_set_new(row, "adapter", json_string(ADAPTER_NAME));
		json_array_append_new(rows, row);
	}
	return rows;
}

static const struct ask_command *find_command(const char *words)
{
	static const struct ask_command *const tables[] = { edit_commands, show_commands,
							    path_commands,
							    rescan_commands };
	for (unsigned int i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct ask_command *c = tables[i]; c->words; c++)
			if (strcmp(c->words, words) == 0)
				return c;
	return NULL;
}

static int run(struct ask *ask, const struct ask_command *cmd)
{
	struct adapter *a = ask->adapter;
	const char *name = ask_text(ask, "adapter");
	json_t *before = a->doc;
	if (*name && strcmp(name, ADAPTER_NAME) != 0)
		return ask_fails(ask, -ENODEV, "%s: no such adapter: there is %s", name,
				 ADAPTER_NAME);
	a->doc = json_deep_copy(before);
	int rc = a->doc ? cmd->run(ask) : -ENOMEM;
	if (rc == 0 && ask->is_changed)
		rc = ask_save(ask);
	if (rc < 0 && !*ask->why)
		(void)ask_fails(ask, rc, "%s: %s (vmkernel.log says more)", cmd->words,
				strerror(-rc));
	if (!ask->is_saved) {
		json_t *changed = a->doc;
		a->doc = before;
		before = changed;
	}
	json_decref(before);
	return rc;
}

bool adapter_request(struct adapter *a, struct requester who, const char *words,
		     const json_t *body)
{
	struct ask ask = { .adapter = a, .who = who, .body = body };
	const struct ask_command *cmd = find_command(words);
	if (!cmd)
		return false;
	int rc = run(&ask, cmd);
	if (!ask.is_later)
		control_reply(a->host->control, who, rc, ask.why,
			      ask.rows ? json_pack("{s:o}", "rows", ask.rows)
				       : json_object());
	return true;
}
