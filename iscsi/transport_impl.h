/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_TRANSPORT_IMPL_H
#define ISCSI_TRANSPORT_IMPL_H

/*
 * The inside of a transport, for transport.c (the life of a connection) and turn.c (who
 * drives it).
 */
#include "base/env.h"
#include "bdev/awake.h"
#include "bdev/channel.h"
#include "iscsi/route.h"
#include "iscsi/transport.h"

struct iscsi_transport {
	const struct iscsi_params *params;
	struct iscsi_owner *owner;
	struct iscsi_route *route; /* the task's */
	struct task *task;
	int bell; /* eventfd */
	uint64_t not_before; /* the task's: no login, the target wants to be left alone */
	struct guard_lease *lease; /* the task's: under which the sockets are */
	uint64_t guarded;	   /* the guard's number of sock; 0: not guarded */
	struct channel_leaf leaf;
	/* Who has the turn. */
	bool is_full;		       /* the socket took no more */
	uint64_t wakes_at;	       /* when the task wakes by itself, ns */
	uint64_t listens_at; /* the task's: when it looks for acknowledgements, ns */
	int mark; /* SO_RCVLOWAT of the socket */
	uint32_t gathers_missed, gathers_to_skip;
	struct awake awake;   /* of the channel that watches */
	atomic_bool is_held;  /* a channel has work for us that it has not sent */
	atomic_bool is_led; /* a channel receives: the task leaves the socket alone */
	struct mutex m;
	struct cond c;
	struct iscsi_session *session; /* FULL; NULL: there is nothing to drive */
	bool has_turn;
	uint32_t waiters; /* for the turn */
	uint32_t led;	  /* turns of channels that received */
	uint32_t ticks_left, ticks_quiet; /* looks of the task that found none */
	/* between its looks; 0: it has not looked yet */
	uint64_t tick_ns;
	int sock; /* -1: none */
	bool is_rung, is_stopping, is_cut;
	bool is_resting; /* no session, none is begun */
	struct guard_lease *wanted_lease;
	bool is_lease_wanted; /* the task has not seen wanted_lease yet */
	int lease_error;
};

/* ---- turn.c ---- */

/* The task's: it has the turn from its start to its end, but for its waits. */
void iscsi_turn_begin(struct iscsi_transport *t);
void iscsi_turn_end(struct iscsi_transport *t);
/*
 * Waits for events on sock (none if -1), the bell, or until. Returns the events of
 * sock; the bell has been silenced. The turn is free meanwhile.
 */
short iscsi_turn_wait(struct iscsi_transport *t, int sock, short events, uint64_t until);
/* Wakes the task. With the mutex held. */
void iscsi_turn_ring(struct iscsi_transport *t);
/* Sends what the session gives; is_full tells whether the socket takes more. */
void iscsi_turn_send(struct iscsi_transport *t, struct iscsi_session *s, uint64_t now);
/* Takes what has come. Returns in how many pieces; *ret_has_more: there may be more. */
unsigned int iscsi_turn_receive(struct iscsi_transport *t, struct iscsi_session *s,
				bool *ret_has_more);
/* The functions of leaf. */
void iscsi_turn_of_channel_send(struct channel_leaf *leaf);
unsigned int iscsi_turn_of_channel_reap(struct channel_leaf *leaf, bool *ret_has_more);
unsigned int iscsi_turn_of_channel_gather(struct channel_leaf *leaf,
					  struct channel_look look, bool *ret_has_more);

#endif
