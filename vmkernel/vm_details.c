/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file is read without its lock, which another host may have. The VM may go from the
 * inventory meanwhile, so it is looked for again.
 */
#include "vmkernel/vm_details.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vmkernel/control.h"
#include "vmkernel/inventory.h"
#include "vmkernel/vmx/vmxfile.h"

struct details {
	struct host *host;
	struct datastore *ds;
	struct requester who;
	enum msg_type type;
	uint32_t id;
	char *path;
	json_t *settings;
	struct vm_labels labels;
	int rc;
	char why[VM_WHY_SIZE];
};

static void details_free(struct details *d)
{
	host_datastore_put(d->host, d->ds);
	json_decref(d->settings);
	vm_labels_done(&d->labels);
	free(d->path);
	free(d);
}

static int list_settings(struct details *d, const char *text)
{
	const char *key, *value;
	struct vmxfile *f;
	int rc = vmxfile_parse(text, strlen(text), d->path, NULL, &f);
	if (rc < 0)
		return rc;
	d->settings = json_array();
	for (unsigned int i = 0; vmxfile_entry(f, i, &key, &value); i++) {
		json_t *pair = json_pack("[s, s]", key, value);
		if (pair) /* jansson takes UTF-8 alone */
			json_array_append_new(d->settings, pair);
	}
	vmxfile_free(f);
	return 0;
}

static void read_work(void *arg)
{
	struct details *d = arg;
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_file *file;
	d->rc = vm_read_labels(d->ds->vol, d->path, d->path + 1, d->host->reporter,
			       &d->labels, d->why, sizeof(d->why));
	if (d->rc < 0 || d->type == MSG_VM_RELOAD)
		return;
	d->rc = vmfs_file_open(d->ds->vol, d->path, &how, &file, NULL);
	if (d->rc == 0) {
		AUTO_FREE char *text = vm_read_all(file, &d->rc);
		(void)vmfs_file_close(file); /* was only read */
		if (text)
			d->rc = list_settings(d, text);
	}
	if (d->rc < 0)
		(void)snprintf(d->why, sizeof(d->why), "%s: %s", d->path + 1,
			       strerror(-d->rc));
}

static json_t *details_json(struct details *d, const struct vm *vm)
{
	char file[VM_WHY_SIZE];
	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:i, s:s, s:O}",
			 "id", (int)vm->id, "name", vm->labels.name, "path",
			 vm_file_text(vm, NULL, file, sizeof(file)), "guest",
			 vm->labels.guest, "version", vm->labels.version, "annotation",
			 vm->labels.annotation, "host", vm->host->host_name, "state",
			 vm_state_text(vm), "is_on", vm->state == VM_ON, "question",
			 vm->question_text[0] ? (int)vm->question : 0, "question_text",
			 vm->question_text, "settings", d->settings);
}

/* A VM keeps the name that it was registered by, if its file has none. */
static int take_labels(struct details *d, struct vm *vm)
{
	struct vm_labels old = vm->labels;
	if (!d->labels.name[0]) {
		free(d->labels.name);
		d->labels.name = old.name;
		old.name = NULL;
	}
	vm->labels = d->labels;
	d->labels = (struct vm_labels){ 0 };
	vm_labels_done(&old);
	return inventory_save(d->host);
}

static void read_done(void *arg)
{
	struct details *d = arg;
	struct vm *vm = inventory_find(d->host, d->id);
	json_t *result = NULL;
	if (d->rc == 0 && !vm) {
		d->rc = -ENOENT;
		(void)snprintf(d->why, sizeof(d->why), "%u: is not registered any more",
			       d->id);
	}
	if (d->rc == 0 && vm->state == VM_OFF)
		vm->labels.is_suspended = d->labels.is_suspended;
	if (d->rc == 0 && d->type == MSG_VM_RELOAD) {
		d->rc = take_labels(d, vm);
		(void)snprintf(d->why, sizeof(d->why), "the inventory cannot be saved");
	} else if (d->rc == 0) {
		result = details_json(d, vm);
	}
	control_reply(d->host->control, d->who, d->rc, d->why, result);
	details_free(d);
}

void vm_details_request(struct vm *vm, struct requester who, enum msg_type type)
{
	struct datastore *ds = vm_datastore(vm);
	struct control *control = vm->host->control;
	if (!ds || ds->is_lost) {
		control_reply(control, who, -ENODEV, "the VM's datastore is not attached",
			      NULL);
		return;
	}
	struct details *d = calloc(1, sizeof(*d));
	if (d)
		d->path = strdup(vm->path);
	if (!d || !d->path) {
		free(d);
		control_reply(control, who, -ENOMEM, "no memory", NULL);
		return;
	}
	d->host = vm->host;
	d->ds = ds;
	d->who = who;
	d->type = type;
	d->id = vm->id;
	ds->users++;
	if (loop_job(vm->host->loop, "details", read_work, read_done, d) == 0)
		return;
	control_reply(control, who, -ENOMEM, "no memory", NULL);
	details_free(d);
}
