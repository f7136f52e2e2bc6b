/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vdisk/sink.c promises at each of its steps, looked at between them: by whoever
 * opens what is named next (a reader that knows nothing of the writer, as after a death),
 * by the disk itself when its map has forgotten everything, and while the layer that is
 * written below fails.
 *
 * Each disk has its bytes in a place of its own, so that one table of the whole chain
 * tells of it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/lib/testvol.h"
#include "vdisk/chain.h"

#define STEP (16ull << 20) /* what a table of a seSparse delta is of */
#define PIECE 8192u
#define LAYERS 4u
#define PLACES (LAYERS + 3) /* the last are nobody's at first */
#define DISK_SIZE (PLACES * STEP)

struct stack {
	struct testvol tv;
	struct worker_pool *pool;
	struct vdisk *disk; /* the leaf, layer LAYERS - 1 */
	struct vdisk_sink *sink;
	char path[LAYERS][32];
	char has[PLACES]; /* what the disk has in each place */
};

static struct vdisk *open_disk(struct stack *s, unsigned int layer, uint32_t flags)
{
	const struct vdisk_open_options how = { .flags = flags,
						.reporter = &s->tv.told.base };
	struct vdisk *disk;
	int rc = vdisk_open(s->tv.vol, s->path[layer], &how, &disk, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", s->path[layer], rc, collect_text(&s->tv.told));
	return disk;
}

static int try_write(struct stack *s, unsigned int place, char letter)
{
	uint8_t *buf = io_alloc(PIECE);
	memset(buf, letter, PIECE);
	int rc = batch_one(vdisk_bdev(s->disk), BDEV_WRITE, 0, buf, PIECE, place * STEP);
	free(buf);
	return rc;
}

static void write_piece(struct stack *s, unsigned int place, char letter)
{
	assert_int_equal(try_write(s, place, letter), 0);
	s->has[place] = letter;
}

static char letter_at(struct vdisk *disk, unsigned int place)
{
	uint8_t buf[PIECE];
	assert_int_equal(bdev_read(vdisk_bdev(disk), buf, PIECE, place * STEP), 0);
	for (unsigned int i = 1; i < PIECE; i++)
		assert_int_equal(buf[i], buf[0]);
	return (char)buf[0];
}

static void check(struct stack *s, const char *when)
{
	for (unsigned int i = 0; i < PLACES; i++) {
		if (letter_at(s->disk, i) != s->has[i])
			fail_msg("%s: place %u is not '%c'", when, i, s->has[i]);
	}
}

/* What a reader of layer finds who knows nothing of the writer. */
static char found(struct stack *s, unsigned int layer, unsigned int place)
{
	struct vdisk *disk = open_disk(s, layer, VDISK_READ);
	char letter = letter_at(disk, place);
	assert_int_equal(vdisk_close(disk), 0);
	return letter;
}

/* d0 <- d1 <- d2 <- d3, each with its letter in its place; the last is open. */
static void set_up(struct stack *s, int kind)
{
	const struct vdisk_create_options options = { .capacity_bytes = DISK_SIZE,
						      .format = VDISK_THIN };
	const struct vdisk_snapshot_options how = { .kind = (enum vdisk_delta_kind)kind };
	*s = (struct stack){ .pool = worker_pool_new("sink", 2) };
	testvol_new(&s->tv, 3);
	for (unsigned int i = 0; i < LAYERS; i++) {
		(void)snprintf(s->path[i], sizeof(s->path[i]), "/d%u.vmdk", i);
		assert_int_equal(i ? vdisk_snapshot(s->tv.vol, s->path[i - 1], s->path[i],
						    &how, NULL) :
				     vdisk_create(s->tv.vol, s->path[i], &options), 0);
		s->disk = open_disk(s, i, VDISK_WRITE | VDISK_PROMPT);
		bdev_set_pool(vdisk_bdev(s->disk), s->pool);
		write_piece(s, i, (char)('a' + i));
		if (i + 1 < LAYERS)
			assert_int_equal(vdisk_close(s->disk), 0);
	}
}

static void tear_down(struct stack *s)
{
	assert_int_equal(vdisk_close(s->disk), 0);
	worker_pool_free(s->pool);
	testvol_unmount(&s->tv);
	testvol_check(&s->tv);
	testvol_free(&s->tv);
}

static void start(struct stack *s, unsigned int top)
{
	int rc = vdisk_sink(s->disk, s->path[top], &s->tv.told.base, &s->sink, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", s->path[top], rc, collect_text(&s->tv.told));
	vdisk_sink_start(s->sink);
}

static void each_kind(void (*fn)(struct stack *s))
{
	for (int kind = VDISK_DELTA_VMFSSPARSE; kind <= VDISK_DELTA_SESPARSE; kind++) {
		struct stack s;
		set_up(&s, kind);
		fn(&s);
		tear_down(&s);
	}
}

/* ---- who opens the bottom ---- */

static void named_bottom(struct stack *s)
{
	const unsigned int leaf = LAYERS - 1, below = leaf - 1;
	start(s, leaf);
	assert_int_equal(found(s, below, leaf), 0); /* what is to come is not there */
	assert_int_equal(vdisk_sink_copy(s->sink, NULL), 0);
	for (unsigned int i = 0; i < PLACES; i++) {
		if (found(s, below, i) != s->has[i])
			fail_msg("place %u is not in the bottom", i);
	}
	write_piece(s, LAYERS, 'p');
	assert_int_equal(found(s, below, LAYERS), 'p');
	assert_int_equal(found(s, leaf, LAYERS), 'p');
	vdisk_sink_named(s->sink);
	vdisk_sink_switch(s->sink);
	write_piece(s, LAYERS + 1, 'q');
	assert_int_equal(found(s, below, LAYERS + 1), 'q');
	assert_int_equal(vdisk_sink_settle(s->sink), 0);
	write_piece(s, LAYERS + 2, 'r');
	assert_int_equal(found(s, below, LAYERS + 2), 'r');
}

static void what_has_ended_is_in_the_disk_that_is_named(void **state)
{
	(void)state;
	each_kind(named_bottom);
}

/* ---- the map ---- */

/* Nothing of the map is left but what layers have: as in a disk too large for it. */
static void forget_map(struct stack *s)
{
	struct chain *chain = s->disk->chain;
	struct chainmap *old = chain->map;
	uint64_t sectors = DISK_SIZE / DELTA_SECTOR;
	assert_int_equal(bdev_flush(vdisk_bdev(s->disk)), 0); /* what was pinned is not */
	chain->map = chainmap_new(sectors, CHAIN_LAYERS_MAX, chainmap_budget(sectors));
	assert_non_null(chain->map);
	for (uint64_t i = 0; i < sectors / REGION_SECTORS; i++) {
		for (unsigned int k = 0; k < chain->count; k++) {
			if (chainmap_has_layer(old, k, i))
				chainmap_set_layer(chain->map, k, i);
		}
	}
	chainmap_free(old);
}

static void sink_whole(struct stack *s, unsigned int top)
{
	start(s, top);
	forget_map(s);
	assert_int_equal(vdisk_sink_copy(s->sink, NULL), 0);
	check(s, "when it is copied");
	forget_map(s);
	check(s, "when it is copied, and the map is empty");
	if (top == LAYERS - 1)
		vdisk_sink_named(s->sink);
	else
		assert_int_equal(vdisk_relink_open(s->disk, s->path[top - 1],
						   &s->tv.told.base), 0);
	vdisk_sink_switch(s->sink);
	check(s, "when it has gone");
	forget_map(s);
	check(s, "when it has gone, and the map is empty");
	assert_int_equal(vdisk_sink_settle(s->sink), 0);
}

static void forgotten_leaf(struct stack *s)
{
	sink_whole(s, LAYERS - 1);
	write_piece(s, LAYERS, 'w');
	forget_map(s);
	check(s, "when it was written, and the map is empty");
}

static void forgotten_layer(struct stack *s)
{
	sink_whole(s, LAYERS - 2);
}

static void the_map_finds_again_what_sank(void **state)
{
	(void)state;
	each_kind(forgotten_leaf);
	each_kind(forgotten_layer);
}

/* ---- a bottom that fails ---- */

/* In place of a device's functions: what would change it fails, while told to. */
static const struct bdev_ops *whole_ops;
static bool is_failing;

static int map_failing(struct bdev *bd, const struct bdev_io *io,
		       struct bdev_extent *ret_extent)
{
	return io->op == BDEV_READ ? whole_ops->map(bd, io, ret_extent) : -EAGAIN;
}

static int run_failing(struct bdev *bd, struct bdev_io *io)
{
	return is_failing && io->op != BDEV_READ ? -EIO : whole_ops->rw(bd, io);
}

static struct bdev_ops failing_ops;

static void make_failing(struct bdev *bd)
{
	whole_ops = bd->ops;
	failing_ops = *bd->ops;
	failing_ops.map = map_failing;
	failing_ops.rw = run_failing;
	bd->ops = &failing_ops;
	is_failing = true;
}

struct guest {
	struct vdisk_progress progress;
	struct stack *s;
	bool has_written;
};

/* In the first region, which is mirrored by then; that once the bottom fails. */
static bool guest_writes(struct vdisk_progress *p, uint64_t done, uint64_t total)
{
	struct guest *g = (struct guest *)p;
	assert_true(done <= total);
	if (!g->has_written) {
		is_failing = true;
		write_piece(g->s, 0, 'g');
		is_failing = false;
	}
	g->has_written = true;
	return true;
}

static void check_abandoned(struct stack *s, struct bdev *bottom)
{
	vdisk_sink_abandon(s->sink);
	is_failing = false;
	bottom->ops = whole_ops;
	assert_int_equal(vdisk_sink_settle(s->sink), 0);
	write_piece(s, LAYERS, 'l');
	check(s, "when it is given up");
	assert_int_equal(vdisk_close(s->disk), 0);
	s->disk = open_disk(s, LAYERS - 1, VDISK_WRITE | VDISK_PROMPT);
	bdev_set_pool(vdisk_bdev(s->disk), s->pool);
	check(s, "when it is opened again");
	sink_whole(s, LAYERS - 1); /* as if nothing had been */
}

/* The copy itself fails; or the guest's write, of which the guest does not notice. */
static void failing_copy(struct stack *s)
{
	struct guest g = { { guest_writes }, s, true };
	struct bdev *bottom = s->disk->chain->layer[LAYERS - 2]->bd;
	start(s, LAYERS - 1);
	make_failing(bottom);
	assert_int_equal(vdisk_sink_copy(s->sink, &g.progress), -EIO);
	check_abandoned(s, bottom);
}

static void failing_mirror(struct stack *s)
{
	struct guest g = { { guest_writes }, s, false };
	struct bdev *bottom = s->disk->chain->layer[LAYERS - 2]->bd;
	start(s, LAYERS - 1);
	make_failing(bottom);
	is_failing = false;
	assert_int_equal(vdisk_sink_copy(s->sink, &g.progress), -EIO);
	assert_true(g.has_written);
	check_abandoned(s, bottom);
}

/* When it may be named already, who writes is told; what has not ended may be there. */
static void failing_named(struct stack *s)
{
	struct bdev *bottom = s->disk->chain->layer[LAYERS - 2]->bd;
	start(s, LAYERS - 1);
	assert_int_equal(vdisk_sink_copy(s->sink, NULL), 0);
	make_failing(bottom);
	assert_int_equal(try_write(s, LAYERS, 'n'), -EIO);
	assert_int_equal(bdev_flush(vdisk_bdev(s->disk)), -EIO);
	assert_int_equal(found(s, LAYERS - 2, LAYERS), 0);
	check_abandoned(s, bottom);
}

static void a_bottom_that_fails_is_given_up(void **state)
{
	(void)state;
	each_kind(failing_copy);
	each_kind(failing_mirror);
	each_kind(failing_named);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_has_ended_is_in_the_disk_that_is_named),
		cmocka_unit_test(the_map_finds_again_what_sank),
		cmocka_unit_test(a_bottom_that_fails_is_given_up),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
