/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BITMAP_H
#define BASE_BITMAP_H

/* Bits in bytes, LSB first: the order of every VMFS bitmap. */
#include <stdbool.h>
#include <stdint.h>

static inline bool bitmap_get(const uint8_t *map, uint64_t i)
{
	return (map[i / 8] >> (i % 8)) & 1;
}

static inline void bitmap_set(uint8_t *map, uint64_t i)
{
	map[i / 8] |= (uint8_t)(1u << (i % 8));
}

static inline void bitmap_clear(uint8_t *map, uint64_t i)
{
	map[i / 8] &= (uint8_t)~(1u << (i % 8));
}

/* Number of set bits in [0, count). */
uint64_t bitmap_count(const uint8_t *map, uint64_t count);
/* First set bit in [from, count), or count. */
uint64_t bitmap_next_set(const uint8_t *map, uint64_t from, uint64_t count);
/* Sets [from, from + n). */
void bitmap_set_range(uint8_t *map, uint64_t from, uint64_t n);

#endif
