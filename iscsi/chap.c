/* SPDX-License-Identifier: Apache-2.0 */
/* CHAP: digest(id byte, secret, challenge). */
#include "iscsi/chap.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

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

int chap_answer(uint32_t algorithm, uint32_t id, const char *secret,
		const char *challenge, char ret_text[static 67])
{
	const EVP_MD *md = algorithm == CHAP_MD5      ? EVP_md5()
			   : algorithm == CHAP_SHA1   ? EVP_sha1()
			   : algorithm == CHAP_SHA256 ? EVP_sha256()
						      : NULL;
	uint8_t bytes[CHAP_MAX_BYTES + 3], digest[EVP_MAX_MD_SIZE], id_byte = (uint8_t)id;
	unsigned int digest_len = 0;
	int len;

	if (!md)
		return -EOPNOTSUPP;
	if (challenge[0] == '0' && (challenge[1] == 'x' || challenge[1] == 'X'))
		len = read_hex(challenge + 2, bytes);
	else if (challenge[0] == '0' && (challenge[1] == 'b' || challenge[1] == 'B'))
		len = read_base64(challenge + 2, bytes);
	else
		len = -EPROTO;
	if (len < 0)
		return len;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool is_done = context && EVP_DigestInit_ex(context, md, NULL) &&
		       EVP_DigestUpdate(context, &id_byte, 1) &&
		       EVP_DigestUpdate(context, secret, strlen(secret)) &&
		       EVP_DigestUpdate(context, bytes, (size_t)len) &&
		       EVP_DigestFinal_ex(context, digest, &digest_len);
	EVP_MD_CTX_free(context);
	if (!is_done || digest_len > 32)
		return -EOPNOTSUPP;
	int at = snprintf(ret_text, 67, "0x");
	for (unsigned int i = 0; i < digest_len; i++)
		at += snprintf(ret_text + at, (size_t)(67 - at), "%02x", digest[i]);
	return 0;
}
