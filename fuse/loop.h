/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_LOOP_H
#define FUSE_LOOP_H

/* The tasks that take requests from the kernel and answer them. */
#include <stddef.h>
#include <sys/queue.h>

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "base/env.h"

/* Bytes of one read or write. */
#define LOOP_DATA_MAX (1u << 20)

struct worker;

struct loop {
	struct fuse_session *session;
	struct mutex m;
	struct cond c;
	LIST_HEAD(, worker) workers;
	unsigned int count, count_max;
	unsigned int waiting; /* for a request, and are to go on */
	unsigned int spare;   /* the fewest that waited since it was looked at */
	int device_fd;
	int err;	 /* what went wrong first */
	bool has_large;	 /* a worker has memory that is to be given back some time */
	bool is_stopping;
};

void loop_init(struct loop *l, struct fuse_session *session, unsigned int count_max);
void loop_done(struct loop *l);
/*
 * Serves the session until it is not mounted any more, or loop_stop(). 0 or -errno.
 * Blocks.
 */
int loop_run(struct loop *l) __attribute__((warn_unused_result));
/* What is being answered is answered, nothing more is taken. From any task; once. */
void loop_stop(struct loop *l);

/*
 * Memory of the calling worker for the data of a reply to a request that brings none, at
 * most LOOP_DATA_MAX bytes, aligned to IO_ALIGN; valid until its next request.
 */
void *loop_memory(size_t size);
/*
 * The calling worker's request is a write past the kernel's cache of who may not give
 * set-id bits: then the kernel has not taken them off.
 */
bool loop_drops_set_id(void);

#endif
