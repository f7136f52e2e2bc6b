/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_CHAP_H
#define ISCSI_CHAP_H

/* The arithmetic of CHAP (RFC 1994, RFC 7143 12.1.3): no state. */
#include <stdbool.h>
#include <stdint.h>

#define CHAP_MAX_BYTES 1024u
#define CHAP_TEXT_MAX 67u    /* "0x", 32 bytes in hex, NUL */
#define CHAP_CHALLENGE_MAX 35u /* "0x", 16 bytes in hex, NUL */

/* RFC 7143 12.1.3, IANA's "PPP Authentication Algorithms". */
enum chap_algorithm { CHAP_MD5 = 5, CHAP_SHA1 = 6, CHAP_SHA256 = 7, CHAP_SHA3_256 = 8 };

/*
 * The answer to a challenge as the other side wrote it ("0x..." or base64 "0b..."), in
 * hex with "0x". 0, -EPROTO (not a number, too long), -EOPNOTSUPP (no such algorithm
 * here).
 */
int chap_answer(uint32_t algorithm, uint32_t id, const char *secret,
		const char *challenge, char ret_text[static CHAP_TEXT_MAX])
	__attribute__((warn_unused_result));
/*
 * Is `answer` the one to our challenge? In a time that does not tell how much of it is
 * right. 0, -EACCES (it is not), or as chap_answer().
 */
int chap_check(uint32_t algorithm, uint32_t id, const char *secret, const char *challenge,
	       const char *answer) __attribute__((warn_unused_result));
/*
 * Do the two texts say the same bytes? A side never answers the challenge that it sends
 * (RFC 7143 9.2.1).
 */
bool chap_is_same(const char *a, const char *b);
/* A new challenge of 16 random bytes, in hex with "0x". */
void chap_challenge(char ret_text[static CHAP_CHALLENGE_MAX]);

#endif
