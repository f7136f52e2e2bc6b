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

/* Bytes of data of a request whose memory is lent. */
#define LOOP_LENT_MAX (64u << 10)
/* What who borrows may note beside it. */
#define LOOP_NOTE_SIZE 2048u

struct worker;
struct loop_memory; /* of one request */

struct loop {
	struct fuse_session *session;
	struct mutex m;
	struct cond c;
	LIST_HEAD(, worker) workers;
	unsigned int count, count_max;
	unsigned int waiting; /* for a request, and are to go on */
	unsigned int spare;   /* the fewest that waited since it was looked at */
	unsigned int lent;    /* pieces of memory */
	SLIST_HEAD(, loop_memory) spare_memory; /* that came back */
	struct worker *gatherer;  /* or NULL */
	struct worker *alone;	  /* or NULL */
	struct worker *watcher;	  /* one of those that are parked meanwhile, or NULL */
	unsigned int singles;	  /* reads and writes, each the only request */
	unsigned int busy;	  /* workers whose request is not answered */
	struct cond parked;	  /* the others, until it ends */
	unsigned int gather_rest; /* requests until there may be one again */
	void (*send)(void *arg);  /* what it has held */
	void *arg;
	int device_fd;
	int err;	 /* what went wrong first */
	bool has_large;	 /* a worker has memory that is to be given back some time */
	bool is_stopping;
};

/* send(arg): what was started while loop_is_gathering() is sent. Never blocks. */
void loop_init(struct loop *l, struct fuse_session *session, unsigned int count_max,
	       void (*send)(void *arg), void *arg);
/* Nothing is lent any more. */
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
 * The calling worker's memory, with the data of its request, is the caller's until
 * loop_give_back(): nobody waits for the request, the worker goes on with another piece.
 * NULL: so few requests are under way that it had better wait itself, or there is no
 * memory. For at most LOOP_LENT_MAX bytes of data.
 */
struct loop_memory *loop_lend(void);
/* Without it loop_lend() gives NULL. Cheap. */
bool loop_may_lend(void);
/* Where the data are, and room for LOOP_NOTE_SIZE bytes of the caller's own. */
void *loop_data(struct loop_memory *memory);
void *loop_note(struct loop_memory *memory);
/* From any task. */
void loop_give_back(struct loop_memory *memory);
/* More requests may come at once: what is started may be held until send(). */
bool loop_is_gathering(void);
/* The calling worker will wait for its request: others take what comes meanwhile. */
void loop_will_wait(void);
/* The calling worker's read or write has been done; it is about to answer. Cheap. */
void loop_will_answer(void);
/*
 * The calling worker's request is a write past the kernel's cache of who may not give
 * set-id bits: then the kernel has not taken them off.
 */
bool loop_drops_set_id(void);

#endif
