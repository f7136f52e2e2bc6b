/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_AGENT_H
#define VMX_AGENT_H

/*
 * The agent in the guest (qemu-ga's protocol), over a serial port that QEMU gives it: it
 * is asked whether it is there, and its answers are the guest's heartbeat; it shuts the
 * guest down, and freezes its filesystems. It is not trusted: what it says is counted,
 * and each wait for it has an end. For one task; nothing here blocks.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmkernel/msg/channel.h"

#define AGENT_SOCKET "agent.sock"

enum agent_news {
	AGENT_BEAT = 1u << 0,	    /* it has answered */
	AGENT_REFUSES = 1u << 1,    /* it does not shut the guest down, or has not */
	AGENT_FROZEN = 1u << 2,	    /* all filesystems are */
	AGENT_NOT_FROZEN = 1u << 3, /* why; they are thawed, as far as they were frozen */
	AGENT_THAWED = 1u << 4,	    /* was_late: it was some time ago */
};

enum agent_ice { ICE_NONE, ICE_FREEZING, ICE_FROZEN, ICE_THAWING };

struct agent {
	struct channel channel;
	uint64_t ask_at;	 /* then it is asked again; NO_DEADLINE: there is none */
	uint64_t there_at;	 /* it last answered under the number of a question */
	uint64_t shutdown_until; /* NO_DEADLINE: it is not asked to */
	bool is_reboot;		 /* ... but to start anew */
	enum agent_ice ice;
	uint64_t ice_until;	 /* NO_DEADLINE: ICE_NONE */
	bool is_thaw_wanted;	 /* who waits for AGENT_THAWED */
	bool was_late;
	char why[160];
};
void agent_init(struct agent *a);
/* QEMU listens by now. One that cannot be reached is none. */
void agent_open(struct agent *a);
/* It has answered within the last seconds, with what only an agent says. */
bool agent_is_there(const struct agent *a);
/* Is it time for agent_turn()? That long; NO_DEADLINE: never. */
uint64_t agent_next(const struct agent *a);
/* Its turn has come, if it has: it is asked, or was silent for too long. */
unsigned int agent_turn(struct agent *a);
/* The socket has something. */
unsigned int agent_read(struct agent *a);
/*
 * The guest is to end in order, or to start anew; it answers only if it does not. 0;
 * -ENXIO: there is no agent; -errno.
 */
int agent_shutdown(struct agent *a, bool is_reboot) __attribute__((warn_unused_result));
/* The guest has ended, or starts anew: nothing is frozen any more. */
unsigned int agent_guest_reset(struct agent *a);
/*
 * Its filesystems are to stand still: AGENT_FROZEN or AGENT_NOT_FROZEN says what came of
 * it. 0; -ENXIO: there is no agent; -EBUSY; -errno.
 */
int agent_freeze(struct agent *a) __attribute__((warn_unused_result));
/* They go on; AGENT_THAWED says when. Nothing frozen: it is returned. */
unsigned int agent_thaw(struct agent *a);
void agent_done(struct agent *a);

#endif
