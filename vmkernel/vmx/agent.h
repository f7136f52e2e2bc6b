/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_AGENT_H
#define VMX_AGENT_H

/*
 * The agent in the guest (qemu-ga's protocol), over a serial port that QEMU gives it: it
 * is asked whether it is there, and its answers are the guest's heartbeat. It is not
 * trusted: whatever it says, it is only counted. For one task; nothing here blocks.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmkernel/msg/channel.h"

#define AGENT_SOCKET "agent.sock"

struct agent {
	struct channel channel;
	uint64_t ask_at; /* then it is asked again; NO_DEADLINE: there is none */
};
void agent_init(struct agent *a);
/* QEMU listens by now. One that cannot be reached is none. */
void agent_open(struct agent *a);
/* Its turn has come, if it has: ask_at moves on. */
void agent_ask(struct agent *a);
/* The socket has something: true, the guest has answered. */
bool agent_read(struct agent *a);
void agent_done(struct agent *a);

#endif
