/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_NBD_SERVER_H
#define VDISK_NBD_SERVER_H

/*
 * An NBD server for one disk on one listening stream socket, with a task of its own.
 * Several clients may connect; one that leaves may come back.
 */
#include <stdbool.h>

#include "base/report.h"
#include "bdev/bdev.h"
#include "vdisk/nbd/haggle.h"

#define NBD_MAX_CONNECTIONS 16u

struct nbd_server;

struct nbd_server_options {
	const char *name;	/* of the export; copied. Clients may also ask for "" */
	/* borrowed until nbd_server_stop; with a pool if it translates */
	struct bdev *bd;
	int listen_sock;	/* taken on success (sock_listen) */
	bool is_read_only;
	/*
	 * bd is only read, and announced as one to be written: nbd_server_exchange()
	 * comes before a client writes. Until then writes fail with EPERM.
	 */
	bool is_standby;
	const struct nbd_contexts *contexts; /* borrowed until nbd_server_stop; or NULL */
	struct reporter *reporter;
};

/* 0 or -errno (reported). */
int nbd_server_start(const struct nbd_server_options *options,
		     struct nbd_server **ret_server) __attribute__((warn_unused_result));
/*
 * Calls fn(arg), in the server's task, while no request is at the disk: those that come
 * meanwhile wait for its end. fn does no I/O. Returns for how long they waited at most,
 * ns: what the disk took to end what it had, and fn. One call at a time. Blocks, as long
 * as the disk does.
 */
uint64_t nbd_server_hold(struct nbd_server *server, void (*fn)(void *arg), void *arg);
/*
 * From here on it serves bd, of the same size, as start's: what is at the disk that it
 * has served ends first. Returns that one: nothing of this server is at it any more.
 * Blocks, as nbd_server_hold().
 */
struct bdev *nbd_server_exchange(struct nbd_server *server, struct bdev *bd);
/* The same from within the fn of nbd_server_hold(), when it is over. Never blocks. */
struct bdev *nbd_server_put(struct nbd_server *server, struct bdev *bd);
/* Drops the clients, waits for the I/O that is at the disk, frees. NULL is allowed. */
void nbd_server_stop(struct nbd_server *server);

#endif
