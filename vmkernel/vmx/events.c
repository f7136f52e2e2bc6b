/* SPDX-License-Identifier: Apache-2.0 */
/* What QEMU says: answers to commands, by their ids, and events. */
#include "vmkernel/vmx/vm_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"

void vmx_announce(struct vm *vm)
{
	if (vm->qmp.sock >= 0)
		(void)!qmp_send(&vm->qmp, "announce-self",
				json_pack("{s:i, s:i, s:i, s:i}", "initial", 50, "max",
					  550, "rounds", 5, "step", 100),
				QMP_ANNOUNCE); /* else the guest's next word says it */
}

static void is_up(struct vm *vm)
{
	vm->state = STATE_RUNNING;
	vm->deadline = NO_DEADLINE;
	vm->did_run = true;
	agent_open(&vm->agent);
	report(vm->reporter, REPORT_INFO, "the VM runs, QEMU is process %d",
	       (int)vm->qemu);
	vmx_answer(vm, &vm->start, 0, NULL,
	       json_pack("{s:i, s:b, s:s}", "qemu_pid", (int)vm->qemu, "is_kvm",
			 vm->options->is_kvm, "cpu", vm->cpu));
	if (!vm->is_incoming)
		return;
	vm->move.state = MOVE_NONE;
	vm->is_incoming = false;
	vmx_release_taps(vm);
	vmx_announce(vm);
}

/* Whoever took it back has its locks, and does not wait for an answer. */
static void not_up(struct vm *vm, const char *error)
{
	uint64_t now = clock_now();
	if (vm->start.is_set)
		vmx_answer(vm, &vm->start, -EIO, error, NULL);
	else if (now < vm->cont_until)
		vm->cont_at = now + CONT_INTERVAL;
	else if (vm->cont_until)
		vmx_stop_qemu(vm, error);
}

/* QEMU is there, and has room for a VM that is to come. */
static void is_open(struct vm *vm)
{
	vm->state = STATE_INCOMING;
	vm->deadline = NO_DEADLINE;
	report(vm->reporter, REPORT_INFO, "QEMU, process %d, waits for the VM",
	       (int)vm->qemu);
	vmx_answer(vm, &vm->start, 0, NULL,
	       json_pack("{s:i, s:b, s:s}", "qemu_pid", (int)vm->qemu, "is_kvm",
			 vm->options->is_kvm, "cpu", vm->cpu));
}

static void qmp_answer(struct vm *vm, const json_t *m)
{
	const char *error = qmp_error_of(m);
	json_int_t id = json_integer_value(json_object_get(m, "id"));
	int rc = 0;
	if (error)
		report(vm->reporter, REPORT_WARN, "QMP command %d: %s", (int)id, error);
	if (id == QMP_CAPABILITIES && !error)
		rc = screen_open(&vm->screen, &vm->hw->vnc);
	bool is_coming = vm->state == STATE_LAUNCHING || vm->state == STATE_INCOMING;
	if (id >= MOVE_QMP_FIRST)
		vmx_move_told(vm, move_answer(&vm->move, (uint32_t)id, m, error));
	else if (id >= PLUG_QMP_FIRST && id < PLUG_QMP_END)
		vmx_plug_told(vm, plug_answer(&vm->plug, (uint32_t)id, m, error));
	else if (id >= SCREEN_QMP_FIRST && id < SCREEN_QMP_END)
		vmx_screen_told(vm, screen_answer(&vm->screen, (uint32_t)id, error));
	else if (id >= GROW_QMP_FIRST && id < GROW_QMP_END)
		vmx_grow_told(vm, grow_answer(&vm->grow, (uint32_t)id, m, error));
	else if (id == QMP_CAPABILITIES && vm->state == STATE_LAUNCHING && !error &&
		 vm->is_incoming)
		is_open(vm);
	else if (id == QMP_CAPABILITIES && vm->state == STATE_LAUNCHING && !error)
		rc = qmp_send(&vm->qmp, "cont", NULL, QMP_CONT);
	else if (id == QMP_CONT && is_coming && !error)
		is_up(vm);
	else if (id == QMP_CONT && vm->state == STATE_INCOMING)
		not_up(vm, error);
	else if (id == QMP_RESET)
		vmx_answer(vm, &vm->reset, error ? -EIO : 0, error, NULL);
	else if (id == QMP_POWERDOWN)
		vmx_answer(vm, &vm->shutdown, error ? -EIO : 0, error, NULL);
	else if (vm->state == STATE_LAUNCHING && error)
		vmx_stop_qemu(vm, error);
	if (rc < 0)
		vmx_stop_qemu(vm, "QEMU does not take commands");
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
	vmx_tell(vm, msg_send(&vm->channel, MSG_VMX_QUESTION, 0,
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

static void ballooned(struct vm *vm, const json_t *data)
{
	json_t *bytes = json_incref(json_object_get(data, "actual"));
	if (vm->channel.sock >= 0 && json_is_integer(bytes))
		vmx_tell(vm, msg_send(&vm->channel, MSG_VMX_BALLOONED, 0,
				  json_pack("{s:O}", "bytes", bytes)));
	json_decref(bytes);
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
		vmx_stop_qemu(vm, text);
		return;
	}
	if (strcmp(name, "MIGRATION") == 0) {
		const char *status = json_string_value(json_object_get(data, "status"));
		report(vm->reporter, REPORT_INFO, "migration: %.32s",
		       status ? status : "?");
		vmx_move_told(vm, move_event(&vm->move, status ? status : ""));
		return;
	}
	if (strcmp(name, "BLOCK_IO_ERROR") == 0) {
		io_stopped(vm, data);
		return;
	}
	if (strcmp(name, "DEVICE_DELETED") == 0) {
		vmx_plug_told(vm, plug_deleted(&vm->plug, json_string_value(
						json_object_get(data, "device"))));
		return;
	}
	if (strcmp(name, "VNC_INITIALIZED") == 0)
		screen_used(&vm->screen, data);
	if (strcmp(name, "BALLOON_CHANGE") == 0) {
		ballooned(vm, data);
		return;
	}
	if (strcmp(name, "RESET") == 0)
		vmx_agent_told(vm, agent_guest_reset(&vm->agent));
	if (strcmp(name, "RESET") == 0 || strcmp(name, "GUEST_PANICKED") == 0) {
		(void)snprintf(text, sizeof(text), "QEMU: %.64s", name);
		vmx_event(vm, text);
		return;
	}
	report(vm->reporter, REPORT_INFO, "QMP event %.64s", name);
}

void vmx_on_qmp(struct vm *vm)
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

