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
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"

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

int main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(data_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(deep_queue_loses_nothing, set_up,
						tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
