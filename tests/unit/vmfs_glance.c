/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who reads a small file without a lock knows its descriptor from before, looks at its
 * lock once, and reads its bytes. What another member does between the look and the bytes
 * (it removes the file, and gives its place to another) must not be handed out.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bdev/bdev_impl.h"
#include "mkfs/write.h"
#include "tests/lib/collect.h"
#include "vmfs/format.h"
#include "vmfs/vmfs.h"

#define SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define LEN 6000u	/* one sub-block; of metadata nothing that is read is as long */
#define LONG_FROM 4096u

struct host {
	struct bdev *bd;
	struct vmfs_volume *vol;
	struct collect told;
};

struct rig {
	char path[64];
	struct host writer, reader;
	struct vmfs_file *file; /* the reader's */
	const struct bdev_ops *below;
	struct bdev_ops ops;
	void (*meanwhile)(struct rig *rig); /* before the next long read */
};

static struct rig rig;

/* ---- the reader's device ---- */

static void before(const struct bdev_io *io)
{
	void (*meanwhile)(struct rig *r) = rig.meanwhile;
	if (io->op != BDEV_READ || io->len < LONG_FROM || !meanwhile)
		return;
	rig.meanwhile = NULL;
	meanwhile(&rig);
}

static int spied_rw(struct bdev *bd, struct bdev_io *io)
{
	before(io);
	return rig.below->rw(bd, io);
}

static void spied_submit(struct bdev *bd, struct bdev_io *io)
{
	before(io);
	rig.below->submit(bd, io);
}

/* ---- the hosts ---- */

static void join(struct host *h, const char *name, bool is_read_only)
{
	struct vmfs_open_options options = {
		.devices = &h->bd,
		.device_count = 1,
		.host_name = name,
		.is_read_only = is_read_only,
	};
	memset(options.machine.b, name[0], sizeof(options.machine.b));
	options.reporter = collect_init(&h->told);
	assert_int_equal(bdev_file_open(rig.path, is_read_only ? BDEV_OPEN_READ_ONLY : 0,
					options.reporter, &h->bd),
			 0);
	assert_int_equal(vmfs_volume_open(&options, &h->vol), 0);
}

static void leave(struct host *h)
{
	assert_int_equal(vmfs_volume_close(h->vol), 0);
	assert_int_equal(collect_count(&h->told, REPORT_ERROR), 0);
	bdev_close(h->bd);
	collect_done(&h->told);
}

static void write_file(const char *name, uint8_t byte)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	uint8_t bytes[LEN];
	struct vmfs_file *file;
	memset(bytes, byte, LEN);
	assert_int_equal(vmfs_file_open(rig.writer.vol, name, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, bytes, LEN, 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

static int set_up(void **state)
{
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct bdev *bd;
	(void)state;
	rig = (struct rig){ 0 };
	strcpy(rig.path, "/tmp/vmfs-glance-XXXXXX");
	int file_fd = mkstemp(rig.path);
	assert_true(file_fd >= 0 && !ftruncate(file_fd, SIZE) && !close(file_fd));
	assert_int_equal(bdev_file_open(rig.path, 0, NULL, &bd), 0);
	assert_int_equal(mkfs_layout_make(rig.path, bd->size, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, bd);
	assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
	bdev_close(bd);
	join(&rig.writer, "writer", false);
	write_file("/old", 1);
	join(&rig.reader, "reader", true);
	const struct vmfs_file_options read = { .flags = VMFS_READ };
	assert_int_equal(vmfs_file_open(rig.reader.vol, "/old", &read, &rig.file, NULL),
			 0);
	rig.below = rig.reader.bd->ops;
	rig.ops = *rig.below;
	rig.ops.rw = rig.below->rw ? spied_rw : NULL;
	rig.ops.submit = rig.below->submit ? spied_submit : NULL;
	rig.reader.bd->ops = &rig.ops;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	rig.reader.bd->ops = rig.below;
	assert_int_equal(vmfs_file_close(rig.file), 0);
	leave(&rig.reader);
	leave(&rig.writer);
	unlink(rig.path);
	return 0;
}

/* ---- the stories ---- */

static void expect(int64_t n, const uint8_t *bytes, uint8_t byte)
{
	assert_int_equal(n, LEN);
	for (unsigned int i = 0; i < LEN; i++)
		assert_int_equal(bytes[i], byte);
}

/* Beside a writer it is not followed (filefollow.c), nor for some reads after that. */
static void read_by_views(void)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	uint8_t bytes[LEN];
	assert_int_equal(vmfs_file_open(rig.writer.vol, "/old", &options, &file, NULL),
			 0);
	expect(vmfs_file_read(rig.file, bytes, LEN, 0), bytes, 1);
	assert_int_equal(vmfs_file_close(file), 0);
	for (unsigned int i = 0; i < 3; i++)
		expect(vmfs_file_read(rig.file, bytes, LEN, 0), bytes, 1);
}

static void give_its_place_away(struct rig *r)
{
	assert_int_equal(vmfs_unlink(r->writer.vol, "/old"), 0);
	write_file("/new", 2);
}

static void bytes_of_another_file_are_not_handed_out(void **state)
{
	uint8_t bytes[LEN];
	(void)state;
	read_by_views();
	rig.meanwhile = give_its_place_away;
	assert_int_equal(vmfs_file_read(rig.file, bytes, LEN, 0), -ENOENT);
	assert_null(rig.meanwhile); /* it was between */
}

static void fill_it_anew(struct rig *r)
{
	(void)r;
	write_file("/old", 3);
}

static void what_was_written_meanwhile_is_read(void **state)
{
	uint8_t bytes[LEN];
	(void)state;
	read_by_views();
	rig.meanwhile = fill_it_anew;
	expect(vmfs_file_read(rig.file, bytes, LEN, 0), bytes, 3);
	assert_null(rig.meanwhile);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bytes_of_another_file_are_not_handed_out,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_written_meanwhile_is_read,
						set_up, tear_down),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
