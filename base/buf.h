/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

/* A growing byte buffer, and memory aligned for direct I/O. */
#include <stddef.h>
#include <stdint.h>

#define IO_ALIGN 4096u

struct buf {
	char *data; /* always NUL-terminated when not NULL */
	size_t len; /* bytes before the NUL */
	size_t capacity;
	int error; /* 0, or -ENOMEM: sticky, check once at the end */
};

/* A zero-filled struct buf is a valid empty one. */
void buf_done(struct buf *b);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_printf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Drops the first len bytes. */
void buf_consume(struct buf *b, size_t len);

/*
 * Zeroed memory, aligned to IO_ALIGN, length rounded up to it; NULL without memory.
 * free().
 */
void *io_alloc(size_t len);

#endif
