/* SPDX-License-Identifier: Apache-2.0 */
/* The growing buffer and aligned memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void empty_buffer_is_valid(void **state)
{
	(void)state;
	struct buf b = { 0 };
	buf_consume(&b, 0);
	buf_add(&b, NULL, 0);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.error, 0);
	buf_done(&b);
	buf_done(&b);
	assert_null(b.data);
}

static void text_grows_and_ends_in_nul(void **state)
{
	(void)state;
	struct buf b = { 0 };
	for (int i = 0; i < 5000; i++) {
		buf_printf(&b, "%d,", i % 10);
		assert_int_equal(b.len, 2 * (i + 1));
		assert_int_equal(b.data[b.len], '\0');
		assert_true(b.capacity > b.len);
	}
	assert_memory_equal(b.data, "0,1,2,", 6);
	assert_string_equal(b.data + b.len - 4, "8,9,");
	buf_done(&b);
}

static void long_print_is_not_cut(void **state)
{
	(void)state;
	struct buf b = { 0 };
	buf_printf(&b, "%*s|", 100000, "x");
	assert_int_equal(b.len, 100001);
	assert_string_equal(b.data + 99999, "x|");
	buf_done(&b);
}

static void bytes_may_hold_nul(void **state)
{
	(void)state;
	struct buf b = { 0 };
	buf_add(&b, "a\0b", 3);
	buf_add(&b, "c", 1);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "a\0bc", 5);
	buf_done(&b);
}

static void consume_drops_the_front(void **state)
{
	(void)state;
	struct buf b = { 0 };
	buf_printf(&b, "hello world");
	buf_consume(&b, 6);
	assert_string_equal(b.data, "world");
	assert_int_equal(b.len, 5);
	buf_consume(&b, 5);
	assert_string_equal(b.data, "");
	buf_printf(&b, "again");
	assert_string_equal(b.data, "again");
	buf_done(&b);
}

/* What cannot fit sets the sticky error and leaves what was there. */
static void error_is_sticky(void **state)
{
	(void)state;
	struct buf b = { 0 };
	buf_printf(&b, "kept");
	buf_add(&b, "x", SIZE_MAX);
	assert_int_equal(b.error, -ENOMEM);
	buf_add(&b, "more", 4);
	buf_printf(&b, "more");
	assert_string_equal(b.data, "kept");
	buf_done(&b);
	assert_int_equal(b.error, 0);
}

static void io_memory_is_aligned_and_zero(void **state)
{
	(void)state;
	static const size_t sizes[] = { 0, 1, 512, IO_ALIGN, IO_ALIGN + 1, 1 << 20 };
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t rounded = (sizes[i] + IO_ALIGN - 1) / IO_ALIGN * IO_ALIGN;
		unsigned char *p = io_alloc(sizes[i]);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % IO_ALIGN, 0);
		for (size_t at = 0; at < rounded; at++)
			assert_int_equal(p[at], 0);
		memset(p, 0xff, rounded); /* all of it is ours */
		free(p);
	}
	assert_null(io_alloc(SIZE_MAX));
}

/* Two sectors need no memory, unless the device wants it aligned more. */
static void small_io_needs_no_memory(void **state)
{
	(void)state;
	struct io_small small;
	size_t room = sizeof(small.bytes);

	assert_int_equal((uintptr_t)small.bytes % IO_SMALL_ALIGN, 0);
	for (size_t align = 1; align <= IO_SMALL_ALIGN; align *= 2)
		assert_ptr_equal(io_small_get(&small, room, align), small.bytes);
	io_small_put(&small, small.bytes);
	char *longer = io_small_get(&small, room + 1, 1);
	char *wider = io_small_get(&small, room, 2 * IO_SMALL_ALIGN);
	assert_ptr_not_equal(longer, small.bytes);
	assert_ptr_not_equal(wider, small.bytes);
	assert_int_equal((uintptr_t)wider % IO_ALIGN, 0);
	memset(longer, 0xff, room + 1);
	memset(wider, 0xff, room);
	io_small_put(&small, longer);
	io_small_put(&small, wider);
	io_small_put(&small, NULL);
	assert_null(io_small_get(&small, SIZE_MAX, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_buffer_is_valid),
		cmocka_unit_test(text_grows_and_ends_in_nul),
		cmocka_unit_test(long_print_is_not_cut),
		cmocka_unit_test(bytes_may_hold_nul),
		cmocka_unit_test(consume_drops_the_front),
		cmocka_unit_test(error_is_sticky),
		cmocka_unit_test(io_memory_is_aligned_and_zero),
		cmocka_unit_test(small_io_needs_no_memory),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
