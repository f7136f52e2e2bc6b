/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out (suspend, snapshot with memory), the VM standing still from the first step on:
 *
 *	FILLING: vmx sends, a job fills the file --both are over--> KEEPING: a job
 *	  suspend: stamps of the disks, the file is whole, the .vmx file names it
 *		--> the VM ends
 *	  snapshot: stamps, the file is whole, vmsnap_create() --> vmx lets it run on
 *	  any error --> the file goes, vmx lets it run on
 *
 * In, of a power-on:
 *
 *	FOUND (power-on goes on: QEMU waits) --checkpoint_restore--> CHECKING: the
 *	disks' stamps --> SENDING: a job sends, vmx receives --both are over, all is
 *	right--> NAMELESS: a job takes the name off the .vmx file --> vmx lets it run
 *
 * 1. The .vmx file names a state only when that is whole and durable, and the disks are
 *    as they were: who suspends names it last, and never lets the VM run after that. So a
 *    half-written state is never gone on with, whoever dies when.
 * 2. The name is gone, durably, before the VM runs: no second power-on finds it beside
 *    disks that were written since. Between the two a crash costs the state, as a power
 *    failure would.
 * 3. Each disk has the stamp that it had (vdisk_stamp), or the state is refused: against
 *    whoever wrote to a disk of a suspended VM, or put another in its place.
 * 4. Whoever takes back a VM that is sent (vmx: MOVE_SENT) finds the name, and ends it,
 *    or does not, and lets it run on.
 *
 * The VM is busy and has a job until it is over, so its files and its end wait.
 */
#include "vmkernel/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vdisk/vmedit.h"
#include "vmkernel/control.h"
#include "vmkernel/memoryfile.h"
#include "vmkernel/vm_snapshot.h"
#include "vmkernel/vmx/vmxfile.h"

enum kind { KIND_SUSPEND, KIND_SNAPSHOT, KIND_RESUME };

struct checkpoint {
	struct vm *vm;
	struct datastore *ds; /* in use until the end (out) */
	struct requester who;
	enum kind kind;
	char *path; /* of the state */
	struct memoryfile *file;
	json_t *facts, *result;
	char *name, *description; /* of a snapshot */
	struct vdisk *disks[HARDWARE_DISKS_MAX];
	struct catcher catcher;
	int sock; /* the job's */
	bool is_through;   /* the job that fills or sends is over */
	bool has_answer;   /* vmx */
	int answer;
	bool is_gone;	   /* vmx: nothing is to be asked */
	int rc;		   /* of the jobs */
	char why[VM_WHY_SIZE];
};

static void checkpoint_free(struct checkpoint *c)
{
	memoryfile_close(c->file);
	json_decref(c->facts);
	free(c->path);
	free(c->name);
	free(c->description);
	if (c->sock >= 0)
		(void)close(c->sock);
	free(c);
}

static struct checkpoint *checkpoint_new(struct vm *vm, enum kind kind)
{
	struct checkpoint *c = calloc(1, sizeof(*c));
	if (c) {
		c->vm = vm;
		c->kind = kind;
		c->sock = -1;
	}
	return c;
}

static void refuse(struct vm *vm, struct requester who, int rc, const char *why)
{
	char text[VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	(void)snprintf(text, sizeof(text), "VM %u (%s): %s", vm->id,
		       vm_file_text(vm, NULL, file, sizeof(file)), why);
	control_reply(vm->host->control, who, rc, text, NULL);
}

static void set_why(struct checkpoint *c, int rc, const char *what)
{
	c->rc = rc;
	if (!c->why[0])
		(void)snprintf(c->why, sizeof(c->why), "%s: %s", what, strerror(-rc));
}

/* A job of the VM's; without memory for a task it is done here. */
static void start_job(struct checkpoint *c, void (*work)(void *arg),
		      void (*done)(void *arg))
{
	c->vm->has_job = true;
	if (loop_job(c->vm->host->loop, "checkpoint", work, done, c) == 0)
		return;
	work(c);
	done(c);
}

/* Passes one end of a new pair of sockets to vmx, with a request; the other is ours. */
static int ask_with_socket(struct checkpoint *c, enum msg_type type, uint32_t tag)
{
	struct channel *ch = &c->vm->channel;
	int pair[2];
	if (ch->sock < 0)
		return -ECONNRESET;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	c->sock = pair[0];
	channel_pass(ch, pair[1]);
	return msg_send(ch, type, tag, json_pack("{s:b, s:b}", "plain", 1, "is_cold", 1));
}

/* ---- the disks' stamps ---- */

static int stamp_of(struct checkpoint *c, unsigned int i, bool draws,
		    char stamp[static DISK_STAMP_SIZE])
{
	int rc = disk_stamp(c->vm->disks[i], draws, stamp);
	const char *what = rc == -EACCES ? "it is encrypted, its state would not be" :
			   rc == -EOPNOTSUPP ? "nobody could see whether a disk of its "
					       "kind has changed" : strerror(-rc);
	if (rc < 0)
		(void)snprintf(c->why, sizeof(c->why), "disk %u: %s", i, what);
	return rc;
}

/* By the keys of the .vmx file: disks may have come and gone in another order. */
static json_t *stamps(struct checkpoint *c)
{
	const struct vm *vm = c->vm;
	json_t *all = json_object();
	for (unsigned int i = 0; i < HARDWARE_DISKS_MAX; i++) {
		char stamp[DISK_STAMP_SIZE];
		if (!vm->disks[i] || disk_is_flash(vm->disks[i]))
			continue; /* what a flash holds is in the memory */
		c->rc = disk_flush(vm->disks[i]);
		if (c->rc == 0)
			c->rc = stamp_of(c, i, true, stamp);
		else
			set_why(c, c->rc, "a disk cannot be flushed");
		if (c->rc == 0 && (!vm->disk_keys[i] || !json_is_object(all)))
			c->rc = -ENOMEM;
		if (c->rc < 0) {
			json_decref(all);
			return NULL;
		}
		json_object_set_new(all, vm->disk_keys[i], json_string(stamp));
	}
	return all;
}

static int check_stamps(struct checkpoint *c)
{
	const struct vm *vm = c->vm;
	const json_t *all = json_object_get(c->facts, "disks");
	unsigned int count = 0;
	for (unsigned int i = 0; i < HARDWARE_DISKS_MAX; i++) {
		const char *key = vm->disk_keys[i] ? vm->disk_keys[i] : "";
		const char *was = json_string_value(json_object_get(all, key));
		char stamp[DISK_STAMP_SIZE];
		if (!vm->disks[i] || disk_is_flash(vm->disks[i]))
			continue; /* what a flash holds is in the memory */
		int rc = stamp_of(c, i, false, stamp);
		if (rc < 0)
			return rc;
		count++;
		if (was && strcmp(was, stamp) == 0)
			continue;
		(void)snprintf(c->why, sizeof(c->why),
			       "disk %u is not what it was when the VM was suspended",
			       i);
		return -ESTALE;
	}
	if (count == json_object_size(all))
		return 0;
	(void)snprintf(c->why, sizeof(c->why),
		       "it had %u disks when it was suspended, and has %u",
		       (unsigned int)json_object_size(all), count);
	return -ESTALE;
}

/* ---- out ---- */

/* "/vm1/vm1.vmx": "/vm1/vm1TAIL", malloc'ed. */
static char *beside(const struct vm *vm, const char *tail)
{
	char *path;
	return asprintf(&path, "%.*s%s", (int)(strlen(vm->path) - 4), vm->path, tail) < 0
		       ? NULL : path;
}

/* That of the number that comes next: nobody names it, or what a crash has left there. */
static int choose_path(struct checkpoint *c)
{
	const struct vmsnap_options o = { .vol = c->ds->vol,
					  .vmx = c->vm->path,
					  .reporter = c->vm->host->reporter };
	char tail[40];
	struct vmsd v;
	int rc = c->kind == KIND_SNAPSHOT ? vmsnap_list(&o, &v) : 0;
	if (rc < 0 || c->kind != KIND_SNAPSHOT)
		return rc;
	(void)snprintf(tail, sizeof(tail), "-Snapshot%u.vmsn",
		       (unsigned int)vmsd_next_uid(&v));
	vmsd_done(&v);
	free(c->path);
	c->path = beside(c->vm, tail);
	return c->path ? 0 : -ENOMEM;
}

static void fill_work(void *arg)
{
	struct checkpoint *c = arg;
	int rc = choose_path(c);
	if (rc == 0)
		rc = memoryfile_create(c->ds->vol, c->path, &c->file);
	if (rc == 0)
		rc = memoryfile_fill(c->file, c->sock);
	(void)close(c->sock); /* a QEMU that is not over yet fails */
	c->sock = -1;
	if (rc < 0)
		set_why(c, rc, "its state cannot be written");
}

/* Options for a change of the VM's files while it runs. */
static struct vmsnap_options files_of(struct checkpoint *c,
				      struct vmsnap_running *running)
{
	vm_running_files(c->vm, c->disks, running);
	return (struct vmsnap_options){
		.vol = c->ds->vol,
		.vmx = c->vm->path,
		.reporter = catcher_init(&c->catcher, c->vm->host->reporter),
		.running = running,
	};
}

static void name_it(struct checkpoint *c)
{
	struct vmsnap_running running;
	struct vmsnap_options o = files_of(c, &running);
	const char *name = strrchr(c->path, '/') + 1;
	const struct vmedit edit = { VMSNAP_STATE_KEY, name };
	uint32_t uid = 0;
	if (c->kind == KIND_SUSPEND) {
		c->rc = vmedit_apply(&o, &edit, 1, NULL);
	} else {
		o.memory = name;
		c->rc = vmsnap_create(&o, c->name, c->description, &uid, NULL);
		c->result = json_pack("{s:i}", "snapshot", (int)uid);
	}
	if (c->rc < 0)
		set_why(c, c->rc, c->catcher.text[0] ? c->catcher.text :
						       "its files cannot be changed");
}

static void keep_work(void *arg)
{
	struct checkpoint *c = arg;
	struct vm *vm = c->vm;
	json_t *all = c->rc == 0 ? stamps(c) : NULL;
	if (all) {
		json_t *facts = json_pack("{s:b, s:b, s:s, s:i, s:o}", "is_snapshot",
					  c->kind == KIND_SNAPSHOT, "is_kvm", vm->is_kvm,
					  "cpu", vm->cpu, "taps", (int)vm->taps, "disks",
					  all);
		c->rc = facts ? memoryfile_finish(c->file, facts) : -ENOMEM;
		json_decref(facts);
		if (c->rc < 0)
			set_why(c, c->rc, "its state cannot be written");
	}
	if (c->rc == 0)
		name_it(c);
	bool is_made = c->file;
	memoryfile_close(c->file);
	c->file = NULL;
	if (c->rc < 0 && is_made && vmfs_unlink(c->ds->vol, c->path) < 0)
		report(vm->host->reporter, REPORT_WARN, "VM %u: %s stays behind", vm->id,
		       c->path);
}

static void out_over(struct checkpoint *c)
{
	struct vm *vm = c->vm;
	struct host *h = vm->host;
	struct requester who = c->who;
	bool is_suspended = c->rc == 0 && c->kind == KIND_SUSPEND;
	vm->checkpoint = NULL;
	vm->is_busy = vm->has_job = false;
	if (!is_suspended && !c->is_gone && vm->channel.sock >= 0 &&
	    msg_send(&vm->channel, MSG_VMX_KEEP, CHECKPOINT_KEEP, NULL) < 0)
		vm_stop(vm, "vmx does not listen");
	if (c->rc < 0)
		refuse(vm, who, c->rc, c->why);
	else if (!is_suspended)
		control_reply(h->control, who, 0, NULL, json_incref(c->result));
	host_datastore_put(h, c->ds);
	json_decref(c->result);
	checkpoint_free(c);
	if (is_suspended)
		vm_suspended(vm, who);
	else
		vm_settle(vm);
}

static void keep_done(void *arg)
{
	out_over(arg);
}

/* Both sides have to be over. */
static void out_look(struct checkpoint *c)
{
	if (!c->is_through || !c->has_answer)
		return;
	if (c->rc == 0 && c->answer < 0)
		c->rc = c->answer;
	if (c->rc == 0 && c->vm->is_ending) {
		c->rc = -ECANCELED;
		(void)snprintf(c->why, sizeof(c->why), "the VM ends");
	}
	start_job(c, keep_work, keep_done);
}

static void fill_done(void *arg)
{
	struct checkpoint *c = arg;
	c->is_through = true;
	if (!c->vm->is_ending || c->has_answer) {
		out_look(c);
		return;
	}
	c->has_answer = true; /* what vmx says now is nobody's concern */
	c->answer = -ECANCELED;
	out_look(c);
}

static const char *why_not(const struct vm *vm)
{
	if (vm->state != VM_ON || vm->is_ending)
		return "does not run";
	if (vm->is_busy || vm->has_job)
		return "its snapshots are worked on, or it is being moved";
	if (vm->question_text[0])
		return "it asks a question: answer that first";
	if (vm->vhost_disks)
		return "it has a disk that is served by vhost-user";
	return vm->ds->is_lost ? "its datastore is lost" : NULL;
}

static void begin(struct checkpoint *c)
{
	struct vm *vm = c->vm;
	vm->is_busy = true;
	vm->checkpoint = c;
	c->ds = vm->ds;
	c->ds->users++;
	int rc = ask_with_socket(c, MSG_VMX_SEND, CHECKPOINT_SEND);
	if (rc < 0) {
		c->has_answer = true;
		c->answer = rc;
	}
	start_job(c, fill_work, fill_done);
}

/* Takes c->path; NULL: no memory. */
static void begin_or_refuse(struct checkpoint *c, struct vm *vm, struct requester who)
{
	if (!c || !c->path || (c->kind == KIND_SNAPSHOT &&
			       (!c->name || !c->description))) {
		if (c)
			checkpoint_free(c);
		refuse(vm, who, -ENOMEM, "no memory");
		return;
	}
	c->who = who;
	begin(c);
}

void checkpoint_suspend(struct vm *vm, struct requester who)
{
	const char *why = why_not(vm);
	if (why) {
		refuse(vm, who, -EBUSY, why);
		return;
	}
	struct checkpoint *c = checkpoint_new(vm, KIND_SUSPEND);
	if (c)
		c->path = beside(vm, ".vmss");
	begin_or_refuse(c, vm, who);
}

/* A snapshot has no disk that goes on by itself, and its memory must not meet one. */
static bool has_independent(const struct vm *vm)
{
	static const char mode[] = ".mode";
	struct vmxfile *f;
	const char *key, *value;
	bool has = false;
	if (vmxfile_parse(vm->text, strlen(vm->text), "", NULL, &f) < 0)
		return true;
	for (unsigned int i = 0; vmxfile_entry(f, i, &key, &value); i++) {
		size_t len = strlen(key);
		has |= len > sizeof(mode) &&
		       strcasecmp(key + len - (sizeof(mode) - 1), mode) == 0 &&
		       strncasecmp(value, "independent", 11) == 0;
	}
	vmxfile_free(f);
	return has;
}

void checkpoint_snapshot(struct vm *vm, struct requester who, const json_t *body)
{
	const char *why = why_not(vm);
	if (!why && has_independent(vm))
		why = "has an independent disk, which is in no snapshot: its memory "
		      "cannot be, either";
	if (why) {
		refuse(vm, who, -EBUSY, why);
		return;
	}
	struct checkpoint *c = checkpoint_new(vm, KIND_SNAPSHOT);
	if (c) {
		c->name = strdup(msg_text(body, "name"));
		c->description = strdup(msg_text(body, "description"));
		c->path = strdup(""); /* its number is known to the job */
	}
	begin_or_refuse(c, vm, who);
}

/* ---- in ---- */

char *vm_state_path(const struct vm *vm, const char *text)
{
	struct vmxfile *f;
	char *path = NULL;
	if (vmxfile_parse(text, strlen(text), "", NULL, &f) < 0)
		return NULL; /* vmx says what is wrong with it */
	const char *name = vmxfile_get_or(f, VMSNAP_STATE_KEY, "");
	const char *slash = strrchr(vm->path, '/');
	if (*name && asprintf(&path, "%.*s/%s", (int)(slash - vm->path), vm->path,
			      name) < 0)
		path = NULL;
	vmxfile_free(f);
	return path;
}

int checkpoint_find(struct vm *vm, char *ret_why, uint32_t size)
{
	AUTO_FREE char *path = vm_state_path(vm, vm->text);
	if (!path)
		return 0;
	struct checkpoint *c = checkpoint_new(vm, KIND_RESUME);
	int rc = c ? 0 : -ENOMEM;
	if (rc == 0 && strstr(path, ".."))
		rc = -EINVAL;
	if (rc == 0)
		rc = memoryfile_open(vm->ds->vol, path, &c->file, &c->facts);
	if (rc < 0) {
		(void)snprintf(ret_why, size,
			       "its suspended state %.256s cannot be used: %s "
			       "(power.off discards it)", path + 1,
			       rc == -EMEDIUMTYPE ? "it is not whole, or another's" :
			       rc == -EUCLEAN ? "it is damaged" : strerror(-rc));
		if (c)
			checkpoint_free(c);
		return rc;
	}
	c->path = path;
	path = NULL;
	c->ds = vm->ds;
	vm->checkpoint = c;
	return 0;
}

/* The VM does not run yet, and will not: the state stays. */
static void in_failed(struct checkpoint *c)
{
	struct vm *vm = c->vm;
	char text[VM_WHY_SIZE];
	(void)snprintf(text, sizeof(text), "it cannot be resumed: %.600s (power.off "
		       "discards its state)", c->why[0] ? c->why : strerror(-c->rc));
	if (c->rc == -EUCLEAN || c->rc == -ESTALE)
		vm->why[0] = '\0'; /* QEMU knows less */
	vm->has_job = false;
	vm_stop(vm, text);
	vm_settle(vm);
}

static void forget_work(void *arg)
{
	struct checkpoint *c = arg;
	struct vm *vm = c->vm;
	struct vmsnap_running running;
	struct vmsnap_options o = files_of(c, &running);
	const struct vmedit edit = { VMSNAP_STATE_KEY, NULL };
	c->rc = vmedit_apply(&o, &edit, 1, NULL);
	if (c->rc < 0) {
		set_why(c, c->rc, c->catcher.text[0] ? c->catcher.text :
						       "its .vmx file cannot be changed");
		return;
	}
	memoryfile_close(c->file);
	c->file = NULL;
	if (!json_is_true(json_object_get(c->facts, "is_snapshot")) &&
	    vmfs_unlink(vm->ds->vol, c->path) < 0)
		report(vm->host->reporter, REPORT_WARN, "VM %u: %s stays behind", vm->id,
		       c->path);
}

static void forget_done(void *arg)
{
	struct checkpoint *c = arg;
	struct vm *vm = c->vm;
	if (c->rc < 0) {
		in_failed(c);
		return;
	}
	vm->has_job = false;
	vm->labels.is_suspended = false;
	if (!vm->is_ending && vm->channel.sock >= 0 &&
	    msg_send(&vm->channel, MSG_VMX_RUN, CHECKPOINT_RUN, NULL) < 0)
		vm_stop(vm, "vmx does not listen");
	vm_settle(vm);
}

static void in_look(struct checkpoint *c)
{
	if (!c->is_through || !c->has_answer)
		return;
	if (c->rc == 0 && c->answer < 0)
		c->rc = c->answer;
	if (c->rc == 0 && c->vm->is_ending)
		c->rc = -ECANCELED;
	if (c->rc < 0)
		in_failed(c);
	else
		start_job(c, forget_work, forget_done);
}

static void send_work(void *arg)
{
	struct checkpoint *c = arg;
	int rc = memoryfile_send(c->file, c->sock);
	(void)close(c->sock);
	c->sock = -1;
	if (rc == -EUCLEAN)
		(void)snprintf(c->why, sizeof(c->why), "its state is damaged");
	if (rc < 0)
		set_why(c, rc, "QEMU does not take its state");
}

static void send_done(void *arg)
{
	struct checkpoint *c = arg;
	c->is_through = true;
	if (c->vm->is_ending || c->rc < 0)
		c->has_answer = true; /* whatever vmx says */
	in_look(c);
}

static void check_work(void *arg)
{
	struct checkpoint *c = arg;
	c->rc = check_stamps(c);
}

static void check_done(void *arg)
{
	struct checkpoint *c = arg;
	if (c->rc == 0 && c->vm->is_ending)
		c->rc = -ECANCELED;
	if (c->rc == 0)
		c->rc = ask_with_socket(c, MSG_VMX_RECEIVE, CHECKPOINT_RECEIVE);
	if (c->rc < 0)
		in_failed(c);
	else
		start_job(c, send_work, send_done);
}

void checkpoint_restore(struct vm *vm)
{
	struct checkpoint *c = vm->checkpoint;
	bool is_kvm = json_is_true(json_object_get(c->facts, "is_kvm"));
	json_int_t taps = json_integer_value(json_object_get(c->facts, "taps"));
	const char *cpu = msg_text(c->facts, "cpu");
	if (is_kvm != vm->is_kvm)
		(void)snprintf(c->why, sizeof(c->why), "it ran %s, and would here run %s",
			       is_kvm ? "under KVM" : "without KVM",
			       vm->is_kvm ? "under it" : "without");
	else if (*cpu && strcmp(cpu, vm->cpu) != 0)
		(void)snprintf(c->why, sizeof(c->why), "its processor was %.160s, and "
			       "would here be %.160s", cpu, vm->cpu);
	else if (taps != (json_int_t)vm->taps)
		(void)snprintf(c->why, sizeof(c->why), "its network cards were plugged "
			       "into networks that are not the same here");
	c->rc = c->why[0] ? -EINVAL : 0;
	if (c->rc < 0)
		in_failed(c);
	else
		start_job(c, check_work, check_done);
}

void checkpoint_drop(struct vm *vm)
{
	if (vm->checkpoint)
		checkpoint_free(vm->checkpoint);
	vm->checkpoint = NULL;
}

/* ---- told ---- */

static void take_answer(struct checkpoint *c, int result, const char *why)
{
	if (c->has_answer)
		return;
	c->has_answer = true;
	c->answer = result;
	if (result < 0 && c->rc == 0)
		(void)snprintf(c->why, sizeof(c->why), "%s", why ? why : "it failed");
	if (c->kind == KIND_RESUME)
		in_look(c);
	else
		out_look(c);
}

void checkpoint_told(struct vm *vm, const struct msg *m)
{
	struct checkpoint *c = vm->checkpoint;
	const char *error = json_string_value(json_object_get(m->body, "error"));
	int result = (int)json_integer_value(json_object_get(m->body, "result"));
	if (m->tag == CHECKPOINT_KEEP || !c)
		return;
	if (m->tag != CHECKPOINT_RUN)
		take_answer(c, result, error);
	else if (result < 0)
		vm_stop(vm, error ? error : "it does not go on");
	else if (!vm->is_ending) {
		checkpoint_drop(vm); /* its file is closed */
		vm_resumed(vm);
	}
}

void checkpoint_vmx_gone(struct vm *vm)
{
	struct checkpoint *c = vm->checkpoint;
	if (!c)
		return;
	c->is_gone = true;
	if (vm->has_job)
		take_answer(c, -ECONNRESET, "vmx is gone");
}

/* ---- discarding ---- */

struct discarding {
	struct vm *vm;
	struct datastore *ds;
	struct requester who;
	int rc;
	char why[VM_WHY_SIZE];
};

static char *named_state(const struct discarding *d)
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_file *file;
	int rc = vmfs_file_open(d->ds->vol, d->vm->path, &how, &file, NULL);
	if (rc < 0)
		return NULL;
	AUTO_FREE char *text = vm_read_all(file, &rc);
	(void)vmfs_file_close(file); /* was only read */
	return text ? vm_state_path(d->vm, text) : NULL;
}

static void discard_work(void *arg)
{
	struct discarding *d = arg;
	struct vmfs_holder holder = { 0 };
	char text[VMFS_HOLDER_TEXT_SIZE];
	const struct vmedit edit = { VMSNAP_STATE_KEY, NULL };
	const struct vmsnap_options o = { .vol = d->ds->vol,
					  .vmx = d->vm->path,
					  .reporter = d->vm->host->reporter };
	AUTO_FREE char *path = named_state(d);
	(void)snprintf(d->why, sizeof(d->why), "is powered off already");
	d->rc = path ? vmedit_apply(&o, &edit, 1, &holder) : -EINVAL;
	if (path && d->rc < 0)
		(void)snprintf(d->why, sizeof(d->why), "%s",
			       d->rc == -EBUSY ? vmfs_holder_text(&holder, text)
					       : strerror(-d->rc));
	size_t len = path ? strlen(path) : 0;
	/* That of a snapshot is the snapshot's. */
	if (d->rc == 0 && !strstr(path, "..") && len > 5 &&
	    strcmp(path + len - 5, ".vmss") == 0)
		(void)!vmfs_unlink(d->ds->vol, path); /* else the next one replaces it */
}

static void discard_done(void *arg)
{
	struct discarding *d = arg;
	struct vm *vm = d->vm;
	vm->is_busy = false;
	if (d->rc < 0)
		refuse(vm, d->who, d->rc, d->why);
	else
		control_reply(vm->host->control, d->who, 0, NULL, NULL);
	vm->labels.is_suspended &= d->rc < 0 && d->rc != -EINVAL;
	host_datastore_put(vm->host, d->ds);
	free(d);
}

void checkpoint_discard(struct vm *vm, struct requester who)
{
	struct datastore *ds = vm_datastore(vm);
	struct discarding *d = ds && !ds->is_lost && !vm->is_busy ?
				       calloc(1, sizeof(*d)) : NULL;
	if (!d) {
		refuse(vm, who, -EINVAL, "is powered off already");
		return;
	}
	d->vm = vm;
	d->ds = ds;
	d->who = who;
	ds->users++;
	vm->is_busy = true;
	if (loop_job(vm->host->loop, "discard", discard_work, discard_done, d) == 0)
		return;
	d->rc = -ENOMEM;
	(void)snprintf(d->why, sizeof(d->why), "no memory");
	discard_done(d);
}
