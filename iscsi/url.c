/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URLs of LUNs: read and written by one table of keys, so that what is written is what is
 * read. A password never gets into a report.
 */
#include "iscsi/url.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/parse.h"
#include "iscsi/path.h"
#include "iscsi/policy.h"
#include "iscsi/proto.h"

#define SCHEME "iscsi://"
#define LUN_MAX 16383u

/* [from, to) into a field; false if it is empty or too long. */
static bool take(char *field, size_t size, const char *from, const char *to)
{
	size_t len = (size_t)(to - from);

	if (len == 0 || len >= size)
		return false;
	memcpy(field, from, len);
	field[len] = '\0';
	return true;
}

static bool take_user(struct iscsi_url *u, const char *from, const char *at)
{
	const char *percent = memchr(from, '%', (size_t)(at - from));

	if (!percent)
		return take(u->user, sizeof(u->user), from, at);
	return take(u->user, sizeof(u->user), from, percent) &&
	       take(u->password, sizeof(u->password), percent + 1, at);
}

bool iscsi_portal_parse(const char *from, const char *to, char ret_host[ISCSI_HOST_SIZE],
			uint16_t *ret_port)
{
	const char *bracket =
		*from == '[' ? memchr(from, ']', (size_t)(to - from)) : NULL;
	const char *host_end =
		bracket ? bracket + 1 : memchr(from, ':', (size_t)(to - from));
	char port_text[8];
	uint64_t port = ISCSI_PORT;

	if (!host_end)
		host_end = to;
	if (host_end < to &&
	    (*host_end != ':' || !take(port_text, sizeof(port_text), host_end + 1, to) ||
	     parse_u64(port_text, 65535, &port) < 0 || port == 0))
		return false;
	if (!(bracket ? take(ret_host, ISCSI_HOST_SIZE, from + 1, bracket)
		      : take(ret_host, ISCSI_HOST_SIZE, from, host_end)))
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

/* true if text can be a name (RFC 7143 4.2.7.2). */
static bool is_name(const char *text)
{
	return strncmp(text, "iqn.", 4) == 0 || strncmp(text, "eui.", 4) == 0 ||
	       strncmp(text, "naa.", 4) == 0;
}

/* ---- keys ---- */

enum kind { KEY_TEXT, KEY_DIGEST, KEY_REACH, KEY_PORTAL, KEY_BIND };

#define TEXT_KEY(name, field)                                                            \
	{ name, KEY_TEXT, offsetof(struct iscsi_url, field),                             \
	  sizeof(((struct iscsi_url *)0)->field) }

/* Every setting of a URL that stands behind '?', in the order in which it is written. */
static const struct key {
	const char *name;
	enum kind kind;
	size_t offset, size; /* of its field */
} keys[] = {
	TEXT_KEY("user", user),
	TEXT_KEY("password", password),
	TEXT_KEY("target_user", target_user),
	TEXT_KEY("target_password", target_password),
	{ "header_digest", KEY_DIGEST, offsetof(struct iscsi_url, header_digest), 0 },
	{ "data_digest", KEY_DIGEST, offsetof(struct iscsi_url, data_digest), 0 },
	{ "bind", KEY_BIND, offsetof(struct iscsi_url, bind), ISCSI_BIND_SIZE },
	TEXT_KEY("paths", paths),
	TEXT_KEY("policy", policy),
	TEXT_KEY("iops", iops),
	TEXT_KEY("sessions", sessions),
	{ "portal", KEY_PORTAL, offsetof(struct iscsi_url, portals), ISCSI_REACH_SIZE },
	{ "reach", KEY_REACH, offsetof(struct iscsi_url, reach), ISCSI_REACH_SIZE },
};

static const char *const digest_words[] = {
	[ISCSI_DIGEST_DISCOURAGED] = "discouraged",
	[ISCSI_DIGEST_PREFERRED] = "preferred",
	[ISCSI_DIGEST_REQUIRED] = "required",
	[ISCSI_DIGEST_PROHIBITED] = "prohibited",
};

static const char *set_digest(enum iscsi_digest *digest, const char *value)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(digest_words); i++) {
		if (strcmp(digest_words[i], value) == 0) {
			*digest = (enum iscsi_digest)i;
			return NULL;
		}
	}
	return "a digest is prohibited, discouraged, preferred or required";
}

/* To "A,A...", of ISCSI_REACH_SIZE bytes. */
static const char *add_to_list(char *list, const char *value)
{
	size_t have = strlen(list);

	if (have + strlen(value) + 2 > ISCSI_REACH_SIZE)
		return "too many portals or interfaces";
	(void)snprintf(list + have, ISCSI_REACH_SIZE - have, "%s%s", have ? "," : "",
		       value);
	return NULL;
}

static const char *add_reach(char *reach, const char *value)
{
	const char *arrow = strchr(value, '>');
	char host[ISCSI_HOST_SIZE];
	uint16_t port;

	if (!arrow || !iscsi_portal_parse(value, arrow, host, &port) ||
	    !iscsi_portal_parse(arrow + 1, value + strlen(value), host, &port))
		return "reach is PORTAL>PORTAL";
	return add_to_list(reach, value);
}

static const char *add_portal(char *portals, const char *value)
{
	char host[ISCSI_HOST_SIZE];
	uint16_t port;

	if (strchr(value, ',') ||
	    !iscsi_portal_parse(value, value + strlen(value), host, &port))
		return "portal is host[:port]";
	return add_to_list(portals, value);
}

static const char *add_bind(struct iscsi_url *u, const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= ISCSI_BIND_SIZE || strchr(value, ','))
		return "bind is an interface or address of this machine";
	if (u->bind[0])
		return add_to_list(u->binds, value);
	memcpy(u->bind, value, len + 1);
	return NULL;
}

const char *iscsi_url_set(struct iscsi_url *u, const char *key, const char *value)
{
	const struct key *k = keys, *end = keys + ARRAY_SIZE(keys);
	bool is_setting;
	const char *wrong = iscsi_setting_take(&u->settings, key, value, &is_setting);

	if (is_setting)
		return wrong;
	while (k < end && strcmp(k->name, key) != 0)
		k++;
	if (k == end)
		return "it has a key that is unknown: see vmfs-iscsi(7)";
	char *field = (char *)u + k->offset;
	if (k->kind == KEY_DIGEST)
		return set_digest((enum iscsi_digest *)(void *)field, value);
	if (k->kind == KEY_REACH)
		return add_reach(field, value);
	if (k->kind == KEY_PORTAL)
		return add_portal(field, value);
	if (k->kind == KEY_BIND)
		return add_bind(u, value);
	if (!take(field, k->size, value, value + strlen(value)))
		return "a user, password, target_user, target_password, paths, policy, "
		       "iops or sessions is empty or too long";
	return NULL;
}

/* [from, to) with %XX read as a byte; false: too long, or no such byte. */
static bool decode(const char *from, const char *to, char *out, size_t size)
{
	size_t n = 0;

	for (; from < to; from++) {
		int c = (unsigned char)*from;
		if (c == '%') {
			int high = to - from > 2 ? parse_hex_digit(from[1]) : -1;
			int low = high < 0 ? -1 : parse_hex_digit(from[2]);
			c = high << 4 | low;
			if (low < 0 || c == 0)
				return false;
			from += 2;
		}
		if (n + 1 >= size)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

/* One key=value in [from, to). What is wrong with it, or NULL. */
static const char *take_key(struct iscsi_url *u, const char *from, const char *to)
{
	const char *equals = memchr(from, '=', (size_t)(to - from));
	char key[40], value[ISCSI_REACH_SIZE];

	if (!equals || !take(key, sizeof(key), from, equals))
		return "behind '?' stands key=value, with '&' between";
	const char *wrong = decode(equals + 1, to, value, sizeof(value))
				    ? iscsi_url_set(u, key, value)
				    : "a value is too long, or holds a '%' without the "
				      "two hexadecimal digits of a byte";
	explicit_bzero(value, sizeof(value));
	return wrong;
}

/* What is wrong with what it says of several paths, or NULL. */
static const char *paths_wrong(const struct iscsi_url *u)
{
	enum path_policy policy;
	uint64_t iops, sessions;

	if (u->paths[0] && strcmp(u->paths, "all") != 0 && strcmp(u->paths, "one") != 0)
		return "paths is all or one";
	if (u->policy[0] && !path_policy_parse(u->policy, &policy))
		return "policy is fixed, mru, rr or latency";
	if (u->iops[0] && (parse_u64(u->iops, 10000000, &iops) < 0 || iops == 0))
		return "iops is a number from 1 to 10000000";
	if (u->sessions[0] &&
	    (parse_u64(u->sessions, ISCSI_PATHS_MAX, &sessions) < 0 || sessions == 0))
		return "sessions is a number from 1 to 8";
	return NULL;
}

const char *iscsi_url_wrong(const struct iscsi_url *u)
{
	const char *wrong = paths_wrong(u);

	if (wrong)
		return wrong;
	if (!u->target_user[0] && !u->target_password[0])
		return NULL;
	if (!u->target_user[0] || !u->target_password[0])
		return "target_user and target_password go together";
	if (!u->user[0] || !u->password[0])
		return "a target proves itself only to one with a user and password";
	/* Or it could send our own answer back (RFC 7143 9.2.1). */
	if (strcmp(u->password, u->target_password) == 0)
		return "password and target_password may not be the same";
	return NULL;
}

static const char *take_keys(struct iscsi_url *u, const char *from)
{
	const char *wrong = NULL;

	while (!wrong && *from) {
		const char *to = strchrnul(from, '&');
		wrong = take_key(u, from, to);
		from = *to ? to + 1 : to;
	}
	return wrong ? wrong : iscsi_url_wrong(u);
}

#define DIGESTS 2u /* keys that are parameters; then come the settings */

static const struct key *digest_key(unsigned int i)
{
	const struct key *k = keys;

	while (k->kind != KEY_DIGEST || i-- > 0)
		k++;
	return k;
}

const char *iscsi_url_parameter(unsigned int i)
{
	if (i < DIGESTS)
		return digest_key(i)->name;
	return i - DIGESTS < ISCSI_SETTING_COUNT
		       ? iscsi_setting_name((enum iscsi_setting)(i - DIGESTS))
		       : NULL;
}

const char *iscsi_url_parameter_text(const struct iscsi_url *u, unsigned int i,
				     char text[static 32])
{
	enum iscsi_digest digest;

	if (i >= DIGESTS)
		return iscsi_setting_text(&u->settings, (enum iscsi_setting)(i - DIGESTS),
					  text);
	memcpy(&digest, (const char *)u + digest_key(i)->offset, sizeof(digest));
	(void)snprintf(text, 32, "%s", digest_words[digest]);
	return text;
}

struct iscsi_params iscsi_url_params(const struct iscsi_url *u)
{
	return (struct iscsi_params){
		.target_name = u->target[0] ? u->target : NULL,
		.user = u->user[0] ? u->user : NULL,
		.password = u->password[0] ? u->password : NULL,
		.target_user = u->target_user[0] ? u->target_user : NULL,
		.target_password = u->target_password,
		.bind = u->bind[0] ? u->bind : NULL,
		.reach = u->reach,
		.header_digest = u->header_digest,
		.data_digest = u->data_digest,
		.settings = u->settings,
		.first_cmd_sn = 1,
	};
}

/* ---- lists ---- */

/* The i-th of "A,A..." as [*ret_from, *ret_to); false: there are not so many. */
static bool item(const char *list, unsigned int i, const char **ret_from,
		 const char **ret_to)
{
	const char *to = strchrnul(list, ',');

	while (*to && i > 0) {
		list = to + 1;
		to = strchrnul(list, ',');
		i--;
	}
	*ret_from = list;
	*ret_to = to;
	return i == 0 && to > list;
}

bool iscsi_url_portal(const struct iscsi_url *u, unsigned int i,
		      char ret_host[ISCSI_HOST_SIZE], uint16_t *ret_port)
{
	const char *from, *to;

	if (i > 0)
		return item(u->portals, i - 1, &from, &to) &&
		       iscsi_portal_parse(from, to, ret_host, ret_port);
	memcpy(ret_host, u->host, ISCSI_HOST_SIZE);
	*ret_port = u->port;
	return true;
}

bool iscsi_url_nic(const struct iscsi_url *u, unsigned int i,
		   char ret_nic[ISCSI_BIND_SIZE])
{
	const char *from, *to;

	if (i > 0)
		return item(u->binds, i - 1, &from, &to) &&
		       take(ret_nic, ISCSI_BIND_SIZE, from, to);
	memcpy(ret_nic, u->bind, ISCSI_BIND_SIZE);
	return true;
}

/* ---- writing ---- */

static void write_value(struct buf *out, const char *value)
{
	for (; *value; value++) {
		bool is_plain = isalnum((unsigned char)*value) || strchr("-._~:", *value);
		buf_printf(out, is_plain ? "%c" : "%%%02X", (unsigned char)*value);
	}
}

static void write_key(struct buf *out, char *sign, const char *name, const char *value)
{
	buf_printf(out, "%c%s=", *sign, name);
	write_value(out, value);
	*sign = '&';
}

static void write_list(struct buf *out, char *sign, const char *name, const char *list)
{
	char one[ISCSI_REACH_SIZE];

	while (*list) {
		size_t len = strcspn(list, ",");
		(void)snprintf(one, sizeof(one), "%.*s", (int)len, list);
		write_key(out, sign, name, one);
		list += len + (list[len] == ',');
	}
}

void iscsi_portal_write(struct buf *out, const char *host, uint16_t port)
{
	buf_printf(out, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

void iscsi_url_write_place(const struct iscsi_url *u, struct buf *out)
{
	buf_printf(out, SCHEME);
	iscsi_portal_write(out, u->host, u->port);
	buf_printf(out, "/%s/%u", u->target, u->lun);
}

void iscsi_url_write(const struct iscsi_url *u, struct buf *out)
{
	char sign = '?';

	iscsi_url_write_place(u, out);
	for (const struct key *k = keys; k < keys + ARRAY_SIZE(keys); k++) {
		const char *field = (const char *)u + k->offset;
		enum iscsi_digest digest = ISCSI_DIGEST_DISCOURAGED;
		if (k->kind == KEY_DIGEST)
			memcpy(&digest, field, sizeof(digest));
		if (k->kind == KEY_REACH || k->kind == KEY_PORTAL)
			write_list(out, &sign, k->name, field);
		else if ((k->kind == KEY_TEXT || k->kind == KEY_BIND) && *field)
			write_key(out, &sign, k->name, field);
		else if (digest != ISCSI_DIGEST_DISCOURAGED)
			write_key(out, &sign, k->name, digest_words[digest]);
		if (k->kind == KEY_BIND)
			write_list(out, &sign, k->name, u->binds);
	}
	for (enum iscsi_setting which = 0; which < ISCSI_SETTING_COUNT; which++) {
		char value[24];
		if (u->settings.is_set[which])
			write_key(out, &sign, iscsi_setting_name(which),
				  iscsi_setting_text(&u->settings, which, value));
	}
}

/* What is wrong with text, or NULL. */
static const char *parse(const char *text, struct iscsi_url *u)
{
	if (strncmp(text, SCHEME, strlen(SCHEME)) != 0)
		return "it does not begin with " SCHEME;
	const char *from = text + strlen(SCHEME);
	const char *slash = strchr(from, '/');
	const char *mark = slash ? strchrnul(slash, '?') : NULL;
	const char *last = slash ? memrchr(slash, '/', (size_t)(mark - slash)) : NULL;
	char lun_text[8];
	uint64_t lun;
	if (!slash || slash == last)
		return "wanted is iscsi://host[:port]/target/lun";
	const char *at = memrchr(from, '@', (size_t)(slash - from));
	if (at && !take_user(u, from, at))
		return "its user or password is empty or too long";
	if (!iscsi_portal_parse(at ? at + 1 : from, slash, u->host, &u->port))
		return "its host or port is wrong";
	if (!take(u->target, sizeof(u->target), slash + 1, last) || !is_name(u->target))
		return "its target is no iSCSI name (iqn., eui., naa.)";
	if (!take(lun_text, sizeof(lun_text), last + 1, mark) ||
	    parse_u64(lun_text, LUN_MAX, &lun) < 0)
		return "its LUN is no number from 0 to 16383";
	u->lun = (uint16_t)lun;
	return take_keys(u, *mark ? mark + 1 : mark);
}

void iscsi_url_show(const char *text, char *out, size_t size)
{
	const char *from =
		strncmp(text, SCHEME, strlen(SCHEME)) == 0 ? text + strlen(SCHEME) : text;
	const char *slash = strchr(from, '/');
	const char *end = slash ? strchrnul(slash, '?') : text + strlen(text);
	const char *at = memrchr(from, '@', (size_t)((slash ? slash : end) - from));
	const char *percent = at ? memchr(from, '%', (size_t)(at - from)) : NULL;

	if (percent)
		(void)snprintf(out, size, "%.*s%.*s", (int)(percent - text), text,
			       (int)(end - at), at);
	else
		(void)snprintf(out, size, "%.*s", (int)(end - text), text);
}

int iscsi_url_parse(const char *text, struct reporter *r, struct iscsi_url *ret_url)
{
	struct iscsi_url u = { .port = ISCSI_PORT };

	iscsi_url_show(text, u.text, sizeof(u.text));
	const char *wrong = parse(text, &u);
	if (wrong)
		return report_error(r, -EINVAL, "%s: not a usable URL: %s", u.text,
				    wrong);
	*ret_url = u;
	return 0;
}
