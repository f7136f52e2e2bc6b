/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_VNC_H
#define VMX_VNC_H

/* What a .vmx file says of showing the VM's screen on a port. */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "vmkernel/vmx/vmxfile.h"

#define VNC_PORT 5900u
#define VNC_PORTS 2u /* that of VNC, that of VNC in a websocket */

struct vm_vnc {
	bool is_on;
	char ip[48];		   /* numeric, v4 or v6 */
	uint32_t ports[VNC_PORTS]; /* 0: none */
	char password[64];	   /* "": nobody gets in without a ticket */
};

/* 0, or -EINVAL with one report. */
int vnc_read(const struct vmxfile *f, struct reporter *r, struct vm_vnc *ret)
	__attribute__((warn_unused_result));
/* Listens there, on port i: the socket or -errno. */
int vnc_listen(const struct vm_vnc *vnc, unsigned int i)
	__attribute__((warn_unused_result));

#endif
