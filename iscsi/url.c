/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of LUNs. A password never gets into a report. */
#include "iscsi/url.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/parse.h"
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

static const char *take_digest(const char *from, const char *to, enum iscsi_digest *ret)
{
	static const char *const words[] = {
		[ISCSI_DIGEST_DISCOURAGED] = "discouraged",
		[ISCSI_DIGEST_PREFERRED] = "preferred",
		[ISCSI_DIGEST_REQUIRED] = "required",
		[ISCSI_DIGEST_PROHIBITED] = "prohibited",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		if (strlen(words[i]) == (size_t)(to - from) &&
		    memcmp(words[i], from, (size_t)(to - from)) == 0) {
			*ret = (enum iscsi_digest)i;
			return NULL;
		}
	}
	return "a digest is prohibited, discouraged, preferred or required";
}

/* One key=value in [from, to). What is wrong with it, or NULL. */
static const char *take_key(struct iscsi_url *u, const char *from, const char *to)
{
	const char *equals = memchr(from, '=', (size_t)(to - from));
	char key[20];

	if (!equals || !take(key, sizeof(key), from, equals))
		return "behind '?' stands key=value, with '&' between";
	from = equals + 1;
	if (strcmp(key, "header_digest") == 0)
		return take_digest(from, to, &u->header_digest);
	if (strcmp(key, "data_digest") == 0)
		return take_digest(from, to, &u->data_digest);
	bool is_user = strcmp(key, "target_user") == 0;
	if (!is_user && strcmp(key, "target_password") != 0)
		return "its keys are target_user, target_password, header_digest, "
		       "data_digest";
	/* Both fields are of one size. */
	return take(is_user ? u->target_user : u->target_password, sizeof(u->target_user),
		    from, to)
		       ? NULL
		       : "its target_user or target_password is empty or too long";
}

static const char *take_keys(struct iscsi_url *u, const char *from)
{
	const char *wrong = NULL;

	while (!wrong && *from) {
		const char *to = strchrnul(from, '&');
		wrong = take_key(u, from, to);
		from = *to ? to + 1 : to;
	}
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

/* What is wrong with text, or NULL. */
static const char *parse(const char *text, struct iscsi_url *u)
{
	if (strncmp(text, SCHEME, strlen(SCHEME)) != 0)
		return "it does not begin with " SCHEME;
	const char *from = text + strlen(SCHEME);
	const char *slash = strchr(from, '/');
	const char *keys = slash ? strchrnul(slash, '?') : NULL;
	const char *last = slash ? memrchr(slash, '/', (size_t)(keys - slash)) : NULL;
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
	if (!take(lun_text, sizeof(lun_text), last + 1, keys) ||
	    parse_u64(lun_text, LUN_MAX, &lun) < 0)
		return "its LUN is no number from 0 to 16383";
	u->lun = (uint16_t)lun;
	return take_keys(u, *keys ? keys + 1 : keys);
}

/* The URL as it may be shown: without what is between '%' and '@', or behind '?'. */
static void show(const char *text, char *out, size_t size)
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

	show(text, u.text, sizeof(u.text));
	const char *wrong = parse(text, &u);
	if (wrong)
		return report_error(r, -EINVAL, "%s: not a usable URL: %s", u.text,
				    wrong);
	*ret_url = u;
	return 0;
}
