/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosted kinds on the host's own filesystem: random I/O compared with memory, what lies
 * on the disk after it, what is refused and in which words.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "vdisk/sparsehead.h"
#include "vdisk/vdisk.h"

#define MIB (1ull << 20)
#define DISK_BYTES (40 * MIB + 5 * 512) /* two grain tables; the last grain is short */
#define AREA (12 * MIB)			/* what is scribbled on */
#define AREA_AT (DISK_BYTES - AREA)
#define DEPTH 8u
#define ROUNDS 60u

struct rig {
	char dir[64], disk[96], other[96], raw[96];
	struct collect told;
};

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	strcpy(rig->dir, "/var/tmp/vdisk-hosted-XXXXXX"); /* where I/O may be direct */
	assert_non_null(mkdtemp(rig->dir));
	(void)snprintf(rig->disk, sizeof(rig->disk), "%s/d.vmdk", rig->dir);
	(void)snprintf(rig->other, sizeof(rig->other), "%s/e.vmdk", rig->dir);
	(void)snprintf(rig->raw, sizeof(rig->raw), "%s/raw", rig->dir);
	(void)collect_init(&rig->told);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;
	char command[96];
	(void)snprintf(command, sizeof(command), "rm -r %s", rig->dir);
	assert_int_equal(system(command), 0);
	collect_done(&rig->told);
	free(rig);
	return 0;
}

static void create(struct rig *rig, const char *path, enum vdisk_format format,
		   uint64_t size)
{
	const struct vdisk_create_options options = { .capacity_bytes = size,
						      .format = format,
						      .reporter = &rig->told.base };
	assert_int_equal(vdisk_create(NULL, path, &options), 0);
}

static int try_open(struct rig *rig, const char *path, uint32_t flags,
		    struct vdisk **ret_disk)
{
	const struct vdisk_open_options options = { .flags = flags,
						    .reporter = &rig->told.base };
	return vdisk_open(NULL, path, &options, ret_disk, NULL);
}

static struct vdisk *opened(struct rig *rig, const char *path, uint32_t flags)
{
	struct vdisk *disk = NULL;
	assert_int_equal(try_open(rig, path, flags, &disk), 0);
	return disk;
}

static int import(struct rig *rig, const char *from, const char *path,
		  enum vdisk_format format)
{
	const struct vdisk_create_options options = { .format = format,
						      .reporter = &rig->told.base };
	struct vdisk_source *source;
	int rc = vdisk_source_open_host(from, NULL, &rig->told.base, &source);
	if (rc < 0)
		return rc;
	rc = vdisk_import(NULL, path, source, &options);
	vdisk_source_close(source);
	return rc;
}

/* ---- scribbling ---- */

struct scribble {
	uint64_t n; /* of the generator */
	char *model, *memory;
	struct batch_io bio[DEPTH];
	uint64_t at[DEPTH], len[DEPTH];
};

static uint64_t draw(struct scribble *s, uint64_t below)
{
	s->n = s->n * 6364136223846793005u + 1442695040888963407u;
	return (s->n >> 24) % below;
}

/* One io in the i-th part of the area, so that those of a batch do not meet. */
static void plan_io(struct scribble *s, unsigned int i)
{
	static const enum bdev_op ops[] = { BDEV_WRITE, BDEV_WRITE, BDEV_WRITE,
					    BDEV_WRITE, BDEV_READ,  BDEV_READ,
					    BDEV_ZERO,	BDEV_UNMAP };
	const uint64_t part = AREA / DEPTH;
	enum bdev_op op = ops[draw(s, ARRAY_SIZE(ops))];
	uint64_t most = draw(s, 3) ? 16 : 700; /* sectors */
	s->len[i] = (draw(s, most) + 1) * 512;
	s->at[i] = i * part + draw(s, (part - s->len[i]) / 512) * 512;
	char *memory = s->memory + i * part;
	s->bio[i] = (struct batch_io){ .io = { .op = op,
					       .offset = AREA_AT + s->at[i],
					       .len = s->len[i] } };
	if (op == BDEV_WRITE) {
		fill_bytes(memory, s->len[i], (uint32_t)s->n);
		memcpy(s->model + s->at[i], memory, s->len[i]);
		s->bio[i].io.flags = draw(s, 20) ? 0 : BDEV_FUA;
	} else if (op != BDEV_READ) {
		memset(s->model + s->at[i], 0, s->len[i]);
	}
	if (op == BDEV_WRITE || op == BDEV_READ)
		s->bio[i].iov = (struct iovec){ memory, s->len[i] };
}

static void run_batch(struct scribble *s, struct bdev *bd, uint64_t seed)
{
	for (unsigned int i = 0; i < DEPTH; i++)
		plan_io(s, i);
	batch_run(bd, s->bio, DEPTH);
	for (unsigned int i = 0; i < DEPTH; i++) {
		const struct bdev_io *io = &s->bio[i].io;
		bool is_same = io->op != BDEV_READ ||
			       !memcmp(s->bio[i].iov.iov_base, s->model + s->at[i],
				       s->len[i]);
		if (io->result < 0 || !is_same)
			fail_msg("seed %llu: op %d at %llu, %llu bytes: %d",
				 (unsigned long long)seed, io->op,
				 (unsigned long long)io->offset,
				 (unsigned long long)io->len, io->result);
	}
}

static void check_all(struct scribble *s, struct rig *rig, const char *path)
{
	char *got = io_alloc(DISK_BYTES);
	struct vdisk *disk = opened(rig, path, VDISK_READ_LOCKED);
	assert_int_equal(vdisk_capacity(disk), DISK_BYTES);
	assert_int_equal(bdev_read(vdisk_bdev(disk), got, DISK_BYTES, 0), 0);
	assert_memory_equal(got + AREA_AT, s->model, AREA);
	for (uint64_t at = 0; at < AREA_AT; at++)
		assert_int_equal(got[at], 0);
	assert_int_equal(vdisk_close(disk), 0);
	free(got);
}

static void scribble(struct rig *rig, enum vdisk_format format)
{
	struct worker_pool *pool = worker_pool_new("test", 3);
	struct scribble s = { .n = random_u64() };
	uint64_t seed = s.n;
	s.model = calloc(1, AREA);
	s.memory = io_alloc(AREA);
	create(rig, rig->disk, format, DISK_BYTES);
	for (unsigned int life = 0; life < 3; life++) {
		struct vdisk *disk = opened(rig, rig->disk, VDISK_WRITE);
		struct bdev *bd = vdisk_bdev(disk);
		bdev_set_pool(bd, pool);
		for (unsigned int round = 0; round < ROUNDS / 3; round++) {
			run_batch(&s, bd, seed);
			if (round % 7 == 0)
				assert_int_equal(
					batch_one(bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
		}
		assert_int_equal(vdisk_close(disk), 0);
	}
	check_all(&s, rig, rig->disk);
	assert_int_equal(import(rig, rig->disk, rig->other, VDISK_STREAM_OPTIMIZED), 0);
	check_all(&s, rig, rig->other);
	worker_pool_free(pool);
	free(s.model);
	free(s.memory);
}

static void random_io_on_a_sparse_file_equals_memory(void **state)
{
	scribble(*state, VDISK_MONOLITHIC_SPARSE);
}

static void random_io_on_sparse_parts_equals_memory(void **state)
{
	scribble(*state, VDISK_2GB_SPARSE);
}

static void random_io_on_a_flat_file_equals_memory(void **state)
{
	struct rig *rig = *state;
	char buf[512] = "x", got[512];
	create(rig, rig->disk, VDISK_MONOLITHIC_FLAT, DISK_BYTES);
	struct vdisk *disk = opened(rig, rig->disk, VDISK_WRITE);
	assert_int_equal(bdev_write(vdisk_bdev(disk), buf, 512, DISK_BYTES - 512), 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), got, 512, DISK_BYTES - 512), 0);
	assert_memory_equal(buf, got, 512);
	assert_int_equal(vdisk_close(disk), 0);
}

/* ---- what lies on the disk ---- */

static void read_at(struct rig *rig, void *buf, size_t len, uint64_t at)
{
	int file_fd = open(rig->disk, O_RDONLY);
	assert_int_equal(pread(file_fd, buf, len, (off_t)at), (ssize_t)len);
	assert_int_equal(close(file_fd), 0);
}

static void head_of(struct rig *rig, struct sparse_head *ret_head)
{
	struct sparse_header_disk headd;
	read_at(rig, &headd, sizeof(headd), 0);
	assert_int_equal(sparse_head_check(&headd, UINT64_MAX / 2, "d", NULL, ret_head),
			 0);
}

/* The header says so while a writer may have left something; both tables agree. */
static void a_flush_writes_both_tables_and_a_close_says_so(void **state)
{
	struct rig *rig = *state;
	struct sparse_head head;
	char buf[512] = "x";
	le32 table[2][SPARSE_ENTRIES], gd, rgd;
	create(rig, rig->disk, VDISK_MONOLITHIC_SPARSE, DISK_BYTES);
	head_of(rig, &head);
	assert_false(head.is_unclean);
	struct vdisk *disk = opened(rig, rig->disk, VDISK_WRITE);
	assert_int_equal(bdev_write(vdisk_bdev(disk), buf, 512, 3 * MIB), 0);
	assert_int_equal(bdev_flush(vdisk_bdev(disk)), 0);
	head_of(rig, &head);
	assert_true(head.is_unclean);
	read_at(rig, &gd, sizeof(gd), head.gd * 512);
	read_at(rig, &rgd, sizeof(rgd), head.rgd * 512);
	read_at(rig, table[0], sizeof(table[0]), le32_get(gd) * 512ull);
	read_at(rig, table[1], sizeof(table[1]), le32_get(rgd) * 512ull);
	assert_memory_equal(table[0], table[1], sizeof(table[0]));
	assert_int_equal(le32_get(table[0][3 * 16]), head.overhead);
	assert_int_equal(vdisk_close(disk), 0);
	head_of(rig, &head);
	assert_false(head.is_unclean);
	int file_fd = open(rig->disk, O_RDONLY);
	assert_int_equal(lseek(file_fd, 0, SEEK_END), (head.overhead + head.grain) * 512);
	assert_int_equal(close(file_fd), 0);
}

static void who_writes_is_alone(void **state)
{
	struct rig *rig = *state;
	struct vdisk *other;
	create(rig, rig->disk, VDISK_MONOLITHIC_SPARSE, MIB);
	struct vdisk *disk = opened(rig, rig->disk, VDISK_WRITE);
	assert_int_equal(try_open(rig, rig->disk, VDISK_WRITE, &other), -EBUSY);
	assert_int_equal(try_open(rig, rig->disk, VDISK_READ_LOCKED, &other), -EBUSY);
	assert_int_equal(vdisk_remove(NULL, rig->disk, NULL, NULL), -EBUSY);
	assert_int_equal(vdisk_close(disk), 0);
	disk = opened(rig, rig->disk, VDISK_READ_LOCKED);
	struct vdisk *second = opened(rig, rig->disk, VDISK_READ_LOCKED);
	assert_int_equal(try_open(rig, rig->disk, VDISK_WRITE, &other), -EBUSY);
	assert_int_equal(vdisk_close(disk), 0);
	assert_int_equal(vdisk_close(second), 0);
	assert_int_equal(vdisk_rename(NULL, rig->disk, rig->other, NULL, NULL), 0);
	disk = opened(rig, rig->other, VDISK_WRITE);
	assert_int_equal(vdisk_close(disk), 0);
	assert_int_equal(vdisk_remove(NULL, rig->other, NULL, NULL), 0);
	assert_int_equal(access(rig->other, F_OK), -1);
}

/* ---- damage ---- */

static void poke(struct rig *rig, const char *path, uint64_t at, const void *bytes,
		 size_t len)
{
	(void)rig;
	int file_fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(file_fd, bytes, len, (off_t)at), (ssize_t)len);
	assert_int_equal(close(file_fd), 0);
}

static void assert_refused(struct rig *rig, const char *path, const char *said)
{
	struct vdisk *disk = NULL;
	char *buf = io_alloc(DISK_BYTES);
	collect_clear(&rig->told);
	int rc = try_open(rig, path, VDISK_READ, &disk);
	if (rc == 0)
		rc = bdev_read(vdisk_bdev(disk), buf, vdisk_capacity(disk), 0);
	(void)vdisk_close(disk);
	free(buf);
	if (rc == 0 || !collect_has(&rig->told, said))
		print_message("wanted '%s': %d, %s\n", said, rc,
			      collect_text(&rig->told));
	assert_true(rc < 0 && collect_has(&rig->told, said));
	assert_int_equal(collect_count(&rig->told, REPORT_ERROR), 1);
}

static void a_wrong_header_is_refused_by_name_and_value(void **state)
{
	struct rig *rig = *state;
	static const struct {
		uint64_t at;
		uint8_t byte;
		const char *said;
	} cases[] = {
		{ 0x04, 9, "version is 9" },
		{ 0x12, 0xff, "capacity is" },
		{ 0x14, 3, "grain size is 3" },
		{ 0x1c, 0xff, "descriptor offset is" },
		{ 0x2c, 1, "tables of 513 entries" },
		{ 0x33, 7, "redundant directory offset is" },
		{ 0x3b, 7, "directory offset is" },
		{ 0x49, '\r', "copied as text" },
		{ 0x4d, 1, "compression is 1" },
	};
	struct sparse_header_disk good;
	create(rig, rig->disk, VDISK_MONOLITHIC_SPARSE, DISK_BYTES);
	read_at(rig, &good, sizeof(good), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t was;
		read_at(rig, &was, 1, cases[i].at);
		poke(rig, rig->disk, cases[i].at, &cases[i].byte, 1);
		assert_refused(rig, rig->disk, cases[i].said);
		poke(rig, rig->disk, cases[i].at, &was, 1);
	}
	/* A directory, a table that points out of the file. */
	struct sparse_head head;
	const le32 far = le32_of(0x7fffffff);
	le32 gd;
	head_of(rig, &head);
	read_at(rig, &gd, sizeof(gd), head.gd * 512);
	poke(rig, rig->disk, le32_get(gd) * 512ull + 8, &far, 4);
	assert_refused(rig, rig->disk, "the place of grain 2 is 2147483647");
	poke(rig, rig->disk, head.gd * 512 + 4, &far, 4);
	assert_refused(rig, rig->disk, "directory entry 1 is 2147483647");
}

static void a_damaged_stream_is_refused_by_name(void **state)
{
	struct rig *rig = *state;
	char *bytes = malloc(MIB);
	fill_bytes(bytes, MIB, 5);
	int file_fd = open(rig->raw, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(file_fd, bytes, MIB), MIB);
	assert_int_equal(close(file_fd), 0);
	free(bytes);
	assert_int_equal(import(rig, rig->raw, rig->disk, VDISK_STREAM_OPTIMIZED), 0);
	struct vdisk *disk;
	assert_int_equal(try_open(rig, rig->disk, VDISK_WRITE, &disk), -EROFS);
	/* The first grain lies at sector 128: its sector, its size, its bytes. */
	uint64_t sector;
	uint32_t size;
	const uint64_t at = 128 * 512;
	const le64 wrong_sector = le64_of(77);
	const le32 wrong_size = le32_of(1u << 30);
	read_at(rig, &sector, 8, at);
	read_at(rig, &size, 4, at + 8);
	poke(rig, rig->disk, at, &wrong_sector, 8);
	assert_refused(rig, rig->disk, "its header is of sector (77)");
	poke(rig, rig->disk, at, &sector, 8);
	poke(rig, rig->disk, at + 8, &wrong_size, 4);
	assert_refused(rig, rig->disk, "compressed size (1073741824)");
	poke(rig, rig->disk, at + 8, &size, 4);
	poke(rig, rig->disk, at + 12, "\xff\xff\xff\xff", 4);
	assert_refused(rig, rig->disk, "cannot be inflated");
	assert_int_equal(truncate(rig->disk, 300 * 512), 0);
	assert_refused(rig, rig->disk, "has no footer");
}

/* ---- a server that dies, and its guest lives ---- */

/* The file alone has it all, while who wrote it has the disk open. */
static void check_prompt(struct rig *rig, struct scribble *s, unsigned int round)
{
	char command[256];
	(void)snprintf(command, sizeof(command), "cp --sparse=always %s %s", rig->disk,
		       rig->other);
	assert_int_equal(system(command), 0);
	struct vdisk *copy = opened(rig, rig->other, VDISK_READ);
	char *got = io_alloc(AREA);
	assert_int_equal(bdev_read(vdisk_bdev(copy), got, AREA, AREA_AT), 0);
	if (memcmp(got, s->model, AREA) != 0)
		fail_msg("round %u: what was written is in memory alone", round);
	free(got);
	assert_int_equal(vdisk_close(copy), 0);
	assert_int_equal(unlink(rig->other), 0);
}

static void what_was_written_is_found_when_its_server_has_died(void **state)
{
	struct rig *rig = *state;
	struct worker_pool *pool = worker_pool_new("t", 2);
	struct scribble s = { .n = 7 };
	s.model = calloc(1, AREA);
	s.memory = io_alloc(AREA);
	create(rig, rig->disk, VDISK_MONOLITHIC_SPARSE, DISK_BYTES);
	struct vdisk *disk = opened(rig, rig->disk, VDISK_WRITE | VDISK_PROMPT);
	bdev_set_pool(vdisk_bdev(disk), pool);
	for (unsigned int round = 0; round < 12; round++) {
		run_batch(&s, vdisk_bdev(disk), 7);
		check_prompt(rig, &s, round);
	}
	assert_int_equal(vdisk_close(disk), 0);
	worker_pool_free(pool);
	free(s.model);
	free(s.memory);
}

#define ON_HOST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_HOST(random_io_on_a_sparse_file_equals_memory),
		ON_HOST(random_io_on_sparse_parts_equals_memory),
		ON_HOST(random_io_on_a_flat_file_equals_memory),
		ON_HOST(what_was_written_is_found_when_its_server_has_died),
		ON_HOST(a_flush_writes_both_tables_and_a_close_says_so),
		ON_HOST(who_writes_is_alone),
		ON_HOST(a_wrong_header_is_refused_by_name_and_value),
		ON_HOST(a_damaged_stream_is_refused_by_name),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
