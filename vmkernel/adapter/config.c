/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings are inherited: those of the adapter, of the address that has told of a target,
 * of the target, of the target at one portal; the last that says something counts.
 */
#include "vmkernel/adapter/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "vmkernel/msg/msg.h"

/* ---- the file ---- */

static const char *const lists[] = { "sendtargets", "statictargets", "targets",
				     "overrides",   "networkportals", "found",
				     "volumes",	    "devices" };

/* Texts, or null. */
static bool are_settings(json_t *settings)
{
	const char *key;
	json_t *value;
	json_object_foreach(settings, key, value)
		if (!json_is_string(value) && !json_is_null(value))
			return false;
	return json_is_object(settings);
}

/* Everything that the code takes for granted is there. */
static bool is_whole(json_t *doc)
{
	if (!json_is_object(doc))
		return false;
	for (unsigned int i = 0; i < ARRAY_SIZE(lists); i++) {
		json_t *list = json_object_get(doc, lists[i]), *one;
		size_t n;
		if (!list)
			json_object_set_new(doc, lists[i], json_array());
		else if (!json_is_array(list))
			return false;
		json_array_foreach(list, n, one) {
			json_t *settings = json_object_get(one, "settings");
			if (!json_is_object(one) ||
			    (settings && !are_settings(settings)))
				return false;
		}
	}
	if (!json_object_get(doc, "settings"))
		json_object_set_new(doc, "settings", json_object());
	return are_settings(json_object_get(doc, "settings"));
}

int adapter_config_load(const char *path, struct reporter *r, json_t **ret_doc)
{
	json_error_t error = { .line = 1 };
	bool is_there = access(path, F_OK) == 0;
	json_t *doc = is_there ? json_load_file(path, JSON_REJECT_DUPLICATES, &error)
			       : json_object();
	if (!is_whole(doc)) {
		json_decref(doc);
		return report_error(r, -EINVAL,
				    "%s: line %d: not the configuration of "
				    "an adapter",
				    path, error.line > 0 ? error.line : 1);
	}
	*ret_doc = doc;
	return 0;
}

/* ---- what it says ---- */

json_t *adapter_config_find(const json_t *doc, const char *list, const char *key,
			    const char *value, const char *key2, const char *value2)
{
	json_t *one;
	size_t i;
	json_array_foreach(json_object_get(doc, list), i, one)
		if (!strcmp(msg_text(one, key), value) &&
		    (!key2 || !strcmp(msg_text(one, key2), value2)))
			return one;
	return NULL;
}

json_t *adapter_config_make(json_t *doc, const char *list, const char *key,
			    const char *value)
{
	json_t *one = adapter_config_find(doc, list, key, value, NULL, NULL);
	if (one)
		return one;
	one = json_pack("{s:s}", key, value);
	json_array_append_new(json_object_get(doc, list), one);
	return one;
}

void adapter_config_forget(json_t *doc, const char *source)
{
	json_t *all = json_object_get(doc, "found");
	for (size_t i = json_array_size(all); i-- > 0;)
		if (!strcmp(msg_text(json_array_get(all, i), "source"), source))
			(void)json_array_remove(all, i);
}

json_t *adapter_config_settings(const json_t *doc, const struct adapter_scope *scope)
{
	const char *name = scope->name ? scope->name : "";
	const char *address = scope->address ? scope->address : "";
	const char *source = scope->source ? scope->source : "";
	const json_t *from[] = {
		doc,
		adapter_config_find(doc, "sendtargets", "address", source, NULL, NULL),
		adapter_config_find(doc, "targets", "name", name, "address", ""),
		*address ? adapter_config_find(doc, "targets", "name", name, "address",
					       address)
			 : NULL,
	};
	json_t *all = json_object();
	for (unsigned int i = 0; i < ARRAY_SIZE(from); i++) {
		json_t *settings = json_object_get(from[i], "settings");
		if (settings)
			(void)json_object_update(all, settings);
	}
	return all;
}

bool adapter_config_address(const char *text, char ret_address[ISCSI_HOST_SIZE + 8])
{
	const char *end = strchrnul(text, ',');
	char host[ISCSI_HOST_SIZE];
	struct buf out = { 0 };
	uint16_t port;
	if (!iscsi_portal_parse(text, end, host, &port) || strpbrk(host, "/@?%> "))
		return false;
	iscsi_portal_write(&out, host, port);
	(void)snprintf(ret_address, ISCSI_HOST_SIZE + 8, "%s", out.data ? out.data : "");
	buf_done(&out);
	return *ret_address;
}

static const char *set_lists(const json_t *doc, struct iscsi_url *u)
{
	const char *wrong = NULL;
	json_t *one;
	size_t i;
	json_array_foreach(json_object_get(doc, "networkportals"), i, one) {
		if (!wrong)
			wrong = iscsi_url_set(u, "bind", msg_text(one, "nic"));
	}
	json_array_foreach(json_object_get(doc, "overrides"), i, one) {
		char reach[2 * ISCSI_HOST_SIZE];
		(void)snprintf(reach, sizeof(reach), "%s>%s", msg_text(one, "portal"),
			       msg_text(one, "via"));
		if (!wrong)
			wrong = iscsi_url_set(u, "reach", reach);
	}
	return wrong;
}

const char *adapter_config_url(const json_t *doc, const struct adapter_scope *scope,
			       uint16_t lun, struct iscsi_url *ret_url)
{
	struct iscsi_url u = { .lun = lun };
	json_t *settings = adapter_config_settings(doc, scope), *value;
	struct buf text = { 0 };
	const char *key, *address = scope->address ? scope->address : "";
	const char *wrong = NULL;

	if (!iscsi_portal_parse(address, address + strlen(address), u.host, &u.port))
		wrong = "no address";
	(void)snprintf(u.target, sizeof(u.target), "%s", scope->name ? scope->name : "");
	json_object_foreach(settings, key, value)
		if (!wrong && !json_is_null(value))
			wrong = iscsi_url_set(&u, key, json_string_value(value));
	json_decref(settings);
	if (!wrong)
		wrong = set_lists(doc, &u);
	if (!wrong)
		wrong = iscsi_url_wrong(&u);
	iscsi_url_write(&u, &text);
	if (text.data) {
		iscsi_url_show(text.data, u.text, sizeof(u.text));
		explicit_bzero(text.data, text.len);
	}
	buf_done(&text);
	if (!wrong)
		*ret_url = u;
	explicit_bzero(&u, sizeof(u));
	return wrong;
}
