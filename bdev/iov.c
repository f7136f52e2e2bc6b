/* SPDX-License-Identifier: Apache-2.0 */
/* Scattered memory. One walker, three things to do at each piece; and zeros. */
#include "bdev/iov.h"

#include <assert.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"

uint64_t iov_bytes(const struct iovec *iov, int count)
{
	uint64_t n = 0;
	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

int iov_slice(const struct iovec *iov, int count, uint64_t skip, uint64_t len,
	      struct iovec *out, int max, uint64_t *ret_len)
{
	int n = 0;
	uint64_t covered = 0;
	for (int i = 0; i < count && covered < len && n < max; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		uint64_t piece = iov[i].iov_len - skip;
		if (piece > len - covered)
			piece = len - covered;
		out[n].iov_base = (char *)iov[i].iov_base + skip;
		out[n].iov_len = piece;
		n++;
		covered += piece;
		skip = 0;
	}
	if (ret_len)
		*ret_len = covered;
	return n;
}

void iov_gather(void *buf, const struct iovec *iov, int count, uint64_t skip,
		uint64_t len)
{
	char *to = buf;
	while (len) {
		struct iovec v;
		uint64_t piece;
		int n = iov_slice(iov, count, skip, len, &v, 1, &piece);
		assert(n == 1);
		(void)memcpy(to, v.iov_base, piece);
		to += piece;
		skip += piece;
		len -= piece;
	}
}

void iov_scatter(const struct iovec *iov, int count, uint64_t skip, const void *buf,
		 uint64_t len)
{
	const char *from = buf;
	while (len) {
		struct iovec v;
		uint64_t piece;
		int n = iov_slice(iov, count, skip, len, &v, 1, &piece);
		assert(n == 1);
		(void)memcpy(v.iov_base, from, piece);
		from += piece;
		skip += piece;
		len -= piece;
	}
}

void iov_zero(const struct iovec *iov, int count, uint64_t skip, uint64_t len)
{
	while (len) {
		struct iovec v;
		uint64_t piece;
		int n = iov_slice(iov, count, skip, len, &v, 1, &piece);
		assert(n == 1);
		(void)memset(v.iov_base, 0, piece);
		skip += piece;
		len -= piece;
	}
}

int iov_zeros(struct iovec *iov, uint64_t len)
{
	static const uint8_t zeros[IOV_ZERO_CHUNK] __attribute__((aligned(IO_ALIGN)));
	int n = 0;
	for (; len; n++) {
		iov[n].iov_base = (void *)(uintptr_t)zeros;
		iov[n].iov_len = min_u64(len, IOV_ZERO_CHUNK);
		len -= iov[n].iov_len;
	}
	return n;
}
