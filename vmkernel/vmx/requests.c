/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vmkernel asks of the VM. One vmkernel at a time is heard; one that goes away
 * leaves the VM running, and nobody waits for its answers any more.
 */
#include "vmkernel/vmx/vm_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "vmkernel/vmx/announce.h"

json_t *vmx_key_of(const struct vm *vm, const struct vm_disk *disk)
{
	const struct vm_controller *c = &vm->hw->controllers[disk->controller];
	char key[64] = "";
	if (c->type == CONTROLLER_FLASH)
		return json_string(c->prefix);
	if (disk->path[0])
		(void)snprintf(key, sizeof(key), "%s%u:%u.fileName", c->prefix, c->number,
			       disk->unit);
	return json_string(key);
}

/* It may be that nobody else can run it any more. */
bool vmx_has_come(const struct vm *vm)
{
	return vm->state == STATE_INCOMING && vm->move.state == MOVE_RECEIVED;
}

/*
 * A disk on its way is among those that are to be served: QEMU may wait for it, with all
 * of the VM, before it says whether the guest has it.
 */
static void hello(struct vm *vm, uint32_t tag)
{
	struct pending p = { true, tag };
	/* One that is frozen has lost its disks: nobody takes it back. */
	bool is_running = vm->state == STATE_RUNNING && !vm->is_frozen;
	bool has_come = vmx_has_come(vm);
	bool is_plugging = is_running && vm->plug.is_busy;
	bool is_coming = is_plugging && !vm->plug.is_out;
	uint32_t count = is_running || has_come ? vm->hw->disk_count : 0;
	json_t *disks = json_array(), *vhost = json_array();
	if (is_coming && vm->plug.disk == count)
		count++;
	for (uint32_t i = 0; i < count; i++) {
		bool comes = is_coming && i == vm->plug.disk;
		json_array_append_new(disks, vmx_key_of(vm, comes ? &vm->plug.place
								  : &vm->hw->disks[i]));
		json_array_append_new(vhost,
				      json_boolean(!comes && vmx_is_vhost(vm, i)));
	}
	vm->owes_plug = is_plugging;
	vmx_answer(vm, &p, 0, NULL,
		   json_pack("{s:b, s:b, s:i, s:b, s:s, s:s, s:o, s:o, s:i}",
			     "is_running", is_running, "has_come", has_come, "qemu_pid",
			     (int)vm->qemu, "is_kvm", vm->options->is_kvm, "cpu",
			     vm->cpu, "token", vm->token, "disks", disks, "vhost", vhost,
			     "plugging",
			     is_plugging ? (int)vm->plug.disk : -1));
}

/* QEMU's NBD client needs some seconds to find its server again: cont until it works. */
void vmx_go_on(struct vm *vm)
{
	vm->cont_at = NO_DEADLINE;
	if (vmx_has_come(vm) && qmp_send(&vm->qmp, "cont", NULL, QMP_CONT) == 0)
		report(vm->reporter, REPORT_INFO, "the VM that has come is to run");
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
		vmx_stop_qemu(vm, why);
		return;
	}
	vm->is_frozen = true;
	(void)snprintf(text, sizeof(text), "%.256s: the VM is frozen", why);
	vmx_event(vm, text);
}

/* A wish that QEMU answers. */
static void pass_on(struct vm *vm, const struct msg *m, struct pending *p,
		    const char *command, enum qmp_id id)
{
	*p = (struct pending){ true, m->tag };
	if (vm->state != STATE_RUNNING || vm->is_frozen ||
	    qmp_send(&vm->qmp, command, NULL, id) < 0)
		vmx_answer(vm, p, -EINVAL, "the VM does not run", NULL);
}

/* ---- a disk that has grown ---- */

void vmx_grow_told(struct vm *vm, enum grow_news news)
{
	if (news == GROW_GOES_ON)
		return;
	report(vm->reporter, REPORT_INFO, "disk %u has %llu bytes%s%s",
	       (unsigned int)vm->grow.disk, (unsigned long long)vm->grow.size,
	       news == GROW_FAILED ? ", and QEMU says: " : "", vm->grow.why);
	vmx_answer(vm, &vm->grow_request, news == GROW_FAILED ? -EIO : 0, vm->grow.why,
		   NULL);
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
		vmx_answer(vm, &vm->grow_request, rc, "the VM does not run", NULL);
}

/* ---- a disk that comes or goes ---- */

void vmx_plug_told(struct vm *vm, enum plug_news news)
{
	struct vm_hardware *hw = vm->hw;
	struct plug *p = &vm->plug;
	if (news == PLUG_GOES_ON)
		return;
	report(vm->reporter, REPORT_INFO, "disk %u, %s, %s%s%s", (unsigned int)p->disk,
	       p->device, p->is_out ? "goes" : "comes",
	       news == PLUG_FAILED ? ", and QEMU says: " : "", p->why);
	if (news == PLUG_DONE && p->is_out) {
		hw->disks[p->disk].path[0] = '\0';
	} else if (news == PLUG_DONE) {
		hw->disks[p->disk] = p->place;
		if (hw->disk_count == p->disk)
			hw->disk_count++;
	}
	vmx_answer(vm, &vm->plug_request, news == PLUG_FAILED ? -EIO : 0, p->why, NULL);
	if (vm->owes_plug)
		vmx_tell(vm, msg_send(&vm->channel, MSG_VMX_PLUGGED, 0,
				      json_pack("{s:b}", "has",
						p->is_out == (news == PLUG_FAILED))));
	vm->owes_plug = false;
}

/* The first index that is free, or the one behind all: vmkernel counts as we do. */
static bool is_next_index(const struct vm_hardware *hw, json_int_t i)
{
	return i >= 0 && i <= (json_int_t)hw->disk_count &&
	       i < (json_int_t)HARDWARE_DISKS_MAX &&
	       (i == (json_int_t)hw->disk_count || !hw->disks[i].path[0]);
}

static void plug_disk(struct vm *vm, const struct msg *m)
{
	json_int_t i = json_integer_value(json_object_get(m->body, "index"));
	bool is_in = m->type == MSG_VMX_PLUG;
	const char *why = NULL;
	int rc = -EINVAL;
	vm->plug_request = (struct pending){ true, m->tag };
	if (vm->state != STATE_RUNNING || vm->is_frozen || vm->move.state != MOVE_NONE)
		why = "the VM does not run";
	else if (is_in && !is_next_index(vm->hw, i))
		why = "another disk has this number";
	else if (is_in)
		rc = plug_place(vm->hw, msg_text(m->body, "disk"),
				msg_text(m->body, "path"), &vm->plug.place, &why);
	else
		why = i < 0 ? "there is no such disk" :
			      plug_out_why_not(vm->hw, (uint32_t)i);
	if (!why)
		rc = is_in ? plug_in(&vm->plug, vm->hw, (uint32_t)i, vm->token) :
			     plug_out(&vm->plug, vm->hw, (uint32_t)i);
	if (!why && rc == 0)
		report(vm->reporter, REPORT_INFO, "disk %u, %s: QEMU is asked",
		       (unsigned int)vm->plug.disk, vm->plug.device);
	if (why || rc < 0)
		vmx_answer(vm, &vm->plug_request, why ? -EINVAL : rc,
			   why ? why : "QEMU does not take commands", NULL);
}

/* ---- the agent in its guest ---- */

/* The button is there for a guest whose agent does not do it. */
static void agent_refuses(struct vm *vm)
{
	char text[WHY_SIZE];
	bool is_reboot = vm->agent.is_reboot;
	(void)snprintf(text, sizeof(text),
		       "the guest does not %s by its agent (%.160s)%s",
		       is_reboot ? "reboot" : "shut down", vm->agent.why,
		       is_reboot ? "" : ": the power button is pressed");
	vmx_event(vm, text);
	if (!is_reboot && vm->state == STATE_RUNNING && !vm->is_frozen)
		(void)!qmp_send(&vm->qmp, "system_powerdown", NULL, QMP_POWERDOWN);
}

void vmx_agent_told(struct vm *vm, unsigned int news)
{
	if (news & AGENT_BEAT && vm->channel.sock >= 0)
		vmx_tell(vm, msg_send(&vm->channel, MSG_VMX_HEARTBEAT, 0, NULL));
	if (news & AGENT_REFUSES)
		agent_refuses(vm);
	if (news & AGENT_FROZEN)
		vmx_answer(vm, &vm->freeze, 0, NULL, json_pack("{s:b}", "is_frozen", 1));
	if (news & AGENT_NOT_FROZEN)
		vmx_answer(vm, &vm->freeze, -EIO, vm->agent.why, NULL);
	if (news & AGENT_THAWED)
		vmx_answer(vm, &vm->thaw, vm->agent.was_late ? -ETIMEDOUT : 0,
			   "its filesystems were not held long enough", NULL);
}

static void freeze_guest(struct vm *vm, uint32_t tag)
{
	vm->freeze = (struct pending){ true, tag };
	int rc = vm->state == STATE_RUNNING && !vm->is_frozen ? agent_freeze(&vm->agent) :
								-EINVAL;
	if (rc == -ENXIO)
		vmx_answer(vm, &vm->freeze, 0, NULL, json_pack("{s:b}", "is_frozen", 0));
	else if (rc < 0)
		vmx_answer(vm, &vm->freeze, rc, rc == -EBUSY ? "its agent is still busy "
			   "with the last time" : "the VM does not run", NULL);
}

/* By its agent; else by its power button, which is not there for a reboot. */
static void shut_down(struct vm *vm, const struct msg *m)
{
	bool is_reboot = json_is_true(json_object_get(m->body, "is_reboot"));
	bool may = vm->state == STATE_RUNNING && !vm->is_frozen;
	struct pending now = { true, m->tag };
	if (may && agent_shutdown(&vm->agent, is_reboot) == 0)
		vmx_answer(vm, &now, 0, NULL, NULL);
	else if (is_reboot)
		vmx_answer(vm, &now, -EINVAL, may ? "has no guest agent that could "
			   "reboot it: power.shutdown, or power.reset" :
			   "the VM does not run", NULL);
	else
		pass_on(vm, m, &vm->shutdown, "system_powerdown", QMP_POWERDOWN);
}

/* ---- its screen ---- */

void vmx_screen_told(struct vm *vm, enum screen_news news)
{
	if (news != SCREEN_GOES_ON)
		vmx_answer(vm, &vm->ticket, news == SCREEN_FAILED ? -EIO : 0,
			   vm->screen.why, NULL);
}

static void ticket(struct vm *vm, const struct msg *m)
{
	const char *text = msg_text(m->body, "ticket");
	json_int_t seconds = json_integer_value(json_object_get(m->body, "seconds"));
	bool may = vm->state == STATE_RUNNING && !vm->is_frozen && !vm->ticket.is_set &&
		   *text && seconds > 0 && seconds < INT32_MAX;
	int rc = may ? screen_ticket(&vm->screen, text, (uint32_t)seconds,
				     json_is_true(json_object_get(m->body, "websocket")))
			 : -EINVAL;
	struct pending now = { true, m->tag };
	if (rc == 0)
		vm->ticket = now;
	else
		vmx_answer(vm, &now, rc,
			   rc == -ENXIO ? "its screen is on no port: "
					  "its port could not be had "
					  "at power-on" :
			   rc == -EBUSY ? "another ticket is being made" :
					  "the VM does not run", NULL);
}

/* ---- moving ---- */

static void tell_progress(struct vm *vm, bool is_still)
{
	const struct move *m = &vm->move;
	if (vm->channel.sock >= 0 && (m->total || is_still))
		vmx_tell(vm, msg_send(&vm->channel, MSG_VMX_PROGRESS, 0,
				  json_pack("{s:I, s:I, s:I, s:b}", "total",
					    (json_int_t)m->total, "remaining",
					    (json_int_t)m->remaining, "transferred",
					    (json_int_t)m->transferred, "is_still",
					    is_still)));
}

void vmx_tell_progress(struct vm *vm)
{
	tell_progress(vm, false);
}

void vmx_move_told(struct vm *vm, enum move_news news)
{
	const char *why = vm->move.why[0] ? vm->move.why : "it failed";
	switch (news) {
	case MOVE_NOTHING:
		break;
	case MOVE_NEWS_STILL:
		tell_progress(vm, true);
		break;
	case MOVE_NEWS_SENT:
		report(vm->reporter, REPORT_INFO, "all of the VM is sent");
		vmx_answer(vm, &vm->move_request, 0, NULL, NULL);
		break;
	case MOVE_NEWS_RECEIVED:
		report(vm->reporter, REPORT_INFO, "all of the VM is here");
		vmx_answer(vm, &vm->move_request, 0, NULL, NULL);
		break;
	case MOVE_NEWS_FAILED:
	case MOVE_NEWS_KEPT:
		report(vm->reporter, REPORT_INFO, "the VM stays here: %s", why);
		vmx_announce(vm);
		vmx_answer(vm, &vm->move_request, -EIO, why, NULL);
		vmx_answer(vm, &vm->keep, 0, NULL, NULL);
		break;
	}
}

/* Why it cannot move, or come, now; NULL: it can. */
static const char *move_refusal(const struct vm *vm, bool is_out)
{
	if (vm->move.state != MOVE_NONE)
		return "it is not at rest yet after an earlier move";
	if (is_out && vm->is_io_stopped)
		return "it stands still at an I/O error";
	bool may = is_out ? vm->state == STATE_RUNNING && !vm->is_frozen
			  : vm->state == STATE_INCOMING;
	return may ? NULL : "the VM does not run";
}

static void move_it(struct vm *vm, const struct msg *m)
{
	bool is_out = m->type == MSG_VMX_SEND;
	int sock = channel_take_fd(&vm->channel);
	const char *refusal = move_refusal(vm, is_out);
	struct pending request = { true, m->tag };
	if (refusal) {
		if (sock >= 0)
			(void)close(sock);
		vmx_answer(vm, &request, -EINVAL, refusal, NULL);
		return;
	}
	vm->move_request = request;
	int rc = is_out ? move_send(&vm->move, m->body, sock)
			: move_receive(&vm->move, m->body, sock);
	if (rc < 0)
		vmx_answer(vm, &vm->move_request, rc, vm->move.why, NULL);
}

static void keep(struct vm *vm, uint32_t tag)
{
	vm->keep = (struct pending){ true, tag };
	if (vm->state != STATE_RUNNING)
		vmx_answer(vm, &vm->keep, -EINVAL, "the VM does not run", NULL);
	else
		vmx_move_told(vm, move_keep(&vm->move));
}

/* All of it is here: from here on it is an ordinary VM. */
static void run_incoming(struct vm *vm, uint32_t tag)
{
	vm->start = (struct pending){ true, tag };
	if (vm->state != STATE_INCOMING || vm->move.state != MOVE_RECEIVED ||
	    qmp_send(&vm->qmp, "cont", NULL, QMP_CONT) < 0)
		vmx_answer(vm, &vm->start, -EINVAL, "nothing has come in", NULL);
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

static void handle(struct vm *vm, const struct msg *m)
{
	const char *why = json_string_value(json_object_get(m->body, "why"));
	switch (m->type) {
	case MSG_VMX_HELLO:
		hello(vm, m->tag);
		break;
	case MSG_VMX_START:
		vmx_start(vm, m);
		break;
	case MSG_VMX_STOP:
		vm->stop = (struct pending){ true, m->tag };
		vmx_stop_qemu(vm, why ? why : "powered off");
		break;
	case MSG_VMX_RESET:
		pass_on(vm, m, &vm->reset, "system_reset", QMP_RESET);
		break;
	case MSG_VMX_SHUTDOWN:
		shut_down(vm, m);
		break;
	case MSG_VMX_GUEST_FREEZE:
		freeze_guest(vm, m->tag);
		break;
	case MSG_VMX_GUEST_THAW:
		vm->thaw = (struct pending){ true, m->tag };
		vmx_agent_told(vm, agent_thaw(&vm->agent));
		break;
	case MSG_VMX_GROW:
		grow_disk(vm, m);
		break;
	case MSG_VMX_PLUG:
	case MSG_VMX_UNPLUG:
		plug_disk(vm, m);
		break;
	case MSG_VMX_TICKET:
		ticket(vm, m);
		break;
	case MSG_VMX_FREEZE:
		freeze(vm, why ? why : "fenced");
		break;
	case MSG_VMX_CONT:
		if (!json_is_true(json_object_get(m->body, "once")))
			vm->cont_until = clock_now() + CONT_LIMIT;
		vmx_go_on(vm);
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
	case MSG_VMX_ANNOUNCE:
		if (vm->state == STATE_INCOMING)
			announce_cards(vm->hw, vm->options->tap_fds, vm->reporter);
		break;
	case MSG_VMX_BALLOON:
		balloon(vm, m);
		break;
	case MSG_REPLY:
		vmx_disk_ready(vm, m);
		break;
	default:
		report(vm->reporter, REPORT_WARN, "message of type %u is not for us",
		       m->type);
		break;
	}
}

void vmx_on_channel(struct vm *vm)
{
	struct msg m;
	int rc = msg_read(&vm->channel);
	int next = 0;
	while (vm->channel.sock >= 0 && (next = msg_next(&vm->channel, &m)) > 0) {
		handle(vm, &m);
		json_decref(m.body);
	}
	if (rc < 0 || next < 0)
		vmx_drop_channel(vm);
	if (vm->channel.sock >= 0)
		return;
	report(vm->reporter, REPORT_WARN, "vmkernel has gone away");
	if (vmx_has_come(vm))
		report(vm->reporter, REPORT_INFO, "all of the VM is here: the next "
		       "vmkernel knows whether it is to run");
	else if (vm->state != STATE_RUNNING)
		vmx_stop_qemu(vm, "vmkernel has gone away before the VM ran");
}

void vmx_on_connect(struct vm *vm)
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

