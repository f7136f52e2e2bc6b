/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_VM_H
#define VMX_VM_H

/* The state machine of one VM: between vmkernel's messages and QEMU's. */
#include <stdbool.h>

#include "vmkernel/vmx/log.h"

struct vm_options {
	int listen_sock;	/* where vmkernel connects; taken */
	const char *run_dir;	/* our working folder, as the host names it */
	bool is_kvm;
	int *tap_fds;		/* by number of the card, 0: none; closed by us */
	bool is_isolated;	/* in a network namespace of our own */
	const int *screen_socks; /* VNC_PORTS, where viewers connect; -1: none; taken */
	struct log_file *log;
};

/* Runs one VM from MSG_VMX_START to its end: 0, or 1 if it never ran. Blocks. */
int vm_run(const struct vm_options *options);

#endif
