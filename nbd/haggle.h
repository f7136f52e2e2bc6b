/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NBD_HAGGLE_H
#define NBD_HAGGLE_H

/* The negotiation at the start of an NBD connection: bytes in, bytes out, no sockets. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "bdev/bdev.h"

/* What is offered: one disk under one name. */
struct nbd_export {
	const char *name; /* borrowed; the empty name stands for it too */
	struct bdev *bd;  /* borrowed */
	bool is_read_only;
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
/* enum nbd_transmission_flags of an export. */
uint16_t nbd_export_flags(const struct nbd_export *e);

#endif
