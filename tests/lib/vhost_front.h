/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_VHOST_FRONT_H
#define TESTS_LIB_VHOST_FRONT_H

/*
 * A vhost-user front end without a guest: memory, rings and requests, over a socket or
 * straight into a struct device. What goes wrong in it itself ends the program.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmkernel/vhost/device.h"

#define FRONT_QUEUES_MAX 4u
#define FRONT_SLOTS_MAX 64u
#define FRONT_SLOT_SIZE (64u << 10) /* of which the last page is not data */
#define FRONT_DATA_MAX (FRONT_SLOT_SIZE - 4096u)
#define FRONT_GUEST 0x100000ull /* address of the memory for the guest */
#define FRONT_USER 0x700000000000ull

struct front_options {
	unsigned int queues, slots; /* slots: requests in flight of each queue */
	uint16_t queue_size;
	bool has_event_index, has_indirect, has_inflight, has_flush, has_log;
};

struct front_queue {
	struct ring_desc_shm *descs;
	struct ring_avail_shm *avail;
	struct ring_used_shm *used;
	uint16_t next_avail, seen_used;
	int kick_fd, call_fd;
	bool is_busy[FRONT_SLOTS_MAX];
};

struct front {
	struct front_options options;
	struct device *device; /* instead of a socket */
	int sock, backend_sock;
	int memory_fd, log_fd, inflight_fd;
	struct vhost_inflight_msg inflight;
	uint8_t *memory, *log;
	uint64_t memory_size;
	uint64_t offered;
	struct front_queue queues[FRONT_QUEUES_MAX];
};

void front_init(struct front *f, const struct front_options *options);
void front_done(struct front *f);
/* One message: m is the answer afterwards, if one is due. false: we were dropped. */
bool front_send(struct front *f, struct vhost_message *m);
bool front_number(struct front *f, enum vhost_request request, uint64_t *number);
bool front_state(struct front *f, enum vhost_request request, uint32_t index,
		 uint32_t *num);
/* As QEMU does: from the first word to running rings. sock: -1 with a device. */
bool front_join(struct front *f, int sock);
bool front_read_config(struct front *f, struct blk_config_msg *ret);
/* All rings stopped, as at the end of a migration's first part. */
bool front_stop(struct front *f);
void front_leave(struct front *f);

/* Slot s of queue q: its data, its status. */
uint8_t *front_data(struct front *f, unsigned int q, unsigned int s);
uint8_t front_status(struct front *f, unsigned int q, unsigned int s);
uint64_t front_guest_of(struct front *f, const void *at);
/* Puts a request into the ring; kicks if it is asked to. */
void front_submit(struct front *f, unsigned int q, unsigned int s, enum blk_type type,
		  uint64_t sector, uint32_t len);
/* The slot of the next one that has ended; -1: none has. */
int front_reap(struct front *f, unsigned int q);
/* Asks to be called at the next one: false, there is one already. */
bool front_listen(struct front *f, unsigned int q);
/* The same, once there is one; -1: not within 20 seconds. Over a socket only. */
int front_wait(struct front *f, unsigned int q);
/* Submits and waits: its status, or -1. */
int front_do(struct front *f, unsigned int q, enum blk_type type, uint64_t sector,
	     uint32_t len);

#endif
