/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_KEYSLOT_H
#define VDISK_KEYSLOT_H

/*
 * Where an encrypted disk's key is: in its descriptor, wrapped by what the owner knows.
 * Nothing here blocks, but deriving a key takes a good part of a second on purpose.
 *
 *	createType="encrypted:vmfs"	so that programs that do not know this refuse it
 *	ddb.openvmfs.cipher = "aes-256-xts"
 *	ddb.openvmfs.keyId = 32 hex	which key it is: equal in all disks of a chain
 *	ddb.openvmfs.kdf = "pbkdf2-sha256"
 *	ddb.openvmfs.kdfRounds = "600000"
 *	ddb.openvmfs.salt = 64 hex
 *	ddb.openvmfs.key = 184 hex	nonce, the key under AES-256-GCM, its tag
 */
#include "vdisk/cipher.h"
#include "vdisk/descriptor.h"
#include "vdisk/vdisk.h"

/* A key by chance, wrapped by secret, in desc. 0 or -errno (reported). */
int keyslot_make(struct descriptor *desc, const struct vdisk_secret *secret,
		 struct reporter *r, uint8_t ret_key[static CIPHER_KEY_BYTES])
	__attribute__((warn_unused_result));
/* Wraps the key of desc, which it is, anew. */
int keyslot_rewrap(struct descriptor *desc, const uint8_t key[static CIPHER_KEY_BYTES],
		   const struct vdisk_secret *secret, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * The key. All reported: -EUCLEAN, -EOPNOTSUPP: what desc says of it; -EKEYREJECTED: it
 * is another secret that it is wrapped by, or desc was tampered with. name: of the disk.
 */
int keyslot_open(const struct descriptor *desc, const struct vdisk_secret *secret,
		 const char *name, struct reporter *r,
		 uint8_t ret_key[static CIPHER_KEY_BYTES])
	__attribute__((warn_unused_result));
/* Is what desc says of its key well-formed? 0, -EUCLEAN or -EOPNOTSUPP, reported. */
int keyslot_check(const struct descriptor *desc, const char *name, struct reporter *r)
	__attribute__((warn_unused_result));
/* to, a new descriptor, has the key of from, if that has one. */
int keyslot_inherit(struct descriptor *to, const struct descriptor *from)
	__attribute__((warn_unused_result));
/* true if what one has encrypted the other can read: also if neither is encrypted. */
bool keyslot_is_same(const struct descriptor *a, const struct descriptor *b);

#endif
