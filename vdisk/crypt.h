/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_CRYPT_H
#define VDISK_CRYPT_H

/* The plain bytes of an encrypted disk, as a device over the encrypted ones. */
#include "vdisk/cipher.h"
#include "vdisk/target.h"

struct crypt;

/*
 * below: what is encrypted, borrowed until crypt_free(). It is locked: what it holds can
 * neither be read nor written, -ENOKEY, until it is given a cipher. 0 or -ENOMEM.
 */
int crypt_new(struct bdev *below, struct crypt **ret_crypt)
	__attribute__((warn_unused_result));
/* Takes cipher. Before anybody uses the device. */
void crypt_unlock(struct crypt *crypt, struct cipher *cipher);
bool crypt_is_locked(const struct crypt *crypt);
struct bdev *crypt_bdev(struct crypt *crypt);
/* NULL is allowed. */
void crypt_free(struct crypt *crypt);

/*
 * Encrypts what goes to below, whose first byte is byte `start` of the disk. Both are
 * borrowed until the new target is freed. 0 or -ENOMEM.
 */
int target_crypt_new(struct vdisk_target *below, const struct cipher *cipher,
		     uint64_t start, struct vdisk_target **ret_target)
	__attribute__((warn_unused_result));

#endif
