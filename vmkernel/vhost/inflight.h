/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VHOST_INFLIGHT_H
#define VHOST_INFLIGHT_H

/*
 * Which requests of a ring have begun and not ended, in memory that the front end keeps
 * when we die: who comes after us does them again.
 */
#include <stdbool.h>

#include "vmkernel/vhost/memory.h"

#define RING_SIZE_MAX 256u

/* Bytes for so many rings of so many places. */
uint64_t inflight_size(unsigned int queues, unsigned int queue_size);
/* Sealed memory of that size, all zeros: its descriptor, the caller's, or -errno. */
int inflight_new(unsigned int queues, unsigned int queue_size)
	__attribute__((warn_unused_result));
/* The part of ring `index`. s is at least inflight_size() long. */
struct vhost_inflight_shm *inflight_queue(const struct shared *s, unsigned int index,
					  unsigned int queue_size);

/*
 * At a ring's start: what was under way is put into ret_heads, the oldest first (num
 * places); how many. used: the index in the used ring.
 */
unsigned int inflight_recover(struct vhost_inflight_shm *q, uint16_t num, uint16_t used,
			      uint16_t *ret_heads, uint64_t *ret_counter);
/* The request at head (< num) begins. */
void inflight_begin(struct vhost_inflight_shm *q, uint16_t head, uint64_t counter);
/* Before its entry in the used ring counts. */
void inflight_ending(struct vhost_inflight_shm *q, uint16_t head);
/* After that. */
void inflight_ended(struct vhost_inflight_shm *q, uint16_t head, uint16_t used);

#endif
