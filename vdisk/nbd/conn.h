/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_NBD_CONN_H
#define VDISK_NBD_CONN_H

/*
 * One NBD connection without its socket: bytes in, requests to the disk, bytes out. All
 * functions are for one task, the owner's; only the completion list is shared with the
 * tasks that complete I/O. None blocks.
 *
 *	owner reads a socket into nbd_conn_space(), tells nbd_conn_received();
 *	the disk completes requests into struct nbd_done and wakes the owner;
 *	owner hands them back by nbd_done_take(), and sends what nbd_conn_output() shows.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/env.h"
#include "vdisk/nbd/haggle.h"

/* Limits of one connection. */
#define NBD_MAX_REQUESTS 128u		/* in flight, or answered and not sent */
#define NBD_MAX_BYTES (64u << 20)	/* of their data; one request is always taken */
#define NBD_RECEIVE_SIZE (256u << 10)
#define NBD_OUTPUT_MAX 256		/* iovecs that are worth asking for */

struct nbd_conn;
struct nbd_request;

/* Completed requests of all connections of one owner. */
struct nbd_done {
	struct bdev_channel *channel; /* the owner's, for its requests; or NULL */
	bool is_held; /* the owner's: requests wait, and go out with nbd_conn_retry() */
	struct mutex m;
	struct nbd_request *first, **last;
	/* Called, with m held, when the list stops being empty; from any task. */
	void (*wake)(void *arg);
	void *wake_arg;
};
/* channel is borrowed until nbd_done_done. */
void nbd_done_init(struct nbd_done *d, struct bdev_channel *channel,
		   void (*wake)(void *arg), void *wake_arg);
void nbd_done_done(struct nbd_done *d);
bool nbd_done_is_empty(struct nbd_done *d);
/*
 * Gives every completed request back to its connection, where it becomes a reply or goes
 * on. touched is called for each connection concerned (several times, perhaps); it must
 * not free a connection.
 */
void nbd_done_take(struct nbd_done *d, void (*touched)(struct nbd_conn *c, void *arg),
		   void *arg);

/*
 * e is borrowed until nbd_conn_free; NULL without memory. The greeting is in the output.
 */
struct nbd_conn *nbd_conn_new(const struct nbd_export *e, struct nbd_done *done,
			      void *owner_data);
/*
 * The client is gone: starts nothing more, forgets what waits. What is at the disk goes
 * on.
 */
void nbd_conn_abandon(struct nbd_conn *c);
/* Only when nbd_conn_in_flight() is 0. NULL is allowed. */
void nbd_conn_free(struct nbd_conn *c);
void *nbd_conn_owner_data(struct nbd_conn *c);
/* Requests that the disk has not completed. */
unsigned int nbd_conn_in_flight(const struct nbd_conn *c);

/* Where the next bytes go: count of iovecs, 0 = wants no input before output was sent. */
int nbd_conn_space(struct nbd_conn *c, struct iovec iov[static 2]);
/*
 * len bytes were put there (0: go on with what is there, after output was sent). Starts
 * requests. 0, or -EPROTO / -ENOMEM: close the connection.
 */
int nbd_conn_received(struct nbd_conn *c, size_t len) __attribute__((warn_unused_result));
/* What is to be sent: count of iovecs, 0 = nothing now. */
int nbd_conn_output(struct nbd_conn *c, struct iovec *iov, int max);
/* len bytes of it were sent. */
void nbd_conn_sent(struct nbd_conn *c, size_t len);
/* The client said goodbye: close when nothing is in flight and nothing is to be sent. */
bool nbd_conn_is_finished(const struct nbd_conn *c);
/* When a request that the disk was too busy for may be sent again; NO_DEADLINE: none. */
uint64_t nbd_conn_retry_at(const struct nbd_conn *c);
/* Sends them again whose time has come. */
void nbd_conn_retry(struct nbd_conn *c);

#endif
