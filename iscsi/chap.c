/* SPDX-License-Identifier: Apache-2.0 */
/* CHAP: digest(id byte, secret, challenge). */
#include "iscsi/chap.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/parse.h"

static int read_hex(const char *text, uint8_t *bytes)
{
	size_t digits = strlen(text), len = (digits + 1) / 2;

	if (digits == 0 || len > CHAP_MAX_BYTES)
		return -EPROTO;
	memset(bytes, 0, len);
	for (size_t i = 0; i < digits; i++) {
		int digit = parse_hex_digit(text[i]);
		if (digit < 0)
			return -EPROTO;
		/* An odd number of digits begins with half a byte. */
		size_t place = digits - 1 - i;
		bytes[len - 1 - place / 2] |= (uint8_t)(digit << (place % 2 * 4));
	}
	return (int)len;
}

static int read_base64(const char *text, uint8_t *bytes)
{
	size_t len = strlen(text);

	if (len == 0 || len % 4 || len / 4 * 3 > CHAP_MAX_BYTES)
		return -EPROTO;
	int got = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)len);
	if (got < 0)
		return -EPROTO;
	return got - (text[len - 1] == '=') - (text[len - 2] == '=');
}

/* The bytes of a number as CHAP writes it; their count or -EPROTO. */
static int read_bytes(const char *text, uint8_t bytes[static CHAP_MAX_BYTES + 3])
{
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return read_hex(text + 2, bytes);
	if (text[0] == '0' && (text[1] == 'b' || text[1] == 'B'))
		return read_base64(text + 2, bytes);
	return -EPROTO;
}

static void write_hex(char *text, const uint8_t *bytes, unsigned int len)
{
	text += sprintf(text, "0x");
	for (unsigned int i = 0; i < len; i++)
		text += sprintf(text, "%02x", bytes[i]);
}

static const EVP_MD *digest_of(uint32_t algorithm)
{
	switch (algorithm) {
	case CHAP_MD5:
		return EVP_md5();
	case CHAP_SHA1:
		return EVP_sha1();
	case CHAP_SHA256:
		return EVP_sha256();
	case CHAP_SHA3_256:
		return EVP_sha3_256();
	default:
		return NULL;
	}
}

/* The bytes of the answer, their number, or -EPROTO, -EOPNOTSUPP. */
static int compute(uint32_t algorithm, uint32_t id, const char *secret,
		   const char *challenge, uint8_t digest[static EVP_MAX_MD_SIZE])
{
	const EVP_MD *md = digest_of(algorithm);
	uint8_t bytes[CHAP_MAX_BYTES + 3], id_byte = (uint8_t)id;
	unsigned int digest_len = 0;

	if (!md)
		return -EOPNOTSUPP;
	int len = read_bytes(challenge, bytes);
	if (len < 0)
		return len;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool is_done = context && EVP_DigestInit_ex(context, md, NULL) &&
		       EVP_DigestUpdate(context, &id_byte, 1) &&
		       EVP_DigestUpdate(context, secret, strlen(secret)) &&
		       EVP_DigestUpdate(context, bytes, (size_t)len) &&
		       EVP_DigestFinal_ex(context, digest, &digest_len);
	EVP_MD_CTX_free(context);
	return is_done && digest_len <= 32 ? (int)digest_len : -EOPNOTSUPP;
}

int chap_answer(uint32_t algorithm, uint32_t id, const char *secret,
		const char *challenge, char ret_text[static CHAP_TEXT_MAX])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	int len = compute(algorithm, id, secret, challenge, digest);

	if (len < 0)
		return len;
	write_hex(ret_text, digest, (unsigned int)len);
	return 0;
}

int chap_check(uint32_t algorithm, uint32_t id, const char *secret, const char *challenge,
	       const char *answer)
{
	uint8_t digest[EVP_MAX_MD_SIZE], told[CHAP_MAX_BYTES + 3];
	int len = compute(algorithm, id, secret, challenge, digest);

	if (len < 0)
		return len;
	int told_len = read_bytes(answer, told);
	if (told_len < 0)
		return told_len;
	return told_len == len && CRYPTO_memcmp(digest, told, (size_t)len) == 0 ? 0
										: -EACCES;
}

bool chap_is_same(const char *a, const char *b)
{
	uint8_t a_bytes[CHAP_MAX_BYTES + 3], b_bytes[CHAP_MAX_BYTES + 3];
	int a_len = read_bytes(a, a_bytes), b_len = read_bytes(b, b_bytes);

	return a_len > 0 && a_len == b_len &&
	       memcmp(a_bytes, b_bytes, (size_t)a_len) == 0;
}

void chap_challenge(char ret_text[static CHAP_CHALLENGE_MAX])
{
	uint8_t bytes[16];

	random_bytes(bytes, sizeof(bytes));
	write_hex(ret_text, bytes, sizeof(bytes));
}
