/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VHOST_SERVER_H
#define VHOST_SERVER_H

/*
 * A vhost-user-blk server for one disk on one listening stream socket, with one task for
 * all queues. One front end at a time; one that leaves may come back.
 */
#include <stdbool.h>

#include "base/report.h"
#include "bdev/bdev.h"

struct vhost_server;

struct vhost_server_options {
	const char *name; /* in sentences; copied */
	const char *id;	  /* the disk's serial number for the guest; copied, 20 bytes */
	/* borrowed until vhost_server_stop; with a pool if it translates */
	struct bdev *bd;
	int listen_sock; /* taken on success (sock_listen) */
	bool is_read_only;
	struct reporter *reporter;
};

/* 0 or -errno (reported). */
int vhost_server_start(const struct vhost_server_options *options,
		       struct vhost_server **ret_server)
	__attribute__((warn_unused_result));
/* Calls fn(arg) while no request is at the disk; as quiet_run(). Blocks. */
uint64_t vhost_server_hold(struct vhost_server *server, void (*fn)(void *arg), void *arg);
/* The disk has another size: the guest is told. Never blocks. */
void vhost_server_resized(struct vhost_server *server);
/*
 * Drops the front end, waits for the I/O that is at the disk, frees. What the guest has
 * not heard of stays in its memory in flight, for who serves it next. NULL is allowed.
 */
void vhost_server_stop(struct vhost_server *server);

#endif
