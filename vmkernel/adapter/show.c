/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that only look: the adapter, its targets and sessions, devices, the host. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "bdev/fence.h"
#include "vmkernel/adapter/ask.h"
#include "vmkernel/adapter/device.h"

#define DESCRIPTION "OpenVMFS iSCSI Software Adapter"
#define DRIVER "iscsi_vmk"

/* ---- the adapter ---- */

static json_t *adapter_row(const struct ask *ask)
{
	const struct host *h = ask->adapter->host;
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b}",
			 "adapter", ADAPTER_NAME, "driver", DRIVER, "state", "online",
			 "uid", h->initiator_name, "name", h->initiator_name,
			 "description", DESCRIPTION, "vendor", "OpenVMFS", "model",
			 DESCRIPTION, "version", HOST_VERSION, "alias",
			 msg_text(ask->adapter->doc, "alias"), "tcp", true,
			 "initiator", true);
}

static int one_row(struct ask *ask, json_t *row)
{
	ask->rows = json_pack("[o]", row);
	return ask->rows ? 0 : -ENOMEM;
}

static int adapter_show(struct ask *ask)
{
	return one_row(ask, adapter_row(ask));
}

/* Each target that is known once. */
static void add_targets(struct ask *ask, const char *list, const char *method)
{
	json_t *all = ask_rows(ask, list), *one;
	size_t i;
	json_array_foreach(all, i, one) {
		const char *name = msg_text(one, "name");
		bool is_static = !*msg_text(one, "source");
		bool is_there = false;
		json_t *row;
		size_t k;
		json_array_foreach(ask->rows, k, row)
			is_there |= !strcmp(msg_text(row, "name"), name);
		if (is_there)
			continue;
		json_object_set_new(one, "method",
				    json_string(is_static ? "STATIC" : method));
		if (!*msg_text(one, "error"))
			json_object_set_new(one, "error", json_string("No Error"));
		json_array_append(ask->rows, one);
	}
	json_decref(all);
}

static int target_list(struct ask *ask)
{
	ask->rows = json_array();
	add_targets(ask, "found", "SENDTARGETS");
	add_targets(ask, "statictargets", "STATIC");
	return 0;
}

static int portal_list(struct ask *ask)
{
	json_t *one;
	size_t i;
	ask->rows = ask_rows(ask, "found");
	json_array_foreach(ask->rows, i, one) {
		const char *address = msg_text(one, "address");
		char host[ISCSI_HOST_SIZE];
		uint16_t port;
		if (!iscsi_portal_parse(address, address + strlen(address), host, &port))
			continue;
		json_object_set_new(one, "ip", json_string(host));
		json_object_set_new(one, "port", json_integer(port));
	}
	return 0;
}

/* ---- sessions ---- */

/* Of the i-th path. */
static json_t *session_row(const struct bdev_nexus *nexus, const struct paths_info *info,
			   unsigned int i)
{
	const struct path_info *p = &info->path[i];
	unsigned int tpgt = nexus->paths > 1 ? nexus->tpgts[i] : nexus->tpgt;
	char isid[16], title[400], host[ISCSI_HOST_SIZE] = "";
	uint16_t port = 0;
	(void)!iscsi_portal_parse(p->portal, p->portal + strlen(p->portal), host, &port);
	(void)snprintf(isid, sizeof(isid), "%02x%02x%02x%02x%02x%02x", nexus->isid[0],
		       nexus->isid[1], nexus->isid[2], (nexus->isid[3] + i) & 0xff,
		       nexus->isid[4], nexus->isid[5]);
	(void)snprintf(title, sizeof(title), "%s,%s,%s,%u", ADAPTER_NAME, p->target, isid,
		       tpgt);
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:i, s:i, s:s}", "title", title,
			 "adapter", ADAPTER_NAME, "name", p->target, "isid", isid, "tpgt",
			 (int)tpgt, "remote", host, "port", (int)port, "cid", 0, "state",
			 path_state_text(p->state));
}

/* A row for each path of a device of a target. */
static void add_sessions(struct ask *ask, const struct datastore *ds, struct bdev *bd,
			 const char *purpose)
{
	AUTO_FREE struct paths_info *info = device_paths(bd);
	const char *wanted = ask_text(ask, "name");
	char device[DEVICE_NAME_SIZE];
	struct bdev_nexus nexus;
	if (!info || bdev_nexus(bd, &nexus) < 0)
		return;
	for (unsigned int i = 0; i < info->count; i++) {
		if (*wanted && strcmp(wanted, info->path[i].target) != 0)
			continue;
		json_t *row = session_row(&nexus, info, i);
		json_object_set_new(row, "device", json_string(device_name(bd, device)));
		json_object_set_new(row, "datastore", json_string(ds->label));
		json_object_set_new(row, "purpose", json_string(purpose));
		json_array_append_new(ask->rows, row);
	}
}

static int session_list(struct ask *ask)
{
	struct datastore *ds;
	ask->rows = json_array();
	TAILQ_FOREACH(ds, &ask->adapter->host->datastores, link) {
		if (ds->is_lost)
			continue; /* the reattaching job has them */
		for (unsigned int i = 0; i < ds->extent_count; i++)
			add_sessions(ask, ds, ds->extents[i], "data");
		add_sessions(ask, ds, ds->heartbeat, "heartbeat");
	}
	return 0;
}

/* They belong to datastores: none is left when nothing is attached. */
static int session_remove(struct ask *ask)
{
	const char *name = ask_text(ask, "name");
	(void)session_list(ask);
	const json_t *first = json_array_get(ask->rows, 0);
	int rc = first ? ask_fails(ask, -EBUSY,
				   "%s: in use by datastore %s: unmount it first", name,
				   msg_text(first, "datastore"))
		       : ask_fails(ask, -ENOENT, "%s: no such session", name);
	json_decref(ask->rows);
	ask->rows = NULL;
	return rc;
}

/* ---- devices ---- */

static int device_list(struct ask *ask)
{
	const char *wanted = ask_text(ask, "device");
	ask->rows = device_rows(ask->adapter, wanted);
	if (!*wanted || json_array_size(ask->rows))
		return 0;
	json_decref(ask->rows);
	ask->rows = NULL;
	return ask_fails(ask, -ENODEV, "%s: no such device; a rescan finds new ones",
			 wanted);
}

static int extent_list(struct ask *ask)
{
	struct datastore *ds;
	char name[DEVICE_NAME_SIZE];
	ask->rows = json_array();
	TAILQ_FOREACH(ds, &ask->adapter->host->datastores, link)
		for (unsigned int i = 0; !ds->is_lost && i < ds->extent_count; i++)
			json_array_append_new(
				ask->rows,
				json_pack("{s:s, s:s, s:i, s:s}", "label", ds->label,
					  "uuid", ds->uuid_text, "number", (int)i,
					  "device", device_name(ds->extents[i], name)));
	return 0;
}

/* ---- the host ---- */

static int version_get(struct ask *ask)
{
	return one_row(ask, json_pack("{s:s, s:s, s:s, s:s, s:s}", "product", "OpenVMFS",
				      "version", HOST_VERSION, "build", "Releasebuild-0",
				      "update", "0", "patch", "0"));
}

static int hostname_get(struct ask *ask)
{
	const char *name = ask->adapter->host->host_name, *dot = strchr(name, '.');
	char first[64];
	(void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(name, "."), name);
	return one_row(ask, json_pack("{s:s, s:s, s:s}", "domain", dot ? dot + 1 : "",
				      "fqdn", name, "host", first));
}

static int uuid_get(struct ask *ask)
{
	return one_row(ask,
		       json_pack("{s:s}", "uuid", ask->adapter->host->uuid_text));
}

const struct ask_command show_commands[] = {
	{ "iscsi adapter list", adapter_show },
	{ "iscsi adapter get", adapter_show },
	{ "iscsi adapter target list", target_list },
	{ "iscsi adapter target portal list", portal_list },
	{ "iscsi session list", session_list },
	{ "iscsi session connection list", session_list },
	{ "iscsi session remove", session_remove },
	{ "storage core adapter list", adapter_show },
	{ "storage core device list", device_list },
	{ "storage core device vaai status get", device_list },
	{ "storage vmfs extent list", extent_list },
	{ "system version get", version_get },
	{ "system hostname get", hostname_get },
	{ "system uuid get", uuid_get },
	{ 0 },
};
