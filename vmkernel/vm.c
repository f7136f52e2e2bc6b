/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a VM, on the loop's task; what blocks is in vm_jobs.c.
 *
 *	OFF --vm_power_on--> STARTING --vm_held--> (vmx runs) --on_reply(START)--> ON
 *	   of one that is suspended: --checkpoint_restore, vm_resumed--> ON
 *	OFF --vm_open--> STARTING (incoming) --vm_came--> ON
 *	OFF --vm_adopt--> STARTING --on_reply(HELLO), vm_adopted--> ON
 *	STARTING, ON --vm_settle--> STOPPING --vm_closed--> OFF
 *
 * 1. At most one job at a time (has_job), and no channel, job or watch when OFF.
 * 2. The end has one entrance: is_ending is set, by a stop, a failure or the loss of
 *    vmx's channel, and vm_settle() starts the close job when neither a job nor the
 *    channel is left.
 * 3. Locks are given back only in the close job, after QEMU's end: nobody else can get
 *    the VM while it might still run here.
 * 4. vmx gets STOP_LIMIT_S to answer HELLO and to end after STOP, then SIGKILL; its QEMU
 *    is killed by the close job.
 * 5. The disks' NBD names change with each power-on: a QEMU of an earlier one, should it
 *    have outlived its vmx and its vmkernel, finds the socket but not its disk.
 * 6. vmx is not trusted: an index or message that does not fit the state is refused.
 */
#include "vmkernel/vm.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "vmkernel/checkpoint.h"
#include "vmkernel/control.h"
#include "vmkernel/ha/ha.h"
#include "vmkernel/vm_console.h"
#include "vmkernel/vm_log.h"
#include "vmkernel/vm_plug.h"
#include "vmkernel/vm_snapshot.h"
#include "vmkernel/resource/resource.h"
#include "vmkernel/vmotion/vmotion.h"

#define STOP_LIMIT_S 15
#define UID_RANGE 512u

enum tag { TAG_HELLO = 1, TAG_START, TAG_STOP, TAG_RESET, TAG_SHUTDOWN, TAG_GROW,
	   TAG_AGENT };

/* ---- names ---- */

struct datastore *vm_datastore(const struct vm *vm)
{
	struct datastore *ds;
	TAILQ_FOREACH(ds, &vm->host->datastores, link) {
		if (uuid_equal(&ds->uuid, &vm->ds_uuid))
			return ds;
	}
	return NULL;
}

const char *vm_file_text(const struct vm *vm, const char *path, char *buf, uint32_t size)
{
	char uuid[UUID_TEXT_SIZE];
	const char *p = path ? path : vm->path;
	/* A job asks, too: the list of datastores is the loop's alone. */
	const struct datastore *ds = vm->ds ? vm->ds : vm_datastore(vm);
	(void)snprintf(buf, size, "[%s] %s",
		       ds ? ds->label : uuid_text(&vm->ds_uuid, uuid),
		       *p == '/' ? p + 1 : p);
	return buf;
}

const char *vm_run_path(const struct vm *vm, const char *name, char *buf)
{
	char relative[96];
	(void)snprintf(relative, sizeof(relative), *name ? "vms/%u/%s" : "vms/%u%s",
		       vm->id, name);
	return host_path(vm->host, relative, buf);
}

uid_t vm_uid(const struct vm *vm)
{
	return vm->host->config.vm_uid + (vm->id - 1) % UID_RANGE;
}

const char *vm_state_text(const struct vm *vm)
{
	switch (vm->state) {
	case VM_OFF:
	case VM_STARTING:
		break;
	case VM_ON:
	case VM_STOPPING:
		return "Powered on";
	}
	return vm->labels.is_suspended ? "Suspended" : "Powered off";
}

/* ---- answers ---- */

static void answer(struct vm *vm, struct requester *who, int result, const char *why)
{
	if (!who->is_set)
		return;
	who->is_set = false;
	control_reply(vm->host->control, *who, result, why, NULL);
}

void vm_refuse(const struct vm *vm, struct requester who, const char *why)
{
	char text[VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	(void)snprintf(text, sizeof(text), "VM %u (%s): %s", vm->id,
		       vm_file_text(vm, NULL, file, sizeof(file)), why);
	control_reply(vm->host->control, who, -EINVAL, text, NULL);
}

static void set_why(struct vm *vm, const char *why)
{
	if (!vm->why[0])
		(void)snprintf(vm->why, sizeof(vm->why), "%s", why);
}

static void tell_log(struct vm *vm, enum report_level level, const char *what)
{
	char file[VM_WHY_SIZE / 2];
	report(vm->host->reporter, level, "VM %u (%s): %s", vm->id,
	       vm_file_text(vm, NULL, file, sizeof(file)), what);
}

/* ---- the end ---- */

void vm_settle(struct vm *vm)
{
	if (!vm->is_ending || vm->has_job || vm->channel.sock >= 0 ||
	    vm->state == VM_STOPPING || vm_log_is_busy(vm))
		return;
	assert(vm->state != VM_OFF);
	vm->state = VM_STOPPING;
	vm_log_stop(vm);
	vm_job_close(vm);
}

static void drop_channel(struct vm *vm)
{
	loop_watch_free(vm->channel_watch);
	vm->channel_watch = NULL;
	channel_done(&vm->channel);
	vmotion_vmx_gone(vm); /* by itself, unless is_ending */
	vm->is_ending = true;
	atomic_store(&vm->is_cancelled, true);
	checkpoint_vmx_gone(vm);
}

static void drop_timer(struct vm *vm)
{
	loop_watch_free(vm->stop_watch);
	vm->stop_watch = NULL;
	if (vm->stop_timer >= 0)
		(void)close(vm->stop_timer);
	vm->stop_timer = -1;
}

static void stop_is_late(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	(void)events;
	tell_log(vm, REPORT_WARN, "vmx does not answer and is killed");
	if (vm->vmx_pid)
		(void)kill(vm->vmx_pid, SIGKILL);
	drop_timer(vm);
	drop_channel(vm);
	vm_settle(vm);
}

static void start_timer(struct vm *vm)
{
	struct itimerspec limit = { .it_value.tv_sec = STOP_LIMIT_S };
	if (vm->stop_timer >= 0)
		return;
	vm->stop_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (vm->stop_timer >= 0 && timerfd_settime(vm->stop_timer, 0, &limit, NULL) == 0)
		vm->stop_watch = loop_watch_new(vm->host->loop, vm->stop_timer, EPOLLIN,
						stop_is_late, vm);
}

void vm_noted(struct vm *vm)
{
	vm_settle(vm);
}

void vm_closed(struct vm *vm)
{
	assert(vm->state == VM_STOPPING && !vm->has_job);
	drop_timer(vm);
	ha_vm_off(vm);
	resources_leave(vm);
	vm->state = VM_OFF;
	vm->ds = NULL;
	vm->is_ending = vm->is_adopted = vm->is_isolation_end = false;
	vm->is_incoming = vm->has_come = false;
	vm->qemu_pid = 0;
	vm->monitor = (struct monitor){ 0 };
	atomic_store(&vm->is_cancelled, false);
	tell_log(vm, REPORT_INFO, vm->why[0] ? vm->why : "powered off");
	answer(vm, &vm->on, -EIO, vm->why[0] ? vm->why : "the VM was powered off");
	answer(vm, &vm->reset, -EIO, "the VM was powered off");
	answer(vm, &vm->shutdown, 0, NULL); /* that quickly */
	answer(vm, &vm->grow, 0, NULL);	    /* the disk has grown */
	answer(vm, &vm->off, 0, NULL);
	vm->why[0] = vm->question_text[0] = '\0';
	host_vm_ended(vm->host);
	vmotion_vm_off(vm);
	vm_plug_off(vm);
	vm_console_off(vm);
	vm_snapshot_off(vm);
}

void vm_stop(struct vm *vm, const char *why)
{
	if (vm->state == VM_OFF || vm->state == VM_STOPPING)
		return;
	set_why(vm, why);
	vm->is_ending = true;
	atomic_store(&vm->is_cancelled, true);
	if (vm->channel.sock >= 0) {
		start_timer(vm);
		if (msg_send(&vm->channel, MSG_VMX_STOP, TAG_STOP,
			     json_pack("{s:s}", "why", why)) < 0)
			drop_channel(vm);
	}
	vm_settle(vm);
}

void vm_freeze(struct vm *vm, const char *why)
{
	if (vm->state != VM_ON || vm->is_ending)
		return;
	if (msg_send(&vm->channel, MSG_VMX_FREEZE, 0, json_pack("{s:s}", "why", why)) <
	    0) {
		drop_channel(vm);
		vm_settle(vm);
	}
}

/* ---- messages from vmx ---- */

/* Does this process run as the VM's user? vmx must not make us kill anybody else. */
static bool is_of_vm(const struct vm *vm, pid_t pid)
{
	char path[32];
	struct stat st;
	(void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return stat(path, &st) == 0 && (geteuid() != 0 || st.st_uid == vm_uid(vm));
}

static void remember_qemu(struct vm *vm, const json_t *body)
{
	json_int_t pid = json_integer_value(json_object_get(body, "qemu_pid"));
	vm->is_kvm = json_is_true(json_object_get(body, "is_kvm"));
	(void)snprintf(vm->cpu, sizeof(vm->cpu), "%s", msg_text(body, "cpu"));
	if (pid > 1 && pid < INT32_MAX && vm->qemu_pidfd < 0)
		vm->qemu_pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (vm->qemu_pidfd >= 0 && is_of_vm(vm, (pid_t)pid)) {
		vm_note_qemu(vm, (pid_t)pid);
		vm->qemu_pid = (pid_t)pid;
	} else if (vm->qemu_pidfd >= 0) {
		tell_log(vm, REPORT_WARN, "vmx names a process that is not the VM's");
		(void)close(vm->qemu_pidfd);
		vm->qemu_pidfd = -1;
	}
}

static void is_on(struct vm *vm, const char *how)
{
	vm->state = VM_ON;
	tell_log(vm, REPORT_INFO, how);
	answer(vm, &vm->on, 0, NULL);
	ha_vm_on(vm);
}

void vm_resumed(struct vm *vm)
{
	is_on(vm, "resumed");
}

static void started(struct vm *vm, const struct msg *m)
{
	const char *error = json_string_value(json_object_get(m->body, "error"));
	int result = (int)json_integer_value(json_object_get(m->body, "result"));
	if (vm->state != VM_STARTING)
		return;
	if (result >= 0)
		remember_qemu(vm, m->body);
	if (vm->is_incoming)
		vmotion_opened(vm, result, error); /* whose task looks at what it is */
	if (result < 0) {
		set_why(vm, error ? error : "vmx cannot start the VM");
		vm->is_ending = true; /* vmx ends and closes the channel */
		return;
	}
	if (vm->is_ending || vm->is_incoming)
		return;
	if (vm->checkpoint)
		checkpoint_restore(vm);
	else
		is_on(vm, "powered on");
}

static void greeted(struct vm *vm, const struct msg *m)
{
	const json_t *disks = json_object_get(m->body, "disks");
	const json_t *vhost = json_object_get(m->body, "vhost");
	const char *token = json_string_value(json_object_get(m->body, "token"));
	size_t count = json_array_size(disks);
	if (!vm->is_adopted || vm->state != VM_STARTING || vm->has_job || vm->is_ending)
		return;
	vm->has_come = json_is_true(json_object_get(m->body, "has_come"));
	if ((!json_is_true(json_object_get(m->body, "is_running")) && !vm->has_come) ||
	    count > HARDWARE_DISKS_MAX || !token || strlen(token) != VM_TOKEN_SIZE - 1) {
		vm_stop(vm,
			"a vmx of an earlier vmkernel was found without a running VM");
		return;
	}
	drop_timer(vm);
	remember_qemu(vm, m->body);
	memcpy(vm->token, token, VM_TOKEN_SIZE);
	vm->vhost_disks = 0;
	for (size_t i = 0; i < count; i++) {
		const char *key = json_string_value(json_array_get(disks, i));
		vm->disk_keys[i] = strdup(key ? key : "");
		if (json_is_true(json_array_get(vhost, i)))
			vm->vhost_disks |= 1ull << i;
	}
	json_int_t plugging = json_integer_value(json_object_get(m->body, "plugging"));
	if (json_is_integer(json_object_get(m->body, "plugging")) && plugging >= 0 &&
	    plugging < (json_int_t)count)
		vm_plug_left(vm, (uint32_t)plugging);
	vm_job_adopt(vm);
}

static void on_reply(struct vm *vm, const struct msg *m)
{
	const char *error = json_string_value(json_object_get(m->body, "error"));
	int result = (int)json_integer_value(json_object_get(m->body, "result"));
	switch (m->tag) {
	case TAG_HELLO:
		greeted(vm, m);
		break;
	case TAG_START:
		started(vm, m);
		break;
	case TAG_RESET:
		answer(vm, &vm->reset, result, error);
		break;
	case TAG_AGENT:
		vm_snapshot_told(vm, m->body);
		break;
	case TAG_SHUTDOWN:
		answer(vm, &vm->shutdown, result, error);
		break;
	case CHECKPOINT_SEND:
	case CHECKPOINT_RECEIVE:
	case CHECKPOINT_RUN:
	case CHECKPOINT_KEEP:
		checkpoint_told(vm, m);
		break;
	case TAG_GROW:
		answer(vm, &vm->grow, result, error);
		break;
	case VM_CONSOLE_TAG:
		vm_console_told(vm, result, error);
		break;
	case VM_PLUG_TAG:
		vm_plug_told(vm, result, error);
		break;
	default:
		vmotion_told(vm, m); /* TAG_STOP: the end of the channel says it */
		break;
	}
}

static void disk_asked(struct vm *vm, const struct msg *m)
{
	json_int_t index = -1;
	const char *path = NULL;
	if (json_unpack(m->body, "{s:I, s:s}", "index", &index, "path", &path) < 0 ||
	    index < 0 || index >= (json_int_t)HARDWARE_DISKS_MAX || vm->disks[index] ||
	    vm->state != VM_STARTING || vm->has_job || vm->is_ending) {
		vm_disk_opened(vm, m->tag, -EINVAL, "vmkernel did not expect this disk");
		return;
	}
	uint64_t bit = 1ull << index;
	bool is_vhost = json_is_true(json_object_get(m->body, "vhost"));
	vm->vhost_disks = is_vhost ? vm->vhost_disks | bit : vm->vhost_disks & ~bit;
	free(vm->disk_keys[index]);
	vm->disk_keys[index] = strdup(msg_text(m->body, "key"));
	vm_job_disk(vm, (uint32_t)index, path, m->tag);
}

void vm_disk_opened(struct vm *vm, uint32_t tag, int rc, const char *why)
{
	if (vm->channel.sock >= 0 &&
	    msg_reply(&vm->channel, tag, rc, rc < 0 ? why : NULL, NULL) < 0)
		drop_channel(vm);
	vm_settle(vm);
}

/* The VM stands still until somebody answers. */
static void asked(struct vm *vm, const char *text)
{
	vm->question++;
	(void)snprintf(vm->question_text, sizeof(vm->question_text), "%s", text);
	tell_log(vm, REPORT_WARN, text);
}

static void handle(struct vm *vm, const struct msg *m)
{
	const char *text = json_string_value(json_object_get(m->body, "text"));
	const char *why = json_string_value(json_object_get(m->body, "why"));
	switch (m->type) {
	case MSG_REPLY:
		on_reply(vm, m);
		break;
	case MSG_VMX_DISK:
		disk_asked(vm, m);
		break;
	case MSG_VMX_EVENT:
		tell_log(vm, REPORT_WARN, text ? text : "?");
		break;
	case MSG_VMX_PROGRESS:
		vmotion_told(vm, m);
		break;
	case MSG_VMX_HEARTBEAT:
		monitor_beat(&vm->monitor, clock_now());
		break;
	case MSG_VMX_BALLOONED:
		resources_ballooned(vm, json_integer_value(
						json_object_get(m->body, "bytes")));
		break;
	case MSG_VMX_QUESTION:
		asked(vm, text ? text : "?");
		break;
	case MSG_VMX_PLUGGED:
		vm_plug_settled(vm, json_is_true(json_object_get(m->body, "has")));
		break;
	case MSG_VMX_ENDED:
		vm->is_off_wanted |= json_is_true(json_object_get(m->body, "is_guest")) &&
				     !vm->is_isolation_end;
		set_why(vm, why ? why : "ended");
		break;
	default:
		tell_log(vm, REPORT_WARN, "vmx sends what is not for us");
		break;
	}
}

static void on_channel(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct msg m;
	int next = 0;
	int rc = events & EPOLLOUT ? channel_flush(&vm->channel) : 0;
	if (rc == 0)
		rc = msg_read(&vm->channel);
	while (vm->channel.sock >= 0 && (next = msg_next(&vm->channel, &m)) > 0) {
		handle(vm, &m);
		json_decref(m.body);
	}
	if (vm->channel.sock >= 0 && (rc < 0 || next < 0)) {
		if (vm->state == VM_ON && !vm->is_ending && !vm->why[0])
			set_why(vm, "its vmx process died");
		drop_channel(vm);
	}
	vm_settle(vm);
}

static int open_channel(struct vm *vm, int sock)
{
	channel_init(&vm->channel, sock);
	vm->channel_watch = loop_watch_new(vm->host->loop, sock, EPOLLIN, on_channel, vm);
	return vm->channel_watch ? 0 : -ENOMEM;
}

/* ---- power ---- */

const char *vm_why_not(const struct vm *vm, const struct datastore *ds)
{
	if (vm->is_busy)
		return vm->passage ? "it is being moved" :
				     "a snapshot of it is being made or removed";
	if (!ds)
		return "its datastore is not attached";
	if (ds->is_lost)
		return "its datastore is lost";
	if (vm->host->is_stopping)
		return "the host is shutting down";
	return vm->host->maintenance != MAINTENANCE_NONE ?
		       "the host is in maintenance mode" : NULL;
}

void vm_power_on(struct vm *vm, struct requester who)
{
	if (vm->state != VM_OFF) {
		vm_refuse(vm, who, vm->state == VM_ON ? "is powered on already" :
				vm->state == VM_STARTING ? "is being powered on" :
							   "is being powered off");
		return;
	}
	struct datastore *ds = vm_datastore(vm);
	const char *why = vm_why_not(vm, ds);
	if (why) {
		vm_refuse(vm, who, why);
		return;
	}
	vm->ds = ds;
	vm->state = VM_STARTING;
	vm->is_leaving = false;
	vm->on = who;
	vm_job_hold(vm);
}

/* Sends what vmx needs to start the VM. */
static int send_start(struct vm *vm, int sock)
{
	char file[VM_WHY_SIZE / 2];
	const char *baseline = vm->host->config.cpu_baseline;
	json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:s}", "name",
				 vm_file_text(vm, NULL, file, sizeof(file)), "text",
				 vm->text, "qemu", vm->host->config.qemu, "token",
				 vm->token, "tells_errors",
				 vm->host->config.on_fence == ON_FENCE_EIO, "incoming",
				 vm->is_incoming || vm->checkpoint, "efi",
				 vm->host->config.efi_code, "cpu_baseline",
				 baseline ? baseline : "");
	if (!body) {
		(void)snprintf(vm->why, sizeof(vm->why), "%s: is not UTF-8 text", file);
		(void)close(sock);
		return -EINVAL;
	}
	int rc = open_channel(vm, sock);
	if (rc < 0) {
		json_decref(body);
		return rc;
	}
	return msg_send(&vm->channel, MSG_VMX_START, TAG_START, body);
}

/* Is there room for it? */
static int refuse_part(struct vm *vm)
{
	char text[VM_WHY_SIZE];
	int rc = resources_admit(vm, text, sizeof(text));
	if (rc < 0)
		set_why(vm, text);
	return rc;
}

void vm_held(struct vm *vm, int rc, const char *why)
{
	char text[VM_WHY_SIZE];
	assert(vm->state == VM_STARTING);
	if (rc < 0)
		set_why(vm, why);
	else
		rc = refuse_part(vm);
	if (rc == 0 && !vm->is_ending) {
		int sock = vm_spawn(vm, text, sizeof(text));
		if (sock >= 0)
			resources_enter(vm, vm->vmx_pid);
		rc = sock < 0 ? sock : send_start(vm, sock);
		if (rc < 0)
			set_why(vm, sock < 0 ? text : "cannot talk to vmx");
	}
	if (rc < 0) {
		drop_channel(vm);
		tell_log(vm, REPORT_WARN, "power-on failed");
	} else if (!vm->is_incoming && !vm->is_ending) {
		vm_log_start(vm);
	}
	vm_settle(vm);
}

void vm_open(struct vm *vm)
{
	vm->state = VM_STARTING;
	vm->is_incoming = true;
	vm_held(vm, 0, "");
}

void vm_came(struct vm *vm)
{
	vm->is_incoming = false;
	vm->state = VM_ON;
	tell_log(vm, REPORT_INFO, "runs here");
	vm_log_start(vm);
	ha_vm_on(vm);
}

void vm_power_off(struct vm *vm, struct requester who)
{
	if (vm->state == VM_OFF) {
		if (!ha_vm_unwant(vm, who))
			checkpoint_discard(vm, who);
		return;
	}
	if (vm->off.is_set) {
		vm_refuse(vm, who, "is being powered off");
		return;
	}
	vm->off = who;
	vm->is_off_wanted = true;
	vm_stop(vm, "powered off");
}

/* Its QEMU is killed by the close job. */
void vm_kill(struct vm *vm, struct requester who)
{
	pid_t pid = vm->vmx_pid;
	vm_power_off(vm, who);
	if (pid && vm->is_ending)
		(void)kill(pid, SIGKILL);
}

void vm_suspended(struct vm *vm, struct requester who)
{
	vm->labels.is_suspended = vm->is_off_wanted = true;
	if (!vm->off.is_set)
		vm->off = who;
	else
		answer(vm, &who, 0, NULL);
	vm_stop(vm, "suspended");
	vm_settle(vm);
}

/* A wish of who, kept in slot, that vmx answers. */
static void pass_on(struct vm *vm, struct requester who, struct requester *slot,
		    enum msg_type type, enum tag tag, json_t *body)
{
	if (vm->state != VM_ON || slot->is_set || vm->is_ending) {
		json_decref(body);
		vm_refuse(vm, who, "does not run");
		return;
	}
	*slot = who;
	if (msg_send(&vm->channel, type, tag, body) < 0) {
		drop_channel(vm);
		vm_settle(vm);
	}
}

void vm_reset(struct vm *vm, struct requester who)
{
	pass_on(vm, who, &vm->reset, MSG_VMX_RESET, TAG_RESET, NULL);
}

bool vm_answer(struct vm *vm, uint32_t question, bool is_retry)
{
	if (vm->state != VM_ON || vm->is_ending || !vm->question_text[0] ||
	    question != vm->question)
		return false;
	tell_log(vm, REPORT_INFO, is_retry ? "answer: try again" : "answer: power off");
	vm->question_text[0] = '\0';
	if (!is_retry) {
		vm->is_off_wanted = true;
		vm_stop(vm, "powered off, as the answer to a question");
	} else if (msg_send(&vm->channel, MSG_VMX_CONT, 0,
			    json_pack("{s:b}", "once", 1)) < 0) {
		drop_channel(vm);
		vm_settle(vm);
	}
	return true;
}

void vm_shutdown(struct vm *vm, struct requester who, bool is_reboot)
{
	pass_on(vm, who, &vm->shutdown, MSG_VMX_SHUTDOWN, TAG_SHUTDOWN,
		json_pack("{s:b}", "is_reboot", is_reboot));
}

bool vm_ask_agent(struct vm *vm, enum msg_type type)
{
	return vm->channel.sock >= 0 &&
	       msg_send(&vm->channel, type, TAG_AGENT, NULL) == 0;
}

void vm_disk_grown(struct vm *vm, struct requester who, uint32_t i, uint64_t size)
{
	vm->grow = who;
	if (msg_send(&vm->channel, MSG_VMX_GROW, TAG_GROW,
		     json_pack("{s:i, s:I}", "disk", (int)i, "size",
			       (json_int_t)size)) < 0) {
		drop_channel(vm);
		vm_settle(vm);
	}
}

/* ---- adoption ---- */

void vm_adopt(struct vm *vm)
{
	int sock = vm_connect(vm);
	if (sock < 0)
		return; /* nobody is there */
	vm->ds = vm_datastore(vm);
	vm->state = VM_STARTING;
	vm->is_adopted = true;
	tell_log(vm, REPORT_INFO, "an earlier vmkernel left it running");
	start_timer(vm);
	if (open_channel(vm, sock) < 0 ||
	    msg_send(&vm->channel, MSG_VMX_HELLO, TAG_HELLO, NULL) < 0)
		drop_channel(vm);
	else if (!vm->ds)
		vm_stop(vm, "its datastore is not attached any more");
	vm_settle(vm);
}

void vm_adopted(struct vm *vm, int rc, const char *why)
{
	if (rc < 0) {
		tell_log(vm, REPORT_ERROR, why);
		vm_stop(vm, why);
	} else if (vm->labels.is_suspended && !vm->is_ending) {
		/* It stands still since, and its state is whole (checkpoint.c). */
		vm->is_off_wanted = true;
		vm_stop(vm, "suspended");
	} else if (!vm->is_ending) {
		vm->state = VM_ON;
		resources_adopt(vm);
		vm_log_start(vm);
		tell_log(vm, REPORT_INFO, vm->has_come ? "had come from another host, "
			 "and runs here" : "goes on running");
		vm->has_come = false;
		if (msg_send(&vm->channel, MSG_VMX_CONT, 0, NULL) < 0)
			drop_channel(vm);
		else
			ha_vm_on(vm);
		vm_plug_adopted(vm);
	}
	vm_settle(vm);
}

bool vm_reaped(struct vm *vm, pid_t pid, int status)
{
	char text[96];
	if (!vm->vmx_pid || vm->vmx_pid != pid)
		return false;
	vm->vmx_pid = 0;
	if (WIFSIGNALED(status)) {
		(void)snprintf(text, sizeof(text), "vmx was killed by signal %d",
			       WTERMSIG(status));
		tell_log(vm, REPORT_WARN, text);
	}
	return true;
}

void vm_free(struct vm *vm)
{
	assert(vm->state == VM_OFF && !vm->has_job);
	vm_labels_done(&vm->labels);
	free(vm->path);
	free(vm);
}
