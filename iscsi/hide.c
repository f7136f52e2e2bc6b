/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passwords in the arguments of a program: everybody can read those (ps), as long as it
 * runs. They are where the kernel has put them, so the program keeps copies, and writes
 * over what all can see. Until it has come to that they are seen.
 */
#include <stdlib.h>
#include <string.h>

#include "iscsi/open.h"

#define SCHEME "iscsi://"
#define SECRET_KEY "password=" /* target_password= ends so, too */

/* [from, to) is a secret. */
static bool cover(char *from, const char *to)
{
	for (char *p = from; p < to; p++)
		*p = '*';
	return from < to;
}

/* Of one URL, which is the rest of an argument, or a part of it. */
static bool cover_user(char *url)
{
	char *from = url + strlen(SCHEME);
	size_t len = strcspn(from, "/");
	const char *at = memrchr(from, '@', len);
	char *percent = at ? memchr(from, '%', (size_t)(at - from)) : NULL;

	return percent && cover(percent + 1, at);
}

/* Behind a '?'. What follows the last key up to a comma is covered with it. */
static bool cover_keys(char *text)
{
	bool is_any = false;

	for (char *p = text; (p = strstr(p, SECRET_KEY)) != NULL;) {
		p += strlen(SECRET_KEY);
		is_any |= cover(p, p + strcspn(p, "&,"));
	}
	return is_any;
}

void device_hide_secrets(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *shown = argv[i], *url = strstr(shown, SCHEME);
		char *own = url ? strdup(shown) : NULL;
		bool is_any = own && cover_keys(url);

		for (; own && url; url = strstr(url + 1, SCHEME))
			is_any |= cover_user(url);
		if (is_any)
			argv[i] = own;
		else
			free(own);
	}
}
