/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datastore names. A name is what stands between the brackets of "[label] dir/file", or
 * the component after /vmfs/volumes/.
 */
#include "vmkernel/msg/where.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vmkernel/msg/msg.h"

#define ANSWER_WITHIN_S 10
#define VOLUMES "/vmfs/volumes/"

/* name up to a slash, path from there on; both copied. */
static int split_at(const char *name, size_t name_len, const char *path, char **ret_name,
		    char **ret_path)
{
	while (*path == '/' || *path == ' ')
		path++;
	if (!name_len)
		return -EINVAL;
	char *n = strndup(name, name_len);
	char *p = malloc(strlen(path) + 2);
	if (!n || !p) {
		free(n);
		free(p);
		return -ENOMEM;
	}
	p[0] = '/';
	memcpy(p + 1, path, strlen(path) + 1);
	*ret_name = n;
	*ret_path = p;
	return 0;
}

int where_split(const char *text, char **ret_name, char **ret_path)
{
	if (*text == '[') {
		const char *end = strchr(text, ']');
		if (!end)
			return -EINVAL;
		return split_at(text + 1, (size_t)(end - text - 1), end + 1, ret_name,
				ret_path);
	}
	if (strncmp(text, VOLUMES, strlen(VOLUMES)) != 0)
		return -EINVAL;
	const char *name = text + strlen(VOLUMES);
	size_t len = strcspn(name, "/");
	return split_at(name, len, name + len, ret_name, ret_path);
}

/* The name alone, also when it comes as a path. */
static char *bare_name(const char *name)
{
	if (strncmp(name, VOLUMES, strlen(VOLUMES)) != 0)
		return strdup(name);
	name += strlen(VOLUMES);
	return strndup(name, strcspn(name, "/"));
}

static int read_answer(const json_t *reply, const char *name, struct reporter *r,
		       char *ret_device, uint32_t size)
{
	int result = (int)json_integer_value(json_object_get(reply, "result"));
	const char *device = json_string_value(json_object_get(reply, "device"));
	if (result == -ENOENT || result == -ENOTUNIQ)
		return result;
	if (result < 0 || !device) {
		const char *error = json_string_value(json_object_get(reply, "error"));
		return report_error(r, result < 0 ? result : -EPROTO, "%s: %s", name,
				    error ? error : "vmkernel's answer makes no sense");
	}
	if (strlen(device) >= size)
		return -ERANGE;
	memcpy(ret_device, device, strlen(device) + 1);
	return 0;
}

int where_datastore(const char *name, struct reporter *r, char *ret_device, uint32_t size)
{
	AUTO_FREE char *bare = bare_name(name);
	json_t *reply;
	json_t *body = bare ? json_pack("{s:s}", "name", bare) : NULL;
	if (!body)
		return -EINVAL;
	const char *path = msg_default_socket();
	int rc = msg_call(path, MSG_WHERE, body, ANSWER_WITHIN_S, &reply);
	if (rc == -ECONNREFUSED)
		return rc;
	if (rc < 0)
		return report_error(r, rc, "%s: vmkernel does not answer: %s", path,
				    strerror(-rc));
	rc = read_answer(reply, bare, r, ret_device, size);
	json_decref(reply);
	return rc;
}
