/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In, of a VM that runs:
 *
 *	FIND  a job makes the disk, if it is a new one, locks, opens and serves it
 *	WRITE a job writes it into the .vmx file, in one step
 *	TOLD  vmx gives it to the guest; if that fails, UNDO: a job takes it out again
 *
 * Out:	TOLD  vmx takes it from the guest
 *	WRITE a job takes it out of the .vmx file, closes it, and removes its files
 *
 * Of a VM that is off the .vmx file alone is changed, under its lock.
 *
 * 1. What the guest has, the .vmx file has: it is written before the guest gets the disk,
 *    and changed after the guest has lost it. So whoever takes the VM back, after our
 *    death at any point, finds each of its disks in the file (vm_jobs.c). What the file
 *    has and the guest has not comes at the next power-on; or at once, by asking again
 *    for the same; or goes, by asking for that.
 * 2. The note of the locks (lapse.c) has the disk from WRITE on, or up to there.
 * 3. vm->disks changes on the loop alone.
 * 4. Who takes a VM back while a disk is on its way (LEFT) serves that one, too: QEMU may
 *    wait for it, and all of the VM with QEMU. When vmx has said that the guest has it
 *    not, it is closed; the .vmx file stays as it is.
 *
 * Meanwhile the VM is busy, as with snapshots.
 */
#include "vmkernel/vm_plug.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "vdisk/vdisk.h"
#include "vmkernel/control.h"
#include "vmkernel/vm_edit.h"
#include "vmkernel/vmx/vmxfile.h"

#define NAMES_MAX 1000u
#define KEY_SIZE 64
#define NODE_SIZE 32

struct plugging {
	struct vm *vm;
	struct host *host;
	struct datastore *ds; /* in use until the end */
	struct requester who;
	char *vmx;	      /* the path of the .vmx file */
	char *file;	      /* of the descriptor, as asked; then as the .vmx has it */
	char *path;	      /* and as a path of the volume */
	char node[NODE_SIZE]; /* "scsi0:1" */
	uint64_t size;
	bool is_out, deletes, is_on;
	bool was_there;	      /* the .vmx file has it, and the guest has not */
	bool has_job;	      /* the VM's */
	bool is_left;	      /* by an earlier vmkernel */
	bool is_told, has;    /* of that: what became of it */
	bool is_made;	      /* by us: it goes if it does not come to the VM */
	uint32_t index;
	struct sched_wish wish;
	struct disk *disk;    /* not in vm->disks yet, or not any more */
	struct catcher catcher;
	int rc;
	char why[VM_WHY_SIZE];
};

static void plugging_free(struct plugging *p)
{
	free(p->vmx);
	free(p->file);
	free(p->path);
	free(p);
}

__attribute__((format(printf, 3, 4))) static int fail(struct plugging *p, int rc,
						      const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (!p->why[0])
		(void)vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	return p->rc = rc;
}

static void key_of(const struct plugging *p, const char *what, char key[static KEY_SIZE])
{
	(void)snprintf(key, KEY_SIZE, "%s.%s", p->node, what);
}

/* ---- the .vmx file ---- */

static int read_config(struct plugging *p, struct vmxfile **ret)
{
	struct vm_edit e = { .vm = p->vm, .ds = p->ds, .vmx = p->vmx,
			     .is_on = p->is_on };
	int rc;
	AUTO_FREE char *text = vm_edit_read(&e, &rc);
	if (rc == 0)
		rc = vmxfile_parse(text, strlen(text), p->vmx + 1,
				   catcher_init(&p->catcher, p->host->reporter), ret);
	if (rc < 0)
		(void)fail(p, rc, "%s", p->catcher.text[0] ? p->catcher.text :
							     strerror(-rc));
	return rc;
}

/* What the .vmx file has there; NULL: nothing. */
static const char *file_at(const struct plugging *p, const struct vmxfile *f)
{
	char present[KEY_SIZE], name[KEY_SIZE];
	key_of(p, "present", present);
	key_of(p, "fileName", name);
	const char *file = vmxfile_get(f, name);
	if (vmxfile_get(f, present) && !vmxfile_is_true(f, present))
		return NULL;
	return file && *file ? file : NULL;
}

static bool has_controller(const struct plugging *p, const struct vmxfile *f)
{
	char key[KEY_SIZE];
	(void)snprintf(key, sizeof(key), "%.*s.present", (int)strcspn(p->node, ":"),
		       p->node);
	return strncmp(p->node, "ide", 3) == 0 || vmxfile_is_true(f, key);
}

static int change(struct plugging *p, const struct vmedit *edits, unsigned int count)
{
	struct vm_edit e = { .vm = p->vm, .ds = p->ds, .vmx = p->vmx,
			     .is_on = p->is_on };
	char why[VM_WHY_SIZE];
	int rc = vm_edit_apply(&e, edits, count, why, sizeof(why));
	if (rc < 0)
		return fail(p, rc, "%s", why);
	if (!p->is_on)
		return 0;
	/* What is asked of the VM from here on is asked of that. */
	char *fresh = vm_read_all(p->vm->config, &rc);
	if (!fresh)
		return fail(p, rc, "its .vmx file cannot be read: %s", strerror(-rc));
	free(p->vm->text);
	p->vm->text = fresh;
	return 0;
}

static int write_in(struct plugging *p)
{
	char all[KEY_SIZE], present[KEY_SIZE], type[KEY_SIZE], name[KEY_SIZE];
	key_of(p, "", all);
	key_of(p, "present", present);
	key_of(p, "deviceType", type);
	key_of(p, "fileName", name);
	const struct vmedit edits[] = {
		{ all, NULL }, /* what an earlier disk has left there */
		{ present, "TRUE" },
		{ type, strncmp(p->node, "scsi", 4) == 0 ? "scsi-hardDisk" : "disk" },
		{ name, p->file },
	};
	return change(p, edits, 4);
}

static int write_out(struct plugging *p)
{
	char all[KEY_SIZE];
	key_of(p, "", all);
	const struct vmedit edit = { all, NULL };
	return change(p, &edit, 1);
}

/* ---- the disk ---- */

/* "/vm1/vm1.vmx": "/vm1/vm1_1.vmdk", the first that is free; malloc'ed. */
static char *new_path(struct plugging *p)
{
	struct vmfs_stat st;
	char *path;
	for (unsigned int n = 1; n < NAMES_MAX; n++) {
		if (asprintf(&path, "%.*s_%u.vmdk", (int)(strlen(p->vmx) - 4), p->vmx,
			     n) < 0)
			return NULL;
		if (vmfs_stat(p->ds->vol, path, &st) == -ENOENT)
			return path;
		free(path);
	}
	return NULL;
}

static int make(struct plugging *p)
{
	const struct vdisk_create_options how = {
		.capacity_bytes = p->size,
		.format = VDISK_ZEROEDTHICK,
		.reporter = catcher_init(&p->catcher, p->host->reporter),
	};
	p->path = new_path(p);
	if (!p->path)
		return fail(p, -ENOMEM, "no name is free for a new disk");
	int rc = vdisk_create(p->ds->vol, p->path, &how);
	if (rc < 0)
		return fail(p, rc, "%s: %s", p->path + 1,
			    p->catcher.text[0] ? p->catcher.text : strerror(-rc));
	p->is_made = true;
	free(p->file);
	p->file = strdup(strrchr(p->path, '/') + 1);
	return p->file ? 0 : fail(p, -ENOMEM, "no memory");
}

/* Is it a disk? Whoever powers the VM on locks it. */
static int look(struct plugging *p)
{
	const struct vdisk_open_options how = {
		.flags = VDISK_READ,
		.reporter = catcher_init(&p->catcher, p->host->reporter),
	};
	struct vdisk *disk;
	int rc = vdisk_open(p->ds->vol, p->path, &how, &disk, NULL);
	if (rc < 0)
		return fail(p, rc, "%s: %s", p->path + 1,
			    p->catcher.text[0] ? p->catcher.text : strerror(-rc));
	(void)vdisk_close(disk); /* was only read */
	return 0;
}

static int serve(struct plugging *p)
{
	struct vm_disk_texts texts;
	struct disk_options options;
	char why[VM_WHY_SIZE - 128] = "";
	vm_disk_options(p->vm, p->index, p->path, &texts, &options);
	options.wish = p->wish;
	options.is_vhost = false;
	int rc = disk_open(&options, &p->disk, why, sizeof(why));
	return rc < 0 ? fail(p, rc, "%s", why) : 0;
}

/* The open disk of that key; -ENOENT: the guest has none. */
static int find_open(const struct plugging *p)
{
	char key[KEY_SIZE];
	key_of(p, "fileName", key);
	for (uint32_t i = 0; p->is_on && i < HARDWARE_DISKS_MAX; i++)
		if (p->vm->disks[i] && p->vm->disk_keys[i] &&
		    strcasecmp(p->vm->disk_keys[i], key) == 0)
			return (int)i;
	return -ENOENT;
}

static int find(struct plugging *p)
{
	char key[KEY_SIZE], bad[VM_BAD_SIZE];
	struct vmxfile *f;
	int rc = read_config(p, &f);
	if (rc < 0)
		return rc;
	const char *there = file_at(p, f);
	p->was_there = there && p->is_on && strcmp(there, p->file) == 0 &&
		       find_open(p) < 0;
	if (!has_controller(p, f))
		rc = fail(p, -ENOENT, "its .vmx file has no controller for %s", p->node);
	else if (there && !p->was_there)
		rc = fail(p, -EEXIST, "%s is %.256s already", p->node, there);
	key_of(p, "fileName", key);
	if (rc == 0 && vm_disk_wish(f, key, &p->wish, bad) < 0)
		rc = fail(p, -EINVAL, "%s", bad);
	vmxfile_free(f);
	return rc;
}

static void find_work(void *arg)
{
	struct plugging *p = arg;
	char why[VM_WHY_SIZE / 2] = "no memory";
	if (find(p) < 0)
		return;
	if (!p->file[0]) {
		if (make(p) < 0)
			return;
	} else {
		p->path = vm_disk_path(p->vm, p->ds, p->file, why, sizeof(why));
		if (!p->path) {
			(void)fail(p, -EINVAL, "%s", why);
			return;
		}
	}
	(void)(p->is_on ? serve(p) : look(p));
}

/* What does not come to the VM, or has gone from it. */
static void let_go(struct plugging *p)
{
	int rc = disk_close(p->disk);
	if (rc < 0)
		report(p->host->reporter, REPORT_WARN, "VM %u: closing %s: %s", p->vm->id,
		       p->node, strerror(-rc));
	p->disk = NULL;
	if (!p->path || !(p->is_out ? p->deletes : p->is_made))
		return;
	rc = vdisk_remove(p->ds->vol, p->path,
			  catcher_init(&p->catcher, p->host->reporter), NULL);
	if (rc < 0)
		(void)fail(p, rc, "%s: it is no disk of the VM any more, and stays: %s",
			   p->path + 1,
			   p->catcher.text[0] ? p->catcher.text : strerror(-rc));
}

static void let_go_work(void *arg)
{
	let_go(arg);
}

/* ---- in ---- */

static void job_over(struct plugging *p)
{
	if (p->has_job)
		p->vm->has_job = false;
	p->has_job = false;
}

static void end(void *arg)
{
	struct plugging *p = arg;
	struct vm *vm = p->vm;
	char text[VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	vm->is_busy = false;
	job_over(p);
	(void)snprintf(text, sizeof(text), "VM %u (%s): %.400s", vm->id,
		       vm_file_text(vm, NULL, file, sizeof(file)), p->why);
	control_reply(p->host->control, p->who, p->rc, text,
		      p->rc == 0 && !p->is_out ? json_pack("{s:s}", "path", p->file) :
						 NULL);
	host_datastore_put(p->host, p->ds);
	plugging_free(p);
	vm_settle(vm);
}

static void start_job(struct plugging *p, void (*work)(void *arg),
		      void (*done)(void *arg))
{
	if (p->is_on)
		p->vm->has_job = p->has_job = true;
	if (loop_job(p->host->loop, "vm-plug", work, done, p) == 0)
		return;
	work(p); /* better late than half done */
	done(p);
}

static void undo_work(void *arg)
{
	struct plugging *p = arg;
	if (!p->was_there)
		(void)write_out(p); /* the first error is what counts */
	let_go(p);
}

/* The guest has not got it. */
static void undo(struct plugging *p)
{
	struct vm *vm = p->vm;
	p->disk = vm->disks[p->index];
	vm->disks[p->index] = NULL;
	free(vm->disk_keys[p->index]);
	vm->disk_keys[p->index] = strdup("");
	start_job(p, undo_work, end);
}

static void ask_vmx(struct plugging *p, enum msg_type type)
{
	struct vm *vm = p->vm;
	json_t *body = json_pack("{s:i, s:s, s:s}", "index", (int)p->index, "disk",
				 p->node, "path", p->file ? p->file : "");
	job_over(p);
	vm->plugging = p;
	if (!vm->is_ending && vm->channel.sock >= 0 &&
	    msg_send(&vm->channel, type, VM_PLUG_TAG, body) < 0)
		vm_stop(vm, "vmx does not listen");
	else
		vm_settle(vm); /* its end is told, too */
}

static void written(void *arg)
{
	struct plugging *p = arg;
	if (p->rc < 0 && p->is_on)
		undo(p);
	else if (p->rc < 0)
		start_job(p, let_go_work, end);
	else if (p->is_on)
		ask_vmx(p, MSG_VMX_PLUG);
	else
		end(p);
}

static void write_work(void *arg)
{
	struct plugging *p = arg;
	if (!p->was_there)
		(void)write_in(p);
}

static void found(void *arg)
{
	struct plugging *p = arg;
	struct vm *vm = p->vm;
	char key[KEY_SIZE];
	if (p->rc < 0 || (p->is_on && vm->is_ending)) {
		if (p->rc == 0)
			(void)fail(p, -ECANCELED, "the VM ends");
		start_job(p, let_go_work, end);
		return;
	}
	if (p->is_on) {
		key_of(p, "fileName", key);
		vm->disks[p->index] = p->disk;
		p->disk = NULL;
		free(vm->disk_keys[p->index]);
		vm->disk_keys[p->index] = strdup(key);
	}
	start_job(p, write_work, written);
}

/* ---- out ---- */

static void out_work(void *arg)
{
	struct plugging *p = arg;
	if (write_out(p) < 0)
		p->deletes = false; /* the VM has it, at its next power-on */
	let_go(p);
}

static void look_out_work(void *arg)
{
	struct plugging *p = arg;
	struct vmxfile *f;
	struct vmsd v;
	const struct vmsnap_options o = { .vol = p->ds->vol,
					  .vmx = p->vmx,
					  .reporter = p->host->reporter };
	char why[VM_WHY_SIZE / 2] = "no memory";
	if (read_config(p, &f) < 0)
		return;
	const char *there = file_at(p, f);
	if (!there)
		(void)fail(p, -ENOENT, "%s: has no such disk", p->node);
	else
		p->path = vm_disk_path(p->vm, p->ds, there, why, sizeof(why));
	vmxfile_free(f);
	if (there && !p->path && p->deletes)
		(void)fail(p, -EINVAL, "%s", why);
	if (p->rc < 0 || !p->deletes)
		return;
	int rc = vmsnap_list(&o, &v);
	if (rc < 0) {
		(void)fail(p, rc, "its snapshots: %s", strerror(-rc));
		return;
	}
	if (v.count)
		(void)fail(p, -EBUSY, "has snapshots, which need the files of %s",
			   p->node);
	vmsd_done(&v);
}

static void looked_out(void *arg)
{
	struct plugging *p = arg;
	int i = find_open(p);
	if (p->rc < 0) {
		end(p);
	} else if (i < 0) {
		start_job(p, out_work, end);
	} else {
		p->index = (uint32_t)i;
		ask_vmx(p, MSG_VMX_UNPLUG);
	}
}

/* The guest has it no more. */
static void gone(struct plugging *p)
{
	struct vm *vm = p->vm;
	p->disk = vm->disks[p->index];
	vm->disks[p->index] = NULL;
	free(vm->disk_keys[p->index]);
	vm->disk_keys[p->index] = strdup("");
	start_job(p, out_work, end);
}

/* ---- told ---- */

void vm_plug_told(struct vm *vm, int result, const char *why)
{
	struct plugging *p = vm->plugging;
	if (!p || p->is_left)
		return;
	vm->plugging = NULL;
	if (result < 0)
		(void)fail(p, result, "%s: %.256s", p->node, why ? why : "it failed");
	if (result < 0 && !p->is_out)
		undo(p);
	else if (result < 0)
		end(p);
	else if (p->is_out)
		gone(p);
	else
		end(p);
}

void vm_plug_off(struct vm *vm)
{
	struct plugging *p = vm->plugging;
	if (!p)
		return;
	vm->plugging = NULL;
	(void)fail(p, -ECANCELED, "the VM has ended; its .vmx file has the disk");
	end(p);
}

/* ---- left by an earlier vmkernel ---- */

void vm_plug_adopted(struct vm *vm)
{
	struct plugging *p = vm->plugging;
	if (!p || !p->is_left || !p->is_told || vm->state != VM_ON)
		return;
	vm->plugging = NULL;
	p->disk = p->has ? NULL : vm->disks[p->index];
	if (!p->disk) {
		end(p);
		return;
	}
	vm->disks[p->index] = NULL;
	free(vm->disk_keys[p->index]);
	vm->disk_keys[p->index] = strdup("");
	start_job(p, let_go_work, end);
}

void vm_plug_left(struct vm *vm, uint32_t index)
{
	struct plugging *p = calloc(1, sizeof(*p));
	if (!p)
		return; /* a disk more than it has is served */
	p->vm = vm;
	p->host = vm->host;
	p->ds = vm->ds;
	p->index = index;
	p->is_left = p->is_out = p->is_on = true;
	p->ds->users++;
	vm->is_busy = true;
	vm->plugging = p;
}

void vm_plug_settled(struct vm *vm, bool has)
{
	struct plugging *p = vm->plugging;
	if (!p || !p->is_left)
		return;
	p->is_told = true;
	p->has = has;
	vm_plug_adopted(vm);
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
	if (vm->labels.is_suspended)
		return "is suspended: its memory would not fit its disks";
	if (vm->state != VM_OFF && (vm->state != VM_ON || vm->has_job || vm->is_ending))
		return "is being powered on or off";
	return NULL;
}

/* "scsi0:1", and nothing else. */
static bool is_node(const char *node)
{
	char prefix[8];
	unsigned int number, unit;
	int end_at = 0;
	return strlen(node) < NODE_SIZE - 8 &&
	       sscanf(node, "%7[a-z]%2u:%2u%n", prefix, &number, &unit, &end_at) == 3 &&
	       !node[end_at] &&
	       (!strcmp(prefix, "scsi") || !strcmp(prefix, "sata") ||
		!strcmp(prefix, "ide") || !strcmp(prefix, "nvme"));
}

static uint32_t free_index(const struct vm *vm)
{
	uint32_t i = 0;
	while (i < HARDWARE_DISKS_MAX && vm->disks[i])
		i++;
	return i;
}

static struct plugging *plugging_new(struct vm *vm, const json_t *body)
{
	struct plugging *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->vm = vm;
	p->host = vm->host;
	p->vmx = strdup(vm->path);
	p->file = strdup(msg_text(body, "path"));
	(void)snprintf(p->node, sizeof(p->node), "%.31s", msg_text(body, "disk"));
	p->size = (uint64_t)json_integer_value(json_object_get(body, "size"));
	p->deletes = json_is_true(json_object_get(body, "deletes"));
	p->is_on = vm->state == VM_ON;
	p->index = free_index(vm);
	if (p->vmx && p->file)
		return p;
	plugging_free(p);
	return NULL;
}

void vm_plug_request(struct vm *vm, struct requester who, enum msg_type type,
		     const json_t *body)
{
	struct datastore *ds = vm_datastore(vm);
	char text[VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	const char *why = why_not(vm, ds);
	if (!why && !is_node(msg_text(body, "disk")))
		why = "a disk is at scsi, sata, ide or nvme, a controller and a unit";
	if (!why && type == MSG_VM_DISK_ADD && !*msg_text(body, "path") &&
	    json_integer_value(json_object_get(body, "size")) <= 0)
		why = "a disk has a file, or a size";
	if (!why && vm->state == VM_ON && free_index(vm) == HARDWARE_DISKS_MAX &&
	    type == MSG_VM_DISK_ADD)
		why = "has as many disks as a VM can have";
	const char *store = msg_text(body, "datastore");
	if (!why && *store && strcmp(store, ds->label) && strcmp(store, ds->uuid_text))
		why = "new disks are made on the VM's own datastore";
	struct plugging *p = why ? NULL : plugging_new(vm, body);
	if (!p) {
		(void)snprintf(text, sizeof(text), "VM %u (%s): %s", vm->id,
			       vm_file_text(vm, NULL, file, sizeof(file)),
			       why ? why : "no memory");
		control_reply(vm->host->control, who, why ? -EBUSY : -ENOMEM, text, NULL);
		return;
	}
	p->who = who;
	p->ds = ds;
	p->is_out = type == MSG_VM_DISK_REMOVE;
	ds->users++;
	vm->is_busy = true;
	if (p->is_out)
		start_job(p, look_out_work, looked_out);
	else
		start_job(p, find_work, found);
}
