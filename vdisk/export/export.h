/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_EXPORT_EXPORT_H
#define VDISK_EXPORT_EXPORT_H

/* What the files of vdisk-nbd share. */
#include "base/env.h"
#include "vdisk/nbd/haggle.h"
#include "vdisk/vdisk.h"

/* ---- contexts.c ---- */

#define CONTEXT_IDS_MAX 256u /* that clients may choose while the program runs */

/* The contexts of one disk. */
struct contexts {
	struct nbd_contexts base; /* first: for the server */
	struct vdisk *disk;
	bool is_tracked;
	struct mutex m; /* of the rest */
	char text[32 + VDISK_CHANGE_ID_SIZE]; /* the name of what the disk holds now */
	struct vdisk_since since[CONTEXT_IDS_MAX];
	unsigned int count;
};
/* Both are borrowed until the server is stopped. 0 or -errno. Blocks. */
int contexts_init(struct contexts *c, struct vdisk *disk, struct worker_pool *pool)
	__attribute__((warn_unused_result));
void contexts_done(struct contexts *c);

/* ---- listen.c ---- */

/*
 * Listens on TCP at address (a name or a number) and port ("0": any free one); *ret_port
 * is the one it has. The socket, or a reported -errno. Blocks.
 */
int listen_tcp(const char *address, const char *port, struct reporter *r,
	       unsigned int *ret_port) __attribute__((warn_unused_result));

#endif
