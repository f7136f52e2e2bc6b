/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_NBD_HAGGLE_H
#define VDISK_NBD_HAGGLE_H

/* The negotiation at the start of an NBD connection: bytes in, bytes out, no sockets. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "bdev/bdev.h"
#include "bdev/worker.h"

#define NBD_CONTEXTS_MAX 8u /* that one connection may choose */

/*
 * What else can be asked about the bytes of an export: their state in metadata contexts,
 * each with a name ("base:allocation"). All but find() are called by the server's task
 * and never block.
 */
struct nbd_contexts {
	/* Name i of those that are told to who asks for all; NULL: past the last. */
	const char *(*name)(void *arg, unsigned int i);
	/* 0 and *ret_key, which stands for name in find(); -ENOENT: no such context. */
	int (*choose)(void *arg, const char *name, uint64_t *ret_key);
	/*
	 * The uniform piece at offset, which is inside the export: *ret_len > 0 bytes
	 * (it may reach past what was asked) and the context's flags. Called from any
	 * task, by several at a time; may block if there is a pool.
	 */
	int (*find)(void *arg, uint64_t key, uint64_t offset, uint64_t *ret_len,
		    uint32_t *ret_flags);
	void *arg;
	struct worker_pool *pool; /* find() runs there; NULL: it never blocks */
};

/* What is offered: one disk under one name. */
struct nbd_export {
	const char *name; /* borrowed; the empty name stands for it too */
	struct bdev *bd;  /* borrowed */
	bool is_read_only;
	const struct nbd_contexts *contexts; /* borrowed; NULL: none */
	/* Another takes the place of bd, which is only read, before a client writes. */
	bool is_standby;
};

enum haggle_state {
	HAGGLE_FLAGS,	/* waiting for the client's flags */
	HAGGLE_OPTIONS, /* waiting for an option */
	HAGGLE_DONE,	/* requests follow */
	HAGGLE_CLOSE,	/* send what is there and close */
};

struct haggle {
	enum haggle_state state;
	bool no_zeroes;
	bool is_structured; /* READ is answered in chunks */
	/* What was chosen; the number of a context is its index + 1. */
	uint64_t context_key[NBD_CONTEXTS_MAX];
	unsigned int context_count;
};

/* Puts the server's greeting into out. */
void haggle_start(struct haggle *h, struct buf *out);
/*
 * Takes at most one message from the len bytes at in, adds the answer to out and changes
 * h->state. Returns the bytes used; 0: the message is not complete yet; -EPROTO: the
 * client does not speak the protocol, close.
 */
int64_t haggle_input(struct haggle *h, const struct nbd_export *e, const uint8_t *in,
		     size_t len, struct buf *out) __attribute__((warn_unused_result));

#endif
