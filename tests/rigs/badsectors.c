/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bad sectors under a program that is linked with --wrap=preadv64v2: each read of a file
 * that touches one of the ranges in BAD_SECTORS ("OFFSET:LENGTH[,OFFSET:LENGTH]...", in
 * bytes) fails with EIO, as a disk's would.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

ssize_t __real_preadv64v2(int file_fd, const struct iovec *iov, int count, off_t off,
			  int flags);
ssize_t __wrap_preadv64v2(int file_fd, const struct iovec *iov, int count, off_t off,
			  int flags);

ssize_t __wrap_preadv64v2(int file_fd, const struct iovec *iov, int count, off_t off,
			  int flags)
{
	unsigned long long from, len, at = (unsigned long long)off, size = 0;
	for (int i = 0; i < count; i++)
		size += iov[i].iov_len;
	for (const char *p = getenv("BAD_SECTORS"); p; p = strchr(p, ',')) {
		p += *p == ',';
		if (sscanf(p, "%llu:%llu", &from, &len) == 2 && at < from + len &&
		    from < at + size) {
			errno = EIO;
			return -1;
		}
	}
	return __real_preadv64v2(file_fd, iov, count, off, flags);
}
