/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LARGE_H
#define BASE_LARGE_H

/* Memory for long reads and writes, on large pages. */
#include <stddef.h>

#define LARGE_ALIGN (2u << 20) /* a large page, of x86-64 and of arm64 with 4 KiB ones */

/*
 * Zeroed memory, aligned to IO_ALIGN (base/buf.h), on large pages where the system gives
 * some; each that is touched is LARGE_ALIGN bytes of memory, however small len is. NULL
 * without memory. large_free(), with the same length; NULL is nothing.
 */
void *large_alloc(size_t len);
void large_free(void *mem, size_t len);

/*
 * The same, aligned to LARGE_ALIGN, for who has few bytes in it mostly: with that many
 * bytes before it (their pages stay as they are), and on small pages until large_join(),
 * which drops what is in it, as large_split() does: that gives all its pages back, and
 * what is touched then is on small ones again. before: a multiple of IO_ALIGN.
 */
void *large_reserve(size_t before, size_t len);
void large_release(void *mem, size_t before, size_t len);
void large_join(void *mem, size_t len);
void large_split(void *mem, size_t len);

#endif
