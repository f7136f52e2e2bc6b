/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a check does not depend on how large files are: as many files of 64 MiB
 * and of 8 TiB, on volumes of one size. Counted is what fsck asks for, at its most.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/testvol.h"
#include "tests/lib/wreck.h"

#define PES 64u
#define FILES 16u
#define PIECES 48u /* of each file, of one block */
#define BLOCK (1ull << 20)
#define SMALL (64ull << 20)
#define LARGE (8ull << 40)
/*
 * More pointer blocks are on their way at a time. All that the large files have of them
 * are 50 MiB on VMFS-6, and one bit for each of their blocks would be 16 MiB.
 */
#define SLACK (4 << 20)

/* ---- what is asked for ---- */

static _Atomic int64_t in_use, most;

static void *count(void *p)
{
	int64_t now = atomic_fetch_add(&in_use, (int64_t)malloc_usable_size(p)) +
		      (int64_t)malloc_usable_size(p);
	int64_t was = most;
	while (now > was && !atomic_compare_exchange_weak(&most, &was, now))
		;
	return p;
}

static void discount(void *p)
{
	atomic_fetch_sub(&in_use, (int64_t)malloc_usable_size(p));
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
	return count(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return count(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
	discount(p);
	return count(__real_realloc(p, size));
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	discount(p);
	return count(__real_reallocarray(p, n, size));
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return count(__real_aligned_alloc(align, size));
}

void __wrap_free(void *p)
{
	discount(p);
	__real_free(p);
}

/* ---- files ---- */

static void fill(struct vmfs_volume *vol, uint64_t size)
{
	static const struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE, .mode = 0644
	};
	static uint8_t sector[VMFS_SECTOR_SIZE] = { 1 };
	for (unsigned int i = 0; i < FILES; i++) {
		struct vmfs_file *file;
		char path[32];
		(void)snprintf(path, sizeof(path), "/file%u", i);
		assert_int_equal(vmfs_file_open(vol, path, &options, &file, NULL), 0);
		for (uint64_t k = 1; k <= PIECES; k++)
			assert_int_equal(vmfs_file_write(file, sector, sizeof(sector),
							 size / PIECES * k -
								 sizeof(sector)),
					 0);
		assert_int_equal(vmfs_file_close(file), 0);
	}
}

/* How much a check of a volume with such files asks for at its most. */
static int64_t most_for(uint32_t version, uint64_t size)
{
	static struct findings all;
	struct fsck_summary summary;
	struct testvol tv;
	testvol_new_version(&tv, version, PES);
	fill(tv.vol, size);
	testvol_unmount(&tv);
	int64_t before = in_use;
	most = before;
	assert_int_equal(wreck_check(&tv.bd, 1, &all, &summary), 0);
	int64_t needed = most - before;
	assert_int_equal(summary.errors + summary.warnings, 0);
	assert_int_equal(summary.file_count, FILES);
	assert_int_equal(in_use, before);
	testvol_free(&tv);
	return needed;
}

static void a_check_needs_no_more_for_larger_files(void **state)
{
	(void)state;
	for (uint32_t version = 5; version <= 6; version++) {
		int64_t small = most_for(version, SMALL),
			large = most_for(version, LARGE);
		print_message(
			"# VMFS-%u: %lld KiB for %u files of 64 MiB, %lld of 8 TiB\n",
			version, (long long)small >> 10, FILES, (long long)large >> 10);
		assert_true(small > 0 && large < small + SLACK);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_check_needs_no_more_for_larger_files),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
