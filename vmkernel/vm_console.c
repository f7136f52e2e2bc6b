/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmx, and QEMU, have no network but what they are given: we listen, and vmx gets the
 * sockets. A port that cannot be had does not keep the VM off.
 *
 * A ticket is a password that we draw: vmx gives it to QEMU, and it is good for one
 * viewer and TICKET_S seconds (vmx/screen.c). It is sent to who asks, who is root, and to
 * vmx; written down it is nowhere.
 */
#include "vmkernel/vm_console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/env.h"
#include "vmkernel/control.h"
#include "vmkernel/vmx/screen.h"

#define TICKET_S 30

struct ticket_of_vm {
	struct requester who;
	char text[SCREEN_PASSWORD_MAX + 1];
	uint32_t port;
};

static void draw(char text[static SCREEN_PASSWORD_MAX + 1])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789-_";
	unsigned char bytes[SCREEN_PASSWORD_MAX];
	static_assert(sizeof(letters) == 65, "each is as likely");
	random_bytes(bytes, sizeof(bytes));
	for (unsigned int i = 0; i < SCREEN_PASSWORD_MAX; i++)
		text[i] = letters[bytes[i] % 64];
	text[SCREEN_PASSWORD_MAX] = '\0';
}

/* As vmx reads it, which is heard if it refuses it. */
static bool read_vnc(const struct vm *vm, struct vm_vnc *ret)
{
	struct vmxfile *f;
	struct catcher quiet;
	*ret = (struct vm_vnc){ 0 };
	if (vmxfile_parse(vm->text, strlen(vm->text), "", NULL, &f) < 0)
		return false;
	int rc = vnc_read(f, catcher_init(&quiet, NULL), ret);
	vmxfile_free(f);
	return rc == 0 && ret->is_on;
}

unsigned int vm_console_listen(const struct vm *vm, int ret_socks[static VNC_PORTS])
{
	char file[VM_WHY_SIZE / 2];
	struct vm_vnc vnc;
	unsigned int bits = 0;
	bool is_wanted = read_vnc(vm, &vnc);
	for (unsigned int i = 0; i < VNC_PORTS; i++) {
		ret_socks[i] = -1;
		if (!is_wanted || !vnc.ports[i])
			continue;
		ret_socks[i] = vnc_listen(&vnc, i);
		if (ret_socks[i] >= 0)
			bits |= 1u << i;
		else
			report(vm->host->reporter, REPORT_WARN,
			       "VM %u (%s): its screen is not shown on %s port %u: %s",
			       vm->id, vm_file_text(vm, NULL, file, sizeof(file)), vnc.ip,
			       vnc.ports[i], strerror(-ret_socks[i]));
	}
	explicit_bzero(&vnc, sizeof(vnc));
	return bits;
}

static uint32_t port_of(const struct vm *vm, bool is_websocket)
{
	struct vm_vnc vnc;
	return read_vnc(vm, &vnc) ? vnc.ports[is_websocket] : 0;
}

void vm_console_request(struct vm *vm, struct requester who, const json_t *body)
{
	const char *type = msg_text(body, "type");
	bool is_websocket = strcasecmp(type, "webmks") == 0;
	const char *why = NULL;
	uint32_t port = 0;
	if (*type && !is_websocket && strcasecmp(type, "vnc") != 0)
		why = "a ticket is of the type vnc or webmks";
	else if (vm->state != VM_ON || vm->is_ending || !vm->text)
		why = "does not run";
	else if (vm->ticket)
		why = "another ticket is being made";
	else if (!(port = port_of(vm, is_websocket)))
		why = is_websocket ? "RemoteDisplay.vnc.webSocket.port is not set" :
				     "RemoteDisplay.vnc.enabled is not TRUE";
	struct ticket_of_vm *t = why ? NULL : calloc(1, sizeof(*t));
	if (!t) {
		vm_refuse(vm, who, why ? why : "no memory");
		return;
	}
	t->who = who;
	t->port = port;
	draw(t->text);
	vm->ticket = t;
	/* A channel that is gone ends the VM, and that answers. */
	(void)!msg_send(&vm->channel, MSG_VMX_TICKET, VM_CONSOLE_TAG,
			json_pack("{s:s, s:i, s:b}", "ticket", t->text, "seconds",
				  TICKET_S, "websocket", is_websocket));
}

void vm_console_told(struct vm *vm, int result, const char *error)
{
	struct ticket_of_vm *t = vm->ticket;
	char path[VM_WHY_SIZE];
	if (!t)
		return;
	vm->ticket = NULL;
	if (result < 0) {
		vm_refuse(vm, t->who, error ? error : "vmx refuses");
	} else {
		(void)snprintf(path, sizeof(path), "/vmfs/volumes/%s%s", vm->ds->label,
			       vm->path);
		control_reply(vm->host->control, t->who, 0, NULL,
			      json_pack("{s:s, s:i, s:s, s:i}", "ticket", t->text,
					"seconds", TICKET_S, "path", path, "port",
					(int)t->port));
	}
	explicit_bzero(t, sizeof(*t));
	free(t);
}

void vm_console_off(struct vm *vm)
{
	vm_console_told(vm, -EIO, "the VM was powered off");
}
