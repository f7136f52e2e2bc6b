/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ALIGN_H
#define BASE_ALIGN_H

/* Rounding and checked arithmetic. */
#include <stdbool.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Down, up to a multiple of unit (any positive number); up may not overflow. */
static inline uint64_t round_down(uint64_t n, uint64_t unit)
{
	return n - n % unit;
}

static inline uint64_t round_up(uint64_t n, uint64_t unit)
{
	return n % unit ? n + (unit - n % unit) : n;
}

static inline uint64_t div_up(uint64_t n, uint64_t unit)
{
	return n / unit + (n % unit != 0);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* true and *ret = a + b (a * b) if it fits; for every number that comes from a disk. */
static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *ret)
{
	return !__builtin_add_overflow(a, b, ret);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
	return !__builtin_mul_overflow(a, b, ret);
}

#endif
