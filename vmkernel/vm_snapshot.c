/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients ask about snapshots of VMs, each on a task of its own. Meanwhile the VM is
 * busy (is_busy): it is not powered on and not unregistered here; other hosts are kept
 * away by the lock of its .vmx file.
 */
#include "vmkernel/vm_snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vdisk/vmsnap.h"
#include "vmkernel/control.h"

struct snapshot_of_vm {
	struct vm *vm;
	struct host *host;
	struct datastore *ds;
	struct requester who;
	enum msg_type type;
	uint32_t uid;
	char *name, *description, *path;
	struct catcher catcher;
	json_t *result;
	int rc;
	char why[VM_WHY_SIZE];
};

static json_t *list_json(const struct vmsd *v)
{
	json_t *all = json_array();
	for (unsigned int i = 0; i < v->count; i++) {
		struct vmsd_snapshot s;
		vmsd_get(v, i, &s);
		json_array_append_new(
			all, json_pack("{s:i, s:i, s:s, s:s, s:I, s:b}", "id", (int)s.uid,
				       "parent", (int)s.parent, "name", s.name,
				       "description", s.description, "created_us",
				       (json_int_t)s.created_us, "is_current",
				       s.uid == vmsd_current(v)));
	}
	return json_pack("{s:o, s:b}", "snapshots", all, "needs_consolidation",
			 vmsd_is_pending(v));
}

static int list(struct snapshot_of_vm *j, const struct vmsnap_options *o)
{
	struct vmsd v;
	int rc = vmsnap_list(o, &v);
	if (rc < 0)
		return rc;
	j->result = list_json(&v);
	vmsd_done(&v);
	return 0;
}

static int run(struct snapshot_of_vm *j, const struct vmsnap_options *o,
	       struct vmfs_holder *ret_holder)
{
	uint32_t uid = 0;
	int rc;
	switch (j->type) {
	case MSG_VM_SNAPSHOT_CREATE:
		rc = vmsnap_create(o, j->name, j->description, &uid, ret_holder);
		if (rc == 0)
			j->result = json_pack("{s:i}", "snapshot", (int)uid);
		return rc;
	case MSG_VM_SNAPSHOT_REVERT:
		return vmsnap_revert(o, j->uid, ret_holder);
	case MSG_VM_SNAPSHOT_REMOVE:
		return vmsnap_remove(o, j->uid, ret_holder);
	default:
		return list(j, o);
	}
}

static void work(void *arg)
{
	struct snapshot_of_vm *j = arg;
	struct vmfs_holder holder = { 0 };
	char text[VMFS_HOLDER_TEXT_SIZE];
	const struct vmsnap_options options = {
		.vol = j->ds->vol,
		.vmx = j->path,
		.reporter = catcher_init(&j->catcher, j->host->reporter),
	};
	j->rc = run(j, &options, &holder);
	if (j->rc == -EBUSY && holder.mode)
		(void)snprintf(j->why, sizeof(j->why), "[%s] %.128s: %.400s",
			       j->ds->label, j->path + 1,
			       vmfs_holder_text(&holder, text));
	else if (j->rc < 0)
		(void)snprintf(j->why, sizeof(j->why), "[%s] %.128s: %.400s",
			       j->ds->label, j->path + 1,
			       j->catcher.text[0] ? j->catcher.text :
						    strerror(-j->rc));
}

static void job_free(struct snapshot_of_vm *j)
{
	free(j->name);
	free(j->description);
	free(j->path);
	free(j);
}

static void done(void *arg)
{
	struct snapshot_of_vm *j = arg;
	j->vm->is_busy = false;
	host_datastore_put(j->host, j->ds);
	control_reply(j->host->control, j->who, j->rc, j->why, j->result);
	job_free(j);
}

static const char *why_not(const struct vm *vm, const struct datastore *ds,
			   enum msg_type type)
{
	if (!ds)
		return "its datastore is not attached";
	if (ds->is_lost)
		return "its datastore is lost";
	if (vm->is_busy)
		return "another snapshot is being made or removed";
	if (vm->state != VM_OFF && type != MSG_VM_SNAPSHOT_LIST)
		return "is powered on: its snapshots change only while it is off";
	return NULL;
}

void vm_snapshot_request(struct vm *vm, struct requester who, enum msg_type type,
			 const json_t *body)
{
	struct host *h = vm->host;
	struct datastore *ds = vm_datastore(vm);
	const char *why = why_not(vm, ds, type);
	char text[VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	if (why) {
		(void)snprintf(text, sizeof(text), "VM %u (%s): %s", vm->id,
			       vm_file_text(vm, NULL, file, sizeof(file)), why);
		control_reply(h->control, who, -EBUSY, text, NULL);
		return;
	}
	struct snapshot_of_vm *j = calloc(1, sizeof(*j));
	if (j) {
		j->name = strdup(msg_text(body, "name"));
		j->description = strdup(msg_text(body, "description"));
		j->path = strdup(vm->path);
	}
	if (!j || !j->name || !j->description || !j->path) {
		if (j)
			job_free(j);
		control_reply(h->control, who, -ENOMEM, "no memory", NULL);
		return;
	}
	j->vm = vm;
	j->host = h;
	j->ds = ds;
	j->who = who;
	j->type = type;
	j->uid = (uint32_t)json_integer_value(json_object_get(body, "snapshot"));
	ds->users++;
	vm->is_busy = true;
	if (loop_job(h->loop, "vm-snapshot", work, done, j) == 0)
		return;
	j->rc = -ENOMEM;
	(void)snprintf(j->why, sizeof(j->why), "no memory");
	done(j);
}
