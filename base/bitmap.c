/* SPDX-License-Identifier: Apache-2.0 */
/* Bits in bytes. Whole 64-bit words in the middle, single bits at the ends. */
#include "base/bitmap.h"

#include <string.h>

#include "base/align.h"

/* The 64 bits that start at bit i, i a multiple of 8, as a number with bit i lowest. */
static uint64_t word_at(const uint8_t *map, uint64_t i)
{
	uint64_t word;
	memcpy(&word, map + i / 8, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

uint64_t bitmap_count(const uint8_t *map, uint64_t count)
{
	uint64_t i = 0, set = 0;
	for (; count - i >= 64; i += 64)
		set += (uint64_t)__builtin_popcountll(word_at(map, i));
	for (; i < count; i++)
		set += bitmap_get(map, i);
	return set;
}

uint64_t bitmap_next_set(const uint8_t *map, uint64_t from, uint64_t count)
{
	uint64_t i = from;
	for (; i < count && i % 8; i++) {
		if (bitmap_get(map, i))
			return i;
	}
	for (; i < count && count - i >= 64; i += 64) {
		uint64_t word = word_at(map, i);
		if (word)
			return i + (uint64_t)__builtin_ctzll(word);
	}
	for (; i < count; i++) {
		if (bitmap_get(map, i))
			return i;
	}
	return count;
}

void bitmap_set_range(uint8_t *map, uint64_t from, uint64_t n)
{
	uint64_t i = from, end = from + n;
	for (; i < end && i % 8; i++)
		bitmap_set(map, i);
	if (i < end) {
		memset(map + i / 8, 0xff, (end - i) / 8);
		i += round_down(end - i, 8);
	}
	for (; i < end; i++)
		bitmap_set(map, i);
}
