/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that change the configuration, and those that show what they have set. What is
 * set is tried on a URL first: the document never holds what a URL would refuse.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "vmkernel/adapter/ask.h"

#define ADDRESS_SIZE (ISCSI_HOST_SIZE + 8)

static json_t *list_of(const struct ask *ask, const char *list)
{
	return json_object_get(ask->adapter->doc, list);
}

/* ---- lists ---- */

static int add(struct ask *ask, const char *list, json_t *entry, const char *key,
	       const char *key2)
{
	if (adapter_config_find(ask->adapter->doc, list, key, msg_text(entry, key),
				key2, msg_text(entry, key2 ? key2 : key))) {
		(void)ask_fails(ask, -EEXIST, "%s is there already",
				msg_text(entry, key));
		json_decref(entry);
		return -EEXIST;
	}
	ask->is_changed = true;
	return json_array_append_new(list_of(ask, list), entry) < 0 ? -ENOMEM : 0;
}

static int drop(struct ask *ask, const char *list, const char *key, const char *value,
		const char *key2, const char *value2)
{
	json_t *all = list_of(ask, list);
	json_t *found = adapter_config_find(ask->adapter->doc, list, key, value, key2,
					    value2);
	for (size_t i = 0; found && i < json_array_size(all); i++) {
		if (json_array_get(all, i) != found)
			continue;
		ask->is_changed = true;
		return json_array_remove(all, i);
	}
	return ask_fails(ask, -ENOENT, "%s is not there", value);
}

static int sendtarget_add(struct ask *ask)
{
	char address[ADDRESS_SIZE];
	int rc = ask_address(ask, "address", address);
	return rc ? rc
		  : add(ask, "sendtargets", json_pack("{s:s}", "address", address),
			"address", NULL);
}

static int sendtarget_remove(struct ask *ask)
{
	char address[ADDRESS_SIZE];
	int rc = ask_address(ask, "address", address);
	if (rc == 0)
		rc = drop(ask, "sendtargets", "address", address, NULL, NULL);
	if (rc == 0) /* what it has told, too */
		adapter_config_forget(ask->adapter->doc, address);
	return rc;
}

static int sendtarget_list(struct ask *ask)
{
	ask->rows = ask_rows(ask, "sendtargets");
	return 0;
}

/* Is the request's name one of iSCSI? ret_url->target: as a URL has it. */
static int parse_name(struct ask *ask, struct iscsi_url *ret_url)
{
	const char *name = ask_text(ask, "name");
	struct buf text = { 0 };
	buf_printf(&text, "iscsi://a/%s/0", name);
	int rc = text.error ? text.error : iscsi_url_parse(text.data, NULL, ret_url);
	buf_done(&text);
	return rc ? ask_fails(ask, rc, "%s: not an iSCSI name (iqn., eui., naa.)", name)
		  : 0;
}

static int statictarget_add(struct ask *ask)
{
	char address[ADDRESS_SIZE];
	struct iscsi_url u;
	int rc = ask_address(ask, "address", address);
	if (rc == 0)
		rc = parse_name(ask, &u);
	return rc ? rc
		  : add(ask, "statictargets",
			json_pack("{s:s, s:s}", "name", u.target, "address", address),
			"name", "address");
}

static int statictarget_remove(struct ask *ask)
{
	char address[ADDRESS_SIZE];
	int rc = ask_address(ask, "address", address);
	return rc ? rc
		  : drop(ask, "statictargets", "name", ask_text(ask, "name"), "address",
			 address);
}

static int statictarget_list(struct ask *ask)
{
	ask->rows = ask_rows(ask, "statictargets");
	return 0;
}

static int override_add(struct ask *ask)
{
	char portal[ADDRESS_SIZE], via[ADDRESS_SIZE];
	int rc = ask_address(ask, "portal", portal);
	if (rc == 0)
		rc = ask_address(ask, "via", via);
	return rc ? rc
		  : add(ask, "overrides",
			json_pack("{s:s, s:s}", "portal", portal, "via", via), "portal",
			NULL);
}

static int override_remove(struct ask *ask)
{
	char portal[ADDRESS_SIZE];
	int rc = ask_address(ask, "portal", portal);
	return rc ? rc : drop(ask, "overrides", "portal", portal, NULL, NULL);
}

static int override_list(struct ask *ask)
{
	ask->rows = ask_rows(ask, "overrides");
	return 0;
}

static int networkportal_add(struct ask *ask)
{
	struct iscsi_url u = { 0 };
	const char *nic = ask_text(ask, "nic");
	if (iscsi_url_set(&u, "bind", nic))
		return ask_fails(ask, -EINVAL, "%s: neither interface nor address", nic);
	return add(ask, "networkportals", json_pack("{s:s}", "nic", nic), "nic", NULL);
}

static int networkportal_remove(struct ask *ask)
{
	return drop(ask, "networkportals", "nic", ask_text(ask, "nic"), NULL, NULL);
}

static int networkportal_list(struct ask *ask)
{
	ask->rows = ask_rows(ask, "networkportals");
	return 0;
}

static int adapter_set(struct ask *ask)
{
	const char *name = ask_text(ask, "name"), *alias = ask_text(ask, "alias");
	struct iscsi_url u;
	int rc = *name ? parse_name(ask, &u) : 0;
	if (rc)
		return rc;
	if (*name && ask->adapter->host->config.initiator_name)
		return ask_fails(ask, -EPERM, "initiator_name of the configuration file "
					      "says the name");
	if (*name)
		json_object_set_new(ask->adapter->doc, "name", json_string(name));
	if (*alias)
		json_object_set_new(ask->adapter->doc, "alias", json_string(alias));
	ask->is_changed = *name || *alias;
	return 0;
}

/* ---- settings ---- */

/* The settings of the request's own scope, made if they are not there; NULL: told why. */
static json_t *own_settings(struct ask *ask, char address[ADDRESS_SIZE])
{
	json_t *doc = ask->adapter->doc, *entry = doc;
	const char *name = ask_text(ask, "name");
	*address = '\0';
	if (*ask_text(ask, "address") && ask_address(ask, "address", address) < 0)
		return NULL;
	if (*name) {
		entry = adapter_config_find(doc, "targets", "name", name, "address",
					    address);
		if (!entry &&
		    (adapter_config_find(doc, "found", "name", name, NULL, NULL) ||
		     adapter_config_find(doc, "statictargets", "name", name, NULL,
					 NULL))) {
			entry = json_pack("{s:s, s:s}", "name", name, "address", address);
			json_array_append_new(list_of(ask, "targets"), entry);
		}
	} else if (*address) {
		entry = adapter_config_find(doc, "sendtargets", "address", address, NULL,
					    NULL);
	}
	if (!entry) {
		(void)ask_fails(ask, -ENOENT, "%s is not known", *name ? name : address);
		return NULL;
	}
	if (!json_object_get(entry, "settings"))
		json_object_set_new(entry, "settings", json_object());
	return json_object_get(entry, "settings");
}

/* Is what holds in the scope now what a URL can say? */
static int try_settings(struct ask *ask, const char *address)
{
	struct iscsi_url u;
	struct adapter_scope scope = ask_scope(ask, address);
	if (!scope.address || !*scope.address)
		scope.address = "127.0.0.1";
	const char *wrong = adapter_config_url(ask->adapter->doc, &scope, 0, &u);
	explicit_bzero(&u, sizeof(u));
	if (wrong)
		return ask_fails(ask, -EINVAL, "%s", wrong);
	ask->is_changed = true;
	return 0;
}

/* The two directions of CHAP, and the words for "with it" that are true here. */
static const struct direction {
	const char *word, *level, *user, *password;
} directions[] = {
	{ "uni", "preferred", "user", "password" },
	{ "mutual", "required", "target_user", "target_password" },
};

static const struct direction *direction_of(struct ask *ask)
{
	const char *word = ask_text(ask, "direction");
	for (unsigned int i = 0; i < ARRAY_SIZE(directions); i++)
		if (!strcmp(*word ? word : "uni", directions[i].word))
			return &directions[i];
	(void)ask_fails(ask, -EINVAL, "%s: a direction is uni or mutual", word);
	return NULL;
}

static int set_chap(struct ask *ask, const struct direction *d, json_t *settings)
{
	const char *level = ask_text(ask, "level"), *user = ask_text(ask, "authname");
	const char *secret = ask_text(ask, "secret");
	bool is_off = !strcmp(level, "prohibited");
	if (json_is_true(json_object_get(ask->body, "default"))) {
		json_object_del(settings, d->user);
		json_object_del(settings, d->password);
		return 0;
	}
	if (*level && !is_off && strcmp(level, d->level) != 0)
		return ask_fails(ask, -EINVAL, "%s: the level of %s CHAP is prohibited "
					       "or %s", level, d->word, d->level);
	if (!is_off && (!*user || !*secret))
		return ask_fails(ask, -EINVAL, "CHAP needs --authname and --secret-file");
	json_object_set_new(settings, d->user, is_off ? json_null() : json_string(user));
	json_object_set_new(settings, d->password,
			    is_off ? json_null() : json_string(secret));
	return 0;
}

static int chap_set(struct ask *ask)
{
	char address[ADDRESS_SIZE];
	const struct direction *d = direction_of(ask);
	json_t *settings = d ? own_settings(ask, address) : NULL;
	if (!settings)
		return -EINVAL;
	int rc = set_chap(ask, d, settings);
	return rc ? rc : try_settings(ask, address);
}

static int chap_get(struct ask *ask)
{
	char address[ADDRESS_SIZE];
	json_t *own = own_settings(ask, address);
	if (!own || !direction_of(ask))
		return -EINVAL;
	struct adapter_scope scope = ask_scope(ask, address);
	json_t *all = adapter_config_settings(ask->adapter->doc, &scope);
	ask->rows = json_array();
	for (unsigned int i = 0; i < ARRAY_SIZE(directions); i++) {
		const struct direction *d = &directions[i];
		const char *user = msg_text(all, d->user);
		if (*ask_text(ask, "direction") && d != direction_of(ask))
			continue;
		json_array_append_new(
			ask->rows, json_pack("{s:s, s:s, s:s, s:b}", "direction", d->word,
					     "authname", user, "level",
					     *user ? d->level : "prohibited", "inherited",
					     !json_object_get(own, d->user)));
	}
	json_decref(all);
	return 0;
}

/* "HeaderDigest", "header_digest": the same to us. */
static bool is_same_name(const char *a, const char *b)
{
	for (;; a++, b++) {
		a += *a == '_';
		b += *b == '_';
		if ((*a | 0x20) != (*b | 0x20))
			return false;
		if (!*a)
			return true;
	}
}

/* The parameter as a URL calls it, NULL: there is none (told). */
static const char *parameter_of(struct ask *ask)
{
	const char *wanted = ask_text(ask, "key"), *name;
	for (unsigned int i = 0; (name = iscsi_url_parameter(i)) != NULL; i++)
		if (is_same_name(name, wanted))
			return name;
	(void)ask_fails(ask, -EINVAL, "%s: no such parameter: see param get", wanted);
	return NULL;
}

static int param_set(struct ask *ask)
{
	char address[ADDRESS_SIZE];
	const char *key = parameter_of(ask), *value = ask_text(ask, "value");
	json_t *settings = key ? own_settings(ask, address) : NULL;
	if (!settings)
		return -EINVAL;
	if (json_is_true(json_object_get(ask->body, "default")))
		json_object_del(settings, key);
	else if (*value)
		json_object_set_new(settings, key, json_string(value));
	else
		return ask_fails(ask, -EINVAL, "--value or --default is missing");
	return try_settings(ask, address);
}

/* "header_digest" as ESXi writes it. */
static void camel(const char *name, char out[64])
{
	bool is_first = true;
	size_t n = 0;
	for (; *name && n < 63; name++) {
		if (*name != '_')
			out[n++] = is_first && *name >= 'a' ? (char)(*name & ~0x20)
							    : *name;
		is_first = *name == '_';
	}
	out[n] = '\0';
}

static int param_get(struct ask *ask)
{
	char address[ADDRESS_SIZE], id[64], text[32], normal[32];
	static const struct iscsi_url none;
	struct iscsi_url u = { 0 };
	const char *name;
	json_t *own = own_settings(ask, address);
	if (!own)
		return -EINVAL;
	struct adapter_scope scope = ask_scope(ask, address);
	if (!*address)
		scope.address = "127.0.0.1";
	const char *wrong = adapter_config_url(ask->adapter->doc, &scope, 0, &u);
	if (wrong)
		return ask_fails(ask, -EINVAL, "%s", wrong);
	ask->rows = json_array();
	for (unsigned int i = 0; (name = iscsi_url_parameter(i)) != NULL; i++) {
		camel(name, id);
		json_array_append_new(
			ask->rows,
			json_pack("{s:s, s:s, s:s, s:b, s:b}", "id", id, "current",
				  iscsi_url_parameter_text(&u, i, text), "default",
				  iscsi_url_parameter_text(&none, i, normal), "settable",
				  true, "inherit", !json_object_get(own, name)));
	}
	explicit_bzero(&u, sizeof(u));
	return 0;
}

#define SETTINGS(words)                                                                  \
	{ words " auth chap get", chap_get }, { words " auth chap set", chap_set },      \
		{ words " param get", param_get }, { words " param set", param_set }

const struct ask_command edit_commands[] = {
	SETTINGS("iscsi adapter"),
	SETTINGS("iscsi adapter discovery sendtarget"),
	SETTINGS("iscsi adapter target portal"),
	{ "iscsi adapter set", adapter_set },
	{ "iscsi adapter discovery sendtarget add", sendtarget_add },
	{ "iscsi adapter discovery sendtarget list", sendtarget_list },
	{ "iscsi adapter discovery sendtarget remove", sendtarget_remove },
	{ "iscsi adapter discovery statictarget add", statictarget_add },
	{ "iscsi adapter discovery statictarget list", statictarget_list },
	{ "iscsi adapter discovery statictarget remove", statictarget_remove },
	{ "iscsi adapter target portal override add", override_add },
	{ "iscsi adapter target portal override list", override_list },
	{ "iscsi adapter target portal override remove", override_remove },
	{ "iscsi networkportal add", networkportal_add },
	{ "iscsi networkportal list", networkportal_list },
	{ "iscsi networkportal remove", networkportal_remove },
	{ 0 },
};
