/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients ask about snapshots of VMs, and to destroy one, each on a task of its own.
 * Meanwhile the VM is busy (is_busy): it is not powered on and not unregistered here;
 * other hosts are kept away by the lock of its .vmx file.
 *
 * Of a VM that runs, the job has its disks and its .vmx file (has_job): the VM may end
 * meanwhile, and they are closed when the job has come back. What takes long ends early
 * then.
 *
 * A snapshot that is to be quiesced is made between two messages to vmx: its guest's
 * agent freezes the filesystems, or there is none and it is made as it is; or it does
 * not, and no snapshot is made. They are thawed whatever came of it, by vmx if we die
 * (vmx/agent.c). Since that does not wait for ever, the second answer may say that they
 * went on too early: then the snapshot is there, and who asked hears that it is as after
 * a power failure.
 */
#include "vmkernel/vm_snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "vdisk/vmsnap.h"
#include "vmkernel/checkpoint.h"
#include "vmkernel/control.h"
#include "vmkernel/inventory.h"

struct snapshot_of_vm {
	struct vm *vm;
	struct host *host;
	struct datastore *ds;
	struct requester who;
	enum msg_type type;
	uint32_t uid;
	char *name, *description, *path;
	struct catcher catcher;
	bool is_running;
	bool is_frozen;	 /* its filesystems are: the answer waits until they are not */
	bool may_start;	 /* REVERT: a VM that has its memory again */
	bool has_memory; /* REVERT: it has */
	struct vdisk *disks[HARDWARE_DISKS_MAX];
	struct vdisk_progress progress;
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
			all, json_pack("{s:i, s:i, s:s, s:s, s:I, s:b, s:b}", "id",
				       (int)s.uid,
				       "parent", (int)s.parent, "name", s.name,
				       "description", s.description, "created_us",
				       (json_int_t)s.created_us, "is_current",
				       s.uid == vmsd_current(v), "has_memory",
				       *s.memory != 0));
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

/* It was there when the VM went back to it. */
static int look_for_memory(struct snapshot_of_vm *j, const struct vmsnap_options *o)
{
	struct vmsd_snapshot s = { .memory = "" };
	struct vmsd v;
	int rc = vmsnap_list(o, &v);
	if (rc < 0)
		return rc;
	int i = vmsd_find(&v, j->uid);
	if (i >= 0)
		vmsd_get(&v, (unsigned int)i, &s);
	j->has_memory = *s.memory != '\0';
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
			j->result = json_pack("{s:i, s:b}", "snapshot", (int)uid,
					      "is_quiesced", j->is_frozen);
		return rc;
	case MSG_VM_SNAPSHOT_REVERT:
		rc = vmsnap_revert(o, j->uid, ret_holder);
		return rc ? rc : look_for_memory(j, o);
	case MSG_VM_SNAPSHOT_REMOVE:
		return vmsnap_remove(o, j->uid, ret_holder);
	case MSG_VM_DESTROY:
		return vmsnap_destroy(o, ret_holder);
	default:
		return list(j, o);
	}
}

/* ---- a VM that runs ---- */

static int announce(void *arg, const char *vmx, const char *const *locked)
{
	const struct vm *vm = arg;
	return vm_note_next_locks(vm, vm->ds->vol, vmx, locked);
}

static void confirm(void *arg)
{
	const struct vm *vm = arg;
	char why[VM_WHY_SIZE];
	if (vm_note_locks(vm, why, sizeof(why)) < 0)
		report(vm->host->reporter, REPORT_WARN, "VM %u: %s", vm->id, why);
}

static void quiet(void *arg, unsigned int i, void (*fn)(void *fn_arg), void *fn_arg)
{
	const struct vm *vm = arg;
	uint64_t held = disk_quiet(vm->disks[i], fn, fn_arg);
	report(vm->host->reporter, REPORT_INFO,
	       "VM %u: disk %u: I/O was held for %llu us", vm->id, i,
	       (unsigned long long)(held / NS_PER_US));
}

void vm_running_files(struct vm *vm, struct vdisk *ret_disks[static HARDWARE_DISKS_MAX],
		      struct vmsnap_running *ret)
{
	for (unsigned int i = 0; i < HARDWARE_DISKS_MAX; i++)
		ret_disks[i] = disk_vdisk(vm->disks[i]);
	*ret = (struct vmsnap_running){ .vmx = &vm->config,
					.disks = ret_disks,
					.disk_count = HARDWARE_DISKS_MAX,
					.announce = announce,
					.confirm = confirm,
					.quiet = quiet,
					.arg = vm };
}

static bool may_go_on(struct vdisk_progress *p, uint64_t done, uint64_t total)
{
	const struct snapshot_of_vm *j =
		(void *)((char *)p - offsetof(struct snapshot_of_vm, progress));
	(void)done;
	(void)total;
	return !atomic_load(&j->vm->is_cancelled);
}

static void work(void *arg)
{
	struct snapshot_of_vm *j = arg;
	struct vmfs_holder holder = { 0 };
	char text[VMFS_HOLDER_TEXT_SIZE];
	struct vmsnap_running running;
	if (j->is_running)
		vm_running_files(j->vm, j->disks, &running);
	const struct vmsnap_options options = {
		.vol = j->ds->vol,
		.vmx = j->path,
		.progress = &j->progress,
		.reporter = catcher_init(&j->catcher, j->host->reporter),
		.running = j->is_running ? &running : NULL,
	};
	j->progress.step = may_go_on;
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
	struct vm *vm = j->vm;
	bool is_running = j->is_running;
	bool is_back = j->type == MSG_VM_SNAPSHOT_REVERT && j->rc == 0;
	vm->is_busy = false;
	host_datastore_put(j->host, j->ds);
	if (is_back)
		vm->labels.is_suspended = j->has_memory;
	if (j->type == MSG_VM_DESTROY && j->rc == 0) {
		inventory_remove(vm);
		j->rc = inventory_save(j->host);
		(void)snprintf(j->why, sizeof(j->why), "the inventory cannot be saved");
	}
	if (j->is_frozen && vm_ask_agent(vm, MSG_VMX_GUEST_THAW)) {
		vm->quiescing = j; /* vm_snapshot_told() ends it */
	} else if (is_back && j->has_memory && j->may_start) {
		vm_power_on(vm, j->who); /* which answers */
		job_free(j);
	} else {
		control_reply(j->host->control, j->who, j->rc, j->why, j->result);
		job_free(j);
	}
	if (is_running) {
		vm->has_job = false;
		vm_settle(vm);
	}
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
	if (type == MSG_VM_SNAPSHOT_LIST || vm->state == VM_OFF)
		return NULL;
	if (type == MSG_VM_DESTROY)
		return "is powered on";
	if (vm->state != VM_ON || vm->has_job || vm->is_ending)
		return "is being powered on or off";
	return NULL;
}

static struct snapshot_of_vm *job_new(struct vm *vm, struct requester who,
				      enum msg_type type, const json_t *body)
{
	struct snapshot_of_vm *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->name = strdup(msg_text(body, "name"));
	j->description = strdup(msg_text(body, "description"));
	j->path = strdup(vm->path);
	if (!j->name || !j->description || !j->path) {
		job_free(j);
		return NULL;
	}
	j->vm = vm;
	j->host = vm->host;
	j->who = who;
	j->type = type;
	j->uid = (uint32_t)json_integer_value(json_object_get(body, "snapshot"));
	j->may_start = !json_is_true(json_object_get(body, "stays_off"));
	return j;
}

static void start(struct snapshot_of_vm *j, struct datastore *ds)
{
	struct vm *vm = j->vm;
	j->ds = ds;
	j->is_running = vm->state == VM_ON && j->type != MSG_VM_SNAPSHOT_LIST;
	ds->users++;
	vm->is_busy = true;
	vm->has_job |= j->is_running;
	if (loop_job(j->host->loop, "vm-snapshot", work, done, j) == 0)
		return;
	j->rc = -ENOMEM;
	(void)snprintf(j->why, sizeof(j->why), "no memory");
	done(j);
}

static void end_quiescing(struct vm *vm, int rc, const char *why)
{
	struct snapshot_of_vm *j = vm->quiescing;
	char file[VM_WHY_SIZE / 2];
	vm->quiescing = NULL;
	if (j->rc == 0 && rc < 0) {
		j->rc = rc;
		(void)snprintf(j->why, sizeof(j->why), "VM %u (%s): %s: %.256s", vm->id,
			       vm_file_text(vm, NULL, file, sizeof(file)),
			       j->result ? "the snapshot is made, but not quiesced" :
					   "cannot be quiesced", why);
		json_decref(j->result);
		j->result = NULL;
	}
	control_reply(j->host->control, j->who, j->rc, j->why, j->result);
	job_free(j);
}

void vm_snapshot_told(struct vm *vm, const json_t *reply)
{
	struct snapshot_of_vm *j = vm->quiescing;
	int rc = (int)json_integer_value(json_object_get(reply, "result"));
	if (!j)
		return;
	if (j->is_frozen) {
		end_quiescing(vm, rc, msg_text(reply, "error"));
		return;
	}
	vm->is_busy = false;
	struct datastore *ds = vm_datastore(vm);
	const char *why = rc < 0 ? msg_text(reply, "error") : why_not(vm, ds, j->type);
	if (why) {
		if (rc == 0)
			(void)vm_ask_agent(vm, MSG_VMX_GUEST_THAW); /* nobody waits */
		end_quiescing(vm, rc ? rc : -EBUSY, why);
		return;
	}
	vm->quiescing = NULL;
	j->is_frozen = json_is_true(json_object_get(reply, "is_frozen"));
	start(j, ds);
}

void vm_snapshot_off(struct vm *vm)
{
	struct snapshot_of_vm *j = vm->going_back;
	struct datastore *ds = vm_datastore(vm);
	if (vm->quiescing) {
		/* Of one that was waited for, is_busy is ours. */
		vm->is_busy = vm->is_busy && vm->quiescing->is_frozen;
		end_quiescing(vm, vm->quiescing->is_frozen ? 0 : -EIO,
			      "the VM was powered off");
	}
	if (!j)
		return;
	vm->going_back = NULL;
	vm->is_busy = false;
	const char *why = why_not(vm, ds, j->type);
	if (!why) {
		start(j, ds);
		return;
	}
	control_reply(j->host->control, j->who, -EBUSY, why, NULL);
	job_free(j);
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
	if (type == MSG_VM_SNAPSHOT_CREATE && vm->state == VM_ON &&
	    json_is_true(json_object_get(body, "memory"))) {
		checkpoint_snapshot(vm, who, body);
		return;
	}
	struct snapshot_of_vm *j = job_new(vm, who, type, body);
	if (j && type == MSG_VM_SNAPSHOT_CREATE && vm->state == VM_ON &&
	    !vm->quiescing && json_is_true(json_object_get(body, "quiesce")) &&
	    vm_ask_agent(vm, MSG_VMX_GUEST_FREEZE)) {
		vm->is_busy = true;
		vm->quiescing = j;
		return;
	}
	if (!j) {
		control_reply(h->control, who, -ENOMEM, "no memory", NULL);
	} else if (type == MSG_VM_SNAPSHOT_REVERT && vm->state == VM_ON) {
		vm->is_busy = true;
		vm->going_back = j;
		vm->is_off_wanted = true;
		vm_stop(vm, "it goes back to a snapshot");
	} else {
		start(j, ds);
	}
}
