/* SPDX-License-Identifier: Apache-2.0 */
/* A file as a disk: data, edges, errors, deadlines, cut. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/slowdisk.h"

#define MIB (1ull << 20)

struct fixture {
	char dir[64], path[96];
	struct collect told;
	struct bdev *bd;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/bdev_file.XXXXXX");
	if (!f || !mkdtemp(f->dir))
		return -1;
	(void)snprintf(f->path, sizeof(f->path), "%s/disk", f->dir);
	(void)collect_init(&f->told);
	int file_fd = open(f->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (file_fd < 0 || ftruncate(file_fd, 8 * MIB) < 0)
		return -1;
	(void)close(file_fd);
	*state = f;
	return bdev_file_open(f->path, 0, &f->told.base, &f->bd);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	bdev_close(f->bd);
	(void)unlink(f->path);
	int rc = rmdir(f->dir);
	collect_done(&f->told);
	free(f);
	return rc;
}

/* What is written comes back, at every alignment of memory; the rest stays zero. */
static void data_comes_back(void **state)
{
	struct fixture *f = *state;
	static uint8_t a[3 * 4096 + 1], b[3 * 4096 + 1];
	fill_bytes(a, sizeof(a), 1);
	for (unsigned int skew = 0; skew <= 1; skew++) {
		assert_int_equal(bdev_write(f->bd, a + skew, 5 * 512, 7 * 512), 0);
		assert_int_equal(bdev_read(f->bd, b + 1 - skew, 7 * 512, 6 * 512), 0);
		assert_memory_equal(b + 1 - skew + 512, a + skew, 5 * 512);
		for (unsigned int i = 0; i < 512; i++)
			assert_int_equal(b[1 - skew + i] | b[1 - skew + 6 * 512 + i], 0);
	}
	assert_int_equal(bdev_flush(f->bd), 0);
}

/* 600 writes at once, over the depth of the kernel's queue: each done once, all there. */
static void deep_queue_loses_nothing(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 600 };
	struct batch_io *bio = calloc(COUNT, sizeof(*bio));
	uint8_t *mem = io_alloc(COUNT * 4096);
	uint8_t *back = io_alloc(COUNT * 4096);
	fill_bytes(mem, COUNT * 4096, 2);
	for (unsigned int i = 0; i < COUNT; i++) {
		bio[i].io.op = BDEV_WRITE;
		bio[i].io.offset = (i * 7 % COUNT) * 4096ull;
		bio[i].io.len = 4096;
		bio[i].iov = (struct iovec){ mem + bio[i].io.offset, 4096 };
	}
	batch_run(f->bd, bio, COUNT);
	for (unsigned int i = 0; i < COUNT; i++) {
		assert_int_equal(bio[i].io.result, 0);
		assert_int_equal(bio[i].done_count, 1);
	}
	assert_int_equal(bdev_read(f->bd, back, COUNT * 4096, 0), 0);
	assert_memory_equal(mem, back, COUNT * 4096);
	free(mem);
	free(back);
	free(bio);
}

/* The image is truncated under us: an error that names path and place, said once. */
static void truncated_image_is_an_error(void **state)
{
	struct fixture *f = *state;
	char *buf = io_alloc(8192);
	assert_int_equal(truncate(f->path, MIB + 4096), 0);
	assert_int_equal(bdev_read(f->bd, buf, 4096, MIB), 0);
	assert_int_equal(bdev_read(f->bd, buf, 8192, MIB), -EIO);
	assert_int_equal(batch_one(f->bd, BDEV_READ, 0, buf, 8192, MIB), -EIO);
	assert_int_equal(batch_one(f->bd, BDEV_READ, 0, buf, 4096, 4 * MIB), -EIO);
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 1);
	assert_true(collect_has(&f->told, f->path));
	assert_true(collect_has(&f->told, "ends early at offset 1052672"));
	free(buf);
}

/* An error that the linker puts in (tests.mk): what is missing is taken for zeros. */
static bool is_short_zeros;

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int count, off_t off,
			  int flags);
ssize_t __real_preadv64v2(int fd, const struct iovec *iov, int count, off_t off,
			  int flags);

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int count, off_t off,
			  int flags)
{
	ssize_t n = __real_preadv64v2(fd, iov, count, off, flags);

	if (n != 0 || !is_short_zeros)
		return n;
	memset(iov[0].iov_base, 0, iov[0].iov_len);
	return (ssize_t)iov[0].iov_len;
}

static void short_read_taken_for_zeros_is_found(void **state)
{
	struct fixture *f = *state;
	char *buf = io_alloc(8192);

	assert_int_equal(truncate(f->path, MIB + 4096), 0);
	is_short_zeros = true;
	int err = batch_one(f->bd, BDEV_READ, 0, buf, 8192, MIB);
	is_short_zeros = false;
	assert_int_not_equal(err, -EIO); /* as truncated_image_is_an_error demands */
	free(buf);
}

static void read_only_stays_so(void **state)
{
	struct fixture *f = *state;
	struct bdev *bd;
	uint32_t flags[] = { BDEV_OPEN_READ_ONLY,
			     BDEV_OPEN_READ_ONLY | BDEV_OPEN_BUFFERED };
	char *buf = io_alloc(4096);
	fill_bytes(buf, 4096, 3);
	assert_int_equal(bdev_write(f->bd, buf, 4096, 4096), 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(bdev_file_open(f->path, flags[i], NULL, &bd), 0);
		assert_int_equal(bd->memory_align,
				 flags[i] & BDEV_OPEN_BUFFERED ? 1 : 512);
		assert_int_equal(bd->caw, BDEV_CAW_NONE);
		assert_int_equal(bdev_write(bd, buf, 512, 0), -EROFS);
		assert_int_equal(batch_one(bd, BDEV_UNMAP, 0, NULL, 512, 0), -EROFS);
		assert_int_equal(bdev_caw(bd, buf, buf, 512, 0, 0), -EROFS);
		char *back = io_alloc(4096);
		assert_int_equal(batch_one(bd, BDEV_READ, 0, back, 4096, 4096), 0);
		assert_memory_equal(buf, back, 4096);
		free(back);
		bdev_close(bd);
	}
	free(buf);
	assert_int_equal(bdev_file_open(f->path, BDEV_OPEN_BUFFERED, &f->told.base, &bd),
			 -EINVAL);
}

/* What is no disk is refused with its name and the reason, and without harm. */
static void no_disk_is_refused(void **state)
{
	struct fixture *f = *state;
	struct bdev *bd = NULL;
	char fifo[128], longest[400];
	(void)snprintf(fifo, sizeof(fifo), "%s/fifo", f->dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	(void)memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	const struct {
		const char *path;
		int want;
		const char *said;
	} cases[] = {
		{ "/nonexistent/disk", -ENOENT, "/nonexistent/disk: No such file" },
		{ fifo, -ENOTBLK, "fifo: is neither a regular file nor" },
		{ f->dir, -ENOTBLK, "is neither" },
		{ "/dev/null", -ENOTBLK, "/dev/null: is neither" },
		{ longest, -ENAMETOOLONG, "path is too long" },
	};
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		collect_clear(&f->told);
		assert_int_equal(bdev_file_open(cases[i].path, 0, &f->told.base, &bd),
				 cases[i].want);
		assert_int_equal(collect_count(&f->told, REPORT_ERROR), 1);
		assert_true(collect_has(&f->told, cases[i].said));
	}
	assert_null(bd);
	(void)unlink(fifo);
}

static uint64_t allocated(const char *path)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void expect_zeros(struct bdev *bd, uint64_t len, uint64_t offset)
{
	uint8_t *buf = io_alloc(len);
	(void)memset(buf, 0xee, len);
	assert_int_equal(bdev_read(bd, buf, len, offset), 0);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

/* ZERO and UNMAP read as zeros afterwards, to the sector; UNMAP gives space back. */
static void zeroed_and_unmapped(struct fixture *f, struct bdev *bd)
{
	uint8_t *buf = io_alloc(MIB), *back = io_alloc(MIB);
	fill_bytes(buf, MIB, 4);
	assert_int_equal(bdev_write(bd, buf, MIB, 0), 0);
	assert_int_equal(bdev_zero(bd, 3 * 512, 512), 0);
	assert_int_equal(batch_one(bd, BDEV_ZERO, BDEV_FUA, NULL, 64 << 10, 128 << 10),
			 0);
	expect_zeros(bd, 3 * 512, 512);
	expect_zeros(bd, 64 << 10, 128 << 10);
	uint64_t before = allocated(f->path);
	assert_int_equal(batch_one(bd, BDEV_UNMAP, 0, NULL, 256 << 10, 512 << 10), 0);
	assert_int_equal(bdev_unmap(bd, 512, 1022 << 10), 0);
	expect_zeros(bd, 256 << 10, 512 << 10);
	expect_zeros(bd, 512, 1022 << 10);
	assert_true(allocated(f->path) + (256 << 10) <= before);
	assert_int_equal(bdev_read(bd, back, MIB, 0), 0);
	assert_memory_equal(back, buf, 512);
	assert_memory_equal(back + 2048, buf + 2048, (128 << 10) - 2048);
	assert_memory_equal(back + (192 << 10), buf + (192 << 10), 320 << 10);
	assert_memory_equal(back + (768 << 10), buf + (768 << 10), 254 << 10);
	assert_memory_equal(back + MIB - 1536, buf + MIB - 1536, 1536);
	free(buf);
	free(back);
}

static void zero_and_unmap(void **state)
{
	struct fixture *f = *state;
	zeroed_and_unmapped(f, f->bd);
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 0);
}

static void flush_fua_and_resize(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = io_alloc(4096);
	fill_bytes(buf, 4096, 5);
	assert_true(f->bd->has_write_cache);
	assert_int_equal(batch_one(f->bd, BDEV_WRITE, BDEV_FUA, buf, 4096, 0), 0);
	assert_int_equal(bdev_rw(f->bd, BDEV_WRITE, BDEV_FUA, buf, 512, 8192, 0), 0);
	assert_int_equal(batch_one(f->bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(bdev_flush(f->bd), 0);
	assert_int_equal(f->bd->ops->resize(f->bd, 100), -EINVAL);
	assert_int_equal(f->bd->ops->resize(f->bd, 16 * MIB), 0);
	expect_zeros(f->bd, 512, 16 * MIB - 512);
	assert_int_equal(bdev_read(f->bd, buf, 512, 16 * MIB), -EINVAL);
	free(buf);
}

/* After a cut nothing is sent, in no form. */
static void cut_is_final(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = io_alloc(4096);
	assert_int_equal(batch_one(f->bd, BDEV_READ, 0, buf, 512, 0), 0);
	bdev_cut(f->bd);
	bdev_cut(f->bd);
	assert_int_equal(bdev_read(f->bd, buf, 512, 0), -ESTALE);
	assert_int_equal(bdev_write(f->bd, buf, 512, 0), -ESTALE);
	assert_int_equal(bdev_zero(f->bd, 512, 0), -ESTALE);
	assert_int_equal(bdev_flush(f->bd), -ESTALE);
	assert_int_equal(bdev_caw(f->bd, buf, buf, 512, 0, 0), -ESTALE);
	assert_int_equal(batch_one(f->bd, BDEV_READ, 0, buf, 512, 0), -ESTALE);
	assert_int_equal(batch_one(f->bd, BDEV_FLUSH, 0, NULL, 0, 0), -ESTALE);
	assert_int_equal(f->bd->ops->resize(f->bd, MIB), -ESTALE);
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 0);
	free(buf);
}

struct writer {
	struct bdev *bd;
	struct batch_io *bio;
	unsigned int count;
};

static void write_all(void *arg)
{
	struct writer *w = arg;
	batch_run(w->bd, w->bio, w->count);
}

/* A cut amid many writes: what was acknowledged has landed, the rest never does. */
static void cut_stops_writes_under_way(void **state)
{
	enum { COUNT = 400 };
	static uint8_t landed[COUNT * 512];
	struct slowdisk d;
	struct writer w = { .count = COUNT };
	unsigned int on_disk = 0, fine = 0, stale = 0;
	(void)state;
	if (slowdisk_start(&d, MIB, 2, 0) < 0) {
		print_message("# nbdfuse, nbdkit or /dev/fuse is missing\n");
		skip();
	}
	w.bio = calloc(COUNT, sizeof(*w.bio));
	uint8_t *buf = io_alloc(512);
	(void)memset(buf, 0x5a, 512);
	for (unsigned int i = 0; i < COUNT; i++) {
		w.bio[i].io = (struct bdev_io){ .op = BDEV_WRITE, .len = 512 };
		w.bio[i].io.offset = 512ull * i;
		w.bio[i].iov = (struct iovec){ buf, 512 };
	}
	assert_int_equal(bdev_file_open(d.path, BDEV_OPEN_VOUCHED, NULL, &w.bd), 0);
	struct task *t = task_start("writer", write_all, &w);
	task_sleep_until(clock_now() + 50 * NS_PER_MS);
	bdev_cut(w.bd);
	task_join(t);
	bdev_close(w.bd);
	int file_fd = open(d.backing, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(file_fd, landed, sizeof(landed)), sizeof(landed));
	(void)close(file_fd);
	slowdisk_stop(&d);
	for (unsigned int i = 0; i < COUNT; i++) {
		on_disk += landed[i * 512ul] == 0x5a;
		fine += w.bio[i].io.result == 0;
		stale += w.bio[i].io.result == -ESTALE;
	}
	assert_int_equal(on_disk, fine);
	assert_int_equal(fine + stale, COUNT);
	assert_in_range(fine, 1, COUNT - 1);
	free(buf);
	free(w.bio);
}

/* ---- deadlines ---- */

/*
 * A write that takes longer than its deadline is given up in time with "unknown", its
 * memory is the caller's again, and it lands later with the bytes it was given.
 */
static void deadline_is_kept(void **state)
{
	struct slowdisk d;
	struct bdev *bd;
	(void)state;
	if (slowdisk_start(&d, MIB, 1000, 1000) < 0) {
		print_message("# nbdfuse, nbdkit or /dev/fuse is missing\n");
		skip();
	}
	char *buf = io_alloc(4096);
	assert_int_equal(bdev_file_open(d.path, BDEV_OPEN_VOUCHED, NULL, &bd), 0);
	(void)memset(buf, 'w', 4096);
	uint64_t then = clock_now();
	uint64_t deadline = then + 50 * NS_PER_MS;
	assert_int_equal(bdev_rw(bd, BDEV_WRITE, 0, buf, 4096, 0, deadline), -ETIMEDOUT);
	assert_in_range((clock_now() - then) / NS_PER_MS, 50, 900);
	(void)memset(buf, 'x', 4096);
	deadline = clock_now() + 20 * NS_PER_MS;
	assert_int_equal(bdev_rw(bd, BDEV_READ, 0, buf, 4096, 0, deadline), -ETIMEDOUT);
	bdev_close(bd); /* waits for both */
	assert_int_equal(buf[0], 'x');
	assert_int_equal(buf[4095], 'x');
	int file_fd = open(d.backing, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(file_fd, buf, 4096), 4096);
	assert_int_equal(buf[0], 'w');
	assert_int_equal(buf[4095], 'w');
	(void)close(file_fd);
	slowdisk_stop(&d);
	free(buf);
}

/* A deadline that is not reached changes nothing, whatever the memory looks like. */
static void deadline_in_time(void **state)
{
	struct fixture *f = *state;
	uint8_t a[1024 + 3], b[1024 + 3];
	uint64_t deadline = clock_now() + 10 * NS_PER_S;
	fill_bytes(a, sizeof(a), 6);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(
			bdev_rw(f->bd, BDEV_WRITE, 0, a + i, 1024, 512, deadline), 0);
		assert_int_equal(bdev_rw(f->bd, BDEV_READ, 0, b + i, 1024, 512, deadline),
				 0);
		assert_memory_equal(a + i, b + i, 1024);
	}
	assert_int_equal(bdev_rw(f->bd, BDEV_FLUSH, 0, NULL, 0, 0, deadline), 0);
	assert_int_equal(bdev_rw(f->bd, BDEV_ZERO, 0, NULL, 512, 512, deadline), 0);
	expect_zeros(f->bd, 512, 512);
	(void)memset(b, 0, 512);
	assert_int_equal(bdev_caw(f->bd, b, a, 512, 512, deadline), 0);
	assert_int_equal(bdev_caw(f->bd, b, a, 512, 512, deadline), -EILSEQ);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		CASE(data_comes_back),
		CASE(deep_queue_loses_nothing),
		CASE(truncated_image_is_an_error),
		CASE(short_read_taken_for_zeros_is_found),
		CASE(read_only_stays_so),
		CASE(no_disk_is_refused),
		CASE(zero_and_unmap),
		CASE(flush_fua_and_resize),
		CASE(cut_is_final),
		cmocka_unit_test(cut_stops_writes_under_way),
		cmocka_unit_test(deadline_is_kept),
		CASE(deadline_in_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
