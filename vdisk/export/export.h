/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_EXPORT_EXPORT_H
#define VDISK_EXPORT_EXPORT_H

/* What the files of vdisk-nbd share. */
#include "nbd/haggle.h"
#include "vdisk/vdisk.h"

/* ---- contexts.c ---- */

/* The contexts of one disk. */
struct contexts {
	struct nbd_contexts base; /* first: for the server */
	struct vdisk *disk;
};
/* Both are borrowed until the server is stopped. */
void contexts_init(struct contexts *c, struct vdisk *disk, struct worker_pool *pool);
void contexts_done(struct contexts *c);

/* ---- listen.c ---- */

/*
 * Listens on TCP at address (a name or a number) and port ("0": any free one); *ret_port
 * is the one it has. The socket, or a reported -errno. Blocks.
 */
int listen_tcp(const char *address, const char *port, struct reporter *r,
	       unsigned int *ret_port) __attribute__((warn_unused_result));

#endif
