/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory is ours to write and survives SIGKILL: what was stored is there, in the
 * order of the program. So each step below is one store behind a fence, and who comes
 * after us can tell between which two we died:
 *
 *	begin:   counter, then is_inflight = 1
 *	ending:  next = last_ended, then last_ended = head
 *	         -- the used ring's index is stored (ring.c) --
 *	ended:   is_inflight = 0, then used = that index
 *
 * Died before the index: the request is done again, which is harmless: its sectors are
 * written with the same bytes, or read again, and the guest was told nothing. Died after
 * it: `used` lags behind the ring's index by one, and last_ended is the one whose
 * is_inflight is not to be believed.
 *
 * Whoever shares the memory may write it, too: heads and counts are checked, and lies
 * make the guest's own requests run twice or not at all.
 */
#include "vmkernel/vhost/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/align.h"

#define VERSION 1u
#define ALIGNMENT 64u

static uint64_t queue_bytes(unsigned int queue_size)
{
	return round_up(sizeof(struct vhost_inflight_shm) +
				(uint64_t)queue_size *
					sizeof(struct vhost_inflight_desc_shm),
			ALIGNMENT);
}

uint64_t inflight_size(unsigned int queues, unsigned int queue_size)
{
	return round_up(queues * queue_bytes(queue_size),
			(uint64_t)sysconf(_SC_PAGESIZE));
}

int inflight_new(unsigned int queues, unsigned int queue_size)
{
	int file_fd = memfd_create("vhost-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (file_fd < 0)
		return -errno;
	if (ftruncate(file_fd, (off_t)inflight_size(queues, queue_size)) < 0 ||
	    fcntl(file_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int rc = -errno;
		(void)close(file_fd);
		return rc;
	}
	return file_fd;
}

struct vhost_inflight_shm *inflight_queue(const struct shared *s, unsigned int index,
					  unsigned int queue_size)
{
	return (struct vhost_inflight_shm *)(s->at + index * queue_bytes(queue_size));
}

struct pending {
	uint64_t counter;
	uint16_t head;
};

static int by_age(const void *a, const void *b)
{
	const struct pending *x = a, *y = b;
	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

unsigned int inflight_recover(struct vhost_inflight_shm *q, uint16_t num, uint16_t used,
			      uint16_t *ret_heads, uint64_t *ret_counter)
{
	struct pending all[RING_SIZE_MAX];
	unsigned int count = 0;
	*ret_counter = 0;
	if (le16_get(q->version) != VERSION || le16_get(q->count) != num) {
		q->count = le16_of(num);
		q->last_ended = le16_of(0);
		for (uint16_t i = 0; i < num; i++)
			q->descs[i].is_inflight = 0;
		q->used = le16_of(used);
		atomic_thread_fence(memory_order_release);
		q->version = le16_of(VERSION);
		return 0;
	}
	uint16_t last = le16_get(q->last_ended);
	if (le16_get(q->used) != used && last < num)
		q->descs[last].is_inflight = 0;
	q->used = le16_of(used);
	for (uint16_t i = 0; i < num; i++) {
		if (q->descs[i].is_inflight != 1)
			continue;
		all[count++] = (struct pending){ le64_get(q->descs[i].counter), i };
	}
	qsort(all, count, sizeof(all[0]), by_age);
	for (unsigned int i = 0; i < count; i++)
		ret_heads[i] = all[i].head;
	*ret_counter = count ? all[count - 1].counter + 1 : 0;
	return count;
}

void inflight_begin(struct vhost_inflight_shm *q, uint16_t head, uint64_t counter)
{
	q->descs[head].counter = le64_of(counter);
	atomic_thread_fence(memory_order_release);
	q->descs[head].is_inflight = 1;
	atomic_thread_fence(memory_order_release);
}

void inflight_ending(struct vhost_inflight_shm *q, uint16_t head)
{
	q->descs[head].next = q->last_ended;
	atomic_thread_fence(memory_order_release);
	q->last_ended = le16_of(head);
	atomic_thread_fence(memory_order_release);
}

void inflight_ended(struct vhost_inflight_shm *q, uint16_t head, uint16_t used)
{
	atomic_thread_fence(memory_order_release);
	q->descs[head].is_inflight = 0;
	atomic_thread_fence(memory_order_release);
	q->used = le16_of(used);
}
