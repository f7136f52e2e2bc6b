/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QMP client. QEMU is not trusted (a guest may have taken it over): lines have a
 * limit, and what is in them is looked at through jansson's typed getters, where a
 * missing or wrong member is NULL or 0.
 */
#include "vmkernel/vmx/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int qmp_read(struct channel *q)
{
	int rc = channel_read(q, QMP_LINE_MAX);
	if (rc < 0 || q->in.len <= QMP_LINE_MAX)
		return rc;
	return memchr(q->in.data, '\n', q->in.len) ? 0 : -EPROTO;
}

int qmp_next(struct channel *q, json_t **ret_message)
{
	json_error_t error;
	const char *end = q->in.len ? memchr(q->in.data, '\n', q->in.len) : NULL;
	if (!end)
		return 0;
	size_t len = (size_t)(end - q->in.data);
	json_t *m = json_loadb(q->in.data, len, 0, &error);
	buf_consume(&q->in, len + 1);
	if (!json_is_object(m)) {
		json_decref(m);
		return -EPROTO;
	}
	*ret_message = m;
	return 1;
}

int qmp_send(struct channel *q, const char *command, json_t *arguments, uint32_t id)
{
	json_t *m = json_pack("{s:s, s:I}", "execute", command, "id", (json_int_t)id);
	if (m && arguments && json_object_set(m, "arguments", arguments) < 0) {
		json_decref(m);
		m = NULL;
	}
	json_decref(arguments);
	char *text = m ? json_dumps(m, JSON_COMPACT) : NULL;
	json_decref(m);
	if (!text)
		return -ENOMEM;
	buf_add(&q->out, text, strlen(text));
	buf_add(&q->out, "\n", 1);
	free(text);
	return q->out.error ? q->out.error : channel_flush(q);
}

const char *qmp_error_of(const json_t *message)
{
	const json_t *error = json_object_get(message, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));
	return error ? (desc ? desc : "an error without a description") : NULL;
}
