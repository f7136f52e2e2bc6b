/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paths of attached devices, and how one is chosen. A choice is the device's, not the
 * datastore's: it is kept under the device's name (`devices` of the document) and made
 * again whenever a datastore is attached.
 *
 * A path is called vmhba64:C:T:L as long as the host runs: the number of the path in its
 * device, of its target on this host, of the LUN. Its portal stands for it as well.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "iscsi/path.h"
#include "vmkernel/adapter/ask.h"
#include "vmkernel/adapter/device.h"

#define NAME_SIZE 64
#define IOPS_MAX 10000000
#define NUMBERS_MAX 4096

/* The targets of this host in the order in which they are known. */
static unsigned int target_number(const struct adapter *a, const char *target)
{
	json_t *one, *seen = json_object();
	size_t i, n = NUMBERS_MAX;
	json_array_foreach(json_object_get(a->doc, "found"), i, one) {
		const char *name = msg_text(one, "name");
		if (n == NUMBERS_MAX && !strcmp(name, target))
			n = json_object_size(seen);
		json_object_set_new(seen, name, json_true());
	}
	if (n == NUMBERS_MAX)
		n = json_object_size(seen); /* of the configuration file */
	json_decref(seen);
	return (unsigned int)n;
}

static const char *path_name(const struct adapter *a, const struct paths_info *info,
			     unsigned int i, char name[static NAME_SIZE])
{
	(void)snprintf(name, NAME_SIZE, ADAPTER_NAME ":C%u:T%u:L%u", i,
		       target_number(a, info->path[i].target), info->path[i].lun);
	return name;
}

/* ---- lists ---- */

static json_t *path_row(const struct ask *ask, const struct bdev *bd,
			const struct paths_info *info, unsigned int i)
{
	const struct host *h = ask->adapter->host;
	const struct path_info *p = &info->path[i];
	char name[NAME_SIZE], device[DEVICE_NAME_SIZE], uid[1024];
	(void)path_name(ask->adapter, info, i, name);
	(void)device_name(bd, device);
	(void)snprintf(uid, sizeof(uid), "%s-%s,t,%u-%s", h->initiator_name, p->target,
		       p->tpgt, device);
	json_t *row = json_pack(
		"{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, "
		"s:s}",
		"uid", uid, "name", name, "device", device, "adapter", ADAPTER_NAME,
		"channel", (int)i, "target_number",
		(int)target_number(ask->adapter, p->target), "lun", (int)p->lun, "plugin",
		"NMP", "state", path_state_text(p->state), "transport", "iscsi",
		"adapter_id", h->initiator_name, "target", p->target, "portal", p->portal,
		"nic", p->nic, "why", p->why);
	json_t *more = json_pack(
		"{s:i, s:i, s:b, s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:I}",
		"tpgt", (int)p->tpgt, "group", (int)p->group, "is_preferred",
		p->is_preferred, "is_working", p->is_working, "busy", (int)p->busy,
		"commands",
		(json_int_t)(p->stats.reads + p->stats.writes + p->stats.others), "reads",
		(json_int_t)p->stats.reads, "writes", (json_int_t)p->stats.writes,
		"blocks_read", (json_int_t)(p->stats.bytes_read / 512), "blocks_written",
		(json_int_t)(p->stats.bytes_written / 512), "errors",
		(json_int_t)p->stats.errors, "failovers", (json_int_t)p->stats.failovers,
		"miscompares", (json_int_t)p->stats.miscompares, "unknowns",
		(json_int_t)p->stats.unknowns, "latency_us",
		(json_int_t)(p->stats.latency_ns / 1000));
	(void)json_object_update(row, more);
	json_decref(more);
	return row;
}

/* How many I/Os took less than 128 us, 256 us, ...: "128us:3 256us:17". */
static void add_histogram(json_t *row, const struct path_stats *stats)
{
	struct buf text = { 0 };
	for (unsigned int i = 0; i < PATH_HISTOGRAM; i++)
		if (stats->histogram[i])
			buf_printf(&text, "%s%s%lluus:%llu", text.len ? " " : "",
				   i + 1 < PATH_HISTOGRAM ? "<" : ">=",
				   128ull << (i + 1 < PATH_HISTOGRAM ? i : i - 1),
				   (unsigned long long)stats->histogram[i]);
	json_object_set_new(row, "histogram", json_string(text.data ? text.data : ""));
	buf_done(&text);
}

static void add_paths(struct ask *ask, struct bdev *bd)
{
	const char *wanted = ask_text(ask, "device"), *only = ask_text(ask, "path");
	AUTO_FREE struct paths_info *info = device_paths(bd);
	char name[NAME_SIZE], device[DEVICE_NAME_SIZE];
	if (!info || (*wanted && strcmp(wanted, device_name(bd, device)) != 0))
		return;
	for (unsigned int i = 0; i < info->count; i++) {
		if (*only && strcmp(only, path_name(ask->adapter, info, i, name)) != 0 &&
		    strcmp(only, info->path[i].name) != 0)
			continue;
		json_t *row = path_row(ask, bd, info, i);
		add_histogram(row, &info->path[i].stats);
		json_array_append_new(ask->rows, row);
	}
}

static int path_list(struct ask *ask)
{
	struct datastore *ds;
	struct bdev *bd;
	ask->rows = json_array();
	for (unsigned int n = 0; (bd = device_of_host(ask->adapter->host, "", n, &ds));
	     n++)
		add_paths(ask, bd);
	return 0;
}

static json_t *nmp_row(const struct ask *ask, struct bdev *bd,
		       const struct paths_info *info)
{
	char config[NAME_SIZE + 16] = "", name[NAME_SIZE];
	json_t *row = device_row(bd), *working = json_array();
	if (info->policy == POLICY_ROUND_ROBIN)
		(void)snprintf(config, sizeof(config), "{policy=iops,iops=%u}",
			       info->iops);
	for (unsigned int i = 0; i < info->count; i++) {
		(void)path_name(ask->adapter, info, i, name);
		if (info->path[i].is_working)
			json_array_append_new(working, json_string(name));
		if (info->policy == POLICY_FIXED && info->path[i].is_preferred)
			(void)snprintf(config, sizeof(config), "{preferred=%s}", name);
		if (info->path[i].is_preferred)
			json_object_set_new(row, "preferred", json_string(name));
	}
	json_object_set_new(row, "working", working);
	json_object_set_new(row, "satp",
			    json_string(info->tpgs ? "VMW_SATP_ALUA"
						   : "VMW_SATP_DEFAULT_AA"));
	json_object_set_new(row, "psp", json_string(path_policy_text(info->policy)));
	json_object_set_new(row, "config", json_string(config));
	json_object_set_new(row, "iops", json_integer(info->iops));
	json_object_set_new(row, "limit", json_string("Iops"));
	json_object_set_new(row, "is_apd", json_boolean(info->is_apd));
	return row;
}

static int nmp_list(struct ask *ask)
{
	const char *wanted = ask_text(ask, "device");
	char device[DEVICE_NAME_SIZE];
	struct datastore *ds;
	struct bdev *bd;
	ask->rows = json_array();
	for (unsigned int n = 0; (bd = device_of_host(ask->adapter->host, "", n, &ds));
	     n++) {
		AUTO_FREE struct paths_info *info = device_paths(bd);
		if (info && (!*wanted || !strcmp(wanted, device_name(bd, device))))
			json_array_append_new(ask->rows, nmp_row(ask, bd, info));
	}
	return 0;
}

static int psp_list(struct ask *ask)
{
	static const char *const about[] = {
		[POLICY_FIXED] = "The preferred path while it works",
		[POLICY_MRU] = "The path in use while it works",
		[POLICY_ROUND_ROBIN] = "The paths in turns",
		[POLICY_LATENCY] = "The path that answers soonest",
	};
	ask->rows = json_array();
	for (enum path_policy p = POLICY_FIXED; p <= POLICY_LATENCY; p++)
		json_array_append_new(ask->rows,
				      json_pack("{s:s, s:s}", "name",
						path_policy_text(p), "description",
						about[p]));
	return 0;
}

/* ---- choices ---- */

static void apply(const json_t *choice, struct bdev *bd)
{
	enum path_policy policy;
	const char *preferred = msg_text(choice, "preferred");
	uint32_t iops = (uint32_t)json_integer_value(json_object_get(choice, "iops"));
	if (bd && path_policy_parse(msg_text(choice, "psp"), &policy))
		(void)!paths_set_policy(bd, policy, iops, *preferred ? preferred : NULL);
}

void adapter_attached(const struct adapter *a, struct datastore *ds)
{
	char device[DEVICE_NAME_SIZE];
	for (unsigned int i = 0; i < ds->extent_count; i++) {
		const json_t *choice = adapter_config_find(
			a->doc, "devices", "device", device_name(ds->extents[i], device),
			NULL, NULL);
		if (!choice)
			continue;
		apply(choice, ds->extents[i]);
		if (i == 0)
			apply(choice, ds->heartbeat);
	}
}

/* The paths of the request's device, malloc'ed; NULL: told why. */
static struct paths_info *info_asked(struct ask *ask)
{
	const char *name = ask_text(ask, "device");
	struct datastore *ds;
	struct paths_info *info =
		*name ? device_paths(device_of_host(ask->adapter->host, name, 0, &ds))
		      : NULL;
	if (!info)
		(void)ask_fails(ask, -ENODEV, "%s: no attached device of a target", name);
	return info;
}

/* A path of the device (path_info) by its name here or there; NULL: there is none. */
static const char *path_of(const struct ask *ask, const struct paths_info *info,
			   const char *path)
{
	char name[NAME_SIZE];
	for (unsigned int i = 0; i < info->count; i++)
		if (!strcmp(path, path_name(ask->adapter, info, i, name)) ||
		    !strcmp(path, info->path[i].name))
			return info->path[i].name;
	return NULL;
}

static int choose(struct ask *ask, enum path_policy policy, uint32_t iops,
		  const char *preferred)
{
	const char *name = ask_text(ask, "device");
	struct datastore *ds;
	struct bdev *bd =
		*name ? device_of_host(ask->adapter->host, name, 0, &ds) : NULL;
	int rc = bd ? paths_set_policy(bd, policy, iops, preferred) : -EOPNOTSUPP;
	if (rc == -EOPNOTSUPP)
		return ask_fails(ask, rc, "%s: no attached device of a target", name);
	if (rc < 0)
		return rc;
	json_t *choice = adapter_config_make(ask->adapter->doc, "devices", "device",
					     name);
	json_object_set_new(choice, "psp", json_string(path_policy_text(policy)));
	if (iops)
		json_object_set_new(choice, "iops", json_integer(iops));
	if (preferred)
		json_object_set_new(choice, "preferred", json_string(preferred));
	if (bd == ds->extents[0])
		apply(choice, ds->heartbeat);
	ask->is_changed = true;
	return 0;
}

static int nmp_set(struct ask *ask)
{
	enum path_policy policy;
	const char *word = ask_text(ask, "psp");
	if (!path_policy_parse(word, &policy))
		return ask_fails(ask, -EINVAL, "%s: no such policy: see nmp psp list",
				 word);
	return choose(ask, policy, 0, NULL);
}

static int round_robin_set(struct ask *ask)
{
	json_int_t iops = json_integer_value(json_object_get(ask->body, "iops"));
	const char *type = ask_text(ask, "type");
	AUTO_FREE struct paths_info *info = info_asked(ask);
	if (!info)
		return -ENODEV;
	if (info->policy != POLICY_ROUND_ROBIN)
		return ask_fails(ask, -EINVAL, "the device's policy is not %s",
				 path_policy_text(POLICY_ROUND_ROBIN));
	if (*type && strcmp(type, "iops") != 0 && strcmp(type, "default") != 0)
		return ask_fails(ask, -EINVAL, "%s: a type is iops or default", type);
	if (!*type || !strcmp(type, "default"))
		iops = iops ? iops : 1000;
	if (iops < 1 || iops > IOPS_MAX)
		return ask_fails(ask, -EINVAL, "--iops is a number from 1 to %d",
				 IOPS_MAX);
	return choose(ask, POLICY_ROUND_ROBIN, (uint32_t)iops, NULL);
}

static int fixed_set(struct ask *ask)
{
	AUTO_FREE struct paths_info *info = info_asked(ask);
	if (!info)
		return -ENODEV;
	const char *path = path_of(ask, info, ask_text(ask, "path"));
	if (!path)
		return ask_fails(ask, -ENOENT, "%s: the device has no such path",
				 ask_text(ask, "path"));
	return choose(ask, POLICY_FIXED, 0, path);
}

/* On or off, on every device that it leads to; of this run of the host. */
static int path_set(struct ask *ask)
{
	const char *path = ask_text(ask, "path"), *state = ask_text(ask, "state");
	bool is_off = !strcmp(state, "off");
	unsigned int count = 0;
	struct datastore *ds;
	struct bdev *bd;
	if (!is_off && strcmp(state, "active") != 0)
		return ask_fails(ask, -EINVAL, "%s: a state is active or off", state);
	for (unsigned int n = 0; (bd = device_of_host(ask->adapter->host, "", n, &ds));
	     n++) {
		AUTO_FREE struct paths_info *info = device_paths(bd);
		const char *own = info ? path_of(ask, info, path) : NULL;
		int rc = own ? paths_set_off(bd, own, is_off) : 0;
		if (rc == -EBUSY)
			return ask_fails(ask, rc, "%s: the last path that works stays",
					 path);
		if (rc < 0)
			return rc;
		count += own != NULL;
	}
	return count ? 0 : ask_fails(ask, -ENOENT, "%s: no such path", path);
}

const struct ask_command path_commands[] = {
	{ "storage core path list", path_list },
	{ "storage core path stats get", path_list },
	{ "storage core path set", path_set },
	{ "storage nmp device list", nmp_list },
	{ "storage nmp device set", nmp_set },
	{ "storage nmp path list", path_list },
	{ "storage nmp psp list", psp_list },
	{ "storage nmp psp fixed deviceconfig set", fixed_set },
	{ "storage nmp psp roundrobin deviceconfig get", nmp_list },
	{ "storage nmp psp roundrobin deviceconfig set", round_robin_set },
	{ 0 },
};
