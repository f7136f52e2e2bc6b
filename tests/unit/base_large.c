/* SPDX-License-Identifier: Apache-2.0 */
/* Memory on large pages (base/large.h), as /proc/self/smaps tells of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/large.h"

#define BEFORE ((size_t)IO_ALIGN)
#define LEN ((size_t)3 << 20)
#define WHOLE (2 * (size_t)LARGE_ALIGN)

/*
 * What the row of a file of the kernel's says, of the mapping with mem if there is one.
 */
static uint64_t told(const char *path, const void *mem, const char *row)
{
	FILE *file = fopen(path, "re");
	char line[256], name[64];
	uintptr_t from, to;
	uint64_t n, sum = 0;
	bool is_in = !mem;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (mem && sscanf(line, "%lx-%lx", &from, &to) == 2)
			is_in = (uintptr_t)mem >= from && (uintptr_t)mem < to;
		else if (is_in && sscanf(line, "%63s %lu", name, &n) == 2 &&
			 strcmp(name, row) == 0)
			sum = n;
	}
	(void)fclose(file);
	return sum;
}

/* Bytes of it that are in memory, or -1: it is not ours. */
static int64_t resident(const uint8_t *mem, size_t len)
{
	uint8_t pages[WHOLE / IO_ALIGN];
	int64_t sum = 0;

	assert_true(len <= WHOLE);
	if (mincore((void *)(uintptr_t)mem, len, pages) < 0)
		return -1;
	for (size_t i = 0; i < len / IO_ALIGN; i++)
		sum += pages[i] & 1 ? IO_ALIGN : 0;
	return sum;
}

static bool are_given(void)
{
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
	char line[128] = "";
	bool is = file && fgets(line, sizeof(line), file) && !strstr(line, "[never]");

	if (file)
		(void)fclose(file);
#ifdef __SANITIZE_ADDRESS__
	is = false; /* it is the allocator's */
#endif
	return is;
}

static void is_zeroed_aligned_and_ours_to_the_end(void **state)
{
	(void)state;
	for (size_t len = 0; len <= LEN; len += LEN / 3) {
		uint8_t *mem = large_alloc(len);
		assert_non_null(mem);
		assert_int_equal((uintptr_t)mem % IO_ALIGN, 0);
		for (size_t at = 0; at < len; at++)
			if (mem[at])
				fail();
		(void)memset(mem, 0xa5, len);
		large_free(mem, len);
	}
	large_free(NULL, LEN);
}

static void is_on_large_pages(void **state)
{
	(void)state;
	if (!are_given())
		skip();
	uint64_t failed = told("/proc/vmstat", NULL, "thp_fault_fallback");
	uint8_t *mem = large_alloc(LEN);
	assert_non_null(mem);
	assert_int_equal((uintptr_t)mem % LARGE_ALIGN, 0);
	(void)memset(mem, 1, LEN);
	if (told("/proc/self/smaps", mem, "AnonHugePages:"))
		assert_int_equal(resident(mem, WHOLE), WHOLE);
	else /* none was free */
		assert_true(told("/proc/vmstat", NULL, "thp_fault_fallback") > failed);
	large_free(mem, LEN);
}

static void small_until_joined_and_none_when_split(void **state)
{
	(void)state;
	uint8_t *mem = large_reserve(BEFORE, LEN);
	assert_non_null(mem);
	assert_int_equal((uintptr_t)mem % LARGE_ALIGN, 0);
	(void)memset(mem - BEFORE, 7, BEFORE);
	mem[0] = 1;
	assert_int_equal(resident(mem, WHOLE), IO_ALIGN);
	large_join(mem, LEN);
	assert_int_equal(mem[0], 0);
	(void)memset(mem, 2, LEN);
	assert_true(resident(mem, WHOLE) >= (int64_t)LEN);
	large_split(mem, LEN);
	assert_int_equal(resident(mem, WHOLE), 0);
	mem[LEN - 1] = 3;
	assert_int_equal(resident(mem, WHOLE), IO_ALIGN);
	assert_int_equal(mem[0], 0);
	assert_int_equal(mem[-1], 7);
	large_release(mem, BEFORE, LEN);
	assert_int_equal(resident(mem - BEFORE, BEFORE), -1);
	assert_int_equal(resident(mem, WHOLE), -1);
	assert_null(large_reserve(BEFORE, SIZE_MAX));
	assert_null(large_reserve(BEFORE, SIZE_MAX / 4));
	large_release(NULL, BEFORE, LEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_zeroed_aligned_and_ours_to_the_end),
		cmocka_unit_test(is_on_large_pages),
		cmocka_unit_test(small_until_joined_and_none_when_split),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
