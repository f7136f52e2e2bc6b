/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VHOST_DEVICE_H
#define VHOST_DEVICE_H

/*
 * One virtio-blk device without its sockets: messages of the front end in, answers out;
 * requests from its rings to a disk and back. All functions are for one task, the
 * owner's; only the completion list is shared with the tasks that complete I/O. None
 * blocks.
 *
 *	owner: device_message() for each message, device_run() when a ring was kicked or
 *	something has ended, device_take() for what has ended.
 */
#include <stdatomic.h>

#include "base/env.h"
#include "bdev/bdev.h"
#include "vmkernel/vhost/ring.h"

#define DEVICE_QUEUES_MAX 16u
#define DEVICE_REQUESTS_MAX 256u	   /* of all rings, in flight */
#define DEVICE_BOUNCE_MAX (64ull << 20) /* of their copied data; one always may */
#define DEVICE_REQUEST_MAX (16u << 20)	   /* data of one request */
#define DEVICE_RANGES_MAX 8u		   /* of one DISCARD or WRITE ZEROES */

struct blk_request;

struct device_options {
	const char *name; /* in sentences; borrowed as long as the device lives */
	const char *id;	  /* what GET_ID says, at most 20 bytes; borrowed likewise */
	struct bdev *bd;  /* borrowed likewise; with a pool if it translates */
	bool is_read_only;
	struct reporter *reporter;
	struct bdev_channel *channel; /* the owner's, or NULL */
	/* Called when the completion list stops being empty, from any task. */
	void (*wake)(void *arg);
	/* The kick of a ring is this from now on; -1: none. Before that one is closed. */
	void (*watch)(void *arg, unsigned int index, int kick_fd);
	void *arg;
};

struct device_ring {
	struct ring ring;
	int kick_fd, call_fd; /* -1: none */
	bool is_enabled, has_kick;
	unsigned int in_flight;
};

struct device {
	struct device_options options;
	uint64_t features, protocol; /* as the front end has acknowledged them */
	struct guest_memory memory;
	struct dirty_log log;
	struct shared inflight;
	unsigned int inflight_queues, inflight_queue_size;
	struct device_ring rings[DEVICE_QUEUES_MAX];
	unsigned int ring_count; /* up to the last that was ever started */
	int backend_sock;    /* for what we have to say unasked; -1: none */
	bool is_held;	     /* starts no request */
	bool is_draining;    /* a message waits for all requests to end */
	bool is_abandoned;   /* no front end: ends are forgotten */
	bool is_retrying;    /* rings wait for room */
	/* begun and not ended; of those, with the disk now */
	unsigned int in_flight, at_disk, allocated;
	uint64_t bounced;
	struct blk_request *free, *retry;
	struct mutex call_m; /* call_fd of all rings, when it is closed or changed */
	struct mutex m; /* of the completion list */
	struct blk_request *done, **done_last;
};

void device_init(struct device *d, const struct device_options *options);
/* With nothing in flight. */
void device_done(struct device *d);

/* ---- message.c ---- */

struct vhost_message {
	struct vhost_header_msg header;
	union {
		uint8_t bytes[VHOST_PAYLOAD_MAX];
		le64 number;
		struct vhost_state_msg state;
		struct vhost_addr_msg addr;
		struct vhost_table_msg table;
		struct vhost_slot_msg slot;
		struct vhost_log_msg log;
		struct vhost_inflight_msg inflight;
		struct vhost_config_msg config;
	} payload;
	int fds[VHOST_FDS_MAX];
	unsigned int fd_count;
};
/*
 * Does what the message asks for. 1: it has become the answer, to be sent with its
 * descriptors, if any; 0: none is due. -EAGAIN: not before more requests have ended: call
 * again then. Other -errno (reported): drop the front end. The descriptors are taken in
 * any case but -EAGAIN; those of an answer are the caller's.
 */
int device_message(struct device *d, struct vhost_message *m)
	__attribute__((warn_unused_result));
/* The disk has another size: tells the guest. */
void device_resized(struct device *d);
/*
 * The front end is gone: starts nothing more, and writes nothing more to the guest's
 * memory but what is at the disk by now. With nothing in flight: device_reset().
 */
void device_abandon(struct device *d);
/*
 * From another task: the owner may hang in telling the front end something, whose event
 * has been made to block and is full: it hangs no longer.
 */
void device_unblock(struct device *d);
/* As new, for another front end. */
void device_reset(struct device *d);

/* ---- blk.c ---- */

/* Takes what the rings have, and starts it. */
void device_start(struct device *d);
/* Tells the guest of ends, of a ring that has at least so many. */
void device_tell(struct device *d, unsigned int count);
/* Both, of any number. */
void device_run(struct device *d);
/* Ends requests that the disk has completed. Their number. */
unsigned int device_take(struct device *d);
bool device_has_done(struct device *d);
/* Asks the rings for kicks: true, do not sleep, there is something to run. */
bool device_listen(struct device *d);
/* When a request that the disk was not ready for is to be tried again; NO_DEADLINE. */
uint64_t device_retry_at(const struct device *d);

#endif
