/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First writes into a thin disk, by three tasks at a time, as a guest sends them, on a
 * volume whose free blocks are full of what others wrote. The device records each write
 * and is rebuilt as a power failure, or the death of the host alone (a prefix of all),
 * could have left it after each of them; another host looks. Of each sector it finds
 *
 *   always	zeros, or what was written there: no byte of what the block held before
 *   flushed	what was there at the last FLUSH, or FUA, that had ended, or something
 *		newer
 *   prompt	if the host died alone: what was there at the last write that had ended
 *		(VDISK_PROMPT: a guest lives on and does not write it again)
 *
 * And the guest itself finds what it wrote last, whatever of the block is on its way.
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
#include "tests/sim/world.h"
#include "vdisk/vdisk.h"
#include "vmfs/format.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define MIB (1u << 20)
#define BLOCKS 12u
#define FILLS 64u /* at a time: behind as many a block is zeroed when it is taken */
#define JUNK 0xee
#define PATH "/d.vmdk"
#define TASKS 3u
#define WRITES 10u /* of a task */
#define MAX_WRITES (TASKS * WRITES)
#define PIECE 4096u

/* A write of one byte, many times; a discard: of zeros. Places in the device's log. */
struct written {
	uint64_t offset, len;
	uint8_t byte;
	bool is_durable; /* FUA */
	unsigned int begun, ended;
};

struct flushed {
	unsigned int begun, ended;
};

struct story {
	bool is_prompt;
	bool is_short; /* every cut is looked at */
	/* Blocks before those of the story: being filled, each written once. */
	unsigned int fills;
	struct world_mount *m;
	struct vdisk *disk;
	unsigned int count, flush_count;
	struct written write[MAX_WRITES];
	struct flushed flush[MAX_WRITES];
	/*
	 * The cut that is looked at; how many entries of it have ended: not a torn one.
	 */
	char place[128];
	unsigned int has_ended;
};

/* ---- the guest ---- */

struct guest {
	struct story *st;
	unsigned int number;
};

/* Of the blocks of the story, which are the last ones of the disk. */
static uint64_t on_disk(const struct story *st, uint64_t offset)
{
	return st->fills * (uint64_t)MIB + offset;
}

/* As a guest's go: mapped where that is possible, else by a worker. */
static void send(struct story *st, enum bdev_op op, uint32_t flags, void *buf,
		 uint64_t len, uint64_t offset)
{
	SIM_CHECK(batch_one(vdisk_bdev(st->disk), op, flags, buf, len,
			    on_disk(st, offset)) == 0);
}

static void write_bytes(struct story *st, const struct written *what)
{
	struct written *w = &st->write[st->count++];
	*w = *what;
	w->byte = (uint8_t)(1 + st->count);
	uint8_t *buf = io_alloc(w->len);
	memset(buf, w->byte, w->len);
	w->begun = simdisk_logged(st->m->disk);
	send(st, BDEV_WRITE, w->is_durable ? BDEV_FUA : 0, buf, w->len, w->offset);
	w->ended = simdisk_logged(st->m->disk);
	free(buf);
}

static void discard(struct story *st, uint64_t offset, uint64_t len)
{
	struct written *w = &st->write[st->count++];
	*w = (struct written){ .offset = offset,
			       .len = len,
			       .begun = simdisk_logged(st->m->disk) };
	send(st, BDEV_UNMAP, 0, NULL, len, offset);
	w->ended = simdisk_logged(st->m->disk);
}

/* A block is written by one task alone: then its writes are in the order of st->write. */
static uint64_t block_of(unsigned int task)
{
	return (sim_random(BLOCKS / TASKS) * TASKS + task) * MIB;
}

static void write_somewhere(struct story *st, unsigned int task)
{
	struct written w = { .offset = block_of(task),
			     .len = PIECE,
			     .is_durable = sim_random(6) == 0 };
	uint64_t quarter = sim_random(4); /* few, so that some are written again */
	unsigned int kind = (unsigned int)sim_random(8);
	if (kind == 0)
		w.len = MIB;
	else
		w.offset += quarter * (MIB / 4);
	if (kind == 1)
		w.len = 512;
	if (kind >= 2 && kind <= 4) /* four of them are a whole block */
		w.len = MIB / 4;
	if (kind == 5 && !st->is_prompt)
		discard(st, w.offset, MIB / 4);
	else
		write_bytes(st, &w);
}

static uint8_t last_written(const struct story *st, uint64_t at)
{
	uint8_t byte = 0;
	for (unsigned int i = 0; i < st->count; i++) {
		const struct written *w = &st->write[i];
		if (at >= w->offset && at < w->offset + w->len)
			byte = w->byte;
	}
	return byte;
}

static void read_back(struct story *st, uint64_t offset)
{
	uint8_t *buf = io_alloc(MIB);
	send(st, BDEV_READ, 0, buf, MIB, offset);
	for (uint64_t at = 0; at < MIB; at += 512) {
		if (buf[at] != last_written(st, offset + at))
			sim_fail("sector %u is read as 0x%02x",
				 (unsigned int)((offset + at) / 512), buf[at]);
	}
	free(buf);
}

static void flush(struct story *st)
{
	struct flushed *f = &st->flush[st->flush_count++];
	f->begun = simdisk_logged(st->m->disk);
	f->ended = UINT32_MAX;
	send(st, BDEV_FLUSH, 0, NULL, 0, 0);
	f->ended = simdisk_logged(st->m->disk);
}

static void run_guest(void *arg)
{
	struct guest *g = arg;
	for (unsigned int i = 0; i < WRITES; i++) {
		write_somewhere(g->st, g->number);
		if (sim_random(5) == 0)
			flush(g->st);
		if (sim_random(5) == 0)
			read_back(g->st, block_of(g->number));
	}
}

/*
 * Nobody flushes, so all that is being filled stays so: what is taken now is zeroed, with
 * what others wait for.
 */
static void run_behind_fills(void *arg)
{
	struct guest *g = arg;
	for (unsigned int i = 0; i < WRITES / 2; i++) {
		struct written w = { .offset = block_of(g->number) +
					       sim_random(4) * (MIB / 4),
				     .len = PIECE };
		write_bytes(g->st, &w);
		if (sim_random(3) == 0)
			read_back(g->st, block_of(g->number));
	}
}

/* ---- what is found ---- */

/* Was it durable, or need it only have ended, before the cut? */
static bool is_promised(const struct story *st, const struct written *w, bool is_alone)
{
	if (w->ended > st->has_ended || !w->ended)
		return false;
	if (w->is_durable || (is_alone && st->is_prompt))
		return true;
	for (unsigned int i = 0; i < st->flush_count; i++) {
		if (st->flush[i].begun >= w->ended && st->flush[i].ended <= st->has_ended)
			return true;
	}
	return false;
}

static void check_sector(const struct story *st, const uint8_t *got, uint64_t at,
			 unsigned int n, bool is_alone)
{
	uint8_t byte = got[0];
	for (unsigned int i = 1; i < 512; i++) {
		if (got[i] != byte)
			sim_fail("%s: sector %u is mixed", st->place,
				 (unsigned int)(at / 512));
	}
	bool is_allowed = byte == 0;
	for (unsigned int i = 0; i < st->count; i++) {
		const struct written *w = &st->write[i];
		if (at < w->offset || at >= w->offset + w->len)
			continue;
		if (is_promised(st, w, is_alone))
			is_allowed = false;
		is_allowed |= byte == w->byte && w->begun <= n;
	}
	if (!is_allowed)
		sim_fail("%s: sector %u has 0x%02x", st->place, (unsigned int)(at / 512),
			 byte);
}

static void look(struct story *st, struct world_mount *m, unsigned int n, bool is_alone)
{
	const struct vdisk_open_options how = { .flags = VDISK_READ_LOCKED,
						.reporter = &m->told.base };
	const uint64_t size = BLOCKS * MIB;
	uint8_t *bytes = io_alloc(size);
	struct vdisk *disk;
	SIM_CHECK(vdisk_open(m->vol, PATH, &how, &disk, NULL) == 0);
	SIM_CHECK(bdev_read(vdisk_bdev(disk), bytes, size, on_disk(st, 0)) == 0);
	SIM_CHECK(vdisk_close(disk) == 0);
	/* Writes begin and end at pieces: a sector of each, and all where blocks meet. */
	for (uint64_t at = 0; at < size; at += PIECE / 2)
		check_sector(st, bytes + at, at, n, is_alone);
	free(bytes);
}

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	struct story *st = arg;
	st->has_ended = cut == SIMDISK_TORN ? n - 1 : n;
	struct world_mount m;
	if (!getenv("FULL") && !st->is_short && n % 3)
		return;
	world_mount_cut(&m, log, n, cut, st->place, sizeof(st->place));
	look(st, &m, n, cut == SIMDISK_PREFIX);
	world_unmount(&m);
	simdisk_free(m.disk);
}

/* ---- the story ---- */

/* All blocks are of this file that are not of another; they are not written. */
static void take_the_rest(struct world_mount *m)
{
	const struct vmfs_file_options how = { .flags = VMFS_CREATE | VMFS_WRITE };
	struct vmfs_file *file;
	uint64_t size = 0;
	int err;
	SIM_CHECK(vmfs_file_open(m->vol, "/rest", &how, &file, NULL) == 0);
	do
		err = vmfs_file_allocate(file, size, MIB, VMFS_ALLOCATE_TBZ);
	while (err == 0 && (size += MIB) < VOLUME_SIZE);
	SIM_CHECK(err == -ENOSPC);
	SIM_CHECK(vmfs_file_close(file) == 0);
}

/* Blocks that are free, and not zero; there are no others. */
static void leave_junk(struct world_mount *m, uint64_t size)
{
	const struct vmfs_file_options how = { .flags = VMFS_CREATE | VMFS_WRITE };
	uint8_t *junk = io_alloc(MIB);
	struct vmfs_file *file;
	memset(junk, JUNK, MIB);
	SIM_CHECK(vmfs_file_open(m->vol, "/junk", &how, &file, NULL) == 0);
	for (uint64_t at = 0; at < size; at += MIB)
		SIM_CHECK(vmfs_file_write(file, junk, MIB, at) == 0);
	SIM_CHECK(vmfs_file_close(file) == 0);
	take_the_rest(m);
	SIM_CHECK(vmfs_unlink(m->vol, "/junk") == 0);
	free(junk);
}

static void run_tasks(struct story *st, void (*run)(void *arg))
{
	struct task *task[TASKS];
	struct guest guest[TASKS];
	for (unsigned int i = 0; i < TASKS; i++) {
		guest[i] = (struct guest){ st, i };
		task[i] = task_start("guest", run, &guest[i]);
		SIM_CHECK(task[i]);
	}
	for (unsigned int i = 0; i < TASKS; i++)
		task_join(task[i]);
}

/* Before the log begins; from the last to the first: it is no sequence. */
static void begin_fills(struct story *st)
{
	uint8_t *buf = io_alloc(PIECE);
	memset(buf, 'f', PIECE);
	for (unsigned int i = st->fills; i-- > 0;)
		SIM_CHECK(batch_one(vdisk_bdev(st->disk), BDEV_WRITE, 0, buf, PIECE,
				    i * (uint64_t)MIB) == 0);
	free(buf);
}

/*
 * Whose mark was cleared by a record that has not been flushed yet (VDISK_PROMPT): a
 * write beside it that shall be durable needs the record, too.
 */
static void write_beside(struct story *st)
{
	for (uint64_t block = 0; block < 3; block++) {
		write_bytes(st, &(struct written){ .offset = block * MIB,
						   .len = PIECE });
		write_bytes(st, &(struct written){ .offset = block * MIB + MIB / 4,
						   .len = PIECE,
						   .is_durable = true });
	}
}

static void story(void *arg)
{
	struct story st = *(const struct story *)arg;
	const uint64_t size = (st.fills + BLOCKS) * (uint64_t)MIB;
	const struct vdisk_create_options disk = { .capacity_bytes = size };
	struct world_mount m;
	const struct vdisk_open_options how = {
		.flags = VDISK_WRITE | (st.is_prompt ? VDISK_PROMPT : 0),
		.reporter = &m.told.base
	};
	sim_set_limits(365ull * 86400 * NS_PER_S, 900ull * 1000 * 1000);
	world_begin(&m, VOLUME_SIZE);
	st.m = &m;
	leave_junk(&m, size + 8 * MIB);
	SIM_CHECK(vdisk_create(m.vol, PATH, &disk) == 0);
	if (!st.fills)
		simdisk_log_start(m.disk);
	SIM_CHECK(vdisk_open(m.vol, PATH, &how, &st.disk, NULL) == 0);
	struct worker_pool *pool = worker_pool_new("disk", TASKS);
	bdev_set_pool(vdisk_bdev(st.disk), pool);
	if (st.fills) {
		begin_fills(&st);
		simdisk_log_start(m.disk);
		run_tasks(&st, run_behind_fills);
		flush(&st);
	} else if (st.is_short) {
		write_beside(&st);
	} else {
		run_tasks(&st, run_guest);
	}
	worker_pool_free(pool);
	SIM_CHECK(vdisk_close(st.disk) == 0);
	struct simdisk_log *log = world_end(&m);
	simdisk_each_cut(log, check_cut, &st);
	simdisk_log_free(log);
}

static void what_was_flushed_is_there_and_nothing_of_others(void **state)
{
	struct story st = { .is_prompt = false };
	(void)state;
	sim_each_seed(1, getenv("FULL") ? 12 : 3, story, &st);
}

static void what_a_guest_has_written_outlives_its_host(void **state)
{
	struct story st = { .is_prompt = true };
	(void)state;
	sim_each_seed(100, getenv("FULL") ? 12 : 3, story, &st);
}

static void what_is_durable_takes_along_the_record_of_its_block(void **state)
{
	struct story st = { .is_prompt = true, .is_short = true };
	(void)state;
	sim_each_seed(200, 2, story, &st);
}

static void what_is_taken_behind_many_fills_shows_nothing_of_others(void **state)
{
	struct story st = { .is_short = true, .fills = FILLS };
	(void)state;
	sim_each_seed(300, getenv("FULL") ? 12 : 2, story, &st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_flushed_is_there_and_nothing_of_others),
		cmocka_unit_test(what_a_guest_has_written_outlives_its_host),
		cmocka_unit_test(what_is_durable_takes_along_the_record_of_its_block),
		cmocka_unit_test(
			what_is_taken_behind_many_fills_shows_nothing_of_others),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
