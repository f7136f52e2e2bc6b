/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM, one task, one poll loop.
 *
 *	WAITING --vmx_start--> DISKS --vmx_disk_ready (last)--> LAUNCHING
 *	LAUNCHING --qmp_answer (cont)--> RUNNING
 *	LAUNCHING --qmp_answer (incoming)--> INCOMING --qmp_answer (cont)--> RUNNING
 *	   any of them --vmx_stop_qemu--> STOPPING --reap--> ENDED
 *
 * What vmkernel asks meanwhile is in requests.c, what QEMU says in events.c.
 *
 * 1. vmkernel is asked for the disks one after the other; QEMU is started when all are
 *    served, so it never waits for a lock of another host.
 * 2. The VM's end is QEMU's end: only reap() makes ENDED, so vmkernel may close the disks
 *    when it hears of it.
 * 3. If vmkernel goes away while the VM runs, the VM goes on and its disks wait for their
 *    NBD server; a new vmkernel connects, says HELLO and hears which disks to serve.
 *    Before RUNNING there is nothing to keep: we end. But a VM that has come in whole
 *    (vmx_has_come) may be ours alone by now, by its lock: it stands still until a new
 *    vmkernel says CONT, or STOP.
 * 4. QEMU gets STOP_LIMIT to quit, then SIGKILL.
 */
#include "vmkernel/vmx/vm_impl.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/align.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vmx/cmdline.h"
#include "vmkernel/vmx/qemu.h"
#include "vmkernel/vmx/relay.h"
#include "vmkernel/vmx/vmxfile.h"

#define QMP_SOCKET "qmp.sock"
#define LOG_PATH "vmware.log"
#define LAUNCH_LIMIT (60 * NS_PER_S)

/* ---- talking to vmkernel ---- */

void vmx_drop_channel(struct vm *vm)
{
	channel_done(&vm->channel);
	channel_init(&vm->channel, -1);
	vm->start.is_set = vm->stop.is_set = false;
	vm->reset.is_set = vm->shutdown.is_set = false;
	vm->move_request.is_set = vm->keep.is_set = vm->grow_request.is_set = false;
	vm->plug_request.is_set = vm->owes_plug = vm->ticket.is_set = false;
	vm->freeze.is_set = vm->thaw.is_set = false;
	if (vm->agent.ice == ICE_FREEZING || vm->agent.ice == ICE_FROZEN)
		(void)agent_thaw(&vm->agent); /* nobody else would */
	move_left_alone(&vm->move);
}

void vmx_tell(struct vm *vm, int rc)
{
	if (rc < 0)
		vmx_drop_channel(vm);
}

void vmx_answer(struct vm *vm, struct pending *p, int result, const char *sentence,
		   json_t *body)
{
	if (!p->is_set) {
		json_decref(body);
		return;
	}
	p->is_set = false;
	vmx_tell(vm, msg_reply(&vm->channel, p->tag, result, sentence, body));
}

void vmx_event(struct vm *vm, const char *text)
{
	report(vm->reporter, REPORT_INFO, "%s", text);
	vmx_tell(vm,
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
		vmx_answer(vm, &vm->start, -EIO, vm->why, NULL);
	else if (vm->stop.is_set)
		vmx_answer(vm, &vm->stop, 0, NULL, NULL);
	else if (vm->channel.sock >= 0)
		vmx_tell(vm, msg_send(&vm->channel, MSG_VMX_ENDED, 0,
				  json_pack("{s:s, s:b}", "why", vm->why, "is_guest",
					    vm->is_guest_wish)));
}

/* Ends the VM; without a QEMU at once. */
void vmx_stop_qemu(struct vm *vm, const char *why)
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

void vmx_release_taps(struct vm *vm)
{
	for (uint32_t i = 0; i < HARDWARE_NICS_MAX; i++) {
		if (vm->options->tap_fds[i])
			(void)close(vm->options->tap_fds[i]);
		vm->options->tap_fds[i] = 0;
	}
}

/* Those of a VM that is to come are announced before it runs. */
static int start_qemu(struct vm *vm, const struct cmdline *line, int sock)
{
	int kept[HARDWARE_NICS_MAX + 1] = { sock };
	unsigned int count = 1;
	for (uint32_t i = 0; i < HARDWARE_NICS_MAX; i++)
		if (vm->options->tap_fds[i])
			kept[count++] = vm->options->tap_fds[i];
	int rc = qemu_start(line, vm->options->log->file_fd, kept, count, vm->reporter,
			    &vm->qemu);
	if (!vm->is_incoming)
		vmx_release_taps(vm);
	return rc;
}

/* vmkernel has said why it does not listen, if it does not. */
static void start_relay(struct vm *vm)
{
	static const uint16_t targets[] = { SCREEN_PORT, SCREEN_WEBSOCKET_PORT };
	struct vm_vnc *vnc = &vm->hw->vnc;
	for (unsigned int i = 0; i < VNC_PORTS; i++)
		if (vm->options->screen_socks[i] < 0)
			vnc->ports[i] = 0;
	if (vnc->is_on && !vm->options->is_isolated)
		vmx_event(vm, "it has no network of its own, and its screen is shown on "
			      "vnc.sock alone");
	vnc->is_on = vnc->is_on && vm->options->is_isolated &&
		     (vnc->ports[0] || vnc->ports[1]);
	if (vnc->is_on)
		vm->relay = relay_start(vm->options->screen_socks, targets);
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
	start_relay(vm);
	struct cmdline_input in = { vm->hw, vm->qemu_path, vm->options->is_kvm, sock,
				    vm->token, vm->tells_errors,
				    vm->options->tap_fds, vm->efi_code,
				    vm->is_incoming, vm->cpu };
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

bool vmx_is_vhost(const struct vm *vm, uint32_t i)
{
	return cmdline_is_vhost(vm->hw, i, vm->options->is_kvm);
}

/* Asks for the next disk, or goes on when there is none. */
static void next_disk(struct vm *vm)
{
	if (vm->next_disk < vm->hw->disk_count) {
		uint32_t i = vm->next_disk;
		vmx_tell(vm, msg_send(&vm->channel, MSG_VMX_DISK, i,
				  json_pack("{s:i, s:s, s:b, s:o}", "index", (int)i,
					    "path", vm->hw->disks[i].path, "vhost",
					    vmx_is_vhost(vm, i), "key",
					    vmx_key_of(vm, &vm->hw->disks[i]))));
		return;
	}
	vm->options->log->last_error[0] = '\0';
	if (launch(vm) < 0)
		vmx_stop_qemu(vm, vm->options->log->last_error);
}

void vmx_disk_ready(struct vm *vm, const struct msg *m)
{
	const char *error = json_string_value(json_object_get(m->body, "error"));
	if (vm->state != STATE_DISKS || m->tag != vm->next_disk)
		return;
	if (json_integer_value(json_object_get(m->body, "result")) < 0) {
		vmx_stop_qemu(vm, error ? error : "vmkernel cannot serve a disk");
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

/* Whose disks OVMF reads, as Debian 12 builds it; other builds may read more. */
static bool has_disk_for_ovmf(const struct vm_hardware *hw)
{
	for (uint32_t i = 0; i < hw->disk_count; i++) {
		enum controller_type type = hw->controllers[hw->disks[i].controller].type;
		if (!hw->disks[i].is_cdrom &&
		    (type == CONTROLLER_AHCI || type == CONTROLLER_IDE ||
		     type == CONTROLLER_NVME || type == CONTROLLER_VIRTIO))
			return true;
	}
	return false;
}

static int check_firmware(struct vm *vm)
{
	if (!vm->hw->is_efi)
		return 0;
	if (!has_disk_for_ovmf(vm->hw))
		report(vm->reporter, REPORT_WARN,
		       "firmware = \"efi\": no disk is behind SATA, NVMe, IDE or virtio;"
		       " OVMF reads none behind SCSI controllers");
	if (strchr(vm->efi_code, ',') || access(vm->efi_code, R_OK) < 0)
		return report_error(vm->reporter, -ENOENT,
				    "firmware = \"efi\" needs OVMF on this host: %s: %s",
				    vm->efi_code,
				    strchr(vm->efi_code, ',') ? "has a comma" :
								strerror(errno));
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
	vm->plug.tells_errors = vm->tells_errors;
	vm->is_incoming = json_is_true(json_object_get(body, "incoming"));
	int rc = vmxfile_parse(text, strlen(text), name, vm->reporter, &f);
	if (rc < 0)
		return rc;
	vm->hw = calloc(1, sizeof(*vm->hw));
	vm->qemu_path = strdup(qemu);
	vm->efi_code = strdup(msg_text(body, "efi"));
	if (vm->hw && vm->qemu_path && vm->efi_code)
		rc = hardware_read(f, vm->options->run_dir, vm->reporter, vm->hw);
	else
		rc = -ENOMEM;
	cpu_text(f, msg_text(body, "cpu_baseline"), vm->options->is_kvm, vm->cpu);
	vmxfile_free(f);
	if (rc == 0)
		rc = check_firmware(vm);
	return rc ? rc : check_vhost(vm);
}

void vmx_start(struct vm *vm, const struct msg *m)
{
	if (vm->state != STATE_WAITING)
		return;
	vm->start = (struct pending){ true, m->tag };
	vm->deadline = NO_DEADLINE;
	vm->options->log->last_error[0] = '\0';
	if (read_config(vm, m->body) < 0) {
		vmx_stop_qemu(vm, vm->options->log->last_error);
		return;
	}
	vm->state = STATE_DISKS;
	next_disk(vm);
}

/* ---- the loop ---- */

static void on_signal(struct vm *vm)
{
	struct signalfd_siginfo info;
	while (read(vm->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(vm);
		else
			vmx_stop_qemu(vm, "vmx was told to end");
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

static int poll_timeout_ms(const struct vm *vm)
{
	uint64_t now = clock_now();
	uint64_t next = min_u64(min_u64(vm->deadline, vm->cont_at),
				min_u64(vm->move.ask_at, agent_next(&vm->agent)));
	next = min_u64(next, min_u64(vm->plug.deadline, vm->screen.ticket_until));
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
		vmx_go_on(vm);
	if (vm->plug.deadline != NO_DEADLINE && clock_now() >= vm->plug.deadline)
		vmx_plug_told(vm, plug_late(&vm->plug));
	if (vm->screen.ticket_until != NO_DEADLINE &&
	    clock_now() >= vm->screen.ticket_until)
		screen_late(&vm->screen);
	if (p[CHANNEL].revents & POLLOUT)
		vmx_tell(vm, channel_flush(&vm->channel));
	if (p[QMP].revents & POLLOUT && channel_flush(&vm->qmp) < 0)
		channel_done(&vm->qmp);
	if (vm->move.ask_at != NO_DEADLINE && clock_now() >= vm->move.ask_at) {
		vmx_tell_progress(vm);
		move_ask(&vm->move);
	}
	vmx_agent_told(vm, agent_turn(&vm->agent));
	if (p[AGENT].revents && vm->agent.channel.sock >= 0)
		vmx_agent_told(vm, agent_read(&vm->agent));
	if (p[QMP].revents & ~POLLOUT && vm->qmp.sock >= 0)
		vmx_on_qmp(vm);
	if (p[STREAM].revents && move_event_fd(&vm->move) == p[STREAM].fd)
		vmx_move_told(vm, move_stream_over(&vm->move));
	if (p[CHANNEL].revents & ~POLLOUT && vm->channel.sock >= 0)
		vmx_on_channel(vm);
	if (p[SIGNAL].revents)
		on_signal(vm);
	if (p[LISTEN].revents)
		vmx_on_connect(vm);
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
	plug_init(&vm->plug, &vm->qmp);
	screen_init(&vm->screen, &vm->qmp);
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
	relay_stop(vm->relay);
	agent_done(&vm->agent);
	channel_done(&vm->qmp);
	channel_done(&vm->channel);
	free(vm->hw);
	free(vm->qemu_path);
	free(vm->efi_code);
	free(vm);
	return rc;
}
