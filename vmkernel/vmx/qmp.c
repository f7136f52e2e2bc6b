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
#include <sys/socket.h>
#include <unistd.h>

void qmp_init(struct qmp *q, int sock)
{
	*q = (struct qmp){ .sock = sock };
}

void qmp_done(struct qmp *q)
{
	if (q->sock >= 0)
		(void)close(q->sock);
	q->sock = -1;
	buf_done(&q->in);
	buf_done(&q->out);
}

int qmp_read(struct qmp *q)
{
	char bytes[4096];
	if (q->sock < 0)
		return -ECONNRESET;
	while (q->in.len <= QMP_LINE_MAX) {
		ssize_t n = recv(q->sock, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		buf_add(&q->in, bytes, (size_t)n);
		if (q->in.error)
			return q->in.error;
	}
	return memchr(q->in.data, '\n', q->in.len) ? 0 : -EPROTO;
}

int qmp_next(struct qmp *q, json_t **ret_message)
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

int qmp_send(struct qmp *q, const char *command, json_t *arguments, uint32_t id)
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
	return q->out.error ? q->out.error : qmp_flush(q);
}

int qmp_flush(struct qmp *q)
{
	while (q->out.len) {
		if (q->sock < 0)
			return -ECONNRESET;
		ssize_t n = send(q->sock, q->out.data, q->out.len,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		buf_consume(&q->out, (size_t)n);
	}
	return 0;
}

const char *qmp_error_of(const json_t *message)
{
	const json_t *error = json_object_get(message, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));
	return error ? (desc ? desc : "an error without a description") : NULL;
}
