/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_TARGET_H
#define TESTS_FUZZ_TARGET_H

/* What every target has: the function libFuzzer (or driver/main.c) calls, and a check. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void demand(int is_true)
{
	if (!is_true)
		abort();
}

#endif
