/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that becomes larger while it is open and written: what it held and what is
 * written meanwhile stays, what is new is zeros, and can be used as soon as the size is
 * taken. What cannot grow so is refused, in a sentence, and stays as it was.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/lib/testvol.h"
#include "vdisk/vdisk.h"

#define OLD (5ull << 20)
#define NEW ((9ull << 20) + 512)
#define PATH "/d.vmdk"

struct growing {
	struct testvol tv;
	struct worker_pool *pool;
	struct vdisk_secret secret;
	struct vdisk *disk;
};

static void open_disk(struct growing *g)
{
	const struct vdisk_open_options how = {
		.flags = VDISK_WRITE,
		.reporter = &g->tv.told.base,
		.secret = g->secret.len ? &g->secret : NULL,
	};
	assert_int_equal(vdisk_open(g->tv.vol, PATH, &how, &g->disk, NULL), 0);
	bdev_set_pool(vdisk_bdev(g->disk), g->pool);
}

static void set_up(struct growing *g, enum vdisk_format format, struct vdisk_secret s)
{
	*g = (struct growing){ .pool = worker_pool_new("grow", 2), .secret = s };
	const struct vdisk_create_options options = { .capacity_bytes = OLD,
						      .format = format,
						      .secret = s.len ? &s : NULL };
	testvol_new(&g->tv, 2);
	assert_int_equal(vdisk_create(g->tv.vol, PATH, &options), 0);
	open_disk(g);
}

static void tear_down(struct growing *g)
{
	assert_int_equal(vdisk_close(g->disk), 0);
	worker_pool_free(g->pool);
	testvol_unmount(&g->tv);
	testvol_check(&g->tv);
	testvol_free(&g->tv);
}

static void put(struct growing *g, uint64_t at, uint8_t byte)
{
	uint8_t *buf = io_alloc(4096);
	memset(buf, byte, 4096);
	assert_int_equal(batch_one(vdisk_bdev(g->disk), BDEV_WRITE, 0, buf, 4096, at), 0);
	free(buf);
}

/* The disk holds this byte at at, for 4 KiB. */
static void holds(struct growing *g, uint64_t at, uint8_t byte)
{
	uint8_t *buf = io_alloc(4096);
	assert_int_equal(batch_one(vdisk_bdev(g->disk), BDEV_READ, 0, buf, 4096, at), 0);
	for (unsigned int i = 0; i < 4096; i++)
		assert_int_equal(buf[i], byte);
	free(buf);
}

static int extend(struct growing *g, uint64_t size)
{
	const struct vdisk_extend_options how = { .capacity_bytes = size,
						  .reporter = &g->tv.told.base };
	return vdisk_extend_open(g->disk, &how);
}

static void holds_all(struct growing *g, bool is_plain)
{
	holds(g, 0, 'a');
	holds(g, OLD - 4096, 'b');
	holds(g, NEW - 4096, 'c');
	if (is_plain) /* of an encrypted one nothing is known of what nobody wrote */
		holds(g, OLD, 0);
}

static void grows(enum vdisk_format format, struct vdisk_secret secret)
{
	struct growing g;
	set_up(&g, format, secret);
	struct bdev *bd = vdisk_bdev(g.disk);
	put(&g, 0, 'a');
	assert_int_equal(extend(&g, NEW), 0);
	assert_int_equal(bd->size, OLD); /* who writes it is not disturbed */
	put(&g, OLD - 4096, 'b');
	vdisk_take_size(g.disk);
	assert_ptr_equal(vdisk_bdev(g.disk), bd);
	assert_int_equal(bd->size, NEW);
	assert_int_equal(vdisk_capacity(g.disk), NEW);
	put(&g, NEW - 4096, 'c');
	holds_all(&g, !secret.len);
	assert_int_equal(extend(&g, NEW), 0); /* it has that size */
	assert_int_equal(vdisk_close(g.disk), 0);
	open_disk(&g);
	assert_int_equal(vdisk_capacity(g.disk), NEW);
	holds_all(&g, !secret.len);
	tear_down(&g);
}

static void a_disk_grows_while_it_is_written(void **state)
{
	struct vdisk_secret secret = { .bytes = "password", .len = 8,
				       .rounds = VDISK_ROUNDS_MIN };
	(void)state;
	grows(VDISK_THIN, (struct vdisk_secret){ .len = 0 });
	grows(VDISK_ZEROEDTHICK, (struct vdisk_secret){ .len = 0 });
	grows(VDISK_EAGERZEROEDTHICK, (struct vdisk_secret){ .len = 0 });
	grows(VDISK_THIN, secret);
}

/* And it is what it was. */
static void is_refused(struct growing *g, uint64_t size, int wanted, const char *text)
{
	put(g, 0, 'a');
	assert_int_equal(extend(g, size), wanted);
	if (!collect_has(&g->tv.told, text))
		fail_msg("not '%s' but: %s", text, collect_text(&g->tv.told));
	assert_int_equal(collect_count(&g->tv.told, REPORT_ERROR), 1);
	collect_clear(&g->tv.told);
	assert_int_equal(vdisk_bdev(g->disk)->size, OLD);
	assert_int_equal(vdisk_close(g->disk), 0);
	open_disk(g);
	assert_int_equal(vdisk_capacity(g->disk), OLD);
	holds(g, 0, 'a');
}

static void what_cannot_grow_so_is_refused(void **state)
{
	const struct vdisk_secret none = { .len = 0 };
	struct growing g;
	(void)state;
	set_up(&g, VDISK_THIN, none);
	is_refused(&g, OLD - 512, -EINVAL, "a disk is not made smaller");
	is_refused(&g, OLD + 1, -EINVAL, "are no whole sectors");
	assert_int_equal(vdisk_close(g.disk), 0);
	const struct vdisk_tracking_options how = { .is_wanted = true };
	assert_int_equal(vdisk_set_tracking(g.tv.vol, PATH, &how, NULL), 0);
	open_disk(&g);
	is_refused(&g, NEW, -EOPNOTSUPP, "its changes are tracked");
	tear_down(&g);
	set_up(&g, VDISK_MONOLITHIC_SPARSE, none);
	is_refused(&g, NEW, -EOPNOTSUPP, "(monolithicSparse) grows while it is not in");
	tear_down(&g);
	set_up(&g, VDISK_2GB_FLAT, none); /* a part more would be a file more */
	is_refused(&g, 5ull << 30, -EOPNOTSUPP, "(twoGbMaxExtentFlat) grows while it");
	tear_down(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_grows_while_it_is_written),
		cmocka_unit_test(what_cannot_grow_so_is_refused),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
