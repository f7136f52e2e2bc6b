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

/*
 * Memory of one small io (two sectors: a compare and write), on its caller's stack, for
 * who has to do without asking for any. io_small_get: small's bytes if len and align (a
 * power of two) allow it, as they are; else io_alloc(len), NULL without memory.
 * io_small_put: gives back what io_small_get gave; NULL is nothing.
 */
#define IO_SMALL_ALIGN 512u
struct io_small {
	_Alignas(IO_SMALL_ALIGN) char bytes[2 * IO_SMALL_ALIGN];
};
void *io_small_get(struct io_small *small, size_t len, size_t align);
void io_small_put(struct io_small *small, void *mem);

#endif
