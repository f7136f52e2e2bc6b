/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that are written in part: when they are zeroed, and when never. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/lib/testvol.h"
#include "vmfs/file_impl.h"
#include "vmfs/format.h"
#include "vmfs/volume.h"

#define MIB (1ull << 20)

static struct vmfs_file *open_file(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file = NULL;
	assert_int_equal(vmfs_file_open(vol, path, &options, &file, NULL), 0);
	return file;
}

static void assert_zeros(struct vmfs_file *file, uint64_t offset, uint64_t len)
{
	uint8_t *buf = malloc(len);
	assert_int_equal(vmfs_file_read(file, buf, len, offset), (int64_t)len);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

/* Free blocks hold what others wrote; some lie before that. */
static void leave_junk(struct testvol *tv, unsigned int pes)
{
	uint8_t *junk = malloc(MIB);
	memset(junk, 0xee, MIB);
	for (uint64_t off = LVM_DATA_OFF + 40 * MIB;
	     off < LVM_DATA_OFF + pes * LVM_PE_SIZE; off += MIB)
		assert_int_equal(bdev_write(tv->bd, junk, MIB, off), 0);
	free(junk);
}

static enum file_state state_of(struct vmfs_file *file, uint64_t block, uint64_t *vol_off)
{
	struct file_run run;
	sleeplock_acquire(&file->sleeplock);
	assert_int_equal(file_look_at(file, block, 1, &run), 0);
	sleeplock_release(&file->sleeplock);
	*vol_off = run.vol_off;
	return run.state;
}

static uint8_t on_disk(const struct testvol *tv, uint64_t vol_off)
{
	uint8_t sector[512];
	assert_int_equal(bdev_read(tv->bd, sector, sizeof(sector),
				   LVM_DATA_OFF + vol_off), 0);
	return sector[0];
}

/* As if the block had held that before: all but its first bytes. */
static void spoil(const struct testvol *tv, uint64_t vol_off, uint64_t skip)
{
	uint8_t *junk = malloc(MIB);
	memset(junk, 0xee, MIB);
	assert_int_equal(bdev_write(tv->bd, junk, MIB - skip,
				    LVM_DATA_OFF + vol_off + skip), 0);
	free(junk);
}

/*
 * Of a block that is written in parts nothing is zeroed before somebody must know the
 * rest of it; one that is written to its end is never zeroed.
 */
static void a_block_is_filled_before_it_is_zeroed(void **state)
{
	struct testvol tv;
	uint64_t place;
	uint8_t data[8192];
	(void)state;
	testvol_new(&tv, 2);
	memset(data, 'd', sizeof(data));
	struct vmfs_file *file = open_file(tv.vol, "/f");
	assert_int_equal(vmfs_file_truncate(file, 200 * MIB), 0);
	assert_int_equal(vmfs_file_write(file, data, 8192, 0), 0);
	assert_int_equal(state_of(file, 0, &place), FILE_FILLING);
	spoil(&tv, place, 8192);
	for (uint64_t at = 8192; at < MIB - 8192; at += 8192)
		assert_int_equal(vmfs_file_write(file, data, 8192, at), 0);
	assert_int_equal(state_of(file, 0, &place), FILE_FILLING);
	assert_int_equal(on_disk(&tv, place), 'd');
	assert_int_equal(on_disk(&tv, place + MIB - 4096), 0xee);
	assert_int_equal(vmfs_file_write(file, data, 8192, MIB - 8192), 0);
	/* The next one that begins finds that this one is full. */
	assert_int_equal(vmfs_file_write(file, data, 4096, MIB + 8192), 0);
	assert_int_equal(state_of(file, 0, &place), FILE_DATA);
	assert_int_equal(state_of(file, 1, &place), FILE_FILLING);
	spoil(&tv, place, 0);
	assert_int_equal(vmfs_file_write(file, data, 4096, MIB + 8192), 0);
	assert_zeros(file, MIB, 8192);
	assert_zeros(file, MIB + 8192 + 4096, MIB - 8192 - 4096);
	assert_int_equal(state_of(file, 1, &place), FILE_DATA);
	assert_int_equal(on_disk(&tv, place), 0);
	assert_int_equal(on_disk(&tv, place + 8192), 'd');
	/* Less than a piece, into one that is being filled. */
	assert_int_equal(vmfs_file_write(file, data, 4096, 2 * MIB), 0);
	assert_int_equal(vmfs_file_write(file, "x", 1, 2 * MIB + 5000), 0);
	assert_int_equal(state_of(file, 2, &place), FILE_DATA);
	assert_zeros(file, 2 * MIB + 4096, 904);
	assert_zeros(file, 2 * MIB + 5001, MIB - 5001);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* Many at a time, more than may be: the oldest are finished for the newest. */
static void only_so_many_blocks_are_being_filled(void **state)
{
	struct testvol tv;
	uint64_t place;
	uint8_t data[4096];
	(void)state;
	testvol_new(&tv, 2);
	leave_junk(&tv, 2);
	struct vmfs_file *file = open_file(tv.vol, "/f");
	assert_int_equal(vmfs_file_truncate(file, 400 * MIB), 0);
	for (uint64_t i = 0; i < 200; i++) {
		memset(data, (int)(1 + i), sizeof(data));
		assert_int_equal(vmfs_file_write(file, data, sizeof(data),
						 i * 37 % 200 * MIB + i * 4096), 0);
	}
	assert_in_range(file->fill_count, 1, 100);
	assert_int_equal(state_of(file, 0, &place), FILE_DATA);
	assert_int_equal(state_of(file, 199 * 37 % 200, &place), FILE_FILLING);
	/* Some are cut off, and some taken away, while they are being filled. */
	uint64_t last = 199 * 37 % 200, before = 198 * 37 % 200;
	assert_int_equal(vmfs_file_punch(file, last * MIB, MIB), 0);
	assert_int_equal(state_of(file, last, &place), FILE_HOLE);
	assert_int_equal(vmfs_file_sync(file), 0);
	assert_int_equal(file->fill_count, 0);
	for (uint64_t i = 0; i < 199; i++) {
		uint64_t at = i * 37 % 200 * MIB + i * 4096;
		assert_int_equal(vmfs_file_read(file, data, 4096, at), 4096);
		assert_int_equal(data[0], (uint8_t)(1 + i));
		assert_int_equal(data[4095], (uint8_t)(1 + i));
		assert_zeros(file, at + 4096, (255 - i % 256) * 4096);
	}
	assert_int_equal(vmfs_file_write(file, data, 4096, 300 * MIB), 0);
	assert_int_equal(vmfs_file_truncate(file, before * MIB), 0);
	assert_int_equal(file->fill_count, 0);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/*
 * As a device: a write into a block that is being filled goes straight to the leaf, and
 * counts when it has ended well, not if it never ran.
 */
static void a_device_fills_a_block(void **state)
{
	struct testvol tv;
	struct bdev *bd;
	struct bdev_extent e;
	uint64_t place;
	(void)state;
	testvol_new(&tv, 2);
	struct vmfs_file *file = open_file(tv.vol, "/disk");
	assert_int_equal(vmfs_file_truncate(file, 10 * MIB), 0);
	assert_int_equal(vmfs_file_bdev(file, &bd), 0);
	struct worker_pool *pool = worker_pool_new("pool", 2);
	bdev_set_pool(bd, pool);
	uint8_t *buf = malloc(MIB);
	memset(buf, 'w', MIB);
	assert_int_equal(batch_one(bd, BDEV_WRITE, 0, buf, 65536, 0), 0);
	assert_int_equal(state_of(file, 0, &place), FILE_FILLING);
	spoil(&tv, place, 65536);
	struct bdev_io io = { .op = BDEV_WRITE, .offset = 65536, .len = 65536 };
	assert_int_equal(bd->ops->map(bd, &io, &e), 0);
	assert_ptr_equal(e.leaf, tv.bd);
	assert_int_equal(e.len, 65536);
	assert_int_equal(e.offset, LVM_DATA_OFF + place + 65536);
	bd->ops->unmap(bd, &e);
	/* Not by a write of less than pieces, nor one that shall be durable. */
	io.len = 512;
	assert_int_equal(bd->ops->map(bd, &io, &e), -EAGAIN);
	io.len = 65536;
	io.flags = BDEV_FUA;
	assert_int_equal(bd->ops->map(bd, &io, &e), -EAGAIN);
	for (uint64_t at = 131072; at < MIB; at += 65536)
		assert_int_equal(batch_one(bd, BDEV_WRITE, 0, buf, 65536, at), 0);
	assert_int_equal(state_of(file, 0, &place), FILE_FILLING);
	assert_int_equal(batch_one(bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(state_of(file, 0, &place), FILE_DATA);
	assert_int_equal(file->ready_total, 0);
	assert_int_equal(on_disk(&tv, place), 'w');
	assert_int_equal(on_disk(&tv, place + 65536), 0);
	assert_int_equal(on_disk(&tv, place + 131072), 'w');
	assert_int_equal(on_disk(&tv, place + MIB - 512), 'w');
	assert_zeros(file, 65536, 65536);
	free(buf);
	bdev_close(bd);
	worker_pool_free(pool);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_is_filled_before_it_is_zeroed),
		cmocka_unit_test(only_so_many_blocks_are_being_filled),
		cmocka_unit_test(a_device_fills_a_block),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("tests", tests, NULL, NULL);
}
