/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A delta file grows ahead of those who write to it: nobody who finds room left waits for
 * the growth, and none is refused because there is none to be had ahead.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/align.h"
#include "vdisk/delta.h"

#define CAPACITY (1u << 20) /* sectors */
#define PIECE 128u	    /* sectors: what is allocated at a time */

struct grown {
	struct delta_file file; /* first */
	struct delta *delta;
	unsigned int count; /* times that it was asked to grow */
	bool is_refused;
	uint64_t meanwhile; /* sectors that are allocated while it grows */
};

static int grow(struct delta_file *file, uint64_t size)
{
	struct grown *g = (struct grown *)file;
	g->count++;
	for (uint64_t n = 0, at; n < g->meanwhile; n += PIECE)
		assert_int_equal(delta_allocate(g->delta, PIECE, &at), 0);
	if (g->is_refused)
		return -ENOSPC;
	return file->bd->ops->resize(file->bd, size);
}

static void set_up(struct grown *g, const struct delta_format *format)
{
	*g = (struct grown){ .file.grow = grow };
	assert_int_equal(bdev_mem_new(DELTA_SECTOR, 512, NULL, &g->file.bd), 0);
	assert_int_equal(delta_make(format, &g->file, CAPACITY), 0);
	const struct delta_options how = { .format = format, .file = &g->file,
					   .name = "delta", .capacity = CAPACITY,
					   .is_writer = true };
	assert_int_equal(delta_open(&how, &g->delta), 0);
}

static void tear_down(struct grown *g)
{
	assert_int_equal(delta_close(g->delta), 0);
	bdev_close(g->file.bd);
}

static uint64_t left(const struct grown *g, uint64_t at)
{
	return g->file.bd->size / DELTA_SECTOR - at - PIECE;
}

/* Takes room until so little is left; the sector past what was taken. */
static uint64_t take_until(struct grown *g, uint64_t sectors)
{
	uint64_t at = 0;
	do
		assert_int_equal(delta_allocate(g->delta, PIECE, &at), 0);
	while (left(g, at) > sectors);
	return at + PIECE;
}

/*
 * Story: a fresh delta is begun, and then written to as long as one is who adds room.
 * Expected: it grows when it is begun, and when room is added; never while somebody
 * waits for room, though it ends up many times as large.
 */
static void room_is_there_before_it_is_needed(void **state)
{
	static const struct delta_format *const formats[] = { &delta_cowd,
							      &delta_sesparse };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		struct grown g;
		set_up(&g, formats[i]);
		assert_int_equal(delta_begin(g.delta), 0);
		assert_int_equal(g.count, 1);
		for (uint64_t n = 0, at; n < CAPACITY / 2; n += PIECE) {
			unsigned int before = g.count;
			assert_int_equal(delta_allocate(g.delta, PIECE, &at), 0);
			assert_int_equal(g.count, before);
			delta_add_room(g.delta);
		}
		assert_in_range(g.count, 10, CAPACITY / 4096); /* in steps */
		tear_down(&g);
	}
}

/*
 * Story: while the file grows, others take almost all that is left.
 * Expected: they get it, at once: this would hang if they waited for the growth.
 */
static void others_take_what_is_left_while_it_grows(void **state)
{
	struct grown g;
	(void)state;
	set_up(&g, &delta_cowd);
	assert_int_equal(delta_begin(g.delta), 0);
	uint64_t end = take_until(&g, 2000);
	uint64_t backed = g.file.bd->size / DELTA_SECTOR;
	g.meanwhile = round_down(backed - end, PIECE);
	assert_true(g.meanwhile > 0);
	delta_add_room(g.delta);
	assert_int_equal(g.count, 2);
	g.meanwhile = 0;
	/* Who comes now begins behind them. */
	uint64_t at;
	assert_int_equal(delta_allocate(g.delta, PIECE, &at), 0);
	assert_true(at + PIECE > backed);
	tear_down(&g);
}

/*
 * Story: the volume is full when room is to be added, and later it is not any more.
 * Expected: nobody hears of it, and nobody asks again and again, until what is left is
 * taken; who then asks is refused, and gets room as soon as there is some, as do those
 * after him, ahead.
 */
static void no_room_ahead_is_no_error(void **state)
{
	struct grown g;
	uint64_t at;
	(void)state;
	set_up(&g, &delta_cowd);
	assert_int_equal(delta_begin(g.delta), 0);
	g.is_refused = true;
	while (delta_allocate(g.delta, PIECE, &at) == 0)
		delta_add_room(g.delta);
	assert_int_equal(g.count, 3); /* begun, ahead, refused */
	assert_int_equal(delta_allocate(g.delta, PIECE, &at), -ENOSPC);
	g.is_refused = false;
	assert_int_equal(delta_allocate(g.delta, PIECE, &at), 0);
	assert_int_equal(g.count, 5);
	delta_add_room(g.delta);
	assert_int_equal(g.count, 6);
	tear_down(&g);
}

/*
 * Story: a delta is begun on a volume that is full.
 * Expected: it is begun; who writes first is refused.
 */
static void a_delta_is_begun_on_a_full_volume(void **state)
{
	struct grown g;
	uint64_t at;
	(void)state;
	set_up(&g, &delta_cowd);
	g.is_refused = true;
	assert_int_equal(delta_begin(g.delta), 0);
	assert_int_equal(g.count, 1);
	assert_int_equal(delta_allocate(g.delta, PIECE, &at), -ENOSPC);
	tear_down(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(room_is_there_before_it_is_needed),
		cmocka_unit_test(others_take_what_is_left_while_it_grows),
		cmocka_unit_test(no_room_ahead_is_no_error),
		cmocka_unit_test(a_delta_is_begun_on_a_full_volume),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
