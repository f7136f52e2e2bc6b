/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of volumes among the devices of the host. The host starts without them
 * (host.c); an admin lists them, and has one attached as the volume that it was copied
 * from (the original is gone: he vouches for that), or signed anew and attached.
 *
 *	COPY_THERE --request--> COPY_BUSY --mount--> COPY_KEPT   attached, until the host
 *	    ^                      |  |                          ends; also after a loss
 *	    '------- failed -------'  '---resignature--> COPY_NONE   attached
 *
 * One request at a time is at work on a device; the loop's task alone changes its state.
 */
#include "vmkernel/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "iscsi/open.h"
#include "vmkernel/control.h"

struct snapshot_job {
	struct host *host;
	struct requester who;
	enum msg_type type;
	char name[256];
	bool is_mine[HOST_STORES_MAX]; /* COPY_BUSY by this job */
	struct uuid attached[HOST_STORES_MAX]; /* UUIDs of attached datastores */
	unsigned int attached_count;
	uint32_t index; /* of what was attached */
	struct datastore *ds;
	json_t *result;
	int rc;
	char why[512];
};

static bool is_attached(const struct snapshot_job *j, const struct uuid *uuid)
{
	for (unsigned int i = 0; i < j->attached_count; i++)
		if (uuid_equal(&j->attached[i], uuid))
			return true;
	return false;
}

static void list_one(struct snapshot_job *j, uint32_t i, const struct vmfs_signature *s)
{
	char uuid[UUID_TEXT_SIZE];
	const char *why = "";

	if (s->is_resigning)
		why = "its resignature was not finished";
	else if (is_attached(j, &s->uuid))
		why = "the original volume is still online";
	AUTO_FREE char *shown = device_shown(j->host->devices[i]);
	json_array_append_new(json_object_get(j->result, "snapshots"),
			      json_pack("{s:s, s:s, s:s, s:i, s:s, s:b, s:b}", "label",
					s->label, "uuid", uuid_text(&s->uuid, uuid),
					"device", shown ? shown : "", "extents",
					(int)s->extent_count, "why", why, "can_mount",
					!*why, "can_resign", true));
}

static void attach(struct snapshot_job *j, uint32_t i, const struct vmfs_signature *s)
{
	struct datastore_options o =
		host_attach_options(j->host, i, j->host->reporter);
	struct vmfs_resigned now;

	if (j->type == MSG_SNAPSHOT_MOUNT && is_attached(j, &s->uuid)) {
		j->rc = -EBUSY;
		(void)snprintf(j->why, sizeof(j->why),
			       "%s: the original volume is still online", s->label);
		return;
	}
	o.keeps_signature = j->type == MSG_SNAPSHOT_MOUNT;
	if (j->type == MSG_SNAPSHOT_RESIGN)
		j->rc = datastore_resign(&o, &now);
	if (j->rc == 0)
		j->rc = datastore_attach(&o, &j->ds);
	j->index = i;
	if (j->rc < 0)
		(void)snprintf(j->why, sizeof(j->why), "%s: %s (vmkernel.log says more)",
			       s->label, strerror(-j->rc));
	else
		j->result = json_pack("{s:s, s:s}", "label", j->ds->label, "uuid",
				      j->ds->uuid_text);
}

static void work(void *arg)
{
	struct snapshot_job *j = arg;
	bool is_list = j->type == MSG_SNAPSHOT_LIST, is_found = false;

	if (is_list)
		j->result = json_pack("{s:[]}", "snapshots");
	for (uint32_t i = 0; i < HOST_STORES_MAX && (is_list || !is_found); i++) {
		struct datastore_options o =
			host_attach_options(j->host, i, j->host->reporter);
		struct vmfs_signature s;
		char uuid[UUID_TEXT_SIZE];

		if (!j->is_mine[i] || datastore_look(&o, &s) < 0)
			continue; /* reported */
		is_found = !strcmp(j->name, s.label) ||
			   !strcmp(j->name, uuid_text(&s.uuid, uuid));
		if (is_list)
			list_one(j, i, &s);
		else if (is_found)
			attach(j, i, &s);
	}
	if (is_list || is_found)
		return;
	j->rc = -ENOENT;
	(void)snprintf(j->why, sizeof(j->why), "%s: no such snapshot on this host",
		       j->name);
}

static void done(void *arg)
{
	struct snapshot_job *j = arg;
	struct host *h = j->host;

	for (uint32_t i = 0; i < HOST_STORES_MAX; i++)
		if (j->is_mine[i])
			h->copies[i] = COPY_THERE;
	if (j->ds) {
		h->copies[j->index] = j->type == MSG_SNAPSHOT_MOUNT ? COPY_KEPT
								    : COPY_NONE;
		host_datastore_add(h, j->ds);
	}
	control_reply(h->control, j->who, j->rc, j->why, j->result);
	free(j);
}

void snapshot_request(struct host *h, struct requester who, enum msg_type type,
		      const char *name)
{
	struct snapshot_job *j = calloc(1, sizeof(*j));
	struct datastore *ds;

	if (!j) {
		control_reply(h->control, who, -ENOMEM, "no memory", NULL);
		return;
	}
	j->host = h;
	j->who = who;
	j->type = type;
	(void)snprintf(j->name, sizeof(j->name), "%s", name);
	TAILQ_FOREACH(ds, &h->datastores, link)
		if (j->attached_count < HOST_STORES_MAX)
			j->attached[j->attached_count++] = ds->uuid;
	for (uint32_t i = 0; i < HOST_STORES_MAX; i++) {
		j->is_mine[i] = h->copies[i] == COPY_THERE;
		if (j->is_mine[i])
			h->copies[i] = COPY_BUSY;
	}
	if (loop_job(h->loop, "snapshot", work, done, j) == 0)
		return;
	j->rc = -ENOMEM;
	(void)snprintf(j->why, sizeof(j->why), "no memory");
	done(j);
}
