/* SPDX-License-Identifier: Apache-2.0 */
/* Bitmaps against a plain array of booleans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/bitmap.h"

#define BITS 300u

/* A small generator of its own: tests must repeat. */
static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void fill(uint8_t *map, bool *model, uint32_t *seed)
{
	uint32_t density = next_random(seed) % 64;
	memset(map, 0, (BITS + 7) / 8);
	for (uint32_t i = 0; i < BITS; i++) {
		model[i] = next_random(seed) % 64 < density;
		if (model[i])
			bitmap_set(map, i);
	}
}

static void bits_are_lowest_first(void **state)
{
	(void)state;
	uint8_t map[3] = { 0 };
	bitmap_set(map, 0);
	bitmap_set(map, 7);
	bitmap_set(map, 9);
	assert_int_equal(map[0], 0x81);
	assert_int_equal(map[1], 0x02);
	assert_true(bitmap_get(map, 9));
	assert_false(bitmap_get(map, 8));
	bitmap_clear(map, 0);
	assert_int_equal(map[0], 0x80);
}

static uint64_t model_next(const bool *model, uint64_t from, uint64_t count)
{
	while (from < count && !model[from])
		from++;
	return from < count ? from : count;
}

/* Every start and end, at every density: words in the middle, bits at the ends. */
static void count_and_next_agree_with_a_model(void **state)
{
	(void)state;
	uint32_t seed = 1;
	for (unsigned int round = 0; round < 40; round++) {
		uint8_t map[(BITS + 7) / 8];
		bool model[BITS];
		fill(map, model, &seed);
		uint64_t set = 0;
		for (uint64_t count = 0; count <= BITS; count++) {
			assert_int_equal(bitmap_count(map, count), set);
			set += count < BITS && model[count];
		}
		for (uint64_t from = 0; from <= BITS; from++) {
			uint64_t count = next_random(&seed) % (BITS + 1);
			assert_int_equal(bitmap_next_set(map, from, count),
					 model_next(model, from, count));
		}
	}
}

static void set_range_sets_exactly_the_range(void **state)
{
	(void)state;
	uint32_t seed = 2;
	for (uint64_t from = 0; from < 40; from++) {
		for (uint64_t n = 0; n < 100; n++) {
			uint8_t map[(BITS + 7) / 8];
			bool model[BITS];
			fill(map, model, &seed);
			bitmap_set_range(map, from, n);
			for (uint64_t i = 0; i < BITS; i++) {
				bool is_inside = i >= from && i < from + n;
				assert_int_equal(bitmap_get(map, i),
						 is_inside || model[i]);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_are_lowest_first),
		cmocka_unit_test(count_and_next_agree_with_a_model),
		cmocka_unit_test(set_range_sets_exactly_the_range),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
