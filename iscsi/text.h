/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_TEXT_H
#define ISCSI_TEXT_H

/* key=value text and the negotiation of operational parameters (RFC 7143 6 and 13). */
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "iscsi/session.h"

enum iscsi_key {
	KEY_HEADER_DIGEST,
	KEY_DATA_DIGEST,
	KEY_MAX_RECV, /* declared by each side for itself; value[] is the target's */
	KEY_MAX_BURST,
	KEY_FIRST_BURST,
	KEY_MAX_R2T,
	KEY_MAX_CONNECTIONS,
	KEY_ERROR_RECOVERY,
	KEY_TIME2WAIT,
	KEY_TIME2RETAIN,
	KEY_INITIAL_R2T,
	KEY_IMMEDIATE_DATA,
	KEY_PDU_IN_ORDER,
	KEY_SEQUENCE_IN_ORDER,
	KEY_COUNT,
};

/* One negotiation. Booleans and digests are 0 or 1 (CRC32C). */
struct iscsi_keys {
	uint32_t ours[KEY_COUNT]; /* what we want and offer */
	uint32_t value
		[KEY_COUNT]; /* what holds: the protocol's default, then the result */
	bool is_offered[KEY_COUNT];
	bool is_agreed[KEY_COUNT]; /* an answer was taken or given */
	bool is_discovery;
	enum iscsi_digest digest[2]; /* our wish for KEY_HEADER_DIGEST, KEY_DATA_DIGEST */
};

/* Our offers, and the defaults of RFC 7143 13. */
void iscsi_keys_init(struct iscsi_keys *keys, const struct iscsi_settings *settings,
		     bool is_discovery, enum iscsi_digest header_digest,
		     enum iscsi_digest data_digest);
/* Appends our offer of every key; for discovery only those that matter there. */
void iscsi_keys_offer(struct iscsi_keys *keys, struct buf *out);
/*
 * Takes one key of the target. Its answer to an offer of ours is checked and stored; a
 * key that it offers is decided and answered into out: with Reject if the value is not
 * allowed, Irrelevant if it means nothing in discovery, NotUnderstood if nobody knows it.
 * 0, or -EPROTO: an answer that is not allowed, or a key that was agreed on before.
 */
int iscsi_keys_take(struct iscsi_keys *keys, const char *key, const char *value,
		    struct buf *out) __attribute__((warn_unused_result));

/* The name of a digest that we demand and that was not agreed on, or NULL. */
const char *iscsi_keys_missing(const struct iscsi_keys *keys);

/* Appends "key=value" and the NUL. */
void iscsi_text_add(struct buf *out, const char *key, const char *value);
/*
 * Splits the next pair off text at *pos, writing a NUL over its '='; *ret_key and
 * *ret_value point into text. 1: one found; 0: the end; -EPROTO: not key=value with a
 * NUL.
 */
int iscsi_text_next(char *text, uint32_t len, uint32_t *pos, char **ret_key,
		    char **ret_value) __attribute__((warn_unused_result));
/* true if item is in the comma-separated list. */
bool iscsi_text_has(const char *list, const char *item);

#endif
