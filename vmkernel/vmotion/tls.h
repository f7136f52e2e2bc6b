/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VMOTION_TLS_H
#define VMKERNEL_VMOTION_TLS_H

/*
 * TLS 1.3 with certificates on both sides, each of the other host's own authority. Keys
 * and certificates are PEM texts. All functions block. SIGPIPE is ignored by who uses it.
 */
#include <stdbool.h>
#include <stdint.h>

struct tls_identity {
	char *key, *cert; /* malloc'ed */
};
void tls_identity_done(struct tls_identity *id);
/* A new authority that signs itself, for ten years. 0, -ENOMEM, -EIO. */
int tls_make_authority(const char *name, struct tls_identity *ret)
	__attribute__((warn_unused_result));
/* A new key, and a certificate of authority for it that is good for a day. As above. */
int tls_issue(const struct tls_identity *authority, const char *name,
	      struct tls_identity *ret) __attribute__((warn_unused_result));

struct tls_options {
	int sock; /* blocking; taken on success */
	bool is_server;
	const struct tls_identity *own;
	const char *peer_authority; /* PEM: the only one whose certificate is good */
	const char *peer_name;	    /* that the certificate must carry */
	unsigned int timeout_ms;    /* of the handshake, and of each write */
};
struct tls;
/* Shakes hands: 0; -EACCES: the peer is not who it should be; -ETIMEDOUT, -ECONNRESET,
   -EPROTO, -ENOMEM; ret_why has the sentence. */
int tls_open(const struct tls_options *options, struct tls **ret, char *ret_why,
	     uint32_t size) __attribute__((warn_unused_result));
/* The socket, to poll; tls_read() first as long as there are bytes from before. */
int tls_sock(const struct tls *t);
bool tls_has_bytes(const struct tls *t);
/* Bytes; 0: the peer has ended in order; -ECONNRESET: without a word; -ETIMEDOUT. */
int64_t tls_read(struct tls *t, void *buf, uint32_t len)
	__attribute__((warn_unused_result));
/* All of it: 0 or -errno. */
int tls_write(struct tls *t, const void *buf, uint32_t len)
	__attribute__((warn_unused_result));
/* What was written is all: 0 or -errno. */
int tls_end(struct tls *t) __attribute__((warn_unused_result));
/* Closes the socket. NULL is allowed. */
void tls_free(struct tls *t);

#endif
