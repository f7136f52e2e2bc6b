/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device is told of memory by physical pieces. 1 MiB that was touched by 4 KiB pages
 * is 256 of them: more than many a device takes in one command, and each is pinned,
 * mapped and walked by itself; on one large page it is one piece. For long reads and
 * writes past the kernel's cache that is half of the time and more on some disks.
 *
 *	raw        before                          len
 *	 |  given back  |- - - -|====================================|  given back  |
 *	                        '-- a multiple of LARGE_ALIGN
 *
 * A large page is only given where none of its small ones is there: so who wants one for
 * what was touched before drops it first.
 *
 * Under AddressSanitizer large_alloc() is the allocator's, so that what goes beyond its
 * end is seen.
 */
#include "base/large.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/align.h"
#include "base/buf.h"

#ifdef __SANITIZE_ADDRESS__
#define IS_WATCHED 1
#else
#define IS_WATCHED 0
#endif

static size_t whole(size_t len)
{
	return round_up(len ? len : 1, LARGE_ALIGN);
}

void *large_reserve(size_t before, size_t len)
{
	if (len > SIZE_MAX / 2 || before > SIZE_MAX / 4)
		return NULL;
	size_t all = before + whole(len), slack = LARGE_ALIGN - IO_ALIGN;
	uint8_t *raw = mmap(NULL, all + slack, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (raw == MAP_FAILED)
		return NULL;
	size_t skip = (LARGE_ALIGN - ((uintptr_t)raw + before) % LARGE_ALIGN) %
		      LARGE_ALIGN;
	if (skip)
		(void)munmap(raw, skip);
	if (skip < slack)
		(void)munmap(raw + skip + all, slack - skip);
	uint8_t *mem = raw + skip + before;
	(void)madvise(mem, whole(len), MADV_NOHUGEPAGE);
	return mem;
}

void large_release(void *mem, size_t before, size_t len)
{
	if (mem)
		(void)munmap((uint8_t *)mem - before, before + whole(len));
}

void large_join(void *mem, size_t len)
{
	(void)madvise(mem, whole(len), MADV_DONTNEED);
	(void)madvise(mem, whole(len), MADV_HUGEPAGE); /* where there are any */
}

void large_split(void *mem, size_t len)
{
	(void)madvise(mem, whole(len), MADV_DONTNEED);
	(void)madvise(mem, whole(len), MADV_NOHUGEPAGE);
}

void *large_alloc(size_t len)
{
	if (IS_WATCHED)
		return io_alloc(len);
	void *mem = large_reserve(0, len);
	if (mem)
		(void)madvise(mem, whole(len), MADV_HUGEPAGE);
	return mem;
}

void large_free(void *mem, size_t len)
{
	if (IS_WATCHED)
		free(mem);
	else
		large_release(mem, 0, len);
}
