/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/memfault.h"

#include <stdlib.h>

struct memfault memfault;

void memfault_arm(uint64_t fail_at, bool is_for_ever)
{
	memfault.count = 0;
	memfault.fail_at = fail_at;
	memfault.is_for_ever = is_for_ever;
	memfault.is_armed = true;
}

void memfault_disarm(void)
{
	memfault.is_armed = false;
}

void *faulty_malloc(size_t size);
void *faulty_calloc(size_t n, size_t size);
void *faulty_realloc(void *p, size_t size);
void *faulty_reallocarray(void *p, size_t n, size_t size);
void *faulty_aligned_alloc(size_t align, size_t size);
void faulty_free(void *p);

static bool is_refused(void)
{
	if (!memfault.is_armed)
		return false;
	memfault.count++;
	if (memfault.fail_at == 0 || memfault.count < memfault.fail_at)
		return false;
	return memfault.count == memfault.fail_at || memfault.is_for_ever;
}

static void *counted(void *p)
{
	memfault.live += p != NULL;
	return p;
}

void *faulty_malloc(size_t size)
{
	return is_refused() ? NULL : counted(malloc(size));
}

void *faulty_calloc(size_t n, size_t size)
{
	return is_refused() ? NULL : counted(calloc(n, size));
}

void *faulty_realloc(void *p, size_t size)
{
	if (is_refused())
		return NULL;
	return p ? realloc(p, size) : counted(realloc(p, size));
}

void *faulty_reallocarray(void *p, size_t n, size_t size)
{
	if (is_refused())
		return NULL;
	return p ? reallocarray(p, n, size) : counted(reallocarray(p, n, size));
}

void *faulty_aligned_alloc(size_t align, size_t size)
{
	return is_refused() ? NULL : counted(aligned_alloc(align, size));
}

void faulty_free(void *p)
{
	memfault.live -= p != NULL;
	free(p);
}
