/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_VM_IMPL_H
#define VMX_VM_IMPL_H

/*
 * The VM inside vmx: its life (vm.c), what vmkernel asks of it (requests.c), and what
 * QEMU says (events.c). One task's.
 */
#include <sys/types.h>

#include "base/env.h"
#include "vmkernel/msg/msg.h"
#include "vmkernel/vmx/agent.h"
#include "vmkernel/vmx/cpu.h"
#include "vmkernel/vmx/grow.h"
#include "vmkernel/vmx/hardware.h"
#include "vmkernel/vmx/move.h"
#include "vmkernel/vmx/plug.h"
#include "vmkernel/vmx/qmp.h"
#include "vmkernel/vmx/screen.h"
#include "vmkernel/vmx/vm.h"

#define CONT_INTERVAL NS_PER_S
#define CONT_LIMIT (60 * NS_PER_S)
#define STOP_LIMIT (5 * NS_PER_S)
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
	char *qemu_path, *efi_code;
	char cpu[CPU_TEXT_SIZE];
	/* of this power-on: vmkernel's, part of the disks' names */
	char token[TOKEN_SIZE];
	uint32_t next_disk;
	struct pending start, stop, reset, shutdown, move_request, keep, grow_request;
	struct pending plug_request, ticket, freeze, thaw;
	struct grow grow;
	struct plug plug;
	bool owes_plug; /* who said HELLO has to hear what became of that disk */
	struct screen screen;
	struct relay *relay; /* NULL: none */
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


/* ---- vm.c ---- */

/* rc of a msg_send() to vmkernel: its end of the channel may be gone. */
void vmx_tell(struct vm *vm, int rc);
/* Answers p, if it waits; body is taken, may be NULL. */
void vmx_answer(struct vm *vm, struct pending *p, int result, const char *sentence,
		json_t *body);
void vmx_event(struct vm *vm, const char *text);
void vmx_drop_channel(struct vm *vm);
/* Ends the VM; without a QEMU at once. */
void vmx_stop_qemu(struct vm *vm, const char *why);
/* Disk i is served by vhost-user. */
bool vmx_is_vhost(const struct vm *vm, uint32_t i);
void vmx_start(struct vm *vm, const struct msg *m);
/* QEMU has its own: the taps are its alone from here on, and end with it. */
void vmx_release_taps(struct vm *vm);
/* vmkernel has answered MSG_VMX_DISK. */
void vmx_disk_ready(struct vm *vm, const struct msg *m);

/* ---- requests.c ---- */

/* All of a VM from another host is here, and stands still. */
bool vmx_has_come(const struct vm *vm);
void vmx_on_connect(struct vm *vm);
void vmx_on_channel(struct vm *vm);
/* "scsi0:1.fileName": where the .vmx file says what a disk is; "": it was removed. */
json_t *vmx_key_of(const struct vm *vm, const struct vm_disk *disk);
/* What stood still at an I/O error is tried again. */
void vmx_go_on(struct vm *vm);
void vmx_move_told(struct vm *vm, enum move_news news);
void vmx_grow_told(struct vm *vm, enum grow_news news);
void vmx_plug_told(struct vm *vm, enum plug_news news);
/* news: enum agent_news */
void vmx_agent_told(struct vm *vm, unsigned int news);
void vmx_screen_told(struct vm *vm, enum screen_news news);
void vmx_tell_progress(struct vm *vm);

/* ---- events.c ---- */

void vmx_on_qmp(struct vm *vm);
/* Switches learn that the VM runs here. */
void vmx_announce(struct vm *vm);

#endif
