/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_CMDLINE_H
#define VMX_CMDLINE_H

/* QEMU's command line: made in this one place. */
#include <stdbool.h>

#include "base/report.h"
#include "vmkernel/vmx/hardware.h"

#define CMDLINE_ARGS_MAX 512u

struct cmdline {
	char *argv[CMDLINE_ARGS_MAX + 1]; /* NULL at the end; for execvp */
	unsigned int count;
	int error;			  /* -ENOMEM, -E2BIG: sticky */
};

struct cmdline_input {
	const struct vm_hardware *hw;
	const char *qemu;	/* program */
	bool is_kvm;		/* else TCG */
	int qmp_listen_sock;	/* inherited by QEMU under this number */
	const char *token;	/* of this power-on; no commas */
	bool tells_errors;	/* of disks, to the guest; else the VM stops at one */
	/* by number of the card, inherited; 0: plugged in nowhere */
	const int *tap_fds;
	const char *efi_code; /* UEFI firmware, for those that want it; no commas */
	bool is_incoming; /* it waits for migrate-incoming */
	const char *cpu;  /* cpu_text() */
};

/*
 * Disk i is the NBD export "diski-TOKEN" on the socket diski.sock in QEMU's working
 * folder, or spoken to by vhost-user there. 0 or -errno; cmdline_done in both cases.
 */
int cmdline_make(const struct cmdline_input *in, struct cmdline *ret_line)
	__attribute__((warn_unused_result));
/* Is disk i to be served by vhost-user? */
bool cmdline_is_vhost(const struct vm_hardware *hw, uint32_t i, bool is_kvm);
/*
 * Why vhost-user is not for this VM, in a line; NULL: it is, or is not asked for.
 * *ret_is_fatal: its .vmx file wants it so or not at all.
 */
const char *cmdline_no_vhost(const struct vm_hardware *hw, bool is_kvm,
			     bool *ret_is_fatal);
void cmdline_done(struct cmdline *line);

#endif
