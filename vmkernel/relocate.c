/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a VM that runs move to another datastore of its host (Storage vMotion):
 *
 *	1 note: vms/ID.move says from where and to where; an empty folder there
 *	2 copy the disks, while the guest writes to the old ones; what it changes is
 *	  logged (sched/log.h), and copied again, until little is left
 *	3 hold the I/O of all disks; copy what is left; flush
 *	4 write the new .vmx file, locked, as vm1.vmx.move: nobody can start that
 *	5 RENAME the old .vmx file, to vm1.vmx.moved: one change of one folder
 *	6 the new one gets its name; the disks are served from there; I/O goes on
 *	7 the inventory, HA; the old files go, then the note
 *
 * 1. A VM is where its .vmx file is. Up to 5 it is at the source, which has every write
 *    that was ever answered; from 5 on at the destination, which has them as well: no
 *    I/O is under way, and none was answered since 3. So whoever dies when, the VM is on
 *    exactly one side, with whole disks.
 * 2. Up to 5 whatever fails, and a cancel, ends with the VM running where it was: the
 *    guest's I/O has never gone to the destination.
 * 3. A vmkernel that dies is followed by one that looks for the old .vmx file
 *    (relocate_settle, before VMs are taken back): is it there, what lies in the new
 *    folder goes; else 6 and 7 are done. QEMU runs meanwhile, and waits for its disks.
 * 4. With the whole host dead HA starts the VM from the source up to 5; between 5 and 7
 *    it is nobody's wish, and is started by an admin (from vm1.vmx.move, if 6 was not
 *    reached).
 * 5. The job has the VM (has_job): its end waits for it, and cancels it.
 *
 * What is moved: flat disks, without snapshots or parents. Tracking of changes begins
 * anew at the destination: the next backup is a full one.
 */
#include "vmkernel/relocate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmkernel/control.h"
#include "vmkernel/ha/agent.h"
#include "vmkernel/ha/ha.h"
#include "vmkernel/inventory.h"
#include "vmkernel/relocation.h"
#include "vmkernel/vmotion/passage.h"

int relocation_fails(struct relocation *r, int rc, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (!r->why[0])
		(void)vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	return rc;
}

bool relocation_may_go_on(const struct relocation *r)
{
	return !atomic_load(&r->is_cancelled) && !atomic_load(&r->vm->is_cancelled);
}

/* ---- the switch ---- */

/* Disk after disk, each in the task that serves it, until all are quiet at once. */
static void hold_next(void *arg)
{
	struct relocation *r = arg;
	struct vm *vm = r->vm;
	while (r->held < HARDWARE_DISKS_MAX && !vm->disks[r->held])
		r->held++;
	if (r->held < HARDWARE_DISKS_MAX) {
		(void)disk_quiet(vm->disks[r->held++], hold_next, r);
		return;
	}
	mutex_lock(&r->m);
	r->is_held = true;
	cond_signal(&r->c);
	while (!r->may_go)
		cond_wait(&r->c, &r->m);
	mutex_unlock(&r->m);
}

/* The locks that there will be, for a vmkernel that finds the VM at the destination. */
static int note_locks(struct relocation *r)
{
	const char *locked[HARDWARE_DISKS_MAX] = { 0 };
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		if (r->copies[i])
			locked[i] = vdisk_extent_path(r->copies[i], 0);
	return vm_note_next_locks(r->vm, r->to->vol, r->coming, locked);
}

/* With all I/O held. */
static int commit(struct relocation *r)
{
	int rc = relocation_copy_changes(r);
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_DISKS_MAX; i++)
		if (r->copies[i])
			rc = bdev_flush(vdisk_bdev(r->copies[i]));
	if (rc == 0)
		rc = relocation_write_config(r);
	if (rc == 0)
		rc = note_locks(r);
	if (rc == 0 && !relocation_may_go_on(r))
		rc = -ECANCELED;
	if (rc == 0)
		rc = vmfs_volume_state(r->to->vol);
	if (rc < 0)
		return relocation_fails(r, rc, "it cannot be switched over: %s",
					strerror(-rc));
	rc = vmfs_rename(r->from->vol, r->vmx, r->gone);
	r->is_unknown = rc < 0 && vmfs_volume_state(r->from->vol) < 0;
	if (rc < 0)
		return relocation_fails(r, rc, "its .vmx file cannot be renamed: %s",
					strerror(-rc));
	r->is_moved = true;
	rc = vmfs_rename(r->to->vol, r->coming, r->vmx);
	if (rc < 0)
		report(r->host->reporter, REPORT_ERROR,
		       "VM %u: [%s] %s cannot be renamed: %s: it is what the VM is "
		       "started from", r->vm->id, r->to->label, r->coming + 1,
		       strerror(-rc));
	return 0;
}

static void hold_task(void *arg)
{
	hold_next(arg);
}

static int switch_over(struct relocation *r)
{
	struct vm *vm = r->vm;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		int rc = r->copies[i] ? disk_prepare_move(vm->disks[i], r->copies[i],
							  r->to->sched, r->host->pool)
				      : 0;
		if (rc < 0)
			return rc;
	}
	uint64_t began = clock_now();
	atomic_store(&r->phase, "switching");
	struct task *holder = task_start("relocate-hold", hold_task, r);
	if (!holder)
		return -ENOMEM;
	mutex_lock(&r->m);
	while (!r->is_held)
		cond_wait(&r->c, &r->m);
	mutex_unlock(&r->m);
	int rc = commit(r);
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_DISKS_MAX; i++) {
		if (!r->copies[i])
			continue;
		r->former[i] = disk_move(vm->disks[i]);
		r->copies[i] = NULL;
	}
	mutex_lock(&r->m);
	r->may_go = true;
	cond_broadcast(&r->c);
	mutex_unlock(&r->m);
	task_join(holder);
	r->held_ns = clock_now() - began;
	return rc;
}

/* ---- after it ---- */

/* On the loop. */
static void change_vm(void *arg)
{
	struct relocation *r = arg;
	struct vm *vm = r->vm;
	struct vmfs_file *config = vm->config;
	char *text = vm->text;
	vm->ds = r->to;
	vm->ds_uuid = r->to->uuid;
	vm->config = r->config;
	vm->text = r->text;
	r->config = config;
	r->text = text;
	if (inventory_save(r->host) < 0)
		report(r->host->reporter, REPORT_WARN,
		       "VM %u: that it is on datastore %s is noted later", vm->id,
		       r->to->label);
	mutex_lock(&r->m);
	r->is_switched = true;
	cond_signal(&r->c);
	mutex_unlock(&r->m);
}

static void finish(struct relocation *r)
{
	struct vm *vm = r->vm;
	char why[VM_WHY_SIZE];
	if (r->from->ha && vm->is_ha_noted) {
		(void)snprintf(why, sizeof(why), "it was moved to datastore %s",
			       r->to->label);
		ha_agent_end(r->from->ha, vm->path, false, why);
	}
	vm->is_ha_noted = false;
	r->call = (struct loop_call){ .fn = change_vm, .arg = r };
	loop_post(r->host->loop, &r->call);
	mutex_lock(&r->m);
	while (!r->is_switched)
		cond_wait(&r->c, &r->m);
	mutex_unlock(&r->m);
	if (vm_note_locks(vm, why, sizeof(why)) < 0)
		report(r->host->reporter, REPORT_WARN, "VM %u: %s", vm->id, why);
	atomic_store(&r->phase, "cleaning");
	(void)vmfs_file_close(r->config); /* it is removed now, and so are */
	r->config = NULL;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		(void)vdisk_close(r->former[i]); /* its files */
	relocation_clean(r);
}

static void roll_back(struct relocation *r)
{
	char why[VM_WHY_SIZE];
	relocation_drop_copies(r);
	(void)vmfs_file_close(r->config); /* it goes, or is not known to count */
	r->config = NULL;
	if (r->is_unknown)
		return;
	relocation_undo_files(r);
	if (vm_note_locks(r->vm, why, sizeof(why)) < 0)
		report(r->host->reporter, REPORT_WARN, "VM %u: %s", r->vm->id, why);
}

/* Before anything is copied: would the other host take it from there? */
static int look_for_host(struct relocation *r)
{
	const char *name = r->next_host;
	if (!*name)
		return 0;
	if (!r->host->vmotion)
		return relocation_fails(r, -EOPNOTSUPP,
					"this host has no vmotion_address");
	if (strcmp(name, r->host->host_name) == 0)
		return relocation_fails(r, -EINVAL, "it is on host %s already", name);
	if (notice_is_up(r->to->vol, name))
		return 0;
	return relocation_fails(r, -ENOENT, "no host %s takes VMs on datastore %s", name,
				r->to->label);
}

static void work(void *arg)
{
	struct relocation *r = arg;
	int rc = look_for_host(r);
	if (rc == 0)
		rc = relocation_look(r);
	if (rc == 0)
		rc = relocation_prepare(r);
	if (rc == 0)
		rc = relocation_copy(r);
	if (rc == 0)
		rc = relocation_copy_files(r);
	if (rc == 0)
		rc = switch_over(r);
	if (rc < 0)
		(void)relocation_fails(r, rc, "%s",
				       rc == -ECANCELED ? "cancelled" : strerror(-rc));
	r->rc = r->is_moved ? 0 : rc;
	if (r->is_moved)
		finish(r);
	else
		roll_back(r);
}

/* ---- beginning and end ---- */

static void relocation_free(struct relocation *r)
{
	(void)vmfs_file_close(r->config); /* it was removed */
	free(r->next_host);
	free(r->folder);
	free(r->vmx);
	free(r->coming);
	free(r->gone);
	free(r->text);
	free(r->buf);
	json_decref(r->files);
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		sched_log_free(r->logs[i]);
	cond_done(&r->c);
	mutex_done(&r->m);
	free(r);
}

static void tell_end(const struct relocation *r)
{
	struct reporter *rep = r->host->reporter;
	if (r->rc < 0)
		report(rep, REPORT_WARN, "VM %u: stays on datastore %s: %s", r->vm->id,
		       r->from->label, r->why);
	else
		report(rep, REPORT_INFO, "VM %u: was moved from datastore %s to %s in "
		       "%llu ms; its I/O was held for %llu ms", r->vm->id,
		       r->from->label, r->to->label,
		       (unsigned long long)((clock_now() - r->began_at) / NS_PER_MS),
		       (unsigned long long)(r->held_ns / NS_PER_MS));
}

static void done(void *arg)
{
	struct relocation *r = arg;
	struct vm *vm = r->vm;
	char text[2 * VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	tell_end(r);
	vm->is_busy = vm->has_job = false;
	vm->relocation = NULL;
	bool is_on = vm->state == VM_ON && !vm->is_ending;
	if (r->rc == 0 && is_on)
		ha_vm_on(vm);
	(void)snprintf(text, sizeof(text), "VM %u (%s): %s", vm->id,
		       vm_file_text(vm, NULL, file, sizeof(file)), r->why);
	if (r->rc == 0 && *r->next_host && is_on)
		vmotion_start(vm, r->who, r->next_host, false);
	else
		control_reply(r->host->control, r->who, r->rc, text, NULL);
	host_datastore_put(r->host, r->from);
	host_datastore_put(r->host, r->to);
	relocation_free(r);
	vm_settle(vm);
}

static const char *why_not(const struct vm *vm, const struct datastore *to, char *text)
{
	if (vm->state == VM_OFF)
		return "is not powered on";
	if (vm->state != VM_ON || vm->has_job || vm->is_ending)
		return "is being powered on or off";
	if (vm->is_busy)
		return vm->passage || vm->relocation ?
			       "is being moved already" :
			       "is busy: a snapshot or a disk of it is changed";
	if (vm->question_text[0])
		return "waits for an answer";
	if (vm->host->is_stopping)
		return "the host is shutting down";
	if (vm->vhost_disks)
		return "has disks by vhost-user, which cannot change hands yet";
	if (to == vm->ds)
		return "is on that datastore already";
	if (vmotion_check_storage(vm->ds, text) < 0 ||
	    vmotion_check_storage(to, text) < 0)
		return text;
	return NULL;
}

static struct relocation *relocation_new(struct vm *vm, struct datastore *to,
					 const char *next_host)
{
	struct relocation *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	const char *slash = strrchr(vm->path, '/');
	mutex_init(&r->m);
	cond_init(&r->c);
	r->vm = vm;
	r->host = vm->host;
	r->from = vm->ds;
	r->to = to;
	r->began_at = clock_now();
	atomic_store(&r->phase, "copying");
	r->next_host = strdup(next_host);
	r->vmx = strdup(vm->path);
	r->folder = strndup(vm->path, (size_t)(slash - vm->path));
	if (asprintf(&r->coming, "%s.move", vm->path) < 0)
		r->coming = NULL;
	if (asprintf(&r->gone, "%s.moved", vm->path) < 0)
		r->gone = NULL;
	if (r->next_host && r->vmx && r->folder && r->coming && r->gone)
		return r;
	relocation_free(r);
	return NULL;
}

void relocate_request(struct vm *vm, struct requester who, const json_t *body)
{
	struct host *h = vm->host;
	struct datastore *to = NULL;
	char text[PLAN_WHY_SIZE], sentence[2 * VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	const char *name = msg_text(body, "datastore"), *why = NULL;
	int rc = datastore_find(&h->datastores, name, &to);
	if (rc == -ENOTUNIQ)
		why = "several datastores have that label, use the UUID";
	else if (rc < 0)
		why = "no such datastore on this host";
	else
		why = why_not(vm, to, text);
	struct relocation *r =
		why ? NULL : relocation_new(vm, to, msg_text(body, "host"));
	if (!r) {
		(void)snprintf(sentence, sizeof(sentence), "VM %u (%s): %.128s: %.300s",
			       vm->id, vm_file_text(vm, NULL, file, sizeof(file)), name,
			       why ? why : "no memory");
		control_reply(h->control, who, why ? -EBUSY : -ENOMEM, sentence, NULL);
		return;
	}
	r->who = who;
	r->from->users++;
	r->to->users++;
	vm->relocation = r;
	vm->is_busy = vm->has_job = true;
	if (loop_job(h->loop, "relocate", work, done, r) == 0)
		return;
	r->rc = relocation_fails(r, -ENOMEM, "no memory");
	done(r);
}

bool relocate_cancel(struct vm *vm)
{
	if (vm->relocation)
		atomic_store(&vm->relocation->is_cancelled, true);
	return vm->relocation;
}

void relocate_list(struct host *h, json_t *rows)
{
	struct vm *vm;
	TAILQ_FOREACH(vm, &h->vms, link) {
		struct relocation *r = vm->relocation;
		if (!r)
			continue;
		uint64_t total = atomic_load(&r->total), copied = atomic_load(&r->done);
		json_array_append_new(
			rows, json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:s}", "vm",
					vm->labels.name, "direction", "storage", "host",
					r->to->label, "phase", atomic_load(&r->phase),
					"percent",
					total ? (int)(copied * 99 / total) : 0,
					"transferred", (json_int_t)(copied >> 20), "ms",
					(json_int_t)((clock_now() - r->began_at) /
						     NS_PER_MS),
					"why", ""));
	}
}
