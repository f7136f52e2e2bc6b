/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_CHAP_H
#define ISCSI_CHAP_H

/* The arithmetic of CHAP (RFC 1994, RFC 7143 12.1.3): no state. */
#include <stdbool.h>
#include <stdint.h>

#define CHAP_MAX_BYTES 1024u

enum chap_algorithm { CHAP_MD5 = 5, CHAP_SHA1 = 6, CHAP_SHA256 = 7 };

/*
 * The answer to a challenge as the target wrote it ("0x..." or base64 "0b..."), in hex
 * with "0x". 0, -EPROTO (not a number, too long), -EOPNOTSUPP (no such algorithm here).
 */
int chap_answer(uint32_t algorithm, uint32_t id, const char *secret,
		const char *challenge, char ret_text[static 67])
	__attribute__((warn_unused_result));

#endif
