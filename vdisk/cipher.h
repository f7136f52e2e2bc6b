/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_CIPHER_H
#define VDISK_CIPHER_H

/*
 * What an encrypted disk's bytes go through: AES-256 in XTS mode (IEEE 1619), each sector
 * of 512 bytes a data unit of its own, whose number is the sector's on the disk. So two
 * equal sectors differ on the storage, and one that is moved there reads as noise.
 *
 * A sector of the storage that is all zeros reads as zeros: holes, blocks that were
 * given back and zeroes that the storage wrote need no key. (A written sector becomes all
 * zeros once in 2^4096.) Who sees the storage sees where these are, as with any encrypted
 * disk that gives room back.
 *
 * XTS hides what is there, it does not notice what was changed: a sector that somebody
 * overwrites reads as noise or, with old bytes of its own place, as it was.
 */
#include <stdint.h>

#define CIPHER_NAME "aes-256-xts"
#define CIPHER_KEY_BYTES 64u /* two keys of 256 bits */

struct cipher;

/* 0; -EINVAL: the two halves of key are equal; -ENOMEM. key is copied. */
int cipher_new(const uint8_t key[static CIPHER_KEY_BYTES], struct cipher **ret_cipher)
	__attribute__((warn_unused_result));
/* Forgets the key. NULL is allowed. */
void cipher_free(struct cipher *cipher);
/*
 * len bytes, whole sectors, of which the first is sector `first` of the disk, in place.
 * 0 or -ENOMEM. Any task; does not block.
 */
int cipher_encrypt(const struct cipher *cipher, void *bytes, uint64_t len, uint64_t first)
	__attribute__((warn_unused_result));
int cipher_decrypt(const struct cipher *cipher, void *bytes, uint64_t len, uint64_t first)
	__attribute__((warn_unused_result));

#endif
