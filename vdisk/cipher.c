/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-256-XTS by OpenSSL. A context has the expanded key; each call works on a copy of
 * it, because the number of a sector is set in it: tasks need not wait for each other.
 */
#include "vdisk/cipher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/endian.h"
#include "vdisk/extent.h"

struct cipher {
	EVP_CIPHER_CTX *encrypt, *decrypt;
};

int cipher_new(const uint8_t key[static CIPHER_KEY_BYTES], struct cipher **ret_cipher)
{
	const size_t half = CIPHER_KEY_BYTES / 2;
	struct cipher *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	int rc = memcmp(key, key + half, half) ? 0 : -EINVAL;
	c->encrypt = EVP_CIPHER_CTX_new();
	c->decrypt = EVP_CIPHER_CTX_new();
	if (rc == 0 && (!c->encrypt || !c->decrypt ||
			!EVP_EncryptInit_ex(c->encrypt, EVP_aes_256_xts(), NULL, key,
					    NULL) ||
			!EVP_DecryptInit_ex(c->decrypt, EVP_aes_256_xts(), NULL, key,
					    NULL)))
		rc = -ENOMEM;
	if (rc < 0)
		cipher_free(c);
	else
		*ret_cipher = c;
	return rc;
}

void cipher_free(struct cipher *cipher)
{
	if (!cipher)
		return;
	EVP_CIPHER_CTX_free(cipher->encrypt); /* wipes what it frees */
	EVP_CIPHER_CTX_free(cipher->decrypt);
	free(cipher);
}

/* One sector, in place. */
static int run(EVP_CIPHER_CTX *context, uint8_t *bytes, uint64_t sector)
{
	uint8_t tweak[16] = { 0 };
	int len = 0;
	le64 number = le64_of(sector);
	memcpy(tweak, &number, sizeof(number));
	return EVP_CipherInit_ex(context, NULL, NULL, NULL, tweak, -1) &&
			       EVP_CipherUpdate(context, bytes, &len, bytes,
						VDISK_SECTOR) ? 0 : -ENOMEM;
}

int cipher_encrypt(const struct cipher *cipher, void *bytes, uint64_t len, uint64_t first)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	int rc = context && EVP_CIPHER_CTX_copy(context, cipher->encrypt) ? 0 : -ENOMEM;
	for (uint64_t at = 0; at < len && rc == 0; at += VDISK_SECTOR)
		rc = run(context, (uint8_t *)bytes + at, first++);
	EVP_CIPHER_CTX_free(context);
	return rc;
}

int cipher_decrypt(const struct cipher *cipher, void *bytes, uint64_t len, uint64_t first)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	int rc = context && EVP_CIPHER_CTX_copy(context, cipher->decrypt) ? 0 : -ENOMEM;
	for (uint64_t at = 0; at < len && rc == 0; at += VDISK_SECTOR, first++) {
		uint8_t *sector = (uint8_t *)bytes + at;
		if (!vdisk_is_zero((const char *)sector, VDISK_SECTOR))
			rc = run(context, sector, first);
	}
	EVP_CIPHER_CTX_free(context);
	return rc;
}
