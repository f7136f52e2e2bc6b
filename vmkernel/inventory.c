/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inventory file is written as a whole under another name, synced, and renamed: after
 * a crash it is the old one or the new one.
 */
#include "vmkernel/inventory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "inventory.json"
#define ID_MAX 0x7fffffff

struct vm *inventory_find(struct host *h, uint32_t id)
{
	struct vm *vm;
	TAILQ_FOREACH(vm, &h->vms, link) {
		if (vm->id == id)
			return vm;
	}
	return NULL;
}

struct vm *inventory_find_path(struct host *h, const struct uuid *ds, const char *path)
{
	struct vm *vm;
	TAILQ_FOREACH(vm, &h->vms, link) {
		if (uuid_equal(&vm->ds_uuid, ds) && strcmp(vm->path, path) == 0)
			return vm;
	}
	return NULL;
}

struct vm *inventory_add(struct host *h, const struct uuid *ds, const char *path,
			 struct vm_labels *labels)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	if (vm)
		vm->path = strdup(path);
	if (!vm || !vm->path) {
		free(vm);
		vm_labels_done(labels);
		return NULL;
	}
	vm->host = h;
	vm->id = h->next_vm_id++;
	vm->ds_uuid = *ds;
	vm->labels = *labels;
	vm->qemu_pidfd = vm->stop_timer = -1;
	channel_init(&vm->channel, -1);
	atomic_init(&vm->is_cancelled, false);
	TAILQ_INSERT_TAIL(&h->vms, vm, link);
	return vm;
}

void inventory_remove(struct vm *vm)
{
	TAILQ_REMOVE(&vm->host->vms, vm, link);
	vm_free(vm);
}

static json_t *to_json(struct host *h)
{
	struct vm *vm;
	char uuid[UUID_TEXT_SIZE];
	json_t *vms = json_array();
	TAILQ_FOREACH(vm, &h->vms, link) {
		const struct vm_labels *l = &vm->labels;
		json_array_append_new(
			vms, json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s}", "id",
				       (int)vm->id, "name", l->name, "datastore",
				       uuid_text(&vm->ds_uuid, uuid), "path", vm->path,
				       "guest", l->guest, "version", l->version,
				       "annotation", l->annotation));
	}
	return json_pack("{s:i, s:o}", "next_id", (int)h->next_vm_id, "vms", vms);
}

int inventory_save(struct host *h)
{
	char path[HOST_PATH_SIZE];
	json_t *all = to_json(h);
	char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
	json_decref(all);
	int rc = text ? host_write_text(h, FILE_NAME, text, 0640) : -ENOMEM;
	free(text);
	if (rc < 0)
		return report_error(h->reporter, rc, "%s: %s",
				    host_path(h, FILE_NAME, path), strerror(-rc));
	return 0;
}

static int load_vm(struct host *h, json_t *entry)
{
	int id;
	const char *name, *ds, *path, *guest, *version, *annotation;
	struct uuid uuid;
	if (json_unpack(entry, "{s:i, s:s, s:s, s:s, s:s, s:s, s:s}", "id", &id, "name",
			&name, "datastore", &ds, "path", &path, "guest", &guest,
			"version", &version, "annotation", &annotation) < 0 ||
	    id < 1 || inventory_find(h, (uint32_t)id) || uuid_parse(ds, &uuid) < 0)
		return -EINVAL;
	struct vm_labels labels = { .name = strdup(name),
				    .guest = strdup(guest),
				    .version = strdup(version),
				    .annotation = strdup(annotation) };
	struct vm *vm = inventory_add(h, &uuid, path, &labels);
	if (!vm)
		return -ENOMEM;
	vm->id = (uint32_t)id;
	return 0;
}

int inventory_load(struct host *h, struct reporter *r)
{
	char path[HOST_PATH_SIZE];
	json_error_t error;
	size_t i;
	int rc = 0;
	h->next_vm_id = 1;
	if (access(host_path(h, FILE_NAME, path), F_OK) < 0 && errno == ENOENT)
		return 0;
	json_t *all = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	json_t *vms = json_object_get(all, "vms"), *entry;
	json_int_t next = json_integer_value(json_object_get(all, "next_id"));
	if (!json_is_array(vms) || next < 1 || next > ID_MAX) {
		json_decref(all);
		return report_error(r, -EINVAL, "%s: line %d: not an inventory", path,
				    all ? 1 : error.line);
	}
	json_array_foreach(vms, i, entry) {
		rc = load_vm(h, entry);
		if (rc < 0)
			break;
	}
	json_decref(all);
	h->next_vm_id = (uint32_t)next;
	return rc < 0 ? report_error(r, rc, "%s: VM %zu: %s", path, i, strerror(-rc)) : 0;
}
