/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_RELAY_H
#define VMX_RELAY_H

/* Viewers of the screen come in on the host's ports, and QEMU is on our own loopback. */
#include "vmkernel/vmx/vnc.h"

struct relay;

/*
 * From here on whoever connects to socks[i] (-1: none) is connected to port targets[i]
 * of 127.0.0.1, on a task of its own. The sockets are taken, also on failure. NULL
 * without memory.
 */
struct relay *relay_start(const int socks[static VNC_PORTS],
			  const uint16_t targets[static VNC_PORTS]);
/* All are cut. NULL is allowed. Blocks for a moment. */
void relay_stop(struct relay *r);

#endif
