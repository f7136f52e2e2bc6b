/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of LUNs. A password never gets into a report. */
#include "iscsi/url.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

/* host[:port] or [address][:port] */
static bool take_portal(struct iscsi_url *u, const char *from, const char *to)
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
	u->port = (uint16_t)port;
	return bracket ? take(u->host, sizeof(u->host), from + 1, bracket)
		       : take(u->host, sizeof(u->host), from, host_end);
}

/* true if text can be a name (RFC 7143 4.2.7.2). */
static bool is_name(const char *text)
{
	return strncmp(text, "iqn.", 4) == 0 || strncmp(text, "eui.", 4) == 0 ||
	       strncmp(text, "naa.", 4) == 0;
}

/* What is wrong with text, or NULL. */
static const char *parse(const char *text, struct iscsi_url *u)
{
	if (strncmp(text, SCHEME, strlen(SCHEME)) != 0)
		return "it does not begin with " SCHEME;
	const char *from = text + strlen(SCHEME);
	const char *slash = strchr(from, '/');
	const char *last = strrchr(from, '/');
	uint64_t lun;
	if (!slash || slash == last)
		return "wanted is iscsi://host[:port]/target/lun";
	const char *at = memrchr(from, '@', (size_t)(slash - from));
	if (at && !take_user(u, from, at))
		return "its user or password is empty or too long";
	if (!take_portal(u, at ? at + 1 : from, slash))
		return "its host or port is wrong";
	if (!take(u->target, sizeof(u->target), slash + 1, last) || !is_name(u->target))
		return "its target is no iSCSI name (iqn., eui., naa.)";
	if (parse_u64(last + 1, LUN_MAX, &lun) < 0)
		return "its LUN is no number from 0 to 16383";
	u->lun = (uint16_t)lun;
	return NULL;
}

/* The URL as it may be shown: what is between '%' and '@' is left out. */
static void show(const char *text, char *out, size_t size)
{
	const char *end = text + strlen(text);
	const char *from =
		strncmp(text, SCHEME, strlen(SCHEME)) == 0 ? text + strlen(SCHEME) : text;
	const char *slash = strchr(from, '/');
	const char *at = memrchr(from, '@', (size_t)((slash ? slash : end) - from));
	const char *percent = at ? memchr(from, '%', (size_t)(at - from)) : NULL;

	if (percent)
		(void)snprintf(out, size, "%.*s%s", (int)(percent - text), text, at);
	else
		(void)snprintf(out, size, "%s", text);
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
