/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is read without a lock, as a device: reads go to the blocks where it lies
 * as long as nobody changes that, and what was read while somebody did is read again. One
 * host writes, another reads, on one volume in memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/env.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/lib/testvol.h"

#define MIB (1ull << 20)
#define PIECE 4096u
#define BLOCKS 8u

struct rig {
	struct testvol tv;
	struct vmfs_volume *seen; /* by who reads */
	struct vmfs_file *file;
	struct bdev *device;
	struct vmfs_file *other; /* of who writes; NULL: not open */
};

/* ---- the two hosts ---- */

static struct vmfs_file *open_writer(struct rig *r)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;

	assert_int_equal(vmfs_file_open(r->tv.vol, "/f", &options, &file, NULL), 0);
	return file;
}

/* A new place for each block, and other bytes, which tell the block. */
static void rewrite_by(struct vmfs_file *file, uint8_t first)
{
	static uint8_t bytes[MIB];

	assert_int_equal(vmfs_file_punch(file, 0, BLOCKS * MIB), 0);
	for (uint32_t block = BLOCKS; block--;) {
		(void)memset(bytes, (int)(first + block), sizeof(bytes));
		assert_int_equal(vmfs_file_write(file, bytes, MIB, block * MIB), 0);
	}
	assert_int_equal(vmfs_file_sync(file), 0);
}

static void rewrite(struct rig *r, uint8_t first)
{
	struct vmfs_file *file = open_writer(r);

	rewrite_by(file, first);
	assert_int_equal(vmfs_file_close(file), 0);
}

static void look_at(struct rig *r, uint8_t expected)
{
	uint8_t byte = 0;

	assert_int_equal(vmfs_file_read(r->file, &byte, 1, 0), 1);
	assert_int_equal(byte, expected);
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_open_options open = { .device_count = 1, .is_read_only = true };

	assert_non_null(r);
	testvol_new(&r->tv, 2);
	r->tv.bd->has_cached = true;
	rewrite(r, 1);
	open.devices = &r->tv.bd;
	open.reporter = &r->tv.told.base;
	assert_int_equal(vmfs_volume_open(&open, &r->seen), 0);
	assert_int_equal(vmfs_file_open(r->seen, "/f", &options, &r->file, NULL), 0);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	if (r->device)
		bdev_close(r->device);
	if (r->other)
		assert_int_equal(vmfs_file_close(r->other), 0);
	assert_int_equal(vmfs_file_close(r->file), 0);
	assert_int_equal(vmfs_volume_close(r->seen), 0);
	testvol_unmount(&r->tv);
	testvol_check(&r->tv);
	testvol_free(&r->tv);
	free(r);
	return 0;
}

/* ---- pieces ---- */

static struct bdev_io piece_of(enum bdev_op op, uint64_t offset)
{
	return (struct bdev_io){ .op = op, .offset = offset, .len = PIECE };
}

static int map(struct rig *r, enum bdev_op op, uint64_t offset, struct bdev_extent *e)
{
	const struct bdev_io io = piece_of(op, offset);

	*e = (struct bdev_extent){ 0 };
	return r->device->ops->map(r->device, &io, e);
}

/* That had ended then; 0: nobody knows when. */
static bool settle_of(struct rig *r, struct bdev_extent *e, uint64_t ended)
{
	struct bdev_io io = piece_of(BDEV_READ, e->offset);

	io.ended = ended;
	return r->device->ops->settle(r->device, &io, e, 0);
}

static bool settle(struct rig *r, struct bdev_extent *e)
{
	return settle_of(r, e, 0);
}

static uint8_t redo(struct rig *r, struct bdev_extent *e)
{
	static uint8_t bytes[PIECE];
	struct iovec iov = { bytes, PIECE };
	struct bdev_io io = piece_of(BDEV_READ, e->offset);

	io.iov = &iov;
	io.iovcnt = 1;
	io.bd = e->leaf;
	assert_int_equal(r->device->ops->redo(r->device, &io, e), 0);
	r->device->ops->unmap(r->device, e);
	for (uint32_t i = 1; i < PIECE; i++)
		assert_int_equal(bytes[i], bytes[0]);
	return bytes[0];
}

/* ---- the stories ---- */

static void is_mapped_from_the_first_read_on(void **state)
{
	struct rig *r = *state;
	struct bdev_extent e;
	uint8_t bytes[PIECE];

	assert_int_equal(vmfs_file_bdev(r->file, &r->device), 0);
	assert_false(vmfs_file_is_followed(r->file));
	assert_int_equal(map(r, BDEV_READ, 0, &e), -EAGAIN);
	look_at(r, 1);
	assert_true(vmfs_file_is_followed(r->file));
	for (uint32_t block = 0; block < BLOCKS; block++) {
		assert_int_equal(map(r, BDEV_READ, block * MIB + 3 * PIECE, &e), 0);
		assert_int_equal(e.len, PIECE);
		assert_int_equal(bdev_read(e.leaf, bytes, PIECE, e.offset), 0);
		assert_int_equal(bytes[0], 1 + block);
		assert_true(settle(r, &e));
		r->device->ops->unmap(r->device, &e);
	}
	assert_int_equal(map(r, BDEV_WRITE, 0, &e), -EAGAIN);
	assert_int_equal(map(r, BDEV_READ, BLOCKS * MIB, &e), -EAGAIN);
	assert_int_equal(map(r, BDEV_READ, MIB - 512, &e), -EAGAIN); /* two blocks */
}

static void what_was_changed_meanwhile_is_read_again(void **state)
{
	struct rig *r = *state;
	struct bdev_extent e[BLOCKS];

	look_at(r, 1);
	assert_int_equal(vmfs_file_bdev(r->file, &r->device), 0);
	assert_int_equal(r->device->size, BLOCKS * MIB);
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(map(r, BDEV_READ, i * MIB, &e[i]), 0);
	rewrite(r, 101);
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_false(settle(r, &e[i]));
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(redo(r, &e[i]), 101 + i);
	assert_int_equal(map(r, BDEV_READ, 0, &e[0]), 0); /* by the map of now */
	assert_true(settle(r, &e[0]));
	r->device->ops->unmap(r->device, &e[0]);
}

/*
 * One who writes has the file open, and something of another file in his log; who reads
 * has come to follow him.
 */
static struct vmfs_file *begin_beside(struct rig *r)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file = open_writer(r);

	assert_int_equal(vmfs_file_open(r->tv.vol, "/g", &options, &r->other, NULL), 0);
	assert_int_equal(vmfs_file_truncate(r->other, MIB), 0);
	assert_int_equal(vmfs_file_bdev(r->file, &r->device), 0);
	for (unsigned int i = 0; i < 20; i++)
		look_at(r, 1);
	assert_true(vmfs_file_is_followed(r->file));
	return file;
}

static void beside_a_writer_it_stands_until_he_logs_something(void **state)
{
	struct rig *r = *state;
	struct vmfs_file *file = begin_beside(r);
	struct bdev_extent e[BLOCKS];

	assert_int_equal(map(r, BDEV_READ, 0, &e[0]), 0);
	assert_true(settle(r, &e[0]));
	r->device->ops->unmap(r->device, &e[0]);
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(map(r, BDEV_READ, i * MIB, &e[i]), 0);
	rewrite_by(file, 101);
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_false(settle(r, &e[i]));
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(redo(r, &e[i]), 101 + i);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* One record more in the same log, of which nothing is in place yet. */
static void beside_a_writer_one_record_is_enough(void **state)
{
	struct rig *r = *state;
	struct vmfs_file *file = begin_beside(r);
	struct bdev_extent e;

	assert_int_equal(map(r, BDEV_READ, MIB, &e), 0);
	assert_int_equal(vmfs_file_punch(file, MIB, MIB), 0);
	assert_false(settle(r, &e));
	assert_int_equal(redo(r, &e), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

static void look_again(void *arg)
{
	look_at(arg, 0);
}

/* Who reads beside finds the change, and waits for the place; the log was read by him. */
static void what_another_has_found_in_the_log_is_found_again(void **state)
{
	struct rig *r = *state;
	struct vmfs_file *file = begin_beside(r);
	struct bdev_extent e;

	assert_int_equal(map(r, BDEV_READ, MIB, &e), 0);
	assert_int_equal(vmfs_file_punch(file, 0, 2 * MIB), 0);
	struct task *task = task_start("reader", look_again, r);
	assert_non_null(task);
	task_sleep_until(clock_now() + 50 * NS_PER_MS);
	assert_false(settle(r, &e));
	assert_int_equal(redo(r, &e), 0);
	task_join(task);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* One look serves all that had ended before it began, and nobody else. */
static void a_look_serves_what_had_ended_before_it(void **state)
{
	struct rig *r = *state;
	struct bdev_extent first, same, later;

	look_at(r, 1);
	assert_int_equal(vmfs_file_bdev(r->file, &r->device), 0);
	assert_int_equal(map(r, BDEV_READ, 0, &first), 0);
	assert_int_equal(map(r, BDEV_READ, MIB, &same), 0);
	assert_int_equal(map(r, BDEV_READ, 2 * MIB, &later), 0);
	uint64_t ended = clock_now();
	while (clock_now() == ended) {
	}
	assert_true(settle_of(r, &first, ended));
	rewrite(r, 101);
	assert_true(settle_of(r, &same, ended));
	assert_false(settle_of(r, &later, clock_now()));
	r->device->ops->unmap(r->device, &first);
	r->device->ops->unmap(r->device, &same);
	assert_int_equal(redo(r, &later), 103);
}

/* A file that became longer and shorter: its device has the size that is known. */
static void its_size_is_that_of_the_last_look(void **state)
{
	struct rig *r = *state;
	const struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	struct bdev_extent e;

	look_at(r, 1);
	assert_int_equal(vmfs_file_bdev(r->file, &r->device), 0);
	assert_int_equal(vmfs_file_open(r->tv.vol, "/f", &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_truncate(file, 2 * MIB), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(map(r, BDEV_READ, 5 * MIB, &e), 0); /* it may not know */
	assert_false(settle(r, &e));
	assert_int_equal(redo(r, &e), 0);
	look_at(r, 1);
	assert_int_equal(r->device->size, 2 * MIB);
	assert_int_equal(map(r, BDEV_READ, 5 * MIB, &e), -EAGAIN);
}

#define ROUNDS 20u
#define ROUND_STEP 10u

struct writer {
	struct rig *rig;
	struct vmfs_file *file; /* stays open; NULL: is opened each time */
	atomic_bool has_ended;
};

static void write_rounds(void *arg)
{
	struct writer *w = arg;

	for (uint8_t round = 1; round <= ROUNDS; round++) {
		uint8_t first = (uint8_t)(1 + round * ROUND_STEP);
		if (w->file)
			rewrite_by(w->file, first);
		else
			rewrite(w->rig, first);
	}
	w->has_ended = true;
}

/* Of a round, or of a hole. */
static void check_piece(const uint8_t *bytes, uint32_t block)
{
	for (uint32_t i = 1; i < PIECE; i++)
		assert_int_equal(bytes[i], bytes[0]);
	if (bytes[0])
		assert_int_equal((bytes[0] - 1 - block) % ROUND_STEP, 0);
}

static void read_all(struct rig *r, uint8_t bytes[static BLOCKS][PIECE])
{
	struct batch_io ios[BLOCKS];

	for (uint32_t i = 0; i < BLOCKS; i++) {
		ios[i] = (struct batch_io){ .io = piece_of(BDEV_READ, i * MIB) };
		ios[i].iov = (struct iovec){ bytes[i], PIECE };
	}
	batch_run(r->device, ios, BLOCKS);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		assert_int_equal(ios[i].io.result, 0);
		check_piece(bytes[i], i);
	}
}

/* With tasks behind the device, beside one who writes the file anew all the time. */
static void read_beside(struct rig *r, struct vmfs_file *file)
{
	struct writer w = { .rig = r, .file = file };
	static uint8_t bytes[BLOCKS][PIECE];
	struct worker_pool *pool = worker_pool_new("pool", 2);

	assert_non_null(pool);
	look_at(r, 1);
	assert_int_equal(vmfs_file_bdev(r->file, &r->device), 0);
	bdev_set_pool(r->device, pool);
	struct task *task = task_start("writer", write_rounds, &w);
	assert_non_null(task);
	while (!w.has_ended)
		read_all(r, bytes);
	task_join(task);
	read_all(r, bytes);
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(bytes[i][0], 1 + ROUNDS * ROUND_STEP + i);
	bdev_close(r->device);
	r->device = NULL;
	worker_pool_free(pool);
}

static void each_piece_is_of_one_state(void **state)
{
	read_beside(*state, NULL);
}

static void so_it_is_beside_one_who_has_it_open(void **state)
{
	struct rig *r = *state;
	struct vmfs_file *file = open_writer(r);

	read_beside(r, file);
	assert_int_equal(vmfs_file_close(file), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_mapped_from_the_first_read_on, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_was_changed_meanwhile_is_read_again,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			beside_a_writer_it_stands_until_he_logs_something, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(beside_a_writer_one_record_is_enough,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_another_has_found_in_the_log_is_found_again, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_look_serves_what_had_ended_before_it,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(its_size_is_that_of_the_last_look, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(each_piece_is_of_one_state, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(so_it_is_beside_one_who_has_it_open,
						set_up, tear_down),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
