/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a disk's bytes become plain: above everything else. The extents, the deltas of a
 * chain, what is merged, punched, grown, checked, tracked: all of it has the encrypted
 * bytes, at the places where the plain ones would be, and knows of no key. All disks of a
 * chain have one key, so that a piece means the same in whichever of them it lies.
 *
 *	vdisk_bdev():  plain      READ: read, decrypt     WRITE: encrypt, write
 *	                 |        ZERO, UNMAP, FLUSH: as they are (cipher.h: zeros)
 *	disk->bdev:   encrypted
 *
 * Invariants:
 * 1. The caller's memory is never written but with plain bytes, nor read twice: a guest
 *    that changes what it has told to write is not shown anything by that.
 * 2. What is to be encrypted or decrypted is never mapped: it goes through rw(), on the
 *    workers of whoever submits.
 */
#include "vdisk/crypt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "bdev/iov.h"

#define PART_BYTES (1u << 20) /* of a long io, and so of memory, at once */

struct crypt {
	struct bdev bdev; /* first: the ops find the rest through it */
	struct bdev *below;
	struct cipher *cipher; /* NULL: locked */
};

/* Invariant 2; what needs no key could be mapped, and is rare. */
static int crypt_map(struct bdev *bd, const struct bdev_io *io,
		     struct bdev_extent *ret_extent)
{
	(void)bd, (void)ret_extent;
	return io->op == BDEV_CAW ? -EOPNOTSUPP : -EAGAIN;
}

/* Bytes [done, done + len) of whole, through buf. */
static int rw_part(const struct crypt *c, const struct bdev_io *whole, uint64_t done,
		   uint64_t len, void *buf)
{
	struct iovec iov = { buf, len };
	struct bdev_io part = *whole;
	uint64_t sector = (whole->offset + done) / VDISK_SECTOR;
	int rc = 0;
	part.offset = whole->offset + done;
	part.len = len;
	part.iov = &iov;
	part.iovcnt = 1;
	part.channel = NULL;
	if (whole->op == BDEV_WRITE) {
		iov_gather(buf, whole->iov, whole->iovcnt, done, len);
		rc = cipher_encrypt(c->cipher, buf, len, sector);
	}
	if (rc == 0)
		rc = bdev_run(c->below, &part);
	if (rc == 0 && whole->op == BDEV_READ) {
		rc = cipher_decrypt(c->cipher, buf, len, sector);
		if (rc == 0)
			iov_scatter(whole->iov, whole->iovcnt, done, buf, len);
	}
	return rc;
}

static int crypt_rw(struct bdev *bd, struct bdev_io *io)
{
	struct crypt *c = (struct crypt *)bd;
	int rc = 0;
	if (io->op == BDEV_CAW)
		return -EOPNOTSUPP;
	if (io->op == BDEV_FLUSH || io->len == 0) {
		struct bdev_io inner = *io;
		inner.channel = NULL;
		return bdev_run(c->below, &inner);
	}
	if (!c->cipher) /* a disk whose key is not known is not even wiped by mistake */
		return -ENOKEY;
	if (io->op != BDEV_READ && io->op != BDEV_WRITE) {
		struct bdev_io inner = *io;
		inner.channel = NULL;
		return bdev_run(c->below, &inner);
	}
	char *buf = io_alloc(min_u64(io->len, PART_BYTES));
	if (!buf)
		return -ENOMEM;
	for (uint64_t done = 0; done < io->len && rc == 0; done += PART_BYTES)
		rc = rw_part(c, io, done, min_u64(io->len - done, PART_BYTES), buf);
	free(buf);
	return rc;
}

static void crypt_close(struct bdev *bd)
{
	(void)bd; /* crypt_free() frees it */
}

static const struct bdev_ops crypt_ops = {
	.map = crypt_map, .rw = crypt_rw, .close = crypt_close
};

int crypt_new(struct bdev *below, struct crypt **ret_crypt)
{
	struct crypt *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->below = below;
	c->bdev.ops = &crypt_ops;
	memcpy(c->bdev.name, below->name, sizeof(c->bdev.name));
	c->bdev.size = below->size;
	c->bdev.block_size = VDISK_SECTOR;
	c->bdev.memory_align = 1;
	c->bdev.minds_changes = below->minds_changes;
	c->bdev.is_read_only = below->is_read_only;
	c->bdev.has_write_cache = below->has_write_cache;
	c->bdev.has_unmap = below->has_unmap;
	c->bdev.has_write_zeroes = below->has_write_zeroes;
	c->bdev.reporter = below->reporter;
	*ret_crypt = c;
	return 0;
}

void crypt_unlock(struct crypt *crypt, struct cipher *cipher)
{
	crypt->cipher = cipher;
}

bool crypt_is_locked(const struct crypt *crypt)
{
	return !crypt->cipher;
}

struct bdev *crypt_bdev(struct crypt *crypt)
{
	return &crypt->bdev;
}

void crypt_free(struct crypt *crypt)
{
	if (!crypt)
		return;
	cipher_free(crypt->cipher);
	free(crypt);
}

/* ---- what a new disk is filled through ---- */

struct crypt_target {
	struct vdisk_target base;
	struct vdisk_target *below;
	const struct cipher *cipher;
	uint64_t start;
};

static int crypt_write(struct vdisk_target *target, const void *bytes, uint64_t len,
		       uint64_t offset)
{
	const struct crypt_target *t = (struct crypt_target *)target;
	char *buf = io_alloc(len);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, bytes, len);
	int rc = cipher_encrypt(t->cipher, buf, len, (t->start + offset) / VDISK_SECTOR);
	if (rc == 0)
		rc = t->below->write(t->below, buf, len, offset);
	free(buf);
	return rc;
}

static int crypt_skip(struct vdisk_target *target, uint64_t len, uint64_t offset)
{
	struct vdisk_target *below = ((struct crypt_target *)target)->below;
	return below->skip(below, len, offset);
}

static int crypt_finish(struct vdisk_target *target)
{
	struct vdisk_target *below = ((struct crypt_target *)target)->below;
	return below->finish(below);
}

static void crypt_target_free(struct vdisk_target *target)
{
	free(target);
}

int target_crypt_new(struct vdisk_target *below, const struct cipher *cipher,
		     uint64_t start, struct vdisk_target **ret_target)
{
	struct crypt_target *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	/* No clone(): what the storage copies it cannot encrypt. */
	t->base = (struct vdisk_target){ .unit = below->unit,
					 .write = crypt_write,
					 .skip = crypt_skip,
					 .finish = crypt_finish,
					 .free = crypt_target_free };
	t->below = below;
	t->cipher = cipher;
	t->start = start;
	*ret_target = &t->base;
	return 0;
}
