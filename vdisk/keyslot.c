/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wrapping: the secret is stretched by PBKDF2 with a salt of its own each time, and what
 * comes out is the key of one AES-256-GCM encryption, never of another; what stands
 * beside it in the descriptor (cipher, key id) is authenticated with it. So a wrong
 * secret and a changed descriptor both show, and neither tells anything of the key.
 *
 * Descriptors are anybody's: rounds are bounded, so that opening one ends.
 */
#include "vdisk/keyslot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"

#define KDF_NAME "pbkdf2-sha256"
#define ROUNDS 600000u
#define WRAP_BYTES 32u
#define ID_BYTES 16u
#define SALT_BYTES 32u
#define NONCE_BYTES 12u
#define TAG_BYTES 16u
#define WRAPPED_BYTES (NONCE_BYTES + CIPHER_KEY_BYTES + TAG_BYTES)

#define KEY_CIPHER "ddb.openvmfs.cipher"
#define KEY_ID "ddb.openvmfs.keyId"
#define KEY_KDF "ddb.openvmfs.kdf"
#define KEY_ROUNDS "ddb.openvmfs.kdfRounds"
#define KEY_SALT "ddb.openvmfs.salt"
#define KEY_KEY "ddb.openvmfs.key"

static const char *const keys[] = { KEY_CIPHER, KEY_ID,	  KEY_KDF,
				    KEY_ROUNDS, KEY_SALT, KEY_KEY };

struct keyslot {
	uint8_t id[ID_BYTES], salt[SALT_BYTES], wrapped[WRAPPED_BYTES];
	uint32_t rounds;
};

/* ---- the descriptor's form ---- */

static bool parse_bytes(const char *text, uint8_t *bytes, size_t len)
{
	if (!text || strlen(text) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = parse_hex_digit(text[2 * i]);
		int low = parse_hex_digit(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static int set_bytes(struct descriptor *desc, const char *key, const uint8_t *bytes,
		     size_t len)
{
	char text[2 * WRAPPED_BYTES + 1];
	for (size_t i = 0; i < len; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return descriptor_set(desc, key, text);
}

static int wrong(struct reporter *r, const char *name, const char *key, const char *value)
{
	return report_error(r, -EUCLEAN, "%s: is encrypted, and its %s is '%.40s'", name,
			    key, value ? value : "");
}

static int parse(const struct descriptor *desc, const char *name, struct reporter *r,
		 struct keyslot *ret_slot)
{
	const char *value[ARRAY_SIZE(keys)];
	uint64_t rounds = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(keys); i++)
		value[i] = descriptor_get(desc, keys[i]);
	if (!value[0] || strcmp(value[0], CIPHER_NAME) != 0)
		return report_error(r, -EOPNOTSUPP, "%s: is encrypted by '%.40s', which"
				    " is not known", name, value[0] ? value[0] : "");
	if (!value[2] || strcmp(value[2], KDF_NAME) != 0)
		return report_error(r, -EOPNOTSUPP, "%s: its key is wrapped by '%.40s',"
				    " which is not known", name,
				    value[2] ? value[2] : "");
	if (!parse_bytes(value[1], ret_slot->id, ID_BYTES))
		return wrong(r, name, KEY_ID, value[1]);
	if (!value[3] || parse_u64(value[3], VDISK_ROUNDS_MAX, &rounds) < 0 || !rounds)
		return wrong(r, name, KEY_ROUNDS, value[3]);
	if (!parse_bytes(value[4], ret_slot->salt, SALT_BYTES))
		return wrong(r, name, KEY_SALT, value[4]);
	if (!parse_bytes(value[5], ret_slot->wrapped, WRAPPED_BYTES))
		return wrong(r, name, KEY_KEY, value[5]);
	ret_slot->rounds = (uint32_t)rounds;
	return 0;
}

static int store(struct descriptor *desc, const struct keyslot *slot)
{
	char rounds[16];
	(void)snprintf(rounds, sizeof(rounds), "%" PRIu32, slot->rounds);
	int rc = descriptor_set(desc, KEY_CIPHER, CIPHER_NAME);
	if (rc == 0)
		rc = set_bytes(desc, KEY_ID, slot->id, ID_BYTES);
	if (rc == 0)
		rc = descriptor_set(desc, KEY_KDF, KDF_NAME);
	if (rc == 0)
		rc = descriptor_set(desc, KEY_ROUNDS, rounds);
	if (rc == 0)
		rc = set_bytes(desc, KEY_SALT, slot->salt, SALT_BYTES);
	return rc ? rc : set_bytes(desc, KEY_KEY, slot->wrapped, WRAPPED_BYTES);
}

/* ---- wrapping ---- */

static int derive(const struct keyslot *slot, const struct vdisk_secret *secret,
		  uint8_t wrap[static WRAP_BYTES])
{
	return PKCS5_PBKDF2_HMAC((const char *)secret->bytes, (int)secret->len,
				 slot->salt, SALT_BYTES, (int)slot->rounds, EVP_sha256(),
				 WRAP_BYTES, wrap) ? 0 : -ENOMEM;
}

/* What is authenticated with the key: its id, and what it is for. */
static bool begin(EVP_CIPHER_CTX *context, const struct keyslot *slot,
		  const uint8_t *wrap, int is_encrypting)
{
	static const uint8_t name[] = CIPHER_NAME;
	int len;
	return context &&
	       EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, wrap, slot->wrapped,
				 is_encrypting) &&
	       EVP_CipherUpdate(context, NULL, &len, name, sizeof(name)) &&
	       EVP_CipherUpdate(context, NULL, &len, slot->id, ID_BYTES);
}

static int wrap_key(struct keyslot *slot, const uint8_t *key,
		    const struct vdisk_secret *secret)
{
	uint8_t wrap[WRAP_BYTES], *at = slot->wrapped + NONCE_BYTES;
	int len = 0, rc = derive(slot, secret, wrap);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	if (rc == 0 && (!begin(context, slot, wrap, 1) ||
			!EVP_CipherUpdate(context, at, &len, key, CIPHER_KEY_BYTES) ||
			!EVP_CipherFinal_ex(context, at + len, &len) ||
			!EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES,
					     at + CIPHER_KEY_BYTES)))
		rc = -ENOMEM;
	EVP_CIPHER_CTX_free(context);
	OPENSSL_cleanse(wrap, sizeof(wrap));
	return rc;
}

/* -EKEYREJECTED: the tag does not fit. */
static int unwrap_key(struct keyslot *slot, const struct vdisk_secret *secret,
		      uint8_t *key)
{
	uint8_t wrap[WRAP_BYTES], *at = slot->wrapped + NONCE_BYTES;
	int len = 0, rc = derive(slot, secret, wrap);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	if (rc == 0 && (!begin(context, slot, wrap, 0) ||
			!EVP_CipherUpdate(context, key, &len, at, CIPHER_KEY_BYTES) ||
			!EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES,
					     at + CIPHER_KEY_BYTES)))
		rc = -ENOMEM;
	if (rc == 0 && EVP_CipherFinal_ex(context, key + len, &len) <= 0)
		rc = -EKEYREJECTED;
	EVP_CIPHER_CTX_free(context);
	OPENSSL_cleanse(wrap, sizeof(wrap));
	if (rc < 0)
		OPENSSL_cleanse(key, CIPHER_KEY_BYTES);
	return rc;
}

static int seal(struct descriptor *desc, struct keyslot *slot, const uint8_t *key,
		const struct vdisk_secret *secret)
{
	random_bytes(slot->salt, SALT_BYTES);
	random_bytes(slot->wrapped, NONCE_BYTES);
	slot->rounds = secret->rounds ? secret->rounds : ROUNDS;
	int rc = wrap_key(slot, key, secret);
	return rc ? rc : store(desc, slot);
}

/* ---- for others ---- */

int keyslot_make(struct descriptor *desc, const struct vdisk_secret *secret,
		 struct reporter *r, uint8_t ret_key[static CIPHER_KEY_BYTES])
{
	struct keyslot slot;
	if (secret->len == 0)
		return report_error(r, -EINVAL, "the key of an encrypted disk is empty");
	random_bytes(slot.id, ID_BYTES);
	random_bytes(ret_key, CIPHER_KEY_BYTES);
	return seal(desc, &slot, ret_key, secret);
}

int keyslot_rewrap(struct descriptor *desc, const uint8_t key[static CIPHER_KEY_BYTES],
		   const struct vdisk_secret *secret, struct reporter *r)
{
	struct keyslot slot;
	int rc = parse(desc, "descriptor", r, &slot);
	if (rc == 0 && secret->len == 0)
		rc = report_error(r, -EINVAL, "the new key of the disk is empty");
	return rc ? rc : seal(desc, &slot, key, secret);
}

int keyslot_open(const struct descriptor *desc, const struct vdisk_secret *secret,
		 const char *name, struct reporter *r,
		 uint8_t ret_key[static CIPHER_KEY_BYTES])
{
	struct keyslot slot;
	int rc = parse(desc, name, r, &slot);
	if (rc == 0)
		rc = unwrap_key(&slot, secret, ret_key);
	if (rc == -EKEYREJECTED)
		(void)report_error(r, rc, "%s: is encrypted, and this is not its key",
				   name);
	return rc;
}

int keyslot_check(const struct descriptor *desc, const char *name, struct reporter *r)
{
	struct keyslot slot;
	return parse(desc, name, r, &slot);
}

int keyslot_inherit(struct descriptor *to, const struct descriptor *from)
{
	int rc = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(keys) && rc == 0; i++) {
		const char *value = descriptor_get(from, keys[i]);
		if (value)
			rc = descriptor_set(to, keys[i], value);
	}
	return rc;
}

bool keyslot_is_same(const struct descriptor *a, const struct descriptor *b)
{
	const char *one = descriptor_get(a, KEY_ID), *other = descriptor_get(b, KEY_ID);
	if (!descriptor_is_encrypted(a) || !descriptor_is_encrypted(b))
		return descriptor_is_encrypted(a) == descriptor_is_encrypted(b);
	return one && other && !strcasecmp(one, other);
}
