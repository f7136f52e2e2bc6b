/* SPDX-License-Identifier: Apache-2.0 */
/* Partition tables and signatures, on files and on a device without a descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "bdev/bdev.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"

#define MIB (1ull << 20)
#define VMFS_GUID "AA31E02A-400F-11DB-9590-000C2911D1B8"

struct fixture {
	char dir[64], path[96];
	struct collect told;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/bdev_part.XXXXXX");
	if (!f || !mkdtemp(f->dir))
		return -1;
	(void)snprintf(f->path, sizeof(f->path), "%s/disk", f->dir);
	(void)collect_init(&f->told);
	int file_fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file_fd < 0 || ftruncate(file_fd, 32 * MIB) < 0)
		return -1;
	(void)close(file_fd);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	(void)unlink(f->path);
	int rc = rmdir(f->dir);
	collect_done(&f->told);
	free(f);
	return rc;
}

/* Runs a program with input on its stdin, its output thrown away. Its exit status. */
static int run(const char *const argv[], const char *input)
{
	int in[2];
	int status;
	assert_int_equal(pipe(in), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int null_fd = open("/dev/null", O_RDWR);
		(void)dup2(in[0], 0);
		(void)dup2(null_fd, 1);
		(void)dup2(null_fd, 2);
		(void)close(in[1]);
		(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	(void)close(in[0]);
	assert_int_equal(write(in[1], input, strlen(input)), strlen(input));
	(void)close(in[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void make_table(const struct fixture *f, const char *script)
{
	const char *const argv[] = { "sfdisk",		 "-q",	  "--no-reread",
				     "--no-tell-kernel", f->path, NULL };
	int rc = run(argv, script);
	if (rc == 127) {
		print_message("# sfdisk is missing\n");
		skip();
	}
	assert_int_equal(rc, 0);
}

static struct bdev *open_file(struct fixture *f)
{
	struct bdev *bd;
	assert_int_equal(bdev_file_open(f->path, 0, &f->told.base, &bd), 0);
	return bd;
}

/* The same bytes on a device that has no file descriptor. */
static struct bdev *copy_to_memory(struct fixture *f)
{
	struct bdev *file = open_file(f), *mem;
	char *buf = io_alloc(file->size);
	assert_int_equal(bdev_mem_new(file->size, 512, &f->told.base, &mem), 0);
	assert_int_equal(bdev_read(file, buf, file->size, 0), 0);
	assert_int_equal(bdev_write(mem, buf, file->size, 0), 0);
	free(buf);
	bdev_close(file);
	return mem;
}

static void expect_window(struct bdev *bd, uint64_t offset, uint64_t size)
{
	char mark[512], back[512];
	struct bdev *whole = bd;
	assert_int_equal(bd->size, size);
	fill_bytes(mark, sizeof(mark), 9);
	assert_int_equal(bdev_write(bd, mark, 512, 0), 0);
	struct bdev_extent e;
	struct bdev_io io = { .op = BDEV_READ, .len = 512 };
	assert_int_equal(bd->ops->map(whole, &io, &e), 0);
	assert_int_equal(e.offset, offset);
	assert_int_equal(bdev_read(e.leaf, back, 512, offset), 0);
	assert_memory_equal(mark, back, 512);
}

/* The only VMFS partition is found, in both kinds of table, with and without a file. */
static void only_vmfs_partition_is_opened(void **state)
{
	struct fixture *f = *state;
	const char *const scripts[] = {
		"label: gpt\nstart=2048, size=4096, type=L\n"
		"start=8192, size=16384, type=" VMFS_GUID "\n",
		"label: dos\nstart=2048, size=4096, type=83\n"
		"start=8192, size=16384, type=fb\n",
	};
	for (unsigned int i = 0; i < 2; i++) {
		make_table(f, scripts[i]);
		struct bdev *bd[2] = { open_file(f), copy_to_memory(f) };
		for (unsigned int k = 0; k < 2; k++) {
			assert_int_equal(bdev_part_open(&bd[k], &f->told.base), 0);
			expect_window(bd[k], 8192 * 512, 16384 * 512);
			bdev_close(bd[k]);
		}
	}
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 0);
}

/* The table of a disk with sectors of 4096 bytes, or of an image of one. */
static void a_table_may_count_in_large_sectors(void **state)
{
	struct fixture *f = *state;
	const char *const argv[] = { "fdisk", "-b", "4096", f->path, NULL };
	int rc = run(argv, "g\nn\n1\n256\n511\nn\n2\n1024\n3071\n"
			   "t\n2\n" VMFS_GUID "\nw\n");
	if (rc == 127) {
		print_message("# fdisk is missing\n");
		skip();
	}
	assert_int_equal(rc, 0);
	struct bdev *bd[2] = { open_file(f), copy_to_memory(f) };
	for (unsigned int k = 0; k < 2; k++) {
		assert_int_equal(bdev_part_open(&bd[k], &f->told.base), 0);
		expect_window(bd[k], 1024 * 4096, 2048 * 4096);
		bdev_close(bd[k]);
	}
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 0);
}

static void none_and_several_are_refused(void **state)
{
	struct fixture *f = *state;
	struct bdev *bd;
	make_table(f, "label: gpt\nstart=2048, size=4096, type=L\n");
	bd = open_file(f);
	assert_int_equal(bdev_part_open(&bd, &f->told.base), -ENOENT);
	assert_true(collect_has(&f->told, "partition table without a VMFS partition"));
	assert_int_equal(bd->size, 32 * MIB);
	bdev_close(bd);
	make_table(f, "label: gpt\nstart=2048, size=4096, type=" VMFS_GUID "\n"
		      "start=8192, size=4096, type=L\n"
		      "start=16384, size=4096, type=" VMFS_GUID "\n");
	bd = open_file(f);
	assert_int_equal(bdev_part_open(&bd, &f->told.base), -ENOTUNIQ);
	assert_true(collect_has(&f->told, "has 2 VMFS partitions: 1, 3"));
	bdev_close(bd);
}

/* No table: an empty disk, a tiny one, random bytes, and a sector that only looks so. */
static void no_table_is_fine(void **state)
{
	struct fixture *f = *state;
	char junk[4096];
	for (unsigned int i = 0; i < 4; i++) {
		struct bdev *bd;
		if (i == 3)
			assert_int_equal(truncate(f->path, 1024), 0);
		bd = open_file(f);
		uint64_t size = bd->size;
		fill_bytes(junk, sizeof(junk), i);
		if (i == 2)
			(void)memset(junk, 0, 510);
		junk[510] = i == 2 ? 0x55 : 0;
		junk[511] = (char)(i == 2 ? 0xaa : 0);
		if (i == 1 || i == 2)
			assert_int_equal(bdev_write(bd, junk, sizeof(junk), 0), 0);
		int rc = bdev_part_open(&bd, &f->told.base);
		/* an empty MBR is a table that names nothing */
		assert_int_equal(rc, i == 2 ? -ENOENT : 0);
		assert_int_equal(bd->size, size);
		bdev_close(bd);
	}
}

/* A partition that ends behind the device is refused, or not seen; never opened. */
static void truncated_disk_has_no_partition(void **state)
{
	struct fixture *f = *state;
	make_table(f, "label: dos\nstart=8192, size=16384, type=fb\n");
	assert_int_equal(truncate(f->path, 8 * MIB), 0);
	struct bdev *bd = open_file(f);
	assert_int_equal(bdev_part_open(&bd, &f->told.base), -EINVAL);
	assert_true(collect_has(&f->told, "no range of 8388608 bytes at offset 4194304"));
	bdev_close(bd);
}

/* ---- signatures ---- */

static void expect_signature(struct fixture *f, const char *want)
{
	char text[128];
	struct bdev *bd[2] = { open_file(f), copy_to_memory(f) };
	for (unsigned int k = 0; k < 2; k++) {
		assert_int_equal(bdev_probe_signature(bd[k], text, sizeof(text)), 0);
		assert_string_equal(text, want);
		bdev_close(bd[k]);
	}
}

static void signatures_are_named(void **state)
{
	struct fixture *f = *state;
	const char *const mkswap[] = { "mkswap", "-q", "-L", "old", f->path, NULL };
	const char *const mkfs[] = { "mkfs.ext4", "-q", "-F", f->path, NULL };
	expect_signature(f, "");
	if (run(mkswap, "") == 0)
		expect_signature(f, "swap labelled \"old\"");
	if (run(mkfs, "") == 0)
		expect_signature(f, "ext4");
	assert_int_equal(truncate(f->path, 0), 0);
	assert_int_equal(truncate(f->path, 32 * MIB), 0);
	make_table(f, "label: gpt\nstart=2048, size=4096, type=L\n");
	expect_signature(f, "a partition table of type gpt");
}

/* A real VMFS volume, whose magic numbers lie at 1 and 2 MiB. */
static void vmfs_is_named(void **state)
{
	struct fixture *f = *state;
	struct bdev *bd = open_file(f);
	uint8_t *buf = io_alloc(4096);
	char text[128];
	buf[0] = 0x0d; /* the physical volume's magic, FORMAT.md, LVM header */
	buf[1] = 0xd0;
	buf[2] = 0x01;
	buf[3] = 0xc0;
	assert_int_equal(bdev_write(bd, buf, 4096, MIB), 0);
	assert_int_equal(bdev_probe_signature(bd, text, sizeof(text)), 0);
	assert_string_equal(text, "VMFS_volume_member");
	free(buf);
	bdev_close(bd);
}

/* Ten terabytes are probed by their ends alone. */
static void huge_devices_are_cheap(void **state)
{
	struct bdev *bd;
	char text[128];
	(void)state;
	assert_int_equal(bdev_mem_new(10ull << 40, 512, NULL, &bd), 0);
	assert_int_equal(bdev_probe_signature(bd, text, sizeof(text)), 0);
	assert_string_equal(text, "");
	bdev_close(bd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		CASE(only_vmfs_partition_is_opened),
		CASE(a_table_may_count_in_large_sectors),
		CASE(none_and_several_are_refused),
		CASE(no_table_is_fine),
		CASE(truncated_disk_has_no_partition),
		CASE(signatures_are_named),
		CASE(vmfs_is_named),
		cmocka_unit_test(huge_devices_are_cheap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
