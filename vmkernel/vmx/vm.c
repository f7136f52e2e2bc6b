/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM, one task, one poll loop.
 *
 *	WAITING --start--> DISKS --disk_ready (last)--> LAUNCHING --qmp_answer (cont)-->
 *	RUNNING
 *	LAUNCHING --qmp_answer (incoming)--> INCOMING --qmp_answer (cont)--> RUNNING
 *	   any of them --stop_qemu--> STOPPING --reap--> ENDED
 *
 * 1. vmkernel is asked for the disks one after the other; QEMU is started when all are
 *    served, so it never waits for a lock of another host.
 * 2. The VM's end is QEMU's end: only reap() makes ENDED, so vmkernel may close the disks
 *    when it hears of it.
 * 3. If vmkernel goes away while the VM runs, the VM goes on and its disks wait for their
 *    NBD server; a new vmkernel connects, says HELLO and hears which disks to serve.
 *    Before RUNNING there is nothing to keep: we end.
 * 4. QEMU gets STOP_LIMIT to quit, then SIGKILL.
 */
#include "vmkernel/vmx/vm.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "vmkernel/msg/msg.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vmx/agent.h"
#include "vmkernel/vmx/cmdline.h"
#include "vmkernel/vmx/grow.h"
#include "vmkernel/vmx/move.h"
#include "vmkernel/vmx/qemu.h"
#include "vmkernel/vmx/qmp.h"
#include "vmkernel/vmx/vmxfile.h"

#define QMP_SOCKET "qmp.sock"
#define LOG_PATH "vmware.log"
#define LAUNCH_LIMIT (60 * NS_PER_S)
#define STOP_LIMIT (5 * NS_PER_S)
#define CONT_INTERVAL NS_PER_S
#define CONT_LIMIT (60 * NS_PER_S)
#define WHY_SIZE 512
#define TOKEN_SIZE 17

enum state { STATE_WAITING, STATE_DISKS, STATE_LAUNCHING, STATE_INCOMING,
	     STATE_RUNNING, STATE_STOPPING, STATE_ENDED };

enum qmp_id { QMP_CAPABILITIES = 1, QMP_CONT, QMP_STOP, QMP_QUIT, QMP_RESET,
	      QMP_POWERDOWN, QMP_ANNOUNCE, QMP_BALLOON };

/* A request of vmkernel's that is not answered yet. */
struct pending {
	bool is_set;
	uint32_t tag;
};

struct vm {
	const struct vm_options *options;
	struct reporter *reporter;
	enum state state;
	int signal_fd, qmp_listen_sock;
	struct channel channel;
	struct channel qmp;
	struct agent agent;
	pid_t qemu; /* 0: none */
	off_t log_start;
	struct vm_hardware *hw;
	char *qemu_path;
	/* of this power-on: vmkernel's, part of the disks' names */
	char token[TOKEN_SIZE];
	uint32_t next_disk;
	struct pending start, stop, reset, shutdown, move_request, keep, grow_request;
	struct grow grow;
	struct move move; /* to another host, or from there */
	bool is_incoming;
	uint64_t deadline;	/* of LAUNCHING and STOPPING */
	bool is_killed;		/* SIGKILL was sent */
	bool is_guest_wish;
	bool did_run;
	bool tells_errors;	/* of disks, to the guest */
	bool is_frozen;		/* for good */
	bool is_io_stopped;	/* QEMU stopped the VM at an I/O error */
	uint64_t cont_at;	/* to be tried then; NO_DEADLINE: not */
	uint64_t cont_until;	/* tries end */
	char why[WHY_SIZE];	/* it ends */
};

/* ---- talking to vmkernel ---- */

static void drop_channel(struct vm *vm)
{
	channel_done(&vm->channel);
	channel_init(&vm->channel, -1);
	vm->start.is_set = vm->stop.is_set = false;
	vm->reset.is_set = vm->shutdown.is_set = false;
	vm->move_request.is_set = vm->keep.is_set = vm->grow_request.is_set = false;
	move_left_alone(&vm->move);
}

static void tell(struct vm *vm, int rc)
{
	if (rc < 0)
		drop_channel(vm);
}

static void answer(struct vm *vm, struct pending *p, int result, const char *sentence,
		   json_t *body)
{
	if (!p->is_set) {
		json_decref(body);
		return;
	}
	p->is_set = false;
	tell(vm, msg_reply(&vm->channel, p->tag, result, sentence, body));
}

static void event(struct vm *vm, const char *text)
{
	report(vm->reporter, REPORT_INFO, "%s", text);
	tell(vm,
	     msg_send(&vm->channel, MSG_VMX_EVENT, 0, json_pack("{s:s}", "text", text)));
}

/* ---- the end ---- */

static void set_why(struct vm *vm, const char *why)
{
	if (!vm->why[0])
		(void)snprintf(vm->why, sizeof(vm->why), "%s", why);
}

static void end(struct vm *vm)
{
	vm->state = STATE_ENDED;
	report(vm->reporter, REPORT_INFO, "the VM has ended: %s", vm->why);
	if (vm->start.is_set)
		answer(vm, &vm->start, -EIO, vm->why, NULL);
	else if (vm->stop.is_set)
		answer(vm, &vm->stop, 0, NULL, NULL);
	else if (vm->channel.sock >= 0)
		tell(vm, msg_send(&vm->channel, MSG_VMX_ENDED, 0,
				  json_pack("{s:s, s:b}", "why", vm->why, "is_guest",
					    vm->is_guest_wish)));
}

/* Ends the VM; without a QEMU at once. */
static void stop_qemu(struct vm *vm, const char *why)
{
	set_why(vm, why);
	if (vm->state == STATE_STOPPING || vm->state == STATE_ENDED)
		return;
	if (!vm->qemu) {
		end(vm);
		return;
	}
	vm->state = STATE_STOPPING;
	vm->deadline = clock_now() + STOP_LIMIT;
	/* stop first: no guest instruction after this, however long quit takes. */
	if (qmp_send(&vm->qmp, "stop", NULL, QMP_STOP) < 0 ||
	    qmp_send(&vm->qmp, "quit", NULL, QMP_QUIT) < 0)
		vm->deadline = clock_now();
}

static void reap(struct vm *vm)
{
	char complaint[WHY_SIZE / 2], text[WHY_SIZE];
	int status = 0;
	if (!vm->qemu || waitpid(vm->qemu, &status, WNOHANG) != vm->qemu)
		return;
	vm->qemu = 0;
	if (WIFSIGNALED(status))
		(void)snprintf(text, sizeof(text), "QEMU was killed by signal %d",
			       WTERMSIG(status));
	else
		(void)snprintf(text, sizeof(text), "QEMU ended with exit status %d",
			       WEXITSTATUS(status));
	if (vm->state != STATE_STOPPING) {
		qemu_complaint(LOG_PATH, vm->log_start, complaint, sizeof(complaint));
		if (complaint[0])
			(void)snprintf(text, sizeof(text), "%s", complaint);
	}
	set_why(vm, text);
	report(vm->reporter, REPORT_INFO, "%s", text);
	end(vm);
}

/* ---- starting ---- */

/* The taps are QEMU's from here on, and end with it. */
static int start_qemu(struct vm *vm, const struct cmdline *line, int sock)
{
	int kept[HARDWARE_NICS_MAX + 1] = { sock };
	unsigned int count = 1;
	for (uint32_t i = 0; i < HARDWARE_NICS_MAX; i++)
		if (vm->options->tap_fds[i])
			kept[count++] = vm->options->tap_fds[i];
	int rc = qemu_start(line, vm->options->log->file_fd, kept, count, vm->reporter,
			    &vm->qemu);
	while (--count)
		(void)close(kept[count]);
	return rc;
}

static int launch(struct vm *vm)
{
	struct stat st;
	struct cmdline line;
	int sock = sock_listen(QMP_SOCKET);
	if (sock < 0)
		return report_error(vm->reporter, sock, "%s: %s", QMP_SOCKET,
				    strerror(-sock));
	vm->qmp_listen_sock = sock;
	struct cmdline_input in = { vm->hw, vm->qemu_path, vm->options->is_kvm, sock,
				    vm->token, vm->tells_errors,
				    vm->options->tap_fds, vm->is_incoming };
	int rc = cmdline_make(&in, &line);
	if (rc == 0 && fstat(vm->options->log->file_fd, &st) == 0)
		vm->log_start = st.st_size;
	if (rc == 0) {
		for (unsigned int i = 0; i < line.count; i++)
			report(vm->reporter, REPORT_INFO, "argv[%u] %s", i, line.argv[i]);
		rc = start_qemu(vm, &line, sock);
	}
	cmdline_done(&line);
	if (rc < 0)
		return rc;
	sock = sock_connect(QMP_SOCKET);
	if (sock < 0)
		return report_error(vm->reporter, sock, "%s: %s", QMP_SOCKET,
				    strerror(-sock));
	channel_init(&vm->qmp, sock);
	vm->state = STATE_LAUNCHING;
	vm->deadline = clock_now() + LAUNCH_LIMIT;
	return 0;
}

static bool is_vhost(const struct vm *vm, uint32_t i)
{
	return cmdline_is_vhost(vm->hw, i, vm->options->is_kvm);
}

/* Asks for the next disk, or goes on when there is none. */
static void next_disk(struct vm *vm)
{
	if (vm->next_disk < vm->hw->disk_count) {
		uint32_t i = vm->next_disk;
		tell(vm, msg_send(&vm->channel, MSG_VMX_DISK, i,
				  json_pack("{s:i, s:s, s:b}", "index", (int)i, "path",
					    vm->hw->disks[i].path, "vhost",
					    is_vhost(vm, i))));
		return;
	}
	vm->options->log->last_error[0] = '\0';
	if (launch(vm) < 0)
		stop_qemu(vm, vm->options->log->last_error);
}

static void disk_ready(struct vm *vm, const struct msg *m)
{
	const char *error = json_string_value(json_object_get(m->body, "error"));
	if (vm->state != STATE_DISKS || m->tag != vm->next_disk)
		return;
	if (json_integer_value(json_object_get(m->body, "result")) < 0) {
		stop_qemu(vm, error ? error : "vmkernel cannot serve a disk");
		return;
	}
	vm->next_disk++;
	next_disk(vm);
}

/* virtio-blk has NBD as well; vhost-user-blk is refused where it cannot be. */
static int check_vhost(struct vm *vm)
{
	bool is_fatal;
	const char *why = cmdline_no_vhost(vm->hw, vm->options->is_kvm, &is_fatal);
	if (why && is_fatal)
		return report_error(vm->reporter, -EOPNOTSUPP, "%s", why);
	if (why)
		report(vm->reporter, REPORT_INFO, "virtio disks come over NBD: %s", why);
	return 0;
}

static int read_config(struct vm *vm, const json_t *body)
{
	const char *name = json_string_value(json_object_get(body, "name"));
	const char *text = json_string_value(json_object_get(body, "text"));
	const char *qemu = json_string_value(json_object_get(body, "qemu"));
	const char *token = json_string_value(json_object_get(body, "token"));
	struct vmxfile *f;
	if (!name || !text || !qemu || !token || strlen(token) != TOKEN_SIZE - 1 ||
	    vm->hw)
		return report_error(vm->reporter, -EPROTO,
				    "a start without name, text, qemu, token");
	memcpy(vm->token, token, TOKEN_SIZE);
	vm->tells_errors = json_is_true(json_object_get(body, "tells_errors"));
	vm->is_incoming = json_is_true(json_object_get(body, "incoming"));
	int rc = vmxfile_parse(text, strlen(text), name, vm->reporter, &f);
	if (rc < 0)
		return rc;
	vm->hw = calloc(1, sizeof(*vm->hw));
	vm->qemu_path = strdup(qemu);
	if (vm->hw && vm->qemu_path)
		rc = hardware_read(f, vm->options->run_dir, vm->reporter, vm->hw);
	else
		rc = -ENOMEM;
	vmxfile_free(f);
	return rc ? rc : check_vhost(vm);
}

static void start(struct vm *vm, const struct msg *m)
{
	if (vm->state != STATE_WAITING)
		return;
	vm->start = (struct pending){ true, m->tag };
	vm->deadline = NO_DEADLINE;
	vm->options->log->last_error[0] = '\0';
	if (read_config(vm, m->body) < 0) {
		stop_qemu(vm, vm->options->log->last_error);
		return;
	}
	vm->state = STATE_DISKS;
	next_disk(vm);
}

/* ---- messages ---- */

/* "scsi0:1.fileName": where the .vmx file says what disk i is. It may change. */
static json_t *key_of(const struct vm *vm, uint32_t i)
{
	const struct vm_disk *disk = &vm->hw->disks[i];
	const struct vm_controller *c = &vm->hw->controllers[disk->controller];
	char key[64];
	(void)snprintf(key, sizeof(key), "%s%u:%u.fileName", c->prefix, c->number,
		       disk->unit);
	return json_string(key);
}

static void hello(struct vm *vm, uint32_t tag)
{
	/* One that is frozen has lost its disks: nobody takes it back. */
	bool is_running = vm->state == STATE_RUNNING && !vm->is_frozen;
	json_t *disks = json_array(), *vhost = json_array();
	for (uint32_t i = 0; is_running && i < vm->hw->disk_count; i++) {
		json_array_append_new(disks, key_of(vm, i));
		json_array_append_new(vhost, json_boolean(is_vhost(vm, i)));
	}
	tell(vm, msg_reply(&vm->channel, tag, 0, NULL,
			   json_pack("{s:b, s:i, s:b, s:s, s:o, s:o}", "is_running",
				     is_running, "qemu_pid", (int)vm->qemu, "is_kvm",
				     vm->options->is_kvm, "token", vm->token, "disks",
				     disks, "vhost", vhost)));
}

/* QEMU's NBD client needs some seconds to find its server again: cont until it works. */
static void go_on(struct vm *vm)
{
	vm->cont_at = NO_DEADLINE;
	/* Whoever took it back has its locks: nobody else can have it. */
	if (vm->state == STATE_RUNNING && vm->move.state == MOVE_SENT && !vm->is_frozen)
		(void)move_keep(&vm->move);
	if (vm->state != STATE_RUNNING || !vm->is_io_stopped || vm->is_frozen)
		return;
	vm->is_io_stopped = false;
	if (qmp_send(&vm->qmp, "cont", NULL, QMP_CONT) == 0)
		report(vm->reporter, REPORT_INFO, "the disks are tried again");
}

static void freeze(struct vm *vm, const char *why)
{
	char text[WHY_SIZE];
	if (vm->state != STATE_RUNNING ||
	    qmp_send(&vm->qmp, "stop", NULL, QMP_STOP) < 0) {
		stop_qemu(vm, why);
		return;
	}
	vm->is_frozen = true;
	(void)snprintf(text, sizeof(text), "%.256s: the VM is frozen", why);
	event(vm, text);
}

/* A wish that QEMU answers. */
static void pass_on(struct vm *vm, const struct msg *m, struct pending *p,
		    const char *command, enum qmp_id id)
{
	*p = (struct pending){ true, m->tag };
	if (vm->state != STATE_RUNNING || vm->is_frozen ||
	    qmp_send(&vm->qmp, command, NULL, id) < 0)
		answer(vm, p, -EINVAL, "the VM does not run", NULL);
}

/* ---- a disk that has grown ---- */

static void grow_told(struct vm *vm, enum grow_news news)
{
	if (news == GROW_GOES_ON)
		return;
	report(vm->reporter, REPORT_INFO, "disk %u has %llu bytes%s%s",
	       (unsigned int)vm->grow.disk, (unsigned long long)vm->grow.size,
	       news == GROW_FAILED ? ", and QEMU says: " : "", vm->grow.why);
	answer(vm, &vm->grow_request, news == GROW_FAILED ? -EIO : 0, vm->grow.why, NULL);
}

static void grow_disk(struct vm *vm, const struct msg *m)
{
	json_int_t i = -1, size = 0;
	int rc = json_unpack(m->body, "{s:I, s:I}", "disk", &i, "size", &size);
	bool may = rc == 0 && vm->state == STATE_RUNNING && !vm->is_frozen && i >= 0 &&
		   i < (json_int_t)vm->hw->disk_count && size > 0;
	vm->grow_request = (struct pending){ true, m->tag };
	rc = may ? grow_start(&vm->grow, vm->hw, (uint32_t)i, vm->token, (uint64_t)size)
		 : -EINVAL;
	if (rc < 0)
		answer(vm, &vm->grow_request, rc, "the VM does not run", NULL);
}

/* ---- moving ---- */

static void move_told(struct vm *vm, enum move_news news)
{
	const char *why = vm->move.why[0] ? vm->move.why : "it failed";
	switch (news) {
	case MOVE_NOTHING:
		break;
	case MOVE_NEWS_SENT:
		report(vm->reporter, REPORT_INFO, "all of the VM is sent");
		answer(vm, &vm->move_request, 0, NULL, NULL);
		break;
	case MOVE_NEWS_RECEIVED:
		report(vm->reporter, REPORT_INFO, "all of the VM is here");
		answer(vm, &vm->move_request, 0, NULL, NULL);
		break;
	case MOVE_NEWS_FAILED:
	case MOVE_NEWS_KEPT:
		report(vm->reporter, REPORT_INFO, "the VM stays here: %s", why);
		answer(vm, &vm->move_request, -EIO, why, NULL);
		answer(vm, &vm->keep, 0, NULL, NULL);
		break;
	}
}

static void move_it(struct vm *vm, const struct msg *m)
{
	bool is_out = m->type == MSG_VMX_SEND;
	int sock = channel_take_fd(&vm->channel);
	bool may = is_out ? vm->state == STATE_RUNNING && !vm->is_frozen &&
				    !vm->is_io_stopped
			  : vm->state == STATE_INCOMING;
	vm->move_request = (struct pending){ true, m->tag };
	if (!may) {
		if (sock >= 0)
			(void)close(sock);
		answer(vm, &vm->move_request, -EINVAL,
		       vm->is_io_stopped ? "it stands still at an I/O error"
					 : "the VM does not run",
		       NULL);
		return;
	}
	int rc = is_out ? move_send(&vm->move, m->body, sock)
			: move_receive(&vm->move, m->body, sock);
	if (rc < 0)
		answer(vm, &vm->move_request, rc, vm->move.why, NULL);
}

static void keep(struct vm *vm, uint32_t tag)
{
	vm->keep = (struct pending){ true, tag };
	if (vm->state != STATE_RUNNING)
		answer(vm, &vm->keep, -EINVAL, "the VM does not run", NULL);
	else
		move_told(vm, move_keep(&vm->move));
}

/* All of it is here: from here on it is an ordinary VM. */
static void run_incoming(struct vm *vm, uint32_t tag)
{
	vm->start = (struct pending){ true, tag };
	if (vm->state != STATE_INCOMING || vm->move.state != MOVE_RECEIVED ||
	    qmp_send(&vm->qmp, "cont", NULL, QMP_CONT) < 0)
		answer(vm, &vm->start, -EINVAL, "nothing has come in", NULL);
}

static void tell_progress(struct vm *vm)
{
	const struct move *m = &vm->move;
	if (vm->channel.sock >= 0 && m->total)
		tell(vm, msg_send(&vm->channel, MSG_VMX_PROGRESS, 0,
				  json_pack("{s:I, s:I, s:I}", "total",
					    (json_int_t)m->total, "remaining",
					    (json_int_t)m->remaining, "transferred",
					    (json_int_t)m->transferred)));
}

/* A guest without a driver for its balloon keeps what it has. */
static void balloon(struct vm *vm, const struct msg *m)
{
	json_int_t mb = json_integer_value(json_object_get(m->body, "mb"));
	if (vm->state != STATE_RUNNING || vm->is_frozen || !vm->hw->has_balloon ||
	    mb < 0 || mb >= (json_int_t)vm->hw->memory_mib)
		return;
	json_int_t left = ((json_int_t)vm->hw->memory_mib - mb) << 20;
	/* A QEMU that takes no commands is found out by others. */
	(void)!qmp_send(&vm->qmp, "balloon", json_pack("{s:I}", "value", left),
			QMP_BALLOON);
}

static void ballooned(struct vm *vm, const json_t *data)
{
	json_t *bytes = json_incref(json_object_get(data, "actual"));
	if (vm->channel.sock >= 0 && json_is_integer(bytes))
		tell(vm, msg_send(&vm->channel, MSG_VMX_BALLOONED, 0,
				  json_pack("{s:O}", "bytes", bytes)));
	json_decref(bytes);
}

static void handle(struct vm *vm, const struct msg *m)
{
	const char *why = json_string_value(json_object_get(m->body, "why"));
	switch (m->type) {
	case MSG_VMX_HELLO:
		hello(vm, m->tag);
		break;
	case MSG_VMX_START:
		start(vm, m);
		break;
	case MSG_VMX_STOP:
		vm->stop = (struct pending){ true, m->tag };
		stop_qemu(vm, why ? why : "powered off");
		break;
	case MSG_VMX_RESET:
		pass_on(vm, m, &vm->reset, "system_reset", QMP_RESET);
		break;
	case MSG_VMX_SHUTDOWN:
		pass_on(vm, m, &vm->shutdown, "system_powerdown", QMP_POWERDOWN);
		break;
	case MSG_VMX_GROW:
		grow_disk(vm, m);
		break;
	case MSG_VMX_FREEZE:
		freeze(vm, why ? why : "fenced");
		break;
	case MSG_VMX_CONT:
		if (!json_is_true(json_object_get(m->body, "once")))
			vm->cont_until = clock_now() + CONT_LIMIT;
		go_on(vm);
		break;
	case MSG_VMX_SEND:
	case MSG_VMX_RECEIVE:
		move_it(vm, m);
		break;
	case MSG_VMX_KEEP:
		keep(vm, m->tag);
		break;
	case MSG_VMX_RUN:
		run_incoming(vm, m->tag);
		break;
	case MSG_VMX_BALLOON:
		balloon(vm, m);
		break;
	case MSG_REPLY:
		disk_ready(vm, m);
		break;
	default:
		report(vm->reporter, REPORT_WARN, "message of type %u is not for us",
		       m->type);
		break;
	}
}

static void on_channel(struct vm *vm)
{
	struct msg m;
	int rc = msg_read(&vm->channel);
	int next = 0;
	while (vm->channel.sock >= 0 && (next = msg_next(&vm->channel, &m)) > 0) {
		handle(vm, &m);
		json_decref(m.body);
	}
	if (rc < 0 || next < 0)
		drop_channel(vm);
	if (vm->channel.sock >= 0)
		return;
	report(vm->reporter, REPORT_WARN, "vmkernel has gone away");
	if (vm->state != STATE_RUNNING)
		stop_qemu(vm, "vmkernel has gone away before the VM ran");
}

static void on_connect(struct vm *vm)
{
	int sock = accept4(vm->options->listen_sock, NULL, NULL, SOCK_CLOEXEC);
	if (sock < 0)
		return;
	if (vm->channel.sock >= 0) {
		(void)close(sock); /* one vmkernel at a time */
		return;
	}
	channel_init(&vm->channel, sock);
}

/* ---- QMP ---- */

static void is_up(struct vm *vm)
{
	vm->state = STATE_RUNNING;
	vm->deadline = NO_DEADLINE;
	vm->did_run = true;
	agent_open(&vm->agent);
	report(vm->reporter, REPORT_INFO, "the VM runs, QEMU is process %d",
	       (int)vm->qemu);
	answer(vm, &vm->start, 0, NULL,
	       json_pack("{s:i, s:b}", "qemu_pid", (int)vm->qemu, "is_kvm",
			 vm->options->is_kvm));
	if (!vm->is_incoming)
		return;
	vm->move.state = MOVE_NONE;
	vm->is_incoming = false;
	/* Switches learn where it is now. */
	if (vm->qmp.sock >= 0)
		(void)!qmp_send(&vm->qmp, "announce-self",
				json_pack("{s:i, s:i, s:i, s:i}", "initial", 50, "max",
					  550, "rounds", 5, "step", 100),
				QMP_ANNOUNCE); /* else the guest's next word says it */
}

/* QEMU is there, and has room for a VM that is to come. */
static void is_open(struct vm *vm)
{
	vm->state = STATE_INCOMING;
	vm->deadline = NO_DEADLINE;
	report(vm->reporter, REPORT_INFO, "QEMU, process %d, waits for the VM",
	       (int)vm->qemu);
	answer(vm, &vm->start, 0, NULL,
	       json_pack("{s:i, s:b}", "qemu_pid", (int)vm->qemu, "is_kvm",
			 vm->options->is_kvm));
}

static void qmp_answer(struct vm *vm, const json_t *m)
{
	const char *error = qmp_error_of(m);
	json_int_t id = json_integer_value(json_object_get(m, "id"));
	int rc = 0;
	if (error)
		report(vm->reporter, REPORT_WARN, "QMP command %d: %s", (int)id, error);
	bool is_coming = vm->state == STATE_LAUNCHING || vm->state == STATE_INCOMING;
	if (id >= MOVE_QMP_FIRST)
		move_told(vm, move_answer(&vm->move, (uint32_t)id, m, error));
	else if (id >= GROW_QMP_FIRST && id < GROW_QMP_END)
		grow_told(vm, grow_answer(&vm->grow, (uint32_t)id, m, error));
	else if (id == QMP_CAPABILITIES && vm->state == STATE_LAUNCHING && !error &&
		 vm->is_incoming)
		is_open(vm);
	else if (id == QMP_CAPABILITIES && vm->state == STATE_LAUNCHING && !error)
		rc = qmp_send(&vm->qmp, "cont", NULL, QMP_CONT);
	else if (id == QMP_CONT && is_coming && !error)
		is_up(vm);
	else if (id == QMP_CONT && vm->state == STATE_INCOMING)
		answer(vm, &vm->start, -EIO, error, NULL);
	else if (id == QMP_RESET)
		answer(vm, &vm->reset, error ? -EIO : 0, error, NULL);
	else if (id == QMP_POWERDOWN)
		answer(vm, &vm->shutdown, error ? -EIO : 0, error, NULL);
	else if (vm->state == STATE_LAUNCHING && error)
		stop_qemu(vm, error);
	if (rc < 0)
		stop_qemu(vm, "QEMU does not take commands");
}

/* The VM stands still: somebody has to say what is to be done. */
static void ask(struct vm *vm, const json_t *data)
{
	char text[WHY_SIZE];
	const char *node = json_string_value(json_object_get(data, "node-name"));
	const char *reason = json_string_value(json_object_get(data, "reason"));
	unsigned int i = HARDWARE_DISKS_MAX;
	bool is_ours = node && sscanf(node, "disk%u", &i) == 1 && i < vm->hw->disk_count;
	const char *disk = is_ours ? vm->hw->disks[i].path : "?";
	if (json_is_true(json_object_get(data, "nospace")))
		(void)snprintf(text, sizeof(text),
			       "There is no more space for virtual disk %.256s. The VM "
			       "goes on when some was freed on its datastore, and this "
			       "is tried again.",
			       disk);
	else
		(void)snprintf(text, sizeof(text),
			       "Virtual disk %.256s has an I/O error (%.128s). The VM "
			       "stands still until this is tried again.",
			       disk, reason ? reason : "?");
	report(vm->reporter, REPORT_WARN, "%s", text);
	tell(vm, msg_send(&vm->channel, MSG_VMX_QUESTION, 0,
			  json_pack("{s:s}", "text", text)));
}

static void io_stopped(struct vm *vm, const json_t *data)
{
	uint64_t now = clock_now();
	if (vm->is_io_stopped || vm->is_frozen || vm->tells_errors)
		return; /* several requests have failed */
	move_left_alone(&vm->move); /* it asks, and stays where it asks */
	vm->is_io_stopped = true;
	if (now < vm->cont_until)
		vm->cont_at = now + CONT_INTERVAL;
	else
		ask(vm, data);
}

static void qmp_event(struct vm *vm, const char *name, const json_t *m)
{
	char text[WHY_SIZE];
	const json_t *data = json_object_get(m, "data");
	const char *reason = json_string_value(json_object_get(data, "reason"));
	if (strcmp(name, "SHUTDOWN") == 0 && vm->state == STATE_RUNNING) {
		(void)snprintf(text, sizeof(text), "the guest has shut down (%.64s)",
			       reason ? reason : "?");
		vm->is_guest_wish = reason && strcmp(reason, "guest-shutdown") == 0;
		stop_qemu(vm, text);
		return;
	}
	if (strcmp(name, "MIGRATION") == 0) {
		const char *status = json_string_value(json_object_get(data, "status"));
		report(vm->reporter, REPORT_INFO, "migration: %.32s",
		       status ? status : "?");
		move_told(vm, move_event(&vm->move, status ? status : ""));
		return;
	}
	if (strcmp(name, "BLOCK_IO_ERROR") == 0) {
		io_stopped(vm, data);
		return;
	}
	if (strcmp(name, "BALLOON_CHANGE") == 0) {
		ballooned(vm, data);
		return;
	}
	if (strcmp(name, "RESET") == 0 || strcmp(name, "GUEST_PANICKED") == 0) {
		(void)snprintf(text, sizeof(text), "QEMU: %.64s", name);
		event(vm, text);
		return;
	}
	report(vm->reporter, REPORT_INFO, "QMP event %.64s", name);
}

static void on_qmp(struct vm *vm)
{
	json_t *m;
	int rc = qmp_read(&vm->qmp);
	int next = 0;
	while (rc == 0 && vm->qmp.sock >= 0 && (next = qmp_next(&vm->qmp, &m)) > 0) {
		const char *name = json_string_value(json_object_get(m, "event"));
		if (json_object_get(m, "QMP"))
			next = qmp_send(&vm->qmp, "qmp_capabilities", NULL,
					QMP_CAPABILITIES);
		else if (name)
			qmp_event(vm, name, m);
		else
			qmp_answer(vm, m);
		json_decref(m);
		if (next < 0)
			break;
	}
	if (rc == 0 && next >= 0)
		return;
	/* a QEMU without a monitor is of no use; mostly it has ended */
	channel_done(&vm->qmp);
	vm->deadline = min_u64(vm->deadline, clock_now() + STOP_LIMIT);
}

/* ---- the loop ---- */

static void on_signal(struct vm *vm)
{
	struct signalfd_siginfo info;
	while (read(vm->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(vm);
		else
			stop_qemu(vm, "vmx was told to end");
	}
}

static void on_deadline(struct vm *vm)
{
	if (!vm->qemu) {
		set_why(vm, "vmkernel does not talk to us");
		end(vm);
		return;
	}
	if (vm->state == STATE_LAUNCHING)
		set_why(vm, "QEMU does not answer");
	else
		set_why(vm, "QEMU's monitor is gone");
	vm->state = STATE_STOPPING;
	vm->deadline = NO_DEADLINE;
	if (!vm->is_killed) {
		report(vm->reporter, REPORT_WARN, "QEMU does not quit and is killed");
		vm->is_killed = true;
		(void)kill(vm->qemu, SIGKILL);
	}
}

static void heartbeat(struct vm *vm)
{
	if (agent_read(&vm->agent) && vm->channel.sock >= 0)
		tell(vm, msg_send(&vm->channel, MSG_VMX_HEARTBEAT, 0, NULL));
}

static int poll_timeout_ms(const struct vm *vm)
{
	uint64_t now = clock_now();
	uint64_t next = min_u64(min_u64(vm->deadline, vm->cont_at),
				min_u64(vm->move.ask_at, vm->agent.ask_at));
	if (next == NO_DEADLINE)
		return -1;
	return next <= now ? 0 : (int)div_up(next - now, NS_PER_MS);
}

static void turn(struct vm *vm)
{
	enum { LISTEN, CHANNEL, QMP, SIGNAL, STREAM, AGENT, COUNT };
	struct pollfd p[COUNT] = {
		[LISTEN] = { .fd = vm->options->listen_sock, .events = POLLIN },
		[CHANNEL] = { .fd = vm->channel.sock, .events = POLLIN },
		[QMP] = { .fd = vm->qmp.sock, .events = POLLIN },
		[SIGNAL] = { .fd = vm->signal_fd, .events = POLLIN },
		[STREAM] = { .fd = move_event_fd(&vm->move), .events = POLLIN },
		[AGENT] = { .fd = vm->agent.channel.sock, .events = POLLIN },
	};
	if (channel_has_output(&vm->channel))
		p[CHANNEL].events |= POLLOUT;
	if (vm->qmp.out.len)
		p[QMP].events |= POLLOUT;
	if (poll(p, COUNT, poll_timeout_ms(vm)) < 0)
		return;
	if (vm->deadline != NO_DEADLINE && clock_now() >= vm->deadline)
		on_deadline(vm);
	if (vm->cont_at != NO_DEADLINE && clock_now() >= vm->cont_at)
		go_on(vm);
	if (p[CHANNEL].revents & POLLOUT)
		tell(vm, channel_flush(&vm->channel));
	if (p[QMP].revents & POLLOUT && channel_flush(&vm->qmp) < 0)
		channel_done(&vm->qmp);
	if (vm->move.ask_at != NO_DEADLINE && clock_now() >= vm->move.ask_at) {
		tell_progress(vm);
		move_ask(&vm->move);
	}
	agent_ask(&vm->agent);
	if (p[AGENT].revents && vm->agent.channel.sock >= 0)
		heartbeat(vm);
	if (p[QMP].revents & ~POLLOUT && vm->qmp.sock >= 0)
		on_qmp(vm);
	if (p[STREAM].revents && move_event_fd(&vm->move) == p[STREAM].fd)
		move_told(vm, move_stream_over(&vm->move));
	if (p[CHANNEL].revents & ~POLLOUT && vm->channel.sock >= 0)
		on_channel(vm);
	if (p[SIGNAL].revents)
		on_signal(vm);
	if (p[LISTEN].revents)
		on_connect(vm);
}

static int signals_open(void)
{
	sigset_t set;
	(void)signal(SIGPIPE, SIG_IGN); /* a stream's other end may go */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	int file_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return file_fd < 0 ? -errno : file_fd;
}

int vm_run(const struct vm_options *options)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	if (!vm)
		return 1;
	vm->options = options;
	vm->reporter = &options->log->base;
	vm->deadline = clock_now() + LAUNCH_LIMIT; /* for the first message */
	vm->cont_at = NO_DEADLINE;
	vm->qmp_listen_sock = -1;
	channel_init(&vm->channel, -1);
	channel_init(&vm->qmp, -1);
	agent_init(&vm->agent);
	move_init(&vm->move, &vm->qmp, vm->reporter);
	vm->grow.qmp = &vm->qmp;
	vm->signal_fd = signals_open();
	while (vm->signal_fd >= 0 && vm->state != STATE_ENDED)
		turn(vm);
	int rc = vm->did_run ? 0 : 1;
	assert(!vm->qemu);
	move_done(&vm->move);
	if (vm->signal_fd >= 0)
		(void)close(vm->signal_fd);
	if (vm->qmp_listen_sock >= 0)
		(void)close(vm->qmp_listen_sock);
	(void)unlink(QMP_SOCKET);
	agent_done(&vm->agent);
	channel_done(&vm->qmp);
	channel_done(&vm->channel);
	free(vm->hw);
	free(vm->qemu_path);
	free(vm);
	return rc;
}
