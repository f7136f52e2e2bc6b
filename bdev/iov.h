/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_IOV_H
#define BDEV_IOV_H

/* Scattered memory: the few things the devices of this folder do with it. */
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Total bytes. */
uint64_t iov_bytes(const struct iovec *iov, int count);
/*
 * Describes bytes [skip, skip + len) of iov in out, at most max pieces. Returns the
 * number of pieces; *ret_len (may be NULL) is what they cover: less than len only if max
 * was hit.
 */
int iov_slice(const struct iovec *iov, int count, uint64_t skip, uint64_t len,
	      struct iovec *out, int max, uint64_t *ret_len);
/* Bytes [skip, skip + len) of iov into buf, out of buf, to zero. */
void iov_gather(void *buf, const struct iovec *iov, int count, uint64_t skip,
		uint64_t len);
void iov_scatter(const struct iovec *iov, int count, uint64_t skip, const void *buf,
		 uint64_t len);
void iov_zero(const struct iovec *iov, int count, uint64_t skip, uint64_t len);
/*
 * len bytes of zeros, for reading: the number of pieces, of IOV_ZERO_CHUNK or less.
 */
#define IOV_ZERO_CHUNK (64u << 10)
int iov_zeros(struct iovec *iov, uint64_t len);

#endif
