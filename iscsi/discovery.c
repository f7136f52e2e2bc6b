/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery: a session of its own kind that lives for one question. The caller sleeps
 * until the transport's task has the answer or the reason why there is none.
 */
#include "iscsi/discovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/env.h"
#include "iscsi/text.h"
#include "iscsi/transport.h"

#define MAX_TARGETS 4096

struct discovery {
	struct iscsi_owner owner;
	struct mutex m;
	struct cond c;
	bool is_over; /* these under the mutex */
	int error;
	char why[256];
	struct buf text;
};

static struct discovery *discovery_of(struct iscsi_owner *o)
{
	return (struct discovery *)((char *)o - offsetof(struct discovery, owner));
}

static void up(struct iscsi_owner *o, struct iscsi_session *s)
{
	(void)o;
	iscsi_session_send_targets(s);
}

static bool down(struct iscsi_owner *o, int error, const char *why, bool was_up)
{
	struct discovery *d = discovery_of(o);

	(void)was_up;
	mutex_lock(&d->m);
	if (!d->is_over) {
		d->is_over = true;
		d->error = error ? error : -ECONNRESET;
		(void)snprintf(d->why, sizeof(d->why), "%s", why);
		cond_broadcast(&d->c);
	}
	mutex_unlock(&d->m);
	return false;
}

static uint64_t pump(struct iscsi_owner *o, struct iscsi_session *s, uint64_t now)
{
	struct discovery *d = discovery_of(o);
	uint32_t len = 0;
	const char *text = s ? iscsi_session_targets(s, &len) : NULL;

	(void)now;
	if (!text)
		return NO_DEADLINE;
	mutex_lock(&d->m);
	if (!d->is_over) {
		buf_add(&d->text, text, len);
		d->is_over = true;
		cond_broadcast(&d->c);
	}
	mutex_unlock(&d->m);
	return NO_DEADLINE;
}

/* Adds one entry; false: no memory or too many. */
static bool add(struct iscsi_target **list, int *count, const char *name,
		const char *portal)
{
	struct iscsi_target *more;

	if (*count == MAX_TARGETS)
		return false;
	more = realloc(*list, (size_t)(*count + 1) * sizeof(**list));
	if (!more)
		return false;
	*list = more;
	(void)snprintf(more[*count].name, sizeof(more->name), "%s", name);
	(void)snprintf(more[*count].portal, sizeof(more->portal), "%s", portal);
	(*count)++;
	return true;
}

int iscsi_discovery_read(char *text, uint32_t len, struct iscsi_target **ret_targets)
{
	struct iscsi_target *list = NULL;
	const char *name = NULL;
	char *key, *value;
	uint32_t pos = 0;
	int count = 0, n = 0;
	bool is_fine = true, has_portal = true;

	while (is_fine && (n = iscsi_text_next(text, len, &pos, &key, &value)) > 0) {
		if (strcmp(key, "TargetName") == 0) {
			if (name && !has_portal)
				is_fine = add(&list, &count, name, "");
			name = value;
			has_portal = false;
		} else if (strcmp(key, "TargetAddress") == 0 && name) {
			is_fine = add(&list, &count, name, value);
			has_portal = true;
		}
	}
	if (is_fine && n == 0 && name && !has_portal)
		is_fine = add(&list, &count, name, "");
	if (!is_fine || n < 0) {
		free(list);
		return is_fine ? -EPROTO : -ENOMEM;
	}
	*ret_targets = list;
	return count;
}

static int discover(const struct iscsi_url *at, const char *initiator_name,
		    struct reporter *r, struct iscsi_target **ret_targets)
{
	struct discovery d = { .owner = { .up = up, .down = down, .pump = pump } };
	struct iscsi_params params = iscsi_url_params(at);
	struct iscsi_transport *transport;
	char name[ISCSI_NAME_SIZE];
	const char *why;

	params.target_name = NULL;
	iscsi_initiator_name(initiator_name, name);
	iscsi_initiator_isid(NULL, params.isid);
	params.initiator_name = name;
	mutex_init(&d.m);
	cond_init(&d.c);
	int n = iscsi_transport_start(at->host, at->port, &params, &d.owner, &transport,
				      &why);
	if (n < 0) {
		report(r, REPORT_ERROR, "%s: %s", at->host, why);
	} else {
		mutex_lock(&d.m);
		while (!d.is_over)
			cond_wait(&d.c, &d.m);
		mutex_unlock(&d.m);
		iscsi_transport_stop(transport);
		n = d.error ? d.error
			    : iscsi_discovery_read(d.text.data, (uint32_t)d.text.len,
						   ret_targets);
		if (n < 0)
			report(r, REPORT_ERROR, "%s:%u: discovery failed: %s",
			       at->host, at->port,
			       d.error ? d.why : "its answer makes no sense");
	}
	buf_done(&d.text);
	cond_done(&d.c);
	mutex_done(&d.m);
	return n;
}

int iscsi_discover(const struct iscsi_url *at, const char *initiator_name,
		   struct reporter *r, struct iscsi_target **ret_targets)
{
	struct iscsi_url from = *at;
	int count = -EHOSTUNREACH;

	for (unsigned int i = 0;
	     count < 0 && count != -EACCES && iscsi_url_nic(at, i, from.bind); i++)
		count = discover(&from, initiator_name, r, ret_targets);
	explicit_bzero(&from, sizeof(from));
	return count;
}
