/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts, VMs and restarts in memory, and as JSON: see roster.h. */
#include "vmkernel/ha/roster.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"

#define ROOM_FIRST 16u

static const char *const run_words[] = { [HA_DOWN] = "down",
					 [HA_STARTING] = "starting",
					 [HA_UP] = "up" };
static const char *const priority_words[] = {
	[HA_DISABLED] = "disabled", [HA_LOWEST] = "lowest", [HA_LOW] = "low",
	[HA_MEDIUM] = "medium",	    [HA_HIGH] = "high",	    [HA_HIGHEST] = "highest",
};

/* The index of a word, or -1. */
static int word_of(const char *const *words, size_t count, const char *text)
{
	for (size_t i = 0; text && i < count; i++)
		if (strcmp(words[i], text) == 0)
			return (int)i;
	return -1;
}

bool ha_priority_parse(const char *text, enum ha_priority *ret)
{
	int n = word_of(priority_words, ARRAY_SIZE(priority_words), text);
	if (n >= 0)
		*ret = (enum ha_priority)n;
	return n >= 0;
}

const char *ha_priority_text(enum ha_priority priority)
{
	return priority_words[priority];
}

/* ---- tables ---- */

/* Room for one more of `size` bytes: the table, or NULL, and it is as it was. */
static void *grown(void *table, uint32_t count, size_t size)
{
	bool is_full = count == 0 || (count >= ROOM_FIRST && (count & (count - 1)) == 0);
	if (!is_full)
		return table;
	return reallocarray(table, count ? 2u * count : ROOM_FIRST, size);
}

struct ha_vm *ha_vms_find(const struct ha_vms *vms, const char *path)
{
	for (uint32_t i = 0; i < vms->count; i++)
		if (strcmp(vms->all[i].path, path) == 0)
			return &vms->all[i];
	return NULL;
}

struct ha_vm *ha_vms_add(struct ha_vms *vms, const char *path)
{
	struct ha_vm *vm = ha_vms_find(vms, path);
	if (vm)
		return vm;
	if (vms->count == HA_VMS_MAX || strlen(path) >= HA_PATH_SIZE)
		return NULL;
	struct ha_vm *all = grown(vms->all, vms->count, sizeof(*all));
	if (!all)
		return NULL;
	vms->all = all;
	vm = &all[vms->count++];
	*vm = (struct ha_vm){ .priority = HA_MEDIUM };
	memcpy(vm->path, path, strlen(path) + 1);
	return vm;
}

void ha_vms_done(struct ha_vms *vms)
{
	free(vms->all);
	*vms = (struct ha_vms){ 0 };
}

void ha_says_done(struct ha_says *says)
{
	ha_vms_done(&says->vms);
	*says = (struct ha_says){ 0 };
}

struct ha_restart *ha_list_find(const struct ha_list *list, const char *path)
{
	for (uint32_t i = 0; i < list->restart_count; i++)
		if (strcmp(list->restarts[i].path, path) == 0)
			return &list->restarts[i];
	return NULL;
}

struct ha_restart *ha_list_add(struct ha_list *list, const char *path)
{
	struct ha_restart *all =
		grown(list->restarts, list->restart_count, sizeof(*all));
	if (!all)
		return NULL;
	list->restarts = all;
	struct ha_restart *restart = &all[list->restart_count++];
	*restart = (struct ha_restart){ 0 };
	(void)snprintf(restart->path, sizeof(restart->path), "%s", path);
	return restart;
}

/* The last takes its place: what grown() has made room for stays. */
void ha_list_remove(struct ha_list *list, const char *path)
{
	struct ha_restart *restart = ha_list_find(list, path);
	if (!restart)
		return;
	struct ha_restart *last = &list->restarts[--list->restart_count];
	if (restart != last)
		*restart = *last;
	if (list->restart_count == 0) {
		free(list->restarts);
		list->restarts = NULL;
	}
}

void ha_list_done(struct ha_list *list)
{
	ha_vms_done(&list->vms);
	free(list->restarts);
	*list = (struct ha_list){ 0 };
}

/* ---- to JSON ---- */

static json_t *vm_json(const struct ha_vm *vm)
{
	char uuid[UUID_TEXT_SIZE];
	return json_pack("{s:s, s:I, s:b, s:s, s:s, s:i, s:i, s:s, s:I, s:i, s:s, s:s}",
			 "path", vm->path, "token", (json_int_t)vm->token, "wanted",
			 vm->is_wanted, "run", run_words[vm->run], "priority",
			 priority_words[vm->priority], "memory_mb", (int)vm->memory_mb,
			 "cpu_mhz", (int)vm->cpu_mhz, "depends", vm->depends, "order",
			 (json_int_t)vm->order, "result", vm->result, "why", vm->why,
			 "host", uuid_text(&vm->host, uuid));
}

static json_t *vms_json(const struct ha_vms *vms)
{
	json_t *all = json_array();
	for (uint32_t i = 0; i < vms->count; i++)
		if (json_array_append_new(all, vm_json(&vms->all[i])) < 0) {
			json_decref(all);
			return NULL;
		}
	return all;
}

/* Takes root. */
static char *dumped(json_t *root)
{
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

char *ha_says_text(const struct ha_says *says)
{
	char uuid[UUID_TEXT_SIZE];
	return dumped(json_pack("{s:b, s:s, s:s, s:s, s:b, s:I, s:I, s:o}", "isolated",
				says->is_isolated, "host", uuid_text(&says->host, uuid),
				"name", says->name, "address", says->address,
				"maintenance", says->is_closed, "memory_mb",
				(json_int_t)says->memory_mb, "cpu_mhz",
				(json_int_t)says->cpu_mhz, "vms",
				vms_json(&says->vms)));
}

char *ha_list_text(const struct ha_list *list)
{
	char uuid[UUID_TEXT_SIZE], target[UUID_TEXT_SIZE], failed[UUID_TEXT_SIZE];
	json_t *restarts = json_array();
	for (uint32_t i = 0; i < list->restart_count; i++) {
		const struct ha_restart *r = &list->restarts[i];
		json_t *one = json_pack("{s:s, s:I, s:s, s:s, s:i, s:b}", "path", r->path,
					"order", (json_int_t)r->order, "target",
					uuid_text(&r->target, target), "failed",
					uuid_text(&r->failed, failed), "tries",
					(int)r->tries, "given_up", r->is_given_up);
		if (json_array_append_new(restarts, one) < 0) {
			json_decref(restarts);
			return NULL;
		}
	}
	return dumped(json_pack("{s:s, s:I, s:o, s:o}", "master",
				uuid_text(&list->master, uuid), "next_order",
				(json_int_t)list->next_order, "restarts", restarts, "vms",
				vms_json(&list->vms)));
}

/* ---- from JSON ---- */

/* Copies text that fits. */
static bool take(char *to, size_t size, const char *text)
{
	size_t len = strlen(text);
	if (len >= size)
		return false;
	memcpy(to, text, len + 1);
	return true;
}

static int parse_vm(struct ha_vms *vms, json_t *entry)
{
	const char *path, *run, *priority, *depends, *why, *host;
	json_int_t token, order;
	int is_wanted, memory, cpu, result;
	if (json_unpack(entry, "{s:s, s:I, s:b, s:s, s:s, s:i, s:i, s:s, s:I, s:i, s:s,"
			"s:s}", "path", &path, "token", &token, "wanted", &is_wanted,
			"run", &run, "priority", &priority, "memory_mb", &memory,
			"cpu_mhz", &cpu, "depends", &depends, "order", &order, "result",
			&result, "why", &why, "host", &host) < 0)
		return -EINVAL;
	int n = word_of(run_words, ARRAY_SIZE(run_words), run);
	struct ha_vm vm = { .token = (uint64_t)token,
			    .is_wanted = is_wanted,
			    .run = (enum ha_run)n,
			    .memory_mb = (uint32_t)memory,
			    .cpu_mhz = (uint32_t)cpu,
			    .order = (uint64_t)order,
			    .result = result };
	if (n < 0 || *path != '/' || token < 0 || order < 0 || memory < 0 || cpu < 0 ||
	    !ha_priority_parse(priority, &vm.priority) ||
	    uuid_parse(host, &vm.host) < 0 || !take(vm.path, sizeof(vm.path), path) ||
	    !take(vm.depends, sizeof(vm.depends), depends) ||
	    !take(vm.why, sizeof(vm.why), why))
		return -EINVAL;
	struct ha_vm *to = ha_vms_add(vms, path);
	if (!to)
		return -ENOMEM;
	*to = vm;
	return 0;
}

static int parse_vms(struct ha_vms *vms, const json_t *all)
{
	int rc = json_is_array(all) ? 0 : -EINVAL;
	for (size_t i = 0; rc == 0 && i < json_array_size(all); i++)
		rc = parse_vm(vms, json_array_get(all, i));
	return rc;
}

static int fill_says(struct ha_says *says, json_t *root)
{
	const char *host, *name, *address;
	int is_isolated, is_closed;
	json_int_t memory, cpu;
	if (json_unpack(root, "{s:b, s:s, s:s, s:s, s:b, s:I, s:I}", "isolated",
			&is_isolated, "host", &host, "name", &name, "address", &address,
			"maintenance", &is_closed, "memory_mb", &memory, "cpu_mhz",
			&cpu) < 0 ||
	    uuid_parse(host, &says->host) < 0 || memory < 0 || cpu < 0 ||
	    !take(says->name, sizeof(says->name), name) ||
	    !take(says->address, sizeof(says->address), address))
		return -EINVAL;
	says->is_isolated = is_isolated;
	says->is_closed = is_closed;
	says->memory_mb = (uint64_t)memory;
	says->cpu_mhz = (uint64_t)cpu;
	return parse_vms(&says->vms, json_object_get(root, "vms"));
}

int ha_says_parse(const char *text, struct ha_says *ret)
{
	struct ha_says says = { 0 };
	json_t *root = *text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	int rc = !*text ? 0 : root ? fill_says(&says, root) : -EINVAL;
	json_decref(root);
	if (rc < 0)
		ha_says_done(&says);
	else
		*ret = says;
	return rc;
}

static int parse_restart(struct ha_list *list, json_t *entry)
{
	const char *path, *target, *failed;
	json_int_t order;
	int tries, is_given_up;
	struct ha_restart r = { 0 };
	if (json_unpack(entry, "{s:s, s:I, s:s, s:s, s:i, s:b}", "path", &path, "order",
			&order, "target", &target, "failed", &failed, "tries", &tries,
			"given_up", &is_given_up) < 0 ||
	    order < 0 || tries < 0 || uuid_parse(target, &r.target) < 0 ||
	    uuid_parse(failed, &r.failed) < 0 || !take(r.path, sizeof(r.path), path) ||
	    ha_list_find(list, path) || list->restart_count == HA_VMS_MAX)
		return -EINVAL;
	struct ha_restart *to = ha_list_add(list, path);
	if (!to)
		return -ENOMEM;
	r.order = (uint64_t)order;
	r.tries = (uint32_t)tries;
	r.is_given_up = is_given_up;
	*to = r;
	return 0;
}

static int fill_list(struct ha_list *list, json_t *root)
{
	const char *master;
	json_int_t next;
	json_t *restarts = json_object_get(root, "restarts");
	if (json_unpack(root, "{s:s, s:I}", "master", &master, "next_order", &next) < 0 ||
	    uuid_parse(master, &list->master) < 0 || next < 0 ||
	    !json_is_array(restarts))
		return -EINVAL;
	list->next_order = (uint64_t)next;
	int rc = parse_vms(&list->vms, json_object_get(root, "vms"));
	for (size_t i = 0; rc == 0 && i < json_array_size(restarts); i++)
		rc = parse_restart(list, json_array_get(restarts, i));
	return rc;
}

int ha_list_parse(const char *text, struct ha_list *ret)
{
	struct ha_list list = { 0 };
	json_t *root = *text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	int rc = !*text ? 0 : root ? fill_list(&list, root) : -EINVAL;
	json_decref(root);
	if (rc < 0)
		ha_list_done(&list);
	else
		*ret = list;
	return rc;
}
