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

#include "base/env.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/lib/heldleaf.h"
#include "tests/lib/testvol.h"
#include "vdisk/vdisk.h"
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

/*
 * Many at a time, more than may be: those that come then are zeroed before they are
 * written, since what is far from one another is not going to be filled.
 */
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
	assert_int_equal(state_of(file, 0, &place), FILE_FILLING);
	assert_int_equal(state_of(file, 199 * 37 % 200, &place), FILE_DATA);
	assert_int_equal(on_disk(&tv, place), 0);
	/* Some are cut off, and some taken away, while they are being filled. */
	uint64_t last = 63 * 37 % 200, before = 198 * 37 % 200;
	assert_int_equal(state_of(file, last, &place), FILE_FILLING);
	assert_int_equal(vmfs_file_punch(file, last * MIB, MIB), 0);
	assert_int_equal(state_of(file, last, &place), FILE_HOLE);
	assert_int_equal(vmfs_file_sync(file), 0);
	assert_int_equal(file->fill_count, 0);
	for (uint64_t i = 0; i < 200; i++) {
		uint64_t at = i * 37 % 200 * MIB + i * 4096;
		uint8_t byte = i == 63 ? 0 : (uint8_t)(1 + i);
		assert_int_equal(vmfs_file_read(file, data, 4096, at), 4096);
		assert_int_equal(data[0], byte);
		assert_int_equal(data[4095], byte);
		assert_zeros(file, at + 4096, (255 - i % 256) * 4096);
	}
	assert_int_equal(vmfs_file_write(file, data, 4096, 300 * MIB), 0);
	assert_int_equal(state_of(file, 300, &place), FILE_FILLING);
	assert_int_equal(vmfs_file_truncate(file, before * MIB), 0);
	assert_int_equal(file->fill_count, 0);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* 64 of them, each with little in it. */
static void begin_many(struct vmfs_file *file)
{
	uint8_t data[4096];
	uint64_t place;
	for (uint64_t i = 0; i < 64; i++) {
		memset(data, (int)(1 + i), sizeof(data));
		assert_int_equal(
			vmfs_file_write(file, data, 4096, i * 3 * MIB + i * 4096), 0);
		assert_int_equal(state_of(file, i * 3, &place), FILE_FILLING);
	}
}

/*
 * Who takes a block behind that many takes and zeroes those that others wait for, too. A
 * sequence fills its blocks all the same, and the oldest are finished for it.
 */
static void what_many_wait_for_is_zeroed_together(void **state)
{
	static const uint64_t wished[] = { 1, 4, 301, 7 };
	struct testvol tv;
	uint64_t place;
	uint8_t data[4096];
	(void)state;
	testvol_new(&tv, 2);
	leave_junk(&tv, 2);
	struct vmfs_file *file = open_file(tv.vol, "/f");
	assert_int_equal(vmfs_file_truncate(file, 400 * MIB), 0);
	begin_many(file);
	file_wish(file, 0); /* it is no hole */
	assert_int_equal(file->wish_count, 0);
	for (unsigned int i = 0; i < 3; i++) {
		file_wish(file, wished[i]);
		file_wish(file, wished[i]);
	}
	assert_int_equal(file->wish_count, 3);
	memset(data, 'd', sizeof(data));
	assert_int_equal(vmfs_file_write(file, data, 4096, 7 * MIB + 8192), 0);
	assert_int_equal(file->wish_count, 0);
	assert_int_equal(file->ready_total, 4);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(state_of(file, wished[i], &place), FILE_DATA);
		for (uint64_t at = 0; at < MIB; at += 4096)
			assert_int_equal(on_disk(&tv, place + at),
					 i == 3 && at == 8192 ? 'd' : 0);
	}
	assert_int_equal(file->fill_count, 64);
	assert_int_equal(state_of(file, 0, &place), FILE_FILLING);
	assert_int_equal(vmfs_file_write(file, data, 4096, 8 * MIB), 0);
	assert_int_equal(state_of(file, 8, &place), FILE_FILLING);
	assert_int_equal(state_of(file, 0, &place), FILE_DATA);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* As a device: many first writes at once, of a guest that may outlive its host, too. */
static void many_first_writes_at_once(void **state)
{
	struct batch_io ios[48];
	uint8_t bytes[48][4096];
	struct testvol tv;
	struct bdev *bd;
	(void)state;
	testvol_new(&tv, 2);
	leave_junk(&tv, 2);
	for (uint32_t prompt = 0; prompt < 2; prompt++) {
		struct vmfs_file_options options = {
			.flags = VMFS_WRITE | VMFS_CREATE | (prompt ? VMFS_PROMPT : 0)
		};
		struct vmfs_file *file;
		assert_int_equal(vmfs_file_open(tv.vol, prompt ? "/p" : "/f", &options,
						&file, NULL), 0);
		assert_int_equal(vmfs_file_truncate(file, 200 * MIB), 0);
		if (!prompt)
			begin_many(file);
		assert_int_equal(vmfs_file_bdev(file, &bd), 0);
		struct worker_pool *pool = worker_pool_new("pool", 2);
		bdev_set_pool(bd, pool);
		for (unsigned int i = 0; i < 48; i++) {
			memset(bytes[i], (int)(100 + i), 4096);
			ios[i] = (struct batch_io){
				.io = { .op = BDEV_WRITE,
					.offset = (i * 3 + 1) * MIB + i * 4096,
					.len = 4096 },
				.iov = { bytes[i], 4096 }
			};
		}
		batch_run(bd, ios, 48);
		assert_int_equal(file->wish_count, 0);
		for (unsigned int i = 0; i < 48; i++) {
			uint64_t block = (i * 3 + 1) * MIB, at = i * 4096;
			uint8_t got[4096];
			assert_int_equal(ios[i].io.result, 0);
			assert_int_equal(vmfs_file_read(file, got, 4096, block + at),
					 4096);
			assert_memory_equal(got, bytes[i], 4096);
			assert_zeros(file, block + at + 4096, MIB - at - 4096);
		}
		bdev_close(bd);
		worker_pool_free(pool);
		assert_int_equal(vmfs_file_close(file), 0);
	}
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

/* ---- a write that is under way, or whose fate is not known ---- */

/* A volume in memory whose writes can be held. */
static void set_up_held(struct testvol *tv, struct heldleaf *leaf)
{
	struct bdev *bd;
	assert_int_equal(bdev_mem_new(2ull << 28, 512, NULL, &bd), 0);
	testvol_format(tv, bd);
	heldleaf_start(leaf, bd);
	testvol_mount(tv, false);
}

static void tear_down_held(struct testvol *tv, struct heldleaf *leaf)
{
	testvol_unmount(tv);
	heldleaf_done(leaf);
	testvol_check(tv);
	testvol_free(tv);
}

/* A file on it, as a device with workers. */
struct held_file {
	struct testvol tv;
	struct heldleaf leaf;
	struct vmfs_file *file;
	struct bdev *bd;
	struct worker_pool *pool;
};

static void set_up_file(struct held_file *h, unsigned int workers)
{
	set_up_held(&h->tv, &h->leaf);
	h->file = open_file(h->tv.vol, "/f");
	assert_int_equal(vmfs_file_truncate(h->file, 8 * MIB), 0);
	assert_int_equal(vmfs_file_bdev(h->file, &h->bd), 0);
	h->pool = worker_pool_new("pool", workers);
	bdev_set_pool(h->bd, h->pool);
}

static void tear_down_file(struct held_file *h)
{
	bdev_close(h->bd);
	worker_pool_free(h->pool);
	assert_int_equal(vmfs_file_close(h->file), 0);
	tear_down_held(&h->tv, &h->leaf);
}

static struct batch_io io_of(enum bdev_op op, uint8_t *buf, uint64_t offset)
{
	return (struct batch_io){ .io = { .op = op, .offset = offset, .len = 4096 },
				  .iov = { buf, 4096 } };
}

/*
 * All workers wait until nobody writes to a block; who does has to be sent again by one.
 */
static void a_write_is_sent_again_for_those_who_wait(void **state)
{
	struct held_file h;
	struct batch writing, reading;
	uint8_t data[4096], got[3][4096], zeros[4096] = { 0 };
	(void)state;
	set_up_file(&h, 2);
	memset(data, 'd', sizeof(data));
	assert_int_equal(batch_one(h.bd, BDEV_WRITE, 0, data, 4096, 0), 0);
	heldleaf_arm(&h.leaf);
	struct batch_io write = io_of(BDEV_WRITE, data, 8192);
	batch_start(&writing, h.bd, &write, 1);
	heldleaf_wait(&h.leaf);
	struct batch_io reads[3] = { io_of(BDEV_READ, got[0], 0),
				     io_of(BDEV_READ, got[1], 8192),
				     io_of(BDEV_READ, got[2], 4096) };
	batch_start(&reading, h.bd, reads, 3);
	task_sleep_until(clock_now() + 50 * NS_PER_MS); /* they wait, both workers */
	heldleaf_let_go(&h.leaf);
	batch_wait(&writing);
	batch_wait(&reading);
	assert_int_equal(write.io.result, 0);
	assert_memory_equal(got[0], data, 4096);
	assert_memory_equal(got[2], zeros, 4096);
	assert_int_equal(vmfs_file_read(h.file, got[1], 4096, 8192), 4096);
	assert_memory_equal(got[1], data, 4096);
	tear_down_file(&h);
}

/* Who takes the block of a first write does not wait for the end of that write. */
static void a_first_write_keeps_no_worker(void **state)
{
	struct held_file h;
	struct batch writing;
	uint8_t data[4096], got[4096];
	(void)state;
	set_up_file(&h, 1);
	memset(data, 'd', sizeof(data));
	heldleaf_arm(&h.leaf);
	struct batch_io write = io_of(BDEV_WRITE, data, 8192);
	batch_start(&writing, h.bd, &write, 1);
	heldleaf_wait(&h.leaf);
	assert_non_null(h.leaf.io); /* nobody is inside of it */
	h.file->mtime_s = 0;
	assert_int_equal(batch_one(h.bd, BDEV_WRITE, 0, data, 4096, 3 * MIB), 0);
	assert_int_not_equal(h.file->mtime_s, 0);
	assert_false(h.file->is_preparing);
	heldleaf_let_go(&h.leaf);
	batch_wait(&writing);
	assert_int_equal(write.io.result, 0);
	assert_int_equal(h.file->wish_count, 0);
	for (uint64_t at = 0; at < 2; at++) {
		uint64_t offset = at ? 3 * MIB : 8192;
		assert_int_equal(vmfs_file_read(h.file, got, 4096, offset), 4096);
		assert_memory_equal(got, data, 4096);
		assert_zeros(h.file, offset + 4096, 65536);
	}
	tear_down_file(&h);
}

/*
 * Of several at once some go to the leaf, into a block that is being filled, and one has
 * to wait until nobody writes to it: it is done behind their end.
 */
static void several_at_once_wait_for_no_other_of_them(void **state)
{
	struct held_file h;
	uint8_t data[4096], got[4096], zeros[4096] = { 0 };
	(void)state;
	set_up_file(&h, 1);
	memset(data, 'd', sizeof(data));
	assert_int_equal(batch_one(h.bd, BDEV_WRITE, 0, data, 4096, 0), 0);
	struct batch_io all[2] = { io_of(BDEV_READ, got, 4096),
				   io_of(BDEV_WRITE, data, 8192) };
	struct bdev_io ios[2];
	struct bdev_extent e;
	for (unsigned int i = 0; i < 2; i++) {
		ios[i] = all[i].io;
		ios[i].iov = &all[i].iov;
		ios[i].iovcnt = 1;
	}
	assert_int_equal(h.bd->ops->map(h.bd, &ios[0], &e), -EAGAIN);
	bdev_run_several(h.bd, ios, 2);
	assert_int_equal(ios[0].result, 0);
	assert_int_equal(ios[1].result, 0);
	assert_memory_equal(got, zeros, 4096);
	assert_int_equal(vmfs_file_read(h.file, got, 4096, 8192), 4096);
	assert_memory_equal(got, data, 4096);
	tear_down_file(&h);
}

/* A block that was taken ahead of a sequence is filled without a worker. */
static void a_block_ahead_is_filled_at_once(void **state)
{
	struct testvol tv;
	struct bdev *bd;
	struct bdev_extent e;
	uint64_t place;
	uint8_t data[65536];
	(void)state;
	testvol_new(&tv, 2);
	leave_junk(&tv, 2);
	memset(data, 'd', sizeof(data));
	struct vmfs_file *file = open_file(tv.vol, "/f");
	assert_int_equal(vmfs_file_truncate(file, 100 * MIB), 0);
	for (uint64_t at = 0; at < 2 * MIB; at += sizeof(data))
		assert_int_equal(vmfs_file_write(file, data, sizeof(data), at), 0);
	assert_int_equal(state_of(file, 2, &place), FILE_TBZ);
	assert_int_equal(vmfs_file_bdev(file, &bd), 0); /* without workers */
	struct bdev_io io = { .op = BDEV_WRITE, .offset = 2 * MIB, .len = 512 };
	assert_int_equal(bd->ops->map(bd, &io, &e), -EAGAIN);
	io.len = MIB;
	assert_int_equal(bd->ops->map(bd, &io, &e), -EAGAIN);
	io.len = 65536;
	io.flags = BDEV_FUA;
	assert_int_equal(bd->ops->map(bd, &io, &e), -EAGAIN);
	io.flags = 0;
	sleeplock_acquire(&file->sleeplock);
	assert_int_equal(bd->ops->map(bd, &io, &e), -EAGAIN);
	sleeplock_release(&file->sleeplock);
	assert_int_equal(state_of(file, 2, &place), FILE_TBZ);
	assert_int_equal(batch_one(bd, BDEV_WRITE, 0, data, 65536, 2 * MIB), 0);
	assert_int_equal(state_of(file, 2, &place), FILE_FILLING);
	assert_int_equal(on_disk(&tv, place), 'd');
	bdev_close(bd);
	assert_zeros(file, 2 * MIB + 65536, MIB - 65536);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void put_disk_of_two(struct vmfs_volume *vol)
{
	static const char text[] =
		"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
		"createType=\"twoGbMaxExtentFlat\"\n"
		"RW 8192 VMFS \"one\"\nRW 8192 VMFS \"two\"\n";
	static const char *const names[] = { "/one", "/two" };
	for (unsigned int i = 0; i < 2; i++) {
		struct vmfs_file *file = open_file(vol, names[i]);
		assert_int_equal(vmfs_file_truncate(file, 4 * MIB), 0);
		assert_int_equal(vmfs_file_close(file), 0);
	}
	struct vmfs_file *file = open_file(vol, "/d.vmdk");
	assert_int_equal(vmfs_file_write(file, text, sizeof(text) - 1, 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* What is sent again belongs to the file where it lies: of several, any. */
static void what_is_sent_again_is_noted_where_it_lies(void **state)
{
	struct testvol tv;
	struct heldleaf leaf;
	struct vdisk *disk;
	struct batch writing;
	uint8_t data[4096], got[4096];
	const struct vdisk_open_options options = { .flags = VDISK_WRITE };
	(void)state;
	set_up_held(&tv, &leaf);
	memset(data, 'd', sizeof(data));
	put_disk_of_two(tv.vol);
	assert_int_equal(vdisk_open(tv.vol, "/d.vmdk", &options, &disk, NULL), 0);
	struct bdev *bd = vdisk_bdev(disk);
	struct worker_pool *pool = worker_pool_new("pool", 2);
	bdev_set_pool(bd, pool);
	for (uint64_t at = 0; at < 8 * MIB; at += 4 * MIB) {
		assert_int_equal(batch_one(bd, BDEV_WRITE, 0, data, 4096, at), 0);
		heldleaf_arm(&leaf);
		struct batch_io write = io_of(BDEV_WRITE, data, at + 8192);
		batch_start(&writing, bd, &write, 1);
		heldleaf_wait(&leaf);
		heldleaf_let_go(&leaf);
		batch_wait(&writing);
		assert_int_equal(write.io.result, 0);
		assert_int_equal(batch_one(bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
		assert_int_equal(bdev_read(bd, got, 4096, at + 8192), 0);
		assert_memory_equal(got, data, 4096);
	}
	assert_int_equal(vdisk_close(disk), 0);
	worker_pool_free(pool);
	tear_down_held(&tv, &leaf);
}

/*
 * The rest of a block cannot be zeroed: it is not told for zeros, nor is what was noted.
 */
static void what_cannot_be_zeroed_is_no_zeros(void **state)
{
	struct testvol tv;
	struct heldleaf leaf;
	uint64_t place;
	uint8_t data[4096], got[4096];
	(void)state;
	set_up_held(&tv, &leaf);
	struct vmfs_file *file = open_file(tv.vol, "/f");
	assert_int_equal(vmfs_file_truncate(file, 200 * MIB), 0);
	for (uint64_t i = 0; i < 64; i++) {
		memset(data, (int)(1 + i), sizeof(data));
		assert_int_equal(
			vmfs_file_write(file, data, 4096, i * 3 * MIB + i * 4096), 0);
		assert_int_equal(state_of(file, i * 3, &place), FILE_FILLING);
		uint8_t *junk = malloc(MIB);
		memset(junk, 0xee, MIB);
		assert_int_equal(bdev_write(tv.bd, junk, MIB - (i + 1) * 4096,
					    LVM_DATA_OFF + place + (i + 1) * 4096), 0);
		free(junk);
	}
	leaf.failing_zeroes = 1;
	assert_int_equal(vmfs_file_read(file, got, 4096, 8192), -EIO);
	leaf.failing_zeroes = 1;
	assert_int_equal(vmfs_file_sync(file), -EIO);
	/* The 65th finishes others if it is one of a sequence. */
	leaf.failing_zeroes = 1;
	assert_int_equal(vmfs_file_write(file, data, 4096, 190 * MIB), -EIO);
	assert_int_equal(leaf.failing_zeroes, 0);
	/* Else it is zeroed, with what is wished. */
	file_wish(file, 4);
	leaf.failing_zeroes = 1;
	assert_int_equal(vmfs_file_write(file, data, 4096, MIB), -EIO);
	assert_int_equal(leaf.failing_zeroes, 0);
	assert_int_equal(state_of(file, 4, &place), FILE_TBZ);
	assert_int_equal(file->ready_total, 0);
	assert_int_equal(vmfs_file_write(file, data, 4096, MIB), 0);
	assert_int_equal(vmfs_file_write(file, data, 4096, 190 * MIB), 0);
	assert_int_equal(vmfs_file_sync(file), 0);
	for (uint64_t i = 0; i < 64; i++) {
		uint64_t at = i * 3 * MIB + i * 4096;
		memset(data, (int)(1 + i), sizeof(data));
		assert_int_equal(vmfs_file_read(file, got, 4096, at), 4096);
		assert_memory_equal(got, data, 4096);
		assert_zeros(file, at + 4096, MIB - (i + 1) * 4096);
	}
	assert_int_equal(vmfs_file_close(file), 0);
	tear_down_held(&tv, &leaf);
}

struct late_write {
	struct vmfs_file *file;
	uint64_t offset;
	int rc;
};

static void write_late(void *arg)
{
	struct late_write *w = arg;
	uint8_t data[4096];
	memset(data, 'l', sizeof(data));
	w->rc = vmfs_file_write(w->file, data, sizeof(data), w->offset);
}

/*
 * Two write behind the end at a time, the second of them with a gap before it: what the
 * first has written there is no gap.
 */
static void what_is_written_behind_the_end_is_no_gap(void **state)
{
	struct testvol tv;
	struct heldleaf leaf;
	uint8_t data[4096], got[4096];
	(void)state;
	set_up_held(&tv, &leaf);
	memset(data, 'd', sizeof(data));
	for (unsigned int is_filling = 0; is_filling < 2; is_filling++) {
		struct vmfs_file *file = open_file(tv.vol, is_filling ? "/f" : "/d");
		assert_int_equal(vmfs_file_truncate(file, 2 * MIB), 0);
		assert_int_equal(vmfs_file_truncate(file, MIB), 0);
		assert_int_equal(vmfs_file_write(file, data, 4096, MIB), 0);
		if (!is_filling)
			assert_int_equal(vmfs_file_sync(file), 0);
		heldleaf_arm(&leaf);
		struct late_write first = { .file = file, .offset = MIB + 4096 };
		struct late_write second = { .file = file, .offset = MIB + 65536 };
		struct task *one = task_start("first", write_late, &first);
		heldleaf_wait(&leaf);
		struct task *two = task_start("second", write_late, &second);
		task_sleep_until(clock_now() + 50 * NS_PER_MS); /* if it does not wait */
		heldleaf_let_go(&leaf);
		task_join(one);
		task_join(two);
		assert_int_equal(first.rc, 0);
		assert_int_equal(second.rc, 0);
		memset(data, 'l', sizeof(data));
		assert_int_equal(vmfs_file_read(file, got, 4096, MIB + 4096), 4096);
		assert_memory_equal(got, data, 4096);
		assert_int_equal(vmfs_file_read(file, got, 4096, MIB + 65536), 4096);
		assert_memory_equal(got, data, 4096);
		assert_zeros(file, MIB + 8192, 65536 - 8192);
		assert_int_equal(vmfs_file_close(file), 0);
	}
	tear_down_held(&tv, &leaf);
}

/* ---- many who wait for holes ---- */

/* Starts writers into holes of their own, who all wait; lets them go; counts the good. */
static unsigned int write_at_once(struct vmfs_file *file, struct late_write *writes,
				  unsigned int count)
{
	struct task *task[8];
	unsigned int waiting = 0, good = 0;
	for (unsigned int i = 0; i < count; i++) /* known for holes */
		assert_zeros(file, writes[i].offset, 4096);
	sleeplock_acquire(&file->sleeplock);
	for (unsigned int i = 0; i < count; i++)
		task[i] = task_start("writer", write_late, &writes[i]);
	while (waiting < count) {
		task_sleep_until(clock_now() + NS_PER_MS);
		mutex_lock(&file->m);
		waiting = file->wish_count;
		mutex_unlock(&file->m);
	}
	sleeplock_release(&file->sleeplock);
	for (unsigned int i = 0; i < count; i++) {
		task_join(task[i]);
		good += writes[i].rc == 0;
	}
	assert_int_equal(file->wish_count, 0);
	return good;
}

/*
 * The first of many allocates for all; where there is no room for all, each gets what he
 * would get alone.
 */
static void who_waits_for_a_hole_is_served_with_others(void **state)
{
	struct testvol tv;
	struct late_write writes[8] = { 0 };
	uint8_t data[4096], got[4096];
	(void)state;
	testvol_new(&tv, 2);
	memset(data, 'l', sizeof(data));
	struct vmfs_file *file = open_file(tv.vol, "/f");
	assert_int_equal(vmfs_file_truncate(file, 256 * MIB), 0);
	for (unsigned int i = 0; i < 8; i++) {
		writes[i].file = file;
		writes[i].offset = i * i * 5 * MIB + i * 8192;
	}
	assert_int_equal(write_at_once(file, writes, 8), 8);
	for (unsigned int i = 0; i < 8; i++) {
		assert_int_equal(vmfs_file_read(file, got, 4096, writes[i].offset), 4096);
		assert_memory_equal(got, data, 4096);
	}
	struct vmfs_file *large = open_file(tv.vol, "/large");
	uint64_t blocks = 0;
	int rc;
	while ((rc = vmfs_file_allocate(large, blocks * MIB, MIB, VMFS_ALLOCATE_TBZ)) ==
	       0)
		blocks++;
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(vmfs_file_truncate(large, (blocks - 2) * MIB), 0);
	for (unsigned int i = 0; i < 8; i++)
		writes[i].offset += MIB;
	assert_int_equal(write_at_once(file, writes, 8), 2);
	for (unsigned int i = 0; i < 8; i++) {
		bool is_good = writes[i].rc == 0;
		if (!is_good)
			assert_int_equal(writes[i].rc, -ENOSPC);
		assert_int_equal(vmfs_file_read(file, got, 4096, writes[i].offset), 4096);
		assert_int_equal(got[0], is_good ? 'l' : 0);
	}
	assert_true(collect_has(&tv.told, "no file blocks left"));
	collect_clear(&tv.told);
	assert_int_equal(vmfs_file_close(large), 0);
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
		cmocka_unit_test(what_many_wait_for_is_zeroed_together),
		cmocka_unit_test(many_first_writes_at_once),
		cmocka_unit_test(a_device_fills_a_block),
		cmocka_unit_test(a_write_is_sent_again_for_those_who_wait),
		cmocka_unit_test(a_first_write_keeps_no_worker),
		cmocka_unit_test(several_at_once_wait_for_no_other_of_them),
		cmocka_unit_test(a_block_ahead_is_filled_at_once),
		cmocka_unit_test(what_is_sent_again_is_noted_where_it_lies),
		cmocka_unit_test(what_cannot_be_zeroed_is_no_zeros),
		cmocka_unit_test(what_is_written_behind_the_end_is_no_gap),
		cmocka_unit_test(who_waits_for_a_hole_is_served_with_others),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("tests", tests, NULL, NULL);
}
