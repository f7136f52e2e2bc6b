/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VHOST_RING_H
#define VHOST_RING_H

/*
 * A split ring in a guest's memory: chains of descriptors come out, ends of requests go
 * in. One task uses it. Nothing blocks, nothing is called back.
 */
#include <stdbool.h>
#include <sys/uio.h>

#include "vmkernel/vhost/inflight.h"
#include "vmkernel/vhost/memory.h"

#define CHAIN_DESCS_MAX 128u
#define CHAIN_PIECES_MAX 160u /* a descriptor may lie in several regions */

/* What one request brings: first what it is read from, then what is written. */
struct chain {
	uint16_t head;
	unsigned int out_count, in_count;
	uint64_t out_len, in_len;
	struct iovec pieces[CHAIN_PIECES_MAX];
	uint64_t guest[CHAIN_PIECES_MAX]; /* where each lies for the guest */
};

struct ring {
	/* set by the front end */
	uint16_t num; /* places; 0: not said yet */
	uint64_t desc_user, avail_user, used_user, used_guest;
	bool has_addresses, is_logged, has_event_index;
	struct vhost_inflight_shm *inflight; /* NULL: is not kept */
	const struct dirty_log *log;
	/* while it runs */
	const struct ring_desc_shm *descs;
	struct ring_avail_shm *avail;
	struct ring_used_shm *used;
	uint16_t next_avail, next_used; /* indexes, that wrap around */
	uint16_t told_used;		/* of the last look at whether to notify */
	bool is_running, is_broken;
	uint64_t counter;		      /* of requests */
	uint16_t resubmit[RING_SIZE_MAX]; /* heads that were in flight before us */
	unsigned int resubmit_at, resubmit_count;
	uint8_t is_busy[RING_SIZE_MAX]; /* head is in flight: nobody may use it twice */
};

/*
 * Starts at what SET_VRING_BASE said, or behind what the memory in flight tells. 0, or
 * -EINVAL: places or addresses are not what a ring's can be.
 */
int ring_start(struct ring *r, const struct guest_memory *m)
	__attribute__((warn_unused_result));
/* New addresses for one that runs, or after regions have moved. As ring_start(). */
int ring_locate(struct ring *r, const struct guest_memory *m)
	__attribute__((warn_unused_result));
/* The index to begin with when it starts again. */
uint16_t ring_stop(struct ring *r);
/*
 * The next chain, all of it copied but for the data: 1; 0: none is there; -EPROTO: it is
 * no ring that a driver makes (ret_why says why), and is not looked at again.
 */
int ring_pop(struct ring *r, const struct guest_memory *m, struct chain *ret,
	     const char **ret_why) __attribute__((warn_unused_result));
/* The request at head has ended, and has written len bytes. */
void ring_push(struct ring *r, uint16_t head, uint32_t len);
/* How many it has pushed since the last look at that. */
unsigned int ring_untold(const struct ring *r);
/* After pushes: does the guest want to hear of them? */
bool ring_must_notify(struct ring *r);
/* Asks for kicks: true, there is something to pop already. */
bool ring_listen(struct ring *r);
/* No kicks are needed for now. */
void ring_mute(struct ring *r);

#endif
