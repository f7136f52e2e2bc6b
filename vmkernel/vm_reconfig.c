/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	LOOK   a job reads the .vmx file with the new settings in it, as power-on would
 *	ADMIT  of a VM that runs: has the host that much?
 *	WRITE  a job writes the .vmx file, in one step
 *	COUNT  of a VM that runs: shares and limits are these from now on
 *
 * A death before WRITE has changed nothing, one behind it is made good by whoever takes
 * the VM back: he reads the file. Meanwhile the VM is busy, as with snapshots.
 */
#include "vmkernel/vm_reconfig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vdisk/settings.h"
#include "vmkernel/control.h"
#include "vmkernel/resource/resource.h"
#include "vmkernel/vm_edit.h"
#include "vmkernel/vmx/vmxfile.h"

#define KEY_SIZE 64
#define VALUE_SIZE 64
#define NODE_SIZE 32

/* The request's names of .vmx keys; of a disk: behind "sched.scsi0:0.". */
static const struct {
	const char *name, *key;
	bool is_of_disk;
} known[] = {
	{ "cpu_shares", "sched.cpu.shares", false },
	{ "cpu_min", "sched.cpu.min", false },
	{ "cpu_max", "sched.cpu.max", false },
	{ "memory_shares", "sched.mem.shares", false },
	{ "memory_min", "sched.mem.min", false },
	{ "memory_max", "sched.mem.max", false },
	{ "shares", "shares", true },
	{ "iops", "throughputCap", true },
	{ "bandwidth", "bandwidthCap", true },
};

struct reconfig {
	struct vm_edit edit; /* and the VM */
	struct host *host;
	struct requester who;
	char *vmx;
	char node[NODE_SIZE]; /* "scsi0:0"; "": it is about the VM itself */
	char keys[ARRAY_SIZE(known)][KEY_SIZE], values[ARRAY_SIZE(known)][VALUE_SIZE];
	struct vmedit edits[ARRAY_SIZE(known)];
	unsigned int count;
	struct resource_wish wish;
	char *text; /* of the file, as it is to be */
	int rc;
	char why[VM_WHY_SIZE / 2];
};

static void reconfig_free(struct reconfig *r)
{
	free(r->text);
	free(r->vmx);
	free(r);
}

__attribute__((format(printf, 3, 4))) static int fail(struct reconfig *r, int rc,
						      const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	return r->rc = rc;
}

static void end(void *arg)
{
	struct reconfig *r = arg;
	struct vm *vm = r->edit.vm;
	char text[VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	vm->is_busy = false;
	if (r->edit.is_on)
		vm->has_job = false;
	(void)snprintf(text, sizeof(text), "VM %u (%s): %.300s", vm->id,
		       vm_file_text(vm, NULL, file, sizeof(file)), r->why);
	control_reply(r->host->control, r->who, r->rc, text, NULL);
	host_datastore_put(r->host, r->edit.ds);
	reconfig_free(r);
	vm_settle(vm);
}

static void start_job(struct reconfig *r, void (*work)(void *arg),
		      void (*done)(void *arg))
{
	if (loop_job(r->host->loop, "vm-reconfig", work, done, r) == 0)
		return;
	(void)fail(r, -ENOMEM, "no memory");
	end(r);
}

/* ---- the file ---- */

/* The text with the new settings in it: r->text. */
static int change_text(struct reconfig *r, const char *text)
{
	struct settings *s;
	struct buf out = { 0 };
	int rc = settings_parse(text, strlen(text), r->vmx + 1,
				catcher_init(&r->edit.catcher, r->host->reporter), &s);
	if (rc < 0)
		return rc;
	for (unsigned int i = 0; rc == 0 && i < r->count; i++)
		rc = settings_set(s, r->edits[i].key, r->edits[i].value);
	settings_text(s, &out);
	settings_free(s);
	if (rc < 0 || out.error) {
		buf_done(&out);
		return rc ? rc : out.error;
	}
	r->text = out.data;
	return r->text ? 0 : -EINVAL; /* an empty file is none */
}

/* As power-on reads it. */
static int check_text(struct reconfig *r)
{
	char bad[VM_BAD_SIZE] = "", key[KEY_SIZE];
	struct sched_wish wish;
	struct vmxfile *f;
	int rc = vmxfile_parse(r->text, strlen(r->text), r->vmx + 1,
			       catcher_init(&r->edit.catcher, r->host->reporter), &f);
	if (rc < 0)
		return rc;
	(void)snprintf(key, sizeof(key), "%s.fileName", r->node);
	if (!r->node[0]) {
		rc = resource_wish_read(f, &r->wish, bad);
	} else if (!vmxfile_get(f, key)) {
		rc = -ENOENT;
		(void)snprintf(bad, sizeof(bad), "has no disk %s", r->node);
	} else {
		rc = vm_disk_wish(f, key, &wish, bad);
	}
	vmxfile_free(f);
	return rc < 0 ? fail(r, rc, "%s", bad) : 0;
}

static void look_work(void *arg)
{
	struct reconfig *r = arg;
	int rc;
	AUTO_FREE char *text = vm_edit_read(&r->edit, &rc);
	if (rc == 0)
		rc = change_text(r, text);
	if (rc == 0)
		rc = check_text(r);
	if (rc < 0 && !r->why[0])
		(void)fail(r, rc, "%s", r->edit.catcher.text[0] ? r->edit.catcher.text :
								  strerror(-rc));
}

static void write_work(void *arg)
{
	struct reconfig *r = arg;
	r->rc = vm_edit_apply(&r->edit, r->edits, r->count, r->why, sizeof(r->why));
}

/* ---- the VM ---- */

static void give_disks(struct vm *vm)
{
	char bad[VM_BAD_SIZE];
	struct vmxfile *f;
	if (vmxfile_parse(vm->text, strlen(vm->text), "", NULL, &f) < 0)
		return; /* it was read a moment ago */
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		struct sched_wish wish;
		if (vm->disks[i] && vm->disk_keys[i] && strchr(vm->disk_keys[i], ':') &&
		    vm_disk_wish(f, vm->disk_keys[i], &wish, bad) == 0)
			disk_set_wish(vm->disks[i], &wish);
	}
	vmxfile_free(f);
}

static void written(void *arg)
{
	struct reconfig *r = arg;
	struct vm *vm = r->edit.vm;
	if (r->rc == 0 && r->edit.is_on) {
		free(vm->text);
		vm->text = r->text;
		r->text = NULL;
		resources_changed(vm);
		give_disks(vm);
	}
	end(r);
}

static void looked(void *arg)
{
	struct reconfig *r = arg;
	struct vm *vm = r->edit.vm;
	if (r->rc == 0 && r->edit.is_on && vm->is_ending)
		(void)fail(r, -ECANCELED, "is being powered off");
	if (r->rc == 0 && r->edit.is_on && !r->node[0])
		r->rc = resources_look(vm, &r->wish, r->why, sizeof(r->why));
	if (r->rc == 0)
		start_job(r, write_work, written);
	else
		end(r);
}

/* ---- requests ---- */

static const char *why_not(const struct vm *vm, const struct datastore *ds)
{
	if (!ds)
		return "its datastore is not attached";
	if (ds->is_lost)
		return "its datastore is lost";
	if (vm->is_busy || vm->grow.is_set)
		return "is busy: it is moved, or a snapshot or a disk of it is changed";
	if (vm->state != VM_OFF && (vm->state != VM_ON || vm->has_job || vm->is_ending))
		return "is being powered on or off";
	return NULL;
}

/* NULL, or what is wrong with what is wanted. */
static const char *take_settings(struct reconfig *r, const json_t *body)
{
	bool has_disk = r->node[0];
	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++) {
		const char *value = msg_text(body, known[i].name);
		if (!*value)
			continue;
		if (known[i].is_of_disk != has_disk || strlen(value) >= VALUE_SIZE)
			return "what is to be set is not a disk's, or is too long";
		(void)snprintf(r->values[r->count], VALUE_SIZE, "%s", value);
		if (has_disk)
			(void)snprintf(r->keys[r->count], KEY_SIZE, "sched.%s.%s",
				       r->node, known[i].key);
		else
			(void)snprintf(r->keys[r->count], KEY_SIZE, "%s", known[i].key);
		r->edits[r->count] = (struct vmedit){ r->keys[r->count],
						      r->values[r->count] };
		r->count++;
	}
	return r->count ? NULL : "nothing is to be changed";
}

void vm_reconfig_request(struct vm *vm, struct requester who, const json_t *body)
{
	struct datastore *ds = vm_datastore(vm);
	const char *why = why_not(vm, ds), *node = msg_text(body, "disk");
	struct reconfig *r = why ? NULL : calloc(1, sizeof(*r));
	if (r)
		r->vmx = strdup(vm->path);
	if (!why && (!r || !r->vmx))
		why = "no memory";
	if (!why && strlen(node) >= sizeof(r->node))
		why = "no disk is named like that";
	if (!why) {
		(void)snprintf(r->node, sizeof(r->node), "%s", node);
		why = take_settings(r, body);
	}
	if (why) {
		if (r)
			reconfig_free(r);
		vm_refuse(vm, who, why);
		return;
	}
	r->host = vm->host;
	r->who = who;
	r->edit = (struct vm_edit){ .vm = vm, .ds = ds, .vmx = r->vmx,
				    .is_on = vm->state == VM_ON };
	ds->users++;
	vm->is_busy = true;
	if (r->edit.is_on)
		vm->has_job = true;
	start_job(r, look_work, looked);
}
