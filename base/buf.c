/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer.
 *
 * Invariants: data is NULL and capacity 0, or len < capacity and data[len] is NUL. After
 * the first failed allocation error stays set, what was added before stays, and nothing
 * more is added: a caller checks once, at the end.
 */
#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"

#define FIRST_CAPACITY 256u

/* Room for more bytes and the NUL; false if error is set. */
static bool reserve(struct buf *b, size_t more)
{
	if (b->error)
		return false;
	size_t needed;
	if (__builtin_add_overflow(b->len, more, &needed) ||
	    __builtin_add_overflow(needed, 1, &needed)) {
		b->error = -ENOMEM;
		return false;
	}
	if (needed <= b->capacity)
		return true;
	size_t capacity = b->capacity ? b->capacity : FIRST_CAPACITY;
	while (capacity < needed) {
		if (__builtin_mul_overflow(capacity, 2, &capacity))
			capacity = needed;
	}
	char *data = realloc(b->data, capacity);
	if (!data) {
		b->error = -ENOMEM;
		return false;
	}
	b->data = data;
	b->capacity = capacity;
	b->data[b->len] = '\0';
	return true;
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	if (!reserve(b, len))
		return;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0) {
		b->error = b->error ? b->error : -ENOMEM;
	} else if (reserve(b, (size_t)len)) {
		(void)vsnprintf(b->data + b->len, (size_t)len + 1, fmt, again);
		b->len += (size_t)len;
	}
	va_end(again);
}

void buf_consume(struct buf *b, size_t len)
{
	assert(len <= b->len);
	if (!b->data || !len)
		return;
	b->len -= len;
	memmove(b->data, b->data + len, b->len + 1);
}

void *io_alloc(size_t len)
{
	size_t size;
	if (__builtin_add_overflow(len, IO_ALIGN - 1, &size))
		return NULL;
	size = size / IO_ALIGN * IO_ALIGN;
	if (size == 0)
		size = IO_ALIGN;
	void *p = aligned_alloc(IO_ALIGN, size);
	if (p)
		memset(p, 0, size);
	return p;
}

void *io_small_get(struct io_small *small, size_t len, size_t align)
{
	bool is_small = len <= sizeof(small->bytes) && align <= IO_SMALL_ALIGN;
	return is_small ? small->bytes : io_alloc(len);
}

void io_small_put(struct io_small *small, void *mem)
{
	if (mem != small->bytes)
		free(mem);
}
